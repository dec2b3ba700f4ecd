package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Config holds what New needs. Every field is required.
type Config struct {
	Pages      *page.Pages
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Catalog    *catalog.Catalog
	Identity   *identity.Service
}

// Handlers serves the pages for administrators.
type Handlers struct {
	*page.Pages
	store      *storage.Store
	oauth      *oauth.Server
	management *management.Manager
	catalog    *catalog.Catalog
	identity   *identity.Service
}

// New returns the handlers.
func New(c Config) *Handlers {
	return &Handlers{
		Pages: c.Pages, store: c.Store, oauth: c.OAuth, management: c.Management, catalog: c.Catalog,
		identity: c.Identity,
	}
}

// lastAdministrator says why the only enabled administrator cannot be disabled or demoted.
var lastAdministrator = locale.New("This is the only administrator. Create or enable another administrator first.")

// ifAny returns a text about n things; empty if there are none.
func ifAny(n int, text locale.Text) locale.Text {
	if n == 0 {
		return locale.Text{}
	}
	return text
}

// UserPage serves GET /admin/users/{id}.
func (s *Handlers) UserPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	head, err := s.PageWithNotice(w, r, v, templates.SectionAdminUsers)
	if err != nil {
		return err
	}
	return s.showUser(w, r, http.StatusOK, v, u, templates.AdminUserView{
		Page: head, AdminUser: templates.AdminUser{Name: u.Name, Email: u.Email, Admin: u.Admin},
	})
}

// showUser renders the page of a user. view has what was typed.
func (s *Handlers) showUser(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, u storage.User, view templates.AdminUserView,
) error {
	ctx := storage.System(r.Context())
	view.ID, view.SavedEmail, view.Disabled = u.ID, u.Email, !u.DisabledAt.IsZero()
	view.Self, view.NeedPassword = u.ID == v.User.ID, s.AsksPassword(v)
	view.Waiting, view.Created, view.LastSeen = !u.WaitingSince.IsZero(), u.CreatedAt.Time(), u.SeenAt.Time()
	view.Invites, view.Resets = s.identity.SendsEmail(), s.identity.Resets()
	view.EmailProven, view.TermsURL, view.TermsAccepted = u.EmailProvenAt.Time(), u.TermsURL, u.TermsAcceptedAt.Time()
	methods, err := s.identity.Methods(ctx, &u)
	if err != nil {
		return err
	}
	for _, m := range methods {
		row := s.MethodRow(m)
		row.Fixed = m.Kind == identity.MethodPassword && !s.identity.SendsEmail()
		view.Methods = append(view.Methods, row)
	}
	sessions, err := s.identity.Sessions(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, x := range sessions {
		view.Sessions = append(view.Sessions, templates.SessionRow{
			ID: x.ID, Browser: page.BrowserName(x.UserAgent), Address: x.Address, Current: x.ID == v.Row.ID,
			SignedInAt: x.AuthTime.Time(), LastSeenAt: x.SeenAt.Time(),
		})
	}
	with, err := s.store.WorkspacesDisabledWith(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, ws := range with {
		text := locale.New("%s (%s)", ws.Name, ws.Slug)
		switch {
		case ws.DisabledFor != "":
			text = locale.New("%s (%s), disabled because it has no enabled owner", ws.Name, ws.Slug)
		case !ws.DisabledAt.IsZero():
			text = locale.New("%s (%s), disabled by an administrator", ws.Name, ws.Slug)
		case view.Disabled:
			text = locale.New("%s (%s), kept enabled by an administrator", ws.Name, ws.Slug)
		}
		view.Workspaces = append(view.Workspaces, text)
	}
	if view.Tokens, err = s.tokensOf(r, u.ID); err != nil {
		return err
	}
	return s.Render(w, r, status, view.Nonce, templates.AdminUserPage(view))
}

// tokensOf describes a user's personal access tokens that are neither revoked nor expired, in the reader's language.
func (s *Handlers) tokensOf(r *http.Request, userID string) (texts []string, err error) {
	tokens, err := s.identity.CurrentTokens(r.Context(), userID)
	if err != nil {
		return nil, err
	}
	for i := range tokens {
		k := &tokens[i]
		text := locale.New("%s: %s", k.Name, page.Masked(k))
		if !k.PausedAt.IsZero() {
			text = locale.New("%s: %s, paused", k.Name, page.Masked(k))
		}
		texts = append(texts, locale.From(r.Context()).Of(text))
	}
	return texts, nil
}

// UpdateUser serves POST /admin/users/{id}.
func (s *Handlers) UpdateUser(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	form := r.PostForm
	email, name, admin := form.Get("email"), form.Get("name"), form.Get("admin") != ""
	var c identity.UserChange
	if email != u.Email {
		c.Email = &email
	}
	if name != u.Name {
		c.Name = &name
	}
	if admin != u.Admin {
		c.Admin = &admin
	}
	if c.Email != nil || c.Admin != nil && admin {
		by := s.Administrator(v)
		if err := by.MayGrantAccountAccess(); err != nil {
			return err
		}
	}
	changed, err := s.identity.UpdateUser(r.Context(), u.ID, c)
	view := templates.AdminUserView{
		Page:      s.NewPage(v, templates.SectionAdminUsers),
		AdminUser: templates.AdminUser{Name: page.Clean(name, 300), Email: page.Clean(email, 320), Admin: admin},
	}
	if errors.Is(err, storage.ErrConflict) {
		view.Errors = map[string]locale.Text{"admin": lastAdministrator}
		return s.showUser(w, r, http.StatusConflict, v, u, view)
	}
	if view.Errors = page.FieldErrors(err); view.Errors != nil {
		return s.showUser(w, r, http.StatusBadRequest, v, u, view)
	}
	if err != nil {
		return err
	}
	if u.ID == v.User.ID && changed.Email != u.Email {
		return page.Redirect(w, "/login") // this browser is signed out too
	}
	if u.ID == v.User.ID && !changed.Admin {
		return page.Redirect(w, page.DefaultPage)
	}
	return s.RedirectWithNotice(w, r, v, "/admin/users/"+u.ID, locale.New("Saved."))
}

// SetUserPassword serves POST /admin/users/{id}/password, on servers without email.
func (s *Handlers) SetUserPassword(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if s.identity.SendsEmail() {
		return page.NotFound()
	}
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	form := r.PostForm
	v, fault, status, err := s.StepUp(w, r, v, form.Get(page.ProofField))
	if err != nil {
		return err
	}
	view := templates.AdminUserView{
		Page: s.NewPage(v, templates.SectionAdminUsers), AdminUser: templates.AdminUser{
			Name: u.Name, Email: u.Email, Admin: u.Admin,
		},
		KeepApps: form.Get("keep_apps") != "", RevokeTokens: form.Get("tokens") != "",
	}
	if !fault.IsZero() {
		view.Errors = map[string]locale.Text{page.ProofField: fault}
		return s.showUser(w, r, status, v, u, view)
	}
	ended, err := s.identity.SetPassword(r.Context(), u.ID, form.Get("password"), identity.SignOutOptions{
		Apps: !view.KeepApps, Tokens: view.RevokeTokens,
	})
	if view.Errors = page.FieldErrors(err); view.Errors != nil {
		return s.showUser(w, r, http.StatusBadRequest, v, u, view)
	}
	if err != nil {
		return err
	}
	return s.ended(w, r, v, u, locale.New("The password for %s was changed.", u.Email), ended)
}

// ended redirects to the page of a user, and says what was ended.
func (s *Handlers) ended(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, u storage.User, text locale.Text, e identity.SignOutResult,
) error {
	if u.ID == v.User.ID {
		return page.Redirect(w, "/login") // this browser is signed out too
	}
	return s.RedirectWithNotice(w, r, v, "/admin/users/"+u.ID, page.Sentences(
		text,
		ifAny(int(e.Sessions), locale.New("%d sessions ended.", e.Sessions)),
		ifAny(int(e.Grants), locale.New("%d app authorizations were revoked.", e.Grants)),
		ifAny(int(e.Revoked), locale.New("%d personal access tokens were revoked.", e.Revoked)),
	))
}

// ConfirmSignOut serves GET /admin/users/{id}/sign-out.
func (s *Handlers) ConfirmSignOut(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	ctx := storage.System(r.Context())
	u, err := s.store.UserByID(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	apps, err := s.AppNames(ctx, u.ID, "")
	if err != nil {
		return err
	}
	tokens, err := s.tokensOf(r, u.ID)
	if err != nil {
		return err
	}
	appsHint, tokensHint := locale.New("no apps: None."), locale.New("no tokens: None.")
	if len(apps) > 0 {
		appsHint = locale.New("%d apps: %s.", len(apps), page.Listed(apps))
	}
	if len(tokens) > 0 {
		tokensHint = locale.New("%d tokens: %s.", len(tokens), page.Listed(tokens))
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionAdminUsers), Title: locale.New("Sign %s out everywhere?", u.Email),
		Button: locale.New("Sign out everywhere"), CancelURL: "/admin/users/" + u.ID,
		Ends:        []locale.Text{locale.New("%s is signed out of every browser.", u.Email)},
		Stays:       locale.New("They can sign in again. Anything not selected here keeps working."),
		ChoicesText: locale.New("Also revoke"),
		Choices: []templates.ConfirmChoice{
			{Name: "apps", Value: "1", Label: locale.New("App access; each app must ask again"), Hint: appsHint},
			{
				Name: "tokens", Value: "1", Label: locale.New("All personal access tokens; this cannot be undone"),
				Hint: tokensHint,
			},
		},
	})
}

// SignOutUser serves POST /admin/users/{id}/sign-out.
func (s *Handlers) SignOutUser(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	ended, err := s.identity.SignOut(r.Context(), u.ID, identity.SignOutOptions{
		Apps: r.PostForm.Get("apps") != "", Tokens: r.PostForm.Get("tokens") != "",
	})
	if err != nil {
		return err
	}
	return s.ended(w, r, v, u, locale.New("%s is signed out everywhere.", u.Email), ended)
}

// kept returns the ids of the shared workspaces that stay enabled, from the form for disabling a user.
func (s *Handlers) kept(r *http.Request, userID string) (ids []string, err error) {
	with, err := s.store.WorkspacesDisabledWith(storage.System(r.Context()), userID)
	if err != nil {
		return nil, err
	}
	for _, id := range r.PostForm["keep"] {
		if !slices.ContainsFunc(with, func(ws storage.Workspace) bool { return ws.ID == id && !ws.Personal }) {
			return nil, &page.Error{
				Status: http.StatusConflict, Heading: locale.New("Nothing was changed"),
				Message: locale.New("The owners of a workspace have changed. Review what will be disabled with the user."),
				BackURL: "/admin/users/" + userID + "/disable", BackText: locale.New("Review again"),
			}
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// UsersPage serves GET /admin/users.
func (s *Handlers) UsersPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionAdminUsers)
	if err != nil {
		return err
	}
	return s.showUsers(w, r, http.StatusOK, v, templates.AdminUsersView{Page: head})
}

// showUsers renders the list of users. view has what was typed for a new user.
func (s *Handlers) showUsers(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, view templates.AdminUsersView,
) error {
	query := page.Clean(r.URL.Query().Get("q"), 200)
	filter := r.URL.Query().Get("filter")
	if !slices.Contains(storage.UserStates(), filter) {
		filter = ""
	}
	rows := page.ReadList(r, "/admin/users", "created", url.Values{"q": {query}, "filter": {filter}},
		templates.Column{By: "name", Text: locale.New("User")},
		templates.Column{By: "email", Text: locale.New("Email")},
		templates.Column{By: "created", Text: locale.New("Added"), Down: true},
		templates.Column{By: "last_seen", Text: locale.New("Last signed in"), Down: true},
		templates.Column{Text: locale.New("Actions")},
	)
	list, err := s.store.SortedUsers(
		storage.System(r.Context()), storage.UserFilter{Search: query, State: filter}, rows.Order, page.ListLength+1,
	)
	if err != nil {
		return err
	}
	list, view.NextURL, view.PrevURL = page.Paginate(&rows, list, func(u *storage.User) string { return u.ID })
	view.Columns = rows.Head()
	view.Query, view.NeedPassword = query, s.AsksPassword(v)
	view.Filter, view.Filters, view.Invites = filter, filters(filter), s.identity.SendsEmail()
	for _, u := range list {
		view.Users = append(view.Users, templates.AdminUser{
			ID: u.ID, Name: u.Name, Email: u.Email, Admin: u.Admin, Disabled: !u.DisabledAt.IsZero(),
			Created: u.CreatedAt.Time(), LastSeen: u.SeenAt.Time(), Self: u.ID == v.User.ID,
			Waiting: !u.WaitingSince.IsZero(),
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.AdminUsersPage(view))
}

// CreateUser serves POST /admin/users: it invites a user, or on servers without email creates one with a password.
func (s *Handlers) CreateUser(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	form := r.PostForm
	v, fault, status, err := s.StepUp(w, r, v, form.Get("current_password"))
	if err != nil {
		return err
	}
	view := templates.AdminUsersView{
		Page: s.NewPage(v, templates.SectionAdminUsers), NewName: page.Clean(form.Get("name"), 300),
		NewEmail: page.Clean(form.Get("email"), 320), NewAdmin: form.Get("admin") != "",
	}
	if !fault.IsZero() {
		view.Errors = map[string]locale.Text{"current_password": fault}
		return s.showUsers(w, r, status, v, view)
	}
	if s.identity.SendsEmail() {
		return s.invite(w, r, v, view)
	}
	var created page.OneTimeSecret
	insert, err := s.identity.PrepareUser(r.Context(), identity.NewUser{
		Email: form.Get("email"), Name: form.Get("name"), Password: form.Get("password"), Admin: form.Get("admin") != "",
	})
	if err == nil {
		created, _, err = s.CreateOnce(storage.System(r.Context()), r, v, "",
			func(ctx context.Context) (page.OneTimeSecret, error) {
				u, err := insert(ctx)
				return page.OneTimeSecret{ID: u.ID}, err
			})
	}
	if view.Errors = page.FieldErrors(err); view.Errors != nil {
		return s.showUsers(w, r, http.StatusBadRequest, v, view)
	}
	if err != nil {
		return err
	}
	u, err := s.store.UserByID(storage.System(r.Context()), created.ID)
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/admin/users", locale.New("%s can sign in now.", u.Email))
}

// SetUserDisabled serves POST /admin/users/{id}/disable and …/enable.
func (s *Handlers) SetUserDisabled(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	id := r.PathValue("id")
	u, err := s.store.UserByID(storage.System(r.Context()), id)
	if err != nil {
		return err
	}
	text := locale.New("%s can sign in again. Their keys, tokens and workspaces work again; sessions and app access "+
		"were not restored.", u.Email)
	if strings.HasSuffix(r.URL.Path, "/disable") {
		if id == v.User.ID {
			return &page.Error{
				Status: http.StatusBadRequest, Heading: locale.New("You cannot disable yourself"),
				Message: locale.New("Ask another administrator, or use the CLI."), BackURL: "/admin/users",
				BackText: locale.New("Back to users"),
			}
		}
		text = locale.New("%s is signed out everywhere, and none of their credentials work. Workspaces without another "+
			"enabled owner are disabled too.", u.Email)
		var keep []string
		if keep, err = s.kept(r, id); err != nil {
			return err
		}
		if len(keep) > 0 {
			text = locale.New("%s is signed out everywhere, and none of their credentials work. Workspaces without "+
				"another enabled owner are disabled too, except those you chose to keep enabled.", u.Email)
		}
		err = s.identity.DisableUser(r.Context(), id, keep...)
	} else {
		by := s.Administrator(v)
		if err := by.MayGrantAccountAccess(); err != nil {
			return err
		}
		err = s.identity.EnableUser(r.Context(), id)
	}
	if errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("Nothing was changed"), Message: lastAdministrator,
			BackURL: "/admin/users", BackText: locale.New("Back to users"),
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/admin/users", text)
}

// ConfirmDisableUser serves GET /admin/users/{id}/disable.
func (s *Handlers) ConfirmDisableUser(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	ctx := storage.System(r.Context())
	u, err := s.store.UserByID(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	sessions, err := s.store.SessionsOf(ctx, u.ID, page.SessionIdle)
	if err != nil {
		return err
	}
	apps, err := s.AppNames(ctx, u.ID, "")
	if err != nil {
		return err
	}
	tokens, err := s.ActiveKeyNames(ctx, storage.KeyOwner{UserID: u.ID}, storage.KeyFilter{})
	if err != nil {
		return err
	}
	list := page.NonEmpty(
		locale.New("%s cannot sign in.", u.Email),
		ifAny(len(sessions), locale.New("%d sessions will be signed out.", len(sessions))),
		ifAny(len(apps), locale.New("%d apps will lose their access: %s.", len(apps), page.Listed(apps))),
		ifAny(len(tokens), locale.New("%d personal access tokens will stop working: %s.", len(tokens),
			page.Listed(tokens))),
	)
	own, err := s.store.WorkspacesDisabledWith(ctx, u.ID)
	if err != nil {
		return err
	}
	var keep []templates.ConfirmChoice
	for _, ws := range own {
		if !ws.DisabledAt.IsZero() {
			continue // it is already disabled
		}
		text, err := s.workspaceEnds(ctx, ws)
		if err != nil {
			return err
		}
		list = append(list, locale.New("The workspace %s has no other enabled owner and will be disabled: %s", ws.Name,
			text))
		if !ws.Personal {
			keep = append(keep, templates.ConfirmChoice{
				Name: "keep", Value: ws.ID, Label: templates.AsIs(ws.Name), Hint: templates.AsIs(ws.Slug),
			})
		}
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionAdminUsers), Title: locale.New("Disable %s?", u.Email),
		Ends: list, Button: locale.New("Disable user"), CancelURL: "/admin/users",
		Stays: locale.New("Nothing is deleted. You can enable the user again; sessions and app access are not " +
			"restored."),
		ChoicesText: locale.New("Shared workspaces to keep enabled without an enabled owner"), Choices: keep,
	})
}
