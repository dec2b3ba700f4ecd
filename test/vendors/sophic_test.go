package vendors

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

const (
	documents = "/documents"
	ingest    = "/api/ingest/cli"
	note1     = `{"text":"a note"}`
	capture   = `"scopes":["read","capture"]`
	team      = "team"
)

func inTeam(q *http.Request) { q.Header.Set("x-sophic-workspace", team) }

func TestSophic01_BothAreCreatedUnderDeveloper(t *testing.T) {
	w := once(t)
	tab := browser.New(t)
	tab.Goto(w.app + "/settings/developer/api-keys")
	tab.Fill(`[name=email]`, ownerEmail)
	tab.Fill(`[name=password]`, password)
	tab.Click(`form[action="/login"] [type=submit]`)
	create := func(path, prefix string) string {
		t.Helper()
		tab.Goto(w.app + path)
		tab.Click("main a.btn.main")
		tab.Fill(`[name=name]`, "By hand")
		tab.Press(`[type=checkbox][value=read]`)
		tab.Click(`form.key-form [type=submit]`)
		shown := shownKey(tab, prefix)
		if shown == "" {
			t.Fatalf("nothing is shown: %s", tab.Text("main"))
		}
		tab.Click("[data-stored]") // otherwise the page asks before it is left
		return shown
	}
	w.want("the key", w.get(documents, create("/settings/developer/api-keys", "sophic_live_")), http.StatusOK)
	w.want("the token", w.get(documents, create("/settings/developer/personal-access-tokens", "pat_"), inTeam),
		http.StatusOK)
}

func TestSophic02_OnlyDigestsAreStored(t *testing.T) {
	w := once(t)
	k, token := w.key(team, readOnly), w.token(readOnly)
	w.want("the key", w.get(documents, k.text), http.StatusOK)
	w.want("the token", w.get(documents, token.text, inTeam), http.StatusOK)
	dump, err := exec.CommandContext(t.Context(), "pg_dump", w.database).Output()
	if err != nil {
		// Without pg_dump in PATH, each table as text shows the same.
		dump = nil
		conn := w.connect(t)
		var tables []string
		ok(t, conn.QueryRow(t.Context(),
			`SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = current_schema()`).Scan(&tables))
		for _, table := range tables {
			var text string
			ok(t, conn.QueryRow(t.Context(), `SELECT COALESCE(string_agg(t::text, E'\n'), '') FROM `+table+` t`).Scan(&text))
			dump = append(dump, text...)
		}
	}
	for _, one := range []key{k, token} {
		secret := one.text[strings.LastIndex(one.text, "_")+1:]
		digest := sha256.Sum256([]byte(one.text))
		if strings.Contains(string(dump), secret) || !strings.Contains(string(dump), hex.EncodeToString(digest[:])) {
			t.Errorf("the dump of %d bytes holds %s, or not its digest", len(dump), one.id)
		}
		var id string
		ok(t, w.connect(t).QueryRow(t.Context(), `SELECT id FROM api_keys WHERE digest = $1`, digest[:]).Scan(&id))
		if id != one.id {
			t.Errorf("the digest finds %s, want %s", id, one.id)
		}
	}
}

func TestSophic03_ShownOnce(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key(team, adminKey)
		made := w.request(http.MethodPost, keysPath, admin.text, `{"name":"Once",`+readOnly+`}`)
		for what, a := range map[string]*answer{
			"list": w.get(keysPath+"?limit=100", admin.text), "shown": w.get(keysPath+"/"+made.text("id"), admin.text),
			"about itself": w.get("/v1/auth/test", made.text("key")),
			"audit":        w.manage(http.MethodGet, "/v1/audit-events", team, ""),
		} {
			if a.status != http.StatusOK || strings.Contains(a.body, made.text("key")) {
				t.Errorf("%s: answered %s", what, a)
			}
		}
		page, err := w.person.visit(http.MethodGet, w.app+"/settings/workspaces/team/api-keys/"+made.text("id"), nil)
		ok(t, err)
		if page.status != http.StatusOK || strings.Contains(page.body, made.text("key")) {
			t.Errorf("the page answers %d, or shows it", page.status)
		}
	})
}

// another creates a workspace of the owner's and returns its slug.
func (w *way) another() string {
	w.t.Helper()
	slug := "other-" + w.next()
	w.command(w.t, "", "workspace", "create", "--name", "Another", "--slug", slug, "--owner", ownerEmail)
	return slug
}

func TestSophic04_KeyOfOneWorkspace(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		other := w.another()
		token := w.token(capture)
		secret := "of another workspace " + w.next()
		w.want("capturing",
			w.request(http.MethodPost, ingest, token.text, `{"text":"`+secret+`"}`, header("x-sophic-workspace", other)),
			http.StatusCreated)
		k := w.key(team, readOnly)
		for what, a := range map[string]*answer{
			"its own":           w.get(documents, k.text),
			"by a parameter":    w.get(documents+"?workspace="+other, k.text),
			"by another header": w.get(documents, k.text, header("X-Auth-Workspace", other), header("X-Workspace", other)),
		} {
			if a.status != http.StatusOK || strings.Contains(a.body, secret) || a.text("workspace") != team {
				t.Errorf("%s: answered %s", what, a)
			}
		}
		if a := w.get(documents, k.text, header("x-sophic-workspace", other)); a.status != http.StatusForbidden ||
			strings.Contains(a.body, secret) {
			t.Errorf("by the header: answered %s", a)
		}
		if a := w.get(documents, w.key(other, readOnly).text); !strings.Contains(a.body, secret) {
			t.Errorf("a key of that workspace: answered %s", a)
		}
	})
}

// oldKey creates a workspace key with capture. New keys cannot have it, but keys from before that rule can.
func (w *way) oldKey(scopes string) key {
	w.t.Helper()
	k := w.key(team, readOnly)
	changed, err := w.connect(w.t).Exec(w.t.Context(), `UPDATE api_keys SET scopes = $1 WHERE id = $2`, scopes, k.id)
	ok(w.t, err)
	if changed.RowsAffected() != 1 {
		w.t.Fatalf("no key %s", k.id)
	}
	return k
}

func TestSophic05_Scopes(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, scope := range []string{"read", "capture", "admin"} {
			w.token(`"scopes":["` + scope + `"]`)
		}
		w.key(team, readOnly)
		w.key(team, adminKey)
		for _, scopes := range []string{`"scopes":["write"]`, `"scopes":["capture"]`, capture} {
			if a := w.manage(http.MethodPost, keysPath, team, `{"name":"x",`+scopes+`}`); a.status != http.StatusBadRequest {
				t.Errorf("a key with %s: answered %s", scopes, a)
			}
		}
	})
}

func TestSophic06_ReadingNeedsRead(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		reader, other := w.key(team, readOnly), w.token(`"scopes":["capture"]`)
		for _, path := range []string{documents, "/search?q=a", "/grep?q=a"} {
			w.want(path, w.get(path, reader.text), http.StatusOK)
			w.want(path+" without read", w.get(path, other.text, inTeam), http.StatusForbidden)
		}
	})
}

func TestSophic07_CaptureNeedsAUser(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for what, x := range map[string]struct {
			credential string
			status     int
		}{
			"a token with capture":    {w.token(capture).text, http.StatusCreated},
			"a token without capture": {w.token(readOnly).text, http.StatusForbidden},
			"a key with capture":      {w.oldKey("read capture").text, http.StatusForbidden},
			"nothing":                 {"", http.StatusUnauthorized},
		} {
			w.want(what, w.request(http.MethodPost, ingest, x.credential, note1, inTeam), x.status)
		}
	})
}

func TestSophic08_KeyWithCaptureIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for scopes, k := range map[string]key{
			"capture":      w.oldKey("capture"),
			"read capture": w.oldKey("read capture"),
			"admin":        w.key(team, adminKey),
		} {
			a := w.request(http.MethodPost, ingest, k.text, note1)
			w.same(scopes, a, http.StatusForbidden, sophosic403)
			if w.told(a) != nil {
				t.Errorf("%s: the API has seen it", scopes)
			}
		}
	})
}

func TestSophic09_TokenWithCapture(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		w.want("with capture", w.request(http.MethodPost, ingest, w.token(`"scopes":["capture"]`).text, note1, inTeam),
			http.StatusCreated)
		w.want("without", w.request(http.MethodPost, ingest, w.token(readOnly).text, note1, inTeam), http.StatusForbidden)
	})
}

func TestSophic10_TokenActsInEachWorkspace(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		token := w.token(readOnly)
		for _, slug := range []string{team, w.another(), w.another()} {
			a := w.get(documents, token.text, header("x-sophic-workspace", slug))
			if a.status != http.StatusOK || a.text("workspace") != slug {
				t.Errorf("in %s: answered %s", slug, a)
			}
		}
	})
}

func TestSophic11_HeaderNamesTheWorkspace(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		token := w.token(readOnly)
		for _, name := range []string{"x-sophic-workspace", "X-Sophic-Workspace", "X-SOPHIC-WORKSPACE"} {
			a := w.get(documents, token.text, func(q *http.Request) { q.Header[name] = []string{team} }) // as written
			if a.status != http.StatusOK || a.text("workspace") != team {
				t.Errorf("%s: answered %s", name, a)
			}
		}
	})
}

func TestSophic16_KeyNeedsNoHeader(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key(team, readOnly)
		for what, a := range map[string]*answer{
			"without":      w.get(documents, k.text),
			"with its own": w.get(documents, k.text, inTeam),
		} {
			if a.status != http.StatusOK || a.text("workspace") != team {
				t.Errorf("%s: answered %s", what, a)
			}
		}
	})
}

func TestSophic17_WritesAreAttributed(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		token := w.token(`"scopes":["admin"]`)
		a := w.request(http.MethodPost, ingest, token.text, note1, inTeam)
		if a.status != http.StatusCreated || !strings.HasPrefix(a.text("by"), "user_") || a.text("token") != token.id {
			t.Errorf("the API has written %s", a)
		}
		// Changes in Doorward itself are in its audit log.
		made := w.request(http.MethodPost, keysPath, token.text, `{"name":"By a token",`+readOnly+`}`, inTeam)
		w.want("creating a key", made, http.StatusCreated)
		log := w.manage(http.MethodGet, "/v1/audit-events?target="+made.text("id"), team, "")
		events, _ := log.member("data").([]any)
		if len(events) != 1 {
			t.Fatalf("the log has %s", log)
		}
		e := events[0].(map[string]any)
		if e["userId"] != a.text("by") || e["keyId"] != token.id || e["credential"] != "personal_access_token" {
			t.Errorf("the event is %v", e)
		}
	})
}

func TestSophic18_MCPTools(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k, token, weak := w.oldKey("read capture"), w.token(capture), w.token(readOnly)
		call := func(credential, tool, argument string) *answer {
			return w.request(http.MethodPost, "/mcp", credential,
				`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":{`+argument+`}}}`,
				func(q *http.Request) {
					if strings.HasPrefix(credential, "pat_") {
						inTeam(q)
					}
				})
		}
		for what, x := range map[string]struct {
			credential, tool, argument string
			refused                    bool
		}{
			"a key reads":                      {k.text, "search", `"query":"a"`, false},
			"a token reads":                    {token.text, "search", `"query":"a"`, false},
			"a key captures":                   {k.text, "capture", `"text":"by a key"`, true},
			"a token captures":                 {token.text, "capture", `"text":"by a token"`, false},
			"a token without capture captures": {weak.text, "capture", `"text":"by a weak token"`, true},
		} {
			a := call(x.credential, x.tool, x.argument)
			if a.status != http.StatusOK || a.member("result.isError") != x.refused {
				t.Errorf("%s: answered %s", what, a)
			}
		}
		if a := w.get(documents, k.text); strings.Contains(a.body, "by a key") ||
			strings.Contains(a.body, "by a weak token") {
			t.Errorf("it was captured: %s", a)
		}
		w.want("without a credential", call("", "search", ""), http.StatusUnauthorized)
	})
}

func TestSophic19_EnvironmentDrivesAProgram(t *testing.T) {
	root, err := setup.Root()
	ok(t, err)
	each(t, func(t *testing.T, w *way) {
		slug := w.another()
		run := func(args ...string) string {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), filepath.Join(root, "examples", "sophic", "sophic"), args...)
			cmd.Env = append(os.Environ(), "SOPHIC_PAT="+w.token(capture).text, "SOPHIC_WORKSPACE="+slug,
				"SOPHIC_API_URL="+w.base)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("sophic %v: %v\n%s", args, err, out)
			}
			return string(out)
		}
		if out := run("capture", "from a build"); !strings.Contains(out, `"text":"from a build"`) {
			t.Errorf("it prints %s", out)
		}
		if out := run("search", "from a build"); !strings.Contains(out, `"workspace":"`+slug+`"`) ||
			!strings.Contains(out, "from a build") {
			t.Errorf("it prints %s", out)
		}
	})
}

func TestSophic20_WhatTheAPIIsTold(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k, token := w.oldKey("read capture"), w.token(capture+`,"role":"member"`)
		workspace := regexp.MustCompile(`^ws_|^workspace_`)
		for what, x := range map[string]struct {
			a    *answer
			want map[string]string
		}{
			"a key": {
				w.get(documents, k.text), map[string]string{
					"Credential": "api_key",
					"Workspace":  team,
					"Subject":    "",
					"Scope":      "read",
					"Key":        k.id,
					"Env":        "live",
					"Plan":       team,
				},
			},
			"a token": {
				w.get(documents, token.text, inTeam), map[string]string{
					"Credential": "personal_access_token",
					"Workspace":  team,
					"Scope":      "read capture",
					"Role":       "member",
					"Key":        token.id,
					"Plan":       team,
				},
			},
		} {
			told := w.told(x.a)
			for name, want := range x.want {
				if got := told.Get("X-Auth-" + name); got != want {
					t.Errorf("%s: %s is %q, want %q", what, name, got, want)
				}
			}
			if id := told.Get("X-Auth-Workspace-Id"); !workspace.MatchString(id) {
				t.Errorf("%s: the workspace's id is %q", what, id)
			}
		}
		if told := w.told(w.get(documents, token.text, inTeam, header("X-Auth-Subject", "user_admin"),
			header("X-Auth-Role", "owner"))); told.Get("X-Auth-Role") != "member" ||
			!strings.HasPrefix(told.Get("X-Auth-Subject"), "user_") || told.Get("X-Auth-Subject") == "user_admin" ||
			len(told.Values("X-Auth-Subject")) != 1 {
			t.Errorf("a caller's own headers get through: %v", told)
		}
		// Introspection says the same.
		api := w.command(t, "", "client", "create", "--name", "API "+w.next(), "--resource-server",
			"--resource", w.resource(t))
		for what, x := range map[string]struct {
			text, workspace string
			want            map[string]any
		}{
			"a key": {
				k.text, "", map[string]any{"credential": "api_key", "workspace": team, "scope": "read", "sub": nil, "key_id": k.id},
			},
			"a token": {
				token.text, team, map[string]any{
					"credential": "personal_access_token",
					"workspace":  team,
					"scope":      "read capture",
					"role":       "member",
					"key_id":     token.id,
				},
			},
		} {
			form := "token=" + x.text
			if x.workspace != "" {
				form += "&workspace=" + x.workspace
			}
			a := w.request(http.MethodPost, "/oauth/introspect", "", form, func(q *http.Request) {
				q.SetBasicAuth(api["client_id"].(string), api["client_secret"].(string))
			})
			for name, want := range x.want {
				if got := a.member(name); got != want {
					t.Errorf("%s: introspection says %s %v, want %v: %s", what, name, got, want, a)
				}
			}
		}
	})
}

// resource returns the id of the vendor's first resource.
func (w *way) resource(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.folder, "doorward.yaml"))
	ok(t, err)
	m := regexp.MustCompile(`\n  - id: (\S+)`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the configuration names no resource")
	}
	return string(m[1])
}

// Clients by others do the same in TestReadmes and test/interop.
func TestSophic21_MCPClientsNeedNoClientID(t *testing.T) {
	const callback, verifier = "http://127.0.0.1:1/callback", "a-verifier-of-forty-three-characters-or-more-as-is-due"
	each(t, func(t *testing.T, w *way) {
		// It learns all that it needs from a refusal.
		refused := w.request(http.MethodPost, "/mcp", "", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		_, rest, _ := strings.Cut(refused.header.Get("WWW-Authenticate"), `resource_metadata="`)
		address, _, _ := strings.Cut(rest, `"`)
		u, err := url.Parse(address)
		ok(t, err)
		metadata := w.get(u.Path, "")
		mcp := w.api + "/mcp"
		if refused.status != http.StatusUnauthorized || metadata.text("resource") != mcp ||
			!strings.Contains(metadata.body, `"scopes_supported":["read"]`) {
			t.Fatalf("refused: %s; metadata: %s", refused, metadata)
		}
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.app+"/oauth/register", strings.NewReader(
			`{"redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none","client_name":"An assistant",`+
				`"grant_types":["authorization_code","refresh_token"],"scope":"read capture offline_access"}`))
		ok(t, err)
		q.Header.Set("Content-Type", "application/json")
		registered := send(t, client, q)
		if registered.status != http.StatusCreated || registered.text("scope") != "read offline_access" {
			t.Fatalf("registered: %s", registered)
		}

		slug := w.another()
		w.want("capturing", w.request(http.MethodPost, ingest, w.token(capture).text, `{"text":"of `+slug+`"}`,
			header("x-sophic-workspace", slug)), http.StatusCreated)
		sum := sha256.Sum256([]byte(verifier))
		form := url.Values{
			"response_type": {"code"}, "client_id": {registered.text("client_id")}, "redirect_uri": {callback},
			"scope": {"read offline_access"}, "resource": {mcp}, "prompt": {"consent"}, "code_challenge_method": {"S256"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
		}
		back := w.person.allow(t, w.app+"/oauth/authorize?"+form.Encode(), slug)
		tokens := w.request(http.MethodPost, "/oauth/token", "", url.Values{
			"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "code_verifier": {verifier},
			"client_id": {registered.text("client_id")}, "resource": {mcp},
		}.Encode())
		if tokens.text("scope") != "read" || tokens.text("refresh_token") == "" {
			t.Fatalf("tokens: %s", tokens)
		}
		call := func(tool, argument string) *answer {
			return w.request(http.MethodPost, "/mcp", tokens.text("access_token"),
				`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":{`+argument+`}}}`)
		}
		if a := call("search", `"query":"of "`); a.member("result.isError") != false || !strings.Contains(a.body, "of "+slug) {
			t.Errorf("it reads %s", a)
		}
		if a := call("capture", `"text":"by an assistant"`); a.member("result.isError") != true {
			t.Errorf("it captures: %s", a)
		}
		w.want("another path", w.request(http.MethodPost, ingest, tokens.text("access_token"), note1), http.StatusForbidden)
	})
}
