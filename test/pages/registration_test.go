package pages

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// strangerID is the client id of an app with a metadata document, as long as some are.
const strangerID = "https://synchronisation-companion.development.example.com/.well-known/oauth/client-metadata.json?v"

// The pages about registration tokens and about apps that registered themselves.
func TestRegistrationPages(t *testing.T) {
	for _, javaScript := range []bool{true, false} {
		t.Run(fmt.Sprintf("javascript %v", javaScript), func(t *testing.T) {
			r := withStrangers(t)
			p := newPerson(t, r)
			p.JavaScript(javaScript)
			p.open("/admin/registration-tokens")
			p.signIn("root@example.com")
			registrationTokenPages(p)
			strangerPages(p)
			p.ClearCookies()
			p.open("/settings/connected-apps")
			p.signIn(r.Alice.Email)
			connectedStrangerPages(p)
		})
	}
}

// withStrangers is a server with an administrator and two apps that registered themselves, which Alice has allowed.
func withStrangers(t *testing.T) *rig.Rig {
	t.Helper()
	r := rig.Memory(t, rig.Options{Registration: management.RegistrationToken, Resources: []catalog.Resource{{
		ID: "https://api.example", Name: "Example API", Scopes: catalog.DefaultScopes(), OpenScopes: []string{"read"},
	}}})
	r.User("root@example.com", "Root", true)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	personal, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	must(err)
	allow := func(id string) {
		must(r.Store.SaveConsent(r.System(), storage.Consent{
			UserID: r.Alice.ID, ClientID: id, Resource: "https://api.example", WorkspaceID: personal.ID,
			Scopes: storage.List{"read"},
		}))
	}
	p := management.ClientSpec{
		Name: "A confidential stranger", Site: "https://app.example", LogoURI: "https://app.example/logo.png",
		PolicyURI: "https://app.example/privacy", TOSURI: "https://app.example/terms",
		RedirectURIs: []string{"https://app.example/cb", "https://staging.app.example/cb"},
		Grants:       []string{"authorization_code", "refresh_token"}, Scopes: []string{"read"},
	}
	must(r.Management.CheckSelfRegistered(storage.RegisteredDynamically, &p))
	dynamic, err := r.Management.RegisterClient(r.System(), p, "", "192.0.2.1")
	must(err)
	r.Seen.Add(rig.SecretClient, dynamic.Secret)
	r.Seen.Add("registration token", dynamic.Token)
	allow(dynamic.ID)
	p = management.ClientSpec{
		Name: "The Quite Extraordinarily Long-Named Synchronisation Companion", Public: true,
		RedirectURIs: []string{"http://127.0.0.1/callback"}, Grants: []string{"authorization_code"},
	}
	must(r.Management.CheckSelfRegistered(storage.RegisteredByDocument, &p))
	must(r.Management.SaveDocumentClient(r.System(), management.DocumentClient(strangerID, &p, r.Store.Now())))
	allow(strangerID)
	return r
}

func registrationTokenPages(p *person) {
	p.t.Helper()
	p.checkPage("registration tokens none")
	create := func(uses string) {
		p.Press("main details.unfold summary")
		p.Fill("main details [name=uses]", uses)
		p.Click("main details.unfold [type=submit]")
	}
	stored := func() {
		p.r.Seen.Add("registration token", p.Text("#token"))
		if !p.noScript { // the button to copy has a script
			p.Press("[data-copy=token]")
		}
		p.Click("[data-stored]")
	}
	create("0")
	p.checkPage("registration tokens with a fault")
	p.Fill("main details [name=uses]", "25")
	p.Click("main details.unfold [type=submit]")
	p.checkPage("registration token")
	if text := p.Text("#token"); !strings.HasPrefix(text, "dw_ia_") {
		p.t.Fatalf("no token on the page: %s", p.Text("main"))
	}
	stored()

	p.r.Advance(6 * time.Minute)
	create("1")
	p.checkPage("registration token password")
	p.Fill("[name=current_password]", rig.Password)
	p.Click("main [type=submit]")
	if text := p.Text("#token"); !strings.HasPrefix(text, "dw_ia_") {
		p.t.Fatalf("no token after the password: %s", p.Text("main"))
	}
	stored()
	p.checkPage("registration tokens")
	p.Click(`form[action$="/revoke"] [type=submit]`)
	p.checkPage("registration token revoke")
	p.Click(`form[action$="/revoke"] [type=submit]`)
	p.checkPage("registration tokens after one was revoked")
}

// strangerPages are those for administrators about the two apps. The browser must keep the slashes in the path escaped.
func strangerPages(p *person) {
	p.t.Helper()
	p.open("/admin/apps")
	p.checkPage("admin apps with strangers")
	p.Click(`main a[href^="/admin/apps/app_"]`)
	p.checkPage("admin app that registered itself")
	path := "/admin/apps/" + url.PathEscape(strangerID)
	p.open("/admin/apps")
	p.Click(fmt.Sprintf("main a[href=%q]", path))
	p.checkPage("admin app with a document")
	p.Click(fmt.Sprintf("form[action=%q] [type=submit]", path+"/disable"))
	p.checkPage("admin app with a document disable")
	p.Click(fmt.Sprintf("form[action=%q] [type=submit]", path+"/disable"))
	p.checkPage("admin app with a document disabled")
	if got := p.URL().EscapedPath(); got != path {
		p.t.Errorf("after disabling, the page is %s", got)
	}
	p.Click(".note.good [type=submit]")
	if text := p.Text("main"); !strings.Contains(text, "The app works again.") {
		p.t.Errorf("after undoing, the page says: %s", text)
	}
	p.Fill("[name=confirm]", "Another name")
	p.Click(fmt.Sprintf("form[action=%q] [type=submit]", path+"/delete"))
	p.checkPage("admin app with a document not deleted")
}

func connectedStrangerPages(p *person) {
	p.t.Helper()
	p.checkPage("connected apps with strangers")
	p.Click(fmt.Sprintf("form[action=%q] [type=submit]", "/settings/connected-apps/"+url.PathEscape(strangerID)+"/end"))
	p.checkPage("connected apps revoke a stranger")
	p.Click("main form [type=submit]")
	if text := p.Text("main"); !strings.Contains(text, "Access revoked.") || strings.Contains(text, "companion") {
		p.t.Errorf("after revoking, the page says: %s", text)
	}
	if host := p.URL().Path; host != "/settings/connected-apps" {
		p.t.Errorf("after revoking, the page is %s", host)
	}
}

// While apps cannot register themselves, the page of registration tokens says so.
func TestRegistrationTokensWhileClosed(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	r.User("root@example.com", "Root", true)
	p := newPerson(t, r)
	p.open("/admin/registration-tokens")
	p.signIn("root@example.com")
	p.checkPage("registration tokens while closed")
}
