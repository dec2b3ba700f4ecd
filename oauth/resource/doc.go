// Package resource is net/http middleware with which an API written in Go, a resource server of RFC 6749, section 1.1,
// checks its callers. It reads the bearer token of a request (RFC 6750) and accepts or refuses it, by introspection
// (RFC 7662) or by verifying a signed access token with the server's public keys (RFC 9068). If a token is bound to a
// key, it also checks the DPoP proof of each request (RFC 9449):
//
//	auth, err := resource.New(resource.Config{
//		Issuer: "https://auth.example.com", Resource: "https://api.example.com",
//		ClientID: id, ClientSecret: secret,
//	})
//	…
//	mux.Handle("GET /notes", auth.Require("read")(notes))
//	mux.Handle(auth.MetadataPath(), auth.Metadata())
//
// Other modules may import it. It depends only on the RFCs and docs/introspection.md, and of this module on oauth/dpop and
// oauth/jwt, which depend on nothing of the server either.
package resource
