package page

import (
	"slices"
	"strings"

	"doorward/oauth/catalog"
	"doorward/templates"
)

// ScopeText returns the text of a scope, or its name if it has none.
func ScopeText(x catalog.Scope) string {
	if x.Text != "" {
		return x.Text
	}
	return x.Name
}

// ScopeKind says how careful a user should be with a scope, as one of the Scope constants. It judges by the name, and
// by the configuration.
func ScopeKind(x catalog.Scope) string {
	words := strings.FieldsFunc(strings.ToLower(x.Name), func(c rune) bool { return strings.ContainsRune(":/.?#", c) })
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
