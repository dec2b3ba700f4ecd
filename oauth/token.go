package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ory/fosite"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// Token serves POST /oauth/token (RFC 6749, section 3.2).
func (s *Server) Token(w http.ResponseWriter, r *http.Request) {
	form, err := readBody(w, r)
	s.allowOrigin(w, r, form)
	s.OfferNonce(w.Header())
	if err == nil {
		err = s.token(w, r, form)
	}
	if err != nil {
		writeError(w, r, err)
	}
}

func (s *Server) token(w http.ResponseWriter, r *http.Request, form url.Values) error {
	ctx := storage.System(r.Context())
	name := form.Get("grant_type")
	if name == "" {
		return badRequest("grant_type is missing; send " + grantsInWords() + ".")
	}
	g, known := grantOf(name)
	if !known {
		return &Error{Code: UnsupportedGrantType, Description: "grant_type must be " + grantsInWords() + "."}
	}
	LogFieldsOf(ctx).GrantType = name
	if form.Has("authorization_details") {
		return errAuthorizationDetails
	}
	// Before the client, whose assertion is then still unused if the proof lacks a nonce.
	proof, err := s.readProof(r)
	if err != nil {
		return err
	}
	client, err := s.authenticate(ctx, r, form)
	if err != nil {
		return err
	}
	x := &exchange{
		client: client.Client, form: form, proof: proof, once: &once{assertion: client.assertion, proof: proof},
	}
	return s.spendRefused(ctx, x.once, s.exchange(ctx, w, r, &g, x))
}

// exchange runs a token request of an authenticated client.
func (s *Server) exchange(
	ctx context.Context, w http.ResponseWriter, r *http.Request, g *grant, x *exchange,
) (err error) {
	client, name := &x.client, g.Name
	if !client.GrantTypes.Has(name) {
		return &Error{
			Code: UnauthorizedClient, Description: "This client is not registered for the grant type " + name + ".",
		}
	}
	if !g.oneStatement {
		err = s.clients.mayIssue(ctx, client.ID)
	}
	if errors.Is(err, storage.ErrNotFound) {
		return disabledMeanwhile()
	}
	if err != nil {
		return err
	}
	if g.admit != nil {
		if err := g.admit(s, ctx, x); err != nil {
			return err
		}
	}
	if err := g.prepare(s, x); err != nil {
		return err
	}
	resp, err := s.issue(ctx, r, g, x)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, tokenResponse{
		AccessToken: resp.GetAccessToken(), TokenType: x.tokenType(), ExpiresIn: int64(x.expiresIn.Seconds()),
		RefreshToken: extra(resp, "refresh_token"), Scope: strings.Join(x.scopes, " "),
	})
	return nil
}

// disabledMeanwhile refuses a client that was disabled or deleted after it was cached, perhaps by another process.
func disabledMeanwhile() error {
	return &Error{Code: InvalidClient, Description: clientRefused, Cause: errClientDisabled}
}

// issue has fosite run a prepared grant, and issues the tokens.
func (s *Server) issue(
	ctx context.Context, r *http.Request, g *grant, x *exchange,
) (resp fosite.AccessResponder, err error) {
	ctx = withExchange(ctx, x)
	// Fosite uses a form that is already parsed, and does not read the body again.
	r = r.WithContext(ctx)
	r.Form, r.PostForm, r.MultipartForm = x.form, x.form, nil
	ar, err := s.fosite.NewAccessRequest(ctx, r, &fositeSession{subject: x.client.ID})
	if x.revocation != nil {
		return nil, x.revocation // fosite would hide that revoking failed
	}
	if err == nil && g.finish != nil {
		err = g.finish(s, x)
	}
	if err == nil {
		err = x.checkBinding()
	}
	if err != nil {
		return nil, x.explain(s.burnCode(ctx, x, err))
	}
	if err := s.prepareJWT(ctx, x); err != nil {
		return nil, err
	}
	if g.reserve != nil {
		release, err := g.reserve(s, ctx, x)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	respond := func(ctx context.Context) (err error) {
		if g.use != nil {
			if err := g.use(s, ctx, x); err != nil {
				return err
			}
		}
		resp, err = s.fosite.NewAccessResponse(ctx, ar)
		return err
	}
	if g.oneStatement && x.proof == nil {
		err = respond(ctx)
		x.once.spent = err == nil
	} else {
		err = s.spending(ctx, x.once, respond)
	}
	if g.oneStatement && errors.Is(err, storage.ErrNotFound) {
		return nil, disabledMeanwhile()
	}
	if errors.Is(err, errRaced) {
		return nil, s.answerLostRace(ctx, x)
	}
	if err != nil {
		return nil, err
	}
	if x.grant.ID != "" {
		s.store.TouchGrant(x.grant.ID)
		if x.client.SelfRegistered() {
			s.store.TouchClient(x.client.ID)
		}
		LogFieldsOf(ctx).Subject = x.grant.UserID
	}
	return resp, nil
}

// sameResource refuses a request for a resource other than that of its grant (RFC 8707, section 2.2).
func (x *exchange) sameResource() error {
	if named := x.form.Get("resource"); named != "" && !catalog.SameResource(named, x.grant.Resource) {
		return &Error{Code: InvalidTarget, Description: "The grant is for another resource; omit the resource parameter."}
	}
	return nil
}

// prepareJWT reads what is needed to sign an access token, before the transaction that issues it. It does nothing if
// the token is opaque.
func (s *Server) prepareJWT(ctx context.Context, x *exchange) (err error) {
	if !x.resource.JWT {
		return nil
	}
	if x.grant.ID == "" && x.client.WorkspaceID != "" {
		x.workspace, err = s.store.WorkspaceByID(ctx, x.client.WorkspaceID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // just deleted, and the client with it
			return fmt.Errorf("workspace of the client: %w", err)
		}
	}
	x.signer, err = s.keyring.Signer(ctx)
	return err
}

// tokenResponse is RFC 6749, section 5.1.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
}

func extra(resp fosite.AccessResponder, name string) string {
	text, _ := resp.GetExtra(name).(string)
	return text
}

// answerLostRace answers a request that lost to another one with the same code or refresh token. A code used twice
// revokes its grant, as does a refresh token whose reuse window is over.
func (s *Server) answerLostRace(ctx context.Context, x *exchange) error {
	if x.code != nil {
		if err := s.revokeReused(ctx, x, storage.RevokedCodeReuse); err != nil {
			return err
		}
		return badGrant(
			fmt.Errorf("the code was used by another request at the same moment; its grant %s is revoked", x.grant.ID),
		)
	}
	b, err := s.store.RefreshTokenByDigest(ctx, x.refresh.Refresh.Digest)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err == nil && s.lifetimes.reused(b.Refresh, s.store.Now()) {
		if err := s.revokeReused(ctx, x, storage.RevokedReuse); err != nil {
			return err
		}
	}
	return badGrant(
		fmt.Errorf("the refresh token of the grant %s was used by another request at the same moment", x.grant.ID),
	)
}

// explain adds to a refusal the cause that only the log shows.
func (x *exchange) explain(err error) error {
	if e := asError(err); e.Code == InvalidGrant && x.cause != nil {
		told := *e
		told.Cause = x.cause
		return &told
	}
	return err
}

// quotedURI prepares an untrusted URI for a log or a page: without secrets, quoted, in ASCII, and truncated.
func quotedURI(uri string) string {
	if uri = bearer.RedactedURI(uri); len(uri) > maxShown {
		uri = strings.ToValidUTF8(uri[:maxShown], "") + "…"
	}
	return strconv.QuoteToASCII(uri)
}

const maxShown = 300 // bytes

// scopeNames splits a scope parameter (RFC 6749, section 3.3). Only the space character separates: other white space
// becomes part of a name, which no catalogue contains.
func scopeNames(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
}

// resourceFor chooses the resource of a request (RFC 8707, section 2): the one that it names, which must be one of the
// client's, or by default the client's first.
func (s *Server) resourceFor(named string, c *storage.Client) (*catalog.Resource, error) {
	if named == "" {
		if len(c.Resources) == 0 {
			return nil, &Error{
				Code: InvalidTarget, Description: "This app is not registered for any resource; register it for one.",
			}
		}
		named = c.Resources[0]
	}
	r, ok := s.catalog.Resource(named)
	if known := catalog.ContainsResource(c.Resources, named); c.SelfRegistered() && !known {
		return nil, &Error{
			Code: InvalidTarget,
			Description: "The resource is not open to clients that register themselves; ask the operator of this server to " +
				"open it, or for a client id.",
		}
	} else if !ok || !known {
		return nil, &Error{
			Code: InvalidTarget,
			Description: "This app is not registered for the resource; omit the resource parameter, or send " +
				"the identifier of a resource of this app.",
		}
	}
	return r, nil
}
