package oauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Introspection is the introspection response (RFC 7662, section 2.2). If Active is false, it has no other member.
type Introspection struct {
	Active      bool   `json:"active"`
	Issuer      string `json:"iss,omitempty"`
	Audience    string `json:"aud,omitempty"`
	Subject     string `json:"sub,omitempty"`
	ClientID    string `json:"client_id,omitempty"`
	Scope       string `json:"scope,omitempty"`
	TokenType   string `json:"token_type,omitempty"`
	Credential  string `json:"credential,omitempty"`
	ExpiresAt   int64  `json:"exp,omitempty"` // Unix seconds, as are the next two
	IssuedAt    int64  `json:"iat,omitempty"`
	AuthTime    int64  `json:"auth_time,omitempty"`
	ID          string `json:"jti,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	Workspace   string `json:"workspace,omitempty"`
	Role        string `json:"role,omitempty"`
	Environment string `json:"env,omitempty"`
	Plan        string `json:"plan,omitempty"`
	KeyID       string `json:"key_id,omitempty"`
	// iss and sub of a foreign JWT; these members are our own.
	ForeignIssuer  string `json:"foreign_issuer,omitempty"`
	ForeignSubject string `json:"foreign_subject,omitempty"`
	// Addresses are the ranges from which an API key may be used. Only the resource server sees its caller's address, so
	// it must check them. The member is our own, and is left out if any address is allowed.
	Addresses []string `json:"allowed_addresses,omitempty"`
	// Confirmation is cnf, if the token is bound to a key: the resource server must check the DPoP proof of each request
	// (RFC 9449, section 6.2).
	Confirmation *Confirmation `json:"cnf,omitempty"`
	RateLimit    *RateLimit    `json:"rate_limit,omitempty"` // if a cost was sent and the credential has a plan
}

// Confirmation says which key a token is bound to (RFC 7800, section 3.1).
type Confirmation struct {
	Thumbprint string `json:"jkt"` // of the key (RFC 7638)
}

// RateLimit is the result of charging a cost to the plan of a credential.
type RateLimit struct {
	Allowed    bool  `json:"allowed"`
	Limit      int64 `json:"limit"`
	Remaining  int64 `json:"remaining"`
	Reset      int64 `json:"reset"`                 // Unix seconds
	RetryAfter int64 `json:"retry_after,omitempty"` // seconds; only if the request is refused
}

// Introspect serves POST /oauth/introspect (RFC 7662).
func (s *Server) Introspect(w http.ResponseWriter, r *http.Request) {
	form, err := readBody(w, r, "workspace")
	if err == nil {
		err = s.introspect(w, r, form)
	}
	if err != nil {
		writeError(w, r, err)
	}
}

func (s *Server) introspect(w http.ResponseWriter, r *http.Request, form url.Values) error {
	ctx := storage.System(r.Context())
	caller, err := s.authenticateIntrospector(ctx, r, form)
	if err != nil {
		return err
	}
	o := &once{assertion: caller.assertion}
	return s.spendRefused(ctx, o, s.answerIntrospection(ctx, w, form, &caller.Client, o))
}

// answerIntrospection answers a request of a caller that is authenticated.
func (s *Server) answerIntrospection(
	ctx context.Context, w http.ResponseWriter, form url.Values, caller *storage.Client, o *once,
) error {
	token := form.Get("token")
	if token == "" {
		return badRequest("token is missing.")
	}
	cost, counted, err := introspectionCost(form)
	if err != nil {
		return err
	}
	if !caller.ResourceServer && (counted || form.Has("workspace")) {
		return badRequest("cost and workspace are for resource servers; leave them out.")
	}
	begin := time.Now()
	p, err := s.bearer.Principal(
		ctx, token,
		bearer.Audience{Resources: caller.Resources, Workspace: form.Get("workspace"), Named: form.Has("workspace")},
	)
	if err != nil && !bearer.Inactive(err) {
		return err
	}
	var taken limit.Result
	if used := s.spendAnd(ctx, o, func(ctx context.Context) (failed error) {
		if err == nil && counted && maySee(caller, &p) {
			taken, failed = s.bearer.Take(ctx, &p, cost)
		}
		return failed
	}); used != nil {
		return used
	}
	if err != nil || !maySee(caller, &p) {
		LogFieldsOf(ctx).Cause = err
		if err == nil {
			LogFieldsOf(ctx).Cause = errNotTheirs
		}
		if counted && err != nil && p.KeyID != "" && maySee(caller, &p) {
			s.bearer.NoteUse(ctx, &p, ActionIntrospected, http.StatusOK, bearer.ReasonOf(p.Kind, err), false)
		}
		delayNegative(ctx, begin)
		writeMarshaled(w, http.StatusOK, (&Introspection{}).appendJSON(nil))
		return nil
	}
	answer := s.describe(p)
	if counted {
		reason := ""
		if !taken.Allowed {
			reason = bearer.ReasonLimit
		}
		if cost > 0 {
			s.bearer.NoteUse(ctx, &p, ActionIntrospected, http.StatusOK, reason, !taken.Allowed)
		}
		if p.Limited() {
			answer.RateLimit = &RateLimit{
				Allowed: taken.Allowed, Limit: taken.Limit, Remaining: taken.Remaining, Reset: taken.Reset,
				RetryAfter: int64(taken.RetryAfter / time.Second),
			}
		}
	}
	s.bearer.Touch(ctx, &p)
	LogFieldsOf(ctx).Subject = p.Subject
	// Most responses are shorter.
	writeMarshaled(w, http.StatusOK, answer.appendJSON(make([]byte, 0, 1024)))
	return nil
}

// errNotTheirs is for the log. The caller gets the same answer as for an unknown credential.
var errNotTheirs = errors.New("the caller may not see this credential: it is for another resource, or another client's")

// ActionIntrospected is the action of requests in which a resource server introspected a credential.
const ActionIntrospected = "introspected"

// introspectionCost reads the cost to charge to the plan; counted is false if none was sent.
func introspectionCost(form url.Values) (cost int64, counted bool, err error) {
	if !form.Has("cost") {
		return 0, false, nil
	}
	text := form.Get("cost")
	cost, err = strconv.ParseInt(text, 10, 64)
	if err != nil || cost < 0 || cost > 1000 || text[0] == '+' {
		return 0, false, badRequest("cost must be a whole number from 0 to 1000.")
	}
	return cost, true, nil
}

// delayNegative delays a negative answer until a millisecond after begin. Reading a row that exists takes some
// hundredths of a millisecond longer than finding none, which would reveal that it exists.
func delayNegative(ctx context.Context, begin time.Time) {
	timer := time.NewTimer(time.Millisecond - time.Since(begin))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// authenticateIntrospector authenticates a client and refuses a public one, which proves nothing; every refusal has a
// challenge. An API key with the scope introspect, sent as a bearer token, is accepted instead: it makes its holder a
// resource server for the key's resource.
func (s *Server) authenticateIntrospector(
	ctx context.Context, r *http.Request, form url.Values,
) (authenticated, error) {
	if text, ok := bearerToken(r); ok {
		key, err := s.introspectionKey(ctx, r, form, text)
		return authenticated{key, nil}, err
	}
	caller, err := s.authenticate(ctx, r, form)
	var e *Error
	if errors.As(err, &e) && e.Code == InvalidClient {
		refused := *e
		refused.Challenge = basicChallenge
		return caller, &refused
	}
	if err == nil && caller.Public {
		return caller, &Error{
			Code:        InvalidClient,
			Description: "A client without a secret may not introspect; use the credentials of a resource server.",
			Challenge:   basicChallenge,
		}
	}
	return caller, err
}

// bearerToken returns the bearer token of a request that has exactly one Authorization header (RFC 6750, section 2.1).
func bearerToken(r *http.Request) (text string, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	return bearer.FromHeader(headers[0])
}

const bearerChallenge = `Bearer realm="doorward", error="invalid_token"` //nolint:gosec // of RFC 6750, section 3

func (s *Server) introspectionKey(
	ctx context.Context, r *http.Request, form url.Values, text string,
) (storage.Client, error) {
	if form.Has("client_id") || form.Has("client_secret") || form.Has("client_assertion") {
		return storage.Client{}, badRequest("The request uses more than one method of authentication; use one.")
	}
	// As in authenticate, only failures are counted and limited.
	address, begin := s.address(r), time.Now()
	p, err := s.bearer.Principal(ctx, text, bearer.Audience{})
	if err != nil && !bearer.Inactive(err) {
		return storage.Client{}, err
	}
	if err == nil && p.Kind == bearer.KindAPIKey && !p.AllowedFrom(address) {
		err = errors.New("the key may not be used from this address")
	}
	if err != nil || p.Kind != bearer.KindAPIKey || !p.Has(catalog.ScopeIntrospect) {
		delayNegative(ctx, begin)
		if ok, wait := s.failures.Fail(hex.EncodeToString(storage.Digest(text)[:8]), address); !ok {
			return storage.Client{}, tooManyFailures(wait)
		}
		return storage.Client{}, &Error{
			Code:        InvalidClient,
			Description: "Only an API key with the scope introspect, or the credentials of a client, may introspect.",
			Challenge:   bearerChallenge, Cause: whyNoIntrospector(p, err, address),
		}
	}
	s.bearer.Touch(ctx, &p)
	return storage.Client{ID: p.KeyID, ResourceServer: true, Resources: storage.List{p.Audience}}, nil
}

// whyNoIntrospector explains, for the log, why a bearer token does not make its holder a resource server.
func whyNoIntrospector(p bearer.Principal, err error, from netip.Addr) error {
	switch {
	case err != nil:
		return fmt.Errorf("the bearer token: %w", err)
	case p.Kind != bearer.KindAPIKey:
		return fmt.Errorf("the bearer token is of the kind %s; introspection needs an API key", p.Kind)
	case !p.Has(catalog.ScopeIntrospect):
		return fmt.Errorf("the API key %s lacks the scope %s", p.KeyID, catalog.ScopeIntrospect)
	}
	return fmt.Errorf("the API key %s may not be used from %s", p.KeyID, from)
}

// maySee reports whether the caller may learn about a credential. A client may learn about its own tokens, and a
// resource server about credentials for its resources, but never about refresh tokens.
func maySee(caller *storage.Client, p *bearer.Principal) bool {
	if p.ClientID == caller.ID {
		return true
	}
	return caller.ResourceServer && p.Kind != bearer.KindRefreshToken &&
		catalog.ContainsResource(caller.Resources, p.Audience)
}

func (s *Server) describe(p bearer.Principal) Introspection {
	i := Introspection{
		Active: true, Issuer: s.issuer, Audience: p.Audience, Subject: p.Subject, ClientID: p.ClientID,
		Scope: strings.Join(p.Scopes, " "), Credential: p.Kind, IssuedAt: p.IssuedAt.Unix(), ID: p.ID,
		WorkspaceID: p.WorkspaceID, Workspace: p.Workspace, Role: p.Role, Environment: p.Environment, Plan: p.Plan,
		KeyID: p.KeyID, Addresses: p.Addresses, ForeignIssuer: p.ForeignIssuer, ForeignSubject: p.ForeignSubject,
	}
	if !p.ExpiresAt.IsZero() {
		i.ExpiresAt = p.ExpiresAt.Unix()
	}
	if !p.AuthTime.IsZero() {
		i.AuthTime = p.AuthTime.Unix()
	}
	switch {
	case p.Kind == bearer.KindRefreshToken:
	case p.DPoPKey != "":
		i.TokenType, i.Confirmation = dpop.Scheme, &Confirmation{p.DPoPKey}
	default:
		i.TokenType = tokenTypeBearer
	}
	return i
}

// IntrospectCredential returns, for the CLI, what the server would tell a resource server about a credential, or the
// client about its refresh token. If a workspace is named, the answer is for that workspace. For a credential that is
// not active, the reason says why; callers of the endpoint are never told.
func (s *Server) IntrospectCredential(
	ctx context.Context, text string, workspace *string,
) (answer Introspection, reason string, err error) {
	var at bearer.Audience
	if workspace != nil {
		at.Workspace, at.Named = *workspace, true
	}
	p, err := s.bearer.Principal(ctx, text, at)
	switch {
	case err == nil:
		return s.describe(p), "", nil
	case bearer.Inactive(err):
		return Introspection{}, err.Error(), nil
	}
	return Introspection{}, "", err
}
