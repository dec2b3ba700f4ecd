package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/web/gateway/route"
)

// Request is a request to decide about.
type Request struct {
	Method  string
	Path    string       // as sent, with escapes, without the query
	Header  http.Header  // only Authorization, DPoP and the resource's workspace header are read
	Address netip.Addr   // of the client
	Origin  oauth.Origin // where the client sent it, for DPoP proofs
}

// Verdict is the decision about a request, and why.
type Verdict struct {
	Admission
	Route  *route.Route // the route that applies; nil: none matches
	object string       // the value of {object} in the route
	path   string       // of the request, as sent, with escapes; empty: unknown
}

// Decide decides about a request to an API: first by the credential, its workspace and its limit, then by the route. If
// it refuses the request, or storage cannot be reached, Verdict.Refusal says why. The caller then calls Note with the
// status of the response.
func (g *Gateway) Decide(ctx context.Context, a *API, r Request) Verdict {
	return g.decideFor(ctx, a, r, arrived)
}

// Explain does what Decide does and records the steps. It does not charge the plan or record the use.
func (g *Gateway) Explain(ctx context.Context, a *API, r Request) Verdict {
	return g.decideFor(ctx, a, r, explained)
}

// decision is a decision in progress.
type decision struct {
	*API
	Verdict
	gateway *Gateway
	mode    mode
}

func (d *decision) step(format string, args ...any) { d.Admission.step(d.mode, format, args...) }

func (g *Gateway) decideFor(ctx context.Context, a *API, r Request, mode mode) Verdict {
	d := decision{API: a, gateway: g, mode: mode}
	d.path = r.Path
	if err := d.request(ctx, &r); err != nil {
		d.Refusal = AsRefusal(err)
		d.Reason = reasonFor(d.Reason, d.Refusal)
		d.step("refused: %s", d.Reason)
	}
	return d.Verdict
}

func (d *decision) request(ctx context.Context, r *Request) error {
	decided, err := d.match(r)
	if decided || err != nil {
		return err
	}
	options := AdmitOptions{
		API: d.API, Workspace: WorkspaceNamedForTokens, Cost: 1, mode: d.mode, Origin: r.Origin, Method: r.Method,
		Path: r.Path,
	}
	if d.Route != nil {
		options.Cost = d.Route.Cost
	}
	steps := d.Steps
	d.Admission = d.gateway.Admit(ctx, options, r.Header, r.Address)
	d.Steps = append(steps, d.Steps...)
	if d.Refusal == nil {
		return d.permissions(r.Method)
	}
	switch {
	case d.Refusal.Kind == Missing && d.Route != nil:
		d.Refusal.Scope = strings.Join(d.Route.ScopesFor(d.object), " ")
	case d.Refusal.Kind == Missing && r.Method == http.MethodPost && r.Path == registerPath:
		return notRegistering(d.API)
	}
	return d.Refusal
}

// registerPath is where some MCP clients try to register, at the API itself, if the authorization server registers no
// clients.
const registerPath = "/register"

// notRegistering is the refusal of such a client, whose user is shown the answer. Without it they would read that a
// credential is missing.
func notRegistering(a *API) *Refusal {
	detail := "Apps do not register at this API. Ask its operator for a client ID, or to let apps register themselves."
	if a.Shape.Metadata != "" {
		detail += " The authorization server is named at " + a.Shape.Metadata + "."
	}
	return &Refusal{Kind: NotFound, Detail: detail}
}

// match finds the route of a request. A request to a public route is decided without a credential.
func (d *decision) match(r *Request) (decided bool, err error) {
	if r.Method != strings.ToUpper(r.Method) { // some APIs would treat it as upper case
		d.step("the method is not in upper case")
		return false, &Refusal{Kind: BadRequest, Detail: "The method must be in upper case."}
	}
	path, ok := route.DecodePath(r.Path)
	if !ok {
		d.step("the path is not normalised: it has . or .. segments, //, a backslash, a semicolon, or an escaped one")
		return false, &Refusal{
			Kind: BadRequest,
			Detail: "The path is not normalised; send it without dot segments, double slashes, backslashes, " +
				"semicolons or escaped forms of these.",
		}
	}
	rule, object, ok := d.table.Find(r.Method, path, r.Path)
	if !ok {
		d.step("an API that compares paths loosely could match the path to another route (paths: loose)")
		return false, &Refusal{
			Kind: BadRequest,
			Detail: "The path is ambiguous; send it exactly as the API's documentation spells it, without " +
				"unnecessary escapes and without an added file extension.",
		}
	}
	d.Route, d.object = rule, object
	if rule == nil {
		d.step("no route matches %s %s", r.Method, path)
		return false, nil
	}
	if d.mode == explained { // otherwise the arguments would be allocated for each request
		d.step("the route %s applies", rule)
	}
	if rule.Public {
		d.step("it is public: no credential is needed, and nothing is counted")
		return true, nil
	}
	if rule.Refuse {
		d.step("it refuses every request")
	}
	if object != "" {
		d.step("{object} is %s", object)
	}
	return false, nil
}

// permissions checks that the credential has what the route needs.
func (d *decision) permissions(method string) error {
	rule, p := d.Route, d.Principal
	if rule == nil {
		return d.denied(
			"No route of this API matches this request; check the method and path.",
			"no route matches the request",
		)
	}
	if rule.Refuse {
		why := fmt.Sprintf("the route %s refuses every request", rule)
		return d.denied("This API does not serve this request; check the method and path.", why)
	}
	if len(rule.Credentials) > 0 && !slices.Contains(rule.Credentials, p.Kind) {
		accepted := listOf(rule.Credentials)
		return d.denied(
			fmt.Sprintf(
				"%s does not accept %s; use %s.", rule.NameFor(method, d.object), bearer.OneOfKind(p.Kind), accepted,
			),
			fmt.Sprintf("the route %s does not accept %s; it accepts %s", rule, bearer.OneOfKind(p.Kind), accepted),
		)
	}
	needs := rule.ScopesFor(d.object)
	for _, scope := range needs {
		if !p.Has(scope) {
			refusal := MissingScope(scope, rule.NameFor(method, d.object))
			d.Reason = fmt.Sprintf("the route %s requires the scope %s; the credential has %s",
				rule, strings.Join(needs, " and "), onlyScopes(p.Scopes))
			refusal.Cause = errors.New(d.Reason)
			return refusal
		}
	}
	if rule.Role != "" && !catalog.AtLeast(p.Role, rule.Role) {
		return d.denied(
			rule.NameFor(method, d.object)+" requires the "+rule.Role+" role or higher.",
			fmt.Sprintf("the route %s requires the role %s; the credential has %s", rule, rule.Role, onlyRole(p.Role)),
		)
	}
	if d.mode == explained {
		d.step("allowed: the credential has %s", orNone(strings.Join(p.Scopes, " ")))
	}
	return nil
}

// denied returns a refusal by a route's rule. reason is shown to the owner of the credential.
func (d *decision) denied(detail, reason string) error {
	d.Reason = reason
	return &Refusal{Kind: Forbidden, Detail: detail, Cause: errors.New(reason)}
}

// Needed says in words which credential would be allowed; empty if none would, or none is needed.
func (v *Verdict) Needed(method string) string {
	if v.Route == nil || v.Route.Public || v.Route.Refuse {
		return ""
	}
	kinds := v.Route.Credentials
	if len(kinds) == 0 {
		kinds = bearer.KindsAtAPI()
	}
	text := listOf(kinds)
	if needs := v.Route.ScopesFor(v.object); len(needs) > 0 {
		text += " with " + strings.Join(needs, " and ")
	}
	if v.Route.Role != "" {
		text += ", of a user who is at least " + v.Route.Role + " in the workspace"
	}
	return text + ", for " + v.Route.NameFor(method, v.object)
}

// listOf names credential kinds, such as "an API key or a personal access token".
func listOf(kinds []string) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = bearer.OneOfKind(k)
	}
	return strings.Join(words, " or ")
}

// onlyScopes says which scopes a credential has, for a refusal.
func onlyScopes(scopes []string) string {
	switch len(scopes) {
	case 0:
		return "no scopes"
	case 1:
		return "only the scope " + scopes[0]
	}
	return "only the scopes " + strings.Join(scopes, ", ")
}

// onlyRole says which role a credential has, for a refusal.
func onlyRole(role string) string {
	if role == "" {
		return "no role"
	}
	return "only the role " + role
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// describe names a credential without showing it.
func describe(p *bearer.Principal) string {
	text := bearer.KindInWords(p.Kind)
	if p.KeyID != "" {
		text += " " + p.KeyID
	} else if p.ClientID != "" {
		text += " of the app " + p.ClientID
	}
	if p.Workspace != "" {
		text += " in the workspace " + p.Workspace
	}
	if len(p.Scopes) > 0 {
		text += " with " + strings.Join(p.Scopes, " ")
	}
	if p.Role != "" {
		text += " as " + p.Role
	}
	return text
}

// Note counts a request in the usage of its credential, and records it among a key's last requests, with its path or,
// if that is unknown, the pattern of its route.
func (g *Gateway) Note(ctx context.Context, v *Verdict, method string, status int) {
	if v.Principal == nil || !WasIssuedHere(v.Principal) {
		return
	}
	action := "a request that no route matches"
	switch {
	case v.path != "":
		action = bearer.ShownPath(v.path)
	case v.Route != nil:
		action = v.Route.Path
	}
	if slices.Contains(route.Methods, method) {
		action = method + " " + action
	}
	if v.Refusal != nil && oauth.CallerGone(ctx, v.Refusal.Cause) {
		status = StatusCallerGone
	}
	g.bearer.NoteUse(ctx, v.Principal, action, status, v.Reason, v.Refusal != nil && v.Refusal.Kind == Limited)
}
