package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"doorward/config/yamlnode"
	"doorward/oauth/input"
)

// Bounds on files and values, so that a wrong path gives an error instead of filling the memory.
const (
	MaxBytes      = 1 << 20
	maxValueBytes = 64 << 10
)

// parser reads values strictly and collects faults. It works on yaml.Node, because decoding into structs stops at the
// first fault or loses its line.
type parser struct {
	getenv   func(string) string
	readFile func(string) ([]byte, error)

	source  string            // the file, flag or variable being read
	origins map[string]origin // by key
	faulty  map[string]bool   // keys that already have a fault; only the first is reported
	around  map[string]bool   // keys that contain a faulty key
	faults  Faults
}

func newParser(getenv func(string) string) *parser {
	return &parser{
		getenv:   getenv,
		readFile: readFile,
		origins:  map[string]origin{},
		faulty:   map[string]bool{},
		around:   map[string]bool{},
	}
}

// readFile reads a file of at most MaxBytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = fmt.Errorf("is larger than %d bytes", MaxBytes)
	}
	return data, err
}

// field reads the value of one key from its node.
type field func(n *yaml.Node, key string)

// fault reports a fault of a key and where the key was set. It ignores a key's further faults.
func (p *parser) fault(key, format string, args ...any) {
	if p.faulty[key] {
		return
	}
	p.faulty[key] = true
	for outer := key; outer != ""; {
		outer = outer[:max(strings.LastIndexAny(outer, ".["), 0)]
		p.around[outer] = true
	}
	p.faults = append(p.faults, Fault{origin: p.origin(key), key: key, text: fmt.Sprintf(format, args...)})
}

// origin is where a key was set or, if it was not, where the nearest key that contains it was.
func (p *parser) origin(key string) origin {
	for key != "" {
		if o, ok := p.origins[key]; ok {
			return o
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return origin{}
}

// document reads a whole file into fields.
func (p *parser) document(name string, data []byte, fields map[string]field) {
	p.source = name
	whole := func(line int, text string) {
		p.faults = append(p.faults, Fault{origin: origin{source: name, line: line}, text: text})
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return // an empty file changes nothing
	case err != nil:
		line, text := yamlnode.SyntaxFault(err)
		whole(line, text)
		return
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		whole(second.Line, "contains a second document; keep one, without ---")
	case !errors.Is(err, io.EOF):
		line, text := yamlnode.SyntaxFault(err)
		whole(line, text)
		return
	}
	root := yamlnode.Deref(doc.Content[0])
	if root.ShortTag() == "!!null" {
		return
	}
	if root.Kind != yaml.MappingNode {
		whole(
			root.Line,
			"is "+yamlnode.Describe(root)+"; use keys and values, such as issuer: https://auth.example.com",
		)
		return
	}
	p.mapping(fields)(root, "")
}

// mapping reads a mapping that may have only these keys, each once.
func (p *parser) mapping(fields map[string]field) field {
	known := slices.Sorted(maps.Keys(fields))
	return func(n *yaml.Node, key string) {
		p.entries(n, key, func(name string, value *yaml.Node, at string) {
			if read, ok := fields[name]; ok {
				read(value, at)
			} else if hint := renamed(at); hint != "" {
				p.fault(at, "%s", hint)
			} else if like := nearest(name, known); like != "" {
				p.fault(at, "is not a known key; did you mean %s?", like)
			} else {
				p.fault(at, "is not a known key; known here: %s", strings.Join(known, ", "))
			}
		})
	}
}

// oldNames maps keys of earlier versions to their current names.
var oldNames = map[string]string{"keys.kinds": "keys.environments"}

// renamed explains a key that is in oldNames, and otherwise returns an empty string.
func renamed(key string) string {
	for old, now := range oldNames {
		if strings.HasSuffix("."+key, "."+old) {
			return "was renamed; use " + now
		}
	}
	return ""
}

// entries calls each for every entry of a mapping, in order, and reports duplicate names.
func (p *parser) entries(n *yaml.Node, key string, each func(name string, value *yaml.Node, key string)) {
	n = yamlnode.Deref(n)
	if n.Kind != yaml.MappingNode {
		p.fault(key, "is %s; use keys and values under it, or {} for none", yamlnode.Describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := yamlnode.Deref(n.Content[i]), n.Content[i+1]
		at := name.Value
		if len(at) > 80 || strings.ContainsFunc(at, func(r rune) bool { return !unicode.IsPrint(r) }) {
			at = input.Quote(at)
		}
		if key != "" {
			at = key + "." + at
		}
		here := origin{source: p.source, line: name.Line}
		switch line, twice := first[name.Value]; {
		case name.Kind != yaml.ScalarNode:
			text := "has " + yamlnode.Describe(name) + " where a key is needed; use a plain name"
			p.faults = append(p.faults, Fault{origin: here, key: key, text: text})
		case name.ShortTag() == "!!merge":
			p.faults = append(p.faults, Fault{origin: here, key: at, text: "is not supported; list the keys directly"})
		case twice:
			text := fmt.Sprintf("is written twice, first on line %d; keep one", line)
			p.faults = append(p.faults, Fault{origin: here, key: at, text: text})
		default:
			first[name.Value] = name.Line
			p.origins[at] = here
			each(name.Value, value, at)
		}
	}
}

// list reads a list. A plain value is a list of one entry, and an empty value a list of none. If the value refers to a
// variable or file, white space there separates the entries.
func (p *parser) list(n *yaml.Node, key string, each field) {
	n = yamlnode.Deref(n)
	switch {
	case n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", key, i)
			p.origins[at] = origin{source: p.source, line: item.Line}
			each(item, at)
		}
	case n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null":
		if !refers(n) {
			if n.Value != "" {
				each(n, key)
			}
			return
		}
		if text, ok := p.scalar(n, key); ok {
			p.list(words(text, n.Line), key, each)
		}
	default:
		p.fault(key, "is %s; use a list, such as [one, two], or [] for none", yamlnode.Describe(n))
	}
}

// words splits a text at white space into a list.
func words(text string, line int) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Line: line}
	for word := range strings.FieldsSeq(text) {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: word, Line: line})
	}
	return n
}

// refers reports whether a value is env:NAME or file:PATH.
func refers(n *yaml.Node) bool {
	return n.ShortTag() == "!!str" && (strings.HasPrefix(n.Value, "env:") || strings.HasPrefix(n.Value, "file:"))
}

// scalar reads a plain value, or the contents of the variable or file that it refers to.
func (p *parser) scalar(n *yaml.Node, key string) (text string, ok bool) {
	n = yamlnode.Deref(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		p.fault(key, "is %s; set one value, or leave the key out", yamlnode.Describe(n))
		return "", false
	}
	if !refers(n) {
		return n.Value, true
	}
	if name, isEnv := strings.CutPrefix(n.Value, "env:"); isEnv {
		if text = p.getenv(name); text == "" {
			p.fault(key, "the variable %s is not set; set it, or put the value here", input.Quote(name))
		}
		return text, text != ""
	}
	name := strings.TrimPrefix(n.Value, "file:")
	data, err := p.readFile(name)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		p.fault(
			key,
			"cannot read the file %s: %v; put the value in it and allow this user to read it",
			input.Quote(name),
			err,
		)
		return "", false
	}
	text = strings.TrimRight(string(data), "\r\n")
	switch {
	case text == "":
		p.fault(key, "the file %s is empty; put the value in it", input.Quote(name))
	case len(text) > maxValueBytes:
		p.fault(
			key,
			"the file %s is larger than %d bytes; put only the value in it",
			input.Quote(name),
			maxValueBytes,
		)
	case !utf8.ValidString(text):
		p.fault(key, "the file %s is not text; encode random bytes as base64", input.Quote(name))
	default:
		return text, true
	}
	return "", false
}

// text reads a string. Numbers, dates and so on must be quoted, because YAML could change how they are written.
func (p *parser) text(n *yaml.Node, key string) (string, bool) {
	n = yamlnode.Deref(n)
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!str" && n.ShortTag() != "!!null" {
		p.fault(key, "is %s; put it in quotes to make it text", yamlnode.Describe(n))
		return "", false
	}
	text, ok := p.scalar(n, key)
	if ok && strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		p.fault(key, "contains a control character; use plain text")
		return "", false
	}
	return text, ok
}

// stringValue reads a string into dst if check, which may be nil, returns no error.
func (p *parser) stringValue(dst *string, check func(string) error) field {
	return func(n *yaml.Node, key string) {
		text, ok := p.text(n, key)
		if !ok {
			return
		}
		if check != nil {
			if err := check(text); err != nil {
				p.fault(key, "%v", err)
				return
			}
		}
		*dst = text
	}
}

// stringList reads a list of distinct strings into dst; check applies to each.
func (p *parser) stringList(dst *[]string, check func(string) error) field {
	return p.distinct(dst, func(dst *string) field { return p.stringValue(dst, check) })
}

// scopeNames reads a list of distinct scopes into dst. Scopes may start with env: or file:, which is not a reference
// here.
func (p *parser) scopeNames(dst *[]string) field {
	return p.distinct(dst, func(dst *string) field {
		return func(n *yaml.Node, key string) {
			if n = yamlnode.Deref(n); refers(n) {
				*dst = n.Value
				return
			}
			p.stringValue(dst, nil)(n, key)
		}
	})
}

// distinct reads a list of distinct strings into dst, with the reader that one returns for each.
func (p *parser) distinct(dst *[]string, stringValue func(dst *string) field) field {
	return func(n *yaml.Node, key string) {
		*dst = []string{}
		p.list(n, key, func(n *yaml.Node, key string) {
			var text string
			before := len(p.faults)
			stringValue(&text)(n, key)
			switch {
			case len(p.faults) > before:
			case slices.Contains(*dst, text):
				p.fault(key, "%s is listed twice; remove one", input.Quote(text))
			default:
				*dst = append(*dst, text)
			}
		})
	}
}

// duration reads a duration that is not shorter than least.
func (p *parser) duration(dst *time.Duration, least time.Duration) field {
	return func(n *yaml.Node, key string) {
		text, ok := p.scalar(n, key)
		if !ok {
			return
		}
		d, err := input.ParseDuration(text)
		switch {
		case err != nil:
			p.fault(key, "%v", err)
		case d < least:
			p.fault(key, "%s is too short; use at least %s", input.FormatDuration(d), input.FormatDuration(least))
		default:
			*dst = d
		}
	}
}

// number reads a whole number between least and most.
func number[T int | int64](p *parser, dst *T, least, most T) field {
	return func(n *yaml.Node, key string) {
		text, ok := p.scalar(n, key)
		if !ok {
			return
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < int64(least) || v > int64(most) {
			p.fault(
				key,
				"%s is not a whole number from %d to %d; use one without separators",
				input.Quote(text),
				least,
				most,
			)
			return
		}
		*dst = T(v)
	}
}

// flag reads true or false.
func (p *parser) flag(dst *bool) field {
	return func(n *yaml.Node, key string) {
		switch text, ok := p.scalar(n, key); {
		case !ok:
		case text == "true" || text == "false":
			*dst = text == "true"
		default:
			p.fault(key, "%s is neither true nor false; use one of them", input.Quote(text))
		}
	}
}

// optionalFlag reads true or false, and leaves dst nil if the key is left out.
func (p *parser) optionalFlag(dst **bool) field {
	return func(n *yaml.Node, key string) {
		var chosen bool
		p.flag(&chosen)(n, key)
		*dst = &chosen
	}
}
