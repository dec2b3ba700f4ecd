package web

import (
	"context"
	"errors"

	"doorward/management"
	"doorward/storage"
	"doorward/templates"
)

// names finds what the ids on a workspace's pages stand for, each once. What there is no more keeps its id.
type names struct {
	s      *Server
	ws     storage.Workspace
	people people
	known  map[string]templates.Named
	owners map[string]string // of personal access tokens that were looked up
	// invited are the addresses of open invitations by their ids, once one was asked for.
	invited map[string]string
}

func (s *Server) namesIn(ws storage.Workspace) *names {
	return &names{s: s, ws: ws, people: people{s, map[string]string{}}, known: map[string]templates.Named{}, owners: map[string]string{}}
}

// learn looks up the workspace's own keys and apps among ids. ctx speaks for its tenant.
func (n *names) learn(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, ok := n.known[id]; ok {
			continue
		}
		var err error
		switch {
		case storage.IsID("key", id):
			var k storage.APIKey
			if k, err = n.s.store.Key(ctx, storage.KeyOwner{WorkspaceID: n.ws.ID}, id); err == nil {
				n.known[id] = templates.Named{Text: k.Name, URL: workspacePath(n.ws) + "/" + templates.TabKeys + "/" + id}
			}
		case storage.IsID("app", id):
			var c storage.Client
			if c, err = n.s.store.ClientByID(ctx, id); err == nil && c.WorkspaceID == n.ws.ID {
				n.known[id] = templates.Named{Text: c.Name, URL: workspacePath(n.ws) + "/" + templates.TabApps + "/" + id}
			}
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	return nil
}

// of is what an id stands for: what was learnt, else a person, the workspace, a personal access token of a member, an app
// of somebody else that a member let in, or an open invitation.
func (n *names) of(ctx context.Context, id string) (templates.Named, error) {
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
	case id == n.ws.ID:
		err = name(n.ws.Name, nil)
	case storage.IsID("token", id):
		var k storage.APIKey
		if k, err = n.s.store.KeyByID(ctx, id); err == nil {
			n.owners[id], err = n.people.name(ctx, k.UserID)
		}
		err = name(masked(&k), err)
	case storage.IsID("app", id):
		var c storage.Client
		c, err = n.s.store.ClientByID(ctx, id)
		err = name(c.Name, err)
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

func (n *names) readInvitations(ctx context.Context) error {
	if n.invited != nil {
		return nil
	}
	open, err := n.s.store.InvitationsOf(ctx, n.ws.ID)
	if err != nil {
		return err
	}
	n.invited = map[string]string{}
	for _, i := range open {
		n.invited[i.ID] = i.Email
	}
	return nil
}

// readAs runs fn in a transaction that reads what is a workspace's own.
func (s *Server) readAs(ctx context.Context, by management.Authority, fn func(ctx context.Context) error) error {
	return s.store.InTx(storage.Tenant(ctx, by.UserID, by.WorkspaceID), fn)
}
