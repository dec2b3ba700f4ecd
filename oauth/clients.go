package oauth

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"doorward/storage"
)

// cachedClient is a client, and whether it may be used.
type cachedClient struct {
	storage.Client
	usable bool
	until  storage.Time // when it is to be read again
}

// clientKey is what a cached client is found by: what this process changes has another generation.
type clientKey struct {
	generation uint64
	id         string
}

// clientCacheTime bounds how long another process's change of a client may go unseen.
const clientCacheTime = 500 * time.Millisecond

// clients finds clients, and keeps those that were read a moment ago.
type clients struct {
	store *storage.Store
	cache *otter.Cache[clientKey, cachedClient]
}

func newClients(store *storage.Store) *clients {
	return &clients{store, otter.Must(&otter.Options[clientKey, cachedClient]{MaximumSize: 10_000})}
}

// cached finds a client that was read no longer than clientCacheTime ago, by the store's clock.
func (l *clients) cached(id string) (c cachedClient, ok bool) {
	c, ok = l.cache.GetIfPresent(clientKey{l.store.Generation(), id})
	return c, ok && l.store.Now() < c.until
}

// find finds a client that may be used: neither it nor its workspace is disabled. Unknown and disabled ones look
// alike: storage.ErrNotFound.
func (l *clients) find(ctx context.Context, id string) (storage.Client, error) {
	if c, ok := l.cached(id); ok {
		return enabled(c)
	}
	return l.read(ctx, id)
}

// read is find past the cache.
func (l *clients) read(ctx context.Context, id string) (storage.Client, error) {
	if !storage.IsID("app", id) {
		return storage.Client{}, storage.ErrNotFound
	}
	key, until := clientKey{l.store.Generation(), id}, l.store.Now().Add(clientCacheTime)
	c, usable, err := l.store.ClientInUse(storage.System(ctx), id)
	if err != nil {
		return storage.Client{}, fmt.Errorf("client: %w", err)
	}
	found := cachedClient{c, usable, until}
	l.cache.Set(key, found)
	return enabled(found)
}

// mayIssue returns storage.ErrNotFound for a client that another process disabled since the cache read it, so that
// nothing is issued for it any more.
func (l *clients) mayIssue(ctx context.Context, id string) error {
	usable, err := l.store.ClientUsable(storage.System(ctx), id)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if !usable {
		return storage.ErrNotFound
	}
	return nil
}

func enabled(c cachedClient) (storage.Client, error) {
	if !c.usable {
		return storage.Client{}, storage.ErrNotFound
	}
	return c.Client, nil
}
