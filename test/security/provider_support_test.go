package security

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/config"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/oauth/provider"
	"doorward/storage"
	"doorward/test/providers"
	"doorward/test/rig"
	"doorward/web"
	"doorward/web/signin"
)

// Helpers for the tests of sign-in with other providers: a browser goes to a stand-in and comes back.

// outside is the configuration of a provider for a stand-in. kind is empty for any OpenID Connect issuer; otherwise it
// is also the id.
func outside(s *providers.Server, id, kind string, change ...func(*config.Provider)) config.Provider {
	p := config.Provider{
		Config: provider.Config{
			ID: id, Kind: kind, Issuer: s.Issuer(), ClientID: s.ClientID, ClientSecret: s.ClientSecret,
			TeamID: s.TeamID, KeyID: s.KeyID, PrivateKey: s.PrivateKey,
		},
		SignUp: true,
	}
	if kind == "" {
		p.Name = strings.ToUpper(id[:1]) + id[1:]
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// trusted marks the addresses of a provider as trusted.
func trusted(p *config.Provider) { p.TrustedEmail = true }

// withProviders are options of a server with email, at which visitors may sign up and sign in with providers.
func withProviders(list ...config.Provider) rig.Options {
	o := withEmail()
	o.Providers = list
	return o
}

// follow makes stand-ins use the clock of a rig, and its log be searched for their secrets.
func follow(r *rig.Rig, standIns ...*providers.Server) {
	for _, s := range standIns {
		s.SetClock(func() time.Time { return r.Store.Now().Time() })
		r.Seen.Add("provider's client secret", s.ClientSecret)
		r.Seen.Add("provider's private key", s.PrivateKey)
	}
}

// visited is a browser that a provider sends back.
type visited struct {
	path    string
	params  url.Values
	form    bool   // the provider sends it back by a form of its own site
	address string // where it was at the provider
}

// leave sends a form that leads to a provider, and visits the provider.
func leave(b *rig.Browser, path string, form url.Values) visited {
	b.T.Helper()
	a := b.PostForm(path, form)
	if a.Status != http.StatusSeeOther || a.Location.Host == "" {
		b.T.Fatalf("%s answered %d %v %s", path, a.Status, a.Location, rig.Plain(a.Body))
	}
	return arrive(b, a)
}

// arrive visits the provider to which an answer leads.
func arrive(b *rig.Browser, a *rig.Answer) visited {
	b.T.Helper()
	text, err := b.Secrets.Open("away", cookie(b, "doorward-provider"))
	if err != nil {
		b.T.Fatalf("the cookie of the sign-in at the provider: %v", err)
	}
	var sealed struct{ A provider.Attempt }
	if err := json.Unmarshal(text, &sealed); err != nil {
		b.T.Fatal(err)
	}
	b.Seen.Add("provider's state", sealed.A.State)
	b.Seen.Add("provider's nonce", sealed.A.Nonce)
	b.Seen.Add("provider's verifier", sealed.A.Verifier)
	v := visited{form: a.Location.Query().Get("response_mode") == "form_post", address: a.Location.String()}
	return v.again(b)
}

// again is the browser at the provider once more, which sends it back with another code.
func (v visited) again(b *rig.Browser) visited {
	b.T.Helper()
	to, params := providers.Visit(b.T, v.address)
	if !strings.HasPrefix(to, b.Issuer+"/login/") {
		b.T.Fatalf("the provider sends the browser to %s", to)
	}
	b.Seen.Add("provider's code", params.Get("code"))
	v.path, v.params = strings.TrimPrefix(to, b.Issuer), params
	return v
}

// depart begins a sign-in at a provider on a sign-in page, and visits the provider.
func depart(b *rig.Browser, page *rig.Answer, id string) visited {
	b.T.Helper()
	return leave(b, "/login/"+id, b.Form(page, "/login/"+id))
}

// back is the browser's way back.
func (v visited) back(b *rig.Browser) *rig.Answer {
	b.T.Helper()
	if !v.form {
		return b.Get(v.path + "?" + v.params.Encode())
	}
	relay := v.relay(b.Rig)
	if relay.Status != http.StatusOK {
		return relay
	}
	return b.PostForm(v.path, b.Form(relay, v.path))
}

// relay is what the form of another site is answered, with which a browser sends no cookies.
func (v visited) relay(r *rig.Rig) *rig.Answer {
	r.T.Helper()
	return r.Post(v.path, v.params, "Sec-Fetch-Site", "cross-site", "Origin", "https://provider.example")
}

// fromAnotherSite sends a form of another site, with the cookies of the browser, as if these had no SameSite. The
// browser must get no cookie.
func fromAnotherSite(b *rig.Browser, path string, form url.Values) *rig.Answer {
	b.T.Helper()
	a := b.Send(programWith(b), b.Request(http.MethodPost, path, strings.NewReader(form.Encode()),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site",
		"Origin", "https://evil.example"))
	if len(a.Cookies) > 0 {
		b.T.Errorf("a form of another site is answered with the cookies %v", a.Cookies)
	}
	return a
}

// signInAt signs in at a provider, from the sign-in page.
func signInAt(b *rig.Browser, id string) *rig.Answer {
	b.T.Helper()
	return depart(b, b.Get("/login"), id).back(b)
}

// connectAt begins to connect an account at a provider, and visits the provider.
func connectAt(b *rig.Browser, id string) visited {
	b.T.Helper()
	return leave(b, "/settings/security/providers/"+id+"/connect", nil)
}

// connected connects an account at a stand-in to a user, as if they had done so before.
func connected(r *rig.Rig, u storage.User, id, issuer, subject string) storage.ProviderAccount {
	r.T.Helper()
	a := storage.ProviderAccount{
		ID: storage.NewID("provider"), UserID: u.ID, Provider: id, Issuer: issuer, Subject: subject,
		Email: "before@example.com",
	}
	if err := r.Store.InsertProviderAccount(r.System(), a); err != nil {
		r.T.Fatal(err)
	}
	return a
}

// providersOf lists the accounts at providers that are connected to a user, as "id subject".
func providersOf(r *rig.Rig, userID string) (list []string) {
	r.T.Helper()
	accounts, err := r.Store.ProviderAccountsOf(r.System(), userID)
	if err != nil {
		r.T.Fatal(err)
	}
	for _, a := range accounts {
		list = append(list, a.Provider+" "+a.Subject)
	}
	slices.Sort(list)
	return list
}

// completed fills the form that completes an account.
func completed(b *rig.Browser, name string) *rig.Answer {
	b.T.Helper()
	form := b.Form(b.Get("/signup/complete"), "/signup/complete")
	if form.Get("name") == "" {
		form.Set("name", name)
	}
	if form.Has("password") {
		form.Set("password", rig.Password)
	}
	return b.PostForm("/signup/complete", form)
}

// tally counts what a sign-in creates.
type tally struct{ users, sessions, accounts, proofs int }

func tallyOf(t *testing.T, r *rig.Rig) tally {
	t.Helper()
	return tally{
		count(t, r, `SELECT count(*) FROM users`), count(t, r, `SELECT count(*) FROM sessions`),
		count(t, r, `SELECT count(*) FROM provider_accounts`), count(t, r, `SELECT count(*) FROM email_proofs`),
	}
}

// wantSame checks that nothing was created since a tally, and that a browser neither is signed in nor waits for a
// provider.
func wantSame(t *testing.T, b *rig.Browser, before tally) {
	t.Helper()
	if now := tallyOf(t, b.Rig); now != before {
		t.Errorf("there were %+v, and are %+v now", before, now)
	}
	if cookie(b, "doorward") != "" || signedInAs(b) != "" {
		t.Error("the browser is signed in")
	}
	if cookie(b, "doorward-provider") != "" {
		t.Error("the cookie of the sign-in is still there")
	}
}

// wantSignedIn checks that a browser was signed in, as a user.
func wantSignedIn(t *testing.T, b *rig.Browser, a *rig.Answer, u storage.User) {
	t.Helper()
	if a.Status != http.StatusSeeOther {
		t.Errorf("answered %d %s, want a redirect", a.Status, rig.Plain(a.Body))
	}
	if got := signedInAs(b); got != u.Email {
		t.Errorf("signed in as %q, want %s", got, u.Email)
	}
}

// wantNoToken checks that the log shows no ID token and no access token of GitHub; Seen has the other secrets.
func wantNoToken(t *testing.T, r *rig.Rig) {
	t.Helper()
	for _, text := range []string{"eyJ", "gho_"} {
		if strings.Contains(r.Log.String(), text) {
			t.Errorf("the log has %q", text)
		}
	}
}

// ownMethods lists the sign-in methods of a user.
func ownMethods(r *rig.Rig, u storage.User) (list []identity.Method) {
	r.T.Helper()
	user, err := r.Store.UserByID(r.System(), u.ID)
	if err != nil {
		r.T.Fatal(err)
	}
	if list, err = r.Identity.Methods(r.System(), &user); err != nil {
		r.T.Fatal(err)
	}
	return list
}

// reconfigure replaces the rig's pages by those of a server that was restarted with other options, of which change may
// change the rest.
func reconfigure(t *testing.T, r *rig.Rig, o rig.Options, change func(*identity.Config)) {
	t.Helper()
	clock := func() time.Time { return r.Store.Now().Time() }
	list, err := config.Config{Issuer: r.Issuer, Providers: o.Providers}.NewProviders(clock)
	ok(t, err)
	c := identity.Config{
		Store: r.Store, Throttle: limit.NewSignIns(clock), Issuer: r.Issuer, Secrets: r.Secrets,
		Cost: identity.Cost{Memory: 64, Passes: 1}, NoPasswords: o.NoPasswords, SecondFactor: o.SecondFactor,
		Emails:    identity.Emails{Enabled: o.Emails, Links: o.Emails, Hourly: 1000},
		Providers: list,
	}
	if change != nil {
		change(&c)
	}
	r.Identity = identity.New(c)
	r.Web, err = web.New(web.Config{
		Issuer: r.Issuer, Store: r.Store, OAuth: r.OAuth, Management: r.Management, Bearer: r.Bearer, APIKeys: r.APIKeys,
		Catalog: r.Catalog, Identity: r.Identity, Secrets: r.Secrets, TrustedProxies: o.TrustedProxies,
		Log:      slog.New(slog.NewJSONHandler(r.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics:  prometheus.NewRegistry(),
		Accounts: signin.Accounts{SignUp: o.SignUp, Links: o.Emails},
	})
	ok(t, err)
}
