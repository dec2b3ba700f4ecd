package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"doorward/test/setup"
)

// authority is a certificate authority of the test, with one certificate for every https server here.
type authority struct {
	file        string // its own certificate, in PEM
	certificate tls.Certificate
}

// newAuthority makes an authority. From now on, until the test ends, the programs that it starts trust it: Doorward,
// Node and Python.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Interop root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Interop"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{
		filepath.Join(t.TempDir(), "root.pem"),
		tls.Certificate{Certificate: [][]byte{leafDER, rootDER}, PrivateKey: key},
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	if err := os.WriteFile(a.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"} {
		t.Setenv(name, a.file)
	}
	return a
}

// serve runs an https server until the test ends, and returns its port.
func (a *authority) serve(t *testing.T, h http.Handler) (port string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.certificate}, MinVersion: tls.VersionTLS12}
	// The browser opens some connections before it trusts the certificate.
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// site is a Doorward behind a proxy that terminates TLS, as in production, with an API behind Doorward's own proxy.
type site struct {
	*server
	direct *server // the same, for requests of the test, past the proxy
	api    string  // the base URL of the API, which is the id of its resource too
}

// site starts a site with one user. The API answers GET /notes, which needs read.
func (a *authority) site(t *testing.T, configuration string) *site {
	t.Helper()
	notes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"notes":[],"for":%q}`, r.Header.Get("X-Auth-Subject"))
	}))
	t.Cleanup(notes.Close)
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	behind := fmt.Sprintf("http://127.0.0.1:%d", port)
	target, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	front := a.serve(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
	api := "127.0.0.1:" + front
	s := newServerAt(t, "https://localhost:"+front, port, "sqlite:data/doorward.db", fmt.Sprintf(`trusted_proxies: [127.0.0.1]
fetch: {allow: [127.0.0.1]}
resources:
  - id: https://%[1]s
    hosts: ["%[1]s"]
    upstream: %[2]s
    keys: {prefix: notes}
    routes: [{path: /notes, scopes: [read]}]
`, api, notes.URL)+configuration)
	s.begin()
	direct := *s
	direct.issuer = behind
	return &site{s, &direct, "https://" + api}
}
