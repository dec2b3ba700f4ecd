package signin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// LoginPage serves GET /login: for an app with ?flow, or for a page of this server with ?return_to.
func (s *Handlers) LoginPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	sealed, again := query.Get("flow"), query.Get("again") != "" // again: a fresh proof is needed
	if sealed == "" {
		to := page.SafeReturn(query.Get("return_to"))
		view := templates.LoginView{Page: s.NewPage(nil, "")}
		if v.SignedIn() {
			if !again {
				return page.Redirect(w, to)
			}
			view.Email, view.Step = v.User.Email, templates.LoginMethods
		}
		f := &oauth.Flow{ID: oauth.NewFlowID(), CreatedAt: s.store.Now(), ReturnTo: to}
		view.Flow = s.sealFlow(w, r, f)
		return s.showLogin(w, r, http.StatusOK, f, nil, view)
	}
	f, decided, err := s.openFlow(r, sealed)
	if err != nil {
		return err
	}
	if decided {
		return s.answered(r, f, v)
	}
	if f.ClientID == "" {
		// The browser comes back from another page of the sign-in.
		if v.SignedIn() && !again {
			return page.Redirect(w, page.SafeReturn(f.ReturnTo))
		}
		return s.showLogin(w, r, http.StatusOK, f, nil, templates.LoginView{Page: s.NewPage(nil, ""), Flow: sealed})
	}
	a, done, err := s.reopen(w, r, f)
	if err != nil || done {
		return err
	}
	if query.Get("switch") == "" && !again && v.SignedIn() && a.NeedsSelection(v.AuthTime()) {
		head := s.NewPage(v, "")
		view := templates.SelectView{
			Page: head, Flow: sealed, Token: s.secrets.FormToken(selectBinding(f, v)...), AppName: oauth.AppName(&a.Client),
			SwitchURL: switchURL(sealed), NeedPassword: a.NeedsLogin(v.AuthTime()),
		}
		return s.Render(w, r, http.StatusOK, view.Nonce, templates.SelectPage(view), formTarget(f)...)
	}
	if !a.NeedsLogin(v.AuthTime()) && query.Get("switch") == "" && !again {
		return s.resume(w, r, a, v, sealed)
	}
	view := templates.LoginView{Page: s.NewPage(nil, ""), Flow: sealed}
	if v.SignedIn() && query.Get("switch") == "" {
		view.Email, view.Reauth, view.SwitchURL = v.User.Email, true, switchURL(sealed)
	}
	return s.showLogin(w, r, http.StatusOK, f, a, view)
}

// showLogin renders the sign-in page. a is nil for a sign-in without an app.
func (s *Handlers) showLogin(
	w http.ResponseWriter, r *http.Request, status int, f *oauth.Flow, a *oauth.AuthorizeRequest, view templates.LoginView,
) error {
	if a == nil {
		had, err := s.store.HasUserCached(storage.System(r.Context()))
		if err != nil {
			return err
		}
		view.SetupHint = !had
		if view.Invitation, err = s.invitedTo(r.Context(), f.ReturnTo); err != nil {
			return err
		}
		if view.Invitation != nil && view.Email == "" {
			view.Email = view.Invitation.For
		}
	} else {
		view.AppName = oauth.AppName(&a.Client)
	}
	s.chooseStep(r, &view)
	targets := append(formTarget(f), s.ProviderTargets()...)
	return s.Render(w, r, status, view.Nonce, templates.LoginPage(view), targets...)
}

// chooseStep sets what the sign-in page asks for and offers, and where it links to. It looks at no account.
func (s *Handlers) chooseStep(r *http.Request, view *templates.LoginView) {
	flow := "?flow=" + url.QueryEscape(view.Flow)
	both := s.TakesPasswords() && s.accounts.Links
	switch {
	case both && (view.Step == templates.LoginMethods || view.Reauth):
		view.Step, view.OtherAddressURL = templates.LoginMethods, "/login"+flow
	case both:
		view.Step = templates.LoginAddress
	case s.accounts.Links:
		view.Step = templates.LoginLink
	case s.TakesPasswords():
		view.Step = templates.LoginPassword
	default:
		view.Step = templates.LoginMethods
	}
	view.Methods = s.methods(r, view)
	if s.identity.Resets() && view.Step != templates.LoginAddress {
		view.ForgotURL = "/forgot"
	}
	if s.maySignUp(view.Invitation != nil) && view.Step != templates.LoginMethods && !view.Reauth {
		view.SignUpURL = "/signup" + flow
	}
}

// methods lists the ways to sign in for the sign-in page, the one to offer first at the front: a provider for the
// domain of the address, or else the one that was used last in this browser. A page that asks for the address has the
// form for it, and lists the others.
func (s *Handlers) methods(r *http.Request, view *templates.LoginView) (list []templates.LoginMethod) {
	all := view.Step == templates.LoginMethods
	if all && s.TakesPasswords() {
		list = append(list, templates.LoginMethod{Kind: templates.LoginByPassword})
	}
	if all && s.accounts.Links {
		list = append(list, templates.LoginMethod{Kind: templates.LoginByLink})
	}
	if s.identity.TakesPasskeys() {
		list = append(list, templates.LoginMethod{Kind: templates.LoginByPasskey})
	}
	own := "" // the provider for the domain of the address
	for _, p := range s.identity.Providers() {
		list = append(list, templates.LoginMethod{
			Kind: templates.LoginByProvider, Provider: templates.ProviderOption{ID: p.ID(), Name: p.Name()},
		})
		if own == "" && p.OwnsDomain(strings.TrimSpace(view.Email)) {
			own = p.ID()
		}
	}
	first := cmp.Or(own, s.lastMethod(r))
	i := slices.IndexFunc(list, func(m templates.LoginMethod) bool {
		if m.Kind == templates.LoginByProvider {
			return m.Provider.ID == first
		}
		return own == "" && m.Kind == first
	})
	if i > 0 {
		m := list[i]
		list = slices.Insert(slices.Delete(list, i, i+1), 0, m)
	}
	return list
}

// switchURL is the sign-in page of a flow for another account.
func switchURL(sealed string) string { return "/login?switch=1&flow=" + sealed }

// Login serves POST /login.
func (s *Handlers) Login(w http.ResponseWriter, r *http.Request) error {
	sealed := r.PostForm.Get("flow")
	if sealed == "" {
		return page.NotVerified(locale.New("Reload the sign-in page and try again."))
	}
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	email := r.PostForm.Get("email")
	f, decided, err := s.openFlow(r, sealed)
	if err != nil {
		if to := s.afterSignIn(sealed, old, email); to != "" {
			return page.Redirect(w, to)
		}
		return err
	}
	if _, bound := s.boundSlot(r, f); decided && !bound {
		// The form was sent again after the browser got the first response, which removed the flow's cookie.
		if storage.EmailKey(email) != storage.EmailKey(old.User.Email) {
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
	view := templates.LoginView{
		Page: s.NewPage(nil, ""), Flow: sealed, Email: page.Clean(email, 320), Step: templates.LoginMethods,
	}
	if !r.PostForm.Has("password") {
		return s.showMethods(w, r, f, a, view)
	}
	if !s.TakesPasswords() {
		return page.NotVerified(locale.New("Reload the sign-in page and try again."))
	}
	attempt, err := s.Attempt(r, email, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	user, err := s.identity.Login(r.Context(), attempt)
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrong):
		s.countLogin("wrong")
		view.Error = locale.New("Incorrect email address or password.")
		return s.showLogin(w, r, http.StatusUnauthorized, f, a, view)
	case errors.As(err, &throttled):
		s.countLogin("throttled")
		w.Header().Set("Retry-After", page.Seconds(throttled.RetryAfter))
		view.Error = page.TooManyAttempts(throttled)
		return s.showLogin(w, r, http.StatusTooManyRequests, f, a, view)
	case err != nil:
		return err
	}
	s.countLogin("ok")
	s.rememberMethod(w, r, templates.LoginByPassword)
	oauth.LogFieldsOf(r.Context()).Subject = user.ID
	proof := identity.NewProof(user, "password", nil, identity.ByPassword)
	proof.OffersPasskey = a == nil // not while an app waits
	return s.proved(w, r, old, &proof, sealed, func(v *page.Visitor) error {
		return s.goOn(w, r, f, a, v, sealed)
	})
}

// showMethods answers the address with the methods. It looks nothing up, so it reveals nothing about the address.
func (s *Handlers) showMethods(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow, a *oauth.AuthorizeRequest, view templates.LoginView,
) error {
	if !input.IsEmail(strings.TrimSpace(view.Email)) {
		view.Step = templates.LoginAddress
		view.Error = locale.New("Enter one email address, such as name@example.com, in Latin letters only.")
		return s.showLogin(w, r, http.StatusBadRequest, f, a, view)
	}
	return s.showLogin(w, r, http.StatusOK, f, a, view)
}

// selectBinding returns the values to which the token in the form of SelectPage is bound.
func selectBinding(f *oauth.Flow, v *page.Visitor) []string {
	return []string{"select", f.ID, v.Row.ID, v.User.ID}
}

// selectAccount continues with the account that the visitor is signed in to (OpenID Connect Core, section 3.1.2.1).
func (s *Handlers) selectAccount(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow, a *oauth.AuthorizeRequest, v *page.Visitor, token string,
) error {
	slot, bound := s.boundSlot(r, f)
	if !bound || !v.SignedIn() || !s.secrets.FormTokenFits(token, selectBinding(f, v)...) {
		e := page.NotVerified(locale.New(
			"This page is for another account, or you have signed in again since. Reload the page and choose again.",
		))
		e.BackURL, e.BackText = "/login?flow="+url.QueryEscape(r.PostForm.Get("flow")), locale.New("Reload the page")
		return e
	}
	cookie, err := s.Cookie(r, s.flowCookie(slot))
	if err != nil {
		return fmt.Errorf("flow cookie: %w", err) // boundSlot has read it
	}
	a.Flow = *f.Selected()
	sealed := s.oauth.SealFlow(&a.Flow, cookie.Value)
	if a.NeedsLogin(v.AuthTime()) {
		return page.Redirect(w, "/login?flow="+sealed)
	}
	return s.resume(w, r, a, v, sealed)
}

// afterSignIn returns where to redirect after a sign-in form that was sent again after the first one had signed in the
// same user; by then the browser no longer has the flow's cookie. It is empty in any other case.
func (s *Handlers) afterSignIn(sealed string, v *page.Visitor, email string) string {
	f, err := s.oauth.OpenFlow(sealed)
	if err != nil || f.ReturnTo == "" || !v.SignedIn() || storage.EmailKey(email) != storage.EmailKey(v.User.Email) {
		return ""
	}
	return page.SafeReturn(f.ReturnTo)
}

// LogoutPage serves GET /logout: a page with a button, because following a link must not sign users out.
func (s *Handlers) LogoutPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	if !v.SignedIn() {
		return page.Redirect(w, "/login")
	}
	view := templates.LogoutView{Page: s.NewPage(v, "")}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.LogoutPage(view))
}

// Logout serves POST /logout.
func (s *Handlers) Logout(w http.ResponseWriter, r *http.Request) error {
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	if err := s.EndSession(w, r, v); err != nil {
		return err
	}
	return page.Redirect(w, "/login")
}
