// Package api is the management API: API keys, personal access tokens, apps, workspaces, users, usage and audit events
// as JSON, and the who-am-I endpoints. A table of operations defines both the routes and the OpenAPI document.
//
// call.go decides about a request, first with the admission that the gateway uses too, then by permission. Package
// management does the work, as it does for the pages and the CLI; this package decodes requests and encodes responses.
package api
