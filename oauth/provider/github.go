package provider

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// GitHub's OAuth is not OpenID Connect: its addresses are built in, and the user is read from its API.
const (
	githubCom       = "https://github.com"
	githubAPI       = "https://api.github.com"
	githubServerAPI = "/api/v3" // below the base URL of a GitHub Enterprise Server
	githubOAuth     = "/login/oauth"
)

func (p *Provider) prepareGitHub() {
	p.issuer = strings.TrimSuffix(p.issuer, "/")
	p.api = p.issuer + githubServerAPI
	if p.issuer == githubCom {
		p.api = githubAPI
	}
	p.known = &discovery{
		AuthorizationEndpoint: p.issuer + githubOAuth + "/authorize",
		TokenEndpoint:         p.issuer + githubOAuth + "/access_token",
	}
}

// githubAccount reads the user to whom an access token belongs.
func (p *Provider) githubAccount(ctx context.Context, bearer string) (Account, error) {
	var user struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"`
	}
	if err := p.ask(ctx, p.api+"/user", bearer, &user); err != nil {
		return Account{}, err
	}
	if user.ID <= 0 {
		return Account{}, answerError("%s/user has no user with a positive id", p.api)
	}
	a := Account{Issuer: p.issuer, Subject: strconv.FormatInt(user.ID, 10)}
	if a.Name = plainName(user.Name); a.Name == "" {
		a.Name = plainName(user.Login)
	}
	type address struct {
		Email    string `json:"email"`
		Primary  bool   `json:"primary"`
		Verified bool   `json:"verified"`
	}
	var addresses []address
	if err := p.ask(ctx, p.api+"/user/emails", bearer, &addresses); err != nil {
		return Account{}, err
	}
	if i := slices.IndexFunc(addresses, func(e address) bool { return e.Primary }); i >= 0 {
		a.setEmail(addresses[i].Email, addresses[i].Verified)
	}
	return a, nil
}
