package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"doorward/storage"
)

func TestLastOwnerStays(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		mustBe(t, s.RemoveMember(system(t), w.shared.ID, w.user.ID), storage.ErrConflict)
		mustBe(t, s.ChangeRole(system(t), w.shared.ID, w.user.ID, "admin"), storage.ErrConflict)
		must(t, s.ChangeRole(system(t), w.shared.ID, w.admin.ID, storage.RoleOwner))
		must(t, s.ChangeRole(system(t), w.shared.ID, w.user.ID, "viewer"))
		if role, err := s.RoleOf(system(t), w.shared.ID, w.user.ID); role != "viewer" || err != nil {
			t.Errorf("the role is %q, error %v", role, err)
		}
		mustBe(t, s.RemoveMember(system(t), w.shared.ID, w.admin.ID), storage.ErrConflict)
		must(t, s.RemoveMember(system(t), w.shared.ID, w.user.ID))
		_, err := s.RoleOf(system(t), w.shared.ID, w.user.ID)
		mustBe(t, err, storage.ErrNotFound)
		mustBe(t, s.RemoveMember(system(t), w.shared.ID, w.user.ID), storage.ErrNotFound)
		mustBe(t, s.RemoveMember(system(t), "ws_x", w.user.ID), storage.ErrNotFound)
	})
}

func TestOneOfTwoOwnersStaysWhenBothLeave(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		both := []string{w.user.ID, w.admin.ID}
		for range 10 {
			for _, id := range both {
				if err := s.AddMember(system(t), w.shared.ID, id, storage.RoleOwner); err != nil {
					must(t, s.ChangeRole(system(t), w.shared.ID, id, storage.RoleOwner))
				}
			}
			wins, errs := atOnce(2, func(i int) error { return s.RemoveMember(system(t), w.shared.ID, both[i]) })
			if wins != 1 {
				t.Fatalf("%d of 2 owners left: %v", wins, errs)
			}
			mustBe(t, errs[0], storage.ErrConflict)
		}
	})
}

func TestPersonalWorkspaceIsForItsUserAlone(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		mustBe(t, s.AddMember(system(t), w.workspace.ID, w.admin.ID, "member"), storage.ErrConflict)
		mustBe(t, s.DeleteWorkspace(system(t), w.workspace.ID), storage.ErrConflict)
		mustBe(t, s.RemoveMember(system(t), w.workspace.ID, w.user.ID), storage.ErrConflict)
		mustBe(t, s.InsertInvitation(system(t), storage.Invitation{
			ID: "i", Digest: storage.Digest("i"),
			WorkspaceID: w.workspace.ID, Email: "x@example.com",
		}), storage.ErrConflict)
	})
}

func TestSlugIsTakenOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		onlyOne(t, storage.ErrExists, func(ctx context.Context, _ int) error {
			return s.InsertWorkspace(ctx, storage.Workspace{ID: storage.NewID("ws"), Slug: "acme", Name: "Acme"},
				w.user.ID)
		})
		if got, err := s.WorkspaceBySlug(system(t), "acme"); err != nil || got.Name != "Acme" || got.Personal {
			t.Errorf("%+v, error %v", got, err)
		}
		for _, slug := range []string{"Acme", "acm", "%", "acme ", ""} {
			_, err := s.WorkspaceBySlug(system(t), slug)
			mustBe(t, err, storage.ErrNotFound)
		}
	})
}

func TestInvitationIsTakenOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		eve := storage.User{ID: storage.NewID("user"), Email: "eve@example.com"}
		must(t, s.InsertUser(system(t), &eve))
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, _ int) error {
			_, err := s.TakeInvitation(ctx, w.invitation.Digest, eve.ID)
			return err
		})
		if role, err := s.RoleOf(system(t), w.shared.ID, eve.ID); role != w.invitation.Role || err != nil {
			t.Errorf("the role is %q, error %v", role, err)
		}
	})
}

func TestInvitationEnds(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		// A user who is a member already keeps their role, and the link.
		_, err := s.TakeInvitation(system(t), w.invitation.Digest, w.admin.ID)
		mustBe(t, err, storage.ErrExists)
		if list, err := s.InvitationsOf(system(t), w.shared.ID); err != nil || len(list) != 1 {
			t.Errorf("%d invitations, error %v", len(list), err)
		}
		// A second one to the same address, however it is written, replaces the first.
		second := storage.Invitation{
			ID: storage.NewID("invitation"), Digest: storage.Digest("second"),
			WorkspaceID: w.shared.ID, Email: "EVE@example.com", Role: "admin", ExpiresAt: s.Now().Add(time.Hour),
		}
		must(t, s.InsertInvitation(system(t), second))
		_, err = s.TakeInvitation(system(t), w.invitation.Digest, w.otherAdmin.ID)
		mustBe(t, err, storage.ErrConsumed)
		mustBe(t, s.DropInvitation(system(t), w.workspace.ID, second.ID), storage.ErrNotFound)
		s.SetClock(func() time.Time { return noon.Add(time.Hour) })
		_, err = s.InvitationByDigest(system(t), second.Digest)
		mustBe(t, err, storage.ErrNotFound)
		_, err = s.TakeInvitation(system(t), second.Digest, w.otherAdmin.ID)
		mustBe(t, err, storage.ErrConsumed)
	})
}

// What goes with a user is what no one else owns.
func TestWorkspacesThatGoWithTheirOwner(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		slugs := func() (list []string) {
			t.Helper()
			sole, err := s.SolelyOwnedBy(system(t), w.user.ID)
			must(t, err)
			for _, x := range sole {
				list = append(list, x.Slug)
			}
			return list
		}
		if got := slugs(); !slices.Equal(got, []string{w.workspace.Slug, "shared"}) {
			t.Errorf("alone they own %v", got)
		}
		must(t, s.ChangeRole(system(t), w.shared.ID, w.admin.ID, storage.RoleOwner))
		if got := slugs(); !slices.Equal(got, []string{w.workspace.Slug}) {
			t.Errorf("beside another owner they own alone %v", got)
		}
		must(t, s.DeleteUser(system(t), w.user.ID))
		if members, err := s.Members(system(t), w.shared.ID, "", 10); err != nil || len(members) != 1 ||
			members[0].UserID != w.admin.ID {
			t.Errorf("members %+v, error %v", members, err)
		}
		must(t, s.DeleteUser(system(t), w.admin.ID))
		_, err := s.WorkspaceBySlug(system(t), "shared")
		mustBe(t, err, storage.ErrNotFound)
	})
}

// However the deletion of one owner and the leaving of the other meet, no workspace stays without one.
func TestOwnerIsDeletedWhileTheOtherLeaves(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		for i := range 20 {
			owner := storage.User{ID: storage.NewID("user"), Email: fmt.Sprintf("owner%d@example.com", i)}
			must(t, s.InsertUser(system(t), &owner))
			shared := storage.Workspace{ID: storage.NewID("ws"), Slug: fmt.Sprint("shared-", i), Name: "Shared"}
			must(t, s.InsertWorkspace(system(t), shared, owner.ID))
			must(t, s.AddMember(system(t), shared.ID, w.admin.ID, storage.RoleOwner))
			_, errs := atOnce(2, func(i int) error {
				if i == 0 {
					return s.DeleteUser(system(t), owner.ID)
				}
				return s.RemoveMember(system(t), shared.ID, w.admin.ID)
			})
			for _, err := range errs { // of the one who would have been the last
				if !errors.Is(err, storage.ErrConflict) && !errors.Is(err, storage.ErrNotFound) {
					t.Fatal(err)
				}
			}
			if n, err := s.Count(system(t), `SELECT count(*) FROM workspaces w WHERE NOT EXISTS (SELECT 1
				FROM memberships m WHERE m.workspace_id = w.id AND m.role = 'owner')`); n != 0 || err != nil {
				t.Fatalf("%d workspaces without an owner, error %v", n, err)
			}
		}
	})
}

func TestWorkspacesAreFoundBySlugAndName(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		made := storage.Workspace{ID: storage.NewID("ws"), Slug: "aerger", Name: "ÄRGER & Söhne 100%"}
		must(t, s.InsertWorkspace(system(t), made, w.user.ID))
		must(t, s.AddMember(system(t), made.ID, w.admin.ID, "viewer"))
		for search, found := range map[string]bool{
			"ärger": true, "SÖHNE": true, " aerg": true, "100%": true, "0%%": false, "_": false, "jemand": false,
			"": true,
		} {
			list, err := s.SearchWorkspaces(system(t), search, "", 100)
			must(t, err)
			i := slices.IndexFunc(list, func(l storage.ListedWorkspace) bool { return l.ID == made.ID })
			if i >= 0 != found {
				t.Errorf("a search for %q found it: %v", search, i >= 0)
			} else if found && (list[i].Members != 2 || list[i].CreatedAt.IsZero() || list[i].Personal) {
				t.Errorf("it is listed as %+v", list[i])
			}
		}
		must(t, s.UpdateWorkspace(system(t), made.ID, new("Zorn"), nil))
		if list, err := s.SearchWorkspaces(system(t), "zORN", "", 100); err != nil || len(list) != 1 {
			t.Errorf("%d are found by the new name, error %v", len(list), err)
		}
		first, err := s.SearchWorkspaces(system(t), "", "", 1)
		must(t, err)
		next, err := s.SearchWorkspaces(system(t), "", first[0].ID, 100)
		must(t, err)
		if slices.ContainsFunc(next, func(l storage.ListedWorkspace) bool {
			return l.ID == first[0].ID
		}) || len(next) == 0 {
			t.Error("the second page does not go on after the first")
		}
	})
}
