package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/templates"
)

// confirmed serves act to the form of a confirmation page, and ask, which is that page, to any other form: it changes
// nothing, and is refused to those whom act would refuse.
func confirmed(ask, act memberHandler) memberHandler {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		// The name of a key, typed, is as good; revokeKey compares it.
		typed := strings.HasSuffix(r.URL.Path, "/revoke") && r.PostForm.Has("confirm")
		if r.PostForm.Get("confirmed") != "yes" && !typed {
			return ask(w, r, v)
		}
		for end, undo := range map[string]string{"/disable": "/enable", "/pause": "/resume"} {
			if base, ok := strings.CutSuffix(r.URL.EscapedPath(), end); ok {
				v.session.Values[valueUndo] = base + undo // kept with the notice of what was done
			}
		}
		return act(w, r, v)
	}
}

func (s *Server) askFirst(w http.ResponseWriter, r *http.Request, view templates.ConfirmView) error {
	view.Action = r.URL.EscapedPath()
	return s.render(w, r, http.StatusOK, view.Nonce, templates.ConfirmPage(view))
}

// ending is a sentence about how many of something end, with the first names; empty without any.
func ending(n int, one, many string, names ...string) string {
	const most = 5
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %s", templates.Number(int64(n)), many)
	if n == 1 {
		text = "1 " + one
	}
	if len(names) == 0 {
		return text + "."
	}
	listed := strings.Join(names[:min(most, len(names))], ", ")
	if n > most {
		listed += ", …"
	}
	return text + ": " + listed + "."
}

// sentences leaves out what there is nothing of.
func sentences(list ...string) []string {
	return slices.DeleteFunc(list, func(text string) bool { return text == "" })
}

// appNames are the names of the apps that hold grants, each once.
func (s *Server) appNames(ctx context.Context, grants []storage.Grant) (names []string, err error) {
	var seen []string
	for _, g := range grants {
		if slices.Contains(seen, g.ClientID) {
			continue
		}
		seen = append(seen, g.ClientID)
		c, err := s.store.ClientByID(ctx, g.ClientID)
		if err != nil {
			return nil, err
		}
		names = append(names, c.Name)
	}
	return names, nil
}

// liveKeys are the keys or tokens of an owner that are neither revoked nor expired.
func (s *Server) liveKeys(ctx context.Context, owner storage.KeyOwner, f storage.KeyFilter) (names []string, err error) {
	f.Limit = apikey.MaxKeys
	list, err := s.store.Keys(ctx, owner, f)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if state := s.apikey.State(&list[i]); state != "revoked" && state != "expired" {
			names = append(names, list[i].Name)
		}
	}
	return names, nil
}

// confirmUser serves GET /admin/users/{id}/disable.
func (s *Server) confirmUser(w http.ResponseWriter, r *http.Request, v *visitor) error {
	ctx := storage.System(r.Context())
	u, err := s.store.UserByID(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	sessions, err := s.store.SessionsOf(ctx, u.ID, sessionIdle)
	if err != nil {
		return err
	}
	grants, err := s.store.LiveGrantsOf(ctx, u.ID)
	if err != nil {
		return err
	}
	apps, err := s.appNames(ctx, grants)
	if err != nil {
		return err
	}
	tokens, err := s.liveKeys(ctx, storage.KeyOwner{UserID: u.ID}, storage.KeyFilter{})
	if err != nil {
		return err
	}
	list := sentences(
		u.Email+" cannot sign in.",
		ending(len(sessions), "session is signed out", "sessions are signed out"),
		ending(len(apps), "app loses its access", "apps lose their access", apps...),
		ending(len(tokens), "personal access token stops", "personal access tokens stop", tokens...),
	)
	own, err := s.store.WorkspacesStoppedWith(ctx, u.ID)
	if err != nil {
		return err
	}
	var keep []templates.ConfirmChoice
	for _, ws := range own {
		if !ws.DisabledAt.IsZero() {
			continue // it is stopped already
		}
		text, err := s.workspaceEnds(ctx, ws)
		if err != nil {
			return err
		}
		list = append(list, "The workspace "+ws.Name+", of which no other owner is enabled, stops: "+text)
		if !ws.Personal {
			keep = append(keep, templates.ConfirmChoice{Name: "keep", Value: ws.ID, Label: ws.Name, Hint: ws.Slug})
		}
	}
	return s.askFirst(w, r, templates.ConfirmView{
		Page: s.page(v, templates.SectionAdminUsers), Title: "Disable " + u.Email + "?", Ends: list, Button: "Disable the user", CancelURL: "/admin/users",
		Stays:       "Nothing is deleted. You can enable the user again; sessions and the access of apps do not come back.",
		ChoicesText: "Shared workspaces that go on working without an enabled owner", Choices: keep,
	})
}

// workspaceEnds counts what stops with a workspace.
func (s *Server) workspaceEnds(ctx context.Context, ws storage.Workspace) (string, error) {
	keys, err := s.liveKeys(ctx, storage.KeyOwner{WorkspaceID: ws.ID}, storage.KeyFilter{})
	if err != nil {
		return "", err
	}
	apps, err := s.store.ClientsOfWorkspace(ctx, ws.ID)
	if err != nil {
		return "", err
	}
	names := make([]string, len(apps))
	for i, c := range apps {
		names[i] = c.Name
	}
	text := strings.Join(sentences(ending(len(keys), "API key", "API keys", keys...), ending(len(apps), "app", "apps", names...)), " ")
	if text == "" {
		text = "it has no API keys and no apps."
	}
	return text, nil
}

// confirmWorkspace serves GET /admin/workspaces/{id}/disable.
func (s *Server) confirmWorkspace(w http.ResponseWriter, r *http.Request, v *visitor) error {
	ctx := storage.System(r.Context())
	ws, err := s.store.WorkspaceByID(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	text, err := s.workspaceEnds(ctx, ws)
	if err != nil {
		return err
	}
	members, err := s.store.Members(ctx, ws.ID, "", management.MaxMembers)
	if err != nil {
		return err
	}
	return s.askFirst(w, r, templates.ConfirmView{
		Page: s.page(v, templates.SectionAdminWorkspaces), Title: "Disable " + ws.Name + "?", Button: "Disable the workspace", CancelURL: "/admin/workspaces",
		Ends:  sentences("What acts in the workspace stops: "+text, ending(len(members), "member can do nothing in it", "members can do nothing in it")),
		Stays: "Nothing is deleted. What is still valid when you enable the workspace works again.",
	})
}

// confirmApp serves GET …/apps/{id}/disable.
func (s *Server) confirmApp(w http.ResponseWriter, r *http.Request, v *visitor, at appPlace) error {
	var c storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
	if err != nil {
		return err
	}
	return s.askFirst(w, r, templates.ConfirmView{
		Page: s.page(v, at.section), Workspace: at.bar, Title: "Disable " + c.Name + "?", Button: "Disable the app", CancelURL: base,
		Ends: sentences(
			"The app can sign nobody in and gets no tokens, and the tokens that it has stop.",
			ending(int(n), "person has allowed it", "people have allowed it"),
			ending(len(c.Secrets), "client secret stops", "client secrets stop"),
		),
		Stays: "Nothing is deleted. What is still valid when the app is enabled works again.",
	})
}

// confirmMember serves GET …/members/{id}/remove.
func (s *Server) confirmMember(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	id := r.PathValue("id")
	if id == v.user.ID {
		return redirect(w, workspacePath(ws)+"/leave")
	}
	if err := by.May(management.MayManageMembers); err != nil {
		return err
	}
	return s.askMember(w, r, v, ws, all, id, false)
}

// confirmLeave serves GET /settings/workspaces/{slug}/leave.
func (s *Server) confirmLeave(w http.ResponseWriter, r *http.Request, v *visitor, _ management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	return s.askMember(w, r, v, ws, all, v.user.ID, true)
}

func (s *Server) askMember(w http.ResponseWriter, r *http.Request, v *visitor, ws storage.Workspace, all []storage.Workspace, userID string, self bool) error {
	ctx := storage.System(r.Context())
	members, err := s.store.Members(ctx, ws.ID, "", management.MaxMembers)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m storage.Member) bool { return m.UserID == userID })
	if i < 0 {
		return notFound()
	}
	grants, err := s.store.LiveGrantsOf(ctx, userID)
	if err != nil {
		return err
	}
	apps, err := s.appNames(ctx, slices.DeleteFunc(grants, func(g storage.Grant) bool { return g.WorkspaceID != ws.ID }))
	if err != nil {
		return err
	}
	tokens, err := s.liveKeys(ctx, storage.KeyOwner{UserID: userID}, storage.KeyFilter{})
	if err != nil {
		return err
	}
	keys, err := s.liveKeys(ctx, storage.KeyOwner{WorkspaceID: ws.ID}, storage.KeyFilter{CreatedBy: userID})
	if err != nil {
		return err
	}
	m := members[i]
	view := templates.ConfirmView{
		Page: s.page(v, templates.SectionWorkspaces), Workspace: workspaceBar(ws, all, templates.TabMembers),
		Title: "Remove " + m.Email + "?", Button: "Remove the member", CancelURL: workspacePath(ws) + "/" + templates.TabMembers,
		Stays: "To bring them back, invite them again; the access of apps does not come back.",
	}
	first := m.Email + " is no longer " + aRole(m.Role) + " of " + ws.Name + "."
	if self {
		view.Title, view.Button, view.CancelURL = "Leave "+ws.Name+"?", "Leave the workspace", workspacePath(ws)
		view.Workspace.Tab = templates.TabSettings
		view.Stays, first = "To come back, you need an invitation.", "You are no longer "+aRole(m.Role)+" of "+ws.Name+"."
	}
	view.Ends = sentences(first,
		ending(len(apps), "app loses its access here", "apps lose their access here", apps...),
		ending(len(tokens), "personal access token no longer reaches it", "personal access tokens no longer reach it", tokens...),
	)
	if text := ending(len(keys), "API key", "API keys", keys...); text != "" {
		view.Stays += " What they created stays and works on: " + text
	}
	return s.askFirst(w, r, view)
}

func aRole(role string) string {
	if strings.HasPrefix(role, "a") || strings.HasPrefix(role, "o") {
		return "an " + role
	}
	return "a " + role
}

// confirmWithdrawal serves GET …/invitations/{id}/withdraw.
func (s *Server) confirmWithdrawal(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	if err := by.May(management.MayManageMembers); err != nil {
		return err
	}
	open, err := s.store.InvitationsOf(storage.System(r.Context()), ws.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(open, func(i storage.Invitation) bool { return i.ID == r.PathValue("id") })
	if i < 0 {
		return notFound()
	}
	return s.askFirst(w, r, templates.ConfirmView{
		Page: s.page(v, templates.SectionWorkspaces), Workspace: workspaceBar(ws, all, templates.TabMembers),
		Title: "Withdraw the invitation of " + open[i].Email + "?", Button: "Withdraw the invitation", CancelURL: workspacePath(ws) + "/" + templates.TabMembers,
		Ends:  []string{"The link with which " + open[i].Email + " joins as " + aRole(open[i].Role) + " stops working."},
		Stays: "You can invite them again, with a new link.",
	})
}

// confirmKey serves GET …/{id}/revoke and …/pause of a key or token. A live key is revoked on its own page, where its name
// has to be typed.
func (s *Server) confirmKey(w http.ResponseWriter, r *http.Request, p keyPlace) error {
	k, err := s.key(r, &p)
	if err != nil {
		return err
	}
	page := p.base + "/" + k.ID
	pause := strings.HasSuffix(r.URL.Path, "/pause")
	if !pause && k.Environment == apikey.Live {
		return redirect(w, page+"#h-end")
	}
	s.writeUses(r.Context())
	var n int64
	err = s.readUsage(r.Context(), &p, func(ctx context.Context, ids []string) (err error) { n, err = s.lately(ctx, k.ID, ids); return err })
	if err != nil {
		return err
	}
	used := "It was never used."
	if !k.LastUsedAt.IsZero() {
		used = fmt.Sprintf("Requests with it in the last 24 hours: %s. It was last used on %s", templates.Number(n), k.LastUsedAt.Time().UTC().Format("2 January 2006 at 15:04 UTC"))
		if k.LastUsedFrom != "" {
			used += " from " + k.LastUsedFrom
		}
		used += "."
	}
	view := templates.ConfirmView{
		Page: s.page(p.v, p.section()), Workspace: p.view().Workspace, Title: "Revoke " + k.Name + "?", Button: "Revoke", CancelURL: page,
		Ends: []string{"Requests with " + masked(&k) + " are refused, at once and for good.", used}, Stays: "This cannot be undone.",
	}
	if pause {
		view.Title, view.Button, view.Stays = "Pause "+k.Name+"?", "Pause", "You can resume it at any time."
		view.Ends[0] = "Requests with " + masked(&k) + " are refused until you resume it."
	}
	return s.askFirst(w, r, view)
}

// confirmEndAccess serves GET /settings/connected-apps/{id}/end and …/end-all.
func (s *Server) confirmEndAccess(w http.ResponseWriter, r *http.Request, v *visitor) error {
	apps, err := s.connectedApps(r, v)
	if err != nil {
		return err
	}
	view := templates.ConfirmView{
		Page: s.page(v, templates.SectionConnectedApps), Title: "End access for all apps?", Button: "End access for all apps", CancelURL: "/settings/connected-apps",
		Stays: "An app gets access again only when you allow it again.",
	}
	if id := r.PathValue("id"); id != "" {
		apps = slices.DeleteFunc(apps, func(a templates.ConnectedApp) bool { return a.ID != id })
		if len(apps) == 0 {
			return notFound()
		}
		view.Title, view.Button = "End the access of "+apps[0].Name+"?", "End access"
	}
	for _, a := range apps {
		text := a.Name + " can no longer act for you"
		if a.Live > 0 {
			text += ": " + strings.TrimSuffix(ending(a.Live, "connection ends", "connections end"), ".")
		}
		view.Ends = append(view.Ends, text+".")
	}
	if len(apps) == 0 {
		view.Ends = []string{"No app has access now."}
	}
	return s.askFirst(w, r, view)
}

// confirmEndSession serves GET /settings/security/sessions/{id}/end and …/end-others.
func (s *Server) confirmEndSession(w http.ResponseWriter, r *http.Request, v *visitor) error {
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
