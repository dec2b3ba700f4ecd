package admin

import (
	"context"
	"errors"
	"net/http"

	"doorward/locale"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// filters are the choices of the list of users.
func filters(chosen string) []templates.Option {
	list := []templates.Option{
		{Value: "", Text: locale.New("All users")},
		{Value: storage.UsersNeverSignedIn, Text: locale.New("Never signed in")},
		{Value: storage.UsersDisabled, Text: locale.New("Disabled users")},
		{Value: storage.UsersAdministrators, Text: locale.New("Administrators")},
		{Value: storage.UsersWaiting, Text: locale.New("Waiting for approval")},
		{Value: storage.UsersWithoutSecondFactor, Text: locale.New("Without a second factor")},
	}
	for i := range list {
		list[i].Selected = list[i].Value == chosen
	}
	return list
}

// userPath is the path of the page of a user.
func userPath(u *storage.User) string { return "/admin/users/" + u.ID }

// notDone says why something was not done to a user; other errors are returned as they are.
func notDone(err error, u *storage.User) error {
	answer := &page.Error{
		Status: http.StatusConflict, Heading: locale.New("Nothing was changed"), BackURL: userPath(u),
		BackText: locale.New("Back to the user"), Cause: err,
	}
	switch {
	case errors.Is(err, storage.ErrConflict):
		answer.Message = lastAdministrator
	case errors.Is(err, identity.ErrNotWaiting):
		answer.Message = locale.New("The account does not wait for approval. Another administrator may have " +
			"decided already.")
	case errors.Is(err, identity.ErrDisabled):
		answer.Message = locale.New("The user is disabled. Enable them first.")
	case errors.Is(err, identity.ErrNoEmail), errors.Is(err, identity.ErrNoPasswords):
		answer.Message = locale.New("This server does not send reset emails.")
	case errors.Is(err, identity.ErrOnlyWay):
		answer.Message = locale.New("Without it the user could not sign in. Disable the user, or set another password.")
	default:
		return err
	}
	return answer
}

// invite sends an invitation, once even if the form is sent several times. view has what was typed.
func (s *Handlers) invite(w http.ResponseWriter, r *http.Request, v *page.Visitor, view templates.AdminUsersView) error {
	email := r.PostForm.Get("email")
	_, _, err := s.CreateOnce(storage.System(r.Context()), r, v, "",
		func(ctx context.Context) (page.OneTimeSecret, error) {
			proof, err := s.identity.Invite(ctx, email)
			return page.OneTimeSecret{ID: proof.ID}, err
		})
	if view.Errors = page.FieldErrors(err); view.Errors != nil {
		return s.showUsers(w, r, http.StatusBadRequest, v, view)
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/admin/users", locale.New("The invitation is on its way to %s.",
		page.Clean(email, 320)))
}

// withUser calls act with the user in the path, and explains its errors.
func (s *Handlers) withUser(r *http.Request, act func(u *storage.User) error) error {
	u, err := s.store.UserByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	return notDone(act(&u), &u)
}

// SendReset serves POST /admin/users/{id}/reset.
func (s *Handlers) SendReset(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		if err := s.identity.SendReset(r.Context(), u.ID); err != nil {
			return err
		}
		return s.RedirectWithNotice(w, r, v, userPath(u), locale.New("The reset email is on its way to %s.", u.Email))
	})
}

// Approve serves POST /admin/users/{id}/approve.
func (s *Handlers) Approve(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		by := s.Administrator(v)
		if err := by.MayGrantAccountAccess(); err != nil {
			return err
		}
		if err := s.identity.ApproveUser(r.Context(), u.ID); err != nil {
			return err
		}
		return s.RedirectWithNotice(w, r, v, "/admin/users", locale.New("%s can sign in now.", u.Email))
	})
}

// ConfirmRefusal serves GET /admin/users/{id}/refuse.
func (s *Handlers) ConfirmRefusal(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		if u.WaitingSince.IsZero() {
			return identity.ErrNotWaiting
		}
		return s.AskFirst(w, r, templates.ConfirmView{
			Page: s.NewPage(v, templates.SectionAdminUsers), Title: locale.New("Refuse %s?", u.Email),
			Ends: []locale.Text{
				locale.New("The account is deleted, and the user is told by email."),
			},
			Stays:  locale.New("They can sign up again."),
			Button: locale.New("Refuse"), CancelURL: userPath(u),
		})
	})
}

// Refuse serves POST /admin/users/{id}/refuse.
func (s *Handlers) Refuse(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		if err := s.identity.RefuseUser(r.Context(), u.ID); err != nil {
			return err
		}
		return s.RedirectWithNotice(w, r, v, "/admin/users", locale.New("%s was refused.", u.Email))
	})
}

// cannotDeleteSelf keeps administrators from deleting themselves by a slip.
func cannotDeleteSelf() *page.Error {
	return &page.Error{
		Status: http.StatusBadRequest, Heading: locale.New("You cannot delete yourself here"),
		Message: locale.New("Ask another administrator, or use the CLI."), BackURL: "/admin/users",
		BackText: locale.New("Back to users"),
	}
}

// ConfirmDeletion serves GET /admin/users/{id}/delete: it lists what is deleted with the user.
func (s *Handlers) ConfirmDeletion(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		if u.ID == v.User.ID {
			return cannotDeleteSelf()
		}
		ctx := storage.System(r.Context())
		own, err := s.store.SolelyOwnedBy(ctx, u.ID)
		if err != nil {
			return err
		}
		ends := []locale.Text{locale.New("The account %s is deleted, with its sessions, tokens and app access.", u.Email)}
		if s.identity.SendsEmail() {
			ends = append(ends, locale.New("The user is told by email."))
		}
		for _, ws := range own {
			text, err := s.workspaceEnds(ctx, ws)
			if err != nil {
				return err
			}
			ends = append(ends, locale.New("The workspace %s has no other owner and is deleted: %s", ws.Name, text))
		}
		return s.AskFirst(w, r, templates.ConfirmView{
			Page: s.NewPage(v, templates.SectionAdminUsers), Title: locale.New("Delete %s?", u.Email), Ends: ends,
			Stays:  locale.New("This cannot be undone. To stop a user for a while, disable them."),
			Button: locale.New("Delete user"), CancelURL: userPath(u),
		})
	})
}

// DeleteUser serves POST /admin/users/{id}/delete.
func (s *Handlers) DeleteUser(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		if u.ID == v.User.ID {
			return cannotDeleteSelf()
		}
		if err := s.identity.DeleteUser(r.Context(), u.ID); err != nil {
			return err
		}
		return s.RedirectWithNotice(w, r, v, "/admin/users", locale.New("%s was deleted.", u.Email))
	})
}

// ConfirmEndSession serves GET /admin/users/{id}/sessions/{session}/end.
func (s *Handlers) ConfirmEndSession(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		list, err := s.identity.Sessions(r.Context(), u.ID)
		if err != nil {
			return err
		}
		for _, x := range list {
			if x.ID != r.PathValue("session") {
				continue
			}
			name := page.BrowserName(x.UserAgent)
			if name.IsZero() {
				name = locale.New("Unknown browser")
			}
			return s.AskFirst(w, r, templates.ConfirmView{
				Page: s.NewPage(v, templates.SectionAdminUsers), Title: locale.New("Sign out this session?"),
				Ends:   []locale.Text{locale.New("%s is signed out of this browser: %s, %s.", u.Email, name, x.Address)},
				Stays:  locale.New("They can sign in again. Other browsers stay signed in."),
				Button: locale.New("Sign out"), CancelURL: userPath(u),
			})
		}
		return page.NotFound()
	})
}

// EndUserSession serves POST /admin/users/{id}/sessions/{session}/end.
func (s *Handlers) EndUserSession(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		if err := s.identity.EndSession(r.Context(), u.ID, r.PathValue("session")); err != nil {
			return err
		}
		if r.PathValue("session") == v.Row.ID {
			return page.Redirect(w, "/login") // this browser is signed out
		}
		return s.RedirectWithNotice(w, r, v, userPath(u), locale.New("The browser was signed out."))
	})
}

// ConfirmRemoveMethod serves GET /admin/users/{id}/methods/{method}/remove.
func (s *Handlers) ConfirmRemoveMethod(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	return s.withUser(r, func(u *storage.User) error {
		list, err := s.identity.Methods(r.Context(), u)
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.ID != r.PathValue("method") {
				continue
			}
			view := templates.ConfirmView{
				Page: s.NewPage(v, templates.SectionAdminUsers), CancelURL: userPath(u),
				Title: locale.New("Remove a sign-in method of %s?", u.Email),
				Ends: []locale.Text{
					s.MethodText(m),
					locale.New("%s cannot sign in with it any more, and is signed out of every browser.", u.Email),
					locale.New("The user is told by email."),
				},
				Button: locale.New("Remove"),
			}
			if m.Kind == identity.MethodPassword {
				view.Title, view.Button = locale.New("Remove the password of %s?", u.Email), locale.New("Remove the password")
				view.Ends = view.Ends[1:]
				view.Stays = locale.New("They can choose a new one with a reset email.")
			}
			return s.AskFirst(w, r, view)
		}
		return page.NotFound()
	})
}

// RemoveMethod serves POST /admin/users/{id}/methods/{method}/remove.
func (s *Handlers) RemoveMethod(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	by := s.Administrator(v)
	if err := by.MayGrantAccountAccess(); err != nil {
		return err
	}
	return s.withUser(r, func(u *storage.User) error {
		if err := s.identity.RemoveMethodOf(r.Context(), u.ID, r.PathValue("method")); err != nil {
			return err
		}
		if u.ID == v.User.ID {
			return page.Redirect(w, "/login") // this browser is signed out too
		}
		if r.PathValue("method") == identity.MethodPassword {
			return s.RedirectWithNotice(w, r, v, userPath(u), locale.New("The password of %s was removed.", u.Email))
		}
		return s.RedirectWithNotice(w, r, v, userPath(u), locale.New("The sign-in method was removed."))
	})
}
