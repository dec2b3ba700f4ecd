package api

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/input"
	"doorward/storage"
)

// Key is an API key in responses.
type Key struct {
	ID           string   `json:"id" doc:"Identifies the key. Not secret."`
	Key          string   `json:"key,omitempty" doc:"The key itself. Returned only when the key is created or rotated."`
	Name         string   `json:"name"`
	Note         string   `json:"note" doc:"Free text."`
	Workspace    string   `json:"workspace" doc:"Slug of the workspace that the key belongs to."`
	Resource     string   `json:"resource" doc:"The API that the key is for."`
	Environment  string   `json:"environment" enum:"live,test"`
	Scopes       Scopes   `json:"scopes" doc:"Permissions of the key, in the form in which they were given."`
	Plan         *string  `json:"plan" doc:"Plan of the key; null: the workspace's plan."`
	RateLimit    *int64   `json:"rateLimit" doc:"Requests per hour; null: no limit."`
	ExpiresAt    *Moment  `json:"expiresAt" doc:"null: never expires."`
	Addresses    []string `json:"addresses" doc:"Allowed IP addresses, as CIDR ranges; empty: any."`
	Status       string   `json:"status" enum:"active,paused,rotating,expired,revoked" doc:"rotating: replaced, but still works until its grace period ends."`
	Masked       string   `json:"masked" doc:"First and last characters, to recognise the key."`
	CreatedAt    Moment   `json:"createdAt"`
	CreatedBy    *string  `json:"createdBy" doc:"ID of the user who created the key, directly or through another key; null: created with the CLI."`
	LastUsedAt   *Moment  `json:"lastUsedAt" doc:"Accurate to the minute."`
	LastUsedFrom *string  `json:"lastUsedFrom" doc:"IP address."`
	PausedAt     *Moment  `json:"pausedAt"`
	PausedBy     *string  `json:"pausedBy" enum:"administrator,owner,admin" doc:"Who paused the key: an administrator of the server, or a role in the workspace. Resuming it needs the same authority or a higher one. null: not paused."`
	RevokedAt    *Moment  `json:"revokedAt"`
	RotatedInto  *string  `json:"rotatedInto" doc:"ID of the key that replaces it."`
}

// NewKey is the request to create an API key.
type NewKey struct {
	Name        string   `json:"name" doc:"What the key is for: 1 to 100 characters."`
	Scopes      Scopes   `json:"scopes" doc:"Permissions: a list, or an object of lists. Scopes that only users can have (user_only) are refused."`
	RateLimit   *int64   `json:"rateLimit,omitempty" minimum:"1" doc:"Requests per hour, at most those of the plan. Defaults to the plan's limit."`
	ExpiresAt   *Moment  `json:"expiresAt" doc:"Never expires by default."`
	Note        string   `json:"note,omitempty" doc:"Free text, up to 1000 characters."`
	Environment string   `json:"environment,omitempty" enum:"live,test" doc:"Defaults to live if the API has live keys."`
	Type        string   `json:"type,omitempty" enum:"live,test" doc:"Alias of environment."`
	Plan        string   `json:"plan,omitempty" doc:"A plan that allows no more than the workspace's. Defaults to the workspace's plan."`
	Addresses   []string `json:"addresses,omitempty" doc:"Allowed IP addresses and CIDR ranges. Defaults to any."`
	Resource    string   `json:"resource,omitempty" doc:"The API that the key is for. Defaults to that of the credential, or to the first one."`
}

// KeyChange is the request to update an API key.
type KeyChange struct {
	Name      *string          `json:"name,omitempty"`
	Note      Change[string]   `json:"note,omitzero"`
	Scopes    *Scopes          `json:"scopes,omitempty" doc:"A subset of its current permissions; permissions cannot be added."`
	Plan      Change[string]   `json:"plan,omitzero" doc:"null: the workspace's plan."`
	RateLimit Change[int64]    `json:"rateLimit,omitzero" minimum:"1" doc:"null: the plan's limit."`
	Addresses Change[[]string] `json:"addresses,omitzero" doc:"null: any."`
	Paused    *bool            `json:"paused,omitempty" doc:"true: the key does not work until it is resumed, which needs the authority that paused it, or a higher one."`
}

// Rotation is the request to rotate a key or secret.
type Rotation struct {
	Grace *string `json:"grace,omitempty" pattern:"^[0-9]{1,9}(s|m|h|d)$" doc:"Grace period in which the old one still works, up to 30d. Defaults to 24h."`
}

// KeyFilter holds the query parameters that filter keys.
type KeyFilter struct {
	Page
	Environment string `query:"environment" enum:"live,test"`
	Status      string `query:"status" enum:"active,paused,expired,revoked" doc:"active includes rotating."`
	Search      string `query:"search" doc:"Part of the name."`
	CreatedBy   string `query:"createdBy" doc:"ID of a user."`
}

const keyID = "key_" + exampleUUID

func (a *API) keys() []operation {
	create := a.exampleNewKey()
	shown := a.exampleKey()
	made := shown
	made.Key = shown.Masked
	with := func(o operation) operation {
		o.tag, o.where, o.storageScope, o.may = "API keys", inHeader, asTenant, management.MayManageKeys
		return o
	}
	return []operation{
		on(with(operation{
			method:  post,
			path:    "/v1/api-keys",
			id:      "createApiKey",
			summary: "Create an API key",
			status:  201,
			request: create,
			answer:  made,
			text: "The key is returned in the member `key` of this response and never again. It cannot have " +
				"more permissions than its creator.",
			conflict: "The workspace has reached its limit of active keys.",
		}), a.createKey),
		on(with(operation{
			method:  get,
			path:    "/v1/api-keys",
			id:      "listApiKeys",
			summary: "List API keys",
			status:  200,
			text:    "Newest first.",
			answer:  List[Key]{Data: []Key{shown}},
		}), a.listKeys),
		on(with(operation{
			method:  get,
			path:    "/v1/api-keys/{id}",
			id:      "getApiKey",
			summary: "Show an API key",
			status:  200,
			answer:  shown,
		}), a.getKey),
		on(with(operation{
			method:  patch,
			path:    "/v1/api-keys/{id}",
			id:      "updateApiKey",
			summary: "Update, pause or resume an API key",
			status:  200,
			request: KeyChange{Name: ptr("Nightly import"), Paused: ptr(false)},
			answer:  shown,
		}), a.updateKey),
		on(with(operation{
			method:  post,
			path:    "/v1/api-keys/{id}/rotate",
			id:      "rotateApiKey",
			summary: "Rotate an API key",
			status:  201,
			text: "Creates a replacement with the same permissions. The old key keeps working for a grace " +
				"period. Both share one rate limit.",
			request:  Rotation{Grace: ptr("24h")},
			answer:   made,
			conflict: "The key was already rotated, is revoked or has expired.",
		}), a.rotateKey),
		on(with(operation{
			method: remove, path: "/v1/api-keys/{id}", id: "revokeApiKey", summary: "Revoke an API key", status: 204,
			text: "Takes effect immediately and cannot be undone. The key stays in the list as revoked.",
		}), a.revokeKey),
	}
}

func ptr[T any](v T) *T { return &v }

// exampleNewKey is a request that works with the server's configuration: with scopes of the default resource, within
// its plan.
func (a *API) exampleNewKey() NewKey {
	r := a.catalog.Resources()[0]
	k := NewKey{Name: "Nightly import"}
	for _, scope := range r.Scopes {
		if !scope.UserOnly && len(k.Scopes.List) < 2 { // API keys cannot have user-only scopes
			k.Scopes.List = append(k.Scopes.List, scope.Name)
		}
	}
	_, plan := a.apikey.Plan(&storage.APIKey{Resource: r.ID}, "")
	if limit := int64(1000); plan.Hour == 0 || plan.Hour >= limit {
		k.RateLimit = &limit
	}
	if r.Keys.MaxLifetime > 0 {
		k.ExpiresAt = momentOrNil(a.store.Now().Add(r.Keys.MaxLifetime / 2))
	}
	return k
}

func (a *API) exampleKey() Key {
	r := a.catalog.Resources()[0]
	example := a.exampleNewKey()
	environment := "live"
	if len(r.Keys.Environments) == 1 {
		environment = r.Keys.Environments[0]
	}
	return Key{
		ID:          keyID,
		Name:        example.Name,
		Workspace:   "acme",
		Resource:    r.ID,
		Environment: environment,
		Scopes:      example.Scopes,
		RateLimit:   example.RateLimit,
		ExpiresAt:   example.ExpiresAt,
		Addresses:   []string{},
		Status:      "active",
		Masked:      r.Keys.Prefix + "_" + environment + "_…f3Kq",
		CreatedAt:   exampleTime,
	}
}

// showKey converts a key for a response.
func (c *call) showKey(k *storage.APIKey) Key {
	_, plan := c.apikey.Plan(k, c.workspace.Plan)
	shown := Key{
		ID:           k.ID,
		Name:         k.Name,
		Note:         k.Note,
		Workspace:    c.workspace.Slug,
		Resource:     k.Resource,
		Environment:  k.Environment,
		Scopes:       Scopes{List: k.Scopes, ByObject: k.ScopesByObject},
		Plan:         stringOrNil(k.Plan),
		ExpiresAt:    momentOrNil(k.ExpiresAt),
		Addresses:    list(k.Addresses),
		Status:       c.apikey.State(k),
		Masked:       k.Prefix + "…" + k.Tail,
		CreatedAt:    Moment(k.CreatedAt),
		CreatedBy:    stringOrNil(k.CreatedBy),
		LastUsedAt:   momentOrNil(k.LastUsedAt),
		LastUsedFrom: stringOrNil(k.LastUsedFrom),
		PausedAt:     momentOrNil(k.PausedAt),
		PausedBy:     stringOrNil(k.PausedBy),
		RevokedAt:    momentOrNil(k.RevokedAt),
		RotatedInto:  stringOrNil(k.RotatedInto),
	}
	if plan.Hour > 0 {
		shown.RateLimit = &plan.Hour
	}
	return shown
}

// list is a list that is never null.
func list(l []string) []string { return append([]string{}, l...) }

func (c *call) owner() storage.KeyOwner { return storage.KeyOwner{WorkspaceID: c.by.WorkspaceID} }

// resourceOf returns the resource of a new object: the named one, otherwise the credential's. Empty means the first
// one.
func (c *call) resourceOf(named string) string {
	if named == "" && c.principal != nil {
		return c.principal.Audience
	}
	return named
}

func (a *API) createKey(ctx context.Context, c *call, _ *none, in *NewKey) (Key, error) {
	environment := in.Environment
	if environment == "" {
		environment = in.Type
	} else if in.Type != "" && in.Type != environment {
		return Key{}, badRequest("environment and type are aliases and have different values; send only one.")
	}
	spec := apikey.Spec{
		Name:        in.Name,
		Note:        in.Note,
		Resource:    c.resourceOf(in.Resource),
		Environment: environment,
		Scopes:      in.Scopes.List,
		ByObject:    in.Scopes.ByObject,
		Plan:        in.Plan,
		Addresses:   in.Addresses,
	}
	var err error
	if spec.RateLimit, err = rateLimit(in.RateLimit); err != nil {
		return Key{}, err
	}
	if in.ExpiresAt != nil {
		spec.ExpiresAt = storage.Time(*in.ExpiresAt)
	}
	k, secret, err := a.management.CreateKey(ctx, c.by, c.workspace.Plan, spec)
	if err != nil {
		return Key{}, err
	}
	shown := c.showKey(&k)
	shown.Key = secret
	return shown, nil
}

// rateLimit returns a key's own rate limit; zero: it has none.
func rateLimit(chosen *int64) (int64, error) {
	if chosen == nil {
		return 0, nil
	}
	if *chosen < 1 {
		return 0, badRequest("rateLimit must be 1 or more; leave it out to use the plan's limit.")
	}
	return *chosen, nil
}

func (a *API) listKeys(ctx context.Context, c *call, q *KeyFilter, _ *none) (List[Key], error) {
	after, err := c.after(&q.Page)
	if err != nil {
		return List[Key]{}, err
	}
	environment := q.Environment
	if p := c.principal; p != nil && p.Environment == apikey.Test {
		if environment == apikey.Live {
			return List[Key]{}, forbidden("A test key can only list test keys; use a live key.")
		}
		environment = apikey.Test
	}
	rows, err := a.store.Keys(ctx, c.owner(), storage.KeyFilter{
		Search:      q.Search,
		Environment: environment,
		State:       q.Status,
		CreatedBy:   q.CreatedBy,
		After:       after,
		Limit:       q.size() + 1,
	})
	if err != nil {
		return List[Key]{}, fmt.Errorf("list keys: %w", err)
	}
	return listOf(c, &q.Page, rows, keyPlace, c.showKey), nil
}

func keyPlace(k *storage.APIKey) string { return k.ID }

// id returns the ID in the path. storage.ErrNotFound: it does not have the form of the kind's IDs.
func (c *call) id(name, kind string) (string, error) {
	id := c.r.PathValue(name)
	if !storage.IsID(kind, id) {
		return "", storage.ErrNotFound
	}
	return id, nil
}

func (a *API) getKey(ctx context.Context, c *call, _, _ *none) (Key, error) {
	id, err := c.id("id", "key")
	if err != nil {
		return Key{}, err
	}
	k, err := a.store.Key(ctx, c.owner(), id)
	if err != nil {
		return Key{}, fmt.Errorf("show a key: %w", err)
	}
	if err := c.by.Decide(management.Act{Permission: management.MayManageKeys, Environment: k.Environment}); err != nil {
		return Key{}, err
	}
	return c.showKey(&k), nil
}

func (a *API) updateKey(ctx context.Context, c *call, _ *none, in *KeyChange) (Key, error) {
	id, err := c.id("id", "key")
	if err != nil {
		return Key{}, err
	}
	change := management.KeyChange{
		Name:      in.Name,
		Note:      in.Note.pointer(),
		Plan:      in.Plan.pointer(),
		RateLimit: in.RateLimit.pointer(),
		Addresses: in.Addresses.pointer(),
	}
	if in.RateLimit.Set && !in.RateLimit.Null {
		if _, err := rateLimit(&in.RateLimit.Value); err != nil {
			return Key{}, err
		}
	}
	if in.Scopes != nil {
		change.Scopes, change.ByObject = &in.Scopes.List, in.Scopes.ByObject
	}
	k, err := a.changeKey(ctx, c, c.owner(), id, change, in.Paused)
	return c.showKey(&k), err
}

// changeKey changes a key or personal access token, and pauses or resumes it.
func (a *API) changeKey(
	ctx context.Context,
	c *call,
	owner storage.KeyOwner,
	id string,
	change management.KeyChange,
	paused *bool,
) (storage.APIKey, error) {
	k, err := a.management.UpdateKey(ctx, c.by, owner, c.workspace.Plan, id, change)
	if err != nil || paused == nil || *paused == !k.PausedAt.IsZero() {
		return k, err
	}
	if *paused {
		return a.management.PauseKey(ctx, c.by, owner, id)
	}
	return a.management.ResumeKey(ctx, c.by, owner, id)
}

const defaultGrace = 24 * time.Hour

var graceForm = regexp.MustCompile(`^([0-9]{1,9})(s|m|h|d)$`)

// grace parses the grace period, in the format of the configuration.
func (r *Rotation) grace() (time.Duration, error) {
	if r.Grace == nil {
		return defaultGrace, nil
	}
	if !graceForm.MatchString(*r.Grace) {
		return 0, badRequest("grace must be a duration such as 24h or 7d.")
	}
	d, err := input.ParseDuration(*r.Grace)
	if err != nil { // too long to parse, so longer than allowed
		d = 365 * input.Day
	}
	return d, nil
}

func (a *API) rotateKey(ctx context.Context, c *call, _ *none, in *Rotation) (Key, error) {
	id, err := c.id("id", "key")
	if err != nil {
		return Key{}, err
	}
	grace, err := in.grace()
	if err != nil {
		return Key{}, err
	}
	k, secret, err := a.management.RotateKey(ctx, c.by, c.owner(), id, grace)
	if err != nil {
		return Key{}, err
	}
	shown := c.showKey(&k)
	shown.Key = secret
	return shown, nil
}

func (a *API) revokeKey(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "key")
	if err != nil {
		return none{}, err
	}
	_, err = a.management.RevokeKey(ctx, c.by, c.owner(), id)
	return none{}, err
}
