package signin

import (
	"net/http"

	"doorward/locale"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// ForgotPage serves GET /forgot, for a new password.
func (s *Handlers) ForgotPage(w http.ResponseWriter, r *http.Request) error {
	if !s.identity.Resets() {
		return page.NotFound()
	}
	return s.showForgot(w, r, http.StatusOK, templates.ForgotView{
		Page: s.NewPage(nil, ""), Sent: r.URL.Query().Get("sent") != "",
	})
}

func (s *Handlers) showForgot(w http.ResponseWriter, r *http.Request, status int, view templates.ForgotView) error {
	return s.Render(w, r, status, view.Nonce, templates.ForgotPage(view))
}

// Forgot serves POST /forgot: it sends a link to choose a new password. The answer is the same for every address.
func (s *Handlers) Forgot(w http.ResponseWriter, r *http.Request) error {
	if !s.identity.Resets() {
		return page.NotFound()
	}
	email := r.PostForm.Get("email")
	asker, err := s.asker(w, r, email)
	if err != nil {
		return err
	}
	faults, err := s.asked(r, "reset", s.identity.AskReset(r.Context(), email, asker))
	if err != nil {
		return err
	}
	if faults != nil {
		return s.showForgot(w, r, http.StatusBadRequest, templates.ForgotView{
			Page: s.NewPage(nil, ""), Email: page.Clean(email, 320), Errors: faults,
		})
	}
	return page.Redirect(w, "/forgot?sent=1")
}

// ResetPage serves GET /reset, which the link in the email opens.
func (s *Handlers) ResetPage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("word")
	proof, err := s.identity.Link(r.Context(), token, storage.ProofReset)
	if err != nil {
		return err
	}
	view := templates.ResetView{Page: s.NewPage(nil, ""), Token: token, Email: proof.Email}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.ResetPage(view))
}

// Reset serves POST /reset: it sets the new password. It does not sign in.
func (s *Handlers) Reset(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	token := form.Get("word")
	user, err := s.identity.ResetPassword(r.Context(), token, form.Get("password"), identity.SignOutOptions{
		Apps: form.Get("apps") == "yes", Tokens: form.Get("tokens") == "yes",
	})
	if faults := page.FieldErrors(err); faults != nil {
		view := templates.ResetView{
			Page: s.NewPage(nil, ""), Token: token, Email: user.Email, Apps: form.Get("apps") == "yes",
			Tokens: form.Get("tokens") == "yes", Errors: faults,
		}
		return s.Render(w, r, http.StatusBadRequest, view.Nonce, templates.ResetPage(view))
	}
	if err != nil {
		return err
	}
	view := templates.DoneView{
		Page: s.NewPage(nil, ""), Heading: locale.New("Your password was changed"),
		Message: locale.New("Sign in with the new password."), BackURL: "/login", BackText: locale.New("Sign in"),
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.DonePage(view))
}
