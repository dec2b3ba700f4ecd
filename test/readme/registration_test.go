package readme

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

// TestRegistrationAsPrinted does what docs/connecting-an-app.md says about apps that were not registered before, block by
// block, in an empty folder: the commands, and the app in both forms, with a browser for its user. Only the addresses are
// changed.
func TestRegistrationAsPrinted(t *testing.T) {
	setup.Long(t)
	tab := browser.New(t)
	tab.TrustCertificates()
	folder := t.TempDir()
	s := newSecured(t, folder)
	env := withPackages(t)
	if err := os.Symlink(nodePackages(t), filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	x := open(t, folder, append(env, "NODE_EXTRA_CA_CERTS="+s.roots, "CURL_CA_BUNDLE="+s.roots,
		"INITIAL_ACCESS_TOKEN="+s.token))
	all := blocks(strings.NewReplacer("https://auth.example.com", s.issuer, "https://app.example.net", s.site.URL).
		Replace(chapter(t, page(t, "docs/connecting-an-app.md"), "Without prior registration")))
	next := func(language, contains string) block {
		t.Helper()
		if len(all) == 0 || all[0].language != language || !strings.Contains(all[0].text, contains) {
			t.Fatalf("the next block is not the one with %s, but: %+v", contains, all)
		}
		b := all[0]
		all = all[1:]
		return b
	}
	save := func(b block) {
		t.Helper()
		name := regexp.MustCompile("`([a-z]+\\.(?:mjs|json))`").FindStringSubmatch(b.before)
		if name == nil {
			t.Fatalf("the page does not say where to save this:\n%s", b.text)
		}
		if err := os.WriteFile(filepath.Join(folder, name[1]), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	registered := x.run(next("sh", "/oauth/register").text)
	if got, want := withoutSecrets(t, registered), withoutSecrets(t, next("json", "registration_client_uri").text); got != want {
		t.Errorf("the answer to the registration is\n%s\nand the page shows\n%s", got, want)
	}
	changed := x.run(next("sh", "-X PUT").text)
	if before, after, ok := strings.Cut(changed, "\n"); !ok || !strings.Contains(before, `"client_name":"Fieldnotes"`) ||
		!strings.Contains(after, `"client_name":"Fieldnotes 2"`) {
		t.Errorf("read and changed: %s", changed)
	}
	x.run(next("sh", "-X DELETE").text)
	if gone := x.run("registration\n"); !strings.Contains(gone, "invalid_token") {
		t.Errorf("the deleted registration: %s", gone)
	}

	s.document.Store([]byte(next("json", "client_name").text))
	forms := []block{next("js", "dynamicClientRegistration"), next("js", s.site.URL+"/client.json")}
	save(next("js", "createServer"))
	login := next("sh", "node login.mjs").text
	var ids []string
	for i, form := range []block{forms[0], forms[0], forms[1]} { // the second time, the app uses what it has kept
		save(form)
		from := len(x.text())
		x.paste(login)
		start := x.await(from, `open (https://\S+)\n`)[1]
		tab.Goto(start)
		if i == 0 {
			tab.Fill(`[name=email]`, "ann@example.com")
			tab.Fill(`[name=password]`, "four tall poplars at noon")
			tab.Click(`form[action="/login"] [type=submit]`)
		}
		who := "Allow Fieldnotes?"
		if i == 2 {
			who = "Allow " + strings.TrimPrefix(s.site.URL, "https://") + "?"
		}
		if text := tab.Text("main"); !strings.Contains(text, who) || !strings.Contains(text, "Fieldnotes") {
			t.Errorf("the consent page lacks %q:\n%s", who, text)
		}
		tab.Click(`[name=decision][value=approve]`)
		tokens := x.await(from, `\n(\{.*"refresh_token".*\})\n`)[1]
		var got struct {
			Refresh string `json:"refresh_token"`
			Scope   string `json:"scope"`
		}
		if err := json.Unmarshal([]byte(tokens), &got); err != nil || got.Refresh == "" || got.Scope != "read" {
			t.Errorf("the app shows %s", tokens)
		}
		u, err := url.Parse(start)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.Query().Get("client_id"))
		x.run("true\n") // the app has ended
	}
	if ids[0] != ids[1] || !strings.HasPrefix(ids[0], "app_") || ids[2] != s.site.URL+"/client.json" {
		t.Errorf("the app has the ids %v", ids)
	}
	if len(all) > 0 {
		t.Errorf("blocks that no test runs: %+v", all)
	}
}

// withoutSecrets returns the members of a JSON object, sorted, without the values that differ each time.
func withoutSecrets(t *testing.T, text string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var lines []string
	for name, value := range m {
		shown, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		one := regexp.MustCompile(`app_[0-9a-f-]+|dw_ra_[^"]+|^\d+$`).ReplaceAllString(string(shown), "~")
		lines = append(lines, fmt.Sprintf("%s: %s", name, one))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// nodePackages returns the folder of the installed Node packages.
func nodePackages(t *testing.T) string {
	t.Helper()
	dir, err := setup.NodePackage("openid-client")
	setup.Need(t, err)
	return filepath.Dir(dir)
}

// secured is a Doorward behind TLS that accepts apps without prior registration, and the site of such an app.
type secured struct {
	issuer   string
	site     *httptest.Server
	document atomic.Value // []byte: what the site serves as client.json
	roots    string       // the file with the certificate of both
	token    string       // for three registrations
}

func newSecured(t *testing.T, folder string) *secured {
	t.Helper()
	s := &secured{roots: filepath.Join(folder, "roots.pem")}
	s.site = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := s.document.Load().([]byte)
		if r.URL.Path != "/client.json" || !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	}))
	t.Cleanup(s.site.Close)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.site.Certificate().Raw})
	if err := os.WriteFile(s.roots, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	listen := "127.0.0.1:" + freePort(t)
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: listen})
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
	t.Cleanup(front.Close)
	s.issuer = front.URL
	configuration := fmt.Sprintf(`issuer: %s
listen: %s
admin_listen: ""
trusted_proxies: 127.0.0.1
secret: a-master-secret-of-thirty-two-bytes-or-more
registration: token
metadata_documents: [%q]
fetch: {allow: 127.0.0.1}
resources:
  - id: https://api.example.com
    scopes:
      read:  {text: Read your notes}
      write: {text: Write new notes}
    open_registration: read
`, s.issuer, listen, strings.TrimPrefix(s.site.URL, "https://"))
	if err := os.WriteFile(filepath.Join(folder, "doorward.yaml"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := setup.Doorward(t)
	env := append(withPackages(t), "DOORWARD_CONFIG=doorward.yaml", "SSL_CERT_FILE="+s.roots)
	server := open(t, folder, env)
	server.paste("'" + binary + "' serve\n")
	server.await(0, `"msg":"ready"`)
	command := func(stdin string, args ...string) []byte {
		t.Helper()
		c := exec.CommandContext(t.Context(), binary, args...)
		c.Dir, c.Env, c.Stdin = folder, env, strings.NewReader(stdin)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("doorward %v: %v\n%s", args, err, out)
		}
		return out
	}
	command("four tall poplars at noon\n", "user", "create", "--email", "ann@example.com", "--name", "Ann", "--password-stdin")
	var created struct{ Token string }
	if err := json.Unmarshal(command("", "registration-token", "create", "--uses", "3", "--json"), &created); err != nil {
		t.Fatal(err)
	}
	s.token = created.Token
	return s
}
