package management

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// Authority is the caller of an administrative operation and their permissions. The edge has authenticated the caller;
// Decide decides what they may do.
type Authority struct {
	// Administrator is set for the CLI, and for an administrator of this server on its pages. Neither role nor workspace
	// limits them.
	Administrator bool
	UserID        string // empty: no user; for the CLI: the user whose personal access token it creates
	PersonalID    string // personal workspace, whose audit log records changes to the user's own objects; empty: unknown
	WorkspaceID   string // in which they act; empty: none
	Role          string // in it; that of an API key with the scope admin is admin
	// Credential is the principal of the caller's credential; nil for a browser session and the CLI, whose permissions
	// are those of the role.
	Credential *bearer.Principal
	// Manages is set for an access token whose app may create objects that outlive the token; the operator grants this.
	Manages bool
	// Session is set for a browser session, and not for a credential or the CLI.
	Session bool
	// Fresh means that in this session the user proved who they are at most a few minutes ago, at the highest level that
	// they can reach.
	Fresh bool
}

// CLI returns the authority of the CLI, in a workspace, or in none if workspaceID is empty.
func CLI(workspaceID string) Authority {
	return Authority{Administrator: true, WorkspaceID: workspaceID, Role: catalog.RoleOwner}
}

// Forbidden means that the caller is not allowed to do what they requested.
type Forbidden struct {
	Message locale.Text // a sentence that says what would be needed
	Scope   string      // the missing scope; empty if something else is missing
}

// Error implements error.
func (f *Forbidden) Error() string { return "forbidden: " + f.Message.String() }

// ErrStale means that the user of a browser session must enter their password again, since the act gives lasting
// access. Nothing was done.
var ErrStale = errors.New("the last sign-in is too long ago for an act that gives lasting access")

// Act holds the parts of a requested operation on which its permission depends.
type Act struct {
	// Permission is the one that the act needs in the workspace. Empty: no role is needed.
	Permission Permission
	// Own means that the act concerns only the user's own things, outside any workspace.
	Own bool
	// Environment is that of the API key that the act concerns. Empty: not known yet, or the act concerns no key.
	Environment string
	// Lasts means that the act creates, widens, enables or replaces something that keeps working when the caller's
	// credential is gone. All other acts take something away, or change no permissions.
	Lasts bool
	// Light means that a lasting act grants too little to require the password again.
	Light bool
	// Grants is the most that the created or widened object may do, for each resource.
	Grants []Reach
	// GrantsRole is the role that the act gives to a user. Empty: none.
	GrantsRole string
}

// Reach is the most that something that works by itself, such as a key, may do.
type Reach struct {
	Resource  string
	Scopes    []string
	ExpiresAt storage.Time // zero: never
	Addresses []string     // ranges from which it may be used; empty: any
	Role      string       // of a personal access token: the highest role that it may act with; empty: not such a token
}

// Decide decides whether the authority may do an act on keys, personal access tokens, apps, their secrets, invitations,
// members or workspaces. It returns *Forbidden, or ErrStale if the user must enter their password again.
func (a *Authority) Decide(act Act) error {
	if !a.Administrator {
		if err := a.permitted(&act); err != nil {
			return err
		}
	}
	if act.Lasts && !act.Light && a.Session && !a.Fresh {
		return ErrStale
	}
	return nil
}

func (a *Authority) permitted(act *Act) error {
	c := a.Credential
	if c != nil && !c.Has(catalog.ScopeAdmin) {
		return &Forbidden{
			Message: locale.New("The credential lacks the %s scope; use one that has it.", catalog.ScopeAdmin),
			Scope:   catalog.ScopeAdmin,
		}
	}
	if act.Own && (a.UserID == "" || c != nil && c.Kind != bearer.KindPersonalAccessToken && !a.Manages) {
		return &Forbidden{
			Message: locale.New("Only users can manage personal access tokens and create workspaces: sign in, or use a "+
				"personal access token with the %s scope.", catalog.ScopeAdmin),
		}
	}
	// Test keys are kept less carefully than live ones, so they can manage only test keys.
	if c != nil && c.Environment == apikey.Test &&
		(act.Permission != MayManageKeys || act.Environment != "" && act.Environment != apikey.Test) {
		return &Forbidden{Message: locale.New("A test key can manage only test keys; use a live key.")}
	}
	if act.Permission != "" && !RoleMay(a.Role, act.Permission) {
		return &Forbidden{Message: lacks[act.Permission]}
	}
	if !act.Lasts || c == nil {
		return nil
	}
	if err := a.mustManage(); err != nil {
		return err
	}
	for i := range act.Grants {
		if err := mustCover(c, &act.Grants[i]); err != nil {
			return err
		}
	}
	if act.GrantsRole != "" {
		// A membership does not expire, and its member may use any address.
		if err := mustReach(c, 0, nil, act.GrantsRole); err != nil {
			return err
		}
	}
	return nil
}

// mustManage returns *Forbidden for an access token whose app does not have Manages: what the token created would
// remain after the user's consent has ended.
func (a *Authority) mustManage() error {
	if c := a.Credential; c != nil && c.Kind == bearer.KindAccessToken && !a.Manages {
		return &Forbidden{
			Message: locale.New("App access tokens expire, but this change would remain. Use an API key or a personal "+
				"access token, or ask the operator to run: %s", "doorward client update "+c.ClientID+" --manages"),
		}
	}
	return nil
}

// mustCover returns *Forbidden if r exceeds the credential: if it has a scope that the credential does not have, is for
// another resource, expires later, or may be used from more addresses.
func mustCover(p *bearer.Principal, r *Reach) error {
	if !catalog.SameResource(p.Audience, r.Resource) {
		return &Forbidden{Message: locale.New("The credential is for another resource; use one for this resource.")}
	}
	for _, name := range r.Scopes {
		if !p.Has(name) {
			return &Forbidden{
				Message: locale.New("You cannot grant the scope %s with a credential that does not have it; use another "+
					"credential.", name),
				Scope: name,
			}
		}
	}
	return mustReach(p, r.ExpiresAt, r.Addresses, r.Role)
}

// mustReach returns *Forbidden for what exceeds the credential's own limits of expiry, addresses and role.
func mustReach(p *bearer.Principal, ends storage.Time, addresses []string, role string) error {
	// The expiry of an access token is not a limit that a user chose; Manages says whether what it creates may remain.
	if p.KeyID != "" && !p.ExpiresAt.IsZero() {
		switch {
		case ends.IsZero():
			return &Forbidden{
				Message: locale.New("The credential expires, but the new access would not. Choose an expiry no later than " +
					"the credential's, or use a credential that never expires."),
			}
		case ends > p.ExpiresAt:
			return &Forbidden{
				Message: locale.New("The credential expires before the new one would; choose an earlier expiry."),
			}
		}
	}
	if len(p.Addresses) > 0 && !apikey.AddressesWithin(addresses, p.Addresses) {
		return &Forbidden{
			Message: locale.New("The credential is restricted to certain IP addresses, but the new access would not be. " +
				"Restrict it to the same addresses, or use a credential without this restriction."),
		}
	}
	if p.TokenRole != "" && role != "" && !catalog.AtLeast(p.TokenRole, role) {
		return &Forbidden{
			Message: locale.New("The credential is limited to the %s role, so it cannot grant a higher role; use another "+
				"credential.", catalog.RoleName(p.TokenRole)),
		}
	}
	return nil
}

// MayAdminister returns *Forbidden unless the caller is an enabled administrator of this server, in a browser or with a
// personal access token that is not limited to a role. API keys, clients and access tokens of apps are refused, even an
// administrator's.
func (m *Manager) MayAdminister(ctx context.Context, by *Authority) error {
	if by.Administrator {
		return nil
	}
	c := by.Credential
	if by.Session ||
		c != nil && c.Kind == bearer.KindPersonalAccessToken && c.TokenRole == "" && c.Has(catalog.ScopeAdmin) {
		switch u, err := m.store.UserByID(storage.System(ctx), by.UserID); {
		case err == nil && u.Admin && u.DisabledAt.IsZero():
			return nil
		case err != nil && !errors.Is(err, storage.ErrNotFound):
			return fmt.Errorf("administer the server: %w", err)
		}
	}
	return &Forbidden{
		Message: locale.New("Only server administrators can do this. Sign in, or use an administrator's personal access "+
			"token that has the %s scope and no maximum role.", catalog.ScopeAdmin),
	}
}

// MayGrantAccountAccess decides whether the authority may make a user an administrator of this server, change the
// address or password of an account, remove one of its sign-in methods, or enable it: such access does not expire and
// works from any address. It returns the errors of Decide.
func (a *Authority) MayGrantAccountAccess() error {
	return a.Decide(Act{Lasts: true, GrantsRole: catalog.RoleOwner})
}

// May returns *Forbidden unless the authority has a permission in its workspace, for acts that only read or take
// something away. For a test key with MayManageKeys, the answer still depends on the key that it manages.
func (a *Authority) May(p Permission) error { return a.Decide(Act{Permission: p}) }

// PersonAuthority returns the authority of a signed-in user in the workspace with a slug, or in their personal
// workspace if slug is empty, together with that workspace and all of theirs. It returns ErrWorkspace if they are not a
// member of such a workspace, and ErrSuspended if it is disabled. Fresh is not set: that is for the caller.
func (m *Manager) PersonAuthority(
	ctx context.Context, userID, slug string,
) (Authority, storage.Workspace, []storage.Workspace, error) {
	all, err := m.store.WorkspacesOf(storage.System(ctx), userID)
	if err != nil {
		return Authority{}, storage.Workspace{}, nil, fmt.Errorf("workspaces: %w", err)
	}
	a, ws, err := AuthorityFrom(all, userID, slug)
	return a, ws, all, err
}

// AuthorityFrom is PersonAuthority for a caller that has already read the person's workspaces, with the personal one
// first, as storage.Store.WorkspacesOf returns them.
func AuthorityFrom(all []storage.Workspace, userID, slug string) (Authority, storage.Workspace, error) {
	a := Authority{UserID: userID, Session: true}
	if len(all) > 0 && all[0].Personal {
		a.PersonalID = all[0].ID
	}
	i := slices.IndexFunc(all, func(w storage.Workspace) bool { return w.Slug == slug || slug == "" && w.Personal })
	if i < 0 {
		return a, storage.Workspace{}, bearer.ErrWorkspace
	}
	a.WorkspaceID, a.Role = all[i].ID, all[i].Role
	if !all[i].DisabledAt.IsZero() {
		return a, all[i], bearer.ErrSuspended
	}
	return a, all[i], nil
}

// person returns the user who is responsible for what the authority creates: the caller, or the creator of their API
// key. It is empty for the CLI, or if the user is not known.
func (a *Authority) person() string {
	if a.UserID == "" && a.Credential != nil {
		return a.Credential.CreatedBy
	}
	return a.UserID
}

// CredentialAuthority returns the authority of the holder of a credential, and the workspace that it acts in, with only
// its id, slug and plan. The workspace is empty for a personal access token if the request names none, and for a client
// without a workspace.
func (m *Manager) CredentialAuthority(ctx context.Context, p *bearer.Principal) (Authority, storage.Workspace, error) {
	a := Authority{UserID: p.UserID, WorkspaceID: p.WorkspaceID, Role: p.Role, Credential: p}
	if p.UserID == "" && p.WorkspaceID != "" {
		a.Role = catalog.RoleAdmin // a key or client acts as an admin; Decide checks that it has the scope admin
	}
	ctx = storage.System(ctx)
	if p.Kind == bearer.KindAccessToken {
		switch c, usable, err := m.store.ClientInUse(ctx, p.ClientID); {
		case err == nil:
			a.Manages = c.Manages && usable
		case !errors.Is(err, storage.ErrNotFound):
			return a, storage.Workspace{}, fmt.Errorf("client: %w", err)
		}
	}
	if p.UserID != "" {
		personal, err := m.store.PersonalWorkspace(ctx, p.UserID)
		if err != nil {
			return a, storage.Workspace{}, fmt.Errorf("personal workspace: %w", err)
		}
		a.PersonalID = personal.ID
	}
	return a, storage.Workspace{ID: p.WorkspaceID, Slug: p.Workspace, Plan: p.WorkspacePlan, Role: a.Role}, nil
}
