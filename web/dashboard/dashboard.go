package dashboard

import (
	"context"
	"time"

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

// Config is what a Dashboard is made of. Every field is needed.
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

// Dashboard holds the handlers of the settings, by what they are about.
type Dashboard struct {
	Account    *Account
	Workspaces *Workspaces
	Keys       *Keys
	Apps       *Apps
}

// New makes the handlers.
func New(c Config) *Dashboard {
	base := &base{Pages: c.Pages, store: c.Store, oauth: c.OAuth, management: c.Management, bearer: c.Bearer, apikey: c.APIKeys, catalog: c.Catalog, identity: c.Identity}
	return &Dashboard{
		Account: &Account{base}, Workspaces: &Workspaces{base}, Keys: &Keys{base}, Apps: &Apps{base},
	}
}

// base is what the handlers have in common.
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

// whyDisabled says why a workspace is disabled; empty: it is not.
func whyDisabled(ws storage.Workspace) string {
	switch {
	case ws.DisabledAt.IsZero():
		return ""
	case ws.DisabledFor != "":
		return "The workspace " + ws.Name + " is disabled because none of its owners is enabled."
	}
	return "An administrator of this server disabled the workspace " + ws.Name + "."
}

// readAs runs fn in a transaction that reads what is a workspace's own.
func (s *base) readAs(ctx context.Context, by management.Authority, fn func(ctx context.Context) error) error {
	return s.store.InTx(storage.Tenant(ctx, by.UserID, by.WorkspaceID), fn)
}

// usageDays is how many days a chart of a key shows, today included.
const usageDays = 30

// flushUsage has what was counted lately written, so that a call just made is on the page. Where that fails, the page
// is
// some seconds older.
func (s *base) flushUsage(ctx context.Context) {
	ctx = storage.System(ctx)
	_ = s.store.FlushTouches(ctx)
	_ = s.store.FlushUsage(ctx)
}

// usageDays is how a key was used in each of the last days, in these workspaces together.
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
				days[i].Allowed += x.Allowed
				days[i].Limited += x.Limited
				days[i].Refused += x.Refused
			}
		}
	}
	return days, nil
}
