package security

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
)

// A secret that a page creates is shown once, to the session that created it. Neither a reload nor a second submission
// of the form creates another one.
func TestV62_ASecretIsShownOnceAndCreatedOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		ws := r.Workspace("engines", "", r.Alice)
		b := r.Browser().SignIn(r.Alice.Email)
		key, _ := r.Key(ws, apikey.Spec{Name: "Old"})
		app := r.App(management.ClientSpec{WorkspaceID: ws.ID, CreatedBy: r.Alice.ID})
		const base = "/settings/workspaces/engines"
		keys := func() int { return len(keysOf(r, storage.KeyOwner{WorkspaceID: ws.ID})) }
		for _, x := range []struct {
			name, page, action string
			fields             url.Values
			mark               string // prefix of the secret
			count              func() int
		}{
			{
				"API key", base + "/api-keys/new", base + "/api-keys", url.Values{
					"name":        {"New"},
					"scope-0":     {"read"},
					"expires":     {"90"},
					"environment": {"live"},
				}, "sk_live_", keys,
			},
			{
				"rotated key", base + "/api-keys/" + key.ID, base + "/api-keys/" + key.ID + "/rotate",
				url.Values{"grace": {"1h"}},
				"sk_live_", keys,
			},
			{
				"token", tokensPage + "/new", tokensPage, url.Values{
					"name":    {"New"},
					"scope-0": {"read"},
					"expires": {"90"},
					"role":    {""},
				}, "pat_", func() int { return len(keysOf(r, storage.KeyOwner{UserID: r.Alice.ID})) },
			},
			{"app", base + "/apps/new", base + "/apps", url.Values{
				"name":          {"New app"},
				"kind":          {"web"},
				"redirect_uris": {"https://new.example/cb"},
				"scope":         {"read"},
			}, bearer.PrefixClientSecret, func() int {
				n, err := r.Store.CountClientsOfWorkspace(r.System(), ws.ID)
				ok(t, err)
				return int(n)
			}},
			{
				"rotated secret", base + "/apps/" + app.ID, base + "/apps/" + app.ID + "/secret",
				url.Values{"grace": {"24h"}},
				bearer.PrefixClientSecret, func() int {
					c, err := r.Store.ClientByID(r.System(), app.ID)
					ok(t, err)
					return len(c.Secrets)
				},
			},
			{"invitation", base + "/members", base + "/invitations", url.Values{
				"email": {"carol@example.com"},
				"role":  {"member"},
			}, "/join/dw_in_", func() int {
				list, err := r.Store.InvitationsOf(r.System(), ws.ID)
				ok(t, err)
				return len(list)
			}},
		} {
			t.Run(x.name, func(t *testing.T) {
				before := x.count()
				form := b.Form(b.Get(x.page), x.action)
				for name, values := range x.fields {
					form[name] = values
				}
				var places sync.Map
				rig.AtOnce(8, func(int) {
					a := b.PostForm(x.action, form)
					if a.Status != http.StatusSeeOther || a.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("sent: %d %s", a.Status, rig.Plain(a.Body))
					}
					places.Store(a.Header.Get("Location"), true)
				})
				var to string
				n := 0
				places.Range(func(place, _ any) bool { to = place.(string); n++; return true })
				if n != 1 || x.count() != before+1 {
					t.Fatalf("%d places, %d created", n, x.count()-before)
				}
				// Another session of the same user does not see it, and does not use it up.
				if a := r.Browser().SignIn(r.Alice.Email).Get(to); a.Status != http.StatusGone || strings.Contains(a.Body, x.mark) {
					t.Errorf("another session is answered %d", a.Status)
				}
				first := b.Get(to)
				wantPage(t, first, http.StatusOK)
				if !strings.Contains(first.Body, x.mark) || !strings.Contains(first.Body, "gone when you leave or reload") {
					t.Errorf("the page shows no secret, or no warning: %s", rig.Plain(first.Body))
				}
				for _, a := range []*rig.Answer{b.Get(to), b.Follow(b.PostForm(x.action, form))} {
					wantPage(t, a, http.StatusGone)
					if !strings.Contains(a.Body, "already shown") || strings.Contains(a.Body, x.mark) {
						t.Errorf("again, the page says %s", rig.Plain(a.Body))
					}
					wayOn(t, a)
				}
				if x.count() != before+1 {
					t.Errorf("%d created", x.count()-before)
				}
				if strings.HasPrefix(x.name, "rotated") {
					return // replacing twice ends the grace period
				}
				if x.name != "invitation" { // as a member, a role that creates no secrets
					twiceWithAPassword(t, r, b, x.page, x.action, form, x.count)
				}
				before = x.count()
				// A client that leaves the id out does not get a secret in the response to the form either.
				form.Del("form")
				if form.Has("email") {
					form.Set("email", "another@example.com")
				}
				a := b.PostForm(x.action, form)
				shown := b.Follow(a)
				if a.Status != http.StatusSeeOther || !strings.Contains(shown.Body, x.mark) || x.count() != before+1 {
					t.Errorf("without an id: %d, then %d, and %d created", a.Status, shown.Status, x.count()-before)
				}
			})
		}
	})
}

// twiceWithAPassword submits a form that asks for the password again like a browser that lost the first response: twice
// with the same cookies. Both lead to the same place, one object is created, and the cookie in each response opens the
// session.
func twiceWithAPassword(t *testing.T, r *rig.Rig, b *rig.Browser, page, action string,
	form url.Values, count func() int,
) {
	t.Helper()
	for _, apart := range []bool{true, false} {
		r.Advance(5*time.Minute + time.Second)
		fresh := b.Form(b.Get(page), action)
		if !fresh.Has("password") {
			t.Fatalf("%s asks for no password", page)
		}
		sent := url.Values{}
		for name, values := range form {
			sent[name] = values
		}
		sent.Set("form", fresh.Get("form"))
		sent.Set("password", rig.Password)
		before := count()
		twins := [2]*rig.Browser{r.Browser(), r.Browser()}
		for _, twin := range twins {
			for _, c := range b.Cookies() {
				twin.SetCookie(c)
			}
		}
		var answers [2]*rig.Answer
		if apart {
			answers[0], answers[1] = twins[0].PostForm(action, sent), twins[1].PostForm(action, sent)
		} else {
			rig.AtOnce(2, func(i int) { answers[i] = twins[i].PostForm(action, sent) })
		}
		for i, a := range answers {
			if a.Status != http.StatusSeeOther || a.Header.Get("Location") != answers[0].Header.Get("Location") {
				t.Errorf("apart %v: answer %d is %d to %q: %s", apart, i, a.Status, a.Header.Get("Location"), rig.Plain(a.Body))
			}
			if got := twins[i].Get("/settings/profile"); got.Status != http.StatusOK {
				t.Errorf("apart %v: after answer %d the browser is answered %d", apart, i, got.Status)
			}
		}
		if n := count() - before; n != 1 {
			t.Errorf("apart %v: %d were created", apart, n)
		}
		// The old cookie is worthless without the password, and after a minute entirely.
		stolen := func(what, password string) {
			t.Helper()
			sent.Set("password", password)
			if a := b.PostForm(action, sent); a.Status != http.StatusUnauthorized {
				t.Errorf("the former cookie %s: %d", what, a.Status)
			}
			if a := b.Get("/settings/profile"); a.Status == http.StatusOK {
				t.Errorf("the former cookie %s opens a page", what)
			}
		}
		stolen("without the password", "")
		stolen("with a wrong password", "not the password")
		r.Advance(time.Minute + time.Second)
		stolen("after a minute", rig.Password)
		if n := count() - before; n != 1 {
			t.Errorf("apart %v: with the former cookie %d were created", apart, n)
		}
		for _, c := range twins[1].Cookies() {
			b.SetCookie(c)
		}
	}
}
