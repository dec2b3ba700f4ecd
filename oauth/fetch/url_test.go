package fetch

import (
	"strings"
	"testing"
)

func TestD03_URLsThatAreNeverFetched(t *testing.T) {
	const (
		form     = "must be an https URL of at most 500 characters"
		user     = "contains user information"
		fragment = "has a fragment"
		host     = "has a host that is neither a host name nor an IPv4 address"
		port     = "has a port"
		private  = "has a host that is on a private or reserved network"
	)
	long := "https://example.com/" + strings.Repeat("x", maxURL-len("https://example.com/"))
	for text, want := range map[string]string{
		"https://example.com": "", "https://example.com:8443/jwks.json?tenant=1": "", "HTTPS://Example.com/": "",
		"https://keys.xn--mnchen-3ya.example/": "", "https://93.184.216.34/": "", "https://[2606:4700::1111]:443/": "",
		"https://[::ffff:1.1.1.1]/": "", "https://localhost.example.com/": "", "https://mylocalhost/": "", long: "",

		"": form, "example.com": form, "http://example.com/": form, "ftp://example.com/": form, "file:///etc/passwd": form,
		"javascript:alert(1)": form, "data:application/json,{}": form, "//example.com/": form, "https": form,
		"https://münchen.example/": form, "https://example.com/a b": form, "https://example.com/\x00": form,
		"https://example.com/\n": form, " https://example.com/": form, "https://good.example\\@127.0.0.1/": form,
		"https://example.com/%zz": form, "https://[::1": form, "https://127%2e0.0.1/": form, "https://[fe80::1%25eth0]/": host,
		long + "x":               form,
		"https://me@example.com": user, "https://me:pw@example.com/": user, "https://@example.com/": user,
		"https://example.com/#": fragment, "https://example.com#x": fragment,
		"https:": host, "https://": host, "https:///x": host, "https:example.com": host, "https://:443/": host,
		"https://example.com./": host, "https://example..com/": host, "https://*.example.com/": host,
		"https://2130706433/": host, "https://0177.0.0.1/": host, "https://127.1/": host, "https://0x7f.1/": host,
		"https://0x7f000001/": host, "https://017700000001/": host, "https://127.0.0.1./": host, "https://localhost./": host,
		"https://example.com:0/": port, "https://example.com:/": port, "https://example.com:65536/": port,
		"https://127.0.0.1/": private, "https://127.0.0.1:8443/": private, "https://[::1]/": private,
		"https://[::ffff:7f00:1]/": private, "https://[::ffff:127.0.0.1]/": private, "https://[64:ff9b::7f00:1]/": private,
		"https://[2002:7f00:1::]/": private, "https://0.0.0.0/": private, "https://[::]/": private,
		"https://169.254.169.254/latest/meta-data": private, "https://10.0.0.1/": private, "https://192.168.0.1/": private,
		"https://[fe80::1]/": private, "https://[fd00:ec2::254]/": private,
		"https://localhost/": private, "https://LocalHost:8443/": private, "https://a.b.localhost/": private,
	} {
		got := New(Config{}).CheckURL(text).String()
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestD03_URLsOfAllowedRanges(t *testing.T) {
	here := New(Config{Allow: prefixes("127.0.0.1/32", "10.0.0.0/8")})
	for text, fine := range map[string]bool{
		"https://localhost:8443/": true, "https://x.localhost/": true, "https://127.0.0.1/": true, "https://10.1.2.3/": true,
		"https://[::ffff:a00:1]/": true,
		"https://[::1]/":          false, "https://127.0.0.2/": false, "https://127.1/": false, "https://192.168.0.1/": false,
	} {
		if wrong := here.CheckURL(text); wrong.IsZero() != fine {
			t.Errorf("%s: %q", text, wrong)
		}
	}
}
