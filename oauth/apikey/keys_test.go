package apikey

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"doorward/storage"
	"doorward/test/stores"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is a store with a user and a workspace of theirs.
type world struct {
	*Keys

	t         *testing.T
	ctx       context.Context
	store     *storage.Store
	user      storage.User
	workspace storage.Workspace
}

func onEachEngine(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := &world{Keys: New(Config{Store: s}), t: t, ctx: storage.System(t.Context()), store: s}
		w.at(0)
		w.user = storage.User{ID: storage.NewID("user"), Email: "ada@example.com"}
		w.must(s.InsertUser(w.ctx, &w.user))
		w.workspace = storage.Workspace{ID: storage.NewID("ws"), Slug: "acme", Name: "Acme", Plan: "pro"}
		w.must(s.InsertWorkspace(w.ctx, w.workspace, w.user.ID))
		fn(t, w)
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// at moves the clock to a while after noon.
func (w *world) at(d time.Duration) { w.store.SetClock(func() time.Time { return noon.Add(d) }) }

func (w *world) key() storage.APIKey {
	return storage.APIKey{
		Kind:        storage.KindAPIKey,
		WorkspaceID: w.workspace.ID,
		Resource:    "https://api.example",
		Environment: Live,
		Prefix:      Prefix("sk", Live),
		Name:        "Key", Scopes: storage.List{"read"},
	}
}

func (w *world) token() storage.APIKey {
	return storage.APIKey{
		Kind: storage.KindPersonalAccessToken, UserID: w.user.ID, Resource: "https://api.example",
		Prefix: PrefixPersonalToken, Name: "Token", Scopes: storage.List{"read"},
	}
}

func (w *world) issue(k storage.APIKey) (storage.APIKey, string) {
	w.t.Helper()
	text, err := w.Issue(w.ctx, &k)
	w.must(err)
	return k, text
}

func (w *world) status(text, workspace string) Status {
	w.t.Helper()
	_, status, err := w.Verify(w.ctx, text, workspace)
	w.must(err)
	return status
}

func TestIssuedKeyIsFoundByItsText(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		key, keyText := w.issue(w.key())
		token, tokenText := w.issue(w.token())
		for _, c := range []struct {
			k            storage.APIKey
			text, prefix string
			kind         string
		}{{key, keyText, "sk_live_", "key"}, {token, tokenText, "pat_", "token"}} {
			if !storage.IsID(c.kind, c.k.ID) || c.k.Tail != c.text[len(c.text)-4:] || PrefixOf(c.text) != c.prefix ||
				c.k.CreatedAt != w.store.Now() || c.k.Counter != c.k.ID {
				t.Errorf("%q gave %+v", c.text, c.k)
			}
			b, status, err := w.Verify(w.ctx, c.text, "acme")
			if err != nil || status != Good || b.Key.ID != c.k.ID || b.WorkspaceID != w.workspace.ID ||
				b.WorkspacePlan != "pro" {
				t.Errorf("%s: status %v, %+v, error %v", c.kind, status, b, err)
			}
		}
		// A token without a workspace, and with one of others or that cannot exist, works, and says so.
		for _, slug := range []string{"", "other", "ACME", "acme\x00", "\xff", "%", w.workspace.ID} {
			b, status, err := w.Verify(w.ctx, tokenText, slug)
			if err != nil || status != Good || b.WorkspaceID != "" || b.Role != "" {
				t.Errorf("in %q: status %v, workspace %q, error %v", slug, status, b.WorkspaceID, err)
			}
		}
	})
}

// broken are texts that are near to one that works, and are none.
func broken(text string) map[string]string {
	prefix := PrefixOf(text)
	random := text[len(prefix) : len(text)-checksumDigit]
	again := func(body string) string { return body + checksum(body) }
	other := byte('x')
	if text[20] == other {
		other = 'y'
	}
	return map[string]string{
		"empty":               "",
		"a prefix alone":      prefix,
		"checksum":            text[:len(text)-1] + string(base62[(strings.IndexByte(base62, text[len(text)-1])+1)%62]),
		"one character":       text[:20] + string(other) + text[21:],
		"too short":           text[:len(text)-1],
		"short, checked":      again(prefix + random[1:]),
		"long, checked":       again(prefix + random + "0"),
		"very long":           again(prefix + strings.Repeat(random, 30_000)),
		"alphabet, checked":   again(prefix + random[:42] + "-"),
		"space, checked":      again(prefix + random[:42] + " "),
		"NUL, checked":        again(prefix + random[:42] + "\x00"),
		"not UTF-8, checked":  again(prefix + random[:42] + "\xff"),
		"é, checked":          again(prefix + random[:41] + "é"),
		"without a prefix":    text[len(prefix):],
		"prefix, other case":  again(strings.ToUpper(prefix) + random),
		"prefix, doubled":     prefix + text,
		"of another kind":     again("dw_at_" + random),
		"of a refresh token":  again("dw_rt_" + random),
		"of a session":        again("dw_live_" + random),
		"environment":         again("sk_prod_" + random),
		"look-alike prefix":   again("ѕk_live_" + random),
		"trailing newline":    text + "\n",
		"trailing CR LF":      text + "\r\n",
		"trailing space":      text + " ",
		"leading space":       " " + text,
		"trailing NUL":        text + "\x00",
		"NUL inside":          text[:20] + "\x00" + text[20:],
		"NUL in place":        text[:20] + "\x00" + text[21:],
		"upper case":          strings.ToUpper(text),
		"lower case":          strings.ToLower(text),
		"look-alike":          strings.Replace(text, text[20:21], "а", 1),
		"full width":          "ｓ" + text[1:],
		"two joined":          text + text,
		"two with a comma":    text + "," + text,
		"two with a space":    text + " " + text,
		"in quotes":           `"` + text + `"`,
		"percent-encoded":     strings.Replace(text, "_", "%5f", 1),
		"wildcard":            text[:len(text)-1] + "%",
		"SQL":                 prefix + "' OR '1'='1",
		"a JSON Web Token":    "eyJhbGciOiJIUzI1NiJ9.e30.x",
		"64 kB":               strings.Repeat("a", 64<<10),
		"underscores":         strings.Repeat("_", len(text)),
		"prefix that is long": again(strings.Repeat("a", 60) + "_live_" + random),
	}
}

// A closed database answers each query with an error, so a value that causes no error was not looked up.
func TestK01_K04_TextThatCannotBeAKeyReachesNoDatabase(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		_, keyText := w.issue(w.key())
		_, tokenText := w.issue(w.token())
		w.store.Close()
		for _, text := range []string{keyText, tokenText} {
			if _, _, err := w.Verify(w.ctx, text, ""); !errors.Is(err, storage.ErrUnavailable) {
				t.Fatalf("a good text asks a closed database: error %v", err)
			}
			for name, bad := range broken(text) {
				if b, status, err := w.Verify(w.ctx, bad, "acme"); status != Unknown || err != nil ||
					!cmp.Equal(b, storage.KeyBearer{}) {
					t.Errorf("%s %.60q: status %v, error %v", name, bad, status, err)
				}
			}
		}
		k := w.key()
		if _, err := w.Issue(w.ctx, &k); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("issuing: error %v", err)
		}
	})
}

func TestK03_KeyIsBoundToItsPrefix(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		test := w.key()
		test.Environment, test.Prefix = Test, Prefix("sk", Test)
		_, testText := w.issue(test)
		_, liveText := w.issue(w.key())
		_, tokenText := w.issue(w.token())
		for _, text := range []string{testText, liveText, tokenText} {
			own := PrefixOf(text)
			random := text[len(own) : len(text)-checksumDigit]
			for _, prefix := range []string{"sk_live_", "sk_test_", "pat_", "pk_live_", "sk_eu_live_", "s_live_"} {
				body := prefix + random
				rewritten := body + checksum(body)
				if PrefixOf(rewritten) != prefix {
					t.Fatalf("%q is refused before it is looked up, so this test proves nothing", rewritten)
				}
				want := Unknown
				if prefix == own {
					want = Good
				}
				if got := w.status(rewritten, ""); got != want {
					t.Errorf("%s rewritten to %s: status %v, want %v", own, prefix, got, want)
				}
			}
		}
	})
}

func TestK28_DatabaseHoldsNoKey(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		key, keyText := w.issue(w.key())
		_, tokenText := w.issue(w.token())
		fresh, freshText, err := func() (storage.APIKey, string, error) {
			text, fresh, err := w.Rotate(w.ctx, key, w.user.ID, time.Hour)
			return fresh, text, err
		}()
		w.must(err)
		rows, err := w.store.Pools()["system"].QueryContext(w.ctx, `SELECT * FROM api_keys`)
		w.must(err)
		defer rows.Close() //nolint:errcheck // rows.Err is asked
		columns, err := rows.Columns()
		w.must(err)
		var dump strings.Builder
		digests := 0
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			w.must(rows.Scan(values...))
			for i, v := range values {
				v := *v.(*any)
				fmt.Fprintf(&dump, "%s=%s\n", columns[i], v)
				if digest, ok := v.([]byte); ok && columns[i] == "digest" && len(digest) == 32 {
					digests++
				}
			}
		}
		w.must(rows.Err())
		for _, text := range []string{keyText, tokenText, freshText} {
			body := strings.TrimPrefix(text, PrefixOf(text))
			if strings.Contains(dump.String(), body[:8]) || strings.Contains(dump.String(), body[len(body)-8:]) {
				t.Errorf("a part of a key is stored:\n%s", dump.String())
			}
			digest := storage.Digest(text)
			if !strings.Contains(dump.String(), string(digest)) {
				t.Error("not even the digest is stored, so this test proves nothing")
			}
			for _, found := range []string{
				string(digest), hex.EncodeToString(digest),
				base64.RawURLEncoding.EncodeToString(digest), "sk_live_" + hex.EncodeToString(digest),
			} {
				if got := w.status(found, ""); got != Unknown {
					t.Errorf("the digest is a key of status %v", got)
				}
			}
		}
		if digests != 3 || fresh.ID == key.ID {
			t.Errorf("%d digests", digests)
		}
	})
}

func TestK09_StatusOfAKey(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		for name, template := range map[string]func() storage.APIKey{"key": w.key, "token": w.token} {
			check := func(what, text string, want Status) {
				t.Helper()
				if got := w.status(text, "acme"); got != want {
					t.Errorf("%s, %s: status %v, want %v", name, what, got, want)
				}
			}
			ending := template()
			ending.ExpiresAt = w.store.Now().Add(time.Hour)
			ending, endingText := w.issue(ending)
			live, liveText := w.issue(template())
			check("new", liveText, Good)
			w.at(time.Hour - time.Microsecond)
			check("before its end", endingText, Good)
			w.at(time.Hour)
			check("at its end", endingText, Expired)
			w.at(0)

			w.must(w.store.PauseKey(w.ctx, live.Owner(), live.ID, "administrator"))
			check("paused", liveText, Paused)
			w.must(w.store.ResumeKey(w.ctx, live.Owner(), live.ID))
			check("resumed", liveText, Good)
			w.must(w.store.DisableWorkspace(w.ctx, w.workspace.ID))
			check("in a disabled workspace", liveText, Suspended)
			w.must(w.store.EnableWorkspace(w.ctx, w.workspace.ID))
			check("in an enabled workspace", liveText, Good)
			w.must(w.store.DisableUser(w.ctx, w.user.ID))
			if name == "token" {
				check("of a disabled user", liveText, Suspended)
			} else {
				check("of a workspace whose only owner is disabled", liveText, Suspended)
			}

			// The reason that lasts longest is the one that is told.
			w.must(w.store.DisableWorkspace(w.ctx, w.workspace.ID))
			w.must(w.store.PauseKey(w.ctx, ending.Owner(), ending.ID, "administrator"))
			check("paused and suspended", endingText, Paused)
			w.at(time.Hour)
			check("ended, paused and suspended", endingText, Expired)
			w.must(w.store.RevokeKey(w.ctx, ending.Owner(), ending.ID))
			check("revoked, ended, paused and suspended", endingText, Revoked)
			w.at(0)
			w.must(w.store.EnableWorkspace(w.ctx, w.workspace.ID))
			w.must(w.store.EnableUser(w.ctx, w.user.ID))
			w.must(w.store.RevokeKey(w.ctx, live.Owner(), live.ID))
			check("revoked", liveText, Revoked)
		}
		_, text := w.issue(w.token())
		w.must(w.store.DeleteUser(w.ctx, w.user.ID))
		if got := w.status(text, ""); got != Unknown {
			t.Errorf("of a deleted user: status %v", got)
		}
	})
}

func TestK08_SuccessorHasAllRightsAndNoMore(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		for name, old := range map[string]storage.APIKey{"key": w.key(), "token": w.token()} {
			old.Note, old.Scopes, old.ScopesByObject, old.Addresses, old.CreatedBy = "note", storage.List{
				"read",
				"accounts:write",
			}, true, storage.List{"192.0.2.0/24"}, "user_first"
			old.ExpiresAt = w.store.Now().Add(24 * time.Hour)
			if name == "key" {
				old.Plan, old.RateLimit = "pro", 50
			} else {
				old.Role = "viewer"
			}
			old, oldText := w.issue(old)
			w.store.TouchKey(old.ID, "192.0.2.1")
			w.must(w.store.FlushTouches(w.ctx))
			w.at(time.Minute)
			read, err := w.store.Key(w.ctx, old.Owner(), old.ID)
			w.must(err)
			text, fresh, err := w.Rotate(w.ctx, read, w.user.ID, time.Hour)
			w.must(err)

			// Whatever is not the successor's own is the old one's; a field that is new counts among these.
			own := cmpopts.IgnoreFields(storage.APIKey{}, "ID", "Digest", "Tail", "CreatedBy", "CreatedAt", "LastUsedAt",
				"LastUsedFrom")
			stored, err := w.store.Key(w.ctx, old.Owner(), fresh.ID)
			w.must(err)
			if diff := cmp.Diff(read, stored, own); diff != "" {
				t.Errorf("%s: the successor is another (-old +fresh):\n%s", name, diff)
			}
			if diff := cmp.Diff(fresh, stored, cmpopts.IgnoreFields(storage.APIKey{}, "Digest")); diff != "" {
				t.Errorf("%s: what is told and what is stored (-told +stored):\n%s", name, diff)
			}
			if stored.CreatedBy != w.user.ID || stored.CreatedAt != w.store.Now() || stored.LastUsedAt != 0 ||
				stored.LastUsedFrom != "" || stored.Tail != text[len(text)-4:] || PrefixOf(text) != old.Prefix {
				t.Errorf("%s: the successor is %+v", name, stored)
			}

			at := func(d time.Duration, wantOld, wantFresh Status) {
				t.Helper()
				w.at(d)
				if gotOld, gotFresh := w.status(oldText, ""), w.status(text, ""); gotOld != wantOld || gotFresh != wantFresh {
					t.Errorf("%s after %v: the old one %v, the new one %v; want %v, %v", name, d, gotOld, gotFresh, wantOld, wantFresh)
				}
			}
			at(time.Minute, Good, Good)
			at(time.Hour+time.Minute-time.Microsecond, Good, Good)
			at(time.Hour+time.Minute, Revoked, Good)
			at(24*time.Hour-time.Microsecond, Revoked, Good)
			at(24*time.Hour, Revoked, Expired) // no later end than the old one had
			w.at(0)
		}
	})
}

func TestK08_GraceDoesNotExtend(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		old := w.key()
		old.ExpiresAt = w.store.Now().Add(time.Hour)
		old, oldText := w.issue(old)
		text, fresh, err := w.Rotate(w.ctx, old, "", MaxGrace)
		w.must(err)
		w.at(time.Hour)
		if a, b := w.status(oldText, ""), w.status(text, ""); a != Revoked || b != Expired ||
			fresh.ExpiresAt != old.ExpiresAt {
			t.Errorf("the old one %v, the new one %v, which ends at %v", a, b, fresh.ExpiresAt)
		}
	})
}

func TestK08_RotatingTwiceEndsTheOldestAtOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		first, firstText := w.issue(w.key())
		secondText, second, err := w.Rotate(w.ctx, first, "", time.Hour)
		w.must(err)
		thirdText, third, err := w.Rotate(w.ctx, second, "", 0)
		w.must(err)
		if a, b, c := w.status(firstText, ""), w.status(secondText, ""), w.status(thirdText, ""); a != Revoked ||
			b != Revoked || c != Good {
			t.Errorf("statuses %v, %v, %v", a, b, c)
		}
		if third.Counter != first.ID {
			t.Errorf("the third is counted as %q", third.Counter)
		}
		for _, k := range []storage.APIKey{first, second} {
			if text, _, err := w.Rotate(w.ctx, k, "", time.Hour); !errors.Is(err, ErrRotated) || text != "" {
				t.Errorf("rotated again: text %q, error %v", text, err)
			}
		}
		w.must(w.store.RevokeKey(w.ctx, third.Owner(), third.ID))
		if _, _, err := w.Rotate(w.ctx, third, "", time.Hour); !errors.Is(err, ErrRotated) {
			t.Errorf("a revoked one: error %v", err)
		}
	})
}

// A paused key stays so, and what takes its place is there to be used.
func TestRotatingAPausedKey(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		old, oldText := w.issue(w.key())
		w.must(w.store.PauseKey(w.ctx, old.Owner(), old.ID, "administrator"))
		old, err := w.store.Key(w.ctx, old.Owner(), old.ID)
		w.must(err)
		text, fresh, err := w.Rotate(w.ctx, old, "", time.Hour)
		w.must(err)
		if a, b := w.status(oldText, ""), w.status(text, ""); a != Paused || b != Good || fresh.PausedAt != 0 {
			t.Errorf("the old one %v, the new one %v, paused at %v", a, b, fresh.PausedAt)
		}
	})
}

func TestK26_TenThousandLiveKeysAreTheMost(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		blob := "blob"
		if w.store.Engine() == "postgresql" {
			blob = "bytea"
		}
		for name, template := range map[string]storage.APIKey{"key": w.key(), "token": w.token()} {
			w.at(0)
			last, _ := w.issue(template)
			// As many as there may be, copies of that one.
			_, err := w.store.Pools()["system"].ExecContext(w.ctx, fmt.Sprintf(`
				WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
				INSERT INTO api_keys (id, digest, kind, workspace_id, user_id, resource, environment,
				prefix, tail, name, name_key, note, scopes, scopes_by_object, role, plan, rate_limit, addresses,
				counter, created_by, created_at)
				SELECT id || '-' || n.i, CAST(id || '-' || n.i AS %s), kind, workspace_id, user_id, resource, environment,
				prefix, tail, name, name_key, note, scopes, scopes_by_object, role, plan, rate_limit, addresses,
				counter, created_by, created_at
				FROM api_keys, n WHERE id = $1`, MaxKeys-1, blob), last.ID)
			w.must(err)
			w.at(time.Minute) // what others have made is counted a second later
			last, _ = w.issue(template)
			k := template
			if text, err := w.Issue(w.ctx, &k); !errors.Is(err, ErrTooMany) || text != "" {
				t.Errorf("%s: text %q, error %v", name, text, err)
			}
			// Rotating makes no more; revoking frees.
			_, fresh, err := w.Rotate(w.ctx, last, "", 0)
			w.must(err)
			k = template
			if _, err := w.Issue(w.ctx, &k); !errors.Is(err, ErrTooMany) {
				t.Errorf("%s, after one was rotated: error %v", name, err)
			}
			w.must(w.store.RevokeKey(w.ctx, fresh.Owner(), fresh.ID))
			w.issue(template)
		}
	})
}

func TestKeyOfNobodyIsNotIssued(t *testing.T) {
	onEachEngine(t, func(t *testing.T, w *world) {
		key, token := w.key(), w.token()
		key.WorkspaceID, token.UserID = "ws_x", "user_x"
		for _, k := range []storage.APIKey{key, token} {
			if text, err := w.Issue(w.ctx, &k); !errors.Is(err, storage.ErrNotFound) || text != "" {
				t.Errorf("text %q, error %v", text, err)
			}
		}
	})
}
