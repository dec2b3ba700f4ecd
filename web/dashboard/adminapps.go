package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// AllAppsPage serves GET /admin/apps.
func (s *Apps) AllAppsPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionAdminApps)
	if err != nil {
		return err
	}
	query := page.Clean(r.URL.Query().Get("q"), 200)
	rows := page.ReadList(r, adminAppsBase, "created", url.Values{"q": {query}},
		templates.Column{By: "name", Text: locale.New("App")},
		templates.Column{Text: locale.New("Type")},
		templates.Column{Text: locale.New("Created by")},
		templates.Column{By: "created", Text: locale.New("Created"), Down: true},
		templates.Column{Text: locale.New("Actions")},
	)
	ctx := storage.System(r.Context())
	list, err := s.store.SortedClients(ctx, query, rows.Order, page.ListLength+1)
	if err != nil {
		return err
	}
	view := templates.AdminAppsView{Page: head, Query: query}
	list, view.NextURL, view.PrevURL = page.Paginate(&rows, list, func(c *storage.Client) string { return c.ID })
	view.Columns = rows.Head()
	for _, c := range list {
		owner, err := s.ownerOf(ctx, c)
		if err != nil {
			return err
		}
		view.Apps = append(view.Apps, templates.AdminApp{
			ID: c.ID, Name: c.Name, Owner: owner, Kind: kindOf(c), Verified: c.Verified,
			Operator: management.RegisteredByOperator(&c), FirstParty: c.FirstParty,
			PKCEOptional: c.PKCEOptional, Disabled: !c.DisabledAt.IsZero(), Created: c.CreatedAt.Time(),
			Registered: registeredBy(&c), Document: c.Registration == storage.RegisteredByDocument,
		})
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.AdminAppsPage(view))
}

// registeredBy says how an app registered itself; empty: it did not.
func registeredBy(c *storage.Client) locale.Text {
	switch c.Registration {
	case storage.RegisteredDynamically:
		return locale.New("registered by: Itself")
	case storage.RegisteredByDocument:
		return locale.New("registered by: Its metadata document")
	}
	return locale.Text{}
}

// SetVerified serves POST /admin/apps/{id}/verify and …/unverify.
func (s *Apps) SetVerified(w http.ResponseWriter, r *http.Request, at appPlace) error {
	verified := strings.HasSuffix(r.URL.Path, "/verify")
	_, err := s.change(r, &at, func(ctx context.Context, c storage.Client) error {
		return s.management.VerifyClient(ctx, at.by, c.ID, verified)
	})
	text := locale.New("The app is no longer verified.")
	if verified {
		text = locale.New("The app is now verified. The consent page shows a Verified badge.")
	}
	return s.changed(w, r, at.v, adminAppsBase, text, err)
}
