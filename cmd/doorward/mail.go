package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/brand"
	"doorward/config"
	"doorward/locale"
	"doorward/mail"
	"doorward/oauth/input"
	"doorward/templates"
)

// newOutbox returns what sends the emails of the database. sent, unless it is nil, gets each email that was written to
// a folder.
func (s *services) newOutbox(
	log *slog.Logger, metrics *prometheus.Registry, languages *locale.Set, look templates.Brand, sent func(mail.Message),
) (*mail.Outbox, error) {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "doorward_emails_total", Help: "Attempts to send an email, by kind and outcome: sent, retried or given_up.",
	}, []string{"kind", "outcome"})
	metrics.MustRegister(counter)
	outbox, err := mail.New(mail.Config{
		Store: s.store, Secrets: s.secrets, Languages: languages, Brand: look, Issuer: s.config.Issuer,
		From: s.config.Mail.From, SignUp: s.config.SignUp == config.SignUpOpen,
		Open:  func() (mail.Sender, error) { return mail.NewSender(s.config.Mail.URL, s.config.MailHello(), sent) },
		Count: func(kind, outcome string) { counter.WithLabelValues(kind, outcome).Inc() },
		Log:   log,
	})
	if err != nil {
		return nil, fmt.Errorf("email: %w", err)
	}
	return outbox, nil
}

// sendTestEmail sends an email as configured, at once.
func sendTestEmail(ctx context.Context, c config.Config, to string) error {
	if !c.SendsEmail() {
		return errors.New("email is not configured; set mail.url and mail.from")
	}
	if !input.IsEmail(to) {
		return fmt.Errorf("%s is not an email address", input.Quote(to))
	}
	look, err := brand.Load(c.Brand)
	if err != nil {
		return fmt.Errorf("brand: %w", err)
	}
	sender, err := mail.NewSender(c.Mail.URL, c.MailHello(), nil)
	if err != nil {
		return err
	}
	defer sender.Close()
	m, err := mail.Test(ctx, emailBrand(look), c.LanguageSet(), c.Issuer, c.Mail.From, to, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return sender.Send(ctx, m)
}

// emailBrand is the brand of emails, which show the name in place of the logo.
func emailBrand(b *brand.Brand) templates.Brand {
	return templates.Brand{Name: b.Name, SupportURL: b.SupportURL, TermsURL: b.TermsURL, PrivacyURL: b.PrivacyURL}
}
