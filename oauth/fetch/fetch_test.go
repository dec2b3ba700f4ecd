package fetch

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// answer returns a handler that answers with a body.
func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestGetReturnsBodyAndHeader(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); got != "application/json" {
			t.Errorf("Accept is %q", got)
		}
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding is %q", got)
		}
		if got := r.Header.Get("Cookie"); got != "" {
			t.Errorf("Cookie is %q", got)
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Encoding", "Identity")
		w.Header().Set("Set-Cookie", "a=b; Path=/")
		_, _ = io.WriteString(w, `{"keys":[]} `+r.RequestURI)
	})
	f := s.fetcher(always(outside))
	for range 2 { // the second has no cookie either
		body, header, err := f.Get(t.Context(), s.url("/jwks?x=%20"), "application/json", 0)
		if err != nil || string(body) != `{"keys":[]} /jwks?x=%20` || header.Get("Cache-Control") != "max-age=60" {
			t.Errorf("got %q, %v, %v", body, header, err)
		}
	}
}

func TestT60_AnAnswerThatIsNot200IsAnError(t *testing.T) {
	for _, status := range []int{201, 203, 204, 206, 304, 400, 401, 404, 429, 500, 503} {
		s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				_, _ = io.WriteString(w, "c4n4ry")
			}
		})
		body, header, err := s.fetcher(always(outside)).Get(t.Context(), s.url("/p?q=s3cret"), "*/*", 0)
		if err == nil || errors.Is(err, ErrRefused) || body != nil || header != nil {
			t.Fatalf("status %d: %q, %v, %v", status, body, header, err)
		}
		text := err.Error()
		if !strings.Contains(text, s.url("/p")+": it answered with") || !strings.Contains(text, fmt.Sprint(status)) ||
			strings.Contains(text, "c4n4ry") || strings.Contains(text, "s3cret") {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// What is not HTTP may be a program that was never meant to be read, so errors do not quote it.
func TestErrorsDoNotQuoteTheServer(t *testing.T) {
	for name, text := range map[string]string{
		"banner":       "220 c4n4ry ESMTP\r\n",
		"status":       "HTTP/1.1 2c4n4ry\r\n\r\n",
		"header":       "HTTP/1.1 200 OK\r\nc4n4ry\r\n\r\n",
		"length":       "HTTP/1.1 200 OK\r\nContent-Length: c4n4ry\r\n\r\n",
		"coding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: c4n4ry\r\n\r\n",
		"chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc4n4ry\r\n",
		"end":          "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nc4n4ry",
		"none":         "",
		"large header": "HTTP/1.1 200 OK\r\nX: c4n4ry" + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n{}",
		"many headers": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: c4n4ry\r\n", maxHeaderBytes/10) + "\r\n{}",
		"informational": strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: c4n4ry\r\n\r\n", maxHeaderBytes/10) +
			"HTTP/1.1 200 OK\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close() //nolint:errcheck // it may be closed already
				_, _ = io.WriteString(conn, text)
			})
			body, _, err := s.fetcher(always(outside)).Get(t.Context(), s.url("/"), "*/*", 0)
			if err == nil || strings.Contains(err.Error(), "c4n4ry") || errors.Is(err, ErrRefused) {
				t.Fatalf("got %q, %v", body, err)
			}
			if ended := name == "end" || name == "none"; ended != strings.Contains(err.Error(), "closed the connection") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestGetVerifiesTheCertificate(t *testing.T) {
	s := newSite(t, answer("{}"))
	s.roots = x509.NewCertPool()
	_, _, err := s.fetcher(always(outside)).Get(t.Context(), s.url("/"), "*/*", 0)
	if unknown := new(x509.UnknownAuthorityError); !errors.As(err, unknown) {
		t.Errorf("without the root: %v", err)
	}
	s.roots.AddCert(s.Certificate())
	_, _, err = s.fetcher(always(outside)).Get(t.Context(), "https://example.org:"+s.port, "*/*", 0)
	if other := new(x509.HostnameError); !errors.As(err, other) {
		t.Errorf("for another name: %v", err)
	}
}

func TestD04_NoProxyIsUsed(t *testing.T) {
	if New(Config{}).transport.Proxy != nil {
		t.Error("a proxy would connect to addresses that are not checked")
	}
}

// Every address of this machine is allowed here, so that only the redirect can be what is refused.
func TestD04_D05_NoRedirectIsFollowed(t *testing.T) {
	c := newCanary(t, "127.0.0.1:0")
	for name, target := range map[string]string{
		"private": "https://127.0.0.1:" + c.port() + "/", "http": "http://127.0.0.1:" + c.port() + "/", "none": "",
		"name": "https://other.example.com:" + c.port() + "/", "not a URL": "://", "itself, a hundred times": "/again",
	} {
		for _, status := range []int{300, 301, 302, 303, 307, 308} {
			var requests atomic.Int64
			s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
				if target != "" && requests.Add(1) <= 100 {
					w.Header().Set("Location", target)
				}
				w.WriteHeader(status)
			})
			f := newFetcher(Config{Allow: prefixes("127.0.0.0/8"), Roots: s.roots}, parts{
				resolver: resolver(func(name string) []string {
					if name == "api.example.com" {
						return []string{outside}
					}
					return []string{"127.0.0.1"}
				}),
			})
			_, _, err := f.Get(t.Context(), s.url("/"), "*/*", 0)
			if err == nil || !strings.Contains(err.Error(), "redirect") || requests.Load() > 1 {
				t.Errorf("%s, %d: %d requests, %v", name, status, requests.Load(), err)
			}
		}
	}
	c.wantUntouched(t)
}

func TestT60_D05_ABodyEndsAtItsBound(t *testing.T) {
	for _, tc := range []struct {
		size int
		most int64
		fits bool
	}{
		{0, 0, true},
		{DefaultMaxBytes, 0, true},
		{DefaultMaxBytes + 1, 0, false},
		{5000, 5000, true},
		{5001, 5000, false},
		{DefaultMaxBytes + 1, DefaultMaxBytes + 1, true},
	} {
		for _, length := range []bool{true, false} {
			s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
				if length {
					w.Header().Set("Content-Length", fmt.Sprint(tc.size))
				} else {
					w.(http.Flusher).Flush()
				}
				_, _ = w.Write(bytes.Repeat([]byte("x"), tc.size))
			})
			body, _, err := s.fetcher(always(outside)).Get(t.Context(), s.url("/"), "*/*", tc.most)
			if tc.fits && (err != nil || len(body) != tc.size) || !tc.fits && (err == nil || body != nil) {
				t.Errorf("%+v, with length %v: %d bytes, %v", tc, length, len(body), err)
			}
		}
	}
}

func TestT60_D05_AGigabyteIsNotRead(t *testing.T) {
	const gigabyte = 1 << 30
	for _, length := range []bool{true, false} {
		var written atomic.Int64
		done := make(chan struct{})
		block := bytes.Repeat([]byte("x"), 32<<10)
		s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
			defer close(done)
			if length {
				w.Header().Set("Content-Length", fmt.Sprint(gigabyte))
			}
			for written.Load() < gigabyte {
				n, err := w.Write(block)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		f := s.fetcher(always(outside))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body, _, err := f.Get(t.Context(), s.url("/"), "*/*", 0)
		if err == nil || body != nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
		<-done
		runtime.ReadMemStats(&after)
		// The buffers of the sockets hold some megabytes.
		if n := written.Load(); n > 32<<20 {
			t.Errorf("the server could send %d bytes", n)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
			t.Errorf("%d bytes of memory were allocated", n)
		}
	}
}

func TestD05_ACompressedBodyIsNotRead(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil || bomb.Len() > DefaultMaxBytes {
		t.Fatal(bomb.Len(), err)
	}
	for _, coding := range []string{"gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "gzip, gzip"} {
		s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); strings.Contains(got, "gzip") {
				t.Errorf("Accept-Encoding is %q", got)
			}
			w.Header().Set("Content-Encoding", coding)
			_, _ = w.Write(bomb.Bytes())
		})
		body, _, err := s.fetcher(always(outside)).Get(t.Context(), s.url("/"), "*/*", 0)
		if err == nil || body != nil || !strings.Contains(err.Error(), "Content-Encoding") {
			t.Errorf("%s: %d bytes, %v", coding, len(body), err)
		}
	}
}

// piped returns a Fetcher whose connections lead to serve, over TLS unless plain, so that it can run in a bubble of
// synctest.
func piped(t *testing.T, plain bool, serve func(net.Conn)) *Fetcher {
	t.Helper()
	s := httptest.NewUnstartedServer(nil) // it is not started
	s.StartTLS()
	s.Close()
	config, roots := &tls.Config{Certificates: s.TLS.Certificates}, x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return newFetcher(Config{Roots: roots}, parts{
		dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close() //nolint:errcheck // it may be closed already
				if plain {
					serve(there)
					return
				}
				serve(tls.Server(there, config))
			}()
			return here, nil
		},
	})
}

// gone returns when the other side has closed a connection.
func gone(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestT60_D05_ASlowAnswerIsEndedAfterThreeSeconds(t *testing.T) {
	// The other side reads all the time, because closing TLS writes an alert, for which a pipe has no buffer.
	drip := func(conn net.Conn, first, each string) {
		closed := make(chan struct{})
		if _, isTLS := conn.(*tls.Conn); isTLS {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
		}
		go func() { gone(conn); close(closed) }()
		if _, err := io.WriteString(conn, first); err != nil {
			return
		}
		for ticks := time.Tick(time.Second); ; {
			select {
			case <-closed:
				return
			case <-ticks:
			}
			if _, err := io.WriteString(conn, each); err != nil {
				return
			}
		}
	}
	for name, tc := range map[string]struct {
		plain bool
		serve func(net.Conn)
	}{
		"nothing":   {true, gone},
		"handshake": {true, func(conn net.Conn) { drip(conn, "", "\x16") }},
		"no answer": {false, gone},
		"header":    {false, func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\n", "A: b\r\n") }},
		"body":      {false, func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\n\r\n", "x") }},
		"length":    {false, func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", "x") }},
		"chunks": {false, func(conn net.Conn) {
			drip(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n")
		}},
		"hints": {false, func(conn net.Conn) { drip(conn, "", "HTTP/1.1 103 Early Hints\r\n\r\n") }},
	} {
		t.Run(name, func(t *testing.T) {
			f := piped(t, tc.plain, tc.serve)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				body, _, err := f.Get(t.Context(), "https://example.com/", "*/*", 0)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "took longer than 3s") {
					t.Errorf("%q, %v", body, err)
				}
				if took := time.Since(start); took != 3*time.Second { // of the bubble's clock
					t.Errorf("it took %s", took)
				}
				<-time.After(Timeout) // until the handshake ends too
				synctest.Wait()
			})
		})
	}
}

func TestACallerCanEndAFetch(t *testing.T) {
	f := piped(t, false, gone)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, _, err := f.Get(ctx, "https://example.com/", "*/*", 0); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-time.After(2 * Timeout) // until the handshake ends too
		synctest.Wait()
	})
}

func TestFourFetchesRunAtATimeForAHost(t *testing.T) {
	var connections atomic.Int64
	f := piped(t, false, func(conn net.Conn) {
		connections.Add(1)
		gone(conn)
	})
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			go func() {
				if _, _, err := f.Get(t.Context(), "https://example.com/", "*/*", 0); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if n := connections.Load(); n != maxConnsPerHost {
			t.Errorf("%d at a time", n)
		}
		<-time.After(3 * Timeout) // until all have had their turn
		synctest.Wait()
	})
}
