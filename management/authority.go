package management

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// Authority is who manages something, and how far their rights go. The caller has found out who it is; Decide compares.
type Authority struct {
	// Administrator: the CLI, or an administrator of this server on its pages. No role and no workspace bounds
	// it.
	Administrator bool
	UserID        string // empty: no person; of the CLI: whose personal access token it creates
	PersonalID    string // the user's personal workspace; where it is known, what is theirs alone is noted there
	WorkspaceID   string // in which they act; empty: none
	Role          string // in it; an API key with the scope admin has that of an admin
	// Credential is the principal of the credential by which they came; nil for a browser session and the CLI,
	// whose rights are those of the role.
	Credential *bearer.Principal
	// Manages: the credential is an access token of an app that the operator allows to create what outlives it.
	Manages bool
	// Session: they came with a browser session, and not with a credential or by the CLI.
	Session bool
	// Fresh: in that session they proved who they are a few minutes ago at most.
	Fresh bool
}

// CommandLine is the authority of the CLI, in a workspace or, where it is empty, in none.
func CommandLine(workspaceID string) Authority {
	return Authority{Administrator: true, WorkspaceID: workspaceID, Role: catalog.RoleOwner}
}

// Forbidden says that the caller may not do what they asked for.
type Forbidden struct {
	Message string // one sentence that says what would be needed
	Scope   string // the scope that is missing; empty where it is something else
}

// Error implements error.
func (f *Forbidden) Error() string { return "forbidden: " + f.Message }

// ErrStale says that a browser session must prove again who it belongs to before it does what gives lasting power.
// Nothing was done.
var ErrStale = errors.New("the sign-in is too long ago for what gives lasting power")

// Act is what is asked for, as far as rights depend on it.
type Act struct {
	// Permission is what it takes in the workspace. Empty: no role is needed.
	Permission Permission
	// Own: it is about what belongs to the person alone, in no workspace.
	Own bool
	// Environment is that of the API key that it is about. Empty: that is not known yet, or it is not about a key.
	Environment string
	// Lasts: it creates, widens, enables or replaces something that works on by itself, so that its power stays when
	// the credential is gone. Everything else takes something away, or changes nothing about what anybody may do.
	Lasts bool
	// Light: though it lasts, it gives too little to ask a person for their password.
	Light bool
	// Gives is the most that what it creates or widens may do, for each resource.
	Gives []Reach
	// GivesRole is the role that it gives to a person. Empty: none.
	GivesRole string
}

// Reach is how far something reaches that can be used by itself.
type Reach struct {
	Resource  string
	Scopes    []string
	ExpiresAt storage.Time // zero: never
	Addresses []string     // ranges that it may come from; empty: any
	Role      string       // of a personal access token: the most that it may be; empty: it is none
}

// Decide decides what may be created, widened or managed: keys, personal access tokens, apps, their secrets,
// invitations, members and workspaces alike. It returns *Forbidden, or ErrStale where a person has to prove again who
// they are.
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
			Message: "The credential lacks the scope " + catalog.ScopeAdmin + "; use one that has it.",
			Scope:   catalog.ScopeAdmin,
		}
	}
	if act.Own && (a.UserID == "" || c != nil && c.Kind != bearer.KindPersonalAccessToken && !a.Manages) {
		return &Forbidden{
			Message: "Personal access tokens and new workspaces are their user's own: sign in, or use a personal " +
				"access token with the scope " + catalog.ScopeAdmin + ".",
		}
	}
	// A test key is handed out more freely than a live one, so that all that it reaches is test keys.
	if c != nil && c.Environment == apikey.Test &&
		(act.Permission != MayManageKeys || act.Environment != "" && act.Environment != apikey.Test) {
		return &Forbidden{Message: "A test key manages test keys and nothing else; use a live one."}
	}
	if act.Permission != "" && !RoleMay(a.Role, act.Permission) {
		return &Forbidden{
			Message: "To " + string(act.Permission) + " in this workspace takes the role " + leastRole[act.Permission] +
				"; ask an owner for it.",
		}
	}
	if !act.Lasts || c == nil {
		return nil
	}
	if err := a.outlived(); err != nil {
		return err
	}
	for i := range act.Gives {
		if err := mustCover(c, &act.Gives[i]); err != nil {
			return err
		}
	}
	if act.GivesRole != "" {
		// A membership has no end, and its member may come from anywhere.
		if err := mustReach(c, 0, nil, act.GivesRole); err != nil {
			return err
		}
	}
	return nil
}

// outlived returns *Forbidden for an access token: what it made would stay when the access that a user allowed has
// ended.
func (a *Authority) outlived() error {
	if c := a.Credential; c != nil && c.Kind == bearer.KindAccessToken && !a.Manages {
		return &Forbidden{
			Message: "An app's access token ends, and what it creates, widens or enables here would stay. Use an " +
				"API key or a personal access token; " +
				"the operator can allow it to an app with: doorward client update " + c.ClientID + " --manages",
		}
	}
	return nil
}

// mustCover returns *Forbidden for what reaches further than the credential: it holds a scope that the credential does
// not, is for another resource, lives longer, or may be used from more addresses.
func mustCover(p *bearer.Principal, r *Reach) error {
	if !catalog.SameResource(p.Audience, r.Resource) {
		return &Forbidden{Message: "The credential is for another resource; it can only make what is for the same one."}
	}
	for _, name := range r.Scopes {
		if !p.Has(name) {
			return &Forbidden{
				Message: "The credential does not hold the scope " + name + " itself, so it cannot give it.",
				Scope:   name,
			}
		}
	}
	return mustReach(p, r.ExpiresAt, r.Addresses, r.Role)
}

// mustReach returns *Forbidden for what goes beyond the credential's own restrictions of time, address and role.
func mustReach(p *bearer.Principal, ends storage.Time, addresses []string, role string) error {
	// The end of an access token is not a restriction that a person chose; whether its work may stay is Manages.
	if p.KeyID != "" && !p.ExpiresAt.IsZero() {
		switch {
		case ends.IsZero():
			return &Forbidden{
				Message: "The credential has an end, and what it would give has none. Give it an earlier end, or " +
					"use a credential without one.",
			}
		case ends > p.ExpiresAt:
			return &Forbidden{Message: "The credential ends before the new one would; give it an earlier end."}
		}
	}
	if len(p.Addresses) > 0 && !apikey.AddressesWithin(addresses, p.Addresses) {
		return &Forbidden{
			Message: "The credential may be used from some addresses only, and what it would give from others too. " +
				"Name addresses among them, or use a credential without this restriction.",
		}
	}
	if p.TokenRole != "" && role != "" && !catalog.AtLeast(p.TokenRole, role) {
		return &Forbidden{
			Message: "The credential is held to the role " + p.TokenRole + ", so it cannot give a higher one.",
		}
	}
	return nil
}

// MayAdminister returns *Forbidden unless the authority is that of an enabled administrator of this server: in a
// browser, or with a personal access token of their own that is held to no role. No API key, client or access token of
// an app has it, not even one of an administrator.
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
		Message: "This is for administrators of this server: in a browser, or with a personal access token of " +
			"theirs that has the scope " + catalog.ScopeAdmin + " and is held to no role.",
	}
}

// MayGivePower decides about making a user an administrator of this server, giving an account another address or
// password, and enabling it: what they get has no end and works from anywhere. Errors are those of Decide.
func (a *Authority) MayGivePower() error {
	return a.Decide(Act{Lasts: true, GivesRole: catalog.RoleOwner})
}

// May returns *Forbidden unless the authority has a permission in its workspace, for what takes something away or only
// looks. For a test key with MayManageKeys it still depends on the key.
func (a *Authority) May(p Permission) error { return a.Decide(Act{Permission: p}) }

// PersonAuthority is the authority of a signed-in person in one of their workspaces, by its slug, or, where that is
// empty, in their personal one; with that workspace and all that they belong to. ErrWorkspace: they are in none of that
// name; ErrSuspended: it is disabled. It is that of a session which is not fresh: the caller sets Fresh where it is.
func (m *Manager) PersonAuthority(
	ctx context.Context, userID, slug string,
) (Authority, storage.Workspace, []storage.Workspace, error) {
	all, err := m.store.WorkspacesOf(storage.System(ctx), userID)
	if err != nil {
		return Authority{}, storage.Workspace{}, nil, fmt.Errorf("workspaces: %w", err)
	}
	a, ws, err := AuthorityAmong(all, userID, slug)
	return a, ws, all, err
}

// AuthorityAmong is PersonAuthority for a caller that has already read the person's workspaces, with the personal one
// first, as storage.Store.WorkspacesOf returns them.
func AuthorityAmong(all []storage.Workspace, userID, slug string) (Authority, storage.Workspace, error) {
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

// person is the user who answers for what the authority creates: the user themselves, or the one behind an API key.
// Empty: the CLI, or the user is not known.
func (a *Authority) person() string {
	if a.UserID == "" && a.Credential != nil {
		return a.Credential.CreatedBy
	}
	return a.UserID
}

// CredentialAuthority is the authority of the holder of a credential, with the workspace it acts in, with only its id,
// slug and plan; that is empty for a personal access token for which none was named, and for a client of no workspace.
func (m *Manager) CredentialAuthority(ctx context.Context, p *bearer.Principal) (Authority, storage.Workspace, error) {
	a := Authority{UserID: p.UserID, WorkspaceID: p.WorkspaceID, Role: p.Role, Credential: p}
	if p.UserID == "" && p.WorkspaceID != "" {
		a.Role = catalog.RoleAdmin // what the scope admin makes of a key or client; May asks for it
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
