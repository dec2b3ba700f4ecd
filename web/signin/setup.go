package signin

import (
	"errors"
	"net/http"
	"time"

	"doorward/locale"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// setupClosed is the page when there are users already. If none of them is an administrator, it says what to do.
func (s *Handlers) setupClosed(r *http.Request) error {
	has, err := s.store.HasAdministrator(storage.System(r.Context()))
	if err != nil {
		return err
	}
	if !has {
		return &page.Error{
			Status: http.StatusNotFound, Heading: locale.New("This server has users, but no administrator"), BackURL: "/login",
			BackText: locale.New("Sign in"),
			Message: locale.New("The operator can make a user an administrator with: %s",
				"doorward user update ADDRESS --admin"),
		}
	}
	return &page.Error{
		Status: http.StatusNotFound, Heading: locale.New("This server is already set up"),
		Message: locale.New("An administrator can create more accounts."), BackURL: "/login",
		BackText: locale.New("Sign in"),
	}
}

// SetupPage serves GET /setup, for creating the first administrator.
func (s *Handlers) SetupPage(w http.ResponseWriter, r *http.Request) error {
	has, err := s.store.HasUser(storage.System(r.Context()))
	if err != nil {
		return err
	}
	if has {
		return s.setupClosed(r)
	}
	view := templates.SetupView{Page: s.NewPage(nil, ""), Token: page.Clean(r.URL.Query().Get("word"), 100)}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.SetupPage(view))
}

// Setup serves POST /setup.
func (s *Handlers) Setup(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	has, err := s.store.HasUser(storage.System(r.Context()))
	if err != nil {
		return err
	}
	if has {
		return s.setUpAlready(w, r)
	}
	user, err := s.identity.CreateFirstAdministrator(r.Context(), form.Get("word"), identity.NewUser{
		Email: form.Get("email"), Name: form.Get("name"), Password: form.Get("password"),
	})
	view := templates.SetupView{
		Page: s.NewPage(nil, ""), Token: page.Clean(form.Get("word"), 100),
		Name: page.Clean(form.Get("name"), 300), Email: page.Clean(form.Get("email"), 320),
	}
	if errors.Is(err, identity.ErrSetupToken) {
		if has, lookup := s.store.HasUser(storage.System(r.Context())); lookup == nil && has {
			return s.setUpAlready(w, r) // the same form was faster
		}
		view.Token, view.Errors = "", map[string]locale.Text{
			"word": locale.New("This token is no longer valid. Run %s to get a new one.", "doorward setup-link"),
		}
		return s.Render(w, r, http.StatusForbidden, view.Nonce, templates.SetupPage(view))
	}
	if faults := page.FieldErrors(err); faults != nil {
		view.Errors = faults
		return s.Render(w, r, http.StatusBadRequest, view.Nonce, templates.SetupPage(view))
	}
	if err != nil {
		return err
	}
	return s.welcome(w, r, user)
}

// welcome signs in the first administrator.
func (s *Handlers) welcome(w http.ResponseWriter, r *http.Request, user storage.User) error {
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	proof := identity.NewProof(user, "password", nil, identity.ByPassword)
	return s.proved(w, r, old, &proof, "", func(v *page.Visitor) error {
		return s.RedirectWithNotice(w, r, v, page.DefaultPage,
			locale.New("Welcome. You are the first administrator of this server."))
	})
}

// setupRetryWindow is how long after the set-up its form can be sent again.
const setupRetryWindow = 10 * time.Minute

// setUpAlready answers a set-up form that was sent twice like the first one: it signs in the administrator who was
// created, if the password is theirs. Otherwise it answers with setupClosed.
func (s *Handlers) setUpAlready(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	u, err := s.store.UserByEmail(storage.System(r.Context()), form.Get("email"))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return s.setupClosed(r)
	case err != nil:
		return err
	case !u.Admin || !s.TakesPasswords() || s.store.Now().Sub(u.CreatedAt) > setupRetryWindow:
		return s.setupClosed(r)
	}
	attempt, err := s.Attempt(r, u.Email, form.Get("password"))
	if err != nil {
		return err
	}
	user, err := s.identity.Login(r.Context(), attempt)
	if errors.Is(err, identity.ErrWrong) {
		return s.setupClosed(r)
	}
	if err != nil {
		return err
	}
	return s.welcome(w, r, user)
}
