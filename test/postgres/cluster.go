package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// owner is the login that owns the databases. One for the whole cluster, since roles are shared by all databases and
// from PostgreSQL 16 only who made a role may grant it.
const owner = "doorward_owner"

// Cluster makes databases and logins on a running server, through its superuser. It may be used from several
// goroutines and processes at a time.
type Cluster struct {
	superuser string

	mu        sync.Mutex
	templates map[string]string // key → database, once it is known to exist

	making sync.Mutex
	maker  *pgx.Conn // makes and drops databases; nil: none yet
}

// NewCluster is a cluster reached by its superuser's URL.
func NewCluster(superuserURL string) *Cluster {
	return &Cluster{superuser: superuserURL, templates: map[string]string{}}
}

// Superuser is the superuser's URL, for the database postgres.
func (c *Cluster) Superuser() string { return c.superuser }

// CreateDatabase clones a database from a template and returns its URL. The template is made once per cluster and key:
// an empty database, then migrate with its URL (nil: stays empty). The key stands for the schema, so it is to change
// with the migrations. The login of both URLs owns the database, is not a superuser and has CREATEROLE.
func (c *Cluster) CreateDatabase(ctx context.Context, key string, migrate func(ctx context.Context, ownerURL string) error) (string, error) {
	template, err := c.template(ctx, key, migrate)
	if err != nil {
		return "", err
	}
	name := "d_" + randomName()
	// Without fsync copying files is three times faster than logging each page.
	err = c.exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY FILE_COPY OWNER %s", name, template, owner))
	if err != nil {
		return "", fmt.Errorf("clone database: %w", err)
	}
	return c.url(owner, name), nil
}

// DropDatabase removes the database that a URL of [Cluster.CreateDatabase] names and ends the connections to it.
func (c *Cluster) DropDatabase(ctx context.Context, databaseURL string) error {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(u.Path, "/")
	// PostgreSQL looks only ten times a second whether those that it ends have gone. Those that were closed a moment ago
	// need no more than a few milliseconds.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		var inUse bool
		err := c.withMaker(ctx, func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = $1)", name).Scan(&inUse)
		})
		if err != nil {
			return err
		}
		if !inUse {
			break
		}
		<-tick.C
	}
	return c.exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// template returns the name of the template database of key, and makes it when no process has yet.
func (c *Cluster) template(ctx context.Context, key string, migrate func(context.Context, string) error) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, ok := c.templates[key]; ok {
		return name, nil
	}
	digest := sha256.Sum256([]byte(key))
	name := "t_" + hex.EncodeToString(digest[:12])
	err := c.connected(ctx, func(conn *pgx.Conn) error {
		// The lock goes with the connection.
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(binary.BigEndian.Uint64(digest[:8]))); err != nil { //nolint:gosec // any bits will do
			return err
		}
		var done bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate)", name).Scan(&done)
		if err != nil || done {
			return err
		}
		if err := ensureOwner(ctx, conn); err != nil {
			return err
		}
		for _, statement := range []string{
			"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", // what a killed process left half made
			"CREATE DATABASE " + name + " OWNER " + owner,
		} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		if migrate != nil {
			if err := migrate(ctx, c.url(owner, name)); err != nil {
				return err
			}
		}
		_, err = conn.Exec(ctx, "ALTER DATABASE "+name+" WITH IS_TEMPLATE TRUE ALLOW_CONNECTIONS FALSE")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make template database: %w", err)
	}
	c.templates[key] = name
	return name, nil
}

// ensureOwner makes the owner of all databases. Templates of different keys may come here at once.
func ensureOwner(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "CREATE ROLE "+owner+" LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS"+passwordOf(conn.Config()))
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42710" || pg.Code == "23505") { // duplicate_object, unique_violation
		return nil
	}
	return err
}

// Login is a login to be made. The zero value may connect and nothing else.
type Login struct {
	CreateRole bool     // may make roles; what it makes is the whole cluster's, so give it a server of its own
	Roles      []string // roles that it is a member of
	Database   bool     // owns an empty database
}

// CreateLogin creates a login with a name of its own, which is not a superuser, and returns its URL: for its own
// database, or else for the database postgres.
func (c *Cluster) CreateLogin(ctx context.Context, l Login) (string, error) {
	name, database := "l_"+randomName(), "postgres"
	err := c.connected(ctx, func(conn *pgx.Conn) error {
		create := "CREATE ROLE " + name + " LOGIN NOSUPERUSER NOBYPASSRLS" + passwordOf(conn.Config())
		if l.CreateRole {
			create += " CREATEROLE"
		}
		statements := []string{create}
		for _, role := range l.Roles {
			statements = append(statements, "GRANT "+pgx.Identifier{role}.Sanitize()+" TO "+name)
		}
		if l.Database {
			database = name
			statements = append(statements, "CREATE DATABASE "+name+" OWNER "+name)
		}
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("make login: %w", err)
	}
	return c.url(name, database), nil
}

// DropLogin removes a login that [Cluster.CreateLogin] made, and its database.
func (c *Cluster) DropLogin(ctx context.Context, loginURL string) error {
	u, err := url.Parse(loginURL)
	if err != nil {
		return err
	}
	name := pgx.Identifier{u.User.Username()}.Sanitize()
	return c.connected(ctx, func(conn *pgx.Conn) error {
		for _, statement := range []string{
			"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "DROP OWNED BY " + name, "DROP ROLE " + name,
		} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Cluster) exec(ctx context.Context, statement string) error {
	return c.withMaker(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement)
		return err
	})
}

// withMaker calls fn with the connection for making and dropping databases, which stays open: a new one takes as long as
// what it is for.
func (c *Cluster) withMaker(ctx context.Context, fn func(*pgx.Conn) error) error {
	c.making.Lock()
	defer c.making.Unlock()
	if c.maker == nil || c.maker.Ping(ctx) != nil {
		conn, err := pgx.Connect(ctx, c.superuser)
		if err != nil {
			return err
		}
		c.maker = conn
	}
	return fn(c.maker)
}

func (c *Cluster) connected(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, c.superuser)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	return fn(conn)
}

// url is the superuser's with another login and database; a password is the same for all.
func (c *Cluster) url(login, database string) string {
	u, err := url.Parse(c.superuser)
	if err != nil {
		panic(err) // a connection was made with it
	}
	if password, ok := u.User.Password(); ok {
		u.User = url.UserPassword(login, password)
	} else {
		u.User = url.User(login)
	}
	u.Path = "/" + database
	return u.String()
}

func passwordOf(c *pgx.ConnConfig) string {
	if c.Password == "" {
		return ""
	}
	return " PASSWORD '" + strings.ReplaceAll(c.Password, "'", "''") + "'"
}

func randomName() string { return strings.ToLower(rand.Text()[:16]) }
