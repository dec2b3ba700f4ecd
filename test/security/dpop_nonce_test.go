package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// noncedNodes are servers whose proofs need a nonce: one node on each engine, two, and two with their secrets in a
// different order.
func noncedNodes(t *testing.T, fn func(t *testing.T, nodes []*rig.Rig)) {
	t.Helper()
	o := rig.Options{DPoPNonces: true, Secrets: []string{
		"the first master secret of these nodes", "the other master secret of these nodes",
	}}
	rig.EachNodes(t, o, fn)
	turned := o
	turned.Secrets = []string{o.Secrets[1], o.Secrets[0]}
	t.Run("secrets in another order", func(t *testing.T) { fn(t, rig.Nodes(t, o, turned)) })
}

// useNonce checks an answer that demands a nonce, and returns it.
func useNonce(t *testing.T, a *rig.Answer) string {
	t.Helper()
	refused(t, a, http.StatusBadRequest, oauth.UseDPoPNonce)
	nonce := a.Header.Values(dpop.NonceHeader)
	if len(nonce) != 1 || nonce[0] == "" {
		t.Errorf("the nonce is %q", nonce)
		return ""
	}
	return nonce[0]
}

// A proof without a current nonce is refused with one, and such a refusal uses up nothing: not the code, the refresh
// token, the assertion or the pushed request.
func TestP09_ARefusalForTheNonceUsesUpNothing(t *testing.T) {
	noncedNodes(t, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		app, k := publicApp(r), rig.NewKey(t, "")
		signed, key := r.SignedApp(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}})
		b := r.Browser().SignIn(r.Alice.Email)
		_, refresh := bound(t, nonced(r, app, k, codeForm(app, b.Code(app, "read"))))
		for _, n := range nodes {
			n.StopClock()
		}
		old := nonceOf(r)
		for _, n := range nodes {
			n.Advance(6 * time.Minute)
		}
		code := b.Code(app, "read")
		ahead := futureNonce(r)
		assertion := r.Assertion(signed, key)
		toPAR := aim{method: http.MethodPost, url: r.Issuer + "/oauth/par"}
		for name, nonce := range map[string]any{
			"none": nil, "empty": "", "stale": old, "forged": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "future": ahead,
			"long": strings.Repeat("x", 900),
		} {
			t.Run(name, func(t *testing.T) {
				for _, n := range nodes {
					proof := func(to aim) string { return to.proof(r, k, rig.Members{"nonce": nonce}) }
					for _, form := range []url.Values{codeForm(app, code), refreshForm(refresh)} {
						useNonce(t, n.PostAs(app, "/oauth/token", form, dpop.Header, proof(tokenAim(r))))
					}
					useNonce(t, n.Post("/oauth/token", rig.Asserted(ownForm, assertion), dpop.Header, proof(tokenAim(r))))
					useNonce(t, n.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header, proof(toPAR)))
				}
			})
		}
		// What was refused is accepted with the nonce of the refusal, at any node.
		repeat := tokenAim(r).proof(r, k, rig.Members{"jti": "again"})
		nonce := useNonce(t, r.Post("/oauth/token", rig.Asserted(ownForm, assertion), dpop.Header, repeat))
		a := other.Post("/oauth/token", rig.Asserted(ownForm, assertion), dpop.Header,
			tokenAim(r).proof(r, k, rig.Members{"jti": "again", "nonce": nonce}))
		bound(t, a)
		fresh := func(a *rig.Answer) {
			t.Helper()
			if a.Header.Get(dpop.NonceHeader) == "" {
				t.Error("a success without a nonce for the next proof")
			}
		}
		fresh(a)
		for i, form := range []url.Values{codeForm(app, code), refreshForm(refresh)} {
			a := nodes[i%len(nodes)].PostAs(app, "/oauth/token", form, dpop.Header,
				tokenAim(r).proof(r, k, rig.Members{"nonce": nonce}))
			bound(t, a)
			fresh(a)
		}
		a = other.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header, toPAR.proof(r, k, rig.Members{"nonce": nonce}))
		if a.Status != http.StatusCreated {
			t.Errorf("PAR answered %d %s", a.Status, a.Body)
		}
		fresh(a)
		// The nonce is for proofs alone: a request without one needs none.
		granted(t, r.PostAs(robot(r), "/oauth/token", ownForm))
		if a := r.PostAs(app, "/oauth/par", app.Params("read")); a.Status != http.StatusCreated {
			t.Errorf("PAR without a proof answered %d %s", a.Status, a.Body)
		}
		// Each node accepts the nonces of the other.
		for i, n := range nodes {
			nonce, at := nonceOf(n), nodes[len(nodes)-1-i]
			bound(t, at.PostAs(robot(r), "/oauth/token", ownForm, dpop.Header,
				tokenAim(r).proof(r, k, rig.Members{"nonce": nonce})))
		}
	})
}

// futureNonce is a nonce of this server that it gives out in three minutes.
func futureNonce(r *rig.Rig) string {
	r.T.Helper()
	r.Advance(3 * time.Minute)
	defer r.Advance(-3 * time.Minute)
	return nonceOf(r)
}

// An API answers a proof without a current nonce with exactly one challenge, and gives each answer a nonce.
func TestP09_TheNonceAtTheAPI(t *testing.T) {
	o := gatewayOptions(t)
	o.DPoPNonces = true
	r := rig.Memory(t, o)
	app, k := publicApp(r), rig.NewKey(t, "")
	r.StopClock()
	token, _ := bound(t, nonced(r, app, k, codeForm(app, r.Browser().SignIn(r.Alice.Email).Code(app, "read"))))
	old := nonceOf(r)
	r.Advance(6 * time.Minute)
	ahead := futureNonce(r)
	doors := map[string]func(header ...string) *http.Request{}
	aims := map[string]aim{}
	for door, ask := range gatewayDoors(r) {
		doors[door], aims[door] = ask, doorAim(door, token)
	}
	for _, path := range []string{"/v1/auth/test", "/api/me"} {
		doors[path] = func(header ...string) *http.Request { return r.Request(http.MethodGet, path, nil, header...) }
		aims[path] = aim{method: http.MethodGet, url: r.Issuer + path, token: token}
	}
	for door, ask := range doors {
		t.Run(door, func(t *testing.T) {
			send := func(header ...string) *rig.Answer { return unwrapped(r.Send(r.Program(), ask(header...)), door) }
			to, nonce := aims[door], ""
			for _, wrong := range []any{nil, "", old, ahead, "x"} {
				a := send("Authorization", "DPoP "+token, dpop.Header, to.proof(r, k, rig.Members{"nonce": wrong}))
				refusedProof(t, a, oauth.UseDPoPNonce)
				if nonce = a.Header.Get(dpop.NonceHeader); nonce == "" {
					t.Errorf("no nonce: %v", a.Header)
				}
			}
			proof := to.proof(r, k, rig.Members{"nonce": nonce})
			a := send("Authorization", "DPoP "+token, dpop.Header, proof)
			if a.Status != http.StatusOK || a.Header.Get(dpop.NonceHeader) != nonce {
				t.Errorf("answered %d %s, nonce %q", a.Status, a.Body, a.Header.Get(dpop.NonceHeader))
			}
			refusedProof(t, send("Authorization", "DPoP "+token, dpop.Header, proof), oauth.InvalidDPoPProof)
			// A caller that sends the token as Bearer, or no token, gets no nonce.
			for _, header := range [][]string{nil, {"Authorization", "Bearer " + token}} {
				if a := send(header...); a.Status != http.StatusUnauthorized || a.Header.Get(dpop.NonceHeader) != "" {
					t.Errorf("%v is answered %d %v", header, a.Status, a.Header)
				}
			}
		})
	}
}
