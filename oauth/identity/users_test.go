package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
	"doorward/test/stores"
)

// fields lists the fields that an error finds fault with.
func fields(err error) []string {
	var list []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, fields(e)...)
		}
		return list
	}
	var invalid *Invalid
	if errors.As(err, &invalid) {
		list = append(list, invalid.Field)
	}
	return list
}

func TestG12_Addresses(t *testing.T) {
	for email, accepted := range map[string]bool{
		"a@example.com":                          true,
		" a@example.com ":                        true,
		"A.b+c_d-e@Example.X":                    true,
		"o'neill@example.com":                    true,
		"root@localhost":                         true,
		"a@xn--bcher-kva.example":                true,
		strings.Repeat("a", 64) + "@example.com": true,

		"":                                       false,
		"a":                                      false,
		"@":                                      false,
		"a@":                                     false,
		"@example.com":                           false,
		"a@x@y":                                  false,
		"a@example.com\r\n":                      false,
		"a@example.com\r\nBcc: b@c.d":            false,
		"\na@example.com":                        false,
		"a@example.com,b@example.com":            false,
		"a@example.com;b@example.com":            false,
		"a@example.com b@example.com":            false,
		"Ada <a@example.com>":                    false,
		"<a@example.com>":                        false,
		"\"a b\"@example.com":                    false,
		"a b@example.com":                        false,
		"a..b@example.com":                       false,
		".a@example.com":                         false,
		"a.@example.com":                         false,
		"a@example..com":                         false,
		"a@.example.com":                         false,
		"a@example.com.":                         false,
		"a@-example.com":                         false,
		"a@example-.com":                         false,
		"a@[192.0.2.1]":                          false,
		"a@exam\u0440le.com":                     false, // a Cyrillic letter that looks like p
		"\u0430dmin@example.com":                 false,
		"a@example.com\x00":                      false,
		"a\xff@example.com":                      false,
		"a\t@example.com":                        false,
		"a(comment)@example.com":                 false,
		"mailto:a@example.com":                   false,
		strings.Repeat("a", 65) + "@example.com": false,
		"a@" + strings.Repeat("b", 64) + ".com":  false,
		"a@" + strings.Repeat("b.", 144) + "example.com": false, // 301 characters
	} {
		got, err := checkEmail(email)
		if accepted != (err == nil) {
			t.Errorf("%q: %v, want accepted %v", email, err, accepted)
		}
		if err == nil && got != strings.Trim(email, " ") {
			t.Errorf("%q becomes %q", email, got)
		}
	}
}

func TestNames(t *testing.T) {
	for name, accepted := range map[string]bool{
		"":                         true,
		"Ada Lovelace":             true,
		"Владимир":                 true,
		"عائشة":                    true,
		"👩\u200d💻 Ada":             true, // joined emoji
		strings.Repeat("é", 200):   true,
		strings.Repeat("é", 201):   false,
		strings.Repeat("x", 1<<20): false,
		"Ada\nLovelace":            false,
		"Ada\x00":                  false,
		"Ada\x1b[31m":              false,
		"Ada\u2028Lovelace":        false,
		"\u202eecalevoL adA":       false,
		"Ada\xff":                  false,
	} {
		if _, err := checkName(name); accepted != (err == nil) {
			t.Errorf("%.40q: %v, want accepted %v", name, err, accepted)
		}
	}
}

func TestCreateUserTellsAllFaultsAtOnce(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		_, err := r.CreateUser(t.Context(), NewUser{Email: "a@x@y", Name: "a\nb", Password: "short"})
		if diff := cmp.Diff([]string{"email", "name", "password"}, fields(err)); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
		_, err = r.CreateUser(t.Context(), NewUser{
			Email: "ada@lovelace-engines.example", Name: "Ada",
			Password: "lovelace-engines-ada",
		})
		if diff := cmp.Diff([]string{"password"}, fields(err)); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
		if n, err := store.CountUsers(storage.System(t.Context())); n != 0 || err != nil {
			t.Errorf("%d users, %v", n, err)
		}
		if r.hashes.Load() != 0 {
			t.Error("a refused password was hashed")
		}
	})
}

func TestG31_ParallelSignUpsInDifferentCaseMakeOneAccount(t *testing.T) {
	stores.OnEachEngineParallel(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		wins, errs := atOnce(64, func(i int) error {
			email := []byte("someone@example.com")
			for bit := range 6 {
				if i&(1<<bit) != 0 {
					email[bit] -= 'a' - 'A'
				}
			}
			_, err := r.CreateUser(t.Context(), NewUser{Email: string(email), Password: goodPassword})
			return err
		})
		if wins != 1 {
			t.Errorf("%d succeeded, want 1", wins)
		}
		for _, err := range errs {
			if !errors.Is(err, storage.ErrExists) || !cmp.Equal(fields(err), []string{"email"}) {
				t.Errorf("error %v, want Invalid for email that wraps ErrExists", err)
			}
		}
		if n, err := store.CountUsers(storage.System(t.Context())); n != 1 || err != nil {
			t.Errorf("%d users, %v", n, err)
		}
	})
}

func TestSetupTokenIsForTheFirstUserOnly(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := NewUser{Email: "root@example.com", Password: goodPassword}
		for _, token := range []string{"", "guess"} {
			_, err := r.CreateFirstAdministrator(t.Context(), token, u)
			mustBe(t, err, ErrSetupToken)
		}
		first, needed, err := r.SetupToken(t.Context())
		if err != nil || !needed || len(first) != 32 {
			t.Fatalf("token %q, needed %v, error %v", first, needed, err)
		}
		second, _, err := r.SetupToken(t.Context())
		if err != nil || first == second {
			t.Fatalf("words %q and %q, error %v", first, second, err)
		}
		stored, err := store.Setting(storage.System(t.Context()), storage.SettingSetupToken)
		if err != nil || strings.Contains(stored, second) {
			t.Errorf("the token is stored as %q, error %v", stored, err)
		}
		before := r.hashes.Load()
		// of an earlier start, from a dump, none, longer
		for _, token := range []string{first, stored, "", second + "x", second + "\x00"} {
			mustBe(t, r.CheckSetupToken(t.Context(), token), ErrSetupToken)
			_, err := r.CreateFirstAdministrator(t.Context(), token, u)
			mustBe(t, err, ErrSetupToken)
		}
		if r.hashes.Load() != before {
			t.Error("a wrong token bought a hash")
		}
		if _, err := r.CreateFirstAdministrator(t.Context(), second, NewUser{Email: "root"}); !cmp.Equal(fields(err),
			[]string{"email", "password"}) {
			t.Fatalf("error %v, want Invalid", err)
		}
		if err := r.CheckSetupToken(t.Context(), second); err != nil {
			t.Fatalf("a refused form spent the token: %v", err)
		}
		got, err := r.CreateFirstAdministrator(t.Context(), second, u)
		if err != nil || !got.Admin {
			t.Fatalf("admin %v, error %v", got.Admin, err)
		}
		if err := r.login(t.Context(), "root@example.com", goodPassword, home, false); err != nil {
			t.Errorf("the administrator can not sign in: %v", err)
		}
		_, err = r.CreateFirstAdministrator(t.Context(), second, NewUser{Email: "other@example.com", Password: goodPassword})
		mustBe(t, err, ErrSetupToken)
		if token, needed, err := r.SetupToken(t.Context()); token != "" || needed || err != nil {
			t.Errorf("with a user: token %q, needed %v, error %v", token, needed, err)
		}
	})
}

func TestSetupTokenDiesWithAnyFirstUser(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		token, _, err := r.SetupToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.user(t, "a@example.com")
		_, err = r.CreateFirstAdministrator(t.Context(), token, NewUser{Email: "root@example.com", Password: goodPassword})
		mustBe(t, err, ErrSetupToken)
		// Even one that was stored when it was too late.
		if err := store.SetSetting(storage.System(t.Context()), storage.SettingSetupToken, setupDigest(token)); err != nil {
			t.Fatal(err)
		}
		_, err = r.CreateFirstAdministrator(t.Context(), token, NewUser{Email: "root@example.com", Password: goodPassword})
		mustBe(t, err, ErrSetupToken)
	})
}

func TestSetupTokenMakesOneAdministratorHoweverManyTry(t *testing.T) {
	stores.OnEachEngineParallel(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		token, _, err := r.SetupToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wins, errs := atOnce(64, func(i int) error {
			_, err := r.CreateFirstAdministrator(t.Context(), token,
				NewUser{Email: fmt.Sprintf("root%d@example.com", i), Password: goodPassword})
			return err
		})
		if wins != 1 {
			t.Errorf("%d administrators were made, want 1", wins)
		}
		for _, err := range errs {
			mustBe(t, err, ErrSetupToken)
		}
		if n, err := store.CountUsers(storage.System(t.Context())); n != 1 || err != nil {
			t.Errorf("%d users, %v", n, err)
		}
	})
}

func (r *rig) session(t *testing.T, userID string) string {
	t.Helper()
	id := storage.NewID("session")
	now := r.store.Now()
	err := r.store.InsertSession(storage.System(t.Context()), storage.Session{
		ID:        id,
		Digest:    storage.Digest(id),
		UserID:    userID,
		AuthTime:  now,
		CreatedAt: now,
		SeenAt:    now,
		ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (r *rig) sessions(t *testing.T, userID string) map[string]bool {
	t.Helper()
	list, err := r.store.SessionsOf(storage.System(t.Context()), userID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, x := range list {
		ids[x.ID] = true
	}
	return ids
}

func TestG21_ChangedPasswordEndsTheOtherSessions(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u, stranger := r.user(t, "a@example.com"), r.user(t, "b@example.com")
		mine, others := r.session(t, u.ID), r.session(t, stranger.ID)
		r.session(t, u.ID)
		r.session(t, u.ID)

		mustBe(t, r.ChangePassword(t.Context(), u.ID, mine, Attempt{Password: otherPassword, Address: home}, otherPassword),
			ErrWrong)
		if err := r.ChangePassword(t.Context(), u.ID, mine, Attempt{Password: goodPassword, Address: home},
			"short"); !cmp.Equal(fields(err), []string{"password"}) {
			t.Errorf("error %v, want Invalid for password", err)
		}
		if n := len(r.sessions(t, u.ID)); n != 3 {
			t.Fatalf("%d sessions after refusals, want 3", n)
		}
		if err := r.ChangePassword(t.Context(), u.ID, mine, Attempt{Password: goodPassword, Address: home},
			otherPassword); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]bool{mine: true}, r.sessions(t, u.ID)); diff != "" {
			t.Errorf("sessions (-want +got):\n%s", diff)
		}
		if !r.sessions(t, stranger.ID)[others] {
			t.Error("another user's session ended")
		}
		mustBe(t, r.login(t.Context(), "a@example.com", goodPassword, home, false), ErrWrong)
		if err := r.login(t.Context(), "a@example.com", otherPassword, home, false); err != nil {
			t.Error(err)
		}
		if _, err := r.SetPassword(t.Context(), u.ID, goodPassword, SignOutOptions{Apps: true}); err != nil {
			t.Fatal(err)
		}
		if n := len(r.sessions(t, u.ID)); n != 0 {
			t.Errorf("%d sessions after an administrator set the password, want none", n)
		}
		_, err := r.SetPassword(t.Context(), "user_nobody", goodPassword, SignOutOptions{})
		mustBe(t, err, storage.ErrNotFound)
	})
}

func TestOfTwoPasswordChangesAtOnceOneHolds(t *testing.T) {
	stores.OnEachEngineParallel(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		password := func(i int) string { return fmt.Sprintf("%s %c", otherPassword, 'k'+i) }
		winner := -1
		wins, errs := atOnce(8, func(i int) error {
			err := r.ChangePassword(t.Context(), u.ID, "", Attempt{Password: goodPassword, Address: home}, password(i))
			if err == nil {
				winner = i
			}
			return err
		})
		if wins != 1 {
			t.Fatalf("%d changes succeeded, want 1", wins)
		}
		for _, err := range errs {
			mustBe(t, err, ErrWrong)
		}
		r.advance(time.Hour)
		if err := r.login(t.Context(), "a@example.com", password(winner), home, false); err != nil {
			t.Error(err)
		}
	})
}

// A login that compared the old password while it was being changed must not come through after the change.
func TestLoginLosesAgainstAChangeMeanwhile(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		ctx := storage.System(t.Context())
		for name, meanwhile := range map[string]func() error{
			"changed":  func() error { return store.SetPasswordHash(ctx, u.ID, r.hasher.dummy) },
			"disabled": func() error { return store.DisableUser(ctx, u.ID) },
			"out of use": func() error {
				for range failuresBound {
					if err := store.CountPasswordFailure(ctx, u.ID, failuresBound); err != nil {
						return err
					}
				}
				return nil
			},
		} {
			if err := r.EnableUser(t.Context(), u.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := r.SetPassword(t.Context(), u.ID, goodPassword, SignOutOptions{Apps: true}); err != nil {
				t.Fatal(err)
			}
			key := r.hasher.key
			r.hasher.key = func(password, salt []byte, t, memory uint32, threads uint8, n uint32) []byte {
				if err := meanwhile(); err != nil {
					panic(err)
				}
				return key(password, salt, t, memory, threads, n)
			}
			if err := r.login(t.Context(), "a@example.com", goodPassword, home, false); !errors.Is(err, ErrWrong) {
				t.Errorf("%s meanwhile: %v, want ErrWrong", name, err)
			}
			r.hasher.key = key
		}
	})
}

func TestLastAdministratorStays(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		admin := func(email string) storage.User {
			u, err := r.CreateUser(t.Context(), NewUser{Email: email, Password: goodPassword, Admin: true})
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		one := admin("one@example.com")
		plain := r.user(t, "plain@example.com")
		session := r.session(t, one.ID)
		mustBe(t, r.DisableUser(t.Context(), one.ID), storage.ErrConflict)
		mustBe(t, r.DeleteUser(t.Context(), one.ID), storage.ErrConflict)
		if !r.sessions(t, one.ID)[session] {
			t.Error("the refusal ended a session")
		}
		if err := r.DisableUser(t.Context(), plain.ID); err != nil {
			t.Error(err)
		}
		two := admin("two@example.com")
		if err := r.DisableUser(t.Context(), two.ID); err != nil {
			t.Fatal(err)
		}
		mustBe(t, r.DisableUser(t.Context(), one.ID), storage.ErrConflict) // two is disabled
		if err := r.DisableUser(t.Context(), two.ID); err != nil {
			t.Errorf("disabling twice: %v", err)
		}
		if err := r.EnableUser(t.Context(), two.ID); err != nil {
			t.Fatal(err)
		}
		if err := r.DeleteUser(t.Context(), one.ID); err != nil {
			t.Fatal(err)
		}
		mustBe(t, r.DeleteUser(t.Context(), two.ID), storage.ErrConflict)
		for _, do := range []func(context.Context, string) error{
			func(ctx context.Context, id string) error { return r.DisableUser(ctx, id) }, r.EnableUser, r.DeleteUser,
		} {
			mustBe(t, do(t.Context(), one.ID), storage.ErrNotFound)
		}
		mustBe(t, r.Rename(t.Context(), one.ID, "x"), storage.ErrNotFound)
	})
}

func TestAdministratorsWhoTakeEachOtherAwayAtOnceLeaveOne(t *testing.T) {
	stores.OnEachEngineParallel(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		var ids []string
		for i := range 16 {
			u, err := r.CreateUser(t.Context(),
				NewUser{Email: fmt.Sprintf("a%d@example.com", i), Password: goodPassword, Admin: true})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, u.ID)
		}
		gone, errs := atOnce(len(ids), func(i int) error {
			if i%2 == 0 {
				return r.DeleteUser(t.Context(), ids[i])
			}
			return r.DisableUser(t.Context(), ids[i])
		})
		if gone != int64(len(ids)-1) {
			t.Errorf("%d of %d administrators went: %v", gone, len(ids), errs)
		}
		for _, err := range errs {
			mustBe(t, err, storage.ErrConflict)
		}
	})
}

func TestRename(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, store *storage.Store) {
		r := newRig(store, false)
		u := r.user(t, "a@example.com")
		if err := r.Rename(t.Context(), u.ID, " Cafe\u0301 "); err != nil {
			t.Fatal(err)
		}
		if got := r.reload(t, u.ID).Name; got != "Café" {
			t.Errorf("name %q", got)
		}
		if err := r.Rename(t.Context(), u.ID, "a\nb"); !cmp.Equal(fields(err), []string{"name"}) {
			t.Errorf("error %v, want Invalid for name", err)
		}
	})
}
