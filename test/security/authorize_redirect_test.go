package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// The redirect URI of an authorization request.

// refuseEach sends a request with each redirect URI, signed in and not, with prompt=none and without. Each must get a
// page: never a redirect, and never a 5xx.
func refuseEach(t *testing.T, app management.ClientSpec, uris ...string) {
	t.Helper()
	r := rig.Memory(t, rig.Options{})
	a := r.App(app)
	stranger, alice := r.Browser(), r.Browser().SignIn(r.Alice.Email)
	alice.Code(a, "read") // remembered, so that no page is needed
	before := grantCount(t, r)
	for _, uri := range uris {
		for _, b := range []*rig.Browser{stranger, alice} {
			for _, prompt := range []string{"", "none", "foo"} {
				wantPage(t, ask(b, altered(a.Params("read"), url.Values{"redirect_uri": {uri}, "prompt": {prompt}})),
					http.StatusBadRequest)
				if t.Failed() {
					t.Fatalf("redirect_uri %q, prompt %q", uri, prompt)
				}
			}
		}
	}
	if n := grantCount(t, r); n != before {
		t.Errorf("%d codes were issued", n-before)
	}
}

func TestA01_UnregisteredHostGetsAPage(t *testing.T) {
	refuseEach(t, management.ClientSpec{}, "https://evil.example/cb", "https://evil.example", "http://evil.example/cb",
		"//evil.example/cb", "/cb", "cb",
		"https://app.example.evil.example/cb", "https://evilapp.example/cb", "https://sub.app.example/cb",
		"https://app.example", "https://app.example/",
		"javascript:alert(1)", "data:text/html,x", "https:app.example/cb", "https:///app.example/cb")
}

func TestA02_RedirectURIMatchesByteForByte(t *testing.T) {
	refuseEach(t, management.ClientSpec{}, "https://app.example/cb/", "https://app.example/CB", "https://APP.example/cb",
		"https://app.example:443/cb",
		"https://app.example/cb?x=1", "https://app.example/cb?", "HTTPS://app.example/cb", "https://app.example./cb",
		"http://app.example/cb",
		"https://app.example/c%62", "https://app.example//cb", "https://app.example/cb;x", "https://app.example/c",
		"https://app.example/cbx")
}

func TestA03_UserInformationDoesNotHideAnotherHost(t *testing.T) {
	refuseEach(t, management.ClientSpec{}, "https://app.example@evil.example/cb", `https://app.example\@evil.example/cb`,
		"http://127.0.0.1:80@evil.example",
		"http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1@evil.example/cb", `http://127.0.0.1\@evil.example/cb`,
		"http://127.0.0.1:1:2@evil.example/cb",
		"https://app.example:x@evil.example/cb", "https://evil.example@app.example/cb",
		"https://app.example%40evil.example/cb",
		"http://127.0.0.1#@evil.example/cb", "http://127.0.0.1/@evil.example/cb", "http://127.0.0.1.evil.example/cb",
		"http://127.0.0.1:80.evil.example/cb")
}

func TestA04_DotSegmentsLeadNowhere(t *testing.T) {
	refuseEach(t, management.ClientSpec{}, "https://app.example/cb/../x", "https://app.example/cb/%2e%2e/x",
		"https://app.example/cb/%252e%252e/x", "https://app.example/cb%2f..",
		"https://app.example/x/../cb", "https://app.example/./cb", "https://app.example/cb/.", "https://app.example/cb/..;/x",
		`https://app.example/cb\..\x`,
		"http://127.0.0.1:9/cb/../x", "http://127.0.0.1:9/x/../cb", "http://127.0.0.1:9/./cb")
}

func TestA05_OddBytesGetAPageAndNoFault(t *testing.T) {
	refuseEach(t, management.ClientSpec{}, " https://app.example/cb", "https://app.example/cb ",
		"\thttps://app.example/cb", "https://app.example/cb\t",
		"https://app.example/cb\n", "https://app.example/cb\r\nSet-Cookie: x=1", "https://app.ex\nample/cb",
		"https://app.example/cb\x00", "\x00",
		"https://app.example/cb\x00.evil.example", "https://app。example/cb", "https://app．example/cb",
		"https://xn--pp-hia.example/cb",
		"https://аpp.example/cb", "https://app.example/cb\xff", "https://app.example/cb\u200b",
		"\ufeffhttps://app.example/cb", "http://127.0.0.1:9\t/cb", "http://127.0.0.1:9/cb\n",
		"http://127.0.0.1:９/cb", strings.Repeat("https://app.example/cb", 1000),
		"https://app.example/cb"+strings.Repeat("x", 20_000))
}

func TestA06_FragmentIsNotPartOfARedirectURI(t *testing.T) {
	refuseEach(t, management.ClientSpec{}, "https://app.example/cb#f", "https://app.example/cb%23f",
		"https://app.example/cb#", "http://127.0.0.1:9/cb#f", "http://127.0.0.1:9#/cb")
}

func TestA08_LoopbackMatchesAnyPortButNoUserInfo(t *testing.T) {
	for registered, good := range map[string][]string{
		"http://127.0.0.1/cb": {
			"http://127.0.0.1/cb", "http://127.0.0.1:1/cb", "http://127.0.0.1:49152/cb", "http://127.0.0.1:65535/cb",
		},
		"http://127.0.0.1:8000/cb":  {"http://127.0.0.1/cb", "http://127.0.0.1:8000/cb", "http://127.0.0.1:9/cb"},
		"http://[::1]/cb":           {"http://[::1]/cb", "http://[::1]:9/cb"},
		"http://localhost:3000/cb":  {"http://localhost/cb", "http://localhost:9/cb"},
		"http://127.0.0.1":          {"http://127.0.0.1", "http://127.0.0.1:9"},
		"http://127.0.0.1:8000?x=1": {"http://127.0.0.1:9?x=1"},
	} {
		t.Run(registered, func(t *testing.T) {
			r := rig.Memory(t, rig.Options{})
			app := r.App(management.ClientSpec{RedirectURIs: []string{registered}})
			b := r.Browser().SignIn(r.Alice.Email)
			for _, uri := range good {
				sent := altered(app.Params("read"), url.Values{"redirect_uri": {uri}})
				a := ask(b, sent)
				if a.Location != nil && a.Location.Path == "/oauth/consent" {
					a = b.Decide(b.Follow(a), "approve")
				}
				// A registered query stays as it is.
				where := a.Header.Get("Location")
				if a.Status != http.StatusSeeOther || !strings.HasPrefix(where, uri) || a.Param("code") == "" {
					t.Errorf("%s: %d %q %s", uri, a.Status, where, rig.Plain(a.Body))
				}
			}
		})
	}
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"http://127.0.0.1/cb"}}, "http://user:pw@127.0.0.1/cb",
		"http://user@127.0.0.1:9/cb", "http://@127.0.0.1/cb", "http://:@127.0.0.1:9/cb",
		"http://127.0.0.1:/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:00080/cb", "http://127.0.0.1:65536/cb",
		"http://127.0.0.1:-1/cb", "http://127.0.0.1:+80/cb", "http://127.0.0.1:80x/cb",
		"http://127.0.0.1:0x50/cb", "http://127.0.0.1:8_0/cb", "http://127.0.0.1:80:80/cb", "http://127.0.0.1: 80/cb",
		"http://127.0.0.1:99999999999999999999/cb")
}

func TestA09_PlainHTTPDoesNotMatchARegisteredHTTPSLoopback(t *testing.T) {
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"https://127.0.0.1/tls"}}, "http://127.0.0.1:9/tls",
		"http://127.0.0.1/tls", "https://127.0.0.1:9/tls", "https://127.0.0.1:443/tls")
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"http://127.0.0.1/tls"}}, "https://127.0.0.1/tls",
		"https://127.0.0.1:9/tls", "HTTP://127.0.0.1:9/tls")
}

func TestA10_LoopbackPathAndQueryMatchByteForByte(t *testing.T) { // CVE-2020-15233
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"http://127.0.0.1/cb"}}, "http://127.0.0.1/%63b",
		"http://127.0.0.1:9/%63b", "http://127.0.0.1/cb?", "http://127.0.0.1/cb?x",
		"http://127.0.0.1:9/cb?", "http://127.0.0.1:9/cb?x", "http://127.0.0.1:9/cb/", "http://127.0.0.1:9/CB",
		"http://127.0.0.1:9", "http://127.0.0.1:9/", "http://127.0.0.1:9//cb", "http://127.0.0.1:9/cb&x")
	refuseEach(t, management.ClientSpec{RedirectURIs: []string{"http://127.0.0.1/cb?x=1"}}, "http://127.0.0.1:9/cb",
		"http://127.0.0.1:9/cb?x=2", "http://127.0.0.1:9/cb?x=1&y=2", "http://127.0.0.1:9/cb?X=1",
		"http://127.0.0.1:9/cb?x=%31")
}

func TestA11_LoopbackNamesMatchThemselvesAlone(t *testing.T) {
	others := []string{
		"http://127.0.0.2/cb", "http://127.1/cb", "http://0177.0.0.1/cb", "http://[::ffff:127.0.0.1]/cb",
		"http://2130706433/cb", "http://0x7f.0.0.1/cb", "http://127.0.0.1./cb",
		"http://127.000.000.001/cb", "http://0.0.0.0/cb", "http://[::]/cb", "http://[0:0:0:0:0:0:0:1]/cb",
		"http://[::1%25lo]/cb", "http://LOCALHOST/cb", "http://localhost./cb",
		"http://localhost.localdomain/cb", "http://127.0.0.11/cb", "http://127.0.0.2:9/cb", "http://[::1]x/cb",
	}
	names := []string{"http://127.0.0.1/cb", "http://[::1]/cb", "http://localhost/cb"}
	for i, registered := range names {
		t.Run(registered, func(t *testing.T) {
			refuseEach(t, management.ClientSpec{RedirectURIs: []string{registered}},
				append([]string{names[(i+1)%3], names[(i+2)%3], strings.Replace(names[(i+1)%3], "/cb", ":9/cb", 1)}, others...)...)
		})
	}
}

func TestA12_RedirectURIMayBeMissingOnlyWhereOneIsRegistered(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	two, one := r.App(management.ClientSpec{}),
		r.App(management.ClientSpec{RedirectURIs: []string{"https://app.example/only"}})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, missing := range [][]string{nil, {""}} { // an empty value counts as missing (RFC 6749, section 3.1)
		wantPage(t, ask(b, altered(two.Params("read"), url.Values{"redirect_uri": missing})), http.StatusBadRequest)
		a := ask(b, altered(one.Params("read"), url.Values{"redirect_uri": missing}))
		if a.Location != nil && a.Location.Path == "/oauth/consent" {
			a = b.Decide(b.Follow(a), "approve")
		}
		wantCode(t, r, a, one.Params("read"))
	}
	service := r.App(management.ClientSpec{Grants: []string{"client_credentials"}})
	wantPage(t, ask(b, altered(service.Params("read"), url.Values{"redirect_uri": nil})), http.StatusBadRequest)
	wantPage(t, ask(b, altered(service.Params("read"), url.Values{"redirect_uri": {"https://evil.example/cb"}})),
		http.StatusBadRequest)
	wantPage(t,
		ask(b, altered(r.ResourceServer().Params("read"), url.Values{"redirect_uri": {"https://evil.example/cb"}})),
		http.StatusBadRequest)
}

func TestA13_RedirectURISentTwiceGetsAPage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	good, bad := app.Redirect, "https://evil.example/cb"
	for _, pair := range [][]string{{good, bad}, {bad, good}, {good, good}, {good, ""}, {"", good}, {"", bad}} {
		wantPage(t, ask(b, altered(app.Params("read"), url.Values{"redirect_uri": pair})), http.StatusBadRequest)
	}
	// An escaped parameter name is the same name.
	wantPage(t, askRaw(b, app.Params("read").Encode()+"&redirect%5furi="+url.QueryEscape(bad)), http.StatusBadRequest)
}

func TestA14_ParametersOfAPostComeFromItsBodyAlone(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	good := app.Params("read")
	bad := altered(good, url.Values{"redirect_uri": {"https://evil.example/cb"}})
	for query, body := range map[string]url.Values{
		bad.Encode():        good,
		good.Encode():       bad,
		good.Encode() + "&": good,
		"redirect_uri=https%3A%2F%2Fevil.example%2Fcb":   good,
		"redirect_uri=" + url.QueryEscape(good.Encode()): {},
		"x=1": good,
		"redirect_uri=" + url.QueryEscape(app.Redirect): altered(good, url.Values{"redirect_uri": nil}),
	} {
		wantPage(t, b.PostForm("/oauth/authorize?"+query, body, "Sec-Fetch-Site", "cross-site"), http.StatusBadRequest)
	}
	// The body of a GET is ignored.
	q := r.Request(http.MethodGet, "/oauth/authorize", strings.NewReader(good.Encode()), "Content-Type",
		"application/x-www-form-urlencoded")
	wantPage(t, r.Send(r.Program(), q), http.StatusBadRequest)
	// By itself a POST is as good as a GET, from any site (RFC 6749, section 3.1), but only as a form.
	wantConsent(t, b.PostForm("/oauth/authorize", good, "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"))
	for _, kind := range []string{
		"application/json", "multipart/form-data; boundary=x", "text/plain", "",
		"application/x-www-form-urlencoded, text/plain",
	} {
		q := r.Request(http.MethodPost, "/oauth/authorize", strings.NewReader(good.Encode()), "Content-Type", kind)
		wantPage(t, r.Send(r.Program(), q), http.StatusBadRequest)
	}
}

func TestA16_UnknownDisabledAndDeletedClientsLookAlike(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	live, disabled, deleted := r.App(management.ClientSpec{}),
		r.App(management.ClientSpec{Name: "Disabled evil.example"}), r.App(management.ClientSpec{})
	if err := r.Store.DisableClient(r.System(), disabled.ID, "administrator"); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.DeleteClient(r.System(), deleted.ID); err != nil {
		t.Fatal(err)
	}
	unknown := deleted.ID[:len(deleted.ID)-3] + "000"
	b := r.Browser().SignIn(r.Alice.Email)
	first := ""
	for _, id := range []string{
		unknown, disabled.ID, deleted.ID, "app_x", "evil.example", "' OR 1=1 --", "\x00", "\xff", strings.ToUpper(live.ID),
		live.ID + " ", strings.Repeat("x", 10_000),
	} {
		a := ask(b, altered(live.Params("read"), url.Values{"client_id": {id}}))
		wantPage(t, a, http.StatusBadRequest)
		if first == "" {
			first = unvaried(a.Body)
		} else if unvaried(a.Body) != first {
			t.Errorf("client_id %q has a page of its own: %s", id, rig.Plain(a.Body))
		}
	}
	for _, ids := range [][]string{nil, {""}, {live.ID, live.ID}, {live.ID, "evil.example"}, {"", live.ID}} {
		wantPage(t, ask(b, altered(live.Params("read"), url.Values{"client_id": ids})), http.StatusBadRequest)
	}
	wantConsent(t, ask(b, live.Params("read")))
}

// A page that any user could have registered must not be where this server redirects browsers without asking (RFC 9700,
// section 4.11.2): not with prompt=none, and not because of a request that is invalid on purpose.
func TestA18_NoRedirectToAnUnknownApp(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := selfRegistered(t, r, management.ClientSpec{RedirectURIs: []string{"https://evil.example/cb"}})
	broken := map[string]url.Values{
		"scope":         {"scope": {"nonsense"}},
		"response_type": {"response_type": {"token"}},
		"pkce":          {"code_challenge": nil},
		"resource":      {"resource": {"https://x.example"}},
		"prompt":        {"prompt": {"foo"}},
		"repeat":        {"scope": {"read", "read"}},
		"request":       {"request": {"x"}},
		"mode":          {"response_mode": {"fragment"}},
	}
	stranger, alice := r.Browser(), r.Browser().SignIn(r.Alice.Email)
	for name, change := range broken {
		for _, b := range []*rig.Browser{stranger, alice} {
			wantPage(t, ask(b, altered(app.Params("read"), change)), http.StatusBadRequest)
			if name != "prompt" {
				change = altered(change, url.Values{"prompt": {"none"}})
				wantPage(t, ask(b, altered(app.Params("read"), change)), http.StatusBadRequest)
			}
		}
	}
	// A valid request that would need a page.
	wantPage(t, ask(stranger, altered(app.Params("read"), url.Values{"prompt": {"none"}})), http.StatusBadRequest)
	wantPage(t, ask(alice, altered(app.Params("read"), url.Values{"prompt": {"none"}})), http.StatusBadRequest)
	// A user who has allowed the app something has seen where it leads.
	alice.Code(app, "read")
	sent := altered(app.Params("nonsense"), url.Values{"prompt": {"none"}})
	wantRefusal(t, r, ask(alice, sent), sent, "invalid_scope")
	sent = app.Params("nonsense")
	wantRefusal(t, r, ask(alice, sent), sent, "invalid_scope")
	sent = altered(app.Params("read write"), url.Values{"prompt": {"none"}})
	wantRefusal(t, r, ask(alice, sent), sent, "consent_required")
	wantPage(t, ask(stranger, sent), http.StatusBadRequest)
	bob := r.Browser().SignIn(r.User("bob@example.com", "Bob", false).Email)
	wantPage(t, ask(bob, sent), http.StatusBadRequest)
	// An administrator has verified the app.
	spec := management.SpecOf(app.Client)
	spec.Administrator, spec.Verified = true, true
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, spec); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, r, ask(bob, sent), sent, "consent_required")
	wantRefusal(t, r, ask(stranger, sent), sent, "login_required")
}

// Nor because of a request that was valid at first and that the app's owner made invalid while the page was open.
func TestA18_NoRedirectByAFlowThatBecameInvalid(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := selfRegistered(t, r, management.ClientSpec{RedirectURIs: []string{"https://evil.example/cb"}})
	alice := r.Browser().SignIn(r.Alice.Email)
	page := alice.Authorize(app.Params("read write"))
	flow := alice.Form(page, "/oauth/consent").Get("flow")
	spec := management.SpecOf(app.Client)
	spec.Scopes = []string{"read"}
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, spec); err != nil {
		t.Fatal(err)
	}
	wantPage(t, alice.Get("/oauth/consent?flow="+flow), http.StatusBadRequest)
	wantPage(t, alice.Get("/login?flow="+flow), http.StatusBadRequest)
	wantPage(t, alice.Decide(page, "approve"), http.StatusBadRequest)
}

func TestA19_FormsAreAnsweredWith303(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	for _, decision := range []string{"deny", "approve"} {
		b := r.Browser()
		page := b.Authorize(app.Params("read"))
		a := b.LogIn(page, r.Alice.Email)
		if a.Status != http.StatusSeeOther {
			t.Errorf("the login form was answered with %d, want 303", a.Status)
		}
		a = b.Decide(b.Follow(a), decision)
		answerFor(t, r, a, app.Params("read"))
	}
	// If no question is left, the answer to the login form is the redirect to the app.
	b := r.Browser()
	b.SignIn(r.Alice.Email).Code(app, "read")
	sent := altered(app.Params("read"), url.Values{"prompt": {"login"}})
	wantCode(t, r, b.LogIn(b.Authorize(sent), r.Alice.Email), sent)
}
