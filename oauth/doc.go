// Package oauth is the OAuth 2.0 authorization server behind the wire: what a request must hold, what is issued for
// it, and what is answered. It is the only package that imports fosite, which parses and runs the grants; the edge
// around it is ours.
//
//	authorize.go      RFC 6749, section 4.1.1 and 4.1.2, RFC 9207: from a request to a code, or to an error redirect
//	flow.go           the sealed request that travels through login and consent
//	redirect.go       RFC 6749, section 3.1.2, RFC 8252, section 7: which redirect URIs register and match
//	token.go          RFC 6749, section 3.2, RFC 7636, section 4.5: the token endpoint
//	introspect.go     RFC 7662
//	revoke.go         RFC 7009
//	metadata.go       RFC 8414
//	principal.go      from a bearer string to who is calling (RFC 6750)
//	client.go         who may ask: registration rules (RFC 7591, section 2) and the cached view of a client
//	clientauth.go     RFC 6749, section 2.3: client authentication
//	resource.go       the APIs that tokens are for (RFC 8707) and their scopes
//	credential.go     the text of tokens, codes and secrets
//	secret.go         the master secret and what is derived from it
//	body.go           form and JSON bodies; errors.go: RFC 6749, section 5.2; cors.go: who may call from a browser
//	fosite.go         how fosite is set up; adapter.go: its storage and token strategy over package storage
//
// Login, consent pages, cookies and sessions are the web package's.
package oauth
