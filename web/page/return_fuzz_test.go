package page

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// asBrowsersRead is what a browser makes of a Location before it looks for a host (WHATWG URL standard, basic URL
// parser): spaces and controls around it are dropped, tabs and line breaks inside as well, and a backslash is a slash.
func asBrowsersRead(to string) string {
	to = strings.TrimFunc(to, func(r rune) bool { return r <= ' ' })
	return strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(to)
}

var dotSegment = regexp.MustCompile(`(?i)(^|/)(\.|%2e){1,2}(/|$)`)

func FuzzSafeReturn(f *testing.F) {
	for _, to := range []string{
		"", "/", "/settings/security", "/settings/developer/apps/app_1?x=1#f", "/admin/users?q=a&after=b", "/settings/%41",
		"//evil.example", `/\evil.example`,
		`\/evil.example`, "/\t/evil.example", "/settings/\r\nX: y", "https://evil.example", "https:evil.example",
		"javascript:alert(1)", "/settings/../..//evil.example",
		"/settings/%2e%2e/x", "/settings//x", "/settings/.%2e/x", "/settings/;/x", "/settings/%", "/settings/%5c..%5c",
		"/settings/%00", "/settings/ü", "/?//evil.example",
		"/#//evil.example", "/login", "http://a@evil.example", "/settings/\x7f",
		"/settings/a?b=//evil.example#//evil.example", "/admin/%2f/x",
		"/join/dw_in_x", "/join//evil.example", "/join/../login", "/join", "/joint/x",
	} {
		f.Add(to)
	}
	base, err := url.Parse("https://auth.example.com/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, to string) {
		got := SafeReturn(to)
		if got != to && got != DefaultPage {
			t.Fatalf("%q became %q, neither itself nor the default", to, got)
		}
		if again := SafeReturn(got); again != got {
			t.Fatalf("%q is not taken a second time: %q", got, again)
		}
		for _, c := range []byte(got) {
			if c <= ' ' || c > '~' || c == '\\' {
				t.Fatalf("%q holds the byte %#x", got, c)
			}
		}
		for _, read := range []string{got, asBrowsersRead(got)} {
			if !strings.HasPrefix(read, "/") || strings.HasPrefix(read, "//") {
				t.Fatalf("%q is not a path for a browser: %q", got, read)
			}
			u, err := base.Parse(read)
			if err != nil {
				t.Fatalf("%q cannot be resolved: %v", got, err)
			}
			if u.Scheme != base.Scheme || u.Host != base.Host || u.User != nil {
				t.Fatalf("%q leads to %s", got, u)
			}
			if !strings.HasPrefix(u.Path, "/settings/") && !strings.HasPrefix(u.Path, "/admin/") &&
				!strings.HasPrefix(u.Path, "/join/") && u.Path != "/" {
				t.Fatalf("%q leads to the path %q", got, u.Path)
			}
		}
		path, _, _ := strings.Cut(got, "?")
		path, _, _ = strings.Cut(path, "#")
		if dotSegment.MatchString(path) || strings.Contains(path, "//") {
			t.Fatalf("%q is another path for a browser", got)
		}
	})
}
