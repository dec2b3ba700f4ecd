package mail

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	gomail "github.com/wneessen/go-mail"
)

func sample() Message {
	return Message{
		ID: "email_1@auth.example.com", From: "Northwind <no-reply@northwind.example>", To: "ann@example.com",
		Subject: "Grüße", Text: "Text of the email.\n", HTML: "<p>HTML of the email.</p>", Language: "de",
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func sender(t *testing.T, url string, more ...gomail.Option) Sender {
	t.Helper()
	s, err := newSMTPSender(url, "auth.example.com", more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// An email arrives with both bodies and its headers, over a connection as safe as the URL promises.
func TestMailIsEncryptedUnlessItStaysOnThisMachine(t *testing.T) {
	for name, x := range map[string]struct {
		mode, url string // HOST is the server's address
		host      string // reach it under this name; empty: by its address
		trusted   bool
		user      string
		encrypted bool
		fails     bool
	}{
		"loopback without TLS":            {mode: "plain", url: "smtp://HOST"},
		"loopback with STARTTLS":          {mode: "starttls", url: "smtp://HOST", host: "localhost", trusted: false, fails: true},
		"STARTTLS":                        {mode: "starttls", url: "smtp://mail.example.com", host: "mail.example.com", trusted: true, encrypted: true},
		"STARTTLS missing":                {mode: "plain", url: "smtp://mail.example.com", host: "mail.example.com", trusted: true, fails: true},
		"STARTTLS for another name":       {mode: "starttls", url: "smtp://other.example.com", host: "other.example.com", trusted: true, fails: true},
		"password":                        {mode: "starttls", url: "smtp://app:p%40ss%3Aword%2F1@mail.example.com", host: "mail.example.com", trusted: true, encrypted: true, user: "app"},
		"wrong password":                  {mode: "starttls", url: "smtp://app:wrong@mail.example.com", host: "mail.example.com", trusted: true, fails: true},
		"smtps":                           {mode: "tls", url: "smtps://HOST", trusted: true, encrypted: true},
		"smtps, unknown authority":        {mode: "tls", url: "smtps://HOST", fails: true},
		"smtps to a server without TLS":   {mode: "plain", url: "smtps://HOST", trusted: true, fails: true},
		"smtps with password on loopback": {mode: "tls", url: "smtps://app:p%40ss%3Aword%2F1@HOST", trusted: true, encrypted: true, user: "app"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, x.mode, &server{})
			var more []gomail.Option
			switch options := s.as(x.host); {
			case x.host != "" && x.trusted:
				more = options
			case x.host != "":
				more = options[:1]
			case x.trusted:
				more = s.as("127.0.0.1")[1:]
			}
			err := sender(t, strings.Replace(x.url, "HOST", s.address, 1), more...).Send(t.Context(), sample())
			var rejected *Rejected
			if (err != nil) != x.fails || errors.As(err, &rejected) {
				t.Fatalf("sending: %v", err)
			}
			got := s.emails()
			if x.fails {
				if len(got) != 0 {
					t.Errorf("the server has %v", got)
				}
				if strings.Contains(err.Error(), "wrong") && strings.Contains(x.url, ":wrong@") {
					t.Errorf("the error shows the password: %v", err)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("the server has %v", got)
			}
			e := got[0]
			if e.from != "no-reply@northwind.example" || e.to != "ann@example.com" || e.user != x.user ||
				e.encrypted != x.encrypted {
				t.Errorf("from %q to %q by %q, encrypted: %v", e.from, e.to, e.user, e.encrypted)
			}
			for key, want := range map[string]string{
				"Message-Id": "<email_1@auth.example.com>", "Auto-Submitted": "auto-generated", "Content-Language": "de",
				"Date": "Fri, 02 Jan 2026 03:04:05 +0000", "To": "<ann@example.com>",
				"From": `"Northwind" <no-reply@northwind.example>`, "Subject": "=?UTF-8?q?Gr=C3=BC=C3=9Fe?=",
			} {
				if e.header.Get(key) != want {
					t.Errorf("%s is %q, want %q", key, e.header.Get(key), want)
				}
			}
			if !strings.Contains(e.body, "Text of the email.") || !strings.Contains(e.body, "<p>HTML of the email.</p>") {
				t.Errorf("the body is %s", e.body)
			}
			for key := range e.header {
				if strings.Contains(strings.ToLower(strings.Join(e.header[key], "")), "go-mail") {
					t.Errorf("%s names the library: %v", key, e.header[key])
				}
			}
		})
	}
}

// Only a refusal of this email is final. What may be the server's own trouble is not.
func TestMailOnlyARefusedEmailIsFinal(t *testing.T) {
	answer := func(code int) *smtp.SMTPError {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: "no"}
	}
	for name, x := range map[string]struct {
		server *server
		final  bool
	}{
		"refused recipient":    {&server{rcpt: func(int) error { return answer(550) }}, true},
		"refused content":      {&server{data: func(int, *smtp.Conn) error { return answer(554) }}, true},
		"greylisted":           {&server{rcpt: func(int) error { return answer(451) }}, false},
		"content not now":      {&server{data: func(int, *smtp.Conn) error { return answer(452) }}, false},
		"closes after DATA":    {&server{data: func(_ int, c *smtp.Conn) error { return c.Conn().Close() }}, false},
		"closes at RCPT":       {&server{}, false},
		"nothing listens":      {&server{}, false},
		"hangs after the data": {&server{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := x.server
			done := make(chan struct{})
			switch name {
			case "closes at RCPT":
				s.rcpt = func(int) error { return smtp.ErrServerClosed }
			case "hangs after the data":
				s.data = func(int, *smtp.Conn) error { <-done; return nil }
			}
			startServer(t, "plain", s)
			t.Cleanup(func() { close(done) })
			url := "smtp://" + s.address
			if name == "nothing listens" {
				url = "smtp://127.0.0.1:1"
			}
			out := sender(t, url, gomail.WithTimeout(200*time.Millisecond))
			err := out.Send(t.Context(), sample())
			var rejected *Rejected
			if err == nil || errors.As(err, &rejected) != x.final {
				t.Errorf("sending: %v; want a final refusal: %v", err, x.final)
			}
		})
	}
}

// A connection that failed is not used again, and one that works is.
func TestMailConnectionIsUsedAgainUntilItFails(t *testing.T) {
	s := startServer(t, "plain", &server{rcpt: func(try int) error {
		if try == 3 {
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.NoEnhancedCode, Message: "later"}
		}
		return nil
	}})
	out := sender(t, "smtp://"+s.address)
	for try := 1; try <= 5; try++ {
		if err := out.Send(t.Context(), sample()); (err != nil) != (try == 3) {
			t.Errorf("try %d: %v", try, err)
		}
	}
	if got := s.emails(); len(got) != 4 || s.conns != 2 {
		t.Errorf("%d emails over %d connections", len(got), s.conns)
	}
}

// What a visitor or a vendor wrote cannot add a header, a recipient or a second email.
func TestG12_NothingInAnEmailAddsAHeader(t *testing.T) {
	const evil = "x\r\nBcc: eve@example.com\r\n\r\nbody\r\n.\r\nRCPT TO:<eve@example.com>"
	for name, change := range map[string]func(m *Message){
		"subject":           func(m *Message) { m.Subject = oneLine(evil) },
		"subject, as it is": func(m *Message) { m.Subject = evil },
		"recipient":         func(m *Message) { m.To = "ann@example.com" + evil[1:] },
		"list":              func(m *Message) { m.To = "ann@example.com, eve@example.com" },
		"display name":      func(m *Message) { m.To = "Eve <eve@example.com>" },
		"text":              func(m *Message) { m.Text = evil + "\r\n.\r\nMAIL FROM:<eve@example.com>\r\n" },
		"html":              func(m *Message) { m.HTML = evil },
		"language":          func(m *Message) { m.Language = evil },
		"message id":        func(m *Message) { m.ID = evil },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, "plain", &server{})
			m := sample()
			change(&m)
			err := sender(t, "smtp://"+s.address).Send(t.Context(), m)
			for _, e := range s.emails() {
				if e.header.Get("Bcc") != "" || e.to != "ann@example.com" || e.from != "no-reply@northwind.example" {
					t.Errorf("an email to %q from %q with %v", e.to, e.from, e.header)
				}
			}
			if n := len(s.emails()); n > 1 || n > 0 && m.To != sample().To {
				t.Errorf("%d emails were sent; %v", n, err)
			}
			var file strings.Builder
			if _, err := m.WriteTo(&file); err == nil {
				head, _, _ := strings.Cut(file.String(), "\r\n\r\n")
				if strings.Contains(head, "\r\nBcc:") {
					t.Errorf("the file begins %s", head)
				}
			}
		})
	}
}

// A program that watches the folder never sees half an email.
func TestMailFileIsRenamedIntoPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	var told []Message
	out, err := NewSender("dir:"+dir, "auth.example.com", func(m Message) {
		if names, err := filepath.Glob(filepath.Join(dir, "*.eml")); err != nil || len(names) != 1 {
			t.Errorf("when it is told, the folder has %v, %v", names, err)
		}
		told = append(told, m)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Send(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "20260102T030405.000Z-email_1.eml" || len(told) != 1 {
		t.Fatalf("the folder has %v, %v; told %d times", entries, err, len(told))
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, entries[0].Name()))
	if err != nil || !strings.Contains(string(text), "Message-ID: <email_1@auth.example.com>") {
		t.Errorf("the file is %s, %v", text, err)
	}
	// A file that cannot be written leaves nothing behind, and can be sent later.
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = NewSender("dir:"+filepath.Join(blocked, "mail"), "auth.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var rejected *Rejected
	if err := out.Send(t.Context(), sample()); err == nil || errors.As(err, &rejected) {
		t.Errorf("into a file: %v", err)
	}
}
