package security

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// offered returns the slugs of the workspaces on a consent page, with the selected one first.
func offered(b *rig.Browser, page *rig.Answer) []string {
	b.T.Helper()
	list := slices.Clone(b.Form(page, "/oauth/consent")["workspace"])
	for part := range strings.SplitSeq(page.Body, `name="workspace" value="`) {
		if slug, _, ok := strings.Cut(part, `"`); ok && !strings.Contains(slug, "<") && !slices.Contains(list, slug) {
			list = append(list, slug)
		}
	}
	return list
}

func inWorkspace(slug string) func(url.Values) {
	return func(v url.Values) { v.Set("workspace", slug) }
}

// actsIn returns the workspace of the token issued for a code, from introspection.
func actsIn(t *testing.T, r *rig.Rig, app *rig.App, code string) string {
	t.Helper()
	a := r.Exchange(app, code)
	if a.Status != http.StatusOK {
		t.Fatalf("exchange answered %d %s", a.Status, a.Body)
	}
	got := r.Introspect(app, a.Text("access_token"))
	if got.JSON()["active"] != true {
		t.Fatalf("introspection answered %s", got.Body)
	}
	return got.Text("workspace")
}

func personal(t *testing.T, r *rig.Rig, userID string) storage.Workspace {
	t.Helper()
	w, err := r.Store.PersonalWorkspace(r.System(), userID)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// shared creates a workspace of Bob's in which Alice has a role.
func shared(t *testing.T, r *rig.Rig, slug, role string) storage.Workspace {
	t.Helper()
	w := r.Workspace(slug, "", r.User("bob@example.com", "Bob", false))
	if role != "" {
		r.Join(w, r.Alice, role)
	}
	return w
}

// A token acts in the workspace selected on the consent page.
func TestConsentAsksForTheWorkspaceAndRemembersIt(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	own := personal(t, r, r.Alice.ID)
	shared(t, r, "engines", catalog.RoleMember)
	b := r.Browser().SignIn(r.Alice.Email)

	page := b.Authorize(app.Params("read"))
	if got := offered(b, page); !slices.Equal(got, []string{own.Slug, "engines"}) {
		t.Fatalf("the page offers %q, want the personal one, chosen, and the shared one", got)
	}
	a := b.Decide(page, "approve", inWorkspace("engines"))
	if got := actsIn(t, r, app, wantCode(t, r, a, app.Params("read"))); got != "engines" {
		t.Errorf("the token acts in %q", got)
	}

	// The same request again: no page, and the same workspace.
	for _, prompt := range []string{"", "none"} {
		sent := altered(app.Params("read"), url.Values{"prompt": {prompt}})
		if got := actsIn(t, r, app, wantCode(t, r, ask(b, sent), sent)); got != "engines" {
			t.Errorf("prompt %q: the token acts in %q", prompt, got)
		}
	}

	// A new scope is asked for, with the last workspace selected, and the known scopes are not folded: they may be new in
	// another workspace.
	page = b.Authorize(app.Params("read write"))
	if got := offered(b, page); !slices.Equal(got, []string{"engines", own.Slug}) {
		t.Errorf("the page offers %q, want the last answer chosen", got)
	}
	if got := b.Form(page, "/oauth/consent")["scope"]; !slices.Equal(got, []string{"read", "write"}) ||
		strings.Contains(page.Body, "<details") {
		t.Errorf("the page asks for %q", got)
	}
	b.Decide(page, "approve", inWorkspace(own.Slug))
	if got := actsIn(t, r, app, b.Code(app, "read write")); got != own.Slug {
		t.Errorf("after another answer the token acts in %q", got)
	}
	_, consents := grantsOf(t, r, r.Alice.ID)
	if len(consents) != 2 {
		t.Errorf("%d consents are remembered, want one for each workspace", len(consents))
	}

	// An app may have the user choose again; a resource server's token acts in the chosen workspace.
	page = b.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}}))
	if got := offered(b, page); !slices.Equal(got, []string{own.Slug, "engines"}) {
		t.Errorf("prompt=consent offers %q", got)
	}
}

func TestConsentAsksAgainWhereTheLastChoiceIsGone(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for name, end := range map[string]func(w storage.Workspace) error{
		"removed": func(w storage.Workspace) error { return r.Store.RemoveMember(r.System(), w.ID, r.Alice.ID) },
		"viewer": func(w storage.Workspace) error {
			return r.Store.ChangeRole(r.System(), w.ID, r.Alice.ID, catalog.RoleViewer)
		},
		"disabled": func(w storage.Workspace) error { return r.Store.DisableWorkspace(r.System(), w.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			app := r.App(management.ClientSpec{})
			w := shared(t, r, "ends-"+name, catalog.RoleMember)
			b := r.Browser().SignIn(r.Alice.Email)
			own := personal(t, r, r.Alice.ID)
			b.Decide(b.Authorize(app.Params("read")), "approve", inWorkspace(own.Slug))
			b.Decide(b.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}})),
				"approve", inWorkspace(w.Slug))
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			// Not silently in another workspace, even if it was allowed there.
			sent := altered(app.Params("read"), url.Values{"prompt": {"none"}})
			wantRefusal(t, r, ask(b, sent), sent, "consent_required")
			page := b.Authorize(app.Params("read"))
			if got := offered(b, page); slices.Contains(got, w.Slug) || got[0] != own.Slug {
				t.Errorf("the page offers %q", got)
			}
			if got := actsIn(t, r, app, wantCode(t, r, b.Decide(page, "approve"), app.Params("read"))); got != own.Slug {
				t.Errorf("the token acts in %q", got)
			}
		})
	}
}

// K-16 on the page: the submitted form is checked against the current memberships.
func TestK16_ConsentTakesOnlyWorkspacesInWhichThePersonMayAllowApps(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	shared(t, r, "theirs", "")
	shared(t, r, "looking", catalog.RoleViewer)
	off, left := shared(t, r, "switched-off", catalog.RoleAdmin), shared(t, r, "left", catalog.RoleMember)
	mine := shared(t, r, "mine", catalog.RoleAdmin)
	if err := r.Store.DisableWorkspace(r.System(), off.ID); err != nil {
		t.Fatal(err)
	}
	b := r.Browser().SignIn(r.Alice.Email)
	own := personal(t, r, r.Alice.ID)
	page := b.Authorize(app.Params("read"))
	if got := offered(b, page); !slices.Equal(got, []string{own.Slug, "left", "mine"}) {
		t.Fatalf("the page offers %q", got)
	}
	if err := r.Store.RemoveMember(r.System(), left.ID, r.Alice.ID); err != nil {
		t.Fatal(err)
	}
	for _, slug := range []string{
		"theirs", "looking", "switched-off", "left", "", "*", "MINE", "mine ", "%6dine", mine.ID, mine.Name + "x", "unknown",
		"\x00",
	} {
		wantPage(t, b.Decide(page, "approve", inWorkspace(slug)), http.StatusBadRequest)
	}
	wantPage(t, b.Decide(page, "approve", func(v url.Values) { v.Del("workspace") }), http.StatusBadRequest)
	wantNothingGranted(t, r, r.Alice.ID)
	a := b.Decide(page, "approve", inWorkspace("mine"))
	if actsIn(t, r, app, wantCode(t, r, a, app.Params("read"))) != "mine" {
		t.Error("what was refused spent the user's answer")
	}
}

// Denying does not need a workspace.
func TestConsentIsDeniedWithoutAWorkspace(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, w := r.App(management.ClientSpec{}), shared(t, r, "engines", catalog.RoleMember)
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Authorize(app.Params("read"))
	if err := r.Store.RemoveMember(r.System(), w.ID, r.Alice.ID); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, r, b.Decide(page, "deny", inWorkspace(w.Slug)), app.Params("read"), "access_denied")
}

// Viewers cannot allow any app, and grants from before they became viewers shrink to what a viewer may have.
func TestA41_RoleCapsWhatIsGranted(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	w := shared(t, r, "engines", catalog.RoleMember)
	b := r.Browser().SignIn(r.Alice.Email)
	var codes []string
	for _, scope := range []string{"read write", "write"} {
		sent := altered(app.Params(scope), url.Values{"prompt": {"consent"}})
		codes = append(codes, wantCode(t, r, b.Decide(b.Authorize(sent), "approve", inWorkspace(w.Slug)), sent))
	}
	if err := r.Store.ChangeRole(r.System(), w.ID, r.Alice.ID, catalog.RoleViewer); err != nil {
		t.Fatal(err)
	}
	tok := r.Exchange(app, codes[0])
	if tok.Text("scope") != "read" {
		t.Errorf("the exchange answered %d %s", tok.Status, tok.Body)
	}
	got := r.Introspect(api, tok.Text("access_token"))
	if got.Text("scope") != "read" || got.Text("role") != catalog.RoleViewer {
		t.Errorf("introspection says %s", got.Body)
	}
	// If no scope is left, the app gets an error.
	if a := r.Exchange(app, codes[1]); a.Status != http.StatusBadRequest || a.Text("access_token") != "" {
		t.Errorf("the exchange of what a viewer may not hold answered %d %s", a.Status, a.Body)
	}

	// A user who is only a viewer sees no consent page, and no app gets access in their name.
	if err := r.Store.DisableWorkspace(r.System(), personal(t, r, r.Alice.ID).ID); err != nil {
		t.Fatal(err)
	}
	for _, app := range []*rig.App{app, r.App(management.ClientSpec{}), r.App(management.ClientSpec{FirstParty: true})} {
		before := grantCount(t, r)
		sent := altered(app.Params("read"), url.Values{"prompt": {"none"}})
		wantRefusal(t, r, ask(b, sent), sent, "consent_required")
		wantPage(t, b.Authorize(app.Params("read")), http.StatusForbidden)
		if grantCount(t, r) != before {
			t.Error("something was granted")
		}
	}
}

// An app gets nothing that works if its user is removed while they answer, and nothing at all after the removal.
func TestConsentRacesWithRemovalFromTheWorkspace(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		app, w := r.App(management.ClientSpec{}), shared(t, r, "engines", "")
		alice := r.Browser().SignIn(r.Alice.Email)
		var codes []string
		for range 12 {
			r.Join(w, r.Alice, catalog.RoleMember)
			page := alice.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}}))
			var a *rig.Answer
			rig.AtOnce(2, func(i int) {
				if i == 0 {
					a = alice.Decide(page, "approve", inWorkspace(w.Slug))
				} else if err := r.Store.RemoveMember(r.System(), w.ID, r.Alice.ID); err != nil {
					t.Error(err)
				}
			})
			if code := a.Param("code"); code != "" {
				codes = append(codes, code)
			} else if a.Status != http.StatusBadRequest && a.Status != http.StatusForbidden {
				t.Fatalf("answered %d %s", a.Status, rig.Plain(a.Body))
			}
		}
		// Not even after they are members again.
		r.Join(w, r.Alice, catalog.RoleMember)
		for _, code := range codes {
			if got := r.Exchange(app, code); got.Status != http.StatusBadRequest || got.Text("error") != "invalid_grant" {
				t.Fatalf("a code of before the removal gives %d %s", got.Status, got.Body)
			}
		}
		if live := r.Grants(r.Alice.ID); len(live) != 0 {
			t.Errorf("%d grants are active after the removal", len(live))
		}
		// In the order that would be dangerous: membership checked, member removed, consent approved.
		for name, change := range map[string]func(w storage.Workspace) error{
			"unchanged": func(storage.Workspace) error { return nil },
			"viewer": func(w storage.Workspace) error {
				return r.Store.ChangeRole(r.System(), w.ID, r.Alice.ID, catalog.RoleViewer)
			},
			"removed":  func(w storage.Workspace) error { return r.Store.RemoveMember(r.System(), w.ID, r.Alice.ID) },
			"disabled": func(w storage.Workspace) error { return r.Store.DisableWorkspace(r.System(), w.ID) },
		} {
			w := shared(t, r, "becomes-"+name, catalog.RoleMember)
			request, err := r.OAuth.ReopenAuthorize(t.Context(), &oauth.Flow{
				ID:          oauth.NewFlowID(),
				ClientID:    app.ID,
				RedirectURI: app.Redirect,
				Scopes:      []string{"read"},
				Resource:    r.Issuer,
				Challenge:   rig.Challenge,
			})
			if err != nil {
				t.Fatal(err)
			}
			before := grantCount(t, r)
			if err := change(w); err != nil {
				t.Fatal(err)
			}
			d := oauth.Decision{
				UserID:      r.Alice.ID,
				SessionID:   sessionOf(t, r, r.Alice.ID),
				WorkspaceID: w.ID,
				Role:        catalog.RoleMember,
				AuthTime:    r.Store.Now(),
				Scopes:      []string{"read"},
				Remember:    true,
				FlowID:      request.ID,
			}
			to, err := r.OAuth.Approve(t.Context(), request, d)
			done := err == nil && strings.Contains(to, "code=")
			if done != (name == "unchanged") || grantCount(t, r) > before != done {
				t.Errorf("%s: approved %v, error %v", name, done, err)
			}
		}
	})
}

// sessionOf returns the id of a user's session.
func sessionOf(t *testing.T, r *rig.Rig, userID string) string {
	t.Helper()
	list, err := r.Store.SessionsOf(r.System(), userID, 24*time.Hour)
	if err != nil || len(list) == 0 {
		t.Fatalf("sessions %d, error %v", len(list), err)
	}
	return list[0].ID
}
