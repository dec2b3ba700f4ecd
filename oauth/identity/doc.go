// Package identity knows the resource owner (RFC 6749, section 1.1): who a person is, and how they show it. Today that
// is a password; it also makes, disables and deletes people. It knows no HTTP, no session cookie and no client.
package identity
