package storage_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// method is a method of Store, as its source says.
type method struct {
	name     string
	calls    map[string]bool // methods of Store that it mentions
	altering bool            // it holds an altering statement
}

// methods are those of Store by their names.
type methods map[string]*method

// writing holds for the four verbs through which every statement that writes passes.
func writing(m *method) bool {
	return m.name == "exec" || m.name == "execReturning" || m.name == "execEach" || m.name == "execMany"
}

// storeMethods reads the source of the package.
func storeMethods(t *testing.T) methods {
	t.Helper()
	found := methods{}
	entries, err := os.ReadDir(".")
	must(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.SkipObjectResolution)
		must(t, err)
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				if receiver := storeReceiver(fn); receiver != "" {
					found[fn.Name.Name] = newMethod(fn, receiver)
				}
			}
		}
	}
	if found["exec"] == nil || found["execReturning"] == nil || found["execMany"] == nil {
		t.Fatal("Store.exec, Store.execReturning or Store.execMany is gone: the tests look for their callers")
	}
	return found
}

// storeReceiver is the name of a method's receiver, or empty unless that is a *Store.
func storeReceiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List[0].Names) == 0 {
		return ""
	}
	star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return ""
	}
	if id, ok := star.X.(*ast.Ident); !ok || id.Name != "Store" {
		return ""
	}
	return fn.Recv.List[0].Names[0].Name
}

func newMethod(fn *ast.FuncDecl, receiver string) *method {
	m := &method{name: fn.Name.Name, calls: map[string]bool{}}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && id.Name == receiver {
				m.calls[n.Sel.Name] = true
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "altering" {
				m.altering = true
			}
		}
		return true
	})
	return m
}

// reach reports whether a chain of calls leads from a method to one for which is holds.
func (all methods) reach(from string, is func(*method) bool) bool {
	seen := map[string]bool{}
	var reaches func(from string) bool
	reaches = func(from string) bool {
		m := all[from]
		if m == nil || seen[from] {
			return false
		}
		seen[from] = true
		if is(m) {
			return true
		}
		for to := range m.calls {
			if reaches(to) {
				return true
			}
		}
		return false
	}
	return reaches(from)
}
