// Package openapi writes the OpenAPI document of the management API from the table of its operations. It reads their Go
// types by reflection, and does not know requests.
package openapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"doorward/web/gateway"
)

// Object is a JSON object.
type Object = map[string]any

// Operation is what the document says about one operation.
type Operation struct {
	ID          string // operationId
	Method      string
	Path        string // with parameters in braces
	Tag         string
	Summary     string
	Description string
	Status      int    // of success
	InWorkspace bool   // the request names its workspace in a header
	Conflict    string // when the response is 409; empty: only for a reused Idempotency-Key

	Query, In, Out reflect.Type // structs; their tags are those of package api
	BodyRequired   bool
	Request        any // an example; nil: no body
	Response       any // likewise

	// PathExamples are example values of the parameters in the path, by name.
	PathExamples map[string]string
}

// Config holds the inputs of Write.
type Config struct {
	Issuer          string // the server's URL
	SessionCookie   string // the cookie's name
	WorkspaceHeader string // the header's name
	Operations      []Operation
	Types           Types
	// Shapes are the error shapes of the resources. Examples have the first one's.
	Shapes []gateway.Shape
	// Refusal is an example of a kind of refusal.
	Refusal func(gateway.Kind) *gateway.Refusal
}

// Types are Go types that reflection alone cannot describe.
type Types struct {
	Inline     map[reflect.Type]Object                   // described where they occur
	Components map[reflect.Type]Object                   // described once, under their name
	Inner      func(t reflect.Type) (reflect.Type, bool) // the type that a wrapper such as Change[T] stands for
}

// Write returns the document as JSON.
func Write(c Config) []byte {
	d := &document{Config: c, schemas: Object{}, errors: map[int]*gateway.Refusal{}}
	paths := Object{}
	for i := range c.Operations {
		o := &c.Operations[i]
		item, ok := paths[o.Path].(Object)
		if !ok {
			item = Object{}
			paths[o.Path] = item
		}
		item[strings.ToLower(o.Method)] = d.operation(o)
	}
	text, err := json.Marshal(Object{
		"openapi": "3.1.0",
		"info": Object{
			"title":   "Doorward management API",
			"version": "1.0.0",
			"description": "API keys, personal access tokens, apps, workspaces, users, usage and audit events. JSON " +
				"in camelCase; times in RFC 3339, UTC. A null member counts as left out, except in PATCH, where it " +
				"removes the value. Unknown members and query parameters are refused.",
			"license": Object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []Object{{"url": c.Issuer}},
		"security": []Object{{"bearer": []string{}}, {"dpop": []string{}}, {"session": []string{}}},
		"tags": []Object{
			{"name": "Who am I", "description": "Permissions and owner of a credential."},
			{"name": "API keys", "description": "Credentials of a workspace."},
			{
				"name":        "Personal access tokens",
				"description": "Credentials of a user, valid in each of their workspaces.",
			},
			{"name": "Apps", "description": "OAuth 2.0 clients of a workspace."},
			{"name": "Workspaces", "description": "Workspaces, their members and invitations."},
			{"name": "Usage", "description": "How often credentials were used."},
			{"name": "Audit", "description": "Who did what."},
			{"name": "Users", "description": "All user accounts, for administrators of this server."},
		},
		"paths": paths,
		"components": Object{
			"schemas":         d.schemas,
			"responses":       d.responses(),
			"headers":         headers,
			"securitySchemes": securitySchemes(c.SessionCookie),
		},
	})
	if err != nil {
		panic(err) // it consists of maps, lists and strings
	}
	return append(text, '\n')
}

func securitySchemes(cookie string) Object {
	return Object{
		"bearer": Object{
			"type":   "http",
			"scheme": "bearer",
			"description": "An API key, personal access token or access token. Everything except Who am I " +
				"needs the permission admin.",
		},
		"dpop": Object{
			"type":   "http",
			"scheme": "DPoP",
			"description": "An access token that is bound to a key, with a proof in the header DPoP for each request (RFC " +
				"9449).",
		},
		"session": Object{
			"type": "apiKey",
			"in":   "cookie",
			"name": cookie,
			"description": "A signed-in browser session; requests that change something must come from the " +
				"same origin.",
		},
	}
}

// document collects the components that operations share.
type document struct {
	Config
	schemas Object
	errors  map[int]*gateway.Refusal // by status: the example
}

// headers are the components that describe response headers.
var headers = Object{
	"RequestId": header("string", "Identifies the request in the server's log."),
	"RateLimitLimit": header(
		"integer",
		"Limit of the rate limit window with the fewest remaining requests, if the credential has a plan.",
	),
	"RateLimitRemaining": header("integer", "Requests remaining in that window."),
	"RateLimitReset":     header("integer", "When the window ends, in Unix seconds."),
	"RetryAfter":         header("integer", "Seconds to wait."),
	"Challenge":          header("string", "RFC 6750, section 3; RFC 9470, section 3."),
	"IdempotencyReplayed": header(
		"string",
		"true: this is the stored response to an earlier request with the same Idempotency-Key.",
	),
}

func header(kind, description string) Object {
	return Object{"description": description, "schema": Object{"type": kind}}
}

var rateHeaders = map[string]string{
	"X-RateLimit-Limit":     "RateLimitLimit",
	"X-RateLimit-Remaining": "RateLimitRemaining",
	"X-RateLimit-Reset":     "RateLimitReset",
}

// headerRefs refers to components by the names of the headers.
func headerRefs(lists ...map[string]string) Object {
	out := Object{"X-Request-Id": Object{"$ref": "#/components/headers/RequestId"}}
	for _, list := range lists {
		for name, component := range list {
			out[name] = Object{"$ref": "#/components/headers/" + component}
		}
	}
	return out
}

func jsonContent(schema Object, example any) Object {
	return Object{"application/json": Object{"schema": schema, "example": example}}
}

func (d *document) operation(o *Operation) Object {
	out := Object{"operationId": o.ID, "tags": []string{o.Tag}, "summary": o.Summary}
	if o.Description != "" {
		out["description"] = o.Description
	}
	if list := d.parameters(o); len(list) > 0 {
		out["parameters"] = list
	}
	success := Object{"description": http.StatusText(o.Status), "headers": headerRefs(rateHeaders)}
	if o.Method == http.MethodPost {
		success["headers"] = headerRefs(rateHeaders, map[string]string{"Idempotency-Replayed": "IdempotencyReplayed"})
	}
	if o.Response != nil {
		success["content"] = jsonContent(d.schema(o.Out, false), o.Response)
	}
	responses := Object{strconv.Itoa(o.Status): success}
	for status, refusal := range d.refusals(o) {
		d.errors[status] = refusal
		responses[strconv.Itoa(status)] = Object{"$ref": "#/components/responses/" + responseName(status)}
	}
	if o.Conflict != "" {
		responses["409"] = d.response(
			http.StatusConflict,
			o.Conflict+" Or the Idempotency-Key was used for a different request.",
			d.errors[http.StatusConflict],
		)
	}
	if o.Request != nil {
		body := Object{"content": jsonContent(d.schema(o.In, true), o.Request)}
		if o.BodyRequired {
			body["required"] = true
		}
		out["requestBody"] = body
	}
	out["responses"] = responses
	return out
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func (d *document) parameters(o *Operation) []Object {
	var list []Object
	for _, m := range pathParameter.FindAllStringSubmatch(o.Path, -1) {
		list = append(list, Object{
			"name": m[1], "in": "path", "required": true, "schema": Object{"type": "string"},
			"example": o.PathExamples[m[1]],
		})
	}
	if o.InWorkspace {
		list = append(list, Object{
			"name":   d.WorkspaceHeader,
			"in":     "header",
			"schema": Object{"type": "string"},
			"description": "Slug of the workspace. Required for personal access tokens; browser sessions default to " +
				"the personal workspace; API keys and access tokens belong to one workspace.",
		})
	}
	if o.Method == http.MethodPost {
		list = append(list, Object{
			"name":   "Idempotency-Key",
			"in":     "header",
			"schema": Object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
			"description": "A unique value chosen by the caller. For a day, repeating a request with the same key " +
				"has no effect and returns the same response.",
		})
	}
	for _, f := range reflect.VisibleFields(o.Query) {
		name := f.Tag.Get("query")
		if name == "" {
			continue
		}
		p := Object{"name": name, "in": "query", "schema": tagged(d.schema(f.Type, true), f)}
		if description := f.Tag.Get("doc"); description != "" {
			p["description"] = description
		}
		list = append(list, p)
	}
	return list
}
