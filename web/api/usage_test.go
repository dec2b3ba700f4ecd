package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/test/rig"
)

// Calls are counted for their workspace by key, and what was done is told with the credential that did it.
func TestUsageAndEventsTellWhatTheAPIWasAsked(t *testing.T) {
	rig.Each(t, rig.Options{Plans: map[string]limit.Plan{"tiny": {Hour: 3}}}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		adminID, admin := r.Key(w, apikey.Spec{Name: "Admin", Scopes: []string{"admin"}})
		k, text := r.Key(w, apikey.Spec{Plan: "tiny"})
		want(t, r.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
		want(t, r.JSON("GET", "/v1/api-keys/"+k.ID, text, ""), http.StatusForbidden)
		want(t, r.JSON("GET", "/v1/auth/test", text, "", "X-Workspace", "other"), http.StatusForbidden)
		want(t, r.JSON("GET", "/api/me", text, ""), http.StatusOK)
		want(t, r.JSON("GET", "/v1/auth/test", text, ""), http.StatusTooManyRequests)
		want(t, r.JSON("PATCH", "/v1/api-keys/"+k.ID, admin, `{"addresses":["192.0.2.1"]}`), http.StatusOK)
		want(t, r.JSON("GET", "/v1/auth/test", text, ""), http.StatusForbidden)
		want(t, r.JSON("DELETE", "/v1/api-keys/"+k.ID, admin, "", "X-Request-Id", "the-revocation"), http.StatusNoContent)
		want(t, r.JSON("GET", "/v1/auth/test", text, ""), http.StatusUnauthorized)
		if err := r.Store.FlushUsage(r.System()); err != nil {
			t.Fatal(err)
		}
		if err := r.Store.FlushTouches(r.System()); err != nil {
			t.Fatal(err)
		}
		for _, by := range []string{"hour", "day"} {
			rows := want(t, r.JSON("GET", "/v1/usage?by="+by+"&credential="+k.ID, admin, ""), http.StatusOK)["data"].([]any)
			if len(rows) != 1 {
				t.Fatalf("usage by the %s: %v", by, rows)
			}
			row := rows[0].(map[string]any)
			if row["allowed"] != 2.0 || row["limited"] != 1.0 || row["refused"] != 4.0 || row["credential"] != "api_key" ||
				row["credentialId"] != k.ID {
				t.Errorf("usage by the %s: %v", by, row)
			}
		}
		// Page by page, and only the range that was asked for.
		var seen []string
		path := "/v1/usage?limit=1&by=hour"
		for path != "" {
			page := want(t, r.JSON("GET", path, admin, ""), http.StatusOK)
			for _, row := range page["data"].([]any) {
				seen = append(seen, row.(map[string]any)["credentialId"].(string))
			}
			path = ""
			if next, _ := page["nextCursor"].(string); next != "" {
				path = "/v1/usage?limit=1&by=hour&cursor=" + next
			}
		}
		if want := []string{adminID.ID, k.ID}; !slices.Equal(seen, want) {
			t.Errorf("usage of %v, want %v", seen, want)
		}
		if rows := want(t, r.JSON("GET", "/v1/usage?to=2020-01-01T00:00:00Z", admin, ""), http.StatusOK)["data"].([]any); len(
			rows,
		) != 0 {
			t.Errorf("usage before there was any: %v", rows)
		}
		recent, err := r.Store.RecentRequestsOf(r.System(), k.ID)
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, x := range recent {
			told = append(told, fmt.Sprintf("%s %d %s", x.Action, x.Status, x.Reason))
		}
		slices.Reverse(told)
		if want := []string{
			"GET /v1/auth/test 200 ", "GET /v1/api-keys/" + k.ID + " 403 " + bearer.ReasonScope("admin"), "GET /v1/auth/test 403 " + bearer.ReasonWorkspace, "GET /api/me 200 ",
			"GET /v1/auth/test 429 " + bearer.ReasonLimit, "GET /v1/auth/test 403 " + bearer.ReasonAddress, "GET /v1/auth/test 401 " + bearer.ReasonRevoked,
		}; !slices.Equal(told, want) {
			t.Errorf("the last requests:\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
		if shown := want(t, r.JSON("GET", "/v1/api-keys/"+k.ID, admin, ""), http.StatusOK); shown["lastUsedAt"] == nil ||
			shown["lastUsedFrom"] != "127.0.0.1" {
			t.Errorf("last used: %v", shown)
		}
		events := want(t, r.JSON("GET", "/v1/audit-events?target="+k.ID+"&action=api_key.", admin, ""), http.StatusOK)["data"].([]any)
		var done []string
		for _, x := range events {
			e := x.(map[string]any)
			done = append(done, e["action"].(string))
			if e["action"] == "api_key.revoked" &&
				(e["keyId"] != adminID.ID || e["credential"] != "api_key" || e["requestId"] != "the-revocation" || e["address"] != "127.0.0.1" || e["userId"] != nil) {
				t.Errorf("event: %v", e)
			}
		}
		if want := []string{"api_key.revoked", "api_key.updated", "api_key.created"}; !slices.Equal(done, want) {
			t.Errorf("events: %v", done)
		}
	})
}

func TestWhoAmIForEveryKindOfCredential(t *testing.T) {
	plans := map[string]limit.Plan{"Free": {Hour: 100}, "pro": {Hour: 1000}, "sandbox": {Hour: 10}}
	rig.Each(t, rig.Options{Plans: plans, Resources: []catalog.Resource{{
		ID: "https://api.example.com", Name: "Example API", WorkspaceHeader: "X-Workspace", UserPlan: "Free", Objects: []string{"accounts", "reports"},
		Scopes: []catalog.Scope{
			{Name: "read", Text: "Read"},
			{Name: "write", Text: "Write"},
			{Name: "admin", Text: "All", Implies: []string{"read", "write"}},
		},
		Keys: catalog.KeyRules{
			Prefix:       "sk",
			Environments: []string{"live", "test"},
			DefaultPlan:  "Free",
			TestPlan:     "sandbox",
		},
	}}}, func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		w := r.Workspace("acme", "pro", bob)
		r.Join(w, r.Alice, "owner")
		_, live := r.Key(w, apikey.Spec{Scopes: []string{"write", "read"}})
		_, test := r.Key(
			w,
			apikey.Spec{Environment: "test", Scopes: []string{"reports:read", "accounts:read", "reports:write"}, ByObject: true},
		)
		_, plain := r.Key(r.Workspace("globex", "", r.Alice), apikey.Spec{})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{})
		app := r.App(management.ClientSpec{Scopes: []string{"read"}})
		access, _ := r.Tokens(app, "read")
		for what, x := range map[string]struct {
			credential  string
			header      []string
			scopes      string
			limit       float64
			email, tier string
		}{
			"a live key":                  {live, nil, `["write","read"]`, 1000, bob.Email, "pro"},
			"a test key":                  {test, nil, `{"accounts":["read"],"reports":["read","write"]}`, 10, bob.Email, "pro"},
			"a key without a plan":        {plain, nil, `["read"]`, 100, r.Alice.Email, "free"},
			"a token without a workspace": {pat, nil, `["read"]`, 100, r.Alice.Email, "free"},
			"a token in a workspace":      {pat, []string{"X-Workspace", "acme"}, `["read"]`, 1000, r.Alice.Email, "pro"},
			"an access token":             {access, nil, `["read"]`, 100, r.Alice.Email, "free"},
		} {
			a := r.JSON("GET", "/v1/auth/test", x.credential, "", x.header...)
			body := want(t, a, http.StatusOK)
			if text, _ := json.Marshal(body["scopes"]); string(text) != x.scopes ||
				body["rateLimit"].(map[string]any)["limit"] != x.limit {
				t.Errorf("%s: %s", what, a.Body)
			}
			u, err := r.Store.UserByEmail(r.System(), x.email)
			if err != nil {
				t.Fatal(err)
			}
			me := want(t, r.JSON("GET", "/api/auth/me", x.credential, "", x.header...), http.StatusOK)
			if len(me) != 4 || me["id"] != u.ID || me["email"] != x.email || me["tier"] != x.tier ||
				me["created_at"] != u.CreatedAt.Time().Format("2006-01-02T15:04:05Z") {
				t.Errorf("%s: %v", what, me)
			}
			me = want(t, r.JSON("GET", "/api/me", x.credential, "", x.header...), http.StatusOK)
			if len(me) != 3 || me["id"] != strings.TrimPrefix(u.ID, "user_") || me["email"] != x.email ||
				me["created_at"] == nil {
				t.Errorf("%s: %v", what, me)
			}
		}
		if body := want(t, r.Browser().SignIn(r.Alice.Email).JSON("GET", "/api/auth/me", ""), http.StatusOK); body["email"] != r.Alice.Email ||
			body["tier"] != "free" {
			t.Errorf("a session: %v", body)
		}
		_, introspects := r.IntrospectionKey()
		want(t, r.JSON("GET", "/v1/auth/test", introspects, ""), http.StatusForbidden)
		machine := r.App(management.ClientSpec{Grants: []string{"client_credentials"}, Scopes: []string{"read"}})
		token := r.PostAs(machine, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
		if body := want(t, r.JSON("GET", "/v1/auth/test", token, ""), http.StatusOK); body["rateLimit"] != nil ||
			body["keyId"] != nil {
			t.Errorf("a machine: %v", body)
		}
		want(t, r.JSON("GET", "/api/me", token, ""), http.StatusForbidden)
	})
}
