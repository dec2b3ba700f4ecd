package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"doorward/management"
)

// authFlags say how an app authenticates and what it must send. Their names are those of RFC 7591, 9126 and 9449.
type authFlags struct {
	AuthMethod         *string `name:"token-endpoint-auth-method" help:"How the app authenticates: client_secret_basic, client_secret_post, private_key_jwt or, for a public app, none. Empty or left out: with its secret, by HTTP Basic or in the body. With private_key_jwt it has no secret: existing ones are deleted." placeholder:"METHOD"`
	AuthAlgorithm      *string `name:"token-endpoint-auth-signing-alg" help:"The only algorithm of its assertions: ES256, PS256, EdDSA, Ed25519 or RS256. Empty or left out: any of these." placeholder:"ALG"`
	JWKS               *string `name:"jwks" help:"Its public keys, a JWK set: a file, - for standard input, or the JSON itself. Empty removes them." placeholder:"FILE"`
	JWKSURI            *string `name:"jwks-uri" help:"The https URL at which it publishes its keys, in place of --jwks. Empty removes it." placeholder:"URL"`
	PushedRequestsOnly *bool   `name:"require-pushed-authorization-requests" negatable:"" help:"Accept only pushed authorization requests (PAR)."`
	DPoPBound          *bool   `name:"dpop-bound-access-tokens" negatable:"" help:"Bind every access token to a DPoP key."`
	FAPI               *bool   `name:"fapi" negatable:"" help:"Require what the FAPI 2.0 Security Profile requires of the app: private_key_jwt, PKCE, PAR, DPoP, no RS256, and the issuer as the audience of assertions. Refresh tokens do not rotate."`
	Audience           *bool   `name:"token-endpoint-audience" negatable:"" help:"Accept assertions whose audience is the URL of the token endpoint, for apps that cannot name the issuer. Not with --fapi."`
}

// authFields are the fields that authFlags set. Their flags have the same names, with hyphens.
var authFields = []string{
	"token_endpoint_auth_method", "token_endpoint_auth_signing_alg", "jwks", "jwks_uri",
	"require_pushed_authorization_requests", "dpop_bound_access_tokens", "fapi", "token_endpoint_audience",
}

// maxKeyFile bounds a file with keys, in bytes. Management has a lower limit, and says so.
const maxKeyFile = 1 << 20

// apply sets what the flags gave.
func (f *authFlags) apply(a *app, p *management.ClientSpec) error {
	setIf(&p.AuthMethod, f.AuthMethod)
	setIf(&p.AuthAlgorithm, f.AuthAlgorithm)
	setIf(&p.JWKSURI, f.JWKSURI)
	setIf(&p.FAPI, f.FAPI)
	setIf(&p.TokenEndpointAudience, f.Audience)
	p.SetPushedRequestsOnly(f.PushedRequestsOnly)
	p.SetDPoPBound(f.DPoPBound)
	if f.JWKS == nil {
		return nil
	}
	keys, err := a.readKeySet(*f.JWKS)
	if err != nil {
		return err
	}
	if p.JWKS = keys; keys == "" && *f.JWKS != "" {
		return usageError{errors.New("--jwks: the file is empty; it must be a JWK set")}
	}
	return nil
}

// readKeySet reads the value of --jwks: JSON, a file, or standard input.
func (a *app) readKeySet(value string) (string, error) {
	var from io.Reader
	switch value = strings.TrimSpace(value); {
	case value == "", strings.HasPrefix(value, "{"):
		return value, nil
	case value == "-":
		from = a.stdin
	default:
		file, err := os.Open(value) //nolint:gosec // the operator names the file
		if err != nil {
			return "", usageError{fmt.Errorf("--jwks: %w", err)}
		}
		defer file.Close() //nolint:errcheck // it was only read
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxKeyFile))
	if err != nil {
		return "", fmt.Errorf("--jwks: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
