package oauth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"doorward/oauth/apikey"
	"doorward/storage"
)

// Authority is who manages something, and how far their rights go. Whoever calls has found out who it is; the functions
// that change things compare.
type Authority struct {
	// Administrator: the command, which may do everything.
	Administrator bool
	UserID        string // empty: no person; of the command: whose personal access token it makes
	PersonalID    string // the user's personal workspace; where it is known, what is theirs alone is noted there
	WorkspaceID   string // in which they act; empty: none
	Role          string // in it; an API key with the scope admin has that of an admin
	// Credential is the principal of the credential by which they came; nil for a browser session and the command, whose
	// rights are those of the role.
	Credential *Principal
}

// Command is the authority of the command line, in a workspace or, where it is empty, in none.
func Command(workspaceID string) Authority {
	return Authority{Administrator: true, WorkspaceID: workspaceID, Role: RoleOwner}
}

// Forbidden says that somebody may not do what they asked for.
type Forbidden struct {
	Message string // one sentence that says what would be needed
	Scope   string // the scope that is missing; empty where it is something else
}

// Error implements error.
func (f *Forbidden) Error() string { return "forbidden: " + f.Message }

// ScopeAdmin is what a credential needs to manage anything.
const ScopeAdmin = "admin"

// May returns *Forbidden unless the authority has a permission in its workspace.
func (a *Authority) May(p Permission) error {
	if a.Administrator {
		return nil
	}
	if err := a.managing(); err != nil {
		return err
	}
	if p == MayManageMembers {
		if err := a.reaches(""); err != nil { // whom it lets in could make live keys
			return err
		}
	}
	if !RoleMay(a.Role, p) {
		return &Forbidden{Message: "To " + string(p) + " in this workspace takes the role " + leastRole[p] + "; ask an owner for it."}
	}
	return nil
}

// managing returns *Forbidden for a credential that may not manage.
func (a *Authority) managing() error {
	if a.Credential != nil && !a.Credential.Has(ScopeAdmin) {
		return &Forbidden{Message: "The credential lacks the scope " + ScopeAdmin + "; use one that has it.", Scope: ScopeAdmin}
	}
	return nil
}

// bounds is within what a key may be that the authority makes: a credential never makes a wider one than itself, nor one
// that lives longer, is for live data where it is for tests itself, or may be used from more places.
func (a *Authority) bounds(k *storage.APIKey) error {
	c := a.Credential
	if c == nil {
		return nil
	}
	if !SameResource(c.Audience, k.Resource) {
		return &Forbidden{Message: "The credential is for another resource; it can only make what is for the same one."}
	}
	for _, name := range k.Scopes {
		if !c.Has(name) {
			return &Forbidden{Message: "The credential does not hold the scope " + name + " itself, so it cannot give it.", Scope: name}
		}
	}
	if err := a.reaches(k.Environment); err != nil {
		return err
	}
	if c.KeyID != "" && !c.ExpiresAt.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt > c.ExpiresAt) {
		return &Forbidden{Message: "The credential ends before the new one would; give it an earlier end."}
	}
	return a.boundAddresses(k.Addresses)
}

// reaches returns *Forbidden for a test key that would make or change what is live: it lies about more freely.
func (a *Authority) reaches(environment string) error {
	if a.Credential != nil && a.Credential.Environment == apikey.Test && environment != apikey.Test {
		return &Forbidden{Message: "A test key makes and changes test keys alone; use a live one."}
	}
	return nil
}

// boundAddresses keeps a credential that may be used from some addresses only from letting another be used from more.
func (a *Authority) boundAddresses(list []string) error {
	if a.Credential == nil || len(a.Credential.Addresses) == 0 {
		return nil
	}
	outside := func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err != nil || !slices.ContainsFunc(a.Credential.Addresses, func(own string) bool {
			o, err := netip.ParsePrefix(own)
			return err == nil && o.Bits() <= p.Bits() && o.Contains(p.Addr())
		})
	}
	if len(list) == 0 || slices.ContainsFunc(list, outside) {
		return &Forbidden{Message: "The credential may be used from some addresses only; name addresses among them."}
	}
	return nil
}

// MayRegister returns *Forbidden unless the authority may manage apps, and an app of these scopes and resources among
// them: like a key, a credential makes none that gets more than itself.
func (a *Authority) MayRegister(scopes, resources []string) error {
	if err := a.May(MayManageApps); err != nil {
		return err
	}
	if len(resources) == 0 {
		resources = []string{""} // it will be for the first configured, which a credential has not named
	}
	for _, resource := range resources {
		if err := a.bounds(&storage.APIKey{Scopes: scopes, Resource: resource}); err != nil {
			return err
		}
	}
	return nil
}

// PersonAuthority is the authority of a signed-in person in one of their workspaces, by its slug, or, where that is
// empty, in their personal one; with that workspace and all that they belong to. ErrWorkspace: they are in none of that
// name; ErrSuspended: it is disabled.
func (s *Server) PersonAuthority(ctx context.Context, userID, slug string) (Authority, storage.Workspace, []storage.Workspace, error) {
	all, err := s.store.WorkspacesOf(storage.System(ctx), userID)
	if err != nil {
		return Authority{}, storage.Workspace{}, nil, fmt.Errorf("workspaces: %w", err)
	}
	a := Authority{UserID: userID}
	if len(all) > 0 && all[0].Personal {
		a.PersonalID = all[0].ID
	}
	i := slices.IndexFunc(all, func(w storage.Workspace) bool { return w.Slug == slug || slug == "" && w.Personal })
	if i < 0 {
		return a, storage.Workspace{}, all, ErrWorkspace
	}
	a.WorkspaceID, a.Role = all[i].ID, all[i].Role
	if !all[i].DisabledAt.IsZero() {
		return a, all[i], all, ErrSuspended
	}
	return a, all[i], all, nil
}

// CredentialAuthority is the authority of whoever shows a credential, with the workspace it acts in, of which it knows
// id, slug and plan alone; that is empty for a personal access token for which none was named, and for a client of no
// workspace.
func (s *Server) CredentialAuthority(ctx context.Context, p *Principal) (Authority, storage.Workspace, error) {
	a := Authority{UserID: p.UserID, WorkspaceID: p.WorkspaceID, Role: p.Role, Credential: p}
	if p.UserID == "" && p.WorkspaceID != "" {
		a.Role = RoleAdmin // what the scope admin makes of a key or client; May asks for it
	}
	ctx = storage.System(ctx)
	if p.UserID != "" {
		personal, err := s.store.PersonalWorkspace(ctx, p.UserID)
		if err != nil {
			return a, storage.Workspace{}, fmt.Errorf("personal workspace: %w", err)
		}
		a.PersonalID = personal.ID
	}
	return a, storage.Workspace{ID: p.WorkspaceID, Slug: p.Workspace, Plan: p.WorkspacePlan, Role: a.Role}, nil
}
