package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Actor is who does something, as audit events tell it. The server of a request puts one into its context (WithActor)
// and completes it once it knows more. The zero value is the server itself.
type Actor struct {
	UserID     string
	ClientID   string
	Credential string // its kind: session, password, command, or one that introspection names
	KeyID      string // of an API key or personal access token
	Address    string
	RequestID  string
}

type actorKey struct{}

// WithActor carries who acts; a change that is made to a later counts too.
func WithActor(ctx context.Context, a *Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf is who acts in ctx; never nil. Without one it is one that no event sees.
func ActorOf(ctx context.Context) *Actor {
	if a, ok := ctx.Value(actorKey{}).(*Actor); ok {
		return a
	}
	return &Actor{}
}

// AuditEvent is one thing that was done, or refused for a reason that its workspace should know.
type AuditEvent struct {
	ID          string
	CreatedAt   Time
	Action      string // what was done, such as api_key.created
	WorkspaceID string // whose members with the right may see it; empty: only the operator may
	Actor
	Target string            // id of what it was done to
	Detail map[string]string // further facts: ids, numbers, scopes; neither secrets nor names
}

// InsertAuditEventStatement is behind Audit.
var InsertAuditEventStatement = Statement{`INSERT INTO audit_events (id, created_at, action, workspace_id, user_id,
	client_id, credential, key_id, address, request_id, target, detail)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, deferred}

// Audit notes that something was done by the actor in ctx, in the transaction that does it. Where the event names no
// workspace and personalOf a user, it belongs to that user's personal one.
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

// AuditFilter says which events are wanted. The zero value of a field wants all.
type AuditFilter struct {
	WorkspaceID string // this one's; empty: the server's own events
	Everywhere  bool   // the server's own events and those of all workspaces; WorkspaceID is not looked at
	Action      string // this one, or, ending in a dot, all that begin so
	UserID      string
	Target      string
	Since       Time
	Until       Time   // before it
	After       string // id of the last one of the page before
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
