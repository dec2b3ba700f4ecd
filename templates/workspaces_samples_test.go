package templates_test

import (
	"time"

	"doorward/locale"
	"doorward/templates"
)

// engines is a shared workspace in which the viewer has a role.
func engines(role, tab string) templates.WorkspaceBar {
	return templates.WorkspaceBar{
		Slug: "engines", Name: "Analytical Engines Ltd", Role: role, Tab: tab,
		All: []templates.WorkspaceLink{
			{Slug: "personal-01a205da6a79", Name: "Ada Lovelace"},
			{Slug: "engines", Name: "Analytical Engines Ltd", Current: true},
			{Slug: "old", Name: "Old mill", Disabled: true},
		},
	}
}

// alone is the viewer's personal workspace.
func alone(tab string) templates.WorkspaceBar {
	return templates.WorkspaceBar{
		Slug: "personal-01a205da6a79", Name: "Ada Lovelace", Role: "owner", Personal: true, Tab: tab,
	}
}

func roleOptions(chosen string) []templates.Option {
	return []templates.Option{
		{Value: "viewer", Text: templates.RoleText("viewer"), Selected: chosen == "viewer"},
		{Value: "member", Text: templates.RoleText("member"), Selected: chosen == "member"},
		{Value: "admin", Text: templates.RoleText("admin"), Selected: chosen == "admin"},
		{Value: "owner", Text: templates.RoleText("owner"), Selected: chosen == "owner"},
	}
}

func workspaceSamples() []sample {
	members := templates.MembersView{
		Columns:   columns("name", "Member", "role", "Role", "joined", "Joined", "", "Actions"),
		Page:      inside(engines("owner", templates.TabMembers), ada),
		Workspace: engines("owner", templates.TabMembers),
		MayInvite: true,
		Roles:     roleOptions("member"),
		Members: []templates.MemberRow{
			{
				ID:    "user_01",
				Name:  "Ada Lovelace",
				Email: "ada@example.com",
				Role:  "owner",
				Self:  true,
				Since: ago(300 * aDay),
				Roles: roleOptions("owner"),
			},
			{
				ID:        "user_02",
				Name:      "Charles Babbage",
				Email:     "charles@example.com",
				Role:      "admin",
				Since:     ago(20 * aDay),
				Roles:     roleOptions("admin"),
				MayRemove: true,
			},
			{
				ID:       "user_03",
				Email:    "a.person.with.a.rather.long.address@a.department.of.a.university.example.com",
				Role:     "viewer",
				Disabled: true,
				Since:    ago(time.Hour), Roles: roleOptions("viewer"), MayRemove: true,
			},
		},
		Invitations: []templates.InvitationRow{
			{ID: "invitation_1", Email: "mary@example.com", Role: "member", By: "Ada Lovelace", Expires: now.Add(6 * aDay)},
			{ID: "invitation_2", Email: "luigi@example.com", Role: "owner", Expires: now.Add(2 * time.Hour)},
		},
		NextURL: "/settings/workspaces/engines/members?after=user_03",
	}
	seen := members
	seen.Workspace, seen.MayInvite, seen.NextURL, seen.PrevURL = engines("member", templates.TabMembers), false, "",
		"/settings/workspaces/engines/members"
	seen.Members = []templates.MemberRow{
		{ID: "user_01", Name: "Ada Lovelace", Email: "ada@example.com", Role: "owner", Since: ago(300 * aDay)},
		{
			ID:    "user_02",
			Name:  "Charles Babbage",
			Email: "charles@example.com",
			Role:  "member",
			Self:  true,
			Since: ago(20 * aDay),
		},
	}
	mailed := members
	mailed.ByEmail = true
	created := members
	created.Created = &templates.CreatedInvitation{
		Email:   "mary@example.com",
		URL:     "https://auth.example.com/join/dw_in_EXAMPLEexampleEXAMPLEexampleEXAMPLEexampleEXAMPLE",
		Expires: now.Add(7 * aDay),
	}
	wrong := members
	wrong.NewEmail = "mary@"
	wrong.Error = locale.New("Nothing was changed. A workspace must have at least one owner. Make another member an " +
		"owner first.")
	wrong.Errors = map[string]locale.Text{
		"email": locale.New("Enter one email address, such as name@example.com, in Latin letters only."),
	}

	shared := templates.WorkspaceView{
		Page:      inside(engines("owner", templates.TabSettings), ada),
		Workspace: engines("owner", templates.TabSettings),
		ID:        "ws_0195a0c0example",
		Name:      "Analytical Engines Ltd",
		Plans: []templates.Option{
			{Text: locale.New("No plan")},
			{Value: "pro", Text: templates.AsIs("pro (1,000 requests per hour, burst of 100)"), Selected: true},
		},
		MayChange: true, MayDelete: true, MayLeave: true, Content: templates.WorkspaceContent{Keys: 3, Apps: 1, Members: 12},
	}
	faulty := shared
	faulty.Errors = map[string]locale.Text{
		"name":    locale.New("The name is missing; give the workspace a name that its members will recognise."),
		"confirm": locale.New("Type the slug exactly as shown. Nothing was deleted."),
	}
	own := shared
	own.Workspace, own.MayDelete, own.MayLeave = alone(templates.TabSettings), false, false
	own.Page, own.Name = inside(own.Workspace, ada), own.Workspace.Name

	apps := templates.AppsView{
		Columns:      columns("name", "App", "type", "Type", "created", "Created", "people", "Used by"),
		Page:         inside(engines("admin", templates.TabApps), ada),
		Base:         "/settings/workspaces/engines/apps",
		Workspace:    engines("admin", templates.TabApps),
		AuthorizeURL: "https://auth.example.com/oauth/authorize", TokenURL: "https://auth.example.com/oauth/token",
		Apps: []templates.AppRow{
			{ID: "app_1", Name: "Acme Sync", Kind: templates.KindWeb, Created: ago(90 * aDay), Users: 12},
		},
	}

	join := templates.JoinView{
		Page:      page("", ada),
		Action:    "/join/dw_in_EXAMPLE",
		Workspace: "Analytical Engines Ltd",
		Role:      "admin",
		For:       "ada@example.com",
		By:        "Charles Babbage",
		Expires:   now.Add(3 * aDay),
	}
	elsewhere := join
	elsewhere.For, elsewhere.By, elsewhere.Role, elsewhere.Other = "mary@example.com", "", "member", true

	ranges := []templates.RangeLink{
		{Text: locale.New("%d hours", 24), URL: "/settings/workspaces/engines/usage?range=24h"},
		{Text: locale.New("%d days", 30), URL: "/settings/workspaces/engines/usage?range=30d", Current: true},
	}
	day := make([]templates.UsageDay, 24)
	for i := range day {
		day[i] = templates.UsageDay{
			Day: now.Truncate(time.Hour).Add(time.Duration(i-23) * time.Hour), Allowed: int64(i * i % 31),
		}
	}
	usage := templates.UsageView{
		Ranges: ranges, CSVURL: "/settings/workspaces/engines/usage.csv?range=30d",
		Page:      inside(engines("admin", templates.TabUsage), ada),
		Workspace: engines("admin", templates.TabUsage),
		PlanText:  templates.AsIs("Plan: pro (1,000 requests per hour, burst of 100)"),
		Days:      month(1200),
		Rows: []templates.UsageRow{
			{
				Who:   templates.Named{Text: "Night import", URL: "/settings/workspaces/engines/api-keys/key_1"},
				Kind:  "api_key",
				Total: templates.UsageDay{Allowed: 14_202, Limited: 560, Refused: 12},
			},
			{
				Who:   templates.Named{Text: longName, URL: "/settings/workspaces/engines/apps/app_1"},
				Kind:  "access_token",
				Total: templates.UsageDay{Allowed: 902},
			},
			{
				Who:   templates.Named{Text: "pat_…x7Qa"},
				Kind:  "personal_access_token",
				Owner: "Charles Babbage",
				Total: templates.UsageDay{Allowed: 40, Refused: 3},
			},
			{
				Who:   templates.Named{Text: "key_01a205da-6b79-700e-9a81-73bb64712baf", IsID: true},
				Kind:  "api_key",
				Total: templates.UsageDay{Refused: 1},
			},
		},
		More: 7, Rest: templates.UsageDay{Allowed: 7},
	}

	audit := templates.AuditView{
		Page: inside(engines("owner", templates.TabAudit), ada), Workspace: engines("owner", templates.TabAudit),
		What: []templates.Option{
			{Text: locale.New("Everything")},
			{Value: "api_key.", Text: locale.New("API keys")},
			{Value: "member.", Text: locale.New("Members")},
		},
		Who: []templates.Option{
			{Text: locale.New("Everyone")}, {Value: "user_01", Text: templates.AsIs("Ada Lovelace")},
		},
		NextURL: "/settings/workspaces/engines/audit?after=event_1",
		Days: []templates.AuditDay{
			{Day: now.Truncate(aDay), Events: []templates.AuditRow{
				{
					ID: "event_5", At: now, Action: "api_key.rotated", Who: templates.Named{Text: "Ada Lovelace"}, With: "session",
					Target:  templates.Named{Text: "Night import", URL: "/settings/workspaces/engines/api-keys/key_1"},
					Facts:   []templates.Fact{{Name: "grace", Value: "one day"}, {Name: "into", Value: "Night import"}},
					Address: "192.0.2.10",
					Request: "9aa87760e82a14d15426521e",
				},
				{
					ID:      "event_4",
					At:      ago(time.Hour),
					Action:  "api_key.created",
					With:    "api_key",
					Key:     templates.Named{Text: "Deploy", URL: "/settings/workspaces/engines/api-keys/key_2"},
					Target:  templates.Named{Text: "key_01a205da-6b79-700e-9a81-73bb64712baf", IsID: true},
					Facts:   []templates.Fact{{Name: "scopes", Value: "read write"}},
					Address: "2001:db8:85a3:8d3:1319:8a2e:370:7348",
				},
			}},
			{Day: now.Truncate(aDay).AddDate(0, 0, -1), Events: []templates.AuditRow{
				{
					ID:      "event_3",
					At:      ago(aDay),
					Action:  "member.role_changed",
					Who:     templates.Named{Text: "user_01a205da-6b79-700e-9a81-73bb64712baf", IsID: true},
					With:    "session",
					Target:  templates.Named{Text: "Charles Babbage"},
					Facts:   []templates.Fact{{Name: "from", Value: "member"}, {Name: "to", Value: "admin"}},
					Address: "192.0.2.10",
				},
				{ID: "event_2", At: ago(aDay), Action: "workspace.updated", With: "command"},
				{ID: "event_1", At: ago(aDay), Action: "something.new"},
			}},
		},
	}
	audit.Base, audit.CSVURL = "/settings/workspaces/engines/audit", "/settings/workspaces/engines/audit.csv"
	server := templates.AdminAuditView{AuditView: audit, In: "engines", By: "charles@example.com"}
	server.Page, server.Base, server.CSVURL = page(templates.SectionAdminAudit, admin), "/admin/audit",
		"/admin/audit.csv?workspace=engines"
	server.Filtered, server.Errors = true, map[string]locale.Text{
		"who": locale.New("No user has this email address. Check it, or enter the user ID."),
	}
	server.Days = []templates.AuditDay{{Day: now.Truncate(aDay), Events: []templates.AuditRow{
		{ID: "event_7", At: now, Action: "signing_key.created", With: "command"},
		{
			ID: "event_6", At: now, Action: "workspace.created", Who: templates.Named{Text: "Ada Lovelace"}, With: "session",
			Workspace: templates.Named{Text: "Analytical Engines Ltd"},
			Address:   "192.0.2.10",
			Request:   "9aa87760e82a14d15426521e",
		},
	}}}
	nothing := audit
	nothing.Days, nothing.NextURL, nothing.Filtered, nothing.From, nothing.PrevURL = nil, "", true, "2026-33-01",
		"/settings/workspaces/engines/audit"
	nothing.Errors = map[string]locale.Text{"from": locale.New("Enter a date such as %s.", "2026-03-04")}

	return []sample{
		{"workspaces", templates.WorkspacesPage(templates.WorkspacesView{
			Page:    page(templates.SectionWorkspaces, ada),
			Columns: columns("name", "Workspace", "role", "Your role", "plan", "Plan"),
			Workspaces: []templates.WorkspaceRow{
				{Slug: "personal-01a205da6a79", Name: "Ada Lovelace", Role: "owner", Personal: true},
				{Slug: "engines", Name: "Analytical Engines Ltd", Role: "admin", Plan: "pro"},
				{Slug: "old", Name: longName, Role: "viewer", Disabled: true},
			},
		})},
		{"workspaces-errors", templates.WorkspacesPage(templates.WorkspacesView{
			Page:    page(templates.SectionWorkspaces, ada),
			Columns: columns("name", "Workspace", "role", "Your role", "plan", "Plan"),
			NewName: "Engines", NewSlug: "engines",
			Workspaces: []templates.WorkspaceRow{
				{Slug: "personal-01a205da6a79", Name: "Ada Lovelace", Role: "owner", Personal: true},
			},
			Errors: map[string]locale.Text{
				"slug": locale.New("The slug %s is taken; choose another.", `"engines"`),
			},
		})},
		{"workspace", templates.WorkspacePage(shared)},
		{"workspace-errors", templates.WorkspacePage(faulty)},
		{"workspace-personal", templates.WorkspacePage(own)},
		{"workspace-member", templates.WorkspacePage(templates.WorkspaceView{
			Page:      inside(engines("member", templates.TabSettings), ada),
			Workspace: engines("member", templates.TabSettings),
			ID:        "ws_0195a0c0example",
			Name:      "Analytical Engines Ltd",
			PlanText:  locale.New("No plan"),
			MayLeave:  true,
		})},
		{"workspace-apps", templates.AppsPage(apps)},
		{"members", templates.MembersPage(members)},
		{"members-seen", templates.MembersPage(seen)},
		{"members-mailed", templates.MembersPage(mailed)},
		{"members-created", templates.MembersPage(created)},
		{"members-errors", templates.MembersPage(wrong)},
		{"members-personal", templates.MembersPage(templates.MembersView{
			Columns: columns("name", "Member", "role", "Role", "joined", "Joined", "", "Actions"),
			Page:    inside(alone(templates.TabMembers), ada), Workspace: alone(templates.TabMembers),
			Members: []templates.MemberRow{
				{ID: "user_01", Name: "Ada Lovelace", Email: "ada@example.com", Role: "owner", Self: true, Since: ago(300 * aDay)},
			},
		})},
		{"join", templates.JoinPage(join)},
		{"join-other", templates.JoinPage(elsewhere)},
		{"usage", templates.UsagePage(usage)},
		{"usage-day", templates.UsagePage(templates.UsageView{
			Page: inside(engines("admin", templates.TabUsage), ada), Workspace: engines("admin", templates.TabUsage), Days: day,
			Rows:   []templates.UsageRow{{Who: usage.Rows[0].Who, Kind: "api_key", Total: templates.UsageDay{Allowed: 294}}},
			Ranges: ranges, CSVURL: "/settings/workspaces/engines/usage.csv?range=24h",
		})},
		{"usage-empty", templates.UsagePage(templates.UsageView{
			Page:      inside(alone(templates.TabUsage), ada),
			Workspace: alone(templates.TabUsage),
			Days:      []templates.UsageDay{{Day: now.Truncate(aDay).AddDate(0, 0, -1)}, {Day: now.Truncate(aDay)}},
		})},
		{"audit", templates.AuditPage(audit)},
		{"audit-nothing", templates.AuditPage(nothing)},
		{"admin-audit", templates.AdminAuditPage(server)},
		{"admin-workspaces", templates.AdminWorkspacesPage(templates.AdminWorkspacesView{
			Columns: columns("name", "Workspace", "members", "Members", "created", "Created", "", "Actions"),
			Page:    page(templates.SectionAdminWorkspaces, admin),
			Query:   "eng",
			PrevURL: "/admin/workspaces?q=eng",
			NextURL: "/admin/workspaces?after=ws_2&q=eng",
			Workspaces: []templates.AdminWorkspace{
				{
					ID:       "ws_1",
					Slug:     "personal-01a205da6a79",
					Name:     "Ada Lovelace",
					Members:  1,
					Personal: true,
					Created:  ago(90 * aDay),
				},
				{ID: "ws_2", Slug: "engines", Name: longName, Plan: "pro", Members: 12, Disabled: true, Created: ago(2 * aDay)},
			},
		})},
		{
			"admin-workspaces-none",
			templates.AdminWorkspacesPage(templates.AdminWorkspacesView{
				Columns: columns("name", "Workspace", "members", "Members", "created", "Created", "", "Actions"),
				Page:    page(templates.SectionAdminWorkspaces, admin),
				Query:   "zzz",
			}),
		},
	}
}
