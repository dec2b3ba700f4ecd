package demo

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	lakesideIssuer = "http://lakeside.example:8092"
	lakesideBack   = "http://localhost:8080/login/lakeside/callback"
	lakesideSecret = "a secret: with / signs %"
	verifier       = "a-verifier-that-is-longer-than-forty-three-characters"
)

// lakeside is a provider under test, with a clock that the test sets.
type lakeside struct {
	t       *testing.T
	p       *provider
	handler http.Handler
	time    time.Time
}

func newLakeside(t *testing.T) *lakeside {
	t.Helper()
	p, err := newProvider(lakesideIssuer, ProviderClient{
		ID: "doorward", Secret: lakesideSecret, Site: "http://localhost:8080", RedirectURI: lakesideBack,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &lakeside{t: t, p: p, handler: p.handler(), time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	p.now = func() time.Time { return l.time }
	return l
}

// request is a good authorization request with changes: an empty value removes a parameter.
func request(changes map[string]string) url.Values {
	digest := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"doorward"}, "redirect_uri": {lakesideBack}, "response_type": {"code"},
		"scope": {"openid email profile"}, "state": {"the state"}, "nonce": {"the nonce"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(digest[:])},
		"code_challenge_method": {"S256"},
	}
	change(q, changes)
	return q
}

func change(q url.Values, changes map[string]string) {
	for name, value := range changes {
		q.Set(name, value)
		if value == "" {
			q.Del(name)
		}
	}
}

func (l *lakeside) get(path string) *httptest.ResponseRecorder {
	l.t.Helper()
	w := httptest.NewRecorder()
	l.handler.ServeHTTP(w, httptest.NewRequestWithContext(l.t.Context(), http.MethodGet, path, http.NoBody))
	return w
}

func (l *lakeside) post(path string, form url.Values, prepare func(*http.Request)) *httptest.ResponseRecorder {
	l.t.Helper()
	r := httptest.NewRequestWithContext(l.t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if prepare != nil {
		prepare(r)
	}
	w := httptest.NewRecorder()
	l.handler.ServeHTTP(w, r)
	return w
}

// choose answers the question, and returns the parameters with which the browser goes back.
func (l *lakeside) choose(form url.Values, choice string) url.Values {
	l.t.Helper()
	form.Set("choice", choice)
	return l.back(l.post("/choose", form, nil))
}

// back returns the parameters of a redirect to the client.
func (l *lakeside) back(w *httptest.ResponseRecorder) url.Values {
	l.t.Helper()
	at, query, _ := strings.Cut(w.Header().Get("Location"), "?")
	q, err := url.ParseQuery(query)
	if w.Code != http.StatusSeeOther || at != lakesideBack || err != nil {
		l.t.Fatalf("status %d, to %s: %s", w.Code, at, w.Body)
	}
	return q
}

// redeem exchanges a code, with changes to the form.
func (l *lakeside) redeem(code string, changes map[string]string) (int, map[string]any) {
	l.t.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {lakesideBack},
		"code_verifier": {verifier},
	}
	change(form, changes)
	return l.ask(form, "doorward", lakesideSecret)
}

func (l *lakeside) ask(form url.Values, id, secret string) (int, map[string]any) {
	l.t.Helper()
	w := l.post("/token", form, func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) })
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Header().Get("Cache-Control") != "no-store" {
		l.t.Fatalf("%v: %s", err, w.Body)
	}
	return w.Code, body
}

// claims verifies an ID token with the published key.
func (l *lakeside) claims(token string) map[string]any {
	l.t.Helper()
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(l.get("/jwks").Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		l.t.Fatalf("the key set is %v, error %v", set, err)
	}
	decode := func(text string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			l.t.Fatal(err)
		}
		return b
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		l.t.Fatalf("the ID token is %q", token)
	}
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		if err := json.Unmarshal(decode(parts[i]), into); err != nil {
			l.t.Fatal(err)
		}
	}
	k := set.Keys[0]
	if header["alg"] != "RS256" || header["kid"] != k["kid"] {
		l.t.Errorf("the header is %v, the key %v", header, k)
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(decode(k["n"])), E: int(new(big.Int).SetBytes(decode(k["e"])).Int64())}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], decode(parts[2])); err != nil {
		l.t.Error(err)
	}
	return claims
}

func TestProviderSignsAPersonIn(t *testing.T) {
	l := newLakeside(t)
	page := l.get("/authorize?" + request(nil).Encode())
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "robin@example.com") {
		t.Fatalf("the page: %d %s", page.Code, page.Body)
	}
	// The form of the page holds the whole request.
	form := url.Values{}
	for _, m := range regexp.MustCompile(`type="hidden" name="(\w+)" value="([^"]*)"`).
		FindAllStringSubmatch(page.Body.String(), -1) {
		form.Set(m[1], m[2])
	}
	if form.Encode() != request(nil).Encode() {
		t.Errorf("the form holds %v", form)
	}
	q := l.choose(form, "robin")
	if q.Get("state") != "the state" || q.Get("iss") != lakesideIssuer || q.Get("code") == "" {
		t.Fatalf("the answer: %v", q)
	}
	status, body := l.redeem(q.Get("code"), nil)
	if status != http.StatusOK || body["token_type"] != "Bearer" {
		t.Fatalf("the token response: %d %v", status, body)
	}
	want := map[string]any{
		"iss": lakesideIssuer, "sub": "lakeside-1002", "aud": "doorward", "nonce": "the nonce",
		"iat": float64(l.time.Unix()), "exp": float64(l.time.Unix() + 300), "auth_time": float64(l.time.Unix()),
		"email": "robin@example.com", "email_verified": true, "name": "Robin Reed",
	}
	if got := l.claims(body["id_token"].(string)); !maps.Equal(got, want) {
		t.Errorf("the claims are\n%v, want\n%v", got, want)
	}
	if status, body = l.redeem(q.Get("code"), nil); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("the code is accepted again: %d %v", status, body)
	}
	// Without the scopes, the ID token says no more than who it is.
	q = l.choose(request(map[string]string{"scope": "openid", "state": "", "nonce": ""}), "dana")
	if q.Has("state") {
		t.Errorf("the answer has a state that was not sent: %v", q)
	}
	_, body = l.redeem(q.Get("code"), nil)
	got := l.claims(body["id_token"].(string))
	for _, name := range []string{"email", "name", "nonce"} {
		if _, has := got[name]; has || got["sub"] != "lakeside-1001" {
			t.Errorf("the claims are %v", got)
		}
	}
}

func TestProviderRefusesWhatIsNotTheClients(t *testing.T) {
	l := newLakeside(t)
	for name, changes := range map[string]map[string]string{
		"client":         {"client_id": "another"},
		"no client":      {"client_id": ""},
		"redirect":       {"redirect_uri": lakesideBack + "/more"},
		"redirect query": {"redirect_uri": lakesideBack + "?a=b"},
		"no redirect":    {"redirect_uri": ""},
	} {
		for _, w := range []*httptest.ResponseRecorder{
			l.get("/authorize?" + request(changes).Encode()), l.post("/choose", request(changes), nil),
		} {
			if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
				t.Errorf("%s: %d, to %s", name, w.Code, w.Header().Get("Location"))
			}
		}
	}
	if w := l.get("/authorize?" + request(nil).Encode() + "&redirect_uri=http://evil.example"); w.Code != 400 {
		t.Errorf("two redirect URIs: %d", w.Code)
	}
	foreign := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	if w := l.post("/choose", request(map[string]string{"choice": "dana"}), foreign); w.Code != http.StatusForbidden {
		t.Errorf("a form of another site: %d", w.Code)
	}
	if w := l.post("/authorize", request(nil), foreign); w.Code != http.StatusOK {
		t.Errorf("a request as a form of another site: %d", w.Code)
	}
	if w := l.post("/choose", request(map[string]string{"choice": "eve"}), nil); w.Code != http.StatusBadRequest {
		t.Errorf("another person: %d", w.Code)
	}
}

func TestProviderAnswersFaultyRequests(t *testing.T) {
	l := newLakeside(t)
	for name, x := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"no response type": {map[string]string{"response_type": ""}, "invalid_request"},
		"response type":    {map[string]string{"response_type": "id_token"}, "unsupported_response_type"},
		"response mode":    {map[string]string{"response_mode": "fragment"}, "invalid_request"},
		"scope":            {map[string]string{"scope": "email"}, "invalid_scope"},
		"no challenge":     {map[string]string{"code_challenge": ""}, "invalid_request"},
		"plain challenge":  {map[string]string{"code_challenge_method": "plain"}, "invalid_request"},
		"request object":   {map[string]string{"request": "x"}, "request_not_supported"},
		"request address":  {map[string]string{"request_uri": "x"}, "request_uri_not_supported"},
		"no question":      {map[string]string{"prompt": "none"}, "login_required"},
	} {
		q := l.back(l.get("/authorize?" + request(x.changes).Encode()))
		if q.Get("error") != x.want || q.Get("state") != "the state" || q.Get("iss") != lakesideIssuer {
			t.Errorf("%s: %v, want %s", name, q, x.want)
		}
	}
	if q := l.back(l.get("/authorize?" + request(nil).Encode() + "&scope=openid")); q.Get("error") != "invalid_request" {
		t.Errorf("a parameter twice: %v", q)
	}
	q := l.choose(request(nil), "cancel")
	if q.Get("error") != "access_denied" || q.Get("state") != "the state" || q.Has("code") {
		t.Errorf("after Cancel: %v", q)
	}
}

func TestProviderBindsCodes(t *testing.T) {
	l := newLakeside(t)
	fresh := func() string { return l.choose(request(nil), "dana").Get("code") }
	for name, x := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"verifier":     {map[string]string{"code_verifier": verifier + "x"}, "invalid_grant"},
		"no verifier":  {map[string]string{"code_verifier": ""}, "invalid_request"},
		"redirect URI": {map[string]string{"redirect_uri": lakesideBack + "x"}, "invalid_grant"},
		"code":         {map[string]string{"code": "x"}, "invalid_grant"},
		"grant type":   {map[string]string{"grant_type": "password"}, "unsupported_grant_type"},
	} {
		if status, body := l.redeem(fresh(), x.changes); status != http.StatusBadRequest || body["error"] != x.want {
			t.Errorf("%s: %d %v, want %s", name, status, body, x.want)
		}
	}
	code := fresh()
	for id, secret := range map[string]string{"doorward": "wrong", "another": lakesideSecret, "": ""} {
		status, body := l.ask(url.Values{"code": {code}}, id, secret)
		if status != http.StatusUnauthorized || body["error"] != "invalid_client" {
			t.Errorf("%q: %d %v", id, status, body)
		}
	}
	if w := l.post("/token", url.Values{}, nil); w.Header().Get("WWW-Authenticate") == "" {
		t.Error("without credentials, the answer does not ask for them")
	}
	// Others cannot use up a code.
	if status, body := l.redeem(code, nil); status != http.StatusOK {
		t.Errorf("the code is used up: %v", body)
	}
	first, second := fresh(), fresh()
	l.time = l.time.Add(codeLifetime - time.Second)
	if status, body := l.redeem(first, nil); status != http.StatusOK {
		t.Errorf("a code of almost ten minutes: %v", body)
	}
	l.time = l.time.Add(time.Second)
	if status, body := l.redeem(second, nil); body["error"] != "invalid_grant" {
		t.Errorf("a code of ten minutes: %d %v", status, body)
	}
	fresh()
	if len(l.p.codes) != 1 {
		t.Errorf("%d codes are kept, want 1", len(l.p.codes))
	}
}

func TestProviderSaysWhatItIs(t *testing.T) {
	l := newLakeside(t)
	var d map[string]any
	if err := json.Unmarshal(l.get("/.well-known/openid-configuration").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d["issuer"] != lakesideIssuer || d["token_endpoint"] != lakesideIssuer+"/token" {
		t.Errorf("discovery: %v", d)
	}
	if w := l.get("/"); w.Code != http.StatusOK ||
		!strings.Contains(w.Body.String(), "http://localhost:8080/settings/security") {
		t.Errorf("the first page: %d %s", w.Code, w.Body)
	}
	if w := l.get("/lakeside.css"); !strings.Contains(w.Body.String(), ".people") ||
		!strings.HasPrefix(w.Body.String(), ":root") {
		t.Errorf("the style: %s", w.Body)
	}
}
