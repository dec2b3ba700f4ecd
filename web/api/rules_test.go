package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/web/gateway"
)

// The order of the checks: a credential, its workspace, the limit, and only then what it may do and what is there.
func TestTheLimitIsJudgedBeforePermissionAndAfterTheWorkspace(t *testing.T) {
	r := rig.Memory(t, rig.Options{Plans: map[string]limit.Plan{"tiny": {Hour: 2}}})
	w := r.Workspace("acme", "", r.Alice)
	_, text := r.Key(w, apikey.Spec{Plan: "tiny"})
	left := func(a *rig.Answer, status int, remaining string) {
		t.Helper()
		want(t, a, status)
		if got := a.Header.Get("X-RateLimit-Remaining"); got != remaining {
			t.Errorf("%d with %q left, want %q", status, got, remaining)
		}
	}
	left(r.JSON("GET", "/v1/api-keys", text, "", "X-Workspace", "other"), http.StatusForbidden, "")
	left(r.JSON("GET", "/v1/workspaces/other", text, ""), http.StatusForbidden, "1") // the path is the route's
	left(r.JSON("POST", "/v1/api-keys", text, `{"nonsense`), http.StatusForbidden, "0")
	left(r.JSON("GET", "/v1/api-keys", text, ""), http.StatusTooManyRequests, "0")
	left(r.JSON("GET", "/v1/auth/test", text, ""), http.StatusTooManyRequests, "0")
	left(r.JSON("GET", "/v1/api-keys", text, "", "X-Workspace", "other"), http.StatusForbidden, "")
}

func TestTheSameRequestAgainHasTheSameAnswer(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		admin := adminKey(r, w)
		_, second := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		const body = `{"name":"x","scopes":["read"]}`
		once := func(credential, path, body, key string, header ...string) *rig.Answer {
			return r.JSON("POST", path, credential, body, append(header, "Idempotency-Key", key)...)
		}
		first := once(admin, "/v1/api-keys", body, "one")
		want(t, first, http.StatusCreated)
		again := once(admin, "/v1/api-keys", body, "one")
		want(t, again, http.StatusCreated)
		if again.Body != first.Body || again.Header.Get("Idempotency-Replayed") != "true" ||
			first.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s %v\n%s %v", first.Body, first.Header, again.Body, again.Header)
		}
		want(t, r.JSON("GET", "/v1/auth/test", again.Text("key"), ""), http.StatusOK)

		want(t, once(admin, "/v1/api-keys", `{"name":"y","scopes":["read"]}`, "one"), http.StatusConflict)
		want(t, once(admin, "/v1/apps", body, "one"), http.StatusConflict)
		// It is the caller's own, and another one makes another.
		for what, a := range map[string]*rig.Answer{
			"another caller": once(second, "/v1/api-keys", body, "one"), "a person": once(pat, "/v1/api-keys", body, "one", "X-Workspace", "acme"),
			"another key": once(admin, "/v1/api-keys", body, "two"), "no key": r.JSON("POST", "/v1/api-keys", admin, body),
		} {
			want(t, a, http.StatusCreated)
			if a.Text("id") == first.Text("id") || a.Header.Get("Idempotency-Replayed") != "" {
				t.Errorf("%s: %s", what, a.Body)
			}
		}
		// What was refused may be put right.
		want(t, once(admin, "/v1/api-keys", `{"name":"x"}`, "three"), http.StatusBadRequest)
		want(t, once(admin, "/v1/api-keys", body, "three"), http.StatusCreated)
		for _, key := range []string{"", " ", "a b", "ключ", strings.Repeat("x", 256)} {
			want(t, once(admin, "/v1/api-keys", body, key), http.StatusBadRequest)
		}
		want(t, once(admin, "/v1/api-keys", body, "x", "Idempotency-Key", "y"), http.StatusBadRequest)
		want(t, once(admin, "/v1/api-keys", body, strings.Repeat("x", 255)), http.StatusCreated)
		// Every POST takes one.
		rotated := once(admin, "/v1/api-keys/"+first.Text("id")+"/rotate", "", "four")
		want(t, rotated, http.StatusCreated)
		if a := once(admin, "/v1/api-keys/"+first.Text("id")+"/rotate", "", "four"); a.Body != rotated.Body {
			t.Errorf("%s\n%s", rotated.Body, a.Body)
		}
		want(t, once(admin, "/v1/api-keys/"+first.Text("id")+"/rotate", "", "five"), http.StatusConflict)
		made := once(pat, "/v1/workspaces", `{"name":"x","slug":"xx"}`, "six")
		want(t, made, http.StatusCreated)
		if a := once(pat, "/v1/workspaces", `{"name":"x","slug":"xx"}`, "six"); a.Body != made.Body ||
			a.Status != made.Status {
			t.Errorf("%s\n%d %s", made.Body, a.Status, a.Body)
		}
		invited := once(pat, "/v1/workspaces/acme/invitations", `{"email":"bob@example.com","role":"member"}`, "seven")
		want(t, invited, http.StatusCreated)
		if a := once(pat, "/v1/workspaces/acme/invitations", `{"email":"bob@example.com","role":"member"}`, "seven"); a.Body != invited.Body {
			t.Errorf("%s\n%s", invited.Body, a.Body)
		}
		// The database holds no key in clear, and after a day the answer is gone.
		r.Advance(storage.IdempotentLifetime + time.Minute)
		want(t, once(admin, "/v1/api-keys", body, "one"), http.StatusConflict)
	})
}

func TestTheSameRequestAtOnceActsOnce(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		w := r.Workspace("acme", "", r.Alice)
		admin := adminKey(r, w)
		k, _ := r.Key(w, apikey.Spec{})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		for path, x := range map[string]struct{ credential, body string }{
			"/v1/api-keys": {admin, `{"name":"x","scopes":["read"]}`}, "/v1/api-keys/" + k.ID + "/rotate": {admin, `{}`},
			"/v1/workspaces": {pat, `{"name":"x","slug":"globex"}`},
		} {
			var mu sync.Mutex
			bodies, fresh := map[string]int{}, 0
			rig.AtOnce(16, func(i int) {
				a := nodes[i%len(nodes)].JSON("POST", path, x.credential, x.body, "Idempotency-Key", "once:"+path)
				mu.Lock()
				defer mu.Unlock()
				bodies[fmt.Sprint(a.Status, " ", a.Body)]++
				if a.Header.Get("Idempotency-Replayed") == "" {
					fresh++
				}
			})
			if len(bodies) != 1 || fresh != 1 {
				t.Errorf("POST %s: %d acted, answers %v", path, fresh, bodies)
			}
			for answer := range bodies {
				if !strings.HasPrefix(answer, "201 ") {
					t.Errorf("POST %s: %s", path, answer)
				}
			}
		}
		list, err := r.Store.Keys(r.System(), storage.KeyOwner{WorkspaceID: w.ID}, storage.KeyFilter{Limit: 100})
		if err != nil || len(list) != 4 {
			t.Errorf("%d keys, %v", len(list), err)
		}
	})
}

// A refusal has the shape of the resource whose credential was shown, and where none is known, of the default one.
func TestRefusalsHaveTheShapeOfTheResource(t *testing.T) {
	scopes := []catalog.Scope{{Name: "read", Text: "Read"}, {Name: "admin", Text: "All", Implies: []string{"read"}}}
	keys := catalog.KeyRules{Prefix: "sk", Environments: []string{"live"}}
	const one, two, three = "https://one.example", "https://two.example", "https://three.example"
	r := rig.Memory(t, rig.Options{
		Resources: []catalog.Resource{
			{ID: one, Name: "One", Scopes: scopes, Keys: keys, WorkspaceHeader: "X-One"},
			{ID: two, Name: "Two", Scopes: scopes, Keys: keys, WorkspaceHeader: "X-Two"},
			{ID: three, Name: "Three", Scopes: scopes, Keys: keys, WorkspaceHeader: "X-Three"},
		},
		Shapes: map[string]gateway.Shape{
			one: {
				Texts:         gateway.Texts{Forbidden: "Not for you"},
				ExpiredStatus: gateway.StatusExpired,
			}, two: {Name: "nested"}, three: {Name: "envelope"},
		},
	})
	w := r.Workspace("acme", "", r.Alice)
	bodies := map[string]string{
		one:   `{"error":"Forbidden","message":"Not for you","statusCode":403}`,
		two:   `{"error":{"code":"forbidden","message":"Insufficient permissions","details":"GET /v1/api-keys requires the admin permission; use a credential that has it."}}`,
		three: `{"success":false,"error":{"code":"INSUFFICIENT_PERMISSIONS","message":"Insufficient permissions","details":{"required_scope":"admin","reason":"GET /v1/api-keys requires the admin permission; use a credential that has it."}}}`,
	}
	headers := map[string]string{one: "X-One", two: "X-Two", three: "X-Three"}
	for resource, body := range bodies {
		_, text := r.Key(w, apikey.Spec{Resource: resource})
		if a := r.JSON("GET", "/v1/api-keys", text, ""); a.Status != http.StatusForbidden || a.Body != body+"\n" {
			t.Errorf("%s: %d %s", resource, a.Status, a.Body)
		}
		// The workspace is named in that resource's header, and in no other one's.
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Resource: resource, Scopes: []string{"admin"}})
		for _, name := range headers {
			if a := r.JSON("GET", "/v1/api-keys", pat, "", name, "acme"); (a.Status == http.StatusOK) != (name == headers[resource]) {
				t.Errorf("%s with %s: %d", resource, name, a.Status)
			}
		}
		// What is made without a resource is for that of the credential.
		_, admin := r.Key(w, apikey.Spec{Resource: resource, Scopes: []string{"admin"}})
		if made := want(t, r.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`), http.StatusCreated); made["resource"] != resource {
			t.Errorf("%s: %v", resource, made)
		}
		for _, other := range []string{one, two, three} {
			a := r.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"],"resource":"`+other+`"}`)
			if (a.Status == http.StatusCreated) != (other == resource) {
				t.Errorf("%s made one for %s: %d", resource, other, a.Status)
			}
		}
	}
	for _, path := range []string{"/v1/api-keys", "/v1/nothing"} {
		if a := r.JSON("GET", path, "", ""); a.JSON()["statusCode"] != float64(a.Status) {
			t.Errorf("%s without a credential: %s", path, a.Body)
		}
	}
	// 419 is for access tokens.
	access, _ := r.Tokens(r.App(management.ClientSpec{Scopes: []string{"read"}}), "read")
	_, key := r.Key(w, apikey.Spec{ExpiresAt: r.Store.Now().Add(time.Minute)})
	r.Advance(2 * time.Hour)
	if a := r.JSON("GET", "/api/me", access, ""); a.Status != gateway.StatusExpired ||
		a.Text("error") != "Token Expired" ||
		a.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("an expired access token: %d %s", a.Status, a.Body)
	}
	if a := r.JSON("GET", "/api/me", key, ""); a.Status != http.StatusUnauthorized {
		t.Errorf("an expired key: %d %s", a.Status, a.Body)
	}
}

func TestUnavailableStorageIsNotARefusal(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	admin := adminKey(r, r.Workspace("acme", "", r.Alice))
	b := r.Browser().SignIn(r.Alice.Email)
	r.BreakStorage()
	for what, a := range map[string]*rig.Answer{
		"a read": r.JSON("GET", "/v1/api-keys", admin, ""), "a change": r.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`),
		"who am I": r.JSON("GET", "/v1/auth/test", admin, ""), "a session": b.JSON("GET", "/v1/workspaces", ""),
		"an unknown key": r.JSON("GET", "/v1/auth/test", bearer.NewCredential("sk_live_"), ""),
	} {
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.JSON()["statusCode"] != 503.0 {
			t.Errorf("%s: %d %s %v", what, a.Status, a.Body, a.Header)
		}
	}
}

// What is not there answers in the API's shape too, and no path of it is for other sites.
func TestPathsOfTheAPIAnswerInItsShape(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for _, x := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/nothing", 404, ""},
		{"GET", "/v1", 404, ""},
		{"GET", "/v1/", 404, ""},
		{"GET", "/api/x", 404, ""},
		{"GET", "/v1/api-keys/", 404, ""},
		{"GET", "/v1//api-keys", 404, ""},
		{"GET", "/v1/../v1/api-keys", 404, ""},
		{"DELETE", "/v1/api-keys", 405, "GET, POST"},
		{"PUT", "/v1/api-keys/x", 405, "GET, PATCH, DELETE"},
		{"OPTIONS", "/v1/api-keys", 405, "GET, POST"},
		{"POST", "/v1/auth/test", 405, "GET"},
		{"PATCH", "/openapi.json", 405, "GET"},
		{"TRACE", "/v1/api-keys", 405, "GET, HEAD, POST, OPTIONS"},
	} {
		a := r.JSON(x.method, x.path, "", "", "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "GET")
		if a.Status != x.status || a.JSON()["statusCode"] != float64(x.status) || a.Header.Get("Allow") != x.allow ||
			a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: %d %s %v", x.method, x.path, a.Status, a.Body, a.Header)
		}
	}
	for _, path := range []string{"/settings/profile", "/login", "/healthz"} {
		for _, method := range []string{"PATCH", "DELETE", "PUT"} {
			if a := r.JSON(method, path, "", ""); a.Status != http.StatusMethodNotAllowed ||
				strings.Contains(a.Header.Get("Allow"), method) {
				t.Errorf("%s %s: %d %v", method, path, a.Status, a.Header)
			}
		}
	}
	_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{})
	if a := r.JSON("HEAD", "/v1/auth/test", key, ""); a.Status != http.StatusOK || a.Body != "" {
		t.Errorf("HEAD: %d %s", a.Status, a.Body)
	}
}

// A body may be left out where nothing in it is needed, and null is like left out.
func TestNullIsLikeLeftOut(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	admin := adminKey(r, r.Workspace("acme", "", r.Alice))
	a := want(
		t,
		r.JSON(
			"POST",
			"/v1/api-keys",
			admin,
			`{"name":"x","scopes":["read"],"rateLimit":null,"expiresAt":null,"note":null,"environment":null,"type":"test","plan":null,"addresses":null,"resource":null}`,
		),
		http.StatusCreated,
	)
	if a["environment"] != "test" || !strings.HasPrefix(a["key"].(string), "sk_test_") {
		t.Errorf("made %v", a)
	}
	id := a["id"].(string)
	for _, body := range []string{`{}`, `{"name":null,"scopes":null,"paused":null}`} {
		if now := want(t, r.JSON("PATCH", "/v1/api-keys/"+id, admin, body), http.StatusOK); now["name"] != "x" {
			t.Errorf("%s: %v", body, now)
		}
	}
	for body, says := range map[string]string{
		"": "body", `{}`: "name", `{"name":null,"scopes":null}`: "scopes", `{"name":"x","scopes":["read"],"type":"live","environment":"test"}`: "environment",
		`{"name":"x","scopes":["read"],"type":"prod"}`: "type", `{"name":"x","scopes":["read"],"expiresAt":"0001-01-01T00:00:00Z"}`: "expiresAt",
		`{"name":"x","scopes":["read"],"expiresAt":"1970-01-01T00:00:00Z"}`: "expiresAt", `{"name":"x","scopes":["read"],"expiresAt":"tomorrow"}`: "expiresAt",
		`{"name":"x","scopes":["read"],"expiresAt":1}`: "expiresAt", `{"name":"x","scopes":["read"],"rateLimit":0}`: "rateLimit",
		`{"name":"x","scopes":["read","read"]}`: "scopes", `{"name":"x","scopes":{"read":["accounts"]}}`: "scopes", `{"name":"x","scopes":["read"],"plan":"gold"}`: "plan",
	} {
		a := r.JSON("POST", "/v1/api-keys", admin, body)
		want(t, a, http.StatusBadRequest)
		if !strings.Contains(a.Text("message"), says) {
			t.Errorf("%s: %s", body, a.Body)
		}
	}
	want(t, r.JSON("PATCH", "/v1/api-keys/"+id, admin, ""), http.StatusBadRequest)
	// An empty string does not mean that the member is left out: a role left out is the highest there is.
	_, token := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	for member, path := range map[string]string{"environment": "api-keys", "type": "api-keys", "role": "personal-access-tokens"} {
		a := r.JSON("POST", "/v1/"+path, token, `{"name":"x","scopes":["read"],"`+member+`":""}`, "X-Workspace", "acme")
		want(t, a, http.StatusBadRequest)
		if !strings.Contains(a.Text("message"), member) {
			t.Errorf("an empty %s: %s", member, a.Body)
		}
	}
	for _, body := range []string{`{"grace":"31d"}`, `{"grace":"-1h"}`, `{"grace":"1w"}`, `{"grace":3600}`, `{"grace":"999999999d"}`, `{"grace":""}`} {
		want(t, r.JSON("POST", "/v1/api-keys/"+id+"/rotate", admin, body), http.StatusBadRequest)
	}
	want(t, r.JSON("POST", "/v1/api-keys/"+id+"/rotate", admin, `{"grace":"30d"}`), http.StatusCreated)
}

// A role that is taken away, and a membership, count for the next request.
func TestK09_K23_APersonalTokenHasTheRightsOfNow(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		bob := r.User("bob@example.com", "Bob", false)
		w := r.Workspace("acme", "", r.Alice)
		r.Join(w, bob, "admin")
		_, pat := r.PersonalToken(bob, apikey.Spec{Scopes: []string{"admin"}})
		_, low := r.PersonalToken(bob, apikey.Spec{Scopes: []string{"admin"}, Role: "member"})
		ask := func(token string) *rig.Answer {
			return other.JSON("GET", "/v1/api-keys", token, "", "X-Workspace", "acme")
		}
		want(t, ask(pat), http.StatusOK)
		want(t, ask(low), http.StatusForbidden)
		for _, role := range []string{"member", "viewer"} {
			if err := r.Management.ChangeRole(r.System(), management.CLI(w.ID), w, bob.ID, role); err != nil {
				t.Fatal(err)
			}
			want(t, ask(pat), http.StatusForbidden)
		}
		if err := r.Management.RemoveMember(r.System(), management.CLI(w.ID), w, bob.ID); err != nil {
			t.Fatal(err)
		}
		want(t, ask(pat), http.StatusForbidden)
		want(t, other.JSON("GET", "/v1/workspaces/acme", pat, ""), http.StatusNotFound)
		want(t, other.JSON("GET", "/v1/auth/test", pat, ""), http.StatusOK)
		// A disabled workspace refuses every caller.
		_, key := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		_, alices := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		if err := r.Store.DisableWorkspace(r.System(), w.ID); err != nil {
			t.Fatal(err)
		}
		want(t, other.JSON("GET", "/v1/auth/test", key, ""), http.StatusForbidden)
		want(t, ask(alices), http.StatusForbidden)
		want(t, other.JSON("GET", "/v1/workspaces/acme", alices, ""), http.StatusForbidden)
		want(t, r.Browser().SignIn(r.Alice.Email).JSON("GET", "/v1/workspaces/acme", ""), http.StatusForbidden)
		want(t, other.JSON("GET", "/v1/workspaces", alices, ""), http.StatusOK)
	})
}
