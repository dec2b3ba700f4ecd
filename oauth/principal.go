package oauth

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"doorward/storage"
)

// Kinds of credentials, as introspection and the gateway name them.
const (
	KindAccessToken  = "access_token"
	KindRefreshToken = "refresh_token"
)

// Principal is who stands behind a credential, and what it may do now.
type Principal struct {
	Kind        string
	Subject     string // the user, or with client_credentials the client (RFC 9068 section 2.2)
	ClientID    string
	Audience    string   // id of the resource
	Scopes      []string // effective: with what they imply, within the role
	ID          string   // names the token without showing it (RFC 7519 section 4.1.7)
	GrantID     string   // empty for client_credentials
	WorkspaceID string
	Workspace   string // slug
	Role        string // effective role in the workspace; empty without a user
	Plan        string
	AuthTime    storage.Time // zero without a user
	IssuedAt    storage.Time
	ExpiresAt   storage.Time
}

// Why a credential is good for nothing.
var (
	// ErrUnknown says that the text never was a credential of this server, or is forgotten.
	ErrUnknown = errors.New("unknown credential")
	// ErrExpired says that its time is over.
	ErrExpired = errors.New("expired credential")
	// ErrRevoked says that it was revoked or used up.
	ErrRevoked = errors.New("revoked credential")
	// ErrSuspended says that its client, user or workspace is disabled.
	ErrSuspended = errors.New("credential of a disabled client, user or workspace")
)

// Principal turns the text of a credential into who it speaks for. It is the one judge of every credential. The
// errors are those above, or wrap storage.ErrUnavailable. A refresh token has a Principal too: it may not be used at
// a resource, but its client may ask about it.
func (s *Server) Principal(ctx context.Context, credential string) (Principal, error) {
	ctx = storage.System(ctx)
	switch {
	case strings.HasPrefix(credential, PrefixAccessToken):
		return s.accessTokenPrincipal(ctx, credential)
	case strings.HasPrefix(credential, PrefixRefreshToken):
		return s.refreshTokenPrincipal(ctx, credential)
	}
	return Principal{}, ErrUnknown
}

func (s *Server) accessTokenPrincipal(ctx context.Context, text string) (Principal, error) {
	digest := digestOf(PrefixAccessToken, text)
	if digest == "" {
		return Principal{}, ErrUnknown
	}
	b, err := s.store.AccessTokenByDigest(ctx, []byte(digest))
	if err != nil {
		return Principal{}, unknownOr(err)
	}
	t := b.Access
	p := Principal{Kind: KindAccessToken, Audience: t.Resource, IssuedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
	if !t.RevokedAt.IsZero() {
		return p, ErrRevoked
	}
	return s.judge(p, b, t.ClientID, t.Scopes, []byte(digest))
}

func (s *Server) refreshTokenPrincipal(ctx context.Context, text string) (Principal, error) {
	digest := digestOf(PrefixRefreshToken, text)
	if digest == "" {
		return Principal{}, ErrUnknown
	}
	b, err := s.store.RefreshTokenByDigest(ctx, []byte(digest))
	if err != nil {
		return Principal{}, unknownOr(err)
	}
	t := b.Refresh
	p := Principal{Kind: KindRefreshToken, Audience: b.Grant.Resource, IssuedAt: t.CreatedAt, ExpiresAt: min(t.ExpiresAt, b.Grant.ExpiresAt)}
	if !t.UsedAt.IsZero() {
		return p, ErrRevoked
	}
	return s.judge(p, b, b.Grant.ClientID, b.Grant.Scopes, []byte(digest))
}

func unknownOr(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return ErrUnknown
	}
	return err
}

// judge decides what both kinds of tokens have in common.
func (s *Server) judge(p Principal, b storage.Bearer, clientID string, scopes []string, digest []byte) (Principal, error) {
	person := b.Grant.ID != ""
	p.ClientID, p.Subject, p.GrantID = clientID, clientID, b.Grant.ID
	p.WorkspaceID, p.Workspace, p.Plan, p.Role = b.WorkspaceID, b.WorkspaceSlug, b.WorkspacePlan, b.Role
	// Part of a digest of 256 random bits names the token and tells nothing about it.
	p.ID = hex.EncodeToString(digest[:16])
	if person {
		p.Subject, p.AuthTime = b.Grant.UserID, b.Grant.AuthTime
	}
	r, known := s.Resource(p.Audience)
	switch {
	case !b.Grant.RevokedAt.IsZero():
		return p, ErrRevoked
	case p.ExpiresAt <= s.store.Now():
		return p, ErrExpired
	case b.ClientDisabled, b.UserDisabled, b.WorkspaceDisabled:
		return p, ErrSuspended
	case person && b.Role == "":
		return p, ErrRevoked // the user left the workspace
	case !known:
		return p, ErrUnknown // the resource is no longer in the configuration
	}
	p.Scopes = r.Effective(scopes, p.Role, person)
	return p, nil
}
