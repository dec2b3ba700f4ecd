package security

import (
	"net/http"
	"net/url"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/test/rig"
	"doorward/test/stores"
)

// While the database is unavailable, a right assertion is not used: neither is it refused, nor is the same one later,
// when another process with the database gets it.
func TestT53_T83_WithoutStorageNoAssertionIsUsed(t *testing.T) {
	for engine, address := range map[string]func(testing.TB) string{
		"sqlite": stores.SQLite, "postgresql": stores.PostgreSQL,
	} {
		t.Run(engine, func(t *testing.T) {
			o, url1 := rig.Options{Issuer: "http://localhost:8080"}, address(t)
			down, up := rig.New(t, stores.Open(t, url1), o), rig.New(t, stores.Open(t, url1), o)
			cached, cachedKey := signedClient(down)
			other, otherKey := signedClient(down)
			b := down.Browser().SignIn(down.Alice.Email)
			access, refresh := granted(t, down.ExchangeSigned(cached, cachedKey, nil, b.Code(cached, "read")))
			type request struct {
				endpoint
				assertion string
			}
			var requests []request
			add := func(app *rig.App, key *rig.Key, list ...endpoint) {
				for _, e := range list {
					requests = append(requests, request{e, down.Assertion(app, key)})
				}
			}
			add(other, otherKey, endpoints(other)...)
			add(cached, cachedKey, endpoints(cached)...)
			add(cached, cachedKey, endpoint{"/oauth/token", codeForm(cached, b.Code(cached, "read")), http.StatusOK},
				endpoint{"/oauth/token", refreshForm(refresh), http.StatusOK},
				endpoint{"/oauth/introspect", url.Values{"token": {access}}, http.StatusOK},
				endpoint{"/oauth/revoke", url.Values{"token": {access}}, http.StatusOK})
			down.PostSigned(cached, cachedKey, "/oauth/introspect", url.Values{"token": {"x"}}) // to fill the cache
			down.BreakStorage()
			for _, q := range requests {
				refused(t, q.asserted(down, q.assertion), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			}
			for _, q := range requests {
				q.succeeds(t, "with storage", q.asserted(up, q.assertion))
				refused(t, q.asserted(up, q.assertion), http.StatusUnauthorized, oauth.InvalidClient)
			}
		})
	}
}

// Whichever write of a request fails, its assertion is not used, and neither is what it was sent with.
func TestT53_T83_AFailedWriteUsesNothing(t *testing.T) {
	unknown := func() url.Values { return url.Values{"token": {"x"}} }
	o := limited()
	o.Lifetimes.RefreshReuseWindow = -1
	eachWithOwner(t, o, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app, key := signedClient(r)
		api, apiKey := r.SignedApp(management.ClientSpec{Name: "Example API", ResourceServer: true})
		b := r.Browser().SignIn(r.Alice.Email)
		code := func() url.Values { return codeForm(app, b.Code(app, "read")) }
		tokens := func() (access, refresh string) {
			t.Helper()
			return granted(t, r.ExchangeSigned(app, key, nil, b.Code(app, "read")))
		}
		w := r.Workspace("acme", "pro", r.Alice)
		_, limitedKey := r.Key(w, apikey.Spec{Scopes: []string{"read"}})
		fresh := func() url.Values {
			_, refresh := tokens()
			return refreshForm(refresh)
		}
		token := func() url.Values {
			access, _ := tokens()
			return url.Values{"token": {access}}
		}
		type write struct{ verb, table string }
		use := write{"INSERT", "used_assertions"}
		for name, x := range map[string]struct {
			make   func() url.Values
			path   string
			status int
			writes []write
		}{
			"client_credentials": {
				func() url.Values { return ownForm }, "/oauth/token", 200,
				[]write{use, {"INSERT", "access_tokens"}},
			},
			"client_credentials with a wrong scope": {
				func() url.Values { return with(ownForm, "scope", "unknown") }, "/oauth/token", 400, []write{use},
			},
			"code": {
				code, "/oauth/token", 200,
				[]write{use, {"UPDATE", "codes"}, {"INSERT", "access_tokens"}, {"INSERT", "refresh_tokens"}},
			},
			"code with a wrong verifier": {
				func() url.Values { return with(code(), "code_verifier", rig.Challenge) }, "/oauth/token", 400,
				[]write{use, {"UPDATE", "codes"}},
			},
			"code used before": {
				func() url.Values {
					form := code()
					granted(t, r.PostSigned(app, key, "/oauth/token", form))
					return form
				}, "/oauth/token", 400, []write{use, {"UPDATE", "grants"}},
			},
			"refresh": {
				fresh, "/oauth/token", 200,
				[]write{use, {"UPDATE", "refresh_tokens"}, {"INSERT", "access_tokens"}, {"INSERT", "refresh_tokens"}},
			},
			"refresh token used before": {
				func() url.Values {
					form := fresh()
					granted(t, r.PostSigned(app, key, "/oauth/token", form))
					return form
				}, "/oauth/token", 400, []write{use, {"UPDATE", "grants"}},
			},
			"PAR": {
				func() url.Values { return app.Params("read") }, "/oauth/par", 201, []write{use, {"INSERT", "pushed_requests"}},
			},
			"PAR with a wrong scope": {
				func() url.Values { return app.Params("unknown") }, "/oauth/par", 400, []write{use},
			},
			"introspection":                     {token, "/oauth/introspect", 200, []write{use}},
			"introspection of an unknown token": {unknown, "/oauth/introspect", 200, []write{use}},
			"introspection with a cost": {
				func() url.Values { return url.Values{"token": {limitedKey}, "cost": {"1"}} }, "/oauth/introspect", 200,
				[]write{use, {"INSERT", "limits"}},
			},
			"revocation": {token, "/oauth/revoke", 200, []write{use, {"UPDATE", "grants"}}},
			"revocation of its own token": {
				func() url.Values {
					own, _ := granted(t, r.PostSigned(app, key, "/oauth/token", ownForm))
					return url.Values{"token": {own}}
				}, "/oauth/revoke", 200, []write{use, {"INSERT", "audit_events"}},
			},
			"revocation of an unknown token": {unknown, "/oauth/revoke", 200, []write{use}},
			"revocation of a key": {
				func() url.Values {
					_, text := r.Key(w, apikey.Spec{})
					return url.Values{"token": {text}}
				}, "/oauth/revoke", 200, []write{use, {"UPDATE", "api_keys"}},
			},
		} {
			caller, signer := app, key
			if x.path == "/oauth/introspect" {
				caller, signer = api, apiKey
			}
			for _, fails := range x.writes {
				if fails.table == "limits" && r.Store.Engine() == "sqlite" {
					continue // it counts in memory
				}
				t.Run(name+", "+fails.verb+" "+fails.table, func(t *testing.T) {
					form, assertion := x.make(), r.Assertion(caller, signer)
					send := func() *rig.Answer { return r.Post(x.path, rig.Asserted(form, assertion)) }
					restore := breakWrites(r, owner, fails.verb, fails.table)
					a := send()
					restore()
					refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
					if a := send(); a.Status != x.status {
						t.Errorf("afterwards it answered %d %s, want %d", a.Status, a.Body, x.status)
					}
					refused(t, send(), http.StatusUnauthorized, oauth.InvalidClient)
				})
			}
		}
	})
}
