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

func newClientCache() *otter.Cache[clientKey, cachedClient] {
	return otter.Must(&otter.Options[clientKey, cachedClient]{MaximumSize: 10_000})
}

// cachedClient finds a client that was read no longer than clientCacheTime ago, by the store's clock.
func (s *Server) cachedClient(id string) (c cachedClient, ok bool) {
	c, ok = s.clients.GetIfPresent(clientKey{s.store.Generation(), id})
	return c, ok && s.store.Now() < c.until
}

// client finds a client that may be used: neither it nor its workspace is disabled. Unknown and disabled ones look
// alike: storage.ErrNotFound.
func (s *Server) client(ctx context.Context, id string) (storage.Client, error) {
	if c, ok := s.cachedClient(id); ok {
		return enabled(c)
	}
	return s.readClient(ctx, id)
}

// readClient is client past the cache.
func (s *Server) readClient(ctx context.Context, id string) (storage.Client, error) {
	if !storage.IsID("app", id) {
		return storage.Client{}, storage.ErrNotFound
	}
	key, until := clientKey{s.store.Generation(), id}, s.store.Now().Add(clientCacheTime)
	c, usable, err := s.store.ClientInUse(storage.System(ctx), id)
	if err != nil {
		return storage.Client{}, fmt.Errorf("client: %w", err)
	}
	found := cachedClient{c, usable, until}
	s.clients.Set(key, found)
	return enabled(found)
}

// mayIssue returns storage.ErrNotFound for a client that another process disabled since the cache read it, so that
// nothing is issued for it any more.
func (s *Server) mayIssue(ctx context.Context, id string) error {
	usable, err := s.store.ClientUsable(storage.System(ctx), id)
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
