package security

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

const tokensPage = "/settings/developer/personal-access-tokens"

// keysPage is where the keys of a workspace are.
func keysPage(slug string) string { return "/settings/workspaces/" + slug + "/api-keys" }

// personalSlug is the slug of somebody's own workspace.
func personalSlug(r *rig.Rig, userID string) string {
	r.T.Helper()
	ws, err := r.Store.PersonalWorkspace(r.System(), userID)
	ok(r.T, err)
	return ws.Slug
}

// makeKey sends the form of a new key or token to the path of the list; fields change it.
func makeKey(b *rig.Browser, list string, fields ...string) *rig.Answer {
	b.T.Helper()
	v := url.Values{"name": {"Night import"}, "resource": {b.Issuer}, "scope-0": {"read", "write"}, "expires": {"90"}}
	if list != tokensPage {
		v.Set("environment", "live")
	}
	for i := 0; i+1 < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	return b.Submit(list, v)
}

// keyShown is the text of the key that a page shows, and the path of the key's own page.
func keyShown(t testing.TB, a *rig.Answer, prefix string) (text, path string) {
	t.Helper()
	_, rest, found := strings.Cut(a.Body, `<code id="key">`+prefix)
	body, _, _ := strings.Cut(rest, "</code>")
	_, next, linked := strings.Cut(a.Body, `class="btn main" href="`)
	path, _, _ = strings.Cut(next, `"`)
	if a.Status != http.StatusOK || !found || !linked {
		t.Fatalf("no key is shown: %d %s", a.Status, rig.Plain(a.Body))
	}
	return prefix + body, path
}

// keysOf are all keys of an owner, as the server has them.
func keysOf(r *rig.Rig, owner storage.KeyOwner) []storage.APIKey {
	r.T.Helper()
	list, err := r.Store.Keys(r.System(), owner, storage.KeyFilter{Limit: 1000})
	ok(r.T, err)
	return list
}

// bothLists are the pages of a workspace's keys and of a person's tokens, for the tests that hold for either.
func bothLists(r *rig.Rig, u storage.User) map[string]storage.KeyOwner {
	r.T.Helper()
	ws, err := r.Store.PersonalWorkspace(r.System(), u.ID)
	ok(r.T, err)
	return map[string]storage.KeyOwner{keysPage(ws.Slug): {WorkspaceID: ws.ID}, tokensPage: {UserID: u.ID}}
}

func TestK21_KeysAreMadeFromOurPagesWithAFreshPassword(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		for list, owner := range bothLists(r, r.Alice) {
			prefix := map[bool]string{true: "pat_", false: "sk_live_"}[list == tokensPage]
			t.Run(list, func(t *testing.T) {
				_, path := keyShown(t, makeKey(b, list), prefix)
				before := len(keysOf(r, owner))
				changes := map[string]url.Values{
					list:                {"name": {"x"}, "resource": {r.Issuer}, "scope-0": {"read"}, "expires": {"never"}, "environment": {"live"}},
					path:                {"name": {"taken over"}, "scope-0": {"read"}},
					path + "/rotate":    {"grace": {"7d"}},
					path + "/pause":     {},
					path + "/resume":    {},
					path + "/revoke":    {"confirm": {"Night import"}},
					list + "/search":    {"q": {"x"}},
					"/settings/profile": {"name": {"control"}},
				}
				for at, form := range changes {
					for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
						q := r.Request(http.MethodPost, at, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded", "Cookie", cookieHeader(b)}, header...)...)
						wantPage(t, r.Send(r.Program(), q), http.StatusForbidden)
					}
				}
				now := keysOf(r, owner)
				if len(now) != before || now[0].Name != "Night import" || !now[0].PausedAt.IsZero() || !now[0].RevokedAt.IsZero() || now[0].RotatedInto != "" {
					t.Fatalf("another site changed something: %+v", now[0])
				}

				r.Advance(5*time.Minute + time.Second)
				old := cookie(b, "doorward")
				for _, wrong := range []string{"", "wrong", strings.ToUpper(rig.Password)} {
					for _, a := range []*rig.Answer{makeKey(b, list, "password", wrong), b.Submit(path+"/rotate", url.Values{"grace": {"24h"}, "password": {wrong}})} {
						wantPage(t, a, http.StatusForbidden)
						if !strings.Contains(a.Body, `name="password"`) || strings.Contains(a.Body, `<code id="key">`) {
							t.Errorf("with the password %q: %s", wrong, rig.Plain(a.Body))
						}
					}
				}
				if len(keysOf(r, owner)) != before || cookie(b, "doorward") != old {
					t.Fatal("it was made without the password")
				}
				keyShown(t, makeKey(b, list, "password", rig.Password), prefix)
				r.Advance(5*time.Minute + time.Second)
				keyShown(t, b.Submit(path+"/rotate", url.Values{"grace": {"24h"}, "password": {rig.Password}}), prefix)
				if n := len(keysOf(r, owner)); n != before+2 {
					t.Errorf("%d keys, want %d", n, before+2)
				}
			})
		}
	})
}

func TestK20_AKeyIsOnNoPageButTheFirst(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		for list := range bothLists(r, r.Alice) {
			prefix := map[bool]string{true: "pat_", false: "sk_live_"}[list == tokensPage]
			t.Run(list, func(t *testing.T) {
				made := makeKey(b, list)
				text, path := keyShown(t, made, prefix)
				wantPage(t, made, http.StatusOK)
				rotated := b.Submit(path+"/rotate", url.Values{"grace": {"1h"}})
				second, path2 := keyShown(t, rotated, prefix)
				secrets := []string{text, text[len(prefix):], second, second[len(prefix):]}
				if strings.Contains(rotated.Body, text) {
					t.Error("the page of the new key shows the old one")
				}
				pages := map[string]*rig.Answer{
					"list": b.Get(list), "form": b.Get(list + "/new"), "page": b.Get(path), "page of the new one": b.Get(path2),
					"search":                  b.PostForm(list+"/search", url.Values{"q": {second}}),
					"search for a stranger's": b.PostForm(list+"/search", url.Values{"q": {mistyped(text)}}),
					"search by address":       b.Get(list + "?q=" + text),
					"form with faults":        makeKey(b, list, "expires", ""),
					"settings":                b.PostForm(path2, url.Values{"name": {""}, "scope-0": {"read"}}),
					"settings, well":          b.PostForm(path2, url.Values{"name": {"Night import"}, "scope-0": {"read"}}),
					"after a change":          b.Get(path2),
					"revoked":                 b.PostForm(path+"/revoke", url.Values{"confirm": {"Night import"}}),
					"after it was revoked":    b.Get(path),
				}
				for name, a := range pages {
					for _, secret := range secrets {
						if strings.Contains(a.Body, secret) || strings.Contains(a.Header.Get("Location"), secret) {
							t.Errorf("%s holds a key", name)
						}
					}
				}
				if got := pages["search"].Header.Get("Location"); got != path2 {
					t.Errorf("the search for a whole key leads to %q, want %q", got, path2)
				}
				if a := pages["search for a stranger's"]; a.Status != http.StatusOK || !strings.Contains(a.Body, "What you pasted was not stored") {
					t.Errorf("the search for a text with a typing error answers %d %s", a.Status, rig.Plain(a.Body))
				}
			})
		}
	})
}

func TestK25_WhatPeopleWriteAboutKeysIsText(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	const name, note = `<script>alert(1)</script>"'=cmd()`, "<img src=x onerror=alert(2)>\n{\"a\":[1]}"
	for list := range bothLists(r, r.Alice) {
		prefix := map[bool]string{true: "pat_", false: "sk_live_"}[list == tokensPage]
		made := makeKey(b, list, "name", name, "note", note)
		_, path := keyShown(t, made, prefix)
		for at, a := range map[string]*rig.Answer{"shown": made, "list": b.Get(list), "page": b.Get(path), "refused": makeKey(b, list, "name", name, "note", note, "expires", "")} {
			if strings.Contains(a.Body, "<script>alert") || strings.Contains(a.Body, "<img src=x") || !strings.Contains(a.Body, "&lt;script&gt;") {
				t.Errorf("%s, %s: the name is markup, or not there", list, at)
			}
		}
		wantPage(t, makeKey(b, list, "name", strings.Repeat("a", 101)), http.StatusBadRequest)
		wantPage(t, makeKey(b, list, "name", "a\x00b"), http.StatusBadRequest)
		wantPage(t, makeKey(b, list, "note", strings.Repeat("a", 1<<20)), http.StatusRequestEntityTooLarge)
	}
}

// A page of somebody else's key is not there, by whichever way it is asked for.
func TestK10_PagesOfAnothersKeysAreNotThere(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		theirs := r.Workspace("theirs", "", bob)
		shared := r.Workspace("shared", "", bob)
		r.Join(shared, r.Alice, catalog.RoleAdmin)
		foreign, foreignText := r.Key(theirs, apikey.Spec{})
		token, tokenText := r.PersonalToken(bob, apikey.Spec{})
		ownToken, _ := r.PersonalToken(r.Alice, apikey.Spec{})
		inShared, sharedText := r.Key(shared, apikey.Spec{})
		b := r.Browser().SignIn(r.Alice.Email)
		own := personalSlug(r, r.Alice.ID)
		var paths []string
		for _, list := range []string{keysPage(own), keysPage("shared"), tokensPage} {
			paths = append(paths, list+"/"+foreign.ID, list+"/"+token.ID)
		}
		paths = append(paths, keysPage("theirs")+"/"+foreign.ID, keysPage("no-such-workspace")+"/"+foreign.ID, keysPage(own)+"/"+inShared.ID, keysPage("shared")+"/"+ownToken.ID,
			tokensPage+"/"+inShared.ID, keysPage(own)+"/key_nothing", tokensPage+"/"+storage.NewID("token"), keysPage("Shared")+"/"+inShared.ID)
		for _, path := range paths {
			wantPage(t, b.Get(path), http.StatusNotFound)
			for verb, form := range map[string]url.Values{
				"": {"name": {"taken over"}, "scope-0": {"read"}}, "/rotate": {"grace": {"now"}}, "/pause": {}, "/resume": {}, "/revoke": {"confirm": {"Standing Key"}},
			} {
				wantPage(t, b.PostForm(path+verb, form), http.StatusNotFound)
			}
		}
		wantPage(t, b.Get(keysPage("theirs")), http.StatusNotFound)
		wantPage(t, makeKey(b, keysPage("theirs")), http.StatusNotFound)
		for _, list := range []string{keysPage(own), keysPage("shared"), tokensPage} {
			for _, text := range []string{foreignText, tokenText} {
				if a := b.PostForm(list+"/search", url.Values{"q": {text}}); a.Status != http.StatusOK || !strings.Contains(a.Body, "What you pasted was not stored") {
					t.Errorf("%s finds the key of somebody else: %d %q", list, a.Status, a.Header.Get("Location"))
				}
			}
		}
		for _, k := range append(keysOf(r, storage.KeyOwner{WorkspaceID: theirs.ID}), keysOf(r, storage.KeyOwner{UserID: bob.ID})...) {
			if k.Name != "Standing Key" || !k.PausedAt.IsZero() || !k.RevokedAt.IsZero() || k.RotatedInto != "" {
				t.Errorf("somebody else changed %+v", k)
			}
		}
		if got := b.PostForm(keysPage("shared")+"/search", url.Values{"q": {sharedText}}).Header.Get("Location"); got != keysPage("shared")+"/"+inShared.ID {
			t.Errorf("a key of one's own is found at %q", got)
		}
	})
}

// Keys are for those who may manage them; the page says who that is. A workspace that is disabled says so.
func TestRoles_PagesOfKeysTakeAnAdmin(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		for _, role := range catalog.Roles {
			w := r.Workspace("with-"+role, "", bob)
			r.Join(w, r.Alice, role)
			k, _ := r.Key(w, apikey.Spec{})
			list := keysPage(w.Slug)
			b := r.Browser().SignIn(r.Alice.Email)
			for path, form := range map[string]url.Values{
				list: nil, list + "/new": nil, list + "/" + k.ID: nil, list + "/search": {"q": {"x"}},
				list + "/" + k.ID + "/pause": {}, list + "/" + k.ID + "/rotate": {"grace": {"24h"}},
			} {
				a := b.Get(path)
				if form != nil {
					a = b.PostForm(path, form)
				}
				if management.RoleMay(role, management.MayManageKeys) {
					if a.Status >= 400 {
						t.Errorf("%s: %s answers %d %s", role, path, a.Status, rig.Plain(a.Body))
					}
					continue
				}
				if a.Status != http.StatusForbidden || !strings.Contains(a.Body, "takes the role admin") || strings.Contains(a.Body, k.Name) || strings.Contains(a.Body, k.Tail) {
					t.Errorf("%s: %s answers %d %s", role, path, a.Status, rig.Plain(a.Body))
				}
			}
			made := makeKey(b, list)
			want := 1
			if management.RoleMay(role, management.MayManageKeys) {
				want = 3 // with the one rotated
				keyShown(t, made, "sk_live_")
			}
			if n := len(keysOf(r, storage.KeyOwner{WorkspaceID: w.ID})); n != want {
				t.Errorf("%s: %d keys, want %d", role, n, want)
			}
			ok(t, r.Management.DisableWorkspace(r.System(), management.CommandLine(w.ID), w))
			if a := b.Get(list); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "disabled") {
				t.Errorf("%s: the page of a disabled workspace answers %d %s", role, a.Status, rig.Plain(a.Body))
			}
		}
	})
}

// What a person does on the pages takes effect at once, and they see what became of their calls.
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
		if empty := b.Get(list); !strings.Contains(empty.Body, "curl") || !strings.Contains(empty.Body, "sk_test_") || !strings.Contains(empty.Body, "Create API key") {
			t.Errorf("the empty list: %s", rig.Plain(empty.Body))
		}
		if got := b.Get("/settings/developer/api-keys").Header.Get("Location"); got != list {
			t.Errorf("the keys are at %q, not in the workspace looked at last", got)
		}
		for field, value := range map[string]string{"rate_limit": "1001", "expires": "12", "addresses": "192.0.2.7/24", "environment": "other", "plan": "none", "name": " ", "resource": "https://nobody.example"} {
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
		if left := k.ExpiresAt.Sub(r.Store.Now()); k.RateLimit != 5 || k.Note != "Second machine" || len(k.Addresses) != 2 || left > 90*24*time.Hour || left < 89*24*time.Hour || k.CreatedBy != r.Alice.ID {
			t.Errorf("made was %+v", k)
		}
		for range 7 {
			r.Ask(api, text, "cost", "1")
		}
		page := b.Get(path)
		for _, want := range []string{"Requests in the last 30 days: 7; 2 of them were refused", "rate limit exceeded", "introspected", "0 of 5", "Created with the permissions read, write", "from 127.0.0.1"} {
			if !strings.Contains(rig.Plain(page.Body), want) {
				t.Errorf("the page does not say %q: %s", want, rig.Plain(page.Body))
			}
		}
		scopes := func() string { return r.Introspect(api, text).Text("scope") }
		if got := b.PostForm(path, url.Values{"name": {"Renamed"}, "scope-0": {"read"}, "rate_limit": {""}, "addresses": {""}, "plan": {"free"}}); got.Header.Get("Location") != path {
			t.Fatalf("saving answers %d %s", got.Status, rig.Plain(got.Body))
		}
		if got := scopes(); got != "read" {
			t.Errorf("narrowed, the key has %q", got)
		}
		if a := b.PostForm(path, url.Values{"name": {"Renamed"}, "scope-0": {"read", "delete"}}); a.Status != http.StatusForbidden {
			t.Errorf("widening answers %d", a.Status)
		}
		if k := keysOf(r, storage.KeyOwner{WorkspaceID: w.ID})[0]; k.Name != "Renamed" || k.RateLimit != 0 || len(k.Addresses) != 0 || k.Plan != "free" || k.Scopes.String() != "read" {
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
			if page := rig.Plain(b.Get(at).Body); !strings.Contains(page, want) || !strings.Contains(page, "8 requests in the last 24 hours") {
				t.Errorf("while rotating %s says: %s", at, page)
			}
		}
		if a := b.Submit(path+"/rotate", url.Values{"grace": {"1h"}}); a.Status != http.StatusConflict {
			t.Errorf("rotating twice answers %d", a.Status)
		}
		if a := b.Submit(path2+"/rotate", url.Values{"grace": {"forever"}}); a.Status != http.StatusBadRequest {
			t.Errorf("an unknown grace answers %d", a.Status)
		}
		if a := b.PostForm(path2+"/revoke", url.Values{"confirm": {"something"}}); a.Status != http.StatusBadRequest || !r.Alive(api, fresh) {
			t.Errorf("revoking without the name answers %d", a.Status)
		}
		if a := b.PostForm(path2+"/revoke", url.Values{"confirm": {"Renamed"}}); a.Header.Get("Location") != list || r.Alive(api, fresh) {
			t.Errorf("revoking answers %d, or the key works on", a.Status)
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

// A token's page shows where it works and as what, and what it is held to.
func TestTokenPages_ATokenIsItsUsers(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
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
		if a := r.Ask(api, text, "workspace", "engines", "cost", "1"); a.Text("role") != "viewer" || a.Text("scope") != "read" {
			t.Errorf("held to viewer it is %s", a.Body)
		}
		page := rig.Plain(b.Get(path).Body)
		for _, want := range []string{"engines viewer", "Requests in the last 30 days: 1", "Maximum role viewer"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not say %q: %s", want, page)
			}
		}
		if a := b.PostForm(path, url.Values{"name": {"x"}, "scope-0": {"read", "write"}, "role": {"admin"}}); a.Status != http.StatusForbidden {
			t.Errorf("a higher role answers %d", a.Status)
		}
		if a := b.Confirm(path+"/revoke", nil); a.Header.Get("Location") != tokensPage || !r.Dead(r.Introspect(api, text)) {
			t.Errorf("revoking answers %d, or the token works on", a.Status)
		}
	})
}

// Lists are in the order of use, then of age, and whole however many pages they have.
func TestKeyPages_ListsAreInTheOrderOfUse(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("engines", "", r.Alice)
		var ids []string
		for range 53 {
			k, _ := r.Key(w, apikey.Spec{})
			ids = append(ids, k.ID)
		}
		// All but two were used, in an order that is not that of their age; the first page ends among them.
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
	})
}

// Where a resource has no keys the form leaves it out, and what is chosen is still for the one that is shown.
func TestKeyPages_AResourceWithoutKeysIsLeftOut(t *testing.T) {
	scopes := []catalog.Scope{{Name: "read"}, {Name: "write"}}
	r := rig.Memory(t, rig.Options{Resources: []catalog.Resource{
		{ID: "https://first.example", Name: "First", Scopes: scopes, WorkspaceHeader: "X-Workspace"},
		{ID: "https://second.example", Name: "Second", Scopes: scopes, Keys: catalog.KeyRules{Prefix: "sec", Environments: []string{"live"}, MaxLifetime: 45 * 24 * time.Hour}},
	}})
	w := r.Workspace("engines", "", r.Alice)
	b := r.Browser().SignIn(r.Alice.Email)
	form := b.Form(b.Get(keysPage(w.Slug)+"/new"), keysPage(w.Slug))
	if got := form["resource"]; len(got) != 1 || got[0] != "https://second.example" {
		t.Fatalf("the form is for %q", got)
	}
	form.Set("name", "Import")
	form.Set("scope-0", "write")
	for expires, want := range map[string]int{"longest": http.StatusOK, "30": http.StatusOK, "90": http.StatusBadRequest, "never": http.StatusBadRequest} {
		form.Set("expires", expires)
		if a := b.Follow(b.PostForm(keysPage(w.Slug), form)); a.Status != want {
			t.Errorf("expires %s: answered %d %s", expires, a.Status, rig.Plain(a.Body))
		}
	}
	for _, k := range keysOf(r, storage.KeyOwner{WorkspaceID: w.ID}) {
		if k.Resource != "https://second.example" || k.Scopes.String() != "write" || k.Prefix != "sec_live_" || k.ExpiresAt.Sub(r.Store.Now()) > 45*24*time.Hour {
			t.Errorf("made was %+v", k)
		}
	}
}
