package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/cmd/doorward/guide"
	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/test/rig"
	"doorward/test/setup"
)

var update = flag.Bool("update", false, "update the pages in testdata")

func TestDocsPages(t *testing.T) {
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"default": {"docs"},
		"rich":    {"docs", "--config", filepath.Join(testdata, "authentication-rich.yaml"), "--resource", "https://api.example.com/v1"},
		"keyless": {"docs", "--config", filepath.Join(testdata, "authentication-rich.yaml"), "--resource", "urn:example:other"},
	} {
		c := newCLI(t)
		got := c.must("", args...)
		if as := c.object("", args...); as["markdown"] != got {
			t.Errorf("%s: the page in JSON differs: %v", name, as)
		}
		file := filepath.Join(testdata, "authentication-"+name+".md")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: -want +got; to update, run: go test ./cmd/doorward -run DocsPages -update\n%s", file, diff)
		}
		if strings.Contains(got, "<no value>") || strings.Contains(got, "\n\n\n") ||
			regexp.MustCompile(`(?m)[ \t]+$`).MatchString(got) {
			t.Errorf("%s: has missing values, blank lines or trailing spaces", file)
		}
	}
}

func TestDocsForUnknownResourcesNameTheKnownOnes(t *testing.T) {
	c := newCLI(t)
	c.fails(
		2,
		`--resource: "https://x.example" is not configured; use one of: http://localhost:8080`,
		"",
		"docs",
		"--resource",
		"https://x.example",
	)
	c.writeConfig("resources: [{id: https://a.example}, {id: https://b.example, keys: {prefix: b}}]\n")
	c.fails(2, "add --resource with one of: https://a.example, https://b.example", "", "docs")
	c.must("", "docs", "--resource", "https://b.example")
}

// fenced returns the code blocks of a page by language, in order.
func fenced(page string) map[string][]string {
	blocks := map[string][]string{}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		blocks[m[1]] = append(blocks[m[1]], m[2])
	}
	return blocks
}

// vendor is a server with a workspace and an API behind it.
type vendor struct {
	*cli
	issuer, host string
}

// startVendor serves resources, with HOST and UPSTREAM replaced, and creates the workspace acme, owned by ann. The
// upstream responds with the caller.
func startVendor(t *testing.T, resources string) *vendor {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(
			w,
			`{"path":%q,"credential":%q,"workspace":%q}`,
			r.URL.Path,
			r.Header.Get("X-Auth-Credential"),
			r.Header.Get("X-Auth-Workspace"),
		)
	}))
	t.Cleanup(upstream.Close)
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := &vendor{cli: newCLI(t), issuer: "http://localhost:" + strconv.Itoa(port), host: "127.0.0.1:" + strconv.Itoa(port)}
	v.writeConfig(fmt.Sprintf("issuer: %s\nlisten: %s\nadmin_listen: \"\"\n", v.issuer, v.host) +
		strings.NewReplacer("HOST", v.host, "UPSTREAM", upstream.URL).Replace(resources))
	v.start()
	v.must(goodPassword, "user", "create", "--email", "ann@example.com", "--password-stdin")
	v.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	return v
}

// TestDocsSamplesRun runs the page's samples unchanged.
func TestDocsSamplesRun(t *testing.T) {
	setup.Long(t)
	v := startVendor(t, `resources:
- id: https://api.example.com
  hosts: [HOST]
  upstream: UPSTREAM
  objects: [accounts]
  routes:
  - {methods: [GET], path: "/v1/{object}/it's $HOME/**", scopes: ["{object}:read"]}
`)
	key := text(t, v.object("", "key", "create", "--workspace", "acme", "--name", "x", "--scope", "accounts:read"), "key")
	token := text(
		t,
		v.object("", "token", "create", "--user", "ann@example.com", "--name", "x", "--scope", "read"),
		"token",
	)
	blocks := fenced(v.must("", "docs"))
	python, err := setup.Python()
	setup.Need(t, err)
	node, err := setup.Node()
	if err != nil {
		node, err = exec.LookPath("node") // an older version is enough
	}
	setup.Need(t, err)
	php, err := setup.PHP()
	setup.Need(t, err)
	ruby, err := setup.Ruby()
	setup.Need(t, err)
	curl, err := exec.LookPath("curl")
	setup.Need(t, err)

	find := func(language, with string) string {
		for _, b := range blocks[language] {
			if strings.Contains(b, with) {
				return b
			}
		}
		t.Fatalf("no sample in %s with %s", language, with)
		return ""
	}
	const answer = `{"path":"/v1/accounts/it's $HOME","credential":"api_key","workspace":"acme"}`
	const refusal = `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`
	for _, sample := range []struct {
		language, file string
		command        []string
		variable       string
		answer         string
	}{
		{"sh", "sample.sh", []string{"sh"}, "$API_KEY", answer},
		{"js", "sample.mjs", []string{node}, "API_KEY", answer},
		{"python", "sample.py", []string{python}, "API_KEY", answer},
		{"go", "sample.go", []string{"go", "run"}, "API_KEY", answer},
		{"php", "sample.php", []string{php}, "API_KEY", answer},
		{"ruby", "sample.rb", []string{ruby}, "API_KEY", answer},
		{"sh", "personal.sh", []string{"sh"}, "$PERSONAL_TOKEN", strings.Replace(answer, "api_key", "personal_access_token", 1)},
	} {
		t.Run(sample.file, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, sample.file)
			writeFile(t, file, find(sample.language, sample.variable))
			execute := func(key string) (stdout, all string, err error) {
				var out, errs bytes.Buffer
				cmd := exec.CommandContext(t.Context(), sample.command[0], append(sample.command[1:], file)...)
				cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
				cmd.Env = append(
					os.Environ(),
					"API_KEY="+key,
					"PERSONAL_TOKEN="+key,
					"WORKSPACE=acme",
					"GOFLAGS=",
					"PATH="+filepath.Dir(curl)+string(os.PathListSeparator)+os.Getenv("PATH"),
				)
				err = cmd.Run()
				return out.String(), out.String() + errs.String(), err
			}
			good := key
			if strings.HasPrefix(sample.file, "personal") {
				good = token
			}
			if out, all, err := execute(good); err != nil || strings.TrimSpace(out) != sample.answer {
				t.Errorf("%v\n%s\nwant %s", err, all, sample.answer)
			}
			// With a bad key, the sample prints the API's error. All samples but curl's also fail.
			var failed *exec.ExitError
			if _, all, err := execute(good + "x"); !strings.Contains(all, refusal) ||
				errors.As(err, &failed) == (sample.language == "sh") {
				t.Errorf("with a bad key: %v\n%s", err, all)
			}
		})
	}
}

// TestDocsErrorsAreThoseOfTheGateway provokes each refusal on the page that does not need waiting, in each shape.
func TestDocsErrorsAreThoseOfTheGateway(t *testing.T) {
	var resources strings.Builder
	resources.WriteString("plans: {one: {hour: 1}}\nresources:\n")
	shapes := []string{"flat", "nested", "envelope"}
	for _, shape := range shapes {
		fmt.Fprintf(&resources, `- id: https://%s.example
  hosts: [%s.example]
  upstream: UPSTREAM
  errors: %s
  error_texts: {forbidden: Not for you}
  workspace_header: X-Team-Of-%s
  objects: [accounts]
  keys: {prefix: %s, test_plan: one}
  routes:
  - {methods: [GET], path: /v1/**, scopes: [read]}
  - {methods: [POST, PUT], path: "/v1/{object}/**", scopes: ["{object}:write"]}
`, shape, shape, shape, shape, shape)
	}
	v := startVendor(t, resources.String())
	for _, shape := range shapes {
		id := "https://" + shape + ".example"
		page := v.must("", "docs", "--resource", id)
		challenge := regexp.MustCompile(`(?m)^WWW-Authenticate: (.*)$`).FindStringSubmatch(page)[1]
		key := func(args ...string) (id, secret string) {
			made := v.object(
				"",
				append(
					[]string{
						"key",
						"create",
						"--workspace",
						"acme",
						"--name",
						"x",
						"--scope",
						"read",
						"--resource",
						"https://" + shape + ".example",
					},
					args...)...)
			return text(t, made, "id"), text(t, made, "key")
		}
		_, live := key()
		_, test := key("--test")
		revokedID, revoked := key()
		v.must("", "key", "revoke", revokedID)
		pausedID, paused := key()
		v.must("", "key", "pause", pausedID)
		personal := text(
			t,
			v.object("", "token", "create", "--user", "ann@example.com", "--name", "x", "--scope", "read", "--resource", id),
			"token",
		)

		for _, tc := range []struct {
			name, method, credential string
			times, status            int
		}{
			{"missing", "GET", "", 1, 401},
			{"unknown", "GET", live[:len(live)-1], 1, 401},
			{"revoked", "GET", revoked, 1, 401},
			{"permission", "POST", live, 1, 403},
			{"paused", "GET", paused, 1, 403},
			{"no workspace", "GET", personal, 1, 400},
			{"limit", "GET", test, 2, 429},
		} {
			var status int
			var body string
			var header http.Header
			for range tc.times {
				status, header, body = v.ask(t, tc.method, shape+".example", "/v1/accounts/1", tc.credential)
			}
			body = strings.ReplaceAll(body, revokedID, guide.ExampleKeyID)
			if wait := header.Get("Retry-After"); wait != "" {
				body = regexp.MustCompile(`\b`+wait+`\b`).ReplaceAllString(body, "27")
			}
			if status != tc.status ||
				!regexp.MustCompile(`(?m)^\*\*`+strconv.Itoa(status)+`\*\*: .*\n\n`+"```json\n"+regexp.QuoteMeta(body)+"\n").
					MatchString(page) {
				t.Errorf(
					"%s, %s: the gateway responds with %d %s, which is not on the page:\n%s",
					shape,
					tc.name,
					status,
					body,
					page,
				)
			}
			if tc.name == "permission" && header.Get("WWW-Authenticate") != challenge {
				t.Errorf("%s: challenge %s, and the page has %s", shape, header.Get("WWW-Authenticate"), challenge)
			}
		}
	}
}

// ask sends a request to the host of an API.
func (v *vendor) ask(t *testing.T, method, host, path, credential string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+v.host+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(response.Body)
	if err != nil || !json.Valid(body) {
		t.Fatalf("%v\n%s", err, body)
	}
	return response.StatusCode, response.Header, strings.TrimSpace(string(body))
}

// TestDocsStepsOfOAuthRun runs the page's OAuth steps with a user who allows the app, and its command that creates a key.
func TestDocsStepsOfOAuthRun(t *testing.T) {
	setup.Long(t)
	curl, err := exec.LookPath("curl")
	setup.Need(t, err)
	_, err = exec.LookPath("openssl")
	setup.Need(t, err)
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{RedirectURIs: []string{"https://app.example.net/callback"}})
	_, admin := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{Scopes: []string{"admin", "read"}})
	c := newCLI(t)
	c.writeConfig("issuer: " + r.Issuer + "\n")
	page := c.must("", "docs")
	blocks := fenced(page)
	vars := map[string]string{"CLIENT_ID": app.ID, "CLIENT_SECRET": app.Secret, "ADMIN_KEY": admin}
	shell := func(with, more string) string {
		for _, block := range blocks["sh"] {
			if !strings.Contains(block, with) {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-euc", block+more)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH") + string(os.PathListSeparator) + filepath.Dir(curl)}
			for name, value := range vars {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, block)
			}
			return string(out)
		}
		t.Fatalf("no block with %s", with)
		return ""
	}
	object := func(out string) map[string]any {
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return v
	}

	lines := strings.Split(shell("/oauth/authorize?", "\necho \"$VERIFIER\"\necho \"$STATE\"\n"), "\n")
	to, err := url.Parse(lines[0])
	if err != nil || !strings.HasPrefix(lines[0], r.Issuer+"/") {
		t.Fatal(lines[0], err)
	}
	browser := r.Browser().SignIn(r.Alice.Email)
	back := browser.Decide(browser.Authorize(to.Query()), "approve")
	if back.Param("state") != lines[2] || back.Param("iss") != r.Issuer {
		t.Errorf("the browser comes back to %v", back.Location)
	}
	vars["VERIFIER"], vars["CODE"] = lines[1], back.Param("code")
	got := object(shell("grant_type=authorization_code", ""))
	shown := object(blocks["json"][len(blocks["json"])-1])
	for name, value := range shown {
		if text, ok := value.(string); ok && strings.HasSuffix(text, "…") {
			if !strings.HasPrefix(fmt.Sprint(got[name]), strings.TrimSuffix(text, "…")) {
				t.Errorf("%s is %v, and the page has %s", name, got[name], text)
			}
		} else if got[name] != value {
			t.Errorf("%s is %v, and the page has %v", name, got[name], value)
		}
	}
	if len(got) != len(shown) {
		t.Errorf("the answer is %v, and the page has %v", got, shown)
	}
	vars["ACCESS_TOKEN"], vars["REFRESH_TOKEN"] = fmt.Sprint(got["access_token"]), fmt.Sprint(got["refresh_token"])
	if me := object(shell("/api/me", "")); me["email"] != r.Alice.Email {
		t.Errorf("who am I: %v", me)
	}
	if got = object(shell("grant_type=refresh_token", "")); got["access_token"] == vars["ACCESS_TOKEN"] {
		t.Errorf("refreshed: %v", got)
	}
	vars["ACCESS_TOKEN"], vars["REFRESH_TOKEN"] = fmt.Sprint(got["access_token"]), fmt.Sprint(got["refresh_token"])
	shell("/oauth/revoke", "")
	if me := object(shell("/api/me", "")); me["statusCode"] != 401.0 {
		t.Errorf("after it was revoked: %v", me)
	}
	if key := object(shell("/v1/api-keys", "")); !strings.HasPrefix(fmt.Sprint(key["key"]), "sk_live_") {
		t.Errorf("created %v", key)
	}
}
