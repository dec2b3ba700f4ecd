package guide

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/config"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/web/gateway"
)

// documentErrors adds examples of refusals, written by the gateway's own code.
func (p *authPage) documentErrors(r config.Resource, shape gateway.Shape) {
	key := &bearer.Principal{
		Kind:      bearer.KindAPIKey,
		KeyID:     ExampleKeyID,
		ExpiresAt: storage.Time(exampleMoment.UnixMicro()),
	}
	token := &bearer.Principal{Kind: bearer.KindAccessToken, ExpiresAt: key.ExpiresAt}
	scope, request := missingScope(r)
	if scope == "" {
		scope, request = catalog.ScopeAdmin, "GET /v1/api-keys"
	}
	cases := []struct {
		when string
		err  error
	}{
		{"no credential was sent", &gateway.Refusal{Kind: gateway.Missing}},
		{"the credential is unknown", gateway.CredentialRefusal(&bearer.Principal{}, bearer.ErrUnknown)},
		{"the key was revoked", gateway.CredentialRefusal(key, bearer.ErrRevoked)},
		{"the key has expired", gateway.CredentialRefusal(key, bearer.ErrExpired)},
		{"the access token has expired", gateway.CredentialRefusal(token, bearer.ErrExpired)},
		{"a permission is missing", gateway.MissingScope(scope, request)},
		{
			"the credential is paused, or its user or workspace is disabled",
			gateway.CredentialRefusal(key, bearer.ErrSuspended),
		},
		{
			"a personal access token was sent without the header `" + r.WorkspaceHeader + "`",
			&gateway.Refusal{
				Kind:   gateway.BadRequest,
				Detail: "Set the " + r.WorkspaceHeader + " header to the workspace's slug.",
			},
		},
		{"too many requests", gateway.TooMany(limit.Result{RetryAfter: 27 * time.Second})},
		{"the server is temporarily unavailable", gateway.AsRefusal(storage.ErrUnavailable)},
	}
	for _, one := range cases {
		if len(p.Prefixes) == 0 && strings.HasPrefix(one.when, "the key") {
			continue
		}
		refusal := gateway.AsRefusal(one.err)
		a := answer{header: http.Header{}}
		shape.Write(&a, refusal)
		d := docsError{Status: a.status, When: one.when, Body: strings.TrimSuffix(a.body.String(), "\n")}
		if refusal.Kind == gateway.Forbidden && refusal.Scope != "" {
			p.Challenge = a.header.Get("WWW-Authenticate")
		}
		// Cases with the same response share one example.
		same := func(e docsError) bool { return e.Status == d.Status && e.Body == d.Body }
		if i := slices.IndexFunc(p.Errors, same); i >= 0 {
			p.Errors[i].When += ", " + d.When
			continue
		}
		p.Errors = append(p.Errors, d)
	}
	for i := range p.Errors {
		if at := strings.LastIndex(p.Errors[i].When, ", the "); at >= 0 {
			p.Errors[i].When = p.Errors[i].When[:at] + ", or" + p.Errors[i].When[at+1:]
		}
	}
}

// answer is an http.ResponseWriter that records the response.
type answer struct {
	header http.Header
	status int
	body   strings.Builder
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func headerLines(h http.Header, names ...string) string {
	lines := make([]string, len(names))
	for i, name := range names {
		lines[i] = name + ": " + h.Get(name)
	}
	return strings.Join(lines, "\n")
}
