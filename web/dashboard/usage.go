package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"doorward/management"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// usageRows is how many credentials the page of a workspace's usage names.
const usageRows = 100

// UsagePage serves GET /settings/workspaces/{slug}/usage.
func (s *Workspaces) UsagePage(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	s.flushUsage(r.Context())
	view := templates.UsageView{Page: head, Workspace: workspaceBar(ws, all, templates.TabUsage)}
	if ws.Plan != "" {
		view.PlanText = "Plan: " + s.planOption(ws.Plan)
	}
	names := s.NamesIn(ws)
	totals := map[string]*templates.UsageRow{}
	var ids []string
	err = s.readAs(r.Context(), by, func(ctx context.Context) (err error) {
		if view.Days, err = s.usageDays(ctx, "", ws.ID); err != nil {
			return err
		}
		first, last := view.Days[0].Day, view.Days[len(view.Days)-1].Day
		list, err := s.store.UsageByDay(ctx, ws.ID, "", storage.At(first), storage.At(last.Add(24*time.Hour)))
		if err != nil {
			return err
		}
		clear(totals)
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

// mostUsed are the ids of credentials, the most used first.
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
