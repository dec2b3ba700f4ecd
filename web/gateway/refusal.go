package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/dpop"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Kind classifies refusals. It decides the status and, in each Shape, the code and message. The zero value is Missing.
type Kind int

// The kinds of refusals.
const (
	Missing          Kind = iota // no credential was sent
	Invalid                      // the credential is unknown or revoked
	Expired                      // the credential has expired
	BadProof                     // the DPoP proof is missing or wrong
	StepUp                       // the user must sign in again first (RFC 9470)
	Forbidden                    // the credential may not do this
	Limited                      // too many requests
	BadRequest                   // the request is malformed or cannot be fulfilled
	NotFound                     // the object does not exist, or the caller has no access to it
	MethodNotAllowed             // the path does not support the method
	Conflict                     // the request conflicts with the current state
	TooLarge                     // the body is too large
	MediaType                    // the body is not JSON
	Failed                       // internal server error
	Unavailable                  // a dependency, such as the database, cannot be reached
	BadGateway                   // the API behind the gateway cannot be reached
	GatewayTimeout               // the API did not respond in time
)

// StatusExpired is the status that some vendors document for an expired access token. HTTP does not define it.
const StatusExpired = 419

var statuses = map[Kind]int{
	Missing:          401,
	Invalid:          401,
	Expired:          401,
	BadProof:         401,
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

// Refusal is why a request is refused. A Shape turns it into a response.
type Refusal struct {
	Kind   Kind
	Status int    // zero: the kind's
	Detail string // one sentence that says what is wrong and what to do
	// KeyID is the ID of the key that was sent, if this server issued it, so that guessing a key reveals no ID.
	KeyID       string
	AccessToken bool      // the credential is an access token, to which Shape.ExpiredStatus applies
	ExpiredAt   time.Time // of an expired credential
	Scope       string    // the missing scope; empty if something else is wrong
	Proof       string    // error code of BadProof (RFC 9449, sections 7.1 and 9)
	DPoP        bool      // the credential was sent with the scheme DPoP; see For
	RetryAfter  time.Duration
	Cause       error // only for the log
}

// Error implements error, for the log. It omits the detail, which may contain text from the request.
func (r *Refusal) Error() string {
	text := "refused: " + http.StatusText(statuses[r.Kind])
	if r.Cause != nil {
		text += ": " + r.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// seconds returns RetryAfter in seconds, rounded up to at least one.
func (r *Refusal) seconds() int64 { return max(1, input.CeilSeconds(r.RetryAfter)) }

// AsRefusal turns an error into a refusal.
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
	return &Refusal{Kind: Failed, Detail: "Internal server error. Send the request ID to the operator.", Cause: err}
}

// TooMany refuses a request that exceeds a limit.
func TooMany(taken limit.Result) *Refusal {
	return &Refusal{Kind: Limited, Detail: "Too many requests.", RetryAfter: taken.RetryAfter}
}

// MissingScope refuses a credential without the scope that a request, such as GET /v1/api-keys, needs.
func MissingScope(scope, request string) *Refusal {
	return &Refusal{
		Kind:   Forbidden,
		Scope:  scope,
		Detail: request + " requires the " + scope + " permission; use a credential that has it.",
	}
}

// NoWorkspaceAccess is the detail for a workspace in which a credential may not act, whether or not it exists.
const NoWorkspaceAccess = "The workspace does not exist, or you have no access to it."

// proofRefusal refuses a DPoP proof, which the caller is told why: it made the proof.
func proofRefusal(err error) *Refusal {
	if errors.Is(err, dpop.ErrNonce) {
		return &Refusal{
			Kind: BadProof, Proof: oauth.UseDPoPNonce, Cause: err,
			Detail: "The DPoP proof needs the nonce in the DPoP-Nonce header; make another proof with it.",
		}
	}
	return &Refusal{Kind: BadProof, Proof: oauth.InvalidDPoPProof, Cause: err, Detail: dpop.Sentence(err)}
}

// For returns the refusal for a request with these headers: its challenge begins with the scheme that the request used.
func (r *Refusal) For(request http.Header) *Refusal {
	if !dpop.InUse(request) {
		return r
	}
	own := *r
	own.DPoP = true
	return &own
}

// CredentialRefusal turns an error about a credential (bearer.ErrUnknown, ErrRevoked, ErrExpired, ErrSuspended or
// ErrWorkspace) into a refusal, and returns other errors unchanged.
func CredentialRefusal(p *bearer.Principal, err error) error {
	refusal := &Refusal{AccessToken: p.Kind == bearer.KindAccessToken || p.Kind == bearer.KindForeignJWT, Cause: err}
	switch {
	case errors.Is(err, bearer.ErrUnknown):
		refusal.Kind = Invalid
	case errors.Is(err, bearer.ErrRevoked):
		refusal.Kind, refusal.KeyID = Invalid, p.KeyID
	case errors.Is(err, bearer.ErrExpired):
		refusal.Kind, refusal.ExpiredAt = Expired, p.ExpiresAt.Time()
		refusal.Detail = "The API key has expired; use another one."
		if refusal.AccessToken {
			refusal.Detail = "The access token has expired; refresh it."
		}
	case errors.Is(err, bearer.ErrSuspended):
		refusal.Kind, refusal.Detail = Forbidden, "The credential is paused, or its app, user or workspace is disabled."
	case errors.Is(err, bearer.ErrWorkspace):
		refusal.Kind, refusal.Detail = Forbidden, NoWorkspaceAccess
	default:
		return err
	}
	return refusal
}

// challenges returns the values of WWW-Authenticate, with the URL of the metadata; none: no header. The first one is for
// the scheme that the request used. A request without a valid credential is also told the other one.
func (r *Refusal) challenges(metadata string) []string {
	algorithms := `algs="` + dpop.AlgorithmNames() + `"`
	if r.Kind == BadProof {
		// The only challenge: clients that look for use_dpop_nonce expect no other.
		return []string{
			`DPoP realm="doorward", error="` + r.Proof + `", error_description="` + quotable(r.Detail) + `", ` + algorithms,
		}
	}
	parameters, ok := r.challenge(metadata)
	if !ok {
		return nil
	}
	own, other := `Bearer realm="doorward"`+parameters, `DPoP realm="doorward", `+algorithms
	if r.DPoP {
		own, other = `DPoP realm="doorward"`+parameters+", "+algorithms, `Bearer realm="doorward"`
	}
	if r.Kind != Missing && r.Kind != Invalid && r.Kind != Expired {
		return []string{own}
	}
	return []string{own, other}
}

// challenge returns the parameters of a challenge after the realm (RFC 6750, section 3; RFC 9470, section 3). ok is
// false if there is none for this refusal.
func (r *Refusal) challenge(metadata string) (parameters string, ok bool) {
	code, more, description := "", "", r.Detail
	if r.Scope != "" && (r.Kind == Missing || r.Kind == Forbidden) {
		more = `, scope="` + quotable(r.Scope) + `"`
	}
	if metadata != "" {
		more += `, resource_metadata="` + quotable(metadata) + `"` // RFC 9728, section 5.1
	}
	switch r.Kind {
	case Missing:
		return more, true // RFC 6750, section 3.1: a request without a credential gets no error code
	case Invalid, Expired:
		// The same sentence for all of these, so that only the body of some shapes tells them apart.
		code, description = "invalid_token", "The credential is unknown, has expired or was revoked."
	case Forbidden:
		code = "insufficient_scope"
	case StepUp:
		code, more = "insufficient_user_authentication", `, max_age="300"`+more
	default:
		return "", false
	}
	parameters = `, error="` + code + `"`
	if description != "" {
		parameters += `, error_description="` + quotable(description) + `"`
	}
	return parameters + more, true
}

// quotable replaces characters that RFC 6750, section 3 does not allow in an attribute.
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
