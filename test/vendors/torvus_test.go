package vendors

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	torvus401 = `{"error":"Unauthorized","message":"Invalid or missing authentication token","statusCode":401}`
	torvus419 = `{"error":"Token Expired","message":"Authentication token has expired","statusCode":419}`
	vaults    = "/api/vaults"
)

// claims returns the claims of a session of the vendor's Supabase project, with changes.
func claims(name string, change map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": "https://" + name + ".supabase.example/auth/v1",
		"aud": "authenticated",
		"sub": "5b7fd0a2-7a6c-4f8e-9c43-0a5e7ec2b1fd",
		"exp": now + 3600, "iat": now, "role": "authenticated", "email": "tess@example.com",
	}
	for name, value := range change {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// hs256 signs claims as Supabase does.
func hs256(secret string, claims map[string]any) string {
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // maps of strings and numbers can always be encoded
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// session returns a token of a user who is signed in to the app, with changes to its claims.
func (w *way) session(change map[string]any) string {
	if change == nil {
		change = map[string]any{}
	}
	if change["sub"] == nil {
		change["sub"] = "user " + w.next() // each user has a limit of its own
	}
	return hs256(supabaseSecret, claims(w.name, change))
}

func TestSophosic02_SupabaseSession(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		a := w.get(data, w.session(nil))
		w.want("a session", a, http.StatusOK)
		if told := w.told(a); told.Get("X-Auth-Credential") != "foreign_jwt" ||
			!strings.HasPrefix(told.Get("X-Auth-Subject"), "foreign:") {
			t.Errorf("the API was told %v", told)
		}
		w.want("a key", w.get(data, w.key("free", readData).text), http.StatusOK)
		for what, text := range map[string]string{
			"of another secret":  hs256("another secret of no less than 32 bytes", claims("sophosic", nil)),
			"of another project": w.session(map[string]any{"iss": "https://other.supabase.example/auth/v1"}),
			"expired":            w.session(map[string]any{"exp": time.Now().Unix() - 3600}), "three parts": "a.b.c",
		} {
			w.same(what, w.get(data, text), http.StatusUnauthorized, sophosic401)
		}
	})
}

// tokens are the tokens that an app has for a user.
type tokens struct{ access, refresh string }

// connect has the owner allow everything that an app asks for.
func (w *way) tokens(t *testing.T, a app) tokens {
	t.Helper()
	answer := w.exchange(a, w.person.authorize(t, a.address(w.app)).Get("code"))
	if answer.status != http.StatusOK {
		t.Fatalf("exchange: %s", answer)
	}
	return tokens{answer.text("access_token"), answer.text("refresh_token")}
}

func (w *way) refresh(a app, token string) *answer {
	return w.request(http.MethodPost, "/oauth/token", "", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {a.id}, "client_secret": {a.secret},
	}.Encode())
}

func TestTorvus01_JWTAsBearer(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		w.want("HS256 of the vendor's project", w.get(vaults, w.session(nil)), http.StatusOK)
		token := w.tokens(t, w.oldApp(t, "read")).access
		if strings.Count(token, ".") != 2 {
			t.Errorf("an app's access token has no three parts: %s", token)
		}
		w.want("an app's", w.get(vaults, token), http.StatusOK)
		w.want("in small letters", w.get(vaults, "", header("Authorization", "bearer "+token)), http.StatusOK)
	})
}

func TestTorvus02_PasswordAndOAuthYieldTokens(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		// The user signs in by password, and the app gets both tokens.
		p, err := w.signIn(ownerEmail)
		ok(t, err)
		app := w.oldApp(t, "read write")
		a := w.exchange(app, p.authorize(t, app.address(w.app)).Get("code"))
		if a.status != http.StatusOK || a.text("access_token") == "" || a.text("refresh_token") == "" {
			t.Fatalf("answered %s", a)
		}
		w.want("with the token", w.request(http.MethodPost, vaults, a.text("access_token"), `{"name":"Papers"}`),
			http.StatusCreated)
	})
}

func TestTorvus03_EachRequestIsChecked(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		good := w.session(nil)
		head, rest, _ := strings.Cut(good, ".")
		payload, signature, _ := strings.Cut(rest, ".")
		own := w.tokens(t, w.oldApp(t, "read")).access
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
		for what, text := range map[string]string{
			"another secret":    hs256("another secret of no less than 32 bytes", claims(w.name, nil)),
			"a changed payload": head + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + signature,
			"no signature":      head + "." + payload + ".",
			"alg none":          none + "." + payload + ".",
			"issuer":            w.session(map[string]any{"iss": "https://evil.example/auth/v1"}),
			"no issuer":         w.session(map[string]any{"iss": nil}),
			"audience":          w.session(map[string]any{"aud": "anon"}),
			"no audience":       w.session(map[string]any{"aud": nil}),
			"no expiry":         w.session(map[string]any{"exp": nil}),
			"not yet":           w.session(map[string]any{"nbf": time.Now().Unix() + 3600}),
			"own, a changed letter": own[:len(own)-5] + map[bool]string{
				true:  "B",
				false: "A",
			}[own[len(own)-5] == 'A'] + own[len(own)-4:],
		} {
			w.same(what, w.get(vaults, text), http.StatusUnauthorized, torvus401)
		}
		w.same("expiry", w.get(vaults, w.session(map[string]any{"exp": time.Now().Unix() - 120})), 419, torvus419)
	})
}

func TestTorvus04_AccessTokensLastAnHour(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read")
		a := w.exchange(app, w.person.authorize(t, app.address(w.app)).Get("code"))
		if a.member("expires_in") != 3600.0 {
			t.Errorf("answered %s", a)
		}
		parts := strings.Split(a.text("access_token")+"..", ".")
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		ok(t, err)
		var c struct{ Iat, Exp int64 }
		ok(t, json.Unmarshal(text, &c))
		if c.Exp-c.Iat != 3600 {
			t.Errorf("the token lasts %d s: %s", c.Exp-c.Iat, text)
		}
	})
}

func TestTorvus05_RefreshTokensLastAWeek(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read")
		token := w.tokens(t, app).refresh
		digest := sha256.Sum256([]byte(token))
		var created, expires int64
		ok(t, w.connect(t).QueryRow(t.Context(), `SELECT created_at, expires_at FROM refresh_tokens WHERE digest = $1`,
			digest[:]).Scan(&created, &expires))
		if d := time.Duration(expires-created) * time.Microsecond; d != 7*24*time.Hour {
			t.Errorf("it lasts %s", d)
		}
	})
	text, err := os.ReadFile(running(t).folder + "/doorward.yaml")
	ok(t, err)
	if !regexp.MustCompile(`refresh_lifetime: 7d`).Match(text) {
		t.Error("the configuration does not say so")
	}
}

func TestTorvus06_RefreshingUpToAWeek(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read")
		first := w.tokens(t, app)
		w.pass(t, 7*24*time.Hour-time.Minute)
		a := w.refresh(app, first.refresh)
		if a.status != http.StatusOK || a.text("access_token") == first.access || a.text("access_token") == "" {
			t.Fatalf("before the end of the week: %s", a)
		}
		w.want("with the new token", w.get(vaults, a.text("access_token")), http.StatusOK)
		w.pass(t, 7*24*time.Hour)
		if a := w.refresh(app, a.text("refresh_token")); a.status != http.StatusBadRequest ||
			a.text("error") != "invalid_grant" {
			t.Errorf("a week later: %s", a)
		}
	})
}

func TestTorvus07_TabsRefreshAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read")
		token := w.tokens(t, app)
		answers := make([]*answer, 8)
		var tabs sync.WaitGroup
		for i := range answers {
			q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.base+"/oauth/token",
				strings.NewReader(url.Values{
					"grant_type":    {"refresh_token"},
					"refresh_token": {token.refresh},
					"client_id":     {app.id},
					"client_secret": {app.secret},
				}.Encode()))
			ok(t, err)
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			tabs.Go(func() {
				resp, err := client.Do(q)
				if err != nil {
					return
				}
				defer resp.Body.Close() //nolint:errcheck // read to the end
				var body map[string]any
				_ = json.NewDecoder(resp.Body).Decode(&body)
				text, _ := json.Marshal(body)
				answers[i] = &answer{resp.StatusCode, resp.Header, string(text)}
			})
		}
		tabs.Wait()
		for i, a := range answers {
			if a == nil || a.status != http.StatusOK {
				t.Fatalf("tab %d: %v", i, a)
			}
			w.want(fmt.Sprintf("tab %d", i), w.get(vaults, a.text("access_token")), http.StatusOK)
		}
		w.want("refreshing on", w.refresh(app, answers[0].text("refresh_token")), http.StatusOK)
	})
}

func TestTorvus08_UnauthorizedBody(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for what, text := range map[string]string{
			"missing":      "",
			"no JWT":       "x",
			"a random JWT": hs256("an unknown secret with 32 bytes!!", claims("unknown", nil)),
			"three dots":   "...",
		} {
			w.same(what, w.get(vaults, text), http.StatusUnauthorized, torvus401)
		}
	})
}

func TestTorvus09_WithoutPermission(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		w.same("a session that reads", w.request(http.MethodPost, vaults, w.session(nil), `{"name":"x"}`),
			http.StatusForbidden, sophosic403)
		w.same("an app that reads",
			w.request(http.MethodPost, vaults, w.tokens(t, w.oldApp(t, "read")).access, `{"name":"x"}`),
			http.StatusForbidden, sophosic403)
		w.same("what is for admins", w.get("/api/admin/vaults", w.session(nil)), http.StatusForbidden, sophosic403)
	})
}

func TestTorvus10_ExpiredIs419(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		a := w.get(vaults, w.session(map[string]any{"exp": time.Now().Unix() - 120}))
		w.same("a session", a, 419, torvus419)
		if c := a.header.Get("WWW-Authenticate"); !strings.Contains(c, `error="invalid_token"`) {
			t.Errorf("challenge: %s", c)
		}
		w.same("signed by an unknown key",
			w.get(vaults, hs256("another secret of no less than 32 bytes", claims(w.name, map[string]any{"exp": 1}))),
			http.StatusUnauthorized, torvus401)
	})
}

func TestTorvus11_RefreshingOn419(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read")
		first := w.tokens(t, app)
		// The clock of a JWT cannot be moved, but an access token has also expired when its row has.
		w.pass(t, time.Hour)
		a := w.get(vaults, first.access)
		w.same("an hour later", a, 419, torvus419)
		fresh := w.refresh(app, first.refresh)
		w.want("refreshing", fresh, http.StatusOK)
		w.want("once more", w.get(vaults, fresh.text("access_token")), http.StatusOK)
	})
}

func TestTorvus12_Limits(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for what, x := range map[string]struct {
			text  string
			limit int64
		}{
			"a session":                  {w.session(nil), 1000},
			"a key of a service account": {w.key("service", readOnly).text, 5000},
			"a key as agreed":            {w.key("service", readOnly+`,"rateLimit":1234`).text, 1234},
		} {
			a := w.get(vaults, x.text)
			if a.status != http.StatusOK || a.number("X-RateLimit-Limit") != x.limit ||
				a.number("X-RateLimit-Remaining") != x.limit-1 {
				t.Errorf("%s: answered %s", what, a)
			}
		}
		// Without a token, the limit is that of the address.
		c := from(t, "127.0.0."+map[string]string{w.api: "11", w.nginx: "12"}[w.base])
		ask := func() *answer {
			q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+vaults, http.NoBody)
			ok(t, err)
			return send(t, c, q)
		}
		for want := int64(99); want >= 0; want-- {
			a := ask()
			if a.status != http.StatusUnauthorized || a.number("X-RateLimit-Limit") != 100 ||
				a.number("X-RateLimit-Remaining") != want {
				t.Fatalf("want %d left, got %s", want, a)
			}
		}
		w.want("the 101st", ask(), http.StatusTooManyRequests)
		w.pass(t, time.Hour)
		w.want("an hour later", ask(), http.StatusUnauthorized)
	})
}

func TestTorvus13_TheFirstOf1000(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		session := w.session(nil)
		for want := int64(999); want > 996; want-- {
			a := w.get(vaults, session)
			if a.number("X-RateLimit-Limit") != 1000 || a.number("X-RateLimit-Remaining") != want ||
				a.number("X-RateLimit-Reset") <= time.Now().Unix() {
				t.Errorf("want %d left, got %s", want, a)
			}
		}
	})
}

func TestTorvus14_UnauthenticatedAnswersHaveHeaders(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		w.pass(t, time.Hour)
		for _, path := range []string{vaults, "/api/me", "/nowhere"} {
			a := w.get(path, "")
			if a.status != http.StatusUnauthorized || a.number("X-RateLimit-Limit") != 100 ||
				a.number("X-RateLimit-Remaining") < 0 || a.number("X-RateLimit-Reset") <= time.Now().Unix() {
				t.Errorf("%s: answered %s", path, a)
			}
		}
	})
}

func TestTorvus15_Me(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		a := w.get("/api/me", w.tokens(t, w.oldApp(t, "read")).access)
		var me map[string]any
		ok(t, json.Unmarshal([]byte(a.body), &me))
		_, err := time.Parse(time.RFC3339, a.text("created_at"))
		if a.status != http.StatusOK || len(me) != 3 ||
			!regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(a.text("id")) ||
			a.text("email") != ownerEmail || err != nil {
			t.Errorf("answered %s", a)
		}
		w.same("without", w.get("/api/me", ""), http.StatusUnauthorized, torvus401)
	})
}

func TestTorvus16_NoTokenInTheURL(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		token := w.session(nil)
		for _, name := range []string{"access_token", "token", "authorization", "bearer_token"} {
			w.same(name, w.get(vaults+"?"+name+"="+token, ""), http.StatusUnauthorized, torvus401)
		}
		w.same("in a body", w.request(http.MethodPost, vaults, "", "access_token="+token), http.StatusUnauthorized, torvus401)
		w.same("in a cookie", w.get(vaults, "", header("Cookie", "access_token="+token)), http.StatusUnauthorized, torvus401)
	})
}

func TestTorvus17_HTTPSOnly(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		base := w.secure(t)
		k := w.key("service", readOnly)
		front := func(proto, host, path, accept string) *answer {
			q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
			ok(t, err)
			q.Host = host
			q.Header.Set("Authorization", "Bearer "+k.text)
			q.Header.Set("X-Forwarded-Proto", proto)
			q.Header.Set("Accept", accept)
			return send(t, client, q)
		}
		if a := front("http", "127.0.0.1", vaults, "*/*"); a.status != http.StatusBadRequest || w.told(a) != nil {
			t.Errorf("plain HTTP at the API: %s", a)
		}
		a := front("https", "127.0.0.1", vaults, "*/*")
		if a.status != http.StatusOK || a.header.Get("Strict-Transport-Security") == "" {
			t.Errorf("HTTPS at the API: %s", a)
		}
		if a := front("http", "torvus.example", "/login", "text/html"); a.status != http.StatusPermanentRedirect ||
			a.header.Get("Location") != "https://torvus.example/login" {
			t.Errorf("plain HTTP at a page: %s", a)
		}
		a = front("https", "torvus.example", "/oauth/authorize?client_id=x", "text/html")
		page := front("https", "torvus.example", "/login", "text/html")
		for _, cookie := range append(a.header.Values("Set-Cookie"), page.header.Values("Set-Cookie")...) {
			if !strings.Contains(cookie, "; Secure") {
				t.Errorf("a cookie without Secure: %s", cookie)
			}
		}
	})
}

func TestTorvus18_HttpOnlyCookies(t *testing.T) {
	w := once(t)
	page, err := w.person.visit(http.MethodGet, w.app+"/login", nil)
	ok(t, err)
	form := fields(page.body, "/login")
	fresh := *client
	p := &person{v: w.vendor, client: &fresh}
	form.Set("email", ownerEmail)
	form.Set("password", password)
	a, err := p.visit(http.MethodGet, w.app+"/login", nil)
	ok(t, err)
	form = fields(a.body, "/login")
	form.Set("email", ownerEmail)
	form.Set("password", password)
	signedIn, err := p.visit(http.MethodPost, w.app+"/login", form)
	ok(t, err)
	cookies := append(a.header.Values("Set-Cookie"), signedIn.header.Values("Set-Cookie")...)
	if len(cookies) == 0 {
		t.Fatalf("no cookie: %d", signedIn.status)
	}
	for _, cookie := range cookies {
		if !strings.Contains(cookie, "; HttpOnly") || !strings.Contains(cookie, "; SameSite=") {
			t.Errorf("a cookie without HttpOnly or SameSite: %s", cookie)
		}
	}
}

func TestTorvus19_KeysAndAppsOfOthers(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("service", `"scopes":["read","write"]`)
		a := w.request(http.MethodPost, vaults, k.text, `{"name":"Backups"}`)
		w.want("a service account", a, http.StatusCreated)
		if told := w.told(a); told.Get("X-Auth-Subject") != "" || told.Get("X-Auth-Key") != k.id {
			t.Errorf("the API was told %v", told)
		}
		// An app that acts for itself, without a user.
		made := w.command(t, "", "client", "create", "--name", "Batch "+w.next(), "--scope", "read",
			"--grant", "client_credentials")
		token := w.request(http.MethodPost, "/oauth/token", "", url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {made["client_id"].(string)},
			"client_secret": {made["client_secret"].(string)},
		}.Encode())
		w.want("client_credentials", token, http.StatusOK)
		w.want("with its token", w.get(vaults, token.text("access_token")), http.StatusOK)
		// An app that acts for a user.
		w.want("a third party's", w.get(vaults, w.tokens(t, w.oldApp(t, "read")).access), http.StatusOK)
	})
}
