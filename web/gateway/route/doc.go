// Package route is the language in which routes are written: it parses the patterns of paths, finds the route that
// decides about a request, and finds routes that take requests from others. It does not know what a request is answered
// with.
package route
