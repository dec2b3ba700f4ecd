package security

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

// A user's changes on the pages take effect at once, and the pages show the results of calls with the key.
func TestKeyPages_TheWholeLifeOfAKey(t *testing.T) {
	plans := map[string]limit.Plan{"pro": {Hour: 1000, Burst: 100}, "free": {Hour: 3, Burst: 3}}
	rig.Each(t, rig.Options{Plans: plans}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("engines", "pro", r.Alice)
		api := r.ResourceServer()
		b := r.Browser().SignIn(r.Alice.Email)
		list := keysPage(w.Slug)
		if got := b.Get("/settings/developer/api-keys").Header.Get("Location"); got != keysPage(personalSlug(r, r.Alice.ID)) {
			t.Errorf("the keys are at %q at first", got)
		}
		empty := b.Get(list)
		if !strings.Contains(empty.Body, "curl") || !strings.Contains(empty.Body, "sk_test_") ||
			!strings.Contains(empty.Body, "Create API key") {
			t.Errorf("the empty list: %s", rig.Plain(empty.Body))
		}
		if got := b.Get("/settings/developer/api-keys").Header.Get("Location"); got != list {
			t.Errorf("the keys are at %q, not in the workspace looked at last", got)
		}
		for field, value := range map[string]string{
			"rate_limit":  "1001",
			"expires":     "12",
			"addresses":   "192.0.2.7/24",
			"environment": "other",
			"plan":        "none",
			"name":        " ",
			"resource":    "https://unknown.example",
		} {
			a := makeKey(b, list, field, value)
			wantPage(t, a, http.StatusBadRequest)
			if !strings.Contains(a.Body, `href="#f-`+field) && field != "resource" {
				t.Errorf("%s: the fault is not tied to its field: %s", field, rig.Plain(a.Body))
			}
		}
		made := makeKey(b, list, "rate_limit", "5", "addresses", "127.0.0.0/8\n::1", "note", "Second machine")
		text, path := keyShown(t, made, "sk_live_")
		if !strings.Contains(made.Body, "/v1/auth/test") || !strings.Contains(made.Body, "API_KEY="+text) {
			t.Errorf("the page of the new key: %s", rig.Plain(made.Body))
		}
		k := keysOf(r, storage.KeyOwner{WorkspaceID: w.ID})[0]
		left := k.ExpiresAt.Sub(r.Store.Now())
		if k.RateLimit != 5 || k.Note != "Second machine" || len(k.Addresses) != 2 || left > 90*24*time.Hour ||
			left < 89*24*time.Hour || k.CreatedBy != r.Alice.ID {
			t.Errorf("made was %+v", k)
		}
		for range 7 {
			r.Ask(api, text, "cost", "1")
		}
		page := b.Get(path)
		for _, want := range []string{
			"7 requests in the last 30 days, 2 refused", "rate limit exceeded", "Token introspection", "0 of 5",
			"Created with the permissions read, write", "from 127.0.0.1",
		} {
			if !strings.Contains(rig.Plain(page.Body), want) {
				t.Errorf("the page does not say %q: %s", want, rig.Plain(page.Body))
			}
		}
		scopes := func() string { return r.Introspect(api, text).Text("scope") }
		if got := b.PostForm(path, url.Values{
			"name":       {"Renamed"},
			"scope-0":    {"read"},
			"rate_limit": {""},
			"addresses":  {""},
			"plan":       {"free"},
		}); got.Header.Get("Location") != path {
			t.Fatalf("saving answers %d %s", got.Status, rig.Plain(got.Body))
		}
		if got := scopes(); got != "read" {
			t.Errorf("narrowed, the key has %q", got)
		}
		if a := b.PostForm(path, url.Values{
			"name":    {"Renamed"},
			"scope-0": {"read", "delete"},
		}); a.Status != http.StatusForbidden {
			t.Errorf("widening answers %d", a.Status)
		}
		if k := keysOf(r, storage.KeyOwner{WorkspaceID: w.ID})[0]; k.Name != "Renamed" || k.RateLimit != 0 ||
			len(k.Addresses) != 0 || k.Plan != "free" || k.Scopes.String() != "read" {
			t.Errorf("saved was %+v", k)
		}
		b.Confirm(path+"/pause", nil)
		if r.Alive(api, text) || !strings.Contains(b.Get(path).Body, "Resume") {
			t.Error("a paused key works, or its page does not say so")
		}
		b.PostForm(path+"/resume", nil)
		if !r.Alive(api, text) {
			t.Error("a resumed key does not work")
		}
		fresh, path2 := keyShown(t, b.Submit(path+"/rotate", url.Values{"grace": {"1h"}}), "sk_live_")
		r.Ask(api, text, "cost", "1")
		for at, want := range map[string]string{path: "Replaced by another key", path2: "The old one works until"} {
			page := rig.Plain(b.Get(at).Body)
			if !strings.Contains(page, want) || !strings.Contains(page, "8 requests in the last 24 hours") {
				t.Errorf("while rotating %s says: %s", at, page)
			}
		}
		if a := b.Submit(path+"/rotate", url.Values{"grace": {"1h"}}); a.Status != http.StatusConflict {
			t.Errorf("rotating twice answers %d", a.Status)
		}
		if a := b.Submit(path2+"/rotate", url.Values{"grace": {"forever"}}); a.Status != http.StatusBadRequest {
			t.Errorf("an unknown grace answers %d", a.Status)
		}
		if a := b.PostForm(path2+"/revoke", url.Values{"confirm": {"something"}}); a.Status != http.StatusBadRequest ||
			!r.Alive(api, fresh) {
			t.Errorf("revoking without the name answers %d", a.Status)
		}
		if a := b.PostForm(path2+"/revoke", url.Values{"confirm": {"Renamed"}}); a.Header.Get("Location") != list ||
			r.Alive(api, fresh) {
			t.Errorf("revoking answers %d, or the key still works", a.Status)
		}
		if page := rig.Plain(b.Get(path2).Body); !strings.Contains(page, "Revoked") || strings.Contains(page, "Rotate") {
			t.Errorf("revoked: %s", page)
		}
		if !r.Alive(api, text) {
			t.Error("the old key ended with the new one")
		}
		if r.Advance(time.Hour + time.Second); r.Alive(api, text) {
			t.Error("the old key works beyond its grace")
		}
	})
}

// A token's page shows where it works, with which role, and its limits.
func TestTokenPages_ATokenIsItsUsers(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	bob := r.User("bob@example.com", "Bob", false)
	engines := r.Workspace("engines", "", bob)
	r.Join(engines, r.Alice, catalog.RoleMember)
	api := r.ResourceServer()
	b := r.Browser().SignIn(r.Alice.Email)
	made := makeKey(b, tokensPage, "role", "viewer", "expires", "never")
	text, path := keyShown(t, made, "pat_")
	if !strings.Contains(made.Body, "X-Workspace: "+personalSlug(r, r.Alice.ID)) {
		t.Errorf("the first call names no workspace: %s", rig.Plain(made.Body))
	}
	if a := r.Ask(api, text, "workspace", "engines", "cost", "1"); a.Text("role") != "viewer" ||
		a.Text("scope") != "read" {
		t.Errorf("held to viewer it is %s", a.Body)
	}
	page := rig.Plain(b.Get(path).Body)
	for _, want := range []string{"engines viewer", "1 request in the last 30 days", "Maximum role viewer"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
	if a := b.PostForm(path, url.Values{
		"name":    {"x"},
		"scope-0": {"read", "write"},
		"role":    {"admin"},
	}); a.Status != http.StatusForbidden {
		t.Errorf("a higher role answers %d", a.Status)
	}
	if a := b.Confirm(path+"/revoke", nil); a.Header.Get("Location") != tokensPage || !r.Dead(r.Introspect(api, text)) {
		t.Errorf("revoking answers %d, or the token still works", a.Status)
	}
}

// Lists are sorted by last use, then by age, and complete across pages.
func TestKeyPages_ListsAreInTheOrderOfUse(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("engines", "", r.Alice)
	var ids []string
	for range 53 {
		k, _ := r.Key(w, apikey.Spec{})
		ids = append(ids, k.ID)
	}
	// All but two were used, in a different order than they were created; the first page ends in the middle of the used
	// ones.
	want := []string{ids[52*7%53], ids[51*7%53]}
	slices.Sort(want)
	slices.Reverse(want)
	for i := range 51 {
		r.Advance(time.Second)
		r.Store.TouchKey(ids[i*7%53], "192.0.2.1")
		want = slices.Insert(want, 0, ids[i*7%53])
	}
	b := r.Browser().SignIn(r.Alice.Email)
	var got []string
	for at := keysPage(w.Slug); at != ""; {
		page := b.Get(at).Body
		for _, part := range strings.Split(page, `href="`+keysPage(w.Slug)+"/key_")[1:] {
			id, _, _ := strings.Cut(part, `"`)
			got = append(got, "key_"+id)
		}
		_, next, _ := strings.Cut(page, `rel="next" href="`)
		at, _, _ = strings.Cut(strings.ReplaceAll(next, "&amp;", "&"), `"`)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the pages list\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The form leaves out resources without keys, and what is chosen still applies to the resource that is shown.
func TestKeyPages_AResourceWithoutKeysIsLeftOut(t *testing.T) {
	scopes := []catalog.Scope{{Name: "read"}, {Name: "write"}}
	r := rig.Memory(t, rig.Options{Resources: []catalog.Resource{
		{ID: "https://first.example", Name: "First", Scopes: scopes, WorkspaceHeader: "X-Workspace"},
		{
			ID:     "https://second.example",
			Name:   "Second",
			Scopes: scopes,
			Keys:   catalog.KeyRules{Prefix: "sec", Environments: []string{"live"}, MaxLifetime: 45 * 24 * time.Hour},
		},
	}})
	w := r.Workspace("engines", "", r.Alice)
	b := r.Browser().SignIn(r.Alice.Email)
	form := b.Form(b.Get(keysPage(w.Slug)+"/new"), keysPage(w.Slug))
	if got := form["resource"]; len(got) != 1 || got[0] != "https://second.example" {
		t.Fatalf("the form is for %q", got)
	}
	form.Set("name", "Import")
	form.Set("scope-0", "write")
	for expires, want := range map[string]int{
		"longest": http.StatusOK,
		"30":      http.StatusOK,
		"90":      http.StatusBadRequest,
		"never":   http.StatusBadRequest,
	} {
		form.Set("expires", expires)
		if a := b.Follow(b.PostForm(keysPage(w.Slug), form)); a.Status != want {
			t.Errorf("expires %s: answered %d %s", expires, a.Status, rig.Plain(a.Body))
		}
	}
	for _, k := range keysOf(r, storage.KeyOwner{WorkspaceID: w.ID}) {
		if k.Resource != "https://second.example" || k.Scopes.String() != "write" || k.Prefix != "sec_live_" ||
			k.ExpiresAt.Sub(r.Store.Now()) > 45*24*time.Hour {
			t.Errorf("made was %+v", k)
		}
	}
}
