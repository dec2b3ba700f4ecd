// Package bearer verifies credentials and finds the caller that each identifies: access tokens, opaque or signed, JWTs
// of trusted issuers, API keys and personal access tokens. It keeps the signing keys and the formats of tokens, but
// does not know how tokens are requested.
package bearer

import (
	"context"
	"crypto/sha256"

	"doorward/oauth/apikey"
	"doorward/oauth/cache"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Config holds what a Verifier needs. Every field is required.
type Config struct {
	Issuer  string // of this server's own access tokens
	Store   *storage.Store
	Catalog *catalog.Catalog
	APIKeys *apikey.Keys
	Keyring *Keyring
	Limiter limit.Limiter
}

// Verifier verifies credentials and counts their requests. Its methods are safe for concurrent use.
type Verifier struct {
	issuer  string
	store   *storage.Store
	catalog *catalog.Catalog
	keys    *apikey.Keys
	keyring *Keyring
	limiter limit.Limiter
	trusts  map[string][]*trust // by the id of the resource
	tokens  *cache.Cache[storage.Bearer]
}

// New returns a Verifier.
func New(c Config) *Verifier {
	v := &Verifier{
		issuer: c.Issuer, store: c.Store, catalog: c.Catalog, keys: c.APIKeys, keyring: c.Keyring, limiter: c.Limiter,
	}
	v.tokens = cache.New(c.Store, (*storage.Bearer).Dependencies, func(b *storage.Bearer) bool {
		return b.Access.RevokedAt.IsZero() && v.whyInactive(b.Access.ExpiresAt, b) == nil
	})
	v.trusts = v.newTrusts()
	return v
}

// CacheStats returns how many credentials were found in memory, and how many were not, since the start.
func (v *Verifier) CacheStats() (hits, misses uint64) {
	hits, misses = v.tokens.Stats()
	keyHits, keyMisses := v.keys.CacheStats()
	return hits + keyHits, misses + keyMisses
}

// accessToken finds an access token by its digest, in memory or in the database.
func (v *Verifier) accessToken(ctx context.Context, digest []byte) (storage.Bearer, error) {
	return v.tokens.Find(cache.Key{Digest: [sha256.Size]byte(digest)}, func() (storage.Bearer, bool, error) {
		b, err := v.store.AccessTokenByDigest(ctx, digest)
		return b, true, err
	})
}
