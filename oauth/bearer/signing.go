package bearer

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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/catalog"
	"doorward/oauth/seal"
	"doorward/storage"
)

// SigningAlgorithm is the algorithm that signs JWT access tokens (RFC 7518, section 3.4).
const SigningAlgorithm = string(jose.ES256)

const (
	// JWKSMaxAge is how long a verifier may cache the published keys.
	JWKSMaxAge = 5 * time.Minute
	// prePublication is how long a key is published before it signs, so that every verifier has it by then: the maximum
	// age of a cached copy, and a margin for a node that learns of the key late.
	prePublication = JWKSMaxAge + 10*time.Second
	// signingKeyLifetime is how long a key signs before the next one replaces it.
	signingKeyLifetime = 30 * 24 * time.Hour
	// stillSigning is how long another node may go on signing with a key that was retired here, including the difference
	// of their clocks.
	stillSigning = time.Minute
	// keysAge is the maximum age of this process's copy of the keys.
	keysAge = time.Second
)

// kindSigning begins the ids of signing keys.
const kindSigning = "signing"

// KeyringConfig holds what a Keyring needs. Every field is required.
type KeyringConfig struct {
	Issuer         string // of the tokens that it signs
	Store          *storage.Store
	Secrets        *seal.Secrets
	Catalog        *catalog.Catalog
	AccessLifetime time.Duration // of access tokens; a retired key stays published for that long
}

// Keyring manages the signing keys of access tokens, and signs and verifies tokens with them. It reads the keys again
// when its copy is a second old or something has changed, so a key that another process dropped verifies nothing a
// second later. Its methods are
// safe for concurrent use.
type Keyring struct {
	issuer         string
	store          *storage.Store
	secrets        *seal.Secrets
	catalog        *catalog.Catalog
	accessLifetime time.Duration

	mu   sync.Mutex // held while the keys are read
	keys atomic.Pointer[keySet]
}

// NewKeyring returns a Keyring. It reads nothing yet.
func NewKeyring(c KeyringConfig) *Keyring {
	return &Keyring{
		issuer: c.Issuer, store: c.Store, secrets: c.Secrets, catalog: c.Catalog, accessLifetime: c.AccessLifetime,
	}
}

// keySet is a snapshot of the signing keys.
type keySet struct {
	readAt     storage.ReadTime
	generation uint64                      // of the store, before the keys were read
	public     map[string]*ecdsa.PublicKey // by kid, including keys that are not published any more
	signer     jose.Signer                 // nil: no key is active
	kid        string                      // of the signer
	fault      error                       // why there is an active key and no signer
	jwks       []byte
}

// signingKeys returns a copy of the keys that is at most a second old. If stale is not nil, the copy is newer than
// stale, which lacked a key.
func (r *Keyring) signingKeys(ctx context.Context, stale *keySet) (*keySet, error) {
	fresh := func() *keySet {
		k := r.keys.Load()
		if k == nil || k == stale || !r.store.Fresh(k.readAt, keysAge) ||
			r.store.Altered(k.generation, &storage.Dependencies{}) {
			return nil
		}
		return k
	}
	// Check without the lock, so that a forged token that causes a read delays no other request.
	if k := fresh(); k != nil {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := fresh(); k != nil {
		return k, nil
	}
	now, generation := r.store.ReadTime(), r.store.Generation()
	rows, err := r.store.SigningKeys(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	keys, err := r.newKeySet(rows, r.keys.Load())
	if err != nil {
		return nil, err
	}
	keys.readAt, keys.generation = now, generation
	r.keys.Store(keys)
	return keys, nil
}

// forget discards the copy, after this process has changed the keys.
func (r *Keyring) forget() {
	r.mu.Lock() // so that a read that is running is discarded too
	defer r.mu.Unlock()
	r.keys.Store(nil)
}

// newKeySet builds a set from the rows of the keys. It reuses the signer of the set before, if the key is the same.
func (r *Keyring) newKeySet(rows []storage.SigningKey, before *keySet) (*keySet, error) {
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
		if row.ExpiresAt.IsZero() || row.ExpiresAt > r.store.Now() {
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
		set.signer, set.fault = r.newSigner(row)
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
func (r *Keyring) openSigningKey(row storage.SigningKey) (crypto.PrivateKey, error) {
	der, err := r.secrets.Open(signingPurpose(row.ID), row.Sealed)
	if err != nil {
		return nil, fmt.Errorf(
			"signing key %s was sealed under a secret that is not in the list; put that secret back, or run: doorward "+
				"signing-key rotate --compromised",
			row.ID,
		)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", row.ID, err)
	}
	return key, nil
}

func (r *Keyring) newSigner(row storage.SigningKey) (jose.Signer, error) {
	key, err := r.openSigningKey(row)
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

// Signer signs access tokens with the key that was active when Keyring.Signer returned it.
type Signer struct {
	issuer string
	signer jose.Signer
}

// Signer returns a Signer with the active key. If there are no keys yet, it creates them. The error wraps
// storage.ErrUnavailable if the active key cannot be used.
func (r *Keyring) Signer(ctx context.Context) (*Signer, error) {
	keys, err := r.signingKeys(ctx, nil)
	if err == nil && keys.signer == nil && keys.fault == nil {
		if err = r.Maintain(ctx); err == nil {
			keys, err = r.signingKeys(ctx, keys)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case keys.fault != nil:
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, keys.fault) // the client can only wait
	case keys.signer == nil:
		return nil, fmt.Errorf("%w: there is no active signing key", storage.ErrUnavailable)
	}
	return &Signer{r.issuer, keys.signer}, nil
}

// newSigningKey generates a key in a state.
func (r *Keyring) newSigningKey(state string) (storage.SigningKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("create a signing key: %w", err)
	}
	k := storage.SigningKey{ID: storage.NewID(kindSigning), State: state, CreatedAt: r.store.Now()}
	if state == storage.SigningActive {
		k.ActivatedAt = k.CreatedAt
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return k, fmt.Errorf("create a signing key: %w", err)
	}
	k.Sealed = r.secrets.Seal(signingPurpose(k.ID), der)
	public, err := json.Marshal(
		jose.JSONWebKey{Key: key.Public(), KeyID: k.ID, Algorithm: SigningAlgorithm, Use: "sig"},
	)
	if err != nil {
		return k, fmt.Errorf("create a signing key: %w", err)
	}
	k.Public = string(public)
	return k, nil
}

// inState finds the one key that is in a state.
func inState(keys []storage.SigningKey, state string) (storage.SigningKey, bool) {
	i := slices.IndexFunc(keys, func(k storage.SigningKey) bool { return k.State == state })
	if i < 0 {
		return storage.SigningKey{}, false
	}
	return keys[i], true
}

// Maintain creates a missing active or next key, and makes the next key active once the active one has signed for 30
// days. Several nodes may call it at once. It does nothing if no resource has JWT access tokens. It fails if the
// private half of either key cannot be opened.
func (r *Keyring) Maintain(ctx context.Context) error {
	if !r.catalog.IssuesJWTs() {
		return nil
	}
	ctx = storage.System(ctx)
	keys, err := r.store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("signing keys: %w", err)
	}
	for _, state := range []string{storage.SigningActive, storage.SigningNext} {
		k, ok := inState(keys, state)
		if ok {
			_, err = r.openSigningKey(k)
		} else {
			err = r.addSigningKey(ctx, state)
		}
		if err != nil {
			return err
		}
	}
	active, ok := inState(keys, storage.SigningActive)
	if !ok || r.store.Now().Sub(active.ActivatedAt) < signingKeyLifetime {
		return nil
	}
	_, err = r.Rotate(ctx, false)
	if errors.Is(err, ErrRotated) || errors.Is(err, ErrTooEarly) {
		return nil
	}
	return err
}

// addSigningKey adds a key in a state, unless there is one.
func (r *Keyring) addSigningKey(ctx context.Context, state string) error {
	k, err := r.newSigningKey(state)
	if err != nil {
		return err
	}
	err = r.store.InTx(ctx, func(ctx context.Context) error { return r.insertSigningKey(ctx, k) })
	if err != nil && !errors.Is(err, storage.ErrExists) { // another node has added one
		return fmt.Errorf("add a signing key: %w", err)
	}
	r.forget()
	return nil
}

func (r *Keyring) insertSigningKey(ctx context.Context, k storage.SigningKey) error {
	if err := r.store.InsertSigningKey(ctx, k); err != nil {
		return err
	}
	return r.auditSigningKey(ctx, "created", k.ID, map[string]string{"state": k.State})
}

func (r *Keyring) auditSigningKey(ctx context.Context, done, kid string, detail map[string]string) error {
	return r.store.Audit(ctx, storage.AuditEvent{Action: "signing_key." + done, Target: kid, Detail: detail}, "")
}

// The reasons why signing keys are not rotated.
var (
	// ErrTooEarly means that verifiers may not know the next key yet. The message says when the keys can be rotated.
	ErrTooEarly = errors.New("the next signing key was published too recently for every verifier to know it")
	// ErrRotated means that another call rotated the keys at the same moment.
	ErrRotated = errors.New(
		"another command rotated the signing keys at the same moment; list them with: doorward signing-key list",
	)
	// ErrNoSigningKeys means that there are no keys to rotate.
	ErrNoSigningKeys = errors.New(
		"there are no signing keys, since the access tokens for all resources are opaque; set tokens: jwt for a " +
			"resource to have them signed",
	)
)

// Rotate makes the next key active, and creates a new next key. It returns the active key. The old key stays published
// until the last token that it signed has expired; with compromised it is dropped, and its tokens stop working at once.
// It returns ErrTooEarly, ErrRotated or ErrNoSigningKeys.
func (r *Keyring) Rotate(ctx context.Context, compromised bool) (storage.SigningKey, error) {
	ctx = storage.System(ctx)
	keys, err := r.store.SigningKeys(ctx)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("signing keys: %w", err)
	}
	active, haveActive := inState(keys, storage.SigningActive)
	next, haveNext := inState(keys, storage.SigningNext)
	if !haveActive || !haveNext {
		return storage.SigningKey{}, ErrNoSigningKeys
	}
	now := r.store.Now()
	if from := next.CreatedAt.Add(prePublication); !compromised && now < from {
		return storage.SigningKey{}, fmt.Errorf(
			"%w; rotate after %s, or use --compromised if the current key has leaked", ErrTooEarly,
			from.Time().Format(time.RFC3339),
		)
	}
	after, err := r.newSigningKey(storage.SigningNext)
	if err != nil {
		return storage.SigningKey{}, err
	}
	signs := next
	signs.State, signs.ActivatedAt = storage.SigningActive, now
	// The secret under which the next key is sealed may be lost.
	_, err = r.openSigningKey(next)
	lost := compromised && err != nil
	if lost {
		signs, err = r.newSigningKey(storage.SigningActive)
	}
	if err != nil {
		return storage.SigningKey{}, err
	}
	err = r.store.InTx(ctx, func(ctx context.Context) error {
		done := "rotated"
		if compromised {
			done, err = "dropped", r.store.DropSigningKey(ctx, active.ID)
		} else {
			err = r.store.RetireSigningKey(ctx, active.ID, now.Add(r.accessLifetime+stillSigning))
		}
		if err == nil {
			err = r.store.ActivateSigningKey(ctx, next.ID)
		}
		if err == nil && lost {
			if err = r.store.DropSigningKey(ctx, next.ID); err == nil {
				err = r.insertSigningKey(ctx, signs)
			}
		}
		if err == nil {
			err = r.insertSigningKey(ctx, after)
		}
		if err == nil {
			err = r.auditSigningKey(ctx, done, active.ID, map[string]string{"into": signs.ID})
		}
		return err
	})
	r.forget()
	switch {
	case errors.Is(err, storage.ErrConsumed), errors.Is(err, storage.ErrExists):
		return storage.SigningKey{}, ErrRotated
	case err != nil:
		return storage.SigningKey{}, fmt.Errorf("rotate the signing keys: %w", err)
	}
	return signs, nil
}

// List lists the signing keys, the newest first, without retired keys whose tokens have all expired.
func (r *Keyring) List(ctx context.Context) ([]storage.SigningKey, error) {
	keys, err := r.store.SigningKeys(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	now := r.store.Now()
	return slices.DeleteFunc(
		keys, func(k storage.SigningKey) bool { return !k.ExpiresAt.IsZero() && k.ExpiresAt <= now },
	), nil
}

// JWKS returns the published public keys as a JWK set (RFC 7517, section 5). They include keys that do not sign yet and
// keys that have stopped signing.
func (r *Keyring) JWKS(ctx context.Context) ([]byte, error) {
	keys, err := r.signingKeys(ctx, nil)
	if err != nil {
		return nil, err
	}
	return keys.jwks, nil
}
