package authenticator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
)

// answer is what an answer says, after the changes.
type answer struct {
	origin      string
	rpID        string
	kind        string
	challenge   []byte
	crossOrigin bool
	flags       byte
	counter     uint32

	algorithm    int    // 0: one that was offered
	credentialID []byte // nil: the true one
	userHandle   []byte
	otherHandle  bool // userHandle replaces the true one, also with nothing
	otherKey     bool
}

// Change alters an answer in one point. Except where it says so, the authenticator itself stays as without the change.
type Change func(*answer)

// Origin gives another origin than that of the page.
func Origin(origin string) Change {
	return func(a *answer) { a.origin = origin }
}

// RPID gives the hash of another RP ID than that of the options.
func RPID(id string) Change {
	return func(a *answer) { a.rpID = id }
}

// Type gives another type in the client data than "webauthn.create" or "webauthn.get".
func Type(kind string) Change {
	return func(a *answer) { a.kind = kind }
}

// Challenge gives another challenge than that of the options.
func Challenge(challenge []byte) Change {
	return func(a *answer) { a.challenge = challenge }
}

// CrossOrigin says that the page is in a frame of another origin.
func CrossOrigin() Change {
	return func(a *answer) { a.crossOrigin = true }
}

// WithoutUserVerification says that the authenticator did not verify the user, even if it had to.
func WithoutUserVerification() Change {
	return func(a *answer) { a.flags &^= userVerified }
}

// WithoutUserPresence says that the user was not present.
func WithoutUserPresence() Change {
	return func(a *answer) { a.flags &^= userPresent }
}

// BackupState gives other flags than the authenticator's: whether the passkey may be backed up, and whether it is.
func BackupState(eligible, isBackedUp bool) Change {
	return func(a *answer) {
		a.flags &^= backupEligible | backedUp
		if eligible {
			a.flags |= backupEligible
		}
		if isBackedUp {
			a.flags |= backedUp
		}
	}
}

// CounterAt gives another counter than the authenticator's, which counts on as usual.
func CounterAt(counter uint32) Change {
	return func(a *answer) { a.counter = counter }
}

// UserHandle makes [Authenticator.Get] give another user handle; nil gives none. In [Authenticator.Create], where the
// answer has none, the passkey keeps it.
func UserHandle(handle []byte) Change {
	return func(a *answer) { a.userHandle, a.otherHandle = handle, true }
}

// CredentialID makes [Authenticator.Get] give another credential ID, and [Authenticator.Create] create the passkey with
// it.
func CredentialID(id []byte) Change {
	return func(a *answer) { a.credentialID = id }
}

// Algorithm makes [Authenticator.Create] create a key with this COSE algorithm, offered or not: -7 (ES256), -257
// (RS256) or -8 (EdDSA).
func Algorithm(cose int) Change {
	return func(a *answer) { a.algorithm = cose }
}

// OtherKey makes [Authenticator.Get] sign with another key. [Authenticator.Create] gives the public key of another key
// than the passkey keeps.
func OtherKey() Change {
	return func(a *answer) { a.otherKey = true }
}

// clientData writes the client data.
func (a answer) clientData() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // as in browsers
	err := encoder.Encode(struct {
		Type        string    `json:"type"`
		Challenge   base64URL `json:"challenge"`
		Origin      string    `json:"origin"`
		CrossOrigin bool      `json:"crossOrigin"`
	}{a.kind, a.challenge, a.origin, a.crossOrigin})
	return bytes.TrimSpace(b.Bytes()), err
}

// authenticatorData writes the part of the authenticator data that every answer has.
func (a answer) authenticatorData(more byte) []byte {
	hash := sha256.Sum256([]byte(a.rpID))
	return binary.BigEndian.AppendUint32(append(hash[:], a.flags|more), a.counter)
}
