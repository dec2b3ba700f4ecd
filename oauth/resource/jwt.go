package resource

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	keysFor     = 10 * time.Minute // keys are fetched again after this time
	keysAtMost  = time.Hour        // and not used after this time if that fails
	seekEvery   = time.Minute      // for an unknown key they are fetched once in this time
	retryAfter  = 10 * time.Second // a failed fetch is tried again after this time
	clockSkew   = 30 * time.Second // how far nbf may be in the future
	maxKeys     = 100
	jwtParts    = 3
	accessToken = "access_token" // of a JWT that does not name its kind (RFC 9068)
)

// seen is a JWT whose signature is valid, so that it need not be verified again. Each request still checks that the
// server has the key, and checks the members.
type seen struct {
	kid     string
	key     *ecdsa.PublicKey
	members *members
}

// maxSeen bounds how many JWTs are remembered. Verifying a signature takes about ten times as long as all other work
// for a request.
const maxSeen = 10_000

// signed verifies a JWT access token of the server. ours is false if the token does not claim to be one.
func (v *Verifier) signed(ctx context.Context, token string) (c Claims, ours bool, err error) {
	digest := sha256.Sum256([]byte(token))
	if s, ok := v.seen.GetIfPresent(digest); ok {
		key, err := v.key(ctx, s.kid)
		if err != nil {
			return Claims{}, true, err
		}
		if key.Equal(s.key) {
			c, err := v.accept(s.members)
			return c, true, err
		}
	}
	t, ok := v.ours(token)
	if !ok {
		return Claims{}, false, nil
	}
	s, err := v.verify(ctx, t)
	if err != nil {
		return Claims{}, true, err
	}
	if c, err = v.accept(s.members); err == nil {
		v.seen.Set(digest, s)
	}
	return c, true, err
}

// ours parses a token as a JWT that claims to come from Issuer. It verifies nothing.
func (v *Verifier) ours(token string) (*jwt.JSONWebToken, bool) {
	if strings.Count(token, ".") != jwtParts-1 {
		return nil, false
	}
	t, err := jwt.ParseSigned(
		token, []jose.SignatureAlgorithm{jose.ES256},
	) // no other algorithm, even if the header names one
	if err != nil {
		return nil, false
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if err := t.UnsafeClaimsWithoutVerification(&c); err != nil || c.Issuer != v.config.Issuer {
		return nil, false
	}
	return t, true
}

// verify checks the header and signature of a JWT access token (RFC 9068, section 4). It uses only typ, alg and kid of
// the header; keys and URLs in it are ignored.
func (v *Verifier) verify(ctx context.Context, t *jwt.JSONWebToken) (seen, error) {
	header := t.Headers[0]
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if typ != "at+jwt" || header.KeyID == "" {
		return seen{}, errInvalidToken
	}
	key, err := v.key(ctx, header.KeyID)
	if err != nil {
		return seen{}, err
	}
	var m members
	if err := t.Claims(key, &m); err != nil {
		return seen{}, errInvalidToken
	}
	return seen{header.KeyID, key, &m}, nil
}

// accept checks the members of a JWT at the current time.
func (v *Verifier) accept(m *members) (Claims, error) {
	now, c := v.config.Now(), m.claims()
	switch {
	case m.Issuer != v.config.Issuer, !same(string(m.Audience), v.config.Resource), !m.confirmable():
		return Claims{}, errInvalidToken
	case !c.ExpiresAt.After(now): // also if there is none
		return Claims{}, errInvalidToken
	case m.NotBefore > date(now.Add(clockSkew).UnixMicro()):
		return Claims{}, errInvalidToken
	}
	if c.Credential == "" {
		c.Credential = accessToken
	}
	return c, nil
}

// keySet holds the server's public keys by kid.
type keySet struct {
	turn chan struct{} // capacity 1; held by the goroutine that fetches

	mu     sync.RWMutex
	keys   map[string]*ecdsa.PublicKey
	at     time.Time // when they were fetched; zero: never
	failed time.Time // when the last fetch failed; zero: it succeeded
	sought time.Time // when they were last fetched for an unknown kid
}

var errKeysUnavailable = errors.New("the server's keys could not be fetched a moment ago")

// look finds a key; fetch reports whether the keys must be fetched first.
func (s *keySet) look(kid string, now time.Time) (key *ecdsa.PublicKey, fetch bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	age := now.Sub(s.at)
	usable, fresh := !s.at.IsZero() && age < keysAtMost, !s.at.IsZero() && age < keysFor
	if usable {
		key = s.keys[kid]
	}
	switch {
	case key != nil && fresh:
		return key, false, nil
	case !s.failed.IsZero() && now.Sub(s.failed) < retryAfter:
		if key == nil {
			err = unavailable(errKeysUnavailable, retryAfter)
		}
		return key, false, err
	case fresh && !s.sought.IsZero() && now.Sub(s.sought) < seekEvery:
		return nil, false, errInvalidToken
	}
	return key, true, nil
}

// key returns the server's public key with this kid.
func (v *Verifier) key(ctx context.Context, kid string) (*ecdsa.PublicKey, error) {
	s, now := &v.keys, v.config.Now()
	key, fetch, err := s.look(kid, now)
	if !fetch {
		return key, err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err(), 0)
	}
	key, fetch, err = s.look(kid, now) // another goroutine may have fetched meanwhile
	if !fetch {
		return key, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout) // other requests wait for it too
	defer cancel()
	keys, err := v.fetchKeys(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = now
		if key != nil {
			v.config.Log.WarnContext(
				ctx, "the server's keys cannot be fetched; using the cached ones", "error", err,
			)
			return key, nil
		}
		return nil, err
	}
	if !s.at.IsZero() && now.Sub(s.at) < keysFor {
		s.sought = now
	}
	s.keys, s.at, s.failed = keys, now, time.Time{}
	if key = keys[kid]; key == nil {
		return nil, errInvalidToken
	}
	return key, nil
}

// fetchKeys fetches the server's key set (RFC 7517, section 5). It skips keys that are not for ES256 signatures, which
// a server may have for other purposes.
func (v *Verifier) fetchKeys(ctx context.Context) (map[string]*ecdsa.PublicKey, error) {
	address := v.config.JWKSURL
	if address == "" {
		m, err := v.metadata(ctx)
		if err != nil {
			return nil, err
		}
		address = m.JWKSURI
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, misconfigured(err)
	}
	q.Header.Set("Accept", "application/json")
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := v.fetch(q, &set); err != nil {
		return nil, err
	}
	keys := map[string]*ecdsa.PublicKey{}
	for _, text := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) != nil || k.KeyID == "" || (k.Use != "" && k.Use != "sig") ||
			(k.Algorithm != "" && k.Algorithm != string(jose.ES256)) {
			continue
		}
		if public, ok := k.Key.(*ecdsa.PublicKey); ok && public.Curve == elliptic.P256() {
			keys[k.KeyID] = public
		}
	}
	return keys, nil
}
