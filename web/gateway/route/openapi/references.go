package openapi

import (
	"errors"
	"net/url"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/config/yamlnode"
	"doorward/oauth/input"
)

// mapping is a mapping with its merge keys applied and its $ref not followed.
type mapping struct {
	place
	entries []entry
	index   map[string]int
	twice   map[string]bool // names that are written more than once
	err     error           // why it cannot be read
}

type entry struct {
	name  string
	key   place
	value place
}

// get finds the value of a name. A name that is written twice is a fault, because programs differ in which one they
// use.
func (m *mapping) get(name string) (value place, ok bool, err error) {
	i, ok := m.index[name]
	if !ok {
		return place{}, false, nil
	}
	if m.twice[name] {
		return place{}, true, m.entries[i].key.fault("%s is written twice; keep one", input.Quote(name))
	}
	return m.entries[i].value, true, nil
}

// mapping reads a mapping and applies its merge keys: names in the mapping itself override merged ones, and of several
// merged mappings the first overrides the others.
func (f *fileSet) mapping(p place, what string) (*mapping, error) {
	p.node = yamlnode.Deref(p.node)
	if m, ok := f.mappings[p.node]; ok {
		return m, m.err
	}
	m := &mapping{place: p, index: map[string]int{}, twice: map[string]bool{}}
	if p.node.Kind != yaml.MappingNode || p.node.ShortTag() != "!!map" {
		return m, p.fault("%s must be a mapping of keys and values, but is %s", what, yamlnode.Describe(p.node))
	}
	m.err = p.fault("%s has a merge key that leads back to itself; list the keys directly", what)
	f.mappings[p.node] = m
	m.err = f.fill(m, what)
	return m, m.err
}

func (f *fileSet) fill(m *mapping, what string) error {
	var merged []place
	content := m.node.Content
	for i := 0; i+1 < len(content); i += 2 {
		key := place{m.file, yamlnode.Deref(content[i])}
		if key.node.Kind != yaml.ScalarNode {
			return key.fault("%s has %s where a key belongs; use a plain name", what, yamlnode.Describe(key.node))
		}
		value := place{m.file, yamlnode.Deref(content[i+1])}
		if key.node.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		m.add(entry{key.node.Value, key, value})
	}
	if len(merged) > 1 {
		return merged[1].fault("%s has two merge keys; use one with a list", what)
	}
	if len(merged) == 0 {
		return nil
	}
	if f.merging++; f.merging > maxMergeDepth {
		f.merging--
		return merged[0].fault(
			"%s has more than %d merge keys within each other; list the keys directly",
			what,
			maxMergeDepth,
		)
	}
	defer func() { f.merging-- }()
	sources := merged
	if merged[0].node.Kind == yaml.SequenceNode {
		sources = nil
		for _, item := range merged[0].node.Content {
			sources = append(sources, place{m.file, yamlnode.Deref(item)})
		}
	}
	for _, source := range sources {
		from, err := f.mapping(source, "what "+what+" merges")
		if err != nil {
			return err
		}
		for _, e := range from.entries {
			if _, written := m.index[e.name]; written {
				continue
			}
			if f.values++; f.values > 2*maxValues {
				return m.fault("%s merges too many keys; list them directly", what)
			}
			m.add(e)
			if from.twice[e.name] {
				m.twice[e.name] = true
			}
		}
	}
	return nil
}

func (m *mapping) add(e entry) {
	if _, ok := m.index[e.name]; ok {
		m.twice[e.name] = true
	} else {
		m.index[e.name] = len(m.entries)
	}
	m.entries = append(m.entries, e)
}

// layers reads a mapping that may be a reference. The keys beside each $ref are a layer; the last layer is the target.
// If a reference is broken, it returns the layers up to there and an error.
func (f *fileSet) layers(p place, what string) ([]*mapping, error) {
	var all []*mapping
	for range maxReferences {
		m, err := f.mapping(p, what)
		if err != nil {
			return all, err
		}
		ref, isReference, err := m.get("$ref")
		if !isReference || len(m.entries) > 1 {
			all = append(all, m)
		}
		if err != nil || !isReference {
			return all, err
		}
		if p, err = f.follow(ref, what); err != nil {
			return all, err
		}
	}
	return all, p.fault(
		"%s is a reference that leads back to itself, or through more than %d others; replace it with its content",
		what,
		maxReferences,
	)
}

// value follows references to a value that need not be a mapping. These references may not have other keys beside $ref.
func (f *fileSet) value(p place, what string) (place, error) {
	for range maxReferences {
		p.node = yamlnode.Deref(p.node)
		if p.node.Kind != yaml.MappingNode {
			return p, nil
		}
		m, err := f.mapping(p, what)
		if err != nil {
			return p, err
		}
		ref, isReference, err := m.get("$ref")
		switch {
		case err != nil:
			return p, err
		case !isReference:
			return p, nil
		case len(m.entries) > 1:
			return p, p.fault("%s has keys beside its $ref; leave them out", what)
		}
		if p, err = f.follow(ref, what); err != nil {
			return p, err
		}
	}
	return p, p.fault(
		"%s is a reference that leads back to itself, or through more than %d others; replace it with its content",
		what,
		maxReferences,
	)
}

// follow finds the target of a reference: in the same file, or in one in the document's folder or below.
func (f *fileSet) follow(ref place, what string) (place, error) {
	if ref.node.Kind != yaml.ScalarNode || ref.node.ShortTag() != "!!str" {
		return ref, ref.fault(
			"%s has a $ref that is %s; use a reference, such as \"#/components/…\"",
			what,
			yamlnode.Describe(ref.node),
		)
	}
	if f.followed++; f.followed > maxFollowed {
		return ref, ref.fault("%s is one of more than %d references; replace it with its content", what, maxFollowed)
	}
	text := ref.node.Value
	name, fragment, _ := strings.Cut(text, "#")
	target := ref.file
	if name != "" {
		u, err := url.Parse(name)
		switch {
		case err != nil:
			return ref, ref.fault(
				"%s refers to %s, which is not a reference; use a file and a fragment",
				what,
				input.Quote(text),
			)
		case u.Scheme != "" || u.Host != "" || strings.HasPrefix(name, "/"):
			return ref, ref.fault(
				"%s refers to %s, but only files in the document's folder are read; "+
					"put a copy beside the document and refer to that",
				what,
				input.Quote(text),
			)
		case u.RawQuery != "" || u.ForceQuery || u.Path == "" || strings.ContainsAny(u.Path, "\\\x00"):
			return ref, ref.fault("%s refers to %s, which is not a file; use its path", what, input.Quote(text))
		case ref.file.path == "":
			return ref, ref.fault(
				"%s refers to %s, and standard input has no files beside it; name the document's file",
				what,
				input.Quote(text),
			)
		}
		file := path.Join(path.Dir(ref.file.path), u.Path)
		if file == ".." || strings.HasPrefix(file, "../") {
			return ref, ref.fault(
				"%s refers to %s, which is outside of the document's folder; put a copy into it",
				what,
				input.Quote(text),
			)
		}
		if target = f.open(file); target.err != nil {
			var inside documentFault
			if errors.As(target.err, &inside) {
				return ref, ref.fault("%s refers to %s, which cannot be used: %v", what, input.Quote(text), target.err)
			}
			return ref, ref.fault("%s refers to %s, a file that %v", what, input.Quote(text), target.err)
		}
	}
	fragment, err := url.PathUnescape(fragment)
	if err != nil {
		return ref, ref.fault("%s refers to %s, which has a broken escape; fix it", what, input.Quote(text))
	}
	at := place{target, target.root}
	if fragment == "" {
		return at, nil
	}
	pointer, ok := strings.CutPrefix(fragment, "/")
	if !ok {
		return ref, ref.fault(
			"%s refers to %s by the name of an anchor; use a path, such as #/components/…",
			what,
			input.Quote(text),
		)
	}
	for step := range strings.SplitSeq(pointer, "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if at, ok = f.step(at, step, what); !ok {
			return ref, ref.fault("%s refers to %s, which is not there; fix the reference", what, input.Quote(text))
		}
	}
	return at, nil
}

// step finds a part of a value. If the value is a reference, it finds a part of the target.
func (f *fileSet) step(at place, name, what string) (place, bool) {
	at.node = yamlnode.Deref(at.node)
	if at.node.Kind == yaml.SequenceNode {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(at.node.Content) || strconv.Itoa(i) != name {
			return at, false
		}
		return place{at.file, yamlnode.Deref(at.node.Content[i])}, true
	}
	for range maxReferences {
		m, err := f.mapping(at, what)
		if err != nil {
			return at, false
		}
		if value, ok, err := m.get(name); ok {
			return value, err == nil
		}
		ref, ok, err := m.get("$ref")
		if !ok || err != nil {
			return at, false
		}
		if f.merging++; f.merging > maxMergeDepth { // references whose paths lead through references
			f.merging--
			return at, false
		}
		at, err = f.follow(ref, what)
		f.merging--
		if err != nil {
			return at, false
		}
	}
	return at, false
}

// list returns the entries of a list, which may be a reference.
func (f *fileSet) list(p place, what string) ([]place, error) {
	p, err := f.value(p, what)
	if err != nil {
		return nil, err
	}
	if p.node.Kind != yaml.SequenceNode || p.node.ShortTag() != "!!seq" {
		return nil, p.fault("%s must be a list, but is %s", what, yamlnode.Describe(p.node))
	}
	items := make([]place, len(p.node.Content))
	for i, n := range p.node.Content {
		items[i] = place{p.file, yamlnode.Deref(n)}
	}
	return items, nil
}

// text returns a string, or the text of a number, boolean or date.
func (f *fileSet) text(p place, what string) (string, error) {
	p.node = yamlnode.Deref(p.node)
	if p.node.Kind == yaml.ScalarNode {
		switch p.node.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
			return p.node.Value, nil
		}
	}
	return "", p.fault("%s must be text, but is %s", what, yamlnode.Describe(p.node))
}
