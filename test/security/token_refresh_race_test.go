package security

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
	"doorward/test/stores"
)

// refreshAtOnce refreshes one token many times at once and returns the successors and access tokens of the successful
// requests.
func refreshAtOnce(t *testing.T, nodes []*rig.Rig, app *rig.App, token string) (successors, accesses []string) {
	t.Helper()
	answers := make([]*rig.Answer, crowd)
	rig.AtOnce(crowd, func(i int) { answers[i] = nodes[i%len(nodes)].Refresh(app, token) })
	for _, a := range answers {
		if a.Status != http.StatusOK {
			refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
			continue
		}
		access, successor := granted(t, a)
		accesses, successors = append(accesses, access), append(successors, successor)
	}
	slices.Sort(successors)
	return slices.Compact(successors), accesses
}

func TestT22_ManyRefreshesAtOnceGetOneSuccessor(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		for _, n := range nodes {
			stopClock(n)
		}
		_, refresh := r.Tokens(app, "read")
		for range 3 {
			successors, accesses := refreshAtOnce(t, nodes, app, refresh)
			if len(successors) != 1 || len(accesses) != crowd {
				t.Fatalf("%d of %d succeeded, with %d successors", len(accesses), crowd, len(successors))
			}
			if !r.Alive(api, accesses[0]) || !r.Alive(api, accesses[crowd-1]) || !r.Alive(app, successors[0]) {
				t.Fatal("the family was revoked")
			}
			refresh = successors[0]
		}
	})
}

// Without a reuse window one request wins. The others have shown a used token, which revokes the family: it cannot be
// known which of them is the thief (RFC 9700, section 4.14.2).
func TestT22_WithoutAWindowOneRefreshWins(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true, Lifetimes: oauth.Lifetimes{RefreshReuseWindow: -1}},
		func(t *testing.T, nodes []*rig.Rig) {
			r := nodes[0]
			app, api := r.App(management.ClientSpec{}), r.ResourceServer()
			b := r.Browser().SignIn(r.Alice.Email)
			for range 5 {
				_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
				successors, accesses := refreshAtOnce(t, nodes, app, refresh)
				if len(accesses) != 1 {
					t.Fatalf("%d succeeded, want 1", len(accesses))
				}
				dead(t, r, app, api, accesses[0], successors[0])
			}
		})
}

// The clocks of nodes always differ a little: the window must not open on a node whose clock is behind.
func TestT22_WithoutAWindowClocksThatDifferDoNotMatter(t *testing.T) {
	nodes := rig.Nodes(t, rig.Options{Lifetimes: oauth.Lifetimes{RefreshReuseWindow: -1}},
		rig.Options{Lifetimes: oauth.Lifetimes{RefreshReuseWindow: -1}})
	app, api := nodes[0].App(management.ClientSpec{}), nodes[0].ResourceServer()
	access, refresh := nodes[0].Tokens(app, "read")
	nodes[0].Advance(5 * time.Second)
	_, successor := granted(t, nodes[0].Refresh(app, refresh))
	refused(t, nodes[1].Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
	dead(t, nodes[1], app, api, access, successor)
}

// The successor is derived from the master secret. During a rotation of that secret, nodes may have the two secrets in
// different orders; a race between such nodes must not fork the family.
func TestT22_NodesInTheMiddleOfASecretRotationGiveOneSuccessor(t *testing.T) {
	before, after := "the secret of before, of 32 bytes or more", "the secret of after, of 32 bytes or more"
	nodes := rig.Nodes(t, rig.Options{AtOnce: true, Secrets: []string{before, after}},
		rig.Options{AtOnce: true, Secrets: []string{after, before}})
	r := nodes[0]
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	_, refresh := r.Tokens(app, "read")
	for range 5 {
		successors, accesses := refreshAtOnce(t, nodes, app, refresh)
		if len(successors) != 1 || len(accesses) != crowd {
			t.Fatalf("%d of %d succeeded, with %d successors", len(accesses), crowd, len(successors))
		}
		if !r.Alive(api, accesses[0]) || !r.Alive(app, successors[0]) {
			t.Fatal("the family was revoked")
		}
		refresh = successors[0]
	}
}

// eachURL runs fn with the URL of an empty database on either engine, for servers that are started again.
func eachURL(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, stores.SQLite(t)) })
	t.Run("postgresql", func(t *testing.T) { fn(t, stores.PostgreSQL(t)) })
}

// restart starts a server on a database after the previous one was stopped.
func restart(t *testing.T, url string, before *rig.Rig, o rig.Options) *rig.Rig {
	t.Helper()
	if before != nil {
		before.HTTP.Close()
		before.Store.Close()
	}
	o.Issuer = "http://localhost:8080"
	r := rig.New(t, stores.Open(t, url), o)
	stopClock(r)
	return r
}

func TestT21_RetryUnderANewMasterSecretGetsTheSameSuccessor(t *testing.T) {
	before, after := "the secret of before, of 32 bytes or more", "the secret of after, of 32 bytes or more"
	eachURL(t, func(t *testing.T, url string) {
		r := restart(t, url, nil, rig.Options{Secrets: []string{before}})
		now := r.Store.Now().Time()
		app := r.App(management.ClientSpec{})
		_, refresh := r.Tokens(app, "read")
		_, unused := r.Tokens(app, "read")
		_, successor := granted(t, r.Refresh(app, refresh))
		again := func(secrets ...string) {
			r = restart(t, url, r, rig.Options{Secrets: secrets})
			r.Store.SetClock(func() time.Time { return now })
		}
		again(before, after)
		if _, same := granted(t, r.Refresh(app, refresh)); same != successor {
			t.Error("the successor changed when a second secret came")
		}
		again(after, before)
		if _, same := granted(t, r.Refresh(app, refresh)); same != successor {
			t.Error("the successor changed with the first secret")
		}
		_, second := granted(t, r.Refresh(app, successor))
		if _, same := granted(t, r.Refresh(app, successor)); same != second {
			t.Error("the successor of the new secret changed")
		}
		// The old secret is removed within the window. The result of the first use cannot be repeated; a second branch must
		// not open, and the family is not revoked, since there was no misuse.
		again(after)
		refused(t, r.Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
		if _, same := granted(t, r.Refresh(app, successor)); same != second {
			t.Error("the successor changed when the old secret went")
		}
		granted(t, r.Refresh(app, second))
		granted(t, r.Refresh(app, unused))
	})
}

func TestT33_RefreshRacingRevocationLeavesNothingActive(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		rounds := 100
		if testing.Short() || stores.OnlyAtOnce() { // the race detector needs no luck with the order
			rounds = 20
		}
		r := nodes[0]
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		b := r.Browser().SignIn(r.Alice.Email)
		for i := range rounds {
			for _, node := range nodes {
				node.Advance(10 * time.Second) // within the rate limit of a user and app (V-30)
			}
			access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
			answers := make([]*rig.Answer, 3)
			rig.AtOnce(3, func(n int) {
				node := nodes[(i+n)%len(nodes)]
				if n == 2 {
					answers[n] = node.PostAs(app, "/oauth/revoke", url.Values{"token": {[]string{access, refresh}[i%2]}})
				} else {
					answers[n] = node.Refresh(app, refresh)
				}
			})
			if answers[2].Status != http.StatusOK {
				t.Fatalf("revocation answered %d %s", answers[2].Status, answers[2].Body)
			}
			dead(t, r, app, api, access, refresh)
			for _, a := range answers[:2] {
				if a.Status != http.StatusOK {
					refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
					continue
				}
				newAccess, newRefresh := granted(t, a)
				dead(t, r, app, api, newAccess, newRefresh)
			}
			if t.Failed() {
				t.Fatalf("in round %d", i)
			}
		}
	})
}

// The user may revoke it at any moment, too.
func TestT33_RefreshRacingTheUserWhoRevokesIt(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		b := r.Browser().SignIn(r.Alice.Email)
		for range 20 {
			_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
			code := b.Code(app, "read")
			answers := make([]*rig.Answer, 8)
			rig.AtOnce(9, func(n int) {
				switch {
				case n == 8:
					endAccess(nodes[n%len(nodes)], app)
				case n%2 == 0:
					answers[n] = nodes[n/2%len(nodes)].Refresh(app, refresh)
				default:
					answers[n] = nodes[n/2%len(nodes)].Exchange(app, code)
				}
			})
			for _, a := range answers {
				if a.Status != http.StatusOK {
					refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
					continue
				}
				access, next := granted(t, a)
				dead(t, r, app, api, access, next)
			}
			if left := r.Grants(r.Alice.ID); len(left) != 0 {
				t.Fatalf("%d families are active", len(left))
			}
		}
	})
}
