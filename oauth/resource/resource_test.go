package resource_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/oauth/resource"
	"doorward/storage"
	"doorward/test/rig"
)

const exampleAPI = "https://api.example.com/v2"

// catalogue is a server with two resources, objects and plans.
func catalogue() rig.Options {
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read"},
		{Name: "write", Text: "Write"},
		{Name: "delete", Text: "Delete"},
	}
	return rig.Options{
		Resources: []catalog.Resource{
			{
				ID:              exampleAPI,
				Name:            "Example API",
				Objects:         []string{"accounts"},
				Scopes:          scopes,
				WorkspaceHeader: "X-Workspace",
				UserPlan:        "people",
				Keys:            catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}, DefaultPlan: "free"},
			},
			{
				ID: "https://other.example.com", Name: "Other", Scopes: scopes,
				Keys: catalog.KeyRules{Prefix: "other", Environments: []string{"live"}},
			},
		},
		Plans: map[string]limit.Plan{"free": {Hour: 2}, "people": {Hour: 50}},
	}
}

// api is an API behind the middleware.
type api struct {
	t     *testing.T
	v     *resource.Verifier
	calls atomic.Int64 // that came through
	log   bytes.Buffer
}

func newAPI(t *testing.T, c resource.Config) *api {
	t.Helper()
	a := &api{t: t}
	c.Log = slog.New(slog.NewTextHandler(&a.log, nil))
	if c.Resource == "" {
		c.Resource = exampleAPI
	}
	var err error
	if a.v, err = resource.New(c); err != nil {
		t.Fatal(err)
	}
	return a
}

// config asks the server of a rig.
func config(r *rig.Rig) resource.Config {
	server := r.ResourceServer()
	return resource.Config{
		Issuer: r.Issuer, ClientID: server.ID, ClientSecret: server.Secret,
		Objects: []string{"accounts"}, Now: func() time.Time { return r.Store.Now().Time() },
	}
}

// request is one with a bearer token, unless that is empty; headers come in pairs.
func request(token string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/notes", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// ask sends a request to a handler that needs scopes, and gives what it learned of the caller.
func (a *api) ask(r *http.Request, scopes ...string) (*httptest.ResponseRecorder, resource.Claims) {
	var claims resource.Claims
	h := a.v.Require(scopes...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		var ok bool
		if claims, ok = resource.FromContext(r.Context()); !ok {
			a.t.Error("the handler does not learn who calls")
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	w := httptest.NewRecorder()
	before := a.calls.Load()
	h.ServeHTTP(w, r)
	if passed := a.calls.Load() > before; passed != (w.Code == http.StatusNoContent) {
		a.t.Errorf("the answer is %d, and the handler was called: %v", w.Code, passed)
	}
	return w, claims
}

// want compares status and error code of an answer.
func (a *api) want(w *httptest.ResponseRecorder, status int, code string) {
	a.t.Helper()
	challenge := w.Header().Get("WWW-Authenticate")
	if w.Code != status || code != "" && !strings.Contains(challenge, `error="`+code+`"`) ||
		code == "" && strings.Contains(challenge, "error=") {
		a.t.Errorf("got %d %s %s, want %d %s\n%s", w.Code, challenge, w.Body, status, code, a.log.String())
	}
}

func TestCallerIsKnownToTheHandler(t *testing.T) {
	r := rig.Memory(t, catalogue())
	a := newAPI(t, config(r))
	app := r.App(management.ClientSpec{})
	access, refresh := r.Tokens(app, "read")
	w, c := a.ask(request(access), "read", "accounts:read")
	a.want(w, http.StatusNoContent, "")
	if c.Subject != r.Alice.ID || c.ClientID != app.ID || c.Credential != "access_token" || c.Role != "owner" ||
		c.Workspace == "" || c.WorkspaceID == "" || c.Plan != "people" {
		t.Errorf("claims of an access token: %+v", c)
	}
	if c.ExpiresAt.Before(r.Store.Now().Time()) || c.IssuedAt.IsZero() || c.AuthTime.IsZero() || c.ID == "" ||
		!cmp.Equal(c.Scopes, []string{"read"}) {
		t.Errorf("claims of an access token: %+v", c)
	}
	ws := r.Workspace("acme", "", r.Alice)
	key, text := r.Key(ws, apikey.Spec{Scopes: []string{"accounts:read"}, Environment: "test"})
	w, c = a.ask(request(text), "accounts:read")
	a.want(w, http.StatusNoContent, "")
	if c.KeyID != key.ID || c.Subject != "" || c.Environment != "test" || c.Workspace != "acme" ||
		c.WorkspaceID != ws.ID || c.Credential != "api_key" || !c.ExpiresAt.IsZero() {
		t.Errorf("claims of a key: %+v", c)
	}
	w, _ = a.ask(request(text), "read")
	a.want(w, http.StatusForbidden, "insufficient_scope")
	w, _ = a.ask(request(refresh), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
	w, _ = a.ask(request(access)) // any credential will do
	a.want(w, http.StatusNoContent, "")
}

func TestRefusalsAreThoseOfRFC6750(t *testing.T) {
	r := rig.Memory(t, catalogue())
	a := newAPI(t, config(r))
	app := r.App(management.ClientSpec{Resources: []string{exampleAPI, "https://other.example.com"}})
	access, _ := r.Tokens(app, "read")
	const realm = `Bearer realm="https://api.example.com/v2"`
	const metadata = `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/v2"`

	w, _ := a.ask(request(""), "read")
	a.want(w, http.StatusUnauthorized, "")
	if got := w.Header().Get("WWW-Authenticate"); got != realm+", "+metadata {
		t.Errorf("without a token the challenge is %s", got)
	}
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["error"] != "Unauthorized" ||
		body["statusCode"] != 401.0 || body["message"] == "" {
		t.Errorf("without a token the body is %s", w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("the refusal may be stored, or is not JSON: %v", w.Header())
	}
	w, _ = a.ask(request(access), "read", "write")
	a.want(w, http.StatusForbidden, "insufficient_scope")
	if got := w.Header().Get("WWW-Authenticate"); !strings.HasPrefix(got, realm+`, error="insufficient_scope"`) ||
		!strings.HasSuffix(got, `scope="read write", `+metadata) {
		t.Errorf("without a scope the challenge is %s", got)
	}
	for name, q := range map[string]*http.Request{
		"unknown":          request("dw_at_nonsense"),
		"no b64token":      request("a b"),
		"a quote":          request(`a"b`),
		"too long":         request(strings.Repeat("a", 8193)),
		"of another API":   request(machine(t, r, "https://other.example.com")),
		"three parts":      request("a.b.c"),
		"a refused client": request(app.Secret),
	} {
		w, _ := a.ask(q)
		if a.want(w, http.StatusUnauthorized, "invalid_token"); t.Failed() {
			t.Fatal(name)
		}
	}
	twice := request(access, "Authorization", "Bearer "+access)
	w, _ = a.ask(twice)
	a.want(w, http.StatusBadRequest, "invalid_request")
	q := httptest.NewRequest(http.MethodGet, "/notes?access_token="+access, nil)
	w, _ = a.ask(q)
	a.want(w, http.StatusUnauthorized, "")
	q = httptest.NewRequest(http.MethodPost, "/notes", strings.NewReader("access_token="+access))
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w, _ = a.ask(q)
	a.want(w, http.StatusUnauthorized, "")
	for _, other := range []string{"Basic " + access, "Bearer", "Bearer ", "bearer" + access} {
		w, _ = a.ask(request("", "Authorization", other))
		a.want(w, http.StatusUnauthorized, "")
	}
	w, _ = a.ask(request("", "Authorization", "bEARER "+access))
	a.want(w, http.StatusNoContent, "")
}

// machine is an app's own token for a resource.
func machine(t *testing.T, r *rig.Rig, id string) string {
	t.Helper()
	app := r.App(management.ClientSpec{
		Name: "Machine", Grants: []string{"client_credentials"}, Resources: []string{id},
		Scopes: []string{"read"},
	})
	answer := r.PostAs(app, "/oauth/token", map[string][]string{"grant_type": {"client_credentials"}, "resource": {id}})
	if answer.Status != http.StatusOK {
		t.Fatalf("client_credentials: %d %s", answer.Status, answer.Body)
	}
	return answer.Text("access_token")
}

// A resource server that decides for two APIs is configured with both. Each API accepts its own credentials only.
func TestAudienceIsThisAPI(t *testing.T) {
	r := rig.Memory(t, catalogue())
	server := r.App(management.ClientSpec{
		Name: "Both", ResourceServer: true,
		Resources: []string{exampleAPI, "https://other.example.com"},
	})
	c := config(r)
	c.ClientID, c.ClientSecret = server.ID, server.Secret
	here := newAPI(t, c)
	c.Resource = "https://other.example.com"
	there := newAPI(t, c)
	token := machine(t, r, "https://other.example.com")
	w, _ := there.ask(request(token), "read")
	there.want(w, http.StatusNoContent, "")
	w, _ = here.ask(request(token), "read")
	here.want(w, http.StatusUnauthorized, "invalid_token")
}

func TestLimitsAreToldAndHeld(t *testing.T) {
	r := rig.Memory(t, catalogue())
	c := config(r)
	c.CacheFor = time.Minute // which counting has no use for
	cost := 1
	c.Cost = func(*http.Request) int { return cost }
	a := newAPI(t, c)
	ws := r.Workspace("acme", "", r.Alice)
	_, key := r.Key(ws, apikey.Spec{})
	for _, left := range []string{"1", "0"} {
		w, _ := a.ask(request(key), "read")
		a.want(w, http.StatusNoContent, "")
		if h := w.Header(); h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != left ||
			h.Get("X-RateLimit-Reset") == "" {
			t.Errorf("want %s left: %v", left, h)
		}
	}
	w, _ := a.ask(request(key), "read")
	a.want(w, http.StatusTooManyRequests, "")
	var body struct{ RetryAfter int }
	wait, _ := strconv.Atoi(w.Header().Get("Retry-After"))
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || wait < 3500 || body.RetryAfter != wait ||
		w.Header().Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("over the limit: %v %s", w.Header(), w.Body)
	}
	cost = 0
	w, _ = a.ask(request(key), "read")
	a.want(w, http.StatusNoContent, "")
	if w.Header().Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("a free request is not told what is left: %v", w.Header())
	}
	cost = -1
	w, _ = a.ask(request(key), "read")
	a.want(w, http.StatusNoContent, "")
	if w.Header().Get("X-RateLimit-Limit") != "" {
		t.Errorf("limits were asked about: %v", w.Header())
	}
}

func TestWorkspaceIsTheRequests(t *testing.T) {
	r := rig.Memory(t, catalogue())
	c := config(r)
	c.WorkspaceHeader = "X-Workspace"
	c.CacheFor = time.Second // an answer is for one workspace
	a := newAPI(t, c)
	mine, theirs := r.Workspace("acme", "", r.Alice), r.Workspace("umbrella", "", r.User("bob@example.com", "Bob", false))
	r.Join(theirs, r.Alice, "viewer")
	r.Workspace("closed", "", r.User("bob@example.com", "Bob", false))
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"write"}})
	_, key := r.Key(mine, apikey.Spec{Scopes: []string{"write"}})

	w, claims := a.ask(request(pat, "X-Workspace", "acme"), "write")
	a.want(w, http.StatusNoContent, "")
	if claims.Workspace != "acme" || claims.Role != "owner" || claims.Subject != r.Alice.ID ||
		claims.Credential != "personal_access_token" {
		t.Errorf("in acme the claims are %+v", claims)
	}
	w, _ = a.ask(request(pat, "X-Workspace", "umbrella"), "write") // the role there only reads
	a.want(w, http.StatusForbidden, "insufficient_scope")
	w, _ = a.ask(request(pat), "write")
	a.want(w, http.StatusBadRequest, "invalid_request")
	if !strings.Contains(w.Body.String(), "X-Workspace") {
		t.Errorf("the answer does not say what to do: %s", w.Body)
	}
	for _, slug := range []string{"closed", "nowhere", "ACME ", "\xff", strings.Repeat("a", 5000)} {
		for _, token := range []string{pat, key} {
			w, _ = a.ask(request(token, "X-Workspace", slug), "write")
			a.want(w, http.StatusForbidden, "insufficient_scope")
		}
		w, _ = a.ask(request("unknown", "X-Workspace", slug), "write")
		a.want(w, http.StatusUnauthorized, "invalid_token")
	}
	w, _ = a.ask(request(key, "X-Workspace", "umbrella"), "write")
	a.want(w, http.StatusForbidden, "insufficient_scope")
	w, _ = a.ask(request(key), "write")
	a.want(w, http.StatusNoContent, "")
	for _, q := range []*http.Request{
		request(key, "X-Workspace", ""),
		request(key, "X-Workspace", "acme", "X-Workspace", "acme"),
	} {
		w, _ = a.ask(q, "write")
		a.want(w, http.StatusBadRequest, "invalid_request")
	}
	w, _ = newAPI(t, config(r)).ask(request(key, "X-Workspace", "umbrella"), "write") // where none is read, none counts
	a.want(w, http.StatusNoContent, "")
}

func TestKeyIsUsedFromItsAddressesOnly(t *testing.T) {
	r := rig.Memory(t, catalogue())
	a := newAPI(t, config(r))
	_, key := r.Key(r.Workspace("acme", "", r.Alice),
		apikey.Spec{Addresses: storage.List{"192.0.2.0/24", "2001:db8::/32"}})
	for address, status := range map[string]int{
		"192.0.2.7:1":          http.StatusNoContent,
		"[::ffff:192.0.2.7]:1": http.StatusNoContent,
		"[2001:db8::1%eth0]:1": http.StatusNoContent,
		"192.0.3.7:1":          http.StatusForbidden, "": http.StatusForbidden, "a socket": http.StatusForbidden,
	} {
		q := request(key, "X-Forwarded-For", "192.0.2.1")
		q.RemoteAddr = address
		if w, _ := a.ask(q, "read"); w.Code != status {
			t.Errorf("from %q the key gets %d, want %d", address, w.Code, status)
		}
	}
	c := config(r)
	c.ClientAddress = func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") }
	b := newAPI(t, c)
	w, _ := b.ask(request(key), "read")
	b.want(w, http.StatusNoContent, "")
}

func TestKeyThatIntrospects(t *testing.T) {
	r := rig.Memory(t, catalogue())
	k, text := r.IntrospectionKey()
	access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
	a := newAPI(t, resource.Config{Issuer: r.Issuer, Key: text})
	w, _ := a.ask(request(access), "read")
	a.want(w, http.StatusNoContent, "")
	if _, err := r.Management.RevokeKey(r.System(), management.CLI(""), k.Owner(), k.ID); err != nil {
		t.Fatal(err)
	}
	w, _ = a.ask(request(access), "read")
	a.want(w, http.StatusInternalServerError, "")
	if strings.Contains(a.log.String(), text) {
		t.Errorf("the log shows the API's own key: %s", a.log.String())
	}
}

func TestBodyIsTheAPIs(t *testing.T) {
	var got *resource.Refusal
	a := newAPI(t, resource.Config{
		Issuer: "https://auth.example.com", Key: "sk_live_x",
		WriteError: func(w http.ResponseWriter, _ *http.Request, r *resource.Refusal) {
			got = r
			w.WriteHeader(r.Status)
			_, _ = io.WriteString(w, "no")
		},
	})
	w, _ := a.ask(request(""))
	if a.want(w, http.StatusUnauthorized, ""); w.Body.String() != "no" || got.Status != http.StatusUnauthorized ||
		w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("got %v %s %+v", w.Header(), w.Body, got)
	}
}

// noContent is a handler that answers 204.
func noContent() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}
