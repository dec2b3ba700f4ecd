package security

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

func TestUsageAndAuditOfAWorkspace(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		c, other := newCast(r, "engines"), newCast(r, "others")
		key, _ := r.Key(c.ws, apikey.Spec{Name: "Night import"})
		foreign, _ := r.Key(other.ws, apikey.Spec{Name: "Foreign key"})
		token, _ := r.PersonalToken(c.user["member"], apikey.Spec{Name: "My own laptop"})
		use := func(ws storage.Workspace, id, kind string, n int, reason string, limited bool) {
			for range n {
				r.Store.NoteUse(storage.Use{
					WorkspaceID: ws.ID, CredentialID: id, Credential: kind, Status: 200, Reason: reason, Limited: limited,
				})
			}
		}
		use(c.ws, key.ID, bearer.KindAPIKey, 41, "", false)
		use(c.ws, token.ID, bearer.KindPersonalAccessToken, 3, "", false)
		r.Advance(29 * 24 * time.Hour)
		admin := r.Browser().SignIn(c.user["admin"].Email)
		use(c.ws, key.ID, bearer.KindAPIKey, 7, "", false)
		use(c.ws, key.ID, bearer.KindAPIKey, 5, bearer.ReasonLimit, true)
		use(c.ws, key.ID, bearer.KindAPIKey, 2, bearer.ReasonScope("delete"), false)
		use(other.ws, foreign.ID, bearer.KindAPIKey, 999, "", false)
		text := rig.Plain(admin.Get(workspaces + "/engines/usage").Body)
		for _, want := range []string{
			"58 requests in the last 30 days, 7 refused (5 over the limit, 2 denied)", "Night import API key 48 5 2",
			"Personal access token of member@engines.example.com 3 0 0",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the page lacks %q: %s", want, text)
			}
		}
		for _, no := range []string{"999", "Foreign key", "My own laptop", foreign.ID} {
			if strings.Contains(text, no) {
				t.Errorf("the page says %q", no)
			}
		}
		r.Advance(24 * time.Hour)
		admin = r.Browser().SignIn(c.user["admin"].Email)
		if text := rig.Plain(admin.Get(workspaces + "/engines/usage").Body); !strings.Contains(text, "14 requests in the last 30 days,") {
			t.Errorf("a day later the page says %s", text)
		}

		// Audit log: newest first, in pages, filtered by action, actor and time, each with its description.
		owner := r.Browser().SignIn(c.user["owner"].Email)
		for i := range 60 {
			role := catalog.Roles[i%2]
			a := owner.PostForm(workspaces+"/engines/members/"+c.user["viewer"].ID+"/role", url.Values{"role": {role}})
			if a.Status != http.StatusSeeOther {
				t.Fatalf("answered %d", a.Status)
			}
		}
		page := admin.Get(workspaces + "/engines/audit?what=member.")
		next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page.Body)
		if strings.Count(page.Body, "Changed a member") != 50 || next == nil {
			t.Fatalf("the first page has %d events: %s", strings.Count(page.Body, "Changed a member"), rig.Plain(page.Body))
		}
		second := admin.Get(strings.ReplaceAll(next[1], "&amp;", "&"))
		if n := strings.Count(second.Body, "Changed a member"); n != 9 ||
			!strings.Contains(second.Body, "Member joined") {
			t.Errorf("the second page has %d changes: %s", n, rig.Plain(second.Body))
		}
		count := func(query, text string) int {
			return strings.Count(admin.Get(workspaces+"/engines/audit?"+query).Body, text)
		}
		today := r.Store.Now().Time().UTC().Format(time.DateOnly)
		for query, want := range map[string]int{
			"who=" + c.user["owner"].ID:  50,
			"who=" + c.user["viewer"].ID: 0,
			"what=api_key.":              0,
			"from=" + today:              50,
			"to=" + today:                50,
			"from=2100-01-01":            0,
			"to=2020-01-01":              0,
			"what=nonsense":              50,
			"after=event_x":              50,
			"after=event_":               0,
			"who=unknown":                50,
			"what=%25":                   50,
			"what=member.&who=" + c.user["owner"].ID + "&from=" + today + "&to=" + today: 50,
		} {
			if got := count(query, "Changed a member"); got != want {
				t.Errorf("?%s shows %d changes, want %d", query, got, want)
			}
		}
		if n := count("what=api_key.", "Night import"); n == 0 {
			t.Error("the created key has no name in the audit log")
		}
		wantPage(t, admin.Get(workspaces+"/engines/audit?from=yesterday"), http.StatusBadRequest)
		body := admin.Get(workspaces + "/engines/audit").Body
		if strings.Contains(body, other.ws.ID) || strings.Contains(body, "Foreign key") {
			t.Error("the audit shows another workspace's events")
		}
	})
}
