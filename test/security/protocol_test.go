package security

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// An issuer may have several entries, and a token must satisfy one of them completely: never the key of one entry and
// the audience of another.
func TestV44_ATokenSatisfiesOneEntryOfItsIssuer(t *testing.T) {
	outside := newIssuer(t)
	secret, other := []byte("the secret of a project, of 32 bytes or more"),
		[]byte("the secret of another one, of 32 bytes or more")
	entry := func(change func(*catalog.TrustedIssuer)) catalog.TrustedIssuer {
		x := catalog.TrustedIssuer{Issuer: outside.URL, Audiences: []string{"a"}, Scopes: []string{"read"}}
		change(&x)
		return x
	}
	o := limited()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{
		entry(func(x *catalog.TrustedIssuer) { x.HS256Secret = secret }),
		entry(func(x *catalog.TrustedIssuer) {
			x.JWKSURL, x.Algorithms, x.Audiences, x.Scopes, x.Plan = outside.URL+"/keys", []string{"ES256"},
				[]string{"b", "c"}, []string{"write"}, "pro"
		}),
		entry(func(x *catalog.TrustedIssuer) {
			x.HS256Secret, x.Audiences, x.ClientIDs = other, nil, []string{"their app"}
		}),
	}
	j := &jwtRig{Rig: rig.Memory(t, o)}
	j.api = j.ResourceServer()
	token := func(algorithm jose.SignatureAlgorithm, key any, change map[string]any) string {
		claims := outside.claims(j.Rig)
		delete(claims, "aud")
		for name, value := range change {
			claims[name] = value
		}
		header := map[string]any{"alg": string(algorithm)}
		if algorithm == jose.ES256 {
			header["kid"] = outside.kid
		}
		return sign(t, algorithm, key, header, claims)
	}
	for name, x := range map[string]struct{ token, scope string }{
		"the secret, its audience": {token(jose.HS256, secret, map[string]any{"aud": "a"}), "read"},
		"the keys, the first":      {token(jose.ES256, outside.key, map[string]any{"aud": "b"}), "write"},
		"the keys, the second":     {token(jose.ES256, outside.key, map[string]any{"aud": []string{"x", "c"}}), "write"},
		"no aud, its client":       {token(jose.HS256, other, map[string]any{"client_id": "their app"}), "read"},
	} {
		j.taken(t, name, x.token)
		if got := j.Introspect(j.api, x.token).Text("scope"); got != x.scope && got != x.scope+" capture" {
			t.Errorf("%s: scope %q, want %q", name, got, x.scope)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(outside.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, x := range map[string]string{
		"the secret with the keys' audience":   token(jose.HS256, secret, map[string]any{"aud": "b"}),
		"the keys with the secret's audience":  token(jose.ES256, outside.key, map[string]any{"aud": "a"}),
		"the secret of another entry":          token(jose.HS256, other, map[string]any{"aud": "a"}),
		"a client without an aud of the first": token(jose.HS256, secret, map[string]any{"client_id": "their app"}),
		"an aud where there must be none": token(jose.HS256, other, map[string]any{
			"client_id": "their app",
			"aud":       "a",
		}),
		"an aud of null": token(jose.HS256, other, map[string]any{"client_id": "their app", "aud": nil}),
		"an empty aud": token(jose.HS256, other, map[string]any{
			"client_id": "their app",
			"aud":       []string{},
		}),
		"another client":                   token(jose.HS256, other, map[string]any{"client_id": "another"}),
		"no client":                        token(jose.HS256, other, nil),
		"clients as a list":                token(jose.HS256, other, map[string]any{"client_id": []string{"their app"}}),
		"HS256 with the public key":        token(jose.HS256, public, map[string]any{"aud": "b"}),
		"HS256 with the public key, aud a": token(jose.HS256, public, map[string]any{"aud": "a"}),
	} {
		j.refused(t, name, x)
	}
}

func TestV45_DatesMayHaveAFractionAndKeysInTheHeaderAreIgnored(t *testing.T) {
	outside, bait := newIssuer(t), newIssuer(t)
	o := limited()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := &jwtRig{Rig: rig.Memory(t, o)}
	j.api = j.ResourceServer()
	now := j.Store.Now().Unix()
	token := func(header, claims map[string]any) string {
		h, c := map[string]any{"alg": "ES256", "kid": outside.kid, "typ": "JWT"}, outside.claims(j.Rig)
		for name, value := range header {
			h[name] = value
		}
		for name, value := range claims {
			c[name] = value
		}
		return sign(t, jose.ES256, outside.key, h, c)
	}
	number := func(format string, n int64) json.Number { return json.Number(fmt.Sprintf(format, n)) }
	for name, claims := range map[string]map[string]any{
		"a fraction": {
			"exp": number("%d.5", now+60),
			"iat": number("%d.123456789", now-1),
			"nbf": number("%d.25", now-1),
		},
		"a fraction of zero":  {"exp": number("%d.0", now+60)},
		"an exponent":         {"exp": number("%de0", now+60), "iat": json.Number("1.5E9"), "nbf": json.Number("0e5")},
		"a negative exponent": {"exp": number("%d00e-2", now+60)},
		"the year 9999":       {"exp": json.Number("2.534023e11")},
	} {
		j.taken(t, name, token(nil, claims))
	}
	for name, claims := range map[string]map[string]any{
		"just over":                {"exp": number("%d.5", now-1)},
		"too large":                {"exp": json.Number("1e400")},
		"an exponent of a million": {"exp": json.Number("1e1000000")},
		"after 9999":               {"exp": json.Number("2.6e11")},
		"negative":                 {"exp": json.Number("-1.5e9")},
		"almost zero":              {"exp": json.Number("1e-400")},
		"later":                    {"nbf": number("%d.5", now+3600)},
		"iat later":                {"iat": json.Number("2.5e11")},
	} {
		j.refused(t, name, token(nil, claims))
	}
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"jku":       bait.URL,
		"x5u":       bait.URL,
		"x5c":       []string{"not a certificate"},
		"x5t":       "AA",
		"x5t#S256":  "AA",
		"jwk":       map[string]any{"kty": "nonsense"},
		"nonce":     5,
		"something": map[string]any{"of": "theirs"},
	} {
		j.taken(t, name, token(map[string]any{name: value}, nil))
		h := map[string]any{"alg": "ES256", "kid": outside.kid, name: value}
		j.refused(t, name+" with another key", sign(t, jose.ES256, mine, h, outside.claims(j.Rig)))
	}
	j.refused(t, "crit", token(map[string]any{"crit": []string{"exp"}}, nil))
	j.refused(t, "crit, empty", token(map[string]any{"crit": nil}, nil))
	bait.wantFetches(t, 0)
}

// The log and the CLI say why a JWT is refused; the caller gets the same sentence in all cases.
func TestV46_TheOperatorLearnsWhyAJWTIsRefused(t *testing.T) {
	outside := newIssuer(t)
	o := limited()
	o.Resources[0].JWT = true
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := newJWTRig(rig.Memory(t, o))
	key, kid := stolen(t, j.Rig)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := j.Store.Now().Unix()
	theirs := func(signer *ecdsa.PrivateKey, header, claims map[string]any) string {
		h, c := map[string]any{"alg": "ES256", "kid": outside.kid}, outside.claims(j.Rig)
		for name, value := range header {
			h[name] = value
		}
		for name, value := range claims {
			c[name] = value
		}
		return sign(t, jose.ES256, signer, h, c)
	}
	ours := func(signer *ecdsa.PrivateKey, header, claims map[string]any) string {
		h, c := map[string]any{"alg": "ES256", "kid": kid, "typ": "at+jwt"}, part(t, j.access, 1)
		for name, value := range header {
			h[name] = value
		}
		for name, value := range claims {
			c[name] = value
		}
		return sign(t, jose.ES256, signer, h, c)
	}
	bodies := map[string]bool{}
	for want, token := range map[string]string{
		`"https://unknown.example", which is neither this server nor one of the trusted_issuers`: theirs(outside.key, nil,
			map[string]any{"iss": "https://unknown.example"}),
		"which is not one of authenticated":           theirs(outside.key, nil, map[string]any{"aud": "another"}),
		"signature of the JWT does not match the key": theirs(stranger, nil, nil),
		"has no key for ES256 with the kid":           theirs(outside.key, map[string]any{"kid": "unknown"}, nil),
		"is not valid before":                         theirs(outside.key, nil, map[string]any{"nbf": now + 3600}),
		"in the future (iat)":                         theirs(outside.key, nil, map[string]any{"iat": now + 3600}),
		"exp in the JWT is not a number":              theirs(outside.key, nil, map[string]any{"exp": "soon"}),
		"so it is not an access token":                theirs(outside.key, map[string]any{"typ": "logout+jwt"}, nil),
		"has crit":                                    theirs(outside.key, map[string]any{"crit": []string{"x"}}, nil),
		"more than the 8192 that are accepted": theirs(outside.key, nil,
			map[string]any{"groups": strings.Repeat("g", 9000)}),
		"sub or jti of the JWT is missing": theirs(outside.key, nil, map[string]any{"sub": ""}),
		"the alg of the JWT is \"HS256\"": sign(t, jose.HS256, make([]byte, 32), map[string]any{"alg": "HS256"},
			outside.claims(j.Rig)),
		"the signature of the JWT is wrong":            ours(stranger, nil, nil),
		"; an access token has at+jwt":                 ours(key, map[string]any{"typ": "JWT"}, nil),
		"not the form of this server's key ids":        ours(key, map[string]any{"kid": "x"}, nil),
		"is not in the database":                       ours(key, nil, map[string]any{"jti": "unknown"}),
		"no access token of this database":             bearer.NewCredential(bearer.PrefixAccessToken),
		"starts like an access token, but was changed": bearer.PrefixAccessToken + "x",
		"does not have the form of a token or key":     "nonsense",
		"no API key or personal access token of this ": bearer.NewCredential("sk_live_"),
	} {
		a := j.Call(http.MethodGet, "/v1/auth/test", token)
		id := a.Header.Get("X-Request-Id")
		i := strings.Index(j.Log.String(), id)
		line, _, _ := strings.Cut(j.Log.String()[max(i, 0):], "\n")
		if a.Status != http.StatusUnauthorized || i < 0 || !strings.Contains(line, strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%s: %d, and the log says %s", want, a.Status, line)
		}
		bodies[a.Body] = true
		_, reason, err := j.OAuth.IntrospectCredential(t.Context(), token, nil)
		if err != nil || !strings.Contains(reason, want) {
			t.Errorf("%s: the CLI says %q, %v", want, reason, err)
		}
		if b := j.Introspect(j.api, token); !j.Dead(b) {
			t.Errorf("%s: introspection says %s", want, b.Body)
		}
	}
	if len(bodies) != 1 {
		t.Errorf("callers get %d answers: %v", len(bodies), bodies)
	}
	// A key set that cannot be fetched is not reported as a failure of this server's storage.
	outside.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
	j.Advance(24 * 60 * 60 * 1e9)
	token := theirs(outside.key, nil, map[string]any{"exp": j.Store.Now().Unix() + 60})
	for _, a := range []*rig.Answer{j.Call(http.MethodGet, "/v1/auth/test", token), j.Introspect(j.api, token)} {
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" ||
			strings.Contains(a.Body, "storage") || !strings.Contains(a.Body, "keys of the token's issuer") {
			t.Errorf("with a bad key set: %d %s", a.Status, a.Body)
		}
	}
	if log := j.Log.String(); !strings.Contains(log, "not a JWK set") || strings.Contains(log, "storage is unavailable") {
		t.Error("the log does not say what is wrong with the key set")
	}
}

func TestV47_AResourceIsFoundInEverySpelling(t *testing.T) {
	r := rig.Memory(t, rig.Options{Resources: twoResources()})
	for _, spelling := range []string{"https://two.example", "https://two.example/", "HTTPS://TWO.example:443"} {
		app := r.App(management.ClientSpec{Scopes: []string{"read"}, Resources: []string{"https://one.example/", spelling}})
		if !slices.Equal(app.Resources, []string{"https://one.example", "https://two.example"}) {
			t.Errorf("registered for %v", app.Resources)
		}
		api := r.App(management.ClientSpec{Name: "Two", ResourceServer: true, Resources: []string{spelling}})
		b := r.Browser().SignIn(r.Alice.Email)
		code := b.Decide(b.Authorize(with(app.Params("read"), "resource", spelling)), "approve").Param("code")
		tokens := r.PostAs(app, "/oauth/token", with(codeForm(app, code), "resource", spelling))
		access, refresh := granted(t, tokens)
		for _, token := range []string{
			access,
			r.PostAs(app, "/oauth/token", url.Values{
				"grant_type":    {"refresh_token"},
				"refresh_token": {refresh},
				"resource":      {spelling},
			}).Text("access_token"),
		} {
			if aud := r.Introspect(api, token).Text("aud"); aud != "https://two.example" {
				t.Errorf("%s: aud is %q", spelling, aud)
			}
		}
		machine := r.App(management.ClientSpec{
			Grants: []string{oauth.GrantClientCredentials}, Scopes: []string{"read"}, Resources: []string{spelling},
		})
		access, _ = granted(t,
			r.PostAs(machine, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "resource": {spelling}}))
		if aud := r.Introspect(api, access).Text("aud"); aud != "https://two.example" {
			t.Errorf("%s: aud of a machine's token is %q", spelling, aud)
		}
		k, _ := r.PersonalToken(r.Alice, apikey.Spec{Resource: spelling})
		if k.Resource != "https://two.example" {
			t.Errorf("a token is for %q", k.Resource)
		}
	}
	_, _, err := r.Management.CreateClient(r.System(), management.CLI(""),
		management.ClientSpec{
			Name:      "x",
			Grants:    []string{oauth.GrantClientCredentials},
			Scopes:    []string{"read"},
			Resources: []string{"https://two.example", "https://two.example/"},
		})
	if err == nil {
		t.Error("one resource twice is accepted")
	}
}

func TestV48_PreflightsAreAnsweredWithAnySafeHeader(t *testing.T) {
	r := rig.Memory(t, signing())
	r.App(management.ClientSpec{Public: true, RedirectURIs: []string{"http://localhost:6274/oauth/callback"}})
	ask := func(path, method, headers string) *rig.Answer {
		return r.Send(r.Program(),
			r.Request(http.MethodOptions, path, nil, "Origin", "http://localhost:6274", "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", headers))
	}
	for path, x := range map[string]struct{ method, origin string }{
		"/.well-known/oauth-authorization-server": {"GET", "*"},
		"/oauth/jwks":   {"GET", "*"},
		"/oauth/token":  {"POST", "http://localhost:6274"},
		"/oauth/revoke": {"POST", "http://localhost:6274"},
	} {
		a := ask(path, x.method, "authorization,content-type,mcp-protocol-version,x-my-header")
		allowed := strings.Join(a.Header.Values("Access-Control-Allow-Headers"), ",")
		if a.Status != http.StatusNoContent || a.Header.Get("Access-Control-Allow-Origin") != x.origin ||
			!strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), x.method) {
			t.Errorf("%s: %d %v", path, a.Status, a.Header)
		}
		for _, name := range []string{"authorization", "content-type", "mcp-protocol-version", "x-my-header"} {
			if !strings.Contains(allowed, name) {
				t.Errorf("%s: %s is not allowed: %q", path, name, allowed)
			}
		}
		a = ask(path, x.method, "x-forwarded-for,cookie,x-auth-subject,a b,x.dotted,proxy-authorization,x-ok")
		if got := strings.Join(a.Header.Values("Access-Control-Allow-Headers"), ","); got != "x-ok" {
			t.Errorf("%s allows %q", path, got)
		}
		if a := r.Send(r.Program(), r.Request(http.MethodOptions, path, nil)); a.Status != http.StatusNoContent ||
			a.Header.Get("Allow") == "" {
			t.Errorf("%s without a preflight: %d %v", path, a.Status, a.Header)
		}
	}
	if a := r.Send(r.Program(),
		r.Request(http.MethodOptions, "/oauth/token", nil, "Origin", "https://evil.example", "Access-Control-Request-Method",
			"POST")); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a stranger's page may call token")
	}
}

func TestV50_EncodedBodiesAre415AndHEADIssuesNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	w := r.Workspace("acme", "", r.Alice)
	_, key := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	b := r.Browser().SignIn(r.Alice.Email)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte("grant_type=client_credentials"))
	_ = z.Close()
	for _, encoding := range []string{"gzip", "identity, gzip", "GZIP", "br", "x"} {
		for _, path := range []string{
			"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/authorize", "/login",
			"/settings/profile", "/v1/api-keys",
		} {
			media := "application/x-www-form-urlencoded"
			if path == "/v1/api-keys" {
				media = "application/json"
			}
			q := r.Request(http.MethodPost, path, bytes.NewReader(packed.Bytes()), "Content-Type", media,
				"Content-Encoding", encoding)
			switch path {
			case "/v1/api-keys":
				q.Header.Set("Authorization", "Bearer "+key)
			case "/oauth/token", "/oauth/revoke", "/oauth/introspect":
				q.Header.Set("Authorization", rig.Basic(app.ID, app.Secret))
			}
			a := r.Send(r.Program(), q)
			if a.Status != http.StatusUnsupportedMediaType || a.Header.Get("Accept-Encoding") != "identity" ||
				!strings.Contains(rig.Plain(a.Body), "Content-Encoding") {
				t.Errorf("%s with %s: %d %s", path, encoding, a.Status, a.Body)
			}
		}
	}
	if a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {"x"}}, "Content-Encoding",
		"identity"); a.Status != http.StatusOK {
		t.Errorf("identity: %d %s", a.Status, a.Body)
	}
	for body, want := range map[string]string{
		`{"grant_type":"client_credentials","scope":null}`: `'scope' is null`,
		`{"grant_type":["x"]}`:                             `'grant_type' is a list`,
		`{"a":"1","a":"2"}`:                                `'a' is in the body twice`,
		`null`:                                             "one JSON object",
	} {
		a := r.Send(r.Program(),
			r.Request(http.MethodPost, "/oauth/token", strings.NewReader(body), "Content-Type", "application/json",
				"Authorization", rig.Basic(app.ID, app.Secret)))
		if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, want) {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	for _, spaces := range []string{" ", "  ", "     "} {
		a := r.Send(r.Program(), r.Request(http.MethodGet, "/v1/auth/test", nil, "Authorization", "bearer"+spaces+key))
		if a.Status != http.StatusOK {
			t.Errorf("%d spaces after Bearer: %d", len(spaces), a.Status)
		}
	}
	_, introspects := r.IntrospectionKey()
	if a := r.Post("/oauth/introspect", url.Values{"token": {key}}, "Authorization",
		"Bearer   "+introspects); a.Status != http.StatusOK {
		t.Errorf("introspection with spaces after Bearer: %d", a.Status)
	}
	for _, uri := range []string{
		"http://127.0.0.1:0/cb", "http://localhost:0", "https://app.example:0/cb", "http://[::1]:99999/cb",
	} {
		_, _, err := r.Management.CreateClient(r.System(), management.CLI(""),
			management.ClientSpec{Name: "x", Scopes: []string{"read"}, RedirectURIs: []string{uri}})
		if err == nil || !strings.Contains(err.Error(), "port") || strings.Contains(err.Error(), "plain http") {
			t.Errorf("%s: %v", uri, err)
		}
	}
	// With a remembered consent, GET issues a code at once, and HEAD does not.
	b.Code(app, "read")
	address := "/oauth/authorize?" + app.Params("read").Encode()
	before := len(r.Grants(r.Alice.ID))
	q := r.Request(http.MethodHead, address, nil)
	for _, c := range b.Cookies() {
		q.AddCookie(c)
	}
	if a := r.Send(r.Program(), q); a.Status != http.StatusOK || a.Location != nil || len(r.Grants(r.Alice.ID)) != before {
		t.Errorf("HEAD answered %d %v; %d grants, before %d", a.Status, a.Location, len(r.Grants(r.Alice.ID)), before)
	}
	if a := b.Get(address); a.Param("code") == "" {
		t.Errorf("GET answered %d %v", a.Status, a.Location)
	}
}
