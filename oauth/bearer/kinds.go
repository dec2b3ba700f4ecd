package bearer

import (
	"context"
	"slices"
	"strings"

	"doorward/oauth/apikey"
	"doorward/storage"
)

// Kinds of credentials, as introspection and the gateway name them.
const (
	KindAccessToken         = "access_token"
	KindRefreshToken        = "refresh_token"
	KindAPIKey              = storage.KindAPIKey
	KindPersonalAccessToken = storage.KindPersonalAccessToken
	KindForeignJWT          = "foreign_jwt"
)

// Kind is one kind of credential.
type Kind struct {
	Name  string // as introspection and the configuration name it
	Words string // as people call it, such as API key
	AtAPI bool   // it can be used at a resource
	// fits reports whether a text has the form of this kind. verify finds out whose it is.
	fits   func(text string) bool
	verify func(v *Verifier, ctx context.Context, text string, at Audience) (Principal, error)
}

// kinds are all kinds of credentials. The first whose form a text has verifies it; the last takes what has no other
// form.
var kinds = []Kind{
	{KindAccessToken, "access token", true, begins(PrefixAccessToken), (*Verifier).accessTokenPrincipal},
	{KindRefreshToken, "refresh token", false, begins(PrefixRefreshToken), (*Verifier).refreshTokenPrincipal},
	{
		KindForeignJWT, "token of a trusted issuer", true, looksLikeJWT, (*Verifier).jwtPrincipal,
	}, // or an access token of ours
	{
		KindPersonalAccessToken, "personal access token", true, begins(apikey.PrefixPersonalToken),
		(*Verifier).keyPrincipal,
	},
	{KindAPIKey, "API key", true, func(string) bool { return true }, (*Verifier).keyPrincipal},
}

func begins(prefix string) func(string) bool {
	return func(text string) bool { return strings.HasPrefix(text, prefix) }
}

// Kinds lists the kinds of credentials.
func Kinds() []Kind { return slices.Clone(kinds) }

// KindInWords is what people call a kind that Principal.Kind names; empty for another text.
func KindInWords(name string) string {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return ""
	}
	return kinds[i].Words
}
