package page

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// StepUp checks password unless the visitor authenticated recently, and returns the visitor with a renewed session. If
// the password is missing or wrong, fault is a sentence for its field, and status that of the response. Otherwise fault
// is empty. For a visitor without a password, err is a page that leads to the sign-in page; for one with a second
// factor it is management.ErrStale, so that ForUsers asks for that too.
func (s *Pages) StepUp(
	w http.ResponseWriter, r *http.Request, v *Visitor, password string,
) (_ *Visitor, fault locale.Text, status int, err error) {
	switch {
	case s.Fresh(v):
		return v, fault, 0, nil
	case s.identity.Reach(&v.User) != identity.LevelOne:
		return v, fault, 0, management.ErrStale
	case !s.HasPassword(&v.User):
		return v, fault, 0, &Error{
			Status: http.StatusForbidden, Heading: locale.New("Sign in again"),
			Message: locale.New("You signed in a while ago, and this action needs a recent sign-in. Nothing has changed yet."),
			BackURL: againURL(r), BackText: locale.New("Sign in again"),
		}
	case password == "":
		return v, locale.New("Confirm your password. You signed in a while ago."), http.StatusForbidden, nil
	}
	fault, status, err = s.confirm(w, r, v, password)
	if err != nil || !fault.IsZero() {
		return v, fault, status, err
	}
	proof := identity.NewProof(v.User, "password", nil, identity.ByPassword)
	v, err = s.renewSession(w, r, v, &proof)
	return v, fault, 0, err
}

// confirm checks the visitor's password. If it is wrong, fault is a sentence for its field.
func (s *Pages) confirm(
	w http.ResponseWriter, r *http.Request, v *Visitor, password string,
) (fault locale.Text, status int, err error) {
	attempt, err := s.Attempt(r, v.User.Email, password)
	if err != nil {
		return fault, 0, err
	}
	err = s.identity.Confirm(r.Context(), v.User, attempt)
	fault, status = s.refusal(w, err)
	if fault.IsZero() {
		return fault, 0, err
	}
	return fault, status, nil
}

// ProofFault is the sentence for what a visitor could not prove; empty for other errors.
func ProofFault(w http.ResponseWriter, err error) locale.Text {
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrong):
		return locale.New("Incorrect password.")
	case errors.Is(err, identity.ErrPasskey):
		return locale.New("This passkey was not accepted. Try again, or use another way.")
	case errors.Is(err, identity.ErrWrongCode), errors.Is(err, storage.ErrConsumed):
		return locale.New("This code is wrong or was used. Enter the next one that your app shows, or another recovery " +
			"code.")
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", Seconds(throttled.RetryAfter))
		return TooManyAttempts(throttled)
	}
	return locale.Text{}
}

// refusal is ProofFault with the status of the response for a visitor who is signed in.
func (s *Pages) refusal(w http.ResponseWriter, err error) (fault locale.Text, status int) {
	var throttled *identity.Throttled
	if errors.As(err, &throttled) {
		return ProofFault(w, err), http.StatusTooManyRequests
	}
	return ProofFault(w, err), http.StatusForbidden
}

// stepUpTwo is StepUp for a visitor who can reach the second level, with the fields of ProofPage: a passkey, or the
// password and a code.
func (s *Pages) stepUpTwo(
	w http.ResponseWriter, r *http.Request, v *Visitor,
) (_ *Visitor, fault locale.Text, status int, err error) {
	form := r.PostForm
	var proof identity.Proof
	switch {
	case s.Fresh(v):
		return v, fault, 0, nil
	case form.Get(passkeyField) != "" && s.identity.TakesPasskeys():
		proof, err = s.identity.CheckPasskeyOf(
			r.Context(), &v.User, proofBinding(v), form.Get(challengeField), []byte(form.Get(passkeyField)),
		)
	case form.Get(ProofField) != "" && form.Get(codeField) != "" && s.HasPassword(&v.User):
		if fault, status, err = s.confirm(w, r, v, form.Get(ProofField)); err != nil || !fault.IsZero() {
			return v, fault, status, err
		}
		attempt, lookup := s.Attempt(r, v.User.Email, "")
		if lookup != nil {
			return v, fault, 0, lookup
		}
		proof, err = s.identity.CheckSecondFactor(r.Context(), v.User, form.Get(codeField), attempt)
		proof.By = identity.By(identity.ByPassword).And(proof.By...)
	default:
		return v, locale.New("Confirm that it is you. You signed in a while ago, or with one factor only."),
			http.StatusForbidden, nil
	}
	if err == nil {
		var renewed *Visitor
		if renewed, err = s.renewSession(w, r, v, &proof); err == nil {
			return renewed, fault, 0, nil
		}
	}
	if fault, status = s.refusal(w, err); fault.IsZero() {
		return v, fault, 0, err
	}
	oauth.LogFieldsOf(r.Context()).Cause = err
	return v, fault, status, nil
}

// proofBinding is what a challenge for the fields of ProofPage is bound to.
func proofBinding(v *Visitor) string { return "proof " + v.Row.ID }

// uncounted are the last path segments of the forms that do not count against the limit on changes
// (management.Manager.TakeChange): those that end something for good, or change nothing. The form for a new password
// counts as a sign-in instead (TakeSignIn), so that programs acting for a user cannot use up the user's changes and so
// keep them from changing the password.
var uncounted = []string{
	"revoke", "delete", "remove", "withdraw", "leave", "end", "end-others", "end-all", "password", "search",
	"refuse",
}

// proven serves h. If h returns management.ErrStale, in which case it has changed nothing, proven asks for a proof
// (Prove) and then serves h again. So every form that needs a recent sign-in asks for it in the same way.
func (s *Pages) proven(w http.ResponseWriter, r *http.Request, v *Visitor, h UserHandler) error {
	if r.Method == http.MethodPost && !slices.Contains(uncounted, path.Base(r.URL.EscapedPath())) {
		if err := s.management.TakeChange(r.Context(), &management.Authority{UserID: v.User.ID}); err != nil {
			return err
		}
	}
	err := h(w, r, v)
	if !errors.Is(err, management.ErrStale) {
		return err
	}
	v, done, err := s.Prove(w, r, v)
	if err != nil || done {
		return err
	}
	return h(w, r, v)
}

// ProofField is the form field for the password of a user who has to enter it again; the others are for those who have
// a second factor.
const (
	ProofField     = "current_password"
	codeField      = "current_code"
	passkeyField   = "current_passkey"
	challengeField = "current_challenge"
)

// Prove asks for a proof that the visitor is who they are, at the highest level that they can reach, unless they gave
// one recently. If it is missing or wrong, Prove answers with a page that asks for it and sends the form again, and
// returns done. The form may redirect to formTargets.
func (s *Pages) Prove(
	w http.ResponseWriter, r *http.Request, v *Visitor, formTargets ...string,
) (_ *Visitor, done bool, err error) {
	two := s.identity.Reach(&v.User) != identity.LevelOne
	view := templates.ProofView{
		Page: s.NewPage(v, ""), Action: r.URL.EscapedPath(), BackURL: SafeReturn(path.Dir(r.URL.EscapedPath())),
		Password: s.HasPassword(&v.User), Two: two,
	}
	if !view.Password || s.links {
		view.AgainURL = againURL(r)
	}
	if two {
		return s.proveTwo(w, r, v, view, formTargets...)
	}
	if !view.Password && !s.Fresh(v) {
		return v, true, s.Render(w, r, http.StatusForbidden, view.Nonce, templates.ProofPage(view), formTargets...)
	}
	v, fault, status, err := s.StepUp(w, r, v, r.PostForm.Get(ProofField))
	if err != nil || fault.IsZero() {
		return v, false, err
	}
	if r.PostForm.Get(ProofField) != "" {
		view.Fault = fault
	}
	view.Fields = otherFields(r)
	return v, true, s.Render(w, r, status, view.Nonce, templates.ProofPage(view), formTargets...)
}

// proveTwo is Prove for a visitor who can reach the second level.
func (s *Pages) proveTwo(
	w http.ResponseWriter, r *http.Request, v *Visitor, view templates.ProofView, formTargets ...string,
) (_ *Visitor, done bool, err error) {
	v, fault, status, err := s.stepUpTwo(w, r, v)
	if err != nil || fault.IsZero() {
		return v, false, err
	}
	form := r.PostForm
	if form.Has(ProofField) || form.Has(codeField) || form.Has(passkeyField) {
		view.Fault = fault
	}
	view.App = !v.User.TOTPSince.IsZero()
	if view.Password { // a code comes after the password
		if view.Code, err = s.identity.TakesCodes(r.Context(), &v.User); err != nil {
			return v, false, err
		}
	}
	if s.identity.HasPasskey(&v.User) {
		request, err := s.identity.AskPasskey(proofBinding(v))
		if err != nil {
			return v, false, err
		}
		view.Passkey = PasskeyForm(request)
	}
	view.Fields = otherFields(r)
	return v, true, s.Render(w, r, status, view.Nonce, templates.ProofPage(view), formTargets...)
}

// PasskeyForm gives a request for a passkey to a form.
func PasskeyForm(r identity.PasskeyRequest) templates.PasskeyForm {
	return templates.PasskeyForm{Options: string(r.Options), Challenge: r.Sealed}
}

// otherFields are the fields of a form without those of a proof.
func otherFields(r *http.Request) (fields []templates.FormField) {
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		for _, value := range r.PostForm[name] {
			if name != ProofField && name != codeField && name != passkeyField && name != challengeField {
				fields = append(fields, templates.FormField{Name: name, Value: value})
			}
		}
	}
	return fields
}

// againURL is the sign-in page for the same user, which leads back to where the form of a request was.
func againURL(r *http.Request) string {
	if flow := r.PostForm.Get("flow"); flow != "" {
		return "/login?again=1&flow=" + url.QueryEscape(flow)
	}
	return "/login?again=1&return_to=" + url.QueryEscape(SafeReturn(path.Dir(r.URL.EscapedPath())))
}

// AsksPassword reports whether a form needs a field for the visitor's password, because they signed in a while ago. A
// user with a second factor is asked on a page of its own.
func (s *Pages) AsksPassword(v *Visitor) bool {
	return s.HasPassword(&v.User) && !s.Fresh(v) && s.identity.Reach(&v.User) == identity.LevelOne
}

// Fresh reports whether the visitor authenticated recently enough to create a secret, at the highest level that they
// can reach.
func (s *Pages) Fresh(v *Visitor) bool {
	return s.store.Now().Sub(v.Row.AuthTime) <= freshness &&
		(v.Row.ACR == identity.LevelTwo || s.identity.Reach(&v.User) == identity.LevelOne)
}

// Administrator returns the authority of an administrator on the pages for administrators.
func (s *Pages) Administrator(v *Visitor) management.Authority {
	return management.Authority{Administrator: true, UserID: v.User.ID, Session: true, Fresh: s.Fresh(v)}
}
