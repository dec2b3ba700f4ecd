package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// noInvitation is the page for a link that cannot be used. It does not say why, so that it reveals nothing.
func noInvitation(err error) *page.Error {
	return &page.Error{
		Status: http.StatusNotFound, Heading: locale.New("This invitation is not valid"), Cause: err, BackURL: "/",
		BackText: locale.New("Go to your settings"),
		Message: locale.New("It was used or revoked, it has expired, or its link is incomplete. Ask the person who invited " +
			"you for a new one."),
	}
}

// JoinPage serves GET /join/{word}. A visitor who is not signed in is asked to sign in first, if the invitation is
// still open, or to create the account that the invited address does not have. Users who joined with the link go on to
// the workspace.
func (s *Handlers) JoinPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	token := r.PathValue("word")
	i, ws, err := s.management.Invitation(r.Context(), token)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if !v.SignedIn() {
		query := "?return_to=" + url.QueryEscape(r.URL.RequestURI())
		signIn := "/login" + query
		if err == nil && s.maySignUp(true) {
			_, err := s.store.UserByEmail(storage.System(r.Context()), i.Email)
			if errors.Is(err, storage.ErrNotFound) {
				return page.Redirect(w, "/signup"+query)
			}
			if err != nil {
				return err
			}
		}
		if err == nil {
			return page.Redirect(w, signIn)
		}
		e := noInvitation(err)
		e.Message = page.Sentences(e.Message, locale.New("If you have already joined with this link, sign in."))
		e.BackURL, e.BackText = signIn, locale.New("Sign in")
		return e
	}
	if err != nil {
		before, joined, lookup := s.joinedBy(r.Context(), v, token)
		switch {
		case lookup != nil:
			return lookup
		case joined:
			return page.Redirect(w, page.WorkspacePath(before)+"/"+templates.TabMembers)
		}
		return noInvitation(err)
	}
	return s.showJoin(w, r, http.StatusOK, v, i, ws)
}

// invitedTo describes the open invitation at a path; nil: there is none.
func (s *Handlers) invitedTo(ctx context.Context, path string) (*templates.InvitedTo, error) {
	token, ok := strings.CutPrefix(path, page.JoinPath)
	if !ok {
		return nil, nil
	}
	i, ws, err := s.management.Invitation(ctx, token)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &templates.InvitedTo{Workspace: ws.Name, For: i.Email}, nil
}

// joinedDigest is the key under which it is stored that a user joined with a link.
func joinedDigest(v *page.Visitor, token string) []byte {
	return page.Digest("joined", v.User.ID, token)
}

// joinedBy returns the workspace that the visitor joined with a link, if they are still a member of it. The invitation
// itself no longer exists.
func (s *Handlers) joinedBy(
	ctx context.Context, v *page.Visitor, token string,
) (ws storage.Workspace, joined bool, err error) {
	ctx, digest := storage.System(ctx), joinedDigest(v, token)
	kept, err := s.store.KeptAnswer(ctx, digest)
	if errors.Is(err, storage.ErrNotFound) {
		return ws, false, nil
	}
	if err != nil {
		return ws, false, err
	}
	id, err := s.secrets.Open(seal.AnswerPurpose(digest), kept.Answer)
	if err != nil {
		return ws, false, nil
	}
	all, err := s.store.WorkspacesOf(ctx, v.User.ID)
	if err != nil {
		return ws, false, err
	}
	i := slices.IndexFunc(all, func(ws storage.Workspace) bool { return ws.ID == string(id) })
	if i < 0 {
		return ws, false, nil
	}
	return all[i], true, nil
}

// showJoin renders the page of an invitation.
func (s *Handlers) showJoin(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, i storage.Invitation, ws storage.Workspace,
) error {
	names := s.NewPeople()
	inviter, err := names.Name(r.Context(), i.CreatedBy)
	if err != nil {
		return err
	}
	view := templates.JoinView{
		Page: s.NewPage(v, ""), Action: page.JoinPath + r.PathValue("word"), Workspace: ws.Name, Role: i.Role, For: i.Email,
		By: inviter, Expires: i.ExpiresAt.Time(),
		Other: storage.EmailKey(i.Email) != storage.EmailKey(v.User.Email),
	}
	return s.Render(w, r, status, view.Nonce, templates.JoinPage(view))
}

// Join serves POST /join/{word}.
func (s *Handlers) Join(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	token := r.PathValue("word")
	var ws storage.Workspace
	err := s.store.InTx(storage.System(r.Context()), func(ctx context.Context) (err error) {
		if ws, err = s.management.TakeInvitation(ctx, v.User, token); err != nil {
			return err
		}
		digest := joinedDigest(v, token)
		return s.store.KeepAnswer(ctx, storage.IdempotentAnswer{
			Digest: digest, WorkspaceID: ws.ID, UserID: v.User.ID, Request: digest, Status: http.StatusSeeOther,
			Answer: s.secrets.Seal(seal.AnswerPurpose(digest), []byte(ws.ID)),
		})
	})
	var other *management.Forbidden
	switch {
	case errors.As(err, &other):
		i, ws, err := s.management.Invitation(r.Context(), token)
		if errors.Is(err, storage.ErrNotFound) {
			return noInvitation(err)
		}
		if err != nil {
			return err
		}
		return s.showJoin(w, r, http.StatusForbidden, v, i, ws)
	case errors.Is(err, storage.ErrExists):
		return s.RedirectWithNotice(w, r, v, page.WorkspacePath(ws), locale.New("You are already a member of %s.", ws.Name))
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrConsumed):
		before, joined, lookup := s.joinedBy(r.Context(), v, token)
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
	return s.RedirectWithNotice(
		w, r, v, page.WorkspacePath(ws)+"/"+templates.TabMembers, locale.New("You are now a member of %s.", ws.Name),
	)
}
