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

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// auditPlace is an audit log by its events. Each has those of the ones before it too.
type auditPlace int

// The audit logs.
const (
	inWorkspace auditPlace = iota // of a workspace
	inPersonal                    // of a personal workspace, which also records what happens to the account
	onServer                      // of the server
)

// auditGroups are the choices for what events are about, by the prefix of their actions.
var auditGroups = []struct {
	prefix string
	text   locale.Text
	from   auditPlace // the first that has such events
}{
	{"", locale.New("Everything"), inWorkspace},
	{"api_key.", locale.New("API keys"), inWorkspace},
	{"app.", locale.New("Apps"), inWorkspace},
	{"consent.", locale.New("Apps allowed and denied"), inWorkspace},
	{"grant.", locale.New("App access revoked"), inWorkspace},
	{"invitation.", locale.New("Invitations"), inWorkspace},
	{"member.", locale.New("Members"), inWorkspace},
	{"workspace.", locale.New("The workspace"), inWorkspace},
	{"access.", locale.New("App access I revoked"), inPersonal},
	{"personal_access_token.", locale.New("Personal access tokens"), inPersonal},
	{"login.", locale.New("Sign-ins"), inPersonal},
	{"session.", locale.New("Browsers signed out"), inPersonal},
	{"user.", locale.New("The account"), inPersonal},
	{"signing_key.", locale.New("Signing keys"), onServer},
	{"registration_token.", locale.New("Registration tokens"), onServer},
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
	base   string                 // path of the page
	query  url.Values             // of the filter, for links
	faults map[string]locale.Text // by field
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
	in := inWorkspace
	if ws.Personal {
		in = inPersonal
	}
	q := s.readAudit(r, page.WorkspacePath(ws)+"/"+templates.TabAudit, view, in, "who")
	q.filter.WorkspaceID = ws.ID
	if storage.IsID("user", q.query.Get("who")) {
		q.filter.UserID = q.query.Get("who")
	}
	return q
}

// readAudit reads the parts of the filter that all audit pages have. Links keep the further fields too.
func (s *Workspaces) readAudit(
	r *http.Request, base string, view *templates.AuditView, in auditPlace, further ...string,
) *auditQuery {
	q := &auditQuery{base: base, query: url.Values{}, faults: map[string]locale.Text{}}
	sent := r.URL.Query()
	for _, name := range append([]string{"what", "from", "to"}, further...) {
		if value := strings.TrimSpace(page.Clean(sent.Get(name), 320)); value != "" {
			q.query.Set(name, value)
		}
	}
	q.filter.After = page.Clean(sent.Get("after"), 64)
	for _, g := range auditGroups {
		if g.from > in {
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
			q.faults[name] = locale.New("Enter a date such as %s.", s.Now().UTC().Format(time.DateOnly))
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
			Status: http.StatusBadRequest, Heading: locale.New("Invalid filter"), Message: q.faults[field],
			BackURL: q.base, BackText: locale.New("Back to the list"),
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
	list := []templates.Option{{Text: locale.New("Everyone"), Selected: chosen == ""}}
	for _, m := range members {
		if m.Name == "" {
			m.Name = m.Email
		}
		list = append(list, templates.Option{
			Value: m.UserID, Text: templates.AsIs(m.Name), Selected: m.UserID == chosen,
		})
	}
	if chosen != "" && !slices.ContainsFunc(list, func(o templates.Option) bool { return o.Selected }) {
		list = append(list, templates.Option{Value: chosen, Text: locale.New("Not a member"), Selected: true})
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

// auditDays groups events by day in the reader's time zone, and replaces the ids in them by names.
func (s *Workspaces) auditDays(
	ctx context.Context, names *page.Names, events []storage.AuditEvent,
) (days []templates.AuditDay, err error) {
	for _, e := range events {
		at := e.CreatedAt.Time().In(zone(ctx))
		year, month, date := at.Date()
		day := time.Date(year, month, date, 0, 0, 0, 0, at.Location())
		if len(days) == 0 || !days[len(days)-1].Day.Equal(day) {
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
			value := e.Detail[name]
			if name != "jwks_uri" { // a URL that is not a client's ID
				value = of(value).Text
			}
			if value != "" {
				value = locale.From(ctx).Of(factValue(name, value))
				row.Facts = append(row.Facts, templates.Fact{Name: name, Value: value})
			}
		}
		days[len(days)-1].Events = append(days[len(days)-1].Events, row)
	}
	return days, err
}

// revokedReasons are the reasons for which package storage revokes grants, in words. The audit log records them in
// English.
var revokedReasons = map[string]locale.Text{
	storage.RevokedByUser:          locale.New("ended by the user"),
	storage.RevokedByClient:        locale.New("revoked by the client"),
	storage.RevokedByLeaving:       locale.New("the user left the workspace"),
	storage.RevokedByDisabling:     locale.New("the user was disabled"),
	storage.RevokedByAdministrator: locale.New("ended by an administrator"),
	storage.RevokedCodeReuse:       locale.New("authorization code used twice"),
	storage.RevokedReuse:           locale.New("refresh token used twice"),
	storage.RevokedForOthers:       locale.New("the oldest of too many grants of one user and client"),
}

// factValue is a detail of an event in words, if the audit log records a word of ours.
func factValue(name, recorded string) locale.Text {
	switch name {
	case "grace":
		return graceText(recorded)
	case "role", "from", "to":
		return catalog.RoleName(recorded)
	case "name", "note":
		if recorded == "changed" {
			return locale.New("detail: changed")
		}
	case "reason":
		if text, known := revokedReasons[recorded]; known {
			return text
		}
	}
	return templates.AsIs(recorded)
}

// graceText is a grace period in words, given as the audit log records it, such as 24h0m0s.
func graceText(recorded string) locale.Text {
	d, err := input.ParseDuration(recorded)
	switch {
	case err != nil:
		return templates.AsIs(recorded)
	case d == 0:
		return locale.New("grace period: none")
	}
	return locale.Text{Format: "%s", Args: []any{locale.Span(d)}}
}
