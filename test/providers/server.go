package providers

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Endpoint is one of the addresses of a stand-in.
type Endpoint string

// The endpoints. GitHub has neither Discovery nor Keys; its UserInfo is /user.
const (
	Authorize Endpoint = "authorize" // the only one that the browser opens
	Discovery Endpoint = "discovery"
	Keys      Endpoint = "keys"
	Token     Endpoint = "token"
	UserInfo  Endpoint = "userinfo"
	Emails    Endpoint = "emails" // GitHub's /user/emails
)

// Server is a stand-in. Its methods are safe for concurrent use.
type Server struct {
	// ClientID and ClientSecret are those of the client that is registered. Apple has no ClientSecret.
	ClientID, ClientSecret string
	// TeamID, KeyID and PrivateKey are Apple's: PrivateKey is the PEM file that Apple offers for download.
	TeamID, KeyID, PrivateKey string

	kind   kind
	http   *httptest.Server
	closed chan struct{} // closed at the end of the test

	mu            sync.Mutex
	callback      string
	user          User
	now           func() time.Time
	shift         time.Duration
	faults        map[Fault]bool
	faultsAt      map[Endpoint]Fault
	repaired      chan struct{} // closed by Repair
	edits         edits
	signing       signingKey
	codes         map[string]*grant
	tokens        map[string]*grant
	consented     map[string]bool // by subject: Apple has sent the name
	requests      map[Endpoint]int
	counted       *sync.Cond // requests has changed
	authorization []url.Values
}

// edits change what a stand-in answers, after everything else.
type edits struct {
	discovery, claims, userInfo func(map[string]any)
	callback                    func(url.Values)
}

// kind is what distinguishes the stand-ins.
type kind struct {
	id string
	// issuer is what follows the address of the server in the issuer.
	issuer string
	// paths are those of the endpoints. {authority} in one is Microsoft's common, organizations, consumers or a tenant.
	paths map[Endpoint]string
}

func (k kind) isGitHub() bool    { return k.id == "github" }
func (k kind) isApple() bool     { return k.id == "apple" }
func (k kind) isMicrosoft() bool { return k.id == "microsoft" }

// openID lists the paths of a provider of OpenID Connect whose discovery document is below its address.
func openID(authorize, token, keys, userInfo string) map[Endpoint]string {
	paths := map[Endpoint]string{
		Discovery: "/.well-known/openid-configuration", Authorize: authorize, Token: token, Keys: keys,
	}
	if userInfo != "" {
		paths[UserInfo] = userInfo
	}
	return paths
}

// OIDC starts a plain OpenID Connect provider, which is strict: the ID token has no claims about the user, which are
// at the userinfo endpoint (OpenID Connect Core, section 5.4), and each callback has iss (RFC 9207).
func OIDC(t testing.TB) *Server {
	t.Helper()
	return start(t, kind{id: "oidc", paths: openID("/authorize", "/token", "/jwks", "/userinfo")})
}

// Google starts a stand-in for Google, as https://developers.google.com/identity/openid-connect describes it.
func Google(t testing.TB) *Server {
	t.Helper()
	return start(t, kind{id: "google", paths: openID("/o/oauth2/v2/auth", "/token", "/oauth2/v3/certs",
		"/v1/userinfo")})
}

// Microsoft starts a stand-in for Microsoft's identity platform, version 2.0. Its issuer is that of the authority
// common, whose users come from any tenant; TenantIssuer is that of one tenant.
func Microsoft(t testing.TB) *Server {
	t.Helper()
	paths := openID("/{authority}/oauth2/v2.0/authorize", "/{authority}/oauth2/v2.0/token",
		"/{authority}/discovery/v2.0/keys", "/oidc/userinfo")
	paths[Discovery] = "/{authority}/v2.0" + paths[Discovery]
	return start(t, kind{id: "microsoft", issuer: "/common/v2.0", paths: paths})
}

// Apple starts a stand-in for Sign in with Apple. Its callback is a form, and it sends the name of a user only once.
func Apple(t testing.TB) *Server {
	t.Helper()
	s := start(t, kind{id: "apple", paths: openID("/auth/authorize", "/auth/token", "/auth/keys", "")})
	s.ClientSecret = ""
	s.TeamID, s.KeyID, s.PrivateKey = "TEAM123456", "KEY1234567", appleKeyPEM(t)
	return s
}

// GitHub starts a stand-in for GitHub, whose OAuth is not OpenID Connect. Its API is below /api/v3, as that of a GitHub
// Enterprise Server is.
func GitHub(t testing.TB) *Server {
	t.Helper()
	paths := openID("/login/oauth/authorize", "/login/oauth/access_token", "", "/api/v3/user")
	delete(paths, Discovery)
	delete(paths, Keys)
	paths[Emails] = paths[UserInfo] + "/emails"
	return start(t, kind{id: "github", paths: paths})
}

// GitLab starts a stand-in for GitLab, whose ID token has the email address but not the name.
func GitLab(t testing.TB) *Server {
	t.Helper()
	return start(t, kind{id: "gitlab", paths: openID("/oauth/authorize", "/oauth/token", "/oauth/discovery/keys",
		"/oauth/userinfo")})
}

func start(t testing.TB, k kind) *Server {
	t.Helper()
	s := &Server{
		ClientID: k.id + "-client", ClientSecret: k.id + "-secret:with/signs+and=more", kind: k,
		closed: make(chan struct{}), user: Ada(), now: time.Now,
		faults: map[Fault]bool{}, faultsAt: map[Endpoint]Fault{},
		repaired: make(chan struct{}),
		codes:    map[string]*grant{}, tokens: map[string]*grant{}, consented: map[string]bool{},
		requests: map[Endpoint]int{}, signing: newSigningKey(0),
	}
	s.counted = sync.NewCond(&s.mu)
	mux := http.NewServeMux()
	for endpoint, h := range map[Endpoint]http.HandlerFunc{
		Discovery: s.discovery, Authorize: s.authorize, Token: s.token, Keys: s.keys, UserInfo: s.userInfo,
		Emails: s.emails,
	} {
		path, ok := k.paths[endpoint]
		if !ok {
			continue
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			s.count(endpoint)
			if !s.fail(w, r, endpoint) {
				h(w, r)
			}
		})
	}
	s.http = httptest.NewServer(mux)
	t.Cleanup(func() {
		close(s.closed)
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// Issuer is the setting with which a client finds the stand-in: its issuer, or GitHub's base URL.
func (s *Server) Issuer() string { return s.http.URL + s.kind.issuer }

// TenantIssuer is the issuer of one of Microsoft's tenants, or of its authorities organizations and consumers.
func (s *Server) TenantIssuer(tenant string) string { return s.http.URL + "/" + tenant + "/v2.0" }

// SetCallback registers the only redirect URI. Without it, each one on loopback is accepted, as RFC 8252, section 7.3
// asks for; the code is bound to it in any case.
func (s *Server) SetCallback(redirectURI string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callback = redirectURI
}

// SetUser chooses who is signed in at the stand-in. The first user is Ada.
func (s *Server) SetUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user = u
}

// ForgetConsent makes the stand-in treat each user as one who comes for the first time.
func (s *Server) ForgetConsent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.consented)
}

// SetClock makes the stand-in use a test's clock.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Shift makes the clock of the stand-in go wrong, by a duration that replaces the one before.
func (s *Server) Shift(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift = by
}

// RotateKeys replaces the key that signs ID tokens. The key set has only the new one.
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signing = newSigningKey(s.signing.index + 1)
}

// SignWith makes the stand-in sign with an algorithm: RS256, as at first, ES256 or EdDSA.
func (s *Server) SignWith(algorithm string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signing = s.signing.with(algorithm)
}

// EditDiscovery lets a function change the discovery document; nil: none does. The token endpoint accepts the methods
// of authentication that the result lists.
func (s *Server) EditDiscovery(edit func(document map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edits.discovery = edit
}

// EditClaims lets a function change the claims of ID tokens; nil: none does.
func (s *Server) EditClaims(edit func(claims map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edits.claims = edit
}

// EditUserInfo lets a function change the userinfo response, or GitHub's /user; nil: none does.
func (s *Server) EditUserInfo(edit func(members map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edits.userInfo = edit
}

// EditCallback lets a function change the parameters with which the browser goes back; nil: none does.
func (s *Server) EditCallback(edit func(params url.Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edits.callback = edit
}

// Break makes the stand-in answer wrongly, in these ways only. A fault of the connection concerns each endpoint but
// Authorize.
func (s *Server) Break(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	for _, f := range faults {
		s.faults[f] = true
	}
}

// BreakAt breaks the connection at one endpoint, beside what Break does. It panics if the fault is not one of the
// connection.
func (s *Server) BreakAt(e Endpoint, f Fault) {
	if !slices.Contains(connectionFaults, f) {
		panic("the stand-in cannot do this at one endpoint, use Break: " + f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faultsAt[e] = f
}

// Repair undoes Break and BreakAt.
func (s *Server) Repair() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	clear(s.faultsAt)
	close(s.repaired)
	s.repaired = make(chan struct{})
}

// Requests is how many requests an endpoint got.
func (s *Server) Requests(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[e]
}

// Await waits until an endpoint has got a request. A test that never sends one ends with its own timeout.
func (s *Server) Await(t testing.TB, e Endpoint) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.requests[e] == 0 {
		s.counted.Wait()
	}
}

// Authorizations returns the parameters of the authorization requests so far.
func (s *Server) Authorizations() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.authorization)
}

func (s *Server) count(e Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[e]++
	s.counted.Broadcast()
}

// time is that of the stand-in. The caller holds the lock.
func (s *Server) time() time.Time { return s.now().Add(s.shift) }

// address is that of an endpoint, for an authority of Microsoft.
func (s *Server) address(e Endpoint, authority string) string {
	return s.http.URL + strings.ReplaceAll(s.kind.paths[e], "{authority}", authority)
}
