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

// call is a request in progress.
type call struct {
	*API
	op *operation
	w  http.ResponseWriter
	r  *http.Request

	principal *bearer.Principal // of the credential, if it is known; nil for a browser session
	signedIn  Visitor           // of a browser session
	by        management.Authority
	workspace storage.Workspace
	unknown   bool // the caller has no access to the workspace in the path
	taken     limit.Result
	reason    string // why the request was refused, for the credential's owner
	body      []byte
	broken    error // why the body is incomplete
}

// serve decides about a request by credential, workspace, limit and permission, in this order, and runs the operation.
func (a *API) serve(w http.ResponseWriter, r *http.Request, o *operation) {
	c := &call{API: a, op: o, w: w, r: r}
	reply, err := c.handle(r.Context())
	if err != nil {
		refusal := asRefusal(err)
		oauth.LogFieldsOf(r.Context()).Cause = refusal
		shape := a.shapeOf(r, c.principal)
		shape.Write(w, refusal.For(r.Header))
		reply.status, _ = shape.Body(refusal)
		if oauth.CallerGone(r.Context(), err) {
			reply.status = gateway.StatusCallerGone
		}
		c.reason = cmp.Or(c.reason, reasonOf(refusal))
	} else {
		reply.write(w)
	}
	if p := c.principal; p != nil && gateway.WasIssuedHere(p) {
		limited := reply.status == http.StatusTooManyRequests
		a.bearer.NoteUse(r.Context(), p, o.method+" "+bearer.ShownPath(r.URL.EscapedPath()), reply.status, c.reason, limited)
	}
}

// reasonOf returns why an admitted credential was refused, for its owner. It is empty for errors that are about the
// request, not the credential.
func reasonOf(r *gateway.Refusal) string {
	switch {
	case r.Kind == gateway.Limited:
		return bearer.ReasonLimit
	case r.Kind != gateway.Forbidden:
		return ""
	case r.Scope != "":
		return bearer.ReasonScope(r.Scope)
	}
	return r.Detail
}

func (c *call) handle(ctx context.Context) (reply, error) {
	c.receive()
	err := c.authenticate(ctx)
	if err == nil && c.unknown && c.op.administers {
		err = c.administer(ctx)
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

// authenticate finds the caller and the workspace. On the issuer's host, a request without an Authorization header
// belongs to the browser's session, if there is one.
func (c *call) authenticate(ctx context.Context) error {
	host := gateway.APIOf(ctx)
	if len(c.r.Header.Values("Authorization")) == 0 && host == nil {
		switch v, err := c.session(); {
		case err != nil:
			return err
		case v.User.ID != "":
			return c.authenticateSession(ctx, v)
		}
	}
	options := gateway.AdmitOptions{
		API:           host,
		Workspace:     c.op.where.rule(),
		Slug:          c.r.PathValue("slug"),
		OwnTokensOnly: !c.op.whoAmI,
		Cost:          1,
		Origin:        c.oauth.OriginOf(ctx),
		Method:        c.r.Method,
		Path:          c.r.URL.EscapedPath(),
	}
	admission := c.gateway.Admit(ctx, options, c.r.Header, c.address(c.r))
	c.principal, c.taken, c.reason = admission.Principal, admission.Taken, admission.Reason
	c.unknown = admission.UnknownWorkspace
	gateway.RateHeaders(c.w.Header(), c.taken)
	c.gateway.OfferNonce(c.w.Header(), c.r.Header)
	if admission.Refusal != nil {
		return admission.Refusal
	}
	return c.authenticateCredential(ctx)
}

// authenticateCredential finds the authority of an admitted credential.
func (c *call) authenticateCredential(ctx context.Context) (err error) {
	p := c.principal
	if p.OwnScopes != nil && !c.op.whoAmI && (c.unknown || p.WorkspaceID == "") {
		p.Scopes = p.OwnScopes // outside of a workspace, the user's roles do not limit the scopes
	}
	if c.op.whoAmI || c.unknown {
		return nil
	}
	c.by, c.workspace, err = c.management.CredentialAuthority(ctx, p)
	if err == nil && c.op.where != inHeader && c.workspace.ID != "" {
		// The operation is about the workspace itself, and the principal does not have all its fields.
		c.workspace, err = c.store.WorkspaceByID(storage.System(ctx), c.workspace.ID)
		c.workspace.Role = c.by.Role
	}
	if errors.Is(err, storage.ErrNotFound) { // just deleted
		c.reason = bearer.ReasonRevoked
		return gateway.CredentialRefusal(p, bearer.ErrRevoked)
	}
	return err
}

// session returns the visitor of a browser session. If its User is empty, no user is signed in.
func (c *call) session() (Visitor, error) {
	if err := c.sameOrigin.Check(c.r); err != nil {
		return Visitor{}, &gateway.Refusal{
			Kind: gateway.Forbidden, Detail: "Cross-origin request refused; nothing was changed.", Cause: err,
		}
	}
	return c.visitor(c.r)
}

func (c *call) authenticateSession(ctx context.Context, v Visitor) (err error) {
	c.signedIn = v
	oauth.LogFieldsOf(ctx).Subject = v.User.ID
	slug, named := c.r.PathValue("slug"), true
	if c.op.where != inPath {
		slug, named = gateway.NamedWorkspace(c.r.Header, c.catalog.Resources()[0].WorkspaceHeader)
	}
	if named && slug == "" {
		return forbidden(gateway.NoWorkspaceAccess)
	}
	c.by, c.workspace, _, err = c.management.PersonAuthority(ctx, v.User.ID, slug)
	switch {
	case errors.Is(err, bearer.ErrWorkspace) && c.op.where == inPath:
		c.unknown = true
		return nil
	case errors.Is(err, bearer.ErrWorkspace):
		return forbidden(gateway.NoWorkspaceAccess)
	case errors.Is(err, bearer.ErrSuspended):
		return forbidden("The workspace is disabled; ask an administrator of this server to enable it.")
	}
	c.by.Fresh = v.Fresh
	return err
}

// administer finds the workspace in the path for an administrator of this server who is not a member.
func (c *call) administer(ctx context.Context) error {
	ctx = storage.System(ctx)
	userID := c.signedIn.User.ID
	if p := c.principal; p != nil {
		userID = p.UserID
	}
	u, err := c.store.UserByID(ctx, userID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && !u.Admin {
		return nil // for other users the workspace does not exist
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

// authorize refuses operations that the caller may not use.
func (c *call) authorize(ctx context.Context) error {
	if p := c.principal; p != nil && !c.op.whoAmI && !p.Has(catalog.ScopeAdmin) {
		return gateway.MissingScope(catalog.ScopeAdmin, c.op.method+" "+c.op.path)
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
	return c.by.Decide(management.Act{Permission: c.op.may, Own: c.op.storageScope == asPerson})
}

// caller identifies the caller, to bind cursors and Idempotency-Keys to it.
func (c *call) caller() string {
	if p := c.principal; p != nil {
		return strings.Join([]string{p.Kind, p.KeyID, p.ClientID, p.UserID}, " ")
	}
	return "session " + c.signedIn.User.ID
}

// withStorageScope returns ctx with the storage scope of the operation.
func (c *call) withStorageScope(ctx context.Context) context.Context {
	switch c.op.storageScope {
	case asSystem:
	case asTenant:
		return storage.Tenant(ctx, c.by.UserID, c.by.WorkspaceID)
	case asPerson:
		return storage.Tenant(ctx, c.by.UserID, c.by.PersonalID)
	}
	return storage.System(ctx)
}
