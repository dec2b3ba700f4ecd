package config

import (
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
