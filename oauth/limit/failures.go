package limit

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// Rule says how many failures a key may have.
type Rule struct {
	// Count failures within Per are free; then the next attempt has to wait. Per begins with the first failure.
	Count int
	Per   time.Duration
	// DoublingTo, unless it is zero, allows single attempts after Count failures: the first after a minute, and each later
	// one after twice the previous wait, at most DoublingTo. Failures are forgotten Per after the wait. If it is zero, no
	// attempt is allowed until Per is over.
	DoublingTo time.Duration
	// Forgiving forgets the failures of a key when an attempt succeeds. Do not set it for a key under which an attacker
	// can succeed at will, such as an address: signing in to their own account would give them more guesses.
	Forgiving bool
}

const (
	firstDelay = time.Minute
	// keysBound is how many keys are remembered; the least recently used one makes room. A key takes about 250 bytes, no
	// matter how long it is.
	keysBound = 1 << 16
	// pendingDelay is the wait while attempts are pending that may still fail.
	pendingDelay = time.Second
)

// Failures counts failed attempts under several keys at once, one for each rule. An empty key skips its rule. For
// expensive attempts, call Reserve and then one of Succeed, Fail and Release: pending attempts count as failures, so
// that many at once cannot exceed the rule together. For cheap attempts, call Check and then Add, so that many valid
// attempts at once do not block each other. Its methods are safe for concurrent use.
type Failures struct {
	now   func() time.Time
	rules []Rule

	mu      sync.Mutex
	entries map[digest]*list.Element
	order   *list.List // of *entry, the least recently used in front
}

// digest identifies a rule and a key, so that a long key takes no more memory than a short one.
type digest [sha256.Size]byte

type entry struct {
	digest   digest
	failures int
	pending  int       // reservations not yet settled
	since    time.Time // the first of the failures
	until    time.Time // no attempt before
}

// NewFailures returns Failures that use the clock now. The n-th key of a method call is counted by the n-th rule.
func NewFailures(now func() time.Time, rules ...Rule) *Failures {
	return &Failures{now: now, rules: rules, entries: map[digest]*list.Element{}, order: list.New()}
}

// Reserve reserves one attempt under all keys. If one of them has to wait, it reserves nothing, ok is false, and
// retryAfter, always above zero, is the wait.
func (f *Failures) Reserve(keys ...string) (ok bool, retryAfter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if retryAfter = f.wait(now, true, keys); retryAfter > 0 {
		return false, retryAfter
	}
	for i, key := range keys {
		if key != "" {
			f.use(i, key).pending++
		}
	}
	return true, 0
}

// Succeed settles a reservation whose attempt succeeded.
func (f *Failures) Succeed(keys ...string) {
	f.settle(keys, func(e *entry, r Rule, _ time.Time) {
		if r.Forgiving {
			e.failures, e.until = 0, time.Time{}
		}
	})
}

// Fail settles a reservation whose attempt failed.
func (f *Failures) Fail(keys ...string) { f.settle(keys, (*entry).fail) }

// Release settles a reservation whose attempt was not made, or had no result.
func (f *Failures) Release(keys ...string) { f.settle(keys, func(*entry, Rule, time.Time) {}) }

func (f *Failures) settle(keys []string, outcome func(*entry, Rule, time.Time)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	for i, key := range keys {
		if key == "" {
			continue
		}
		e := f.use(i, key)
		e.pending = max(0, e.pending-1) // 0: the entry was dropped meanwhile to make room
		e.forget(f.rules[i], now)
		outcome(e, f.rules[i], now)
		f.drop(e)
	}
}

// Check reports whether an attempt may be made, without counting it.
func (f *Failures) Check(keys ...string) (ok bool, retryAfter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	retryAfter = f.wait(f.now(), false, keys)
	return retryAfter == 0, retryAfter
}

// Add counts a failed attempt. ok is false if other attempts have used up a key since Check: this one is then not
// counted, and the caller must refuse it without revealing its result.
func (f *Failures) Add(keys ...string) (ok bool, retryAfter time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if retryAfter = f.wait(now, false, keys); retryAfter > 0 {
		return false, retryAfter
	}
	for i, key := range keys {
		if key != "" {
			f.use(i, key).fail(f.rules[i], now)
		}
	}
	return true, 0
}

// wait returns the longest wait of the keys; zero: none has to wait.
func (f *Failures) wait(now time.Time, reserving bool, keys []string) time.Duration {
	var longest time.Duration
	for i, key := range keys {
		if key == "" {
			continue
		}
		element, ok := f.entries[digestOf(i, key)]
		if !ok {
			continue
		}
		f.order.MoveToBack(element)
		e, r := element.Value.(*entry), f.rules[i]
		e.forget(r, now)
		switch {
		case now.Before(e.until):
			longest = max(longest, e.until.Sub(now))
		case !reserving:
		case e.failures < r.Count && e.failures+e.pending >= r.Count, e.failures >= r.Count && e.pending > 0:
			longest = max(longest, pendingDelay)
		}
	}
	return longest
}

// fail counts a failure and sets the wait that follows from it.
func (e *entry) fail(r Rule, now time.Time) {
	if e.failures == 0 {
		e.since = now
	}
	e.failures++
	switch {
	case e.failures < r.Count:
	case r.DoublingTo == 0:
		e.until = e.since.Add(r.Per)
	default:
		delay := r.DoublingTo
		if doublings := e.failures - r.Count; doublings < 30 {
			delay = min(delay, firstDelay<<doublings)
		}
		e.until = now.Add(delay)
	}
}

// forget drops failures whose time is over. Even if the clock is set back, no wait is longer than the rule says.
func (e *entry) forget(r Rule, now time.Time) {
	if e.failures == 0 {
		return
	}
	if e.since.After(now) {
		e.since = now
	}
	if latest := now.Add(max(r.Per, r.DoublingTo)); e.until.After(latest) {
		e.until = latest
	}
	end := e.since.Add(r.Per)
	if r.DoublingTo > 0 && !e.until.IsZero() {
		end = e.until.Add(r.Per)
	}
	if !now.Before(end) {
		e.failures, e.until = 0, time.Time{}
	}
}

// use returns the entry of a key, which may be new, as the most recently used one.
func (f *Failures) use(rule int, key string) *entry {
	d := digestOf(rule, key)
	if element, ok := f.entries[d]; ok {
		f.order.MoveToBack(element)
		return element.Value.(*entry)
	}
	for len(f.entries) >= keysBound {
		oldest := f.order.Front()
		delete(f.entries, f.order.Remove(oldest).(*entry).digest)
	}
	e := &entry{digest: d}
	f.entries[d] = f.order.PushBack(e)
	return e
}

// drop removes an entry without failures and reservations.
func (f *Failures) drop(e *entry) {
	if e.failures == 0 && e.pending == 0 {
		f.order.Remove(f.entries[e.digest])
		delete(f.entries, e.digest)
	}
}

func digestOf(rule int, key string) digest {
	text := binary.AppendUvarint(make([]byte, 0, 64), uint64(rule)) //nolint:gosec // an index
	return sha256.Sum256(append(text, key...))
}
