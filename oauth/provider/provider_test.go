package provider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/oauth/provider"
	"doorward/test/providers"
)

// clock is the clock of a provider and of its stand-in.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const callback = "http://localhost:8080/login/x/callback"

// site is a provider with its stand-in.
type site struct {
	*providers.Server
	*provider.Provider
	clock *clock
}

// standIns starts a stand-in of each kind.
var standIns = map[string]func(testing.TB) *providers.Server{
	"": providers.OIDC, "google": providers.Google, "microsoft": providers.Microsoft, "apple": providers.Apple,
	"github": providers.GitHub, "gitlab": providers.GitLab,
}

// openID are the kinds that issue ID tokens.
var openID = []string{"", "google", "microsoft", "apple", "gitlab"}

func newSite(t *testing.T, kind string, change ...func(*provider.Config)) *site {
	t.Helper()
	s := standIns[kind](t)
	c := &clock{now: time.Date(2026, 9, 20, 12, 0, 0, 0, time.UTC)}
	s.SetClock(c.Now)
	s.SetCallback(callback)
	return &site{s, newProvider(t, s, kind, c, change...), c}
}

func newProvider(
	t *testing.T, s *providers.Server, kind string, c *clock, change ...func(*provider.Config),
) *provider.Provider {
	t.Helper()
	config := provider.Config{
		ID: "x", Kind: kind, Issuer: s.Issuer(), ClientID: s.ClientID, ClientSecret: s.ClientSecret, TeamID: s.TeamID,
		KeyID: s.KeyID, PrivateKey: s.PrivateKey,
	}
	for _, f := range change {
		f(&config)
	}
	p, err := provider.New(config, callback, nil, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// begin leads a browser to the stand-in and back.
func (s *site) begin(t *testing.T) (provider.Attempt, url.Values) {
	t.Helper()
	a := provider.NewAttempt()
	address, err := s.Begin(t.Context(), a, "")
	if err != nil {
		t.Fatal(err)
	}
	to, params := providers.Visit(t, address)
	if to != callback {
		t.Fatalf("the browser came back to %s", to)
	}
	return a, params
}

// signIn signs a user in. The error of an account never shows a value that is secret.
func (s *site) signIn(t *testing.T) (provider.Account, error) {
	t.Helper()
	a, params := s.begin(t)
	account, err := s.Finish(t.Context(), a, params)
	if err == nil {
		return account, nil
	}
	if account != (provider.Account{}) {
		t.Errorf("an error comes with the account %+v", account)
	}
	secrets := []string{
		a.State, a.Nonce, a.Verifier, params.Get("code"), params.Get("state"), s.ClientSecret, "eyJ", "gho_",
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	return account, err
}

// wants checks the kind of an error, and that it is of no other kind.
func wants(t *testing.T, err, want error) {
	t.Helper()
	for _, kind := range []error{provider.ErrDenied, provider.ErrAnswer, provider.ErrUnavailable} {
		if errors.Is(err, kind) != (kind == want) { //nolint:errorlint // which of the three is expected
			t.Errorf("the error is %v, want %v", err, want)
		}
	}
}

func TestEachKindSignsIn(t *testing.T) {
	ada := providers.Ada()
	for kind := range standIns {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			want := provider.Account{
				Issuer: s.Issuer(), Subject: ada.Subject, Email: ada.Email, EmailVerified: true, Name: ada.Name,
			}
			if kind == "microsoft" { // it has an issuer for each tenant, and says nothing about addresses
				want.Issuer, want.EmailVerified = s.TenantIssuer(providers.Tenant), false
			}
			got, err := s.signIn(t)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestG25_CallbackThatIsNotOfTheAttempt(t *testing.T) {
	for _, fault := range []providers.Fault{
		providers.OtherState, providers.NoState, providers.TwoStates, providers.TwoCodes, providers.NoCode,
		providers.ForeignIssuer,
	} {
		for _, kind := range []string{"", "apple", "github", "microsoft"} {
			t.Run(kind+": "+string(fault), func(t *testing.T) {
				s := newSite(t, kind)
				s.Break(fault)
				_, err := s.signIn(t)
				wants(t, err, provider.ErrAnswer)
				if n := s.Requests(providers.Token); n != 0 {
					t.Errorf("%d token requests were sent", n)
				}
			})
		}
	}
	t.Run("a browser without an attempt", func(t *testing.T) {
		s := newSite(t, "")
		_, params := s.begin(t)
		for _, state := range []string{"", params.Get("state")} {
			params.Set("state", state)
			_, err := s.Finish(t.Context(), provider.Attempt{}, params)
			wants(t, err, provider.ErrAnswer)
			if n := s.Requests(providers.Token); n != 0 {
				t.Errorf("%d token requests were sent", n)
			}
		}
	})
	t.Run("another browser's attempt", func(t *testing.T) {
		s := newSite(t, "")
		_, params := s.begin(t)
		_, err := s.Finish(t.Context(), provider.NewAttempt(), params)
		wants(t, err, provider.ErrAnswer)
	})
	t.Run("state and nonce of this browser, code of another", func(t *testing.T) {
		s := newSite(t, "google")
		a, params := s.begin(t)
		_, others := s.begin(t)
		params.Set("code", others.Get("code"))
		_, err := s.Finish(t.Context(), a, params)
		wants(t, err, provider.ErrAnswer)
	})
	t.Run("replayed", func(t *testing.T) {
		s := newSite(t, "google")
		a, params := s.begin(t)
		if _, err := s.Finish(t.Context(), a, params); err != nil {
			t.Fatal(err)
		}
		_, err := s.Finish(t.Context(), a, params)
		wants(t, err, provider.ErrAnswer)
	})
}

func TestG26_IDTokenThatMustNotBeBelieved(t *testing.T) {
	faults := []providers.Fault{
		providers.NoIDToken, providers.WrongNonce, providers.NoNonce, providers.WrongIss, providers.WrongAud,
		providers.SeveralAud, providers.WrongAzp, providers.Expired, providers.Early, providers.NotYet,
		providers.NoExp, providers.NoIat, providers.NoSub, providers.LongSub, providers.AlgNone, providers.AlgHS256,
		providers.ForeignKey, providers.UnknownKid, providers.Altered, providers.JSONForm,
	}
	for _, kind := range openID {
		s := newSite(t, kind)
		for _, fault := range faults {
			t.Run(kind+": "+string(fault), func(t *testing.T) {
				s.clock.Advance(time.Minute) // which allows to read the keys again
				s.Break(fault)
				_, err := s.signIn(t)
				wants(t, err, provider.ErrAnswer)
				s.Repair()
				if _, err := s.signIn(t); err != nil {
					t.Errorf("after that, a right one is refused: %v", err)
				}
			})
		}
	}
}

func TestG26_ClaimsOfAnotherType(t *testing.T) {
	s := newSite(t, "google")
	for name, change := range map[string]func(claims map[string]any){
		"iss is a list":            func(c map[string]any) { c["iss"] = []any{c["iss"]} },
		"iss in another case":      func(c map[string]any) { c["ISS"] = c["iss"]; delete(c, "iss") },
		"aud is absent":            func(c map[string]any) { delete(c, "aud") },
		"aud is empty":             func(c map[string]any) { c["aud"] = []string{} },
		"aud is a number":          func(c map[string]any) { c["aud"] = 1 },
		"azp is null":              func(c map[string]any) { c["azp"] = nil },
		"exp is a string":          func(c map[string]any) { c["exp"] = "2100000000" },
		"iat is a string":          func(c map[string]any) { c["iat"] = "1" },
		"nbf is a string":          func(c map[string]any) { c["nbf"] = "1" },
		"sub is a number":          func(c map[string]any) { c["sub"] = 7 },
		"sub has a line break":     func(c map[string]any) { c["sub"] = "a\nb" },
		"nonce is a list":          func(c map[string]any) { c["nonce"] = []any{c["nonce"]} },
		"nonce in another case":    func(c map[string]any) { c["Nonce"] = c["nonce"]; delete(c, "nonce") },
		"at_hash of another token": func(c map[string]any) { c["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" },
		"at_hash is a number":      func(c map[string]any) { c["at_hash"] = 7 },
		"email is a list":          func(c map[string]any) { c["email"] = []string{"ada@lovelace.example"} },
		"distributed claims: none": func(c map[string]any) { c["_claim_names"] = map[string]string{"email": "x"} },
	} {
		t.Run(name, func(t *testing.T) {
			s.EditClaims(change)
			_, err := s.signIn(t)
			wants(t, err, provider.ErrAnswer)
		})
	}
}

func TestG26_TimesToTheSecond(t *testing.T) {
	s := newSite(t, "")
	now := s.clock.Now().Unix()
	for _, c := range []struct {
		claim  string
		offset int64
		want   error
	}{
		{"exp", -59, nil},
		{"exp", -60, provider.ErrAnswer},
		{"iat", 60, nil},
		{"iat", 61, provider.ErrAnswer},
		{"nbf", 60, nil},
		{"nbf", 61, provider.ErrAnswer},
	} {
		s.EditClaims(func(claims map[string]any) { claims[c.claim] = now + c.offset })
		_, err := s.signIn(t)
		if !errors.Is(err, c.want) {
			t.Errorf("%s at now%+d: %v, want %v", c.claim, c.offset, err, c.want)
		}
	}
	s.EditClaims(nil)
	s.Shift(time.Minute + time.Second)
	_, err := s.signIn(t)
	wants(t, err, provider.ErrAnswer)
}

func TestG26_SeveralAudiencesWithOurAzp(t *testing.T) {
	s := newSite(t, "")
	s.EditClaims(func(c map[string]any) { c["aud"], c["azp"] = []string{"another", s.ClientID}, s.ClientID })
	if _, err := s.signIn(t); err != nil {
		t.Error(err)
	}
}

func TestG26_AlgorithmsThatDiscoveryLists(t *testing.T) {
	s := newSite(t, "")
	for _, algorithm := range []string{"ES256", "EdDSA", "RS256"} {
		s.SignWith(algorithm)
		s.clock.Advance(time.Hour) // so that discovery is read again
		if _, err := s.signIn(t); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
	s.SignWith("ES256") // discovery has RS256 yet
	_, err := s.signIn(t)
	wants(t, err, provider.ErrAnswer)
	s.EditDiscovery(func(d map[string]any) { delete(d, "id_token_signing_alg_values_supported") })
	s.clock.Advance(time.Hour)
	if _, err := s.signIn(t); err != nil {
		t.Errorf("without a list: %v", err)
	}
}

func TestG26_IssuerOfTheCallback(t *testing.T) { // RFC 9207
	s := newSite(t, "")
	s.Break(providers.NoCallbackIssuer) // although discovery promises it
	_, err := s.signIn(t)
	wants(t, err, provider.ErrAnswer)

	s = newSite(t, "microsoft")
	for _, c := range []struct {
		iss    string
		want   error
		tokens int // requests so far
	}{
		{s.Issuer(), provider.ErrAnswer, 0},
		{s.TenantIssuer("{tenantid}"), provider.ErrAnswer, 0},
		{"https://x.example/" + providers.Tenant + "/v2.0", provider.ErrAnswer, 0},
		{s.TenantIssuer(providers.OtherTenant), provider.ErrAnswer, 1}, // then, its ID token is another tenant's
		{s.TenantIssuer(providers.Tenant), nil, 2},
	} {
		s.EditCallback(func(params url.Values) { params.Set("iss", c.iss) })
		if _, err := s.signIn(t); !errors.Is(err, c.want) || s.Requests(providers.Token) != c.tokens {
			t.Errorf("iss %s: %d requests, %v, want %v", c.iss, s.Requests(providers.Token), err, c.want)
		}
	}
}

func TestG28_EmailIsVerifiedOnlyIfTheProviderSaysSo(t *testing.T) {
	for kind := range standIns {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			for state, want := range map[providers.EmailState]bool{
				providers.Verified: kind != "microsoft", providers.Unverified: false, providers.Unstated: false,
			} {
				u := providers.Ada()
				u.State = state
				s.SetUser(u)
				account, err := s.signIn(t)
				if err != nil || account.Email != u.Email || account.EmailVerified != want {
					t.Errorf("%v: verified is %v, want %v: %+v, %v", state, account.EmailVerified, want, account, err)
				}
			}
		})
	}
	s := newSite(t, "google")
	for _, c := range []struct{ sent, want any }{
		{"true", true},
		{"false", false},
		{"TRUE", false},
		{1, false},
		{nil, false},
		{[]bool{true}, false},
	} {
		s.EditClaims(func(claims map[string]any) { claims["email_verified"] = c.sent })
		account, err := s.signIn(t)
		if err != nil || account.EmailVerified != c.want {
			t.Errorf("email_verified %v: %+v, %v", c.sent, account, err)
		}
	}
	// What Microsoft's tenants may put into it proves nothing.
	s = newSite(t, "microsoft")
	s.EditClaims(func(claims map[string]any) { claims["email_verified"] = true })
	if account, err := s.signIn(t); err != nil || account.EmailVerified {
		t.Errorf("Microsoft: %+v, %v", account, err)
	}
}

func TestG28_AccountWithoutAnAddress(t *testing.T) {
	for kind := range standIns {
		for _, email := range []string{"", "not an address", "ada@lovelace.example\n"} {
			s := newSite(t, kind)
			u := providers.Ada()
			u.Email = email
			s.SetUser(u)
			account, err := s.signIn(t)
			if err != nil || account.Subject != u.Subject || account.Email != "" || account.EmailVerified {
				t.Errorf("%s, %q: %+v, %v", kind, email, account, err)
			}
		}
	}
}

func TestG29_AnswersWithoutAUser(t *testing.T) {
	for _, c := range []struct {
		kind  string
		fault providers.Fault
	}{
		{"github", providers.TokenError},
		{"github", providers.NullUser},
		{"github", providers.NoUserID},
		{"", providers.OtherUserInfo},
		{"gitlab", providers.OtherUserInfo},
		{"", providers.OtherCode},
		{"github", providers.OtherCode},
	} {
		s := newSite(t, c.kind)
		s.Break(c.fault)
		_, err := s.signIn(t)
		t.Log(err)
		wants(t, err, provider.ErrAnswer)
	}
	s := newSite(t, "github")
	for _, id := range []any{0, -1, "1815121018521127", 1.5, nil, []int{1}} {
		s.EditUserInfo(func(members map[string]any) { members["id"] = id })
		_, err := s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}
	for _, c := range []struct {
		kind  string
		at    providers.Endpoint
		fault providers.Fault
	}{
		{"", providers.Token, providers.Refusing},
		{"", providers.Token, providers.Empty},
		{"", providers.Token, providers.Null},
		{"", providers.UserInfo, providers.Refusing},
		{"", providers.UserInfo, providers.Empty},
		{"", providers.UserInfo, providers.Null},
		{"github", providers.Token, providers.Empty},
		{"github", providers.UserInfo, providers.Empty},
		{"github", providers.UserInfo, providers.Refusing},
		{"github", providers.Emails, providers.Refusing},
		{"github", providers.Emails, providers.Empty},
	} {
		s := newSite(t, c.kind)
		s.BreakAt(c.at, c.fault)
		_, err := s.signIn(t)
		t.Log(err)
		wants(t, err, provider.ErrAnswer)
	}
}

func TestUserSaysNo(t *testing.T) {
	for kind := range standIns {
		s := newSite(t, kind)
		s.Break(providers.Denied)
		_, err := s.signIn(t)
		wants(t, err, provider.ErrDenied)
		s.Break(providers.ServerError)
		_, err = s.signIn(t)
		wants(t, err, provider.ErrAnswer)
		s.Break(providers.Denied, providers.NoState) // so that no other site can say no
		_, err = s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}
}

// broken are the ways in which a provider is unavailable at any endpoint, without Slow.
var broken = []providers.Fault{
	providers.Down, providers.Nonsense, providers.Failing, providers.Busy, providers.Huge, providers.Redirecting,
}

func TestProviderIsUnavailable(t *testing.T) {
	for _, kind := range []string{"", "github"} {
		endpoints := []providers.Endpoint{providers.Token, providers.Keys, providers.UserInfo}
		if kind == "github" {
			endpoints = []providers.Endpoint{providers.Token, providers.UserInfo, providers.Emails}
		}
		for _, e := range endpoints {
			for _, fault := range broken {
				t.Run(kind+" "+string(e)+": "+string(fault), func(t *testing.T) {
					s := newSite(t, kind)
					s.BreakAt(e, fault)
					_, err := s.signIn(t)
					t.Log(err)
					wants(t, err, provider.ErrUnavailable)
					if n := s.Requests(e); n != 1 && fault != providers.Down { // net/http may try again if nothing came
						t.Errorf("%d requests, want 1", n)
					}
				})
			}
		}
	}
	for _, fault := range append([]providers.Fault{
		providers.Refusing, providers.Empty, providers.Null, providers.WrongIssuer, providers.PlainHTTP,
		providers.NoKeys, providers.OnlyHS256,
	}, broken...) {
		t.Run("discovery: "+string(fault), func(t *testing.T) {
			s := newSite(t, "")
			s.Break(fault)
			_, err := s.Begin(t.Context(), provider.NewAttempt(), "")
			t.Log(err)
			wants(t, err, provider.ErrUnavailable)
			wants(t, s.Check(t.Context()), provider.ErrUnavailable)
			if shown := strings.Contains(err.Error(), "status 400"); shown != (fault == providers.Refusing) {
				t.Errorf("the operator reads: %v", err)
			}
		})
	}
	for _, fault := range []providers.Fault{providers.Refusing, providers.Empty, providers.Null} {
		t.Run("keys: "+string(fault), func(t *testing.T) {
			s := newSite(t, "")
			s.BreakAt(providers.Keys, fault)
			_, err := s.signIn(t)
			wants(t, err, provider.ErrUnavailable)
			if shown := strings.Contains(err.Error(), "status 400"); shown != (fault == providers.Refusing) {
				t.Errorf("the operator reads: %v", err)
			}
		})
	}
}

func TestSlowProvider(t *testing.T) {
	for _, c := range []struct {
		kind string
		at   providers.Endpoint
	}{
		{"", providers.Discovery},
		{"", providers.Token},
		{"", providers.Keys},
		{"", providers.UserInfo},
		{"github", providers.Emails},
	} {
		t.Run(c.kind+string(c.at), func(t *testing.T) {
			s := newSite(t, c.kind)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.at != providers.Discovery {
				a, params := s.begin(t)
				s.BreakAt(c.at, providers.Slow)
				failed := make(chan error)
				go func() {
					_, err := s.Finish(ctx, a, params)
					failed <- err
				}()
				s.Await(t, c.at)
				cancel()
				wants(t, <-failed, provider.ErrUnavailable)
				return
			}
			s.BreakAt(c.at, providers.Slow)
			failed := make(chan error)
			go func() {
				_, err := s.Begin(ctx, provider.NewAttempt(), "")
				failed <- err
			}()
			s.Await(t, c.at)
			cancel()
			wants(t, <-failed, provider.ErrUnavailable)
		})
	}
}

// deadlines notes how long the requests to a provider may take.
type deadlines struct {
	mu   sync.Mutex
	left map[string]time.Duration // by path
	ends map[string]time.Time     // by path
}

func (d *deadlines) RoundTrip(q *http.Request) (*http.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	deadline, ok := q.Context().Deadline()
	if !ok {
		deadline = time.Now().Add(time.Hour)
	}
	d.left[q.URL.Path], d.ends[q.URL.Path] = time.Until(deadline), deadline
	return http.DefaultTransport.RoundTrip(q)
}

func TestEveryRequestIsBounded(t *testing.T) {
	s := newSite(t, "")
	d := &deadlines{left: map[string]time.Duration{}, ends: map[string]time.Time{}}
	p, err := provider.New(provider.Config{
		ID: "x", Issuer: s.Issuer(), ClientID: s.ClientID, ClientSecret: s.ClientSecret,
	}, callback, &http.Client{Transport: d}, s.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.Provider = p
	if _, err := s.signIn(t); err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{
		"/.well-known/openid-configuration": 3 * time.Second, "/token": 6 * time.Second, "/jwks": 6 * time.Second,
		"/userinfo": 6 * time.Second,
	}
	for path, most := range want {
		if left, ok := d.left[path]; !ok || left > most {
			t.Errorf("%s may take %v (asked: %v), want at most %v", path, left, ok, most)
		}
	}
	if !d.ends["/token"].Equal(d.ends["/userinfo"]) {
		t.Errorf("the requests of one sign-in have deadlines of their own: %v", d.ends)
	}
}

func TestClientWithAShorterTimeout(t *testing.T) {
	s := newSite(t, "github") // it needs no discovery document
	p, err := provider.New(provider.Config{
		ID: "x", Kind: "github", Issuer: s.Issuer(), ClientID: s.ClientID, ClientSecret: s.ClientSecret,
	}, callback, &http.Client{Timeout: time.Nanosecond}, s.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.Provider = p
	_, err = s.signIn(t)
	wants(t, err, provider.ErrUnavailable)
}

func TestDiscoveryIsKept(t *testing.T) {
	s := newSite(t, "")
	began := func() error {
		_, err := s.Begin(t.Context(), provider.NewAttempt(), "")
		return err
	}
	step := func(after time.Duration, requests int, want error) {
		t.Helper()
		s.clock.Advance(after)
		if err := began(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if n := s.Requests(providers.Discovery); n != requests {
			t.Errorf("%d requests, want %d", n, requests)
		}
	}
	step(0, 1, nil)
	step(time.Hour-time.Second, 1, nil)
	step(time.Second, 2, nil)
	s.Break(providers.Failing)
	step(time.Hour, 3, nil) // the older one is used
	step(2*time.Second, 3, nil)
	step(time.Second, 4, nil)
	step(23*time.Hour-4*time.Second, 5, nil)
	step(time.Second, 5, provider.ErrUnavailable) // a day old
	step(4*time.Second, 6, provider.ErrUnavailable)
	s.Repair()
	step(time.Second, 6, provider.ErrUnavailable) // the failure is kept for three seconds
	step(2*time.Second, 7, nil)
	s.Break(providers.WrongIssuer)
	step(time.Hour, 8, nil)
	step(24*time.Hour, 9, provider.ErrUnavailable)
}

func TestDiscoveryIsReadByOneRequestAtATime(t *testing.T) {
	s := newSite(t, "")
	s.BreakAt(providers.Discovery, providers.Slow)
	const callers = 16
	failed := make(chan error, callers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range callers {
		go func() {
			_, err := s.Begin(ctx, provider.NewAttempt(), "")
			failed <- err
		}()
	}
	s.Await(t, providers.Discovery)
	cancel()
	for range callers {
		wants(t, <-failed, provider.ErrUnavailable)
	}
	if n := s.Requests(providers.Discovery); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestCallerWhoGivesUpDoesNotEndTheRequestOfOthers(t *testing.T) {
	s := newSite(t, "")
	s.BreakAt(providers.Discovery, providers.Slow)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin := func(ctx context.Context) chan error {
		failed := make(chan error)
		go func() {
			_, err := s.Begin(ctx, provider.NewAttempt(), "")
			failed <- err
		}()
		return failed
	}
	first := begin(ctx)
	s.Await(t, providers.Discovery)
	second := begin(t.Context())
	cancel()
	wants(t, <-first, provider.ErrUnavailable)
	s.Repair()
	if err := <-second; err != nil || s.Requests(providers.Discovery) != 1 {
		t.Errorf("%d requests, %v", s.Requests(providers.Discovery), err)
	}
}

func TestKeysAreRotated(t *testing.T) {
	for _, kind := range openID {
		s := newSite(t, kind)
		for range 3 {
			if _, err := s.signIn(t); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			if _, err := s.signIn(t); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			s.RotateKeys()
		}
		if n := s.Requests(providers.Keys); n != 3 {
			t.Errorf("%s: the keys were read %d times, want 3", kind, n)
		}
		s.clock.Advance(2 * time.Hour) // discovery is read again, and the keys stay
		if _, err := s.signIn(t); err != nil || s.Requests(providers.Keys) != 4 {
			t.Errorf("%s: after discovery was read again: %d requests, %v", kind, s.Requests(providers.Keys), err)
		}
		if _, err := s.signIn(t); err != nil || s.Requests(providers.Keys) != 4 {
			t.Errorf("%s: the keys were read again: %d requests, %v", kind, s.Requests(providers.Keys), err)
		}
	}
}

func TestUnknownKeysDoNotFloodTheProvider(t *testing.T) {
	s := newSite(t, "")
	s.Break(providers.UnknownKid)
	for range 12 {
		_, err := s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}
	if n := s.Requests(providers.Keys); n != 5 {
		t.Errorf("the keys were read %d times in a minute, want 5", n)
	}
	s.Repair()
	if _, err := s.signIn(t); err != nil {
		t.Errorf("a known key: %v", err)
	}
	s.clock.Advance(time.Minute)
	s.RotateKeys()
	if _, err := s.signIn(t); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestClientAuthentication(t *testing.T) {
	for name, methods := range map[string]any{
		"none listed": nil, "basic": []string{"client_secret_basic"}, "post": []string{"client_secret_post"},
		"both": []string{"client_secret_post", "client_secret_basic"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "")
			s.EditDiscovery(func(d map[string]any) {
				if methods == nil {
					delete(d, "token_endpoint_auth_methods_supported")
				} else {
					d["token_endpoint_auth_methods_supported"] = methods
				}
			})
			if _, err := s.signIn(t); err != nil {
				t.Error(err)
			}
		})
	}
	for kind := range standIns {
		if kind == "apple" {
			continue
		}
		s := newSite(t, kind, func(c *provider.Config) { c.ClientSecret = "another" })
		_, err := s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}
}

func TestNameComesFromUserInfo(t *testing.T) {
	s := newSite(t, "gitlab") // the ID token has the address only
	for _, fault := range append([]providers.Fault{providers.Refusing}, broken...) {
		s.BreakAt(providers.UserInfo, fault)
		account, err := s.signIn(t)
		if err != nil || account.Name != "" || account.Email == "" {
			t.Errorf("%s: without the endpoint, the name alone is unknown: %+v, %v", fault, account, err)
		}
	}
	s.Repair()
	// The address of the ID token is the one that counts.
	s.EditUserInfo(func(m map[string]any) { m["email"], m["email_verified"] = "eve@evil.example", true })
	s.EditClaims(func(c map[string]any) { c["email_verified"] = false })
	account, err := s.signIn(t)
	want := provider.Account{
		Issuer: s.Issuer(), Subject: providers.Ada().Subject, Email: providers.Ada().Email, Name: "Ada Lovelace",
	}
	if diff := cmp.Diff(want, account); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, name := range []string{"a\x00b", strings.Repeat("x", 201)} {
		s.EditUserInfo(func(m map[string]any) { m["name"] = name })
		if account, err := s.signIn(t); err != nil || account.Name != "" {
			t.Errorf("%q: %+v, %v", name, account, err)
		}
	}
}

func TestGoogleIssuerWithoutScheme(t *testing.T) {
	s := newSite(t, "google")
	s.Break(providers.BareGoogleIss)
	account, err := s.signIn(t)
	if err != nil || account.Issuer != s.Issuer() {
		t.Errorf("%+v, %v", account, err)
	}
	s = newSite(t, "gitlab")
	s.Break(providers.BareGoogleIss)
	_, err = s.signIn(t)
	wants(t, err, provider.ErrAnswer)
}

func TestMicrosoftTenants(t *testing.T) {
	s := newSite(t, "microsoft")
	u := providers.Ada()
	u.Tenant = providers.OtherTenant
	s.SetUser(u)
	if account, err := s.signIn(t); err != nil || account.Issuer != s.TenantIssuer(providers.OtherTenant) {
		t.Errorf("another tenant: %+v, %v", account, err)
	}
	for _, fault := range []providers.Fault{providers.WrongTenant, providers.NoTenant} {
		s.SetUser(providers.Ada())
		s.Break(fault)
		_, err := s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}
	s.Repair()
	for _, tenant := range []string{"common", "{tenantid}", "x", "../x", "AAAAAAAA-1111-4111-8111-111111111111"} {
		u.Tenant = tenant
		s.SetUser(u)
		_, err := s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}

	for authority, tenant := range map[string]string{
		providers.Tenant: providers.Tenant, "organizations": providers.Tenant, "consumers": providers.PersonalTenant,
	} {
		s := newSite(t, "microsoft")
		s.Provider = newProvider(t, s.Server, "microsoft", s.clock, func(c *provider.Config) {
			c.Issuer = s.TenantIssuer(authority)
		})
		u := providers.Ada()
		u.Tenant = tenant
		s.SetUser(u)
		if account, err := s.signIn(t); err != nil || account.Issuer != s.TenantIssuer(tenant) {
			t.Errorf("%s: %+v, %v", authority, account, err)
		}
		if authority == "organizations" {
			continue
		}
		// The issuer is exact, though tid is that of the token.
		s.EditClaims(func(c map[string]any) {
			c["iss"], c["tid"] = s.TenantIssuer(providers.OtherTenant), providers.OtherTenant
		})
		_, err := s.signIn(t)
		wants(t, err, provider.ErrAnswer)
	}
}

func TestAppleSendsTheNameOnce(t *testing.T) {
	s := newSite(t, "apple")
	for _, want := range []string{"Ada Lovelace", ""} {
		if account, err := s.signIn(t); err != nil || account.Name != want {
			t.Errorf("the name is %q, want %q: %v", account.Name, want, err)
		}
	}
	for user, want := range map[string]string{
		`{"name":{"firstName":" Ada ","lastName":""}}`:                "Ada",
		`{"name":{"lastName":"Lovelace"},"email":"eve@evil.example"}`: "Lovelace",
		`{"email":"eve@evil.example"}`:                                "",
		`{"name":{"firstName":["Ada"]}}`:                              "",
		`{"name":{"firstName":"A\nda"}}`:                              "",
		`{"name":{"firstName":"` + strings.Repeat("ü", 200) + `"}}`:   strings.Repeat("ü", 200),
		`{"name":{"firstName":"` + strings.Repeat("ü", 201) + `"}}`:   "",
		`{"name"`: "",
		`null`:    "",
	} {
		s.EditCallback(func(params url.Values) { params.Set("user", user) })
		account, err := s.signIn(t)
		if err != nil || account.Name != want || account.Email != providers.Ada().Email {
			t.Errorf("%.60s: %+v, %v", user, account, err)
		}
	}
	// At another provider, the parameter means nothing.
	o := newSite(t, "google")
	o.EditCallback(func(params url.Values) { params.Set("user", `{"name":{"firstName":"Eve"}}`) })
	if account, err := o.signIn(t); err != nil || account.Name != "Ada Lovelace" {
		t.Errorf("%+v, %v", account, err)
	}
}

func TestAppleClientSecret(t *testing.T) {
	for name, change := range map[string]func(*provider.Config){
		"another team": func(c *provider.Config) { c.TeamID = "ANOTHER" },
		"another kid":  func(c *provider.Config) { c.KeyID = "ANOTHER" },
		"another key":  func(c *provider.Config) { c.PrivateKey = privateKey(t, elliptic.P256()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "apple", change)
			_, err := s.signIn(t)
			wants(t, err, provider.ErrAnswer)
		})
	}
	s := newSite(t, "apple")
	s.EditClaims(func(c map[string]any) { c["iat"], c["exp"] = s.clock.Now().Unix(), s.clock.Now().Unix()+600 })
	for shift, want := range map[time.Duration]error{
		0: nil, 5*time.Minute - time.Second: nil, 5 * time.Minute: provider.ErrAnswer, -time.Second: provider.ErrAnswer,
	} {
		s.Shift(shift)
		if _, err := s.signIn(t); !errors.Is(err, want) {
			t.Errorf("a secret made %v ago: %v, want %v", shift, err, want)
		}
	}
}

func TestGitHubTakesThePrimaryAddress(t *testing.T) {
	s := newSite(t, "github")
	u := providers.Ada()
	u.Name = ""
	s.SetUser(u)
	account, err := s.signIn(t)
	if err != nil || account.Email != u.Email || account.Name != u.Login {
		t.Errorf("%+v, %v", account, err)
	}
}

func TestAuthorizationRequest(t *testing.T) {
	for kind, want := range map[string]string{
		"": "openid email profile", "google": "openid email profile", "microsoft": "openid email profile",
		"apple": "name email", "github": "read:user user:email", "gitlab": "openid email profile",
	} {
		s := newSite(t, kind)
		a := provider.NewAttempt()
		address, err := s.Begin(t.Context(), a, "ada@lovelace.example")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		fixed := url.Values{
			"client_id": {s.ClientID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {want},
			"state": {a.State}, "code_challenge_method": {"S256"}, "code_challenge": q["code_challenge"],
		}
		if kind == "github" {
			fixed.Set("login", "ada@lovelace.example")
		} else {
			fixed.Set("nonce", a.Nonce)
			fixed.Set("login_hint", "ada@lovelace.example")
		}
		if kind == "apple" {
			fixed.Set("response_mode", "form_post")
		}
		if diff := cmp.Diff(fixed, q); diff != "" || strings.Contains(address, a.Verifier) {
			t.Errorf("%s: %s %s", kind, address, diff)
		}
	}
	s := newSite(t, "", func(c *provider.Config) { c.Scopes = []string{"openid", "custom"} })
	address, err := s.Begin(t.Context(), provider.NewAttempt(), "")
	if err != nil || !strings.Contains(address, "scope=openid+custom") || strings.Contains(address, "login_hint") {
		t.Error(address, err)
	}
	if _, err := s.Begin(t.Context(), provider.Attempt{}, ""); err == nil {
		t.Error("the zero attempt began")
	}
}

func TestAttemptsDiffer(t *testing.T) {
	a, b := provider.NewAttempt(), provider.NewAttempt()
	values := []string{a.State, a.Nonce, a.Verifier, b.State, b.Nonce, b.Verifier}
	slices.Sort(values)
	if len(slices.Compact(values)) != 6 || len(a.State) < 22 || len(a.Nonce) < 22 || len(a.Verifier) < 43 {
		t.Errorf("%+v, %+v", a, b)
	}
}

func privateKey(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestConfigIsChecked(t *testing.T) {
	good := privateKey(t, elliptic.P256())
	plain := func(kind, issuer string) provider.Config {
		return provider.Config{ID: "x", Kind: kind, Issuer: issuer, ClientID: "a", ClientSecret: "b"}
	}
	for name, c := range map[string]struct {
		config provider.Config
		want   string
	}{
		"google":       {plain("google", ""), ""},
		"unknown kind": {plain("facebook", ""), "kind"},
		"no id":        {provider.Config{Kind: "google", ClientID: "a", ClientSecret: "b"}, "id"},
		"no issuer":    {plain("", ""), "issuer"},
		"no client id": {provider.Config{ID: "x", Kind: "google", ClientSecret: "b"}, "client_id"},
		"no secret":    {provider.Config{ID: "x", Kind: "google", ClientID: "a"}, "client_secret"},
		"plain http":   {plain("", "http://a.example"), "https"},
		"issuer query": {plain("", "https://a.example?b"), "https"},
		"user info":    {plain("", "https://a@b.example"), "https"},
		"loopback":     {plain("", "http://127.0.0.1:1"), ""},
		"key elsewhere": {
			provider.Config{ID: "x", Kind: "google", ClientID: "a", ClientSecret: "b", KeyID: "c"}, "apple",
		},
		"apple":          {apple(good), ""},
		"apple, no key":  {apple(""), "private_key"},
		"apple, not PEM": {apple("MIGTAgEAMBMGByqGSM49"), "PEM"},
		"apple, P-384":   {apple(privateKey(t, elliptic.P384())), "P-256"},
		"apple, public": {
			apple(strings.ReplaceAll(good, "PRIVATE", "PUBLIC")[:60] + "\n-----END PUBLIC KEY-----\n"), "private_key",
		},
		"apple, secret": {plain("apple", ""), "client_secret"},
	} {
		_, err := provider.New(c.config, "https://doorward.example/login/x/callback", nil, nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && c.config.PrivateKey != "" && strings.Contains(err.Error(), "MIG") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if _, err := provider.New(plain("google", ""), "http://doorward.example/", nil, nil); err == nil {
		t.Error("a callback without TLS was accepted")
	}
}

func apple(key string) provider.Config {
	return provider.Config{ID: "apple", Kind: "apple", ClientID: "a", TeamID: "b", KeyID: "c", PrivateKey: key}
}

func TestWhatThePagesAsk(t *testing.T) {
	want := []string{"google", "microsoft", "apple", "github", "gitlab"}
	if diff := cmp.Diff(want, provider.Kinds()); diff != "" {
		t.Error(diff)
	}
	for kind, w := range map[string]struct {
		name, origin      string
		trusts, formPosts bool
	}{
		"google":    {"Google", "https://accounts.google.com", true, false},
		"microsoft": {"Microsoft", "https://login.microsoftonline.com", false, false},
		"apple":     {"Apple", "https://appleid.apple.com", true, true},
		"github":    {"GitHub", "https://github.com", true, false},
		"gitlab":    {"GitLab", "https://gitlab.com", true, false},
		"":          {"x", "https://login.acme.example", false, false},
	} {
		config := provider.Config{ID: "x", Kind: kind, ClientID: "a", ClientSecret: "b"}
		switch kind {
		case "apple":
			config = apple(privateKey(t, elliptic.P256()))
		case "":
			config.Issuer = "https://login.acme.example/tenant/"
		}
		p, err := provider.New(config, "https://doorward.example/login/x/callback", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name() != w.name || p.Origin() != w.origin || p.TrustsEmail() != w.trusts || p.FormPost() != w.formPosts ||
			p.ID() != config.ID {
			t.Errorf("%s: %s, %s, %s, %v, %v", kind, p.ID(), p.Name(), p.Origin(), p.TrustsEmail(), p.FormPost())
		}
	}
	s := newSite(t, "", func(c *provider.Config) { c.Name = "Acme" })
	s.EditDiscovery(func(d map[string]any) { d["authorization_endpoint"] = "https://pages.acme.example/authorize?x=1" })
	if err := s.Check(t.Context()); err != nil || s.Origin() != "https://pages.acme.example" || s.Name() != "Acme" {
		t.Errorf("%s, %s, %v", s.Name(), s.Origin(), err)
	}
	address, err := s.Begin(t.Context(), provider.NewAttempt(), "")
	if err != nil || !strings.HasPrefix(address, "https://pages.acme.example/authorize?x=1&") {
		t.Errorf("%s, %v", address, err)
	}
	g := newSite(t, "github")
	g.Break(providers.Down)
	if err := g.Check(t.Context()); err != nil {
		t.Errorf("GitHub: %v", err)
	}
}
