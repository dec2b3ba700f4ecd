// Package providers has stand-ins for the providers at which users sign in. Each is an HTTP server on loopback that
// answers as the documentation of the real service says, or wrongly in a way that a test chooses. They know nothing of
// Doorward.
package providers
