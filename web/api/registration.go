package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/storage"
)

// RegistrationToken is a token with which apps register themselves (initial access token, RFC 7591, section 3).
type RegistrationToken struct {
	ID         string  `json:"id"`
	Token      string  `json:"token,omitempty" doc:"The token itself. Returned only when it is created."`
	Masked     string  `json:"masked" doc:"First and last characters, to recognise the token."`
	Uses       int64   `json:"uses" doc:"How many apps can register with it."`
	Used       int64   `json:"used" doc:"How many apps have registered with it."`
	CreatedAt  Moment  `json:"createdAt"`
	CreatedBy  *string `json:"createdBy" doc:"ID of a user; null: created with the CLI."`
	LastUsedAt *Moment `json:"lastUsedAt" doc:"null: never."`
	ExpiresAt  Moment  `json:"expiresAt"`
}

// NewRegistrationToken is the request to create a registration token.
type NewRegistrationToken struct {
	Uses      *int64  `json:"uses,omitempty" doc:"How many apps can register with it: 1 to 100,000. Defaults to 1."`
	ExpiresAt *Moment `json:"expiresAt,omitempty" doc:"At least a minute and at most 366 days from now. Defaults to 7 days from now."`
}

func (a *API) registrationTokens() []operation {
	with := func(o operation) operation { o.tag, o.server = "Registration tokens", true; return o }
	shown := RegistrationToken{
		ID: "regtoken_" + exampleUUID, Masked: bearer.PrefixRegistration + "…x0Zb", Uses: 5, CreatedAt: exampleTime,
		CreatedBy: ptr("user_" + exampleUUID), ExpiresAt: Moment(storage.Time(exampleTime).Add(7 * 24 * time.Hour)),
	}
	made := shown
	made.Token = shown.Masked
	return []operation{
		on(with(operation{
			method:  post,
			path:    "/v1/registration-tokens",
			id:      "createRegistrationToken",
			summary: "Create a registration token",
			status:  201,
			text: "Apps register themselves with it at `/oauth/register` (initial access token, RFC 7591). The token is " +
				"returned in the member `token` of this response and never again. A browser session needs a sign-in within the " +
				"last few minutes.",
			request: NewRegistrationToken{Uses: ptr(int64(5))},
			answer:  made,
		}), a.createRegistrationToken),
		on(with(operation{
			method:  get,
			path:    "/v1/registration-tokens",
			id:      "listRegistrationTokens",
			summary: "List registration tokens",
			status:  200,
			text:    "Oldest first: those that have not expired, used up or not.",
			answer:  List[RegistrationToken]{Data: []RegistrationToken{shown}},
		}), a.listRegistrationTokens),
		on(with(operation{
			method:  remove,
			path:    "/v1/registration-tokens/{id}",
			id:      "revokeRegistrationToken",
			summary: "Revoke a registration token",
			status:  204,
			text:    "Takes effect immediately and cannot be undone. Apps that registered with it stay.",
		}), a.revokeRegistrationToken),
	}
}

// showRegistrationToken converts a registration token for a response.
func showRegistrationToken(x *storage.RegistrationToken) RegistrationToken {
	return RegistrationToken{
		ID: x.ID, Masked: bearer.PrefixRegistration + "…" + x.Tail, Uses: x.MaxUses, Used: x.Uses,
		CreatedAt: Moment(x.CreatedAt), CreatedBy: stringOrNil(x.CreatedBy), LastUsedAt: momentOrNil(x.LastUsedAt),
		ExpiresAt: Moment(x.ExpiresAt),
	}
}

func (a *API) createRegistrationToken(
	ctx context.Context, c *call, _ *none, in *NewRegistrationToken,
) (RegistrationToken, error) {
	uses, lifetime := int64(management.DefaultTokenUses), management.DefaultTokenLifetime
	set(&uses, in.Uses)
	if in.ExpiresAt != nil {
		// time.Time has a Sub that does not overflow.
		lifetime = storage.Time(*in.ExpiresAt).Time().Sub(a.store.Now().Time())
	}
	token, x, err := a.management.CreateRegistrationToken(ctx, c.by, uses, lifetime)
	if err != nil {
		return RegistrationToken{}, err
	}
	shown := showRegistrationToken(&x)
	shown.Token = token
	return shown, nil
}

func (a *API) listRegistrationTokens(
	ctx context.Context, c *call, q *Page, _ *none,
) (List[RegistrationToken], error) {
	after, err := c.after(q)
	if err != nil {
		return List[RegistrationToken]{}, err
	}
	rows, err := a.management.RegistrationTokens(ctx, c.by)
	if err != nil {
		return List[RegistrationToken]{}, err
	}
	place := func(x *storage.RegistrationToken) string { return x.ID }
	slices.SortFunc(rows, func(x, y storage.RegistrationToken) int { return strings.Compare(x.ID, y.ID) })
	return listOf(c, q, cut(q, rows, after, place), place, showRegistrationToken), nil
}

func (a *API) revokeRegistrationToken(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "regtoken")
	if err != nil {
		return none{}, err
	}
	return none{}, a.management.RevokeRegistrationToken(ctx, c.by, id)
}
