package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"doorward/config/yamlnode"
)

// Bounds on an OpenAPI document with all its files, so that a wrong or hostile one gives an error.
const (
	MaxBytes      = 32 << 20
	maxValues     = 4_000_000
	maxFiles      = 10_000
	maxReferences = 32 // that lead from one to the next
	maxFollowed   = 1_000_000
	maxMergeDepth = 100 // of merge keys within merge keys
)

// place is a value in one file of a document.
type place struct {
	file *sourceFile
	node *yaml.Node
}

// String returns the place as NAME:LINE.
func (p place) String() string {
	if p.node == nil || p.node.Line == 0 {
		return p.file.name
	}
	return fmt.Sprintf("%s:%d", p.file.name, p.node.Line)
}

// fault returns an error about a place.
func (p place) fault(format string, args ...any) error {
	return documentFault{p.String(), fmt.Sprintf(format, args...)}
}

// documentFault is an error in a document, or at a place in it.
type documentFault struct{ origin, text string }

func (f documentFault) Error() string { return f.origin + ": " + f.text }

// sourceFile is one file of a document.
type sourceFile struct {
	name string // for people
	path string // below the folder, with slashes; empty: standard input, which has no files beside it
	root *yaml.Node
	err  error // why it cannot be read
}

// fileSet holds the files of a document. References lead only to files in the folder of the first file or below.
type fileSet struct {
	folder   string // empty: there is none
	files    map[string]*sourceFile
	bytes    int
	values   int
	mappings map[*yaml.Node]*mapping
	merging  int // merge keys and references that are being followed, within each other
	followed int // references
}

func newFileSet(folder string) *fileSet {
	return &fileSet{folder: folder, files: map[string]*sourceFile{}, mappings: map[*yaml.Node]*mapping{}}
}

// first adds the document's own file.
func (f *fileSet) first(name, file string, data []byte) (place, error) {
	first := &sourceFile{name: name, path: file}
	if file != "" {
		f.files[file] = first
	}
	f.bytes += len(data)
	first.root, first.err = f.parse(first, data)
	return place{first, first.root}, first.err
}

// open reads a file that a reference names, unless it was read before.
func (f *fileSet) open(name string) *sourceFile {
	if file, ok := f.files[name]; ok {
		return file
	}
	file := &sourceFile{name: printable(name), path: name}
	f.files[name] = file
	data, err := f.read(name)
	if err == nil {
		file.root, err = f.parse(file, data)
	}
	file.err = err
	return file
}

func (f *fileSet) read(name string) ([]byte, error) {
	if len(f.files) > maxFiles {
		return nil, fmt.Errorf("is one of more than %d files", maxFiles)
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
	left := MaxBytes - f.bytes
	data, err := io.ReadAll(io.LimitReader(file, int64(left)+1))
	switch {
	case err != nil:
		return nil, errors.New("cannot be read")
	case len(data) > left:
		return nil, fmt.Errorf("makes the document larger than %d MiB", MaxBytes>>20)
	}
	f.bytes += len(data)
	return data, nil
}

// parse parses JSON or YAML into nodes with line numbers. JSON has its own parser, because YAML does not support all of
// its escapes and tabs.
func (f *fileSet) parse(file *sourceFile, data []byte) (*yaml.Node, error) {
	whole := place{file, nil}
	utf16 := bytes.HasPrefix(data, []byte{0xfe, 0xff}) || bytes.HasPrefix(data, []byte{0xff, 0xfe})
	if !utf16 && !utf8.Valid(data) {
		return nil, whole.fault("is not UTF-8 text; save it as UTF-8")
	}
	tooMany := whole.fault(
		"contains more than %d values; remove schemas and examples, which routes do not need",
		maxValues,
	)
	if trimmed := bytes.TrimLeft(data, "\ufeff \t\r\n"); bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		if f.values+countJSON(trimmed) > maxValues {
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
	if f.values > maxValues {
		return nil, tooMany
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, whole.fault("is empty; name the OpenAPI document of your API")
	case err != nil:
		line, text := yamlnode.SyntaxFault(err)
		at := place{file, &yaml.Node{Line: line}}
		return nil, at.fault("%s, and it is not JSON; name the OpenAPI document of your API", text)
	case len(doc.Content) == 0:
		return nil, whole.fault("is empty; name the OpenAPI document of your API")
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, whole.fault("contains a second document after ---; keep one")
	}
	return yamlnode.Deref(doc.Content[0]), nil
}
