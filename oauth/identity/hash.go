package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// params are the parameters of Argon2id (RFC 9106).
type params struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

const (
	saltBytes = 16
	hashBytes = 32
	// maxPasswordBytes bounds a password before any work is done: 256 characters have at most 1 KiB, and NFC makes no text
	// three times as long.
	maxPasswordBytes = 16 << 10
	// hashWait is how long a request waits for a free slot. Who would wait longer is better told to come back: the user
	// has given up by then, and their next try would only lengthen the queue.
	hashWait = 2 * time.Second
)

// wanted are the parameters of new hashes.
var wanted = params{memory: 19 << 10, time: 2, threads: 1}

// hasher computes Argon2id hashes, only as many at once as there are slots: each takes 19 MiB and a core.
type hasher struct {
	slots chan struct{}
	cost  params // of new hashes
	dummy string // matches no password
	key   func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
}

func newHasher(slots int, cost params) hasher {
	// Random bytes instead of a hash cost nothing to generate, and match no known password.
	return hasher{make(chan struct{}, slots), cost, encode(cost, random(saltBytes), random(hashBytes)), argon2.IDKey}
}

// hash returns the PHC string of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := random(saltBytes)
	sum, err := h.compute(ctx, password, salt, h.cost, hashBytes)
	if err != nil {
		return "", err
	}
	return encode(h.cost, salt, sum), nil
}

// verify reports whether a password matches a PHC string. An empty or foreign string matches none, after the same work.
func (h *hasher) verify(ctx context.Context, password, phc string) (bool, error) {
	p, salt, want, known := decode(phc)
	if !known {
		p, salt, want, _ = decode(h.dummy)
	}
	got, err := h.compute(ctx, password, salt, p, uint32(len(want))) //nolint:gosec // decode bounds it
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

func (h *hasher) compute(ctx context.Context, password string, salt []byte, p params, n uint32) ([]byte, error) {
	select {
	case h.slots <- struct{}{}:
	default:
		timer := time.NewTimer(hashWait)
		defer timer.Stop()
		select {
		case h.slots <- struct{}{}:
		case <-timer.C:
			return nil, ErrBusy
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
		}
	}
	defer func() { <-h.slots }()
	return h.key([]byte(norm.NFC.String(password)), salt, p.time, p.memory, p.threads, n), nil
}

// outdated reports whether the parameters of a PHC string differ from those of new ones.
func (h *hasher) outdated(phc string) bool {
	p, salt, sum, ok := decode(phc)
	return ok && (p != h.cost || len(salt) != saltBytes || len(sum) != hashBytes)
}

var phcBase64 = base64.RawStdEncoding.Strict()

func encode(p params, salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		phcBase64.EncodeToString(salt), phcBase64.EncodeToString(sum))
}

// decode reads a PHC string of Argon2id. It bounds the parameters, so that a broken row cannot use up the memory.
func decode(phc string) (p params, salt, sum []byte, ok bool) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return params{}, nil, nil, false
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); n != 3 || err != nil ||
		parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.time, p.threads) ||
		p.memory < 8 || p.memory > 256<<10 || p.time < 1 || p.time > 16 || p.threads < 1 || p.threads > 16 {
		return params{}, nil, nil, false
	}
	salt, err := phcBase64.DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return params{}, nil, nil, false
	}
	if sum, err = phcBase64.DecodeString(parts[5]); err != nil || len(sum) < 16 || len(sum) > 64 {
		return params{}, nil, nil, false
	}
	return p, salt, sum, true
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program before
	return b
}
