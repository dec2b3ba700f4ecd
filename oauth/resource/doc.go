// Package resource is net/http middleware with which an API written in Go, a resource server of RFC 6749, section 1.1,
// checks its callers. It reads the bearer token of a request (RFC 6750) and accepts or refuses it, by introspection
// (RFC 7662) or by verifying a signed access token with the server's public keys (RFC 9068):
//
//	auth, err := resource.New(resource.Config{
//		Issuer: "https://auth.example.com", Resource: "https://api.example.com",
//		ClientID: id, ClientSecret: secret,
//	})
//	…
//	mux.Handle("GET /notes", auth.Require("read")(notes))
//	mux.Handle(auth.MetadataPath(), auth.Metadata())
//
// Other modules may import it. It depends only on the RFCs and docs/introspection.md, not on other packages of the
// server.
package resource
