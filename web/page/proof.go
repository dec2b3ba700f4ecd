package page

import (
	"errors"
	"maps"
	"net/http"
	"path"
	"slices"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/templates"
)

// StepUp asks for the password again when it was given too long ago. It returns the visitor with a session that is
// fresh, or a sentence for the password field with the status that it is sent with.
func (s *Pages) StepUp(
	w http.ResponseWriter, r *http.Request, v *Visitor, password string,
) (_ *Visitor, fault string, status int, err error) {
	if s.Fresh(v) {
		return v, "", 0, nil
	}
	if password == "" {
		return v, "Confirm your password. You signed in a while ago.", http.StatusForbidden, nil
	}
	attempt, err := s.Attempt(r, v.User.Email, password)
	if err != nil {
		return v, "", 0, err
	}
	err = s.identity.Confirm(r.Context(), v.User, attempt)
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrong):
		return v, "Incorrect password.", http.StatusForbidden, nil
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", Seconds(throttled.RetryAfter))
		return v, TooManyAttempts(throttled), http.StatusTooManyRequests, nil
	case err != nil:
		return v, "", 0, err
	}
	v, err = s.renewSession(w, r, v)
	return v, "", 0, err
}

// uncounted are the last words of the addresses of forms that oauth.Server.TakeChange is not asked about: what ends
// something once and for good, or changes nothing; and the password, which TakeSignIn counts, so that programs that act
// for a person cannot keep them from changing it.
var uncounted = []string{
	"revoke", "delete", "remove", "withdraw", "leave", "end", "end-others", "end-all", "password", "search",
}

// proven serves h. Where h answers oauth.ErrStale, having done nothing, it asks for the password and then serves h once
// more, so that every form that gives lasting power asks in the same way.
func (s *Pages) proven(w http.ResponseWriter, r *http.Request, v *Visitor, h UserHandler) error {
	if r.Method == http.MethodPost && !slices.Contains(uncounted, path.Base(r.URL.Path)) {
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

// ProofField is the field of a form in which a person gives their password again.
const ProofField = "current_password"

// Prove makes a session fresh with the password that a form brings. Where it brings none, or a wrong one, prove answers
// with a page that asks for it and sends the form again (done); such forms may lead to the targets.
func (s *Pages) Prove(
	w http.ResponseWriter, r *http.Request, v *Visitor, formTargets ...string,
) (_ *Visitor, done bool, err error) {
	v, fault, status, err := s.StepUp(w, r, v, r.PostForm.Get(ProofField))
	if err != nil || fault == "" {
		return v, false, err
	}
	view := templates.ProofView{Page: s.NewPage(v, ""), Action: r.URL.Path, BackURL: SafeReturn(path.Dir(r.URL.Path))}
	if r.PostForm.Get(ProofField) != "" {
		view.Fault = fault
	}
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		for _, value := range r.PostForm[name] {
			if name != ProofField {
				view.Fields = append(view.Fields, templates.FormField{Name: name, Value: value})
			}
		}
	}
	return v, true, s.Render(w, r, status, view.Nonce, templates.ProofPage(view), formTargets...)
}

// Fresh reports whether the password was given lately enough to make a secret.
func (s *Pages) Fresh(v *Visitor) bool {
	return s.store.Now().Sub(v.Row.AuthTime) <= freshness
}

// Administrator is the authority of an administrator on the pages for them.
func (s *Pages) Administrator(v *Visitor) management.Authority {
	return management.Authority{Administrator: true, UserID: v.User.ID, Session: true, Fresh: s.Fresh(v)}
}
