package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// form is a form of a page: who may submit it, and whether it grants lasting access, so that a session whose sign-in is
// more than five minutes old must enter the password.
type form struct {
	pattern, what string
	body          string // {…} is replaced by fill, as in the path
	right         string
	proof         bool
}

// The rights. For each except none and own, the test also submits the form as a user without it.
const (
	none  = "none"          // grants nothing, or needs its own secret
	own   = "own"           // changes what belongs to the signed-in user
	admin = "administrator" // of this server
)

const appFields = "name=Standing+App&kind=web&scope=read&scope=write&scope=delete&refresh=1&redirect_uris="

var (
	ofKeys    = string(management.MayManageKeys)
	ofApps    = string(management.MayManageApps)
	ofMembers = string(management.MayManageMembers)
	ofOwners  = string(management.MayManageOwners)
)

func forms() []form {
	list := []form{
		{"POST /oauth/authorize", "decides nothing", "", none, false},
		{"POST /login", "it contains the password", "", none, false},
		{"POST /login/link", "it contains a secret token", "", none, false},
		{"POST /login/email", "it sends an email to an address, within bounds", "", none, false},
		{"POST /login/code", "it contains a code, and the browser that asked for it a cookie", "", none, false},
		{"POST /login/passkey", "it contains the signature of a passkey", "", none, false},
		{"POST /login/second", "it contains a code or the signature of a passkey", "", none, false},
		{"POST /login/enrol", "the browser has proved a factor and the address", "", none, false},
		{"POST /login/enrol/email", "the browser has proved a factor; it sends an email, within bounds", "", none, false},
		{"POST /login/enrol/code", "it contains a code, and the browser that asked for it a cookie", "", none, false},
		{"POST /login/{provider}", "decides nothing", "", none, false},
		{"POST /login/{provider}/callback", "it contains a provider's code, and the browser a cookie", "", none, false},
		{"POST /signup", "it sends an email to an address, within bounds", "", none, false},
		{"POST /signup/code", "it contains a code, and the browser that asked for it a cookie", "", none, false},
		{"POST /signup/link", "it contains a secret token", "", none, false},
		{"POST /signup/complete", "the browser in which the address was proven has a cookie", "", none, false},
		{"POST /forgot", "it sends an email to an address, within bounds", "", none, false},
		{"POST /reset", "it contains a secret token", "", none, false},
		{"POST /address", "it contains a secret token", "", none, false},
		{"POST /undo", "it contains a secret token", "", none, false},
		{"POST /logout", "", "", none, false},
		{"POST /setup", "it contains a secret token", "", none, false},
		{"POST /oauth/consent", "see TestV13_ConsentToADangerousScope", "", none, false},
		{"POST /join/{word}", "checks the sender's rights", "", none, false},

		{"POST /settings/profile", "", "name=Other", own, false},
		{"POST /settings/profile/address", "", "email={email}", own, true},
		{"POST /settings/profile/export", "", "", own, true},
		{"POST /settings/profile/delete", "asks first", "", own, false},
		{"POST /settings/security/password", "it always contains the old password", "", none, false},
		{"POST /settings/security/sessions/{id}/end", "", "", none, false},
		{"POST /settings/security/sessions/end-others", "", "confirmed=yes", own, false},
		{"POST /settings/security/passkeys/new", "", "", own, true},
		{"POST /settings/security/passkeys", "it contains a new passkey; see TestG18", "", none, false},
		{"POST /settings/security/passkeys/{id}/rename", "there is none; see TestG18", "", none, false},
		{"POST /settings/security/totp", "", "", own, true},
		{"POST /settings/security/totp/confirm", "it contains a code; see TestG18", "", none, false},
		{"POST /settings/security/recovery-codes", "", "", own, true},
		{"POST /settings/security/providers/{provider}/connect", "there is none; see TestG28", "", none, false},
		{"POST /settings/security/methods/{method}/remove", "asks first; see TestG18", "", none, false},
		{"POST /settings/connected-apps/{id}/end", "", "", none, false},
		{"POST /settings/connected-apps/end-all", "", "confirmed=yes", own, false},

		{"POST /settings/workspaces", "", "name=Made&slug=made", own, false},
		{"POST /settings/workspaces/{slug}", "its name", "name=Renamed", string(management.MayChangeWorkspace), false},
		{"POST /settings/workspaces/{slug}/leave", "", "confirmed=no", own, false},
		{"POST /settings/workspaces/{slug}/members/{id}/role", "to admin", "role=admin", ofMembers, true},
		{"POST /settings/workspaces/{slug}/members/{id}/role", "to owner", "role=owner", ofOwners, true},
		{"POST /settings/workspaces/{slug}/members/{id}/role", "to viewer", "role=viewer", ofMembers, false},
		{"POST /settings/workspaces/{slug}/members/{id}/remove", "", "confirmed=yes", ofMembers, false},
		{"POST /settings/workspaces/{slug}/invitations", "of a member", "email={email}&role=member", ofMembers, false},
		{"POST /settings/workspaces/{slug}/invitations", "of an admin", "email={email}&role=admin", ofMembers, true},
		{"POST /settings/workspaces/{slug}/invitations", "of an owner", "email={email}&role=owner", ofOwners, true},
		{"POST /settings/workspaces/{slug}/invitations/{id}/withdraw", "", "confirmed=yes", ofMembers, false},

		{"POST /admin/users", "", "email={email}&password={password}", admin, true},
		{"POST /admin/users/{id}", "another address", "name=User&email={email}", admin, true},
		{"POST /admin/users/{id}", "an administrator", "name=User&email={email}&admin=on", admin, true},
		{"POST /admin/users/{id}/password", "without email: see TestV06_PagesSignAUserOutAndSetAPassword", "", none, true},
		{"POST /admin/users/{id}/reset", "", "", admin, false},
		{"POST /admin/users/{id}/approve", "", "", admin, true},
		{"POST /admin/users/{id}/refuse", "", "confirmed=yes", admin, false},
		{"POST /admin/users/{id}/delete", "", "confirmed=yes", admin, false},
		{"POST /admin/users/{id}/sessions/{session}/end", "", "confirmed=yes", admin, false},
		{"POST /admin/users/{id}/methods/{method}/remove", "", "confirmed=yes", admin, true},
		{"POST /admin/users/{id}/sign-out", "", "confirmed=yes&apps=on", admin, false},
		{"POST /admin/users/{id}/disable", "", "confirmed=yes", admin, false},
		{"POST /admin/users/{id}/enable", "", "", admin, true},
		{"POST /admin/workspaces/{id}/disable", "", "confirmed=yes", admin, false},
		{"POST /admin/workspaces/{id}/enable", "", "", admin, true},
		{"POST /admin/workspaces/{id}/plan", "", "plan=", admin, false},
		{"POST /admin/registration-tokens", "", "uses=2&expires=7", admin, true},
		{"POST /admin/registration-tokens/{id}/revoke", "", "confirmed=yes", admin, false},
		{"POST /admin/apps/{id}/verify", "", "", admin, false},
		{"POST /admin/apps/{id}/unverify", "", "", admin, false},
	}
	for base, right := range map[string]string{"/settings/developer/apps": own, "/settings/workspaces/{slug}/apps": ofApps, "/admin/apps": admin} {
		if right != admin {
			list = append(
				list,
				form{"POST " + base, "", "name=x&kind=web&scope=read&redirect_uris=https://x.example/cb", right, true},
			)
		}
		list = append(list,
			form{"POST " + base + "/{id}", "another redirect URI", appFields + "https://more.example/cb", right, true},
			form{"POST " + base + "/{id}", "fewer redirect URIs", appFields + "https://app.example/cb", right, false},
			form{
				"POST " + base + "/{id}/authentication", "a key",
				"token_endpoint_auth_method=private_key_jwt&jwks=" + url.QueryEscape(keySet), right, true,
			},
			form{"POST " + base + "/{id}/authentication", "DPoP", "dpop_bound_access_tokens=1", right, false},
			form{"POST " + base + "/{id}/secret", "", "grace=24h", right, true},
			form{"POST " + base + "/{id}/disable", "", "confirmed=yes", right, false},
			form{"POST " + base + "/{id}/enable", "", "", right, true},
			form{"POST " + base + "/{id}/delete", "", "confirm=Standing+App", right, false},
		)
	}
	for base, right := range map[string]string{"/settings/workspaces/{slug}/api-keys": ofKeys, "/settings/developer/personal-access-tokens": own} {
		list = append(list,
			form{"POST " + base, "", "name=x&resource={issuer}&scope-0=read&expires=never&environment=live", right, true},
			form{"POST " + base + "/search", "only looks", "q=sk_live_x", right, false},
			form{"POST " + base + "/{id}", "its name", "name=y&scope-0=read&addresses=192.0.2.1", right, false},
			form{"POST " + base + "/{id}", "from any address", "name=Standing+Key&scope-0=read&addresses=", right, true},
			form{"POST " + base + "/{id}/rotate", "", "grace=24h", right, true},
			form{"POST " + base + "/{id}/pause", "", "confirmed=yes", right, false},
			form{"POST " + base + "/{id}/resume", "", "", right, true},
			form{"POST " + base + "/{id}/revoke", "", "confirm=Standing+Key", right, false},
		)
	}
	// The last, because it deletes the workspace.
	return append(
		list,
		form{"POST /settings/workspaces/{slug}/delete", "", "confirm=engines", string(management.MayDeleteWorkspace), false},
	)
}

type pagesWorld struct {
	*rig.Rig
	ws   storage.Workspace
	root storage.User
	n    int
}

// fill creates the object that a form changes, and returns the form's path and body.
func (w *pagesWorld) fill(f form) (path, body string) {
	w.T.Helper()
	w.n++
	must := func(err error) {
		if err != nil {
			w.T.Fatal(f.pattern, err)
		}
	}
	_, path, _ = strings.Cut(f.pattern, " ")
	by := management.Authority{UserID: w.root.ID, WorkspaceID: w.ws.ID, Role: catalog.RoleOwner}
	var id string
	switch {
	case strings.Contains(path, "/members/"):
		u := w.User(fmt.Sprintf("member%d@example.com", w.n), "Member", false)
		w.Join(w.ws, u, "member")
		id = u.ID
	case strings.Contains(path, "/invitations/"):
		i, token, err := w.Management.Invite(
			w.System(),
			management.CLI(w.ws.ID),
			w.ws,
			fmt.Sprintf("open%d@example.com", w.n),
			"member",
		)
		must(err)
		w.Seen.Add(rig.SecretInvitation, token)
		id = i.ID
	case strings.HasPrefix(path, "/admin/users/"):
		u := w.User(fmt.Sprintf("user%d@example.com", w.n), "User", false)
		if strings.HasSuffix(path, "/enable") {
			must(w.Identity.DisableUser(w.System(), u.ID))
		}
		if strings.HasSuffix(path, "/approve") || strings.HasSuffix(path, "/refuse") {
			w.SQL(`UPDATE users SET disabled_at = 1, waiting_since = 1 WHERE id = $1`, u.ID)
		}
		if strings.Contains(path, "{session}") {
			w.Browser().SignIn(u.Email)
			sessions, err := w.Identity.Sessions(w.System(), u.ID)
			must(err)
			path = strings.Replace(path, "{session}", sessions[0].ID, 1)
		}
		path = strings.Replace(path, "{method}", "password", 1)
		id = u.ID
	case strings.HasPrefix(path, "/admin/workspaces/"):
		ws := w.Workspace(fmt.Sprintf("ws%d", w.n), "", w.root)
		if strings.HasSuffix(path, "/enable") {
			must(w.Management.DisableWorkspace(w.System(), management.CLI(ws.ID), ws))
		}
		id = ws.ID
	case strings.HasPrefix(path, "/admin/registration-tokens/"):
		_, x, err := w.Management.CreateRegistrationToken(w.System(), management.CLI(""), 1, time.Hour)
		must(err)
		id = x.ID
	case strings.Contains(path, "/apps/"):
		app := w.App(
			management.ClientSpec{
				WorkspaceID:  by.WorkspaceID,
				CreatedBy:    w.root.ID,
				RedirectURIs: []string{"https://app.example/cb", "https://two.example/cb"},
			},
		)
		if strings.Contains(path, "/settings/developer/") {
			personal, err := w.Store.PersonalWorkspace(w.System(), w.root.ID)
			must(err)
			app = w.App(
				management.ClientSpec{
					WorkspaceID:  personal.ID,
					CreatedBy:    w.root.ID,
					RedirectURIs: []string{"https://app.example/cb", "https://two.example/cb"},
				},
			)
			by.WorkspaceID = personal.ID
		}
		if strings.HasSuffix(path, "/enable") {
			must(w.Management.DisableClient(w.System(), by, app.ID))
		}
		id = app.ID
	case strings.Contains(path, "{id}"):
		spec := apikey.Spec{Addresses: []string{"192.0.2.1"}}
		k, _ := w.Key(w.ws, spec)
		if strings.Contains(path, "personal-access-tokens") {
			k, _ = w.PersonalToken(w.root, spec)
		}
		if strings.HasSuffix(path, "/resume") {
			_, err := w.Management.PauseKey(w.System(), by, k.Owner(), k.ID)
			must(err)
		}
		id = k.ID
	}
	fill := strings.NewReplacer(
		"{slug}",
		w.ws.Slug,
		"{id}",
		id,
		"{email}",
		fmt.Sprintf("new%d@example.com", w.n),
		"{password}",
		url.QueryEscape(rig.Password),
		"{issuer}",
		url.QueryEscape(w.Issuer),
	)
	return fill.Replace(path), fill.Replace(f.body)
}

// Every form of every page has a row above that says who may submit it, and whether it grants lasting access. In a
// session whose sign-in is more than five minutes old, such a form asks for the password and does nothing until it is
// correct.
func TestV13_EveryFormOfEveryPageHasADecision(t *testing.T) {
	o := rig.WithEmail()
	o.Localhost = true // for passkeys
	r := rig.Memory(t, o)
	w := &pagesWorld{Rig: r, root: r.User("root@example.com", "Root", true)}
	w.ws = r.Workspace("engines", "", w.root)
	r.Join(w.ws, r.Alice, catalog.RoleViewer)
	root, viewer := r.Browser().SignIn(w.root.Email), r.Browser().SignIn(r.Alice.Email)

	rows := map[string]bool{}
	for _, f := range forms() {
		rows[f.pattern] = true
	}
	for _, pattern := range r.Web.Patterns() {
		method, path, _ := strings.Cut(pattern, " ")
		// Tested in web/api; registration, which uses no cookie, in test/security.
		machine := strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/api/") ||
			strings.HasPrefix(path, "/oauth/register")
		if method == http.MethodPost && !machine && !rows[pattern] {
			t.Errorf("%s has no row; decide who may submit it, and whether it asks for the password", pattern)
		}
		if method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions &&
			method != http.MethodPost &&
			strings.Contains(pattern, " ") &&
			!machine {
			t.Errorf("%s: pages have only GET and POST", pattern)
		}
		delete(rows, pattern)
	}
	for pattern := range rows {
		t.Errorf("%s has a row and does not exist", pattern)
	}

	for _, f := range forms() {
		if f.right == none {
			continue
		}
		name := f.pattern + " " + f.what
		path, body := w.fill(f)
		sent, err := url.ParseQuery(body)
		if err != nil {
			t.Fatal(err)
		}
		if f.right != own {
			if a := viewer.PostForm(path, sent); a.Status != http.StatusForbidden && a.Status != http.StatusNotFound ||
				strings.Contains(a.Body, `type="password"`) {
				t.Errorf("%s: without the right to %s it answers %d %s", name, f.right, a.Status, rig.Plain(a.Body))
			}
		}
		r.Advance(5*time.Minute + time.Second)
		events := func() int {
			list, err := r.Store.AuditEvents(r.System(), storage.AuditFilter{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		before := events()
		asked := root.PostForm(path, sent)
		if !f.proof {
			if asked.Status >= 400 {
				t.Errorf("%s: a session that is not fresh is answered %d %s", name, asked.Status, rig.Plain(asked.Body))
			}
			continue
		}
		field := "current_password"
		if !strings.Contains(asked.Body, `name="current_password"`) {
			field = "password" // the page has its own field for it
		}
		sent.Set(field, "not the password")
		wrong := root.PostForm(path, sent)
		for _, a := range []*rig.Answer{asked, wrong} {
			if a.Status != http.StatusForbidden || !strings.Contains(a.Body, `type="password"`) {
				t.Errorf("%s: a session that is not fresh is answered %d %s", name, a.Status, rig.Plain(a.Body))
			}
		}
		if events() != before {
			t.Errorf("%s: something was changed before the password was correct", name)
		}
		sent.Set(field, rig.Password)
		if a := root.PostForm(path, sent); a.Status >= 400 {
			t.Errorf("%s: with the password it answers %d %s", name, a.Status, rig.Plain(a.Body))
		}
	}
}

// Consent to a dangerous scope needs a recent sign-in or the password; nothing is granted before.
func TestV13_ConsentToADangerousScope(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		for scope, dangerous := range map[string]bool{"read": false, "read write delete": false, "admin": true, "read admin": true} {
			app := r.App(management.ClientSpec{Scopes: []string{"read", "write", "delete", "admin"}})
			b := r.Browser().SignIn(r.Alice.Email)
			r.Advance(5*time.Minute + time.Second)
			sent := b.Form(b.Authorize(app.Params(scope)), "/oauth/consent")
			sent.Set("decision", "approve")
			a := b.PostForm("/oauth/consent", sent)
			if !dangerous {
				if a.Param("code") == "" {
					t.Errorf("%s: asked for the password: %d %s", scope, a.Status, rig.Plain(a.Body))
				}
				continue
			}
			again := b.Form(a, "/oauth/consent")
			again.Set("current_password", "not the password")
			wrong := b.PostForm("/oauth/consent", again)
			for _, a := range []*rig.Answer{a, wrong} {
				if a.Status != http.StatusForbidden || !strings.Contains(a.Body, `name="current_password"`) ||
					a.Param("code") != "" {
					t.Errorf("%s: answered %d %s", scope, a.Status, rig.Plain(a.Body))
				}
			}
			if id, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID); err != nil || len(r.Grants(r.Alice.ID)) != 0 {
				t.Errorf("%s: granted before the password was correct, in %v %v", scope, id.Slug, err)
			}
			again = b.Form(wrong, "/oauth/consent")
			again.Set("current_password", rig.Password)
			done := b.PostForm("/oauth/consent", again)
			code := done.Param("code")
			if code == "" {
				t.Errorf("%s: with the password: %d %s", scope, done.Status, rig.Plain(done.Body))
				continue
			}
			if got := r.Exchange(app, code); got.Status != http.StatusOK ||
				!strings.Contains(" "+got.Text("scope")+" ", " admin ") {
				t.Errorf("%s: the code gives %d %s", scope, got.Status, got.Body)
			}
			b.PostForm("/settings/connected-apps/end-all", url.Values{"confirmed": {"yes"}})
		}
	})
}
