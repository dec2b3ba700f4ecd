package providers

import (
	"io"
	"net/http"
	"strings"
)

// Fault is a way in which a stand-in answers wrongly.
type Fault string

// Faults of the connection, for Break and BreakAt.
const (
	Down        Fault = "closes the connection"
	Slow        Fault = "answers only after Repair, if the client waits so long"
	Nonsense    Fault = "answers with 200 and HTML"
	Failing     Fault = "answers with 500"
	Busy        Fault = "answers with 429"
	Huge        Fault = "answers with JSON and then 1 MiB of space"
	Redirecting Fault = "answers with a redirect to itself"
	Refusing    Fault = "answers with 400 and invalid_grant"
	Empty       Fault = "answers with 200 and {}"
	Null        Fault = "answers with 200 and null"
)

var connectionFaults = []Fault{Down, Slow, Nonsense, Failing, Busy, Huge, Redirecting, Refusing, Empty, Null}

// Faults of the callback, for Break.
const (
	Denied           Fault = "the user declines"
	ServerError      Fault = "error is server_error"
	OtherState       Fault = "state is another one"
	NoState          Fault = "state is left out"
	TwoStates        Fault = "state is there twice"
	TwoCodes         Fault = "code is there twice"
	NoCode           Fault = "code is left out"
	OtherCode        Fault = "code is not one that was issued"
	ForeignIssuer    Fault = "iss is that of another server (RFC 9207)"
	NoCallbackIssuer Fault = "iss is left out (RFC 9207)"
)

// Faults of the discovery document, for Break.
const (
	WrongIssuer Fault = "the discovery document names another issuer"
	PlainHTTP   Fault = "the token endpoint is http on another machine"
	NoKeys      Fault = "the discovery document has no jwks_uri"
	OnlyHS256   Fault = "the discovery document lists HS256 only"
)

// Faults of the ID token, for Break.
const (
	NoIDToken     Fault = "the token response has no ID token"
	WrongNonce    Fault = "nonce is another one"
	NoNonce       Fault = "nonce is left out"
	WrongIss      Fault = "iss is another one"
	WrongAud      Fault = "aud is another client"
	SeveralAud    Fault = "aud has another client too, and there is no azp"
	WrongAzp      Fault = "azp is another client"
	Expired       Fault = "exp is two minutes ago"
	Early         Fault = "iat is two minutes ahead"
	NotYet        Fault = "nbf is two minutes ahead"
	NoExp         Fault = "exp is left out"
	NoIat         Fault = "iat is left out"
	NoSub         Fault = "sub is left out"
	LongSub       Fault = "sub has 256 characters"
	AlgNone       Fault = "alg is none"
	AlgHS256      Fault = "alg is HS256, with the client secret"
	ForeignKey    Fault = "another key has signed, under the kid of the right one"
	UnknownKid    Fault = "kid is not in the key set, and another key has signed"
	Altered       Fault = "a claim was changed after the signature"
	JSONForm      Fault = "it is in the JSON form of a signature (RFC 7515, section 7.2)"
	WrongTenant   Fault = "tid is another tenant than that in iss; Microsoft's"
	NoTenant      Fault = "tid is left out; Microsoft's"
	BareGoogleIss Fault = "iss has no scheme; Google's, who documents it"
	NoEmailInID   Fault = "the ID token has no email, which is allowed"
)

// Faults of the userinfo endpoint and of GitHub, for Break.
const (
	OtherUserInfo Fault = "the sub of the userinfo response is another one"
	TokenError    Fault = "the token endpoint answers with 200 and an error; GitHub's"
	NullUser      Fault = "/user is null; GitHub's"
	NoUserID      Fault = "/user has no id; GitHub's"
)

// has reports whether a fault is on. The caller holds the lock.
func (s *Server) has(f Fault) bool { return s.faults[f] }

// fail answers with the connection's fault at an endpoint, if there is one.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, e Endpoint) bool {
	s.mu.Lock()
	fault := s.faultsAt[e]
	for _, f := range connectionFaults {
		if fault == "" && e != Authorize && s.faults[f] {
			fault = f
		}
	}
	repaired := s.repaired
	s.mu.Unlock()
	switch fault {
	case "":
		return false
	case Down:
		panic(http.ErrAbortHandler) // the way of net/http to close a connection
	case Slow:
		_ = r.ParseForm() // until it is read, net/http does not notice that the client has gone
		select {
		case <-repaired:
			return false
		case <-r.Context().Done():
		case <-s.closed:
		}
	case Nonsense:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>Welcome to the network of the hotel</title>")
	case Failing:
		http.Error(w, "internal error", http.StatusInternalServerError)
	case Busy:
		w.Header().Set("Retry-After", "60")
		answer(w, http.StatusTooManyRequests, map[string]any{"error": "slow_down"})
	case Huge:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}"+strings.Repeat(" ", 1<<20))
	case Redirecting:
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	case Refusing:
		_ = r.ParseForm()
		oauthError(w, r, http.StatusBadRequest, "invalid_grant")
	case Empty:
		answer(w, http.StatusOK, map[string]any{})
	case Null:
		answer(w, http.StatusOK, nil)
	default: // Break and BreakAt let only these come here
	}
	return true
}
