package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"doorward/config"
	"doorward/web/gateway/route"

	"go.yaml.in/yaml/v3"
)

type routesCommand struct {
	FromOpenAPI routesFromOpenAPI `cmd:"" name:"from-openapi" help:"Print the routes of a resource from the OpenAPI document of its API."`
}

type routesFromOpenAPI struct {
	output
	File        string `arg:"" help:"The document, OpenAPI 3.0 or 3.1 or Swagger 2.0 in JSON or YAML; - reads it from standard input. References lead to files in its folder and below."`
	PlainScopes bool   `name:"plain-scopes" help:"Write scopes such as users:delete without the colon, so that no other scope includes them."`
}

// Run prints what goes under routes of a resource: YAML to be copied, with what was decided in comments, or a JSON array,
// with the comments on standard error.
func (c routesFromOpenAPI) Run(_ context.Context, a *app) error {
	name, data, err := a.readDocument(c.File)
	if err != nil {
		return err
	}
	folder, file := filepath.Split(c.File)
	if c.File == "-" {
		folder, file = "", ""
	} else if folder == "" {
		folder = "."
	}
	routes, notes, refused, err := importRoutes(name, folder, file, data, importOptions{plainScopes: c.PlainScopes})
	if err != nil {
		return err
	}
	text, err := routesYAML(routes, notes)
	switch {
	case err != nil:
		return err
	case len(text) > config.MaxBytes:
		return fmt.Errorf("%s: makes %d routes, more than the %d bytes of a configuration hold; split the API into several resources, or write general routes, such as /v1/**", name, len(routes), config.MaxBytes)
	}
	if c.JSON {
		for _, note := range notes {
			_, _ = fmt.Fprintln(a.stderr, note)
		}
	} else if refused > 0 {
		_, _ = fmt.Fprintf(a.stderr, "%s: %s could not be read and is refused by a route; the comments say why\n", printable(name), elements(refused))
	}
	rows := make([]routeJSON, len(routes))
	for i, r := range routes {
		rows[i] = routeJSON{Methods: r.Methods, Path: r.Path, Scopes: r.Scopes, Public: r.Public, Refuse: r.Refuse}
	}
	return c.print(a, rows, func(w io.Writer) { _, _ = w.Write(text) })
}

// routeJSON is a route with the names of the configuration: it has scopes, or is public, or refuses.
type routeJSON struct {
	Methods []string
	Path    string
	Scopes  []string
	Public  bool
	Refuse  bool
}

// MarshalJSON writes scopes where a credential is needed, also where there are none.
func (r routeJSON) MarshalJSON() ([]byte, error) {
	row := struct {
		Methods []string  `json:"methods"`
		Path    string    `json:"path"`
		Scopes  *[]string `json:"scopes,omitempty"`
		Public  bool      `json:"public,omitempty"`
		Refuse  bool      `json:"refuse,omitempty"`
	}{Methods: r.Methods, Path: r.Path, Public: r.Public, Refuse: r.Refuse}
	if !r.Public && !r.Refuse {
		scopes := append([]string{}, r.Scopes...)
		row.Scopes = &scopes
	}
	return json.Marshal(row)
}

// readDocument reads a file of at most maxOpenAPIBytes, or standard input.
func (a *app) readDocument(file string) (name string, data []byte, err error) {
	name, source := file, a.stdin
	if file == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(file) //nolint:gosec // the operator names the file
		if err != nil {
			return name, nil, fmt.Errorf("read the OpenAPI document: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		source = f
	}
	data, err = io.ReadAll(io.LimitReader(source, maxOpenAPIBytes+1))
	switch {
	case err != nil:
		return name, nil, fmt.Errorf("read the OpenAPI document: %w", err)
	case len(data) > maxOpenAPIBytes:
		return name, nil, fmt.Errorf("%s: is larger than %d MiB; leave out schemas and examples, which routes do not need", name, maxOpenAPIBytes>>20)
	case strings.TrimSpace(string(data)) == "":
		return name, nil, fmt.Errorf("%s: is empty; name the OpenAPI document of your API", name)
	}
	return name, data, nil
}

// routesYAML writes routes as they stand in a configuration, one on a line.
func routesYAML(routes []route.Route, notes []string) ([]byte, error) {
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
