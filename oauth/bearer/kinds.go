package bearer

import (
	"context"
	"slices"
	"strings"

	"doorward/oauth/apikey"
	"doorward/oauth/jwt"
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

// kind is one kind of credential.
type kind struct {
	name  string // as introspection and the configuration name it
	words string // for sentences, such as API key
	atAPI bool   // it can be used at a resource
	// fits reports whether a credential has the form of this kind; nil: any form that fits no other kind.
	fits func(credential string) bool
	// verify finds the caller that a credential of this form identifies.
	verify func(v *Verifier, ctx context.Context, credential string, at Audience) (Principal, error)
}

// kinds lists all kinds of credentials. The first kind whose form a credential has verifies it.
var kinds = []kind{
	{KindAPIKey, "API key", true, nil, (*Verifier).keyPrincipal},
	{
		KindPersonalAccessToken, "personal access token", true,
		begins(apikey.PrefixPersonalToken), (*Verifier).keyPrincipal,
	},
	{KindAccessToken, "access token", true, begins(PrefixAccessToken), (*Verifier).accessTokenPrincipal},
	// Signed access tokens of this server have this form too.
	{KindForeignJWT, "token of a trusted issuer", true, jwt.HasForm, (*Verifier).jwtPrincipal},
	{KindRefreshToken, "refresh token", false, begins(PrefixRefreshToken), (*Verifier).refreshTokenPrincipal},
}

func begins(prefix string) func(string) bool {
	return func(credential string) bool { return strings.HasPrefix(credential, prefix) }
}

// kindOf returns the kind whose form a credential has.
func kindOf(credential string) kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.fits != nil && k.fits(credential) })
	if i < 0 {
		i = slices.IndexFunc(kinds, func(k kind) bool { return k.fits == nil })
	}
	return kinds[i]
}

// KindsAtAPI lists the kinds of credentials that can be used at a resource.
func KindsAtAPI() []string {
	var names []string
	for _, k := range kinds {
		if k.atAPI {
			names = append(names, k.name)
		}
	}
	return names
}

// KindInWords returns the readable name of a kind as in Principal.Kind, such as API key; "" for an unknown kind.
func KindInWords(name string) string {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return ""
	}
	return kinds[i].words
}

// OneOfKind returns KindInWords with its article, such as an API key.
func OneOfKind(name string) string {
	words := KindInWords(name)
	if strings.HasPrefix(words, "a") || strings.HasPrefix(words, "A") {
		return "an " + words
	}
	return "a " + words
}
