package storage

import (
	"context"
	"errors"
)

// Invitation is an offer to join a workspace, by a link.
type Invitation struct {
	ID          string
	Digest      []byte // SHA-256 of the token in the link
	WorkspaceID string
	Email       string
	Role        string
	CreatedBy   string // user id; empty: the CLI, or a credential without a user
	// CredentialID is the key, personal access token or app with which it was sent, and whose revocation ends it; empty:
	// none.
	CredentialID string
	CreatedAt    Time
	ExpiresAt    Time
}

// InsertInvitation adds an invitation. It replaces one for the same address and workspace, whose link stops working. It
// returns ErrConflict for a personal workspace, and ErrNotFound if the workspace does not exist.
func (s *Store) InsertInvitation(ctx context.Context, i Invitation) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.LockWorkspace(ctx, i.WorkspaceID); err != nil {
			return err
		}
		key := EmailKey(i.Email)
		if _, err := s.exec(ctx, plain(`DELETE FROM invitations WHERE workspace_id = $1 AND email_key = $2`),
			i.WorkspaceID, key); err != nil {
			return err
		}
		_, err := s.exec(ctx, plain(`INSERT INTO invitations (id, digest, workspace_id, email, email_key, role,
			created_by, credential_id, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`), i.ID, i.Digest, i.WorkspaceID, i.Email, key, i.Role,
			i.CreatedBy, i.CredentialID, s.Now(), i.ExpiresAt)
		return err
	})
}

const invitationColumns = `i.id, i.digest, i.workspace_id, i.email, i.role, i.created_by, i.credential_id, i.created_at,
	i.expires_at`

func (i *Invitation) fields() []any {
	return []any{
		&i.ID, &i.Digest, &i.WorkspaceID, &i.Email, &i.Role, &i.CreatedBy, &i.CredentialID, &i.CreatedAt,
		&i.ExpiresAt,
	}
}

// InvitationByDigest finds an open invitation. It returns ErrNotFound if there is none.
func (s *Store) InvitationByDigest(ctx context.Context, digest []byte) (Invitation, error) {
	var i Invitation
	err := s.one(ctx, i.fields(), plain(`SELECT `+invitationColumns+` FROM invitations i WHERE i.digest = $1
		AND i.expires_at > $2`), digest, s.Now())
	return i, err
}

// InvitationsOf lists a workspace's open invitations, the newest first.
func (s *Store) InvitationsOf(ctx context.Context, workspaceID string) ([]Invitation, error) {
	return collect(ctx, s, (*Invitation).fields, plain(`SELECT `+invitationColumns+` FROM invitations i
		WHERE i.workspace_id = $1 AND i.expires_at > $2 ORDER BY i.id DESC LIMIT 1000`), workspaceID, s.Now())
}

// DropInvitation revokes an invitation to a workspace. It returns ErrNotFound if there is none.
func (s *Store) DropInvitation(ctx context.Context, workspaceID, id string) error {
	return s.execOne(ctx, ErrNotFound, plain(`DELETE FROM invitations WHERE workspace_id = $1
		AND id = $2`), workspaceID, id)
}

// TakeInvitation accepts an invitation and makes a user a member. Of many requests at once, only one succeeds. It
// returns ErrConsumed if the invitation was accepted or revoked, or has expired, and ErrExists if the user is a member
// already; then the invitation stays open.
func (s *Store) TakeInvitation(ctx context.Context, digest []byte, userID string) (Invitation, error) {
	var i Invitation
	err := s.InTx(ctx, func(ctx context.Context) error {
		if err := s.one(ctx, i.fields(), plain(`SELECT `+invitationColumns+` FROM invitations i WHERE i.digest = $1`),
			digest); err != nil {
			if errors.Is(err, ErrNotFound) {
				err = ErrConsumed
			}
			return err
		}
		// Lock the workspace first, as a request that replaces an invitation does.
		if err := s.LockWorkspace(ctx, i.WorkspaceID); err != nil {
			return err
		}
		if err := s.execOne(ctx, ErrConsumed, plain(`DELETE FROM invitations WHERE digest = $1 AND expires_at > $2`),
			digest, s.Now()); err != nil {
			return err
		}
		return s.AddMember(ctx, i.WorkspaceID, userID, i.Role)
	})
	return i, err
}
