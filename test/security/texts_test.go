package security

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/test/rig"
)

// One rule for each kind of text, on the page, in the API and in the function that the CLI calls. A refused request
// changes nothing.
func TestV17_OneRuleForEachKindOfText(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Name: "admin", Scopes: []string{"admin"}})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Name: "pat", Scopes: []string{"admin"}})
	b := r.Browser().SignIn(r.Alice.Email)
	type doors struct {
		page    func(text string) *rig.Answer
		api     func(text string) *rig.Answer
		command func(text string) error
	}
	form := func(path string, base url.Values, field string) func(string) *rig.Answer {
		return func(text string) *rig.Answer {
			v := url.Values{}
			for name, values := range base {
				v[name] = values
			}
			v.Set(field, text)
			return b.PostForm(path, v)
		}
	}
	body := func(method, path, credential string, base map[string]any, field string,
		value func(string) any,
	) func(string) *rig.Answer {
		return func(text string) *rig.Answer {
			m := map[string]any{}
			for name, x := range base {
				m[name] = x
			}
			m[field] = value(text)
			raw, err := json.Marshal(m)
			ok(t, err)
			return r.CallJSON(method, path, credential, string(raw))
		}
	}
	same := func(text string) any { return text }
	app := func(change func(p *management.ClientSpec, text string)) func(string) error {
		return func(text string) error {
			p := management.ClientSpec{
				Name: "App", RedirectURIs: []string{"https://app.example/cb"}, Scopes: []string{"read"}, Administrator: true,
			}
			change(&p, text)
			_, _, err := r.Management.CreateClient(r.System(), management.CLI(""), p)
			return err
		}
	}
	appForm := url.Values{
		"name":          {"App"},
		"kind":          {"web"},
		"redirect_uris": {"https://app.example/cb"},
		"scope":         {"read"},
		"resource":      {r.Issuer},
	}
	appBody := map[string]any{
		"name":         "App",
		"redirectUris": []string{"https://app.example/cb"},
		"scopes":       []string{"read"},
	}
	keyForm := url.Values{
		"name":        {"Key"},
		"resource":    {r.Issuer},
		"environment": {"live"},
		"expires":     {"90"},
		"scope-0":     {"read"},
	}
	keyBody := map[string]any{"name": "Key", "scopes": []string{"read"}}
	const apps, keys = "/settings/workspaces/acme/apps", "/settings/workspaces/acme/api-keys"
	key := func(change func(p *apikey.Spec, text string)) func(string) error {
		return func(text string) error {
			p := apikey.Spec{Name: "Key", Scopes: []string{"read"}}
			change(&p, text)
			_, _, err := r.Management.CreateKey(r.System(), management.CLI(w.ID), "", p)
			return err
		}
	}
	blank := []string{"\u3164", "\u2800", "\u115f", "\u1160", "\u200b\u200d", "\u0301", "a\u202eb", "a\nb", "a\x1bb"}
	for kind, x := range map[string]struct {
		doors
		bad []string
	}{
		"app name": {doors{
			form(apps, appForm, "name"), body("POST", "/v1/apps", admin, appBody, "name", same),
			app(func(p *management.ClientSpec, text string) { p.Name = text }),
		}, append([]string{"Doorward (verified)", "Acme (vеrified)", "Doorward Official", "Example API official"}, blank...)},
		"app site": {doors{
			form(apps, appForm, "site"), body("POST", "/v1/apps", admin, appBody, "site", same),
			app(func(p *management.ClientSpec, text string) { p.Site = text }),
		}, []string{
			"https://app.example/\u202ex", "https://app.example/\x1b", "https://app.example/\u3164", "https://app.example]/",
			"https://app.example:0/", "https://a%41.example/",
		}},
		"redirect URI": {doors{
			form(apps, appForm, "redirect_uris"),
			body("POST", "/v1/apps", admin, appBody, "redirectUris", func(text string) any { return []string{text} }),
			app(func(p *management.ClientSpec, text string) { p.RedirectURIs = []string{text} }),
		}, []string{
			"https://app.example]/cb", "https://[app.example]/cb", "https://[::1/cb", "https://::1/cb", "https://[::1%25lo]/cb",
			"https://app.example:0/cb", "https://app.example:65536/cb", "https://app.example:/cb", "https://app.example:0443/cb",
			"https://user@app.example/cb", "https://app%2eexample/cb", "https://app..example/cb", "https://app.example./cb",
			"https://xn--a/cb", "https://bücher.example/cb", "https://0x7f.1/cb", "https://256.1.1.1/cb", "https:app.example/cb",
			"https:///cb", "com.example.app://a]b/cb",
		}},
		"key name": {doors{
			form(keys, keyForm, "name"), body("POST", "/v1/api-keys", admin, keyBody, "name", same),
			key(func(p *apikey.Spec, text string) { p.Name = text }),
		}, blank},
		"key note": {doors{
			form(keys, keyForm, "note"), body("POST", "/v1/api-keys", admin, keyBody, "note", same),
			key(func(p *apikey.Spec, text string) { p.Note = text }),
		}, []string{"\u3164", "a\u202eb", "a\x1bb"}},
		"workspace name": {doors{
			form("/settings/workspaces", url.Values{"slug": {"other"}}, "name"),
			body("POST", "/v1/workspaces", pat, map[string]any{"slug": "other"}, "name", same),
			func(text string) error {
				_, err := r.Management.CreateWorkspace(r.System(), management.CLI(""), text, "other", "", r.Alice.ID)
				return err
			},
		}, blank},
		"invitation": {doors{
			form("/settings/workspaces/acme/invitations", url.Values{"role": {"member"}}, "email"),
			body("POST", "/v1/workspaces/acme/invitations", admin, map[string]any{"role": "member"}, "email", same),
			func(text string) error {
				_, _, err := r.Management.Invite(r.System(), management.CLI(w.ID), w, text, "member")
				return err
			},
		}, []string{
			"a@e.example\r\nBcc:b@e.example", "a@e.example\n", "a@e.example,b@e.example", "a@b@e.example", "a\u202e@e.example",
			"a@e.example\u200b", "a@-e.example", "A <a@e.example>", "a@",
		}},
		"user name": {doors{
			form("/settings/profile", nil, "name"), nil, func(text string) error {
				return r.Identity.Rename(r.System(), r.Alice.ID, text)
			},
		}, blank},
		"user address": {doors{nil, nil, func(text string) error {
			_, err := r.Identity.CreateUser(r.System(), identity.NewUser{Email: text, Password: rig.Password})
			return err
		}}, []string{"a@e.example\r\nBcc:b@e.example", "a@e.example\n", "a\u202e@e.example", "a@b@e.example"}},
	} {
		for _, bad := range x.bad {
			if x.page != nil {
				if a := x.page(bad); a.Status != http.StatusBadRequest {
					t.Errorf("%s: the page answered %q with %d %v", kind, bad, a.Status, a.Location)
				}
			}
			if x.api != nil {
				if a := x.api(bad); a.Status != http.StatusBadRequest {
					t.Errorf("%s: the API answered %q with %d %s", kind, bad, a.Status, a.Body)
				}
			}
			if err := x.command(bad); err == nil {
				t.Errorf("%s: the CLI accepted %q", kind, bad)
			}
		}
	}
	list, err := r.Store.ClientsOfWorkspace(r.System(), "")
	ok(t, err)
	if len(list) != 0 {
		t.Errorf("%d apps were registered", len(list))
	}
	if n := liveKeys(r, w); n != 1 {
		t.Errorf("there are %d keys", n)
	}
}

// The host name of an API counts as its name, which only the operator may give to an app.
func TestV17_TheHostOfAnAPIIsItsName(t *testing.T) {
	r := rig.Memory(t, everything())
	w := r.Workspace("acme", "", r.Alice)
	by := management.Authority{UserID: r.Alice.ID, WorkspaceID: w.ID, Role: catalog.RoleOwner, Session: true, Fresh: true}
	for name, taken := range map[string]bool{
		"api.example":            true,
		"API.example":            true,
		"https://api.example":    true,
		"api.example support":    true,
		"Reader for api.example": false,
	} {
		_, _, err := r.Management.CreateClient(r.System(), by, management.ClientSpec{
			Name:         name,
			WorkspaceID:  w.ID,
			CreatedBy:    r.Alice.ID,
			RedirectURIs: []string{"https://app.example/cb"},
			Scopes:       []string{"read"},
		})
		if refused := err != nil; refused != taken {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// An app from before this rule keeps its name until the name is changed.
func TestV17_AnOlderNameStays(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	r.SQL(`UPDATE clients SET name = 'Doorward (verified)' WHERE id = $1`, app.ID)
	c, err := r.Store.ClientByID(r.System(), app.ID)
	ok(t, err)
	p := management.SpecOf(c)
	p.Administrator, p.Site = true, "https://app.example"
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, p); err != nil {
		t.Errorf("its site cannot change: %v", err)
	}
	p.Name = "Doorward (Verified)"
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, p); err == nil {
		t.Error("it was given another such name")
	}
}
