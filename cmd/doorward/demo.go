package main

import (
	"context"
	"crypto/rand"
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

// demoCommand runs a complete example on one machine: the server, a user, a third-party app, an API that introspects
// tokens, and another identity provider.
type demoCommand struct {
	Verbose bool `help:"Show the server's log."`
}

const (
	demoPort     = "8080" // of the server; if a port is taken, any free one
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
	others, err := demoListenAll(ctx)
	if err != nil {
		return err
	}
	// The others run at 127.0.0.1, and Doorward at localhost: all ports of a host share its cookies.
	c, err := config.Load("", map[string][]string{
		"issuer":       {"http://localhost:" + port},
		"listen":       {listen},
		"admin_listen": {""},
		"database_url": {"sqlite:" + filepath.Join(dir, "doorward.db")},
	}, func(string) string { return "" })
	if err != nil {
		return errors.Join(err, others.close())
	}
	c.Resources[0].Name = "Notes"
	c.SignUp = config.SignUpOpen
	lakeside := config.Provider{SignUp: true, TrustedEmail: true}
	lakeside.ID, lakeside.Name, lakeside.Issuer = "lakeside", "Lakeside ID", others.provider.url()
	lakeside.ClientID, lakeside.ClientSecret = "doorward-demo", rand.Text()
	c.Providers = []config.Provider{lakeside}
	c.Mail.URL, c.Mail.From = "dir:"+filepath.Join(dir, "mail"), "Doorward <no-reply@example.com>"
	log := slog.New(slog.DiscardHandler)
	if d.Verbose {
		log = slog.New(slog.NewJSONHandler(a.stderr, nil))
	}
	return serve(ctx, c, log, printEmail(a.stdout), func(s *services, _ []string) error {
		return startDemo(ctx, s, others, a.stdout)
	})
}

// printEmail prints the emails that the demo sends, since there is no mail server.
func printEmail(out io.Writer) func(mail.Message) {
	return func(m mail.Message) {
		text := strings.ReplaceAll(strings.TrimSpace(m.Text), "\n", "\n  | ")
		_, _ = fmt.Fprintf(out, "\n  Email to %s: %s\n  | %s\n", m.To, m.Subject, text)
	}
}

// demoSocket is where one of the other parties listens.
type demoSocket struct{ net.Listener }

func (s demoSocket) url() string { return "http://" + s.Addr().String() }

// demoSockets are those of the parties beside the server.
type demoSockets struct{ app, api, provider demoSocket }

func (s *demoSockets) close() (err error) {
	for _, x := range []demoSocket{s.app, s.api, s.provider} {
		if x.Listener != nil {
			err = errors.Join(err, x.Close())
		}
	}
	return err
}

func demoListenAll(ctx context.Context) (*demoSockets, error) {
	s := &demoSockets{}
	for _, x := range []struct {
		socket *demoSocket
		port   string
	}{{&s.app, "8090"}, {&s.api, "8091"}, {&s.provider, "8092"}} {
		l, err := demoListen(ctx, x.port)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		x.socket.Listener = l
	}
	return s, nil
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

// startDemo creates the user, registers the app and the API with the functions that the commands use, and starts them
// and the provider.
func startDemo(ctx context.Context, s *services, others *demoSockets, out io.Writer) error {
	appURL, apiURL := others.app.url(), others.api.url()
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
	known := s.config.Providers[0]
	lakeside, err := demo.NewProvider(known.Issuer, demo.ProviderClient{
		ID: known.ClientID, Secret: known.ClientSecret, Site: s.config.Issuer,
		RedirectURI: s.config.Issuer + "/login/" + known.ID + "/callback",
	})
	if err != nil {
		return err
	}
	for socket, handler := range map[net.Listener]http.Handler{
		others.app: thirdParty, others.api: api, others.provider: lakeside,
	} {
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
  Lakeside ID       %s        another identity provider; sign in at Doorward with it

Stop with Ctrl-C.
`, appURL, demoEmail, demoPassword, s.config.Issuer, apiURL, known.Issuer)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}
