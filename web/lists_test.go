package web_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// rows returns the row headers of a list, in order.
func rows(a *rig.Answer) (names []string) {
	_, body, _ := strings.Cut(a.Body, "<tbody")
	for _, m := range regexp.MustCompile(`(?s)<th scope="row">.*?<bdi>(.*?)</bdi>`).FindAllStringSubmatch(body, -1) {
		names = append(names, m[1])
	}
	return names
}

// read reads a CSV file as a spreadsheet does.
func read(t *testing.T, a *rig.Answer) [][]string {
	t.Helper()
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/csv") ||
		!strings.HasPrefix(
			a.Header.Get("Content-Disposition"),
			"attachment; filename=",
		) || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.Status, a.Header, a.Body)
	}
	list, err := csv.NewReader(strings.NewReader(a.Body)).ReadAll()
	if err != nil || !strings.HasSuffix(a.Body, "\r\n") {
		t.Fatalf("%v in %q", err, a.Body)
	}
	return list
}

// Lists are sorted as their links say, announce that to assistive technology, and do not lose or repeat rows between
// pages.
func TestV67_ListsAreSortedAndPaged(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("engines", "", r.Alice)
	var want []string
	for i := range 60 {
		name := fmt.Sprintf("key %02d", (i*7)%60)
		want = append(want, name)
		r.Key(ws, apikey.Spec{Name: name})
	}
	slices.Sort(want)
	b := r.Browser().SignIn(r.Alice.Email)
	const path = "/settings/workspaces/engines/api-keys"
	for sort, down := range map[string]bool{"name": false, "-name": true} {
		var got []string
		a := b.Get(path + "?sort=" + sort)
		direction := map[bool]string{false: "ascending", true: "descending"}[down]
		if !strings.Contains(a.Body, `aria-sort="`+direction+`"`) || strings.Count(a.Body, "aria-sort") != 1 {
			t.Errorf("sorted by %s, the page does not say %s once", sort, direction)
		}
		for {
			got = append(got, rows(a)...)
			next := regexp.MustCompile(`rel="next" href="([^"]*)"`).FindStringSubmatch(a.Body)
			if next == nil {
				break
			}
			a = b.Get(strings.ReplaceAll(next[1], "&amp;", "&"))
		}
		if down {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("sorted by %s: %v", sort, got)
		}
	}
	// A sort that does not exist is the list's own order.
	if a := b.Get(path + "?sort=digest"); a.Status != http.StatusOK || len(rows(a)) != 50 {
		t.Errorf("an unknown sort gives %d with %d rows", a.Status, len(rows(a)))
	}

	root := r.User("root@example.com", "Root", true)
	r.Join(ws, root, catalog.RoleViewer)
	admin := r.Browser().SignIn(root.Email)
	for path, first := range map[string]string{
		"/admin/users?sort=name": r.Alice.Name, "/admin/users?sort=-name": "Root", "/admin/workspaces?sort=-members": "engines",
		"/settings/workspaces/engines/members?sort=role": "Root", "/settings/workspaces/engines/members?sort=-role": r.Alice.Name,
	} {
		by := admin
		if strings.HasPrefix(path, "/settings") {
			by = b
		}
		if got := rows(by.Get(path)); len(got) == 0 || got[0] != first {
			t.Errorf("%s starts with %v, want %s", path, got, first)
		}
	}
	r.App(rigApp("Zebra", ws.ID, r.Alice.ID))
	r.App(rigApp("aardvark", ws.ID, r.Alice.ID))
	for path, want := range map[string]string{"?sort=name": "aardvark", "?sort=-name": "Zebra", "": "Zebra"} {
		if got := rows(b.Get("/settings/workspaces/engines/apps" + path)); len(got) != 2 || got[0] != want {
			t.Errorf("apps%s start with %v, want %s", path, got, want)
		}
	}
	if got := rows(admin.Get("/admin/apps?sort=-name")); len(got) == 0 || got[0] != "Zebra" {
		t.Errorf("all apps start with %v", got)
	}
}

// The charts of a list share one scale, which the list names: a key with a tenth of the requests has a tenth of the
// height.
func TestV67_ChartsOfAListShareOneScale(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("engines", "", r.Alice)
	for name, n := range map[string]int{"busy": 260, "quiet": 26} {
		k, _ := r.Key(ws, apikey.Spec{Name: name})
		use(r, ws, k, n, "GET /v1/accounts/42")
	}
	a := r.Browser().SignIn(r.Alice.Email).Get("/settings/workspaces/engines/api-keys")
	if !strings.Contains(a.Body, "peak: 260 per day") {
		t.Errorf("the list does not name its scale: %s", rig.Plain(a.Body))
	}
	var tall []string
	for _, m := range regexp.MustCompile(`class="bar-allowed"[^>]*height="(\d+)"`).FindAllStringSubmatch(a.Body, -1) {
		tall = append(tall, m[1])
	}
	slices.Sort(tall)
	if !slices.Equal(tall, []string{"2", "26"}) {
		t.Errorf("the bars are %v high, want 2 and 26", tall)
	}
}

// The usage page covers the period in its URL, by the hour for a day. Its CSV file has the same rows, without formulas.
func TestV67_UsageOfAPeriodAsPageAndFile(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("engines", "", r.Alice)
	k, _ := r.Key(ws, apikey.Spec{Name: `=HYPERLINK("https://evil.example")`})
	r.Advance(-40 * 24 * time.Hour)
	use(r, ws, k, 5, "GET /v1/accounts/42")
	flush(t, r)
	r.Advance(40 * 24 * time.Hour)
	use(r, ws, k, 2, "GET /v1/accounts/43")
	b := r.Browser().SignIn(r.Alice.Email)
	const path = "/settings/workspaces/engines/usage"
	current := regexp.MustCompile(`\?range=\w+" aria-current="true"`)
	for period, want := range map[string]string{
		"?range=24h": "2 requests in the last 24 hours", "?range=7d": "2 requests in the last 7 days",
		"?range=90d": "7 requests in the last 90 days", "": "2 requests in the last 30 days", "?range=1y": "2 requests in the last 30 days",
	} {
		a := b.Get(path + period)
		if !strings.Contains(a.Body, want) || len(current.FindAllString(a.Body, -1)) != 1 {
			t.Errorf("%s: want %q in %s", period, want, rig.Plain(a.Body))
		}
	}
	if a := b.Get(path + "?range=24h"); strings.Count(a.Body, "<time datetime=") < 24 ||
		!strings.Contains(a.Body, ":00 UTC") {
		t.Error("a day is not shown by the hour, in UTC")
	}
	list := read(t, b.Get(path+".csv?range=90d"))
	if len(list) != 3 || list[1][1] != k.ID || list[1][4] != "5" || list[2][4] != "2" ||
		list[2][3] != `'=HYPERLINK("https://evil.example")` {
		t.Errorf("the file has %q", list)
	}
	if _, err := time.Parse(time.RFC3339, list[1][0]); err != nil || !strings.HasSuffix(list[1][0], "T00:00:00Z") {
		t.Errorf("the day is %q", list[1][0])
	}
	if list := read(t, b.Get(path+".csv?range=24h")); len(list) != 2 || list[0][0] != "hour" {
		t.Errorf("the file of a day has %q", list)
	}
}

// The CSV file of an audit page has the filtered events, with times in UTC and without formulas.
func TestV67_AuditAsAFile(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("engines", "", r.Alice)
	k, _ := r.Key(ws, apikey.Spec{Name: "Night"})
	evil := r.User("evil@example.com", "+SUM(1)", false)
	ctx := storage.WithActor(
		r.System(),
		&storage.Actor{UserID: evil.ID, Credential: "session", Address: "192.0.2.1", RequestID: "@request"},
	)
	if err := r.Store.Audit(ctx, storage.AuditEvent{Action: "member.removed", WorkspaceID: ws.ID, Target: "-1", Detail: map[string]string{"role": "member"}}, ""); err != nil {
		t.Fatal(err)
	}
	b := r.Browser().SignIn(r.Alice.Email)
	const path = "/settings/workspaces/engines/audit"
	if a := b.Get(path); !strings.Contains(a.Body, " UTC</time>") || !strings.Contains(a.Body, path+".csv") {
		t.Errorf("the page has no time zone or no export: %s", rig.Plain(a.Body))
	}
	list := read(t, b.Get(path+".csv?what=member."))
	if len(list) != 2 {
		t.Fatalf("the file has %q", list)
	}
	want := []string{
		"",
		"",
		"member.removed",
		ws.ID,
		evil.ID,
		"'+SUM(1)",
		"session",
		"",
		"",
		"'-1",
		"192.0.2.1",
		"'@request",
		`{"role":"member"}`,
	}
	if !slices.Equal(list[1][2:], want[2:]) {
		t.Errorf("the file has %q, want %q", list[1], want)
	}
	if at, err := time.Parse(time.RFC3339, list[1][0]); err != nil || at.Location() != time.UTC {
		t.Errorf("the time is %q", list[1][0])
	}
	if list := read(t, b.Get(path+".csv?what=api_key.")); len(list) != 2 || list[1][9] != k.ID {
		t.Errorf("the file of keys has %q", list)
	}
	if a := b.Get(path + ".csv?from=yesterday"); a.Status != http.StatusBadRequest {
		t.Errorf("an invalid day gives %d", a.Status)
	}
}

// A CSV file needs the same rights as its page. The server's audit log is for administrators only.
func TestV67_ExportsNeedTheRightsOfTheirPages(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	ws := r.Workspace("engines", "", r.Alice)
	at := map[string]*rig.Browser{
		"owner":    r.Browser().SignIn(r.Alice.Email),
		"root":     r.Browser().SignIn(root.Email),
		"stranger": r.Browser(),
	}
	for _, role := range []string{catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer} {
		u := r.User(role+"@example.com", role, false)
		r.Join(ws, u, role)
		at[role] = r.Browser().SignIn(u.Email)
	}
	const base = "/settings/workspaces/engines"
	for _, path := range []string{base + "/usage", base + "/audit", "/admin/audit"} {
		for who, b := range at {
			page, file := b.Get(path), b.Get(path+".csv")
			if page.Status != file.Status {
				t.Errorf("%s: the page answers the %s %d, the file %d", path, who, page.Status, file.Status)
			}
			may := who == "owner" || who == catalog.RoleAdmin
			if path == "/admin/audit" {
				may = who == "root"
			}
			if (file.Status == http.StatusOK) != may || !may && strings.HasPrefix(file.Header.Get("Content-Type"), "text/csv") {
				t.Errorf("%s.csv answers the %s %d", path, who, file.Status)
			}
		}
	}
}

// The server's audit log has its own events and those of all workspaces, and can be filtered by each column.
func TestV67_ServerAuditLog(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	ws := r.Workspace("engines", "", r.Alice)
	k, _ := r.Key(ws, apikey.Spec{Name: "A name of the workspace's own"})
	if err := r.Store.Audit(r.System(), storage.AuditEvent{Action: "signing_key.created", Target: "kid"}, ""); err != nil {
		t.Fatal(err)
	}
	b := r.Browser().SignIn(root.Email)
	actions := func(query string) (list []string) {
		t.Helper()
		for _, row := range read(t, b.Get("/admin/audit.csv"+query))[1:] {
			list = append(list, row[2])
		}
		return list
	}
	page := b.Get("/admin/audit")
	for _, text := range []string{"Created a signing key", "Created an API key", k.ID, ws.Name} {
		if !strings.Contains(page.Body, text) {
			t.Errorf("the page lacks %q: %s", text, rig.Plain(page.Body))
		}
	}
	if strings.Contains(page.Body, k.Name) {
		t.Error("the page names a key of a workspace")
	}
	if all := actions(""); !slices.Contains(all, "signing_key.created") || !slices.Contains(all, "api_key.created") {
		t.Errorf("all: %v", all)
	}
	for query, want := range map[string]string{
		"?server=1&what=signing_key.": "signing_key.created", "?workspace=engines&what=api_key.": "api_key.created", "?workspace=" + ws.ID + "&what=api_key.": "api_key.created",
		"?who=ROOT@example.com": "login.succeeded", "?who=" + root.ID: "login.succeeded",
	} {
		got := actions(query)
		if slices.Sort(got); !slices.Equal(slices.Compact(got), []string{want}) {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	if got := actions("?server=1&what=api_key."); len(got) != 0 {
		t.Errorf("the server's own events about keys: %v", got)
	}
	for _, query := range []string{"?workspace=missing", "?who=none@example.com", "?server=1&workspace=engines", "?from=x"} {
		if a := b.Get("/admin/audit" + query); a.Status != http.StatusBadRequest ||
			!strings.Contains(a.Body, `aria-invalid="true"`) {
			t.Errorf("%s gives %d", query, a.Status)
		}
	}
}

// The last requests show the path of the request.
func TestV67_LastRequestsHaveThePath(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("engines", "", r.Alice)
	k, text := r.Key(ws, apikey.Spec{})
	r.JSON("GET", "/v1/api-keys/key_01a205da-6b79-700e-9a81-73bb64712baf?token=opensesame", text, "")
	a := r.Browser().SignIn(r.Alice.Email).Get("/settings/workspaces/engines/api-keys/" + k.ID)
	if !strings.Contains(a.Body, "GET /v1/api-keys/key_01a205da-6b79-700e-9a81-73bb64712baf") ||
		strings.Contains(a.Body, "opensesame") {
		t.Errorf("the last request is not shown with its path: %s", rig.Plain(a.Body))
	}
}

func rigApp(name, workspaceID, by string) management.ClientSpec {
	return management.ClientSpec{Name: name, WorkspaceID: workspaceID, CreatedBy: by}
}

func use(r *rig.Rig, ws storage.Workspace, k storage.APIKey, n int, action string) {
	for range n {
		r.Store.NoteUse(
			storage.Use{WorkspaceID: ws.ID, CredentialID: k.ID, Credential: bearer.KindAPIKey, Action: action, Status: 200},
		)
	}
}

func flush(t *testing.T, r *rig.Rig) {
	t.Helper()
	if err := r.Store.FlushUsage(r.System()); err != nil {
		t.Fatal(err)
	}
}
