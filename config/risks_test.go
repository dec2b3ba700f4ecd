package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestV75_CheckReportsSecretsThatOthersCanRead(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]bool{
		"secret: a master secret in the file, of 32 bytes\n":      true,
		"secret:\n  - env:X\n  - a master secret in the file\n":   true,
		"secret: env:DOORWARD_MASTER\n":                           false,
		"database_url: postgres://a:b@h/d\n":                      true,
		"database_url: postgres://a@h/d\n":                        false,
		"resources: [{trusted_issuers: [{hs256_secret: abc}]}]\n": true,
		"issuer: https://auth.example.com\n":                      false,
	} {
		file := filepath.Join(dir, "c.yaml")
		for _, mode := range []os.FileMode{0o600, 0o640, 0o604} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			var r risks
			r.checkFiles(file, Default())
			got := slices.ContainsFunc(r, func(risk string) bool { return strings.Contains(risk, "c.yaml: contains a secret") })
			if got != (want && mode != 0o600) {
				t.Errorf("mode %o, %q: %v", mode, text, r)
			}
		}
	}
}

func TestCheckReportsLimitsInMemoryOnAServerDatabase(t *testing.T) {
	for url, want := range map[string]bool{"sqlite:data/doorward.db": false, "postgres://a@h/d": true} {
		for limits, could := range map[string]bool{"": false, "database": false, "memory": true} {
			c := Default()
			c.DatabaseURL, c.Limits = url, limits
			var r risks
			r.checkConfig(c)
			got := slices.ContainsFunc(r, func(risk string) bool { return strings.HasPrefix(risk, "limits: ") })
			if got != (want && could) {
				t.Errorf("%s with limits %q: %v", url, limits, r)
			}
		}
	}
}

func TestD03_CheckReportsFetchingFromThisMachineOrItsLinks(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0/8": false, "192.168.1.1/32": false, "fd00::/8": false, "fc00::/7": false, "128.0.0.0/1": true,
		"127.0.0.1/32": true, "127.0.0.0/8": true, "0.0.0.0/1": true, "0.0.0.0/8": true, "::1/128": true, "::/64": true,
		"169.254.169.254/32": true, "169.0.0.0/8": true, "fe80::/64": true, "fe80::1/128": true, "8000::/1": true,
	} {
		c := Default()
		c.Fetch.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix(text)}
		var r risks
		r.checkConfig(c)
		got := slices.ContainsFunc(r, func(risk string) bool { return strings.HasPrefix(risk, "fetch.allow[1]: "+text+" contains ") })
		if got != want {
			t.Errorf("%s: %v", text, r)
		}
	}
}
