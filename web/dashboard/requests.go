package dashboard

import (
	"context"
	"strings"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// requestsOf returns the last requests with a key or an app, and the request whose id was asked for, if any. ctx
// belongs to a tenant that may read them.
func (s *base) requestsOf(ctx context.Context, id, path, requested string) (templates.Requests, error) {
	view := templates.Requests{Path: path, Asked: page.Clean(requested, 64)}
	list, err := s.store.RecentRequestsOf(ctx, id)
	if err == nil && requested != "" {
		var found []storage.Request
		found, err = s.store.RecentRequest(ctx, id, view.Asked)
		view.Found = requestRows(ctx, found)
	}
	view.Last = requestRows(ctx, list)
	return view, err
}

func requestRows(ctx context.Context, list []storage.Request) []templates.KeyRequest {
	var rows []templates.KeyRequest
	for _, x := range list {
		rows = append(rows, templates.KeyRequest{
			At: x.At.Time(), Action: actionText(ctx, x.Action), Status: x.Status, Reason: reasonText(ctx, x.Reason),
			RequestID: x.RequestID, Address: x.Address,
		})
	}
	return rows
}

// actionText puts the action of a request into words: an introspection, or the method and route.
func actionText(ctx context.Context, action string) string {
	if action == oauth.ActionIntrospected {
		return locale.From(ctx).Text("Token introspection")
	}
	return action
}

// reasons are the recorded reasons for refusing a request. Others name routes and come as they were recorded.
var reasons = map[string]locale.Text{
	bearer.ReasonLimit:     locale.New("rate limit exceeded"),
	bearer.ReasonExpired:   locale.New("the credential has expired"),
	bearer.ReasonRevoked:   locale.New("the credential was revoked"),
	bearer.ReasonSuspended: locale.New("the credential is paused, or its user or workspace is disabled"),
	bearer.ReasonApp:       locale.New("the app, its user or its workspace is disabled"),
	bearer.ReasonWorkspace: locale.New("the credential has no access to this workspace"),
	bearer.ReasonAddress:   locale.New("the key cannot be used from this IP address"),
}

// reasonText says why a request was refused; empty if it was allowed.
func reasonText(ctx context.Context, recorded string) string {
	if text, ok := reasons[recorded]; ok {
		return locale.From(ctx).Of(text)
	}
	if scope, ok := strings.CutPrefix(recorded, bearer.ReasonScope("")); ok {
		return locale.From(ctx).Text("the credential lacks the scope %s", scope)
	}
	return recorded
}
