//go:build faults

package faults

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mailServer is as little of SMTP as accepts an email. It keeps its port when it is stopped and started again.
type mailServer struct {
	t       testing.TB
	address string
	// delay is how long it takes over each email, so that a kill meets one.
	delay time.Duration

	mu   sync.Mutex
	l    net.Listener
	seen map[string]int // by recipient and Message-ID
}

func newMailServer(t testing.TB, delay time.Duration) *mailServer {
	t.Helper()
	m := &mailServer{t: t, address: "127.0.0.1:0", delay: delay, seen: map[string]int{}}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mailServer) start() {
	m.t.Helper()
	l, err := net.Listen("tcp", m.address)
	ok(m.t, err)
	m.address = l.Addr().String()
	m.mu.Lock()
	m.l = l
	m.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // stopped
			}
			go m.serve(c)
		}
	}()
}

func (m *mailServer) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.l.Close() // twice at the end
}

func (m *mailServer) serve(c net.Conn) {
	defer c.Close() //nolint:errcheck // the other side may be dead
	in := bufio.NewReader(c)
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") }
	say("220 mail.example.com")
	to, id, data := "", "", false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch verb := strings.ToUpper(line); {
		case data && line == ".":
			pause(m.t.Context(), m.delay)
			m.mu.Lock()
			m.seen[to+" "+id]++
			m.mu.Unlock()
			data = false
			say("250 accepted")
		case data && strings.HasPrefix(line, "Message-ID:"):
			id = line
		case data:
		case strings.HasPrefix(verb, "RCPT TO:"):
			to = line
			say("250 good")
		case verb == "DATA":
			data = true
			say("354 go on")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 good")
		}
	}
}

// counts returns how many emails have arrived, and how many of them more than once.
func (m *mailServer) counts() (different, twice int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.seen {
		different++
		if n > 1 {
			twice += n - 1
		}
	}
	return different, twice
}

// signUp asks for the email of a sign-up in a browser with an address of its own, and reports whether the server has
// acknowledged it.
func (s *server) signUp(n int) bool {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return false
	}
	client := &http.Client{
		Jar: jar, Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	do := func(method, path string, form url.Values) (int, string) {
		q, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(form.Encode()))
		if err != nil {
			return 0, ""
		}
		q.Header.Set("X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", n/250, n%250+1))
		q.Header.Set("Origin", s.url)
		q.Header.Set("Sec-Fetch-Site", "same-origin")
		if form != nil {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		r, err := client.Do(q)
		if err != nil {
			return 0, ""
		}
		defer r.Body.Close() //nolint:errcheck // read to its end
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, ""
		}
		return r.StatusCode, string(body)
	}
	_, page := do(http.MethodGet, "/signup", nil)
	flow := hiddenFlow.FindStringSubmatch(page)
	if flow == nil {
		return false
	}
	status, _ := do(http.MethodPost, "/signup", url.Values{
		"flow": {strings.ReplaceAll(flow[1], "&#43;", "+")}, "email": {fmt.Sprintf("n%d@example.com", n)},
	})
	return status == http.StatusSeeOther
}

// A server that is killed between the commit that writes an email and its sending loses none, and sends at most the ones
// twice that were being sent. While the mail server is away, emails wait.
func TestZ01_KilledServerLosesNoEmail(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		m := newMailServer(t, 20*time.Millisecond)
		s := newServer(t, databaseURL, "DOORWARD_CONFIG=doorward.yaml", "DOORWARD_SIGN_UP=open")
		ok(t, os.WriteFile(filepath.Join(s.folder, "doorward.yaml"),
			[]byte("mail: {url: 'smtp://"+m.address+"', from: a@n.example, hourly: 100000}\n"), 0o600))
		s.start()
		const kills = 10
		var tried, asked atomic.Int64
		for kill := range kills {
			if kill == kills/2 {
				m.stop()
			}
			var workers sync.WaitGroup
			var stop atomic.Bool
			for range 8 {
				workers.Go(func() {
					for !stop.Load() {
						if s.signUp(int(tried.Add(1))) {
							asked.Add(1)
						} else {
							pause(t.Context(), 5*time.Millisecond)
						}
					}
				})
			}
			pause(t.Context(), 300*time.Millisecond+rand.N(300*time.Millisecond))
			s.kill()
			stop.Store(true)
			workers.Wait()
			s.start()
		}
		m.start()
		// What was claimed by a killed process is due again after the lease; a test cannot wait for minutes.
		db := s.openDatabase(databaseURL)
		const late = `UPDATE emails SET due_at = 1 WHERE done_at IS NULL`
		const waiting = `SELECT count(*) FROM emails WHERE done_at IS NULL`
		end := time.Now().Add(60 * time.Second)
		_, err := db.ExecContext(t.Context(), late)
		ok(t, err)
		for number(t.Context(), t, db, waiting) > 0 && time.Now().Before(end) {
			pause(t.Context(), 100*time.Millisecond)
		}
		different, twice := m.counts()
		lost := asked.Load() - int64(different)
		if left := number(t.Context(), t, db, waiting); left > 0 || lost > 0 || asked.Load() < 50 {
			t.Errorf("%d emails were acknowledged, %d arrived, %d wait", asked.Load(), different, left)
		}
		if twice > kills {
			t.Errorf("%d emails arrived twice, and each of %d kills can meet only one that is being sent", twice, kills)
		}
		report(t, "Z-1 email "+engineOf(databaseURL),
			"kill -9 after a random 300 to 600 ms of sign-ups, with the mail server away for half of the kills",
			"0 lost; twice at most what was being sent",
			fmt.Sprintf("%d kills, %d acknowledged emails, %d arrived, %d twice", kills, asked.Load(), different, twice))
	})
}
