package storage_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

// hostile are texts that SQL, LIKE or a C string could take for something else.
var hostile = []string{
	"'", "''", `"`, "--", ";", "'; DROP TABLE users; --", "' OR '1'='1", "$1", "$$", "?", ":a", "@a", "\\", "\\'", "%",
	"_", "%%", "!", "!%",
	"pg_sleep(5)", "'||pg_sleep(5)||'", "{}", "{a,b}", "NULL", "\x01", "\u202e", "\ufeff", "é", "e\u0301", "😀",
	strings.Repeat("x", 100_000),
}

// unstorable are texts that PostgreSQL has no room for.
var unstorable = []string{"\x00", "a\x00b", "Ada@Example.com\x00", "\xff", "ok\xc3", "\xed\xa0\x80"}

// reads holds a call of every look-up by text, which finds something when it is given the right one.
var reads = map[string]func(ctx context.Context, s *storage.Store, text string) (found bool, err error){
	"UserByID": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		u, err := s.UserByID(ctx, text)
		return u.ID != "", err
	},
	"UserByEmail": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		u, err := s.UserByEmail(ctx, text)
		return u.ID != "", err
	},
	"Users": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.Users(ctx, text+"x", "", 10)
		return len(l) > 0, err
	},
	"Users after": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		_, err := s.Users(ctx, "", text, 10)
		return false, err
	},
	"ClientByID": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		c, err := s.ClientByID(ctx, text)
		return c.ID != "", err
	},
	"Clients after": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		_, err := s.Clients(ctx, "", text, 10)
		return false, err
	},
	"Clients": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.Clients(ctx, text+"x", "", 10)
		return len(l) > 0, err
	},
	"ClientsOfWorkspace": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.ClientsOfWorkspace(ctx, text)
		return len(l) > 0, err
	},
	"WorkspacesOf": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.WorkspacesOf(ctx, text)
		return len(l) > 0, err
	},
	"SessionsOf": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.SessionsOf(ctx, text, time.Hour)
		return len(l) > 0, err
	},
	"LiveGrantsOf": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.LiveGrantsOf(ctx, text)
		return len(l) > 0, err
	},
	"ConsentsOf": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.ConsentsOf(ctx, text)
		return len(l) > 0, err
	},
	"ConsentFor": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		c, err := s.ConsentFor(ctx, text, text, text, text)
		return len(c.Scopes) > 0, err
	},
	"CountUsersOfClient": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		n, err := s.CountUsersOfClient(ctx, text)
		return n > 0, err
	},
	"FlowAnswer": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		answer, err := s.FlowAnswer(ctx, text)
		return answer != "", err
	},
	"OriginAllowed": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		return s.OriginAllowed(ctx, text, "")
	},
	"OriginAllowed of": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		return s.OriginAllowed(ctx, "https://app.example", text+"x")
	},
	"Setting": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		v, err := s.Setting(ctx, text)
		return v != "", err
	},
	"PersonalTokenByDigest": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		b, err := s.PersonalTokenByDigest(ctx, []byte(text), "shared")
		return b.Key.ID != "", err
	},
	"Keys": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.Keys(ctx, storage.KeyOwner{WorkspaceID: text + "x"}, storage.KeyFilter{Limit: 10})
		return len(l) > 0, err
	},
	"Keys of": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.Keys(ctx, storage.KeyOwner{UserID: text + "x"}, storage.KeyFilter{
			Search: text, Environment: text,
			CreatedBy: text, After: text, Limit: 10,
		})
		return len(l) > 0, err
	},
	"Key": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		k, err := s.KeyByID(ctx, text)
		return k.ID != "", err
	},
	"KeysRotatedInto": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.KeysRotatedInto(ctx, storage.KeyOwner{WorkspaceID: text}, text)
		return len(l) > 0, err
	},
	"UsageOf": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.UsageOf(ctx, text, text, 0, s.Now()+1)
		return len(l) > 0, err
	},
	"RecentRequestsOf": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.RecentRequestsOf(ctx, text)
		return len(l) > 0, err
	},
	"AuditEvents": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.AuditEvents(ctx, storage.AuditFilter{WorkspaceID: text + "x", Limit: 10})
		return len(l) > 0, err
	},
	"AuditEvents of": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		l, err := s.AuditEvents(ctx, storage.AuditFilter{
			WorkspaceID: text, Action: text + ".", UserID: text,
			Target: text, After: text, Limit: 10,
		})
		return len(l) > 0, err
	},
	"digests": func(ctx context.Context, s *storage.Store, text string) (bool, error) {
		_, err1 := s.AccessTokenByDigest(ctx, []byte(text))
		_, err2 := s.RefreshTokenByDigest(ctx, []byte(text))
		_, err3 := s.CodeByDigest(ctx, []byte(text))
		_, _, err4 := s.LiveSession(ctx, []byte(text), time.Hour)
		_, err5 := s.KeyByDigest(ctx, []byte(text))
		_, err6 := s.KeptAnswer(ctx, []byte(text))
		_, err7 := s.RegistrationTokenUsable(ctx, []byte(text))
		return false, errors.Join(err1, err2, err3, err4, err5, err6, err7)
	},
}

func TestS01_NoTextIsTakenForAnythingElse(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		newWorld(t, s)
		before := dump(t, s)
		for name, read := range reads {
			for _, text := range append(hostile, unstorable...) {
				found, err := read(system(t), s, text)
				if found || (err != nil && !errors.Is(err, storage.ErrNotFound)) || errors.Is(err,
					storage.ErrUnavailable) {
					t.Errorf("%s(%.40q): found %v, error %v", name, text, found, err)
				}
				// In a transaction it must leave the transaction usable.
				err = s.InTx(system(t), func(ctx context.Context) error {
					_, _ = read(ctx, s, text)
					_, err := s.Setting(ctx, "word")
					return err
				})
				if err != nil {
					t.Errorf("%s(%.40q) breaks its transaction: %v", name, text, err)
				}
			}
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Errorf("rows changed:\n%s", diff)
		}
	})
}

func TestS01_HostileTextIsStoredAsItIs(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		for i, text := range hostile {
			if len(text) > 1000 {
				continue // an index entry has a bound
			}
			u := storage.User{
				ID: "user_" + text, Email: fmt.Sprint(text, i, "@example.com"), Name: text,
				PasswordHash: text,
			}
			must(t, s.InsertUser(ctx, &u))
			got, err := s.UserByID(ctx, u.ID)
			if diff := cmp.Diff(u, got); diff != "" || err != nil {
				t.Errorf("%q: error %v, (-want +got):\n%s", text, err, diff)
			}
			c := w.client
			c.ID, c.Secrets, c.Name, c.Site = fmt.Sprint("app_", i), nil, text, text
			must(t, s.InsertClient(ctx, &c, []string{text}))
			read, err := s.ClientByID(ctx, c.ID)
			if diff := cmp.Diff(c, read); diff != "" || err != nil {
				t.Errorf("%q: error %v, (-want +got):\n%s", text, err, diff)
			}
			if allowed, err := s.OriginAllowed(ctx, text, c.ID); !allowed || err != nil {
				t.Errorf("origin %q: %v, %v", text, allowed, err)
			}
			must(t, s.SetSetting(ctx, text, text))
			must(t, s.DecideFlow(ctx, text, text, time.Hour))
			mustBe(t, s.DecideFlow(ctx, text, text, time.Hour), storage.ErrConsumed)
			must(t, s.TakeSetting(ctx, text, text))
		}
	})
}

// Every string that a record or a parameter holds, one after the other, in every method that writes.
func TestS01_UnstorableTextWritesNothing(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		now := s.Now()
		before := dump(t, s)
		poisoned := func(name string, record any, write func(record any) error) {
			t.Helper()
			v := reflect.ValueOf(record)
			for i := range v.NumField() {
				for _, text := range unstorable {
					bad := reflect.New(v.Type()).Elem()
					bad.Set(v)
					switch f := bad.Field(i); {
					case v.Type().Field(i).Name == "DisabledBy", v.Type().Field(i).Name == "PausedBy":
						continue // nothing is inserted as stopped
					case f.Kind() == reflect.String:
						f.SetString(text)
					case f.Type() == reflect.TypeFor[storage.List]():
						f.Set(reflect.ValueOf(storage.List{"ok", text}))
					default:
						continue
					}
					if err := write(bad.Interface()); !errors.Is(err, storage.ErrNotFound) {
						t.Errorf("%s with %s %q: error %v", name, v.Type().Field(i).Name, text, err)
					}
				}
			}
		}
		poisoned("InsertUser", struct{ ID, Email, Name, PasswordHash string }{"user_x", "x@example.com", "x", "x"},
			func(r any) error {
				u := r.(struct{ ID, Email, Name, PasswordHash string })
				if strings.Contains(u.Email, "\xc3") || strings.Contains(u.Email, "\xff") || strings.Contains(u.Email,
					"\xed") {
					u.Email += "\x00" // its key is readable, the address is not
				}
				return s.InsertUser(ctx, &storage.User{
					ID: u.ID, Email: u.Email, Name: u.Name,
					PasswordHash: u.PasswordHash,
				})
			})
		poisoned("InsertClient", w.client, func(r any) error {
			c := r.(storage.Client)
			c.Secrets = nil
			if c.ID == w.client.ID {
				c.ID = "app_x"
			}
			return s.InsertClient(ctx, &c, nil)
		})
		poisoned("InsertClient of itself", w.described(s), func(r any) error {
			c := r.(storage.Client)
			return s.InsertClient(ctx, &c, nil)
		})
		poisoned("SaveDocumentClient", w.described(s), func(r any) error {
			c := r.(storage.Client)
			_, err := s.SaveDocumentClient(ctx, &c, nil)
			return err
		})
		poisoned("InsertRegistrationToken", struct{ ID, Tail, CreatedBy string }{"regtoken_x", "x", "x"},
			func(r any) error {
				x := r.(struct{ ID, Tail, CreatedBy string })
				return s.InsertRegistrationToken(ctx, &storage.RegistrationToken{
					ID: x.ID, Digest: storage.Digest("x"), Tail: x.Tail, CreatedBy: x.CreatedBy, MaxUses: 1, ExpiresAt: now,
				})
			})
		poisoned("UpdateClient", struct{ ID, Name, Site string }{w.client.ID, "", ""}, func(r any) error {
			x := r.(struct{ ID, Name, Site string })
			return s.UpdateClient(ctx, &storage.Client{ID: x.ID, Name: x.Name, Site: x.Site}, nil)
		})
		poisoned("InsertSession", struct{ ID, UserID, Data, Address string }{"session_x", w.user.ID, "{}", "x"},
			func(r any) error {
				x := r.(struct{ ID, UserID, Data, Address string })
				return s.InsertSession(ctx, storage.Session{
					ID: x.ID, Digest: storage.Digest("x"), UserID: x.UserID,
					Data: x.Data, Address: x.Address, AuthTime: now, CreatedAt: now, SeenAt: now, ExpiresAt: now,
				})
			})
		poisoned("InsertGrant", struct {
			ID, ClientID, UserID, WorkspaceID, Resource string
			Scopes                                      storage.List
			RedirectURI, Challenge                      string
		}{"grant_x", w.client.ID, w.user.ID, w.workspace.ID, "r", storage.List{"read"}, "u", "c"}, func(r any) error {
			x := r.(struct {
				ID, ClientID, UserID, WorkspaceID, Resource string
				Scopes                                      storage.List
				RedirectURI, Challenge                      string
			})
			return s.InsertGrant(ctx, storage.Grant{
				ID: x.ID, ClientID: x.ClientID, UserID: x.UserID, WorkspaceID: x.WorkspaceID, Resource: x.Resource,
				Scopes:   x.Scopes,
				AuthTime: now, CreatedAt: now, ExpiresAt: now,
			}, storage.Code{
				Digest: storage.Digest("x"), RedirectURI: x.RedirectURI, Challenge: x.Challenge,
				ExpiresAt: now,
			})
		})
		poisoned("InsertKey", w.key, func(r any) error {
			k := r.(storage.APIKey)
			if k.ID == w.key.ID {
				k.ID = "key_x"
			}
			k.Digest = storage.Digest("x")
			k.Note += k.RotatedInto + k.LastUsedFrom // which a new key does not have
			if k.UserID != "" {
				k.WorkspaceID = ""
			}
			return s.InsertKey(ctx, &k, 10)
		})
		poisoned("UpdateKey", struct {
			Name, Note, Plan  string
			Scopes, Addresses storage.List
		}{"x", "", "", nil, nil}, func(r any) error {
			x := r.(struct {
				Name, Note, Plan  string
				Scopes, Addresses storage.List
			})
			k := w.key
			k.Name, k.Note, k.Plan, k.Scopes, k.Addresses = x.Name, x.Note, x.Plan, x.Scopes, x.Addresses
			return s.UpdateKey(ctx, &k)
		})
		poisoned("Audit", struct{ Action, WorkspaceID, UserID, Target string }{"x", w.workspace.ID, "x", "x"},
			func(r any) error {
				x := r.(struct{ Action, WorkspaceID, UserID, Target string })
				return s.Audit(ctx, storage.AuditEvent{
					Action: x.Action, WorkspaceID: x.WorkspaceID,
					Actor: storage.Actor{UserID: x.UserID}, Target: x.Target,
				}, "")
			})
		for _, text := range unstorable {
			for name, err := range map[string]error{
				"SetSetting key":   s.SetSetting(ctx, text, "x"),
				"SetSetting value": s.SetSetting(ctx, "x", text),
				"RenameUser":       s.RenameUser(ctx, w.user.ID, text),
				"SetPasswordHash":  s.SetPasswordHash(ctx, w.user.ID, text),
				"SetSessionData":   s.SetSessionData(ctx, w.session.ID, text),
				"DecideFlow":       s.DecideFlow(ctx, text, "x", time.Hour),
				"RevokeGrant":      s.RevokeGrant(ctx, w.grant.ID, text),
				"RotateSecret tail": s.RotateSecret(ctx, w.client.ID, storage.ClientSecret{
					ID:     "secret_x",
					Digest: storage.Digest("x"), Tail: text, CreatedAt: now,
				}, 0),
				"DeleteRegistrationToken": s.DeleteRegistrationToken(ctx, text),
				"UseClient":               s.UseClient(ctx, text),

				"TakeSetting":  s.TakeSetting(ctx, "word", text),
				"EndSession":   s.EndSession(ctx, w.user.ID, text),
				"RevokeAccess": second(s.RevokeAccess(ctx, w.user.ID, text)),
			} {
				if !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s(%q): error %v", name, text, err)
				}
			}
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Errorf("rows changed:\n%s", diff)
		}
	})
}

// second is the error of what returns something else too.
func second[T any](_ T, err error) error { return err }

func TestStrangeUserAgentKeepsNoUserOut(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		x := w.session
		x.ID, x.Digest, x.UserAgent = storage.NewID("session"), storage.Digest("x"), "a\x00b\xffc"
		must(t, s.ReplaceSession(system(t), w.session.ID, x))
		got, _, err := s.LiveSession(system(t), x.Digest, time.Hour)
		if got.UserAgent != "a\ufffdb\ufffdc" || err != nil {
			t.Errorf("user agent %q, error %v", got.UserAgent, err)
		}
	})
}

func TestUserSearch(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		var ids []string
		for _, u := range []storage.User{
			{Email: "Ada@Example.com", Name: "Ada Lovelace"},
			{Email: "emile@example.com", Name: "Émile"},
			{Email: "100%@example.org", Name: "Per_Cent"},
			{Email: "w@example.org", Name: "ВЛАДИМИР"},
		} {
			u.ID = storage.NewID("user")
			ids = append(ids, u.ID)
			must(t, s.InsertUser(ctx, &u))
		}
		search := func(text, after string, limit int) string {
			t.Helper()
			list, err := s.Users(ctx, text, after, limit)
			must(t, err)
			var at []string
			for _, u := range list {
				for i, id := range ids {
					if id == u.ID {
						at = append(at, fmt.Sprint(i))
					}
				}
			}
			return strings.Join(at, " ")
		}
		for text, want := range map[string]string{
			"": "0 1 2 3", "ADA": "0", " lovelace ": "0", "EXAMPLE.COM": "0 1", "éMILE": "1", "e\u0301mile": "1",
			"владимир": "3",
			"%":        "2", "_": "2", "!": "", "a%a": "", "nobody": "",
		} {
			if got := search(text, "", 10); got != want {
				t.Errorf("search %q: %q, want %q", text, got, want)
			}
		}
		if got := search("", "", 2) + "|" + search("", ids[1], 2) + "|" + search("", ids[3], 2); got != "0 1|2 3|" {
			t.Errorf("pages %q", got)
		}
		must(t, s.RenameUser(ctx, ids[0], "ÅSA"))
		if got := search("åsa", "", 10); got != "0" {
			t.Errorf("after the new name: %q", got)
		}
	})
}

func TestClientSearch(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		c := w.client
		c.ID, c.Secrets, c.Name = storage.NewID("app"), nil, "Überblick"
		must(t, s.InsertClient(system(t), &c, nil))
		for text, want := range map[string]int{
			"": 2, "ÜBER": 1, "app": 2, w.client.ID[10:]: 1, "%": 0,
			"überblick 2": 0,
		} {
			if list, err := s.Clients(system(t), text, "", 10); len(list) != want || err != nil {
				t.Errorf("search %q: %d clients, error %v; want %d", text, len(list), err, want)
			}
		}
		c.Name = "Übersicht"
		must(t, s.UpdateClient(system(t), &c, nil))
		if list, err := s.Clients(system(t), "übersicht", "", 10); len(list) != 1 || err != nil {
			t.Errorf("after the new name: %d clients, error %v", len(list), err)
		}
	})
}

func TestO04_ErrorsCarryNoValues(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		newWorld(t, s)
		ctx := system(t)
		const canary = "canary-7f3a"
		must(t, s.InsertUser(ctx, &storage.User{
			ID: storage.NewID("user"), Email: canary + "@example.com", Name: canary,
			PasswordHash: canary,
		}))
		must(t, s.SetSetting(ctx, "canary", canary))
		exec := func(query string, args ...any) error { _, err := s.Exec(ctx, query, args...); return err }
		read := func(query string, args ...any) error { _, err := s.Count(ctx, query, args...); return err }
		for name, c := range map[string]struct {
			err  error
			want error
		}{
			"unique": {s.InsertUser(ctx, &storage.User{ID: storage.NewID("user"), Email: canary +
				"@Example.com"}), storage.ErrExists},
			"foreign key": {s.InsertSession(ctx, storage.Session{
				ID: canary, Digest: []byte(canary), UserID: canary,
				AuthTime: 1, CreatedAt: 1, SeenAt: 1, ExpiresAt: 1,
			}), storage.ErrNotFound},
			"not null": {
				exec(`INSERT INTO settings (key, value) VALUES ($1, NULL)`, canary),
				storage.ErrUnavailable,
			},
			"check": {
				exec(`UPDATE clients SET name = $1, public = TRUE, pkce_optional = TRUE`, canary),
				storage.ErrUnavailable,
			},
			"conversion":    {read(`SELECT name FROM users WHERE password_hash = $1`, canary), storage.ErrUnavailable},
			"two rows":      {read(`SELECT 1 FROM users WHERE $1 = $1 OR name = $1`, canary), storage.ErrUnavailable},
			"syntax":        {exec(`SELEC 'canary-7f3a'`), storage.ErrUnavailable},
			"unknown table": {exec(`DELETE FROM "canary-7f3a"`), storage.ErrUnavailable},
			"NUL":           {s.SetSetting(ctx, canary, canary+"\x00"), storage.ErrNotFound},
			"cast": {exec(`UPDATE settings SET value = CAST(CAST($1 AS TEXT) AS BIGINT)/0
				WHERE key = 'no'`, canary), nil},
		} {
			if c.want != nil && !errors.Is(c.err, c.want) {
				t.Errorf("%s: error %v, want %v", name, c.err, c.want)
			}
			if c.err != nil && strings.Contains(c.err.Error(), canary) {
				t.Errorf("%s: the error carries a value: %v", name, c.err)
			}
		}
	})
}
