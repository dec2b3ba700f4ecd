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
	written map[touchKey]Time // since turned
	before  map[touchKey]Time // in the time touchEvery before that, or longer if nothing was written
	turned  Time
}

type touchKey struct{ table, id string }

type touched struct {
	at   Time
	from string // address, if it is stored
}

const (
	touchEvery = time.Minute // one thing's "last used" is written at most once in this time
	touchBound = 100_000     // most things touched between two writes, and half as many as are written in touchEvery
)

func (t *touches) init() {
	t.pending, t.written = map[touchKey]touched{}, map[touchKey]Time{}
}

func (s *Store) touch(table, id, from string) {
	key, now := touchKey{table, id}, s.Now()
	t := &s.touches
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.written[key]
	if !ok {
		last, ok = t.before[key]
	}
	if ok && now.Sub(last) < touchEvery {
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

// TouchClient records that a client that registered itself got a token. Others are not recorded.
func (s *Store) TouchClient(id string) { s.touch("clients", id, "") }

// TouchKey records that an API key or personal access token was used from an address.
func (s *Store) TouchKey(id, address string) { s.touch("api_keys", id, address) }

// FlushTouches writes the touches since its last call. The server calls it every five seconds and when it stops.
// Touches that could not be written are kept for the next call.
func (s *Store) FlushTouches(ctx context.Context) error {
	t := &s.touches
	t.mu.Lock()
	pending := t.pending
	t.pending = map[touchKey]touched{}
	// Old times are dropped together: requests would wait while a loop looks for them.
	if now := s.Now(); now.Sub(t.turned) >= touchEvery {
		t.before, t.written, t.turned = t.written, map[touchKey]Time{}, now
	}
	t.mu.Unlock()
	// Write in a fixed order: two nodes that write the same rows must not deadlock.
	keys := slices.SortedFunc(maps.Keys(pending), func(a, b touchKey) int {
		return cmp.Or(strings.Compare(a.table, b.table), strings.Compare(a.id, b.id))
	})
	for len(keys) > 0 {
		some := keys[:min(len(keys), rowBatch)]
		if other := slices.IndexFunc(some, func(k touchKey) bool { return k.table != keys[0].table }); other > 0 {
			some = some[:other]
		}
		table := some[0].table
		lists := make([][]any, len(some))
		for i, key := range some {
			if lists[i] = []any{key.id, pending[key].at}; table == "api_keys" {
				lists[i] = append(lists[i], pending[key].from)
			}
		}
		err := s.InTx(ctx, func(ctx context.Context) error {
			if table == "api_keys" {
				return s.execOrElseOfUses(ctx, updateKeyUse, insertKeyUse, lists)
			}
			_, err := s.execMany(ctx, touchStatements[table], lists)
			return err
		})
		t.mu.Lock()
		if err != nil {
			defer t.mu.Unlock()
			for _, key := range keys {
				if _, newer := t.pending[key]; !newer && len(t.pending) < touchBound {
					t.pending[key] = pending[key]
				}
			}
			return err
		}
		for _, key := range some {
			t.written[key] = pending[key].at
		}
		t.mu.Unlock()
		keys = keys[len(some):]
	}
	return nil
}

var touchStatements = map[string]string{
	"grants":         `UPDATE grants SET last_used_at = $2 WHERE id = $1`,
	"sessions":       `UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2`,
	"client_secrets": `UPDATE client_secrets SET last_used_at = $2 WHERE id = $1`,
	"clients":        `UPDATE clients SET used_at = $2 WHERE id = $1 AND used_at < $2`,
}

// The last uses of keys are in a narrow table of their own (decision 46). If a later use is stored, neither statement
// changes it.
const (
	updateKeyUse = `UPDATE key_uses SET used_at = $2, address = $3 WHERE key_id = $1 AND used_at < $2`
	insertKeyUse = `INSERT INTO key_uses (key_id, workspace_id, user_id, used_at, address)
		SELECT k.id, k.workspace_id, k.user_id, CAST($2 AS BIGINT), $3 FROM api_keys k WHERE k.id = $1
		ON CONFLICT (key_id) DO NOTHING`
)
