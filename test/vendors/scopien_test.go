package vendors

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/test/browser"
)

const (
	accounts = "/v1/accounts"
	keysPath = "/v1/api-keys"
	readOnly = `"scopes":["read"]`
	adminKey = `"scopes":["admin"]`
)

func TestScopien01_LiveKeyOnV1(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("starter", readOnly)
		if !strings.HasPrefix(k.text, "sk_live_") {
			t.Errorf("the key begins with %.8s", k.text)
		}
		for _, path := range []string{"/v1/opportunities", accounts, "/v1/contacts", "/v1/reports", "/v1/auth/test"} {
			w.want(path, w.get(path, k.text), http.StatusOK)
			w.want(path+" without", w.get(path, ""), http.StatusUnauthorized)
		}
	})
}

func TestScopien02_TheDashboardsForm(t *testing.T) {
	w := once(t)
	tab := browser.New(t)
	tab.Goto(w.app + "/settings/developer/api-keys")
	tab.Fill(`[name=email]`, ownerEmail)
	tab.Fill(`[name=password]`, password)
	tab.Click(`form[action="/login"] [type=submit]`)
	if text := tab.Text("main a.btn.main"); text != "Create New Key" {
		t.Errorf("the button says %q", text)
	}
	tab.Click("main a.btn.main")
	for what, selector := range map[string]string{
		"name":       `input[name=name]`,
		"test":       `[type=radio][name=environment][value=test]`,
		"live":       `[type=radio][name=environment][value=live]`,
		"read":       `[type=checkbox][value=read]`,
		"write":      `[type=checkbox][value=write]`,
		"rate limit": `input[name=rate_limit]`,
		"expiry":     `[name=expires]`,
	} {
		if !tab.Has("form.key-form " + selector) {
			t.Errorf("the form has no %s", what)
		}
	}
	if text := tab.Text(`form.key-form [name=expires]`); !strings.Contains(strings.ToLower(tab.Text("form.key-form")),
		"never") {
		t.Errorf("a key that never expires cannot be created: %s", text)
	}
	if text := tab.Text("form.key-form [type=submit]"); text != "Generate" {
		t.Errorf("the button says %q", text)
	}
	tab.Fill(`[name=name]`, "Sandbox")
	tab.Press(`[name=environment][value=test]`)
	tab.Press(`[type=checkbox][value=read]`)
	tab.Fill(`[name=rate_limit]`, "50")
	tab.Click(`form.key-form [type=submit]`)
	shown := shownKey(tab, "sk_test_")
	if a := w.get(accounts, shown); a.status != http.StatusOK || a.number("X-RateLimit-Limit") != 50 {
		t.Errorf("the key that was shown: %s", a)
	}
}

// shownKey returns the key that a page shows; empty if there is none.
func shownKey(tab *browser.Tab, prefix string) string {
	return browser.Evaluate[string](tab,
		`(document.querySelector("main").innerText + " " + [...document.querySelectorAll("main input")].map(i => i.value).join(" ")).match(/`+prefix+`[0-9A-Za-z]{49}/)?.[0] ?? ""`)
}

func TestScopien03_KeyIsShownOnce(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key("starter", adminKey)
		made := w.request(http.MethodPost, keysPath, admin.text, `{"name":"Once",`+readOnly+`}`)
		secret := made.text("key")
		w.want("creating it", made, http.StatusCreated)
		for what, a := range map[string]*answer{
			"list":   w.get(keysPath+"?limit=100", admin.text),
			"shown":  w.get(keysPath+"/"+made.text("id"), admin.text),
			"change": w.request(http.MethodPatch, keysPath+"/"+made.text("id"), admin.text, `{"name":"Twice"}`),
		} {
			if a.status != http.StatusOK || strings.Contains(a.body, secret) || a.text("key") != "" {
				t.Errorf("%s: answered %s", what, a)
			}
		}
	})
}

func TestScopien04_CreatingAKeyByAPI(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key("starter", adminKey)
		a := w.request(http.MethodPost, keysPath, admin.text,
			`{"name":"Production","scopes":["read","write"],"rateLimit":1000,"expiresAt":null}`)
		var made map[string]any
		ok(t, json.Unmarshal([]byte(a.body), &made))
		_, echoed := made["expiresAt"]
		if a.status != http.StatusCreated || !echoed || made["expiresAt"] != nil || made["name"] != "Production" ||
			made["rateLimit"] != 1000.0 ||
			fmt.Sprint(made["scopes"]) != "[read write]" || made["createdAt"] == nil || made["id"] == nil {
			t.Errorf("answered %s", a)
		}
		w.want("with the key", w.get(accounts, a.text("key")), http.StatusOK)
		end := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
		a = w.request(http.MethodPost, keysPath, admin.text, `{"name":"A day","scopes":["read"],"expiresAt":"`+end+`"}`)
		if a.status != http.StatusCreated || a.text("expiresAt") != end {
			t.Errorf("answered %s", a)
		}
	})
}

func TestScopien05_NoKeyGrantsMoreThanItHas(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, scopes := range []string{readOnly, `"scopes":["read","write","delete"]`} {
			k := w.key("starter", scopes)
			a := w.request(http.MethodPost, keysPath, k.text, `{"name":"More",`+readOnly+`}`)
			if a.status != http.StatusForbidden || a.text("error.code") != "forbidden" {
				t.Errorf("%s: answered %s", scopes, a)
			}
		}
		// A key with admin that expires, or is bound to an address, does not create keys that last longer or work elsewhere.
		for _, bound := range []string{
			`"expiresAt":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"`, `"addresses":["127.0.0.1"]`,
		} {
			admin := w.key("starter", adminKey+","+bound)
			a := w.request(http.MethodPost, keysPath, admin.text, `{"name":"More","scopes":["admin"],"expiresAt":null}`)
			if a.status == http.StatusCreated {
				t.Errorf("one with %s creates %s", bound, a)
			}
		}
	})
}

func TestScopien06_IdsAndTimes(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key("starter", adminKey)
		a := w.request(http.MethodPost, keysPath, admin.text, `{"name":"Form",`+readOnly+`}`)
		_, err := time.Parse(time.RFC3339, a.text("createdAt"))
		if !strings.HasPrefix(a.text("id"), "key_") || err != nil || !strings.HasSuffix(a.text("createdAt"), "Z") {
			t.Errorf("answered %s", a)
		}
	})
}

func TestScopien07_TestKeys(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		live := w.key("starter", `"scopes":["read","write"]`)
		name := "Secret customer " + w.next()
		w.want("live data", w.request(http.MethodPost, accounts, live.text, `{"name":"`+name+`"}`), http.StatusCreated)
		for _, field := range []string{"environment", "type"} {
			k := w.key("starter", `"scopes":["read","write"],"`+field+`":"test"`)
			a := w.get(accounts, k.text)
			if !strings.HasPrefix(k.text, "sk_test_") || a.status != http.StatusOK || a.number("X-RateLimit-Limit") != 100 ||
				strings.Contains(a.body, `"`+name+`"`) || !strings.Contains(a.body, "Example Inc.") {
				t.Errorf("%s: key %.8s answered %s", field, k.text, a)
			}
			if env := w.told(a).Get("X-Auth-Env"); env != "test" {
				t.Errorf("the API was told %q", env)
			}
			// What it writes is test data, too.
			w.want("writing", w.request(http.MethodPost, accounts, k.text, `{"name":"Trial `+name+`"}`), http.StatusCreated)
			if a := w.get(accounts, live.text); strings.Contains(a.body, "Trial") {
				t.Errorf("live data has what a test key wrote: %s", a)
			}
		}
	})
}

func TestScopien08_LiveKeys(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, plan := range w.plans {
			k := w.key(plan, readOnly)
			a := w.get(accounts, k.text)
			if !strings.HasPrefix(k.text, "sk_live_") || a.number("X-RateLimit-Limit") < 1000 ||
				w.told(a).Get("X-Auth-Env") != "live" {
				t.Errorf("%s: key %.8s answered %s", plan, k.text, a)
			}
		}
	})
}

var byMethod = []struct {
	scope   string
	methods []string
}{
	{"read", []string{http.MethodGet}},
	{"write", []string{http.MethodPost, http.MethodPut, http.MethodPatch}},
	{"delete", []string{http.MethodDelete}},
	{"admin", []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}},
}

func TestScopien09_ScopesAndMethods(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		writer := w.key("starter", `"scopes":["write"]`)
		for _, one := range byMethod {
			k := w.key("starter", `"scopes":["`+one.scope+`"]`)
			for _, method := range byMethod[3].methods {
				path, body := accounts, ""
				if method != http.MethodGet {
					body = `{"name":"Matrix"}`
				}
				if method == http.MethodPut || method == http.MethodPatch || method == http.MethodDelete {
					path += "/" + w.request(http.MethodPost, accounts, writer.text, `{"name":"To change"}`).text("id")
				}
				a := w.request(method, path, k.text, body)
				if (a.status < 300) != slices.Contains(one.methods, method) || a.status >= 300 && a.status != http.StatusForbidden {
					t.Errorf("%s with %s: answered %s", method, one.scope, a)
				}
			}
		}
	})
}

const granular = `{"opportunities":["read","write"],"accounts":["read"],"contacts":["read","write"],"reports":["read"]}`

func TestScopien10_ScopesByObject(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key("starter", adminKey)
		a := w.request(http.MethodPost, keysPath, admin.text, `{"name":"Granular","scopes":`+granular+`}`)
		var got, want any
		ok(t, json.Unmarshal([]byte(granular), &want))
		text, _ := json.Marshal(a.member("scopes"))
		ok(t, json.Unmarshal(text, &got))
		if a.status != http.StatusCreated || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("answered %s", a)
		}
		k := a.text("key")
		w.want("opportunities", w.request(http.MethodPost, "/v1/opportunities", k, `{"name":"Deal"}`), http.StatusCreated)
		w.want("contacts", w.get("/v1/contacts", k), http.StatusOK)
		w.want("reports", w.request(http.MethodPost, "/v1/reports", k, `{"name":"R"}`), http.StatusForbidden)
	})
}

func TestScopien11_ReadingAccountsAlone(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("starter", `"scopes":{"accounts":["read"]}`)
		w.want("GET", w.get(accounts, k.text), http.StatusOK)
		w.want("POST", w.request(http.MethodPost, accounts, k.text, `{"name":"x"}`), http.StatusForbidden)
	})
}

func TestScopien12_ObjectThatIsNotInIt(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("starter", `"scopes":{"accounts":["read"]}`)
		for _, path := range []string{"/v1/opportunities", "/v1/contacts", "/v1/reports", "/v1/nothing"} {
			w.want(path, w.get(path, k.text), http.StatusForbidden)
		}
	})
}

func TestScopien13_ForbiddenBody(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		a := w.request(http.MethodPost, accounts, w.key("starter", `"scopes":{"accounts":["read"]}`).text, `{"name":"x"}`)
		details := a.text("error.details")
		w.same("the body", a, http.StatusForbidden,
			fmt.Sprintf(`{"error":{"code":"forbidden","message":"Insufficient permissions","details":%q}}`, details))
		if !strings.Contains(details, "accounts:write") || !strings.Contains(details, accounts) {
			t.Errorf("details: %s", details)
		}
		if c := a.header.Get("WWW-Authenticate"); !strings.Contains(c, `error="insufficient_scope"`) {
			t.Errorf("challenge: %s", c)
		}
	})
}

func TestScopien14_UnauthorizedBody(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for what, k := range map[string]string{
			"random":  "sk_live_" + strings.Repeat("0", 49),
			"revoked": w.revoked("starter", readOnly).text,
		} {
			a := w.get(accounts, k)
			details := a.text("error.details")
			w.same(what, a, http.StatusUnauthorized,
				fmt.Sprintf(`{"error":{"code":"unauthorized","message":"Invalid API key","details":%q}}`, details))
			if !strings.Contains(details, "invalid") || !strings.Contains(details, "revoked") {
				t.Errorf("%s: details: %s", what, details)
			}
		}
	})
}

func TestScopien15_RateLimitBody(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("starter", readOnly+`,"rateLimit":1`)
		w.get(accounts, k.text)
		a := w.get(accounts, k.text)
		seconds, _ := a.member("error.retryAfter").(float64)
		details := a.text("error.details")
		w.same("the body", a, http.StatusTooManyRequests,
			fmt.Sprintf(`{"error":{"code":"rate_limit_exceeded","message":"Rate limit exceeded","details":%q,"retryAfter":%d}}`,
				details, int64(seconds)))
		if seconds < 1 || a.number("Retry-After") != int64(seconds) ||
			!strings.Contains(details, fmt.Sprintf(" %d ", int64(seconds))) {
			t.Errorf("answered %s", a)
		}
	})
}

func TestScopien16_Plans(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for plan, x := range map[string]struct {
			hour  int64
			depth int
			daily bool
		}{"starter": {1000, 50, true}, "professional": {5000, 200, true}, "enterprise": {10000, 0, false}} {
			k := w.key(plan, readOnly)
			call := func() *answer { return w.get(accounts, k.text) }
			if a := call(); a.number("X-RateLimit-Limit") != x.hour || a.number("X-RateLimit-Remaining") != x.hour-1 {
				t.Errorf("%s: %s", plan, a)
			}
			if x.depth > 0 {
				w.pass(t, time.Minute)
				burst(w, call, x.depth)
			}
			// A day's limit can be used up before the hour's, if earlier hours used enough.
			_, err := w.connect(t).
				Exec(t.Context(),
					`UPDATE limits SET day_used = $2, hour_began = hour_began - 3600000000, burst_full = 1
						WHERE counter LIKE '%' || $1 || '%'`, k.id, 10*x.hour)
			ok(t, err)
			a := call()
			if want := map[bool]int{true: http.StatusTooManyRequests, false: http.StatusOK}[x.daily]; a.status != want {
				t.Errorf("%s after %d requests in a day: %s", plan, 10*x.hour, a)
			}
			if x.daily && a.number("X-RateLimit-Limit") != 10*x.hour {
				t.Errorf("%s: the day's limit is %s", plan, a)
			}
		}
	})
}

func TestScopien17_EveryAnswerHasRateHeaders(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k, admin, limited := w.key("starter", readOnly), w.key("starter", adminKey),
			w.key("starter", readOnly+`,"rateLimit":1`)
		w.get(accounts, limited.text)
		for what, a := range map[string]*answer{
			"200":                 w.get(accounts, k.text),
			"201 of Doorward":     w.request(http.MethodPost, keysPath, admin.text, `{"name":"K",`+readOnly+`}`),
			"400 of Doorward":     w.request(http.MethodPost, keysPath, admin.text, `{"nonsense":1}`),
			"400 of the API":      w.request(http.MethodPost, accounts, admin.text, `{}`),
			"401 without a key":   w.get(accounts, ""),
			"401 with a bad key":  w.get(accounts, "sk_live_nonsense"),
			"401 of Doorward":     w.get("/v1/auth/test", ""),
			"403":                 w.request(http.MethodPost, accounts, k.text, `{"name":"x"}`),
			"403 of Doorward":     w.get(keysPath, k.text),
			"404 of the API":      w.request(http.MethodPut, accounts+"/none", admin.text, `{"name":"x"}`),
			"404 of Doorward":     w.get(keysPath+"/key_none", admin.text),
			"429":                 w.get(accounts, limited.text),
			"429 of Doorward":     w.get("/v1/auth/test", limited.text),
			"a path of no object": w.get("/v1/nothing", k.text),
		} {
			if status := fmt.Sprint(a.status); len(what) > 3 && what[0] == '4' && !strings.HasPrefix(what, status) ||
				a.number("X-RateLimit-Limit") <= 0 || a.number("X-RateLimit-Remaining") < 0 ||
				a.number("X-RateLimit-Reset") <= time.Now().Unix() {
				t.Errorf("%s: answered %s", what, a)
			}
		}
	})
}

func TestScopien18_AuthTestSaysWhatTheHeadersSay(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, members := range []string{readOnly, readOnly + `,"environment":"test"`, `"scopes":` + granular} {
			k := w.key("starter", members)
			a := w.get("/v1/auth/test", k.text)
			scopes, _ := json.Marshal(a.member("scopes"))
			w.same(members, a, http.StatusOK,
				fmt.Sprintf(`{"authenticated":true,"keyId":%q,"scopes":%s,"rateLimit":{"limit":%d,"remaining":%d,"reset":%d}}`,
					k.id, scopes, a.number("X-RateLimit-Limit"), a.number("X-RateLimit-Remaining"), a.number("X-RateLimit-Reset")))
			limit := map[bool]int64{false: 1000, true: 100}[strings.Contains(members, "test")]
			if a.number("X-RateLimit-Limit") != limit {
				t.Errorf("%s: limit %d", members, a.number("X-RateLimit-Limit"))
			}
		}
	})
}

func TestScopien19_ListHasNoSecrets(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin, other := w.key("starter", adminKey), w.key("starter", readOnly)
		a := w.get(keysPath+"?limit=100", admin.text)
		keys, _ := a.member("data").([]any)
		found := false
		for _, one := range keys {
			k := one.(map[string]any)
			found = found || k["id"] == other.id && k["masked"] == other.text[:len("sk_live_")]+"…"+
				other.text[len(other.text)-4:]
		}
		if a.status != http.StatusOK || !found || regexp.MustCompile(`sk_(live|test)_[0-9A-Za-z]{5}`).MatchString(a.body) {
			t.Errorf("answered %d %.3000s", a.status, a.body)
		}
	})
}

func TestScopien20_DeleteRevokes(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin, k := w.key("starter", adminKey), w.key("starter", readOnly)
		w.want("before", w.get(accounts, k.text), http.StatusOK)
		w.want("revoking", w.request(http.MethodDelete, keysPath+"/"+k.id, admin.text, ""), http.StatusNoContent)
		w.want("after", w.get(accounts, k.text), http.StatusUnauthorized)
	})
}

func TestScopien21_PatchNarrows(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin, k := w.key("starter", adminKey), w.key("starter", `"scopes":["read","write"]`)
		w.want("writing before", w.request(http.MethodPost, accounts, k.text, `{"name":"x"}`), http.StatusCreated)
		w.want("narrowing", w.request(http.MethodPatch, keysPath+"/"+k.id, admin.text, `{"scopes":["read"]}`), http.StatusOK)
		w.want("writing after", w.request(http.MethodPost, accounts, k.text, `{"name":"x"}`), http.StatusForbidden)
		w.want("reading after", w.get(accounts, k.text), http.StatusOK)
		if a := w.request(http.MethodPatch, keysPath+"/"+k.id, admin.text, `{"scopes":["read","write"]}`); a.status < 400 {
			t.Errorf("it was widened: %s", a)
		}
	})
}

func TestScopien22_RevocationExpiryUsage(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		w.want("revoked", w.get(accounts, w.revoked("starter", readOnly).text), http.StatusUnauthorized)
		w.want("expired", w.get(accounts, w.expired("starter", readOnly).text), http.StatusUnauthorized)
		admin, one, two := w.key("starter", adminKey), w.key("starter", readOnly+`,"note":"web shop"`),
			w.key("starter", readOnly+`,"note":"nightly import"`)
		for range 3 {
			w.get(accounts, one.text)
		}
		w.get(accounts, two.text)
		used := func(k key) (n float64) {
			a := w.get("/v1/usage?credential="+k.id, admin.text)
			w.want("usage", a, http.StatusOK)
			rows, _ := a.member("data").([]any)
			for _, row := range rows {
				allowed, _ := row.(map[string]any)["allowed"].(float64)
				n += allowed
			}
			return n
		}
		// Counts are written every few seconds; the test repeats the request until then.
		deadline := time.Now().Add(30 * time.Second)
		for used(one) != 3 || used(two) != 1 {
			if time.Now().After(deadline) {
				t.Fatalf("usage says %v and %v, want 3 and 1", used(one), used(two))
			}
			<-time.After(200 * time.Millisecond)
			w.pass(t, 0)
			if a := w.get(accounts, admin.text); a.status == http.StatusTooManyRequests {
				w.pass(t, time.Minute)
			}
		}
	})
}

func TestScopien23_AgeIsShown(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin, k := w.key("starter", adminKey), w.key("starter", readOnly)
		w.pass(t, 91*24*time.Hour)
		a := w.get(keysPath+"/"+k.id, admin.text)
		made, err := time.Parse(time.RFC3339, a.text("createdAt"))
		if err != nil || time.Since(made) < 91*24*time.Hour || a.member("expiresAt") != nil {
			t.Errorf("answered %s", a)
		}
		page, err := w.person.visit(http.MethodGet, w.app+"/settings/workspaces/starter/api-keys/"+k.id, nil)
		ok(t, err)
		if page.status != http.StatusOK || !strings.Contains(page.body, made.Format("2006-01-02")) {
			t.Errorf("the page answers %d and does not say when it was created", page.status)
		}
	})
}
