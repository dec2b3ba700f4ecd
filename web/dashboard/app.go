package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// change finds the client with the id in the path and runs fn in a transaction that may change it. Administrators reach
// every client, other visitors only those of the workspace they are in. base is the path of the client's page.
func (s *Apps) change(
	r *http.Request, at *appPlace, fn func(ctx context.Context, c storage.Client) error,
) (base string, err error) {
	id := r.PathValue("id")
	if !page.IsClientID(id) {
		return "", page.NotFound()
	}
	return at.page(id), s.store.InTx(at.context(r.Context()), func(ctx context.Context) error {
		c, err := s.clientAt(ctx, at, id)
		if err != nil {
			return err
		}
		return fn(ctx, c)
	})
}

// clientAt reads a client within the transaction of ctx. storage.ErrNotFound: the visitor cannot reach it.
func (s *Apps) clientAt(ctx context.Context, at *appPlace, id string) (storage.Client, error) {
	c, err := s.store.ClientByID(ctx, id)
	if err == nil && at.workspaceID != "" && c.WorkspaceID != at.workspaceID {
		err = storage.ErrNotFound
	}
	return c, err
}

// find returns the client with the id in the path, and the path of its page.
func (s *Apps) find(r *http.Request, at *appPlace) (c storage.Client, base string, err error) {
	base, err = s.change(r, at, func(_ context.Context, found storage.Client) error {
		c = found
		return nil
	})
	return c, base, err
}

// AppPage serves GET …/apps/{id}.
func (s *Apps) AppPage(w http.ResponseWriter, r *http.Request, at appPlace) error {
	s.flushUsage(r.Context())
	c, base, err := s.find(r, &at)
	if err != nil {
		return err
	}
	head, err := s.PageWithNotice(w, r, at.v, at.section)
	if err != nil {
		return err
	}
	return s.showApp(w, r, http.StatusOK, at, c, base, templates.AppView{
		Page: head, AppFields: s.fields(r.Context(), at.v, management.SpecOf(c), kindOf(c)),
	})
}

// refuseApp shows the page of a client again, with what is wrong with a form that was sent from it.
func (s *Apps) refuseApp(
	w http.ResponseWriter, r *http.Request, status int, at appPlace, c storage.Client, base string,
	faults map[string]locale.Text,
) error {
	view := templates.AppView{
		Page: s.NewPage(at.v, at.section), AppFields: s.fields(r.Context(), at.v, management.SpecOf(c), kindOf(c)),
	}
	view.Errors = faults
	return s.showApp(w, r, status, at, c, base, view)
}

func (s *Apps) showApp(
	w http.ResponseWriter, r *http.Request, status int, at appPlace, c storage.Client, base string,
	view templates.AppView,
) error {
	n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
	if err != nil {
		return err
	}
	issuer := s.oauth.Issuer()
	view.Workspace, view.Base = at.bar, base
	view.ClientID, view.SavedName, view.Created, view.Users = c.ID, c.Name, c.CreatedAt.Time(), int(n)
	view.AuthorizeURL, view.TokenURL = issuer+"/oauth/authorize", issuer+"/oauth/token"
	view.IntrospectURL = issuer + "/oauth/introspect"
	view.MetadataURL = issuer + "/.well-known/oauth-authorization-server"
	view.NeedPassword = s.AsksPassword(at.v)
	view.SavedAuthMethod, view.SavedJWKSURI = c.AuthMethod, c.JWKSURI
	view.SavedPushed, view.SavedDPoP, view.SavedFAPI = c.PushedRequestsOnly, c.DPoPBound, c.FAPI
	for _, k := range management.ClientKeys(c.JWKS) {
		view.SavedKeys = append(view.SavedKeys, templates.AppKey{Name: k.Name(), Algorithms: k.Algorithms})
	}
	if c.SelfRegistered() {
		view.Registration = &templates.SelfRegistration{
			By: registeredBy(&c), Document: c.Registration == storage.RegisteredByDocument, Fetched: c.DocumentAt.Time(),
			Type: c.ApplicationType, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, Scopes: c.Scopes,
		}
	}
	if view.Disabled = !c.DisabledAt.IsZero(); view.Disabled {
		view.Why = management.WhoDisabled(&c)
		view.WhyNotResume = page.WhyNotResume(at.by.MayEnable(&c, management.ChangeAndEnable))
	}
	if c.WorkspaceID != "" {
		ws, err := s.store.WorkspaceByID(storage.System(r.Context()), c.WorkspaceID)
		if err != nil {
			return err
		}
		if why := whyDisabled(ws); !why.IsZero() {
			view.Why = page.Sentences(view.Why, why,
				locale.New("The app does not work until the workspace is enabled."))
		}
	}
	if view.Owner, err = s.ownerOf(r.Context(), c); err != nil {
		return err
	}
	err = s.store.InTx(at.context(r.Context()), func(ctx context.Context) (err error) {
		view.Requests, err = s.requestsOf(ctx, c.ID, base, r.URL.Query().Get("request"))
		return err
	})
	if err != nil {
		return err
	}
	for _, x := range c.Secrets {
		view.Secrets = append(view.Secrets, templates.SecretRow{
			Tail: x.Tail, Created: x.CreatedAt.Time(), LastUsed: x.LastUsedAt.Time(), Expires: x.ExpiresAt.Time(),
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.AppPage(view))
}

// ownerOf returns the email address of the user who created an app; empty if it was created with the CLI or the user is
// gone.
func (s *Apps) ownerOf(ctx context.Context, c storage.Client) (string, error) {
	if c.CreatedBy == "" {
		return "", nil
	}
	u, err := s.store.UserByID(storage.System(ctx), c.CreatedBy)
	if errors.Is(err, storage.ErrNotFound) {
		return "", nil
	}
	return u.Email, err
}

// Update serves POST …/apps/{id}.
func (s *Apps) Update(w http.ResponseWriter, r *http.Request, at appPlace) error {
	return s.update(w, r, at, func(c storage.Client) management.ClientSpec {
		p, _ := typed(r, at.v)
		p.Public, p.ResourceServer = c.Public, c.ResourceServer
		p.Grants = grantTypes(c, r.PostForm.Get("refresh") != "")
		keepAuthentication(&p, c)
		if c.ResourceServer {
			p.RedirectURIs, p.Scopes = nil, nil
		}
		return p
	})
}

// keepAuthentication sets the fields of p that UpdateAuthentication changes to what they are.
func keepAuthentication(p *management.ClientSpec, c storage.Client) {
	is := management.SpecOf(c)
	p.AuthMethod, p.AuthAlgorithm, p.JWKS, p.JWKSURI = is.AuthMethod, is.AuthAlgorithm, is.JWKS, is.JWKSURI
	p.TokenEndpointAudience, p.PushedRequestsOnly = is.TokenEndpointAudience, is.PushedRequestsOnly
	p.DPoPBound, p.FAPI = is.DPoPBound, is.FAPI
}

// UpdateAuthentication serves POST …/apps/{id}/authentication: how the app authenticates, and what it must send.
func (s *Apps) UpdateAuthentication(w http.ResponseWriter, r *http.Request, at appPlace) error {
	return s.update(w, r, at, func(c storage.Client) management.ClientSpec {
		p := management.SpecOf(c)
		p.Administrator = at.v.User.Admin
		typeAuthentication(r, at.v, &p, kindOf(c))
		return p
	})
}

// update gives an app the settings that edit returns, and shows its page, with the faults of the form if it has any.
func (s *Apps) update(
	w http.ResponseWriter, r *http.Request, at appPlace, edit func(storage.Client) management.ClientSpec,
) error {
	var before storage.Client
	var p management.ClientSpec
	base, err := s.change(r, &at, func(ctx context.Context, c storage.Client) error {
		before, p = c, edit(c)
		_, err := s.management.UpdateClient(ctx, at.by, c.ID, p)
		return err
	})
	if faults := page.FieldErrors(err); faults != nil {
		view := templates.AppView{Page: s.NewPage(at.v, at.section), AppFields: s.fields(r.Context(), at.v, p, kindOf(before))}
		view.Errors = faults
		return s.showApp(w, r, http.StatusBadRequest, at, before, base, view)
	}
	return s.changed(w, r, at.v, base, locale.New("Saved."), err)
}

// grantTypes returns the grant types of a client, with or without refresh_token as the form says.
func grantTypes(c storage.Client, refresh bool) []string {
	grants := slices.DeleteFunc(slices.Clone([]string(c.GrantTypes)), func(g string) bool {
		return g == oauth.GrantRefreshToken
	})
	if refresh && slices.Contains(grants, oauth.GrantAuthorizationCode) {
		grants = append(grants, oauth.GrantRefreshToken)
	}
	return grants
}

// RotateSecret serves POST …/apps/{id}/secret.
func (s *Apps) RotateSecret(w http.ResponseWriter, r *http.Request, at appPlace) error {
	v, fault, status, err := s.StepUp(w, r, at.v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	at.v, at.by.Fresh = v, s.Fresh(v)
	c, base, err := s.find(r, &at)
	if err != nil {
		return err
	}
	grace, known := graces[r.PostForm.Get("grace")]
	switch {
	case !fault.IsZero():
		return s.refuseApp(w, r, status, at, c, base, map[string]locale.Text{"password": fault})
	case !known:
		return s.refuseApp(w, r, http.StatusBadRequest, at, c, base,
			map[string]locale.Text{"grace": locale.New("Choose when the current secret expires.")})
	}
	var oldUntil time.Time
	if grace > 0 && len(c.Secrets) > 0 {
		oldUntil = s.Now().Add(grace)
	}
	_, view, err := s.CreateOnce(at.context(r.Context()), r, v, at.workspaceID,
		func(ctx context.Context) (x page.OneTimeSecret, err error) {
			x.ID, x.OldUntil = c.ID, oldUntil
			x.Secret, _, err = s.management.RotateSecret(ctx, at.by, c.ID, grace)
			return x, err
		})
	if faults := page.FieldErrors(err); faults != nil {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("No secret was created"), Message: page.Joined(faults),
			BackURL: base, BackText: locale.New("Back to the app"),
		}
	}
	if err != nil {
		return err
	}
	return page.Redirect(w, at.base+"/shown?view="+view)
}

// SetDisabled serves POST …/apps/{id}/disable and …/enable.
func (s *Apps) SetDisabled(w http.ResponseWriter, r *http.Request, at appPlace) error {
	text := locale.New("The app works again.")
	base, err := s.change(r, &at, func(ctx context.Context, c storage.Client) error {
		if strings.HasSuffix(r.URL.Path, "/disable") {
			text = locale.New("The app is disabled. Its tokens no longer work.")
			return s.management.DisableClient(ctx, at.by, c.ID)
		}
		return s.management.EnableClient(ctx, at.by, c.ID)
	})
	return s.changed(w, r, at.v, base, text, err)
}

// Delete serves POST …/apps/{id}/delete. The app's name must be typed to confirm.
func (s *Apps) Delete(w http.ResponseWriter, r *http.Request, at appPlace) error {
	c, base, err := s.find(r, &at)
	if err != nil {
		return err
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != c.Name {
		return s.refuseApp(w, r, http.StatusBadRequest, at, c, base,
			map[string]locale.Text{"confirm": locale.New("Type the app's name exactly as shown. Nothing was deleted.")})
	}
	// Outside the transaction that found the app: there may be much to delete.
	err = s.management.DeleteClient(storage.System(r.Context()), at.by, c.ID)
	return s.changed(w, r, at.v, at.base, locale.New("The app was deleted, and its access revoked."), err)
}

// ConfirmDisable serves GET …/apps/{id}/disable.
func (s *Apps) ConfirmDisable(w http.ResponseWriter, r *http.Request, at appPlace) error {
	c, base, err := s.find(r, &at)
	if err != nil {
		return err
	}
	n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
	if err != nil {
		return err
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(at.v, at.section), Workspace: at.bar,
		Title: locale.New("Disable %s?", page.AppName(&c)), Button: locale.New("Disable app"), CancelURL: base,
		Ends: page.NonEmpty(
			locale.New("The app can no longer sign users in or get tokens, and its tokens stop working."),
			ifAny(int(n), locale.New("%d users have authorized it.", n)),
			ifAny(len(c.Secrets), locale.New("%d client secrets stop working.", len(c.Secrets))),
		),
		Stays: locale.New("Nothing is deleted. Tokens and secrets that have not expired work again when you enable the " +
			"app."),
	})
}

// ShownSecret serves GET …/apps/shown: a new secret, once.
func (s *Apps) ShownSecret(w http.ResponseWriter, r *http.Request, at appPlace) error {
	x, err := s.TakeSecret(r, at.v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		return page.AlreadyShown(at.base, x)
	}
	var c storage.Client
	err = s.store.InTx(at.context(r.Context()), func(ctx context.Context) (err error) {
		c, err = s.clientAt(ctx, &at, x.ID)
		return err
	})
	if err != nil {
		return err
	}
	issuer := s.oauth.Issuer()
	view := templates.SecretView{
		Page: s.NewPage(at.v, at.section), Workspace: at.bar, AppName: c.Name, Kind: kindOf(c), ClientID: c.ID,
		Secret: x.Secret, AuthorizeURL: issuer + "/oauth/authorize", TokenURL: issuer + "/oauth/token",
		IntrospectURL: issuer + "/oauth/introspect", Scope: c.Scopes.String(), OldUntil: x.OldUntil,
		NextURL: at.page(c.ID),
	}
	if len(c.RedirectURIs) > 0 {
		view.RedirectURI = c.RedirectURIs[0]
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.SecretPage(view))
}
