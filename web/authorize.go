package web

import (
	"context"
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/storage"
)

// authorize serves GET and POST /oauth/authorize (RFC 6749 section 4.1.1). It validates and asks nothing: where
// nothing has to be asked it answers with a code, else it sends the browser to login or consent.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	a, err := s.oauth.ParseAuthorize(w, r)
	var refused *oauth.AuthorizeError
	if err != nil && (!errors.As(err, &refused) || refused.RedirectTo == "") {
		return err
	}
	v, lookup := s.visitor(r)
	if lookup != nil {
		return lookup
	}
	if refused != nil {
		return s.refuse(w, r, a, v, refused)
	}
	if a.NeedsLogin(v.authTime()) {
		if a.Prompt == "none" {
			return s.refuse(w, r, a, v, s.oauth.Refuse(a, oauth.LoginRequired))
		}
		return redirect(w, "/login?flow="+s.sealFlow(w, r, &a.Flow))
	}
	p, err := s.place(r.Context(), a, v)
	if err != nil {
		return err
	}
	if a.NeedsConsent(p.known) {
		if a.Prompt == "none" {
			return s.refuse(w, r, a, v, s.oauth.Refuse(a, oauth.ConsentRequired))
		}
		return redirect(w, "/oauth/consent?flow="+s.sealFlow(w, r, &a.Flow))
	}
	to, err := s.oauth.Approve(r.Context(), a, p.decision(a.Scopes, ""))
	if err != nil {
		return s.approveFailed(w, err)
	}
	return redirect(w, to)
}

// refuse tells the app, or, where it is not trusted with sending people around unasked, the person.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, a *oauth.AuthorizeRequest, v *visitor, refused *oauth.AuthorizeError) error {
	n := oauth.Note(r.Context())
	n.ErrorCode, n.Cause = refused.Code, refused
	if !a.MayAnswerUnasked(nil) {
		var known []string
		if v.signedIn() && a.Resource != nil {
			p, err := s.place(r.Context(), a, v)
			if err != nil {
				return err
			}
			known = p.known
		}
		if !a.MayAnswerUnasked(known) {
			return refused
		}
	}
	return redirect(w, refused.RedirectTo)
}

// approveFailed sorts out what Approve may return: an answer for the app, or a page.
func (s *Server) approveFailed(w http.ResponseWriter, err error) error {
	var refused *oauth.AuthorizeError
	if errors.As(err, &refused) && refused.RedirectTo != "" {
		return redirect(w, refused.RedirectTo)
	}
	if errors.Is(err, oauth.ErrNotAllowed) {
		return &pageError{Status: http.StatusConflict, Heading: "The app's access was ended", Message: "Nothing was granted. Start again from the app if you want to allow it.", Cause: err}
	}
	if errors.Is(err, storage.ErrNotFound) {
		return &pageError{Status: http.StatusForbidden, Heading: "You may not do that any more", Message: "Your account was disabled, or the app was removed, while this page was open. Nothing was granted.", Cause: err}
	}
	return err
}

// place is where an authorization would act: the person, one of their workspaces, and what they allowed there before.
type place struct {
	visitor    *visitor
	workspace  storage.Workspace
	workspaces []storage.Workspace
	known      []string
}

// place finds the workspace that tokens will act in. The personal one stands first.
func (s *Server) place(ctx context.Context, a *oauth.AuthorizeRequest, v *visitor) (*place, error) {
	all, err := s.store.WorkspacesOf(storage.System(ctx), v.user.ID)
	if err != nil {
		return nil, err //nolint:wrapcheck // storage's own sentinels
	}
	p := &place{visitor: v}
	for _, ws := range all {
		if ws.DisabledAt.IsZero() {
			p.workspaces = append(p.workspaces, ws)
		}
	}
	if len(p.workspaces) == 0 {
		return nil, &pageError{Status: http.StatusForbidden, Heading: "You have no workspace", Message: "Every workspace of yours is disabled; ask an administrator of this server."}
	}
	return p, s.moveTo(ctx, a, p, p.workspaces[0])
}

func (s *Server) moveTo(ctx context.Context, a *oauth.AuthorizeRequest, p *place, ws storage.Workspace) (err error) {
	p.workspace = ws
	p.known, err = s.oauth.Known(ctx, a, p.visitor.user.ID, ws.ID)
	return err //nolint:wrapcheck // storage's own sentinels
}

// decision is the person's yes to scopes. A flow id says that they were asked.
func (p *place) decision(scopes []string, flowID string) oauth.Decision {
	return oauth.Decision{
		UserID: p.visitor.user.ID, WorkspaceID: p.workspace.ID, Role: p.workspace.Role, AuthTime: p.visitor.authTime(),
		Scopes: scopes, FlowID: flowID,
	}
}

// goOn continues an authorization after a sign-in, as authorize would have done with the session.
func (s *Server) goOn(w http.ResponseWriter, r *http.Request, a *oauth.AuthorizeRequest, v *visitor, sealed string) error {
	p, err := s.place(r.Context(), a, v)
	if err != nil {
		return err
	}
	if a.NeedsConsent(p.known) {
		return redirect(w, "/oauth/consent?flow="+sealed)
	}
	to, err := s.oauth.Approve(r.Context(), a, p.decision(a.Scopes, a.ID))
	if err != nil {
		return s.approveFailed(w, err)
	}
	s.endFlow(w, r, &a.Flow)
	return redirect(w, to)
}

// reopen makes the request of a flow again. It answers by itself (done) where the app has to be told that the request
// is no longer good. A flow that is for no app is a fault of whoever sent it.
func (s *Server) reopen(w http.ResponseWriter, r *http.Request, f *oauth.Flow) (a *oauth.AuthorizeRequest, done bool, err error) {
	if f.ClientID == "" {
		return nil, false, &pageError{Status: http.StatusBadRequest, Heading: "This request cannot be read", Message: "Start again from the app."}
	}
	a, err = s.oauth.ReopenAuthorize(r.Context(), f)
	var refused *oauth.AuthorizeError
	if !errors.As(err, &refused) || refused.RedirectTo == "" {
		return a, false, err //nolint:wrapcheck // asPageError reads it
	}
	v, err := s.visitor(r)
	if err != nil {
		return nil, false, err
	}
	return nil, true, s.refuse(w, r, a, v, refused)
}
