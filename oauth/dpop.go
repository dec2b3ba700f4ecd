package oauth

import (
	"context"
	"errors"
	"net/http"

	"doorward/oauth/dpop"
	"doorward/storage"
)

// Origin is where a client sent its request to, if not to the issuer.
type Origin struct {
	Base    string // scheme and host, such as https://api.example.com
	AnyPort bool   // a proxy did not say which port was requested
}

type originOfRequestKey struct{}

// WithOrigin puts into ctx where the client of a request sent it to.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originOfRequestKey{}, o)
}

// ProofRequest describes a request for the check of its DPoP proof. The caller adds the access token, if one is sent.
func (s *Server) ProofRequest(r *http.Request) dpop.Request {
	return s.ProofRequestAt(s.OriginOf(r.Context()), r.Method, r.URL.EscapedPath())
}

// OriginOf returns where the client of a request sent it to.
func (s *Server) OriginOf(ctx context.Context) Origin {
	if o, ok := ctx.Value(originOfRequestKey{}).(Origin); ok {
		return o
	}
	return Origin{Base: s.issuer}
}

// ProofRequestAt is ProofRequest for a request that a proxy describes.
func (s *Server) ProofRequestAt(o Origin, method, path string) dpop.Request {
	return dpop.Request{
		Method: method, URL: o.Base + path, AnyPort: o.AnyPort, Now: s.store.Now().Time(), Nonces: s.nonces,
	}
}

// OfferNonce sets the header with the current nonce for DPoP proofs (RFC 9449, section 8.2), if proofs need one.
func (s *Server) OfferNonce(h http.Header) {
	if s.nonces != nil {
		h.Set(dpop.NonceHeader, s.nonces.New(s.store.Now().Time()))
	}
}

// UseProof records the use of a proof. It returns an error that wraps dpop.ErrProof if the proof was used before, on any
// node.
func (s *Server) UseProof(ctx context.Context, p *dpop.Proof) error {
	err := s.store.UseProof(storage.System(ctx), p.Key, p.ID, storage.At(p.ExpiresAt))
	if errors.Is(err, storage.ErrConsumed) {
		return dpop.ErrUsed
	}
	return err
}

// readProof checks the DPoP proof of a request to an OAuth endpoint, except whether it was used before; nil: there is
// none.
func (s *Server) readProof(r *http.Request) (*dpop.Proof, error) {
	text, err := dpop.FromHeader(r.Header)
	if text == "" && err == nil {
		return nil, nil //nolint:nilnil // a proof is optional
	}
	var p dpop.Proof
	if err == nil {
		p, err = dpop.Check(text, s.ProofRequest(r))
	}
	if err != nil {
		return nil, proofError(err)
	}
	return &p, nil
}

// proofError returns the error for a client whose proof is refused (RFC 9449, sections 5 and 8). The reason is about the
// client's own proof, so the client is told.
func proofError(err error) *Error {
	if errors.Is(err, dpop.ErrNonce) {
		return &Error{
			Code:        UseDPoPNonce,
			Description: "The DPoP proof needs the nonce in the DPoP-Nonce header of this response; make another proof with it.",
			Cause:       err,
		}
	}
	return &Error{Code: InvalidDPoPProof, Description: dpop.Sentence(err), Cause: err}
}

// errProofNeeded refuses a request without a proof that needs one.
func errProofNeeded(why string) error {
	return &Error{
		Code:        InvalidDPoPProof,
		Description: why + "; send a DPoP proof in the DPoP header (RFC 9449).",
	}
}

// checkBinding checks that a token request has the proof that its client, resource, code or refresh token needs.
func (x *exchange) checkBinding() error {
	switch {
	case x.code != nil && x.code.DPoPKey != "" && x.proof == nil,
		x.refresh != nil && x.refresh.Refresh.DPoPKey != "" && x.proof == nil:
		return errProofNeeded("The code or refresh token is bound to a key")
	case x.code != nil && x.code.DPoPKey != "" && x.code.DPoPKey != x.proof.Key:
		return badGrant(errors.New("the code is bound to another key than that of the DPoP proof (dpop_jkt)"))
	case x.refresh != nil && x.refresh.Refresh.DPoPKey != "" && x.refresh.Refresh.DPoPKey != x.proof.Key:
		return badGrant(errors.New("the refresh token is bound to another key than that of the DPoP proof"))
	case x.client.DPoPBound && x.proof == nil:
		return errProofNeeded("The access tokens of this client must be bound to a key")
	case x.resource.RequireDPoP && x.proof == nil:
		return errProofNeeded("The access tokens for this resource must be bound to a key")
	}
	return nil
}

// dpopKey returns the thumbprint of the key that the access token of an exchange is bound to; empty: none.
func (x *exchange) dpopKey() string {
	if x.proof == nil {
		return ""
	}
	return x.proof.Key
}

// tokenType is the token_type of the access token (RFC 6749, section 7.1; RFC 9449, section 5).
func (x *exchange) tokenType() string {
	if x.proof == nil {
		return tokenTypeBearer
	}
	return dpop.Scheme
}

// tokenTypeBearer is the token_type of a token that its holder may use without a proof (RFC 6750).
const tokenTypeBearer = "Bearer"
