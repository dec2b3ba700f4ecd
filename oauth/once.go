package oauth

import (
	"context"
	"errors"

	"doorward/oauth/dpop"
	"doorward/storage"
)

// once holds the parts of a request that count once: the client's assertion and the DPoP proof. Nil: there is none.
//
// They are recorded in the transaction of what the request writes. So a request that fails because of the database uses
// up nothing, and one that is shown again changes nothing, not even by its refusal.
type once struct {
	assertion *storage.UsedAssertion
	proof     *dpop.Proof
	spent     bool // they are recorded, and it is committed
}

// spend records the parts of a request. In a transaction, the caller sets spent when it is committed. The error is for
// the client if one of them was used before.
func (s *Server) spend(ctx context.Context, o *once) error {
	if o.spent {
		return nil
	}
	if o.assertion != nil {
		err := s.store.UseAssertion(ctx, *o.assertion)
		if errors.Is(err, storage.ErrConsumed) {
			return errAssertionUsed
		}
		if err != nil {
			return err
		}
	}
	if o.proof != nil {
		err := s.UseProof(ctx, o.proof)
		if errors.Is(err, dpop.ErrProof) {
			return proofError(err)
		}
		return err
	}
	return nil
}

// unused returns errAssertionUsed for an assertion that was used before. It is asked before a request counts against a
// limit of its client, so that one that is shown again does not; spend decides. It does not count as a failed attempt
// either, because a replay guesses nothing.
func (s *Server) unused(ctx context.Context, o *once) error {
	if o.assertion == nil {
		return nil
	}
	used, err := s.store.AssertionUsed(ctx, *o.assertion)
	if err == nil && used {
		return errAssertionUsed
	}
	return err
}

// errAssertionUsed refuses an assertion that was used before (RFC 7523, section 3).
var errAssertionUsed = assertionRefused(errors.New("the assertion was used before (jti)"))

// spending runs fn in a transaction that also records the parts of a request.
func (s *Server) spending(ctx context.Context, o *once, fn func(ctx context.Context) error) error {
	err := s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.spend(ctx, o); err != nil {
			return err
		}
		return fn(ctx)
	})
	if err == nil {
		o.spent = true
	}
	return err
}

// spendAnd is spending for fn that needs no transaction where a request has no part that counts once.
func (s *Server) spendAnd(ctx context.Context, o *once, fn func(ctx context.Context) error) error {
	if o.assertion == nil && o.proof == nil {
		return fn(ctx)
	}
	return s.spending(ctx, o, fn)
}

// spendRefused records the parts of a request that is refused with err for something else: they were right, so they
// count, whatever was wrong. It returns the error for the client; nil if err is.
func (s *Server) spendRefused(ctx context.Context, o *once, err error) error {
	if err == nil || o.spent || !asError(err).isRefusal() {
		return err
	}
	if used := s.spend(ctx, o); used != nil {
		return used
	}
	return err
}

// revokeReused revokes the grant of a code or refresh token that was used twice.
func (s *Server) revokeReused(ctx context.Context, x *exchange, reason string) error {
	return s.spending(ctx, x.once, func(ctx context.Context) error {
		return s.store.RevokeGrant(ctx, x.grant.ID, reason)
	})
}
