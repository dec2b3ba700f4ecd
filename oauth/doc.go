// Package oauth is the OAuth 2.0 authorization server without HTML: what a request must contain, what is issued, and
// what is answered. It is the only package that imports fosite, which parses and runs the grants.
//
//	authorize.go      RFC 6749, sections 4.1.1 and 4.1.2, RFC 9207: from a request to an error redirect or a page
//	approve.go        the resource owner's decision: a code or a refusal
//	flow.go           the sealed request that travels through sign-in and consent
//	par.go            RFC 9126: authorization requests that clients push
//	token.go          RFC 6749, section 3.2: the token endpoint
//	grants.go         the table of the grant types; grant_*.go: one file for each
//	introspect.go     RFC 7662
//	revoke.go         RFC 7009
//	metadata.go       RFC 8414 and the published keys
//	clients.go        the cached view of a client
//	clientauth.go     RFC 6749, section 2.3: client authentication; assertion.go: RFC 7523, with the keys of clients
//	dpop.go           RFC 9449: tokens that are bound to a key; once.go: what counts once
//	body.go           form and JSON bodies; errors.go: RFC 6749, section 5.2; cors.go: which pages may call
//	fosite.go         how fosite is set up; adapter.go: its storage and token strategy on top of package storage
//
// Package bearer checks credentials, package management decides who may register clients, and package web has sign-in,
// pages, cookies and sessions.
package oauth
