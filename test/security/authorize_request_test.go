package security

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// An authorization request: PKCE, response type and mode, state, repeated parameters, scope.

// refuseAsked sends the standard request with each change, signed in and not. Each must get the error at the redirect
// URI, and no code. A change that turns out to be valid shows as a missing error.
func refuseAsked(t *testing.T, app management.ClientSpec, code string, changes ...url.Values) {
	t.Helper()
	r := rig.Memory(t, rig.Options{})
	a := r.App(app)
	stranger, alice := r.Browser(), r.Browser().SignIn(r.Alice.Email)
	alice.Code(a, "read") // remembered, so that no page is needed
	before := grantCount(t, r)
	for _, change := range changes {
		for _, b := range []*rig.Browser{stranger, alice} {
			for _, uri := range a.RedirectURIs {
				sent := altered(altered(a.Params("read"), url.Values{"redirect_uri": {uri}}), change)
				wantRefusal(t, r, ask(b, sent), sent, code)
				wantRefusal(t, r,
					b.PostForm("/oauth/authorize", sent, "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"), sent, code)
			}
			if t.Failed() {
				t.Fatalf("with %v", change)
			}
		}
	}
	if n := grantCount(t, r); n != before {
		t.Errorf("%d codes were issued", n-before)
	}
}

// bothKinds runs fn for a confidential and for a public client.
func bothKinds(t *testing.T, fn func(t *testing.T, app management.ClientSpec)) {
	t.Helper()
	t.Run("confidential", func(t *testing.T) { fn(t, management.ClientSpec{}) })
	t.Run("public", func(t *testing.T) { fn(t, management.ClientSpec{Public: true}) })
}

func TestA20_EveryClientNeedsPKCE(t *testing.T) {
	bothKinds(t, func(t *testing.T, app management.ClientSpec) {
		refuseAsked(t, app, "invalid_request", url.Values{"code_challenge": nil, "code_challenge_method": nil},
			url.Values{"code_challenge": {""}, "code_challenge_method": {""}},
			url.Values{"code_challenge": nil, "code_challenge_method": nil, "prompt": {"none"}},
			url.Values{"code_challenge": nil, "code_challenge_method": nil, "nonce": {"0123456789abcdef"}})
	})
	t.Run("and is told how to go on", func(t *testing.T) {
		r := rig.Memory(t, rig.Options{})
		app := r.App(management.ClientSpec{})
		a := ask(r.Browser(), altered(app.Params("read"), url.Values{"code_challenge": nil, "code_challenge_method": nil}))
		for _, word := range []string{"code_challenge_method=S256", "administrator", "optional"} {
			if !strings.Contains(a.Param("error_description"), word) {
				t.Errorf("%q does not say %s", a.Param("error_description"), word)
			}
		}
	})
}

func TestA20_ExceptionIsForOneConfidentialClientAndItsMissingChallengeAlone(t *testing.T) {
	app := management.ClientSpec{PKCEOptional: true}
	r := rig.Memory(t, rig.Options{})
	optional := r.App(app)
	sent := altered(optional.Params("read"), url.Values{"code_challenge": nil, "code_challenge_method": nil})
	b := r.Browser().SignIn(r.Alice.Email)
	wantCode(t, r, b.Decide(b.Authorize(sent), "approve"), sent)
	// A challenge that is incomplete or invalid does not count as missing.
	refuseAsked(t, app, "invalid_request", url.Values{"code_challenge": nil}, url.Values{"code_challenge_method": nil},
		url.Values{"code_challenge_method": {"plain"}}, url.Values{"code_challenge": {"short"}})
	// The exception ends between the request and the response.
	page := b.Authorize(altered(sent, url.Values{"prompt": {"consent"}}))
	spec := management.SpecOf(optional.Client)
	spec.Administrator, spec.PKCEOptional = true, false
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), optional.ID, spec); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, r, b.Decide(page, "approve"), sent, "invalid_request")
}

func TestA21_OnlyS256(t *testing.T) {
	bothKinds(t, func(t *testing.T, app management.ClientSpec) {
		var changes []url.Values
		for _, method := range [][]string{
			{"plain"}, nil, {""}, {"s256"}, {"S256 "}, {" S256"}, {"S512"}, {"none"}, {"S256\x00"},
		} {
			changes = append(changes, url.Values{"code_challenge_method": method}, url.Values{
				"code_challenge_method": method,
				"code_challenge":        {rig.Verifier},
			})
		}
		refuseAsked(t, app, "invalid_request", changes...)
	})
}

func TestA22_ChallengeIsASHA256InBase64URL(t *testing.T) {
	c := rig.Challenge
	var changes []url.Values
	for _, bad := range []string{
		"short", c[:42], c + "A", c + "=", c[:42] + "=", "+" + c[1:], "/" + c[1:], c[:42] + "N", c[:20] + " " + c[21:],
		c + "\n", " " + c, c[:42] + ".", "~" + c[1:],
		c + c, strings.Repeat("A", 128), c[:40] + "é", c[:42] + "\x00", strings.Repeat("A", 10_000),
	} {
		changes = append(changes, url.Values{"code_challenge": {bad}})
	}
	refuseAsked(t, management.ClientSpec{}, "invalid_request", changes...)
}

func TestA23_MethodWithoutChallengeIsRefused(t *testing.T) {
	bothKinds(t, func(t *testing.T, app management.ClientSpec) {
		refuseAsked(t, app, "invalid_request", url.Values{"code_challenge": nil}, url.Values{"code_challenge": {""}},
			url.Values{"code_challenge": nil, "code_challenge_method": {"plain"}})
	})
}

func TestA24_A25_OnlyTheCodeResponseType(t *testing.T) {
	var changes []url.Values
	for _, kind := range [][]string{
		nil,
		{""},
		{"token"},
		{"id_token"},
		{"code token"},
		{"token code"},
		{"code id_token"},
		{"id_token token"},
		{"none"},
		{"code code"},
		{"Code"},
		{" code"},
		{"code "},
		{"code\x00"},
		{"code+token"},
		{"*"},
	} {
		if len(kind) == 1 && kind[0] == "code\x00" {
			continue // not valid text: below
		}
		changes = append(changes, url.Values{"response_type": kind})
	}
	refuseAsked(t, management.ClientSpec{}, "unsupported_response_type", changes...)
	refuseAsked(t, management.ClientSpec{}, "invalid_request", url.Values{"response_type": {"code\x00"}},
		url.Values{"response_type": {"code\xff"}})
}

func TestA26_OnlyTheQueryResponseMode(t *testing.T) {
	var changes []url.Values
	for _, mode := range []string{
		"web_message", "fragment", "form_post", "jwt", "query.jwt", "foo", "QUERY", "query fragment",
	} {
		changes = append(changes, url.Values{"response_mode": {mode}})
	}
	refuseAsked(t, management.ClientSpec{}, "invalid_request", changes...)
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	for _, mode := range []string{"query", ""} {
		wantLogin(t, ask(r.Browser(), altered(app.Params("read"), url.Values{"response_mode": {mode}})))
	}
}

func TestA28_A29_A30_StateIsOptionalAndComesBackAsItWas(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, state := range map[string][]string{
		"none":                          nil,
		"no value":                      {""},
		"one character":                 {"x"},
		"a space":                       {" "},
		"CR LF":                         {"a\r\nSet-Cookie: planted=1\r\n\r\n<script>"},
		"percent":                       {"%"},
		"percent of a percent":          {"%25%0d%0a"},
		"plus":                          {"a+b c"},
		"ampersand":                     {"a&error=x&code=y#z"},
		"not ASCII":                     {"zażółć 🐚 \u202e"},
		"not UTF-8":                     {"\xff\xfe\x80"},
		"NUL":                           {"a\x00b"},
		"every byte":                    {string(every)},
		"4 kB":                          {strings.Repeat("0123456789abcdef", 256)},
		"8 KiB of what must be escaped": {strings.Repeat("é\xff\n", 2048)},
	} {
		t.Run(name, func(t *testing.T) {
			sent := altered(app.Params("read"), url.Values{"state": state})
			// Through login and consent, with a code issued at once, and with a refusal by the user and by the server.
			b := r.Browser()
			page := b.Follow(b.LogIn(b.Authorize(altered(sent, url.Values{"prompt": {"consent"}})), r.Alice.Email))
			wantCode(t, r, b.Decide(page, "approve"), sent)
			wantCode(t, r, ask(b, sent), sent)
			wantRefusal(t, r, b.Decide(b.Authorize(altered(sent, url.Values{"prompt": {"consent"}})), "deny"), sent,
				"access_denied")
			wrong := altered(sent, url.Values{"scope": {"nonsense"}})
			a := ask(b, wrong)
			wantRefusal(t, r, a, wrong, "invalid_scope")
			if a.Header.Get("Set-Cookie") != "" || len(a.Header.Values("Location")) != 1 {
				t.Errorf("headers %v", a.Header)
			}
			// In a body it may contain the same characters.
			wantRefusal(t, r, b.PostForm("/oauth/authorize", wrong, "Sec-Fetch-Site", "cross-site"), wrong, "invalid_scope")
		})
	}
}

func TestA30_StateTooLongToComeBackIsRefusedWithoutIt(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser()
	sent := altered(app.Params("read"), url.Values{"state": {strings.Repeat("x", 8193)}})
	wantRefusal(t, r, ask(b, sent), altered(sent, url.Values{"state": nil}), "invalid_request")
	sent["state"] = []string{strings.Repeat("x", 60_000)}
	wantRefusal(t, r, b.PostForm("/oauth/authorize", sent), altered(sent, url.Values{"state": nil}), "invalid_request")
	sent["state"] = []string{strings.Repeat("x", 64<<10)}
	wantPage(t, b.PostForm("/oauth/authorize", sent), http.StatusRequestEntityTooLarge)
	if a := rawGet(t, r, "/oauth/authorize?"+sent.Encode()); a != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 kB of state in the URL: %d, want 431", a)
	}
}

// rawGet sends a request line as it is and returns the status of the answer.
func rawGet(t *testing.T, r *rig.Rig, target string) int {
	t.Helper()
	conn, err := net.Dial("tcp", r.HTTP.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	//nolint:errcheck // only read from here on
	defer conn.Close()
	// The server may close the connection early.
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Nonces belong to OpenID Connect; for plain OAuth they are unknown parameters.
func TestA31_NonceIsIgnored(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	for _, nonce := range [][]string{nil, {"x"}, {strings.Repeat("n", 64)}, {strings.Repeat("n", 384)}} {
		sent := altered(app.Params("read"), url.Values{"nonce": nonce})
		a := r.Exchange(app, wantCode(t, r, ask(b, sent), sent))
		if a.Status != http.StatusOK || a.JSON()["id_token"] != nil {
			t.Errorf("exchange %d %s", a.Status, a.Body)
		}
	}
}

func TestA32_EveryAnswerNamesTheIssuer(t *testing.T) {
	r := rig.Memory(t, rig.Options{Issuer: "https://auth.example.com"})
	app := r.App(management.ClientSpec{})
	meta := r.Send(r.Program(), r.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil))
	if meta.Text("issuer") != "https://auth.example.com" ||
		meta.JSON()["authorization_response_iss_parameter_supported"] != true {
		t.Errorf("metadata %s", meta.Body)
	}
	// A host name in a header does not become the issuer. Every case here checks iss in errors.
	q := r.Request(http.MethodGet, "/oauth/authorize?"+app.Params("nonsense").Encode(), nil,
		"X-Forwarded-Host", "evil.example")
	q.Host = "evil.example"
	wantRefusal(t, r, r.Send(r.Program(), q), app.Params("nonsense"), "invalid_scope")
	sent := altered(app.Params("read"), url.Values{"prompt": {"none"}})
	wantRefusal(t, r, ask(r.Browser(), sent), sent, "login_required")
}

func TestA33_RepeatedParametersAreRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	base := altered(app.Params("read"), url.Values{
		"nonce":         {"n"},
		"prompt":        {"none"},
		"resource":      {r.Issuer},
		"max_age":       {"1000"},
		"extra":         {"foo"},
		"response_mode": {"query"},
	})
	for name, values := range base {
		for _, twice := range [][]string{
			{values[0], values[0]}, {values[0], "evil.example"}, {"evil.example", values[0]}, {values[0], ""},
		} {
			sent := altered(base, url.Values{name: twice})
			switch name {
			case "client_id", "redirect_uri":
				wantPage(t, ask(b, sent), http.StatusBadRequest)
			case "resource":
				wantRefusal(t, r, ask(b, sent), sent, "invalid_target")
			default:
				wantRefusal(t, r, ask(b, sent), sent, "invalid_request")
			}
			if t.Failed() {
				t.Fatalf("%s twice: %q", name, twice)
			}
		}
	}
	// A repeated state is not returned in either version, even if something else is wrong.
	for range 20 {
		sent := altered(base, url.Values{"state": {"a", "b"}, "resource": {"x", "y"}, "scope": {"x", "y"}})
		wantRefusal(t, r, ask(b, sent), sent, "invalid_request")
	}
	wantCode(t, r, ask(b, base), base)
}

func TestA34_UnknownParametersAreIgnored(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	// Parameters of OpenID Connect and of other extensions have no effect either.
	sent := altered(app.Params("read"), url.Values{
		"extra":         {"foobar"},
		"audience":      {"https://evil.example"},
		"subject":       {"user_1"},
		"display":       {"popup"},
		"login_hint":    {"bob@example.com"},
		"ui_locales":    {"fr"},
		"acr_values":    {"1"},
		"claims":        {`{"id_token":{}}`},
		"registration":  {"{}"},
		"client_secret": {"x"},
		"user_id":       {"x"},
		"workspace":     {"x"},
		"flow":          {"x"},
		"iss":           {"https://evil.example"},
		"code":          {"dw_ac_x"},
		"error":         {"x"},
		"grant_type":    {"implicit"},
		"":              {"x"},
		"prompt":        {""},
		"max_age":       {""},
		"resource":      {""},
		"request":       {""},
		"request_uri":   {""},
		"id_token_hint": {""},
	})
	wantCode(t, r, ask(b, sent), sent)
}

func TestA35_MalformedQueriesGetAPage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	good := app.Params("read").Encode()
	for _, query := range []string{
		good + "&a=1;b=2", good + "&%zz", good + "&a=%zz", good + "&a=%", good + "&a=%0", good + ";state=x",
		strings.Replace(good, "&", ";", 1), good + strings.Repeat("&a=b", 200), "", "%", ";", "&&&",
	} {
		wantPage(t, askRaw(b, query), http.StatusBadRequest)
		q := r.Request(http.MethodPost, "/oauth/authorize", strings.NewReader(query), "Content-Type",
			"application/x-www-form-urlencoded")
		wantPage(t, r.Send(r.Program(), q), http.StatusBadRequest)
	}
}

func TestA36_ScopesAreThoseThatTheClientIsRegisteredFor(t *testing.T) {
	var changes []url.Values
	for _, scope := range []string{
		"delete", "*", "read.x", "rea", "reads", "read:*", "READ", "Read", "read admin", "admin", "read,write", "openid",
		"openid read", "offline read", "offline", "introspect", "readwrite",
		"read\x7f", "reаd", strings.Repeat("x ", 5000), "accounts:read", "%72ead", "read&write",
	} {
		changes = append(changes, url.Values{"scope": {scope}})
	}
	refuseAsked(t, management.ClientSpec{Scopes: []string{"read", "write"}}, "invalid_scope", changes...)
	// Without a scope, the registered scopes apply (RFC 6749, section 3.3).
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{Scopes: []string{"read", "write"}})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, scope := range [][]string{nil, {""}, {" "}, {"read write"}, {"write  read read"}} {
		sent := altered(app.Params(""), url.Values{"scope": scope})
		a := ask(b, sent)
		if a.Location != nil && a.Location.Path == "/oauth/consent" {
			a = b.Decide(b.Follow(a), "approve")
		}
		tok := r.Exchange(app, wantCode(t, r, a, sent))
		words := strings.Fields(tok.Text("scope"))
		if len(words) != 2 || !slices.Contains(words, "read") || !slices.Contains(words, "write") {
			t.Errorf("asked for %q, got %s", scope, tok.Body)
		}
	}
}

func TestA38_ConsentCannotGrantWhatWasNotAsked(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Authorize(app.Params("read"))
	for _, scopes := range [][]string{
		{"write"}, {"read", "write"}, {"read", "admin"}, {"*"}, {"read", ""}, {"read write"}, {"READ"},
	} {
		wantPage(t, b.Decide(page, "approve", func(v url.Values) { v["scope"] = scopes }), http.StatusBadRequest)
	}
	wantPage(t, b.Decide(page, "approve", func(v url.Values) { delete(v, "scope") }), http.StatusBadRequest)
	if n := grantCount(t, r); n != 0 {
		t.Errorf("%d grants were created", n)
	}
	// No part of it is remembered, and the request is still open.
	sent := altered(app.Params("read"), url.Values{"prompt": {"none"}})
	wantRefusal(t, r, ask(b, sent), sent, "consent_required")
	code := wantCode(t, r, b.Decide(page, "approve"), app.Params("read"))
	if got := r.Exchange(app, code).Text("scope"); got != "read" {
		t.Errorf("granted %q", got)
	}
}

func TestA39_NewScopesAreNotCoveredByEarlierConsent(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, other := r.App(management.ClientSpec{Scopes: []string{"read", "write", "admin"}}), r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	none := url.Values{"prompt": {"none"}}
	sent := altered(app.Params("read"), none)
	wantCode(t, r, ask(b, sent), sent)
	sent = altered(app.Params("read write"), none)
	wantRefusal(t, r, ask(b, sent), sent, "consent_required")
	wantConsent(t, ask(b, app.Params("read write")))
	// Nor by consent for another app, or by another user.
	sent = altered(other.Params("read"), none)
	wantRefusal(t, r, ask(b, sent), sent, "consent_required")
	bob := r.Browser().SignIn(r.User("bob@example.com", "Bob", false).Email)
	sent = altered(app.Params("read"), none)
	wantRefusal(t, r, ask(bob, sent), sent, "consent_required")
	// A scope that a remembered scope implies still needs consent under its own name.
	b.Code(app, "admin")
	sent = altered(app.Params("write"), none)
	wantRefusal(t, r, ask(b, sent), sent, "consent_required")
}

// A refresh token does not need offline_access, but the client needs the grant type.
func TestA40_OfflineAccessIsNoScopeAndTheGrantTypeDecides(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for refresh, grants := range map[bool][]string{true: nil, false: {"authorization_code"}} {
		app := r.App(management.ClientSpec{RedirectURIs: []string{"https://app.example/cb"}, Grants: grants})
		if _, token := r.Tokens(app, "read"); (token != "") != refresh {
			t.Errorf("grants %v: refresh token %q", app.GrantTypes, token)
		}
	}
}
