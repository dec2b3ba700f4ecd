package api

import (
	"context"
	"errors"
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

// notFound is what is said about what is not there and about what is somebody else's.
const notFound = "There is nothing here, or nothing that is yours."

// asRefusal is the one place where errors of other packages become answers.
func asRefusal(err error) *gateway.Refusal {
	var own *gateway.Refusal
	var forbidden *management.Forbidden
	var tooMany *management.TooManyChanges
	invalid := faults(err)
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return gateway.AsRefusal(err)
	case errors.Is(err, management.ErrStale):
		return &gateway.Refusal{Kind: gateway.StepUp, Detail: "You signed in a while ago; sign in again, then repeat this."}
	case errors.As(err, &forbidden):
		return &gateway.Refusal{Kind: gateway.Forbidden, Detail: forbidden.Message, Scope: forbidden.Scope}
	case errors.As(err, &tooMany):
		return &gateway.Refusal{Kind: gateway.Limited, RetryAfter: tooMany.RetryAfter, Cause: tooMany}
	case len(invalid) > 0 && errors.Is(err, storage.ErrExists):
		return conflict(sentence(invalid))
	case len(invalid) > 0:
		return badRequest(sentence(invalid))
	case errors.Is(err, apikey.ErrTooMany):
		return conflict("There are " + strconv.Itoa(apikey.MaxKeys) + " live keys already; revoke those that nobody uses.")
	case errors.Is(err, apikey.ErrRotated):
		return conflict("The key was rotated before, is revoked, or has ended; make a new one.")
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
	"scope": "scopes", "rate limit": "rateLimit", "expires": "expiresAt", "redirect_uris": "redirectUris", "grant": "grants", "pkce": "pkceOptional",
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
