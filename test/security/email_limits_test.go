package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/rig"
)

func TestG12_OnlyOnePlainAddressGetsAnEmail(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		signedIn := r.Browser().SignIn(r.Alice.Email)
		r.Emails()
		for name, email := range map[string]string{
			"two at signs": "a@x@example.com", "line break": "a@example.com\r\nBcc: b@example.com", "line feed": "a@example.com\n",
			"list": "a@example.com,b@example.com", "semicolon": "a@example.com;b@example.com",
			"display name": "Ann <a@example.com>", "brackets": "<a@example.com>", "300 characters": strings.Repeat("a", 288) + "@example.com",
			"look-alike": "a@exаmple.com", "look-alike name": "аlice@example.com", "no domain": "a@", "no name": "@example.com",
			"empty": "", "space": "a b@example.com", "quoted": `"a b"@example.com`, "address literal": "a@[127.0.0.1]",
			"not UTF-8": "a\xff@example.com", "NUL": "a\x00@example.com", "percent": "a%0d%0a@example.com\r\n",
		} {
			for kind, ask := range asks {
				wantPage(t, ask(r.Browser(), email), http.StatusBadRequest)
				if list := r.Emails(); len(list) != 0 {
					t.Errorf("%s: %s: %d emails, to %q", kind, name, len(list), list[0].Recipient)
				}
			}
			a := signedIn.PostForm("/settings/profile/address", url.Values{"email": {email}})
			if a.Status != http.StatusBadRequest {
				t.Errorf("change of address: %s: answered %d", name, a.Status)
			}
			if list := r.Emails(); len(list) != 0 {
				t.Errorf("change of address: %s: %d emails, to %q", name, len(list), list[0].Recipient)
			}
		}
	})
}

func TestG13_TheFourthEmailIsNotSent(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		for kind, ask := range asks {
			for _, email := range []string{r.Alice.Email, "absent@example.com"} {
				var want string
				for i := range 5 {
					b := r.Browser()
					a := ask(b, strings.ToUpper(email[:1])+email[1:], "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", len(email)))
					page := b.Follow(a)
					got := fmt.Sprint(a.Status, a.Location.Path, page.Status, len(page.Body))
					if i == 0 {
						want = got
					}
					if got != want {
						t.Errorf("%s %d to %s is answered %s, the first %s", kind, i+1, email, got, want)
					}
					if n := len(r.Emails()); n != map[bool]int{true: 1, false: 0}[i < 3] {
						t.Errorf("%s %d to %s: %d emails", kind, i+1, email, n)
					}
				}
			}
			r.Advance(time.Hour)
		}
		r.Advance(15*time.Minute + time.Second)
		askLink(r.Browser(), r.Alice.Email)
		r.Email("sign_in")
		// A newer email ends the link of the older one.
		askLink(r.Browser(), r.Alice.Email)
		older := r.Email("sign_in")
		askLink(r.Browser(), r.Alice.Email)
		newer := r.Email("sign_in")
		wantPage(t, useLink(r.Browser(), older), http.StatusBadRequest)
		r.Advance(15*time.Minute + time.Second)
		wantPage(t, useLink(r.Browser(), newer), http.StatusBadRequest)
	})
}

func TestG14_AResetNeedsTheTokenOfTheEmail(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser()
		askReset(b, r.Alice.Email)
		e := r.Email("reset")
		const other = "an entirely other harbour"
		for name, form := range map[string]url.Values{
			"no token": {"password": {other}}, "empty token": {"word": {""}, "password": {other}},
			"the address": {"word": {r.Alice.Email}, "email": {r.Alice.Email}, "password": {other}},
			"cut token":   {"word": {e.Token()[:len(e.Token())-1]}, "password": {other}},
			"its digest":  {"word": {fmt.Sprintf("%x", storage.Digest(e.Token()))}, "password": {other}},
		} {
			wantPage(t, b.PostForm("/reset", form), http.StatusBadRequest)
			if u, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil || u.PasswordHash != r.Alice.PasswordHash {
				t.Fatalf("%s: the password was changed, %v", name, err)
			}
		}
		// Another way does not lead there either: the proof of an address for a sign-up is none for a reset.
		askSignUp(b, "new@example.com")
		wantPage(t, b.PostForm("/reset", url.Values{"word": {r.Email("sign_up").Token()}, "password": {other}}),
			http.StatusBadRequest)
		// A weak password is refused and leaves the link as it is; the reset signs out, and signs nobody in.
		signedIn := r.Browser().SignIn(r.Alice.Email)
		wantPage(t, b.PostForm("/reset", url.Values{"word": {e.Token()}, "password": {"short"}}), http.StatusBadRequest)
		wantPage(t, b.PostForm("/reset", url.Values{"word": {e.Token()}, "password": {other}}), http.StatusOK)
		if signedInAs(b) != "" || signedInAs(signedIn) != "" {
			t.Error("the reset signed a browser in, or left one signed in")
		}
		r.Email("password_changed")
		wantPage(t, attempt(b, r.Alice.Email, rig.Password), http.StatusUnauthorized)
		if a := attempt(b, r.Alice.Email, other); a.Status != http.StatusSeeOther {
			t.Errorf("the new password is answered %d", a.Status)
		}
		askReset(b, r.Alice.Email)
		late := r.Email("reset")
		r.Advance(time.Hour + time.Second)
		wantPage(t, b.PostForm("/reset", url.Values{"word": {late.Token()}, "password": {"yet another harbour here"}}),
			http.StatusBadRequest)
	})
}

func TestG31_SignUpsInOtherLettersMakeOneAccount(t *testing.T) {
	o := withEmail()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		const n = 64
		spelling := func(i int) string {
			email := []byte("carol@example.com")
			for bit := range 6 {
				if i>>bit&1 == 1 {
					email[bit] = strings.ToUpper(string(email[bit]))[0]
				}
			}
			return string(email)
		}
		browsers := make([]*rig.Browser, n)
		forms := make([]url.Values, n)
		for i := range browsers {
			browsers[i] = nodes[i%len(nodes)].Browser()
			forms[i] = url.Values{"email": {spelling(i)}, "flow": browsers[i].Form(browsers[i].Get("/signup"), "/signup")["flow"]}
		}
		rig.AtOnce(n, func(i int) {
			if a := browsers[i].PostForm("/signup", forms[i], "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)); a.Status != http.StatusSeeOther {
				t.Errorf("sign-up %d is answered %d", i, a.Status)
			}
		})
		list := r.Emails()
		if len(list) != 3 {
			t.Fatalf("%d emails to one address, want 3", len(list))
		}
		var worked, accounts atomic.Int64
		for _, e := range list {
			b := r.Browser()
			if a := useLink(b, e); a.Status != http.StatusSeeOther {
				continue // a newer email ended it
			}
			worked.Add(1)
			form := b.Form(b.Get("/signup/complete"), "/signup/complete")
			form.Set("name", "Carol")
			form.Set("password", rig.Password)
			twins := make([]*rig.Browser, n)
			for i := range twins {
				twins[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
			}
			rig.AtOnce(n, func(i int) {
				if a := twins[i].PostForm("/signup/complete", form); a.Status == http.StatusSeeOther {
					accounts.Add(1)
				}
			})
		}
		users, err := r.Store.Users(r.System(), "carol@example.com", "", 100)
		ok(t, err)
		if worked.Load() != 1 || accounts.Load() != 1 || len(users) != 1 {
			t.Errorf("%d links worked, %d forms created an account, %d accounts", worked.Load(), accounts.Load(), len(users))
		}
	})
}

func TestG32_FiveWrongCodesEndTheCodeAndNotTheLink(t *testing.T) {
	o := withEmail()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		wrong := func(code string) string {
			return strings.Map(func(d rune) rune {
				if d >= '0' && d <= '9' {
					return '0' + (d-'0'+1)%10
				}
				return d
			}, code)
		}
		b := r.Browser()
		askLink(b, r.Alice.Email)
		e := r.Email("sign_in")
		form := signInCode(b, wrong(e.Code))
		right := signInCode(b, e.Code)
		var shown string
		for i := range 5 {
			a := b.PostForm("/login/code", form)
			wantPage(t, a, http.StatusUnauthorized)
			if text := rig.Plain(a.Body); i == 0 {
				shown = text
			} else if text != shown {
				t.Errorf("wrong code %d is answered %q", i+1, text)
			}
		}
		a := b.PostForm("/login/code", right)
		wantPage(t, a, http.StatusUnauthorized)
		if rig.Plain(a.Body) != shown {
			t.Errorf("the right code after five wrong ones is answered %q", rig.Plain(a.Body))
		}
		if a := useLink(b, e); a.Status != http.StatusSeeOther || signedInAs(b) != r.Alice.Email {
			t.Errorf("the link is answered %d", a.Status)
		}

		// Of 64 tries at once, the right one among them last, five count and the rest fail; the code is dead then.
		for _, n := range nodes {
			n.Advance(20 * time.Minute)
		}
		carla := r.User("carla@example.com", "Carla", false)
		b = r.Browser()
		askLink(b, carla.Email)
		e = r.Email("sign_in")
		form, right = signInCode(b, wrong(e.Code)), signInCode(b, e.Code)
		var tried, others atomic.Int64
		rig.AtOnce(64, func(i int) {
			node := nodes[i%len(nodes)]
			q := node.Request(http.MethodPost, "/login/code", strings.NewReader(form.Encode()), "Content-Type",
				"application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Cookie", cookieHeader(b),
				"X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
			switch a := node.Send(node.Program(), q); a.Status {
			case http.StatusUnauthorized:
				tried.Add(1)
			case http.StatusTooManyRequests:
			default:
				others.Add(1)
			}
		})
		if others.Load() != 0 || tried.Load() < 5 {
			t.Errorf("%d tries were counted, %d were answered otherwise", tried.Load(), others.Load())
		}
		for _, n := range nodes {
			n.Advance(2 * time.Minute)
		}
		if a := b.PostForm("/login/code", right); a.Status < 400 {
			t.Errorf("after 64 tries at once, the code is answered %d", a.Status)
		}
		if signedInAs(b) != "" {
			t.Error("the code signs in")
		}
	})
}

// One network causes at most 20 emails and 5 sign-ups an hour, however many addresses it names; the answer stays the same.
func TestG13_OneNetworkCausesFewEmails(t *testing.T) {
	rig.EachNodes(t, withEmail(), func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		b := r.Browser()
		flow := b.Form(b.Get("/login"), "/login")["flow"]
		other := nodes[len(nodes)-1].Browser().WithCookiesOf(b)
		from := func(i int) string { return fmt.Sprintf("2001:db8:1:2:%x::%x", i%7, i+1) }
		addresses := 1000
		if other.URL != b.URL {
			addresses = 100 // they share their counters, so fewer show it
		}
		for i := range addresses {
			a := []*rig.Browser{b, other}[i%2].PostForm("/login/email", url.Values{"flow": flow, "email": {fmt.Sprintf("user%d@example.com", i)}},
				"X-Forwarded-For", from(i))
			if a.Status != http.StatusSeeOther || a.Location.Path != "/login/code" {
				t.Fatalf("request %d is answered %d", i, a.Status)
			}
		}
		if n := len(r.Emails()); n != 20 {
			t.Errorf("%d addresses from one network: %d emails, want 20", addresses, n)
		}
		// Another network is not affected, and neither is a browser in which the user has signed in before.
		askLink(r.Browser(), r.Alice.Email, "X-Forwarded-For", "2001:db8:1:3::1")
		r.Email("sign_in")
		known := r.Browser().SignIn(r.Alice.Email)
		known.PostForm("/logout", nil)
		askLink(known, r.Alice.Email, "X-Forwarded-For", from(1))
		r.Email("sign_in")

		r.Advance(time.Hour + time.Second)
		flow = b.Form(b.Get("/signup"), "/signup")["flow"]
		for i := range 100 {
			b.PostForm("/signup", url.Values{"flow": flow, "email": {fmt.Sprintf("new%d@example.com", i)}}, "X-Forwarded-For", from(i))
		}
		if n := len(r.Emails()); n != 5 {
			t.Errorf("100 sign-ups from one network: %d emails, want 5", n)
		}
		if !strings.Contains(r.Log.String(), "too many emails were asked for") {
			t.Error("no log line says that emails were not sent")
		}
	})
}

// The server sends only so many emails an hour to addresses without an account, from all networks together.
func TestG13_FewEmailsToAddressesWithoutAnAccount(t *testing.T) {
	o := withEmail()
	o.Hourly = 30
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		b := r.Browser()
		for i := range 60 {
			askReset(b, fmt.Sprintf("user%d@example.com", i), "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		}
		if n := len(r.Emails()); n != 30 {
			t.Errorf("%d emails to addresses without an account, want 30", n)
		}
		askReset(b, r.Alice.Email, "X-Forwarded-For", "192.0.2.250")
		r.Email("reset")
	})
}
