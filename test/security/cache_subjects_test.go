package security

import (
	"net/http"
	"net/url"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/rig"
)

// What users, workspaces, memberships and clients lose, no request that begins afterwards has. What they get back, each
// request that begins afterwards has.
func TestI08_K09_R08_NothingThatEndedIsAnsweredFromMemory(t *testing.T) {
	raceEach(t, []kindOfChange{
		{name: "user disabled", start: func(w *cacheWorld) func() step {
			return func() step {
				u := w.person()
				home := personal(w.T.(*testing.T), w.Rig, u.ID)
				_, token := w.PersonalToken(u, reads())
				_, key := w.Key(home, reads())
				access, _ := w.tokensOf(w.Browser().SignIn(u.Email), w.app, opaqueID, "read", "")
				questions := append(w.works(token, home.Slug), append(w.works(key, ""), forGood(w.works(access, ""))...)...)
				return step{
					questions,
					func() error { return w.Identity.DisableUser(w.System(), u.ID) },
					func() error { return w.Identity.EnableUser(w.System(), u.ID) },
				}
			}
		}},
		{name: "user deleted", start: func(w *cacheWorld) func() step {
			return func() step {
				u := w.person()
				home := personal(w.T.(*testing.T), w.Rig, u.ID)
				_, token := w.PersonalToken(u, reads())
				_, key := w.Key(home, reads())
				return step{append(w.works(token, home.Slug), w.works(key, "")...), func() error {
					return w.Identity.DeleteUser(w.System(), u.ID)
				}, nil}
			}
		}},
		{name: "user signed out everywhere", start: func(w *cacheWorld) func() step {
			return func() step {
				u := w.person()
				_, token := w.PersonalToken(u, reads())
				access, _ := w.tokensOf(w.Browser().SignIn(u.Email), w.app, signedID, "read", "")
				return step{append(w.works(access, ""), w.active(token, "")), func() error {
					_, err := w.Identity.SignOut(w.System(), u.ID, identity.SignOutOptions{Apps: true, Tokens: true})
					return err
				}, nil}
			}
		}},
		{name: "workspace disabled", start: func(w *cacheWorld) func() step {
			team, owner := w.team("")
			_, key := w.Key(team, reads())
			_, token := w.PersonalToken(owner, reads())
			service := w.App(management.ClientSpec{
				WorkspaceID: team.ID, Grants: []string{oauth.GrantClientCredentials}, Scopes: []string{"read"},
			})
			access, _ := w.tokensOf(w.Browser().SignIn(owner.Email), w.app, opaqueID, "read", team.Slug)
			questions := append(w.works(key, ""), w.works(token, team.Slug)...)
			questions = append(questions, w.works(w.ownToken(service, opaqueID), "")...)
			questions = append(questions, w.works(access, "")...)
			return func() step {
				return step{
					questions,
					func() error { return w.Management.DisableWorkspace(w.System(), management.CLI(team.ID), team) },
					func() error { return w.Management.EnableWorkspace(w.System(), management.CLI(team.ID), team) },
				}
			}
		}},
		{name: "owner of a workspace disabled", start: func(w *cacheWorld) func() step {
			team, owner := w.team("")
			_, key := w.Key(team, reads())
			return func() step {
				return step{
					w.works(key, ""),
					func() error { return w.Identity.DisableUser(w.System(), owner.ID) },
					func() error { return w.Identity.EnableUser(w.System(), owner.ID) },
				}
			}
		}},
		{name: "workspace deleted", start: func(w *cacheWorld) func() step {
			return func() step {
				team, owner := w.team("")
				_, key := w.Key(team, reads())
				_, token := w.PersonalToken(owner, reads())
				return step{append(w.works(key, ""), w.works(token, team.Slug)...), func() error {
					return w.Management.DeleteWorkspace(w.System(), management.CLI(team.ID), team)
				}, nil}
			}
		}},
		{name: "plan of a workspace", start: func(w *cacheWorld) func() step {
			team, owner := w.team("small")
			_, key := w.Key(team, reads())
			_, token := w.PersonalToken(owner, reads())
			limit := func(hour string) func(*rig.Answer) bool {
				return func(a *rig.Answer) bool {
					return a.Status == http.StatusOK && a.Header.Get("X-RateLimit-Limit") == hour
				}
			}
			var questions []question
			for _, x := range [][2]string{{key, ""}, {token, team.Slug}} {
				counted := w.admitted(http.MethodGet, x[0], x[1])
				counted.name, counted.before, counted.after = "limit at the gateway", limit("1000000"), limit("2000000")
				questions = append(questions, counted, w.told(x[0], x[1], "plan", "small", "large"))
			}
			to := func(plan string) func() error {
				return func() error {
					var err error
					team, err = w.Management.UpdateWorkspace(w.System(), management.CLI(team.ID), team, nil, &plan)
					return err
				}
			}
			return func() step { return step{questions, to("large"), to("small")} }
		}},
		{name: "member removed", start: func(w *cacheWorld) func() step {
			team, _ := w.team("")
			u := w.person()
			w.Join(team, u, catalog.RoleMember)
			_, token := w.PersonalToken(u, reads())
			b := w.Browser().SignIn(u.Email)
			return func() step {
				access, _ := w.tokensOf(b, w.app, opaqueID, "read", team.Slug)
				return step{
					append(w.works(token, team.Slug), forGood(w.works(access, ""))...),
					func() error { return w.Management.RemoveMember(w.System(), management.CLI(team.ID), team, u.ID) },
					func() error {
						return w.Management.AddMember(w.System(), management.CLI(team.ID), team, u.ID, catalog.RoleMember)
					},
				}
			}
		}},
		{name: "role lowered", start: func(w *cacheWorld) func() step {
			team, _ := w.team("")
			u := w.person()
			w.Join(team, u, catalog.RoleMember)
			_, token := w.PersonalToken(u, apikey.Spec{Scopes: []string{"admin"}})
			_, narrow := w.PersonalToken(u, apikey.Spec{Scopes: []string{"admin"}, Role: catalog.RoleMember})
			access, _ := w.tokensOf(w.Browser().SignIn(u.Email), w.app, signedID, "read write", team.Slug)
			to := func(role string) func() error {
				return func() error {
					return w.Management.ChangeRole(w.System(), management.CLI(team.ID), team, u.ID, role)
				}
			}
			questions := []question{
				w.told(token, team.Slug, "role", catalog.RoleMember, catalog.RoleViewer),
				w.told(access, "", "role", catalog.RoleMember, catalog.RoleViewer),
				w.admitted(http.MethodPost, token, team.Slug), w.admitted(http.MethodPost, narrow, team.Slug),
				w.admitted(http.MethodPost, access, ""),
			}
			return func() step { return step{questions, to(catalog.RoleViewer), to(catalog.RoleMember)} }
		}},
		{name: "lowest role of a user", start: func(w *cacheWorld) func() step {
			team, _ := w.team("")
			u := w.person()
			_, token := w.PersonalToken(u, reads())
			return func() step {
				return step{
					[]question{w.told(token, "", "scope", "read write", "read")},
					func() error {
						return w.Management.AddMember(w.System(), management.CLI(team.ID), team, u.ID, catalog.RoleViewer)
					},
					func() error { return w.Management.RemoveMember(w.System(), management.CLI(team.ID), team, u.ID) },
				}
			}
		}},
		{name: "client disabled", start: func(w *cacheWorld) func() step {
			app := w.service()
			access, _ := w.tokensOf(w.browser, app, opaqueID, "read", "")
			signed, _ := w.tokensOf(w.browser, app, signedID, "read", "")
			questions := append(w.works(access, ""), w.works(signed, "")...)
			questions = append(questions, w.works(w.ownToken(app, opaqueID), "")...)
			return func() step {
				return step{
					questions,
					func() error { return w.Management.DisableClient(w.System(), management.CLI(""), app.ID) },
					func() error { return w.Management.EnableClient(w.System(), management.CLI(""), app.ID) },
				}
			}
		}},
		{name: "client deleted", start: func(w *cacheWorld) func() step {
			return func() step {
				app := w.service()
				access, _ := w.tokensOf(w.browser, app, opaqueID, "read", "")
				return step{append(w.works(access, ""), w.works(w.ownToken(app, signedID), "")...), func() error {
					return w.Management.DeleteClient(w.System(), management.CLI(""), app.ID)
				}, nil}
			}
		}},
	})
}

// service registers an app that acts for users and for itself.
func (w *cacheWorld) service() *rig.App {
	w.T.Helper()
	return w.App(management.ClientSpec{
		Resources: []string{opaqueID, signedID}, Scopes: []string{"read"}, FirstParty: true,
		RedirectURIs: []string{"https://app.example/cb"},
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials},
	})
}

// A resource server that may not introspect any more gets no answer to a request that begins afterwards.
func TestI01_R08_NoAnswerForAResourceServerThatWasStopped(t *testing.T) {
	server := func(w *cacheWorld, workspaceID string) *rig.App {
		return w.App(management.ClientSpec{
			Name: "API", ResourceServer: true, Resources: []string{opaqueID}, WorkspaceID: workspaceID,
		})
	}
	asks := func(w *cacheWorld, by *rig.App) []question {
		_, key := w.Key(personal(w.T.(*testing.T), w.Rig, w.Alice.ID), reads())
		q := w.active(key, "")
		q.ask = w.introspection(by, key, "")
		q.after = func(a *rig.Answer) bool { return a.Status == http.StatusUnauthorized }
		return []question{q}
	}
	raceEach(t, []kindOfChange{
		{name: "disabled", start: func(w *cacheWorld) func() step {
			api := server(w, "")
			questions := asks(w, api)
			return func() step {
				return step{
					questions,
					func() error { return w.Management.DisableClient(w.System(), management.CLI(""), api.ID) },
					func() error { return w.Management.EnableClient(w.System(), management.CLI(""), api.ID) },
				}
			}
		}, aged: true},
		{name: "with its workspace", start: func(w *cacheWorld) func() step {
			team, _ := w.team("")
			questions := asks(w, server(w, team.ID))
			return func() step {
				return step{
					questions,
					func() error { return w.Management.DisableWorkspace(w.System(), management.CLI(team.ID), team) },
					func() error { return w.Management.EnableWorkspace(w.System(), management.CLI(team.ID), team) },
				}
			}
		}, aged: true},
		{name: "deleted", start: func(w *cacheWorld) func() step {
			return func() step {
				api := server(w, "")
				return step{asks(w, api), func() error {
					return w.Management.DeleteClient(w.System(), management.CLI(""), api.ID)
				}, nil}
			}
		}, aged: true},
		{name: "secret rotated without grace", start: func(w *cacheWorld) func() step {
			return func() step {
				api := server(w, "")
				return step{asks(w, api), func() error {
					_, _, err := w.Management.RotateSecret(w.System(), management.CLI(""), api.ID, 0)
					return err
				}, nil}
			}
		}, aged: true},
		{name: "key for introspection revoked", start: func(w *cacheWorld) func() step {
			return func() step {
				own, secret := w.IntrospectionKey()
				_, key := w.Key(personal(w.T.(*testing.T), w.Rig, w.Alice.ID), reads())
				q := w.active(key, "")
				body := url.Values{"token": {key}}.Encode()
				q.ask = func() *rig.Answer {
					return w.serve(http.MethodPost, "/oauth/introspect", body, "Content-Type",
						"application/x-www-form-urlencoded", "Authorization", "Bearer "+secret)
				}
				q.after = func(a *rig.Answer) bool {
					return a.Status == http.StatusUnauthorized || a.Status == http.StatusTooManyRequests
				}
				return step{[]question{q}, func() error {
					_, err := w.Management.RevokeKey(w.System(), management.CLI(""), storage.KeyOwner{}, own.ID)
					return err
				}, nil}
			}
		}, aged: true},
	})
}
