package security

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// Helpers for the tests of the authorization endpoint: sending a request exactly as written, and checking the three
// outcomes: a page, a redirect with an error, and success.

// altered returns the standard client's request with some parameters set; an empty list removes a parameter.
func altered(params url.Values, changes url.Values) url.Values {
	v := url.Values{}
	for name, values := range params {
		v[name] = values
	}
	for name, values := range changes {
		if len(values) == 0 {
			delete(v, name)
		} else {
			v[name] = values
		}
	}
	return v
}

// ask sends an authorization request from another site and does not follow the redirect.
func ask(b *rig.Browser, params url.Values) *rig.Answer {
	b.T.Helper()
	return askRaw(b, params.Encode())
}

// askRaw is like ask, with the query exactly as sent.
func askRaw(b *rig.Browser, query string) *rig.Answer {
	b.T.Helper()
	return b.Get("/oauth/authorize?"+query, "Sec-Fetch-Site", "cross-site")
}

// strangerHost is in requests of the tests; in answers it may appear only as a redirect URI that is not registered.
const strangerHost = "evil.example"

// requestedURI matches the part of a page that shows the request's redirect URI to the app's developer.
var requestedURI = regexp.MustCompile(
	`The app asked to send you to (&#34;[^<]*?&#34;), which it is not registered with\.`)

// wantInertURI checks that a page shows the requested redirect URI at most once, escaped and truncated, and returns the
// page without it.
func wantInertURI(t *testing.T, body string) (rest string) {
	t.Helper()
	found := requestedURI.FindAllStringSubmatchIndex(body, -1)
	if len(found) == 0 {
		return body
	}
	if len(found) > 1 {
		t.Errorf("the page names the redirect URI %d times", len(found))
	}
	from, to := found[0][2], found[0][3]
	shown := body[from:to]
	// Including control, bidi and blank characters.
	if strings.ContainsFunc(shown, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Errorf("the page shows characters of the redirect URI that it must escape: %q", shown)
	}
	if strings.ContainsAny(shown, `<>"'`) {
		t.Errorf("the page shows the redirect URI as markup: %q", shown)
	}
	before := body[:from]
	if strings.LastIndexByte(before, '<') > strings.LastIndexByte(before, '>') ||
		strings.Count(before, "<a ") != strings.Count(before, "</a>") {
		t.Errorf("the redirect URI stands in a tag or a link: %q", before[max(0, from-200):])
	}
	// 300 bytes; escaping may turn one byte into six.
	if len(shown) > 6*300+20 {
		t.Errorf("the page shows %d bytes of the redirect URI", len(shown))
	}
	return body[:from] + body[to:]
}

// wantPage checks that the user gets a page, and no redirect.
func wantPage(t *testing.T, a *rig.Answer, status int) {
	t.Helper()
	if a.Status != status || a.Header.Get("Location") != "" {
		t.Errorf("answered %d, Location %q, want a page with %d", a.Status, a.Header.Get("Location"), status)
	}
	if got := a.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type %q, want a page", got)
	}
	for name, want := range map[string]string{
		"Cache-Control":   "no-store",
		"Referrer-Policy": "no-referrer",
		"X-Frame-Options": "DENY",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if rest := wantInertURI(t, a.Body); strings.Contains(rest, strangerHost) {
		t.Error("the page repeats what a stranger sent")
	}
	if len(a.Body) > 21_000 {
		t.Errorf("the page has %d bytes", len(a.Body))
	}
}

// descriptionChars are the characters that an error_description may contain (RFC 6749, section 4.1.2.1).
var descriptionChars = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]{10,}$`)

// wantRefusal checks that the app gets an error at exactly its redirect URI (RFC 6749, section 4.1.2.1; RFC 9207), with
// the state that it sent, and without a code or token.
func wantRefusal(t *testing.T, r *rig.Rig, a *rig.Answer, sent url.Values, code string) {
	t.Helper()
	q := answerFor(t, r, a, sent)
	if q.Get("error") != code {
		t.Errorf("answered error %q, want %q (status %d, Location %q)", q.Get("error"), code, a.Status,
			a.Header.Get("Location"))
	}
	if text := q.Get("error_description"); !descriptionChars.MatchString(text) {
		t.Errorf("error_description %q is empty or holds what it may not", text)
	}
	for _, name := range []string{"code", "access_token", "id_token", "token_type", "scope"} {
		if q.Has(name) {
			t.Errorf("an error came with %s: %s", name, a.Header.Get("Location"))
		}
	}
}

// wantCode checks that the app gets a code, and returns it.
func wantCode(t *testing.T, r *rig.Rig, a *rig.Answer, sent url.Values) string {
	t.Helper()
	q := answerFor(t, r, a, sent)
	if q.Get("error") != "" || q.Get("code") == "" {
		t.Errorf("no code: status %d, Location %q, %s", a.Status, a.Header.Get("Location"), rig.Plain(a.Body))
	}
	for name := range q {
		switch name {
		case "code", "state", "iss":
		default:
			t.Errorf("a success came with %s: %s", name, a.Header.Get("Location"))
		}
	}
	return q.Get("code")
}

// answerFor reads the query of a redirect to the app, and checks what all such redirects have in common.
func answerFor(t *testing.T, r *rig.Rig, a *rig.Answer, sent url.Values) url.Values {
	t.Helper()
	where := a.Header.Get("Location")
	query, ok := strings.CutPrefix(where, sent.Get("redirect_uri")+"?")
	if a.Status != http.StatusSeeOther || !ok {
		t.Errorf("answered %d, Location %q, want 303 to the redirect URI; %s", a.Status, where, rig.Plain(a.Body))
		return url.Values{}
	}
	if strings.ContainsFunc(where, func(c rune) bool { return c <= ' ' || c > '~' }) {
		t.Errorf("Location holds what no URI holds: %q", where)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Errorf("the answer's query is malformed: %v", err)
	}
	for name, values := range q {
		if len(values) != 1 {
			t.Errorf("%s is there %d times in %q", name, len(values), where)
		}
	}
	if got := q.Get("iss"); got != r.Issuer {
		t.Errorf("iss is %q, want %q", got, r.Issuer)
	}
	if want := sent["state"]; len(want) == 1 && want[0] != "" {
		if q.Get("state") != want[0] {
			t.Errorf("state is %q, want %q", q.Get("state"), want[0])
		}
	} else if q.Has("state") {
		t.Errorf("state is %q, and none was sent that could be told", q.Get("state"))
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("authorize allows an origin")
	}
	return q
}

// wantLogin checks that the user is asked to sign in.
func wantLogin(t *testing.T, a *rig.Answer) {
	t.Helper()
	if a.Status != http.StatusSeeOther || a.Location == nil || a.Location.Path != "/login" {
		t.Errorf("answered %d, Location %q, want the login page", a.Status, a.Header.Get("Location"))
	}
}

// wantConsent checks that the user is asked for consent.
func wantConsent(t *testing.T, a *rig.Answer) {
	t.Helper()
	if a.Status != http.StatusSeeOther || a.Location == nil || a.Location.Path != "/oauth/consent" {
		t.Errorf("answered %d, Location %q, want the consent page", a.Status, a.Header.Get("Location"))
	}
}

// grantCount counts all grants in the database.
func grantCount(t *testing.T, r *rig.Rig) (n int) {
	t.Helper()
	if err := r.Store.Pools()["system"].QueryRowContext(t.Context(), "SELECT count(*) FROM grants").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// selfRegistered returns an app that Mallory created on the page, as any user may.
func selfRegistered(t *testing.T, r *rig.Rig, p management.ClientSpec) *rig.App {
	t.Helper()
	mallory := r.User("mallory@example.com", "Mallory", false)
	ws, err := r.Store.PersonalWorkspace(r.System(), mallory.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.WorkspaceID, p.CreatedBy = ws.ID, mallory.ID
	return r.App(p)
}

// varying matches the parts of a page that differ from answer to answer.
var varying = regexp.MustCompile(`[0-9a-f]{24}|nonce="[^"]*"`)

// unvaried removes from a page what differs each time.
func unvaried(body string) string { return varying.ReplaceAllString(body, "…") }
