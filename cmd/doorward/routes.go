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
	"doorward/web/gateway/route/openapi"
)

type routesCommand struct {
	FromOpenAPI routesFromOpenAPI `cmd:"" name:"from-openapi" help:"Print the routes of a resource from the OpenAPI document of its API."`
}

type routesFromOpenAPI struct {
	output
	File        string `arg:"" help:"OpenAPI 3.0 or 3.1, or Swagger 2.0, in JSON or YAML; - reads standard input. $ref can point to files in the same folder and its subfolders."`
	PlainScopes bool   `name:"plain-scopes" help:"Write users:delete and similar scopes with another separator, such as users.delete, so that no other scope includes them."`
}

// Run prints the routes of a resource: as YAML with comments, to be copied into the configuration, or as a JSON array,
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
	result, err := openapi.Import(
		openapi.Source{Name: name, Folder: folder, File: file, Data: data},
		openapi.Options{PlainScopes: c.PlainScopes},
	)
	if err != nil {
		return err
	}
	text, err := openapi.YAML(result.Routes, result.Notes)
	switch {
	case err != nil:
		return err
	case len(text) > config.MaxBytes:
		return fmt.Errorf(
			"%s: has %d routes, which do not fit into a configuration of %d bytes; "+
				"split the API into several resources, or use general routes such as /v1/**",
			name,
			len(result.Routes),
			config.MaxBytes,
		)
	}
	if c.JSON {
		for _, note := range result.Notes {
			_, _ = fmt.Fprintln(a.stderr, note)
		}
	} else if result.Warning != "" {
		_, _ = fmt.Fprintln(a.stderr, result.Warning)
	}
	rows := make([]routeJSON, len(result.Routes))
	for i, r := range result.Routes {
		rows[i] = routeJSON{Methods: r.Methods, Path: r.Path, Scopes: r.Scopes, Public: r.Public, Refuse: r.Refuse}
	}
	return c.print(a, rows, func(w io.Writer) { _, _ = w.Write(text) })
}

// routeJSON is a route with the names of the configuration. It has scopes, is public or is refused.
type routeJSON struct {
	Methods []string
	Path    string
	Scopes  []string
	Public  bool
	Refuse  bool
}

// MarshalJSON writes scopes if the route needs a credential, even if the list is empty.
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

// readDocument reads a file of at most openapi.MaxBytes, or standard input.
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
	data, err = io.ReadAll(io.LimitReader(source, openapi.MaxBytes+1))
	switch {
	case err != nil:
		return name, nil, fmt.Errorf("read the OpenAPI document: %w", err)
	case len(data) > openapi.MaxBytes:
		return name, nil, fmt.Errorf(
			"%s: is larger than %d MiB; remove schemas and examples, which routes do not need",
			name,
			openapi.MaxBytes>>20,
		)
	case strings.TrimSpace(string(data)) == "":
		return name, nil, fmt.Errorf("%s: is empty; name the OpenAPI document of your API", name)
	}
	return name, data, nil
}
