package security

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// With the clocks of two nodes up to a minute apart, nothing is accepted twice, whichever node sees it first, and
// whenever the node that is ahead deletes old rows.
func TestP05_P09_TheClocksOfTwoNodesDiffer(t *testing.T) {
	// Without limits: their windows know no other clock, and here one node spends what the other sees as the future.
	unlimited := rig.Options{Tokens: &oauth.TokenLimits{}}
	nonced := unlimited
	nonced.DPoPNonces = true
	nodes := rig.Nodes(t, unlimited, unlimited)
	behind, ahead := nodes[0], nodes[1]
	nonces := rig.Nodes(t, nonced, nonced)
	wholeSecond(behind, nonces[0])
	for _, n := range []*rig.Rig{ahead, nonces[1]} {
		n.StopClock()
	}
	both := func(d time.Duration) { behind.Advance(d); ahead.Advance(d) }
	// set makes one clock be ahead of the other by so much.
	set := func(back, front *rig.Rig, d time.Duration) { front.Advance(back.Now().Add(d).Sub(front.Now())) }

	k := rig.NewKey(t, "")
	app, key := behind.SignedApp(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}})
	machine, own := robot(behind), behind.App(management.ClientSpec{FirstParty: true})
	b := behind.Browser().SignIn(behind.Alice.Email)
	there := ahead.Browser().WithCookiesOf(b)
	for _, apart := range []time.Duration{10 * time.Second, 60 * time.Second} {
		for _, order := range [][]*rig.Rig{{behind, ahead}, {ahead, behind}} {
			t.Run(fmt.Sprintf("%v apart, first ahead %t", apart, order[0] == ahead), func(t *testing.T) {
				set(behind, ahead, apart)
				first, second := order[0], order[1]

				// A proof is accepted at any node once, and never again, until no node accepts it for its time.
				proof := tokenAim(behind).proof(behind, k)
				early := tokenAim(behind).proof(behind, k, rig.Members{"iat": ahead.Now().Unix()}) // by a client that is ahead
				for _, p := range []string{proof, early} {
					bound(t, first.PostAs(machine, "/oauth/token", ownForm, dpop.Header, p))
				}
				// An assertion likewise, until its exp.
				assertion := behind.Assertion(app, key, rig.Members{"exp": behind.Now().Add(30 * time.Second).Unix()})
				granted(t, first.Post("/oauth/token", rig.Asserted(ownForm, assertion)))
				for range 8 {
					for _, n := range []*rig.Rig{ahead, behind} {
						_, err := n.Store.Purge(n.System(), n.OAuth.Retention())
						ok(t, err)
					}
					for _, n := range []*rig.Rig{second, first} {
						for _, p := range []string{proof, early} {
							badProof(t, n.PostAs(machine, "/oauth/token", ownForm, dpop.Header, p))
						}
						refused(t, n.Post("/oauth/token", rig.Asserted(ownForm, assertion)), http.StatusUnauthorized,
							oauth.InvalidClient)
					}
					both(20 * time.Second)
				}

				// A request_uri is used at one node, and used up at the other.
				set(behind, ahead, apart)
				uri := pushed(first, own, own.Params("read"))
				browsers := map[*rig.Rig]*rig.Browser{behind: b, ahead: there}
				if apart < time.Minute || first == ahead {
					if a := ask(browsers[second], own.Opened(uri)); a.Param("code") == "" {
						t.Errorf("answered %d %v", a.Status, a.Location)
					}
				} else {
					wantUsed(t, ask(browsers[second], own.Opened(uri))) // it has ended there
					if a := ask(browsers[first], own.Opened(uri)); a.Param("code") == "" {
						t.Errorf("answered %d %v", a.Status, a.Location)
					}
				}
				for range 5 {
					for _, n := range []*rig.Rig{ahead, behind} {
						_, err := n.Store.Purge(n.System(), n.OAuth.Retention())
						ok(t, err)
						wantUsed(t, ask(browsers[n], own.Opened(uri)))
					}
					both(20 * time.Second)
				}
			})
		}
	}
	// A nonce of either node is current at both.
	for _, apart := range []time.Duration{10 * time.Second, 60 * time.Second} {
		set(nonces[0], nonces[1], apart)
		machine := robot(nonces[0])
		for i, n := range nonces {
			nonce := nonceOf(n)
			proof := tokenAim(n).proof(nonces[0], k, rig.Members{"nonce": nonce})
			bound(t, nonces[1-i].PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof))
			badProof(t, n.PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof))
		}
	}
}
