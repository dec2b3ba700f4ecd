package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// askCookie binds a code to the browser that asked for it, and lets that browser see what became of the link.
const askCookie = "doorward-asked"

// askLifetime is how long the cookie lasts: as long as the longest code.
const askLifetime = identity.SignUpLifetime

// asker describes the browser of a request that causes an email. It sets the cookie if the browser has none.
func (s *Handlers) asker(w http.ResponseWriter, r *http.Request, email string) (identity.Asker, error) {
	attempt, err := s.Attempt(r, email, "")
	if err != nil {
		return identity.Asker{}, err
	}
	return identity.Asker{
		Address: attempt.Address, Network: limit.AddressKey(attempt.Address), KnownDevice: attempt.KnownDevice,
		Browser: s.askedFrom(w, r),
	}, nil
}

// askedFrom returns the value of the cookie, and renews it.
func (s *Handlers) askedFrom(w http.ResponseWriter, r *http.Request) string {
	value := page.RandomText()
	if c, err := s.Cookie(r, askCookie); err == nil && len(c.Value) == len(value) {
		value = c.Value
	}
	s.SetCookie(w, askCookie, value, askLifetime)
	return value
}

// browser returns the value of the cookie; empty if there is none.
func (s *Handlers) browser(r *http.Request) string {
	if c, err := s.Cookie(r, askCookie); err == nil {
		return c.Value
	}
	return ""
}

// EmailLink serves POST /login/email: it sends a link and a code to sign in. The answer is the same for every address.
func (s *Handlers) EmailLink(w http.ResponseWriter, r *http.Request) error {
	if !s.accounts.Links {
		return page.NotFound()
	}
	sealed, email := r.PostForm.Get("flow"), r.PostForm.Get("email")
	f, a, done, err := s.openSignIn(w, r, sealed)
	if err != nil || done {
		return err
	}
	asker, err := s.asker(w, r, email)
	if err != nil {
		return err
	}
	asker.Continue = map[string]string{"flow": sealed}
	faults, err := s.asked(r, "sign_in", s.identity.AskSignIn(r.Context(), email, asker))
	if err != nil {
		return err
	}
	if faults != nil {
		return s.showLogin(w, r, http.StatusBadRequest, f, a, templates.LoginView{
			Page: s.NewPage(nil, ""), Flow: sealed, Email: page.Clean(email, 320), Error: page.Joined(faults),
		})
	}
	s.rememberMethod(w, r, templates.LoginByLink)
	return page.Redirect(w, "/login/code?flow="+url.QueryEscape(sealed))
}

// openSignIn opens the flow of a form that signs in, for an app or a page.
func (s *Handlers) openSignIn(w http.ResponseWriter, r *http.Request, sealed string) (
	f *oauth.Flow, a *oauth.AuthorizeRequest, done bool, err error,
) {
	if sealed == "" {
		return nil, nil, false, page.NotVerified(locale.New("Reload the sign-in page and try again."))
	}
	f, decided, err := s.openFlow(r, sealed)
	if err != nil {
		return nil, nil, false, err
	}
	if decided {
		v, err := s.Visitor(r)
		if err == nil {
			err = s.answered(r, f, v)
		}
		return nil, nil, false, err
	}
	if f.ClientID != "" {
		if a, done, err = s.reopen(w, r, f); err != nil || done {
			return nil, nil, done, err
		}
	}
	return f, a, false, nil
}

// CodePage serves GET /login/code: where the code from the email is entered. It also says what became of the link.
func (s *Handlers) CodePage(w http.ResponseWriter, r *http.Request) error {
	sealed := r.URL.Query().Get("flow")
	f, _, done, err := s.openSignIn(w, r, sealed)
	var over *page.Error
	if errors.As(err, &over) {
		// The link was opened in another tab of this browser, and what it asked for has gone on there.
		if v, lookup := s.Visitor(r); lookup == nil && v.SignedIn() {
			return page.Redirect(w, page.DefaultPage)
		}
	}
	if err != nil || done {
		return err
	}
	return s.showCode(w, r, http.StatusOK, f, templates.CodeView{
		Page: s.NewPage(nil, ""), Flow: sealed, Action: "/login/code", BackURL: "/login?flow=" + url.QueryEscape(sealed),
	}, storage.ProofSignIn)
}

// showCode renders the page for a code.
func (s *Handlers) showCode(
	w http.ResponseWriter, r *http.Request, status int, f *oauth.Flow, view templates.CodeView, kind string,
) error {
	asked, err := s.identity.Asked(r.Context(), kind, s.browser(r))
	if err != nil && !errors.Is(err, identity.ErrLink) {
		return err
	}
	if err == nil {
		view.Elsewhere = !asked.ProvenAt.IsZero() && !asked.ProvenBy(storage.Digest(s.browser(r)))
	}
	var targets []string
	if f != nil {
		targets = formTarget(f)
	}
	return s.Render(w, r, status, view.Nonce, templates.CodePage(view), targets...)
}

// Code serves POST /login/code.
func (s *Handlers) Code(w http.ResponseWriter, r *http.Request) error {
	sealed := r.PostForm.Get("flow")
	f, a, done, err := s.openSignIn(w, r, sealed)
	if err != nil || done {
		return err
	}
	proof, fault, status, err := s.enteredCode(w, r, storage.ProofSignIn)
	if err != nil {
		return err
	}
	if !fault.IsZero() {
		return s.showCode(w, r, status, f, templates.CodeView{
			Page: s.NewPage(nil, ""), Flow: sealed, Action: "/login/code", Error: fault,
			BackURL: "/login?flow=" + url.QueryEscape(sealed),
		}, storage.ProofSignIn)
	}
	return s.signInByProof(w, r, proof, proof.Code, "email_code", sealed, func(v *page.Visitor) error {
		return s.goOn(w, r, f, a, v, sealed)
	})
}

// goOn continues after a sign-in: with the app's authorization, or, if a is nil, on the page that asked for the
// sign-in.
func (s *Handlers) goOn(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow, a *oauth.AuthorizeRequest, v *page.Visitor, sealed string,
) error {
	if a == nil {
		s.endFlow(w, r, f)
		return page.Redirect(w, page.SafeReturn(f.ReturnTo))
	}
	return s.resume(w, r, a, v, sealed)
}

var wrongCode = locale.New("This code is wrong or no longer works. Check it, or ask for a new email.")

// enteredCode checks the code of a form. If it is wrong, fault is a sentence for the page, and status that of the
// response.
func (s *Handlers) enteredCode(w http.ResponseWriter, r *http.Request, kind string) (
	proof storage.EmailProof, fault locale.Text, status int, err error,
) {
	asked, err := s.identity.Asked(r.Context(), kind, s.browser(r))
	if err != nil && !errors.Is(err, identity.ErrLink) {
		return proof, fault, 0, err
	}
	attempt, err := s.Attempt(r, asked.Email, "")
	if err != nil {
		return proof, fault, 0, err
	}
	proof, err = s.identity.CheckCode(r.Context(), kind, r.PostForm.Get("code"), identity.Asker{
		Address: attempt.Address, Browser: s.browser(r), KnownDevice: attempt.KnownDevice,
	})
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrongCode):
		s.countLogin("wrong")
		return proof, wrongCode, http.StatusUnauthorized, nil
	case errors.As(err, &throttled):
		s.countLogin("throttled")
		w.Header().Set("Retry-After", page.Seconds(throttled.RetryAfter))
		return proof, page.TooManyAttempts(throttled), http.StatusTooManyRequests, nil
	}
	return proof, fault, 0, err
}

// signInByProof signs in the user whose address a proof proves, uses the proof up, and then calls then, as proved does.
func (s *Handlers) signInByProof(
	w http.ResponseWriter, r *http.Request, proof storage.EmailProof, code, credential, sealed string,
	then func(*page.Visitor) error,
) error {
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	user, err := s.store.UserByID(storage.System(r.Context()), proof.UserID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && storage.EmailKey(user.Email) != storage.EmailKey(proof.Email) {
		return s.linkInvalid(err)
	}
	if err != nil {
		return err
	}
	browser := s.askedFrom(w, r)
	take := func(ctx context.Context) error { return s.identity.TakeSignIn(ctx, proof, code, browser) }
	first := identity.NewProof(user, credential, take, identity.ByEmail)
	err = s.proved(w, r, old, &first, sealed, func(v *page.Visitor) error {
		s.countLogin("ok")
		oauth.LogFieldsOf(r.Context()).Subject = user.ID
		return then(v)
	})
	if errors.Is(err, storage.ErrConsumed) {
		return s.linkInvalid(err)
	}
	return err
}

// asked sorts the error of asking for an email of a kind: faults of the form, or another error. The operator is told of
// an email that was not sent because of a bound, and the visitor is not.
func (s *Handlers) asked(r *http.Request, kind string, err error) (faults map[string]locale.Text, other error) {
	if faults = page.FieldErrors(err); faults != nil {
		return faults, nil
	}
	if errors.Is(err, identity.ErrNotSent) {
		oauth.LogFieldsOf(r.Context()).Cause = identity.ErrNotSent
		s.countNotSent(kind)
		return nil, nil
	}
	return nil, err
}

// methodCookie remembers by which method a browser signs in, to offer the one used last first: a kind of
// templates.LoginMethod, or the id of a provider.
const (
	methodCookie   = "doorward-method"
	methodLifetime = 180 * 24 * time.Hour
)

// rememberMethod notes by which method this browser signs in. The password is the first one anyway.
func (s *Handlers) rememberMethod(w http.ResponseWriter, r *http.Request, method string) {
	if last := s.lastMethod(r); last == method || last == "" && method == templates.LoginByPassword {
		return
	}
	s.SetCookie(w, methodCookie, method, methodLifetime)
}

// lastMethod is the method that was used last in this browser; empty: unknown.
func (s *Handlers) lastMethod(r *http.Request) string {
	c, err := s.Cookie(r, methodCookie)
	if err != nil {
		return ""
	}
	return c.Value
}
