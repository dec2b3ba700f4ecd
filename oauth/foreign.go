package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/storage"
)

// trust is a trusted issuer at one resource, with what verifies its tokens.
type trust struct {
	TrustedIssuer
	algorithms []jose.SignatureAlgorithm
	remote     *remoteKeys // nil: HS256Secret
}

// newTrusts prepares the trusted issuers of every resource. Who names the same address shares one copy of its keys.
func (s *Server) newTrusts() map[string][]*trust {
	trusts, remotes := map[string][]*trust{}, map[string]*remoteKeys{}
	for _, r := range s.resources {
		for _, issuer := range r.TrustedIssuers {
			t := &trust{TrustedIssuer: issuer, algorithms: []jose.SignatureAlgorithm{jose.HS256}}
			if issuer.JWKSURL != "" {
				t.algorithms = nil
				for _, name := range issuer.Algorithms {
					t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(name))
				}
				t.remote = remotes[issuer.JWKSURL]
				if t.remote == nil {
					t.remote = &remoteKeys{url: issuer.JWKSURL, now: s.store.Now}
					remotes[issuer.JWKSURL] = t.remote
				}
			}
			trusts[r.ID] = append(trusts[r.ID], t)
		}
	}
	return trusts
}

// foreignClaims are the claims of a foreign JWT that are looked at (RFC 7519 section 4.1). What else it says about its
// subject's rights counts for nothing here.
type foreignClaims struct {
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	ID       string   `json:"jti"`
	times
}

// audience is one or several (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if josejson.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	var several []string
	if err := josejson.Unmarshal(text, &several); err != nil {
		return err //nolint:wrapcheck // all that is asked is whether there is one
	}
	*a = several
	return nil
}

// foreignTypes are what typ may be in a foreign JWT, in lower case. With another type it is for something else, such as
// logging out (RFC 8725 section 3.11).
var foreignTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// plain tells whether what an issuer names somebody or something by can be passed on: without characters that could end a
// line somewhere, and no longer than OpenID Connect Core section 2 has a sub.
func plain(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, unicode.IsControl)
}

// foreignPrincipal is whom a JWT of a trusted issuer speaks of, at the first of the resources that trusts it; all of them
// where none is named.
func (s *Server) foreignPrincipal(ctx context.Context, t *parsedJWT, resources []string) (Principal, error) {
	var c foreignClaims
	if josejson.Unmarshal(t.payload, &c) != nil || !slices.Contains(foreignTypes, strings.ToLower(t.typ)) {
		return Principal{}, ErrUnknown
	}
	for i := range s.resources {
		r := &s.resources[i]
		if len(resources) > 0 && !slices.Contains(resources, r.ID) {
			continue
		}
		for _, issuer := range s.trusts[r.ID] {
			if issuer.Issuer != t.issuer || !slices.Contains(c.Audience, issuer.Audience) {
				continue
			}
			good, err := issuer.verify(ctx, t)
			if err != nil {
				return Principal{}, err
			}
			if good {
				return s.foreigner(r, issuer, &c)
			}
		}
	}
	return Principal{}, ErrUnknown
}

// foreigner judges the claims of a JWT whose signature is good.
func (s *Server) foreigner(r *Resource, issuer *trust, c *foreignClaims) (Principal, error) {
	now := s.store.Now()
	if !c.begun(now) || c.Subject == "" || !plain(c.Subject) || !plain(c.ID) {
		return Principal{}, ErrUnknown
	}
	p := Principal{
		Kind: KindForeignJWT, Subject: foreignSubject(issuer.Issuer, c.Subject), Audience: r.ID, ID: c.ID, IssuedAt: moment(c.IssuedAt), ExpiresAt: moment(c.ExpiresAt),
		ForeignIssuer: issuer.Issuer, ForeignSubject: c.Subject,
	}
	if c.over(now) {
		return p, ErrExpired
	}
	// The operator has listed the scopes for these people: one that is for people only counts.
	p.Scopes = r.Effective(issuer.Scopes, "", true)
	p.Plan, p.Limits = s.planOf(issuer.Plan, r.UserPlan)
	p.Counter = p.Subject + ":" + r.ID
	return p, nil
}

// foreignSubject names issuer and subject together, in letters and digits: neither alone says who it is.
func foreignSubject(issuer, subject string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d:%s%s", len(issuer), issuer, subject)
	return "foreign:" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum.Sum(nil)))
}

// verify tells whether the signature of a JWT is the issuer's. An error says that its keys are not to be had, and wraps
// storage.ErrUnavailable.
func (t *trust) verify(ctx context.Context, token *parsedJWT) (bool, error) {
	if !slices.Contains(t.algorithms, token.algorithm) {
		return false, nil
	}
	if t.remote == nil {
		return token.signedBy(t.HS256Secret, jose.HS256), nil
	}
	keys, err := t.remote.find(ctx, token.kid, token.algorithm)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return token.signedBy(k.Key, token.algorithm) }), nil
}

// How keys of others are fetched and kept.
const (
	remoteTimeout  = 3 * time.Second
	maxRemoteBytes = 64 << 10
	maxRemoteKeys  = 64
	remoteAge      = 10 * time.Minute // after which they serve only where they cannot be fetched anew
	remoteEarly    = 9 * time.Minute  // after which they are fetched anew while they serve
	remoteStale    = 24 * time.Hour   // after which those that could not be fetched anew count no more
	remoteUnknown  = time.Minute      // between two fetches because of a kid that is unknown
	remoteRetry    = 5 * time.Second  // between two tries when one failed
)

// remoteClient fetches the keys of others, from the addresses in the configuration and nowhere else.
var remoteClient = &http.Client{
	Timeout:       remoteTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: remoteTimeout,
		MaxResponseHeaderBytes: maxRemoteBytes, ForceAttemptHTTP2: true,
	},
}

// remoteKeys is a copy of the keys that somebody else publishes. What a token says decides at most that the configured
// address is asked again, once a minute.
type remoteKeys struct {
	url string
	now func() storage.Time

	mu        sync.Mutex
	keys      []jose.JSONWebKey // nil: never fetched
	fetchedAt storage.Time      // when keys were
	triedAt   storage.Time      // the last time, with success or without; zero: never
	fault     error             // of the last try
	fetching  chan struct{}     // closed at its end; nil: nobody fetches
}

// find gives the keys that a token may be signed with. Once the issuer did not answer, what there is serves without
// waiting for the next try. An error wraps storage.ErrUnavailable: whether the key is known cannot be said.
func (k *remoteKeys) find(ctx context.Context, kid string, algorithm jose.SignatureAlgorithm) ([]jose.JSONWebKey, error) {
	for range 2 {
		k.mu.Lock()
		now := k.now()
		have := k.keys != nil && now.Sub(k.fetchedAt).Abs() < remoteStale
		var found []jose.JSONWebKey
		if have {
			found = fitting(k.keys, kid, algorithm)
		}
		if k.fetching == nil && k.due(now, len(found) > 0) {
			k.fetching = make(chan struct{})
			go k.fetch(k.fetching) //nolint:contextcheck // others wait for it too, so it does not end with this request
		}
		fetching, fault := k.fetching, k.fault
		old := now.Sub(k.fetchedAt).Abs() >= remoteAge
		k.mu.Unlock()
		switch {
		case len(found) > 0 && (!old || fault != nil || fetching == nil):
			return found, nil
		case fetching == nil && have && fault == nil:
			return nil, nil // the issuer has no such key
		case fetching == nil:
			return nil, fmt.Errorf("%w: keys of a trusted issuer: %w", storage.ErrUnavailable, fault)
		}
		select {
		case <-fetching:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: keys of a trusted issuer: %w", storage.ErrUnavailable, ctx.Err())
		}
	}
	return nil, fmt.Errorf("%w: keys of a trusted issuer: they are being fetched again and again", storage.ErrUnavailable)
}

// due tells whether it is time to fetch.
func (k *remoteKeys) due(now storage.Time, found bool) bool {
	if k.triedAt.IsZero() {
		return true
	}
	since := now.Sub(k.triedAt).Abs()
	switch {
	case k.fault != nil:
		return since >= remoteRetry
	case !found:
		return since >= remoteUnknown
	}
	return since >= remoteEarly
}

// fetch asks for the keys, and lets those who wait go on.
func (k *remoteKeys) fetch(done chan struct{}) {
	keys, err := fetchKeys(k.url)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.triedAt, k.fault, k.fetching = k.now(), err, nil
	if err == nil {
		k.keys, k.fetchedAt = keys, k.triedAt
	}
	close(done)
}

func fetchKeys(url string) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := remoteClient.Do(q)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the address
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: the answer is %s", url, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRemoteBytes+1))
	if err == nil && len(text) > maxRemoteBytes {
		err = fmt.Errorf("more than %d bytes", maxRemoteBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	}
	return keys, nil
}

// parseKeys reads a JWK set (RFC 7517 section 5). Keys that are not public ones for signatures, or of a kind that is
// unknown, are passed over.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("JWK set: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New("JWK set: it has no keys")
	}
	if len(set.Keys) > maxRemoteKeys {
		return nil, fmt.Errorf("JWK set: %d keys, more than %d", len(set.Keys), maxRemoteKeys)
	}
	keys := []jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// fitting are the keys with a kid that can be for an algorithm. Without a kid it must be plain which one is meant.
func fitting(keys []jose.JSONWebKey, kid string, algorithm jose.SignatureAlgorithm) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, k := range keys {
		if (kid == "" || k.KeyID == kid) && (k.Algorithm == "" || k.Algorithm == string(algorithm)) && signs(k.Key, algorithm) {
			found = append(found, k)
		}
	}
	if kid == "" && len(found) > 1 {
		return nil
	}
	return found
}

// signs tells whether a key is of the kind that an algorithm needs (RFC 7518 section 3.1, RFC 8037 section 3.1).
func signs(key any, algorithm jose.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[k.Curve.Params().BitSize] == algorithm
	case *rsa.PublicKey:
		return strings.HasPrefix(string(algorithm), "RS") || strings.HasPrefix(string(algorithm), "PS")
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA
	}
	return false
}
