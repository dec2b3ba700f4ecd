package security

import (
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/test/rig"
)

// An assertion counts once, whatever it is used for.

func TestT53_TheSecondUseIsRefused(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		app, key := signedClient(r)
		for _, first := range endpoints(app) {
			assertion := r.Assertion(app, key)
			first.succeeds(t, "the first use", first.asserted(r, assertion))
			for _, second := range endpoints(app) {
				refused(t, second.asserted(other, assertion), http.StatusUnauthorized, oauth.InvalidClient)
			}
			// Another assertion with its id is the same one, however it was made.
			id := rig.Members{"jti": "made twice for " + first.path}
			first.succeeds(t, "an id", first.asserted(r, r.Assertion(app, key, id)))
			again := r.Assertion(app, key, id, rig.Members{"exp": r.Now().Add(4 * time.Minute).Unix(), "nbf": 1})
			refused(t, first.asserted(other, again), http.StatusUnauthorized, oauth.InvalidClient)
		}
		// A replay is no guess: it does not count as a failed attempt, and slows no right one.
		assertion := r.Assertion(app, key)
		e := endpoints(app)[0]
		e.succeeds(t, "the first use", e.asserted(r, assertion))
		for range 25 {
			refused(t, e.asserted(other, assertion), http.StatusUnauthorized, oauth.InvalidClient)
		}
		e.succeeds(t, "a new one", e.asserted(other, r.Assertion(app, key)))
	})
}

func TestT53_OfManyUsesAtOnceOneSucceeds(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, key := signedClient(r)
		b := r.Browser().SignIn(r.Alice.Email)
		code := func() string { return b.Code(app, "read") }
		_, refresh := granted(t, r.ExchangeSigned(app, key, nil, code()))
		access, _ := granted(t, r.ExchangeSigned(app, key, nil, code()))
		_, personal := r.PersonalToken(r.Alice, apikey.Spec{})
		for name, e := range map[string]endpoint{
			"client_credentials": {"/oauth/token", ownForm, http.StatusOK},
			"code":               {"/oauth/token", codeForm(app, code()), http.StatusOK},
			"refresh":            {"/oauth/token", refreshForm(refresh), http.StatusOK},
			"PAR":                {"/oauth/par", app.Params("read"), http.StatusCreated},
			"introspection":      {"/oauth/introspect", url.Values{"token": {access}}, http.StatusOK},
			"revocation":         {"/oauth/revoke", url.Values{"token": {access}}, http.StatusOK},
			"a personal token":   {"/oauth/revoke", url.Values{"token": {personal}}, http.StatusOK},
		} {
			t.Run(name, func(t *testing.T) {
				assertion := r.Assertion(app, key)
				answers := make([]*rig.Answer, crowd)
				rig.AtOnce(crowd, func(i int) { answers[i] = e.asserted(nodes[i%len(nodes)], assertion) })
				won := 0
				var winner *rig.Answer
				for _, a := range answers {
					if a.Status == e.status {
						won, winner = won+1, a
						continue
					}
					refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
				}
				if won != 1 {
					t.Fatalf("%d of %d uses succeeded, want 1", won, crowd)
				}
				// Those that lost changed nothing, so the grant of the code still stands.
				if token := winner.Text("access_token"); token != "" {
					a := r.PostSigned(app, key, "/oauth/introspect", url.Values{"token": {token}})
					if a.JSON()["active"] != true {
						t.Errorf("the token of the use that succeeded: %s", a.Body)
					}
				}
			})
		}
	})
}

// One assertion at all endpoints at once counts once too.
func TestT53_AtAllEndpointsAtOnceOneSucceeds(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		app, key := signedClient(nodes[0])
		list := endpoints(app)
		for range 4 {
			var won atomic.Int64
			assertion := nodes[0].Assertion(app, key)
			rig.AtOnce(16, func(i int) {
				e := list[i%len(list)]
				switch a := e.asserted(nodes[i/len(list)%len(nodes)], assertion); a.Status {
				case e.status:
					won.Add(1)
				case http.StatusUnauthorized:
				default:
					t.Errorf("%s answered %d %s", e.path, a.Status, a.Body)
				}
			})
			if won.Load() != 1 {
				t.Fatalf("%d uses succeeded, want 1", won.Load())
			}
		}
	})
}

// A right assertion is used, whatever else is wrong with its request.
func TestT53_ARefusedRequestUsesTheAssertion(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		app, key := signedClient(r)
		codeOnly, codeKey := r.SignedApp(management.ClientSpec{})
		costing := func(cost string) url.Values { return url.Values{"token": {"x"}, "cost": {cost}} }
		elsewhere := with(ownForm, "resource", "https://x.example")
		wrong := oauth.InvalidRequest
		alter := func(name, value string) url.Values { return with(app.Params("read"), name, value) }
		thumbprint := rig.NewKey(t, "").Thumbprint()
		proof := []string{"DPoP", r.Proof(rig.NewKey(t, ""), http.MethodPost, "/oauth/par", "")}
		for name, x := range map[string]struct {
			app    *rig.App
			key    *rig.Key
			path   string
			form   url.Values
			error  string
			header []string
		}{
			"scope":               {app, key, "/oauth/token", with(ownForm, "scope", "unknown"), oauth.InvalidScope, nil},
			"resource":            {app, key, "/oauth/token", elsewhere, oauth.InvalidTarget, nil},
			"unknown code":        {app, key, "/oauth/token", codeForm(app, "x"), oauth.InvalidGrant, nil},
			"no code":             {app, key, "/oauth/token", with(codeForm(app, "x"), "code", ""), wrong, nil},
			"unknown refresh":     {app, key, "/oauth/token", refreshForm("x"), oauth.InvalidGrant, nil},
			"another grant":       {codeOnly, codeKey, "/oauth/token", ownForm, oauth.UnauthorizedClient, nil},
			"pushed scope":        {app, key, "/oauth/par", app.Params("unknown"), oauth.InvalidScope, nil},
			"pushed redirect URI": {app, key, "/oauth/par", alter("redirect_uri", "https://x.example"), wrong, nil},
			"pushed request_uri":  {app, key, "/oauth/par", alter("request_uri", "x"), wrong, nil},
			"pushed challenge":    {app, key, "/oauth/par", alter("code_challenge", ""), wrong, nil},
			"pushed dpop_jkt":     {app, key, "/oauth/par", alter("dpop_jkt", thumbprint), oauth.InvalidDPoPProof, proof},
			"no token":            {app, key, "/oauth/introspect", url.Values{}, wrong, nil},
			"cost":                {app, key, "/oauth/introspect", costing("x"), wrong, nil},
			"cost of a client":    {app, key, "/oauth/introspect", costing("1"), wrong, nil},
			"nothing":             {app, key, "/oauth/revoke", url.Values{}, wrong, nil},
		} {
			t.Run(name, func(t *testing.T) {
				assertion := r.Assertion(x.app, x.key)
				a := r.Post(x.path, rig.Asserted(x.form, assertion), x.header...)
				refused(t, a, http.StatusBadRequest, x.error)
				e := endpoint{"/oauth/introspect", url.Values{"token": {"x"}}, http.StatusOK}
				refused(t, e.asserted(other, assertion), http.StatusUnauthorized, oauth.InvalidClient)
				e.succeeds(t, "another one", e.asserted(other, r.Assertion(x.app, x.key)))
			})
		}
	})
}

// A request that is shown again is refused for its assertion, before anything that it asks for happens. So an
// eavesdropper can neither end a grant with a used code nor use up a code with a wrong verifier.
func TestT53_AReplayChangesNothing(t *testing.T) {
	o := rig.Options{Lifetimes: oauth.Lifetimes{RefreshReuseWindow: -1}}
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		app, key := signedClient(r)
		b := r.Browser().SignIn(r.Alice.Email)
		post := func(form url.Values, assertion string) *rig.Answer {
			return r.Post("/oauth/token", rig.Asserted(form, assertion))
		}
		replay := func(form url.Values, assertion string) {
			t.Helper()
			a := other.Post("/oauth/token", rig.Asserted(form, assertion))
			refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
		}
		alive := func(what, token string) {
			t.Helper()
			a := other.PostSigned(app, key, "/oauth/introspect", url.Values{"token": {token}})
			if a.JSON()["active"] != true {
				t.Errorf("%s ended: %s", what, a.Body)
			}
		}
		// A used code, which would revoke its grant.
		assertion, used := r.Assertion(app, key), codeForm(app, b.Code(app, "read"))
		access, refresh := granted(t, post(used, assertion))
		replay(used, assertion)
		alive("the grant of the code", access)
		alive("the grant of the code", refresh)
		// An unused code with a wrong verifier, which would burn it.
		code := b.Code(app, "read")
		for _, wrong := range []string{rig.Challenge, ""} {
			replay(with(codeForm(app, code), "code_verifier", wrong), assertion)
		}
		granted(t, post(codeForm(app, code), r.Assertion(app, key)))
		// A refresh token, which would rotate, or end its grant when it is used again.
		assertion = r.Assertion(app, key)
		first := post(refreshForm(refresh), assertion)
		_, next := granted(t, first)
		replay(refreshForm(refresh), assertion)
		replay(refreshForm(next), assertion)
		alive("the grant of the refresh token", next)
		granted(t, post(refreshForm(next), r.Assertion(app, key)))
		// A revocation.
		access, _ = granted(t, r.ExchangeSigned(app, key, nil, b.Code(app, "read")))
		_, personal := r.PersonalToken(r.Alice, apikey.Spec{})
		for _, token := range []string{access, personal} {
			a := other.Post("/oauth/revoke", rig.Asserted(url.Values{"token": {token}}, assertion))
			refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
		}
		alive("a token", access)
		if a := other.Call(http.MethodGet, "/v1/auth/test", personal); a.Status != http.StatusOK {
			t.Errorf("a personal token ended: %d %s", a.Status, a.Body)
		}
		// With a new assertion, the used code does what it always does.
		refused(t, post(used, r.Assertion(app, key)), http.StatusBadRequest, oauth.InvalidGrant)
	})
}

// While any node accepts an assertion, its use is remembered: also by a node whose clock is a minute ahead of another,
// and cleans up.
func TestT53_AUseIsRememberedForAsLongAsItCounts(t *testing.T) {
	nodes := rig.Nodes(t, rig.Options{}, rig.Options{})
	ahead, behind := nodes[0], nodes[1]
	ahead.StopClock()
	behind.StopClock()
	ahead.Advance(30 * time.Second)
	behind.Advance(-30 * time.Second)
	app, key := signedClient(ahead)
	e := endpoint{"/oauth/introspect", url.Values{"token": {"x"}}, http.StatusOK}
	for name, first := range map[string]*rig.Rig{"ahead": ahead, "behind": behind} {
		claims := rig.Members{
			"jti": "used on the node that is " + name,
			"iat": behind.Now().Unix(), "exp": behind.Now().Add(5 * time.Minute).Unix(),
		}
		fresh := func(id string) string { return ahead.Assertion(app, key, claims, rig.Members{"jti": id}) }
		assertion := ahead.Assertion(app, key, claims)
		e.succeeds(t, "the first use", e.asserted(first, assertion))
		accepted := 0
		for i := range 30 {
			_, err := ahead.Store.Purge(ahead.System(), ahead.OAuth.Retention())
			ok(t, err)
			for j, n := range nodes {
				refused(t, e.asserted(n, assertion), http.StatusUnauthorized, oauth.InvalidClient)
				if e.asserted(n, fresh(fmt.Sprint(name, i, j))).Status == e.status {
					accepted++
				}
			}
			ahead.Advance(20 * time.Second)
			behind.Advance(20 * time.Second)
		}
		if accepted < 30 || accepted == 60 {
			t.Errorf("new assertions with that expiry were accepted %d times of 60, want most of them, not all", accepted)
		}
	}
}

// A captured assertion that is shown again neither uses up what its client may ask for, nor locks it out.
func TestT53_AReplayCountsAgainstNoLimitOfItsClient(t *testing.T) {
	rig.EachNodes(t, rig.Options{Tokens: &oauth.TokenLimits{ClientRequests: 5}}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		for _, n := range nodes {
			n.StopClock()
		}
		own, key := r.SignedApp(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}})
		pushing, pushKey := r.SignedApp(management.ClientSpec{})
		for path, x := range map[string]struct {
			app    *rig.App
			key    *rig.Key
			form   url.Values
			status int
		}{
			"/oauth/token": {own, key, url.Values{"grant_type": {oauth.GrantClientCredentials}}, http.StatusOK},
			"/oauth/par":   {pushing, pushKey, pushing.Params("read"), http.StatusCreated},
		} {
			form := rig.Asserted(x.form, r.Assertion(x.app, x.key))
			if a := r.Post(path, form); a.Status != x.status {
				t.Fatalf("%s: %d %s", path, a.Status, a.Body)
			}
			for i := range 12 {
				if a := nodes[i%len(nodes)].Post(path, form); a.Status != http.StatusUnauthorized {
					t.Errorf("%s, replay %d: %d %s", path, i, a.Status, a.Body)
				}
			}
			if a := r.PostSigned(x.app, x.key, path, x.form); a.Status != x.status {
				t.Errorf("%s, a new assertion after the replays: %d %s", path, a.Status, a.Body)
			}
		}
	})
}
