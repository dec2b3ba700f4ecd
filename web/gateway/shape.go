package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
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
	UpstreamAway                 // the API behind the gateway cannot be reached
	UpstreamSlow                 // it did not answer in time
)

// StatusExpired is the status that some vendors promised for an expired access token; it has no name in HTTP.
const StatusExpired = 419

var statuses = map[Kind]int{
	Missing: 401, Invalid: 401, Expired: 401, StepUp: 403, Forbidden: 403, Limited: 429, BadRequest: 400, NotFound: 404, MethodNotAllowed: 405,
	Conflict: 409, TooLarge: 413, MediaType: 415, Failed: 500, Unavailable: 503,
	UpstreamAway: 502, UpstreamSlow: 504,
}

// Refusal is why a request is not served, before it has a shape.
type Refusal struct {
	Kind   Kind
	Status int    // zero: the kind's
	Detail string // one sentence that says what to do
	// KeyID names the key that was sent, where it once was a real one; whoever guesses learns no id.
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
func (r *Refusal) seconds() int64 { return max(1, int64((r.RetryAfter+time.Second-1)/time.Second)) }

// Shape is how the refusals of one API look. The zero value is the flat one in its own words.
type Shape struct {
	Name string // flat, nested or envelope; empty: flat
	// Texts take the place of the shape's own words; empty fields do not.
	Texts Texts
	// ExpiredStatus is that of an expired access token: 401, as is zero, or 419.
	ExpiredStatus int
	// Metadata is where the API's protected resource metadata are (RFC 9728 section 5.1); empty: nowhere.
	Metadata string
}

// Texts are the messages of 401, of an expired credential, and of 403.
type Texts struct{ Unauthorized, Expired, Forbidden string }

// Flat is the body of the flat shape.
type Flat struct {
	Error      string `json:"error" doc:"The name of the status."`
	Message    string `json:"message" doc:"What is wrong, and what to do."`
	StatusCode int    `json:"statusCode" doc:"The status of the answer."`
	RetryAfter int64  `json:"retryAfter,omitempty" doc:"Seconds to wait, as in the header Retry-After."`
}

// Nested is the body of the nested shape.
type Nested struct {
	Error NestedError `json:"error"`
}

// NestedError is the one member of Nested.
type NestedError struct {
	Code       string `json:"code" doc:"For programs."`
	Message    string `json:"message" doc:"What is wrong."`
	Details    string `json:"details" doc:"What exactly, and what to do."`
	RetryAfter int64  `json:"retryAfter,omitempty" doc:"Seconds to wait, as in the header Retry-After."`
}

// Envelope is the body of the envelope shape.
type Envelope struct {
	Success bool          `json:"success" doc:"Always false."`
	Error   EnvelopeError `json:"error"`
}

// EnvelopeError says what is wrong in an Envelope.
type EnvelopeError struct {
	Code    string          `json:"code" doc:"For programs."`
	Message string          `json:"message" doc:"What is wrong, and what to do."`
	Details EnvelopeDetails `json:"details"`
}

// EnvelopeDetails are the facts about an error; which of them there are depends on the code.
type EnvelopeDetails struct {
	Header        string `json:"header,omitempty" doc:"The header in which a key is missing."`
	KeyID         string `json:"key_id,omitempty" doc:"The key that was sent, where it once was a real one."`
	ExpiredAt     string `json:"expired_at,omitempty" format:"date-time" doc:"When the key expired."`
	RequiredScope string `json:"required_scope,omitempty" doc:"The permission that is missing."`
	Reason        string `json:"reason,omitempty" doc:"What to do."`
	RetryAfter    int64  `json:"retry_after,omitempty" doc:"Seconds to wait, as in the header Retry-After."`
}

// words are those of a kind in one shape: the code, and the message where it does not depend on the case.
type words struct{ code, message string }

// shape is one entry of the table below.
type shape struct {
	texts Texts
	words map[Kind]words
	body  func(status int, w words, r *Refusal) any
}

// ShapeNames are the names of all shapes; the first is the default.
var ShapeNames = []string{"flat", "nested", "envelope"}

// shapes are all shapes by name. What they say word for word is promised by vendors.
var shapes = map[string]shape{
	"flat": {
		texts: Texts{Unauthorized: "Invalid or missing API key", Expired: "Invalid or missing API key", Forbidden: "Insufficient permissions"},
		words: map[Kind]words{Limited: {"", "Rate limit exceeded"}},
		body: func(status int, w words, r *Refusal) any {
			name := http.StatusText(status)
			if status == StatusExpired {
				name = "Token Expired"
			}
			b := Flat{Error: name, Message: w.message, StatusCode: status}
			if b.Message == "" {
				b.Message = r.Detail
			}
			if r.Kind == Limited {
				b.RetryAfter = r.seconds()
			}
			return b
		},
	},
	"nested": {
		texts: Texts{Unauthorized: "Invalid API key", Expired: "Invalid API key", Forbidden: "Insufficient permissions"},
		words: map[Kind]words{
			Missing:          {"unauthorized", ""},
			Invalid:          {"unauthorized", ""},
			Expired:          {"unauthorized", ""},
			StepUp:           {"step_up_required", "Sign in again"},
			Forbidden:        {"forbidden", ""},
			Limited:          {"rate_limit_exceeded", "Rate limit exceeded"},
			BadRequest:       {"invalid_request", "The request is not valid"},
			NotFound:         {"not_found", "Not found"},
			MethodNotAllowed: {"method_not_allowed", "Method not allowed"},
			Conflict:         {"conflict", "In conflict with what is there"},
			TooLarge:         {"payload_too_large", "The body is too large"},
			MediaType:        {"unsupported_media_type", "Unsupported media type"},
			Failed:           {"internal_error", "The server failed"},
			Unavailable:      {"service_unavailable", "Not available right now"},
			UpstreamAway:     {"bad_gateway", "The API cannot be reached"},
			UpstreamSlow:     {"gateway_timeout", "The API did not answer in time"},
		},
		body: func(_ int, w words, r *Refusal) any {
			b := NestedError{Code: w.code, Message: w.message, Details: r.Detail}
			switch r.Kind { //nolint:exhaustive // the others have the case's own sentence
			case Missing:
				b.Details = or(r.Detail, "No API key was sent; send it in the header Authorization, after the word Bearer.")
			case Invalid:
				b.Details = "The API key is invalid or has been revoked."
			case Limited:
				b.RetryAfter = r.seconds()
				b.Details = "Try again in " + strconv.FormatInt(b.RetryAfter, 10) + " seconds."
			}
			return Nested{Error: b}
		},
	},
	"envelope": {
		texts: Texts{Unauthorized: "The provided API key is invalid", Expired: "The API key has expired", Forbidden: "Insufficient permissions"},
		words: map[Kind]words{
			Missing:          {"MISSING_API_KEY", "API key is required"},
			Invalid:          {"INVALID_API_KEY", ""},
			Expired:          {"EXPIRED_API_KEY", ""},
			StepUp:           {"STEP_UP_REQUIRED", ""},
			Forbidden:        {"INSUFFICIENT_PERMISSIONS", ""},
			Limited:          {"RATE_LIMIT_EXCEEDED", "Rate limit exceeded"},
			BadRequest:       {"INVALID_REQUEST", ""},
			NotFound:         {"NOT_FOUND", ""},
			MethodNotAllowed: {"METHOD_NOT_ALLOWED", ""},
			Conflict:         {"CONFLICT", ""},
			TooLarge:         {"PAYLOAD_TOO_LARGE", ""},
			MediaType:        {"UNSUPPORTED_MEDIA_TYPE", ""},
			Failed:           {"INTERNAL_ERROR", ""},
			Unavailable:      {"SERVICE_UNAVAILABLE", ""},
			UpstreamAway:     {"BAD_GATEWAY", ""},
			UpstreamSlow:     {"GATEWAY_TIMEOUT", ""},
		},
		body: func(_ int, w words, r *Refusal) any {
			b := EnvelopeError{Code: w.code, Message: w.message}
			if b.Message == "" {
				b.Message = r.Detail
			}
			switch r.Kind { //nolint:exhaustive // the others have no facts beside their message
			case Missing:
				b.Details.Header, b.Details.Reason = "Authorization", r.Detail
			case Invalid:
				b.Details.KeyID = r.KeyID
			case Expired:
				b.Details.ExpiredAt = r.ExpiredAt.UTC().Format(time.RFC3339)
			case Forbidden:
				b.Details.RequiredScope, b.Details.Reason = r.Scope, r.Detail
			case Limited:
				b.Details.RetryAfter = r.seconds()
			}
			return Envelope{Error: b}
		},
	},
}

// or is text, or, where it is empty, another.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Body gives the status and the body, to be written as JSON, of a refusal.
func (s Shape) Body(r *Refusal) (status int, body any) {
	name := s.Name
	if name == "" {
		name = "flat"
	}
	own := shapes[name]
	w, status := own.words[r.Kind], statuses[r.Kind]
	if w.message == "" {
		switch r.Kind { //nolint:exhaustive // the others are not for a vendor to word
		case Missing, Invalid:
			w.message = or(s.Texts.Unauthorized, own.texts.Unauthorized)
			if r.Kind == Missing && r.Detail != "" && name != "nested" {
				w.message += ". " + r.Detail
			}
		case Expired:
			w.message = or(s.Texts.Expired, own.texts.Expired)
		case Forbidden:
			w.message = or(s.Texts.Forbidden, own.texts.Forbidden)
		}
	}
	if r.Kind == Expired && r.AccessToken && s.ExpiredStatus != 0 {
		status = s.ExpiredStatus
	}
	if r.Status != 0 {
		status = r.Status
	}
	return status, own.body(status, w, r)
}

// Write answers with a refusal. It sets WWW-Authenticate (RFC 6750 section 3, RFC 9470 section 3) and Retry-After.
func (s Shape) Write(w http.ResponseWriter, r *Refusal) {
	status, body := s.Body(r)
	h := w.Header()
	s.headers(h, r)
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	WriteJSON(w, status, text)
}

// headers are those of a refusal beside its body.
func (s Shape) headers(h http.Header, r *Refusal) {
	if c := r.challenge(s.Metadata); c != "" {
		h.Set("WWW-Authenticate", c)
	}
	if r.Kind == Limited || r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(r.seconds(), 10))
	}
}

// WriteJSON answers with a body that must not be stored on the way.
func WriteJSON(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that went away is no fault of ours
}

// challenge is the value of WWW-Authenticate; empty: none. It says where the metadata are.
func (r *Refusal) challenge(metadata string) string {
	const realm = `Bearer realm="doorward"`
	code, more, description := "", "", r.Detail
	if r.Scope != "" && (r.Kind == Missing || r.Kind == Forbidden) {
		more = `, scope="` + quotable(r.Scope) + `"`
	}
	if metadata != "" {
		more += `, resource_metadata="` + quotable(metadata) + `"` // RFC 9728 section 5.1
	}
	switch r.Kind {
	case Missing:
		return realm + more // RFC 6750 section 3.1: without a credential there is nothing wrong with it
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

// quotable keeps of a text what RFC 6750 section 3 allows in an attribute.
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
