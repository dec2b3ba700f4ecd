package dashboard

import (
	"errors"
	"net/http"
	"slices"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// showMethods adds the visitor's sign-in methods and last sign-ins to the page.
func (s *Account) showMethods(r *http.Request, v *page.Visitor, view *templates.SecurityView) error {
	list, err := s.identity.Methods(r.Context(), &v.User)
	if err != nil {
		return err
	}
	view.Passkeys = s.identity.TakesPasskeys()
	view.MayRemove = view.Password && s.identity.MayRemove(&v.User, list, identity.MethodPassword) == nil
	for _, m := range list {
		row := s.MethodRow(m)
		switch m.Kind {
		case identity.MethodPasskey:
			row.Kind = locale.Text{} // they are below a heading that says so
			view.PasskeyRows = append(view.PasskeyRows, row)
		case identity.MethodTOTP:
			view.TOTP = &row
		case identity.MethodRecoveryCodes:
			view.Recovery = &row
		case identity.MethodProvider:
			view.Accounts = append(view.Accounts, row)
		}
	}
	for _, p := range s.identity.Providers() {
		connected := slices.ContainsFunc(list, func(m identity.Method) bool { return m.Provider == p.ID() })
		if !connected {
			view.Providers = append(view.Providers, templates.ProviderOption{ID: p.ID(), Name: p.Name()})
		}
	}
	view.SecondFactor = s.identity.Reach(&v.User) == identity.LevelTwo
	events, err := s.identity.SignIns(r.Context(), v.User.ID)
	if err != nil {
		return err
	}
	for _, e := range events {
		row := templates.SignInRow{At: e.CreatedAt.Time(), Address: e.Address, Text: page.CredentialText(e.Credential)}
		if e.Action == identity.SignInFailed {
			row.Failed, row.Text = true, locale.New("Wrong password or code")
		}
		view.SignIns = append(view.SignIns, row)
	}
	return nil
}

// mustBeFresh returns management.ErrStale, after which ForUsers asks for a proof, unless the visitor gave one recently
// at the highest level that they can reach.
func (s *base) mustBeFresh(v *page.Visitor) error {
	if !s.Fresh(v) {
		return management.ErrStale
	}
	return nil
}

// sessionBinding is what the challenge or secret for something new is bound to.
func sessionBinding(v *page.Visitor) string { return "session " + v.Row.ID }

// NewPasskeyPage serves POST /settings/security/passkeys/new: the page on which the browser creates a passkey.
func (s *Account) NewPasskeyPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if !s.identity.TakesPasskeys() {
		return page.NotFound()
	}
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	return s.showNewPasskey(w, r, http.StatusOK, v, locale.Text{})
}

func (s *Account) showNewPasskey(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, fault locale.Text,
) error {
	request, err := s.identity.AskNewPasskey(r.Context(), &v.User, sessionBinding(v))
	if errors.Is(err, identity.ErrTooManyPasskeys) {
		return s.RedirectWithNotice(w, r, v, "/settings/security", page.EnrolFault(err))
	}
	if err != nil {
		return err
	}
	view := templates.NewPasskeyView{
		Page: s.NewPage(v, templates.SectionSecurity), Passkey: page.PasskeyForm(request), Error: fault,
	}
	return s.Render(w, r, status, view.Nonce, templates.NewPasskeyPage(view))
}

// AddPasskey serves POST /settings/security/passkeys.
func (s *Account) AddPasskey(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if !s.identity.TakesPasskeys() {
		return page.NotFound()
	}
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	passkey, err := s.NewPasskey(r, sessionBinding(v), r.PostForm.Get("credential"))
	raised := v
	if err == nil {
		proof := s.identity.AddPasskey(v.User, &passkey)
		raised, err = s.Raise(w, r, v, &proof)
	}
	if fault := page.EnrolFault(err); !fault.IsZero() {
		oauth.LogFieldsOf(r.Context()).Cause = err
		return s.showNewPasskey(w, r, http.StatusBadRequest, v, fault)
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, raised, "/settings/security", locale.New("Your passkey was created. You can sign in with it."))
}

// passkeyOf finds a passkey of the visitor.
func (s *Account) passkeyOf(r *http.Request, v *page.Visitor) (storage.Passkey, error) {
	list, err := s.identity.Passkeys(r.Context(), v.User.ID)
	if err != nil {
		return storage.Passkey{}, err
	}
	for _, k := range list {
		if k.ID == r.PathValue("id") {
			return k, nil
		}
	}
	return storage.Passkey{}, page.NotFound()
}

// PasskeyPage serves GET /settings/security/passkeys/{id}: a form for its name.
func (s *Account) PasskeyPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	k, err := s.passkeyOf(r, v)
	if err != nil {
		return err
	}
	view := templates.PasskeyView{Page: s.NewPage(v, templates.SectionSecurity), ID: k.ID, Name: k.Name}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.PasskeyPage(view))
}

// RenamePasskey serves POST /settings/security/passkeys/{id}/rename.
func (s *Account) RenamePasskey(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	k, err := s.passkeyOf(r, v)
	if err != nil {
		return err
	}
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	name := r.PostForm.Get("name")
	err = s.identity.RenamePasskey(r.Context(), v.User.ID, k.ID, name)
	if faults := page.FieldErrors(err); faults != nil {
		view := templates.PasskeyView{
			Page: s.NewPage(v, templates.SectionSecurity), ID: k.ID, Name: page.Clean(name, 200), Errors: faults,
		}
		return s.Render(w, r, http.StatusBadRequest, view.Nonce, templates.PasskeyPage(view))
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/settings/security", locale.New("Saved."))
}

// TOTPPage serves POST /settings/security/totp: the secret for an authenticator app.
func (s *Account) TOTPPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	if !v.User.TOTPSince.IsZero() {
		return s.RedirectWithNotice(w, r, v, "/settings/security", page.EnrolFault(identity.ErrTOTPOn))
	}
	return s.showTOTP(w, r, http.StatusOK, v, "", locale.Text{})
}

// showTOTP renders the page. sealed is the secret that it showed before; empty: it shows another one.
func (s *Account) showTOTP(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, sealed string, fault locale.Text,
) error {
	setup, err := s.identity.ShowTOTP(&v.User, sessionBinding(v), sealed)
	if err != nil {
		return err
	}
	view := templates.TOTPView{
		Page: s.NewPage(v, templates.SectionSecurity), TOTP: page.TOTPForm(setup), Error: fault,
	}
	return s.Render(w, r, status, view.Nonce, templates.TOTPPage(view))
}

// EnableTOTP serves POST /settings/security/totp/confirm.
func (s *Account) EnableTOTP(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	form := r.PostForm
	proof, codes, err := s.identity.EnableTOTP(
		r.Context(), v.User, sessionBinding(v), form.Get("setup"), form.Get("code"),
	)
	raised := v
	if err == nil {
		raised, err = s.Raise(w, r, v, &proof)
	}
	if errors.Is(err, identity.ErrTOTPOn) {
		return s.RedirectWithNotice(w, r, v, "/settings/security", page.EnrolFault(err))
	}
	if fault := page.EnrolFault(err); !fault.IsZero() {
		return s.showTOTP(w, r, http.StatusBadRequest, v, form.Get("setup"), fault)
	}
	if err != nil {
		return err
	}
	return s.showRecovery(w, r, raised, codes)
}

// RecoveryCodes serves POST /settings/security/recovery-codes: it replaces them, and shows the new ones.
func (s *Account) RecoveryCodes(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	if s.identity.Reach(&v.User) != identity.LevelTwo {
		return s.RedirectWithNotice(w, r, v, "/settings/security",
			locale.New("Recovery codes take the place of a second factor. Set one up first."))
	}
	codes, err := s.identity.NewRecoveryCodes(r.Context(), v.User.ID)
	if err != nil {
		return err
	}
	return s.showRecovery(w, r, v, codes)
}

func (s *Account) showRecovery(w http.ResponseWriter, r *http.Request, v *page.Visitor, codes []string) error {
	view := templates.RecoveryView{
		Page: s.NewPage(v, templates.SectionSecurity), Codes: codes, ContinueURL: "/settings/security", SignedIn: true,
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.RecoveryPage(view))
}

// methodOf finds a sign-in method of the visitor.
func (s *Account) methodOf(r *http.Request, v *page.Visitor) (identity.Method, error) {
	list, err := s.identity.Methods(r.Context(), &v.User)
	if err != nil {
		return identity.Method{}, err
	}
	for _, m := range list {
		if m.ID == r.PathValue("method") {
			return m, nil
		}
	}
	return identity.Method{}, page.NotFound()
}

// ConfirmRemoveMethod serves GET /settings/security/methods/{method}/remove.
func (s *Account) ConfirmRemoveMethod(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	m, err := s.methodOf(r, v)
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionSecurity), Title: locale.New("Remove this sign-in method?"),
		Button: locale.New("Remove"), CancelURL: "/settings/security",
		Ends: []locale.Text{s.MethodText(m), locale.New("You cannot use it here any more.")},
	}
	switch m.Kind {
	case identity.MethodPasskey:
		view.Title = locale.New("Remove this passkey?")
		view.Stays = locale.New("It also stays on your device or in your password manager until you delete it there.")
	case identity.MethodTOTP:
		view.Title = locale.New("Remove the authenticator app?")
	case identity.MethodPassword:
		view.Title, view.Ends = locale.New("Remove your password?"), view.Ends[1:]
		view.Button = locale.New("Remove the password")
	case identity.MethodProvider:
		view.Title = locale.New("Disconnect this account?")
		view.Button = locale.New("Disconnect")
	}
	return s.AskFirst(w, r, view)
}

// RemoveMethod serves POST /settings/security/methods/{method}/remove.
func (s *Account) RemoveMethod(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	if _, err := s.methodOf(r, v); err != nil {
		return err
	}
	if err := s.mustBeFresh(v); err != nil {
		return err
	}
	err := s.identity.RemoveMethod(r.Context(), v.User.ID, r.PathValue("method"))
	refused := &page.Error{
		Status: http.StatusConflict, Heading: locale.New("Nothing was changed"), BackURL: "/settings/security",
		BackText: locale.New("Back"), Cause: err,
	}
	switch {
	case errors.Is(err, identity.ErrOnlyWay):
		refused.Message = locale.New("This is the only way in which you can sign in. Add another one first.")
		return refused
	case errors.Is(err, identity.ErrFactorNeeded):
		refused.Message = locale.New("Your account needs a second factor, and this is the only one. Add another one first.")
		return refused
	case err != nil:
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/settings/security", locale.New("It was removed."))
}
