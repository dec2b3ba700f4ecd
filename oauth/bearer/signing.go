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

// SigningAlgorithm is what JWT access tokens are signed with (RFC 7518, section 3.4).
const SigningAlgorithm = string(jose.ES256)

const (
	// JWKSMaxAge is how long a verifier may keep the published keys without asking for them again.
	JWKSMaxAge = 5 * time.Minute
	// prePublication is how long a key is published at least before it signs, so that every verifier has it by then: as
	// long as its copy may be old, and a little more for a node that learns of the key late.
	prePublication = JWKSMaxAge + 10*time.Second
	// signingKeyLifetime is how long a key signs before another one takes its place.
	signingKeyLifetime = 30 * 24 * time.Hour
	// stillSigning is for how long another node may sign with a key that was retired here, its clock included.
	stillSigning = time.Minute
	// keysAge is how old the copy of the keys that this process has may be.
	keysAge = time.Second
)

// kindSigning begins the ids of signing keys.
const kindSigning = "signing"

// KeyringConfig is what a Keyring is made of. Every field is needed.
type KeyringConfig struct {
	Issuer         string // of the tokens that it signs
	Store          *storage.Store
	Secrets        *seal.Secrets
	Catalog        *catalog.Catalog
	AccessLifetime time.Duration // of access tokens: for how long a retired key stays published
}

// Keyring keeps the keys that sign access tokens, signs and verifies with them. It holds a copy that is read again when
// it is a second old: a key that another process dropped is good for nothing from then on. Its methods are safe for
// many goroutines.
type Keyring struct {
	issuer         string
	store          *storage.Store
	secrets        *seal.Secrets
	catalog        *catalog.Catalog
	accessLifetime time.Duration

	mu   sync.Mutex // held while the keys are read
	keys atomic.Pointer[keySet]
}

// NewKeyring makes a Keyring. It reads nothing yet.
func NewKeyring(c KeyringConfig) *Keyring {
	return &Keyring{
		issuer: c.Issuer, store: c.Store, secrets: c.Secrets, catalog: c.Catalog, accessLifetime: c.AccessLifetime,
	}
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
func (r *Keyring) signingKeys(ctx context.Context, wanting *keySet) (*keySet, error) {
	fresh := func() *keySet {
		k := r.keys.Load()
		if k == nil || k == wanting || r.store.Now().Sub(k.readAt).Abs() >= keysAge {
			return nil
		}
		return k
	}
	// Without the lock: a junk token that has the keys read again delays no other request.
	if k := fresh(); k != nil {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := fresh(); k != nil {
		return k, nil
	}
	now := r.store.Now()
	rows, err := r.store.SigningKeys(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	keys, err := r.newKeySet(rows, r.keys.Load())
	if err != nil {
		return nil, err
	}
	keys.readAt = now
	r.keys.Store(keys)
	return keys, nil
}

// forget has the keys read again: this process has changed them.
func (r *Keyring) forget() {
	r.mu.Lock() // so that what is being read now is forgotten too
	defer r.mu.Unlock()
	r.keys.Store(nil)
}

// newKeySet reads the rows of the keys; what it had to open before it takes from the set before.
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
			"signing key %s was sealed under a secret that is not in the list: put that back, or run: doorward "+
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

// Signer signs access tokens with the key that was active when it was asked for.
type Signer struct {
	issuer string
	signer jose.Signer
}

// Signer is what signs now. Where there is no key yet it creates them. The error wraps storage.ErrUnavailable where the
// active key cannot be used.
func (r *Keyring) Signer(ctx context.Context) (*Signer, error) {
	keys, err := r.signingKeys(ctx, nil)
	if err == nil && keys.signer == nil && keys.fault == nil {
		if err = r.Keep(ctx); err == nil {
			keys, err = r.signingKeys(ctx, keys)
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
	return &Signer{r.issuer, keys.signer}, nil
}

// newSigningKey makes a key in a state.
func (r *Keyring) newSigningKey(state string) (storage.SigningKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return storage.SigningKey{}, fmt.Errorf("make a signing key: %w", err)
	}
	k := storage.SigningKey{ID: storage.NewID(kindSigning), State: state, CreatedAt: r.store.Now()}
	if state == storage.SigningActive {
		k.ActivatedAt = k.CreatedAt
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
	}
	k.Sealed = r.secrets.Seal(signingPurpose(k.ID), der)
	public, err := json.Marshal(
		jose.JSONWebKey{Key: key.Public(), KeyID: k.ID, Algorithm: SigningAlgorithm, Use: "sig"},
	)
	if err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
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

// Keep sees to it that there is a key that signs and one that is next, and lets the next one sign when the
// active one has signed for 30 days. Several nodes may call it at once. Where no access token is a JWT it does nothing.
// It fails where the private half of either cannot be opened.
func (r *Keyring) Keep(ctx context.Context) error {
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

// addSigningKey adds a key where there is none in its state.
func (r *Keyring) addSigningKey(ctx context.Context, state string) error {
	k, err := r.newSigningKey(state)
	if err != nil {
		return err
	}
	err = r.store.InTx(ctx, func(ctx context.Context) error { return r.insertSigningKey(ctx, k) })
	if err != nil && !errors.Is(err, storage.ErrExists) { // another node's will do
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

// Why signing keys were not rotated.
var (
	// ErrTooEarly says that verifiers may not know the next key yet. Its text says from when on they do.
	ErrTooEarly = errors.New("the next signing key was published too short a time ago for every verifier to know it")
	// ErrRotated says that another call rotated at the same moment.
	ErrRotated = errors.New(
		"the signing keys were rotated by another command at this moment; list them with: doorward signing-key list",
	)
	// ErrNoSigningKeys says that there is nothing to rotate.
	ErrNoSigningKeys = errors.New(
		"there are no signing keys, since access tokens for every resource are opaque; write tokens: jwt at a " +
			"resource to have them signed",
	)
)

// Rotate lets the next key sign, and makes another one that is next. The key that signed so far stays published until
// the last token under it has ended; where it is compromised it is dropped, and all tokens under it end at once. It
// returns the key that signs now. Errors: those above.
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
			"%w; rotate after %s, or with --compromised if the present key is in other hands", ErrTooEarly,
			from.Time().Format(time.RFC3339),
		)
	}
	after, err := r.newSigningKey(storage.SigningNext)
	if err != nil {
		return storage.SigningKey{}, err
	}
	signs := next
	signs.State, signs.ActivatedAt = storage.SigningActive, now
	// The secret that the next one is sealed under may be lost.
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

// List lists the signing keys, the newest first, without those that no token is left of.
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

// JWKS is the published public keys as a JWK set (RFC 7517, section 5). Some do not sign yet, and some no longer do.
func (r *Keyring) JWKS(ctx context.Context) ([]byte, error) {
	keys, err := r.signingKeys(ctx, nil)
	if err != nil {
		return nil, err
	}
	return keys.jwks, nil
}
