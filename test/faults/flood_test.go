//go:build faults

package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// narrow limits a connection to small packets, as on a slow network, so that the kernel does not buffer megabytes on
// the way.
func narrow(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536),
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096))
		})
		return errors.Join(err, failed)
	}}
	return d.DialContext(ctx, "tcp", address)
}

// slow is a way to hold a connection. It sends the start of a request, and then a byte a second, if any.
type slow struct {
	name  string
	begin string
	drip  string
	// all is the number of bytes that the answers have; the client reads none of them until limit has passed. If the
	// server cuts the connection before that, fewer bytes arrive. Zero: the client reads at once, and sees the cut itself.
	all int64
}

// attack holds one connection until the server closes it, and returns how long that took, or limit for a client that
// does not read.
func (k slow) attack(ctx context.Context, address string, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*limit)
	defer cancel()
	begin := time.Now()
	conn, err := narrow(ctx, address)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // it was cut off
	if err := conn.SetDeadline(begin.Add(4 * limit)); err != nil {
		return 0, err
	}
	go func() {
		// The connection may have been cut by now, and what does not fit into the buffers is the point of this test.
		_, _ = io.WriteString(conn, k.begin)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for k.drip != "" {
			select {
			case <-tick.C:
				if _, err := io.WriteString(conn, k.drip); err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	if k.all > 0 {
		pause(ctx, limit-time.Since(begin))
	}
	n, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, fmt.Errorf("open after %s", time.Since(begin))
	}
	if k.all > 0 {
		if n >= k.all {
			return 0, fmt.Errorf("%d bytes came, although the client had not read for %s", n, limit)
		}
		return limit, nil
	}
	return time.Since(begin), nil
}

// steady sends requests as an ordinary API does, at a rate well below the server's capacity. It returns how long each
// request took, by the slice of time in which it was sent.
func (w *world) steady(ctx context.Context, tokens []string,
	slice time.Duration,
) (took map[int][]time.Duration, wrong int) {
	took = map[int][]time.Duration{}
	start := time.Now()
	const (
		clients = 4
		every   = 20 * time.Millisecond
	)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				begin := time.Now()
				active, _ := w.active(w.t.Context(), tokens[n%len(tokens)])
				d := time.Since(begin)
				mu.Lock()
				k := int(begin.Sub(start) / slice)
				took[k] = append(took[k], d)
				if !active {
					wrong++
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return took, wrong
}

func (w *world) liveTokens(n int) (list []string) {
	w.t.Helper()
	for range n {
		r := w.clientCredentials(w.t.Context())
		if !r.done() {
			w.t.Fatalf("client credentials answered %s", r)
		}
		list = append(list, r.text("access_token"))
	}
	return list
}

// Slow clients are cut off, and the others do not notice them.
func TestH01_SlowClientsAreCutOff(t *testing.T) {
	const (
		each    = 500
		lasting = 60 * time.Second
		quiet   = 10 * time.Second // before, and after
		slice   = 2 * time.Second
		limit   = 10 * time.Second
		factor  = 3
	)
	w := newWorld(t, sqliteURL)
	tokens := w.liveTokens(50)
	style := w.send(t.Context(), http.MethodGet, "/assets/doorward.css", nil)
	if style.status != http.StatusOK {
		t.Fatalf("the style sheet answered %d", style.status)
	}
	get := "GET /assets/doorward.css HTTP/1.1\r\nHost: " + w.address + "\r\n\r\n"
	unread := 1 + (1<<20)/len(style.body) // more than the kernel buffers
	kinds := []slow{
		{"slow headers", "GET /login HTTP/1.1\r\nHost: " + w.address + "\r\nX-Slow: ", "x", 0},
		{
			"slow bodies", "POST /oauth/token HTTP/1.1\r\nHost: " + w.address +
				"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\na=", "x", 0,
		},
		{"slow readers", strings.Repeat(get, unread), "", int64(unread) * int64(len(style.body))},
	}
	// Each slice of time has a p99, and the test takes their median: other work on the machine shows in some slices only,
	// but the slow clients are there all the time.
	measure := func(d time.Duration) (p99 []time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		took, wrong := w.steady(ctx, tokens, slice)
		if wrong > 0 {
			t.Errorf("%d requests of other clients went wrong", wrong)
		}
		for k := range int(d / slice) {
			p99 = append(p99, quantile(took[k], 0.99))
		}
		return p99
	}
	before := measure(quiet)

	over := time.Now().Add(lasting)
	var mu sync.Mutex
	cut := map[string][]time.Duration{}
	var failed []string
	var attackers sync.WaitGroup
	for _, k := range kinds {
		for range each {
			attackers.Go(func() {
				pause(t.Context(), rand.N(2*time.Second)) // not all at once
				for time.Now().Before(over) && t.Context().Err() == nil {
					d, err := k.attack(t.Context(), w.address, limit)
					mu.Lock()
					if err != nil {
						failed = append(failed, k.name+": "+err.Error())
					} else {
						cut[k.name] = append(cut[k.name], d)
					}
					mu.Unlock()
				}
			})
		}
	}
	during := measure(lasting)
	attackers.Wait()
	after := measure(quiet)

	if len(failed) > 0 {
		t.Errorf("%d connections were not cut: %s", len(failed), failed[0])
	}
	var numbers []string
	for _, k := range kinds {
		slowest := slices.Max(append(cut[k.name], 0))
		if slowest > limit {
			t.Errorf("%s are cut after %s, want %s at most", k.name, slowest, limit)
		}
		numbers = append(numbers, fmt.Sprintf("%d %s cut within %.1f s", len(cut[k.name]), k.name, slowest.Seconds()))
	}
	// A quiet server answers so fast that its p99 is mostly the noise of the machine; two milliseconds is little.
	calm, busy := max(median(append(before, after...)), 2*time.Millisecond), median(during)
	if busy > factor*calm {
		t.Errorf("the p99 of other clients is %s, and %s when it is quiet", busy, calm)
	}
	report(t, "H-01",
		fmt.Sprintf("%d slow-header, %d slow-body and %d slow-read connections at a time for %s, beside 200 introspections "+
			"a second", each, each, each, lasting),
		"each cut within 10 s; the others' p99 at most three times the quiet one",
		fmt.Sprintf("%s; p99 %s, quiet %s (medians over slices of %s)", strings.Join(numbers, ", "),
			busy.Round(10*time.Microsecond),
			median(append(before, after...)).Round(10*time.Microsecond), slice))
}

// Connections that wait for their next request do not get in the way of others.
func TestH14_IdleConnectionsDoNotDisturbOthers(t *testing.T) {
	const (
		idle  = 5000
		tries = 100
		limit = time.Second
	)
	var descriptors syscall.Rlimit
	ok(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &descriptors))
	if descriptors.Cur < idle+200 {
		t.Fatalf("only %d files may be open; raise the hard limit: ulimit -Hn %d", descriptors.Cur, 2*idle)
	}
	w := newWorld(t, sqliteURL)
	conns := make([]net.Conn, idle)
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	begin := time.Now()
	for i := range conns {
		c, err := net.DialTimeout("tcp", w.address, 5*time.Second)
		ok(t, err)
		conns[i] = c
		// A connection that has not sent a request does not count as idle; it is cut off as in H-01.
		_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: "+w.address+"\r\n\r\n")
		ok(t, err)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		ok(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		ok(t, errors.Join(err, response.Body.Close()))
	}
	opened := time.Since(begin)
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	ask := world{server: w.server, http: fresh, app: w.app}
	var took []time.Duration
	for range tries {
		begin := time.Now()
		r := ask.call(t.Context(), w.app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}})
		took = append(took, time.Since(begin))
		if !r.done() {
			t.Fatalf("a new request was answered %s", r)
		}
	}
	for _, c := range conns[:tries] { // the oldest
		_, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: "+w.address+"\r\n\r\n")
		ok(t, err)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("an idle connection was cut: %v", err)
		}
		ok(t, response.Body.Close())
	}
	if slowest := slices.Max(took); slowest > limit {
		t.Errorf("a new request took %s, want %s at most", slowest, limit)
	}
	report(t, "H-14",
		fmt.Sprintf("%d idle connections, then %d requests for a token on connections of their own", idle, tries),
		"each served within 1 s",
		fmt.Sprintf("opened in %.1f s; median %s, slowest %s", opened.Seconds(), median(took).Round(10*time.Microsecond),
			slices.Max(took).Round(10*time.Microsecond)))
}
