package api

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/web/api/openapi"
	"doorward/web/gateway"
)

// describe writes the OpenAPI document.
func (a *API) describe(sessionCookie string) []byte {
	resources := a.catalog.Resources()
	shapes := make([]gateway.Shape, len(resources))
	for i, r := range resources {
		shapes[i] = a.gateway.Shape(r.ID)
	}
	operations := make([]openapi.Operation, len(a.operations))
	for i := range a.operations {
		operations[i] = a.operations[i].describe()
	}
	return openapi.Write(openapi.Config{
		Issuer:          a.oauth.Issuer(),
		SessionCookie:   sessionCookie,
		WorkspaceHeader: resources[0].WorkspaceHeader,
		Operations:      operations,
		Types:           documentedTypes(),
		Shapes:          shapes,
		Refusal:         exampleRefusal,
	})
}

func (o *operation) describe() openapi.Operation {
	return openapi.Operation{
		ID:           o.id,
		Method:       o.method,
		Path:         o.path,
		Tag:          o.tag,
		Summary:      o.summary,
		Description:  strings.TrimSpace(o.text + " " + o.needs()),
		Status:       o.status,
		InWorkspace:  o.where == inHeader,
		Conflict:     o.conflict,
		Query:        o.query,
		In:           o.in,
		Out:          o.out,
		BodyRequired: o.needsBody(),
		Request:      o.request,
		Response:     o.answer,
		PathExamples: o.pathExamples(),
	}
}

// needs says who may use an operation.
func (o *operation) needs() string {
	switch {
	case o.server:
		return "For administrators of this server, with a browser session, or a personal access token with the " +
			"permission admin that is not limited to a role."
	case o.storageScope == asPerson:
		return "For users, with a browser session, or a personal access token with the permission admin."
	case o.may != "":
		may := func(role string) bool { return management.RoleMay(role, o.may) }
		least := catalog.Roles[slices.IndexFunc(catalog.Roles, may)]
		return "Requires the " + least + " role or higher in the workspace; credentials also need the admin permission."
	}
	return ""
}

// idPrefixes are the beginnings of the ids in paths.
var idPrefixes = []struct{ path, prefix string }{
	{"/invitations/{id}", "invitation"},
	{"/v1/api-keys/", "key"},
	{"/v1/personal-access-tokens/", "token"},
	{"/v1/apps/", "app"},
	{"/v1/users/", "user"},
	{"/v1/registration-tokens/", "regtoken"},
}

func (o *operation) pathExamples() map[string]string {
	examples := map[string]string{
		"slug": "acme", "userId": "user_" + exampleUUID, "method": "password", "session": "session_" + exampleUUID,
	}
	for _, x := range idPrefixes {
		if strings.Contains(o.path, x.path) {
			examples["id"] = x.prefix + "_" + exampleUUID
			break
		}
	}
	return examples
}

// documentedTypes describes the types of this package that read and write their own JSON.
func documentedTypes() openapi.Types {
	list := openapi.Object{"type": "array", "items": openapi.Object{"type": "string"}}
	return openapi.Types{
		Inline: map[reflect.Type]openapi.Object{
			reflect.TypeFor[Moment](): {"type": "string", "format": "date-time"},
		},
		Components: map[reflect.Type]openapi.Object{
			reflect.TypeFor[Scopes](): {
				"description": "A list of scopes, or an object that lists actions by object.",
				"oneOf":       []openapi.Object{list, {"type": "object", "additionalProperties": list}},
			},
			reflect.TypeFor[KeySet](): {
				"description": "A JWK set with public keys (RFC 7517, section 5). Other members are ignored.",
				"type":        "object",
				"properties":  openapi.Object{"keys": openapi.Object{"type": "array", "items": openapi.Object{"type": "object"}}},
				"required":    []string{"keys"},
			},
		},
		Inner: func(t reflect.Type) (reflect.Type, bool) {
			if !isChange(t) {
				return nil, false
			}
			return changed(t), true
		},
	}
}

// exampleRefusal is a refusal of a kind, as a request could get it.
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
