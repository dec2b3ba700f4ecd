package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/oauth/limit"
	"doorward/storage"
)

const (
	goodPassword  = "violet kettles hum at noon"
	otherPassword = "nine quiet ferries to Oban"
)

var (
	home      = netip.MustParseAddr("192.0.2.1")
	elsewhere = netip.MustParseAddr("198.51.100.7")
)

// rig is a Service whose clock is moved by hand and whose hashes are counted.
type rig struct {
	*Service
	store  *storage.Store
	at     atomic.Int64 // microseconds
	hashes atomic.Int64
}

func (r *rig) advance(d time.Duration) { r.at.Add(d.Microseconds()) }

// newRig replaces Argon2id by a hash that costs nothing, unless dear.
func newRig(store *storage.Store, dear bool) *rig {
	r := &rig{store: store}
	r.at.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixMicro())
	now := func() time.Time { return time.UnixMicro(r.at.Load()) }
	store.SetClock(now)
	r.Service = New(Config{Store: store, Throttle: limit.NewSignIns(now), Issuer: "https://login.rhubarb.example"})
	argon := r.hasher.key
	r.hasher.key = func(password, salt []byte, t, memory uint32, threads uint8, n uint32) []byte {
		r.hashes.Add(1)
		if dear {
			return argon(password, salt, t, memory, threads, n)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%x %x %d %d %d", password, salt, t, memory, threads))
		return sum[:n]
	}
	return r
}

func (r *rig) user(t *testing.T, email string) storage.User {
	t.Helper()
	u, err := r.CreateUser(t.Context(), NewUser{Email: email, Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (r *rig) reload(t *testing.T, id string) storage.User {
	t.Helper()
	u, err := r.store.UserByID(storage.System(t.Context()), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (r *rig) login(ctx context.Context, email, password string, from netip.Addr, known bool) error {
	_, err := r.Login(ctx, Attempt{Email: email, Password: password, Address: from, KnownDevice: known})
	return err
}

// wrong gives n wrong passwords that must all be compared.
func (r *rig) wrong(t *testing.T, n int, email string, from netip.Addr, known bool) {
	t.Helper()
	for i := range n {
		if err := r.login(t.Context(), email, otherPassword, from, known); !errors.Is(err, ErrWrong) {
			t.Fatalf("wrong password %d from %s: %v, want ErrWrong", i+1, from, err)
		}
	}
}

func mustBeThrottled(t *testing.T, err error) time.Duration {
	t.Helper()
	var throttled *Throttled
	if !errors.As(err, &throttled) || throttled.RetryAfter <= 0 {
		t.Fatalf("error %v, want Throttled with a time to come back", err)
	}
	return throttled.RetryAfter
}

func mustBe(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// atOnce runs fn n times at once and tells how often it returned nil.
func atOnce(n int, fn func(i int) error) (wins int64, failures []error) {
	var count atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := fn(i); err != nil {
				mu.Lock()
				failures = append(failures, err)
				mu.Unlock()
				return
			}
			count.Add(1)
		})
	}
	close(start)
	wg.Wait()
	return count.Load(), failures
}
