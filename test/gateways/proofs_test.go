package gateways

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// boundToken is an app's own token, with the scope read, that is bound to a key; and the nonce of the server.
func (w *world) boundToken(key *rig.Key) (token, nonce string) {
	w.t.Helper()
	app := w.App(management.ClientSpec{Scopes: []string{"read"}, Grants: []string{"client_credentials"}})
	ask := func() *rig.Answer {
		return w.PostAs(app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}},
			"DPoP", w.Proof(key, "POST", "/oauth/token", "", rig.Members{"nonce": nonce}))
	}
	nonce = ask().Header.Get("DPoP-Nonce")
	a := ask()
	if nonce == "" || a.Status != http.StatusOK || a.Text("token_type") != "DPoP" {
		w.t.Fatalf("token answered %d %s with the nonce %q", a.Status, a.Body, nonce)
	}
	return a.Text("access_token"), nonce
}

// proofAt is a right proof for GET of a URL, with claims in place of its own.
func (w *world) proofAt(key *rig.Key, token, url string, claims ...rig.Members) string {
	right := w.ProofClaims("GET", "", token).With(rig.Members{"htu": url})
	return key.Sign(rig.ProofHeader(key), right.With(claims...))
}

// Each proxy passes on the proof, the nonce and the challenges of DPoP (RFC 9449), and says which URL was requested.
func TestP03_P05_P06_P09_BoundTokensBehindEveryFront(t *testing.T) {
	w := memory(t)
	key := rig.NewKey(t, "")
	token, nonce := w.boundToken(key)
	proof := func(url string, more ...rig.Members) string {
		return w.proofAt(key, token, url, append([]rig.Members{{"nonce": nonce}}, more...)...)
	}
	used := ""
	w.each(func(t *testing.T, f front) {
		_, port, err := net.SplitHostPort(f.address)
		ok(t, err)
		site := host + ":" + port // as a client that connects to the front writes it
		here := "http://" + site + "/x"
		send := func(proof string, more ...string) *rig.Answer {
			return f.send(t, "GET", "/x?y=z", append(more, "Host: "+site, "Authorization: DPoP "+token, "DPoP: "+proof)...)
		}
		refused := func(name string, a *rig.Answer, code string) {
			t.Helper()
			all := a.Header.Values("WWW-Authenticate")
			if a.Status != http.StatusUnauthorized || len(all) != 1 || !strings.HasPrefix(all[0], "DPoP ") ||
				!strings.Contains(all[0], `error="`+code+`"`) || strings.Contains(all[0], "Bearer") {
				t.Errorf("%s is refused with %d %q %s", name, a.Status, all, a.Body)
			}
			if got := a.Header.Values("DPoP-Nonce"); len(got) != 1 || got[0] != nonce {
				t.Errorf("%s is refused with the nonces %q", name, got)
			}
			w.nothing(t)
		}
		refused("a proof without nonce", send(proof(here, rig.Members{"nonce": nil}), "DPoP-Nonce: evil"), "use_dpop_nonce")
		refused("a proof for another path", send(proof("http://"+site+"/y")), "invalid_dpop_proof")
		refused("a proof for another host", send(proof("http://"+otherHost+":"+port+"/x")), "invalid_dpop_proof")
		refused("a proof for another port", send(proof("http://"+host+":1/x")), "invalid_dpop_proof")
		refused("a proof for https", send(proof("https://"+site+"/x"), "X-Forwarded-Proto: https"), "invalid_dpop_proof")
		refused("two proofs", send(proof(here), "DPoP: "+proof(here)), "invalid_dpop_proof")

		right := proof(here)
		a := send(right, "DPoP-Nonce: evil")
		if got := a.Header.Values("DPoP-Nonce"); a.Status != http.StatusOK || len(got) != 1 || got[0] != nonce {
			t.Fatalf("a right proof is answered %d %q %s", a.Status, got, a.Body)
		}
		if s := w.api.one(t); len(s.values("Authorization")) != 1 || len(s.values("DPoP")) != 1 || s.target != "/x?y=z" {
			t.Errorf("the API gets %+v", s)
		}
		w.api.take()
		refused("a proof that was used", send(right), "invalid_dpop_proof")
		if used != "" {
			refused("a proof that was used elsewhere", send(used), "invalid_dpop_proof")
		}
		used = right

		a = f.send(t, "GET", "/x", "Host: "+site, "Authorization: Bearer "+token, "DPoP: "+proof(here))
		if all := strings.Join(a.Header.Values("WWW-Authenticate"), ", "); a.Status != http.StatusUnauthorized ||
			!strings.HasPrefix(all, `Bearer realm="doorward", error="invalid_token"`) || !strings.Contains(all, ", DPoP realm=") {
			t.Errorf("a bound token as Bearer is answered %d %q", a.Status, all)
		}
		w.nothing(t)
		_, plain := w.key("read")
		if a = f.send(t, "GET", "/x", plain, "DPoP-Nonce: evil"); a.Header.Get("DPoP-Nonce") != "of-the-API" {
			t.Errorf("a request without DPoP is answered with the nonce %q", a.Header.Get("DPoP-Nonce"))
		}
		if s := w.api.one(t); f.name == caddy && len(s.values("DPoP-Nonce")) > 0 {
			t.Errorf("the API gets the nonce %q", s.values("DPoP-Nonce"))
		}
	})
}
