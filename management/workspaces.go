package management

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

const (
	maxWorkspaceName = 100
	// MaxWorkspaces is how many workspaces a user may belong to before they can make no more.
	MaxWorkspaces = 100
	// MaxMembers is how many members and open invitations a workspace may have.
	MaxMembers = 1000
	// InvitationLifetime is how long an invitation may be taken.
	InvitationLifetime = 7 * 24 * time.Hour
)

var slugForm = regexp.MustCompile(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)

const (
	minSlug = 2
	maxSlug = 40
)

// SlugsFor proposes slugs for a workspace of a name, the best first; the last of them is hardly ever taken.
func SlugsFor(name string) []string {
	var b strings.Builder
	for _, c := range norm.NFKD.String(strings.ToLower(name)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case unicode.Is(unicode.Mn, c), c == '\'', c == '’':
			// An accent was parted from its letter by NFKD; an apostrophe joins.
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= maxSlug-5 {
			break // room for what makes it another
		}
	}
	slug := strings.Trim(b.String(), "-")
	if len(slug) < minSlug {
		slug = "workspace"
	}
	id := storage.NewID("ws")
	return []string{slug, slug + "-2", slug + "-3", slug + "-" + id[len(id)-4:]}
}

func checkWorkspaceName(name string) (string, error) {
	name, why := input.Line(name, maxWorkspaceName)
	if why == "" && name == "" {
		why = "is missing; give the workspace a name that its members will recognize"
	}
	if why != "" {
		return "", &input.Invalid{Field: "name", Message: why}
	}
	return name, nil
}

func (m *Manager) checkPlanName(plan string) error {
	if _, ok := m.catalog.Plan(plan); plan != "" && !ok {
		return &input.Invalid{Field: "plan", Message: fmt.Sprintf("%q is not in the configuration", input.Shorten(plan))}
	}
	return nil
}

// CreateWorkspace creates a workspace with its first owner. Only the command line chooses a plan with it. What is wrong comes
// as joined *Invalid errors; a slug that is taken also wraps storage.ErrExists.
func (m *Manager) CreateWorkspace(ctx context.Context, by Authority, name, slug, plan, ownerID string) (storage.Workspace, error) {
	ctx = storage.System(ctx)
	name, err := checkWorkspaceName(name)
	if len(slug) < minSlug || len(slug) > maxSlug || !slugForm.MatchString(slug) {
		err = errors.Join(err, &input.Invalid{Field: "slug", Message: "must be 2 to 40 lower-case letters and digits, with single hyphens between them"})
	}
	err = errors.Join(err, m.checkPlanName(plan))
	if !by.Administrator {
		if e := by.Decide(Act{Own: true, Lasts: true, Light: true, GivesRole: catalog.RoleOwner}); e != nil {
			return storage.Workspace{}, e
		}
		if plan != "" {
			err = errors.Join(err, &input.Invalid{Field: "plan", Message: "cannot be chosen for a new workspace; leave it out"})
		}
	}
	if err == nil {
		err = m.issuesTo(ctx, ownerID)
	}
	if err != nil {
		return storage.Workspace{}, err
	}
	w := storage.Workspace{ID: storage.NewID("ws"), Slug: slug, Name: name, Plan: plan, Role: catalog.RoleOwner}
	err = m.store.InTx(ctx, func(ctx context.Context) error {
		if !by.Administrator {
			have, err := m.store.WorkspacesOf(ctx, ownerID)
			if err != nil {
				return err
			}
			if len(have) >= MaxWorkspaces {
				return &input.Invalid{Field: "name", Message: fmt.Sprintf("is one too many: you belong to %d workspaces already; leave or delete one", len(have))}
			}
		}
		if err := m.store.InsertWorkspace(ctx, w, ownerID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "workspace.created", w.ID, w.ID, map[string]string{"owner": ownerID})
	})
	if errors.Is(err, storage.ErrExists) {
		message := fmt.Sprintf("%q is taken; choose another", slug)
		if _, err := m.store.SlugReservedUntil(ctx, slug); err == nil {
			message = fmt.Sprintf("%q belonged to a workspace that was deleted, and stays reserved for %s after that; choose another", slug, input.InDays(storage.SlugReservation))
		}
		return w, &input.Invalid{Field: "slug", Message: message, Cause: storage.ErrExists}
	}
	if err != nil {
		return w, fmt.Errorf("create a workspace: %w", err)
	}
	return w, nil
}

func (m *Manager) auditWorkspace(ctx context.Context, action, workspaceID, target string, detail map[string]string) error {
	return m.store.Audit(ctx, storage.AuditEvent{Action: action, WorkspaceID: workspaceID, Target: target, Detail: detail}, "")
}

// inWorkspace decides about an act and runs a change with its audit event in one transaction of the system's.
func (m *Manager) inWorkspace(ctx context.Context, by *Authority, act Act, what string, change func(ctx context.Context) error) error {
	if err := by.Decide(act); err != nil {
		return err
	}
	if err := m.store.InTx(storage.System(ctx), change); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// MaySetPlan returns *Forbidden unless the authority may choose the plan of its workspace: as MayAdminister, or, where the
// configuration lets them, as an owner.
func (m *Manager) MaySetPlan(ctx context.Context, by *Authority) error {
	var no *Forbidden
	if err := m.MayAdminister(ctx, by); !errors.As(err, &no) {
		return err
	}
	if m.ownPlans {
		return by.Decide(Act{Permission: MayChangeWorkspace, Lasts: true, Light: true})
	}
	return &Forbidden{Message: "Administrators of this server set the plans of workspaces; ask one of them."}
}

// UpdateWorkspace changes the name and plan of the authority's workspace; nil leaves either as it is. Keys of the workspace
// that have a plan or rate limit of their own above its new plan lose it. Errors are *Invalid and *Forbidden.
func (m *Manager) UpdateWorkspace(ctx context.Context, by Authority, w storage.Workspace, name, plan *string) (storage.Workspace, error) {
	detail := map[string]string{}
	var newName *string
	if name != nil {
		checked, err := checkWorkspaceName(*name)
		if err != nil {
			return w, err
		}
		newName = &checked
		if checked != w.Name {
			w.Name, detail["name"] = checked, "changed"
		}
	}
	act := Act{Permission: MayChangeWorkspace}
	if plan != nil {
		may := m.MaySetPlan(ctx, &by)
		if *plan != w.Plan {
			if err := cmp.Or(may, m.checkPlanName(*plan)); err != nil {
				return w, err
			}
			w.Plan, detail["plan"] = *plan, *plan
		}
		if may == nil && name == nil {
			act = Act{} // an administrator need not be a member
		}
	}
	err := m.inWorkspace(ctx, &by, act, "update the workspace", func(ctx context.Context) error {
		if len(detail) == 0 {
			return nil
		}
		if err := m.store.UpdateWorkspace(ctx, w.ID, newName, plan); err != nil {
			return err
		}
		if _, planned := detail["plan"]; planned {
			if err := m.lowerKeys(ctx, &by, w); err != nil {
				return err
			}
		}
		return m.auditWorkspace(ctx, "workspace.updated", w.ID, w.ID, detail)
	})
	return w, err
}

// lowerKeys takes plans and rate limits of their own from the keys of a workspace that would have more than its plan.
func (m *Manager) lowerKeys(ctx context.Context, by *Authority, w storage.Workspace) error {
	list, err := m.store.KeysWithLimits(ctx, w.ID)
	if err != nil {
		return err
	}
	for i := range list {
		k := &list[i]
		without := storage.APIKey{Resource: k.Resource, Environment: k.Environment}
		_, most := m.keys.Plan(&without, w.Plan)
		if _, has := m.keys.Plan(k, w.Plan); has.Within(most) {
			continue
		}
		k.Plan, k.RateLimit = "", 0
		if err := m.store.UpdateKey(ctx, k); err != nil {
			return err
		}
		if err := m.auditKey(ctx, by, "updated", k, map[string]string{"plan": "", "rate_limit": "0"}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteWorkspace removes a workspace with all that is its own. storage.ErrConflict: it is a personal one, which goes
// with its user.
func (m *Manager) DeleteWorkspace(ctx context.Context, by Authority, w storage.Workspace) error {
	return m.inWorkspace(ctx, &by, Act{Permission: MayDeleteWorkspace}, "delete the workspace", func(ctx context.Context) error {
		if err := m.store.DeleteWorkspace(ctx, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "workspace.deleted", w.ID, w.ID, nil)
	})
}

// DisableWorkspace keeps the keys and apps of a workspace, and all else that acts in it, from working. It is for
// administrators and the command line.
func (m *Manager) DisableWorkspace(ctx context.Context, by Authority, w storage.Workspace) error {
	return m.switchWorkspace(ctx, by, w, "workspace.disabled", false, m.store.DisableWorkspace)
}

// EnableWorkspace lets a disabled workspace work again, also a shared one whose owners are all disabled. It is for
// administrators and the command line. storage.ErrConflict: it is the personal workspace of a disabled user, and works again
// when they are enabled.
func (m *Manager) EnableWorkspace(ctx context.Context, by Authority, w storage.Workspace) error {
	return m.switchWorkspace(ctx, by, w, "workspace.enabled", true, m.store.EnableWorkspace)
}

func (m *Manager) switchWorkspace(
	ctx context.Context, by Authority, w storage.Workspace, done string, lasts bool, change func(context.Context, string) error,
) error {
	if !by.Administrator {
		return &Forbidden{Message: "Only an administrator disables and enables workspaces."}
	}
	return m.inWorkspace(ctx, &by, Act{Lasts: lasts}, done, func(ctx context.Context) error {
		if err := change(ctx, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, done, w.ID, w.ID, nil)
	})
}

// checkRole returns *input.Invalid for what is not a role.
func checkRole(role string) error {
	if !slices.Contains(catalog.Roles, role) {
		return &input.Invalid{Field: "role", Message: fmt.Sprintf("%q is not a role; use %s", input.Shorten(role), strings.Join(catalog.Roles, ", "))}
	}
	return nil
}

// managesRole is an act by which a member loses a role.
func managesRole(role string) Act {
	if role == catalog.RoleOwner {
		return Act{Permission: MayManageOwners}
	}
	return Act{Permission: MayManageMembers}
}

// givesRole is an act by which a user gets a role. One below admin can change nothing of the workspace's, and needs no
// fresh proof.
func givesRole(role string) Act {
	act := managesRole(role)
	act.Lasts, act.Light, act.GivesRole = true, !catalog.AtLeast(role, catalog.RoleAdmin), role
	return act
}

// AddMember makes a user a member of a workspace without asking them; only the command line does. Errors of storage pass
// through: ErrExists, ErrConflict for a personal workspace.
func (m *Manager) AddMember(ctx context.Context, by Authority, w storage.Workspace, userID, role string) error {
	if !by.Administrator {
		return &Forbidden{Message: "People join a workspace by invitation."}
	}
	if err := checkRole(role); err != nil {
		return err
	}
	return m.inWorkspace(ctx, &by, givesRole(role), "add the member", func(ctx context.Context) error {
		if err := m.store.AddMember(ctx, w.ID, userID, role); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "member.added", w.ID, userID, map[string]string{"role": role})
	})
}

// stillWorks returns storage.ErrConflict where a change of members left a workspace without an enabled owner, which stops
// it. Only an administrator may make such a change.
func (m *Manager) stillWorks(ctx context.Context, by *Authority, workspaceID string) error {
	if by.Administrator {
		return nil
	}
	now, err := m.store.WorkspaceByID(ctx, workspaceID)
	if err == nil && !now.DisabledAt.IsZero() {
		err = storage.ErrConflict
	}
	return err
}

// ChangeRole gives a member another role. storage.ErrConflict: they are the last enabled owner; storage.ErrNotFound: they
// are not a member.
func (m *Manager) ChangeRole(ctx context.Context, by Authority, w storage.Workspace, userID, role string) error {
	if err := checkRole(role); err != nil {
		return err
	}
	if err := by.outlived(); err != nil { // also a lower role stays
		return err
	}
	return m.inWorkspace(ctx, &by, managesRole(role), "change the role", func(ctx context.Context) error {
		before, err := m.roleToChange(ctx, &by, w.ID, userID)
		if err != nil || before == role {
			return err
		}
		if !catalog.AtLeast(before, role) {
			if err := by.Decide(givesRole(role)); err != nil {
				return err
			}
		}
		if err := m.store.ChangeRole(ctx, w.ID, userID, role); err != nil {
			return err
		}
		if err := m.stillWorks(ctx, &by, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "member.role_changed", w.ID, userID, map[string]string{"from": before, "to": role})
	})
}

// roleToChange is a member's role, which the authority may take from them.
func (m *Manager) roleToChange(ctx context.Context, by *Authority, workspaceID, userID string) (string, error) {
	// So that they cannot be made an owner between this look and the change.
	if err := m.store.HoldWorkspace(ctx, workspaceID); err != nil {
		return "", err
	}
	before, err := m.store.RoleOf(ctx, workspaceID, userID)
	if err != nil {
		return "", err
	}
	return before, by.Decide(managesRole(before))
}

// RemoveMember ends a membership; everybody may end their own. Errors are those of ChangeRole.
func (m *Manager) RemoveMember(ctx context.Context, by Authority, w storage.Workspace, userID string) error {
	act, own := Act{Permission: MayManageMembers}, userID == by.UserID && userID != ""
	if own {
		act.Permission = MaySee
	}
	return m.inWorkspace(ctx, &by, act, "remove the member", func(ctx context.Context) error {
		if !own {
			if _, err := m.roleToChange(ctx, &by, w.ID, userID); err != nil {
				return err
			}
		}
		if err := m.store.RemoveMember(ctx, w.ID, userID); err != nil {
			return err
		}
		if err := m.stillWorks(ctx, &by, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "member.removed", w.ID, userID, nil)
	})
}

// Invite invites a person to a workspace, by a link that contains the returned token, which is not stored. An earlier
// invitation for the same address ends. storage.ErrConflict: the workspace is a personal one.
func (m *Manager) Invite(ctx context.Context, by Authority, w storage.Workspace, email, role string) (storage.Invitation, string, error) {
	if err := cmp.Or(checkRole(role), by.Decide(givesRole(role))); err != nil {
		return storage.Invitation{}, "", err
	}
	email = strings.Trim(email, " ")
	if !input.Email(email) {
		return storage.Invitation{}, "", &input.Invalid{Field: "email", Message: "is not a valid address; write one, like name@example.com, with Latin letters only"}
	}
	word := bearer.NewCredential(prefixInvitation)
	i := storage.Invitation{
		ID: storage.NewID("invitation"), Digest: storage.Digest(word), WorkspaceID: w.ID, Email: email, Role: role, CreatedBy: by.UserID,
		CredentialID: by.credentialID(), ExpiresAt: m.store.Now().Add(InvitationLifetime),
	}
	err := m.inWorkspace(ctx, &by, givesRole(role), "invite", func(ctx context.Context) error {
		open, err := m.store.InvitationsOf(ctx, w.ID)
		if err == nil && len(open) >= MaxMembers {
			err = &input.Invalid{Field: "email", Message: fmt.Sprintf("is one too many: there are %d open invitations; take some back", len(open))}
		}
		if err == nil {
			err = by.mayEnd(open, func(o storage.Invitation) bool { return storage.EmailKey(o.Email) == storage.EmailKey(email) })
		}
		if err != nil {
			return err
		}
		members, err := m.store.Members(ctx, w.ID, "", MaxMembers)
		if err == nil && len(members) >= MaxMembers {
			err = &input.Invalid{Field: "email", Message: fmt.Sprintf("is one too many: the workspace has %d members; remove some", len(members))}
		}
		if err == nil && slices.ContainsFunc(members, func(m storage.Member) bool { return storage.EmailKey(m.Email) == storage.EmailKey(email) }) {
			err = &input.Invalid{Field: "email", Message: "belongs to a member already; change their role instead"}
		}
		if err == nil {
			// What could not be accepted is not sent: the user behind a key may be a member no more.
			if _, err = m.stillGiven(ctx, i); errors.Is(err, storage.ErrNotFound) {
				err = &Forbidden{Message: "The user behind this credential may not invite with this role any more, so the invitation would not work; use another credential."}
			}
		}
		if err == nil {
			err = m.store.InsertInvitation(ctx, i)
		}
		if err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "invitation.created", w.ID, i.ID, map[string]string{"role": role})
	})
	i.CreatedAt = m.store.Now()
	return i, word, err
}

// mayEnd returns *Forbidden where one of the invitations that are meant makes an owner, and the authority may not.
func (a *Authority) mayEnd(open []storage.Invitation, meant func(storage.Invitation) bool) error {
	for _, i := range open {
		if meant(i) && i.Role == catalog.RoleOwner {
			return a.Decide(managesRole(i.Role))
		}
	}
	return nil
}

// prefixInvitation begins the word of an invitation's link.
const prefixInvitation = "dw_in_"

// InvitationURL is the link of an invitation.
func (m *Manager) InvitationURL(word string) string { return m.issuer + "/join/" + word }

// DropInvitation takes an invitation back. storage.ErrNotFound: there is none, or it was taken.
func (m *Manager) DropInvitation(ctx context.Context, by Authority, w storage.Workspace, id string) error {
	return m.inWorkspace(ctx, &by, Act{Permission: MayManageMembers}, "take the invitation back", func(ctx context.Context) error {
		open, err := m.store.InvitationsOf(ctx, w.ID)
		if err == nil {
			err = by.mayEnd(open, func(o storage.Invitation) bool { return o.ID == id })
		}
		if err != nil {
			return err
		}
		if err := m.store.DropInvitation(ctx, w.ID, id); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "invitation.withdrawn", w.ID, id, nil)
	})
}

// Invitation finds what a word invites to. storage.ErrNotFound: nothing, or not any more.
func (m *Manager) Invitation(ctx context.Context, word string) (storage.Invitation, storage.Workspace, error) {
	ctx = storage.System(ctx)
	if !bearer.WellFormed(prefixInvitation, word) {
		return storage.Invitation{}, storage.Workspace{}, storage.ErrNotFound
	}
	i, err := m.store.InvitationByDigest(ctx, storage.Digest(word))
	if err != nil {
		return i, storage.Workspace{}, fmt.Errorf("invitation: %w", err)
	}
	w, err := m.stillGiven(ctx, i)
	if err != nil {
		return i, w, fmt.Errorf("invitation: %w", err)
	}
	return i, w, nil
}

// credentialID names the credential that an invitation ends with. One that was sent from a page, or by an app that manages
// for a user, belongs to the user alone.
func (a *Authority) credentialID() string {
	switch c := a.Credential; {
	case c == nil, c.KeyID == "" && c.UserID != "":
		return ""
	default:
		return cmp.Or(c.KeyID, c.ClientID)
	}
}

// stillGiven finds the workspace of an invitation. It returns storage.ErrNotFound where the workspace is disabled, and
// where the sender, with the credential that they sent it with, could not send it now: with what they kept for themselves
// they would come back.
func (m *Manager) stillGiven(ctx context.Context, i storage.Invitation) (storage.Workspace, error) {
	w, err := m.store.WorkspaceByID(ctx, i.WorkspaceID)
	if err != nil {
		return w, err
	}
	if !w.DisabledAt.IsZero() {
		return w, storage.ErrNotFound
	}
	by, err := m.sender(ctx, i)
	var no *Forbidden
	if err == nil && errors.As(by.Decide(givesRole(i.Role)), &no) {
		err = storage.ErrNotFound
	}
	return w, err
}

// sender is the authority that the sender of an invitation has now. storage.ErrNotFound: none.
func (m *Manager) sender(ctx context.Context, i storage.Invitation) (Authority, error) {
	if storage.IsID("app", i.CredentialID) { // one that acted for itself
		c, usable, err := m.store.ClientInUse(ctx, i.CredentialID)
		if err == nil && (!usable || !c.Manages || c.WorkspaceID != i.WorkspaceID) {
			err = storage.ErrNotFound
		}
		return Authority{WorkspaceID: i.WorkspaceID, Role: catalog.RoleAdmin}, err
	}
	if i.CredentialID == "" {
		if i.CreatedBy == "" {
			return CommandLine(i.WorkspaceID), nil
		}
		role, err := m.store.ActiveRole(ctx, i.WorkspaceID, i.CreatedBy)
		return Authority{UserID: i.CreatedBy, WorkspaceID: i.WorkspaceID, Role: role}, err
	}
	k, err := m.store.KeyByID(ctx, i.CredentialID)
	if err != nil {
		return Authority{}, err
	}
	r, known := m.catalog.Resource(k.Resource)
	if !known || k.RotatedInto != "" || apikey.StatusOf(&k, m.store.Now(), false) != apikey.Good {
		return Authority{}, storage.ErrNotFound
	}
	a := Authority{UserID: k.UserID, WorkspaceID: i.WorkspaceID, Role: catalog.RoleAdmin}
	// Behind an API key is its creator, as far as one is known.
	if person := cmp.Or(k.UserID, k.CreatedBy); person != "" {
		role, err := m.store.ActiveRole(ctx, i.WorkspaceID, person)
		if err != nil {
			return a, err
		}
		if a.Role = catalog.LowerRole(role, k.Role); k.UserID == "" {
			a.Role = catalog.LowerRole(role, catalog.RoleAdmin)
		}
	}
	scopeRole := a.Role
	if k.UserID == "" {
		scopeRole = ""
	}
	a.Credential = &bearer.Principal{
		Kind: k.Kind, UserID: k.UserID, Audience: k.Resource, KeyID: k.ID, Environment: k.Environment, Addresses: k.Addresses, ExpiresAt: k.ExpiresAt,
		TokenRole: k.Role, Role: a.Role, Scopes: r.Effective(k.Scopes, scopeRole, k.UserID != ""),
	}
	return a, nil
}

// TakeInvitation makes a user a member by the word of an invitation, which is for their address alone. *Forbidden: it is
// for another address; storage.ErrConsumed, storage.ErrNotFound: it was accepted or has ended, or its sender may no
// longer give it; storage.ErrExists: they are a member already.
func (m *Manager) TakeInvitation(ctx context.Context, user storage.User, word string) (storage.Workspace, error) {
	i, w, err := m.Invitation(ctx, word)
	if err != nil {
		return w, err
	}
	if storage.EmailKey(i.Email) != storage.EmailKey(user.Email) {
		return w, &Forbidden{Message: "The invitation is for another address; sign in with that one, or ask for a new invitation."}
	}
	err = m.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if _, err := m.store.TakeInvitation(ctx, i.Digest, user.ID); err != nil {
			return err
		}
		if _, err := m.stillGiven(ctx, i); err != nil { // now that no role can change meanwhile
			return err
		}
		return m.auditWorkspace(ctx, "member.added", w.ID, user.ID, map[string]string{"role": i.Role, "invitation": i.ID})
	})
	if err != nil {
		return w, fmt.Errorf("take the invitation: %w", err)
	}
	return w, nil
}
