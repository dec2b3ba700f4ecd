package storage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// touches collects when things were last used, to be written every few seconds. A crash may lose the last few seconds.
type touches struct {
	mu      sync.Mutex
	pending map[touchKey]touched
	written map[touchKey]Time
}

type touchKey struct{ table, id string }

type touched struct {
	at   Time
	from string // address, if it is stored
}

const (
	touchEvery = time.Minute // one thing's "last used" is written at most once in this time
	touchBound = 100_000     // most things touched between two writes; the times of twice as many writes are kept
	touchBatch = 200         // rows written in one transaction
)

func (t *touches) init() {
	t.pending, t.written = map[touchKey]touched{}, map[touchKey]Time{}
}

func (s *Store) touch(table, id, from string) {
	key, now := touchKey{table, id}, s.Now()
	t := &s.touches
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.written[key]; ok && now.Sub(last) < touchEvery {
		return
	}
	if len(t.pending) < touchBound && len(t.written) < 2*touchBound {
		t.pending[key] = touched{now, from}
	}
}

// TouchGrant records that a token of the grant was used. FlushTouches writes it, at most once a minute for each grant.
func (s *Store) TouchGrant(id string) { s.touch("grants", id, "") }

// TouchSession records that the browser of a session was seen.
func (s *Store) TouchSession(id string) { s.touch("sessions", id, "") }

// TouchSecret records that a client authenticated with a secret.
func (s *Store) TouchSecret(id string) { s.touch("client_secrets", id, "") }

// TouchKey records that an API key or personal access token was used from an address.
func (s *Store) TouchKey(id, address string) { s.touch("api_keys", id, address) }

// FlushTouches writes the touches since its last call. The server calls it every five seconds and when it stops.
// Touches that could not be written are kept for the next call.
func (s *Store) FlushTouches(ctx context.Context) error {
	t := &s.touches
	t.mu.Lock()
	pending := t.pending
	t.pending = map[touchKey]touched{}
	now := s.Now()
	for key, at := range t.written {
		if now.Sub(at) >= touchEvery {
			delete(t.written, key)
		}
	}
	t.mu.Unlock()
	statements := map[string]string{
		"grants":         `UPDATE grants SET last_used_at = $2 WHERE id = $1`,
		"sessions":       `UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2`,
		"client_secrets": `UPDATE client_secrets SET last_used_at = $2 WHERE id = $1`,
		"api_keys":       `UPDATE api_keys SET last_used_at = $2, last_used_address = $3 WHERE id = $1`,
	}
	// Write in a fixed order, so that two nodes that write the same rows cannot deadlock, and few rows at a time, so that
	// no request waits long.
	keys := slices.SortedFunc(maps.Keys(pending), func(a, b touchKey) int {
		return cmp.Or(strings.Compare(a.table, b.table), strings.Compare(a.id, b.id))
	})
	for done := 0; done < len(keys); done += touchBatch {
		some := keys[done:min(done+touchBatch, len(keys))]
		err := s.InTx(ctx, func(ctx context.Context) error {
			for _, key := range some {
				args := []any{key.id, pending[key].at}
				if key.table == "api_keys" {
					args = append(args, pending[key].from)
				}
				if _, err := s.exec(ctx, plain(statements[key.table]), args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			for _, key := range keys[done:] {
				if _, newer := t.pending[key]; !newer && len(t.pending) < touchBound {
					t.pending[key] = pending[key]
				}
			}
			return err
		}
		t.mu.Lock()
		for _, key := range some {
			t.written[key] = pending[key].at
		}
		t.mu.Unlock()
	}
	return nil
}
