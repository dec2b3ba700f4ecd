// Package web is the HTTP handler of the public listener: middleware, routes, health checks and metrics. The pages are
// in packages page, signin, dashboard and admin, the management API is in api, and the gateway to other APIs in
// gateway.
//
// A request passes middleware.go and finds its handler in routes.go. The protocol endpoints are those of package oauth;
// this package adds request IDs, the request log and limits.
package web
