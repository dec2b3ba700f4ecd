package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Apps are the pages about apps.
type Apps struct{ *base }

// The paths of the lists of apps: those of the visitor's personal workspace, and, for administrators, all.
const (
	appsBase      = "/settings/developer/apps"
	adminAppsBase = "/admin/apps"
)

// kindOf returns the type of an app, as the form has it: one of the Kind constants.
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

// appPlace says which apps a page is about: those of a workspace, or, for administrators, all.
type appPlace struct {
	v           *page.Visitor
	base        string // path of the list
	section     string
	by          management.Authority
	workspaceID string                 // empty: all
	bar         templates.WorkspaceBar // head of the page; zero: the page has none
}

// appHandler answers a page about apps.
type appHandler func(w http.ResponseWriter, r *http.Request, at appPlace) error

// Own serves a page about the apps of the visitor's personal workspace.
func (s *Apps) Own(h appHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		p, err := s.place(r, v, "")
		if err != nil {
			return err
		}
		s.EnterWorkspace(w, r, v, p.ws, p.all, templates.TabApps)
		return h(w, r, appPlace{v: v, base: appsBase, section: templates.SectionApps, by: p.by, workspaceID: p.ws.ID})
	}
}

// OfWorkspace serves a page about the apps of the workspace in the path.
func (s *Apps) OfWorkspace(h appHandler) page.UserHandler {
	return s.Permitted(management.MayManageApps, templates.SectionWorkspaces, templates.TabApps,
		func(w http.ResponseWriter, r *http.Request, p place) error {
			return h(w, r, appPlace{
				v: p.v, base: p.path(templates.TabApps), section: templates.SectionWorkspaces, by: p.by, workspaceID: p.ws.ID,
				bar: p.bar(templates.TabApps),
			})
		})
}

// All serves a page about any app on the server, to administrators.
func (s *Apps) All(h appHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		return h(w, r, appPlace{
			v: v, base: adminAppsBase, section: templates.SectionAdminApps, by: s.Administrator(v),
		})
	}
}

// page is the path of the page of an app, whose id may be a URL.
func (at *appPlace) page(id string) string { return at.base + "/" + url.PathEscape(id) }

// context returns a context for reading and changing the apps.
func (at *appPlace) context(ctx context.Context) context.Context {
	if at.workspaceID == "" {
		return storage.System(ctx)
	}
	return storage.Tenant(ctx, at.v.User.ID, at.workspaceID)
}

// ListPage serves GET …/apps.
func (s *Apps) ListPage(w http.ResponseWriter, r *http.Request, at appPlace) error {
	head, err := s.PageWithNotice(w, r, at.v, at.section)
	if err != nil {
		return err
	}
	var list []storage.Client
	err = s.store.InTx(at.context(r.Context()), func(ctx context.Context) (err error) {
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
			ID: c.ID, Name: c.Name, Kind: kindOf(c), Disabled: !c.DisabledAt.IsZero(), Created: c.CreatedAt.Time(),
			Users: int(n),
		})
	}
	rows := page.ReadList(r, at.base, "created", nil,
		templates.Column{By: "name", Text: locale.New("App")},
		templates.Column{By: "type", Text: locale.New("Type")},
		templates.Column{By: "created", Text: locale.New("Created"), Down: true},
		templates.Column{By: "people", Text: locale.New("Used by"), Down: true},
	)
	sortApps(view.Apps, rows.Order)
	view.Columns = rows.Head()
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.AppsPage(view))
}

// sortApps sorts the apps of a workspace. They are few enough to be read all at once.
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

// fields returns the form of an app, filled in with p: what is registered, or what was typed.
func (s *Apps) fields(ctx context.Context, v *page.Visitor, p management.ClientSpec, kind string) templates.AppFields {
	f := templates.AppFields{
		Name: p.Name, Site: p.Site, LogoURI: p.LogoURI, PolicyURI: p.PolicyURI, TOSURI: p.TOSURI,
		Kind: kind, RedirectURIs: strings.Join(p.RedirectURIs, "\n"),
		Refresh: p.Grants == nil || slices.Contains(p.Grants, oauth.GrantRefreshToken), Administrator: v.User.Admin,
		FirstParty: p.FirstParty, Manages: p.Manages, PKCEOptional: p.PKCEOptional, Verified: p.Verified,
		AppAuthentication: templates.AppAuthentication{
			AuthMethod: p.AuthMethod, AuthAlgorithm: p.AuthAlgorithm, AuthAlgorithms: management.AuthAlgorithms,
			JWKS: p.JWKS, JWKSURI: p.JWKSURI, PushedRequestsOnly: p.PushedRequestsOnly, DPoPBound: p.DPoPBound,
			FAPI: p.FAPI, FAPIMeans: management.FAPIMeans(), Audience: p.TokenEndpointAudience,
		},
	}
	if management.HoldsPrivateKey(f.JWKS) {
		f.JWKS = "" // a page does not repeat it
	}
	for i, res := range s.catalog.Resources() {
		choice := templates.ResourceChoice{
			ID: res.ID, Name: res.Name,
			Selected: slices.Contains(p.Resources, res.ID) || (len(p.Resources) == 0 && i == 0),
		}
		var names []string
		for _, x := range res.Scopes {
			names = append(names, x.Name)
		}
		choice.Scopes = page.ScopeTree(ctx, &res, names, true, func(name string) bool { return slices.Contains(p.Scopes, name) })
		f.Resources = append(f.Resources, choice)
	}
	return f
}

// typed reads the form of an app. The fields for administrators are ignored if anyone else sends them.
func typed(r *http.Request, v *page.Visitor) (p management.ClientSpec, kind string) {
	form := r.PostForm
	kind = form.Get("kind")
	p = management.ClientSpec{
		Name: form.Get("name"), Site: form.Get("site"), LogoURI: form.Get("logo_uri"), PolicyURI: form.Get("policy_uri"),
		TOSURI: form.Get("tos_uri"), Scopes: slices.Compact(slices.Sorted(slices.Values(form["scope"]))),
		Resources: form["resource"],
	}
	lines := strings.FieldsFunc(form.Get("redirect_uris"), func(c rune) bool { return c == '\n' || c == '\r' })
	for _, line := range lines {
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
		p.FirstParty, p.PKCEOptional = form.Get("first_party") != "", form.Get("pkce_optional") != ""
		p.Verified, p.Manages = form.Get("verified") != "", form.Get("manages") != ""
	}
	return p, kind
}

// typeAuthentication reads the fields for how an app of a type authenticates into p. Fields that an app of this type
// does not have, and for all but administrators the one for these, stay as they are.
func typeAuthentication(r *http.Request, v *page.Visitor, p *management.ClientSpec, kind string) {
	form := r.PostForm
	has := func(name string) bool { return form.Get(name) != "" }
	if kind != templates.KindResourceServer {
		p.DPoPBound = has("dpop_bound_access_tokens")
		if kind != templates.KindService {
			p.PushedRequestsOnly = has("require_pushed_authorization_requests")
		}
	}
	if kind == templates.KindPublic {
		return
	}
	p.AuthMethod, p.AuthAlgorithm = form.Get("token_endpoint_auth_method"), form.Get("token_endpoint_auth_signing_alg")
	p.JWKS, p.JWKSURI = form.Get("jwks"), form.Get("jwks_uri")
	if kind != templates.KindResourceServer {
		p.FAPI = has("fapi")
	}
	if v.User.Admin {
		p.TokenEndpointAudience = has("token_endpoint_audience")
	}
}

// FormPage serves GET …/apps/new.
func (s *Apps) FormPage(w http.ResponseWriter, r *http.Request, at appPlace) error {
	view := templates.AppFormView{
		Page: s.NewPage(at.v, at.section), Base: at.base, Workspace: at.bar,
		AppFields: s.fields(r.Context(), at.v, management.ClientSpec{}, templates.KindWeb),
	}
	view.NeedPassword = s.AsksPassword(at.v)
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.AppFormPage(view))
}

// Create serves POST …/apps. It redirects to a page that shows the secret, once, and is not cached by the browser.
func (s *Apps) Create(w http.ResponseWriter, r *http.Request, at appPlace) error {
	p, kind := typed(r, at.v)
	typeAuthentication(r, at.v, &p, kind)
	v, fault, status, err := s.StepUp(w, r, at.v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	at.v, at.by.Fresh = v, s.Fresh(v)
	refuse := func(status int, faults map[string]locale.Text) error {
		view := templates.AppFormView{
			Page: s.NewPage(v, at.section), Base: at.base, Workspace: at.bar, AppFields: s.fields(r.Context(), v, p, kind),
		}
		view.Errors, view.NeedPassword = faults, s.AsksPassword(v)
		return s.Render(w, r, status, view.Nonce, templates.AppFormPage(view))
	}
	if !fault.IsZero() {
		return refuse(status, map[string]locale.Text{"password": fault})
	}
	switch kind {
	case templates.KindWeb, templates.KindPublic, templates.KindService, templates.KindResourceServer:
	default:
		return refuse(http.StatusBadRequest, map[string]locale.Text{"kind": locale.New("Choose an app type.")})
	}
	p.WorkspaceID, p.CreatedBy = at.workspaceID, v.User.ID
	x, view, err := s.CreateOnce(at.context(r.Context()), r, v, at.workspaceID,
		func(ctx context.Context) (x page.OneTimeSecret, err error) {
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
	notice := locale.New("The app is registered. It is public, so it has no secret.")
	switch {
	case p.AuthMethod == management.AuthPrivateKey:
		notice = locale.New("The app is registered. It authenticates with its private key, so it has no secret.")
	case kind != templates.KindPublic:
		return page.Redirect(w, at.base+"/shown?view="+view)
	}
	return s.RedirectWithNotice(w, r, v, at.page(x.ID), notice)
}
