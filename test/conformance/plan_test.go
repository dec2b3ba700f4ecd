// Package conformance_test holds what conformance suites by others require of Doorward, so that each of our own runs
// shows what a run of theirs would (docs/conformance.md). A subtest is named after a module of theirs, and was written
// from what the module requires.
package conformance_test

import (
	"flag"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/rig"
)

// fapiModules are the modules of the plan fapi2-security-profile-final-test-plan of the OpenID Foundation's suite, with
// private_key_jwt, DPoP and without OpenID Connect (plain_oauth), in its order.
var fapiModules = []string{
	"fapi2-security-profile-final-discovery-end-point-verification",
	"fapi2-security-profile-final-happy-flow",
	"fapi2-security-profile-final-user-rejects-authentication",
	"fapi2-security-profile-final-ensure-authorization-request-without-state-success",
	"fapi2-security-profile-final-access-token-type-header-case-sensitivity",
	"fapi2-security-profile-final-check-dpop-proof-nbf-exp",
	"fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-before-succeeds",
	"fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-after-succeeds",
	"fapi2-security-profile-final-ensure-mismatched-dpop-jkt-fails",
	"fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt",
	"fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-jkt",
	"fapi2-security-profile-final-ensure-dpopproof-at-par-endpoint-binding-success",
	"fapi2-security-profile-final-ensure-dpop-auth-code-binding-success",
	"fapi2-security-profile-final-ensure-different-state-inside-and-outside-request-object",
	"fapi2-security-profile-final-ensure-authorization-request-with-long-state",
	"fapi2-security-profile-final-state-only-outside-request-object-not-used",
	"fapi2-security-profile-final-ensure-request-object-without-redirect-uri-fails",
	"fapi2-security-profile-final-plain-fapi-tolerate-unregistered-redirect-uri",
	"fapi2-security-profile-final-ensure-unsigned-authorization-request-without-using-par-fails",
	"fapi2-security-profile-final-ensure-redirect-uri-in-authorization-request",
	"fapi2-security-profile-final-ensure-response-type-code-idtoken-fails",
	"fapi2-security-profile-final-ensure-response-type-token-fails",
	"fapi2-security-profile-final-ensure-client-id-in-token-endpoint",
	"fapi2-security-profile-final-ensure-holder-of-key-required",
	"fapi2-security-profile-final-ensure-authorization-code-is-bound-to-client",
	"fapi2-security-profile-final-attempt-reuse-authorization-code-after-one-second",
	"fapi2-security-profile-final-ensure-token-endpoint-fails-with-expired-auth-code",
	"fapi2-security-profile-final-ensure-signed-client-assertion-with-RS256-fails",
	"fapi2-security-profile-final-ensure-client-assertion-in-token-endpoint",
	"fapi2-security-profile-final-ensure-client-assertion-with-exp-is-5-minutes-in-past-fails",
	"fapi2-security-profile-final-ensure-client-assertion-with-wrong-aud-fails",
	"fapi2-security-profile-final-ensure-client-assertion-with-no-sub-fails",
	"fapi2-security-profile-final-dpop-negative-tests",
	"fapi2-security-profile-final-refresh-token",
	"fapi2-security-profile-final-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds",
	"fapi2-security-profile-final-par-attempt-reuse-request_uri",
	"fapi2-security-profile-final-par-attempt-to-use-expired-request_uri",
	"fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted",
	"fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails",
	"fapi2-security-profile-final-par-attempt-to-use-request_uri-for-different-client",
	"fapi2-security-profile-final-par-authorization-request-containing-request_uri-form-param",
	"fapi2-security-profile-final-par-attempt-invalid-http-method",
	"fapi2-security-profile-final-par-ensure-pkce-required",
	"fapi2-security-profile-final-ensure-pkce-code-verifier-required",
	"fapi2-security-profile-final-incorrect-pkce-code-verifier-rejected",
	"fapi2-security-profile-final-par-plain-pkce-rejected",
	"fapi2-security-profile-final-par-without-duplicate-parameters",
	"fapi2-security-profile-final-par-test-array-as-audience-fails",
	"fapi2-security-profile-final-par-test-par-endpoint-url-as-audience-fails",
	"fapi2-security-profile-final-par-test-token-endpoint-url-as-audience-fails",
}

// TestFAPI2SecurityProfile runs all modules on each engine, at one server with two clients, as the suite does.
func TestFAPI2SecurityProfile(t *testing.T) {
	rig.Each(t, rig.Options{Localhost: true}, func(t *testing.T, r *rig.Rig) {
		p := newPlan(r)
		p.flow(t)
		p.pushed(t)
		p.proofs(t)
		p.assertions(t)
		p.wantAll(t, fapiModules)
	})
}

// plan is a run of modules at one server.
type plan struct {
	*rig.Rig
	browser       *rig.Browser // of Alice, who is signed in
	first, second *client
	ran           []string
}

// client is a client that follows the profile, with the key of its assertions and the one of its proofs.
type client struct {
	*rig.App
	key, proving *rig.Key
}

// The redirect URIs of both clients. The first uses one, and the second the other.
const (
	plainRedirect = "https://app.example/cb"
	queryRedirect = "https://app.example/cb?dummy1=lorem&dummy2=ipsum"
)

// resource is a protected resource of the server.
const resource = "/v1/auth/test"

func newPlan(r *rig.Rig) *plan {
	p := &plan{
		Rig: r, browser: r.Browser().SignIn(r.Alice.Email), first: newClient(r, plainRedirect),
		second: newClient(r, queryRedirect),
	}
	for _, c := range []*client{p.first, p.second} {
		p.browser.Allow(c.App, r.Push(c.App, c.key, c.Params("read"))) // later requests are allowed without a page
	}
	return p
}

func newClient(r *rig.Rig, redirect string) *client {
	app, key := r.SignedApp(management.ClientSpec{FAPI: true, RedirectURIs: []string{plainRedirect, queryRedirect}})
	app.Redirect = redirect
	return &client{app, key, rig.NewKey(r.T, "")}
}

// module runs one module. It moves the clock, so that the failures of one do not count against another.
func (p *plan) module(t *testing.T, name string, fn func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		outer := p.T
		p.T = t
		defer func() { p.T = outer }()
		p.Advance(2 * time.Minute)
		fn(t)
		p.ran = append(p.ran, name)
	})
}

// wantAll checks that each module of a plan has run once, to its end, and that no other has. A run of single subtests,
// and one with a failure, is not checked.
func (p *plan) wantAll(t *testing.T, modules []string) {
	t.Helper()
	asked := flag.Lookup("test.run").Value.String() + flag.Lookup("test.skip").Value.String()
	if t.Failed() || strings.Contains(asked, "/") {
		return
	}
	if len(modules) != 50 {
		t.Errorf("the plan has 50 modules, and the list %d", len(modules))
	}
	want, ran := slices.Sorted(slices.Values(modules)), slices.Sorted(slices.Values(p.ran))
	if !slices.Equal(want, ran) {
		t.Errorf("these modules are to run:\n%s\nand these did:\n%s", strings.Join(want, "\n"), strings.Join(ran, "\n"))
	}
}

// changed is a copy of a form with other values. A name without a value is left out.
func changed(form url.Values, pairs ...string) url.Values {
	own := url.Values{}
	maps.Copy(own, form)
	for i := 0; i+1 < len(pairs); i += 2 {
		if own[pairs[i]] = []string{pairs[i+1]}; pairs[i+1] == "" {
			delete(own, pairs[i])
		}
	}
	return own
}

// push pushes a request, which must succeed (RFC 9126, section 2.2), and gives the request_uri.
func (p *plan) push(t *testing.T, c *client, request url.Values, header ...string) string {
	t.Helper()
	a := p.PostSigned(c.App, c.key, "/oauth/par", request, header...)
	uri, _ := strings.CutPrefix(a.Text("request_uri"), "urn:ietf:params:oauth:request_uri:")
	// The suite wants between 5 s and a year, and 96 bits of entropy; the profile less than ten minutes.
	if expires, _ := a.JSON()["expires_in"].(float64); a.Status != http.StatusCreated || expires < 5 || expires >= 600 ||
		len(uri) < 16 || !isJSON(a) {
		t.Fatalf("PAR answered %d %v %s", a.Status, a.Header, a.Body)
	}
	return a.Text("request_uri")
}

// opened are the parameters with which a pushed request is opened: its request_uri, and those that plain OAuth requires
// too. The server has to tolerate the second kind.
func opened(request url.Values, uri string) url.Values {
	front := url.Values{"request_uri": {uri}}
	for _, name := range []string{"client_id", "response_type", "scope", "redirect_uri"} {
		if request.Has(name) {
			front.Set(name, request.Get(name))
		}
	}
	return front
}

// authorize pushes a request and opens it, and gives the code. The answer must be the right one for the request.
func (p *plan) authorize(t *testing.T, c *client, request url.Values, header ...string) string {
	t.Helper()
	return p.wantCode(t, p.browser.Authorize(opened(request, p.push(t, c, request, header...))), request)
}

// wantCode checks the answer to an authorization request (RFC 6749, section 4.1.2; RFC 9207): all its parameters, and
// the redirect URI with the query that it is registered with.
func (p *plan) wantCode(t *testing.T, a *rig.Answer, request url.Values) string {
	t.Helper()
	code := a.Param("code")
	want := url.Values{"code": {code}}
	p.wantAnswer(t, a, request, want)
	if len(code) < 16 {
		t.Fatalf("the code %q is short", code)
	}
	return code
}

// wantAnswer checks where an answer leads, and its parameters: those given, state if it was pushed, iss, and the query
// of the redirect URI. A description of an error may be among them.
func (p *plan) wantAnswer(t *testing.T, a *rig.Answer, request, want url.Values) {
	t.Helper()
	redirect, err := url.Parse(request.Get("redirect_uri"))
	if err != nil || a.Location == nil {
		t.Fatalf("no redirect: %d %s", a.Status, rig.Plain(a.Body))
	}
	want.Set("iss", p.Issuer)
	if request.Has("state") {
		want.Set("state", request.Get("state"))
	}
	maps.Copy(want, redirect.Query())
	got := a.Location.Query()
	if want.Has("error") {
		got.Del("error_description")
	}
	if got.Encode() != want.Encode() || a.Location.Host != redirect.Host || a.Location.Path != redirect.Path ||
		a.Location.Fragment != "" {
		t.Fatalf("the answer leads to %v, want %s with %v", a.Location, redirect, want)
	}
}

// wantPage checks that a request was refused on a page. The browser stays here: the app must not be told.
func wantPage(t *testing.T, a *rig.Answer) {
	t.Helper()
	if a.Status != http.StatusBadRequest || a.Location != nil || !strings.Contains(rig.Plain(a.Body), "Error 400") {
		t.Errorf("want a page with error 400: %d %v %s", a.Status, a.Location, rig.Plain(a.Body))
	}
}

// grant authorizes a client, and gives what the token endpoint answers with.
func (p *plan) grant(t *testing.T, c *client) *rig.Answer {
	t.Helper()
	return p.wantTokens(t, p.ExchangeSigned(c.App, c.key, c.proving, p.authorize(t, c, c.Params("read"))))
}

// wantTokens checks a response with tokens (RFC 6749, section 5.1; RFC 9449, section 5).
func (p *plan) wantTokens(t *testing.T, a *rig.Answer) *rig.Answer {
	t.Helper()
	expires, _ := a.JSON()["expires_in"].(float64)
	if _, identity := a.JSON()["id_token"]; a.Status != http.StatusOK || !isJSON(a) || identity ||
		a.Header.Get("Cache-Control") != "no-store" || expires <= 0 || a.Text("token_type") != "DPoP" ||
		len(a.Text("access_token")) < 16 || len(a.Text("refresh_token")) < 16 {
		t.Fatalf("the token endpoint answered %d %v %s", a.Status, a.Header, a.Body)
	}
	return a
}

// use calls the resource with a token and a right proof.
func (p *plan) use(t *testing.T, proving *rig.Key, token string, header ...string) {
	t.Helper()
	wantResource(t, p.CallBound(proving, http.MethodGet, resource, token, header...))
}

// wantResource checks that the resource answered.
func wantResource(t *testing.T, a *rig.Answer) {
	t.Helper()
	if a.Status != http.StatusOK || a.Header.Get("Date") == "" || !isJSON(a) {
		t.Errorf("the resource answered %d %v %s", a.Status, a.Header, a.Body)
	}
}

// wantRefusal checks an error of an endpoint for clients (RFC 6749, section 5.2), its characters included.
func wantRefusal(t *testing.T, a *rig.Answer, status int, code string) {
	t.Helper()
	allowed := func(r rune) bool { return r >= 0x20 && r <= 0x7e && r != '"' && r != '\\' }
	if a.Status != status || a.Text("error") != code || !isJSON(a) || a.Text("error_description") == "" ||
		strings.IndexFunc(a.Text("error_description"), func(r rune) bool { return !allowed(r) }) >= 0 {
		t.Errorf("want %d %s, got %d %v %s", status, code, a.Status, a.Header, a.Body)
	}
}

func isJSON(a *rig.Answer) bool {
	media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	return media == "application/json"
}
