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

// Sentences that the OpenAPI document shows too.
const (
	bodyTooLarge        = "The body is larger than 64 KiB."
	bodyNotJSON         = "Send the body as application/json."
	keyOfAnotherRequest = "This Idempotency-Key was used for a different request; use a new one."
)

func unknownMember(name string) *gateway.Refusal {
	return badRequest(fmt.Sprintf("Unknown member %q; leave it out.", shorten(name)))
}

// notFound is for objects that do not exist and those that the caller has no access to: it does not say which.
const notFound = "Not found, or you have no access to it."

// asRefusal is the one place where errors of other packages become answers.
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
		return &gateway.Refusal{Kind: gateway.Forbidden, Detail: forbidden.Message, Scope: forbidden.Scope}
	case errors.As(err, &tooMany):
		return &gateway.Refusal{Kind: gateway.Limited, RetryAfter: tooMany.RetryAfter, Cause: tooMany}
	case len(invalid) > 0 && errors.Is(err, storage.ErrExists):
		return conflict(sentence(invalid))
	case len(invalid) > 0:
		return badRequest(sentence(invalid))
	case errors.Is(err, apikey.ErrTooMany):
		return conflict(
			"The limit of " + strconv.Itoa(
				apikey.MaxKeys,
			) + " active keys is reached; revoke keys that are no longer used.",
		)
	case errors.Is(err, apikey.ErrRotated):
		return conflict("The key was already rotated, is revoked or has expired; create a new one.")
	case errors.Is(err, storage.ErrNotFound):
		return &gateway.Refusal{Kind: gateway.NotFound, Detail: notFound}
	}
	return gateway.AsRefusal(err)
}

// faults are the *oauth.Invalid errors that err joins.
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

// members are the names that fields have in JSON where package oauth calls them otherwise.
var members = map[string]string{
	"scope":         "scopes",
	"rate limit":    "rateLimit",
	"expires":       "expiresAt",
	"redirect_uris": "redirectUris",
	"grant":         "grants",
	"pkce":          "pkceOptional",
}

// sentence puts all faults into one.
func sentence(all []*input.Invalid) string {
	var parts []string
	for _, f := range all {
		name := f.Field
		if member, ok := members[name]; ok {
			name = member
		}
		parts = append(parts, name+" "+f.Message)
	}
	return strings.Join(parts, ". ") + "."
}
