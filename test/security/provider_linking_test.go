package security

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"doorward/storage"
	"doorward/test/providers"
	"doorward/test/rig"
)

// answerOf is what a visitor sees of an answer and of the page to which it leads, without what differs each time.
func answerOf(b *rig.Browser, a *rig.Answer) string {
	b.T.Helper()
	page := b.Follow(a)
	header := a.Header.Clone()
	for _, h := range []string{"Date", "Location", "Set-Cookie", "X-Request-Id", "Content-Security-Policy"} {
		header.Del(h)
	}
	var names []string
	for _, c := range a.Cookies {
		names = append(names, c.Name)
	}
	to := ""
	if a.Location != nil {
		to = a.Location.Path
	}
	return fmt.Sprint(a.Status, header, to, names, page.Status, len(unvaried(page.Body)), rig.Plain(unvaried(page.Body)))
}

// The address of an account at a provider never connects it to the account here that has this address, whatever the
// provider says about it, and signs no one in. If it is proven, the page says so; otherwise the answer is that for an
// address without an account, and the email says that there is one.
func TestG28_AnAddressConnectsNothing(t *testing.T) {
	s, vouched, google := providers.OIDC(t), providers.OIDC(t), providers.Google(t)
	ms, gh := providers.Microsoft(t), providers.GitHub(t)
	o := withProviders(
		outside(s, "acme", ""), outside(vouched, "vouched", "", trusted), outside(google, "google", "google"),
		outside(ms, "microsoft", "microsoft", trusted), outside(gh, "github", "github"),
	)
	r := rig.Memory(t, o)
	all := map[string]*providers.Server{"acme": s, "vouched": vouched, "google": google, "microsoft": ms, "github": gh}
	for _, x := range all {
		follow(r, x)
	}
	off := r.User("off@example.com", "Off", false)
	ok(t, r.Identity.DisableUser(r.System(), off.ID))

	verified := map[string]any{
		"true": true, "true as text": "true", "false": false, "false as text": "false", "TRUE": "TRUE", "1": 1,
		"null": nil, "yes": "yes", "list": []bool{true},
	}
	cases := []struct {
		id, value string // of email_verified; empty: as the state says
		state     providers.EmailState
		proven    bool
	}{
		{"google", "", providers.Verified, true},
		{"google", "", providers.Unverified, false},
		{"google", "", providers.Unstated, false},
		{"github", "", providers.Verified, true},
		{"github", "", providers.Unverified, false},
		{"acme", "", providers.Verified, false},
		{"acme", "", providers.Unverified, false},
		{"acme", "", providers.Unstated, false},
		{"acme", "true", providers.Verified, false},
		{"microsoft", "true", providers.Verified, false},
		{"vouched", "", providers.Verified, true},
		{"vouched", "true as text", providers.Verified, true},
		{"vouched", "false", providers.Verified, false},
		{"vouched", "false as text", providers.Verified, false},
		{"vouched", "TRUE", providers.Verified, false},
		{"vouched", "1", providers.Verified, false},
		{"vouched", "null", providers.Verified, false},
		{"vouched", "yes", providers.Verified, false},
		{"vouched", "list", providers.Verified, false},
		{"vouched", "", providers.Unverified, false},
		{"vouched", "", providers.Unstated, false},
	}
	subject := 1000
	come := func(t *testing.T, id, email, value string, state providers.EmailState) (*rig.Browser, *rig.Answer) {
		t.Helper()
		subject++
		x := all[id]
		x.SetUser(providers.User{
			Subject: fmt.Sprint(subject), Email: email, State: state, Name: "Eve", Login: "eve", Tenant: providers.Tenant,
		})
		edit := func(m map[string]any) {
			if _, has := m["email"]; has && value != "" {
				m["email_verified"] = verified[value]
			}
		}
		x.EditClaims(edit)
		x.EditUserInfo(edit)
		b := r.Browser()
		return b, signInAt(b, id)
	}
	for _, x := range cases {
		t.Run(fmt.Sprint(x.id, " says ", x.state, " ", x.value), func(t *testing.T) {
			r.Advance(2 * time.Hour) // of the bounds on emails
			// An address that an undo can restore is not given to another account.
			before, after := fmt.Sprintf("m%d@example.com", subject), fmt.Sprintf("m%d@new.example", subject)
			moved := r.User(before, "Moved", false)
			ok(t, r.Identity.AskAddress(r.System(), moved.ID, after))
			_, err := r.Identity.ChangeAddress(r.System(), r.Email("address").Token())
			ok(t, err)
			r.Emails()
			fresh, a := come(t, x.id, fmt.Sprintf("new%d@example.com", subject), x.value, x.state)
			without := answerOf(fresh, a)
			if want := map[bool]string{true: "/signup/complete", false: "/signup/code"}[x.proven]; a.Status !=
				http.StatusSeeOther || a.Location.Path != want {
				t.Errorf("an address without an account is answered %d %v, want %s", a.Status, a.Location, want)
			}
			if kinds := kindsOf(r.Emails()); x.proven != (len(kinds) == 0) {
				t.Errorf("the emails are %q", kinds)
			}
			for _, email := range []string{r.Alice.Email, "ALICE@Example.COM", off.Email, before, after} {
				r.Advance(2 * time.Hour)
				before := tallyOf(t, r)
				b, a := come(t, x.id, email, x.value, x.state)
				now := tallyOf(t, r)
				emails := r.Emails()
				if before.proofs = now.proofs; now != before || signedInAs(b) != "" {
					t.Errorf("%s: there were %+v, and are %+v now", email, before, now)
				}
				if x.proven {
					wantPage(t, a, http.StatusConflict)
					text := rig.Plain(a.Body)
					if !strings.Contains(text, "Sign in in another way") || len(emails) != 0 {
						t.Errorf("%s: the emails are %q, the page says %s", email, kindsOf(emails), text)
					}
					continue
				}
				if got := answerOf(b, a); got != without {
					t.Errorf("%s is answered\n%s\nan address without an account\n%s", email, got, without)
				}
				if !slices.Equal(kindsOf(emails), []string{"sign_up_exists"}) || emails[0].URL != "" ||
					emails[0].Code != "" || emails[0].Recipient != email {
					t.Errorf("%s: the emails are %q", email, kindsOf(emails))
				}
				// No code completes an account.
				b.PostForm("/signup/code", url.Values{"code": {"00000000"}})
				if a := b.Get("/signup/complete"); a.Status != http.StatusBadRequest {
					t.Errorf("%s: the account can be completed: %d", email, a.Status)
				}
			}
		})
	}
	if n := count(t, r, `SELECT count(*) FROM provider_accounts`); n != 0 {
		t.Errorf("%d accounts are connected", n)
	}
	wantNoToken(t, r)
}

// An account at a provider is the issuer and the subject: its address, which changes there, signs in no other user, and
// the same subject at another issuer is another account.
func TestG28_AnAccountAtAProviderIsItsIssuerAndSubject(t *testing.T) {
	google, other, ms := providers.Google(t), providers.OIDC(t), providers.Microsoft(t)
	r := rig.Memory(t, withProviders(outside(google, "google", "google"), outside(other, "other", "", trusted),
		outside(ms, "microsoft", "microsoft")))
	follow(r, google, other, ms)
	bob := r.User("bob@example.com", "Bob", false)
	ada := providers.Ada()
	connected(r, bob, "google", google.Issuer(), ada.Subject)
	for _, email := range []string{r.Alice.Email, "ada@new.example", "", bob.Email} {
		for _, state := range []providers.EmailState{providers.Verified, providers.Unverified, providers.Unstated} {
			ada.Email, ada.State = email, state
			google.SetUser(ada)
			b := r.Browser()
			wantSignedIn(t, b, signInAt(b, "google"), bob)
		}
	}
	user, err := r.Store.UserByID(r.System(), bob.ID)
	ok(t, err)
	if user.Email != bob.Email {
		t.Errorf("the user has the address %s now", user.Email)
	}

	t.Run("the same subject at another issuer", func(t *testing.T) {
		for _, email := range []string{bob.Email, "ada@new.example"} {
			other.SetUser(providers.User{Subject: ada.Subject, Email: email})
			b := r.Browser()
			if a := signInAt(b, "other"); signedInAs(b) != "" {
				t.Errorf("signed in: %d %v", a.Status, a.Location)
			}
		}
	})
	t.Run("the same subject of another tenant", func(t *testing.T) {
		connected(r, r.Alice, "microsoft", ms.TenantIssuer(providers.Tenant), ada.Subject)
		for tenant, signsIn := range map[string]bool{
			providers.Tenant: true, providers.OtherTenant: false, providers.PersonalTenant: false,
		} {
			ms.SetUser(providers.User{Subject: ada.Subject, Email: r.Alice.Email, Tenant: tenant})
			b := r.Browser()
			a := signInAt(b, "microsoft")
			if (signedInAs(b) == r.Alice.Email) != signsIn {
				t.Errorf("tenant %s: answered %d, signed in as %q", tenant, a.Status, signedInAs(b))
			}
		}
	})
	t.Run("a subject in another letter case, or with space", func(t *testing.T) {
		connected(r, r.Alice, "other", other.Issuer(), "Subject")
		for _, subject := range []string{"subject", "SUBJECT", "Subject ", " Subject", "Subjec", "Subject2"} {
			other.SetUser(providers.User{Subject: subject, Email: "x@new.example"})
			b := r.Browser()
			if signInAt(b, "other"); signedInAs(b) != "" {
				t.Errorf("subject %q signs in as %s", subject, signedInAs(b))
			}
		}
	})
	wantNoToken(t, r)
}

// An account at a provider that is connected to one user cannot be connected to another one, and does not sign them in.
func TestG28_AConnectedAccountStaysWithItsUser(t *testing.T) {
	s := providers.OIDC(t)
	rig.Each(t, withProviders(outside(s, "acme", "")), func(t *testing.T, r *rig.Rig) {
		follow(r, s)
		bob := r.User("bob@example.com", "Bob", false)
		own := connected(r, bob, "acme", s.Issuer(), providers.Ada().Subject)
		b := r.Browser().SignIn(r.Alice.Email)
		r.Emails()
		a := connectAt(b, "acme").back(b)
		if a.Status != http.StatusSeeOther || a.Location.Path != "/settings/security" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		text := rig.Plain(b.Follow(a).Body)
		if !strings.Contains(text, "This account is connected to another user here") || strings.Contains(text, bob.Email) {
			t.Errorf("the page says %s", text)
		}
		if list := r.Emails(); len(list) != 0 {
			t.Errorf("the emails are %q", kindsOf(list))
		}
		if len(providersOf(r, r.Alice.ID)) != 0 || len(providersOf(r, bob.ID)) != 1 {
			t.Errorf("connected: Alice %q, Bob %q", providersOf(r, r.Alice.ID), providersOf(r, bob.ID))
		}
		// Nor can Alice remove it.
		path := "/settings/security/methods/" + own.ID + "/remove"
		wantPage(t, b.Get(path), http.StatusNotFound)
		wantPage(t, b.PostForm(path, url.Values{"token": {"x"}}), http.StatusNotFound)
		out := r.Browser()
		wantSignedIn(t, out, signInAt(out, "acme"), bob)
		// Connecting it again changes nothing, and tells nothing.
		if a := connectAt(out, "acme").back(out); a.Status != http.StatusSeeOther {
			t.Errorf("connecting it again is answered %d", a.Status)
		}
		if list := providersOf(r, bob.ID); len(list) != 1 {
			t.Errorf("connected: %q", list)
		}
	})
}

// withTOTP sets up an authenticator app for a user, and returns a function that enters its codes.
func withTOTP(t *testing.T, r *rig.Rig, u storage.User) (code func() string) {
	t.Helper()
	setup, err := r.Identity.NewTOTP(&u, "test")
	ok(t, err)
	code = func() string {
		r.Advance(31 * time.Second) // each works once
		text, err := totp.GenerateCode(setup.Secret, r.Store.Now().Time())
		ok(t, err)
		return text
	}
	proof, _, err := r.Identity.EnableTOTP(r.System(), u, "test", setup.Sealed, code())
	ok(t, err)
	ok(t, r.Store.InTx(r.System(), proof.Take))
	return code
}

// An account at a provider is connected under /settings/security only, after a fresh proof at the highest level that
// the user can reach, which is still fresh when the browser comes back.
func TestG28_ConnectingNeedsAFreshProofAtTheHighestLevel(t *testing.T) {
	s := providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "")))
	follow(r, s)
	const path = "/settings/security/providers/acme/connect"
	proof := func(b *rig.Browser, form url.Values) {
		t.Helper()
		before := len(s.Authorizations())
		a := b.PostForm(path, form)
		if a.Status != http.StatusForbidden || cookie(b, "doorward-provider") != "" {
			t.Errorf("the form %v is answered %d %v", form, a.Status, a.Location)
		}
		if len(s.Authorizations()) != before {
			t.Error("the provider was visited")
		}
	}
	b := r.Browser().SignIn(r.Alice.Email)
	r.Advance(5*time.Minute + time.Second)
	proof(b, nil)
	proof(b, url.Values{"current_password": {"wrong"}})
	v := leave(b, path, url.Values{"current_password": {rig.Password}})
	r.Advance(5*time.Minute + time.Second)
	a := v.back(b)
	if text := rig.Plain(b.Follow(a).Body); !strings.Contains(text, "nothing was connected") {
		t.Errorf("answered %d %s", a.Status, text)
	}
	if list := providersOf(r, r.Alice.ID); len(list) != 0 {
		t.Errorf("after the proof has become old, connected: %q", list)
	}
	leave(b, path, url.Values{"current_password": {rig.Password}}).back(b)
	if list := providersOf(r, r.Alice.ID); len(list) != 1 {
		t.Errorf("connected: %q", list)
	}

	t.Run("a user with an authenticator app", func(t *testing.T) {
		bob := r.User("bob@example.com", "Bob", false)
		b := r.Browser().SignIn(bob.Email)
		s.SetUser(providers.User{Subject: "of Bob", Email: "b@new.example"})
		before := connectAt(b, "acme") // by the password alone, which is the highest level so far
		code := withTOTP(t, r, bob)
		if a := before.back(b); a.Status != http.StatusSeeOther || len(providersOf(r, bob.ID)) != 0 {
			t.Errorf("after the level rose, answered %d; connected: %q", a.Status, providersOf(r, bob.ID))
		}
		proof(b, nil)
		proof(b, url.Values{"current_password": {rig.Password}})
		proof(b, url.Values{"current_password": {rig.Password}, "current_code": {"000000"}})
		proof(b, url.Values{"current_code": {code()}})
		form := url.Values{"current_password": {rig.Password}, "current_code": {code()}}
		leave(b, path, form).back(b)
		if list := providersOf(r, bob.ID); len(list) != 1 {
			t.Errorf("connected: %q", list)
		}
	})
	t.Run("a user who came from the provider proves it there again", func(t *testing.T) {
		r.SQL(`UPDATE users SET password_hash = '' WHERE email_key = 'alice@example.com'`)
		s.SetUser(providers.Ada())
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)
		r.Advance(5*time.Minute + time.Second)
		proof(b, nil)
		proof(b, url.Values{"current_password": {rig.Password}})
		again := b.Get("/login?again=1&return_to=/settings/security")
		if a := depart(b, again, "acme").back(b); a.Status != http.StatusSeeOther || a.Location.Path != "/settings/security" {
			t.Errorf("signing in again leads to %d %v", a.Status, a.Location)
		}
		connectAt(b, "acme")
	})
	t.Run("a provider that is not configured", func(t *testing.T) {
		b := r.Browser().SignIn(r.User("carla@example.com", "Carla", false).Email)
		for _, id := range []string{"none", "google", "passkey", "ACME", "acme%2f"} {
			if a := b.PostForm("/settings/security/providers/"+id+"/connect", nil); a.Status != http.StatusNotFound {
				t.Errorf("%s is answered %d", id, a.Status)
			}
		}
	})
}

// An attacker who begins a sign-up at a provider with the address of another person does not get into the account that
// the person creates from the email, unless it is completed in the attacker's own browser.
func TestG28_ASignUpIsConnectedOnlyInTheBrowserThatBeganIt(t *testing.T) {
	s := providers.OIDC(t)
	rig.Each(t, withProviders(outside(s, "acme", "")), func(t *testing.T, r *rig.Rig) {
		follow(r, s)
		s.SetUser(providers.User{Subject: "the attacker's", Email: "victim@example.com", Name: "Not The Victim"})
		attacker, victim := r.Browser(), r.Browser()
		signInAt(attacker, "acme")
		e := r.Email("sign_up")
		if a := useLink(victim, e); a.Status != http.StatusSeeOther {
			t.Fatalf("the link is answered %d %s", a.Status, rig.Plain(a.Body))
		}
		page := victim.Get("/signup/complete")
		if strings.Contains(rig.Plain(page.Body), "You will sign in with") ||
			!strings.Contains(page.Body, `name="password"`) {
			t.Errorf("the page of the victim: %s", rig.Plain(page.Body))
		}
		wantPage(t, attacker.Get("/signup/complete"), http.StatusBadRequest)
		if a := completed(victim, "Victim"); a.Status != http.StatusSeeOther {
			t.Fatalf("the account is answered %d %s", a.Status, rig.Plain(a.Body))
		}
		if signedInAs(victim) != "victim@example.com" || signedInAs(attacker) != "" {
			t.Errorf("signed in: the victim as %q, the attacker as %q", signedInAs(victim), signedInAs(attacker))
		}
		if n := count(t, r, `SELECT count(*) FROM provider_accounts`); n != 0 {
			t.Error("the attacker's account is connected")
		}
		for _, b := range []*rig.Browser{attacker, r.Browser()} {
			if signInAt(b, "acme"); signedInAs(b) != "" {
				t.Errorf("the attacker signs in as %s", signedInAs(b))
			}
		}

		// The one whose address it is, in one browser, by the link and by the code.
		for i, prove := range []func(b *rig.Browser, e rig.Email) *rig.Answer{
			useLink, func(b *rig.Browser, e rig.Email) *rig.Answer {
				return b.PostForm("/signup/code", url.Values{"code": {e.Code}})
			},
		} {
			r.Emails()
			ada := providers.Ada()
			ada.Subject, ada.Email = fmt.Sprint("own", i), fmt.Sprintf("own%d@example.com", i)
			s.SetUser(ada)
			b := r.Browser()
			signInAt(b, "acme")
			if a := prove(b, r.Email("sign_up")); a.Status != http.StatusSeeOther {
				t.Fatalf("the proof is answered %d %s", a.Status, rig.Plain(a.Body))
			}
			page := b.Get("/signup/complete")
			if !strings.Contains(rig.Plain(page.Body), "You will sign in with") ||
				strings.Contains(page.Body, `name="password"`) || !strings.Contains(page.Body, `value="Ada Lovelace"`) {
				t.Errorf("the page: %s", rig.Plain(page.Body))
			}
			if a := completed(b, ""); a.Status != http.StatusSeeOther || signedInAs(b) != ada.Email {
				t.Errorf("the account is answered %d %s", a.Status, rig.Plain(a.Body))
			}
			user, err := r.Store.UserByEmail(r.System(), ada.Email)
			ok(t, err)
			if list := providersOf(r, user.ID); !slices.Equal(list, []string{"acme " + ada.Subject}) {
				t.Errorf("connected: %q", list)
			}
			if user.PasswordHash != "" || user.EmailProvenAt.IsZero() {
				t.Errorf("the user has a password %t, a proven address %t", user.PasswordHash != "",
					!user.EmailProvenAt.IsZero())
			}
			again := r.Browser()
			wantSignedIn(t, again, signInAt(again, "acme"), user)
		}
	})
}

// A user who has no other way in keeps the last account at a provider, also if all are removed at once.
func TestG28_DisconnectingLocksNoOneOut(t *testing.T) {
	s, other := providers.OIDC(t), providers.OIDC(t)
	list := withProviders(outside(s, "acme", ""), outside(other, "other", "")).Providers
	o := rig.Options{AtOnce: true, Providers: list}
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		follow(r, s, other)
		ada := providers.Ada().Subject
		r.SQL(`UPDATE users SET password_hash = '' WHERE email_key = 'alice@example.com'`)
		two := []storage.ProviderAccount{
			connected(r, r.Alice, "acme", s.Issuer(), ada), connected(r, r.Alice, "other", other.Issuer(), ada),
		}
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, "acme"), r.Alice)
		browsers, forms := make([]*rig.Browser, crowd), make([]url.Values, crowd)
		path := func(i int) string { return "/settings/security/methods/" + two[i%2].ID + "/remove" }
		for i := range browsers {
			browsers[i] = nodes[i/2%len(nodes)].Browser().WithCookiesOf(b)
			forms[i] = b.Form(browsers[i].Get(path(i)), path(i))
		}
		var removed, kept atomic.Int64
		rig.AtOnce(crowd, func(i int) {
			switch a := browsers[i].PostForm(path(i), forms[i]); a.Status {
			case http.StatusSeeOther:
				removed.Add(1)
			case http.StatusConflict:
				kept.Add(1)
			case http.StatusNotFound: // it was removed by another request
			default:
				t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
			}
		})
		if removed.Load() != 1 || kept.Load() == 0 || len(providersOf(r, r.Alice.ID)) != 1 {
			t.Errorf("%d removals, %d refusals; connected: %q", removed.Load(), kept.Load(), providersOf(r, r.Alice.ID))
		}
		left := ownMethods(r, r.Alice)
		wantPage(t, b.Confirm("/settings/security/methods/"+left[0].ID+"/remove", nil), http.StatusConflict)
		again := r.Browser()
		wantSignedIn(t, again, signInAt(again, left[0].Provider), r.Alice)
	})
}

// Disconnecting needs a fresh proof at the highest level, is told by email, and ends the sign-ins with the account.
func TestG28_DisconnectingNeedsAFreshProof(t *testing.T) {
	s := providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "")))
	follow(r, s)
	own := connected(r, r.Alice, "acme", s.Issuer(), providers.Ada().Subject)
	path := "/settings/security/methods/" + own.ID + "/remove"
	b := r.Browser().SignIn(r.Alice.Email)
	elsewhere := r.Browser()
	under := depart(elsewhere, elsewhere.Get("/login"), "acme")
	r.Advance(5*time.Minute + time.Second)
	if a := b.Confirm(path, nil); a.Status != http.StatusForbidden || len(providersOf(r, r.Alice.ID)) != 1 {
		t.Errorf("without a fresh proof it is answered %d", a.Status)
	}
	r.Emails()
	a := b.Confirm(path, url.Values{"current_password": {rig.Password}})
	if a.Status != http.StatusSeeOther || len(providersOf(r, r.Alice.ID)) != 0 {
		t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
	}
	if e := r.Email("methods_changed"); e.Recipient != r.Alice.Email {
		t.Errorf("%s is told", e.Recipient)
	}
	if under.back(elsewhere); signedInAs(elsewhere) != "" {
		t.Error("a sign-in that was under way signs in")
	}
}

// A user who is disabled, or waits for approval, does not sign in with an account at a provider.
func TestG28_ADisabledUserDoesNotSignIn(t *testing.T) {
	s := providers.Google(t)
	rig.Each(t, withProviders(outside(s, "google", "google")), func(t *testing.T, r *rig.Rig) {
		follow(r, s)
		connected(r, r.Alice, "google", s.Issuer(), providers.Ada().Subject)
		b, c := r.Browser(), r.Browser().SignIn(r.Alice.Email)
		v := depart(b, b.Get("/login"), "google")
		s.SetUser(providers.User{Subject: "2", Email: "second@lovelace.example"})
		w := connectAt(c, "google")
		s.SetUser(providers.Ada())
		ok(t, r.Identity.DisableUser(r.System(), r.Alice.ID))
		before := tallyOf(t, r)
		wantPage(t, v.back(b), http.StatusForbidden)
		wantSame(t, b, before)
		wantPage(t, w.back(c), http.StatusBadRequest)
		ok(t, r.Identity.EnableUser(r.System(), r.Alice.ID))
		if list := providersOf(r, r.Alice.ID); len(list) != 1 {
			t.Errorf("connected: %q", list)
		}
		wantSignedIn(t, b, signInAt(b, "google"), r.Alice)
	})
}
