package limit

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/test/stores"
)

// clock is moved by hand.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func newClock() *clock { return &clock{time.Unix(1_700_000_000, 0)} }

var (
	home  = netip.MustParseAddr("192.0.2.1")
	other = netip.MustParseAddr("198.51.100.7")
)

func fails(t *testing.T, f *Failures, n int, keys ...string) {
	t.Helper()
	for i := range n {
		if ok, wait := f.Reserve(keys...); !ok {
			t.Fatalf("attempt %d is refused for %v", i+1, wait)
		}
		f.Fail(keys...)
	}
}

func refused(t *testing.T, f *Failures, want time.Duration, keys ...string) {
	t.Helper()
	ok, got := f.Reserve(keys...)
	if ok || got != want {
		t.Fatalf("reserve: ok %v, wait %v; want a refusal for %v", ok, got, want)
	}
}

func TestL08_WaitEndsToTheMoment(t *testing.T) {
	for name, rule := range map[string]Rule{
		"window":   {Count: 3, Per: time.Minute},
		"doubling": {Count: 3, Per: time.Minute, DoublingTo: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			f := NewFailures(c.now, rule)
			fails(t, f, 3, "a")
			refused(t, f, time.Minute, "a")
			c.advance(time.Minute - time.Microsecond)
			refused(t, f, time.Microsecond, "a")
			c.advance(time.Microsecond)
			fails(t, f, 1, "a")
		})
	}
}

func TestDelayDoublesUpToItsEnd(t *testing.T) {
	c := newClock()
	f := NewFailures(c.now, Rule{Count: 2, Per: 15 * time.Minute, DoublingTo: 15 * time.Minute})
	fails(t, f, 2, "a")
	for _, minutes := range []time.Duration{1, 2, 4, 8, 15, 15} {
		refused(t, f, minutes*time.Minute, "a")
		c.advance(minutes * time.Minute)
		fails(t, f, 1, "a")
	}
	c.advance(30 * time.Minute) // the wait, and then Per without a failure
	fails(t, f, 2, "a")
	refused(t, f, time.Minute, "a")
}

func TestWindowBeginsWithFirstFailure(t *testing.T) {
	c := newClock()
	f := NewFailures(c.now, Rule{Count: 3, Per: time.Minute})
	fails(t, f, 2, "a")
	c.advance(time.Minute)
	fails(t, f, 3, "a")
	refused(t, f, time.Minute, "a")
}

func TestSuccessForgivesOnlyWhereTheRuleSaysSo(t *testing.T) {
	c := newClock()
	f := NewFailures(c.now, Rule{Count: 3, Per: time.Minute, Forgiving: true}, Rule{Count: 5, Per: time.Minute})
	succeed := func() {
		t.Helper()
		if ok, _ := f.Reserve("account", "address"); !ok {
			t.Fatal("refused")
		}
		f.Succeed("account", "address")
	}
	fails(t, f, 2, "account", "address")
	succeed()
	fails(t, f, 2, "account", "address")
	succeed()
	fails(t, f, 1, "account", "address")
	refused(t, f, time.Minute, "account", "address")
	fails(t, f, 2, "account", "elsewhere") // the account itself has failed once since
}

func TestL06_ExhaustedKeyLeavesOthersAlone(t *testing.T) {
	c := newClock()
	f := NewFailures(c.now, Rule{Count: 1, Per: time.Minute}, Rule{Count: 9, Per: time.Minute})
	fails(t, f, 1, "victim", "")
	for _, key := range []string{"victim:", "{victim}", "victi", "Victim"} {
		fails(t, f, 1, key, "victim")
	}
	// A refusal under one key takes nothing under the others.
	for range 20 {
		refused(t, f, time.Minute, "victim", "address")
	}
	fails(t, f, 9, "", "address")

	s := NewSignIns(c.now)
	for range 10 {
		s.Fail("a", home, false)
	}
	for _, account := range []string{"a1", "1:a", "a192.0.2.1", ""} {
		if ok, _ := s.Reserve(account, home, false); !ok {
			t.Errorf("account %q is refused for the failures of another", account)
		}
	}
}

func TestL10_ParallelAttemptsStayWithinTheRule(t *testing.T) {
	c := newClock()
	s := NewSignIns(c.now)
	reserve := func(n int) (admitted int64) {
		var count atomic.Int64
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if ok, wait := s.Reserve("a", home, false); ok {
					count.Add(1)
				} else if wait <= 0 {
					t.Error("refused without a time to come back")
				}
			})
		}
		wg.Wait()
		return count.Load()
	}
	if got := reserve(64); got != 10 {
		t.Fatalf("%d attempts are under way at once, want 10", got)
	}
	for range 10 {
		s.Fail("a", home, false)
	}
	c.advance(time.Minute)
	if got := reserve(64); got != 1 {
		t.Fatalf("%d attempts are under way after the wait, want 1", got)
	}
	s.Release("a", home, false)
	if got := reserve(64); got != 1 {
		t.Fatalf("%d attempts are under way after one was given back, want 1", got)
	}
}

func TestReservationsGivenBackLeaveNothing(t *testing.T) {
	f := NewFailures(newClock().now, Rule{Count: 1, Per: time.Minute})
	for i := range 1000 {
		key := fmt.Sprint(i)
		if ok, _ := f.Reserve(key); !ok {
			t.Fatal("refused")
		}
		if i%2 == 0 {
			f.Release(key)
		} else {
			f.Succeed(key)
		}
	}
	if len(f.entries) != 0 || f.order.Len() != 0 {
		t.Errorf("%d keys are remembered, want none", len(f.entries))
	}
}

func TestL11_MemoryIsBoundedAndOldestGoes(t *testing.T) {
	stores.Alone(t)
	f := NewFailures(newClock().now, Rule{Count: 1, Per: time.Minute})
	fails(t, f, 1, "first")
	fails(t, f, 1, "live")
	for i := range 3 * keysBound {
		if i%1000 == 0 {
			refused(t, f, time.Minute, "live")
		}
		f.Add(fmt.Sprint(i))
	}
	if len(f.entries) != keysBound || f.order.Len() != keysBound {
		t.Errorf("%d keys are remembered, want %d", len(f.entries), keysBound)
	}
	refused(t, f, time.Minute, "live")
	fails(t, f, 1, "first")
}

func TestL05_ClockSetBackLocksNobodyForLonger(t *testing.T) {
	c := newClock()
	f := NewFailures(c.now, Rule{Count: 1, Per: time.Minute},
		Rule{Count: 1, Per: time.Minute, DoublingTo: 8 * time.Minute})
	fails(t, f, 1, "a", "")
	fails(t, f, 1, "", "b")
	c.advance(-time.Hour)
	refused(t, f, time.Minute, "a", "")
	refused(t, f, 8*time.Minute, "", "b")
	c.advance(8 * time.Minute)
	fails(t, f, 1, "a", "b")
}

func TestL09_AddressesOfOnePlaceAreOneKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":             "192.0.2.1",
		"::ffff:192.0.2.1":      "192.0.2.1",
		"2001:db8:1:2::1":       "2001:db8:1:2::/64",
		"2001:db8:1:2:ff::9":    "2001:db8:1:2::/64",
		"2001:db8:1:3::1":       "2001:db8:1:3::/64",
		"fe80::1%eth0":          "fe80::/64",
		"::1":                   "::/64",
		"::ffff:192.0.2.1%eth0": "192.0.2.1",
	} {
		if got := AddressKey(netip.MustParseAddr(in)); got != want {
			t.Errorf("AddressKey(%s) = %s, want %s", in, got, want)
		}
	}
	if got := AddressKey(netip.Addr{}); got == "" {
		t.Error("an invalid address has an empty key, which no rule counts")
	}

	s := NewSignIns(newClock().now)
	for i := range 256 {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:1:2::%x", i))
		ok, _ := s.Reserve("a", a, false)
		if want := i < 10; ok != want {
			t.Fatalf("attempt %d, each from another address of a /64: %v, want %v", i+1, ok, want)
		}
		if ok {
			s.Fail("a", a, false)
		}
	}
}

func TestG04_AddressThatTriesManyAccountsIsStopped(t *testing.T) {
	s := NewSignIns(newClock().now)
	admitted := 0
	for i := range 1000 {
		account := fmt.Sprintf("user%d@example.com", i)
		if ok, _ := s.Reserve(account, home, false); ok {
			admitted++
			s.Fail(account, home, false)
		}
	}
	if admitted != 100 {
		t.Errorf("%d accounts were tried, want 100", admitted)
	}
	if ok, _ := s.Reserve("user1@example.com", other, false); !ok {
		t.Error("another address is refused")
	}
}

func TestG05_KnownDeviceCountsForItself(t *testing.T) {
	s := NewSignIns(newClock().now)
	for i := range 300 { // exhausts the account, then the address
		s.Fail("victim", home, false)
		s.Fail(fmt.Sprint(i), home, false)
	}
	if ok, _ := s.Reserve("victim", home, false); ok {
		t.Fatal("the account is not throttled")
	}
	for i := range 20 {
		ok, _ := s.Reserve("victim", home, true)
		if want := i < 10; ok != want {
			t.Fatalf("attempt %d of the known device: %v, want %v", i+1, ok, want)
		}
		if ok {
			s.Fail("victim", home, true)
		}
	}
}

func TestL14_ClientBudgets(t *testing.T) {
	c := newClock()
	clients := NewClients(c.now)
	for i := range 25 {
		if ok, _ := clients.Fail("a", home); ok != (i < 20) {
			t.Fatalf("failure %d of one client: %v", i+1, ok)
		}
	}
	for i := range 90 {
		ok, wait := clients.Fail(fmt.Sprint(i), home)
		if want := i < 80; ok != want {
			t.Fatalf("client %d from one address: %v, want %v", i+1, ok, want)
		}
		if !ok && wait != time.Minute {
			t.Fatalf("wait %v, want a minute", wait)
		}
	}
	c.advance(time.Minute)
	if ok, _ := clients.Fail("a", home); !ok {
		t.Error("still refused after a minute")
	}
}

func TestL12_GuessingAtAClientFromElsewhereDoesNotThrottleIt(t *testing.T) {
	clients := NewClients(newClock().now)
	for range 200 {
		clients.Fail("victim", other)
	}
	if ok, _ := clients.Fail("victim", home); !ok {
		t.Error("the client is throttled for what another address did")
	}
}

func BenchmarkFail(b *testing.B) {
	clients := NewClients(time.Now)
	for b.Loop() {
		clients.Fail("client_0190b6f2-1111-7222-8333-444444444444", home)
	}
}
