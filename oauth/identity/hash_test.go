package identity

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHashIsAPHCStringWithItsParameters(t *testing.T) {
	h := newHasher(1, wanted)
	phc, err := h.hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`).MatchString(phc) {
		t.Errorf("PHC string %q", phc)
	}
	if again, _ := h.hash(t.Context(), goodPassword); again == phc {
		t.Error("two hashes of one password are the same")
	}
	for password, want := range map[string]bool{
		goodPassword: true, otherPassword: false, "": false,
		goodPassword + "\x00": false,
	} {
		if got, err := h.verify(t.Context(), password, phc); got != want || err != nil {
			t.Errorf("verify %q: %v, %v; want %v", password, got, err, want)
		}
	}
}

// The reference implementation's own test vector: 64 MiB, two passes, "password", "somesalt".
func TestHashOfAnotherImplementationFits(t *testing.T) {
	h := newHasher(1, wanted)
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if fits, err := h.verify(t.Context(), "password", phc); !fits || err != nil {
		t.Errorf("%v, %v", fits, err)
	}
	if !h.outdated(phc) {
		t.Error("other parameters are not outdated")
	}
}

func TestBrokenHashFitsNothingAfterTheSameWork(t *testing.T) {
	h := newHasher(1, wanted)
	good := encode(wanted, make([]byte, saltBytes), make([]byte, hashBytes))
	for _, phc := range []string{
		"", "x", "$", "$$$$$", "$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
		strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=19456", "m=4294967295", 1), strings.Replace(good, "m=19456", "m=+19456", 1),
		strings.Replace(good, "t=2", "t=0", 1), strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "p=1", "p=1,x=2", 1),
		good + "=", good + "$", "$argon2id$v=19$m=19456,t=2,p=1$$",
	} {
		work := 0
		h.key = func(_, salt []byte, time, memory uint32, threads uint8, n uint32) []byte {
			work++
			if (params{memory, time, threads}) != wanted || len(salt) != saltBytes || n != hashBytes {
				t.Errorf("%q is hashed with other parameters", phc)
			}
			_, _, sum, _ := decode(h.dummy)
			return sum // even what fits the stand-in must not fit the password
		}
		if fits, err := h.verify(t.Context(), "", phc); fits || err != nil {
			t.Errorf("%q: fits %v, error %v", phc, fits, err)
		}
		if work != 1 {
			t.Errorf("%q: %d hashes, want 1", phc, work)
		}
	}
}

func TestG24_PasswordsThatDifferBeyond72BytesDiffer(t *testing.T) {
	h := newHasher(1, wanted)
	long := strings.Repeat("a sentence ", 20)
	phc, err := h.hash(t.Context(), long+"x")
	if err != nil {
		t.Fatal(err)
	}
	for tail, want := range map[string]bool{"x": true, "y": false, "": false} {
		if fits, err := h.verify(t.Context(), long+tail, phc); fits != want || err != nil {
			t.Errorf("tail %q: %v, %v; want %v", tail, fits, err, want)
		}
	}
}

func TestPasswordIsTheSameHoweverItsAccentsAreTyped(t *testing.T) {
	h := newHasher(1, wanted)
	phc, err := h.hash(t.Context(), "caf\u00e9 \u00c5ngstr\u00f6m corner")
	if err != nil {
		t.Fatal(err)
	}
	if fits, err := h.verify(t.Context(), "cafe\u0301 A\u030angstro\u0308m corner", phc); !fits || err != nil {
		t.Errorf("decomposed: %v, %v", fits, err)
	}
	if fits, _ := h.verify(t.Context(), "cafe Angstrom corner", phc); fits {
		t.Error("the password fits without its accents")
	}
}

func TestZ21_NoMoreHashesAtOnceThanSlots(t *testing.T) {
	const slots = 3
	h := newHasher(slots, wanted)
	var now, most atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	h.key = func(_, _ []byte, _, _ uint32, _ uint8, n uint32) []byte {
		if at := now.Add(1); at == slots {
			once.Do(func() { close(full) })
		}
		<-full // so that as many as may are inside together
		most.Store(max(most.Load(), now.Load()))
		now.Add(-1)
		return make([]byte, n)
	}
	if done, errs := atOnce(256, func(int) error {
		_, err := h.hash(t.Context(),
			goodPassword)
		return err
	}); done != 256 {
		t.Fatalf("%d of 256 were hashed: %v", done, errs)
	}
	if most.Load() > slots {
		t.Errorf("%d hashes at once, want %d at most", most.Load(), slots)
	}
}

func TestZ21_WaitingForASlotEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time moves on as soon as everybody waits
		h := newHasher(1, wanted)
		h.slots <- struct{}{}
		began := time.Now()
		_, err := h.hash(t.Context(), goodPassword)
		mustBe(t, err, ErrBusy)
		if waited := time.Since(began); waited != hashWait {
			t.Errorf("waited %v, want %v", waited, hashWait)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		_, err = h.hash(ctx, goodPassword)
		mustBe(t, err, ErrBusy)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("a caller who left waited %v", waited)
		}

		h.key = func(_, _ []byte, _, _ uint32, _ uint8, n uint32) []byte { return make([]byte, n) }
		time.AfterFunc(hashWait/2, func() { <-h.slots })
		if _, err = h.hash(t.Context(), goodPassword); err != nil {
			t.Errorf("a slot that came free was not taken: %v", err)
		}
	})
}

func TestSlotIsGivenBackAfterAPanic(t *testing.T) {
	h := newHasher(1, wanted)
	key := h.key
	h.key = func([]byte, []byte, uint32, uint32, uint8, uint32) []byte { panic(errors.New("out of memory")) }
	func() {
		defer func() { _ = recover() }()
		_, _ = h.hash(t.Context(), goodPassword)
	}()
	h.key = key
	if _, err := h.hash(t.Context(), goodPassword); err != nil {
		t.Error(err)
	}
}

func TestCostIsWholeUnlessAskedFor(t *testing.T) {
	if got := New(Config{}).hasher.cost; got != wanted {
		t.Errorf("a server's hashes cost %+v", got)
	}
	s := New(Config{Cost: Cost{Memory: 64, Passes: 1}})
	phc, err := s.hasher.hash(t.Context(), "a quiet harbour")
	if err != nil {
		t.Fatal(err)
	}
	if p, _, _, _ := decode(phc); p != (params{memory: 64, time: 1, threads: 1}) {
		t.Errorf("a hash cost %+v", p)
	}
	if dummy, _, _, _ := decode(s.hasher.dummy); dummy != s.hasher.cost {
		t.Errorf("an account that is not there costs %+v", dummy)
	}
}
