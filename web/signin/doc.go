// Package signin serves the pages for signing in and out, the authorization request and consent, set-up, and joining a
// workspace. It keeps the flow of an authorization between these pages; package oauth has the protocol.
package signin
