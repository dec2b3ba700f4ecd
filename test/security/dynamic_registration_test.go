package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/rig"
)

// Clients that register themselves (RFC 7591).

const registerPath = "/oauth/register"

// notRegistered checks the refusal of a registration, or of a request to change one, because of its token.
func notRegistered(t *testing.T, what string, a *rig.Answer) {
	t.Helper()
	refused(t, a, http.StatusUnauthorized, oauth.InvalidToken)
	if c := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(c, `Bearer realm="doorward"`) {
		t.Errorf("%s: WWW-Authenticate is %q", what, c)
	}
	if a.Header.Get("Location") != "" || a.JSON()["client_id"] != nil {
		t.Errorf("%s: %s", what, a.Body)
	}
}

// later lets failed attempts not count on any node, whose clocks stay the same.
func later(nodes ...*rig.Rig) {
	for _, n := range nodes {
		forgetFailures(n)
	}
}

// register sends a registration with a token.
func register(r *rig.Rig, token string, members ...rig.Members) *rig.Answer {
	r.T.Helper()
	return r.JSON(http.MethodPost, registerPath, token, registration(members...))
}

func TestD01_ClosedRegistrationTakesNoClient(t *testing.T) {
	r := rig.Memory(t, rig.Options{Resources: openAPIs()})
	token := initialToken(r, 5)
	for name, token := range map[string]string{"without a token": "", "with a registration token": token, "with any": "x"} {
		a := register(r, token)
		notRegistered(t, name, a)
		if d := a.Text("error_description"); !strings.Contains(d, "ask its operator for a client id") {
			t.Errorf("%s: %s", name, d)
		}
	}
	var metadata map[string]any
	ok(t, json.Unmarshal([]byte(r.Browser().Get("/.well-known/oauth-authorization-server").Body), &metadata))
	if _, has := metadata["registration_endpoint"]; has {
		t.Error("the metadata name the endpoint")
	}
	if n := rowsOf(t, r, "clients", "registration <> ''") + rowsOf(t, r, "registration_tokens", "uses > 0"); n != 0 {
		t.Errorf("%d clients or uses", n)
	}
}

// A registration token works as often as it may, until it ends or is revoked. Nothing else works in its place.
func TestD01_RegistrationTokens(t *testing.T) {
	o := openServer()
	o.Registration = management.RegistrationToken
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		var metadata map[string]any
		ok(t, json.Unmarshal([]byte(r.Browser().Get("/.well-known/oauth-authorization-server").Body), &metadata))
		if metadata["registration_endpoint"] != r.Issuer+registerPath {
			t.Errorf("the metadata name %v", metadata["registration_endpoint"])
		}
		twice := initialToken(r, 2)
		first := enrolledBy(last, register(last, twice))
		second := enrolledBy(r, register(r, twice))
		app := r.App(management.ClientSpec{Resources: []string{openAPI}})
		access, _ := r.Tokens(app, "read")
		_, personal := r.PersonalToken(r.Alice, standingOf(openAPI))
		wrong := map[string]string{
			"none": "", "used up": twice, "made up": bearer.NewCredential(bearer.PrefixRegistration),
			"without its checksum": mistyped(twice), "cut off": twice[:20], "twice": twice + twice,
			"in capitals":            strings.ToUpper(twice),
			"one to change a client": first.token, "a secret": app.Secret, "an access token": access,
			"a personal access token": personal, "long": strings.Repeat("x", 8000), "its digest": "dw_ia_" + strings.Repeat("0", 49),
		}
		for name, token := range wrong {
			for _, n := range nodes {
				notRegistered(t, name, register(n, token))
			}
			later(nodes...)
		}
		// The token is in the header, once, as Bearer, and nowhere else.
		good := initialToken(r, 1)
		for name, header := range map[string][]string{
			"Basic":        {"Authorization", rig.Basic("x", good)},
			"DPoP":         {"Authorization", "DPoP " + good},
			"no scheme":    {"Authorization", good},
			"empty":        {"Authorization", ""},
			"only Bearer":  {"Authorization", "Bearer"},
			"two of them":  {"Authorization", "Bearer " + good, "Authorization", "Bearer " + good},
			"two words":    {"Authorization", "Bearer " + good + " x"},
			"another name": {"X-Api-Key", good},
		} {
			notRegistered(t, name, postJSON(r, registerPath, registration(), header...))
			later(nodes...)
		}
		refused(t, postJSON(r, registerPath+"?access_token="+good, registration()), http.StatusUnauthorized, oauth.InvalidToken)
		notRegistered(t, "in the body", register(r, "", rig.Members{"access_token": good}))
		// A wrong registration does not use it.
		refused(t, register(r, good, rig.Members{"redirect_uris": []string{"javascript:x"}}), http.StatusBadRequest,
			oauth.InvalidRedirectURI)
		third := enrolledBy(last, postJSON(last, registerPath, registration(), "Authorization", "bearer "+good))
		ended, revoked := initialToken(r, 9), initialToken(r, 9)
		rows, err := r.Store.RegistrationTokens(r.System())
		ok(t, err)
		for _, row := range rows {
			if row.Uses == 0 && row.Tail == revoked[len(revoked)-4:] {
				root := management.CLI("")
				ok(t, r.Management.RevokeRegistrationToken(r.System(), root, row.ID))
			}
		}
		for _, n := range nodes {
			notRegistered(t, "revoked", register(n, revoked))
			n.Advance(7*24*time.Hour - time.Minute)
		}
		enrolledBy(r, register(r, ended))
		for _, n := range nodes {
			n.Advance(time.Minute)
			notRegistered(t, "expired", register(n, ended))
		}
		// Clients stay when the token that they registered with is gone.
		for _, x := range []*enrolled{first, second, third} {
			if a := r.JSON(http.MethodGet, x.path(), x.token, ""); a.Status != http.StatusOK {
				t.Errorf("a client of a token that is used up: %d %s", a.Status, a.Body)
			}
		}
		if n := rowsOf(t, r, "clients", "registration = 'dynamic'"); n != 4 {
			t.Errorf("%d clients, want 4", n)
		}
	})
}

// A server that needs no token does not take a wrong one for none, and counts a right one.
func TestD01_AWrongTokenIsRefusedWhereNoneIsNeeded(t *testing.T) {
	r := rig.Memory(t, openServer())
	enrol(r)
	once := initialToken(r, 1)
	notRegistered(t, "made up", register(r, bearer.NewCredential(bearer.PrefixRegistration)))
	notRegistered(t, "no token", register(r, "x"))
	enrolledBy(r, register(r, once))
	notRegistered(t, "used up", register(r, once))
}

// In a race, a registration token is used as often as it may be, on all nodes together.
func TestD01_ARegistrationTokenIsUsedUpByManyAtOnce(t *testing.T) {
	o := openServer()
	o.Registration, o.AtOnce = management.RegistrationToken, true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		for _, uses := range []int64{1, 5} {
			token := initialToken(nodes[0], uses)
			var won atomic.Int64
			rig.AtOnce(crowd, func(i int) {
				a := register(nodes[i%len(nodes)], token)
				switch {
				case a.Status == http.StatusCreated:
					won.Add(1)
				case a.Status != http.StatusUnauthorized && a.Status != http.StatusTooManyRequests: // of wrong tokens
					t.Errorf("%d %s", a.Status, a.Body)
				}
			})
			later(nodes...)
			if won.Load() != uses {
				t.Errorf("%d clients by a token for %d", won.Load(), uses)
			}
		}
		if n := rowsOf(t, nodes[0], "clients", "registration = 'dynamic'"); n != 6 {
			t.Errorf("%d clients", n)
		}
	})
}

// The answer says everything that was registered (RFC 7591, section 3.2.1), and its secrets are shown once.
func TestD08_TheAnswerSaysWhatWasRegistered(t *testing.T) {
	rig.Each(t, openServer(), func(t *testing.T, r *rig.Rig) {
		key := rig.NewKey(t, "key-1")
		for name, x := range map[string]struct {
			sent, want rig.Members
			secret     bool
		}{
			"the least": {
				rig.Members{"client_name": nil, "grant_types": nil, "token_endpoint_auth_method": nil},
				rig.Members{
					"client_name": "Unnamed app", "grant_types": []any{"authorization_code"}, "response_types": []any{"code"},
					"token_endpoint_auth_method": "client_secret_basic", "application_type": "web",
					"scope": "read write delete",
				},
				true,
			},
			"an empty method": {
				rig.Members{"token_endpoint_auth_method": ""},
				rig.Members{"token_endpoint_auth_method": "client_secret_basic"},
				true,
			},
			"public": {
				rig.Members{"redirect_uris": []string{"http://127.0.0.1/cb"}},
				rig.Members{"token_endpoint_auth_method": "none", "application_type": "native", "client_secret_expires_at": nil},
				false,
			},
			"much": {
				rig.Members{
					"token_endpoint_auth_method": "client_secret_post", "client_uri": "https://app.example",
					"logo_uri": "https://app.example/logo.png", "policy_uri": "https://app.example/policy",
					"tos_uri": "https://app.example/tos", "scope": "write read", "application_type": "web",
					"require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true,
					"response_types": []string{"code"}, "contacts": []string{"a@app.example"}, "software_id": "x",
					"client_name#de": "Anwendung", "unknown": rig.Members{"x": []int{1}},
				},
				rig.Members{
					"token_endpoint_auth_method": "client_secret_post", "client_uri": "https://app.example",
					"logo_uri": "https://app.example/logo.png", "policy_uri": "https://app.example/policy",
					"tos_uri": "https://app.example/tos", "scope": "read write", "application_type": "web",
					"require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true,
					"contacts": nil, "software_id": nil, "client_name#de": nil, "unknown": nil,
				},
				true,
			},
			"keys": {
				withKeys(key).With(rig.Members{"token_endpoint_auth_signing_alg": "ES256"}),
				rig.Members{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256"},
				false,
			},
			"keys at a URL": {
				rig.Members{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example/jwks"},
				rig.Members{"jwks_uri": "https://app.example/jwks", "jwks": nil},
				false,
			},
		} {
			a := register(r, "", x.sent)
			e := enrolledBy(r, a)
			machineHeaders(t, a)
			if at := a.Header.Get("Location"); at != r.Issuer+e.path() || a.Text("registration_client_uri") != at {
				t.Errorf("%s: it is at %s and %s", name, at, a.Text("registration_client_uri"))
			}
			got := a.JSON()
			for member, want := range x.want {
				if fmt.Sprint(got[member]) != fmt.Sprint(want) {
					t.Errorf("%s: %s is %v, want %v", name, member, got[member], want)
				}
			}
			at, _ := got["client_id_issued_at"].(float64)
			if d := r.Now().Sub(time.Unix(int64(at), 0)); d < 0 || d > time.Minute {
				t.Errorf("%s: issued at %v", name, at)
			}
			if x.secret != bearer.WellFormed(bearer.PrefixClientSecret, e.Secret) || x.secret != (got["client_secret_expires_at"] == 0.0) {
				t.Errorf("%s: secret %q, which ends at %v", name, e.Secret, got["client_secret_expires_at"])
			}
			if !bearer.WellFormed(bearer.PrefixClientRegistration, e.token) || !storage.IsID("app", e.ID) {
				t.Errorf("%s: id %s, token %s", name, e.ID, e.token)
			}
			// Read again, it is the same but for the secret.
			read := r.JSON(http.MethodGet, e.path(), e.token, "")
			again := read.JSON()
			delete(got, "client_secret")
			delete(got, "client_secret_expires_at")
			if read.Status != http.StatusOK || fmt.Sprint(again) != fmt.Sprint(got) {
				t.Errorf("%s: read again, it is %d %s", name, read.Status, read.Body)
			}
			machineHeaders(t, read)
			c, err := r.Store.ClientByID(r.System(), e.ID)
			if err != nil || c.WorkspaceID != "" || c.CreatedBy != "" || c.Verified || c.FirstParty || c.Manages ||
				c.ResourceServer || c.FAPI || c.PKCEOptional || c.TokenEndpointAudience ||
				c.Registration != storage.RegisteredDynamically {
				t.Errorf("%s: stored is %+v, %v", name, c, err)
			}
			if n := rowsOf(t, r, "audit_events", "action = 'app.registered' AND target = $1", e.ID); n != 1 {
				t.Errorf("%s: %d events", name, n)
			}
		}
	})
}

// wrongMetadata are registrations that are refused, with the code of the error. Each is refused in a change too.
func wrongMetadata(t *testing.T) map[string]struct {
	members rig.Members
	code    string
} {
	t.Helper()
	key := rig.NewKey(t, "key-1")
	type wrong = struct {
		members rig.Members
		code    string
	}
	const bad = oauth.InvalidClientMetadata
	all := map[string]wrong{
		"client_credentials": {rig.Members{"grant_types": []string{"authorization_code", "client_credentials"}}, bad},
		"only client_credentials": {rig.Members{
			"grant_types": []string{"client_credentials"}, "redirect_uris": []string{},
		}, bad},
		"client_credentials with a secret": {rig.Members{
			"grant_types": []string{"authorization_code", "client_credentials"}, "token_endpoint_auth_method": "client_secret_basic",
		}, bad},
		"implicit":           {rig.Members{"grant_types": []string{"authorization_code", "implicit"}}, bad},
		"password":           {rig.Members{"grant_types": []string{"authorization_code", "password"}}, bad},
		"only refresh_token": {rig.Members{"grant_types": []string{"refresh_token"}}, bad},
		"a grant twice":      {rig.Members{"grant_types": []string{"authorization_code", "authorization_code"}}, bad},
		"no grants":          {rig.Members{"grant_types": []string{}}, bad},
		"token exchange": {rig.Members{
			"grant_types": []string{"authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"},
		}, bad},
		"response type token":     {rig.Members{"response_types": []string{"token"}}, bad},
		"response type id_token":  {rig.Members{"response_types": []string{"code", "id_token"}}, bad},
		"no response type":        {rig.Members{"response_types": []string{}}, bad},
		"a secret":                {rig.Members{"client_secret": "dw_cs_x"}, bad},
		"client_secret_jwt":       {rig.Members{"token_endpoint_auth_method": "client_secret_jwt"}, bad},
		"mutual TLS":              {rig.Members{"token_endpoint_auth_method": "tls_client_auth"}, bad},
		"no keys":                 {rig.Members{"token_endpoint_auth_method": "private_key_jwt"}, bad},
		"keys of a public client": {rig.Members{"jwks": json.RawMessage(rig.JWKS(key))}, bad},
		"two kinds of keys":       {withKeys(key).With(rig.Members{"jwks_uri": "https://app.example/jwks"}), bad},
		"HS256":                   {withKeys(key).With(rig.Members{"token_endpoint_auth_signing_alg": "HS256"}), bad},
		"none":                    {withKeys(key).With(rig.Members{"token_endpoint_auth_signing_alg": "none"}), bad},
		"scopes that are closed":  {rig.Members{"scope": "admin openid"}, bad},
		"an application type":     {rig.Members{"application_type": "browser"}, bad},
		"no redirect URIs":        {rig.Members{"redirect_uris": []string{}}, oauth.InvalidRedirectURI},
		"a redirect URI twice": {rig.Members{
			"redirect_uris": []string{"https://app.example/cb", "https://app.example/cb"},
		}, oauth.InvalidRedirectURI},
		"http for the web": {rig.Members{
			"redirect_uris": []string{"http://127.0.0.1/cb"}, "application_type": "web",
		}, oauth.InvalidRedirectURI},
		"a scheme for the web": {rig.Members{
			"redirect_uris": []string{"com.example.app:/cb"}, "application_type": "web",
		}, oauth.InvalidRedirectURI},
		"loopback beside https": {rig.Members{
			"redirect_uris": []string{"https://app.example/cb", "http://127.0.0.1/cb"},
		}, oauth.InvalidRedirectURI},
		"many redirect URIs": {rig.Members{"redirect_uris": manyURIs(1000)}, oauth.InvalidRedirectURI},

		"the name of this server":   {rig.Members{"client_name": "Doorward"}, bad},
		"the name of an API":        {rig.Members{"client_name": "Notes"}, bad},
		"the host of an API":        {rig.Members{"client_name": "api.example"}, bad},
		"a name that claims trust":  {rig.Members{"client_name": "Notes (verified)"}, bad},
		"a name of two lines":       {rig.Members{"client_name": "a\nb"}, bad},
		"a name that turns around":  {rig.Members{"client_name": "ab\u202egpj"}, bad},
		"a name of a hundred and 1": {rig.Members{"client_name": strings.Repeat("n", 101)}, bad},
		"a site that is a script":   {rig.Members{"client_uri": "javascript:alert(1)"}, bad},
		"a site in plain text":      {rig.Members{"client_uri": "http://app.example"}, bad},
		"long terms":                {rig.Members{"tos_uri": "https://app.example/" + strings.Repeat("x", 500)}, bad},
	}
	for _, name := range []string{
		"client_name", "client_uri", "logo_uri", "policy_uri", "tos_uri", "scope", "jwks_uri", "application_type",
		"token_endpoint_auth_method", "token_endpoint_auth_signing_alg", "redirect_uris", "grant_types", "response_types",
		"require_pushed_authorization_requests", "dpop_bound_access_tokens", "jwks",
	} {
		for kind, value := range map[string]any{
			"a number": 7, "null": json.RawMessage("null"), "an object": rig.Members{"a": 1}, "a list of lists": [][]int{{1}},
		} {
			if name == "jwks" && kind == "an object" {
				continue // of a public client, it is refused anyway
			}
			all[name+" is "+kind] = wrong{rig.Members{name: value}, bad}
		}
	}
	for _, name := range []string{"sector_identifier_uri", "backchannel_logout_uri", "frontchannel_logout_uri", "initiate_login_uri"} {
		all[name+" is a list"] = wrong{rig.Members{name: []string{"https://app.example/x"}}, bad}
		all[name+" is a script"] = wrong{rig.Members{name: "javascript:alert(1)"}, bad}
	}
	return all
}

func manyURIs(n int) (uris []string) {
	for i := range n {
		uris = append(uris, fmt.Sprint("https://app.example/", i))
	}
	return uris
}

// What goes beyond the policy is refused, and nothing is stored. A list with one wrong redirect URI is refused whole.
func TestD02_D08_RegistrationsThatAreRefused(t *testing.T) {
	r := rig.Memory(t, openServer())
	wrong := wrongMetadata(t)
	for name, x := range wrong {
		t.Run(name, func(t *testing.T) {
			a := register(r, "", x.members)
			refused(t, a, http.StatusBadRequest, x.code)
			if d := a.Text("error_description"); len(d) > 2000 {
				t.Errorf("%d bytes: %.200s", len(d), d)
			}
		})
	}
	for _, uri := range wrongRedirectURIs {
		if strings.Contains(uri, "\x00") {
			continue // no text at all
		}
		for _, list := range [][]string{{uri}, {"https://app.example/ok", uri}, {uri, "https://app.example/ok"}} {
			refused(t, register(r, "", rig.Members{"redirect_uris": list}), http.StatusBadRequest, oauth.InvalidRedirectURI)
			if t.Failed() {
				t.Fatalf("%q", list)
			}
		}
	}
	for _, id := range []string{"", "app_mine", "https://app.example/x"} {
		refused(t, register(r, "", rig.Members{"client_id": id}), http.StatusBadRequest, oauth.InvalidClientMetadata)
	}
	if n := rowsOf(t, r, "clients", "registration <> ''"); n != 0 {
		t.Errorf("%d clients are stored", n)
	}
}

// No address that a client names leads into this network, and none is asked for when it registers.
func TestD03_D06_AddressesOfARegistrationAreNotFetched(t *testing.T) {
	h, bait := newDocumentHost(t), newTrap(t)
	o := h.options()
	r := rig.Memory(t, o)
	h.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { t.Errorf("%s was fetched", q.URL) })
	port := strings.TrimPrefix(bait.Addr().String(), "127.0.0.1")
	for _, name := range []string{
		"jwks_uri", "logo_uri", "client_uri", "policy_uri", "tos_uri", "sector_identifier_uri", "backchannel_logout_uri",
		"frontchannel_logout_uri", "initiate_login_uri",
	} {
		members := rig.Members{name: h.URL + "/x"}
		if name == "jwks_uri" {
			members["token_endpoint_auth_method"] = "private_key_jwt"
		}
		right := enrol(r, members)
		for _, address := range []string{
			"https://[::1]" + port, "https://169.254.169.254/latest/meta-data", "https://10.0.0.1/x", "https://172.16.0.1",
			"https://192.168.0.1", "https://0.0.0.0" + port, "https://[::ffff:a00:1]/x", "https://[fd00::1]/x",
			"https://2130706433" + port, "https://0x7f.0.0.1" + port, "https://0177.0.0.1" + port, "https://127.1" + port,
			"https://100.64.0.1", "https://[64:ff9b::a00:1]", "http://" + bait.Addr().String(), "//app.example", "app.example",
			"file:///etc/passwd", "ftp://app.example/x", "javascript:alert(1)", "data:image/png;base64,AAAA",
			"https://user:pw@app.example", "https://app.example/#x", "https://", "https:///x", "https://аpp.example",
		} {
			members[name] = address
			refused(t, register(r, "", members), http.StatusBadRequest, oauth.InvalidClientMetadata)
			body := registration(members, rig.Members{"client_id": right.ID})
			refused(t, r.JSON(http.MethodPut, right.path(), right.token, body), http.StatusBadRequest, oauth.InvalidClientMetadata)
			if t.Failed() {
				t.Fatalf("%s %s", name, address)
			}
		}
	}
	// Nor are they when a user decides.
	app := enrol(r, rig.Members{"logo_uri": h.URL + "/logo.png", "client_uri": h.URL + "/site"})
	page := r.Browser().SignIn(r.Alice.Email).Authorize(app.Params("read"))
	if !isConsent(page) || strings.Contains(page.Body, `src="`+h.URL) {
		t.Errorf("the page is %d %s", page.Status, page.Body)
	}
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "img-src 'self'") ||
		strings.Contains(policy, h.URL) {
		t.Errorf("the policy is %s", policy)
	}
	bait.wantUntouched(t)
}

// An application type decides about redirect URIs; without one, they decide about it.
func TestD08_ApplicationTypes(t *testing.T) {
	r := rig.Memory(t, openServer())
	const web, native, refusedAs = "web", "native", ""
	https, loopback, scheme := "https://app.example/cb", "http://127.0.0.1/cb", "com.example.app:/cb"
	for _, x := range []struct {
		uris       []string
		kind, want string
	}{
		{[]string{https}, "", web},
		{[]string{https}, web, web},
		{[]string{https}, native, native},
		{[]string{loopback}, "", native},
		{[]string{"http://localhost:3000/cb", "http://[::1]/cb"}, "", native},
		{[]string{scheme}, "", native},
		{[]string{loopback, scheme}, "", native},
		{[]string{loopback}, native, native},
		{[]string{scheme}, native, native},
		{[]string{loopback}, web, refusedAs},
		{[]string{scheme}, web, refusedAs},
		{[]string{https, loopback}, "", refusedAs},
		{[]string{https, loopback}, web, refusedAs},
		{[]string{https, scheme}, "", refusedAs},
		{[]string{https, loopback}, native, native}, // as Visual Studio Code registers
		{[]string{"https://127.0.0.1/cb"}, "", web},
	} {
		members := rig.Members{"redirect_uris": x.uris, "application_type": x.kind}
		if x.kind == "" {
			members["application_type"] = nil
		}
		a := register(r, "", members)
		if x.want == refusedAs {
			refused(t, a, http.StatusBadRequest, oauth.InvalidRedirectURI)
			if !strings.Contains(a.Text("error_description"), "send application_type native") {
				t.Errorf("%v: %s", x.uris, a.Body)
			}
			continue
		}
		if a.Status != http.StatusCreated || a.Text("application_type") != x.want {
			t.Errorf("%v as %q: %d %s, want %s", x.uris, x.kind, a.Status, a.Body, x.want)
		}
	}
}

// A client gets the scopes that are open, and those of its registration. What is closed is left out, and the answer says
// so.
func TestD08_ScopesThatAreNotOpenAreLeftOut(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	b := r.Browser().SignIn(r.Alice.Email)
	for scope, want := range map[string]string{
		"": "read write delete", "offline_access": "read write delete offline_access", "read": "read", "read write admin": "read write", "delete openid profile": "delete",
		"read read": "read", "read offline_access": "read offline_access", "offline_access write x:y": "write offline_access",
		"admin read": "read", "READ write": "write", "introspect read": "read", "read files:read": "read",
		strings.Repeat("x", 10_000) + " read": "read",
	} {
		members := rig.Members{"scope": scope}
		if scope == "" {
			members["scope"] = nil
		}
		e := enrol(r, members)
		wantScopes(t, scope, e.a, want)
		for _, name := range strings.Fields(want) {
			if name == "offline_access" {
				continue
			}
			params := altered(e.Params(name), url.Values{"resource": {openAPI}})
			if name == "delete" {
				params.Set("resource", otherAPI)
			}
			if a := b.Authorize(params); !isConsent(a) {
				t.Errorf("%q: %s is refused: %d %s", scope, name, a.Status, rig.Plain(a.Body))
			}
		}
		for _, name := range []string{"admin", "read", "write", "delete"} {
			if slices.Contains(strings.Fields(want), name) {
				continue
			}
			for _, api := range []string{openAPI, otherAPI} {
				if a := ask(b, altered(e.Params(name), url.Values{"resource": {api}})); a.Status != http.StatusBadRequest {
					t.Errorf("%q: %s at %s is accepted: %d %v", scope, name, api, a.Status, a.Location)
				}
			}
		}
	}
	scopes := make([]string, 2000)
	for i := range scopes {
		scopes[i] = fmt.Sprint("s", i)
	}
	refused(t, register(r, "", rig.Members{"scope": strings.Join(scopes, " ")}), http.StatusBadRequest,
		oauth.InvalidClientMetadata)
}

// The scopes of one API are not those of another with the same names, in any flow.
func TestD08_AScopeIsOpenAtItsOwnAPI(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		for _, app := range []*rig.App{enrol(r).App, h.describe("/"+r.Store.Engine(), nil)} {
			in := func(scope, api string) url.Values {
				v := app.Params(scope)
				if api != "" {
					v.Set("resource", api)
				}
				return v
			}
			for _, x := range []struct{ scope, api string }{
				{"read", closedAPI},
				{"", closedAPI},
				{"write", closedAPI},
				{"write", otherAPI},
				{"read write", otherAPI},
				{"delete", openAPI},
				{"admin", openAPI},
				{"admin", otherAPI},
				{"delete", ""},
				{"admin", ""},
				{"read", "https://unknown.example"},
				{"read", r.Issuer},
			} {
				wantPage(t, ask(b, in(x.scope, x.api)), http.StatusBadRequest)
				a := r.PostAs(app, "/oauth/par", in(x.scope, x.api))
				if code := a.Text("error"); a.Status != http.StatusBadRequest || code != oauth.InvalidScope && code != oauth.InvalidTarget {
					t.Errorf("%q at %q: PAR answered %d %s", x.scope, x.api, a.Status, a.Body)
				}
			}
			// Without a resource, it is the first that is open, with all of its open scopes that the client registered.
			for _, x := range []struct{ scope, api, at, want string }{
				{"", "", openAPI, "read write"},
				{"read", "", openAPI, "read"},
				{"", otherAPI, otherAPI, "read delete"},
				{"delete", otherAPI, otherAPI, "delete"},
				{"read", openAPI + "/", openAPI, "read"},
			} {
				a := b.Authorize(altered(in(x.scope, x.api), url.Values{"prompt": {"consent"}}))
				code := b.Decide(a, "approve").Param("code")
				a = r.Exchange(app, code)
				access, refresh := granted(t, a)
				wantScopes(t, x.scope+" at "+x.api, a, x.want)
				for _, api := range []string{closedAPI, openAPI, otherAPI} {
					if alive := r.Alive(introspecting(r, api), access); alive != (api == x.at) {
						t.Errorf("%q at %q: at %s it is active: %v", x.scope, x.api, api, alive)
					}
				}
				for _, other := range []string{closedAPI, openAPI, otherAPI} {
					if other == x.at {
						continue
					}
					refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "resource", other)),
						http.StatusBadRequest, oauth.InvalidTarget)
				}
				refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", "admin")), http.StatusBadRequest,
					oauth.InvalidScope)
			}
		}
	})
}

// What the operator closes is closed for the clients and tokens that there are.
func TestD08_AScopeThatIsClosedIsClosedForAll(t *testing.T) {
	h := newDocumentHost(t)
	o := h.options()
	o.Issuer = "http://localhost:8080"
	before := rig.Memory(t, o)
	b := before.Browser().SignIn(before.Alice.Email)
	for i, app := range []*rig.App{enrol(before).App, enrol(before, rig.Members{"scope": "write"}).App, h.describe("/x", nil)} {
		scope := "read write"
		if i == 1 {
			scope = "write"
		}
		_, refresh := granted(t, before.Exchange(app, b.Code(app, scope)))
		o.Resources = openAPIs()
		o.Resources[1].OpenScopes = []string{"read"}
		after := rig.New(t, before.Store, o)
		at := after.Browser().WithCookiesOf(b)
		if a := ask(at, app.Params("write")); a.Param("error") != oauth.InvalidScope {
			t.Errorf("it is asked for with %d %v", a.Status, a.Location)
		}
		a := after.Refresh(app, refresh)
		switch {
		case i == 1:
			if a.Status == http.StatusOK {
				t.Errorf("a client of a closed scope alone gets %s", a.Body)
			}
		default:
			granted(t, a)
			wantScopes(t, "after it is closed", a, "read")
		}
	}
}

// PKCE is required of each client that registers itself, whatever it says.
func TestA20_ClientsThatRegisterThemselvesNeedPKCE(t *testing.T) {
	h := newDocumentHost(t)
	for name, openID := range map[string]bool{"": false, "openid": true} {
		o := h.options()
		o.OpenID = openID
		r := rig.Memory(t, o)
		b := r.Browser().SignIn(r.Alice.Email)
		key := rig.NewKey(t, "key-1")
		basic := enrol(r, rig.Members{"token_endpoint_auth_method": "client_secret_basic"})
		signed := enrol(r, withKeys(key))
		for what, x := range map[string]struct {
			app      *rig.App
			optional bool
		}{
			"public":             {enrol(r, rig.Members{"require_pkce": false, "pkce_optional": true}).App, false},
			"with a secret":      {basic.App, openID},
			"with keys":          {signed.App, openID},
			"a document":         {h.describe("/public", nil), false},
			"a document's keys":  {h.signedDocument("/signed", key), false},
			"a document's claim": {h.describe("/claims", rig.Members{"pkce_optional": true}), false},
		} {
			without := altered(x.app.Params("read"), url.Values{"code_challenge": nil, "code_challenge_method": nil})
			if a := b.Authorize(without); isConsent(a) != x.optional {
				t.Errorf("%s, %s: without PKCE it is answered %d %v", name, what, a.Status, a.Location)
			} else if x.optional {
				code := b.Decide(a, "approve").Param("code")
				form := with(codeForm(x.app, code), "code_verifier", "")
				if x.app == signed.App {
					granted(t, r.PostSigned(x.app, key, "/oauth/token", form))
				} else {
					granted(t, r.PostAs(x.app, "/oauth/token", form))
				}
			} else {
				wantPage(t, a, http.StatusBadRequest)
			}
			plain := altered(x.app.Params("read"), url.Values{"code_challenge_method": {"plain"}})
			wantPage(t, ask(b, plain), http.StatusBadRequest)
		}
		// The assertion of such a client may name the token endpoint.
		for what, app := range map[string]*rig.App{"registered": signed.App, "document": h.signedDocument("/signed", key)} {
			a := asking.asserted(r, r.Assertion(app, key, rig.Members{"aud": r.Issuer + "/oauth/token"}))
			if want := openID && what == "registered"; (a.Status == http.StatusOK) != want {
				t.Errorf("%s, %s: an assertion for the token endpoint is answered %d", name, what, a.Status)
			}
		}
	}
}

// Without the setting, it does not count for clients that registered with it.
func TestA20_TheExceptionEndsWithTheSetting(t *testing.T) {
	o := openServer()
	o.Issuer, o.OpenID = "http://localhost:8080", true
	before := rig.Memory(t, o)
	key := rig.NewKey(t, "key-1")
	basic := enrol(before, rig.Members{"token_endpoint_auth_method": "client_secret_basic"})
	signed := enrol(before, withKeys(key))
	o.OpenID = false
	r := rig.New(t, before.Store, o)
	b := r.Browser().SignIn(r.Alice.Email)
	without := altered(basic.Params("read"), url.Values{"code_challenge": nil, "code_challenge_method": nil})
	if a := b.Authorize(without); isConsent(a) || a.Param("code") != "" {
		t.Errorf("without PKCE it is answered %d %v", a.Status, a.Location)
	}
	refused(t, asking.asserted(r, r.Assertion(signed.App, key, rig.Members{"aud": r.Issuer + "/oauth/token"})),
		http.StatusUnauthorized, oauth.InvalidClient)
}
