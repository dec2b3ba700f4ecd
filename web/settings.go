package web

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
)

// accountPages are the pages about a person's own account.
type accountPages struct{ *dashBase }

// profilePage serves GET /settings/profile.
func (s *accountPages) profilePage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionProfile)
	if err != nil {
		return err
	}
	return s.showProfile(w, r, http.StatusOK, v, templates.ProfileView{Page: page, Name: v.user.Name})
}

func (s *accountPages) showProfile(w http.ResponseWriter, r *http.Request, status int, v *visitor, view templates.ProfileView) error {
	view.Email, view.UserID, view.MemberSince = v.user.Email, v.user.ID, v.user.CreatedAt.Time()
	return s.render(w, r, status, view.Nonce, templates.ProfilePage(view))
}

// profile serves POST /settings/profile.
func (s *accountPages) profile(w http.ResponseWriter, r *http.Request, v *visitor) error {
	name := r.PostForm.Get("name")
	err := s.identity.Rename(r.Context(), v.user.ID, name)
	if faults := fieldErrors(err); faults != nil {
		return s.showProfile(w, r, http.StatusBadRequest, v, templates.ProfileView{Page: s.page(v, templates.SectionProfile), Name: clean(name, 300), Errors: faults})
	}
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, "Saved."); err != nil {
		return err
	}
	return redirect(w, "/settings/profile")
}

// securityPage serves GET /settings/security: the password and the browsers that are signed in.
func (s *accountPages) securityPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionSecurity)
	if err != nil {
		return err
	}
	return s.showSecurity(w, r, http.StatusOK, v, templates.SecurityView{Page: page})
}

func (s *accountPages) showSecurity(w http.ResponseWriter, r *http.Request, status int, v *visitor, view templates.SecurityView) error {
	list, err := s.sessionsOf(r, v)
	if err != nil {
		return err
	}
	for _, x := range list {
		view.Sessions = append(view.Sessions, templates.SessionRow{
			ID: x.ID, Browser: browserName(x.UserAgent), Address: x.Address, Current: x.ID == v.row.ID,
			SignedInAt: x.AuthTime.Time(), LastSeenAt: x.SeenAt.Time(),
		})
	}
	return s.render(w, r, status, view.Nonce, templates.SecurityPage(view))
}

func (s *accountPages) sessionsOf(r *http.Request, v *visitor) (list []storage.Session, err error) {
	ctx := storage.Tenant(r.Context(), v.user.ID, "")
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		list, err = s.store.SessionsOf(ctx, v.user.ID, sessionIdle)
		return err
	})
	return list, err
}

// changePassword serves POST /settings/security/password. All other browsers are signed out by it.
func (s *accountPages) changePassword(w http.ResponseWriter, r *http.Request, v *visitor) error {
	form := r.PostForm
	// It starts a session of its own: counted before anything is done, and apart from what can be done without the password.
	if err := s.oauth.TakeSignIn(r.Context(), v.user.ID); err != nil {
		return err
	}
	current, err := s.attempt(r, v.user.Email, form.Get("current_password"))
	if err != nil {
		return err
	}
	err = s.identity.ChangePassword(r.Context(), v.user.ID, v.row.ID, current, form.Get("new_password"))
	view := templates.SecurityView{Page: s.page(v, templates.SectionSecurity)}
	var throttled *identity.Throttled
	switch faults := fieldErrors(err); {
	case errors.Is(err, identity.ErrWrong):
		view.Errors = map[string]string{"current_password": "That is not your current password."}
		return s.showSecurity(w, r, http.StatusForbidden, v, view)
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", seconds(throttled.RetryAfter))
		view.Errors = map[string]string{"current_password": tooOften(throttled)}
		return s.showSecurity(w, r, http.StatusTooManyRequests, v, view)
	case faults != nil:
		view.Errors = map[string]string{"new_password": faults["password"]}
		return s.showSecurity(w, r, http.StatusBadRequest, v, view)
	case err != nil:
		return err
	}
	// A new id after a change of what the session rests on.
	user, err := s.store.UserByID(storage.System(r.Context()), v.user.ID)
	if err != nil {
		return err
	}
	if v, err = s.startSessionBy(w, r, v, user, "password", func(context.Context) error { return nil }); err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, "Your password is changed. Every other browser is signed out."); err != nil {
		return err
	}
	return redirect(w, "/settings/security")
}

// personal is a context in which the visitor speaks for themselves, and their personal workspace, which what is theirs
// alone is noted in.
func (s *accountPages) personal(r *http.Request, v *visitor) (context.Context, string, error) {
	w, err := s.store.PersonalWorkspace(storage.System(r.Context()), v.user.ID)
	if err != nil {
		return nil, "", err
	}
	return storage.Tenant(r.Context(), v.user.ID, w.ID), w.ID, nil
}

// endOneSession serves POST /settings/security/sessions/{id}/end.
func (s *accountPages) endOneSession(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id := r.PathValue("id")
	if id == v.row.ID {
		if err := s.endSession(w, r, v); err != nil {
			return err
		}
		return redirect(w, "/login")
	}
	own, personalID, err := s.personal(r, v)
	if err != nil {
		return err
	}
	err = s.store.InTx(own, func(ctx context.Context) error {
		if err := s.store.EndSession(ctx, v.user.ID, id); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "session.ended", WorkspaceID: personalID, Target: id}, "")
	})
	if err != nil {
		return err
	}
	if err := s.setNotice(w, r, v, "That browser is signed out."); err != nil {
		return err
	}
	return redirect(w, "/settings/security")
}

// endOtherSessions serves POST /settings/security/sessions/end-others.
func (s *accountPages) endOtherSessions(w http.ResponseWriter, r *http.Request, v *visitor) error {
	own, personalID, err := s.personal(r, v)
	if err != nil {
		return err
	}
	var n int64
	err = s.store.InTx(own, func(ctx context.Context) (err error) {
		if n, err = s.store.EndOtherSessions(ctx, v.user.ID, v.row.ID); err != nil || n == 0 {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action: "session.others_ended", WorkspaceID: personalID, Target: v.user.ID, Detail: map[string]string{"sessions": strconv.FormatInt(n, 10)},
		}, "")
	})
	if err != nil {
		return err
	}
	text := "Every other browser is signed out."
	if n == 0 {
		text = "No other browser was signed in."
	}
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, "/settings/security")
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
	browser := pick([2]string{"Edg", "Edge"}, [2]string{"OPR/", "Opera"}, [2]string{"SamsungBrowser", "Samsung Internet"}, [2]string{"Firefox/", "Firefox"},
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

// confirmEndSession serves GET /settings/security/sessions/{id}/end and …/end-others.
func (s *accountPages) confirmEndSession(w http.ResponseWriter, r *http.Request, v *visitor) error {
	list, err := s.sessionsOf(r, v)
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.page(v, templates.SectionSecurity), Title: "Sign out everywhere else?", Button: "Sign out everywhere else", CancelURL: "/settings/security",
		Stays: "This browser stays signed in, and apps that you have allowed keep their access.",
	}
	id := r.PathValue("id")
	if id == v.row.ID {
		return redirect(w, "/logout")
	}
	list = slices.DeleteFunc(list, func(x storage.Session) bool { return x.ID == v.row.ID || id != "" && x.ID != id })
	if id != "" {
		if len(list) == 0 {
			return notFound()
		}
		view.Title, view.Button = "Sign that browser out?", "Sign out"
	}
	for _, x := range list {
		name := browserName(x.UserAgent)
		if name == "" {
			name = "An unknown browser"
		}
		view.Ends = append(view.Ends, name+", "+x.Address+", last active on "+x.SeenAt.Time().UTC().Format("2 January 2006 at 15:04 UTC")+".")
	}
	if len(list) == 0 {
		view.Ends = []string{"No other browser is signed in."}
	}
	return s.askFirst(w, r, view)
}
