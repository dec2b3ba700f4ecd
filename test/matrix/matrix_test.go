package matrix

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/rig"
)

// row is one way to stop a subject. The maps name things, or things at one door; things that they do not name keep
// working.
type row struct {
	name string
	stop func(c *cast)
	then map[string]state
	// undo ends a suspension; nil if there is no way back. What the doors used up before is not tried again.
	undo  func(c *cast)
	again map[string]state
}

// Groups of things that are stopped together.
var (
	ofGrants = []string{"access token", "JWT", "refresh token", "code"}
	ofApp    = []string{
		"access token", "JWT", "client token", "client JWT", "refresh token", "code", "the app's secret",
		"client credentials", "silent authorization", "open consent page",
	}
	// offline are JWTs that are verified without asking the server: they stop working only when they expire or their
	// signing key is removed.
	offline   = []string{"JWT verified offline", "client JWT verified offline"}
	ofSession = []string{"session", "silent authorization", "open consent page"}
)

// all assigns a state to each thing of some groups.
func all(s state, groups ...[]string) map[string]state {
	m := map[string]state{}
	for _, name := range slices.Concat(groups...) {
		m[name] = s
	}
	return m
}

// at says that things are accepted at a door, but lack a permission there.
func at(door string, things ...string) map[string]state {
	m := map[string]state{}
	for _, name := range things {
		m[name+" at "+door] = forbidden
	}
	return m
}

// and joins such maps; later ones override earlier ones.
func and(list ...map[string]state) map[string]state {
	m := map[string]state{}
	for _, x := range list {
		maps.Copy(m, x)
	}
	return m
}

var table = []row{
	{
		name: "nothing is stopped",
		stop: func(*cast) {},
	},

	// Users.
	{
		name: "the user is disabled",
		stop: func(c *cast) { c.ok(c.first().Identity.DisableUser(c.system(), c.user.ID)) },
		then: and(all(refused, ofGrants, ofSession), all(suspended, []string{"personal access token"}),
			all(refused, []string{"invitation"})),
		undo:  func(c *cast) { c.ok(c.first().Identity.EnableUser(c.system(), c.user.ID)) },
		again: and(all(ended, ofGrants, ofSession)),
	},
	{
		name: "the user is deleted",
		stop: func(c *cast) { c.ok(c.first().Identity.DeleteUser(c.system(), c.user.ID)) },
		then: all(ended, ofGrants, ofSession, []string{"personal access token", "invitation"}),
	},
	{
		name: "the user's password is reset by an administrator",
		stop: func(c *cast) {
			_, err := c.first().Identity.SetPassword(c.system(), c.user.ID, "another harbour at dusk",
				identity.SignOutOptions{Apps: true})
			c.ok(err)
		},
		then: all(ended, ofGrants, ofSession),
	},
	{
		name: "the user's password is reset, and apps keep their access",
		stop: func(c *cast) {
			_, err := c.first().Identity.SetPassword(c.system(), c.user.ID, "another harbour at dusk", identity.SignOutOptions{})
			c.ok(err)
		},
		then: all(ended, ofSession),
	},
	{
		name: "the user is signed out everywhere, of apps and with tokens",
		stop: func(c *cast) {
			_, err := c.first().Identity.SignOut(c.system(), c.user.ID, identity.SignOutOptions{Apps: true, Tokens: true})
			c.ok(err)
		},
		then: all(ended, ofGrants, ofSession, []string{"personal access token"}),
	},
	{
		name: "the user changes their own password in another browser",
		stop: func(c *cast) {
			a := c.other.PostForm("/settings/security/password", url.Values{
				"current_password": {rig.Password},
				"new_password":     {"another harbour at dusk"},
			})
			if a.Status != http.StatusSeeOther {
				c.t.Fatalf("changing the password answered %d %s", a.Status, rig.Plain(a.Body))
			}
		},
		then: all(ended, ofSession),
	},
	{
		name: "the user leaves the workspace",
		stop: func(c *cast) {
			c.ok(c.first().Management.RemoveMember(c.system(), c.command(), c.workspace, c.user.ID))
		},
		then: and(all(ended, ofGrants, []string{"invitation"}),
			all(refused, []string{"silent authorization", "open consent page"}),
			all(suspended, []string{"personal access token"})),
	},
	{
		name: "the user becomes a member who does not manage",
		stop: func(c *cast) { c.changeRole(catalog.RoleMember) },
		then: and(all(ended, []string{"invitation"}), at(doorManages, "access token", "JWT", "personal access token")),
		undo: func(c *cast) { c.changeRole(catalog.RoleAdmin) },
	},
	{
		name: "the user becomes a viewer",
		stop: func(c *cast) { c.changeRole(catalog.RoleViewer) },
		then: and(all(ended, []string{"invitation"}), at(doorManages, "access token", "JWT", "personal access token"),
			at(doorWrites, "access token", "JWT", "personal access token"),
			all(refused, []string{"silent authorization", "open consent page"})),
		undo: func(c *cast) { c.changeRole(catalog.RoleAdmin) },
	},
	{
		name: "the user signs out",
		stop: func(c *cast) {
			a := c.browser.PostForm("/logout", url.Values{})
			if a.Status != http.StatusSeeOther {
				c.t.Fatalf("signing out answered %d", a.Status)
			}
		},
		then: all(ended, ofSession),
	},
	{
		name: "the session is idle too long",
		stop: func(c *cast) { c.later(25 * time.Hour) },
		then: and(all(ended, ofSession),
			all(ended, []string{"access token", "JWT", "client token", "client JWT", "code"}, offline)),
	},

	// Workspaces.
	{
		name: "the workspace is disabled",
		stop: func(c *cast) { c.ok(c.first().Management.DisableWorkspace(c.system(), c.command(), c.workspace)) },
		then: and(all(suspended, ofGrants), all(suspended, []string{"API key", "personal access token", "invitation"}),
			all(refused, []string{"silent authorization", "open consent page"})),
		undo: func(c *cast) { c.ok(c.first().Management.EnableWorkspace(c.system(), c.command(), c.workspace)) },
	},
	{
		name: "the workspace's only owner is disabled",
		stop: func(c *cast) { c.ok(c.first().Identity.DisableUser(c.system(), c.owner.ID)) },
		then: and(all(suspended, ofGrants), all(suspended, []string{"API key", "personal access token", "invitation"}),
			all(refused, []string{"silent authorization", "open consent page"})),
		undo: func(c *cast) { c.ok(c.first().Identity.EnableUser(c.system(), c.owner.ID)) },
	},
	{
		name: "the workspace is deleted",
		stop: func(c *cast) { c.ok(c.first().Management.DeleteWorkspace(c.system(), c.command(), c.workspace)) },
		then: and(all(ended, ofGrants, []string{"API key", "invitation"}), all(suspended, []string{"personal access token"}),
			all(refused, []string{"silent authorization", "open consent page"})),
	},

	// Apps.
	{
		name: "the app is disabled",
		stop: func(c *cast) {
			c.ok(c.first().Management.DisableClient(c.system(), management.CLI(""), c.app.ID))
		},
		then: all(suspended, ofApp),
		undo: func(c *cast) {
			c.ok(c.first().Management.EnableClient(c.system(), management.CLI(""), c.app.ID))
		},
	},
	{
		name: "the app's workspace is disabled",
		stop: func(c *cast) {
			c.ok(c.first().Management.DisableWorkspace(c.system(), management.CLI(c.home.ID), c.home))
		},
		then: all(suspended, ofApp),
		undo: func(c *cast) {
			c.ok(c.first().Management.EnableWorkspace(c.system(), management.CLI(c.home.ID), c.home))
		},
	},
	{
		name: "the app's developer is disabled",
		stop: func(c *cast) { c.ok(c.first().Identity.DisableUser(c.system(), c.maker.ID)) },
		then: all(suspended, ofApp),
		undo: func(c *cast) { c.ok(c.first().Identity.EnableUser(c.system(), c.maker.ID)) },
	},
	{
		name: "the app is deleted",
		stop: func(c *cast) {
			c.ok(c.first().Management.DeleteClient(c.system(), management.CLI(""), c.app.ID))
		},
		then: all(ended, ofApp),
	},
	{
		name: "the app's secret is replaced at once",
		stop: func(c *cast) {
			_, _, err := c.first().Management.RotateSecret(c.system(), management.CLI(""), c.app.ID, 0)
			c.ok(err)
		},
		then: all(ended, []string{"the app's secret", "client credentials", "refresh token", "code"}),
	},

	// Grants and tokens.
	{
		name: "the user ends the app's access",
		stop: func(c *cast) {
			c.ok(c.first().Management.RevokeAccess(c.system(), c.user.ID, c.personal(c.user).ID, c.app.ID))
		},
		then: all(ended, ofGrants, []string{"silent authorization"}),
	},
	{
		name: "the user consents again, to reading alone",
		stop: func(c *cast) {
			params := c.app.Params("read write admin")
			params.Set("prompt", "consent")
			page := c.other.Authorize(params)
			a := c.other.Decide(page, "approve", func(v url.Values) {
				v["scope"], v["workspace"] = []string{"read"}, []string{c.workspace.Slug}
			})
			if a.Param("code") == "" {
				c.t.Fatalf("consent answered %d %s", a.Status, rig.Plain(a.Body))
			}
		},
		then: and(at(doorManages, "access token"), at(doorWrites, "access token")), // the JWT is for another API
	},
	{
		name: "the access token is revoked",
		stop: func(c *cast) { c.revoke("access token") },
		then: all(ended, []string{"access token", "refresh token"}),
	},
	{
		name: "the refresh token is revoked",
		stop: func(c *cast) { c.revoke("refresh token") },
		then: all(ended, []string{"access token", "refresh token"}),
	},
	{
		name: "the JWT is revoked",
		stop: func(c *cast) { c.revoke("JWT") },
		then: all(ended, []string{"JWT"}),
	},
	{
		name: "the code is used",
		stop: func(c *cast) {
			if a := c.first().Exchange(c.app, c.texts["code"]); a.Status != http.StatusOK {
				c.t.Fatalf("the code answered %d %s", a.Status, a.Body)
			}
		},
		then: all(ended, []string{"code"}),
	},
	{
		name: "access tokens expire",
		stop: func(c *cast) { c.later(time.Hour + time.Second) },
		then: all(ended, []string{"access token", "JWT", "client token", "client JWT", "code", "open consent page"}, offline),
	},
	{
		name: "the signing key is compromised",
		stop: func(c *cast) {
			_, err := c.first().Keyring.Rotate(c.system(), true)
			c.ok(err)
			c.later(10 * time.Minute) // the longest time that keys are cached; codes and flows have expired by then
		},
		then: all(ended, []string{"JWT", "client JWT", "code", "open consent page"}, offline),
	},

	// Keys.
	{
		name: "the API key is revoked",
		stop: func(c *cast) { c.revoke("API key") },
		then: all(ended, []string{"API key"}),
	},
	{
		name: "the API key is paused",
		stop: func(c *cast) {
			_, err := c.first().Management.PauseKey(c.tenant(), c.command(), c.ownerOfKey(), c.key.ID)
			c.ok(err)
		},
		then: all(suspended, []string{"API key"}),
		undo: func(c *cast) {
			_, err := c.first().Management.ResumeKey(c.tenant(), c.command(), c.ownerOfKey(), c.key.ID)
			c.ok(err)
		},
	},
	{
		name: "the API key is rotated and the old one's grace is over",
		stop: func(c *cast) {
			_, _, err := c.first().Management.RotateKey(c.tenant(), c.command(), c.ownerOfKey(), c.key.ID, time.Minute)
			c.ok(err)
			c.later(time.Minute)
		},
		then: all(ended, []string{"API key", "code"}),
	},
	{
		name: "the personal access token is revoked",
		stop: func(c *cast) { c.revoke("personal access token") },
		then: all(ended, []string{"personal access token"}),
	},

	{
		name: "the API key and the personal access token expire",
		stop: func(c *cast) {
			n := c.first()
			for name, make := range map[string]func(storage.Time) string{
				"API key": func(at storage.Time) string {
					_, text := n.Key(c.workspace, apikey.Spec{Name: "Short", Scopes: []string{"admin"}, ExpiresAt: at})
					return text
				},
				"personal access token": func(at storage.Time) string {
					_, text := n.PersonalToken(c.user, apikey.Spec{Name: "Short", Scopes: []string{"admin"}, ExpiresAt: at})
					return text
				},
			} {
				c.texts[name] = make(n.Store.Now().Add(time.Minute))
			}
			c.open("API key", opaqueHost)
			c.open("personal access token", opaqueHost, "X-Workspace", c.workspace.Slug)
			c.later(time.Minute)
		},
		then: all(ended, []string{"API key", "personal access token", "code"}),
	},

	// Invitations.
	{
		name: "the invitation is withdrawn",
		stop: func(c *cast) {
			c.ok(c.first().Management.DropInvitation(c.system(), c.command(), c.workspace, c.invitation.ID))
		},
		then: all(ended, []string{"invitation"}),
	},
	{
		name: "the invitation expires",
		stop: func(c *cast) { c.later(7*24*time.Hour + time.Second) },
		then: and(all(ended, []string{
			"invitation", "access token", "JWT", "client token", "client JWT", "code", "refresh token",
		}, ofSession, offline)),
	},
}

// usedUp are things that a door uses up when they work, so each is tried at only one door of one node.
var usedUp = []string{"open consent page", "code", "invitation"}

func TestV01_V02_V04_V06_V07_V09_StoppedAccessStaysStopped(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		for _, row := range table {
			t.Run(row.name, func(t *testing.T) {
				c := w.newCast(t)
				row.stop(c)
				w.elapse()
				c.check("", row.then, nil)
				if row.undo == nil {
					c.checkSockets(row.then)
					return
				}
				row.undo(c)
				w.elapse()
				c.check("afterwards ", row.again, row.then)
				row.stop(c)
				w.elapse()
				c.checkSockets(row.then)
			})
		}
	})
}

// elapse advances the clocks by the second within which a change takes effect on other nodes.
func (w *world) elapse() {
	if len(w.nodes) > 1 {
		w.later(time.Second)
	}
}

// checkSockets has the open connections checked again, as each node does by itself at least once a minute: those with a
// working credential stay open, and the others are closed.
func (c *cast) checkSockets(want map[string]state) {
	c.t.Helper()
	last := c.nodes[len(c.nodes)-1]
	c.later(time.Minute)
	last.Web.Recheck(c.t.Context())
	for thing, ws := range c.sockets {
		text := "x"
		if cmp.Or(want[thing], works) == works {
			if err := errors.Join(websocket.Message.Send(ws, text), websocket.Message.Receive(ws, &text)); err != nil {
				c.t.Errorf("the %s works, but its WebSocket was closed: %v", thing, err)
			}
		} else if err := websocket.Message.Receive(ws, &text); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Errorf("the %s %s, but its WebSocket goes on", thing, want[thing])
		}
	}
}

// check tries everything at every door. What was used up while it still worked is left out.
func (c *cast) check(when string, want, before map[string]state) {
	c.t.Helper()
	for i, n := range c.nodes {
		for _, thing := range things {
			if slices.Contains(usedUp, thing) &&
				(i < len(c.nodes)-1 || before != nil && (before[thing] == "" || thing == "open consent page")) {
				continue
			}
			s := cmp.Or(want[thing], works)
			for _, d := range c.doors(n, thing) {
				s := cmp.Or(want[thing+" at "+d.name], s)
				if !d.want(s) {
					c.t.Errorf("%sthe %s %s, but at node %d, %s, the answer is %q", when, thing, s, i+1, d.name, d.answer)
				}
			}
		}
	}
}

func (c *cast) ok(err error) {
	c.t.Helper()
	ok(c.t, err)
}

func (c *cast) system() context.Context { return c.first().System() }

func (c *cast) tenant() context.Context { return storage.Tenant(c.t.Context(), "", c.workspace.ID) }

func (c *cast) command() management.Authority { return management.CLI(c.workspace.ID) }

func (c *cast) ownerOfKey() storage.KeyOwner { return storage.KeyOwner{WorkspaceID: c.workspace.ID} }

func (c *cast) first() *rig.Rig { return c.nodes[0] }

func (c *cast) changeRole(role string) {
	c.ok(c.first().Management.ChangeRole(c.system(), c.command(), c.workspace, c.user.ID, role))
}

// revoke sends a credential to the revocation endpoint, as its owner may.
func (c *cast) revoke(thing string) {
	c.t.Helper()
	if a := c.first().PostAs(c.app, "/oauth/revoke", url.Values{"token": {c.texts[thing]}}); a.Status != http.StatusOK {
		c.t.Fatalf("revocation answered %d %s", a.Status, a.Body)
	}
}

func (c *cast) personal(u storage.User) storage.Workspace {
	c.t.Helper()
	w, err := c.first().Store.PersonalWorkspace(c.system(), u.ID)
	c.ok(err)
	return w
}
