package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/storage"
)

// Introspection is the answer of RFC 7662 section 2.2. Inactive, it has no other member.
type Introspection struct {
	Active      bool   `json:"active"`
	Issuer      string `json:"iss,omitempty"`
	Audience    string `json:"aud,omitempty"`
	Subject     string `json:"sub,omitempty"`
	ClientID    string `json:"client_id,omitempty"`
	Scope       string `json:"scope,omitempty"`
	TokenType   string `json:"token_type,omitempty"`
	Credential  string `json:"credential,omitempty"`
	ExpiresAt   int64  `json:"exp,omitempty"` // Unix seconds, as are the next two
	IssuedAt    int64  `json:"iat,omitempty"`
	AuthTime    int64  `json:"auth_time,omitempty"`
	ID          string `json:"jti,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	Workspace   string `json:"workspace,omitempty"`
	Role        string `json:"role,omitempty"`
	Plan        string `json:"plan,omitempty"`
}

// Introspect serves POST /oauth/introspect (RFC 7662).
func (s *Server) Introspect(w http.ResponseWriter, r *http.Request) {
	form, err := readBody(w, r)
	if err == nil {
		err = s.introspect(w, r, form)
	}
	if err != nil {
		writeError(w, r, err)
	}
}

func (s *Server) introspect(w http.ResponseWriter, r *http.Request, form url.Values) error {
	ctx := storage.System(r.Context())
	caller, err := s.authenticateCaller(ctx, r, form)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return badRequest("token is missing.")
	}
	begin := time.Now()
	p, err := s.Principal(ctx, token)
	if err != nil && !inactive(err) {
		return err
	}
	if err != nil || !maySee(caller, p) {
		quiet(ctx, begin)
		writeJSON(w, http.StatusOK, Introspection{})
		return nil
	}
	if p.GrantID != "" && p.Kind == KindAccessToken {
		s.store.TouchGrant(p.GrantID)
	}
	Note(ctx).Subject = p.Subject
	writeJSON(w, http.StatusOK, s.describe(p))
	return nil
}

// quiet makes an answer that tells nothing wait until a millisecond after begin. A row that is there takes some
// hundredths of one longer to read than one that is not, which would tell.
func quiet(ctx context.Context, begin time.Time) {
	timer := time.NewTimer(time.Millisecond - time.Since(begin))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// authenticateCaller is client authentication where a public client, which proves nothing, is refused, and the
// challenge comes always.
func (s *Server) authenticateCaller(ctx context.Context, r *http.Request, form url.Values) (storage.Client, error) {
	caller, err := s.authenticate(ctx, r, form)
	var e *Error
	if errors.As(err, &e) && e.Code == InvalidClient {
		refused := *e
		refused.Challenge = basicChallenge
		return caller, &refused
	}
	if err == nil && caller.Public {
		return caller, &Error{Code: InvalidClient, Description: "A client without a secret may not introspect; use the credentials of a resource server.", Challenge: basicChallenge}
	}
	return caller, err
}

// inactive tells whether an error of Principal is an answer, not a failure.
func inactive(err error) bool {
	return errors.Is(err, ErrUnknown) || errors.Is(err, ErrExpired) || errors.Is(err, ErrRevoked) || errors.Is(err, ErrSuspended)
}

// maySee tells whether the caller may know anything about a credential: a client about its own tokens, a resource
// server about what can be used at its resources, which a refresh token cannot.
func maySee(caller storage.Client, p Principal) bool {
	if p.ClientID == caller.ID {
		return true
	}
	return caller.ResourceServer && p.Kind != KindRefreshToken && caller.Resources.Has(p.Audience)
}

func (s *Server) describe(p Principal) Introspection {
	i := Introspection{
		Active: true, Issuer: s.issuer, Audience: p.Audience, Subject: p.Subject, ClientID: p.ClientID, Scope: strings.Join(p.Scopes, " "),
		Credential: p.Kind, ExpiresAt: p.ExpiresAt.Unix(), IssuedAt: p.IssuedAt.Unix(), ID: p.ID,
		WorkspaceID: p.WorkspaceID, Workspace: p.Workspace, Role: p.Role, Plan: p.Plan,
	}
	if !p.AuthTime.IsZero() {
		i.AuthTime = p.AuthTime.Unix()
	}
	if p.Kind != KindRefreshToken {
		i.TokenType = "Bearer"
	}
	return i
}

// IntrospectCredential is what the server would tell a resource server, or for a refresh token its client, about a
// credential; for the command.
func (s *Server) IntrospectCredential(ctx context.Context, text string) (Introspection, error) {
	p, err := s.Principal(ctx, text)
	if err != nil {
		if inactive(err) {
			err = nil
		}
		return Introspection{}, err
	}
	return s.describe(p), nil
}
