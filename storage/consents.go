package storage

import (
	"context"
)

// Consent records the scopes that a resource owner has allowed a client for one resource and workspace, so that the
// user need not be asked again.
type Consent struct {
	UserID      string
	ClientID    string
	Resource    string
	WorkspaceID string
	Scopes      List
	// Described is what the user was told about a client that registered itself, as JSON. Empty: the client did not.
	Described string
	CreatedAt Time
	ChangedAt Time
}

// ConsentFor returns the remembered consent, or ErrNotFound.
func (s *Store) ConsentFor(ctx context.Context, userID, clientID, resource, workspaceID string) (Consent, error) {
	c := Consent{UserID: userID, ClientID: clientID, Resource: resource, WorkspaceID: workspaceID}
	err := s.one(ctx, []any{&c.Scopes, &c.Described, &c.CreatedAt, &c.ChangedAt}, plain(`SELECT scopes, described,
		created_at, changed_at FROM consents
		WHERE user_id = $1 AND client_id = $2 AND resource = $3 AND workspace_id = $4`), userID, clientID, resource,
		workspaceID)
	return c, err
}

// ConsentsFor lists what a user has allowed a client for one resource, in any workspace, the most recent first.
func (s *Store) ConsentsFor(ctx context.Context, userID, clientID, resource string) ([]Consent, error) {
	return collect(ctx, s, func(c *Consent) []any {
		c.UserID, c.ClientID, c.Resource = userID, clientID, resource
		return []any{&c.WorkspaceID, &c.Scopes, &c.Described, &c.CreatedAt, &c.ChangedAt}
	}, plain(`SELECT workspace_id, scopes, described, created_at, changed_at FROM consents
		WHERE user_id = $1 AND client_id = $2 AND resource = $3 ORDER BY changed_at DESC, workspace_id LIMIT 1000`),
		userID, clientID, resource)
}

// LockConsent is ConsentFor, but locks the row of the consent until the transaction in ctx ends.
func (s *Store) LockConsent(ctx context.Context, userID, clientID, resource, workspaceID string) (Consent, error) {
	if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE consents SET changed_at = changed_at
		WHERE user_id = $1 AND client_id = $2 AND resource = $3 AND workspace_id = $4`), userID, clientID, resource,
		workspaceID); err != nil {
		return Consent{}, err
	}
	return s.ConsentFor(ctx, userID, clientID, resource, workspaceID)
}

// SaveConsent stores c, and replaces the scopes and the description of an existing consent.
func (s *Store) SaveConsent(ctx context.Context, c Consent) error {
	_, err := s.exec(ctx, altering(`INSERT INTO consents (user_id, client_id, resource, workspace_id, scopes,
		created_at, changed_at, described)
		VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
		ON CONFLICT (user_id, client_id, resource, workspace_id) DO UPDATE SET scopes = excluded.scopes,
		changed_at = excluded.changed_at, described = excluded.described`).of(1),
		c.UserID, c.ClientID, c.Resource, c.WorkspaceID, c.Scopes, s.Now(), c.Described)
	return err
}

// ConsentsOf lists a user's consents, the newest first. ctx must be the user's Tenant.
func (s *Store) ConsentsOf(ctx context.Context, userID string) ([]Consent, error) {
	var list []Consent
	err := s.InTx(ctx, func(ctx context.Context) error {
		list = nil
		return s.each(ctx, func(scan func(...any) error) error {
			c := Consent{UserID: userID}
			if err := scan(&c.ClientID, &c.Resource, &c.WorkspaceID, &c.Scopes, &c.CreatedAt,
				&c.ChangedAt); err != nil {
				return err
			}
			list = append(list, c)
			return nil
		}, plain(`SELECT client_id, resource, workspace_id, scopes, created_at, changed_at FROM consents
			WHERE user_id = $1 ORDER BY changed_at DESC LIMIT 1000`), userID)
	})
	return list, err
}

// RevokeAccess deletes a user's consents for a client, or for all clients if clientID is empty, and revokes the grants,
// in one transaction. It reports whether there were any.
func (s *Store) RevokeAccess(ctx context.Context, userID, clientID string) (ended bool, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		consents, err := s.exec(ctx, altering(`DELETE FROM consents WHERE user_id = $1 AND ($2 = ''
			OR client_id = $2)`).of(1), userID, clientID)
		if err != nil {
			return err
		}
		grants, err := s.exec(ctx, altering(`UPDATE grants SET revoked_at = $3, revoked_reason = $4 WHERE user_id = $1
			AND ($2 = '' OR client_id = $2) AND revoked_at IS NULL`).of(1),
			userID, clientID, s.Now(), RevokedByUser)
		if err != nil {
			return err
		}
		ended = consents+grants > 0
		return nil
	})
	return ended, err
}
