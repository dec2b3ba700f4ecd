package main

import (
	"context"
	"encoding/json"
	"fmt"

	"doorward/oauth"
)

type introspectCommand struct {
	output
	Token     string  `arg:"" help:"The credential, or - to read it from standard input, where other users cannot see it."`
	Workspace *string `help:"Workspace to check a personal access token in. If omitted, the response has no role." placeholder:"SLUG"`
}

// Run prints the introspection response for a credential (RFC 7662, section 2.2). It is always JSON, and has the reason
// if the credential is not active.
func (i introspectCommand) Run(ctx context.Context, a *app) error {
	if i.Token == "-" {
		var err error
		if i.Token, err = a.readLine("token"); err != nil {
			return err
		}
	}
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		answer, reason, err := s.oauth.IntrospectCredential(ctx, i.Token, i.Workspace)
		if err != nil {
			return fmt.Errorf("introspect: %w", err)
		}
		encoder := json.NewEncoder(a.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			oauth.Introspection
			Reason string `json:"reason,omitempty"` // why it is not active; the endpoint does not say
		}{answer, reason})
	})
}
