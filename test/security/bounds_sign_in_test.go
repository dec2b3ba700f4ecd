package security

import (
	"errors"
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
	"doorward/storage"
	"doorward/test/rig"
)

func TestV30_TheOldestOfTooManySessionsEnds(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		first := r.Browser().SignIn(r.Alice.Email)
		r.Advance(time.Second)
		second := r.Browser().SignIn(r.Alice.Email)
		signedIn := func(b *rig.Browser) bool { return b.Get("/settings/profile").Status == http.StatusOK }
		add := func() {
			r.Advance(time.Second)
			now := r.Store.Now()
			id := storage.NewID("session")
			if err := r.Store.InsertSession(r.System(), storage.Session{
				ID:        id,
				Digest:    storage.Digest(id),
				UserID:    r.Alice.ID,
				Data:      "{}",
				AuthTime:  now,
				CreatedAt: now,
				SeenAt:    now,
				ExpiresAt: now.Add(time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
		}
		for range storage.MaxSessions - 2 {
			add()
		}
		if !signedIn(first) {
			t.Fatalf("of %d sessions one ended", storage.MaxSessions)
		}
		add()
		if signedIn(first) {
			t.Error("the oldest session is still active")
		}
		if !signedIn(second) {
			t.Error("more than the oldest ended")
		}
	})
}

func TestV30_SignInsAreLimited(t *testing.T) {
	r := rig.Memory(t, rig.Options{LimitChanges: true})
	r.StopClock()
	for range 600 {
		if err := r.Management.TakeSignIn(r.System(), r.Alice.ID); err != nil {
			t.Fatal(err)
		}
	}
	b := r.Browser()
	a := b.LogIn(b.Get("/login"), r.Alice.Email)
	if a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
		t.Errorf("sign-in 601 in a minute: %d", a.Status)
	}
	r.Advance(time.Minute)
	r.Browser().SignIn(r.Alice.Email)
}

// A correct secret is always accepted, even after many wrong attempts from the same address; a wrong one is not.
func TestV32_CorrectSecretIsAcceptedDespiteTheCounters(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, public, api := r.App(management.ClientSpec{
			Grants:       []string{"authorization_code", "refresh_token", "client_credentials"},
			RedirectURIs: []string{"https://app.example/cb"},
		}),
			r.App(management.ClientSpec{Public: true}), r.ResourceServer()
		_, key := r.IntrospectionKey()
		access, refresh := r.Tokens(app, "read")
		publicAccess, publicRefresh := r.Tokens(public, "read")
		stopClock(r)
		// Both limits: that of the address, and that of each client from this address.
		for i := range 120 {
			id := storage.NewID("app")
			r.Post("/oauth/token", with(ownForm, "client_id", id, "client_secret", wrongSecret))
			if i < 40 {
				r.Post("/oauth/introspect", url.Values{"token": {"x"}}, "Authorization", rig.Basic(api.ID, wrongSecret))
				r.Post("/oauth/introspect", url.Values{"token": {"x"}}, "Authorization", "Bearer "+key+"x")
				r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, wrongSecret))
			}
		}
		for path, form := range protected(app) {
			tooMany(t, r.Post(path, form, "Authorization", rig.Basic(app.ID, wrongSecret)))
			tooMany(t, r.Post(path, form, "Authorization", rig.Basic(storage.NewID("app"), wrongSecret)))
		}
		tooMany(t, r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization", "Bearer sk_live_x"))

		granted(t, r.PostAs(app, "/oauth/token", ownForm))
		granted(t, r.Refresh(app, refresh))
		granted(t, r.Refresh(public, publicRefresh))
		if !r.Alive(api, access) {
			t.Error("introspection with a client's secret is refused")
		}
		if a := r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			"Bearer "+key); a.Status != http.StatusOK || a.JSON()["active"] != true {
			t.Errorf("introspection with an API key: %d %s", a.Status, a.Body)
		}
		if a := r.PostAs(public, "/oauth/revoke", url.Values{"token": {publicAccess}}); a.Status != http.StatusOK {
			t.Errorf("revocation: %d %s", a.Status, a.Body)
		}
		if a := r.Call("GET", "/v1/auth/test", access); a.Status != http.StatusOK {
			t.Errorf("the API: %d %s", a.Status, a.Body)
		}
	})
}

// count reads one number from the database.
func count(t *testing.T, r *rig.Rig, query string) (n int) {
	t.Helper()
	if err := r.Store.Pools()["system"].QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestV33_FailedSignInsAreCountedInFewRows(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		events, rows := `SELECT count(*) FROM audit_events WHERE action = 'login.failed'`,
			`SELECT count(*) FROM sign_in_failures`
		fail := func(email string, n int) {
			t.Helper()
			for i := range n {
				address := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
				_, err := r.Identity.Login(t.Context(), identity.Attempt{
					Email: strings.ReplaceAll(email, "#", strconv.Itoa(i)), Password: "not this one, surely", Address: address,
				})
				if !errors.Is(err, identity.ErrWrong) {
					t.Fatal(err)
				}
			}
		}
		stopClock(r)
		fail("unknown-#@example.com", 25)
		if n, e := count(t, r, rows), count(t, r, events); n != 1 || e != 2 {
			t.Errorf("%d rows and %d events of 25 failures at accounts that do not exist, want 1 and 2", n, e)
		}
		fail(r.Alice.Email, 12)
		if n, e := count(t, r, rows), count(t, r, events); n != 2 || e != 4 {
			t.Errorf("%d rows and %d events after 12 failures of a user, want 2 and 4", n, e)
		}
		if n := count(t, r, `SELECT sum(attempts) FROM sign_in_failures`); n != 37 {
			t.Errorf("%d failures are counted, want 37", n)
		}
		r.Store.SetClock(func() time.Time { return time.Now().Add(401 * 24 * time.Hour) })
		if _, err := r.Store.PurgeHistory(r.System(), 400*24*time.Hour, 400*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		if n := count(t, r, rows); n != 0 {
			t.Errorf("%d rows are kept for longer than audit events", n)
		}
	})
}

// signInLink returns the output of doorward user sign-in-link, without the issuer.
func signInLink(t *testing.T, r *rig.Rig, u storage.User) string {
	t.Helper()
	word, err := r.Identity.SignInLink(r.System(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Seen.Add("sign-in link", word)
	return "/login/link?word=" + word
}

func TestV33_AnAdministratorCanAlwaysSignIn(t *testing.T) {
	rig.Each(t, rig.Options{NoUser: true}, func(t *testing.T, r *rig.Rig) {
		admin := r.User("root@example.com", "Root", true)
		for range 100 { // like wrong passwords from twelve addresses
			if err := r.Store.CountPasswordFailure(r.System(), admin.ID, 100); err != nil {
				t.Fatal(err)
			}
		}
		b := r.Browser()
		wantPage(t, b.LogIn(b.Get("/login"), admin.Email), http.StatusUnauthorized)

		first := signInLink(t, r, admin)
		link := signInLink(t, r, admin)
		// Programs that fetch links change nothing.
		for range 3 {
			page := r.Browser().Get(link)
			wantPage(t, page, http.StatusOK)
			if !strings.Contains(page.Body, admin.Email) || page.Header.Get("Referrer-Policy") != "no-referrer" ||
				page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("page %v %s", page.Header, page.Body)
			}
			if len(page.Cookies) > 0 && count(t, r, `SELECT count(*) FROM sessions`) != 0 {
				t.Error("a GET signed the user in")
			}
		}
		wantPage(t, r.Browser().Get(first), http.StatusBadRequest) // replaced by the newer one
		page := b.Get(link)
		a := b.PostForm("/login/link", b.Form(page, "/login/link"))
		if a.Status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		wantPage(t, b.Follow(a), http.StatusOK)
		wantPage(t, r.Browser().Get(link), http.StatusBadRequest)
		wantPage(t, b.PostForm("/login/link", b.Form(page, "/login/link")), http.StatusBadRequest)
		// The link counts as a correct password: failed attempts are forgotten.
		fresh := r.Browser()
		if a := fresh.LogIn(fresh.Get("/login"), admin.Email); a.Status != http.StatusSeeOther {
			t.Errorf("the password stays out of use: %d", a.Status)
		}
		for action, want := range map[string]int{"login.link_created": 2, "login.succeeded": 2} {
			if n := count(t, r, `SELECT count(*) FROM audit_events WHERE action = '`+action+`'`); n != want {
				t.Errorf("%d events %s, want %d", n, action, want)
			}
		}
		if n := count(t, r,
			`SELECT count(*) FROM audit_events WHERE action = 'login.succeeded' AND credential = 'sign_in_link'`); n != 1 {
			t.Errorf("%d sign-ins by a link are in the audit log", n)
		}
	})
}

func TestV33_ASignInLinkGivesOneSession(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		link := signInLink(t, r, r.User("root@example.com", "Root", true))
		word := strings.TrimPrefix(link, "/login/link?word=")
		var good atomic.Int64
		rig.AtOnce(64, func(int) {
			if r.Browser().PostForm("/login/link", url.Values{"word": {word}}, "Origin", r.Issuer).
				Status == http.StatusSeeOther {
				good.Add(1)
			}
		})
		if n := count(t, r, `SELECT count(*) FROM sessions`); good.Load() != 1 || n != 1 {
			t.Errorf("%d of 64 were let in, with %d sessions", good.Load(), n)
		}
	})
}

func TestV33_ASignInLinkExpires(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		r.User("root@example.com", "Root", true) // so that the others can be disabled and deleted
		for name, end := range map[string]func(u storage.User){
			"after 15 minutes": func(storage.User) { r.Advance(identity.SignInLinkLifetime) },
			"with a new password": func(u storage.User) {
				r.Advance(time.Second)
				r.SQL(`UPDATE users SET password_changed_at = $1 WHERE id = $2`, int64(r.Store.Now()), u.ID)
			},
			"when disabled": func(u storage.User) { _ = r.Store.DisableUser(r.System(), u.ID) },
			"when disabled for a time": func(u storage.User) {
				_ = r.Store.DisableUser(r.System(), u.ID)
				_ = r.Store.EnableUser(r.System(), u.ID)
			},
			"with the user": func(u storage.User) { _ = r.Store.DeleteUser(r.System(), u.ID) },
		} {
			u := r.User(strings.ReplaceAll(name, " ", "-")+"@example.com", "Person", true)
			link := signInLink(t, r, u)
			wantPage(t, r.Browser().Get(link), http.StatusOK)
			end(u)
			b := r.Browser()
			wantPage(t, b.Get(link), http.StatusBadRequest)
			wantPage(t, b.PostForm("/login/link", url.Values{"word": {strings.TrimPrefix(link, "/login/link?word=")}}),
				http.StatusBadRequest)
		}
		disabled := r.User("disabled@example.com", "Disabled", true)
		if err := r.Store.DisableUser(r.System(), disabled.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Identity.SignInLink(r.System(), disabled.ID); !errors.Is(err, identity.ErrDisabled) {
			t.Errorf("a link for a disabled user: %v", err)
		}
		if n := count(t, r, `SELECT count(*) FROM email_proofs WHERE length(digest) <> 32`); n != 0 {
			t.Error("the link's token is stored instead of its digest")
		}
	})
}
