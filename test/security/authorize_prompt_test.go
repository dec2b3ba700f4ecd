package security

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/rig"
)

// The parameters prompt, max_age and the hints; request objects and PAR. Doorward does not support id_token_hint
// verified request objects or PAR; these tests show that they are refused or have no
// effect.

// authTime returns auth_time from the introspection of the token issued for a code.
func authTime(t *testing.T, r *rig.Rig, app *rig.App, code string) int64 {
	t.Helper()
	a := r.Introspect(app, r.Exchange(app, code).Text("access_token"))
	n, ok := a.JSON()["auth_time"].(float64)
	if !ok {
		t.Errorf("no auth_time: %d %s", a.Status, a.Body)
	}
	return int64(n)
}

func TestA42_PromptNoneWithoutASessionIsLoginRequired(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	sent := altered(app.Params("read"), url.Values{"prompt": {"none"}})
	b := r.Browser()
	a := ask(b, sent)
	wantRefusal(t, r, a, sent, "login_required")
	if len(a.Cookies) != 0 || len(b.Cookies()) != 0 {
		t.Errorf("cookies were set: %v", a.Cookies)
	}
	// A cookie without a session does not count.
	for _, value := range []string{"x", strings.Repeat("A", 43)} {
		q := r.Request(http.MethodGet, "/oauth/authorize?"+sent.Encode(), nil, "Cookie", "doorward="+value)
		wantRefusal(t, r, r.Send(r.Program(), q), sent, "login_required")
	}
	// Nor does the session of a user who was disabled since.
	bob := r.User("bob@example.com", "Bob", false)
	b.SignIn(bob.Email).Code(app, "read")
	wantCode(t, r, ask(b, sent), sent)
	if err := r.Store.DisableUser(r.System(), bob.ID); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, r, ask(b, sent), sent, "login_required")
}

func TestA43_UnknownAndContradictingPromptsAreRefused(t *testing.T) {
	var changes []url.Values
	for _, prompt := range []string{
		"none login", "login none", "none consent", "none none", "foo", "None", "login foo", "none foo", "create none",
		"select_accounts", "none login select_account", "login,consent",
	} {
		changes = append(changes, url.Values{"prompt": {prompt}})
	}
	refuseAsked(t, management.ClientSpec{}, "invalid_request", changes...)
}

func TestA44_PromptLoginAsksAgain(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	before := authTime(t, r, app, b.Code(app, "read"))
	r.Advance(time.Hour)
	for _, prompt := range []string{"login", "consent login"} {
		sent := altered(app.Params("read"), url.Values{"prompt": {prompt}})
		a := ask(b, sent)
		wantLogin(t, a)
		// Going to the consent page directly leads back to the login page.
		flow := a.Location.Query().Get("flow")
		wantLogin(t, b.Get("/oauth/consent?flow="+url.QueryEscape(flow)))
		page := b.Follow(a)
		if page.Status != http.StatusOK || !strings.Contains(page.Body, `name="password"`) {
			t.Fatalf("no login form: %d %s", page.Status, rig.Plain(page.Body))
		}
		a = b.LogIn(page, r.Alice.Email)
		if prompt != "login" {
			wantConsent(t, a)
			a = b.Decide(b.Follow(a), "approve")
		}
		after := authTime(t, r, app, wantCode(t, r, a, sent))
		if after < before+3600 {
			t.Errorf("prompt %q: auth_time %d, before %d", prompt, after, before)
		}
		before = after
		r.Advance(time.Hour)
	}
}

func TestA45_A46_MaxAgeAsksAfterAnOlderSignIn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	before := authTime(t, r, app, b.Code(app, "read"))
	for _, step := range []struct {
		later  time.Duration
		maxAge string
		login  bool
	}{
		{2 * time.Second, "1", true},
		{2 * time.Second, "10000", false},
		{time.Minute, "9223372036854775807", false},
		{0, "0", true},
		{0, "0", true},
		{time.Second, "0", true},
		{5000 * time.Second, "10000", false},
		{5001 * time.Second, "10000", true},
	} {
		r.Advance(step.later)
		sent := altered(app.Params("read"), url.Values{"max_age": {step.maxAge}})
		a := ask(b, sent)
		if step.login {
			wantLogin(t, a)
			a = b.LogIn(b.Follow(a), r.Alice.Email)
		}
		after := authTime(t, r, app, wantCode(t, r, a, sent))
		if after < before {
			t.Errorf("auth_time went back from %d to %d", before, after)
		}
		before = after
		if t.Failed() {
			t.Fatalf("step %+v", step)
		}
	}
}

func TestA46_MaxAgeIsAWholeNumber(t *testing.T) {
	var changes []url.Values
	for _, age := range []string{
		"-1", "+1", "1.5", "x", " 1", "1 ", "0x10", "1e3", "9223372036854775808", "-9223372036854775809", "１", "1_000",
	} {
		changes = append(changes, url.Values{"max_age": {age}})
	}
	refuseAsked(t, management.ClientSpec{}, "invalid_request", changes...)
}

func TestA48_PromptNoneWithAnOldSessionIsLoginRequired(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	sent := altered(app.Params("read"), url.Values{"prompt": {"none"}, "max_age": {"60"}})
	wantCode(t, r, ask(b, sent), sent)
	r.Advance(61 * time.Second)
	wantRefusal(t, r, ask(b, sent), sent, "login_required")
	sent = altered(sent, url.Values{"max_age": {"0"}})
	wantRefusal(t, r, ask(b, sent), sent, "login_required")
	// The same if the session has expired, after a day without use.
	r.Advance(25 * time.Hour)
	sent = altered(sent, url.Values{"max_age": nil})
	wantRefusal(t, r, ask(b, sent), sent, "login_required")
}

// There are no ID tokens, so a hint is an unknown parameter: it never selects a user.
func TestA49_IDTokenHintChoosesNoUser(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	bob := r.User("bob@example.com", "Bob", false)
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	hint := "eyJhbGciOiJub25lIn0.eyJzdWIiOiI" + bob.ID + "In0."
	sent := altered(app.Params("read"), url.Values{"prompt": {"none"}, "id_token_hint": {hint}})
	tok := r.Exchange(app, wantCode(t, r, ask(b, sent), sent))
	if got := r.Introspect(api, tok.Text("access_token")).Text("sub"); got != r.Alice.ID {
		t.Errorf("the token is %s's", got)
	}
	wantRefusal(t, r, ask(r.Browser(), sent), sent, "login_required")
}

func TestA50_A51_RequestObjectsAreNeverIgnored(t *testing.T) {
	none := "eyJhbGciOiJub25lIn0.eyJzY29wZSI6InJlYWQgd3JpdGUgZGVsZXRlIiwic3RhdGUiOiJ0aGVpcnMifQ."
	signed := "eyJhbGciOiJFUzI1NiJ9.eyJzY29wZSI6ImRlbGV0ZSJ9.c2lnbmF0dXJl"
	var changes []url.Values
	for _, object := range []string{none, signed, "x", "{}", strings.Repeat("a", 10_000)} {
		for _, scope := range []string{"read", "openid", "openid read", ""} {
			changes = append(changes, url.Values{"request": {object}, "scope": {scope}},
				url.Values{"request": {object}, "scope": {scope}, "response_type": nil})
		}
	}
	refuseAsked(t, management.ClientSpec{}, "request_not_supported", changes...)
}

// canary listens on loopback and counts the requests.
func canary(t *testing.T) (address string, came func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n++
			_ = conn.Close()
		}
	}()
	stop := func() int {
		_ = l.Close()
		<-done
		return n
	}
	t.Cleanup(func() { stop() })
	return l.Addr().String(), stop
}

func TestA52_RequestURIIsNotFetched(t *testing.T) {
	address, came := canary(t)
	refuseAsked(t, management.ClientSpec{}, "request_uri_not_supported", url.Values{
		"request_uri": {"http://" + address + "/"},
	}, url.Values{"request_uri": {"http://" + address + "/"}, "scope": {"openid"}},
		url.Values{"request_uri": {"https://" + address + "/object.jwt#x"}},
		url.Values{"request_uri": {"file:///etc/passwd"}})
	// Other parameters with an address for servers to fetch are unknown and are not fetched either.
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	sent := app.Params("read")
	for _, name := range []string{
		"jwks_uri", "sector_identifier_uri", "client_uri", "logo_uri", "claims_uri", "target_link_uri", "iss",
	} {
		sent.Set(name, "http://"+address+"/"+name)
	}
	wantLogin(t, ask(r.Browser(), sent))
	// D-12
	wantPage(t, ask(r.Browser(), altered(sent, url.Values{"client_id": {"http://" + address + "/client"}})),
		http.StatusBadRequest)
	if n := came(); n != 0 {
		t.Errorf("the server connected %d times", n)
	}
}

func TestA53_RequestTogetherWithRequestURIIsRefused(t *testing.T) {
	refuseAsked(t, management.ClientSpec{}, "invalid_request", url.Values{"request": {"x"}, "request_uri": {"urn:x"}},
		url.Values{"request": {"x"}, "request_uri": {"https://evil.example/"}, "scope": {"openid"}})
}

// Request objects are not accepted, and the metadata says so. Of request_uri, only those of PAR are: see par_test.go.
func TestA54_TheMetadataAnnouncesPushedRequests(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	meta := r.Send(r.Program(), r.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil)).JSON()
	if meta["pushed_authorization_request_endpoint"] != r.Issuer+"/oauth/par" ||
		meta["require_pushed_authorization_requests"] != false || meta["request_uri_parameter_supported"] != false ||
		meta["request_parameter_supported"] != false {
		t.Errorf("metadata %v", meta)
	}
	for _, path := range []string{"/par", "/oauth/request"} {
		if a := r.PostAs(app, path, app.Params("read")); a.Status != http.StatusNotFound {
			t.Errorf("%s answered %d", path, a.Status)
		}
	}
	unknown := "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"
	wantUsed(t, ask(r.Browser(), url.Values{"client_id": {app.ID}, "request_uri": {unknown}}))
	wantUsed(t, ask(r.Browser(), with(app.Params("read"), "request_uri", unknown)))
}
