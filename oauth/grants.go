package oauth

import (
	"context"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"doorward/management"
)

// Grant types that this server knows (RFC 6749, sections 4.1, 4.4 and 6).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
)

// grants is the one list that enables grants, says what registering for them takes, and fills the metadata.
var grants = []grant{codeGrant, refreshGrant, clientGrant}

// grant is a grant type: how fosite runs it, and what is done around that. A nil step does nothing.
type grant struct {
	management.GrantRule
	// handlers are fosite's, for the authorize and the token endpoint.
	handlers func(cfg fositeConfig, store adapter, strategy tokenStrategy) handlers
	// admit bounds how often a client may ask.
	admit func(s *Server, ctx context.Context, x *exchange) error
	// prepare checks what a request must contain before fosite looks at it.
	prepare func(s *Server, x *exchange) error
	// finish applies what the request asks of a grant that fosite has found good: its resource, and fewer scopes.
	finish func(s *Server, x *exchange) error
	// reserve makes sure that there is room for the tokens of a request; release ends the reservation.
	reserve func(s *Server, ctx context.Context, x *exchange) (release func(), err error)
	// use consumes what was presented, in the transaction that issues the tokens.
	use func(s *Server, ctx context.Context, x *exchange) error
	// oneStatement: issuing is one statement, which needs no transaction around it.
	oneStatement bool
}

// handlers are what runs a grant in fosite.
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

// grantNames are the grant types that this server knows.
func grantNames() []string {
	names := make([]string, len(grants))
	for i, g := range grants {
		names[i] = g.Name
	}
	return names
}

// grantsInWords lists them for a sentence.
func grantsInWords() string {
	names := grantNames()
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// GrantRules are what registering for each grant type takes.
func GrantRules() []management.GrantRule {
	rules := make([]management.GrantRule, len(grants))
	for i, g := range grants {
		rules[i] = g.GrantRule
	}
	return rules
}
