package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/brand"
	"doorward/cmd/doorward/process"
	"doorward/config"
	"doorward/mail"
	"doorward/storage"
	"doorward/web"
	"doorward/web/gateway"
	"doorward/web/signin"
)

// serveCommand runs the server. Its flags are the top-level settings of the configuration.
type serveCommand struct {
	Issuer                    *string  `help:"The server's own URL, as apps and browsers see it. Default: http://localhost:8080" placeholder:"URL"`
	Listen                    []string `sep:"none" help:"Address to listen on; repeat for several. Default: 127.0.0.1:8080" placeholder:"HOST:PORT"`
	AdminListen               *string  `help:"Address of metrics and pprof; empty for none. Default: 127.0.0.1:8081" placeholder:"HOST:PORT"`
	DatabaseURL               *string  `name:"database-url" help:"sqlite:PATH or postgres://... Default: sqlite:data/doorward.db" placeholder:"URL"`
	DatabaseMigrateURL        *string  `name:"database-migrate-url" help:"PostgreSQL URL for migrations, if the --database-url user cannot change the schema." placeholder:"URL"`
	TrustedProxies            []string `sep:"none" help:"Proxy whose X-Forwarded-* headers are trusted; repeat for several." placeholder:"CIDR"`
	RedirectSchemes           []string `sep:"none" help:"Custom redirect URI scheme to allow although it has no dot, such as cursor; repeat for several." placeholder:"SCHEME"`
	Languages                 []string `sep:"none" help:"Language of pages and emails, the first by default; repeat for several. Default: en, de, fr, es, ja" placeholder:"TAG"`
	SignUp                    *string  `help:"Who can create an account: closed (administrators create them), invited or open. Default: closed" placeholder:"WHO"`
	SignUpApproval            *string  `help:"Who approves new accounts: none or administrator. Default: none" placeholder:"WHO"`
	PlansBy                   *string  `help:"Who sets the plan of a workspace: administrators or owners. Default: administrators" placeholder:"WHO"`
	Cache                     *string  `help:"Answer from memory while nothing has changed: on or off. Default: on" placeholder:"MODE"`
	Limits                    *string  `help:"Where requests are counted for rate limits: memory, for a single server, or database. If it is not set: memory with SQLite, database with PostgreSQL." placeholder:"WHERE"`
	DPoPNonces                *string  `name:"dpop-nonces" help:"Require a nonce of this server in DPoP proofs: true or false. Default: false" placeholder:"BOOL"`
	Registration              *string  `help:"Which apps may register themselves: closed (none), token (with a registration token) or open. Default: closed" placeholder:"WHO"`
	RegistrationCompatibility *string  `help:"openid: apps may register themselves as the OpenID conformance suite does, confidential ones without PKCE." placeholder:"openid"`
	MetadataDocuments         []string `sep:"none" help:"Apps whose client ID is the URL of their metadata document: off, any, or a host; repeat for several. Default: off" placeholder:"HOST"`
	AuditRetention            *string  `help:"How long audit events are kept. Default: 400d" placeholder:"DURATION"`
	UsageRetention            *string  `help:"How long usage is kept. Default: 400d" placeholder:"DURATION"`
}

// settings returns the flags that were given, by configuration key.
func (s serveCommand) settings() map[string][]string {
	given := map[string][]string{}
	for key, value := range map[string]*string{
		"issuer":                     s.Issuer,
		"admin_listen":               s.AdminListen,
		"database_url":               s.DatabaseURL,
		"database_migrate_url":       s.DatabaseMigrateURL,
		"sign_up":                    s.SignUp,
		"sign_up_approval":           s.SignUpApproval,
		"plans_by":                   s.PlansBy,
		"cache":                      s.Cache,
		"limits":                     s.Limits,
		"dpop_nonces":                s.DPoPNonces,
		"registration":               s.Registration,
		"registration_compatibility": s.RegistrationCompatibility,
		"audit_retention":            s.AuditRetention,
		"usage_retention":            s.UsageRetention,
	} {
		if value != nil {
			given[key] = []string{*value}
		}
	}
	for key, values := range map[string][]string{
		"listen":             s.Listen,
		"trusted_proxies":    s.TrustedProxies,
		"redirect_schemes":   s.RedirectSchemes,
		"metadata_documents": s.MetadataDocuments,
		"languages":          s.Languages,
	} {
		if values != nil {
			given[key] = values
		}
	}
	return given
}

// Run serves until ctx is done.
func (s serveCommand) Run(ctx context.Context, a *app) error {
	c, err := a.load(s.settings())
	if err != nil {
		return err
	}
	buffer := process.NewLogBuffer(a.stderr)
	defer buffer.Flush()
	log := slog.New(process.NewLogHandler(buffer))
	if a.getenv("GOGC") == "" {
		// Only a few megabytes are live, so by default the garbage collector would run tens of times a second under
		// load. This costs about 30 MiB then, and nothing when idle.
		debug.SetGCPercent(400)
	}
	return serve(ctx, c, log, nil, func(server *services, _ []string) error {
		link, err := server.setupLink(ctx)
		if err == nil && link != "" {
			// The link is not logged, because its holder becomes the administrator.
			_, _ = fmt.Fprintf(a.stdout, "No accounts exist yet. Create the first administrator at\n%s\n", link)
		}
		return err
	})
}

// serve migrates the database, wires the server, opens the sockets, calls ready with the addresses it listens on, and
// serves until ctx is done and the running requests have finished. sent, unless it is nil, gets each email that was
// written to a folder.
func serve(
	ctx context.Context,
	c config.Config,
	log *slog.Logger,
	sent func(mail.Message),
	ready func(s *services, addresses []string) error,
) (err error) {
	store, err := openStore(ctx, c, 0)
	if err != nil {
		return err
	}
	defer store.Close()
	done, err := store.Migrate(ctx)
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	for _, m := range done {
		log.Info("migrated", "version", m.Version, "name", m.Name)
	}

	if c.Cache == "on" {
		store.Follow(log) //nolint:contextcheck // until the store is closed
	}

	proxies := web.Proxies(c.TrustedProxies)
	server, err := newServer(ctx, c, store, proxies.ClientAddress)
	if err != nil {
		return err
	}
	if changed, err := server.identity.BindPasskeys(ctx); err != nil {
		return err
	} else if changed {
		log.Warn("the domain of passkeys has changed; those of another domain do not work", "passkey_domain", c.PasskeyDomain())
	}
	if err := server.keyring.Maintain(ctx); err != nil {
		return err
	}
	if server.limits != nil {
		if err := server.limits.Load(ctx); err != nil {
			return fmt.Errorf("read the rate limit counters: %w", err)
		}
		defer server.saveLimits(log) //nolint:contextcheck // ctx is done by then
	}
	look, err := brand.Load(c.Brand)
	if err != nil {
		return fmt.Errorf("brand: %w", err)
	}
	languages := c.LanguageSet()
	metrics := prometheus.NewRegistry()
	pages, err := web.New(web.Config{
		Issuer:     c.Issuer,
		Store:      store,
		OAuth:      server.oauth,
		Catalog:    server.catalog,
		Management: server.management,
		Bearer:     server.bearer,
		APIKeys:    server.apikey,
		Identity:   server.identity,
		Secrets:    server.secrets,
		Fetcher:    server.fetcher,
		Languages:  languages,
		Brand:      look,
		Accounts: signin.Accounts{
			SignUp: c.SignUp, Links: c.LinksByEmail(), TermsURL: c.Brand.TermsURL,
		},
		APIs:           c.APIs(),
		TrustedProxies: proxies,
		Log:            log,
		Metrics:        metrics,
	})
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	var outbox *mail.Outbox
	if c.SendsEmail() {
		if outbox, err = server.newOutbox(log, metrics, languages, emailBrand(look), sent); err != nil {
			return err
		}
	}
	sockets, err := process.Listen(ctx, c)
	if err != nil {
		return err
	}
	if err := ready(server, sockets.Addresses()); err != nil {
		sockets.Close()
		return err
	}

	var jobs sync.WaitGroup
	working, stop := context.WithCancel(ctx)
	defer jobs.Wait()
	defer stop()
	jobs.Go(func() { runEvery(working, touchInterval, log, "write usage and counts", server.writeBuffers) })
	jobs.Go(func() { runEvery(working, purgeInterval, log, "delete expired records", server.purge) })
	jobs.Go(func() {
		runEvery(working, gateway.RecheckInterval, log, "recheck long requests", func(ctx context.Context) error {
			pages.Recheck(ctx)
			return nil
		})
	})
	if outbox != nil {
		jobs.Go(func() {
			runEvery(working, noticeInterval, log, "write expiry notices", server.management.NotifyExpiring)
		})
		jobs.Go(func() {
			if err := outbox.Run(working); err != nil {
				log.Error("emails are not sent", "error", err)
			}
		})
	}

	log.Info(
		"ready",
		"version", version(),
		"issuer", c.Issuer,
		"listen", sockets.Addresses(),
		"admin_listen", c.AdminListen,
		"database", store.Engine(),
	)
	admin := process.NamedHosts(c.AdminListen, process.AdminHandler(metrics))
	err = sockets.Serve(ctx, log, pages, admin, process.DrainTimeout)
	log.Info("stopped")
	return err
}

const (
	touchInterval = 5 * time.Second
	purgeInterval = time.Minute
	// noticeInterval is how often the server looks for keys that expire soon.
	noticeInterval = time.Minute
)

func (s *services) writeBuffers(ctx context.Context) error {
	err := errors.Join(s.store.FlushTouches(ctx), s.store.FlushUsage(ctx))
	if s.limits != nil {
		err = errors.Join(err, s.limits.Save(ctx))
	}
	return err
}

// saveLimits saves the rate limit counters when the server stops. The store writes its own buffers when it is closed.
func (s *services) saveLimits(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := s.limits.Save(ctx); err != nil {
		log.Warn("could not save the rate limit counters", "error", err)
	}
}

func (s *services) purge(ctx context.Context) error {
	_, err := s.store.Purge(ctx, s.oauth.Retention())
	_, errHistory := s.store.PurgeHistory(ctx, s.config.AuditRetention, s.config.UsageRetention)
	return errors.Join(err, errHistory, s.keyring.Maintain(ctx))
}

// runEvery runs a background job at intervals until ctx is done. If the job fails, it logs the error and runs it again
// at the next interval.
func runEvery(
	ctx context.Context,
	interval time.Duration,
	log *slog.Logger,
	what string,
	job func(context.Context) error,
) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := job(storage.System(ctx)); err != nil && ctx.Err() == nil {
			log.Warn("background job failed", "chore", what, "error", err)
		}
	}
}
