package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/test/browser"
	"doorward/test/setup"
)

// keySteps are the steps of a client that uses keys, in the order of the page.
var keySteps = []struct{ step, title string }{
	{"par", "pushes the authorization request (PAR)"},
	{"value", "`private_key_jwt`, keys by value: code + PKCE"},
	{"value_refresh", "… refresh"},
	{"value_introspect", "… introspect"},
	{"value_revoke", "… revoke"},
	{"uri", "`private_key_jwt`, keys at `jwks_uri`: code + PKCE"},
	{"rotated", "… with the next key, as soon as it is there"},
	{"audience", "… refused: an assertion for the token endpoint's URL"},
	{"marked", "… which an app with `token_endpoint_audience` may send"},
	{"dpop", "DPoP: code + PKCE"},
	{"dpop_refresh", "… refresh"},
	{"dpop_own", "… calls `/v1/auth/test`"},
	{"dpop_api", "… calls an API behind the built-in proxy"},
	{"dpop_introspect", "… introspect: `cnf` names the key"},
	{"dpop_bearer", "… refused: the token without a proof"},
	{"dpop_other", "… refused: a proof by another key"},
	{"dpop_revoke", "… revoke"},
	{"fapi", "`fapi`: PAR, DPoP, code + PKCE"},
	{"fapi_refresh", "… refresh, with the same refresh token each time"},
	{"fapi_introspect", "… introspect"},
	{"fapi_plain", "… refused, on a page: an authorization request that was not pushed"},
	{"fapi_bearer", "… refused: a token request without a proof"},
	{"fapi_revoke", "… revoke"},
	{"nonce_first", "`dpop_nonces`: the client tries again with the nonce of the first answer"},
	{"nonce", "… PAR and code + PKCE"},
	{"nonce_refresh", "… refresh"},
	{"nonce_own", "… calls `/v1/auth/test`"},
	{"nonce_api", "… calls an API behind the built-in proxy"},
}

// keyParty is a third-party client that uses keys.
type keyParty struct {
	party
	source string // its source, below test/interop
}

// keyParties are the clients that use keys. Their lacks are steps for which the library has no function, or that are
// about what it does not have.
var keyParties = []keyParty{
	{
		party{name: "openid-client", version: nodePackage("openid-client"), pinned: true}, "node/keys-openid-client.js",
	},
	{
		party{name: "oauth4webapi", version: nodePackage("oauth4webapi"), pinned: true}, "node/keys-oauth4webapi.js",
	},
	{
		party{name: "Authlib", version: python("authlib"), lacks: authlibLacks()}, "python/authlib_keys.py",
	},
}

// authlibLacks are all steps with PAR or DPoP, which Authlib does not have.
func authlibLacks() (lacks []string) {
	for _, s := range keySteps {
		if !strings.HasPrefix(s.step, "value") && !slices.Contains([]string{"uri", "rotated", "audience", "marked"}, s.step) {
			lacks = append(lacks, s.step)
		}
	}
	return lacks
}

// keyed holds the results of the clients that use keys.
type keyed struct {
	versions []string
	got      []map[string]string // step → detail, one for each client
}

// keyClient is a registered client with its private key.
type keyClient struct {
	ID   string          `json:"id"`
	Key  jose.JSONWebKey `json:"key"`
	Next jose.JSONWebKey `json:"next,omitzero"` // the key after that
}

// newKey makes a private key that signs with ES256.
func newKey(t *testing.T, id string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}
}

// publicSet is the JWK set with the public halves of keys.
func publicSet(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withKey registers a client that authenticates with a key, by value unless args say where it is.
func (s *site) withKey(name string, args ...string) keyClient {
	s.t.Helper()
	k := newKey(s.t, "1")
	if !slices.Contains(args, "--jwks-uri") {
		args = append(args, "--jwks", publicSet(s.t, k))
	}
	c := s.client(name, append([]string{
		"--token-endpoint-auth-method", "private_key_jwt", "--redirect-uri", callback, "--scope", scope, "--resource", s.api,
		"--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials",
	}, args...)...)
	if c.Secret != "" {
		s.t.Error("a client with keys got a secret")
	}
	return keyClient{ID: c.ID, Key: k}
}

// published is where clients publish their keys: /NAME has the set with that name.
type published struct {
	mu   sync.Mutex
	sets map[string]string
}

func (p *published) set(name, keys string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets[name] = keys
}

func (p *published) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, ok := p.sets[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write([]byte(text))
}

// keysInsteadOfSecrets has each client do all that it can with keys, at a server that gives out no nonces and at one
// that demands them.
func keysInsteadOfSecrets(t *testing.T) (all keyed) {
	t.Helper()
	a := newAuthority(t)
	keys := &published{sets: map[string]string{}}
	home := "https://127.0.0.1:" + a.serve(t, keys)
	plain, nonces := a.site(t, ""), a.site(t, "dpop_nonces: true\n")
	introspecting := map[string]credentials{
		plain.api: plain.resourceServer(plain.api), nonces.api: nonces.resourceServer(nonces.api),
	}
	for _, p := range keyParties {
		done := t.Run(p.name, func(t *testing.T) {
			at := func(s *site) *site {
				own, direct := *s.server, *s.direct
				own.t, direct.t = t, t
				return &site{&own, &direct, s.api}
			}
			plain, nonces := at(plain), at(nonces)
			uri := plain.withKey(p.name, "--jwks-uri", home+"/"+p.name, "--dpop-bound-access-tokens")
			if slices.Contains(p.lacks, "dpop") {
				uri = plain.withKey(p.name, "--jwks-uri", home+"/"+p.name)
			}
			uri.Next = newKey(t, "2")
			keys.set(p.name, publicSet(t, uri.Key))
			settings := map[string]any{
				"issuer": plain.issuer, "api": plain.api, "scope": scope, "uri": uri,
				"value":  plain.withKey(p.name),
				"marked": plain.withKey(p.name, "--token-endpoint-audience"),
				"fapi":   plain.withKey(p.name, "--fapi"),
				"nonces": map[string]any{
					"issuer": nonces.issuer, "api": nonces.api, "client": nonces.withKey(p.name, "--fapi"),
				},
			}
			tab := browser.New(t)
			tab.TrustCertificates()
			got := map[string]string{}
			program, args := interpreter(t, p.source)
			listen(t, settings, func(l line) (waits bool) {
				if l.Open != "" {
					if u, err := url.Parse(l.Open); err == nil && u.Query().Has("request_uri") && len(u.Query()) != 2 {
						t.Errorf("after PAR the browser carries more than client_id and request_uri: %s", l.Open)
					}
					visit(t, tab, l.Open, "approve")
					return false
				}
				if l.Refuses != "" {
					if tab.Goto(l.Refuses); tab.Status() != http.StatusBadRequest || !strings.Contains(tab.Text("main"), "(PAR)") {
						t.Errorf("%s leads to %d %s", l.Refuses, tab.Status(), tab.Text("main"))
					}
				}
				if l.Step == "uri" { // from now on the next key is published too
					keys.set(p.name, publicSet(t, uri.Key, uri.Next))
				}
				told := slices.ContainsFunc(keySteps, func(s struct{ step, title string }) bool { return s.step == l.Step })
				if _, twice := got[l.Step]; twice || !told || !l.OK {
					t.Errorf("step %q is unknown, told twice, or failed: %s", l.Step, l.Detail)
				}
				s := plain
				if strings.HasPrefix(l.Step, "nonce") {
					s = nonces
				}
				s.direct.checkTokens(introspecting[s.api], l)
				got[l.Step] = l.Detail
				return true
			}, program, args...)
			for _, s := range keySteps {
				if _, told := got[s.step]; told == slices.Contains(p.lacks, s.step) {
					t.Errorf("%s: told %v, though the table of clients says otherwise", s.step, told)
				}
			}
			all.versions, all.got = append(all.versions, p.version(t)), append(all.got, got)
		})
		if !done {
			return keyed{}
		}
	}
	return all
}

// interpreter returns the command that runs a source below test/interop.
func interpreter(t *testing.T, source string) (program string, args []string) {
	t.Helper()
	if strings.HasSuffix(source, ".py") {
		program, err := setup.Python()
		setup.Need(t, err)
		return program, []string{"-B", filepath.FromSlash(source)}
	}
	program, err := setup.Node()
	setup.Need(t, err)
	for _, name := range []string{"openid-client", "oauth4webapi"} {
		_, err := setup.NodePackage(name)
		setup.Need(t, err)
	}
	return program, []string{filepath.FromSlash(source)}
}

// lines formats the rows of the page's table.
func (k keyed) lines() (titles []string, lines [][]string) {
	titles, version := []string{"step"}, []string{"version"}
	for i, p := range keyParties {
		titles = append(titles, "["+p.name+"](../test/interop/"+p.source+")")
		version = append(version, k.versions[i])
	}
	lines = append(lines, version)
	for _, s := range keySteps {
		cells := []string{s.title}
		for _, got := range k.got {
			switch detail, told := got[s.step]; {
			case !told:
				cells = append(cells, "–")
			case detail == "":
				cells = append(cells, "yes")
			default:
				cells = append(cells, "`"+detail+"`")
			}
		}
		lines = append(lines, cells)
	}
	return titles, lines
}
