package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// Workspace is a workspace in responses to a member.
type Workspace struct {
	ID       string  `json:"id"`
	Slug     string  `json:"slug" doc:"Identifies the workspace in paths and headers."`
	Name     string  `json:"name"`
	Plan     *string `json:"plan" doc:"null: no plan of its own."`
	Personal bool    `json:"personal" doc:"A user's personal workspace, deleted with them."`
	Disabled bool    `json:"disabled" doc:"All keys, tokens and apps of the workspace are disabled."`
	Role     *string `json:"role" enum:"viewer,member,admin,owner" doc:"Role of the caller; API keys have the admin role. null: the caller is an administrator of this server and not a member."`
}

// NewWorkspace is the request to create a workspace.
type NewWorkspace struct {
	Name string `json:"name" doc:"1 to 100 characters."`
	Slug string `json:"slug" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" doc:"2 to 40 characters: lower-case letters, digits and single hyphens. Cannot be changed later."`
}

// WorkspaceChange is the request to update a workspace.
type WorkspaceChange struct {
	Name *string        `json:"name,omitempty"`
	Plan Change[string] `json:"plan,omitzero" doc:"A plan from the configuration; null: no plan of its own."`
}

// Member is a user in a workspace.
type Member struct {
	UserID   string `json:"userId"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	Role     string `json:"role" enum:"viewer,member,admin,owner"`
	Disabled bool   `json:"disabled" doc:"The user's account is disabled."`
	JoinedAt Moment `json:"joinedAt"`
}

// MemberChange is the request to change a member's role.
type MemberChange struct {
	Role string `json:"role" enum:"viewer,member,admin,owner"`
}

// Invitation is an offer to join a workspace.
type Invitation struct {
	ID        string  `json:"id"`
	URL       string  `json:"url,omitempty" doc:"The link to send. Returned only when the invitation is created, by a server that sends no email."`
	Email     string  `json:"email" doc:"Email address of the person who is invited."`
	Role      string  `json:"role" enum:"viewer,member,admin,owner"`
	CreatedAt Moment  `json:"createdAt"`
	CreatedBy *string `json:"createdBy" doc:"ID of a user; null: created with the CLI or a key."`
	ExpiresAt Moment  `json:"expiresAt"`
}

// NewInvitation is the request to invite a user by email address.
type NewInvitation struct {
	Email string `json:"email"`
	Role  string `json:"role" enum:"viewer,member,admin,owner"`
}

func (a *API) workspaces() []operation {
	shown := Workspace{ID: "ws_" + exampleUUID, Slug: "acme", Name: "Acme", Role: ptr(catalog.RoleOwner)}
	member := Member{
		UserID:   "user_" + exampleUUID,
		Email:    "bob@example.com",
		Name:     "Bob",
		Role:     catalog.RoleMember,
		JoinedAt: exampleTime,
	}
	invited := Invitation{
		ID:        "invitation_" + exampleUUID,
		Email:     "carol@example.com",
		Role:      catalog.RoleMember,
		CreatedAt: exampleTime,
		CreatedBy: ptr("user_" + exampleUUID),
		ExpiresAt: Moment(storage.Time(exampleTime).Add(management.InvitationLifetime)),
	}
	made := invited
	made.URL = a.management.InvitationURL("dw_in_…")
	list := func(o operation) operation { o.tag = "Workspaces"; return o }
	one := func(o operation) operation { o.tag, o.where = "Workspaces", inPath; return o }
	const base = "/v1/workspaces/{slug}"
	return []operation{
		on(list(operation{
			method:   post,
			path:     "/v1/workspaces",
			id:       "createWorkspace",
			summary:  "Create a workspace",
			status:   201,
			conflict: "The slug is taken.",
			text:     "For users, with a browser session or a personal access token. The caller becomes its owner.",
			request:  NewWorkspace{Name: "Acme", Slug: "acme"},
			answer:   shown,
		}), a.createWorkspace),
		on(list(operation{
			method:  get,
			path:    "/v1/workspaces",
			id:      "listWorkspaces",
			summary: "List your workspaces",
			status:  200,
			text:    "API keys and apps see only the workspace in which they act.",
			answer:  List[Workspace]{Data: []Workspace{shown}},
		}), a.listWorkspaces),
		on(one(operation{
			method:  get,
			path:    base,
			id:      "getWorkspace",
			summary: "Show a workspace",
			status:  200,
			may:     management.MaySee,
			answer:  shown,
		}), a.getWorkspace),
		on(one(operation{
			method:      patch,
			path:        base,
			id:          "updateWorkspace",
			summary:     "Update a workspace",
			status:      200,
			administers: true,
			text: "Changing the name requires the owner role. Only administrators of this server can set the plan, in " +
				"any workspace, with a " +
				"browser session or a personal access token that is not limited to a role; with `plans_by: owners` " +
				"in the " +
				"configuration, owners can set it too.",
			request: WorkspaceChange{Name: ptr("Acme")},
			answer:  shown,
		}), a.updateWorkspace),
		on(one(operation{
			method:  get,
			path:    base + "/members",
			id:      "listMembers",
			summary: "List members",
			status:  200,
			may:     management.MaySee,
			answer:  List[Member]{Data: []Member{member}},
		}), a.listMembers),
		on(one(operation{
			method:  patch,
			path:    base + "/members/{userId}",
			id:      "updateMember",
			summary: "Change a member's role",
			status:  200,
			may:     management.MayManageMembers,
			request: MemberChange{
				Role: catalog.RoleMember,
			},
			answer:   member,
			conflict: "The workspace would have no owner, or it is a personal workspace.",
		}), a.updateMember),
		on(one(operation{
			method:   remove,
			path:     base + "/members/{userId}",
			id:       "removeMember",
			summary:  "Remove a member, or leave a workspace",
			status:   204,
			may:      management.MaySee,
			conflict: "The workspace would have no owner, or it is a personal workspace.",
		}), a.removeMember),
		on(one(operation{
			method:  post,
			path:    base + "/invitations",
			id:      "createInvitation",
			summary: "Create an invitation",
			status:  201,
			may:     management.MayManageMembers,
			text: "The link is returned in the member `url` of this response and never again; send it to the " +
				"person. Replaces an earlier invitation to the same address.",
			request:  NewInvitation{Email: invited.Email, Role: invited.Role},
			answer:   made,
			conflict: "It is a personal workspace.",
		}), a.createInvitation),
		on(one(operation{
			method:  get,
			path:    base + "/invitations",
			id:      "listInvitations",
			summary: "List pending invitations",
			status:  200,
			may:     management.MayManageMembers,
			text:    "Oldest first.",
			answer:  List[Invitation]{Data: []Invitation{invited}},
		}), a.listInvitations),
		on(one(operation{
			method:  remove,
			path:    base + "/invitations/{id}",
			id:      "withdrawInvitation",
			summary: "Revoke an invitation",
			status:  204,
			may:     management.MayManageMembers,
		}), a.withdrawInvitation),
		on(one(operation{
			method:  remove,
			path:    base,
			id:      "deleteWorkspace",
			summary: "Delete a workspace",
			status:  204,
			may:     management.MayDeleteWorkspace,
			text: "Also deletes its keys, apps, usage and memberships. Its audit events are kept for the " +
				"server's administrators.",
			conflict: "It is a personal workspace, which is deleted with its user.",
		}), a.deleteWorkspace),
	}
}

func showWorkspace(w *storage.Workspace) Workspace {
	return Workspace{
		ID:       w.ID,
		Slug:     w.Slug,
		Name:     w.Name,
		Plan:     stringOrNil(w.Plan),
		Personal: w.Personal,
		Disabled: !w.DisabledAt.IsZero(),
		Role:     stringOrNil(w.Role),
	}
}

func (a *API) createWorkspace(ctx context.Context, c *call, _ *none, in *NewWorkspace) (Workspace, error) {
	w, err := a.management.CreateWorkspace(ctx, c.by, in.Name, in.Slug, "", c.by.UserID)
	return showWorkspace(&w), err
}

func (a *API) listWorkspaces(ctx context.Context, c *call, q *Page, _ *none) (List[Workspace], error) {
	after, err := c.after(q)
	if err != nil {
		return List[Workspace]{}, err
	}
	var rows []storage.Workspace
	switch {
	case c.principal == nil || c.principal.Kind == bearer.KindPersonalAccessToken:
		if rows, err = a.store.WorkspacesOf(ctx, c.by.UserID); err != nil {
			return List[Workspace]{}, fmt.Errorf("list workspaces: %w", err)
		}
	case c.by.WorkspaceID != "":
		rows = []storage.Workspace{c.workspace} // all that they can reach
	}
	for i := range rows {
		if p := c.principal; p != nil {
			rows[i].Role = catalog.LowerRole(rows[i].Role, p.TokenRole)
		}
	}
	place := func(w *storage.Workspace) string { return w.ID }
	slices.SortFunc(rows, func(a, b storage.Workspace) int { return cmp.Compare(a.ID, b.ID) })
	return listOf(c, q, cut(q, rows, after, place), place, showWorkspace), nil
}

func (a *API) getWorkspace(_ context.Context, c *call, _, _ *none) (Workspace, error) {
	return showWorkspace(&c.workspace), nil
}

func (a *API) updateWorkspace(ctx context.Context, c *call, _ *none, in *WorkspaceChange) (Workspace, error) {
	w, err := a.management.UpdateWorkspace(ctx, c.by, c.workspace, in.Name, in.Plan.pointer())
	return showWorkspace(&w), err
}

func (a *API) deleteWorkspace(ctx context.Context, c *call, _, _ *none) (none, error) {
	err := a.management.DeleteWorkspace(ctx, c.by, c.workspace)
	if errors.Is(err, storage.ErrConflict) {
		err = conflict("This is a personal workspace; it is deleted with its user.")
	}
	return none{}, err
}

func showMember(m *storage.Member) Member {
	return Member{
		UserID:   m.UserID,
		Email:    m.Email,
		Name:     m.Name,
		Role:     m.Role,
		Disabled: m.Disabled,
		JoinedAt: Moment(m.Since),
	}
}

func (a *API) listMembers(ctx context.Context, c *call, q *Page, _ *none) (List[Member], error) {
	after, err := c.after(q)
	if err != nil {
		return List[Member]{}, err
	}
	rows, err := a.store.Members(ctx, c.workspace.ID, after, q.size()+1)
	if err != nil {
		return List[Member]{}, fmt.Errorf("list members: %w", err)
	}
	return listOf(c, q, rows, func(m *storage.Member) string { return m.UserID }, showMember), nil
}

// lastOwner explains a storage.ErrConflict about members.
func lastOwner(err error) error {
	if errors.Is(err, storage.ErrConflict) {
		return conflict(
			"The member is the last owner, or this is a personal workspace; make another member an owner first.",
		)
	}
	return err
}

func (a *API) updateMember(ctx context.Context, c *call, _ *none, in *MemberChange) (Member, error) {
	id, err := c.id("userId", "user")
	if err != nil {
		return Member{}, err
	}
	if err := a.management.ChangeRole(ctx, c.by, c.workspace, id, in.Role); err != nil {
		return Member{}, lastOwner(err)
	}
	m, err := a.store.Member(ctx, c.workspace.ID, id)
	return showMember(&m), err
}

func (a *API) removeMember(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("userId", "user")
	if err == nil {
		err = lastOwner(a.management.RemoveMember(ctx, c.by, c.workspace, id))
	}
	return none{}, err
}

func (a *API) showInvitation(i *storage.Invitation) Invitation {
	return Invitation{
		ID:        i.ID,
		Email:     i.Email,
		Role:      i.Role,
		CreatedAt: Moment(i.CreatedAt),
		CreatedBy: stringOrNil(i.CreatedBy),
		ExpiresAt: Moment(i.ExpiresAt),
	}
}

func (a *API) createInvitation(ctx context.Context, c *call, _ *none, in *NewInvitation) (Invitation, error) {
	i, token, err := a.management.Invite(ctx, c.by, c.workspace, in.Email, in.Role)
	if errors.Is(err, storage.ErrConflict) {
		err = conflict("A personal workspace cannot have other members; create a workspace to share.")
	}
	if err != nil {
		return Invitation{}, err
	}
	shown := a.showInvitation(&i)
	if !a.management.SendsEmail() {
		shown.URL = a.management.InvitationURL(token)
	}
	return shown, nil
}

func (a *API) listInvitations(ctx context.Context, c *call, q *Page, _ *none) (List[Invitation], error) {
	after, err := c.after(q)
	if err != nil {
		return List[Invitation]{}, err
	}
	rows, err := a.store.InvitationsOf(ctx, c.workspace.ID)
	if err != nil {
		return List[Invitation]{}, fmt.Errorf("list invitations: %w", err)
	}
	slices.Reverse(rows)
	place := func(i *storage.Invitation) string { return i.ID }
	return listOf(c, q, cut(q, rows, after, place), place, a.showInvitation), nil
}

func (a *API) withdrawInvitation(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "invitation")
	if err == nil {
		err = a.management.DropInvitation(ctx, c.by, c.workspace, id)
	}
	return none{}, err
}
