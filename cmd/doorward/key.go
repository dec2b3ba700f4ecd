package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/input"
	"doorward/storage"
)

type keyCommand struct {
	Create keyCreate `cmd:"" help:"Create an API key for a workspace or, with --scope introspect, one with which an API introspects."`
	List   keyList   `cmd:"" help:"List the API keys of a workspace or, without --workspace, those with which APIs introspect."`
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
	Resource  string        `help:"API (resource) of the credential. Default: the first in the configuration." placeholder:"ID"`
	Test      bool          `help:"Create a test key, which uses the test plan."`
	Plan      string        `help:"Plan from the configuration. Default: the workspace's plan." placeholder:"PLAN"`
	RateLimit int64         `help:"Rate limit in requests per hour; overrides the plan's." placeholder:"N"`
	Expires   *durationFlag `help:"When the key expires, from now. Default: never." placeholder:"DURATION"`
	Note      string        `help:"Description for the people who manage the key." placeholder:"TEXT"`
	Address   []string      `sep:"none" help:"Allowed IP address or CIDR range; repeat for several. Default: any." placeholder:"CIDR"`
}

// Run makes an API key and shows its text, this once.
func (c keyCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		w, err := s.workspaceOfFlag(ctx, c.Workspace)
		if err != nil {
			return err
		}
		environment := ""
		if c.Test {
			environment = apikey.Test
		}
		k, text, err := s.management.CreateKey(ctx, management.CommandLine(w.ID), w.Plan, apikey.Spec{
			Name:        c.Name,
			Note:        c.Note,
			Resource:    c.Resource,
			Environment: environment,
			Scopes:      strings.Fields(c.Scope),
			Plan:        c.Plan,
			RateLimit:   c.RateLimit,
			ExpiresAt:   c.Expires.from(s.store.Now()),
			Addresses:   c.Address,
		})
		if err != nil {
			return invalid(tooMany(w.Slug, "API keys", err))
		}
		row := newKeyJSON(s, &k)
		row.Key, row.Workspace = text, w.Slug
		return c.printKey(a, row)
	})
}

// tooMany says what to do where an owner has as many keys as they may, and passes other errors through.
func tooMany(owner, what string, err error) error {
	if errors.Is(err, apikey.ErrTooMany) {
		return fmt.Errorf(
			"%s has %d %s that are neither revoked nor expired, which is the maximum; revoke one that is not used",
			owner,
			apikey.MaxKeys,
			what,
		)
	}
	return err
}

type keyList struct {
	output
	Workspace string `help:"Workspace that owns the keys. Default: the keys with which APIs introspect, which have no workspace." placeholder:"SLUG"`
}

// Run lists API keys, those that are revoked or have ended among them.
func (c keyList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
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
		return c.printKeys(a, rows)
	})
}

type keyShow struct {
	output
	ID string `arg:"" help:"The key's id."`
}

// Run shows one API key.
func (c keyShow) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(_ context.Context, _ *server, k storage.APIKey, _ storage.Workspace) (storage.APIKey, string, error) {
			return k, "", nil
		},
	)
}

type keyUpdate struct {
	output
	ID    string  `arg:"" help:"The key's id."`
	Name  *string `help:"The key's name." placeholder:"NAME"`
	Note  *string `help:"Description; empty removes it." placeholder:"TEXT"`
	Scope *string `help:"Replaces all scopes, separated by spaces. A key never gains scopes." placeholder:"\"A B\""`
}

// Run changes what was given.
func (c keyUpdate) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *server, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			change := management.KeyChange{Name: c.Name, Note: c.Note}
			if c.Scope != nil {
				scopes := strings.Fields(*c.Scope)
				change.Scopes = &scopes
			}
			k, err := s.management.UpdateKey(ctx, management.CommandLine(w.ID), k.Owner(), w.Plan, k.ID, change)
			return k, "", err
		},
	)
}

type keyPause struct {
	output
	ID string `arg:"" help:"The key's id."`
}

// Run pauses an API key.
func (c keyPause) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *server, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			k, err := s.management.PauseKey(ctx, management.CommandLine(w.ID), k.Owner(), k.ID)
			return k, "", err
		},
	)
}

type keyResume struct {
	output
	ID string `arg:"" help:"The key's id."`
}

// Run lets an API key work again.
func (c keyResume) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *server, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			k, err := s.management.ResumeKey(ctx, management.CommandLine(w.ID), k.Owner(), k.ID)
			return k, "", err
		},
	)
}

type keyRevoke struct {
	output
	ID string `arg:"" help:"The key's id."`
}

// Run revokes an API key.
func (c keyRevoke) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *server, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			k, err := s.management.RevokeKey(ctx, management.CommandLine(w.ID), k.Owner(), k.ID)
			return k, "", err
		},
	)
}

type keyRotate struct {
	output
	ID    string       `arg:"" help:"The key's id."`
	Grace durationFlag `default:"24h" help:"How long the old key keeps working, at most 30d. Default: 24h." placeholder:"DURATION"`
}

// Run makes a key in the place of one and shows its text, this once.
func (c keyRotate) Run(ctx context.Context, a *app) error {
	return c.onKey(
		ctx,
		a,
		c.ID,
		func(ctx context.Context, s *server, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error) {
			fresh, text, err := s.management.RotateKey(ctx, management.CommandLine(w.ID), k.Owner(), k.ID, time.Duration(c.Grace))
			if errors.Is(err, apikey.ErrRotated) {
				err = fmt.Errorf(
					"API key %s is %s and can no longer be rotated; create a new one",
					k.ID,
					s.apikey.State(&k),
				)
			}
			return fresh, text, err
		},
	)
}

// onKey acts on one API key, in the workspace that it belongs to, and shows the key that act returns, with its text
// where that was just made.
func (o output) onKey(
	ctx context.Context,
	a *app,
	id string,
	act func(ctx context.Context, s *server, k storage.APIKey, w storage.Workspace) (storage.APIKey, string, error),
) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		k, err := s.keyOfKind(
			ctx,
			storage.KindAPIKey,
			id,
			"API key",
			"doorward key list shows those that introspect, and with --workspace SLUG those of a workspace",
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
		k, text, err := act(ctx, s, k, w)
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("API key %s is revoked permanently; create a new one", id)
		}
		if err != nil {
			return invalid(err)
		}
		row := newKeyJSON(s, &k)
		row.Key, row.Workspace = text, w.Slug
		if row.Requests, err = s.requestsOf(ctx, &k); err != nil {
			return err
		}
		before, err := s.store.KeysRotatedInto(ctx, k.Owner(), k.ID)
		if err != nil {
			return fmt.Errorf("look up what the key replaces: %w", err)
		}
		for _, old := range before {
			if old.Live(s.store.Now()) {
				row.Replaces = append(
					row.Replaces,
					replacedJSON{ID: old.ID, Tail: old.Tail, ExpiresAt: seconds(old.ExpiresAt)},
				)
			}
		}
		return o.printKey(a, row)
	})
}

// keyOfKind finds an API key or a personal access token, or says that it is missing.
func (s *server) keyOfKind(ctx context.Context, kind, id, called, look string) (storage.APIKey, error) {
	k, err := s.store.KeyByID(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && k.Kind != kind:
		return k, missing(fmt.Sprintf("there is no %s with the id %s; %s", called, input.Quote(id), look))
	case err != nil:
		return k, fmt.Errorf("look up the %s: %w", called, err)
	}
	return k, nil
}

// keysOf lists all keys or personal access tokens of an owner, the newest first.
func (s *server) keysOf(ctx context.Context, owner storage.KeyOwner) ([]keyJSON, error) {
	rows := []keyJSON{}
	for filter := (storage.KeyFilter{Limit: pageSize}); ; {
		page, err := s.store.Keys(ctx, owner, filter)
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		for _, k := range page {
			rows = append(rows, newKeyJSON(s, &k))
			filter.After = k.ID
		}
		if len(page) < pageSize {
			return rows, nil
		}
	}
}

// keyJSON is an API key or a personal access token for scripts.
type keyJSON struct {
	ID           string         `json:"id"`
	Key          string         `json:"key,omitempty"`   // only where it was just made
	Token        string         `json:"token,omitempty"` // likewise, of a personal access token
	Name         string         `json:"name"`
	Note         string         `json:"note,omitempty"`
	WorkspaceID  string         `json:"workspace_id,omitempty"`
	Workspace    string         `json:"workspace,omitempty"`
	UserID       string         `json:"user_id,omitempty"`
	Role         string         `json:"role,omitempty"`
	Resource     string         `json:"resource"`
	Environment  string         `json:"environment,omitempty"`
	Scope        string         `json:"scope"`
	Plan         string         `json:"plan,omitempty"`
	RateLimit    int64          `json:"rate_limit,omitempty"`
	Addresses    []string       `json:"addresses,omitempty"`
	Prefix       string         `json:"prefix"`
	Tail         string         `json:"tail"`
	State        string         `json:"state"`
	PausedBy     string         `json:"paused_by,omitempty"` // administrator, user, or a role in its workspace
	CreatedAt    time.Time      `json:"created_at"`
	ExpiresAt    *time.Time     `json:"expires_at,omitempty"`
	LastUsedAt   *time.Time     `json:"last_used_at,omitempty"`
	LastUsedFrom string         `json:"last_used_from,omitempty"`
	RotatedInto  string         `json:"rotated_into,omitempty"`
	Replaces     []replacedJSON `json:"replaces,omitempty"` // what still works beside it
	Requests     *requestsJSON  `json:"requests,omitempty"` // where there were some
}

// requestsJSON is how often a key was used in the last 30 days, and the last times.
type requestsJSON struct {
	Allowed int64         `json:"allowed"`
	Limited int64         `json:"limited"` // refused by a limit
	Refused int64         `json:"refused"` // by anything else
	Last    []requestJSON `json:"last"`    // the newest first
}

// requestJSON is one request, with why it was refused.
type requestJSON struct {
	At        time.Time `json:"at"`
	Action    string    `json:"action"`
	Status    int       `json:"status"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id"`
	Address   string    `json:"address,omitempty"`
}

// shownRequests is how many of a key's last requests are shown.
const shownRequests = 10

// requestsOf reads how a key was used; nil where it was not. What a running server has counted it writes every five seconds.
func (s *server) requestsOf(ctx context.Context, k *storage.APIKey) (*requestsJSON, error) {
	r := requestsJSON{Last: []requestJSON{}}
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
		r.Last = append(
			r.Last,
			requestJSON{
				At:        seconds(x.At),
				Action:    x.Action,
				Status:    x.Status,
				Reason:    x.Reason,
				RequestID: x.RequestID,
				Address:   x.Address,
			},
		)
	}
	if r.Allowed+r.Limited+r.Refused == 0 && len(r.Last) == 0 {
		return nil, nil
	}
	return &r, nil
}

// replacedJSON is a key whose place another takes.
type replacedJSON struct {
	ID        string    `json:"id"`
	Tail      string    `json:"tail"`
	ExpiresAt time.Time `json:"expires_at"`
}

func newKeyJSON(s *server, k *storage.APIKey) keyJSON {
	return keyJSON{
		ID:          k.ID,
		Name:        k.Name,
		Note:        k.Note,
		WorkspaceID: k.WorkspaceID,
		UserID:      k.UserID,
		Role:        k.Role,
		Resource:    k.Resource,
		Environment: k.Environment,
		Scope:       k.Scopes.String(),
		Plan:        k.Plan,
		RateLimit:   k.RateLimit,
		Addresses:   k.Addresses,
		Prefix:      k.Prefix,
		Tail:        k.Tail,
		State:       s.apikey.State(k),
		PausedBy:    k.PausedBy,
		CreatedAt: seconds(
			k.CreatedAt,
		),
		ExpiresAt:    secondsOrNever(k.ExpiresAt),
		LastUsedAt:   secondsOrNever(k.LastUsedAt),
		LastUsedFrom: k.LastUsedFrom,
		RotatedInto:  k.RotatedInto,
	}
}

// secondsOrNever is a moment that may be never.
func secondsOrNever(t storage.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	at := seconds(t)
	return &at
}

// dayOf is a moment in a table.
func dayOf(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Format(time.DateOnly)
}

// printKeys lists keys as a table.
func (o output) printKeys(a *app, rows []keyJSON) error {
	return o.print(a, rows, func(w io.Writer) {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "ID\tNAME\tTEXT\tSCOPE\tSTATE\tLAST USED\tENDS")
		for _, row := range rows {
			_, _ = fmt.Fprintf(
				table,
				"%s\t%s\t%s…%s\t%s\t%s\t%s\t%s\n",
				row.ID,
				row.Name,
				row.Prefix,
				row.Tail,
				row.Scope,
				row.State,
				dayOf(row.LastUsedAt),
				dayOf(row.ExpiresAt),
			)
		}
		_ = table.Flush()
	})
}

// printKey shows a key, and its text where it was just made.
func (o output) printKey(a *app, k keyJSON) error {
	return o.print(a, k, func(w io.Writer) {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		row := func(name, value string) {
			if value != "" {
				_, _ = fmt.Fprintf(table, "%s\t%s\n", name, value)
			}
		}
		at := func(name string, t *time.Time) {
			if t != nil {
				row(name, t.Format(time.RFC3339))
			}
		}
		row("id", k.ID)
		row("key", k.Key)
		row("token", k.Token)
		row("name", k.Name)
		row("note", strings.ReplaceAll(k.Note, "\n", " "))
		row("workspace", k.Workspace)
		row("user", k.UserID)
		row("role", k.Role)
		row("resource", k.Resource)
		row("environment", k.Environment)
		row("scope", k.Scope)
		row("plan", k.Plan)
		if k.RateLimit > 0 {
			row("rate limit", strconv.FormatInt(k.RateLimit, 10)+" an hour")
		}
		row("addresses", strings.Join(k.Addresses, " "))
		row("text", k.Prefix+"…"+k.Tail)
		state := k.State
		if k.PausedBy != "" {
			state += " by " + pausedBy(k.PausedBy)
		}
		row("state", state)
		at("created", &k.CreatedAt)
		at("ends", k.ExpiresAt)
		at("last used", k.LastUsedAt)
		row("from", k.LastUsedFrom)
		row("rotated into", k.RotatedInto)
		for _, old := range k.Replaces {
			row("replaces", old.ID+" (…"+old.Tail+"), which works until "+old.ExpiresAt.Format(time.RFC3339))
		}
		if r := k.Requests; r != nil {
			row("30 days", fmt.Sprintf("%d allowed, %d over a limit, %d refused", r.Allowed, r.Limited, r.Refused))
			for _, x := range r.Last {
				row(
					"request",
					strings.TrimSpace(
						fmt.Sprintf(
							"%s  %s  %d  %s  %s",
							x.At.Format(time.RFC3339),
							x.Action,
							x.Status,
							x.RequestID,
							x.Reason,
						),
					),
				)
			}
		}
		_ = table.Flush()
		switch {
		case k.Key != "":
			_, _ = fmt.Fprintln(w, "\nThe key is shown only now.")
		case k.Token != "":
			_, _ = fmt.Fprintln(w, "\nThe token is shown only now.")
		}
	})
}

// pausedBy says who paused a key.
func pausedBy(by string) string {
	switch by {
	case management.StoppedByAdministrator:
		return "an administrator of this server"
	case management.StoppedByUser:
		return "its user"
	}
	return "an " + by + " of the workspace"
}
