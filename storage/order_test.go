package storage_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"doorward/storage"
)

// Every list is read whole, each row once, in pages of two, by every column and in both directions.
func TestV67_SortedListsPageEveryRowOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		for i, name := range []string{"Zoe", "ada", "", "Ärger", "ada"} {
			u := storage.User{ID: storage.NewID("user"), Email: fmt.Sprintf("sorted%d@example.com", i), Name: name}
			must(t, s.InsertUser(ctx, &u))
			if _, err := s.Exec(ctx, `INSERT INTO memberships (workspace_id, user_id, role, created_at)
				VALUES ($1, $2, $3, $4)`, w.shared.ID, u.ID, []string{"viewer", "member", "admin"}[i%3], int64(i)); err != nil {
				t.Fatal(err)
			}
			c := storage.Client{ID: storage.NewID("app"), WorkspaceID: w.shared.ID, Name: "App " + name}
			must(t, s.InsertClient(ctx, &c, nil))
			id := storage.NewID("key")
			k := storage.APIKey{
				ID: id, Digest: storage.Digest(id), Kind: storage.KindAPIKey, WorkspaceID: w.shared.ID,
				Name: name,
			}
			if i%2 == 0 {
				k.ExpiresAt = storage.At(noon) + storage.Time(i)
			}
			must(t, s.InsertKey(ctx, &k, 100))
		}
		check := func(list string, by []string, read func(o storage.Order) ([]string, []string, error)) {
			t.Helper()
			for _, by := range by {
				for _, down := range []bool{false, true} {
					o := storage.Order{By: by, Descending: down}
					whole, _, err := read(o)
					must(t, err)
					var paged []string
					for o.After == "" || len(paged) < len(whole)+10 {
						ids, values, err := read(o)
						must(t, err)
						ids = ids[:min(2, len(ids))]
						if len(ids) == 0 {
							break
						}
						paged = append(paged, ids...)
						o.After, o.Value = ids[len(ids)-1], values[len(ids)-1]
					}
					if !slices.Equal(paged, whole) || len(whole) < 5 {
						t.Errorf("%s by %s, descending %v: in pages %v, whole %v", list, by, down, paged, whole)
					}
				}
			}
		}
		check("users", []string{"name", "email", "created", "last_seen"}, func(o storage.Order) ([]string, []string, error) {
			list, err := s.SortedUsers(ctx, storage.UserFilter{}, o, 1000)
			return each(list, func(u *storage.User) string { return u.ID }),
				each(list, func(u *storage.User) string { return u.OrderValue(o.By) }), err
		})
		check("members", []string{"name", "role", "joined"}, func(o storage.Order) ([]string, []string, error) {
			list, err := s.SortedMembers(ctx, w.shared.ID, o, 1000)
			return each(list, func(m *storage.Member) string { return m.UserID }),
				each(list, func(m *storage.Member) string { return m.OrderValue(o.By) }), err
		})
		check("workspaces", []string{"name", "members", "created"}, func(o storage.Order) ([]string, []string, error) {
			list, err := s.SortedWorkspaces(ctx, "", o, 1000)
			return each(list, func(x *storage.ListedWorkspace) string { return x.ID }),
				each(list, func(x *storage.ListedWorkspace) string { return x.OrderValue(o.By) }), err
		})
		check("apps", []string{"name", "created"}, func(o storage.Order) ([]string, []string, error) {
			list, err := s.SortedClients(ctx, "", o, 1000)
			return each(list, func(c *storage.Client) string { return c.ID }),
				each(list, func(c *storage.Client) string { return c.OrderValue(o.By) }), err
		})
		check("keys", []string{"name", "created", "last_used", "expires"},
			func(o storage.Order) (ids, values []string, err error) {
				err = s.InTx(storage.Tenant(ctx, w.user.ID, w.shared.ID), func(ctx context.Context) error {
					list, err := s.Keys(ctx, storage.KeyOwner{WorkspaceID: w.shared.ID}, storage.KeyFilter{Order: o, Limit: 1000})
					ids = each(list, func(k *storage.APIKey) string { return k.ID })
					values = each(list, func(k *storage.APIKey) string { return k.OrderValue(o.By) })
					return err
				})
				return ids, values, err
			})
		if list, err := s.SortedUsers(ctx, storage.UserFilter{}, storage.Order{By: "no such column; DROP TABLE users"}, 10); err != nil ||
			len(list) < 5 {
			t.Errorf("by an unknown column: %d users, %v", len(list), err)
		}
	})
}

func each[T any](list []T, of func(*T) string) (texts []string) {
	for i := range list {
		texts = append(texts, of(&list[i]))
	}
	return texts
}
