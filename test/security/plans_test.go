package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/limit"
	"doorward/test/rig"
)

// Administrators set plans, also on their page; owners do if the configuration allows it. A key whose own limit exceeds
// the new plan loses it.
func TestV10_AdministratorsSetPlans(t *testing.T) {
	plans := map[string]limit.Plan{"free": {Hour: 5}, "pro": {Hour: 1000}}
	for _, owners := range []bool{false, true} {
		rig.Each(t, rig.Options{Plans: plans, OwnersSetPlans: owners}, func(t *testing.T, r *rig.Rig) {
			w := r.Workspace("engines", "free", r.Alice)
			plan := func() string {
				now, err := r.Store.WorkspaceByID(r.System(), w.ID)
				ok(t, err)
				return now.Plan
			}
			b, root := r.Browser().SignIn(r.Alice.Email), r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
			want := map[bool]string{false: "free", true: "pro"}[owners]
			if b.PostForm(workspaces+"/engines", url.Values{"name": {"Engines"}, "plan": {"pro"}}); plan() != want {
				t.Errorf("owners set plans %t: an owner made it %q", owners, plan())
			}
			a := b.PostForm("/admin/workspaces/"+w.ID+"/plan", url.Values{"plan": {"pro"}})
			if a.Status != http.StatusNotFound || plan() != want {
				t.Errorf("the administrators' page answers an owner %d", a.Status)
			}
			root.PostForm("/admin/workspaces/"+w.ID+"/plan", url.Values{"plan": {"pro"}})
			if plan() != "pro" {
				t.Fatalf("an administrator made it %q", plan())
			}
			w.Plan = "pro"
			k, _ := r.Key(w, apikey.Spec{Plan: "pro"})
			root.PostForm("/admin/workspaces/"+w.ID+"/plan", url.Values{"plan": {"free"}})
			now, err := r.Store.KeyByID(r.System(), k.ID)
			if ok(t, err); plan() != "free" || now.Plan != "" {
				t.Errorf("after the lower plan %q the key has %q", plan(), now.Plan)
			}
		})
	}
}

// The page on which a user allows an app says that objects which the app creates for them remain.
func TestV05_ConsentSaysWhatStays(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, manages := range []bool{false, true} {
		app := r.App(management.ClientSpec{Scopes: []string{"admin"}, Manages: manages})
		page := b.Authorize(app.Params("admin"))
		if strings.Contains(page.Body, "remain after you revoke its access") != manages {
			t.Errorf("manages %t: %s", manages, rig.Plain(page.Body))
		}
	}
}
