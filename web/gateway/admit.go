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
	"doorward/oauth/limit"
	"doorward/storage"
)

// Door describes where a credential is presented. It holds all that differs between the gateway and the management API;
// everything else about admission is the same for both.
type Door struct {
	// API is the one on whose host the request came, and the only one that the credential may be for. Nil: the request
	// came to the issuer's host, where a credential for any resource counts.
	API *API
	// Workspace says where the request names its workspace, and whether it must.
	Workspace WorkspaceRule
	// Slug is the workspace that the path names, for WorkspaceInPath.
	Slug string
	// OwnTokensOnly refuses tokens of trusted issuers.
	OwnTokensOnly bool
	// Cost is what the request takes from the credential's plan.
	Cost int64

	why occasion
}

// WorkspaceRule says where a request names its workspace. A workspace that is named must always be one in which the
// credential may act.
type WorkspaceRule int

// The rules for naming a workspace. The header is the one that the credential's resource uses.
const (
	WorkspaceOptional       WorkspaceRule = iota // in the header, or not at all
	WorkspaceNamedForTokens                      // in the header; personal access tokens must send it
	WorkspaceNeeded                              // in the header; the credential must act in some workspace
	WorkspaceInPath                              // in the path; see Admission.UnknownWorkspace
)

// occasion is why a request is decided.
type occasion int

const (
	arrived   occasion = iota // it has just come
	explained                 // an operator asks: nothing is charged or noted, and the steps are kept
	rechecked                 // it was admitted before and still lasts: nothing is charged or noted
)

// Admission is what Admit found out about the credential of a request.
type Admission struct {
	Refusal   *Refusal          // nil: it is admitted
	Principal *bearer.Principal // of the credential, as far as it is known; nil: none was needed, or it never was one
	Taken     limit.Result      // of the plan; where Limit is zero nothing was counted
	Reason    string            // why it was refused, as the credential's owner reads it
	Steps     []string          // what was found out, one after the other; of Explain alone
	// UnknownWorkspace says that the path names a workspace in which the credential may not act. The request is not
	// refused for it: its caller answers as if there were no such workspace, once it has checked what the credential
	// may do.
	UnknownWorkspace bool
}

func (a *Admission) step(why occasion, format string, args ...any) {
	if why == explained {
		a.Steps = append(a.Steps, fmt.Sprintf(format, args...))
	}
}

// Admit checks the credential of a request: that there is one, that it works here, from this address and in this
// workspace, and that its plan has room. It is the only such check; what the credential may then do is for the caller
// to decide. What it refuses is in Admission.Refusal, also that storage cannot be reached.
func (g *Gateway) Admit(ctx context.Context, d Door, header http.Header, from netip.Addr) Admission {
	x := admitting{gateway: g, Door: d, header: header, from: from}
	ctx = storage.System(ctx)
	if err := x.admit(ctx); err != nil {
		x.Refusal = AsRefusal(err)
		x.chargeUnauthenticated(ctx)
		x.Reason = reasonFor(x.Reason, x.Refusal)
	}
	return x.Admission
}

// admitting is one admission in progress.
type admitting struct {
	Door
	Admission
	gateway *Gateway
	header  http.Header
	from    netip.Addr
	text    string // the credential itself
}

// admissionSteps are the steps of an admission after the credential was read, in their order.
var admissionSteps = []func(*admitting, context.Context) error{
	(*admitting).identify, (*admitting).checkAddress, (*admitting).touch, (*admitting).checkKind,
	(*admitting).enterWorkspace, (*admitting).charge,
}

// admit takes all steps until one refuses.
func (x *admitting) admit(ctx context.Context) (err error) {
	if x.text, err = bearerOf(x.header); err != nil {
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

func (x *admitting) step(format string, args ...any) { x.Admission.step(x.why, format, args...) }

// bearerOf is the credential that a request presents (RFC 6750, section 2.1): the bearer token in its one Authorization
// header. Queries, bodies, cookies and other headers are not read.
func bearerOf(h http.Header) (string, error) {
	headers := h.Values("Authorization")
	switch len(headers) {
	case 0:
		for _, name := range []string{"X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token"} {
			if h.Get(name) != "" {
				return "", &Refusal{
					Kind:  Missing,
					Cause: fmt.Errorf("no credential: the header %s is not read", name),
					Detail: "The header " + name + " is not read; send the key in the Authorization header, as a " +
						"Bearer token.",
				}
			}
		}
		return "", &Refusal{Kind: Missing, Cause: errMissing}
	case 1:
		text, ok := bearer.FromHeader(headers[0])
		if !ok || text == "" {
			return "", &Refusal{Kind: Missing, Cause: errMissing}
		}
		return text, nil
	}
	return "", &Refusal{Kind: BadRequest, Detail: "The request has more than one Authorization header; send only one."}
}

// NamedWorkspace is the slug that a request sends in a header. An empty one, or one sent twice, is named and matches no
// workspace.
func NamedWorkspace(h http.Header, name string) (slug string, named bool) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", len(values) > 0
	}
	return values[0], true
}

// For the log, which says more than some shapes do.
var (
	errMissing      = errors.New("no credential")
	errRefreshToken = errors.New("refresh tokens are accepted only at the token endpoint")
	errElsewhere    = errors.New("the credential is for another API") // its owner reads it too
)

// WasIssuedHere reports whether a principal is that of a credential which this server once issued, whether or not it
// still works.
func WasIssuedHere(p *bearer.Principal) bool { return p.KeyID != "" || p.ClientID != "" }

// at is where the credential is shown.
func (x *admitting) at() (at bearer.Audience) {
	if x.API != nil {
		at.Resources = []string{x.API.ID}
	}
	return at
}

// identify finds the principal of the credential and checks that it is meant for this API.
func (x *admitting) identify(ctx context.Context) error {
	if strings.HasPrefix(x.text, bearer.PrefixRefreshToken) {
		x.step("%v", errRefreshToken)
		return &Refusal{Kind: Invalid, Cause: errRefreshToken}
	}
	p, err := x.gateway.bearer.Principal(ctx, x.text, x.at())
	if err == nil || WasIssuedHere(&p) {
		x.Principal = &p
		x.step("the credential is %s", describe(&p))
		if x.API != nil && !catalog.SameResource(p.Audience, x.API.ID) {
			x.step("it is for %s, not for %s", p.Audience, x.API.ID)
			x.Reason = errElsewhere.Error()
			return &Refusal{Kind: Invalid, Cause: errElsewhere}
		}
	}
	if err != nil {
		return x.unusable(&p, err)
	}
	if x.why == arrived {
		actor := storage.ActorOf(ctx)
		actor.UserID, actor.ClientID, actor.Credential, actor.KeyID = p.UserID, p.ClientID, p.Kind, p.KeyID
		note := oauth.LogFieldsOf(ctx)
		note.Subject, note.ClientID = p.Subject, p.ClientID
	}
	return nil
}

// unusable is the error of a credential that does not work, or not in the workspace that was named. Its owner reads
// why, unless it never was a credential.
func (x *admitting) unusable(p *bearer.Principal, err error) error {
	x.Principal = nil
	x.step("%v", err)
	refusal, cause := (*Refusal)(nil), CredentialRefusal(p, err)
	if errors.As(cause, &refusal) && WasIssuedHere(p) && !errors.Is(err, bearer.ErrUnknown) {
		x.Principal, x.Reason = p, bearer.ReasonOf(p.Kind, err)
	}
	return cause
}

func (x *admitting) checkAddress(context.Context) error {
	p := x.Principal
	if x.why == explained { // which asks from nowhere
		if len(p.Addresses) > 0 {
			x.step("it can be used only from %s", strings.Join(p.Addresses, ", "))
		}
		return nil
	}
	if !p.AllowedFrom(x.from) {
		x.Reason = bearer.ReasonAddress
		return &Refusal{Kind: Forbidden, Detail: "The key may not be used from this address."}
	}
	return nil
}

// touch notes when the credential was last used.
func (x *admitting) touch(ctx context.Context) error {
	if x.why == arrived {
		x.gateway.bearer.Touch(ctx, x.Principal)
	}
	return nil
}

// checkKind refuses the kinds of credentials that the API or route does not accept, with any scopes.
func (x *admitting) checkKind(context.Context) error {
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
func (x *admitting) enterWorkspace(ctx context.Context) error {
	p, header := x.Principal, x.gateway.catalog.Resources()[0].WorkspaceHeader
	if r, ok := x.gateway.catalog.Resource(p.Audience); ok { // always: a credential of no resource is unknown
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
		return &Refusal{Kind: BadRequest, Detail: "Name the workspace in the header " + header + "."}
	case x.Workspace == WorkspaceNeeded && p.WorkspaceID == "":
		x.Reason = bearer.ReasonWorkspace
		return &Refusal{Kind: Forbidden, Detail: NotTheirs}
	}
	return nil
}

// act makes the principal the one that it is in a workspace. oauth.ErrWorkspace: it may not act there.
func (x *admitting) act(ctx context.Context, slug string) error {
	switch {
	case slug != "" && slug == x.Principal.Workspace:
		return nil
	case slug == "" || x.Principal.Kind != bearer.KindPersonalAccessToken:
		return bearer.ErrWorkspace
	}
	at := x.at()
	at.Workspace = slug
	p, err := x.gateway.bearer.Principal(ctx, x.text, at)
	x.Principal = &p
	if err == nil {
		x.step("in the workspace %s it acts as %s", slug, p.Role)
	}
	return err
}

// charge takes what the request costs from the plan.
func (x *admitting) charge(ctx context.Context) (err error) {
	if x.why == rechecked {
		return nil
	}
	cost := x.Cost
	x.step("it costs %d of the plan %s", cost, orNone(x.Principal.Plan))
	if x.why == explained {
		cost = 0
	}
	if x.Taken, err = x.gateway.bearer.Take(ctx, x.Principal, cost); err != nil {
		return err
	}
	if x.Taken.Limit > 0 {
		x.step("%d of %d are left", x.Taken.Remaining, x.Taken.Limit)
	}
	if !x.Taken.Allowed {
		return TooMany(x.Taken)
	}
	return nil
}

// chargeUnauthenticated counts a request without a working credential by its address, where the resource has a plan for
// such requests.
func (x *admitting) chargeUnauthenticated(ctx context.Context) {
	if x.why != arrived || x.Refusal.Kind != Missing && x.Refusal.Kind != Invalid && x.Refusal.Kind != Expired {
		return
	}
	taken, counted, err := x.gateway.bearer.TakeAnonymous(ctx, x.gateway.ResourceFor(x.API, x.Principal), x.from)
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

// ResourceFor is the resource of the API on whose host a request came; without one that which a credential is for, as
// far as either is known, else the first in the configuration.
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

// reasonFor is what the owner of a credential, or of the server, reads about a refusal: what was said where it
// happened, else the sentence that the caller gets, else, where that says nothing, the cause.
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

// RateHeaders says what is left of a plan; nothing where nothing was counted.
func RateHeaders(h http.Header, taken limit.Result) {
	if taken.Limit > 0 {
		h.Set("X-RateLimit-Limit", strconv.FormatInt(taken.Limit, 10))
		h.Set("X-RateLimit-Remaining", strconv.FormatInt(taken.Remaining, 10))
		h.Set("X-RateLimit-Reset", strconv.FormatInt(taken.Reset, 10))
	}
}
