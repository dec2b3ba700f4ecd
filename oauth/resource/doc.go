// Package resource lets an API written in Go ask who is calling: a resource server of RFC 6749, section 1.1. It is
// middleware for net/http that takes the bearer token of a request (RFC 6750), finds out what it is worth, by asking
// the introspection endpoint (RFC 7662) or by verifying a signed access token with the server's public keys (RFC 9068),
// and refuses or lets pass:
//
//	auth, err := resource.New(resource.Config{
//		Issuer: "https://auth.example.com", Resource: "https://api.example.com",
//		ClientID: id, ClientSecret: secret,
//	})
//	…
//	mux.Handle("GET /notes", auth.Require("read")(notes))
//	mux.Handle(auth.MetadataPath(), auth.Metadata())
//
// It is made to be imported by others and knows nothing of the server but what the RFCs and docs/introspection.md say.
package resource
