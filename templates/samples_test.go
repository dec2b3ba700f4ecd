package templates_test

import (
	"time"

	"github.com/a-h/templ"

	"doorward/templates"
)

var (
	now   = time.Date(2026, time.March, 4, 10, 11, 12, 0, time.UTC)
	ada   = &templates.Viewer{Name: "Ada Lovelace", Email: "ada@example.com"}
	admin = &templates.Viewer{Name: "Grace Hopper", Email: "grace@example.com", Admin: true}
)

const (
	longName = "The Quite Extraordinarily Long-Named Synchronisation Companion for Spreadsheets, Calendars and " +
		"AntidisestablishmentarianismTrackers"
	longURI = "https://synchronisation-companion.development.eu-central-1.example.com/integrations/oauth/callback" +
		"/a-very-long-path-segment-that-does-not-end"
)

// page is what pages have in common that are not about a workspace.
func page(section string, user *templates.Viewer) templates.Page {
	p := templates.Page{Nonce: "bm9uY2U", Now: now, User: user, Section: section}
	if user != nil {
		p.Navigation.Workspace = engines("owner", templates.TabKeys)
	}
	return p
}

// inside is a page about a workspace.
func inside(bar templates.WorkspaceBar, user *templates.Viewer) templates.Page {
	p := page("", user)
	p.Navigation = templates.Navigation{Workspace: bar, Inside: true}
	return p
}

// columns are those of a list that is sorted by the first, in the order of their names and texts.
func columns(pairs ...string) (list []templates.Column) {
	for i := 0; i+1 < len(pairs); i += 2 {
		c := templates.Column{By: pairs[i], Text: pairs[i+1]}
		if c.By != "" {
			c.URL = "?sort=" + c.By
		}
		if i == 0 {
			c.Sorted, c.URL = "ascending", "?sort=-"+c.By
		}
		list = append(list, c)
	}
	return list
}

func ago(d time.Duration) time.Time { return now.Add(-d) }

const aDay = 24 * time.Hour

// sample is a page with data, under the name of its golden file.
type sample struct {
	name string
	page templ.Component
}

func fields(administrator bool) templates.AppFields {
	return templates.AppFields{
		Name: "Acme Sync", Site: "https://acme.example", Kind: templates.KindWeb,
		RedirectURIs: "https://acme.example/callback\nhttp://127.0.0.1/callback",
		Resources: []templates.ResourceChoice{{
			ID: "https://api.example.com", Name: "Example API", Selected: true,
			Scopes: []templates.ScopeChoice{
				{Name: "read", Text: "Read your data", Kind: templates.ScopeRead, Checked: true},
				{Name: "write", Text: "Create and change your data", Kind: templates.ScopeWrite, Checked: true},
				{Name: "delete", Text: "Delete your data", Kind: templates.ScopeDanger},
				{Name: "admin", Text: "Everything", Kind: templates.ScopeDanger, Also: []string{"Read your data"},
					Under: []templates.IncludedChoice{
						{Name: "capture", Text: "Add to your data", Kind: templates.ScopeWrite, UserOnly: true},
					}},
			},
		}},
		Refresh: true, Administrator: administrator,
	}
}

func consent() templates.ConsentView {
	return templates.ConsentView{
		Page: page("", ada), Flow: "sealed-flow", Token: "per-flow-token",
		App: templates.ConsentApp{
			Name: "Acme Sync", Site: "https://acme.example", RedirectHost: "acme.example", Verified: true,
		},
		SwitchURL: "/login?flow=sealed-flow&switch=1", ResourceName: "Example API",
		Scopes: []templates.ConsentScope{
			{Value: "read", Text: "Read your data", Kind: templates.ScopeRead, Checked: true},
			{Value: "write", Text: "Create and change your data", Kind: templates.ScopeWrite, Checked: true},
			{
				Value:    "delete purge",
				Text:     "Delete your data",
				Includes: []string{"Empty the bin", "Delete your account"},
				Kind:     templates.ScopeDanger,
				Checked:  true,
			},
		},
		NotGranted: "It does not get your password, and it cannot change your account.",
		Lasts:      "The access lasts until 7 days pass without use, and 30 days at most.",
	}
}

func secret(kind string) templates.SecretView {
	return templates.SecretView{
		Page: inside(alone(templates.TabApps), ada), AppName: "Acme Sync", Kind: kind,
		ClientID: "app_0195a0c0example", Secret: "dw_cs_EXAMPLEexampleEXAMPLEexampleEXAMPLEexampleEXAMPLE",
		AuthorizeURL: "https://auth.example.com/oauth/authorize", TokenURL: "https://auth.example.com/oauth/token",
		IntrospectURL: "https://auth.example.com/oauth/introspect",
		Scope:         "read write", RedirectURI: "https://acme.example/callback",
		OldUntil: now.Add(aDay), NextURL: "/settings/developer/apps/app_0195a0c0example",
	}
}

func keyPlace() templates.KeyPlace {
	return templates.KeyPlace{Base: "/settings/workspaces/engines/api-keys", Workspace: templates.WorkspaceBar{
		Slug: "engines",
		Name: "Analytical Engines Ltd",
		Role: "admin",
		Tab:  templates.TabKeys,
		All: []templates.WorkspaceLink{
			{Slug: "ada", Name: "Ada Lovelace"},
			{Slug: "engines", Name: "Analytical Engines Ltd", Current: true},
			{Slug: "old", Name: "Old works", Disabled: true},
		},
	}}
}

func tokenPlace() templates.KeyPlace {
	return templates.KeyPlace{Base: "/settings/developer/personal-access-tokens", Personal: true}
}

// month is thirty days of usage, the last of them today.
func month(most int64) []templates.UsageDay {
	days := make([]templates.UsageDay, 30)
	for i := range days {
		d := &days[i]
		d.Day = now.UTC().Truncate(aDay).AddDate(0, 0, i-29)
		if most > 0 && i > 6 {
			d.Allowed = most * int64(4+(i*7)%13) / 16
			d.Limited = max(0, most*int64((i*5)%11-7)/40)
			d.Refused = max(0, int64((i*3)%17-13))
		}
	}
	return days
}

func keyRows() []templates.KeyRow {
	return []templates.KeyRow{
		{
			ID:           "key_1",
			Name:         "Night import",
			Masked:       "sk_live_…q8Zt",
			Environment:  "live",
			State:        "active",
			Scopes:       []string{"read", "write"},
			Creator:      "Ada Lovelace",
			Created:      ago(40 * aDay),
			LastUsed:     ago(4 * time.Minute),
			LastUsedFrom: "192.0.2.10",
			Expires:      now.Add(50 * aDay),
			Days:         month(900),
		},
		{
			ID:          "key_2",
			Name:        longName,
			Masked:      "sk_test_…1mXa",
			Environment: "test",
			State:       "rotating",
			Creator:     "Grace Hopper",
			Scopes: []string{
				"accounts:read", "accounts:write", "contacts:read", "contacts:write", "opportunities:read", "reports:read",
			},
			Created:      ago(80 * aDay),
			LastUsed:     ago(3 * time.Hour),
			LastUsedFrom: "2001:db8:85a3:8d3:1319:8a2e:370:7348",
			Expires:      now.Add(9 * aDay),
			Days:         month(20),
		},
		{
			ID:          "key_3",
			Name:        "Dashboard",
			Masked:      "sk_live_…0pQr",
			Environment: "live",
			State:       "paused",
			Scopes:      []string{"read"},
			Created:     ago(5 * aDay),
			Days:        month(0),
		},
		{
			ID:          "key_4",
			Name:        "Old dashboard",
			Masked:      "sk_live_…Zz01",
			Environment: "live",
			State:       "expired",
			Scopes:      []string{"read"},
			Created:     ago(95 * aDay),
			Expires:     ago(5 * aDay),
			Days:        month(0),
		},
		{
			ID:          "key_5",
			Name:        "Lost laptop",
			Masked:      "sk_live_…44aB",
			Environment: "live",
			State:       "revoked",
			Scopes:      []string{"admin"},
			Created:     ago(200 * aDay),
			Days:        month(0),
		},
	}
}

func reachNow() []templates.Reach {
	return []templates.Reach{
		{
			Slug: "ada",
			Name: "Ada Lovelace",
			As: []templates.RoleAs{
				{Token: "", Effective: "owner"},
				{Token: "viewer", Effective: "viewer"},
				{Token: "member", Effective: "member"},
				{Token: "admin", Effective: "admin"},
			},
		},
		{
			Slug: "engines",
			Name: "Analytical Engines Ltd",
			As: []templates.RoleAs{
				{Token: "", Effective: "member"},
				{Token: "viewer", Effective: "viewer"},
				{Token: "member", Effective: "member"},
				{Token: "admin", Effective: "member"},
			},
		},
		{Slug: "old", Name: "Old works", Disabled: true},
	}
}

func keyFields() templates.KeyFields {
	return templates.KeyFields{
		Resources: []templates.KeyResource{
			{ID: "https://api.example.com", Name: "Example API", Selected: true, Scopes: fields(false).Resources[0].Scopes},
		},
		Environments: []templates.Option{
			{Value: "live", Text: "Live", Hint: "The real thing. At most 1,000 requests an hour, 100 at once.", Selected: true},
			{Value: "test", Text: "Test", Hint: "To try things out. At most 100 requests an hour, 20 at once."},
		},
		PlanText: "At most 1,000, which the plan allows. Leave it empty for that.",
		Expiries: []templates.Option{
			{Value: "30", Text: "in 30 days, on 3 April 2026"},
			{Value: "90", Text: "in 90 days, on 2 June 2026", Selected: true},
			{Value: "never", Text: "never"},
		},
	}
}

// objectFields are those of a server with two resources, one with objects, and everything wrong.
func objectFields() templates.KeyFields {
	f := keyFields()
	f.Name, f.Note, f.RateLimit, f.Addresses = longName, "Asked for by Charles.\nSee the ledger.", "5000", "192.0.2.7/24"
	object := func(name string, checked ...bool) templates.ObjectChoice {
		choice := templates.ObjectChoice{Name: name}
		for i, action := range []string{"read", "write", "delete", "admin"} {
			choice.Scopes = append(choice.Scopes, templates.ScopeChoice{
				Name: name + ":" + action, Text: action, Checked: i < len(checked) && checked[i],
			})
		}
		return choice
	}
	f.Resources[0].Selected = false
	f.Resources = append(f.Resources, templates.KeyResource{
		ID: "https://crm.example.com", Name: "Customers", Selected: true, Scopes: f.Resources[0].Scopes[:2],
		Objects: []templates.ObjectChoice{object("opportunities", true, true), object("accounts", true), object("contacts")},
	})
	f.Plans = []templates.Option{
		{Text: "as the workspace (5,000 requests an hour)", Selected: true},
		{Value: "free", Text: "free (100 requests an hour, 20 at once)"},
	}
	f.NeedPassword = true
	f.Errors = map[string]string{
		"name":        "The name is longer than 100 characters.",
		"scope":       "The scope is missing; choose at least one.",
		"environment": "The environment is unknown.",
		"resource":    "The API has no API keys.",
		"plan":        "The plan allows more than the workspace's.",
		"rate_limit":  "The limit is more than the plan allows.",
		"expires":     "The end is missing; choose when it expires.",
		"addresses":   "The addresses: \"192.0.2.7/24\" has bits after its range; write 192.0.2.0/24.",
		"password":    "Incorrect password.",
	}
	return f
}

func tokenFields() templates.KeyFields {
	f := keyFields()
	f.Environments, f.PlanText = nil, ""
	f.Roles = []templates.Option{
		{Value: "", Text: "My own role", Hint: "Whatever your role in the workspace is.", Selected: true},
		{Value: "viewer", Text: "Viewer", Hint: "Can only view."},
		{Value: "member", Text: "Member", Hint: "Can do what members can."},
		{Value: "admin", Text: "Admin", Hint: "It does all that admins do."},
	}
	return f
}

func key() templates.KeyView {
	f := keyFields()
	f.Name, f.Note, f.Environments, f.Expiries = "Night import", "Runs on the second machine.", nil, nil
	return templates.KeyView{
		Page:      inside(keyPlace().Workspace, ada),
		KeyPlace:  keyPlace(),
		KeyFields: f,
		KeyRow:    keyRows()[0],
		Resource:  "Example API",
		CanRotate: true,
		Confirm:   true,
		Ranges:    []string{"192.0.2.0/24", "2001:db8::/32"},
		LimitText: "1,000 requests an hour, 100 at once (plan pro)",
		Left:      "988 of 1,000, all of it again at 10:40 UTC on 4 March",
		OldDays:   97,
		Replaces: []templates.RelatedKey{
			{
				ID:           "key_0",
				Masked:       "sk_live_…7yTr",
				State:        "rotating",
				Ends:         now.Add(20 * time.Hour),
				LastUsed:     ago(2 * time.Hour),
				LastUsedFrom: "198.51.100.7",
				LastDay:      1204,
			},
			{ID: "key_00", Masked: "sk_live_…8uIo", State: "revoked", LastUsed: ago(2 * aDay)},
		},
		Requests: templates.Requests{Path: keyPlace().Base + "/key_1", Last: []templates.KeyRequest{
			{
				At:        ago(4 * time.Minute),
				Action:    "GET /v1/auth/test",
				Status:    200,
				RequestID: "0195a0c0exampleexample01",
				Address:   "192.0.2.10",
			},
			{
				At:        ago(5 * time.Minute),
				Action:    "POST /v1/api-keys",
				Status:    403,
				Reason:    "the credential lacks a scope or role",
				RequestID: "0195a0c0exampleexample02",
				Address:   "192.0.2.10",
			},
			{
				At:        ago(2 * aDay),
				Action:    "introspected",
				Status:    429,
				Reason:    "rate limit exceeded",
				RequestID: "0195a0c0exampleexample03",
				Address:   "2001:db8:85a3:8d3:1319:8a2e:370:7348",
			},
		}},
		Events: []templates.KeyEvent{
			{At: ago(aDay), Text: "Rights now read, write.", Who: "Grace Hopper", Address: "198.51.100.7"},
			{At: ago(40 * aDay), Text: "Made, with the rights read, write, delete", Who: "", Address: "192.0.2.10"},
		},
	}
}

func samples() []sample {
	rotating := key()
	rotating.KeyRow = keyRows()[1]
	rotating.Replaces, rotating.CanRotate, rotating.NeedPassword = nil, false, true
	rotating.ReplacedBy = &templates.RelatedKey{ID: "key_9", Masked: "sk_test_…9oPl", State: "active"}
	rotating.LastDay = 1
	for len(rotating.Requests.Last) < 12 {
		rotating.Requests.Last = append(rotating.Requests.Last, rotating.Requests.Last[:3]...)
	}
	rotating.Requests.Asked, rotating.Requests.Found = rotating.Requests.Last[1].RequestID, rotating.Requests.Last[1:2]
	ended := key()
	ended.KeyRow = keyRows()[4]
	ended.Final, ended.Revoked, ended.CanRotate, ended.Replaces, ended.Requests, ended.Events, ended.Ranges = true,
		ago(aDay), false, nil, templates.Requests{}, nil, nil
	wrong := key()
	wrong.State, wrong.Plans, wrong.NeedPassword = "paused", objectFields().Plans, true
	wrong.Errors = map[string]string{
		"name":     "The name is missing.",
		"grace":    "Choose how long the old one keeps working.",
		"password": "Incorrect password.",
		"confirm":  "Type the name exactly as it is shown.",
	}
	token := key()
	token.KeyPlace, token.Page, token.KeyFields = tokenPlace(), page(templates.SectionTokens, ada), tokenFields()
	token.KeyRow = templates.KeyRow{
		ID:      "token_1",
		Name:    "Editor",
		Masked:  "pat_…q8Zt",
		State:   "active",
		Scopes:  []string{"read", "write"},
		Role:    "member",
		Created: ago(3 * aDay),
		Days:    month(30),
	}
	token.Requests.Path = tokenPlace().Base + "/token_1"
	token.Confirm, token.Replaces, token.LimitText, token.Left, token.OldDays, token.Reach = false,
		nil, "", "", 0, reachNow()

	consentUnverified := consent()
	consentUnverified.App = templates.ConsentApp{
		Name: "Acme Sync", Site: "https://acme.example", RedirectHost: "acme.example",
	}
	consentUnverified.Workspaces = []templates.WorkspaceChoice{
		{Slug: "personal-01a205da6a79", Name: "Ada Lovelace", Personal: true, Selected: true},
		{Slug: "engines", Name: "Analytical Engines Ltd"},
	}
	consentUnverified.OtherWorkspaces = true

	consentAgain := consent()
	consentAgain.Known = consentAgain.Scopes[:1:1]
	consentAgain.Scopes = []templates.ConsentScope{
		{Value: "write", Text: "Create and change your data", Kind: templates.ScopeWrite, New: true, Locked: true},
	}
	consentAgain.Workspaces = []templates.WorkspaceChoice{{Slug: "ada", Name: "Ada Lovelace", Selected: true}}
	consentAgain.OtherWorkspaces = true
	consentAgain.App.FirstParty = true

	consentLoopback := consent()
	consentLoopback.App = templates.ConsentApp{
		Name: longName, Site: longURI, RedirectHost: "127.0.0.1:53682", Loopback: true,
	}
	consentLoopback.ResourceName = "Example API of the Consolidated Instruments Department"
	consentLoopback.Error = "Choose at least one thing that the app may do, or deny."
	consentLoopback.Scopes = append(consentLoopback.Scopes, templates.ConsentScope{
		Value: "capture:documents", Kind: templates.ScopeWrite,
		Text: "Add documents, pictures and recordings in your name to every collection that you may write to",
	})

	several := fields(true)
	several.Resources = append(several.Resources, templates.ResourceChoice{
		ID: "https://reports.example.com", Name: "Reports API",
		Scopes: []templates.ScopeChoice{{Name: "reports:read", Text: "Read your reports", Kind: templates.ScopeRead}},
	})
	several.RedirectURIs = "http://acme.example/callback"
	several.NeedPassword = true
	several.Errors = map[string]string{
		"redirect_uris": "http://acme.example/callback must start with https.",
		"scope":         "Choose at least one right.",
		"password":      "The password is not right.",
	}

	app := templates.AppView{
		Page: inside(alone(templates.TabApps), ada), AppFields: fields(false),
		Base: "/settings/developer/apps/app_0195a0c0example", ClientID: "app_0195a0c0example", SavedName: "Acme Sync",
		Created: ago(90 * aDay), Users: 12,
		Secrets: []templates.SecretRow{
			{Tail: "q8Zt", Created: ago(3 * aDay), LastUsed: ago(4 * time.Minute)},
			{Tail: "1mXa", Created: ago(90 * aDay), LastUsed: ago(3 * time.Hour), Expires: now.Add(21 * time.Hour)},
		},
		AuthorizeURL: "https://auth.example.com/oauth/authorize", TokenURL: "https://auth.example.com/oauth/token",
		IntrospectURL: "https://auth.example.com/oauth/introspect",
		MetadataURL:   "https://auth.example.com/.well-known/oauth-authorization-server",
	}
	app.Requests = templates.Requests{Path: app.Base, Last: []templates.KeyRequest{
		{
			At:        ago(3 * time.Minute),
			Action:    "POST /v1/**",
			Status:    403,
			RequestID: "0195a0c0exampleexample04",
			Reason:    "the route POST /v1/** needs the scope write, and the credential has read",
		},
		{At: ago(4 * time.Minute), Action: "GET /v1/**", Status: 200, RequestID: "0195a0c0exampleexample05"},
	}, Asked: "0195a0c0exampleexample99"}
	adminApp := app
	adminApp.Page = page(templates.SectionAdminApps, admin)
	adminApp.Base = "/admin/apps/app_0195a0c0example"
	adminApp.Requests.Path = adminApp.Base
	adminApp.Owner = "ada@example.com"
	adminApp.Disabled = true
	adminApp.AppFields = fields(true)
	adminApp.Verified = true
	adminApp.NeedPassword = true
	adminApp.Errors = map[string]string{"confirm": "This is not the app's name."}
	publicApp := app
	publicApp.Kind = templates.KindPublic
	publicApp.Secrets = nil
	serviceApp := app
	serviceApp.Kind = templates.KindService

	noticed := func(p templates.Page, text string) templates.Page {
		p.Notice = text
		return p
	}

	users := []templates.AdminUser{
		{
			ID:       "user_01",
			Name:     "Grace Hopper",
			Email:    "grace@example.com",
			Admin:    true,
			Created:  ago(400 * aDay),
			LastSeen: ago(time.Minute),
			Self:     true,
		},
		{ID: "user_02", Name: "Ada Lovelace", Email: "ada@example.com", Created: ago(90 * aDay), LastSeen: ago(2 * aDay)},
		{
			ID:       "user_03",
			Email:    "a.person.with.a.rather.long.address@a.department.of.a.university.example.com",
			Created:  ago(5 * aDay),
			Disabled: true,
		},
	}

	return append(workspaceSamples(), []sample{
		{"login", templates.LoginPage(templates.LoginView{Page: page("", nil), Flow: "sealed-flow", AppName: "Acme Sync"})},
		{"login-plain-setup", templates.LoginPage(templates.LoginView{Page: page("", nil), SetupHint: true})},
		{"login-error", templates.LoginPage(templates.LoginView{
			Page: page("", nil), Flow: "sealed-flow", AppName: longName, Email: "ada@example.com",
			Error: "E-mail and password do not go together. Check both and try again.",
		})},
		{"login-reauth", templates.LoginPage(templates.LoginView{
			Page:      page("", nil),
			Flow:      "sealed-flow",
			AppName:   "Acme Sync",
			Email:     "ada@example.com",
			Reauth:    true,
			SwitchURL: "/login?switch=1&flow=sealed-flow",
		})},
		{"login-invitation", templates.LoginPage(templates.LoginView{
			Page: page("", nil), Flow: "sealed-flow", Email: "ada@example.com",
			Invitation: &templates.InvitedTo{Workspace: longName, For: "ada@example.com"},
		})},
		{"logout", templates.LogoutPage(templates.LogoutView{Page: page("", ada)})},
		{
			"sign-in-link",
			templates.SignInLinkPage(templates.SignInLinkView{
				Page: page("", nil), Token: "one-time-word", Email: "ada@example.com",
			}),
		},
		{"setup", templates.SetupPage(templates.SetupView{Page: page("", nil), Token: "one-time-word"})},
		{"setup-errors", templates.SetupPage(templates.SetupView{
			Page: page("", nil), Name: "Grace Hopper", Email: "grace@example",
			Errors: map[string]string{
				"word":     "Enter the set-up word.",
				"password": "Choose a password of at least 15 characters.",
			},
		})},
		{"consent", templates.ConsentPage(consent())},
		{"consent-unverified", templates.ConsentPage(consentUnverified)},
		{"consent-again", templates.ConsentPage(consentAgain)},
		{"consent-loopback", templates.ConsentPage(consentLoopback)},
		{"error", templates.ErrorPage(templates.ErrorView{
			Page: page("", nil), Status: 400, Heading: "This request has expired",
			Message:   "It was open for more than 10 minutes. Go back to the app and start again.",
			RequestID: "req_0195a0c0example",
			BackURL:   "https://acme.example/callback?error=access_denied",
			BackText:  "Back to Acme Sync",
		})},
		{
			"error-bare",
			templates.ErrorPage(templates.ErrorView{
				Page:      page("", ada),
				Status:    404,
				Heading:   "Nothing is here",
				Message:   "The page does not exist, or it is not yours to see.",
				RequestID: "req_0195a0c0example",
			}),
		},
		{"profile", templates.ProfilePage(templates.ProfileView{
			Page: noticed(page(templates.SectionProfile, ada), "Your name was saved."),
			Name: "Ada Lovelace", Email: "ada@example.com", UserID: "user_0195a0c0example", MemberSince: ago(400 * aDay),
		})},
		{"security", templates.SecurityPage(templates.SecurityView{
			Page: page(templates.SectionSecurity, admin),
			Sessions: []templates.SessionRow{
				{
					ID:         "s1",
					Browser:    "Firefox on Linux",
					Address:    "192.0.2.10",
					Current:    true,
					SignedInAt: ago(26 * time.Hour),
					LastSeenAt: ago(10 * time.Second),
				},
				{
					ID:         "s2",
					Browser:    "Safari on iPhone",
					Address:    "2001:db8:85a3:8d3:1319:8a2e:370:7348",
					SignedInAt: ago(5 * aDay),
					LastSeenAt: ago(3 * time.Hour),
				},
				{ID: "s3", Address: "198.51.100.7", SignedInAt: ago(13 * aDay), LastSeenAt: ago(aDay)},
			},
		})},
		{"security-errors", templates.SecurityPage(templates.SecurityView{
			Page: page(templates.SectionSecurity, ada),
			Sessions: []templates.SessionRow{
				{
					ID:         "s1",
					Browser:    "Firefox on Linux",
					Address:    "192.0.2.10",
					Current:    true,
					SignedInAt: ago(time.Hour),
					LastSeenAt: now,
				},
			},
			Errors: map[string]string{
				"current_password": "The current password is not right.",
				"new_password":     "Choose one of at least 15 characters.",
			},
		})},
		{"connected-apps", templates.ConnectedAppsPage(templates.ConnectedAppsView{
			Page: noticed(page(templates.SectionConnectedApps, ada), "Access revoked. The app's tokens no longer work."),
			Apps: []templates.ConnectedApp{
				{
					ID:       "g1",
					Name:     "Acme Sync",
					Site:     "https://acme.example",
					Host:     "acme.example",
					Verified: true,
					Access: []templates.ConnectedAccess{
						{
							Resource:  "Example API",
							Workspace: "Ada Lovelace",
							Scopes:    []string{"Read your data", "Create and change your data"},
						},
						{Resource: "Reports", Workspace: "Ada Lovelace", Scopes: []string{"Read your data"}},
					}, Since: ago(90 * aDay), LastUsed: ago(3 * time.Minute), Connections: 2,
				},
				{
					ID:         "g2",
					Name:       longName,
					Host:       "synchronisation-companion.development.eu-central-1.example.com",
					Disabled:   true,
					FirstParty: true,
					Since:      ago(6 * aDay),
					Access:     []templates.ConnectedAccess{{Resource: "Example API", Scopes: []string{"Read your data"}}},
				},
			},
		})},
		{
			"connected-apps-empty",
			templates.ConnectedAppsPage(templates.ConnectedAppsView{Page: page(templates.SectionConnectedApps, ada)}),
		},
		{"apps", templates.AppsPage(templates.AppsView{
			Columns: columns("name", "App", "type", "Type", "created", "Created", "people", "Used by"),
			Page:    inside(alone(templates.TabApps), ada), Base: "/settings/developer/apps",
			AuthorizeURL: "https://auth.example.com/oauth/authorize", TokenURL: "https://auth.example.com/oauth/token",
			Apps: []templates.AppRow{
				{ID: "app_1", Name: "Acme Sync", Kind: templates.KindWeb, Status: "active", Created: ago(90 * aDay), Users: 12},
				{ID: "app_2", Name: "Night import", Kind: templates.KindService, Status: "disabled", Created: ago(2 * aDay)},
				{ID: "app_3", Name: longName, Kind: templates.KindPublic, Status: "active", Created: ago(time.Hour), Users: 1},
			},
		})},
		{"apps-empty", templates.AppsPage(templates.AppsView{
			Columns: columns("name", "App", "type", "Type", "created", "Created", "people", "Used by"),
			Page:    inside(alone(templates.TabApps), ada), Base: "/settings/developer/apps",
			AuthorizeURL: "https://auth.example.com/oauth/authorize", TokenURL: "https://auth.example.com/oauth/token",
		})},
		{
			"app-new",
			templates.AppFormPage(templates.AppFormView{
				Page:      inside(alone(templates.TabApps), ada),
				Base:      "/settings/developer/apps",
				AppFields: templates.AppFields{Resources: fields(false).Resources, Refresh: true},
			}),
		},
		{
			"app-new-errors",
			templates.AppFormPage(templates.AppFormView{
				Page: inside(alone(templates.TabApps), admin), Base: "/settings/developer/apps", AppFields: several,
			}),
		},
		{"app", templates.AppPage(app)},
		{"app-admin", templates.AppPage(adminApp)},
		{"app-public", templates.AppPage(publicApp)},
		{"app-service", templates.AppPage(serviceApp)},
		{"secret-web", templates.SecretPage(secret(templates.KindWeb))},
		{"secret-service", templates.SecretPage(secret(templates.KindService))},
		{"secret-resource-server", templates.SecretPage(secret(templates.KindResourceServer))},
		{"keys", templates.KeysPage(templates.KeysView{
			Columns: columns("name", "Name", "last_used", "Last used", "created", "Created", "expires",
				"Expires", "", "Requests"),
			Page:         inside(keyPlace().Workspace, ada),
			KeyPlace:     keyPlace(),
			Environments: []string{"live", "test"},
			Keys:         keyRows(),
			NextURL:      "/settings/workspaces/engines/api-keys?after=key_5&used=0",
			CallURL:      "https://auth.example.com/v1/auth/test",
			Prefix:       "sk_test_",
		})},
		{"keys-missing", templates.KeysPage(templates.KeysView{
			Columns: columns("name", "Name", "last_used", "Last used", "created", "Created", "expires",
				"Expires", "", "Requests"),
			Page: inside(keyPlace().Workspace, ada), KeyPlace: keyPlace(), Environments: []string{"live"}, Missing: true,
		})},
		{"keys-none-fits", templates.KeysPage(templates.KeysView{
			Columns: columns("name", "Name", "last_used", "Last used", "created", "Created", "expires",
				"Expires", "", "Requests"),
			Page:         inside(keyPlace().Workspace, ada),
			KeyPlace:     keyPlace(),
			Environments: []string{"live", "test"},
			Query:        "import",
			Environment:  "test",
			State:        "paused",
		})},
		{"keys-empty", templates.KeysPage(templates.KeysView{
			Columns: columns("name", "Name", "last_used", "Last used", "created", "Created", "expires",
				"Expires", "", "Requests"),
			Page:         inside(keyPlace().Workspace, ada),
			KeyPlace:     keyPlace(),
			Environments: []string{"live", "test"},
			CallURL:      "https://auth.example.com/v1/auth/test",
			Prefix:       "sk_test_",
		})},
		{
			"key-new",
			templates.KeyFormPage(templates.KeyFormView{
				Page: inside(keyPlace().Workspace, ada), KeyPlace: keyPlace(), KeyFields: keyFields(),
			}),
		},
		{
			"key-new-errors",
			templates.KeyFormPage(templates.KeyFormView{
				Page: inside(keyPlace().Workspace, ada), KeyPlace: keyPlace(), KeyFields: objectFields(),
			}),
		},
		{"key-secret", templates.KeySecretPage(templates.KeySecretView{
			Page:     inside(keyPlace().Workspace, ada),
			KeyPlace: keyPlace(),
			Name:     "Night import",
			Key:      "sk_live_EXAMPLEexampleEXAMPLEexampleEXAMPLEexampleEXAMPLE",
			CallURL:  "https://auth.example.com/v1/auth/test",
			OldUntil: now.Add(aDay),
			NextURL:  "/settings/workspaces/engines/api-keys/key_1",
		})},
		{"key", templates.KeyPage(key())},
		{"key-rotating", templates.KeyPage(rotating)},
		{"key-revoked", templates.KeyPage(ended)},
		{"key-errors", templates.KeyPage(wrong)},
		{"tokens", templates.KeysPage(templates.KeysView{
			Columns:  columns("name", "Name", "last_used", "Last used", "created", "Created", "expires", "Expires"),
			Page:     page(templates.SectionTokens, ada),
			KeyPlace: tokenPlace(),
			Keys:     []templates.KeyRow{token.KeyRow},
			Reach:    reachNow(),
			CallURL:  "https://auth.example.com/v1/auth/test", Prefix: "pat_",
		})},
		{
			"token-new",
			templates.KeyFormPage(templates.KeyFormView{
				Page: page(templates.SectionTokens, ada), KeyPlace: tokenPlace(), KeyFields: tokenFields(), Reach: reachNow(),
			}),
		},
		{"token-secret", templates.KeySecretPage(templates.KeySecretView{
			Page:     page(templates.SectionTokens, ada),
			KeyPlace: tokenPlace(),
			Name:     "Editor",
			Key:      "pat_EXAMPLEexampleEXAMPLEexampleEXAMPLEexampleEXAMPLE",
			CallURL:  "https://auth.example.com/v1/auth/test",
			Header:   "X-Workspace",
			Slug:     "ada",
			NextURL:  "/settings/developer/personal-access-tokens/token_1",
		})},
		{"token", templates.KeyPage(token)},
		{"proof", templates.ProofPage(templates.ProofView{
			Page:    page("", ada),
			Action:  "/settings/workspaces/engines/invitations",
			BackURL: "/settings/workspaces/engines/members",
			Fields:  []templates.FormField{{Name: "email", Value: "new@example.com"}, {Name: "role", Value: "admin"}},
		})},
		{"proof-error", templates.ProofPage(templates.ProofView{
			Page:    page("", ada),
			Action:  "/settings/workspaces/engines/invitations",
			BackURL: "/settings/workspaces/engines/members",
			Fault:   "Incorrect password.",
		})},
		{"no-role", templates.NoRolePage(templates.NoRoleView{
			Page:      inside(keyPlace().Workspace, ada),
			Workspace: keyPlace().Workspace,
			Message:   "To manage keys in this workspace takes the role admin; ask an owner for it.",
		})},
		{"admin-users", templates.AdminUsersPage(templates.AdminUsersView{
			Columns: columns("name", "User", "email", "Email", "created", "Added", "last_seen", "Last signed in", "", "Actions"),
			Page:    page(templates.SectionAdminUsers, admin), Users: users, NextURL: "/admin/users?after=user_03",
		})},
		{"admin-users-errors", templates.AdminUsersPage(templates.AdminUsersView{
			Columns: columns("name", "User", "email", "Email", "created", "Added", "last_seen",
				"Last signed in", "", "Actions"),
			Page:         page(templates.SectionAdminUsers, admin),
			Query:        "lovelace",
			NewName:      "Ada",
			NewEmail:     "ada@example.com",
			NewAdmin:     true,
			NeedPassword: true, PrevURL: "/admin/users?q=lovelace",
			Errors: map[string]string{"email": "There is already an account with this address."},
		})},
		{"admin-user", templates.AdminUserPage(templates.AdminUserView{
			Page:       page(templates.SectionAdminUsers, admin),
			AdminUser:  templates.AdminUser{ID: "user_01", Name: "Ada", Email: "ada@example.com"},
			SavedEmail: "ada@example.com",
			Workspaces: []string{"Ada (ada)", "Engines (engines)"}, Tokens: []string{"Laptop: pat_…x0Zb"},
		})},
		{"admin-user-errors", templates.AdminUserPage(templates.AdminUserView{
			Page:         page(templates.SectionAdminUsers, admin),
			AdminUser:    templates.AdminUser{ID: "user_01", Name: "Ada", Email: "ada", Disabled: true},
			SavedEmail:   "ada@example.com",
			NeedPassword: true,
			Errors: map[string]string{
				"email":            "Write one address.",
				"admin":            "Nobody else could administer this server.",
				"current_password": "Incorrect password.",
			},
		})},
		{"admin-apps", templates.AdminAppsPage(templates.AdminAppsView{
			Columns: columns("name", "App", "", "Type", "", "Created by", "created", "Created", "", "Actions"),
			Page:    page(templates.SectionAdminApps, admin), PrevURL: "/admin/apps", NextURL: "/admin/apps?after=app_2",
			Apps: []templates.AdminApp{
				{
					ID:         "app_1",
					Name:       "Acme Sync",
					Owner:      "ada@example.com",
					Kind:       templates.KindWeb,
					Verified:   true,
					FirstParty: true,
					Created:    ago(90 * aDay),
				},
				{
					ID:           "app_2",
					Name:         longName,
					Kind:         templates.KindResourceServer,
					PKCEOptional: true,
					Disabled:     true,
					Created:      ago(2 * aDay),
				},
			},
		})},
	}...)
}
