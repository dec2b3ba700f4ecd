package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	netmail "net/mail"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	gomail "github.com/wneessen/go-mail"
)

// received is an email that a server has accepted.
type received struct {
	from, to, user string
	encrypted      bool
	header         netmail.Header
	body           string
}

// server is a mail server in this process. A nil function accepts.
type server struct {
	rcpt func(try int) error               // answers RCPT
	data func(try int, c *smtp.Conn) error // answers DATA, after the email was recorded

	address string
	roots   *x509.CertPool

	mu           sync.Mutex
	tries, conns int
	got          []received
}

// startServer starts a mail server on loopback. mode is "plain", "starttls" or "tls".
func startServer(t *testing.T, mode string, s *server) *server {
	t.Helper()
	back := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns++
		return &session{s: s, c: c}, nil
	}))
	back.Domain, back.AllowInsecureAuth, back.EnableSMTPUTF8 = "mail.example.com", true, true
	back.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	config, roots := certificate(t)
	s.roots = roots
	var l net.Listener
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	switch mode {
	case "starttls":
		back.TLSConfig = config
	case "tls":
		l = tls.NewListener(l, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = back.Serve(l) })
	t.Cleanup(func() {
		_ = back.Close() // it does not know of the listener if Serve has not begun
		_ = l.Close()
		serving.Wait()
	})
	return s
}

// emails returns what the server has accepted so far.
func (s *server) emails() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// as are the options of a Sender that reaches the server under another name than its address, and trusts it.
func (s *server) as(host string) []gomail.Option {
	return []gomail.Option{
		gomail.WithDialContextFunc(func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, s.address)
		}),
		gomail.WithTLSConfig(&tls.Config{RootCAs: s.roots, ServerName: host, MinVersion: tls.VersionTLS12}),
	}
}

// certificate returns a certificate for 127.0.0.1 and mail.example.com, and what trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"mail.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12,
	}, roots
}

// session is one connection to a server.
type session struct {
	s       *server
	c       *smtp.Conn
	current received
	user    string
}

// Reset implements smtp.Session.
func (x *session) Reset() { x.current = received{} }

// Logout implements smtp.Session.
func (*session) Logout() error { return nil }

// AuthMechanisms implements smtp.AuthSession.
func (*session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (x *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "app" || password != "p@ss:word/1" {
			return smtp.ErrAuthFailed
		}
		x.user = user
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (x *session) Mail(from string, _ *smtp.MailOptions) error {
	_, encrypted := x.c.TLSConnectionState()
	x.current = received{from: from, user: x.user, encrypted: encrypted}
	return nil
}

// Rcpt implements smtp.Session.
func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	x.current.to += to
	x.s.mu.Lock()
	x.s.tries++
	try := x.s.tries
	x.s.mu.Unlock()
	if x.s.rcpt != nil {
		return x.s.rcpt(try)
	}
	return nil
}

// Data implements smtp.Session.
func (x *session) Data(r io.Reader) error {
	m, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	x.current.header, x.current.body = m.Header, string(body)
	x.s.mu.Lock()
	x.s.got = append(x.s.got, x.current)
	try := x.s.tries
	x.s.mu.Unlock()
	if x.s.data != nil {
		return x.s.data(try, x.c)
	}
	return nil
}
