package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// listLength is how many rows a page of a list has.
const listLength = 50

// paging turns a list that was read one row too long into a page and the link to the next. The first page is the only
// one that can be gone back to by a link; the browser knows the others.
func paging[T any](base, query, after string, list []T, id func(T) string) (page []T, next, prev string) {
	link := func(after string) string {
		v := url.Values{}
		if query != "" {
			v.Set("q", query)
		}
		if after != "" {
			v.Set("after", after)
		}
		if len(v) == 0 {
			return base
		}
		return base + "?" + v.Encode()
	}
	if after != "" {
		prev = link("")
	}
	if len(list) > listLength {
		list = list[:listLength]
		next = link(id(list[len(list)-1]))
	}
	return list, next, prev
}

// adminUsersPage serves GET /admin/users.
func (s *Server) adminUsersPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionAdminUsers)
	if err != nil {
		return err
	}
	return s.showUsers(w, r, http.StatusOK, v, templates.AdminUsersView{Page: page})
}

func (s *Server) showUsers(w http.ResponseWriter, r *http.Request, status int, v *visitor, view templates.AdminUsersView) error {
	query, after := clean(r.URL.Query().Get("q"), 200), clean(r.URL.Query().Get("after"), 64)
	list, err := s.store.Users(storage.System(r.Context()), query, after, listLength+1)
	if err != nil {
		return err
	}
	list, view.NextURL, view.PrevURL = paging("/admin/users", query, after, list, func(u storage.User) string { return u.ID })
	view.Query, view.NeedPassword = query, !s.fresh(v)
	for _, u := range list {
		view.Users = append(view.Users, templates.AdminUser{
			ID: u.ID, Name: u.Name, Email: u.Email, Admin: u.Admin, Disabled: !u.DisabledAt.IsZero(),
			Created: u.CreatedAt.Time(), LastSeen: u.SeenAt.Time(), Self: u.ID == v.user.ID,
		})
	}
	return s.render(w, r, status, view.Nonce, templates.AdminUsersPage(view))
}

// createUser serves POST /admin/users.
func (s *Server) createUser(w http.ResponseWriter, r *http.Request, v *visitor) error {
	form := r.PostForm
	v, fault, status, err := s.stepUp(w, r, v, form.Get("current_password"))
	if err != nil {
		return err
	}
	view := templates.AdminUsersView{Page: s.page(v, templates.SectionAdminUsers), NewName: clean(form.Get("name"), 300), NewEmail: clean(form.Get("email"), 320), NewAdmin: form.Get("admin") != ""}
	if fault != "" {
		view.Errors = map[string]string{"current_password": fault}
		return s.showUsers(w, r, status, v, view)
	}
	var made newSecret
	insert, err := s.identity.PrepareUser(r.Context(), identity.NewUser{Email: form.Get("email"), Name: form.Get("name"), Password: form.Get("password"), Admin: form.Get("admin") != ""})
	if err == nil {
		made, _, err = s.createOnce(storage.System(r.Context()), r, v, "", func(ctx context.Context) (newSecret, error) {
			u, err := insert(ctx)
			return newSecret{ID: u.ID}, err
		})
	}
	if view.Errors = fieldErrors(err); view.Errors != nil {
		return s.showUsers(w, r, http.StatusBadRequest, v, view)
	}
	if err != nil {
		return err
	}
	u, err := s.store.UserByID(storage.System(r.Context()), made.ID)
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, u.Email+" can sign in now."); err != nil {
		return err
	}
	return redirect(w, "/admin/users")
}

// switchUser serves POST /admin/users/{id}/disable and …/enable.
func (s *Server) switchUser(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id := r.PathValue("id")
	u, err := s.store.UserByID(storage.System(r.Context()), id)
	if err != nil {
		return err
	}
	text := u.Email + " can sign in again. Their keys, tokens and workspaces work again; sessions and the access of apps have ended."
	if strings.HasSuffix(r.URL.Path, "/disable") {
		if id == v.user.ID {
			return &pageError{Status: http.StatusBadRequest, Heading: "You cannot disable yourself", Message: "Ask another administrator, or use the command.", BackURL: "/admin/users", BackText: "Go back to the users"}
		}
		text = u.Email + " is signed out everywhere, and none of their credentials works. The workspaces without another enabled owner are disabled too."
		var keep []string
		if keep, err = s.kept(r, id); err != nil {
			return err
		}
		if len(keep) > 0 {
			text = strings.TrimSuffix(text, ".") + ", but for those that you keep working."
		}
		err = s.identity.DisableUser(r.Context(), id, keep...)
	} else {
		by := s.administrator(v)
		if err := by.MayGivePower(); err != nil {
			return err
		}
		err = s.identity.EnableUser(r.Context(), id)
	}
	if errors.Is(err, storage.ErrConflict) {
		return &pageError{Status: http.StatusConflict, Heading: "Nothing was changed", Message: lastAdministrator, BackURL: "/admin/users", BackText: "Go back to the users"}
	}
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, "/admin/users")
}

// adminAppsPage serves GET /admin/apps.
func (s *Server) adminAppsPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionAdminApps)
	if err != nil {
		return err
	}
	query, after := clean(r.URL.Query().Get("q"), 200), clean(r.URL.Query().Get("after"), 64)
	ctx := storage.System(r.Context())
	list, err := s.store.Clients(ctx, query, after, listLength+1)
	if err != nil {
		return err
	}
	view := templates.AdminAppsView{Page: page, Query: query}
	list, view.NextURL, view.PrevURL = paging(adminAppsBase, query, after, list, func(c storage.Client) string { return c.ID })
	for _, c := range list {
		owner, err := s.ownerOf(ctx, c)
		if err != nil {
			return err
		}
		view.Apps = append(view.Apps, templates.AdminApp{
			ID: c.ID, Name: c.Name, Owner: owner, Kind: kindOf(c), Verified: c.Verified, Operator: management.RegisteredByOperator(&c), FirstParty: c.FirstParty,
			PKCEOptional: c.PKCEOptional, Disabled: !c.DisabledAt.IsZero(), Created: c.CreatedAt.Time(),
		})
	}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.AdminAppsPage(view))
}

// verifyApp serves POST /admin/apps/{id}/verify and …/unverify.
func (s *Server) verifyApp(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	verified := strings.HasSuffix(r.URL.Path, "/verify")
	_, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(ctx context.Context, c storage.Client) error {
		return s.management.VerifyClient(ctx, at.by, c.ID, verified)
	})
	text := "The app is no longer verified."
	if verified {
		text = "The app is verified: the consent page says so."
	}
	return s.appChanged(w, r, v, adminAppsBase, text, err)
}
