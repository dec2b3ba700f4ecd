package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/test/rig"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// lastLine returns the log line of the last request.
func lastLine(t *testing.T, r *rig.Rig) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.Log.String()), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatal(err)
	}
	return line
}

func TestV71_TheLogStatesTheTrueCause(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, other, public, disabled := r.App(management.ClientSpec{}), r.App(management.ClientSpec{}),
			r.App(management.ClientSpec{Public: true}), r.App(management.ClientSpec{})
		if err := r.Store.DisableClient(r.System(), disabled.ID, management.StoppedByAdministrator); err != nil {
			t.Fatal(err)
		}
		b := r.Browser().SignIn(r.Alice.Email)
		code := func() string { return b.Code(app, "read") }
		exchange := func(code string, change ...string) url.Values {
			v := url.Values{
				"grant_type":    {"authorization_code"},
				"code":          {code},
				"code_verifier": {rig.Verifier},
				"redirect_uri":  {app.Redirect},
			}
			for i := 0; i < len(change); i += 2 {
				v.Set(change[i], change[i+1])
			}
			return v
		}
		refresh := func(token string) url.Values {
			return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
		}
		used := code()
		if a := r.PostAs(app, "/oauth/token", exchange(used)); a.Status != http.StatusOK {
			t.Fatal(a.Body)
		}
		_, revoked := r.Tokens(app, "read")
		r.PostAs(app, "/oauth/revoke", url.Values{"token": {revoked}})
		_, reused := r.Tokens(app, "read")
		r.Refresh(app, reused)
		r.Advance(time.Minute)
		expired := code()
		r.Advance(2 * time.Minute)
		_, good := r.Tokens(app, "read")

		bodies := map[string]bool{}
		for _, x := range []struct {
			name, error, cause string
			app                *rig.App
			form               url.Values
		}{
			{"used", "invalid_grant", "the code was used before, at ", app, exchange(used)},
			{"expired", "invalid_grant", "the code expired at ", app, exchange(expired)},
			{"unknown", "invalid_grant", "the code is unknown", app, exchange(bearer.NewCredential(bearer.PrefixCode))},
			{"no code", "invalid_grant", "the value of code does not have the form", app, exchange("nonsense")},
			{"of another client", "invalid_grant", "issued to another client, " + app.ID, other, exchange(code())},
			{
				"wrong verifier", "invalid_grant", "code_verifier does not match", app,
				exchange(code(), "code_verifier", strings.Repeat("x", 43)),
			},
			{"short verifier", "invalid_grant", "code_verifier has 3 characters", app, exchange(code(), "code_verifier", "abc")},
			{"no verifier", "invalid_grant", "code_verifier is missing", app, exchange(code(), "code_verifier", "")},
			{
				"other redirect URI", "invalid_grant",
				`redirect_uri \"http://127.0.0.1:9/cb\\nx\" differs from that of the authorization request, \"` + app.Redirect, app,
				exchange(code(), "redirect_uri", "http://127.0.0.1:9/cb\nx"),
			},
			{"revoked family", "invalid_grant", "was revoked at ", app, refresh(revoked)},
			{"refresh of another client", "invalid_grant", "issued to another client, " + app.ID, other, refresh(good)},
			{
				"refresh unknown", "invalid_grant", "the refresh token is unknown", app,
				refresh(bearer.NewCredential(bearer.PrefixRefreshToken)),
			},
			{"refresh reused", "invalid_grant", "the refresh token was used before, at ", app, refresh(reused)},
			{
				"grant type", "unauthorized_client", "not registered for the grant type", app,
				url.Values{"grant_type": {"client_credentials"}},
			},
			{"no code at all", "invalid_request", "code is missing", app, url.Values{"grant_type": {"authorization_code"}}},
		} {
			a := r.PostAs(x.app, "/oauth/token", x.form)
			line := lastLine(t, r)
			if a.JSON()["error"] != x.error || line["client_id"] != x.app.ID {
				t.Errorf("%s: answer %s, log %v", x.name, a.Body, line)
			}
			if text, _ := json.Marshal(line["cause"]); !strings.Contains(string(text), x.cause) {
				t.Errorf("%s: the log says %s, want %q", x.name, text, x.cause)
			}
			if x.error == "invalid_grant" {
				body := a.JSON()["error_description"].(string)
				bodies[body] = true
				if strings.Contains(body, app.ID) || strings.Contains(body, "at 20") {
					t.Errorf("%s: the answer tells more: %s", x.name, body)
				}
			}
		}
		if len(bodies) > 3 { // those of the code, its verifier and its redirect URI
			t.Errorf("answers differ: %v", bodies)
		}

		for _, x := range []struct{ name, id, secret, cause string }{
			{"unknown", "app_00000000-0000-7000-8000-000000000000", wrongSecret, "there is no client with this id"},
			{"no id of ours", "my-client\n", wrongSecret, "does not have the form of this server's client ids"},
			{"disabled", disabled.ID, disabled.Secret, "disabled"},
			{"wrong secret", app.ID, other.Secret, "the secret is not one of this client's"},
			{"cut secret", app.ID, app.Secret[:20], "may have been truncated"},
			{"public", public.ID, wrongSecret, "public"},
		} {
			a := r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(x.id, x.secret))
			refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
			line := lastLine(t, r)
			got := line["client_id"]
			if got != strings.ReplaceAll(x.id, "\n", `\n`) || !strings.Contains(fmt.Sprint(line["cause"]), x.cause) {
				t.Errorf("%s: log %v", x.name, line)
			}
		}
		// A secret in place of the id is not repeated.
		r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.Secret, app.ID))
		if strings.Contains(r.Log.String(), app.Secret) {
			t.Error("the log shows a secret that was sent as client_id")
		}
	})
}

func TestV71_AnUnregisteredRedirectURIIsNamed(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	for sent, shown := range map[string]string{
		"https://app.example/other":                        `"https://app.example/other"`,
		"https://app.example/<script>":                     `"https://app.example/<script>"`,
		"https://app.example/\u202egpj":                    `\u202egpj`,
		"https://app.example/" + strings.Repeat("x", 4000): strings.Repeat("x", 200),
		// Neither the log nor the page repeats anything that may be secret.
		"https://app.example/other?code=secret-word&a=secret-word":     `"https://app.example/other?code=[redacted]&a=[redacted]"`,
		"https://user:secret-word@app.example/other#token=secret-word": `"https://[redacted]@app.example/other#[redacted]"`,
		"https://app.example/" + app.Secret:                            `"https://app.example/dw_cs_[redacted]"`,
	} {
		params := app.Params("read")
		params.Set("redirect_uri", sent)
		a := r.Browser().Get("/oauth/authorize?" + params.Encode())
		wantPage(t, a, http.StatusBadRequest)
		line := lastLine(t, r)
		if line["client_id"] != app.ID || !strings.Contains(fmt.Sprint(line["cause"]), shown) ||
			len(fmt.Sprint(line["cause"])) > 600 {
			t.Errorf("log %v", line)
		}
		escaped := strings.NewReplacer(`"`, "&#34;", "&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(shown)
		if !strings.Contains(a.Body, escaped) || strings.Contains(a.Body, "<script>") ||
			strings.Contains(a.Body, strings.Repeat("x", 400)) {
			t.Errorf("the page does not name %q: %s", shown, a.Body)
		}
		wantInertURI(t, a.Body)
		text := a.Body + fmt.Sprint(line)
		if strings.Contains(text, "secret-word") || strings.Contains(text, app.Secret[10:]) {
			t.Errorf("a secret in %q is shown: %s", sent, text)
		}
	}
}

// Every 401 says how to authenticate (RFC 9110, section 15.5.2).
func TestV76_Every401CarriesAChallenge(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, public := robot(r), r.App(management.ClientSpec{Public: true})
	n := 0
	check := func(name string, a *rig.Answer) {
		t.Helper()
		n++
		if a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d with challenge %q: %s", name, a.Status, a.Header.Get("WWW-Authenticate"), a.Body)
		}
	}
	for path, form := range protected(app) {
		for name, a := range map[string]*rig.Answer{
			"nothing":        r.Post(path, form),
			"wrong in body":  r.Post(path, with(form, "client_id", app.ID, "client_secret", wrongSecret)),
			"none in body":   r.Post(path, with(form, "client_id", app.ID)),
			"unknown":        r.Post(path, with(form, "client_id", "app_x", "client_secret", "x")),
			"wrong by Basic": r.Post(path, form, "Authorization", rig.Basic(app.ID, wrongSecret)),
			"Digest":         r.Post(path, form, "Authorization", "Digest x"),
			"assertion":      r.Post(path, with(form, "client_assertion", "x", "client_assertion_type", "x")),
			"public, secret": r.Post(path, with(form, "client_id", public.ID, "client_secret", "x")),
		} {
			check(path+" "+name, a)
		}
	}
	for _, path := range []string{"/oauth/introspect"} {
		check(path+" bearer", r.Post(path, url.Values{"token": {"x"}}, "Authorization", "Bearer sk_live_x"))
		check(path+" public", r.Post(path, with(url.Values{"token": {"x"}}, "client_id", public.ID)))
	}
	for _, path := range []string{
		"/v1/auth/test", "/v1/api-keys", "/v1/apps", "/v1/workspaces", "/api/auth/me", "/api/me",
	} {
		check(path, r.Call("GET", path, ""))
		check(path+" wrong", r.Call("GET", path, "sk_live_x"))
	}
	b := r.Browser()
	page := b.Get("/login")
	form := b.Form(page, "/login")
	form.Set("email", r.Alice.Email)
	form.Set("password", "not this one, surely")
	check("/login", b.PostForm("/login", form))
	check("signed out", r.Browser().PostForm("/settings/profile", url.Values{"name": {"x"}}))
	if n < 36 {
		t.Errorf("%d answers were looked at", n)
	}
}

const gatewayHost = "api.example.com"

// gatewayOptions configure a server with an API behind its gateway and trusted proxies on this machine.
func gatewayOptions(t *testing.T) rig.Options {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	const id = "https://" + gatewayHost
	return rig.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Resources: []catalog.Resource{{
			ID:   id,
			Name: "An API",
			Scopes: []catalog.Scope{
				{Name: "read", Text: "Read"},
				{Name: "write", Text: "Write"},
				{Name: "delete", Text: "Delete"},
			},
			WorkspaceHeader: "X-Workspace",
			Keys:            catalog.KeyRules{Prefix: "sk", Environments: []string{"live"}},
		}},
		APIs: []gateway.API{
			{
				ID:       id,
				Hosts:    []string{gatewayHost},
				Upstream: target,
				Routes:   []route.Route{{Path: "/v1/**", Scopes: []string{"read"}, Cost: 1}},
			},
		},
	}
}

// gatewayDoors are the ways to request GET /v1/x from that API, with further headers.
func gatewayDoors(r *rig.Rig) map[string]func(header ...string) *http.Request {
	ask := func(host, path string, question ...string) func(header ...string) *http.Request {
		return func(header ...string) *http.Request {
			q := r.Request("GET", path, nil, append(question, header...)...)
			if host != "" {
				q.Host = host
			}
			return q
		}
	}
	return map[string]func(header ...string) *http.Request{
		"proxy": ask(gatewayHost, "/v1/x"),
		"Caddy": ask("", gateway.ForwardPath, "X-Forwarded-Method", "GET", "X-Forwarded-Host", gatewayHost,
			"X-Forwarded-Uri", "/v1/x"),
		"nginx": ask("", gateway.NginxPath, "X-Original-Method", "GET", "X-Original-Host", gatewayHost,
			"X-Original-Uri", "/v1/x"),
		"ingress-nginx": ask("", gateway.NginxPath, "X-Original-Method", "GET", "X-Original-Url",
			"https://"+gatewayHost+"/v1/x"),
		"Envoy": ask(gatewayHost, gateway.EnvoyPath+"/v1/x"),
	}
}

func TestV76_Every401OfTheGatewayCarriesAChallenge(t *testing.T) {
	r := rig.Memory(t, gatewayOptions(t))
	w := r.Workspace("acme", "", r.Alice)
	revoked, revokedText := r.Key(w, apikey.Spec{Scopes: []string{"read"}})
	if err := r.Store.RevokeKey(r.System(), revoked.Owner(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, expired := r.Key(w, apikey.Spec{Scopes: []string{"read"}, ExpiresAt: r.Store.Now().Add(time.Minute)})
	_, good := r.Key(w, apikey.Spec{Scopes: []string{"read"}})
	r.Advance(time.Hour)
	for door, ask := range gatewayDoors(r) {
		if a := r.Send(r.Program(), ask("Authorization", "Bearer "+good)); a.Status != http.StatusOK ||
			a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: a good key: %d %v", door, a.Status, a.Header)
		}
		for what, header := range map[string][]string{
			"nothing":       nil,
			"Basic":         {"Authorization", rig.Basic("x", "y")},
			"no token":      {"Authorization", "Bearer"},
			"unknown":       {"Authorization", "Bearer sk_live_x"},
			"revoked":       {"Authorization", "Bearer " + revokedText},
			"expired":       {"Authorization", "Bearer " + expired},
			"refresh token": {"Authorization", "Bearer " + bearer.PrefixRefreshToken + "x"},
			"a JWT":         {"Authorization", "Bearer e30.e30.e30"},
			"other header":  {"X-Api-Key", good},
		} {
			a := r.Send(r.Program(), ask(header...))
			status := a.Status
			if door == "nginx" { // nginx builds its answer from these headers
				status, _ = strconv.Atoi(a.Header.Get("X-Doorward-Status"))
			}
			if status != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer realm=") {
				t.Errorf("%s, %s: %d with challenge %q", door, what, status, a.Header.Get("WWW-Authenticate"))
			}
		}
	}
}

func TestV75_AKeyInAnotherHeaderIsHinted(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for _, name := range []string{"X-API-Key", "Api-Key"} {
		a := r.JSON("GET", "/v1/auth/test", "", "", name, "sk_live_x")
		if a.Status != http.StatusUnauthorized ||
			!strings.Contains(a.Body, "header is not supported; send the key in the Authorization header") ||
			strings.Contains(a.Body, "sk_live_x") {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

func TestV75_TheGatewayHintsAtAKeyInAnotherHeader(t *testing.T) {
	r := rig.Memory(t, gatewayOptions(t))
	for door, ask := range gatewayDoors(r) {
		for _, name := range []string{"X-API-Key", "Api-Key", "X-Auth-Token"} {
			a := r.Send(r.Program(), ask(name, "sk_live_x"))
			text := a.Body + a.Header.Get("X-Doorward-Body")
			if !strings.Contains(text, "header is not supported; send the key in the Authorization header") ||
				strings.Contains(text, "sk_live_x") {
				t.Errorf("%s, %s: %d %s", door, name, a.Status, text)
			}
		}
	}
}
