package storage

import (
	"context"
	"time"
)

// DecideFlow records the answer to a sealed authorization flow. It returns ErrConsumed if the flow was answered before.
func (s *Store) DecideFlow(ctx context.Context, flowID, decision string, keep time.Duration) error {
	now := s.Now()
	return s.execOne(ctx, ErrConsumed, plain(`INSERT INTO decided_flows (id, decision, decided_at, expires_at)
		VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING`),
		flowID, decision, now, now.Add(keep))
}

// KeepFlowAnswer stores, until a time, the sealed response with which the browser was redirected when a flow was
// decided. It returns ErrNotFound if the flow was not decided.
func (s *Store) KeepFlowAnswer(ctx context.Context, flowID, sealed string, until Time) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE decided_flows SET answer = $2, answer_until = $3
		WHERE id = $1`), flowID, sealed, until)
}

// FlowAnswer returns what KeepFlowAnswer stored with a decided flow; empty if it has expired or nothing was stored. It
// returns ErrNotFound if the flow was not decided.
func (s *Store) FlowAnswer(ctx context.Context, flowID string) (sealed string, err error) {
	err = s.one(ctx, []any{&sealed}, plain(`SELECT CASE WHEN answer_until > $2 THEN answer ELSE '' END
		FROM decided_flows WHERE id = $1`), flowID, s.Now())
	return sealed, err
}
