package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

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
const lastAdministrator = "This is the only administrator. Create or enable another administrator first."

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
	view.Self, view.NeedPassword = u.ID == v.User.ID, !s.Fresh(v)
	with, err := s.store.WorkspacesDisabledWith(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, ws := range with {
		text := ws.Name + " (" + ws.Slug + ")"
		switch {
		case ws.DisabledFor != "":
			text += ", disabled because it has no enabled owner"
		case !ws.DisabledAt.IsZero():
			text += ", disabled by an administrator"
		case view.Disabled:
			text += ", kept enabled by an administrator"
		}
		view.Workspaces = append(view.Workspaces, text)
	}
	if view.Tokens, err = s.tokensOf(r, u.ID); err != nil {
		return err
	}
	return s.Render(w, r, status, view.Nonce, templates.AdminUserPage(view))
}

// tokensOf describes a user's personal access tokens that are neither revoked nor expired.
func (s *Handlers) tokensOf(r *http.Request, userID string) (texts []string, err error) {
	tokens, err := s.identity.CurrentTokens(r.Context(), userID)
	if err != nil {
		return nil, err
	}
	for i := range tokens {
		k := &tokens[i]
		text := k.Name + ": " + page.Masked(k)
		if !k.PausedAt.IsZero() {
			text += ", paused"
		}
		texts = append(texts, text)
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
		view.Errors = map[string]string{"admin": lastAdministrator}
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
	return s.RedirectWithNotice(w, r, v, "/admin/users/"+u.ID, "Saved.")
}

// SetUserPassword serves POST /admin/users/{id}/password.
func (s *Handlers) SetUserPassword(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
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
	if fault != "" {
		view.Errors = map[string]string{page.ProofField: fault}
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
	return s.ended(w, r, v, u, "The password for "+u.Email+" was changed.", ended)
}

// ended redirects to the page of a user, and says what was ended.
func (s *Handlers) ended(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, u storage.User, text string, e identity.SignOutResult,
) error {
	if u.ID == v.User.ID {
		return page.Redirect(w, "/login") // this browser is signed out too
	}
	for _, more := range page.NonEmpty(
		page.CountSentence(int(e.Sessions), "session ended", "sessions ended"),
		page.CountSentence(int(e.Grants), "app authorization was revoked", "app authorizations were revoked"),
		page.CountSentence(int(e.Revoked), "personal access token was revoked", "personal access tokens were revoked"),
	) {
		text += " " + more
	}
	return s.RedirectWithNotice(w, r, v, "/admin/users/"+u.ID, text)
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
	none := func(text string) string {
		if text == "" {
			return "None."
		}
		return text
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionAdminUsers), Title: "Sign " + u.Email + " out everywhere?",
		Button: "Sign out everywhere", CancelURL: "/admin/users/" + u.ID,
		Ends:  []string{u.Email + " is signed out of every browser."},
		Stays: "They can sign in again. Anything not selected here keeps working.", ChoicesText: "Also revoke",
		Choices: []templates.ConfirmChoice{
			{
				Name: "apps", Value: "1", Label: "App access; each app must ask again",
				Hint: none(page.CountSentence(len(apps), "app", "apps", apps...)),
			},
			{
				Name: "tokens", Value: "1", Label: "All personal access tokens; this cannot be undone",
				Hint: none(page.CountSentence(len(tokens), "token", "tokens", tokens...)),
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
	return s.ended(w, r, v, u, u.Email+" is signed out everywhere.", ended)
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
				Status: http.StatusConflict, Heading: "Nothing was changed",
				Message: "The owners of a workspace have changed. Review what will be disabled with the user.",
				BackURL: "/admin/users/" + userID + "/disable", BackText: "Review again",
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
	rows := page.ReadList(r, "/admin/users", "created", url.Values{"q": {query}},
		templates.Column{By: "name", Text: "User"}, templates.Column{By: "email", Text: "Email"},
		templates.Column{By: "created", Text: "Added", Down: true},
		templates.Column{By: "last_seen", Text: "Last signed in", Down: true}, templates.Column{Text: "Actions"})
	list, err := s.store.SortedUsers(storage.System(r.Context()), query, rows.Order, page.ListLength+1)
	if err != nil {
		return err
	}
	list, view.NextURL, view.PrevURL = page.Paginate(&rows, list, func(u *storage.User) string { return u.ID })
	view.Columns = rows.Head()
	view.Query, view.NeedPassword = query, !s.Fresh(v)
	for _, u := range list {
		view.Users = append(view.Users, templates.AdminUser{
			ID: u.ID, Name: u.Name, Email: u.Email, Admin: u.Admin, Disabled: !u.DisabledAt.IsZero(),
			Created: u.CreatedAt.Time(), LastSeen: u.SeenAt.Time(), Self: u.ID == v.User.ID,
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.AdminUsersPage(view))
}

// CreateUser serves POST /admin/users.
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
	if fault != "" {
		view.Errors = map[string]string{"current_password": fault}
		return s.showUsers(w, r, status, v, view)
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
	return s.RedirectWithNotice(w, r, v, "/admin/users", u.Email+" can sign in now.")
}

// SetUserDisabled serves POST /admin/users/{id}/disable and …/enable.
func (s *Handlers) SetUserDisabled(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	id := r.PathValue("id")
	u, err := s.store.UserByID(storage.System(r.Context()), id)
	if err != nil {
		return err
	}
	text := u.Email + " can sign in again. Their keys, tokens and workspaces work again; sessions and app access " +
		"were not " +
		"restored."
	if strings.HasSuffix(r.URL.Path, "/disable") {
		if id == v.User.ID {
			return &page.Error{
				Status: http.StatusBadRequest, Heading: "You cannot disable yourself",
				Message: "Ask another administrator, or use the CLI.", BackURL: "/admin/users", BackText: "Back to users",
			}
		}
		text = u.Email + " is signed out everywhere, and none of their credentials work. Workspaces without another " +
			"enabled owner are disabled too."
		var keep []string
		if keep, err = s.kept(r, id); err != nil {
			return err
		}
		if len(keep) > 0 {
			text = strings.TrimSuffix(text, ".") + ", except those you chose to keep enabled."
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
			Status: http.StatusConflict, Heading: "Nothing was changed", Message: lastAdministrator, BackURL: "/admin/users",
			BackText: "Back to users",
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
		u.Email+" cannot sign in.",
		page.CountSentence(len(sessions), "session will be signed out", "sessions will be signed out"),
		page.CountSentence(len(apps), "app will lose its access", "apps will lose their access", apps...),
		page.CountSentence(
			len(tokens), "personal access token will stop working", "personal access tokens will stop working", tokens...,
		),
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
		list = append(list, "The workspace "+ws.Name+" has no other enabled owner and will be disabled: "+text)
		if !ws.Personal {
			keep = append(keep, templates.ConfirmChoice{Name: "keep", Value: ws.ID, Label: ws.Name, Hint: ws.Slug})
		}
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionAdminUsers), Title: "Disable " + u.Email + "?", Ends: list,
		Button: "Disable user", CancelURL: "/admin/users",
		Stays:       "Nothing is deleted. You can enable the user again; sessions and app access are not restored.",
		ChoicesText: "Shared workspaces to keep enabled without an enabled owner", Choices: keep,
	})
}
