package oauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/storage"
)

const (
	// maxJWT is the size in bytes of the largest JWT that is looked at.
	maxJWT = 8 << 10
	// typeAccessToken is the typ of our access tokens (RFC 9068 section 2.1).
	typeAccessToken = "at+jwt"
	// leeway is by how much the clock of whoever issued a JWT may be ahead, for nbf and iat. A token that has expired has
	// expired.
	leeway = time.Minute
	// maxMoment is the largest number of seconds that stands for a moment: the end of the year 9999.
	maxMoment = 253402300799
)

// parsedJWT is a JWT of which nothing is believed yet.
type parsedJWT struct {
	text      string
	algorithm jose.SignatureAlgorithm
	typ       string // empty: left out
	kid       string // empty: left out
	issuer    string
	payload   []byte
}

// looksLikeJWT tells whether a credential has three parts, as no other kind has.
func looksLikeJWT(text string) bool { return strings.Count(text, ".") == 2 }

// forbidden are the headers that would have a verifier take the key from the token itself or from where it says, and
// the one that asks for what is not done here (RFC 7515 section 4.1).
var forbidden = []string{"jwk", "jku", "x5u", "x5c", "crit"}

// parseJWT takes a JWT in compact form (RFC 7515 section 7.1) apart. Only the one right spelling of each part is taken:
// base64url without padding, line ends and spare bits, and JSON objects in which no name stands twice.
func parseJWT(text string) (*parsedJWT, bool) {
	if len(text) > maxJWT || !looksLikeJWT(text) || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, false
	}
	var parts [3][]byte
	for i, part := range strings.Split(text, ".") {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) == 0 {
			return nil, false
		}
		parts[i] = raw
	}
	var header map[string]any
	var claims struct {
		Issuer string `json:"iss"`
	}
	if josejson.Unmarshal(parts[0], &header) != nil || josejson.Unmarshal(parts[1], &claims) != nil {
		return nil, false
	}
	for _, name := range forbidden {
		if _, ok := header[name]; ok {
			return nil, false
		}
	}
	t := &parsedJWT{text: text, issuer: claims.Issuer, payload: parts[1]}
	for name, to := range map[string]*string{"alg": (*string)(&t.algorithm), "typ": &t.typ, "kid": &t.kid} {
		value, ok := header[name]
		if !ok {
			continue
		}
		if *to, ok = value.(string); !ok || *to == "" {
			return nil, false
		}
	}
	return t, t.issuer != ""
}

// signedBy tells whether the signature is of a key, by one of the algorithms.
func (t *parsedJWT) signedBy(key any, algorithms ...jose.SignatureAlgorithm) bool {
	signed, err := jose.ParseSignedCompact(t.text, algorithms)
	if err != nil {
		return false
	}
	_, err = signed.Verify(key)
	return err == nil
}

// times are the claims about time (RFC 7519 section 4.1), in whole seconds since 1970; nil where they are left out.
type times struct {
	ExpiresAt *int64 `json:"exp"`
	NotBefore *int64 `json:"nbf,omitempty"`
	IssuedAt  *int64 `json:"iat"`
}

// begun tells whether a token has an end, and is good already.
func (x times) begun(now storage.Time) bool {
	if x.ExpiresAt == nil || *x.ExpiresAt <= 0 {
		return false
	}
	latest := now.Add(leeway).Unix()
	for _, moment := range []*int64{x.ExpiresAt, x.NotBefore, x.IssuedAt} {
		if moment != nil && (*moment < 0 || *moment > maxMoment || (moment != x.ExpiresAt && *moment > latest)) {
			return false
		}
	}
	return true
}

// over tells whether a token has ended.
func (x times) over(now storage.Time) bool { return moment(x.ExpiresAt) <= now }

// moment is a claim about time; zero where it is left out.
func moment(seconds *int64) storage.Time {
	if seconds == nil {
		return 0
	}
	return storage.Time(*seconds * 1e6)
}

// ownClaims are those of our access tokens (RFC 9068 section 2.2), beside iss. What a verifier would learn by introspection
// bears the same names here, and is what introspection would have said when the token was issued.
type ownClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	times
	ID          string `json:"jti"`
	Scope       string `json:"scope"`
	AuthTime    int64  `json:"auth_time,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	Workspace   string `json:"workspace,omitempty"`
	Role        string `json:"role,omitempty"`
	Credential  string `json:"credential"`
}

// prepareJWT finds, before the transaction that a token is issued in, what is needed to sign it; nothing where it is to be
// opaque.
func (s *Server) prepareJWT(ctx context.Context, w *work) (err error) {
	if !w.resource.JWT {
		return nil
	}
	if w.grant.ID == "" && w.client.WorkspaceID != "" {
		w.workspace, err = s.store.WorkspaceByID(ctx, w.client.WorkspaceID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // gone at this moment, and the client with it
			return fmt.Errorf("workspace of the client: %w", err)
		}
	}
	w.signer, err = s.signer(ctx)
	return err
}

// signAccessToken makes a JWT; its signature, in fosite's sense, is the digest of its jti.
func (s *Server) signAccessToken(w *work) (token, signature string, err error) {
	issued, expires := w.issuedAt.Unix(), w.expiresAt.Unix()
	c := ownClaims{
		Issuer: s.issuer, Audience: w.resource.ID, Subject: w.client.ID, ClientID: w.client.ID, times: times{ExpiresAt: &expires, IssuedAt: &issued},
		ID: rand.Text(), Scope: strings.Join(w.resource.Effective(w.scopes, w.role, w.grant.ID != ""), " "),
		WorkspaceID: w.workspace.ID, Workspace: w.workspace.Slug, Role: w.role, Credential: KindAccessToken,
	}
	if w.grant.ID != "" {
		c.Subject, c.AuthTime = w.grant.UserID, w.grant.AuthTime.Unix()
	}
	payload, err := josejson.Marshal(c)
	if err != nil {
		return "", "", fmt.Errorf("claims of an access token: %w", err)
	}
	signed, err := w.signer.Sign(payload)
	if err != nil {
		return "", "", fmt.Errorf("sign an access token: %w", err)
	}
	token, err = signed.CompactSerialize()
	if err != nil {
		return "", "", fmt.Errorf("sign an access token: %w", err)
	}
	return token, string(storage.Digest(c.ID)), nil
}

// verifyOwn checks all of an access token of ours but its end and what its row says. ErrUnknown: it is none.
func (s *Server) verifyOwn(ctx context.Context, t *parsedJWT) (ownClaims, error) {
	var c ownClaims
	if t.typ != typeAccessToken || t.algorithm != jose.ES256 || !storage.IsID(kindSigning, t.kid) {
		return c, ErrUnknown
	}
	keys, err := s.signingKeys(ctx, nil)
	if err == nil && keys.public[t.kid] == nil {
		keys, err = s.signingKeys(ctx, keys) // another node may have made it a moment ago
	}
	if err != nil {
		return c, err
	}
	key := keys.public[t.kid]
	if key == nil || !t.signedBy(key, jose.ES256) {
		return c, ErrUnknown
	}
	if josejson.Unmarshal(t.payload, &c) != nil || c.Issuer != s.issuer || c.ID == "" || !c.begun(s.store.Now()) {
		return c, ErrUnknown
	}
	return c, nil
}

// jwtPrincipal is who stands behind a JWT, ours or that of an issuer that a resource trusts.
func (s *Server) jwtPrincipal(ctx context.Context, text string, resources []string) (Principal, error) {
	t, ok := parseJWT(text)
	if !ok {
		return Principal{}, ErrUnknown
	}
	if t.issuer != s.issuer {
		return s.foreignPrincipal(ctx, t, resources)
	}
	c, err := s.verifyOwn(ctx, t)
	if err != nil {
		return Principal{}, err
	}
	b, err := s.store.AccessTokenByDigest(ctx, storage.Digest(c.ID))
	if err != nil {
		return Principal{}, unknownOr(err)
	}
	if c.Audience != b.Access.Resource || c.ClientID != b.Access.ClientID {
		return Principal{}, ErrUnknown
	}
	p, err := s.accessPrincipal(b, c.ID)
	if err == nil && c.over(s.store.Now()) {
		err = ErrExpired
	}
	return p, err
}
