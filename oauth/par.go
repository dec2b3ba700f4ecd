package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/storage"
)

const (
	// requestURIPrefix begins the request_uri of a pushed request (RFC 9126, section 2.2).
	requestURIPrefix = "urn:ietf:params:oauth:request_uri:"
	// requestURILifetime is how long a request_uri can be used to begin a sign-in. The user may take longer.
	requestURILifetime = 60 * time.Second
)

// pushedResponse is RFC 9126, section 2.2.
type pushedResponse struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
}

// PAR serves POST /oauth/par: pushed authorization requests (RFC 9126).
func (s *Server) PAR(w http.ResponseWriter, r *http.Request) {
	form, err := readBody(w, r)
	s.OfferNonce(w.Header())
	var uri string
	if err == nil {
		uri, err = s.push(r, form)
	}
	s.allowOrigin(w, r, form) // after push, which may have read the client's document
	if err != nil {
		writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusCreated, pushedResponse{uri, int64(requestURILifetime / time.Second)})
}

// push authenticates a client, checks its authorization request as the authorization endpoint does, and stores it.
func (s *Server) push(r *http.Request, form url.Values) (uri string, err error) {
	ctx := storage.System(r.Context())
	proof, err := s.readProof(r)
	if err != nil {
		return "", err
	}
	client, err := s.authenticateBy(ctx, r, form, s.loadPushing(r))
	if err != nil {
		return "", err
	}
	o := &once{assertion: client.assertion, proof: proof}
	if err := s.takePush(ctx, r, &client.Client, o); err != nil {
		return "", err
	}
	flow, err := s.checkPushed(ctx, form, &client.Client)
	if err == nil && proof != nil {
		err = bindToProof(flow, proof.Key)
	}
	if err != nil {
		return "", s.spendRefused(ctx, o, err)
	}
	text, err := json.Marshal(flow)
	if err != nil {
		return "", fmt.Errorf("push: %w", err)
	}
	uri = requestURIPrefix + bearer.NewCredential(bearer.PrefixRequest)
	return uri, s.spending(ctx, o, func(ctx context.Context) error {
		return s.store.InsertPushedRequest(ctx, storage.PushedRequest{
			Digest: storage.Digest(uri), ClientID: client.ID, Request: string(text),
			ExpiresAt: s.store.Now().Add(requestURILifetime),
		})
	})
}

// bindToProof binds the code of a request to the key of the proof that it was pushed with (RFC 9449, section 10.1).
func bindToProof(f *Flow, key string) error {
	if f.DPoPKey != "" && f.DPoPKey != key {
		return &Error{
			Code:        InvalidDPoPProof,
			Description: "dpop_jkt is not the thumbprint of the key of the DPoP proof; send the same, or leave it out.",
		}
	}
	f.DPoPKey = key
	return nil
}

// takePush bounds how many requests a client pushes: each is a row. A public client proves nothing, so that it is
// counted by address too.
func (s *Server) takePush(ctx context.Context, r *http.Request, c *storage.Client, o *once) error {
	if s.pushes == nil {
		return nil
	}
	if err := s.unused(ctx, o); err != nil {
		return err
	}
	name := c.ID
	if c.Public {
		name += " " + limit.AddressKey(s.address(r))
	}
	if ok, wait := s.pushes.Take(name); !ok {
		return &Error{
			Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: wait,
			Description: "This client pushed too many authorization requests; retry after the delay in the Retry-After " +
				"header.",
			Cause: errors.New("more pushed requests a minute than tokens.client_requests allows"),
		}
	}
	return nil
}

// checkPushed checks the parameters of a pushed request. A request that would be answered with an error at the
// authorization endpoint is refused here, with the same code.
func (s *Server) checkPushed(ctx context.Context, form url.Values, c *storage.Client) (*Flow, error) {
	if form.Has("request_uri") {
		return nil, badRequest("request_uri cannot be pushed; send the parameters themselves.") // RFC 9126, section 2.1
	}
	if c.FAPI && form.Get("redirect_uri") == "" { // even with a single one (FAPI 2.0 Security Profile, section 5.3.2.2)
		return nil, badRequest("redirect_uri is missing; a client that follows the FAPI 2.0 Security Profile must send it.")
	}
	a, err := s.newRequest(form, c)
	if err != nil {
		return nil, pushedError(err)
	}
	if err := s.parseVerified(a, form); err != nil {
		return nil, pushedError(err)
	}
	if err := s.runFosite(ctx, a); err != nil {
		return nil, pushedError(err)
	}
	a.StateBytes = []byte(a.State)
	return &a.Flow, nil
}

// pushedError turns an error of the authorization endpoint into one for the client that pushed the request.
func pushedError(err error) error {
	var refused *AuthorizeError
	if !errors.As(err, &refused) {
		return err
	}
	return &Error{Code: refused.Code, Description: refused.Description, Cause: refused.Cause}
}

// errRequestURI is the answer to a request_uri that cannot be used. It is the same for one of another client.
func errRequestURI(cause error) *AuthorizeError {
	e := pageError(locale.New(
		"This sign-in was already used, or has expired. Go back to the app and start again.",
	))
	e.Cause = cause
	return e
}

// pushedRequest restores the request that a client pushed, for the authorization endpoint. All other parameters but
// client_id are ignored, so that the front channel can neither add to the request nor change it (RFC 9126, section 4).
func (s *Server) pushedRequest(ctx context.Context, uri string, c *storage.Client) (*AuthorizeRequest, error) {
	secret, ok := strings.CutPrefix(uri, requestURIPrefix)
	if !ok || !bearer.WellFormed(bearer.PrefixRequest, secret) {
		return nil, errRequestURI(errors.New("the request_uri does not have the form of this server's"))
	}
	p, err := s.store.PushedRequestByDigest(storage.System(ctx), storage.Digest(uri))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, errRequestURI(errors.New("the request_uri is unknown, or was deleted after it expired"))
	case err != nil:
		return nil, err
	case p.ClientID != c.ID:
		return nil, errRequestURI(fmt.Errorf("the request_uri belongs to another client, %s", p.ClientID))
	case !p.UsedAt.IsZero():
		return nil, errRequestURI(errors.New("the request_uri was used before"))
	case p.ExpiresAt <= s.store.Now():
		return nil, errRequestURI(errors.New("the request_uri has expired"))
	}
	f := &Flow{}
	if err := json.Unmarshal([]byte(p.Request), f); err != nil {
		return nil, fmt.Errorf("pushed request: %w", err)
	}
	f.State, f.ID, f.CreatedAt, f.Pushed = string(f.StateBytes), NewFlowID(), s.store.Now(), p.Digest
	return s.ReopenAuthorize(ctx, f)
}

// usePushed marks the pushed request of a flow as answered, in the transaction that answers it.
func (s *Server) usePushed(ctx context.Context, f *Flow) error {
	if f.Pushed == nil {
		return nil
	}
	err := s.store.ConsumePushedRequest(ctx, f.Pushed)
	if errors.Is(err, storage.ErrConsumed) {
		return errRequestURI(errors.New("the request_uri was used by another request"))
	}
	return err
}
