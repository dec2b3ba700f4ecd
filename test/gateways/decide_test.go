package gateways

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

const (
	apiID    = "https://api.example.com"
	otherID  = "https://other.example.com"
	apiHost  = "api.example.com"
	fromHere = "192.0.2.7"
)

// site is a rig with two APIs behind the gateway.
type site struct {
	*rig.Rig
	gateway *gateway.Gateway
	calls   atomic.Int64 // that reached the upstream
	last    atomic.Pointer[http.Request]
}

func newSite(t *testing.T, rules []route.Route, change func(*catalog.Resource, *gateway.API)) *site {
	t.Helper()
	s := &site{}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		s.last.Store(r)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-RateLimit-Limit", "7")
		w.Header().Set("X-Request-Id", "of-the-upstream")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(append([]byte(r.URL.RequestURI()+" "), body...))
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read"},
		{Name: "write", Text: "Write"},
		{Name: "capture", Text: "Capture", UserOnly: true},
		{Name: "admin", Text: "All", Implies: []string{"read", "write"}},
	}
	resource := func(id string) catalog.Resource {
		return catalog.Resource{
			ID: id, Name: "An API", Scopes: scopes, Objects: []string{"accounts", "contacts"}, WorkspaceHeader: "X-Workspace",
			Keys: catalog.KeyRules{
				Prefix:       "sk",
				Environments: []string{"live", "test"},
				DefaultPlan:  "small",
			}, UserPlan: "small",
		}
	}
	first, second := resource(apiID), resource(otherID)
	second.Keys.Prefix = "other"
	api := gateway.API{
		ID:       apiID,
		Hosts:    []string{apiHost},
		Upstream: target,
		Builtin:  []string{"/v1/auth/test", "/oauth/token"},
		Routes:   rules,
	}
	if change != nil {
		change(&first, &api)
	}
	s.Rig = rig.Memory(t, rig.Options{
		Resources: []catalog.Resource{
			first,
			second,
		}, Plans: map[string]limit.Plan{"small": {Hour: 10}, "strangers": {Hour: 3}},
		APIs: []gateway.API{api, {ID: otherID, Hosts: []string{"other.example.com"}}},
	})
	if s.gateway, err = gateway.New(gateway.Config{OAuth: s.OAuth, Bearer: s.Bearer, Catalog: s.Catalog, APIs: []gateway.API{api}, Trusted: func(*http.Request) bool { return false }, ClientAddress: func(*http.Request) netip.Addr { return netip.Addr{} }, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// decide decides about a request; headers come in pairs.
func (s *site) decide(method, path, credential string, header ...string) gateway.Verdict {
	s.T.Helper()
	h := http.Header{}
	if credential != "" {
		h.Set("Authorization", "Bearer "+credential)
	}
	for pair := range slices.Chunk(header, 2) {
		h.Add(pair[0], pair[1])
	}
	return s.gateway.Decide(
		context.Background(),
		s.gateway.API(apiID),
		gateway.Request{Method: method, Path: path, Header: h, Address: netip.MustParseAddr(fromHere)},
	)
}

// call sends a request to the API's host.
func (s *site) call(method, target, credential, body string, header ...string) *rig.Answer {
	s.T.Helper()
	if credential != "" {
		header = append(header, "Authorization", "Bearer "+credential)
	}
	r := s.Request(method, target, strings.NewReader(body), header...)
	r.Host = apiHost
	return s.Send(s.Program(), r)
}

var rules = []route.Route{
	{Path: "/health", Public: true},
	{Methods: []string{"GET"}, Path: "/v1/{object}/**", Scopes: []string{"{object}:read"}, Cost: 1},
	{
		Methods:     []string{"POST"},
		Path:        "/v1/capture",
		Scopes:      []string{"capture"},
		Credentials: []string{bearer.KindPersonalAccessToken},
		Role:        catalog.RoleMember,
		Cost:        1,
	},
	{Methods: []string{"POST"}, Path: "/v1/heavy", Scopes: []string{"write"}, Cost: 4},
	{Path: "/v1/any", Scopes: []string{}, Cost: 1},
}

func TestTheDecision(t *testing.T) {
	s := newSite(t, rules, nil)
	acme := s.Workspace("acme", "", s.Alice)
	_, reader := s.Key(acme, apikey.Spec{Scopes: []string{"accounts:read"}})
	_, writer := s.Key(acme, apikey.Spec{Scopes: []string{"write"}})
	_, bound := s.Key(acme, apikey.Spec{Scopes: []string{"read"}, Addresses: []string{"198.51.100.0/24"}})
	_, elsewhere := s.Key(acme, apikey.Spec{Scopes: []string{"read"}, Resource: otherID})
	_, introspector := s.IntrospectionKey()
	_, token := s.PersonalToken(s.Alice, apikey.Spec{Scopes: []string{"capture", "read"}})
	_, viewing := s.PersonalToken(s.Alice, apikey.Spec{Scopes: []string{"capture", "read"}, Role: catalog.RoleViewer})
	for name, c := range map[string]struct {
		method, path, credential string
		header                   []string
		kind                     gateway.Kind // -1: allowed
		reason                   string       // part of it
	}{
		"public, without anything": {"GET", "/health", "", nil, -1, ""},
		"public, with nonsense":    {"GET", "/health", "nonsense", nil, -1, ""},
		"no credential":            {"GET", "/v1/accounts", "", nil, gateway.Missing, ""},
		// Some MCP clients try to register at the API, and show its answer.
		"a registration":                   {"POST", "/register", "", nil, gateway.NotFound, ""},
		"no registration":                  {"GET", "/register", "", nil, gateway.Missing, ""},
		"a registration with a credential": {"POST", "/register", writer, nil, gateway.Forbidden, "no route"},
		"another scheme":                   {"GET", "/v1/accounts", "", []string{"Authorization", "Basic YTpi"}, gateway.Missing, ""},
		"two credentials":                  {"GET", "/v1/accounts", reader, []string{"Authorization", "Bearer " + reader}, gateway.BadRequest, ""},
		"in a header that means nothing":   {"GET", "/v1/accounts", "", []string{"X-Api-Key", reader}, gateway.Missing, ""},
		"never one":                        {"GET", "/v1/accounts", "sk_live_nonsense", nil, gateway.Invalid, ""},
		"a refresh token":                  {"GET", "/v1/any", bearer.NewCredential(bearer.PrefixRefreshToken), nil, gateway.Invalid, ""},
		"allowed by the object":            {"GET", "/v1/accounts/7", reader, nil, -1, ""},
		"another object":                   {"GET", "/v1/contacts/7", reader, nil, gateway.Forbidden, "requires the scope contacts:read; the credential has only the scope accounts:read"},
		"no such object":                   {"GET", "/v1/others/7", reader, nil, gateway.Forbidden, "no route"},
		"another method":                   {"DELETE", "/v1/accounts/7", reader, nil, gateway.Forbidden, "no route"},
		"for another API":                  {"GET", "/v1/any", elsewhere, nil, gateway.Invalid, "another API"},
		"that introspects":                 {"GET", "/v1/any", introspector, nil, gateway.Forbidden, "introspect"},
		"from the wrong address":           {"GET", "/v1/any", bound, nil, gateway.Forbidden, "address"},
		"a key where a person is wanted":   {"POST", "/v1/capture", writer, nil, gateway.Forbidden, "does not accept an API key; it accepts a personal access token"},
		"a key with its own workspace":     {"POST", "/v1/any", writer, []string{"X-Workspace", "acme"}, -1, ""},
		"a key with another workspace":     {"POST", "/v1/any", writer, []string{"X-Workspace", "alice"}, gateway.Forbidden, "workspace"},
		"a token without a workspace":      {"POST", "/v1/any", token, nil, gateway.BadRequest, "workspace"},
		"a token with two workspaces":      {"POST", "/v1/any", token, []string{"X-Workspace", "acme", "X-Workspace", "acme"}, gateway.Forbidden, "workspace"},
		"a token with nobody's workspace":  {"POST", "/v1/any", token, []string{"X-Workspace", "nobodys"}, gateway.Forbidden, "workspace"},
		"a token in its user's workspace":  {"POST", "/v1/capture", token, []string{"x-workspace", "acme"}, -1, ""},
		"a token held to a lower role":     {"POST", "/v1/capture", viewing, []string{"X-Workspace", "acme"}, gateway.Forbidden, ""},
		"a path that may mean another":     {"GET", "/v1/accounts/..%2fany", reader, nil, gateway.BadRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := s.decide(c.method, c.path, c.credential, c.header...)
			kind := gateway.Kind(-1)
			if v.Refusal != nil {
				kind = v.Refusal.Kind
			}
			if kind != c.kind || !strings.Contains(v.Reason, c.reason) {
				t.Errorf("kind %v because %q, want %v because %q", kind, v.Reason, c.kind, c.reason)
			}
			if kind == -1 && c.credential != "" && c.path != "/health" && v.Principal == nil {
				t.Error("allowed without a principal")
			}
		})
	}
}

// Unavailable storage says nothing about a credential.
func TestF12_UnavailableStorageIsNotARefusal(t *testing.T) {
	s := newSite(t, rules, nil)
	_, key := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"read"}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := s.gateway.Decide(
		ctx,
		s.gateway.API(apiID),
		gateway.Request{Method: "GET", Path: "/v1/any", Header: http.Header{"Authorization": {"Bearer " + key}}},
	)
	if v.Refusal == nil || v.Refusal.Kind != gateway.Unavailable {
		t.Errorf("refusal %v", v.Refusal)
	}
}

// A refusal by route or scope costs what the route costs, one by workspace nothing; a refusal by a limit charges none.
func TestWhatRequestsCost(t *testing.T) {
	s := newSite(t, rules, nil)
	acme := s.Workspace("acme", "", s.Alice)
	_, key := s.Key(acme, apikey.Spec{Scopes: []string{"read"}})
	left := func(v gateway.Verdict, want int64) {
		t.Helper()
		if v.Taken.Limit != 10 || v.Taken.Remaining != want {
			t.Errorf("%d of %d are left, want %d of 10", v.Taken.Remaining, v.Taken.Limit, want)
		}
	}
	left(s.decide("GET", "/v1/any", key), 9)
	left(s.decide("GET", "/nowhere", key), 8)
	if v := s.decide("GET", "/v1/any", key, "X-Workspace", "nobodys"); v.Taken.Limit != 0 {
		t.Errorf("a refusal by workspace was counted: %+v", v.Taken)
	}
	left(s.decide("POST", "/v1/heavy", key), 4)
	v := s.decide("POST", "/v1/heavy", key)
	left(v, 0)
	if v = s.decide("POST", "/v1/heavy", key); v.Refusal == nil || v.Refusal.Kind != gateway.Limited ||
		v.Refusal.RetryAfter <= 0 {
		t.Errorf("refusal %+v", v.Refusal)
	}
	if v := s.gateway.Explain(context.Background(), s.gateway.API(apiID), gateway.Request{Method: "GET", Path: "/v1/any", Header: http.Header{"Authorization": {"Bearer " + key}}}); v.Refusal != nil ||
		v.Taken.Remaining != 0 {
		t.Errorf("an explanation is charged or refused by the limit: %+v", v)
	}
}

// Requests with a wrong credential are counted by address if there is a plan for that, and the response says so.
func TestRefusalsAreCountedByAddress(t *testing.T) {
	s := newSite(t, rules, func(r *catalog.Resource, _ *gateway.API) { r.AnonymousPlan = "strangers" })
	for i := range 3 {
		if v := s.decide("GET", "/v1/any", ""); v.Refusal.Kind != gateway.Missing || v.Taken.Limit != 3 ||
			v.Taken.Remaining != int64(2-i) {
			t.Errorf("call %d: %v, %+v", i, v.Refusal, v.Taken)
		}
	}
	if v := s.decide("GET", "/v1/any", "sk_live_nonsense"); v.Refusal.Kind != gateway.Limited {
		t.Errorf("refusal %v", v.Refusal)
	}
	if v := s.decide("GET", "/health", ""); v.Refusal != nil || v.Taken.Limit != 0 {
		t.Errorf("a public route was counted: %v %+v", v.Refusal, v.Taken)
	}
}

func TestTheProxyPassesOnWhatIsAllowed(t *testing.T) {
	s := newSite(t, rules, nil)
	acme := s.Workspace("acme", "", s.Alice)
	k, key := s.Key(acme, apikey.Spec{Scopes: []string{"admin"}})
	answer := s.call(
		"POST",
		"/v1/heavy?q=a;b&c=%zz+d",
		key,
		"the body",
		"X-Auth-Subject",
		"somebody",
		"X_Auth_Role",
		"owner",
		"Remote-User",
		"root",
		"Connection",
		"X-Auth-Key",
		"Cookie",
		"doorward=abc; other=1; __Host-doorward-device=2",
		"X-Forwarded-For",
		"203.0.113.9",
	)
	if answer.Status != http.StatusTeapot || answer.Body != "/v1/heavy?q=a;b&c=%zz+d the body" {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	if h := answer.Header; h.Get("X-RateLimit-Limit") != "10" || len(h.Values("X-RateLimit-Limit")) != 1 ||
		h.Get("X-RateLimit-Remaining") != "6" ||
		len(h.Values("X-Request-Id")) != 1 ||
		h.Get("X-Request-Id") == "of-the-upstream" {
		t.Errorf("headers %v", h)
	}
	seen := s.last.Load().Header
	for name, want := range map[string]string{
		"X-Auth-Subject": "", "X-Auth-Client": "", "X-Auth-Scope": "admin read write", "X-Auth-Credential": "api_key", "X-Auth-Workspace-Id": acme.ID,
		"X-Auth-Workspace": "acme", "X-Auth-Role": "", "X-Auth-Env": "live", "X-Auth-Plan": "small", "X-Auth-Key": k.ID, "Cookie": "other=1", "Remote-User": "",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": apiHost, "X-Request-Id": answer.Header.Get("X-Request-Id"), "Authorization": "Bearer " + key,
	} {
		if got := seen.Values(name); len(got) > 1 || seen.Get(name) != want {
			t.Errorf("the upstream sees %s %q, want %q", name, got, want)
		}
	}
	for name := range seen {
		if strings.Contains(name, "_") {
			t.Errorf("the upstream sees %s", name)
		}
	}
	s.call("GET", "/health", key, "")
	if got := s.last.Load().Header["X-Auth-Key"]; len(got) != 1 || got[0] != "" {
		t.Errorf("on a public route the upstream sees X-Auth-Key %q", got)
	}
	if answer := s.call("GET", "/v1/accounts", "", ""); answer.Status != http.StatusUnauthorized ||
		!strings.Contains(
			answer.Header.Get("WWW-Authenticate"),
			`scope="accounts:read", resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`,
		) {
		t.Errorf("%d %v", answer.Status, answer.Header)
	}
	if n := s.calls.Load(); n != 2 {
		t.Errorf("%d requests reached the upstream, want 2", n)
	}
}

// The host decides: an API's serves its routes and the paths of ours that it lists, no page and no cookie.
func TestHostDecides(t *testing.T) {
	s := newSite(t, rules, nil)
	_, key := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"read"}})
	_, elsewhere := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"read"}, Resource: otherID})
	for name, c := range map[string]struct {
		host, method, path, credential string
		status                         int
	}{
		"a path of ours that it lists":       {apiHost, "GET", "/v1/auth/test", key, 200},
		"written otherwise":                  {"API.example.com.:443", "GET", "/v1/auth/test", key, 200},
		"with another API's key":             {apiHost, "GET", "/v1/auth/test", elsewhere, 401},
		"one that it does not list":          {apiHost, "GET", "/api/me", key, 403},
		"a page":                             {apiHost, "GET", "/login", key, 403},
		"health, which is the API's own":     {apiHost, "GET", "/healthz", key, 403},
		"metadata":                           {apiHost, "GET", "/.well-known/oauth-protected-resource", "", 200},
		"metadata, posted":                   {apiHost, "POST", "/.well-known/oauth-protected-resource", "", 405},
		"a method that is none":              {apiHost, "TRACE", "/v1/any", key, 405},
		"no upstream":                        {"other.example.com", "GET", "/v1/any", elsewhere, 404},
		"forward-auth by an unknown proxy":   {apiHost, "GET", "/gateway/forward", key, 403},
		"forward-auth on the issuer's":       {"", "GET", "/gateway/forward", key, 403},
		"nginx's on the issuer's":            {"", "GET", "/gateway/nginx", key, 403},
		"the issuer's serves no API's route": {"", "GET", "/v1/accounts", key, 404},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.Request(c.method, c.path, nil, "Cookie", "doorward=x")
			if c.host != "" {
				r.Host = c.host
			}
			if c.credential != "" {
				r.Header.Set("Authorization", "Bearer "+c.credential)
			}
			if answer := s.Send(s.Program(), r); answer.Status != c.status || answer.Header.Get("Set-Cookie") != "" {
				t.Errorf("%d %s, want %d", answer.Status, answer.Body, c.status)
			}
		})
	}
}

// The metadata of an API at an address of the issuer's, which challenges there name, are on the issuer's host; those of
// other APIs are not (RFC 9728, section 3.1).
func TestMetadataOfAnAPIAtTheIssuersAddress(t *testing.T) {
	const issuer = "http://localhost:8080"
	var resources []catalog.Resource
	var apis []gateway.API
	for _, id := range []string{issuer, issuer + "/mcp/", otherID + "/other"} {
		resources = append(
			resources,
			catalog.Resource{ID: id, Name: id, Scopes: []catalog.Scope{{Name: "read", Text: "Read"}}},
		)
		apis = append(apis, gateway.API{ID: id})
	}
	r := rig.Memory(t, rig.Options{Issuer: issuer, Resources: resources, APIs: apis})
	get := func(method, path string) *rig.Answer { return r.Send(r.Program(), r.Request(method, path, nil)) }
	const at = "/.well-known/oauth-protected-resource"
	for path, id := range map[string]string{at: issuer, at + "/mcp": issuer + "/mcp/"} {
		a := get("GET", path)
		if a.Status != http.StatusOK || a.Text("resource") != id || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
		if a := get("POST", path); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, a.Status)
		}
	}
	for _, path := range []string{at + "/", at + "/other", at + "/mcp/"} {
		if a := get("GET", path); a.Status != http.StatusNotFound || strings.Contains(a.Body, otherID) {
			t.Errorf("%s: %d %s, want 404", path, a.Status, a.Body)
		}
	}
	challenge := get("GET", "/v1/auth/test").Header.Get("WWW-Authenticate") // of the first
	if want := issuer + at; !strings.Contains(challenge, `resource_metadata="`+want+`"`) {
		t.Errorf("the challenge is %s, want one that names %s", challenge, want)
	}
}

// Pages of the origins in the configuration may call, and read what they are told about limits; others may not.
func TestH09_PagesOfOtherOrigins(t *testing.T) {
	s := newSite(t, rules, func(r *catalog.Resource, _ *gateway.API) { r.CORS = []string{"https://app.example.com"} })
	_, key := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"read"}})
	preflight := s.call(
		"OPTIONS",
		"/v1/accounts",
		"",
		"",
		"Origin",
		"https://app.example.com",
		"Access-Control-Request-Method",
		"PUT",
		"Access-Control-Request-Headers",
		"authorization,x-workspace",
	)
	if h := preflight.Header; preflight.Status != http.StatusNoContent ||
		h.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
		h.Get("Access-Control-Allow-Credentials") != "" ||
		!strings.Contains(h.Get("Access-Control-Allow-Headers"), "authorization") ||
		h.Get("Access-Control-Allow-Methods") != "PUT" {
		t.Errorf("preflight %d %v", preflight.Status, h)
	}
	for _, origin := range []string{"https://evil.example", "null", "https://app.example.com.evil.example"} {
		if h := s.call("OPTIONS", "/v1/accounts", "", "", "Origin", origin, "Access-Control-Request-Method", "GET").Header; h.Get(
			"Access-Control-Allow-Origin",
		) != "" {
			t.Errorf("%s: %v", origin, h)
		}
	}
	answer := s.call("GET", "/v1/accounts", key, "", "Origin", "https://app.example.com")
	if h := answer.Header; h.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
		!strings.Contains(h.Get("Access-Control-Expose-Headers"), "X-Ratelimit-Remaining") ||
		h.Get("X-RateLimit-Remaining") != "9" {
		t.Errorf("%d %v: a preflight cost something, or the answer cannot be read", answer.Status, h)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d requests reached the upstream, want 1", n)
	}
}

// Its owner reads why a request was refused, and what would have passed.
func TestTheOwnerLearnsWhy(t *testing.T) {
	s := newSite(t, rules, nil)
	k, key := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"accounts:read"}})
	refused := s.call("GET", "/v1/contacts/7", key, "")
	s.call("GET", "/v1/accounts/7?secret=1", key, "")
	s.HTTP.Close() // what is passed on is noted at its end
	if err := s.Store.FlushUsage(s.System()); err != nil {
		t.Fatal(err)
	}
	requests, err := s.Store.RecentRequestsOf(s.System(), k.ID)
	if err != nil || len(requests) != 2 {
		t.Fatalf("%v, %v", requests, err)
	}
	want := storage.Request{
		Action: "GET /v1/contacts/7", Status: 403, RequestID: refused.Header.Get("X-Request-Id"),
		Reason: "the route GET /v1/{object}/** requires the scope contacts:read; the credential has only the scope accounts:read",
	}
	if got := requests[1]; got.Action != want.Action || got.Status != want.Status || got.RequestID != want.RequestID ||
		got.Reason != want.Reason {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := requests[0]; got.Status != http.StatusTeapot || got.Reason != "" || got.Action != "GET /v1/accounts/7" {
		t.Errorf("%+v", got)
	}
}

// APIs that write a method in capitals before they look at it would do what another rule decides about.
func TestF05_AMethodInOtherLettersIsRefused(t *testing.T) {
	s := newSite(t, []route.Route{
		{Methods: []string{"DELETE"}, Path: "/v1/**", Scopes: []string{"admin"}, Cost: 1},
		{Path: "/v1/**", Public: true},
	}, nil)
	for _, method := range []string{"delete", "Delete", "DELETe"} {
		if v := s.decide(method, "/v1/x", ""); v.Refusal == nil || v.Refusal.Kind != gateway.BadRequest {
			t.Errorf("%s: %v", method, v.Refusal)
		}
	}
	if v := s.decide("PURGE", "/v1/x", ""); v.Refusal != nil {
		t.Errorf("a method of the API's own: %v", v.Refusal)
	}
}
