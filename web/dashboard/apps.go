package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Apps are the pages about apps.
type Apps struct{ *base }

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
type appHandler func(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error

// Own serves a page about the apps of the visitor's personal workspace.
func (s *Apps) Own(h appHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		by, ws, all, err := s.authority(r, v, "")
		if err != nil {
			return err
		}
		s.EnterWorkspace(w, r, v, ws, all, templates.TabApps)
		return h(w, r, v, appPlace{base: appsBase, section: templates.SectionApps, by: by, workspaceID: ws.ID})
	}
}

// OfWorkspace serves a page about the apps of the workspace that the path names.
func (s *Apps) OfWorkspace(h appHandler) page.UserHandler {
	return s.Permitted(management.MayManageApps, templates.SectionWorkspaces, templates.TabApps,
		func(w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
			return h(w, r, v, appPlace{
				base: page.WorkspacesPath + "/" + ws.Slug + "/" + templates.TabApps, section: templates.SectionWorkspaces, by: by,
				workspaceID: ws.ID, bar: workspaceBar(ws, all, templates.TabApps),
			})
		})
}

// All serves a page about whatever app there is, to administrators.
func (s *Apps) All(h appHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		return h(w, r, v, appPlace{base: adminAppsBase, section: templates.SectionAdminApps, by: s.Administrator(v)})
	}
}

// context is the one in which the apps of a place are read and changed.
func (at *appPlace) context(ctx context.Context, v *page.Visitor) context.Context {
	if at.workspaceID == "" {
		return storage.System(ctx)
	}
	return storage.Tenant(ctx, v.User.ID, at.workspaceID)
}

// ListPage serves GET …/apps.
func (s *Apps) ListPage(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	head, err := s.PageWithNotice(w, r, v, at.section)
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
	view := templates.AppsView{
		Page: head, Base: at.base, Workspace: at.bar, AuthorizeURL: s.oauth.Issuer() + "/oauth/authorize",
		TokenURL: s.oauth.Issuer() + "/oauth/token",
	}
	for _, c := range list {
		n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
		if err != nil {
			return err
		}
		view.Apps = append(view.Apps, templates.AppRow{
			ID: c.ID, Name: c.Name, Kind: kindOf(c), Status: statusOf(c), Created: c.CreatedAt.Time(), Users: int(n),
		})
	}
	rows := page.ReadList(r, at.base, "created", nil,
		templates.Column{By: "name", Text: "App"}, templates.Column{By: "type", Text: "Type"},
		templates.Column{By: "created", Text: "Created", Down: true},
		templates.Column{By: "people", Text: "Used by", Down: true})
	sortApps(view.Apps, rows.Order)
	view.Columns = rows.Head()
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.AppsPage(view))
}

// sortApps sorts the apps of a workspace, which are read whole.
func sortApps(list []templates.AppRow, o storage.Order) {
	slices.SortStableFunc(list, func(a, b templates.AppRow) int {
		if o.Descending {
			a, b = b, a
		}
		switch o.By {
		case "name":
			return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		case "type":
			return cmp.Compare(a.Kind, b.Kind)
		case "people":
			return cmp.Compare(a.Users, b.Users)
		}
		return a.Created.Compare(b.Created)
	})
}

func statusOf(c storage.Client) string {
	if c.DisabledAt.IsZero() {
		return "active"
	}
	return "disabled"
}

// fields are the form of an app as it is shown: what is registered, or what was typed.
func (s *Apps) fields(v *page.Visitor, p management.ClientSpec, kind string) templates.AppFields {
	f := templates.AppFields{
		Name: p.Name, Site: p.Site, Kind: kind, RedirectURIs: strings.Join(p.RedirectURIs, "\n"),
		Refresh: p.Grants == nil || slices.Contains(p.Grants, oauth.GrantRefreshToken), Administrator: v.User.Admin,
		FirstParty: p.FirstParty, Manages: p.Manages, PKCEOptional: p.PKCEOptional, Verified: p.Verified,
	}
	for i, res := range s.catalog.Resources() {
		choice := templates.ResourceChoice{
			ID: res.ID, Name: res.Name, Selected: slices.Contains(p.Resources, res.ID) || (len(p.Resources) == 0 && i == 0),
		}
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
func typed(r *http.Request, v *page.Visitor) (p management.ClientSpec, kind string) {
	form := r.PostForm
	kind = form.Get("kind")
	p = management.ClientSpec{
		Name: form.Get("name"), Site: form.Get("site"), Scopes: slices.Compact(slices.Sorted(slices.Values(form["scope"]))),
		Resources: form["resource"],
	}
	for _, line := range strings.FieldsFunc(form.Get("redirect_uris"), func(c rune) bool {
		return c == '\n' ||
			c == '\r'
	}) {
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
	if v.User.Admin {
		p.Administrator = true
		p.FirstParty, p.PKCEOptional, p.Verified, p.Manages = form.Get("first_party") != "", form.Get("pkce_optional") != "", form.Get("verified") != "", form.Get("manages") != ""
	}
	return p, kind
}

// FormPage serves GET …/apps/new.
func (s *Apps) FormPage(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	view := templates.AppFormView{
		Page: s.NewPage(v, at.section), Base: at.base, Workspace: at.bar,
		AppFields: s.fields(v, management.ClientSpec{}, templates.KindWeb),
	}
	view.NeedPassword = !s.Fresh(v)
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.AppFormPage(view))
}

// Create serves POST …/apps. The answer shows the secret, once, and is not kept by the browser.
func (s *Apps) Create(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	p, kind := typed(r, v)
	v, fault, status, err := s.StepUp(w, r, v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	at.by.Fresh = s.Fresh(v)
	refuse := func(status int, faults map[string]string) error {
		view := templates.AppFormView{
			Page: s.NewPage(v, at.section), Base: at.base, Workspace: at.bar, AppFields: s.fields(v, p, kind),
		}
		view.Errors, view.NeedPassword = faults, !s.Fresh(v)
		return s.Render(w, r, status, view.Nonce, templates.AppFormPage(view))
	}
	if fault != "" {
		return refuse(status, map[string]string{"password": fault})
	}
	if !slices.Contains([]string{templates.KindWeb, templates.KindPublic, templates.KindService, templates.KindResourceServer}, kind) {
		return refuse(http.StatusBadRequest, map[string]string{"kind": "Choose an app type."})
	}
	x, view, err := s.CreateOnce(at.context(r.Context(), v), r, v, at.workspaceID, func(ctx context.Context) (x page.OneTimeSecret, err error) {
		p.WorkspaceID, p.CreatedBy = at.workspaceID, v.User.ID
		var c storage.Client
		c, x.Secret, err = s.management.CreateClient(ctx, at.by, p)
		x.ID = c.ID
		return x, err
	})
	if faults := page.FieldErrors(err); faults != nil {
		return refuse(http.StatusBadRequest, faults)
	}
	if err != nil {
		return err
	}
	if kind != templates.KindPublic {
		return page.Redirect(w, at.base+"/shown?view="+view)
	}
	next := at.base + "/" + x.ID
	if err := s.SetNotice(w, r, v, "The app is registered. It is public, so it has no secret."); err != nil {
		return err
	}
	return page.Redirect(w, next)
}
