package security

import (
	"net/http"
	"testing"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/test/rig"
)

// Requests without a valid credential are counted by address if the resource has a plan for them; otherwise their
// answers do not mention limits.
func TestRefusedCredentialsAreCountedByAddress(t *testing.T) {
	o := limited()
	o.Resources[0].AnonymousPlan = "strangers"
	o.Plans["strangers"] = limit.Plan{Hour: 3}
	defer delete(o.Plans, "strangers")
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{})
		for i, want := range []struct {
			status    int
			remaining string
		}{{401, "2"}, {401, "1"}, {401, "0"}, {429, "0"}} {
			a := r.Call(http.MethodGet, "/v1/auth/test", bearer.NewCredential("sk_live_"))
			if a.Status != want.status || a.Header.Get("X-RateLimit-Limit") != "3" ||
				a.Header.Get("X-RateLimit-Remaining") != want.remaining ||
				(a.Header.Get("Retry-After") != "") != (want.status == 429) {
				t.Errorf("request %d is answered %d with %v", i+1, a.Status, a.Header)
			}
		}
		if a := r.Call(http.MethodGet, "/v1/auth/test", key); a.Status != http.StatusOK {
			t.Errorf("strangers at the same address keep a key out: %d %s", a.Status, a.Body)
		}
	})
	r := rig.Memory(t, limited())
	for range 5 {
		a := r.Call(http.MethodGet, "/v1/auth/test", "nothing")
		if a.Status != http.StatusUnauthorized || a.Header.Get("X-RateLimit-Limit") != "" {
			t.Fatalf("without such a plan the answer is %d with %v", a.Status, a.Header)
		}
	}
}
