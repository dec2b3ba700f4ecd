// Package signin serves the pages on which people sign in and decide about apps: login, sign-in links, the
// authorization
// request and consent, set-up, and joining a workspace. It keeps the flow of an authorization between these pages, and
// leaves the protocol to package oauth.
package signin
