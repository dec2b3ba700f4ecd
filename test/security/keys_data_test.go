package security

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/rig"
)

func TestK25_NamesAndNotesAreStoredAsSentOrRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	_, admin := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{Scopes: []string{"admin"}})
	body := func(name, note string) string {
		text, _ := json.Marshal(map[string]any{"name": name, "note": note, "scopes": []string{"read"}})
		return string(text)
	}
	for _, name := range []string{
		`<script>alert(1)</script>`, `=cmd|' /C calc'!A0`, `+1`, `-1`, `@SUM(1)`, `"><img src=x>`,
		`'; DROP TABLE api_keys; --`, `${7*7}{{7*7}}`, "ключ 🔑", `a\b`,
	} {
		a := r.JSON("POST", "/v1/api-keys", admin, body(name, name))
		answered(t, name, a, http.StatusCreated)
		if a.Text("name") != name || a.Text("note") != name || strings.ContainsAny(a.Body, "<>") {
			t.Errorf("%q became %s", name, a.Body)
		}
	}
	for what, text := range map[string]string{
		"no name":       body(" ", ""),
		"a long name":   body(strings.Repeat("x", 101), ""),
		"a line break":  body("a\nb", ""),
		"NUL":           body("a\x00b", ""),
		"right to left": body("a\u202eb", ""),
		"a long note":   body("x", strings.Repeat("x", 1001)),
		"an object":     `{"name":{"a":1},"scopes":["read"]}`,
	} {
		answered(t, what, r.JSON("POST", "/v1/api-keys", admin, text), http.StatusBadRequest)
	}
	answered(t, "a megabyte", r.JSON("POST", "/v1/api-keys", admin, body(strings.Repeat("x", 1<<20), "")),
		http.StatusRequestEntityTooLarge)
}

func TestK26_TheTenThousandAndFirstKeyIsRefused(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		last := ""
		ctx := r.System()
		err := r.Store.InTx(ctx, func(ctx context.Context) error {
			for i := 1; i < 10_000; i++ {
				last = storage.NewID("key")
				k := storage.APIKey{
					ID:          last,
					Digest:      storage.Digest(last),
					Kind:        storage.KindAPIKey,
					WorkspaceID: w.ID,
					Resource:    r.Issuer,
					Environment: "live",
					Prefix:      "sk_live_", Name: "x", Scopes: storage.List{"read"},
				}
				if err := r.Store.InsertKey(ctx, &k, 1<<30); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		const body = `{"name":"x","scopes":["read"]}`
		a := r.JSON("POST", "/v1/api-keys", admin, body)
		answered(t, "one too many", a, http.StatusConflict)
		if !strings.Contains(a.Text("message"), "10000") {
			t.Errorf("the limit is not told: %s", a.Body)
		}
		answered(t, "revoke", r.JSON("DELETE", "/v1/api-keys/"+last, admin, ""), http.StatusNoContent)
		answered(t, "in its place", r.JSON("POST", "/v1/api-keys", admin, body), http.StatusCreated)
	})
}

func TestL06_L08_AnExhaustedKeyWaitsAsItIsTold(t *testing.T) {
	o := limited()
	o.Plans = map[string]limit.Plan{"free": {Hour: 4}, "sandbox": {Hour: 2}, "people": {Hour: 3}, "machines": {Hour: 3}}
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		w := r.Workspace("acme", "", r.Alice)
		_, a := r.Key(w, apikey.Spec{Name: "a:{1}"})
		k, b := r.Key(w, apikey.Spec{Name: "a:{1}"})
		for i := range 4 {
			x := []*rig.Rig{r, other}[i%2].JSON("GET", "/v1/auth/test", a, "")
			answered(t, "within the limit", x, http.StatusOK)
			limits, _ := x.JSON()["rateLimit"].(map[string]any)
			for member, header := range map[string]string{
				"limit":     "X-RateLimit-Limit",
				"remaining": "X-RateLimit-Remaining",
				"reset":     "X-RateLimit-Reset",
			} {
				if fmt.Sprintf("%.0f", limits[member]) != x.Header.Get(header) {
					t.Errorf("%s is %v in the body and %s in the header", member, limits[member], x.Header.Get(header))
				}
			}
			if limits["limit"] != 4.0 || limits["remaining"] != float64(3-i) {
				t.Errorf("call %d: %v", i, limits)
			}
		}
		x := other.JSON("GET", "/v1/auth/test", a, "")
		answered(t, "over the limit", x, http.StatusTooManyRequests)
		var wait int
		_, err := fmt.Sscan(x.Header.Get("Retry-After"), &wait)
		if err != nil || wait < 1 || wait > 3600 || x.JSON()["retryAfter"] != float64(wait) {
			t.Errorf("Retry-After %q, body %s", x.Header.Get("Retry-After"), x.Body)
		}
		want := fmt.Sprintf(`{"error":"Too Many Requests","message":"Rate limit exceeded","statusCode":429,"retryAfter":%d}`+
			"\n", wait)
		if x.Body != want || x.Header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("%s %v", x.Body, x.Header)
		}
		// A refusal for lack of permission counts too, and so does a path that does not exist.
		answered(t, "another key of the same name", r.JSON("GET", "/v1/auth/test", b, ""), http.StatusOK)
		answered(t, "a refusal", r.JSON("GET", "/v1/api-keys/"+k.ID, b, ""), http.StatusForbidden)
		if left := r.JSON("GET", "/api/me", b, "").Header.Get("X-RateLimit-Remaining"); left != "1" {
			t.Errorf("%s are left", left)
		}
		// Just before the reset the key is still refused, just after it the key works.
		for _, n := range nodes {
			n.Advance(time.Duration(wait-5) * time.Second)
		}
		answered(t, "too early", r.JSON("GET", "/v1/auth/test", a, ""), http.StatusTooManyRequests)
		for _, n := range nodes {
			n.Advance(6 * time.Second)
		}
		answered(t, "after the wait", r.JSON("GET", "/v1/auth/test", a, ""), http.StatusOK)
	})
}

func TestL13_ALimitLoweredByTheAPIHoldsOnEveryNode(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		w := r.Workspace("acme", "pro", r.Alice)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		k, text := r.Key(w, apikey.Spec{})
		for range 3 {
			answered(t, "before", other.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
		}
		answered(t, "lowered", r.JSON("PATCH", "/v1/api-keys/"+k.ID, admin, `{"rateLimit":3}`), http.StatusOK)
		a := other.JSON("GET", "/v1/auth/test", text, "")
		answered(t, "after", a, http.StatusTooManyRequests)
		if a.Header.Get("X-RateLimit-Limit") != "3" || a.Header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("%v", a.Header)
		}
		answered(t, "more than the plan", r.JSON("PATCH", "/v1/api-keys/"+k.ID, admin, `{"rateLimit":101}`),
			http.StatusBadRequest)
	})
}

// Text from outside is data: it matches itself literally, and breaks nothing.
func TestS01_TextIsData(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		w, theirs := r.Workspace("acme", "", r.Alice), r.Workspace("globex", "", bob)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, Name: "mine"})
		theirsKey, _ := r.Key(theirs, apikey.Spec{Name: "secret plan"})
		for _, text := range []string{
			"'", `"`, "--", ";", "$1", "';SELECT pg_sleep(5);--", "%", "_", "!", "!%", "%%%", `\`, "a'||'b", "\x00", "\xff",
			"{}", "a\u0000b", strings.Repeat("%", 3000),
		} {
			q := url.QueryEscape(text)
			for _, path := range []string{
				"/v1/api-keys?search=" + q, "/v1/api-keys?createdBy=" + q, "/v1/usage?credential=" + q,
				"/v1/audit-events?action=" + q, "/v1/audit-events?user=" + q,
				"/v1/audit-events?target=" + q, "/v1/api-keys/" + url.PathEscape(text), "/v1/apps/" + url.PathEscape(text),
				"/v1/workspaces/" + url.PathEscape(text),
				"/v1/workspaces/acme/members?cursor=" + q,
			} {
				a := r.JSON("GET", path, admin, "")
				if a.Status >= 500 || a.Status == http.StatusOK &&
					(strings.Contains(a.Body, theirsKey.ID) || strings.Contains(a.Body, "secret plan")) {
					t.Errorf("GET %s: %d %s", path, a.Status, a.Body)
				}
			}
			body, _ := json.Marshal(map[string]any{
				"name":        text,
				"note":        text,
				"scopes":      []string{text},
				"resource":    text,
				"plan":        text,
				"environment": text,
				"addresses":   []string{text},
			})
			for _, path := range []string{"/v1/api-keys", "/v1/apps", "/v1/workspaces/acme/invitations"} {
				if a := r.JSON("POST", path, admin, string(body)); a.Status != http.StatusBadRequest {
					t.Errorf("POST %s %s: %d %s", path, body, a.Status, a.Body)
				}
			}
		}
		for search, n := range map[string]int{"%": 0, "_": 0, "min": 1, "MINE": 1, "m%e": 0} {
			a := r.JSON("GET", "/v1/api-keys?search="+url.QueryEscape(search), admin, "")
			if data, _ := a.JSON()["data"].([]any); len(data) != n {
				t.Errorf("search %q: %s", search, a.Body)
			}
		}
	})
}

// A cursor is only valid for its list, its caller and its workspace.
func TestS02_CursorsAreBound(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		bob := r.User("bob@example.com", "Bob", false)
		w, second := r.Workspace("acme", "", r.Alice), r.Workspace("globex", "", r.Alice)
		r.Join(w, bob, "admin")
		var ids []string
		for range 5 {
			k, _ := r.Key(w, apikey.Spec{})
			ids = append(ids, k.ID)
			r.Key(second, apikey.Spec{})
			r.PersonalToken(r.Alice, apikey.Spec{})
		}
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		_, bobs := r.PersonalToken(bob, apikey.Spec{Scopes: []string{"admin"}})
		in := []string{"X-Workspace", "acme"}
		list := func(n *rig.Rig, path, credential string, header ...string) *rig.Answer {
			return n.JSON("GET", path, credential, "", header...)
		}

		// Page by page, each entry appears exactly once, on either node.
		var seen []string
		path := "/v1/api-keys?limit=2"
		for i := 0; path != ""; i++ {
			a := list(nodes[i%len(nodes)], path, pat, in...)
			answered(t, path, a, http.StatusOK)
			for _, x := range a.JSON()["data"].([]any) {
				seen = append(seen, x.(map[string]any)["id"].(string))
			}
			path = ""
			if next := a.Text("nextCursor"); next != "" {
				path = "/v1/api-keys?limit=2&cursor=" + next
			}
		}
		if len(seen) != 5 || seen[0] != ids[4] || seen[4] != ids[0] {
			t.Errorf("saw %v, there are %v", seen, ids)
		}

		cursor := list(r, "/v1/api-keys?limit=2", pat, in...).Text("nextCursor")
		altered := "A" + cursor[1:]
		if altered == cursor {
			altered = "B" + cursor[1:]
		}
		answered(t, "another size", list(other, "/v1/api-keys?limit=3&cursor="+cursor, pat, in...), http.StatusOK)
		for what, a := range map[string]*rig.Answer{
			"cut":                 list(other, "/v1/api-keys?cursor="+cursor[:len(cursor)-1], pat, in...),
			"cut at the front":    list(other, "/v1/api-keys?cursor="+cursor[1:], pat, in...),
			"altered":             list(other, "/v1/api-keys?cursor="+altered, pat, in...),
			"twice":               list(other, "/v1/api-keys?cursor="+cursor+cursor, pat, in...),
			"with padding":        list(other, "/v1/api-keys?cursor="+cursor+"%3D", pat, in...),
			"with a line break":   list(other, "/v1/api-keys?cursor="+cursor+"%0A", pat, in...),
			"an id":               list(other, "/v1/api-keys?cursor="+ids[2], pat, in...),
			"sealed by us":        list(other, "/v1/api-keys?cursor="+r.Secrets.Seal("cursor", []byte(ids[2])), pat, in...),
			"of another secret":   list(other, "/v1/api-keys?cursor="+otherSecret(t).Seal("cursor", []byte(ids[2])), pat, in...),
			"of another list":     list(other, "/v1/apps?cursor="+cursor, pat, in...),
			"of another list too": list(other, "/v1/personal-access-tokens?cursor="+cursor, pat, in...),
			"of another user":     list(other, "/v1/api-keys?cursor="+cursor, bobs, in...),
			"of a session":        r.Browser().SignIn(r.Alice.Email).JSON("GET", "/v1/api-keys?cursor="+cursor, "", in...),
			"of another place":    list(other, "/v1/api-keys?cursor="+cursor, pat, "X-Workspace", "globex"),
			"with another filter": list(other, "/v1/api-keys?environment=live&cursor="+cursor, pat, in...),
			"empty":               list(other, "/v1/api-keys?cursor=", pat, in...),
			"two":                 list(other, "/v1/api-keys?cursor="+cursor+"&cursor="+cursor, pat, in...),
		} {
			answered(t, "a cursor "+what, a, http.StatusBadRequest)
		}
		for _, q := range []string{
			"sort=name", "order=desc", "orderBy=digest", "filter=x", "offset=1", "page=2", "per_page=5", "limit=0", "limit=101",
			"limit=-1", "limit=x", "limit=1e1", "limit=%2B1",
			"limit=", "limit=1&limit=2", "status=dead", "status=", "environment=prod", "Limit=1", "search[]=x", "%zz", "a;b",
		} {
			answered(t, q, list(other, "/v1/api-keys?"+q, pat, in...), http.StatusBadRequest)
		}
		for _, q := range []string{"by=minute", "from=yesterday", "from=2026-01-01", "to=1", "credential="} {
			answered(t, q, list(other, "/v1/usage?"+q, pat, in...), http.StatusBadRequest)
		}
		answered(t, "a query where there is none", list(other, "/v1/auth/test?verbose=1", pat), http.StatusBadRequest)
	})
}

// otherSecret is a server with another master secret.
func otherSecret(t *testing.T) *seal.Secrets {
	return rig.Memory(t, rig.Options{Secrets: []string{"another master secret, of 32 bytes or more"}}).Secrets
}
