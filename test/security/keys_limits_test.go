package security

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

func TestIntrospectionChargesACost(t *testing.T) {
	rig.Each(t, limited(), func(t *testing.T, r *rig.Rig) {
		api := r.ResourceServer()
		w := r.Workspace("acme", "", r.Alice)
		k, key := r.Key(w, apikey.Spec{})
		limits := func(a *rig.Answer) map[string]any { m, _ := a.JSON()["rate_limit"].(map[string]any); return m }
		for _, x := range []struct {
			cost      string
			allowed   bool
			remaining float64
		}{
			{"0", true, 10},
			{"1", true, 9},
			{"4", true, 5},
			{"6", false, 5},
			{"5", true, 0},
			{"1", false, 0},
			{"0", true, 0},
			{"11", false, 0},
		} {
			a := r.Ask(api, key, "cost", x.cost)
			m := limits(a)
			if a.JSON()["active"] != true || m["allowed"] != x.allowed || m["remaining"] != x.remaining || m["limit"] != 10.0 ||
				(m["retry_after"] != nil) == x.allowed {
				t.Errorf("cost %s: %s, want allowed %v, remaining %v", x.cost, a.Body, x.allowed, x.remaining)
			}
		}
		for _, wrong := range []string{"-1", "1001", "1.5", "+1", "x", "1 ", "9223372036854775808"} {
			if a := r.Ask(api, key, "cost", wrong); a.Status != http.StatusBadRequest || a.Text("error") != "invalid_request" {
				t.Errorf("a cost of %q is answered %d %s", wrong, a.Status, a.Body)
			}
		}
		// The owner sees the counted requests, with the reason for each refusal.
		ok(t, r.Store.FlushUsage(r.System()))
		usage, err := r.Store.UsageOf(r.System(), w.ID, k.ID, 1, r.Store.Now())
		ok(t, err)
		if len(usage) != 1 || usage[0].Allowed != 3 || usage[0].Limited != 3 || usage[0].Refused != 0 {
			t.Errorf("usage is %+v, want 3 allowed, 3 limited", usage)
		}
		recent, err := r.Store.RecentRequestsOf(r.System(), k.ID)
		ok(t, err)
		if len(recent) != 6 || recent[0].Reason != bearer.ReasonLimit || recent[1].Reason != bearer.ReasonLimit ||
			recent[2].Reason != "" {
			t.Errorf("the last requests are %+v", recent)
		}
		// rate_limit is left out for a plan that the workspace does not have.
		unlimited := r.Workspace("unlimited", "", r.Alice)
		r.SQL(`UPDATE workspaces SET plan = 'gone' WHERE id = $1`, unlimited.ID)
		_, key = r.Key(unlimited, apikey.Spec{})
		if a := r.Ask(api, key, "cost", "1"); limits(a)["limit"] != 10.0 {
			t.Errorf("a plan that is not configured any more should fall back to the default: %s", a.Body)
		}
	})
}

// Which requests count together, and under which plan.
func TestPlansOfEveryKindOfCredential(t *testing.T) {
	rig.Each(t, limited(), func(t *testing.T, r *rig.Rig) {
		api := r.ResourceServer()
		pro := r.Workspace("pro", "pro", r.Alice)
		free := r.Workspace("free", "", r.Alice)
		limitOf := func(text string, parameters ...string) float64 {
			m, _ := r.Ask(api, text, append([]string{"cost", "1"}, parameters...)...).JSON()["rate_limit"].(map[string]any)
			n, _ := m["limit"].(float64)
			return n
		}
		key := func(w storage.Workspace, p apikey.Spec) string { _, text := r.Key(w, p); return text }
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{})
		access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
		machines := r.App(management.ClientSpec{Grants: []string{"client_credentials"}, Scopes: []string{"read"}})
		machine := func() string {
			return r.PostAs(machines, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
		}
		for name, x := range map[string]struct{ got, want float64 }{
			"a key of a workspace with a plan":            {limitOf(key(pro, apikey.Spec{})), 100},
			"a key of one without":                        {limitOf(key(free, apikey.Spec{})), 10},
			"a key with a plan of its own":                {limitOf(key(pro, apikey.Spec{Plan: "free"})), 10},
			"a key with a rate of its own":                {limitOf(key(pro, apikey.Spec{RateLimit: 42})), 42},
			"a test key, under any plan of the workspace": {limitOf(key(pro, apikey.Spec{Environment: "test"})), 3},
			"a test key with a rate of its own": {
				limitOf(key(pro, apikey.Spec{Environment: "test", RateLimit: 2})), 2,
			},
			"a token in a workspace with a plan": {limitOf(pat, "workspace", "pro"), 100},
			"a token in one without":             {limitOf(pat, "workspace", "free"), 20},
			"a user's access token":              {limitOf(access), 20},
			"a client for itself":                {limitOf(machine()), 5},
		} {
			if x.got != x.want {
				t.Errorf("%s may make %v requests an hour, want %v", name, x.got, x.want)
			}
		}
		// All tokens of a user at a resource count together, and so do all tokens of a client.
		_, another := r.PersonalToken(r.Alice, apikey.Spec{})
		m, _ := r.Ask(api, another, "cost", "1").JSON()["rate_limit"].(map[string]any)
		if m["remaining"] != 20.0-4 {
			t.Errorf("after one request by each of three others of the same user there remain %v of 20", m["remaining"])
		}
		m, _ = r.Ask(api, machine(), "cost", "1").JSON()["rate_limit"].(map[string]any)
		if m["remaining"] != 3.0 {
			t.Errorf("after a request with another token of the same client there remain %v of 5", m["remaining"])
		}
	})
}

// A key never has a higher limit than its workspace's plan.
func TestKeysLimitsStayWithinTheirWorkspaces(t *testing.T) {
	r := rig.Memory(t, limited())
	w := r.Workspace("acme", "pro", r.Alice)
	by, _, _, err := r.Management.PersonAuthority(t.Context(), r.Alice.ID, "acme")
	ok(t, err)
	by.Fresh = true
	ctx := storage.Tenant(t.Context(), r.Alice.ID, w.ID)
	for name, x := range map[string]struct {
		p  apikey.Spec
		ok bool
	}{
		"as much as the plan": {apikey.Spec{RateLimit: 100}, true},
		"more than the plan":  {apikey.Spec{RateLimit: 101}, false},
		"negative":            {apikey.Spec{RateLimit: -1}, false},
		// It allows more, because it has no daily limit and no burst.
		"a smaller plan":            {apikey.Spec{Plan: "free"}, false},
		"the same plan":             {apikey.Spec{Plan: "pro"}, true},
		"an unknown plan":           {apikey.Spec{Plan: "none"}, false},
		"more than its own plan":    {apikey.Spec{Plan: "pro", RateLimit: 101}, false},
		"a test key above its plan": {apikey.Spec{Environment: "test", RateLimit: 4}, false},
		"a test key within":         {apikey.Spec{Environment: "test", RateLimit: 3}, true},
	} {
		x.p.Name, x.p.Scopes = "x", []string{"read"}
		if _, _, err := r.Management.CreateKey(ctx, by, w.Plan, x.p); (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestL01_L02_KeysGetExactlyTheirLimit(t *testing.T) {
	o := limited()
	o.Plans = map[string]limit.Plan{"free": {Hour: 40}, "sandbox": {Hour: 1}, "people": {Hour: 40}, "machines": {Hour: 1}}
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		api := r.ResourceServer()
		_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{})
		for name, text := range map[string]string{"key": key, "token": pat} {
			var allowed atomic.Int64
			rig.AtOnce(64, func(i int) {
				m, _ := nodes[i%len(nodes)].Ask(api, text, "cost", "1").JSON()["rate_limit"].(map[string]any)
				if m["allowed"] == true {
					allowed.Add(1)
				}
			})
			if allowed.Load() != 40 {
				t.Errorf("of 64 requests with a %s at once %d were allowed, want 40", name, allowed.Load())
			}
		}
	})
}

func TestL06_L12_KeysCountForThemselves(t *testing.T) {
	rig.Each(t, limited(), func(t *testing.T, r *rig.Rig) {
		api := r.ResourceServer()
		w := r.Workspace("acme", "", r.Alice)
		k, key := r.Key(w, apikey.Spec{})
		_, other := r.Key(w, apikey.Spec{})
		allowed := func(text string) bool {
			m, _ := r.Ask(api, text, "cost", "1").JSON()["rate_limit"].(map[string]any)
			return m["allowed"] == true
		}
		for range 10 {
			if !allowed(key) {
				t.Fatal("a new key is limited")
			}
			// Wrong keys with the same prefix do not count for the key.
			r.Ask(api, bearer.NewCredential("sk_live_"), "cost", "1")
			r.Ask(api, mistyped(other), "cost", "1")
		}
		if allowed(key) || !allowed(other) {
			t.Error("one key's limit should be its own")
		}
		// A key and its replacement share one counter.
		_, fresh, err := r.Management.RotateKey(r.System(), management.CLI(w.ID), k.Owner(), k.ID, time.Hour)
		ok(t, err)
		if allowed(fresh) || allowed(key) {
			t.Error("rotating bought new requests")
		}
	})
}

func TestL13_ALoweredLimitHoldsOnEveryNodeAtOnce(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		api := r.ResourceServer()
		w := r.Workspace("acme", "pro", r.Alice)
		k, key := r.Key(w, apikey.Spec{RateLimit: 50})
		for range 5 {
			other.Ask(api, key, "cost", "1")
		}
		lower := int64(5)
		_, err := r.Management.UpdateKey(r.System(), management.CLI(w.ID), k.Owner(), w.Plan, k.ID,
			management.KeyChange{RateLimit: &lower})
		ok(t, err)
		m, _ := other.Ask(api, key, "cost", "1").JSON()["rate_limit"].(map[string]any)
		if m["allowed"] != false || m["limit"] != 5.0 || m["remaining"] != 0.0 {
			t.Errorf("after the limit was lowered: %v", m)
		}
	})
}
