// Package seal encrypts values that travel through browsers or lie in the database, under keys derived from the master
// secret. It does not know what the values are for; its callers choose their purposes.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward/storage"
)

// Secrets holds the master secret, or several while one replaces another: the first seals, and all open. Each purpose
// has its own key, derived by HKDF.
type Secrets struct {
	fingerprints []string
	flow         []cipher.AEAD
	form         [][]byte
	refresh      [][]byte
	nonce        [][]byte
}

// New derives the keys. Each secret must have 32 bytes or more.
func New(masters [][]byte) (*Secrets, error) {
	if len(masters) == 0 {
		return nil, errors.New("no master secret")
	}
	s := &Secrets{}
	for _, m := range masters {
		if len(m) < 32 {
			return nil, errors.New("a master secret must have 32 bytes or more")
		}
		key := func(purpose string) []byte {
			k, err := hkdf.Key(sha256.New, m, nil, "doorward "+purpose, 32)
			if err != nil {
				panic(err) // only for a length that HKDF cannot derive
			}
			return k
		}
		block, err := aes.NewCipher(key("flow"))
		if err != nil {
			return nil, fmt.Errorf("flow key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("flow key: %w", err)
		}
		s.flow = append(s.flow, aead)
		s.form = append(s.form, key("form"))
		s.refresh = append(s.refresh, key("refresh successor"))
		s.nonce = append(s.nonce, key("DPoP nonce"))
		s.fingerprints = append(s.fingerprints, hex.EncodeToString(key("fingerprint"))[:32])
	}
	return s, nil
}

// errOpen means that a value was not sealed by this server, or was sealed for another purpose.
var errOpen = errors.New("not sealed by this server")

// Seal encrypts and authenticates text under the first secret. A value opens only for the purpose for which it was
// sealed, which may name a user or an object.
func (s *Secrets) Seal(purpose string, text []byte) string {
	nonce := make([]byte, s.flow[0].NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(s.flow[0].Seal(nonce, nonce, text, []byte(purpose)))
}

// Open decrypts a value that Seal returned for the same purpose, under any of the secrets.
func (s *Secrets) Open(purpose, sealed string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || strings.ContainsAny(sealed, "\r\n") { // the decoder would skip them
		return nil, errOpen
	}
	for _, aead := range s.flow {
		if len(raw) < aead.NonceSize() {
			return nil, errOpen
		}
		if text, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(purpose)); err == nil {
			return text, nil
		}
	}
	return nil, errOpen
}

// Reseal seals a sealed value under the first secret; changed is false if it already is.
func (s *Secrets) Reseal(purpose, sealed string) (after string, changed bool, err error) {
	text, err := s.Open(purpose, sealed)
	if err != nil {
		return "", false, err
	}
	first := &Secrets{flow: s.flow[:1]}
	if _, err := first.Open(purpose, sealed); err == nil {
		return sealed, false, nil
	}
	return s.Seal(purpose, text), true, nil
}

// FormToken returns a token that binds a form to parts, such as its flow and session.
func (s *Secrets) FormToken(parts ...string) string { return formToken(s.form[0], parts) }

// FormTokenFits reports whether FormToken returned token for the same parts.
func (s *Secrets) FormTokenFits(token string, parts ...string) bool {
	return slices.ContainsFunc(
		s.form, func(key []byte) bool { return hmac.Equal([]byte(token), []byte(formToken(key, parts))) },
	)
}

func formToken(key []byte, parts []string) string {
	mac := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(mac, "%d:%s", len(p), p)
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Successors derives the random bits of the successor of a presented refresh token, from each of the secrets in order.
// So a retry gets the same successor, although no token is stored in clear.
func (s *Secrets) Successors(presented string) [][32]byte {
	out := make([][32]byte, len(s.refresh))
	for i, key := range s.refresh {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(presented))
		out[i] = [32]byte(mac.Sum(nil))
	}
	return out
}

// NonceKeys returns the keys of nonces for DPoP proofs, one for each of the secrets in order.
func (s *Secrets) NonceKeys() [][]byte { return s.nonce }

// ErrOtherSecret means that the database was used with a master secret that this node does not have.
var ErrOtherSecret = errors.New(
	"the database belongs to servers with another secret; give this server the same secret, or add theirs to its list",
)

// BindToDatabase checks these secrets against the fingerprint in the database, and writes one if there is none. If the
// fingerprint matches a later secret in the list, it is replaced by that of the first one: by then all nodes must have
// the first secret. If it matches none of them, BindToDatabase returns ErrOtherSecret.
func (s *Secrets) BindToDatabase(ctx context.Context, store *storage.Store) error {
	ctx = storage.System(ctx)
	have, err := store.SettingOr(ctx, storage.SettingSecretFingerprint, s.fingerprints[0])
	if err != nil {
		return fmt.Errorf("secret fingerprint: %w", err)
	}
	switch i := slices.Index(s.fingerprints, have); {
	case i < 0:
		return ErrOtherSecret
	case i > 0:
		if err := store.SetSetting(ctx, storage.SettingSecretFingerprint, s.fingerprints[0]); err != nil {
			return fmt.Errorf("secret fingerprint: %w", err)
		}
	}
	return nil
}

// CheckBinding returns ErrOtherSecret if the fingerprint in the database is that of none of these secrets. It changes
// nothing, and accepts a database without a fingerprint.
func (s *Secrets) CheckBinding(ctx context.Context, store *storage.Store) error {
	have, err := store.Setting(storage.System(ctx), storage.SettingSecretFingerprint)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("secret fingerprint: %w", err)
	case !slices.Contains(s.fingerprints, have):
		return ErrOtherSecret
	}
	return nil
}
