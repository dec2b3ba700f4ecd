package management

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// KeyChange is a change of a key or personal access token; a nil field is not changed.
type KeyChange struct {
	Name      *string
	Note      *string
	Scopes    *[]string // must be a subset of those that it has
	ByObject  bool      // the scopes were given as an object of lists
	Role      *string   // of a personal access token; not higher than it was
	Plan      *string
	RateLimit *int64
	Addresses *[]string
}

// UpdateKey changes one of the owner's keys. A key never gets a new scope; create a new key for more. It returns the
// errors of CreateKey, and storage.ErrNotFound.
func (m *Manager) UpdateKey(
	ctx context.Context, by Authority, owner storage.KeyOwner, workspacePlan, id string, c KeyChange,
) (storage.APIKey, error) {
	if err := by.mayManage(owner); err != nil {
		return storage.APIKey{}, err
	}
	var k storage.APIKey
	err := m.store.InTx(ctx, func(ctx context.Context) (err error) {
		if k, err = m.store.LockKey(ctx, owner, id); err != nil {
			return fmt.Errorf("update a key: %w", err)
		}
		if err := by.Decide(keyAct(&k)); err != nil {
			return err
		}
		if !k.RevokedAt.IsZero() {
			return &input.Invalid{
				Field: "key", Message: locale.New("is revoked and cannot be changed; create a new one"),
			}
		}
		before := k
		changed, err := m.applyKeyChange(&by, &k, workspacePlan, c)
		if err != nil || len(changed) == 0 {
			return err
		}
		// A request for any address counts as widening, even if the key had no allowed addresses before.
		if m.keys.Widens(&before, &k, workspacePlan) || c.Addresses != nil && len(k.Addresses) == 0 {
			if err := by.Decide(lastingAct(&k)); err != nil {
				return err
			}
		}
		if err := m.store.UpdateKey(ctx, &k); err != nil {
			return fmt.Errorf("update a key: %w", err)
		}
		return m.auditKey(ctx, &by, "updated", &k, changed)
	})
	return k, err
}

func (m *Manager) applyKeyChange(
	by *Authority, k *storage.APIKey, workspacePlan string, c KeyChange,
) (changed map[string]string, err error) {
	personal := k.Kind == bearer.KindPersonalAccessToken
	p := apikey.Spec{
		Name: k.Name, Note: k.Note, Resource: k.Resource, Environment: k.Environment, Scopes: k.Scopes,
		ByObject: k.ScopesByObject, Role: k.Role, Plan: k.Plan, RateLimit: k.RateLimit, Addresses: k.Addresses,
	}
	changed = map[string]string{}
	set := func(field string, to *string, from *string) {
		if to != nil && *to != *from {
			*from, changed[field] = *to, *to
		}
	}
	set("name", c.Name, &p.Name)
	set("note", c.Note, &p.Note)
	set("role", c.Role, &p.Role)
	set("plan", c.Plan, &p.Plan)
	for _, field := range []string{"name", "note"} {
		if _, ok := changed[field]; ok {
			changed[field] = "changed" // the audit log does not record the text itself
		}
	}
	if c.RateLimit != nil && *c.RateLimit != p.RateLimit {
		p.RateLimit, changed["rate_limit"] = *c.RateLimit, strconv.FormatInt(*c.RateLimit, 10)
	}
	if c.Addresses != nil {
		p.Addresses, changed["addresses"] = *c.Addresses, strings.Join(*c.Addresses, " ")
	}
	if c.Scopes != nil {
		p.Scopes, p.ByObject, changed["scopes"] = *c.Scopes, c.ByObject, strings.Join(*c.Scopes, " ")
	}
	if len(changed) == 0 {
		return changed, nil // the old value was valid under the rules at the time
	}
	kept := p
	if k.Live(m.store.Now()) {
		kept.ExpiresAt = k.ExpiresAt
	}
	r, err := m.keys.CheckExisting(&kept, personal)
	if r != nil && !personal && c.Scopes != nil {
		err = errors.Join(err, apikey.CheckUserOnly(r, kept.Scopes))
	}
	// Check the plan only if it changes: one that was valid when it was set must not prevent other changes.
	if r != nil && !personal && (c.Plan != nil || c.RateLimit != nil) {
		err = errors.Join(err, m.keys.CheckPlan(by.Administrator, r, &kept, workspacePlan))
	}
	if personal && (c.Plan != nil || c.RateLimit != nil) || !personal && c.Role != nil {
		err = errors.Join(
			err,
			&input.Invalid{
				Field: "kind",
				Message: locale.New("Personal access tokens have no plan or rate limit, and API keys have no role; leave " +
					"the field out"),
			},
		)
	}
	if err != nil {
		return nil, err
	}
	if c.Scopes != nil {
		held := append(r.Effective(k.Scopes, "", true), k.Scopes...) // introspect is in no catalogue
		for _, name := range kept.Scopes {
			if !r.Covers(held, name) {
				return nil, &Forbidden{
					Message: locale.New("The key does not have the scope %s. Scopes cannot be added to an existing key; create "+
						"a new one.", name),
					Scope: name,
				}
			}
		}
	}
	if c.Role != nil && k.Role != "" && (kept.Role == "" || !catalog.AtLeast(k.Role, kept.Role)) {
		return nil, &Forbidden{
			Message: locale.New(
				"The token is limited to the %s role, which cannot be raised; create a new one.", catalog.RoleName(k.Role),
			),
		}
	}
	k.Name, k.Note, k.Scopes, k.ScopesByObject, k.Role = kept.Name, kept.Note, kept.Scopes, kept.ByObject, kept.Role
	k.Plan, k.RateLimit, k.Addresses = kept.Plan, kept.RateLimit, kept.Addresses
	return changed, nil
}
