package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

func TestG01_SameAnswerAndWorkWhoeverIsAskedFor(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		ctx := storage.System(t.Context())
		r.user(t, "known@example.com")
		disabled := r.user(t, "disabled@example.com")
		if err := r.DisableUser(ctx, disabled.ID); err != nil {
			t.Fatal(err)
		}
		without := r.user(t, "without@example.com")
		if err := store.SetPasswordHash(ctx, without.ID, ""); err != nil {
			t.Fatal(err)
		}
		outOfUse := r.user(t, "out@example.com")
		for range failuresBound {
			if err := store.CountPasswordFailure(ctx, outOfUse.ID, failuresBound); err != nil {
				t.Fatal(err)
			}
		}
		for name, a := range map[string]Attempt{
			"known, wrong password":     {Email: "known@example.com", Password: otherPassword},
			"unknown":                   {Email: "nobody@example.com", Password: goodPassword},
			"disabled, right password":  {Email: "disabled@example.com", Password: goodPassword},
			"no password":               {Email: "without@example.com", Password: ""},
			"out of use, right":         {Email: "out@example.com", Password: goodPassword},
			"empty address":             {Email: "", Password: goodPassword},
			"wildcard address":          {Email: "%", Password: goodPassword},
			"NUL after a known address": {Email: "known@example.com\x00", Password: goodPassword},
			"address that is not UTF-8": {Email: "known@example.com\xff", Password: goodPassword},
			"long address":              {Email: strings.Repeat("x", 10_000) + "@example.com", Password: goodPassword},
		} {
			a.Address = home
			before := r.hashes.Load()
			u, err := r.Login(t.Context(), a)
			if !errors.Is(err, ErrWrong) || err.Error() != ErrWrong.Error() || u.ID != "" {
				t.Errorf("%s: user %q, error %v; want ErrWrong", name, u.ID, err)
			}
			if n := r.hashes.Load() - before; n != 1 {
				t.Errorf("%s: %d hashes, want 1", name, n)
			}
		}
		// Only the first attempt above counted for a user; the others wrote just as much.
		if _, err := store.Setting(ctx, "password_failure_uncounted"); err != nil {
			t.Errorf("an attempt for an unknown user wrote nothing: %v", err)
		}
		if u := r.reload(t, outOfUse.ID); u.PasswordFailures != failuresBound {
			t.Errorf("%d failures are counted, want %d at most", u.PasswordFailures, failuresBound)
		}
	})
}

func TestG01_UnknownAccountsAreThrottledAlike(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		r.user(t, "known@example.com")
		var waits []time.Duration
		for _, email := range []string{"known@example.com", "nobody@example.com"} {
			r.wrong(t, 10, email, home, false)
			waits = append(waits, mustBeThrottled(t, r.login(t.Context(), email, goodPassword, home, false)))
		}
		if waits[0] != waits[1] {
			t.Errorf("known waits %v, unknown %v", waits[0], waits[1])
		}
	})
}

func TestLoginTakesAnyCaseOfTheAddress(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "Ada@Example.com")
		got, err := r.Login(t.Context(), Attempt{Email: " aDA@eXAMPLE.COM ", Password: goodPassword, Address: home})
		if err != nil || got.ID != u.ID || !got.SeenAt.IsZero() {
			t.Fatalf("user %q, signed in before at %v, error %v", got.ID, got.SeenAt, err)
		}
		if seen := r.reload(t, u.ID).SeenAt; seen != store.Now() {
			t.Errorf("last seen %v", seen)
		}
	})
}

func TestG02_TenFailuresThenDoublingWait(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		r.user(t, "a@example.com")
		r.wrong(t, 10, "a@example.com", home, false)
		for _, want := range []time.Duration{
			time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute,
			15 * time.Minute,
		} {
			before := r.hashes.Load()
			if got := mustBeThrottled(t, r.login(t.Context(), "A@example.com", goodPassword, home, false)); got != want {
				t.Fatalf("wait %v, want %v", got, want)
			}
			if r.hashes.Load() != before {
				t.Error("a throttled attempt reached the hash")
			}
			r.advance(want)
			r.wrong(t, 1, "a@example.com", home, false)
		}
		r.advance(15 * time.Minute)
		if err := r.login(t.Context(), "a@example.com", goodPassword, home, false); err != nil {
			t.Fatalf("the right password after the wait: %v", err)
		}
		r.wrong(t, 10, "a@example.com", home, false) // the success forgave
	})
}

func TestG02_HundredFailuresInARowPutThePasswordOutOfUse(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		from := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }
		outOfUse := func() {
			t.Helper()
			for i := range failuresBound {
				if err := r.login(t.Context(), "a@example.com", otherPassword, from(i), false); !errors.Is(err, ErrWrong) {
					t.Fatal(err)
				}
			}
			r.advance(time.Hour)
			mustBe(t, r.login(t.Context(), "a@example.com", goodPassword, elsewhere, false), ErrWrong)
			mustBe(t, r.Confirm(t.Context(), u, Attempt{Password: goodPassword, Address: elsewhere}), ErrWrong)
		}

		for i := range failuresBound - 1 {
			r.wrong(t, 1, "a@example.com", from(i), false)
		}
		if err := r.login(t.Context(), "a@example.com", goodPassword, home, false); err != nil {
			t.Fatalf("after 99 failures: %v", err)
		}
		r.advance(time.Hour)
		outOfUse() // 100 more, since the success set the count back
		if _, err := r.SetPassword(t.Context(), u.ID, otherPassword, SignOutOptions{Apps: true}); err != nil {
			t.Fatal(err)
		}
		if err := r.login(t.Context(), "a@example.com", otherPassword, elsewhere, false); err != nil {
			t.Fatalf("after an administrator set a new password: %v", err)
		}
		if _, err := r.SetPassword(t.Context(), u.ID, goodPassword, SignOutOptions{Apps: true}); err != nil {
			t.Fatal(err)
		}
		outOfUse()
		if err := r.EnableUser(t.Context(), u.ID); err != nil {
			t.Fatal(err)
		}
		if err := r.login(t.Context(), "a@example.com", goodPassword, elsewhere, false); err != nil {
			t.Fatalf("after an administrator enabled the user: %v", err)
		}
	})
}

func TestG03_OtherWaysInDoNotRestartGuessing(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		r.wrong(t, 10, "a@example.com", home, false)
		mustBeThrottled(t, r.Confirm(t.Context(), u, Attempt{Password: goodPassword, Address: home}))
		mustBeThrottled(t, r.ChangePassword(t.Context(), u.ID, "", Attempt{Password: goodPassword, Address: home},
			otherPassword))

		r.advance(time.Hour)
		for range 5 {
			mustBe(t, r.Confirm(t.Context(), u, Attempt{Password: otherPassword, Address: home}), ErrWrong)
			mustBe(t, r.ChangePassword(t.Context(), u.ID, "", Attempt{Password: otherPassword, Address: home}, otherPassword),
				ErrWrong)
		}
		mustBeThrottled(t, r.login(t.Context(), "a@example.com", goodPassword, home, false))
		if got := r.reload(t, u.ID).PasswordFailures; got != 20 {
			t.Errorf("%d failures are counted, want 20", got)
		}
	})
}

func TestG04_OnePasswordOverManyAccounts(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		for i := range 100 {
			r.wrong(t, 1, fmt.Sprintf("user%d@example.com", i), home, false)
		}
		mustBeThrottled(t, r.login(t.Context(), "user500@example.com", otherPassword, home, false))
		r.wrong(t, 1, "user500@example.com", elsewhere, false)
	})
}

func TestG05_VictimsOwnDeviceGetsIn(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		for name, attacker := range map[string]netip.Addr{
			"attacker elsewhere":           elsewhere,
			"attacker at the same address": home,
		} {
			t.Run(name, func(t *testing.T) {
				r := newRig(store, false)
				email := strings.ReplaceAll(name, " ", "-") + "@example.com"
				u := r.user(t, email)
				for i := range failuresBound {
					a := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
					if i < 10 {
						a = attacker
					}
					r.wrong(t, 1, email, a, false)
				}
				mustBeThrottled(t, r.login(t.Context(), email, goodPassword, attacker, false))
				r.advance(time.Minute) // attackers no longer count: the password is out of use for them
				r.wrong(t, 1, email, attacker, false)
				if got := r.reload(t, u.ID).PasswordFailures; got != failuresBound {
					t.Fatalf("%d failures are counted, want %d", got, failuresBound)
				}
				r.wrong(t, 1, email, home, true) // a slip of the victim
				if err := r.login(t.Context(), email, goodPassword, home, true); err != nil {
					t.Fatalf("the victim's own device: %v", err)
				}
				if got := r.reload(t, u.ID).PasswordFailures; got != 0 {
					t.Errorf("%d failures are counted after a success", got)
				}
			})
		}
	})
}

func TestG05_StolenDeviceDoesNotGuessForEver(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		for i := range failuresBoundKnownDevice {
			r.wrong(t, 1, "a@example.com", netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), true)
		}
		mustBe(t, r.login(t.Context(), "a@example.com", goodPassword, home, true), ErrWrong)
		if got := r.reload(t, u.ID).PasswordFailures; got != failuresBoundKnownDevice {
			t.Errorf("%d failures are counted, want %d", got, failuresBoundKnownDevice)
		}
	})
}

func TestL09_AddressesOfOneNetworkAreOne(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		for i := range 10 {
			r.wrong(t, 1, "a@example.com", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)), false)
		}
		mustBeThrottled(t, r.login(t.Context(), "a@example.com", otherPassword, netip.MustParseAddr("2001:db8::ffff:1:2:3"),
			false))
		r.wrong(t, 1, "a@example.com", netip.MustParseAddr("2001:db8:0:1::1"), false)

		for range 10 {
			r.wrong(t, 1, "b@example.com", home, false)
		}
		mustBeThrottled(t, r.login(t.Context(), "b@example.com", otherPassword, netip.MustParseAddr("::ffff:192.0.2.1"),
			false))
	})
}

func TestL10_ParallelGuessesReachTheHashAtMostTenTimes(t *testing.T) {
	stores.OnEachEngineParallel(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		before := r.hashes.Load()
		_, errs := atOnce(64, func(int) error { return r.login(t.Context(), "a@example.com", otherPassword, home, false) })
		wrong := 0
		for _, err := range errs {
			if errors.Is(err, ErrWrong) {
				wrong++
			} else {
				mustBeThrottled(t, err)
			}
		}
		if n := r.hashes.Load() - before; n > 10 || int(n) != wrong || len(errs) != 64 {
			t.Errorf("%d guesses reached the hash, %d were answered as wrong, want at most 10", n, wrong)
		}
		if got := r.reload(t, u.ID).PasswordFailures; int(got) != wrong {
			t.Errorf("%d failures are counted, want %d", got, wrong)
		}
	})
}

func TestL12_GuessingAtAVictimFromElsewhereDoesNotThrottleThem(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		r.user(t, "victim@example.com")
		r.wrong(t, 10, "victim@example.com", elsewhere, false)
		mustBeThrottled(t, r.login(t.Context(), "victim@example.com", otherPassword, elsewhere, false))
		if err := r.login(t.Context(), "victim@example.com", goodPassword, home, false); err != nil {
			t.Errorf("the victim: %v", err)
		}
	})
}

func TestGuessCountsWhenNobodyWaitsForItsAnswer(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		key := r.hasher.key
		ctx, cancel := context.WithCancel(t.Context())
		r.hasher.key = func(password, salt []byte, t, memory uint32, threads uint8, n uint32) []byte {
			cancel()
			return key(password, salt, t, memory, threads, n)
		}
		mustBe(t, r.login(ctx, "a@example.com", otherPassword, home, false), ErrWrong)
		if got := r.reload(t, u.ID).PasswordFailures; got != 1 {
			t.Errorf("%d failures are counted, want 1", got)
		}
	})
}

func TestBusyAndUnavailableAreNoFailures(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for range cap(r.hasher.slots) {
			r.hasher.slots <- struct{}{}
		}
		for range 20 {
			err := r.login(cancelled, "a@example.com", goodPassword, home, false)
			if !errors.Is(err, ErrBusy) && !errors.Is(err, storage.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		for range cap(r.hasher.slots) {
			<-r.hasher.slots
		}
		if err := r.login(t.Context(), "a@example.com", goodPassword, home, false); err != nil {
			t.Fatal(err)
		}

		store.Close()
		for range 20 {
			for _, err := range []error{
				r.login(t.Context(), "a@example.com", goodPassword, home, false),
				r.login(t.Context(), "nobody@example.com", goodPassword, home, false),
				r.Confirm(t.Context(), u, Attempt{Password: goodPassword, Address: home}),
			} {
				mustBe(t, err, storage.ErrUnavailable)
				if errors.Is(err, ErrWrong) {
					t.Fatal("a storage failure is a wrong password")
				}
			}
		}
	})
}

func TestRehashWhenParametersDiffer(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, true)
		u := r.user(t, "a@example.com")
		weak := params{memory: 64, time: 1, threads: 1}
		salt := random(saltBytes)
		old := encode(weak, salt, r.hasher.key([]byte(goodPassword), salt, weak.time, weak.memory, weak.threads, hashBytes))
		ctx := storage.System(t.Context())
		if err := store.SetPasswordHash(ctx, u.ID, old); err != nil {
			t.Fatal(err)
		}
		r.wrong(t, 1, "a@example.com", home, false)
		if got := r.reload(t, u.ID).PasswordHash; got != old {
			t.Fatal("a wrong password replaced the hash")
		}
		for i := range 2 {
			got, err := r.Login(t.Context(), Attempt{Email: "a@example.com", Password: goodPassword, Address: home})
			if err != nil {
				t.Fatalf("login %d: %v", i+1, err)
			}
			stored := r.reload(t, u.ID).PasswordHash
			if r.hasher.outdated(stored) || got.PasswordHash != stored || i > 0 && stored != old {
				t.Errorf("login %d: the hash is %q", i+1, stored)
			}
			old = stored
		}
		before := r.hashes.Load()
		if err := r.login(t.Context(), "a@example.com", goodPassword, home, false); err != nil ||
			r.hashes.Load()-before != 1 {
			t.Errorf("a present hash is made again: %d hashes, %v", r.hashes.Load()-before, err)
		}
	})
}

func TestG24_MegabyteNeverReachesTheHash(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		before := r.hashes.Load()
		huge := strings.Repeat("x", 1<<20)
		mustBe(t, r.login(t.Context(), "a@example.com", huge, home, false), ErrWrong)
		mustBe(t, r.login(t.Context(), "nobody@example.com", huge, home, false), ErrWrong)
		mustBe(t, r.Confirm(t.Context(), u, Attempt{Password: huge, Address: home}), ErrWrong)
		var invalid *Invalid
		if _, err := r.SetPassword(t.Context(), u.ID, huge, SignOutOptions{}); !errors.As(err, &invalid) {
			t.Error(err)
		}
		if r.hashes.Load() != before {
			t.Error("a megabyte was hashed")
		}
		for range 8 { // it counts like any other
			mustBe(t, r.login(t.Context(), "a@example.com", huge, home, false), ErrWrong)
		}
		mustBeThrottled(t, r.login(t.Context(), "a@example.com", huge, home, false))
	})
}
