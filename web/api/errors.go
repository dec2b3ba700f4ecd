package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/web/gateway"
)

func badRequest(detail string) *gateway.Refusal {
	return &gateway.Refusal{Kind: gateway.BadRequest, Detail: detail}
}

func forbidden(detail string) *gateway.Refusal {
	return &gateway.Refusal{Kind: gateway.Forbidden, Detail: detail}
}

func conflict(detail string) *gateway.Refusal {
	return &gateway.Refusal{Kind: gateway.Conflict, Detail: detail}
}

// Details that are also examples in the OpenAPI document.
const (
	bodyTooLarge        = "The body is larger than 64 KiB."
	bodyNotJSON         = "Send the body as application/json."
	keyOfAnotherRequest = "This Idempotency-Key was used for a different request; use a new one."
)

func unknownMember(name string) *gateway.Refusal {
	return badRequest(fmt.Sprintf("Unknown member %q; leave it out.", shorten(name)))
}

// notFound is the detail for objects that do not exist and for those to which the caller has no access.
const notFound = "Not found, or you have no access to it."

// asRefusal turns errors of other packages into refusals.
func asRefusal(err error) *gateway.Refusal {
	var own *gateway.Refusal
	var forbidden *management.Forbidden
	var tooMany *management.TooManyChanges
	invalid := faults(err)
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, storage.ErrUnavailable),
		errors.Is(err, context.Canceled),
		errors.Is(err, context.DeadlineExceeded):
		return gateway.AsRefusal(err)
	case errors.Is(err, management.ErrStale):
		return &gateway.Refusal{
			Kind:   gateway.StepUp,
			Detail: "This needs a recent sign-in; sign in again, then repeat the request.",
		}
	case errors.As(err, &forbidden):
		return &gateway.Refusal{Kind: gateway.Forbidden, Detail: forbidden.Message.String(), Scope: forbidden.Scope}
	case errors.As(err, &tooMany):
		return &gateway.Refusal{Kind: gateway.Limited, RetryAfter: tooMany.RetryAfter, Cause: tooMany}
	case len(invalid) > 0 && errors.Is(err, storage.ErrExists):
		return conflict(sentence(invalid))
	case len(invalid) > 0:
		return badRequest(sentence(invalid))
	case errors.Is(err, apikey.ErrTooMany):
		limit := strconv.Itoa(apikey.MaxKeys)
		return conflict("The limit of " + limit + " active keys is reached; revoke keys that are no longer used.")
	case errors.Is(err, apikey.ErrRotated):
		return conflict("The key was already rotated, is revoked or has expired; create a new one.")
	case errors.Is(err, storage.ErrNotFound):
		return &gateway.Refusal{Kind: gateway.NotFound, Detail: notFound}
	}
	return gateway.AsRefusal(err)
}

// faults returns the *input.Invalid errors that err joins.
func faults(err error) []*input.Invalid {
	switch e := err.(type) { //nolint:errorlint // it unwraps by itself
	case *input.Invalid:
		return []*input.Invalid{e}
	case interface{ Unwrap() []error }:
		var all []*input.Invalid
		for _, one := range e.Unwrap() {
			all = append(all, faults(one)...)
		}
		return all
	case interface{ Unwrap() error }:
		return faults(e.Unwrap())
	}
	return nil
}

// members maps fields of input.Invalid to members in JSON, if the names differ.
var members = map[string]string{
	"scope":         "scopes",
	"rate limit":    "rateLimit",
	"expires":       "expiresAt",
	"redirect_uris": "redirectUris",
	"grant":         "grants",
	"pkce":          "pkceOptional",
}

// sentence joins all faults.
func sentence(all []*input.Invalid) string {
	var parts []string
	for _, f := range all {
		name := f.Field
		if member, ok := members[name]; ok {
			name = member
		}
		parts = append(parts, f.English(name))
	}
	return strings.Join(parts, ". ") + "."
}
