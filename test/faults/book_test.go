//go:build faults

package faults

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Kinds of facts.
const (
	factLogin    = "login"    // Cookie is signed in
	factClient   = "client"   // Access, issued by client_credentials, is active
	factCode     = "code"     // Code was issued
	factExchange = "exchange" // Code was exchanged for Access and Refresh
	factRefresh  = "refresh"  // Shown was exchanged for Access and Refresh
	factRevoke   = "revoke"   // the family was revoked
	factEnded    = "ended"    // the family was revoked because its code was shown twice; no response says so
	factKey      = "key"      // the API key Access is active; a key that it replaced still works during its grace period
	factKeyEnd   = "key-end"  // the API key Shown was revoked
)

// fact is a line of the book.
type fact struct {
	Op     string `json:"op"`
	Family int    `json:"family,omitempty"` // everything issued from one code
	// Sure reports whether the server acknowledged it; otherwise the request was sent, and the fact may hold or not.
	Sure    bool   `json:"sure"`
	Code    string `json:"code,omitempty"`
	Shown   string `json:"shown,omitempty"`
	Access  string `json:"access,omitempty"`
	Refresh string `json:"refresh,omitempty"`
	Cookie  string `json:"cookie,omitempty"`
}

// book is a file to which facts are added. Each fact is on disk before write returns.
type book struct {
	t     testing.TB
	path  string
	file  *os.File
	mu    sync.Mutex
	lines int // acknowledged ones

	group sync.Mutex // held while waiting for the disk, so that facts wait for it together
	added int        // guarded by mu: bytes written
	safe  int        // guarded by group: bytes on disk
}

func newBook(t testing.TB) *book {
	t.Helper()
	b := &book{t: t, path: filepath.Join(t.TempDir(), "book")}
	var err error
	b.file, err = os.OpenFile(b.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ok(t, err)
	t.Cleanup(func() { _ = b.file.Close() })
	return b
}

// write adds a fact, and returns when it is on disk.
func (b *book) write(f fact) {
	line, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	b.mu.Lock()
	n, err := b.file.Write(append(line, '\n'))
	b.added += n
	mine := b.added
	if f.Sure && f.Op != factEnded {
		b.lines++
	}
	b.mu.Unlock()
	if err != nil {
		b.t.Errorf("the book: %v", err)
		return
	}
	b.group.Lock()
	defer b.group.Unlock()
	if b.safe >= mine {
		return
	}
	b.mu.Lock()
	upTo := b.added
	b.mu.Unlock()
	if err := b.file.Sync(); err != nil {
		b.t.Errorf("the book: %v", err)
	}
	b.safe = upTo
}

// acknowledged returns how many facts the server has acknowledged.
func (b *book) acknowledged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines
}

// size returns the offset of the next fact.
func (b *book) size() int64 {
	info, err := b.file.Stat()
	ok(b.t, err)
	return info.Size()
}

// story is everything that the book says about one family.
type story struct {
	id        int
	code      string
	exchanged state
	access    []string // all active unless the family was revoked
	rotated   []string // refresh tokens that were used
	refresh   string   // the last one
	retry     bool     // the last one was shown, but no answer came
	revoked   state
	ended     bool
}

type state int

const (
	no state = iota
	maybe
	yes
)

func stateOf(sure bool) state {
	if sure {
		return yes
	}
	return maybe
}

// chapter is what the book says from an offset on.
type chapter struct {
	cookies  []string
	clients  []string // access tokens of client_credentials
	families []*story
	keys     map[string]state // API keys, and whether each was revoked
}

// read reads the book from an offset on.
func (b *book) read(from int64) chapter {
	b.t.Helper()
	f, err := os.Open(b.path)
	ok(b.t, err)
	defer f.Close() //nolint:errcheck // only read
	_, err = f.Seek(from, io.SeekStart)
	ok(b.t, err)
	c := chapter{keys: map[string]state{}}
	families := map[int]*story{}
	for decoder := json.NewDecoder(bufio.NewReader(f)); ; {
		var x fact
		if err := decoder.Decode(&x); errors.Is(err, io.EOF) {
			return c
		} else if err != nil {
			b.t.Fatalf("the book: %v", err)
		}
		switch x.Op {
		case factLogin:
			c.cookies = append(c.cookies, x.Cookie)
			continue
		case factClient:
			c.clients = append(c.clients, x.Access)
			continue
		case factKey:
			c.keys[x.Access] = no
			continue
		case factKeyEnd:
			c.keys[x.Shown] = max(c.keys[x.Shown], stateOf(x.Sure))
			continue
		}
		s := families[x.Family]
		if s == nil {
			s = &story{id: x.Family}
			families[x.Family] = s
			c.families = append(c.families, s)
		}
		s.add(x)
	}
}

func (s *story) add(x fact) {
	switch x.Op {
	case factCode:
		s.code = x.Code
	case factExchange:
		s.exchanged = stateOf(x.Sure)
		if x.Sure {
			s.access, s.refresh = append(s.access, x.Access), x.Refresh
		}
	case factRefresh:
		s.retry = !x.Sure
		if x.Sure {
			s.access = append(s.access, x.Access)
			if x.Refresh != s.refresh {
				s.rotated = append(s.rotated, x.Shown)
			}
			s.refresh = x.Refresh
		}
	case factRevoke:
		if s.revoked != yes {
			s.revoked = stateOf(x.Sure)
		}
	case factEnded:
		s.ended = true
	}
}
