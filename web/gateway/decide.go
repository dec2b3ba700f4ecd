package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Request is what is to be decided about.
type Request struct {
	Method  string
	Path    string      // as it came, with its escapes, without the query
	Header  http.Header // of which Authorization and the resource's workspace header count
	Address netip.Addr  // where it comes from
}

// Verdict is the decision about a request, and why.
type Verdict struct {
	Refusal   *Refusal          // nil: it is allowed
	Rule      *Rule             // the one that decides; nil: none matches
	Principal *bearer.Principal // of the credential, as far as it is known; nil: none was asked for, or it never was one
	Taken     limit.Result      // of the plan; where Limit is zero nothing was counted
	Reason    string            // why it was refused, as the credential's owner reads it
	Steps     []string          // what was found out, one after the other; of Explain alone
	object    string            // what {object} stands for in the rule
}

// maxExplained bounds how many steps are told.
const maxExplained = 20

// judging is one decision under way.
type judging struct {
	*API
	bearer *bearer.Verifier
	dry    bool // nothing is charged or noted, and the steps are told
	again  bool // it was allowed before: nothing is charged or noted
	v      Verdict
}

func (j *judging) step(format string, args ...any) {
	if j.dry && len(j.v.Steps) < maxExplained {
		j.v.Steps = append(j.v.Steps, fmt.Sprintf(format, args...))
	}
}

// Decide judges a request for a resource's API: credential, workspace, limit, and last the route and its needs. What it
// refuses is in Verdict.Refusal, also that storage is away. The caller notes the use (Note), since the status of what is
// allowed is not known yet.
func (g *Gateway) Decide(ctx context.Context, a *API, r Request) Verdict {
	return g.judge(ctx, a, r, first)
}

// Explain is Decide with its steps told, that charges and notes nothing.
func (g *Gateway) Explain(ctx context.Context, a *API, r Request) Verdict {
	return g.judge(ctx, a, r, explained)
}

// occasion is why a request is judged.
type occasion int

const (
	first     occasion = iota // it has come
	explained                 // somebody asks how it would be judged
	again                     // it lasts
)

func (g *Gateway) judge(ctx context.Context, a *API, r Request, why occasion) Verdict {
	ctx = storage.System(ctx)
	j := judging{API: a, bearer: g.bearer, dry: why == explained, again: why == again}
	err := j.request(ctx, &r)
	if err != nil {
		j.v.Refusal = AsRefusal(err)
		if why == first {
			j.anonymous(ctx, r.Address)
		}
		j.v.Reason = cmpReason(j.v.Reason, j.v.Refusal)
		j.step("refused: %s", j.v.Reason)
	}
	return j.v
}

// cmpReason is what the owner of a credential, or of the server, reads about a refusal: what was said where it happened,
// else its own sentence, which those have not that say no more to the caller, else the cause.
func cmpReason(said string, r *Refusal) string {
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

func (j *judging) request(ctx context.Context, r *Request) error {
	if r.Method != strings.ToUpper(r.Method) { // which is how some APIs would take it
		j.step("the method is not in capitals")
		return &Refusal{Kind: BadRequest, Detail: "Write the method in capitals."}
	}
	path, ok := decodedPath(r.Path)
	if !ok {
		j.step("the path is not in its plain form: it has . or .. segments, //, a backslash, a semicolon or an escape of one")
		return &Refusal{Kind: BadRequest, Detail: "The path is not in its plain form; send it without dot segments, double slashes, backslashes, semicolons and escapes of these."}
	}
	rule, object, ok := j.routes.find(r.Method, path, r.Path)
	if !ok {
		j.step("the path could be taken for one of another route by an API that compares paths loosely (paths: loose)")
		return &Refusal{Kind: BadRequest, Detail: "The path could be taken for another one; send it as the documentation of the API writes it, without escapes that nothing needs and without an ending that it does not have there."}
	}
	j.v.Rule, j.v.object = rule, object
	if rule == nil {
		j.step("no route takes %s %s", r.Method, path)
	} else {
		j.step("the route %s decides", rule)
		if rule.Public {
			j.step("it is public: nothing is needed, nothing is counted")
			return nil
		}
		if rule.Refuse {
			j.step("it refuses every request")
		}
		if object != "" {
			j.step("{object} is %s", object)
		}
	}
	text, err := Credential(r.Header)
	if err != nil {
		var missing *Refusal
		if errors.As(err, &missing) && missing.Kind == Missing {
			j.step("no credential was sent")
			if rule != nil {
				missing.Scope = strings.Join(rule.needs(object), " ")
			}
		}
		return err
	}
	if err := j.credential(ctx, r, text); err != nil {
		return err
	}
	if err := j.charge(ctx); err != nil {
		return err
	}
	return j.permissions(r.Method, object)
}

// Credential is what a request shows (RFC 6750 section 2.1): the bearer token in its one Authorization header. Whatever
// stands in queries, bodies, cookies and other headers is none.
func Credential(h http.Header) (string, error) {
	headers := h.Values("Authorization")
	switch len(headers) {
	case 0:
		for _, name := range []string{"X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token"} {
			if h.Get(name) != "" {
				return "", &Refusal{Kind: Missing, Cause: fmt.Errorf("no credential: the header %s is not read", name), Detail: "The header " + name + " is not read; send the key in the header Authorization, after the word Bearer."}
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
	return "", &Refusal{Kind: BadRequest, Detail: "The request has two Authorization headers; send one."}
}

// ErrRefreshToken is why a refresh token is no credential for an API; for the log.
var ErrRefreshToken = errors.New("a refresh token is for the token endpoint alone")

// errMissing is for the log, which always tells what some shapes do not.
var errMissing = errors.New("no credential")

// reasonElsewhere is what the owner of a credential reads where it was shown to an API that it is not for.
const reasonElsewhere = "the credential is for another API"

// credential finds out who asks and in which workspace.
func (j *judging) credential(ctx context.Context, r *Request, text string) error {
	if strings.HasPrefix(text, bearer.PrefixRefreshToken) {
		j.step("a refresh token is for the token endpoint alone")
		return &Refusal{Kind: Invalid, Cause: ErrRefreshToken}
	}
	at := bearer.Audience{Resources: []string{j.ID}}
	p, err := j.bearer.Principal(ctx, text, at)
	if err == nil || Known(&p) {
		j.v.Principal = &p
		j.step("the credential is %s", describe(&p))
	}
	if (err == nil || Known(&p)) && !catalog.SameResource(p.Audience, j.ID) {
		j.step("it is for %s, not for %s", p.Audience, j.ID)
		j.v.Reason = reasonElsewhere
		return &Refusal{Kind: Invalid, Cause: errors.New(reasonElsewhere)}
	}
	if err != nil {
		return j.useless(&p, err)
	}
	if !j.dry && !j.again {
		actor := storage.ActorOf(ctx)
		actor.UserID, actor.ClientID, actor.Credential, actor.KeyID = p.UserID, p.ClientID, p.Kind, p.KeyID
		note := oauth.LogFieldsOf(ctx)
		note.Subject, note.ClientID = p.Subject, p.ClientID
	}
	if !p.AllowedFrom(r.Address) && !j.dry { // a command asks from nowhere
		j.v.Reason = bearer.ReasonAddress
		return &Refusal{Kind: Forbidden, Detail: "The key may not be used from this address."}
	}
	if j.dry && len(p.Addresses) > 0 {
		j.step("it may be used from %s only", strings.Join(p.Addresses, ", "))
	}
	if !j.dry && !j.again {
		j.bearer.Touch(ctx, &p)
	}
	if p.Has(catalog.ScopeIntrospect) && p.WorkspaceID == "" && p.Kind == bearer.KindAPIKey {
		return &Refusal{Kind: Forbidden, Detail: "A key that introspects can do nothing else."}
	}
	slug, named := j.workspace(r.Header)
	switch {
	case named && slug != "" && slug == p.Workspace:
	case named && slug != "" && p.Kind == bearer.KindPersonalAccessToken:
		at.Workspace = slug
		if p, err = j.bearer.Principal(ctx, text, at); err != nil {
			return j.useless(&p, err)
		}
		j.step("in the workspace %s it acts as %s", slug, p.Role)
	case named:
		return j.useless(&p, bearer.ErrWorkspace)
	case p.Kind == bearer.KindPersonalAccessToken:
		j.v.Reason = bearer.ReasonWorkspace
		return &Refusal{Kind: BadRequest, Detail: "Name the workspace in the header " + j.resource.WorkspaceHeader + "."}
	}
	return nil
}

// Known tells whether a principal, whatever came of it, is of a credential that was once made here.
func Known(p *bearer.Principal) bool { return p.KeyID != "" || p.ClientID != "" }

// workspace is the slug that a request names. An empty one that is named cannot be anybody's.
func (j *judging) workspace(h http.Header) (slug string, named bool) {
	values := h.Values(j.resource.WorkspaceHeader)
	if len(values) != 1 {
		return "", len(values) > 0
	}
	return values[0], true
}

func (j *judging) useless(p *bearer.Principal, err error) error {
	j.v.Principal = nil
	if Known(p) && !errors.Is(err, bearer.ErrUnknown) {
		j.v.Principal, j.v.Reason = p, bearer.ReasonOf(err)
	}
	j.step("%v", err)
	return Useless(p, err)
}

// NotTheirs is what is said about every workspace that a credential may not act in, whether there is such a one or not.
const NotTheirs = "The workspace that was named is not one of this credential."

// Useless is the refusal of a credential that is good for nothing, or not in the workspace that was named; other errors
// than those of bearer.Verifier.Principal's judgement come back as they are.
func Useless(p *bearer.Principal, err error) error {
	refusal := &Refusal{AccessToken: p.Kind == bearer.KindAccessToken || p.Kind == bearer.KindForeignJWT, Cause: err}
	switch {
	case errors.Is(err, bearer.ErrUnknown):
		refusal.Kind = Invalid
	case errors.Is(err, bearer.ErrRevoked):
		refusal.Kind, refusal.KeyID = Invalid, p.KeyID
	case errors.Is(err, bearer.ErrExpired):
		refusal.Kind, refusal.ExpiredAt, refusal.Detail = Expired, p.ExpiresAt.Time(), "The API key has expired; use another."
		if refusal.AccessToken {
			refusal.Detail = "The access token has expired; refresh it."
		}
	case errors.Is(err, bearer.ErrSuspended):
		refusal.Kind, refusal.Detail = Forbidden, "The key is paused, or its app, user or workspace disabled."
	case errors.Is(err, bearer.ErrWorkspace):
		refusal.Kind, refusal.Detail = Forbidden, NotTheirs
	default:
		return err
	}
	return refusal
}

// charge takes what the request costs from the plan.
func (j *judging) charge(ctx context.Context) (err error) {
	if j.again {
		return nil
	}
	p, cost := j.v.Principal, int64(1)
	if j.v.Rule != nil {
		cost = j.v.Rule.Cost
	}
	j.step("it costs %d of the plan %s", cost, orNone(p.Plan))
	if j.dry {
		cost = 0
	}
	j.v.Taken, err = j.bearer.Take(ctx, p, cost)
	if err != nil {
		return err
	}
	if j.dry && j.v.Taken.Limit > 0 {
		j.step("%d of %d are left", j.v.Taken.Remaining, j.v.Taken.Limit)
	}
	if !j.v.Taken.Allowed {
		return TooMany(j.v.Taken)
	}
	return nil
}

// TooMany is the refusal of a request that a limit does not admit.
func TooMany(taken limit.Result) *Refusal {
	return &Refusal{Kind: Limited, Detail: "Too many requests.", RetryAfter: taken.RetryAfter}
}

// anonymous counts a request without a good credential by its address, where the resource has a plan for such.
func (j *judging) anonymous(ctx context.Context, from netip.Addr) {
	taken, counted, refusal := Anonymous(ctx, j.bearer, j.resource, j.v.Refusal, from)
	if counted {
		j.v.Taken = taken
	}
	j.v.Refusal = refusal
}

// Anonymous counts a refused request by its address, where that is for want of a good credential and the resource has a
// plan for such. The refusal that comes back is the one to answer with.
func Anonymous(ctx context.Context, verifier *bearer.Verifier, r *catalog.Resource, refusal *Refusal, from netip.Addr) (taken limit.Result, counted bool, answer *Refusal) {
	if refusal.Kind != Missing && refusal.Kind != Invalid && refusal.Kind != Expired {
		return taken, false, refusal
	}
	taken, counted, err := verifier.TakeAnonymous(ctx, r, from)
	switch {
	case err != nil:
		return taken, false, AsRefusal(err)
	case counted && !taken.Allowed:
		return taken, true, TooMany(taken)
	}
	return taken, counted, refusal
}

// permissions compares what the route needs with what the credential has.
func (j *judging) permissions(method, object string) error {
	rule, p := j.v.Rule, j.v.Principal
	if rule != nil && rule.Refuse {
		return j.denied("", "This API does not serve this request; check method and path.", fmt.Sprintf("the route %s refuses every request", rule))
	}
	if rule == nil {
		return j.denied("", "No route of this API takes this request; check method and path.", "no route takes the request")
	}
	name := rule.named(method, object)
	if len(rule.Credentials) > 0 && !slices.Contains(rule.Credentials, p.Kind) {
		return j.denied("", fmt.Sprintf("%s takes no %s; use %s.", name, bearer.KindInWords(p.Kind), listOf(rule.Credentials)),
			fmt.Sprintf("the route %s takes no %s; it takes %s", rule, bearer.KindInWords(p.Kind), listOf(rule.Credentials)))
	}
	needs := rule.needs(object)
	for _, scope := range needs {
		if !p.Has(scope) {
			return j.denied(scope, "The permission "+scope+" is missing for "+name+"; use a credential that has it.",
				fmt.Sprintf("the route %s needs the scope %s, and the credential has %s", rule, strings.Join(needs, " and "), orNone(strings.Join(p.Scopes, " "))))
		}
	}
	if rule.Role != "" && !catalog.AtLeast(p.Role, rule.Role) {
		return j.denied("", "The role "+rule.Role+" is missing for "+name+".",
			fmt.Sprintf("the route %s needs the role %s, and the credential has %s", rule, rule.Role, orNone(p.Role)))
	}
	j.step("allowed: the credential has %s", orNone(strings.Join(p.Scopes, " ")))
	return nil
}

// denied is a refusal by a rule; why is for the owner of the credential.
func (j *judging) denied(scope, detail, why string) error {
	j.v.Reason = why
	return &Refusal{Kind: Forbidden, Scope: scope, Detail: detail, Cause: errors.New(why)}
}

// Needed says in words what would pass where the verdict was reached; empty where nothing would, or nothing is needed.
func (v *Verdict) Needed(method string) string {
	if v.Rule == nil || v.Rule.Public || v.Rule.Refuse {
		return ""
	}
	kinds := v.Rule.Credentials
	if len(kinds) == 0 {
		kinds = bearer.KindsAtAPI()
	}
	text := listOf(kinds)
	if needs := v.Rule.needs(v.object); len(needs) > 0 {
		text += " with " + strings.Join(needs, " and ")
	}
	if v.Rule.Role != "" {
		text += ", of a user who is at least " + v.Rule.Role + " in the workspace"
	}
	return text + ", for " + v.Rule.named(method, v.object)
}

// named says which requests a rule is about, in words that hold nothing of what a stranger sent.
func (r *Rule) named(method, object string) string {
	path := r.Path
	if object != "" {
		path = strings.Replace(path, "{object}", object, 1)
	}
	if r.takes(method) && knownMethods[method] {
		return method + " " + path
	}
	return path
}

var knownMethods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true, http.MethodOptions: true,
}

func listOf(kinds []string) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		name := bearer.KindInWords(k)
		words[i] = "a " + name
		if strings.HasPrefix(name, "a") || strings.HasPrefix(name, "A") {
			words[i] = "an " + name
		}
	}
	return strings.Join(words, " or ")
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
	if text == "" {
		text = strings.ReplaceAll(p.Kind, "_", " ")
	}
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

// AsRefusal makes an error into one that has a shape.
func AsRefusal(err error) *Refusal {
	var own *Refusal
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, bearer.ErrIssuerKeys) && !errors.Is(err, context.Canceled):
		return &Refusal{Kind: Unavailable, Detail: bearer.IssuerKeysUnavailable, RetryAfter: 5 * time.Second, Cause: err}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Refusal{Kind: Unavailable, Detail: "The server cannot reach its storage. Nothing is lost; try again shortly.", RetryAfter: time.Second, Cause: err}
	}
	return &Refusal{Kind: Failed, Detail: "The server failed. Send the request id to its operator.", Cause: err}
}

// Note counts a request with its credential, and keeps it among a key's last ones.
func (g *Gateway) Note(ctx context.Context, v *Verdict, method string, status int) {
	if v.Principal == nil || !Known(v.Principal) {
		return
	}
	action := "a request that no route takes"
	if v.Rule != nil {
		action = v.Rule.Path
	}
	if knownMethods[method] {
		action = method + " " + action
	}
	if v.Refusal != nil && oauth.CallerGone(ctx, v.Refusal.Cause) {
		status = StatusCallerGone
	}
	g.bearer.NoteUse(ctx, v.Principal, action, status, v.Reason, v.Refusal != nil && v.Refusal.Kind == Limited)
}

// RateHeaders tells what is left of a plan; nothing where nothing was counted.
func RateHeaders(h http.Header, taken limit.Result) {
	if taken.Limit > 0 {
		h.Set("X-RateLimit-Limit", strconv.FormatInt(taken.Limit, 10))
		h.Set("X-RateLimit-Remaining", strconv.FormatInt(taken.Remaining, 10))
		h.Set("X-RateLimit-Reset", strconv.FormatInt(taken.Reset, 10))
	}
}
