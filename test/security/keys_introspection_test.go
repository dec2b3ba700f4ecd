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
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

// catalogue is a resource with everything that keys can have: objects, a scope only for users, and plans.
func catalogue(r string) []catalog.Resource {
	return []catalog.Resource{{
		ID:              r,
		Name:            "Example API",
		Objects:         []string{"accounts", "reports"},
		UserPlan:        "people",
		ClientPlan:      "machines",
		WorkspaceHeader: "X-Workspace",
		Scopes: []catalog.Scope{
			{Name: "read", Text: "Read"},
			{Name: "write", Text: "Write"},
			{Name: "delete", Text: "Delete"},
			{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}},
			{Name: "capture", Text: "Capture as you", UserOnly: true},
		},
		Keys: catalog.KeyRules{
			Prefix: "sk", Environments: []string{"live", "test"}, DefaultPlan: "free", TestPlan: "sandbox",
		},
	}}
}

const exampleAPI = "https://api.example.com"

var plans = map[string]limit.Plan{
	"free":     {Hour: 10},
	"pro":      {Hour: 100, Day: 1000, Burst: 50},
	"sandbox":  {Hour: 3},
	"people":   {Hour: 20},
	"machines": {Hour: 5},
}

func limited() rig.Options { return rig.Options{Resources: catalogue(exampleAPI), Plans: plans} }

// mistyped returns a key with a different last character.
func mistyped(key string) string {
	last := "0"
	if strings.HasSuffix(key, last) {
		last = "1"
	}
	return key[:len(key)-1] + last
}

func scopesOf(a *rig.Answer) []string { return strings.Fields(a.Text("scope")) }

// An API key and a personal access token are introspected like an access token, with fields of their own.
func TestKeysAreIntrospected(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		api := r.ResourceServer()
		w := r.Workspace("acme", "pro", r.Alice)
		k, text := r.Key(w, apikey.Spec{Scopes: []string{"write", "accounts:read"}, Addresses: []string{"192.0.2.0/24"}})
		if !strings.HasPrefix(text, "sk_live_") {
			t.Errorf("a live key begins with %.8s", text)
		}
		a := other.Introspect(api, text)
		for name, want := range map[string]string{
			"credential":   "api_key",
			"key_id":       k.ID,
			"workspace":    "acme",
			"workspace_id": w.ID,
			"env":          "live",
			"plan":         "pro",
			"scope":        "write accounts:read",
			"token_type":   "Bearer", "aud": exampleAPI, "iss": r.Issuer, "jti": k.ID, "sub": "", "role": "", "client_id": "",
		} {
			if got := a.Text(name); got != want {
				t.Errorf("%s of a key is %q, want %q", name, got, want)
			}
		}
		if a.JSON()["exp"] != nil {
			t.Errorf("a key that does not end has exp %v", a.JSON()["exp"])
		}
		if list, _ := a.JSON()["allowed_addresses"].([]any); len(list) != 1 || list[0] != "192.0.2.0/24" {
			t.Errorf("the resource server is not told where the key may come from: %s", a.Body)
		}
		if a.JSON()["rate_limit"] != nil {
			t.Errorf("the answer speaks of limits, though no cost was sent: %s", a.Body)
		}
		_, test := r.Key(w, apikey.Spec{Environment: "test"})
		if a := other.Introspect(api, test); !strings.HasPrefix(test, "sk_test_") || a.Text("env") != "test" ||
			a.Text("plan") != "sandbox" {
			t.Errorf("a test key %.8s: %s", test, a.Body)
		}
		pat, text := r.PersonalToken(r.Alice, apikey.Spec{
			Scopes: []string{"admin", "capture"}, ExpiresAt: r.Store.Now().Add(time.Hour),
		})
		a = other.Ask(api, text, "workspace", "acme")
		for name, want := range map[string]string{
			"credential":   "personal_access_token",
			"key_id":       pat.ID,
			"workspace":    "acme",
			"workspace_id": w.ID,
			"env":          "",
			"plan":         "pro",
			"scope":        "admin read write delete capture", "sub": r.Alice.ID, "role": "owner",
		} {
			if got := a.Text(name); got != want {
				t.Errorf("%s of a personal access token is %q, want %q", name, got, want)
			}
		}
		if a.JSON()["exp"] == nil {
			t.Error("a token that ends has no exp")
		}
		if a := other.Introspect(api, text); a.Text("workspace") != "" || a.Text("sub") != r.Alice.ID ||
			a.JSON()["active"] != true {
			t.Errorf("without a workspace: %s", a.Body)
		}
	})
}

// Keys can be introspected by resource servers of their resource, with a client's credentials or with a key that may
// introspect.
func TestI03_KeysAreSeenByTheirResourceServersOnly(t *testing.T) {
	r := rig.Memory(t, limited())
	app := r.App(management.ClientSpec{})
	w := r.Workspace("acme", "", r.Alice)
	k, text := r.Key(w, apikey.Spec{})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{})
	for _, token := range []string{text, pat} {
		if a := r.Introspect(app, token); !r.Dead(a) {
			t.Errorf("an app sees a key: %s", a.Body)
		}
	}
	introspector, introspection := r.IntrospectionKey()
	ask := func(bearer, token string, more ...string) *rig.Answer {
		return r.Post("/oauth/introspect", url.Values{"token": {token}},
			append([]string{"Authorization", "Bearer " + bearer}, more...)...)
	}
	if a := ask(introspection, text); a.Text("key_id") != k.ID {
		t.Errorf("a key with the scope introspect is told %d %s", a.Status, a.Body)
	}
	access, _ := r.Tokens(app, "read")
	for name, wrong := range map[string]string{
		"another key":             text,
		"a personal access token": pat,
		"an access token":         access,
		"an unknown key":          bearer.NewCredential("sk_live_"),
		"nothing":                 "",
	} {
		a := ask(wrong, text)
		if a.Status != http.StatusUnauthorized || a.Text("error") != "invalid_client" ||
			a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("with %s introspection answers %d %s", name, a.Status, a.Body)
		}
	}
	// It may do nothing else.
	for _, path := range []string{"/oauth/token", "/oauth/revoke"} {
		a := r.Post(path, url.Values{"token": {text}, "grant_type": {"client_credentials"}},
			"Authorization", "Bearer "+introspection)
		if a.Status != http.StatusUnauthorized {
			t.Errorf("%s takes it: %d %s", path, a.Status, a.Body)
		}
	}
	_, err := r.Management.RevokeKey(r.System(), management.CLI(""), introspector.Owner(), introspector.ID)
	if err != nil {
		t.Fatal(err)
	}
	if a := ask(introspection, text); a.Status != http.StatusUnauthorized {
		t.Errorf("revoked, it still introspects: %d %s", a.Status, a.Body)
	}
}

// Only an administrator can create a key that introspects; no member of a workspace can.
func TestK10_IntrospectIsNotAWorkspacesToGive(t *testing.T) {
	r := rig.Memory(t, limited())
	w := r.Workspace("acme", "", r.Alice)
	by, _, _, err := r.Management.PersonAuthority(t.Context(), r.Alice.ID, "acme")
	if err != nil {
		t.Fatal(err)
	}
	by.Fresh = true
	for name, p := range map[string]apikey.Spec{
		"alone":          {Name: "x", Scopes: []string{"introspect"}},
		"beside another": {Name: "x", Scopes: []string{"read", "introspect"}},
	} {
		if _, _, err := r.Management.CreateKey(storage.Tenant(t.Context(), r.Alice.ID, w.ID), by, w.Plan, p); err == nil {
			t.Errorf("%s: an owner made a key that introspects", name)
		}
	}
}

func TestK05_K06_RevokedExpiredPausedAndUnknownKeysAreInactiveAtOnce(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		api := r.ResourceServer()
		w := r.Workspace("acme", "", r.Alice)
		command := management.CLI(w.ID)
		owner := storage.KeyOwner{WorkspaceID: w.ID}
		for name, end := range map[string]func(k storage.APIKey, text string){
			"revoked": func(k storage.APIKey, _ string) {
				_, err := r.Management.RevokeKey(r.System(), command, owner, k.ID)
				ok(t, err)
			},
			"paused": func(k storage.APIKey, _ string) {
				_, err := r.Management.PauseKey(r.System(), command, owner, k.ID)
				ok(t, err)
			},
			"rotated without grace": func(k storage.APIKey, _ string) {
				_, _, err := r.Management.RotateKey(r.System(), command, owner, k.ID, 0)
				ok(t, err)
			},
			"revoked by its holder": func(_ storage.APIKey, text string) {
				if a := r.Post("/oauth/revoke", url.Values{"token": {text}}); a.Status != http.StatusOK {
					t.Fatalf("revocation answered %d %s", a.Status, a.Body)
				}
			},
			"revoked by a client": func(_ storage.APIKey, text string) {
				a := r.PostAs(r.App(management.ClientSpec{}), "/oauth/revoke", url.Values{"token": {text}})
				if a.Status != http.StatusOK {
					t.Fatalf("revocation answered %d %s", a.Status, a.Body)
				}
			},
		} {
			k, text := r.Key(w, apikey.Spec{})
			if a := other.Introspect(api, text); a.JSON()["active"] != true {
				t.Fatalf("%s: a new key is %s", name, a.Body)
			}
			end(k, text)
			for i, node := range []*rig.Rig{r, other} {
				if a := node.Introspect(api, text); !node.Dead(a) {
					t.Errorf("%s: node %d says %s", name, i, a.Body)
				}
			}
		}
		k, text := r.Key(w, apikey.Spec{})
		_, err := r.Management.PauseKey(r.System(), command, owner, k.ID)
		ok(t, err)
		_, err = r.Management.ResumeKey(r.System(), command, owner, k.ID)
		ok(t, err)
		if a := other.Introspect(api, text); a.JSON()["active"] != true {
			t.Errorf("resumed, a key is %s", a.Body)
		}
		_, short := r.Key(w, apikey.Spec{ExpiresAt: r.Store.Now().Add(time.Hour)})
		for _, node := range nodes {
			node.Advance(59 * time.Minute)
		}
		if a := other.Introspect(api, short); a.JSON()["active"] != true {
			t.Errorf("a minute before its end a key is %s", a.Body)
		}
		for _, node := range nodes {
			node.Advance(2 * time.Minute)
		}
		if a := other.Introspect(api, short); !r.Dead(a) {
			t.Errorf("a minute after its end a key is %s", a.Body)
		}
	})
}

// A client with wrong credentials cannot revoke a key, and the failed authentication is reported.
func TestRevokingAKeyWithWrongCredentialsIsRefused(t *testing.T) {
	r := rig.Memory(t, limited())
	api := r.ResourceServer()
	_, text := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{})
	a := r.Post("/oauth/revoke", url.Values{"token": {text}}, "Authorization",
		rig.Basic(api.ID, bearer.NewCredential(bearer.PrefixClientSecret)))
	if a.Status != http.StatusUnauthorized || r.Introspect(api, text).JSON()["active"] != true {
		t.Errorf("it answered %d %s", a.Status, a.Body)
	}
}

func TestK08_RotationKeepsBothUntilTheGraceIsOver(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		api := r.ResourceServer()
		w := r.Workspace("acme", "", r.Alice)
		command, owner := management.CLI(w.ID), storage.KeyOwner{WorkspaceID: w.ID}
		end := r.Store.Now().Add(48 * time.Hour)
		first, one := r.Key(w, apikey.Spec{Scopes: []string{"read", "reports:write"}, RateLimit: 7, ExpiresAt: end})
		second, two, err := r.Management.RotateKey(r.System(), command, owner, first.ID, 24*time.Hour)
		ok(t, err)
		if !slices.Equal(second.Scopes, first.Scopes) || second.RateLimit != 7 || second.ExpiresAt != end ||
			second.Counter != first.Counter {
			t.Errorf("rotation changed the key: %+v", second)
		}
		active := func(text string) bool { return other.Introspect(api, text).JSON()["active"] == true }
		if !active(one) || !active(two) {
			t.Error("in the grace, both should work")
		}
		if _, _, err := r.Management.RotateKey(r.System(), command, owner, first.ID, 0); err == nil {
			t.Error("a key was rotated twice")
		}
		_, three, err := r.Management.RotateKey(r.System(), command, owner, second.ID, 24*time.Hour)
		ok(t, err)
		if active(one) || !active(two) || !active(three) {
			t.Error("rotating the second should end the first at once, and neither of the others")
		}
		for _, node := range nodes {
			node.Advance(25 * time.Hour)
		}
		if active(two) || !active(three) {
			t.Error("after the grace only the last should work")
		}
		for _, node := range nodes {
			node.Advance(24 * time.Hour)
		}
		if active(three) {
			t.Error("the key outlives the end that the first one had")
		}
	})
}

func TestK09_SuspendedWorkspacesAndUsersAndLeftMembers(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		api := r.ResourceServer()
		bob := r.User("bob@example.com", "Bob", false)
		w := r.Workspace("acme", "", r.Alice)
		r.Join(w, bob, "admin")
		_, key := r.Key(w, apikey.Spec{})
		_, pat := r.PersonalToken(bob, apikey.Spec{Scopes: []string{"read", "write"}})
		dead := func(text string) bool { return other.Dead(other.Ask(api, text, "workspace", "acme")) }
		if dead(key) || dead(pat) {
			t.Fatal("new credentials do not work")
		}
		command := management.CLI(w.ID)
		ok(t, r.Management.DisableWorkspace(r.System(), command, w))
		if !dead(key) || !dead(pat) {
			t.Error("they work in a disabled workspace")
		}
		if a := other.Introspect(api, pat); a.JSON()["active"] != true {
			t.Errorf("a disabled workspace ends a personal access token elsewhere: %s", a.Body)
		}
		ok(t, r.Management.EnableWorkspace(r.System(), command, w))
		ok(t, r.Identity.DisableUser(r.System(), bob.ID))
		if !dead(pat) || dead(key) {
			t.Error("a disabled user's token works, or takes the workspace's key along")
		}
		ok(t, r.Identity.EnableUser(r.System(), bob.ID))
		// K-23: the current membership counts.
		for _, role := range []string{"owner", "viewer", "member"} {
			ok(t, r.Management.ChangeRole(r.System(), command, w, bob.ID, role))
			want := []string{"read", "write"}
			if role == "viewer" {
				want = []string{"read"}
			}
			if a := other.Ask(api, pat, "workspace", "acme"); a.Text("role") != role || !slices.Equal(scopesOf(a), want) {
				t.Errorf("as %s the token is %s", role, a.Body)
			}
		}
		ok(t, r.Management.RemoveMember(r.System(), command, w, bob.ID))
		if !dead(pat) {
			t.Error("who left the workspace still acts in it")
		}
		if a := other.Introspect(api, pat); a.JSON()["active"] != true {
			t.Errorf("leaving one workspace ends the token elsewhere: %s", a.Body)
		}
		if dead(key) {
			t.Error("a key should outlive its maker's membership")
		}
		ok(t, r.Management.DeleteWorkspace(r.System(), command, w))
		if !dead(key) {
			t.Error("a key outlives its workspace")
		}
	})
}

// A key acts only in its own workspace, and a token in those of its user; a workspace outside these looks like one that
// does not exist.
func TestK16_K18_WorkspacesThatAreNotTheCredentials(t *testing.T) {
	r := rig.Memory(t, limited())
	api := r.ResourceServer()
	bob := r.User("bob@example.com", "Bob", false)
	w := r.Workspace("acme", "", r.Alice)
	r.Workspace("other", "", bob)
	_, key := r.Key(w, apikey.Spec{})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{})
	access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
	machine := r.PostAs(r.App(management.ClientSpec{Grants: []string{"client_credentials"}, Scopes: []string{"read"}}),
		"/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
	for _, slug := range []string{
		"other", "none", "*", "ACME", "acme ", "%61cme", "acme%", "a_me", strings.Repeat("a", 5000), "é",
	} {
		for name, text := range map[string]string{"key": key, "token": pat, "access token": access, "client": machine} {
			if a := r.Ask(api, text, "workspace", slug); !r.Dead(a) {
				t.Errorf("a %s in the workspace %.20q is %s", name, slug, a.Body)
			}
		}
	}
	for name, text := range map[string]string{"key": key, "token": pat} {
		if a := r.Ask(api, text, "workspace", "acme"); a.JSON()["active"] != true {
			t.Errorf("a %s in its workspace is %s", name, a.Body)
		}
	}
	// Only a resource server may send these parameters.
	for _, parameter := range []string{"workspace", "cost"} {
		a := r.Ask(r.App(management.ClientSpec{}), access, parameter, "1")
		if a.Status != http.StatusBadRequest || a.Text("error") != "invalid_request" {
			t.Errorf("an app may send %s: %d %s", parameter, a.Status, a.Body)
		}
	}
}
