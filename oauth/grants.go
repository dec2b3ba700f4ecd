package oauth

import (
	"context"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"doorward/management"
)

// Grant types that this server supports (RFC 6749, sections 4.1, 4.4 and 6).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
)

// grants is the one list of the enabled grant types, from which registration and metadata follow.
var grants = []grant{codeGrant, refreshGrant, clientGrant}

// grant is a grant type: its fosite handlers, and the steps around them. A nil step does nothing.
type grant struct {
	management.GrantRule
	// handlers returns fosite's handlers for the authorization and the token endpoint.
	handlers func(cfg fositeConfig, store adapter, strategy tokenStrategy) handlers
	// admit bounds how often a client may request tokens.
	admit func(s *Server, ctx context.Context, x *exchange) error
	// prepare checks what a request must contain before fosite looks at it.
	prepare func(s *Server, x *exchange) error
	// finish applies the request's resource and narrower scopes, after fosite has accepted the grant.
	finish func(s *Server, x *exchange) error
	// reserve makes sure that the tokens of a request stay within the limits; release ends the reservation.
	reserve func(s *Server, ctx context.Context, x *exchange) (release func(), err error)
	// use consumes the presented code or refresh token, in the transaction that issues the tokens.
	use func(s *Server, ctx context.Context, x *exchange) error
	// oneStatement means that issuing is one statement, which needs no transaction, and which itself makes sure that the
	// client is not disabled.
	oneStatement bool
}

// handlers are the parts of fosite that run a grant type.
type handlers struct {
	authorize fosite.AuthorizeEndpointHandlers
	token     fosite.TokenEndpointHandlers
}

func grantOf(name string) (grant, bool) {
	i := slices.IndexFunc(grants, func(g grant) bool { return g.Name == name })
	if i < 0 {
		return grant{}, false
	}
	return grants[i], true
}

// grantNames lists the grant types that this server supports.
func grantNames() []string {
	names := make([]string, len(grants))
	for i, g := range grants {
		names[i] = g.Name
	}
	return names
}

// grantsInWords lists the names of the grant types for a sentence.
func grantsInWords() string {
	names := grantNames()
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// GrantRules lists what registering a client for each grant type requires.
func GrantRules() []management.GrantRule {
	rules := make([]management.GrantRule, len(grants))
	for i, g := range grants {
		rules[i] = g.GrantRule
	}
	return rules
}
