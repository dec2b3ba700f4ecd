package management

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

const (
	maxWorkspaceName = 100
	// MaxWorkspaces bounds a user's workspaces: a user who belongs to that many or more cannot create another.
	MaxWorkspaces = 100
	// MaxMembers is how many members and open invitations a workspace may have.
	MaxMembers = 1000
	// InvitationLifetime is how long an invitation can be accepted.
	InvitationLifetime = 7 * 24 * time.Hour
)

var slugForm = regexp.MustCompile(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)

const (
	minSlug = 2
	maxSlug = 40
)

// SlugsFor proposes slugs for a workspace with a name, the best first; the last one is hardly ever taken.
func SlugsFor(name string) []string {
	var b strings.Builder
	for _, c := range norm.NFKD.String(strings.ToLower(name)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case unicode.Is(unicode.Mn, c), c == '\'', c == '’':
			// Skip accents, which NFKD has separated from their letters, and apostrophes.
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= maxSlug-5 {
			break // leave room for a suffix
		}
	}
	slug := strings.Trim(b.String(), "-")
	if len(slug) < minSlug {
		slug = "workspace"
	}
	id := storage.NewID("ws")
	return []string{slug, slug + "-2", slug + "-3", slug + "-" + id[len(id)-4:]}
}

func checkWorkspaceName(name string) (string, error) {
	name, why := input.Line(name, maxWorkspaceName)
	if why.IsZero() && name == "" {
		why = locale.New("is missing; give the workspace a name that its members will recognise")
	}
	if !why.IsZero() {
		return "", &input.Invalid{Field: "name", Message: why}
	}
	return name, nil
}

func (m *Manager) checkPlanName(plan string) error {
	if _, ok := m.catalog.Plan(plan); plan != "" && !ok {
		return &input.Invalid{
			Field: "plan",
			Message: locale.New(
				"%s is not in the configuration; use a plan that is, or leave it out", strconv.Quote(input.Shorten(plan)),
			),
		}
	}
	return nil
}

// CreateWorkspace creates a workspace with its first owner. Only the CLI may choose its plan. Wrong fields are joined
// *input.Invalid errors; for a slug that is taken the error also wraps storage.ErrExists.
func (m *Manager) CreateWorkspace(
	ctx context.Context, by Authority, name, slug, plan, ownerID string,
) (storage.Workspace, error) {
	ctx = storage.System(ctx)
	name, err := checkWorkspaceName(name)
	if len(slug) < minSlug || len(slug) > maxSlug || !slugForm.MatchString(slug) {
		err = errors.Join(
			err,
			&input.Invalid{
				Field:   "slug",
				Message: locale.New("must be 2 to 40 lower-case letters and digits, with single hyphens between them"),
			},
		)
	}
	err = errors.Join(err, m.checkPlanName(plan))
	if !by.Administrator {
		if e := by.Decide(Act{Own: true, Lasts: true, Light: true, GrantsRole: catalog.RoleOwner}); e != nil {
			return storage.Workspace{}, e
		}
		if plan != "" {
			err = errors.Join(
				err,
				&input.Invalid{Field: "plan", Message: locale.New("cannot be chosen for a new workspace; leave it out")},
			)
		}
	}
	if err == nil {
		err = m.userMustBeEnabled(ctx, ownerID)
	}
	if err != nil {
		return storage.Workspace{}, err
	}
	w := storage.Workspace{ID: storage.NewID("ws"), Slug: slug, Name: name, Plan: plan, Role: catalog.RoleOwner}
	err = m.store.InTx(ctx, func(ctx context.Context) error {
		if !by.Administrator {
			have, err := m.store.WorkspacesOf(ctx, ownerID)
			if err != nil {
				return err
			}
			if len(have) >= MaxWorkspaces {
				return &input.Invalid{
					Field: "name",
					Message: locale.New(
						"You have reached the limit of %d workspaces; leave or delete one", len(have),
					),
				}
			}
		}
		if err := m.store.InsertWorkspace(ctx, w, ownerID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "workspace.created", w.ID, w.ID, map[string]string{"owner": ownerID})
	})
	if errors.Is(err, storage.ErrExists) {
		message := locale.New("%s is taken; choose another", strconv.Quote(slug))
		if _, err := m.store.SlugReservedUntil(ctx, slug); err == nil {
			message = locale.New(
				"%s belonged to a deleted workspace, and stays reserved for %s after the deletion; choose another",
				strconv.Quote(slug), locale.Span(storage.SlugReservation),
			)
		}
		return w, &input.Invalid{Field: "slug", Message: message, Cause: storage.ErrExists}
	}
	if err != nil {
		return w, fmt.Errorf("create a workspace: %w", err)
	}
	return w, nil
}

func (m *Manager) auditWorkspace(
	ctx context.Context, action, workspaceID, target string, detail map[string]string,
) error {
	return m.store.Audit(
		ctx, storage.AuditEvent{Action: action, WorkspaceID: workspaceID, Target: target, Detail: detail}, "",
	)
}

// inWorkspace decides about an act and makes the change with its audit event, in one transaction as storage.System.
func (m *Manager) inWorkspace(
	ctx context.Context, by *Authority, act Act, what string, change func(ctx context.Context) error,
) error {
	if err := by.Decide(act); err != nil {
		return err
	}
	if err := m.store.InTx(storage.System(ctx), change); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// MaySetPlan returns *Forbidden unless the authority may choose the plan of its workspace: as an administrator of this
// server or, with Config.OwnersSetPlans, as an owner.
func (m *Manager) MaySetPlan(ctx context.Context, by *Authority) error {
	var no *Forbidden
	if err := m.MayAdminister(ctx, by); !errors.As(err, &no) {
		return err
	}
	if m.ownPlans {
		return by.Decide(Act{Permission: MayChangeWorkspace, Lasts: true, Light: true})
	}
	return &Forbidden{Message: locale.New("Administrators of this server set the plans of workspaces; ask one of them.")}
}

// UpdateWorkspace changes the name and plan of the authority's workspace; nil leaves either as it is. A key whose own
// plan or rate limit allows more than the new plan loses it. Errors are *input.Invalid and *Forbidden.
func (m *Manager) UpdateWorkspace(
	ctx context.Context, by Authority, w storage.Workspace, name, plan *string,
) (storage.Workspace, error) {
	detail := map[string]string{}
	var newName *string
	if name != nil {
		checked, err := checkWorkspaceName(*name)
		if err != nil {
			return w, err
		}
		newName = &checked
		if checked != w.Name {
			w.Name, detail["name"] = checked, "changed"
		}
	}
	act := Act{Permission: MayChangeWorkspace}
	if plan != nil {
		may := m.MaySetPlan(ctx, &by)
		if *plan != w.Plan {
			if err := cmp.Or(may, m.checkPlanName(*plan)); err != nil {
				return w, err
			}
			w.Plan, detail["plan"] = *plan, *plan
		}
		if may == nil && name == nil {
			act = Act{} // an administrator need not be a member
		}
	}
	err := m.inWorkspace(ctx, &by, act, "update the workspace", func(ctx context.Context) error {
		if len(detail) == 0 {
			return nil
		}
		if err := m.store.UpdateWorkspace(ctx, w.ID, newName, plan); err != nil {
			return err
		}
		if _, planned := detail["plan"]; planned {
			if err := m.lowerKeys(ctx, &by, w); err != nil {
				return err
			}
		}
		return m.auditWorkspace(ctx, "workspace.updated", w.ID, w.ID, detail)
	})
	return w, err
}

// lowerKeys removes, from the keys of a workspace, plans and rate limits that allow more than the workspace's plan.
func (m *Manager) lowerKeys(ctx context.Context, by *Authority, w storage.Workspace) error {
	list, err := m.store.KeysWithLimits(ctx, w.ID)
	if err != nil {
		return err
	}
	for i := range list {
		k := &list[i]
		without := storage.APIKey{Resource: k.Resource, Environment: k.Environment}
		_, most := m.keys.Plan(&without, w.Plan)
		if _, has := m.keys.Plan(k, w.Plan); has.Within(most) {
			continue
		}
		k.Plan, k.RateLimit = "", 0
		if err := m.store.UpdateKey(ctx, k); err != nil {
			return err
		}
		if err := m.auditKey(ctx, by, "updated", k, map[string]string{"plan": "", "rate_limit": "0"}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteWorkspace deletes a workspace with all that belongs to it. It returns storage.ErrConflict for a personal
// workspace, which is deleted with its user.
func (m *Manager) DeleteWorkspace(ctx context.Context, by Authority, w storage.Workspace) error {
	return m.inWorkspace(
		ctx,
		&by,
		Act{Permission: MayDeleteWorkspace},
		"delete the workspace",
		func(ctx context.Context) error {
			if err := m.store.DeleteWorkspace(ctx, w.ID); err != nil {
				return err
			}
			return m.auditWorkspace(ctx, "workspace.deleted", w.ID, w.ID, nil)
		},
	)
}

// DisableWorkspace disables a workspace with its keys, its apps and all else that acts in it. It is for administrators
// and the CLI.
func (m *Manager) DisableWorkspace(ctx context.Context, by Authority, w storage.Workspace) error {
	return m.switchWorkspace(ctx, by, w, "workspace.disabled", false, m.store.DisableWorkspace)
}

// EnableWorkspace enables a disabled workspace, even a shared one whose owners are all disabled. It is for
// administrators and the CLI. It returns storage.ErrConflict for the personal workspace of a disabled user; enable the
// user instead.
func (m *Manager) EnableWorkspace(ctx context.Context, by Authority, w storage.Workspace) error {
	return m.switchWorkspace(ctx, by, w, "workspace.enabled", true, m.store.EnableWorkspace)
}

func (m *Manager) switchWorkspace(
	ctx context.Context,
	by Authority,
	w storage.Workspace,
	done string,
	lasts bool,
	change func(context.Context, string) error,
) error {
	if !by.Administrator {
		return &Forbidden{Message: locale.New("Only an administrator can disable and enable workspaces.")}
	}
	return m.inWorkspace(ctx, &by, Act{Lasts: lasts}, done, func(ctx context.Context) error {
		if err := change(ctx, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, done, w.ID, w.ID, nil)
	})
}
