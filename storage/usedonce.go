package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
)

// UseAssertion records that an assertion of a client was used, by its id (jti, RFC 7523, section 3), until it expires
// anyway. Of many requests at once, only one succeeds; the others get ErrConsumed.
func (s *Store) UseAssertion(ctx context.Context, a UsedAssertion) error {
	return s.execOne(ctx, ErrConsumed, UseAssertionStatement, a.name(), a.ExpiresAt)
}

// AssertionUsedStatement is the statement of AssertionUsed.
var AssertionUsedStatement = Statement{`SELECT EXISTS (SELECT 1 FROM used_assertions WHERE name = $1)`, shared | compiled}

// AssertionUsed reports whether an assertion was used. Another request may use it at the same moment: UseAssertion
// decides.
func (s *Store) AssertionUsed(ctx context.Context, a UsedAssertion) (used bool, err error) {
	err = s.one(ctx, []any{&used}, AssertionUsedStatement, a.name())
	return used, err
}

// UsedAssertion identifies a client assertion that counts once.
type UsedAssertion struct {
	ClientID  string
	ID        string // jti
	ExpiresAt Time   // when no node accepts it any more
}

func (a *UsedAssertion) name() string { return hex.EncodeToString(Digest(a.ClientID + " " + a.ID)) }

// UseAssertionStatement is the statement of UseAssertion.
var UseAssertionStatement = Statement{`INSERT INTO used_assertions (name, expires_at) VALUES ($1, $2)
	ON CONFLICT (name) DO NOTHING`, shared | ordered}

// UseProofStatement is the statement of UseProof on PostgreSQL. It returns a column, so that it runs in the
// batches of the counters, which do not wait for the disk as other writes do.
var UseProofStatement = Statement{`INSERT INTO used_proofs (name, expires_at) VALUES ($1, $2)
	ON CONFLICT (name) DO NOTHING RETURNING expires_at`, shared | ordered}

// UseProof records that a DPoP proof was used, by its key and id (RFC 9449, section 11.1), until it expires anyway. Of
// many requests at once, on any node, only one succeeds; the others get ErrConsumed. On SQLite, which serves one
// process, it is kept in memory.
func (s *Store) UseProof(ctx context.Context, key, id string, expiresAt Time) error {
	name := Digest(key + " " + id)
	if s.engine != postgres {
		return s.proofs.use(ctx, [16]byte(name), expiresAt, s.Now())
	}
	var stored Time
	used, err := s.execReturning(ctx, []any{&stored}, UseProofStatement, hex.EncodeToString(name), expiresAt)
	if err == nil && !used {
		err = ErrConsumed
	}
	return err
}

// proofs are the used DPoP proofs of one process.
type proofs struct {
	mu sync.Mutex
	// current and previous hold the expiry of each proof. When everything in previous has expired, current takes its
	// place, so that nothing has to be searched for what has expired.
	current, previous  map[[16]byte]Time
	until, untilBefore Time // the last expiry in current, and in previous
}

// maxProofs bounds the memory of used proofs, about 60 bytes for each: eight thousand requests a second for two minutes.
// Beyond it, proofs are neither accepted nor refused.
const maxProofs = 1 << 20

var errManyProofs = errors.New("storage: too many DPoP proofs were used in the last minutes")

func (p *proofs) use(ctx context.Context, name [16]byte, expiresAt, now Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.untilBefore < now {
		p.previous, p.untilBefore = p.current, p.until
		p.current, p.until = map[[16]byte]Time{}, 0
	}
	for _, used := range []map[[16]byte]Time{p.current, p.previous} {
		if until, ok := used[name]; ok && until >= now {
			return ErrConsumed
		}
	}
	if len(p.current)+len(p.previous) >= maxProofs {
		return unavailable(errManyProofs)
	}
	p.current[name], p.until = expiresAt, max(p.until, expiresAt)
	if t := inside(ctx); t != nil {
		t.undo = append(t.undo, func() { p.forget(name) })
	}
	return nil
}

// forget makes a proof usable again whose transaction was rolled back.
func (p *proofs) forget(name [16]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.current, name)
	delete(p.previous, name)
}
