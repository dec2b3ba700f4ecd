package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Actor is the author of an action, for audit events. The server puts one into the context of each request (WithActor)
// and completes it as it learns more. The zero value is the server itself.
type Actor struct {
	UserID     string
	ClientID   string
	Credential string // its kind: session, password, command, or one that introspection names
	KeyID      string // of an API key or personal access token
	Address    string
	RequestID  string
}

type actorKey struct{}

// WithActor returns a copy of ctx that carries actor. Later changes to actor are seen.
func WithActor(ctx context.Context, actor *Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns the actor in ctx, never nil. Without one it returns an actor that no event records.
func ActorOf(ctx context.Context) *Actor {
	if a, ok := ctx.Value(actorKey{}).(*Actor); ok {
		return a
	}
	return &Actor{}
}

// AuditEvent records an action, or a refusal that the workspace should know of.
type AuditEvent struct {
	ID          string
	CreatedAt   Time
	Action      string // what was done, such as api_key.created
	WorkspaceID string // whose members with the permission may see it; empty: only the operator may
	Actor
	Target string            // id of the object of the action
	Detail map[string]string // further data: ids, numbers, scopes; neither secrets nor names
}

// InsertAuditEventStatement is the statement of Audit.
var InsertAuditEventStatement = plain(`INSERT INTO audit_events (id, created_at, action, workspace_id, user_id,
	client_id, credential, key_id, address, request_id, target, detail)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`)

// Audit records an action of the actor in ctx, in the transaction that makes the change. If the event names no
// workspace and personalOf is not empty, the event belongs to the personal workspace of that user.
func (s *Store) Audit(ctx context.Context, e AuditEvent, personalOf string) error {
	a := ActorOf(ctx)
	if e.Actor == (Actor{}) {
		e.Actor = *a
	} else {
		e.Address, e.RequestID = a.Address, a.RequestID
	}
	if e.WorkspaceID == "" && personalOf != "" {
		err := s.one(ctx, []any{&e.WorkspaceID}, plain(`SELECT id FROM workspaces WHERE personal_user_id = $1`),
			personalOf)
		if err := ignoreNotFound(err); err != nil {
			return err
		}
	}
	detail := "{}"
	if len(e.Detail) > 0 {
		text, err := json.Marshal(e.Detail)
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		detail = string(text)
	}
	_, err := s.exec(ctx, InsertAuditEventStatement, NewID("event"), s.Now(), e.Action, e.WorkspaceID, e.UserID,
		e.ClientID, e.Credential, e.KeyID, e.Address, e.RequestID, e.Target, detail)
	return err
}

// AuditFilter selects events. A zero field does not restrict them.
type AuditFilter struct {
	WorkspaceID string // only its events; empty: the server's own events
	Everywhere  bool   // the server's own events and those of all workspaces; WorkspaceID is ignored
	Action      string // an action, or a prefix that ends in a dot
	UserID      string
	Target      string
	Since       Time
	Until       Time   // before it
	After       string // id of the last event of the previous page
	Limit       int
}

// AuditEvents lists events of a workspace or the server, the newest first.
func (s *Store) AuditEvents(ctx context.Context, f AuditFilter) ([]AuditEvent, error) {
	var where []string
	var args []any
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if !f.Everywhere {
		add("workspace_id = $%d", f.WorkspaceID)
	}
	if strings.HasSuffix(f.Action, ".") {
		add(`action LIKE $%d ESCAPE '!'`, likeEscaper.Replace(f.Action)+"%")
	} else if f.Action != "" {
		add("action = $%d", f.Action)
	}
	if f.UserID != "" {
		add("user_id = $%d", f.UserID)
	}
	if f.Target != "" {
		add("target = $%d", f.Target)
	}
	if f.Since != 0 {
		add("created_at >= $%d", f.Since)
	}
	if f.Until != 0 {
		add("created_at < $%d", f.Until)
	}
	if f.After != "" {
		add("id < $%d", f.After)
	}
	if len(where) == 0 {
		where = []string{"TRUE"}
	}
	args = append(args, f.Limit)
	var list []AuditEvent
	err := s.each(ctx, func(scan func(...any) error) error {
		var e AuditEvent
		var detail string
		if err := scan(&e.ID, &e.CreatedAt, &e.Action, &e.WorkspaceID, &e.UserID, &e.ClientID, &e.Credential, &e.KeyID,
			&e.Address, &e.RequestID, &e.Target, &detail); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(detail), &e.Detail); err != nil {
			return fmt.Errorf("audit event %s: %w", e.ID, err)
		}
		list = append(list, e)
		return nil
	}, plain(`SELECT id, created_at, action, workspace_id, user_id, client_id, credential, key_id, address, request_id,
		target, detail FROM audit_events
		WHERE `+strings.Join(where, " AND ")+fmt.Sprintf(" ORDER BY id DESC LIMIT $%d", len(args))), args...)
	return list, err
}
