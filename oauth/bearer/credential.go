package bearer

import (
	"strings"

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

// NewCredential creates a secret: the prefix, 256 random bits, and a checksum that reveals typing errors without a
// database query.
func NewCredential(prefix string) string { return apikey.NewSecret(prefix) }

// WellFormed reports whether text could be a credential with this prefix: length, alphabet and checksum. Whether it
// is one, only the database knows.
func WellFormed(prefix, text string) bool { return apikey.WellFormed(prefix, text) }

// DigestOf is the digest that a credential is stored by, or "" for text that cannot be one.
func DigestOf(prefix, text string) string {
	if !WellFormed(prefix, text) {
		return ""
	}
	return string(storage.Digest(text))
}

// FromHeader is the token in the value of an Authorization header; ok is false where its scheme is another. One or more
// spaces stand between scheme and token (RFC 9110, section 11.4).
func FromHeader(authorization string) (token string, ok bool) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	return strings.TrimLeft(rest, " "), strings.EqualFold(scheme, "Bearer")
}
