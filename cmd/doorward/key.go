package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"doorward/cmd/doorward/show"
	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/input"
	"doorward/storage"
)

type keyCommand struct {
	Create keyCreate `cmd:"" help:"Create an API key for a workspace or, with --scope introspect, one with which an API introspects tokens."`
	List   keyList   `cmd:"" help:"List the API keys of a workspace or, without --workspace, the introspection keys."`
	Show   keyShow   `cmd:"" help:"Show an API key (never the secret)."`
	Update keyUpdate `cmd:"" help:"Update an API key. Settings that you leave out stay unchanged."`
	Pause  keyPause  `cmd:"" help:"Pause an API key."`
	Resume keyResume `cmd:"" help:"Resume a paused API key."`
	Revoke keyRevoke `cmd:"" help:"Revoke an API key immediately and permanently."`
	Rotate keyRotate `cmd:"" help:"Replace a key; the old one keeps working for a grace period."`
}

type keyCreate struct {
	output
	Workspace string        `help:"Workspace that owns the key. Required unless --scope is introspect." placeholder:"SLUG"`
	Name      string        `required:"" help:"The key's name." placeholder:"NAME"`
	Scope     string        `required:"" help:"Scopes, separated by spaces. introspect cannot be combined with others." placeholder:"\"A B\""`
	Resource  string        `help:"API (resource) that it can call. Default: the first in the configuration." placeholder:"ID"`
	Test      bool          `help:"Create a test key, which uses the test plan."`
	Plan      string        `help:"Plan from the configuration. Default: the workspace's plan." placeholder:"PLAN"`
	RateLimit *int64        `help:"Rate limit in requests per hour; overrides the plan's." placeholder:"N"`
	Expires   *durationFlag `help:"How long until the key expires. Default: never." placeholder:"DURATION"`
	Note      string        `help:"Description for the people who manage the key." placeholder:"TEXT"`
	Address   []string      `sep:"none" help:"Allowed IP address or CIDR range; repeat for several. Default: any." placeholder:"CIDR"`
}

// Run creates an API key and prints it with its secret, which is not shown again.
func (c keyCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		w, err := s.workspaceOfFlag(ctx, c.Workspace)
		if err != nil {
			return err
		}
		environment := ""
		if c.Test {
			environment = apikey.Test
		}
		var rateLimit int64
		if c.RateLimit != nil {
			if rateLimit = *c.RateLimit; rateLimit < 1 {
				return usageError{errors.New("--rate-limit must be above 0; leave it out to use the plan's limit")}
			}
		}
		k, secret, err := s.management.CreateKey(ctx, management.CLI(w.ID), w.Plan, apikey.Spec{
			Name:        c.Name,
			Note:        c.Note,
			Resource:    c.Resource,
			Environment: environment,
			Scopes:      strings.Fields(c.Scope),
			Plan:        c.Plan,
			RateLimit:   rateLimit,
			ExpiresAt:   c.Expires.from(s.store.Now()),
			Addresses:   c.Address,
		})
		if err != nil {
			return invalid(tooMany(w.Slug, "API keys", err))
		}
		row := s.shownKey(&k)
		row.Key, row.Workspace = secret, w.Slug
		return c.print(a, row, row.Write)
	})
}

// tooMany explains apikey.ErrTooMany, and returns other errors unchanged. what is the name of the owner's keys, such as
// "API keys".
func tooMany(owner, what string, err error) error {
	if errors.Is(err, apikey.ErrTooMany) {
		return fmt.Errorf(
			"%s has reached the limit of %d active %s; revoke one that is no longer used", owner, apikey.MaxKeys, what,
		)
	}
	return err
}

type keyList struct {
	output
	Workspace string `help:"Workspace that owns the keys. Default: introspection keys, which have no workspace." placeholder:"SLUG"`
}

// Run lists API keys, including revoked and expired ones.
func (c keyList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		w, err := s.workspaceOfFlag(ctx, c.Workspace)
		if err != nil {
			return err
		}
		rows, err := s.keysOf(ctx, storage.KeyOwner{WorkspaceID: w.ID})
		if err != nil {
			return err
		}
		for i := range rows {
			rows[i].Workspace = w.Slug
		}
		return c.print(a, rows, func(w io.Writer) { show.Keys(w, rows) })
	})
}

type keyShow struct {
	output
	ID string `arg:"" help:"The key's ID."`
}

// Run shows one API key.
func (c keyShow) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(_ context.Context, _ *services, k storage.APIKey, _ storage.Workspace) (storage.APIKey, string, error) {
			return k, "", nil
		},
	)
}

type keyUpdate struct {
	output
	ID    string  `arg:"" help:"The key's ID."`
	Name  *string `help:"The key's name." placeholder:"NAME"`
	Note  *string `help:"Description; empty removes it." placeholder:"TEXT"`
	Scope *string `help:"Scopes to keep, separated by spaces. Scopes cannot be added." placeholder:"\"A B\""`
}

// Run changes the settings that were given.
func (c keyUpdate) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *services, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			change := management.KeyChange{Name: c.Name, Note: c.Note}
			if c.Scope != nil {
				scopes := strings.Fields(*c.Scope)
				change.Scopes = &scopes
			}
			k, err := s.management.UpdateKey(ctx, management.CLI(w.ID), k.Owner(), w.Plan, k.ID, change)
			return k, "", err
		},
	)
}

type keyPause struct {
	output
	ID string `arg:"" help:"The key's ID."`
}

// Run pauses an API key.
func (c keyPause) Run(ctx context.Context, a *app) error {
	return c.changeKey(ctx, a, c.ID, (*management.Manager).PauseKey)
}

type keyResume struct {
	output
	ID string `arg:"" help:"The key's ID."`
}

// Run resumes an API key.
func (c keyResume) Run(ctx context.Context, a *app) error {
	return c.changeKey(ctx, a, c.ID, (*management.Manager).ResumeKey)
}

type keyRevoke struct {
	output
	ID string `arg:"" help:"The key's ID."`
}

// Run revokes an API key.
func (c keyRevoke) Run(ctx context.Context, a *app) error {
	return c.changeKey(ctx, a, c.ID, (*management.Manager).RevokeKey)
}

type keyRotate struct {
	output
	ID    string       `arg:"" help:"The key's ID."`
	Grace durationFlag `default:"24h" help:"How long the old key keeps working, at most 30d. Default: 24h." placeholder:"DURATION"`
}

// Run replaces an API key and prints the new one with its secret, which is not shown again.
func (c keyRotate) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *services, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			by, grace := management.CLI(w.ID), time.Duration(c.Grace)
			replacement, secret, err := s.management.RotateKey(ctx, by, k.Owner(), k.ID, grace)
			if errors.Is(err, apikey.ErrRotated) {
				err = fmt.Errorf("API key %s is %s and cannot be rotated; create a new one", k.ID, s.apikey.State(&k))
			}
			return replacement, secret, err
		},
	)
}

// changeKey runs change, a method of the manager, on one API key, and prints the key.
func (o output) changeKey(
	ctx context.Context,
	a *app,
	id string,
	change func(*management.Manager, context.Context, management.Authority, storage.KeyOwner, string) (
		storage.APIKey, error,
	),
) error {
	return o.onKey(
		ctx,
		a,
		id,
		func(ctx context.Context, s *services, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			k, err := change(s.management, ctx, management.CLI(w.ID), k.Owner(), k.ID)
			return k, "", err
		},
	)
}

// onKey runs act on one API key and its workspace, which is empty for a key without one. It prints the key that act
// returns, with its secret if act returns that too.
func (o output) onKey(
	ctx context.Context,
	a *app,
	id string,
	act func(ctx context.Context, s *services, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error),
) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		k, err := s.keyOfKind(
			ctx,
			storage.KindAPIKey,
			id,
			"API key",
			"to list a workspace's keys, run: doorward key list --workspace SLUG; to list introspection keys, omit --workspace",
		)
		if err != nil {
			return err
		}
		var w storage.Workspace
		if k.WorkspaceID != "" {
			if w, err = s.store.WorkspaceByID(ctx, k.WorkspaceID); err != nil {
				return fmt.Errorf("look up the key's workspace: %w", err)
			}
		}
		k, secret, err := act(ctx, s, k, w)
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("API key %s was revoked, which cannot be undone; create a new one", id)
		}
		if err != nil {
			return invalid(err)
		}
		row := s.shownKey(&k)
		row.Key, row.Workspace = secret, w.Slug
		if row.Requests, err = s.requestsOf(ctx, &k); err != nil {
			return err
		}
		before, err := s.store.KeysRotatedInto(ctx, k.Owner(), k.ID)
		if err != nil {
			return fmt.Errorf("look up the keys that it replaces: %w", err)
		}
		for _, old := range before {
			if old.Live(s.store.Now()) {
				row.Replaces = append(
					row.Replaces,
					show.Replaced{ID: old.ID, Tail: old.Tail, ExpiresAt: show.Seconds(old.ExpiresAt)},
				)
			}
		}
		return o.print(a, row, row.Write)
	})
}

// keyOfKind finds an API key or a personal access token. For the error when there is none, called is the kind in words,
// and hint says how to list them.
func (s *services) keyOfKind(ctx context.Context, kind, id, called, hint string) (storage.APIKey, error) {
	k, err := s.store.KeyByID(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && k.Kind != kind:
		return k, missing(fmt.Sprintf("there is no %s with the ID %s; %s", called, input.Quote(id), hint))
	case err != nil:
		return k, fmt.Errorf("look up the %s: %w", called, err)
	}
	return k, nil
}

// keysOf lists all keys or personal access tokens of an owner, newest first.
func (s *services) keysOf(ctx context.Context, owner storage.KeyOwner) ([]show.Key, error) {
	rows := []show.Key{}
	for filter := (storage.KeyFilter{Limit: pageSize}); ; {
		page, err := s.store.Keys(ctx, owner, filter)
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		for _, k := range page {
			rows = append(rows, s.shownKey(&k))
			filter.After = k.ID
		}
		if len(page) < pageSize {
			return rows, nil
		}
	}
}

// shownRequests is how many of a key's most recent requests are shown.
const shownRequests = 10

// requestsOf reads how often a key was used, or returns nil if it was not. A running server writes its counts every
// five seconds.
func (s *services) requestsOf(ctx context.Context, k *storage.APIKey) (*show.Requests, error) {
	r := show.Requests{Last: []show.Request{}}
	if k.WorkspaceID != "" {
		now := s.store.Now()
		hours, err := s.store.UsageOf(ctx, k.WorkspaceID, k.ID, now.Add(-30*input.Day), now.Add(time.Hour))
		if err != nil {
			return nil, fmt.Errorf("read the key's usage: %w", err)
		}
		for _, hour := range hours {
			r.Allowed, r.Limited, r.Refused = r.Allowed+hour.Allowed, r.Limited+hour.Limited, r.Refused+hour.Refused
		}
	}
	last, err := s.store.RecentRequestsOf(ctx, k.ID)
	if err != nil {
		return nil, fmt.Errorf("read the key's last requests: %w", err)
	}
	for _, x := range last[:min(len(last), shownRequests)] {
		r.Last = append(r.Last, show.Request{
			At:        show.Seconds(x.At),
			Action:    x.Action,
			Status:    x.Status,
			Reason:    x.Reason,
			RequestID: x.RequestID,
			Address:   x.Address,
		})
	}
	if r.Allowed+r.Limited+r.Refused == 0 && len(r.Last) == 0 {
		return nil, nil
	}
	return &r, nil
}

// shownKey describes a key and its current state.
func (s *services) shownKey(k *storage.APIKey) show.Key { return show.NewKey(k, s.apikey.State(k)) }
