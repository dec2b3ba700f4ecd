package storage

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// The kinds of rows in api_keys, as introspection names them.
const (
	KindAPIKey              = "api_key"
	KindPersonalAccessToken = "personal_access_token"
)

// APIKey is an API key, which belongs to a workspace (or to none, if it is for introspection), or a personal access
// token, which belongs to a user.
type APIKey struct {
	ID             string
	Digest         []byte // SHA-256 of the secret; empty when read
	Kind           string
	WorkspaceID    string // empty: a personal access token, or for introspection
	UserID         string // of a personal access token
	Resource       string
	Environment    string // live or test; empty: a personal access token
	Prefix         string // of the secret
	Tail           string // the last four characters of the secret
	Name           string
	Note           string
	Scopes         List
	ScopesByObject bool   // Scopes were given as an object of lists
	Role           string // of a personal access token: the highest role that it may act with; empty: its user's
	Plan           string // empty: the workspace's
	RateLimit      int64  // requests an hour; zero: the plan's
	Addresses      List   // ranges from which it may be used; empty: any
	Counter        string // the name under which limits count it: the id of the first key in a chain of rotations
	RotatedInto    string // id of the key that replaces it; empty: none
	CreatedBy      string // user id; empty: the CLI
	CreatedAt      Time
	ExpiresAt      Time   // zero: never
	PausedAt       Time   // zero: not paused
	PausedBy       string // the authority that paused it; empty: it is not paused
	RevokedAt      Time
	LastUsedAt     Time
	LastUsedFrom   string // address
}

// KeyOwner names the owner of keys: a workspace's API keys, a user's personal access tokens, or, empty, the API keys of
// resource servers, which belong to none.
type KeyOwner struct{ WorkspaceID, UserID string }

// Owner returns the owner of a key.
func (k *APIKey) Owner() KeyOwner { return KeyOwner{k.WorkspaceID, k.UserID} }

const keyColumns = `k.id, k.kind, COALESCE(k.workspace_id, ''), COALESCE(k.user_id, ''), k.resource, k.environment,
	k.prefix, k.tail, k.name, k.note, k.scopes, k.scopes_by_object, k.role, k.plan, k.rate_limit, k.addresses,
	k.counter, k.rotated_into, k.created_by, k.created_at, k.expires_at, k.paused_at, k.paused_by, k.revoked_at,
	` + keyLastUsed + `,
	CASE WHEN x.used_at >= COALESCE(k.last_used_at, 0) THEN x.address ELSE k.last_used_address END`

// keyLastUsed is when a key was last used, or 0. The column of api_keys is that of versions before key_uses, which may
// still be running on other nodes.
const keyLastUsed = `CASE WHEN x.used_at >= COALESCE(k.last_used_at, 0) THEN x.used_at ELSE COALESCE(k.last_used_at, 0) END`

// keyTables are the tables of keyColumns. A key that was not used since key_uses exists has no row there.
const keyTables = `api_keys k LEFT JOIN key_uses x ON x.key_id = k.id`

func (k *APIKey) fields() []any {
	return []any{
		&k.ID, &k.Kind, &k.WorkspaceID, &k.UserID, &k.Resource, &k.Environment, &k.Prefix, &k.Tail, &k.Name, &k.Note,
		&k.Scopes, &k.ScopesByObject, &k.Role, &k.Plan, &k.RateLimit, &k.Addresses, &k.Counter, &k.RotatedInto,
		&k.CreatedBy, &k.CreatedAt, &k.ExpiresAt, &k.PausedAt, &k.PausedBy, &k.RevokedAt, &k.LastUsedAt,
		&k.LastUsedFrom,
	}
}

// Live reports whether a key is neither revoked nor expired at the time now; it may be paused.
func (k *APIKey) Live(now Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt > now)
}

// InsertKeyStatement is the statement of InsertKey.
var InsertKeyStatement = plain(`INSERT INTO api_keys (id, digest, kind, workspace_id, user_id, resource,
	environment, prefix, tail, name, name_key, note, scopes, scopes_by_object, role, plan, rate_limit, addresses,
	counter, created_by, created_at, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`)

// InsertKey adds a key. It returns ErrConflict if the owner already has limit keys that are neither revoked nor
// expired, and ErrNotFound if the owner does not exist. Keys that are created at the same moment, or within a second on
// other nodes, may exceed the limit.
func (s *Store) InsertKey(ctx context.Context, k *APIKey, limit int) error {
	if err := s.checkKeyLimit(ctx, k.Owner(), limit); err != nil {
		return err
	}
	k.CreatedAt = s.Now()
	if k.Counter == "" {
		k.Counter = k.ID
	}
	_, err := s.exec(ctx, InsertKeyStatement,
		k.ID, k.Digest, k.Kind, nullable(k.WorkspaceID), nullable(k.UserID), k.Resource, k.Environment, k.Prefix,
		k.Tail, k.Name, searchKey(k.Name), k.Note, k.Scopes, k.ScopesByObject, k.Role, k.Plan, k.RateLimit, k.Addresses,
		k.Counter, k.CreatedBy, k.CreatedAt, k.ExpiresAt)
	return err
}

// liveKeys caches how many live keys owners have, so that creating many keys does not count them each time.
type liveKeys struct {
	mu     sync.Mutex
	owners map[KeyOwner]liveCount
}

type liveCount struct {
	keys int // an upper bound: it includes keys that were rolled back, revoked or have expired since
	at   Time
}

const (
	liveCountTime  = time.Second // how long a count is used
	liveCountBound = 1000        // how many owners are cached
)

// checkKeyLimit returns ErrConflict if an owner has as many live keys as allowed. At the limit they are counted again,
// since some may have expired.
func (s *Store) checkKeyLimit(ctx context.Context, owner KeyOwner, limit int) error {
	if limit == maxInt {
		return nil
	}
	l, now := &s.liveKeys, s.Now()
	l.mu.Lock()
	known, ok := l.owners[owner]
	l.mu.Unlock()
	if !ok || now.Sub(known.at).Abs() >= liveCountTime || known.keys >= limit {
		clause, args := owner.clause(1)
		known.at = now
		if err := s.one(ctx, []any{&known.keys}, plain(fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM api_keys k
			WHERE %s AND k.revoked_at IS NULL
			AND (k.expires_at IS NULL OR k.expires_at > $%d) LIMIT $%d) AS live`, clause, len(args)+1, len(args)+2)),
			append(args, now, limit)...); err != nil {
			return err
		}
	}
	if known.keys >= limit {
		return ErrConflict
	}
	known.keys++
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners == nil || len(l.owners) >= liveCountBound {
		l.owners = map[KeyOwner]liveCount{}
	}
	l.owners[owner] = known
	return nil
}

// clause returns the condition that selects an owner's keys, with the owner's id as parameter n if there is one.
func (o KeyOwner) clause(n int) (string, []any) {
	switch {
	case o.UserID != "":
		return fmt.Sprintf(`k.kind = 'personal_access_token' AND k.user_id = $%d`, n), []any{o.UserID}
	case o.WorkspaceID != "":
		return fmt.Sprintf(`k.kind = 'api_key' AND k.workspace_id = $%d`, n), []any{o.WorkspaceID}
	}
	return `k.kind = 'api_key' AND k.workspace_id IS NULL`, nil
}

// KeyFilter selects some of an owner's keys. A zero field does not restrict them.
type KeyFilter struct {
	Search      string // part of the name, in any case
	Digest      []byte // of its secret
	Environment string // live or test
	State       string // active, paused, expired or revoked
	CreatedBy   string // a user
	After       string // id of the last key of the previous page; empty: the first page; used if Order is zero
	Order       Order  // by name, created, last_used or expires; zero: the newest first
	Limit       int
}

// Keys lists an owner's keys, the newest first, or in the filter's order.
func (s *Store) Keys(ctx context.Context, owner KeyOwner, f KeyFilter) ([]APIKey, error) {
	clause, args := owner.clause(1)
	where := []string{clause}
	add := func(condition string, values ...any) {
		numbers := make([]any, len(values))
		for i, v := range values {
			args = append(args, v)
			numbers[i] = len(args)
		}
		where = append(where, fmt.Sprintf(condition, numbers...))
	}
	if f.Search != "" {
		add(`k.name_key LIKE $%d ESCAPE '!'`, likePattern(f.Search))
	}
	if f.Digest != nil {
		add(`k.digest = $%d`, f.Digest)
	}
	if f.Environment != "" {
		add(`k.environment = $%d`, f.Environment)
	}
	if f.CreatedBy != "" {
		add(`k.created_by = $%d`, f.CreatedBy)
	}
	order := `k.id DESC`
	if _, sorted := keyOrders[f.Order.By]; sorted {
		condition, by, values := f.Order.clause(keyOrders, "k.id", len(args)+1)
		where, args, order = append(where, condition), append(args, values...), by
	} else if f.After != "" {
		add(`k.id < $%d`, f.After)
	}
	switch f.State {
	case "active":
		add(`k.revoked_at IS NULL AND k.paused_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $%d)`, s.Now())
	case "paused":
		add(`k.revoked_at IS NULL AND k.paused_at IS NOT NULL AND (k.expires_at IS NULL OR k.expires_at > $%d)`,
			s.Now())
	case "expired":
		add(`k.revoked_at IS NULL AND k.expires_at <= $%d`, s.Now())
	case "revoked":
		add(`k.revoked_at IS NOT NULL`)
	}
	args = append(args, f.Limit)
	return collect(ctx, s, (*APIKey).fields, plain(`SELECT `+keyColumns+` FROM `+keyTables+`
		WHERE `+strings.Join(where, " AND ")+
		fmt.Sprintf(` ORDER BY `+order+` LIMIT $%d`, len(args))), args...)
}

// LiveKeys lists the keys and personal access tokens of all owners that are neither revoked nor expired: at most limit,
// in the order of their IDs, from the one after afterID; empty starts at the first.
func (s *Store) LiveKeys(ctx context.Context, afterID string, limit int) ([]APIKey, error) {
	return collect(ctx, s, (*APIKey).fields, plain(`SELECT `+keyColumns+` FROM `+keyTables+`
		WHERE k.id > $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) ORDER BY k.id
		LIMIT $3`), afterID, s.Now(), limit)
}

// KeysWithLimits lists the API keys of a workspace that are not revoked and have their own plan or rate limit.
func (s *Store) KeysWithLimits(ctx context.Context, workspaceID string) ([]APIKey, error) {
	return collect(ctx, s, (*APIKey).fields, plain(`SELECT `+keyColumns+` FROM `+keyTables+`
		WHERE k.workspace_id = $1 AND k.revoked_at IS NULL AND (k.plan <> '' OR k.rate_limit <> 0)`), workspaceID)
}

// CountKeysOfWorkspace returns how many API keys a workspace has that are not revoked.
func (s *Store) CountKeysOfWorkspace(ctx context.Context, workspaceID string) (int64, error) {
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM api_keys WHERE workspace_id = $1 AND revoked_at IS NULL`),
		workspaceID)
	return n, err
}

// Key finds one of an owner's keys. It returns ErrNotFound if the owner does not have it.
func (s *Store) Key(ctx context.Context, owner KeyOwner, id string) (APIKey, error) {
	var k APIKey
	clause, args := owner.clause(2)
	err := s.one(ctx, k.fields(), plain(`SELECT `+keyColumns+` FROM `+keyTables+` WHERE k.id = $1
		AND `+clause), append([]any{id}, args...)...)
	return k, err
}

// KeyByID finds any owner's key.
func (s *Store) KeyByID(ctx context.Context, id string) (APIKey, error) {
	var k APIKey
	err := s.one(ctx, k.fields(), plain(`SELECT `+keyColumns+` FROM `+keyTables+` WHERE k.id = $1`), id)
	return k, err
}

// UpdateKey writes a key's name, note, scopes, plan, rate limit and addresses. It returns ErrNotFound if the owner does
// not have the key, or if it is revoked.
func (s *Store) UpdateKey(ctx context.Context, k *APIKey) error {
	clause, owner := k.Owner().clause(11)
	args := []any{
		k.ID, k.Name, searchKey(k.Name), k.Note, k.Scopes, k.ScopesByObject, k.Plan, k.RateLimit, k.Addresses,
		k.Role,
	}
	return s.execOne(ctx, ErrNotFound, altering(`UPDATE api_keys AS k SET name = $2, name_key = $3, note = $4,
		scopes = $5, scopes_by_object = $6, plan = $7, rate_limit = $8, addresses = $9, role = $10 WHERE k.id = $1
		AND k.revoked_at IS NULL AND `+clause).of(1), append(args, owner...)...)
}

// LockKey locks the row of a key until the transaction ends, and reads it. It returns ErrNotFound if the owner does not
// have the key.
func (s *Store) LockKey(ctx context.Context, owner KeyOwner, id string) (APIKey, error) {
	clause, args := owner.clause(2)
	if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE api_keys AS k SET tail = tail WHERE k.id = $1
		AND `+clause), append([]any{id}, args...)...); err != nil {
		return APIKey{}, err
	}
	return s.Key(ctx, owner, id)
}

// PauseKey pauses a key until ResumeKey, and records the authority. Pausing it again keeps the first time. It returns
// ErrNotFound if the owner does not have the key, or if it is revoked.
func (s *Store) PauseKey(ctx context.Context, owner KeyOwner, id, by string) error {
	return s.markKey(ctx, owner, id, `paused_at = COALESCE(k.paused_at, CAST($2 AS BIGINT)), paused_by = $3`, s.Now(),
		by)
}

// ResumeKey resumes a paused key. It returns the errors of PauseKey.
func (s *Store) ResumeKey(ctx context.Context, owner KeyOwner, id string) error {
	return s.markKey(ctx, owner, id, `paused_at = CAST($2 AS BIGINT), paused_by = $3`, Time(0), "")
}

// RevokeKey revokes a key for good. It returns ErrNotFound if the owner does not have the key, or if it is revoked.
func (s *Store) RevokeKey(ctx context.Context, owner KeyOwner, id string) error {
	return s.markKey(ctx, owner, id, `revoked_at = CAST($2 AS BIGINT)`, s.Now())
}

// RevokeTokensOf revokes all personal access tokens of a user, and returns how many there were.
func (s *Store) RevokeTokensOf(ctx context.Context, userID string) (int64, error) {
	return s.exec(ctx, altering(`UPDATE api_keys SET revoked_at = $2 WHERE kind = 'personal_access_token'
		AND user_id = $1 AND revoked_at IS NULL`).of(1), userID, s.Now())
}

// markKey changes a key; the values of the change are $2 and so on.
func (s *Store) markKey(ctx context.Context, owner KeyOwner, id, change string, values ...any) error {
	clause, args := owner.clause(2 + len(values))
	return s.execOne(ctx, ErrNotFound, altering(`UPDATE api_keys AS k SET `+change+` WHERE k.id = $1
		AND k.revoked_at IS NULL AND `+clause).of(1),
		append(append([]any{id}, values...), args...)...)
}

// RotateKey replaces old by a new key; old works until the given time, or until it expires if that is earlier. The key
// that old itself replaced is revoked now. It returns ErrConsumed if old was rotated or revoked, or has expired.
func (s *Store) RotateKey(ctx context.Context, old APIKey, fresh *APIKey, until Time) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		clause, args := old.Owner().clause(5)
		if err := s.execOne(ctx, ErrConsumed, altering(`UPDATE api_keys AS k SET rotated_into = $2,
			expires_at = CASE WHEN k.expires_at < $3 THEN k.expires_at ELSE CAST($3 AS BIGINT) END
			WHERE k.id = $1 AND k.rotated_into = '' AND k.revoked_at IS NULL AND (k.expires_at IS NULL
			OR k.expires_at > $4) AND `+clause).of(1),
			append([]any{old.ID, fresh.ID, until, s.Now()}, args...)...); err != nil {
			return err
		}
		clause, args = old.Owner().clause(3)
		if _, err := s.exec(ctx, altering(`UPDATE api_keys AS k SET revoked_at = CAST($2 AS BIGINT)
			WHERE k.rotated_into = $1 AND k.revoked_at IS NULL AND `+clause).of(1),
			append([]any{old.ID, s.Now()}, args...)...); err != nil {
			return err
		}
		return s.InsertKey(ctx, fresh, maxInt)
	})
}

// maxInt means no limit, for a key that replaces another.
const maxInt = int(^uint32(0) >> 1)

// KeysRotatedInto lists the keys that the key with this id replaces.
func (s *Store) KeysRotatedInto(ctx context.Context, owner KeyOwner, id string) ([]APIKey, error) {
	clause, args := owner.clause(2)
	return collect(ctx, s, (*APIKey).fields, plain(`SELECT `+keyColumns+` FROM `+keyTables+` WHERE k.rotated_into = $1
		AND `+clause+` ORDER BY k.id DESC LIMIT 20`),
		append([]any{id}, args...)...)
}
