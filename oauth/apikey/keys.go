package apikey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"doorward/oauth/catalog"
	"doorward/storage"
)

// MaxKeys is how many live API keys a workspace, and how many live personal access tokens a user, may have.
const MaxKeys = 10_000

// MaxGrace is the longest for which a key works beside the one that takes its place.
const MaxGrace = 30 * 24 * time.Hour

// ErrTooMany says that the owner has MaxKeys live keys.
var ErrTooMany = errors.New("too many keys")

// ErrRotated says that a key has been rotated, revoked, or has ended, so that it cannot be rotated.
var ErrRotated = errors.New("the key was rotated before, is revoked, or has ended")

// Config is what Keys is made of. Every field is needed.
type Config struct {
	Store   *storage.Store
	Catalog *catalog.Catalog
}

// Keys checks, issues and verifies. Its methods are safe for many goroutines.
type Keys struct {
	store   *storage.Store
	catalog *catalog.Catalog
}

// New makes Keys.
func New(c Config) *Keys { return &Keys{store: c.Store, catalog: c.Catalog} }

// Issue creates a key as key says, whose Prefix begins its secret, and completes key. The secret is returned once:
// storage keeps its digest. ErrTooMany: the owner has as many as they may; storage.ErrNotFound: the owner does not
// exist.
func (k *Keys) Issue(ctx context.Context, key *storage.APIKey) (text string, err error) {
	text = newText(key)
	err = k.store.InsertKey(ctx, key, MaxKeys)
	if errors.Is(err, storage.ErrConflict) {
		err = ErrTooMany
	}
	if err != nil {
		return "", fmt.Errorf("issue a key: %w", err)
	}
	return text, nil
}

func newText(key *storage.APIKey) string {
	kind := "key"
	if key.Kind == storage.KindPersonalAccessToken {
		kind = "token"
	}
	text := NewSecret(key.Prefix)
	key.ID, key.Digest, key.Tail = storage.NewID(kind), storage.Digest(text), text[len(text)-4:]
	return text
}

// Rotate creates a key that replaces old, with all its rights and limits and no later end; old works for grace longer,
// or stays paused if it is. What old itself took the place of ends at once. ErrRotated: old cannot be rotated any more.
func (k *Keys) Rotate(
	ctx context.Context, old storage.APIKey, createdBy string, grace time.Duration,
) (text string, fresh storage.APIKey, err error) {
	fresh = old
	// Without a person who does it, the user behind the old one stays behind the new one.
	fresh.CreatedBy, fresh.RotatedInto = cmp.Or(createdBy, old.CreatedBy), ""
	fresh.PausedAt, fresh.LastUsedAt, fresh.LastUsedFrom = 0, 0, ""
	text = newText(&fresh)
	err = k.store.RotateKey(ctx, old, &fresh, k.store.Now().Add(grace))
	if errors.Is(err, storage.ErrConsumed) {
		err = ErrRotated
	}
	if err != nil {
		return "", fresh, fmt.Errorf("rotate a key: %w", err)
	}
	return text, fresh, nil
}

// Status is the status of a key.
type Status int

// The statuses of keys. Unknown: it is not a key of this server, or was deleted.
const (
	Unknown Status = iota
	Good
	Expired
	Revoked
	Paused
	Suspended // its user or workspace is disabled
)

// Verify finds the key of a text and its status now. For a personal access token, workspace is the slug of the one that
// it is to act in; empty where none was named. Text that cannot be a key reaches no database. An error is storage's,
// and says nothing about the key.
func (k *Keys) Verify(ctx context.Context, text, workspace string) (storage.KeyBearer, Status, error) {
	prefix := PrefixOf(text)
	if prefix == "" {
		return storage.KeyBearer{}, Unknown, nil
	}
	var b storage.KeyBearer
	var err error
	if prefix == PrefixPersonalToken {
		b, err = k.store.PersonalTokenByDigest(ctx, storage.Digest(text), workspace)
	} else {
		b, err = k.store.KeyByDigest(ctx, storage.Digest(text))
	}
	if errors.Is(err, storage.ErrNotFound) {
		return storage.KeyBearer{}, Unknown, nil
	}
	if err != nil {
		return storage.KeyBearer{}, Unknown, fmt.Errorf("verify a key: %w", err)
	}
	return b, StatusOf(&b.Key, k.store.Now(), b.UserDisabled || b.WorkspaceDisabled), nil
}

// StatusOf is the status of a key at a moment.
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
