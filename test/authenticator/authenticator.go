// Package authenticator plays a browser and an authenticator with passkeys in one, so that tests need neither. It takes
// the options that a page passes to navigator.credentials, and gives the answer that the page sends to the server, both
// as JSON: what PublicKeyCredential.parseCreationOptionsFromJSON and parseRequestOptionsFromJSON read, and what
// credential.toJSON() writes.
//
// It refuses what a browser refuses, such as an RP ID that does not fit the origin. A [Change] makes it lie in one
// point, for tests of what the server refuses.
package authenticator

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// The flags of the authenticator data.
const (
	userPresent    = 1 << 0
	userVerified   = 1 << 2
	backupEligible = 1 << 3
	backedUp       = 1 << 4
	attestedData   = 1 << 6
)

// Authenticator holds passkeys, all of them discoverable. It is safe for concurrent use, but its fields are to be set
// before the first use.
type Authenticator struct {
	AAGUID             [16]byte // given also without attestation, where some browsers give zeros
	BackedUp           bool     // its passkeys are synchronized: they may be backed up, and are
	NoUserVerification bool     // it cannot verify the user, as a security key without a PIN
	Counter            uint32   // what the next answer says; then one more each time, but 0 stays 0

	mu          sync.Mutex
	credentials []credential // from the oldest to the newest
}

// credential is a passkey.
type credential struct {
	id         []byte
	rpID       string
	userHandle []byte
	attachment string
	key        crypto.Signer
}

// New returns an authenticator without passkeys.
func New() *Authenticator {
	return new(Authenticator)
}

// Credentials counts the passkeys.
func (a *Authenticator) Credentials() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.credentials)
}

// Copy clones the authenticator with its keys and its counter. From then on, the two do not affect each other.
func (a *Authenticator) Copy() *Authenticator {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &Authenticator{
		AAGUID:             a.AAGUID,
		BackedUp:           a.BackedUp,
		NoUserVerification: a.NoUserVerification,
		Counter:            a.Counter,
		credentials:        slices.Clone(a.credentials),
	}
}

// Create is navigator.credentials.create on a page of the origin. It returns a RegistrationResponseJSON with the
// attestation "none". The key has the first offered algorithm of ES256, RS256 and EdDSA. As on real authenticators, a
// new passkey replaces the one with the same RP ID and user handle.
//
// A refusal is an [*Error]: InvalidStateError for an excluded passkey of this authenticator, NotSupportedError when no
// algorithm fits, NotAllowedError when it cannot verify the user but must, SecurityError for a wrong origin or RP ID,
// TypeError and EncodingError for wrong options.
func (a *Authenticator) Create(origin string, options []byte, changes ...Change) ([]byte, error) {
	wanted, err := parseCreation(options)
	if err != nil {
		return nil, err
	}
	rpID, err := allowedRPID(origin, wanted.RP.ID)
	if err != nil {
		return nil, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range wanted.Exclude {
		if _, found := a.find(rpID, c); found {
			return nil, refuse("InvalidStateError", "the authenticator has one of the excluded credentials")
		}
	}
	selection := wanted.Selection
	if a.NoUserVerification && selection.UserVerification == required {
		return nil, refuse("NotAllowedError", "the authenticator cannot verify the user")
	}

	lies := a.answer(origin, rpID, "webauthn.create", *wanted.Challenge, changes)
	algorithm := lies.algorithm
	if algorithm == 0 {
		algorithm = wanted.algorithm()
	}
	key, err := newKey(algorithm)
	if err != nil {
		return nil, err
	}
	c := credential{
		id: lies.credentialID, rpID: rpID, userHandle: *wanted.User.ID, attachment: selection.Attachment, key: key,
	}
	if c.id == nil {
		c.id = make([]byte, 32)
		_, _ = rand.Read(c.id) // it never fails
	}
	if lies.otherHandle {
		c.userHandle = lies.userHandle
	}
	transports := []string{"usb"}
	if c.attachment != "cross-platform" {
		c.attachment, transports = "platform", []string{"hybrid", "internal"}
	}
	shown := c.key
	if lies.otherKey {
		if shown, err = newKey(algorithm); err != nil {
			return nil, err
		}
	}

	cose, spki, err := encode(shown.Public())
	if err != nil {
		return nil, err
	}
	data := lies.authenticatorData(attestedData)
	data = append(data, a.AAGUID[:]...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(c.id))) //nolint:gosec // a test chooses the length
	data = append(data, c.id...)
	data = append(data, cose...)
	attestation, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	if err != nil {
		return nil, err
	}
	clientData, err := lies.clientData()
	if err != nil {
		return nil, err
	}

	extensions := map[string]any{}
	if wanted.Extensions.CredProps {
		extensions["credProps"] = map[string]any{"rk": true}
	}
	a.credentials = slices.DeleteFunc(a.credentials, func(old credential) bool {
		return old.rpID == c.rpID && bytes.Equal(old.userHandle, c.userHandle)
	})
	a.credentials = append(a.credentials, c)
	return json.Marshal(answerJSON{
		ID: c.id, RawID: c.id, Type: publicKey, Attachment: c.attachment, Extensions: extensions,
		Response: creationJSON{
			ClientData: clientData, AuthenticatorData: data, Transports: transports, PublicKey: spki, Algorithm: algorithm,
			Attestation: attestation,
		},
	})
}

// Get is navigator.credentials.get on a page of the origin, where the user takes the newest passkey that the options
// allow. It returns an AuthenticationResponseJSON.
//
// A refusal is an [*Error], as of [Authenticator.Create]; without a fitting passkey, it is a NotAllowedError.
func (a *Authenticator) Get(origin string, options []byte, changes ...Change) ([]byte, error) {
	wanted, err := parseRequest(options)
	if err != nil {
		return nil, err
	}
	rpID, err := allowedRPID(origin, wanted.RPID)
	if err != nil {
		return nil, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.NoUserVerification && wanted.UserVerification == required {
		return nil, refuse("NotAllowedError", "the authenticator cannot verify the user")
	}
	c, found := a.find(rpID, wanted.Allow...)
	if !found {
		return nil, refuse("NotAllowedError", "the authenticator has no credential that is allowed here")
	}

	lies := a.answer(origin, rpID, "webauthn.get", *wanted.Challenge, changes)
	if lies.credentialID != nil {
		c.id = lies.credentialID
	}
	if lies.otherHandle {
		c.userHandle = lies.userHandle
	}
	if lies.otherKey {
		if c.key, err = newKey(algorithmOf(c.key)); err != nil {
			return nil, err
		}
	}

	clientData, err := lies.clientData()
	if err != nil {
		return nil, err
	}
	data := lies.authenticatorData(0)
	hash := sha256.Sum256(clientData)
	signature, err := sign(c.key, slices.Concat(data, hash[:]))
	if err != nil {
		return nil, err
	}
	return json.Marshal(answerJSON{
		ID: c.id, RawID: c.id, Type: publicKey, Attachment: c.attachment, Extensions: map[string]any{},
		Response: requestJSON{
			ClientData: clientData, AuthenticatorData: data, Signature: signature, UserHandle: c.userHandle,
		},
	})
}

// find returns the newest passkey of the RP ID, of those described if there are any.
func (a *Authenticator) find(rpID string, described ...descriptor) (credential, bool) {
	for _, c := range slices.Backward(a.credentials) {
		fits := func(d descriptor) bool { return d.Type == publicKey && bytes.Equal(d.ID, c.id) }
		if c.rpID == rpID && (len(described) == 0 || slices.ContainsFunc(described, fits)) {
			return c, true
		}
	}
	return credential{}, false
}

// answer collects what the answer says, true or changed, and counts the use.
func (a *Authenticator) answer(origin, rpID, kind string, challenge []byte, changes []Change) answer {
	said := answer{
		origin: origin, rpID: rpID, kind: kind, challenge: challenge, flags: userPresent, counter: a.Counter,
	}
	if !a.NoUserVerification {
		said.flags |= userVerified
	}
	if a.BackedUp {
		said.flags |= backupEligible | backedUp
	}
	if a.Counter != 0 {
		a.Counter++
	}
	for _, change := range changes {
		change(&said)
	}
	return said
}
