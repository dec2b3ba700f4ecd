package resource

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"doorward/oauth/dpop"
)

const (
	maxToken         = 8 << 10 // bytes
	apiKey           = "api_key"
	personalToken    = "personal_access_token"
	maxWorkspaceSlug = 100
)

// token68 is the syntax of a token (RFC 6750, section 2.1; RFC 9449, section 7.1).
var token68 = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// Require returns middleware that accepts a request if its credential covers every one of the scopes; without scopes,
// any credential for this API is accepted. The handler gets the caller from FromContext. Require reads the credential
// only from the Authorization header (RFC 6750, section 2.1), and checks in this order: credential, DPoP proof, workspace,
// address, limit, scopes.
//
// It refuses with 401 without a valid credential or DPoP proof, 403 if the credential does not allow the request, 400 for
// contradictory requests, 429 over the limit, 503 if the authorization server is unavailable, and 500 if it refuses the
// API's own credentials.
func (v *Verifier) Require(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v.offerNonce(w.Header(), r)
			claims, err := v.admit(w.Header(), r, scopes)
			if err != nil {
				v.refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, claims)))
		})
	}
}

// admit checks a request, and sets the headers of the rate limit in h.
func (v *Verifier) admit(h http.Header, r *http.Request, scopes []string) (Claims, error) {
	sent, err := credentialOf(r)
	if err != nil {
		return Claims{}, err
	}
	workspace, err := v.workspace(r)
	if err != nil {
		return Claims{}, err
	}
	a, err := v.check(r, &sent, workspace)
	if err != nil {
		return Claims{}, err
	}
	c := a.claims
	c.Objects = v.config.Objects
	if v.config.WorkspaceHeader != "" && c.Credential == personalToken && c.Workspace == "" {
		return Claims{}, badRequest("Set the " + v.config.WorkspaceHeader + " header to the workspace's slug.")
	}
	if l := a.limit; l != nil {
		l.show(h)
		if !l.Allowed {
			return Claims{}, l.refusal()
		}
	}
	for _, needed := range scopes {
		if !c.Covers(needed) {
			return Claims{}, &Refusal{
				Status: http.StatusForbidden, Code: InsufficientScope,
				Description: "The credential does not have the scope " + needed + ".", Scope: strings.Join(scopes, " "),
			}
		}
	}
	return c, nil
}

// credentialOf returns the credential in the one Authorization header.
func credentialOf(r *http.Request) (credential, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return credential{}, badRequest("The request has two Authorization headers; send one.")
	}
	if len(headers) == 1 {
		scheme, token, _ := strings.Cut(headers[0], " ")
		token = strings.TrimLeft(token, " ") // one or more (RFC 9110, section 11.4)
		isDPoP := strings.EqualFold(scheme, dpop.Scheme)
		switch {
		case token == "" || !isDPoP && !strings.EqualFold(scheme, "Bearer"):
		case len(token) > maxToken || !token68.MatchString(token):
			return credential{}, errInvalidToken
		default:
			return credential{token: token, dpop: isDPoP}, nil
		}
	}
	// RFC 6750, section 3.1: a request without a credential gets a challenge without an error code.
	return credential{}, &Refusal{
		Status:      http.StatusUnauthorized,
		Description: "Send an access token or API key in the Authorization header, after Bearer and a space.",
	}
}

// workspace returns the slug that a request names; empty: none.
func (v *Verifier) workspace(r *http.Request) (string, error) {
	if v.config.WorkspaceHeader == "" {
		return "", nil
	}
	switch values := r.Header.Values(v.config.WorkspaceHeader); len(values) {
	case 0:
		return "", nil
	case 1:
		if values[0] == "" {
			return "", badRequest(
				"The header " + v.config.WorkspaceHeader + " is empty; name a workspace or leave it out.",
			)
		}
		return values[0], nil
	}
	return "", badRequest("The header " + v.config.WorkspaceHeader + " appears twice; send it once.")
}

// answer is the result of checking a credential.
type answer struct {
	claims    Claims
	limit     *rateLimit     // nil: not limited, or not checked
	addresses []netip.Prefix // from which it may be used; none: all
	until     time.Time      // when a cached answer expires
}

func (v *Verifier) introspects() bool { return v.config.ClientID != "" || v.config.Key != "" }

// check verifies or introspects a token, in the workspace that the request names, and checks the request's DPoP proof.
func (v *Verifier) check(r *http.Request, x *credential, workspace string) (answer, error) {
	cost := -1
	if v.config.Cost != nil {
		cost = v.config.Cost(r)
	}
	if v.config.VerifyJWT {
		if claims, ours, err := v.signed(r.Context(), x.token); ours || !v.introspects() {
			if !ours {
				return answer{}, errInvalidToken
			}
			if err == nil {
				err = v.prove(r, x, &claims)
			}
			if err != nil {
				return answer{}, err
			}
			if workspace != "" && workspace != claims.Workspace {
				return answer{}, errWorkspace
			}
			if cost < 0 {
				return answer{claims: claims}, nil
			}
			// Only the server can count, so ask it too, once the cheap checks have passed.
		}
	}
	if x.dpop && x.proven == "" && cost >= 0 {
		// Asked about without a cost first, so that a request with a wrong or used proof charges nothing to the plan of the
		// token's owner. With the scheme Bearer, only the charged answer says that the token is bound.
		if _, err := v.askAndProve(r, x, workspace, -1); err != nil {
			return answer{}, err
		}
	}
	a, err := v.askAndProve(r, x, workspace, cost)
	if err != nil {
		return answer{}, err
	}
	if len(a.addresses) > 0 && !within(a.addresses, v.config.ClientAddress(r)) {
		return answer{}, &Refusal{
			Status: http.StatusForbidden, Code: InsufficientScope,
			Description: "The key cannot be used from this IP address; ask its owner to allow the address.",
		}
	}
	return a, nil
}

// askAndProve introspects a token and checks the proof that it needs.
func (v *Verifier) askAndProve(r *http.Request, x *credential, workspace string, cost int) (answer, error) {
	a, err := v.askIn(r, x.token, workspace, cost)
	if err != nil && !errors.Is(err, errWorkspace) { // a sender without the key does not learn about workspaces
		return answer{}, err
	}
	if unproven := v.prove(r, x, &a.claims); unproven != nil {
		err = unproven
	}
	return a, err
}

// refuse writes a refusal.
func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		refusal = unavailable(err, 0)
	}
	if refusal.Err != nil && r.Context().Err() == nil { // not for a client that closed the connection
		v.config.Log.ErrorContext(
			r.Context(), "the caller could not be verified with the authorization server", "error", refusal.Err, "status",
			refusal.Status,
		)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if all := v.challenges(refusal, dpop.InUse(r.Header)); len(all) > 0 {
		h["Www-Authenticate"] = all // the canonical form
	}
	if refusal.RetryAfter > 0 {
		h.Set("Retry-After", seconds(refusal.RetryAfter))
	}
	v.config.WriteError(w, r, refusal)
}
