package bearer

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/catalog"
	"doorward/oauth/jwt"
)

// trust is a trusted issuer at one resource, with the keys that verify its tokens.
type trust struct {
	catalog.TrustedIssuer
	algorithms []jose.SignatureAlgorithm
	remote     *RemoteKeys // nil: HS256Secret
}

// newTrusts prepares the trusted issuers of every resource. Entries with the same JWKSURL share one copy of the keys.
func (v *Verifier) newTrusts() map[string][]*trust {
	trusts, remotes := map[string][]*trust{}, map[string]*RemoteKeys{}
	for _, r := range v.catalog.Resources() {
		for _, issuer := range r.TrustedIssuers {
			t := &trust{TrustedIssuer: issuer, algorithms: []jose.SignatureAlgorithm{jose.HS256}}
			if issuer.JWKSURL != "" {
				t.algorithms = nil
				for _, name := range issuer.Algorithms {
					t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(name))
				}
				t.remote = remotes[issuer.JWKSURL]
				if t.remote == nil {
					t.remote = NewRemoteKeys(RemoteKeysConfig{
						URL: issuer.JWKSURL, Now: v.store.Now, Fetch: fetchTrusted, Unknown: remoteUnknown, Spare: 0,
					})
					remotes[issuer.JWKSURL] = t.remote
				}
			}
			trusts[r.ID] = append(trusts[r.ID], t)
		}
	}
	return trusts
}

// foreignClaims are the claims of a foreign JWT that are read (RFC 7519, section 4.1). All others, such as the
// permissions of the subject at the issuer, are ignored.
type foreignClaims struct {
	Subject  string
	Audience jwt.Audience // nil: left out
	ID       string
	ClientID any // ignored unless it is a string
	// Confirmation is cnf (RFC 7800, section 3.1): how the sender must prove to be the one that the token was issued to.
	Confirmation map[string]any
	jwt.Times
}

func (c *foreignClaims) read(t *parsedJWT) error {
	err := t.Claims(map[string]any{
		"sub": &c.Subject, "aud": &c.Audience, "jti": &c.ID, "client_id": &c.ClientID,
		"exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt,
		"cnf": &c.Confirmation,
	})
	if err != nil {
		return unknown("%v", err)
	}
	return nil
}

// foreignTypes are the values that typ may have in a foreign JWT, in lower case. A JWT with another type has another
// purpose, such as logout (RFC 8725, section 3.11).
var foreignTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// plain reports whether the sub or jti of an issuer is safe to pass on: without control characters, and no longer than
// OpenID Connect Core, section 2 allows for sub.
func plain(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, unicode.IsControl)
}

// candidate is an entry of trusted_issuers that names the issuer of a JWT.
type candidate struct {
	*trust
	resource *catalog.Resource
	index    int // in the resource's list
}

// candidates returns the entries for an issuer at the named resources, or at all if none is named.
func (v *Verifier) candidates(issuer string, resources []string) []candidate {
	var found []candidate
	configured := v.catalog.Resources()
	for i := range configured {
		r := &configured[i]
		if len(resources) > 0 && !catalog.ContainsResource(resources, r.ID) {
			continue
		}
		for j, t := range v.trusts[r.ID] {
			if t.Issuer == issuer {
				found = append(found, candidate{t, r, j})
			}
		}
	}
	return found
}

// foreignPrincipal returns the caller that a JWT of a trusted issuer identifies. Entries are tried in the order of
// resources, or of all resources if none is named. The first one whose key, algorithm and audience the JWT satisfies
// decides.
func (v *Verifier) foreignPrincipal(ctx context.Context, t *parsedJWT, resources []string) (Principal, error) {
	candidates := v.candidates(t.issuer, resources)
	if len(candidates) == 0 {
		where := "any resource"
		if len(resources) > 0 {
			where = strings.Join(resources, " or ")
		}
		return Principal{}, unknown(
			"the issuer of the JWT is %s, which is neither this server nor one of the trusted_issuers of %s",
			Quoted(t.issuer), where,
		)
	}
	if !slices.Contains(foreignTypes, strings.ToLower(t.Type)) {
		return Principal{}, unknown("the typ of the JWT is %s, so it is not an access token", Quoted(t.Type))
	}
	var c foreignClaims
	if err := c.read(t); err != nil {
		return Principal{}, err
	}
	var reasons []string
	var unavailable error
	for _, x := range candidates {
		why, err := x.whyRefused(ctx, t, &c)
		switch {
		case err != nil && unavailable == nil:
			unavailable = err
		case err != nil:
		case why == "":
			return v.foreignCaller(x.resource, x.trust, &c)
		case len(candidates) > 1:
			reasons = append(reasons, fmt.Sprintf("trusted_issuers[%d] of %s: %s", x.index, x.resource.ID, why))
		default:
			reasons = append(reasons, why)
		}
	}
	if unavailable != nil {
		return Principal{}, unavailable
	}
	return Principal{}, unknown("%s", strings.Join(reasons, "; "))
}

// foreignCaller checks the claims of a JWT whose signature is valid.
func (v *Verifier) foreignCaller(r *catalog.Resource, issuer *trust, c *foreignClaims) (Principal, error) {
	now := v.store.Now()
	if err := checkTimes(c.Times, now); err != nil {
		return Principal{}, err
	}
	if c.Subject == "" || !plain(c.Subject) || !plain(c.ID) {
		return Principal{}, unknown(
			"sub or jti of the JWT is missing, longer than 255 bytes, or contains control characters",
		)
	}
	p := Principal{
		Kind: KindForeignJWT, Subject: foreignSubject(issuer.Issuer, c.Subject), Audience: r.ID, ID: c.ID,
		IssuedAt: moment(c.IssuedAt), ExpiresAt: moment(c.ExpiresAt), ForeignIssuer: issuer.Issuer,
		ForeignSubject: c.Subject,
	}
	if c.Confirmation != nil {
		key, isText := c.Confirmation["jkt"].(string)
		if !isText || !plain(key) || key == "" || len(c.Confirmation) > 1 {
			return Principal{}, unknown("the JWT has a cnf other than a jkt, which this server cannot check")
		}
		p.DPoPKey = key
	}
	if c.Expired(now.Time()) {
		return p, ErrExpired
	}
	// The operator has listed the scopes for this issuer's users, so scopes for users only count.
	p.Scopes = r.Effective(issuer.Scopes, "", true)
	p.Plan, p.Limits = v.catalog.PlanOf(issuer.Plan, r.UserPlan)
	p.Counter = p.Subject + ":" + r.ID
	return p, nil
}

// foreignSubject combines issuer and subject into one name of letters and digits, since a subject is unique only at its
// issuer.
func foreignSubject(issuer, subject string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d:%s%s", len(issuer), issuer, subject)
	return "foreign:" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum.Sum(nil)))
}

// whyRefused returns why a JWT does not satisfy an entry, or "" if it does. An error is ErrIssuerKeys: the issuer's
// keys cannot be read.
func (t *trust) whyRefused(ctx context.Context, token *parsedJWT, c *foreignClaims) (why string, err error) {
	if !slices.Contains(t.algorithms, token.Algorithm) {
		return fmt.Sprintf(
			"the alg of the JWT is %s, but the issuer signs with %s", Quoted(string(token.Algorithm)),
			joined(t.algorithms),
		), nil
	}
	if why := t.whyAudienceRefused(c); why != "" {
		return why, nil
	}
	if t.remote == nil {
		if !token.SignedBy([]byte(t.HS256Secret)) {
			return "the signature of the JWT does not match hs256_secret", nil
		}
		return "", nil
	}
	keys, why, err := t.remote.Find(ctx, token.KeyID, token.Algorithm, nil)
	if err != nil || why != "" {
		return why, err
	}
	if !slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return token.SignedBy(k.Key) }) {
		return "the signature of the JWT does not match the key that its kid names at " + t.JWKSURL, nil
	}
	return "", nil
}

// whyAudienceRefused returns why a JWT is not for the audiences and clients of an entry, or "" if it is. If the entry
// has no audiences, the JWT must not have aud, which would name another audience (RFC 7519, section 4.1.3).
func (t *trust) whyAudienceRefused(c *foreignClaims) string {
	switch {
	case len(t.Audiences) == 0 && c.Audience != nil:
		return fmt.Sprintf(
			"the JWT has the aud %s, but the entry has no audience; add it there",
			Quoted(strings.Join(c.Audience, " ")),
		)
	case len(t.Audiences) > 0 && c.Audience == nil:
		return "the JWT has no aud; if the issuer's access tokens have none, set client_ids and leave out audience"
	case len(t.Audiences) > 0 &&
		!slices.ContainsFunc(t.Audiences, func(a string) bool { return slices.Contains(c.Audience, a) }):
		return fmt.Sprintf(
			"the aud of the JWT is %s, which is not one of %s", Quoted(strings.Join(c.Audience, " ")),
			joined(t.Audiences),
		)
	}
	if len(t.ClientIDs) == 0 {
		return ""
	}
	id, ok := c.ClientID.(string)
	switch {
	case !ok:
		return "the JWT has no client_id, but the entry has client_ids"
	case !slices.Contains(t.ClientIDs, id):
		return fmt.Sprintf("the client_id of the JWT is %s, which is not one of client_ids", Quoted(id))
	}
	return ""
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = string(x)
	}
	return strings.Join(words, ", ")
}
