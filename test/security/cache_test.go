package security

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/stores"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// The two APIs of a cacheWorld. Access tokens for the second are JWTs.
const (
	opaqueHost, signedHost = "api.example.com", "signed.example.com"
	opaqueID, signedID     = "https://" + opaqueHost, "https://" + signedHost
)

// cacheWorld is a server whose answers are asked for while something changes. Changes are made at its Rig; asked is the
// node that is asked, the same one or another.
type cacheWorld struct {
	*rig.Rig
	asked   *rig.Rig
	api     *rig.App // introspects for both APIs
	app     *rig.App
	browser *rig.Browser // Alice's
	people  atomic.Int64
	askers  atomic.Int64
}

func cacheOptions() rig.Options {
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read"},
		{Name: "write", Text: "Write"},
		{Name: "admin", Text: "Everything", Implies: []string{"read", "write"}},
	}
	keys := catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}}
	routes := []route.Route{
		{Methods: []string{"GET"}, Path: "/**", Scopes: []string{"read"}},
		{Methods: []string{"POST"}, Path: "/**", Scopes: []string{"write"}},
	}
	return rig.Options{
		AtOnce: true, Issuer: "http://localhost:8080", Tokens: &oauth.TokenLimits{},
		Lifetimes:      oauth.Lifetimes{RefreshReuseWindow: -1},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Plans:          map[string]limit.Plan{"small": {Hour: 1_000_000}, "large": {Hour: 2_000_000}},
		Resources: []catalog.Resource{
			{ID: opaqueID, Name: "API", Scopes: scopes, Keys: keys, WorkspaceHeader: "X-Workspace"},
			{ID: signedID, Name: "JWT API", Scopes: scopes, WorkspaceHeader: "X-Workspace", JWT: true},
		},
		APIs: []gateway.API{
			{ID: opaqueID, Hosts: []string{opaqueHost}, Routes: routes},
			{ID: signedID, Hosts: []string{signedHost}, Routes: routes},
		},
	}
}

func newCacheWorld(nodes []*rig.Rig) *cacheWorld {
	r := nodes[0]
	both := []string{opaqueID, signedID}
	return &cacheWorld{
		Rig: r, asked: nodes[len(nodes)-1], browser: r.Browser().SignIn(r.Alice.Email),
		api: r.App(management.ClientSpec{Name: "The APIs", ResourceServer: true, Resources: both}),
		app: r.App(management.ClientSpec{
			Resources: both, Scopes: []string{"read", "write"}, RedirectURIs: []string{"https://app.example/cb"},
			Grants: []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials},
		}),
	}
}

// person creates a user.
func (w *cacheWorld) person() storage.User {
	n := strconv.FormatInt(w.people.Add(1), 10)
	return w.User("person"+n+"@example.com", "Person "+n, false)
}

// team creates a workspace with its owner.
func (w *cacheWorld) team(plan string) (storage.Workspace, storage.User) {
	owner := w.person()
	return w.Workspace("team-"+strconv.FormatInt(w.people.Add(1), 10), plan, owner), owner
}

// tokensOf has a signed-in user allow the app for an API, in a workspace unless slug is empty.
func (w *cacheWorld) tokensOf(b *rig.Browser, app *rig.App, resource, scope, slug string) (access, refresh string) {
	w.T.Helper()
	params := app.Params(scope)
	params.Set("resource", resource)
	a := b.Authorize(params)
	if a.Location == nil {
		a = b.Decide(a, "approve", func(v url.Values) {
			if slug != "" {
				v.Set("workspace", slug)
			}
		})
	}
	a = w.Exchange(app, a.Param("code"))
	if a.Status != http.StatusOK {
		w.T.Fatalf("exchange answered %d %s", a.Status, a.Body)
	}
	return a.Text("access_token"), a.Text("refresh_token")
}

// ownToken has an app request a token for itself.
func (w *cacheWorld) ownToken(app *rig.App, resource string) string {
	w.T.Helper()
	a := w.PostAs(app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "resource": {resource}})
	if a.Status != http.StatusOK {
		w.T.Fatalf("client_credentials answered %d %s", a.Status, a.Body)
	}
	return a.Text("access_token")
}

// revoke revokes a token at the revocation endpoint.
func (w *cacheWorld) revoke(app *rig.App, token string) error {
	if a := w.PostAs(app, "/oauth/revoke", url.Values{"token": {token}}); a.Status != http.StatusOK {
		w.T.Errorf("revocation answered %d %s", a.Status, a.Body)
	}
	return nil
}

// serve has the node that is asked answer a request, without a connection between them: requests meet more often.
func (w *cacheWorld) serve(method, path, body string, header ...string) *rig.Answer {
	q := httptest.NewRequestWithContext(w.T.Context(), method, path, strings.NewReader(body))
	q.Host = strings.TrimPrefix(w.Issuer, "http://")
	// Failures are limited by the address.
	n := w.askers.Add(1)
	q.RemoteAddr = netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String() + ":1"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "X-Forwarded-For" { // as a trusted proxy
			q.RemoteAddr = "127.0.0.1:1"
		}
		q.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	w.asked.HTTP.Config.Handler.ServeHTTP(recorder, q)
	return &rig.Answer{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.String()}
}

// question is what is asked again and again. An answer is as before the change, as after it, or wrong.
type question struct {
	name          string
	ask           func() *rig.Answer
	before, after func(a *rig.Answer) bool
	final         bool // what step.back gives back does not include this
}

// introspection asks about a credential, in a workspace unless it is empty, as a resource server.
func (w *cacheWorld) introspection(by *rig.App, credential, workspace string) func() *rig.Answer {
	form := url.Values{"token": {credential}}
	if workspace != "" {
		form.Set("workspace", workspace)
	}
	body, basic := form.Encode(), rig.Basic(by.ID, by.Secret)
	return func() *rig.Answer {
		return w.serve(http.MethodPost, "/oauth/introspect", body, "Content-Type", "application/x-www-form-urlencoded",
			"Authorization", basic)
	}
}

// active is the question whether introspection calls a credential active.
func (w *cacheWorld) active(credential, workspace string) question {
	return question{
		name: "introspection", ask: w.introspection(w.api, credential, workspace), after: w.Dead,
		before: func(a *rig.Answer) bool { return a.Status == http.StatusOK && a.JSON()["active"] == true },
	}
}

// told is the question what introspection says in a member of its answer.
func (w *cacheWorld) told(credential, workspace, member, before, after string) question {
	says := func(text string) func(*rig.Answer) bool {
		return func(a *rig.Answer) bool {
			return a.Status == http.StatusOK && a.JSON()["active"] == true && a.Text(member) == text
		}
	}
	return question{
		name: member + " at introspection", ask: w.introspection(w.api, credential, workspace),
		before: says(before), after: says(after),
	}
}

// admitted is the question whether the gateway lets a request of a method through.
func (w *cacheWorld) admitted(method, credential, workspace string) question {
	host := opaqueHost
	if strings.HasPrefix(credential, "ey") {
		host = signedHost
	}
	header := []string{
		"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Method", method, "X-Forwarded-Host", host, "X-Forwarded-Uri", "/x",
		"Authorization", "Bearer " + credential,
	}
	if workspace != "" {
		header = append(header, "X-Workspace", workspace)
	}
	return question{
		name:   method + " at the gateway",
		ask:    func() *rig.Answer { return w.serve(http.MethodGet, gateway.ForwardPath, "", header...) },
		before: func(a *rig.Answer) bool { return a.Status == http.StatusOK },
		after: func(a *rig.Answer) bool {
			return a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden
		},
	}
}

// works are the questions whether a credential works at all.
func (w *cacheWorld) works(credential, workspace string) []question {
	return []question{w.active(credential, workspace), w.admitted(http.MethodGet, credential, workspace)}
}

// forGood marks questions whose answers do not come back.
func forGood(questions []question) []question {
	for i := range questions {
		questions[i].final = true
	}
	return questions
}

// step is one change, and what is asked meanwhile. back gives back what change took; nil: the change is for good.
type step struct {
	questions    []question
	change, back func() error
}

// during makes a change while workers ask. Every request that begins after the change has returned must be answered as
// after it; one that meets the change, as before or as after it.
// restless is called again and again until the change is made.
func during(t *testing.T, questions []question, restless func(), change func() error) {
	t.Helper()
	const workers = 8
	var warm, done sync.WaitGroup
	var changed, wrong atomic.Bool
	// The change gets its share of the processor.
	atOnce := make(chan struct{}, 3)
	ask := func(q *question) {
		atOnce <- struct{}{}
		defer func() { <-atOnce }()
		late := changed.Load()
		a := q.ask()
		if q.after(a) || !late && q.before(a) || wrong.Swap(true) {
			return
		}
		t.Errorf("%s: a request that began after the change (%v) was answered %d %s %s", q.name, late, a.Status, a.Body,
			a.Header.Get("X-RateLimit-Limit"))
	}
	for i := range workers {
		warm.Add(1)
		done.Go(func() {
			// Each worker begins with another question.
			turn := i
			next := func() *question {
				turn++
				return &questions[turn%len(questions)]
			}
			ask(next())
			warm.Done()
			for !changed.Load() && !wrong.Load() {
				if turn%4 == 0 {
					restless()
				}
				ask(next())
			}
			ask(next())
			ask(next())
		})
	}
	warm.Wait()
	err := change()
	changed.Store(true)
	done.Wait()
	ok(t, err)
}

// race makes the change of a step, and takes it back, each while requests are under way.
func (s *step) race(t *testing.T, restless func()) {
	t.Helper()
	for _, q := range s.questions {
		for range 2 { // the second answer comes from memory
			if a := q.ask(); !q.before(a) {
				t.Fatalf("%s: before the change: %d %s", q.name, a.Status, a.Body)
			}
		}
	}
	during(t, s.questions, restless, s.change)
	if s.back == nil || t.Failed() {
		return
	}
	var returning []question
	for _, q := range s.questions {
		if !q.final {
			q.before, q.after = q.after, q.before
			returning = append(returning, q)
		}
	}
	during(t, returning, restless, s.back)
}

// kindOfChange prepares steps of one kind: start sets up what the steps share, and returns what prepares each of them.
type kindOfChange struct {
	name  string
	start func(w *cacheWorld) func() step
	// aged is for what a node without a cache keeps for a moment, by its age alone.
	aged bool
}

// raceEach runs rounds of each kind of change on one node of each engine, and on two nodes.
func raceEach(t *testing.T, kinds []kindOfChange) {
	t.Helper()
	rounds := 2
	if stores.OnlyAtOnce() || testing.Short() { // the race detector needs to see each of them only once
		rounds = 1
	}
	off := os.Getenv("DOORWARD_TEST_CACHE") == "off"
	rig.EachNodes(t, cacheOptions(), func(t *testing.T, nodes []*rig.Rig) {
		w := newCacheWorld(nodes)
		for _, kind := range kinds {
			if off && kind.aged && len(nodes) > 1 {
				continue
			}
			t.Run(kind.name, func(t *testing.T) {
				next := kind.start(w)
				// In every other round, most answers are read from the database while the change is made.
				restless := []func(){func() {}, w.asked.Store.Invalidate}
				for i := range rounds {
					if s := next(); !t.Failed() {
						s.race(t, restless[i%2])
					}
				}
			})
		}
		hits, _ := w.asked.Bearer.CacheStats()
		if (hits == 0) != off {
			t.Errorf("%d answers came from memory, so this proves nothing", hits)
		}
	})
}

// reads is the specification of a key that may read and write.
func reads() apikey.Spec { return apikey.Spec{Scopes: []string{"read", "write"}} }
