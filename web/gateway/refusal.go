package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"doorward/oauth/bearer"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Kind is what a request is refused for.
type Kind int

// The kinds of refusals.
const (
	Missing          Kind = iota // no credential was sent
	Invalid                      // what was sent never was a credential here, or was revoked
	Expired                      // the credential's time is over
	StepUp                       // the person must sign in again first (RFC 9470)
	Forbidden                    // the credential may not do this
	Limited                      // too many requests
	BadRequest                   // the request is not well-formed, or asks for what cannot be
	NotFound                     // there is nothing, or nothing that the caller may know of
	MethodNotAllowed             //
	Conflict                     // it does not fit what is there
	TooLarge                     // the body
	MediaType                    // the body is not JSON
	Failed                       // a fault of the server
	Unavailable                  // a part of it is away
	BadGateway                   // the API behind the gateway cannot be reached
	GatewayTimeout               // it did not answer in time
)

// StatusExpired is the status that some vendors promised for an expired access token; it has no name in HTTP.
const StatusExpired = 419

var statuses = map[Kind]int{
	Missing:          401,
	Invalid:          401,
	Expired:          401,
	StepUp:           403,
	Forbidden:        403,
	Limited:          429,
	BadRequest:       400,
	NotFound:         404,
	MethodNotAllowed: 405,
	Conflict:         409,
	TooLarge:         413,
	MediaType:        415,
	Failed:           500,
	Unavailable:      503,
	BadGateway:       502,
	GatewayTimeout:   504,
}

// Refusal is why a request is not served, before it has a shape.
type Refusal struct {
	Kind   Kind
	Status int    // zero: the kind's
	Detail string // one sentence that says what to do
	// KeyID is the id of the key that was sent, if this server issued it; a guess reveals no id.
	KeyID       string
	AccessToken bool      // what was sent is one, for which Shape.ExpiredStatus counts
	ExpiredAt   time.Time // of an expired credential
	Scope       string    // the one that is missing; empty where it is something else
	RetryAfter  time.Duration
	Cause       error // for the log alone
}

// Error implements error, for the log: without the detail, which may repeat what a stranger sent.
func (r *Refusal) Error() string {
	text := "refused: " + http.StatusText(statuses[r.Kind])
	if r.Cause != nil {
		text += ": " + r.Cause.Error()
	}
	return text
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// seconds is the wait in whole seconds, rounded up, at least one.
func (r *Refusal) seconds() int64 { return max(1, input.CeilSeconds(r.RetryAfter)) }

// AsRefusal makes an error into one that has a shape.
func AsRefusal(err error) *Refusal {
	var own *Refusal
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, bearer.ErrIssuerKeys) && !errors.Is(err, context.Canceled):
		return &Refusal{
			Kind: Unavailable, Detail: bearer.IssuerKeysUnavailable, RetryAfter: 5 * time.Second, Cause: err,
		}
	case errors.Is(err, storage.ErrUnavailable),
		errors.Is(err, context.Canceled),
		errors.Is(err, context.DeadlineExceeded):
		return &Refusal{
			Kind:       Unavailable,
			Detail:     "The server cannot reach its storage. Nothing is lost; try again shortly.",
			RetryAfter: time.Second,
			Cause:      err,
		}
	}
	return &Refusal{Kind: Failed, Detail: "The server failed. Send the request id to its operator.", Cause: err}
}

// TooMany is the refusal of a request that a limit does not admit.
func TooMany(taken limit.Result) *Refusal {
	return &Refusal{Kind: Limited, Detail: "Too many requests.", RetryAfter: taken.RetryAfter}
}

// MissingScope is the refusal of a credential that lacks a scope for a request, such as GET /v1/api-keys.
func MissingScope(scope, request string) *Refusal {
	return &Refusal{
		Kind:   Forbidden,
		Scope:  scope,
		Detail: "The permission " + scope + " is missing for " + request + "; use a credential that has it.",
	}
}

// NotTheirs is what is said about every workspace that a credential may not act in, whether there is such a one or not.
const NotTheirs = "The workspace does not exist, or you have no access to it."

// CredentialRefusal is the refusal of a credential that does not work, or not in the workspace that was named. Other
// errors than those that oauth.Server.Principal has for credentials come back as they are.
func CredentialRefusal(p *bearer.Principal, err error) error {
	refusal := &Refusal{AccessToken: p.Kind == bearer.KindAccessToken || p.Kind == bearer.KindForeignJWT, Cause: err}
	switch {
	case errors.Is(err, bearer.ErrUnknown):
		refusal.Kind = Invalid
	case errors.Is(err, bearer.ErrRevoked):
		refusal.Kind, refusal.KeyID = Invalid, p.KeyID
	case errors.Is(err, bearer.ErrExpired):
		refusal.Kind, refusal.ExpiredAt, refusal.Detail = Expired, p.ExpiresAt.Time(), "The API key has expired; "+
			"use another one."
		if refusal.AccessToken {
			refusal.Detail = "The access token has expired; refresh it."
		}
	case errors.Is(err, bearer.ErrSuspended):
		refusal.Kind, refusal.Detail = Forbidden, "The key is paused, or its app, user or workspace is disabled."
	case errors.Is(err, bearer.ErrWorkspace):
		refusal.Kind, refusal.Detail = Forbidden, NotTheirs
	default:
		return err
	}
	return refusal
}

// challenge is the value of WWW-Authenticate; empty: none. It says where the metadata are.
func (r *Refusal) challenge(metadata string) string {
	const realm = `Bearer realm="doorward"`
	code, more, description := "", "", r.Detail
	if r.Scope != "" && (r.Kind == Missing || r.Kind == Forbidden) {
		more = `, scope="` + quotable(r.Scope) + `"`
	}
	if metadata != "" {
		more += `, resource_metadata="` + quotable(metadata) + `"` // RFC 9728, section 5.1
	}
	switch r.Kind {
	case Missing:
		return realm + more // RFC 6750, section 3.1: without a credential there is nothing wrong with it
	case Invalid, Expired:
		// One sentence for all, so that a shape which tells them apart does so in its body alone.
		code, description = "invalid_token", "The credential is unknown, has expired or was revoked."
	case Forbidden:
		code = "insufficient_scope"
	case StepUp:
		code, more = "insufficient_user_authentication", `, max_age="300"`+more
	default:
		return ""
	}
	c := realm + `, error="` + code + `"`
	if description != "" {
		c += `, error_description="` + quotable(description) + `"`
	}
	return c + more
}

// quotable keeps of a text what RFC 6750, section 3 allows in an attribute.
func quotable(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, text)
}
