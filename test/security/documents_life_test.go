package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
)

// How long documents are kept, how many are fetched, and when their clients are stored.

// Ids are compared byte for byte: what leads to the same document is not the same client, and nothing of one client can
// be used by another whose id looks alike.
func TestD12_IDsAreComparedByteForByte(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	// A host that has one document, whatever it is asked for.
	text := h.document("/client/a")
	h.Config.Handler = asDocument(text)
	of := func(id string) *rig.App {
		app := &rig.App{Redirect: "https://app.example/cb"}
		app.ID, app.Public = id, true
		return app
	}
	if a := b.Authorize(of(h.URL + "/client/a").Params("read")); !isConsent(a) {
		t.Fatalf("the id itself: %d %s", a.Status, rig.Plain(a.Body))
	}
	alike := []string{"/client/a?", "/client/a/", "/client/A", "/client/%61", "//client/a", "/client//a", "/client/a?x", "/client"}
	for _, path := range alike {
		wantPage(t, ask(b, of(h.URL+path).Params("read")), http.StatusBadRequest)
	}
	// A host that has each of them: they are different clients.
	h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asDocument(h.document(q.RequestURI))(w, q)
	})
	one := of(h.URL + "/client/a")
	_, refresh := granted(t, r.Exchange(one, b.Code(one, "read")))
	for _, path := range alike {
		other := of(h.URL + path)
		code := b.Code(one, "read")
		refused(t, r.Exchange(other, code), http.StatusUnauthorized, oauth.InvalidClient) // no user has allowed it
		if a := b.Authorize(other.Params("read")); !isConsent(a) {
			t.Errorf("%s: the consent to another client counts: %d %v", path, a.Status, a.Location)
		} else if a := b.Decide(a, "approve"); a.Param("code") == "" {
			t.Errorf("%s: %d %s", path, a.Status, rig.Plain(a.Body))
		}
		refused(t, r.Exchange(other, code), http.StatusBadRequest, oauth.InvalidGrant)
		refused(t, r.Refresh(other, refresh), http.StatusBadRequest, oauth.InvalidGrant)
		uri := pushed(r, one, one.Params("read"))
		wantUsed(t, ask(b, other.Opened(uri)))
		forgetFailures(r)
	}
	if _, next := granted(t, r.Refresh(one, refresh)); next == "" {
		t.Error("no refresh token")
	}
	if n := describedRows(t, r); n != 1+len(alike) {
		t.Errorf("%d clients, want %d", n, 1+len(alike))
	}
}

// A copy counts as long as the headers of its answer say, between five minutes and an hour.
func TestD12_DocumentsAreKeptAsTheirHeadersSay(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	r.StopClock()
	b := r.Browser().SignIn(r.Alice.Email)
	date := func(d time.Duration) string { return r.Now().Add(d).UTC().Format(http.TimeFormat) }
	const least, most = 5 * time.Minute, time.Hour
	for i, x := range []struct {
		header []string
		want   time.Duration
	}{
		{nil, least},
		{[]string{"Cache-Control", "max-age=1200"}, 20 * time.Minute},
		{[]string{"Cache-Control", "public, MAX-AGE=1200"}, 20 * time.Minute},
		{[]string{"Cache-Control", `max-age="1200"`}, 20 * time.Minute},
		{[]string{"Cache-Control", "max-age=299"}, least},
		{[]string{"Cache-Control", "max-age=0"}, least},
		{[]string{"Cache-Control", "max-age=-1"}, least},
		{[]string{"Cache-Control", "max-age=x"}, least},
		{[]string{"Cache-Control", "max-age=1e9"}, least},
		{[]string{"Cache-Control", "max-age=3601"}, most},
		{[]string{"Cache-Control", "max-age=2147483647"}, most},
		{[]string{"Cache-Control", "no-store"}, least},
		{[]string{"Cache-Control", "max-age=1200, no-cache"}, least},
		{[]string{"Cache-Control", "max-age=1200, no-store"}, least},
		{[]string{"Cache-Control", "max-age=1200, private"}, least},
		{[]string{"Cache-Control", "max-age=1200, private=\"x\""}, least},
		{[]string{"Cache-Control", "max-age=1200", "Age", "300"}, 15 * time.Minute},
		{[]string{"Cache-Control", "max-age=1200", "Age", "5000"}, least},
		{[]string{"Cache-Control", "max-age=1200", "Age", "-5000"}, 20 * time.Minute},
		{[]string{"Cache-Control", "max-age=1200", "Age", "x"}, 20 * time.Minute},
		{[]string{"Date", date(0), "Expires", date(20 * time.Minute)}, 20 * time.Minute},
		{[]string{"Date", date(time.Hour), "Expires", date(80 * time.Minute)}, 20 * time.Minute},
		{[]string{"Date", date(0), "Expires", date(-time.Hour)}, least},
		{[]string{"Date", date(0), "Expires", "0"}, least},
		{[]string{"Date", date(0), "Expires", date(20 * time.Minute), "Cache-Control", "max-age=600"}, 10 * time.Minute},
		{[]string{"Date", date(0), "Expires", date(30 * 24 * time.Hour)}, most},
		{[]string{"Pragma", "no-cache"}, least},
	} {
		path := fmt.Sprint("/", i)
		app := h.describe(path, nil, x.header...)
		seen := func() int {
			t.Helper()
			if a := ask(b, app.Params("read")); a.Status != http.StatusSeeOther {
				t.Fatalf("%v: %d %s", x.header, a.Status, rig.Plain(a.Body))
			}
			return h.fetches(path)
		}
		if n := seen(); n != 1 {
			t.Errorf("%v: %d fetches", x.header, n)
		}
		r.Advance(x.want - time.Second)
		if n := seen(); n != 1 {
			t.Errorf("%v: fetched again before %v", x.header, x.want)
		}
		r.Advance(time.Second)
		if n := seen(); n != 2 {
			t.Errorf("%v: not fetched again after %v", x.header, x.want)
		}
		r.Advance(-x.want)
	}
}

// Visitors without a session cause ten fetches a minute from one address, then they get a page that says so. What is
// known costs nothing, and neither does what a user causes who has signed in.
func TestD12_VisitorsCauseTenFetchesAMinute(t *testing.T) {
	h := newDocumentHost(t)
	o := fromAnywhere(h.options())
	r := rig.Memory(t, o)
	r.StopClock()
	number := 0
	next := func() *rig.App { number++; return h.describe(fmt.Sprint("/", number), nil) }
	visit := func(b *rig.Browser, app *rig.App, from string) *rig.Answer {
		t.Helper()
		return b.Get("/oauth/authorize?"+app.Params("read").Encode(), "X-Forwarded-For", from)
	}
	stranger, alice := r.Browser(), r.Browser().SignIn(r.Alice.Email)
	passes := func(what string, a *rig.Answer) {
		t.Helper()
		if a.Status != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", what, a.Status, rig.Plain(a.Body))
		}
	}
	stops := func(what string, app *rig.App, from string) {
		t.Helper()
		a := visit(r.Browser(), app, from)
		wantPage(t, a, http.StatusTooManyRequests)
		if a.Header.Get("Retry-After") == "" || !strings.Contains(rig.Plain(a.Body), "or sign in first") {
			t.Errorf("%s: Retry-After %q, %s", what, a.Header.Get("Retry-After"), rig.Plain(a.Body))
		}
		if h.fetches(strings.TrimPrefix(app.ID, h.URL)) != 0 {
			t.Errorf("%s: it is fetched", what)
		}
	}
	const here, there = "198.51.100.7", "198.51.100.8"
	known := next()
	passes("signed in", visit(alice, known, here))
	for range 9 {
		passes("a new one", visit(stranger, next(), here))
	}
	// One whose document cannot be read counts too.
	gone := next()
	h.serve(strings.TrimPrefix(gone.ID, h.URL), http.NotFound)
	wantPage(t, visit(stranger, gone, here), http.StatusBadRequest)
	stops("the eleventh", next(), here)
	stops("by POST", next(), here)
	post := next()
	a := r.Send(r.Program(), r.Request(http.MethodPost, "/oauth/authorize", strings.NewReader(post.Params("read").Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", here))
	wantPage(t, a, http.StatusTooManyRequests)
	refusedPush := r.PostAs(next(), "/oauth/par", url.Values{}, "X-Forwarded-For", here)
	refused(t, refusedPush, http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
	if refusedPush.Header.Get("Retry-After") == "" {
		t.Error("PAR answers 429 without Retry-After")
	}
	passes("a known one", visit(stranger, known, here))
	passes("from another address", visit(stranger, next(), there))
	passes("by a user", visit(alice, next(), here))
	// A cookie that is no session does not help.
	forged := r.Browser()
	forged.SetCookie(&http.Cookie{Name: "doorward-session", Value: strings.Repeat("x", 43), Path: "/"})
	wantPage(t, visit(forged, next(), here), http.StatusTooManyRequests)
	// The pages behind the authorization endpoint count as well.
	flow := visit(stranger, known, here).Location.Query().Get("flow")
	r.Advance(5 * time.Minute)
	for range 10 {
		passes("after five minutes", visit(stranger, next(), here))
	}
	if a := stranger.Get("/login?flow="+flow, "X-Forwarded-For", here); a.Status != http.StatusTooManyRequests &&
		h.fetches(strings.TrimPrefix(known.ID, h.URL)) != 1 {
		t.Errorf("the sign-in page: %d, and the document is fetched again", a.Status)
	}
	// A network of IPv6 counts as one address.
	for i := range 10 {
		passes("by IPv6", visit(stranger, next(), fmt.Sprint("2001:db8::", i+1)))
	}
	stops("from the same network", next(), "2001:db8:0:0:ffff::1")
	passes("from another network", visit(stranger, next(), "2001:db8:0:1::1"))
	// PAR counts by the same measure.
	const third = "198.51.100.9"
	for range 10 {
		app := next()
		if a := r.PostAs(app, "/oauth/par", app.Params("read"), "X-Forwarded-For", third); a.Status != http.StatusCreated {
			t.Errorf("PAR: %d %s", a.Status, a.Body)
		}
	}
	refused(t, r.PostAs(next(), "/oauth/par", url.Values{}, "X-Forwarded-For", third), http.StatusTooManyRequests,
		oauth.TemporarilyUnavailable)
	stops("after PAR", next(), third)
	r.Advance(time.Minute - time.Microsecond)
	stops("within the minute", next(), third)
	r.Advance(time.Microsecond)
	passes("after the minute", visit(stranger, next(), third))
}

// Of one host, four documents are fetched at a time; others wait. A host that is slow does not keep others back.
func TestD12_FourFetchesAtATimeFromOneHost(t *testing.T) {
	slow, quick := newDocumentHost(t), newDocumentHost(t)
	o := slow.options()
	o.Fetch.Roots.AddCert(quick.Certificate())
	o.AtOnce = true
	r := rig.Memory(t, o)
	b := r.Browser().SignIn(r.Alice.Email)
	other := quick.describe("/x", nil)
	var now, peak, passed atomic.Int32
	full, free := make(chan struct{}), make(chan struct{})
	slow.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			old := peak.Load()
			if n <= old || peak.CompareAndSwap(old, n) {
				break
			}
		}
		if passed.Add(1) == 4 {
			close(full)
		}
		<-free
		asDocument(slow.document(q.URL.Path))(w, q)
	})
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			app := &rig.App{Redirect: "https://app.example/cb"}
			app.ID, app.Public = fmt.Sprint(slow.URL, "/", i), true
			if a := ask(b, app.Params("read")); a.Status != http.StatusSeeOther {
				t.Errorf("%d: %d %s", i, a.Status, rig.Plain(a.Body))
			}
		})
	}
	<-full
	for range 20 { // meanwhile the others would have come
		if a := ask(b, other.Params("read")); a.Status != http.StatusSeeOther {
			t.Errorf("another host: %d %s", a.Status, rig.Plain(a.Body))
		}
	}
	close(free)
	wait.Wait()
	if n := peak.Load(); n != 4 {
		t.Errorf("%d fetches at a time, want 4", n)
	}
}

// Requests at once for one client cause one fetch.
func TestD12_RequestsAtOnceCauseOneFetch(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_")
		app := h.describe(path, nil)
		browsers := make([]*rig.Browser, len(nodes))
		for i, n := range nodes {
			browsers[i] = n.Browser().SignIn(n.Alice.Email)
		}
		rig.AtOnce(crowd, func(i int) {
			if a := ask(browsers[i%len(nodes)], app.Params("read")); a.Status != http.StatusSeeOther {
				t.Errorf("%d %s", a.Status, rig.Plain(a.Body))
			}
		})
		if n := h.fetches(path); n > len(nodes) {
			t.Errorf("%d fetches on %d nodes", n, len(nodes))
		}
	})
}

// A client is stored when a user allows it, not before: neither for a visit, nor for a pushed request, a denial or an
// error.
func TestD12_AClientIsStoredWhenAUserAllowsIt(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		path := "/" + r.Store.Engine()
		app := h.describe(path, rig.Members{"redirect_uris": []string{"https://app.example/cb", "https://b.example/cb"}})
		stranger, b := r.Browser(), r.Browser().SignIn(r.Alice.Email)
		none := func(what string) {
			t.Helper()
			if n, events := describedRows(t, r), rowsOf(t, r, "audit_events", "target = $1 AND action LIKE 'app.%'", app.ID); n != 0 ||
				events != 0 {
				t.Errorf("%s: %d clients and %d events are stored", what, n, events)
			}
		}
		stranger.Authorize(app.Params("read"))
		none("a visit")
		b.Authorize(app.Params("read"))
		none("the page")
		pushed(r, app, app.Params("read"))
		none("a pushed request")
		b.Authorize(app.Opened(pushed(r, app, app.Params("read"))))
		none("its page")
		for _, wrong := range []url.Values{
			{"scope": {"admin"}},
			{"prompt": {"none"}},
			{"redirect_uri": {"https://" + strangerHost + "/cb"}},
			{"code_challenge": nil},
			{"resource": {closedAPI}},
			{"response_type": {"token"}},
		} {
			wantPage(t, ask(b, altered(app.Params("read"), wrong)), http.StatusBadRequest)
		}
		none("a wrong request")
		refused(t, r.Exchange(app, bearer.NewCredential(bearer.PrefixCode)), http.StatusUnauthorized, oauth.InvalidClient)
		refused(t, r.Refresh(app, bearer.NewCredential(bearer.PrefixRefreshToken)), http.StatusUnauthorized, oauth.InvalidClient)
		none("a wrong code")
		if a := b.Decide(b.Authorize(app.Params("read")), "deny"); a.Param("error") != oauth.AccessDenied {
			t.Errorf("a denial: %d %v", a.Status, a.Location)
		}
		none("a denial")
		page := b.Authorize(app.Params("read"))
		if a := b.Decide(page, "approve", func(v url.Values) { v.Set("token", "x") }); a.Status != http.StatusForbidden {
			t.Errorf("a forged answer: %d", a.Status)
		}
		none("a forged answer")

		first := r.Now()
		a := b.Decide(b.Authorize(app.Params("read")), "approve")
		if describedRows(t, r) != 1 || rowsOf(t, r, "audit_events", "target = $1 AND action = 'app.registered'", app.ID) != 1 {
			t.Error("the client that was allowed is not stored and recorded once")
		}
		granted(t, r.Exchange(app, a.Param("code")))
		r.Advance(2 * time.Hour)
		granted(t, r.Exchange(app, b.Code(app, "read")))
		b.Code(app, "read write")
		c, err := r.Store.ClientByID(r.System(), app.ID)
		if err != nil || c.CreatedAt.Time().Sub(first) > time.Minute || c.Registration != storage.RegisteredByDocument ||
			c.WorkspaceID != "" || c.CreatedBy != "" || c.Verified || c.FirstParty || c.Manages || len(c.Secrets) != 0 {
			t.Errorf("stored is %+v, %v", c, err)
		}
		if describedRows(t, r) != 1 || rowsOf(t, r, "audit_events", "target = $1 AND action = 'app.registered'", app.ID) != 1 {
			t.Error("the client is not stored and recorded once")
		}
	})
}
