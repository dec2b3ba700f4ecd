package security

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// An app is called verified only if an administrator verified it; an app that the operator registered is called that;
// and the warning about programs on the user's computer is never shown next to a badge.
func TestV15_OneWordForOneFact(t *testing.T) {
	r := rig.Memory(t, rig.Options{RedirectSchemes: []string{"cursor"}})
	admin := r.User("root@example.com", "Root", true)
	w := r.Workspace("acme", "", r.Alice)
	b, root := r.Browser().SignIn(r.Alice.Email), r.Browser().SignIn(admin.Email)
	const verified, operator, unchecked, part = "Verified", "Registered by the operator", "This app is not verified",
		"Part of this service"
	words := func(page string) (found []string) {
		for _, word := range []string{verified, operator, unchecked, part} {
			if strings.Contains(page, word) {
				found = append(found, word)
			}
		}
		return found
	}
	check := func(app *rig.App, where, page string, want ...string) {
		t.Helper()
		if got := words(page); !slices.Equal(got, want) {
			t.Errorf("%s: %s says %q, want %q", app.Name, where, got, want)
		}
	}
	uris, scheme := []string{"https://app.example/cb"}, []string{"cursor://x.example/cb"}
	// The warning says in a sentence what the badge would say.
	asides := map[string]string{
		operator: "The operator registered an app with this name.",
		verified: "An administrator has verified an app with this name.",
		part:     "An app with this name is part of this service.",
	}
	for _, x := range []struct {
		spec                      management.ClientSpec
		consent, connected, admin string
	}{
		{management.ClientSpec{Name: "Command", RedirectURIs: uris}, operator, operator, operator},
		{management.ClientSpec{Name: "Builder", RedirectURIs: uris, WorkspaceID: w.ID}, unchecked, "", ""},
		{
			management.ClientSpec{Name: "Examined", RedirectURIs: uris, WorkspaceID: w.ID, Verified: true},
			verified,
			verified,
			verified,
		},
		{management.ClientSpec{Name: "Ours", RedirectURIs: uris, FirstParty: true, WorkspaceID: w.ID}, part, part, part},
		{
			management.ClientSpec{Name: "Local", RedirectURIs: []string{"http://127.0.0.1/cb"}, Public: true},
			"",
			operator,
			operator,
		},
		{
			management.ClientSpec{
				Name:         "LocalExamined",
				RedirectURIs: []string{"http://127.0.0.1/cb"},
				Public:       true,
				WorkspaceID:  w.ID,
				Verified:     true,
			},
			"",
			verified,
			verified,
		},
		{
			management.ClientSpec{
				Name: "LocalOurs", RedirectURIs: []string{"http://127.0.0.1/cb"}, Public: true, WorkspaceID: w.ID, FirstParty: true,
			},
			"",
			part,
			part,
		},
		{management.ClientSpec{Name: "Scheme", RedirectURIs: scheme, Public: true}, "", operator, operator},
		{
			management.ClientSpec{Name: "SchemeExamined", RedirectURIs: scheme, Public: true, WorkspaceID: w.ID, Verified: true},
			"",
			verified,
			verified,
		},
		{
			management.ClientSpec{Name: "SchemeOurs", RedirectURIs: scheme, Public: true, WorkspaceID: w.ID, FirstParty: true},
			"",
			part,
			part,
		},
	} {
		app := r.App(x.spec)
		page := b.Authorize(askedAgain(app, "read"))
		body := rig.Plain(page.Body)
		check(app, "consent", body, slices.DeleteFunc([]string{x.consent}, func(s string) bool { return s == "" })...)
		if local := strings.HasPrefix(app.Name, "Local"); local != strings.Contains(body, "a program on this computer") {
			t.Errorf("%s: consent says %s", app.Name, body)
		}
		warned := strings.HasPrefix(app.Name, "Local") || strings.HasPrefix(app.Name, "Scheme")
		if asides[x.admin] != "" && warned != strings.Contains(body, asides[x.admin]) {
			t.Errorf("%s: consent says %s", app.Name, body)
		}
		if scheme := strings.HasPrefix(app.Name, "Scheme"); scheme != strings.Contains(body, "cursor: links") {
			t.Errorf("%s: consent says %s", app.Name, body)
		}
		b.Decide(page, "approve")
		_, connected, _ := strings.Cut(rig.Plain(b.Get("/settings/connected-apps").Body), " "+app.Name+" ")
		connected, _, _ = strings.Cut(connected, "Revoke access")
		got := strings.Contains(connected, "Not verified")
		if got != (x.connected == "") || x.connected != "" && !slices.Equal(words(connected), []string{x.connected}) {
			t.Errorf("%s: Connected apps says %s", app.Name, connected)
		}
		list := root.Get("/admin/apps?q=" + app.Name).Body
		// An app that the operator registered needs no verification.
		offered := strings.Contains(list, "/admin/apps/"+app.ID+"/verify")
		if offered != (app.WorkspaceID != "" && !app.Verified) {
			t.Errorf("%s: All apps offers to verify it: %v", app.Name, offered)
		}
		_, listed, _ := strings.Cut(rig.Plain(list), " "+app.Name+" ")
		listed, _, _ = strings.Cut(listed, "Disable")
		check(app, "All apps", listed, slices.DeleteFunc([]string{x.admin}, func(s string) bool { return s == "" })...)
	}
}

// personOnly is a catalogue with a scope that counts only for users, on its own and as a scope that another one
// implies.
func personOnly() rig.Options {
	o := everything()
	o.Resources[0].Scopes = append(o.Resources[0].Scopes,
		catalog.Scope{Name: "capture", Text: "Capture in your name", UserOnly: true},
		catalog.Scope{Name: "inbox", Text: "Fill the inbox", Implies: []string{"capture", "write"}})
	return o
}

// Scopes that count only for users are neither offered nor accepted if there is no user behind the credential.
func TestV16_UserOnlyScopesAreNotForKeysAndServices(t *testing.T) {
	r := rig.Memory(t, personOnly())
	w := r.Workspace("acme", "", r.Alice)
	b := r.Browser().SignIn(r.Alice.Email)
	path := "/settings/workspaces/acme/api-keys"
	page := b.Get(path + "/new")
	if strings.Contains(page.Body, "capture") || strings.Contains(page.Body, "Capture") ||
		!strings.Contains(page.Body, `value="inbox"`) {
		t.Errorf("the page offers %s", rig.Plain(page.Body))
	}
	if page := b.Get("/settings/developer/personal-access-tokens/new"); !strings.Contains(page.Body, `value="capture"`) ||
		!strings.Contains(page.Body, `value="files:capture"`) {
		t.Error("personal access tokens are not offered what is for users")
	}
	const why = "is available only to users"
	_, admin := r.PersonalToken(r.Alice, apikey.Spec{Name: "admin", Scopes: []string{"admin", "capture"}})
	for _, scope := range []string{"capture", "files:capture"} {
		form := url.Values{
			"name":        {"x"},
			"resource":    {"https://api.example"},
			"environment": {"live"},
			"expires":     {"90"},
			"scope-0":     {"read", scope},
		}
		if a := b.PostForm(path, form); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, why) {
			t.Errorf("the page accepted %s: %d %s", scope, a.Status, rig.Plain(a.Body))
		}
		if a := r.CallJSON(http.MethodPost, "/v1/api-keys", admin, `{"name":"x","scopes":["`+scope+`"]}`, "X-Workspace",
			"acme"); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, why) {
			t.Errorf("the API accepted %s: %d %s", scope, a.Status, a.Body)
		}
		if _, _, err := r.Management.CreateKey(r.System(), management.CLI(w.ID), "",
			apikey.Spec{Name: "x", Scopes: []string{scope}}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("the CLI accepted %s: %v", scope, err)
		}
		service := management.ClientSpec{
			Name: "Service", Grants: []string{"client_credentials"}, Scopes: []string{"read", scope}, Administrator: true,
		}
		if _, _, err := r.Management.CreateClient(r.System(), management.CLI(""), service); err == nil ||
			!strings.Contains(err.Error(), why) {
			t.Errorf("a service accepted %s: %v", scope, err)
		}
		service.Grants, service.RedirectURIs = nil, []string{"https://app.example/cb"}
		if _, _, err := r.Management.CreateClient(r.System(), management.CLI(""), service); err != nil {
			t.Errorf("an app for users refused %s: %v", scope, err)
		}
		_, token := r.PersonalToken(r.Alice, apikey.Spec{Name: scope, Scopes: []string{scope}})
		if got := r.Ask(r.ResourceServer(), token).Text("scope"); got != scope {
			t.Errorf("a personal access token with %s has %q", scope, got)
		}
	}
	// A key from before this rule keeps its other scopes; its name may change, but no scope is added.
	old, text := r.Key(w, apikey.Spec{Name: "old", Scopes: []string{"read"}})
	r.SQL(`UPDATE api_keys SET scopes = 'read capture' WHERE id = $1`, old.ID)
	name := "renamed"
	if _, err := r.Management.UpdateKey(r.System(), management.CLI(w.ID), old.Owner(), "", old.ID,
		management.KeyChange{Name: &name}); err != nil {
		t.Errorf("an older key cannot be renamed: %v", err)
	}
	scopes := []string{"read", "capture"}
	if _, err := r.Management.UpdateKey(r.System(), management.CLI(w.ID), old.Owner(), "", old.ID,
		management.KeyChange{Scopes: &scopes}); err == nil {
		t.Error("an older key was given the scope again")
	}
	if got := r.Ask(r.ResourceServer(), text).Text("scope"); got != "read" {
		t.Errorf("the older key has %q", got)
	}
}

// The pages that create keys and tokens show the implied scopes under each scope, say that they are included, and grant
// them.
func TestV14_PagesForKeysShowImpliedScopesUnderTheirOwn(t *testing.T) {
	r := rig.Memory(t, everything())
	r.Workspace("acme", "", r.Alice)
	b := r.Browser().SignIn(r.Alice.Email)
	for _, path := range []string{
		"/settings/workspaces/acme/api-keys/new", "/settings/developer/personal-access-tokens/new",
		"/settings/developer/apps/new",
	} {
		body := rig.Plain(b.Get(path).Body)
		i := strings.Index(body, "Everything admin Includes everything listed below it.")
		if i < 0 || !strings.Contains(body[i:], "Read read") || !strings.Contains(body[i:], "Manage manage") ||
			!strings.Contains(body[i:], "Delete delete") || strings.Contains(body[:i], "Delete delete") {
			t.Errorf("%s: %s", path, body)
		}
	}
	form := url.Values{
		"name":        {"x"},
		"resource":    {"https://api.example"},
		"environment": {"live"},
		"expires":     {"90"},
		"scope-0":     {"manage"},
	}
	if a := b.PostForm("/settings/workspaces/acme/api-keys", form); !strings.Contains(rig.Plain(b.Follow(a).Body), "x") {
		t.Fatalf("%d %s", a.Status, rig.Plain(a.Body))
	}
	w, err := r.Store.WorkspaceBySlug(r.System(), "acme")
	ok(t, err)
	k, _ := r.Key(w, apikey.Spec{Name: "y", Scopes: []string{"manage", "read"}})
	if body := rig.Plain(b.Get("/settings/workspaces/acme/api-keys/" + k.ID).Body); !strings.Contains(body,
		"manage read including: write") {
		t.Errorf("the key's page says %s", body)
	}
}
