package resource

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error codes of RFC 6750, section 3.1.
const (
	InvalidRequest    = "invalid_request"
	InvalidToken      = "invalid_token"
	InsufficientScope = "insufficient_scope"
)

// Refusal is why a request does not pass.
type Refusal struct {
	Status      int    // of the answer
	Code        string // of RFC 6750, section 3.1; empty: no credential was shown, or the reason is none of those
	Description string // a sentence that says what to do
	Scope       string // what the request needs, where Code is insufficient_scope and a scope is missing
	RetryAfter  time.Duration
	Err         error // what the operator should know, with 500 and 503; not for the caller
}

// Error is the description, with the cause where there is one.
func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return r.Description
}

// Unwrap is the cause.
func (r *Refusal) Unwrap() error { return r.Err }

var (
	errInvalidToken = &Refusal{
		Status: http.StatusUnauthorized, Code: InvalidToken,
		Description: "The credential is unknown, has expired or was revoked, or is for another API.",
	}
	errWorkspace = &Refusal{
		Status: http.StatusForbidden, Code: InsufficientScope,
		Description: "The credential may not act in the workspace that the request names.",
	}
)

func badRequest(description string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Code: InvalidRequest, Description: description}
}

// unavailable says that nothing is known: not a no.
func unavailable(err error, wait time.Duration) *Refusal {
	wait = min(max(wait, time.Second), time.Minute)
	return &Refusal{
		Status: http.StatusServiceUnavailable, Description: "The caller cannot be verified right now; try again.",
		RetryAfter: wait, Err: err,
	}
}

// misused says that the server refuses the API itself, which is not the caller's fault.
func misused(err error) *Refusal {
	return &Refusal{
		Status:      http.StatusInternalServerError,
		Description: "The API is not set up to verify callers; its operator must fix the configuration.", Err: err,
	}
}

// show puts what is left of a plan into an answer's header.
func (l *rateLimit) show(h http.Header) {
	h.Set("X-RateLimit-Limit", strconv.FormatInt(l.Limit, 10))
	h.Set("X-RateLimit-Remaining", strconv.FormatInt(l.Remaining, 10))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(l.Reset, 10))
}

func (l *rateLimit) refusal() *Refusal {
	wait := time.Duration(min(max(l.RetryAfter, 1), int64(366*24*time.Hour/time.Second))) * time.Second
	return &Refusal{
		Status:      http.StatusTooManyRequests,
		Description: "Rate limit exceeded; try again in " + seconds(wait) + " seconds.", RetryAfter: wait,
	}
}

// seconds are those of a wait, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// challenge is the value of WWW-Authenticate (RFC 6750, section 3, RFC 9728, section 5.1); empty: none.
func (v *Verifier) challenge(r *Refusal) string {
	if r.Status != http.StatusUnauthorized && r.Code == "" {
		return ""
	}
	c := `Bearer realm="` + v.config.Resource + `"`
	for _, x := range [][2]string{
		{"error", r.Code},
		{"error_description", r.Description},
		{"scope", r.Scope},
		{"resource_metadata", v.metadataURL},
	} {
		if x[1] == "" || x[0] == "error_description" && r.Code == "" {
			continue
		}
		c += ", " + x[0] + `="` + quotable(x[1]) + `"`
	}
	return c
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

// writeError is what a refusal looks like unless Config says otherwise.
func writeError(w http.ResponseWriter, _ *http.Request, r *Refusal) {
	body := struct {
		Error      string `json:"error"`
		Message    string `json:"message"`
		StatusCode int    `json:"statusCode"`
		RetryAfter int64  `json:"retryAfter,omitempty"`
	}{http.StatusText(r.Status), r.Description, r.Status, 0}
	if r.Status == http.StatusTooManyRequests {
		body.RetryAfter = int64((r.RetryAfter + time.Second - 1) / time.Second)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(r.Status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone away
}
