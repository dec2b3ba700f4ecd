package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Token serves POST /oauth/token (RFC 6749 section 3.2).
func (s *Server) Token(w http.ResponseWriter, r *http.Request) {
	form, err := readBody(w, r)
	s.allowOrigin(w, r, form)
	if err == nil {
		err = s.token(w, r, form)
	}
	if err != nil {
		writeError(w, r, err)
	}
}

func (s *Server) token(w http.ResponseWriter, r *http.Request, form url.Values) error {
	ctx := storage.System(r.Context())
	grant := form.Get("grant_type")
	switch {
	case grant == "":
		return badRequest("grant_type is missing; send authorization_code, refresh_token or client_credentials.")
	case !slices.Contains(grantTypes, grant):
		return &Error{Code: UnsupportedGrantType, Description: "grant_type must be authorization_code, refresh_token or client_credentials."}
	}
	Note(ctx).GrantType = grant
	client, err := s.authenticate(ctx, r, form)
	if err != nil {
		return err
	}
	if !client.GrantTypes.Has(grant) {
		return &Error{Code: UnauthorizedClient, Description: "This client is not registered for the grant type " + grant + "."}
	}
	if err := s.mayIssue(ctx, client.ID); errors.Is(err, storage.ErrNotFound) {
		return &Error{Code: InvalidClient, Description: clientRefused, Cause: errClientDisabled}
	} else if err != nil {
		return err
	}
	job := &work{client: client, form: form}
	if grant == GrantClientCredentials {
		if err := s.takeOwnRequest(ctx, client.ID); err != nil {
			return err
		}
	}
	if err := s.prepare(job, grant); err != nil {
		return err
	}
	ctx = withWork(ctx, job)
	// Fosite takes the form as it is given and does not look at the body again.
	r = r.WithContext(ctx)
	r.Form, r.PostForm, r.MultipartForm = form, form, nil
	ar, err := s.fosite.NewAccessRequest(ctx, r, &fositeSession{subject: client.ID})
	if job.revocation != nil {
		return job.revocation // fosite would hide that what had to be revoked was not
	}
	if err == nil {
		err = s.finish(job, grant)
	}
	if err != nil {
		return job.explain(s.spoil(ctx, job, err))
	}
	if err := s.prepareJWT(ctx, job); err != nil {
		return err
	}
	release, err := s.reserveToken(ctx, job, grant)
	if err != nil {
		return err
	}
	defer release()
	var resp fosite.AccessResponder
	respond := func(ctx context.Context) (err error) {
		if job.refresh != nil {
			if err := s.useRefreshToken(ctx, job); err != nil {
				return err
			}
		}
		resp, err = s.fosite.NewAccessResponse(ctx, ar)
		return err
	}
	if grant == GrantClientCredentials {
		err = respond(ctx) // one statement, which needs no transaction around it
	} else {
		err = s.store.InTx(ctx, respond)
	}
	if errors.Is(err, errRaced) {
		return s.raced(ctx, job)
	}
	if err != nil {
		return err
	}
	if job.grant.ID != "" {
		s.store.TouchGrant(job.grant.ID)
		Note(ctx).Subject = job.grant.UserID
	}
	writeJSON(w, http.StatusOK, tokenResponse{
		AccessToken: resp.GetAccessToken(), TokenType: "Bearer", ExpiresIn: int64(job.expiresIn.Seconds()),
		RefreshToken: extra(resp, "refresh_token"), Scope: strings.Join(job.scopes, " "),
	})
	return nil
}

// takeOwnRequest counts a request of a client for a token of its own, on all nodes together.
func (s *Server) takeOwnRequest(ctx context.Context, clientID string) error {
	if s.tokens.ClientRequests == 0 {
		return nil
	}
	taken, err := s.limiter.Take(ctx, "tokens:"+clientID, 1, limit.Plan{Burst: s.tokens.ClientRequests})
	if err != nil || taken.Allowed {
		return err
	}
	return &Error{
		Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: taken.RetryAfter,
		Description: fmt.Sprintf("This client asks for tokens more than %d times a minute; use each token until it expires, and wait as Retry-After says.", s.tokens.ClientRequests),
		Cause:       errors.New("more token requests a minute than tokens.client_requests allows"),
	}
}

// reserveToken makes sure that there is room for the tokens of a request; release ends the reservation.
func (s *Server) reserveToken(ctx context.Context, job *work, grant string) (release func(), err error) {
	none := func() {}
	switch {
	case grant == GrantRefreshToken && s.tokens.ClientRequests > 0:
		if ok, wait := s.refreshes.Take(job.grant.ID); !ok {
			return none, &Error{
				Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: wait,
				Description: "This grant was refreshed too often; use each access token until it expires, and wait as Retry-After says.",
				Cause:       fmt.Errorf("more than %d refreshes of one grant an hour", refreshesOfGrant.Count),
			}
		}
	case grant == GrantClientCredentials && s.tokens.ClientLive > 0:
		release, full, err := s.store.ReserveOwnToken(ctx, job.client.ID, int(s.tokens.ClientLive))
		if errors.Is(err, storage.ErrConflict) {
			return none, &Error{
				Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: max(full.Sub(s.store.Now()), time.Second),
				Description: fmt.Sprintf("This client has %d live tokens of its own, which is the most there may be; use each until it expires, or revoke those that are not needed.", s.tokens.ClientLive),
				Cause:       errors.New("as many live tokens as tokens.client_live allows"),
			}
		}
		if err != nil {
			return none, err
		}
		return release, nil
	}
	return none, nil
}

// prepareJWT finds, before the transaction that a token is issued in, what is needed to sign it; nothing where it is to be
// opaque.
func (s *Server) prepareJWT(ctx context.Context, w *work) (err error) {
	if !w.resource.JWT {
		return nil
	}
	if w.grant.ID == "" && w.client.WorkspaceID != "" {
		w.workspace, err = s.store.WorkspaceByID(ctx, w.client.WorkspaceID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) { // gone at this moment, and the client with it
			return fmt.Errorf("workspace of the client: %w", err)
		}
	}
	w.signer, err = s.keyring.Signer(ctx)
	return err
}

// tokenResponse is RFC 6749 section 5.1.
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

// prepare checks what a request must hold before fosite looks at it.
func (s *Server) prepare(job *work, grant string) error {
	form := job.form
	switch grant {
	case GrantAuthorizationCode:
		if job.presented = form.Get("code"); job.presented == "" {
			return badRequest("code is missing.")
		}
	case GrantRefreshToken:
		if job.presented = form.Get("refresh_token"); job.presented == "" {
			return badRequest("refresh_token is missing.")
		}
	case GrantClientCredentials:
		r, err := s.resourceFor(form.Get("resource"), job.client.Resources)
		if err != nil {
			return err
		}
		job.resource = r
		asked := scopeNames(form.Get("scope"))
		if len(asked) == 0 {
			for _, name := range job.client.Scopes {
				if x, ok := r.Scope(name); ok && !x.UserOnly {
					asked = append(asked, name)
				}
			}
		}
		for _, name := range asked {
			x, ok := r.Scope(name)
			if !ok || !job.client.Scopes.Has(name) {
				return &Error{Code: InvalidScope, Description: "A scope is not one that this client is registered for at the resource."}
			}
			if x.UserOnly {
				return &Error{Code: InvalidScope, Description: "A scope is for people only; get it by the authorization code grant."}
			}
			if !slices.Contains(job.scopes, name) {
				job.scopes = append(job.scopes, name)
			}
		}
		if len(job.scopes) == 0 {
			return &Error{Code: InvalidScope, Description: "This client is registered for no scope at the resource."}
		}
		form.Set("scope", strings.Join(job.scopes, " "))
		form.Set("audience", r.ID)
	}
	return nil
}

// finish applies what the request asks of a grant that fosite has found good: its resource, and fewer scopes.
func (s *Server) finish(job *work, grant string) error {
	if grant == GrantClientCredentials {
		return nil
	}
	if named := job.form.Get("resource"); named != "" && !catalog.SameResource(named, job.grant.Resource) {
		return &Error{Code: InvalidTarget, Description: "The grant is for another resource; leave the parameter out."}
	}
	asked := scopeNames(job.form.Get("scope"))
	if grant != GrantRefreshToken || len(asked) == 0 {
		return nil
	}
	// RFC 6749 section 6: fewer for the access token, never more; the refresh token keeps what was granted.
	var narrowed []string
	for _, name := range asked {
		if !slices.Contains(job.grant.Scopes, name) {
			return &Error{Code: InvalidScope, Description: "A scope goes beyond what was granted; start a new authorization for it."}
		}
		if slices.Contains(job.scopes, name) && !slices.Contains(narrowed, name) {
			narrowed = append(narrowed, name)
		}
	}
	if len(narrowed) == 0 {
		return &Error{Code: InvalidScope, Description: "Nothing of what was asked for is left of the grant; start a new authorization."}
	}
	job.scopes = narrowed
	return nil
}

// spoil consumes the code of a refused exchange where its verifier was wrong or missing: whoever shows a code without
// its proof has stolen it, or never gets further with it (RFC 9700 section 2.1.1).
func (s *Server) spoil(ctx context.Context, job *work, cause error) error {
	var f *fosite.RFC6749Error
	if job.code == nil || !errors.As(cause, &f) || asError(cause).Code == TemporarilyUnavailable {
		return cause
	}
	if sent := job.form.Get("redirect_uri"); sent != "" && sent != job.code.RedirectURI {
		return &Error{
			Code: InvalidGrant, Description: "redirect_uri is not the one of the authorization request; send the same, or none.",
			Cause: fmt.Errorf("redirect_uri %s is not the one of the authorization request, %s", quotedURI(sent), quotedURI(job.code.RedirectURI)),
		}
	}
	if err := s.store.ConsumeCode(ctx, job.code.Digest); err != nil && !errors.Is(err, storage.ErrConsumed) {
		return err
	}
	why := errors.New("code_verifier does not fit the code_challenge; the code is spent")
	switch verifier := job.form.Get("code_verifier"); {
	case verifier == "":
		why = errors.New("code_verifier is missing; the code is spent")
	case job.code.Challenge == "":
		why = errors.New("code_verifier was sent for a code that was issued without code_challenge; the code is spent")
	case len(verifier) < 43 || len(verifier) > 128:
		why = fmt.Errorf("code_verifier has %d characters instead of 43 to 128; the code is spent", len(verifier))
	}
	return &Error{Code: InvalidGrant, Description: "code_verifier does not fit the code_challenge, or is missing. The code is spent; start a new authorization.", Cause: why}
}

// raced answers a request that lost to another one with the same code or refresh token. A code used twice ends its
// family, as does a refresh token whose reuse window is over.
func (s *Server) raced(ctx context.Context, job *work) error {
	if job.code != nil {
		if err := s.store.RevokeGrant(ctx, job.grant.ID, storage.RevokedCodeReuse); err != nil {
			return err
		}
		return badGrant(fmt.Errorf("the code was used by another request at the same moment; its grant %s is revoked", job.grant.ID))
	}
	b, err := s.store.RefreshTokenByDigest(ctx, job.refresh.Refresh.Digest)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err == nil && s.reused(b.Refresh) {
		if err := s.store.RevokeGrant(ctx, job.grant.ID, storage.RevokedReuse); err != nil {
			return err
		}
	}
	return badGrant(fmt.Errorf("the refresh token of the grant %s was used by another request at the same moment", job.grant.ID))
}

// explain puts the true cause of a refusal beside what the client is told.
func (w *work) explain(err error) error {
	if e := asError(err); e.Code == InvalidGrant && w.cause != nil {
		told := *e
		told.Cause = w.cause
		return &told
	}
	return err
}

// quotedURI is a URI that a stranger sent, fit for a log or a page: without secrets, quoted, in ASCII, and cut.
func quotedURI(uri string) string {
	if uri = bearer.RedactedURI(uri); len(uri) > maxShown {
		uri = strings.ToValidUTF8(uri[:maxShown], "") + "…"
	}
	return strconv.QuoteToASCII(uri)
}

const maxShown = 300 // bytes

// scopeNames splits a scope parameter (RFC 6749 section 3.3). Spaces alone separate: what other space there is belongs
// to a name, which no catalogue holds then.
func scopeNames(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
}

// resourceFor chooses the resource of a request (RFC 8707 section 2): the one named, which must be the client's, or
// the client's first.
func (s *Server) resourceFor(named string, clients []string) (*catalog.Resource, error) {
	if named == "" {
		if len(clients) == 0 {
			return nil, &Error{Code: InvalidTarget, Description: "This app is registered for no resource; register it for one."}
		}
		named = clients[0]
	}
	r, ok := s.catalog.Resource(named)
	if !ok || !catalog.ContainsResource(clients, named) {
		return nil, &Error{Code: InvalidTarget, Description: "The resource is not one that this app is registered for; leave the parameter out, or send the identifier of a resource of this app."}
	}
	return r, nil
}
