package storage_test

import (
	"context"
	"errors"
	"testing"

	"doorward/storage"
	"doorward/test/stores"
)

// Once a statement of a PostgreSQL transaction has failed, nothing else in it is written, and it is not reported as
// committed, even if a caller ignores the error.
func TestZ4c_AfterAFailureNothingIsWritten(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, s)
	for name, fail := range map[string]func(ctx context.Context) error{
		"a statement that cannot be prepared": func(ctx context.Context) error {
			_, err := s.Count(ctx, `SELECT nothing FROM nowhere`)
			return err
		},
		"a value that does not fit": func(ctx context.Context) error {
			_, err := s.Count(ctx, `SELECT CAST($1 AS int4)`, int64(1)<<40)
			return err
		},
		"a context that has ended": func(ctx context.Context) error {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, err := s.Count(ended, `SELECT 1`)
			return err
		},
	} {
		for who, ctx := range map[string]context.Context{"system": system(t), "tenant": storage.Tenant(t.Context(),
			w.user.ID, w.workspace.ID)} {
			t.Run(name+", "+who, func(t *testing.T) {
				rename := func(ctx context.Context, to string) error {
					_, err := s.Exec(ctx, `UPDATE clients SET name = $1 WHERE id = $2`, to, w.client.ID)
					return err
				}
				enough := errors.New("enough")
				err := s.InTx(ctx, func(ctx context.Context) error {
					if err := fail(ctx); err == nil {
						t.Error("it did not fail")
					}
					_ = rename(ctx, "written after "+name)
					return enough
				})
				if !errors.Is(err, enough) {
					t.Errorf("error %v", err)
				}
				if c, err := s.ClientByID(system(t), w.client.ID); err != nil || c.Name != w.client.Name {
					t.Errorf("after the end of the transaction the name is %q, %v", c.Name, err)
				}
				written := errors.New("not tried")
				err = s.InTx(ctx, func(ctx context.Context) error {
					_ = fail(ctx)
					written = rename(ctx, w.client.Name)
					return nil
				})
				if err == nil && written != nil {
					t.Errorf("a transaction with a failed write (%v) says that it was committed", written)
				}
			})
		}
	}
}
