package bearer

import (
	"cmp"
	"context"
	"errors"

	"doorward/storage"
)

// The reasons why a request with a credential was refused, for the owner of the credential.
const (
	ReasonLimit     = "rate limit exceeded"
	ReasonExpired   = "the credential has expired"
	ReasonRevoked   = "the credential was revoked"
	ReasonSuspended = "the credential is paused, or its user or workspace is disabled"
	ReasonApp       = "the app, its user or its workspace is disabled"
	ReasonWorkspace = "the credential has no access to this workspace"
	ReasonAddress   = "the key cannot be used from this IP address"
)

// ReasonScope returns the reason for a credential that does not have a scope.
func ReasonScope(scope string) string { return "the credential lacks the scope " + scope }

// ReasonOf returns the reason that matches err, an error of Verifier.Principal. kind is the kind of the credential.
func ReasonOf(kind string, err error) string {
	switch {
	case errors.Is(err, ErrExpired):
		return ReasonExpired
	case errors.Is(err, ErrRevoked):
		return ReasonRevoked
	case errors.Is(err, ErrWorkspace):
		return ReasonWorkspace
	case kind == KindAccessToken:
		return ReasonApp
	}
	return ReasonSuspended
}

// NoteUse counts a request with a credential for its workspace, and records it among the key's recent requests. The
// action is this server's name for the request; the reason is empty if the request was allowed.
func (v *Verifier) NoteUse(ctx context.Context, p *Principal, action string, status int, reason string, limited bool) {
	a := storage.ActorOf(ctx)
	v.store.NoteUse(storage.Use{
		WorkspaceID: p.WorkspaceID, CredentialID: cmp.Or(p.KeyID, p.ClientID), Credential: p.Kind,
		RequestID: a.RequestID, Action: action, Status: status, Reason: reason, Limited: limited, Address: a.Address,
	})
}

// Touch records that a credential was used now, from the address of the actor in ctx.
func (v *Verifier) Touch(ctx context.Context, p *Principal) {
	switch {
	case p.KeyID != "":
		v.store.TouchKey(p.KeyID, storage.ActorOf(ctx).Address)
	case p.GrantID != "" && p.Kind == KindAccessToken:
		v.store.TouchGrant(p.GrantID)
	}
}
