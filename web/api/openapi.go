package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/web/gateway"
)

// object is one of JSON.
type object = map[string]any

// describe makes the OpenAPI document from the table of operations.
func (a *API) describe(sessionCookie string) []byte {
	d := &document{API: a, schemas: object{}, errors: map[int]*gateway.Refusal{}}
	paths := object{}
	for i := range a.operations {
		o := &a.operations[i]
		item, ok := paths[o.path].(object)
		if !ok {
			item = object{}
			paths[o.path] = item
		}
		item[strings.ToLower(o.method)] = d.operation(o)
	}
	text, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "Doorward management API",
			"version": "1.0.0",
			"description": "API keys, personal access tokens, apps, workspaces, users, usage and audit events. JSON " +
				"in camelCase; times in " +
				"RFC 3339, UTC. A null member counts as left out, except in PATCH, where it removes the value. " +
				"Unknown members " +
				"and query parameters are refused.",
			"license": object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []object{{"url": a.oauth.Issuer()}},
		"security": []object{{"bearer": []string{}}, {"session": []string{}}},
		"tags": []object{
			{"name": "Who am I", "description": "What a credential can do, and whose it is."},
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
		"components": object{
			"schemas":   d.schemas,
			"responses": d.responses(),
			"headers":   headers,
			"securitySchemes": object{
				"bearer": object{
					"type":   "http",
					"scheme": "bearer",
					"description": "An API key, personal access token or access token. Everything except Who am I " +
						"needs the permission admin.",
				},
				"session": object{
					"type": "apiKey",
					"in":   "cookie",
					"name": sessionCookie,
					"description": "A signed-in browser session; requests that change something must come from the " +
						"same origin.",
				},
			},
		},
	})
	if err != nil {
		panic(err) // maps of what JSON can hold
	}
	return append(text, '\n')
}

// document gathers what operations have in common.
type document struct {
	*API
	schemas object
	errors  map[int]*gateway.Refusal // by status: one that has it, for the example
}

// headers are those of answers, as components.
var headers = object{
	"RequestId": header("string", "Identifies the request in the server's log."),
	"RateLimitLimit": header(
		"integer",
		"Requests allowed in the window with the fewest left, if the credential has a plan.",
	),
	"RateLimitRemaining": header("integer", "Requests left in that window."),
	"RateLimitReset":     header("integer", "When the window ends, in Unix seconds."),
	"RetryAfter":         header("integer", "Seconds to wait."),
	"Challenge":          header("string", "RFC 6750, section 3; RFC 9470, section 3."),
	"IdempotencyReplayed": header(
		"string",
		"true: this is the stored response to an earlier request with the same Idempotency-Key.",
	),
}

func header(kind, text string) object {
	return object{"description": text, "schema": object{"type": kind}}
}

var rateHeaders = map[string]string{
	"X-RateLimit-Limit":     "RateLimitLimit",
	"X-RateLimit-Remaining": "RateLimitRemaining",
	"X-RateLimit-Reset":     "RateLimitReset",
}

func headerRefs(lists ...map[string]string) object {
	out := object{"X-Request-Id": object{"$ref": "#/components/headers/RequestId"}}
	for _, list := range lists {
		for name, component := range list {
			out[name] = object{"$ref": "#/components/headers/" + component}
		}
	}
	return out
}

func (d *document) operation(o *operation) object {
	out := object{"operationId": o.id, "tags": []string{o.tag}, "summary": o.summary}
	if text := strings.TrimSpace(o.text + " " + o.needs()); text != "" {
		out["description"] = text
	}
	if list := d.parameters(o); len(list) > 0 {
		out["parameters"] = list
	}
	success := object{"description": http.StatusText(o.status), "headers": headerRefs(rateHeaders)}
	if o.method == post {
		success["headers"] = headerRefs(rateHeaders, map[string]string{"Idempotency-Replayed": "IdempotencyReplayed"})
	}
	if o.answer != nil {
		success["content"] = object{"application/json": object{"schema": d.schema(o.out, false), "example": o.answer}}
	}
	responses := object{strconv.Itoa(o.status): success}
	for status, refusal := range d.refusals(o) {
		d.errors[status] = refusal
		responses[strconv.Itoa(status)] = object{"$ref": "#/components/responses/" + responseName(status)}
	}
	if o.conflict != "" {
		responses["409"] = d.response(
			http.StatusConflict,
			o.conflict+" Or the Idempotency-Key was used for a different request.",
			d.errors[http.StatusConflict],
		)
	}
	if o.request != nil {
		body := object{
			"content": object{"application/json": object{"schema": d.schema(o.in, true), "example": o.request}},
		}
		if o.needsBody() {
			body["required"] = true
		}
		out["requestBody"] = body
	}
	out["responses"] = responses
	return out
}

// needs says what a caller must be.
func (o *operation) needs() string {
	switch {
	case o.server:
		return "For administrators of this server, with a browser session, or a personal access token with the " +
			"permission admin that is not limited to a role."
	case o.speaker == asPerson:
		return "For users, with a browser session, or a personal access token with the permission admin."
	case o.may != "":
		may := func(role string) bool { return management.RoleMay(role, o.may) }
		least := catalog.Roles[slices.IndexFunc(catalog.Roles, may)]
		return "Needs the role " + least + " or higher in the workspace; credentials also need the permission admin."
	}
	return ""
}

var pathNames = regexp.MustCompile(`\{(\w+)\}`)

// kindsOfIDs are what begins the ids in paths.
var kindsOfIDs = []struct{ path, kind string }{
	{"/invitations/{id}", "invitation"},
	{"/v1/api-keys/", "key"},
	{"/v1/personal-access-tokens/", "token"},
	{"/v1/apps/", "app"},
	{"/v1/users/", "user"},
}

func (d *document) parameters(o *operation) []object {
	var list []object
	for _, m := range pathNames.FindAllStringSubmatch(o.path, -1) {
		example := "user_" + exampleUUID
		switch m[1] {
		case "slug":
			example = "acme"
		case "id":
			i := slices.IndexFunc(
				kindsOfIDs,
				func(k struct{ path, kind string }) bool { return strings.Contains(o.path, k.path) },
			)
			example = kindsOfIDs[i].kind + "_" + exampleUUID
		}
		list = append(list, object{
			"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}, "example": example,
		})
	}
	if o.where == inHeader {
		list = append(list, object{
			"name":   d.catalog.Resources()[0].WorkspaceHeader,
			"in":     "header",
			"schema": object{"type": "string"},
			"description": "Slug of the workspace. Required for personal access tokens; browser sessions default to " +
				"the personal workspace; API keys and access tokens belong to one workspace.",
		})
	}
	if o.method == post {
		list = append(list, object{
			"name":   "Idempotency-Key",
			"in":     "header",
			"schema": object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
			"description": "A unique value chosen by the caller. For a day, repeating a request with the same key " +
				"has no effect and returns the same response.",
		})
	}
	for _, f := range reflect.VisibleFields(o.query) {
		if name := f.Tag.Get("query"); name != "" {
			p := object{"name": name, "in": "query", "schema": d.tagged(d.schema(f.Type, true), f)}
			if text := f.Tag.Get("doc"); text != "" {
				p["description"] = text
			}
			list = append(list, p)
		}
	}
	return list
}

// refusals are those that an operation may answer with, by status.
func (d *document) refusals(o *operation) map[int]*gateway.Refusal {
	kinds := []gateway.Kind{
		gateway.BadRequest,
		gateway.Invalid,
		gateway.Forbidden,
		gateway.Limited,
		gateway.Failed,
		gateway.Unavailable,
	}
	if strings.Contains(o.path, "{") {
		kinds = append(kinds, gateway.NotFound)
	}
	if o.method == post || o.conflict != "" {
		kinds = append(kinds, gateway.Conflict)
	}
	if o.request != nil {
		kinds = append(kinds, gateway.TooLarge, gateway.MediaType)
	}
	if slices.ContainsFunc(
		d.gateway.APIs(),
		func(a *gateway.API) bool { return a.Shape.ExpiredStatus == gateway.StatusExpired },
	) {
		kinds = append(kinds, gateway.Expired)
	}
	out := map[int]*gateway.Refusal{}
	for _, kind := range kinds {
		r := exampleRefusal(kind)
		status, _ := gateway.Shape{}.Body(r)
		out[status] = r
	}
	return out
}

// exampleRefusal is one of a kind, as a request could get it.
func exampleRefusal(kind gateway.Kind) *gateway.Refusal {
	switch kind {
	case gateway.BadRequest:
		return unknownMember("colour")
	case gateway.Forbidden:
		return gateway.MissingScope(catalog.ScopeAdmin, "POST /v1/api-keys")
	case gateway.Limited:
		return gateway.TooMany(limit.Result{RetryAfter: 27 * time.Second})
	case gateway.NotFound:
		return asRefusal(storage.ErrNotFound)
	case gateway.Conflict:
		return conflict(keyOfAnotherRequest)
	case gateway.TooLarge:
		return &gateway.Refusal{Kind: kind, Detail: bodyTooLarge}
	case gateway.MediaType:
		return &gateway.Refusal{Kind: kind, Detail: bodyNotJSON}
	case gateway.Failed:
		return asRefusal(errors.New("an example"))
	case gateway.Unavailable:
		return asRefusal(storage.ErrUnavailable)
	case gateway.Expired:
		token := &bearer.Principal{Kind: bearer.KindAccessToken, ExpiresAt: storage.Time(exampleTime)}
		r := asRefusal(gateway.CredentialRefusal(token, bearer.ErrExpired))
		r.Status = gateway.StatusExpired
		return r
	default:
		return &gateway.Refusal{Kind: kind}
	}
}

func responseName(status int) string {
	if status == gateway.StatusExpired {
		return "TokenExpired"
	}
	return strings.ReplaceAll(http.StatusText(status), " ", "")
}

// responses are the refusals that operations have in common.
func (d *document) responses() object {
	out := object{}
	for status, refusal := range d.errors {
		text := map[int]string{
			400: "The request is malformed or cannot be fulfilled.", 401: "The credential is missing or invalid.",
			403: "The credential or role lacks permission, or the user must sign in again.",
			404: "Not found, or the caller has no access to it.", 409: "The Idempotency-Key was used for a " +
				"different request.",
			413: "The body is too large.", 415: "The body is not JSON.",
			419: "The access token has expired.", 429: "Too many requests.", 500: "Internal server error.",
			503: "The server cannot reach its database. Repeat the request with the same Idempotency-Key to learn " +
				"whether it took effect.",
		}[status]
		out[responseName(status)] = d.response(status, text, refusal)
	}
	return out
}

func (d *document) response(status int, text string, refusal *gateway.Refusal) object {
	var more map[string]string
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, gateway.StatusExpired:
		more = map[string]string{"WWW-Authenticate": "Challenge"}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		more = map[string]string{"Retry-After": "RetryAfter"}
	}
	_, example := d.gateway.Shape(d.catalog.Resources()[0].ID).Body(refusal)
	return object{
		"description": text, "headers": headerRefs(rateHeaders, more),
		"content": object{"application/json": object{"schema": d.errorSchema(refusal), "example": example}},
	}
}

// errorSchema is that of a refusal in each of the shapes that resources have here.
func (d *document) errorSchema(refusal *gateway.Refusal) object {
	var refs []object
	for _, r := range d.catalog.Resources() {
		_, body := d.gateway.Shape(r.ID).Body(refusal)
		ref := d.schema(reflect.TypeOf(body), false)
		if !slices.ContainsFunc(refs, func(have object) bool { return have["$ref"] == ref["$ref"] }) {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 1 {
		return refs[0]
	}
	return object{"anyOf": refs}
}

// schema describes a type as it is decoded, or encoded.
func (d *document) schema(t reflect.Type, request bool) object {
	switch t {
	case reflect.TypeFor[Moment]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[Scopes]():
		words := object{"type": "array", "items": object{"type": "string"}}
		d.schemas["Scopes"] = object{
			"description": "A list of scopes, or an object that lists actions by object.",
			"oneOf":       []object{words, {"type": "object", "additionalProperties": words}},
		}
		return object{"$ref": "#/components/schemas/Scopes"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem(), request)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem(), request)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem(), request)}
	case reflect.Struct:
		return d.structSchema(t, request)
	}
	return object{"type": "string"}
}

func (d *document) structSchema(t reflect.Type, request bool) object {
	if isChange(t) {
		return d.schema(changed(t), request)
	}
	name := t.Name()
	if base, of, ok := strings.Cut(strings.TrimSuffix(name, "]"), "["); ok { // List[doorward/web/api.Key]
		name = of[strings.LastIndexByte(of, '.')+1:] + base
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if d.schemas[name] != nil {
		return ref
	}
	properties := object{}
	schema := object{"type": "object", "properties": properties}
	d.schemas[name] = schema
	for i := range t.NumField() {
		f := t.Field(i)
		s := d.tagged(d.schema(f.Type, request), f)
		if nullable(f, request) {
			s = orNull(s)
		}
		if text := f.Tag.Get("doc"); text != "" {
			s["description"] = text
		}
		properties[memberName(f)] = s
	}
	if list := required(t, request); len(list) > 0 {
		schema["required"] = list
	}
	if request {
		schema["additionalProperties"] = false
	}
	return ref
}

func omits(f reflect.StructField) bool { return strings.Contains(f.Tag.Get("json"), ",omit") }

// required lists the members that must be there, or always are.
func required(t reflect.Type, request bool) []string {
	var list []string
	for i := range t.NumField() {
		f := t.Field(i)
		if !omits(f) && (!request || f.Type.Kind() != reflect.Pointer) {
			list = append(list, memberName(f))
		}
	}
	return list
}

// nullable reports whether a member may be null: in a request, if it may also be left out.
func nullable(f reflect.StructField, request bool) bool {
	if request {
		return omits(f) || f.Type.Kind() == reflect.Pointer
	}
	return f.Type.Kind() == reflect.Pointer
}

func orNull(s object) object {
	kind, plain := s["type"].(string)
	if !plain {
		return object{"anyOf": []object{s, {"type": "null"}}}
	}
	s["type"] = []string{kind, "null"}
	if list, ok := s["enum"].([]any); ok {
		s["enum"] = append(list, nil)
	}
	return s
}

// tagged adds what a field's tags say about its values.
func (d *document) tagged(s object, f reflect.StructField) object {
	if list := f.Tag.Get("enum"); list != "" {
		var words []any
		for _, word := range strings.Split(list, ",") {
			words = append(words, word)
		}
		s["enum"] = words
	}
	for _, tag := range []string{"pattern", "format"} {
		if text := f.Tag.Get(tag); text != "" {
			s[tag] = text
		}
	}
	for _, tag := range []string{"minimum", "maximum", "default"} {
		if text := f.Tag.Get(tag); text != "" {
			s[tag] = text
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				s[tag] = n
			}
		}
	}
	return s
}
