package conformance_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/rig"
)

// pushed has the modules about pushed authorization requests (RFC 9126).
func (p *plan) pushed(t *testing.T) {
	p.parameters(t)
	p.requestURIs(t)
	p.module(t, "fapi2-security-profile-final-ensure-unsigned-authorization-request-without-using-par-fails",
		func(t *testing.T) {
			wantPage(t, p.browser.Authorize(p.first.Params("read")))
		})
	p.module(t, "fapi2-security-profile-final-par-without-duplicate-parameters", func(t *testing.T) {
		request := p.first.Params("read")
		code := p.wantCode(t, p.browser.Authorize(p.first.Opened(p.push(t, p.first, request))), request)
		tokens := p.wantTokens(t, p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, code))
		p.use(t, p.first.proving, tokens.Text("access_token"))
	})
	p.module(t, "fapi2-security-profile-final-par-attempt-invalid-http-method", func(t *testing.T) {
		form := rig.Asserted(p.first.Params("read"), p.Assertion(p.first.App, p.first.key))
		a := p.Send(p.Program(), p.Request(http.MethodPut, "/oauth/par", strings.NewReader(form.Encode()),
			"Content-Type", "application/x-www-form-urlencoded"))
		wantRefusal(t, a, http.StatusMethodNotAllowed, "invalid_request")
	})
}

// parameters has the modules about a request that is refused when it is pushed.
func (p *plan) parameters(t *testing.T) {
	// refused pushes a request of the first client with other parameters.
	refused := func(code string, pairs ...string) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			a := p.PostSigned(p.first.App, p.first.key, "/oauth/par", changed(p.first.Params("read"), pairs...))
			wantRefusal(t, a, http.StatusBadRequest, code)
		}
	}
	p.module(t, "fapi2-security-profile-final-ensure-request-object-without-redirect-uri-fails",
		refused("invalid_request", "redirect_uri", ""))
	p.module(t, "fapi2-security-profile-final-ensure-redirect-uri-in-authorization-request", func(t *testing.T) {
		// The suite tolerates a default for a client with a single redirect URI. The profile does not (section 5.3.2.2).
		app, key := p.SignedApp(management.ClientSpec{FAPI: true, RedirectURIs: []string{plainRedirect}})
		for _, c := range []*client{p.first, {App: app, key: key}} {
			a := p.PostSigned(c.App, c.key, "/oauth/par", changed(c.Params("read"), "redirect_uri", ""))
			wantRefusal(t, a, http.StatusBadRequest, "invalid_request")
		}
	})
	p.module(t, "fapi2-security-profile-final-plain-fapi-tolerate-unregistered-redirect-uri",
		refused("invalid_request", "redirect_uri", plainRedirect+"/unregistered"))
	p.module(t, "fapi2-security-profile-final-ensure-response-type-code-idtoken-fails",
		refused("unsupported_response_type", "response_type", "code id_token"))
	p.module(t, "fapi2-security-profile-final-ensure-response-type-token-fails",
		refused("unsupported_response_type", "response_type", "token"))
	p.module(t, "fapi2-security-profile-final-par-authorization-request-containing-request_uri-form-param",
		refused("invalid_request", "request_uri", "urn:example:E2ooXxELkEFSKR90ymYVBbwAvCC2TozHfSbmMCw2s"))
	p.module(t, "fapi2-security-profile-final-par-ensure-pkce-required",
		refused("invalid_request", "code_challenge", "", "code_challenge_method", ""))
	p.module(t, "fapi2-security-profile-final-par-plain-pkce-rejected",
		refused("invalid_request", "code_challenge", rig.Verifier, "code_challenge_method", "plain"))
}

// requestURIs has the modules about when a request_uri can be used, how often, and by which client.
func (p *plan) requestURIs(t *testing.T) {
	request := p.first.Params("read")
	p.module(t, "fapi2-security-profile-final-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds",
		func(t *testing.T) {
			front := opened(request, p.push(t, p.first, request))
			b := p.Browser()
			b.Form(b.Authorize(front), "/login") // opening the page does not use it up
			a := b.Follow(b.LogIn(b.Authorize(front), p.Alice.Email))
			tokens := p.wantTokens(t, p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, p.wantCode(t, a, request)))
			p.use(t, p.first.proving, tokens.Text("access_token"))
		})
	p.module(t, "fapi2-security-profile-final-par-attempt-reuse-request_uri", func(t *testing.T) {
		front := opened(request, p.push(t, p.first, request))
		p.wantCode(t, p.browser.Authorize(front), request)
		wantPage(t, p.browser.Authorize(front))
	})
	p.module(t, "fapi2-security-profile-final-par-attempt-to-use-expired-request_uri", func(t *testing.T) {
		a := p.PostSigned(p.first.App, p.first.key, "/oauth/par", request)
		expires, _ := a.JSON()["expires_in"].(float64)
		p.Advance(time.Duration(expires) * time.Second)
		wantPage(t, p.browser.Authorize(opened(request, a.Text("request_uri"))))
	})
	p.module(t, "fapi2-security-profile-final-par-attempt-to-use-request_uri-for-different-client", func(t *testing.T) {
		front := opened(request, p.push(t, p.first, request))
		wantPage(t, p.browser.Authorize(changed(front, "client_id", p.second.ID)))
		p.wantCode(t, p.browser.Authorize(front), request) // that was not its use
	})
}
