package input

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

const (
	maxEmail = 254 // RFC 5321, section 4.5.3.1.3, less the angle brackets
	maxLocal = 64  // RFC 5321, section 4.5.3.1.1
	maxSite  = 500
)

var (
	atom = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+$")
	name = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	// label is a name in a URL, where some have underscores.
	label = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	// number is the last label of what browsers read as an IPv4 address (WHATWG URL).
	number = regexp.MustCompile(`^(?:[0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

// Email reports whether a text is one mail address as people have them: a dot-atom, an at sign, a host name (RFC 5322,
// section 3.4.1), all in ASCII, since letters of other alphabets that look the same would make two accounts look like
// one.
func Email(text string) bool {
	local, domain, found := strings.Cut(text, "@")
	if !found || len(text) > maxEmail || len(local) > maxLocal {
		return false
	}
	for part := range strings.SplitSeq(local, ".") {
		if !atom.MatchString(part) {
			return false
		}
	}
	for part := range strings.SplitSeq(domain, ".") {
		if !name.MatchString(part) {
			return false
		}
	}
	return true
}

// Host reports whether a text is the host of a URL (RFC 3986, section 3.2.2): a host name in ASCII, where every xn--
// label is valid (RFC 5891), an IPv4 address in its plain form, or an IPv6 address in brackets. Forms that readers
// understand differently, such as percent-encoding, 0x7f.1 or a dot at the end, are none.
func Host(text string) bool {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	labels := strings.Split(text, ".")
	for _, part := range labels {
		if !label.MatchString(part) {
			return false
		}
		if lower := strings.ToLower(part); strings.HasPrefix(lower, "xn--") {
			if again, err := idna.Lookup.ToASCII(lower); err != nil || again != lower {
				return false
			}
		}
	}
	if number.MatchString(labels[len(labels)-1]) {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is4()
	}
	return len(text) <= 253
}

// HostOf is an authority without its port.
func HostOf(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return authority[:i]
	}
	return authority
}

// Authority reports whether a text is a host with or without a port from 1 to 65535, without user information.
func Authority(text string) bool {
	host := HostOf(text)
	if port, found := strings.CutPrefix(text[len(host):], ":"); found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return false
		}
	}
	return Host(host)
}

// AuthorityOf is the authority of an absolute URI as it is written, for Authority; present is false where it has none.
func AuthorityOf(uri string) (authority string, present bool) {
	_, rest, _ := strings.Cut(uri, ":")
	rest, present = strings.CutPrefix(rest, "//")
	if !present {
		return "", false
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest, true
}

// Site reports whether a text is the URL of a web site: https, or http on this computer, in ASCII.
func Site(text string) bool {
	if len(text) > maxSite ||
		strings.ContainsFunc(
			text, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`\"<>^{|}`+"`", c) },
		) {
		return false
	}
	u, err := url.Parse(text)
	authority, present := AuthorityOf(text)
	if err != nil || !present || !Authority(authority) {
		return false
	}
	switch u.Scheme {
	case "https":
		return true
	case "http":
		host := u.Hostname()
		return host == "127.0.0.1" || host == "::1" || host == "localhost"
	}
	return false
}
