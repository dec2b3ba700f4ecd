package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Account are the pages about a person's own account.
type Account struct{ *base }

// ProfilePage serves GET /settings/profile.
func (s *Account) ProfilePage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionProfile)
	if err != nil {
		return err
	}
	return s.showProfile(w, r, http.StatusOK, v, templates.ProfileView{Page: head, Name: v.User.Name})
}

func (s *Account) showProfile(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, view templates.ProfileView,
) error {
	view.Email, view.UserID, view.MemberSince = v.User.Email, v.User.ID, v.User.CreatedAt.Time()
	return s.Render(w, r, status, view.Nonce, templates.ProfilePage(view))
}

// Profile serves POST /settings/profile.
func (s *Account) Profile(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	name := r.PostForm.Get("name")
	err := s.identity.Rename(r.Context(), v.User.ID, name)
	if faults := page.FieldErrors(err); faults != nil {
		return s.showProfile(w, r, http.StatusBadRequest, v, templates.ProfileView{
			Page: s.NewPage(v, templates.SectionProfile), Name: page.Clean(name, 300), Errors: faults,
		})
	}
	if err != nil {
		return err
	}
	if err := s.SetNotice(w, r, v, "Saved."); err != nil {
		return err
	}
	return page.Redirect(w, "/settings/profile")
}

// SecurityPage serves GET /settings/security: the password and the browsers that are signed in.
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
	for _, x := range list {
		view.Sessions = append(view.Sessions, templates.SessionRow{
			ID: x.ID, Browser: browserName(x.UserAgent), Address: x.Address, Current: x.ID == v.Row.ID,
			SignedInAt: x.AuthTime.Time(), LastSeenAt: x.SeenAt.Time(),
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.SecurityPage(view))
}

func (s *Account) sessionsOf(r *http.Request, v *page.Visitor) (list []storage.Session, err error) {
	ctx := storage.Tenant(r.Context(), v.User.ID, "")
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		list, err = s.store.SessionsOf(ctx, v.User.ID, page.SessionIdle)
		return err
	})
	return list, err
}

// ChangePassword serves POST /settings/security/password. All other browsers are signed out by it.
func (s *Account) ChangePassword(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	form := r.PostForm
	// It starts a session of its own: counted before anything is done, and apart from what can be done without the
	// password.
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
		view.Errors = map[string]string{"current_password": "Incorrect current password."}
		return s.showSecurity(w, r, http.StatusForbidden, v, view)
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", page.Seconds(throttled.RetryAfter))
		view.Errors = map[string]string{"current_password": page.TooManyAttempts(throttled)}
		return s.showSecurity(w, r, http.StatusTooManyRequests, v, view)
	case faults != nil:
		view.Errors = map[string]string{"new_password": faults["password"]}
		return s.showSecurity(w, r, http.StatusBadRequest, v, view)
	case err != nil:
		return err
	}
	// A new id after a change of what the session rests on.
	user, err := s.store.UserByID(storage.System(r.Context()), v.User.ID)
	if err != nil {
		return err
	}
	if v, err = s.StartSessionBy(w, r, v, user, "password", func(context.Context) error { return nil }); err != nil {
		return err
	}
	if err := s.SetNotice(w, r, v, "Your password was changed. Every other browser was signed out."); err != nil {
		return err
	}
	return page.Redirect(w, "/settings/security")
}

// personal is a context in which the visitor speaks for themselves, and their personal workspace, which what is theirs
// alone is noted in.
func (s *Account) personal(r *http.Request, v *page.Visitor) (context.Context, string, error) {
	w, err := s.store.PersonalWorkspace(storage.System(r.Context()), v.User.ID)
	if err != nil {
		return nil, "", err
	}
	return storage.Tenant(r.Context(), v.User.ID, w.ID), w.ID, nil
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
	own, personalID, err := s.personal(r, v)
	if err != nil {
		return err
	}
	err = s.store.InTx(own, func(ctx context.Context) error {
		if err := s.store.EndSession(ctx, v.User.ID, id); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "session.ended", WorkspaceID: personalID, Target: id}, "")
	})
	if err != nil {
		return err
	}
	if err := s.SetNotice(w, r, v, "The browser was signed out."); err != nil {
		return err
	}
	return page.Redirect(w, "/settings/security")
}

// EndOtherSessions serves POST /settings/security/sessions/end-others.
func (s *Account) EndOtherSessions(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	own, personalID, err := s.personal(r, v)
	if err != nil {
		return err
	}
	var n int64
	err = s.store.InTx(own, func(ctx context.Context) (err error) {
		if n, err = s.store.EndOtherSessions(ctx, v.User.ID, v.Row.ID); err != nil || n == 0 {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action: "session.others_ended", WorkspaceID: personalID, Target: v.User.ID,
			Detail: map[string]string{"sessions": strconv.FormatInt(n, 10)},
		}, "")
	})
	if err != nil {
		return err
	}
	text := "Every other browser was signed out."
	if n == 0 {
		text = "No other browser was signed in."
	}
	if err := s.SetNotice(w, r, v, text); err != nil {
		return err
	}
	return page.Redirect(w, "/settings/security")
}

// browserName tells a browser by its User-Agent, for a person who wants to recognize their own.
func browserName(agent string) string {
	pick := func(pairs ...[2]string) string {
		for _, p := range pairs {
			if strings.Contains(agent, p[0]) {
				return p[1]
			}
		}
		return ""
	}
	browser := pick([2]string{"Edg", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"SamsungBrowser", "Samsung " +
		"Internet"}, [2]string{"Firefox/", "Firefox"},
		[2]string{"FxiOS", "Firefox"}, [2]string{"CriOS", "Chrome"}, [2]string{"Chrome/", "Chrome"}, [2]string{"Safari/", "Safari"}, [2]string{"curl/", "curl"})
	system := pick([2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"}, [2]string{"Android", "Android"}, [2]string{"Windows", "Windows"},
		[2]string{"Mac OS X", "macOS"}, [2]string{"CrOS", "ChromeOS"}, [2]string{"Linux", "Linux"})
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	}
	return system
}

// ConfirmEndSession serves GET /settings/security/sessions/{id}/end and …/end-others.
func (s *Account) ConfirmEndSession(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	list, err := s.sessionsOf(r, v)
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionSecurity), Title: "Sign out everywhere else?",
		Button: "Sign out everywhere else", CancelURL: "/settings/security",
		Stays: "This browser stays signed in, and apps you have allowed keep their access.",
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
		view.Title, view.Button = "Sign out this session?", "Sign out"
	}
	for _, x := range list {
		name := browserName(x.UserAgent)
		if name == "" {
			name = "Unknown browser"
		}
		view.Ends = append(
			view.Ends, name+", "+x.Address+", last active on "+x.SeenAt.Time().UTC().Format("2 January 2006 at 15:04 UTC")+".",
		)
	}
	if len(list) == 0 {
		view.Ends = []string{"No other browser is signed in."}
	}
	return s.AskFirst(w, r, view)
}
