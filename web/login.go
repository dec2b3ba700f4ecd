package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// loginPage serves GET /login: on the way to an app with its flow, or to a page of ours with return_to.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visitor(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	sealed := query.Get("flow")
	if sealed == "" {
		to := safeReturn(query.Get("return_to"))
		if v.signedIn() {
			return redirect(w, to)
		}
		f := &oauth.Flow{ID: oauth.NewFlowID(), CreatedAt: s.store.Now(), ReturnTo: to}
		return s.showLogin(w, r, http.StatusOK, f, nil, templates.LoginView{Page: s.page(nil, ""), Flow: s.sealFlow(w, r, f)})
	}
	f, decided, err := s.openFlow(r, sealed)
	if err != nil {
		return err
	}
	if decided {
		return s.answered(r, f, v)
	}
	a, done, err := s.reopen(w, r, f)
	if err != nil || done {
		return err
	}
	if query.Get("switch") == "" && v.signedIn() && a.NeedsSelection(v.authTime()) {
		page := s.page(v, "")
		view := templates.SelectView{
			Page: page, Flow: sealed, Token: s.secrets.FormToken(selectToken(f, v)...), AppName: a.Client.Name, SwitchURL: switchURL(sealed), NeedPassword: a.NeedsLogin(v.authTime()),
		}
		return s.render(w, r, http.StatusOK, view.Nonce, templates.SelectPage(view), formTarget(f)...)
	}
	if !a.NeedsLogin(v.authTime()) && query.Get("switch") == "" {
		return s.goOn(w, r, a, v, sealed)
	}
	view := templates.LoginView{Page: s.page(nil, ""), Flow: sealed}
	if v.signedIn() && query.Get("switch") == "" {
		view.Email, view.Reauth, view.SwitchURL = v.user.Email, true, switchURL(sealed)
	}
	return s.showLogin(w, r, http.StatusOK, f, a, view)
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, status int, f *oauth.Flow, a *oauth.AuthorizeRequest, view templates.LoginView) error {
	if a == nil {
		had, err := s.store.HadUser(storage.System(r.Context()))
		if err != nil {
			return err
		}
		view.SetupHint = !had
	} else {
		view.AppName = a.Client.Name
	}
	return s.render(w, r, status, view.Nonce, templates.LoginPage(view), formTarget(f)...)
}

// switchURL leads from a flow to signing in as somebody else.
func switchURL(sealed string) string { return "/login?switch=1&flow=" + sealed }

// login serves POST /login.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	sealed := r.PostForm.Get("flow")
	if sealed == "" {
		return forbidden("Load the sign-in page again, and sign in there.")
	}
	old, err := s.visitor(r)
	if err != nil {
		return err
	}
	email := r.PostForm.Get("email")
	f, decided, err := s.openFlow(r, sealed)
	if err != nil {
		if to := s.afterSignIn(sealed, old, email); to != "" {
			return redirect(w, to)
		}
		return err
	}
	if _, bound := s.boundSlot(r, f); decided && !bound {
		// Sent again after the first answer arrived, which took the flow's cookie along.
		if storage.EmailKey(email) != storage.EmailKey(old.user.Email) {
			return s.answered(r, f, old)
		}
		return s.sameAnswer(w, r, f, old, "")
	}
	var a *oauth.AuthorizeRequest
	if f.ClientID != "" {
		var done bool
		if a, done, err = s.reopen(w, r, f); err != nil || done {
			return err
		}
	}
	if token := r.PostForm.Get("select"); token != "" && a != nil {
		return s.selectAccount(w, r, f, a, old, token)
	}
	attempt, err := s.attempt(r, email, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	user, err := s.identity.Login(r.Context(), attempt)
	view := templates.LoginView{Page: s.page(nil, ""), Flow: sealed, Email: clean(email, 320)}
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrong):
		s.metrics.logins.WithLabelValues("wrong").Inc()
		view.Error = "The e-mail address or the password is wrong."
		return s.showLogin(w, r, http.StatusUnauthorized, f, a, view)
	case errors.As(err, &throttled):
		s.metrics.logins.WithLabelValues("throttled").Inc()
		w.Header().Set("Retry-After", seconds(throttled.RetryAfter))
		view.Error = tooOften(throttled)
		return s.showLogin(w, r, http.StatusTooManyRequests, f, a, view)
	case err != nil:
		return err
	}
	s.metrics.logins.WithLabelValues("ok").Inc()
	oauth.LogFieldsOf(r.Context()).Subject = user.ID
	v, err := s.startSession(w, r, old, user)
	if err != nil {
		return err
	}
	if a == nil {
		s.endFlow(w, r, f)
		return redirect(w, safeReturn(f.ReturnTo))
	}
	return s.goOn(w, r, a, v, sealed)
}

func selectToken(f *oauth.Flow, v *visitor) []string {
	return []string{"select", f.ID, v.row.ID, v.user.ID}
}

// selectAccount goes on with the account that the visitor is signed in with (OpenID Connect Core section 3.1.2.1).
func (s *Server) selectAccount(w http.ResponseWriter, r *http.Request, f *oauth.Flow, a *oauth.AuthorizeRequest, v *visitor, token string) error {
	slot, bound := s.boundSlot(r, f)
	if !bound || !v.signedIn() || !s.secrets.FormTokenFits(token, selectToken(f, v)...) {
		e := forbidden("The page was made for another account, or before you signed in again. Load it again, and choose there.")
		e.BackURL, e.BackText = "/login?flow="+url.QueryEscape(r.PostForm.Get("flow")), "Load the page again"
		return e
	}
	cookie, err := r.Cookie(cookieName(s.flowCookie(slot), s.secure))
	if err != nil {
		return fmt.Errorf("flow cookie: %w", err) // boundSlot has read it
	}
	a.Flow = *f.Selected()
	sealed := s.oauth.SealFlow(&a.Flow, cookie.Value)
	if a.NeedsLogin(v.authTime()) {
		return redirect(w, "/login?flow="+sealed)
	}
	return s.goOn(w, r, a, v, sealed)
}

// afterSignIn is where a sign-in form goes on that was sent again after the first one signed the same person in: the browser
// has dropped the flow's cookie by then. Empty for anything else.
func (s *Server) afterSignIn(sealed string, v *visitor, email string) string {
	f, err := s.oauth.OpenFlow(sealed)
	if err != nil || f.ReturnTo == "" || !v.signedIn() || storage.EmailKey(email) != storage.EmailKey(v.user.Email) {
		return ""
	}
	return safeReturn(f.ReturnTo)
}

// logoutPage serves GET /logout: a button, since a link must not sign anybody out.
func (s *Server) logoutPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visitor(r)
	if err != nil {
		return err
	}
	if !v.signedIn() {
		return redirect(w, "/login")
	}
	view := templates.LogoutView{Page: s.page(v, "")}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.LogoutPage(view))
}

// logout serves POST /logout.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	v, err := s.visitor(r)
	if err != nil {
		return err
	}
	if err := s.endSession(w, r, v); err != nil {
		return err
	}
	return redirect(w, "/login")
}
