package api

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
)

// Key is an API key, as it is shown.
type Key struct {
	ID           string   `json:"id" doc:"Names the key; it is no secret."`
	Key          string   `json:"key,omitempty" doc:"The key itself, in the answer that makes it and never again."`
	Name         string   `json:"name"`
	Note         string   `json:"note" doc:"What it is for."`
	Workspace    string   `json:"workspace" doc:"Slug of the workspace that it belongs to."`
	Resource     string   `json:"resource" doc:"The API that it is for."`
	Environment  string   `json:"environment" enum:"live,test"`
	Scopes       Scopes   `json:"scopes" doc:"What it may do, in the form in which it was given."`
	Plan         *string  `json:"plan" doc:"Its own plan; null: the workspace's."`
	RateLimit    *int64   `json:"rateLimit" doc:"Requests an hour that it may make; null: any number."`
	ExpiresAt    *Moment  `json:"expiresAt" doc:"null: never."`
	Addresses    []string `json:"addresses" doc:"Ranges of addresses that it may be used from; none: any."`
	Status       string   `json:"status" enum:"live,paused,rotating,expired,revoked" doc:"rotating: it works beside the one that takes its place."`
	Masked       string   `json:"masked" doc:"Begin and end of the key, to tell it by."`
	CreatedAt    Moment   `json:"createdAt"`
	CreatedBy    *string  `json:"createdBy" doc:"User, or the one behind the key that created it; null: the command."`
	LastUsedAt   *Moment  `json:"lastUsedAt" doc:"To the minute."`
	LastUsedFrom *string  `json:"lastUsedFrom" doc:"Network address."`
	PausedAt     *Moment  `json:"pausedAt"`
	PausedBy     *string  `json:"pausedBy" enum:"administrator,owner,admin" doc:"Who paused it: an administrator of the server, or a role in the workspace. As much authority resumes it. null: it is not paused."`
	RevokedAt    *Moment  `json:"revokedAt"`
	RotatedInto  *string  `json:"rotatedInto" doc:"Id of the key that takes its place."`
}

// NewKey is what may be chosen about an API key.
type NewKey struct {
	Name        string   `json:"name" doc:"What it is for, in a few words: 1 to 100 characters."`
	Scopes      Scopes   `json:"scopes" doc:"What it may do: a list, or an object of lists. Scopes that count only for people (user_only) are refused."`
	RateLimit   *int64   `json:"rateLimit,omitempty" minimum:"1" doc:"Requests an hour, no more than the plan has; left out: the plan's."`
	ExpiresAt   *Moment  `json:"expiresAt" doc:"Left out or null: never."`
	Note        string   `json:"note,omitempty" doc:"More words, up to 1000 characters."`
	Environment string   `json:"environment,omitempty" enum:"live,test" doc:"Left out: live, where there is such a thing."`
	Type        string   `json:"type,omitempty" enum:"live,test" doc:"Another name for environment."`
	Plan        string   `json:"plan,omitempty" doc:"A plan that allows no more than the workspace's; left out: the workspace's."`
	Addresses   []string `json:"addresses,omitempty" doc:"Addresses and ranges (CIDR) that it may be used from; left out: any."`
	Resource    string   `json:"resource,omitempty" doc:"The API that it is for; left out: that of the credential, or the first."`
}

// KeyChange is what may change about an API key.
type KeyChange struct {
	Name      *string          `json:"name,omitempty"`
	Note      Change[string]   `json:"note,omitzero"`
	Scopes    *Scopes          `json:"scopes,omitempty" doc:"Fewer than it has; it never gets more."`
	Plan      Change[string]   `json:"plan,omitzero" doc:"null: the workspace's."`
	RateLimit Change[int64]    `json:"rateLimit,omitzero" minimum:"1" doc:"null: the plan's."`
	Addresses Change[[]string] `json:"addresses,omitzero" doc:"null: any."`
	Paused    *bool            `json:"paused,omitempty" doc:"true: it does not work until this is false again, for which it takes as much authority as paused it."`
}

// Rotation says how a key or secret is replaced.
type Rotation struct {
	Grace *string `json:"grace,omitempty" pattern:"^[0-9]{1,9}(s|m|h|d)$" doc:"How long the old one works beside the new one, up to 30d; left out: 24h."`
}

// KeyFilter chooses among keys.
type KeyFilter struct {
	Page
	Environment string `query:"environment" enum:"live,test"`
	Status      string `query:"status" enum:"live,paused,expired,revoked" doc:"live includes rotating."`
	Search      string `query:"search" doc:"Part of the name."`
	CreatedBy   string `query:"createdBy" doc:"Id of a user."`
}

const keyID = "key_" + exampleUUID

func (a *API) keys() []operation {
	create := a.exampleNewKey()
	shown := a.exampleKey()
	made := shown
	made.Key = shown.Masked
	with := func(o operation) operation {
		o.tag, o.where, o.speaker, o.may = "API keys", inHeader, asTenant, management.MayManageKeys
		return o
	}
	return []operation{
		on(with(operation{
			method: post, path: "/v1/api-keys", id: "createApiKey", summary: "Make an API key", status: 201, request: create, answer: made,
			text:     "The key itself is in the member `key` of this answer and nowhere else. It never holds more than whoever makes it.",
			conflict: "The workspace has as many live keys as it may.",
		}), a.createKey),
		on(with(operation{
			method: get, path: "/v1/api-keys", id: "listApiKeys", summary: "List API keys", status: 200, text: "The newest first.",
			answer: List[Key]{Data: []Key{shown}},
		}), a.listKeys),
		on(with(operation{method: get, path: "/v1/api-keys/{id}", id: "getApiKey", summary: "Show an API key", status: 200, answer: shown}), a.getKey),
		on(with(operation{
			method: patch, path: "/v1/api-keys/{id}", id: "updateApiKey", summary: "Rename, narrow, limit, pause or resume an API key", status: 200,
			request: KeyChange{Name: ptr("Nightly import"), Paused: ptr(false)}, answer: shown,
		}), a.updateKey),
		on(with(operation{
			method: post, path: "/v1/api-keys/{id}/rotate", id: "rotateApiKey", summary: "Replace an API key", status: 201,
			text:    "Makes a key with the same rights that takes the place of this one, which works for a while longer. Both count as one for limits.",
			request: Rotation{Grace: ptr("24h")}, answer: made, conflict: "The key was rotated before, is revoked, or has ended.",
		}), a.rotateKey),
		on(with(operation{
			method: remove, path: "/v1/api-keys/{id}", id: "revokeApiKey", summary: "Revoke an API key", status: 204,
			text: "At once and for good. It stays in the list, as revoked.",
		}), a.revokeKey),
	}
}

func ptr[T any](v T) *T { return &v }

// exampleNewKey is a key that can be made here: of the default resource's scopes, within its plan.
func (a *API) exampleNewKey() NewKey {
	r := a.catalog.Resources()[0]
	k := NewKey{Name: "Nightly import"}
	for _, scope := range r.Scopes {
		if !scope.UserOnly && len(k.Scopes.List) < 2 { // an API key cannot be given the others
			k.Scopes.List = append(k.Scopes.List, scope.Name)
		}
	}
	_, plan := a.apikey.Plan(&storage.APIKey{Resource: r.ID}, "")
	if limit := int64(1000); plan.Hour == 0 || plan.Hour >= limit {
		k.RateLimit = &limit
	}
	if r.Keys.MaxLifetime > 0 {
		k.ExpiresAt = maybe(a.store.Now().Add(r.Keys.MaxLifetime / 2))
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
		ID: keyID, Name: example.Name, Workspace: "acme", Resource: r.ID, Environment: environment, Scopes: example.Scopes, RateLimit: example.RateLimit,
		ExpiresAt: example.ExpiresAt, Addresses: []string{}, Status: "live", Masked: r.Keys.Prefix + "_" + environment + "_…f3Kq", CreatedAt: exampleTime,
	}
}

// showKey is a key as it is answered.
func (c *call) showKey(k *storage.APIKey) Key {
	_, plan := c.apikey.Plan(k, c.workspace.Plan)
	shown := Key{
		ID: k.ID, Name: k.Name, Note: k.Note, Workspace: c.workspace.Slug, Resource: k.Resource, Environment: k.Environment,
		Scopes: Scopes{List: k.Scopes, ByObject: k.ScopesByObject}, Plan: text(k.Plan), ExpiresAt: maybe(k.ExpiresAt), Addresses: list(k.Addresses),
		Status: c.apikey.State(k), Masked: k.Prefix + "…" + k.Tail, CreatedAt: Moment(k.CreatedAt), CreatedBy: text(k.CreatedBy),
		LastUsedAt: maybe(k.LastUsedAt), LastUsedFrom: text(k.LastUsedFrom), PausedAt: maybe(k.PausedAt), PausedBy: text(k.PausedBy), RevokedAt: maybe(k.RevokedAt),
		RotatedInto: text(k.RotatedInto),
	}
	if plan.Hour > 0 {
		shown.RateLimit = &plan.Hour
	}
	return shown
}

// list is a list that is never null.
func list(l []string) []string { return append([]string{}, l...) }

func (c *call) owner() storage.KeyOwner { return storage.KeyOwner{WorkspaceID: c.by.WorkspaceID} }

// resourceOf is the resource that something new is for: the one named, else that of the credential; empty: the first.
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
		return Key{}, badRequest("environment and type are two names of one thing and say different things; send one.")
	}
	spec := apikey.Spec{
		Name: in.Name, Note: in.Note, Resource: c.resourceOf(in.Resource), Environment: environment, Scopes: in.Scopes.List, ByObject: in.Scopes.ByObject,
		Plan: in.Plan, Addresses: in.Addresses,
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

// rateLimit is a limit of a key's own; zero: none was chosen.
func rateLimit(chosen *int64) (int64, error) {
	if chosen == nil {
		return 0, nil
	}
	if *chosen < 1 {
		return 0, badRequest("rateLimit must be 1 or more; leave it out for the plan's.")
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
			return List[Key]{}, forbidden("A test key sees test keys and nothing else; use a live one.")
		}
		environment = apikey.Test
	}
	rows, err := a.store.Keys(ctx, c.owner(), storage.KeyFilter{
		Search: q.Search, Environment: environment, State: q.Status, CreatedBy: q.CreatedBy, After: after, Limit: q.size() + 1,
	})
	if err != nil {
		return List[Key]{}, fmt.Errorf("list keys: %w", err)
	}
	return listOf(c, &q.Page, rows, keyPlace, c.showKey), nil
}

func keyPlace(k *storage.APIKey) string { return k.ID }

// id is the one in the path. storage.ErrNotFound: nothing of the kind has such an id.
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
	change := management.KeyChange{Name: in.Name, Note: in.Note.pointer(), Plan: in.Plan.pointer(), RateLimit: in.RateLimit.pointer(), Addresses: in.Addresses.pointer()}
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
func (a *API) changeKey(ctx context.Context, c *call, owner storage.KeyOwner, id string, change management.KeyChange, paused *bool) (storage.APIKey, error) {
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

// grace reads a duration as the configuration and the commands write it.
func (r *Rotation) grace() (time.Duration, error) {
	if r.Grace == nil {
		return defaultGrace, nil
	}
	m := graceForm.FindStringSubmatch(*r.Grace)
	if m == nil {
		return 0, badRequest("grace must be a duration such as 24h or 7d.")
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // nine digits
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	if n > int64(365*24*time.Hour/unit) {
		n = int64(365 * 24 * time.Hour / unit) // more than is allowed, and no overflow
	}
	return time.Duration(n) * unit, nil
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
