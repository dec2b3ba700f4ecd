package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"doorward/cmd/doorward/inspect"
	"doorward/config"
	"doorward/storage"
)

type checkCommand struct {
	output

	MailTo string `help:"Send a test email to this address, as configured." placeholder:"ADDRESS"`
}

// Run reports all faults, risks and what users cannot do, and fails if there are faults. With --mail-to it sends an
// email first.
func (o checkCommand) Run(ctx context.Context, a *app) error {
	r := &inspect.Report{Faults: []string{}, Risks: []string{}, Notes: []string{}}
	c, risks, err := config.Check(a.configFile, a.getenv)
	var wrong config.Faults
	switch {
	case errors.As(err, &wrong):
		for _, one := range wrong {
			r.Fault("%s", one)
		}
	case err != nil:
		return err
	default:
		r.Risks = append(r.Risks, risks...)
		r.Notes = append(r.Notes, c.Cannot()...)
		for _, one := range c.CheckProviders(ctx) {
			r.Fault("%s", one)
		}
		if o.MailTo != "" {
			if err := sendTestEmail(ctx, c, o.MailTo); err != nil {
				r.Fault("mail: %v", err)
			} else {
				r.Notes = append(r.Notes, "The test email to "+o.MailTo+" was passed on; see whether it arrives.")
			}
		}
		r.CheckDatabase(storage.System(ctx), c, commandConns)
	}
	err = o.print(a, r, func(w io.Writer) {
		for _, one := range r.Faults {
			_, _ = fmt.Fprintln(w, "fault:", one)
		}
		for _, one := range r.Risks {
			_, _ = fmt.Fprintln(w, "risk:", one)
		}
		for _, one := range r.Notes {
			_, _ = fmt.Fprintln(w, "note:", one)
		}
		if len(r.Faults)+len(r.Risks) == 0 {
			_, _ = fmt.Fprintln(w, "No faults, no risks.")
		}
	})
	if err == nil && len(r.Faults) > 0 {
		err = fmt.Errorf("check: %d faults, %d risks", len(r.Faults), len(r.Risks))
	}
	return err
}
