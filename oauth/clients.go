package oauth

import (
	"context"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/maypok86/otter/v2"

	"doorward/oauth/jwt"
	"doorward/storage"
)

// cachedClient is a client, and whether it is enabled.
type cachedClient struct {
	storage.Client
	usable     bool
	keys       []jose.JSONWebKey // those in JWKS
	generation uint64            // before it was read; a change by this process since then invalidates it
	readAt     storage.ReadTime
}

// clientCacheTime bounds how long another process's change of a client can go unseen.
const clientCacheTime = 500 * time.Millisecond

// parseKeys reads the keys in JWKS.
func (c *cachedClient) parseKeys() (err error) {
	if c.keys = nil; c.JWKS != "" {
		c.keys, _, err = jwt.ParseKeys([]byte(c.JWKS))
	}
	if err != nil {
		return fmt.Errorf("the keys of the client %s: %w", c.ID, err)
	}
	return nil
}

// clients finds clients, and caches them for clientCacheTime.
type clients struct {
	store *storage.Store
	// complete brings a client that registered itself up to date.
	complete func(ctx context.Context, c *storage.Client) error
	// cache is an otter.Cache. Its name would put otter into each package that uses a Server, as package cache explains.
	cache interface {
		GetIfPresent(id string) (c cachedClient, ok bool)
		Set(id string, c cachedClient) (old cachedClient, ok bool)
	}
}

func newClients(store *storage.Store, complete func(context.Context, *storage.Client) error) *clients {
	return &clients{store, complete, otter.Must(&otter.Options[string, cachedClient]{MaximumSize: 10_000})}
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
	c, err := l.load(ctx, id)
	return c.Client, err
}

// load is read, with the client's keys.
func (l *clients) load(ctx context.Context, id string) (cachedClient, error) {
	if !storage.IsID("app", id) && !isDocumentID(id) {
		return cachedClient{}, storage.ErrNotFound
	}
	generation, now := l.store.Generation(), l.store.ReadTime()
	c, inUse, err := l.store.ClientInUse(storage.System(ctx), id)
	if err != nil {
		return cachedClient{}, fmt.Errorf("client: %w", err)
	}
	if c.SelfRegistered() && inUse {
		if err := l.complete(ctx, &c); err != nil {
			return cachedClient{}, err
		}
	}
	found := cachedClient{Client: c, usable: inUse, generation: generation, readAt: now}
	if err := found.parseKeys(); err != nil {
		return cachedClient{}, err
	}
	l.cache.Set(id, found)
	return found, usable(&found)
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

func enabled(c cachedClient) (storage.Client, error) { return c.Client, usable(&c) }

// usable returns storage.ErrNotFound for a client that is disabled.
func usable(c *cachedClient) error {
	if !c.usable {
		return storage.ErrNotFound
	}
	return nil
}
