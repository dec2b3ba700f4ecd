// Package identity creates, disables and deletes users, the resource owners of RFC 6749, section 1.1, and verifies who
// they are: by password, emailed links and codes, passkeys, one-time passwords, recovery codes, and accounts at other
// providers (package provider). It does not know HTTP, session cookies or clients.
package identity
