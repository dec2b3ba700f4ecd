package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// issuer is a foreign issuer that publishes its keys.
type issuer struct {
	URL     string
	kid     string
	key     *ecdsa.PrivateKey
	answer  atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{kid: "key 1", key: key}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		i.fetches.Add(1)
		(*i.answer.Load())(w, q)
	}))
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.publish(t, jose.JSONWebKey{Key: key.Public(), KeyID: i.kid, Use: "sig"})
	return i
}

func (i *issuer) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

func (i *issuer) answers(h http.HandlerFunc) { i.answer.Store(&h) }

func (i *issuer) trusted() catalog.TrustedIssuer {
	return catalog.TrustedIssuer{
		Issuer:     i.URL,
		Audiences:  []string{"authenticated"},
		JWKSURL:    i.URL + "/keys",
		Algorithms: []string{"ES256"},
		Scopes:     []string{"read", "capture"},
		Plan:       "pro",
	}
}

func (i *issuer) claims(r *rig.Rig) map[string]any {
	return map[string]any{
		"iss":   i.URL,
		"aud":   "authenticated",
		"sub":   "their user",
		"exp":   r.Store.Now().Unix() + 600,
		"role":  "owner",
		"scope": "admin",
	}
}

func (i *issuer) wantFetches(t *testing.T, want int64) {
	t.Helper()
	if got := i.fetches.Load(); got != want {
		t.Errorf("the keys were fetched %d times, want %d", got, want)
	}
}

// A JWT of an issuer that a resource trusts is a credential there, with exactly the rights in the configuration.
func TestForeignJWTIsACredential(t *testing.T) {
	outside := newIssuer(t)
	secret := []byte("the secret of a project, of 32 bytes or more")
	o := limited()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{
		outside.trusted(), {
			Issuer:      "https://x.supabase.co/auth/v1",
			Audiences:   []string{"authenticated"},
			HS256Secret: secret,
			Scopes:      []string{"admin"},
		},
	}
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		j := &jwtRig{Rig: r, app: r.App(management.ClientSpec{}), api: r.ResourceServer()}
		remote := sign(t, jose.ES256, outside.key, map[string]any{"alg": "ES256", "kid": outside.kid, "typ": "JWT"},
			outside.claims(r))
		a := r.Introspect(j.api, remote)
		for name, want := range map[string]string{
			"credential":      "foreign_jwt",
			"foreign_issuer":  outside.URL,
			"foreign_subject": "their user",
			"scope":           "read capture",
			"plan":            "pro",
			"aud":             exampleAPI,
			"iss":             r.Issuer,
			"role":            "", "workspace": "", "workspace_id": "", "client_id": "",
		} {
			if got := a.Text(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		sub := a.Text("sub")
		if !strings.HasPrefix(sub, "foreign:") || len(sub) != len("foreign:")+52 || strings.ToLower(sub) != sub {
			t.Errorf("sub is %q", sub)
		}
		claims := map[string]any{
			"iss": "https://x.supabase.co/auth/v1",
			"aud": []string{"other", "authenticated"},
			"sub": "their user",
			"exp": r.Store.Now().Unix() + 600,
		}
		local := sign(t, jose.HS256, secret, map[string]any{"alg": "HS256", "typ": "JWT"}, claims)
		b := r.Introspect(j.api, local)
		if b.Text("plan") != "people" || b.Text("scope") != "admin read write delete" || b.Text("sub") == sub ||
			b.Text("foreign_subject") != "their user" {
			t.Errorf("with a secret: %s", b.Body)
		}
		j.taken(t, "by its keys", remote)
		j.taken(t, "by a secret", local)
		// It is valid nowhere else: not for the management API, introspection, refresh or revocation, and it belongs to no
		// account.
		for _, path := range []string{"/v1/api-keys", "/v1/workspaces", "/v1/audit-events", "/v1/personal-access-tokens"} {
			if a := r.Call(http.MethodGet, path, local); a.Status != http.StatusForbidden {
				t.Errorf("%s answered %d %s", path, a.Status, a.Body)
			}
		}
		if a := r.Post("/oauth/introspect", url.Values{"token": {local}}, "Authorization",
			"Bearer "+local); a.Status != http.StatusUnauthorized {
			t.Errorf("a foreign JWT introspects: %d", a.Status)
		}
		if a := r.Refresh(j.app, local); a.Text("error") != "invalid_grant" {
			t.Errorf("a foreign JWT as a refresh token: %s", a.Body)
		}
		if a := r.Ask(j.api, local, "workspace", "alice"); !r.Dead(a) {
			t.Errorf("in a workspace: %s", a.Body)
		}
		if a := r.PostAs(j.app, "/oauth/revoke", url.Values{"token": {local}}); a.Status != http.StatusOK ||
			!r.Alive(j.api, local) {
			t.Errorf("revoking it answered %d", a.Status)
		}
		for _, algorithm := range []jose.SignatureAlgorithm{jose.HS384, jose.HS512} {
			j.refused(t, string(algorithm),
				sign(t, algorithm, append(slices.Clone(secret), make([]byte, 64)...)[:64], map[string]any{"alg": string(algorithm)},
					claims))
		}
		// Each subject has its own limit, and expired tokens are distinguished from unknown ones.
		if a := r.Ask(j.api, local, "cost", "20"); a.JSON()["rate_limit"].(map[string]any)["remaining"] != float64(0) &&
			a.JSON()["rate_limit"].(map[string]any)["allowed"] != false {
			t.Errorf("the limit of people: %s", a.Body)
		}
		if a := r.Ask(j.api, remote, "cost", "1"); a.JSON()["rate_limit"].(map[string]any)["allowed"] != true {
			t.Errorf("another's count: %s", a.Body)
		}
		r.Advance(11 * time.Minute)
		p, err := r.Bearer.Principal(t.Context(), local, bearer.Audience{})
		//nolint:errorlint // exactly this value
		if err != bearer.ErrExpired || p.Kind != "foreign_jwt" || p.ExpiresAt.IsZero() || p.Audience != exampleAPI {
			t.Errorf("after its end: %+v, %v", p, err)
		}
	})
}

// Foreign keys are fetched rarely, and if they cannot be fetched, the token is neither valid nor invalid.
func TestForeignKeysAreFetchedSeldom(t *testing.T) {
	outside := newIssuer(t)
	o := limited()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := &jwtRig{Rig: rig.Memory(t, o)}
	j.api = j.ResourceServer()
	token := func(kid string, key *ecdsa.PrivateKey) string {
		header := map[string]any{"alg": "ES256"}
		if kid != "" {
			header["kid"] = kid
		}
		claims := outside.claims(j.Rig)
		claims["exp"] = j.Store.Now().Unix() + 1e6
		return sign(t, jose.ES256, key, header, claims)
	}
	good := token(outside.kid, outside.key)
	unavailable := func(name, token string) {
		t.Helper()
		for _, a := range []*rig.Answer{j.Introspect(j.api, token), j.Call(http.MethodGet, "/v1/auth/test", token)} {
			if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a redirect": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, outside.URL+"/elsewhere", http.StatusFound)
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[]` + strings.Repeat(" ", 65<<10) + "}"))
		},
		"no JSON":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no key set":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
		"cut":          func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000") },
		"a broken set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":{}}`)) },
	} {
		before := outside.fetches.Load()
		outside.answers(answer)
		unavailable(name, good)
		unavailable(name+", again", good)
		outside.wantFetches(t, before+1)
		j.Advance(10 * time.Second)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Entries that are not public signing keys are skipped.
	outside.publish(t, jose.JSONWebKey{Key: outside.key.Public(), KeyID: outside.kid},
		jose.JSONWebKey{Key: stranger.Public(), KeyID: "encryption", Use: "enc"},
		jose.JSONWebKey{Key: stranger, KeyID: "private"}, jose.JSONWebKey{
			Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "secret",
		})
	j.taken(t, "once the keys are there", good)
	before := outside.fetches.Load()
	for range 20 {
		j.taken(t, "again", good)
		j.refused(t, "an unknown key", token("unknown", stranger))
		j.refused(t, "another's", token(outside.kid, stranger))
		j.refused(t, "a key for encryption", token("encryption", stranger))
		j.refused(t, "a private key", token("private", stranger))
	}
	j.taken(t, "without a kid", token("", outside.key))
	outside.wantFetches(t, before)
	j.Advance(time.Minute)
	j.refused(t, "an unknown key, a minute later", token("unknown", stranger))
	j.refused(t, "and again", token("unknown", stranger))
	outside.wantFetches(t, before+1)
	// The issuer changes its key: the new one is found, and the old one stops working within ten minutes.
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	outside.publish(t, jose.JSONWebKey{Key: next.Public(), KeyID: "key 2"})
	j.Advance(10 * time.Minute)
	j.refused(t, "a key that was withdrawn", good)
	j.taken(t, "the key that took its place", token("key 2", next))
	outside.wantFetches(t, before+2)
	// The issuer is unavailable: cached keys still work, and an unknown key gives no decision.
	outside.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	j.Advance(11 * time.Minute)
	j.taken(t, "while the issuer is away", token("key 2", next))
	j.Advance(time.Minute)
	unavailable("a key that is unknown while the issuer is away", token("key 3", stranger))
	j.Advance(24 * time.Hour)
	unavailable("keys of yesterday", token("key 2", next))
}
