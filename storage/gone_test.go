package storage_test

import (
	"context"
	"errors"
	"testing"

	"doorward/storage"
	"doorward/test/stores"
)

// TestV78_ErrorsOfAContextThatEndedWrapItsError checks it at each point of a transaction: by it, a caller who has
// disconnected is told apart from a database that fails.
func TestV78_ErrorsOfAContextThatEndedWrapItsError(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		rename := func(ctx context.Context) error {
			_, err := s.Exec(ctx, `UPDATE clients SET name = 'written' WHERE id = $1`, w.client.ID)
			return err
		}
		for name, act := range map[string]func(ctx context.Context, leave func()) error{
			"before a statement": func(ctx context.Context, leave func()) error {
				leave()
				return rename(ctx)
			},
			"before a transaction": func(ctx context.Context, leave func()) error {
				leave()
				return s.InTx(ctx, rename)
			},
			"in a transaction": func(ctx context.Context, leave func()) error {
				return s.InTx(ctx, func(ctx context.Context) error {
					leave()
					return rename(ctx)
				})
			},
			"before the commit": func(ctx context.Context, leave func()) error {
				return s.InTx(ctx, func(ctx context.Context) error {
					err := rename(ctx)
					leave()
					return err
				})
			},
			"before the commit, rolled back by database/sql": func(ctx context.Context, leave func()) error {
				return s.InTx(ctx, func(ctx context.Context) error {
					err := rename(ctx)
					leave()
					for s.Engine() == "sqlite" && err == nil {
						if rename(context.WithoutCancel(ctx)) != nil {
							break // now it is
						}
					}
					return err
				})
			},
			"in a transaction, rolled back by database/sql": func(ctx context.Context, leave func()) error {
				return s.InTx(ctx, func(ctx context.Context) error {
					leave()
					for s.Engine() == "sqlite" {
						if err := rename(context.WithoutCancel(ctx)); err != nil {
							return err
						}
					}
					return rename(ctx)
				})
			},
		} {
			ctx, leave := context.WithCancel(system(t))
			err := act(ctx, leave)
			leave()
			if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: error %v", name, err)
			}
			if c, err := s.ClientByID(system(t), w.client.ID); err != nil || c.Name == "written" {
				t.Errorf("%s: the name is %q, %v", name, c.Name, err)
			}
		}
	})
}
