package pages

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

// The pages of workspaces, their members, usage and audit log, and the choice of a workspace on the way to an app, with
// scripts and without.
func TestWorkspacePages(t *testing.T) {
	for _, javaScript := range []bool{true, false} {
		t.Run(fmt.Sprintf("javascript %v", javaScript), func(t *testing.T) {
			workspacePages(t, javaScript)
		})
	}
}

func workspacePages(t *testing.T, javaScript bool) {
	t.Helper()
	r := rig.Memory(t, rig.Options{
		Plans: map[string]limit.Plan{"free": {Hour: 100, Burst: 20}, "pro": {Hour: 1000, Day: 10_000}},
	})
	bob, root := r.User("bob@example.com", "Bob Builder", false), r.User("root@example.com", "Root", true)
	alice := newPerson(t, r)
	alice.JavaScript(javaScript)

	alice.open("/settings/workspaces")
	alice.signIn(r.Alice.Email)
	alice.checkPage("workspaces of one")
	alice.open("/settings/workspaces")
	alice.Press(`details.unfold summary`)
	alice.Fill(`[name=name]`, "Ärger & Söhne")
	alice.Fill(`[name=slug]`, "Not A Slug")
	alice.Click(`main form[action="/settings/workspaces"] [type=submit]`)
	alice.checkPage("workspaces with a fault")
	alice.Fill(`[name=slug]`, "")
	alice.Click(`main form[action="/settings/workspaces"] [type=submit]`)
	const base = "/settings/workspaces/arger-sohne"
	if got := alice.URL().Path; got != base+"/members" {
		t.Fatalf("after making a workspace the page is %s: %s", got, alice.Text("main"))
	}
	ws, err := r.Store.WorkspaceBySlug(r.System(), "arger-sohne")
	if err != nil {
		t.Fatal(err)
	}
	alice.checkPage("members of one")
	alice.Fill(`[name=email]`, r.Alice.Email)
	alice.Click(`form[action$="/invitations"] [type=submit]`)
	alice.checkPage("members with a fault")
	alice.Fill(`[name=email]`, bob.Email)
	alice.Click(`form[action$="/invitations"] [type=submit]`)
	alice.checkPage("members with a link")
	link := alice.Text("#invitation-url")
	r.Seen.Add(rig.SecretInvitation, link[strings.LastIndex(link, "/")+1:])

	// Another user opens the link, then the invited one.
	word := strings.TrimPrefix(link, r.Issuer)
	other := newPerson(t, r)
	other.JavaScript(javaScript)
	other.open(word)
	other.signIn(root.Email)
	other.checkPage("invitation for another user")
	b := newPerson(t, r)
	b.JavaScript(javaScript)
	b.open(word)
	b.checkPage("login to an invitation")
	b.signIn(bob.Email)
	b.checkPage("invitation")
	b.Click(`form[action^="/join/"] [type=submit]`)
	b.checkPage("members as a member")
	b.open(word)
	b.checkPage("invitation that was used")
	for _, tab := range []string{"", "/usage", "/audit", "/apps"} {
		b.open(base + tab)
		b.checkPage("workspace as a member " + strings.TrimPrefix(tab, "/"))
	}

	alice.open(base + "/members")
	alice.checkPage("members of two")
	alice.Fill(`[name=email]`, "carol@example.com")
	alice.Click(`form[action$="/invitations"] [type=submit]`)
	carols := alice.Text("#invitation-url")
	r.Seen.Add(rig.SecretInvitation, carols[strings.LastIndex(carols, "/")+1:])
	alice.open(base + "/members")
	alice.checkPage("members and an invitation")
	alice.Click(`form[action$="/members/` + r.Alice.ID + `/role"] [type=submit]`) // the current role is selected
	for _, page := range []string{"", "/apps", "/apps/new", "/usage"} {
		alice.open(base + page)
		alice.checkPage("workspace " + strings.ReplaceAll(strings.TrimPrefix(page, "/"), "/", " "))
	}
	fill(t, r, ws, r.Alice, bob)
	alice.open(base + "/usage")
	alice.checkPage("usage")
	alice.open(base + "/usage?range=24h")
	alice.checkPage("usage of a day")
	alice.open(base + "/api-keys?sort=-name")
	alice.checkPage("keys sorted by name")
	alice.open(base + "/audit")
	alice.checkPage("audit")
	alice.open(base + "/audit?what=member.&from=2020-01-01&to=yesterday")
	alice.checkPage("audit with a fault")
	alice.open(base)
	alice.Fill(`[name=confirm]`, "something else")
	alice.Click(`form[action$="/delete"] [type=submit]`)
	alice.checkPage("workspace that was not deleted")
	alice.open("/settings/workspaces")
	alice.checkPage("workspaces of two")

	app := r.App(management.ClientSpec{Name: "Fieldnotes", Site: "https://app.example"})
	alice.authorize(app, "read write")
	alice.checkPage("consent with workspaces")

	other.open("/admin/users/" + r.Alice.ID)
	other.checkPage("admin user")
	other.open("/admin/users/" + r.Alice.ID + "/sign-out")
	other.checkPage("a user is about to be signed out")
	other.open("/admin/users/" + r.Alice.ID + "/disable")
	other.checkPage("a user is about to be disabled")
	other.open("/admin/audit")
	other.checkPage("admin audit")
	other.open("/admin/audit?what=member.&workspace=nowhere&who=none@example.com")
	other.checkPage("admin audit with faults")
	other.open("/admin/workspaces?sort=-members")
	other.checkPage("admin workspaces")
	other.Fill(`[name=q]`, "SÖHNE")
	other.Click(`form[role=search] [type=submit]`)
	other.Click(`form[action="/admin/workspaces/` + ws.ID + `/disable"] [type=submit]`)
	other.checkPage("a workspace is about to be disabled")
	other.Click(`main form[action="/admin/workspaces/` + ws.ID + `/disable"] [type=submit]`)
	other.checkPage("admin workspaces with one disabled")
	alice.open(base)
	alice.checkPage("workspace that is disabled")
	alice.open("/settings/workspaces")
	alice.checkPage("workspaces with one disabled")
	if foreign := alice.Foreign(strings.TrimPrefix(r.URL, "http://")); len(foreign) > 0 {
		t.Errorf("loaded from elsewhere: %v", foreign)
	}
}

// fill uses and changes a workspace for a month.
func fill(t *testing.T, r *rig.Rig, ws storage.Workspace, owner, member storage.User) {
	t.Helper()
	actor := &storage.Actor{
		UserID: owner.ID, Credential: "session", Address: "192.0.2.10", RequestID: "5d3649948300d307c15c7cc6",
	}
	ctx := storage.WithActor(r.System(), actor)
	by := management.CLI(ws.ID)
	key := func(name string, scopes ...string) storage.APIKey {
		k, _, err := r.Management.CreateKey(ctx, by, ws.Plan, apikey.Spec{
			Name: name, Resource: r.Issuer, Environment: "live", Scopes: scopes,
		})
		ok(t, err)
		return k
	}
	night, deploy := key("Night import", "read", "write"), key("Deployment of the web site", "read")
	token, _ := r.PersonalToken(member, apikey.Spec{Name: "Laptop"})
	app, _, err := r.Management.CreateClient(ctx, management.CLI(""), management.ClientSpec{
		Name:         "Calendar sync",
		WorkspaceID:  ws.ID,
		CreatedBy:    owner.ID,
		RedirectURIs: []string{"https://calendar.example/cb"},
		Scopes:       []string{"read"},
	})
	ok(t, err)
	ok(t, r.Management.ChangeRole(ctx, by, ws, member.ID, catalog.RoleAdmin))
	actor.UserID, actor.Credential, actor.KeyID, actor.Address = member.ID, bearer.KindPersonalAccessToken, token.ID,
		"2001:db8::17"
	_, _, err = r.Management.RotateKey(ctx, by, storage.KeyOwner{WorkspaceID: ws.ID}, deploy.ID, time.Hour)
	ok(t, err)
	*actor = storage.Actor{Credential: "command"}
	pro := "pro"
	_, err = r.Management.UpdateWorkspace(ctx, by, ws, nil, &pro)
	ok(t, err)
	use := func(id, kind string, n int, reason string, limited bool) {
		for range n {
			r.Store.NoteUse(storage.Use{
				WorkspaceID:  ws.ID,
				CredentialID: id,
				Credential:   kind,
				Action:       "GET /v1/auth/test",
				Status:       200,
				Reason:       reason,
				Limited:      limited,
			})
		}
	}
	r.Advance(-29 * 24 * time.Hour)
	for day := range 30 {
		if day > 0 {
			r.Advance(24 * time.Hour)
		}
		if day < 6 {
			continue
		}
		use(night.ID, bearer.KindAPIKey, 40+day*day%37*9, "", false)
		use(deploy.ID, bearer.KindAPIKey, day%4*30, "", false)
		use(token.ID, bearer.KindPersonalAccessToken, day%3*5, "", false)
		use(app.ID, bearer.KindAccessToken, day%5*22, "", false)
		use(night.ID, bearer.KindAPIKey, day%9/8*80, bearer.ReasonLimit, true)
		use(deploy.ID, bearer.KindAPIKey, day%6/5*25, bearer.ReasonScope("delete"), false)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
