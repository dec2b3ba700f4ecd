package apikey

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"doorward/oauth/cache"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// MaxKeys is how many API keys a workspace, and how many personal access tokens a user, may have that are neither
// revoked nor expired.
const MaxKeys = 10_000

// MaxGrace is the longest time for which a rotated key may work beside its replacement.
const MaxGrace = 30 * 24 * time.Hour

// ErrTooMany means that the owner has MaxKeys keys.
var ErrTooMany = errors.New("too many keys")

// ErrRotated means that a key cannot be rotated, since it was rotated before, is revoked, or has expired.
var ErrRotated = errors.New("the key was rotated before, is revoked, or has expired")

// Config holds what Keys needs. Every field is required.
type Config struct {
	Store   *storage.Store
	Catalog *catalog.Catalog
}

// Keys checks, issues, rotates and verifies keys. Its methods are safe for concurrent use.
type Keys struct {
	store   *storage.Store
	catalog *catalog.Catalog
	cache   *cache.Cache[storage.KeyBearer]
}

// New returns Keys.
func New(c Config) *Keys {
	k := &Keys{store: c.Store, catalog: c.Catalog}
	k.cache = cache.New(c.Store, (*storage.KeyBearer).Dependencies, func(b *storage.KeyBearer) bool {
		return k.statusOf(b) == Good
	})
	return k
}

// CacheStats returns how many keys were found in memory, and how many were not, since the start.
func (k *Keys) CacheStats() (hits, misses uint64) { return k.cache.Stats() }

// Issue creates the key that key describes, and completes key. Its secret begins with key.Prefix and is returned only
// here: storage keeps a digest. It returns ErrTooMany if the owner has MaxKeys keys, and storage.ErrNotFound if the
// owner does not exist.
func (k *Keys) Issue(ctx context.Context, key *storage.APIKey) (secret string, err error) {
	secret = newSecret(key)
	err = k.store.InsertKey(ctx, key, MaxKeys)
	if errors.Is(err, storage.ErrConflict) {
		err = ErrTooMany
	}
	if err != nil {
		return "", fmt.Errorf("issue a key: %w", err)
	}
	return secret, nil
}

func newSecret(key *storage.APIKey) string {
	kind := "key"
	if key.Kind == storage.KindPersonalAccessToken {
		kind = "token"
	}
	secret := NewSecret(key.Prefix)
	key.ID, key.Digest, key.Tail = storage.NewID(kind), storage.Digest(secret), secret[len(secret)-4:]
	return secret
}

// Rotate creates a key that replaces old. It has the same permissions and limits, and does not expire later. old works
// until grace is over, or stays paused if it is. A key that old itself replaced stops working at once. It returns
// ErrRotated if old cannot be rotated.
func (k *Keys) Rotate(
	ctx context.Context, old storage.APIKey, createdBy string, grace time.Duration,
) (secret string, fresh storage.APIKey, err error) {
	fresh = old
	// Without a user who rotates it, the new key keeps the old one's creator.
	fresh.CreatedBy, fresh.RotatedInto = cmp.Or(createdBy, old.CreatedBy), ""
	fresh.PausedAt, fresh.LastUsedAt, fresh.LastUsedFrom = 0, 0, ""
	secret = newSecret(&fresh)
	err = k.store.RotateKey(ctx, old, &fresh, k.store.Now().Add(grace))
	if errors.Is(err, storage.ErrConsumed) {
		err = ErrRotated
	}
	if err != nil {
		return "", fresh, fmt.Errorf("rotate a key: %w", err)
	}
	return secret, fresh, nil
}

// Status is the status of a key, as Verify finds it.
type Status int

// The statuses of keys. Unknown means that the secret is not a key of this server, or that the key was deleted.
const (
	Unknown Status = iota
	Good
	Expired
	Revoked
	Paused
	Suspended // its user or workspace is disabled
)

// Verify finds the key with a secret, and its status now. For a personal access token, workspace is the slug of the
// workspace to act in, or "" if the request names none. A value that cannot be a key is Unknown without a query. An
// error comes from storage, and says nothing about the key.
func (k *Keys) Verify(ctx context.Context, secret, workspace string) (storage.KeyBearer, Status, error) {
	prefix := PrefixOf(secret)
	if prefix == "" {
		return storage.KeyBearer{}, Unknown, nil
	}
	if prefix != PrefixPersonalToken {
		workspace = ""
	}
	digest := sha256.Sum256([]byte(secret))
	key := cache.Key{Digest: digest, Workspace: workspace}
	b, err := k.cache.Find(key, func() (b storage.KeyBearer, keep bool, err error) {
		if prefix == PrefixPersonalToken {
			b, err = k.store.PersonalTokenByDigest(ctx, digest[:], workspace)
			// A caller can name any number of workspaces in which the token may not act.
			return b, b.WorkspaceSlug == workspace, err
		}
		b, err = k.store.KeyByDigest(ctx, digest[:])
		return b, true, err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return storage.KeyBearer{}, Unknown, nil
	}
	if err != nil {
		return storage.KeyBearer{}, Unknown, fmt.Errorf("verify a key: %w", err)
	}
	return b, k.statusOf(&b), nil
}

func (k *Keys) statusOf(b *storage.KeyBearer) Status {
	return StatusOf(&b.Key, k.store.Now(), b.UserDisabled || b.WorkspaceDisabled)
}

// StatusOf returns the status of a key at the time now.
func StatusOf(key *storage.APIKey, now storage.Time, suspended bool) Status {
	switch {
	case !key.RevokedAt.IsZero(), key.RotatedInto != "" && !key.Live(now):
		return Revoked
	case !key.Live(now):
		return Expired
	case !key.PausedAt.IsZero():
		return Paused
	case suspended:
		return Suspended
	}
	return Good
}
