package dashboard

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/web/page"
)

// export is the file that a user downloads with their data. It contains no secret, and nothing with which one could be
// guessed.
type export struct {
	ExportedAt time.Time         `json:"exported_at"`
	Profile    exportedProfile   `json:"profile"`
	Workspaces []exportedPlace   `json:"workspaces"`
	Methods    []exportedMethod  `json:"sign_in_methods"`
	Sessions   []exportedSession `json:"sessions"`
	Consents   []exportedConsent `json:"consents"`
	Keys       []exportedKey     `json:"keys"`  // personal access tokens, and the API keys of the personal workspace
	Audit      []exportedEvent   `json:"audit"` // about the account, and of what the user did; the latest first
}

type exportedProfile struct {
	ID                string     `json:"id"`
	Email             string     `json:"email"`
	EmailProvenAt     *time.Time `json:"email_proven_at"`
	Name              string     `json:"name"`
	Language          string     `json:"language"`
	TimeZone          string     `json:"time_zone"`
	Administrator     bool       `json:"administrator"`
	Password          bool       `json:"password"`
	PasswordChangedAt *time.Time `json:"password_changed_at"`
	TermsURL          string     `json:"terms_url"`
	TermsAcceptedAt   *time.Time `json:"terms_accepted_at"`
	CreatedAt         *time.Time `json:"created_at"`
	LastSignInAt      *time.Time `json:"last_sign_in_at"`
}

type exportedMethod struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	Name       string     `json:"name,omitempty"`
	Provider   string     `json:"provider,omitempty"`
	AddedAt    *time.Time `json:"added_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

type exportedPlace struct {
	ID       string `json:"id"`
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	Role     string `json:"role"`
	Personal bool   `json:"personal"`
}

type exportedSession struct {
	ID         string     `json:"id"`
	Browser    string     `json:"browser"`
	UserAgent  string     `json:"user_agent"`
	Address    string     `json:"address"`
	SignedInAt *time.Time `json:"signed_in_at"`
	LastSeenAt *time.Time `json:"last_seen_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
}

type exportedConsent struct {
	AppID       string     `json:"app_id"`
	Resource    string     `json:"resource"`
	WorkspaceID string     `json:"workspace_id"`
	Scopes      []string   `json:"scopes"`
	CreatedAt   *time.Time `json:"created_at"`
	ChangedAt   *time.Time `json:"changed_at"`
}

type exportedKey struct {
	ID          string     `json:"id"`
	Kind        string     `json:"kind"`
	WorkspaceID string     `json:"workspace_id,omitempty"`
	Name        string     `json:"name"`
	Note        string     `json:"note"`
	Scopes      []string   `json:"scopes"`
	State       string     `json:"state"`
	Addresses   []string   `json:"addresses"`
	CreatedAt   *time.Time `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at"`
}

type exportedEvent struct {
	ID          string            `json:"id"`
	Time        *time.Time        `json:"time"`
	Action      string            `json:"action"`
	WorkspaceID string            `json:"workspace_id,omitempty"`
	Actor       string            `json:"actor,omitempty"`
	Credential  string            `json:"credential,omitempty"`
	Address     string            `json:"address,omitempty"`
	Target      string            `json:"target,omitempty"`
	Detail      map[string]string `json:"detail,omitempty"`
}

// maxExportedEvents bounds each of the two lists of events in the file: the latest.
const maxExportedEvents = 10_000

// moment is a time for the file; zero becomes null.
func moment(t storage.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	m := t.Time().UTC()
	return &m
}

// export collects a user's data.
func (s *Account) export(r *http.Request, v *page.Visitor) (x export, err error) {
	u := &v.User
	ctx := storage.System(r.Context())
	x = export{
		ExportedAt: s.Now().UTC(),
		Profile: exportedProfile{
			ID: u.ID, Email: u.Email, EmailProvenAt: moment(u.EmailProvenAt), Name: u.Name, Language: u.Language,
			TimeZone: u.TimeZone, Administrator: u.Admin, Password: u.PasswordHash != "",
			PasswordChangedAt: moment(u.PasswordChangedAt), TermsURL: u.TermsURL, TermsAcceptedAt: moment(u.TermsAcceptedAt),
			CreatedAt: moment(u.CreatedAt), LastSignInAt: moment(u.SeenAt),
		},
		Workspaces: []exportedPlace{}, Methods: []exportedMethod{}, Sessions: []exportedSession{}, Consents: []exportedConsent{}, Keys: []exportedKey{},
		Audit: []exportedEvent{},
	}
	methods, err := s.identity.Methods(ctx, u)
	if err != nil {
		return x, err
	}
	for _, m := range methods {
		x.Methods = append(x.Methods, exportedMethod{
			ID: m.ID, Kind: m.Kind, Name: m.Name, Provider: m.Provider, AddedAt: moment(m.Since), LastUsedAt: moment(m.UsedAt),
		})
	}
	places, err := s.store.WorkspacesOf(ctx, u.ID)
	if err != nil {
		return x, err
	}
	owners := []storage.KeyOwner{{UserID: u.ID}}
	personal := ""
	for _, ws := range places {
		x.Workspaces = append(x.Workspaces, exportedPlace{ws.ID, ws.Slug, ws.Name, ws.Role, ws.Personal})
		if ws.Personal {
			personal = ws.ID
			owners = append(owners, storage.KeyOwner{WorkspaceID: ws.ID})
		}
	}
	sessions, err := s.sessionsOf(r, v)
	if err != nil {
		return x, err
	}
	for _, row := range sessions {
		x.Sessions = append(x.Sessions, exportedSession{
			ID: row.ID, Browser: page.BrowserName(row.UserAgent).String(), UserAgent: row.UserAgent, Address: row.Address,
			SignedInAt: moment(row.AuthTime), LastSeenAt: moment(row.SeenAt), ExpiresAt: moment(row.ExpiresAt),
		})
	}
	consents, err := s.store.ConsentsOf(storage.Tenant(r.Context(), u.ID, ""), u.ID)
	if err != nil {
		return x, err
	}
	for _, c := range consents {
		x.Consents = append(x.Consents, exportedConsent{
			c.ClientID, c.Resource, c.WorkspaceID, c.Scopes, moment(c.CreatedAt), moment(c.ChangedAt),
		})
	}
	for _, owner := range owners {
		keys, err := s.store.Keys(ctx, owner, storage.KeyFilter{Limit: apikey.MaxKeys})
		if err != nil {
			return x, err
		}
		for i := range keys {
			k := &keys[i]
			x.Keys = append(x.Keys, exportedKey{
				ID: k.ID, Kind: k.Kind, WorkspaceID: k.WorkspaceID, Name: k.Name, Note: k.Note, Scopes: k.Scopes,
				State: s.apikey.State(k), Addresses: k.Addresses, CreatedAt: moment(k.CreatedAt),
				ExpiresAt: moment(k.ExpiresAt), LastUsedAt: moment(k.LastUsedAt),
			})
		}
	}
	x.Audit, err = s.exportedEvents(ctx, u.ID, personal)
	return x, err
}

// exportedEvents are those in the user's personal workspace, and those of what the user did elsewhere.
func (s *Account) exportedEvents(ctx context.Context, userID, personal string) ([]exportedEvent, error) {
	filters := []storage.AuditFilter{{Everywhere: true, UserID: userID}}
	if personal != "" {
		filters = append(filters, storage.AuditFilter{WorkspaceID: personal})
	}
	seen, out := map[string]bool{}, []exportedEvent{}
	for _, f := range filters {
		f.Limit = maxExportedEvents
		list, err := s.store.AuditEvents(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			address := e.Address
			if e.UserID != userID {
				address = "" // of an administrator, say
			}
			out = append(out, exportedEvent{
				ID: e.ID, Time: moment(e.CreatedAt), Action: e.Action, WorkspaceID: e.WorkspaceID, Actor: e.UserID,
				Credential: e.Credential, Address: address, Target: e.Target, Detail: e.Detail,
			})
		}
	}
	slices.SortFunc(out, func(a, b exportedEvent) int { return strings.Compare(b.ID, a.ID) })
	return out, nil
}
