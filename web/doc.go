// Package web is the public listener: middleware, one literal line for each route, health and metrics. Its pages are in
// packages page, signin, dashboard and admin, the management API in api, and the APIs behind it in gateway.
//
// A request comes in through middleware.go and finds its handler in routes.go. The protocol endpoints are package
// oauth's; this package gives them a request id, a log line and limits.
package web
