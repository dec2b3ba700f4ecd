package security

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/test/rig"
)

// behindProxy are options with which a request may say which address it comes from.
var behindProxy = rig.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// attempt submits the sign-in form of the browser's own page.
func attempt(b *rig.Browser, email, password string, header ...string) *rig.Answer {
	b.T.Helper()
	return b.PostForm("/login", url.Values{
		"flow":     b.Form(b.Get("/login"), "/login")["flow"],
		"email":    {email},
		"password": {password},
	}, header...)
}

func wantThrottled(t *testing.T, a *rig.Answer) {
	t.Helper()
	wantPage(t, a, http.StatusTooManyRequests)
	if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 || n > 15*60 {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	if len(a.Cookies) > 0 {
		t.Errorf("cookies %v", a.Cookies)
	}
}

func TestG01_SameAnswerForEveryAddress(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		r.User("bobby@example.com", "Bob", false)
		carla := r.User("carla@example.com", "Carla", false)
		if err := r.Identity.DisableUser(r.System(), carla.ID); err != nil {
			t.Fatal(err)
		}
		locked := r.User("diana@example.com", "Diana", false)
		for range 100 {
			if err := r.Store.CountPasswordFailure(r.System(), locked.ID, 100); err != nil {
				t.Fatal(err)
			}
		}
		app := r.App(management.ClientSpec{})
		shape := func(email, password string) string {
			b := r.Browser()
			page := b.Authorize(app.Params("read"))
			form := b.Form(page, "/login")
			form.Set("email", email)
			form.Set("password", password)
			a := b.PostForm("/login", form)
			a.Header.Del("Date")
			a.Header.Del("Content-Length") // the page repeats the address; the rest is compared below
			a.Header.Del("X-Request-Id")
			policy := a.Header.Get("Content-Security-Policy")
			_, rest, _ := strings.Cut(policy, "'nonce-")
			nonce, _, _ := strings.Cut(rest, "'")
			a.Header.Set("Content-Security-Policy", strings.ReplaceAll(policy, nonce, "…"))
			body := strings.NewReplacer(email, "…", form.Get("flow"), "…").Replace(unvaried(a.Body))
			return fmt.Sprint(a.Status, a.Header, body)
		}
		want := shape("unknown@example.com", rig.Password)
		if !strings.HasPrefix(want, "401") {
			t.Fatalf("an unknown account is answered %s", want)
		}
		for name, x := range map[string][2]string{
			"wrong password":              {"bobby@example.com", "not the password"},
			"disabled, right password":    {"carla@example.com", rig.Password},
			"disabled, wrong password":    {"carla@example.com", "not the password"},
			"out of use, right password":  {"diana@example.com", rig.Password},
			"no password at all":          {"bobby@example.com", ""},
			"password longer than any":    {"bobby@example.com", strings.Repeat("x", 20<<10)},
			"unknown, very long password": {"unknown@example.com", strings.Repeat("x", 20<<10)},
			"not UTF-8":                   {"bobby@example.com", "\xff\x00"},
		} {
			if got := shape(x[0], x[1]); got != want {
				t.Errorf("%s: the answer differs:\n%s\nfrom\n%s", name, got, want)
			}
		}
	})
}

func TestG02_TenFailuresThenAWait(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		for _, email := range []string{r.Alice.Email, "unknown@example.com"} {
			b := r.Browser()
			for i := range 10 {
				wantPage(t, attempt(b, email, "wrong "+strconv.Itoa(i)), http.StatusUnauthorized)
			}
			wantThrottled(t, attempt(b, email, "wrong again"))
			// The correct password, the address in capitals, from another browser.
			wantThrottled(t, attempt(r.Browser(), strings.ToUpper(email), rig.Password))
			wantThrottled(t, attempt(r.Browser(), " "+email+" ", rig.Password))
		}
		bob := r.User("bob@example.com", "Bob", false)
		r.Browser().SignIn(bob.Email) // another user from the same address
		r.Advance(61 * time.Second)
		r.Browser().SignIn(r.Alice.Email)
	})
}

func TestG02_PasswordOutOfUseUntilAnAdministratorHelps(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		known := r.Browser().SignIn(r.Alice.Email)
		known.PostForm("/logout", nil)
		for range 100 {
			if err := r.Store.CountPasswordFailure(r.System(), r.Alice.ID, 100); err != nil {
				t.Fatal(err)
			}
		}
		wantPage(t, attempt(r.Browser(), r.Alice.Email, rig.Password), http.StatusUnauthorized)
		r.User("root@example.com", "Root", true)
		admin := r.Browser().SignIn("root@example.com")
		if a := admin.PostForm("/admin/users/"+r.Alice.ID+"/enable", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("enable answered %d", a.Status)
		}
		r.Browser().SignIn(r.Alice.Email)
	})
}

func TestG03_OtherWaysInCountTogether(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	known := r.Browser().SignIn(r.Alice.Email)
	app := makeApp(known)
	path := appPath(t, app)
	r.Advance(6 * time.Minute)
	with := func(name string) *rig.Browser { // with one cookie of the user's
		other := r.Browser()
		for _, c := range known.Cookies() {
			if c.Name == name {
				other.SetCookie(c)
			}
		}
		return other
	}
	b := with("doorward") // a stolen session
	for i := range 3 {
		wantPage(t, makeApp(b, "password", "wrong "+strconv.Itoa(i)), http.StatusForbidden)
		wantPage(t, b.Submit(path+"/secret", url.Values{"grace": {"now"}, "password": {"wrong"}}), http.StatusForbidden)
		wantPage(t,
			b.PostForm("/settings/security/password", url.Values{
				"current_password": {"wrong"},
				"new_password":     {"an entirely other harbour"},
			}), http.StatusForbidden)
	}
	wantPage(t, attempt(r.Browser(), r.Alice.Email, "wrong"), http.StatusUnauthorized) // the tenth
	wantThrottled(t, makeApp(b, "password", rig.Password))
	wantThrottled(t, b.Submit(path+"/secret", url.Values{"grace": {"now"}, "password": {rig.Password}}))
	wantThrottled(t,
		b.PostForm("/settings/security/password", url.Values{
			"current_password": {rig.Password},
			"new_password":     {"an entirely other harbour"},
		}))
	wantThrottled(t, attempt(r.Browser(), r.Alice.Email, rig.Password))
	// This does not lock the user out of their own browser (G-02); failures there count there, too.
	device := with("doorward-device")
	for range 10 {
		wantPage(t, makeApp(known, "password", "wrong"), http.StatusForbidden)
	}
	wantThrottled(t, makeApp(known, "password", rig.Password))
	wantThrottled(t, attempt(device, r.Alice.Email, rig.Password))
	r.Advance(61 * time.Second)
	if a := makeApp(b, "password", rig.Password); a.Status != http.StatusOK {
		t.Errorf("after the wait step-up answered %d", a.Status)
	}
}

// appPath returns the page of an app that was just created.
func appPath(t *testing.T, made *rig.Answer) string {
	t.Helper()
	_, rest, ok := strings.Cut(made.Body, "/settings/developer/apps/app_")
	if !ok || made.Status != http.StatusOK {
		t.Fatalf("no app was created: %d %s", made.Status, rig.Plain(made.Body))
	}
	id, _, _ := strings.Cut(rest, `"`)
	return "/settings/developer/apps/app_" + id
}

func TestG04_ManyAccountsFromOneAddress(t *testing.T) {
	r := rig.Memory(t, behindProxy)
	b := r.Browser()
	flow := b.Form(b.Get("/login"), "/login")["flow"]
	try := func(account, address string) *rig.Answer {
		return b.PostForm("/login", url.Values{"flow": flow, "email": {account}, "password": {"one password for all"}},
			"X-Forwarded-For", address)
	}
	for i := range 100 {
		a := try("user"+strconv.Itoa(i)+"@example.com", "2001:db8:1:2::"+strconv.FormatInt(int64(i+1), 16))
		if a.Status != http.StatusUnauthorized {
			t.Fatalf("attempt %d answered %d", i+1, a.Status)
		}
	}
	wantThrottled(t, try("fresh@example.com", "2001:db8:1:2:ffff::1")) // another address in the same network
	wantPage(t, try("fresh@example.com", "2001:db8:1:3::1"), http.StatusUnauthorized)
	wantThrottled(t, try(r.Alice.Email, "8.8.8.8, 2001:db8:1:2::1")) // what the client itself sent does not count
	r.Advance(15*time.Minute + time.Second)
	flow = b.Form(b.Get("/login"), "/login")["flow"]
	wantPage(t, try("fresh@example.com", "2001:db8:1:2::1"), http.StatusUnauthorized)
}

func TestG04_ClientsCannotChooseTheirAddress(t *testing.T) {
	r := rig.Memory(t, rig.Options{}) // trusts no proxy
	b := r.Browser()
	for i := range 10 {
		attempt(b, r.Alice.Email, "wrong", "X-Forwarded-For", "198.51.100."+strconv.Itoa(i), "Forwarded",
			"for=198.51.100."+strconv.Itoa(i), "X-Real-IP", "198.51.100."+strconv.Itoa(i))
	}
	wantThrottled(t, attempt(b, r.Alice.Email, "wrong", "X-Forwarded-For", "203.0.113.1"))
}

func TestG05_VictimsBrowserStillGetsIn(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		victim := r.Browser().SignIn(r.Alice.Email)
		victim.PostForm("/logout", nil)
		mallory := r.User("mallory@example.com", "Mallory", false)
		attacker := r.Browser().SignIn(mallory.Email) // has a known device too, but for another account
		attacker.PostForm("/logout", nil)
		for i := range 11 {
			attempt(attacker, r.Alice.Email, "wrong "+strconv.Itoa(i))
		}
		wantThrottled(t, attempt(attacker, r.Alice.Email, rig.Password))
		wantThrottled(t, attempt(r.Browser(), r.Alice.Email, rig.Password))
		victim.SignIn(r.Alice.Email)
		wantThrottled(t, attempt(r.Browser(), r.Alice.Email, rig.Password)) // the victim's sign-in does not help others

		t.Run("not after a change of password", func(t *testing.T) {
			old := r.Browser()
			old.SetCookie(&http.Cookie{Name: "doorward-device", Value: cookie(victim, "doorward-device"), Path: "/"})
			options := identity.SignOutOptions{Apps: true}
			_, err := r.Identity.SetPassword(r.System(), r.Alice.ID, "an entirely other harbour", options)
			if err != nil {
				t.Fatal(err)
			}
			wantThrottled(t, attempt(old, r.Alice.Email, "an entirely other harbour"))
		})
		t.Run("the mark opens nothing and guesses no more than others", func(t *testing.T) {
			bob := r.User("bob@example.com", "Bob", false)
			b := r.Browser().SignIn(bob.Email)
			thief := r.Browser()
			thief.SetCookie(&http.Cookie{Name: "doorward-device", Value: cookie(b, "doorward-device"), Path: "/"})
			if a := thief.Get("/settings/profile"); a.Status != http.StatusSeeOther {
				t.Errorf("the mark opens the settings: %d", a.Status)
			}
			for i := range 10 {
				wantPage(t, attempt(thief, bob.Email, "wrong "+strconv.Itoa(i)), http.StatusUnauthorized)
			}
			wantThrottled(t, attempt(thief, bob.Email, rig.Password))
		})
	})
}

func TestG24_PasswordsOnThePages(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	admin := r.Browser().SignIn(root.Email)
	tail := strings.Repeat("harbour lights at ", 5) // 90 bytes
	n := 0
	for name, x := range map[string]struct {
		password string
		ok       bool
	}{
		"14 characters":      {"quiet harbours", false},
		"15 characters":      {"quiet harbours!", true},
		"breached":           {"password1234567890", false},
		"the address":        {"person@example.com", false},
		"the name":           {"Person Personsson", false},
		"the product":        {"doorwarddoorward", false},
		"64 characters":      {"sixty four characters of a sentence that is not on any list!!!!!", true},
		"256 characters":     {strings.Repeat("a quiet harbour, ", 15)[:255] + "!", true},
		"257 characters":     {strings.Repeat("a quiet harbour, ", 15)[:255] + "!!", false},
		"spaces and emoji":   {"🌊 ⚓ quiet  harbour 🌅 🚢", true},
		"other scripts":      {"тихая гавань на рассвете", true},
		"more than 72 bytes": {tail + "dawn", true},
		"not UTF-8":          {"a quiet harbour \xff\xfe", false},
		"NUL":                {"a quiet harbour\x00at dawn", false},
		"nothing":            {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			email := "person" + strconv.Itoa(n) + "@example.com"
			if name == "the address" {
				x.password = email
			}
			a := admin.PostForm("/admin/users", url.Values{
				"email":    {email},
				"name":     {"Person Personsson"},
				"password": {x.password},
			})
			if (a.Status == http.StatusSeeOther) != x.ok || (!x.ok && a.Status != http.StatusBadRequest) {
				t.Fatalf("a new user's password: %d %s", a.Status, rig.Plain(a.Body))
			}
			if !strings.HasPrefix(name, "the ") && x.password != "" && strings.Contains(a.Body, x.password) {
				t.Error("the page repeats the password")
			}
			if !x.ok {
				u := r.User("changing@example.com", "Person Personsson", false)
				b := r.Browser().SignIn(u.Email)
				if name == "the address" {
					x.password = u.Email
				}
				wantPage(t,
					b.PostForm("/settings/security/password", url.Values{
						"current_password": {rig.Password},
						"new_password":     {x.password},
					}), http.StatusBadRequest)
				return
			}
			if a := attempt(r.Browser(), email, x.password); a.Status != http.StatusSeeOther {
				t.Errorf("it does not let the user in: %d", a.Status)
			}
			if name == "more than 72 bytes" {
				wantPage(t, attempt(r.Browser(), email, tail+"dusk"), http.StatusUnauthorized)
			}
		})
	}
	t.Run("a megabyte", func(t *testing.T) {
		huge := strings.Repeat("x", 1<<20)
		b := r.Browser()
		wantPage(t, attempt(b, r.Alice.Email, huge), http.StatusRequestEntityTooLarge)
		wantPage(t, admin.PostForm("/admin/users", url.Values{"email": {"huge@example.com"}, "password": {huge}}),
			http.StatusRequestEntityTooLarge)
		wantPage(t,
			admin.PostForm("/settings/security/password", url.Values{
				"current_password": {rig.Password},
				"new_password":     {huge},
			}), http.StatusRequestEntityTooLarge)
	})
}

func TestG31_ParallelSignUpsCreateOneAccount(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := r.Send(r.Program(), r.Request(method, "/signup", nil)); a.Status != http.StatusNotFound {
				t.Errorf("%s /signup answered %d", method, a.Status)
			}
		}
		root := r.User("root@example.com", "Root", true)
		admin := r.Browser().SignIn(root.Email)
		cookies := cookieHeader(admin)
		var made, taken atomic.Int64
		rig.AtOnce(64, func(i int) {
			email := []byte("newcomer@example.com")
			for bit := range 6 {
				if i>>bit&1 == 1 {
					email[bit] -= 32
				}
			}
			v := url.Values{"email": {string(email)}, "password": {rig.Password}, "name": {"New"}}
			a := r.Send(r.Program(), r.Request(http.MethodPost, "/admin/users", strings.NewReader(v.Encode()),
				"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Cookie", cookies))
			switch {
			case a.Status == http.StatusSeeOther:
				made.Add(1)
			case a.Status == http.StatusBadRequest && strings.Contains(a.Body, "account with this address"):
				taken.Add(1)
			case a.Status != http.StatusServiceUnavailable: // no slot for hashing a password in time
				t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
			}
		})
		users, err := r.Store.Users(r.System(), "newcomer", "", 100)
		if err != nil || len(users) != 1 || made.Load() != 1 {
			t.Errorf("%d accounts, %d answers that one was created, %d that the address is in use, %v", len(users),
				made.Load(), taken.Load(),
				err)
		}
	})
}
