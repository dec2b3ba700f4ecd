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
	PrefixRequest      = "dw_ru_" // of a pushed authorization request, in its request_uri
	// PrefixRegistration is of tokens with which clients register (initial access tokens, RFC 7591, section 3), and
	// PrefixClientRegistration of those with which one client changes its registration (RFC 7592, section 2).
	PrefixRegistration       = "dw_ia_"
	PrefixClientRegistration = "dw_ra_"
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

// SplitHeader splits the value of an Authorization header into scheme and token. One or more spaces separate them (RFC
// 9110, section 11.4).
func SplitHeader(authorization string) (scheme, token string) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	return scheme, strings.TrimLeft(rest, " ")
}

// FromHeader returns the token in the value of an Authorization header; ok is false if the scheme is not Bearer.
func FromHeader(authorization string) (token string, ok bool) {
	scheme, token := SplitHeader(authorization)
	return token, strings.EqualFold(scheme, "Bearer")
}
