package dashboard

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/redirecturi"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// ConfirmEndAccess serves GET /settings/connected-apps/{id}/end and …/end-all.
func (s *Account) ConfirmEndAccess(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	apps, err := s.connectedApps(r, v)
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionConnectedApps), Title: locale.New("Revoke access for all apps?"),
		Button: locale.New("Revoke access for all apps"), CancelURL: "/settings/connected-apps",
		Stays: locale.New("An app gets access again only if you allow it again."),
	}
	if id := r.PathValue("id"); id != "" {
		apps = slices.DeleteFunc(apps, func(a templates.ConnectedApp) bool { return a.ID != id })
		if len(apps) == 0 {
			return page.NotFound()
		}
		view.Title, view.Button = locale.New("Revoke access for %s?", apps[0].FullName), locale.New("Revoke access")
	}
	for _, a := range apps {
		text := locale.New("%s can no longer act for you.", a.FullName)
		if a.Connections > 0 {
			text = locale.New("%s can no longer act for you: %d authorizations are revoked.", a.FullName, a.Connections)
		}
		view.Ends = append(view.Ends, text)
	}
	if len(apps) == 0 {
		view.Ends = []locale.Text{locale.New("No apps have access.")}
	}
	return s.AskFirst(w, r, view)
}

// ConnectedAppsPage serves GET /settings/connected-apps: the apps with access to the visitor's data.
func (s *Account) ConnectedAppsPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionConnectedApps)
	if err != nil {
		return err
	}
	apps, err := s.connectedApps(r, v)
	if err != nil {
		return err
	}
	view := templates.ConnectedAppsView{Page: head, Apps: apps}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.ConnectedAppsPage(view))
}

// connectedApps lists the apps that the visitor has allowed, and those that got tokens without having to ask.
func (s *Account) connectedApps(r *http.Request, v *page.Visitor) ([]templates.ConnectedApp, error) {
	tenant := storage.Tenant(r.Context(), v.User.ID, "")
	consents, err := s.store.ConsentsOf(tenant, v.User.ID)
	if err != nil {
		return nil, err
	}
	grants, err := s.store.LiveGrantsOf(storage.System(r.Context()), v.User.ID) // tenants cannot read tokens
	if err != nil {
		return nil, err
	}
	workspaces, err := s.Workspaces(r.Context(), v)
	if err != nil {
		return nil, err
	}
	apps := map[string]*templates.ConnectedApp{}
	var order []string
	add := func(clientID, resource, workspaceID string, scopes []string, since time.Time) *templates.ConnectedApp {
		app, ok := apps[clientID]
		if !ok {
			app = &templates.ConnectedApp{ID: clientID, Since: since}
			apps[clientID] = app
			order = append(order, clientID)
		}
		if since.Before(app.Since) {
			app.Since = since
		}
		where := s.accessTo(resource, workspaceID, workspaces)
		i := slices.IndexFunc(app.Access, func(x templates.ConnectedAccess) bool {
			return x.Resource == where.Resource && x.Workspace == where.Workspace
		})
		if i < 0 {
			i = len(app.Access)
			app.Access = append(app.Access, where)
		}
		for _, name := range scopes {
			if text := s.scopeSentence(locale.From(r.Context()), resource, name); !slices.Contains(app.Access[i].Scopes, text) {
				app.Access[i].Scopes = append(app.Access[i].Scopes, text)
			}
		}
		return app
	}
	for _, c := range consents {
		add(c.ClientID, c.Resource, c.WorkspaceID, c.Scopes, c.CreatedAt.Time())
	}
	for _, g := range grants {
		app := add(g.ClientID, g.Resource, g.WorkspaceID, g.Scopes, g.CreatedAt.Time())
		app.Connections++
		if used := g.LastUsedAt.Time(); used.After(app.LastUsed) {
			app.LastUsed = used
		}
	}
	var list []templates.ConnectedApp
	for _, id := range order {
		app := apps[id]
		c, err := s.store.ClientByID(storage.System(r.Context()), id)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		app.Name, app.Site, app.Disabled, app.Verified = c.Name, c.Site, !c.DisabledAt.IsZero(), c.Verified
		app.FirstParty, app.Operator = c.FirstParty, management.RegisteredByOperator(&c)
		app.ProvenHost, app.FullName = oauth.ProvenHost(&c), page.AppName(&c)
		if len(c.RedirectURIs) > 0 {
			app.Host, _ = redirecturi.Host(c.RedirectURIs[0])
		}
		list = append(list, *app)
	}
	return list, nil
}

// accessTo names an API and, if the visitor has several workspaces, the one that an app may act in.
func (s *Account) accessTo(resource, workspaceID string, workspaces []storage.Workspace) templates.ConnectedAccess {
	x := templates.ConnectedAccess{Resource: resource}
	if r, ok := s.catalog.Resource(resource); ok {
		x.Resource = r.Name
	}
	if len(workspaces) > 1 {
		for _, ws := range workspaces {
			if ws.ID == workspaceID {
				x.Workspace = ws.Name
			}
		}
	}
	return x
}

// scopeSentence says what a scope of an API allows.
func (s *Account) scopeSentence(reader locale.Locale, resource, name string) string {
	if r, ok := s.catalog.Resource(resource); ok {
		if x, ok := r.Scope(name); ok {
			return x.For(reader)
		}
	}
	return name
}

// EndAccess serves POST /settings/connected-apps/{id}/end and /settings/connected-apps/end-all. When it returns, the
// grants are revoked, so access and refresh tokens no longer work.
func (s *Account) EndAccess(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	id, all := r.PathValue("id"), strings.HasSuffix(r.URL.Path, "/end-all")
	if id == "" && !all {
		return page.NotFound()
	}
	own, err := s.personal(r, v)
	if err != nil {
		return err
	}
	if err := s.management.RevokeAccess(own.tenant(r.Context()), v.User.ID, own.ws.ID, id); err != nil {
		return err
	}
	text := locale.New("Access revoked. The app's tokens no longer work.")
	if all {
		text = locale.New("Access revoked for all apps. Their tokens no longer work.")
	}
	return s.RedirectWithNotice(w, r, v, "/settings/connected-apps", text)
}
