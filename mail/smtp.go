package mail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// smtpTimeout is how long the mail server may take for one step.
const smtpTimeout = 30 * time.Second

// smtpSender passes messages to a mail server over one connection, which it opens when it needs it.
type smtpSender struct {
	client *gomail.Client
	open   bool
}

// NewSender returns a Sender for the configuration's mail.url: smtp://, smtps:// or dir:. hello is the name by which it
// introduces itself to a mail server. sent, unless it is nil, gets each message that was written to a folder.
func NewSender(to, hello string, sent func(Message)) (Sender, error) {
	if dir, ok := strings.CutPrefix(to, "dir:"); ok {
		return dirSender{dir, sent}, nil
	}
	return newSMTPSender(to, hello)
}

// newSMTPSender returns a Sender for an SMTP server. more are options for tests.
func newSMTPSender(to, hello string, more ...gomail.Option) (Sender, error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, errors.New("mail.url is not a URL") // the error of url.Parse would show the password
	}
	options := []gomail.Option{gomail.WithTimeout(smtpTimeout), gomail.WithHELO(hello), gomail.WithoutNoop()}
	port, _ := strconv.Atoi(u.Port())
	switch {
	case u.Scheme == "smtps":
		options = append(options, gomail.WithSSL())
	case isLoopback(u.Hostname()):
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if port == 0 {
		port = defaultPort(u.Scheme)
	}
	options = append(options, gomail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()),
			gomail.WithPassword(password))
	}
	client, err := gomail.NewClient(u.Hostname(), append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("mail.url: %w", err)
	}
	return &smtpSender{client: client}, nil
}

func defaultPort(scheme string) int {
	if scheme == "smtps" {
		return 465
	}
	return 587
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Send implements Sender.
func (s *smtpSender) Send(ctx context.Context, m Message) error {
	msg, err := m.build()
	if err != nil {
		return err
	}
	if !s.open {
		if err := s.client.DialWithContext(ctx); err != nil {
			return fmt.Errorf("connect to the mail server: %w", err)
		}
		s.open = true
	}
	err = s.client.Send(msg)
	if err == nil {
		return nil
	}
	s.Close() // whatever the connection expects next
	var sending *gomail.SendError
	if errors.As(err, &sending) && !sending.IsTemp() && sending.ErrorCode() >= 500 {
		// What comes earlier, such as MAIL FROM, is about the sender or the connection, which an operator can correct.
		final := []gomail.SendErrReason{gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose}
		if slices.Contains(final, sending.Reason) {
			return &Rejected{Cause: err}
		}
	}
	return fmt.Errorf("send an email: %w", err)
}

// Close implements Sender.
func (s *smtpSender) Close() {
	if s.open {
		s.open = false
		_ = s.client.Close() // the server may have closed it
	}
}
