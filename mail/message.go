package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Message is an email as it is sent.
type Message struct {
	ID       string // the Message-ID (RFC 5322, section 3.6.4), without angle brackets
	From     string // a name and an address
	To       string // an address
	Subject  string
	Text     string
	HTML     string
	Language string // language tag
	Date     time.Time
}

// Sender passes messages on. Its methods are not safe for concurrent use.
type Sender interface {
	// Send passes one message on. An error that is a *Rejected is final; after any other, the same message may be sent
	// again.
	Send(ctx context.Context, m Message) error
	// Close ends the connection that Send has opened; a later Send opens another.
	Close()
}

// Rejected means that a message for this recipient is not accepted, so that sending it again is useless.
type Rejected struct{ Cause error }

// Error implements error.
func (r *Rejected) Error() string { return "the message was rejected: " + r.Cause.Error() }

// Unwrap returns the cause.
func (r *Rejected) Unwrap() error { return r.Cause }

// build writes the headers and the two bodies.
func (m Message) build() (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	from, err := netmail.ParseAddress(m.From)
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	msg.FromMailAddress(from)
	// The address was checked when it was entered. If it is read in another way here, it is sent to no one.
	if to, err := netmail.ParseAddress(m.To); err != nil || to.Address != m.To {
		return nil, &Rejected{Cause: errors.New("the recipient is not one plain address")}
	}
	msg.SetAddrHeaderFromMailAddress(gomail.HeaderTo, &netmail.Address{Address: m.To})
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.Date)
	msg.SetMessageIDWithValue(m.ID)
	msg.SetGenHeader(gomail.HeaderContentLang, m.Language)
	// Programs that answer emails on their own must not answer this one (RFC 3834, section 5).
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return msg, nil
}

// WriteTo writes the message in the Internet Message Format (RFC 5322).
func (m Message) WriteTo(w io.Writer) (int64, error) {
	msg, err := m.build()
	if err != nil {
		return 0, err
	}
	return msg.WriteTo(w)
}
