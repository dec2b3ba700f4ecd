package web

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/oauth/input"
	"doorward/oauth/redirecturi"
	"doorward/storage"
	"doorward/templates"
)

// joined is all that fieldErrors found, as one text.
func joined(faults map[string]string) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, faults[field])
	}
	return strings.Join(all, " ")
}

// held is why something that is stopped cannot be started by whoever looks at it; empty: they can.
func held(err error) string {
	var no *management.Forbidden
	if errors.As(err, &no) {
		return no.Message
	}
	return ""
}

// fieldErrors turns what is wrong with a form into a sentence for each field; nil when err is about something else.
func fieldErrors(err error) map[string]string {
	faults := map[string]string{}
	add := func(field, message string) {
		if faults[field] != "" {
			message = faults[field] + " " + message
		}
		faults[field] = message
	}
	for _, e := range input.Flatten(err) {
		var person *identity.Invalid
		var app *input.Invalid
		switch {
		case errors.As(e, &person):
			add(person.Field, sentence(person.Message))
		case errors.As(e, &app):
			add(app.Field, sentence(fieldLabels[app.Field]+" "+app.Message))
		default:
			return nil
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// fieldLabels are what the sentences of oauth.Invalid begin with.
var fieldLabels = map[string]string{
	"name": "The name", "site": "The web site", "redirect_uris": "The redirect URIs:", "scope": "The scope", "resource": "The API", "grant": "The grant",
	"kind": "The kind", "pkce": "PKCE", "grace": "The time", "note": "The note", "environment": "The environment", "expires": "The end", "role": "The role",
	"plan": "The plan", "rate limit": "The limit", "addresses": "The addresses:", "key": "It", "slug": "The slug", "email": "That",
}

func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// seconds is a wait for Retry-After: whole seconds, at least one.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// lasting says how long something lasts, in the two largest units that it has, rounded down: it is a promise.
func lasting(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		n := d / unit.length
		d %= unit.length
		if n > 0 && len(parts) < 2 {
			text := strconv.FormatInt(int64(n), 10) + " " + unit.name
			if n > 1 {
				text += "s"
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}

// profilePage serves GET /settings/profile.
func (s *Server) profilePage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionProfile)
	if err != nil {
		return err
	}
	return s.showProfile(w, r, http.StatusOK, v, templates.ProfileView{Page: page, Name: v.user.Name})
}

func (s *Server) showProfile(w http.ResponseWriter, r *http.Request, status int, v *visitor, view templates.ProfileView) error {
	view.Email, view.UserID, view.MemberSince = v.user.Email, v.user.ID, v.user.CreatedAt.Time()
	return s.render(w, r, status, view.Nonce, templates.ProfilePage(view))
}

// profile serves POST /settings/profile.
func (s *Server) profile(w http.ResponseWriter, r *http.Request, v *visitor) error {
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
func (s *Server) securityPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionSecurity)
	if err != nil {
		return err
	}
	return s.showSecurity(w, r, http.StatusOK, v, templates.SecurityView{Page: page})
}

func (s *Server) showSecurity(w http.ResponseWriter, r *http.Request, status int, v *visitor, view templates.SecurityView) error {
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

func (s *Server) sessionsOf(r *http.Request, v *visitor) (list []storage.Session, err error) {
	ctx := storage.Tenant(r.Context(), v.user.ID, "")
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		list, err = s.store.SessionsOf(ctx, v.user.ID, sessionIdle)
		return err
	})
	return list, err
}

// changePassword serves POST /settings/security/password. All other browsers are signed out by it.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, v *visitor) error {
	form := r.PostForm
	// It starts a session of its own: counted before anything is done, and apart from what can be done without the password.
	if err := s.management.TakeSignIn(r.Context(), v.user.ID); err != nil {
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
func (s *Server) personal(r *http.Request, v *visitor) (context.Context, string, error) {
	w, err := s.store.PersonalWorkspace(storage.System(r.Context()), v.user.ID)
	if err != nil {
		return nil, "", err
	}
	return storage.Tenant(r.Context(), v.user.ID, w.ID), w.ID, nil
}

// endOneSession serves POST /settings/security/sessions/{id}/end.
func (s *Server) endOneSession(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id := r.PathValue("id")
	if id == v.row.ID {
		return s.logout(w, r)
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
func (s *Server) endOtherSessions(w http.ResponseWriter, r *http.Request, v *visitor) error {
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

// connectedAppsPage serves GET /settings/connected-apps: what this person has allowed whom.
func (s *Server) connectedAppsPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionConnectedApps)
	if err != nil {
		return err
	}
	apps, err := s.connectedApps(r, v)
	if err != nil {
		return err
	}
	view := templates.ConnectedAppsView{Page: page, Apps: apps}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.ConnectedAppsPage(view))
}

// connectedApps lists each app that the person allowed something, or that holds tokens of theirs without having asked.
func (s *Server) connectedApps(r *http.Request, v *visitor) ([]templates.ConnectedApp, error) {
	tenant := storage.Tenant(r.Context(), v.user.ID, "")
	consents, err := s.store.ConsentsOf(tenant, v.user.ID)
	if err != nil {
		return nil, err
	}
	grants, err := s.store.LiveGrantsOf(storage.System(r.Context()), v.user.ID) // tenants read no tokens
	if err != nil {
		return nil, err
	}
	workspaces, err := s.store.WorkspacesOf(storage.System(r.Context()), v.user.ID)
	if err != nil {
		return nil, err
	}
	apps := map[string]*templates.ConnectedApp{}
	var order []string
	add := func(clientID, resource, workspaceID string, scopes []string, since time.Time) *templates.ConnectedApp {
		app, ok := apps[clientID]
		if !ok {
			app = &templates.ConnectedApp{ID: clientID, Since: since}
			apps[clientID] = app
			order = append(order, clientID)
		}
		if since.Before(app.Since) {
			app.Since = since
		}
		where := s.accessTo(resource, workspaceID, workspaces)
		i := slices.IndexFunc(app.Access, func(x templates.ConnectedAccess) bool {
			return x.Resource == where.Resource && x.Workspace == where.Workspace
		})
		if i < 0 {
			i = len(app.Access)
			app.Access = append(app.Access, where)
		}
		for _, name := range scopes {
			if text := s.scopeSentence(resource, name); !slices.Contains(app.Access[i].Scopes, text) {
				app.Access[i].Scopes = append(app.Access[i].Scopes, text)
			}
		}
		return app
	}
	for _, c := range consents {
		add(c.ClientID, c.Resource, c.WorkspaceID, c.Scopes, c.CreatedAt.Time())
	}
	for _, g := range grants {
		app := add(g.ClientID, g.Resource, g.WorkspaceID, g.Scopes, g.CreatedAt.Time())
		app.Live++
		if used := g.LastUsedAt.Time(); used.After(app.LastUsed) {
			app.LastUsed = used
		}
	}
	var list []templates.ConnectedApp
	for _, id := range order {
		app := apps[id]
		c, err := s.store.ClientByID(storage.System(r.Context()), id)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		app.Name, app.Site, app.Disabled, app.Verified = c.Name, c.Site, !c.DisabledAt.IsZero(), c.Verified
		app.FirstParty, app.Operator = c.FirstParty, management.RegisteredByOperator(&c)
		if len(c.RedirectURIs) > 0 {
			app.Host, _ = redirecturi.Host(c.RedirectURIs[0])
		}
		list = append(list, *app)
	}
	return list, nil
}

// accessTo names an API, and the workspace where the person has several.
func (s *Server) accessTo(resource, workspaceID string, workspaces []storage.Workspace) templates.ConnectedAccess {
	x := templates.ConnectedAccess{Resource: resource}
	if r, ok := s.catalog.Resource(resource); ok {
		x.Resource = r.Name
	}
	if len(workspaces) > 1 {
		for _, ws := range workspaces {
			if ws.ID == workspaceID {
				x.Workspace = ws.Name
			}
		}
	}
	return x
}

func (s *Server) scopeSentence(resource, name string) string {
	if r, ok := s.catalog.Resource(resource); ok {
		if x, ok := r.Scope(name); ok {
			return scopeText(x)
		}
	}
	return name
}

// endAccess serves POST /settings/connected-apps/{id}/end, and without an id, /settings/connected-apps/end-all. It takes
// effect before it returns: access and refresh tokens find their grant revoked.
func (s *Server) endAccess(w http.ResponseWriter, r *http.Request, v *visitor) error {
	id, all := r.PathValue("id"), strings.HasSuffix(r.URL.Path, "/end-all")
	if id == "" && !all {
		return notFound()
	}
	own, personalID, err := s.personal(r, v)
	if err != nil {
		return err
	}
	if err := s.management.EndAccess(own, v.user.ID, personalID, id); err != nil {
		return err
	}
	text := "Access is ended. What the app holds no longer works."
	if all {
		text = "Access of all apps is ended. What they hold no longer works."
	}
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, "/settings/connected-apps")
}
