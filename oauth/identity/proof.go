package identity

import (
	"context"

	"doorward/storage"
)

// Proof is what a user has just proved. What works only once is used up by Take.
type Proof struct {
	User storage.User
	By   Authentication
	// Credential names what was used in the audit log, such as password or passkey; empty: it is not recorded.
	Credential string
	// OffersPasskey says that the page after it may suggest creating a passkey.
	OffersPasskey bool

	take func(context.Context) error // nil: nothing is used up
}

// NewProof returns a proof that was checked elsewhere. take uses it up; nil: it can be used again.
func NewProof(user storage.User, credential string, take func(context.Context) error, by ...string) Proof {
	return Proof{User: user, By: By(by...), Credential: credential, take: take}
}

// Take uses the proof up, in the transaction of its context, which is the one that does what was proved for. Of many
// calls at once with the same code or challenge, only one succeeds; the others get storage.ErrConsumed, or the error
// that the function that returned the proof names.
func (p *Proof) Take(ctx context.Context) error {
	if p.take == nil {
		return nil
	}
	return p.take(ctx)
}
