package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// pushed pushes the request of a client with a secret, or of a public one, and gives the request_uri.
func pushed(r *rig.Rig, app *rig.App, params url.Values) string {
	r.T.Helper()
	a := r.PostAs(app, "/oauth/par", params)
	uri := a.Text("request_uri")
	if a.Status != http.StatusCreated || !strings.HasPrefix(uri, "urn:ietf:params:oauth:request_uri:") ||
		a.JSON()["expires_in"] != 60.0 {
		r.T.Fatalf("PAR answered %d %s", a.Status, a.Body)
	}
	return uri
}

// wantUsed checks the page for a request_uri that cannot be used.
func wantUsed(t *testing.T, a *rig.Answer) {
	t.Helper()
	wantPage(t, a, http.StatusBadRequest)
	if !strings.Contains(rig.Plain(a.Body), "This sign-in was already used, or has expired.") {
		t.Errorf("the page says %s", rig.Plain(a.Body))
	}
}

func pushedRows(t *testing.T, r *rig.Rig) (n int) {
	t.Helper()
	ok(t, r.Store.Pools()["system"].QueryRowContext(t.Context(), `SELECT count(*) FROM pushed_requests`).Scan(&n))
	return n
}

// The endpoint takes the parameters from the body of a POST of an authenticated client, and nothing else.
func TestA54_PushingNeedsTheClient(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, other, public := r.App(management.ClientSpec{}), r.App(management.ClientSpec{}), publicApp(r)
	signed, key := r.SignedApp(management.ClientSpec{})
	params := app.Params("read")
	for name, a := range map[string]*rig.Answer{
		"no authentication":   r.Post("/oauth/par", params),
		"a wrong secret":      r.PostAs(&rig.App{Client: app.Client, Secret: wrongSecret}, "/oauth/par", params),
		"another client":      r.PostAs(&rig.App{Client: app.Client, Secret: other.Secret}, "/oauth/par", params),
		"an unknown client":   r.Post("/oauth/par", with(params, "client_id", "app_x")),
		"no client":           r.Post("/oauth/par", with(params, "client_id", "")),
		"a public one's":      r.Post("/oauth/par", with(public.Params("read"), "client_secret", app.Secret)),
		"an assertion's lack": r.Post("/oauth/par", signed.Params("read")),
		"another's assertion": r.Post("/oauth/par", rig.Asserted(with(signed.Params("read"), "client_id", ""),
			r.Assertion(signed, rig.NewKey(t, key.ID)))),
		"an assertion for PAR": r.PostSigned(signed, key, "/oauth/par", signed.Params("read")), // a right one, below
	} {
		if name == "an assertion for PAR" {
			if a.Status != http.StatusCreated {
				t.Errorf("%s: answered %d %s", name, a.Status, a.Body)
			}
			continue
		}
		t.Run(name, func(t *testing.T) { refused(t, a, http.StatusUnauthorized, oauth.InvalidClient) })
	}
	// The client in the body is the one that authenticates, or is left out.
	refused(t, r.Post("/oauth/par", with(params, "client_id", other.ID), "Authorization", rig.Basic(app.ID, app.Secret)),
		http.StatusBadRequest, oauth.InvalidRequest)
	pushed(r, app, with(params, "client_id", ""))
	refused(t, r.PostSigned(signed, key, "/oauth/par", params), http.StatusUnauthorized, oauth.InvalidClient)

	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		a := r.Send(r.Program(), r.Request(method, "/oauth/par?"+params.Encode(), nil))
		if a.Status != http.StatusMethodNotAllowed || !strings.Contains(a.Header.Get("Allow"), "POST") {
			t.Errorf("%s: answered %d, Allow %q", method, a.Status, a.Header.Get("Allow"))
		}
	}
	for name, a := range map[string]*rig.Answer{
		"a request_uri":          r.PostAs(app, "/oauth/par", with(params, "request_uri", "https://"+strangerHost)),
		"a pushed request_uri":   r.PostAs(app, "/oauth/par", with(params, "request_uri", pushed(r, app, params))),
		"a request_uri alone":    r.PostAs(app, "/oauth/par", url.Values{"request_uri": {pushed(r, app, params)}}),
		"a query":                r.PostAs(app, "/oauth/par?x=y", params),
		"a parameter twice":      r.PostAs(app, "/oauth/par", altered(params, url.Values{"scope": {"read", "write"}})),
		"bytes that are no text": r.PostAs(app, "/oauth/par", with(params, "nonce", "\xff")),
	} {
		t.Run(name, func(t *testing.T) { refused(t, a, http.StatusBadRequest, oauth.InvalidRequest) })
	}
	if a := postJSON(r, "/oauth/par", asJSON(t, public.Params("read"))); a.Status != http.StatusCreated {
		t.Errorf("JSON is answered %d %s", a.Status, a.Body)
	}
	machineHeaders(t, r.PostAs(public, "/oauth/par", public.Params("read")))
}

// What the authorization endpoint refuses is refused when it is pushed, with the same code, and is not stored.
func TestA54_AWrongRequestIsRefusedWhenItIsPushed(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, machine := r.App(management.ClientSpec{FirstParty: true}), robot(r)
	optional := r.App(management.ClientSpec{FirstParty: true, PKCEOptional: true})
	b := r.Browser().SignIn(r.Alice.Email)
	before := pushedRows(t, r)
	for name, change := range map[string]url.Values{
		"redirect URI of another": {"redirect_uri": {"https://" + strangerHost + "/cb"}},
		"no redirect URI":         {"redirect_uri": nil},
		"no response type":        {"response_type": nil}, "response type token": {"response_type": {"token"}},
		"response mode": {"response_mode": {"fragment"}}, "no challenge": {"code_challenge": nil},
		"no method": {"code_challenge_method": nil}, "method plain": {"code_challenge_method": {"plain"}},
		"no PKCE": {"code_challenge": nil, "code_challenge_method": nil}, "short challenge": {"code_challenge": {"x"}},
		"unknown scope": {"scope": {"read nothing"}}, "scope of others": {"scope": {"admin"}},
		"openid": {"scope": {"openid"}}, "unknown resource": {"resource": {"https://" + strangerHost}},
		"two resources": {"resource": {r.Issuer, r.Issuer}}, "request object": {"request": {"x"}},
		"prompt": {"prompt": {"unknown"}}, "none and login": {"prompt": {"none login"}},
		"none and selection": {"prompt": {"none select_account"}}, "max_age": {"max_age": {"x"}},
		"a long state": {"state": {strings.Repeat("x", 9000)}}, "dpop_jkt": {"dpop_jkt": {"x"}},
		"authorization_details": {"authorization_details": {"[]"}},
	} {
		t.Run(name, func(t *testing.T) {
			sent := altered(app.Params("read"), change)
			code := ask(b, sent).Param("error")
			if code == "" {
				code = oauth.InvalidRequest // a page
				wantPage(t, ask(b, sent), http.StatusBadRequest)
			}
			refused(t, r.PostAs(app, "/oauth/par", sent), http.StatusBadRequest, code)
		})
	}
	// A client that does not sign users in.
	refused(t, r.PostAs(machine, "/oauth/par", app.Params("read")), http.StatusBadRequest, oauth.InvalidRequest)
	if n := pushedRows(t, r); n != before {
		t.Errorf("%d wrong requests were stored", n-before)
	}
	sent := altered(optional.Params("read"), url.Values{"code_challenge": nil, "code_challenge_method": nil})
	if a := ask(b, optional.Opened(pushed(r, optional, sent))); a.Param("code") == "" {
		t.Errorf("without PKCE: %d %v", a.Status, a.Location)
	}
	refused(t, r.PostAs(app, "/oauth/token", with(ownForm, "authorization_details", "[]")), http.StatusBadRequest,
		oauth.InvalidRequest)
	// Any state comes back byte for byte.
	state := "\x01 é\t&=%"
	a := ask(b, app.Opened(pushed(r, app, with(app.Params("read"), "state", state))))
	if a.Param("code") == "" || a.Param("state") != state || a.Param("iss") != r.Issuer {
		t.Errorf("answered %d %v", a.Status, a.Location)
	}
}

// The front channel cannot add to a pushed request, nor change it (RFC 9126, section 4).
func TestA60_TheFrontChannelChangesNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for _, app := range []*rig.App{publicApp(r), r.App(management.ClientSpec{})} {
		b := r.Browser().SignIn(r.Alice.Email)
		for name, change := range map[string]url.Values{
			"nothing": {}, "state": {"state": {"evil"}}, "scope": {"scope": {"read write delete"}},
			"redirect_uri": {"redirect_uri": {"http://127.0.0.1/cb"}}, "prompt": {"prompt": {"none"}},
			"challenge": {"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"}},
			"no PKCE":   {"code_challenge_method": {"plain"}}, "response_type": {"response_type": {"token"}},
			"response_mode": {"response_mode": {"fragment"}}, "resource": {"resource": {"https://" + strangerHost}},
			"request": {"request": {"e30.e30.e30"}}, "dpop_jkt": {"dpop_jkt": {rig.NewKey(t, "").Thumbprint()}},
			"max_age": {"max_age": {"0"}}, "authorization_details": {"authorization_details": {"[]"}},
			"twice": {"scope": {"write", "delete"}, "state": {"a", "b"}},
		} {
			t.Run(name, func(t *testing.T) {
				opened := altered(app.Opened(pushed(r, app, with(app.Params("read"), "state", "mine"))), change)
				a := b.Authorize(opened)
				if a.Location == nil {
					a = b.Decide(a, "approve")
				}
				if a.Location == nil || a.Param("state") != "mine" ||
					!strings.HasPrefix(a.Location.String(), "https://app.example/cb?") {
					t.Fatalf("answered %d %v %s", a.Status, a.Location, rig.Plain(a.Body))
				}
				got := r.Exchange(app, a.Param("code"))
				if granted(t, got); got.Text("scope") != "read" {
					t.Errorf("the scope is %q", got.Text("scope"))
				}
			})
		}
		// Parameters in the query with a POST are refused as ever.
		opened := app.Opened(pushed(r, app, app.Params("read")))
		wantPage(t, b.PostForm("/oauth/authorize?"+opened.Encode(), opened), http.StatusBadRequest)
		wantPage(t, ask(b, altered(opened, url.Values{"request_uri": {opened.Get("request_uri"), "x"}})),
			http.StatusBadRequest)
		wantPage(t, ask(b, altered(opened, url.Values{"client_id": nil})), http.StatusBadRequest)
		if a := b.PostForm("/oauth/authorize", opened); a.Param("code") == "" {
			t.Errorf("sent by POST it is answered %d %v", a.Status, a.Location)
		}
	}
}

func TestA55_ARequestURIBelongsToItsClient(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, other := r.App(management.ClientSpec{}), r.App(management.ClientSpec{FirstParty: true})
		b := r.Browser().SignIn(r.Alice.Email)
		uri := pushed(r, app, app.Params("read"))
		for range 2 {
			wantUsed(t, ask(b, other.Opened(uri)))
			wantUsed(t, ask(r.Browser(), other.Opened(uri)))
		}
		for _, wrong := range []string{
			uri + "x", uri[:len(uri)-1], strings.ToUpper(uri), mistyped(uri), "urn:ietf:params:oauth:request_uri:",
		} {
			a := ask(b, app.Opened(wrong))
			if a.Param("code") != "" || a.Location != nil && a.Param("error") != oauth.RequestURINotSupported {
				t.Errorf("%q is answered %d %v", wrong, a.Status, a.Location)
			}
		}
		granted(t, r.Exchange(app, b.Allow(app, uri)))
	})
}

// A request_uri is used up by the code, not by the visit: the user may open it again before.
func TestA56_ARequestURIIsUsedUpByTheCode(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		uri := pushed(r, app, app.Params("read"))
		b, second := r.Browser(), r.Browser().SignIn(r.Alice.Email)
		first, again := ask(b, app.Opened(uri)), ask(b, app.Opened(uri))
		wantLogin(t, first)
		wantLogin(t, again)
		waiting := second.Authorize(app.Opened(uri)) // the page of consent
		page := b.Follow(b.LogIn(b.Follow(first), r.Alice.Email))
		done := b.Decide(page, "approve")
		if done.Param("code") == "" {
			t.Fatalf("answered %d %v %s", done.Status, done.Location, rig.Plain(done.Body))
		}
		for _, b := range []*rig.Browser{b, second, r.Browser()} {
			wantUsed(t, ask(b, app.Opened(uri)))
		}
		// Pages that were open already.
		wantUsed(t, second.Decide(waiting, "approve"))
		wantUsed(t, second.Decide(waiting, "deny"))
		if a := b.Follow(b.Get(again.Location.RequestURI())); a.Param("code") != "" && a.Param("code") != done.Param("code") {
			t.Errorf("the other page gave another code: %v", a.Location)
		}
		if n := grantCount(t, r); n != 1 {
			t.Errorf("there are %d grants", n)
		}
		// The form that gave the code may be sent twice, as ever.
		if a := b.Decide(page, "approve"); a.Param("code") != done.Param("code") {
			t.Errorf("sent twice, it is answered %d %v", a.Status, a.Location)
		}
		granted(t, r.Exchange(app, done.Param("code")))

		// A refusal is an answer too.
		uri = pushed(r, app, app.Params("read write"))
		page = b.Authorize(app.Opened(uri))
		if a := b.Decide(page, "deny"); a.Param("error") != oauth.AccessDenied {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		wantUsed(t, ask(b, app.Opened(uri)))
		// An error that only the app is told is none, and neither is one for prompt=none.
		uri = pushed(r, app, with(app.Params("read"), "prompt", "none"))
		if a := ask(r.Browser(), app.Opened(uri)); a.Param("code") != "" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		if a := ask(b, app.Opened(uri)); a.Param("code") == "" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		wantUsed(t, ask(b, app.Opened(uri)))
	})
}

// Of many answers to one request_uri at once, one gives a code: where a page was shown, and where none is needed.
func TestA56_ManyAnswersAtOnceGiveOneCode(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, own := r.App(management.ClientSpec{}), r.App(management.ClientSpec{FirstParty: true})
		b := r.Browser().SignIn(r.Alice.Email)
		browsers := []*rig.Browser{b}
		for _, n := range nodes[1:] {
			browsers = append(browsers, n.Browser().WithCookiesOf(b))
		}
		count := func(name string, answers []*rig.Answer) {
			t.Helper()
			codes := 0
			for _, a := range answers {
				if a.Param("code") != "" {
					codes++
					continue
				}
				wantUsed(t, a)
			}
			if codes != 1 {
				t.Errorf("%s: %d codes", name, codes)
			}
		}
		answers := make([]*rig.Answer, crowd)
		uri := pushed(r, own, own.Params("read"))
		rig.AtOnce(crowd, func(i int) { answers[i] = ask(browsers[i%len(browsers)], own.Opened(uri)) })
		count("without a page", answers)

		uri = pushed(r, app, app.Params("read"))
		flows, forms := make([]*rig.Browser, crowd), make([]url.Values, crowd)
		for i := range flows { // of one session: a browser keeps few flows at a time
			flows[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
			forms[i] = with(flows[i].Form(flows[i].Authorize(app.Opened(uri)), "/oauth/consent"), "decision", "approve")
		}
		rig.AtOnce(crowd, func(i int) { answers[i] = flows[i].PostForm("/oauth/consent", forms[i]) })
		count("with a page", answers)
		if n := grantCount(t, r); n != 2 {
			t.Errorf("there are %d grants", n)
		}
	})
}

// A request_uri begins a sign-in for a minute. A user who began in time may take ten, even while old rows are deleted.
func TestA58_ARequestURIEnds(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, own := r.App(management.ClientSpec{}), r.App(management.ClientSpec{FirstParty: true})
		b := r.Browser().SignIn(r.Alice.Email)
		r.StopClock()
		ended, inTime, late := pushed(r, own, own.Params("read")), pushed(r, app, app.Params("read")),
			pushed(r, app, app.Params("read"))
		r.Advance(59 * time.Second)
		page := b.Authorize(app.Opened(inTime))
		tooLate := r.Browser()
		latePage := tooLate.SignIn(r.Alice.Email).Authorize(app.Opened(late))
		r.Advance(2 * time.Second)
		for _, b := range []*rig.Browser{b, r.Browser()} {
			wantUsed(t, ask(b, own.Opened(ended)))
			wantUsed(t, ask(b, app.Opened(inTime)))
		}
		r.Advance(9*time.Minute + 57*time.Second)
		_, err := r.Store.Purge(r.System(), r.OAuth.Retention())
		ok(t, err)
		wantUsed(t, ask(b, own.Opened(ended))) // the same page as before
		granted(t, r.Exchange(app, b.Decide(page, "approve").Param("code")))
		r.Advance(2 * time.Second)
		if a := tooLate.Decide(latePage, "approve"); a.Param("code") != "" {
			t.Errorf("after more than ten minutes, it is answered %d %v", a.Status, a.Location)
		}
		r.Advance(2 * time.Minute)
		_, err = r.Store.Purge(r.System(), r.OAuth.Retention())
		ok(t, err)
		if n := pushedRows(t, r); n != 0 {
			t.Errorf("%d old requests are kept", n)
		}
		wantUsed(t, ask(b, app.Opened(inTime)))
	})
}

// A client that must push its requests gets a page for any other.
func TestA59_AClientThatMustPush(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{PushedRequestsOnly: true, FirstParty: true})
	public := r.App(management.ClientSpec{PushedRequestsOnly: true, Public: true})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, app := range []*rig.App{app, public} {
		for name, change := range map[string]url.Values{
			"plain parameters": {}, "prompt=none": {"prompt": {"none"}}, "request": {"request": {"x"}},
			"a foreign request_uri": {"request_uri": {"https://" + strangerHost + "/request"}},
			"wrong parameters":      {"response_type": {"token"}},
		} {
			t.Run(name, func(t *testing.T) {
				for _, b := range []*rig.Browser{b, r.Browser()} {
					a := ask(b, altered(app.Params("read"), change))
					wantPage(t, a, http.StatusBadRequest)
					if !strings.Contains(rig.Plain(a.Body), "push") {
						t.Errorf("the page says %s", rig.Plain(a.Body))
					}
				}
			})
		}
		granted(t, r.Exchange(app, b.Allow(app, pushed(r, app, app.Params("read")))))
	}
	if n := grantCount(t, r); n != 2 {
		t.Errorf("there are %d grants", n)
	}
	// From when its registration says so.
	later := r.App(management.ClientSpec{FirstParty: true})
	if a := ask(b, later.Params("read")); a.Param("code") == "" {
		t.Errorf("answered %d %v", a.Status, a.Location)
	}
	change(r, later, func(p *management.ClientSpec) { p.PushedRequestsOnly = true })
	wantPage(t, ask(b, later.Params("read")), http.StatusBadRequest)
}

// A pushed request is answered for the client and the scopes as they are when the user answers.
func TestA54_AChangedClientChangesItsPushedRequests(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for name, alter := range map[string]func(app *rig.App){
		"scope": func(app *rig.App) { change(r, app, func(p *management.ClientSpec) { p.Scopes = []string{"write"} }) },
		"redirect URI": func(app *rig.App) {
			change(r, app, func(p *management.ClientSpec) { p.RedirectURIs = []string{"https://app.example/new"} })
		},
		"disabled": func(app *rig.App) {
			ok(t, r.Management.DisableClient(r.System(), management.CLI(""), app.ID))
		},
	} {
		app := r.App(management.ClientSpec{FirstParty: true})
		uri := pushed(r, app, app.Params("read"))
		alter(app)
		if a := ask(b, app.Opened(uri)); a.Param("code") != "" || a.Location == nil && a.Status != http.StatusBadRequest {
			t.Errorf("%s: answered %d %v", name, a.Status, a.Location)
		}
	}
	if n := grantCount(t, r); n != 0 {
		t.Errorf("there are %d grants", n)
	}
}

// A flood of pushed requests is refused, for each client by itself, and for a public one by address too.
func TestA54_AFloodOfPushedRequestsIsRefused(t *testing.T) {
	o := rig.Options{
		Tokens: &oauth.TokenLimits{ClientRequests: 5, ClientLive: 100}, TrustedProxies: gatewayOptions(t).TrustedProxies,
	}
	r := rig.Memory(t, o)
	r.StopClock()
	app, public, other := r.App(management.ClientSpec{}), publicApp(r), r.App(management.ClientSpec{})
	from := func(app *rig.App, address string) *rig.Answer {
		return r.PostAs(app, "/oauth/par", app.Params("read"), "X-Forwarded-For", address)
	}
	for _, app := range []*rig.App{app, public} {
		for range 5 {
			if a := from(app, "192.0.2.1"); a.Status != http.StatusCreated {
				t.Fatalf("answered %d %s", a.Status, a.Body)
			}
		}
		before := pushedRows(t, r)
		a := from(app, "192.0.2.1")
		refused(t, a, http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
		if a.Header.Get("Retry-After") == "" || pushedRows(t, r) != before {
			t.Errorf("Retry-After %q, %d rows more", a.Header.Get("Retry-After"), pushedRows(t, r)-before)
		}
	}
	refused(t, from(app, "192.0.2.2"), http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
	for _, x := range []struct {
		app     *rig.App
		address string
	}{
		{public, "192.0.2.2"},
		{other, "192.0.2.1"},
		{public, "2001:db8::1"},
		{public, "2001:db8::2"},
		{public, "2001:db8::3"},
		{public, "2001:db8::4"},
		{public, "2001:db8::5"},
	} {
		if a := from(x.app, x.address); a.Status != http.StatusCreated {
			t.Errorf("answered %d %s", a.Status, a.Body)
		}
	}
	// A visitor has a whole network of IPv6.
	refused(t, from(public, "2001:db8::6"), http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
	r.Advance(time.Minute)
	if a := from(app, "192.0.2.1"); a.Status != http.StatusCreated {
		t.Errorf("a minute later, answered %d %s", a.Status, a.Body)
	}
}

// The request_uri stands for a request that may be answered: the log does not show it, wherever it was sent.
func TestA54_TheLogHidesTheRequestURI(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	uri := pushed(r, app, app.Params("read"))
	secret := uri[strings.LastIndex(uri, ":")+1:]
	b := r.Browser()
	ask(b, app.Opened(uri))
	ask(b, url.Values{"client_id": {uri}, "request_uri": {uri}})
	ask(b, with(app.Params("read"), "redirect_uri", "https://"+strangerHost+"/"+uri))
	b.Get("/login", "Referer", r.URL+"/oauth/authorize?"+app.Opened(uri).Encode(), "User-Agent", uri)
	r.PostAs(app, "/oauth/par", url.Values{"request_uri": {uri}})
	r.Post("/oauth/token", url.Values{"grant_type": {uri}, "client_id": {uri}})
	r.Exchange(app, secret)
	if strings.Contains(r.Log.String(), secret[len(secret)-20:]) {
		t.Errorf("the log shows the request_uri: %s", r.Log.String())
	}
}
