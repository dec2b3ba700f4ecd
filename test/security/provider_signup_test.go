package security

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"doorward/config"
	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/providers"
	"doorward/test/rig"
	"doorward/web/signin"
)

// Of 64 sign-ups that are completed at once with one account at a provider, one creates a user: with an address of its
// own for each, and with one address in different letter cases.
func TestG31_OneUserForManySignUpsFromOneAccount(t *testing.T) {
	s := providers.Google(t)
	o := withProviders(outside(s, "google", "google"))
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		follow(r, s)
		for name, address := range map[string]func(i int) string{
			"addresses of their own": func(i int) string { return fmt.Sprintf("ada%d@lovelace.example", i) },
			"one address": func(i int) string {
				return []string{"one@lovelace.example", "ONE@Lovelace.example"}[i%2]
			},
		} {
			before := tallyOf(t, r)
			browsers, forms := make([]*rig.Browser, crowd), make([]url.Values, crowd)
			const begun = 8 // sign-ups, each completed by as many browsers: a network may begin 20 in an hour
			for i := range browsers {
				b := nodes[i%len(nodes)].Browser()
				if i >= begun {
					browsers[i], forms[i] = b.WithCookiesOf(browsers[i%begun]), forms[i%begun]
					continue
				}
				s.SetUser(providers.User{Subject: name, Email: address(i), Name: "Ada"})
				if a := signInAt(b, "google"); a.Status != http.StatusSeeOther || a.Location.Path != "/signup/complete" {
					t.Fatalf("answered %d %v %s", a.Status, a.Location, rig.Plain(a.Body))
				}
				browsers[i], forms[i] = b, b.Form(b.Get("/signup/complete"), "/signup/complete")
			}
			var created atomic.Int64
			rig.AtOnce(crowd, func(i int) {
				switch a := browsers[i].PostForm("/signup/complete", forms[i]); a.Status {
				case http.StatusSeeOther:
					created.Add(1)
				case http.StatusBadRequest:
				default:
					t.Errorf("%s: answered %d %s", name, a.Status, rig.Plain(a.Body))
				}
			})
			now := tallyOf(t, r)
			if created.Load() != 1 || now.users != before.users+1 || now.accounts != before.accounts+1 ||
				now.sessions != before.sessions+1 {
				t.Errorf("%s: %d were created; there were %+v, and are %+v now", name, created.Load(), before, now)
			}
			var signedIn []string
			for _, b := range browsers {
				if email := signedInAs(b); email != "" {
					signedIn = append(signedIn, email)
				}
			}
			again := nodes[len(nodes)-1].Browser()
			if signInAt(again, "google"); len(signedIn) != 1 || signedInAs(again) != signedIn[0] {
				t.Errorf("%s: signed in are %q, and now %q", name, signedIn, signedInAs(again))
			}
		}
	})
}

// Of 64 uses of one form that completes a sign-up from a provider, one creates a user.
func TestG31_ASignUpFromAProviderIsCompletedOnce(t *testing.T) {
	s := providers.Google(t)
	o := withProviders(outside(s, "google", "google"))
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		follow(r, s)
		b, before := r.Browser(), tallyOf(t, r)
		signInAt(b, "google")
		form := b.Form(b.Get("/signup/complete"), "/signup/complete")
		browsers := make([]*rig.Browser, crowd)
		for i := range browsers {
			browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
		}
		var created atomic.Int64
		rig.AtOnce(crowd, func(i int) {
			switch a := browsers[i].PostForm("/signup/complete", form); a.Status {
			case http.StatusSeeOther:
				created.Add(1)
			case http.StatusBadRequest:
			default:
				t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
			}
		})
		now := tallyOf(t, r)
		if created.Load() != 1 || now.users != before.users+1 || now.accounts != 1 || now.sessions != before.sessions+1 {
			t.Errorf("%d were created; there were %+v, and are %+v now", created.Load(), before, now)
		}
	})
}

// A provider creates accounts only for those who may sign up: as sign_up of the server and of the provider, the
// invitation and the domains say. A user who is connected signs in all the same.
func TestG31_WhoMaySignUpWithAProvider(t *testing.T) {
	google, plain := providers.Google(t), providers.OIDC(t)
	never := func(p *config.Provider) { p.SignUp = false }
	for name, x := range map[string]struct {
		signUp  string
		change  func(*config.Provider)
		allowed bool // without an invitation
		invited bool // with the one for the address
	}{
		"open":                       {signUp: signin.SignUpOpen, allowed: true, invited: true},
		"open, not by this provider": {signUp: signin.SignUpOpen, change: never},
		"invited":                    {signUp: signin.SignUpInvited, invited: true},
		"invited, not by this provider": {
			signUp: signin.SignUpInvited, change: never,
		},
		"closed": {signUp: signin.SignUpClosed},
	} {
		t.Run(name, func(t *testing.T) {
			change := x.change
			if change == nil {
				change = func(*config.Provider) {}
			}
			o := withProviders(outside(google, "google", "google", change), outside(plain, "acme", "", change))
			o.SignUp = x.signUp
			r := rig.Memory(t, o)
			follow(r, google, plain)
			connected(r, r.Alice, "google", google.Issuer(), "of Alice")
			ws := r.Workspace("engines", "", r.User("owner@example.com", "Owner", false))
			invite := func(email string) string {
				t.Helper()
				_, word, err := r.Management.Invite(r.System(), management.CLI(ws.ID), ws, email, catalog.RoleMember)
				if x.signUp == signin.SignUpClosed { // such an invitation is refused
					return "/join/x"
				}
				ok(t, err)
				r.Seen.Add(rig.SecretInvitation, word)
				return "/join/" + word
			}
			for i, y := range []struct {
				what, email, to string
				may             bool
			}{
				{"without an invitation", "a%d@lovelace.example", "/settings/profile", x.allowed},
				{"with an invitation that does not exist", "b%d@lovelace.example", "/join/dw_in_x", x.allowed},
				{"with another's invitation", "c%d@lovelace.example", invite("other@lovelace.example"), x.allowed},
				{"with the invitation", "d%d@lovelace.example", "", x.invited},
				{"with the invitation, in another letter case", "E%d@Lovelace.Example", "", x.invited},
			} {
				r.Emails() // of the invitations
				for j, id := range []string{"google", "acme"} {
					s := []*providers.Server{google, plain}[j]
					email, to := fmt.Sprintf(y.email, j), y.to
					if to == "" {
						to = invite(strings.ToLower(email))
						r.Emails()
					}
					s.SetUser(providers.User{Subject: fmt.Sprint(i), Email: email, Name: "Ada"})
					b, before := r.Browser(), tallyOf(t, r)
					a := depart(b, b.Get("/login?return_to="+url.QueryEscape(to)), id).back(b)
					if !y.may {
						wantPage(t, a, http.StatusForbidden)
						wantSame(t, b, before)
						if list := r.Emails(); len(list) != 0 {
							t.Errorf("%s, %s: the emails are %q", y.what, id, kindsOf(list))
						}
						continue
					}
					if id == "acme" {
						a = useLink(b, r.Email("sign_up"))
					}
					if a.Status != http.StatusSeeOther || a.Location.Path != "/signup/complete" {
						t.Errorf("%s, %s: answered %d %v %s", y.what, id, a.Status, a.Location, rig.Plain(a.Body))
						continue
					}
					a = completed(b, "Ada")
					if a.Status != http.StatusSeeOther || signedInAs(b) != email {
						t.Errorf("%s, %s: the account is answered %d %s", y.what, id, a.Status, rig.Plain(a.Body))
					}
					if strings.HasPrefix(to, "/join/") && to != "/join/dw_in_x" && a.Location.Path != to {
						t.Errorf("%s, %s: the account leads to %v", y.what, id, a.Location)
					}
				}
			}
			google.SetUser(providers.User{Subject: "of Alice", Email: "alice@elsewhere.example"})
			b := r.Browser()
			wantSignedIn(t, b, signInAt(b, "google"), r.Alice)
		})
	}
}

// A domain whose addresses may not sign up gets no account from a provider either. An account that needs an approval
// waits for it, and does not sign in with the provider until then.
func TestG31_DomainsAndApprovalHoldForProviders(t *testing.T) {
	google, plain := providers.Google(t), providers.OIDC(t)
	o := withProviders(outside(google, "google", "google"), outside(plain, "acme", ""))
	r := rig.Memory(t, o)
	follow(r, google, plain)
	root := r.User("root@example.com", "Root", true)
	reconfigure(t, r, o, func(c *identity.Config) {
		c.Emails.Approval = true
		c.Emails.Allows = config.Domains{Allow: []string{"lovelace.example"}}.Allows
	})
	for id, s := range map[string]*providers.Server{"google": google, "acme": plain} {
		for i, email := range []string{
			"ada@elsewhere.example", "ada@sub.lovelace.example", "ada@lovelace.example.evil.example", "ada@xlovelace.example",
		} {
			s.SetUser(providers.User{Subject: fmt.Sprint("foreign", i), Email: email})
			b, before := r.Browser(), tallyOf(t, r)
			wantPage(t, signInAt(b, id), http.StatusForbidden)
			wantSame(t, b, before)
		}
		r.Emails()
		email := id + "@LOVELACE.example"
		s.SetUser(providers.User{Subject: "own", Email: email, Name: "Ada"})
		b := r.Browser()
		if signInAt(b, id); id == "acme" {
			useLink(b, r.Email("sign_up"))
		}
		sessions := tallyOf(t, r).sessions
		a := completed(b, "Ada")
		if a.Status != http.StatusOK || signedInAs(b) != "" || tallyOf(t, r).sessions != sessions {
			t.Errorf("%s: the account is answered %d %s", id, a.Status, rig.Plain(a.Body))
		}
		user, err := r.Store.UserByEmail(r.System(), email)
		ok(t, err)
		if user.WaitingSince.IsZero() || len(providersOf(r, user.ID)) != 1 {
			t.Errorf("%s: waits: %t; connected: %q", id, !user.WaitingSince.IsZero(), providersOf(r, user.ID))
		}
		before := tallyOf(t, r)
		wantPage(t, signInAt(b, id), http.StatusForbidden)
		wantSame(t, b, before)
		ok(t, r.Identity.ApproveUser(storage.WithActor(r.System(), &storage.Actor{UserID: root.ID}), user.ID))
		wantSignedIn(t, b, signInAt(b, id), user)
	}
}

// A provider with domains refuses other addresses, at sign-in, at sign-up and for a connection.
func TestG30_AProviderWithDomainsRefusesOtherAddresses(t *testing.T) {
	s := providers.Google(t)
	r := rig.Memory(t, withProviders(outside(s, "google", "google", func(p *config.Provider) {
		p.Domains = []string{"lovelace.example", "second.example"}
	})))
	follow(r, s)
	connected(r, r.Alice, "google", s.Issuer(), "connected")
	for _, email := range []string{
		"", "ada@elsewhere.example", "ada@sub.lovelace.example", "ada@lovelace.example.evil.example",
		"ada@xlovelace.example", "ada@example", "lovelace.example@elsewhere.example",
		`"a@lovelace.example"@elsewhere.example`,
		"ada@lovelace.example.", "ada@elsewhere.example@lovelace.example", r.Alice.Email,
	} {
		for _, subject := range []string{"connected", "new"} {
			s.SetUser(providers.User{Subject: subject, Email: email})
			b, before := r.Browser(), tallyOf(t, r)
			a := signInAt(b, "google")
			wantPage(t, a, http.StatusForbidden)
			wantSame(t, b, before)
			if !strings.Contains(rig.Plain(a.Body), "lovelace.example, second.example") {
				t.Errorf("%s: the page says %s", email, rig.Plain(a.Body))
			}
			in := r.Browser().SignIn(r.Alice.Email)
			wantPage(t, connectAt(in, "google").back(in), http.StatusForbidden)
		}
	}
	if list := providersOf(r, r.Alice.ID); len(list) != 1 {
		t.Errorf("connected: %q", list)
	}
	for _, email := range []string{"ada@lovelace.example", "ADA2@LoveLace.EXAMPLE", "ada@second.example"} {
		s.SetUser(providers.User{Subject: "connected", Email: email})
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, "google"), r.Alice)
		s.SetUser(providers.User{Subject: "new " + email, Email: email})
		b = r.Browser()
		signInAt(b, "google")
		if a := completed(b, "Ada"); a.Status != http.StatusSeeOther || signedInAs(b) != email {
			t.Errorf("%s: the account is answered %d %s", email, a.Status, rig.Plain(a.Body))
		}
	}
}

// actionsOf lists where the forms of a page that sign in lead, in their order.
func actionsOf(page *rig.Answer) (list []string) {
	for _, part := range strings.Split(page.Body, `action="`)[1:] {
		if to, _, _ := strings.Cut(part, `"`); strings.HasPrefix(to, "/login") {
			list = append(list, to)
		}
	}
	return list
}

// The sign-in page offers first the provider of the address's domain, or else the method that was used last in this
// browser. The page is the same for every address of a domain, with or without an account.
func TestG30_TheSignInPageOffersTheProviderOfADomainFirst(t *testing.T) {
	s, other := providers.OIDC(t), providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(s, "acme", "", func(p *config.Provider) {
		p.Domains = []string{"lovelace.example"}
	}), outside(other, "other", "")))
	follow(r, s, other)
	own := r.User("own@lovelace.example", "Own", false)
	connected(r, r.Alice, "other", other.Issuer(), providers.Ada().Subject)
	methods := func(b *rig.Browser, email string) (first string, page *rig.Answer) {
		t.Helper()
		page = b.PostForm("/login", url.Values{"flow": b.Form(b.Get("/login"), "/login")["flow"], "email": {email}})
		list := actionsOf(page)
		if page.Status != http.StatusOK || len(list) != 4 {
			t.Fatalf("%s: answered %d with the forms %q", email, page.Status, list)
		}
		return list[0], page
	}
	for email, want := range map[string]string{
		own.Email: "/login/acme", "absent@lovelace.example": "/login/acme", " Absent@LoveLace.Example ": "/login/acme",
		r.Alice.Email: "/login", "absent@example.com": "/login", "x@sub.lovelace.example": "/login",
		"x@lovelace.example.com": "/login",
	} {
		if first, _ := methods(r.Browser(), email); first != want {
			t.Errorf("%q: %s is first, want %s", email, first, want)
		}
	}
	for _, pair := range [][2]string{
		{own.Email, "new@lovelace.example"}, {r.Alice.Email, "alicf@example.com"},
	} {
		var texts []string
		for _, email := range pair {
			b := r.Browser()
			_, page := methods(b, email)
			text := strings.ReplaceAll(unvaried(page.Body), b.Form(page, "/login").Get("flow"), "FLOW")
			texts = append(texts, strings.ReplaceAll(text, email, "ADDRESS"))
		}
		if texts[0] != texts[1] {
			t.Errorf("the page tells %s from %s:\n%s\n%s", pair[0], pair[1], texts[0], texts[1])
		}
	}
	b := r.Browser()
	if list := actionsOf(b.Get("/login")); !slices.Equal(list, []string{"/login", "/login/acme", "/login/other"}) {
		t.Errorf("at first, the forms are %q", list)
	}
	wantSignedIn(t, b, signInAt(b, "other"), r.Alice)
	b.PostForm("/logout", nil)
	if list := actionsOf(b.Get("/login")); !slices.Equal(list, []string{"/login", "/login/other", "/login/acme"}) {
		t.Errorf("after a sign-in with the other one, the forms are %q", list)
	}
	if first, _ := methods(b, r.Alice.Email); first != "/login/other" {
		t.Errorf("after a sign-in with the other one, %s is first", first)
	}
	if first, _ := methods(b, own.Email); first != "/login/acme" {
		t.Errorf("for the domain of a provider, %s is first", first)
	}
	b.SignIn(r.Alice.Email)
	b.PostForm("/logout", nil)
	if first, _ := methods(b, r.Alice.Email); first != "/login" {
		t.Errorf("after a sign-in with the password, %s is first", first)
	}
}

// wantGone checks that a provider which is not configured takes part in nothing.
func wantGone(t *testing.T, b *rig.Browser, v visited, user storage.User) {
	t.Helper()
	wantPage(t, v.back(b), http.StatusNotFound)
	if signedInAs(b) != "" {
		t.Errorf("signed in as %s", signedInAs(b))
	}
	form := b.Form(b.Get("/login"), "/login")
	wantPage(t, b.PostForm("/login/acme", form), http.StatusNotFound)
	in := b.Rig.Browser().SignIn(user.Email)
	wantPage(t, in.PostForm("/settings/security/providers/acme/connect", nil), http.StatusNotFound)
	if text := rig.Plain(in.Get("/settings/security").Body); strings.Contains(text, "Connect Acme") {
		t.Errorf("the page offers it: %s", text)
	}
}

// A provider that is removed from the configuration after a flow began is refused, on the same server after a restart
// and on another node. It is no way in any more, so that the last other one cannot be removed.
func TestG30_ARemovedProviderIsRefused(t *testing.T) {
	remove := func(t *testing.T, s, other *providers.Server, before, after *rig.Rig, restart func()) {
		t.Helper()
		follow(before, s, other)
		ada := providers.Ada()
		connected(before, before.Alice, "acme", s.Issuer(), ada.Subject)
		b, c := before.Browser(), before.Browser().SignIn(before.Alice.Email)
		v := depart(b, b.Get("/login"), "acme")
		s.SetUser(providers.User{Subject: "2", Email: "second@lovelace.example"})
		w := connectAt(c, "acme")
		// A sign-up that began there, whose address the provider has proven.
		up := before.Browser()
		s.SetUser(providers.User{Subject: "3", Email: "third@lovelace.example", Name: "Third"})
		if a := signInAt(up, "acme"); a.Location == nil || a.Location.Path != "/signup/complete" {
			t.Fatalf("the sign-up is answered %d %v", a.Status, a.Location)
		}
		s.SetUser(ada)
		restart()
		wantGone(t, after.Browser().WithCookiesOf(b), v, before.Alice)
		wantPage(t, w.back(after.Browser().WithCookiesOf(c)), http.StatusNotFound)
		there := after.Browser().WithCookiesOf(up)
		wantPage(t, there.Get("/signup/complete"), http.StatusBadRequest)
		if n := count(t, after, `SELECT count(*) FROM users WHERE email_key = 'third@lovelace.example'`); n != 0 {
			t.Error("the address still counts as proven by it")
		}
		if n := count(t, after, `SELECT count(*) FROM provider_accounts`); n != 1 {
			t.Errorf("%d accounts are connected", n)
		}
		if s.Requests(providers.Token) != 1 { // of the sign-up
			t.Errorf("%d codes were redeemed", s.Requests(providers.Token))
		}
		// The page shows the account still, and it can be removed.
		in := after.Browser().SignIn(before.Alice.Email)
		list := ownMethods(after, before.Alice)
		if a := in.Confirm("/settings/security/methods/"+list[1].ID+"/remove", nil); a.Status != http.StatusSeeOther {
			t.Errorf("removing it is answered %d %s", a.Status, rig.Plain(a.Body))
		}
	}
	t.Run("restart", func(t *testing.T) {
		s, other := providers.OIDC(t), providers.OIDC(t)
		both := withProviders(outside(s, "acme", "", trusted), outside(other, "other", ""))
		without := withProviders(both.Providers[1])
		r := rig.Memory(t, both)
		remove(t, s, other, r, r, func() { reconfigure(t, r, without, nil) })
	})
	t.Run("two nodes", func(t *testing.T) {
		s, other := providers.OIDC(t), providers.OIDC(t)
		both := withProviders(outside(s, "acme", "", trusted), outside(other, "other", ""))
		without := withProviders(both.Providers[1])
		nodes := rig.Nodes(t, both, without)
		remove(t, s, other, nodes[0], nodes[1], func() {})
	})
	t.Run("no way in", func(t *testing.T) {
		s, other := providers.OIDC(t), providers.OIDC(t)
		o := rig.Options{Providers: withProviders(outside(s, "acme", ""), outside(other, "other", "")).Providers}
		r := rig.Memory(t, o)
		follow(r, s, other)
		ada := providers.Ada().Subject
		r.SQL(`UPDATE users SET password_hash = '' WHERE email_key = 'alice@example.com'`)
		gone := connected(r, r.Alice, "acme", s.Issuer(), ada)
		last := connected(r, r.Alice, "other", other.Issuer(), ada)
		reconfigure(t, r, rig.Options{Providers: o.Providers[1:]}, nil)
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, "other"), r.Alice)
		wantPage(t, b.Confirm("/settings/security/methods/"+last.ID+"/remove", nil), http.StatusConflict)
		if a := b.Confirm("/settings/security/methods/"+gone.ID+"/remove", nil); a.Status != http.StatusSeeOther {
			t.Errorf("removing the one that is gone is answered %d", a.Status)
		}
		wantPage(t, b.Confirm("/settings/security/methods/"+last.ID+"/remove", nil), http.StatusConflict)
		if list := providersOf(r, r.Alice.ID); !slices.Equal(list, []string{"other " + ada}) {
			t.Errorf("connected: %q", list)
		}
	})
}
