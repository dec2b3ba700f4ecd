package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
	"doorward/test/stores"
)

// month is how long a client that registered itself is kept without a use.
const month = 30 * 24 * time.Hour

// wantClients checks which of some clients, by name, still exist.
func wantClients(t *testing.T, s *storage.Store, what string, all map[string]storage.Client, want ...string) {
	t.Helper()
	for name, c := range all {
		_, err := s.ClientByID(system(t), c.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
		if is := err == nil; is != slices.Contains(want, name) {
			t.Errorf("%s: the client %q is there: %v", what, name, is)
		}
	}
}

// A client that registered itself goes 30 days after its last use, unless it has a live grant. Others stay, and so does
// one with a metadata document that is disabled: it would come back enabled.
func TestD13_ClientsThatAreNotUsedAreDeleted(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w, ctx := newWorld(t, s), system(t)
		all := map[string]storage.Client{"of a user": w.client}
		at := func(d time.Duration) { s.SetClock(func() time.Time { return noon.Add(d) }) }
		purged := func(what string, want ...string) {
			t.Helper()
			_, err := s.Purge(ctx, horizons)
			must(t, err)
			wantClients(t, s, what, all, append(want, "of a user")...)
		}
		for _, name := range []string{"unused", "allowed", "got a token", "changed", "with a grant", "disabled"} {
			dynamic, document := w.registered(), w.described(s)
			must(t, s.InsertClient(ctx, &dynamic, []string{"https://app.example"}))
			isNew, err := s.SaveDocumentClient(ctx, &document, []string{"https://app.example"})
			if err != nil || !isNew {
				t.Fatal(isNew, err)
			}
			all[name], all[name+" document"] = dynamic, document
		}
		for _, name := range []string{"with a grant", "with a grant document"} {
			g := w.newGrant(s.Now())
			g.ClientID, g.ExpiresAt = all[name].ID, s.Now().Add(2*month)
			must(t, s.InsertGrant(ctx, g, storage.Code{Digest: storage.Digest(name), ExpiresAt: s.Now().Add(time.Minute)}))
			must(t, s.ConsumeCode(ctx, storage.Digest(name)))
			must(t, s.InsertRefreshToken(ctx, storage.RefreshToken{
				Digest: storage.Digest(name), GrantID: g.ID, CreatedAt: s.Now(), ExpiresAt: s.Now().Add(month + 2*time.Hour),
			}))
		}
		for _, name := range []string{"disabled", "disabled document"} {
			must(t, s.DisableClient(ctx, all[name].ID, "administrator"))
		}
		at(time.Hour)
		must(t, s.UseClient(ctx, all["allowed"].ID))
		document := all["allowed document"]
		_, err := s.SaveDocumentClient(ctx, &document, nil)
		must(t, err)
		must(t, s.UseClient(ctx, document.ID))
		s.TouchClient(all["got a token"].ID)
		s.TouchClient(all["got a token document"].ID)
		s.TouchClient(w.client.ID) // not recorded: it did not register itself
		must(t, s.FlushTouches(ctx))
		must(t, s.RotateRegistrationToken(ctx, all["changed"].ID, all["changed"].RegistrationToken, storage.Digest("new")))
		document = all["changed document"]
		document.Name, document.DocumentAt = "Renamed", s.Now()
		_, err = s.SaveDocumentClient(ctx, &document, nil)
		must(t, err)

		// That a document was read again is no use of its client.
		later := []string{
			"allowed", "allowed document", "got a token", "got a token document", "changed",
		}
		grants := []string{"with a grant", "with a grant document"}
		at(month)
		purged("at 30 days", append(append(later, grants...), "unused", "unused document", "disabled", "disabled document",
			"changed document")...)
		at(month + time.Microsecond)
		purged("after 30 days", append(append(later, grants...), "disabled document")...)
		at(month + time.Hour)
		purged("at 30 days from the last use", append(append(later, grants...), "disabled document")...)
		at(month + time.Hour + time.Microsecond)
		purged("after 30 days from the last use", append(grants, "disabled document")...)
		at(month + 2*time.Hour) // the refresh token ends
		purged("without a live token", "disabled document")
		if n, err := s.Count(ctx, `SELECT count(*) FROM client_origins`); n != 2 || err != nil {
			t.Errorf("%d origins are left (error %v), want those of the two clients", n, err)
		}
	})
}

// Deletions of unused clients on several nodes, and users who allow these clients at the same moment: a client that was
// allowed stays with its grant, and the user of one that is gone learns that.
func TestD13_AClientThatIsAllowedMeanwhileStays(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		var list []storage.Client
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			for range racers {
				c := w.registered()
				list = append(list, c)
				if err := s.InsertClient(ctx, &c, nil); err != nil {
					return err
				}
			}
			return nil
		}))
		s.SetClock(func() time.Time { return noon.Add(month + time.Hour) })
		allowed := make([]bool, racers)
		_, errs := atOnce(racers+4, func(i int) error {
			if i >= racers {
				_, err := s.Purge(system(t), horizons)
				return err
			}
			err := s.InTx(system(t), func(ctx context.Context) error {
				if err := s.UseClient(ctx, list[i].ID); err != nil {
					return err
				}
				g := w.newGrant(s.Now())
				g.ClientID = list[i].ID
				return s.InsertGrant(ctx, g, storage.Code{
					Digest: storage.Digest(fmt.Sprint("race", i)), ExpiresAt: s.Now().Add(time.Minute),
				})
			})
			if allowed[i] = err == nil; errors.Is(err, storage.ErrNotFound) {
				return nil // it was deleted first
			}
			return err
		})
		for _, err := range errs {
			t.Error(err)
		}
		for i, c := range list {
			n, err := s.Count(system(t), `SELECT count(*) FROM grants WHERE client_id = $1`, c.ID)
			must(t, err)
			if (n == 1) != allowed[i] {
				t.Errorf("client %d: it was allowed: %v, and has %d grants", i, allowed[i], n)
			}
		}
	})
}

// The deletion waits for the user's answer, which has locked the client, and then leaves it. On SQLite, one of them
// writes after the other.
func TestD13_ADeletionWaitsForAnAnswer(t *testing.T) {
	s := stopped(stores.Open(t, stores.PostgreSQL(t)))
	w := newWorld(t, s)
	watch := connectOwner(t, s)
	for _, c := range []storage.Client{w.registered(), w.described(s)} {
		s.SetClock(func() time.Time { return noon })
		must(t, s.InsertClient(system(t), &c, nil))
		s.SetClock(func() time.Time { return noon.Add(month + time.Hour) })
		done := make(chan error, 1)
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			if c.Registration == storage.RegisteredByDocument {
				if _, err := s.SaveDocumentClient(ctx, &c, nil); err != nil {
					return err
				}
			}
			if err := s.UseClient(ctx, c.ID); err != nil {
				return err
			}
			go func() {
				_, err := s.PurgeUnusedClients(system(t), s.Now().Add(-month))
				done <- err
			}()
			for waiting := 0; waiting == 0 && len(done) == 0; {
				if err := watch.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil {
					return err
				}
			}
			g := w.newGrant(s.Now())
			g.ClientID = c.ID
			return s.InsertGrant(ctx, g, storage.Code{Digest: storage.Digest(c.ID), ExpiresAt: s.Now().Add(time.Minute)})
		}))
		must(t, <-done)
		if n, err := s.Count(system(t), `SELECT count(*) FROM grants WHERE client_id = $1`, c.ID); n != 1 || err != nil {
			t.Errorf("%s: %d grants, error %v", c.Registration, n, err)
		}
	}
}

// However many requests send it at once, a registration token counts as often as it may, until it ends.
func TestD01_ARegistrationTokenIsUsedUp(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w, ctx := newWorld(t, s), system(t)
		once, often := w.registrationToken(s), w.registrationToken(s)
		often.ID, often.Digest, often.MaxUses = storage.NewID("regtoken"), storage.Digest("often"), 5
		must(t, s.InsertRegistrationToken(ctx, &once))
		must(t, s.InsertRegistrationToken(ctx, &often))
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, _ int) error {
			return s.UseRegistrationToken(ctx, once.Digest)
		})
		wins, errs := atOnce(racers, func(int) error { return s.UseRegistrationToken(system(t), often.Digest) })
		if wins != often.MaxUses {
			t.Errorf("%d of %d succeeded, want %d", wins, racers, often.MaxUses)
		}
		for _, err := range errs {
			mustBe(t, err, storage.ErrConsumed)
		}
		for _, x := range []*storage.RegistrationToken{&once, &often} {
			if usable, err := s.RegistrationTokenUsable(ctx, x.Digest); usable || err != nil {
				t.Errorf("a token that is used up is usable: %v, error %v", usable, err)
			}
			x.Uses, x.LastUsedAt = x.MaxUses, s.Now()
		}
		list, err := s.RegistrationTokens(ctx)
		if diff := cmp.Diff([]storage.RegistrationToken{often, once}, list); diff != "" || err != nil {
			t.Errorf("the list (-want +got, error %v):\n%s", err, diff)
		}
		ends := w.registrationToken(s)
		ends.ID, ends.Digest = storage.NewID("regtoken"), storage.Digest("ends")
		must(t, s.InsertRegistrationToken(ctx, &ends))
		usable := func(d time.Duration, want bool) {
			t.Helper()
			s.SetClock(func() time.Time { return noon.Add(d) })
			if is, err := s.RegistrationTokenUsable(ctx, ends.Digest); is != want || err != nil {
				t.Errorf("after %v: usable %v, error %v", d, is, err)
			}
		}
		usable(time.Hour-time.Microsecond, true)
		usable(time.Hour, false)
		mustBe(t, s.UseRegistrationToken(ctx, ends.Digest), storage.ErrConsumed)
		if list, err := s.RegistrationTokens(ctx); len(list) != 0 || err != nil {
			t.Errorf("expired ones are listed: %+v, error %v", list, err)
		}
		if n, err := s.CountRegistrationTokens(ctx); n != 3 || err != nil {
			t.Errorf("%d tokens, error %v; want 3", n, err)
		}
		must(t, s.DeleteRegistrationToken(ctx, ends.ID))
		mustBe(t, s.DeleteRegistrationToken(ctx, ends.ID), storage.ErrNotFound)
		usable(0, false)
		mustBe(t, s.UseRegistrationToken(ctx, storage.Digest("unknown")), storage.ErrConsumed)
		mustBe(t, s.UseRegistrationToken(ctx, nil), storage.ErrConsumed)
	})
}

// Of many changes at once by the same token, one succeeds.
func TestD09_ARegistrationAccessTokenIsReplacedOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		c, other, document := w.registered(), w.registered(), w.described(s)
		for _, x := range []*storage.Client{&c, &other, &document} {
			must(t, s.InsertClient(system(t), x, nil))
		}
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, i int) error {
			return s.RotateRegistrationToken(ctx, c.ID, c.RegistrationToken, storage.Digest(fmt.Sprint("next", i)))
		})
		rotate := func(id string, before []byte) error {
			return s.RotateRegistrationToken(system(t), id, before, storage.Digest("stolen"))
		}
		mustBe(t, rotate(c.ID, c.RegistrationToken), storage.ErrConsumed)
		mustBe(t, rotate(other.ID, c.RegistrationToken), storage.ErrConsumed)
		mustBe(t, rotate("app_unknown", c.RegistrationToken), storage.ErrConsumed)
		for _, empty := range [][]byte{nil, {}} { // clients without such a token
			for _, id := range []string{w.client.ID, document.ID} {
				mustBe(t, rotate(id, empty), storage.ErrConsumed)
			}
		}
	})
}

func TestAMetadataDocumentIsStoredOnceAndTheNewestCopyCounts(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w, ctx := newWorld(t, s), system(t)
		first := w.described(s)
		save := func(change func(*storage.Client)) (storage.Client, error) {
			c := first
			if change != nil {
				change(&c)
			}
			isNew, err := s.SaveDocumentClient(ctx, &c, []string{"https://" + strings.ToLower(c.Name) + ".example"})
			if isNew {
				t.Error("a client that is known counts as new")
			}
			return c, err
		}
		check := func(what, name string, at storage.Time) {
			t.Helper()
			c, err := s.ClientByID(ctx, first.ID)
			if err != nil || c.Name != name || c.DocumentAt != at || c.Registration != storage.RegisteredByDocument {
				t.Errorf("%s: %q, fetched at %v, error %v; want %q, %v", what, c.Name, c.DocumentAt, err, name, at)
			}
			allowed, err := s.OriginAllowed(ctx, "https://"+strings.ToLower(name)+".example", c.ID)
			if allowed != c.DisabledAt.IsZero() || err != nil {
				t.Errorf("%s: the origin is allowed: %v, error %v", what, allowed, err)
			}
		}
		var added int
		_, errs := atOnce(racers, func(int) error {
			c := first
			isNew, err := s.SaveDocumentClient(system(t), &c, []string{"https://described.example"})
			if isNew {
				added++ // under one row's lock, of which only one transaction is the first
			}
			return err
		})
		for _, err := range errs {
			mustBe(t, err, storage.ErrUnavailable) // a queue of 64 may outlast a lock's time
		}
		if added != 1 {
			t.Errorf("%d transactions added the client, want 1", added)
		}
		check("at first", "Described", first.DocumentAt)

		generation := s.Generation()
		_, err := save(func(c *storage.Client) { c.DocumentAt += 5 })
		must(t, err)
		check("a later copy that is the same", "Described", first.DocumentAt+5)
		if s.Generation() != generation {
			t.Error("the generation grew for a copy that is the same")
		}
		_, err = save(func(c *storage.Client) { c.Name, c.DocumentAt = "Older", c.DocumentAt+4 })
		must(t, err)
		check("an older copy", "Described", first.DocumentAt+5)
		s.SetClock(func() time.Time { return noon.Add(time.Hour) })
		saved, err := save(func(c *storage.Client) { c.Name, c.DocumentAt = "Newer", c.DocumentAt+6 })
		must(t, err)
		check("a newer copy", "Newer", first.DocumentAt+6)
		if s.Generation() == generation {
			t.Error("the generation did not grow for a change")
		}
		if ok, err := s.OriginAllowed(ctx, "https://described.example", first.ID); ok || err != nil {
			t.Errorf("the origin that is gone from the document is allowed: %v, error %v", ok, err)
		}
		if saved.CreatedAt != storage.At(noon) || saved.ChangedAt != s.Now() {
			t.Errorf("first seen at %v, changed at %v", saved.CreatedAt, saved.ChangedAt)
		}
		// One that is disabled stays as it is, whatever its document says.
		must(t, s.DisableClient(ctx, first.ID, "administrator"))
		_, err = save(func(c *storage.Client) { c.Name, c.DocumentAt = "Disabled", c.DocumentAt+7 })
		mustBe(t, err, storage.ErrNotFound)
		check("disabled", "Newer", first.DocumentAt+6)
		must(t, s.EnableClient(ctx, first.ID))
		// An id is that of one kind of client.
		other := w.registered()
		must(t, s.InsertClient(ctx, &other, nil))
		mustBe(t, s.InsertClient(ctx, &other, nil), storage.ErrExists)
		impostor := first
		impostor.ID = other.ID
		_, err = s.SaveDocumentClient(ctx, &impostor, nil)
		mustBe(t, err, storage.ErrNotFound)
	})
}

// Each member of a document counts as a change.
func TestEachMemberOfAMetadataDocumentIsUpdated(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w, ctx := newWorld(t, s), system(t)
		for name, change := range map[string]func(c *storage.Client){
			"name":                       func(c *storage.Client) { c.Name = "New" },
			"site":                       func(c *storage.Client) { c.Site = "https://new.example" },
			"redirect_uris":              func(c *storage.Client) { c.RedirectURIs = storage.List{"https://new.example/cb"} },
			"grant_types":                func(c *storage.Client) { c.GrantTypes = storage.List{"authorization_code"} },
			"scope":                      func(c *storage.Client) { c.Scopes = storage.List{"read"} },
			"public":                     func(c *storage.Client) { c.Public, c.AuthMethod, c.JWKS = false, "private_key_jwt", "{}" },
			"token_endpoint_auth_method": func(c *storage.Client) { c.AuthMethod = "private_key_jwt" },
			"signing alg":                func(c *storage.Client) { c.AuthAlgorithm = "ES256" },
			"jwks":                       func(c *storage.Client) { c.JWKS = "{}" },
			"jwks_uri":                   func(c *storage.Client) { c.JWKSURI = "https://new.example/jwks" },
			"require_pushed":             func(c *storage.Client) { c.PushedRequestsOnly = true },
			"dpop_bound":                 func(c *storage.Client) { c.DPoPBound = true },
			"application_type":           func(c *storage.Client) { c.ApplicationType = "web" },
			"logo_uri":                   func(c *storage.Client) { c.LogoURI = "https://new.example/logo" },
			"policy_uri":                 func(c *storage.Client) { c.PolicyURI = "https://new.example/policy" },
			"tos_uri":                    func(c *storage.Client) { c.TOSURI = "https://new.example/tos" },
		} {
			c := w.described(s)
			_, err := s.SaveDocumentClient(ctx, &c, nil)
			must(t, err)
			change(&c)
			c.DocumentAt++
			_, err = s.SaveDocumentClient(ctx, &c, nil)
			must(t, err)
			got, err := s.ClientByID(ctx, c.ID)
			if diff := cmp.Diff(c, got); diff != "" || err != nil {
				t.Errorf("%s (-want +got, error %v):\n%s", name, err, diff)
			}
		}
	})
}
