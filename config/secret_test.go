package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"doorward/oauth/input"
)

func secretConfig(t *testing.T) Config {
	t.Helper()
	c := Default()
	c.DatabaseURL = "sqlite:" + filepath.Join(t.TempDir(), "data", "doorward.db")
	return c
}

func TestSecretOfConfigurationIsTaken(t *testing.T) {
	c := secretConfig(t)
	c.Secret = []input.Secret{input.Secret(testSecret), input.Secret(testSecret + "2")}
	got, err := MasterSecrets(c, false)
	if err != nil || len(got) != 2 || string(got[0]) != testSecret || string(got[1]) != testSecret+"2" {
		t.Errorf("MasterSecrets gave %d secrets, %v", len(got), err)
	}
	if _, err := os.Stat(c.DataDir()); err == nil {
		t.Error("the data folder was made")
	}
}

func TestSecretIsMadeOnceAndStays(t *testing.T) {
	c := secretConfig(t)
	first, err := MasterSecrets(c, true)
	if err != nil || len(first) != 1 || len(first[0]) < 32 {
		t.Fatalf("MasterSecrets gave %d secrets, %v", len(first), err)
	}
	info, err := os.Stat(c.SecretFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	again, err := MasterSecrets(c, false)
	if err != nil || !bytes.Equal(again[0], first[0]) {
		t.Errorf("the second start has another secret, %v", err)
	}
	left, err := os.ReadDir(c.DataDir())
	if err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

// Two nodes that start at once in one folder must not end with a secret each.
func TestSecretMadeByManyAtOnceIsOne(t *testing.T) {
	c := secretConfig(t)
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			secret, err := MasterSecrets(c, true)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = string(secret[0])
		})
	}
	wg.Wait()
	for _, one := range got {
		if one != got[0] {
			t.Fatal("two of them have different secrets")
		}
	}
}

func TestSecretIsNotMade(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*testing.T, *Config)
		empty  bool
		want   string
	}{
		"into a database in use":      {func(*testing.T, *Config) {}, false, "is missing, and the database needs the secret"},
		"for an issuer others reach":  {func(_ *testing.T, c *Config) { c.Issuer = "https://auth.example.com" }, true, "only for an issuer on a loopback host"},
		"over one that others read":   {func(t *testing.T, c *Config) { writeSecret(t, c, testSecret, 0o644) }, true, "run: chmod 600"},
		"over one that is too short":  {func(t *testing.T, c *Config) { writeSecret(t, c, "short", 0o600) }, true, "has 5 bytes and needs 32"},
		"over one that is empty":      {func(t *testing.T, c *Config) { writeSecret(t, c, "", 0o600) }, true, "has 0 bytes and needs 32"},
		"where a folder has its name": {func(t *testing.T, c *Config) { mkdir(t, c.SecretFile()) }, true, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			c := secretConfig(t)
			tc.change(t, &c)
			if _, err := MasterSecrets(c, tc.empty); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("MasterSecrets gave %v, want %q", err, tc.want)
			}
		})
	}
}

func writeSecret(t *testing.T, c *Config, text string, mode os.FileMode) {
	t.Helper()
	mkdir(t, c.DataDir())
	if err := os.WriteFile(c.SecretFile(), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(name, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestDataFolderIsThatOfTheSQLiteFile(t *testing.T) {
	for url, want := range map[string]string{
		"sqlite:data/doorward.db": "data/secret", "sqlite:/srv/d.db": "/srv/secret", "sqlite:d.db": "secret", "postgres://h/d": "data/secret",
	} {
		if got := (Config{DatabaseURL: url}).SecretFile(); got != want {
			t.Errorf("secret of %s is in %s, want %s", url, got, want)
		}
	}
}
