package resource

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// usedProofs remembers the DPoP proofs that one process has accepted (RFC 9449, section 11.1).
type usedProofs struct {
	mu sync.Mutex
	// current and previous hold the expiry of each proof. When everything in previous has expired, current takes its
	// place, so that nothing has to be searched for what has expired.
	current, previous  map[[16]byte]time.Time
	until, untilBefore time.Time // the last expiry in current, and in previous
}

// maxUsedProofs bounds the memory, about 80 bytes for each proof. Above it, requests with a proof get 503, because a
// proof that was forgotten could be used again.
const maxUsedProofs = 1 << 20

var errManyProofs = errors.New("too many DPoP proofs were used in the last minutes")

// use records a proof until it expires. first is false if it was used before.
func (p *usedProofs) use(key, id string, until, now time.Time) (first bool, err error) {
	digest := sha256.Sum256([]byte(key + " " + id)) // a thumbprint has no space
	name := [16]byte(digest[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.untilBefore.Before(now) {
		p.previous, p.untilBefore = p.current, p.until
		p.current, p.until = map[[16]byte]time.Time{}, time.Time{}
	}
	for _, used := range []map[[16]byte]time.Time{p.current, p.previous} {
		if end, ok := used[name]; ok && !end.Before(now) {
			return false, nil
		}
	}
	if len(p.current)+len(p.previous) >= maxUsedProofs {
		return false, errManyProofs
	}
	p.current[name] = until
	if until.After(p.until) {
		p.until = until
	}
	return true, nil
}
