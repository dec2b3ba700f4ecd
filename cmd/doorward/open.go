package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"doorward/config"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
)

// commandConns bounds the PostgreSQL connections of a command, since the running server needs the others.
const commandConns = 2

// services holds what the server and the administrative commands share: the functions that read and change objects.
type services struct {
	config     config.Config
	store      *storage.Store
	secrets    *seal.Secrets
	oauth      *oauth.Server
	management *management.Manager
	keyring    *bearer.Keyring
	bearer     *bearer.Verifier
	apikey     *apikey.Keys
	catalog    *catalog.Catalog
	identity   *identity.Service
	fetcher    *fetch.Fetcher
	limits     *limit.Memory // counts in memory, to be saved; nil if the database counts
}

// openStore connects to the configured database without migrating it.
func openStore(ctx context.Context, c config.Config, conns int) (*storage.Store, error) {
	store, err := storage.Open(ctx, c.DatabaseURL, storage.Options{MigrateURL: c.DatabaseMigrateURL, MaxConns: conns})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return store, nil
}

// needDatabase keeps a command that was started in the wrong folder from creating an empty database there.
func needDatabase(c config.Config) error {
	name := c.MissingDatabase()
	if name == "" {
		return nil
	}
	if absolute, err := filepath.Abs(name); err == nil {
		name = absolute
	}
	return fmt.Errorf(
		"there is no database at %s; to create it, run: doorward migrate; "+
			"to use another one, set DOORWARD_DATABASE_URL or --config",
		name,
	)
}

// newServer wires the packages on an open database with the latest schema. It loads the master secret, generates one if
// the database is empty, and fails if the database belongs to a different secret.
func newServer(
	ctx context.Context,
	c config.Config,
	store *storage.Store,
	address func(*http.Request) netip.Addr,
) (*services, error) {
	secrets, err := bindSecret(ctx, c, store)
	if err != nil {
		return nil, err
	}
	var limiter limit.Limiter = limit.NewSQL(store)
	var limits *limit.Memory
	// A single process uses a SQLite database, and each count would be a write.
	if c.Limits == "memory" || c.Limits == "" && store.Engine() == "sqlite" {
		limits = limit.NewMemory(store)
		limiter = limits
	}
	offered, err := catalog.New(catalog.Config{Resources: c.Catalogue(), Plans: c.Plans})
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	keys := apikey.New(apikey.Config{Store: store, Catalog: offered})
	keyring := bearer.NewKeyring(bearer.KeyringConfig{
		Issuer:         c.Issuer,
		Store:          store,
		Secrets:        secrets,
		Catalog:        offered,
		AccessLifetime: c.Lifetimes.Access,
	})
	verifier := bearer.New(bearer.Config{
		Issuer:  c.Issuer,
		Store:   store,
		Catalog: offered,
		APIKeys: keys,
		Keyring: keyring,
		Limiter: limiter,
	})
	fetcher := fetch.New(c.Fetch)
	manager := management.New(management.Config{
		CheckURL:         fetcher.CheckURL,
		Issuer:           c.Issuer,
		Store:            store,
		Catalog:          offered,
		APIKeys:          keys,
		Limiter:          limiter,
		Grants:           oauth.GrantRules(),
		Product:          c.Brand.Name,
		RedirectSchemes:  c.RedirectSchemes,
		OwnersSetPlans:   c.PlansBy == "owners",
		KnownOnly:        c.SignUp == config.SignUpClosed,
		SendsEmail:       c.SendsEmail(),
		Registration:     c.Registration,
		OpenIDCompatible: c.RegistrationCompatibility == config.CompatibleWithOpenID,
		Secrets:          secrets,
		UnlimitedChanges: c.TokenLimits.ClientRequests == 0,
	})
	protocol := oauth.New(oauth.Config{
		Issuer:            c.Issuer,
		Store:             store,
		Secrets:           secrets,
		Catalog:           offered,
		Management:        manager,
		Bearer:            verifier,
		Keyring:           keyring,
		RedirectSchemes:   c.RedirectSchemes,
		Lifetimes:         c.Lifetimes,
		Tokens:            c.TokenLimits,
		Limiter:           limiter,
		ClientAddress:     address,
		Fetcher:           fetcher,
		DPoPNonces:        c.DPoPNonces,
		MetadataDocuments: c.MetadataDocuments,
	})
	providers, err := c.NewProviders(func() time.Time { return store.Now().Time() })
	if err != nil {
		return nil, err
	}
	people := identity.New(identity.Config{
		Store:    store,
		Throttle: limit.NewSignIns(func() time.Time { return store.Now().Time() }),
		Issuer:   c.Issuer,
		Product:  c.Brand.Name,
		Secrets:  secrets,
		Emails: identity.Emails{
			Enabled: c.SendsEmail(), Links: c.LinksByEmail(), Hourly: c.Mail.Hourly, Allows: c.SignUpDomains.Allows,
			Approval: c.SignUpApproval == config.ApprovalAdministrator,
		},
		NoPasswords:  !c.SignIn.Password,
		Passkeys:     identity.Passkeys{Domain: c.PasskeyDomain(), Origin: c.Issuer, Name: c.Brand.Name},
		SecondFactor: c.SignIn.SecondFactor,
		Providers:    providers,
	})
	return &services{
		config: c, store: store, secrets: secrets, oauth: protocol, catalog: offered, apikey: keys, bearer: verifier,
		keyring: keyring, management: manager, identity: people, limits: limits, fetcher: fetcher,
	}, nil
}

// bindSecret loads the master secret and binds the database to it.
func bindSecret(ctx context.Context, c config.Config, store *storage.Store) (*seal.Secrets, error) {
	empty, err := store.Empty(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	masters, err := config.MasterSecrets(c, empty)
	if err != nil {
		return nil, err
	}
	secrets, err := seal.New(masters)
	if err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	if err := secrets.BindToDatabase(ctx, store); err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	return secrets, nil
}

// open prepares an administrative command. The caller closes the store.
func (a *app) open(ctx context.Context) (*services, error) {
	c, err := a.load(nil)
	if err != nil {
		return nil, err
	}
	if err := needDatabase(c); err != nil {
		return nil, err
	}
	store, err := openStore(ctx, c, commandConns)
	if err != nil {
		return nil, err
	}
	server, err := a.openServer(ctx, c, store)
	if err != nil {
		store.Close()
		return nil, err
	}
	return server, nil
}

// settling is how long a command waits after a change, so that every server has seen it when the command ends: none
// answers from memory without having looked for changes within this time.
var settling = time.Second

// settle waits until the servers have seen the changes of a command. What a command creates is in no server's memory.
func (a *app) settle(ctx context.Context, s *services) {
	if a.creates || s.store.Generation() == 0 || s.config.Cache != "on" {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(settling):
	}
}

func (a *app) openServer(ctx context.Context, c config.Config, store *storage.Store) (*services, error) {
	switch err := store.Ping(ctx); {
	case errors.Is(err, storage.ErrOldSchema):
		return nil, errors.New("the database does not have the latest schema; run: doorward migrate")
	case err != nil:
		return nil, fmt.Errorf("database: %w", err)
	}
	noAddress := func(*http.Request) netip.Addr { return netip.Addr{} } // commands handle no requests
	return newServer(ctx, c, store, noAddress)
}

// maxInput bounds a line of standard input, in bytes.
const maxInput = 64 << 10

// terminal reports whether standard input is a terminal, so that the user can answer a question.
func (a *app) terminal() bool {
	f, ok := a.stdin.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// readWords reads one line of standard input, and returns its words. The line may be empty.
func (a *app) readWords() ([]string, error) {
	line, err := bufio.NewReader(io.LimitReader(a.stdin, maxInput)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return strings.Fields(line), nil
}

// readLine reads one line of standard input: a secret, which other users could see on the command line. what is the
// name of the secret in messages.
func (a *app) readLine(what string) (string, error) {
	if a.terminal() {
		_, _ = fmt.Fprintf(a.stderr, "Enter the %s (it is visible as you type): ", what)
	}
	line, err := bufio.NewReader(io.LimitReader(a.stdin, maxInput)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the %s from standard input: %w", what, err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usageError{fmt.Errorf("no %s on standard input; pipe it in as a single line", what)}
	}
	return line, nil
}
