package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// work is what one request to authorize or token is about. It travels in the context through fosite, whose storage
// interfaces see only signatures: each row is read once, and checked against the client that asks.
type work struct {
	client     storage.Client
	redirect   string            // authorize: the redirect URI that matched
	grant      storage.Grant     // authorize: to be made; token: found
	challenge  string            // authorize
	form       url.Values        // token: the request
	presented  string            // token: the code or refresh token shown
	code       *storage.Code     // token: found and usable
	refresh    *storage.Bearer   // token: found and usable
	successor  string            // token: what follows the refresh token shown
	resource   *catalog.Resource // of the access token
	revocation error             // a family had to be revoked and was not
	cause      error             // why the code or refresh token is refused; for the log
	scopes     []string          // of the access token
	issuedAt   storage.Time      // of the access token, as are the next two
	expiresAt  storage.Time
	expiresIn  time.Duration
	signer     *bearer.Signer // of the access token; nil: it is opaque
	workspace  storage.Workspace
	role       string // in the workspace; empty without a person
}

// because notes for the log why a code or refresh token is refused, which its sender is not told.
func (w *work) because(format string, args ...any) { w.cause = fmt.Errorf(format, args...) }

type workKey struct{}

func withWork(ctx context.Context, w *work) context.Context {
	return context.WithValue(ctx, workKey{}, w)
}

func workOf(ctx context.Context) (*work, bool) {
	w, ok := ctx.Value(workKey{}).(*work)
	return w, ok
}

// fositeClient is the client as fosite sees it in this request.
func (w *work) fositeClient() fosite.Client {
	c := &fosite.DefaultClient{
		ID: w.client.ID, Public: w.client.Public, RedirectURIs: w.client.RedirectURIs, GrantTypes: w.client.GrantTypes,
		ResponseTypes: []string{"code"}, Scopes: w.client.Scopes, Audience: w.client.Resources,
	}
	if w.redirect != "" {
		// The edge has matched it; fosite's own matching is looser for loopback addresses and stricter for localhost.
		c.RedirectURIs = []string{w.redirect}
	}
	return c
}

// errRaced says that between reading a code or refresh token and using it, somebody else used it.
var errRaced = errors.New("used by another request")

// adapter gives fosite its storage. It is no storage.Transactional: the edge puts one transaction around each
// response, and what must outlive a refusal runs outside of it.
type adapter struct{ *Server }

// GetClient implements fosite.ClientManager: the edge has found the client.
func (a adapter) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	w, ok := workOf(ctx)
	if !ok || w.client.ID != id {
		return nil, fosite.ErrNotFound
	}
	return w.fositeClient(), nil
}

// ClientAssertionJWTValid implements fosite.ClientManager; assertions are refused at the edge.
func (adapter) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }

// SetClientAssertionJWT implements fosite.ClientManager; assertions are refused at the edge.
func (adapter) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// CreateAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage: the grant and its code, the challenge inside.
func (a adapter) CreateAuthorizeCodeSession(ctx context.Context, signature string, _ fosite.Requester) error {
	w, _ := workOf(ctx)
	return a.store.InsertGrant(ctx, w.grant, storage.Code{
		Digest: []byte(signature), RedirectURI: w.redirect, Challenge: w.challenge, ExpiresAt: w.grant.CreatedAt.Add(a.lifetimes.Code),
	})
}

// requester is the request that fosite continues: the one of the grant.
func (w *work) requester(scopes []string) fosite.Requester {
	r := fosite.NewRequest()
	r.ID = w.grant.ID
	r.Client = w.fositeClient()
	r.RequestedScope, r.GrantedScope = scopes, scopes
	r.RequestedAudience, r.GrantedAudience = []string{w.grant.Resource}, []string{w.grant.Resource}
	r.Session = &fositeSession{subject: w.grant.UserID}
	return r
}

// GetAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage. Fosite calls it twice in an exchange; the second
// time it gets what the first one found.
func (a adapter) GetAuthorizeCodeSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	w, _ := workOf(ctx)
	if w.code == nil {
		if signature == "" {
			w.because("what was sent as the code is not an authorization code of this server")
			return nil, fosite.ErrNotFound
		}
		c, err := a.store.CodeByDigest(ctx, []byte(signature))
		if errors.Is(err, storage.ErrNotFound) {
			w.because("the code is unknown: it was never issued, or was deleted after it ended")
			return nil, fosite.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		// Before anything else: a code of another client is no code at all, so that whoever finds a used one in a log
		// cannot end what it gave its owner.
		if c.Grant.ClientID != w.client.ID {
			w.because("the code was issued to another client, %s", c.Grant.ClientID)
			return nil, fosite.ErrNotFound
		}
		w.grant = c.Grant
		if !c.UsedAt.IsZero() {
			w.because("the code was used before, at %s; its grant %s is revoked", c.UsedAt.Time().UTC().Format(time.RFC3339), c.Grant.ID)
			return w.requester(nil), fosite.ErrInvalidatedAuthorizeCode
		}
		if c.ExpiresAt <= a.store.Now() || !c.Grant.RevokedAt.IsZero() || c.UserDisabled || c.Role == "" {
			switch {
			case !c.Grant.RevokedAt.IsZero():
				w.because("the grant %s of the code was revoked: %s", c.Grant.ID, c.Grant.RevokedReason)
			case c.UserDisabled:
				w.because("the user of the code, or the workspace, is disabled")
			case c.Role == "":
				w.because("the user of the code left the workspace")
			default:
				w.because("the code expired at %s", c.ExpiresAt.Time().UTC().Format(time.RFC3339))
			}
			return nil, fosite.ErrNotFound
		}
		if err := a.narrow(w, c.Role); err != nil {
			return nil, err
		}
		w.code, w.workspace, w.role = &c, storage.Workspace{ID: c.Grant.WorkspaceID, Slug: c.WorkspaceSlug}, c.Role
	}
	r := w.requester(w.scopes)
	if sent := w.form.Get("redirect_uri"); sent != "" {
		// Compared when sent; RFC 6749 section 4.1.3 wants it, OAuth 2.1 does not, and PKCE does its work.
		r.(*fosite.Request).Form.Set("redirect_uri", w.code.RedirectURI)
	}
	return r, nil
}

// narrow sets what an access token of the grant may have now: what was granted, less what the client, the catalogue
// or the user's role has lost since.
func (a adapter) narrow(w *work, role string) error {
	r, ok := a.catalog.Resource(w.grant.Resource)
	if !ok || !catalog.ContainsResource(w.client.Resources, r.ID) {
		return badGrant(errors.New("the grant's resource is gone from the configuration or the client"))
	}
	w.resource, w.scopes = r, nil
	capped := r.Effective(w.grant.Scopes, role, true)
	for _, name := range w.grant.Scopes {
		if w.client.Scopes.Has(name) && slices.Contains(capped, name) {
			w.scopes = append(w.scopes, name)
		}
	}
	if len(w.scopes) == 0 {
		return badGrant(errors.New("no scope of the grant is left"))
	}
	return nil
}

// InvalidateAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage: the one write that decides who redeems.
func (a adapter) InvalidateAuthorizeCodeSession(ctx context.Context, signature string) error {
	err := a.store.ConsumeCode(ctx, []byte(signature))
	if errors.Is(err, storage.ErrConsumed) {
		return errRaced
	}
	return err
}

// CreatePKCERequestSession implements pkce.PKCERequestStorage: the challenge is in the code's row already.
func (adapter) CreatePKCERequestSession(context.Context, string, fosite.Requester) error { return nil }

// GetPKCERequestSession implements pkce.PKCERequestStorage from the code's row.
func (a adapter) GetPKCERequestSession(ctx context.Context, _ string, _ fosite.Session) (fosite.Requester, error) {
	w, _ := workOf(ctx)
	if w.code == nil || w.code.Challenge == "" {
		return nil, fosite.ErrNotFound
	}
	r := w.requester(w.scopes).(*fosite.Request)
	r.Form.Set("code_challenge", w.code.Challenge)
	r.Form.Set("code_challenge_method", "S256")
	return r, nil
}

// DeletePKCERequestSession implements pkce.PKCERequestStorage. Fosite calls it before it has checked the verifier;
// the challenge stays, so that a second attempt without a verifier finds it.
func (adapter) DeletePKCERequestSession(context.Context, string) error { return nil }

// CreateAccessTokenSession implements oauth2.AccessTokenStorage.
func (a adapter) CreateAccessTokenSession(ctx context.Context, signature string, _ fosite.Requester) error {
	w, _ := workOf(ctx)
	return a.store.InsertAccessToken(ctx, storage.AccessToken{
		Digest: []byte(signature), GrantID: w.grant.ID, ClientID: w.client.ID, Resource: w.resource.ID, Scopes: w.scopes,
		CreatedAt: w.issuedAt, ExpiresAt: w.expiresAt,
	})
}

// GetAccessTokenSession implements oauth2.AccessTokenStorage; no handler in use calls it.
func (adapter) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// DeleteAccessTokenSession implements oauth2.AccessTokenStorage; no handler in use calls it.
func (adapter) DeleteAccessTokenSession(context.Context, string) error { return nil }

// CreateRefreshTokenSession implements oauth2.RefreshTokenStorage.
func (a adapter) CreateRefreshTokenSession(ctx context.Context, signature, _ string, _ fosite.Requester) error {
	w, _ := workOf(ctx)
	now := a.store.Now()
	return a.store.InsertRefreshToken(ctx, storage.RefreshToken{
		Digest: []byte(signature), GrantID: w.grant.ID, CreatedAt: now, ExpiresAt: min(now.Add(a.lifetimes.Refresh), w.grant.ExpiresAt),
	})
}

// GetRefreshTokenSession implements oauth2.RefreshTokenStorage. A token that was used long enough ago is
// fosite.ErrInactiveToken, on which fosite has the family revoked; everything else that is wrong with a token ends
// nothing.
func (a adapter) GetRefreshTokenSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	w, _ := workOf(ctx)
	if signature == "" {
		w.because("what was sent as the refresh token is not a refresh token of this server")
		return nil, fosite.ErrNotFound
	}
	b, err := a.store.RefreshTokenByDigest(ctx, []byte(signature))
	if errors.Is(err, storage.ErrNotFound) {
		w.because("the refresh token is unknown: it was never issued, or was deleted after it ended")
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	// As with codes: another client's token is none at all.
	if b.Grant.ClientID != w.client.ID || !b.Grant.RevokedAt.IsZero() {
		w.because("the grant %s of the refresh token was revoked at %s", b.Grant.ID, b.Grant.RevokedAt.Time().UTC().Format(time.RFC3339))
		if b.Grant.ClientID != w.client.ID {
			w.because("the refresh token was issued to another client, %s", b.Grant.ClientID)
		}
		return nil, fosite.ErrNotFound
	}
	w.grant = b.Grant
	now := a.store.Now()
	if a.reused(b.Refresh) {
		w.because("the refresh token was used before, at %s; its grant %s is revoked", b.Refresh.UsedAt.Time().UTC().Format(time.RFC3339), b.Grant.ID)
		return w.requester(nil), fosite.ErrInactiveToken
	}
	if b.Refresh.Uses > storage.MaxRefreshRepeats || b.Refresh.ExpiresAt <= now || b.Grant.ExpiresAt <= now ||
		b.UserDisabled || b.WorkspaceDisabled || b.Role == "" {
		switch {
		case b.UserDisabled:
			w.because("the user of the refresh token is disabled")
		case b.WorkspaceDisabled:
			w.because("the workspace of the refresh token is disabled")
		case b.Role == "":
			w.because("the user of the refresh token left the workspace")
		case b.Refresh.Uses > storage.MaxRefreshRepeats:
			w.because("the refresh token was repeated more than %d times within the reuse window", storage.MaxRefreshRepeats)
		default:
			w.because("the refresh token expired at %s", min(b.Refresh.ExpiresAt, b.Grant.ExpiresAt).Time().UTC().Format(time.RFC3339))
		}
		return nil, fosite.ErrNotFound
	}
	if err := a.narrow(w, b.Role); err != nil {
		return nil, err
	}
	w.refresh, w.workspace, w.role = &b, storage.Workspace{ID: b.WorkspaceID, Slug: b.WorkspaceSlug}, b.Role
	return w.requester(w.scopes), nil
}

// reused tells whether a refresh token was used longer ago than honest retries take. Without a window any use is, also
// one in the future of a node whose clock is behind.
func (s *Server) reused(t storage.RefreshToken) bool {
	window := s.lifetimes.RefreshReuseWindow
	return !t.UsedAt.IsZero() && (window <= 0 || t.UsedAt <= s.store.Now().Add(-window))
}

// useRefreshToken uses the token shown, by the one write that decides who refreshes, and finds what follows it. After a
// first use that is what this use made, perhaps under a secret that is no longer the first here, or not yet. It looks
// after the write: by then whoever came first has committed, so that two nodes with their secrets in different orders
// give the same successor.
func (s *Server) useRefreshToken(ctx context.Context, w *work) error {
	err := s.store.UseRefreshToken(ctx, w.refresh.Refresh.Digest, s.lifetimes.RefreshReuseWindow)
	if errors.Is(err, storage.ErrConsumed) {
		return errRaced
	}
	if err != nil {
		return err
	}
	var candidates []string
	for _, random := range s.secrets.Successors(w.presented) {
		candidates = append(candidates, apikey.TextOf(bearer.PrefixRefreshToken, random))
	}
	repeated := w.refresh.Refresh.Uses > 0
	w.successor = candidates[0]
	if !repeated && len(candidates) == 1 {
		return nil
	}
	for _, text := range candidates {
		_, err := s.store.RefreshTokenByDigest(ctx, storage.Digest(text))
		if err == nil {
			w.successor = text
			return nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	if repeated {
		return badGrant(errors.New("the successor was derived under a secret that is gone; another one would fork the family"))
	}
	return nil
}

// DeleteRefreshTokenSession implements oauth2.RefreshTokenStorage. Fosite calls it on reuse, before it revokes the
// family; the row stays, as the proof.
func (adapter) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RotateRefreshToken implements oauth2.RefreshTokenStorage. Fosite calls it once the successor is made, which is too
// late to choose it: useRefreshToken has done its work.
func (adapter) RotateRefreshToken(context.Context, string, string) error { return nil }

// RevokeRefreshToken implements oauth2.TokenRevocationStorage: fosite has seen a code or refresh token used twice.
func (a adapter) RevokeRefreshToken(ctx context.Context, grantID string) error {
	w, _ := workOf(ctx)
	reason := storage.RevokedReuse
	if w.form.Get("grant_type") == GrantAuthorizationCode {
		reason = storage.RevokedCodeReuse
	}
	w.revocation = a.store.RevokeGrant(ctx, grantID, reason)
	return w.revocation
}

// RevokeAccessToken implements oauth2.TokenRevocationStorage: an access token ends with its grant.
func (adapter) RevokeAccessToken(context.Context, string) error { return nil }

// tokenStrategy gives fosite the text of tokens. A signature is the digest that storage finds a token by, or "" for
// text that cannot be one. What a token is good for, the adapter has decided by then.
type tokenStrategy struct{ *Server }

func (tokenStrategy) AuthorizeCodeSignature(_ context.Context, code string) string {
	return bearer.DigestOf(bearer.PrefixCode, code)
}

func (tokenStrategy) AccessTokenSignature(_ context.Context, token string) string {
	return bearer.DigestOf(bearer.PrefixAccessToken, token)
}

func (tokenStrategy) RefreshTokenSignature(_ context.Context, token string) string {
	return bearer.DigestOf(bearer.PrefixRefreshToken, token)
}

func (tokenStrategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (code, signature string, err error) {
	code = bearer.NewCredential(bearer.PrefixCode)
	return code, string(storage.Digest(code)), nil
}

func (t tokenStrategy) GenerateAccessToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	w, ok := workOf(ctx)
	if !ok {
		return "", "", fosite.ErrServerError
	}
	w.issuedAt = t.store.Now()
	w.expiresAt = w.issuedAt.Add(t.lifetimes.Access)
	if w.grant.ID != "" {
		w.expiresAt = min(w.expiresAt, w.grant.ExpiresAt) // nothing outlives what the person agreed to
	}
	w.expiresIn = w.expiresAt.Sub(w.issuedAt)
	if w.signer != nil {
		token, id, err := w.signer.Sign(w.accessToken())
		return token, string(storage.Digest(id)), err
	}
	token = bearer.NewCredential(bearer.PrefixAccessToken)
	return token, string(storage.Digest(token)), nil
}

func (tokenStrategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	if w, ok := workOf(ctx); ok && w.successor != "" {
		token = w.successor
	} else {
		token = bearer.NewCredential(bearer.PrefixRefreshToken)
	}
	return token, string(storage.Digest(token)), nil
}

func (tokenStrategy) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error {
	return nil
}

func (tokenStrategy) ValidateAccessToken(context.Context, fosite.Requester, string) error { return nil }

func (tokenStrategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error {
	return nil
}

// accessToken is what a signed access token says. Its signature, in fosite's sense, is the digest of its id.
func (w *work) accessToken() bearer.AccessToken {
	t := bearer.AccessToken{
		Audience: w.resource.ID, Subject: w.client.ID, ClientID: w.client.ID, IssuedAt: w.issuedAt, ExpiresAt: w.expiresAt,
		Scope:       strings.Join(w.resource.Effective(w.scopes, w.role, w.grant.ID != ""), " "),
		WorkspaceID: w.workspace.ID, Workspace: w.workspace.Slug, Role: w.role,
	}
	if w.grant.ID != "" {
		t.Subject, t.AuthTime = w.grant.UserID, w.grant.AuthTime
	}
	return t
}
