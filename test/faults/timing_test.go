//go:build faults

package faults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
)

// line is one connection, on which each request is timed from its first byte to the last byte of the answer.
type line struct {
	t    testing.TB
	host string
	conn net.Conn
	from *bufio.Reader
	used int // makes the next address a new one
}

func (s *server) line() *line {
	l := &line{t: s.t, host: s.address}
	l.dial()
	s.t.Cleanup(func() { _ = l.conn.Close() })
	return l
}

func (l *line) dial() {
	l.t.Helper()
	conn, err := net.DialTimeout("tcp", l.host, 5*time.Second)
	ok(l.t, err)
	l.conn, l.from = conn, bufio.NewReader(conn)
}

// address returns an address that has not failed before, so that no rate limit applies.
func (l *line) address() string {
	l.used++
	n := uint32(l.used)
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()
}

// post sends a form from a new address.
func (l *line) post(path string, form url.Values, header ...string) (reply, time.Duration) {
	l.t.Helper()
	var q bytes.Buffer
	body := form.Encode()
	fmt.Fprintf(&q,
		"POST %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\nContent-Type: "+
			"application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", path, l.host, l.address(), len(body))
	for i := 0; i+1 < len(header); i += 2 {
		fmt.Fprintf(&q, "%s: %s\r\n", header[i], header[i+1])
	}
	q.WriteString("\r\n" + body)
	ok(l.t, l.conn.SetDeadline(time.Now().Add(20*time.Second)))
	begin := time.Now()
	_, err := l.conn.Write(q.Bytes())
	ok(l.t, err)
	response, err := http.ReadResponse(l.from, nil)
	ok(l.t, err)
	r := reply{status: response.StatusCode, header: response.Header}
	r.body, err = io.ReadAll(response.Body)
	took := time.Since(begin)
	ok(l.t, errors.Join(err, response.Body.Close()))
	if response.Close {
		_ = l.conn.Close()
		l.dial()
	}
	return r, took
}

// shape returns what an attacker could compare in an answer, besides its time.
func shape(r reply) string {
	header := maps.Clone(r.header)
	for _, name := range []string{"Date", "X-Request-Id"} {
		delete(header, name)
	}
	if policy := header.Get("Content-Security-Policy"); policy != "" {
		before, after, _ := strings.Cut(policy, "'nonce-")
		_, after, _ = strings.Cut(after, "'")
		header.Set("Content-Security-Policy", before+after)
	}
	// The values of cookies and sealed flows are random.
	for i, cookie := range header["Set-Cookie"] {
		name, rest, _ := strings.Cut(cookie, "=")
		value, attributes, _ := strings.Cut(rest, ";")
		header["Set-Cookie"][i] = fmt.Sprintf("%s, %d bytes;%s", name, len(value), attributes)
	}
	if path, query, found := strings.Cut(header.Get("Location"), "?"); found {
		header.Set("Location", fmt.Sprintf("%s, %d bytes", path, len(query)))
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d, %d bytes\n", r.status, len(r.body))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&text, "%s: %s\n", name, header[name])
	}
	return text.String()
}

// pair holds the times of two kinds of requests.
type pair struct {
	a, b   time.Duration // medians
	factor float64       // difference divided by the larger median
}

func (p pair) String() string {
	return fmt.Sprintf("%s and %s (%.1f %%)", p.a.Round(time.Microsecond), p.b.Round(time.Microsecond), 100*p.factor)
}

// compare sends two kinds of requests in turn, in either order, and compares every answer with the first one.
func compare(t *testing.T, tries int, one, other func() (reply, time.Duration)) pair {
	t.Helper()
	var took [2][]time.Duration
	var first string
	kinds := [2]func() (reply, time.Duration){one, other}
	const warm = 50
	for n := range warm + tries {
		order := rand.IntN(2)
		for _, k := range []int{order, 1 - order} {
			r, d := kinds[k]()
			if first == "" {
				first = shape(r)
			} else if s := shape(r); s != first {
				t.Fatalf("try %d: the answers differ:\n%s\nand\n%s%s", n, first, s, r.body)
			}
			if n >= warm {
				took[k] = append(took[k], d)
			}
		}
	}
	p := pair{a: median(took[0]), b: median(took[1])}
	p.factor = math.Abs(float64(p.a-p.b)) / float64(max(p.a, p.b))
	return p
}

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// retried repeats a failed comparison at most twice: a difference caused by the server shows again, one caused by the
// machine does not.
func retried(t *testing.T, fits func(pair) bool, measure func() pair) pair {
	t.Helper()
	var p pair
	for range 3 {
		if p = measure(); fits(p) {
			return p
		}
		t.Logf("measured %s, once more", p)
	}
	t.Errorf("the medians are %s", p)
	return p
}

func within5(p pair) bool { return p.factor < 0.05 }

// Neither the answer nor its time reveals whether a client exists.
func TestT41_UnknownClientTakesAsLongAsWrongSecret(t *testing.T) {
	const tries = 2000
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL)
		l := w.line()
		attempt := func(id func() string) func() (reply, time.Duration) {
			return func() (reply, time.Duration) {
				return l.post("/oauth/token", url.Values{"grant_type": {"client_credentials"}},
					"Authorization", rig.Basic(id(), bearer.NewCredential(bearer.PrefixClientSecret)))
			}
		}
		p := retried(t, within5, func() pair {
			return compare(t, tries, attempt(func() string { return w.app.ID }),
				attempt(func() string { return storage.NewID("app") }))
		})
		report(t, "T-41 "+engineOf(databaseURL),
			fmt.Sprintf("alternating a wrong secret and an unknown client, %d of each, each from an address of its own", tries),
			"same status, body and headers; medians within 5 %", "medians "+p.String())
	})
}

// Neither the answer nor its time reveals whether a token was revoked or never issued.
func TestI13_RevokedTakesAsLongAsNeverIssued(t *testing.T) {
	const tries = 2000
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL)
		l := w.line()
		// Many tokens, so that neither side always reads the same row.
		var revoked []string
		for range 50 {
			r := w.exchange(t.Context(), w.authorize(t.Context()).code())
			if !r.done() || !w.revoke(t.Context(), r.text("access_token")).done() {
				t.Fatalf("exchange answered %s", r)
			}
			revoked = append(revoked, r.text("access_token"))
		}
		attempt := func(token func() string) func() (reply, time.Duration) {
			return func() (reply, time.Duration) {
				return l.post("/oauth/introspect", url.Values{"token": {token()}}, "Authorization",
					rig.Basic(w.api.ID, w.api.Secret))
			}
		}
		p := retried(t, within5, func() pair {
			return compare(t, tries, attempt(func() string { return revoked[rand.IntN(len(revoked))] }),
				attempt(func() string { return bearer.NewCredential(bearer.PrefixAccessToken) }))
		})
		report(t, "I-13 "+engineOf(databaseURL),
			fmt.Sprintf("alternating a revoked token and one that was never issued, %d of each", tries),
			"same response; medians within 5 %", "medians "+p.String())
	})
}

// Neither the answer nor its time reveals whether an account exists.
func TestG01_AbsentAccountTakesAsLongAsExisting(t *testing.T) {
	// Checking a password takes about 35 ms; more tries would take minutes and barely change the medians.
	const tries = 250
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL)
		// Each account is tried too rarely for its password sign-in to be suspended.
		const accounts = 14
		email := func(kind string, n int) string { return kind + strconv.Itoa(100+n) + "@example.com" }
		for n := range accounts {
			w.user(email("existing", n))
		}
		flow, cookies, r := w.form(t.Context(), "/login", "")
		if flow == "" {
			t.Fatalf("the sign-in page answered %s", r)
		}
		l := w.line()
		n := 0
		attempt := func(kind string) func() (reply, time.Duration) {
			return func() (reply, time.Duration) {
				n++
				return l.post("/login", url.Values{
					"flow":     {flow},
					"email":    {email(kind, n/2%accounts)},
					"password": {"a wrong password"},
				},
					"Cookie", strings.TrimPrefix(cookies, "; "), "Origin", w.url, "Sec-Fetch-Site", "same-origin")
			}
		}
		p := retried(t, within5, func() pair { return compare(t, tries, attempt("existing"), attempt("unknown1")) })
		report(t, "G-01 "+engineOf(databaseURL),
			fmt.Sprintf("alternating sign-ins with an existing and an absent account, %d of each", tries),
			"same status, length and headers; medians within 5 %", "medians "+p.String())
	})
}

// Neither the answer to a request for an email nor its time reveals whether an account exists.
func TestG01_AskingForAnEmailTakesAsLongForEveryAddress(t *testing.T) {
	// With the tries that warm up and two repetitions, each address is asked for at most three times: no bound is reached.
	const tries, accounts = 1000, 1100
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		w := newWorldWith(t, databaseURL, "mail: {url: 'dir:mail', from: no-reply@northwind.example, hourly: 1000000}\n",
			"DOORWARD_SIGN_UP=open")
		known := w.users(accounts)
		for path, action := range map[string]string{"/login": "/login/email", "/signup": "/signup", "/forgot": "/forgot"} {
			flow, cookies, r := w.form(t.Context(), path, "")
			if flow == "" && path != "/forgot" { // its form needs none
				t.Fatalf("%s answered %s", path, r)
			}
			l := w.line()
			n := 0
			attempt := func(email func(n int) string) func() (reply, time.Duration) {
				return func() (reply, time.Duration) {
					n++
					return l.post(action, url.Values{"flow": {flow}, "email": {email(n / 2 % accounts)}}, "Cookie",
						strings.TrimPrefix(cookies, "; "), "Origin", w.url, "Sec-Fetch-Site", "same-origin")
				}
			}
			p := retried(t, within5, func() pair {
				return compare(t, tries, attempt(func(n int) string { return known[n] }),
					attempt(func(n int) string { return "absent" + known[n][len("person"):] }))
			})
			report(t, "G-01 "+action+" "+engineOf(databaseURL),
				fmt.Sprintf("alternating requests for an email to an address with an account and to one without, %d of each", tries),
				"same status, length and headers; medians within 5 %", "medians "+p.String())
		}
	})
}

// A secret of a megabyte is refused without being processed.
func TestT51_HugeSecretIsRefusedAtOnce(t *testing.T) {
	const (
		tries = 101
		limit = 50 * time.Millisecond
	)
	w := newWorld(t, sqliteURL)
	secret := strings.Repeat("x", 1<<20)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {w.app.ID}, "client_secret": {secret}}.Encode()
	var took []time.Duration
	for range tries {
		conn, err := net.Dial("tcp", w.address)
		ok(t, err)
		ok(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		begin := time.Now()
		go func() {
			// The server need not read it to the end.
			_, _ = fmt.Fprintf(conn,
				"POST /oauth/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+
					"%d\r\n\r\n%s", w.address, len(form), form)
		}()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		ok(t, err)
		body, err := io.ReadAll(response.Body)
		ok(t, err)
		took = append(took, time.Since(begin))
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatalf("answered %s %s", response.Status, body)
		}
		ok(t, errors.Join(response.Body.Close(), conn.Close()))
	}
	if m := quantile(took, 0.9); m > limit {
		t.Errorf("nine of ten are answered within %s, want %s", m, limit)
	}
	report(t, "T-51", fmt.Sprintf("a client secret of 1 MB, %d times", tries), "413 within 50 ms",
		fmt.Sprintf("413, median %s, 90 %% within %s, slowest %s", median(took).Round(10*time.Microsecond),
			quantile(took, 0.9).Round(10*time.Microsecond), slices.Max(took).Round(10*time.Microsecond)))
}
