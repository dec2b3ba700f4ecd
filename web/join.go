package web

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"doorward/management"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/api"
)

// joinBase is where invitations lead; their word follows.
const joinBase = "/join/"

// noInvitation is told whoever shows a word that is good for nothing, whatever the reason.
func noInvitation(err error) *pageError {
	return &pageError{
		Status: http.StatusNotFound, Heading: "This invitation does not work", Cause: err, BackURL: "/", BackText: "Go to your settings",
		Message: "It was used or withdrawn, it has expired, or its link is incomplete. Ask the person who invited you for a new one.",
	}
}

// joinPage serves GET /join/{word}. People who have joined by the link go on to the workspace.
func (s *Server) joinPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	word := r.PathValue("word")
	i, ws, err := s.management.Invitation(r.Context(), word)
	if errors.Is(err, storage.ErrNotFound) {
		before, joined, lookup := s.joinedBy(r.Context(), v, word)
		switch {
		case lookup != nil:
			return lookup
		case joined:
			return redirect(w, workspacePath(before)+"/"+templates.TabMembers)
		}
		return noInvitation(err)
	}
	if err != nil {
		return err
	}
	return s.showJoin(w, r, http.StatusOK, v, i, ws)
}

// joinedDigest is what it is remembered by that somebody joined by a link.
func joinedDigest(v *visitor, word string) []byte { return formDigest("joined", v.user.ID, word) }

// joinedBy finds the workspace that the visitor joined by a link, while they are a member of it. The invitation itself is
// gone, so that the link is good for nothing else.
func (s *Server) joinedBy(ctx context.Context, v *visitor, word string) (ws storage.Workspace, joined bool, err error) {
	ctx, digest := storage.System(ctx), joinedDigest(v, word)
	kept, err := s.store.KeptAnswer(ctx, digest)
	if errors.Is(err, storage.ErrNotFound) {
		return ws, false, nil
	}
	if err != nil {
		return ws, false, err
	}
	id, err := s.secrets.Open(api.AnswerPurpose(digest), kept.Answer)
	if err != nil {
		return ws, false, nil
	}
	all, err := s.store.WorkspacesOf(ctx, v.user.ID)
	if err != nil {
		return ws, false, err
	}
	i := slices.IndexFunc(all, func(ws storage.Workspace) bool { return ws.ID == string(id) })
	if i < 0 {
		return ws, false, nil
	}
	return all[i], true, nil
}

func (s *Server) showJoin(w http.ResponseWriter, r *http.Request, status int, v *visitor, i storage.Invitation, ws storage.Workspace) error {
	names := people{s, map[string]string{}}
	inviter, err := names.name(r.Context(), i.CreatedBy)
	if err != nil {
		return err
	}
	view := templates.JoinView{
		Page: s.page(v, ""), Action: joinBase + r.PathValue("word"), Workspace: ws.Name, Role: i.Role, For: i.Email, By: inviter, Expires: i.ExpiresAt.Time(),
		Other: storage.EmailKey(i.Email) != storage.EmailKey(v.user.Email),
	}
	return s.render(w, r, status, view.Nonce, templates.JoinPage(view))
}

// join serves POST /join/{word}.
func (s *Server) join(w http.ResponseWriter, r *http.Request, v *visitor) error {
	word := r.PathValue("word")
	var ws storage.Workspace
	err := s.store.InTx(storage.System(r.Context()), func(ctx context.Context) (err error) {
		if ws, err = s.management.TakeInvitation(ctx, v.user, word); err != nil {
			return err
		}
		digest := joinedDigest(v, word)
		return s.store.KeepAnswer(ctx, storage.IdempotentAnswer{
			Digest: digest, WorkspaceID: ws.ID, UserID: v.user.ID, Request: digest, Status: http.StatusSeeOther,
			Answer: s.secrets.Seal(api.AnswerPurpose(digest), []byte(ws.ID)),
		})
	})
	var other *management.Forbidden
	switch {
	case errors.As(err, &other):
		i, ws, err := s.management.Invitation(r.Context(), word)
		if errors.Is(err, storage.ErrNotFound) {
			return noInvitation(err)
		}
		if err != nil {
			return err
		}
		return s.showJoin(w, r, http.StatusForbidden, v, i, ws)
	case errors.Is(err, storage.ErrExists):
		return s.changed(w, r, v, workspacePath(ws), "You are a member of "+ws.Name+" already.")
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrConsumed):
		before, joined, lookup := s.joinedBy(r.Context(), v, word)
		if lookup != nil {
			return lookup
		}
		if !joined {
			return noInvitation(err)
		}
		ws = before // the form was sent twice
	case err != nil:
		return err
	}
	return s.changed(w, r, v, workspacePath(ws)+"/"+templates.TabMembers, "You are a member of "+ws.Name+" now.")
}
