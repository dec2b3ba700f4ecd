package cache

import (
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"doorward/storage"
	"doorward/test/stores"
)

// row is a cached row in tests: what was read, and what it depends on.
type row struct {
	value int
	id    string
	ended bool
}

// key is that of the only row in most tests.
var key = Key{Workspace: "one"}

func newCache(t *testing.T) (*storage.Store, *Cache[row]) {
	t.Helper()
	s := stores.Open(t, "sqlite::memory:")
	s.Follow(slog.New(slog.DiscardHandler))
	if err := s.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, cacheOf(s)
}

// kept returns what c keeps for the only row.
func kept(c *Cache[row]) *entry[row] {
	e, _ := c.entries.GetIfPresent(key)
	return e.(*entry[row])
}

func cacheOf(s *storage.Store) *Cache[row] {
	return New(s, func(r *row) storage.Dependencies { return storage.DependenciesOf(r.id) },
		func(r *row) bool { return !r.ended })
}

// reader counts how often a row is read, which is also its value.
type reader struct {
	times int
	keep  bool
	ended bool
	err   error
}

func (r *reader) read() (row, bool, error) {
	r.times++
	return row{r.times, "thing", r.ended}, r.keep, r.err
}

func find(t *testing.T, c *Cache[row], r *reader, want int) {
	t.Helper()
	if got, err := c.Find(key, r.read); !errors.Is(err, r.err) || got.value != want {
		t.Errorf("got the row of read %d, error %v; want %d", got.value, err, want)
	}
}

func TestRowsAreReadAgainOnceSomethingChanged(t *testing.T) {
	s, c := newCache(t)
	r := &reader{keep: true}
	for range 3 {
		find(t, c, r, 1)
	}
	s.Invalidate()
	for range 3 {
		find(t, c, r, 2)
	}
	if hits, misses := c.Stats(); hits != 4 || misses != 2 {
		t.Errorf("%d hits and %d misses, want 4 and 2", hits, misses)
	}
}

// A reader that began before a change may return what was there before it, to requests that also began before it. A
// later request must not get that.
func TestWhatWasReadDuringAChangeIsNotUsedAfterIt(t *testing.T) {
	s, c := newCache(t)
	old := row{value: 1, id: "thing"}
	got, err := c.Find(key, func() (row, bool, error) {
		s.Invalidate() // the change is committed after the statement and before the row is kept
		return old, true, nil
	})
	if got != old || err != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	find(t, c, &reader{keep: true, times: 1}, 2)
}

// A slow reader that began before a change, and ends after another one has read again, changes nothing either.
func TestASlowReaderDoesNotReplaceWhatIsNewer(t *testing.T) {
	s, c := newCache(t)
	r := &reader{keep: true, times: 1}
	if _, err := c.Find(key, func() (row, bool, error) {
		s.Invalidate()
		find(t, c, r, 2)
		return row{value: 1, id: "thing"}, true, nil
	}); err != nil {
		t.Fatal(err)
	}
	find(t, c, r, 3)
}

// A change that was made past the server is not announced.
func TestRowsAreReadAgainAfterAWhile(t *testing.T) {
	_, c := newCache(t)
	r := &reader{keep: true}
	find(t, c, r, 1)
	e := kept(c)
	e.read = e.read.Add(-maxAge + time.Second)
	find(t, c, r, 1)
	e.read = e.read.Add(-time.Second)
	find(t, c, r, 2)
}

// A refusal comes from the database, and takes as long as that of an unknown credential.
func TestRowsThatEndAreReadAgain(t *testing.T) {
	_, c := newCache(t)
	r := &reader{keep: true}
	find(t, c, r, 1)
	e := kept(c)
	e.row.ended = true
	find(t, c, r, 2)
}

func TestUnknownAndUnwantedRowsAreNotKept(t *testing.T) {
	_, c := newCache(t)
	for _, r := range []*reader{
		{keep: true, err: storage.ErrNotFound},
		{keep: true, err: storage.ErrUnavailable},
		{keep: false},
		{keep: true, ended: true},
	} {
		find(t, c, r, 1)
		find(t, c, r, 2)
	}
	if n := c.entries.(*otter.Cache[Key, any]).EstimatedSize(); n != 0 {
		t.Errorf("%d rows are kept", n)
	}
}

func TestNothingIsKeptUnlessOtherProcessesAreFollowed(t *testing.T) {
	s := stores.Open(t, "sqlite::memory:")
	c := cacheOf(s)
	r := &reader{keep: true}
	find(t, c, r, 1)
	find(t, c, r, 2)
	s.Follow(slog.New(slog.DiscardHandler))
	if err := s.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	find(t, c, r, 3)
	find(t, c, r, 3)
	s.Close()
	find(t, c, r, 4)
}

func TestTheCacheIsBounded(t *testing.T) {
	_, c := newCache(t)
	for i := range Size + Size/2 {
		read := func() (row, bool, error) { return row{value: i, id: "thing"}, true, nil }
		if _, err := c.Find(Key{Workspace: strconv.Itoa(i)}, read); err != nil {
			t.Fatal(err)
		}
	}
	c.entries.(*otter.Cache[Key, any]).CleanUp()
	if n := c.entries.(*otter.Cache[Key, any]).EstimatedSize(); n > Size {
		t.Errorf("%d rows are kept, want at most %d", n, Size)
	}
}
