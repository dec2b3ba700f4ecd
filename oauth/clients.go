package oauth

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"

	"doorward/storage"
)

// cachedClient is a client, and whether it is enabled.
type cachedClient struct {
	storage.Client
	usable bool
	until  storage.Time // when it must be read again
}

// clientKey finds a cached client. Each change by this process starts a new generation, in which none is cached.
type clientKey struct {
	generation uint64
	id         string
}

// clientCacheTime bounds how long another process's change of a client can go unseen.
const clientCacheTime = 500 * time.Millisecond

// clients finds clients, and caches them for clientCacheTime.
type clients struct {
	store *storage.Store
	cache *otter.Cache[clientKey, cachedClient]
}

func newClients(store *storage.Store) *clients {
	return &clients{store, otter.Must(&otter.Options[clientKey, cachedClient]{MaximumSize: 10_000})}
}

// cached finds a client that was read at most clientCacheTime ago, by the store's clock.
func (l *clients) cached(id string) (c cachedClient, ok bool) {
	c, ok = l.cache.GetIfPresent(clientKey{l.store.Generation(), id})
	return c, ok && l.store.Now() < c.until
}

// find finds an enabled client in an enabled workspace. For any other, unknown or disabled, it returns
// storage.ErrNotFound.
func (l *clients) find(ctx context.Context, id string) (storage.Client, error) {
	if c, ok := l.cached(id); ok {
		return enabled(c)
	}
	return l.read(ctx, id)
}

// read is find without the cache.
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

// mayIssue returns storage.ErrNotFound for a client that another process disabled after it was cached, so that no more
// tokens are issued to it.
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
