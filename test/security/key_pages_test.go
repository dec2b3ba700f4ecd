package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

const tokensPage = "/settings/developer/personal-access-tokens"

// keysPage returns the path of a workspace's keys.
func keysPage(slug string) string { return "/settings/workspaces/" + slug + "/api-keys" }

// personalSlug returns the slug of a user's personal workspace.
func personalSlug(r *rig.Rig, userID string) string {
	r.T.Helper()
	ws, err := r.Store.PersonalWorkspace(r.System(), userID)
	ok(r.T, err)
	return ws.Slug
}

// makeKey submits the form for a new key or token at the path of the list; fields change it.
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

// keyShown returns the key that a page shows, and the path of the key's own page.
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

// keysOf returns all keys of an owner from the server.
func keysOf(r *rig.Rig, owner storage.KeyOwner) []storage.APIKey {
	r.T.Helper()
	list, err := r.Store.Keys(r.System(), owner, storage.KeyFilter{Limit: 1000})
	ok(r.T, err)
	return list
}

// bothLists are the pages of a workspace's keys and of a user's tokens, for the tests that apply to both.
func bothLists(r *rig.Rig, u storage.User) map[string]storage.KeyOwner {
	r.T.Helper()
	ws, err := r.Store.PersonalWorkspace(r.System(), u.ID)
	ok(r.T, err)
	return map[string]storage.KeyOwner{keysPage(ws.Slug): {WorkspaceID: ws.ID}, tokensPage: {UserID: u.ID}}
}

func TestK21_KeysAreCreatedOnPagesAfterARecentSignIn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for list, owner := range bothLists(r, r.Alice) {
		prefix := map[bool]string{true: "pat_", false: "sk_live_"}[list == tokensPage]
		t.Run(list, func(t *testing.T) {
			_, path := keyShown(t, makeKey(b, list), prefix)
			before := len(keysOf(r, owner))
			changes := map[string]url.Values{
				list: {
					"name":        {"x"},
					"resource":    {r.Issuer},
					"scope-0":     {"read"},
					"expires":     {"never"},
					"environment": {"live"},
				},
				path:                {"name": {"taken over"}, "scope-0": {"read"}},
				path + "/rotate":    {"grace": {"7d"}},
				path + "/pause":     {},
				path + "/resume":    {},
				path + "/revoke":    {"confirm": {"Night import"}},
				list + "/search":    {"q": {"x"}},
				"/settings/profile": {"name": {"control"}},
			}
			for at, form := range changes {
				for _, header := range [][]string{
					{"Sec-Fetch-Site", "cross-site"},
					{"Sec-Fetch-Site", "same-site"},
					{"Origin", "https://evil.example"},
				} {
					q := r.Request(http.MethodPost, at, strings.NewReader(form.Encode()),
						append([]string{"Content-Type", "application/x-www-form-urlencoded", "Cookie", cookieHeader(b)}, header...)...)
					wantPage(t, r.Send(r.Program(), q), http.StatusForbidden)
				}
			}
			now := keysOf(r, owner)
			if len(now) != before || now[0].Name != "Night import" || !now[0].PausedAt.IsZero() || !now[0].RevokedAt.IsZero() ||
				now[0].RotatedInto != "" {
				t.Fatalf("another site changed something: %+v", now[0])
			}

			r.Advance(5*time.Minute + time.Second)
			old := cookie(b, "doorward")
			for _, wrong := range []string{"", "wrong", strings.ToUpper(rig.Password)} {
				for _, a := range []*rig.Answer{
					makeKey(b, list, "password", wrong), b.Submit(path+"/rotate", url.Values{"grace": {"24h"}, "password": {wrong}}),
				} {
					wantPage(t, a, http.StatusForbidden)
					if !strings.Contains(a.Body, `name="password"`) || strings.Contains(a.Body, `<code id="key">`) {
						t.Errorf("with the password %q: %s", wrong, rig.Plain(a.Body))
					}
				}
			}
			if len(keysOf(r, owner)) != before || cookie(b, "doorward") != old {
				t.Fatal("it was created without the password")
			}
			keyShown(t, makeKey(b, list, "password", rig.Password), prefix)
			r.Advance(5*time.Minute + time.Second)
			keyShown(t, b.Submit(path+"/rotate", url.Values{"grace": {"24h"}, "password": {rig.Password}}), prefix)
			if n := len(keysOf(r, owner)); n != before+2 {
				t.Errorf("%d keys, want %d", n, before+2)
			}
		})
	}
}

func TestK20_AKeyIsOnNoPageButTheFirst(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
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
			if a := pages["search for a stranger's"]; a.Status != http.StatusOK ||
				!strings.Contains(a.Body, "was not stored") {
				t.Errorf("the search for a text with a typing error answers %d %s", a.Status, rig.Plain(a.Body))
			}
		})
	}
}

func TestK25_TextAboutKeysIsEscaped(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	const name, note = `<script>alert(1)</script>"'=cmd()`, "<img src=x onerror=alert(2)>\n{\"a\":[1]}"
	for list := range bothLists(r, r.Alice) {
		prefix := map[bool]string{true: "pat_", false: "sk_live_"}[list == tokensPage]
		made := makeKey(b, list, "name", name, "note", note)
		_, path := keyShown(t, made, prefix)
		for at, a := range map[string]*rig.Answer{
			"shown":   made,
			"list":    b.Get(list),
			"page":    b.Get(path),
			"refused": makeKey(b, list, "name", name, "note", note, "expires", ""),
		} {
			if strings.Contains(a.Body, "<script>alert") || strings.Contains(a.Body, "<img src=x") ||
				!strings.Contains(a.Body, "&lt;script&gt;") {
				t.Errorf("%s, %s: the name is markup, or not there", list, at)
			}
		}
		wantPage(t, makeKey(b, list, "name", strings.Repeat("a", 101)), http.StatusBadRequest)
		wantPage(t, makeKey(b, list, "name", "a\x00b"), http.StatusBadRequest)
		wantPage(t, makeKey(b, list, "note", strings.Repeat("a", 1<<20)), http.StatusRequestEntityTooLarge)
	}
}

// The page of another user's key is not found, in any way of requesting it.
func TestK10_PagesOfOthersKeysAreNotFound(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
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
	paths = append(paths, keysPage("theirs")+"/"+foreign.ID, keysPage("no-such-workspace")+"/"+foreign.ID,
		keysPage(own)+"/"+inShared.ID, keysPage("shared")+"/"+ownToken.ID,
		tokensPage+"/"+inShared.ID, keysPage(own)+"/key_nothing", tokensPage+"/"+storage.NewID("token"),
		keysPage("Shared")+"/"+inShared.ID)
	for _, path := range paths {
		wantPage(t, b.Get(path), http.StatusNotFound)
		for verb, form := range map[string]url.Values{
			"":        {"name": {"taken over"}, "scope-0": {"read"}},
			"/rotate": {"grace": {"now"}},
			"/pause":  {},
			"/resume": {},
			"/revoke": {"confirm": {"Standing Key"}},
		} {
			wantPage(t, b.PostForm(path+verb, form), http.StatusNotFound)
		}
	}
	wantPage(t, b.Get(keysPage("theirs")), http.StatusNotFound)
	wantPage(t, makeKey(b, keysPage("theirs")), http.StatusNotFound)
	for _, list := range []string{keysPage(own), keysPage("shared"), tokensPage} {
		for _, text := range []string{foreignText, tokenText} {
			a := b.PostForm(list+"/search", url.Values{"q": {text}})
			if a.Status != http.StatusOK || !strings.Contains(a.Body, "was not stored") {
				t.Errorf("%s finds another user's key: %d %q", list, a.Status, a.Header.Get("Location"))
			}
		}
	}
	for _, k := range append(keysOf(r, storage.KeyOwner{WorkspaceID: theirs.ID}),
		keysOf(r, storage.KeyOwner{UserID: bob.ID})...) {
		if k.Name != "Standing Key" || !k.PausedAt.IsZero() || !k.RevokedAt.IsZero() || k.RotatedInto != "" {
			t.Errorf("another user changed %+v", k)
		}
	}
	got := b.PostForm(keysPage("shared")+"/search", url.Values{"q": {sharedText}}).Header.Get("Location")
	if got != keysPage("shared")+"/"+inShared.ID {
		t.Errorf("a key of one's own is found at %q", got)
	}
}

// Keys are shown to members who may manage them; other members see a page that says who may. A disabled workspace says
// so.
func TestRoles_PagesOfKeysNeedAnAdmin(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
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
			if a.Status != http.StatusForbidden || !strings.Contains(a.Body, "You need the admin role") ||
				strings.Contains(a.Body, k.Name) || strings.Contains(a.Body, k.Tail) {
				t.Errorf("%s: %s answers %d %s", role, path, a.Status, rig.Plain(a.Body))
			}
		}
		made := makeKey(b, list)
		want := 1
		if management.RoleMay(role, management.MayManageKeys) {
			want = 3 // including the rotated one
			keyShown(t, made, "sk_live_")
		}
		if n := len(keysOf(r, storage.KeyOwner{WorkspaceID: w.ID})); n != want {
			t.Errorf("%s: %d keys, want %d", role, n, want)
		}
		ok(t, r.Management.DisableWorkspace(r.System(), management.CLI(w.ID), w))
		if a := b.Get(list); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "disabled") {
			t.Errorf("%s: the page of a disabled workspace answers %d %s", role, a.Status, rig.Plain(a.Body))
		}
	}
}
