//go:build faults

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"doorward/test/postgres"
	"doorward/test/setup"
)

// late is how long after a change the other processes may still answer as before it.
const late = time.Second

// pairOf is a server with two nodes: changes are made at the first or by a command, and the second is asked.
type pairOf struct {
	*world
	other *world // the same at the second node
	team  int
}

// newPair starts the first node, and the second on the database at a URL of its own. On SQLite, the second process is
// the command.
func newPair(t *testing.T, databaseURL, second string) *pairOf {
	t.Helper()
	w := newWorld(t, databaseURL)
	if databaseURL == sqliteURL {
		return &pairOf{world: w, other: w}
	}
	there := &world{server: beside(t, w.server), http: program(256)}
	t.Cleanup(there.http.CloseIdleConnections)
	there.folder = w.folder // with the secret
	there.env = append(there.env, "DOORWARD_DATABASE_URL="+second)
	there.start()
	return &pairOf{world: w, other: there}
}

// taken is a credential that a change takes away.
type taken struct {
	name       string
	credential string
	change     func() error

	changed atomic.Int64 // when the change had returned, in nanoseconds; zero: not yet
	slowest time.Duration
	seen    int
	away    int
	wrong   []string
}

// watch asks about the credential at the other node until some time after the change.
func (p *pairOf) watch(ctx context.Context, c *taken, connections http.RoundTripper) {
	asker := &world{server: p.other.server, http: &http.Client{Transport: connections, Timeout: 20 * time.Second}}
	for ctx.Err() == nil {
		began := time.Now()
		r := asker.call(ctx, p.api, "/oauth/introspect", url.Values{"token": {c.credential}})
		at := c.changed.Load()
		after := began.Sub(time.Unix(0, at))
		active := r.err == nil && r.status == http.StatusOK && r.object()["active"] == true
		inactive := r.err == nil && r.status == http.StatusOK && string(r.body) == "{\"active\":false}\n"
		switch {
		case ctx.Err() != nil:
			return
		case r.away():
			c.away++
		case active && at != 0 && after > late:
			c.wrong = append(c.wrong, fmt.Sprintf("active in a request that began %s after the change", after))
		case active && at != 0:
			c.slowest = max(c.slowest, after)
		case inactive && at == 0 && c.seen == 0:
			c.wrong = append(c.wrong, "inactive before the change")
		case !active && !inactive:
			c.wrong = append(c.wrong, r.String())
		}
		c.seen++
		if len(c.wrong) > 3 || at != 0 && after > late+late/2 {
			return
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// apply runs changes one after the other while all credentials are watched. fault happens once they are in memory. A
// change that fails because storage is unavailable is tried again.
func (p *pairOf) apply(t *testing.T, all []*taken, fault func()) (slowest time.Duration, away int) {
	t.Helper()
	connections := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(connections.CloseIdleConnections)
	var watchers sync.WaitGroup
	for _, c := range all {
		watchers.Go(func() { p.watch(t.Context(), c, connections) })
	}
	pause(t.Context(), 300*time.Millisecond)
	fault()
	for _, c := range all {
		pause(t.Context(), 50*time.Millisecond)
		begin := time.Now()
		err := c.change()
		for err != nil && time.Since(begin) < 10*time.Second {
			pause(t.Context(), 50*time.Millisecond)
			err = c.change()
		}
		c.changed.Store(time.Now().UnixNano())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	watchers.Wait()
	for _, c := range all {
		slowest, away = max(slowest, c.slowest), away+c.away
		if len(c.wrong) > 0 {
			t.Errorf("%s (%d answers): %s", c.name, c.seen, strings.Join(c.wrong, "\n"))
		}
		if c.seen < 3 {
			t.Errorf("%s: only %d answers", c.name, c.seen)
		}
	}
	return slowest, away
}

// key creates an API key in a workspace with a command.
func (p *pairOf) newKey(workspace string) (id, text string) {
	p.t.Helper()
	out, err := p.command("", "key", "create", "--workspace", workspace, "--name", "Key", "--scope", "read", "--json")
	ok(p.t, err)
	var made struct{ ID, Key string }
	ok(p.t, json.Unmarshal(out, &made))
	return made.ID, made.Key
}

// acknowledged returns the error of a reply that does not acknowledge the request.
func acknowledged(r reply) error {
	if !r.done() {
		return fmt.Errorf("answered %s", r)
	}
	return nil
}

// byAPI returns a change by the first node, one of several kinds in turn.
func (p *pairOf) byAPI(n int) *taken {
	p.t.Helper()
	ctx := p.t.Context()
	c := &taken{}
	kinds := []string{"key revoked", "key paused", "own token revoked", "grant revoked", "key rotated"}
	switch c.name = kinds[n%len(kinds)]; c.name {
	case "own token revoked":
		c.credential = p.clientCredentials(ctx).text("access_token")
		c.change = func() error { return acknowledged(p.revoke(ctx, c.credential)) }
	case "grant revoked":
		r := p.exchange(ctx, p.authorize(ctx).code())
		c.credential = r.text("access_token")
		refresh := r.text("refresh_token")
		c.change = func() error { return acknowledged(p.revoke(ctx, refresh)) }
	default:
		made := p.manage(ctx, http.MethodPost, "/v1/api-keys", `{"name":"Watched","scopes":["read"]}`)
		c.credential = made.text("key")
		path := "/v1/api-keys/" + made.text("id")
		c.change = map[string]func() error{
			"key revoked": func() error { return acknowledged(p.manage(ctx, http.MethodDelete, path, "")) },
			"key paused":  func() error { return acknowledged(p.manage(ctx, http.MethodPatch, path, `{"paused":true}`)) },
			"key rotated": func() error {
				r := p.manage(ctx, http.MethodPost, path+"/rotate", `{"grace":"0s"}`)
				if r.status == http.StatusConflict { // an attempt whose answer was lost has done it
					return nil
				}
				return acknowledged(r)
			},
		}[c.name]
	}
	if c.credential == "" {
		p.t.Fatalf("%s: no credential", c.name)
	}
	return c
}

// byCommand returns a change by a command, one of several kinds in turn.
func (p *pairOf) byCommand(n int) *taken {
	p.t.Helper()
	c := &taken{}
	p.team++
	email, slug := fmt.Sprintf("owner%d@example.com", p.team), fmt.Sprintf("team-%d", p.team)
	run := func(args ...string) func() error {
		return func() error {
			_, err := p.command("", args...)
			return err
		}
	}
	kinds := []string{"key revoked", "workspace disabled", "user disabled", "client disabled"}
	switch c.name = kinds[n%len(kinds)] + " by command"; kinds[n%len(kinds)] {
	case "client disabled":
		app := p.register("--name", "Service", "--grant", "client_credentials", "--scope", "read")
		c.credential = p.call(p.t.Context(), app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).
			text("access_token")
		c.change = run("client", "disable", app.ID)
	case "key revoked":
		id, text := p.newKey("load")
		c.credential, c.change = text, run("key", "revoke", id)
	default:
		p.user(email)
		ok(p.t, run("workspace", "create", "--name", "Team", "--slug", slug, "--owner", email)())
		_, c.credential = p.newKey(slug)
		c.change = run("workspace", "disable", slug)
		if kinds[n%len(kinds)] == "user disabled" {
			c.change = run("user", "disable", email)
		}
	}
	return c
}

// several returns n changes by the API.
func (p *pairOf) several(n int) (all []*taken) {
	for i := range n {
		all = append(all, p.byAPI(i))
	}
	return all
}

// A change by one process counts in the others within a second.
func TestR08_AChangeCountsInOtherProcessesWithinASecond(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		p := newPair(t, databaseURL, databaseURL)
		var all []*taken
		for i := range 30 {
			if databaseURL == sqliteURL && i%3 != 0 {
				continue // there is no other node
			}
			if i%3 == 0 {
				all = append(all, p.byCommand(i/3))
			} else {
				all = append(all, p.byAPI(i))
			}
		}
		slowest, away := p.apply(t, all, func() {})
		report(t, "R-08 "+engineOf(databaseURL),
			"changes at one node or by a command, while another process is asked about the credentials",
			"no request that begins more than 1 s later is answered as before; nothing else but 503",
			fmt.Sprintf("%d changes, the last answer as before in a request %d ms after the change, %d times 503", len(all),
				slowest.Milliseconds(), away))
	})
}

// faulty starts two nodes on a PostgreSQL server of their own, the second behind a proxy.
func faulty(t *testing.T) (*pairOf, *postgres.Server, *proxy, string) {
	t.Helper()
	setup.Long(t)
	server := postgres.Private(t, postgres.Options{TCP: true, Durable: true})
	direct := emptyDatabase(t, server)
	wire := newProxy(t, server.Address())
	return newPair(t, direct, wire.through(t, direct)), server, wire, direct
}

const (
	inTime = "no request that begins more than 1 s after a change is answered as before; nothing else but 503"
	result = "%d changes, the last answer as before in a request %d ms after the change, %d times 503"
)

// While the connection that hears of changes is killed or silent, changes still count within a second.
func TestZ23_ChangesCountWithoutTheConnectionThatHearsOfThem(t *testing.T) {
	p, server, wire, direct := faulty(t)
	t.Run("killed", func(t *testing.T) {
		db := p.openDatabase(asSuperuser(t, server, direct))
		ctx, stop := context.WithCancel(t.Context())
		killed := 0
		var killer sync.WaitGroup
		kill := func() {
			for ctx.Err() == nil {
				killed += number(t.Context(), t, db, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
					WHERE application_name = 'doorward'
					AND (query LIKE 'LISTEN%' OR query LIKE 'SELECT pg_notify%')`)
				pause(ctx, 150*time.Millisecond)
			}
		}
		all := p.several(10)
		slowest, away := p.apply(t, all, func() { killer.Go(kill) })
		stop()
		killer.Wait()
		if killed == 0 {
			t.Error("no connection was killed")
		}
		report(t, "Z-23 killed", "the listening connections of both nodes killed every 150 ms", inTime,
			fmt.Sprintf(result+", %d kills", len(all), slowest.Milliseconds(), away, killed))
	})
	t.Run("silent", func(t *testing.T) {
		all := p.several(10)
		var lift func()
		slowest, away := p.apply(t, all, func() { lift = wire.darken(true) })
		lift()
		report(t, "Z-23 silent", "everything on the listening connection of the second node held back", inTime,
			fmt.Sprintf(result, len(all), slowest.Milliseconds(), away))
	})
	t.Run("all silent", func(t *testing.T) {
		all := p.several(6)
		slowest, away := p.apply(t, all, func() { time.AfterFunc(2500*time.Millisecond, wire.darken(false)) })
		report(t, "Z-23 all silent", "everything between the second node and PostgreSQL held back for 2.5 s", inTime,
			fmt.Sprintf(result, len(all), slowest.Milliseconds(), away))
	})
}

// While PostgreSQL restarts, changes count within a second after they were acknowledged.
func TestZ02_ChangesCountAcrossARestartOfTheDatabase(t *testing.T) {
	p, server, _, _ := faulty(t)
	all := p.several(20)
	ctx, stop := context.WithCancel(t.Context())
	restarts := 0
	var operator sync.WaitGroup
	restart := func() {
		for ctx.Err() == nil {
			pause(ctx, 200*time.Millisecond)
			if err := server.Stop(postgres.Immediate); err != nil {
				t.Error(err)
			}
			pause(ctx, 200*time.Millisecond)
			if err := server.Start(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
			restarts++
		}
	}
	slowest, away := p.apply(t, all, func() { operator.Go(restart) })
	stop()
	operator.Wait()
	report(t, "Z-2 changes", "PostgreSQL stopped immediately and started again all the time, below two nodes", inTime,
		fmt.Sprintf(result+", %d restarts", len(all), slowest.Milliseconds(), away, restarts))
}

// The first request to a process that was stopped while something changed is not answered from its memory.
func TestZ22_AProcessThatWasStoppedForgets(t *testing.T) {
	p, _, wire, _ := faulty(t)
	const rounds, asks = 2, 16
	wrong := 0
	for range rounds {
		all := p.several(5)
		active := func(c *taken) bool {
			r := p.other.call(t.Context(), p.api, "/oauth/introspect", url.Values{"token": {c.credential}})
			return r.err != nil || r.status != http.StatusOK || r.object()["active"] == true
		}
		for _, c := range all {
			for range 3 {
				if !active(c) {
					t.Fatalf("%s: inactive before the change", c.name)
				}
			}
		}
		ok(t, p.other.process.Process.Signal(syscall.SIGSTOP))
		lift := wire.darken(true) // so that what it has missed does not arrive before the requests
		for _, c := range all {
			ok(t, c.change())
		}
		pause(t.Context(), late)
		var asked sync.WaitGroup
		var stale atomic.Int64
		ask := func() {
			for i := range asks {
				asked.Go(func() {
					if active(all[i%len(all)]) {
						stale.Add(1)
					}
				})
			}
		}
		ask() // they wait for the process
		pause(t.Context(), 2*time.Second)
		ok(t, p.other.process.Process.Signal(syscall.SIGCONT))
		ask()
		asked.Wait()
		lift()
		wrong += int(stale.Load())
	}
	if wrong > 0 {
		t.Errorf("%d answers as before", wrong)
	}
	report(t, "Z-22", "one node stopped for 3 s (SIGSTOP), credentials revoked at the other meanwhile, and no notification of them",
		"the first requests after it goes on are not answered as before",
		fmt.Sprintf("%d stops, %d requests, %d answered as before", rounds, 2*rounds*asks, wrong))
}

// A revocation whose commit arrives after its caller has gone counts at the same node too.
func TestZ04_ARevocationThatIsCommittedLateCounts(t *testing.T) {
	x := newTorn(t)
	for _, kind := range []string{"grant", "own token"} {
		r, table := x.tokens(), "UPDATE grants SET revoked_at"
		if kind == "own token" {
			r, table = x.clientCredentials(t.Context()), "UPDATE access_tokens SET revoked_at"
		}
		token := r.text("access_token")
		held := x.proxy.arm(hold, commitOf(table))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		gone := x.revoke(ctx, token)
		cancel()
		<-held.happened
		if gone.err == nil {
			t.Fatalf("%s: answered %s", kind, gone)
		}
		revoked := func() int {
			return number(t.Context(), t, x.db, `SELECT (SELECT count(*) FROM grants WHERE revoked_at IS NOT NULL)
				+ (SELECT count(*) FROM access_tokens WHERE revoked_at IS NOT NULL)`)
		}
		before := revoked()
		pause(t.Context(), 700*time.Millisecond) // the server has noticed that the caller is gone
		for range 3 {
			if active, r := x.active(t.Context(), token); !active {
				t.Fatalf("%s: inactive before the commit: %s", kind, r)
			}
		}
		close(held.release)
		for begin := time.Now(); revoked() == before; pause(t.Context(), 5*time.Millisecond) {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("%s: it was never committed", kind)
			}
		}
		if again := x.revoke(t.Context(), token); !again.done() {
			t.Fatalf("%s: once more: %s", kind, again)
		}
		if active, r := x.active(t.Context(), token); active {
			t.Errorf("%s: a second revocation was acknowledged, and the token is active: %s", kind, r)
		}
	}
	report(t, "Z-4 late", "COMMIT of a revocation held back until its caller has gone; then revoked again",
		"inactive once the second revocation is acknowledged", "2 revocations, inactive")
}

// What was read for a request that began before a change is not kept for those that begin after it.
func TestR08_WhatWasReadBeforeAChangeIsNotKept(t *testing.T) {
	x := newTorn(t)
	for range 3 {
		token := x.tokens().text("access_token")
		slow := x.proxy.arm(holdAnswer, statement("FROM access_tokens t LEFT JOIN grants"))
		var asked sync.WaitGroup
		asked.Go(func() { x.active(t.Context(), token) })
		<-slow.happened
		pause(t.Context(), 100*time.Millisecond) // PostgreSQL has read the row
		if r := x.revoke(t.Context(), token); !r.done() {
			t.Fatalf("revocation answered %s", r)
		}
		close(slow.release)
		asked.Wait()
		for range 3 {
			if active, r := x.active(t.Context(), token); active {
				t.Errorf("active after the revocation: %s", r)
			}
		}
	}
}
