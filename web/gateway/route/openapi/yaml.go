package openapi

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/web/gateway/route"
)

// YAML writes routes in the form of the configuration, one per line, after the notes as comments.
func YAML(routes []route.Route, notes []string) ([]byte, error) {
	var out strings.Builder
	for _, note := range notes {
		out.WriteString("# " + note + "\n")
	}
	out.WriteString("routes:\n")
	for _, r := range routes {
		line := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		line.Content = append(line.Content, plain("methods"), flow(r.Methods), plain("path"), plain(r.Path))
		yes := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}
		switch {
		case r.Public:
			line.Content = append(line.Content, plain("public"), yes)
		case r.Refuse:
			line.Content = append(line.Content, plain("refuse"), yes)
		default:
			line.Content = append(line.Content, plain("scopes"), flow(r.Scopes))
		}
		text, err := yaml.Marshal(line)
		if err != nil {
			return nil, fmt.Errorf("write the route %s: %w", r.Path, err)
		}
		out.WriteString("  - " + strings.TrimSuffix(string(text), "\n") + "\n")
	}
	return []byte(out.String()), nil
}

func plain(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

func flow(texts []string) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, text := range texts {
		list.Content = append(list.Content, plain(text))
	}
	return list
}
