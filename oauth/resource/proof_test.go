package resource_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/dpop"
	"doorward/oauth/resource"
	"doorward/test/rig"
)

// bound is an API and an access token for it that is bound to a key.
type bound struct {
	*api
	key   *rig.Key
	token string
	now   func() time.Time
}

// offline is an API that verifies the token itself.
func offline(t *testing.T, change func(*resource.Config)) *bound {
	t.Helper()
	k, key := newKey(t, "one"), rig.NewKey(t, "")
	s := newIssuer(t, k)
	c := s.config()
	if change != nil {
		change(&c)
	}
	token := s.token(k, map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint()}, "exp": s.now.Load() + 7200})
	return &bound{newAPI(t, c), key, token, c.Now}
}

// online is an API that introspects the token.
func online(t *testing.T, r *rig.Rig, change func(*resource.Config)) *bound {
	t.Helper()
	c := config(r)
	if change != nil {
		change(&c)
	}
	key := rig.NewKey(t, "")
	return &bound{newAPI(t, c), key, boundToken(t, r, key), c.Now}
}

// boundToken is an app's own token, with the scope read, that is bound to a key.
func boundToken(t *testing.T, r *rig.Rig, key *rig.Key) string {
	t.Helper()
	app := r.App(management.ClientSpec{Grants: []string{"client_credentials"}, Scopes: []string{"read"}})
	answer := r.PostAs(app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "resource": {exampleAPI}},
		"DPoP", r.Proof(key, http.MethodPost, "/oauth/token", ""))
	if answer.Status != http.StatusOK || answer.Text("token_type") != "DPoP" {
		t.Fatalf("client_credentials: %d %s", answer.Status, answer.Body)
	}
	return answer.Text("access_token")
}

// claims are those of a right proof for a request, with others in place of them.
func (b *bound) claims(others ...rig.Members) rig.Members {
	sum := sha256.Sum256([]byte(b.token))
	return rig.Members{
		"jti": rand.Text(), "htm": "GET", "htu": "https://api.example.com/notes", "iat": b.now().Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}.With(others...)
}

// proof is a right proof for a request, with claims in place of its own.
func (b *bound) proof(others ...rig.Members) string {
	return b.key.Sign(rig.ProofHeader(b.key), b.claims(others...))
}

// request is one with the token and proofs.
func (b *bound) request(proofs ...string) *http.Request {
	r := request("", "Authorization", "DPoP "+b.token)
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	return r
}

// refused checks an answer to a request with the scheme DPoP. A refused proof has exactly one challenge, for DPoP, as
// clients of RFC 9449 expect.
func (b *bound) refused(w *httptest.ResponseRecorder, code string) {
	b.t.Helper()
	all := w.Header().Values("WWW-Authenticate")
	want := 1
	if code == "invalid_token" {
		want = 2
	}
	if w.Code != http.StatusUnauthorized || len(all) != want || !strings.HasPrefix(all[0], "DPoP ") ||
		!strings.Contains(all[0], `error="`+code+`"`) || !strings.Contains(all[0], `algs="ES256 PS256 EdDSA Ed25519"`) {
		b.t.Errorf("got %d %q %s, want %s\n%s", w.Code, all, w.Body, code, b.log.String())
	}
}

// modes runs a test with a token that is verified here, and with one that is introspected, with a cache and without.
func modes(t *testing.T, change func(*resource.Config), test func(t *testing.T, b *bound)) {
	t.Run("offline", func(t *testing.T) { test(t, offline(t, change)) })
	r := rig.Memory(t, catalogue())
	r.StopClock()
	t.Run("online", func(t *testing.T) { test(t, online(t, r, change)) })
	t.Run("cached", func(t *testing.T) {
		test(t, online(t, r, func(c *resource.Config) {
			if c.CacheFor = time.Minute; change != nil {
				change(c)
			}
		}))
	})
}

func TestP01ToP06_BoundTokenNeedsARightProofForEachRequest(t *testing.T) {
	symmetric := map[string]any{"kty": "oct", "k": "c2VjcmV0"}
	modes(t, nil, func(t *testing.T, b *bound) {
		w, c := b.ask(b.request(b.proof()), "read")
		b.want(w, http.StatusNoContent, "")
		if c.DPoPKey != b.key.Thumbprint() {
			t.Errorf("the handler learns of the key %q", c.DPoPKey)
		}
		good, iat := rig.ProofHeader(b.key), b.now().Unix()
		header := func(change rig.Members) string { return b.key.Sign(good.With(change), b.claims()) }
		other := rig.NewKey(t, "")
		cut := b.proof()
		for name, proofs := range map[string][]string{
			"P-01 none":              {},
			"P-01 two":               {b.proof(), b.proof()},
			"P-01 an empty one":      {""},
			"P-01 not a JWT":         {"proof"},
			"P-01 typ JWT":           {header(rig.Members{"typ": "JWT"})},
			"P-01 no typ":            {header(rig.Members{"typ": nil})},
			"P-01 no alg":            {header(rig.Members{"alg": nil})},
			"P-01 alg none":          {header(rig.Members{"alg": "none"})},
			"P-01 alg HS256":         {header(rig.Members{"alg": "HS256"})},
			"P-01 alg RS256":         {header(rig.Members{"alg": "RS256"})},
			"P-01 a symmetric key":   {header(rig.Members{"alg": "HS256", "jwk": symmetric})},
			"P-01 no jwk":            {header(rig.Members{"jwk": nil})},
			"P-01 no jti":            {b.proof(rig.Members{"jti": nil})},
			"P-01 no htm":            {b.proof(rig.Members{"htm": nil})},
			"P-01 no htu":            {b.proof(rig.Members{"htu": nil})},
			"P-01 no iat":            {b.proof(rig.Members{"iat": nil})},
			"P-02 a private key":     {header(rig.Members{"jwk": jose.JSONWebKey{Key: b.key.Private}})},
			"P-02 another signature": {cut[:strings.LastIndexByte(cut, '.')+1] + strings.Repeat("A", 86)},
			"P-02 another signer":    {other.Sign(good, b.claims())},
			"P-03 another method":    {b.proof(rig.Members{"htm": "POST"})},
			"P-03 get":               {b.proof(rig.Members{"htm": "get"})},
			"P-03 another host":      {b.proof(rig.Members{"htu": "https://other.example.com/notes"})},
			"P-03 the Host header":   {b.proof(rig.Members{"htu": "https://example.com/notes"})},
			"P-03 another path":      {b.proof(rig.Members{"htu": "https://api.example.com/notes/1"})},
			"P-03 another scheme":    {b.proof(rig.Members{"htu": "http://api.example.com/notes"})},
			"P-04 from before":       {b.proof(rig.Members{"iat": iat - 61})},
			"P-04 from the future":   {b.proof(rig.Members{"iat": iat + 61})},
			"P-06 no ath":            {b.proof(rig.Members{"ath": nil})},
			"P-06 of another token":  {b.proof(rig.Members{"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"})},
		} {
			w, _ := b.ask(b.request(proofs...), "read")
			if b.refused(w, "invalid_dpop_proof"); t.Failed() {
				t.Fatal(name)
			}
		}
		for name, proof := range map[string]string{
			"query and fragment": b.proof(rig.Members{"htu": "https://api.example.com/notes?x=y#z"}),
			"a default port":     b.proof(rig.Members{"htu": "HTTPS://API.example.com:443/notes"}),
			"10 s ago":           b.proof(rig.Members{"iat": iat - 10}),
			"in 10 s":            b.proof(rig.Members{"iat": iat + 10}),
		} {
			q := b.request(proof)
			q.Host = "elsewhere.example" // the sender's choice
			q.URL.RawQuery = "page=2"
			w, _ := b.ask(q, "read")
			if b.want(w, http.StatusNoContent, ""); t.Failed() {
				t.Fatal(name)
			}
		}

		w, _ = b.ask(b.request(other.Sign(rig.ProofHeader(other), b.claims())), "read")
		b.refused(w, "invalid_token") // P-06
		w, _ = b.ask(request(b.token, "DPoP", b.proof()), "read")
		b.want(w, http.StatusUnauthorized, "invalid_token") // P-06: as Bearer
		if all := w.Header().Values("WWW-Authenticate"); len(all) != 2 || !strings.HasPrefix(all[0], "Bearer ") {
			t.Errorf("sent as Bearer, it is refused with %q", all)
		}

		used := b.proof()
		w, _ = b.ask(b.request(used), "read")
		b.want(w, http.StatusNoContent, "")
		w, _ = b.ask(b.request(used), "read") // P-05
		b.refused(w, "invalid_dpop_proof")
		q := b.request(b.proof())
		q.Header.Set("Authorization", "dPOP  "+b.token)
		w, _ = b.ask(q, "write")
		b.want(w, http.StatusForbidden, "insufficient_scope")
		if all := w.Header().Values("WWW-Authenticate"); len(all) != 1 || !strings.HasPrefix(all[0], "DPoP ") {
			t.Errorf("without a scope, it is refused with %q", all)
		}
	})
}

func TestP05_ProofCountsOnceOf64AtOnce(t *testing.T) {
	b := offline(t, nil)
	proof := b.proof()
	var passed atomic.Int64
	h := b.v.Require("read")(noContent())
	rig.AtOnce(64, func(int) {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, b.request(proof)); w.Code == http.StatusNoContent {
			passed.Add(1)
		}
	})
	if passed.Load() != 1 {
		t.Errorf("of 64 requests with one proof, %d passed", passed.Load())
	}
}

// A proof is remembered for as long as it would be accepted, even if others have long expired.
func TestP05_ProofIsRememberedWhileItIsValid(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().Unix())
	b := offline(t, func(c *resource.Config) { c.Now = func() time.Time { return time.Unix(now.Load(), 0) } })
	for range 20 {
		proof := b.proof(rig.Members{"iat": now.Load() + 60})
		w, _ := b.ask(b.request(proof), "read")
		b.want(w, http.StatusNoContent, "")
		now.Add(40)
		w, _ = b.ask(b.request(b.proof()), "read")
		b.want(w, http.StatusNoContent, "")
		now.Add(80) // the last second in which the first one is valid
		w, _ = b.ask(b.request(proof), "read")
		b.refused(w, "invalid_dpop_proof")
		now.Add(7)
	}
}

func TestUnboundCredentialsAreBearers(t *testing.T) {
	r := rig.Memory(t, catalogue())
	access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
	_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{Scopes: []string{"read"}})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"read"}})
	free, required := online(t, r, nil), online(t, r, func(c *resource.Config) { c.RequireDPoP = true })
	for name, token := range map[string]string{"an access token": access, "a key": key, "a personal token": pat} {
		b := *free
		b.token = token
		w, c := b.ask(request(token), "read")
		if b.want(w, http.StatusNoContent, ""); c.DPoPKey != "" {
			t.Errorf("%s is bound to %s", name, c.DPoPKey)
		}
		w, _ = b.ask(b.request(b.proof()), "read")
		b.refused(w, "invalid_token")

		status, code := http.StatusNoContent, ""
		if token == access {
			status, code = http.StatusUnauthorized, "invalid_token"
		}
		w, _ = required.ask(request(token), "read")
		required.want(w, status, code)
	}
	w, _ := required.ask(required.request(required.proof()), "read")
	required.want(w, http.StatusNoContent, "")

	k := newKey(t, "one")
	s := newIssuer(t, k)
	c := s.config()
	a := newAPI(t, c)
	own := rig.NewKey(t, "")
	for name, cnf := range map[string]any{
		"a certificate": map[string]any{"x5t#S256": "x"}, "nothing": map[string]any{}, "an empty key": map[string]any{"jkt": ""},
		"a number": map[string]any{"jkt": 1}, "both": map[string]any{"jkt": own.Thumbprint(), "x5t#S256": "x"}, "a text": "x",
	} {
		b := &bound{a, own, s.token(k, map[string]any{"cnf": cnf}), c.Now}
		for _, q := range []*http.Request{request(b.token), b.request(b.proof())} {
			if w, _ := a.ask(q, "read"); w.Code != http.StatusUnauthorized {
				t.Errorf("bound to %s, the answer is %d", name, w.Code)
			}
		}
	}
	c.RequireDPoP = true
	a = newAPI(t, c)
	w, _ = a.ask(request(s.token(k, nil)), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
}

// A wrong proof charges nothing to the plan of the token's owner, and tells nothing of workspaces.
func TestProofIsCheckedBeforeTheLimitAndTheWorkspace(t *testing.T) {
	r := rig.Memory(t, catalogue())
	b := online(t, r, func(c *resource.Config) {
		c.Cost, c.WorkspaceHeader = func(*http.Request) int { return 1 }, "X-Workspace"
	})
	app := r.App(management.ClientSpec{})
	browser := r.Browser().SignIn(r.Alice.Email)
	code := browser.Code(app, "read")
	answer := r.PostAs(app, "/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Redirect}, "code_verifier": {rig.Verifier},
	}, "DPoP", r.Proof(b.key, http.MethodPost, "/oauth/token", ""))
	if b.token = answer.Text("access_token"); b.token == "" {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	used := b.proof()
	for i, want := range []string{"49", "48"} {
		if i == 1 {
			used = b.proof()
		}
		w, _ := b.ask(b.request(used), "read")
		if b.want(w, http.StatusNoContent, ""); w.Header().Get("X-RateLimit-Remaining") != want {
			t.Errorf("request %d leaves %v, want %s", i, w.Header(), want)
		}
		w, _ = b.ask(b.request(used), "read")
		b.refused(w, "invalid_dpop_proof")
	}
	q := b.request()
	q.Header.Set("X-Workspace", "nowhere")
	w, _ := b.ask(q, "read")
	b.refused(w, "invalid_dpop_proof")
	q.Header.Set("DPoP", b.proof())
	w, _ = b.ask(q, "read")
	b.want(w, http.StatusForbidden, "insufficient_scope")
}

func TestP09_NoncesOfTheAPI(t *testing.T) {
	one, two := []byte(strings.Repeat("1", 32)), []byte(strings.Repeat("2", 32))
	modes(t, func(c *resource.Config) { c.DPoPNonces = [][]byte{one, two} }, func(t *testing.T, b *bound) {
		w, _ := b.ask(b.request(b.proof()), "read")
		b.refused(w, "use_dpop_nonce")
		nonce := w.Header().Get("DPoP-Nonce")
		w, _ = b.ask(b.request(b.proof(rig.Members{"nonce": nonce})), "read")
		b.want(w, http.StatusNoContent, "")
		if w.Header().Get("DPoP-Nonce") != nonce {
			t.Errorf("an answer has the nonce %q, the one before %q", w.Header().Get("DPoP-Nonce"), nonce)
		}
		w, _ = b.ask(b.request(b.proof(rig.Members{"nonce": "x" + nonce[1:]})), "read")
		b.refused(w, "use_dpop_nonce")
		w, _ = b.ask(b.request(b.proof(rig.Members{"nonce": nonce, "htm": "POST"})), "read")
		b.refused(w, "invalid_dpop_proof")
		if w.Header().Get("DPoP-Nonce") == "" {
			t.Error("a refusal has no nonce")
		}
		w, _ = b.ask(request(""), "read")
		if b.want(w, http.StatusUnauthorized, ""); w.Header().Get("DPoP-Nonce") != "" {
			t.Error("a request without DPoP gets a nonce")
		}
	})
	// The second secret may be that of a process that was not yet restarted.
	older := offline(t, func(c *resource.Config) { c.DPoPNonces = [][]byte{two} })
	newer := offline(t, func(c *resource.Config) { c.DPoPNonces = [][]byte{one, two} })
	w, _ := older.ask(older.request(older.proof()), "read")
	w, _ = newer.ask(newer.request(newer.proof(rig.Members{"nonce": w.Header().Get("DPoP-Nonce")})), "read")
	newer.want(w, http.StatusNoContent, "")
}

func TestURLOfTheAPIIsConfigured(t *testing.T) {
	for _, x := range []struct{ base, resource, htu string }{
		{"", "", "https://api.example.com/notes"},
		{"https://api.example.net:8443", "", "https://api.example.net:8443/notes"},
		{"https://api.example.net/under/", "", "https://api.example.net/under/notes"},
		{"http://127.0.0.1:9000", "urn:example:api", "http://127.0.0.1:9000/notes"},
		{"", "http://api.internal:80/x", "http://api.internal/notes"},
	} {
		k, key := newKey(t, "one"), rig.NewKey(t, "")
		s := newIssuer(t, k)
		c := s.config()
		c.BaseURL, c.Resource = x.base, x.resource
		change := map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint()}}
		if x.resource != "" {
			change["aud"] = x.resource
		}
		b := &bound{newAPI(t, c), key, s.token(k, change), c.Now}
		w, _ := b.ask(b.request(b.proof(rig.Members{"htu": x.htu})), "read")
		b.want(w, http.StatusNoContent, "")
		w, _ = b.ask(b.request(b.proof(rig.Members{"htu": "https://example.com/notes"})), "read") // the Host header
		b.refused(w, "invalid_dpop_proof")

		// The path is the one that the client wrote, also behind http.StripPrefix.
		q := httptest.NewRequest(http.MethodGet, "/v1/%7Enotes?x=1", nil)
		q.Header = b.request(b.proof(rig.Members{"htu": strings.TrimSuffix(x.htu, "notes") + "v1/~notes"})).Header
		w = httptest.NewRecorder()
		if http.StripPrefix("/v1", b.v.Require("read")(noContent())).ServeHTTP(w, q); w.Code != http.StatusNoContent {
			t.Errorf("behind StripPrefix: %d %s", w.Code, w.Body)
		}
	}

	// Without a URL of its own, the API cannot check a proof, which is not the caller's fault.
	b := offline(t, func(c *resource.Config) { c.Resource = "urn:example:api" })
	k := newKey(t, "one")
	s := newIssuer(t, k)
	c := s.config()
	c.Resource = "urn:example:api"
	b.api = newAPI(t, c)
	b.token = s.token(k, map[string]any{"aud": c.Resource, "cnf": map[string]any{"jkt": b.key.Thumbprint()}})
	w, _ := b.ask(b.request(b.proof()), "read")
	b.want(w, http.StatusInternalServerError, "")
	if !strings.Contains(b.log.String(), "BaseURL") {
		t.Errorf("the operator is told %q", b.log.String())
	}
	for name, change := range map[string]func(*resource.Config){
		"no URL":         func(c *resource.Config) { c.BaseURL = "api.example.com" },
		"a query":        func(c *resource.Config) { c.BaseURL = "https://api.example.com?x" },
		"a password":     func(c *resource.Config) { c.BaseURL = "https://a:b@api.example.com" },
		"another scheme": func(c *resource.Config) { c.BaseURL = "ftp://api.example.com" },
		"required, and no URL": func(c *resource.Config) {
			c.Resource, c.RequireDPoP = "urn:example:api", true
		},
		"a short secret": func(c *resource.Config) { c.DPoPNonces = [][]byte{[]byte("short")} },
	} {
		c := resource.Config{Issuer: "https://auth.example.com", Resource: exampleAPI, VerifyJWT: true}
		change(&c)
		if _, err := resource.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Several processes of an API share their records of used proofs.
func TestP05_UsesAreSharedByAHook(t *testing.T) {
	type use struct {
		key, id string
		until   time.Time
	}
	var uses []use
	var broken error
	hook := func(c *resource.Config) {
		c.UseProof = func(_ context.Context, key, id string, until time.Time) (bool, error) {
			for _, u := range uses {
				if u.key == key && u.id == id {
					return false, broken
				}
			}
			uses = append(uses, use{key, id, until})
			return true, broken
		}
	}
	b := offline(t, hook)
	iat := b.now().Unix()
	proof := b.proof(rig.Members{"jti": "once"})
	w, _ := b.ask(b.request(proof), "read")
	b.want(w, http.StatusNoContent, "")
	if diff := cmp.Diff([]use{{b.key.Thumbprint(), "once", time.Unix(iat, 0).Add(dpop.Remember).UTC()}}, uses,
		cmp.AllowUnexported(use{})); diff != "" {
		t.Errorf("the use was recorded as (-want +got)\n%s", diff)
	}
	w, _ = b.ask(b.request(proof), "read")
	b.refused(w, "invalid_dpop_proof")
	broken = errors.New("the database is gone")
	w, _ = b.ask(b.request(b.proof()), "read")
	b.want(w, http.StatusServiceUnavailable, "")
	if !strings.Contains(b.log.String(), broken.Error()) || strings.Contains(w.Body.String(), broken.Error()) {
		t.Errorf("the operator is told %q, the caller %s", b.log.String(), w.Body)
	}
}
