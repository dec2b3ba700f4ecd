package oauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/redirecturi"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/stores"
)

// fuzzServer is a server with one client, whose id is given.
func fuzzServer(f *testing.F) (s *Server, clientID string) {
	f.Helper()
	store := stores.Open(f, "sqlite::memory:")
	secrets, err := seal.New([][]byte{[]byte(strings.Repeat("s", 32))})
	if err != nil {
		f.Fatal(err)
	}
	offered, err := catalog.New(catalog.Config{Resources: []catalog.Resource{
		{ID: "https://api.example", Scopes: []catalog.Scope{{Name: "read"}, {Name: "write"}, {Name: "accounts:read"}}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	manager := management.New(management.Config{
		Store:   store,
		Catalog: offered,
		APIKeys: apikey.New(apikey.Config{Store: store, Catalog: offered}),
		Grants:  GrantRules(),
	})
	s = New(Config{
		Issuer: "https://auth.example", Store: store, Secrets: secrets, Catalog: offered, Management: manager,
		Lifetimes:     Lifetimes{Access: time.Hour, Refresh: time.Hour, RefreshAbsolute: time.Hour, Code: time.Minute},
		ClientAddress: func(*http.Request) netip.Addr { return netip.Addr{} },
	})
	c, _, err := manager.CreateClient(storage.System(f.Context()), management.CLI(""), management.ClientSpec{
		Name:          "App",
		RedirectURIs:  []string{"https://app.example/cb?a=b", "http://127.0.0.1/cb"},
		Scopes:        []string{"read", "accounts:read"},
		Administrator: true,
	})
	if err != nil {
		f.Fatal(err)
	}
	return s, c.ID
}

// FuzzAuthorizeQuery: no query or body brings the server down or is told differently twice; what is accepted is what
// was sent, each parameter once; and an error goes to the app only where its redirect URI is proven.
func FuzzAuthorizeQuery(f *testing.F) {
	s, id := fuzzServer(f)
	good := "client_id=CLIENT&redirect_uri=https%3A%2F%2Fapp.example%2Fcb%3Fa%3Db&response_type=code" +
		"&scope=read&state=xyz&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
	for _, query := range []string{
		good, "", "&", "%", "client_id=CLIENT", good + "&a=1;b=2", good + "&%zz", good + "&state=y",
		good + "&client_id=CLIENT", good + "&redirect_uri=https://evil.example", good + "&prompt=none",
		good + "&prompt=login+consent&max_age=0",
		good + "&prompt=none%20login", good + "&max_age=-1", good + "&max_age=99999999999999999999",
		good + "&resource=https://api.example", good + "&resource=a&resource=b&state=z", good + "&request=x&request_uri=y",
		good + "&response_mode=query",
		good + "&nonce=%00", good + "&%ff=%fe", strings.Replace(good, "state=xyz", "state=%00%ff%0d%0a", 1),
		strings.Replace(good, "state=xyz", "state=", 1),
		strings.Replace(good, "scope=read", "scope=accounts%3Aread%09read", 1),
		strings.Replace(good, "scope=read", "scope=%2A", 1),
		strings.Replace(good, "https%3A%2F%2Fapp.example%2Fcb%3Fa%3Db", "http%3A%2F%2F127.0.0.1%3A9%2Fcb", 1),
		strings.Replace(good, "https%3A%2F%2Fapp.example%2Fcb%3Fa%3Db", "http%3A%2F%2Fu%40127.0.0.1%3A9%2Fcb", 1),
		strings.Replace(good, "response_type=code", "response_type=token", 1), strings.Replace(good, "S256", "plain", 1),
		good + strings.Repeat("&x", 200), good + "&state[]=x&code=y",
	} {
		f.Add(query, false)
		f.Add(query, true)
	}
	f.Add(good+"&x="+strings.Repeat("x", maxBody), true)
	f.Fuzz(func(t *testing.T, query string, post bool) {
		query = strings.ReplaceAll(query, "CLIENT", id)
		a, err := parseText(t, s, query, post)
		again, twice := parseText(t, s, query, post)
		told, same := refusal(t, err), refusal(t, twice)
		if (told == nil) != (same == nil) || told != nil && (told.Code != same.Code || told.RedirectTo != same.RedirectTo) {
			t.Fatalf("%q is answered with %v, then with %v", query, err, twice)
		}
		sent, malformed := url.ParseQuery(query)
		switch {
		case told == nil:
			if malformed != nil {
				t.Fatalf("%q is accepted, and is malformed: %v", query, malformed)
			}
			accepted(t, s, a, sent)
			a.ID, again.ID, a.CreatedAt, again.CreatedAt = "", "", 0, 0
			if !reflect.DeepEqual(a.Flow, again.Flow) {
				t.Fatalf("%q gives %+v, then %+v", query, a.Flow, again.Flow)
			}
		case told.RedirectTo != "":
			toldTheApp(t, told, sent)
		case told.Description == "":
			t.Fatalf("%q is refused without a word", query)
		}
	})
}

func parseText(t *testing.T, s *Server, query string, post bool) (*AuthorizeRequest, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/oauth/authorize", nil)
	r.URL.RawQuery = query
	if post {
		r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth/authorize", strings.NewReader(query))
		r.Header.Set("Content-Type", formType)
	}
	return s.ParseAuthorize(httptest.NewRecorder(), r)
}

func refusal(t *testing.T, err error) *AuthorizeError {
	t.Helper()
	var refused *AuthorizeError
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &AuthorizeError{Code: InvalidRequest, Description: "too large"}
	}
	if err != nil && !errors.As(err, &refused) {
		t.Fatalf("another error than those of RFC 6749: %v", err)
	}
	if refused != nil && refused.Code == ServerError {
		t.Fatalf("the server failed: %v", refused.Cause)
	}
	return refused
}

// accepted checks that a request is what was sent, and what the rest of the package relies on.
func accepted(t *testing.T, s *Server, a *AuthorizeRequest, sent url.Values) {
	t.Helper()
	for name, values := range sent {
		if len(values) != 1 {
			t.Fatalf("%s is there %d times", name, len(values))
		}
	}
	if sent.Get("redirect_uri") != a.RedirectURI || sent.Get("client_id") != a.ClientID || sent.Get("state") != a.State ||
		sent.Get("response_type") != "code" || sent.Get("request")+sent.Get("request_uri") != "" {
		t.Fatalf("%v became %+v", sent, a.Flow)
	}
	if !redirecturi.Match(a.Client.RedirectURIs, a.RedirectURI, nil) || !s256.MatchString(a.Challenge) ||
		sent.Get("code_challenge") != a.Challenge || sent.Get("code_challenge_method") != "S256" ||
		a.Flow.Resource != "https://api.example" {
		t.Fatalf("accepted %+v", a.Flow)
	}
	if len(a.Scopes) == 0 || slices.ContainsFunc(a.Scopes, func(x string) bool { return !a.Client.Scopes.Has(x) }) ||
		len(slices.Compact(slices.Sorted(slices.Values(a.Scopes)))) != len(a.Scopes) {
		t.Fatalf("scopes %q", a.Scopes)
	}
	if a.MaxAge < 0 || strings.Contains(a.Prompt, "none") && a.Prompt != "none" {
		t.Fatalf("prompt %q, max_age %d", a.Prompt, a.MaxAge)
	}
	a.NeedsLogin(s.store.Now())
	// The flow comes out of its seal as it went in, for this browser alone.
	opened, err := s.OpenFlow(s.SealFlow(&a.Flow, "cookie"))
	a.StateBytes = nil // the same as State
	if opened != nil {
		opened.StateBytes = nil
	}
	if err != nil || !reflect.DeepEqual(*opened, a.Flow) || !opened.BoundTo("cookie") || opened.BoundTo("Cookie") ||
		opened.BoundTo("") {
		t.Fatalf("sealed %+v, opened %+v: %v", a.Flow, opened, err)
	}
	a.CookieDigest = nil
}

// loopback is the client's second redirect URI, with any port or none.
var loopback = regexp.MustCompile(`^http://127\.0\.0\.1(?::([1-9][0-9]{0,4}))?/cb$`)

// registered is the rule for the client's redirect URIs in other words than the matcher's.
func registered(uri string) bool {
	m := loopback.FindStringSubmatch(uri)
	if m == nil || m[1] == "" {
		return m != nil || uri == "https://app.example/cb?a=b"
	}
	port, err := strconv.Atoi(m[1])
	return err == nil && port <= 65535
}

// toldTheApp checks an error that goes to the app.
func toldTheApp(t *testing.T, e *AuthorizeError, sent url.Values) {
	t.Helper()
	uri := sent.Get("redirect_uri")
	rest, ok := strings.CutPrefix(e.RedirectTo, uri)
	if !ok || len(sent["redirect_uri"]) != 1 || len(sent["client_id"]) != 1 || !registered(uri) {
		t.Fatalf("%q is told to %q", uri, e.RedirectTo)
	}
	q, err := url.ParseQuery(rest[1:])
	if err != nil || q.Get("error") != e.Code || q.Get("iss") != "https://auth.example" || q.Has("code") ||
		strings.ContainsFunc(e.RedirectTo, func(r rune) bool { return r <= ' ' || r > '~' }) {
		t.Fatalf("told %q: %v", e.RedirectTo, err)
	}
	if state := sent["state"]; len(state) == 1 && len(state[0]) <= maxState &&
		(q.Get("state") != state[0] || q.Has("state") != (state[0] != "")) || len(state) != 1 && q.Has("state") {
		t.Fatalf("state %q came back as %q", state, q["state"])
	}
}
