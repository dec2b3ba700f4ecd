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

// SignUpPage serves GET /signup: for an app with ?flow, or for a page of this server with ?return_to.
func (s *Handlers) SignUpPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	sealed := query.Get("flow")
	if sealed == "" {
		to := page.SafeReturn(query.Get("return_to"))
		if v.SignedIn() {
			return page.Redirect(w, to)
		}
		f := &oauth.Flow{ID: oauth.NewFlowID(), CreatedAt: s.store.Now(), ReturnTo: to}
		return s.showSignUp(w, r, http.StatusOK, f, nil, templates.SignUpView{
			Page: s.NewPage(nil, ""), Flow: s.sealFlow(w, r, f),
		})
	}
	f, a, done, err := s.openSignIn(w, r, sealed)
	if err != nil || done {
		return err
	}
	return s.showSignUp(w, r, http.StatusOK, f, a, templates.SignUpView{Page: s.NewPage(nil, ""), Flow: sealed})
}

// showSignUp renders the sign-up page. a is nil for a sign-up without an app.
func (s *Handlers) showSignUp(
	w http.ResponseWriter, r *http.Request, status int, f *oauth.Flow, a *oauth.AuthorizeRequest, view templates.SignUpView,
) error {
	invited, err := s.invitedTo(r.Context(), f.ReturnTo)
	if err != nil {
		return err
	}
	if !s.maySignUp(invited != nil) {
		return s.signUpClosed(view.Flow)
	}
	if invited != nil && view.Email == "" {
		view.Email = invited.For
	}
	if a != nil {
		view.AppName = oauth.AppName(&a.Client)
	}
	view.SignInURL = "/login?flow=" + url.QueryEscape(view.Flow)
	return s.Render(w, r, status, view.Nonce, templates.SignUpPage(view), formTarget(f)...)
}

// maySignUp reports whether a visitor, with an open invitation to a workspace or without, may create an account.
func (s *Handlers) maySignUp(invited bool) bool {
	return s.accounts.SignUp == SignUpOpen || s.accounts.SignUp == SignUpInvited && invited
}

// signUpClosed is the page for visitors who may not create an account.
func (s *Handlers) signUpClosed(sealed string) *page.Error {
	status := http.StatusForbidden // an invitation would help
	if s.accounts.SignUp != SignUpInvited {
		status = http.StatusNotFound
	}
	e := &page.Error{
		Status: status, Heading: locale.New("You cannot create an account here"),
		Message: locale.New("Accounts on this server are created by its administrators, or with an invitation. Ask them for one."),
		BackURL: "/login", BackText: locale.New("Sign in"),
	}
	if sealed != "" {
		e.BackURL += "?flow=" + url.QueryEscape(sealed)
	}
	return e
}

// SignUp serves POST /signup: it sends an email that proves the address, or that says that there is an account. The
// answer is the same.
func (s *Handlers) SignUp(w http.ResponseWriter, r *http.Request) error {
	if !s.maySignUp(true) {
		return s.signUpClosed("")
	}
	sealed, email := r.PostForm.Get("flow"), r.PostForm.Get("email")
	f, a, done, err := s.openSignIn(w, r, sealed)
	if err != nil || done {
		return err
	}
	invited, err := s.invitedTo(r.Context(), f.ReturnTo)
	if err != nil {
		return err
	}
	if !s.maySignUp(invited != nil) {
		return s.signUpClosed(sealed)
	}
	if s.accounts.SignUp == SignUpInvited && storage.EmailKey(email) != storage.EmailKey(invited.For) {
		return s.showSignUp(w, r, http.StatusBadRequest, f, a, templates.SignUpView{
			Page: s.NewPage(nil, ""), Flow: sealed, Email: page.Clean(email, 320), Errors: map[string]locale.Text{
				"email": locale.New("The invitation is for another address. Use the one that it was sent to."),
			},
		})
	}
	asker, err := s.asker(w, r, email)
	if err != nil {
		return err
	}
	asker.Continue = map[string]string{"flow": sealed}
	faults, err := s.asked(r, "sign_up", s.identity.AskSignUp(r.Context(), email, asker))
	if err != nil {
		return err
	}
	if faults != nil {
		return s.showSignUp(w, r, http.StatusBadRequest, f, a, templates.SignUpView{
			Page: s.NewPage(nil, ""), Flow: sealed, Email: page.Clean(email, 320), Errors: faults,
		})
	}
	return page.Redirect(w, "/signup/code?flow="+url.QueryEscape(sealed))
}

// SignUpCodePage serves GET /signup/code.
func (s *Handlers) SignUpCodePage(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.identity.Proven(r.Context(), storage.ProofSignUp, s.browser(r)); err == nil {
		return page.Redirect(w, "/signup/complete") // the link was opened in this browser
	} else if !errors.Is(err, identity.ErrLink) {
		return err
	}
	return s.showCode(w, r, http.StatusOK, nil, s.signUpCode(r.URL.Query().Get("flow")), storage.ProofSignUp)
}

func (s *Handlers) signUpCode(sealed string) templates.CodeView {
	return templates.CodeView{
		Page: s.NewPage(nil, ""), Flow: sealed, Action: "/signup/code", BackURL: "/signup?flow=" + url.QueryEscape(sealed),
	}
}

// SignUpCode serves POST /signup/code.
func (s *Handlers) SignUpCode(w http.ResponseWriter, r *http.Request) error {
	proof, fault, status, err := s.enteredCode(w, r, storage.ProofSignUp)
	if err != nil {
		return err
	}
	if !fault.IsZero() {
		view := s.signUpCode(r.PostForm.Get("flow"))
		view.Error = fault
		return s.showCode(w, r, status, nil, view, storage.ProofSignUp)
	}
	return s.proven(w, r, proof, proof.Code)
}

// proven records that an address was proven in this browser, and goes on to the rest of the account.
func (s *Handlers) proven(w http.ResponseWriter, r *http.Request, proof storage.EmailProof, code string) error {
	err := s.identity.Prove(r.Context(), proof, code, s.askedFrom(w, r))
	if err != nil {
		return err
	}
	return page.Redirect(w, "/signup/complete")
}

// SignUpLinkPage serves GET /signup/link: a page with a button, because programs that check links open them too.
func (s *Handlers) SignUpLinkPage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("word")
	proof, err := s.identity.Link(r.Context(), token, storage.ProofSignUp)
	if err != nil {
		return err
	}
	view := templates.ProveView{
		Page: s.NewPage(nil, ""), Heading: locale.New("Confirm your email address"), Action: "/signup/link", Token: token,
		Button: locale.New("Confirm and continue"),
		Paragraphs: []locale.Text{
			locale.New("You are creating an account with the address %s.", proof.Email),
		},
	}
	if proof.Browser != nil && !proof.AskedBy(storage.Digest(s.browser(r))) {
		view.Paragraphs = append(view.Paragraphs, locale.New("You started in another browser. If you continue here, this "+
			"browser is signed in, not that one."))
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.ProvePage(view))
}

// SignUpLink serves POST /signup/link.
func (s *Handlers) SignUpLink(w http.ResponseWriter, r *http.Request) error {
	proof, err := s.identity.Link(r.Context(), r.PostForm.Get("word"), storage.ProofSignUp)
	if err != nil {
		return err
	}
	return s.proven(w, r, proof, "")
}

// openComplete finds the proof with which this browser completes an account.
func (s *Handlers) openComplete(r *http.Request) (storage.EmailProof, error) {
	return s.identity.Proven(r.Context(), storage.ProofSignUp, s.browser(r))
}

// completeBinding returns the values to which the token in the form of CompletePage is bound.
func completeBinding(p *storage.EmailProof) []string { return []string{"complete", p.ID} }

// CompletePage serves GET /signup/complete.
func (s *Handlers) CompletePage(w http.ResponseWriter, r *http.Request) error {
	proof, err := s.openComplete(r)
	if err != nil {
		return err
	}
	return s.showComplete(w, r, http.StatusOK, proof, templates.CompleteView{
		Page: s.NewPage(nil, ""), Name: identity.NameFrom(&proof),
	})
}

func (s *Handlers) showComplete(
	w http.ResponseWriter, r *http.Request, status int, proof storage.EmailProof, view templates.CompleteView,
) error {
	view.Email, view.Token = proof.Email, s.secrets.FormToken(completeBinding(&proof)...)
	view.Password = s.TakesPasswords()
	if p := s.identity.ProviderOf(&proof); p != nil {
		view.Provider, view.Password = p.Name(), false
	} else if s.identity.TakesPasskeys() {
		// The passkey is for the user who does not exist yet, so it comes with their id.
		user := storage.User{ID: storage.NewID("user"), Email: proof.Email}
		request, err := s.identity.AskNewPasskey(r.Context(), &user, passkeyOfComplete(&proof))
		if err != nil {
			return err
		}
		view.Passkey = page.PasskeyForm(request)
	}
	return s.Render(w, r, status, view.Nonce, templates.CompletePage(view))
}

// passkeyOfComplete is what the challenge for the passkey of a new account is bound to.
func passkeyOfComplete(p *storage.EmailProof) string { return "complete " + p.ID }

// Complete serves POST /signup/complete: it creates the account and signs the user in, in this browser. An app's flow
// goes on only in the browser where it started.
func (s *Handlers) Complete(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	proof, err := s.openComplete(r)
	if err != nil {
		return err
	}
	if !s.secrets.FormTokenFits(form.Get("token"), completeBinding(&proof)...) {
		return page.NotVerified(locale.New("Reload the page and try again."))
	}
	view := templates.CompleteView{Page: s.NewPage(nil, ""), Name: page.Clean(form.Get("name"), 300)}
	if s.accounts.TermsURL != "" && form.Get("terms") != s.accounts.TermsURL {
		view.Errors = map[string]locale.Text{"terms": locale.New("Accept the terms of service to create an account.")}
		return s.showComplete(w, r, http.StatusBadRequest, proof, view)
	}
	newUser := identity.NewUser{
		Name: form.Get("name"), Password: form.Get("password"), Language: locale.From(r.Context()).Tag(),
		TermsURL: s.accounts.TermsURL,
	}
	by, credential := identity.By(identity.ByEmail), "email_code"
	if newUser.Password != "" {
		by, credential = by.And(identity.ByPassword), "password"
	}
	if s.identity.ProviderOf(&proof) != nil {
		by, credential = s.identity.ByProviderOf(&proof), "provider"
	} else if answer := form.Get("credential"); answer != "" && s.identity.TakesPasskeys() {
		passkey, err := s.NewPasskey(r, passkeyOfComplete(&proof), answer)
		if err != nil {
			oauth.LogFieldsOf(r.Context()).Cause = err
			view.Error = locale.New("The passkey could not be created. Try again, or choose a password.")
			return s.showComplete(w, r, http.StatusBadRequest, proof, view)
		}
		newUser.Password, newUser.Passkey = "", &passkey
		by, credential = passkey.By(), "passkey"
	}
	user, err := s.identity.SignUp(r.Context(), proof, newUser)
	if faults := page.FieldErrors(err); faults != nil {
		view.Errors = faults
		return s.showComplete(w, r, http.StatusBadRequest, proof, view)
	}
	if errors.Is(err, identity.ErrConnected) { // by another sign-up at the same moment
		return errors.Join(identity.ErrLink, err)
	}
	if err != nil {
		return err
	}
	if !user.WaitingSince.IsZero() {
		view := templates.ProveView{Page: s.NewPage(nil, "")}
		return s.Render(w, r, http.StatusOK, view.Nonce, templates.WaitingPage(view))
	}
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	first := identity.NewProof(user, credential, nil, by...)
	return s.proved(w, r, old, &first, proof.Detail["flow"], func(v *page.Visitor) error {
		return s.continueAfter(w, r, v, proof.Detail["flow"])
	})
}

// continueAfter goes on with the flow in which an email was asked for, if this is the browser where it started;
// otherwise to the settings.
func (s *Handlers) continueAfter(w http.ResponseWriter, r *http.Request, v *page.Visitor, sealed string) error {
	if sealed == "" {
		return page.Redirect(w, page.DefaultPage)
	}
	f, decided, err := s.openFlow(r, sealed)
	if err != nil || decided {
		return page.Redirect(w, page.DefaultPage) // it has expired, or started in another browser
	}
	var a *oauth.AuthorizeRequest
	if f.ClientID != "" {
		var done bool
		if a, done, err = s.reopen(w, r, f); err != nil || done {
			return err
		}
	}
	return s.goOn(w, r, f, a, v, sealed)
}
