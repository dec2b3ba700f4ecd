package openapi

import (
	"net/http"
	"reflect"
	"slices"
	"strings"

	"doorward/web/gateway"
)

// refusals are examples of the refusals that an operation may answer with, by status.
func (d *document) refusals(o *Operation) map[int]*gateway.Refusal {
	kinds := []gateway.Kind{
		gateway.BadRequest,
		gateway.Invalid,
		gateway.Forbidden,
		gateway.Limited,
		gateway.Failed,
		gateway.Unavailable,
	}
	if strings.Contains(o.Path, "{") {
		kinds = append(kinds, gateway.NotFound)
	}
	if o.Method == http.MethodPost || o.Conflict != "" {
		kinds = append(kinds, gateway.Conflict)
	}
	if o.Request != nil {
		kinds = append(kinds, gateway.TooLarge, gateway.MediaType)
	}
	if slices.ContainsFunc(d.Shapes, func(s gateway.Shape) bool { return s.ExpiredStatus == gateway.StatusExpired }) {
		kinds = append(kinds, gateway.Expired)
	}
	out := map[int]*gateway.Refusal{}
	for _, kind := range kinds {
		r := d.Refusal(kind)
		status, _ := gateway.Shape{}.Body(r)
		out[status] = r
	}
	return out
}

func responseName(status int) string {
	if status == gateway.StatusExpired {
		return "TokenExpired"
	}
	return strings.ReplaceAll(http.StatusText(status), " ", "")
}

var responseDescriptions = map[int]string{
	http.StatusBadRequest:            "The request is malformed or cannot be fulfilled.",
	http.StatusUnauthorized:          "The credential is missing or invalid.",
	http.StatusForbidden:             "The credential or role lacks permission, or the user must sign in again.",
	http.StatusNotFound:              "Not found, or the caller has no access to it.",
	http.StatusConflict:              "The Idempotency-Key was used for a different request.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnsupportedMediaType:  "The body is not JSON.",
	gateway.StatusExpired:            "The access token has expired.",
	http.StatusTooManyRequests:       "Too many requests.",
	http.StatusInternalServerError:   "Internal server error.",
	http.StatusServiceUnavailable: "The server cannot reach its database. Repeat the request with the same " +
		"Idempotency-Key to learn whether it took effect.",
}

// responses are the components that describe refusals.
func (d *document) responses() Object {
	out := Object{}
	for status, refusal := range d.errors {
		out[responseName(status)] = d.response(status, responseDescriptions[status], refusal)
	}
	return out
}

func (d *document) response(status int, description string, refusal *gateway.Refusal) Object {
	var more map[string]string
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, gateway.StatusExpired:
		more = map[string]string{"WWW-Authenticate": "Challenge"}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		more = map[string]string{"Retry-After": "RetryAfter"}
	}
	_, example := d.Shapes[0].Body(refusal)
	return Object{
		"description": description,
		"headers":     headerRefs(rateHeaders, more),
		"content":     jsonContent(d.errorSchema(refusal), example),
	}
}

// errorSchema describes the body of a refusal in every error shape that the resources use.
func (d *document) errorSchema(refusal *gateway.Refusal) Object {
	var refs []Object
	for _, shape := range d.Shapes {
		_, body := shape.Body(refusal)
		ref := d.schema(reflect.TypeOf(body), false)
		if !slices.ContainsFunc(refs, func(have Object) bool { return have["$ref"] == ref["$ref"] }) {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 1 {
		return refs[0]
	}
	return Object{"anyOf": refs}
}
