package management

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/seal"
	"doorward/storage"
)

// Invite invites a user to a workspace, by a link that contains the returned token, which is not stored. If the server
// sends email, the invitation is sent; its link is for the invited person alone then. It replaces an earlier invitation
// for the same address. It returns storage.ErrConflict for a personal workspace.
func (m *Manager) Invite(
	ctx context.Context, by Authority, w storage.Workspace, email, role string,
) (storage.Invitation, string, error) {
	if err := cmp.Or(checkRole(role), by.Decide(givesRole(role))); err != nil {
		return storage.Invitation{}, "", err
	}
	email = strings.Trim(email, " ")
	if !input.IsEmail(email) {
		return storage.Invitation{}, "", &input.Invalid{
			Field:   "email",
			Message: locale.New("Enter one email address, such as name@example.com, in Latin letters only"),
		}
	}
	token := bearer.NewCredential(prefixInvitation)
	i := storage.Invitation{
		ID: storage.NewID(
			"invitation",
		),
		Digest:       storage.Digest(token),
		WorkspaceID:  w.ID,
		Email:        email,
		Role:         role,
		CreatedBy:    by.UserID,
		CredentialID: by.credentialID(),
		ExpiresAt:    m.store.Now().Add(InvitationLifetime),
	}
	err := m.inWorkspace(ctx, &by, givesRole(role), "invite", func(ctx context.Context) error {
		open, err := m.store.InvitationsOf(ctx, w.ID)
		if err == nil && len(open) >= MaxMembers {
			err = &input.Invalid{
				Field: "email",
				Message: locale.New(
					"There are %s pending invitations, the maximum; revoke some", strconv.Itoa(len(open)),
				),
			}
		}
		if err == nil {
			err = by.mayWithdraw(
				open, func(o storage.Invitation) bool { return storage.EmailKey(o.Email) == storage.EmailKey(email) },
			)
		}
		if err != nil {
			return err
		}
		members, err := m.store.Members(ctx, w.ID, "", MaxMembers)
		if err == nil && len(members) >= MaxMembers {
			err = &input.Invalid{
				Field: "email",
				Message: locale.New(
					"The workspace has %s members, the maximum; remove some", strconv.Itoa(len(members)),
				),
			}
		}
		if err == nil &&
			slices.ContainsFunc(
				members, func(m storage.Member) bool { return storage.EmailKey(m.Email) == storage.EmailKey(email) },
			) {
			err = &input.Invalid{
				Field: "email", Message: locale.New("already belongs to a member; change their role instead"),
			}
		}
		if err == nil {
			// Do not send an invitation that could not be accepted: the creator of a key may have left the workspace.
			if _, err = m.checkSender(ctx, i); errors.Is(err, storage.ErrNotFound) {
				err = &Forbidden{
					Message: locale.New("The user of this credential can no longer invite members with this role; use another " +
						"credential."),
				}
			}
		}
		if err == nil {
			err = m.sendInvitation(ctx, &by, &w, i, token)
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
	return i, token, err
}

// invitationsPerDay is how many invitations a workspace can send by email in a day.
const invitationsPerDay = 50

// SendsEmail reports whether invitations are sent by email, so that their links need not be shown.
func (m *Manager) SendsEmail() bool { return m.sends }

// sendInvitation sends an invitation by email, if the server sends email. It returns *input.Invalid if the workspace
// has sent too many, or if the address has no account and could not get one.
func (m *Manager) sendInvitation(
	ctx context.Context, by *Authority, w *storage.Workspace, i storage.Invitation, token string,
) error {
	reader, err := m.store.UserByEmail(ctx, i.Email)
	switch {
	case errors.Is(err, storage.ErrNotFound) && m.knownOnly:
		return &input.Invalid{
			Field: "email",
			Message: locale.New("There is no account with this address, and only an administrator of this server can create " +
				"one. Ask them for it, then invite the person again."),
		}
	case errors.Is(err, storage.ErrNotFound):
		reader = storage.User{}
	case err != nil:
		return err
	}
	if !m.sends {
		return nil
	}
	allowed, err := m.store.CountEmail(ctx, "invitations "+w.ID, invitationsPerDay, 24*time.Hour)
	if err != nil {
		return err
	}
	if !allowed {
		return &input.Invalid{
			Field: "email",
			Message: locale.New("The workspace has sent %s invitations within a day, the maximum; try again tomorrow",
				strconv.Itoa(invitationsPerDay)),
		}
	}
	inviter := ""
	if id := by.person(); id != "" {
		u, err := m.store.UserByID(ctx, id)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		inviter = cmp.Or(u.Name, u.Email)
	}
	e := m.secrets.NewEmail(ctx, "invitation", &reader, i.Email, seal.EmailSecrets{URL: m.InvitationURL(token)},
		map[string]string{"workspace": w.Name, "inviter": inviter, "role": i.Role}, i.ExpiresAt)
	return m.store.InsertEmail(ctx, e)
}

// mayWithdraw returns *Forbidden if one of the invitations that match selects is for an owner, and the authority may
// not manage owners.
func (a *Authority) mayWithdraw(open []storage.Invitation, match func(storage.Invitation) bool) error {
	for _, i := range open {
		if match(i) && i.Role == catalog.RoleOwner {
			return a.Decide(removesRole(i.Role))
		}
	}
	return nil
}

// prefixInvitation begins the token in an invitation's link.
const prefixInvitation = "dw_in_"

// InvitationURL returns the link of an invitation.
func (m *Manager) InvitationURL(token string) string { return m.issuer + "/join/" + token }

// DropInvitation revokes an invitation. It returns storage.ErrNotFound if there is none, or if it was accepted.
func (m *Manager) DropInvitation(ctx context.Context, by Authority, w storage.Workspace, id string) error {
	return m.inWorkspace(
		ctx,
		&by,
		Act{Permission: MayManageMembers},
		"revoke the invitation",
		func(ctx context.Context) error {
			open, err := m.store.InvitationsOf(ctx, w.ID)
			if err == nil {
				err = by.mayWithdraw(open, func(o storage.Invitation) bool { return o.ID == id })
			}
			if err != nil {
				return err
			}
			if err := m.store.DropInvitation(ctx, w.ID, id); err != nil {
				return err
			}
			return m.auditWorkspace(ctx, "invitation.withdrawn", w.ID, id, nil)
		},
	)
}

// Invitation finds the invitation with a token, and its workspace. It returns storage.ErrNotFound if it does not exist
// or has expired.
func (m *Manager) Invitation(ctx context.Context, token string) (storage.Invitation, storage.Workspace, error) {
	ctx = storage.System(ctx)
	if !bearer.WellFormed(prefixInvitation, token) {
		return storage.Invitation{}, storage.Workspace{}, storage.ErrNotFound
	}
	i, err := m.store.InvitationByDigest(ctx, storage.Digest(token))
	if err != nil {
		return i, storage.Workspace{}, fmt.Errorf("invitation: %w", err)
	}
	w, err := m.checkSender(ctx, i)
	if err != nil {
		return i, w, fmt.Errorf("invitation: %w", err)
	}
	return i, w, nil
}

// credentialID returns the credential whose revocation ends the invitation. An invitation sent from a page, or by an
// app for a user, depends only on the user.
func (a *Authority) credentialID() string {
	switch c := a.Credential; {
	case c == nil, c.KeyID == "" && c.UserID != "":
		return ""
	default:
		return cmp.Or(c.KeyID, c.ClientID)
	}
}

// checkSender checks that the sender of an invitation could send it now, with the same credential, and returns its
// workspace. If they could not, or if the workspace is disabled, it returns storage.ErrNotFound. Otherwise a removed
// member could come back with an invitation that they had sent to themselves.
func (m *Manager) checkSender(ctx context.Context, i storage.Invitation) (storage.Workspace, error) {
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

// sender returns the authority that the sender of an invitation has now, or storage.ErrNotFound if they have none.
func (m *Manager) sender(ctx context.Context, i storage.Invitation) (Authority, error) {
	if storage.IsID("app", i.CredentialID) { // an app that acted for itself
		c, usable, err := m.store.ClientInUse(ctx, i.CredentialID)
		if err == nil && (!usable || !c.Manages || c.WorkspaceID != i.WorkspaceID) {
			err = storage.ErrNotFound
		}
		return Authority{WorkspaceID: i.WorkspaceID, Role: catalog.RoleAdmin}, err
	}
	if i.CredentialID == "" {
		if i.CreatedBy == "" {
			return CLI(i.WorkspaceID), nil
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
	// The user of an API key is its creator, if known.
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
		Kind: k.Kind, UserID: k.UserID, Audience: k.Resource, KeyID: k.ID, Environment: k.Environment,
		Addresses: k.Addresses, ExpiresAt: k.ExpiresAt, TokenRole: k.Role, Role: a.Role,
		Scopes: r.Effective(k.Scopes, scopeRole, k.UserID != ""),
	}
	return a, nil
}

// TakeInvitation accepts an invitation by its token and makes the user a member. Only the user with the invited address
// can accept it; others get *Forbidden. It returns storage.ErrConsumed or storage.ErrNotFound if it was accepted or has
// expired, or if its sender may not send it any more, and storage.ErrExists if the user is a member already.
func (m *Manager) TakeInvitation(ctx context.Context, user storage.User, token string) (storage.Workspace, error) {
	i, w, err := m.Invitation(ctx, token)
	if err != nil {
		return w, err
	}
	if storage.EmailKey(i.Email) != storage.EmailKey(user.Email) {
		return w, &Forbidden{
			Message: locale.New("The invitation is for another address; sign in with that one, or ask for a new " +
				"invitation."),
		}
	}
	err = m.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if _, err := m.store.TakeInvitation(ctx, i.Digest, user.ID); err != nil {
			return err
		}
		if _, err := m.checkSender(ctx, i); err != nil { // checked again, now that no role can change
			return err
		}
		return m.auditWorkspace(
			ctx, "member.added", w.ID, user.ID, map[string]string{"role": i.Role, "invitation": i.ID},
		)
	})
	if err != nil {
		return w, fmt.Errorf("accept the invitation: %w", err)
	}
	return w, nil
}
