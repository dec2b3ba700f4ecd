// Package openapi converts an OpenAPI document to routes. It does not know the routes of the configuration, and reads
// no files outside the document's folder.
package openapi

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/config/yamlnode"
	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// Bounds on the result of an import.
const (
	maxOperations   = 10_000
	maxRequirements = 100 // of one operation, and scopes of one requirement
	maxRemarks      = 1_000
	maxServerHosts  = 100
)

// Source is an OpenAPI document in JSON or YAML.
type Source struct {
	Name string // for people
	// Folder and File are the location of the document, to follow its references to files in the folder or below. Other
	// files and URLs are not read. Both are empty for standard input.
	Folder, File string
	Data         []byte
}

// Options are the options of an import.
type Options struct {
	// PlainScopes writes a scope object:action under a name without the colon, so that no other scope includes it.
	PlainScopes bool
}

// Result is the result of an import.
type Result struct {
	Routes []route.Route // in an order in which the first match is the right one
	Notes  []string      // decisions, in a sentence each
	// Warning says that some elements could not be read, so that a route refuses them; empty: there are none.
	Warning string
}

// Import converts the operations of an OpenAPI 3.0 or 3.1 or Swagger 2.0 document to routes. An element that it does
// not understand never makes a route less strict: it becomes a route that refuses requests, with a note. If there is no
// operation that can become a route, Import returns an error.
func Import(from Source, options Options) (Result, error) {
	d := &document{
		fileSet: newFileSet(from.Folder), name: from.Name, noted: map[string]*decided{}, schemes: map[string]scheme{},
		security: map[securityKey]*requirement{}, remarked: map[string]bool{}, paths: newRouteImport(),
	}
	var err error
	if d.root, err = d.first(from.Name, from.File, from.Data); err != nil {
		return Result{}, err
	}
	if err := d.read(); err != nil {
		return Result{}, err
	}
	routes, err := d.paths.routes(d)
	if err != nil {
		return Result{}, documentFault{from.Name, err.Error()}
	}
	if len(routes) == 0 {
		return Result{}, documentFault{
			from.Name,
			"has no operations that can become routes, so there is nothing to import" + d.firstRemark(),
		}
	}
	renamed := ""
	if options.PlainScopes {
		renamed = plainScopes(routes)
	}
	result := Result{Routes: routes, Notes: d.notes(routes, renamed)}
	if d.refused > 0 {
		result.Warning = fmt.Sprintf(
			"%s: %s could not be read and is refused by a route; the comments say why",
			printable(from.Name),
			elements(d.refused),
		)
	}
	return result, nil
}

// document is a document that is being imported.
type document struct {
	*fileSet
	name string
	root place
	top  *mapping

	swagger     bool // Swagger 2.0
	rolesMayBe  bool // requirements of every scheme type may list roles: since OpenAPI 3.1
	schemes     map[string]scheme
	schemesErr  error                        // why the schemes cannot be read
	security    map[securityKey]*requirement // those that were read before, by node
	all         *requirement                 // of the whole document; nil: it has none
	roots       []string                     // paths of the servers, in order
	hosts       map[string]bool              // of this API; empty: the document does not say
	anyHost     bool                         // hosts may be incomplete
	operations  int
	paths       *routeImport
	noted       map[string]*decided
	remarks     []string
	remarked    map[string]bool
	moreRemarks int
	refused     int
}

// decided counts decisions of one kind, with an example.
type decided struct {
	n     int
	first string
}

func (d *document) note(kind, example string) {
	if d.noted[kind] == nil {
		d.noted[kind] = &decided{first: example}
	}
	d.noted[kind].n++
}

// remark adds a note of its own, once.
func (d *document) remark(text string) {
	if d.remarked[text] {
		return
	}
	d.remarked[text] = true
	if len(d.remarks) == maxRemarks {
		d.moreRemarks++
		return
	}
	d.remarks = append(d.remarks, text)
}

// refuse notes why something became a route that refuses.
func (d *document) refuse(what string, err error) {
	d.refused++
	d.remark("Refused: " + printable(what) + ": " + err.Error())
}

func (d *document) leaveOut(what, why string) {
	d.remark("Left out: " + printable(what) + ": " + why + ".")
}

func (d *document) firstRemark() string {
	if len(d.remarks) == 0 {
		return ""
	}
	return "; " + strings.TrimSuffix(d.remarks[0], ".")
}

// read reads the whole document. It stops only at faults that make the rest of the document meaningless.
func (d *document) read() error {
	if d.root.node.Kind != yaml.MappingNode {
		return d.root.fault(
			"is %s, not an OpenAPI document; pass your API's OpenAPI document", yamlnode.Describe(d.root.node),
		)
	}
	var err error
	if d.top, err = d.mapping(d.root, "the document"); err != nil {
		return err
	}
	if err := d.checkVersion(); err != nil {
		return err
	}
	d.readSchemes()
	if err := d.readServers(); err != nil {
		return err
	}
	switch security, ok, err := d.top.get("security"); {
	case err != nil:
		d.all = &requirement{needs: needs{refuse: true}, err: err}
	case ok:
		d.all = d.requirements(security)
	}
	for _, e := range d.top.entries {
		if e.name != "security" && isSecurity(e.name) { // otherwise its requirements would apply to no operation
			err := e.key.fault("the document has the key %s; use security", input.Quote(e.name))
			d.all = &requirement{needs: needs{refuse: true}, err: err}
		}
	}
	return d.readPaths()
}

func (d *document) checkVersion() error {
	version, isOpenAPI, err := d.top.get("openapi")
	if err != nil {
		return err
	}
	old, isSwagger, err := d.top.get("swagger")
	if err != nil {
		return err
	}
	switch {
	case isOpenAPI && isSwagger:
		return old.fault("says both swagger and openapi; keep one")
	case isSwagger:
		text, err := d.text(old, "swagger")
		if err != nil {
			return err
		}
		if text != "2.0" {
			return old.fault(
				"is Swagger %s; Swagger 2.0 and OpenAPI 3.0 and 3.1 can be imported, so convert it",
				input.Quote(text),
			)
		}
		d.swagger = true
		return nil
	case !isOpenAPI:
		return d.root.fault(
			"does not say openapi: 3.0.x or 3.1.x, so it is not an OpenAPI document; pass your API's OpenAPI document",
		)
	}
	text, err := d.text(version, "openapi")
	switch {
	case err != nil:
		return err
	case text == "3.0" || strings.HasPrefix(text, "3.0."):
	case text == "3.1" || strings.HasPrefix(text, "3.1."):
		d.rolesMayBe = true
	default:
		return version.fault(
			"is OpenAPI %s; 3.0 and 3.1 and Swagger 2.0 can be imported, so convert it to one of these",
			input.Quote(text),
		)
	}
	return nil
}
