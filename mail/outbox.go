package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/templates"
)

// Config holds what an Outbox needs.
type Config struct {
	Store     *storage.Store
	Secrets   *seal.Secrets
	Languages *locale.Set
	Brand     templates.Brand
	Issuer    string // the links begin with it, and the Message-IDs end with its host
	From      string // a name and an address
	SignUp    bool   // visitors may create an account
	// Open opens a Sender. It, Count and Log are for Run only.
	//exhaustruct:optional
	Open func() (Sender, error)
	//exhaustruct:optional
	Count func(kind, outcome string) // "sent", "retried" or "given_up"
	//exhaustruct:optional
	Log *slog.Logger
}

// Outbox sends emails until its context ends. Several processes may send from one database at once.
type Outbox struct {
	Config

	host string // of the issuer
}

const (
	// batch is how many emails a process claims at once. It sends one after the other, so that a process that is killed
	// sends at most one of them twice.
	batch = 32
	// lease is how long a process may take for a batch. If it ends meanwhile, others send what is left after that. It is
	// longer than the mail server may take before a Sender gives up.
	lease = 5 * time.Minute
	// interval is how often an idle process looks for emails.
	interval = 500 * time.Millisecond
)

// New returns an Outbox.
func New(c Config) (*Outbox, error) {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &Outbox{Config: c, host: u.Hostname()}, nil
}

// Run sends emails until ctx ends. An email that is being sent then is sent to its end; those that were claimed with it
// are left to the next process.
func (o *Outbox) Run(ctx context.Context) error {
	sender, err := o.Open()
	if err != nil {
		return err
	}
	defer sender.Close()
	for {
		n, err := o.sendDue(ctx, sender)
		if err != nil && ctx.Err() == nil {
			o.Log.Warn("could not read the emails to send", "error", err)
		}
		if n > 0 && ctx.Err() == nil {
			continue
		}
		sender.Close()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// sendDue sends the emails that are due, at most batch, and returns how many it claimed.
func (o *Outbox) sendDue(ctx context.Context, s Sender) (int, error) {
	list, err := o.Store.ClaimEmails(storage.System(ctx), lease, batch)
	if err != nil {
		return 0, err
	}
	o.sendEach(ctx, s, list)
	return len(list), nil
}

// sendEach sends emails on one connection. After a failure of the connection the rest is not tried now: each would wait
// as long.
func (o *Outbox) sendEach(ctx context.Context, s Sender, list []storage.Email) {
	var broken error
	for i := range list {
		e := &list[i]
		// What becomes of the email is recorded even if the server is stopped now.
		recording := context.WithoutCancel(storage.System(ctx))
		if broken == nil && ctx.Err() != nil {
			broken = ctx.Err()
		}
		err := broken
		if err == nil {
			err = o.send(recording, s, e)
			var rejected *Rejected
			if err != nil && !errors.As(err, &rejected) && !errors.Is(err, errContent) {
				broken = err
			}
		}
		o.settle(recording, e, err, ctx.Err() != nil && errors.Is(err, context.Canceled))
	}
}

// errContent means that an email cannot be written, no matter how often it is tried.
var errContent = errors.New("this email cannot be written")

// send writes and sends one email.
func (o *Outbox) send(ctx context.Context, s Sender, e *storage.Email) error {
	if o.Store.Now() >= e.ExpiresAt {
		return fmt.Errorf("%w: it expired before it could be sent", errContent)
	}
	m, err := o.Write(ctx, e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*smtpTimeout)
	defer cancel()
	return s.Send(ctx, m)
}

// lifetime is how long what an email holds works. The email is written a moment after the link in it, maybe in the next
// second, so a lifetime in minutes is rounded to minutes.
func lifetime(e *storage.Email) time.Duration {
	d := e.ExpiresAt.Sub(e.CreatedAt)
	if d < time.Minute {
		return d
	}
	return d.Round(time.Minute)
}

// Write writes an email in the language and brand of its reader.
func (o *Outbox) Write(ctx context.Context, e *storage.Email) (Message, error) {
	secrets, err := o.Secrets.OpenEmail(e)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", errContent, err)
	}
	language := o.Languages.Match("", e.Language)
	reader := locale.Locale{Language: language}
	if zone := e.Detail["time_zone"]; zone != "" {
		if reader.Zone, err = time.LoadLocation(zone); err != nil {
			reader.Zone = nil // UTC
		}
	}
	ctx = templates.WithBrand(locale.With(ctx, reader), o.Brand)
	view := templates.EmailView{
		Now: o.Store.Now().Time(), Issuer: o.Issuer, Recipient: e.Recipient, URL: secrets.URL, Code: secrets.Code,
		ExpiresAt: e.ExpiresAt.Time(), Detail: e.Detail, SignUp: o.SignUp, At: e.CreatedAt.Time(),
		Duration: lifetime(e),
	}
	if at, err := time.Parse(time.RFC3339, e.Detail["at"]); err == nil {
		view.At = at
	}
	if view.URL == "" {
		view.URL = o.Issuer + e.Detail["path"]
	}
	m, err := write(ctx, e.Kind, view)
	if err != nil {
		return m, fmt.Errorf("%w: %w", errContent, err)
	}
	m.ID, m.From, m.To, m.Date = e.ID+"@"+o.host, o.From, e.Recipient, view.Now
	return m, nil
}

// write writes the subject and the bodies of an email, in the locale and the brand of the context.
func write(ctx context.Context, kind string, view templates.EmailView) (Message, error) {
	content, ok := templates.NewEmail(ctx, kind, view)
	if !ok {
		return Message{}, fmt.Errorf("its kind %q is not known", kind)
	}
	var page bytes.Buffer
	if err := templates.EmailPage(content).Render(ctx, &page); err != nil {
		return Message{}, fmt.Errorf("render: %w", err)
	}
	return Message{
		Subject: oneLine(content.Subject), Text: content.PlainText(ctx), HTML: page.String(),
		Language: locale.From(ctx).Tag(),
	}, nil
}

// Test returns the email with which an operator tries out the configuration.
func Test(
	ctx context.Context, b templates.Brand, languages *locale.Set, issuer, from, to string, now time.Time,
) (Message, error) {
	ctx = locale.With(ctx, locale.Locale{Language: languages.Match("")})
	m, err := write(templates.WithBrand(ctx, b), "test", templates.EmailView{Now: now, Issuer: issuer, Recipient: to})
	if err != nil {
		return m, err
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return m, fmt.Errorf("issuer: %w", err)
	}
	m.ID, m.From, m.To, m.Date = storage.NewID("email")+"@"+u.Hostname(), from, to, now
	return m, nil
}

// oneLine removes line breaks, which would end the header.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// delays are the waits after each failure; the last one repeats.
var delays = []time.Duration{
	30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
}

// settle records what became of an email. stopped means that it was not tried, because the server stops.
func (o *Outbox) settle(ctx context.Context, e *storage.Email, failed error, stopped bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var rejected *Rejected
	next := o.Store.Now().Add(delays[min(int(e.Attempts), len(delays))-1])
	var err error
	switch {
	case failed == nil:
		o.Count(e.Kind, "sent")
		err = o.Store.FinishEmail(ctx, e.ID, true)
	case stopped:
		err = o.Store.RetryEmail(ctx, e.ID, o.Store.Now())
	case errors.As(failed, &rejected), errors.Is(failed, errContent), next >= e.ExpiresAt:
		o.Count(e.Kind, "given_up")
		o.Log.Error("an email was not sent", "email", e.ID, "kind", e.Kind, "user", e.UserID, "attempts", e.Attempts,
			"error", failed)
		err = o.Store.InTx(ctx, func(ctx context.Context) error {
			if err := o.Store.FinishEmail(ctx, e.ID, false); err != nil {
				return err
			}
			return o.Store.Audit(ctx, storage.AuditEvent{
				Action: "email.not_sent", Target: e.ID, Detail: map[string]string{"kind": e.Kind},
			}, e.UserID)
		})
	default:
		o.Count(e.Kind, "retried")
		o.Log.Warn("an email could not be sent yet", "email", e.ID, "kind", e.Kind, "attempts", e.Attempts,
			"next", next.Time(), "error", failed)
		err = o.Store.RetryEmail(ctx, e.ID, next)
	}
	// A conflict means that the lease was over and another process has recorded it.
	if err != nil && !errors.Is(err, storage.ErrConflict) {
		o.Log.Warn("could not record what became of an email", "email", e.ID, "error", err)
	}
}
