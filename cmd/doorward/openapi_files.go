package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"doorward/config/yamlnode"
	"doorward/oauth/input"

	"go.yaml.in/yaml/v3"
)

// Bounds on an OpenAPI document with all its files, so that a wrong or hostile one ends in a sentence.
const (
	maxOpenAPIBytes  = 32 << 20
	maxOpenAPIValues = 4_000_000
	maxOpenAPIFiles  = 10_000
	maxReferences    = 32 // that lead from one to the next
	maxFollowed      = 1_000_000
	maxMergeDepth    = 100 // of merge keys within merge keys
)

// place is a value in one file of a document.
type place struct {
	file *openAPIFile
	node *yaml.Node
}

// String names the place for a person, as NAME:LINE.
func (p place) String() string {
	if p.node == nil || p.node.Line == 0 {
		return p.file.name
	}
	return fmt.Sprintf("%s:%d", p.file.name, p.node.Line)
}

// fault is what is wrong at a place.
func (p place) fault(format string, args ...any) error {
	return documentFault{p.String(), fmt.Sprintf(format, args...)}
}

// documentFault is what is wrong with a document, or with one place in it.
type documentFault struct{ origin, text string }

func (f documentFault) Error() string { return f.origin + ": " + f.text }

// openAPIFile is one file of a document.
type openAPIFile struct {
	name string // for people
	path string // below the folder, with slashes; empty: standard input, which has no files beside it
	root *yaml.Node
	err  error // why it cannot be read
}

// openAPIFiles are the files of a document that were read. References lead to files in the folder of the first and
// below it, never elsewhere and never over the network.
type openAPIFiles struct {
	folder   string // empty: there is none
	files    map[string]*openAPIFile
	bytes    int
	values   int
	mappings map[*yaml.Node]*mapping
	merging  int // merge keys and references that are being followed, within each other
	followed int // references
}

// mapping is a mapping with what its merge keys bring, and without its $ref being followed.
type mapping struct {
	place
	entries []entry
	index   map[string]int
	twice   map[string]bool // names that are written more than once
	err     error           // why nothing can be said about it
}

type entry struct {
	name  string
	key   place
	value place
}

// get finds the value of a name. A name that is written twice is a fault, because programs differ in which one they use.
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

func newOpenAPIFiles(folder string) *openAPIFiles {
	return &openAPIFiles{folder: folder, files: map[string]*openAPIFile{}, mappings: map[*yaml.Node]*mapping{}}
}

// first takes in the file that was named.
func (f *openAPIFiles) first(name, file string, data []byte) (place, error) {
	first := &openAPIFile{name: name, path: file}
	if file != "" {
		f.files[file] = first
	}
	f.bytes += len(data)
	first.root, first.err = f.parse(first, data)
	return place{first, first.root}, first.err
}

// open reads a file that a reference names, once.
func (f *openAPIFiles) open(name string) *openAPIFile {
	if file, ok := f.files[name]; ok {
		return file
	}
	file := &openAPIFile{name: printable(name), path: name}
	f.files[name] = file
	data, err := f.read(name)
	if err == nil {
		file.root, err = f.parse(file, data)
	}
	file.err = err
	return file
}

func (f *openAPIFiles) read(name string) ([]byte, error) {
	if len(f.files) > maxOpenAPIFiles {
		return nil, fmt.Errorf("is one of more than %d files", maxOpenAPIFiles)
	}
	root, err := os.OpenRoot(f.folder)
	if err != nil {
		return nil, errors.New("is in a folder that cannot be read")
	}
	defer root.Close() //nolint:errcheck // only read
	info, err := root.Stat(filepath.FromSlash(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("does not exist")
	case err != nil:
		return nil, errors.New("cannot be read: it is outside of the document's folder, or not readable")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a file")
	}
	file, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, errors.New("cannot be opened")
	}
	defer file.Close() //nolint:errcheck // only read
	left := maxOpenAPIBytes - f.bytes
	data, err := io.ReadAll(io.LimitReader(file, int64(left)+1))
	switch {
	case err != nil:
		return nil, errors.New("cannot be read")
	case len(data) > left:
		return nil, fmt.Errorf("makes the document larger than %d MiB", maxOpenAPIBytes>>20)
	}
	f.bytes += len(data)
	return data, nil
}

// parse reads JSON or YAML into nodes that know their lines. JSON has escapes and tabs that YAML does not have.
func (f *openAPIFiles) parse(file *openAPIFile, data []byte) (*yaml.Node, error) {
	whole := place{file, nil}
	utf16 := bytes.HasPrefix(data, []byte{0xfe, 0xff}) || bytes.HasPrefix(data, []byte{0xff, 0xfe})
	if !utf16 && !utf8.Valid(data) {
		return nil, whole.fault("is not UTF-8 text; save it as UTF-8")
	}
	tooMany := whole.fault("holds more than %d values; leave out schemas and examples, which routes do not need", maxOpenAPIValues)
	if trimmed := bytes.TrimLeft(data, "\ufeff \t\r\n"); bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		if f.values+countJSON(trimmed) > maxOpenAPIValues {
			return nil, tooMany
		}
		r := &jsonReader{files: f, text: trimmed, line: 1 + bytes.Count(data[:len(data)-len(trimmed)], []byte("\n"))}
		r.decoder = json.NewDecoder(bytes.NewReader(trimmed))
		r.decoder.UseNumber()
		return r.value(), nil
	}
	for _, c := range data { // each value but the first has one of these before it
		if strings.IndexByte("\n,:[{", c) >= 0 {
			f.values++
		}
	}
	if f.values > maxOpenAPIValues {
		return nil, tooMany
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, whole.fault("is empty; name the OpenAPI document of your API")
	case err != nil:
		line, text := yamlnode.SyntaxFault(err)
		return nil, place{file, &yaml.Node{Line: line}}.fault("%s, nor JSON; name the OpenAPI document of your API", text)
	case len(doc.Content) == 0:
		return nil, whole.fault("is empty; name the OpenAPI document of your API")
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, whole.fault("holds a second document after ---; keep one")
	}
	return yamlnode.Deref(doc.Content[0]), nil
}

// countJSON counts the values of valid JSON, about.
func countJSON(data []byte) (n int) {
	inText := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case !inText && (c == ',' || c == ':' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// jsonReader makes nodes of valid JSON.
type jsonReader struct {
	files   *openAPIFiles
	decoder *json.Decoder
	text    []byte
	offset  int64 // up to which lines were counted
	line    int
}

func (r *jsonReader) token() json.Token {
	token, err := r.decoder.Token()
	if err != nil {
		return nil // not reached: the text is valid
	}
	now := r.decoder.InputOffset()
	r.line += bytes.Count(r.text[r.offset:now], []byte("\n"))
	r.offset = now
	r.files.values++
	return token
}

func (r *jsonReader) value() *yaml.Node {
	token := r.token()
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch v := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if v == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		for r.decoder.More() {
			n.Content = append(n.Content, r.value()) // the names of an object are values to the decoder
		}
		r.token()
	case string:
		n.Tag, n.Value = "!!str", v
	case json.Number:
		n.Tag, n.Value = "!!float", v.String()
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	default:
		n.Tag = "!!null"
	}
	return n
}

// mapping reads a mapping, with what its merge keys bring: a name that is written in the mapping itself counts before a
// merged one, and of several merged mappings the first counts.
func (f *openAPIFiles) mapping(p place, what string) (*mapping, error) {
	p.node = yamlnode.Deref(p.node)
	if m, ok := f.mappings[p.node]; ok {
		return m, m.err
	}
	m := &mapping{place: p, index: map[string]int{}, twice: map[string]bool{}}
	if p.node.Kind != yaml.MappingNode || p.node.ShortTag() != "!!map" {
		return m, p.fault("%s is %s; a mapping of keys and values belongs there", what, yamlnode.Describe(p.node))
	}
	m.err = p.fault("%s has a merge key that leads back to itself; write the keys out", what)
	f.mappings[p.node] = m
	m.err = f.fill(m, what)
	return m, m.err
}

func (f *openAPIFiles) fill(m *mapping, what string) error {
	var merged []place
	content := m.node.Content
	for i := 0; i+1 < len(content); i += 2 {
		key := place{m.file, yamlnode.Deref(content[i])}
		if key.node.Kind != yaml.ScalarNode {
			return key.fault("%s has %s where a key belongs; write a plain name", what, yamlnode.Describe(key.node))
		}
		value := place{m.file, yamlnode.Deref(content[i+1])}
		if key.node.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		m.add(entry{key.node.Value, key, value})
	}
	if len(merged) > 1 {
		return merged[1].fault("%s has two merge keys; write one with a list", what)
	}
	if len(merged) == 0 {
		return nil
	}
	if f.merging++; f.merging > maxMergeDepth {
		f.merging--
		return merged[0].fault("%s has more than %d merge keys within each other; write the keys out", what, maxMergeDepth)
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
			if f.values++; f.values > 2*maxOpenAPIValues {
				return m.fault("%s merges too many keys; write them out", what)
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

// layers reads a mapping that may be a reference. What is beside a $ref comes first, if there is anything; the last
// layer is what the references lead to. Where they lead nowhere, the layers up to there come with the fault.
func (f *openAPIFiles) layers(p place, what string) ([]*mapping, error) {
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
	return all, p.fault("%s is a reference that leads back to itself, or through more than %d others; write it out", what, maxReferences)
}

// value follows references to a value that need not be a mapping. Nothing may stand beside these.
func (f *openAPIFiles) value(p place, what string) (place, error) {
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
	return p, p.fault("%s is a reference that leads back to itself, or through more than %d others; write it out", what, maxReferences)
}

// follow finds what a reference names: in the same file, or in one in the document's folder or below it.
func (f *openAPIFiles) follow(ref place, what string) (place, error) {
	if ref.node.Kind != yaml.ScalarNode || ref.node.ShortTag() != "!!str" {
		return ref, ref.fault("%s has a $ref that is %s; write a reference, such as \"#/components/…\"", what, yamlnode.Describe(ref.node))
	}
	if f.followed++; f.followed > maxFollowed {
		return ref, ref.fault("%s is one of more than %d references; write it out", what, maxFollowed)
	}
	text := ref.node.Value
	name, fragment, _ := strings.Cut(text, "#")
	target := ref.file
	if name != "" {
		u, err := url.Parse(name)
		switch {
		case err != nil:
			return ref, ref.fault("%s refers to %s, which is not a reference; write a file and a fragment", what, input.Quote(text))
		case u.Scheme != "" || u.Host != "" || strings.HasPrefix(name, "/"):
			return ref, ref.fault("%s refers to %s, and nothing is read over the network or from elsewhere; put a copy beside the document and refer to that", what, input.Quote(text))
		case u.RawQuery != "" || u.ForceQuery || u.Path == "" || strings.ContainsAny(u.Path, "\\\x00"):
			return ref, ref.fault("%s refers to %s, which is not a file; write its path", what, input.Quote(text))
		case ref.file.path == "":
			return ref, ref.fault("%s refers to %s, and standard input has no files beside it; name the document's file", what, input.Quote(text))
		}
		file := path.Join(path.Dir(ref.file.path), u.Path)
		if file == ".." || strings.HasPrefix(file, "../") {
			return ref, ref.fault("%s refers to %s, which is outside of the document's folder; put a copy into it", what, input.Quote(text))
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
		return ref, ref.fault("%s refers to %s by the name of an anchor; write a path, such as #/components/…", what, input.Quote(text))
	}
	for step := range strings.SplitSeq(pointer, "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if at, ok = f.step(at, step, what); !ok {
			return ref, ref.fault("%s refers to %s, which is not there; fix the reference", what, input.Quote(text))
		}
	}
	return at, nil
}

// step finds a part of a value. Where the value is itself a reference, it is a part of what that leads to.
func (f *openAPIFiles) step(at place, name, what string) (place, bool) {
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

// list are the entries of a list, which may be a reference.
func (f *openAPIFiles) list(p place, what string) ([]place, error) {
	p, err := f.value(p, what)
	if err != nil {
		return nil, err
	}
	if p.node.Kind != yaml.SequenceNode || p.node.ShortTag() != "!!seq" {
		return nil, p.fault("%s is %s; a list belongs there", what, yamlnode.Describe(p.node))
	}
	items := make([]place, len(p.node.Content))
	for i, n := range p.node.Content {
		items[i] = place{p.file, yamlnode.Deref(n)}
	}
	return items, nil
}

// text is a value that is text, or a number or the like as it is written.
func (f *openAPIFiles) text(p place, what string) (string, error) {
	p.node = yamlnode.Deref(p.node)
	if p.node.Kind == yaml.ScalarNode {
		switch p.node.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
			return p.node.Value, nil
		}
	}
	return "", p.fault("%s is %s; text belongs there", what, yamlnode.Describe(p.node))
}
