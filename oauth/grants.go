package oauth

import (
	"doorward/management"
)

// Grant types that this server knows (RFC 6749 sections 4.1, 4.4, 6).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
)

// grantTypes is the one list that enables grants and fills the metadata.
var grantTypes = []string{GrantAuthorizationCode, GrantRefreshToken, GrantClientCredentials}

// GrantRules are what registering for each grant type takes.
func GrantRules() []management.GrantRule {
	return []management.GrantRule{
		{Name: GrantAuthorizationCode, Implied: true, RedirectURI: true, ForPeople: true},
		{Name: GrantRefreshToken, Implied: true, With: GrantAuthorizationCode},
		{Name: GrantClientCredentials, Secret: true},
	}
}
