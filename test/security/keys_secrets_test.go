package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/web/gateway"
)

func TestK19_ACredentialIsReadFromOneHeaderAlone(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	ask := func(path string, header ...string) *rig.Answer {
		return r.Send(r.Program(), r.Request("GET", path, nil, header...))
	}
	for what, a := range map[string]*rig.Answer{
		"query access_token": ask("/v1/api-keys?access_token=" + admin),
		"query api_key":      ask("/v1/auth/test?api_key=" + admin),
		"query key":          ask("/v1/auth/test?key=" + url.QueryEscape(admin)),
		"cookie": ask("/v1/api-keys", "Cookie",
			"doorward="+admin+"; api_key="+admin+"; access_token="+admin),
		"X-API-Key":              ask("/v1/api-keys", "X-API-Key", admin),
		"X-Authorization":        ask("/v1/api-keys", "X-Authorization", "Bearer "+admin),
		"Proxy-Authorization":    ask("/v1/api-keys", "Proxy-Authorization", "Bearer "+admin),
		"Basic":                  ask("/v1/api-keys", "Authorization", rig.Basic(admin, "")),
		"Basic, as password":     ask("/v1/api-keys", "Authorization", rig.Basic("key", admin)),
		"no scheme":              ask("/v1/api-keys", "Authorization", admin),
		"another scheme":         ask("/v1/api-keys", "Authorization", "Token "+admin),
		"two keys":               ask("/v1/api-keys", "Authorization", "Bearer "+admin+","+admin),
		"a tab":                  ask("/v1/api-keys", "Authorization", "Bearer\t"+admin),
		"nothing":                ask("/v1/api-keys", "Authorization", "Bearer"),
		"nothing at all":         ask("/v1/api-keys"),
		"a key and something":    ask("/v1/api-keys", "Authorization", "Bearer "+admin+" x"),
		"another case":           ask("/v1/api-keys", "Authorization", "Bearer "+strings.ToUpper(admin)),
		"a letter that looks so": ask("/v1/api-keys", "Authorization", "Bearer "+strings.Replace(admin, "s", "ѕ", 1)),
		"form body of a GET": r.Send(r.Program(),
			r.Request("GET", "/v1/api-keys", strings.NewReader("access_token="+admin), "Content-Type",
				"application/x-www-form-urlencoded")),
		"the other environment":   ask("/v1/api-keys", "Authorization", "Bearer "+strings.Replace(admin, "live", "test", 1)),
		"a made-up one":           ask("/v1/api-keys", "Authorization", "Bearer "+bearer.NewCredential("sk_live_")),
		"a made-up token of mine": ask("/v1/api-keys", "Authorization", "Bearer "+bearer.NewCredential("pat_")),
	} {
		answered(t, what, a, http.StatusUnauthorized)
		message := "Invalid or missing API key"
		if what == "X-API-Key" {
			message += ". The X-Api-Key header is not supported; send the key in the Authorization header, as a Bearer token."
		}
		if want := `{"error":"Unauthorized","message":"` + message + `","statusCode":401}` + "\n"; a.Body != want {
			t.Errorf("%s: %s", what, a.Body)
		}
	}
	// Credentials for the token endpoint are refused here, even valid ones.
	app := r.App(management.ClientSpec{})
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	_, refresh := r.Tokens(app, "read")
	for what, text := range map[string]string{"a code": code, "a refresh token": refresh, "a client secret": app.Secret} {
		answered(t, what, ask("/v1/auth/test", "Authorization", "Bearer "+text), http.StatusUnauthorized)
	}
	// If a client sends one here by mistake, it is refused and not logged.
	answered(t, "a key as the name of a parameter", ask("/v1/api-keys?"+admin+"=1", "Authorization", "Bearer "+admin),
		http.StatusBadRequest)
	for _, body := range []string{
		`{"` + admin + `":1}`, `{"name":"x","scopes":["` + admin + `"]}`,
		`{"name":"x","scopes":["read"],"plan":"` + admin + `"}`,
	} {
		answered(t, "a key in a body", r.JSON("POST", "/v1/api-keys", admin, body), http.StatusBadRequest)
	}
	answered(t, "a key in a path", ask("/v1/api-keys/"+admin, "Authorization", "Bearer "+admin), http.StatusNotFound)
	answered(t, "two Authorization headers",
		ask("/v1/api-keys", "Authorization", "Bearer "+admin, "Authorization", "Bearer "+admin), http.StatusBadRequest)
	answered(t, "X-API-Key beside the header",
		ask("/v1/api-keys", "Authorization", "Bearer "+admin, "X-API-Key", "anything"), http.StatusOK)
	answered(t, "the scheme in lower case", ask("/v1/api-keys", "Authorization", "bearer "+admin), http.StatusOK)
	answered(t, "a key in the query besides", ask("/v1/api-keys?access_token="+admin, "Authorization", "Bearer "+admin),
		http.StatusBadRequest)
}

// A credential's secret is in the answer that creates it, and never again.
func TestK20_SecretsAreShownOnce(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	var secrets, ids []string
	issue := func(path, credential, body, member string) {
		a := r.JSON("POST", path, credential, body)
		answered(t, "POST "+path, a, http.StatusCreated)
		secrets, ids = append(secrets, a.Text(member)), append(ids, a.Text("id"))
		if len(a.Text(member)) < 40 {
			t.Errorf("POST %s: %s", path, a.Body)
		}
	}
	issue("/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`, "key")
	issue("/v1/api-keys/"+ids[0]+"/rotate", admin, `{}`, "key")
	issue("/v1/personal-access-tokens", pat, `{"name":"x","scopes":["read"]}`, "token")
	issue("/v1/apps", admin, `{"name":"x","grants":["client_credentials"],"scopes":["read"]}`, "secret")
	issue("/v1/apps/"+ids[3]+"/secret", admin, `{}`, "secret")
	issue("/v1/workspaces/acme/invitations", admin, `{"email":"bob@example.com","role":"member"}`, "url")
	secrets[5] = secrets[5][strings.LastIndexByte(secrets[5], '/')+1:]
	for _, text := range secrets[:3] {
		answered(t, "a call", r.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
		answered(t, "a refused call", r.JSON("GET", "/v1/api-keys", text, "", workspaceOf(text, "acme")...),
			http.StatusForbidden)
	}
	answered(t, "revoke", r.JSON("DELETE", "/v1/api-keys/"+ids[0], admin, ""), http.StatusNoContent)
	if err := r.Store.FlushUsage(r.System()); err != nil {
		t.Fatal(err)
	}
	for path, credential := range map[string]string{
		"/v1/api-keys":                         admin,
		"/v1/api-keys/" + ids[0]:               admin,
		"/v1/api-keys/" + ids[1]:               admin,
		"/v1/personal-access-tokens":           pat,
		"/v1/personal-access-tokens/" + ids[2]: pat,
		"/v1/apps":                             admin,
		"/v1/apps/" + ids[3]:                   admin,
		"/v1/workspaces/acme/invitations":      admin,
		"/v1/usage":                            admin,
		"/v1/audit-events":                     admin,
		"/v1/auth/test":                        secrets[1],
		"/api/auth/me":                         secrets[1],
		"/v1/api-keys?search=x":                admin,
	} {
		a := r.JSON("GET", path, credential, "")
		answered(t, path, a, http.StatusOK)
		for i, text := range secrets {
			if strings.Contains(a.Body, text[len(text)-20:]) ||
				strings.Contains(a.Body, fmt.Sprintf("%x", storage.Digest(text))) {
				t.Errorf("GET %s shows secret %d: %s", path, i, a.Body)
			}
		}
	}
	a := r.JSON("GET", "/v1/auth/test", secrets[0], "")
	answered(t, "a revoked key", a, http.StatusUnauthorized)
	if strings.Contains(a.Body+fmt.Sprint(a.Header), secrets[0][20:40]) {
		t.Errorf("a refusal shows the key: %s", a.Body)
	}
}

func TestK21_ASessionCreatesSecretsOnlyOnPagesAfterARecentSignIn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	key, _ := r.Key(w, apikey.Spec{})
	app := r.App(management.ClientSpec{WorkspaceID: w.ID, CreatedBy: r.Alice.ID})
	b := r.Browser().SignIn(r.Alice.Email)
	secrets := map[string]string{
		"/v1/api-keys": `{"name":"x","scopes":["read"]}`, "/v1/personal-access-tokens": `{"name":"x","scopes":["read"]}`,
		"/v1/apps":                           `{"name":"x","redirectUris":["https://x.example/cb"],"scopes":["read"]}`,
		"/v1/apps/" + app.ID + "/secret":     `{}`,
		"/v1/api-keys/" + key.ID + "/rotate": `{}`,
	}
	in := []string{"X-Workspace", "acme"}
	for path, body := range secrets {
		for _, site := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
			{"Sec-Fetch-Site", "", "Origin", "null"},
		} {
			q := append(append([]string{}, site...), in...)
			a := b.Send(programWith(b),
				b.Request("POST", path, strings.NewReader(body), append(q, "Content-Type", "application/json")...))
			answered(t, fmt.Sprint("POST ", path, " from ", site), a, http.StatusForbidden)
		}
	}
	for _, method := range []string{"PATCH", "DELETE"} {
		a := b.Send(programWith(b),
			b.Request(method, "/v1/api-keys/"+key.ID, strings.NewReader(`{"paused":true}`), "Sec-Fetch-Site", "cross-site",
				"X-Workspace", "acme", "Content-Type", "application/json"))
		answered(t, method+" from elsewhere", a, http.StatusForbidden)
	}
	if n := liveKeys(r, w); n != 1 {
		t.Errorf("%d keys", n)
	}
	r.Advance(5*time.Minute + time.Second)
	for path, body := range secrets {
		a := b.JSON("POST", path, body, in...)
		answered(t, path+" later", a, http.StatusForbidden)
		c := a.Header.Get("WWW-Authenticate")
		if !strings.Contains(c, `error="insufficient_user_authentication"`) || !strings.Contains(c, `max_age="300"`) {
			t.Errorf("%s: no demand to step up: %s", path, c)
		}
		if !strings.Contains(a.Text("message"), "sign in again") {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	// Operations that create no secret need no recent sign-in.
	answered(t, "a list", b.JSON("GET", "/v1/api-keys", "", in...), http.StatusOK)
	answered(t, "a new name", b.JSON("PATCH", "/v1/api-keys/"+key.ID, `{"name":"y"}`, in...), http.StatusOK)
	b = r.Browser().SignIn(r.Alice.Email)
	for path, body := range secrets {
		answered(t, path+" after signing in again", b.JSON("POST", path, body, in...), http.StatusCreated)
	}
}

// programWith returns a client that sends the cookies of a browser, but none of its other headers.
func programWith(b *rig.Browser) *http.Client {
	c := b.Program()
	var parts []string
	for _, cookie := range b.Cookies() {
		parts = append(parts, cookie.Name+"="+cookie.Value)
	}
	c.Transport = cookies{c.Transport, strings.Join(parts, "; ")}
	return c
}

type cookies struct {
	next http.RoundTripper
	text string
}

func (c cookies) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.Header.Set("Cookie", c.text)
	if q.Header.Get("Sec-Fetch-Site") == "" {
		q.Header.Del("Sec-Fetch-Site")
	}
	return c.next.RoundTrip(q)
}

// A credential is not a session: it cannot change a password or answer a consent page.
func TestK22_ACredentialOpensNoPage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{Scopes: []string{"admin"}})
	access, _ := r.Tokens(app, "read")
	before, err := r.Store.UserByID(r.System(), r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, credential := range []string{pat, key, access} {
		authorization := []string{"Authorization", "Bearer " + credential}
		for _, path := range []string{
			"/settings/security/password", "/settings/profile", "/oauth/consent", "/settings/connected-apps/end-all",
			"/settings/developer/apps",
		} {
			form := url.Values{
				"current_password": {rig.Password},
				"new_password":     {"another quiet harbour"},
				"name":             {"Mallory"},
				"decision":         {"approve"},
			}
			if a := r.Post(path, form, authorization...); a.Status < 400 || a.Status >= 500 {
				t.Errorf("POST %s with a credential: %d", path, a.Status)
			}
		}
		if a := r.Call("GET", "/settings/profile", credential); a.Status != http.StatusSeeOther ||
			!strings.HasPrefix(a.Location.Path, "/login") {
			t.Errorf("a page with a credential: %d", a.Status)
		}
	}
	after, err := r.Store.UserByID(r.System(), r.Alice.ID)
	if err != nil || after != before {
		t.Errorf("the user was %+v and is %+v, %v", before, after, err)
	}
}

// Refusals of invalid credentials: an unknown credential gets no details; a known one gets as much as the error shape
// allows.
func TestK05_K06_RefusedCredentialsInEachShape(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		for _, shape := range []string{"flat", "nested", "envelope"} {
			var rigs []*rig.Rig
			for _, n := range nodes {
				rigs = append(rigs,
					rig.New(t, n.Store, rig.Options{
						Issuer: n.Issuer, NoUser: true, Shapes: map[string]gateway.Shape{n.Issuer: {Name: shape}},
					}))
			}
			rig.AreNodes(rigs...)
			r, other := rigs[0], rigs[len(rigs)-1]
			alice := nodes[0].Alice
			w := r.Workspace("acme-"+shape, "", alice)
			_, text := r.Key(w, apikey.Spec{})
			gone, revoked := r.Key(w, apikey.Spec{})
			end := r.Store.Now().Add(time.Minute)
			_, expired := r.Key(w, apikey.Spec{ExpiresAt: end})
			answered := func(what, credential, want string) {
				t.Helper()
				a := other.JSON("GET", "/v1/auth/test", credential, "")
				if a.Status != http.StatusUnauthorized || a.Body != want+"\n" {
					t.Errorf("%s, %s: %d %s\nwant %s", shape, what, a.Status, a.Body, want)
				}
			}
			if a := other.JSON("GET", "/v1/auth/test", revoked, ""); a.Status != http.StatusOK {
				t.Fatalf("before: %d %s", a.Status, a.Body)
			}
			_, err := r.Management.RevokeKey(r.System(), management.CLI(w.ID), storage.KeyOwner{WorkspaceID: w.ID},
				gone.ID)
			if err != nil {
				t.Fatal(err)
			}
			r.Advance(2 * time.Minute)
			if other != r {
				other.Advance(2 * time.Minute)
			}
			unknown, missing, over, ended := map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key is invalid or has been revoked."}}`,
				"envelope": `{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{}}}`,
			}[shape], map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"No API key was sent; send it in the Authorization header, as a Bearer token."}}`,
				"envelope": `{"success":false,"error":{"code":"MISSING_API_KEY","message":"API key is required","details":{"header":"Authorization"}}}`,
			}[shape], map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key has expired; use another one."}}`,
				"envelope": `{"success":false,"error":{"code":"EXPIRED_API_KEY","message":"The API key has expired","details":{"expired_at":"` + end.Time().Format(time.RFC3339) + `"}}}`,
			}[shape], map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key is invalid or has been revoked."}}`,
				"envelope": `{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{"key_id":"` + gone.ID + `"}}}`,
			}[shape]
			answered("missing", "", missing)
			answered("never made", bearer.NewCredential("sk_live_"), unknown)
			answered("a typing error", text[:len(text)-1]+"~", unknown)
			answered("an unknown access token", bearer.NewCredential("dw_at_"), unknown)
			answered("a refresh token", bearer.NewCredential("dw_rt_"), unknown)
			answered("expired", expired, over)
			answered("revoked", revoked, ended)
		}
	})
}
