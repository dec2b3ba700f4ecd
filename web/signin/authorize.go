package signin

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/page"
)

// Config is what the pages for signing in are made of. Every field is needed.
type Config struct {
	Pages      *page.Pages
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Secrets    *seal.Secrets
	Identity   *identity.Service
	CountLogin func(outcome string) // "ok", "wrong" or "throttled"
}

// Handlers serves the pages on which people sign in and decide about apps.
type Handlers struct {
	*page.Pages
	store      *storage.Store
	oauth      *oauth.Server
	management *management.Manager
	secrets    *seal.Secrets
	identity   *identity.Service
	countLogin func(outcome string)
}

// New makes the handlers.
func New(c Config) *Handlers {
	return &Handlers{Pages: c.Pages, store: c.Store, oauth: c.OAuth, management: c.Management, secrets: c.Secrets, identity: c.Identity, countLogin: c.CountLogin}
}

// Authorize serves GET and POST /oauth/authorize (RFC 6749, section 4.1.1). It validates and asks nothing: where
// nothing has to be asked it answers with a code, else it sends the browser to login or consent.
func (s *Handlers) Authorize(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost && oauth.IsEncoded(r.Header) {
		return page.EncodedBody(w)
	}
	a, err := s.oauth.ParseAuthorize(w, r)
	var refused *oauth.AuthorizeError
	if err != nil && (!errors.As(err, &refused) || refused.RedirectTo == "") {
		return err
	}
	v, lookup := s.Visitor(r)
	if lookup != nil {
		return lookup
	}
	if refused != nil {
		return s.refuse(w, r, a, v, refused)
	}
	if a.NeedsLogin(v.AuthTime()) || a.NeedsSelection(v.AuthTime()) {
		if a.Prompt == "none" {
			return s.refuse(w, r, a, v, s.oauth.Refuse(a, oauth.LoginRequired))
		}
		return page.Redirect(w, "/login?flow="+s.sealFlow(w, r, &a.Flow))
	}
	p, err := s.place(r.Context(), a, v)
	if err != nil {
		return err
	}
	if p.hasNoWorkspace() || a.NeedsConsent(p.known) {
		if a.Prompt == "none" {
			return s.refuse(w, r, a, v, s.oauth.Refuse(a, oauth.ConsentRequired))
		}
		return page.Redirect(w, "/oauth/consent?flow="+s.sealFlow(w, r, &a.Flow))
	}
	to, err := s.oauth.Approve(r.Context(), a, p.decision(a.Scopes, ""))
	if err != nil {
		return s.approveFailed(w, a, err)
	}
	return page.Redirect(w, to)
}

// refuse tells the app, or, where it is not trusted with sending people around unasked, the person.
func (s *Handlers) refuse(
	w http.ResponseWriter, r *http.Request, a *oauth.AuthorizeRequest, v *page.Visitor, refused *oauth.AuthorizeError,
) error {
	n := oauth.LogFieldsOf(r.Context())
	n.ErrorCode, n.Cause = refused.Code, refused
	allowedBefore := false
	if !a.MayAnswerUnasked(false) && v.SignedIn() && a.Resource != nil {
		before, err := s.oauth.Remembered(r.Context(), a, v.User.ID)
		if err != nil {
			return err
		}
		allowedBefore = len(before) > 0
	}
	if !a.MayAnswerUnasked(allowedBefore) {
		return refused
	}
	return page.Redirect(w, refused.RedirectTo)
}

// approveFailed sorts out what Approve may return: an answer for the app, or a page.
func (s *Handlers) approveFailed(w http.ResponseWriter, a *oauth.AuthorizeRequest, err error) error {
	var refused *oauth.AuthorizeError
	var e *page.Error
	switch {
	case errors.As(err, &refused) && refused.RedirectTo != "":
		return page.Redirect(w, refused.RedirectTo)
	case errors.Is(err, oauth.ErrNotAllowed):
		e = &page.Error{
			Status: http.StatusConflict, Heading: "The app's access was revoked",
			Message: "No access was granted. To allow the app, start again from the app.", Cause: err,
		}
	case errors.Is(err, storage.ErrNotFound):
		e = &page.Error{
			Status: http.StatusForbidden, Heading: "You no longer have permission",
			Message: "Your account or membership was removed, or the app was deleted, while this page was open. No access was granted.",
			Cause:   err,
		}
	default:
		return err
	}
	linkToApp(e, a, false)
	return e
}

// place is where an authorization would act: the person, one of their workspaces, and what they allowed there before.
type place struct {
	visitor    *page.Visitor
	workspaces []storage.Workspace // in which they may let an app act, the personal one first
	more       bool                // they belong to others, in which they may not
	workspace  storage.Workspace   // the one of their last answer, else the first; zero where there is none
	answered   bool                // workspace is that of their last answer to this app
	known      []string
}

// hasNoWorkspace tells that there is no workspace in which the person may let an app act.
func (p *place) hasNoWorkspace() bool { return len(p.workspaces) == 0 }

// place finds the workspace that tokens will act in: the one that the person chose when this app asked for this API
// last. Where they may not act there any more, nothing is known, so that they are asked.
func (s *Handlers) place(ctx context.Context, a *oauth.AuthorizeRequest, v *page.Visitor) (*place, error) {
	all, err := s.store.WorkspacesOf(storage.System(ctx), v.User.ID)
	if err != nil {
		return nil, err
	}
	p := &place{visitor: v}
	for _, ws := range all {
		if ws.DisabledAt.IsZero() && management.RoleMay(ws.Role, management.MayConsent) {
			p.workspaces = append(p.workspaces, ws)
		}
	}
	p.more = len(p.workspaces) < len(all)
	if p.hasNoWorkspace() {
		return p, nil
	}
	p.workspace = p.workspaces[0]
	before, err := s.oauth.Remembered(ctx, a, v.User.ID)
	if err != nil {
		return nil, err
	}
	if len(before) > 0 && p.choose(func(ws storage.Workspace) bool { return ws.ID == before[0].WorkspaceID }) {
		p.answered, p.known = true, before[0].Scopes
	}
	return p, nil
}

// preselect chooses the workspace that the consent page offers first: that of the last answer to this app, else the one
// used last, else the app's own, else the personal one.
func (s *Handlers) preselect(r *http.Request, a *oauth.AuthorizeRequest, p *place) {
	if p.answered {
		return
	}
	if last, ok := s.LastWorkspace(r, p.workspaces); ok {
		p.workspace = last
		return
	}
	p.choose(func(ws storage.Workspace) bool { return ws.ID == a.Client.WorkspaceID })
}

// choose chooses another workspace, if there is one like that.
func (p *place) choose(like func(storage.Workspace) bool) bool {
	i := slices.IndexFunc(p.workspaces, like)
	if i >= 0 {
		p.workspace = p.workspaces[i]
	}
	return i >= 0
}

// decision is the person's yes to scopes. A flow id says that they were asked.
func (p *place) decision(scopes []string, flowID string) oauth.Decision {
	return oauth.Decision{
		UserID: p.visitor.User.ID, SessionID: p.visitor.Row.ID, WorkspaceID: p.workspace.ID, Role: p.workspace.Role,
		AuthTime: p.visitor.AuthTime(),
		Scopes:   scopes, FlowID: flowID,
	}
}

// resume continues an authorization after a sign-in, as authorize would have done with the session.
func (s *Handlers) resume(
	w http.ResponseWriter, r *http.Request, a *oauth.AuthorizeRequest, v *page.Visitor, sealed string,
) error {
	p, err := s.place(r.Context(), a, v)
	if err != nil {
		return err
	}
	if p.hasNoWorkspace() || a.NeedsConsent(p.known) {
		return page.Redirect(w, "/oauth/consent?flow="+sealed)
	}
	to, err := s.oauth.Approve(r.Context(), a, p.decision(a.Scopes, a.ID))
	if errors.Is(err, oauth.ErrAnswered) {
		return s.sameAnswer(w, r, &a.Flow, v, "")
	}
	if err != nil {
		return s.approveFailed(w, a, err)
	}
	s.endFlow(w, r, &a.Flow)
	return page.Redirect(w, to)
}

// reopen makes the request of a flow again. It answers by itself (done) where the app has to be told that the request
// is no longer good. A flow that is for no app is a fault of whoever sent it.
func (s *Handlers) reopen(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow,
) (a *oauth.AuthorizeRequest, done bool, err error) {
	if f.ClientID == "" {
		return nil, false, &page.Error{
			Status: http.StatusBadRequest, Heading: "We couldn't read this request",
			Message: "It is a sign-in without an app. Start again from the app.",
		}
	}
	a, err = s.oauth.ReopenAuthorize(r.Context(), f)
	var refused *oauth.AuthorizeError
	if !errors.As(err, &refused) || refused.RedirectTo == "" {
		return a, false, err
	}
	v, err := s.Visitor(r)
	if err != nil {
		return nil, false, err
	}
	return nil, true, s.refuse(w, r, a, v, refused)
}
