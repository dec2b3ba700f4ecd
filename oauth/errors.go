package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"doorward/oauth/bearer"
	"doorward/oauth/input"
	"doorward/storage"
)

// Error codes of RFC 6749, sections 4.1.2.1 and 5.2, RFC 8707, section 2, and OpenID Connect Core, section 3.1.2.6.
const (
	InvalidRequest          = "invalid_request"
	InvalidClient           = "invalid_client"
	InvalidGrant            = "invalid_grant"
	InvalidScope            = "invalid_scope"
	InvalidTarget           = "invalid_target"
	UnauthorizedClient      = "unauthorized_client"
	UnsupportedGrantType    = "unsupported_grant_type"
	UnsupportedResponseType = "unsupported_response_type"
	AccessDenied            = "access_denied"
	LoginRequired           = "login_required"
	ConsentRequired         = "consent_required"
	// AccountSelectionRequired is for a request that asks for an account selection and forbids the page for it.
	AccountSelectionRequired = "account_selection_required"
	RequestNotSupported      = "request_not_supported"
	RequestURINotSupported   = "request_uri_not_supported"
	// InvalidDPoPProof and UseDPoPNonce are of RFC 9449, sections 5 and 8.
	InvalidDPoPProof       = "invalid_dpop_proof"
	UseDPoPNonce           = "use_dpop_nonce"
	ServerError            = "server_error"
	TemporarilyUnavailable = "temporarily_unavailable"
)

// Error is the error that a client receives: an RFC's code and a description that says what to do. Cause is only for
// the log.
type Error struct {
	Code        string
	Description string
	Status      int           // zero: the status that the code implies
	RetryAfter  time.Duration // rounded up to seconds; zero: no header
	Challenge   string        // WWW-Authenticate; empty: no header
	Cause       error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Code + ": " + e.Cause.Error()
	}
	return e.Code + ": " + e.Description
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func (e *Error) status() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Code == InvalidClient:
		return http.StatusUnauthorized
	case e.Code == ServerError:
		return http.StatusInternalServerError
	case e.Code == TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// isRefusal reports whether the error says that something is wrong with the request, and not that it cannot be answered
// now.
func (e *Error) isRefusal() bool { return e.Code != TemporarilyUnavailable && e.Code != ServerError }

func badRequest(description string) *Error {
	return &Error{Code: InvalidRequest, Description: description}
}

// badGrant is the answer to any invalid code or refresh token. The description is always the same, so that it reveals
// nothing about another client's code or token.
func badGrant(cause error) *Error {
	return &Error{
		Code: InvalidGrant,
		Description: "The code or refresh token is not valid: it expired, was used, was revoked, or is not this " +
			"client's. Start a new authorization.",
		Cause: cause,
	}
}

// asError turns any error into one for the client. Fosite's codes outside the RFCs, its hints, and the messages of the
// database stay in the log.
func asError(err error) *Error {
	if errors.Is(err, bearer.ErrIssuerKeys) && !errors.Is(err, context.Canceled) {
		return &Error{
			Code: TemporarilyUnavailable, Description: bearer.IssuerKeysUnavailable, RetryAfter: bearer.IssuerKeysRetry,
			Cause: err,
		}
	}
	if errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) {
		return &Error{
			Code:        TemporarilyUnavailable,
			Description: "The server cannot reach its storage. Nothing is lost; try again shortly.",
			RetryAfter:  time.Second, Cause: fositeCause(err),
		}
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var many *TooManyDocuments
	if errors.As(err, &many) {
		return &Error{
			Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: many.RetryAfter,
			Description: "Too many metadata documents were fetched for this address; retry after the delay in the " +
				"Retry-After header.",
			Cause: err,
		}
	}
	var f *fosite.RFC6749Error
	if !errors.As(err, &f) {
		return &Error{
			Code: ServerError, Description: "Internal server error. Send the request ID to the operator.", Cause: err,
		}
	}
	switch f.ErrorField {
	case InvalidGrant, "token_inactive", "token_expired":
		return badGrant(err)
	case InvalidClient:
		return &Error{Code: InvalidClient, Description: clientRefused, Cause: err}
	case InvalidScope, "scope_not_granted":
		return &Error{Code: InvalidScope, Description: scopeNotRegistered, Cause: err}
	case UnauthorizedClient:
		return &Error{
			Code: UnauthorizedClient, Description: "The client is not registered for this grant type.", Cause: err,
		}
	case UnsupportedGrantType:
		return &Error{Code: UnsupportedGrantType, Description: "The grant type is not supported.", Cause: err}
	case UnsupportedResponseType:
		return &Error{Code: UnsupportedResponseType, Description: "The response type must be code.", Cause: err}
	case InvalidRequest, "unsupported_response_mode", "invalid_state":
		return &Error{Code: InvalidRequest, Description: "The request is not valid.", Cause: err}
	}
	return &Error{
		Code: ServerError, Description: "Internal server error. Send the request ID to the operator.", Cause: err,
	}
}

// fositeCause returns the cause that a fosite error hides: its own message names only a code.
func fositeCause(err error) error {
	var f *fosite.RFC6749Error
	if errors.As(err, &f) && f.Unwrap() != nil {
		return f.Unwrap()
	}
	return err
}

// writeError answers an OAuth endpoint's request (RFC 6749, section 5.2), with the request id beside the RFC's members.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	LogFieldsOf(r.Context()).RecordError(e)
	h := w.Header()
	switch {
	case e.Challenge != "":
		h.Set("WWW-Authenticate", e.Challenge)
	case e.status() == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", basicChallenge) // RFC 9110, section 15.5.2: even if the secret was in the body
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(e.RetryAfter))
	}
	writeJSON(w, e.status(), struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
		RequestID   string `json:"request_id,omitempty"`
	}{e.Code, printable(e.Description), h.Get("X-Request-Id")})
}

// printable replaces the characters that error_description must not contain (RFC 6749, section 5.2). A description may
// quote what the client sent.
func printable(description string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, description)
}

// retryAfter formats a wait in whole seconds, rounded up, at least one (RFC 9110, section 10.2.3).
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(max(1, input.CeilSeconds(d)), 10)
}

// writeJSON writes a response that no cache may store (RFC 6749, section 5.1).
func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	writeMarshaled(w, status, text)
}

// writeMarshaled is writeJSON for a body that is JSON already.
func writeMarshaled(w http.ResponseWriter, status int, text []byte) {
	maps.Copy(w.Header(), headersOfJSON)
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client may have gone away
}

// headersOfJSON are shared by all responses, which do not change them. Header.Set would allocate each value each time.
var headersOfJSON = http.Header{
	"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"},
	"X-Content-Type-Options": {"nosniff"},
}

// LogFields hold what this package adds to a request's log line and to the metrics. The web package puts empty ones
// into the context of each request; without them, the values are dropped.
type LogFields struct {
	ClientID  string // as the request names it, escaped and cut
	Subject   string
	GrantType string // one of the RFCs' names, never the client's own value
	ErrorCode string // of this package's constants
	Cause     error
}

type logFieldsKey struct{}

// WithLogFields puts f into ctx.
func WithLogFields(ctx context.Context, f *LogFields) context.Context {
	return context.WithValue(ctx, logFieldsKey{}, f)
}

// LogFieldsOf returns the fields of ctx, or new ones, which nothing reads, if ctx has none.
func LogFieldsOf(ctx context.Context) *LogFields {
	if f, ok := ctx.Value(logFieldsKey{}).(*LogFields); ok {
		return f
	}
	return &LogFields{}
}

// RecordError records the error that a client received, and its cause.
func (f *LogFields) RecordError(e *Error) {
	f.ErrorCode, f.Cause = e.Code, e.Cause
	if f.Cause == nil && e.Description != "" {
		f.Cause = errors.New(e.Description)
	}
}

// RecordClient records the client id that a request names, whether or not there is such a client. A value that cannot
// be a client id is left out: it may be a credential or password that was sent in the wrong place. Spaces and line ends
// around an id are kept, escaped, since they explain why it was not found. Of the URL of a metadata document, the query
// is left out.
func (f *LogFields) RecordClient(id string) {
	address, _, query := strings.Cut(id, "?")
	switch {
	case isDocumentID(id) && mayLogDocumentID(address):
		f.ClientID = address
		if query {
			f.ClientID += "?..."
		}
	case !isDocumentID(id) && mayLogClientID(strings.TrimSpace(id)) && len(id) <= 60:
		f.ClientID = strings.Trim(strconv.QuoteToASCII(id), `"`)
	default:
		f.ClientID = "(no client id)"
	}
}

func mayLogClientID(id string) bool {
	return !strings.HasPrefix(id, "dw_") && !bearer.HoldsSecret(id) && !strings.ContainsFunc(id, notOfClientIDs)
}

// mayLogDocumentID reports whether the URL of a metadata document is a valid one, without a credential.
func mayLogDocumentID(address string) bool {
	return input.IsSite(address) && !strings.Contains(address, "@") &&
		!slices.ContainsFunc(strings.Split(address, "/"), bearer.HoldsSecret)
}

// notOfClientIDs reports whether no common server uses c in client ids.
func notOfClientIDs(c rune) bool {
	return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("_-.~:/", c)
}

// CallerGone reports whether err occurred because the caller closed the connection. ctx must be the request's. Our own
// time limits give context.DeadlineExceeded, and a server that aborts requests cancels ctx with another cause.
func CallerGone(ctx context.Context, err error) bool {
	return err != nil && errors.Is(err, context.Canceled) &&
		context.Cause(ctx) == context.Canceled //nolint:errorlint // a cause of its own may wrap it
}
