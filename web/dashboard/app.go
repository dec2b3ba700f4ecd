package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

func (s *Apps) showSecret(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace, c storage.Client, secret string,
	oldUntil time.Time, next string,
) error {
	view := templates.SecretView{
		Page: s.NewPage(v, at.section), Workspace: at.bar, AppName: c.Name, Kind: kindOf(c), ClientID: c.ID, Secret: secret,
		AuthorizeURL: s.oauth.Issuer() + "/oauth/authorize", TokenURL: s.oauth.Issuer() + "/oauth/token",
		IntrospectURL: s.oauth.Issuer() + "/oauth/introspect",
		Scope:         c.Scopes.String(), OldUntil: oldUntil, NextURL: next,
	}
	if len(c.RedirectURIs) > 0 {
		view.RedirectURI = c.RedirectURIs[0]
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.SecretPage(view))
}

// app finds the client of a page and runs fn in the context that may change it: an administrator's is any, everybody
// else's is of the workspace that they look at. To others it is not there.
func (s *Apps) app(
	ctx context.Context, at appPlace, id string, fn func(ctx context.Context, c storage.Client) error,
) (base string, err error) {
	if !storage.IsID("app", id) {
		return "", page.NotFound()
	}
	return at.base + "/" + id, s.store.InTx(ctx, func(ctx context.Context) error {
		c, err := s.store.ClientByID(ctx, id)
		if err != nil {
			return err
		}
		if at.workspaceID != "" && c.WorkspaceID != at.workspaceID {
			return storage.ErrNotFound
		}
		return fn(ctx, c)
	})
}

// AppPage serves GET …/apps/{id}.
func (s *Apps) AppPage(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	s.flushUsage(r.Context())
	var c storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	head, err := s.PageWithNotice(w, r, v, at.section)
	if err != nil {
		return err
	}
	return s.showApp(w, r, http.StatusOK, v, at, c, base, templates.AppView{
		Page: head, AppFields: s.fields(v, management.SpecOf(c), kindOf(c)),
	})
}

func (s *Apps) showApp(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, at appPlace, c storage.Client, base string,
	view templates.AppView,
) error {
	n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
	if err != nil {
		return err
	}
	view.Workspace = at.bar
	view.Base, view.ClientID, view.SavedName, view.Disabled, view.Created, view.Users = base, c.ID, c.Name, !c.DisabledAt.IsZero(), c.CreatedAt.Time(), int(n)
	view.AuthorizeURL, view.TokenURL = s.oauth.Issuer()+"/oauth/authorize", s.oauth.Issuer()+"/oauth/token"
	view.IntrospectURL, view.MetadataURL = s.oauth.Issuer()+"/oauth/introspect", s.oauth.Issuer()+"/.well-known/oauth-authorization-server"
	view.NeedPassword = !s.Fresh(v)
	if view.Disabled {
		view.Why = management.StoppedText(c.DisabledBy, "app", "disabled") + "."
		view.Held = page.Held(at.by.MayEnable(&c, "change and enable"))
	}
	if c.WorkspaceID != "" {
		ws, err := s.store.WorkspaceByID(storage.System(r.Context()), c.WorkspaceID)
		if err != nil {
			return err
		}
		if why := whyDisabled(ws); why != "" {
			view.Why = strings.TrimSpace(view.Why + " The app does not work while its workspace is disabled. " + why)
		}
	}
	if view.Owner, err = s.ownerOf(r.Context(), c); err != nil {
		return err
	}
	err = s.store.InTx(at.context(r.Context(), v), func(ctx context.Context) (err error) {
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

// ownerOf names whoever made an app, for administrators.
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
func (s *Apps) Update(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	p, _ := typed(r, v)
	var before storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(ctx context.Context, c storage.Client) error {
		before = c
		p.Public, p.ResourceServer = c.Public, c.ResourceServer
		p.Grants = grantsLike(c, r.PostForm.Get("refresh") != "")
		if c.ResourceServer {
			p.RedirectURIs, p.Scopes = nil, nil
		}
		_, err := s.management.UpdateClient(ctx, at.by, c.ID, p)
		return err
	})
	if faults := page.FieldErrors(err); faults != nil {
		view := templates.AppView{Page: s.NewPage(v, at.section), AppFields: s.fields(v, p, kindOf(before))}
		view.Errors = faults
		return s.showApp(w, r, http.StatusBadRequest, v, at, before, base, view)
	}
	if err != nil {
		return err
	}
	if err := s.SetNotice(w, r, v, "Saved."); err != nil {
		return err
	}
	return page.Redirect(w, base)
}

// grantsLike keeps a client's grants but for refresh_token, which the form has a switch for.
func grantsLike(c storage.Client, refresh bool) []string {
	grants := slices.DeleteFunc(slices.Clone([]string(c.GrantTypes)), func(g string) bool { return g == oauth.GrantRefreshToken })
	if refresh && slices.Contains(grants, oauth.GrantAuthorizationCode) {
		grants = append(grants, oauth.GrantRefreshToken)
	}
	return grants
}

// RotateSecret serves POST …/apps/{id}/secret.
func (s *Apps) RotateSecret(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	v, fault, status, err := s.StepUp(w, r, v, r.PostForm.Get("password"))
	if err != nil {
		return err
	}
	at.by.Fresh = s.Fresh(v)
	var c storage.Client
	grace, known := graces[r.PostForm.Get("grace")]
	if fault != "" || !known {
		faults := map[string]string{"password": fault}
		if fault == "" {
			status, faults = http.StatusBadRequest, map[string]string{"grace": "Choose how long the old secret keeps working."}
		}
		base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
		if err != nil {
			return err
		}
		view := templates.AppView{Page: s.NewPage(v, at.section), AppFields: s.fields(v, management.SpecOf(c), kindOf(c))}
		view.Errors = faults
		return s.showApp(w, r, status, v, at, c, base, view)
	}
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	var oldUntil time.Time
	if grace > 0 && len(c.Secrets) > 0 {
		oldUntil = s.Now().Add(grace)
	}
	_, view, err := s.CreateOnce(at.context(r.Context(), v), r, v, at.workspaceID, func(ctx context.Context) (x page.OneTimeSecret, err error) {
		x.ID, x.OldUntil = c.ID, oldUntil
		x.Secret, _, err = s.management.RotateSecret(ctx, at.by, c.ID, grace)
		return x, err
	})
	if faults := page.FieldErrors(err); faults != nil {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: "No secret was created", Message: page.Joined(faults), BackURL: base,
			BackText: "Back to the app",
		}
	}
	if err != nil {
		return err
	}
	return page.Redirect(w, at.base+"/shown?view="+view)
}

// SetDisabled serves POST …/apps/{id}/disable and …/enable.
func (s *Apps) SetDisabled(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	text := "The app works again."
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(ctx context.Context, c storage.Client) error {
		if strings.HasSuffix(r.URL.Path, "/disable") {
			text = "The app is disabled. Its tokens no longer work."
			return s.management.DisableClient(ctx, at.by, c.ID)
		}
		return s.management.EnableClient(ctx, at.by, c.ID)
	})
	return s.appChanged(w, r, v, base, text, err)
}

// appChanged goes on to base after a change of an app, with a sentence about it.
func (s *Apps) appChanged(w http.ResponseWriter, r *http.Request, v *page.Visitor, base, text string, err error) error {
	if err != nil {
		return err
	}
	if err := s.SetNotice(w, r, v, text); err != nil {
		return err
	}
	return page.Redirect(w, base)
}

// Delete serves POST …/apps/{id}/delete. The app's name must be typed.
func (s *Apps) Delete(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	var c storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != c.Name {
		view := templates.AppView{Page: s.NewPage(v, at.section), AppFields: s.fields(v, management.SpecOf(c), kindOf(c))}
		view.Errors = map[string]string{"confirm": "Type the app's name exactly as shown. Nothing was deleted."}
		return s.showApp(w, r, http.StatusBadRequest, v, at, c, base, view)
	}
	// Not in the transaction in which it was found to be theirs: there may be much to delete.
	err = s.management.DeleteClient(storage.System(r.Context()), at.by, c.ID)
	return s.appChanged(w, r, v, at.base, "The app was deleted, and its access revoked.", err)
}

// ConfirmDisable serves GET …/apps/{id}/disable.
func (s *Apps) ConfirmDisable(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	var c storage.Client
	base, err := s.app(at.context(r.Context(), v), at, r.PathValue("id"), func(_ context.Context, found storage.Client) error { c = found; return nil })
	if err != nil {
		return err
	}
	n, err := s.store.CountUsersOfClient(storage.System(r.Context()), c.ID)
	if err != nil {
		return err
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, at.section), Workspace: at.bar, Title: "Disable " + c.Name + "?", Button: "Disable app",
		CancelURL: base,
		Ends: page.NonEmpty(
			"The app can no longer sign people in or get tokens, and its tokens stop working.",
			page.CountSentence(int(n), "person has allowed it", "people have allowed it"),
			page.CountSentence(len(c.Secrets), "client secret stops working", "client secrets stop working"),
		),
		Stays: "Nothing is deleted. Tokens and secrets that have not expired work again when you enable the app.",
	})
}

// ShownSecret serves GET …/shown of apps.
func (s *Apps) ShownSecret(w http.ResponseWriter, r *http.Request, v *page.Visitor, at appPlace) error {
	x, err := s.TakeSecret(r, v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		return page.AlreadyShown(at.base, x)
	}
	var c storage.Client
	err = s.store.InTx(at.context(r.Context(), v), func(ctx context.Context) (err error) {
		if c, err = s.store.ClientByID(ctx, x.ID); err == nil && at.workspaceID != "" && c.WorkspaceID != at.workspaceID {
			err = storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.showSecret(w, r, v, at, c, x.Secret, x.OldUntil, at.base+"/"+c.ID)
}
