package management

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// CreateKey creates an API key in the authority's workspace or, with the scope introspect, for a resource server. The
// secret is returned only here, since storage keeps a digest. Wrong fields are joined *input.Invalid errors, and what
// is not allowed is *Forbidden. It returns apikey.ErrTooMany if the workspace has apikey.MaxKeys keys.
func (m *Manager) CreateKey(
	ctx context.Context, by Authority, workspacePlan string, p apikey.Spec,
) (storage.APIKey, string, error) {
	introspects := slices.Contains(p.Scopes, catalog.ScopeIntrospect)
	if introspects {
		if !by.Administrator || by.WorkspaceID != "" {
			return storage.APIKey{}, "", &Forbidden{
				Message: locale.New(
					"Keys with the scope %s belong to a resource, not to a workspace; create them with: %s",
					catalog.ScopeIntrospect, "doorward key create --scope "+catalog.ScopeIntrospect,
				),
				Scope: catalog.ScopeIntrospect,
			}
		}
	} else if err := by.Decide(Act{Permission: MayManageKeys, Lasts: true}); err != nil {
		return storage.APIKey{}, "", err
	}
	r, err := m.keys.Check(&p, false)
	if r != nil {
		err = errors.Join(err, m.keys.CheckPlan(by.Administrator, r, &p, workspacePlan))
	}
	if err == nil && by.WorkspaceID == "" && !introspects {
		err = &input.Invalid{
			Field: "workspace", Message: locale.New("is missing; choose the one that the key belongs to"),
		}
	}
	if err != nil {
		return storage.APIKey{}, "", err
	}
	k := storage.APIKey{
		Kind: bearer.KindAPIKey, WorkspaceID: by.WorkspaceID, Resource: p.Resource, Environment: p.Environment,
		Prefix: apikey.Prefix(r.Keys.Prefix, p.Environment), Name: p.Name, Note: p.Note, Scopes: p.Scopes,
		ScopesByObject: p.ByObject, Plan: p.Plan, RateLimit: p.RateLimit, Addresses: p.Addresses,
		CreatedBy: by.person(), ExpiresAt: p.ExpiresAt,
	}
	if !introspects {
		if err := by.Decide(lastingAct(&k)); err != nil {
			return storage.APIKey{}, "", err
		}
	}
	if err := apikey.CheckUserOnly(r, p.Scopes); err != nil {
		return storage.APIKey{}, "", err
	}
	if err := m.mustBeEnabled(ctx, k.WorkspaceID); err != nil {
		return storage.APIKey{}, "", err
	}
	return m.issue(ctx, &by, k)
}

// CreatePersonalToken creates a personal access token for the authority's user. The secret is returned only here. It
// returns the errors of CreateKey.
func (m *Manager) CreatePersonalToken(
	ctx context.Context, by Authority, p apikey.Spec,
) (storage.APIKey, string, error) {
	if err := by.Decide(Act{Own: true, Lasts: true}); err != nil {
		return storage.APIKey{}, "", err
	}
	_, err := m.keys.Check(&p, true)
	if err == nil && (p.Plan != "" || p.RateLimit != 0) {
		err = &input.Invalid{
			Field: "plan",
			Message: locale.New(
				"A personal access token uses the plan and rate limit of the workspace; leave them out",
			),
		}
	}
	if err != nil {
		return storage.APIKey{}, "", err
	}
	if err := m.userMustBeEnabled(ctx, by.UserID); err != nil {
		return storage.APIKey{}, "", err
	}
	createdBy := by.UserID
	if by.Administrator {
		createdBy = "" // the CLI, for its user
	}
	k := storage.APIKey{
		Kind: bearer.KindPersonalAccessToken, UserID: by.UserID, Resource: p.Resource,
		Prefix: apikey.PrefixPersonalToken, Name: p.Name, Note: p.Note, Scopes: p.Scopes, ScopesByObject: p.ByObject,
		Role: p.Role, Addresses: p.Addresses, CreatedBy: createdBy, ExpiresAt: p.ExpiresAt,
	}
	if err == nil {
		err = by.Decide(lastingAct(&k))
	}
	if err != nil {
		return storage.APIKey{}, "", err
	}
	return m.issue(ctx, &by, k)
}

// keyAct returns an Act on a key or personal access token that only removes something, or changes nothing.
func keyAct(k *storage.APIKey) Act {
	if k.UserID != "" {
		return Act{Own: true}
	}
	return Act{Permission: MayManageKeys, Environment: k.Environment}
}

// lastingAct returns an act after which a key or personal access token can be used as described by k.
func lastingAct(k *storage.APIKey) Act {
	act := keyAct(k)
	act.Lasts = true
	r := Reach{Resource: k.Resource, Scopes: k.Scopes, ExpiresAt: k.ExpiresAt, Addresses: k.Addresses}
	if k.UserID != "" {
		r.Role = cmp.Or(k.Role, catalog.RoleOwner)
	}
	act.Grants = []Reach{r}
	return act
}

func (m *Manager) issue(ctx context.Context, by *Authority, k storage.APIKey) (storage.APIKey, string, error) {
	var text string
	err := m.store.InTx(ctx, func(ctx context.Context) (err error) {
		if text, err = m.keys.Issue(ctx, &k); err != nil {
			return err
		}
		return m.auditKey(ctx, by, "created", &k, map[string]string{"scopes": k.Scopes.String()})
	})
	if err != nil {
		return storage.APIKey{}, "", err
	}
	return k, text, nil
}

// auditKey records what was done to a key, in the audit log of its workspace or, for a personal access token, in that
// of its user's personal workspace.
func (m *Manager) auditKey(
	ctx context.Context, by *Authority, done string, k *storage.APIKey, detail map[string]string,
) error {
	workspace := k.WorkspaceID
	if k.UserID != "" && k.UserID == by.UserID {
		workspace = by.PersonalID
	}
	return m.store.Audit(
		ctx, storage.AuditEvent{Action: k.Kind + "." + done, WorkspaceID: workspace, Target: k.ID, Detail: detail},
		k.UserID,
	)
}

// mayManage returns *Forbidden unless the authority may change the owner's keys.
func (a *Authority) mayManage(owner storage.KeyOwner) error {
	switch {
	case a.Administrator:
		return nil
	case owner.UserID != "":
		if owner.UserID != a.UserID {
			return &Forbidden{Message: locale.New("Only its user can manage a personal access token.")}
		}
		return a.Decide(Act{Own: true})
	case owner.WorkspaceID == "" || owner.WorkspaceID != a.WorkspaceID:
		return &Forbidden{Message: locale.New("The key belongs to another workspace.")}
	}
	return a.May(MayManageKeys)
}

// PauseKey pauses one of the owner's keys until ResumeKey. Errors are *Forbidden and storage.ErrNotFound, also for a
// revoked key.
func (m *Manager) PauseKey(
	ctx context.Context, by Authority, owner storage.KeyOwner, id string,
) (storage.APIKey, error) {
	return m.changeKey(
		ctx,
		by,
		owner,
		id,
		"paused",
		keyAct,
		func(ctx context.Context, owner storage.KeyOwner, id string) error {
			k, err := m.store.LockKey(ctx, owner, id)
			if err != nil {
				return err
			}
			return m.store.PauseKey(ctx, owner, id, by.stopAuthority(k.PausedBy, owner.UserID != ""))
		},
	)
}

// ResumeKey resumes a paused key, if by is at least the authority that paused it. It returns the errors of PauseKey.
func (m *Manager) ResumeKey(
	ctx context.Context, by Authority, owner storage.KeyOwner, id string,
) (storage.APIKey, error) {
	return m.changeKey(
		ctx,
		by,
		owner,
		id,
		"resumed",
		lastingAct,
		func(ctx context.Context, owner storage.KeyOwner, id string) error {
			k, err := m.store.LockKey(ctx, owner, id)
			if err != nil {
				return err
			}
			if !k.PausedAt.IsZero() {
				if err := by.MayResume(&k); err != nil {
					return err
				}
			}
			return m.store.ResumeKey(ctx, owner, id)
		},
	)
}

// RevokeKey revokes one of the owner's keys, at once and for good. It returns the errors of PauseKey.
func (m *Manager) RevokeKey(
	ctx context.Context, by Authority, owner storage.KeyOwner, id string,
) (storage.APIKey, error) {
	return m.revokeKey(ctx, by, owner, id, "")
}

func (m *Manager) revokeKey(
	ctx context.Context, by Authority, owner storage.KeyOwner, id, reason string,
) (storage.APIKey, error) {
	var k storage.APIKey
	err := m.store.InTx(ctx, func(ctx context.Context) (err error) {
		if k, err = m.changeKey(ctx, by, owner, id, "revoked", keyAct, m.store.RevokeKey); err != nil {
			return err
		}
		return m.tellRevoked(ctx, &by, &k, reason)
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = m.store.InTx(ctx, func(ctx context.Context) (err error) {
			k, err = m.store.Key(ctx, owner, id)
			return err
		})
	}
	return k, err
}

func (m *Manager) changeKey(
	ctx context.Context,
	by Authority,
	owner storage.KeyOwner,
	id, done string,
	requested func(*storage.APIKey) Act,
	act func(context.Context, storage.KeyOwner, string) error,
) (storage.APIKey, error) {
	if err := by.mayManage(owner); err != nil {
		return storage.APIKey{}, err
	}
	var k storage.APIKey
	err := m.store.InTx(ctx, func(ctx context.Context) (err error) {
		if err := act(ctx, owner, id); err != nil {
			return err
		}
		if k, err = m.store.Key(ctx, owner, id); err != nil {
			return err
		}
		if err := by.Decide(requested(&k)); err != nil {
			return err
		}
		return m.auditKey(ctx, &by, done, &k, nil)
	})
	if err != nil {
		return k, fmt.Errorf("%s key: %w", done, err)
	}
	return k, nil
}

// RotateKey creates a key that replaces one of the owner's, which works until grace is over, 30 days at most. It
// returns the errors of CreateKey, *input.Invalid for a paused key, storage.ErrNotFound, and apikey.ErrRotated for a
// key that cannot be rotated any more.
func (m *Manager) RotateKey(
	ctx context.Context, by Authority, owner storage.KeyOwner, id string, grace time.Duration,
) (storage.APIKey, string, error) {
	if err := by.mayManage(owner); err != nil {
		return storage.APIKey{}, "", err
	}
	if grace < 0 || grace > apikey.MaxGrace {
		return storage.APIKey{}, "", &input.Invalid{Field: "grace", Message: locale.New("must be between 0 and 30d")}
	}
	var fresh storage.APIKey
	var text string
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		old, err := m.store.LockKey(ctx, owner, id)
		if err != nil {
			return fmt.Errorf("rotate a key: %w", err)
		}
		act := lastingAct(&old)
		if by.Credential != nil && by.Credential.KeyID == old.ID {
			act.Grants = nil // a key that replaces itself has its own scopes and expiry
		}
		if err := by.Decide(act); err != nil {
			return err
		}
		if !old.Live(m.store.Now()) || old.RotatedInto != "" {
			return apikey.ErrRotated
		}
		if !old.PausedAt.IsZero() {
			return &input.Invalid{
				Field: "key", Message: locale.New("is paused and cannot be rotated; resume it first"),
			}
		}
		if err := cmp.Or(m.mustBeEnabled(ctx, old.WorkspaceID), m.userMustBeEnabled(ctx, old.UserID)); err != nil {
			return err
		}
		if text, fresh, err = m.keys.Rotate(ctx, old, by.UserID, grace); err != nil {
			return err
		}
		return m.auditKey(ctx, &by, "rotated", &old, map[string]string{"into": fresh.ID, "grace": grace.String()})
	})
	if err != nil {
		return storage.APIKey{}, "", err
	}
	return fresh, text, nil
}

// RevokeBySecret revokes the key with a secret: its holder may always revoke it. It ignores a string that is not a key.
func (m *Manager) RevokeBySecret(ctx context.Context, secret string) error {
	ctx = storage.System(ctx)
	b, status, err := m.keys.Verify(ctx, secret, "")
	if err != nil || status == apikey.Unknown || status == apikey.Revoked {
		return err
	}
	k := b.Key
	by := Authority{Administrator: true}
	if a := storage.ActorOf(ctx); a.Credential == "" {
		a.UserID, a.Credential, a.KeyID = k.UserID, k.Kind, k.ID
	}
	_, err = m.revokeKey(ctx, by, k.Owner(), k.ID, "leaked")
	if errors.Is(err, storage.ErrNotFound) {
		err = nil // deleted meanwhile
	}
	return err
}
