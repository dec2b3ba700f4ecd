// Package provider signs users in at another provider: the client side of OpenID Connect and of GitHub's OAuth. It
// answers one question: which account of the provider a browser came back with. It does not know users, sessions,
// cookies or the database; it keeps the provider's addresses and keys in memory only.
package provider
