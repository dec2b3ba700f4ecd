package signin

import (
	"errors"
	"net/http"
	"net/url"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// openEnrol is openMissing for a user who has to set up a second factor.
func (s *Handlers) openEnrol(
	w http.ResponseWriter, r *http.Request, sealed string,
) (h *halfway, user storage.User, done bool, err error) {
	return s.openMissing(w, r, sealed, identity.MissingEnrolment)
}

// enrolBinding is what the challenge and the secret for a new second factor are bound to.
func enrolBinding(h *halfway) string { return "enrol " + h.ID }

// EnrolPage serves GET /login/enrol: a second factor that the server asks for, before anything else.
func (s *Handlers) EnrolPage(w http.ResponseWriter, r *http.Request) error {
	sealed := r.URL.Query().Get("flow")
	h, user, done, err := s.openEnrol(w, r, sealed)
	if err != nil || done {
		return err
	}
	return s.showEnrol(w, r, http.StatusOK, h, &user, sealed, "", locale.Text{})
}

// showEnrol renders the page. setup is the sealed secret that it showed before; empty: it shows another one.
func (s *Handlers) showEnrol(
	w http.ResponseWriter, r *http.Request, status int, h *halfway, user *storage.User, sealed string,
	setup string, fault locale.Text,
) error {
	view := templates.EnrolView{
		Page: s.NewPage(nil, ""), Flow: sealed, Email: user.Email, Mailed: h.Mailed, Error: fault,
	}
	if h.Mailed {
		shown, err := s.identity.ShowTOTP(user, enrolBinding(h), setup)
		if err != nil {
			return err
		}
		view.TOTP = page.TOTPForm(shown)
		if s.identity.TakesPasskeys() {
			request, err := s.identity.AskNewPasskey(r.Context(), user, enrolBinding(h))
			if err != nil {
				return err
			}
			view.Passkey = page.PasskeyForm(request)
		}
	}
	return s.Render(w, r, status, view.Nonce, templates.EnrolPage(view))
}

// EnrolEmail serves POST /login/enrol/email: it sends a code to the user's address.
func (s *Handlers) EnrolEmail(w http.ResponseWriter, r *http.Request) error {
	sealed := r.PostForm.Get("flow")
	_, user, done, err := s.openEnrol(w, r, sealed)
	if err != nil || done {
		return err
	}
	asker, err := s.asker(w, r, user.Email)
	if err != nil {
		return err
	}
	if _, err := s.asked(r, "second_factor", s.identity.AskFactor(r.Context(), &user, asker)); err != nil {
		return err
	}
	return page.Redirect(w, "/login/enrol/code?flow="+url.QueryEscape(sealed))
}

func (s *Handlers) enrolCode(sealed string) templates.CodeView {
	return templates.CodeView{
		Page: s.NewPage(nil, ""), Flow: sealed, Action: "/login/enrol/code",
		BackURL: "/login/enrol?flow=" + url.QueryEscape(sealed), OnlyCode: true,
	}
}

// EnrolCodePage serves GET /login/enrol/code.
func (s *Handlers) EnrolCodePage(w http.ResponseWriter, r *http.Request) error {
	sealed := r.URL.Query().Get("flow")
	if _, _, done, err := s.openEnrol(w, r, sealed); err != nil || done {
		return err
	}
	return s.showCode(w, r, http.StatusOK, nil, s.enrolCode(sealed), storage.ProofFactor)
}

// EnrolCode serves POST /login/enrol/code.
func (s *Handlers) EnrolCode(w http.ResponseWriter, r *http.Request) error {
	sealed := r.PostForm.Get("flow")
	h, user, done, err := s.openEnrol(w, r, sealed)
	if err != nil || done {
		return err
	}
	proof, fault, status, err := s.enteredCode(w, r, storage.ProofFactor)
	if err == nil && fault.IsZero() {
		err = identity.ErrWrongCode
		if proof.UserID == user.ID {
			err = s.identity.TakeFactorCode(r.Context(), proof, s.askedFrom(w, r))
		}
		if errors.Is(err, identity.ErrLink) || errors.Is(err, identity.ErrWrongCode) {
			fault, status, err = wrongCode, http.StatusUnauthorized, nil
		}
	}
	if err != nil {
		return err
	}
	if !fault.IsZero() {
		view := s.enrolCode(sealed)
		view.Error = fault
		return s.showCode(w, r, status, nil, view, storage.ProofFactor)
	}
	h.Mailed = true
	s.setHalfway(w, h)
	return page.Redirect(w, "/login/enrol?flow="+url.QueryEscape(sealed))
}

// Enrol serves POST /login/enrol: it sets up a passkey or an authenticator app, shows recovery codes, and signs the
// user in.
func (s *Handlers) Enrol(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	sealed := form.Get("flow")
	h, user, done, err := s.openEnrol(w, r, sealed)
	if err != nil || done {
		return err
	}
	if !h.Mailed {
		return page.Redirect(w, secondURL(identity.MissingEnrolment, sealed))
	}
	var recovery []string
	var proof identity.Proof
	if answer := form.Get("credential"); answer != "" && s.identity.TakesPasskeys() {
		var passkey identity.NewPasskey
		if passkey, err = s.NewPasskey(r, enrolBinding(h), answer); err == nil {
			proof, recovery, err = s.identity.EnrolPasskey(r.Context(), user, &passkey)
		}
	} else {
		proof, recovery, err = s.identity.EnableTOTP(
			r.Context(), user, enrolBinding(h), form.Get("setup"), form.Get("code"),
		)
	}
	if err == nil {
		err = s.completes(w, r, h, &proof, func(*page.Visitor) error {
			view := templates.RecoveryView{
				Page: s.NewPage(nil, ""), Codes: recovery, ContinueURL: s.afterEnrol(w, r, sealed),
			}
			return s.Render(w, r, http.StatusOK, view.Nonce, templates.RecoveryPage(view))
		})
	}
	fault := page.EnrolFault(err)
	if fault.IsZero() {
		return err
	}
	oauth.LogFieldsOf(r.Context()).Cause = err
	return s.showEnrol(w, r, http.StatusBadRequest, h, &user, sealed, form.Get("setup"), fault)
}

// afterEnrol is where the browser goes on after the recovery codes.
func (s *Handlers) afterEnrol(w http.ResponseWriter, r *http.Request, sealed string) string {
	f, decided, err := s.openFlow(r, sealed)
	switch {
	case sealed == "" || err != nil || decided:
		return page.DefaultPage
	case f.ClientID != "":
		return "/login?flow=" + url.QueryEscape(sealed)
	}
	s.endFlow(w, r, f)
	return page.SafeReturn(f.ReturnTo)
}
