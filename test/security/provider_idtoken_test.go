package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/config"
	"doorward/test/providers"
	"doorward/test/rig"
)

// An ID token that must not be believed signs no user in, and begins no sign-up: with a provider whose account is
// connected, and with one whose account is not. The page says that the user is not signed in.
func TestG26_AnIDTokenThatMustNotBeBelievedSignsNoOneIn(t *testing.T) {
	always := []providers.Fault{
		providers.NoIDToken, providers.WrongNonce, providers.NoNonce, providers.WrongIss, providers.WrongAud,
		providers.SeveralAud, providers.WrongAzp, providers.Expired, providers.Early, providers.NotYet, providers.NoExp,
		providers.NoIat, providers.NoSub, providers.LongSub, providers.AlgNone, providers.AlgHS256,
		providers.ForeignKey, providers.UnknownKid, providers.Altered, providers.JSONForm,
	}
	for kind, more := range map[string][]providers.Fault{
		"":          {providers.OtherUserInfo},
		"google":    nil,
		"microsoft": {providers.WrongTenant, providers.NoTenant},
		"apple":     nil,
		"gitlab":    nil,
	} {
		t.Run("kind "+kind, func(t *testing.T) {
			s, id := standIn(t, kind)
			r := rig.Memory(t, withProviders(outside(s, id, kind)))
			follow(r, s)
			ada := providers.Ada()
			issuer := s.Issuer()
			if kind == "microsoft" {
				issuer = s.TenantIssuer(providers.Tenant)
			}
			connected(r, r.Alice, id, issuer, ada.Subject)
			connected(r, r.Alice, id, issuer, "another-user") // Altered and OtherUserInfo say that it is this one
			stranger := ada
			stranger.Subject, stranger.Email = "42", "stranger@lovelace.example"
			for _, fault := range append(more, always...) {
				for _, user := range []providers.User{ada, stranger} {
					s.SetUser(user)
					s.Break(fault)
					b, before := r.Browser(), tallyOf(t, r)
					a := signInAt(b, id)
					wantPage(t, a, http.StatusBadRequest)
					wantSame(t, b, before)
					if !strings.Contains(rig.Plain(a.Body), "You are not signed in by it.") {
						t.Errorf("the page says %s", rig.Plain(a.Body))
					}
					if t.Failed() {
						t.Fatalf("with %q, subject %s", fault, user.Subject)
					}
					r.Advance(time.Minute) // the keys are read again at most five times a minute
				}
			}
			s.Repair()
			s.SetUser(ada)
			b := r.Browser()
			wantSignedIn(t, b, signInAt(b, id), r.Alice)
			wantNoToken(t, r)
		})
	}
}

// standIn starts a stand-in of a kind, and returns the id of its provider.
func standIn(t *testing.T, kind string) (*providers.Server, string) {
	t.Helper()
	switch kind {
	case "google":
		return providers.Google(t), kind
	case "microsoft":
		return providers.Microsoft(t), kind
	case "apple":
		return providers.Apple(t), kind
	case "github":
		return providers.GitHub(t), kind
	case "gitlab":
		return providers.GitLab(t), kind
	}
	return providers.OIDC(t), "acme"
}

// Each kind of provider signs in the user to whom the account there is connected, by issuer and subject.
func TestG26_EachKindOfProviderSignsIn(t *testing.T) {
	kinds := []string{"", "google", "microsoft", "apple", "github", "gitlab"}
	var list []config.Provider
	var all []*providers.Server
	for _, kind := range kinds {
		s, id := standIn(t, kind)
		all, list = append(all, s), append(list, outside(s, id, kind))
	}
	r := rig.Memory(t, withProviders(list...))
	follow(r, all...)
	for i, s := range all {
		issuer := s.Issuer()
		if kinds[i] == "microsoft" {
			issuer = s.TenantIssuer(providers.Tenant)
		}
		u := r.User("user"+list[i].ID+"@example.com", "User", false)
		connected(r, u, list[i].ID, issuer, providers.Ada().Subject)
		b := r.Browser()
		wantSignedIn(t, b, signInAt(b, list[i].ID), u)
		if n := len(sessionsOf(t, r, u.ID)); n != 1 {
			t.Errorf("%s: %d sessions", list[i].ID, n)
		}
	}
	wantNoToken(t, r)
}

// A 200 answer with an error, or without a user, is a failure, and never the user null.
func TestG29_AnAnswerWithoutAUserIsAFailure(t *testing.T) {
	gh, oidc := providers.GitHub(t), providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(gh, "github", "github"), outside(oidc, "acme", "")))
	follow(r, gh, oidc)
	for _, subject := range []string{"", "0", "null", "-1", "<nil>"} {
		connected(r, r.Alice, "github", gh.Issuer(), subject)
		connected(r, r.Alice, "acme", oidc.Issuer(), subject)
	}
	member := func(name string, value any) func(map[string]any) {
		return func(m map[string]any) { m[name] = value }
	}
	for name, x := range map[string]struct {
		id     string
		spoil  func()
		status int // zero: 400
	}{
		"an error in a 200 answer": {id: "github", spoil: func() { gh.Break(providers.TokenError) }},
		"a null user":              {id: "github", spoil: func() { gh.Break(providers.NullUser) }},
		"a user without an id":     {id: "github", spoil: func() { gh.Break(providers.NoUserID) }},
		"id 0":                     {id: "github", spoil: func() { gh.EditUserInfo(member("id", 0)) }},
		"id -1":                    {id: "github", spoil: func() { gh.EditUserInfo(member("id", -1)) }},
		"id null":                  {id: "github", spoil: func() { gh.EditUserInfo(member("id", nil)) }},
		"id null as text":          {id: "github", spoil: func() { gh.EditUserInfo(member("id", "null")) }},
		"an empty user":            {id: "github", spoil: func() { gh.BreakAt(providers.UserInfo, providers.Empty) }},
		"a user that is null":      {id: "github", spoil: func() { gh.BreakAt(providers.UserInfo, providers.Null) }},
		"an empty token":           {id: "github", spoil: func() { gh.BreakAt(providers.Token, providers.Empty) }},
		"a null token":             {id: "github", spoil: func() { gh.BreakAt(providers.Token, providers.Null) }},
		"no addresses": {
			id: "github", spoil: func() { gh.BreakAt(providers.Emails, providers.Null) }, status: http.StatusForbidden,
		},
		"addresses of another form": {id: "github", spoil: func() { gh.BreakAt(providers.Emails, providers.Empty) }},
		"empty userinfo":            {id: "acme", spoil: func() { oidc.BreakAt(providers.UserInfo, providers.Empty) }},
		"null userinfo":             {id: "acme", spoil: func() { oidc.BreakAt(providers.UserInfo, providers.Null) }},
		"userinfo with an error":    {id: "acme", spoil: func() { oidc.BreakAt(providers.UserInfo, providers.Refusing) }},
		"sub null":                  {id: "acme", spoil: func() { oidc.EditClaims(member("sub", nil)) }},
		"sub empty":                 {id: "acme", spoil: func() { oidc.EditClaims(member("sub", "")) }},
		"sub 0":                     {id: "acme", spoil: func() { oidc.EditClaims(member("sub", 0)) }},
		"null in the token answer":  {id: "acme", spoil: func() { oidc.BreakAt(providers.Token, providers.Null) }},
		"an empty token answer":     {id: "acme", spoil: func() { oidc.BreakAt(providers.Token, providers.Empty) }},
		"a refused code":            {id: "acme", spoil: func() { oidc.BreakAt(providers.Token, providers.Refusing) }},
	} {
		t.Run(name, func(t *testing.T) {
			x.spoil()
			defer func() {
				for _, s := range []*providers.Server{gh, oidc} {
					s.Repair()
					s.EditUserInfo(nil)
					s.EditClaims(nil)
				}
			}()
			b, before := r.Browser(), tallyOf(t, r)
			a := signInAt(b, x.id)
			want := x.status
			if want == 0 {
				want = http.StatusBadRequest
			}
			wantPage(t, a, want)
			wantSame(t, b, before)
			if text := strings.ToLower(rig.Plain(a.Body)); strings.Contains(text, "null") || strings.Contains(text, "nil") {
				t.Errorf("the page says %s", text)
			}
		})
	}
	wantNoToken(t, r)
}

// A user who declines at the provider is back on the sign-in page, in the same flow, and not signed in.
func TestG25_AUserWhoDeclinesIsBackOnTheSignInPage(t *testing.T) {
	for _, kind := range []string{"", "apple", "github"} {
		t.Run("kind "+kind, func(t *testing.T) {
			s, id := standIn(t, kind)
			r := rig.Memory(t, withProviders(outside(s, id, kind)))
			follow(r, s)
			s.Break(providers.Denied)
			app := r.App(appSpec)
			b := r.Browser()
			page := b.Authorize(app.Params("read"))
			before := tallyOf(t, r)
			v := depart(b, page, id)
			a := v.back(b)
			if a.Status != http.StatusSeeOther || a.Location.Path != "/login" || a.Param("flow") == "" {
				t.Fatalf("answered %d %v", a.Status, a.Location)
			}
			wantSame(t, b, before)
			if a := b.LogIn(b.Follow(a), r.Alice.Email); a.Status != http.StatusSeeOther {
				t.Errorf("the flow does not go on: %d %s", a.Status, rig.Plain(a.Body))
			}
			v = connectAt(b, id)
			a = v.back(b)
			if a.Status != http.StatusSeeOther || a.Location.Path != "/settings/security" {
				t.Errorf("a connection: answered %d %v", a.Status, a.Location)
			}
			if list := providersOf(r, r.Alice.ID); len(list) != 0 {
				t.Errorf("connected: %q", list)
			}
			// A denial with another state is not one of this sign-in.
			out := r.Browser()
			v = depart(out, out.Get("/login"), id)
			v.params = url.Values{"state": {"another"}, "error": v.params["error"]}
			before = tallyOf(t, r)
			wantPage(t, v.back(out), http.StatusBadRequest)
			wantSame(t, out, before)
		})
	}
}
