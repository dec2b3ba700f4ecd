package templates_test

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"doorward/locale"
	"doorward/templates"
)

var (
	update  = flag.Bool("update", false, "write the golden files")
	preview = flag.String("preview", "", "write all pages and assets to this folder, to look at them")
)

// contentHash is left out of golden files, so that they do not change with the style sheet.
var contentHash = regexp.MustCompile(`\?v=[0-9a-f]{12}`)

func render(t *testing.T, c templ.Component) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Render(context.Background(), &b); err != nil {
		t.Fatalf("render: %v", err)
	}
	return b.String()
}

// perLine starts a new line before each tag, so that golden files and their differences are easy to read.
func perLine(s string) string {
	return strings.TrimPrefix(strings.ReplaceAll(s, "<", "\n<"), "\n") + "\n"
}

func TestPagesAreAsBefore(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got := perLine(contentHash.ReplaceAllString(render(t, s.page), "?v=HASH"))
			file := filepath.Join("testdata", s.name+".html")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; run go test ./templates -update and look at the difference", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("page differs (-golden +now); if it should, run go test ./templates -update:\n%s", diff)
			}
		})
	}
}

var previewAsset = regexp.MustCompile(`"/(assets/[^"?]+)`)

// TestPreview writes the pages with their assets, as files that a browser can open without a server.
func TestPreview(t *testing.T) {
	folder := *preview
	if folder == "" {
		folder = t.TempDir()
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range samples() {
		body := contentHash.ReplaceAllString(render(t, s.page), "")
		body = strings.ReplaceAll(body, `"/assets/`, `"assets/`)
		if err := os.WriteFile(filepath.Join(folder, s.name+".html"), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(folder, "assets")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, templates.Assets); err != nil {
		t.Fatal(err)
	}
	for _, s := range samples() {
		for _, m := range previewAsset.FindAllStringSubmatch(contentHash.ReplaceAllString(render(t, s.page), ""), -1) {
			if _, err := os.Stat(filepath.Join(folder, m[1])); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
	}
}

// node is an element with its attributes.
type node struct {
	*html.Node
}

func (n node) attr(name string) string {
	v, _ := n.lookup(name)
	return v
}

func (n node) lookup(name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

func (n node) text() string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func elements(t *testing.T, page string) []node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	var list []node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			list = append(list, node{n})
		}
	}
	return list
}

func TestEveryControlHasALabel(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			all := elements(t, render(t, s.page))
			labels := map[string]string{}
			for _, e := range all {
				if e.Data == "label" {
					labels[e.attr("for")] = e.text()
				}
			}
			for _, e := range all {
				_, hidden := e.lookup("hidden")
				switch e.Data {
				case "input", "select", "textarea":
					if e.attr("type") == "hidden" || hidden {
						continue
					}
					if labels[e.attr("id")] == "" {
						t.Errorf("%s %q has no label", e.Data, e.attr("name"))
					}
				case "button", "a", "summary", "legend", "option", "h1", "h2":
					if e.text() == "" {
						t.Errorf("%s has no text: %v", e.Data, e.Attr)
					}
				case "img":
					if _, ok := e.lookup("alt"); !ok {
						t.Errorf("img without alt: %v", e.Attr)
					}
				}
			}
		})
	}
}

func TestIDsAreUniqueAndReferencesResolve(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			all := elements(t, render(t, s.page))
			ids := map[string]bool{}
			for _, e := range all {
				if id, ok := e.lookup("id"); ok {
					if ids[id] || id == "" || strings.ContainsAny(id, " \t\n") {
						t.Errorf("id %q is there twice, empty or has spaces", id)
					}
					ids[id] = true
				}
			}
			for _, e := range all {
				for _, name := range []string{"for", "aria-describedby", "aria-labelledby", "popovertarget", "data-copy"} {
					for _, id := range strings.Fields(e.attr(name)) {
						if !ids[id] {
							t.Errorf("%s %s=%q names no element", e.Data, name, id)
						}
					}
				}
				if id, ok := strings.CutPrefix(e.attr("href"), "#"); ok && !ids[id] {
					t.Errorf("link to #%s names no element", id)
				}
			}
		})
	}
}

func TestPagesKeepTheirContentSecurityPolicy(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			scripts := 0
			for _, e := range elements(t, render(t, s.page)) {
				for _, a := range e.Attr {
					if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
						t.Errorf("%s has the attribute %s", e.Data, a.Key)
					}
				}
				switch e.Data {
				case "style", "iframe", "object", "embed", "base":
					t.Errorf("page has the element %s", e.Data)
				case "script":
					scripts++
					if e.attr("nonce") != "bm9uY2U" {
						t.Error("script without the nonce of the page")
					}
				}
				url := e.attr("src")
				if e.Data == "link" {
					url = e.attr("href")
				}
				if url != "" && !strings.HasPrefix(url, "/assets/") {
					t.Errorf("%s loads %q, want something below /assets/", e.Data, url)
				}
				if e.Data == "form" && (!strings.HasPrefix(e.attr("action"), "/") || strings.HasPrefix(e.attr("action"), "//")) {
					t.Errorf("form posts to %q, want a path", e.attr("action"))
				}
			}
			if scripts > 1 {
				t.Errorf("%d scripts, want at most one", scripts)
			}
		})
	}
}

func TestNoScriptWithoutANonce(t *testing.T) {
	body := render(t, templates.LogoutPage(templates.LogoutView{}))
	if strings.Contains(body, "<script") {
		t.Error("a page without a nonce holds a script")
	}
}

func TestAssetsLoadNothingFromElsewhere(t *testing.T) {
	err := fs.WalkDir(templates.Assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := templates.Assets.ReadFile(name)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(body), `xmlns="http://www.w3.org/2000/svg"`, "")
		for _, bad := range []string{"://", "@import", "url("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %q", name, bad)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAssetPathChangesWithContentOnly(t *testing.T) {
	got := templates.AssetPath("mark.svg")
	if !regexp.MustCompile(`^/assets/mark\.svg\?v=[0-9a-f]{12}$`).MatchString(got) {
		t.Errorf("AssetPath = %q", got)
	}
	if templates.AssetPath("mark.svg") == templates.AssetPath("copy.js") {
		t.Error("two assets share a path")
	}
}

// hostile fills every string in a view with text that would be markup if it were not escaped.
func hostile(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[time.Time]():
			return
		case reflect.TypeFor[locale.Text]():
			v.Set(reflect.ValueOf(locale.Text{Format: attack + "%s", Args: []any{attack}}))
			return
		}
		for i := range v.NumField() {
			hostile(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		hostile(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			hostile(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, field := range []string{"name", "email", "password", "word", "confirm", "scope", "kind", "resource", "other"} {
			value := reflect.New(v.Type().Elem()).Elem()
			hostile(value)
			v.SetMapIndex(reflect.ValueOf(field), value)
		}
	case reflect.String:
		v.SetString(attack)
	}
}

const attack = `"'><script>alert(1)</script><img src=x onerror=alert(1)>javascript:alert(1)`

func TestHostileTextComesOutEscaped(t *testing.T) {
	pages := []any{
		templates.LoginPage, templates.SelectPage, templates.ConfirmPage, templates.LogoutPage, templates.SetupPage,
		templates.ConsentPage, templates.ErrorPage, templates.ProofPage, templates.SignInLinkPage,
		templates.ProfilePage, templates.SecurityPage, templates.ConnectedAppsPage, templates.AppsPage, templates.AppFormPage,
		templates.AppPage, templates.SecretPage, templates.AdminUsersPage, templates.AdminUserPage, templates.AdminAppsPage,
		templates.WorkspacesPage, templates.WorkspacePage, templates.MembersPage, templates.JoinPage,
		templates.UsagePage, templates.AuditPage,
		templates.AdminWorkspacesPage, templates.AdminAuditPage,
		templates.KeysPage, templates.KeyFormPage, templates.KeySecretPage, templates.KeyPage, templates.NoRolePage,
	}
	for _, p := range pages {
		f := reflect.ValueOf(p)
		t.Run(f.Type().In(0).Name(), func(t *testing.T) {
			v := reflect.New(f.Type().In(0))
			hostile(v.Elem())
			c := f.Call([]reflect.Value{v.Elem()})[0].Interface().(templ.Component)
			for _, e := range elements(t, render(t, c)) {
				if e.Data == "script" && !strings.HasPrefix(e.attr("src"), "/assets/") {
					t.Error("a script of the attacker is in the page")
				}
				for _, a := range e.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
						t.Errorf("%s got the attribute %s", e.Data, a.Key)
					}
				}
				if e.Data == "img" && !strings.HasPrefix(e.attr("src"), "/assets/") {
					t.Error("an image of the attacker is in the page")
				}
			}
		})
	}
}

func TestForeignAddressesCannotBeScripts(t *testing.T) {
	const bad = "javascript:alert(1)"
	v := consent()
	v.App.Site, v.SwitchURL = bad, bad
	app := templates.ConnectedApp{Name: "x", Site: bad, Verified: true}
	for name, c := range map[string]templ.Component{
		"consent": templates.ConsentPage(v),
		"error":   templates.ErrorPage(templates.ErrorView{Heading: locale.New("x"), BackURL: bad}),
		"apps":    templates.ConnectedAppsPage(templates.ConnectedAppsView{Apps: []templates.ConnectedApp{app}}),
	} {
		for _, e := range elements(t, render(t, c)) {
			if strings.HasPrefix(e.attr("href"), "javascript:") {
				t.Errorf("%s: link runs a script", name)
			}
		}
	}
}

func TestUnverifiedSiteIsNoLink(t *testing.T) {
	v := consent()
	v.App.Verified = false
	for _, e := range elements(t, render(t, templates.ConsentPage(v))) {
		if e.Data == "a" && e.attr("href") == v.App.Site {
			t.Error("the site that an unverified app names is a link")
		}
	}
}
