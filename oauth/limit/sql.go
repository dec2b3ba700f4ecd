package limit

import (
	"context"
	"errors"

	"doorward/storage"
)

// SQL is a Limiter that counts in the database, across all nodes.
type SQL struct{ store *storage.Store }

// NewSQL returns a SQL that counts in store and uses its clock.
func NewSQL(store *storage.Store) *SQL { return &SQL{store} }

// Take implements Limiter.
func (l *SQL) Take(ctx context.Context, counter string, cost int64, plan Plan) (Result, error) {
	if err := check(counter, cost, plan); err != nil {
		return Result{}, err
	}
	ctx = storage.System(ctx)
	c := charge(l.store.Now(), cost, plan)
	if exceeds(cost, plan) {
		st, err := l.store.LimitState(ctx, counter)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return Result{}, err
		}
		return result(st, c, plan, false), nil
	}
	st, admitted, err := l.store.TakeLimit(ctx, counter, c)
	if err != nil {
		return Result{}, err
	}
	return result(st, c, plan, admitted), nil
}
