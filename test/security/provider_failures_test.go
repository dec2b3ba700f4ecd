package security

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/providers"
	"doorward/test/rig"
)

var appSpec = management.ClientSpec{}

// wantUnavailable checks the page that says that a provider does not answer, and that nothing was created.
func wantUnavailable(t *testing.T, b *rig.Browser, a *rig.Answer, before tally) {
	t.Helper()
	wantPage(t, a, http.StatusBadGateway)
	if !strings.Contains(rig.Plain(a.Body), "Acme does not answer") {
		t.Errorf("the page says %s", rig.Plain(a.Body))
	}
	wantSame(t, b, before)
}

// brokenConnections are the faults of a connection after which a provider counts as unavailable.
var brokenConnections = []providers.Fault{
	providers.Down, providers.Nonsense, providers.Failing, providers.Busy, providers.Huge, providers.Redirecting,
}

// A provider that is down, or whose answers are no answers, gets a page with 502. The flow is still there, and the next
// try works once the provider does.
func TestG27_AProviderThatDoesNotAnswerUsesNothingUp(t *testing.T) {
	s := providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "")))
	follow(r, s)
	r.StopClock()
	connected(r, r.Alice, "acme", s.Issuer(), providers.Ada().Subject)
	works := func(t *testing.T, b *rig.Browser, form url.Values) {
		t.Helper()
		s.Repair()
		r.Advance(4 * time.Second) // a failure of the discovery document is remembered for three
		wantSignedIn(t, b, leave(b, "/login/acme", form).back(b), r.Alice)
	}
	form := func(b *rig.Browser) url.Values { return b.Form(b.Get("/login"), "/login/acme") }

	t.Run("discovery", func(t *testing.T) {
		b := r.Browser()
		same := form(b)
		for _, f := range append([]providers.Fault{
			providers.WrongIssuer, providers.PlainHTTP, providers.NoKeys, providers.OnlyHS256, providers.Empty,
			providers.Null, providers.Refusing,
		}, brokenConnections...) {
			if s.Break(f); f == providers.Empty || f == providers.Null || f == providers.Refusing {
				s.Break()
				s.BreakAt(providers.Discovery, f)
			}
			before := tallyOf(t, r)
			wantUnavailable(t, b, b.PostForm("/login/acme", same), before)
			s.Repair()
			r.Advance(4 * time.Second)
		}
		works(t, b, same)
	})
	for _, e := range []providers.Endpoint{providers.Token, providers.Keys, providers.UserInfo} {
		for _, f := range brokenConnections {
			t.Run(string(e)+" "+string(f), func(t *testing.T) {
				r.Advance(time.Minute) // the keys are read again at most five times a minute
				b := r.Browser()
				same := form(b)
				v := leave(b, "/login/acme", same)
				s.RotateKeys() // so that they are read again
				s.BreakAt(e, f)
				before := tallyOf(t, r)
				wantUnavailable(t, b, v.back(b), before)
				wantPage(t, v.back(b), http.StatusBadRequest) // its state was used
				works(t, b, same)
			})
		}
	}
	t.Run("a connection", func(t *testing.T) {
		b := r.Browser().SignIn(r.Alice.Email)
		s.SetUser(providers.User{Subject: "second", Email: "second@lovelace.example"})
		v := connectAt(b, "acme")
		s.BreakAt(providers.Token, providers.Down)
		a := v.back(b)
		wantPage(t, a, http.StatusBadGateway)
		if !strings.Contains(a.Body, `href="/settings/security"`) {
			t.Errorf("the page does not lead back: %s", a.Body)
		}
		s.Repair()
		if a := connectAt(b, "acme").back(b); a.Status != http.StatusSeeOther || len(providersOf(r, r.Alice.ID)) != 2 {
			t.Errorf("the next try is answered %d; connected: %q", a.Status, providersOf(r, r.Alice.ID))
		}
	})
	wantNoToken(t, r)
}

// A browser that gives up while the provider is slow gets no session, and its next try works.
func TestG27_ASlowProviderUsesNothingUp(t *testing.T) {
	s, other := providers.OIDC(t), providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", ""), outside(other, "other", "")))
	follow(r, s, other)
	connected(r, r.Alice, "acme", s.Issuer(), providers.Ada().Subject)
	// givesUp sends a request in the process of the server, whose context ends when the provider was asked. The time
	// limit of the server ends it in the same way.
	givesUp := func(t *testing.T, b *rig.Browser, e providers.Endpoint, q *http.Request) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q.Header.Set("Cookie", cookieHeader(b))
		s.BreakAt(e, providers.Slow)
		go func() {
			s.Await(t, e)
			cancel()
		}()
		w := httptest.NewRecorder()
		before := tallyOf(t, r)
		r.Web.ServeHTTP(w, q.WithContext(ctx))
		if w.Code != http.StatusBadGateway {
			t.Errorf("%s: answered %d %s", e, w.Code, rig.Plain(w.Body.String()))
		}
		if now := tallyOf(t, r); now != before {
			t.Errorf("%s: there were %+v, and are %+v now", e, before, now)
		}
		for _, c := range w.Result().Cookies() {
			if c.Value != "" {
				t.Errorf("%s: the cookie %s is set", e, c.Name)
			}
		}
		s.Repair()
	}
	b := r.Browser()
	form := b.Form(b.Get("/login"), "/login/acme")
	q := r.Request(http.MethodPost, "/login/acme", strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	givesUp(t, b, providers.Discovery, q)
	for _, e := range []providers.Endpoint{providers.Token, providers.Keys, providers.UserInfo} {
		v := leave(b, "/login/acme", form)
		givesUp(t, b, e, r.Request(http.MethodGet, v.path+"?"+v.params.Encode(), nil))
	}
	wantSignedIn(t, b, leave(b, "/login/acme", form).back(b), r.Alice)

	// Who waits until a slow provider has answered is signed in.
	connected(r, r.Alice, "other", other.Issuer(), providers.Ada().Subject)
	patient := r.Browser()
	v := depart(patient, patient.Get("/login"), "other")
	other.BreakAt(providers.Token, providers.Slow)
	go func() {
		other.Await(t, providers.Token)
		other.Repair()
	}()
	wantSignedIn(t, patient, v.back(patient), r.Alice)
}

// Keys that the provider has rotated work at once, and a provider that names another issuer does not.
func TestG27_RotatedKeysWorkAtOnceAndAnotherIssuerDoesNot(t *testing.T) {
	s := providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "")))
	follow(r, s)
	r.StopClock()
	connected(r, r.Alice, "acme", s.Issuer(), providers.Ada().Subject)
	for _, algorithm := range []string{"RS256", "RS256", "ES256", "EdDSA", "RS256"} {
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)
		s.RotateKeys()
		s.SignWith(algorithm)
		s.EditDiscovery(func(d map[string]any) {
			d["id_token_signing_alg_values_supported"] = []string{"RS256", "ES256", "EdDSA"}
		})
		r.Advance(time.Hour + time.Second) // the discovery document is read again
	}
	b := r.Browser()
	wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)

	// A document that cannot be used does not replace the one before, which works for a day.
	s.Break(providers.WrongIssuer)
	r.Advance(2 * time.Hour)
	b = r.Browser()
	wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)
	r.Advance(24 * time.Hour)
	b = r.Browser()
	before := tallyOf(t, r)
	wantUnavailable(t, b, b.PostForm("/login/acme", b.Form(b.Get("/login"), "/login/acme")), before)
	s.Repair()
	r.Advance(4 * time.Second)
	b = r.Browser()
	wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)
	wantNoToken(t, r)
}

// The clocks of the provider and of the server may be 30 seconds apart, and not two minutes.
func TestG27_ClocksMayBeHalfAMinuteApart(t *testing.T) {
	s := providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "")))
	follow(r, s)
	connected(r, r.Alice, "acme", s.Issuer(), providers.Ada().Subject)
	// The ID token expires at once, so that a clock that is late matters as well.
	s.EditClaims(func(claims map[string]any) { claims["exp"] = claims["iat"] })
	for _, shift := range []time.Duration{0, 30 * time.Second, -30 * time.Second} {
		s.Shift(shift)
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)
	}
	for _, shift := range []time.Duration{2 * time.Minute, -2 * time.Minute} {
		s.Shift(shift)
		b, before := r.Browser(), tallyOf(t, r)
		wantPage(t, signInAt(b, "acme"), http.StatusBadRequest)
		wantSame(t, b, before)
	}
}

// Without storage, a callback is 503 and says nothing of the user; and a callback of which a part cannot be stored
// leaves nothing behind. The next try works.
func TestT83_ACallbackWithoutStorageIs503(t *testing.T) {
	s := providers.Google(t)
	o := withProviders(outside(s, "google", "google"))
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		follow(r, s)
		s.Repair()
		connected(r, r.Alice, "google", s.Issuer(), providers.Ada().Subject)
		b, c := r.Browser(), r.Browser().SignIn(r.Alice.Email)
		in, out := depart(b, b.Get("/login"), "google"), connectAt(c, "google")
		form := b.Form(b.Get("/login"), "/login/google")
		r.BreakStorage()
		for _, a := range []*rig.Answer{in.back(b), out.back(c), b.PostForm("/login/google", form)} {
			wantPage(t, a, http.StatusServiceUnavailable)
			if a.Header.Get("Retry-After") == "" || innards.MatchString(rig.Plain(a.Body)) {
				t.Errorf("answered %v %s", a.Header, rig.Plain(a.Body))
			}
		}
		wantNoToken(t, r)
	})
	eachWithOwner(t, o, func(t *testing.T, r *rig.Rig, owner func(string)) {
		follow(r, s)
		account := connected(r, r.Alice, "google", s.Issuer(), providers.Ada().Subject)
		stranger := providers.User{Subject: "42", Email: "new@lovelace.example", Name: "New"}
		for _, x := range []struct {
			verb, table string
			user        providers.User
			connects    bool
		}{
			{"INSERT", "used_challenges", providers.Ada(), false},
			{"UPDATE", "provider_accounts", providers.Ada(), false},
			{"INSERT", "sessions", providers.Ada(), false},
			{"INSERT", "audit_events", providers.Ada(), false},
			{"INSERT", "email_proofs", stranger, false},
			{"UPDATE", "email_proofs", stranger, false},
			{"INSERT", "provider_accounts", stranger, true},
			{"INSERT", "emails", stranger, true},
			{"INSERT", "audit_events", stranger, true},
		} {
			t.Run(x.verb+" "+x.table, func(t *testing.T) {
				s.SetUser(x.user)
				b := r.Browser()
				begin := func() visited { return depart(b, b.Get("/login"), "google") }
				if x.connects {
					b.SignIn(r.Alice.Email)
					begin = func() visited { return connectAt(b, "google") }
				}
				v, before := begin(), tallyOf(t, r)
				restore := breakWrites(r, owner, x.verb, x.table)
				a := v.back(b)
				restore()
				if a.Status < 500 {
					t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
				}
				if innards.MatchString(rig.Plain(a.Body)) {
					t.Errorf("the page says %s", rig.Plain(a.Body))
				}
				if now := tallyOf(t, r); now != before {
					t.Errorf("there were %+v, and are %+v now", before, now)
				}
				if !x.connects && signedInAs(b) != "" {
					t.Error("the browser is signed in")
				}
				wantPage(t, v.back(b), http.StatusBadRequest) // the cookie has gone
				if a := begin().back(b); a.Status != http.StatusSeeOther {
					t.Errorf("the next try is answered %d %s", a.Status, rig.Plain(a.Body))
				}
				for _, p := range ownMethods(r, r.Alice) {
					if p.Provider != "" && p.ID != account.ID {
						ok(t, r.Identity.RemoveMethod(r.System(), r.Alice.ID, p.ID))
					}
				}
			})
		}
		s.SetUser(providers.Ada())
	})
}
