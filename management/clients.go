package management

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// What one client may have at most.
const (
	maxAppName      = 100
	maxRedirectURIs = 20
	maxResources    = 20
)

// MaxClients is how many apps a workspace may have. Two made at the same moment may be one more.
const MaxClients = 200

// appAct is an act about an app of a workspace that takes something away or changes nothing. storage.ErrNotFound: the
// app belongs to another workspace.
func (a *Authority) appAct(workspaceID string) (Act, error) {
	if !a.Administrator && (workspaceID == "" || workspaceID != a.WorkspaceID) {
		return Act{}, storage.ErrNotFound
	}
	return Act{Permission: MayManageApps}, nil
}

// decideApp decides about an act on an app. One that lasts lets the app do all that its registration allows: it has no
// end and may be used from anywhere.
func (a *Authority) decideApp(workspaceID string, lasts bool, scopes, resources []string) error {
	act, err := a.appAct(workspaceID)
	if err != nil {
		return err
	}
	act.Lasts = lasts
	for _, id := range resources {
		act.Gives = append(act.Gives, Reach{Resource: id, Scopes: scopes})
	}
	return a.Decide(act)
}

// CreateClient registers a client. The secret exists nowhere else: storage keeps its digest; it is empty for a public
// client. What is wrong comes as joined *Invalid errors, what is not allowed as *Forbidden or ErrStale.
func (m *Manager) CreateClient(
	ctx context.Context, by Authority, p ClientSpec,
) (c storage.Client, secret string, err error) {
	if err := by.decideApp(p.WorkspaceID, true, nil, nil); err != nil {
		return c, "", err
	}
	if err := m.clients.check(&p); err != nil {
		return c, "", err
	}
	if err := by.decideApp(p.WorkspaceID, true, p.Scopes, p.Resources); err != nil {
		return c, "", err
	}
	if p.WorkspaceID != "" {
		if err := m.issuesIn(ctx, p.WorkspaceID); err != nil {
			return c, "", err
		}
		n, err := m.store.CountClientsOfWorkspace(ctx, p.WorkspaceID)
		if err != nil {
			return c, "", fmt.Errorf("create client: %w", err)
		}
		if n >= MaxClients {
			return c, "", &input.Invalid{Field: "name", Message: fmt.Sprintf(
				"is one too many: there are %d apps already; delete one that is not used", MaxClients,
			)}
		}
	}
	c = storage.Client{ID: storage.NewID("app"), WorkspaceID: p.WorkspaceID, CreatedBy: p.CreatedBy, Public: p.Public}
	p.apply(&c)
	if !p.Public {
		var x storage.ClientSecret
		secret, x = newSecret(m.store.Now())
		c.Secrets = []storage.ClientSecret{x}
	}
	err = m.store.InTx(ctx, func(ctx context.Context) error {
		if err := m.store.InsertClient(ctx, &c, p.origins()); err != nil {
			return err
		}
		return m.auditClient(ctx, "created", &c, map[string]string{"scopes": c.Scopes.String()})
	})
	if err != nil {
		return c, "", fmt.Errorf("create client: %w", err)
	}
	return c, secret, nil
}

// auditClient notes what was done to a client, in its workspace.
func (m *Manager) auditClient(ctx context.Context, done string, c *storage.Client, detail map[string]string) error {
	return m.store.Audit(
		ctx, storage.AuditEvent{Action: "app." + done, WorkspaceID: c.WorkspaceID, Target: c.ID, Detail: detail}, "",
	)
}

// DisableClient keeps a client and its tokens from working. *Forbidden, ErrStale: the authority is less than it takes;
// storage.ErrNotFound: the client does not exist.
func (m *Manager) DisableClient(ctx context.Context, by Authority, id string) error {
	return m.changeClient(ctx, by, id, "disabled", false, func(ctx context.Context, id string) error {
		c, err := m.lockClient(ctx, id)
		if err != nil {
			return err
		}
		return m.store.DisableClient(ctx, id, by.stops(c.DisabledBy, false))
	})
}

// EnableClient lets a disabled client work again, for which it takes as much authority as disabled it. Errors are those
// of DisableClient.
func (m *Manager) EnableClient(ctx context.Context, by Authority, id string) error {
	return m.changeClient(ctx, by, id, "enabled", true, func(ctx context.Context, id string) error {
		c, err := m.lockClient(ctx, id)
		if err == nil && !c.DisabledAt.IsZero() {
			err = by.MayEnable(&c, "enable")
		}
		if err != nil {
			return err
		}
		return m.store.EnableClient(ctx, id)
	})
}

// lockClient reads a client that stays as it is until the transaction ends.
func (m *Manager) lockClient(ctx context.Context, id string) (storage.Client, error) {
	if err := m.store.LockClient(ctx, id); err != nil {
		return storage.Client{}, err
	}
	return m.store.ClientByID(ctx, id)
}

// VerifyClient notes that an administrator vouches for a client's name, or no longer.
func (m *Manager) VerifyClient(ctx context.Context, by Authority, id string, verified bool) error {
	if !by.Administrator {
		return &Forbidden{Message: "Only an administrator of this server vouches for an app."}
	}
	done := "unverified"
	if verified {
		done = "verified"
	}
	return m.changeClient(
		ctx, by, id, done, false,
		func(ctx context.Context, id string) error { return m.store.VerifyClient(ctx, id, verified) },
	)
}

// DeleteClient removes a client and everything that it was given. Errors are those of DisableClient.
func (m *Manager) DeleteClient(ctx context.Context, by Authority, id string) error {
	return m.changeClient(ctx, by, id, "deleted", false, m.store.DeleteClient)
}

func (m *Manager) changeClient(
	ctx context.Context, by Authority, id, done string, lasts bool, act func(context.Context, string) error,
) error {
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		c, err := m.store.ClientByID(ctx, id)
		if err != nil {
			return err
		}
		if err := by.decideApp(c.WorkspaceID, lasts, c.Scopes, c.Resources); err != nil {
			return err
		}
		if err := act(ctx, id); err != nil {
			return err
		}
		return m.auditClient(ctx, done, &c, nil)
	})
	if err != nil {
		return fmt.Errorf("client %s: %w", done, err)
	}
	return nil
}

// EndAccess takes back all that a user has allowed a client, or, where it is empty, all clients. It is noted in the
// user's personal workspace.
func (m *Manager) EndAccess(ctx context.Context, userID, personalID, clientID string) error {
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		ended, err := m.store.EndAccess(ctx, userID, clientID)
		if err != nil || !ended {
			return err
		}
		return m.store.Audit(
			ctx, storage.AuditEvent{Action: "access.ended", WorkspaceID: personalID, Target: clientID}, "",
		)
	})
	if err != nil {
		return fmt.Errorf("end access: %w", err)
	}
	return nil
}

// UpdateClient changes a client to p; whether it has a secret stays as it is. An app that an administrator vouched
// for loses that when another user changes what people know it by, and a first-party one and one that manages also when
// it would get more. Errors are those of CreateClient, and storage.ErrNotFound.
func (m *Manager) UpdateClient(ctx context.Context, by Authority, id string, p ClientSpec) (storage.Client, error) {
	var c storage.Client
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		// What an administrator changes at the same moment must not be written back.
		var err error
		if c, err = m.lockClient(ctx, id); err != nil {
			return fmt.Errorf("update client: %w", err)
		}
		if err := by.decideApp(c.WorkspaceID, false, nil, nil); err != nil {
			return err
		}
		if !p.Administrator && !c.DisabledAt.IsZero() && c.DisabledBy == StoppedByAdministrator {
			// What it will be when it works again is what the administrator has seen.
			return &Forbidden{
				Message: "An administrator of this server disabled this app, so only an administrator can change " +
					"it, on the page /admin/apps/" + c.ID + ".",
			}
		}
		p.was = c.Name
		if p.Public != c.Public {
			return &input.Invalid{
				Field: "kind", Message: "cannot change between public and confidential; register a new app",
			}
		}
		if !p.Administrator {
			alike := p.Name == c.Name && p.Site == c.Site && slices.Equal(p.RedirectURIs, c.RedirectURIs)
			p.PKCEOptional, p.FirstParty, p.ResourceServer = c.PKCEOptional, c.FirstParty && alike, c.ResourceServer
			p.Verified, p.Manages = c.Verified && alike, c.Manages && alike
			checked := p
			checked.Administrator = true // what an administrator set before stays
			if err := m.clients.check(&checked); err != nil {
				return err
			}
			p = checked
			// What people are not asked about may not grow either.
			more := !within(p.Scopes, c.Scopes) ||
				slices.ContainsFunc(
					p.Resources, func(id string) bool { return !catalog.ContainsResource(c.Resources, id) },
				)
			p.FirstParty, p.Manages = p.FirstParty && !more, p.Manages && !more && within(p.Grants, c.GrantTypes)
		} else if err := m.clients.check(&p); err != nil {
			return err
		}
		if p.widens(&c) {
			if err := by.decideApp(c.WorkspaceID, true, p.Scopes, p.Resources); err != nil {
				return err
			}
		}
		p.apply(&c)
		if err := m.store.UpdateClient(ctx, &c, p.origins()); err != nil {
			return fmt.Errorf("update client: %w", err)
		}
		return m.auditClient(ctx, "updated", &c, map[string]string{"scopes": c.Scopes.String()})
	})
	return c, err
}

// widens reports whether a client as it is could get anything by this spec that it cannot get now, or get it elsewhere.
func (p *ClientSpec) widens(c *storage.Client) bool {
	return !within(p.RedirectURIs, c.RedirectURIs) || !within(p.Grants, c.GrantTypes) || !within(p.Scopes, c.Scopes) ||
		slices.ContainsFunc(p.Resources, func(id string) bool { return !catalog.ContainsResource(c.Resources, id) }) ||
		p.PKCEOptional &&
			!c.PKCEOptional || p.FirstParty && !c.FirstParty || p.Manages && !c.Manages ||
		p.ResourceServer && !c.ResourceServer
}

// within reports whether all of list is in set.
func within(list, set []string) bool {
	return !slices.ContainsFunc(list, func(x string) bool { return !slices.Contains(set, x) })
}

// RotateSecret makes a new secret for a confidential client; the one before works for grace longer, 30 days at most.
// A client that is disabled, or whose workspace is, gets none: *Invalid.
// Errors are those of DisableClient, and *Invalid.
func (m *Manager) RotateSecret(
	ctx context.Context, by Authority, id string, grace time.Duration,
) (string, storage.ClientSecret, error) {
	if grace < 0 || grace > 30*24*time.Hour {
		return "", storage.ClientSecret{}, &input.Invalid{Field: "grace", Message: "must be between 0 and 30d"}
	}
	secret, x := newSecret(m.store.Now())
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		c, err := m.store.ClientByID(ctx, id)
		if err == nil {
			err = by.decideApp(c.WorkspaceID, true, c.Scopes, c.Resources)
		}
		if err == nil {
			err = m.store.RotateSecret(ctx, id, x, grace)
		}
		if err != nil {
			return err
		}
		if !c.DisabledAt.IsZero() {
			return &input.Invalid{
				Field: "kind", Message: "is that of a disabled app, which gets no new secret; enable it first",
			}
		}
		if err := m.issuesIn(ctx, c.WorkspaceID); err != nil {
			return err
		}
		return m.auditClient(ctx, "secret_rotated", &c, map[string]string{"secret": x.ID, "grace": grace.String()})
	})
	if errors.Is(err, storage.ErrNotFound) {
		if c, lookup := m.store.ClientByID(ctx, id); lookup == nil && c.Public {
			return "", x, &input.Invalid{Field: "kind", Message: "is public: such a client has no secret"}
		}
	}
	if err != nil {
		return "", x, fmt.Errorf("rotate secret: %w", err)
	}
	return secret, x, nil
}
