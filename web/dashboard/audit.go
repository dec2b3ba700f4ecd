package dashboard

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
	"doorward/web/page"
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
	{"grant.", "App access revoked", false},
	{"invitation.", "Invitations", false},
	{"member.", "Members", false},
	{"workspace.", "The workspace", false},
	{"access.", "App access I revoked", true},
	{"personal_access_token.", "Personal access tokens", true},
	{"login.", "Sign-ins", true},
	{"session.", "Browsers signed out", true},
	{"user.", "The account", true},
}

// AuditPage serves GET /settings/workspaces/{slug}/audit.
func (s *Workspaces) AuditPage(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	query := url.Values{}
	for _, name := range []string{"what", "who", "from", "to", "after"} {
		if value := page.Clean(r.URL.Query().Get(name), 64); value != "" {
			query.Set(name, value)
		}
	}
	view := templates.AuditView{
		Page: head, Workspace: workspaceBar(ws, all, templates.TabAudit), From: query.Get("from"), To: query.Get("to"),
	}
	f := storage.AuditFilter{WorkspaceID: ws.ID, After: query.Get("after"), Limit: page.ListLength + 1}
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
	names := s.NamesIn(ws)
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
			status, view.Errors[name] = http.StatusBadRequest, "Enter a date such as "+s.Now().UTC().Format(time.DateOnly)+"."
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
	base := page.WorkspacePath(ws) + "/" + templates.TabAudit
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
	if len(events) > page.ListLength {
		events = events[:page.ListLength]
		view.NextURL = link(events[len(events)-1].ID)
	}
	if view.Days, err = s.auditDays(r.Context(), names, events); err != nil {
		return err
	}
	return s.Render(w, r, status, view.Nonce, templates.AuditPage(view))
}

// auditPeople are the people whose doings can be asked for: the members, and the one who is chosen.
func (s *Workspaces) auditPeople(ctx context.Context, names *page.Names, chosen string) ([]templates.Option, error) {
	members, err := s.store.Members(storage.System(ctx), names.Workspace.ID, "", management.MaxMembers)
	if err != nil {
		return nil, err
	}
	list := []templates.Option{{Text: "Everyone", Selected: chosen == ""}}
	for _, m := range members {
		if m.Name == "" {
			m.Name = m.Email
		}
		list = append(list, templates.Option{Value: m.UserID, Text: m.Name, Selected: m.UserID == chosen})
	}
	if chosen != "" && !slices.ContainsFunc(list, func(o templates.Option) bool { return o.Selected }) {
		list = append(list, templates.Option{Value: chosen, Text: "Not a member", Selected: true})
	}
	return list, nil
}

// auditEvents reads events, and learns the names of what they are about.
func (s *Workspaces) auditEvents(
	ctx context.Context, by management.Authority, names *page.Names, f storage.AuditFilter,
) (events []storage.AuditEvent, err error) {
	err = s.readAs(ctx, by, func(ctx context.Context) (err error) {
		if events, err = s.store.AuditEvents(ctx, f); err != nil {
			return err
		}
		for _, e := range events {
			ids := append(slices.Collect(maps.Values(e.Detail)), e.Target, e.KeyID, e.ClientID)
			if err := names.Learn(ctx, ids...); err != nil {
				return err
			}
		}
		return nil
	})
	return events, err
}

// auditDays puts events into words, each under its day.
func (s *Workspaces) auditDays(
	ctx context.Context, names *page.Names, events []storage.AuditEvent,
) (days []templates.AuditDay, err error) {
	for _, e := range events {
		at := e.CreatedAt.Time().UTC()
		if day := at.Truncate(24 * time.Hour); len(days) == 0 || !days[len(days)-1].Day.Equal(day) {
			days = append(days, templates.AuditDay{Day: day})
		}
		row := templates.AuditRow{
			ID: e.ID, At: at, Action: e.Action, With: e.Credential, Address: e.Address, Request: e.RequestID,
		}
		of := func(id string) (n templates.Named) {
			n, found := names.Of(ctx, id)
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
				value.Text = cmp.Or(page.DurationText(d), "none")
			}
			if value.Text != "" {
				row.Facts = append(row.Facts, templates.Fact{Name: name, Value: value.Text})
			}
		}
		days[len(days)-1].Events = append(days[len(days)-1].Events, row)
	}
	return days, err
}
