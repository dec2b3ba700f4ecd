package resource_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/resource"
)

func TestJWTIsVerifiedHere(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	a := newAPI(t, s.config())
	w, c := a.ask(request(s.token(k, map[string]any{
		"workspace_id": "ws_1", "role": "member",
		"auth_time": s.now.Load() - 5,
	})), "accounts:read", "accounts:write")
	a.want(w, http.StatusNoContent, "")
	if c.Subject != "user_1" || c.ClientID != "app_1" || c.Credential != "access_token" || c.Workspace != "acme" ||
		c.WorkspaceID != "ws_1" || c.Role != "member" ||
		c.ID != "x" || c.ExpiresAt.Unix() != s.now.Load()+60 || c.AuthTime.Unix() != s.now.Load()-5 {
		t.Errorf("claims: %+v", c)
	}
	w, _ = a.ask(request(s.token(k, nil)), "write")
	a.want(w, http.StatusForbidden, "insufficient_scope")
	w, _ = a.ask(request(s.token(k, map[string]any{"aud": []string{exampleAPI}})), "read")
	a.want(w, http.StatusNoContent, "")
	w, _ = a.ask(request("dw_at_opaque"), "read") // no server could be asked about it
	a.want(w, http.StatusUnauthorized, "invalid_token")
	if s.fetches() != 1 {
		t.Errorf("the keys were fetched %d times", s.fetches())
	}
	token := s.token(k, nil)
	s.now.Add(59)
	w, _ = a.ask(request(token), "read")
	a.want(w, http.StatusNoContent, "")
	s.now.Add(1) // exp is the first second in which it is no longer good
	w, _ = a.ask(request(token), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
}

func TestJ01_OtherAlgorithmsAreRefused(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	a := newAPI(t, s.config())
	public := k.Key.(*ecdsa.PrivateKey).Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	asJWK, err := json.Marshal(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.publish(k, jose.JSONWebKey{Key: rsaKey, KeyID: "rsa"}, jose.JSONWebKey{Key: p384, KeyID: "p384"})
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	_, rest, _ := strings.Cut(s.token(k, nil), ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for name, token := range map[string]string{
		"none": part(map[string]string{"alg": "none", "typ": "at+jwt", "kid": "one"}) + "." + payload + ".",
		"none with signature": part(map[string]string{"alg": "none", "typ": "at+jwt", "kid": "one"}) + "." + payload + "." +
			signature,
		"nOnE": part(map[string]string{"alg": "nOnE", "typ": "at+jwt", "kid": "one"}) + "." + payload + ".",
		"HS256 by PEM": sign(t, jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "one",
			nil, s.claims(nil)),
		"HS256 by DER":         sign(t, jose.HS256, der, "one", nil, s.claims(nil)),
		"HS256 by JWK":         sign(t, jose.HS256, asJWK, "one", nil, s.claims(nil)),
		"RS256 by a key of it": sign(t, jose.RS256, rsaKey, "rsa", nil, s.claims(nil)),
		"ES384 by a key of it": sign(t, jose.ES384, p384, "p384", nil, s.claims(nil)),
		"another key":          s.token(newKey(t, "one"), nil),
	} {
		w, _ := a.ask(request(token), "read")
		if a.want(w, http.StatusUnauthorized, "invalid_token"); t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestJ02_J03_HeaderNamesNoKeyAndNoAddress(t *testing.T) {
	k, other := newKey(t, "one"), newKey(t, "two")
	s := newIssuer(t, k)
	stranger := newIssuer(t, other)
	a := newAPI(t, s.config())
	for _, kid := range []string{
		"", "../../x", "two", stranger.url + "/keys", "' or 1=1 --", strings.Repeat("k", 4000),
		"ONE", "one ",
	} {
		w, _ := a.ask(request(sign(t, jose.ES256, k.Key, kid, nil, s.claims(nil))), "read")
		a.want(w, http.StatusUnauthorized, "invalid_token")
	}
	w, _ := a.ask(request(sign(t, jose.ES256, k.Key, strings.Repeat("k", 10_000), nil, s.claims(nil))), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
	for name, value := range map[string]any{
		"jwk": other.Public(), "jku": stranger.url + "/keys", "x5u": stranger.url + "/keys", "crit": []string{"unheard-of"},
	} {
		header := map[string]any{name: value}
		if name == "crit" {
			header["unheard-of"] = true
		}
		for _, kid := range []string{"one", "two"} {
			w, _ := a.ask(request(sign(t, jose.ES256, other.Key, kid, header, s.claims(nil))), "read")
			a.want(w, http.StatusUnauthorized, "invalid_token")
		}
	}
	header := map[string]any{"crit": []string{"unheard-of"}, "unheard-of": true}
	w, _ = a.ask(request(sign(t, jose.ES256, k.Key, "one", header, s.claims(nil))), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
	if stranger.fetches() != 0 {
		t.Error("a token's header had the API fetch from elsewhere")
	}
	if s.fetches() > 2 { // the first, and one for all unknown names
		t.Errorf("unknown names had the keys fetched %d times", s.fetches())
	}
}

func TestJ04_OtherKindsOfJWTAreRefused(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	a := newAPI(t, s.config())
	for typ, status := range map[string]int{
		"at+jwt":              204,
		"application/at+jwt":  204,
		"AT+JWT":              204,
		"JWT":                 401,
		"":                    401,
		"dpop+jwt":            401,
		"logout+jwt":          401,
		"oauth-authz-req+jwt": 401,
		"at+jwt ":             401,
	} {
		w, _ := a.ask(request(sign(t, jose.ES256, k.Key, "one", map[string]any{"typ": typ}, s.claims(nil))), "read")
		if w.Code != status {
			t.Errorf("typ %q gets %d", typ, w.Code)
		}
	}
}

func TestJ05_ClaimsThatDoNotHold(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	a := newAPI(t, s.config())
	now := s.now.Load()
	for _, change := range []map[string]any{
		{"exp": nil},
		{"exp": "9999999999"},
		{"exp": 1e30},
		{"exp": float64(now) - 0.5},
		{"nbf": -1.5},
		{"exp": -1},
		{"exp": 0},
		{"exp": now},
		{"exp": int64(9223372036854775807)},
		{"exp": int64(1)<<40 + 1},
		{"exp": []any{now + 60}},
		{"nbf": now + 31},
		{"nbf": int64(9223372036854775807)},
		{"nbf": "soon"},
		{"aud": nil},
		{"aud": ""},
		{"aud": "https://api.example.com"},
		{"aud": exampleAPI + "/"},
		{"aud": strings.ToUpper(exampleAPI)},
		{"aud": []string{exampleAPI, "https://other.example.com"}},
		{"aud": []string{}},
		{"aud": map[string]any{exampleAPI: true}},
		{"iss": s.url + "/"},
		{"iss": nil},
		{"iss": []string{s.url}},
		{"scope": []string{"read"}},
		{"sub": 7},
	} {
		w, _ := a.ask(request(s.token(k, change)), "read")
		if w.Code != http.StatusUnauthorized {
			t.Errorf("with %v the answer is %d", change, w.Code)
		}
	}
	for _, change := range []map[string]any{{"nbf": now + 30}, {"nbf": now - 10}, {"iat": nil, "jti": nil}} {
		w, _ := a.ask(request(s.token(k, change)), "read")
		if w.Code != http.StatusNoContent {
			t.Errorf("with %v the answer is %d", change, w.Code)
		}
	}
	text := strings.Replace(mustJSON(t, s.claims(nil)), `{`, `{"aud":"https://other.example.com",`, 1) // twice
	w, _ := a.ask(request(sign(t, jose.ES256, k.Key, "one", nil, json.RawMessage(text))), "read")
	if w.Code != http.StatusUnauthorized {
		t.Errorf("with two aud the answer is %d", w.Code)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJ06_BrokenSignatures(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	a := newAPI(t, s.config())
	good := s.token(k, nil)
	at := strings.LastIndexByte(good, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(good[at:])
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	n := elliptic.P256().Params().N.Bytes()
	flipped := append([]byte{}, signature...)
	flipped[0] ^= 1
	der := append([]byte{0x30, 0x44, 0x02, 0x20},
		append(append([]byte{}, signature[:32]...), append([]byte{0x02, 0x20}, signature[32:]...)...)...)
	for name, token := range map[string]string{
		"zeros":         good[:at] + encode(make([]byte, 64)),
		"r = n":         good[:at] + encode(append(append([]byte{}, n...), signature[32:]...)),
		"cut":           good[:at] + encode(signature[:63]),
		"longer":        good[:at] + encode(append(append([]byte{}, signature...), 0)),
		"none":          good[:at],
		"one bit":       good[:at] + encode(flipped),
		"DER":           good[:at] + encode(der),
		"padded":        good + "==",
		"a newline":     good[:at+10] + "\n" + good[at+10:],
		"a fourth part": good + ".x",
		"another payload": good[:strings.IndexByte(good, '.')+1] +
			encode([]byte(mustJSON(t, s.claims(map[string]any{"sub": "user_2"})))) + good[at-1:],
	} {
		w, _ := a.ask(request(token), "read")
		if a.want(w, http.StatusUnauthorized, "invalid_token"); t.Failed() {
			t.Fatal(name)
		}
	}
	w, _ := a.ask(request(good), "read")
	a.want(w, http.StatusNoContent, "")
}

// With both ways, what says that it comes from the issuer is verified here, and all else is asked about.
func TestJWTsAndAllElse(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	var asked []map[string]string
	introspection := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := map[string]string{}
		for _, name := range []string{"token", "cost", "workspace"} {
			q[name] = r.PostFormValue(name)
		}
		asked = append(asked, q)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"active":          true,
			"aud":             exampleAPI,
			"scope":           "read",
			"credential":      "foreign_jwt",
			"foreign_issuer":  "https://x.example",
			"foreign_subject": "7",
		})
	}))
	defer introspection.Close()
	c := s.config()
	c.IntrospectionURL, c.Key, c.WorkspaceHeader = introspection.URL, "sk_live_x", "X-Workspace"
	a := newAPI(t, c)
	w, _ := a.ask(request(s.token(k, nil)), "read")
	a.want(w, http.StatusNoContent, "")
	w, _ = a.ask(request(s.token(newKey(t, "one"), nil)), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
	w, _ = a.ask(request(s.token(k, nil), "X-Workspace", "acme"), "read")
	a.want(w, http.StatusNoContent, "")
	w, _ = a.ask(request(s.token(k, nil), "X-Workspace", "umbrella"), "read")
	a.want(w, http.StatusForbidden, "insufficient_scope")
	if asked != nil {
		t.Errorf("it was asked about a token of the issuer: %v", asked)
	}
	w, claims := a.ask(request(s.token(k, map[string]any{"iss": "https://x.example"})), "read")
	a.want(w, http.StatusNoContent, "")
	if len(asked) != 1 || claims.ForeignIssuer != "https://x.example" || claims.ForeignSubject != "7" {
		t.Errorf("about a foreign token it was asked %v and told %+v", asked, claims)
	}

	// Only the server counts, so a request that costs something is asked about after all.
	asked = nil
	c.Cost = func(*http.Request) int { return 3 }
	a = newAPI(t, c)
	w, _ = a.ask(request(s.token(k, nil)), "read")
	a.want(w, http.StatusNoContent, "")
	if len(asked) != 1 || asked[0]["cost"] != "3" {
		t.Errorf("asked %v", asked)
	}
	w, _ = a.ask(request(s.token(k, map[string]any{"exp": s.now.Load()})), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
	if len(asked) != 1 {
		t.Errorf("a token that has ended was asked about: %v", asked)
	}
}

// FuzzToken: no token makes the middleware fail, and none but a signed one passes.
func FuzzToken(f *testing.F) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k.Public(), KeyID: "one"}}})
	}))
	f.Cleanup(keys.Close)
	v, err := resource.New(resource.Config{
		Issuer: "https://auth.example.com", Resource: exampleAPI, VerifyJWT: true,
		JWKSURL: keys.URL,
	})
	if err != nil {
		f.Fatal(err)
	}
	h := v.Require()(noContent())
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"one"}`))
	claims := map[string]any{"iss": "https://auth.example.com", "aud": exampleAPI, "exp": int64(1) << 39}
	payload, err := json.Marshal(claims)
	if err != nil {
		f.Fatal(err)
	}
	body := base64.RawURLEncoding.EncodeToString(payload)
	f.Add(header + "." + body + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)))
	f.Add("..")
	f.Add("dw_at_x")
	f.Fuzz(func(t *testing.T, token string) {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, request(token)); w.Code != http.StatusUnauthorized && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%q gets %d", token, w.Code)
		}
	})
}

// Dates may have a fraction or an exponent, members of the header that name keys are ignored, one resource has several
// spellings, and several spaces may stand after Bearer.
func TestV45_V47_V50_WhatOtherIssuersAndClientsWrite(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	c := s.config()
	c.Resource = "https://API.example.com:443"
	v, err := resource.New(c)
	if err != nil {
		t.Fatal(err)
	}
	status := func(authorization string) int {
		q := httptest.NewRequest(http.MethodGet, "/", nil)
		q.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		v.Require("read")(noContent()).ServeHTTP(w, q)
		return w.Code
	}
	now := s.now.Load()
	number := func(format string, n int64) json.Number { return json.Number(fmt.Sprintf(format, n)) }
	for name, x := range map[string]struct {
		change map[string]any
		want   int
	}{
		"a fraction": {map[string]any{
			"exp": number("%d.5", now+60), "nbf": number("%d.25", now-1),
			"iat": number("%d.75", now-1),
		}, http.StatusNoContent},
		"an exponent":        {map[string]any{"exp": number("%de0", now+60)}, http.StatusNoContent},
		"a slash":            {map[string]any{"aud": "https://api.example.com/"}, http.StatusNoContent},
		"over by a half":     {map[string]any{"exp": number("%d.5", now-1)}, http.StatusUnauthorized},
		"too large":          {map[string]any{"exp": json.Number("1e400")}, http.StatusUnauthorized},
		"another path":       {map[string]any{"aud": "https://api.example.com/x"}, http.StatusUnauthorized},
		"another port":       {map[string]any{"aud": "https://api.example.com:8443"}, http.StatusUnauthorized},
		"nbf in the future":  {map[string]any{"nbf": number("%d.5", now+31)}, http.StatusUnauthorized},
		"nbf as text":        {map[string]any{"nbf": fmt.Sprint(now)}, http.StatusUnauthorized},
		"user information":   {map[string]any{"aud": "https://x@api.example.com"}, http.StatusUnauthorized},
		"the scheme of less": {map[string]any{"aud": "http://api.example.com"}, http.StatusUnauthorized},
	} {
		claims := s.claims(map[string]any{"aud": "https://api.example.com"})
		for member, value := range x.change {
			claims[member] = value
		}
		if got := status("Bearer " + sign(t, jose.ES256, k.Key, k.KeyID, nil, claims)); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
	token := sign(t, jose.ES256, k.Key, k.KeyID,
		map[string]any{"jku": "https://elsewhere.example/keys", "x5u": "https://elsewhere.example/x"},
		s.claims(map[string]any{"aud": "https://api.example.com"}))
	for _, spaces := range []string{" ", "  ", "    "} {
		if got := status("Bearer" + spaces + token); got != http.StatusNoContent {
			t.Errorf("%d spaces: %d", len(spaces), got)
		}
	}
	q := httptest.NewRequest(http.MethodOptions, v.MetadataPath(), nil)
	q.Header.Set("Access-Control-Request-Method", "GET")
	q.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version")
	w := httptest.NewRecorder()
	v.Metadata().ServeHTTP(w, q)
	if w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Origin") != "*" ||
		w.Header().Get("Access-Control-Allow-Headers") != "mcp-protocol-version" {
		t.Errorf("V-48: a preflight is answered %d %v", w.Code, w.Header())
	}
}
