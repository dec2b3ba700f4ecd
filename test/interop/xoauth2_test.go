package interop

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"doorward/test/browser"
)

// app is a program that signs users in with golang.org/x/oauth2. The library leaves the parameters of the redirect to
// the program, and does not support metadata, introspection or revocation.
type app struct {
	t       *testing.T
	tab     *browser.Tab
	config  oauth2.Config
	arrived chan url.Values
}

func newApp(t *testing.T, s *server, tab *browser.Tab, c credentials, scopes ...string) *app {
	t.Helper()
	a := &app{t: t, tab: tab, arrived: make(chan url.Values, 1)}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			a.arrived <- r.URL.Query()
		}
		_, _ = w.Write([]byte("Done"))
	}))
	t.Cleanup(listener.Close)
	a.config = oauth2.Config{
		ClientID:     c.ID,
		ClientSecret: c.Secret,
		Endpoint:     oauth2.Endpoint{AuthURL: s.issuer + "/oauth/authorize", TokenURL: s.issuer + "/oauth/token"},
		RedirectURL:  listener.URL + "/callback",
		Scopes:       scopes,
	}
	return a
}

var challenge = oauth2.S256ChallengeOption

// authorize has a user decide, and returns the parameters of the redirect and the verifier.
func (a *app) authorize(decision string) (query url.Values, verifier string) {
	a.t.Helper()
	state := oauth2.GenerateVerifier()
	verifier = oauth2.GenerateVerifier()
	visit(a.t, a.tab, a.config.AuthCodeURL(state, challenge(verifier)), decision)
	query = <-a.arrived
	if query.Get("state") != state {
		a.t.Fatalf("another state came back: %v", query)
	}
	return query, verifier
}

func (a *app) exchange() *oauth2.Token {
	a.t.Helper()
	return a.redeem(a.authorize("approve"))
}

func (a *app) redeem(query url.Values, verifier string) *oauth2.Token {
	a.t.Helper()
	token, err := a.config.Exchange(a.t.Context(), query.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		a.t.Fatal(err)
	}
	if !token.Valid() || token.RefreshToken == "" {
		a.t.Fatalf("got %+v", token)
	}
	return token
}

// refresh is what the library does by itself when a token has expired.
func (a *app) refresh(token *oauth2.Token) (*oauth2.Token, error) {
	expired := *token
	expired.Expiry = time.Now().Add(-time.Hour)
	return a.config.TokenSource(a.t.Context(), &expired).Token()
}

func xoauth2(t *testing.T, e *encounter) {
	t.Helper()
	a := newApp(t, e.server, e.tab, e.confidential, "read", "write")
	query, _ := a.authorize("deny")
	e.report(line{Step: "denied", OK: query.Get("error") == "access_denied" && query.Get("iss") == e.server.issuer})

	token := a.exchange()
	granted, _ := token.Extra("scope").(string)
	e.report(line{Step: "code", OK: granted == scope, Alive: token.AccessToken})
	fresh, err := a.refresh(token)
	if err != nil {
		t.Fatal(err)
	}
	e.report(line{Step: "refresh", OK: fresh.RefreshToken != token.RefreshToken, Alive: fresh.AccessToken})

	machine := clientcredentials.Config{
		ClientID:     e.confidential.ID,
		ClientSecret: e.confidential.Secret,
		TokenURL:     a.config.Endpoint.TokenURL,
		Scopes:       []string{"read"},
	}
	own, err := machine.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.report(line{Step: "client_credentials", OK: true, Alive: own.AccessToken})

	installed := newApp(t, e.server, e.tab, e.public, "read", "write")
	first := installed.exchange()
	e.report(line{Step: "public_code", OK: true, Alive: first.AccessToken})
	second, err := installed.refresh(first)
	if err != nil {
		t.Fatal(err)
	}
	e.report(line{Step: "public_refresh", OK: true, Alive: second.AccessToken})
	_, err = installed.refresh(first)
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		t.Fatalf("a used refresh token gives %v", err)
	}
	e.report(line{
		Step:   "used_refresh",
		OK:     refused.ErrorCode == "invalid_grant",
		Detail: "oauth2.RetrieveError",
		Dead:   second.AccessToken,
	})
}

// get sends a GET request, with a token unless it is empty.
func get(t *testing.T, address, token string) (status int, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		(&oauth2.Token{AccessToken: token}).SetAuthHeader(request)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only its header is used
	return response.StatusCode, response.Header
}
