package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/storage"
)

// SigningAlgorithm is what JWT access tokens are signed with (RFC 7518 section 3.4).
const SigningAlgorithm = string(jose.ES256)

const (
	// jwksMaxAge is for how long a verifier may go without asking for the keys again.
	jwksMaxAge = 5 * time.Minute
	// prePublication is how long a key is published at least before it signs, so that every verifier has it by then: as
	// long as its copy may be old, and a little more for a node that learns of the key late.
	prePublication = jwksMaxAge + 10*time.Second
	// signingKeyLifetime is how long a key signs before another one takes its place.
	signingKeyLifetime = 30 * 24 * time.Hour
	// stillSigning is for how long another node may sign with a key that was retired here, its clock included.
	stillSigning = time.Minute
	// keysAge is how old the copy of the keys that this process has may be.
	keysAge = time.Second
)

// kindSigning begins the ids of signing keys.
const kindSigning = "signing"

// keyring is a copy of the signing keys, read again when it is a second old: a key that was dropped by another process
// is good for nothing from then on.
type keyring struct {
	mu   sync.Mutex // of whoever reads them
	keys atomic.Pointer[keySet]
}

// keySet is the signing keys as they were at one moment.
type keySet struct {
	readAt storage.Time
	public map[string]*ecdsa.PublicKey // by kid, those that are no longer published too
	signer jose.Signer                 // nil: there is no active key
	kid    string                      // of the signer
	fault  error                       // why there is an active key and no signer
	jwks   []byte
}

// signingKeys is a copy of the keys that is a second old at most, or newer than one that was found wanting.
func (s *Server) signingKeys(ctx context.Context, wanting *keySet) (*keySet, error) {
	fresh := func() *keySet {
		k := s.keyring.keys.Load()
		if k == nil || k == wanting || s.store.Now().Sub(k.readAt).Abs() >= keysAge {
			return nil
		}
		return k
	}
	// Without the lock: whoever shows junk that has the keys read again holds nobody else up.
	if k := fresh(); k != nil {
		return k, nil
	}
	s.keyring.mu.Lock()
	defer s.keyring.mu.Unlock()
	if k := fresh(); k != nil {
		return k, nil
	}
	now := s.store.Now()
	rows, err := s.store.SigningKeys(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	keys, err := s.newKeySet(rows, s.keyring.keys.Load())
	if err != nil {
		return nil, err
	}
	keys.readAt = now
	s.keyring.keys.Store(keys)
	return keys, nil
}

// forget has the keys read again: this process has changed them.
func (k *keyring) forget() {
	k.mu.Lock() // so that what is being read now is forgotten too
	defer k.mu.Unlock()
	k.keys.Store(nil)
}

// newKeySet reads the rows of the keys; what it had to open before it takes from the set before.
func (s *Server) newKeySet(rows []storage.SigningKey, before *keySet) (*keySet, error) {
	set := &keySet{public: map[string]*ecdsa.PublicKey{}}
	published := []json.RawMessage{}
	for _, row := range rows {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON([]byte(row.Public)); err != nil {
			return nil, fmt.Errorf("signing key %s: %w", row.ID, err)
		}
		public, ok := k.Key.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("signing key %s: it is a %T", row.ID, k.Key)
		}
		set.public[row.ID] = public
		if row.ExpiresAt.IsZero() || row.ExpiresAt > s.store.Now() {
			published = append(published, json.RawMessage(row.Public))
		}
		if row.State != storage.SigningActive {
			continue
		}
		set.kid = row.ID
		if before != nil && before.kid == row.ID && before.signer != nil {
			set.signer = before.signer
			continue
		}
		set.signer, set.fault = s.newSigner(row)
	}
	var err error
	set.jwks, err = json.Marshal(map[string]any{"keys": published})
	if err != nil {
		return nil, fmt.Errorf("JWK set: %w", err)
	}
	set.jwks = append(set.jwks, '\n')
	return set, nil
}

func signingPurpose(kid string) string { return "signing key " + kid }

// openSigningKey opens the private half of a key.
func (s *Server) openSigningKey(row storage.SigningKey) (crypto.PrivateKey, error) {
	der, err := s.secrets.Open(signingPurpose(row.ID), row.Sealed)
	if err != nil {
		return nil, fmt.Errorf("signing key %s was sealed under a secret that is not in the list: put that back, or run: doorward signing-key rotate --compromised", row.ID)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	return key, nil
}

func (s *Server) newSigner(row storage.SigningKey) (jose.Signer, error) {
	key, err := s.openSigningKey(row)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: row.ID}},
		(&jose.SignerOptions{}).WithType(typeAccessToken))
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	return signer, nil
}

// signer is what signs now. Where there is no key yet it makes them.
func (s *Server) signer(ctx context.Context) (jose.Signer, error) {
	keys, err := s.signingKeys(ctx, nil)
	if err == nil && keys.signer == nil && keys.fault == nil {
		if err = s.KeepSigningKeys(ctx); err == nil {
			keys, err = s.signingKeys(ctx, keys)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case keys.fault != nil:
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, keys.fault) // the client can do nothing but wait
	case keys.signer == nil:
		return nil, fmt.Errorf("%w: there is no active signing key", storage.ErrUnavailable)
	}
	return keys.signer, nil
}

// newSigningKey makes a key in a state.
func (s *Server) newSigningKey(state string) (storage.SigningKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("make a signing key: %w", err)
	}
	k := storage.SigningKey{ID: storage.NewID(kindSigning), State: state, CreatedAt: s.store.Now()}
	if state == storage.SigningActive {
		k.ActivatedAt = k.CreatedAt
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
	}
	k.Sealed = s.secrets.Seal(signingPurpose(k.ID), der)
	public, err := json.Marshal(jose.JSONWebKey{Key: key.Public(), KeyID: k.ID, Algorithm: SigningAlgorithm, Use: "sig"})
	if err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
	}
	k.Public = string(public)
	return k, nil
}

// inState finds the key that is in a state of which there is one.
func inState(keys []storage.SigningKey, state string) (storage.SigningKey, bool) {
	i := slices.IndexFunc(keys, func(k storage.SigningKey) bool { return k.State == state })
	if i < 0 {
		return storage.SigningKey{}, false
	}
	return keys[i], true
}

// KeepSigningKeys sees to it that there is a key that signs and one that is next, and lets the next one sign when the
// active one has signed for 30 days. Several nodes may call it at once. Where no access token is a JWT it does nothing.
// It fails where the private half of either cannot be opened.
func (s *Server) KeepSigningKeys(ctx context.Context) error {
	if !s.catalog.IssuesJWTs() {
		return nil
	}
	ctx = storage.System(ctx)
	keys, err := s.store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("signing keys: %w", err)
	}
	for _, state := range []string{storage.SigningActive, storage.SigningNext} {
		k, ok := inState(keys, state)
		if ok {
			_, err = s.openSigningKey(k)
		} else {
			err = s.addSigningKey(ctx, state)
		}
		if err != nil {
			return err
		}
	}
	active, ok := inState(keys, storage.SigningActive)
	if !ok || s.store.Now().Sub(active.ActivatedAt) < signingKeyLifetime {
		return nil
	}
	_, err = s.RotateSigningKey(ctx, false)
	if errors.Is(err, ErrRotated) || errors.Is(err, ErrTooEarly) {
		return nil
	}
	return err
}

// addSigningKey adds a key where there is none in its state.
func (s *Server) addSigningKey(ctx context.Context, state string) error {
	k, err := s.newSigningKey(state)
	if err != nil {
		return err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error { return s.insertSigningKey(ctx, k) })
	if err != nil && !errors.Is(err, storage.ErrExists) { // another node's will do
		return fmt.Errorf("add a signing key: %w", err)
	}
	s.keyring.forget()
	return nil
}

func (s *Server) insertSigningKey(ctx context.Context, k storage.SigningKey) error {
	if err := s.store.InsertSigningKey(ctx, k); err != nil {
		return err
	}
	return s.auditSigningKey(ctx, "created", k.ID, map[string]string{"state": k.State})
}

func (s *Server) auditSigningKey(ctx context.Context, done, kid string, detail map[string]string) error {
	return s.store.Audit(ctx, storage.AuditEvent{Action: "signing_key." + done, Target: kid, Detail: detail}, "")
}

// Why signing keys were not rotated.
var (
	// ErrTooEarly says that verifiers may not know the next key yet. Its text says from when on they do.
	ErrTooEarly = errors.New("the next signing key was published too short a time ago for every verifier to know it")
	// ErrRotated says that somebody else rotated at the same moment.
	ErrRotated = errors.New("the signing keys were rotated by somebody else at this moment; see what there is with: doorward signing-key list")
	// ErrNoSigningKeys says that there is nothing to rotate.
	ErrNoSigningKeys = errors.New("there are no signing keys, since access tokens for every resource are opaque; write tokens: jwt at a resource to have them signed")
)

// RotateSigningKey lets the next key sign, and makes another one that is next. The key that signed so far stays published
// until the last token under it has ended; where it is compromised it is dropped, and all tokens under it end at once. It
// returns the key that signs now. Errors: those above.
func (s *Server) RotateSigningKey(ctx context.Context, compromised bool) (storage.SigningKey, error) {
	ctx = storage.System(ctx)
	keys, err := s.store.SigningKeys(ctx)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("signing keys: %w", err)
	}
	active, haveActive := inState(keys, storage.SigningActive)
	next, haveNext := inState(keys, storage.SigningNext)
	if !haveActive || !haveNext {
		return storage.SigningKey{}, ErrNoSigningKeys
	}
	now := s.store.Now()
	if from := next.CreatedAt.Add(prePublication); !compromised && now < from {
		return storage.SigningKey{}, fmt.Errorf("%w; rotate after %s, or with --compromised if the present key is in other hands", ErrTooEarly, from.Time().Format(time.RFC3339))
	}
	after, err := s.newSigningKey(storage.SigningNext)
	if err != nil {
		return storage.SigningKey{}, err
	}
	signs := next
	signs.State, signs.ActivatedAt = storage.SigningActive, now
	// The secret that the next one is sealed under may be lost.
	_, err = s.openSigningKey(next)
	useless := compromised && err != nil
	if useless {
		signs, err = s.newSigningKey(storage.SigningActive)
	}
	if err != nil {
		return storage.SigningKey{}, err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		done := "rotated"
		if compromised {
			done, err = "dropped", s.store.DropSigningKey(ctx, active.ID)
		} else {
			err = s.store.RetireSigningKey(ctx, active.ID, now.Add(s.lifetimes.Access+stillSigning))
		}
		if err == nil {
			err = s.store.ActivateSigningKey(ctx, next.ID)
		}
		if err == nil && useless {
			if err = s.store.DropSigningKey(ctx, next.ID); err == nil {
				err = s.insertSigningKey(ctx, signs)
			}
		}
		if err == nil {
			err = s.insertSigningKey(ctx, after)
		}
		if err == nil {
			err = s.auditSigningKey(ctx, done, active.ID, map[string]string{"into": signs.ID})
		}
		return err
	})
	s.keyring.forget()
	switch {
	case errors.Is(err, storage.ErrConsumed), errors.Is(err, storage.ErrExists):
		return storage.SigningKey{}, ErrRotated
	case err != nil:
		return storage.SigningKey{}, fmt.Errorf("rotate the signing keys: %w", err)
	}
	return signs, nil
}

// SigningKeys lists the signing keys, the newest first, without those that no token is left of.
func (s *Server) SigningKeys(ctx context.Context) ([]storage.SigningKey, error) {
	keys, err := s.store.SigningKeys(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	now := s.store.Now()
	return slices.DeleteFunc(keys, func(k storage.SigningKey) bool { return !k.ExpiresAt.IsZero() && k.ExpiresAt <= now }), nil
}

// Resealed is how many sealed texts of the database there are under the first master secret now that were not before.
type Resealed struct{ SigningKeys, Answers int }

// resealBatch is how many answers are read at once.
const resealBatch = 500

// Reseal seals anew, under the first master secret, what lies in the database sealed under another one: the private halves
// of signing keys, and the answers that are kept for an Idempotency-Key, whose purpose the caller knows. It fails, having
// done the rest, where something is sealed under a secret that is not in the list.
func (s *Server) Reseal(ctx context.Context, answerPurpose func(digest []byte) string) (Resealed, error) {
	ctx = storage.System(ctx)
	var done Resealed
	var lost []error
	reseal := func(purpose, sealed string, write func(after string) error) (int, error) {
		after, anew, err := s.secrets.Reseal(purpose, sealed)
		if err != nil {
			lost = append(lost, fmt.Errorf("%s: %w", purpose, err))
		}
		if err != nil || !anew {
			return 0, nil
		}
		if err := write(after); errors.Is(err, storage.ErrConsumed) {
			return 0, nil // it is gone, or another call was quicker
		} else if err != nil {
			return 0, err
		}
		return 1, nil
	}
	keys, err := s.store.SigningKeys(ctx)
	if err != nil {
		return done, fmt.Errorf("reseal signing keys: %w", err)
	}
	for _, k := range keys {
		if k.Sealed == "" {
			continue
		}
		n, err := reseal(signingPurpose(k.ID), k.Sealed, func(after string) error { return s.store.ResealSigningKey(ctx, k.ID, k.Sealed, after) })
		if err != nil {
			return done, fmt.Errorf("reseal signing keys: %w", err)
		}
		done.SigningKeys += n
	}
	for after := []byte(nil); ; {
		page, err := s.store.SealedAnswers(ctx, after, resealBatch)
		if err != nil {
			return done, fmt.Errorf("reseal answers: %w", err)
		}
		for _, a := range page {
			after = a.Digest
			n, err := reseal(answerPurpose(a.Digest), a.Answer, func(sealed string) error { return s.store.ResealAnswer(ctx, a.Digest, a.Answer, sealed) })
			if err != nil {
				return done, fmt.Errorf("reseal answers: %w", err)
			}
			done.Answers += n
		}
		if len(page) < resealBatch {
			return done, errors.Join(lost...)
		}
	}
}

// JWKS serves GET /oauth/jwks: the public halves of the signing keys (RFC 7517 section 5), of which some sign nothing yet
// and some sign no more.
func (s *Server) JWKS(w http.ResponseWriter, r *http.Request) {
	keys, err := s.signingKeys(r.Context(), nil)
	if err != nil {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeError(w, r, err)
		return
	}
	writePublic(w, keys.jwks)
}
