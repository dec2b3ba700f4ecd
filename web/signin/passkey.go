package signin

import (
	"encoding/json"
	"errors"
	"net/http"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/templates"
	"doorward/web/page"
)

// passkeyOptions is the response of GET /login/passkey.
type passkeyOptions struct {
	Options   json.RawMessage `json:"options"`
	Challenge string          `json:"challenge"`
}

// PasskeyOptions serves GET /login/passkey: a challenge for the sign-in page, which renews it while it waits. It is the
// same for every visitor, and nothing is stored.
func (s *Handlers) PasskeyOptions(w http.ResponseWriter, r *http.Request) error {
	if !s.identity.TakesPasskeys() {
		return page.NotFound()
	}
	f, decided, err := s.openFlow(r, r.URL.Query().Get("flow"))
	if err != nil {
		return err
	}
	if decided {
		return page.NotVerified(locale.New("Reload the sign-in page and try again."))
	}
	request, err := s.identity.AskPasskey(passkeyBinding(f))
	if err != nil {
		return err
	}
	text, err := json.Marshal(passkeyOptions{request.Options, request.Sealed})
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // the browser may be gone
	return nil
}

// passkeyBinding is what the challenge of the sign-in page is bound to. The flow is bound to the browser.
func passkeyBinding(f *oauth.Flow) string { return "login " + f.ID }

// Passkey serves POST /login/passkey: a sign-in with a passkey, which counts as two factors.
func (s *Handlers) Passkey(w http.ResponseWriter, r *http.Request) error {
	if !s.identity.TakesPasskeys() {
		return page.NotFound()
	}
	form := r.PostForm
	sealed := form.Get("flow")
	f, a, done, err := s.openSignIn(w, r, sealed)
	if err != nil || done {
		return err
	}
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	proof, err := s.identity.CheckPasskey(
		r.Context(), passkeyBinding(f), form.Get("challenge"), []byte(form.Get("credential")),
	)
	if err == nil {
		var v *page.Visitor
		if v, err = s.StartSession(w, r, old, &proof); err == nil {
			s.countLogin("ok")
			s.rememberMethod(w, r, templates.LoginByPasskey)
			oauth.LogFieldsOf(r.Context()).Subject = v.User.ID
			return s.goOn(w, r, f, a, v, sealed)
		}
	}
	if !errors.Is(err, identity.ErrPasskey) {
		return err
	}
	s.countLogin("wrong")
	oauth.LogFieldsOf(r.Context()).Cause = err
	return s.showLogin(w, r, http.StatusBadRequest, f, a, templates.LoginView{
		Page: s.NewPage(nil, ""), Flow: sealed,
		Error: locale.New("This passkey was not accepted. Try again, or sign in in another way."),
	})
}
