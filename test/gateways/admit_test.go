package gateways

import (
	"cmp"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/web/gateway"
)

// The gateway and the management API admit a credential alike: the same status and body, and the same reason for its
// owner.
func TestBothDoorsAdmitAlike(t *testing.T) {
	const viaGateway, viaAPI = "/v1/any", "/v1/api-keys"
	s := newSite(t, rules, func(r *catalog.Resource, a *gateway.API) { a.Builtin = append(a.Builtin, viaAPI) })
	acme := s.Workspace("acme", "", s.Alice)
	admin := []string{"admin"}
	key := func(change func(*apikey.Spec)) (storage.APIKey, string) {
		spec := apikey.Spec{Scopes: admin}
		if change != nil {
			change(&spec)
		}
		return s.Key(acme, spec)
	}
	personal := func() (storage.APIKey, string) { return s.PersonalToken(s.Alice, apikey.Spec{Scopes: admin}) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	type presented struct {
		id, text string   // of the credential; without an id nothing is noted
		header   []string // besides it, in pairs
	}
	of := func(k storage.APIKey, text string) func(header ...string) presented {
		return func(header ...string) presented { return presented{k.ID, text, header} }
	}
	revoked, paused := of(key(nil))(), of(key(nil))()
	must(s.Store.RevokeKey(s.System(), storage.KeyOwner{WorkspaceID: acme.ID}, revoked.id))
	must(s.Store.PauseKey(s.System(), storage.KeyOwner{WorkspaceID: acme.ID}, paused.id, "administrator"))
	ended := of(key(func(k *apikey.Spec) { k.ExpiresAt = s.Store.Now().Add(time.Minute) }))()
	s.Advance(2 * time.Minute)
	spent := of(key(func(k *apikey.Spec) { k.RateLimit = 1 }))()
	s.call("GET", "/v1/auth/test", spent.text, "")
	elsewhere := of(key(func(k *apikey.Spec) { k.Resource = otherID }))()
	bound := of(key(func(k *apikey.Spec) { k.Addresses = []string{"198.51.100.0/24"} }))()
	const allowed = -1
	cases := map[string]struct {
		presented
		status int
		reason string
	}{
		"nothing":                      {presented{}, 401, ""},
		"in a header that is not read": {presented{header: []string{"X-Api-Key", "sk_live_x"}}, 401, ""},
		"another scheme":               {presented{header: []string{"Authorization", "Basic YTpi"}}, 401, ""},
		"twice": {
			presented{text: "sk_live_x", header: []string{"Authorization", "Bearer x"}},
			400,
			"",
		},
		"nonsense":                      {presented{text: "sk_live_nonsense"}, 401, ""},
		"a refresh token":               {presented{text: bearer.NewCredential(bearer.PrefixRefreshToken)}, 401, ""},
		"a key of another API":          {elsewhere, 401, "the credential is for another API"},
		"a revoked key":                 {revoked, 401, bearer.ReasonRevoked},
		"a key that has expired":        {ended, 401, bearer.ReasonExpired},
		"a paused key":                  {paused, 403, bearer.ReasonSuspended},
		"a key over its limit":          {spent, 429, bearer.ReasonLimit},
		"a key from the wrong address":  {bound, 403, bearer.ReasonAddress},
		"a key that introspects":        {of(s.IntrospectionKey())(), 403, "introspect"},
		"a key":                         {of(key(nil))(), allowed, ""},
		"a key with its workspace":      {of(key(nil))("X-Workspace", "acme"), allowed, ""},
		"a key with another workspace":  {of(key(nil))("X-Workspace", "alice"), 403, bearer.ReasonWorkspace},
		"a key with an empty workspace": {of(key(nil))("X-Workspace", ""), 403, bearer.ReasonWorkspace},
		"a token without a workspace":   {of(personal())(), 400, bearer.ReasonWorkspace},
		"a token with two": {
			of(personal())("X-Workspace", "acme", "X-Workspace", "acme"),
			403,
			bearer.ReasonWorkspace,
		},
		"a token with nobody's":   {of(personal())("X-Workspace", "nobodys"), 403, bearer.ReasonWorkspace},
		"a token with its user's": {of(personal())("X-Workspace", "acme"), allowed, ""},
	}
	answers := map[string][2]*rig.Answer{}
	for name, c := range cases {
		for i, path := range []string{viaGateway, viaAPI} {
			a := answers[name]
			a[i] = s.call("GET", path, c.text, "", c.header...)
			answers[name] = a
		}
	}
	s.HTTP.Close() // what is passed on is noted at its end
	must(s.Store.FlushUsage(s.System()))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for i, door := range []string{viaGateway, viaAPI} {
				want := c.status
				if want == allowed {
					want = []int{http.StatusTeapot, http.StatusOK}[i]
				}
				if a := answers[name][i]; a.Status != want {
					t.Errorf("%s: %d %s, want %d", door, a.Status, a.Body, want)
				}
			}
			a, b := answers[name][0], answers[name][1]
			if c.status != allowed && (a.Body != b.Body || challenge(a) != challenge(b)) {
				t.Errorf("the gateway answers %s %q, the API %s %q", a.Body, challenge(a), b.Body, challenge(b))
			}
			if c.id == "" {
				return
			}
			noted, err := s.Store.RecentRequestsOf(s.System(), c.id)
			must(err)
			seen := map[string]bool{}
			for _, r := range noted {
				_, path, _ := strings.Cut(r.Action, " ")
				if path != viaGateway && path != viaAPI {
					continue
				}
				seen[path] = true
				if !strings.Contains(r.Reason, c.reason) || (r.Reason == "") != (c.status == allowed) {
					t.Errorf("%s: the reason is %q, want %q", path, r.Reason, cmp.Or(c.reason, "none"))
				}
			}
			if !seen[viaGateway] || !seen[viaAPI] {
				t.Errorf("noted for the key: %+v", noted)
			}
		})
	}
}

// challenge is that of an answer.
func challenge(a *rig.Answer) string { return a.Header.Get("WWW-Authenticate") }
