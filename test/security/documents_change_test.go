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

// Documents that change: their keys, and what users were told.

// expire lets all copies of documents end on all nodes.
func expire(nodes ...*rig.Rig) {
	for _, n := range nodes {
		n.Advance(time.Hour + time.Second)
	}
}

// A client authenticates with the keys of its document, at each endpoint and from the first request on.
func TestD12_AClientAuthenticatesWithTheKeysOfItsDocument(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		key, stranger := rig.NewKey(t, "key-1"), rig.NewKey(t, "key-1")
		app := h.signedDocument("/"+r.Store.Engine(), key)
		b := r.Browser().SignIn(r.Alice.Email)
		refused(t, r.PostSigned(app, stranger, "/oauth/par", app.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
		refused(t, r.Post("/oauth/par", app.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
		refused(t, r.Post("/oauth/par", with(app.Params("read"), "client_secret", wrongSecret)), http.StatusUnauthorized,
			oauth.InvalidClient)
		code := b.Allow(app, r.Push(app, key, app.Params("read")))
		refused(t, r.Exchange(&rig.App{Client: publicOf(app), Redirect: app.Redirect}, code), http.StatusUnauthorized,
			oauth.InvalidClient)
		refused(t, r.ExchangeSigned(app, stranger, nil, code), http.StatusUnauthorized, oauth.InvalidClient)
		access, refresh := granted(t, r.ExchangeSigned(app, key, nil, code))
		refused(t, r.RefreshSigned(app, stranger, nil, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		_, refresh = granted(t, r.RefreshSigned(app, key, nil, refresh))
		assertion := r.Assertion(app, key)
		if a := asking.asserted(r, assertion); a.Status != http.StatusOK {
			t.Errorf("introspection: %d %s", a.Status, a.Body)
		}
		refused(t, asking.asserted(r, assertion), http.StatusUnauthorized, oauth.InvalidClient) // used once
		refused(t, asking.asserted(r, r.Assertion(app, key, rig.Members{"aud": r.Issuer + "/oauth/token"})),
			http.StatusUnauthorized, oauth.InvalidClient)
		if a := r.PostSigned(app, key, "/oauth/revoke", url.Values{"token": {refresh}}); a.Status != http.StatusOK {
			t.Errorf("revocation: %d %s", a.Status, a.Body)
		}
		dead(t, r, app, introspecting(r, openAPI), access, "")
		if a := r.PostSigned(app, key, "/oauth/token", ownForm); a.Status == http.StatusOK {
			t.Errorf("client_credentials is answered %s", a.Body)
		}
	})
}

// A key that the copy does not have is looked for at once, and then every 30 seconds, whoever made it up.
func TestD12_AnUnknownKeyFetchesAgain(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, fromAnywhere(h.options()), func(t *testing.T, r *rig.Rig) {
		r.StopClock()
		path := "/" + r.Store.Engine()
		old, current, newest := rig.NewKey(t, "key-1"), rig.NewKey(t, "key-2"), rig.NewKey(t, "key-3")
		app := h.signedDocument(path, old)
		b := r.Browser().SignIn(r.Alice.Email)
		allow := func(key *rig.Key) (refresh string) {
			_, refresh = granted(t, r.ExchangeSigned(app, key, nil, b.Allow(app, r.Push(app, key, app.Params("read")))))
			return refresh
		}
		refresh := allow(old)
		if n := h.fetches(path); n != 1 {
			t.Errorf("%d fetches", n)
		}
		r.Advance(time.Second)
		h.signedDocument(path, old, current)
		_, refresh = granted(t, r.RefreshSigned(app, current, nil, refresh))
		_, refresh = granted(t, r.RefreshSigned(app, old, nil, refresh))
		if n := h.fetches(path); n != 2 {
			t.Errorf("with a new key: %d fetches, want 2", n)
		}
		// A flood of made-up keys causes no more.
		made := func(i int) {
			k := &rig.Key{ID: fmt.Sprint("made up ", i), Algorithm: old.Algorithm, Private: old.Private}
			a := r.PostSigned(app, k, "/oauth/token", refreshForm("x"), "X-Forwarded-For", fmt.Sprint("198.51.100.", i+1))
			refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
		}
		for i := range 20 {
			made(i)
		}
		if n := h.fetches(path); n != 2 {
			t.Errorf("with made-up keys: %d fetches, want 2", n)
		}
		h.signedDocument(path, newest)
		refused(t, r.RefreshSigned(app, newest, nil, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		r.Advance(30 * time.Second)
		_, refresh = granted(t, r.RefreshSigned(app, newest, nil, refresh))
		if n := h.fetches(path); n != 3 {
			t.Errorf("after 30 seconds: %d fetches, want 3", n)
		}
		for _, gone := range []*rig.Key{old, current} {
			refused(t, r.RefreshSigned(app, gone, nil, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		}
		// The same before any user has allowed the client. Here the fetches of strangers are counted as well.
		fresh := h.signedDocument(path+"/new", old)
		r.Push(fresh, old, fresh.Params("read"))
		r.Advance(time.Second)
		h.signedDocument(path+"/new", current)
		r.Push(fresh, current, fresh.Params("read"))
		if n := h.fetches(path + "/new"); n != 2 {
			t.Errorf("PAR with a new key: %d fetches, want 2", n)
		}
		refused(t, r.PostSigned(fresh, old, "/oauth/par", fresh.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
		if n := h.fetches(path + "/new"); n != 2 {
			t.Errorf("PAR with an old key: %d fetches, want 2", n)
		}
	})
}

// said is the text of a page, without the spaces that Plain leaves between elements.
func said(page *rig.Answer) string { return spaced.ReplaceAllString(rig.Plain(page.Body), "$1") }

var spaced = regexp.MustCompile(` ?([“”]) ?`)

// changedPage is what the consent page says about a client that has changed.
const changedPage = "This app has changed since you allowed it"

// A user who has allowed a client is asked again, and shown the difference, when its name, redirect URIs or keys have
// changed, and not for another reason. The old grants go on.
func TestD12_AChangeIsShownAndAskedAbout(t *testing.T) {
	h := newDocumentHost(t)
	key, other := rig.NewKey(t, "key-1"), rig.NewKey(t, "key-2")
	rig.EachNodes(t, h.options(), func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		b := r.Browser().SignIn(r.Alice.Email)
		at := last.Browser().WithCookiesOf(b)
		base := rig.Members{"redirect_uris": []string{"https://app.example/cb", "https://b.example/cb"}}
		for i, x := range []struct {
			what  string
			to    rig.Members
			shown []string // nil: it is not asked about
		}{
			{"the name", rig.Members{"client_name": "Renamed"}, []string{"It was called“Described”."}},
			{"a further redirect", rig.Members{
				"redirect_uris": []string{"https://app.example/cb", "https://b.example/cb", "https://c.example/cb"},
			}, []string{"It can now send you to https://c.example/cb"}},
			{
				"a removed redirect",
				rig.Members{"redirect_uris": []string{"https://app.example/cb"}},
				[]string{"It cannot send you any more to https://b.example/cb"},
			},
			{
				"another redirect",
				rig.Members{"redirect_uris": []string{"https://app.example/cb", "https://b.example/CB"}},
				[]string{"now send you to https://b.example/CB", "any more to https://b.example/cb"},
			},
			{"keys", withKeys(key), []string{"It proves who it is with other keys."}},
			{"the order of redirects", rig.Members{
				"redirect_uris": []string{"https://b.example/cb", "https://app.example/cb"},
			}, nil},
			{"its site", rig.Members{"client_uri": "https://new.example"}, nil},
			{"its logo", rig.Members{"logo_uri": "https://new.example/logo.png"}, nil},
			{"its terms", rig.Members{"tos_uri": "https://new.example/tos", "policy_uri": "https://new.example/policy"}, nil},
			{"the order of its members", rig.Members{"a": 1, "z": 2}, nil},
		} {
			path := fmt.Sprintf("/%s/%d", strings.ReplaceAll(t.Name(), " ", "_"), i)
			app := h.describe(path, base)
			_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
			if a := b.Authorize(app.Params("read")); a.Param("code") == "" {
				t.Fatalf("%s: the consent is not remembered: %d %s", x.what, a.Status, rig.Plain(a.Body))
			}
			h.describe(path, base.With(x.to))
			expire(nodes...)
			params := app.Params("read")
			none := ask(at, altered(params, url.Values{"prompt": {"none"}}))
			page := at.Authorize(params)
			if x.shown == nil {
				if none.Param("code") == "" || page.Param("code") == "" {
					t.Errorf("%s: %v, %d %s", x.what, none.Location, page.Status, rig.Plain(page.Body))
				}
				continue
			}
			if none.Param("error") != oauth.ConsentRequired && none.Status != http.StatusBadRequest {
				t.Errorf("%s: prompt=none is answered %d %v", x.what, none.Status, none.Location)
			}
			text := said(page)
			for _, want := range append(x.shown, changedPage) {
				if !strings.Contains(text, want) {
					t.Errorf("%s: the page lacks %q: %s", x.what, want, text)
				}
			}
			if !app.Public || x.what != "keys" {
				granted(t, r.Refresh(app, refresh)) // the old grant goes on
			}
			at.Decide(page, "approve")
			for _, again := range []*rig.Browser{at, b} {
				if a := again.Authorize(params); a.Param("code") == "" {
					t.Errorf("%s: once it is allowed, the page is shown again: %s", x.what, rig.Plain(a.Body))
				}
			}
		}
		// One that changes its keys.
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_") + "/keys"
		app := h.signedDocument(path, key)
		granted(t, r.ExchangeSigned(app, key, nil, b.Code(app, "read")))
		h.signedDocument(path, other)
		expire(nodes...)
		if page := at.Authorize(app.Params("read")); !strings.Contains(rig.Plain(page.Body), "with other keys") {
			t.Errorf("other keys: %d %s", page.Status, rig.Plain(page.Body))
		}
	})
}

// What a document says when the user answers is what they were shown: otherwise the answer does not count, on whichever
// node it arrives.
func TestD12_AChangeWhileThePageIsOpen(t *testing.T) {
	h := newDocumentHost(t)
	rig.EachNodes(t, h.options(), func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		b := r.Browser().SignIn(r.Alice.Email)
		at := last.Browser().WithCookiesOf(b)
		uris := rig.Members{"redirect_uris": []string{"https://app.example/cb", "https://b.example/cb"}}
		for i, to := range []rig.Members{
			{"client_name": "Another"},
			{"redirect_uris": []string{"https://app.example/cb", "https://evil.example/cb"}},
			withKeys(rig.NewKey(t, "key-1")),
		} {
			path := fmt.Sprintf("/%s/%d", strings.ReplaceAll(t.Name(), " ", "_"), i)
			app := h.describe(path, uris)
			page := b.Authorize(app.Params("read"))
			form := b.Form(page, "/oauth/consent")
			h.describe(path, uris.With(to))
			for _, n := range nodes {
				n.Advance(5 * time.Minute) // the flow lasts ten
			}
			at.WithCookiesOf(b)
			a := at.PostForm("/oauth/consent", with(form, "decision", "approve"))
			wantPage(t, a, http.StatusForbidden)
			if !strings.Contains(rig.Plain(a.Body), "This app has changed while the page was open.") {
				t.Errorf("%d: %d %s", i, a.Status, rig.Plain(a.Body))
			}
			if n := rowsOf(t, r, "grants", "client_id = $1", app.ID) + rowsOf(t, r, "consents", "client_id = $1", app.ID); n != 0 {
				t.Errorf("%d: %d grants and consents", i, n)
			}
			// The page is shown again, and can be answered.
			page = at.Get("/oauth/consent?flow=" + url.QueryEscape(form.Get("flow")))
			if a := at.Decide(page, "approve"); a.Param("code") == "" {
				t.Errorf("%d: the page shown again: %d %s", i, a.Status, rig.Plain(a.Body))
			}
			// A denial counts, whatever the page said.
			h.describe(path+"/deny", uris)
			denied := h.describe(path+"/deny", uris)
			form = b.Form(b.Authorize(denied.Params("read")), "/oauth/consent")
			h.describe(path+"/deny", uris.With(to))
			for _, n := range nodes {
				n.Advance(5 * time.Minute)
			}
			at.WithCookiesOf(b)
			if a := at.PostForm("/oauth/consent", with(form, "decision", "deny")); a.Param("error") != oauth.AccessDenied {
				t.Errorf("%d: a denial: %d %s", i, a.Status, rig.Plain(a.Body))
			}
		}
		// The redirect URI that the request names is gone when the user answers.
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_") + "/gone"
		app := h.describe(path, uris)
		form := b.Form(b.Authorize(app.Params("read")), "/oauth/consent")
		h.describe(path, rig.Members{"redirect_uris": []string{"https://b.example/cb"}})
		for _, n := range nodes {
			n.Advance(5 * time.Minute)
		}
		at.WithCookiesOf(b)
		wantPage(t, at.PostForm("/oauth/consent", with(form, "decision", "approve")), http.StatusBadRequest)
	})
}

// Each user is asked about a change once, and permissions that they gave to the app as it was do not count for it as it
// is now.
func TestD12_AChangedClientGetsWhatTheUserAllowsItNow(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		path := "/" + r.Store.Engine()
		app := h.describe(path, nil)
		b := r.Browser().SignIn(r.Alice.Email)
		b.Code(app, "read write")
		h.describe(path, rig.Members{"client_name": "Sold to others"})
		expire(r)
		page := b.Authorize(app.Params("read"))
		if !strings.Contains(rig.Plain(page.Body), changedPage) {
			t.Fatalf("the change is not shown: %d %s", page.Status, rig.Plain(page.Body))
		}
		shown := rig.Plain(page.Body)
		b.Decide(page, "approve")
		// The page named reading alone.
		if a := b.Authorize(app.Params("read write")); !isConsent(a) && !strings.Contains(shown, "Change your data") {
			t.Errorf("it gets write without being asked about it: %v", a.Location)
		}
		if a := ask(b, altered(app.Params("write"), url.Values{"prompt": {"none"}})); a.Param("code") != "" {
			t.Errorf("it gets write without a page")
		}
	})
}

// A node whose copy is older than what users have allowed on another does not go back to it: it neither asks again, nor
// sends users where the document does not any more.
func TestD12_AnOlderCopyOfAnotherNodeDoesNotCount(t *testing.T) {
	h := newDocumentHost(t)
	nodes := rig.Nodes(t, h.options(), h.options())
	one, two := nodes[0], nodes[1]
	b := one.Browser().SignIn(one.Alice.Email)
	at := two.Browser().WithCookiesOf(b)
	app := h.describe("/x", rig.Members{"redirect_uris": []string{"https://old.example/cb", "https://app.example/cb"}},
		"Cache-Control", "max-age=3600")
	if a := b.Authorize(app.Params("read")); !isConsent(a) {
		t.Fatalf("%d %s", a.Status, rig.Plain(a.Body))
	}
	for _, n := range nodes {
		n.Advance(time.Minute)
	}
	app = h.describe("/x", rig.Members{"redirect_uris": []string{"https://app.example/cb"}, "client_name": "Newer"},
		"Cache-Control", "max-age=3600")
	granted(t, two.Exchange(app, at.Code(app, "read")))
	if a := b.Authorize(app.Params("read")); a.Param("code") == "" {
		t.Errorf("the other node asks again: %d %s", a.Status, rig.Plain(a.Body))
	}
	old := altered(app.Params("read"), url.Values{"redirect_uri": {"https://old.example/cb"}})
	if a := b.Authorize(old); a.Status != http.StatusBadRequest {
		t.Errorf("the redirect URI that is gone: %d %s", a.Status, rig.Plain(a.Body))
	}
	if c, err := one.Store.ClientByID(one.System(), app.ID); err != nil || c.Name != "Newer" {
		t.Errorf("stored is %q, %v", c.Name, err)
	}
}

// A client that is disabled stays so, whatever its document says and however long that takes; one that is deleted comes
// back only when a user allows it.
func TestD12_ADisabledClientDoesNotComeBack(t *testing.T) {
	h := newDocumentHost(t)
	rig.EachNodes(t, h.options(), func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_")
		app := h.describe(path, nil)
		b := r.Browser().SignIn(r.Alice.Email)
		at := last.Browser().WithCookiesOf(b)
		access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		page := at.Form(at.Authorize(askedAgain(app, "read")), "/oauth/consent")
		code := b.Code(app, "read")
		uri := pushed(r, app, app.Params("read"))
		ok(t, r.Management.DisableClient(r.System(), management.CLI(""), app.ID))
		stopped := func(what string) {
			t.Helper()
			for _, x := range []*rig.Browser{b, at} {
				wantPage(t, ask(x, app.Params("read")), http.StatusBadRequest)
				wantPage(t, ask(x, app.Opened(uri)), http.StatusBadRequest)
				refused(t, x.PostAs(app, "/oauth/par", app.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
				refused(t, x.Exchange(app, code), http.StatusUnauthorized, oauth.InvalidClient)
				refused(t, x.Refresh(app, refresh), http.StatusUnauthorized, oauth.InvalidClient)
			}
			if t.Failed() {
				t.Fatal(what)
			}
			for _, n := range nodes {
				forgetFailures(n)
			}
		}
		stopped("at once")
		if a := at.PostForm("/oauth/consent", with(page, "decision", "approve")); a.Param("code") != "" {
			t.Error("the open page is answered with a code")
		}
		if r.Alive(introspecting(r, openAPI), access) {
			t.Error("its access token is active")
		}
		h.describe(path, rig.Members{"client_name": "Under another name"})
		expire(nodes...)
		stopped("with another document")
		for _, n := range nodes {
			n.Advance(40 * 24 * time.Hour)
		}
		if _, err := r.Store.Purge(r.System(), r.OAuth.Retention()); err != nil {
			t.Fatal(err)
		}
		b.SignIn(r.Alice.Email)
		at.WithCookiesOf(b)
		stopped("after 40 days")
		if n := rowsOf(t, r, "clients", "id = $1 AND disabled_at IS NOT NULL", app.ID); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

// A document and a registration are not one another's.
func TestD12_OffMeansOff(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.Documents = oauth.DocumentHosts{}
	r := rig.Memory(t, o)
	b := r.Browser().SignIn(r.Alice.Email)
	app := h.describe("/x", nil)
	wantRefusedDocument(t, "off", b, app)
	host := strings.TrimPrefix(h.URL, "https://")
	var metadata map[string]any
	ok(t, json.Unmarshal([]byte(b.Get("/.well-known/oauth-authorization-server").Body), &metadata))
	if _, has := metadata["client_id_metadata_document_supported"]; has {
		t.Error("the metadata say that documents are supported")
	}
	if h.fetches("/x") != 0 {
		t.Error("it is fetched")
	}
	// Hosts are compared whole, with their ports.
	o.Documents.Hosts = []string{"other.example", "127.0.0.1", "27.0.0.1" + strings.TrimPrefix(host, "127.0.0.1"), "x" + host}
	r = rig.Memory(t, o)
	wantRefusedDocument(t, "another host", r.Browser().SignIn(r.Alice.Email), app)
	if h.fetches("/x") != 0 {
		t.Error("it is fetched")
	}
	o.Documents.Hosts = []string{"other.example", host}
	r = rig.Memory(t, o)
	b = r.Browser().SignIn(r.Alice.Email)
	if why := allowed(b, app); why != "" {
		t.Error(why)
	}
	ok(t, json.Unmarshal([]byte(b.Get("/.well-known/oauth-authorization-server").Body), &metadata))
	if metadata["client_id_metadata_document_supported"] != true {
		t.Error("the metadata do not say that documents are supported")
	}
}
