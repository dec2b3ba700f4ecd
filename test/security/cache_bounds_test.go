package security

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/stores"
)

// A credential that was unknown a moment ago works as soon as it exists: that something is unknown is never kept.
func TestR08_WhatIsNewWorksAtOnce(t *testing.T) {
	unknown := func(questions ...question) []question {
		for i := range questions {
			q := &questions[i]
			q.before, q.after = q.after, q.before
		}
		return questions
	}
	raceEach(t, []kindOfChange{
		{name: "key", start: func(w *cacheWorld) func() step {
			k, known := w.Key(personal(w.T.(*testing.T), w.Rig, w.Alice.ID), reads())
			return func() step {
				if a := w.active(known, "").ask(); a.JSON()["active"] != true {
					w.T.Errorf("a known key: %s", a.Body)
				}
				fresh, secret := k, apikey.NewSecret(k.Prefix)
				fresh.ID, fresh.Counter = storage.NewID("key"), storage.NewID("key")
				fresh.Digest, fresh.Tail = storage.Digest(secret), secret[len(secret)-4:]
				return step{unknown(w.works(secret, "")...), func() error {
					return w.Store.InsertKey(w.System(), &fresh, 1_000_000)
				}, nil}
			}
		}},
		{name: "access token", start: func(w *cacheWorld) func() step {
			known := w.ownToken(w.app, opaqueID)
			b, err := w.Store.AccessTokenByDigest(w.System(), []byte(bearer.DigestOf(bearer.PrefixAccessToken, known)))
			ok(w.T, err)
			return func() step {
				if a := w.active(known, "").ask(); a.JSON()["active"] != true {
					w.T.Errorf("a known token: %s", a.Body)
				}
				text := bearer.NewCredential(bearer.PrefixAccessToken)
				fresh := b.Access
				fresh.Digest = []byte(bearer.DigestOf(bearer.PrefixAccessToken, text))
				return step{unknown(w.works(text, "")...), func() error {
					return w.Store.InsertAccessToken(w.System(), fresh)
				}, nil}
			}
		}},
		{name: "member", start: func(w *cacheWorld) func() step {
			u := w.person()
			_, token := w.PersonalToken(u, reads())
			return func() step {
				team, _ := w.team("")
				if a := w.active(token, "").ask(); a.JSON()["active"] != true {
					w.T.Errorf("in no workspace: %s", a.Body)
				}
				return step{unknown(w.works(token, team.Slug)...), func() error {
					return w.Management.AddMember(w.System(), management.CLI(team.ID), team, u.ID, catalog.RoleMember)
				}, nil}
			}
		}},
	})
}

// What ends by time ends in memory too.
func TestK05_K08_ExpiryIsComparedWithTheClock(t *testing.T) {
	rig.Each(t, cacheOptions(), func(t *testing.T, r *rig.Rig) {
		w := newCacheWorld([]*rig.Rig{r})
		home := personal(t, r, r.Alice.ID)
		access, _ := w.tokensOf(w.browser, w.app, opaqueID, "read", "")
		signed, _ := w.tokensOf(w.browser, w.app, signedID, "read", "")
		hour := r.Store.Now().Add(time.Hour)
		_, key := r.Key(home, apikey.Spec{Scopes: []string{"read"}, ExpiresAt: hour})
		_, token := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"read"}, ExpiresAt: hour})
		old, rotated := r.Key(home, reads())
		_, _, err := r.Management.RotateKey(r.System(), management.CLI(home.ID), old.Owner(), old.ID, time.Hour)
		ok(t, err)
		questions := w.works(access, "")
		for _, credential := range []string{signed, key, rotated} {
			questions = append(questions, w.works(credential, "")...)
		}
		questions = append(questions, w.works(token, home.Slug)...)
		for i := range 2 {
			for _, q := range questions {
				if a := q.ask(); !q.before(a) {
					t.Errorf("%s, pass %d: %d %s", q.name, i, a.Status, a.Body)
				}
			}
		}
		r.Advance(time.Hour)
		for _, q := range questions {
			if a := q.ask(); !q.after(a) {
				t.Errorf("%s after an hour: %d %s", q.name, a.Status, a.Body)
			}
		}
	})
}

// A server that starts with another configuration answers by it at once, although the one before it answered from
// memory a moment ago.
func TestR08_AnotherConfigurationCountsAtOnce(t *testing.T) {
	stores.Alone(t)
	eachURL(t, func(t *testing.T, link string) {
		o := cacheOptions()
		r := rig.New(t, stores.Open(t, link), o)
		before := newCacheWorld([]*rig.Rig{r})
		team := r.Workspace("team", "small", r.Alice)
		_, key := r.Key(team, reads())
		ask := func(w *cacheWorld, when, scope, limit string, post, other int) {
			t.Helper()
			for range 3 {
				a := w.introspection(before.api, key, "")()
				if a.Text("scope") != scope {
					t.Errorf("%s: introspection says %d %s", when, a.Status, a.Body)
				}
				get := w.admitted(http.MethodGet, key, "").ask()
				if get.Header.Get("X-RateLimit-Limit") != limit || get.Status != other {
					t.Errorf("%s: GET %d, limit %s", when, get.Status, get.Header.Get("X-RateLimit-Limit"))
				}
				if a := w.admitted(http.MethodPost, key, "").ask(); a.Status != post {
					t.Errorf("%s: POST %d %s", when, a.Status, a.Body)
				}
			}
		}
		ask(before, "at first", "read write", "1000000", http.StatusOK, http.StatusOK)
		changed := cacheOptions()
		changed.Plans["small"] = limit.Plan{Hour: 500_000}
		changed.Resources[0].Scopes = []catalog.Scope{{Name: "read", Text: "Read"}, {Name: "manage", Text: "Manage"}}
		for i := range changed.APIs[0].Routes {
			if changed.APIs[0].Routes[i].Scopes[0] == "write" {
				changed.APIs[0].Routes[i].Scopes = []string{"manage"}
			}
		}
		after := &cacheWorld{Rig: r, asked: rig.New(t, stores.Open(t, link), changed), api: before.api}
		ask(after, "with another plan and without a scope", "read", "500000", http.StatusForbidden, http.StatusOK)
		changed.Resources, changed.APIs = changed.Resources[1:], changed.APIs[1:]
		gone := &cacheWorld{Rig: r, asked: rig.New(t, stores.Open(t, link), changed), api: before.api}
		for range 3 {
			if a := gone.introspection(before.api, key, "")(); !r.Dead(a) {
				t.Errorf("without the resource: %d %s", a.Status, a.Body)
			}
		}
	})
}

// Unknown credentials, and workspaces in which a token may not act, take no memory, however many a caller tries.
func TestNothingIsKeptForWhatIsUnknown(t *testing.T) {
	stores.Alone(t)
	const many = 20_000
	r := rig.Memory(t, cacheOptions())
	home := personal(t, r, r.Alice.ID)
	_, token := r.PersonalToken(r.Alice, reads())
	ok(t, r.Store.CatchUp(t.Context()))
	hits := func() uint64 {
		n, _ := r.Bearer.CacheStats()
		return n
	}
	forms := []func() string{
		func() string { return bearer.NewCredential(bearer.PrefixAccessToken) },
		func() string { return apikey.NewSecret("sk_live") },
		func() string { return apikey.NewSecret(apikey.PrefixPersonalToken) },
	}
	for i := range many {
		text := forms[i%len(forms)]()
		for range 2 { // what is kept is a hit the second time
			if _, err := r.Bearer.Principal(t.Context(), text, bearer.Audience{}); !errors.Is(err, bearer.ErrUnknown) {
				t.Fatalf("an unknown %.8s: %v", text, err)
			}
		}
	}
	// A workspace of others too, and names that no workspace can have.
	others := r.Workspace("others", "", r.User("bob@example.com", "Bob", false))
	names := []string{others.Slug, "\x00", "\xff", strings.ToUpper(home.Slug), strings.Repeat("x", 5000)}
	for i := range many {
		name := "no-such-" + strconv.Itoa(i)
		if i < len(names) {
			name = names[i]
		}
		at := bearer.Audience{Workspace: name, Named: true}
		for range 2 {
			if _, err := r.Bearer.Principal(t.Context(), token, at); !errors.Is(err, bearer.ErrWorkspace) {
				t.Fatalf("workspace %.20q: %v", name, err)
			}
		}
	}
	if n := hits(); n != 0 {
		t.Errorf("%d answers about what is unknown came from memory", n)
	}
}
