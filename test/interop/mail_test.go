package interop

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

// mailServer starts aiosmtpd, which prints what it receives. It returns its address and the emails.
func mailServer(t *testing.T) (address string, received <-chan *mail.Message) {
	t.Helper()
	python, err := setup.Python()
	setup.Need(t, err)
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address = "127.0.0.1:" + strconv.Itoa(port)
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, python, "-u", "-m", "aiosmtpd", "-n", "-l", address, "-c",
		"aiosmtpd.handlers.Debugging", "stdout")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	messages, read := make(chan *mail.Message, 100), make(chan struct{})
	go func() {
		defer close(read)
		var text strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.HasSuffix(line, " MESSAGE FOLLOWS ----------"):
				text.Reset()
			case strings.HasSuffix(line, " END MESSAGE ------------"):
				message := text.String()
				if strings.HasPrefix(message, "mail options: ") { // of SMTP, before the email
					_, message, _ = strings.Cut(message, "\r\n\r\n")
				}
				if m, err := mail.ReadMessage(strings.NewReader(message)); err == nil {
					messages <- m
				}
			default:
				text.WriteString(line + "\r\n")
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		_ = c.Wait()
	})
	return address, messages
}

// plainText is the text of an email for readers that show no HTML.
func plainText(t *testing.T, m *mail.Message) string {
	t.Helper()
	_, with, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for parts := multipart.NewReader(m.Body, with["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			t.Fatal("the email has no plain text")
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(part.Header.Get("Content-Type"), "text/plain") {
			continue
		}
		var body io.Reader = part
		if part.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(part)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// An account is created, and its password reset, with emails that pass through Debian's mail server for Python.
func TestEmailsPassThroughAnotherMailServer(t *testing.T) {
	setup.Long(t)
	address, received := mailServer(t)
	s := start(t, "sqlite:doorward.db", "mail: {url: 'smtp://"+address+"', from: Northwind <no-reply@northwind.example>}\n"+
		"brand: {name: Northwind}\nsign_up: open\n")
	next := func(subject string) string {
		t.Helper()
		m := <-received
		decoded, err := (&mime.WordDecoder{}).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || decoded != subject || m.Header.Get("From") != `"Northwind" <no-reply@northwind.example>` {
			t.Errorf("%v: the subject is %q, the sender %s", err, decoded, m.Header.Get("From"))
		}
		return plainText(t, m)
	}
	link := regexp.MustCompile(regexp.QuoteMeta(s.issuer) + `\S+`)
	tab := browser.New(t)
	tab.Goto(s.issuer + "/signup")
	tab.Fill("[name=email]", "ines@example.com")
	tab.Click("main [type=submit]")
	text := next("Confirm your email address for Northwind")
	code := regexp.MustCompile(`\d{4} \d{4}`).FindString(text)
	tab.Fill("[name=code]", code)
	tab.Click("main [type=submit]")
	tab.Fill("[name=name]", "Inês")
	tab.Fill("[name=password]", password)
	tab.Click("main [type=submit]")
	if got := tab.URL().Path; got != "/settings/profile" {
		t.Fatalf("after the sign-up the page is %s: %s", got, tab.Text("main"))
	}
	tab.Goto(s.issuer + "/forgot")
	tab.Fill("[name=email]", "ines@example.com")
	tab.Click("main [type=submit]")
	tab.Goto(link.FindString(next("Reset your password for Northwind")))
	tab.Fill("[name=password]", password+" again")
	tab.Click("main [type=submit]")
	next("Your password for Northwind was changed")
	s.command("", "check", "--mail-to", "ines@example.com")
	next("Test email from Northwind")
}
