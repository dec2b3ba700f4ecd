package resource

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/oauth/dpop"
)

// Claims describe the caller of a request. Requests may share the slices in it, so do not change them.
type Claims struct {
	Subject     string    // the user, or with client_credentials the client; empty: an API key
	ClientID    string    // the app; empty: none
	Scopes      []string  // granted scopes and those that they imply; use Covers to check one
	Objects     []string  // Config.Objects
	Credential  string    // access_token, api_key, personal_access_token, foreign_jwt
	WorkspaceID string    // the workspace that the credential acts in; empty: none
	Workspace   string    // its slug
	Role        string    // the user's in that workspace; empty: a key, or no workspace
	KeyID       string    // of an API key or personal access token, for logs; empty: neither
	Environment string    // live or test; empty: no API key
	Plan        string    // the plan that limits the credential; empty: none
	ID          string    // jti: identifies the credential without revealing it
	ExpiresAt   time.Time // zero: never
	IssuedAt    time.Time // zero: unknown
	AuthTime    time.Time // when the user last authenticated; zero: unknown
	// DPoPKey is the thumbprint (RFC 7638) of the key that the token is bound to, cnf.jkt (RFC 9449, section 6). The request
	// was proven to be sent by its holder. Empty: the credential is not bound.
	DPoPKey string

	// ForeignIssuer and ForeignSubject are iss and sub of a JWT from another issuer that the server trusts; otherwise
	// empty.
	ForeignIssuer, ForeignSubject string
}

// Covers reports whether the caller's scopes include the needed one. If that is object:action with one of
// Config.Objects, the scope action includes it.
func (c *Claims) Covers(needed string) bool {
	if slices.Contains(c.Scopes, needed) {
		return true
	}
	object, action, ok := strings.Cut(needed, ":")
	return ok && action != "" && !strings.Contains(action, ":") && slices.Contains(c.Objects, object) &&
		slices.Contains(c.Scopes, action)
}

type contextKey struct{}

// FromContext returns the claims of a request that Require has accepted. ok is false if Require did not see the
// request.
func FromContext(ctx context.Context) (c Claims, ok bool) {
	c, ok = ctx.Value(contextKey{}).(Claims)
	return c, ok
}

// members are those of an introspection response (RFC 7662, section 2.2) and of a JWT access token (RFC 9068, section
// 2.2).
type members struct {
	Active         bool     `json:"active"` // only of introspection
	Issuer         string   `json:"iss"`
	Audience       audience `json:"aud"`
	Subject        string   `json:"sub"`
	ClientID       string   `json:"client_id"`
	Scope          string   `json:"scope"`
	Credential     string   `json:"credential"`
	ID             string   `json:"jti"`
	ExpiresAt      date     `json:"exp"`
	NotBefore      date     `json:"nbf"`
	IssuedAt       date     `json:"iat"`
	AuthTime       date     `json:"auth_time"`
	WorkspaceID    string   `json:"workspace_id"`
	Workspace      string   `json:"workspace"`
	Role           string   `json:"role"`
	Environment    string   `json:"env"`
	Plan           string   `json:"plan"`
	KeyID          string   `json:"key_id"`
	ForeignIssuer  string   `json:"foreign_issuer"`
	ForeignSubject string   `json:"foreign_subject"`
	TokenType      string   `json:"token_type"` // only of introspection

	// Confirmation is cnf: how the sender must prove to be the one that the token was issued to (RFC 7800, section 3.1). Nil:
	// the token is not bound.
	Confirmation map[string]any `json:"cnf"`

	Addresses []netip.Prefix `json:"allowed_addresses"` // only of introspection, as is the next
	RateLimit *rateLimit     `json:"rate_limit"`
}

// rateLimit is the state of the limits, if a cost was sent.
type rateLimit struct {
	Allowed    bool  `json:"allowed"`
	Limit      int64 `json:"limit"`
	Remaining  int64 `json:"remaining"`
	Reset      int64 `json:"reset"`       // Unix seconds
	RetryAfter int64 `json:"retry_after"` // seconds
}

// audience is one resource. A credential for several resources is refused: another one of them could have sent it here.
type audience string

// UnmarshalJSON accepts a string, or a list of one string.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience(one)
		return nil
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil || len(list) != 1 {
		return errors.New("aud is not one resource")
	}
	*a = audience(list[0])
	return nil
}

// maxTime is a time in Unix seconds that is later than any in a credential. Sums of later times could overflow.
const maxTime = 1 << 40

// date is a NumericDate (RFC 7519, section 2): a JSON number of seconds since 1970, perhaps with a fraction or an
// exponent. It is stored in whole microseconds, rounded down; zero if the member is left out or null.
type date int64

// UnmarshalJSON implements json.Unmarshaler. It refuses values that are not numbers, and times before 1970.
func (d *date) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*d = 0
		return nil
	}
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(seconds >= 0) { // also refuses NaN
		return errors.New("a time is not a number of seconds since 1970")
	}
	*d = date(math.Floor(min(seconds, maxTime+1) * 1e6))
	return nil
}

// time returns the date as a time.Time; zero if there is none, or if it is beyond maxTime.
func (d date) time() time.Time {
	if d <= 0 || d > maxTime*1e6 {
		return time.Time{}
	}
	return time.UnixMicro(int64(d))
}

// same reports whether two resource identifiers are equal by RFC 3986, sections 6.2.2.1 and 6.2.3: the case of scheme
// and host does not matter, an empty path equals "/", and the default port of the scheme may be left out.
func same(a, b string) bool { return a == b || canonical(a) == canonical(b) }

func canonical(id string) string {
	scheme, rest, ok := strings.Cut(id, ":")
	after, hasHost := strings.CutPrefix(rest, "//")
	if scheme = strings.ToLower(scheme); !ok || !hasHost {
		return scheme + ":" + rest
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	host, path := strings.ToLower(after[:end]), after[end:]
	if strings.Contains(host, "@") {
		return id
	}
	usual := map[string]string{"https": ":443", "http": ":80"}[scheme]
	if bare := strings.TrimSuffix(host, usual); bare != host {
		host = bare
	} else {
		host = strings.TrimSuffix(host, ":")
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme + "://" + host + path
}

// confirmable reports whether a token is bound to nothing, or to a key by DPoP. A token that is bound in another way,
// such as to a certificate, is refused: it would otherwise work without the proof that it needs.
func (m *members) confirmable() bool {
	if m.Confirmation == nil {
		return !strings.EqualFold(m.TokenType, dpop.Scheme)
	}
	return len(m.Confirmation) == 1 && m.dpopKey() != ""
}

// dpopKey returns the thumbprint of the key that the token is bound to (RFC 9449, section 6.1); empty: none.
func (m *members) dpopKey() string {
	key, _ := m.Confirmation["jkt"].(string)
	return key
}

func (m *members) claims() Claims {
	return Claims{
		Subject: m.Subject, ClientID: m.ClientID, Scopes: strings.Fields(m.Scope), Credential: m.Credential,
		WorkspaceID: m.WorkspaceID, Workspace: m.Workspace, Role: m.Role, KeyID: m.KeyID, Environment: m.Environment,
		Plan: m.Plan, ID: m.ID, ExpiresAt: m.ExpiresAt.time(), IssuedAt: m.IssuedAt.time(), AuthTime: m.AuthTime.time(),
		ForeignIssuer: m.ForeignIssuer, ForeignSubject: m.ForeignSubject, DPoPKey: m.dpopKey(),
	}
}
