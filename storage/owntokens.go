package storage

import (
	"context"
	"sync"
)

// ownTokens caches how many active tokens clients have for themselves, so that issuing many tokens does not count them
// each time.
type ownTokens struct {
	mu      sync.Mutex
	clients map[string]*ownCount
}

// ownCount is the count of one client. While it is near the bound, one request of the client at a time holds it (turn
// is full).
type ownCount struct {
	turn chan struct{}
	mu   sync.Mutex
	live int // an upper bound: it includes tokens that were not inserted or have expired since
	at   Time
}

// near returns the count from which on tokens are counted exactly. The margin is more than other nodes insert within
// liveCountTime.
func near(limit int) int { return limit - max(100, limit/10) }

// ReserveOwnToken reserves one more token that a client gets for itself (client_credentials). At most limit of its
// tokens may be active: neither expired nor revoked. The caller must call release once the token is inserted, or will
// not be. If the client has that many, it returns ErrConflict, and full is the time at which the first of them expires.
// If several nodes insert at the same moment, each may exceed the bound by one.
func (s *Store) ReserveOwnToken(
	ctx context.Context, clientID string, limit int,
) (release func(), full Time, err error) {
	c := s.own.of(clientID)
	now := s.Now()
	c.mu.Lock()
	if !c.at.IsZero() && now.Sub(c.at).Abs() < liveCountTime && c.live < near(limit) {
		c.live++
		c.mu.Unlock()
		return func() {}, 0, nil
	}
	c.mu.Unlock()

	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, unavailable(ctx.Err())
	}
	release = func() { <-c.turn }
	defer func() {
		if release == nil {
			<-c.turn
		}
	}()
	var live int
	const where = `FROM access_tokens WHERE client_id = $1 AND grant_id IS NULL AND revoked_at IS NULL
		AND expires_at > $2`
	if err := s.one(ctx, []any{&live}, plain(`SELECT count(*) FROM (SELECT 1 `+where+` LIMIT $3) AS live`), clientID,
		now, limit); err != nil {
		release = nil
		return nil, 0, err
	}
	if live >= limit {
		release = nil
		if err := s.one(ctx, []any{&full}, plain(`SELECT min(expires_at) `+where), clientID, now); err != nil {
			return nil, 0, err
		}
		return nil, full, ErrConflict
	}
	c.mu.Lock()
	c.live, c.at = live+1, now
	c.mu.Unlock()
	if live+1 < near(limit) {
		<-c.turn
		return func() {}, 0, nil
	}
	return release, 0, nil
}

func (o *ownTokens) of(clientID string) *ownCount {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.clients[clientID]
	if !ok {
		if o.clients == nil || len(o.clients) >= liveCountBound {
			o.clients = map[string]*ownCount{}
		}
		c = &ownCount{turn: make(chan struct{}, 1)}
		o.clients[clientID] = c
	}
	return c
}
