package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Nonces makes nonces for DPoP proofs and recognizes its own (RFC 9449, section 8). A nonce is an HMAC over the time, so
// that each node that has the key accepts the nonces of all others, and nothing is stored. Its methods are safe for
// concurrent use.
type Nonces struct{ keys [][]byte }

// NewNonces returns Nonces that uses the first key to make nonces, and accepts those of all keys.
func NewNonces(keys [][]byte) *Nonces { return &Nonces{keys} }

const (
	// nonceStep is how long the same nonce is given out.
	nonceStep = time.Minute
	// nonceSteps is how many steps a nonce is accepted after the one in which it was given out.
	nonceSteps = 4
)

// New returns the current nonce.
func (n *Nonces) New(now time.Time) string { return nonceOf(n.keys[0], step(now)) }

func step(now time.Time) int64 { return now.Unix() / int64(nonceStep/time.Second) }

func nonceOf(key []byte, step int64) string {
	text := binary.BigEndian.AppendUint64(nil, uint64(step)) //nolint:gosec // only its bits matter
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(text)[:8+16])
}

// current reports whether a nonce was given out recently; a node whose clock is ahead by a step may have done so.
func (n *Nonces) current(nonce string, now time.Time) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != 8+16 {
		return false
	}
	at := int64(binary.BigEndian.Uint64(raw)) //nolint:gosec // only its bits matter
	if at > step(now)+1 || at < step(now)-nonceSteps {
		return false
	}
	for _, key := range n.keys {
		if hmac.Equal([]byte(nonce), []byte(nonceOf(key, at))) {
			return true
		}
	}
	return false
}
