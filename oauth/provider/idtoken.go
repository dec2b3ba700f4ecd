package provider

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"

	"doorward/oauth/input"
)

const (
	// leeway is how far the clocks of a provider and of this server may be apart.
	leeway = 60 * time.Second
	// maxSubject is the limit of OpenID Connect Core, section 2.
	maxSubject = 255
	maxName    = 200 // characters
)

// claims are those of an ID token or of a userinfo response. encoding/json would match the members of a struct in any
// case; these names are exact.
type claims map[string]json.RawMessage

// text returns a claim that is a string; empty: it is absent or null.
func (c claims) text(name string) (string, error) {
	var s string
	if raw, ok := c[name]; ok && json.Unmarshal(raw, &s) != nil {
		return "", answerError("the claim %s is not a string", name)
	}
	return s, nil
}

// seconds returns a claim that is a NumericDate (RFC 7519, section 2).
func (c claims) seconds(name string) (s float64, present bool, err error) {
	raw, ok := c[name]
	if !ok || bytes.Equal(raw, []byte("null")) {
		return 0, false, nil
	}
	if json.Unmarshal(raw, &s) != nil {
		return 0, true, answerError("the claim %s is not a number", name)
	}
	return s, true, nil
}

// audience returns aud, a string or a list of strings (RFC 7519, section 4.1.3).
func (c claims) audience() ([]string, error) {
	var one string
	if json.Unmarshal(c["aud"], &one) == nil && one != "" {
		return []string{one}, nil
	}
	var several []string
	if json.Unmarshal(c["aud"], &several) != nil {
		return nil, answerError("the claim aud is missing, or not a string or a list of strings")
	}
	return several, nil
}

// emailVerified reads email_verified, which Apple and others send as a string. Whatever is not true is false.
func (c claims) emailVerified() bool {
	raw := string(c["email_verified"])
	return raw == "true" || raw == `"true"`
}

// verify checks an ID token by OpenID Connect Core, sections 3.1.3.7 and 3.1.3.8, and returns its claims and its issuer.
// Errors are ErrAnswer, and ErrUnavailable if the provider's keys cannot be read.
func (p *Provider) verify(
	ctx context.Context, d *discovery, raw, nonce, accessToken string,
) (c claims, issuer string, err error) {
	if strings.Count(raw, ".") != 2 {
		return nil, "", answerError("the ID token is not a JWT in compact form")
	}
	keys := &verification{keys: p.keySet(ctx, d.JWKSURI)}
	// This verifies the signature and the algorithm. The claims are checked below, by our clock.
	token, err := oidc.NewVerifier(d.Issuer, keys, &oidc.Config{
		SupportedSigningAlgs: d.Algorithms, SkipClientIDCheck: true, SkipExpiryCheck: true, SkipIssuerCheck: true,
	}).Verify(ctx, raw)
	switch {
	case keys.err != nil && isUnavailable(keys.err):
		return nil, "", asUnavailable(keys.err)
	case err != nil:
		return nil, "", answerError("the ID token: %s", input.Quote(err.Error()))
	case token.Claims(&c) != nil:
		return nil, "", answerError("the payload of the ID token is not a JSON object")
	}
	if issuer, err = p.checkIssuer(d, c); err != nil {
		return nil, "", err
	}
	for _, check := range []func(claims) error{p.checkAudience, p.checkTimes, checkSubject} {
		if err := check(c); err != nil {
			return nil, "", err
		}
	}
	sent, err := c.text("nonce")
	if err != nil {
		return nil, "", err
	}
	if subtle.ConstantTimeCompare([]byte(sent), []byte(nonce)) != 1 {
		return nil, "", answerError("the nonce of the ID token is missing or is not that of the attempt")
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(accessToken); err != nil {
			return nil, "", answerError("the at_hash of the ID token: %s", input.Quote(err.Error()))
		}
	}
	return c, issuer, nil
}

// checkIssuer checks iss, and returns the issuer under which the account is kept.
func (p *Provider) checkIssuer(d *discovery, c claims) (string, error) {
	issuer, err := c.text("iss")
	if err != nil {
		return "", err
	}
	want := d.Issuer
	if before, after, several := strings.Cut(want, tenantTemplate); p.tenants != "" && several {
		tenant, err := c.text("tid")
		if err != nil {
			return "", err
		}
		if !tenantID.MatchString(tenant) {
			return "", answerError("the claim tid is %s, which is not a GUID in lower case", input.Quote(tenant))
		}
		want = before + tenant + after
	}
	// Google documents that it may leave out the scheme.
	if _, bare, _ := strings.Cut(want, "://"); p.kind.id == google && issuer == bare {
		issuer = want
	}
	if issuer != want {
		return "", answerError("the iss of the ID token is %s, not %s", input.Quote(issuer), input.Quote(want))
	}
	return issuer, nil
}

func (p *Provider) checkAudience(c claims) error {
	audience, err := c.audience()
	if err != nil {
		return err
	}
	party, err := c.text("azp")
	if err != nil {
		return err
	}
	_, hasParty := c["azp"]
	switch {
	case !slices.Contains(audience, p.clientID):
		return answerError("the aud of the ID token is %s, without our client_id",
			input.Quote(strings.Join(audience, " ")))
	case len(audience) > 1 && !hasParty:
		return answerError("the ID token has several audiences and no azp")
	case hasParty && party != p.clientID:
		return answerError("the azp of the ID token is %s, not our client_id", input.Quote(party))
	}
	return nil
}

func (p *Provider) checkTimes(c claims) error {
	now := float64(p.now().UnixMilli()) / 1000
	expires, ok, err := c.seconds("exp")
	switch {
	case err != nil:
		return err
	case !ok:
		return answerError("the ID token has no exp")
	case now >= expires+leeway.Seconds():
		return answerError("the ID token expired %.0f seconds ago; check the clock of this server", now-expires)
	}
	for _, name := range []string{"iat", "nbf"} {
		from, ok, err := c.seconds(name)
		switch {
		case err != nil:
			return err
		case !ok && name == "iat":
			return answerError("the ID token has no iat")
		case ok && from > now+leeway.Seconds():
			return answerError("the %s of the ID token is %.0f seconds ahead; check the clock of this server", name,
				from-now)
		}
	}
	return nil
}

func checkSubject(c claims) error {
	subject, err := c.text("sub")
	if err != nil {
		return err
	}
	if subject == "" || len(subject) > maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		return answerError("the sub is missing, longer than %d bytes, or has control characters", maxSubject)
	}
	return nil
}

// plainName returns a name without the space around it; empty if it is longer than maxName, or has control characters.
func plainName(name string) string {
	name = strings.TrimSpace(name)
	if utf8.RuneCountInString(name) > maxName || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, unicode.IsControl) {
		return ""
	}
	return name
}
