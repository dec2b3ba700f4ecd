package guide

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/config"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/web/gateway/route"
)

// sample is a request that the reader of the page can send.
type sample struct {
	URL         string
	Variable    string // the environment variable with the credential
	Placeholder string
	IsKey       bool
}

// firstForKeys is the first scope that an API key may have or, if there is none, the first scope.
func firstForKeys(scopes []catalog.Scope) string {
	return scopes[max(0, slices.IndexFunc(scopes, func(s catalog.Scope) bool { return !s.UserOnly }))].Name
}

// userOnly reports whether a scope of a resource is only for credentials that act for a user.
func userOnly(r config.Resource, scope string) bool {
	_, action, _ := catalog.SplitScope(strings.Replace(scope, "{object}", "{}", 1), append([]string{"{}"}, r.Objects...))
	isUserOnly := func(s catalog.Scope) bool { return s.UserOnly && (s.Name == scope || s.Name == action) }
	return slices.ContainsFunc(r.Scopes, isUserOnly)
}

// apiBase is the base URL of an API: its first host, otherwise the host of its ID, otherwise the issuer.
func apiBase(c config.Config, r config.Resource) string {
	issuer, err := url.Parse(c.Issuer)
	if err == nil && len(r.API.Hosts) > 0 {
		return issuer.Scheme + "://" + r.API.Hosts[0]
	}
	if u, err := url.Parse(r.ID); err == nil && u.Host != "" && strings.HasPrefix(u.Scheme, "http") {
		return u.Scheme + "://" + u.Host
	}
	return c.Issuer
}

// ownURL is the URL of one of Doorward's own paths: on the API's host if it is served there, otherwise on the issuer's.
func ownURL(c config.Config, r config.Resource, path string) string {
	if len(r.API.Hosts) > 0 && slices.Contains(r.API.Builtin, path) {
		return apiBase(c, r) + path
	}
	return c.Issuer + path
}

// samples returns example requests: first for an API key or, if the API has none, an access token, and personal for a
// personal access token. If no route allows one, it is a request to the who-am-I endpoint.
func samples(c config.Config, r config.Resource) (first, personal sample) {
	whoAmI := ownURL(c, r, "/v1/auth/test")
	first = sample{Variable: "ACCESS_TOKEN", Placeholder: bearer.PrefixAccessToken + "…"}
	if r.JWT {
		first.Placeholder = "eyJ…"
	}
	kind := bearer.KindAccessToken
	if len(r.Keys.Environments) > 0 {
		first = sample{
			Variable:    "API_KEY",
			Placeholder: r.Keys.Prefix + "_" + r.Keys.Environments[0] + "_…",
			IsKey:       true,
		}
		kind = bearer.KindAPIKey
	}
	first.URL, personal.URL = whoAmI, whoAmI
	if path := readablePath(r, kind); path != "" {
		first.URL = apiBase(c, r) + path
	}
	if path := readablePath(r, bearer.KindPersonalAccessToken); path != "" {
		personal.URL = apiBase(c, r) + path
	}
	return first, personal
}

// readablePath returns the escaped path of the first route that allows a GET with a kind of credential; empty: there is
// none.
func readablePath(r config.Resource, kind string) string {
	table := route.NewTable(r.API.Routes, r.Objects, false)
	for i, one := range r.API.Routes {
		isKey := kind == bearer.KindAPIKey
		if one.Public || one.Refuse || (one.Credentials != nil && !slices.Contains(one.Credentials, kind)) ||
			(isKey && (one.Role != "" || slices.ContainsFunc(one.Scopes, func(name string) bool { return userOnly(r, name) }))) {
			continue
		}
		if path := examplePath(r, one); table.First(http.MethodGet, path) == i {
			return escapePath(path)
		}
	}
	return ""
}

// examplePath is a path that a route matches, if no route before it does.
func examplePath(r config.Resource, one route.Route) string {
	path := one.Path
	if path == "/**" {
		return "/"
	}
	path = strings.TrimSuffix(path, "/**") // /x/** matches /x too
	if len(r.Objects) > 0 {
		path = strings.Replace(path, "{object}", r.Objects[0], 1)
	}
	return strings.ReplaceAll(path, "/*", "/1")
}

// escapePath escapes a path for URLs, the shell and string literals in six languages.
func escapePath(path string) string {
	var out strings.Builder
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/-._~", c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

// exampleMoment is the time of the examples.
var exampleMoment = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// ExampleKeyID is the ID of the key in the examples.
const ExampleKeyID = "key_01a204bb-b26f-7e0c-9d41-6a1f0e2b7c35"

// missingScope returns a scope that a route needs, and a request to that route. It prefers a scope other than the
// resource's first.
func missingScope(r config.Resource) (scope, request string) {
	for _, one := range r.API.Routes {
		if len(one.Scopes) == 0 || (scope != "" && strings.HasSuffix(one.Scopes[0], r.Scopes[0].Name)) {
			continue
		}
		path, needed := one.Path, one.Scopes[0]
		if len(r.Objects) > 0 {
			path = strings.Replace(path, "{object}", r.Objects[0], 1)
			needed = strings.Replace(needed, "{object}", r.Objects[0], 1)
		}
		method := http.MethodGet
		if one.Methods != nil {
			method = one.Methods[0]
		}
		scope, request = needed, method+" "+path
		if !strings.HasSuffix(needed, r.Scopes[0].Name) {
			return scope, request
		}
	}
	return scope, request
}
