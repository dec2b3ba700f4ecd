package api

import (
	"context"
	"net/http"
	"reflect"
	"slices"

	"doorward/management"
	"doorward/web/api/openapi"
	"doorward/web/gateway"
)

// storageScope is the scope of storage (storage.System or storage.Tenant) in which an operation runs: it decides which
// rows the operation sees (row-level security).
type storageScope int

const (
	asSystem storageScope = iota // the server; the operation itself restricts the rows
	asTenant                     // the caller, in the workspace that the request names
	asPerson                     // the caller, in their personal workspace
)

// place is where a request names its workspace.
type place int

const (
	nowhere place = iota
	inHeader
	inPath
)

// rule returns the rule for admission.
func (p place) rule() gateway.WorkspaceRule {
	switch p {
	case inHeader:
		return gateway.WorkspaceNeeded
	case inPath:
		return gateway.WorkspaceInPath
	case nowhere:
	}
	return gateway.WorkspaceOptional
}

// operation is an operation of the API. It defines the route, the checks, and the part of the OpenAPI document.
type operation struct {
	method, path string
	id           string // operationId of the document
	tag          string
	summary      string
	text         string // the description, without needs
	status       int    // of success
	where        place
	storageScope storageScope
	administers  bool                  // an administrator of this server may name any workspace in the path
	server       bool                  // only for administrators of this server
	whoAmI       bool                  // for any credential, with any scopes
	may          management.Permission // needed in the workspace; empty: the operation checks itself
	conflict     string                // when the response is 409; empty: never
	request      any                   // an example of the body; nil: no body
	answer       any                   // an example of the response; nil: no body

	query, in, out reflect.Type
	// prepare reads the request and returns the action.
	prepare func(c *call) (action, error)
}

// on completes an operation with its function and the types of its query, body and response.
func on[Query, In, Out any](
	o operation,
	do func(ctx context.Context, c *call, query *Query, in *In) (Out, error),
) operation {
	o.query, o.in, o.out = reflect.TypeFor[Query](), reflect.TypeFor[In](), reflect.TypeFor[Out]()
	o.prepare = func(c *call) (action, error) {
		query, in := new(Query), new(In)
		if err := c.readQuery(query); err != nil {
			return nil, err
		}
		if o.in != reflect.TypeFor[none]() {
			if err := c.readBody(); err != nil {
				return nil, err
			}
			if len(c.body) == 0 && o.needsBody() {
				return nil, badRequest("The body is missing; send a JSON object.")
			}
			if err := decode(c.body, in); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context) (any, error) { return do(ctx, c, query, in) }, nil
	}
	return o
}

// needsBody reports whether a request must have a body: without one it would lack a required member, or change nothing.
func (o *operation) needsBody() bool {
	return o.method == patch || len(openapi.Required(o.in, true)) > 0
}

// table returns all operations.
func (a *API) table() []operation {
	return slices.Concat(
		a.whoAmI(), a.keys(), a.tokens(), a.apps(), a.workspaces(), a.history(), a.users(), a.registrationTokens(),
	)
}

const (
	get    = http.MethodGet
	post   = http.MethodPost
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// exampleUUID is the UUID of all IDs in examples.
const exampleUUID = "0198c5a2-7d3e-7c4b-9a51-2f6e8d0b1c37"

// exampleTime is the time in examples.
const exampleTime = Moment(1_767_225_600_000_000) // 2026-01-01T00:00:00Z
