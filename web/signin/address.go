package signin

import (
	"errors"
	"net/http"
	"net/url"

	"doorward/locale"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// AddressPage serves GET /address, which the link to a new address opens: a page with a button, because programs that
// check links open them too.
func (s *Handlers) AddressPage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("word")
	proof, err := s.identity.Link(r.Context(), token, storage.ProofAddress)
	if errors.Is(err, identity.ErrLink) {
		return changeLinkInvalid(err)
	}
	if err != nil {
		return err
	}
	user, err := s.store.UserByID(storage.System(r.Context()), proof.UserID)
	if errors.Is(err, storage.ErrNotFound) {
		return changeLinkInvalid(err) // the account was deleted
	}
	if err != nil {
		return err
	}
	view := templates.ProveView{
		Page: s.NewPage(nil, ""), Heading: locale.New("Confirm your new email address"), Action: "/address", Token: token,
		Button: locale.New("Use this address"),
		Paragraphs: []locale.Text{
			locale.New("The account %s gets the address %s.", user.Email, proof.Email),
			locale.New("The old address gets an email with which the change can be undone for 7 days."),
		},
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.ProvePage(view))
}

// Address serves POST /address: it changes the address. It needs no session, since the link may be opened on a phone.
func (s *Handlers) Address(w http.ResponseWriter, r *http.Request) error {
	user, err := s.identity.ChangeAddress(r.Context(), r.PostForm.Get("word"))
	if errors.Is(err, identity.ErrLink) {
		return changeLinkInvalid(err)
	}
	if faults := page.FieldErrors(err); faults != nil {
		return addressTaken(err, faults)
	}
	if err != nil {
		return err
	}
	view := templates.DoneView{
		Page: s.NewPage(nil, ""), Heading: locale.New("Your address was changed"),
		Message: locale.New("Your account now has the address %s. Sign in with it from now on.", user.Email),
		BackURL: "/settings/profile", BackText: locale.New("Go to your profile"),
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.DonePage(view))
}

// UndoPage serves GET /undo, which the link to the address before opens.
func (s *Handlers) UndoPage(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("word")
	proof, err := s.identity.Link(r.Context(), token, storage.ProofUndo)
	if errors.Is(err, identity.ErrLink) {
		return changeLinkInvalid(err)
	}
	if err != nil {
		return err
	}
	view := templates.ProveView{
		Page: s.NewPage(nil, ""), Heading: locale.New("Undo the change of your address"), Action: "/undo", Token: token,
		Button: locale.New("Undo the change"),
		Paragraphs: []locale.Text{
			locale.New("Your account gets the address %s back, and every browser is signed out.", proof.Email),
		},
	}
	if s.TakesPasswords() {
		view.Paragraphs = append(view.Paragraphs, locale.New("Then you choose a new password."))
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.ProvePage(view))
}

// Undo serves POST /undo. The user goes on to choose a new password, if users have one.
func (s *Handlers) Undo(w http.ResponseWriter, r *http.Request) error {
	reset, err := s.identity.UndoAddress(r.Context(), r.PostForm.Get("word"))
	if errors.Is(err, identity.ErrLink) {
		return changeLinkInvalid(err)
	}
	if faults := page.FieldErrors(err); faults != nil {
		return addressTaken(err, faults)
	}
	if err != nil {
		return err
	}
	if s.TakesPasswords() {
		return page.Redirect(w, "/reset?word="+url.QueryEscape(reset))
	}
	view := templates.DoneView{
		Page: s.NewPage(nil, ""), Heading: locale.New("The change was undone"),
		Message: locale.New("Every browser was signed out. Sign in with the address to which the email came."),
		BackURL: "/login", BackText: locale.New("Sign in"),
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.DonePage(view))
}

// changeLinkInvalid is the page for a link about a change of address that does not work.
func changeLinkInvalid(cause error) *page.Error {
	return &page.Error{
		Status: http.StatusBadRequest, Heading: locale.New("This link no longer works"), Cause: cause,
		Message: locale.New("It was already used, has expired, or was replaced by a newer email. You can ask for a change of " +
			"address in your profile."),
		BackURL: "/settings/profile", BackText: locale.New("Go to your profile"),
	}
}

// addressTaken is the page for a change to an address that has got an account meanwhile.
func addressTaken(cause error, faults map[string]locale.Text) *page.Error {
	return &page.Error{
		Status: http.StatusConflict, Heading: locale.New("Nothing was changed"), Cause: cause, Message: page.Joined(faults),
		BackURL: "/settings/profile", BackText: locale.New("Go to your profile"),
	}
}
