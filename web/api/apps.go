package api

import (
	"context"
	"errors"
	"fmt"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
)

// App is a client (RFC 6749, section 2) in responses.
type App struct {
	ID             string      `json:"id" doc:"The client_id."`
	Secret         string      `json:"secret,omitempty" doc:"The client_secret. Returned only when it is created; public apps have none."`
	Name           string      `json:"name"`
	Site           *string     `json:"site" doc:"The app's home page."`
	Workspace      string      `json:"workspace" doc:"Slug of the workspace that the app belongs to."`
	RedirectURIs   []string    `json:"redirectUris"`
	Grants         []string    `json:"grants" doc:"Grant types (RFC 7591, section 2)."`
	Scopes         []string    `json:"scopes" doc:"Maximum permissions that it can request."`
	Resources      []string    `json:"resources" doc:"The APIs that it can request tokens for; the first is the default."`
	Public         bool        `json:"public" doc:"A public client, without a secret."`
	PKCEOptional   bool        `json:"pkceOptional" doc:"Authorization requests without PKCE are accepted."`
	FirstParty     bool        `json:"firstParty" doc:"Users are not asked for consent."`
	Manages        bool        `json:"manages" doc:"Its access tokens can create keys, apps and other objects that outlive them."`
	ResourceServer bool        `json:"resourceServer" doc:"Can introspect tokens but cannot obtain any."`
	Verified       bool        `json:"verified" doc:"Its name was verified by an administrator."`
	Disabled       bool        `json:"disabled" doc:"Neither the app nor its tokens work."`
	DisabledBy     *string     `json:"disabledBy" enum:"administrator,owner,admin" doc:"Who disabled the app: an administrator of the server, or a role in the workspace. The same role or higher is required to enable it. null: not disabled."`
	Secrets        []AppSecret `json:"secrets" doc:"Active secrets, newest first; at most two, while one is being rotated. Empty in lists."`
	CreatedAt      Moment      `json:"createdAt"`
	CreatedBy      *string     `json:"createdBy" doc:"ID of a user; null: created with the CLI or a key."`
	ChangedAt      Moment      `json:"changedAt"`
	// These have the names of the standards that define them, and fapi and token_endpoint_audience follow them.
	AuthMethod         *string `json:"token_endpoint_auth_method" enum:"client_secret_basic,client_secret_post,private_key_jwt,none" doc:"How it authenticates (RFC 7591). none: it is public. null: with its secret, by HTTP Basic or in the body."`
	AuthAlgorithm      *string `json:"token_endpoint_auth_signing_alg" enum:"ES256,PS256,EdDSA,Ed25519,RS256" doc:"The only algorithm of its assertions (RFC 7591). null: any of these."`
	JWKS               *KeySet `json:"jwks" doc:"Its public keys (RFC 7591)."`
	JWKSURI            *string `json:"jwks_uri" doc:"Where it publishes its keys in place of jwks (RFC 7591)."`
	PushedRequestsOnly bool    `json:"require_pushed_authorization_requests" doc:"Authorization requests must be pushed (RFC 9126)."`
	DPoPBound          bool    `json:"dpop_bound_access_tokens" doc:"Every access token is bound to a DPoP key (RFC 9449)."`
	FAPI               bool    `json:"fapi" doc:"It follows the FAPI 2.0 Security Profile."`
	Audience           bool    `json:"token_endpoint_audience" doc:"The URL of the token endpoint is accepted as the audience of its assertions."`
	LogoURI            *string `json:"logo_uri" doc:"Its logo, which the consent page shows (RFC 7591)."`
	PolicyURI          *string `json:"policy_uri" doc:"Its privacy policy (RFC 7591)."`
	TOSURI             *string `json:"tos_uri" doc:"Its terms of service (RFC 7591)."`
	ApplicationType    *string `json:"application_type" enum:"web,native" doc:"Only of an app that registered itself (OpenID Connect Dynamic Client Registration). null: unknown."`
	Registration       *string `json:"registration" enum:"dynamic,document" doc:"dynamic: it registered itself (RFC 7591). document: its ID is the URL of its metadata document. null: a user, an administrator or the operator registered it."`
}

// AppSecret describes a client secret without showing it.
type AppSecret struct {
	Tail       string  `json:"tail" doc:"Its last four characters."`
	CreatedAt  Moment  `json:"createdAt"`
	ExpiresAt  *Moment `json:"expiresAt" doc:"null: never expires."`
	LastUsedAt *Moment `json:"lastUsedAt"`
}

// NewApp is the request to create an app.
type NewApp struct {
	Name         string   `json:"name" doc:"Name shown to users: 1 to 100 characters."`
	RedirectURIs []string `json:"redirectUris,omitempty" doc:"Redirect URIs: https, http on loopback, or a private-use scheme. None for an app that acts on its own behalf."`
	Scopes       []string `json:"scopes" doc:"Maximum permissions that it can request."`
	Site         string   `json:"site,omitempty" doc:"Its home page."`
	Grants       []string `json:"grants,omitempty" doc:"authorization_code, refresh_token, client_credentials. Defaults to the first two if there is a redirect URI."`
	Resources    []string `json:"resources,omitempty" doc:"The APIs that it can request tokens for. Defaults to that of the credential, or to the first one."`
	Public       bool     `json:"public,omitempty" doc:"The app cannot keep a secret, such as one in a browser or on a phone."`
	PKCEOptional bool     `json:"pkceOptional,omitempty" doc:"Accept authorization requests without PKCE. Administrators only."`
	FirstParty   bool     `json:"firstParty,omitempty" doc:"Do not ask users for consent. Administrators only."`
	Manages      bool     `json:"manages,omitempty" doc:"Its access tokens can create keys, apps and other objects that outlive them. Administrators only."`

	AuthMethod         string `json:"token_endpoint_auth_method,omitempty" enum:"client_secret_basic,client_secret_post,private_key_jwt,none" doc:"How it authenticates (RFC 7591). private_key_jwt: with jwks or jwks_uri; the app gets no secret. none: the app is public. Defaults to its secret, by HTTP Basic or in the body."`
	AuthAlgorithm      string `json:"token_endpoint_auth_signing_alg,omitempty" enum:"ES256,PS256,EdDSA,Ed25519,RS256" doc:"The only algorithm of its assertions (RFC 7591). Defaults to any of these."`
	JWKS               KeySet `json:"jwks,omitempty" doc:"Its public keys (RFC 7591), at most 16 KiB."`
	JWKSURI            string `json:"jwks_uri,omitempty" doc:"The https URL at which it publishes its keys, in place of jwks (RFC 7591)."`
	PushedRequestsOnly *bool  `json:"require_pushed_authorization_requests,omitempty" doc:"Accept only pushed authorization requests (RFC 9126)."`
	DPoPBound          *bool  `json:"dpop_bound_access_tokens,omitempty" doc:"Bind every access token to a DPoP key (RFC 9449)."`
	FAPI               bool   `json:"fapi,omitempty" doc:"Require what the FAPI 2.0 Security Profile requires of it; needs private_key_jwt, and sets require_pushed_authorization_requests and dpop_bound_access_tokens."`
	Audience           bool   `json:"token_endpoint_audience,omitempty" doc:"Accept the URL of the token endpoint as the audience of its assertions. Administrators only; not with fapi."`
	LogoURI            string `json:"logo_uri,omitempty" doc:"The https URL of its logo, which the consent page shows (RFC 7591)."`
	PolicyURI          string `json:"policy_uri,omitempty" doc:"The https URL of its privacy policy (RFC 7591)."`
	TOSURI             string `json:"tos_uri,omitempty" doc:"The https URL of its terms of service (RFC 7591)."`
}

// AppChange is the request to update an app.
type AppChange struct {
	Name         *string        `json:"name,omitempty"`
	Site         Change[string] `json:"site,omitzero" doc:"null: none."`
	RedirectURIs *[]string      `json:"redirectUris,omitempty"`
	Grants       *[]string      `json:"grants,omitempty"`
	Scopes       *[]string      `json:"scopes,omitempty"`
	Resources    *[]string      `json:"resources,omitempty"`
	PKCEOptional *bool          `json:"pkceOptional,omitempty" doc:"Administrators only."`
	FirstParty   *bool          `json:"firstParty,omitempty" doc:"Administrators only."`
	Manages      *bool          `json:"manages,omitempty" doc:"Administrators only."`
	Disabled     *bool          `json:"disabled,omitempty" doc:"true: neither the app nor its tokens work until it is enabled, which needs the authority that disabled it, or a higher one."`

	AuthMethod         Change[string] `json:"token_endpoint_auth_method,omitzero" doc:"client_secret_basic, client_secret_post or private_key_jwt, which deletes its secrets. After a change back, rotate the secret to get one. null: the secret, by HTTP Basic or in the body."`
	AuthAlgorithm      Change[string] `json:"token_endpoint_auth_signing_alg,omitzero" doc:"ES256, PS256, EdDSA, Ed25519 or RS256. null: any of these."`
	JWKS               Change[KeySet] `json:"jwks,omitzero" doc:"Replaces its public keys. null: none."`
	JWKSURI            Change[string] `json:"jwks_uri,omitzero" doc:"null: none."`
	PushedRequestsOnly *bool          `json:"require_pushed_authorization_requests,omitempty"`
	DPoPBound          *bool          `json:"dpop_bound_access_tokens,omitempty"`
	FAPI               *bool          `json:"fapi,omitempty" doc:"true: sets require_pushed_authorization_requests and dpop_bound_access_tokens. false: leaves these two as they are."`
	Audience           *bool          `json:"token_endpoint_audience,omitempty" doc:"Administrators only."`
	LogoURI            Change[string] `json:"logo_uri,omitzero" doc:"null: none."`
	PolicyURI          Change[string] `json:"policy_uri,omitzero" doc:"null: none."`
	TOSURI             Change[string] `json:"tos_uri,omitzero" doc:"null: none."`
}

// KeySet is a JWK set (RFC 7517, section 5), as it was sent.
type KeySet string

// MarshalJSON implements json.Marshaler.
func (k KeySet) MarshalJSON() ([]byte, error) { return []byte(k), nil }

// UnmarshalJSON implements json.Unmarshaler. Management checks what is in the object.
func (k *KeySet) UnmarshalJSON(text []byte) error {
	switch {
	case string(text) == "null":
		*k = ""
	case text[0] != '{':
		return errKeySet
	default:
		*k = KeySet(text)
	}
	return nil
}

var errKeySet = errors.New("not a JSON object")

func (a *API) apps() []operation {
	with := func(o operation) operation {
		o.tag, o.where, o.may = "Apps", inHeader, management.MayManageApps
		if o.storageScope == asSystem && o.method != remove {
			o.storageScope = asTenant
		}
		return o
	}
	key := a.exampleKey()
	create := NewApp{
		Name:         "Example App",
		RedirectURIs: []string{"https://app.example.com/callback"},
		Scopes:       key.Scopes.List,
		Site:         "https://app.example.com",
	}
	shown := App{
		ID:           "app_" + exampleUUID,
		Name:         create.Name,
		Site:         &create.Site,
		Workspace:    "acme",
		RedirectURIs: create.RedirectURIs,
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken},
		Scopes:       create.Scopes,
		Resources:    []string{key.Resource},
		Secrets:      []AppSecret{{Tail: "x0Zb", CreatedAt: exampleTime}},
		CreatedAt:    exampleTime,
		ChangedAt:    exampleTime,
	}
	made := shown
	made.Secret = bearer.PrefixClientSecret + "…x0Zb"
	return []operation{
		on(with(operation{
			method:  post,
			path:    "/v1/apps",
			id:      "createApp",
			summary: "Create an app",
			status:  201,
			request: create,
			answer:  made,
			text:    "The client secret is returned in the member `secret` of this response and never again.",
		}), a.createApp),
		on(with(operation{
			method: get, path: "/v1/apps", id: "listApps", summary: "List apps", status: 200, text: "Oldest first.",
			answer: List[App]{Data: []App{withoutSecrets(shown)}},
		}), a.listApps),
		on(with(operation{
			method:  get,
			path:    "/v1/apps/{id}",
			id:      "getApp",
			summary: "Show an app",
			status:  200,
			answer:  shown,
		}), a.getApp),
		on(with(operation{
			method:  patch,
			path:    "/v1/apps/{id}",
			id:      "updateApp",
			summary: "Update, disable or enable an app",
			status:  200,
			request: AppChange{Name: ptr("Example App"), Disabled: ptr(false)},
			answer:  shown,
		}), a.updateApp),
		on(with(operation{
			method:  post,
			path:    "/v1/apps/{id}/secret",
			id:      "rotateAppSecret",
			summary: "Rotate an app's secret",
			status:  201,
			text:    "The previous secret keeps working for a grace period; any older one stops immediately.",
			request: Rotation{Grace: ptr("24h")},
			answer:  made,
		}), a.rotateAppSecret),
		on(with(operation{
			method: remove, path: "/v1/apps/{id}", id: "deleteApp", summary: "Delete an app", status: 204,
			text: "Also revokes every authorization that users have given it.",
		}), a.deleteApp),
	}
}

func withoutSecrets(shown App) App {
	shown.Secrets = []AppSecret{}
	return shown
}

// showApp converts an app for a response.
func (c *call) showApp(x *storage.Client) App {
	shown := App{
		ID:             x.ID,
		Name:           x.Name,
		Site:           stringOrNil(x.Site),
		Workspace:      c.workspace.Slug,
		RedirectURIs:   list(x.RedirectURIs),
		Grants:         list(x.GrantTypes),
		Scopes:         list(x.Scopes),
		Resources:      list(x.Resources),
		Public:         x.Public,
		PKCEOptional:   x.PKCEOptional,
		FirstParty:     x.FirstParty,
		Manages:        x.Manages,
		ResourceServer: x.ResourceServer,
		Verified:       x.Verified,
		Disabled:       !x.DisabledAt.IsZero(),
		DisabledBy:     stringOrNil(x.DisabledBy),
		Secrets:        []AppSecret{},
		CreatedAt:      Moment(x.CreatedAt),
		CreatedBy:      stringOrNil(x.CreatedBy),
		ChangedAt:      Moment(x.ChangedAt),

		AuthMethod:         stringOrNil(management.AuthMethodOf(x)),
		AuthAlgorithm:      stringOrNil(x.AuthAlgorithm),
		JWKSURI:            stringOrNil(x.JWKSURI),
		PushedRequestsOnly: x.PushedRequestsOnly,
		DPoPBound:          x.DPoPBound,
		FAPI:               x.FAPI,
		Audience:           x.TokenEndpointAudience,
		LogoURI:            stringOrNil(x.LogoURI),
		PolicyURI:          stringOrNil(x.PolicyURI),
		TOSURI:             stringOrNil(x.TOSURI),
		ApplicationType:    stringOrNil(x.ApplicationType),
		Registration:       stringOrNil(x.Registration),
	}
	if x.JWKS != "" {
		shown.JWKS = ptr(KeySet(x.JWKS))
	}
	for _, secret := range x.Secrets {
		shown.Secrets = append(shown.Secrets, AppSecret{
			Tail:       secret.Tail,
			CreatedAt:  Moment(secret.CreatedAt),
			ExpiresAt:  momentOrNil(secret.ExpiresAt),
			LastUsedAt: momentOrNil(secret.LastUsedAt),
		})
	}
	return shown
}

// findApp finds an app of the workspace by the ID in the path. storage.ErrNotFound: there is none in this workspace.
func (c *call) findApp(ctx context.Context) (storage.Client, error) {
	id, err := c.id("id", "app")
	if err != nil {
		return storage.Client{}, err
	}
	x, err := c.store.ClientByID(ctx, id)
	if err == nil && x.WorkspaceID != c.by.WorkspaceID {
		err = storage.ErrNotFound
	}
	return x, err
}

func (a *API) createApp(ctx context.Context, c *call, _ *none, in *NewApp) (App, error) {
	p := management.ClientSpec{
		Name:          in.Name,
		Site:          in.Site,
		RedirectURIs:  in.RedirectURIs,
		Grants:        in.Grants,
		Scopes:        in.Scopes,
		Resources:     in.Resources,
		Public:        in.Public,
		PKCEOptional:  in.PKCEOptional,
		FirstParty:    in.FirstParty,
		Manages:       in.Manages,
		WorkspaceID:   c.by.WorkspaceID,
		CreatedBy:     c.by.UserID,
		Administrator: c.administrator(),

		AuthMethod:            in.AuthMethod,
		AuthAlgorithm:         in.AuthAlgorithm,
		JWKS:                  string(in.JWKS),
		JWKSURI:               in.JWKSURI,
		TokenEndpointAudience: in.Audience,
		FAPI:                  in.FAPI,
		LogoURI:               in.LogoURI,
		PolicyURI:             in.PolicyURI,
		TOSURI:                in.TOSURI,
	}
	p.SetPushedRequestsOnly(in.PushedRequestsOnly)
	p.SetDPoPBound(in.DPoPBound)
	if len(p.Resources) == 0 && c.principal != nil {
		p.Resources = []string{c.principal.Audience}
	}
	x, secret, err := a.management.CreateClient(ctx, c.by, p)
	if err != nil {
		return App{}, err
	}
	shown := c.showApp(&x)
	shown.Secret = secret
	return shown, nil
}

// administrator reports whether the caller is an administrator of this server, in a browser session.
func (c *call) administrator() bool { return c.principal == nil && c.signedIn.User.Admin }

func (a *API) listApps(ctx context.Context, c *call, q *Page, _ *none) (List[App], error) {
	after, err := c.after(q)
	if err != nil {
		return List[App]{}, err
	}
	rows, err := a.store.ClientsOfWorkspace(ctx, c.by.WorkspaceID)
	if err != nil {
		return List[App]{}, fmt.Errorf("list apps: %w", err)
	}
	place := func(x *storage.Client) string { return x.ID }
	return listOf(c, q, cut(q, rows, after, place), place, c.showApp), nil
}

func (a *API) getApp(ctx context.Context, c *call, _, _ *none) (App, error) {
	x, err := c.findApp(ctx)
	if err != nil {
		return App{}, err
	}
	return c.showApp(&x), nil
}

func (a *API) updateApp(ctx context.Context, c *call, _ *none, in *AppChange) (App, error) {
	x, err := c.findApp(ctx)
	if err != nil {
		return App{}, err
	}
	p := management.SpecOf(x)
	p.Administrator = c.administrator()
	if !p.Administrator &&
		(in.PKCEOptional != nil || in.FirstParty != nil || in.Manages != nil || in.Audience != nil) {
		return App{}, badRequest("Only administrators can set pkceOptional, firstParty, manages and " +
			"token_endpoint_audience; leave them out.")
	}
	set(&p.Name, in.Name)
	set(&p.Site, in.Site.pointer())
	set(&p.RedirectURIs, in.RedirectURIs)
	set(&p.Grants, in.Grants)
	set(&p.Scopes, in.Scopes)
	set(&p.Resources, in.Resources)
	set(&p.PKCEOptional, in.PKCEOptional)
	set(&p.FirstParty, in.FirstParty)
	set(&p.Manages, in.Manages)
	set(&p.AuthMethod, in.AuthMethod.pointer())
	set(&p.AuthAlgorithm, in.AuthAlgorithm.pointer())
	if in.JWKS.Set {
		p.JWKS = string(in.JWKS.Value)
	}
	set(&p.JWKSURI, in.JWKSURI.pointer())
	set(&p.FAPI, in.FAPI)
	set(&p.TokenEndpointAudience, in.Audience)
	p.SetPushedRequestsOnly(in.PushedRequestsOnly)
	p.SetDPoPBound(in.DPoPBound)
	set(&p.LogoURI, in.LogoURI.pointer())
	set(&p.PolicyURI, in.PolicyURI.pointer())
	set(&p.TOSURI, in.TOSURI.pointer())
	if in.changesApp() {
		if x, err = a.management.UpdateClient(ctx, c.by, x.ID, p); err != nil {
			return App{}, err
		}
	}
	if in.Disabled != nil && *in.Disabled == x.DisabledAt.IsZero() {
		change := a.management.EnableClient
		if *in.Disabled {
			change = a.management.DisableClient
		}
		if err := change(ctx, c.by, x.ID); err != nil {
			return App{}, err
		}
		if x, err = c.findApp(ctx); err != nil {
			return App{}, err
		}
	}
	return c.showApp(&x), nil
}

// changesApp reports whether the request changes more than whether the app is disabled.
func (in *AppChange) changesApp() bool {
	rest := *in
	rest.Disabled = nil
	return rest.Name != nil || rest.Site.Set || rest.RedirectURIs != nil || rest.Grants != nil || rest.Scopes != nil ||
		rest.Resources != nil ||
		rest.PKCEOptional != nil ||
		rest.FirstParty != nil ||
		rest.Manages != nil ||
		rest.AuthMethod.Set || rest.AuthAlgorithm.Set || rest.JWKS.Set || rest.JWKSURI.Set ||
		rest.PushedRequestsOnly != nil || rest.DPoPBound != nil || rest.FAPI != nil || rest.Audience != nil ||
		rest.LogoURI.Set || rest.PolicyURI.Set || rest.TOSURI.Set
}

// set sets a value if the request has one.
func set[T any](what *T, to *T) {
	if to != nil {
		*what = *to
	}
}

func (a *API) rotateAppSecret(ctx context.Context, c *call, _ *none, in *Rotation) (App, error) {
	x, err := c.findApp(ctx)
	if err != nil {
		return App{}, err
	}
	grace, err := in.grace()
	if err != nil {
		return App{}, err
	}
	secret, _, err := a.management.RotateSecret(ctx, c.by, x.ID, grace)
	if err == nil {
		x, err = c.findApp(ctx)
	}
	if err != nil {
		return App{}, err
	}
	shown := c.showApp(&x)
	shown.Secret = secret
	return shown, nil
}

// deleteApp finds the app as the tenant but deletes it as the system, because that also deletes rows of other tenants.
func (a *API) deleteApp(ctx context.Context, c *call, _, _ *none) (none, error) {
	var x storage.Client
	err := a.store.InTx(storage.Tenant(ctx, c.by.UserID, c.by.WorkspaceID), func(ctx context.Context) (err error) {
		x, err = c.findApp(ctx)
		return err
	})
	if err == nil {
		err = a.management.DeleteClient(ctx, c.by, x.ID)
	}
	return none{}, err
}
