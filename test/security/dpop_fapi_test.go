package security

import (
	"net/http"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// fapiTokens registers a FAPI client, has Alice allow it, and redeems the code.
func fapiTokens(t *testing.T, r *rig.Rig, k *rig.Key) (app *rig.App, key *rig.Key, access, refresh string) {
	t.Helper()
	app, key = r.SignedApp(management.ClientSpec{FAPI: true})
	b := r.Browser().SignIn(r.Alice.Email)
	access, refresh = bound(t, r.ExchangeSigned(app, key, k, b.Allow(app, r.Push(app, key, app.Params("read")))))
	return app, key, access, refresh
}

// A client that follows FAPI 2.0 gets no bearer tokens, and must push its requests.
func TestP06_AFAPIClientGetsNoBearerTokens(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	k := rig.NewKey(t, "")
	app, key, access, refresh := fapiTokens(t, r, k)
	b := r.Browser().SignIn(r.Alice.Email)
	wantPage(t, ask(b, app.Params("read")), http.StatusBadRequest)
	code := b.Allow(app, r.Push(app, key, app.Params("read")))
	badProof(t, r.ExchangeSigned(app, key, nil, code))
	badProof(t, r.RefreshSigned(app, key, nil, refresh))
	bound(t, r.ExchangeSigned(app, key, k, code))
	wrongToken(t, called(r, "/v1/auth/test", "Bearer "+access), "Bearer")
	if a := r.CallBound(k, http.MethodGet, "/v1/auth/test", access); a.Status != http.StatusOK {
		t.Errorf("answered %d %s", a.Status, a.Body)
	}
	own, key := r.SignedApp(management.ClientSpec{
		FAPI: true, Grants: []string{oauth.GrantClientCredentials, oauth.GrantAuthorizationCode},
		RedirectURIs: []string{"https://app.example/cb"},
	})
	badProof(t, r.PostSigned(own, key, "/oauth/token", ownForm))
}

// The refresh token of a FAPI client does not rotate: the same one is returned, and its idle time starts again.
func TestT20_TheRefreshTokenOfAFAPIClientDoesNotRotate(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r, k, api := nodes[0], rig.NewKey(t, ""), nodes[0].ResourceServer()
		app, key, access, refresh := fapiTokens(t, r, k)
		answers := make([]*rig.Answer, crowd)
		rig.AtOnce(crowd, func(i int) { answers[i] = nodes[i%len(nodes)].RefreshSigned(app, key, k, refresh) })
		for _, a := range answers {
			if _, same := bound(t, a); same != refresh {
				t.Fatalf("the refresh token is another one: %s", a.Body)
			}
		}
		if !r.Alive(api, access) {
			t.Error("reuse ended the grant")
		}
		for range 4 { // together longer than its idle time of 7 days
			for _, n := range nodes {
				n.Advance(6 * 24 * time.Hour)
			}
			_, refresh = bound(t, r.RefreshSigned(app, key, rig.NewKey(t, ""), refresh)) // with a key of its own
		}
		for _, n := range nodes {
			n.Advance(7*24*time.Hour - 50*time.Minute) // more than 30 days after its grant
		}
		refused(t, r.RefreshSigned(app, key, k, refresh), http.StatusBadRequest, oauth.InvalidGrant)

		app, key, _, refresh = fapiTokens(t, r, k)
		for _, n := range nodes {
			n.Advance(7*24*time.Hour + time.Second)
		}
		refused(t, r.RefreshSigned(app, key, k, refresh), http.StatusBadRequest, oauth.InvalidGrant)

		// Revocation of the grant ends it, however it happens.
		app, key, _, refresh = fapiTokens(t, r, k)
		access, _ = bound(t, r.RefreshSigned(app, key, k, refresh))
		endAccess(r, app)
		for _, n := range nodes {
			refused(t, n.RefreshSigned(app, key, k, refresh), http.StatusBadRequest, oauth.InvalidGrant)
		}
		if r.Alive(api, access) {
			t.Error("the access token lives on")
		}
		app, key, access, refresh = fapiTokens(t, r, k)
		if a := r.PostSigned(app, key, "/oauth/revoke", map[string][]string{"token": {refresh}}); a.Status != http.StatusOK {
			t.Errorf("revocation answered %d %s", a.Status, a.Body)
		}
		refused(t, r.RefreshSigned(app, key, k, refresh), http.StatusBadRequest, oauth.InvalidGrant)
		if r.Alive(api, access) {
			t.Error("the access token lives on")
		}
	})
}

// A client may begin or cease to follow FAPI while it has refresh tokens; they work on.
func TestT20_SwitchingFAPIOnAndOff(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		r.StopClock()
		k, api := rig.NewKey(t, ""), r.ResourceServer()
		app, key := r.SignedApp(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		_, first := granted(t, r.ExchangeSigned(app, key, nil, b.Code(app, "read")))
		_, second := granted(t, r.RefreshSigned(app, key, nil, first))
		waiting := b.Code(app, "write")

		set := func(on bool) {
			change(r, app, func(p *management.ClientSpec) { p.FAPI = on })
			c, err := r.Store.ClientByID(r.System(), app.ID)
			ok(t, err)
			app.Client = c
		}
		set(true)
		badProof(t, r.RefreshSigned(app, key, nil, second))
		badProof(t, r.ExchangeSigned(app, key, nil, waiting))
		bound(t, r.ExchangeSigned(app, key, k, waiting))
		for range 3 {
			if _, same := bound(t, r.RefreshSigned(app, key, k, second)); same != second {
				t.Error("it rotates")
			}
		}
		// One that was rotated before is used, and does not come back.
		refused(t, r.RefreshSigned(app, key, k, first), http.StatusBadRequest, oauth.InvalidGrant)
		access, _ := bound(t, r.RefreshSigned(app, key, k, second))
		if !r.Alive(api, access) {
			t.Error("a repeat within the reuse window ended the grant")
		}

		set(false)
		_, third := bound(t, r.RefreshSigned(app, key, k, second))
		if third == second {
			t.Error("it does not rotate")
		}
		r.Advance(11 * time.Second)
		refused(t, r.RefreshSigned(app, key, k, second), http.StatusBadRequest, oauth.InvalidGrant) // used: a replay
		refused(t, r.RefreshSigned(app, key, k, third), http.StatusBadRequest, oauth.InvalidGrant)
	})
}
