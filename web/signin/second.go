package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// secondCookie holds, sealed, the first factor of a sign-in that needs a second one. The session starts after that.
const secondCookie = "doorward-second"

// secondLifetime is how long a user may take for the second factor.
const secondLifetime = 10 * time.Minute

// halfway is a sign-in that needs more.
type halfway struct {
	ID     string                  `json:"i"`
	UserID string                  `json:"u"`
	By     identity.Authentication `json:"b"`
	At     storage.Time            `json:"t"`
	// PasswordChangedAt is that of the user at the first factor: a new password ends the sign-in.
	PasswordChangedAt storage.Time `json:"p"`
	Unseen            bool         `json:"n,omitempty"` // it is the user's first sign-in
	Mailed            bool         `json:"m,omitempty"` // the user has proved their address in this sign-in
}

// proved goes on after a user has proved a factor, which it uses up. If that is enough, it starts a session and calls
// then; otherwise the browser goes to the page for the second factor, and from there on with the sealed flow (empty: to
// the settings).
func (s *Handlers) proved(
	w http.ResponseWriter, r *http.Request, old *page.Visitor, proof *identity.Proof, sealed string,
	then func(*page.Visitor) error,
) error {
	missing := s.identity.Missing(&proof.User, proof.By)
	if missing == identity.MissingNothing {
		v, err := s.StartSession(w, r, old, proof)
		if err != nil {
			return err
		}
		return then(v)
	}
	if err := s.store.InTx(storage.System(r.Context()), proof.Take); err != nil {
		return fmt.Errorf("use the first factor: %w", err)
	}
	s.setHalfway(w, &halfway{
		ID: storage.NewID("signin"), UserID: proof.User.ID, By: proof.By, At: s.store.Now(),
		PasswordChangedAt: proof.User.PasswordChangedAt, Unseen: proof.User.SeenAt.IsZero(),
		Mailed: slices.Contains(proof.By, identity.ByEmail),
	})
	return page.Redirect(w, secondURL(missing, sealed))
}

// secondURL is the page for what is missing to a sign-in.
func secondURL(missing identity.Missing, sealed string) string {
	to := "/login/second"
	if missing == identity.MissingEnrolment {
		to = "/login/enrol"
	}
	if sealed != "" {
		to += "?flow=" + url.QueryEscape(sealed)
	}
	return to
}

func (s *Handlers) setHalfway(w http.ResponseWriter, h *halfway) {
	text, _ := json.Marshal(h) // strings, numbers and booleans
	s.SetCookie(w, secondCookie, s.secrets.Seal("halfway", text), secondLifetime)
}

// errNotHalfway means that a browser has proved no first factor, or too long ago.
var errNotHalfway = errors.New("no first factor was proved in this browser in the last minutes")

// openHalfway returns the sign-in of this browser that needs more, with its user. It returns errNotHalfway if there is
// none.
func (s *Handlers) openHalfway(r *http.Request) (*halfway, storage.User, error) {
	c, err := s.Cookie(r, secondCookie)
	if err != nil {
		return nil, storage.User{}, errNotHalfway
	}
	text, err := s.secrets.Open("halfway", c.Value)
	h := &halfway{}
	if err != nil || json.Unmarshal(text, h) != nil {
		return nil, storage.User{}, errNotHalfway
	}
	if age := s.store.Now().Sub(h.At); age > secondLifetime || age < -time.Minute {
		return nil, storage.User{}, errNotHalfway
	}
	user, err := s.store.UserByID(storage.System(r.Context()), h.UserID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, user, errNotHalfway
	case err != nil:
		return nil, user, err
	case !user.DisabledAt.IsZero() || user.PasswordChangedAt != h.PasswordChangedAt:
		return nil, user, errNotHalfway
	}
	if h.Unseen {
		user.SeenAt = 0
	}
	return h, user, nil
}

// openMissing returns the sign-in of this browser in which want is missing. If there is none, or something else is
// missing since an administrator has changed the user, it redirects to the page to go on at, and returns done.
func (s *Handlers) openMissing(
	w http.ResponseWriter, r *http.Request, sealed string, want identity.Missing,
) (h *halfway, user storage.User, done bool, err error) {
	h, user, err = s.openHalfway(r)
	if err != nil && !errors.Is(err, errNotHalfway) {
		return nil, user, false, err
	}
	missing := identity.MissingNothing
	if err == nil {
		missing = s.identity.Missing(&user, h.By)
	}
	if missing == want {
		return h, user, false, nil
	}
	to := startAgainAt(sealed)
	if missing != identity.MissingNothing {
		to = secondURL(missing, sealed)
	}
	return nil, user, true, page.Redirect(w, to)
}

// startAgainAt is the sign-in page for a flow.
func startAgainAt(sealed string) string {
	if sealed == "" {
		return "/login"
	}
	return "/login?flow=" + url.QueryEscape(sealed)
}

// completes starts the session of a sign-in after its second factor, and goes on.
func (s *Handlers) completes(
	w http.ResponseWriter, r *http.Request, h *halfway, proof *identity.Proof, then func(*page.Visitor) error,
) error {
	old, err := s.Visitor(r)
	if err != nil {
		return err
	}
	proof.By = h.By.And(proof.By...)
	v, err := s.StartSession(w, r, old, proof)
	if err != nil {
		return err
	}
	s.SetCookie(w, secondCookie, "", 0)
	s.countLogin("ok")
	oauth.LogFieldsOf(r.Context()).Subject = v.User.ID
	return then(v)
}

// SecondPage serves GET /login/second, for the second factor of a sign-in.
func (s *Handlers) SecondPage(w http.ResponseWriter, r *http.Request) error {
	return s.showSecond(w, r, http.StatusOK, r.URL.Query().Get("flow"), locale.Text{})
}

func (s *Handlers) showSecond(
	w http.ResponseWriter, r *http.Request, status int, sealed string, fault locale.Text,
) error {
	h, user, done, err := s.openMissing(w, r, sealed, identity.MissingFactor)
	if err != nil || done {
		return err
	}
	view := templates.SecondView{
		Page: s.NewPage(nil, ""), Flow: sealed, Email: user.Email, App: !user.TOTPSince.IsZero(), Error: fault,
	}
	if view.Code, err = s.identity.TakesCodes(r.Context(), &user); err != nil {
		return err
	}
	if s.identity.HasPasskey(&user) {
		request, err := s.identity.AskPasskey(secondBinding(h))
		if err != nil {
			return err
		}
		view.Passkey = page.PasskeyForm(request)
	}
	return s.Render(w, r, status, view.Nonce, templates.SecondPage(view), s.targetsOf(sealed)...)
}

// secondBinding is what the challenge for a passkey as second factor is bound to.
func secondBinding(h *halfway) string { return "second " + h.ID }

// targetsOf are where the redirects after a form with a sealed flow may lead.
func (s *Handlers) targetsOf(sealed string) []string {
	if f, err := s.oauth.OpenFlow(sealed); err == nil {
		return formTarget(f)
	}
	return nil
}

// Second serves POST /login/second.
func (s *Handlers) Second(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	sealed := form.Get("flow")
	h, user, err := s.openHalfway(r)
	if errors.Is(err, errNotHalfway) {
		// If the form was sent twice, the first one has signed in, and that page goes on.
		return page.Redirect(w, startAgainAt(sealed))
	}
	if err != nil {
		return err
	}
	var proof identity.Proof
	answer := form.Get("credential")
	if answer != "" && s.identity.TakesPasskeys() {
		proof, err = s.identity.CheckPasskeyOf(
			r.Context(), &user, secondBinding(h), form.Get("challenge"), []byte(answer),
		)
	} else {
		var attempt identity.Attempt
		if attempt, err = s.Attempt(r, user.Email, ""); err != nil {
			return err
		}
		proof, err = s.identity.CheckSecondFactor(r.Context(), user, form.Get("code"), attempt)
	}
	if err == nil {
		proof.User = user // as at the first factor, so that a new password ends the sign-in
		err = s.completes(w, r, h, &proof, func(v *page.Visitor) error { return s.continueAfter(w, r, v, sealed) })
	}
	fault, status := s.secondFault(w, err)
	if fault.IsZero() {
		return err
	}
	oauth.LogFieldsOf(r.Context()).Cause = err
	return s.showSecond(w, r, status, sealed, fault)
}

// secondFault is the sentence for a second factor that was not accepted, and the status of the response; empty for
// other errors.
func (s *Handlers) secondFault(w http.ResponseWriter, err error) (fault locale.Text, status int) {
	fault = page.ProofFault(w, err)
	var throttled *identity.Throttled
	switch {
	case fault.IsZero():
		return fault, 0
	case errors.As(err, &throttled):
		s.countLogin("throttled")
		return fault, http.StatusTooManyRequests
	case errors.Is(err, identity.ErrPasskey):
		s.countLogin("wrong")
		return fault, http.StatusBadRequest
	}
	s.countLogin("wrong")
	return fault, http.StatusUnauthorized
}
