// Package web is everything that speaks HTTP to a person: routes, middleware, browser sessions and pages. The
// protocol endpoints beside them are package oauth's; this package gives them a request id, a log line and limits.
//
// A request comes in through middleware.go, finds its handler in routes.go, and, on a page, its session in
// session.go. A page handler returns an error; errors.go turns it into a page.
package web
