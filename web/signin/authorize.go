package signin

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/page"
)

// Config holds what New needs. Every field is required.
type Config struct {
	Pages      *page.Pages
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Secrets    *seal.Secrets
	Identity   *identity.Service
	CountLogin func(outcome string) // "ok", "wrong" or "throttled"
	// CountNotSent counts an email that was not sent because of a bound.
	CountNotSent func(kind string)
	Accounts     Accounts
}

// Accounts says how visitors sign in and who may create an account, beyond what the Identity says. The zero value is
// for users who were created by an administrator and sign in with a password.
type Accounts struct {
	SignUp   string // SignUpClosed, SignUpInvited or SignUpOpen; empty means closed
	Links    bool   // users sign in with a link or code by email
	TermsURL string // what a user has to accept to create an account; empty: nothing
}

// Values of Accounts.SignUp.
const (
	SignUpClosed  = "closed"
	SignUpInvited = "invited" // with an open invitation to a workspace
	SignUpOpen    = "open"
)

// Handlers serves the pages for signing in and for deciding about apps.
type Handlers struct {
	*page.Pages
	store        *storage.Store
	oauth        *oauth.Server
	management   *management.Manager
	secrets      *seal.Secrets
	identity     *identity.Service
	countLogin   func(outcome string)
	countNotSent func(kind string)
	accounts     Accounts
}

// New returns the handlers.
func New(c Config) *Handlers {
	return &Handlers{
		Pages: c.Pages, store: c.Store, oauth: c.OAuth, management: c.Management, secrets: c.Secrets,
		identity: c.Identity, countLogin: c.CountLogin, countNotSent: c.CountNotSent, accounts: c.Accounts,
	}
}

// Authorize serves GET and POST /oauth/authorize (RFC 6749, section 4.1.1). It shows no page: it redirects to the app
// with a code, or, if the user has to sign in or decide first, to the page for that.
func (s *Handlers) Authorize(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost && oauth.IsEncoded(r.Header) {
		return page.EncodedBody(w)
	}
	a, err := s.oauth.ParseAuthorize(w, r)
	if a != nil {
		s.Prefer(r, a.Locales)
	} else {
		s.Prefer(r, r.URL.Query().Get("ui_locales")) // the page with the error
	}
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
		to := "/login?flow="
		if a.AsksSignUp() && s.maySignUp(false) {
			to = "/signup?flow="
		}
		return page.Redirect(w, to+s.sealFlow(w, r, &a.Flow))
	}
	p, err := s.findConsentContext(r.Context(), a, v)
	if err != nil {
		return err
	}
	if p.hasNoWorkspace() || p.needsConsent(a) {
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

// refuse redirects to the app with an error. If the app may not redirect users without their consent, it shows them a
// page instead.
func (s *Handlers) refuse(
	w http.ResponseWriter, r *http.Request, a *oauth.AuthorizeRequest, v *page.Visitor, refused *oauth.AuthorizeError,
) error {
	n := oauth.LogFieldsOf(r.Context())
	n.ErrorCode, n.Cause = refused.Code, refused
	allowedBefore := false
	if !a.MayRedirectWithoutPage(false) && v.SignedIn() && a.Resource != nil {
		before, err := s.oauth.Remembered(r.Context(), a, v.User.ID)
		if err != nil {
			return err
		}
		// Not after a change: it may be the redirect URI that the user has never been told of.
		allowedBefore = len(before) > 0 && oauth.ChangeOf(&a.Client, before[0].Described) == nil
	}
	if !a.MayRedirectWithoutPage(allowedBefore) {
		return refused
	}
	return page.Redirect(w, refused.RedirectTo)
}

// approveFailed answers a request for which Approve or Deny failed: with a redirect to the app, or a page.
func (s *Handlers) approveFailed(w http.ResponseWriter, a *oauth.AuthorizeRequest, err error) error {
	var refused *oauth.AuthorizeError
	var e *page.Error
	switch {
	case errors.As(err, &refused) && refused.RedirectTo != "":
		return page.Redirect(w, refused.RedirectTo)
	case errors.Is(err, oauth.ErrConsentWithdrawn):
		e = &page.Error{
			Status: http.StatusConflict, Heading: locale.New("The app's access was revoked"),
			Message: locale.New("No access was granted. To allow the app, start again from the app."), Cause: err,
		}
	case errors.Is(err, storage.ErrNotFound):
		e = &page.Error{
			Status: http.StatusForbidden, Heading: locale.New("You no longer have permission"),
			Message: locale.New("Your account or membership was removed, or the app was deleted, while this page was open. No " +
				"access was granted."),
			Cause: err,
		}
	default:
		return err
	}
	linkToApp(e, a, false)
	return e
}

// consentContext says for whom and where an app would act: for a user, in one of their workspaces. It also holds what
// the user allowed the app there before.
type consentContext struct {
	visitor    *page.Visitor
	workspaces []storage.Workspace // those in which the user may allow apps, the personal one first
	more       bool                // the user has further workspaces, in which they may not
	workspace  storage.Workspace   // that of the last decision, or else the first; zero: there is none
	answered   bool                // workspace is that of the last decision about this app
	known      []string            // scopes that the user allowed before
	change     *oauth.ClientChange // of an app that registered itself, since then; nil: there is none
}

// needsConsent reports whether the consent page must be shown.
func (p *consentContext) needsConsent(a *oauth.AuthorizeRequest) bool {
	return p.change != nil || a.NeedsConsent(p.known)
}

// hasNoWorkspace reports whether there is no workspace in which the user may allow apps.
func (p *consentContext) hasNoWorkspace() bool { return len(p.workspaces) == 0 }

// place finds the workspace that the tokens will act in: the one that the user chose when they last allowed this app
// access to this API. If they may not allow apps there now, known is empty, so that they are asked again.
func (s *Handlers) findConsentContext(
	ctx context.Context, a *oauth.AuthorizeRequest, v *page.Visitor,
) (*consentContext, error) {
	all, err := s.store.WorkspacesOf(storage.System(ctx), v.User.ID)
	if err != nil {
		return nil, err
	}
	p := &consentContext{visitor: v}
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
		p.change = oauth.ChangeOf(&a.Client, before[0].Described)
	}
	return p, nil
}

// preselect chooses the workspace that is preselected on the consent page. In this order: that of the last decision
// about this app, the one used last, the app's own, the personal one.
func (s *Handlers) preselect(r *http.Request, a *oauth.AuthorizeRequest, p *consentContext) {
	if p.answered {
		return
	}
	if last, ok := s.LastWorkspace(r, p.workspaces); ok {
		p.workspace = last
		return
	}
	p.choose(func(ws storage.Workspace) bool { return ws.ID == a.Client.WorkspaceID })
}

// choose chooses the first workspace for which like returns true, and reports whether there is one.
func (p *consentContext) choose(like func(storage.Workspace) bool) bool {
	i := slices.IndexFunc(p.workspaces, like)
	if i >= 0 {
		p.workspace = p.workspaces[i]
	}
	return i >= 0
}

// decision is the approval of scopes. flowID is empty if the user did not have to be asked.
func (p *consentContext) decision(scopes []string, flowID string) oauth.Decision {
	return oauth.Decision{
		UserID: p.visitor.User.ID, SessionID: p.visitor.Row.ID, WorkspaceID: p.workspace.ID, Role: p.workspace.Role,
		AuthTime: p.visitor.AuthTime(), AMR: p.visitor.Row.AMR, ACR: p.visitor.Row.ACR, Scopes: scopes, FlowID: flowID,
	}
}

// resume continues an authorization after a sign-in, as Authorize does for a user who is signed in.
func (s *Handlers) resume(
	w http.ResponseWriter, r *http.Request, a *oauth.AuthorizeRequest, v *page.Visitor, sealed string,
) error {
	p, err := s.findConsentContext(r.Context(), a, v)
	if err != nil {
		return err
	}
	if p.hasNoWorkspace() || p.needsConsent(a) {
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

// reopen validates the authorization request of a flow again. If it is no longer valid, and the app has to be told,
// reopen redirects and returns done. A flow without an app is an error.
func (s *Handlers) reopen(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow,
) (a *oauth.AuthorizeRequest, done bool, err error) {
	if f.ClientID == "" {
		return nil, false, &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("We couldn't read this request"),
			Message: locale.New("This link is not for an app. Go back to the app and start again."),
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
