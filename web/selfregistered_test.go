package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// documentID is the client id of an app with a metadata document: a URL with slashes, a query and percent-encoding.
const documentID = "https://client.example/o%20auth//client.json?v=/../1"

// withStrangers returns a server with two apps that registered themselves, by name: Dynamic, which is confidential, and
// Document.
func withStrangers(t *testing.T) (r *rig.Rig, ids map[string]string) {
	t.Helper()
	r = rig.Memory(t, rig.Options{Registration: management.RegistrationToken, Resources: []catalog.Resource{{
		ID: "https://api.example", Name: "Example API", Scopes: catalog.DefaultScopes(), OpenScopes: []string{"read"},
	}}})
	p := management.ClientSpec{
		Name: "Dynamic", Site: "https://app.example", LogoURI: "https://app.example/logo.png",
		PolicyURI: "https://app.example/privacy", TOSURI: "https://app.example/terms",
		RedirectURIs: []string{"https://app.example/cb"}, Grants: []string{"authorization_code"},
	}
	if err := r.Management.CheckSelfRegistered(storage.RegisteredDynamically, &p); err != nil {
		t.Fatal(err)
	}
	dynamic, err := r.Management.RegisterClient(r.System(), p, "", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	r.Seen.Add(rig.SecretClient, dynamic.Secret)
	r.Seen.Add("registration token", dynamic.Token)
	p = management.ClientSpec{
		Name: "Document", Public: true, RedirectURIs: []string{"http://127.0.0.1/cb"}, Grants: []string{"authorization_code"},
	}
	if err := r.Management.CheckSelfRegistered(storage.RegisteredByDocument, &p); err != nil {
		t.Fatal(err)
	}
	document := management.DocumentClient(documentID, &p, r.Store.Now())
	if err := r.Management.SaveDocumentClient(r.System(), document); err != nil {
		t.Fatal(err)
	}
	return r, map[string]string{"Dynamic": dynamic.ID, "Document": documentID}
}

// row returns the row of a list with a name.
func row(t *testing.T, a *rig.Answer, name string) string {
	t.Helper()
	for _, text := range strings.Split(a.Body, "<tr")[1:] {
		if strings.Contains(text, "<bdi>"+name+"</bdi>") {
			return text
		}
	}
	t.Fatalf("%s is not listed: %d %s", name, a.Status, rig.Plain(a.Body))
	return ""
}

// To administrators, an app that registered itself is never verified, or the operator's, and has no form with which it
// could be. It says how it registered.
func TestPagesShowAppsThatRegisteredThemselvesAsNotVerified(t *testing.T) {
	r, ids := withStrangers(t)
	r.App(management.ClientSpec{Name: "Of the operator"})
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	list := root.Get("/admin/apps")
	if of := rig.Plain(row(t, list, "Of the operator")); !strings.Contains(of, "Registered by the operator") ||
		strings.Contains(of, "Not verified") {
		t.Errorf("the operator's app: %s", of)
	}
	by := map[string]string{"Dynamic": "Itself", "Document": "Its metadata document"}
	for name, id := range ids {
		path := "/admin/apps/" + url.PathEscape(id)
		inList := row(t, list, name)
		page := root.Get(path)
		if page.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, page.Status, rig.Plain(page.Body))
		}
		for where, body := range map[string]string{"list": inList, "page": page.Body} {
			text := strings.ReplaceAll(rig.Plain(body), "Not verified", "")
			if !strings.Contains(body, "Not verified") || !strings.Contains(text, by[name]) ||
				strings.Contains(text, "Verified") || strings.Contains(text, "Verify") || strings.Contains(text, "operator") {
				t.Errorf("%s of %s: %s", where, name, rig.Plain(body))
			}
		}
		for _, action := range []string{path, path + "/authentication", path + "/secret", path + "/verify"} {
			if strings.Contains(page.Body+inList, fmt.Sprintf("action=%q", action)) {
				t.Errorf("%s has the form %s", name, action)
			}
		}
		for _, action := range []string{path + "/disable", path + "/delete"} {
			if !strings.Contains(page.Body, fmt.Sprintf("action=%q", action)) {
				t.Errorf("%s does not have the form %s", name, action)
			}
		}
	}
	page := rig.Plain(root.Get("/admin/apps/" + ids["Dynamic"]).Body)
	for _, said := range []string{
		"client_uri https://app.example", "logo_uri https://app.example/logo.png", "policy_uri https://app.example/privacy",
		"tos_uri https://app.example/terms", "redirect_uris https://app.example/cb", "application_type web",
		"scope All that are open", "grant_types authorization_code",
	} {
		if !strings.Contains(page, said) {
			t.Errorf("the page does not say %q: %s", said, page)
		}
	}
}

// What the pages do not offer for an app that registered itself is refused, and changes nothing.
func TestPagesDoNotChangeAppsThatRegisteredThemselves(t *testing.T) {
	r, ids := withStrangers(t)
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	for name, id := range ids {
		before, err := r.Store.ClientByID(r.System(), id)
		if err != nil {
			t.Fatal(err)
		}
		path := "/admin/apps/" + url.PathEscape(id)
		for end, form := range map[string]url.Values{
			"": {
				"name": {"Renamed"}, "kind": {"web"}, "scope": {"read"}, "redirect_uris": {"https://app.example/cb"},
				"verified": {"1"}, "first_party": {"1"},
			},
			"/authentication": {"dpop_bound_access_tokens": {"1"}},
			"/verify":         {},
			"/secret":         {"grace": {"now"}},
		} {
			want := http.StatusForbidden
			if name == "Document" && end == "/secret" {
				want = http.StatusBadRequest // a public app has no secret
			}
			if a := root.PostForm(path+end, form); a.Status != want {
				t.Errorf("%s%s: %d %s, want %d", name, end, a.Status, rig.Plain(a.Body), want)
			}
		}
		after, err := r.Store.ClientByID(r.System(), id)
		if err != nil || after.Name != before.Name || after.Verified || after.FirstParty || after.DPoPBound ||
			len(after.Secrets) != len(before.Secrets) {
			t.Errorf("%s was changed: %+v, %v", name, after, err)
		}
	}
}

// Administrators disable, enable and delete apps that registered themselves, also with a URL as the client id. Other
// users do not find them.
func TestAdministratorsStopAppsThatRegisteredThemselves(t *testing.T) {
	r, ids := withStrangers(t)
	ws := r.Workspace("engines", "", r.Alice)
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	user := r.Browser().SignIn(r.Alice.Email)
	for name, id := range ids {
		path := "/admin/apps/" + url.PathEscape(id)
		disabled := func() bool {
			c, err := r.Store.ClientByID(r.System(), id)
			if err != nil {
				t.Fatal(err)
			}
			return !c.DisabledAt.IsZero()
		}
		for _, base := range []string{
			"/admin/apps/", "/settings/developer/apps/", "/settings/workspaces/" + ws.Slug + "/apps/",
		} {
			other := base + url.PathEscape(id)
			for _, a := range []*rig.Answer{
				user.Get(other), user.Get(other + "/disable"), user.PostForm(other+"/disable", url.Values{"confirmed": {"yes"}}),
				user.PostForm(other+"/delete", url.Values{"confirm": {name}}),
			} {
				if a.Status != http.StatusNotFound {
					t.Errorf("a user at %s: %d %s", other, a.Status, rig.Plain(a.Body))
				}
			}
		}
		asked := root.PostForm(path+"/disable", url.Values{})
		if asked.Status != http.StatusOK || disabled() {
			t.Errorf("%s: disabling does not ask first: %d", name, asked.Status)
		}
		done := root.PostForm(path+"/disable", root.Form(asked, path+"/disable"))
		shown := root.Follow(done)
		if !disabled() || shown.Status != http.StatusOK || done.Location.EscapedPath() != path ||
			!strings.Contains(shown.Body, fmt.Sprintf("action=%q", path+"/enable")) {
			t.Errorf("%s: disabled %v, then %d at %s: %s", name, disabled(), done.Status, done.Location, rig.Plain(shown.Body))
		}

		// Enabling gives lasting access. The page that asks for the password sends the form to the same app.
		r.Advance(6 * time.Minute)
		proof := root.PostForm(path+"/enable", url.Values{})
		if proof.Status != http.StatusForbidden || !disabled() {
			t.Errorf("%s: enabling does not ask for the password: %d", name, proof.Status)
		}
		form := root.Form(proof, path+"/enable")
		form.Set("current_password", rig.Password)
		if a := root.Follow(root.PostForm(path+"/enable", form)); a.Status != http.StatusOK || disabled() {
			t.Errorf("%s: enabled: %d %s", name, a.Status, rig.Plain(a.Body))
		}

		if a := root.PostForm(path+"/delete", url.Values{"confirm": {"Another"}}); a.Status != http.StatusBadRequest {
			t.Errorf("%s: deleting without its name: %d", name, a.Status)
		}
		if a := root.Follow(root.PostForm(path+"/delete", url.Values{"confirm": {name}})); a.Status != http.StatusOK {
			t.Errorf("%s: deleting: %d %s", name, a.Status, rig.Plain(a.Body))
		}
		if a := root.Get(path); a.Status != http.StatusNotFound {
			t.Errorf("%s is still there: %d", name, a.Status)
		}
	}
	for _, id := range []string{
		"https://", "https://client.example", "http://127.0.0.1/x", "javascript:x", "https://ü.example/",
	} {
		if a := root.Get("/admin/apps/" + url.PathEscape(id)); a.Status != http.StatusNotFound {
			t.Errorf("%s: %d %s", id, a.Status, rig.Plain(a.Body))
		}
	}
}

// After signing in, an administrator comes back to the page of an app whose client id is a URL.
func TestSigningInLeadsBackToAnAppWithAURL(t *testing.T) {
	r, _ := withStrangers(t)
	root := r.User("root@example.com", "Root", true)
	b := r.Browser()
	path := "/admin/apps/" + url.PathEscape(documentID)
	a := b.LogIn(b.Follow(b.Get(path)), root.Email)
	if a.Location == nil || a.Location.EscapedPath() != path {
		t.Errorf("signing in leads to %v, want %s", a.Location, path)
	}
}

// The list of all apps does not lose or repeat an app where a page ends with one whose client id is a long URL.
func TestTheListOfAppsIsPagedAfterAURL(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	r.StopClock()
	var want []string
	for i := range 49 {
		name := fmt.Sprintf("App %02d", i)
		want = append(want, name)
		r.App(management.ClientSpec{Name: name})
		r.Advance(time.Second)
	}
	for i := range 3 { // the first ends the page, and the others differ from it only after 400 characters
		name := fmt.Sprintf("Document %d", i)
		want = append(want, name)
		p := management.ClientSpec{Name: name, Public: true, RedirectURIs: []string{"https://client.example/cb"}}
		id := "https://client.example/" + strings.Repeat("x", 400) + fmt.Sprint(i)
		if err := r.Management.SaveDocumentClient(r.System(), management.DocumentClient(id, &p, r.Store.Now())); err != nil {
			t.Fatal(err)
		}
	}
	b := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	first := b.Get("/admin/apps")
	next := regexp.MustCompile(`rel="next" href="([^"]*)"`).FindStringSubmatch(first.Body)
	if next == nil {
		t.Fatalf("the list has one page: %v", rows(first))
	}
	second := b.Get(strings.ReplaceAll(next[1], "&amp;", "&"))
	if got := slices.Concat(rows(first), rows(second)); !slices.Equal(got, want) {
		t.Errorf("listed: %v", got)
	}
}

// Connected apps shows an app that registered itself as not verified. One with a metadata document is known by the host
// of its client id; what it says about itself comes after that. Its access is revoked by that id.
func TestConnectedAppsShowsAppsThatRegisteredThemselves(t *testing.T) {
	r, ids := withStrangers(t)
	ws, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := r.Store.SaveConsent(r.System(), storage.Consent{
			UserID: r.Alice.ID, ClientID: id, Resource: "https://api.example", WorkspaceID: ws.ID, Scopes: storage.List{"read"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	b := r.Browser().SignIn(r.Alice.Email)
	const base = "/settings/connected-apps"
	page := b.Get(base)
	panels := strings.Split(page.Body, `<section class="panel app"`)[1:]
	if len(panels) != 2 {
		t.Fatalf("%d apps: %s", len(panels), rig.Plain(page.Body))
	}
	for _, panel := range panels {
		text := rig.Plain("<section" + panel)
		if strings.Count(text, "Not verified") != 1 || strings.Count(text, "erified") != 1 ||
			strings.Contains(text, "Website") || strings.Contains(text, "operator") {
			t.Errorf("an app: %s", text)
		}
		isDocument := strings.Contains(text, "client.example")
		heading := regexp.MustCompile(`(?s)<h2[^>]*>\s*<bdi>(.*?)</bdi>`).FindStringSubmatch(panel)
		want := "Dynamic"
		if isDocument {
			want = "client.example"
		}
		if heading == nil || heading[1] != want ||
			isDocument && !strings.Contains(text, "It calls itself “ Document ”.") {
			t.Errorf("the heading is %q, want %q: %s", heading, want, text)
		}
	}
	for name, id := range ids {
		path := base + "/" + url.PathEscape(id) + "/end"
		asked := b.PostForm(path, b.Form(page, path))
		full := name
		if name == "Document" {
			full = "client.example (Document)"
		}
		if !strings.Contains(rig.Plain(asked.Body), "Revoke access for "+full+"?") {
			t.Errorf("%s: asked %d %s", name, asked.Status, rig.Plain(asked.Body))
		}
		if a := b.Follow(b.PostForm(path, b.Form(asked, path))); a.Status != http.StatusOK ||
			!strings.Contains(rig.Plain(a.Body), "Access revoked.") || strings.Contains(a.Body, url.PathEscape(id)+"/end") {
			t.Errorf("%s: revoked %d %s", name, a.Status, rig.Plain(a.Body))
		}
	}
	if list, err := r.Store.ConsentsOf(r.System(), r.Alice.ID); err != nil || len(list) != 0 {
		t.Errorf("consents are left: %v, %v", list, err)
	}
}

// The audit log says in words what happened to registration tokens and apps that registered themselves. It names an app
// with a metadata document with the host that proves it.
func TestAuditNamesRegistrations(t *testing.T) {
	r, _ := withStrangers(t)
	_, x, err := r.Management.CreateRegistrationToken(r.System(), management.CLI(""), 5, time.Hour)
	if err == nil {
		err = r.Management.RevokeRegistrationToken(r.System(), management.CLI(""), x.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	text := rig.Plain(b.Get("/admin/audit").Body)
	for _, part := range []string{
		"An app registered itself", "Created a registration token", "Revoked a registration token", "uses: 5",
		"client.example (Document)",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q: %s", part, text)
		}
	}
	filtered := rig.Plain(b.Get("/admin/audit?what=registration_token.").Body)
	if !strings.Contains(filtered, "Created a registration token") ||
		strings.Contains(filtered, "An app registered itself") {
		t.Errorf("filtered: %s", filtered)
	}
	// A workspace has no such events, and its page offers no filter for them.
	ws, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	own := r.Browser().SignIn(r.Alice.Email).Get("/settings/workspaces/" + ws.Slug + "/audit")
	if text := rig.Plain(own.Body); !strings.Contains(text, "Sign-ins") || strings.Contains(text, "Registration tokens") ||
		strings.Contains(text, "Signing keys") {
		t.Errorf("a user's audit log: %d %s", own.Status, text)
	}
}

// A registration token that a page created is shown once, works as often as it says, and works no more after it was
// revoked, which asks first. A form that is sent twice creates one. Only administrators find the pages.
func TestPagesOfRegistrationTokens(t *testing.T) {
	r, _ := withStrangers(t)
	root := r.User("root@example.com", "Root", true)
	b := r.Browser().SignIn(root.Email)
	const base = "/admin/registration-tokens"
	tokens := func() []storage.RegistrationToken {
		list, err := r.Store.RegistrationTokens(r.System())
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	register := func(token string) int {
		return r.JSON("POST", "/oauth/register", token, `{"redirect_uris":["https://app.example/cb"]}`).Status
	}

	form := b.Form(b.Get(base), base)
	if form.Get("uses") != "1" {
		t.Errorf("the form has %v", form)
	}
	form.Set("expires", "30")
	for _, uses := range []string{"", "0", "-1", "1.5", "100001", "many", strings.Repeat("9", 30)} {
		form.Set("uses", uses)
		if a := b.PostForm(base, form); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "f-uses-error") {
			t.Errorf("%q uses: %d %s", uses, a.Status, rig.Plain(a.Body))
		}
	}
	form.Set("uses", " 2 ")
	for _, expires := range []string{"", "2", "never"} {
		form.Set("expires", expires)
		if a := b.PostForm(base, form); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "f-expires-error") {
			t.Errorf("expires %q: %d %s", expires, a.Status, rig.Plain(a.Body))
		}
	}
	form.Set("expires", "30")
	if len(tokens()) != 0 {
		t.Fatalf("refused forms created %v", tokens())
	}

	made := b.PostForm(base, form)
	twice := b.PostForm(base, form)
	if len(tokens()) != 1 || made.Location == nil || twice.Location.String() != made.Location.String() {
		t.Fatalf("sent twice, the form led to %v and %v, and created %v", made.Location, twice.Location, tokens())
	}
	x := tokens()[0]
	if x.MaxUses != 2 || x.CreatedBy != root.ID || x.ExpiresAt.Sub(x.CreatedAt).Round(time.Hour) != 30*24*time.Hour {
		t.Errorf("created: %+v", x)
	}
	stolen := r.Browser().SignIn(root.Email).Get(made.Location.RequestURI())
	shown := b.Follow(made)
	token := regexp.MustCompile(`dw_ia_[A-Za-z0-9]{40,}`).FindString(shown.Body)
	r.Seen.Add("registration token", token)
	if token == "" || !strings.Contains(shown.Body, r.Issuer+"/oauth/register") || stolen.Status != http.StatusGone ||
		strings.Contains(stolen.Body, token) {
		t.Fatalf("shown: %d %s; in another session: %d", shown.Status, rig.Plain(shown.Body), stolen.Status)
	}
	if again := b.Get(made.Location.RequestURI()); again.Status != http.StatusGone || strings.Contains(again.Body, token) {
		t.Errorf("shown again: %d %s", again.Status, rig.Plain(again.Body))
	}
	if register(token) != http.StatusCreated {
		t.Error("the token does not work")
	}
	list := b.Get(base)
	if text := rig.Plain(list.Body); !strings.Contains(text, "dw_ia_…"+x.Tail) || !strings.Contains(text, "1 of 2") ||
		!strings.Contains(text, "Root") || strings.Contains(list.Body, token) {
		t.Errorf("the list: %s", text)
	}

	revoke := base + "/" + x.ID + "/revoke"
	user := r.Browser().SignIn(r.Alice.Email)
	for _, a := range []*rig.Answer{
		user.Get(base), user.Get(base + "/shown?view=x"), user.Get(revoke), user.PostForm(base, form),
		user.PostForm(revoke, url.Values{"confirmed": {"yes"}}),
	} {
		if a.Status != http.StatusNotFound {
			t.Errorf("a user is answered %d %s", a.Status, rig.Plain(a.Body))
		}
	}
	asked := b.PostForm(revoke, b.Form(list, revoke))
	if asked.Status != http.StatusOK || len(tokens()) != 1 ||
		!strings.Contains(rig.Plain(asked.Body), "dw_ia_…"+x.Tail) {
		t.Errorf("revoking does not ask first: %d %s", asked.Status, rig.Plain(asked.Body))
	}
	if a := b.Follow(b.PostForm(revoke, b.Form(asked, revoke))); a.Status != http.StatusOK || len(tokens()) != 0 ||
		!strings.Contains(rig.Plain(a.Body), "The registration token was revoked.") {
		t.Errorf("revoked: %d %s", a.Status, rig.Plain(a.Body))
	}
	if register(token) != http.StatusUnauthorized {
		t.Error("a revoked token works")
	}
	for _, a := range []*rig.Answer{b.Get(revoke), b.PostForm(revoke, url.Values{"confirmed": {"yes"}})} {
		if a.Status != http.StatusNotFound {
			t.Errorf("revoked again: %d %s", a.Status, rig.Plain(a.Body))
		}
	}
}

// The list of registration tokens has pages, the newest first, and says whether a token is needed at all.
func TestTheListOfRegistrationTokens(t *testing.T) {
	for mode, says := range map[string]string{
		management.RegistrationClosed: "Apps cannot register themselves on this server.",
		management.RegistrationToken:  "",
		management.RegistrationOpen:   "without a token",
	} {
		r := rig.Memory(t, rig.Options{Registration: mode})
		b := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
		text := rig.Plain(b.Get("/admin/registration-tokens").Body)
		for _, other := range []string{"Apps cannot register themselves on this server.", "without a token"} {
			if strings.Contains(text, other) != (other == says) {
				t.Errorf("%s: %s", mode, text)
			}
		}
		if mode != management.RegistrationToken {
			continue
		}
		var want []string
		r.StopClock() // so that many are created at the same time
		for range 51 {
			_, x, err := r.Management.CreateRegistrationToken(r.System(), management.CLI(""), 1, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			want = append([]string{"token-" + x.ID}, want...)
		}
		// Those that expire first come first; of two at the same time, the older.
		_, soon, err := r.Management.CreateRegistrationToken(r.System(), management.CLI(""), 1, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		want = append([]string{"token-" + soon.ID}, want...)
		byExpiry := b.Get("/admin/registration-tokens?sort=expires")
		ids := regexp.MustCompile(`id="(token-[^"]*)"`)
		if got := ids.FindStringSubmatch(byExpiry.Body); got == nil || got[1] != want[0] {
			t.Errorf("by expiry, the first is %v", got)
		}
		first := b.Get("/admin/registration-tokens")
		next := regexp.MustCompile(`rel="next" href="([^"]*)"`).FindStringSubmatch(first.Body)
		if next == nil {
			t.Fatal("the list has one page")
		}
		second := b.Get(strings.ReplaceAll(next[1], "&amp;", "&"))
		var got []string
		for _, a := range []*rig.Answer{first, second} {
			for _, m := range ids.FindAllStringSubmatch(a.Body, -1) {
				got = append(got, m[1])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed: %v, want %v", got, want)
		}
	}
}

// The form of an app has its logo, privacy policy and terms, under their registered names.
func TestThePageOfAnAppHasItsPages(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	const base = "/settings/developer/apps"
	form := b.Form(b.Get(base+"/new"), base)
	form.Set("name", "Paged")
	form.Set("redirect_uris", "https://app.example/cb")
	form["scope"] = []string{"read"}
	form.Set("logo_uri", "https://app.example/logo.png")
	form.Set("policy_uri", "http://app.example/privacy")
	form.Set("tos_uri", "https://app.example/terms")
	a := b.PostForm(base, form)
	if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "f-policy_uri-error") ||
		!strings.Contains(rig.Plain(a.Body), "The URL of the privacy policy must be an https URL") {
		t.Errorf("without https: %d %s", a.Status, rig.Plain(a.Body))
	}
	form.Set("policy_uri", "https://app.example/privacy")
	if a := b.Submit(base, form); a.Status != http.StatusOK {
		t.Fatalf("created: %d %s", a.Status, rig.Plain(a.Body))
	}
	c := appOf(t, r, "Paged")
	if c.LogoURI != "https://app.example/logo.png" || c.PolicyURI != "https://app.example/privacy" ||
		c.TOSURI != "https://app.example/terms" {
		t.Errorf("created: %+v", c)
	}
	path := base + "/" + c.ID
	form = b.Form(b.Get(path), path)
	if form.Get("logo_uri") != c.LogoURI || form.Get("policy_uri") != c.PolicyURI || form.Get("tos_uri") != c.TOSURI {
		t.Errorf("the form has %v", form)
	}
	form.Set("redirect_uris", "https://app.example/cb") // Form leaves out text areas
	form.Set("logo_uri", "")
	form.Set("tos_uri", "https://app.example/terms-2")
	if a := b.PostForm(path, form); a.Status != http.StatusSeeOther {
		t.Errorf("saved: %d %s", a.Status, rig.Plain(a.Body))
	}
	if c = appOf(t, r, "Paged"); c.LogoURI != "" || c.PolicyURI != "https://app.example/privacy" ||
		c.TOSURI != "https://app.example/terms-2" {
		t.Errorf("saved: %+v", c)
	}
	// The form for authentication leaves them as they are.
	other := path + "/authentication"
	if a := b.PostForm(other, b.Form(b.Get(path), other)); a.Status != http.StatusSeeOther {
		t.Errorf("authentication: %d %s", a.Status, rig.Plain(a.Body))
	}
	if c = appOf(t, r, "Paged"); c.PolicyURI != "https://app.example/privacy" {
		t.Errorf("after the other form: %+v", c)
	}
}
