package storage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Use is one request with a credential, which is counted and shown among recent requests.
type Use struct {
	WorkspaceID  string // empty: not counted for a workspace
	CredentialID string // a key, a personal access token or a client
	Credential   string // its kind
	RequestID    string
	Action       string // the server's name for the request
	Status       int    // HTTP
	Reason       string // why it was refused; empty: it was allowed
	Limited      bool   // refused by a limit
	Address      string
}

// Request is one of the recent requests with a key, or with tokens of an app.
type Request struct {
	ID        string
	At        Time
	RequestID string
	Action    string
	Status    int
	Reason    string
	Address   string // empty for an app, whose requests may come from users' devices
}

// Usage is how often a credential was used in an hour.
type Usage struct {
	CredentialID string
	Credential   string
	Hour         Time // its start
	Allowed      int64
	Limited      int64
	Refused      int64
}

type usageKey struct {
	workspaceID, credentialID string
	hour                      Time
}

// uses collects requests, to be written every few seconds and when the server stops. A crash may lose the last few
// seconds.
type uses struct {
	mu      sync.Mutex
	counts  map[usageKey]*Usage
	recent  map[recentKey][]recentUse // the oldest first
	recents int
	writing sync.Mutex // one FlushUsage at a time
}

// recentKey identifies requests that are kept together: the refused or the allowed ones of one credential. Users look
// for refused requests, so allowed ones must not displace them.
type recentKey struct {
	credentialID string
	refused      bool
}

type recentUse struct {
	Use
	id string
	at Time
}

const (
	// RecentRequests is how many recent requests of a key or app are kept, both of the refused and of the allowed ones.
	RecentRequests = 100
	recentLifetime = 30 * 24 * time.Hour
	recentPerKey   = 20      // collected between two writes for one recentKey; of more, the newest
	recentBound    = 2000    // collected between two writes
	usageBound     = 200_000 // rows collected while the database is unavailable
)

func (u *uses) init() {
	u.counts, u.recent = map[usageKey]*Usage{}, map[recentKey][]recentUse{}
}

// NoteUse counts a request. FlushUsage writes it.
func (s *Store) NoteUse(use Use) {
	now := s.Now()
	u := &s.uses
	u.mu.Lock()
	defer u.mu.Unlock()
	if use.WorkspaceID != "" {
		key := usageKey{use.WorkspaceID, use.CredentialID, now - now%Time(time.Hour.Microseconds())}
		row := u.counts[key]
		if row == nil && len(u.counts) < usageBound {
			row = &Usage{CredentialID: use.CredentialID, Credential: use.Credential, Hour: key.hour}
			u.counts[key] = row
		}
		if row != nil {
			row.note(use)
		}
	}
	if use.CredentialID == "" {
		return
	}
	key := recentKey{use.CredentialID, use.Reason != ""}
	list := u.recent[key]
	switch {
	case len(list) >= recentPerKey:
		copy(list, list[1:])
		list[len(list)-1] = recentUse{use, NewID("request"), now}
	case u.recents < recentBound:
		u.recents++
		list = append(list, recentUse{use, NewID("request"), now})
	default:
		return
	}
	u.recent[key] = list
}

func (row *Usage) note(use Use) {
	switch {
	case use.Limited:
		row.Limited++
	case use.Reason != "":
		row.Refused++
	default:
		row.Allowed++
	}
}

// FlushUsage writes the requests since its last call. The server calls it every five seconds and when it stops.
// Requests that could not be written are kept for the next call.
func (s *Store) FlushUsage(ctx context.Context) error {
	u := &s.uses
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	counts, recent := u.counts, u.recent
	u.counts, u.recent, u.recents = map[usageKey]*Usage{}, map[recentKey][]recentUse{}, 0
	u.mu.Unlock()
	err := s.writeCounts(ctx, counts)
	if err == nil {
		err = s.writeRecent(ctx, recent)
	}
	if err != nil {
		u.keep(counts, recent)
	}
	return err
}

// writeCounts adds counts to the stored usage, and removes from counts what it has written.
func (s *Store) writeCounts(ctx context.Context, counts map[usageKey]*Usage) error {
	// Write in a fixed order, so that two nodes that write the same rows cannot deadlock.
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b usageKey) int {
		return cmp.Or(strings.Compare(a.workspaceID, b.workspaceID), strings.Compare(a.credentialID, b.credentialID),
			cmp.Compare(a.hour, b.hour))
	})
	for some := range slices.Chunk(keys, rowBatch) {
		lists := make([][]any, len(some))
		for i, key := range some {
			row := counts[key]
			lists[i] = []any{
				key.workspaceID, key.credentialID, key.hour, row.Credential, row.Allowed, row.Limited, row.Refused,
			}
		}
		err := s.InTx(ctx, func(ctx context.Context) error { return s.execOrElseOfUses(ctx, addUsage, insertUsage, lists) })
		if err != nil {
			// If the answer to a commit is lost, its requests may be counted twice, which is better than not at all.
			return err
		}
		for _, key := range some {
			delete(counts, key)
		}
	}
	return nil
}

// The usage of a deleted workspace is dropped.
const (
	// The credential, which a row's id implies, is there so that both statements have the same arguments.
	addUsage = `UPDATE usage_hourly SET allowed = allowed + $5, limited = limited + $6, refused = refused + $7
		WHERE workspace_id = $1 AND credential_id = $2 AND hour = $3 AND credential = $4`
	insertUsage = `INSERT INTO usage_hourly (workspace_id, credential_id, hour, credential, allowed, limited, refused)
		SELECT w.id, $2, CAST($3 AS BIGINT), $4, CAST($5 AS BIGINT), CAST($6 AS BIGINT), CAST($7 AS BIGINT)
		FROM workspaces w WHERE w.id = $1
		ON CONFLICT (workspace_id, credential_id, hour) DO UPDATE
		SET allowed = usage_hourly.allowed + excluded.allowed, limited = usage_hourly.limited +
		excluded.limited, refused = usage_hourly.refused + excluded.refused`
)

// keep puts back the requests that could not be written.
func (u *uses) keep(counts map[usageKey]*Usage, recent map[recentKey][]recentUse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, old := range counts {
		if row := u.counts[key]; row != nil {
			row.Allowed += old.Allowed
			row.Limited += old.Limited
			row.Refused += old.Refused
		} else {
			u.counts[key] = old
		}
	}
	for id, old := range recent {
		list := append(old, u.recent[id]...)
		list = list[max(0, len(list)-recentPerKey):]
		if more := len(list) - len(u.recent[id]); u.recents+more <= recentBound {
			u.recents += more
			u.recent[id] = list
		}
	}
}

// writeRecent stores recent requests of keys and apps, deletes all but the newest RecentRequests of each recentKey, and
// removes from recent what it has written.
func (s *Store) writeRecent(ctx context.Context, recent map[recentKey][]recentUse) error {
	for _, of := range []struct {
		key, refused bool
	}{{true, false}, {true, true}, {false, false}, {false, true}} {
		keys := slices.Collect(maps.Keys(recent))
		keys = slices.DeleteFunc(keys, func(k recentKey) bool {
			return k.refused != of.refused || ofKey(recent[k]) != of.key
		})
		slices.SortFunc(keys, func(a, b recentKey) int { return strings.Compare(a.credentialID, b.credentialID) })
		for some := range batches(keys, func(k recentKey) int { return len(recent[k]) }) {
			err := s.InTx(ctx, func(ctx context.Context) error {
				return s.writeRecentOf(ctx, recent, some, of.key, of.refused)
			})
			if err := ignoreNotFound(err); err != nil { // requests of a key that was just deleted are dropped
				return err
			}
			for _, key := range some {
				delete(recent, key)
			}
		}
	}
	return nil
}

// ofKey reports whether requests were made with an API key or personal access token.
func ofKey(list []recentUse) bool {
	return list[0].Credential == KindAPIKey || list[0].Credential == KindPersonalAccessToken
}

// writeRecentOf writes the requests of some keys, or of some apps, in the caller's transaction: all refused or all
// allowed.
func (s *Store) writeRecentOf(
	ctx context.Context, recent map[recentKey][]recentUse, some []recentKey, keys, refused bool,
) error {
	var ids, rows [][]any
	for _, key := range some {
		ids = append(ids, []any{key.credentialID})
		for _, r := range recent[key] {
			if !keys {
				r.Address = "" // it may be a user's
			}
			rows = append(rows, []any{
				r.id, key.credentialID, r.at, r.RequestID, r.Action, r.Status, r.Reason, r.Address,
				r.at.Add(recentLifetime),
			})
		}
	}
	column, insert := "client_id", `INSERT INTO recent_requests (id, client_id, workspace_id, at, request_id,
		action, status, reason, address, expires_at)
		SELECT $1, c.id, c.workspace_id, CAST($3 AS BIGINT), $4, $5, CAST($6 AS BIGINT), $7, $8, CAST($9 AS BIGINT)
		FROM clients c WHERE c.id = $2 ON CONFLICT (id) DO NOTHING`
	if keys { // a request belongs to the owner of its key
		column, insert = "key_id", `INSERT INTO recent_requests (id, key_id, workspace_id, user_id, at,
			request_id, action, status, reason, address, expires_at)
			SELECT $1, k.id, k.workspace_id, k.user_id, CAST($3 AS BIGINT), $4, $5, CAST($6 AS BIGINT), $7, $8,
			CAST($9 AS BIGINT)
			FROM api_keys k WHERE k.id = $2 ON CONFLICT (id) DO NOTHING`
	}
	if keys {
		if err := s.beforeUses(ctx); err != nil {
			return err
		}
	}
	// A row may exist already, if the answer to its commit was lost.
	if _, err := s.execMany(ctx, insert, rows); err != nil {
		return err
	}
	kind := `reason = ''`
	if refused {
		kind = `reason <> ''`
	}
	_, err := s.execMany(ctx, fmt.Sprintf(`DELETE FROM recent_requests WHERE %s = $1 AND %s
		AND id <= (SELECT id FROM recent_requests WHERE %s = $1 AND %s ORDER BY id DESC LIMIT 1 OFFSET %d)`,
		column, kind, column, kind, RecentRequests), ids)
	return err
}

// UsageOf lists a workspace's usage by the hour, from since and before until, of one credential or, if credentialID is
// empty, of all; the oldest hour first.
func (s *Store) UsageOf(ctx context.Context, workspaceID, credentialID string, since, until Time) ([]Usage, error) {
	return s.UsagePage(ctx, UsageFilter{
		WorkspaceID: workspaceID, CredentialID: credentialID, Since: since,
		Until: until,
	})
}

// UsageByDay sums a workspace's usage by the day (UTC), for each credential or, if credentialID is not empty, only for
// that one; the oldest day first.
func (s *Store) UsageByDay(ctx context.Context, workspaceID, credentialID string, since, until Time) ([]Usage, error) {
	return s.UsagePage(ctx, UsageFilter{
		WorkspaceID: workspaceID, CredentialID: credentialID, Since: since,
		Until: until, ByDay: true,
	})
}

// UsageFilter selects usage.
type UsageFilter struct {
	WorkspaceID  string // required
	CredentialID string // empty: of all
	Since        Time
	Until        Time // before it
	ByDay        bool // summed by the day (UTC); otherwise by the hour
	// AfterHour and AfterID are those of the last row of the previous page; zero: the first page.
	AfterHour Time
	AfterID   string
	Limit     int // zero: all
}

// UsagePage lists a workspace's usage by credential and hour or day, the oldest first.
func (s *Store) UsagePage(ctx context.Context, f UsageFilter) ([]Usage, error) {
	begin := `hour`
	if f.ByDay {
		begin = `(hour - hour % CAST(86400000000 AS BIGINT))`
	}
	query, args := `WHERE workspace_id = $1 AND hour >= $2 AND hour < $3`, []any{f.WorkspaceID, int64(f.Since), f.Until}
	if f.CredentialID != "" {
		args = append(args, f.CredentialID)
		query += fmt.Sprintf(` AND credential_id = $%d`, len(args))
	}
	if f.AfterID != "" {
		args = append(args, f.AfterHour, f.AfterID)
		query += fmt.Sprintf(` AND (`+begin+`, credential_id) > (CAST($%d AS BIGINT), $%d)`, len(args)-1, len(args))
	}
	query += ` GROUP BY credential_id, credential, ` + begin + ` ORDER BY 3, 1`
	if f.Limit > 0 {
		args = append(args, f.Limit)
		query += fmt.Sprintf(` LIMIT $%d`, len(args))
	}
	return collect(ctx, s, (*Usage).fields, plain(`SELECT credential_id, credential, `+begin+`,
		CAST(sum(allowed) AS BIGINT), CAST(sum(limited) AS BIGINT), CAST(sum(refused) AS BIGINT)
		FROM usage_hourly `+query), args...)
}

func (row *Usage) fields() []any {
	return []any{&row.CredentialID, &row.Credential, &row.Hour, &row.Allowed, &row.Limited, &row.Refused}
}

// RecentRequestsOf lists the recent requests of a key or an app, the newest first.
func (s *Store) RecentRequestsOf(ctx context.Context, id string) ([]Request, error) {
	return s.requests(ctx, `ORDER BY id DESC LIMIT `+strconv.Itoa(RecentRequests), id)
}

// RecentRequest finds, among the recent requests of a key or an app, those with a request id. There may be several,
// since callers can choose the id.
func (s *Store) RecentRequest(ctx context.Context, id, requestID string) ([]Request, error) {
	return s.requests(ctx, `AND request_id = $2 ORDER BY id DESC LIMIT 10`, id, requestID)
}

func (s *Store) requests(ctx context.Context, rest string, args ...any) ([]Request, error) {
	return collect(ctx, s, func(r *Request) []any {
		return []any{&r.ID, &r.At, &r.RequestID, &r.Action, &r.Status, &r.Reason, &r.Address}
	}, plain(`SELECT id, at, request_id, action, status, reason, address FROM recent_requests WHERE (key_id = $1
		OR client_id = $1) `+rest), args...)
}
