package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// What a client that registered itself is trusted with: nothing that its user has not allowed it.

// strange gives a fresh client of each kind that can register itself, by its name.
func strange(r *rig.Rig, h *documentHost, path string) map[string]*rig.App {
	r.T.Helper()
	uris := rig.Members{"redirect_uris": []string{"https://" + strangerHost + "/cb"}}
	return map[string]*rig.App{
		"public":   enrol(r, uris).App,
		"secret":   enrol(r, uris, rig.Members{"token_endpoint_auth_method": "client_secret_basic"}).App,
		"document": h.describe(path, uris),
	}
}

// Users are not sent to a client that registered itself before they have seen where it leads: its requests that are
// wrong, or need a page and forbid it, are answered with a page here.
func TestA18_NoRedirectToAClientThatRegisteredItself(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	stranger, alice := r.Browser(), r.Browser().SignIn(r.Alice.Email)
	bob := r.Browser().SignIn(r.User("bob@example.com", "Bob", false).Email)
	for kind, app := range strange(r, h, "/a18") {
		for name, change := range map[string]url.Values{
			"scope": {"scope": {"nonsense"}}, "a closed scope": {"scope": {"admin"}},
			"response_type": {"response_type": {"token"}}, "pkce": {"code_challenge": nil},
			"resource": {"resource": {"https://x.example"}}, "a closed resource": {"resource": {closedAPI}},
			"repeat": {"scope": {"read", "read"}}, "request": {"request": {"x"}}, "mode": {"response_mode": {"fragment"}},
			"request_uri": {"request_uri": {"https://" + strangerHost}}, "a long state": {"state": {strings.Repeat("x", 9000)}},
			"a right one": nil,
		} {
			for _, b := range []*rig.Browser{stranger, alice} {
				none := altered(app.Params("read"), altered(change, url.Values{"prompt": {"none"}}))
				wantPage(t, ask(b, none), http.StatusBadRequest)
				if name != "a right one" {
					wantPage(t, ask(b, altered(app.Params("read"), change)), http.StatusBadRequest)
				}
				if t.Failed() {
					t.Fatalf("%s, %s", kind, name)
				}
			}
		}
		wantPage(t, ask(alice, altered(app.Params("read"), url.Values{"prompt": {"foo"}})), http.StatusBadRequest)
		alice.Code(app, "read")
		sent := altered(app.Params("nonsense"), url.Values{"prompt": {"none"}})
		wantRefusal(t, r, ask(alice, sent), sent, oauth.InvalidScope)
		wantPage(t, ask(stranger, sent), http.StatusBadRequest)
		wantPage(t, ask(bob, sent), http.StatusBadRequest)
	}
}

// What a user has allowed does not lead to where the client has sent users since.
func TestA18_NoRedirectToAnAddressThatTheUserHasNotSeen(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	app := h.describe("/x", nil)
	e := enrol(r)
	b.Code(app, "read")
	b.Code(e.App, "read")
	moved := rig.Members{"redirect_uris": []string{"https://" + strangerHost + "/cb"}}
	h.describe("/x", moved)
	a := e.update(r, e.token, moved)
	r.Seen.Add("registration access token", a.Text("registration_access_token"))
	expire(r)
	for _, x := range []*rig.App{app, e.App} {
		x.Redirect = "https://" + strangerHost + "/cb"
		for _, params := range []url.Values{
			altered(x.Params("nonsense"), url.Values{"prompt": {"none"}}), x.Params("nonsense"),
			altered(x.Params("read"), url.Values{"prompt": {"none"}}),
			altered(x.Params("read"), url.Values{"response_type": {"token"}}),
		} {
			wantPage(t, ask(b, params), http.StatusBadRequest)
		}
	}
}

// The operator neither verifies such a client nor changes it, so nothing that it says is anybody else's word. It can be
// disabled and deleted.
func TestV15_NobodyVouchesForAClientThatRegisteredItself(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		admin := r.User("root@example.com", "Root", true)
		root, alice := r.Browser().SignIn(admin.Email), r.Browser().SignIn(r.Alice.Email)
		_, personal := r.PersonalToken(admin, standingOfAdmin(closedAPI))
		for kind, app := range strange(r, h, "/trust/"+r.Store.Engine()) {
			page := alice.Authorize(app.Params("read"))
			text := rig.Plain(page.Body)
			if !isConsent(page) || !strings.Contains(text, "This app is not verified") {
				t.Fatalf("%s: %d %s", kind, page.Status, text)
			}
			for _, badge := range []string{"Registered by the operator", "Part of this service", "An administrator has verified"} {
				if strings.Contains(text, badge) {
					t.Errorf("%s: the page says %s", kind, badge)
				}
			}
			alice.Decide(page, "approve")
			by := management.CLI("")
			if err := r.Management.VerifyClient(r.System(), by, app.ID, true); err == nil {
				t.Errorf("%s: the CLI verifies it", kind)
			}
			c, err := r.Store.ClientByID(r.System(), app.ID)
			ok(t, err)
			spec := management.SpecOf(c)
			spec.Administrator, spec.Verified, spec.FirstParty, spec.Manages, spec.PKCEOptional = true, true, true, true, true
			spec.Name, spec.Scopes = "Ours", []string{"admin"}
			if _, err := r.Management.UpdateClient(r.System(), by, app.ID, spec); err == nil {
				t.Errorf("%s: the CLI changes it", kind)
			}
			if _, _, err := r.Management.RotateSecret(r.System(), by, app.ID, time.Hour); err == nil {
				t.Errorf("%s: the CLI rotates its secret", kind)
			}
			base := "/admin/apps/" + url.PathEscape(app.ID)
			for _, path := range []string{base + "/verify", base, base + "/authentication", base + "/secret"} {
				a := root.PostForm(path, url.Values{
					"name": {"Ours"}, "verified": {"on"}, "first_party": {"on"}, "pkce_optional": {"on"}, "kind": {"web"},
					"scope": {"admin"}, "redirect_uris": {"https://app.example/cb"}, "manages": {"on"},
				})
				if a.Status < 400 {
					t.Errorf("%s: %s is answered %d %v", kind, path, a.Status, a.Location)
				}
			}
			for _, method := range []string{http.MethodPatch, http.MethodPut} {
				a := r.JSON(method, "/v1/apps/"+url.PathEscape(app.ID), personal, `{"name":"Ours","verified":true}`)
				if a.Status < 400 {
					t.Errorf("%s: %s of the API is answered %d %s", kind, method, a.Status, a.Body)
				}
			}
			after, err := r.Store.ClientByID(r.System(), app.ID)
			if err != nil || after.Name != c.Name || after.Verified || after.FirstParty || after.Manages || after.PKCEOptional ||
				after.Scopes.String() != c.Scopes.String() || len(after.Secrets) != len(c.Secrets) {
				t.Errorf("%s: it is %+v, %v", kind, after, err)
			}
			ok(t, r.Management.DisableClient(r.System(), by, app.ID))
			ok(t, r.Management.EnableClient(r.System(), by, app.ID))
			ok(t, r.Management.DeleteClient(r.System(), by, app.ID))
			if n := rowsOf(t, r, "clients", "id = $1", app.ID) + rowsOf(t, r, "grants", "client_id = $1", app.ID); n != 0 {
				t.Errorf("%s: %d rows after it was deleted", kind, n)
			}
		}
	})
}

// The first consent is always asked for, and each user's is their own.
func TestV15_TheFirstConsentIsNeverSkipped(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	alice := r.Browser().SignIn(r.Alice.Email)
	bob := r.Browser().SignIn(r.User("bob@example.com", "Bob", false).Email)
	for kind, app := range strange(r, h, "/first") {
		for _, prompt := range []string{"", "none", "login", "select_account", "create"} {
			a := alice.Authorize(altered(app.Params("read"), url.Values{"prompt": {prompt}}))
			if a.Param("code") != "" {
				t.Errorf("%s: prompt=%s leads to a code", kind, prompt)
			}
		}
		alice.Code(app, "read")
		if a := bob.Authorize(app.Params("read")); !isConsent(a) {
			t.Errorf("%s: another user: %d %v", kind, a.Status, a.Location)
		}
		if a := alice.Authorize(app.Params("read write")); !isConsent(a) {
			t.Errorf("%s: a further permission: %d %v", kind, a.Status, a.Location)
		}
		if a := alice.Authorize(altered(app.Params("read"), url.Values{"resource": {otherAPI}})); !isConsent(a) {
			t.Errorf("%s: another API: %d %v", kind, a.Status, a.Location)
		}
	}
}

// Names that a client gave itself are text on each page and no one else's: they are escaped, and they name neither this
// server nor its APIs.
func TestB13_NamesThatClientsGaveThemselves(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	number := 0
	for _, name := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='x`, "</title><svg onload=x>",
		`{{.}}`, `%s %d`, `&lt;b&gt;`, `${7*7}`, "javascript:alert(1)", `\"`, "``", "a%0d%0aSet-Cookie: x=y",
	} {
		number++
		r.Advance(time.Minute) // visitors cause few fetches a minute
		for kind, app := range map[string]*rig.App{
			"registered": enrol(r, rig.Members{"client_name": name}).App,
			"document":   h.describe(fmt.Sprint("/", number), rig.Members{"client_name": name}),
		} {
			b := r.Browser()
			page := b.Authorize(app.Params("read"))
			login := page.Body
			page = b.Follow(b.LogIn(page, r.Alice.Email))
			consent := page.Body
			if !isConsent(page) {
				t.Fatalf("%s %s: %d %s", kind, name, page.Status, rig.Plain(page.Body))
			}
			b.Decide(page, "approve")
			for what, body := range map[string]string{
				"sign-in": login, "consent": consent, "connected apps": b.Get("/settings/connected-apps").Body,
				"all apps": root.Get("/admin/apps").Body, "audit": root.Get("/admin/audit").Body,
				"the app": root.Get("/admin/apps/" + url.PathEscape(app.ID)).Body,
			} {
				for _, live := range []string{"<script>alert", "<img src=x", "<svg onload", "' onmouseover"} {
					if strings.Contains(body, live) {
						t.Errorf("%s %q: %s has %s", kind, name, what, live)
					}
				}
			}
			endAccess(r, app)
		}
	}
	for _, claim := range []string{
		"Doorward", "doorward", "D0orward", "Doorward Support", "Notes", "NOTES", "Notes ✓", "Closed", "api.example", "Other (verified)",
		"Notes by the operator", "Dооrward", "\u200bDoorward", "Official Notes", "Verified", "N o t e s",
	} {
		a := register(r, "", rig.Members{"client_name": claim})
		number++
		app := h.describe(fmt.Sprint("/", number), rig.Members{"client_name": claim})
		page := ask(r.Browser().SignIn(r.Alice.Email), app.Params("read"))
		if a.Status != http.StatusBadRequest || page.Status != http.StatusBadRequest {
			t.Errorf("%q is accepted: %d and %d", claim, a.Status, page.Status)
		}
	}
}

// The host of a document is shown before and larger than its name, so that a name does not make up for a host.
func TestV15_TheProvenHostComesFirst(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	host := strings.TrimPrefix(h.URL, "https://")
	app := h.describe("/claude.ai/oauth/client", rig.Members{"client_name": "Claude by claude.ai"})
	page := b.Authorize(app.Params("read"))
	heading := regexp.MustCompile(`(?s)<h1.*?</h1>`).FindString(page.Body)
	if !strings.Contains(heading, host) || strings.Contains(heading, "Claude") {
		t.Errorf("the heading is %s", heading)
	}
	if at := strings.Index(rig.Plain(page.Body), "Claude"); at < strings.Index(rig.Plain(page.Body), host) || at < 0 {
		t.Errorf("the page says %s", rig.Plain(page.Body))
	}
	if text := said(page); !strings.Contains(text, "It calls itself“Claude by claude.ai”") || !strings.Contains(text, "It is new here") {
		t.Errorf("the page says %s", text)
	}
	b.Decide(page, "approve")
	text := rig.Plain(b.Authorize(askedAgain(app, "read")).Body)
	if !strings.Contains(text, "It was first seen here on") {
		t.Errorf("the page says %s", text)
	}
	// The sign-in page is seen before any of that.
	login := r.Browser().Authorize(app.Params("read"))
	if text := rig.Plain(login.Body); strings.Contains(text, "Claude") && !strings.Contains(text, host) {
		t.Errorf("the sign-in page names the app without its host: %s", text)
	}
	// Of a client whose redirects all lead to this computer, any program can use the id.
	local := h.describe("/local", rig.Members{"redirect_uris": []string{"http://127.0.0.1/cb", "http://localhost/cb"}})
	if text := rig.Plain(b.Authorize(local.Params("read")).Body); !strings.Contains(text, "Any program running here can claim to be "+host) {
		t.Errorf("the page says %s", text)
	}
	mixed := h.describe("/mixed", rig.Members{"redirect_uris": []string{"http://127.0.0.1/cb", "https://app.example/cb"}})
	if text := rig.Plain(b.Authorize(mixed.Params("read")).Body); !strings.Contains(text, "program on this computer") {
		t.Errorf("the page says %s", text)
	}
}

// Users take back what they have allowed, on the page of connected apps, whatever the id of the client looks like.
func TestB14_UsersEndTheAccessOfClientsThatRegisteredThemselves(t *testing.T) {
	h := newDocumentHost(t)
	rig.EachNodes(t, h.options(), func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_")
		for kind, app := range map[string]*rig.App{
			"registered": enrol(r).App, "document": h.describe(path, nil), "document with a query": h.describe(path+"/x", nil),
		} {
			if strings.HasSuffix(kind, "query") {
				app.ID += "?a=b/c&d"
				h.serve(path+"/x", asDocument(h.document("/x", rig.Members{"client_id": app.ID})))
			}
			b := r.Browser().SignIn(r.Alice.Email)
			access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
			at := last.Browser().WithCookiesOf(b)
			end := regexp.MustCompile(`/settings/connected-apps/[^"]+/end`).FindAllString(at.Get("/settings/connected-apps").Body, -1)
			found := ""
			for _, link := range end {
				if decoded, err := url.PathUnescape(link); err == nil && strings.Contains(decoded, strings.ReplaceAll(app.ID, "&", "&amp;")) {
					found = strings.ReplaceAll(link, "&amp;", "&")
				}
			}
			if found == "" {
				t.Errorf("%s: the page links to %q", kind, end)
				continue
			}
			if a := at.Confirm(found, nil); a.Status != http.StatusSeeOther {
				t.Errorf("%s: %d %s", kind, a.Status, rig.Plain(a.Body))
			}
			dead(t, r, app, introspecting(r, openAPI), access, refresh)
			if a := b.Authorize(app.Params("read")); !isConsent(a) {
				t.Errorf("%s: afterwards: %d %v", kind, a.Status, a.Location)
			}
		}
	})
}

// offline_access is accepted by each endpoint and has no effect. The server's metadata list it; nothing of an API does.
func TestOfflineAccessIsAcceptedAndHasNoEffect(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	var metadata struct {
		Scopes  []string `json:"scopes_supported"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	ok(t, json.Unmarshal([]byte(b.Get("/.well-known/oauth-authorization-server").Body), &metadata))
	if text := strings.Join(metadata.Scopes, " "); strings.Count(text, "offline_access") != 1 {
		t.Errorf("the metadata list %s", text)
	}
	if !strings.Contains(strings.Join(metadata.Methods, " "), "none") {
		t.Errorf("the metadata list the methods %v", metadata.Methods)
	}
	machine := r.App(management.ClientSpec{
		Resources: []string{openAPI}, Scopes: []string{"read", "write"},
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials},
		RedirectURIs: []string{"https://app.example/cb"},
	})
	short := enrol(r, rig.Members{"grant_types": []string{"authorization_code"}, "scope": "read offline_access"})
	wantScopes(t, "registration", short.a, "read offline_access")
	for kind, app := range map[string]*rig.App{
		"operator": machine, "registered": enrol(r, rig.Members{"scope": "read write offline_access"}).App,
		"registered without": enrol(r, rig.Members{"scope": "read write"}).App, "without refresh tokens": short.App,
		"document": h.describe("/x", nil),
	} {
		params := altered(app.Params("read offline_access"), url.Values{"prompt": {"consent"}})
		page := b.Authorize(params)
		if strings.Contains(page.Body, "offline") {
			t.Errorf("%s: the page names it", kind)
		}
		a := r.Exchange(app, b.Decide(page, "approve").Param("code"))
		_, refresh := granted(t, a)
		wantScopes(t, kind, a, "read")
		if (refresh == "") != (kind == "without refresh tokens") {
			t.Errorf("%s: refresh token %q", kind, refresh)
		}
		a = r.Exchange(app, b.Allow(app, pushed(r, app, app.Params("offline_access read"))))
		_, refresh = granted(t, a)
		wantScopes(t, kind+", pushed", a, "read")
		if kind != "without refresh tokens" {
			a = r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", "offline_access read"))
			_, refresh = granted(t, a)
			wantScopes(t, kind+", refreshed", a, "read")
			a = r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", "offline_access"))
			granted(t, a)
			wantScopes(t, kind+", refreshed with it alone", a, "read")
		}
		// Alone it asks for what a request without scopes asks for.
		a = b.Authorize(altered(app.Params("offline_access"), url.Values{"prompt": {"consent"}}))
		if !isConsent(a) {
			t.Errorf("%s: alone it is answered %d %v %s", kind, a.Status, a.Location, rig.Plain(a.Body))
		}
	}
	a := r.PostAs(machine, "/oauth/token", with(ownForm, "scope", "read offline_access"))
	refused(t, a, http.StatusBadRequest, oauth.InvalidScope) // T-73
}
