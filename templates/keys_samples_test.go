package templates_test

import (
	"time"

	"doorward/locale"
	"doorward/templates"
)

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
			Created:      ago(97 * aDay),
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
			Roles: []templates.TokenRole{
				{Token: "", Effective: templates.AsIs("owner")},
				{Token: "viewer", Effective: templates.AsIs("viewer")},
				{Token: "member", Effective: templates.AsIs("member")},
				{Token: "admin", Effective: templates.AsIs("admin")},
			},
		},
		{
			Slug: "engines",
			Name: "Analytical Engines Ltd",
			Roles: []templates.TokenRole{
				{Token: "", Effective: templates.AsIs("member")},
				{Token: "viewer", Effective: templates.AsIs("viewer")},
				{Token: "member", Effective: templates.AsIs("member")},
				{Token: "admin", Effective: templates.AsIs("member")},
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
			{
				Value: "live", Text: templates.AsIs("Live"), Selected: true,
				Hint: templates.AsIs("For production. At most 1,000 requests per hour, burst of 100."),
			},
			{
				Value: "test", Text: templates.AsIs("Test"),
				Hint: templates.AsIs("For testing. At most 100 requests per hour, burst of 20."),
			},
		},
		PlanText: templates.AsIs("At most 1,000, the limit of the plan. Leave empty to use that limit."),
		Expiries: []templates.Option{
			{Value: "30", Text: templates.AsIs("in 30 days, on 3 April 2026")},
			{Value: "90", Text: templates.AsIs("in 90 days, on 2 June 2026"), Selected: true},
			{Value: "never", Text: templates.AsIs("never")},
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
		{Text: templates.AsIs("Same as the workspace (5,000 requests per hour)"), Selected: true},
		{Value: "free", Text: templates.AsIs("free (100 requests per hour, burst of 20)")},
	}
	f.NeedPassword = true
	f.Errors = map[string]locale.Text{
		"name":        templates.AsIs("The name is longer than 100 characters."),
		"scope":       templates.AsIs("The permission is missing; choose at least one."),
		"environment": templates.AsIs("The environment \"prod\" is unknown; choose live or test."),
		"resource": templates.AsIs(
			"The API \"https://api.example.com\" does not accept API keys; use an app or a personal access token.",
		),
		"plan":       templates.AsIs("The plan \"pro\" exceeds the workspace's plan; choose a smaller one."),
		"rate_limit": templates.AsIs("The rate limit exceeds the plan's 1,000 requests per hour; enter a lower number."),
		"expires":    templates.AsIs("Choose an expiration date."),
		"addresses": templates.AsIs("The allowed IP addresses: \"192.0.2.7/24\" has host bits set; use 192.0.2.0/24 for " +
			"the range, or 192.0.2.7 for one address."),
		"password": templates.AsIs("Incorrect password."),
	}
	return f
}

func tokenFields() templates.KeyFields {
	f := keyFields()
	f.Environments, f.PlanText = nil, locale.Text{}
	f.Roles = []templates.Option{
		{
			Value: "", Text: templates.AsIs("My own role"), Hint: templates.AsIs("Your role in each workspace."),
			Selected: true,
		},
		{Value: "viewer", Text: templates.AsIs("Viewer"), Hint: templates.AsIs("Can only view.")},
		{Value: "member", Text: templates.AsIs("Member"), Hint: templates.AsIs("Can do what members can.")},
		{
			Value: "admin", Text: templates.AsIs("Admin"),
			Hint: templates.AsIs("Can do what admins can, but not what requires an owner."),
		},
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
		LimitText: templates.AsIs("1,000 requests per hour, burst of 100 (plan: pro)"),
		Left:      templates.AsIs("988 of 1,000, resets at 10:40 UTC on 4 March"),
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
				Reason:    "the credential lacks the scope admin",
				RequestID: "0195a0c0exampleexample02",
				Address:   "192.0.2.10",
			},
			{
				At:        ago(2 * aDay),
				Action:    "Token introspection",
				Status:    429,
				Reason:    "rate limit exceeded",
				RequestID: "0195a0c0exampleexample03",
				Address:   "2001:db8:85a3:8d3:1319:8a2e:370:7348",
			},
		}},
		Events: []templates.KeyEvent{
			{
				At: ago(aDay), Text: templates.AsIs("Permissions changed to read, write."), Who: "Grace Hopper",
				Address: "198.51.100.7",
			},
			{
				At: ago(97 * aDay), Text: templates.AsIs("Created with the permissions read, write, delete"),
				Who: "Ada Lovelace", Address: "192.0.2.10",
			},
		},
	}
}

// keySamples are the pages about API keys and personal access tokens.
func keySamples() []sample {
	rotating := key()
	rotating.KeyRow = keyRows()[1]
	rotating.Replaces, rotating.CanRotate, rotating.NeedPassword = nil, false, true
	rotating.ReplacedBy = &templates.RelatedKey{ID: "key_9", Masked: "sk_test_…9oPl", State: "active"}
	rotating.LastDay, rotating.KeyFields.Name, rotating.Note = 1, longName, ""
	rotating.Left, rotating.OldDays, rotating.Events = locale.Text{}, 0, []templates.KeyEvent{
		{
			At: rotating.Created, Who: rotating.Creator, Address: "198.51.100.7",
			Text: templates.AsIs("Created with the permissions accounts:read, accounts:write, contacts:read, contacts:write, " +
				"opportunities:read, reports:read"),
		},
	}
	for len(rotating.Requests.Last) < 12 {
		rotating.Requests.Last = append(rotating.Requests.Last, rotating.Requests.Last[:3]...)
	}
	rotating.Requests.Asked, rotating.Requests.Found = rotating.Requests.Last[1].RequestID, rotating.Requests.Last[1:2]
	ended := key()
	ended.KeyRow = keyRows()[4]
	ended.Final, ended.Revoked, ended.CanRotate, ended.Replaces, ended.Requests, ended.Events, ended.Ranges = true,
		ago(aDay), false, nil, templates.Requests{}, nil, nil
	ended.Left, ended.OldDays = locale.Text{}, 0
	wrong := key()
	wrong.State, wrong.Plans, wrong.NeedPassword = "paused", objectFields().Plans, true
	wrong.Errors = map[string]locale.Text{
		"name":     templates.AsIs("The name is missing; name the program that uses the key."),
		"grace":    templates.AsIs("Choose when the current key expires."),
		"password": templates.AsIs("Incorrect password."),
		"confirm":  templates.AsIs("Type the name exactly as shown. Nothing was revoked."),
	}
	token := key()
	token.KeyPlace, token.Page, token.KeyFields = tokenPlace(), page(templates.SectionTokens, ada), tokenFields()
	token.KeyRow = templates.KeyRow{
		ID:      "token_1",
		Name:    "Editor",
		Masked:  "pat_…q8Zt",
		State:   "active",
		Scopes:  []string{"read", "write"},
		Role:    templates.AsIs("member"),
		Created: ago(3 * aDay),
		Days:    month(30),
	}
	token.Requests.Path = tokenPlace().Base + "/token_1"
	token.Confirm, token.Replaces, token.LimitText, token.Left, token.OldDays, token.Reach = false,
		nil, locale.Text{}, locale.Text{}, 0, reachNow()
	token.LastUsed, token.LastUsedFrom = token.Requests.Last[0].At, token.Requests.Last[0].Address
	token.Events = []templates.KeyEvent{{
		At: token.Created, Text: templates.AsIs("Created with the permissions read, write"), Who: "Ada Lovelace",
		Address: "192.0.2.10",
	}}

	return []sample{
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
		{"keys-no-matches", templates.KeysPage(templates.KeysView{
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
	}
}
