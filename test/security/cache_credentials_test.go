package security

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// A key that is revoked, paused, narrowed or replaced is, for every request that begins afterwards.
func TestK06_K08_R08_NoChangedKeyIsAnsweredFromMemory(t *testing.T) {
	home := func(w *cacheWorld) storage.Workspace { return personal(w.T.(*testing.T), w.Rig, w.Alice.ID) }
	update := func(w *cacheWorld, k storage.APIKey, c management.KeyChange) func() error {
		return func() error {
			by := management.CLI(k.WorkspaceID)
			by.UserID = k.UserID
			_, err := w.Management.UpdateKey(w.System(), by, k.Owner(), "", k.ID, c)
			return err
		}
	}
	raceEach(t, []kindOfChange{
		{name: "revoked", start: func(w *cacheWorld) func() step {
			return func() step {
				k, text := w.Key(home(w), reads())
				return step{w.works(text, ""), func() error {
					_, err := w.Management.RevokeKey(w.System(), management.CLI(k.WorkspaceID), k.Owner(), k.ID)
					return err
				}, nil}
			}
		}},
		{name: "revoked by its secret", start: func(w *cacheWorld) func() step {
			return func() step {
				_, key := w.Key(home(w), reads())
				_, token := w.PersonalToken(w.Alice, reads())
				return step{append(w.works(key, ""), w.active(token, "")), func() error {
					if err := w.Management.RevokeBySecret(w.System(), key); err != nil {
						return err
					}
					return w.Management.RevokeBySecret(w.System(), token)
				}, nil}
			}
		}},
		{name: "personal access token revoked", start: func(w *cacheWorld) func() step {
			slug := home(w).Slug
			return func() step {
				k, text := w.PersonalToken(w.Alice, reads())
				return step{append(w.works(text, slug), w.active(text, "")), func() error {
					by := management.CLI("")
					by.UserID = w.Alice.ID
					_, err := w.Management.RevokeKey(w.System(), by, k.Owner(), k.ID)
					return err
				}, nil}
			}
		}},
		{name: "paused", start: func(w *cacheWorld) func() step {
			k, text := w.Key(home(w), reads())
			return func() step {
				return step{
					w.works(text, ""),
					func() error {
						_, err := w.Management.PauseKey(w.System(), management.CLI(k.WorkspaceID), k.Owner(), k.ID)
						return err
					},
					func() error {
						_, err := w.Management.ResumeKey(w.System(), management.CLI(k.WorkspaceID), k.Owner(), k.ID)
						return err
					},
				}
			}
		}},
		{name: "scopes narrowed", start: func(w *cacheWorld) func() step {
			return func() step {
				k, text := w.Key(home(w), reads())
				return step{
					[]question{w.told(text, "", "scope", "read write", "read"), w.admitted(http.MethodPost, text, "")},
					update(w, k, management.KeyChange{Scopes: &[]string{"read"}}), nil,
				}
			}
		}},
		{name: "addresses", start: func(w *cacheWorld) func() step {
			k, text := w.Key(home(w), reads())
			return func() step {
				return step{
					[]question{w.admitted(http.MethodGet, text, "")},
					update(w, k, management.KeyChange{Addresses: &[]string{"192.0.2.77"}}),
					update(w, k, management.KeyChange{Addresses: &[]string{}}),
				}
			}
		}},
		{name: "plan", start: func(w *cacheWorld) func() step {
			k, text := w.Key(home(w), apikey.Spec{Scopes: []string{"read"}, Plan: "small"})
			small, large := "small", "large"
			return func() step {
				return step{
					[]question{w.told(text, "", "plan", "small", "large")},
					update(w, k, management.KeyChange{Plan: &large}), update(w, k, management.KeyChange{Plan: &small}),
				}
			}
		}},
		{name: "role of a personal access token", start: func(w *cacheWorld) func() step {
			slug, viewer := home(w).Slug, catalog.RoleViewer
			return func() step {
				k, text := w.PersonalToken(w.Alice, apikey.Spec{Scopes: []string{"admin"}, Role: catalog.RoleMember})
				return step{
					[]question{
						w.told(text, slug, "role", catalog.RoleMember, catalog.RoleViewer),
						w.admitted(http.MethodPost, text, slug),
					},
					update(w, k, management.KeyChange{Role: &viewer}), nil,
				}
			}
		}},
		{name: "rotated without grace", start: func(w *cacheWorld) func() step {
			return func() step {
				k, text := w.Key(home(w), reads())
				return step{w.works(text, ""), func() error {
					_, _, err := w.Management.RotateKey(w.System(), management.CLI(k.WorkspaceID), k.Owner(), k.ID, 0)
					return err
				}, nil}
			}
		}},
		{name: "rotated twice", start: func(w *cacheWorld) func() step {
			return func() step {
				k, text := w.Key(home(w), reads())
				rotate := func(id string) (storage.APIKey, error) {
					fresh, _, err := w.Management.RotateKey(w.System(), management.CLI(k.WorkspaceID), k.Owner(), id, time.Hour)
					return fresh, err
				}
				fresh, err := rotate(k.ID)
				if err != nil {
					w.T.Fatal(err)
				}
				return step{w.works(text, ""), func() error {
					_, err := rotate(fresh.ID)
					return err
				}, nil}
			}
		}},
	})
}

// A token whose grant, consent, signing key or self is revoked is dead for every request that begins afterwards.
func TestB14_J10_R08_NoRevokedTokenIsAnsweredFromMemory(t *testing.T) {
	ofUser := func(w *cacheWorld, change func(access, refresh, signed, signedRefresh string) error) func() step {
		return func() step {
			access, refresh := w.tokensOf(w.browser, w.app, opaqueID, "read", "")
			signed, signedRefresh := w.tokensOf(w.browser, w.app, signedID, "read", "")
			return step{append(w.works(access, ""), w.works(signed, "")...), func() error {
				return change(access, refresh, signed, signedRefresh)
			}, nil}
		}
	}
	raceEach(t, []kindOfChange{
		{name: "refresh token revoked", start: func(w *cacheWorld) func() step {
			return ofUser(w, func(_, refresh, _, signedRefresh string) error {
				_ = w.revoke(w.app, refresh)
				return w.revoke(w.app, signedRefresh)
			})
		}},
		{name: "access token revoked", start: func(w *cacheWorld) func() step {
			return ofUser(w, func(access, _, signed, _ string) error {
				_ = w.revoke(w.app, access)
				return w.revoke(w.app, signed)
			})
		}},
		{name: "app's own token revoked", start: func(w *cacheWorld) func() step {
			return func() step {
				opaque, signed := w.ownToken(w.app, opaqueID), w.ownToken(w.app, signedID)
				return step{append(w.works(opaque, ""), w.works(signed, "")...), func() error {
					_ = w.revoke(w.app, opaque)
					return w.revoke(w.app, signed)
				}, nil}
			}
		}},
		{name: "access of the app revoked on its page", start: func(w *cacheWorld) func() step {
			return ofUser(w, func(_, _, _, _ string) error {
				if a := w.browser.Confirm("/settings/connected-apps/"+w.app.ID+"/end", nil); a.Status != http.StatusSeeOther {
					w.T.Errorf("the page answered %d %s", a.Status, rig.Plain(a.Body))
				}
				return nil
			})
		}},
		{name: "refresh token used twice", start: func(w *cacheWorld) func() step {
			return func() step {
				access, refresh := w.tokensOf(w.browser, w.app, opaqueID, "read", "")
				next := w.Refresh(w.app, refresh).Text("access_token")
				return step{append(w.works(access, ""), w.works(next, "")...), func() error {
					// After the reuse window of zero, a second use is a theft.
					if a := w.Refresh(w.app, refresh); a.Status != http.StatusBadRequest {
						w.T.Errorf("the second use answered %d %s", a.Status, a.Body)
					}
					return nil
				}, nil}
			}
		}},
		{name: "code used twice", start: func(w *cacheWorld) func() step {
			return func() step {
				code := w.browser.Code(w.app, "read")
				access := w.Exchange(w.app, code).Text("access_token")
				return step{w.works(access, ""), func() error {
					if a := w.Exchange(w.app, code); a.Status != http.StatusBadRequest {
						w.T.Errorf("the second use answered %d %s", a.Status, a.Body)
					}
					return nil
				}, nil}
			}
		}},
		{name: "signing key dropped", start: func(w *cacheWorld) func() step {
			return func() step {
				signed, _ := w.tokensOf(w.browser, w.app, signedID, "read", "")
				return step{append(w.works(signed, ""), w.works(w.ownToken(w.app, signedID), "")...), func() error {
					_, err := w.Keyring.Rotate(w.System(), true)
					return err
				}, nil}
			}
		}, aged: true},
	})
}

// A scope that a user refuses when an app asks again is gone from every token for the next request (V-09).
func TestV09_NoRefusedScopeIsAnsweredFromMemory(t *testing.T) {
	raceEach(t, []kindOfChange{{name: "consent narrowed", start: func(w *cacheWorld) func() step {
		return func() step {
			app := w.App(management.ClientSpec{
				Resources: []string{opaqueID, signedID}, Scopes: []string{"read", "write"},
				RedirectURIs: []string{"https://app.example/cb"},
			})
			access, _ := w.tokensOf(w.browser, app, opaqueID, "read write", "")
			signed, _ := w.tokensOf(w.browser, app, signedID, "read write", "")
			var pages []*rig.Answer
			for _, resource := range []string{opaqueID, signedID} {
				pages = append(pages, w.browser.Authorize(altered(askedAgain(app, "read write"),
					url.Values{"resource": {resource}})))
			}
			return step{
				[]question{
					w.told(access, "", "scope", "read write", "read"), w.told(signed, "", "scope", "read write", "read"),
					w.admitted(http.MethodPost, access, ""), w.admitted(http.MethodPost, signed, ""),
				},
				func() error {
					for _, page := range pages {
						if a := decideScopes(w.browser, page, "read"); a.Param("code") == "" {
							w.T.Errorf("the consent page answered %d %s", a.Status, rig.Plain(a.Body))
						}
					}
					return nil
				}, nil,
			}
		}
	}}})
}
