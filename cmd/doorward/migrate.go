package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"doorward/storage"
)

type migrateCommand struct {
	output
	Action string `arg:"" optional:"" enum:"status," default:"" help:"status lists the migrations without applying any."`
}

// migrationJSON is a migration, for scripts.
type migrationJSON struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	Applied   bool       `json:"applied"`
	AppliedAt *time.Time `json:"applied_at,omitempty"` // nil: pending
}

// Run migrates to the latest schema, or lists the migrations.
func (m migrateCommand) Run(ctx context.Context, a *app) error {
	c, err := a.load(nil)
	if err != nil {
		return err
	}
	if m.Action == "status" && c.MissingDatabase() != "" {
		c.DatabaseURL = "sqlite::memory:" // all migrations are pending there too
	}
	store, err := openStore(ctx, c, commandConns)
	if err != nil {
		return err
	}
	defer store.Close()
	act, none := store.Migrate, "The schema is already up to date."
	if m.Action == "status" {
		act, none = store.Migrations, "There are no migrations."
	}
	list, err := act(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	rows := make([]migrationJSON, len(list))
	for i, one := range list {
		rows[i] = newMigrationJSON(one)
	}
	return m.print(a, rows, func(w io.Writer) {
		if len(rows) == 0 {
			_, _ = fmt.Fprintln(w, none)
			return
		}
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range rows {
			when := "pending"
			if row.AppliedAt != nil {
				when = row.AppliedAt.Format(time.RFC3339)
			}
			_, _ = fmt.Fprintf(table, "%d\t%s\t%s\n", row.Version, row.Name, when)
		}
		_ = table.Flush()
	})
}

func newMigrationJSON(m storage.Migration) migrationJSON {
	row := migrationJSON{Version: m.Version, Name: m.Name, Applied: m.Applied, AppliedAt: nil}
	if m.Applied {
		at := m.AppliedAt.UTC().Truncate(time.Second)
		row.AppliedAt = &at
	}
	return row
}
