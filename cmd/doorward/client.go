package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"doorward/management"
	"doorward/oauth/input"
	"doorward/storage"
)

type clientCommand struct {
	Create  clientCreate  `cmd:"" help:"Create an app or, with --resource-server, an API that introspects tokens."`
	List    clientList    `cmd:"" help:"List all apps."`
	Show    clientShow    `cmd:"" help:"Show one app."`
	Update  clientUpdate  `cmd:"" help:"Update an app. Settings that you leave out stay unchanged."`
	Disable clientDisable `cmd:"" help:"Disable an app and its tokens."`
	Enable  clientEnable  `cmd:"" help:"Enable a disabled app."`
	Delete  clientDelete  `cmd:"" help:"Delete an app and everything issued to it."`
	Secret  struct {
		Rotate secretRotate `cmd:"" help:"Create a new secret; the old one keeps working for a grace period."`
	} `cmd:"" help:"The app's secret."`
}

type clientCreate struct {
	output
	Name           string   `required:"" help:"The app's name, as users see it." placeholder:"NAME"`
	Site           string   `help:"The app's home page." placeholder:"URL"`
	RedirectURI    []string `name:"redirect-uri" sep:"none" help:"Redirect URI; repeat for several." placeholder:"URL"`
	Scope          string   `help:"Scopes that the app can request, separated by spaces." placeholder:"\"A B\""`
	Resource       []string `sep:"none" help:"API (resource) of the app; repeat for several. Default: the first in the configuration." placeholder:"ID"`
	Grant          []string `sep:"none" help:"Grant type; repeat for several. Default with a redirect URI: authorization_code and refresh_token." placeholder:"GRANT"`
	Public         bool     `help:"Public client without a secret: an app on the user's device or in the browser."`
	PKCE           string   `name:"pkce" enum:"required,optional" default:"required" help:"Whether PKCE is required; optional is only for confidential apps that do not support it." placeholder:"required|optional"`
	FirstParty     bool     `help:"First-party app: users are not asked for consent."`
	Manages        bool     `help:"Your own dashboard: its access tokens can create keys, apps and members that outlive them."`
	ResourceServer bool     `help:"Resource server: an API that introspects the tokens for its --resource."`
	Workspace      string   `help:"Workspace that owns the app. Default: none, and only administrators see the app." placeholder:"SLUG"`
}

// Run registers a client and shows its secret, this once.
func (c clientCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		workspace, err := s.workspaceOfFlag(ctx, c.Workspace)
		if err != nil {
			return err
		}
		client, secret, err := s.management.CreateClient(ctx, management.CommandLine(workspace.ID), management.ClientSpec{
			Name:           c.Name,
			Site:           c.Site,
			RedirectURIs:   c.RedirectURI,
			Grants:         c.Grant,
			Scopes:         strings.Fields(c.Scope),
			Resources:      c.Resource,
			Public:         c.Public,
			PKCEOptional:   c.PKCE == "optional",
			FirstParty:     c.FirstParty,
			ResourceServer: c.ResourceServer,
			Verified:       false,
			Manages:        c.Manages,
			WorkspaceID:    workspace.ID,
			CreatedBy:      "",
			Administrator:  true,
		})
		if err != nil {
			return invalid(err)
		}
		return c.printClient(a, client, secret)
	})
}

type clientList struct{ output }

// Run lists all clients.
func (c clientList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		rows := []clientJSON{}
		for after := ""; ; {
			page, err := s.store.Clients(ctx, "", after, pageSize)
			if err != nil {
				return fmt.Errorf("list clients: %w", err)
			}
			for _, client := range page {
				rows = append(rows, newClientJSON(client, ""))
				after = client.ID
			}
			if len(page) < pageSize {
				break
			}
		}
		return c.print(a, rows, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "CLIENT ID\tNAME\tKIND\tSTATE")
			for _, row := range rows {
				_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.ClientID, row.Name, row.kind(), row.state())
			}
			_ = table.Flush()
		})
	})
}

type clientShow struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run shows one client.
func (c clientShow) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(context.Context, *server) error { return nil })
}

type clientUpdate struct {
	output
	ID          string   `arg:"" help:"The client_id."`
	Name        *string  `help:"The app's name, as users see it." placeholder:"NAME"`
	Site        *string  `help:"The app's home page; empty removes it." placeholder:"URL"`
	RedirectURI []string `name:"redirect-uri" sep:"none" help:"Replaces all redirect URIs; repeat for several." placeholder:"URL"`
	Scope       *string  `help:"Replaces all scopes, separated by spaces." placeholder:"\"A B\""`
	Resource    []string `sep:"none" help:"Replaces all resources; repeat for several." placeholder:"ID"`
	Grant       []string `sep:"none" help:"Replaces all grant types; repeat for several." placeholder:"GRANT"`
	PKCE        *string  `name:"pkce" enum:"required,optional" help:"Whether PKCE is required; optional is only for confidential apps that do not support it." placeholder:"required|optional"`
	FirstParty  *bool    `negatable:"" help:"First-party app: users are not asked for consent."`
	Manages     *bool    `negatable:"" help:"Your own dashboard: its access tokens can create keys, apps and members that outlive them."`
	Verified    *bool    `negatable:"" help:"Mark the app as verified; the consent page shows it."`
}

// Run changes what was given.
func (c clientUpdate) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(ctx context.Context, s *server) error {
		client, err := s.store.ClientByID(ctx, c.ID)
		if err != nil {
			return err
		}
		spec := management.SpecOf(client)
		spec.Administrator = true
		setIf(&spec.Name, c.Name)
		setIf(&spec.Site, c.Site)
		setIf(&spec.FirstParty, c.FirstParty)
		setIf(&spec.Verified, c.Verified)
		setIf(&spec.Manages, c.Manages)
		if c.Scope != nil {
			spec.Scopes = strings.Fields(*c.Scope)
		}
		if c.PKCE != nil {
			spec.PKCEOptional = *c.PKCE == "optional"
		}
		for dst, given := range map[*[]string][]string{&spec.RedirectURIs: c.RedirectURI, &spec.Resources: c.Resource, &spec.Grants: c.Grant} {
			if given != nil {
				*dst = given
			}
		}
		_, err = s.management.UpdateClient(ctx, management.CommandLine(""), c.ID, spec)
		return invalid(err)
	})
}

// setIf sets what was given.
func setIf[T any](dst, given *T) {
	if given != nil {
		*dst = *given
	}
}

type clientDisable struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run disables a client.
func (c clientDisable) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(ctx context.Context, s *server) error {
		return s.management.DisableClient(ctx, management.CommandLine(""), c.ID)
	})
}

type clientEnable struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run enables a client.
func (c clientEnable) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(ctx context.Context, s *server) error {
		return s.management.EnableClient(ctx, management.CommandLine(""), c.ID)
	})
}

type clientDelete struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run deletes a client and shows what it was.
func (c clientDelete) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		client, err := s.store.ClientByID(ctx, c.ID)
		if err == nil {
			err = s.management.DeleteClient(ctx, management.CommandLine(""), c.ID)
		}
		if err != nil {
			return noClient(c.ID, err)
		}
		return c.print(
			a,
			newClientJSON(client, ""),
			func(w io.Writer) { _, _ = fmt.Fprintf(w, "Deleted %s (%s).\n", client.ID, client.Name) },
		)
	})
}

type secretRotate struct {
	output
	ID    string       `arg:"" help:"The client_id."`
	Grace durationFlag `default:"24h" help:"How long the old secret keeps working, at most 30d. Default: 24h." placeholder:"DURATION"`
}

// Run makes a new secret and shows it, this once.
func (c secretRotate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		secret, _, err := s.management.RotateSecret(ctx, management.CommandLine(""), c.ID, time.Duration(c.Grace))
		if err != nil {
			return noClient(c.ID, invalid(err))
		}
		client, err := s.store.ClientByID(ctx, c.ID)
		if err != nil {
			return noClient(c.ID, err)
		}
		return c.printClient(a, client, secret)
	})
}

// pageSize is how many rows a listing reads at once.
const pageSize = 500

// administer runs an administrative command on the database of the server.
func (a *app) administer(ctx context.Context, act func(ctx context.Context, s *server) error) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.store.Close()
	return act(storage.WithActor(storage.System(ctx), &storage.Actor{Credential: "command"}), s)
}

// onClient acts on one client and shows how it is afterwards.
func (o output) onClient(ctx context.Context, a *app, id string, act func(ctx context.Context, s *server) error) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		if err := act(ctx, s); err != nil {
			return noClient(id, err)
		}
		client, err := s.store.ClientByID(ctx, id)
		if err != nil {
			return noClient(id, err)
		}
		shown := newClientJSON(client, "")
		if client.WorkspaceID != "" {
			w, err := s.store.WorkspaceByID(ctx, client.WorkspaceID)
			if err != nil {
				return fmt.Errorf("look up the workspace: %w", err)
			}
			shown.WorkspaceDisabled = !w.DisabledAt.IsZero()
		}
		return o.printClientJSON(a, shown)
	})
}

func noClient(id string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("there is no app %s; doorward client list shows all", input.Quote(id))
	}
	return err
}

// flagOfField is the flag that sets a field of a registration; those that stand alone on the command line have none.
var flagOfField = map[string]string{
	"name":          "--name",
	"site":          "--site",
	"redirect_uris": "--redirect-uri",
	"scope":         "--scope",
	"resource":      "--resource",
	"grant":         "--grant",
	"pkce":          "--pkce",
	"first_party":   "--first-party",
	"verified":      "--verified",
	"grace":         "--grace",
	"slug":          "--slug",
	"plan":          "--plan",
	"workspace":     "--workspace",
	"note":          "--note",
	"environment":   "--test",
	"rate limit":    "--rate-limit",
	"expires":       "--expires",
	"addresses":     "--address",
}

// invalid says of each thing wrong with a registration which flag it comes from, and what is not allowed.
func invalid(err error) error {
	var forbidden *management.Forbidden
	if errors.As(err, &forbidden) {
		return usageError{errors.New(forbidden.Message)}
	}
	if err == nil {
		return nil
	}
	lines := make([]string, 0, 1)
	for _, one := range input.Flatten(err) {
		var wrong *input.Invalid
		if !errors.As(one, &wrong) {
			return err
		}
		lines = append(lines, cmp.Or(flagOfField[wrong.Field], wrong.Field)+" "+wrong.Message)
	}
	return usageError{errors.New(strings.Join(lines, "\n"))}
}

// clientJSON is a client for scripts, by the names of RFC 7591, section 2 where it has them.
type clientJSON struct {
	ClientID       string   `json:"client_id"`
	ClientSecret   string   `json:"client_secret,omitempty"` // only where it was just made
	Name           string   `json:"client_name"`
	Site           string   `json:"client_uri,omitempty"`
	RedirectURIs   []string `json:"redirect_uris"`
	GrantTypes     []string `json:"grant_types"`
	Scope          string   `json:"scope"`
	Resources      []string `json:"resources"`
	Public         bool     `json:"public"`
	PKCE           string   `json:"pkce"`
	FirstParty     bool     `json:"first_party"`
	ResourceServer bool     `json:"resource_server"`
	Verified       bool     `json:"verified"`
	Manages        bool     `json:"manages"`
	Disabled       bool     `json:"disabled"`
	DisabledBy     string   `json:"disabled_by,omitempty"` // administrator, or a role in its workspace
	// WorkspaceDisabled: the client does not work while its workspace is disabled.
	WorkspaceDisabled bool         `json:"workspace_disabled,omitempty"`
	WorkspaceID       string       `json:"workspace_id,omitempty"`
	CreatedAt         time.Time    `json:"created_at"`
	Secrets           []secretJSON `json:"secrets,omitempty"`
}

// secretJSON tells the secrets of a client apart without showing them.
type secretJSON struct {
	Tail      string     `json:"tail"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

func newClientJSON(c storage.Client, secret string) clientJSON {
	row := clientJSON{
		ClientID:     c.ID,
		ClientSecret: secret,
		Name:         c.Name,
		Site:         c.Site,
		RedirectURIs: notNil(
			c.RedirectURIs,
		),
		GrantTypes:     notNil(c.GrantTypes),
		Scope:          c.Scopes.String(),
		Resources:      notNil(c.Resources),
		Public:         c.Public,
		PKCE:           "required",
		FirstParty:     c.FirstParty,
		ResourceServer: c.ResourceServer,
		Verified:       c.Verified,
		Manages:        c.Manages,
		Disabled:       !c.DisabledAt.IsZero(),
		DisabledBy:     c.DisabledBy,
		WorkspaceID:    c.WorkspaceID,
		CreatedAt:      seconds(c.CreatedAt),
		Secrets:        nil,
	}
	if c.PKCEOptional {
		row.PKCE = "optional"
	}
	for _, x := range c.Secrets {
		one := secretJSON{Tail: x.Tail, CreatedAt: seconds(x.CreatedAt), ExpiresAt: nil}
		if !x.ExpiresAt.IsZero() {
			at := seconds(x.ExpiresAt)
			one.ExpiresAt = &at
		}
		row.Secrets = append(row.Secrets, one)
	}
	return row
}

// notNil keeps an empty list from becoming null in JSON.
func notNil(list storage.List) []string { return append([]string{}, list...) }

// seconds is a time as people read it, UTC without fractions.
func seconds(t storage.Time) time.Time { return t.Time().UTC().Truncate(time.Second) }

func (c clientJSON) kind() string {
	switch {
	case c.ResourceServer:
		return "resource server"
	case c.Public:
		return "public"
	}
	return "confidential"
}

func (c clientJSON) state() string {
	if c.Disabled {
		return "disabled"
	}
	return "enabled"
}

// printClient shows a client, and its secret where it was just made.
func (o output) printClient(a *app, client storage.Client, secret string) error {
	return o.printClientJSON(a, newClientJSON(client, secret))
}

func (o output) printClientJSON(a *app, c clientJSON) error {
	return o.print(a, c, func(w io.Writer) {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		row := func(name, value string) {
			if value != "" {
				_, _ = fmt.Fprintf(table, "%s\t%s\n", name, value)
			}
		}
		row("client_id", c.ClientID)
		row("client_secret", c.ClientSecret)
		row("name", c.Name)
		row("site", c.Site)
		row("kind", c.kind())
		for _, uri := range c.RedirectURIs {
			row("redirect URI", uri)
		}
		row("grants", strings.Join(c.GrantTypes, " "))
		row("scope", c.Scope)
		row("resources", strings.Join(c.Resources, " "))
		if c.PKCE == "optional" {
			row("pkce", c.PKCE)
		}
		if c.FirstParty {
			row("first party", "yes")
		}
		if c.Verified {
			row("verified", "yes")
		}
		if c.WorkspaceID == "" {
			row("registered by", "the operator")
		}
		if c.Manages {
			row("manages", "yes")
		}
		state := c.state()
		if c.DisabledBy != "" {
			state += " by " + pausedBy(c.DisabledBy)
		}
		if c.WorkspaceDisabled {
			state += ", stopped with its workspace"
		}
		row("state", state)
		row("created", c.CreatedAt.Format(time.RFC3339))
		for _, x := range c.Secrets {
			until := ""
			if x.ExpiresAt != nil {
				until = ", until " + x.ExpiresAt.Format(time.RFC3339)
			}
			row("secret", "…"+x.Tail+", since "+x.CreatedAt.Format(time.RFC3339)+until)
		}
		_ = table.Flush()
		if c.ClientSecret != "" {
			_, _ = fmt.Fprintln(w, "\nThe secret is shown only now.")
		}
	})
}
