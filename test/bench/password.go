package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

const (
	password = "seven lanterns by the canal"
	// retryAfter is what the server asks of those that it refuses.
	retryAfter = 2 * time.Second
	// crowdOfPeople is how many sign in at once, where more do than can be served in two seconds.
	crowdOfPeople = 512
)

// proxied lets the driver speak for many addresses, each with the limits of its own.
const proxied = "trusted_proxies: [127.0.0.1]\n" + cold

// passwordRows are sign-ins with a password.
func (b *bench) passwordRows() []*row {
	return []*row{
		b.passwords("SQLite", liteReads, usualConns), b.passwords("PostgreSQL", reads, usualConns),
		b.passwords("PostgreSQL, "+strconv.Itoa(crowdOfPeople)+" at once", reads, crowdOfPeople), b.manyUsers(),
	}
}

// passwords compares sign-ins with bare computations of Argon2id.
func (b *bench) passwords(variant, name string, people int) *row {
	var p *process
	var s *site
	var last signIns
	return &row{
		topic: "sign-in with a password", variant: variant, limit: "Argon2id alone", want: 0.75,
		about: "People open the sign-in page and send the form with the right password, each for another user and from " +
			"another address. The limit is a program that computes only Argon2id with the server's parameters (19 MiB, two " +
			"passes), on as many goroutines as there are processors: the server, too, never computes more at once. Pages, " +
			"sessions and the database share the processors with it. Who would wait for more than two seconds gets 429, as many " +
			"of " + strconv.Itoa(crowdOfPeople) + " do who come at once; they come again after Retry-After.",
		setup: func(ctx context.Context) (err error) {
			s, p, err = b.on(ctx, name, proxied)
			return err
		},
		prepare: func(ctx context.Context, _ int) error { return b.wakeUp(ctx, p, s.users) },
		ours: func(ctx context.Context, _ int) (float64, error) {
			// Those who are refused wait for two seconds first.
			var err error
			last, err = b.signIn(ctx, p, s.users, people, 4*b.length)
			return last.perSecond, err
		},
		against: func(ctx context.Context, _ int) (float64, error) { return b.hashes(ctx) },
		note: func() string {
			return fmt.Sprintf("%.0f %% refused, the slowest answer after %.1f s",
				100*float64(last.refused)/float64(max(1, last.done+last.refused)), last.slowest.Seconds())
		},
	}
}

func (b *bench) manyUsers() *row {
	servers, users := map[string]*process{}, map[string]int{}
	return &row{
		topic: "sign-in with a password among many users, PostgreSQL",
		limit: "with 1000 users", want: 0.90,
		about: fmt.Sprintf("The same with %d users, each as likely as the others to be the next. Argon2id limits it.",
			b.large.users),
		setup: func(ctx context.Context) error {
			for _, name := range []string{large, reads} {
				s, p, err := b.on(ctx, name, proxied)
				if err != nil {
					return err
				}
				servers[name], users[name] = p, s.users
			}
			return nil
		},
		prepare: func(ctx context.Context, _ int) error {
			return firstError(b.wakeUp(ctx, servers[large], users[large]), b.wakeUp(ctx, servers[reads], users[reads]))
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			r, err := b.signIn(ctx, servers[large], users[large], usualConns, 2*b.length)
			return r.perSecond, err
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			r, err := b.signIn(ctx, servers[reads], users[reads], usualConns, 2*b.length)
			return r.perSecond, err
		},
	}
}

// wakeUp lets some people sign in. A server closes connections to its database that were idle for five minutes, as they
// are between two rounds, and each new one prepares its statements.
func (b *bench) wakeUp(ctx context.Context, p *process, users int) error {
	_, err := b.signIn(ctx, p, users, usualConns, b.length)
	return err
}

// signIns are the answers to people who sign in.
type signIns struct {
	done, refused int
	perSecond     float64 // done
	slowest       time.Duration
}

// signIn lets people sign in, each one again and again, for as long as length, to users that are chosen at random.
func (b *bench) signIn(ctx context.Context, p *process, users, people int, length time.Duration) (signIns, error) {
	var (
		all     signIns
		mu      sync.Mutex
		firstly error
		workers sync.WaitGroup
	)
	transport := &http.Transport{MaxIdleConnsPerHost: people}
	defer transport.CloseIdleConnections()
	began := time.Now()
	for i := range people {
		workers.Go(func() {
			address := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i % 256)}) //nolint:gosec // i is less than 65,536
			person := person{server: p.url, transport: transport, address: address}
			for time.Since(began) < length {
				var wait time.Duration
				at := time.Now()
				status, err := person.signIn(ctx, fmt.Sprintf("u%d@example.com", 1+rand.IntN(users)))
				took := time.Since(at)
				mu.Lock()
				switch {
				case err != nil:
					firstly = firstError(firstly, err)
				case status == http.StatusTooManyRequests:
					all.refused++
					wait = retryAfter
				// What is answered later does not count in the time.
				case time.Since(began) < length:
					all.done++
				}
				all.slowest = max(all.slowest, took)
				failed := firstly != nil
				mu.Unlock()
				if failed {
					return
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
		})
	}
	workers.Wait()
	all.perSecond = float64(all.done) / length.Seconds()
	return all, firstly
}

// person signs in from an address.
type person struct {
	server    string
	transport *http.Transport
	address   netip.Addr
}

var flowField = regexp.MustCompile(`name="flow" value="([^"]+)"`)

// signIn opens the sign-in page in a browser that was never here, and sends the form. The status is 303 or 429.
func (p person) signIn(ctx context.Context, email string) (status int, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return 0, err
	}
	browser := &http.Client{
		Transport: p.transport, Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	_, page, err := p.send(ctx, browser, http.MethodGet, "/login", nil)
	if err != nil {
		return 0, err
	}
	flow := flowField.FindSubmatch(page)
	if flow == nil {
		return 0, fmt.Errorf("no form on the sign-in page: %.300s", page)
	}
	status, page, err = p.send(ctx, browser, http.MethodPost, "/login",
		url.Values{"flow": {string(flow[1])}, "email": {email}, "password": {password}})
	if err == nil && status != http.StatusSeeOther && status != http.StatusTooManyRequests {
		err = fmt.Errorf("sign-in of %s: %d: %.2000s", email, status, page)
	}
	return status, err
}

func (p person) send(
	ctx context.Context, browser *http.Client, method, path string, form url.Values,
) (int, []byte, error) {
	q, err := http.NewRequestWithContext(ctx, method, p.server+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set("X-Forwarded-For", p.address.String())
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := browser.Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// hashes returns how many computations of Argon2id a process of its own makes in a second.
func (b *bench) hashes(ctx context.Context) (float64, error) {
	out, err := b.command(ctx, "hashes", (2 * b.length).String())
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(out), 64)
}

// hash computes Argon2id with the server's parameters for some time, and prints how often in a second.
func hash(args []string) error {
	if len(args) != 1 {
		return errArguments
	}
	length, err := time.ParseDuration(args[0])
	if err != nil {
		return fmt.Errorf("hashes: %w", err)
	}
	salt := bytes.Repeat([]byte{1}, 16)
	counts := make(chan int)
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		go func() {
			n := 0
			for ; time.Since(began) < length; n++ {
				argon2.IDKey([]byte(password), salt, 2, 19<<10, 1, 32)
			}
			counts <- n
		}()
	}
	sum := 0
	for range runtime.GOMAXPROCS(0) {
		sum += <-counts
	}
	_, err = fmt.Fprintln(os.Stdout, float64(sum)/time.Since(began).Seconds())
	return err
}
