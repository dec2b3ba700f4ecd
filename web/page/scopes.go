package page

import (
	"context"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/templates"
)

// ScopeKind says how careful a user should be with a scope, as one of the Scope constants. It depends on the name and
// on the configuration.
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

// ScopeTree arranges scopes for a form, in the order of the catalogue: a scope that another one includes is listed
// under the first scope that includes it. person keeps the included scopes that need a user.
func ScopeTree(
	ctx context.Context, res *catalog.Resource, names []string, person bool, checked func(name string) bool,
) (tree []templates.ScopeChoice) {
	reader := locale.From(ctx)
	choice := func(name string) templates.ScopeChoice {
		x, _ := res.Scope(name)
		return templates.ScopeChoice{
			Name: name, Text: x.For(reader), Kind: ScopeKind(x), Checked: checked(name), UserOnly: x.UserOnly,
		}
	}
	placed := map[string]bool{}
	for _, name := range names {
		if slices.ContainsFunc(names, func(other string) bool {
			return other != name && res.Includes(other, name) && !res.Includes(name, other)
		}) {
			continue
		}
		top := choice(name)
		included := slices.DeleteFunc(res.Effective([]string{name}, "", person), func(other string) bool {
			return other == name
		})
		slices.SortStableFunc(included, func(a, b string) int { return slices.Index(names, a) - slices.Index(names, b) })
		for _, other := range included {
			if x := choice(other); slices.Contains(names, other) && !placed[other] {
				placed[other] = true
				top.Under = append(top.Under, templates.IncludedChoice{
					Name: x.Name, Text: x.Text, Kind: x.Kind, Checked: x.Checked, UserOnly: x.UserOnly,
				})
			} else {
				top.Also = append(top.Also, x.Text)
			}
		}
		tree = append(tree, top)
	}
	return tree
}
