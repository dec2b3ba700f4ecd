package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Shape is the error shape of an API. The zero value is flat with its default texts.
type Shape struct {
	Name string // flat, nested or envelope; empty: flat
	// Texts replace the shape's default texts, except for empty fields.
	Texts Texts
	// ExpiredStatus is the status for an expired access token: 401 or 419; zero means 401.
	ExpiredStatus int
	// Metadata is the URL of the API's metadata (RFC 9728, section 5.1); empty: there is none.
	Metadata string
}

// Texts are the messages for 401, for an expired credential, and for 403.
type Texts struct{ Unauthorized, Expired, Forbidden string }

// Flat is the body of the flat shape.
type Flat struct {
	Error      string `json:"error" doc:"The name of the status."`
	Message    string `json:"message" doc:"What is wrong, and what to do."`
	StatusCode int    `json:"statusCode" doc:"The status of the response."`
	RetryAfter int64  `json:"retryAfter,omitempty" doc:"Seconds to wait, as in the Retry-After header."`
}

// Nested is the body of the nested shape.
type Nested struct {
	Error NestedError `json:"error"`
}

// NestedError is the one member of Nested.
type NestedError struct {
	Code       string `json:"code" doc:"A code for programs."`
	Message    string `json:"message" doc:"What is wrong."`
	Details    string `json:"details" doc:"What exactly is wrong, and what to do."`
	RetryAfter int64  `json:"retryAfter,omitempty" doc:"Seconds to wait, as in the Retry-After header."`
}

// Envelope is the body of the envelope shape.
type Envelope struct {
	Success bool          `json:"success" doc:"Always false."`
	Error   EnvelopeError `json:"error"`
}

// EnvelopeError is the error in an Envelope.
type EnvelopeError struct {
	Code    string          `json:"code" doc:"A code for programs."`
	Message string          `json:"message" doc:"What is wrong, and what to do."`
	Details EnvelopeDetails `json:"details"`
}

// EnvelopeDetails are the details of an error. Which members it has depends on the code.
type EnvelopeDetails struct {
	Header        string `json:"header,omitempty" doc:"The header that should carry the key."`
	KeyID         string `json:"key_id,omitempty" doc:"ID of the key that was sent, if this server issued it."`
	ExpiredAt     string `json:"expired_at,omitempty" format:"date-time" doc:"When the key expired."`
	RequiredScope string `json:"required_scope,omitempty" doc:"The permission that is missing."`
	Reason        string `json:"reason,omitempty" doc:"What to do."`
	RetryAfter    int64  `json:"retry_after,omitempty" doc:"Seconds to wait, as in the Retry-After header."`
}

// words are the code and message for a kind in a shape. An empty message depends on the refusal.
type words struct{ code, message string }

// shape is one entry of the table below.
type shape struct {
	name  string // in the configuration
	texts Texts
	words map[Kind]words
	// detailApart means that the body has its own member for the detail, so the message does not repeat it.
	detailApart bool
	body        func(status int, w words, r *Refusal) any
}

// shapes are all shapes, the default first. Vendors document their exact texts. To add a shape, add an entry here and a
// type for its body.
var shapes = []shape{
	{
		name: "flat",
		texts: Texts{
			Unauthorized: "Invalid or missing API key",
			Expired:      "Invalid or missing API key",
			Forbidden:    "Insufficient permissions",
		},
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
	{
		name: "nested",
		texts: Texts{
			Unauthorized: "Invalid API key",
			Expired:      "Invalid API key",
			Forbidden:    "Insufficient permissions",
		},
		words: map[Kind]words{
			Missing:          {"unauthorized", ""},
			Invalid:          {"unauthorized", ""},
			Expired:          {"unauthorized", ""},
			BadProof:         {"invalid_dpop_proof", "The DPoP proof is not valid"},
			StepUp:           {"step_up_required", "Sign in again"},
			Forbidden:        {"forbidden", ""},
			Limited:          {"rate_limit_exceeded", "Rate limit exceeded"},
			BadRequest:       {"invalid_request", "The request is not valid"},
			NotFound:         {"not_found", "Not found"},
			MethodNotAllowed: {"method_not_allowed", "Method not allowed"},
			Conflict:         {"conflict", "Conflict with the current state"},
			TooLarge:         {"payload_too_large", "The body is too large"},
			MediaType:        {"unsupported_media_type", "Unsupported media type"},
			Failed:           {"internal_error", "The server failed"},
			Unavailable:      {"service_unavailable", "Not available right now"},
			BadGateway:       {"bad_gateway", "The API cannot be reached"},
			GatewayTimeout:   {"gateway_timeout", "The API did not answer in time"},
		},
		detailApart: true,
		body: func(_ int, w words, r *Refusal) any {
			b := NestedError{Code: w.code, Message: w.message, Details: r.Detail}
			switch r.Kind {
			case Missing:
				b.Details = cmp.Or(
					r.Detail,
					"No API key was sent; send it in the Authorization header, as a Bearer token.",
				)
			case Invalid:
				b.Details = "The API key is invalid or has been revoked."
			case BadProof:
				b.Code = cmp.Or(r.Proof, b.Code) // a missing nonce has a code of its own
			case Limited:
				b.RetryAfter = r.seconds()
				b.Details = "Try again in " + strconv.FormatInt(b.RetryAfter, 10) + " seconds."
			default: // the refusal's own detail
			}
			return Nested{Error: b}
		},
	},
	{
		name: "envelope",
		texts: Texts{
			Unauthorized: "The provided API key is invalid",
			Expired:      "The API key has expired",
			Forbidden:    "Insufficient permissions",
		},
		words: map[Kind]words{
			Missing:          {"MISSING_API_KEY", "API key is required"},
			Invalid:          {"INVALID_API_KEY", ""},
			Expired:          {"EXPIRED_API_KEY", ""},
			BadProof:         {"INVALID_DPOP_PROOF", ""},
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
			BadGateway:       {"BAD_GATEWAY", ""},
			GatewayTimeout:   {"GATEWAY_TIMEOUT", ""},
		},
		body: func(_ int, w words, r *Refusal) any {
			b := EnvelopeError{Code: w.code, Message: w.message}
			if b.Message == "" {
				b.Message = r.Detail
			}
			switch r.Kind {
			case Missing:
				b.Details.Header, b.Details.Reason = "Authorization", r.Detail
			case Invalid:
				b.Details.KeyID = r.KeyID
			case BadProof:
				b.Code = cmp.Or(strings.ToUpper(r.Proof), b.Code)
			case Expired:
				b.Details.ExpiredAt = r.ExpiredAt.UTC().Format(time.RFC3339)
			case Forbidden:
				b.Details.RequiredScope, b.Details.Reason = r.Scope, r.Detail
			case Limited:
				b.Details.RetryAfter = r.seconds()
			default: // the message is enough
			}
			return Envelope{Error: b}
		},
	},
}

// shapeOf finds a shape by its name. An empty name means the default.
func shapeOf(name string) *shape {
	i := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
	return &shapes[max(i, 0)]
}

// ShapeNames returns the names of all shapes, the default first.
func ShapeNames() []string {
	names := make([]string, len(shapes))
	for i := range shapes {
		names[i] = shapes[i].name
	}
	return names
}

// ShapeTexts returns the default texts of a shape.
func ShapeTexts(name string) Texts { return shapeOf(name).texts }

// Body returns the status and the body of a refusal, to be encoded as JSON.
func (s Shape) Body(r *Refusal) (status int, body any) {
	own := shapeOf(s.Name)
	w, status := own.words[r.Kind], statuses[r.Kind]
	if w.message == "" {
		switch r.Kind {
		case Missing, Invalid:
			w.message = cmp.Or(s.Texts.Unauthorized, own.texts.Unauthorized)
			if r.Kind == Missing && r.Detail != "" && !own.detailApart {
				w.message += ". " + r.Detail
			}
		case Expired:
			w.message = cmp.Or(s.Texts.Expired, own.texts.Expired)
		case Forbidden:
			w.message = cmp.Or(s.Texts.Forbidden, own.texts.Forbidden)
		default: // the others cannot be configured
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

// Write writes a refusal. It sets WWW-Authenticate (RFC 6750, section 3; RFC 9470, section 3) and Retry-After.
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

// headers sets the headers of a refusal.
func (s Shape) headers(h http.Header, r *Refusal) {
	if all := r.challenges(s.Metadata); len(all) > 0 {
		h["Www-Authenticate"] = all // the canonical form
	}
	if r.Kind == Limited || r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(r.seconds(), 10))
	}
}

// WriteJSON writes a JSON body that must not be cached.
func WriteJSON(w http.ResponseWriter, status int, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // an error means that the client has gone
}
