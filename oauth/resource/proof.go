package resource

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"doorward/oauth/dpop"
)

// credential is what a request sends in its Authorization header.
type credential struct {
	token string
	dpop  bool // sent with the scheme DPoP (RFC 9449, section 7.1), otherwise as Bearer
	// proven is the key that the request was proven to be sent by; empty: not checked yet.
	proven string
}

// Why a token is refused although it is active.
var (
	errNotBound = invalidToken(
		"The credential is not bound to a key; send it with the scheme Bearer instead of DPoP.")
	errNeedsBinding = invalidToken(
		"Access tokens for this API must be bound to a key; request one with a DPoP proof (RFC 9449).")
	errSentAsBearer = invalidToken(
		"The access token is bound to a key; send it with the scheme DPoP and a DPoP proof (RFC 9449).")
	errOtherKey = invalidToken(
		"The DPoP proof is by another key than the one that the access token is bound to.")
	errNoBase = errors.New("an access token is bound to a key, and the API does not know its own URL, without which " +
		"it cannot check DPoP proofs; set BaseURL")
)

// prove checks that the sender of a request holds the key that its token is bound to (RFC 9449, section 7), and records
// the use of the proof. Every request needs a proof of its own, also if the answer about its token is cached.
func (v *Verifier) prove(r *http.Request, x *credential, m *Claims) error {
	switch key := m.DPoPKey; {
	case key == "" && x.dpop:
		return errNotBound
	case key == "" && v.config.RequireDPoP && m.Credential != apiKey && m.Credential != personalToken:
		return errNeedsBinding
	case key == "" || key == x.proven:
		return nil
	case !x.dpop:
		return errSentAsBearer
	case v.base == "":
		return misconfigured(errNoBase)
	}
	text, err := dpop.FromHeader(r.Header)
	if err != nil {
		return badProof(err)
	}
	if text == "" {
		return badProof(errors.New("the request has no DPoP proof; send one in the header DPoP"))
	}
	p, err := dpop.Check(text, dpop.Request{
		Method: r.Method, URL: v.base + pathOf(r), Token: x.token, Now: v.config.Now(), Nonces: v.nonces,
	})
	switch {
	case err != nil:
		return badProof(err)
	case p.Key != m.DPoPKey:
		return errOtherKey
	}
	first, err := v.config.UseProof(r.Context(), p.Key, p.ID, p.ExpiresAt)
	if err != nil {
		return unavailable(err, 0)
	}
	if !first {
		return badProof(dpop.ErrUsed)
	}
	x.proven = p.Key
	return nil
}

// pathOf returns the path of a request as its client wrote it. http.StripPrefix and its like change only the URL.
func pathOf(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.Contains(path, "#") { // which begins no fragment in a request
		return path
	}
	return r.URL.EscapedPath()
}

// badProof refuses a DPoP proof. The caller is told why, because it made the proof.
func badProof(err error) *Refusal {
	if errors.Is(err, dpop.ErrNonce) {
		return &Refusal{
			Status: http.StatusUnauthorized, Code: UseDPoPNonce,
			Description: "The DPoP proof needs the nonce in the DPoP-Nonce header of this response; make another proof with it.",
		}
	}
	return &Refusal{Status: http.StatusUnauthorized, Code: InvalidDPoPProof, Description: dpop.Sentence(err)}
}

// offerNonce sets the header with the current nonce, if proofs need one and the request uses DPoP (RFC 9449, section 9).
func (v *Verifier) offerNonce(h http.Header, r *http.Request) {
	if v.nonces != nil && dpop.InUse(r.Header) {
		h.Set(dpop.NonceHeader, v.nonces.New(v.config.Now()))
	}
}

// useHere is the default of Config.UseProof.
func (v *Verifier) useHere(_ context.Context, key, id string, until time.Time) (first bool, err error) {
	return v.used.use(key, id, until, v.config.Now())
}
