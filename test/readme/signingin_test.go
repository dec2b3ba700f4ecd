package readme

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"doorward/config"
	"doorward/test/providers"
	"doorward/test/rig"
	"doorward/test/setup"
	"doorward/web/signin"
)

// providerSection is a section of docs/signing-in.md about one provider.
var providerSection = regexp.MustCompile(`(?ms)^### (.+?)\n(.*?)(?:^##|\z)`)

// printedIn returns the code blocks of a text in a language.
func printedIn(text, language string) (list []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// The settings for each provider in docs/signing-in.md are valid as they are written, and with them a visitor comes
// back from the provider to the callback address that the page names. The providers are stand-ins, so their addresses
// and the values that a provider hands out are replaced.
func TestSigningInAsPrinted(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "signing-in.md"))
	if err != nil {
		t.Fatal(err)
	}
	stands := map[string]func(testing.TB) *providers.Server{
		"Google": providers.Google, "Microsoft": providers.Microsoft, "Apple": providers.Apple, "GitHub": providers.GitHub,
		"GitLab": providers.GitLab, "Any OpenID Connect issuer": providers.OIDC,
	}
	seen := 0
	rest := string(text)
	for {
		m := providerSection.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		heading, body := rest[m[2]:m[3]], rest[m[4]:m[5]]
		rest = rest[m[5]:]
		stand, ok := stands[heading]
		if !ok {
			continue
		}
		seen++
		t.Run(heading, func(t *testing.T) { tryProvider(t, body, stand(t)) })
	}
	if seen != len(stands) {
		t.Errorf("docs/signing-in.md describes %d providers, want %d", seen, len(stands))
	}
}

func tryProvider(t *testing.T, body string, stand *providers.Server) {
	t.Helper()
	const issuer = "https://auth.example.com"
	callback := ""
	if printed := printedIn(body, ""); len(printed) > 0 {
		callback = strings.TrimSpace(printed[0])
	}
	for _, block := range printedIn(body, "yaml") {
		key := filepath.Join(t.TempDir(), "key.p8")
		if err := os.WriteFile(key, []byte(stand.PrivateKey), 0o600); err != nil {
			t.Fatal(err)
		}
		block = strings.ReplaceAll(block, "/etc/doorward/AuthKey_FGHIJ67890.p8", key)
		file := filepath.Join(t.TempDir(), "doorward.yaml")
		whole := "issuer: " + issuer + "\nsecret: a-master-secret-of-thirty-two-bytes-or-more\n" +
			"database_url: sqlite:doorward.db\n" + block
		if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, nil, func(name string) string {
			if strings.HasSuffix(name, "_SECRET") && name != "DOORWARD_SECRET" {
				return "a secret of the provider"
			}
			return ""
		})
		if err != nil {
			t.Fatalf("%s: %v", block, err)
		}
		x := c.Providers[0]
		if want := issuer + "/login/" + x.ID + "/callback"; callback != "" && callback != want {
			t.Errorf("the page prints the callback %s, want %s", callback, want)
		}
		// Microsoft's second block is for one tenant.
		tenant := strings.Contains(x.Issuer, "99999999-")
		x.ClientID, x.ClientSecret, x.TeamID, x.KeyID = stand.ClientID, stand.ClientSecret, stand.TeamID, stand.KeyID
		x.Issuer = stand.Issuer()
		if tenant {
			x.Issuer = stand.TenantIssuer(providers.Tenant)
		}
		user := providers.Ada()
		if len(x.Domains) > 0 {
			user.Email = "ada@" + x.Domains[0]
		}
		user.Tenant = providers.Tenant
		stand.SetUser(user)
		stand.SetCallback(issuer + "/login/" + x.ID + "/callback")
		o := rig.WithEmail()
		o.Issuer, o.SignUp, o.Providers = issuer, signin.SignUpOpen, []config.Provider{x}
		comeBack(t, rig.Memory(t, o), x.ID)
	}
}

// comeBack goes to a provider and back.
func comeBack(t *testing.T, r *rig.Rig, id string) {
	t.Helper()
	b := r.Browser()
	page := b.Get("/login")
	leave := b.PostForm("/login/"+id, b.Form(page, "/login/"+id))
	if leave.Status != http.StatusSeeOther {
		t.Fatalf("to the provider: %d %s", leave.Status, rig.Plain(leave.Body))
	}
	to, params := providers.Visit(t, leave.Header.Get("Location"))
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	back := b.Get(u.Path + "?" + params.Encode())
	if id == "apple" {
		back = b.PostForm(u.Path, params)
	}
	if at := back.Header.Get("Location"); back.Status != http.StatusSeeOther || !strings.HasPrefix(at, "/signup/co") {
		t.Errorf("back from the provider: %d %s %s", back.Status, at, rig.Plain(back.Body))
	}
}
