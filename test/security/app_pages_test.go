package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/rig"
	"doorward/web/signin"
)

// An app may ask for the page for creating an account. Where visitors cannot create one, they sign in.
func TestPromptCreateShowsTheSignUpPage(t *testing.T) {
	for _, x := range []struct{ signUp, page string }{
		{signin.SignUpOpen, "/signup"}, {signin.SignUpInvited, "/login"}, {signin.SignUpClosed, "/login"},
	} {
		r := rig.Memory(t, rig.Options{Emails: true, SignUp: x.signUp})
		app := r.App(management.ClientSpec{})
		sent := altered(app.Params("read"), url.Values{"prompt": {"create"}})
		for _, b := range []*rig.Browser{r.Browser(), r.Browser().SignIn(r.Alice.Email)} {
			r.Advance(time.Second) // the session is older than the request
			a := ask(b, sent)
			if a.Status != http.StatusSeeOther || a.Location.Path != x.page {
				t.Errorf("%s: answered %d, %v", x.signUp, a.Status, a.Location)
				continue
			}
			page := b.Follow(a)
			if page.Status != http.StatusOK || !strings.Contains(page.Body, `action="`+x.page+`"`) {
				t.Errorf("%s: the page says %s", x.signUp, rig.Plain(page.Body))
			}
		}
		a := ask(r.Browser().SignIn(r.Alice.Email), altered(sent, url.Values{"prompt": {"create none"}}))
		wantRefusal(t, r, a, sent, "invalid_request")
	}
}

// The account that is created that way continues to the app.
func TestPromptCreateLeadsBackToTheApp(t *testing.T) {
	r := rig.Memory(t, rig.WithEmail())
	app := r.App(management.ClientSpec{})
	sent := altered(app.Params("read"), url.Values{"prompt": {"create"}})
	b := r.Browser()
	page := b.Follow(ask(b, sent))
	form := b.Form(page, "/signup")
	form.Set("email", "new@example.com")
	b.PostForm("/signup", form)
	page = b.Get(r.Email("sign_up").Path())
	page = b.Follow(b.PostForm("/signup/link", b.Form(page, "/signup/link")))
	form = b.Form(page, "/signup/complete")
	form.Set("name", "New")
	form.Set("password", rig.Password)
	next := b.PostForm("/signup/complete", form)
	wantConsent(t, next)
	wantCode(t, r, b.Decide(b.Follow(next), "approve"), sent)
}

// An app chooses the language of the pages of its flow, before the browser and the user's own choice.
func TestUILocalesChooseTheLanguage(t *testing.T) {
	o := rig.WithEmail()
	o.Languages = []string{"en", "de", "fr"}
	r := rig.Memory(t, o)
	r.SQL(`UPDATE users SET language = 'fr' WHERE id = $1`, r.Alice.ID)
	app := r.App(management.ClientSpec{})
	language := func(a *rig.Answer) string {
		t.Helper()
		_, rest, _ := strings.Cut(a.Body, `<html lang="`)
		tag, _, _ := strings.Cut(rest, `"`)
		return tag
	}
	want := func(a *rig.Answer, tag string) {
		t.Helper()
		if got := language(a); got != tag {
			t.Errorf("the page is in %q, want %s: %s", got, tag, rig.Plain(a.Body))
		}
	}
	for _, x := range []struct{ locales, before, after string }{
		{"", "en", "fr"}, // as the browser asks, and then as the user chose
		{"de", "de", "de"},
		{"xx de-AT fr", "de", "de"},
		{"ja not/a/tag", "en", "fr"},
		{strings.Repeat("de ", 100), "en", "fr"},
	} {
		b := r.Browser()
		sent := altered(app.Params("read"), url.Values{"ui_locales": {x.locales}})
		page := b.Follow(ask(b, sent))
		want(page, x.before)
		form := b.Form(page, "/login")
		form.Set("email", r.Alice.Email)
		page = b.PostForm("/login", form)
		want(page, x.before)
		form = b.Form(page, "/login")
		form.Set("password", "a wrong password")
		page = b.PostForm("/login", form)
		want(page, x.before)
		form = b.Form(page, "/login")
		form.Set("password", rig.Password)
		page = b.Follow(b.PostForm("/login", form))
		want(page, x.after)
		want(b.Get("/settings/profile"), "fr")
	}
	// It counts for every refusal on a page, also of what the server reads first.
	for name, wrong := range map[string]url.Values{
		"another redirect URI":      {"redirect_uri": {"https://else.example"}},
		"an unknown app":            {"client_id": {"app_unknown"}},
		"no app":                    {"client_id": nil},
		"a parameter given twice":   {"client_id": {app.ID, app.ID}},
		"a redirect URI sent twice": {"redirect_uri": {"https://else.example", "https://else.example"}},
	} {
		wrong.Set("ui_locales", "de")
		page := ask(r.Browser(), altered(app.Params("read"), wrong))
		if page.Status != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", name, page.Status)
		}
		want(page, "de")
	}
}
