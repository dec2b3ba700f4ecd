// Package fetch reads the URLs that outside parties supply, such as the jwks_uri of a client, without letting them reach
// the server's own machine or network through it. It does not know what the URLs are for: callers decide when to fetch,
// how often, and what an answer means. URLs that the operator configured do not need it.
package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// The bounds of one fetch.
const (
	// Timeout bounds all of a fetch: the name, the connection, and the answer up to its last byte.
	Timeout = 3 * time.Second
	// DefaultMaxBytes is the size of the largest body, unless the caller of Get sets another.
	DefaultMaxBytes = 64 << 10

	maxHeaderBytes  = 16 << 10
	maxConnsPerHost = 4 // of one name and port; others wait, within Timeout
)

// ErrRefused means that a URL, or an address that its host resolves to, is one that this server does not fetch from.
// Other errors of Get are about the answer, or that none came in time.
var ErrRefused = errors.New("this server does not fetch from it")

// Config says what is fetched from.
type Config struct {
	// Allow lists addresses to fetch from although they are not public. Empty: only public ones.
	Allow []netip.Prefix
	// Roots are the authorities whose certificates are accepted; nil: those of the system.
	//exhaustruct:optional
	Roots *x509.CertPool
	// Timeout bounds a fetch; zero: the constant Timeout.
	//exhaustruct:optional
	Timeout time.Duration
}

// Fetcher fetches URLs. It is safe for concurrent use, and keeps nothing between two fetches: no connections, no cookies
// and no answers.
type Fetcher struct {
	allow     []netip.Prefix
	timeout   time.Duration
	transport *http.Transport
}

// New returns a Fetcher. SSL_CERT_FILE replaces the roots of the system as usual. It ignores HTTPS_PROXY: a proxy would
// connect to addresses that are not checked here.
func New(c Config) *Fetcher { return newFetcher(c, parts{}) }

// parts are what tests replace.
type parts struct {
	resolver *net.Resolver // nil: the system's
	// dial replaces connecting, and with it the check of addresses; nil: nothing does.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func newFetcher(c Config, with parts) *Fetcher {
	timeout := cmp.Or(c.Timeout, Timeout)
	f := &Fetcher{allow: c.Allow, timeout: timeout}
	// The check is in the dialer because a name can resolve to another address each time that it is looked up. Here it
	// sees the address of the connection itself, for each address that the dialer tries.
	dialer := &net.Dialer{Timeout: timeout, Resolver: with.resolver, ControlContext: f.checkConnection}
	dial := dialer.DialContext
	if with.dial != nil {
		dial = with.dial
	}
	f.transport = &http.Transport{
		Proxy:       nil, // not http.ProxyFromEnvironment: see New
		DialContext: dial,
		TLSClientConfig: &tls.Config{
			RootCAs: c.Roots, MinVersion: tls.VersionTLS12,
		},
		// net/http lets a handshake go on when its fetch has ended, because others could use the connection.
		TLSHandshakeTimeout: 2 * timeout,
		// One document is fetched at a time. With HTTP/2, the server could send megabytes before they are read.
		Protocols:              onlyHTTP1(),
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small answer could unpack to a huge body; see also get
		MaxConnsPerHost:        maxConnsPerHost,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return f
}

func onlyHTTP1() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	return &p
}

// Get fetches an https URL, and returns the body and the header of an answer with status 200. accept is the value of the
// Accept header, and maxBytes the size of the largest body; 0 means DefaultMaxBytes. Redirects are not followed, and a
// compressed body is not read. An error is ErrRefused or says what went wrong, for the log: it would tell an outside
// party which machines answer here. It never contains what the server sent, except for numbers.
func (f *Fetcher) Get(
	ctx context.Context, address, accept string, maxBytes int64,
) (body []byte, header http.Header, err error) {
	if wrong := f.CheckURL(address); !wrong.IsZero() {
		return nil, nil, fmt.Errorf("fetch a URL: it %s: %w", wrong, ErrRefused)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil, fmt.Errorf("fetch a URL: %w", ErrRefused) // CheckURL has parsed it
	}
	late := fmt.Errorf("it took longer than %s: %w", f.timeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, late)
	defer cancel()
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	body, header, err = f.get(ctx, u, accept, maxBytes)
	if ctx.Err() != nil {
		// Even without an error: a body that was interrupted can look complete if it had no length.
		err = context.Cause(ctx)
	}
	if err != nil {
		// Without the query, which may contain a secret.
		return nil, nil, fmt.Errorf("fetch https://%s%s: %w", u.Host, u.EscapedPath(), err)
	}
	return body, header, nil
}

func (f *Fetcher) get(ctx context.Context, u *url.URL, accept string, most int64) ([]byte, http.Header, error) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	q.Header.Set("Accept", accept)
	q.Header.Set("Accept-Encoding", "identity")
	q.Header.Set("User-Agent", "Doorward")
	resp, err := f.transport.RoundTrip(q) // http.Client would follow redirects
	if err != nil {
		return nil, nil, withoutAnswer(err, connected.Load())
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	switch coding := strings.Join(resp.Header.Values("Content-Encoding"), ","); {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, nil, fmt.Errorf("it answered with a redirect (status %d), which is not followed", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("it answered with status %d", resp.StatusCode)
	case coding != "" && !strings.EqualFold(coding, "identity"):
		return nil, nil, errors.New("it answered with a Content-Encoding, although none was accepted")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, nil, withoutAnswer(err, true)
	case int64(len(body)) > most:
		return nil, nil, fmt.Errorf("its answer has more than %d bytes", most)
	}
	return body, resp.Header, nil
}

// withoutAnswer returns the error of a request for the log. Once there is a connection, errors of net/http can quote
// what the server sent, which may be from a program that was never meant to be read.
func withoutAnswer(err error, connected bool) error {
	var network net.Error
	switch {
	case !connected || errors.As(err, &network):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it closed the connection before its answer was complete")
	}
	return errors.New("its answer is not HTTP, or its header is too large")
}
