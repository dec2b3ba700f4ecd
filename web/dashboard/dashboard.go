package dashboard

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Config holds what New needs. Every field is required.
type Config struct {
	Pages      *page.Pages
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Bearer     *bearer.Verifier
	APIKeys    *apikey.Keys
	Catalog    *catalog.Catalog
	Identity   *identity.Service
}

// Dashboard holds the handlers of the settings pages, grouped by subject.
type Dashboard struct {
	Account    *Account
	Workspaces *Workspaces
	Keys       *Keys
	Apps       *Apps
}

// New returns the handlers.
func New(c Config) *Dashboard {
	base := &base{
		Pages: c.Pages, store: c.Store, oauth: c.OAuth, management: c.Management, bearer: c.Bearer, apikey: c.APIKeys,
		catalog: c.Catalog, identity: c.Identity,
	}
	return &Dashboard{
		Account: &Account{base}, Workspaces: &Workspaces{base}, Keys: &Keys{base}, Apps: &Apps{base},
	}
}

// base is what all handlers share.
type base struct {
	*page.Pages
	store      *storage.Store
	oauth      *oauth.Server
	management *management.Manager
	bearer     *bearer.Verifier
	apikey     *apikey.Keys
	catalog    *catalog.Catalog
	identity   *identity.Service
}

// whyDisabled says in a sentence why a workspace is disabled; empty if it is enabled.
func whyDisabled(ws storage.Workspace) locale.Text {
	switch {
	case ws.DisabledAt.IsZero():
		return locale.Text{}
	case ws.DisabledFor != "":
		return locale.New("The workspace %s is disabled because none of its owners is enabled.", ws.Name)
	}
	return locale.New("An administrator of this server disabled the workspace %s.", ws.Name)
}

// changed redirects to a page after a change, with a notice; if err is set, there was no change, and changed returns
// it.
func (s *base) changed(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, to string, text locale.Text, err error,
) error {
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, to, text)
}

// ifAny returns a text about n things; empty if there are none.
func ifAny(n int, text locale.Text) locale.Text {
	if n == 0 {
		return locale.Text{}
	}
	return text
}

// zone is the reader's time zone.
func zone(ctx context.Context) *time.Location { return cmp.Or(locale.From(ctx).Zone, time.UTC) }

// usageDays is how many days a chart of a key shows, today included.
const usageDays = 30

// flushUsage writes the usage that is still counted in memory, so that the page includes a call made just now. If that
// fails, the page is a few seconds behind.
func (s *base) flushUsage(ctx context.Context) {
	ctx = storage.System(ctx)
	_ = s.store.FlushTouches(ctx)
	_ = s.store.FlushUsage(ctx)
}

// usageDays returns how a key was used on each of the last usageDays days, in all these workspaces together.
func (s *base) usageDays(ctx context.Context, keyID string, workspaceIDs ...string) ([]templates.UsageDay, error) {
	today := s.Now().UTC().Truncate(24 * time.Hour)
	days := make([]templates.UsageDay, usageDays)
	for i := range days {
		days[i].Day = today.AddDate(0, 0, i+1-usageDays)
	}
	for _, ws := range workspaceIDs {
		list, err := s.store.UsageByDay(ctx, ws, keyID, storage.At(days[0].Day), storage.At(today.AddDate(0, 0, 1)))
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			if i := int(x.Hour.Time().Sub(days[0].Day) / (24 * time.Hour)); i >= 0 && i < len(days) {
				days[i].Add(x.Allowed, x.Limited, x.Refused)
			}
		}
	}
	return days, nil
}
