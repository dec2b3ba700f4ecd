package storage

import (
	"context"
	"sync"
)

// ownTokens counts the live tokens that clients got for themselves, so that getting many does not count as many each
// time.
type ownTokens struct {
	mu      sync.Mutex
	clients map[string]*ownCount
}

// ownCount is held (turn is full) by one request of the client at a time while the count is near the bound.
type ownCount struct {
	turn chan struct{}
	mu   sync.Mutex
	live int // at most: what was not inserted or has ended since is among them
	at   Time
}

// near is how far below the bound exact counting begins: what other nodes insert within liveCountTime, and more.
func near(most int) int { return most - max(100, most/10) }

// ReserveOwnToken reserves one more token that a client gets for itself (client_credentials). At most most of them may
// be live: neither expired nor revoked. The caller calls release when the token is inserted, or is not going to be.
// ErrConflict says that there is no room until the moment full, when the first of the live ones expires. Each node may
// exceed the bound by one where several insert at the same moment.
func (s *Store) ReserveOwnToken(ctx context.Context, clientID string, most int) (release func(), full Time, err error) {
	c := s.own.of(clientID)
	now := s.Now()
	c.mu.Lock()
	if !c.at.IsZero() && now.Sub(c.at).Abs() < liveCountTime && c.live < near(most) {
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
		now, most); err != nil {
		release = nil
		return nil, 0, err
	}
	if live >= most {
		release = nil
		if err := s.one(ctx, []any{&full}, plain(`SELECT min(expires_at) `+where), clientID, now); err != nil {
			return nil, 0, err
		}
		return nil, full, ErrConflict
	}
	c.mu.Lock()
	c.live, c.at = live+1, now
	c.mu.Unlock()
	if live+1 < near(most) {
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
