package bearer

import (
	"strings"

	"doorward/oauth/apikey"
	"doorward/storage"
)

// The prefixes of the codes and tokens that this server issues; the configuration sets those of API keys. A value with
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

// WellFormed reports whether a string could be a credential with this prefix, by its length, alphabet and checksum.
// Only the database knows whether it is one.
func WellFormed(prefix, credential string) bool { return apikey.WellFormed(prefix, credential) }

// DigestOf returns the digest by which a credential is stored, or "" for a value that cannot be a credential.
func DigestOf(prefix, credential string) string {
	if !WellFormed(prefix, credential) {
		return ""
	}
	return string(storage.Digest(credential))
}

// FromHeader returns the token in the value of an Authorization header; ok is false if the scheme is not Bearer. One or
// more spaces separate scheme and token (RFC 9110, section 11.4).
func FromHeader(authorization string) (token string, ok bool) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	return strings.TrimLeft(rest, " "), strings.EqualFold(scheme, "Bearer")
}
