package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"doorward/storage"
	"doorward/test/stores"
)

// onEachEngine runs a test on SQLite in memory and on PostgreSQL; inParallelOnEachEngine takes SQLite in a file, where
// several connections meet.
func onEachEngine(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) { fn(t, stopped(s)) })
}

func inParallelOnEachEngine(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	stores.OnEachEngineParallel(t, func(t *testing.T, s *storage.Store) { fn(t, stopped(s)) })
}

// noon is where the clock of every test stands.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func stopped(s *storage.Store) *storage.Store {
	s.SetClock(func() time.Time { return noon })
	return s
}

func system(t *testing.T) context.Context {
	t.Helper()
	return storage.System(t.Context())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// world is one row of everything.
type world struct {
	user, admin, otherAdmin storage.User
	workspace               storage.Workspace // the user's personal one
	shared                  storage.Workspace // of the user, with the administrator as a member
	invitation              storage.Invitation
	client                  storage.Client
	session                 storage.Session
	grant                   storage.Grant
	code, access, refresh   []byte         // digests
	request                 []byte         // digest of a pushed request
	clientAccess            []byte         // digest of a token of client_credentials
	key, personal           storage.APIKey // of the personal workspace, and of the user
	answer                  storage.IdempotentAnswer
	active, next            storage.SigningKey
}

// newSigningKey is a key in a state.
func newSigningKey(s *storage.Store, state string) storage.SigningKey {
	k := storage.SigningKey{
		ID: storage.NewID("signing"), State: state, Public: "{}", Sealed: "sealed",
		CreatedAt: s.Now(),
	}
	if state == storage.SigningActive {
		k.ActivatedAt = s.Now()
	}
	return k
}

func newWorld(t *testing.T, s *storage.Store) *world {
	t.Helper()
	ctx := system(t)
	now := s.Now()
	w := &world{
		user: storage.User{
			ID: storage.NewID("user"), Email: "Ada@Example.com", Name: "Ada",
			PasswordHash: "hash",
		},
		admin: storage.User{
			ID: storage.NewID("user"), Email: "root@example.com", Name: "Root",
			PasswordHash: "hash", Admin: true,
		},
		otherAdmin: storage.User{ID: storage.NewID("user"), Email: "toor@example.com", Admin: true},
		code:       storage.Digest("code"), access: storage.Digest("access"), refresh: storage.Digest("refresh"),
		clientAccess: storage.Digest("client access"), request: storage.Digest("request_uri"),
	}
	for _, u := range []*storage.User{&w.user, &w.admin, &w.otherAdmin} {
		must(t, s.InsertUser(ctx, u))
	}
	var err error
	w.workspace, err = s.PersonalWorkspace(ctx, w.user.ID)
	must(t, err)
	w.client = storage.Client{
		ID: storage.NewID("app"), WorkspaceID: w.workspace.ID, CreatedBy: w.user.ID, Name: "App",
		Site:         "https://app.example",
		RedirectURIs: storage.List{"https://app.example/cb"}, GrantTypes: storage.List{
			"authorization_code",
			"refresh_token",
		},
		Scopes: storage.List{"read", "write"}, Resources: storage.List{"https://api.example"},
		Secrets: []storage.ClientSecret{{
			ID: storage.NewID("secret"), Digest: storage.Digest("secret"), Tail: "cret",
			CreatedAt: now,
		}},
	}
	must(t, s.InsertClient(ctx, &w.client, []string{"https://app.example"}))
	w.session = storage.Session{
		ID: storage.NewID("session"), Digest: storage.Digest("session"), UserID: w.user.ID, Data: "{}", AuthTime: now,
		UserAgent: "agent", Address: "192.0.2.1", CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(time.Hour),
	}
	must(t, s.InsertSession(ctx, w.session))
	w.grant = w.newGrant(now)
	must(t, s.InsertGrant(ctx, w.grant, storage.Code{
		Digest: w.code, RedirectURI: "https://app.example/cb",
		Challenge: "challenge", ExpiresAt: now.Add(time.Minute),
	}))
	must(t, s.InsertAccessToken(ctx, storage.AccessToken{
		Digest: w.access, GrantID: w.grant.ID, ClientID: w.client.ID, Resource: "https://api.example",
		Scopes: storage.List{"read"}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}))
	must(t, s.InsertAccessToken(ctx, storage.AccessToken{
		Digest: w.clientAccess, ClientID: w.client.ID, Resource: "https://api.example",
		Scopes: storage.List{"read"}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}))
	must(t, s.InsertRefreshToken(ctx, storage.RefreshToken{
		Digest: w.refresh, GrantID: w.grant.ID, CreatedAt: now,
		ExpiresAt: now.Add(time.Hour),
	}))
	must(t, s.SaveConsent(ctx, storage.Consent{
		UserID: w.user.ID, ClientID: w.client.ID,
		Resource: "https://api.example", WorkspaceID: w.workspace.ID, Scopes: storage.List{"read"},
	}))
	must(t, s.SetSetting(ctx, "word", "digest"))
	w.active, w.next = newSigningKey(s, storage.SigningActive), newSigningKey(s, storage.SigningNext)
	must(t, s.InsertSigningKey(ctx, w.active))
	must(t, s.InsertSigningKey(ctx, w.next))
	w.shared = storage.Workspace{ID: storage.NewID("ws"), Slug: "shared", Name: "Shared"}
	must(t, s.InsertWorkspace(ctx, w.shared, w.user.ID))
	must(t, s.AddMember(ctx, w.shared.ID, w.admin.ID, "member"))
	w.invitation = storage.Invitation{
		ID: storage.NewID("invitation"), Digest: storage.Digest("word"),
		WorkspaceID: w.shared.ID, Email: "Eve@example.com", Role: "viewer", ExpiresAt: now.Add(2 * time.Hour),
	}
	must(t, s.InsertInvitation(ctx, w.invitation))
	must(t, s.InsertPushedRequest(ctx, w.pushed(s, "request_uri")))
	w.addKeys(t, s, "")
	return w
}

// addKeys adds a key and a personal access token, and what comes of their use.
func (w *world) addKeys(t *testing.T, s *storage.Store, name string) {
	t.Helper()
	w.key = newKey(storage.KeyOwner{WorkspaceID: w.workspace.ID}, name+" Key")
	w.personal = newKey(storage.KeyOwner{UserID: w.user.ID}, name+" Token")
	for _, k := range []*storage.APIKey{&w.key, &w.personal} {
		must(t, s.InsertKey(system(t), k, 10))
		s.NoteUse(storage.Use{
			WorkspaceID: w.workspace.ID, CredentialID: k.ID, Credential: k.Kind, RequestID: "request",
			Action: "introspect", Status: 200, Address: "192.0.2.1",
		})
	}
	must(t, s.FlushUsage(system(t)))
	must(t, s.Audit(system(t), storage.AuditEvent{
		Action: "api_key.created", WorkspaceID: w.workspace.ID,
		Target: w.key.ID,
	}, ""))
	w.answer = storage.IdempotentAnswer{
		Digest: storage.Digest(w.user.ID), WorkspaceID: w.workspace.ID, UserID: w.user.ID,
		Request: storage.Digest("request"), Status: 201, Answer: "sealed",
	}
	must(t, s.KeepAnswer(system(t), w.answer))
}

// newKey is a key that an owner could have.
func newKey(owner storage.KeyOwner, name string) storage.APIKey {
	k := storage.APIKey{
		ID: storage.NewID("key"), Kind: storage.KindAPIKey, WorkspaceID: owner.WorkspaceID, UserID: owner.UserID,
		Resource:    "https://api.example",
		Environment: "live", Prefix: "sk_live_", Tail: "tail", Name: name, Scopes: storage.List{"read"},
	}
	if owner.UserID != "" {
		k.ID, k.Kind, k.Environment, k.Prefix = storage.NewID("token"), storage.KindPersonalAccessToken, "", "pat_"
	}
	k.Digest = storage.Digest("text of " + k.ID)
	return k
}

// pushed is a request that the client could push.
func (w *world) pushed(s *storage.Store, uri string) storage.PushedRequest {
	return storage.PushedRequest{
		Digest: storage.Digest(uri), ClientID: w.client.ID, Request: "{}", ExpiresAt: s.Now().Add(time.Minute),
	}
}

// assertion is one that the client could use.
func (w *world) assertion(s *storage.Store) storage.UsedAssertion {
	return storage.UsedAssertion{ClientID: w.client.ID, ID: "jti", ExpiresAt: s.Now().Add(3 * time.Minute)}
}

func (w *world) newGrant(now storage.Time) storage.Grant {
	return storage.Grant{
		ID: storage.NewID("grant"), ClientID: w.client.ID, UserID: w.user.ID, WorkspaceID: w.workspace.ID,
		Resource: "https://api.example",
		Scopes:   storage.List{"read"}, AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(24 * time.Hour),
	}
}

// tables lists the tables of the schema.
func tables(t *testing.T, s *storage.Store) []string {
	t.Helper()
	query := `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name`
	if s.Engine() == "postgresql" {
		query = `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
			ORDER BY relname`
	}
	rows, err := s.SystemPool().QueryContext(t.Context(), query)
	must(t, err)
	defer rows.Close() //nolint:errcheck // rows.Err is asked
	var list []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		list = append(list, name)
	}
	must(t, rows.Err())
	return list
}

// dump is everything that is stored, a line for each row, to be compared with another.
func dump(t *testing.T, s *storage.Store) []string {
	t.Helper()
	var lines []string
	if s.Engine() == "postgresql" {
		// One statement for all tables: one for each takes five times as long.
		var selects []string
		for _, table := range tables(t, s) {
			selects = append(selects, fmt.Sprintf("SELECT '%s' AS name, row_to_json(r)::text AS content FROM %[1]s r", table))
		}
		lines = dumpColumns(t, s, "("+strings.Join(selects, " UNION ALL ")+") of_all", "*")
	} else {
		for _, table := range tables(t, s) {
			lines = append(lines, dumpTable(t, s, table)...)
		}
	}
	slices.Sort(lines)
	return lines
}

func dumpTable(t *testing.T, s *storage.Store, table string) []string {
	t.Helper()
	return dumpColumns(t, s, table, "*")
}

func dumpColumns(t *testing.T, s *storage.Store, table, columnList string) []string {
	t.Helper()
	rows, err := s.SystemPool().QueryContext(t.Context(), "SELECT "+columnList+" FROM "+table)
	must(t, err)
	defer rows.Close() //nolint:errcheck // rows.Err is asked
	columns, err := rows.Columns()
	must(t, err)
	var lines []string
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		must(t, rows.Scan(values...))
		var line strings.Builder
		fmt.Fprintf(&line, "%s:", table)
		for i, v := range values {
			switch v := (*v.(*any)).(type) {
			case []byte:
				fmt.Fprintf(&line, " %s=%q", columns[i], v)
			default:
				fmt.Fprintf(&line, " %s=%v", columns[i], v)
			}
		}
		lines = append(lines, line.String())
	}
	must(t, rows.Err())
	return lines
}

// atOnce runs fn n times at once and tells how often it returned nil, and what else it returned.
func atOnce(n int, fn func(i int) error) (wins int64, failures []error) {
	var count atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := fn(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
				return
			}
			count.Add(1)
		})
	}
	close(start)
	wg.Wait()
	return count.Load(), failures
}

// connect is a connection of one's own to PostgreSQL.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// connectOwner is a connection to a store's PostgreSQL as the login behind it, who owns the tables.
func connectOwner(t *testing.T, s *storage.Store) *pgx.Conn {
	t.Helper()
	conn, err := s.SystemPool().Conn(t.Context())
	must(t, err)
	defer conn.Close() //nolint:errcheck // it goes back to its pool
	var url string
	must(t, conn.Raw(func(c any) error {
		url = c.(*stdlib.Conn).Conn().Config().ConnString()
		return nil
	}))
	return connect(t, url)
}

// passkey is a new passkey of the user.
func (w *world) passkey() storage.Passkey {
	id := storage.NewID("passkey")
	return storage.Passkey{
		ID: id, CredentialID: []byte(id), UserID: w.user.ID, Domain: "id.example", PublicKey: []byte("key"),
		Counter: 5, Model: "00000000-0000-0000-0000-000000000000", Name: "Passkey",
	}
}

// totp turns on the user's one-time passwords.
func (w *world) totp() storage.TOTP {
	return storage.TOTP{UserID: w.user.ID, Sealed: "sealed", Step: 100}
}

// recoveryCodes is a set of two.
var recoveryCodes = []storage.RecoveryCode{{Selector: "aa", Hash: "hash"}, {Selector: "ab", Hash: "other"}}

// providerAccount is an account at a provider, of the user.
func (w *world) providerAccount() storage.ProviderAccount {
	return storage.ProviderAccount{
		ID: storage.NewID("provider"), UserID: w.user.ID, Provider: "acme", Issuer: "https://login.acme.example",
		Subject: "ada", Email: "ada@acme.example",
	}
}

// registered is a new client that registered itself.
func (w *world) registered() storage.Client {
	c := w.client
	c.ID, c.WorkspaceID, c.CreatedBy, c.Secrets = storage.NewID("app"), "", "", nil
	c.Name, c.Public, c.Registration, c.ApplicationType = "Registered", true, storage.RegisteredDynamically, "native"
	c.LogoURI, c.PolicyURI, c.TOSURI = "https://app.example/logo", "https://app.example/policy", "https://app.example/tos"
	c.RegistrationToken = storage.Digest("registration access token of " + c.ID)
	return c
}

// described is a client that a metadata document describes, which was just fetched.
func (w *world) described(s *storage.Store) storage.Client {
	c := w.registered()
	c.ID, c.Registration, c.RegistrationToken = "https://client.example/"+c.ID, storage.RegisteredByDocument, nil
	c.Name, c.DocumentAt = "Described", s.Now()
	return c
}

// registrationToken is a new token with which one client can register within an hour.
func (w *world) registrationToken(s *storage.Store) storage.RegistrationToken {
	return storage.RegistrationToken{
		ID: storage.NewID("regtoken"), Digest: storage.Digest("initial access token"), Tail: "oken", CreatedBy: w.admin.ID,
		MaxUses: 1, ExpiresAt: s.Now().Add(time.Hour),
	}
}
