// Package api is the management API: API keys, personal access tokens, apps, workspaces, usage and audit events as JSON,
// and the endpoints by which a credential learns who it is. One table of operations makes the routes and the OpenAPI
// document, so that they say the same.
//
// A request is judged in call.go: credential, workspace, limit, then what it may do. What it then asks for is done by
// package oauth, whose functions the pages and the commands call too; this package decodes, and words the answer.
package api
