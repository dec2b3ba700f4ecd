// Package api is the management API: API keys, personal access tokens, apps, workspaces, usage and audit events as
// JSON, and the endpoints by which a credential learns who it is. One table of operations makes the routes and the
// OpenAPI document, so that they say the same.
//
// call.go decides about a request: the admission that the gateway uses too, then the permission. The work itself is
// done by package oauth, whose functions the pages and the CLI call too; this package decodes requests and encodes
// answers.
package api
