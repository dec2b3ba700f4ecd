// Package gateway decides whether a request may reach an API, by its credential and the configured routes. It forwards
// the request or responds to a proxy that asks, and writes refusals in the API's error shape.
package gateway
