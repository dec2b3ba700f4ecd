package web

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"doorward/management"
	"doorward/storage"
	"doorward/templates"
)

// auditGroups are what events can be about: how their actions begin, in words. What is the account's own is noted in
// personal workspaces only.
var auditGroups = []struct {
	begin, text string
	personal    bool
}{
	{"", "Everything", false},
	{"api_key.", "API keys", false},
	{"app.", "Apps", false},
	{"consent.", "Apps allowed and denied", false},
	{"grant.", "Apps whose access was revoked", false},
	{"invitation.", "Invitations", false},
	{"member.", "Members", false},
	{"workspace.", "The workspace", false},
	{"access.", "Apps whose access I ended", true},
	{"personal_access_token.", "Personal access tokens", true},
	{"login.", "Signing in", true},
	{"session.", "Browsers signed out", true},
	{"user.", "The account", true},
}

// auditPage serves GET /settings/workspaces/{slug}/audit.
func (s *Server) auditPage(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	page, err := s.settingsPage(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	query := url.Values{}
	for _, name := range []string{"what", "who", "from", "to", "after"} {
		if value := clean(r.URL.Query().Get(name), 64); value != "" {
			query.Set(name, value)
		}
	}
	view := templates.AuditView{Page: page, Workspace: workspaceBar(ws, all, templates.TabAudit), From: query.Get("from"), To: query.Get("to")}
	f := storage.AuditFilter{WorkspaceID: ws.ID, After: query.Get("after"), Limit: listLength + 1}
	for _, g := range auditGroups {
		if g.personal && !ws.Personal {
			continue
		}
		chosen := g.begin == query.Get("what")
		if chosen {
			f.Action = g.begin
		}
		view.What = append(view.What, templates.Option{Value: g.begin, Text: g.text, Selected: chosen})
	}
	names := s.namesIn(ws)
	if storage.IsID("user", query.Get("who")) {
		f.UserID = query.Get("who")
	}
	if view.Who, err = s.auditPeople(r.Context(), names, f.UserID); err != nil {
		return err
	}
	status := http.StatusOK
	view.Errors = map[string]string{}
	readDay := func(name string, end time.Duration) storage.Time {
		if query.Get(name) == "" {
			return 0
		}
		day, err := time.Parse(time.DateOnly, query.Get(name))
		if err != nil {
			status, view.Errors[name] = http.StatusBadRequest, "Write the day like "+s.now().UTC().Format(time.DateOnly)+"."
			return 0
		}
		return storage.At(day.Add(end))
	}
	f.Since, f.Until = readDay("from", 0), readDay("to", 24*time.Hour)
	view.Filtered = f.Action != "" || f.UserID != "" || f.Since != 0 || f.Until != 0

	var events []storage.AuditEvent
	if len(view.Errors) == 0 {
		if events, err = s.auditEvents(r.Context(), by, names, f); err != nil {
			return err
		}
	}
	base := workspacePath(ws) + "/" + templates.TabAudit
	link := func(after string) string {
		query.Del("after")
		if after != "" {
			query.Set("after", after)
		}
		if len(query) == 0 {
			return base
		}
		return base + "?" + query.Encode()
	}
	if f.After != "" {
		view.PrevURL = link("")
	}
	if len(events) > listLength {
		events = events[:listLength]
		view.NextURL = link(events[len(events)-1].ID)
	}
	if view.Days, err = s.auditDays(r.Context(), names, events); err != nil {
		return err
	}
	return s.render(w, r, status, view.Nonce, templates.AuditPage(view))
}

// auditPeople are the people whose doings can be asked for: the members, and the one who is chosen.
func (s *Server) auditPeople(ctx context.Context, names *names, chosen string) ([]templates.Option, error) {
	members, err := s.store.Members(storage.System(ctx), names.ws.ID, "", management.MaxMembers)
	if err != nil {
		return nil, err
	}
	list := []templates.Option{{Text: "Everybody", Selected: chosen == ""}}
	for _, m := range members {
		if m.Name == "" {
			m.Name = m.Email
		}
		list = append(list, templates.Option{Value: m.UserID, Text: m.Name, Selected: m.UserID == chosen})
	}
	if chosen != "" && !slices.ContainsFunc(list, func(o templates.Option) bool { return o.Selected }) {
		list = append(list, templates.Option{Value: chosen, Text: "Somebody who is no member", Selected: true})
	}
	return list, nil
}

// auditEvents reads events, and learns the names of what they are about.
func (s *Server) auditEvents(ctx context.Context, by management.Authority, names *names, f storage.AuditFilter) (events []storage.AuditEvent, err error) {
	err = s.readAs(ctx, by, func(ctx context.Context) (err error) {
		if events, err = s.store.AuditEvents(ctx, f); err != nil {
			return err
		}
		for _, e := range events {
			ids := append(slices.Collect(maps.Values(e.Detail)), e.Target, e.KeyID, e.ClientID)
			if err := names.learn(ctx, ids...); err != nil {
				return err
			}
		}
		return nil
	})
	return events, err
}

// auditDays puts events into words, each under its day.
func (s *Server) auditDays(ctx context.Context, names *names, events []storage.AuditEvent) (days []templates.AuditDay, err error) {
	for _, e := range events {
		at := e.CreatedAt.Time().UTC()
		if day := at.Truncate(24 * time.Hour); len(days) == 0 || !days[len(days)-1].Day.Equal(day) {
			days = append(days, templates.AuditDay{Day: day})
		}
		row := templates.AuditRow{ID: e.ID, At: at, Action: e.Action, With: e.Credential, Address: e.Address, Request: e.RequestID}
		of := func(id string) (n templates.Named) {
			n, found := names.of(ctx, id)
			err = errors.Join(err, found)
			return n
		}
		row.Who, row.Key = of(e.UserID), of(e.KeyID)
		if e.KeyID == "" {
			row.Key = of(e.ClientID)
		}
		if e.Target != e.UserID && e.Target != e.WorkspaceID {
			row.Target = of(e.Target)
		}
		for _, name := range slices.Sorted(maps.Keys(e.Detail)) {
			value := of(e.Detail[name])
			if d, err := time.ParseDuration(value.Text); err == nil && name == "grace" {
				value.Text = cmp.Or(lasting(d), "none")
			}
			if value.Text != "" {
				row.Facts = append(row.Facts, templates.Fact{Name: name, Value: value.Text})
			}
		}
		days[len(days)-1].Events = append(days[len(days)-1].Events, row)
	}
	return days, err
}
