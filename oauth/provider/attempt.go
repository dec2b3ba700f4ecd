package provider

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"golang.org/x/oauth2"

	"doorward/oauth/input"
)

// Attempt is what the browser in which a sign-in began must bring back, in a sealed cookie. The zero value fits no
// callback.
type Attempt struct {
	State    string // RFC 6749, section 10.12
	Nonce    string // OpenID Connect Core, section 3.1.2.1; GitHub does not use it
	Verifier string // RFC 7636, section 4.1
	// Again asks the provider to let the user sign in or choose an account, also if they are signed in there (OpenID
	// Connect Core, section 3.1.2.1). Apple cannot be asked.
	Again bool
}

// NewAttempt returns random values for one sign-in.
func NewAttempt() Attempt {
	return Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
}

// Account is the account at the provider with which a browser came back.
type Account struct {
	// Issuer and Subject are its key: a subject is unique at its issuer only (OpenID Connect Core, section 5.7).
	Issuer, Subject string
	// Email is its address; empty: unknown, or not one that input.IsEmail accepts.
	Email string
	// EmailVerified is what the provider says about Email. Microsoft says nothing, so it is false.
	EmailVerified bool
	// Name is that of the user; empty: unknown.
	Name string
}

func (a *Account) setEmail(email string, verified bool) {
	if input.IsEmail(email) {
		a.Email, a.EmailVerified = email, verified
	}
}

// Begin returns the address at the provider where the user signs in (RFC 6749, section 4.1.1). loginHint is an email
// address with which the provider may fill its form; empty: none. The error is ErrUnavailable if the provider's
// discovery document cannot be read.
func (p *Provider) Begin(ctx context.Context, a Attempt, loginHint string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	if a.State == "" || a.Nonce == "" || a.Verifier == "" {
		return "", errors.New("begin a sign-in: use NewAttempt")
	}
	d, err := p.discover(ctx)
	if err != nil {
		return "", fmt.Errorf("begin to sign in with %s: %w", p.id, err)
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.Verifier)}
	add := func(name, value string) { options = append(options, oauth2.SetAuthURLParam(name, value)) }
	hint := "login_hint"
	if p.kind.id == github {
		hint = "login"
	} else {
		add("nonce", a.Nonce)
	}
	if a.Again && p.kind.again != "" {
		add("prompt", p.kind.again)
	}
	if loginHint != "" {
		add(hint, loginHint)
	}
	if p.kind.formPost {
		add("response_mode", "form_post")
	}
	return p.config(d, "").AuthCodeURL(a.State, options...), nil
}

// config is the configuration of the OAuth library.
func (p *Provider) config(d *discovery, secret string) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	if p.kind.secretPost || len(d.AuthMethods) > 0 && !slices.Contains(d.AuthMethods, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.clientID, ClientSecret: secret, RedirectURL: p.callback, Scopes: p.scopes,
		Endpoint: oauth2.Endpoint{AuthURL: d.AuthorizationEndpoint, TokenURL: d.TokenEndpoint, AuthStyle: style},
	}
}

// Finish checks the callback of an attempt, exchanges its code, and returns the account. params are those of the query
// or form. The caller must have removed the attempt from the browser: a second callback must not find it. Errors are
// ErrDenied, ErrAnswer and ErrUnavailable.
func (p *Provider) Finish(ctx context.Context, a Attempt, params url.Values) (Account, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	account, err := p.finish(ctx, a, params)
	if err != nil {
		return Account{}, fmt.Errorf("sign in with %s: %w", p.id, err)
	}
	return account, nil
}

func (p *Provider) finish(ctx context.Context, a Attempt, params url.Values) (Account, error) {
	code, err := p.checkCallback(a, params)
	if err != nil {
		return Account{}, err
	}
	d, err := p.discover(ctx)
	if err != nil {
		return Account{}, err
	}
	issuer := params.Get("iss")
	if d.NamesIssuer && issuer == "" {
		return Account{}, answerError("the callback has no iss, which the provider promises (RFC 9207, section 2.4)")
	}
	token, err := p.exchange(ctx, d, code, a.Verifier)
	if err != nil {
		return Account{}, err
	}
	if p.kind.id == github {
		return p.githubAccount(ctx, token.AccessToken)
	}
	raw, _ := token.Extra("id_token").(string)
	c, tokenIssuer, err := p.verify(ctx, d, raw, a.Nonce, token.AccessToken)
	if err != nil {
		return Account{}, err
	}
	if p.tenants != "" && issuer != "" && issuer != tokenIssuer {
		return Account{}, answerError("the callback's iss is %s, the ID token's is %s", input.Quote(issuer),
			input.Quote(tokenIssuer))
	}
	account, err := p.account(ctx, d, c, token.AccessToken)
	account.Issuer = tokenIssuer
	if p.kind.id == apple {
		account.Name = appleName(params.Get("user"))
	}
	return account, err
}

// checkCallback checks the parameters of a callback and returns the code (RFC 6749, sections 4.1.2 and 4.1.2.1).
func (p *Provider) checkCallback(a Attempt, params url.Values) (code string, err error) {
	for name, values := range params {
		if len(values) > 1 {
			return "", answerError("the callback has the parameter %s more than once", input.Quote(name))
		}
	}
	if a.State == "" || a.Nonce == "" || a.Verifier == "" {
		return "", answerError("no attempt to sign in began in this browser")
	}
	if subtle.ConstantTimeCompare([]byte(params.Get("state")), []byte(a.State)) != 1 {
		return "", answerError("the state of the callback is missing or is not that of the attempt")
	}
	if issuer := params.Get("iss"); issuer != "" && !p.isIssuerOfCallback(issuer) {
		return "", answerError("the iss of the callback is %s, which is not the provider's", input.Quote(issuer))
	}
	switch reason := params.Get("error"); reason {
	case "":
	case "access_denied", "user_cancelled_authorize": // the latter is Apple's
		return "", ErrDenied
	default:
		return "", answerError("the provider answered %s: %s", input.Quote(reason),
			input.Quote(params.Get("error_description")))
	}
	if code = params.Get("code"); code == "" {
		return "", answerError("the callback has no code")
	}
	return code, nil
}

// isIssuerOfCallback reports whether a callback may name an issuer (RFC 9207, section 2).
func (p *Provider) isIssuerOfCallback(issuer string) bool {
	switch {
	case p.tenants != "":
		return p.isTenantIssuer(issuer)
	case p.kind.id == github:
		return issuer == p.issuer+githubOAuth
	}
	return issuer == p.issuer
}

// exchange redeems a code (RFC 6749, section 4.1.3).
func (p *Provider) exchange(ctx context.Context, d *discovery, code, verifier string) (*oauth2.Token, error) {
	secret, err := p.secret()
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client)
	token, err := p.config(d, secret).Exchange(ctx, code, oauth2.VerifierOption(verifier))
	var refused *oauth2.RetrieveError
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &refused): // its text and its description could repeat the code
		return nil, answerError("the token endpoint answered %s with status %d", input.Quote(refused.ErrorCode),
			refused.Response.StatusCode)
	case isUnavailable(err):
		return nil, asUnavailable(err)
	}
	return nil, answerError("the token response has no access token, or members of another type")
}

// account returns the account of a verified ID token. What the token lacks is read from the userinfo endpoint.
func (p *Provider) account(ctx context.Context, d *discovery, c claims, bearer string) (Account, error) {
	account, err := p.described(c)
	if err != nil || d.UserInfoEndpoint == "" || account.Email != "" && account.Name != "" {
		return account, err
	}
	var more claims
	if err := p.ask(ctx, d.UserInfoEndpoint, bearer, &more); err != nil {
		if account.Email != "" {
			return account, nil // only the name is unknown, for which the user can be asked
		}
		return Account{}, err
	}
	described, err := p.described(more)
	switch {
	case err != nil:
		return Account{}, err
	case described.Subject != account.Subject: // OpenID Connect Core, section 5.3.2
		return Account{}, answerError("the sub of the userinfo response is not that of the ID token")
	}
	if account.Email == "" {
		account.Email, account.EmailVerified = described.Email, described.EmailVerified
	}
	if account.Name == "" {
		account.Name = described.Name
	}
	return account, nil
}

// described reads the claims about the user (OpenID Connect Core, section 5.1).
func (p *Provider) described(c claims) (a Account, err error) {
	if a.Subject, err = c.text("sub"); err != nil {
		return a, err
	}
	email, err := c.text("email")
	if err != nil {
		return a, err
	}
	a.setEmail(email, c.emailVerified() && p.kind.id != microsoft)
	name, err := c.text("name")
	a.Name = plainName(name)
	return a, err
}
