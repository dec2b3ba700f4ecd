package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/providers"
	"doorward/test/rig"
)

// A callback whose state is not that of the sign-in which this browser began gets a page with 400 and no session, and
// ends that sign-in.
func TestG25_ACallbackThatThisBrowserDoesNotWaitFor(t *testing.T) {
	s, other := providers.OIDC(t), providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", ""), outside(other, "other", "")))
	follow(r, s, other)
	ada := providers.Ada().Subject
	connected(r, r.Alice, "acme", s.Issuer(), ada)
	connected(r, r.Alice, "other", other.Issuer(), ada)
	app := r.App(management.ClientSpec{})
	params := app.Params("read")
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	askLink(r.Browser(), r.Alice.Email)
	link := r.Email("sign_in").Token()
	r.StopClock()

	for _, fault := range []providers.Fault{
		providers.NoState, providers.OtherState, providers.TwoStates, providers.TwoCodes, providers.NoCode,
		providers.OtherCode, providers.ForeignIssuer, providers.NoCallbackIssuer, providers.ServerError,
	} {
		t.Run(string(fault), func(t *testing.T) {
			b, before := r.Browser(), tallyOf(t, r)
			s.Break(fault)
			defer s.Repair()
			wantPage(t, signInAt(b, "acme"), http.StatusBadRequest)
			wantSame(t, b, before)
		})
	}

	// Each begins a sign-in in b, and changes what comes back.
	for name, change := range map[string]func(b *rig.Browser, v *visited){
		"an app's state":      func(_ *rig.Browser, v *visited) { v.params.Set("state", params.Get("state")) },
		"an app's code":       func(_ *rig.Browser, v *visited) { v.params.Set("state", code) },
		"an emailed link":     func(_ *rig.Browser, v *visited) { v.params.Set("state", link) },
		"the sealed cookie":   func(b *rig.Browser, v *visited) { v.params.Set("state", cookie(b, "doorward-provider")) },
		"the provider's code": func(_ *rig.Browser, v *visited) { v.params.Set("state", v.params.Get("code")) },
		"a longer state":      func(_ *rig.Browser, v *visited) { v.params.Set("state", v.params.Get("state")+"A") },
		"a shorter state":     func(_ *rig.Browser, v *visited) { v.params.Set("state", v.params.Get("state")[1:]) },
		"another letter case": func(_ *rig.Browser, v *visited) {
			v.params.Set("state", strings.ToLower(v.params.Get("state")))
		},
		"a state of 8 kB":      func(_ *rig.Browser, v *visited) { v.params.Set("state", strings.Repeat("A", 8<<10)) },
		"a state not in UTF-8": func(_ *rig.Browser, v *visited) { v.params.Set("state", "\xff\x00") },
		"the app's flow": func(b *rig.Browser, v *visited) {
			v.params.Set("state", b.Form(b.Authorize(params), "/login").Get("flow"))
		},
		"the state of another browser": func(_ *rig.Browser, v *visited) {
			elsewhere := r.Browser()
			v.params.Set("state", depart(elsewhere, elsewhere.Get("/login"), "acme").params.Get("state"))
		},
		"the whole callback of another browser": func(_ *rig.Browser, v *visited) {
			elsewhere := r.Browser()
			v.params = depart(elsewhere, elsewhere.Get("/login"), "acme").params
		},
		"no sign-in was begun": func(b *rig.Browser, _ *visited) {
			b.SetCookie(&http.Cookie{Name: "doorward-provider", Path: "/", MaxAge: -1})
		},
		"a cookie of another kind": func(b *rig.Browser, _ *visited) {
			b.SetCookie(&http.Cookie{Name: "doorward-provider", Value: r.Secrets.Seal("halfway", []byte("{}")), Path: "/"})
		},
		"an empty attempt": func(b *rig.Browser, v *visited) {
			sealed := r.Secrets.Seal("away", fmt.Appendf(nil, `{"p":"acme","t":%d}`, r.Store.Now()))
			b.SetCookie(&http.Cookie{Name: "doorward-provider", Value: sealed, Path: "/"})
			v.params.Del("state")
		},
		"ten minutes and a second later": func(_ *rig.Browser, _ *visited) { r.Advance(10*time.Minute + time.Second) },
		"at another provider's callback": func(_ *rig.Browser, v *visited) {
			v.path = "/login/other/callback"
			v.params.Set("iss", other.Issuer())
		},
		"another provider's callback, with this state": func(_ *rig.Browser, v *visited) {
			elsewhere, state := r.Browser(), v.params.Get("state")
			*v = depart(elsewhere, elsewhere.Get("/login"), "other")
			v.params.Set("state", state)
		},
		"another provider's code, with this state": func(_ *rig.Browser, v *visited) {
			elsewhere := r.Browser()
			v.params.Set("code", depart(elsewhere, elsewhere.Get("/login"), "other").params.Get("code"))
		},
		"the code of another browser, with this state": func(_ *rig.Browser, v *visited) {
			elsewhere := r.Browser()
			v.params.Set("code", depart(elsewhere, elsewhere.Get("/login"), "acme").params.Get("code"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := r.Browser()
			v := depart(b, b.Get("/login"), "acme")
			right := v
			right.params = altered(v.params, nil)
			change(b, &v)
			before := tallyOf(t, r)
			wantPage(t, v.back(b), http.StatusBadRequest)
			wantSame(t, b, before)
			wantPage(t, right.back(b), http.StatusBadRequest) // the sign-in has ended
			wantSame(t, b, before)
		})
	}

	t.Run("nine minutes and 59 seconds later", func(t *testing.T) {
		b := r.Browser()
		v := depart(b, b.Get("/login"), "acme")
		r.Advance(10*time.Minute - time.Second)
		wantSignedIn(t, b, v.back(b), r.Alice)
	})
	t.Run("replayed", func(t *testing.T) {
		b, copied := r.Browser(), r.Browser()
		v := depart(b, b.Get("/login"), "acme")
		copied.WithCookiesOf(b) // also the cookie of the flow
		wantSignedIn(t, b, v.back(b), r.Alice)
		before := tallyOf(t, r)
		wantPage(t, v.back(b), http.StatusBadRequest) // the browser stays signed in by the first one
		kept := r.Browser().WithCookiesOf(copied)
		wantPage(t, v.back(copied), http.StatusBadRequest)
		wantSame(t, copied, before)
		wantPage(t, v.again(kept).back(kept), http.StatusBadRequest) // with a code that was not redeemed
		wantSame(t, kept, before)
		if signedInAs(b) != r.Alice.Email {
			t.Error("a replay signs the user out")
		}
	})
	t.Run("without the cookie of the flow", func(t *testing.T) {
		b, elsewhere := r.Browser(), r.Browser()
		v := depart(b, b.Get("/login"), "acme")
		elsewhere.SetCookie(&http.Cookie{Name: "doorward-provider", Value: cookie(b, "doorward-provider"), Path: "/"})
		before := tallyOf(t, r)
		wantPage(t, v.back(elsewhere), http.StatusForbidden)
		wantSame(t, elsewhere, before)
	})
	t.Run("a form of another site begins nothing", func(t *testing.T) {
		b := r.Browser()
		form := b.Form(b.Get("/login"), "/login/acme")
		wantPage(t, fromAnotherSite(b, "/login/acme", form), http.StatusForbidden)
		elsewhere := r.Browser() // which has not the cookie of the flow
		wantPage(t, elsewhere.PostForm("/login/acme", form), http.StatusForbidden)
		for _, path := range []string{"/login/acme", "/login/acme?flow=" + url.QueryEscape(form.Get("flow"))} {
			if a := b.Get(path); a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
				t.Errorf("GET %s is answered %d", path, a.Status)
			}
		}
	})
	wantNoToken(t, r)
}

// Of 64 callbacks at once with the same cookie and state, one signs in: with the same code, and with a code of its own
// for each.
func TestG25_OneSessionForManyCallbacksAtOnce(t *testing.T) {
	s := providers.OIDC(t)
	o := withProviders(outside(s, "acme", ""))
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		follow(r, s)
		connected(r, r.Alice, "acme", s.Issuer(), providers.Ada().Subject)
		for round, codes := range []int{1, crowd} {
			b := r.Browser()
			first := depart(b, b.Get("/login"), "acme")
			browsers, visits := make([]*rig.Browser, crowd), make([]visited, crowd)
			for i := range browsers {
				browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
				if visits[i] = first; i > 0 && codes > 1 {
					visits[i] = first.again(b)
				}
			}
			var signedIn atomic.Int64
			rig.AtOnce(crowd, func(i int) {
				switch a := visits[i].back(browsers[i]); a.Status {
				case http.StatusSeeOther:
					signedIn.Add(1)
				case http.StatusBadRequest:
				default:
					t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
				}
			})
			if n := signedIn.Load(); n != 1 {
				t.Errorf("with %d codes, %d callbacks signed in", codes, n)
			}
			if n := len(sessionsOf(t, r, r.Alice.ID)); n != round+1 {
				t.Errorf("with %d codes, there are %d sessions", codes, n)
			}
		}
	})
}

// A callback connects an account only in the session that asked for it. Otherwise an attacker could connect their own
// account at a provider to a victim's account here.
func TestG25_AConnectionIsMadeOnlyInTheSessionThatAskedForIt(t *testing.T) {
	s := providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "")))
	follow(r, s)
	bob := r.User("bob@example.com", "Bob", false)
	none := func(t *testing.T, what string) {
		t.Helper()
		for _, u := range []string{r.Alice.ID, bob.ID} {
			if list := providersOf(r, u); len(list) != 0 {
				t.Errorf("%s: connected: %q", what, list)
			}
		}
	}
	provided := func(b *rig.Browser) *http.Cookie {
		return &http.Cookie{Name: "doorward-provider", Value: cookie(b, "doorward-provider"), Path: "/"}
	}
	for name, change := range map[string]func(b *rig.Browser) *rig.Browser{
		"another user's browser": func(*rig.Browser) *rig.Browser { return r.Browser().SignIn(bob.Email) },
		"another user's browser, with the cookie": func(b *rig.Browser) *rig.Browser {
			c := r.Browser().SignIn(bob.Email)
			c.SetCookie(provided(b))
			return c
		},
		"another session of the user, with the cookie": func(b *rig.Browser) *rig.Browser {
			c := r.Browser().SignIn(r.Alice.Email)
			c.SetCookie(provided(b))
			return c
		},
		"a browser that is signed out, with the cookie": func(b *rig.Browser) *rig.Browser {
			c := r.Browser()
			c.SetCookie(provided(b))
			return c
		},
		"another user in the same browser": func(b *rig.Browser) *rig.Browser {
			b.PostForm("/logout", nil)
			return b.SignIn(bob.Email)
		},
		"the user again in the same browser": func(b *rig.Browser) *rig.Browser {
			b.PostForm("/logout", nil)
			return b.SignIn(r.Alice.Email)
		},
		"signed out in the same browser": func(b *rig.Browser) *rig.Browser {
			b.PostForm("/logout", nil)
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := r.Browser().SignIn(r.Alice.Email)
			v := connectAt(b, "acme")
			c := change(b)
			before := tallyOf(t, r)
			wantPage(t, v.back(c), http.StatusBadRequest)
			none(t, "the callback")
			if tallyOf(t, r) != before {
				t.Error("something was created")
			}
			wantPage(t, v.back(c), http.StatusBadRequest)
			none(t, "the callback, again")
		})
	}
	t.Run("an attacker's callback, while the victim connects an account", func(t *testing.T) {
		attacker, victim := r.Browser().SignIn(bob.Email), r.Browser().SignIn(r.Alice.Email)
		theirs := connectAt(attacker, "acme")
		mine := connectAt(victim, "acme")
		wantPage(t, theirs.back(victim), http.StatusBadRequest)
		wantPage(t, mine.back(victim), http.StatusBadRequest)
		none(t, "the attacker's callback")
	})
	t.Run("another site begins no connection", func(t *testing.T) {
		b := r.Browser().SignIn(r.Alice.Email)
		const path = "/settings/security/providers/acme/connect"
		wantPage(t, fromAnotherSite(b, path, nil), http.StatusForbidden)
		if a := b.Get(path); a.Status != http.StatusMethodNotAllowed && a.Status != http.StatusNotFound {
			t.Errorf("GET is answered %d", a.Status)
		}
		if a := r.Browser().PostForm(path, nil); a.Status == http.StatusSeeOther && a.Location.Host != "" {
			t.Errorf("a visitor who is not signed in is sent to %v", a.Location)
		}
	})
	t.Run("a sign-in connects nothing, also in a session", func(t *testing.T) {
		b := r.Browser().SignIn(r.Alice.Email)
		v := depart(b, b.Get("/login?again=1"), "acme")
		if a := v.back(b); a.Status != http.StatusSeeOther || a.Location.Path != "/signup/code" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		none(t, "the sign-in")
	})
	t.Run("the session that asked", func(t *testing.T) {
		b := r.Browser().SignIn(r.Alice.Email)
		r.Emails()
		v := connectAt(b, "acme")
		a := v.back(b)
		if a.Status != http.StatusSeeOther || a.Location.Path != "/settings/security" {
			t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
		}
		if list := providersOf(r, r.Alice.ID); len(list) != 1 {
			t.Errorf("connected: %q", list)
		}
		r.Email("methods_changed")
		if n := count(t, r, `SELECT count(*) FROM audit_events WHERE action = 'provider.connected'`); n != 1 {
			t.Errorf("%d connections are recorded", n)
		}
		wantPage(t, v.back(b), http.StatusBadRequest)
		out := r.Browser()
		wantSignedIn(t, out, signInAt(out, "acme"), r.Alice)
	})
}

// Of 64 callbacks at once that connect one account at a provider to two users, one connects it.
func TestG25_OneConnectionForManyCallbacksAtOnce(t *testing.T) {
	s := providers.OIDC(t)
	rig.EachNodes(t, rig.Options{AtOnce: true, Providers: withProviders(outside(s, "acme", "")).Providers},
		func(t *testing.T, nodes []*rig.Rig) {
			r := nodes[0]
			follow(r, s)
			users := []string{r.Alice.Email, r.User("bob@example.com", "Bob", false).Email}
			browsers, visits := make([]*rig.Browser, crowd), make([]visited, crowd)
			for i := range browsers {
				if i < 4 {
					browsers[i] = nodes[i%len(nodes)].Browser().SignIn(users[i%2])
				} else { // another tab of one of the four
					browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(browsers[i%4])
				}
				visits[i] = connectAt(browsers[i], "acme")
			}
			rig.AtOnce(crowd, func(i int) {
				if a := visits[i].back(browsers[i]); a.Status != http.StatusSeeOther {
					t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
				}
			})
			if n := count(t, r, `SELECT count(*) FROM provider_accounts`); n != 1 {
				t.Errorf("%d connections", n)
			}
			if n := count(t, r, `SELECT count(*) FROM audit_events WHERE action = 'provider.connected'`); n != 1 {
				t.Errorf("%d connections are recorded", n)
			}
		})
}
