package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"doorward/cmd/doorward/guide"
	"doorward/config"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
)

type docsCommand struct {
	output
	Resource string `help:"API (resource) that the guide describes. Required if more than one is configured." placeholder:"ID"`
}

// Run prints the authentication guide for the customers of an API.
func (c docsCommand) Run(_ context.Context, a *app) error {
	conf, err := a.load(nil)
	if err != nil {
		return err
	}
	index, err := resourceIndex(conf, c.Resource)
	if err != nil {
		return err
	}
	page, err := guide.Page(conf, index)
	if err != nil {
		return err
	}
	return c.print(a, map[string]string{"markdown": page}, func(w io.Writer) { _, _ = io.WriteString(w, page) })
}

// resourceIndex finds a resource by its ID. Without an ID it finds the only one.
func resourceIndex(c config.Config, id string) (int, error) {
	ids := make([]string, len(c.Resources))
	for i, r := range c.Resources {
		ids[i] = r.ID
	}
	switch i := slices.IndexFunc(ids, func(x string) bool { return catalog.SameResource(x, id) }); {
	case id == "" && len(ids) == 1:
		return 0, nil
	case id == "":
		return 0, usageError{
			fmt.Errorf("there are several resources; add --resource with one of: %s", strings.Join(ids, ", ")),
		}
	case i < 0:
		return 0, usageError{
			fmt.Errorf("--resource: %s is not configured; use one of: %s", input.Quote(id), strings.Join(ids, ", ")),
		}
	default:
		return i, nil
	}
}
