package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-smtp"

	"doorward/storage"
)

// emails is how many a measurement sends.
const emails = 1000

// emailRows are emails a second to a mail server on this machine.
func (b *bench) emailRows() []*row {
	return []*row{b.emails("SQLite", liteWrites), b.emails("PostgreSQL", writes)}
}

func (b *bench) emails(variant, name string) *row {
	var s *site
	var arrived chan time.Time
	return &row{
		topic: "emails to a local server", variant: variant, unit: "a second", want: 200,
		about: fmt.Sprintf("%d notices wait in the outbox; from the arrival of the first to that of the last, at a mail "+
			"server that keeps nothing, on one connection. Each email is rendered, sent, and recorded as sent before the next "+
			"one, so that a crash sends at most one of them twice: the round trips of SMTP and the commit limit it.", emails),
		setup: func(ctx context.Context) error {
			address, from, err := b.mailServer(ctx)
			if err != nil {
				return err
			}
			arrived = from
			s, _, err = b.on(ctx, name, "mail: {url: 'smtp://"+address+"', from: load@example.com}\n"+standard)
			return err
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			store, err := storage.Open(ctx, s.database, storage.Options{MaxConns: 2})
			if err != nil {
				return 0, err
			}
			defer store.Close()
			if err := store.InTx(storage.System(ctx), func(ctx context.Context) error {
				for i := range emails {
					if err := store.InsertEmail(ctx, storage.Email{
						Kind: "password_changed", Recipient: fmt.Sprintf("u%d@example.com", i),
						ExpiresAt: store.Now().Add(24 * time.Hour),
					}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return 0, err
			}
			var first, last time.Time
			late := time.After(5 * time.Minute)
			for i := range emails {
				select {
				case last = <-arrived:
				case <-late:
					return 0, fmt.Errorf("only %d of %d emails came", i, emails)
				case <-ctx.Done():
					return 0, ctx.Err()
				}
				if i == 0 {
					first = last
				}
			}
			return (emails - 1) / last.Sub(first).Seconds(), nil
		},
	}
}

// mailServer starts a mail server that accepts everything and keeps nothing. It tells when each email came.
func (b *bench) mailServer(ctx context.Context) (address string, arrived chan time.Time, err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("mail server: %w", err)
	}
	arrived = make(chan time.Time, emails)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailbox(arrived), nil }))
	server.Domain = "localhost"
	go func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			say("mail server: %v", err)
		}
	}()
	b.closers = append(b.closers, func() { _ = server.Close() })
	return l.Addr().String(), arrived, nil
}

// mailbox is one connection to the mail server.
type mailbox chan time.Time

// Reset implements smtp.Session.
func (m mailbox) Reset() {}

// Logout implements smtp.Session.
func (m mailbox) Logout() error { return nil }

// Mail implements smtp.Session.
func (m mailbox) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (m mailbox) Rcpt(string, *smtp.RcptOptions) error { return nil }

// Data implements smtp.Session.
func (m mailbox) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	m <- time.Now()
	return nil
}
