package security

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// Defects of fosite v0.49.0 at the authorization endpoint (the cases with an F; docs/security-tests.md states their
// rules).

// plant inserts a client that registration would refuse into the database.
func plant(t *testing.T, r *rig.Rig, c storage.Client) *rig.App {
	t.Helper()
	c.ID, c.Name, c.GrantTypes, c.Scopes, c.Resources = storage.NewID("app"), "Planted",
		storage.List{"authorization_code"}, storage.List{"read"}, storage.List{r.Issuer}
	if err := r.Store.InsertClient(r.System(), &c, nil); err != nil {
		t.Fatal(err)
	}
	return &rig.App{Client: c, Redirect: c.RedirectURIs[0]}
}

func TestFosite_SchemesThatNeverRegisterAreRefusedAtAuthorizeToo(t *testing.T) { // 2.1 RedirectSecureChecker
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, uri := range []string{
		"javascript:alert(1)//", "data:text/html,<script>alert(1)</script>", "vbscript:x", "http://app.example/cb",
		"myapp:/cb", "file:///etc/passwd", "blob:https://app.example/1", "//evil.example/cb", "/cb",
	} {
		app := plant(t, r, storage.Client{RedirectURIs: storage.List{uri}})
		for _, change := range []url.Values{{}, {"redirect_uri": nil}, {"prompt": {"none"}}, {"scope": {"nonsense"}}} {
			wantPage(t, ask(b, altered(app.Params("read"), change)), http.StatusBadRequest)
		}
	}
}

func TestFosite_LoopbackMatchKeepsSchemeAndUserInformation(t *testing.T) { // 3.2 no. 9, F18
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"https://127.0.0.1/cb"}},
		"http://127.0.0.1:9/cb", "http://127.0.0.1/cb")
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"http://127.0.0.1/cb"}}, "http://user:pw@127.0.0.1:9/cb",
		"https://127.0.0.1:9/cb")
}

func TestFosite_LocalhostMatchesAnyPort(t *testing.T) { // 3.2 no. 9, fosite #873
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{Public: true, RedirectURIs: []string{"http://localhost/cb"}})
	b := r.Browser().SignIn(r.Alice.Email)
	sent := altered(app.Params("read"), url.Values{"redirect_uri": {"http://localhost:49152/cb"}})
	code := wantCode(t, r, b.Decide(b.Authorize(sent), "approve"), sent)
	app.Redirect = sent.Get("redirect_uri") // as it was requested, not as it is registered
	if a := r.Exchange(app, code); a.Status != http.StatusOK {
		t.Errorf("exchange %d %s", a.Status, a.Body)
	}
}

func TestFosite_CVE_2020_15233_15234_RedirectMatchHeedsCaseAndQuery(t *testing.T) { // 3.1
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"https://app.example/cb?x=1", "http://127.0.0.1/cb?x=1"}},
		"https://app.example/CB?x=1", "https://app.example/cb?X=1", "https://app.example/cb", "http://127.0.0.1:9/cb",
		"http://127.0.0.1:9/CB?x=1", "http://127.0.0.1:9/cb?x=2")
}

func TestFosite_RequestObjectsAreRefusedWithAndWithoutOpenID(t *testing.T) { // 3.2 no. 8, F11
	scope := catalog.Resource{
		ID: "https://api.example", Name: "API", Scopes: []catalog.Scope{{Name: "read"}, {Name: "openid"}},
	}
	r := rig.Memory(t, rig.Options{Resources: []catalog.Resource{scope}})
	// A resource may list openid; it has no special meaning here.
	app := r.App(management.ClientSpec{Scopes: []string{"read", "openid"}})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, scope := range []string{"read", "openid", "openid read"} {
		b.Code(app, scope)
		sent := altered(app.Params(scope), url.Values{
			"request": {"eyJhbGciOiJub25lIn0.eyJzY29wZSI6Im9wZW5pZCByZWFkIiwic3RhdGUiOiJ0aGVpcnMifQ."},
		})
		wantRefusal(t, r, ask(b, sent), sent, "request_not_supported")
		sent = altered(app.Params(scope), url.Values{"request_uri": {"https://evil.example/object"}})
		wantRefusal(t, r, ask(b, sent), sent, "request_uri_not_supported")
	}
}

func TestFosite_OpaqueResourcesAreComparedWhole(t *testing.T) { // 3.2 no. 6
	two := []catalog.Resource{
		{ID: "urn:svc:a", Name: "A", Scopes: []catalog.Scope{{Name: "read"}}},
		{ID: "urn:svc:b", Name: "B", Scopes: []catalog.Scope{{Name: "read"}}},
		{ID: "https://api.example/x", Name: "C", Scopes: []catalog.Scope{{Name: "read"}}},
	}
	r := rig.Memory(t, rig.Options{Resources: two})
	app := r.App(management.ClientSpec{
		Scopes: []string{"read"}, Resources: []string{"urn:svc:a", "https://api.example/x"},
	})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, resource := range []string{
		"urn:svc:b", "urn:svc:", "urn:svc:aa", "urn:SVC:a", "urn:other", "https://api.example/x/../admin",
		"https://user@api.example/x", "https://api.example/x?y", "https://api.example/x#y", "https://api.example/x/",
		"https://api.example/x/y", "https://api.example", "x",
	} {
		sent := altered(app.Params("read"), url.Values{"resource": {resource}})
		wantRefusal(t, r, ask(b, sent), sent, "invalid_target")
	}
	for asked, want := range map[string]string{
		"":                      "urn:svc:a",
		"urn:svc:a":             "urn:svc:a",
		"URN:svc:a":             "urn:svc:a",
		"https://api.example/x": "https://api.example/x",
	} {
		sent := altered(app.Params("read"), url.Values{"resource": {asked}})
		a := ask(b, sent)
		if a.Location != nil && a.Location.Path == "/oauth/consent" {
			a = b.Decide(b.Follow(a), "approve")
		}
		tok := r.Exchange(app, wantCode(t, r, a, sent))
		if got := r.Introspect(app, tok.Text("access_token")).Text("aud"); got != want {
			t.Errorf("asked for %q, the token is for %q", asked, got)
		}
	}
	// `audience` does not stand in for a resource that the client did not name at authorize.
	sent := altered(app.Params("read"), url.Values{"audience": {"urn:svc:b"}})
	tok := r.Exchange(app, wantCode(t, r, ask(b, sent), sent))
	if got := r.Introspect(app, tok.Text("access_token")).Text("aud"); got != "urn:svc:a" {
		t.Errorf("audience made the token one for %q", got)
	}
}

func TestFosite_PushedParametersAreNotMixedWithFrontChannelOnes(t *testing.T) { // 3.2 no. 7, F13
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read") // remembered, so that no page is needed
	before := grantCount(t, r)
	// The parameters beside a request_uri that was never issued are those of a right request; they do not count.
	wantPage(t, ask(b, altered(app.Params("read"), url.Values{
		"request_uri": {"urn:ietf:params:oauth:request_uri:x"},
		"prompt":      {"none"},
		"nonce":       {"injected"},
	})), http.StatusBadRequest)
	if n := grantCount(t, r); n != before {
		t.Errorf("%d grants, want %d", n, before)
	}
}

func TestFosite_MissingOrShortStateIsNoError(t *testing.T) { // F12
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	for _, state := range [][]string{nil, {"x"}, {"1234567"}} {
		sent := altered(app.Params("read"), url.Values{"state": state})
		a := ask(b, sent)
		wantCode(t, r, a, sent)
		if strings.Contains(a.Header.Get("Location"), "kept") {
			t.Errorf("what stands for state inside came out: %s", a.Header.Get("Location"))
		}
	}
}

func TestFosite_RepeatedParametersAndMixedSourcesAreRefused(t *testing.T) { // F16
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser()
	sent := altered(app.Params("read"), url.Values{"scope": {"read", "write"}})
	wantRefusal(t, r, ask(b, sent), sent, "invalid_request")
	wantPage(t, b.PostForm("/oauth/authorize?scope=write", app.Params("read")), http.StatusBadRequest)
}

func TestFosite_MaxAgeZeroNegativeAndNonsenseAreNotIgnored(t *testing.T) { // F15
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	wantLogin(t, ask(b, altered(app.Params("read"), url.Values{"max_age": {"0"}})))
	for _, age := range []string{"-1", "soon"} {
		sent := altered(app.Params("read"), url.Values{"max_age": {age}})
		wantRefusal(t, r, ask(b, sent), sent, "invalid_request")
	}
}

func TestFosite_ShortChallengeIsRefusedBeforeTheUserIsAsked(t *testing.T) { // F19
	refuseAsked(t, management.ClientSpec{Public: true}, "invalid_request", url.Values{"code_challenge": {"short"}})
}

func TestFosite_PKCEIsForConfidentialClientsToo(t *testing.T) { // 2.1 EnforcePKCE, F1
	refuseAsked(t, management.ClientSpec{}, "invalid_request", url.Values{
		"code_challenge":        nil,
		"code_challenge_method": nil,
	})
}

func TestFosite_ScopesHaveNoWildcardsAndHeedCase(t *testing.T) { // 2.1 ScopeStrategy
	refuseAsked(t, management.ClientSpec{Scopes: []string{"read"}}, "invalid_scope", url.Values{"scope": {"READ"}},
		url.Values{"scope": {"read.x"}}, url.Values{"scope": {"*"}}, url.Values{"scope": {"OFFLINE"}})
}

func TestFosite_AnswerKeepsTheRegisteredQueryAndShowsNoScope(t *testing.T) { // 2.6, 2.1 OmitRedirectScopeParam
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, uri := range []string{
		"https://app.example/cb?z=1&a=%7e+x&z=2", "https://app.example/cb?b&a=", "https://app.example/cb?",
	} {
		app := r.App(management.ClientSpec{RedirectURIs: []string{uri}})
		where := b.Decide(b.Authorize(app.Params("read")), "approve").Header.Get("Location")
		rest, ok := strings.CutPrefix(where, uri)
		q, err := url.ParseQuery(strings.TrimPrefix(rest, "&"))
		if !ok || err != nil || len(q) != 3 || q.Get("code") == "" || q.Get("state") == "" || q.Get("iss") == "" {
			t.Errorf("%s: answered at %s", uri, where)
		}
	}
}

func TestFosite_ErrorsBeforeTheRedirectURIIsProvenAreAPage(t *testing.T) { // F20
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	for _, change := range []url.Values{
		{"client_id": {"unknown"}}, {"client_id": nil}, {"redirect_uri": {"https://evil.example/"}},
	} {
		a := ask(r.Browser(), altered(app.Params("read"), change))
		wantPage(t, a, http.StatusBadRequest)
		if a.JSON() != nil || !strings.Contains(a.Body, "<html") {
			t.Errorf("no page: %s", a.Body)
		}
	}
}

func TestFosite_ErrorTextsAreOurOwnAndRepeatNothing(t *testing.T) { // 2.6, GHSA-7v6r-w4r6-mhch
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	const script = `<script>alert("x")</script>`
	for _, name := range []string{
		"scope", "prompt", "response_type", "response_mode", "code_challenge", "code_challenge_method", "max_age", "resource",
		"request", "request_uri", "redirect_uri", "client_id", "error", "error_description", "error_hint",
	} {
		sent := altered(app.Params("read"), url.Values{name: {script}})
		a := ask(b, sent)
		body := wantInertURI(t, a.Body)
		if name == "redirect_uri" && (body == a.Body || strings.Contains(a.Body, script)) {
			t.Errorf("the page does not name the redirect URI, or not as text: %s", a.Body)
		}
		if name != "redirect_uri" && body != a.Body {
			t.Errorf("%s: the page names a redirect URI: %s", name, rig.Plain(a.Body))
		}
		for _, text := range []string{
			script, url.QueryEscape(script), "alert", "fosite", "Fosite", "OAuth 2.0 Client", "github",
		} {
			if strings.Contains(body+a.Param("error_description")+a.Param("error"), text) {
				t.Errorf("%s: the answer holds %q: %s", name, text, rig.Plain(a.Body)+a.Header.Get("Location"))
			}
		}
		if a.Location != nil && a.Param("error_hint")+a.Param("error_debug") != "" {
			t.Errorf("%s: %s", name, a.Header.Get("Location"))
		}
	}
}

func TestFosite_FormPostAndFragmentAreNotAnswered(t *testing.T) { // 2.6 form_post
	refuseAsked(t, management.ClientSpec{}, "invalid_request", url.Values{"response_mode": {"form_post"}},
		url.Values{"response_mode": {"fragment"}})
}

// Fosite fills in nil strategies during the first requests, without a lock; the race detector would report that.
func TestFosite_ColdServerTakesItsFirstRequestsAtOnce(t *testing.T) { // 2.1
	r := rig.Memory(t, rig.Options{AtOnce: true})
	app := r.App(management.ClientSpec{})
	service := r.App(management.ClientSpec{Grants: []string{"client_credentials"}})
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			q := r.Request(http.MethodGet, "/oauth/authorize?"+app.Params("read").Encode(), nil)
			a := r.Send(r.Program(), q)
			if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/login?") {
				t.Errorf("authorize %d %s", a.Status, a.Body)
			}
		})
		group.Go(func() {
			a := r.PostAs(service, "/oauth/token", url.Values{"grant_type": {"client_credentials"}})
			if a.Status != http.StatusOK {
				t.Errorf("token %d %s", a.Status, a.Body)
			}
		})
	}
	group.Wait()
}

func TestFosite_StorageTroubleAtAuthorizeIs503(t *testing.T) { // F4, 3.2 no. 5
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		b.Code(app, "read")
		r.BreakStorage()
		for _, change := range []url.Values{{}, {"prompt": {"none"}}, {"client_id": {storage.NewID("app")}}} {
			a := ask(b, altered(app.Params("read"), change))
			wantPage(t, a, http.StatusServiceUnavailable)
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	})
}
