package gateways

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"doorward/test/setup"
	"doorward/web/gateway"
)

// separators are the characters that names of HTTP headers may have besides letters, digits and hyphens (RFC 9110,
// section 5.6.2).
const separators = "!#$%&'*+.^_`|~"

// passed lists the headers of the families that each proxy overwrites.
var passed = []string{"For", "Host", "Proto"}

// others returns a regular expression (RE2) for all texts except some words, which consist of letters.
func others(words []string) string {
	if len(words) == 0 {
		return "."
	}
	next := map[byte][]string{}
	var firsts []byte
	ends := false
	for _, word := range words {
		if word == "" {
			ends = true
			continue
		}
		if next[word[0]] == nil {
			firsts = append(firsts, word[0])
		}
		next[word[0]] = append(next[word[0]], word[1:])
	}
	slices.Sort(firsts)
	set := strings.ToLower(string(firsts)) + strings.ToUpper(string(firsts))
	var branches []string
	if !ends {
		branches = append(branches, "$")
	}
	if len(firsts) == 0 {
		return "."
	}
	branches = append(branches, "[^"+set+"]")
	for _, c := range firsts {
		branches = append(branches, string(c)+"("+others(next[c])+")")
	}
	return strings.Join(branches, "|")
}

// familyPattern returns a case-insensitive regular expression (RE2) for a family of headers.
func familyPattern(f gateway.Family) string {
	switch {
	case f.Only:
		return f.Prefix + "(" + strings.Join(f.Known, "|") + ")$"
	case f.Prefix == "X-Forwarded":
		return f.Prefix + "($|[^-]|-(" + others(passed) + "))"
	}
	return f.Prefix
}

// blocks returns the parts of the example files that are generated from the list of headers: by file, then by the name
// of the marker around them.
func blocks() map[string]map[string]string {
	indent := func(spaces int, lines []string) string {
		return strings.Repeat(" ", spaces) + strings.Join(lines, "\n"+strings.Repeat(" ", spaces)) + "\n"
	}
	var caddy, envoy, nginx, ingress []string
	for _, c := range separators {
		caddy = append(caddy, fmt.Sprintf("request_header `-*%c*`", c))
	}
	caddy[strings.IndexByte(separators, '`')] = "request_header \"-*`*\""
	envoy = append(envoy, "- remove_on_match: {key_matcher: {safe_regex: {regex: '(?i)[a-z0-9-]*[^a-z0-9:-].*'}}}")
	var patterns []string
	for _, f := range gateway.Families {
		patterns = append(patterns, familyPattern(f))
		if !f.Only {
			caddy = append(caddy, "request_header -"+f.Prefix+"*")
			envoy = append(envoy,
				fmt.Sprintf("- remove_on_match: {key_matcher: {prefix: %s, ignore_case: true}}", strings.ToLower(f.Prefix)))
			continue
		}
		for _, rest := range f.Known {
			caddy = append(caddy, "request_header -"+f.Prefix+rest)
			envoy = append(envoy, "- remove: "+strings.ToLower(f.Prefix+rest))
		}
	}
	for _, name := range gateway.KnownHeaders() {
		nginx = append(nginx, "proxy_set_header "+name+` "";`)
		ingress = append(ingress, name+`: ""`)
	}
	return map[string]map[string]string{
		"caddy/Caddyfile":  {"headers": "\t\t" + strings.Join(caddy, "\n\t\t") + "\n"},
		"envoy/envoy.yaml": {"headers": indent(24, envoy), "identity": indent(30, identityLines("- {exact: %s}"))},
		"nginx/nginx.conf": {"headers": indent(12, nginx)},
		"traefik/dynamic.yml": {
			"headers": indent(8, []string{"authResponseHeadersRegex: '(?i)[^a-z0-9-]|^(" + strings.Join(patterns, "|") + ")'"}),
		},
		"ingress-nginx/headers.yaml": {"headers": indent(2, ingress)},
	}
}

func identityLines(format string) (lines []string) {
	for _, name := range gateway.IdentityHeaders() {
		lines = append(lines, fmt.Sprintf(format, strings.ToLower(name)))
	}
	return lines
}

// The configurations of the proxies remove the same headers as Doorward's own proxy.
func TestV21_RecipesRemoveWhatTheProxyRemoves(t *testing.T) {
	root, err := setup.Root()
	ok(t, err)
	for name, parts := range blocks() {
		file := filepath.Join(root, "examples", filepath.FromSlash(name))
		read, err := os.ReadFile(file)
		ok(t, err)
		text := string(read)
		for mark, want := range parts {
			before, rest, begun := strings.Cut(text, "# "+mark+": begin\n")
			have, after, ended := strings.Cut(rest, "# "+mark+": end\n")
			if !begun || !ended {
				t.Fatalf("%s has no part between the lines # %s: begin and # %s: end", name, mark, mark)
			}
			tail := have[strings.LastIndexByte(have, '\n')+1:] // the indentation of the end marker
			if have == want+tail {
				continue
			}
			if !*update {
				t.Errorf("%s does not have the list of web/gateway/headers.go: run go test ./test/gateways -run 'V21|Printed' "+
					"-update", name)
			}
			text = before + "# " + mark + ": begin\n" + want + tail + "# " + mark + ": end\n" + after
		}
		if text != string(read) && *update {
			ok(t, os.WriteFile(file, []byte(text), 0o644))
		}
	}
}
