package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/storage"
)

// Usage is how often a credential was used in an hour or a day.
type Usage struct {
	From         Moment `json:"from" doc:"Start of the hour or day, in UTC."`
	CredentialID string `json:"credentialId" doc:"ID of a key, a personal access token or an app."`
	Credential   string `json:"credential" doc:"api_key, personal_access_token or access_token."`
	Allowed      int64  `json:"allowed"`
	Limited      int64  `json:"limited" doc:"Refused by a rate limit."`
	Refused      int64  `json:"refused" doc:"Refused for any other reason."`
}

// UsageFilter holds the query parameters that filter usage.
type UsageFilter struct {
	Page
	Credential string `query:"credential" doc:"ID of a key, a personal access token or an app. Defaults to all."`
	From       Moment `query:"from" doc:"Inclusive. Defaults to 30 days before the end, or one day if by is hour."`
	To         Moment `query:"to" doc:"Exclusive. Defaults to now."`
	By         string `query:"by" enum:"hour,day" default:"day"`
}

// Event is an audit event of a workspace.
type Event struct {
	ID         string            `json:"id"`
	At         Moment            `json:"at"`
	Action     string            `json:"action" doc:"For example api_key.created."`
	UserID     *string           `json:"userId" doc:"Who did it, if known."`
	ClientID   *string           `json:"clientId" doc:"ID of the app that was used."`
	Credential *string           `json:"credential" doc:"Type of the credential that was used: session, password, command, or one of those of introspection."`
	KeyID      *string           `json:"keyId" doc:"ID of the key or personal access token that was used."`
	Address    *string           `json:"address" doc:"IP address."`
	RequestID  *string           `json:"requestId" doc:"X-Request-Id of the request."`
	Target     *string           `json:"target" doc:"ID of the object that was affected."`
	Detail     map[string]string `json:"detail" doc:"More details, without secrets or names."`
}

// EventFilter holds the query parameters that filter events.
type EventFilter struct {
	Page
	Action string `query:"action" doc:"An action, or a prefix that ends in a dot."`
	User   string `query:"user" doc:"ID of the user who did it."`
	Target string `query:"target" doc:"ID of the object that was affected."`
	From   Moment `query:"from" doc:"Inclusive."`
	To     Moment `query:"to" doc:"Exclusive."`
}

func (a *API) history() []operation {
	return []operation{
		on(operation{
			method:       get,
			path:         "/v1/usage",
			id:           "listUsage",
			tag:          "Usage",
			summary:      "List usage",
			status:       200,
			where:        inHeader,
			storageScope: asTenant,
			may:          management.MaySeeUsage,
			text:         "How often credentials were used, oldest first. Counts lag by a few seconds.",
			answer: List[Usage]{
				Data: []Usage{
					{
						From:         exampleTime,
						CredentialID: keyID,
						Credential:   bearer.KindAPIKey,
						Allowed:      1204,
						Limited:      3,
						Refused:      1,
					},
				},
			},
		}, a.listUsage),
		on(operation{
			method:       get,
			path:         "/v1/audit-events",
			id:           "listAuditEvents",
			tag:          "Audit",
			summary:      "List audit events",
			status:       200,
			where:        inHeader,
			storageScope: asTenant,
			may:          management.MayAudit,
			text:         "Newest first.",
			answer: List[Event]{Data: []Event{
				{
					ID:         "event_" + exampleUUID,
					At:         exampleTime,
					Action:     "api_key.created",
					UserID:     ptr("user_" + exampleUUID),
					Credential: ptr("session"),
					Address:    ptr("192.0.2.7"),
					RequestID:  ptr("5f2b9c0d1e3a4b5c6d7e8f90"),
					Target:     ptr(keyID),
					Detail:     map[string]string{"scopes": "read write"},
				},
			}},
		}, a.listEvents),
	}
}

func (a *API) listUsage(ctx context.Context, c *call, q *UsageFilter, _ *none) (List[Usage], error) {
	after, err := c.after(&q.Page)
	if err != nil {
		return List[Usage]{}, err
	}
	f := storage.UsageFilter{
		WorkspaceID:  c.by.WorkspaceID,
		CredentialID: q.Credential,
		Since:        storage.Time(q.From),
		Until:        storage.Time(q.To),
		ByDay:        q.By != "hour",
		Limit:        q.size() + 1,
	}
	if f.Until.IsZero() {
		f.Until = a.store.Now().Add(time.Microsecond)
	}
	if f.Since.IsZero() {
		span := 24 * time.Hour
		if f.ByDay {
			span = 30 * 24 * time.Hour
		}
		f.Since = f.Until.Add(-span)
	}
	if hour, id, ok := strings.Cut(after, " "); ok {
		n, _ := strconv.ParseInt(hour, 10, 64) // place below has written it
		f.AfterHour, f.AfterID = storage.Time(n), id
	}
	rows, err := a.store.UsagePage(ctx, f)
	if err != nil {
		return List[Usage]{}, fmt.Errorf("list usage: %w", err)
	}
	place := func(u *storage.Usage) string { return strconv.FormatInt(int64(u.Hour), 10) + " " + u.CredentialID }
	return listOf(c, &q.Page, rows, place, func(u *storage.Usage) Usage {
		return Usage{
			From:         Moment(u.Hour),
			CredentialID: u.CredentialID,
			Credential:   u.Credential,
			Allowed:      u.Allowed,
			Limited:      u.Limited,
			Refused:      u.Refused,
		}
	}), nil
}

func (a *API) listEvents(ctx context.Context, c *call, q *EventFilter, _ *none) (List[Event], error) {
	after, err := c.after(&q.Page)
	if err != nil {
		return List[Event]{}, err
	}
	rows, err := a.store.AuditEvents(ctx, storage.AuditFilter{
		WorkspaceID: c.by.WorkspaceID,
		Action:      q.Action,
		UserID:      q.User,
		Target:      q.Target,
		Since:       storage.Time(q.From),
		Until:       storage.Time(q.To),
		After:       after,
		Limit:       q.size() + 1,
	})
	if err != nil {
		return List[Event]{}, fmt.Errorf("list audit events: %w", err)
	}
	return listOf(
		c,
		&q.Page,
		rows,
		func(e *storage.AuditEvent) string { return e.ID },
		func(e *storage.AuditEvent) Event {
			detail := e.Detail
			if detail == nil {
				detail = map[string]string{}
			}
			return Event{
				ID:         e.ID,
				At:         Moment(e.CreatedAt),
				Action:     e.Action,
				UserID:     stringOrNil(e.UserID),
				ClientID:   stringOrNil(e.ClientID),
				Credential: stringOrNil(e.Credential),
				KeyID:      stringOrNil(e.KeyID),
				Address:    stringOrNil(e.Address),
				RequestID:  stringOrNil(e.RequestID),
				Target:     stringOrNil(e.Target),
				Detail:     detail,
			}
		},
	), nil
}
