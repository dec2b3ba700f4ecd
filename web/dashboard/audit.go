package dashboard

import (
	"cmp"
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
	{"signing_key.", "Signing keys", true},
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
	view := templates.AuditView{Page: head, Workspace: workspaceBar(ws, all, templates.TabAudit)}
	q := s.workspaceAudit(r, ws, &view)
	names := s.NamesIn(ws)
	if view.Who, err = s.auditPeople(r.Context(), names, q.filter.UserID); err != nil {
		return err
	}
	if err := s.showAudit(r, q, &view, names, func(ctx context.Context, read func(ctx context.Context) error) error {
		return s.readAs(ctx, by, read)
	}); err != nil {
		return err
	}
	return s.Render(w, r, q.status(), view.Nonce, templates.AuditPage(view))
}

// AuditCSV serves GET /settings/workspaces/{slug}/audit.csv: all that the page's filter finds.
func (s *Workspaces) AuditCSV(
	w http.ResponseWriter, r *http.Request, _ *page.Visitor, by management.Authority, ws storage.Workspace,
	_ []storage.Workspace,
) error {
	view := templates.AuditView{}
	q := s.workspaceAudit(r, ws, &view)
	return s.auditFile(w, r, q, s.NamesIn(ws), "audit-"+ws.Slug+".csv", func(ctx context.Context, read func(ctx context.Context) error) error {
		return s.readAs(ctx, by, read)
	})
}

// auditQuery is what an audit page is asked for.
type auditQuery struct {
	filter storage.AuditFilter
	base   string
	query  url.Values // of the filter, for links
	faults map[string]string
}

func (q *auditQuery) status() int {
	if len(q.faults) > 0 {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// link is the page, or its file, from after an event on.
func (q *auditQuery) link(end, after string) string {
	query := maps.Clone(q.query)
	if after != "" {
		query.Set("after", after)
	}
	return strings.TrimSuffix(q.base+end+"?"+query.Encode(), "?")
}

// workspaceAudit reads what the audit page of a workspace is asked for, and fills in its form.
func (s *Workspaces) workspaceAudit(r *http.Request, ws storage.Workspace, view *templates.AuditView) *auditQuery {
	q := s.readAudit(r, page.WorkspacePath(ws)+"/"+templates.TabAudit, view, ws.Personal, "who")
	q.filter.WorkspaceID = ws.ID
	if storage.IsID("user", q.query.Get("who")) {
		q.filter.UserID = q.query.Get("who")
	}
	return q
}

// readAudit reads the parts of a filter that all audit pages have, and keeps further fields by their names.
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
		chosen := g.begin == q.query.Get("what")
		if chosen {
			q.filter.Action = g.begin
		}
		view.What = append(view.What, templates.Option{Value: g.begin, Text: g.text, Selected: chosen})
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

// reader reads in a transaction of somebody who may.
type reader func(ctx context.Context, read func(ctx context.Context) error) error

// showAudit fills a page with the events that it is asked for.
func (s *Workspaces) showAudit(
	r *http.Request, q *auditQuery, view *templates.AuditView, names *page.Names, in reader,
) (err error) {
	f := q.filter
	view.Errors = q.faults
	view.Filtered = f.Action != "" || f.UserID != "" || f.Since != 0 || f.Until != 0
	var events []storage.AuditEvent
	if len(q.faults) == 0 {
		f.Limit = page.ListLength + 1
		if events, err = s.auditEvents(r.Context(), in, names, f); err != nil {
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

// auditFile answers with the events that a filter finds, the newest first.
func (s *Workspaces) auditFile(
	w http.ResponseWriter, r *http.Request, q *auditQuery, names *page.Names, name string, in reader,
) error {
	for _, field := range slices.Sorted(maps.Keys(q.faults)) {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: "The filter has a mistake", Message: q.faults[field],
			BackURL: q.base, BackText: "Back to the list",
		}
	}
	f := q.filter
	f.After, f.Limit = "", page.MaxCSVRows+1
	var events []storage.AuditEvent
	err := in(r.Context(), func(ctx context.Context) (err error) {
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
	ctx context.Context, in reader, names *page.Names, f storage.AuditFilter,
) (events []storage.AuditEvent, err error) {
	err = in(ctx, func(ctx context.Context) (err error) {
		if events, err = s.store.AuditEvents(ctx, f); err != nil {
			return err
		}
		for _, e := range events {
			ids := append(slices.Collect(maps.Values(e.Detail)), e.Target, e.KeyID, e.ClientID)
			if names.Workspace.ID == "" {
				continue // keys are by their ids
			}
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
		if names.Workspace.ID == "" {
			row.Workspace = of(e.WorkspaceID)
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
