package oauth

import (
	"doorward/oauth/apikey"
	"doorward/storage"
)

// The prefixes of what this server issues, beside those of API keys, which the configuration chooses. A text with
// another kind's prefix is never accepted.
const (
	PrefixCode         = "dw_ac_"
	PrefixAccessToken  = "dw_at_"
	PrefixRefreshToken = "dw_rt_"
	PrefixClientSecret = "dw_cs_"
)

// NewCredential makes the text of a new credential: the prefix, 256 random bits, and a checksum by which a typing
// error is known without asking the database.
func NewCredential(prefix string) string { return apikey.NewText(prefix) }

// WellFormed tells whether text could be a credential with this prefix: length, alphabet and checksum. Whether it
// is one, only the database knows.
func WellFormed(prefix, text string) bool { return apikey.WellFormed(prefix, text) }

// digestOf is the storage key of a credential, or "" for text that cannot be one.
func digestOf(prefix, text string) string {
	if !WellFormed(prefix, text) {
		return ""
	}
	return string(storage.Digest(text))
}
