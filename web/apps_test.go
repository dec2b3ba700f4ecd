package web_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/storage"
	"doorward/test/rig"
)

// The key of RFC 7517, appendix A.1.
const (
	publicKey = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"spring"}`
	keySet = `{"keys":[` + publicKey + `]}`
)

// appOf returns the only app with a name.
func appOf(t *testing.T, r *rig.Rig, name string) storage.Client {
	t.Helper()
	list, err := r.Store.Clients(r.System(), name, "", 2)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d apps with the name %s, %v", len(list), name, err)
	}
	c, err := r.Store.ClientByID(r.System(), list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAPageCreatesAnAppThatAuthenticatesWithAKey(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	const base = "/settings/developer/apps"
	form := b.Form(b.Get(base+"/new"), base)
	form.Set("name", "Keyed")
	form.Set("redirect_uris", "https://app.example/cb")
	form["scope"] = []string{"read"}
	form.Set("token_endpoint_auth_method", "private_key_jwt")
	form.Set("fapi", "1")
	form.Set("token_endpoint_audience", "1") // it is ignored, as it is for administrators

	if a := b.Submit(base, form); a.Status != http.StatusBadRequest ||
		!strings.Contains(rig.Plain(a.Body), "The set of public keys is missing") ||
		!strings.Contains(a.Body, `<details class="unfold-in" open>`) {
		t.Errorf("without keys: %d %s", a.Status, rig.Plain(a.Body))
	}
	form.Set("jwks", strings.Replace(keySet, `"kid"`, `"d":"c2VjcmV0","kid"`, 1))
	if a := b.Submit(base, form); a.Status != http.StatusBadRequest || strings.Contains(a.Body, "c2VjcmV0") ||
		!strings.Contains(rig.Plain(a.Body), "create a new key pair") {
		t.Errorf("with a private key: %d %s", a.Status, rig.Plain(a.Body))
	}
	form.Set("jwks", keySet)
	a := b.Follow(b.Submit(base, form))
	c := appOf(t, r, "Keyed")
	if a.Status != http.StatusOK || !strings.Contains(rig.Plain(a.Body), "it has no secret") || len(c.Secrets) != 0 ||
		c.AuthMethod != management.AuthPrivateKey || !c.FAPI || !c.PushedRequestsOnly || !c.DPoPBound ||
		c.TokenEndpointAudience {
		t.Errorf("%d %s %+v", a.Status, rig.Plain(a.Body), c)
	}
	for _, text := range []string{"spring (", "authenticates with its private key", "PKCE is required"} {
		if !strings.Contains(rig.Plain(a.Body), text) {
			t.Errorf("the page does not say %q: %s", text, rig.Plain(a.Body))
		}
	}
	if strings.Contains(a.Body, "Create new secret") {
		t.Error("the page offers a secret")
	}
	if a := b.PostForm(base+"/"+c.ID+"/secret", url.Values{"grace": {"now"}}); a.Status != http.StatusBadRequest ||
		!strings.Contains(rig.Plain(a.Body), "has no secret") {
		t.Errorf("a secret: %d %s", a.Status, rig.Plain(a.Body))
	}
	for _, x := range []struct{ kind, method string }{{"public", "private_key_jwt"}, {"service", "private_key_jwt"}} {
		form.Set("name", "Kind "+x.kind)
		form.Set("kind", x.kind)
		form.Set("form", "")
		if a := b.Follow(b.Submit(base, form)); a.Status != http.StatusOK {
			t.Errorf("%s: %d %s", x.kind, a.Status, rig.Plain(a.Body))
		} else if c := appOf(t, r, "Kind "+x.kind); c.Public != (x.kind == "public") || len(c.Secrets) != 0 ||
			c.Public && c.JWKS != "" {
			t.Errorf("%s: %+v", x.kind, c)
		}
	}
}

func TestAPageChangesHowAnAppAuthenticates(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("engines", "", r.Alice)
	root := r.User("root@example.com", "Root", true)
	for base, b := range map[string]*rig.Browser{
		"/settings/workspaces/engines/apps": r.Browser().SignIn(r.Alice.Email), "/admin/apps": r.Browser().SignIn(root.Email),
	} {
		app := r.App(management.ClientSpec{Name: "Of " + base, WorkspaceID: ws.ID, CreatedBy: r.Alice.ID})
		path := base + "/" + app.ID
		// form is what a browser would send: Form leaves out text areas and selections.
		form := func() url.Values {
			c := appOf(t, r, "Of "+base)
			page := b.Get(path)
			for _, text := range []string{
				html.EscapeString(c.JWKS) + "</textarea>", `<option value="` + c.AuthAlgorithm + `" selected>`,
			} {
				if !strings.Contains(page.Body, text) {
					t.Errorf("%s: the form does not begin with %s", base, text)
				}
			}
			f := b.Form(page, path+"/authentication")
			f.Set("jwks", c.JWKS)
			f.Set("token_endpoint_auth_signing_alg", c.AuthAlgorithm)
			return f
		}
		save := func(form url.Values) (*rig.Answer, storage.Client) {
			return b.Submit(path+"/authentication", form), appOf(t, r, "Of "+base)
		}
		f := form()
		if f.Has("token_endpoint_audience") || f.Get("token_endpoint_auth_method") != "" {
			t.Errorf("%s: the form begins as %v", base, f)
		}
		f.Set("token_endpoint_auth_method", "private_key_jwt")
		f.Set("jwks", keySet)
		f.Set("token_endpoint_auth_signing_alg", "ES256")
		f.Set("dpop_bound_access_tokens", "1")
		f.Set("token_endpoint_audience", "1")
		a, c := save(f)
		if a.Status != http.StatusSeeOther || c.AuthMethod != "private_key_jwt" || len(c.Secrets) != 0 ||
			c.AuthAlgorithm != "ES256" || !c.DPoPBound || c.TokenEndpointAudience != (base == "/admin/apps") {
			t.Errorf("%s: %d %s %+v", base, a.Status, rig.Plain(a.Body), c)
		}
		// The form begins with what is stored, and the other form of the page leaves it alone.
		if f = form(); f.Get("dpop_bound_access_tokens") != "1" || f.Get("token_endpoint_auth_method") != "private_key_jwt" {
			t.Errorf("%s: the form has %v", base, f)
		}
		settings := b.Form(b.Get(path), path)
		settings.Set("site", "https://app.example")
		settings.Set("redirect_uris", app.RedirectURIs[0])
		if a := b.Submit(path, settings); a.Status != http.StatusSeeOther {
			t.Errorf("%s: settings: %d %s", base, a.Status, rig.Plain(a.Body))
		}
		if now := appOf(t, r, "Of "+base); now.JWKS != c.JWKS || now.AuthMethod != c.AuthMethod || !now.DPoPBound ||
			now.Site == "" || now.TokenEndpointAudience != c.TokenEndpointAudience {
			t.Errorf("%s: the settings changed it to %+v", base, now)
		}
		for name, x := range map[string]struct{ value, says string }{
			"jwks":                            {"x", "is not a JWK set"},
			"jwks_uri":                        {"https://app.example/jwks", "cannot be combined with jwks"},
			"token_endpoint_auth_signing_alg": {"PS256", "PS256 fits none of the keys"},
			"token_endpoint_auth_method":      {"none", "cannot change between public and confidential"},
		} {
			f := form()
			f.Set(name, x.value)
			a, now := save(f)
			if a.Status != http.StatusBadRequest || !strings.Contains(rig.Plain(a.Body), x.says) || now.ChangedAt < c.ChangedAt ||
				now.JWKS != c.JWKS {
				t.Errorf("%s: %s=%s: %d %s", base, name, x.value, a.Status, rig.Plain(a.Body))
			}
			if !strings.Contains(a.Body, `href="#f-`+name+`"`) {
				t.Errorf("%s: the fault of %s does not lead to its field", base, name)
			}
		}
		f = form()
		f.Set("jwks", strings.Repeat("x", 1<<20))
		if a, _ := save(f); a.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: a megabyte: %d", base, a.Status)
		}
		f = form()
		f.Set("token_endpoint_auth_method", "")
		f.Set("token_endpoint_auth_signing_alg", "")
		f.Set("jwks", "")
		f.Del("dpop_bound_access_tokens")
		if a, c = save(f); a.Status != http.StatusSeeOther || c.AuthMethod != "" || c.JWKS != "" || c.DPoPBound {
			t.Errorf("%s: back: %d %s %+v", base, a.Status, rig.Plain(a.Body), c)
		}
		if page := rig.Plain(b.Get(path).Body); !strings.Contains(page, "The app has no secret. Create one") {
			t.Errorf("%s: the page does not offer a secret: %s", base, page)
		}
		if a := b.Follow(b.PostForm(path+"/secret", url.Values{"grace": {"now"}})); a.Status != http.StatusOK {
			t.Errorf("%s: a secret: %d %s", base, a.Status, rig.Plain(a.Body))
		}
	}
}
