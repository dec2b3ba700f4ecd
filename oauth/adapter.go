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

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/storage"
)

// exchange is the state of one authorization or token request. It travels in the context through fosite, whose storage
// interfaces see only signatures, so that each row is read once and checked against the client of the request.
type exchange struct {
	client     storage.Client
	redirect   string            // authorize: the redirect URI that matched
	grant      storage.Grant     // authorize: to be created; token: found
	challenge  string            // authorize
	form       url.Values        // token: the request
	presented  string            // token: the code or refresh token presented
	code       *storage.Code     // token: found and usable
	refresh    *storage.Bearer   // token: found and usable
	successor  string            // token: the successor of the refresh token presented
	resource   *catalog.Resource // of the access token
	revocation error             // revoking a grant failed
	cause      error             // why the code or refresh token is refused; for the log
	scopes     []string          // of the access token
	issuedAt   storage.Time      // of the access token, as are the next two
	expiresAt  storage.Time
	expiresIn  time.Duration
	signer     *bearer.Signer // of the access token; nil: it is opaque
	proof      *dpop.Proof    // token: the DPoP proof of the request; nil: there is none
	once       *once          // token: what counts once
	dpopKeyOf  string         // authorize: the key that the code is bound to (dpop_jkt)
	workspace  storage.Workspace
	role       string // in the workspace; empty without a user
}

// setCause records for the log why a code or refresh token is refused. The client is not told.
func (x *exchange) setCause(format string, args ...any) { x.cause = fmt.Errorf(format, args...) }

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) (*exchange, bool) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	return x, ok
}

// fositeClient is the client as fosite sees it in this request.
func (x *exchange) fositeClient() fosite.Client {
	c := &fosite.DefaultClient{
		ID: x.client.ID, Public: x.client.Public, RedirectURIs: x.client.RedirectURIs, GrantTypes: x.client.GrantTypes,
		ResponseTypes: []string{"code"}, Scopes: x.client.Scopes, Audience: x.client.Resources,
	}
	if x.redirect != "" {
		// ParseAuthorize has matched it; fosite's own matching is looser for loopback addresses and stricter for localhost.
		c.RedirectURIs = []string{x.redirect}
	}
	return c
}

// errRaced means that another request used the code or refresh token after this one read it.
var errRaced = errors.New("used by another request")

// adapter is fosite's storage. It does not implement fosite's storage.Transactional: issue and Approve wrap each
// response in one transaction, and writes that must survive a refusal run outside it.
type adapter struct {
	server    *Server
	store     *storage.Store
	catalog   *catalog.Catalog
	lifetimes Lifetimes
}

// GetClient implements fosite.ClientManager with the client that the exchange already holds.
func (a adapter) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	x, ok := exchangeOf(ctx)
	if !ok || x.client.ID != id {
		return nil, fosite.ErrNotFound
	}
	return x.fositeClient(), nil
}

// ClientAssertionJWTValid implements fosite.ClientManager; authenticate has checked the assertion.
func (adapter) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }

// SetClientAssertionJWT implements fosite.ClientManager; authenticate has checked the assertion.
func (adapter) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// requester rebuilds, from the grant, the authorization request that fosite continues.
func (x *exchange) requester(scopes []string) fosite.Requester {
	r := fosite.NewRequest()
	r.ID = x.grant.ID
	r.Client = x.fositeClient()
	r.RequestedScope, r.GrantedScope = scopes, scopes
	r.RequestedAudience, r.GrantedAudience = []string{x.grant.Resource}, []string{x.grant.Resource}
	r.Session = &fositeSession{subject: x.grant.UserID}
	return r
}

// narrow sets the resource and scopes that an access token of the grant may have now: those granted, less any that the
// client, the catalogue or the user's role has lost since.
func (a adapter) narrow(x *exchange, role string) error {
	r, ok := a.catalog.Resource(x.grant.Resource)
	if !ok || !catalog.ContainsResource(x.client.Resources, r.ID) {
		return badGrant(errors.New("the grant's resource is gone from the configuration or the client"))
	}
	x.resource, x.scopes = r, nil
	capped := r.Effective(x.grant.Scopes, role, true)
	for _, name := range x.grant.Scopes {
		if mayRequest(&x.client, r, name) && slices.Contains(capped, name) {
			x.scopes = append(x.scopes, name)
		}
	}
	if len(x.scopes) == 0 {
		return badGrant(errors.New("no scope of the grant is left"))
	}
	return nil
}

// CreateAccessTokenSession implements oauth2.AccessTokenStorage.
func (a adapter) CreateAccessTokenSession(ctx context.Context, signature string, _ fosite.Requester) error {
	x, _ := exchangeOf(ctx)
	t := storage.AccessToken{
		Digest:    []byte(signature),
		GrantID:   x.grant.ID,
		ClientID:  x.client.ID,
		Resource:  x.resource.ID,
		Scopes:    x.scopes,
		CreatedAt: x.issuedAt,
		ExpiresAt: x.expiresAt,
		DPoPKey:   x.dpopKey(),
	}
	switch {
	case x.grant.ID != "":
		return a.store.InsertAccessToken(ctx, t)
	case x.proof != nil || x.once.assertion == nil:
		return a.store.InsertOwnAccessToken(ctx, t)
	}
	err := a.store.InsertOwnAccessTokenOnce(ctx, t, *x.once.assertion)
	if errors.Is(err, storage.ErrConsumed) {
		return errAssertionUsed
	}
	return err
}

// GetAccessTokenSession implements oauth2.AccessTokenStorage; no handler in use calls it.
func (adapter) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// DeleteAccessTokenSession implements oauth2.AccessTokenStorage; no handler in use calls it.
func (adapter) DeleteAccessTokenSession(context.Context, string) error { return nil }

// RevokeRefreshToken implements oauth2.TokenRevocationStorage: fosite has seen a code or refresh token used twice.
func (a adapter) RevokeRefreshToken(ctx context.Context, grantID string) error {
	x, _ := exchangeOf(ctx)
	reason := storage.RevokedReuse
	if x.form.Get("grant_type") == GrantAuthorizationCode {
		reason = storage.RevokedCodeReuse
	}
	if grantID == x.grant.ID { // as it always is
		x.revocation = a.server.revokeReused(ctx, x, reason)
	}
	return x.revocation
}

// RevokeAccessToken implements oauth2.TokenRevocationStorage: an access token ends with its grant.
func (adapter) RevokeAccessToken(context.Context, string) error { return nil }

// tokenStrategy generates tokens for fosite. A signature is the digest by which storage finds a token, or "" for a
// value that cannot be a token. Validation always succeeds, since the adapter has checked the token by then.
type tokenStrategy struct {
	store     *storage.Store
	lifetimes Lifetimes
}

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

func (t tokenStrategy) GenerateAccessToken(
	ctx context.Context, _ fosite.Requester,
) (token, signature string, err error) {
	x, ok := exchangeOf(ctx)
	if !ok {
		return "", "", fosite.ErrServerError
	}
	x.issuedAt = t.store.Now()
	x.expiresAt = x.issuedAt.Add(t.lifetimes.Access)
	if x.grant.ID != "" {
		x.expiresAt = min(x.expiresAt, x.grant.ExpiresAt) // no token outlives the user's grant
	}
	x.expiresIn = x.expiresAt.Sub(x.issuedAt)
	if x.signer != nil {
		token, id, err := x.signer.Sign(x.accessToken())
		return token, string(storage.Digest(id)), err
	}
	token = bearer.NewCredential(bearer.PrefixAccessToken)
	return token, string(storage.Digest(token)), nil
}

func (tokenStrategy) GenerateRefreshToken(
	ctx context.Context, _ fosite.Requester,
) (token, signature string, err error) {
	if x, ok := exchangeOf(ctx); ok && x.successor != "" {
		token = x.successor
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

// accessToken returns the claims of a signed access token. Its signature, in fosite's sense, is the digest of its id.
func (x *exchange) accessToken() bearer.AccessToken {
	t := bearer.AccessToken{
		Audience: x.resource.ID, Subject: x.client.ID, ClientID: x.client.ID, IssuedAt: x.issuedAt,
		ExpiresAt: x.expiresAt, Scope: strings.Join(x.resource.Effective(x.scopes, x.role, x.grant.ID != ""), " "),
		WorkspaceID: x.workspace.ID, Workspace: x.workspace.Slug, Role: x.role,
	}
	t.DPoPKey = x.dpopKey()
	if x.grant.ID != "" {
		t.Subject, t.AuthTime = x.grant.UserID, x.grant.AuthTime
	}
	return t
}
