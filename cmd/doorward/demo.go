package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"doorward/cmd/doorward/demo"
	"doorward/config"
	"doorward/mail"
	"doorward/management"
	"doorward/oauth/identity"
	"doorward/storage"
)

// demoCommand runs a complete example on one machine: the server, a user, a third-party app, and an API that
// introspects tokens.
type demoCommand struct {
	Verbose bool `help:"Show the server's log."`
}

const (
	demoPort     = "8080" // of the server; the app has 8090, the API 8091; if a port is taken, any free one
	demoEmail    = "demo@example.com"
	demoName     = "Dana Demo"
	demoPassword = "seven lanterns by the canal"
)

// Run serves until ctx is done, then deletes its database.
func (d demoCommand) Run(ctx context.Context, a *app) (err error) {
	dir, err := os.MkdirTemp("", "doorward-demo-")
	if err != nil {
		return fmt.Errorf("create a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// Cookies do not distinguish ports, so the app and the API have a different host name from the server's.
	front, err := demoListen(ctx, demoPort)
	if err != nil {
		return err
	}
	listen := front.Addr().String()
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	// The server opens its own socket; this one was only to find a free port.
	if err := front.Close(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	appSocket, err := demoListen(ctx, "8090")
	if err != nil {
		return err
	}
	apiSocket, err := demoListen(ctx, "8091")
	if err != nil {
		return errors.Join(err, appSocket.Close())
	}
	// The app and the API run at 127.0.0.1, and Doorward at localhost: all ports of a host share its cookies.
	c, err := config.Load("", map[string][]string{
		"issuer":       {"http://localhost:" + port},
		"listen":       {listen},
		"admin_listen": {""},
		"database_url": {"sqlite:" + filepath.Join(dir, "doorward.db")},
	}, func(string) string { return "" })
	if err != nil {
		return errors.Join(err, appSocket.Close(), apiSocket.Close())
	}
	c.Resources[0].Name = "Notes"
	c.SignUp = config.SignUpOpen
	c.Mail.URL, c.Mail.From = "dir:"+filepath.Join(dir, "mail"), "Doorward <no-reply@example.com>"
	log := slog.New(slog.DiscardHandler)
	if d.Verbose {
		log = slog.New(slog.NewJSONHandler(a.stderr, nil))
	}
	return serve(ctx, c, log, printEmail(a.stdout), func(s *services, _ []string) error {
		return startDemo(ctx, s, appSocket, apiSocket, a.stdout)
	})
}

// printEmail prints the emails that the demo sends, since there is no mail server.
func printEmail(out io.Writer) func(mail.Message) {
	return func(m mail.Message) {
		text := strings.ReplaceAll(strings.TrimSpace(m.Text), "\n", "\n  | ")
		_, _ = fmt.Fprintf(out, "\n  Email to %s: %s\n  | %s\n", m.To, m.Subject, text)
	}
}

// demoListen opens a socket on the port or, if that is taken, on any free one.
func demoListen(ctx context.Context, port string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+port)
	if err != nil {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return l, nil
}

// startDemo creates the user, registers the app and the API with the functions that the commands use, and starts both.
func startDemo(ctx context.Context, s *services, appSocket, apiSocket net.Listener, out io.Writer) error {
	appURL, apiURL := "http://"+appSocket.Addr().String(), "http://"+apiSocket.Addr().String()
	if _, err := s.identity.CreateUser(
		ctx,
		identity.NewUser{Email: demoEmail, Name: demoName, Password: demoPassword, Admin: true},
	); err != nil {
		return fmt.Errorf("demo user: %w", err)
	}
	system := storage.System(ctx)
	client, secret, err := s.management.CreateClient(system, management.CLI(""), management.ClientSpec{
		Name:          "Fieldnotes",
		Site:          appURL,
		RedirectURIs:  []string{appURL + "/callback"},
		Scopes:        []string{"read", "write", "delete"},
		Administrator: true,
	})
	if err != nil {
		return fmt.Errorf("demo app: %w", err)
	}
	resourceServer, apiSecret, err := s.management.CreateClient(
		system,
		management.CLI(""),
		management.ClientSpec{Name: "Notes API", ResourceServer: true, Administrator: true},
	)
	if err != nil {
		return fmt.Errorf("demo API: %w", err)
	}
	trace := &demo.Trace{}
	api := &demo.API{
		Introspect:   s.config.Issuer + "/oauth/introspect",
		ClientID:     resourceServer.ID,
		ClientSecret: apiSecret,
		Client:       trace.Client(),
	}
	thirdParty, err := demo.NewApp(s.config.Issuer, apiURL, appURL, client.ID, secret, trace)
	if err != nil {
		return err
	}
	for socket, handler := range map[net.Listener]http.Handler{appSocket: thirdParty, apiSocket: api} {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		go func() { _ = server.Serve(socket) }() // returns when ctx is done
	}
	_, err = fmt.Fprintf(out, `
Doorward is running, with a database that is deleted when you stop it.

  Open        %s        a third-party app; connect it
  Sign in as  %s
  Password    %s

  Doorward itself   %s
  The API           %s/notes        asks Doorward about each token

Stop with Ctrl-C.
`, appURL, demoEmail, demoPassword, s.config.Issuer, apiURL)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}
