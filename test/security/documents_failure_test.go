package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/test/rig"
)

// Hosts of documents that go away, and storage that fails.

// refreshing keeps the session of an app alive by a refresh a day, as its users do.
type refreshing struct {
	*rig.App
	token string
}

func (x *refreshing) next(t *testing.T, r *rig.Rig) {
	t.Helper()
	_, x.token = granted(t, r.Refresh(x.App, x.token))
}

// While the host of a document is away, users see a page that says so, and refreshing goes on for seven days with the
// last copy. Then the client is unknown, until its host comes back.
func TestD12_TheHostGoesAway(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.Lifetimes.Refresh = 20 * 24 * time.Hour
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_")
		for i, away := range map[string]http.HandlerFunc{
			"not found": http.NotFound, "another document": asDocument(h.document("/another")),
		} {
			path := path + "/" + strings.ReplaceAll(i, " ", "_")
			app := h.describe(path, nil)
			b := r.Browser().SignIn(r.Alice.Email)
			at := last.Browser().WithCookiesOf(b)
			_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
			x := &refreshing{app, refresh}
			_, refresh = granted(t, r.Exchange(app, b.Code(app, "read")))
			y := &refreshing{app, refresh}
			h.serve(path, away)
			advance := func(d time.Duration) {
				for _, n := range nodes {
					n.Advance(d)
				}
			}
			x.next(t, last)
			advance(2 * time.Hour)
			for _, visitor := range []*rig.Browser{b, at} {
				a := ask(visitor, app.Params("read"))
				wantPage(t, a, http.StatusBadRequest)
				if text := rig.Plain(a.Body); !strings.Contains(text, "The app describes itself at "+app.ID) {
					t.Errorf("%s: the page says %s", i, text)
				}
				wantPage(t, ask(visitor, altered(app.Params("read"), url.Values{"prompt": {"none"}})), http.StatusBadRequest)
				refused(t, visitor.PostAs(app, "/oauth/par", app.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
				forgetFailures(visitor.Rig)
			}
			x.next(t, r)
			x.next(t, last)
			advance(6 * 24 * time.Hour)
			x.next(t, r)
			x.next(t, last)
			advance(24*time.Hour - time.Minute)
			for _, n := range nodes {
				refused(t, n.Refresh(app, x.token), http.StatusUnauthorized, oauth.InvalidClient)
				refused(t, n.Exchange(app, "x"), http.StatusUnauthorized, oauth.InvalidClient)
			}
			// It comes back.
			h.describe(path, nil)
			advance(time.Minute)
			x.next(t, r)
			x.next(t, last)
			y.next(t, last)
		}
	})
}

// While a host is away, it is asked every 30 seconds at most, however many refresh.
func TestD12_AHostThatIsAwayIsAskedNowAndThen(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	r.StopClock()
	app := h.describe("/x", nil)
	b := r.Browser().SignIn(r.Alice.Email)
	_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
	x := &refreshing{app, refresh}
	h.serve("/x", http.NotFound)
	expire(r)
	before := h.fetches("/x")
	for i := range 12 {
		r.Store.Invalidate() // what it knows of clients
		x.next(t, r)
		if n := h.fetches("/x") - before; n != 1+i/6 {
			t.Errorf("after %d seconds: %d fetches", 5*i, n)
		}
		r.Advance(5 * time.Second)
	}
}

// The seven days begin with the last copy, not with the first failure.
func TestD12_SevenDaysFromTheLastCopy(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.Lifetimes.Refresh = 20 * 24 * time.Hour
	r := rig.Memory(t, o)
	r.StopClock()
	app := h.describe("/x", nil)
	b := r.Browser().SignIn(r.Alice.Email)
	_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
	x := &refreshing{app, refresh}
	h.serve("/x", http.NotFound)
	r.Advance(7*24*time.Hour - time.Microsecond)
	x.next(t, r)
	r.Advance(time.Minute)
	refused(t, r.Refresh(app, x.token), http.StatusUnauthorized, oauth.InvalidClient)
	h.describe("/x", nil)
	r.Advance(time.Minute)
	x.next(t, r)
	h.serve("/x", http.NotFound)
	r.Advance(7*24*time.Hour - time.Microsecond)
	x.next(t, r)
}

// A refresh brings the stored client up to date: its redirect URIs, keys and grants count as the document has them.
func TestD12_ARefreshReadsTheDocument(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		path := "/" + r.Store.Engine()
		app := h.describe(path, nil)
		b := r.Browser().SignIn(r.Alice.Email)
		_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		h.describe(path, rig.Members{"client_name": "Renamed", "redirect_uris": []string{"https://b.example/cb"}})
		expire(r)
		_, refresh = granted(t, r.Refresh(app, refresh))
		c, err := r.Store.ClientByID(r.System(), app.ID)
		if err != nil || c.Name != "Renamed" || c.RedirectURIs.String() != "https://b.example/cb" {
			t.Errorf("stored is %+v, %v", c, err)
		}
		if n := rowsOf(t, r, "client_origins", "client_id = $1 AND origin = 'https://b.example'", app.ID); n != 1 {
			t.Errorf("%d origins", n)
		}
		// It becomes confidential: its old way does not authenticate it, and its old grant goes on.
		key := rig.NewKey(t, "key-1")
		h.signedDocument(path, key)
		expire(r)
		refused(t, r.Refresh(app, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		_, refresh = granted(t, r.RefreshSigned(app, key, nil, refresh))
		// It gives up refreshing.
		h.describe(path, rig.Members{"grant_types": []string{"authorization_code"}})
		expire(r)
		refused(t, r.Refresh(app, refresh), http.StatusBadRequest, "unauthorized_client")
		// The operator accepts no documents any more: the client ends at once.
		h.describe(path, nil)
		expire(r)
		_, refresh = granted(t, r.Refresh(app, refresh))
		o := h.options()
		o.Issuer, o.Documents = r.Issuer, oauth.DocumentHosts{Hosts: []string{"other.example"}}
		refused(t, rig.New(t, r.Store, o).Refresh(app, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		o.Documents = oauth.DocumentHosts{}
		refused(t, rig.New(t, r.Store, o).Refresh(app, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		o.Documents.Hosts = []string{strings.TrimPrefix(h.URL, "https://")}
		granted(t, rig.New(t, r.Store, o).Refresh(app, refresh))
	})
}

// Whatever write fails while a user allows a client, nothing is stored, and the same answer counts afterwards.
func TestD12_T83_AFailedWriteStoresNoClient(t *testing.T) {
	h := newDocumentHost(t)
	eachWithOwner(t, h.options(), func(t *testing.T, r *rig.Rig, owner func(string)) {
		b := r.Browser().SignIn(r.Alice.Email)
		for i, table := range []string{"clients", "client_origins", "consents", "grants", "codes", "audit_events", "decided_flows"} {
			path := fmt.Sprintf("/%s/%d", r.Store.Engine(), i)
			app := h.describe(path, nil)
			form := with(b.Form(b.Authorize(app.Opened(pushed(r, app, app.Params("read")))), "/oauth/consent"),
				"decision", "approve")
			restore := breakWrites(r, owner, "INSERT", table)
			a := b.PostForm("/oauth/consent", form)
			restore()
			wantPage(t, a, http.StatusServiceUnavailable)
			if n := rowsOf(t, r, "clients", "id = $1", app.ID) + rowsOf(t, r, "grants", "client_id = $1", app.ID); n != 0 {
				t.Errorf("%s: %d rows are stored", table, n)
			}
			if a := b.PostForm("/oauth/consent", form); a.Param("code") == "" {
				t.Errorf("%s: afterwards it is answered %d %s", table, a.Status, rig.Plain(a.Body))
			}
		}
		// A change of the document that cannot be stored is no answer about the client.
		path := "/" + r.Store.Engine() + "/update"
		app := h.describe(path, nil)
		_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		h.describe(path, rig.Members{"client_name": "Renamed"})
		expire(r)
		restore := breakWrites(r, owner, "UPDATE", "clients")
		refused(t, r.Refresh(app, refresh), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
		page := b.Authorize(app.Params("read"))
		if isConsent(page) {
			wantPage(t, b.Decide(page, "approve"), http.StatusServiceUnavailable)
		}
		restore()
		granted(t, r.Refresh(app, refresh))
	})
}

// While the database is unavailable, no client is unknown, no registration is refused, and nothing is used: neither a
// registration token, nor a fetch of a visitor.
func TestD01_D12_T83_WithoutStorage(t *testing.T) {
	h := newDocumentHost(t)
	for _, mode := range []string{management.RegistrationOpen, management.RegistrationToken} {
		o := h.options()
		o.Registration, o.LimitChanges = mode, true
		rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
			path := "/" + mode + "/" + r.Store.Engine()
			token := initialToken(r, 5)
			e := enrolledBy(r, register(r, token))
			b, stranger := r.Browser().SignIn(r.Alice.Email), r.Browser()
			app, key := h.describe(path, nil), rig.NewKey(t, "key-1")
			unseen, signed := h.describe(path+"/unseen", nil), h.signedDocument(path+"/signed", key)
			_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
			_, own := granted(t, r.Exchange(e.App, b.Code(e.App, "read")))
			code := b.Code(app, "read")
			uri := pushed(r, app, app.Params("read"))
			form := with(b.Form(b.Authorize(unseen.Params("read")), "/oauth/consent"), "decision", "approve")
			r.BreakStorage()

			change := func(method, body string) *rig.Answer { return r.JSON(method, e.path(), e.token, body) }
			for what, a := range map[string]*rig.Answer{
				"register by token": register(r, token), "read": change(http.MethodGet, ""),
				"register by a wrong token": register(r, bearer.NewCredential(bearer.PrefixRegistration)),
				"change":                    change(http.MethodPut, registration(rig.Members{"client_id": e.ID})),
				"change wrongly":            change(http.MethodPut, "{}"),
				"delete":                    change(http.MethodDelete, ""),
				"another's registration":    r.JSON(http.MethodGet, registerPath+"/app_x", e.token, ""),
				"code":                      r.Exchange(app, code), "refresh": r.Refresh(app, refresh), "own refresh": r.Refresh(e.App, own),
				"an unseen client": r.Refresh(unseen, refresh), "PAR": r.PostAs(app, "/oauth/par", app.Params("read")),
				"PAR of an unseen client": r.PostAs(unseen, "/oauth/par", unseen.Params("read")),
				"PAR with a key":          r.PostSigned(signed, key, "/oauth/par", signed.Params("read")),
			} {
				refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
				if t.Failed() {
					t.Fatal(what)
				}
			}
			if mode == management.RegistrationOpen {
				refused(t, register(r, ""), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			}
			before := h.fetches(path) + h.fetches(path+"/unseen")
			for range 20 {
				wantPage(t, ask(stranger, app.Params("read")), http.StatusServiceUnavailable)
			}
			wantPage(t, ask(b, unseen.Params("read")), http.StatusServiceUnavailable)
			wantPage(t, ask(b, app.Opened(uri)), http.StatusServiceUnavailable)
			wantPage(t, b.PostForm("/oauth/consent", form), http.StatusServiceUnavailable)
			wantPage(t, b.Get("/oauth/consent?flow="+url.QueryEscape(form.Get("flow"))), http.StatusServiceUnavailable)
			if n := h.fetches(path) + h.fetches(path+"/unseen"); n != before {
				t.Errorf("%d fetches", n-before)
			}
		})
	}
}
