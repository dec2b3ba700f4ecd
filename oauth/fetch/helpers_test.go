package fetch

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"doorward/test/setup"
)

// resolver returns a resolver that asks resolve instead of the network for the addresses of a name.
func resolver(resolve func(name string) []string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go answerQueries(there, resolve)
		return here, nil
	}}
}

// answerQueries is a DNS server on one connection (RFC 1035, section 4.2.2).
func answerQueries(conn net.Conn, resolve func(name string) []string) {
	defer conn.Close() //nolint:errcheck // it may be closed already
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(query) != nil || len(m.Questions) != 1 {
			return
		}
		q := m.Questions[0]
		answer := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true},
			Questions: m.Questions,
		}
		name := q.Name.String()
		for _, text := range resolve(name[:len(name)-1]) {
			header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
			switch a := netip.MustParseAddr(text); {
			case a.Is4() && q.Type == dnsmessage.TypeA:
				answer.Answers = append(answer.Answers,
					dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				answer.Answers = append(answer.Answers,
					dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		packed, err := answer.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)); err != nil {
			return
		}
	}
}

// always returns the same addresses for every name.
func always(addresses ...string) *net.Resolver {
	return resolver(func(string) []string { return addresses })
}

// listen listens on an address that the test needs, which is 127.0.0.1 instead of ::1 on a machine without IPv6. Of
// 127.0.0.0/8, macOS has only 127.0.0.1 until the others are set up.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		if host, port, _ := net.SplitHostPort(address); host == "::1" {
			l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		}
	}
	setup.Need(t, err)
	return l
}

// canary is a listener that must not be connected to.
type canary struct {
	listener net.Listener
	seen     atomic.Int64
	marked   chan struct{}
}

// newCanary listens on a loopback address and port, which may be 0.
func newCanary(t *testing.T, address string) *canary {
	t.Helper()
	l := listen(t, address)
	c := &canary{listener: l, marked: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var first [1]byte
			if _, err := io.ReadFull(conn, first[:]); err == nil && first[0] == '!' {
				close(c.marked)
				return
			}
			c.seen.Add(1)
			_ = conn.Close()
		}
	}()
	return c
}

func (c *canary) port() string {
	_, port, _ := net.SplitHostPort(c.listener.Addr().String())
	return port
}

// wantUntouched fails the test if anything was connected to. Connections are accepted in order, so those before the
// test's own are counted when that is accepted.
func (c *canary) wantUntouched(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it may be closed already
	if _, err := conn.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	<-c.marked
	if n := c.seen.Load(); n != 0 {
		t.Errorf("%d connections to %s", n, c.listener.Addr())
	}
}

// outside is the address that stands for a public one in tests, which connect to no other machine: Allow contains it.
const outside = "127.0.0.2"

// site is a server on the address outside, with the name api.example.com.
type site struct {
	*httptest.Server
	port  string
	roots *x509.CertPool
}

func newSite(t *testing.T, handler http.HandlerFunc) *site {
	t.Helper()
	l := listen(t, outside+":0")
	s := &site{Server: httptest.NewUnstartedServer(handler), roots: x509.NewCertPool()}
	_ = s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
	s.roots.AddCert(s.Certificate())
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	return s
}

func (s *site) url(path string) string { return "https://api.example.com:" + s.port + path }

// fetcher returns a Fetcher that reaches the site and no address that is not public.
func (s *site) fetcher(r *net.Resolver) *Fetcher {
	allow := []netip.Prefix{netip.MustParsePrefix(outside + "/32")}
	return newFetcher(Config{Allow: allow, Roots: s.roots}, parts{resolver: r})
}
