package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/web/gateway"
)

// call is one request on its way to its answer.
type call struct {
	*API
	op *operation
	w  http.ResponseWriter
	r  *http.Request

	principal *bearer.Principal // of the credential, as far as it is known; nil for a browser session
	visitor   Visitor           // of a browser session
	by        management.Authority
	workspace storage.Workspace
	unknown   bool // the workspace that the path names is none of the caller's
	taken     limit.Result
	reason    string // why the request was refused, as the credential's owner reads it
	body      []byte
	broken    error // why the body is not whole
}

// serve judges a request in the order of credential, workspace, limit and permission, and has it done.
func (a *API) serve(w http.ResponseWriter, r *http.Request, o *operation) {
	c := &call{API: a, op: o, w: w, r: r}
	reply, err := c.judge(r.Context())
	if err != nil {
		refusal := c.anonymous(r.Context(), asRefusal(err))
		oauth.LogFieldsOf(r.Context()).Cause = refusal
		shape := a.shapeOf(r, c.principal)
		shape.Write(w, refusal)
		reply.status, _ = shape.Body(refusal)
		if oauth.CallerGone(r.Context(), err) {
			reply.status = gateway.StatusCallerGone
		}
		c.reason = cmp.Or(c.reason, reasons[refusal.Kind])
	} else {
		reply.write(w)
	}
	if p := c.principal; p != nil {
		a.bearer.NoteUse(r.Context(), p, o.method+" "+o.path, reply.status, c.reason, reply.status == http.StatusTooManyRequests)
	}
}

// anonymous counts a request without a good credential by its address, where the resource has a plan for such.
func (c *call) anonymous(ctx context.Context, refusal *gateway.Refusal) *gateway.Refusal {
	taken, counted, refusal := gateway.Anonymous(storage.System(ctx), c.bearer, c.concerned(c.r, c.principal), refusal, c.address(c.r))
	if counted {
		gateway.RateHeaders(c.w.Header(), taken)
	}
	return refusal
}

// reasons are those of refusals of a credential that is good in itself. What is wrong with a request otherwise refuses
// nothing to its credential.
var reasons = map[gateway.Kind]string{gateway.Forbidden: bearer.ReasonPermissions, gateway.Limited: bearer.ReasonLimit}

func (c *call) judge(ctx context.Context) (reply, error) {
	c.receive()
	err := c.authenticate(ctx)
	if err == nil && c.unknown && c.op.administers {
		err = c.administer(ctx)
	}
	if err == nil {
		err = c.charge(ctx)
	}
	if err == nil {
		err = c.authorize(ctx)
	}
	if err == nil && c.op.method != get && c.op.method != remove {
		err = c.management.TakeChange(ctx, &c.by)
	}
	if err != nil {
		return reply{}, err
	}
	act, err := c.op.prepare(c)
	if err != nil {
		return reply{}, err
	}
	return c.act(ctx, act)
}

// authenticate finds out who asks and in which workspace. A credential is read from the one Authorization header alone;
// without it, it is the browser's session that counts.
func (c *call) authenticate(ctx context.Context) error {
	if len(c.r.Header.Values("Authorization")) == 0 && gateway.ConcernedAPI(ctx) == nil {
		return c.authenticateSession(ctx)
	}
	text, err := gateway.Credential(c.r.Header)
	if err != nil {
		return err
	}
	return c.authenticateCredential(ctx, text)
}

func (c *call) authenticateCredential(ctx context.Context, text string) error {
	if strings.HasPrefix(text, bearer.PrefixRefreshToken) {
		return &gateway.Refusal{Kind: gateway.Invalid, Cause: gateway.ErrRefreshToken}
	}
	at := bearer.Audience{}
	if host := gateway.ConcernedAPI(ctx); host != nil {
		at.Resources = []string{host.ID}
	}
	p, err := c.bearer.Principal(ctx, text, at)
	if (err == nil || gateway.Known(&p)) && len(at.Resources) > 0 && !catalog.SameResource(p.Audience, at.Resources[0]) {
		return &gateway.Refusal{Kind: gateway.Invalid, Cause: errElsewhere}
	}
	if err != nil {
		return c.useless(&p, err)
	}
	c.principal = &p
	actor := storage.ActorOf(ctx)
	actor.UserID, actor.ClientID, actor.Credential, actor.KeyID = p.UserID, p.ClientID, p.Kind, p.KeyID
	note := oauth.LogFieldsOf(ctx)
	note.Subject, note.ClientID = p.Subject, p.ClientID
	if !p.AllowedFrom(c.address(c.r)) {
		c.reason = bearer.ReasonAddress
		return forbidden("The key may not be used from this address.")
	}
	c.bearer.Touch(ctx, &p)
	resource, _ := c.catalog.Resource(p.Audience) // Principal has found it
	slug, named := c.named(resource)
	if named && (slug == "" || slug != p.Workspace) {
		if p.Kind == bearer.KindPersonalAccessToken && slug != "" {
			at.Workspace = slug
			p, err = c.bearer.Principal(ctx, text, at)
		} else {
			err = bearer.ErrWorkspace
		}
	}
	if errors.Is(err, bearer.ErrWorkspace) && c.op.where == inPath {
		c.unknown, err = true, nil
	}
	if err != nil {
		return c.useless(&p, err)
	}
	if p.OwnScopes != nil && !c.op.whoAmI && (c.unknown || !named && c.op.where != inHeader) {
		p.Scopes = p.OwnScopes // it is about what is the user's own, or about nothing: no role of theirs counts
	}
	if c.op.where == inHeader && p.WorkspaceID == "" {
		c.reason = bearer.ReasonWorkspace
		if p.Kind == bearer.KindPersonalAccessToken {
			return badRequest("Name the workspace in the header " + resource.WorkspaceHeader + ".")
		}
		return forbidden(gateway.NotTheirs)
	}
	if c.op.whoAmI || c.unknown {
		return nil
	}
	c.by, c.workspace, err = c.management.CredentialAuthority(ctx, &p)
	if err == nil && c.op.where != inHeader && c.workspace.ID != "" {
		// It is about the workspace itself, of which the credential does not know all.
		c.workspace, err = c.store.WorkspaceByID(storage.System(ctx), c.workspace.ID)
		c.workspace.Role = c.by.Role
	}
	if errors.Is(err, storage.ErrNotFound) {
		return c.useless(&p, bearer.ErrRevoked) // deleted at this moment
	}
	return err
}

var (
	errMissing   = errors.New("no credential")
	errElsewhere = errors.New("a credential for another API")
)

// useless is the refusal of a credential that is good for nothing, or not in the workspace that was named.
func (c *call) useless(p *bearer.Principal, err error) error {
	var refusal *gateway.Refusal
	if err = gateway.Useless(p, err); errors.As(err, &refusal) && gateway.Known(p) && !errors.Is(err, bearer.ErrUnknown) {
		c.principal, c.reason = p, bearer.ReasonOf(refusal.Cause)
	} else {
		c.principal = nil
	}
	return err
}

// named is the workspace that a request names, by its path or else by the header of a resource. An empty slug is one
// that cannot be anybody's.
func (c *call) named(resource *catalog.Resource) (slug string, named bool) {
	if c.op.where == inPath {
		return c.r.PathValue("slug"), true
	}
	values := c.r.Header.Values(resource.WorkspaceHeader)
	if len(values) != 1 {
		return "", len(values) > 0
	}
	return values[0], true
}

func (c *call) authenticateSession(ctx context.Context) error {
	if err := c.sameOrigin.Check(c.r); err != nil {
		return &gateway.Refusal{Kind: gateway.Forbidden, Detail: "Another site sent this request; nothing was changed.", Cause: err}
	}
	v, err := c.API.visitor(c.r)
	if err != nil {
		return err
	}
	if v.User.ID == "" {
		if _, err := gateway.Credential(c.r.Header); err != nil {
			return err // it names a header that is not read
		}
		return &gateway.Refusal{Kind: gateway.Missing, Cause: errMissing}
	}
	c.visitor = v
	oauth.LogFieldsOf(ctx).Subject = v.User.ID
	slug, named := c.named(&c.catalog.Resources()[0])
	if named && slug == "" {
		return forbidden(gateway.NotTheirs)
	}
	c.by, c.workspace, _, err = c.management.PersonAuthority(ctx, v.User.ID, slug)
	switch {
	case errors.Is(err, bearer.ErrWorkspace) && c.op.where == inPath:
		c.unknown = true
		return nil
	case errors.Is(err, bearer.ErrWorkspace):
		return forbidden(gateway.NotTheirs)
	case errors.Is(err, bearer.ErrSuspended):
		return forbidden("The workspace is disabled.")
	}
	c.by.Fresh = v.Fresh
	return err
}

// administer finds the workspace that an administrator of this server names without being one of its members.
func (c *call) administer(ctx context.Context) error {
	ctx = storage.System(ctx)
	userID := c.visitor.User.ID
	if p := c.principal; p != nil {
		userID = p.UserID
	}
	u, err := c.store.UserByID(ctx, userID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && !u.Admin {
		return nil // to them there is no such workspace
	}
	if err != nil {
		return fmt.Errorf("administrator: %w", err)
	}
	w, err := c.store.WorkspaceBySlug(ctx, c.r.PathValue("slug"))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("administrator: %w", err)
	}
	c.by.UserID, c.by.Credential, c.by.WorkspaceID, c.by.Role = userID, c.principal, w.ID, ""
	c.by.Session = c.principal == nil
	c.workspace, c.unknown = w, false
	return nil
}

// charge takes one request from the plan of a credential; those of a browser session are not counted.
func (c *call) charge(ctx context.Context) error {
	if c.principal == nil {
		return nil
	}
	var err error
	if c.taken, err = c.bearer.Take(storage.System(ctx), c.principal, 1); err != nil {
		return err
	}
	gateway.RateHeaders(c.w.Header(), c.taken)
	if !c.taken.Allowed {
		return gateway.TooMany(c.taken)
	}
	return nil
}

// authorize refuses what the caller may not do, whatever it is about.
func (c *call) authorize(ctx context.Context) error {
	if p := c.principal; p != nil {
		switch {
		case p.Has(catalog.ScopeIntrospect):
			return forbidden("A key that introspects can do nothing else.")
		case !c.op.whoAmI && p.Kind == bearer.KindForeignJWT:
			return forbidden("A token of another issuer can manage nothing here; use a credential of this server.")
		case !c.op.whoAmI && !p.Has(catalog.ScopeAdmin):
			return &gateway.Refusal{
				Kind: gateway.Forbidden, Scope: catalog.ScopeAdmin,
				Detail: "The permission " + catalog.ScopeAdmin + " is missing for " + c.op.method + " " + c.op.path + "; use a credential that has it.",
			}
		}
	}
	if c.unknown {
		return storage.ErrNotFound
	}
	if c.op.whoAmI {
		return nil
	}
	if c.op.server {
		return c.management.MayAdminister(ctx, &c.by)
	}
	return c.by.Decide(management.Act{Permission: c.op.may, Own: c.op.speaker == asPerson})
}

// caller names who asks, so that what is theirs alone can be bound to them.
func (c *call) caller() string {
	if p := c.principal; p != nil {
		return strings.Join([]string{p.Kind, p.KeyID, p.ClientID, p.UserID}, " ")
	}
	return "session " + c.visitor.User.ID
}

// speak is ctx on behalf of whom the operation is done.
func (c *call) speak(ctx context.Context) context.Context {
	switch c.op.speaker {
	case asSystem:
	case asTenant:
		return storage.Tenant(ctx, c.by.UserID, c.by.WorkspaceID)
	case asPerson:
		return storage.Tenant(ctx, c.by.UserID, c.by.PersonalID)
	}
	return storage.System(ctx)
}
