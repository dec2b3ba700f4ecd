// Package gateway stands in front of the APIs of resources. It decides whether a request may reach one (by the routes
// of the configuration and what package oauth says of the credential), passes it on or answers proxies that ask, and
// gives what is refused the shape that the API's vendor promised. It knows no SQL and makes no credentials.
package gateway
