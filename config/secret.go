package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// MasterSecrets returns the master secrets: those of the configuration or, if it has none, the one in SecretFile. If
// the file does not exist and the database is empty, it generates one; a database in use cannot be decrypted with a new
// secret. The result has at least one secret, each of at least 32 bytes.
func MasterSecrets(c Config, databaseEmpty bool) ([][]byte, error) {
	masters := make([][]byte, len(c.Secret))
	for i, s := range c.Secret {
		masters[i] = []byte(s)
	}
	if len(masters) > 0 {
		return masters, nil
	}
	name := c.SecretFile()
	switch secret, err := readSecret(name); {
	case err == nil:
		return [][]byte{secret}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if u, err := url.Parse(c.Issuer); err != nil || !IsLoopback(u.Hostname()) {
		return nil, fmt.Errorf(
			"secret is empty, and is generated only for an issuer on a loopback host; %s, and set it in the configuration",
			howToSecret,
		)
	}
	if !databaseEmpty {
		return nil, fmt.Errorf(
			"%s is missing, and the database needs the secret that was in it; restore the file, "+
				"or set that secret in the configuration",
			name,
		)
	}
	secret, err := createSecret(name)
	if err != nil {
		return nil, fmt.Errorf(
			"create the master secret: %w; make the folder writable, or set secret in the configuration",
			err,
		)
	}
	return [][]byte{secret}, nil
}

// readSecret reads a secret file. It refuses one that users other than the owner can access.
func readSecret(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read or written by other users; run: chmod 600 %s", name, name)
	}
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if err := checkSecret(secret); err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return []byte(secret), nil
}

// createSecret writes a new secret to a file, or returns the one that another process has just written. The file is
// complete or does not exist, even if the machine crashes.
func createSecret(name string) ([]byte, error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	random := make([]byte, 48)
	_, _ = rand.Read(random) // never fails
	secret := base64.StdEncoding.EncodeToString(random)

	f, err := os.CreateTemp(dir, ".secret-*") // with mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a leftover does no harm
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	// Unlike a rename, a link does not replace another process's file.
	if err := os.Link(f.Name(), name); errors.Is(err, fs.ErrExist) {
		return readSecret(name)
	} else if err != nil {
		return nil, err
	}
	return []byte(secret), syncDir(dir)
}

// syncDir writes the entries of a folder to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
