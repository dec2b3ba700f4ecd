package templates_test

import (
	"time"

	"github.com/a-h/templ"

	"doorward/locale"
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

// page is the Page of a page that is not about a workspace.
func page(section string, user *templates.Viewer) templates.Page {
	p := templates.Page{Nonce: "bm9uY2U", Now: now, User: user, Section: section}
	if user != nil {
		p.Navigation.Workspace = engines("owner", templates.TabKeys)
	}
	return p
}

// inside is the Page of a page about a workspace.
func inside(bar templates.WorkspaceBar, user *templates.Viewer) templates.Page {
	p := page("", user)
	p.Navigation = templates.Navigation{Workspace: bar, Inside: true}
	return p
}

// columns returns the columns of a list that is sorted by the first one. pairs are their names and texts.
func columns(pairs ...string) (list []templates.Column) {
	for i := 0; i+1 < len(pairs); i += 2 {
		c := templates.Column{By: pairs[i], Text: templates.AsIs(pairs[i+1])}
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

// sample is a page with data, and the name of its golden file.
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
				{
					Name: "admin", Text: "Everything", Kind: templates.ScopeDanger, Also: []string{"Read your data"},
					Under: []templates.IncludedChoice{
						{Name: "capture", Text: "Add to your data", Kind: templates.ScopeWrite, UserOnly: true},
					},
				},
			},
		}},
		Refresh: true, Administrator: administrator,
		AppAuthentication: templates.AppAuthentication{
			AuthAlgorithms: []string{"ES256", "PS256", "RS256"}, FAPIMeans: fapiMeans,
		},
	}
}

var fapiMeans = []locale.Text{
	locale.New("The app is confidential and authenticates with private_key_jwt."),
	locale.New("Refresh tokens do not rotate."),
}

var tokenExpiries = []templates.Option{
	{Value: "1", Text: locale.New("in %d days, on %s", 1, locale.Day(now.Add(aDay)))},
	{Value: "7", Text: locale.New("in %d days, on %s", 7, locale.Day(now.Add(7*aDay))), Selected: true},
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
		NotGranted: locale.New("It will not see your password or get any permissions beyond those listed here."),
		Lasts:      []locale.Text{locale.New("Access expires after 30 days, or after 7 days without use.")},
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

func samples() []sample {
	consentUnverified := consent()
	consentUnverified.App = templates.ConsentApp{
		Name: "Acme Sync", Site: "https://acme.example", RedirectHost: "acme.example",
	}
	consentUnverified.Workspaces = []templates.WorkspaceChoice{
		{Slug: "personal-01a205da6a79", Name: "Ada Lovelace", Personal: true, Selected: true},
		{Slug: "engines", Name: "Analytical Engines Ltd"},
	}
	consentUnverified.OtherWorkspaces = true

	consentDocument := consent()
	consentDocument.Described = "per-description-token"
	consentDocument.App = templates.ConsentApp{
		Name: "Acme Sync", Site: "https://acme.example", RedirectHost: "sync.acme.example", SelfRegistered: true,
		ProvenHost: "sync.acme.example", PolicyURL: "https://acme.example/privacy",
	}
	consentChanged := consent()
	consentChanged.App = templates.ConsentApp{
		Name: "Acme Sync", RedirectHost: "127.0.0.1", Loopback: true, SelfRegistered: true, ProvenHost: "acme.example",
		OnlyLoopback: true, FirstSeen: now.Add(-40 * aDay), Change: &templates.ConsentChange{
			OldName: "Acme", Added: []string{"http://127.0.0.1/callback"}, Removed: []string{"https://acme.example/callback"},
			NewKeys: true,
		},
	}

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
	consentLoopback.Error = locale.New("Choose at least one permission, or deny the request.")
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
	several.Errors = map[string]locale.Text{
		"redirect_uris": locale.New("http://acme.example/callback must start with https."),
		"scope":         locale.New("The permission is missing; choose at least one."),
		"password":      locale.New("Incorrect password."),
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
			Reason:    "the route POST /v1/** requires the scope write; the credential has only the scope read",
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
	adminApp.Errors = map[string]locale.Text{
		"confirm": locale.New("Type the app's name exactly as shown. Nothing was deleted."),
	}
	keyApp := app
	keyApp.AppAuthentication = templates.AppAuthentication{
		AuthMethod: "private_key_jwt", AuthAlgorithm: "PS256", AuthAlgorithms: app.AuthAlgorithms,
		JWKS:               `{"keys":[{"kty":"EC","kid":"2026-10"}]}`,
		PushedRequestsOnly: true, DPoPBound: true, FAPI: true, FAPIMeans: fapiMeans,
	}
	keyApp.Errors = map[string]locale.Text{
		"jwks": locale.New("The set of public keys has no key; send at least one."),
		"token_endpoint_auth_signing_alg": locale.New(
			"PS256 fits none of the keys in jwks; choose another algorithm, or add a key for it."),
		"fapi": locale.New("The FAPI 2.0 Security Profile is only for confidential apps."),
	}
	keyApp.Secrets, keyApp.SavedAuthMethod = nil, "private_key_jwt"
	keyApp.SavedKeys = []templates.AppKey{
		{Name: "2026-10 (NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs)", Algorithms: []string{"ES256"}},
	}
	keyApp.SavedFAPI, keyApp.SavedJWKSURI = true, "https://app.example/jwks.json"
	strangerApp := adminApp
	strangerApp.AppFields, strangerApp.Disabled, strangerApp.Owner = templates.AppFields{
		Name: longName, Site: "https://client.example", LogoURI: "https://client.example/logo.png",
		PolicyURI: "https://client.example/privacy", TOSURI: "https://client.example/terms", Kind: templates.KindPublic,
	}, false, ""
	strangerApp.ClientID, strangerApp.SavedName = "https://client.example/oauth/client.json", longName
	strangerApp.Base = "/admin/apps/https:%2F%2Fclient.example%2Foauth%2Fclient.json"
	strangerApp.Requests, strangerApp.Secrets = templates.Requests{Path: strangerApp.Base}, nil
	strangerApp.SavedDPoP = true
	strangerApp.Registration = &templates.SelfRegistration{
		By: locale.New("registered by: Its metadata document"), Document: true, Fetched: ago(3 * time.Minute), Type: "native",
		RedirectURIs: []string{"http://127.0.0.1/callback", longURI}, GrantTypes: []string{"authorization_code"},
	}
	dynamicApp := strangerApp
	dynamicApp.Kind, dynamicApp.ClientID, dynamicApp.Base = templates.KindWeb, app.ClientID, adminApp.Base
	dynamicApp.LogoURI, dynamicApp.PolicyURI, dynamicApp.TOSURI = "", "", ""
	dynamicApp.Requests.Path, dynamicApp.Secrets, dynamicApp.SavedDPoP = dynamicApp.Base, app.Secrets[:1], false
	dynamicApp.Registration = &templates.SelfRegistration{
		By: locale.New("registered by: Itself"), RedirectURIs: []string{"https://app.example/cb"},
		GrantTypes: []string{"authorization_code", "refresh_token"}, Scopes: []string{"read", "write"},
	}
	publicApp := app
	publicApp.SavedPushed, publicApp.SavedDPoP = true, true
	publicApp.Kind = templates.KindPublic
	publicApp.Secrets = nil
	serviceApp := app
	serviceApp.Kind = templates.KindService
	serviceApp.RedirectURIs, serviceApp.Refresh, serviceApp.Users = "", false, 0

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

	return append(append(workspaceSamples(), keySamples()...), []sample{
		{"login", templates.LoginPage(templates.LoginView{Page: page("", nil), Flow: "sealed-flow", AppName: "Acme Sync"})},
		{"login-plain-setup", templates.LoginPage(templates.LoginView{Page: page("", nil), SetupHint: true})},
		{"login-error", templates.LoginPage(templates.LoginView{
			Page: page("", nil), Flow: "sealed-flow", AppName: longName, Email: "ada@example.com",
			Error: locale.New("Incorrect email address or password."),
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
				Page: page("", nil), Token: "setup-token", Email: "ada@example.com",
			}),
		},
		{"setup", templates.SetupPage(templates.SetupView{Page: page("", nil), Token: "setup-token"})},
		{"setup-errors", templates.SetupPage(templates.SetupView{
			Page: page("", nil), Name: "Grace Hopper", Email: "grace@example",
			Errors: map[string]locale.Text{
				"word":     locale.New("Enter the setup token."),
				"password": locale.New("Choose a password of at least 15 characters."),
			},
		})},
		{"consent", templates.ConsentPage(consent())},
		{"consent-unverified", templates.ConsentPage(consentUnverified)},
		{"consent-document", templates.ConsentPage(consentDocument)},
		{"consent-changed", templates.ConsentPage(consentChanged)},
		{"consent-again", templates.ConsentPage(consentAgain)},
		{"consent-loopback", templates.ConsentPage(consentLoopback)},
		{"error", templates.ErrorPage(templates.ErrorView{
			Page: page("", nil), Status: 400, Heading: locale.New("This request has expired"),
			Message:   locale.New("It was open for more than ten minutes. Start again from the app."),
			RequestID: "req_0195a0c0example",
			BackURL:   "https://acme.example/callback?error=access_denied",
			BackText:  locale.New("Back to Acme Sync"),
		})},
		{
			"error-bare",
			templates.ErrorPage(templates.ErrorView{
				Page:      page("", ada),
				Status:    404,
				Heading:   locale.New("Page not found"),
				Message:   locale.New("The page does not exist, or you do not have access to it."),
				RequestID: "req_0195a0c0example",
			}),
		},
		{"profile", templates.ProfilePage(templates.ProfileView{
			Page: noticed(page(templates.SectionProfile, ada), "Your name was saved."),
			Name: "Ada Lovelace", Email: "ada@example.com", UserID: "user_0195a0c0example", MemberSince: ago(400 * aDay),
			MayChange: true, Languages: []templates.Option{
				{Text: locale.New("As the browser asks"), Selected: true}, {Value: "de", Text: templates.AsIs("Deutsch")},
			},
			Zones: []templates.Option{
				{Text: locale.New("UTC, the same everywhere"), Selected: true},
				{Value: "Europe/Berlin", Text: templates.AsIs("Europe/Berlin")},
			},
		})},
		{"profile-errors", templates.ProfilePage(templates.ProfileView{
			Page: page(templates.SectionProfile, ada), Name: "Ada", Email: "ada@example.com", UserID: "user_0195a0c0example",
			MemberSince: ago(400 * aDay), MayChange: true, NewEmail: "ada@",
			Errors: map[string]locale.Text{"email": locale.New(
				"Enter one email address, such as name@example.com, in Latin letters only.",
			)},
		})},
		{"security", templates.SecurityPage(templates.SecurityView{
			Page: page(templates.SectionSecurity, admin), Password: true,
			Sessions: []templates.SessionRow{
				{
					ID:         "s1",
					Browser:    locale.New("%s on %s", "Firefox", "Linux"),
					Address:    "192.0.2.10",
					Current:    true,
					SignedInAt: ago(26 * time.Hour),
					LastSeenAt: ago(10 * time.Second),
				},
				{
					ID:         "s2",
					Browser:    locale.New("%s on %s", "Safari", "iPhone"),
					Address:    "2001:db8:85a3:8d3:1319:8a2e:370:7348",
					NewDevice:  true,
					SignedInAt: ago(5 * aDay),
					LastSeenAt: ago(3 * time.Hour),
				},
				{ID: "s3", Address: "198.51.100.7", SignedInAt: ago(13 * aDay), LastSeenAt: ago(aDay)},
			},
		})},
		{"security-no-password", templates.SecurityPage(templates.SecurityView{
			Page: page(templates.SectionSecurity, ada), ResetURL: "/forgot",
		})},
		{"security-errors", templates.SecurityPage(templates.SecurityView{
			Page: page(templates.SectionSecurity, ada), Password: true,
			Sessions: []templates.SessionRow{
				{
					ID:         "s1",
					Browser:    locale.New("%s on %s", "Firefox", "Linux"),
					Address:    "192.0.2.10",
					Current:    true,
					SignedInAt: ago(time.Hour),
					LastSeenAt: now,
				},
			},
			Errors: map[string]locale.Text{
				"current_password": locale.New("Incorrect current password."),
				"new_password":     locale.New("Choose a password of at least 15 characters."),
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
				{
					ID: "https://client.example/oauth/client.json", Name: longName, Site: "https://client.example",
					Host: "127.0.0.1", ProvenHost: "client.example", Since: ago(time.Hour),
					Access: []templates.ConnectedAccess{{Resource: "Example API", Scopes: []string{"Read your data"}}},
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
				{ID: "app_1", Name: "Acme Sync", Kind: templates.KindWeb, Created: ago(90 * aDay), Users: 12},
				{ID: "app_2", Name: "Night import", Kind: templates.KindService, Disabled: true, Created: ago(2 * aDay)},
				{ID: "app_3", Name: longName, Kind: templates.KindPublic, Created: ago(time.Hour), Users: 1},
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
				Page: inside(alone(templates.TabApps), ada),
				Base: "/settings/developer/apps",
				AppFields: templates.AppFields{
					Resources: fields(false).Resources, Refresh: true,
					AppAuthentication: fields(false).AppAuthentication,
				},
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
		{"app-key", templates.AppPage(keyApp)},
		{"app-document", templates.AppPage(strangerApp)},
		{"app-dynamic", templates.AppPage(dynamicApp)},
		{"app-public", templates.AppPage(publicApp)},
		{"app-service", templates.AppPage(serviceApp)},
		{"secret-web", templates.SecretPage(secret(templates.KindWeb))},
		{"secret-service", templates.SecretPage(secret(templates.KindService))},
		{"secret-resource-server", templates.SecretPage(secret(templates.KindResourceServer))},
		{"proof", templates.ProofPage(templates.ProofView{
			Page:     page("", ada),
			Action:   "/settings/workspaces/engines/invitations",
			BackURL:  "/settings/workspaces/engines/members",
			Fields:   []templates.FormField{{Name: "email", Value: "new@example.com"}, {Name: "role", Value: "admin"}},
			Password: true,
		})},
		{"proof-link", templates.ProofPage(templates.ProofView{
			Page:     page("", ada),
			Action:   "/settings/profile/delete",
			BackURL:  "/settings/profile",
			AgainURL: "/login?again=1&return_to=%2Fsettings%2Fprofile",
		})},
		{"proof-error", templates.ProofPage(templates.ProofView{
			Page: page("", ada), Password: true, AgainURL: "/login?again=1&return_to=%2F",
			Action:  "/settings/workspaces/engines/invitations",
			BackURL: "/settings/workspaces/engines/members",
			Fault:   locale.New("Incorrect password."),
		})},
		{"no-role", templates.NoRolePage(templates.NoRoleView{
			Page:      inside(engines("member", templates.TabKeys), ada),
			Workspace: engines("member", templates.TabKeys),
			Message:   locale.New("You need the admin role in this workspace to manage keys. Ask an owner to change your role."),
		})},
		{"admin-users", templates.AdminUsersPage(templates.AdminUsersView{
			Columns: columns("name", "User", "email", "Email", "created", "Added", "last_seen", "Last signed in", "", "Actions"),
			Page:    page(templates.SectionAdminUsers, admin), Users: users, NextURL: "/admin/users?after=user_03",
		})},
		{"admin-users-invite", templates.AdminUsersPage(templates.AdminUsersView{
			Columns: columns("name", "User", "email", "Email", "created", "Added", "last_seen", "Last signed in", "", "Actions"),
			Page:    page(templates.SectionAdminUsers, admin), Invites: true, Filter: "waiting",
			Filters: []templates.Option{
				{Text: locale.New("All users")},
				{Value: "waiting", Text: locale.New("Waiting for approval"), Selected: true},
			},
			Users: []templates.AdminUser{{
				ID: "user_04", Email: "new@example.com", Created: ago(time.Hour), Disabled: true, Waiting: true,
			}},
			NewEmail: "ada", Errors: map[string]locale.Text{
				"email": locale.New("Enter one email address, such as name@example.com, in Latin letters only."),
			},
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
			Errors: map[string]locale.Text{"email": locale.New("There is already an account with this address.")},
		})},
		{"admin-user", templates.AdminUserPage(templates.AdminUserView{
			Page:       page(templates.SectionAdminUsers, admin),
			AdminUser:  templates.AdminUser{ID: "user_01", Name: "Ada", Email: "ada@example.com"},
			SavedEmail: "ada@example.com",
			Workspaces: []locale.Text{templates.AsIs("Ada (ada)"), templates.AsIs("Engines (engines)")},
			Tokens:     []string{"Laptop: pat_…x0Zb"},
		})},
		{"admin-user-email", templates.AdminUserPage(templates.AdminUserView{
			Page: page(templates.SectionAdminUsers, admin),
			AdminUser: templates.AdminUser{
				ID: "user_01", Name: "Ada", Email: "ada@example.com", Created: ago(90 * aDay), LastSeen: ago(time.Hour),
			},
			SavedEmail: "ada@example.com", Invites: true, Resets: true, EmailProven: ago(90 * aDay),
			TermsURL: "https://example.com/terms", TermsAccepted: ago(90 * aDay),
			Methods: []templates.MethodRow{
				{ID: "password", Kind: locale.New("Password"), Since: ago(9 * aDay), Locked: true},
				{ID: "passkey_1", Name: "Bitwarden", Kind: locale.New("Passkey"), Since: ago(9 * aDay), Paired: true},
			},
			Sessions: []templates.SessionRow{
				{
					ID: "session_1", Browser: templates.AsIs("Firefox on Linux"), Address: "192.0.2.1",
					SignedInAt: ago(aDay), LastSeenAt: ago(time.Minute),
				},
				{ID: "session_2", Address: "192.0.2.2", Current: true, SignedInAt: ago(aDay), LastSeenAt: ago(time.Minute)},
			},
		})},
		{"admin-user-waiting", templates.AdminUserPage(templates.AdminUserView{
			Page: page(templates.SectionAdminUsers, admin),
			AdminUser: templates.AdminUser{
				ID: "user_01", Name: "Ada", Email: "ada@example.com", Disabled: true, Waiting: true, Created: ago(aDay),
			},
			SavedEmail: "ada@example.com", Invites: true, Resets: true,
		})},
		{"admin-user-errors", templates.AdminUserPage(templates.AdminUserView{
			Page:         page(templates.SectionAdminUsers, admin),
			AdminUser:    templates.AdminUser{ID: "user_01", Name: "Ada", Email: "ada", Disabled: true},
			SavedEmail:   "ada@example.com",
			NeedPassword: true,
			Errors: map[string]locale.Text{
				"email":            locale.New("Enter one email address, such as name@example.com, in Latin letters only."),
				"admin":            locale.New("This is the only administrator. Create or enable another administrator first."),
				"current_password": locale.New("Incorrect password."),
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
				{
					ID: "https://client.example/oauth/client.json", Name: "Stranger", Kind: templates.KindPublic,
					Created: ago(aDay), Registered: locale.New("registered by: Its metadata document"), Document: true,
				},
				{
					ID: "app_3", Name: "Other stranger", Kind: templates.KindWeb, Created: ago(time.Hour), Disabled: true,
					Registered: locale.New("registered by: Itself"),
				},
			},
		})},
		{"registration-tokens", templates.RegistrationTokensPage(templates.RegistrationTokensView{
			Columns: []templates.Column{
				{Text: locale.New("Token")},
				{Text: locale.New("Created by")},
				{Text: locale.New("Apps")},
				{By: "created", Text: locale.New("Created"), Down: true, URL: "?sort=created", Sorted: "descending"},
				{By: "used", Text: locale.New("Last used"), Down: true, URL: "?sort=-used"},
				{By: "expires", Text: locale.New("Expires"), URL: "?sort=expires"},
				{Text: locale.New("Actions")},
			},
			Page: noticed(page(templates.SectionAdminTokens, admin), "The registration token was revoked."), Mode: "token",
			Uses: "1", Expires: tokenExpiries, NextURL: "/admin/registration-tokens?after=regtoken_2",
			Tokens: []templates.RegistrationTokenRow{
				{
					ID: "regtoken_1", Masked: "dw_ia_…x0Zb", By: "Grace Hopper", Used: 3, Uses: 25, Created: ago(2 * aDay),
					LastUsed: ago(time.Hour), Expires: now.Add(5 * aDay),
				},
				{
					ID: "regtoken_2", Masked: "dw_ia_…q8Zt", Used: 1, Uses: 1, Created: ago(6 * aDay), LastUsed: ago(aDay),
					Expires: now.Add(time.Hour),
				},
			},
		})},
		{"registration-tokens-closed", templates.RegistrationTokensPage(templates.RegistrationTokensView{
			Page: page(templates.SectionAdminTokens, admin), Mode: "closed", Uses: "0", Expires: tokenExpiries,
			Errors: map[string]locale.Text{
				"uses":    locale.New("The number of apps must be between 1 and 100,000."),
				"expires": locale.New("Choose when the token expires."),
			},
		})},
		{"registration-tokens-open", templates.RegistrationTokensPage(templates.RegistrationTokensView{
			Page: page(templates.SectionAdminTokens, admin), Mode: "open", Uses: "1", Expires: tokenExpiries,
		})},
		{"registration-token", templates.RegistrationTokenPage(templates.RegistrationTokenView{
			Page:  page(templates.SectionAdminTokens, admin),
			Token: "dw_ia_EXAMPLEexampleEXAMPLEexampleEXAMPLEexampleEXAMPLE", Uses: 25, Expires: now.Add(7 * aDay),
			RegisterURL: "https://auth.example.com/oauth/register", NextURL: "/admin/registration-tokens",
		})},
	}...)
}
