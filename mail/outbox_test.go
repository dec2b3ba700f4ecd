package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/locale"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/templates"
	"doorward/test/stores"
)

// recorder is a Sender that keeps what it gets.
type recorder struct {
	mu   sync.Mutex
	got  []Message
	fail func(m Message) error
}

// Send implements Sender.
func (r *recorder) Send(_ context.Context, m Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, m)
	if r.fail != nil {
		return r.fail(m)
	}
	return nil
}

// Close implements Sender.
func (*recorder) Close() {}

// post is an Outbox on a database with a moved clock.
type post struct {
	*Outbox

	t     *testing.T
	now   time.Time
	out   *recorder
	count map[string]int
	log   strings.Builder
}

func newPost(t *testing.T, store *storage.Store) *post {
	t.Helper()
	secrets, err := seal.New([][]byte{[]byte("a master secret for tests, of 32 bytes or more")})
	must(t, err)
	german, err := locale.NewLanguage("de", nil)
	must(t, err)
	p := &post{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), out: &recorder{}, count: map[string]int{}}
	var mu sync.Mutex
	p.Outbox, err = New(Config{
		Store: store, Secrets: secrets, Languages: locale.NewSet(locale.English(), german),
		Brand: templates.Brand{Name: "Northwind"}, Issuer: "https://auth.example.com",
		From: "Northwind <no-reply@northwind.example>", SignUp: true,
		Open: func() (Sender, error) { return p.out, nil },
		Count: func(kind, outcome string) {
			mu.Lock()
			defer mu.Unlock()
			p.count[kind+" "+outcome]++
		},
		Log: slog.New(slog.NewTextHandler(&p.log, nil)),
	})
	must(t, err)
	store.SetClock(func() time.Time { return p.now })
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add inserts an email with a link, and returns its id.
func (p *post) add(to string, change ...func(e *storage.Email)) string {
	p.t.Helper()
	u := &storage.User{ID: "user_1", Language: "en"}
	e := p.Secrets.NewEmail(p.t.Context(), "sign_in", u, to, seal.EmailSecrets{
		URL:  "https://auth.example.com/login/link?word=secret-word",
		Code: "1234 5678",
	}, nil, p.Store.Now().Add(15*time.Minute))
	for _, c := range change {
		c(&e)
	}
	must(p.t, p.Store.InsertEmail(storage.System(p.t.Context()), e))
	return e.ID
}

// send sends what is due.
func (p *post) send() int {
	p.t.Helper()
	n, err := p.sendDue(p.t.Context(), p.out)
	must(p.t, err)
	return n
}

// waiting returns how many emails wait.
func (p *post) waiting() int64 {
	p.t.Helper()
	n, _, err := p.Store.EmailBacklog(storage.System(p.t.Context()))
	must(p.t, err)
	return n
}

// sealedLeft reports whether anything sealed is in the database.
func (p *post) sealedLeft() bool {
	p.t.Helper()
	list, err := p.Store.SealedEmails(storage.System(p.t.Context()), "", 10)
	must(p.t, err)
	return len(list) > 0
}

// An email that could not be sent is sent later with the same Message-ID, so that a reader's server can tell that it is
// the same; once it is sent, nothing secret of it is left.
func TestMailIsRetriedAsTheSameEmail(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		p := newPost(t, s)
		id := p.add("ann@example.com")
		tries := 0
		p.out.fail = func(Message) error {
			if tries++; tries < 4 {
				return errors.New("later")
			}
			return nil
		}
		for _, wait := range []time.Duration{0, 30 * time.Second, 2 * time.Minute, 5 * time.Minute} {
			if wait > 0 {
				p.now = p.now.Add(wait - time.Second)
				if n := p.send(); n != 0 {
					t.Errorf("%v after a failure, less a second, %d emails are due", wait, n)
				}
				p.now = p.now.Add(time.Second)
			}
			if n := p.send(); n != 1 {
				t.Errorf("after %v, %d emails are due", wait, n)
			}
		}
		if len(p.out.got) != 4 {
			t.Fatalf("it was tried %d times", len(p.out.got))
		}
		for _, m := range p.out.got {
			if m.ID != id+"@auth.example.com" || !strings.Contains(m.Text, "secret-word") || !strings.Contains(m.Text, "1234 5678") {
				t.Errorf("a try had the id %s and said %s", m.ID, m.Text)
			}
			if strings.Contains(m.Subject, "1234") {
				t.Errorf("the subject is %q", m.Subject)
			}
		}
		if p.waiting() != 0 || p.sealedLeft() || p.count["sign_in sent"] != 1 || p.count["sign_in retried"] != 3 {
			t.Errorf("%d emails wait, sealed left: %v, counted %v", p.waiting(), p.sealedLeft(), p.count)
		}
		if strings.Contains(p.log.String(), "secret-word") || strings.Contains(p.log.String(), "ann@") {
			t.Errorf("the log says %s", p.log.String())
		}
	})
}

// An email that expires, or that the server refuses for good, is given up: with a log line, an audit event, and nothing
// secret left.
func TestMailIsGivenUp(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		for name, x := range map[string]struct {
			fail   error
			change func(e *storage.Email)
			after  time.Duration
			tries  int
		}{
			"refused":      {fail: &Rejected{Cause: errors.New("550 no such user")}, tries: 1},
			"until expiry": {fail: errors.New("later"), after: 15 * time.Minute, tries: 4},
			"already over": {change: func(e *storage.Email) { e.ExpiresAt = e.ExpiresAt.Add(-time.Hour) }},
			"unknown kind": {change: func(e *storage.Email) { e.Kind = "from_a_later_version" }},
			"other secret": {change: func(e *storage.Email) { e.ID = "email_other" }},
			"after a day": {
				fail: errors.New("later"), after: 25 * time.Hour, tries: 18,
				change: func(e *storage.Email) { e.ExpiresAt = s.Now().Add(24 * time.Hour) },
			},
		} {
			t.Run(name, func(t *testing.T) {
				p := newPost(t, s)
				p.out.fail = func(Message) error { return x.fail }
				id := p.add("ann@example.com", func(e *storage.Email) {
					if x.change != nil {
						x.change(e)
					}
				})
				if name == "other secret" {
					id = "email_other"
				}
				for end := p.now.Add(x.after); !p.now.After(end); p.now = p.now.Add(30 * time.Second) {
					p.send()
				}
				if len(p.out.got) != x.tries || p.waiting() != 0 || p.sealedLeft() {
					t.Errorf("%d tries, %d wait, sealed left: %v", len(p.out.got), p.waiting(), p.sealedLeft())
				}
				if !strings.Contains(p.log.String(), "an email was not sent") || !strings.Contains(p.log.String(), id) {
					t.Errorf("the log says %s", p.log.String())
				}
				events, err := s.AuditEvents(storage.System(t.Context()), storage.AuditFilter{Limit: 100})
				must(t, err)
				if !slices.ContainsFunc(events, func(e storage.AuditEvent) bool {
					return e.Action == "email.not_sent" && e.Target == id
				}) {
					t.Errorf("the audit log has %v", events)
				}
			})
		}
	})
}

// Several processes share the emails: each is sent once.
func TestMailOfTwoOutboxesIsSentOnce(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		p := newPost(t, s)
		const emails = 300
		for i := range emails {
			p.add(fmt.Sprintf("n%d@example.com", i))
		}
		other, err := New(p.Config)
		must(t, err)
		var both sync.WaitGroup
		for _, o := range []*Outbox{p.Outbox, other, p.Outbox, other} {
			both.Go(func() {
				for {
					n, err := o.sendDue(t.Context(), p.out)
					if err != nil {
						t.Error(err)
					}
					if n == 0 {
						return
					}
				}
			})
		}
		both.Wait()
		seen := map[string]int{}
		for _, m := range p.out.got {
			seen[m.ID]++
		}
		if len(seen) != emails || len(p.out.got) != emails || p.waiting() != 0 {
			t.Errorf("%d emails were sent %d times, %d wait", len(seen), len(p.out.got), p.waiting())
		}
	})
}

// Emails that a process had claimed when it ended are sent by others after the lease.
func TestMailOfAnEndedProcessIsSent(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		p := newPost(t, s)
		p.add("ann@example.com")
		claimed, err := s.ClaimEmails(storage.System(t.Context()), lease, 10)
		must(t, err)
		if len(claimed) != 1 || p.send() != 0 {
			t.Fatalf("claimed %d, and another process claimed it too", len(claimed))
		}
		p.now = p.now.Add(lease)
		if p.send() != 1 || len(p.out.got) != 1 || p.waiting() != 0 {
			t.Errorf("after the lease: %d sent, %d wait", len(p.out.got), p.waiting())
		}
	})
}

// A reader gets an email in their own language and time zone, whatever the language of the page that caused it, and in
// the server's first language otherwise.
func TestMailIsInTheReadersLanguage(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		p := newPost(t, s)
		for _, x := range []struct{ language, zone, want, text string }{
			{"de", "Europe/Berlin", "de", "13:00"},
			{"en", "", "en", "12:00"},
			{"", "", "en", "12:00"},
			{"xx", "No/Where", "en", "12:00"},
		} {
			e := p.Secrets.NewEmail(t.Context(), "password_changed", &storage.User{ID: "user_1", Language: x.language, TimeZone: x.zone},
				"ann@example.com", seal.EmailSecrets{}, nil, s.Now().Add(time.Hour))
			must(t, s.InsertEmail(storage.System(t.Context()), e))
			p.out.got = nil
			p.send()
			if len(p.out.got) != 1 {
				t.Fatalf("%d emails", len(p.out.got))
			}
			m := p.out.got[0]
			german := strings.Contains(m.Subject, "Passwort")
			if m.Language != x.want || german != (x.want == "de") || !strings.Contains(m.HTML, `lang="`+x.want+`"`) ||
				!strings.Contains(m.Text, x.text) || !strings.Contains(m.Text, "Northwind") {
				t.Errorf("for %+v: %s %q\n%s", x, m.Language, m.Subject, m.Text)
			}
		}
	})
}

// The time in an email is the one that was configured, although the email is stored a moment after the link.
func TestMailSaysHowLongALinkWorks(t *testing.T) {
	p := newPost(t, stores.Open(t, "sqlite::memory:"))
	p.add("ann@example.com", func(*storage.Email) { p.now = p.now.Add(time.Second) })
	p.send()
	if text := p.out.got[0].Text; !strings.Contains(text, "within 15 minutes") {
		t.Errorf("the email does not say 15 minutes: %s", text)
	}
}

// When the connection fails, the rest of the batch is not tried on it now; when one email is refused, the rest is.
func TestMailBatchAfterAFailure(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		for name, x := range map[string]struct {
			fail  error
			tries int
		}{
			"connection": {errors.New("connection reset"), 1},
			"refusal":    {&Rejected{Cause: errors.New("550")}, 5},
		} {
			p := newPost(t, s)
			for i := range 5 {
				p.add(fmt.Sprintf("n%d@example.com", i))
			}
			p.out.fail = func(Message) error { return x.fail }
			if p.send(); len(p.out.got) != x.tries {
				t.Errorf("%s: %d tries", name, len(p.out.got))
			}
			p.out.fail = nil
			p.now = p.now.Add(time.Minute)
			p.send()
			if p.waiting() != 0 {
				t.Errorf("%s: %d wait", name, p.waiting())
			}
		}
	})
}

// Run sends through a real server what is written while it runs, and stops when it is told.
func TestMailRunSendsUntilItIsStopped(t *testing.T) {
	store := stores.Open(t, "sqlite:"+filepath.Join(t.TempDir(), "run.db"))
	p := newPost(t, store)
	arrived := make(chan string, 100)
	s := startServer(t, "plain", &server{})
	p.Open = func() (Sender, error) {
		out, err := newSMTPSender("smtp://"+s.address, "auth.example.com")
		return tell{out, arrived}, err
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for i := range 20 {
		p.add(fmt.Sprintf("n%d@example.com", i))
	}
	for range 20 {
		<-arrived
	}
	stop()
	must(t, <-ended)
	if got := s.emails(); len(got) != 20 || p.waiting() != 0 {
		t.Errorf("%d emails arrived, %d wait", len(got), p.waiting())
	}
}

// tell tells what was sent.
type tell struct {
	Sender

	to chan<- string
}

// Send implements Sender.
func (x tell) Send(ctx context.Context, m Message) error {
	err := x.Sender.Send(ctx, m)
	x.to <- m.ID
	return err
}
