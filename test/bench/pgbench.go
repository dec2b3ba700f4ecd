package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"doorward/storage"
	"doorward/test/postgres"
)

// poolConns is the size of each of the server's pools on two processors, and how many clients pgbench has where a row
// says nothing else.
const poolConns = 8

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// pgbench runs statements as a script with one transaction, with so many clients.
func (b *bench) pgbench(
	ctx context.Context, s *site, name string, clients int, script string, settings ...string,
) (float64, error) {
	path := filepath.Join(b.dir, name+".sql")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		return 0, fmt.Errorf("pgbench script: %w", err)
	}
	program, err := postgres.Binary("pgbench")
	if err != nil {
		return 0, err
	}
	c := exec.CommandContext(ctx, program, "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", "2",
		"-T", strconv.Itoa(b.seconds()), "-f", path, s.database)
	c.Env = append(os.Environ(), settings...)
	out, err := c.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	m := tps.FindSubmatch(out)
	if m == nil || !bytes.Contains(out, []byte("number of failed transactions: 0 ")) {
		return 0, fmt.Errorf("pgbench:\n%s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// numberedID is the digest made from pgbench's variable id: pgbench cannot hash, so it uses credentials whose digest is
// a number.
const numberedID = "decode(lpad(to_hex(:id::bigint), 64, '0'), 'hex')"

// fresh is a digest that is not in use.
const fresh = "(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"

var placeholder = regexp.MustCompile(`\$(\d+)`)

// bind replaces the parameters of a Doorward statement with expressions.
func bind(statement storage.Statement, args ...string) string {
	return placeholder.ReplaceAllStringFunc(strings.Join(strings.Fields(statement.SQL()), " "), func(p string) string {
		n, err := strconv.Atoi(p[1:])
		if err != nil || n > len(args) {
			panic("statement with other parameters than expected: " + statement.SQL())
		}
		return args[n-1]
	})
}

// choose sets pgbench's variable id to one of n.
func choose(n int) string { return `\set id random(1, ` + strconv.Itoa(n) + ")\n" }

func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func integer(n int64) string { return strconv.FormatInt(n, 10) }
