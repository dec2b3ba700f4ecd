package security

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/input"
	"doorward/test/rig"
)

// Registration by the CLI and on the page: A-15, the exception of A-20, and the rules of dynamic registration that
// apply without it: D-02, D-08 and D-10.

// refusedField registers p as the CLI does, and also changes a valid client to it; both must be refused because of the
// field.
func refusedField(t *testing.T, r *rig.Rig, p management.ClientSpec, field string) {
	t.Helper()
	if p.Name == "" {
		p.Name = "App"
	}
	if p.Scopes == nil && !p.ResourceServer {
		p.Scopes = []string{"read"}
	}
	wrong := func(what string, err error) {
		t.Helper()
		var fault *input.Invalid
		if !errors.As(err, &fault) || fault.Field != field {
			t.Errorf("%s %+v: %v, want a fault of %s", what, p, err, field)
		} else if len(fault.Message.String()) < 10 || len(err.Error()) > 5000 {
			t.Errorf("%s: the message has %d bytes: %.200s", what, len(err.Error()), err)
		}
	}
	_, _, err := r.Management.CreateClient(r.System(), management.CLI(""), p)
	wrong("create", err)
	good := r.App(management.ClientSpec{Public: p.Public})
	_, err = r.Management.UpdateClient(r.System(), management.CLI(""), good.ID, p)
	wrong("update", err)
	if c, err := r.Store.ClientByID(r.System(), good.ID); err != nil || !slices.Equal(c.RedirectURIs, good.RedirectURIs) ||
		c.PKCEOptional {
		t.Errorf("the client is changed all the same: %+v %v", c, err)
	}
}

// wrongRedirectURIs can never be registered.
var wrongRedirectURIs = []string{
	// response parameters (CVE-2026-9689).
	"https://app.example/cb?code=x", "https://app.example/cb?state=", "https://app.example/cb?x=1&error=y",
	"https://app.example/cb?iss=https://evil.example", "https://app.example/cb?response=x",
	"https://app.example/cb?error_description=x", "https://app.example/cb?access_token=x",
	"https://app.example/cb?id_token=x", "https://app.example/cb?%63ode=x", "https://app.example/cb?code",
	"http://127.0.0.1/cb?code=x", "com.example.app:/cb?code=x", "com.example.app:cb?code=x",
	"https://app.example/cb?a=1;code=x",
	// D-02.
	"javascript:alert(1)", "javascript://app.example/%0aalert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd",
	"blob:https://app.example/x", "about:blank", "http://app.example/cb", "http://192.168.0.1/cb",
	"http://127.0.0.2/cb", "http://[::2]/cb", "http://localhost.evil.example/cb", "http://127.0.0.1.evil.example/cb",
	"http://user@127.0.0.1/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:99999/cb",
	"http://LOCALHOST/cb", "http://localhost./cb",
	"https://app.example/cb#x", "https://app.example/cb#", "https://*.app.example/cb", "https://app.example/*",
	"https://user:pw@app.example/cb", "https://user@app.example/cb", "https://@app.example/cb",
	"https:///cb", "https://", "https:", "https:/cb", "https:app.example", "https://:443/cb", "https://?x", "myapp:/cb",
	"myapp://cb", "intent://x", "ftp://app.example/cb", "ws://app.example/cb", "",
	"/cb", "cb", "app.example/cb", "//app.example/cb", "https://app.example/a b", " https://app.example/cb",
	"https://app.example/cb\n", "https://app.example/\tcb", "https://app.example/cb\x00", "https://аpp.example/cb",
	`https://app.example\cb`, `https://app.example\@evil.example`, "HTTPS://app.example/cb", "Com.example.app:/cb",
	"https://app.example/../cb", "https://app.example/%2e%2E/cb", "https://app.example/x/.", "https://app.example/..%2fcb",
	"https://app.example:x/cb", "https://app.example:/cb", "https://app.example:0/cb", "https://app.example:65536/cb",
	"https://app.example%2f.evil.example/cb", "https://app.example/%zz", "https://app.example/cb?%zz", "https://[::1/cb",
	"https://app.example;x/cb", "https://app.example'/cb",
	`https://app.example/"><script>`, "https://app.example/`", "https://app.example/{x}",
	"https://app.example/" + strings.Repeat("x", 2000),
}

func TestA15_D02_RedirectURIsThatNeverRegister(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for _, uri := range wrongRedirectURIs {
		refusedField(t, r, management.ClientSpec{RedirectURIs: []string{uri}}, "redirect_uris")
		refusedField(t, r, management.ClientSpec{RedirectURIs: []string{uri}, Public: true}, "redirect_uris")
		// A mixed list is refused as a whole, wherever the invalid URI is.
		refusedField(t, r, management.ClientSpec{RedirectURIs: []string{"https://app.example/cb", uri}}, "redirect_uris")
		refusedField(t, r, management.ClientSpec{RedirectURIs: []string{uri, "https://app.example/cb"}}, "redirect_uris")
	}
	refusedField(t, r, management.ClientSpec{RedirectURIs: []string{"https://app.example/cb", "https://app.example/cb"}},
		"redirect_uris")
}

func TestD02_GoodRedirectURIsRegisterAndAreAnsweredAt(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, uri := range []string{
		"https://app.example", "https://app.example/", "https://app.example/cb", "https://app.example:8443/cb",
		"https://192.0.2.1/cb", "https://[2001:db8::1]:8443/cb", "https://app.example/cb?x=1&y=%2F",
		"https://app.example/cb?",
		"https://app.example?x", "https://app.example/cb?state_of=x&codes=1", "https://xn--e1afmkfd.example/cb",
		"https://APP.example/cb", "https://app.example/%7Ecb", "https://app.example/a//b", "http://127.0.0.1",
		"http://127.0.0.1:8080/cb", "http://[::1]/cb",
		"http://localhost:3000/cb?x=1", "com.example.app:/cb", "com.example.app://host/cb", "com.example.app:cb",
	} {
		app := r.App(management.ClientSpec{RedirectURIs: []string{uri}})
		a := b.Decide(b.Authorize(app.Params("read")), "approve")
		where := a.Header.Get("Location")
		rest, ok := strings.CutPrefix(where, uri)
		q, err := url.ParseQuery(strings.TrimLeft(rest, "?&"))
		if !ok || err != nil || q.Get("code") == "" || q.Get("iss") != r.Issuer ||
			q.Get("state") != app.Params("").Get("state") {
			t.Errorf("%s: answered at %q", uri, where)
		}
		if strings.Count(where, "?") != 1 || strings.Contains(where, "&&") || strings.Contains(where, "?&") {
			t.Errorf("%s: answered at %q", uri, where)
		}
	}
}

func TestD02_PageRefusesWhatTheCommandRefuses(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	base := "/settings/developer/apps"
	page := b.Get(base + "/new")
	fill := func(uris string) url.Values {
		form := b.Form(page, base)
		form.Set("name", "Page app")
		form.Set("kind", "web")
		form["scope"] = []string{"read"}
		form.Set("redirect_uris", uris)
		return form
	}
	for _, uri := range wrongRedirectURIs {
		if strings.TrimSpace(uri) != uri || strings.ContainsAny(uri, "\n\r") {
			continue // white space around a line is not part of the URI
		}
		for _, uris := range []string{uri, "https://app.example/cb\n" + uri} {
			a := b.Submit(base, fill(uris))
			if uri == "" && uris != "" {
				continue // an empty line
			}
			if a.Status != http.StatusBadRequest {
				t.Fatalf("%q registers: %d %s", uris, a.Status, rig.Plain(a.Body))
			}
		}
	}
	list, err := r.Store.Clients(r.System(), "", "", 10)
	if err != nil || len(list) > 1 { // the one with an empty line is valid
		t.Fatalf("%d clients registered, %v", len(list), err)
	}
	a := b.Follow(b.Submit(base, fill("https://app.example/page")))
	if a.Status != http.StatusOK || !strings.Contains(a.Body, bearer.PrefixClientSecret) {
		t.Fatalf("a good app is refused: %d %s", a.Status, rig.Plain(a.Body))
	}
	list, err = r.Store.Clients(r.System(), "", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	id := list[len(list)-1].ID
	edit := b.Form(b.Get(base+"/"+id), base+"/"+id)
	// D-10
	for _, uri := range []string{
		"javascript:alert(1)", "https://app.example/cb?code=x", "http://evil.example/", "https://app.example/cb#x",
	} {
		edit.Set("redirect_uris", "https://app.example/page\n"+uri)
		if a := b.PostForm(base+"/"+id, edit); a.Status != http.StatusBadRequest {
			t.Errorf("%q is accepted in a change: %d", uri, a.Status)
		}
	}
	if c, err := r.Store.ClientByID(r.System(), id); err != nil ||
		!slices.Equal(c.RedirectURIs, []string{"https://app.example/page"}) {
		t.Errorf("the app has now %v, %v", c.RedirectURIs, err)
	}
}

func TestA20_OptionalPKCECannotBeSetOnAPublicClient(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	uris := []string{"https://app.example/cb"}
	refusedField(t, r, management.ClientSpec{RedirectURIs: uris, Public: true, PKCEOptional: true, Administrator: true},
		"pkce")
	// Only an administrator can set it at all.
	_, _, err := r.Management.CreateClient(r.System(), management.CLI(""),
		management.ClientSpec{Name: "App", RedirectURIs: uris, Scopes: []string{"read"}, PKCEOptional: true})
	var fault *input.Invalid
	if !errors.As(err, &fault) || fault.Field != "kind" {
		t.Errorf("a developer may make PKCE optional: %v", err)
	}
	own := selfRegistered(t, r, management.ClientSpec{RedirectURIs: uris})
	spec := management.SpecOf(own.Client)
	spec.PKCEOptional, spec.FirstParty, spec.Verified, spec.ResourceServer = true, true, true, true
	c, err := r.Management.UpdateClient(r.System(), management.CLI(""), own.ID, spec)
	if err != nil || c.PKCEOptional || c.FirstParty || c.Verified || c.ResourceServer {
		t.Errorf("a developer set what only an administrator may set: %+v %v", c, err)
	}
	// Nor does a confidential client keep it by becoming public.
	optional := r.App(management.ClientSpec{PKCEOptional: true})
	spec = management.SpecOf(optional.Client)
	spec.Administrator, spec.Public = true, true
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), optional.ID,
		spec); !errors.As(err, &fault) {
		t.Errorf("a confidential client became public: %v", err)
	}
	// On the page: a developer's form with the field, and an administrator's form for a public app.
	base := "/settings/developer/apps"
	for _, who := range []struct {
		email, kind string
		status      int
	}{
		{r.Alice.Email, "web", http.StatusOK},
		{r.User("root@example.com", "Root", true).Email, "public", http.StatusBadRequest},
	} {
		b := r.Browser().SignIn(who.email)
		form := b.Form(b.Get(base+"/new"), base)
		for name, value := range map[string]string{
			"name":          "Sneaky",
			"kind":          who.kind,
			"scope":         "read",
			"redirect_uris": "https://app.example/cb",
			"pkce_optional": "on",
			"first_party":   "on",
			"verified":      "on",
		} {
			form.Set(name, value)
		}
		if a := b.Follow(b.Submit(base, form)); a.Status != who.status {
			t.Errorf("%s: %d %s", who.email, a.Status, rig.Plain(a.Body))
		}
	}
	list, err := r.Store.Clients(r.System(), "Sneaky", "", 10)
	if err != nil || len(list) != 1 || list[0].PKCEOptional || list[0].FirstParty || list[0].Verified {
		t.Errorf("registered %+v %v", list, err)
	}
}

func TestD08_RegistrationStaysWithinPolicy(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	uris := []string{"https://app.example/cb"}
	code := []string{"authorization_code"}
	for _, x := range []struct {
		field string
		spec  management.ClientSpec
	}{
		{"grant", management.ClientSpec{Public: true, Grants: []string{"client_credentials"}}},
		{
			"grant", management.ClientSpec{
				Public: true, RedirectURIs: uris, Grants: []string{"authorization_code", "client_credentials"},
			},
		},
		{"grant", management.ClientSpec{RedirectURIs: uris, Grants: []string{"authorization_code", "implicit"}}},
		{"grant", management.ClientSpec{RedirectURIs: uris, Grants: []string{"authorization_code", "password"}}},
		{"grant", management.ClientSpec{RedirectURIs: uris, Grants: []string{"authorization_code", "authorization_code"}}},
		{"grant", management.ClientSpec{RedirectURIs: uris, Grants: []string{"refresh_token"}}},
		{"grant", management.ClientSpec{Grants: []string{"refresh_token"}}},
		{"grant", management.ClientSpec{}},
		{"redirect_uris", management.ClientSpec{Grants: code}},
		{"scope", management.ClientSpec{RedirectURIs: uris, Scopes: []string{"openid"}}},
		{"scope", management.ClientSpec{RedirectURIs: uris, Scopes: []string{"read", "*"}}},
		{"scope", management.ClientSpec{RedirectURIs: uris, Scopes: []string{"introspect"}}},
		{"scope", management.ClientSpec{RedirectURIs: uris, Scopes: []string{"read", "read"}}},
		{"scope", management.ClientSpec{RedirectURIs: uris, Scopes: []string{}}},
		{"resource", management.ClientSpec{RedirectURIs: uris, Resources: []string{"https://evil.example"}}},
		{"resource", management.ClientSpec{RedirectURIs: uris, Resources: []string{r.Issuer, r.Issuer}}},
		{"name", management.ClientSpec{RedirectURIs: uris, Name: " "}},
		{"name", management.ClientSpec{RedirectURIs: uris, Name: "Bank\u202egpj.exe"}},
		{"name", management.ClientSpec{RedirectURIs: uris, Name: "a\nb"}},
		{"name", management.ClientSpec{RedirectURIs: uris, Name: strings.Repeat("n", 101)}},
		{"site", management.ClientSpec{RedirectURIs: uris, Site: "javascript:alert(1)"}},
		{"site", management.ClientSpec{RedirectURIs: uris, Site: "http://evil.example"}},
	} {
		x.spec.Administrator = true
		refusedField(t, r, x.spec, x.field)
	}
	_, _, err := r.Management.CreateClient(r.System(), management.CLI(""),
		management.ClientSpec{Name: "API", ResourceServer: true})
	if err == nil {
		t.Error("a developer made a resource server")
	}
}

// A form may contain far more than an error message should: one sentence, not one for each of 30,000 lines.
func TestRegistrationOfVeryManyThingsIsRefusedInOneSentence(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	var lines, words []string
	for i := range 10_000 {
		lines = append(lines, "x")
		words = append(words, "s"+strings.Repeat("x", i%7))
	}
	uris := []string{"https://app.example/cb"}
	refusedField(t, r, management.ClientSpec{RedirectURIs: lines}, "redirect_uris")
	refusedField(t, r, management.ClientSpec{RedirectURIs: uris, Scopes: words}, "scope")
	refusedField(t, r, management.ClientSpec{RedirectURIs: uris, Resources: words}, "resource")
	refusedField(t, r, management.ClientSpec{RedirectURIs: uris, Grants: words}, "grant")
	b := r.Browser().SignIn(r.Alice.Email)
	base := "/settings/developer/apps"
	form := b.Form(b.Get(base+"/new"), base)
	form.Set("name", "Page app")
	form.Set("redirect_uris", strings.Repeat("x\n", 15_000))
	a := b.Submit(base, form)
	if a.Status != http.StatusBadRequest || strings.Count(a.Body, "register fewer") == 0 || len(a.Body) > 100_000 {
		t.Errorf("%d, %d bytes", a.Status, len(a.Body))
	}
}
