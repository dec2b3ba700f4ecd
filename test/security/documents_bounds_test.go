package security

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/oauth"
	"doorward/test/rig"
)

// A user with a host can publish any number of metadata documents. They are the first to answer 20 clients an hour:
// allowing one stores it, and both answers are recorded.
func TestD13_OneUserBringsFewNewClients(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.LimitChanges = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		for _, n := range nodes {
			n.StopClock()
		}
		path := "/" + strings.ReplaceAll(t.Name(), " ", "_") + "/"
		count := 0
		answer := func(b *rig.Browser, decision string) (*rig.App, *rig.Answer) {
			count++
			app := h.describe(fmt.Sprint(path, count), nil)
			return app, b.Decide(b.Authorize(app.Params("read")), decision)
		}
		alice := make([]*rig.Browser, len(nodes))
		for i, n := range nodes {
			alice[i] = n.Browser().SignIn(n.Alice.Email)
		}
		bob := nodes[0].Browser().SignIn(nodes[0].User("bob@example.com", "Bob", false).Email)
		decisions := []string{"approve", "deny"}
		fill := func() {
			t.Helper()
			for i := range 20 {
				if _, a := answer(alice[i%len(nodes)], decisions[i%2]); (a.Param("code") == "") != (i%2 == 1) {
					t.Fatalf("answer %d: %d %v", i+1, a.Status, a.Location)
				}
			}
		}
		fill()
		clients, events := describedRows(t, nodes[0]), rowsOf(t, nodes[0], "audit_events", "action LIKE 'consent.%'")
		for i, decision := range decisions {
			if _, a := answer(alice[i%len(nodes)], decision); a.Param("error") != oauth.TemporarilyUnavailable {
				t.Errorf("%s after 20: %d %v", decision, a.Status, a.Location)
			}
		}
		if n, m := describedRows(t, nodes[0]), rowsOf(t, nodes[0], "audit_events", "action LIKE 'consent.%'"); n != clients ||
			m != events {
			t.Errorf("%d clients and %d events more", n-clients, m-events)
		}
		known, a := answer(bob, "approve")
		if a.Param("code") == "" {
			t.Errorf("another user: %d %v", a.Status, a.Location)
		}
		if a := alice[0].Decide(alice[0].Authorize(known.Params("read")), "approve"); a.Param("code") == "" {
			t.Errorf("a client that another user has allowed: %d %v", a.Status, a.Location)
		}
		for _, n := range nodes {
			n.Advance(time.Hour)
		}
		fill()
	})
}

// While a refresh fetches the document of its client, the client is deleted. Only a user brings it back.
func TestD12_ARefreshDoesNotBringAClientBack(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		path := "/" + r.Store.Engine()
		key := rig.NewKey(t, "key-1")
		app := h.signedDocument(path, key)
		b := r.Browser().SignIn(r.Alice.Email)
		code := func() string { return b.Code(app, "read") }
		_, refresh := granted(t, r.ExchangeSigned(app, key, nil, code()))
		deleting := func(text string) http.HandlerFunc {
			return func(w http.ResponseWriter, q *http.Request) {
				ok(t, r.Store.DeleteClient(r.System(), app.ID))
				asDocument(text)(w, q)
			}
		}
		expire(r)
		h.serve(path, deleting(h.document(path, withKeys(key), rig.Members{"client_name": "Renamed"})))
		refused(t, r.RefreshSigned(app, key, nil, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		if n := describedRows(t, r); n != 0 {
			t.Errorf("%d clients after a refresh", n)
		}
		// The same, while a key is looked for that the copy does not have.
		h.signedDocument(path, key)
		expire(r)
		_, refresh = granted(t, r.ExchangeSigned(app, key, nil, code()))
		next := rig.NewKey(t, "key-2")
		r.Advance(time.Minute)
		h.serve(path, deleting(h.document(path, withKeys(key, next))))
		refused(t, r.RefreshSigned(app, next, nil, refresh), http.StatusUnauthorized, oauth.InvalidClient)
		if n := describedRows(t, r); n != 0 {
			t.Errorf("%d clients after a key was looked for", n)
		}
	})
}

// The consent page shows the host of a document as proven. What a stranger may upload at the host of the server or of
// an API does not speak for it, unless the operator lists that host.
func TestD12_V15_DocumentsAtTheOperatorsOwnHosts(t *testing.T) {
	h := newDocumentHost(t)
	host := strings.TrimPrefix(h.URL, "https://")
	for what, set := range map[string]func(*rig.Options){
		"the issuer":            func(o *rig.Options) { o.Issuer = h.URL },
		"an API":                func(o *rig.Options) { o.Resources[2].ID = h.URL + "/api" },
		"an API in other cases": func(o *rig.Options) { o.Resources[0].ID = "HTTPS://" + strings.ToUpper(host) },
	} {
		o := h.options()
		set(&o)
		app := h.describe("/uploads/client", nil)
		r := rig.Memory(t, o)
		a := wantRefusedDocument(t, what, r.Browser().SignIn(r.Alice.Email), app)
		if !strings.Contains(rig.Plain(a.Body), "does not accept apps from "+host) {
			t.Errorf("%s: the page says %s", what, rig.Plain(a.Body))
		}
		if n := h.fetches("/uploads/client"); n != 0 {
			t.Errorf("%s: %d fetches", what, n)
		}
	}
	o := h.options()
	o.Resources[2].ID = h.URL + "/api"
	o.Documents = oauth.DocumentHosts{Hosts: []string{host}}
	r := rig.Memory(t, o)
	if a := ask(r.Browser().SignIn(r.Alice.Email), h.describe("/uploads/client", nil).Params("read")); !isConsent(a) &&
		a.Status != http.StatusSeeOther {
		t.Errorf("a host that the operator lists: %d %s", a.Status, rig.Plain(a.Body))
	}
}
