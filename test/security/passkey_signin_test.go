package security

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/test/authenticator"
	"doorward/test/rig"
)

// Of 64 uses of one answer of an authenticator at the same moment, and of any use after it, one has an effect, whether
// the authenticator counts its signatures or not (G-15).
func TestG15_AnAnswerOfAPasskeySignsInOnce(t *testing.T) {
	o := withPasskeys()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		for email, counter := range map[string]uint32{"none@example.com": 0, "counts@example.com": 7} {
			a := authenticator.New()
			a.Counter = counter
			u := r.User(email, "Person", false)
			addPasskey(r.Browser().SignIn(u.Email), a)
			b := r.Browser()
			form := answeredPasskey(b, a)
			worked, others := atOnce(nodes, b, func(b *rig.Browser) *rig.Answer { return b.PostForm("/login/passkey", form) })
			if n := len(sessionsOf(t, r, u.ID)); worked != 1 || n != 2 {
				t.Errorf("%s: %d of 64 had an effect; there are %d sessions, one of them from before", email, worked, n)
			}
			wantOnly(t, others, http.StatusBadRequest)
			for _, node := range nodes {
				late := node.Browser().WithCookiesOf(b)
				wantPage(t, late.PostForm("/login/passkey", form), http.StatusBadRequest)
				if n := len(sessionsOf(t, r, u.ID)); n != 2 {
					t.Errorf("%s: used again, there are %d sessions", email, n)
				}
			}
		}
	})
}

// The same holds for a passkey as the second factor of a sign-in, and for one that confirms an action (G-15).
func TestG15_AnAnswerIsOneSecondFactor(t *testing.T) {
	o := withPasskeys()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		u, owner, a := person(r, "owner@example.com")
		addTOTP(owner)
		b := r.Browser()
		halfway(b, u.Email)
		form, options := mustForm(b, b.Get("/login/second"), "/login/second")
		form.Set("credential", use(b, a, options))
		before := len(sessionsOf(t, r, u.ID))
		worked, others := atOnce(nodes, b, func(b *rig.Browser) *rig.Answer { return b.PostForm("/login/second", form) })
		if n := len(sessionsOf(t, r, u.ID)) - before; worked != 1 || n != 1 {
			t.Errorf("%d of 64 had an effect, with %d sessions", worked, n)
		}
		wantOnly(t, others, http.StatusBadRequest)
		wantPage(t, r.Browser().WithCookiesOf(b).PostForm("/login/second", form), http.StatusBadRequest)

		signedIn := byPasskey(r.Browser(), a)
		for _, n := range nodes {
			n.Advance(6 * time.Minute)
		}
		const action = "/settings/profile/export"
		form, options = mustForm(signedIn, signedIn.PostForm(action, nil), action)
		form.Set("current_passkey", use(signedIn, a, options))
		worked, others = atOnce(nodes, signedIn, func(b *rig.Browser) *rig.Answer { return b.PostForm(action, form) })
		if worked != 1 {
			t.Errorf("%d of 64 confirmations had an effect", worked)
		}
		wantOnly(t, others, http.StatusForbidden, http.StatusUnauthorized)
	})
}

// The same holds for a new passkey: the answer creates one (G-15).
func TestG15_AnAnswerCreatesOnePasskey(t *testing.T) {
	o := withPasskeys()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		b, first := r.Browser().SignIn(r.Alice.Email), authenticator.New()
		form := newPasskey(b, first)
		worked, others := atOnce(nodes, b, func(b *rig.Browser) *rig.Answer { return b.PostForm(newPasskeyPath, form) })
		if n := len(passkeys(t, r, r.Alice.ID)); worked != 1 || n != 1 {
			t.Errorf("%d of 64 had an effect; there are %d passkeys", worked, n)
		}
		// The one that worked has renewed the session's cookie, so later ones may come from a browser that is signed out;
		// and once there is a passkey, the session needs it.
		wantOnly(t, others, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden)
		if n := len(r.Emails()); n != 1 {
			t.Errorf("%d emails tell of it", n)
		}
		// The challenge does not create another passkey either.
		b = byPasskey(r.Browser(), first)
		form, options := mustForm(b, b.PostForm(newPasskeyPath+"/new", nil), newPasskeyPath)
		for i, want := range []int{http.StatusSeeOther, http.StatusBadRequest} {
			answer, err := authenticator.New().Create(r.Issuer, options)
			ok(t, err)
			if got := b.PostForm(newPasskeyPath, with(form, "credential", string(answer))); got.Status != want {
				t.Errorf("passkey %d of a challenge is answered %d", i+1, got.Status)
			}
		}
		if n := len(passkeys(t, r, r.Alice.ID)); n != 2 {
			t.Errorf("there are %d passkeys", n)
		}
	})
}

// atOnce sends a form 64 times at the same moment, from browsers with the cookies of b at all nodes. It returns how
// many had an effect, and the status of the other responses.
func atOnce(nodes []*rig.Rig, b *rig.Browser, send func(*rig.Browser) *rig.Answer) (worked int64, others []int) {
	b.T.Helper()
	const n = 64
	browsers := make([]*rig.Browser, n)
	for i := range browsers {
		browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
	}
	var count atomic.Int64
	var mu sync.Mutex
	rig.AtOnce(n, func(i int) {
		a := send(browsers[i])
		if a.Status == http.StatusSeeOther || a.Status == http.StatusOK {
			count.Add(1)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		others = append(others, a.Status)
	})
	return count.Load(), others
}

// wantOnly reports statuses that are none of those wanted.
func wantOnly(t *testing.T, got []int, wanted ...int) {
	t.Helper()
	for _, status := range got {
		found := false
		for _, want := range wanted {
			found = found || status == want
		}
		if !found {
			t.Errorf("a use without effect is answered %d, want %d", status, wanted)
			return
		}
	}
}

// A challenge works in the browser and the flow for which it was made, for five minutes (G-15).
func TestG15_AChallengeBelongsToItsPageAndExpires(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	r.StopClock()
	_, _, a := person(r, "owner@example.com")
	sessions := func() int { return count(t, r, `SELECT count(*) FROM sessions`) }
	before := sessions()
	refusedForm := func(name string, b *rig.Browser, form url.Values, status int) {
		t.Helper()
		if got := b.PostForm("/login/passkey", form); got.Status != status || sessions() != before {
			t.Errorf("%s: answered %d with %d new sessions, want %d", name, got.Status, sessions()-before, status)
		}
		if signedInAs(b) != "" {
			t.Errorf("%s: signed in", name)
		}
	}
	b, other := r.Browser(), r.Browser()
	form := answeredPasskey(b, a)
	refusedForm("in another browser", other, form, http.StatusForbidden)
	flow := other.Form(other.Get("/login"), "/login").Get("flow")
	refusedForm("in the flow of another browser", other, with(form, "flow", flow), http.StatusBadRequest)
	second := b.Form(b.Get("/login"), "/login").Get("flow")
	refusedForm("in another flow", b, with(form, "flow", second), http.StatusBadRequest)
	refusedForm("without a flow", b, with(form, "flow", ""), http.StatusForbidden)
	sealed := form.Get("challenge")
	for name, challenge := range map[string]string{
		"no challenge": "", "a cut challenge": sealed[:len(sealed)-1],
		"a forged challenge":    strings.Repeat("A", len(sealed)),
		"the flow as challenge": form.Get("flow"), "a cookie as challenge": cookie(b, "flow-0"),
	} {
		refusedForm(name, b, with(form, "challenge", challenge), http.StatusBadRequest)
	}
	// A challenge that the same page got earlier or later is another one.
	newer, _ := offeredIn(b, form.Get("flow"))
	refusedForm("with a newer challenge", b, with(form, "challenge", newer.Get("challenge")), http.StatusBadRequest)

	r.Advance(5*time.Minute + time.Second)
	refusedForm("after five minutes and a second", b, form, http.StatusBadRequest)
	fresh := r.Browser()
	form = answeredPasskey(fresh, a)
	r.Advance(5 * time.Minute)
	redirects(t, fresh.PostForm("/login/passkey", form), "/settings/profile")
}

// A challenge is good for one purpose: to sign in, as the second factor of one sign-in, to confirm an action of one
// session, or to create a passkey in one session (G-15).
func TestG15_AChallengeIsGoodForOnePurpose(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	u, owner, a := person(r, "owner@example.com")
	addTOTP(owner) // so that a password leads to the page for a second factor
	asking := r.Browser()
	halfway(asking, u.Email)
	r.Advance(6 * time.Minute) // the sessions are not fresh any more
	stale := byPasskey(r.Browser(), a)
	otherSession := byPasskey(r.Browser(), a)
	const action = "/settings/profile/export"
	type ask struct {
		browser          *rig.Browser
		path             string
		answer, fallback string
		page             func() (url.Values, []byte)
		refusal          int
	}
	r.Advance(6 * time.Minute)
	halfway(asking, u.Email)
	login := r.Browser()
	proofPage := func(b *rig.Browser) func() (url.Values, []byte) {
		return func() (url.Values, []byte) { return mustForm(b, b.PostForm(action, nil), action) }
	}
	asks := map[string]ask{
		"sign-in": {login, "/login/passkey", "credential", "challenge", func() (url.Values, []byte) {
			return offeredPasskey(login)
		}, http.StatusBadRequest},
		"second factor": {asking, "/login/second", "credential", "challenge", func() (url.Values, []byte) {
			return mustForm(asking, asking.Get("/login/second"), "/login/second")
		}, http.StatusBadRequest},
		"confirmation": {
			stale, action, "current_passkey", "current_challenge", proofPage(stale), http.StatusForbidden,
		},
		"confirmation in another session": {
			otherSession, action, "current_passkey", "current_challenge", proofPage(otherSession), http.StatusForbidden,
		},
	}
	creator := byPasskey(r.Browser(), a)
	created, createOptions := mustForm(creator, creator.PostForm(newPasskeyPath+"/new", nil), newPasskeyPath)
	sessions := func() int { return count(t, r, `SELECT count(*) FROM sessions`) }
	before := sessions()
	for to, x := range asks {
		form, options := x.page()
		for from, y := range asks {
			if from == to {
				continue
			}
			other, otherOptions := y.page()
			for name, forged := range map[string]url.Values{
				"with its answer": with(form, x.answer, use(x.browser, a, otherOptions), x.fallback, other.Get(y.fallback)),
				"alone":           with(form, x.answer, use(x.browser, a, options), x.fallback, other.Get(y.fallback)),
			} {
				if got := x.browser.PostForm(x.path, forged); got.Status != x.refusal || sessions() != before {
					t.Errorf("the challenge of a %s at a %s, %s: answered %d", from, to, name, got.Status)
				}
			}
		}
		answer := use(x.browser, a, options, authenticator.Challenge(challengeIn(t, createOptions)))
		forged := with(form, x.answer, answer, x.fallback, created.Get("challenge"))
		if got := x.browser.PostForm(x.path, forged); got.Status != x.refusal || sessions() != before {
			t.Errorf("the challenge of a new passkey at a %s: answered %d", to, got.Status)
		}
		other := authenticator.Challenge(challengeIn(t, options))
		answered, err := authenticator.New().Create(r.Issuer, createOptions, other)
		ok(t, err)
		wantPage(t, creator.PostForm(newPasskeyPath, with(
			created, "credential", string(answered), "challenge", form.Get(x.fallback),
		)), http.StatusBadRequest)
	}
	if n := len(passkeys(t, r, u.ID)); n != 1 {
		t.Errorf("there are %d passkeys", n)
	}
	// Each of them works where it belongs.
	for name, x := range asks {
		form, options := x.page()
		if got := x.browser.PostForm(x.path, with(form, x.answer, use(x.browser, a, options))); got.Status >= 400 {
			t.Errorf("%s: answered %d %s", name, got.Status, rig.Plain(got.Body))
		}
	}
}
