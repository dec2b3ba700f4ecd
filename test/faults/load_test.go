//go:build faults

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"doorward/test/rig"
)

// load keeps workers busy with the requests of clients and browsers, and records the results in the book.
type load struct {
	*world
	book *book
	// patient workers retry a request without an answer, as a client does while the server's storage is unavailable; the
	// others leave it to the replay.
	patient  bool
	families *atomic.Int64

	workers sync.WaitGroup
	stopped atomic.Bool
	last    atomic.Int64 // when a write was last acknowledged, in nanoseconds
	away    atomic.Int64 // answers that storage is unavailable

	mu       sync.Mutex
	wrong    []string // answers that are errors of the server
	wrongs   int
	tokens   []string // active ones of client_credentials, to introspect
	inFlight context.Context
}

// begin starts the workers. One in 16 signs users in. If the workers are patient, because storage will become
// unavailable, one introspects tokens and one loads a page.
func (w *world) begin(b *book, families *atomic.Int64, workers int, patient bool) *load {
	l := &load{world: w, book: b, patient: patient, families: families, inFlight: w.t.Context()}
	for i := range workers {
		work := l.live
		switch {
		case i%16 == 0:
			work = l.signIn
		case i%16 == 3:
			work = l.keep
		case patient && i == 1:
			work = l.ask
		case patient && i == 2:
			work = l.look
		}
		l.workers.Go(func() {
			for !l.stopped.Load() {
				work()
			}
		})
	}
	return l
}

// end stops the workers after their current request.
func (l *load) end() {
	l.stopped.Store(true)
	l.workers.Wait()
}

// classify sorts an answer: done, or unknown (it then waits a moment and returns true); anything else is an error.
func (l *load) classify(what string, r reply) (done, unsure bool) {
	switch {
	case r.done():
		l.last.Store(time.Now().UnixNano())
		return true, false
	case r.err != nil && !l.patient:
		l.stopped.Store(true) // the server was killed on purpose
		return false, true
	case r.away() && l.patient:
		l.away.Add(1)
		pause(l.inFlight, 10*time.Millisecond)
		return false, true
	}
	l.complain(what, r)
	return false, true
}

func (l *load) complain(what string, r reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrongs++; l.wrongs <= 20 {
		l.wrong = append(l.wrong, what+": "+r.String())
	}
}

// complaints lists the answers that are errors of the server.
func (l *load) complaints() (int, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrongs, strings.Join(l.wrong, "\n")
}

// signIn creates a session now and then: checking a password takes as long as a hundred requests.
func (l *load) signIn() {
	r := l.login(l.inFlight, l.next().email, rig.Password)
	if done, _ := l.classify("sign-in", r); done {
		if r.cookie == "" {
			l.complain("sign-in without a session", r)
			return
		}
		l.book.write(fact{Op: factLogin, Sure: true, Cookie: r.cookie})
	}
	pause(l.inFlight, 50*time.Millisecond)
}

// ask introspects an active token. Unavailable storage is not a reason to call it inactive.
func (l *load) ask() {
	l.mu.Lock()
	var token string
	if len(l.tokens) > 0 {
		token = l.tokens[rand.IntN(len(l.tokens))]
	}
	l.mu.Unlock()
	if token == "" {
		r := l.clientCredentials(l.inFlight)
		if done, _ := l.classify("client credentials", r); done {
			l.book.write(fact{Op: factClient, Sure: true, Access: r.text("access_token")})
			l.mu.Lock()
			l.tokens = append(l.tokens, r.text("access_token"))
			l.mu.Unlock()
		}
		return
	}
	active, r := l.active(l.inFlight, token)
	if r.err == nil && r.status == http.StatusOK && !active {
		l.complain("a live token", r)
		return
	}
	_, _ = l.classify("introspection", r)
	pause(l.inFlight, time.Millisecond)
}

// look loads a page of the signed-in user, who must never be sent to sign in again.
func (l *load) look() {
	r := l.signedIn(l.inFlight, l.cookie)
	if r.err == nil && r.status == http.StatusSeeOther {
		l.complain("a page with a live session", r)
		return
	}
	_, _ = l.classify("page", r)
	pause(l.inFlight, time.Millisecond)
}

// live goes through the life of one family, starting with the code, or fetches a token with client_credentials.
func (l *load) live() {
	ctx := l.inFlight
	if rand.IntN(8) == 0 {
		r := l.clientCredentials(ctx)
		if done, _ := l.classify("client credentials", r); done {
			l.book.write(fact{Op: factClient, Sure: true, Access: r.text("access_token")})
		}
		return
	}
	r := l.authorizeWith(ctx, l.next().cookie)
	if done, _ := l.classify("authorize", r); !done {
		return
	}
	if r.code() == "" {
		l.complain("authorize without a code", r)
		return
	}
	id, code := int(l.families.Add(1)), r.code()
	l.book.write(fact{Op: factCode, Family: id, Sure: true, Code: code})
	if rand.IntN(20) == 0 {
		return // the code stays unused
	}
	refresh, going := l.redeem(id, code)
	if !going {
		return
	}
	for range rand.IntN(4) {
		if refresh, going = l.renew(id, refresh); !going {
			return
		}
	}
	if rand.IntN(4) == 0 {
		for !l.stopped.Load() {
			done, _ := l.classify("revoke", l.revoke(ctx, refresh))
			l.book.write(fact{Op: factRevoke, Family: id, Sure: done})
			if done || !l.patient {
				return
			}
		}
	}
}

// keep goes through the life of an API key: create it, sometimes rotate it with a grace period, and mostly revoke it.
func (l *load) keep() {
	ctx := l.inFlight
	r := l.manage(ctx, http.MethodPost, "/v1/api-keys", `{"name":"Load","scopes":["read"]}`)
	if done, _ := l.classify("create a key", r); !done {
		return
	}
	id, text := r.text("id"), r.text("key")
	l.book.write(fact{Op: factKey, Sure: true, Access: text})
	if rand.IntN(3) == 0 {
		r := l.manage(ctx, http.MethodPost, "/v1/api-keys/"+id+"/rotate", `{"grace":"24h"}`)
		if done, _ := l.classify("rotate a key", r); !done {
			return // it works either way, and its replacement is unknown
		}
		id, text = r.text("id"), r.text("key")
		l.book.write(fact{Op: factKey, Sure: true, Access: text})
	}
	for rand.IntN(10) > 0 && !l.stopped.Load() {
		r := l.manage(ctx, http.MethodDelete, "/v1/api-keys/"+id, "")
		done, _ := l.classify("revoke a key", r)
		l.book.write(fact{Op: factKeyEnd, Sure: done, Shown: text})
		if done || !l.patient {
			break
		}
	}
	pause(ctx, 5*time.Millisecond) // a workspace holds at most 10,000
}

// redeem exchanges a code. going is false if the result is unknown or the load has ended.
func (l *load) redeem(id int, code string) (refresh string, going bool) {
	for asked := 1; ; asked++ {
		r := l.exchange(l.inFlight, code)
		if asked > 1 && r.refused("invalid_grant") {
			// The first attempt succeeded but its answer was lost: showing a code twice revokes what was issued from it.
			l.book.write(fact{Op: factEnded, Family: id, Sure: true})
			return "", false
		}
		done, _ := l.classify("exchange", r)
		l.book.write(fact{
			Op:      factExchange,
			Family:  id,
			Sure:    done,
			Code:    code,
			Access:  r.text("access_token"),
			Refresh: r.text("refresh_token"),
		})
		if done || !l.patient || l.stopped.Load() {
			return r.text("refresh_token"), done
		}
	}
}

// renew refreshes. A refresh token whose answer was lost is shown again, and must give the same result.
func (l *load) renew(id int, refresh string) (next string, going bool) {
	for {
		r := l.refresh(l.inFlight, refresh)
		done, _ := l.classify("refresh", r)
		l.book.write(fact{
			Op:      factRefresh,
			Family:  id,
			Sure:    done,
			Shown:   refresh,
			Access:  r.text("access_token"),
			Refresh: r.text("refresh_token"),
		})
		if done || !l.patient || l.stopped.Load() {
			return r.text("refresh_token"), done
		}
	}
}

// replay compares the server with the book.
type replay struct {
	*world
	book *book
	// final also shows spent codes and used refresh tokens again, which revokes their families.
	final bool

	mu      sync.Mutex
	checked int
	lost    []string
}

const replayers = 16

// replay goes through the book from an offset on.
func (w *world) replay(b *book, from int64, final bool) *replay {
	p := &replay{world: w, book: b, final: final}
	c := b.read(from)
	jobs := make(chan func())
	var workers sync.WaitGroup
	for range replayers {
		workers.Go(func() {
			for job := range jobs {
				job()
			}
		})
	}
	for _, cookie := range c.cookies {
		jobs <- func() {
			r := p.signedIn(p.t.Context(), cookie)
			p.expect(r.status == http.StatusOK, "a session is gone", r)
		}
	}
	for _, token := range c.clients {
		jobs <- func() { p.alive(token, true, "a client's token") }
	}
	for text, revoked := range c.keys {
		jobs <- func() { p.key(text, revoked) }
	}
	for _, s := range c.families {
		jobs <- func() { p.family(s) }
	}
	close(jobs)
	workers.Wait()
	return p
}

// expect counts a check, and records a lost fact.
func (p *replay) expect(good bool, what string, r reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checked++
	if !good {
		p.lost = append(p.lost, fmt.Sprintf("%s: %s", what, r))
	}
}

func (p *replay) alive(token string, want bool, what string) {
	active, r := p.active(p.t.Context(), token)
	p.expect(r.status == http.StatusOK && active == want, fmt.Sprintf("%s, active %t", what, want), r)
}

// key introspects an API key as its resource server.
func (p *replay) key(text string, revoked state) {
	r := p.call(p.t.Context(), p.api, "/oauth/introspect", url.Values{"token": {text}})
	active, isBool := r.object()["active"].(bool)
	p.expect(r.status == http.StatusOK && isBool && (revoked == maybe || active == (revoked == no)), "an API key", r)
}

func (p *replay) family(s *story) {
	ctx := p.t.Context()
	name := func(what string) string { return fmt.Sprintf("family %d: %s", s.id, what) }
	if s.ended {
		for _, token := range s.access {
			p.alive(token, false, name("access token of a family that ended"))
		}
		return
	}
	if s.exchanged != yes {
		r := p.exchange(ctx, s.code)
		switch {
		case r.done():
			p.expect(true, "", r)
			f := fact{
				Op:      factExchange,
				Family:  s.id,
				Sure:    true,
				Code:    s.code,
				Access:  r.text("access_token"),
				Refresh: r.text("refresh_token"),
			}
			p.book.write(f)
			s.add(f)
		case s.exchanged == maybe && r.refused("invalid_grant"):
			p.book.write(fact{Op: factEnded, Family: s.id, Sure: true})
			return
		default:
			p.expect(false, name("a code that was not redeemed"), r)
			return
		}
	}
	if s.retry && s.revoked == no {
		r := p.refresh(ctx, s.refresh)
		p.expect(r.done(), name("a refresh token shown again"), r)
		if r.done() {
			f := fact{
				Op:      factRefresh,
				Family:  s.id,
				Sure:    true,
				Shown:   s.refresh,
				Access:  r.text("access_token"),
				Refresh: r.text("refresh_token"),
			}
			p.book.write(f)
			s.add(f)
		}
	}
	if s.revoked == maybe {
		// Either answer is right, but it must hold for the whole family.
		active, r := p.active(ctx, s.access[0])
		if r.status == http.StatusOK && !active {
			s.revoked = yes
		} else {
			s.revoked = no
		}
	}
	for _, token := range s.access {
		p.alive(token, s.revoked == no, name("access token"))
	}
	for _, token := range s.rotated {
		p.alive(token, false, name("rotated refresh token"))
	}
	p.alive(s.refresh, s.revoked == no, name("refresh token"))
	if p.final {
		p.again(s, name)
	}
}

// again shows what was used up: it must give nothing, and it revokes the family.
func (p *replay) again(s *story, name func(string) string) {
	ctx := p.t.Context()
	// A rotated refresh token is accepted again for ten seconds, and the last ones may be younger than that: those
	// families show their code instead.
	var r reply
	if len(s.rotated) > 1 && s.revoked == no {
		if r = p.refresh(ctx, s.rotated[0]); r.done() {
			r = p.exchange(ctx, s.code)
		}
	} else {
		r = p.exchange(ctx, s.code)
	}
	p.expect(r.refused("invalid_grant"), name("what was used up"), r)
	p.alive(s.refresh, false, name("refresh token after a replay"))
}

// lostFacts returns the number of lost facts and a description of the first ones.
func (p *replay) lostFacts() (int, string) {
	return len(p.lost), strings.Join(p.lost[:min(10, len(p.lost))], "\n")
}
