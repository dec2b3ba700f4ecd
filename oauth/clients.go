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
	usable     bool
	generation uint64 // before it was read; a change by this process since then invalidates it
	readAt     storage.ReadTime
}

// clientCacheTime bounds how long another process's change of a client can go unseen.
const clientCacheTime = 500 * time.Millisecond

// clients finds clients, and caches them for clientCacheTime.
type clients struct {
	store *storage.Store
	// cache is an otter.Cache. Its name would put otter into each package that uses a Server, as package cache explains.
	cache interface {
		GetIfPresent(id string) (c cachedClient, ok bool)
		Set(id string, c cachedClient) (old cachedClient, ok bool)
	}
}

func newClients(store *storage.Store) *clients {
	return &clients{store, otter.Must(&otter.Options[string, cachedClient]{MaximumSize: 10_000})}
}

// cached finds a client that was read at most clientCacheTime ago and that this process has not changed since.
func (l *clients) cached(id string) (c cachedClient, ok bool) {
	c, ok = l.cache.GetIfPresent(id)
	if !ok || !l.store.Fresh(c.readAt, clientCacheTime) {
		return c, false
	}
	on := storage.DependenciesOf(id) // a workspace that is disabled invalidates everything
	return c, !l.store.Altered(c.generation, &on)
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
	generation, now := l.store.Generation(), l.store.ReadTime()
	c, usable, err := l.store.ClientInUse(storage.System(ctx), id)
	if err != nil {
		return storage.Client{}, fmt.Errorf("client: %w", err)
	}
	found := cachedClient{c, usable, generation, now}
	l.cache.Set(id, found)
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
