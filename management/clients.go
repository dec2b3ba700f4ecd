package management

import (
	"context"
	"fmt"
	"slices"
	"time"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// The most that one client may have of each.
const (
	maxAppName      = 100
	maxRedirectURIs = 20
	maxResources    = 20
)

// MaxClients is how many apps a workspace may have. Two that are created at the same moment may exceed it by one.
const MaxClients = 200

// appAct returns an Act on an app of a workspace that only removes something, or changes nothing. It returns
// storage.ErrNotFound if the app belongs to another workspace.
func (a *Authority) appAct(workspaceID string) (Act, error) {
	if !a.Administrator && (workspaceID == "" || workspaceID != a.WorkspaceID) {
		return Act{}, storage.ErrNotFound
	}
	return Act{Permission: MayManageApps}, nil
}

// decideApp decides about an act on an app. An act that lasts gives the app all that its registration allows, without
// an expiry and from any address.
func (a *Authority) decideApp(workspaceID string, lasts bool, scopes, resources []string) error {
	act, err := a.appAct(workspaceID)
	if err != nil {
		return err
	}
	act.Lasts = lasts
	for _, id := range resources {
		act.Grants = append(act.Grants, Reach{Resource: id, Scopes: scopes})
	}
	return a.Decide(act)
}

// CreateClient registers a client. The secret is returned only here, since storage keeps a digest; it is empty for a
// client that is public or authenticates with a key. Wrong fields are joined *input.Invalid errors; what is not allowed
// is *Forbidden or ErrStale.
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
		if err := m.mustBeEnabled(ctx, p.WorkspaceID); err != nil {
			return c, "", err
		}
		n, err := m.store.CountClientsOfWorkspace(ctx, p.WorkspaceID)
		if err != nil {
			return c, "", fmt.Errorf("create client: %w", err)
		}
		if n >= MaxClients {
			return c, "", &input.Invalid{Field: "name", Message: locale.New(
				"This workspace has reached the limit of %d apps; delete one that is not used", MaxClients,
			)}
		}
	}
	c = storage.Client{ID: storage.NewID("app"), WorkspaceID: p.WorkspaceID, CreatedBy: p.CreatedBy, Public: p.Public}
	p.apply(&c)
	if mayHaveSecret(&c) == nil {
		var x storage.ClientSecret
		secret, x = newSecret(m.store.Now())
		c.Secrets = []storage.ClientSecret{x}
	}
	err = m.store.InTx(ctx, func(ctx context.Context) error {
		if err := m.store.InsertClient(ctx, &c, p.origins()); err != nil {
			return err
		}
		return m.auditClient(ctx, "created", &c, authDetail(&storage.Client{}, &c))
	})
	if err != nil {
		return c, "", fmt.Errorf("create client: %w", err)
	}
	return c, secret, nil
}

// auditClient records what was done to a client in the audit log of its workspace.
func (m *Manager) auditClient(ctx context.Context, done string, c *storage.Client, detail map[string]string) error {
	return m.store.Audit(
		ctx, storage.AuditEvent{Action: "app." + done, WorkspaceID: c.WorkspaceID, Target: c.ID, Detail: detail}, "",
	)
}

// DisableClient disables a client and its tokens. It returns *Forbidden or ErrStale if the authority may not, and
// storage.ErrNotFound if the client does not exist.
func (m *Manager) DisableClient(ctx context.Context, by Authority, id string) error {
	return m.changeClient(ctx, by, id, "disabled", false, func(ctx context.Context, id string) error {
		c, err := m.lockClient(ctx, id)
		if err != nil {
			return err
		}
		return m.store.DisableClient(ctx, id, by.stopAuthority(c.DisabledBy, false))
	})
}

// EnableClient enables a disabled client, if by is at least the authority that disabled it. It returns the errors of
// DisableClient.
func (m *Manager) EnableClient(ctx context.Context, by Authority, id string) error {
	return m.changeClient(ctx, by, id, "enabled", true, func(ctx context.Context, id string) error {
		c, err := m.lockClient(ctx, id)
		if err == nil && !c.DisabledAt.IsZero() {
			err = by.MayEnable(&c, Enable)
		}
		if err != nil {
			return err
		}
		return m.store.EnableClient(ctx, id)
	})
}

// lockClient locks the row of a client until the transaction ends, and reads it.
func (m *Manager) lockClient(ctx context.Context, id string) (storage.Client, error) {
	if err := m.store.LockClient(ctx, id); err != nil {
		return storage.Client{}, err
	}
	return m.store.ClientByID(ctx, id)
}

// VerifyClient records whether an administrator vouches for the name of a client.
func (m *Manager) VerifyClient(ctx context.Context, by Authority, id string, verified bool) error {
	if !by.Administrator {
		return &Forbidden{Message: locale.New("Only an administrator of this server can verify an app.")}
	}
	done := "unverified"
	if verified {
		done = "verified"
	}
	return m.changeClient(
		ctx, by, id, done, false,
		func(ctx context.Context, id string) error {
			c, err := m.lockClient(ctx, id)
			if err != nil {
				return err
			}
			if c.SelfRegistered() {
				return &Forbidden{Message: locale.New("This app registered itself, and can change what it says about itself at " +
					"any time, so it cannot be verified.")}
			}
			return m.store.VerifyClient(ctx, id, verified)
		},
	)
}

// DeleteClient deletes a client with its grants and tokens. It returns the errors of DisableClient.
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

// RevokeAccess revokes everything that a user has allowed a client, or all clients if clientID is empty. The audit log
// of the user's personal workspace records it.
func (m *Manager) RevokeAccess(ctx context.Context, userID, personalID, clientID string) error {
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		ended, err := m.store.RevokeAccess(ctx, userID, clientID)
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

// UpdateClient changes a client to p, except for Public. If a user who is not an administrator changes the name, site,
// logo or redirect URIs of an app, the app loses Verified, FirstParty and Manages. It also loses FirstParty and Manages if
// such a user gives it more scopes, resources or grant types. UpdateClient returns the errors of CreateClient, and
// storage.ErrNotFound.
func (m *Manager) UpdateClient(ctx context.Context, by Authority, id string, p ClientSpec) (storage.Client, error) {
	var c storage.Client
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		// Read it under a lock, so that a change by an administrator at the same moment is not overwritten.
		var err error
		if c, err = m.lockClient(ctx, id); err != nil {
			return fmt.Errorf("update client: %w", err)
		}
		if err := by.decideApp(c.WorkspaceID, false, nil, nil); err != nil {
			return err
		}
		if !p.Administrator && !c.DisabledAt.IsZero() && c.DisabledBy == StoppedByAdministrator {
			// When the app is enabled again, it must still be the one that the administrator has seen.
			return &Forbidden{
				Message: locale.New("An administrator of this server disabled this app, so only an administrator can change "+
					"it, on the page %s.", adminPage(&c)),
			}
		}
		if c.SelfRegistered() {
			return &Forbidden{Message: locale.New("This app registered itself, so only the app can change its registration. You " +
				"can disable or delete it.")}
		}
		old := SpecOf(c)
		p.oldName, p.oldURIs = c.Name, old.uris()
		if err := p.checkStaysConfidential(&c); err != nil {
			return err
		}
		if !p.Administrator {
			alike := p.Name == c.Name && p.Site == c.Site && p.LogoURI == c.LogoURI &&
				slices.Equal(p.RedirectURIs, c.RedirectURIs)
			p.PKCEOptional, p.FirstParty, p.ResourceServer = c.PKCEOptional, c.FirstParty && alike, c.ResourceServer
			p.Verified, p.Manages = c.Verified && alike, c.Manages && alike
			p.TokenEndpointAudience = c.TokenEndpointAudience
			if p.FAPI { // it ends what an administrator allowed beyond it
				p.PKCEOptional, p.TokenEndpointAudience = false, false
			}
			checked := p
			checked.Administrator = true // fields that an administrator set before stay
			if err := m.clients.check(&checked); err != nil {
				return err
			}
			p = checked
			// Apps whose permissions users are not asked about must not be widened either.
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
		before := c
		p.apply(&c)
		if err := m.store.UpdateClient(ctx, &c, p.origins()); err != nil {
			return fmt.Errorf("update client: %w", err)
		}
		return m.auditClient(ctx, "updated", &c, authDetail(&before, &c))
	})
	return c, err
}

// widens reports whether this spec would let a client get more than it can now, or get it at another redirect URI or
// with other credentials.
func (p *ClientSpec) widens(c *storage.Client) bool {
	return p.loosens(c) || !within(p.RedirectURIs, c.RedirectURIs) || !within(p.Grants, c.GrantTypes) ||
		!within(p.Scopes, c.Scopes) ||
		slices.ContainsFunc(p.Resources, func(id string) bool { return !catalog.ContainsResource(c.Resources, id) }) ||
		p.PKCEOptional &&
			!c.PKCEOptional || p.FirstParty && !c.FirstParty || p.Manages && !c.Manages ||
		p.ResourceServer && !c.ResourceServer
}

// within reports whether set contains all of list.
func within(list, set []string) bool {
	return !slices.ContainsFunc(list, func(x string) bool { return !slices.Contains(set, x) })
}

// RotateSecret creates a new secret for a client that authenticates with one; the old one works until grace is over, 30
// days at most. It returns the errors of DisableClient, and *input.Invalid, also for a client that is disabled or whose
// workspace is.
func (m *Manager) RotateSecret(
	ctx context.Context, by Authority, id string, grace time.Duration,
) (string, storage.ClientSecret, error) {
	if grace < 0 || grace > 30*24*time.Hour {
		return "", storage.ClientSecret{}, &input.Invalid{Field: "grace", Message: locale.New("must be between 0 and 30d")}
	}
	secret, x := newSecret(m.store.Now())
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		c, err := m.lockClient(ctx, id) // so that a change to private_key_jwt at the same moment leaves no secret
		if err == nil {
			err = by.decideApp(c.WorkspaceID, true, c.Scopes, c.Resources)
		}
		if err == nil {
			err = mayHaveSecret(&c)
		}
		if err == nil && c.SelfRegistered() {
			err = &Forbidden{Message: locale.New("This app registered itself. To replace its secret, it registers again.")}
		}
		if err == nil {
			err = m.store.RotateSecret(ctx, id, x, grace)
		}
		if err != nil {
			return err
		}
		if !c.DisabledAt.IsZero() {
			return &input.Invalid{
				Field: "kind", Message: locale.New("A disabled app cannot get a new secret; enable it first"),
			}
		}
		if err := m.mustBeEnabled(ctx, c.WorkspaceID); err != nil {
			return err
		}
		return m.auditClient(ctx, "secret_rotated", &c, map[string]string{"secret": x.ID, "grace": grace.String()})
	})
	if err != nil {
		return "", x, fmt.Errorf("rotate secret: %w", err)
	}
	return secret, x, nil
}
