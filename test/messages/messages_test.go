// Package messages_test holds the rules about text that users read: all of it is in the catalogues of package locale, in
// every shipped language, and none of it is in a template itself.
package messages_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	templ "github.com/a-h/templ/parser/v2"
	"go.yaml.in/yaml/v3"

	"doorward/locale"
)

var update = flag.Bool("update", false, "rewrite the catalogue of English from the source")

const root = "../.."

// used returns the messages that the source names, each with the place where it is first named.
func used(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "test" || name == "examples" ||
				name == "tools" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			return messagesOf(path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// messagesOf adds the messages that a file names. A message that is not a literal is an error: no catalogue could have it.
func messagesOf(path string, found map[string]string) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	var faults []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		at, strict := messageArgument(call, file.Name.Name)
		if at < 0 || at >= len(call.Args) {
			return true
		}
		place := set.Position(call.Pos()).String()
		switch text, ok := literal(call.Args[at]); {
		case ok && found[text] == "":
			found[text] = place
		case !ok && strict && !strings.Contains(path, "/locale/") && !strings.HasSuffix(path, "/oauth/input/invalid.go"):
			// input.Faults.Add passes its literal on.
			faults = append(faults, place+": the message is not a literal")
		}
		return true
	})
	if len(faults) > 0 {
		return fmt.Errorf("%s", strings.Join(faults, "\n"))
	}
	return nil
}

// messageArgument returns which argument of a call is a message, or -1. strict says that it must be a literal.
func messageArgument(call *ast.CallExpr, in string) (index int, strict bool) {
	templates := in == "templates"
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		switch {
		case templates && fun.Name == "tr":
			return 1, true
		case templates && fun.Name == "sentence":
			return 0, true
		case fun.Name == "New": // in package locale
			return 0, false
		}
	case *ast.SelectorExpr:
		x, _ := fun.X.(*ast.Ident)
		switch {
		case fun.Sel.Name == "New" && x != nil && x.Name == "locale":
			return 0, true
		case fun.Sel.Name == "Text":
			return 0, false
		case fun.Sel.Name == "Add" && len(call.Args) >= 2 && in != "storage": // of input.Faults
			if _, isField := literal(call.Args[0]); isField {
				return 1, false
			}
		}
	}
	return -1, false
}

// literal returns the value of a string literal, or of several joined by +.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		a, okA := literal(e.X)
		b, okB := literal(e.Y)
		return a + b, okA && okB && e.Op == token.ADD
	case *ast.ParenExpr:
		return literal(e.X)
	}
	return "", false
}

func TestEveryMessageIsInTheCatalogueOfEnglish(t *testing.T) {
	source := used(t)
	if *update {
		rewrite(t, source)
	}
	listed := locale.Messages()
	for text, place := range source {
		if !slices.Contains(listed, text) {
			t.Errorf("%s: %q is missing from en.yaml; run: go test ./test/messages -update", place, text)
		}
	}
	for _, text := range listed {
		if source[text] == "" {
			t.Errorf("%q in en.yaml is not used", text)
		}
	}
}

func TestEveryShippedLanguageHasEveryMessage(t *testing.T) {
	for _, tag := range locale.Shipped[1:] {
		t.Run(tag, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(root, "locale/messages", tag+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if faults := locale.CheckCatalogue(tag, data); len(faults) > 0 {
				t.Error(faults)
			}
		})
	}
}

// TestTemplatesHoldNoText finds text in templates that no reader of another language could read.
func TestTemplatesHoldNoText(t *testing.T) {
	files, err := filepath.Glob(root + "/templates/*.templ")
	if err != nil || len(files) == 0 {
		t.Fatal("no templates", err)
	}
	for _, path := range files {
		file, err := templ.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range file.Nodes {
			if component, ok := node.(*templ.HTMLTemplate); ok {
				checkNodes(t, path, component.Children)
			}
		}
	}
}

func checkNodes(t *testing.T, path string, nodes []templ.Node) {
	t.Helper()
	for _, node := range nodes {
		switch n := node.(type) {
		case *templ.Text:
			if strings.ContainsFunc(n.Value, unicode.IsLetter) && !strings.HasPrefix(n.Value, "&") {
				t.Errorf("%s:%d: %q is not a message; use tr(ctx, …)", path, n.Range.From.Line+1, n.Value)
			}
		case *templ.Element:
			for _, a := range n.Attributes {
				checkAttribute(t, path, n, a)
			}
			checkNodes(t, path, n.Children)
		default:
			if c, ok := node.(templ.CompositeNode); ok {
				checkNodes(t, path, c.ChildNodes())
			}
		}
	}
}

// shown are the attributes whose value users see or hear.
var shown = []string{"alt", "aria-label", "aria-description", "placeholder", "title", "label", "data-label"}

func checkAttribute(t *testing.T, path string, e *templ.Element, a templ.Attribute) {
	t.Helper()
	switch a := a.(type) {
	case *templ.ConstantAttribute:
		if slices.Contains(shown, a.Key.String()) && strings.ContainsFunc(a.Value, unicode.IsLetter) {
			t.Errorf("%s:%d: %s=%q is not a message; use tr(ctx, …)", path, e.Range.From.Line+1, a.Key, a.Value)
		}
	case *templ.ConditionalAttribute:
		for _, inner := range slices.Concat(a.Then, a.Else) {
			checkAttribute(t, path, e, inner)
		}
	}
}

// rewrite adds the messages that are missing in the catalogue of English, and removes those that are not used.
func rewrite(t *testing.T, source map[string]string) {
	t.Helper()
	path := filepath.Join(root, "locale/messages/en.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var keep []*yaml.Node
	left := maps.Clone(source)
	for i := 0; i+1 < len(doc.Content[0].Content); i += 2 {
		name, value := doc.Content[0].Content[i], doc.Content[0].Content[i+1]
		if _, used := source[name.Value]; used {
			keep = append(keep, name, value)
		}
		delete(left, name.Value)
	}
	for _, text := range slices.Sorted(maps.Keys(left)) {
		keep = append(keep, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text},
			&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"})
	}
	doc.Content[0].Content = keep
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&doc); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log("en.yaml is rewritten; run the test again")
}
