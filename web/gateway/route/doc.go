// Package route is the route language: it parses path patterns, finds the route of a request, and finds routes that
// overlap. It knows methods and paths, not requests and responses.
package route
