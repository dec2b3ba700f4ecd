package brand

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestShadesKeepTextReadable(t *testing.T) {
	for _, accent := range []string{"#1f5f4c", "#000000", "#ffffff", "#ffdd00", "#ff0000", "#0000ff", "#808080", "#7fffd4"} {
		c, err := parseColour(accent)
		if err != nil {
			t.Fatal(err)
		}
		css, err := Shades(accent)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.SplitN(css, "@media", 2)
		for i, th := range []theme{light, dark} {
			set := map[string]colour{}
			for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(parts[i], -1) {
				if set[m[1]], err = parseColour(m[2]); err != nil {
					t.Fatal(err)
				}
			}
			for _, ground := range append([]string{set["accent-soft"].String()}, th.grounds...) {
				g, _ := parseColour(ground)
				for _, name := range []string{"accent", "accent-strong"} {
					if r := contrast(set[name], g); r < 4.5 {
						t.Errorf("%s: %s on %s has a contrast of %.2f", accent, name, ground, r)
					}
				}
			}
			if set["fill"] != c {
				t.Errorf("%s: buttons are %s", accent, set["fill"])
			}
			for _, name := range []string{"fill", "fill-strong"} {
				if r := contrast(set[name], set["on-fill"]); r < 4.5 {
					t.Errorf("%s: text on %s has a contrast of %.2f", accent, name, r)
				}
			}
		}
	}
	for _, wrong := range []string{"", "red", "#fff", "#12345g", "1f5f4c", "#1f5f4c ", "#1f5f4c00"} {
		if _, err := Shades(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestGroundsAreThoseOfTheStyleSheet(t *testing.T) {
	sheet, err := os.ReadFile("../templates/assets/doorward.css")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(sheet), "@media (prefers-color-scheme: dark)", 2)
	for i, th := range []theme{light, dark} {
		for j, name := range []string{"paper", "surface", "sunken"} {
			m := regexp.MustCompile(`--` + name + `: (#[0-9a-f]{6});`).FindStringSubmatch(parts[i])
			if m == nil || m[1] != th.grounds[j] {
				t.Errorf("--%s is %v, want %s", name, m, th.grounds[j])
			}
		}
	}
}

func TestLogosAreSmallImages(t *testing.T) {
	dir := t.TempDir()
	for name, x := range map[string]struct {
		body string
		ok   bool
	}{
		"plain.svg":   {`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>`, true},
		"comment.svg": {"<?xml version=\"1.0\"?>\n<!-- made by hand -->\n<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>\n", true},
		"page.svg":    {`<html><svg/></html>`, false},
		"cut.svg":     {`<svg xmlns="http://www.w3.org/2000/svg">`, false},
		"cut.png":     {"\x89PNG\r\n\x1a\nxx", false},
		"jpeg.png":    {"\xff\xd8\xff\xe0", false},
		"empty.svg":   {"", false},
		"large.svg":   {`<svg xmlns="http://www.w3.org/2000/svg">` + strings.Repeat(" ", 64<<10) + `</svg>`, false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(x.body), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLogo(path); (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadLogo(filepath.Join(dir, "none.svg")); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestBrandHasItsFiles(t *testing.T) {
	dir := t.TempDir()
	logo, sheet := filepath.Join(dir, "logo.svg"), filepath.Join(dir, "own.css")
	for path, body := range map[string]string{logo: `<svg xmlns="http://www.w3.org/2000/svg"/>`, sheet: "body { color: red }"} {
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := Load(Config{Name: "Northwind", Logo: logo, Accent: "#1f5f4c", Stylesheet: sheet})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{FileLogo, FileAccent, FileStylesheet} {
		if _, ok := b.Has(name); !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if _, ok := b.Has(FileLogoDark); ok {
		t.Error("there is a logo for dark pages")
	}
	if b, err := Load(Config{}); err != nil || b.Name != DefaultName || len(b.Files) != 0 {
		t.Errorf("the default brand: %+v, %v", b, err)
	}
}
