package web

import (
	"context"
	"net/url"
	"slices"

	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/storage"
)

// listLength is how many rows a page of a list has.
const listLength = 50

// paging turns a list that was read one row too long into a page and the link to the next. The first page is the only
// one that can be gone back to by a link; the browser knows the others.
func paging[T any](base, query, after string, list []T, id func(T) string) (page []T, next, prev string) {
	link := func(after string) string {
		v := url.Values{}
		if query != "" {
			v.Set("q", query)
		}
		if after != "" {
			v.Set("after", after)
		}
		if len(v) == 0 {
			return base
		}
		return base + "?" + v.Encode()
	}
	if after != "" {
		prev = link("")
	}
	if len(list) > listLength {
		list = list[:listLength]
		next = link(id(list[len(list)-1]))
	}
	return list, next, prev
}

// whyDisabled says why a workspace is disabled; empty: it is not.
func whyDisabled(ws storage.Workspace) string {
	switch {
	case ws.DisabledAt.IsZero():
		return ""
	case ws.DisabledFor != "":
		return "The workspace " + ws.Name + " stopped because none of its owners is enabled."
	}
	return "An administrator of this server disabled the workspace " + ws.Name + "."
}

// appNames are the names of the apps that hold grants, each once.
func (s *Server) appNames(ctx context.Context, grants []storage.Grant) (names []string, err error) {
	var seen []string
	for _, g := range grants {
		if slices.Contains(seen, g.ClientID) {
			continue
		}
		seen = append(seen, g.ClientID)
		c, err := s.store.ClientByID(ctx, g.ClientID)
		if err != nil {
			return nil, err
		}
		names = append(names, c.Name)
	}
	return names, nil
}

// liveKeys are the keys or tokens of an owner that are neither revoked nor expired.
func (s *Server) liveKeys(ctx context.Context, owner storage.KeyOwner, f storage.KeyFilter) (names []string, err error) {
	f.Limit = apikey.MaxKeys
	list, err := s.store.Keys(ctx, owner, f)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if state := s.oauth.KeyState(&list[i]); state != "revoked" && state != "expired" {
			names = append(names, list[i].Name)
		}
	}
	return names, nil
}

// masked is a key as it may be shown.
func masked(k *storage.APIKey) string { return k.Prefix + "…" + k.Tail }

// readAs runs fn in a transaction that reads what is a workspace's own.
func (s *Server) readAs(ctx context.Context, by oauth.Authority, fn func(ctx context.Context) error) error {
	return s.store.InTx(storage.Tenant(ctx, by.UserID, by.WorkspaceID), fn)
}
