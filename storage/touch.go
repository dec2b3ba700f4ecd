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

// touches remembers when things were last used, and has them written now and then: not facts, so a crash may cost
// the last few seconds of them.
type touches struct {
	mu      sync.Mutex
	pending map[touchKey]touched
	written map[touchKey]Time
}

type touchKey struct{ table, id string }

type touched struct {
	at   Time
	from string // address, where that is kept
}

const (
	touchEvery = time.Minute // how often one thing's "last used" is written at most
	touchBound = 100_000     // things noted between two writes at most, and twice that in a minute
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

// TouchGrant notes that a token of the grant was used. It is written by FlushTouches, for each thing once a
// minute at most.
func (s *Store) TouchGrant(id string) { s.touch("grants", id, "") }

// TouchSession notes that the browser of a session was seen.
func (s *Store) TouchSession(id string) { s.touch("sessions", id, "") }

// TouchSecret notes that a client authenticated with a secret.
func (s *Store) TouchSecret(id string) { s.touch("client_secrets", id, "") }

// TouchKey notes that an API key or personal access token was used from an address.
func (s *Store) TouchKey(id, address string) { s.touch("api_keys", id, address) }

// FlushTouches writes what was noted since it ran last. The server calls it every five seconds and at its end. What
// could not be written is kept for the next time.
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
	// In one order, so that two nodes that write the same rows wait for each other and no more; few at a time, so that
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
