package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"doorward/locale"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// usageRows is how many credentials the usage page of a workspace lists; it adds up the others.
const usageRows = 100

// period is a span of time that the usage page can show.
type period struct {
	name string      // in the URL
	text locale.Text // on the page
	bars int
	bar  time.Duration // an hour or a day
}

var periods = []period{
	{"24h", locale.New("24 hours"), 24, time.Hour},
	{"7d", locale.New("7 days"), 7, 24 * time.Hour},
	{"30d", locale.New("30 days"), usageDays, 24 * time.Hour},
	{"90d", locale.New("90 days"), 90, 24 * time.Hour},
}

// periodOf returns the period that ?range names; by default 30 days.
func periodOf(r *http.Request) period {
	i := slices.IndexFunc(periods, func(p period) bool { return p.name == r.URL.Query().Get("range") })
	if i < 0 {
		i = 2
	}
	return periods[i]
}

// filter selects the usage of a workspace in the period that ends with the current hour or day.
func (p period) filter(now time.Time, workspaceID string) storage.UsageFilter {
	last := now.UTC().Truncate(p.bar)
	return storage.UsageFilter{
		WorkspaceID: workspaceID, ByDay: p.bar == 24*time.Hour,
		Since: storage.At(last.Add(-time.Duration(p.bars-1) * p.bar)), Until: storage.At(last.Add(p.bar)),
	}
}

// UsagePage serves GET /settings/workspaces/{slug}/usage.
func (s *Workspaces) UsagePage(w http.ResponseWriter, r *http.Request, p place) error {
	head, err := s.PageWithNotice(w, r, p.v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	s.flushUsage(r.Context())
	chosen, base := periodOf(r), p.path(templates.TabUsage)
	view := templates.UsageView{
		Page: head, Workspace: p.bar(templates.TabUsage), CSVURL: base + ".csv?range=" + chosen.name,
	}
	for _, p := range periods {
		view.Ranges = append(view.Ranges, templates.RangeLink{
			Text: p.text, URL: base + "?range=" + p.name, Current: p.name == chosen.name,
		})
	}
	if p.ws.Plan != "" {
		view.PlanText = locale.New("Plan: %s", s.planOption(p.ws.Plan))
	}
	names := s.NamesIn(p.ws)
	totals := map[string]*templates.UsageRow{}
	var ids []string
	filter := chosen.filter(s.Now(), p.ws.ID)
	err = s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		list, err := s.store.UsagePage(ctx, filter)
		if err != nil {
			return err
		}
		clear(totals)
		view.Days = bars(chosen, filter, list)
		for _, x := range list {
			row := totals[x.CredentialID]
			if row == nil {
				row = &templates.UsageRow{Kind: x.Credential}
				totals[x.CredentialID] = row
			}
			row.Total.Add(x.Allowed, x.Limited, x.Refused)
		}
		ids = mostUsed(totals)
		return names.Learn(ctx, ids[:min(len(ids), usageRows)]...)
	})
	if err != nil {
		return err
	}
	for i, id := range ids {
		row := *totals[id]
		if i >= usageRows {
			view.More++
			view.Rest.Add(row.Total.Allowed, row.Total.Limited, row.Total.Refused)
			continue
		}
		if row.Who, err = names.Of(r.Context(), id); err != nil {
			return err
		}
		row.Owner = names.Owners[id]
		view.Rows = append(view.Rows, row)
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.UsagePage(view))
}

// bars returns the chart of usage: one bar for each hour or day of the period.
func bars(p period, f storage.UsageFilter, list []storage.Usage) []templates.UsageDay {
	days := make([]templates.UsageDay, p.bars)
	for i := range days {
		days[i].Day = f.Since.Time().UTC().Add(time.Duration(i) * p.bar)
	}
	for _, x := range list {
		if i := int(x.Hour.Time().Sub(days[0].Day) / p.bar); i >= 0 && i < len(days) {
			days[i].Add(x.Allowed, x.Limited, x.Refused)
		}
	}
	return days
}

// UsageCSV serves GET /settings/workspaces/{slug}/usage.csv: a row for each credential and each hour or day of the
// period in which it was used, the oldest first.
func (s *Workspaces) UsageCSV(w http.ResponseWriter, r *http.Request, p place) error {
	s.flushUsage(r.Context())
	chosen := periodOf(r)
	filter := chosen.filter(s.Now(), p.ws.ID)
	filter.Limit = page.MaxCSVRows + 1
	var list []storage.Usage
	names := s.NamesIn(p.ws)
	err := s.store.InTx(p.tenant(r.Context()), func(ctx context.Context) (err error) {
		if list, err = s.store.UsagePage(ctx, filter); err != nil || len(list) > page.MaxCSVRows {
			return cmp.Or(err, page.TooManyRows())
		}
		for i := range list {
			if err = names.Learn(ctx, list[i].CredentialID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	unit := "hour"
	if filter.ByDay {
		unit = "day"
	}
	file := page.NewCSV(unit, "credential_id", "credential_type", "name", "allowed", "over_limit", "refused")
	for _, x := range list {
		name, err := names.Of(r.Context(), x.CredentialID)
		if err != nil {
			return err
		}
		if err := file.Add(page.CSVTime(x.Hour.Time()), x.CredentialID, x.Credential, name.Text,
			strconv.FormatInt(x.Allowed, 10), strconv.FormatInt(x.Limited, 10), strconv.FormatInt(x.Refused, 10),
		); err != nil {
			return err
		}
	}
	return file.Serve(w, "usage-"+p.ws.Slug+"-"+chosen.name+".csv")
}

// mostUsed returns the ids of credentials, the most used first.
func mostUsed(totals map[string]*templates.UsageRow) []string {
	ids := make([]string, 0, len(totals))
	for id := range totals {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(totals[b].Total.Total(), totals[a].Total.Total()), cmp.Compare(a, b))
	})
	return ids
}
