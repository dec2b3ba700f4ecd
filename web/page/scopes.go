package page

import (
	"slices"
	"strings"

	"doorward/oauth/catalog"
	"doorward/templates"
)

// ScopeText is a scope in words; one without words stands for itself.
func ScopeText(x catalog.Scope) string {
	if x.Text != "" {
		return x.Text
	}
	return x.Name
}

// ScopeKind sorts a scope by how careful a person should be: by what its name says, and by whether it brings others.
func ScopeKind(x catalog.Scope) string {
	words := strings.FieldsFunc(strings.ToLower(x.Name), func(c rune) bool { return c == ':' || c == '/' || c == '.' || c == '?' || c == '#' })
	action := x.Name
	if len(words) > 0 {
		action = words[len(words)-1]
	}
	switch {
	case x.IsDangerous(), slices.Contains(words, "delete"), slices.Contains(words, "admin"):
		return templates.ScopeDanger
	case action == "read", action == "readonly", strings.HasPrefix(action, "read_"), strings.HasSuffix(action, "_read"):
		return templates.ScopeRead
	}
	return templates.ScopeWrite
}
