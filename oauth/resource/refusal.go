package resource

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"doorward/oauth/dpop"
)

// Error codes of RFC 6750, section 3.1, and RFC 9449, sections 7.1 and 9.
const (
	InvalidRequest    = "invalid_request"
	InvalidToken      = "invalid_token"
	InsufficientScope = "insufficient_scope"
	InvalidDPoPProof  = "invalid_dpop_proof"
	UseDPoPNonce      = "use_dpop_nonce"
)

// Refusal is the reason why a request is refused.
type Refusal struct {
	Status      int    // of the response
	Code        string // one of the constants; empty: no credential was sent, or no code applies
	Description string // a sentence that says what to do
	Scope       string // the needed scopes, if Code is insufficient_scope and one is missing
	RetryAfter  time.Duration
	Err         error // the cause of a 500 or 503, for the operator; not for the caller
}

// Error returns the description, with the cause if there is one.
func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return r.Description
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

var (
	errInvalidToken = invalidToken("The credential is unknown, has expired or was revoked, or is for another API.")
	errWorkspace    = &Refusal{
		Status: http.StatusForbidden, Code: InsufficientScope,
		Description: "The credential may not act in the workspace that the request names.",
	}
)

func invalidToken(description string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: InvalidToken, Description: description}
}

func badRequest(description string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Code: InvalidRequest, Description: description}
}

// unavailable is the refusal if the credential cannot be checked, which does not mean that it is invalid.
func unavailable(err error, wait time.Duration) *Refusal {
	wait = min(max(wait, time.Second), time.Minute)
	return &Refusal{
		Status: http.StatusServiceUnavailable, Description: "The caller cannot be verified right now; try again.",
		RetryAfter: wait, Err: err,
	}
}

// misconfigured is the refusal if the server refuses the API itself, which is not the caller's fault.
func misconfigured(err error) *Refusal {
	return &Refusal{
		Status:      http.StatusInternalServerError,
		Description: "The API is not set up to verify callers; its operator must fix the configuration.", Err: err,
	}
}

// show sets the response headers with the remaining requests of a plan.
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

// seconds formats a wait in seconds, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// challenges returns the values of WWW-Authenticate (RFC 6750, section 3; RFC 9449, section 7.1; RFC 9728, section 5.1);
// none: no header. The first one is for the scheme that the request used. A request without a valid credential is also
// told the other one.
func (v *Verifier) challenges(r *Refusal, isDPoP bool) []string {
	if r.Status != http.StatusUnauthorized && r.Code == "" {
		return nil
	}
	var parameters strings.Builder
	for _, x := range [][2]string{
		{"error", r.Code},
		{"error_description", r.Description},
		{"scope", r.Scope},
		{"resource_metadata", v.metadataURL},
	} {
		if x[1] == "" || x[0] == "error_description" && r.Code == "" {
			continue
		}
		parameters.WriteString(", " + x[0] + `="` + quotable(x[1]) + `"`)
	}
	bearer := `Bearer realm="` + v.config.Resource + `"`
	if v.base == "" {
		return []string{bearer + parameters.String()} // DPoP proofs cannot be checked
	}
	proven, algorithms := `DPoP realm="`+v.config.Resource+`"`, `, algs="`+dpop.AlgorithmNames()+`"`
	own, other := bearer+parameters.String(), proven+algorithms
	if isDPoP {
		own, other = proven+parameters.String()+algorithms, bearer
	}
	if r.Status != http.StatusUnauthorized || r.Code == InvalidDPoPProof || r.Code == UseDPoPNonce {
		return []string{own} // clients that look for use_dpop_nonce expect no other challenge
	}
	return []string{own, other}
}

// quotable replaces the characters of a text that RFC 6750, section 3 does not allow in an attribute.
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

// writeError is the default of Config.WriteError.
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
