package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"doorward/locale"
	"doorward/oauth/bearer"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Account are the pages about the visitor's own account.
type Account struct{ *base }

// SecurityPage serves GET /settings/security: the sign-in methods, the browsers that are signed in, and the last
// sign-ins.
func (s *Account) SecurityPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionSecurity)
	if err != nil {
		return err
	}
	return s.showSecurity(w, r, http.StatusOK, v, templates.SecurityView{Page: head})
}

func (s *Account) showSecurity(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, view templates.SecurityView,
) error {
	list, err := s.sessionsOf(r, v)
	if err != nil {
		return err
	}
	view.Password = s.HasPassword(&v.User)
	if !view.Password && s.TakesPasswords() && s.SendsEmail() {
		view.ResetURL = "/forgot"
	}
	for _, x := range list {
		view.Sessions = append(view.Sessions, templates.SessionRow{
			ID: x.ID, Browser: page.BrowserName(x.UserAgent), Address: x.Address, Current: x.ID == v.Row.ID,
			NewDevice: page.NewDevice(&x), SignedInAt: x.AuthTime.Time(), LastSeenAt: x.SeenAt.Time(),
		})
	}
	if err := s.showMethods(r, v, &view); err != nil {
		return err
	}
	return s.Render(w, r, status, view.Nonce, templates.SecurityPage(view), s.ProviderTargets()...)
}

func (s *Account) sessionsOf(r *http.Request, v *page.Visitor) (list []storage.Session, err error) {
	ctx := storage.Tenant(r.Context(), v.User.ID, "")
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		list, err = s.store.SessionsOf(ctx, v.User.ID, page.SessionIdle)
		return err
	})
	return list, err
}

// ChangePassword serves POST /settings/security/password. It signs out every other browser.
func (s *Account) ChangePassword(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	// The form has the password; a user who has a second factor proves that too.
	two := s.identity.Reach(&v.User) == identity.LevelTwo
	if two {
		if err := s.mustBeFresh(v); err != nil {
			return err
		}
	}
	form := r.PostForm
	if two && form.Get("current_password") == "" {
		// A passkey was the proof, and the page that asked for it did not keep the password.
		return s.showSecurity(w, r, http.StatusForbidden, v, templates.SecurityView{
			Page: s.NewPage(v, templates.SectionSecurity), Errors: map[string]locale.Text{
				"current_password": locale.New("Enter your current password and the new one."),
			},
		})
	}
	// The change ends in a new session, so it counts as a sign-in. It is counted first, and apart from changes that do
	// not need the password.
	if err := s.management.TakeSignIn(r.Context(), v.User.ID); err != nil {
		return err
	}
	current, err := s.Attempt(r, v.User.Email, form.Get("current_password"))
	if err != nil {
		return err
	}
	err = s.identity.ChangePassword(r.Context(), v.User.ID, v.Row.ID, current, form.Get("new_password"))
	view := templates.SecurityView{Page: s.NewPage(v, templates.SectionSecurity)}
	var throttled *identity.Throttled
	switch faults := page.FieldErrors(err); {
	case errors.Is(err, identity.ErrWrong):
		view.Errors = map[string]locale.Text{"current_password": locale.New("Incorrect current password.")}
		return s.showSecurity(w, r, http.StatusForbidden, v, view)
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", page.Seconds(throttled.RetryAfter))
		view.Errors = map[string]locale.Text{"current_password": page.TooManyAttempts(throttled)}
		return s.showSecurity(w, r, http.StatusTooManyRequests, v, view)
	case faults != nil:
		view.Errors = map[string]locale.Text{"new_password": faults["password"]}
		return s.showSecurity(w, r, http.StatusBadRequest, v, view)
	case err != nil:
		return err
	}
	// The session proves the old password; a new one takes its place.
	user, err := s.store.UserByID(storage.System(r.Context()), v.User.ID)
	if err != nil {
		return err
	}
	proof := identity.NewProof(user, "password", nil, identity.ByPassword)
	if two {
		proof.By = proof.By.And(v.Row.AMR...) // it was proved within the last minutes
	}
	if v, err = s.StartSession(w, r, v, &proof); err != nil {
		return err
	}
	return s.RedirectWithNotice(
		w, r, v, "/settings/security", locale.New("Your password was changed. Every other browser was signed out."),
	)
}

// personal returns the visitor's personal workspace, whose audit log records changes to what belongs to them alone. It
// may be disabled.
func (s *base) personal(r *http.Request, v *page.Visitor) (place, error) {
	p, err := s.placeOf(r, v, "")
	if errors.Is(err, bearer.ErrSuspended) {
		err = nil
	}
	return p, err
}

// EndOneSession serves POST /settings/security/sessions/{id}/end.
func (s *Account) EndOneSession(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	id := r.PathValue("id")
	if id == v.Row.ID {
		if err := s.EndSession(w, r, v); err != nil {
			return err
		}
		return page.Redirect(w, "/login")
	}
	own, err := s.personal(r, v)
	if err != nil {
		return err
	}
	err = s.store.InTx(own.tenant(r.Context()), func(ctx context.Context) error {
		if err := s.store.EndSession(ctx, v.User.ID, id); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "session.ended", WorkspaceID: own.ws.ID, Target: id}, "")
	})
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/settings/security", locale.New("The browser was signed out."))
}

// EndOtherSessions serves POST /settings/security/sessions/end-others.
func (s *Account) EndOtherSessions(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	own, err := s.personal(r, v)
	if err != nil {
		return err
	}
	var n int64
	err = s.store.InTx(own.tenant(r.Context()), func(ctx context.Context) (err error) {
		if n, err = s.store.EndOtherSessions(ctx, v.User.ID, v.Row.ID); err != nil || n == 0 {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action: "session.others_ended", WorkspaceID: own.ws.ID, Target: v.User.ID,
			Detail: map[string]string{"sessions": strconv.FormatInt(n, 10)},
		}, "")
	})
	if err != nil {
		return err
	}
	text := locale.New("Every other browser was signed out.")
	if n == 0 {
		text = locale.New("No other browser was signed in.")
	}
	return s.RedirectWithNotice(w, r, v, "/settings/security", text)
}

// ConfirmEndSession serves GET /settings/security/sessions/{id}/end and …/end-others.
func (s *Account) ConfirmEndSession(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	list, err := s.sessionsOf(r, v)
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionSecurity), Title: locale.New("Sign out everywhere else?"),
		Button: locale.New("Sign out everywhere else"), CancelURL: "/settings/security",
		Stays: locale.New("This browser stays signed in, and apps you have allowed keep their access."),
	}
	id := r.PathValue("id")
	if id == v.Row.ID {
		return page.Redirect(w, "/logout")
	}
	list = slices.DeleteFunc(list, func(x storage.Session) bool { return x.ID == v.Row.ID || id != "" && x.ID != id })
	if id != "" {
		if len(list) == 0 {
			return page.NotFound()
		}
		view.Title, view.Button = locale.New("Sign out this session?"), locale.New("Sign out")
	}
	for _, x := range list {
		name := page.BrowserName(x.UserAgent)
		if name.IsZero() {
			name = locale.New("Unknown browser")
		}
		seen := x.SeenAt.Time()
		view.Ends = append(view.Ends, locale.New("%s, %s, last active on %s at %s.", name, x.Address, locale.Day(seen),
			timeOfDay(r.Context(), seen)))
	}
	if len(list) == 0 {
		view.Ends = []locale.Text{locale.New("No other browser is signed in.")}
	}
	return s.AskFirst(w, r, view)
}
