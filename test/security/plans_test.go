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

// Administrators set plans, on their page too; owners do where the configuration lets them. A key with more than the
// new plan loses its own.
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
			if a := b.PostForm("/admin/workspaces/"+w.ID+"/plan", url.Values{"plan": {"pro"}}); a.Status != http.StatusNotFound || plan() != want {
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

// The page on which a person allows an app says when what it makes for them stays.
func TestV05_ConsentSaysWhatStays(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for _, manages := range []bool{false, true} {
		app := r.App(management.ClientSpec{Scopes: []string{"admin"}, Manages: manages})
		if page := b.Authorize(app.Params("admin")); strings.Contains(page.Body, "remain after you revoke its access") != manages {
			t.Errorf("manages %t: %s", manages, rig.Plain(page.Body))
		}
	}
}
