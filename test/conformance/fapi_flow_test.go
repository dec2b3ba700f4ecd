package conformance_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// flow has the modules about metadata, the authorization code and refreshing.
func (p *plan) flow(t *testing.T) {
	p.module(t, "fapi2-security-profile-final-discovery-end-point-verification", p.metadata)
	p.module(t, "fapi2-security-profile-final-happy-flow", p.happy)
	p.module(t, "fapi2-security-profile-final-user-rejects-authentication", p.rejected)
	p.states(t)
	p.module(t, "fapi2-security-profile-final-ensure-client-id-in-token-endpoint", func(t *testing.T) {
		code := p.authorize(t, p.first, p.first.Params("read"))
		// The id and the assertion of the second client, but signed with the key of the first.
		a := p.ExchangeSigned(p.second.App, p.first.key, p.first.proving, code)
		wantRefusal(t, a, http.StatusUnauthorized, "invalid_client")
	})
	p.module(t, "fapi2-security-profile-final-ensure-authorization-code-is-bound-to-client", func(t *testing.T) {
		code := p.authorize(t, p.first, p.first.Params("read"))
		other := &client{p.second.App, p.second.key, p.first.proving}
		other.App = &rig.App{Client: p.second.Client, Redirect: p.first.Redirect}
		a := p.ExchangeSigned(other.App, other.key, other.proving, code)
		wantRefusal(t, a, http.StatusBadRequest, "invalid_grant")
		p.wantTokens(t, p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, code)) // that was not its use
	})
	p.module(t, "fapi2-security-profile-final-attempt-reuse-authorization-code-after-one-second", func(t *testing.T) {
		code := p.authorize(t, p.first, p.first.Params("read"))
		token := p.wantTokens(t, p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, code)).Text("access_token")
		p.use(t, p.first.proving, token)
		p.Advance(time.Second)
		a := p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, code)
		wantRefusal(t, a, http.StatusBadRequest, "invalid_grant")
		// The code was stolen, or the client is at fault: what it gave is revoked (RFC 6749, section 4.1.2).
		if a := p.CallBound(p.first.proving, http.MethodGet, resource, token); a.Status != http.StatusUnauthorized {
			t.Errorf("the token of a code that was used twice: %d %s", a.Status, a.Body)
		}
	})
	p.module(t, "fapi2-security-profile-final-ensure-token-endpoint-fails-with-expired-auth-code", p.expiredCode)
	p.module(t, "fapi2-security-profile-final-ensure-pkce-code-verifier-required", func(t *testing.T) {
		p.wantVerifier(t, "")
	})
	p.module(t, "fapi2-security-profile-final-incorrect-pkce-code-verifier-rejected", func(t *testing.T) {
		p.wantVerifier(t, strings.Repeat("another-verifier-", 3))
	})
	p.module(t, "fapi2-security-profile-final-refresh-token", p.refreshed)
}

// metadata checks the server's metadata (RFC 8414): what a client of the profile looks for is there. What the server
// offers to other clients too may be.
func (p *plan) metadata(t *testing.T) {
	a := p.Send(p.Program(), p.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil))
	meta := a.JSON()
	if a.Status != http.StatusOK || !isJSON(a) || meta == nil {
		t.Fatalf("%d %v %s", a.Status, a.Header, a.Body)
	}
	list := func(name string) (values []string) {
		items, _ := meta[name].([]any)
		for _, v := range items {
			text, isText := v.(string)
			if !isText || text == "" || strings.ContainsAny(text, ` "\`) {
				t.Errorf("%s has %v", name, v)
			}
			values = append(values, text)
		}
		return values
	}
	for name, want := range map[string]string{
		"issuer": p.Issuer, "authorization_endpoint": p.Issuer + "/oauth/authorize",
		"token_endpoint":                        p.Issuer + "/oauth/token",
		"pushed_authorization_request_endpoint": p.Issuer + "/oauth/par",
	} {
		if meta[name] != want {
			t.Errorf("%s is %v, want %s", name, meta[name], want)
		}
	}
	for name, want := range map[string][]string{
		"response_types_supported":                         {"code"},
		"grant_types_supported":                            {"authorization_code", "refresh_token"},
		"token_endpoint_auth_methods_supported":            {"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": {"ES256", "PS256", "EdDSA"},
		"dpop_signing_alg_values_supported":                {"ES256", "PS256", "EdDSA"},
		"code_challenge_methods_supported":                 {"S256"},
		"scopes_supported":                                 {"read"},
	} {
		for _, one := range want {
			if !slices.Contains(list(name), one) {
				t.Errorf("%s is %v, without %s", name, meta[name], one)
			}
		}
	}
	// The profile forbids these to every client, and plain to any.
	for name, forbidden := range map[string][]string{
		"dpop_signing_alg_values_supported":                {"RS256", "HS256", "none"},
		"token_endpoint_auth_signing_alg_values_supported": {"HS256", "none"},
		"code_challenge_methods_supported":                 {"plain"},
		"response_types_supported":                         {"token", "code id_token"},
	} {
		for _, one := range forbidden {
			if slices.Contains(list(name), one) {
				t.Errorf("%s is %v, with %s", name, meta[name], one)
			}
		}
	}
	if _, isBool := meta["require_pushed_authorization_requests"].(bool); !isBool {
		t.Errorf("require_pushed_authorization_requests is %v", meta["require_pushed_authorization_requests"])
	}
	if meta["authorization_response_iss_parameter_supported"] != true {
		t.Error("authorization_response_iss_parameter_supported is not true (RFC 9207)")
	}
}

// happy is the way of both clients to the resource. The second binds its code with dpop_jkt, sends its parameters the
// other way round, and has a redirect URI with a query.
func (p *plan) happy(t *testing.T) {
	token := p.grant(t, p.first).Text("access_token")
	p.use(t, p.first.proving, token)
	// RFC 6750, section 2.3 allows a token in the query, and the profile forbids it.
	a := p.Send(p.Program(), p.Request(http.MethodGet, resource+"?access_token="+token, nil, "DPoP",
		p.Proof(p.first.proving, http.MethodGet, resource, token)))
	if a.Status != http.StatusUnauthorized {
		t.Errorf("a token in the query: %d %s", a.Status, a.Body)
	}
	for _, accept := range []string{"application/json;charset=UTF-8", "application/json, application/*+json, */*;q=0.1"} {
		p.use(t, p.first.proving, token, "Accept", accept, "X-FAPI-Customer-IP-Address", "2001:db8::1893:25c8:1946")
	}

	request := changed(p.second.Params("read"), "state", strings.Repeat("S", 128), "dpop_jkt", p.second.proving.Thumbprint())
	front := opened(request, p.push(t, p.second, request))
	var reversed []string
	for _, name := range []string{"scope", "response_type", "request_uri", "redirect_uri", "client_id"} {
		reversed = append(reversed, name+"="+url.QueryEscape(front.Get(name)))
	}
	a = p.browser.Follow(p.browser.Get("/oauth/authorize?"+strings.Join(reversed, "&"), "Sec-Fetch-Site", "cross-site"))
	code := p.wantCode(t, a, request)
	token = p.wantTokens(t, p.ExchangeSigned(p.second.App, p.second.key, p.second.proving, code)).Text("access_token")
	p.use(t, p.second.proving, token)
	p.wantBound(t, p.first.proving, token)
}

// wantBound checks that a token is refused with a proof by another key.
func (p *plan) wantBound(t *testing.T, other *rig.Key, token string) {
	t.Helper()
	a := p.CallBound(other, http.MethodGet, resource, token)
	if a.Status != http.StatusUnauthorized || !strings.Contains(strings.Join(a.Header.Values("WWW-Authenticate"), ","),
		"invalid_token") && !strings.Contains(strings.Join(a.Header.Values("WWW-Authenticate"), ","), "invalid_dpop_proof") {
		t.Errorf("a token with a proof by another key: %d %v %s", a.Status, a.Header, a.Body)
	}
}

// rejected is how both clients learn that the user denied.
func (p *plan) rejected(t *testing.T) {
	b := p.Browser().SignIn(p.User("bob@example.com", "Bob", false).Email)
	for _, c := range []*client{p.first, p.second} {
		request := changed(c.Params("read"), "state", strings.Repeat("s", 128))
		page := b.Authorize(opened(request, p.push(t, c, request)))
		p.wantAnswer(t, b.Decide(page, "deny"), request, url.Values{"error": {"access_denied"}})
	}
}

// states has the modules about the state of a request.
func (p *plan) states(t *testing.T) {
	// finish redeems the code of an answer and uses its token.
	finish := func(t *testing.T, a *rig.Answer, request url.Values) {
		t.Helper()
		tokens := p.wantTokens(t, p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, p.wantCode(t, a, request)))
		p.use(t, p.first.proving, tokens.Text("access_token"))
	}
	stateless := changed(p.first.Params("read"), "state", "")
	p.module(t, "fapi2-security-profile-final-ensure-authorization-request-without-state-success", func(t *testing.T) {
		finish(t, p.browser.Authorize(opened(stateless, p.push(t, p.first, stateless))), stateless)
	})
	p.module(t, "fapi2-security-profile-final-ensure-different-state-inside-and-outside-request-object",
		func(t *testing.T) {
			request := p.first.Params("read")
			front := changed(opened(request, p.push(t, p.first, request)), "state", "another")
			finish(t, p.browser.Authorize(front), request)
		})
	p.module(t, "fapi2-security-profile-final-ensure-authorization-request-with-long-state", func(t *testing.T) {
		request := changed(p.first.Params("read"), "state", strings.Repeat("0123456789", 100))
		finish(t, p.browser.Authorize(opened(request, p.push(t, p.first, request))), request)
	})
	p.module(t, "fapi2-security-profile-final-state-only-outside-request-object-not-used", func(t *testing.T) {
		front := changed(opened(stateless, p.push(t, p.first, stateless)), "state", "only-outside")
		finish(t, p.browser.Authorize(front), stateless)
	})
}

// expiredCode uses a code after a minute.
func (p *plan) expiredCode(t *testing.T) {
	code := p.authorize(t, p.first, p.first.Params("read"))
	p.Advance(62 * time.Second)
	a := p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, code)
	wantRefusal(t, a, http.StatusBadRequest, "invalid_grant")
}

// wantVerifier checks that a code is not redeemed with another code_verifier, or with none.
func (p *plan) wantVerifier(t *testing.T, verifier string) {
	t.Helper()
	form := changed(url.Values{
		"grant_type": {"authorization_code"}, "code": {p.authorize(t, p.first, p.first.Params("read"))},
		"redirect_uri": {p.first.Redirect},
	}, "code_verifier", verifier)
	a := p.PostSigned(p.first.App, p.first.key, "/oauth/token", form, "DPoP",
		p.Proof(p.first.proving, http.MethodPost, "/oauth/token", ""))
	wantRefusal(t, a, http.StatusBadRequest, "invalid_grant")
}

// refreshed checks what a refresh token is bound to, and that it does not rotate (section 5.3.2.1 of the profile).
func (p *plan) refreshed(t *testing.T) {
	refresh := func(c *client, proving *rig.Key, token string) *rig.Answer {
		t.Helper()
		return p.RefreshSigned(c.App, c.key, proving, token)
	}
	form := func(token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "scope": {"read"}}
	}
	var tokens [2]*rig.Answer
	for i, c := range []*client{p.first, p.second} {
		before := p.grant(t, c)
		text := before.Text("refresh_token")
		if strings.IndexFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e }) >= 0 {
			t.Errorf("the refresh token has a character that RFC 6749 does not allow: %q", text)
		}
		p.Advance(time.Second)
		// Of a confidential client, the refresh token is bound to the client. The new access token is bound to the new key.
		c.proving = rig.NewKey(t, "")
		tokens[i] = p.wantTokens(t, refresh(c, c.proving, text))
		if tokens[i].Text("access_token") == before.Text("access_token") {
			t.Error("the access token is the old one")
		}
		if tokens[i].Text("refresh_token") != text {
			t.Error("the refresh token rotates")
		}
		p.use(t, c.proving, tokens[i].Text("access_token"))
	}
	first, second := tokens[0].Text("refresh_token"), tokens[1].Text("refresh_token")
	a := p.Post("/oauth/token", form(first), "DPoP", p.Proof(p.first.proving, http.MethodPost, "/oauth/token", ""))
	wantRefusal(t, a, http.StatusUnauthorized, "invalid_client")
	a = p.Post("/oauth/token", changed(form(first), "client_id", p.first.ID), "DPoP",
		p.Proof(p.first.proving, http.MethodPost, "/oauth/token", ""))
	wantRefusal(t, a, http.StatusUnauthorized, "invalid_client")
	wantRefusal(t, refresh(p.first, nil, first), http.StatusBadRequest, "invalid_dpop_proof")
	p.wantBound(t, p.first.proving, tokens[1].Text("access_token"))
	wantRefusal(t, refresh(p.first, p.first.proving, second), http.StatusBadRequest, "invalid_grant")
	p.wantTokens(t, refresh(p.second, p.second.proving, second)) // none of this was its use
}

// FAPI 2.0 Security Profile, section 5.3.2.1: a code is valid for a minute at most, however long those of other clients
// are.
func TestFAPI2CodesLiveForAMinuteAtMost(t *testing.T) {
	r := rig.Memory(t, rig.Options{Lifetimes: oauth.Lifetimes{Code: 10 * time.Minute}})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, fapi := range []bool{false, true} {
		app, key := r.SignedApp(management.ClientSpec{FAPI: fapi})
		code := b.Allow(app, r.Push(app, key, app.Params("read")))
		r.Advance(62 * time.Second)
		a := r.ExchangeSigned(app, key, rig.NewKey(t, ""), code)
		if fapi {
			wantRefusal(t, a, http.StatusBadRequest, "invalid_grant")
		} else if a.Status != http.StatusOK {
			t.Errorf("a code of another client: %d %s", a.Status, a.Body)
		}
	}
}
