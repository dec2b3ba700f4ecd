package web

import (
	"errors"
	"net/http"
	"slices"

	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// lastAdministrator says why the last enabled administrator stays one.
const lastAdministrator = "Nobody else could administer this server. Make or enable another administrator first."

// adminUserPage serves GET /admin/users/{id}.
func (s *Server) adminUserPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	page, err := s.settingsPage(w, r, v, templates.SectionAdminUsers)
	if err != nil {
		return err
	}
	return s.showUser(w, r, http.StatusOK, v, u, templates.AdminUserView{Page: page, AdminUser: templates.AdminUser{Name: u.Name, Email: u.Email, Admin: u.Admin}})
}

// showUser shows a user, with what was typed in the view.
func (s *Server) showUser(w http.ResponseWriter, r *http.Request, status int, v *visitor, u storage.User, view templates.AdminUserView) error {
	ctx := storage.System(r.Context())
	view.ID, view.SavedEmail, view.Disabled, view.Self, view.NeedPassword = u.ID, u.Email, !u.DisabledAt.IsZero(), u.ID == v.user.ID, !s.fresh(v)
	with, err := s.store.WorkspacesStoppedWith(ctx, u.ID)
	if err != nil {
		return err
	}
	for _, ws := range with {
		text := ws.Name + " (" + ws.Slug + ")"
		switch {
		case ws.DisabledFor != "":
			text += ", disabled because no owner is enabled"
		case !ws.DisabledAt.IsZero():
			text += ", disabled by an administrator"
		case view.Disabled:
			text += ", kept working by an administrator"
		}
		view.Workspaces = append(view.Workspaces, text)
	}
	if view.Tokens, err = s.tokensOf(r, u.ID); err != nil {
		return err
	}
	return s.render(w, r, status, view.Nonce, templates.AdminUserPage(view))
}

// tokensOf describes a user's personal access tokens that are neither revoked nor expired.
func (s *Server) tokensOf(r *http.Request, userID string) (texts []string, err error) {
	tokens, err := s.identity.CurrentTokens(r.Context(), userID)
	if err != nil {
		return nil, err
	}
	for i := range tokens {
		k := &tokens[i]
		text := k.Name + ": " + masked(k)
		if !k.PausedAt.IsZero() {
			text += ", paused"
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// updateUser serves POST /admin/users/{id}.
func (s *Server) updateUser(w http.ResponseWriter, r *http.Request, v *visitor) error {
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
		by := s.administrator(v)
		if err := by.MayGivePower(); err != nil {
			return err
		}
	}
	changed, err := s.identity.UpdateUser(r.Context(), u.ID, c)
	view := templates.AdminUserView{Page: s.page(v, templates.SectionAdminUsers), AdminUser: templates.AdminUser{Name: clean(name, 300), Email: clean(email, 320), Admin: admin}}
	if errors.Is(err, storage.ErrConflict) {
		view.Errors = map[string]string{"admin": lastAdministrator}
		return s.showUser(w, r, http.StatusConflict, v, u, view)
	}
	if view.Errors = fieldErrors(err); view.Errors != nil {
		return s.showUser(w, r, http.StatusBadRequest, v, u, view)
	}
	if err != nil {
		return err
	}
	if u.ID == v.user.ID && changed.Email != u.Email {
		return redirect(w, "/login") // this browser is signed out too
	}
	if u.ID == v.user.ID && !changed.Admin {
		return redirect(w, defaultPage)
	}
	return s.changed(w, r, v, "/admin/users/"+u.ID, "Saved.")
}

// setUserPassword serves POST /admin/users/{id}/password.
func (s *Server) setUserPassword(w http.ResponseWriter, r *http.Request, v *visitor) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	form := r.PostForm
	v, fault, status, err := s.stepUp(w, r, v, form.Get(proofField))
	if err != nil {
		return err
	}
	view := templates.AdminUserView{
		Page: s.page(v, templates.SectionAdminUsers), AdminUser: templates.AdminUser{Name: u.Name, Email: u.Email, Admin: u.Admin},
		KeepApps: form.Get("keep_apps") != "", RevokeTokens: form.Get("tokens") != "",
	}
	if fault != "" {
		view.Errors = map[string]string{proofField: fault}
		return s.showUser(w, r, status, v, u, view)
	}
	ended, err := s.identity.SetPassword(r.Context(), u.ID, form.Get("password"), identity.Ending{Apps: !view.KeepApps, Tokens: view.RevokeTokens})
	if view.Errors = fieldErrors(err); view.Errors != nil {
		return s.showUser(w, r, http.StatusBadRequest, v, u, view)
	}
	if err != nil {
		return err
	}
	return s.ended(w, r, v, u, "The password of "+u.Email+" is set.", ended)
}

// ended says what ended for a user.
func (s *Server) ended(w http.ResponseWriter, r *http.Request, v *visitor, u storage.User, text string, e identity.Ended) error {
	if u.ID == v.user.ID {
		return redirect(w, "/login") // this browser is signed out too
	}
	for _, more := range sentences(
		ending(int(e.Sessions), "session ended", "sessions ended"),
		ending(int(e.Grants), "authorization of an app ended", "authorizations of apps ended"),
		ending(int(e.Revoked), "personal access token was revoked", "personal access tokens were revoked"),
	) {
		text += " " + more
	}
	return s.changed(w, r, v, "/admin/users/"+u.ID, text)
}

// confirmSignOut serves GET /admin/users/{id}/sign-out.
func (s *Server) confirmSignOut(w http.ResponseWriter, r *http.Request, v *visitor) error {
	ctx := storage.System(r.Context())
	u, err := s.store.UserByID(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	grants, err := s.store.LiveGrantsOf(ctx, u.ID)
	if err != nil {
		return err
	}
	apps, err := s.appNames(ctx, grants)
	if err != nil {
		return err
	}
	tokens, err := s.tokensOf(r, u.ID)
	if err != nil {
		return err
	}
	none := func(text string) string {
		if text == "" {
			return "There are none now."
		}
		return text
	}
	return s.askFirst(w, r, templates.ConfirmView{
		Page: s.page(v, templates.SectionAdminUsers), Title: "Sign " + u.Email + " out everywhere?", Button: "Sign out everywhere", CancelURL: "/admin/users/" + u.ID,
		Ends:  []string{"Every browser in which " + u.Email + " is signed in is signed out."},
		Stays: "They can sign in again. What is not chosen here goes on working.", ChoicesText: "Also end",
		Choices: []templates.ConfirmChoice{
			{Name: "apps", Value: "1", Label: "The access of apps, each of which has to ask again", Hint: none(ending(len(apps), "app", "apps", apps...))},
			{Name: "tokens", Value: "1", Label: "All personal access tokens, for good", Hint: none(ending(len(tokens), "token", "tokens", tokens...))},
		},
	})
}

// signOutUser serves POST /admin/users/{id}/sign-out.
func (s *Server) signOutUser(w http.ResponseWriter, r *http.Request, v *visitor) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	ended, err := s.identity.SignOut(r.Context(), u.ID, identity.Ending{Apps: r.PostForm.Get("apps") != "", Tokens: r.PostForm.Get("tokens") != ""})
	if err != nil {
		return err
	}
	return s.ended(w, r, v, u, u.Email+" is signed out everywhere.", ended)
}

// kept are the ids of the shared workspaces that a form for disabling a user keeps working.
func (s *Server) kept(r *http.Request, userID string) (ids []string, err error) {
	with, err := s.store.WorkspacesStoppedWith(storage.System(r.Context()), userID)
	if err != nil {
		return nil, err
	}
	for _, id := range r.PostForm["keep"] {
		if !slices.ContainsFunc(with, func(ws storage.Workspace) bool { return ws.ID == id && !ws.Personal }) {
			return nil, &pageError{
				Status: http.StatusConflict, Heading: "Nothing was changed", Message: "The owners of a workspace have changed meanwhile. Look again at what stops with the user.",
				BackURL: "/admin/users/" + userID + "/disable", BackText: "Look again",
			}
		}
		ids = append(ids, id)
	}
	return ids, nil
}
