package interop

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"doorward/test/setup"
)

// apacheFiles runs an Apache that protects files with its module mod_oauth2, which asks our introspection endpoint.
func apacheFiles(t *testing.T, s *server, api credentials) string {
	t.Helper()
	// By default the module caches an answer for five minutes. Its own oauth2_claim compares the whole of scope with one
	// value; an expression finds the value in it. Apache evaluates the expression once before it looks for a user, and it
	// must not refuse the request then.
	return apache(t, fmt.Sprintf(`<Location /files/>
AuthType oauth2
OAuth2TokenVerify introspect %s/oauth/introspect introspect.auth=client_secret_basic&client_id=%s&client_secret=%s&expiry=0
OAuth2TargetPass envs=true&remote_user_claim=sub
Require valid-user
Header set X-Subject "expr=%%{REMOTE_USER}"
</Location>
<Location /files/write/>
AuthzSendForbiddenOnFailure On
<RequireAll>
Require valid-user
Require expr "-z %%{reqenv:OAUTH2_CLAIM_active} || %%{reqenv:OAUTH2_CLAIM_scope} =~ /(^| )write( |$)/"
</RequireAll>
</Location>
`, s.issuer, api.ID, api.Secret)) + "/files"
}

// apacheSignedFiles runs an Apache that protects files with mod_oauth2, which verifies signed tokens with our public
// keys.
func apacheSignedFiles(t *testing.T, s *server, _ credentials) string {
	t.Helper()
	// The module checks the signature and the time. The configuration must check the issuer and the audience, with
	// expressions for the reason given above.
	return apache(t, fmt.Sprintf(`<Location /files/>
AuthType oauth2
OAuth2TokenVerify jwks_uri %s/oauth/jwks verify.exp=required
OAuth2TargetPass envs=true&remote_user_claim=sub
<RequireAll>
Require valid-user
Require expr "-z %%{reqenv:OAUTH2_CLAIM_sub} || %%{reqenv:OAUTH2_CLAIM_iss} == '%[1]s'"
Require expr "-z %%{reqenv:OAUTH2_CLAIM_sub} || %%{reqenv:OAUTH2_CLAIM_aud} == '%[2]s'"
</RequireAll>
Header set X-Subject "expr=%%{REMOTE_USER}"
</Location>
<Location /files/write/>
AuthMerging And
AuthzSendForbiddenOnFailure On
Require expr "-z %%{reqenv:OAUTH2_CLAIM_sub} || %%{reqenv:OAUTH2_CLAIM_scope} =~ /(^| )write( |$)/"
</Location>
`, s.issuer, signedResource)) + "/files"
}

func modOAuth2Version(t *testing.T) string {
	t.Helper()
	return dpkgVersion(t, "libapache2-mod-oauth2")
}

// revoke revokes everything issued from one consent (RFC 7009).
func revoke(t *testing.T, s *server, c credentials, token *oauth2.Token) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.issuer+"/oauth/revoke",
		strings.NewReader(url.Values{"token": {token.RefreshToken}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(c.ID, c.Secret)
	if status := do(t, request, nil); status != http.StatusOK {
		t.Fatalf("revocation answers %d", status)
	}
}

// apache starts a private Apache with two files and a configuration, and returns its address. It stops with the test,
// or else with the process.
func apache(t *testing.T, configuration string) (address string) {
	t.Helper()
	program, modules, err := setup.Apache()
	setup.Need(t, err)
	dir, err := os.MkdirTemp("", "doorward-apache-")
	if err != nil {
		t.Fatal(err)
	}
	remove, err := setup.Sweep(dir, `cat "$1/pid"`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = remove() })
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))

	var b strings.Builder
	fmt.Fprintf(&b, "ServerRoot %q\nDefaultRuntimeDir %[1]q\nDocumentRoot \"%[1]s/www\"\n", dir)
	fmt.Fprintf(&b, "ServerName 127.0.0.1\nListen %s\nPidFile pid\nErrorLog log\nMutex \"file:%s\"\n", address, dir)
	for _, name := range []string{"mpm_event", "unixd", "authn_core", "authz_core", "authz_user", "headers", "oauth2"} {
		fmt.Fprintf(&b, "<IfModule !%s_module>\nLoadModule %[1]s_module %s/mod_%[1]s.so\n</IfModule>\n", name, modules)
	}
	b.WriteString(configuration)
	// -X: one process, in the foreground. It does not need to be root, so it is not.
	server := exec.CommandContext(t.Context(), program, "-X", "-f", filepath.Join(dir, "httpd.conf"))
	server.Dir = dir
	owned := func(string) {}
	if os.Geteuid() == 0 {
		id := unprivileged(t)
		server.SysProcAttr = &syscall.SysProcAttr{Credential: id}
		owned = func(path string) {
			if err := os.Chown(path, int(id.Uid), int(id.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	owned(dir)
	if err := os.MkdirAll(filepath.Join(dir, "www", "files", "write"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"httpd.conf":               b.String(),
		"www/files/note.txt":       "a note\n",
		"www/files/write/note.txt": "a note\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		owned(path)
	}
	var said strings.Builder
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = server.Wait() // its log says how it ended
		close(exited)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-exited
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("Apache wrote:\n%s%s", said.String(), log)
		}
	})
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			return "http://" + address
		}
		select {
		case <-exited:
			t.Fatal("Apache ended")
		case <-tick.C:
		}
	}
}

// unprivileged returns the account nobody, which programs use that must not have any rights.
func unprivileged(t *testing.T) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
