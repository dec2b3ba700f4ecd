package security

import (
	"net/http"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// away names the statements that fail.
type away struct{ verb, table string }

// While the database fails, each step is answered with 503, and uses up nothing: the same request_uri, code, refresh
// token, assertion and proof work afterwards.
func TestT83_AFailureUsesUpNothing(t *testing.T) {
	eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app, key := r.SignedApp(management.ClientSpec{DPoPBound: true})
		public, own, k := publicApp(r), r.App(management.ClientSpec{FirstParty: true}), rig.NewKey(t, "")
		b := r.Browser().SignIn(r.Alice.Email)
		failing := func(name string, places []away, send func() *rig.Answer, want func(*rig.Answer)) {
			t.Helper()
			for _, x := range places {
				if x.table == "used_proofs" && r.Store.Engine() == "sqlite" {
					continue // there, proofs are in memory
				}
				back := breakWrites(r, owner, x.verb, x.table)
				a := send()
				back()
				if a.Status != http.StatusServiceUnavailable && a.Status != http.StatusInternalServerError ||
					a.Param("code") != "" ||
					a.Text("access_token") != "" || a.Text("request_uri") != "" {
					t.Errorf("%s, while %s %s fails: answered %d %s", name, x.verb, x.table, a.Status, rig.Plain(a.Body))
				}
			}
			want(send())
		}
		var uri, code, refresh string
		toPAR := aim{method: http.MethodPost, url: r.Issuer + "/oauth/par"}
		assertion, proof := r.Assertion(app, key), toPAR.proof(r, k)
		failing("PAR", []away{{"INSERT", "pushed_requests"}, {"INSERT", "used_assertions"}, {"INSERT", "used_proofs"}},
			func() *rig.Answer {
				return r.Post("/oauth/par", rig.Asserted(app.Params("read"), assertion), dpop.Header, proof)
			},
			func(a *rig.Answer) {
				if uri = a.Text("request_uri"); a.Status != http.StatusCreated || uri == "" {
					t.Fatalf("PAR answered %d %s", a.Status, a.Body)
				}
			})
		flow := b.Form(b.Authorize(app.Opened(uri)), "/oauth/consent")
		failing("consent", []away{
			{"UPDATE", "pushed_requests"}, {"INSERT", "grants"}, {"INSERT", "codes"}, {"INSERT", "audit_events"},
		}, func() *rig.Answer { return b.PostForm("/oauth/consent", with(flow, "decision", "approve")) },
			func(a *rig.Answer) {
				if code = a.Param("code"); code == "" {
					t.Fatalf("consent answered %d %s", a.Status, rig.Plain(a.Body))
				}
			})
		wantUsed(t, ask(b, app.Opened(uri)))
		places := []away{{"INSERT", "access_tokens"}, {"INSERT", "used_assertions"}, {"INSERT", "used_proofs"}}
		assertion, proof = r.Assertion(app, key), tokenAim(r).proof(r, k)
		failing("code", append(places, away{"UPDATE", "codes"}, away{"INSERT", "refresh_tokens"}),
			func() *rig.Answer {
				return r.Post("/oauth/token", rig.Asserted(codeForm(app, code), assertion), dpop.Header, proof)
			},
			func(a *rig.Answer) { _, refresh = bound(t, a) })
		assertion, proof = r.Assertion(app, key), tokenAim(r).proof(r, k)
		failing("refresh", append(places, away{"UPDATE", "refresh_tokens"}, away{"INSERT", "refresh_tokens"}),
			func() *rig.Answer {
				return r.Post("/oauth/token", rig.Asserted(refreshForm(refresh), assertion), dpop.Header, proof)
			},
			func(a *rig.Answer) { bound(t, a) })

		// Without a page.
		uri = pushed(r, own, own.Params("read"))
		failing("approval without a page", []away{{"UPDATE", "pushed_requests"}, {"INSERT", "codes"}},
			func() *rig.Answer { return ask(b, own.Opened(uri)) },
			func(a *rig.Answer) {
				if a.Param("code") == "" {
					t.Errorf("answered %d %v", a.Status, a.Location)
				}
			})
		uri = pushed(r, own, with(own.Params("read"), "prompt", "consent"))
		flow = b.Form(b.Authorize(own.Opened(uri)), "/oauth/consent")
		failing("refusal", []away{{"UPDATE", "pushed_requests"}, {"INSERT", "audit_events"}},
			func() *rig.Answer { return b.PostForm("/oauth/consent", with(flow, "decision", "deny")) },
			func(a *rig.Answer) {
				if a.Param("error") != oauth.AccessDenied {
					t.Errorf("answered %d %v", a.Status, a.Location)
				}
			})

		// At an API, where only the proof is written.
		access, _ := boundTokens(t, r, public, k)
		proof = aim{http.MethodGet, r.Issuer + "/v1/auth/test", access}.proof(r, k)
		failing("API", []away{{"INSERT", "used_proofs"}},
			func() *rig.Answer { return called(r, "/v1/auth/test", "DPoP "+access, dpop.Header, proof) },
			func(a *rig.Answer) {
				if a.Status != http.StatusOK {
					t.Errorf("answered %d %s", a.Status, a.Body)
				}
			})
	})
}
