package management

import (
	"slices"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/input"
	"doorward/oauth/jwt"
	"doorward/storage"
)

// The values of token_endpoint_auth_method (RFC 7591, section 2). An app without one may send its secret by HTTP Basic
// or in the body.
const (
	AuthSecretBasic = "client_secret_basic" // the secret by HTTP Basic only
	AuthSecretPost  = "client_secret_post"  // the secret in the body only
	AuthPrivateKey  = "private_key_jwt"     // an assertion signed with a key of the app (RFC 7523, section 2.2)
	AuthNone        = "none"                // a public app
)

// AuthMethods lists the values of token_endpoint_auth_method.
var AuthMethods = []string{AuthSecretBasic, AuthSecretPost, AuthPrivateKey, AuthNone}

// AuthAlgorithms lists the values of token_endpoint_auth_signing_alg.
var AuthAlgorithms = texts(jwt.ClientAlgorithms)

// fapiAlgorithms are the AuthAlgorithms of an app with fapi.
var fapiAlgorithms = texts(jwt.FAPIAlgorithms)

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

// FAPIMeans says, one sentence each, what fapi changes for an app.
func FAPIMeans() []locale.Text {
	return []locale.Text{
		locale.New("The app is confidential and authenticates with private_key_jwt."),
		locale.New("PKCE is required, and authorization requests must be pushed (PAR)."),
		locale.New("Each authorization request names its redirect URI, and codes work for 60 seconds at most."),
		locale.New("Assertions and DPoP proofs are never signed with RS256."),
		locale.New("Access tokens are bound to a DPoP key, and so are codes if the app names the key."),
		locale.New("The audience of an assertion is the issuer, as a string."),
		locale.New("Refresh tokens do not rotate."),
	}
}

// AuthMethodOf returns the token_endpoint_auth_method of a client; empty: it may use its secret in both ways.
func AuthMethodOf(c *storage.Client) string {
	if c.Public {
		return AuthNone
	}
	return c.AuthMethod
}

// SetPushedRequestsOnly sets require_pushed_authorization_requests as the caller named it; nil: it did not. Unlike an
// unset field, a false that was named conflicts with FAPI.
func (p *ClientSpec) SetPushedRequestsOnly(to *bool) {
	p.set(&p.PushedRequestsOnly, "require_pushed_authorization_requests", to)
}

// SetDPoPBound is SetPushedRequestsOnly for dpop_bound_access_tokens.
func (p *ClientSpec) SetDPoPBound(to *bool) { p.set(&p.DPoPBound, "dpop_bound_access_tokens", to) }

func (p *ClientSpec) set(field *bool, name string, to *bool) {
	if to == nil {
		return
	}
	if *field = *to; !*to {
		p.refused = append(p.refused, name)
	}
}

// checkAuthentication checks how an app authenticates and what it must send, and completes what FAPI sets.
func (c *clientRules) checkAuthentication(p *ClientSpec, all *input.Faults) {
	switch {
	case p.AuthMethod != "" && !slices.Contains(AuthMethods, p.AuthMethod):
		all.Add(
			"token_endpoint_auth_method", "%s is unknown; use %s", strconv.Quote(input.Shorten(p.AuthMethod)),
			strings.Join(AuthMethods, ", "),
		)
	case p.AuthMethod == AuthNone:
		p.Public, p.AuthMethod = true, ""
	case p.Public && p.AuthMethod != "":
		all.Add("token_endpoint_auth_method", "can only be none for a public app; leave it out, or register a "+
			"confidential app")
	}
	if p.Public {
		for field, value := range map[string]string{"jwks": p.JWKS, "jwks_uri": p.JWKSURI} {
			if value != "" {
				*all = append(*all, &input.Invalid{
					Field: field, Message: locale.New("is only for confidential apps; a public app cannot authenticate"),
				})
			}
		}
	}
	keys := c.checkKeys(p, all)
	if p.AuthMethod == AuthPrivateKey && !p.Public && p.JWKS == "" && p.JWKSURI == "" {
		all.Add("jwks", "is missing: private_key_jwt needs the public keys of the app, in jwks or at jwks_uri")
	}
	if p.AuthAlgorithm != "" {
		checkAlgorithm(p, keys, all)
	}
	if !p.Administrator && p.TokenEndpointAudience {
		all.Add("token_endpoint_audience", "can be set only by administrators; leave it out")
	}
	if p.ResourceServer && (p.PushedRequestsOnly || p.DPoPBound || p.FAPI) {
		all.Add("kind", "A resource server only introspects tokens; leave out %s",
			"require_pushed_authorization_requests, dpop_bound_access_tokens, fapi")
	}
	if p.FAPI {
		checkFAPI(p, keys, all)
		p.PushedRequestsOnly, p.DPoPBound = true, true
	}
}

// checkAlgorithm checks token_endpoint_auth_signing_alg, which is set.
func checkAlgorithm(p *ClientSpec, keys []ClientKey, all *input.Faults) {
	switch {
	case !slices.Contains(AuthAlgorithms, p.AuthAlgorithm):
		all.Add(
			"token_endpoint_auth_signing_alg", "%s is unknown; use %s", strconv.Quote(input.Shorten(p.AuthAlgorithm)),
			strings.Join(AuthAlgorithms, ", "),
		)
	case p.AuthMethod != AuthPrivateKey:
		all.Add("token_endpoint_auth_signing_alg", "applies only to private_key_jwt; leave it out, or remove it")
	case p.FAPI && !slices.Contains(fapiAlgorithms, p.AuthAlgorithm):
		all.Add("token_endpoint_auth_signing_alg", "cannot be %s with fapi; use %s, or leave it out", p.AuthAlgorithm,
			input.Either(fapiAlgorithms))
	case len(keys) > 0 && !slices.ContainsFunc(keys, func(k ClientKey) bool {
		return slices.Contains(k.Algorithms, p.AuthAlgorithm)
	}):
		all.Add("token_endpoint_auth_signing_alg", "%s fits none of the keys in jwks; choose another algorithm, or add a "+
			"key for it", p.AuthAlgorithm)
	}
}

// checkFAPI reports what an app has or lacks that the FAPI 2.0 Security Profile does not allow.
func checkFAPI(p *ClientSpec, keys []ClientKey, all *input.Faults) {
	switch {
	case p.Public:
		all.Add("fapi", "is only for confidential apps; a public app cannot authenticate")
	case p.AuthMethod != AuthPrivateKey && slices.Contains(append(AuthMethods, ""), p.AuthMethod):
		all.Add("token_endpoint_auth_method", "must be private_key_jwt with fapi")
	}
	if p.PKCEOptional {
		all.Add("pkce", "cannot be optional with fapi")
	}
	for i, k := range keys {
		if !slices.ContainsFunc(k.Algorithms, func(name string) bool { return slices.Contains(fapiAlgorithms, name) }) {
			all.Add("jwks", "has a key that is only for RS256, %s, and fapi forbids that; use a key for %s",
				"keys["+strconv.Itoa(i)+"]", input.Either(fapiAlgorithms))
		}
	}
	if p.TokenEndpointAudience {
		all.Add("token_endpoint_audience", "cannot be true with fapi, which accepts only the issuer as the audience")
	}
	if slices.Contains(p.refused, "require_pushed_authorization_requests") {
		all.Add("require_pushed_authorization_requests", "cannot be false with fapi; leave it out")
	}
	if slices.Contains(p.refused, "dpop_bound_access_tokens") {
		all.Add("dpop_bound_access_tokens", "cannot be false with fapi; leave it out")
	}
}

// checkStaysConfidential returns a fault if a method would make a confidential app public, or the reverse.
func (p *ClientSpec) checkStaysConfidential(c *storage.Client) error {
	field := ""
	switch {
	case p.Public != c.Public:
		field = "kind"
	case p.AuthMethod != "" && slices.Contains(AuthMethods, p.AuthMethod) && (p.AuthMethod == AuthNone) != c.Public:
		field = "token_endpoint_auth_method"
	default:
		return nil
	}
	return &input.Invalid{
		Field:   field,
		Message: locale.New("An app cannot change between public and confidential; register a new app"),
	}
}

// loosens reports whether this spec changes the credentials of a client, or asks less of it than now.
func (p *ClientSpec) loosens(c *storage.Client) bool {
	return p.AuthMethod != c.AuthMethod || p.JWKS != c.JWKS || p.JWKSURI != c.JWKSURI ||
		c.AuthAlgorithm != "" && p.AuthAlgorithm != c.AuthAlgorithm ||
		c.PushedRequestsOnly && !p.PushedRequestsOnly || c.DPoPBound && !p.DPoPBound || c.FAPI && !p.FAPI ||
		p.TokenEndpointAudience && !c.TokenEndpointAudience
}

// authDetail describes, for the audit log, what has changed about how a client authenticates and what it must send. Of
// its keys it names only the ids and thumbprints.
func authDetail(before, after *storage.Client) map[string]string {
	detail := map[string]string{"scopes": after.Scopes.String()}
	var changed []string
	for _, x := range []struct {
		name string
		is   bool
	}{
		{"token_endpoint_auth_method", before.AuthMethod != after.AuthMethod},
		{"token_endpoint_auth_signing_alg", before.AuthAlgorithm != after.AuthAlgorithm},
		{"jwks", before.JWKS != after.JWKS},
		{"jwks_uri", before.JWKSURI != after.JWKSURI},
		{"token_endpoint_audience", before.TokenEndpointAudience != after.TokenEndpointAudience},
		{"require_pushed_authorization_requests", before.PushedRequestsOnly != after.PushedRequestsOnly},
		{"dpop_bound_access_tokens", before.DPoPBound != after.DPoPBound},
		{"fapi", before.FAPI != after.FAPI},
	} {
		if x.is {
			changed = append(changed, x.name)
		}
	}
	if len(changed) == 0 {
		return detail
	}
	detail["changed"] = strings.Join(changed, " ")
	if after.AuthMethod != before.AuthMethod && after.AuthMethod != "" {
		detail["method"] = after.AuthMethod
	}
	if after.JWKSURI != before.JWKSURI && after.JWKSURI != "" {
		detail["jwks_uri"] = after.JWKSURI
	}
	if after.JWKS != before.JWKS && after.JWKS != "" {
		detail["keys"] = keysForAudit(after.JWKS)
	}
	return detail
}

// mayHaveSecret returns a fault for a client that does not authenticate with a secret.
func mayHaveSecret(c *storage.Client) error {
	switch {
	case c.Public:
		return &input.Invalid{Field: "kind", Message: locale.New("Public clients have no secret; use PKCE")}
	case c.AuthMethod == AuthPrivateKey:
		return &input.Invalid{
			Field: "token_endpoint_auth_method",
			Message: locale.New("An app with private_key_jwt has no secret; to use one, first choose another " +
				"token_endpoint_auth_method"),
		}
	}
	return nil
}
