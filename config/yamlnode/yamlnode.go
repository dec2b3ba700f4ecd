// Package yamlnode describes YAML nodes and syntax errors in words, for the packages that read YAML as nodes. It does
// not know what the values mean.
package yamlnode

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/oauth/input"
)

// Deref follows an alias.
func Deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// Describe names the type of a node, for an error that says what is expected instead.
func Describe(n *yaml.Node) string {
	tagged := func(text, usual string) string {
		if tag := n.ShortTag(); tag != usual {
			text += " with the tag " + input.Quote(tag)
		}
		return text
	}
	switch n.Kind {
	case yaml.MappingNode:
		return tagged("a mapping of keys and values", "!!map")
	case yaml.SequenceNode:
		return tagged("a list", "!!seq")
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!str":
		return "a plain value"
	}
	return "a value of type " + input.Quote(n.Tag)
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// SyntaxFault returns the line and the text of a YAML error, with a hint on how to fix it.
func SyntaxFault(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	text = "is not YAML: " + text
	switch {
	case strings.Contains(text, "cannot start any token"):
		text += "; indent with spaces, not tabs, and put a value that starts with @, ` or % in quotes"
	case strings.Contains(text, "mapping values are not allowed"):
		text += "; put a value that contains a colon and a space in quotes, and indent the keys of a mapping equally"
	case strings.Contains(text, "did not find expected"):
		text += "; check the indentation and the brackets, and put a value such as \"[::1]:8080\" in quotes"
	}
	return line, text
}
