package security

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth"
	"doorward/test/rig"
)

// Clients whose ids are the URLs of their metadata documents (draft-ietf-oauth-client-id-metadata-document).

// wantRefusedDocument checks that a client id is refused at each endpoint, by a page for the user that does not send
// them away.
func wantRefusedDocument(t *testing.T, what string, b *rig.Browser, app *rig.App) *rig.Answer {
	t.Helper()
	a := ask(b, app.Params("read"))
	wantPage(t, a, http.StatusBadRequest)
	wantPage(t, ask(b, altered(app.Params("read"), url.Values{"prompt": {"none"}})), http.StatusBadRequest)
	refused(t, b.PostAs(app, "/oauth/par", app.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
	refused(t, b.PostAs(app, "/oauth/token", codeForm(app, "x")), http.StatusUnauthorized, oauth.InvalidClient)
	if t.Failed() {
		t.Fatalf("%s: %s", what, app.ID)
	}
	forgetFailures(b.Rig)
	return a
}

// URLs that are no client ids are not fetched.
func TestD12_URLsThatAreNoClientIDs(t *testing.T) {
	h, bait := newDocumentHost(t), newTrap(t)
	host := strings.TrimPrefix(h.URL, "https://")
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	h.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { t.Errorf("%s was fetched", q.URL) })
	port := strings.TrimPrefix(bait.Addr().String(), "127.0.0.1")
	for _, id := range []string{
		"http://" + host + "/x", "HTTPS://" + host + "/x", "Https://" + host + "/x", "//" + host + "/x", host + "/x",
		" " + h.URL + "/x", h.URL + "/x ", h.URL + "/x\n", h.URL + "/x\t", h.URL + "/x y", h.URL + "\\x",
		h.URL, h.URL + "?x", h.URL + "?/x", h.URL + "#/x", h.URL + "/", h.URL + "/?x",
		h.URL + "/x#", h.URL + "/x#y", h.URL + "/#",
		h.URL + "/.", h.URL + "/..", h.URL + "/./x", h.URL + "/../x", h.URL + "/x/..", h.URL + "/x/../y", h.URL + "/x/.",
		h.URL + "/%2e/x", h.URL + "/%2E%2e/x", h.URL + "/x/%2E.", h.URL + "/.%2e/x", h.URL + "/x/%2e?y",
		"https://user@" + host + "/x", "https://user:pw@" + host + "/x", "https://@" + host + "/x",
		"https://user@evil.example@" + host + "/x", "https://" + host + "\\@evil.example/x",
		"https:///x", "https://", "https:/" + host + "/x", "https:" + host + "/x", "https://:443/x", "https://?x",
		"https://" + host + "x/x", "https://" + host + ":1/x", "https://127.0.0.1:0/x", "https://127.0.0.1:65536/x",
		"https://127.0.0.1:/x", "https://127.0.0.1:x/x",
		"https://*.example/x", "https://" + "a..example/x", "https://-/x", "https://аpple.example/x",
		"https://app.example%2f@evil.example/x", "https://ex%61mple.com/x", "https://%31%32%37.0.0.1" + port + "/x",
		"https://2130706433" + port + "/x", "https://0x7f.1" + port + "/x", "https://0177.0.0.1" + port + "/x",
		"https://127.1" + port + "/x", "https://[::1]" + port + "/x", "https://[fe80::1%25lo]" + port + "/x",
		"https://10.0.0.1/x", "https://169.254.169.254/latest/meta-data", "https://192.168.0.1/x",
		"https://[64:ff9b::a00:1]/x",
		h.URL + "/" + strings.Repeat("x", 500), h.URL + "/é", h.URL + "/\u202e", h.URL + "/\"", h.URL + "/<x>",
		h.URL + "/%zz", h.URL + "/{x}",
	} {
		app := &rig.App{Redirect: "https://" + strangerHost + "/cb"}
		app.ID, app.Public = id, true
		wantRefusedDocument(t, "no client id", b, app)
	}
	bait.wantUntouched(t)
	if n := describedRows(t, r); n != 0 {
		t.Errorf("%d clients were stored", n)
	}
}

// Documents that are refused, with the reason for the developer on the page, which repeats nothing of the document. Once
// it is right, it is accepted at once: errors are not cached.
func TestD12_DocumentsThatAreRefused(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	key := rig.NewKey(t, "key-1")
	private, err := (&jose.JSONWebKey{Key: key.Private, KeyID: key.ID}).MarshalJSON()
	ok(t, err)
	const (
		unread  = "this server cannot read that right now"
		invalid = "what it says there is not valid"
	)
	status := func(code int) func(string) http.HandlerFunc {
		return func(text string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(code)
				_, _ = io.WriteString(w, text)
			}
		}
	}
	redirect := func(code int, to string) func(string) http.HandlerFunc {
		return func(string) http.HandlerFunc { return http.RedirectHandler(to, code).ServeHTTP }
	}
	typed := func(kind string) func(string) http.HandlerFunc {
		return func(text string) http.HandlerFunc { return asDocument(text, "Content-Type", kind) }
	}
	edited := func(edit func(string) string) func(string) http.HandlerFunc {
		return func(text string) http.HandlerFunc { return asDocument(edit(text)) }
	}
	replaced := func(from, to string) func(string) http.HandlerFunc {
		return edited(func(text string) string {
			if !strings.Contains(text, from) {
				t.Fatalf("%s has no %s", text, from)
			}
			return strings.Replace(text, from, to, 1)
		})
	}
	member := func(text string) func(string) http.HandlerFunc { return replaced("{", "{"+text+",") }
	longer := func(by int) func(string) http.HandlerFunc {
		return edited(func(text string) string { return text + strings.Repeat(" ", 5<<10+by-len(text)) })
	}
	const id, uris, name = `"client_id":`, `"redirect_uris":["https://app.example/cb"]`, `"client_name":"Described"`
	number := 0
	for _, x := range []struct {
		what, says string
		serve      func(right string) http.HandlerFunc
	}{
		{"301", unread, redirect(301, "/right")},
		{"302", unread, redirect(302, "/right")},
		{"307", unread, redirect(307, "/right")},
		{"308", unread, redirect(308, "/right")},
		{"201", unread, status(201)},
		{"203", unread, status(203)},
		{"404", unread, status(404)},
		{"429", unread, status(429)},
		{"500", unread, status(500)},
		{"compressed", unread, func(text string) http.HandlerFunc { return asDocument(text, "Content-Encoding", "gzip") }},
		{"larger than 5 KiB", unread, longer(1)},
		{"1 MB", unread, longer(1 << 20)},
		{"HTML", invalid, typed("text/html")},
		{"text", invalid, typed("text/plain; charset=utf-8")},
		{"text/json", invalid, typed("text/json")},
		{"JWK set", invalid, typed("application/jwk-set")},
		{"JSON by its end only", invalid, typed("text/x+json")},
		{"two types", invalid, typed("application/json, text/html")},
		{"no type", invalid, typed("")},
		{"nothing", invalid, edited(func(string) string { return "" })},
		{"null", invalid, edited(func(string) string { return "null" })},
		{"a list", invalid, edited(func(text string) string { return "[" + text + "]" })},
		{"a string", invalid, edited(func(string) string { return `"x"` })},
		{"cut off", invalid, edited(func(text string) string { return text[:len(text)-1] })},
		{"something behind it", invalid, edited(func(text string) string { return text + "x" })},
		{"two objects", invalid, edited(func(text string) string { return text + text })},
		{"a byte order mark", invalid, edited(func(text string) string { return "\ufeff" + text })},
		{"UTF-16", invalid, edited(func(text string) string { return strings.Join(strings.Split(text, ""), "\x00") })},
		{"bytes that are no text", invalid, replaced("Described", "De\xffscribed")},
		{"NUL in the name", invalid, replaced("Described", `De\u0000scribed`)},
		{"half a surrogate in the name", "", replaced("Described", `De\ud800scribed`)},
		{"a name twice", invalid, member(`"client_name":"Other"`)},
		{"client_id twice", invalid, edited(func(text string) string {
			return strings.Replace(text, "{", `{"client_id":"https://claude.example/x",`, 1)
		})},
		{"client_id twice, escaped", invalid, edited(func(text string) string {
			return strings.Replace(text, "{", `{"client\u005fid":"https://claude.example/x",`, 1)
		})},
		{"a name twice, deeper", invalid, member(`"x":{"a":1,"a":2}`)},
		{"17 levels", invalid, member(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16))},
		{"2,000 levels", invalid, member(`"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000))},
		{"a null", invalid, member(`"logo_uri":null`)},
		{"client_id missing", invalid, replaced(id, `"client":`)},
		{"client_id with another case", invalid, replaced(id, `"Client_ID":`)},
		{"client_id of another", invalid, replaced(id+`"`, id+`"https://claude.example/x","x":"`)},
		{"client_id with a slash", invalid, edited(func(text string) string {
			return strings.Replace(text, fmt.Sprintf(`/%d"`, number), fmt.Sprintf(`/%d/"`, number), 1)
		})},
		{"client_id with a query", invalid, edited(func(text string) string {
			return strings.Replace(text, fmt.Sprintf(`/%d"`, number), fmt.Sprintf(`/%d?"`, number), 1)
		})},
		{"client_id a list", invalid, replaced(id+`"`, id+`["x"],"y":"`)},
		{"client_id a number", invalid, replaced(id+`"`, id+`1,"y":"`)},
		{"client_id without a host", invalid, replaced(id+`"`, id+`"/1","y":"`)},
		{"a secret", invalid, member(`"client_secret":"dw_cs_x"`)},
		{"an empty secret", invalid, member(`"client_secret":""`)},
		{"the end of a secret", invalid, member(`"client_secret_expires_at":0`)},
		{"client_secret_basic", invalid, member(`"token_endpoint_auth_method":"client_secret_basic"`)},
		{"client_secret_post", invalid, member(`"token_endpoint_auth_method":"client_secret_post"`)},
		{"client_secret_jwt", invalid, member(`"token_endpoint_auth_method":"client_secret_jwt"`)},
		{"tls_client_auth", invalid, member(`"token_endpoint_auth_method":"tls_client_auth"`)},
		{"no method", invalid, member(`"token_endpoint_auth_method":""`)},
		{"a method as a list", invalid, member(`"token_endpoint_auth_method":["none"]`)},
		{"keys that are missing", invalid, member(`"token_endpoint_auth_method":"private_key_jwt"`)},
		{"keys of a public client", invalid, member(`"jwks":` + rig.JWKS(key))},
		{"keys twice", invalid, member(
			`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://keys.example/x","jwks":` + rig.JWKS(key))},
		{"a private key", invalid, member(`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` +
			string(private) + "]}")},
		{"keys as a list", invalid, member(`"token_endpoint_auth_method":"private_key_jwt","jwks":[]`)},
		{"keys as text", invalid, member(`"token_endpoint_auth_method":"private_key_jwt","jwks":"{}"`)},
		{"a wrong algorithm", invalid, member(`"token_endpoint_auth_method":"private_key_jwt",` +
			`"token_endpoint_auth_signing_alg":"HS256","jwks":` + rig.JWKS(key))},
		{"keys at a private address", invalid, member(
			`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://10.0.0.1/jwks"`)},
		{"a logo at a private address", invalid, member(`"logo_uri":"https://169.254.169.254/x"`)},
		{"a site that is a script", invalid, member(`"client_uri":"javascript:alert(1)"`)},
		{"terms that are data", invalid, member(`"tos_uri":"data:text/html,x"`)},
		{"a policy in plain text", invalid, member(`"policy_uri":"http://policy.example"`)},
		{"no redirect URIs", invalid, replaced(uris, `"redirect_uris":[]`)},
		{"redirect URIs missing", invalid, replaced(uris, `"x":"y"`)},
		{"a redirect URI as text", invalid, replaced(uris, `"redirect_uris":"https://app.example/cb"`)},
		{"a redirect URI that is a number", invalid, replaced(uris, `"redirect_uris":[1]`)},
		{"a redirect URI that is a script", invalid, replaced(uris, `"redirect_uris":["javascript:alert(1)"]`)},
		{"a redirect URI twice", invalid, replaced(uris,
			`"redirect_uris":["https://app.example/cb","https://app.example/cb"]`)},
		{"a right redirect URI and a wrong one", invalid, replaced(uris,
			`"redirect_uris":["https://app.example/cb","http://app.example/cb"]`)},
		{"a name of this server", invalid, replaced(name, `"client_name":"Doorward"`)},
		{"a name of an API", invalid, replaced(name, `"client_name":"Notes"`)},
		{"a name that turns around", invalid, replaced(name, `"client_name":"ab\u202egpj"`)},
		{"a name of two lines", invalid, replaced(name, `"client_name":"a\nb"`)},
		{"a long name", invalid, replaced(name, `"client_name":"`+strings.Repeat("n", 101)+`"`)},
		{"a name that is a number", invalid, replaced(name, `"client_name":7`)},
		{"a scope as a list", invalid, member(`"scope":["read"]`)},
		{"client_credentials only", invalid, replaced(`["authorization_code","refresh_token"]`, `["client_credentials"]`)},
	} {
		t.Run(x.what, func(t *testing.T) {
			number++
			path := fmt.Sprint("/", number)
			right := h.document(path)
			h.serve("/right", asDocument(right))
			h.serve(path, x.serve(right))
			app := &rig.App{Redirect: "https://app.example/cb"}
			app.ID, app.Public = h.URL+path, true
			before := h.fetches("/right")
			a := wantRefusedDocument(t, x.what, b, app)
			text := rig.Plain(a.Body)
			if !strings.Contains(text, x.says) || !strings.Contains(text, app.ID) {
				t.Errorf("the page says %s", text)
			}
			if h.fetches("/right") != before {
				t.Error("a redirect was followed")
			}
			if cause := fmt.Sprint(logged(t, r, "request", requestID(a))["cause"]); len(cause) < 20 {
				t.Errorf("the log says only %q", cause)
			}
			h.serve(path, asDocument(right))
			if a := b.Authorize(app.Params("read")); a.Status != http.StatusOK || !isConsent(a) {
				t.Errorf("once it is right: %d %s", a.Status, rig.Plain(a.Body))
			}
		})
	}
	if n := describedRows(t, r); n != 0 {
		t.Errorf("%d clients were stored", n)
	}
}

// A host that hangs is like one that is away: storage of this server is not.
func TestD12_AHostThatHangs(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		path := "/" + r.Store.Engine()
		app, text := h.describe(path, nil), h.document(path)
		b := r.Browser().SignIn(r.Alice.Email)
		_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		o := h.options()
		o.Issuer, o.Fetch.Timeout = r.Issuer, 100*time.Millisecond // the test of package fetch is about the three seconds
		r = rig.New(t, r.Store, o)
		b = r.Browser().WithCookiesOf(b)
		for _, serve := range []http.HandlerFunc{
			func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
			func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, text[:20])
				_ = http.NewResponseController(w).Flush()
				<-q.Context().Done()
			},
		} {
			h.serve(path, serve)
			expire(r)
			for _, prompt := range []string{"", "none"} {
				a := ask(b, altered(app.Params("read"), url.Values{"prompt": {prompt}}))
				wantPage(t, a, http.StatusBadRequest)
				if !strings.Contains(rig.Plain(a.Body), "this server cannot read that right now") {
					t.Errorf("the page says %s", rig.Plain(a.Body))
				}
			}
			refused(t, r.PostAs(app, "/oauth/par", app.Params("read")), http.StatusUnauthorized, oauth.InvalidClient)
			_, refresh = granted(t, r.Refresh(app, refresh))
		}
		r.Advance(6 * 24 * time.Hour)
		_, refresh = granted(t, r.Refresh(app, refresh))
		r.Advance(24 * time.Hour)
		refused(t, r.Refresh(app, refresh), http.StatusUnauthorized, oauth.InvalidClient)
	})
}

// isConsent reports whether an answer is the consent page.
func isConsent(a *rig.Answer) bool { return strings.Contains(a.Body, `action="/oauth/consent"`) }

// requestID is that of the request with this answer.
func requestID(a *rig.Answer) string { return a.Header.Get("X-Request-Id") }

// allowed has a signed-in user allow the client of a document, and redeem its code. It reports what the page says if the
// client is refused.
func allowed(b *rig.Browser, app *rig.App) (why string) {
	b.T.Helper()
	a := b.Authorize(app.Params("read"))
	if isConsent(a) {
		a = b.Decide(a, "approve")
	}
	if a.Param("code") == "" {
		return fmt.Sprint(a.Status, " ", rig.Plain(a.Body))
	}
	if a = b.Exchange(app, a.Param("code")); a.Status != http.StatusOK {
		return fmt.Sprint(a.Status, " ", a.Body)
	}
	return ""
}

// Documents that are accepted although they look strange.
func TestD12_DocumentsThatAreAccepted(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	accepted := func(what, path string, serve http.HandlerFunc) {
		t.Helper()
		decoded, err := url.PathUnescape(strings.SplitN(path, "?", 2)[0])
		ok(t, err)
		h.serve(decoded, serve)
		app := &rig.App{Redirect: "https://app.example/cb"}
		app.ID, app.Public = h.URL+path, true
		if why := allowed(b, app); why != "" {
			t.Errorf("%s: %s", what, why)
		}
	}
	for _, path := range []string{
		"/a", "/a/", "/a//b", "/a?b", "/a?b=../c", "/a?", "/%41", "/...", "/.a", "/a.", "/~a", "/a%2Fb", "/a:b@c", "/a;b",
		"/a/%20", "/" + strings.Repeat("x", 500-len(h.URL)-1), "/,", "/&=+$", "/oauth/consent", "/%00",
	} {
		accepted("path "+path, path, asDocument(h.document(path)))
	}
	number := 0
	next := func() string { number++; return fmt.Sprint("/case/", number) }
	for _, kind := range []string{
		"application/json", "APPLICATION/JSON; charset=utf-8", "application/oauth-client-id-metadata+json",
		"application/client+json;v=1",
	} {
		path := next()
		accepted("type "+kind, path, asDocument(h.document(path), "Content-Type", kind))
	}
	for what, members := range map[string]rig.Members{
		"unknown members":           {"software_id": 7, "contacts": []string{"a"}, "x": map[string]any{"client_id": "y"}},
		"a name in other languages": {"client_name#ja": "クライアント", "client_name#de": "Anwendung"},
		"without a name":            {"client_name": nil},
		"without grant types":       {"grant_types": nil},
		"method none":               {"token_endpoint_auth_method": "none"},
		"scopes that are not open":  {"scope": "read admin openid profile"},
		"another application type":  {"application_type": "browser"},
		"loopback and https":        {"redirect_uris": []string{"https://app.example/cb", "http://127.0.0.1/cb"}},
		"redirects to another host": {"redirect_uris": []string{"https://app.example/cb", "https://b.example/cb"}},
		"a private-use scheme":      {"redirect_uris": []string{"https://app.example/cb", "com.example.app:/cb"}},
	} {
		path := next()
		accepted(what, path, asDocument(h.document(path, members)))
	}
	path := next()
	filled := strings.Repeat("x", 5<<10-len(h.document(path, rig.Members{"x": ""})))
	accepted("exactly 5 KiB", path, asDocument(h.document(path, rig.Members{"x": filled})))
}

// A document is for all servers, so it names more than one of them offers. What this one does not offer is left out.
func TestD12_ADocumentMayNameMoreThanThisServerOffers(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	for path, members := range map[string]rig.Members{
		"/editor": { // as Visual Studio Code publishes it
			"grant_types": []string{
				"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
			},
			"response_types": []string{"code"}, "application_type": "native",
			"redirect_uris": []string{"http://127.0.0.1:33418/", "https://vscode.example/redirect"},
		},
		"/machine":  {"grant_types": []string{"authorization_code", "client_credentials"}},
		"/response": {"response_types": []string{"code", "code id_token"}},
	} {
		app := h.describe(path, members)
		if why := allowed(b, app); why != "" {
			t.Errorf("%s: %s", path, why)
		}
		if a := r.PostAs(app, "/oauth/token", ownForm); a.Status == http.StatusOK {
			t.Errorf("%s: client_credentials is answered %s", path, a.Body)
		}
	}
}
