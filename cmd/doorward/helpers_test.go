package main

import (
	"os"
	"path/filepath"
	"testing"

	"doorward/config"
)

const testSecret = "0123456789abcdefghijklmnopqrstuvwxyz"

// environ returns a getenv that reads a map.
func environ(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// mustLoad loads a configuration that must have no faults.
func mustLoad(t *testing.T, text string, vars map[string]string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, nil, environ(vars))
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	return c
}
