package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"doorward/cmd/doorward/show"
	"doorward/management"
	"doorward/oauth/input"
	"doorward/storage"
)

type clientCommand struct {
	Create  clientCreate  `cmd:"" help:"Register an app or, with --resource-server, a resource server (an API that introspects tokens)."`
	List    clientList    `cmd:"" help:"List all apps."`
	Show    clientShow    `cmd:"" help:"Show one app."`
	Update  clientUpdate  `cmd:"" help:"Update an app. Settings that you leave out stay unchanged."`
	Disable clientDisable `cmd:"" help:"Disable an app and its tokens."`
	Enable  clientEnable  `cmd:"" help:"Enable a disabled app."`
	Delete  clientDelete  `cmd:"" help:"Delete an app and everything issued to it."`
	Secret  struct {
		Rotate secretRotate `cmd:"" help:"Create a new secret; the old one keeps working for a grace period."`
	} `cmd:"" help:"The app's secret: rotate."`
}

type clientCreate struct {
	output
	Name           string   `required:"" help:"The app's name, as users see it." placeholder:"NAME"`
	Site           string   `help:"The app's home page." placeholder:"URL"`
	RedirectURI    []string `name:"redirect-uri" sep:"none" help:"Redirect URI; repeat for several." placeholder:"URL"`
	Scope          string   `help:"Scopes that the app can request, separated by spaces." placeholder:"\"A B\""`
	Resource       []string `sep:"none" help:"API (resource) that the app can call; repeat for several. Default: the first in the configuration." placeholder:"ID"`
	Grant          []string `sep:"none" help:"Grant type; repeat for several. Default with a redirect URI: authorization_code and refresh_token." placeholder:"GRANT"`
	Public         bool     `help:"Public client without a secret: an app on the user's device or in the browser."`
	PKCE           string   `name:"pkce" enum:"required,optional" default:"required" help:"Whether PKCE is required; optional is only for confidential apps that do not support it." placeholder:"required|optional"`
	FirstParty     bool     `help:"First-party app: users are not asked for consent."`
	Manages        bool     `help:"Trusted management app, such as your own dashboard: the keys, apps and members that it adds remain after its access ends."`
	ResourceServer bool     `help:"Resource server: an API that introspects the tokens for its --resource."`
	Workspace      string   `help:"Workspace that owns the app. Default: none, and only administrators see the app." placeholder:"SLUG"`
	pageFlags
	authFlags
}

// Run registers a client and prints it with its secret, which is not shown again.
func (c clientCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		workspace, err := s.workspaceOfFlag(ctx, c.Workspace)
		if err != nil {
			return err
		}
		spec := management.ClientSpec{
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
		}
		c.pageFlags.apply(&spec)
		if err := c.authFlags.apply(a, &spec); err != nil {
			return err
		}
		client, secret, err := s.management.CreateClient(ctx, management.CLI(workspace.ID), spec)
		if err != nil {
			return invalid(err)
		}
		return c.printClient(a, client, secret)
	})
}

type clientList struct{ output }

// Run lists all clients.
func (c clientList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		rows := []show.Client{}
		for after := ""; ; {
			page, err := s.store.Clients(ctx, "", after, pageSize)
			if err != nil {
				return fmt.Errorf("list clients: %w", err)
			}
			for _, client := range page {
				rows = append(rows, show.NewClient(client, ""))
				after = client.ID
			}
			if len(page) < pageSize {
				break
			}
		}
		return c.print(a, rows, func(w io.Writer) { show.Clients(w, rows) })
	})
}

type clientShow struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run shows one client.
func (c clientShow) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(context.Context, *services) error { return nil })
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
	Manages     *bool    `negatable:"" help:"Trusted management app, such as your own dashboard: the keys, apps and members that it adds remain after its access ends."`
	Verified    *bool    `negatable:"" help:"Mark the app as verified; the consent page shows it."`
	pageFlags
	authFlags
}

// Run changes the settings that were given.
func (c clientUpdate) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(ctx context.Context, s *services) error {
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
		replaceIf(&spec.RedirectURIs, c.RedirectURI)
		replaceIf(&spec.Resources, c.Resource)
		replaceIf(&spec.Grants, c.Grant)
		c.pageFlags.apply(&spec)
		if err := c.authFlags.apply(a, &spec); err != nil {
			return err
		}
		_, err = s.management.UpdateClient(ctx, management.CLI(""), c.ID, spec)
		return invalid(err)
	})
}

// pageFlags are the logo and the pages of an app. Their names are those of RFC 7591, section 2.
type pageFlags struct {
	LogoURI   *string `name:"logo-uri" help:"The https URL of the app's logo, which the consent page shows. Empty removes it." placeholder:"URL"`
	PolicyURI *string `name:"policy-uri" help:"The https URL of the app's privacy policy. Empty removes it." placeholder:"URL"`
	TOSURI    *string `name:"tos-uri" help:"The https URL of the app's terms of service. Empty removes it." placeholder:"URL"`
}

// apply sets what the flags gave.
func (f *pageFlags) apply(p *management.ClientSpec) {
	setIf(&p.LogoURI, f.LogoURI)
	setIf(&p.PolicyURI, f.PolicyURI)
	setIf(&p.TOSURI, f.TOSURI)
}

// replaceIf sets a list if a flag gave one.
func replaceIf(dst *[]string, given []string) {
	if given != nil {
		*dst = given
	}
}

// setIf sets a value if a flag gave one.
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
	return c.onClient(ctx, a, c.ID, func(ctx context.Context, s *services) error {
		return s.management.DisableClient(ctx, management.CLI(""), c.ID)
	})
}

type clientEnable struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run enables a client.
func (c clientEnable) Run(ctx context.Context, a *app) error {
	return c.onClient(ctx, a, c.ID, func(ctx context.Context, s *services) error {
		return s.management.EnableClient(ctx, management.CLI(""), c.ID)
	})
}

type clientDelete struct {
	output
	ID string `arg:"" help:"The client_id."`
}

// Run deletes a client.
func (c clientDelete) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		client, err := s.store.ClientByID(ctx, c.ID)
		if err == nil {
			err = s.management.DeleteClient(ctx, management.CLI(""), c.ID)
		}
		if err != nil {
			return noClient(c.ID, err)
		}
		return c.print(
			a,
			show.NewClient(client, ""),
			func(w io.Writer) { _, _ = fmt.Fprintf(w, "Deleted %s (%s).\n", client.ID, client.Name) },
		)
	})
}

type secretRotate struct {
	output
	ID    string       `arg:"" help:"The client_id."`
	Grace durationFlag `default:"24h" help:"How long the old secret keeps working, at most 30d. Default: 24h." placeholder:"DURATION"`
}

// Run creates a new client secret and prints it; it is not shown again.
func (c secretRotate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		secret, _, err := s.management.RotateSecret(ctx, management.CLI(""), c.ID, time.Duration(c.Grace))
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

// pageSize is how many rows a list command reads at a time.
const pageSize = 500

// administer runs an administrative command. Changes are recorded in the audit log as made by the CLI.
func (a *app) administer(ctx context.Context, act func(ctx context.Context, s *services) error) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.store.Close()
	defer a.settle(ctx, s)
	return act(storage.WithActor(storage.System(ctx), &storage.Actor{Credential: "command"}), s)
}

// onClient runs act on one client and prints the client.
func (o output) onClient(
	ctx context.Context, a *app, id string, act func(ctx context.Context, s *services) error,
) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		if err := act(ctx, s); err != nil {
			return noClient(id, err)
		}
		client, err := s.store.ClientByID(ctx, id)
		if err != nil {
			return noClient(id, err)
		}
		shown := show.NewClient(client, "")
		if client.WorkspaceID != "" {
			w, err := s.store.WorkspaceByID(ctx, client.WorkspaceID)
			if err != nil {
				return fmt.Errorf("look up the workspace: %w", err)
			}
			shown.WorkspaceDisabled = !w.DisabledAt.IsZero()
		}
		return o.print(a, shown, shown.Write)
	})
}

func noClient(id string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("there is no app with the client_id %s; to list all, run: doorward client list", input.Quote(id))
	}
	return err
}

// flagOfField is the flag that sets a field. Fields that are positional arguments have none.
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
	"uses":          "--uses",
	"addresses":     "--address",
	"logo_uri":      "--logo-uri",
	"policy_uri":    "--policy-uri",
	"tos_uri":       "--tos-uri",
}

// flagOf returns the flag that sets a field, or its name if it has no flag.
func flagOf(field string) string {
	if slices.Contains(authFields, field) {
		return "--" + strings.ReplaceAll(field, "_", "-")
	}
	return cmp.Or(flagOfField[field], field)
}

// invalid turns refusals and invalid fields into a usageError that names the flags, and returns other errors unchanged.
func invalid(err error) error {
	var forbidden *management.Forbidden
	if errors.As(err, &forbidden) {
		return usageError{errors.New(forbidden.Message.String())}
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
		lines = append(lines, wrong.English(flagOf(wrong.Field)))
	}
	return usageError{errors.New(strings.Join(lines, "\n"))}
}

// printClient shows an app, with its secret if it was just created.
func (o output) printClient(a *app, client storage.Client, secret string) error {
	row := show.NewClient(client, secret)
	return o.print(a, row, row.Write)
}
