package identity

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"doorward/locale"
	"doorward/oauth/input"
	"doorward/storage"
)

// ChallengeLifetime is how long a challenge for a passkey works.
const ChallengeLifetime = 5 * time.Minute

// maxPasskeys is how many passkeys a user may have: more than the devices that anyone has.
const maxPasskeys = 50

// maxPasskeyName bounds the name of a passkey.
const maxPasskeyName = 60 // characters

// ErrPasskey means that what a browser returned does not prove a passkey: it is for another challenge, site or user,
// the challenge has expired or was used, or the passkey is unknown. The cause says which, for the log.
var ErrPasskey = errors.New("the passkey was not accepted")

// ErrPasskeyExists means that a passkey was registered before.
var ErrPasskeyExists = errors.New("this passkey is registered already")

// ErrTooManyPasskeys means that a user has as many passkeys as one may have.
var ErrTooManyPasskeys = fmt.Errorf("a user has at most %d passkeys", maxPasskeys)

// Passkeys says where passkeys work. The zero value: nowhere.
type Passkeys struct {
	// Domain is the relying party id: the host of Origin, or a parent domain of it; empty: users have no passkeys.
	Domain string
	Origin string // of the pages
	Name   string // of the service, in the dialogs of browsers; empty: the Product
}

// passkeyParameters are the algorithms of new passkeys, the best first.
var passkeyParameters = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// newPasskeys returns the library's relying party; nil if the server takes none.
func newPasskeys(p Passkeys) (*webauthn.WebAuthn, error) {
	if p.Domain == "" {
		return nil, nil //nolint:nilnil // there are none
	}
	required := true
	w, err := webauthn.New(&webauthn.Config{
		RPID: p.Domain, RPDisplayName: p.Name, RPOrigins: []string{p.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: &required,
			UserVerification: protocol.VerificationRequired,
		},
		// Password managers return some that were not asked for, and nothing is read from them.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
		Timeouts: webauthn.TimeoutsConfig{
			Login:        webauthn.TimeoutConfig{Timeout: ChallengeLifetime, TimeoutUVD: ChallengeLifetime},
			Registration: webauthn.TimeoutConfig{Timeout: ChallengeLifetime, TimeoutUVD: ChallengeLifetime},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("passkeys: %w", err)
	}
	return w, nil
}

// passkeyDomain is the relying party id; empty: there are no passkeys.
func (s *Service) passkeyDomain() string {
	if s.passkeys == nil {
		return ""
	}
	return s.passkeys.Config.RPID
}

// BindPasskeys makes the passkeys of the configured domain those that count. If it is another domain than before, users
// have only those that they created for this one; if there are none any more, no passkeys count. Call it at start,
// after the migrations. changed reports that it is another domain than before.
func (s *Service) BindPasskeys(ctx context.Context) (changed bool, err error) {
	domain := s.passkeyDomain()
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		before, err := s.store.SettingOr(ctx, storage.SettingPasskeyDomain, domain)
		if err != nil || before == domain {
			return err
		}
		changed = true
		if err := s.store.SetSetting(ctx, storage.SettingPasskeyDomain, domain); err != nil {
			return err
		}
		return s.store.CountPasskeys(ctx, domain)
	})
	if err != nil {
		return false, fmt.Errorf("passkeys: %w", err)
	}
	return changed, nil
}

// PasskeyRequest is what a page gives to the browser, and gets back with its answer.
type PasskeyRequest struct {
	// Options are the argument of navigator.credentials.get or create, as JSON (Web Authentication, section 5.1.8).
	Options json.RawMessage
	Sealed  string // the challenge, bound to what the browser does
}

// challenge is a challenge with what it is bound to, sealed while it is in a page.
type challenge struct {
	Challenge string       `json:"c"`
	Binding   string       `json:"b"` // the flow or session of the browser
	UserID    string       `json:"u,omitempty"`
	CreatedAt storage.Time `json:"t"`
}

// The purposes of challenges, so that one is not good for another.
const (
	purposeUse    = "passkey challenge"
	purposeCreate = "passkey to create"
)

func (s *Service) sealChallenge(purpose, text, binding, userID string) string {
	c, _ := json.Marshal(challenge{text, binding, userID, s.store.Now()}) // strings and a number
	return s.secrets.Seal(purpose, c)
}

func (s *Service) openChallenge(purpose, sealed, binding string) (challenge, error) {
	var c challenge
	text, err := s.secrets.Open(purpose, sealed)
	if err != nil {
		return c, fmt.Errorf("%w: the challenge: %w", ErrPasskey, err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%w: the challenge: %w", ErrPasskey, err)
	}
	if c.Binding != binding {
		return c, fmt.Errorf("%w: the challenge is for another browser or page", ErrPasskey)
	}
	if age := s.store.Now().Sub(c.CreatedAt); age > ChallengeLifetime || age < -time.Minute {
		return c, fmt.Errorf("%w: the challenge is %s old", ErrPasskey, age)
	}
	return c, nil
}

// takeChallenge uses a challenge up, in the transaction of its context.
func (s *Service) takeChallenge(ctx context.Context, c *challenge) error {
	// Clocks of two nodes may differ, so it is kept longer than it works.
	return s.store.UseChallenge(ctx, "passkey "+c.Challenge, c.CreatedAt.Add(2*ChallengeLifetime))
}

// AskPasskey returns a request for any passkey of this server. binding is what the answer has to come back with, such
// as the id of a flow. It reads and writes nothing, so it reveals nothing about any account.
func (s *Service) AskPasskey(binding string) (PasskeyRequest, error) {
	options, session, err := s.passkeys.BeginDiscoverableLogin()
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	text, err := json.Marshal(options.Response)
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	return PasskeyRequest{Options: text, Sealed: s.sealChallenge(purposeUse, session.Challenge, binding, "")}, nil
}

// CheckPasskeyOf is CheckPasskey for a browser whose user is known; the passkey of another user is ErrPasskey too.
func (s *Service) CheckPasskeyOf(
	ctx context.Context, user *storage.User, binding, sealed string, credential []byte,
) (Proof, error) {
	proof, err := s.CheckPasskey(ctx, binding, sealed, credential)
	if err == nil && proof.User.ID != user.ID {
		err = fmt.Errorf("%w: it belongs to another user", ErrPasskey)
	}
	return proof, err
}

// CheckPasskey verifies the answer of a browser to AskPasskey. Errors are ErrPasskey, with the cause, and those of
// storage. Taking the proof unlocks a password that was locked after too many failures; it fails with ErrPasskey if the
// answer was used before. As all functions about passkeys, it panics if TakesPasskeys is false.
func (s *Service) CheckPasskey(ctx context.Context, binding, sealed string, credential []byte) (Proof, error) {
	c, err := s.openChallenge(purposeUse, sealed, binding)
	if err != nil {
		return Proof{}, err
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes(credential)
	if err != nil {
		return Proof{}, refusedPasskey(err)
	}
	var k storage.Passkey
	var user storage.User
	var failure error
	_, got, err := s.passkeys.ValidatePasskeyLogin(func(id, _ []byte) (webauthn.User, error) {
		k, user, failure = s.store.PasskeyByCredential(storage.System(ctx), id)
		if failure != nil {
			return nil, failure
		}
		if k.Domain != s.passkeys.Config.RPID {
			return nil, fmt.Errorf("it was created for %s", k.Domain)
		}
		if err := checkPublicKey(k.PublicKey); err != nil {
			return nil, err
		}
		return passkeyUser{user: &user, passkeys: []storage.Passkey{k}}, nil
	}, webauthn.SessionData{
		Challenge: c.Challenge, RelyingPartyID: s.passkeys.Config.RPID, UserVerification: protocol.VerificationRequired,
	}, answer)
	if failure != nil && !errors.Is(failure, storage.ErrNotFound) {
		return Proof{}, fmt.Errorf("look up a passkey: %w", failure)
	}
	switch {
	case err != nil:
		return Proof{}, refusedPasskey(err)
	case got.Authenticator.CloneWarning:
		return Proof{}, fmt.Errorf("%w: its counter is %d after %d: there may be a copy of it", ErrPasskey,
			answer.Response.AuthenticatorData.Counter, k.Counter)
	case !user.DisabledAt.IsZero():
		return Proof{}, fmt.Errorf("%w: the user is disabled", ErrPasskey)
	}
	counter, backedUp := int64(got.Authenticator.SignCount), got.Flags.BackupState
	return NewProof(user, "passkey", func(ctx context.Context) error {
		err := s.takeChallenge(ctx, &c)
		if err == nil {
			err = s.store.UsePasskey(ctx, k.ID, k.Counter, counter, backedUp)
		}
		if errors.Is(err, storage.ErrConsumed) {
			return fmt.Errorf("%w: it was used before, or removed: %w", ErrPasskey, err)
		}
		if err != nil {
			return err
		}
		if user.PasswordFailures == 0 {
			return nil
		}
		return s.store.ForgetPasswordFailures(ctx, user.ID)
	}, passkeyMethods(backedUp)...), nil
}

// passkeyMethods are the methods of authenticating with a passkey.
func passkeyMethods(backedUp bool) []string {
	if backedUp {
		return []string{BySoftwareKey, ByPresence, ByTwoFactors}
	}
	return []string{ByHardwareKey, ByPresence, ByTwoFactors}
}

// AskNewPasskey returns a request to create a passkey for a user, who may be one that does not exist yet. Errors are
// ErrTooManyPasskeys and those of storage.
func (s *Service) AskNewPasskey(ctx context.Context, user *storage.User, binding string) (PasskeyRequest, error) {
	var have []storage.Passkey
	if user.Passkeys > 0 {
		var err error
		if have, err = s.store.PasskeysOf(storage.System(ctx), user.ID, s.passkeys.Config.RPID); err != nil {
			return PasskeyRequest{}, fmt.Errorf("look up passkeys: %w", err)
		}
	}
	if len(have) >= maxPasskeys {
		return PasskeyRequest{}, ErrTooManyPasskeys
	}
	u := passkeyUser{user: user, passkeys: have}
	options, session, err := s.passkeys.BeginRegistration(
		u, webauthn.WithCredentialParameters(passkeyParameters),
		webauthn.WithExclusions(webauthn.Credentials(u.WebAuthnCredentials()).CredentialDescriptors()),
	)
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("ask for a new passkey: %w", err)
	}
	text, err := json.Marshal(options.Response)
	if err != nil {
		return PasskeyRequest{}, fmt.Errorf("ask for a new passkey: %w", err)
	}
	return PasskeyRequest{
		Options: text, Sealed: s.sealChallenge(purposeCreate, session.Challenge, binding, user.ID),
	}, nil
}

// NewPasskey is a passkey that was created, and that is not stored yet.
type NewPasskey struct {
	UserID string // for whom AskNewPasskey was called

	passkey   storage.Passkey
	challenge challenge
}

// By is how the user has just authenticated by creating the passkey.
func (n *NewPasskey) By() Authentication { return By(passkeyMethods(n.passkey.BackedUp)...) }

// CheckNewPasskey verifies the answer of a browser to AskNewPasskey. The passkey is named after its authenticator; if
// that is not known, it gets the name otherwise. Errors are ErrPasskey, with the cause.
func (s *Service) CheckNewPasskey(binding, sealed string, credential []byte, otherwise string) (NewPasskey, error) {
	c, err := s.openChallenge(purposeCreate, sealed, binding)
	if err != nil {
		return NewPasskey{}, err
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes(credential)
	if err != nil {
		return NewPasskey{}, refusedPasskey(err)
	}
	// Before the library verifies anything with it.
	if err := checkNewKey(&answer.Response.AttestationObject); err != nil {
		return NewPasskey{}, err
	}
	got, err := s.passkeys.CreateCredential(passkeyUser{user: &storage.User{ID: c.UserID}}, webauthn.SessionData{
		Challenge: c.Challenge, RelyingPartyID: s.passkeys.Config.RPID, UserID: []byte(c.UserID),
		UserVerification: protocol.VerificationRequired, CredParams: passkeyParameters,
	}, answer)
	if err != nil {
		return NewPasskey{}, refusedPasskey(err)
	}
	if len(got.ID) > 1023 { // Web Authentication, section 4
		return NewPasskey{}, fmt.Errorf("%w: its id has %d bytes", ErrPasskey, len(got.ID))
	}
	aaguid := uuid.Nil
	if model, err := uuid.FromBytes(got.Authenticator.AAGUID); err == nil {
		aaguid = model
	}
	name, _ := input.Line(cmp.Or(authenticatorName(aaguid.String()), otherwise, "Passkey"), maxPasskeyName)
	return NewPasskey{
		UserID: c.UserID, challenge: c,
		passkey: storage.Passkey{
			ID: storage.NewID("passkey"), CredentialID: got.ID, UserID: c.UserID, Domain: s.passkeys.Config.RPID,
			PublicKey: got.PublicKey, Counter: int64(got.Authenticator.SignCount),
			BackupEligible: got.Flags.BackupEligible, BackedUp: got.Flags.BackupState, Model: aaguid.String(), Name: name,
		},
	}, nil
}

// maxPublicKey bounds the public key of a passkey: one of RSA with 4,096 bits has some 540 bytes.
const maxPublicKey = 1100 // bytes

// checkNewKey refuses what would cost much to verify with, or could verify nothing: the browser, or a program that
// plays one, chooses the key. Attestation with a certificate is not asked for, and the certificate would be such a key
// too.
func checkNewKey(a *protocol.AttestationObject) error {
	if _, certificates := a.AttStatement["x5c"]; a.Format != "none" && (a.Format != "packed" || certificates) {
		return fmt.Errorf("%w: it comes with an attestation of format %q, which was not asked for", ErrPasskey, a.Format)
	}
	return checkPublicKey(a.AuthData.AttData.CredentialPublicKey)
}

// checkPublicKey refuses a key that is too large, and exponents of RSA other than the usual one.
func checkPublicKey(key []byte) error {
	if len(key) > maxPublicKey {
		return fmt.Errorf("%w: its key has %d bytes", ErrPasskey, len(key))
	}
	parsed, err := webauthncose.ParsePublicKey(key)
	if err != nil {
		return refusedPasskey(err)
	}
	if k, ok := parsed.(webauthncose.RSAPublicKeyData); ok {
		modulus, exponent := new(big.Int).SetBytes(k.Modulus), new(big.Int).SetBytes(k.Exponent)
		if bits := modulus.BitLen(); bits < 2048 || bits > 4096 || exponent.Cmp(big.NewInt(65537)) != 0 {
			return fmt.Errorf("%w: its key is of RSA with %d bits and the exponent %s", ErrPasskey, bits, exponent)
		}
	}
	return nil
}

// AddPasskey returns a proof. Taking it stores a passkey of the user, and tells them by email, in the transaction that
// renews their session. Of many calls with one challenge, only one succeeds; the others get ErrPasskey. It fails with
// ErrPasskeyExists for a passkey that is stored already, with ErrTooManyPasskeys, and with ErrDisabled.
func (s *Service) AddPasskey(user storage.User, n *NewPasskey) Proof {
	return NewProof(user, "passkey", func(ctx context.Context) error { return s.addPasskey(ctx, n, true) }, n.By()...)
}

// addPasskey stores a passkey, in the transaction of its context, and tells the user by email if tell is set. The user
// may be one who waits for approval.
func (s *Service) addPasskey(ctx context.Context, n *NewPasskey, tell bool) error {
	err := s.takeChallenge(ctx, &n.challenge)
	if errors.Is(err, storage.ErrConsumed) {
		return fmt.Errorf("%w: the challenge was used", ErrPasskey)
	}
	if err != nil {
		return err
	}
	err = s.store.InsertPasskey(ctx, n.passkey)
	if errors.Is(err, storage.ErrExists) {
		return ErrPasskeyExists
	}
	if err != nil {
		return err
	}
	user, err := s.store.UserByID(ctx, n.UserID)
	switch {
	case err != nil:
		return err
	case !user.DisabledAt.IsZero() && user.WaitingSince.IsZero():
		return ErrDisabled
	case user.Passkeys > maxPasskeys: // counted in this transaction, in which the user is locked
		return ErrTooManyPasskeys
	}
	if !tell {
		return s.auditOwn(ctx, passkeyAdded, n.passkey.ID, user.ID)
	}
	return s.changed(ctx, &user, passkeyAdded, n.passkey.ID, n.passkey.Name)
}

// RenamePasskey changes the name of a user's passkey. Errors are *Invalid, and storage.ErrNotFound if they do not have
// it.
func (s *Service) RenamePasskey(ctx context.Context, userID, id, name string) error {
	name, wrong := input.Line(name, maxPasskeyName)
	if name == "" && wrong.IsZero() {
		wrong = locale.New("Enter a name.")
	}
	if !wrong.IsZero() {
		return &Invalid{Field: "name", Message: wrong}
	}
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := s.store.RenamePasskey(ctx, userID, id, name); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "passkey.renamed", Target: id}, userID)
	})
	if err != nil {
		return fmt.Errorf("rename a passkey: %w", err)
	}
	return nil
}

// Passkeys lists a user's passkeys, the oldest first.
func (s *Service) Passkeys(ctx context.Context, userID string) ([]storage.Passkey, error) {
	if s.passkeys == nil {
		return nil, nil
	}
	list, err := s.store.PasskeysOf(storage.System(ctx), userID, s.passkeys.Config.RPID)
	if err != nil {
		return nil, fmt.Errorf("list passkeys: %w", err)
	}
	return list, nil
}

// offerEvery is how often a page suggests to a user to create a passkey.
const offerEvery = 30 * 24 * time.Hour

// OffersPasskey reports whether a page may suggest to a user to create a passkey: they have none, and no page did so
// for a month.
func (s *Service) OffersPasskey(u *storage.User) bool {
	return s.passkeys != nil && u.Passkeys == 0 && u.PasskeyOfferedAt < s.store.Now().Add(-offerEvery)
}

// OfferPasskey records that a page suggests it, in the transaction of its context. Of several sign-ins at once, it
// returns true to one.
func (s *Service) OfferPasskey(ctx context.Context, u *storage.User) (bool, error) {
	err := s.store.OfferPasskey(ctx, u.ID, s.store.Now().Add(-offerEvery))
	if errors.Is(err, storage.ErrConsumed) {
		return false, nil
	}
	return err == nil, err
}

// refusedPasskey is ErrPasskey with the cause that the library names.
func refusedPasskey(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("%w: %s: %s", ErrPasskey, e.Details, e.DevInfo)
	}
	return fmt.Errorf("%w: %w", ErrPasskey, err)
}

// passkeyUser is a user in the form that the library asks for. The id of the user is their user handle: it is not a
// secret, and says nothing about them.
type passkeyUser struct {
	user     *storage.User
	passkeys []storage.Passkey
}

// WebAuthnID implements webauthn.User.
func (u passkeyUser) WebAuthnID() []byte { return []byte(u.user.ID) }

// WebAuthnName implements webauthn.User.
func (u passkeyUser) WebAuthnName() string { return u.user.Email }

// WebAuthnDisplayName implements webauthn.User.
func (u passkeyUser) WebAuthnDisplayName() string { return cmp.Or(u.user.Name, u.user.Email) }

// WebAuthnCredentials implements webauthn.User.
func (u passkeyUser) WebAuthnCredentials() (list []webauthn.Credential) {
	for i := range u.passkeys {
		k := &u.passkeys[i]
		list = append(list, webauthn.Credential{
			ID: bytes.Clone(k.CredentialID), PublicKey: k.PublicKey,
			Flags: webauthn.CredentialFlags{
				UserPresent: true, UserVerified: true, BackupEligible: k.BackupEligible, BackupState: k.BackedUp,
			},
			Authenticator: webauthn.Authenticator{SignCount: uint32(k.Counter)}, //nolint:gosec // it was one
		})
	}
	return list
}
