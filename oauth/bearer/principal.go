package bearer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Principal is the caller that a credential identifies, and its current permissions.
type Principal struct {
	Kind string
	// Subject is the user, or with client_credentials the client (RFC 9068, section 2.2). For a foreign JWT it is a name
	// that combines issuer and subject, and for an API key it is empty.
	Subject       string
	UserID        string // empty without a user
	ClientID      string
	Audience      string   // id of the resource
	Scopes        []string // effective: including implied ones, within the role
	Objects       []string // of the resource
	OwnScopes     []string // of a personal access token: effective on its user's own account, outside workspaces
	ByObject      bool     // the scopes were given as an object of lists
	ID            string   // identifies the token without revealing it (RFC 7519, section 4.1.7)
	KeyID         string   // of an API key or personal access token
	CreatedBy     string   // of an API key: the user who created it; empty: the CLI, or unknown
	GrantID       string   // of a token that a user authorized; otherwise empty
	WorkspaceID   string
	Workspace     string   // slug of the workspace that it acts in; empty: none
	WorkspacePlan string   // name of the workspace's own plan, which need not be the one that applies; empty: none
	Role          string   // effective role in the workspace; empty without a user or a workspace
	TokenRole     string   // of a personal access token: the highest role that it may act with; empty: its user's
	Environment   string   // live or test, of an API key
	Addresses     []string // ranges from which the credential may be used; empty: any
	Plan          string   // name; empty: none
	Limits        limit.Plan
	Counter       string       // the name under which limits count it
	DPoPKey       string       // thumbprint of the key with which its use must be proven (RFC 9449); empty: a bearer token
	AuthTime      storage.Time // zero without a user
	IssuedAt      storage.Time
	ExpiresAt     storage.Time // zero: never
	// ForeignIssuer and ForeignSubject are iss and sub of a foreign JWT, whose subject is not a user of this server.
	ForeignIssuer, ForeignSubject string
}

// Has reports whether the principal's scopes cover scope.
func (p *Principal) Has(scope string) bool { return catalog.Covers(p.Scopes, scope, p.Objects) }

// AllowedFrom reports whether the credential may be used from an address.
func (p *Principal) AllowedFrom(a netip.Addr) bool {
	return len(p.Addresses) == 0 || slices.ContainsFunc(p.Addresses, func(credential string) bool {
		prefix, err := netip.ParsePrefix(credential)
		return err == nil && prefix.Contains(a.Unmap())
	})
}

// The reasons why a credential is refused.
var (
	// ErrUnknown means that the value is not a credential of this server, or that the credential was deleted. Errors that
	// wrap it say why, for the operator only.
	ErrUnknown = errors.New("unknown credential")
	// ErrExpired means that the credential has expired.
	ErrExpired = errors.New("expired credential")
	// ErrRevoked means that the credential was revoked or used up.
	ErrRevoked = errors.New("revoked credential")
	// ErrSuspended means that the credential's client, user or workspace is disabled, or that the key is paused.
	ErrSuspended = errors.New("credential of a disabled client, user or workspace")
	// ErrWorkspace means that the credential may not act in the named workspace. It does not reveal whether that workspace
	// exists.
	ErrWorkspace = errors.New("the credential has no access to this workspace")
)

// Inactive reports whether an error of Verifier.Principal means that the credential is not active (RFC 7662, section
// 2.2), and not that the check failed.
func Inactive(err error) bool {
	return errors.Is(err, ErrUnknown) || errors.Is(err, ErrExpired) || errors.Is(err, ErrRevoked) ||
		errors.Is(err, ErrSuspended) || errors.Is(err, ErrWorkspace)
}

// unknown wraps ErrUnknown with the cause, for the log and the CLI. Callers get the same answer for every cause.
func unknown(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnknown, fmt.Sprintf(format, args...))
}

// errRemoved is the error for a credential of a resource that was removed from the configuration.
func errRemoved(resource string) error {
	return unknown("its resource %s is no longer in the configuration", Quoted(resource))
}

// Quoted quotes an untrusted value for a sentence, without credentials, and truncated if it is long.
func Quoted(credential string) string { return strconv.Quote(input.Shorten(Redacted(credential))) }

// Audience is where a credential is used. The zero value means that this is not known.
type Audience struct {
	Resources []string // ids; their trusted issuers verify foreign JWTs
	Workspace string   // slug that the request names
	Named     bool     // the request names a workspace, perhaps with an empty slug, which matches none
}

// Principal returns the caller that a credential identifies. Every check of a credential goes through it. If at names a
// workspace, it must be the credential's own; a personal access token acts in the named workspace, and without one it
// has no role. The caller of Principal must check that p.Audience is the resource at which the credential is used. The
// errors are ErrUnknown, ErrExpired, ErrRevoked, ErrSuspended and ErrWorkspace, with the known fields of p, or wrap
// storage.ErrUnavailable. A refresh token has a Principal too: it cannot be used at a resource, but its client may
// introspect it.
func (v *Verifier) Principal(ctx context.Context, credential string, at Audience) (p Principal, err error) {
	ctx = storage.System(ctx)
	p, err = kindOf(credential).verify(v, ctx, credential, at)
	if r, ok := v.catalog.Resource(p.Audience); ok {
		p.Objects = r.Objects
	}
	if err == nil && (at.Named && at.Workspace == "" || at.Workspace != "" && p.Workspace != at.Workspace) {
		err = ErrWorkspace
	}
	return p, err
}

// keyPrincipal returns the caller that an API key or a personal access token identifies.
func (v *Verifier) keyPrincipal(ctx context.Context, credential string, at Audience) (Principal, error) {
	b, status, err := v.keys.Verify(ctx, credential, at.Workspace)
	switch {
	case err != nil:
		return Principal{}, err
	case status == apikey.Unknown && apikey.PrefixOf(credential) == "":
		return Principal{}, unknown(
			"it does not have the form of a token or key of this server, or was changed or truncated when it was copied",
		)
	case status == apikey.Unknown:
		return Principal{}, unknown(
			"no API key or personal access token of this database matches; it may belong to another server, or " +
				"was deleted",
		)
	}
	k := &b.Key
	p := Principal{
		Kind: k.Kind, Subject: k.UserID, UserID: k.UserID, Audience: k.Resource, ID: k.ID, KeyID: k.ID,
		WorkspaceID: b.WorkspaceID, Workspace: b.WorkspaceSlug, WorkspacePlan: b.WorkspacePlan,
		ByObject: k.ScopesByObject, Environment: k.Environment, Addresses: k.Addresses, IssuedAt: k.CreatedAt,
		ExpiresAt: k.ExpiresAt, CreatedBy: k.CreatedBy,
	}
	r, known := v.catalog.Resource(k.Resource)
	switch status {
	case apikey.Expired:
		return p, ErrExpired
	case apikey.Revoked:
		return p, ErrRevoked
	case apikey.Paused, apikey.Suspended:
		return p, ErrSuspended
	case apikey.Unknown, apikey.Good:
	}
	if !known {
		return p, errRemoved(k.Resource)
	}
	p.Audience = r.ID
	if k.Kind == KindPersonalAccessToken {
		p.TokenRole, p.OwnScopes = k.Role, r.Effective(k.Scopes, k.Role, true)
		p.Plan, p.Limits = v.catalog.PlanOf(b.WorkspacePlan, r.UserPlan)
		p.Counter = userCounter(k.UserID, r.ID)
		// The token's role limits that of its user. Without a workspace there is no role, and the scopes are those that the
		// token has in every workspace of its user.
		least := b.LowestRole
		if b.Role != "" {
			p.Role = catalog.LowerRole(b.Role, k.Role)
			least = b.Role
		}
		if least != "" {
			p.Scopes = r.Effective(k.Scopes, catalog.LowerRole(least, k.Role), true)
		}
		return p, nil
	}
	p.Plan, p.Limits = v.keys.Plan(k, b.WorkspacePlan)
	p.Counter = keyCounter(k)
	if k.Scopes.Has(catalog.ScopeIntrospect) && k.WorkspaceID == "" { // it can introspect for all workspaces
		p.Scopes, p.Plan, p.Limits = []string{catalog.ScopeIntrospect}, "", limit.Plan{}
		return p, nil
	}
	p.Scopes = r.Effective(k.Scopes, "", false)
	return p, nil
}

// keyCounter returns the counter of an API key, which is also that of the key that it replaced.
func keyCounter(k *storage.APIKey) string { return "key:" + k.Counter }

// userCounter returns the one counter of all of a user's tokens at a resource.
func userCounter(userID, resource string) string { return "user:" + userID + ":" + resource }

func (v *Verifier) accessTokenPrincipal(ctx context.Context, credential string, _ Audience) (Principal, error) {
	digest := DigestOf(PrefixAccessToken, credential)
	if digest == "" {
		return Principal{}, unknown("it starts like an access token, but was changed or truncated when it was copied")
	}
	b, err := v.accessToken(ctx, []byte(digest))
	if err != nil {
		return Principal{}, unknownOr(
			err, "no access token of this database matches; it may belong to another server, or have expired long ago",
		)
	}
	// Part of a digest of 256 random bits identifies the token and reveals nothing about it.
	return v.accessPrincipal(b, hex.EncodeToString([]byte(digest[:16])))
}

// accessPrincipal returns the caller that an access token of either format identifies; id is the token's.
func (v *Verifier) accessPrincipal(b storage.Bearer, id string) (Principal, error) {
	t := b.Access
	p := Principal{
		Kind: KindAccessToken, Audience: t.Resource, ID: id, IssuedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
		DPoPKey: t.DPoPKey,
	}
	if !t.RevokedAt.IsZero() {
		return p, ErrRevoked
	}
	return v.tokenPrincipal(p, b, t.ClientID, t.Scopes)
}

func (v *Verifier) refreshTokenPrincipal(ctx context.Context, credential string, _ Audience) (Principal, error) {
	digest := DigestOf(PrefixRefreshToken, credential)
	if digest == "" {
		return Principal{}, unknown("it starts like a refresh token, but was changed or truncated when it was copied")
	}
	b, err := v.store.RefreshTokenByDigest(ctx, []byte(digest))
	if err != nil {
		return Principal{}, unknownOr(
			err, "no refresh token of this database matches; it may belong to another server, or have expired long ago",
		)
	}
	t := b.Refresh
	p := Principal{
		Kind: KindRefreshToken, Audience: b.Grant.Resource, ID: hex.EncodeToString([]byte(digest[:16])),
		IssuedAt: t.CreatedAt, ExpiresAt: min(t.ExpiresAt, b.Grant.ExpiresAt),
	}
	if !t.UsedAt.IsZero() {
		return p, ErrRevoked
	}
	return v.tokenPrincipal(p, b, b.Grant.ClientID, b.Grant.Scopes)
}

func unknownOr(err error, why string) error {
	if errors.Is(err, storage.ErrNotFound) {
		return unknown("%s", why)
	}
	return err
}

// tokenPrincipal makes the checks that access and refresh tokens share.
func (v *Verifier) tokenPrincipal(p Principal, b storage.Bearer, clientID string, scopes []string) (Principal, error) {
	person := b.Grant.ID != ""
	p.ClientID, p.Subject, p.GrantID = clientID, clientID, b.Grant.ID
	p.WorkspaceID, p.Workspace, p.WorkspacePlan, p.Role = b.WorkspaceID, b.WorkspaceSlug, b.WorkspacePlan, b.Role
	if person {
		p.Subject, p.UserID, p.AuthTime = b.Grant.UserID, b.Grant.UserID, b.Grant.AuthTime
	}
	if err := v.whyInactive(p.ExpiresAt, &b); err != nil {
		return p, err
	}
	r, known := v.catalog.Resource(p.Audience)
	if !known {
		return p, errRemoved(p.Audience)
	}
	p.Audience, p.Scopes = r.ID, r.Effective(scopes, p.Role, person)
	if person && !slices.Equal(scopes, []string(b.Grant.Scopes)) {
		// Scopes that the grant lost after the token was issued are lost to the token too.
		if p.Scopes = r.CoveredBy(
			p.Scopes, b.Grant.Scopes,
		); len(p.Scopes) == 0 &&
			len(r.CoveredBy(scopes, b.Grant.Scopes)) == 0 {
			return p, ErrRevoked
		}
	}
	if person {
		p.Plan, p.Limits = v.catalog.PlanOf(b.WorkspacePlan, r.UserPlan)
		p.Counter = userCounter(p.UserID, r.ID)
	} else {
		p.Plan, p.Limits = v.catalog.PlanOf(r.ClientPlan)
		p.Counter = "client:" + clientID + ":" + r.ID
	}
	return p, nil
}

// whyInactive returns why a token is not active, apart from its own revocation; nil: it is active.
func (v *Verifier) whyInactive(expiry storage.Time, b *storage.Bearer) error {
	switch {
	case !b.Grant.RevokedAt.IsZero():
		return ErrRevoked
	case expiry <= v.store.Now():
		return ErrExpired
	case b.ClientDisabled, b.UserDisabled, b.WorkspaceDisabled:
		return ErrSuspended
	case b.Grant.ID != "" && b.Role == "":
		return ErrRevoked // the user left the workspace
	}
	return nil
}

// jwtPrincipal returns the caller that a JWT identifies, one of ours or of a trusted issuer.
func (v *Verifier) jwtPrincipal(ctx context.Context, credential string, at Audience) (Principal, error) {
	t, err := parseJWT(credential)
	if err != nil {
		return Principal{}, err
	}
	if t.issuer != v.issuer {
		return v.foreignPrincipal(ctx, t, at.Resources)
	}
	c, err := v.keyring.verify(ctx, t)
	if err != nil {
		return Principal{}, err
	}
	b, err := v.accessToken(ctx, storage.Digest(c.ID))
	if err != nil {
		return Principal{}, unknownOr(
			err,
			"the access token is not in the database: it expired long ago, or its app, user or authorization was "+
				"deleted",
		)
	}
	if c.Audience != b.Access.Resource || c.ClientID != b.Access.ClientID {
		return Principal{}, unknown("the claims of the JWT differ from those of the access token that was issued")
	}
	p, err := v.accessPrincipal(b, c.ID)
	if err == nil && c.Expired(v.store.Now().Time()) {
		err = ErrExpired
	}
	return p, err
}
