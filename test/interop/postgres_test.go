package interop

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"doorward/test/browser"
	"doorward/test/postgres"
	"doorward/test/setup"
)

// A login that may create roles needs no help: the first start creates everything.
func TestPostgreSQLByALoginThatMayCreateRoles(t *testing.T) {
	url := loginOf(t, postgres.Private(t, postgres.Options{}), postgres.Login{CreateRole: true, Database: true})
	connectAndSurvive(t, start(t, url, ""))
}

// For a login that may not create roles, the server prints the SQL for an administrator to run, and then needs nothing
// more.
func TestPostgreSQLByALoginThatMayNotCreateRoles(t *testing.T) {
	database := postgres.Private(t, postgres.Options{})
	s := newServer(t, loginOf(t, database, postgres.Login{Database: true}), "")
	err := s.serve()
	if err == nil {
		t.Fatal("the server started without its roles")
	}
	_, sql, found := strings.Cut(err.Error(), "as a role that may, run:\n\n")
	if !found {
		t.Fatalf("the server prints no SQL: %v", err)
	}
	conn, err := pgx.Connect(t.Context(), database.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("the printed SQL: %v\n%s", err, sql)
	}
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	s.command(password, "user", "create", "--email", email, "--name", "Ada", "--password-stdin")
	connectAndSurvive(t, s)
}

func loginOf(t *testing.T, database *postgres.Server, l postgres.Login) (url string) {
	t.Helper()
	url, err := database.Cluster().CreateLogin(t.Context(), l) // removed with the server
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// connectAndSurvive takes an app through the whole flow, and kills the server after each fact that it acknowledged.
func connectAndSurvive(t *testing.T, s *server) {
	t.Helper()
	setup.Long(t)
	restart := func() {
		t.Helper()
		s.kill()
		if err := s.serve(); err != nil {
			t.Fatal(err)
		}
	}
	c, api := s.confidential("App"), s.resourceServer(s.issuer)
	a := newApp(t, s, browser.New(t), c, "read", "write")
	active := func(token string) bool {
		t.Helper()
		return s.introspect(api, token)["active"] == true
	}

	query, verifier := a.authorize("approve")
	restart()
	token := a.redeem(query, verifier)
	restart()
	if !active(token.AccessToken) {
		t.Error("a token was lost")
	}
	a.tab.Goto(a.config.AuthCodeURL("again", challenge(verifier)))
	if query := <-a.arrived; query.Get("code") == "" || query.Get("state") != "again" {
		t.Errorf("session or consent was lost: %v", query)
	}
	fresh, err := a.refresh(token)
	if err != nil {
		t.Fatal(err)
	}
	restart()
	if !active(fresh.AccessToken) {
		t.Error("a refreshed token was lost")
	}
	revoke(t, s, c, fresh)
	restart()
	if active(fresh.AccessToken) || active(token.AccessToken) {
		t.Error("a revocation was lost")
	}
	if _, err := a.refresh(fresh); err == nil {
		t.Error("a revoked refresh token was accepted")
	}
}
