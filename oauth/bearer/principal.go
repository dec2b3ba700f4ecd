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
	// Subject is the user, or with client_credentials the client (RFC 9068, section 2.2); of a foreign JWT a name for
	// issuer and subject together; empty for an API key.
	Subject       string
	UserID        string // empty without a person
	ClientID      string
	Audience      string   // id of the resource
	Scopes        []string // effective: with what they imply, within the role
	Objects       []string // of the resource
	OwnScopes     []string // of a personal access token: effective on what is its user's own, in no workspace
	ByObject      bool     // the scopes were given as an object of lists
	ID            string   // names the token without showing it (RFC 7519, section 4.1.7)
	KeyID         string   // of an API key or personal access token
	CreatedBy     string   // of an API key: the user behind it; empty: the CLI, or not known
	GrantID       string   // empty but for tokens of an authorization
	WorkspaceID   string
	Workspace     string   // slug; empty: acts in none
	WorkspacePlan string   // name of the workspace\'s own plan, which need not be the one that counts; empty: none
	Role          string   // effective role in the workspace; empty without a user or a workspace
	TokenRole     string   // the most that a personal access token may be as it says itself; empty: no bound
	Environment   string   // live or test, of an API key
	Addresses     []string // ranges that the credential may come from; empty: any
	Plan          string   // name; empty: none
	Limits        limit.Plan
	Counter       string       // what limits count it as
	AuthTime      storage.Time // zero without a user
	IssuedAt      storage.Time
	ExpiresAt     storage.Time // zero: never
	// ForeignIssuer and ForeignSubject are iss and sub of a foreign JWT, whose subject is not a user of this server.
	ForeignIssuer, ForeignSubject string
}

// Has reports whether the principal's scopes cover one.
func (p *Principal) Has(scope string) bool { return catalog.Covers(p.Scopes, scope, p.Objects) }

// AllowedFrom reports whether the credential may be used from an address.
func (p *Principal) AllowedFrom(a netip.Addr) bool {
	return len(p.Addresses) == 0 || slices.ContainsFunc(p.Addresses, func(text string) bool {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Contains(a.Unmap())
	})
}

// Why a credential is refused.
var (
	// ErrUnknown says that the text is not a credential of this server, or was deleted. Errors that wrap it say why,
	// for the operator alone.
	ErrUnknown = errors.New("unknown credential")
	// ErrExpired says that its time is over.
	ErrExpired = errors.New("expired credential")
	// ErrRevoked says that it was revoked or used up.
	ErrRevoked = errors.New("revoked credential")
	// ErrSuspended says that its client, user or workspace is disabled, or that the key is paused.
	ErrSuspended = errors.New("credential of a disabled client, user or workspace")
	// ErrWorkspace says that the workspace that was named is not one in which the credential may act. It does not tell
	// whether there is such a workspace.
	ErrWorkspace = errors.New("not a workspace of this credential")
)

// unknown is ErrUnknown with what is wrong, for the log and the CLI. The caller gets the same sentence for all.
func unknown(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnknown, fmt.Sprintf(format, args...))
}

// errRemoved is why a credential of a resource that was removed is unknown.
func errRemoved(resource string) error {
	return unknown("its resource %s is no longer in the configuration", Quoted(resource))
}

// Quoted is what a stranger sent, quoted for a sentence: without credentials, and cut where it is long.
func Quoted(text string) string { return strconv.Quote(input.Shorten(Redacted(text))) }

// Audience is where a credential is used. The zero value says nothing about it.
type Audience struct {
	Resources []string // ids; the credential may be for one of them; foreign JWTs are verified by their trusted issuers
	Workspace string   // slug of the one that is named
	Named     bool     // a workspace is named, also where its slug is empty, which no workspace has
}

// Principal identifies the caller by a credential. It is the only judge of credentials. Where a workspace
// is named it must be the credential's; a personal access token acts in the one that is named, and has no role without
// one. The caller compares whether the credential is for the resource at which it is used. The errors are those above,
// with what is known of the credential, or wrap storage.ErrUnavailable. A refresh token has a Principal too: it may not
// be used at a resource, but its client may introspect it.
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

// keyPrincipal is the caller that an API key or a personal access token identifies.
func (v *Verifier) keyPrincipal(ctx context.Context, text string, at Audience) (Principal, error) {
	b, status, err := v.keys.Verify(ctx, text, at.Workspace)
	switch {
	case err != nil:
		return Principal{}, err
	case status == apikey.Unknown && apikey.PrefixOf(text) == "":
		return Principal{}, unknown(
			"it does not have the form of a token or key of this server, or was changed or cut when it was copied",
		)
	case status == apikey.Unknown:
		return Principal{}, unknown(
			"no API key or personal access token of this database matches; it may be of another server, or " +
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
		// The role that the token is held to bounds the user's own and is none by itself. Without a workspace there is
		// no role, and the scopes are those that the token has in every workspace of its user.
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
	if k.Scopes.Has(catalog.ScopeIntrospect) && k.WorkspaceID == "" { // it would see the credentials of every workspace
		p.Scopes, p.Plan, p.Limits = []string{catalog.ScopeIntrospect}, "", limit.Plan{}
		return p, nil
	}
	p.Scopes = r.Effective(k.Scopes, "", false)
	return p, nil
}

// keyCounter is what an API key is counted as: the same as what it took the place of.
func keyCounter(k *storage.APIKey) string { return "key:" + k.Counter }

// userCounter is what a user's tokens at a resource are counted as, however many there are.
func userCounter(userID, resource string) string { return "user:" + userID + ":" + resource }

func (v *Verifier) accessTokenPrincipal(ctx context.Context, text string, _ Audience) (Principal, error) {
	digest := DigestOf(PrefixAccessToken, text)
	if digest == "" {
		return Principal{}, unknown("it starts like an access token and was changed or cut when it was copied")
	}
	b, err := v.store.AccessTokenByDigest(ctx, []byte(digest))
	if err != nil {
		return Principal{}, unknownOr(
			err, "no access token of this database matches; it may be of another server, or expired long ago",
		)
	}
	// Part of a digest of 256 random bits names the token and tells nothing about it.
	return v.accessPrincipal(b, hex.EncodeToString([]byte(digest[:16])))
}

// accessPrincipal is who stands behind an access token of either form; id names it.
func (v *Verifier) accessPrincipal(b storage.Bearer, id string) (Principal, error) {
	t := b.Access
	p := Principal{Kind: KindAccessToken, Audience: t.Resource, ID: id, IssuedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
	if !t.RevokedAt.IsZero() {
		return p, ErrRevoked
	}
	return v.tokenPrincipal(p, b, t.ClientID, t.Scopes)
}

func (v *Verifier) refreshTokenPrincipal(ctx context.Context, text string, _ Audience) (Principal, error) {
	digest := DigestOf(PrefixRefreshToken, text)
	if digest == "" {
		return Principal{}, unknown("it starts like a refresh token and was changed or cut when it was copied")
	}
	b, err := v.store.RefreshTokenByDigest(ctx, []byte(digest))
	if err != nil {
		return Principal{}, unknownOr(
			err, "no refresh token of this database matches; it may be of another server, or expired long ago",
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

// tokenPrincipal decides what both kinds of tokens have in common.
func (v *Verifier) tokenPrincipal(p Principal, b storage.Bearer, clientID string, scopes []string) (Principal, error) {
	person := b.Grant.ID != ""
	p.ClientID, p.Subject, p.GrantID = clientID, clientID, b.Grant.ID
	p.WorkspaceID, p.Workspace, p.WorkspacePlan, p.Role = b.WorkspaceID, b.WorkspaceSlug, b.WorkspacePlan, b.Role
	if person {
		p.Subject, p.UserID, p.AuthTime = b.Grant.UserID, b.Grant.UserID, b.Grant.AuthTime
	}
	r, known := v.catalog.Resource(p.Audience)
	switch {
	case !b.Grant.RevokedAt.IsZero():
		return p, ErrRevoked
	case p.ExpiresAt <= v.store.Now():
		return p, ErrExpired
	case b.ClientDisabled, b.UserDisabled, b.WorkspaceDisabled:
		return p, ErrSuspended
	case person && b.Role == "":
		return p, ErrRevoked // the user left the workspace
	case !known:
		return p, errRemoved(p.Audience)
	}
	p.Audience, p.Scopes = r.ID, r.Effective(scopes, p.Role, person)
	if person && !slices.Equal(scopes, []string(b.Grant.Scopes)) {
		// What the grant lost after the token was issued, the token has lost too.
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

// jwtPrincipal is who stands behind a JWT, ours or that of an issuer that a resource trusts.
func (v *Verifier) jwtPrincipal(ctx context.Context, text string, at Audience) (Principal, error) {
	t, err := parseJWT(text)
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
	b, err := v.store.AccessTokenByDigest(ctx, storage.Digest(c.ID))
	if err != nil {
		return Principal{}, unknownOr(
			err,
			"the access token is not in the database: it expired long ago, or its app, user or authorization was "+
				"deleted",
		)
	}
	if c.Audience != b.Access.Resource || c.ClientID != b.Access.ClientID {
		return Principal{}, unknown("the claims of the JWT are not those that its access token was issued with")
	}
	p, err := v.accessPrincipal(b, c.ID)
	if err == nil && c.over(v.store.Now()) {
		err = ErrExpired
	}
	return p, err
}
