package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// auditGroups are the choices for what events are about, by the prefix of their actions. Events about an account are
// recorded in its personal workspace only.
var auditGroups = []struct {
	prefix, text string
	personal     bool
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
	{"signing_key.", "Signing keys", true},
}

// AuditPage serves GET /settings/workspaces/{slug}/audit.
func (s *Workspaces) AuditPage(w http.ResponseWriter, r *http.Request, p place) error {
	head, err := s.PageWithNotice(w, r, p.v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	view := templates.AuditView{Page: head, Workspace: p.bar(templates.TabAudit)}
	q := s.workspaceAudit(r, p.ws, &view)
	names := s.NamesIn(p.ws)
	if view.Who, err = s.auditPeople(r.Context(), names, q.filter.UserID); err != nil {
		return err
	}
	if err := s.showAudit(r, q, &view, names, p.tenant); err != nil {
		return err
	}
	return s.Render(w, r, q.status(), view.Nonce, templates.AuditPage(view))
}

// AuditCSV serves GET /settings/workspaces/{slug}/audit.csv: every event that matches the page's filter.
func (s *Workspaces) AuditCSV(w http.ResponseWriter, r *http.Request, p place) error {
	view := templates.AuditView{}
	q := s.workspaceAudit(r, p.ws, &view)
	return s.auditFile(w, r, q, s.NamesIn(p.ws), "audit-"+p.ws.Slug+".csv", p.tenant)
}

// auditQuery says which events an audit page is asked for.
type auditQuery struct {
	filter storage.AuditFilter
	base   string            // path of the page
	query  url.Values        // of the filter, for links
	faults map[string]string // by field
}

func (q *auditQuery) status() int {
	if len(q.faults) > 0 {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// link returns a link to the page, or with the end ".csv" to its file, starting after an event; empty: at the newest.
func (q *auditQuery) link(end, after string) string {
	query := maps.Clone(q.query)
	if after != "" {
		query.Set("after", after)
	}
	return strings.TrimSuffix(q.base+end+"?"+query.Encode(), "?")
}

// workspaceAudit reads the query of the audit page of a workspace, and fills in its form.
func (s *Workspaces) workspaceAudit(r *http.Request, ws storage.Workspace, view *templates.AuditView) *auditQuery {
	q := s.readAudit(r, page.WorkspacePath(ws)+"/"+templates.TabAudit, view, ws.Personal, "who")
	q.filter.WorkspaceID = ws.ID
	if storage.IsID("user", q.query.Get("who")) {
		q.filter.UserID = q.query.Get("who")
	}
	return q
}

// readAudit reads the parts of the filter that all audit pages have. Links keep the further fields too.
func (s *Workspaces) readAudit(
	r *http.Request, base string, view *templates.AuditView, personal bool, further ...string,
) *auditQuery {
	q := &auditQuery{base: base, query: url.Values{}, faults: map[string]string{}}
	sent := r.URL.Query()
	for _, name := range append([]string{"what", "from", "to"}, further...) {
		if value := strings.TrimSpace(page.Clean(sent.Get(name), 320)); value != "" {
			q.query.Set(name, value)
		}
	}
	q.filter.After = page.Clean(sent.Get("after"), 64)
	for _, g := range auditGroups {
		if g.personal && !personal {
			continue
		}
		chosen := g.prefix == q.query.Get("what")
		if chosen {
			q.filter.Action = g.prefix
		}
		view.What = append(view.What, templates.Option{Value: g.prefix, Text: g.text, Selected: chosen})
	}
	readDay := func(name string, end time.Duration) storage.Time {
		if q.query.Get(name) == "" {
			return 0
		}
		day, err := time.Parse(time.DateOnly, q.query.Get(name))
		if err != nil {
			q.faults[name] = "Enter a date such as " + s.Now().UTC().Format(time.DateOnly) + "."
			return 0
		}
		return storage.At(day.Add(end))
	}
	q.filter.Since, q.filter.Until = readDay("from", 0), readDay("to", 24*time.Hour)
	view.Base, view.From, view.To = base, q.query.Get("from"), q.query.Get("to")
	return q
}

// asReader returns a context that may read the events: storage.System, or that of a tenant.
type asReader func(ctx context.Context) context.Context

// showAudit fills a page with the events that it is asked for.
func (s *Workspaces) showAudit(
	r *http.Request, q *auditQuery, view *templates.AuditView, names *page.Names, as asReader,
) (err error) {
	f := q.filter
	view.Errors = q.faults
	view.Filtered = f.Action != "" || f.UserID != "" || f.Since != 0 || f.Until != 0
	var events []storage.AuditEvent
	if len(q.faults) == 0 {
		f.Limit = page.ListLength + 1
		if events, err = s.auditEvents(as(r.Context()), names, f); err != nil {
			return err
		}
	}
	view.CSVURL = q.link(".csv", "")
	if f.After != "" {
		view.PrevURL = q.link("", "")
	}
	if len(events) > page.ListLength {
		events = events[:page.ListLength]
		view.NextURL = q.link("", events[len(events)-1].ID)
	}
	view.Days, err = s.auditDays(r.Context(), names, events)
	return err
}

// auditFile answers with the events that match a filter as a CSV file, the newest first.
func (s *Workspaces) auditFile(
	w http.ResponseWriter, r *http.Request, q *auditQuery, names *page.Names, name string, as asReader,
) error {
	for _, field := range slices.Sorted(maps.Keys(q.faults)) {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: "Invalid filter", Message: q.faults[field],
			BackURL: q.base, BackText: "Back to the list",
		}
	}
	f := q.filter
	f.After, f.Limit = "", page.MaxCSVRows+1
	var events []storage.AuditEvent
	err := s.store.InTx(as(r.Context()), func(ctx context.Context) (err error) {
		events, err = s.store.AuditEvents(ctx, f)
		return err
	})
	if err == nil && len(events) > page.MaxCSVRows {
		err = page.TooManyRows()
	}
	if err != nil {
		return err
	}
	file := page.NewCSV("time", "event_id", "action", "workspace_id", "user_id", "user", "credential_type", "key_id",
		"client_id", "target", "address", "request_id", "detail")
	for _, e := range events {
		who, err := names.Of(r.Context(), e.UserID)
		if err != nil {
			return err
		}
		detail := ""
		if len(e.Detail) > 0 {
			text, _ := json.Marshal(e.Detail) // strings, which cannot fail
			detail = string(text)
		}
		if err := file.Add(page.CSVTime(e.CreatedAt.Time()), e.ID, e.Action, e.WorkspaceID, e.UserID, who.Text,
			e.Credential, e.KeyID, e.ClientID, e.Target, e.Address, e.RequestID, detail); err != nil {
			return err
		}
	}
	return file.Serve(w, name)
}

// auditPeople are the choices for whose events are shown: the members, and the chosen user even if they are not a
// member.
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

// auditEvents reads events, and looks up the names of the keys and apps in them.
func (s *Workspaces) auditEvents(
	ctx context.Context, names *page.Names, f storage.AuditFilter,
) (events []storage.AuditEvent, err error) {
	err = s.store.InTx(ctx, func(ctx context.Context) (err error) {
		if events, err = s.store.AuditEvents(ctx, f); err != nil {
			return err
		}
		for _, e := range events {
			ids := append(slices.Collect(maps.Values(e.Detail)), e.Target, e.KeyID, e.ClientID)
			if names.Workspace.ID == "" {
				continue // administrators see the ids of keys, not their names
			}
			if err := names.Learn(ctx, ids...); err != nil {
				return err
			}
		}
		return nil
	})
	return events, err
}

// auditDays groups events by day (UTC), and replaces the ids in them by names.
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
		if names.Workspace.ID == "" {
			row.Workspace = of(e.WorkspaceID)
		}
		for _, name := range slices.Sorted(maps.Keys(e.Detail)) {
			value := of(e.Detail[name])
			if name == "grace" {
				value.Text = graceText(value.Text)
			}
			if value.Text != "" {
				row.Facts = append(row.Facts, templates.Fact{Name: name, Value: value.Text})
			}
		}
		days[len(days)-1].Events = append(days[len(days)-1].Events, row)
	}
	return days, err
}

// graceText is a grace period in words, given as the audit log records it, such as 24h0m0s.
func graceText(recorded string) string {
	d, err := input.ParseDuration(recorded)
	switch {
	case err != nil:
		return recorded
	case d == 0:
		return "none"
	}
	return input.DurationInWords(d)
}
