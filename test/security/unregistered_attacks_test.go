package security

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/test/rig"
)

// What a hostile client, host, visitor or neighbour could try with clients that register themselves.

// Requests that are not by the client, and those that a user refuses, do not keep it: otherwise anybody could keep the
// rows of clients that no user has.
func TestD13_RequestsOfStrangersDoNotKeepAClient(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		described, e := h.describe("/"+r.Store.Engine(), nil), enrol(r)
		b := r.Browser().SignIn(r.Alice.Email)
		for _, app := range []*rig.App{described, e.App} {
			granted(t, r.Exchange(app, b.Code(app, "read")))
			endAccess(r, app)
		}
		for range 4 {
			r.Advance(8 * 24 * time.Hour)
			b = r.Browser().SignIn(r.Alice.Email)
			for _, app := range []*rig.App{described, e.App} {
				refused(t, r.Refresh(app, bearer.NewCredential(bearer.PrefixRefreshToken)), http.StatusBadRequest, oauth.InvalidGrant)
				refused(t, r.Exchange(app, bearer.NewCredential(bearer.PrefixCode)), http.StatusBadRequest, oauth.InvalidGrant)
				pushed(r, app, app.Params("read"))
				r.PostAs(app, "/oauth/revoke", url.Values{"token": {"x"}})
				b.Decide(b.Authorize(app.Params("read")), "deny")
			}
			r.JSON(http.MethodGet, e.path(), e.token, "")
			ok(t, r.Store.FlushTouches(r.System()))
			if _, err := r.Store.Purge(r.System(), r.OAuth.Retention()); err != nil {
				t.Fatal(err)
			}
			if time.Until(r.Now()) < 30*24*time.Hour {
				continue
			}
			for kind, id := range map[string]string{"registered": e.ID, "document": described.ID} {
				if rowsOf(t, r, "clients", "id = $1", id) != 0 {
					t.Errorf("the %s client is kept", kind)
				}
			}
		}
	})
}

// Users who allow clients while these are deleted as unused: each answer either counts, or says that the app is gone.
func TestD13_AnAnswerWhileUnusedClientsAreDeleted(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_")
		const pairs = 12
		apps := make([]*rig.App, 2*pairs)
		b := r.Browser().SignIn(r.Alice.Email)
		for i := range pairs {
			apps[2*i] = h.describe(fmt.Sprint(path, "/", i), nil)
			b.Code(apps[2*i], "read")
			endAccess(r, apps[2*i])
			apps[2*i+1] = enrol(r).App
		}
		for _, n := range nodes {
			n.Advance(31 * 24 * time.Hour)
		}
		b = r.Browser().SignIn(r.Alice.Email)
		forms, browsers := make([]url.Values, len(apps)), make([]*rig.Browser, len(apps))
		for i, app := range apps { // one browser keeps few flows
			browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
			forms[i] = with(browsers[i].Form(browsers[i].Authorize(app.Params("read")), "/oauth/consent"), "decision", "approve")
		}
		codes := make([]string, len(apps))
		rig.AtOnce(len(apps)+4, func(i int) {
			n := nodes[i%len(nodes)]
			if i >= len(apps) {
				if _, err := n.Store.Purge(n.System(), n.OAuth.Retention()); err != nil {
					t.Error(err)
				}
				return
			}
			a := browsers[i].PostForm("/oauth/consent", forms[i])
			codes[i] = a.Param("code")
			if codes[i] == "" && (apps[i].ID[0] == 'h' || a.Status != http.StatusBadRequest && a.Status != http.StatusForbidden) {
				t.Errorf("%s: answered %d %s", apps[i].ID, a.Status, rig.Plain(a.Body))
			}
		})
		for i, app := range apps {
			if codes[i] != "" {
				granted(t, nodes[i%len(nodes)].Exchange(app, codes[i]))
			} else if n := rowsOf(t, r, "clients", "id = $1", app.ID); n != 0 {
				t.Errorf("%s: refused, and still there", app.ID)
			}
		}
	})
}

// Many users who allow a new client at once: it is stored once, and each gets their code.
func TestD12_ManyUsersAllowANewClientAtOnce(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		app := h.describe("/"+strings.ReplaceAll(t.Name(), " ", "_"), nil)
		const users = 16
		browsers, forms := make([]*rig.Browser, users), make([]url.Values, users)
		for i := range users {
			n := nodes[i%len(nodes)]
			u := n.User(fmt.Sprint("user", i, "@example.com"), "User", false)
			browsers[i] = n.Browser().SignIn(u.Email)
			forms[i] = with(browsers[i].Form(browsers[i].Authorize(app.Params("read")), "/oauth/consent"), "decision", "approve")
		}
		codes := make([]string, users)
		rig.AtOnce(users, func(i int) {
			a := browsers[i].PostForm("/oauth/consent", forms[i])
			if codes[i] = a.Param("code"); codes[i] == "" {
				t.Errorf("%d %s", a.Status, rig.Plain(a.Body))
			}
		})
		for i, code := range codes {
			granted(t, nodes[(i+1)%len(nodes)].Exchange(app, code))
		}
		if n := rowsOf(t, nodes[0], "audit_events", "action = 'app.registered' AND target = $1", app.ID); n != 1 {
			t.Errorf("%d registrations are recorded", n)
		}
	})
}

// Codes, refresh tokens and pushed requests of one such client are of no use to another, whatever kind it is.
func TestT04_ClientsThatRegisteredThemselvesAreNotMixedUp(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	apps := map[string]*rig.App{
		"registered": enrol(r).App, "another": enrol(r).App, "document": h.describe("/a", nil), "its neighbour": h.describe("/b", nil),
		"operator": r.App(management.ClientSpec{Public: true, Resources: []string{openAPI}, RedirectURIs: []string{"https://app.example/cb"}}),
	}
	for _, app := range apps {
		b.Code(app, "read")
	}
	for mine, own := range apps {
		for its, other := range apps {
			if mine == its {
				continue
			}
			code := b.Code(own, "read")
			refused(t, r.Exchange(other, code), http.StatusBadRequest, oauth.InvalidGrant)
			_, refresh := granted(t, r.Exchange(own, b.Code(own, "read")))
			refused(t, r.Refresh(other, refresh), http.StatusBadRequest, oauth.InvalidGrant)
			_, refresh = granted(t, r.Refresh(own, refresh))
			r.PostAs(other, "/oauth/revoke", url.Values{"token": {refresh}})
			granted(t, r.Refresh(own, refresh))
			wantUsed(t, ask(b, other.Opened(pushed(r, own, own.Params("read")))))
			// The id in one place and another one elsewhere.
			form := with(codeForm(own, b.Code(own, "read")), "client_id", own.ID)
			if a := r.Post("/oauth/token", form, "Authorization", rig.Basic(other.ID, "")); a.Status == http.StatusOK {
				t.Errorf("%s as %s is answered %s", mine, its, a.Body)
			}
			if t.Failed() {
				t.Fatalf("%s and %s", mine, its)
			}
		}
		forgetFailures(r)
	}
}

// What the user was shown is bound to their page: the token of another page of theirs does not count for it.
func TestB02_WhatWasShownIsBoundToThePage(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	app, e := h.describe("/x", nil), enrol(r)
	for _, x := range []*rig.App{app, e.App} {
		other := b.Form(b.Authorize(x.Params("read")), "/oauth/consent")
		form := with(b.Form(b.Authorize(x.Params("read")), "/oauth/consent"), "decision", "approve")
		if form.Get("described") == "" || form.Get("described") == other.Get("described") {
			t.Errorf("the form has %q", form.Get("described"))
		}
		for _, described := range []string{"", "x", other.Get("described"), form.Get("token")} {
			wantPage(t, b.PostForm("/oauth/consent", with(form, "described", described)), http.StatusForbidden)
		}
		if a := b.PostForm("/oauth/consent", form); a.Param("code") == "" {
			t.Errorf("%d %s", a.Status, rig.Plain(a.Body))
		}
	}
	// A proof of the user's that comes in between loses nothing of it.
	o := h.options()
	o.Resources[1].OpenScopes = []string{"read", "admin"}
	r = rig.Memory(t, o)
	b = r.Browser().SignIn(r.Alice.Email)
	r.Advance(5*time.Minute + time.Second)
	form := with(b.Form(b.Authorize(app.Params("admin")), "/oauth/consent"), "decision", "approve")
	form = b.Form(b.PostForm("/oauth/consent", form), "/oauth/consent")
	form.Set("current_password", rig.Password)
	if a := b.PostForm("/oauth/consent", form); a.Param("code") == "" {
		t.Errorf("with a proof: %d %s", a.Status, rig.Plain(a.Body))
	}
}

// A document may ask more of its own client than others do.
func TestD12_ADocumentAsksMoreOfItsClient(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	only := h.describe("/pushed", rig.Members{"require_pushed_authorization_requests": true})
	wantPage(t, ask(b, only.Params("read")), http.StatusBadRequest)
	granted(t, r.Exchange(only, b.Allow(only, pushed(r, only, only.Params("read")))))
	proving := rig.NewKey(t, "")
	keyed := h.describe("/bound", rig.Members{"dpop_bound_access_tokens": true})
	refused(t, r.Exchange(keyed, b.Code(keyed, "read")), http.StatusBadRequest, "invalid_dpop_proof")
	bound(t, proven(r, keyed, proving, codeForm(keyed, b.Code(keyed, "read"))))
}

// The endless, the slow and the many: a host cannot fill the server's memory, nor hold a visitor for long.
func TestD05_D12_AHostThatAnswersForEver(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.Fetch.Timeout = 200 * time.Millisecond
	r := rig.Memory(t, o)
	b := r.Browser().SignIn(r.Alice.Email)
	text := h.document("/x")
	for name, serve := range map[string]http.HandlerFunc{
		"for ever": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for {
				if _, err := io.WriteString(w, strings.Repeat(" ", 32<<10)); err != nil {
					return
				}
			}
		},
		"headers": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1000 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 100))
			}
			asDocument(text)(w, nil)
		},
		"a length that is not true": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			asDocument(text)(w, nil)
		},
		"a cookie and a policy": asDocument(strings.Replace(text, "Described", "Doorward", 1), "Set-Cookie", "doorward-session=x"),
	} {
		h.serve("/x", serve)
		app := &rig.App{Redirect: "https://app.example/cb"}
		app.ID, app.Public = h.URL+"/x", true
		a := ask(b, app.Params("read"))
		wantPage(t, a, http.StatusBadRequest)
		if t.Failed() {
			t.Fatal(name)
		}
		if a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: a cookie of the host is passed on", name)
		}
	}
}

// The ids of documents do not disturb the log: they are logged on a line of their own, without their query, and never
// with a credential that somebody put into one.
func TestO01_IDsOfDocumentsInTheLog(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	for _, path := range []string{"/a%0a%0dlevel=error", "/a'b", "/a,b=c", "/%22,%22level%22:%22x", "/a%1b[31m", "/%e2%80%ae"} {
		app := &rig.App{Redirect: "https://app.example/cb"}
		app.ID, app.Public = h.URL+path, true
		decoded, err := url.PathUnescape(path)
		ok(t, err)
		h.serve(decoded, asDocument(h.document(path)))
		a := ask(b, app.Params("read"))
		if a.Status != http.StatusSeeOther {
			t.Errorf("%s: %d %s", path, a.Status, rig.Plain(a.Body))
		}
		if line := logged(t, r, "request", requestID(a)); line["client_id"] != app.ID {
			t.Errorf("logged as %v", line["client_id"])
		}
	}
	app := h.describe("/asked", nil)
	app.ID = h.URL + "/asked?for=harbour"
	h.serve("/asked", asDocument(h.document("", rig.Members{"client_id": app.ID})))
	page := ask(b, app.Params("read"))
	exchanged := r.Exchange(app, b.Code(app, "read"))
	for what, a := range map[string]*rig.Answer{
		"the request": page, "the page": b.Get(page.Location.String()), "the code": exchanged,
		"a pushed request": r.PostAs(app, "/oauth/par", app.Params("read")), "a refresh": r.Refresh(app, exchanged.Text("refresh_token")),
	} {
		if line := logged(t, r, "request", requestID(a)); line["client_id"] != h.URL+"/asked?..." {
			t.Errorf("%s is logged with %v", what, line["client_id"])
		}
	}
	// A credential that came into one by mistake.
	secret := bearer.NewCredential(bearer.PrefixAccessToken)
	r.Seen.Add("access token", secret)
	for _, path := range []string{"/" + secret, "/x?token=" + secret, "/x/" + url.PathEscape("Bearer "+secret), "/x#" + secret} {
		app := &rig.App{Redirect: "https://app.example/cb"}
		app.ID, app.Public = h.URL+path, true
		wantPage(t, ask(b, app.Params("read")), http.StatusBadRequest)
		r.PostAs(app, "/oauth/par", app.Params("read"))
		r.Refresh(app, bearer.NewCredential(bearer.PrefixRefreshToken))
	}
}

// The gateway and introspection name such a client by its id, whole.
func TestTheIDOfADocumentInAnswersAboutTokens(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	for i := range o.Resources {
		o.Resources[i].JWT = i == 1
	}
	r := rig.Memory(t, o)
	b := r.Browser().SignIn(r.Alice.Email)
	app := h.describe("/a b", nil)
	app.ID = h.URL + "/a%20b?c=%2f,d"
	h.serve("/a b", asDocument(h.document("", rig.Members{"client_id": app.ID})))
	access, _ := granted(t, r.Exchange(app, b.Code(app, "read")))
	if got := r.Introspect(introspecting(r, openAPI), access).Text("client_id"); got != app.ID {
		t.Errorf("introspection names %q", got)
	}
	var claims struct {
		Client string `json:"client_id"`
	}
	payload(t, access, &claims)
	if claims.Client != app.ID {
		t.Errorf("the token names %q", claims.Client)
	}
}

// A page of the client's own origin may use it, as the origins of its redirect URIs say; pages of others may not.
func TestOriginsOfClientsThatRegisteredThemselves(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	for kind, app := range map[string]*rig.App{"document": h.describe("/x", nil), "registered": enrol(r).App} {
		code := b.Code(app, "read")
		for origin, want := range map[string]bool{
			"https://app.example": true, h.URL: false, "https://" + strangerHost: false, "null": false, "https://APP.example": false,
		} {
			form := with(codeForm(app, code), "client_id", app.ID)
			if !want {
				form.Set("code", "x")
			}
			a := r.Post("/oauth/token", form, "Origin", origin)
			if got := a.Header.Get("Access-Control-Allow-Origin"); (got == origin) != want || got == "*" {
				t.Errorf("%s: from %s: %d, allowed %q", kind, origin, a.Status, got)
			}
		}
	}
}

// A page of the client's own origin may read the answer to its first pushed request too, when no user has allowed the
// client yet. Where no documents are accepted, only origins of stored clients may.
func TestOriginsOfAClientThatNoUserHasAllowed(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	app := h.describe("/x", rig.Members{"redirect_uris": []string{"https://app.example:443/cb", "http://127.0.0.1/cb"}})
	preflight := func(r *rig.Rig, origin string) string {
		return r.Send(r.Program(), r.Request(http.MethodOptions, "/oauth/par", nil, "Origin", origin,
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "dpop")).
			Header.Get("Access-Control-Allow-Origin")
	}
	for origin, want := range map[string]string{
		"https://app.example": "https://app.example", "http://127.0.0.1": "http://127.0.0.1", h.URL: "",
		"https://" + strangerHost: "", "null": "", "https://APP.example": "",
	} {
		if got := preflight(r, origin); got != origin && got != "*" {
			t.Errorf("a preflight from %s is answered for %q", origin, got)
		}
		for what, form := range map[string]url.Values{"right": app.Params("read"), "wrong": app.Params("admin")} {
			a := r.PostAs(app, "/oauth/par", form, "Origin", origin)
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s, from %s: %d, allowed %q, want %q", what, origin, a.Status, got, want)
			}
		}
	}
	if got := preflight(rig.Memory(t, openServer()), "https://app.example"); got != "" {
		t.Errorf("without documents, a preflight is answered for %q", got)
	}
}

// The metadata of the server say what it does, and of an API only what is its own.
func TestMetadataOfServersThatTakeUnknownClients(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	var m map[string]any
	ok(t, json.Unmarshal([]byte(r.Browser().Get("/.well-known/oauth-authorization-server").Body), &m))
	if m["registration_endpoint"] != r.Issuer+registerPath || m["client_id_metadata_document_supported"] != true {
		t.Errorf("%v", m)
	}
	methods, _ := m["token_endpoint_auth_methods_supported"].([]any)
	for _, name := range []any{"none", "private_key_jwt", "client_secret_basic"} {
		if !slices.Contains(methods, name) {
			t.Errorf("%v is missing in %v", name, methods)
		}
	}
	closed := rig.Memory(t, rig.Options{})
	m = nil
	ok(t, json.Unmarshal([]byte(closed.Browser().Get("/.well-known/oauth-authorization-server").Body), &m))
	for _, name := range []string{"registration_endpoint", "client_id_metadata_document_supported"} {
		if _, has := m[name]; has {
			t.Errorf("a closed server has %s", name)
		}
	}
	// At an API, only what is open to a client that knows nothing else.
	o := gatewayOptions(t)
	o.Resources[0].OpenScopes = []string{o.Resources[0].Scopes[0].Name}
	api := rig.Memory(t, o)
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/v1/any"} {
		q := api.Request(http.MethodGet, path, nil)
		q.Host = gatewayHost
		a := api.Send(api.Program(), q)
		if strings.Contains(a.Body+fmt.Sprint(a.Header), "offline_access") {
			t.Errorf("an API names offline_access: %s %v", a.Body, a.Header)
		}
		if path == "/v1/any" {
			if a.Status != http.StatusUnauthorized {
				t.Errorf("%s is answered %d", path, a.Status)
			}
		} else if got := list(a, "scopes_supported"); !slices.Equal(got, o.Resources[0].OpenScopes) {
			t.Errorf("the API offers %q", got)
		}
	}
}
