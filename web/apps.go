package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// appsBase is where a person finds the apps they built; administrators find all under adminAppsBase.
const (
	appsBase      = "/settings/developer/apps"
	adminAppsBase = "/admin/apps"
)

func kindOf(c storage.Client) string {
	switch {
	case c.ResourceServer:
		return templates.KindResourceServer
	case c.Public:
		return templates.KindPublic
	case !c.GrantTypes.Has(oauth.GrantAuthorizationCode):
		return templates.KindService
	}
	return templates.KindWeb
}

// appPlace is where apps are looked at: a workspace's, or, for administrators, all.
type appPlace struct {
	base        string // path of the list
	section     string
	by          management.Authority
	workspaceID string                 // empty: all
	bar         templates.WorkspaceBar // of the pages about a workspace
}

// appHandler answers a page about apps.
type appHandler func(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error

// ownApps serves a page about the apps of the visitor's personal workspace.
func (s *Server) ownApps(h appHandler) memberHandler {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		by, ws, _, err := s.authority(r, v, "")
		if err != nil {
			return err
		}
		return h(w, r, v, appPlace{base: appsBase, section: templates.SectionApps, by: by, workspaceID: ws.ID})
	}
}

// workspaceApps serves a page about the apps of the workspace that the path names.
func (s *Server) workspaceApps(h appHandler) memberHandler {
	return s.permitted(management.MayManageApps, templates.SectionWorkspaces, templates.TabApps,
		func(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
			return h(w, r, v, appPlace{
				base: workspacesBase + "/" + ws.Slug + "/" + templates.TabApps, section: templates.SectionWorkspaces, by: by,
				workspaceID: ws.ID, bar: workspaceBar(ws, all, templates.TabApps),
			})
		})
}

// allApps serves a page about whatever app there is, to administrators.
func (s *Server) allApps(h appHandler) memberHandler {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		return h(w, r, v, appPlace{base: adminAppsBase, section: templates.SectionAdminApps, by: s.administrator(v)})
	}
}

// context is the one in which the apps of a place are read and changed.
func (at *appPlace) context(ctx context.Context, v *visitor) context.Context {
	if at.workspaceID == "" {
		return storage.System(ctx)
	}
	return storage.Tenant(ctx, v.user.ID, at.workspaceID)
}

// appsPage serves GET …/apps.
func (s *Server) appsPage(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	page, err := s.settingsPage(w, r, v, at.section)
	if err != nil {
		return err
	}
	var list []storage.Client
	err = s.store.InTx(at.context(r.Context(), v), func(ctx context.Context) (err error) {
		list, err = s.store.ClientsOfWorkspace(ctx, at.workspaceID)
		return err
	})
	if err != nil {
		return err
	}
	view := templates.AppsView{Page: page, Base: at.base, Workspace: at.bar, AuthorizeURL: s.oauth.Issuer() + "/oauth/authorize", TokenURL: s.oauth.Issuer() + "/oauth/token"}
	for _, c := range list {
		n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
		if err != nil {
			return err
		}
		view.Apps = append(view.Apps, templates.AppRow{ID: c.ID, Name: c.Name, Kind: kindOf(c), Status: statusOf(c), Created: c.CreatedAt.Time(), Users: int(n)})
	}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.AppsPage(view))
}

func statusOf(c storage.Client) string {
	if c.DisabledAt.IsZero() {
		return "active"
	}
	return "disabled"
}

// fields are the form of an app as it is shown: what is registered, or what was typed.
func (s *Server) fields(v *visitor, p management.ClientSpec, kind string) templates.AppFields {
	f := templates.AppFields{
		Name: p.Name, Site: p.Site, Kind: kind, RedirectURIs: strings.Join(p.RedirectURIs, "\n"),
		Refresh: p.Grants == nil || slices.Contains(p.Grants, oauth.GrantRefreshToken), Administrator: v.user.Admin,
		FirstParty: p.FirstParty, Manages: p.Manages, PKCEOptional: p.PKCEOptional, Verified: p.Verified,
	}
	for i, res := range s.catalog.Resources() {
		choice := templates.ResourceChoice{ID: res.ID, Name: res.Name, Selected: slices.Contains(p.Resources, res.ID) || (len(p.Resources) == 0 && i == 0)}
		var names []string
		for _, x := range res.Scopes {
			names = append(names, x.Name)
		}
		choice.Scopes = scopeTree(&res, names, true, func(name string) bool { return slices.Contains(p.Scopes, name) })
		f.Resources = append(f.Resources, choice)
	}
	return f
}

// typed reads the form of an app. What only administrators may set is read only from them.
func typed(r *http.Request, v *visitor) (p management.ClientSpec, kind string) {
	form := r.PostForm
	kind = form.Get("kind")
	p = management.ClientSpec{Name: form.Get("name"), Site: form.Get("site"), Scopes: slices.Compact(slices.Sorted(slices.Values(form["scope"]))), Resources: form["resource"]}
	for _, line := range strings.FieldsFunc(form.Get("redirect_uris"), func(c rune) bool { return c == '\n' || c == '\r' }) {
		if line = strings.TrimSpace(line); line != "" {
			p.RedirectURIs = append(p.RedirectURIs, line)
		}
	}
	switch kind {
	case templates.KindResourceServer:
		p.ResourceServer, p.RedirectURIs, p.Scopes = true, nil, nil
	case templates.KindService:
		p.Grants, p.RedirectURIs = []string{oauth.GrantClientCredentials}, nil
	default:
		p.Public = kind == templates.KindPublic
		p.Grants = []string{oauth.GrantAuthorizationCode}
		if form.Get("refresh") != "" {
			p.Grants = append(p.Grants, oauth.GrantRefreshToken)
		}
	}
	if v.user.Admin {
		p.Administrator = true
		p.FirstParty, p.PKCEOptional, p.Verified, p.Manages = form.Get("first_party") != "", form.Get("pkce_optional") != "", form.Get("verified") != "", form.Get("manages") != ""
	}
	return p, kind
}

// appFormPage serves GET …/apps/new.
func (s *Server) appFormPage(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	view := templates.AppFormView{Page: s.page(v, at.section), Base: at.base, Workspace: at.bar, AppFields: s.fields(v, management.ClientSpec{}, templates.KindWeb)}
	view.NeedPassword = !s.fresh(v)
	return s.render(w, r, http.StatusOK, view.Nonce, templates.AppFormPage(view))
}

// stepUp asks for the password again when it was given too long ago. It returns the visitor with a session that is
// fresh, or a sentence for the password field with the status that it is sent with.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request, v *visitor, password string) (_ *visitor, fault string, status int, err error) {
	if s.fresh(v) {
		return v, "", 0, nil
	}
	if password == "" {
		return v, "Confirm with your password: you signed in a while ago.", http.StatusForbidden, nil
	}
	attempt, err := s.attempt(r, v.user.Email, password)
	if err != nil {
		return v, "", 0, err
	}
	err = s.identity.Confirm(r.Context(), v.user, attempt)
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrong):
		return v, "That is not your password.", http.StatusForbidden, nil
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", seconds(throttled.RetryAfter))
		return v, tooOften(throttled), http.StatusTooManyRequests, nil
	case err != nil:
		return v, "", 0, err
	}
	v, err = s.renewSession(w, r, v)
	return v, "", 0, err
}

// createApp serves POST …/apps. The answer shows the secret, once, and is not kept by the browser.
func (s *Server) createApp(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	p, kind := typed(r, v)
	v, fault, status, err := s.stepUp(w, r, v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	at.by.Fresh = s.fresh(v)
	refuse := func(status int, faults map[string]string) error {
		view := templates.AppFormView{Page: s.page(v, at.section), Base: at.base, Workspace: at.bar, AppFields: s.fields(v, p, kind)}
		view.Errors, view.NeedPassword = faults, !s.fresh(v)
		return s.render(w, r, status, view.Nonce, templates.AppFormPage(view))
	}
	if fault != "" {
		return refuse(status, map[string]string{"password": fault})
	}
	if !slices.Contains([]string{templates.KindWeb, templates.KindPublic, templates.KindService, templates.KindResourceServer}, kind) {
		return refuse(http.StatusBadRequest, map[string]string{"kind": "Choose what kind of app it is."})
	}
	x, view, err := s.createOnce(at.context(r.Context(), v), r, v, at.workspaceID, func(ctx context.Context) (x newSecret, err error) {
		p.WorkspaceID, p.CreatedBy = at.workspaceID, v.user.ID
		var c storage.Client
		c, x.Secret, err = s.management.CreateClient(ctx, at.by, p)
		x.ID = c.ID
		return x, err
	})
	if faults := fieldErrors(err); faults != nil {
		return refuse(http.StatusBadRequest, faults)
	}
	if err != nil {
		return err
	}
	if kind != templates.KindPublic {
		return redirect(w, at.base+"/shown?view="+view)
	}
	next := at.base + "/" + x.ID
	if err := s.setNotice(w, r, v, "The app is registered. It is public, so it has no secret."); err != nil {
		return err
	}
	return redirect(w, next)
}

func (s *Server) showSecret(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace, c storage.Client, secret string, oldUntil time.Time, next string) error {
	view := templates.SecretView{
		Page: s.page(v, at.section), Workspace: at.bar, AppName: c.Name, Kind: kindOf(c), ClientID: c.ID, Secret: secret,
		AuthorizeURL: s.oauth.Issuer() + "/oauth/authorize", TokenURL: s.oauth.Issuer() + "/oauth/token", IntrospectURL: s.oauth.Issuer() + "/oauth/introspect",
		Scope: c.Scopes.String(), OldUntil: oldUntil, NextURL: next,
	}
	if len(c.RedirectURIs) > 0 {
		view.RedirectURI = c.RedirectURIs[0]
	}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.SecretPage(view))
}

// app finds the client of a page and runs fn in the context that may change it: an administrator's is any, everybody
// else's is of the workspace that they look at. To others it is not there.
func (s *Server) app(ctx context.Context, at appPlace, id string, fn func(ctx context.Context, c storage.Client) error) (base string, err error) {
	if !storage.IsID("app", id) {
		return "", notFound()
	}
	return at.base + "/" + id, s.store.InTx(ctx, func(ctx context.Context) error {
		c, err := s.store.ClientByID(ctx, id)
		if err != nil {
			return err
		}
		if at.workspaceID != "" && c.WorkspaceID != at.workspaceID {
			return storage.ErrNotFound
		}
		return fn(ctx, c)
	})
}

// appPage serves GET …/apps/{id}.
func (s *Server) appPage(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	s.writeUses(r.Context())
	var c storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	page, err := s.settingsPage(w, r, v, at.section)
	if err != nil {
		return err
	}
	return s.showApp(w, r, http.StatusOK, v, at, c, base, templates.AppView{Page: page, AppFields: s.fields(v, management.SpecOf(c), kindOf(c))})
}

func (s *Server) showApp(w http.ResponseWriter, r *http.Request, status int, v *visitor, at appPlace, c storage.Client, base string, view templates.AppView) error {
	n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
	if err != nil {
		return err
	}
	view.Workspace = at.bar
	view.Base, view.ClientID, view.SavedName, view.Disabled, view.Created, view.Users = base, c.ID, c.Name, !c.DisabledAt.IsZero(), c.CreatedAt.Time(), int(n)
	view.AuthorizeURL, view.TokenURL = s.oauth.Issuer()+"/oauth/authorize", s.oauth.Issuer()+"/oauth/token"
	view.IntrospectURL, view.MetadataURL = s.oauth.Issuer()+"/oauth/introspect", s.oauth.Issuer()+"/.well-known/oauth-authorization-server"
	view.NeedPassword = !s.fresh(v)
	if view.Disabled {
		view.Why = management.StoppedText(c.DisabledBy, "app", "disabled") + "."
		view.Held = held(at.by.MayEnable(&c, "change and enable"))
	}
	if c.WorkspaceID != "" {
		ws, err := s.store.WorkspaceByID(storage.System(r.Context()), c.WorkspaceID)
		if err != nil {
			return err
		}
		if why := whyDisabled(ws); why != "" {
			view.Why = strings.TrimSpace(view.Why + " The app does not work while its workspace is disabled. " + why)
		}
	}
	if view.Owner, err = s.ownerOf(r.Context(), c); err != nil {
		return err
	}
	err = s.store.InTx(at.context(r.Context(), v), func(ctx context.Context) (err error) {
		view.Requests, err = s.requestsOf(ctx, c.ID, base, r.URL.Query().Get("request"))
		return err
	})
	if err != nil {
		return err
	}
	for _, x := range c.Secrets {
		view.Secrets = append(view.Secrets, templates.SecretRow{Tail: x.Tail, Created: x.CreatedAt.Time(), LastUsed: x.LastUsedAt.Time(), Expires: x.ExpiresAt.Time()})
	}
	return s.render(w, r, status, view.Nonce, templates.AppPage(view))
}

// whyDisabled says why a workspace is disabled; empty: it is not.
func whyDisabled(ws storage.Workspace) string {
	switch {
	case ws.DisabledAt.IsZero():
		return ""
	case ws.DisabledFor != "":
		return "The workspace " + ws.Name + " stopped because none of its owners is enabled."
	}
	return "An administrator of this server disabled the workspace " + ws.Name + "."
}

// ownerOf names whoever made an app, for administrators.
func (s *Server) ownerOf(ctx context.Context, c storage.Client) (string, error) {
	if c.CreatedBy == "" {
		return "", nil
	}
	u, err := s.store.UserByID(storage.System(ctx), c.CreatedBy)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	return u.Email, err
}

// updateApp serves POST …/apps/{id}.
func (s *Server) updateApp(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	p, _ := typed(r, v)
	var before storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(ctx context.Context, c storage.Client) error {
		before = c
		p.Public, p.ResourceServer = c.Public, c.ResourceServer
		p.Grants = grantsLike(c, r.PostForm.Get("refresh") != "")
		if c.ResourceServer {
			p.RedirectURIs, p.Scopes = nil, nil
		}
		_, err := s.management.UpdateClient(ctx, at.by, c.ID, p)
		return err
	})
	if faults := fieldErrors(err); faults != nil {
		view := templates.AppView{Page: s.page(v, at.section), AppFields: s.fields(v, p, kindOf(before))}
		view.Errors = faults
		return s.showApp(w, r, http.StatusBadRequest, v, at, before, base, view)
	}
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, "Saved."); err != nil {
		return err
	}
	return redirect(w, base)
}

// grantsLike keeps a client's grants but for refresh_token, which the form has a switch for.
func grantsLike(c storage.Client, refresh bool) []string {
	grants := slices.DeleteFunc(slices.Clone([]string(c.GrantTypes)), func(g string) bool { return g == oauth.GrantRefreshToken })
	if refresh && slices.Contains(grants, oauth.GrantAuthorizationCode) {
		grants = append(grants, oauth.GrantRefreshToken)
	}
	return grants
}

// graces are the choices for how long the secret before a new one still works.
var graces = map[string]time.Duration{"now": 0, "1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour}

// rotateSecret serves POST …/apps/{id}/secret.
func (s *Server) rotateSecret(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	v, fault, status, err := s.stepUp(w, r, v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	at.by.Fresh = s.fresh(v)
	var c storage.Client
	grace, known := graces[r.PostForm.Get("grace")]
	if fault != "" || !known {
		faults := map[string]string{"password": fault}
		if fault == "" {
			status, faults = http.StatusBadRequest, map[string]string{"grace": "Choose how long the old secret works."}
		}
		base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
		if err != nil {
			return err
		}
		view := templates.AppView{Page: s.page(v, at.section), AppFields: s.fields(v, management.SpecOf(c), kindOf(c))}
		view.Errors = faults
		return s.showApp(w, r, status, v, at, c, base, view)
	}
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	var oldUntil time.Time
	if grace > 0 && len(c.Secrets) > 0 {
		oldUntil = s.now().Add(grace)
	}
	_, view, err := s.createOnce(at.context(r.Context(), v), r, v, at.workspaceID, func(ctx context.Context) (x newSecret, err error) {
		x.ID, x.OldUntil = c.ID, oldUntil
		x.Secret, _, err = s.management.RotateSecret(ctx, at.by, c.ID, grace)
		return x, err
	})
	if faults := fieldErrors(err); faults != nil {
		return &pageError{Status: http.StatusBadRequest, Heading: "No secret was made", Message: joined(faults), BackURL: base, BackText: "Go back to the app"}
	}
	if err != nil {
		return err
	}
	return redirect(w, at.base+"/shown?view="+view)
}

// switchApp serves POST …/apps/{id}/disable and …/enable.
func (s *Server) switchApp(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	text := "The app works again."
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(ctx context.Context, c storage.Client) error {
		if strings.HasSuffix(r.URL.Path, "/disable") {
			text = "The app is disabled. None of its tokens works."
			return s.management.DisableClient(ctx, at.by, c.ID)
		}
		return s.management.EnableClient(ctx, at.by, c.ID)
	})
	return s.appChanged(w, r, v, base, text, err)
}

// appChanged goes on to base after a change of an app, with a sentence about it.
func (s *Server) appChanged(w http.ResponseWriter, r *http.Request, v *visitor, base, text string, err error) error {
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, base)
}

// deleteApp serves POST …/apps/{id}/delete. The app's name must be typed.
func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	var c storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != c.Name {
		view := templates.AppView{Page: s.page(v, at.section), AppFields: s.fields(v, management.SpecOf(c), kindOf(c))}
		view.Errors = map[string]string{"confirm": "Type the app's name exactly as it is shown. Nothing was deleted."}
		return s.showApp(w, r, http.StatusBadRequest, v, at, c, base, view)
	}
	// Not in the transaction in which it was found to be theirs: there may be much to delete.
	err = s.management.DeleteClient(storage.System(r.Context()), at.by, c.ID)
	return s.appChanged(w, r, v, at.base, "The app is deleted, and with it every access it had.", err)
}
