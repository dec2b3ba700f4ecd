package security

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
)

// jwks fetches the key set.
func jwks(t *testing.T, r *rig.Rig) (kids []string, a *rig.Answer) {
	t.Helper()
	a = r.Send(r.Program(), r.Request(http.MethodGet, "/oauth/jwks", nil))
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(a.Body), &set); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	for _, k := range set.Keys {
		names := slices.Sorted(maps.Keys(k))
		if diff := cmp.Diff([]string{"alg", "crv", "kid", "kty", "use", "x", "y"}, names); diff != "" {
			t.Errorf("members of a key (-want +got):\n%s", diff)
		}
		if k["alg"] != "ES256" || k["use"] != "sig" || k["kty"] != "EC" || k["crv"] != "P-256" {
			t.Errorf("a key is %v", k)
		}
		kids = append(kids, k["kid"].(string))
	}
	return kids, a
}

func TestJ08_KeySetIsPublicAndNothingElse(t *testing.T) {
	rig.Each(t, signing(), func(t *testing.T, r *rig.Rig) {
		kids, a := jwks(t, r)
		slices.Sort(kids)
		if len(kids) != 2 || len(slices.Compact(kids)) != 2 {
			t.Errorf("keys %v", kids)
		}
		got := a.Header.Get("Cache-Control")
		if got != "public, max-age=300" || a.Header.Get("Access-Control-Allow-Origin") != "*" ||
			a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", a.Header)
		}
		meta := r.Send(r.Program(), r.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil))
		if meta.Text("jwks_uri") != r.Issuer+"/oauth/jwks" {
			t.Errorf("jwks_uri is %q", meta.Text("jwks_uri"))
		}
		// A key signs only after every cached copy of the set contains it.
		if _, err := r.Keyring.Rotate(r.System(), false); err == nil || !strings.Contains(err.Error(), "rotate after") {
			t.Errorf("rotated to a key that is new: %v", err)
		}
		r.Advance(5 * time.Minute)
		if _, err := r.Keyring.Rotate(r.System(), false); err == nil {
			t.Error("rotated to a key that a copy of the set may lack")
		}
		r.Advance(time.Minute)
		if _, err := r.Keyring.Rotate(r.System(), false); err != nil {
			t.Error(err)
		}
		r.BreakStorage()
		r.Advance(time.Minute)
		if a := r.Send(r.Program(),
			r.Request(http.MethodGet, "/oauth/jwks", nil)); a.Status != http.StatusServiceUnavailable ||
			a.Header.Get("Retry-After") == "" {
			t.Errorf("without storage: %d %v", a.Status, a.Header)
		}
	})
	plain := rig.Memory(t, limited())
	if meta := plain.Send(plain.Program(),
		plain.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil)); meta.JSON()["jwks_uri"] != nil {
		t.Error("jwks_uri without a JWT anywhere")
	}
	if kids, _ := jwks(t, plain); len(kids) != 0 {
		t.Errorf("keys without a JWT anywhere: %v", kids)
	}
}

func TestJ09_RotationDisturbsNoCaller(t *testing.T) {
	o := signing()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		advance := func(d time.Duration) {
			r.Advance(d)
			if other != r {
				other.Advance(d)
			}
		}
		j := newJWTRig(r)
		old := part(t, j.access, 0)["kid"].(string)
		advance(10 * time.Minute)
		published, _ := jwks(t, other)
		// Under load on both nodes, no request fails.
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; !stop.Load(); i++ {
				node := nodes[i%len(nodes)]
				if !node.Alive(j.api, j.access) {
					t.Error("a good token was refused")
				}
			}
		}()
		active, err := r.Keyring.Rotate(r.System(), false)
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Second)
		access := other.Refresh(j.app, j.refresh).Text("access_token")
		stop.Store(true)
		<-done
		if kid := part(t, access, 0)["kid"]; kid != active.ID || kid == old || !slices.Contains(published, active.ID) {
			t.Errorf("after rotating %v signs, published before were %v", kid, published)
		}
		j.taken(t, "of the new key", access)
		after, _ := jwks(t, other)
		if len(after) != 3 || !slices.Contains(after, old) {
			t.Errorf("after rotating there are %v; the old one is %s", after, old)
		}
		advance(50 * time.Minute)
		if kids, _ := jwks(t, r); !slices.Contains(kids, old) {
			t.Error("the old key is gone before the last token under it")
		}
		advance(12 * time.Minute)
		if kids, _ := jwks(t, r); slices.Contains(kids, old) {
			t.Error("the old key is still published")
		}
		// Its tokens are reported as expired for as long as opaque ones.
		//nolint:errorlint // exactly this value
		if _, err := r.Bearer.Principal(t.Context(), j.access, bearer.Audience{}); err != bearer.ErrExpired {
			t.Errorf("under a key that is no longer published: %v", err)
		}
		// After 30 days the rotation happens automatically, once, with any number of nodes.
		advance(30 * 24 * time.Hour)
		rig.AtOnce(8, func(i int) {
			if err := nodes[i%len(nodes)].Keyring.Maintain(r.System()); err != nil {
				t.Error(err)
			}
		})
		keys, err := r.Keyring.List(r.System())
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]int{}
		for _, k := range keys {
			states[k.State]++
			if k.State == storage.SigningActive && k.ID == active.ID {
				t.Error("a key signs for more than 30 days")
			}
			if (k.State == storage.SigningRetiring) != (k.Sealed == "") {
				t.Errorf("the private half of a key that is %s: %d bytes", k.State, len(k.Sealed))
			}
		}
		if diff := cmp.Diff(map[string]int{"next": 1, "active": 1, "retiring": 1}, states); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
	})
}

func TestJ10_CompromisedKeyInvalidatesItsTokens(t *testing.T) {
	o := signing()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		j := newJWTRig(r)
		if !other.Alive(j.api, j.access) {
			t.Fatal("the other node refuses a good token")
		}
		key, kid := stolen(t, r)
		if _, err := r.Keyring.Rotate(r.System(), true); err != nil {
			t.Fatal(err)
		}
		j.refused(t, "on this node at once", j.access)
		other.Advance(time.Second)
		forged := sign(t, jose.ES256, key, map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": kid}, part(t, j.access, 1))
		for name, token := range map[string]string{"issued": j.access, "forged": forged} {
			if !other.Dead(other.Introspect(j.api, token)) {
				t.Errorf("%s: the other node accepts a token under a dropped key after a second", name)
			}
		}
		for _, node := range nodes {
			if kids, _ := jwks(t, node); slices.Contains(kids, kid) || len(kids) != 2 {
				t.Errorf("published are %v", kids)
			}
		}
		access := other.Refresh(j.app, j.refresh).Text("access_token")
		j.taken(t, "of the key that took its place", access)
		// Many at once: one succeeds, and there is one key of each state.
		var won atomic.Int64
		rig.AtOnce(64, func(i int) {
			_, err := nodes[i%len(nodes)].Keyring.Rotate(r.System(), true)
			switch {
			case err == nil:
				won.Add(1)
			case err != bearer.ErrRotated: //nolint:errorlint // exactly this value
				t.Error(err)
			}
		})
		keys, err := r.Keyring.List(r.System())
		if err != nil || len(keys) != 2 || won.Load() < 1 {
			t.Errorf("%d keys after %d rotations, %v", len(keys), won.Load(), err)
		}
	})
}
