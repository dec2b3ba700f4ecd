package dashboard

import (
	"context"

	"doorward/oauth"
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
		view.Found = requestRows(found)
	}
	view.Last = requestRows(list)
	return view, err
}

func requestRows(list []storage.Request) []templates.KeyRequest {
	var rows []templates.KeyRequest
	for _, x := range list {
		rows = append(rows, templates.KeyRequest{
			At: x.At.Time(), Action: actionText(x.Action), Status: x.Status, Reason: x.Reason, RequestID: x.RequestID, Address: x.Address,
		})
	}
	return rows
}

// actionText puts the action of a request into words: an introspection, or the method and route.
func actionText(action string) string {
	if action == oauth.ActionIntrospected {
		return "Token introspection"
	}
	return action
}
