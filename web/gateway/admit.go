package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/oauth/limit"
	"doorward/storage"
)

// AdmitOptions describe where a credential is presented. They hold everything in which the gateway and the management
// API differ; the rest of admission is the same for both.
type AdmitOptions struct {
	// API is the API on whose host the request arrived; the credential must be for it. Nil means the issuer's host, where
	// credentials for any resource are accepted.
	API *API
	// Workspace says where the request names its workspace, and whether it must.
	Workspace WorkspaceRule
	// Slug is the workspace in the path, for WorkspaceInPath.
	Slug string
	// OwnTokensOnly refuses tokens of trusted issuers.
	OwnTokensOnly bool
	// Cost is how many requests are charged to the credential's plan.
	Cost int64
	// Origin, Method and Path are where the client sent its request, as it knows it; Path has escapes. They are for DPoP
	// proofs.
	Origin       oauth.Origin
	Method, Path string

	mode mode
}

// WorkspaceRule says where a request names its workspace. If it names one, the credential must be allowed to act in it.
type WorkspaceRule int

// The rules for naming a workspace. The header is that of the credential's resource.
const (
	WorkspaceOptional       WorkspaceRule = iota // in the header, or not at all
	WorkspaceNamedForTokens                      // in the header; personal access tokens must send it
	WorkspaceNeeded                              // in the header; the credential must act in some workspace
	WorkspaceInPath                              // in the path; see Admission.UnknownWorkspace
)

// mode says for what purpose a request is decided.
type mode int

const (
	arrived   mode = iota // it has just arrived
	explained             // an operator asks: nothing is charged or recorded, and the steps are kept
	rechecked             // it was admitted before and is still running: nothing is charged or recorded
)

// Admission is the result of Admit.
type Admission struct {
	Refusal   *Refusal          // nil: the request is admitted
	Principal *bearer.Principal // of the credential, if it is known; nil: none was needed, or it is unknown
	Taken     limit.Result      // of the plan; if Limit is zero, nothing was counted
	Reason    string            // why it was refused, for the credential's owner
	Steps     []string          // of the decision, in order; only for Explain
	// UnknownWorkspace means that the path names a workspace in which the credential may not act. Admit does not refuse
	// the request for that. Its caller first checks what the credential may do, and then responds as if the workspace
	// did not exist.
	UnknownWorkspace bool
}

func (a *Admission) step(mode mode, format string, args ...any) {
	if mode == explained {
		a.Steps = append(a.Steps, fmt.Sprintf(format, args...))
	}
}

// Admit checks the credential of a request: that there is one, that it is valid for this API, client address and
// workspace, and that its plan has requests left. It is the only such check. What the credential may do is for the
// caller to decide. If Admit refuses the request, or storage cannot be reached, Admission.Refusal says why.
func (g *Gateway) Admit(ctx context.Context, d AdmitOptions, header http.Header, from netip.Addr) Admission {
	x := admissionState{gateway: g, AdmitOptions: d, header: header, from: from}
	ctx = storage.System(ctx)
	if err := x.admit(ctx); err != nil {
		x.Refusal = AsRefusal(err)
		x.chargeUnauthenticated(ctx)
		x.Reason = reasonFor(x.Reason, x.Refusal)
	}
	return x.Admission
}

// admissionState is the state of an admission in progress.
type admissionState struct {
	AdmitOptions
	Admission
	gateway *Gateway
	header  http.Header
	from    netip.Addr
	secret  string // the credential
	dpop    bool   // it was sent with the scheme DPoP
}

// admissionSteps are the steps of an admission after the credential was read, in order.
var admissionSteps = []func(*admissionState, context.Context) error{
	(*admissionState).identify, (*admissionState).prove, (*admissionState).checkAddress, (*admissionState).touch, (*admissionState).checkKind,
	(*admissionState).enterWorkspace, (*admissionState).charge,
}

// admit runs all steps until one refuses.
func (x *admissionState) admit(ctx context.Context) (err error) {
	if x.secret, x.dpop, err = credentialOf(x.header); err != nil {
		if refusal := AsRefusal(err); refusal.Kind == Missing {
			x.step("no credential was sent")
		}
		return err
	}
	for _, next := range admissionSteps {
		if err = next(x, ctx); err != nil {
			return err
		}
	}
	return nil
}

func (x *admissionState) step(format string, args ...any) { x.Admission.step(x.mode, format, args...) }

// credentialOf returns the credential of a request: the token in its only Authorization header (RFC 6750, section 2.1),
// and whether it was sent with the scheme DPoP (RFC 9449, section 7.1). Queries, bodies, cookies and other headers are
// not read.
func credentialOf(h http.Header) (text string, isDPoP bool, err error) {
	headers := h.Values("Authorization")
	switch len(headers) {
	case 0:
		for _, name := range []string{"X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token"} {
			if h.Get(name) != "" {
				return "", false, &Refusal{
					Kind:  Missing,
					Cause: fmt.Errorf("no credential: the header %s is not read", name),
					Detail: "The " + name + " header is not supported; send the key in the Authorization header, as a " +
						"Bearer token.",
				}
			}
		}
		return "", false, &Refusal{Kind: Missing, Cause: errMissing}
	case 1:
		scheme, text := bearer.SplitHeader(headers[0])
		isDPoP = strings.EqualFold(scheme, dpop.Scheme)
		if text == "" || !isDPoP && !strings.EqualFold(scheme, "Bearer") {
			return "", false, &Refusal{Kind: Missing, Cause: errMissing}
		}
		return text, isDPoP, nil
	}
	return "", false, &Refusal{Kind: BadRequest, Detail: "The request has more than one Authorization header; send only one."}
}

// NamedWorkspace returns the slug in a request's header, and whether there is one. An empty or repeated header gives an
// empty slug, which matches no workspace.
func NamedWorkspace(h http.Header, name string) (slug string, named bool) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", len(values) > 0
	}
	return values[0], true
}

// Causes for the log, which are more specific than some shapes.
var (
	errMissing      = errors.New("no credential")
	errRefreshToken = errors.New("refresh tokens are accepted only at the token endpoint")
	errElsewhere    = errors.New("the credential is for another API") // also shown to its owner
)

// WasIssuedHere reports whether this server issued the credential of a principal, even if it is no longer valid.
func WasIssuedHere(p *bearer.Principal) bool { return p.KeyID != "" || p.ClientID != "" }

// at returns where the credential is presented.
func (x *admissionState) at() (at bearer.Audience) {
	if x.API != nil {
		at.Resources = []string{x.API.ID}
	}
	return at
}

// identify finds the principal of the credential and checks that it is meant for this API.
func (x *admissionState) identify(ctx context.Context) error {
	if strings.HasPrefix(x.secret, bearer.PrefixRefreshToken) {
		x.step("%v", errRefreshToken)
		return &Refusal{Kind: Invalid, Cause: errRefreshToken}
	}
	p, err := x.gateway.bearer.Principal(ctx, x.secret, x.at())
	if err == nil || WasIssuedHere(&p) {
		x.Principal = &p
		if x.mode == explained { // otherwise the arguments would be allocated for each request
			x.step("the credential is %s", describe(&p))
		}
		if x.API != nil && !catalog.SameResource(p.Audience, x.API.ID) {
			x.step("it is for %s, not for %s", p.Audience, x.API.ID)
			x.Reason = errElsewhere.Error()
			return &Refusal{Kind: Invalid, Cause: errElsewhere}
		}
	}
	if err != nil {
		return x.unusable(&p, err)
	}
	if x.mode == arrived {
		actor := storage.ActorOf(ctx)
		actor.UserID, actor.ClientID, actor.Credential, actor.KeyID = p.UserID, p.ClientID, p.Kind, p.KeyID
		note := oauth.LogFieldsOf(ctx)
		note.Subject, note.ClientID = p.Subject, p.ClientID
	}
	return nil
}

// unusable returns the refusal of a credential that is not valid, or not in the named workspace. It records the reason
// for the owner, unless the credential is unknown.
func (x *admissionState) unusable(p *bearer.Principal, err error) error {
	x.Principal = nil
	x.step("%v", err)
	refusal, cause := (*Refusal)(nil), CredentialRefusal(p, err)
	if errors.As(cause, &refusal) && WasIssuedHere(p) && !errors.Is(err, bearer.ErrUnknown) {
		x.Principal, x.Reason = p, bearer.ReasonOf(p.Kind, err)
	}
	return cause
}

// prove checks that the sender holds the key that the token is bound to (RFC 9449, section 7).
func (x *admissionState) prove(ctx context.Context) error {
	p := x.Principal
	if x.mode == explained {
		if p.DPoPKey != "" {
			x.step("it is bound to a key: each request needs a DPoP proof by the key %s", p.DPoPKey)
		}
		return nil
	}
	if x.mode == rechecked {
		return nil // the proof was for the request, and it was admitted
	}
	refuse := func(cause error) error {
		x.Reason = cause.Error()
		return &Refusal{Kind: Invalid, Cause: cause}
	}
	switch {
	case p.DPoPKey == "" && x.dpop:
		return refuse(errNotBound)
	case p.DPoPKey == "" && x.needsBinding():
		return refuse(errNeedsBinding)
	case p.DPoPKey == "":
		return nil
	case !x.dpop:
		return refuse(errSentAsBearer)
	}
	text, err := dpop.FromHeader(x.header)
	if err == nil && text == "" {
		err = errNoProof
	}
	var proof dpop.Proof
	if err == nil {
		sent := x.gateway.oauth.ProofRequestAt(x.Origin, x.Method, x.Path)
		sent.Token = x.secret
		proof, err = dpop.Check(text, sent)
	}
	if err == nil && proof.Key != p.DPoPKey {
		return refuse(errOtherKey)
	}
	if err == nil {
		err = x.gateway.oauth.UseProof(ctx, &proof)
	}
	if errors.Is(err, dpop.ErrProof) || errors.Is(err, dpop.ErrNonce) {
		x.Reason = err.Error()
		return proofRefusal(err)
	}
	return err
}

// needsBinding reports whether access tokens of the credential's resource must be bound to a key.
func (x *admissionState) needsBinding() bool {
	if x.Principal.Kind != bearer.KindAccessToken && x.Principal.Kind != bearer.KindForeignJWT {
		return false
	}
	r, ok := x.gateway.catalog.Resource(x.Principal.Audience)
	return ok && r.RequireDPoP
}

// Why a token is refused although it is active; also shown to its owner.
var (
	errNotBound     = errors.New("the credential was sent with the scheme DPoP, and is not bound to a key")
	errNeedsBinding = errors.New("access tokens for this API must be bound to a key (DPoP), and this one is not")
	errSentAsBearer = errors.New("the access token is bound to a key, and was sent with the scheme Bearer instead of DPoP")
	errOtherKey     = errors.New("the DPoP proof is by another key than the one that the access token is bound to")
	errNoProof      = fmt.Errorf("%w: the request has none in the header DPoP", dpop.ErrProof)
)

func (x *admissionState) checkAddress(context.Context) error {
	p := x.Principal
	if x.mode == explained { // without a client address
		if len(p.Addresses) > 0 {
			x.step("it can be used only from %s", strings.Join(p.Addresses, ", "))
		}
		return nil
	}
	if !p.AllowedFrom(x.from) {
		x.Reason = bearer.ReasonAddress
		return &Refusal{Kind: Forbidden, Detail: "The key cannot be used from this IP address; ask its owner to allow the address."}
	}
	return nil
}

// touch records when the credential was last used.
func (x *admissionState) touch(ctx context.Context) error {
	if x.mode == arrived {
		x.gateway.bearer.Touch(ctx, x.Principal)
	}
	return nil
}

// checkKind refuses credentials that are not accepted here, whatever their scopes: those that only introspect, and
// foreign JWTs at the management API.
func (x *admissionState) checkKind(context.Context) error {
	p := x.Principal
	switch {
	case p.Kind == bearer.KindAPIKey && p.Has(catalog.ScopeIntrospect):
		return &Refusal{Kind: Forbidden, Detail: "A key with the scope introspect can only be used for introspection."}
	case p.Kind == bearer.KindForeignJWT && x.OwnTokensOnly:
		return &Refusal{
			Kind:   Forbidden,
			Detail: "Tokens from other issuers cannot use the management API; use a credential issued by this server.",
		}
	}
	return nil
}

// enterWorkspace checks the workspace that the request names; a personal access token then acts in it.
func (x *admissionState) enterWorkspace(ctx context.Context) error {
	p, header := x.Principal, x.gateway.catalog.Resources()[0].WorkspaceHeader
	if r, ok := x.gateway.catalog.Resource(p.Audience); ok { // always, because others are unknown
		header = r.WorkspaceHeader
	}
	slug, named := x.Slug, true
	if x.Workspace != WorkspaceInPath {
		slug, named = NamedWorkspace(x.header, header)
	}
	if named {
		if err := x.act(ctx, slug); err != nil {
			if x.Workspace != WorkspaceInPath || !errors.Is(err, bearer.ErrWorkspace) {
				return x.unusable(x.Principal, err)
			}
			x.UnknownWorkspace = true
		}
		p = x.Principal
	}
	token := p.Kind == bearer.KindPersonalAccessToken
	switch {
	case x.Workspace == WorkspaceNamedForTokens && token && !named,
		x.Workspace == WorkspaceNeeded && token && p.WorkspaceID == "":
		x.Reason = bearer.ReasonWorkspace
		return &Refusal{Kind: BadRequest, Detail: "Set the " + header + " header to the workspace's slug."}
	case x.Workspace == WorkspaceNeeded && p.WorkspaceID == "":
		x.Reason = bearer.ReasonWorkspace
		return &Refusal{Kind: Forbidden, Detail: NoWorkspaceAccess}
	}
	return nil
}

// act replaces the principal with the one in a workspace. bearer.ErrWorkspace: it may not act there.
func (x *admissionState) act(ctx context.Context, slug string) error {
	switch {
	case slug != "" && slug == x.Principal.Workspace:
		return nil
	case slug == "" || x.Principal.Kind != bearer.KindPersonalAccessToken:
		return bearer.ErrWorkspace
	}
	at := x.at()
	at.Workspace = slug
	p, err := x.gateway.bearer.Principal(ctx, x.secret, at)
	x.Principal = &p
	if err == nil {
		x.step("in the workspace %s it acts as %s", slug, p.Role)
	}
	return err
}

// charge charges the cost of the request to the plan.
func (x *admissionState) charge(ctx context.Context) (err error) {
	if x.mode == rechecked {
		return nil
	}
	cost := x.Cost
	if x.mode == explained {
		x.step("it costs %d of the plan %s", cost, orNone(x.Principal.Plan))
		cost = 0
	}
	if x.Taken, err = x.gateway.bearer.Take(ctx, x.Principal, cost); err != nil {
		return err
	}
	if x.mode == explained && x.Taken.Limit > 0 {
		x.step("%d of %d are left", x.Taken.Remaining, x.Taken.Limit)
	}
	if !x.Taken.Allowed {
		return TooMany(x.Taken)
	}
	return nil
}

// chargeUnauthenticated counts a request without a valid credential by its address, if the resource has a plan for such
// requests.
func (x *admissionState) chargeUnauthenticated(ctx context.Context) {
	if x.mode != arrived || x.Refusal.Kind != Missing && x.Refusal.Kind != Invalid && x.Refusal.Kind != Expired {
		return
	}
	taken, counted, err := x.gateway.bearer.ChargeUnauthenticated(ctx, x.gateway.ResourceFor(x.API, x.Principal), x.from)
	switch {
	case err != nil:
		x.Refusal = AsRefusal(err)
		return
	case counted && !taken.Allowed:
		x.Refusal = TooMany(taken)
	}
	if counted {
		x.Taken = taken
	}
}

// ResourceFor returns the resource of a request: that of the API on whose host it arrived, otherwise that of its
// credential, otherwise the first in the configuration.
func (g *Gateway) ResourceFor(a *API, p *bearer.Principal) *catalog.Resource {
	id := ""
	if a != nil {
		id = a.ID
	} else if p != nil {
		id = p.Audience
	}
	if known, ok := g.catalog.Resource(id); ok {
		return known
	}
	return &g.catalog.Resources()[0]
}

// reasonFor returns the reason of a refusal for the credential's owner or the operator: said if there is one, otherwise
// the detail for the caller, otherwise the cause.
func reasonFor(said string, r *Refusal) string {
	switch {
	case said != "":
		return said
	case r.Kind == Limited:
		return bearer.ReasonLimit
	case r.Detail == "" && r.Cause != nil:
		return r.Cause.Error()
	}
	return r.Detail
}

// RateHeaders sets the headers about the remaining requests of a plan, if the request was counted.
func RateHeaders(h http.Header, taken limit.Result) {
	if taken.Limit > 0 {
		h.Set("X-Ratelimit-Limit", strconv.FormatInt(taken.Limit, 10)) // the canonical form, which Set need not create
		h.Set("X-Ratelimit-Remaining", strconv.FormatInt(taken.Remaining, 10))
		h.Set("X-Ratelimit-Reset", strconv.FormatInt(taken.Reset, 10))
	}
}
