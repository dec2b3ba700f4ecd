package page

import (
	"context"
	"errors"
	"strings"

	"doorward/oauth"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/templates"
)

// Names finds the names for the ids on a workspace's pages, and looks up each id once. Deleted things keep their ids.
type Names struct {
	s         *Pages
	Workspace storage.Workspace
	people    *People
	known     map[string]templates.Named
	Owners    map[string]string // names of the users of personal access tokens, by token id
	// invited holds the email addresses of open invitations by id; nil until the first one is looked up.
	invited map[string]string
}

// NamesIn returns a Names for the pages of a workspace. If ws is zero, it is for the pages of administrators, who see
// the names of workspaces, apps and people, but only the ids of keys.
func (s *Pages) NamesIn(ws storage.Workspace) *Names {
	return &Names{
		s: s, Workspace: ws, people: s.NewPeople(), known: map[string]templates.Named{}, Owners: map[string]string{},
	}
}

// Learn looks up the names of the keys and apps among ids, so that Of finds them. ctx must be the Tenant of the
// workspace.
func (n *Names) Learn(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, ok := n.known[id]; ok {
			continue
		}
		var err error
		switch {
		case storage.IsID("key", id):
			var k storage.APIKey
			if k, err = n.s.store.Key(ctx, storage.KeyOwner{WorkspaceID: n.Workspace.ID}, id); err == nil {
				url := WorkspacePath(n.Workspace) + "/" + templates.TabKeys + "/" + id
				n.known[id] = templates.Named{Text: k.Name, URL: url}
			}
		case storage.IsID("app", id):
			var c storage.Client
			if c, err = n.s.store.ClientByID(ctx, id); err == nil && c.WorkspaceID == n.Workspace.ID {
				url := WorkspacePath(n.Workspace) + "/" + templates.TabApps + "/" + id
				n.known[id] = templates.Named{Text: c.Name, URL: url}
			}
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	return nil
}

// IsClientID reports whether id has the form of an app's client id: of one that is registered here, or of the URL of a
// metadata document. Others need not be looked up.
func IsClientID(id string) bool {
	return storage.IsID("app", id) || strings.HasPrefix(id, "https://") && input.IsSite(id)
}

// AppName is the name of an app in a sentence. The name of one with a metadata document comes after the host of the
// document, which is proven, while the app chose its name itself.
func AppName(c *storage.Client) string {
	if host := oauth.ProvenHost(c); host != "" {
		return host + " (" + c.Name + ")"
	}
	return c.Name
}

// Of returns the name for an id: of a key or app that Learn found, a user, the workspace, a personal access token, an
// app of another workspace or of none, or an open invitation. Without a name it returns the id itself.
func (n *Names) Of(ctx context.Context, id string) (templates.Named, error) {
	if x, ok := n.known[id]; ok || id == "" {
		return x, nil
	}
	ctx = storage.System(ctx)
	x := templates.Named{Text: id, IsID: true}
	name := func(text string, err error) error {
		if err == nil {
			x = templates.Named{Text: text}
		} else if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		return nil
	}
	var err error
	switch {
	case storage.IsID("user", id):
		var u storage.User
		u, err = n.s.store.UserByID(ctx, id)
		if u.Name == "" {
			u.Name = u.Email
		}
		err = name(u.Name, err)
	case id == n.Workspace.ID:
		err = name(n.Workspace.Name, nil)
	case n.Workspace.ID == "" && storage.IsID("ws", id):
		var ws storage.Workspace
		ws, err = n.s.store.WorkspaceByID(ctx, id)
		err = name(ws.Name, err)
	case storage.IsID("token", id):
		var k storage.APIKey
		if k, err = n.s.store.KeyByID(ctx, id); err == nil {
			n.Owners[id], err = n.people.Name(ctx, k.UserID)
		}
		err = name(Masked(&k), err)
	case IsClientID(id):
		var c storage.Client
		c, err = n.s.store.ClientByID(ctx, id)
		err = name(AppName(&c), err)
	case storage.IsID("invitation", id):
		if err = n.readInvitations(ctx); err == nil && n.invited[id] != "" {
			err = name(n.invited[id], nil)
		}
	}
	if err != nil {
		return x, err
	}
	n.known[id] = x
	return x, nil
}

func (n *Names) readInvitations(ctx context.Context) error {
	if n.invited != nil {
		return nil
	}
	open, err := n.s.store.InvitationsOf(ctx, n.Workspace.ID)
	if err != nil {
		return err
	}
	n.invited = map[string]string{}
	for _, i := range open {
		n.invited[i.ID] = i.Email
	}
	return nil
}
