package web

import (
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
)

// joinBase is where invitations lead; their word follows.
const joinBase = "/join/"

// noInvitation is told whoever shows a word that is good for nothing, whatever the reason.
func noInvitation(err error) *pageError {
	return &pageError{
		Status: http.StatusNotFound, Heading: "This invitation does not work", Cause: err, BackURL: "/", BackText: "Go to your settings",
		Message: "It was used or taken back, has ended, or its link is incomplete. Ask whoever invited you for a new one.",
	}
}

// joinPage serves GET /join/{word}.
func (s *Server) joinPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	i, ws, err := s.oauth.Invitation(r.Context(), r.PathValue("word"))
	if errors.Is(err, storage.ErrNotFound) {
		return noInvitation(err)
	}
	if err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	return s.showJoin(w, r, http.StatusOK, v, i, ws)
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
	ws, err := s.oauth.TakeInvitation(r.Context(), v.user, word)
	var other *oauth.Forbidden
	switch {
	case errors.As(err, &other):
		i, ws, err := s.oauth.Invitation(r.Context(), word)
		if errors.Is(err, storage.ErrNotFound) {
			return noInvitation(err)
		}
		if err != nil {
			return err //nolint:wrapcheck // it says what it did
		}
		return s.showJoin(w, r, http.StatusForbidden, v, i, ws)
	case errors.Is(err, storage.ErrExists):
		return s.changed(w, r, v, workspacePath(ws), "You are a member of "+ws.Name+" already.")
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrConsumed):
		return noInvitation(err)
	case err != nil:
		return err //nolint:wrapcheck // it says what it did
	}
	return s.changed(w, r, v, workspacePath(ws)+"/"+templates.TabMembers, "You are a member of "+ws.Name+" now.")
}
