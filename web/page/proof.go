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
	"doorward/oauth/identity"
	"doorward/templates"
)

// StepUp checks password unless the visitor authenticated recently, and returns the visitor with a renewed session. If
// the password is missing or wrong, fault is a sentence for its field, and status that of the response. Otherwise fault
// is empty. For a visitor without a password, err is a page that leads to the sign-in page.
func (s *Pages) StepUp(
	w http.ResponseWriter, r *http.Request, v *Visitor, password string,
) (_ *Visitor, fault locale.Text, status int, err error) {
	if s.Fresh(v) {
		return v, fault, 0, nil
	}
	if !s.HasPassword(&v.User) {
		return v, fault, 0, &Error{
			Status: http.StatusForbidden, Heading: locale.New("Sign in again"),
			Message: locale.New("You signed in a while ago, and this action needs a recent sign-in. Nothing has changed yet."),
			BackURL: againURL(r), BackText: locale.New("Sign in again"),
		}
	}
	if password == "" {
		return v, locale.New("Confirm your password. You signed in a while ago."), http.StatusForbidden, nil
	}
	attempt, err := s.Attempt(r, v.User.Email, password)
	if err != nil {
		return v, fault, 0, err
	}
	err = s.identity.Confirm(r.Context(), v.User, attempt)
	var throttled *identity.Throttled
	switch {
	case errors.Is(err, identity.ErrWrong):
		return v, locale.New("Incorrect password."), http.StatusForbidden, nil
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", Seconds(throttled.RetryAfter))
		return v, TooManyAttempts(throttled), http.StatusTooManyRequests, nil
	case err != nil:
		return v, fault, 0, err
	}
	v, err = s.renewSession(w, r, v)
	return v, fault, 0, err
}

// uncounted are the last path segments of the forms that do not count against the limit on changes
// (management.Manager.TakeChange): those that end something for good, or change nothing. The form for a new password
// counts as a sign-in instead (TakeSignIn), so that programs acting for a user cannot use up the user's changes and so
// keep them from changing the password.
var uncounted = []string{
	"revoke", "delete", "remove", "withdraw", "leave", "end", "end-others", "end-all", "password", "search",
	"refuse",
}

// proven serves h. If h returns management.ErrStale, in which case it has changed nothing, proven asks for the password
// and then serves h again. So every form that needs a recent sign-in asks for it in the same way.
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

// ProofField is the form field for the password of a user who has to enter it again.
const ProofField = "current_password"

// Prove is StepUp with the password in the form's ProofField. If it is missing or wrong, Prove answers with a page that
// asks for it and sends the form again, and returns done. The form may redirect to formTargets.
func (s *Pages) Prove(
	w http.ResponseWriter, r *http.Request, v *Visitor, formTargets ...string,
) (_ *Visitor, done bool, err error) {
	view := templates.ProofView{
		Page: s.NewPage(v, ""), Action: r.URL.Path, BackURL: SafeReturn(path.Dir(r.URL.Path)),
		Password: s.HasPassword(&v.User),
	}
	if !view.Password || s.links {
		view.AgainURL = againURL(r)
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
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		for _, value := range r.PostForm[name] {
			if name != ProofField {
				view.Fields = append(view.Fields, templates.FormField{Name: name, Value: value})
			}
		}
	}
	return v, true, s.Render(w, r, status, view.Nonce, templates.ProofPage(view), formTargets...)
}

// againURL is the sign-in page for the same user, which leads back to where the form of a request was.
func againURL(r *http.Request) string {
	if flow := r.PostForm.Get("flow"); flow != "" {
		return "/login?again=1&flow=" + url.QueryEscape(flow)
	}
	return "/login?again=1&return_to=" + url.QueryEscape(SafeReturn(path.Dir(r.URL.Path)))
}

// AsksPassword reports whether a form needs a field for the visitor's password, because they signed in a while ago.
func (s *Pages) AsksPassword(v *Visitor) bool { return s.HasPassword(&v.User) && !s.Fresh(v) }

// Fresh reports whether the visitor authenticated recently enough to create a secret.
func (s *Pages) Fresh(v *Visitor) bool {
	return s.store.Now().Sub(v.Row.AuthTime) <= freshness
}

// Administrator returns the authority of an administrator on the pages for administrators.
func (s *Pages) Administrator(v *Visitor) management.Authority {
	return management.Authority{Administrator: true, UserID: v.User.ID, Session: true, Fresh: s.Fresh(v)}
}
