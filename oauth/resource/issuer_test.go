package resource_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/resource"
)

// issuer is an authorization server that has metadata and keys, and counts who asks for them.
type issuer struct {
	t   *testing.T
	url string
	now atomic.Int64 // Unix seconds

	mu    sync.Mutex
	keys  []jose.JSONWebKey
	down  bool
	asked map[string]int // by path
}

func newIssuer(t *testing.T, keys ...jose.JSONWebKey) *issuer {
	t.Helper()
	s := &issuer{t: t, asked: map[string]int{}}
	s.now.Store(time.Now().Unix())
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	s.publish(keys...)
	return s
}

func (s *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.URL.Path]++
	var body any
	switch {
	case s.down:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case r.URL.Path == "/.well-known/oauth-authorization-server":
		body = map[string]string{"issuer": s.url, "jwks_uri": s.url + "/keys"}
	case r.URL.Path == "/keys":
		body = jose.JSONWebKeySet{Keys: s.keys}
	default:
		http.NotFound(w, r)
		return
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.t.Error(err)
	}
}

// publish replaces the key set.
func (s *issuer) publish(keys ...jose.JSONWebKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = nil
	for _, k := range keys {
		s.keys = append(s.keys, k.Public())
	}
}

func (s *issuer) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *issuer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked["/keys"]
}

func (s *issuer) config() resource.Config {
	return resource.Config{
		Issuer: s.url, VerifyJWT: true, Objects: []string{"accounts"},
		Now: func() time.Time { return time.Unix(s.now.Load(), 0) },
	}
}

// claims are those of a good token, less those that change says nil for.
func (s *issuer) claims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss":       s.url,
		"aud":       exampleAPI,
		"sub":       "user_1",
		"client_id": "app_1",
		"scope":     "read accounts:write",
		"jti":       "x",
		"workspace": "acme",
		"iat":       s.now.Load(), "exp": s.now.Load() + 60,
	}
	for name, value := range change {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

func newKey(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: kid, Algorithm: "ES256", Use: "sig"}
}

// sign makes a token by a key that need not be fit for it; header is added to alg and kid.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, header map[string]any, payload any) string {
	t.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	o := &jose.SignerOptions{}
	o.WithType("at+jwt")
	if kid != "" {
		o.WithHeader("kid", kid)
	}
	for name, value := range header {
		o.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *issuer) token(k jose.JSONWebKey, change map[string]any) string {
	return sign(s.t, jose.ES256, k.Key, k.KeyID, nil, s.claims(change))
}
