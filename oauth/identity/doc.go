// Package identity creates, disables and deletes users, the resource owners of RFC 6749, section 1.1, and verifies who
// they are, by password. It does not know HTTP, session cookies or clients.
package identity
