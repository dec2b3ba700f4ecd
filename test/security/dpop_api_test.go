package security

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/storage"
	"doorward/test/rig"
)

// ownDoors are requests of the server itself that take a token: who-am-I and the management API.
func ownDoors(ws storage.Workspace) []string {
	return []string{"/v1/auth/test", "/api/me", "/v1/workspaces", "/v1/workspaces/" + ws.Slug + "/members"}
}

// called sends a request with an Authorization header and others, in pairs.
func called(r *rig.Rig, path, authorization string, header ...string) *rig.Answer {
	r.T.Helper()
	return r.Send(r.Program(), r.Request(http.MethodGet, path, nil, append([]string{"Authorization", authorization},
		header...)...))
}

// manager is an app whose tokens may use the management API.
func manager(r *rig.Rig) *rig.App {
	return r.App(management.ClientSpec{
		Name: "Manager", Public: true, Manages: true, Scopes: []string{"read", "admin"},
	})
}

func TestP01_P02_P03_P04_P06_ProofsAtTheAPI(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	k, app := rig.NewKey(t, ""), manager(r)
	ws, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	ok(t, err)
	token, _ := bound(t, proven(r, app, k, codeForm(app, adminCode(r, app))))
	wholeSecond(r)
	for _, path := range ownDoors(ws) {
		to := aim{method: http.MethodGet, url: r.Issuer + path, token: token}
		for name, wrong := range wrongProofs(t, r, k, to) {
			t.Run(path+" "+name, func(t *testing.T) {
				refusedProof(t, called(r, path, "DPoP "+token, proofs(wrong)...), oauth.InvalidDPoPProof)
			})
		}
		refusedProof(t, called(r, path, "DPoP "+token), oauth.InvalidDPoPProof)
		for name, right := range rightProofs(t, r, k, to) {
			t.Run(path+" "+name, func(t *testing.T) {
				if a := called(r, path, "DPoP "+token, dpop.Header, right); a.Status != http.StatusOK {
					t.Errorf("answered %d %s", a.Status, a.Body)
				}
			})
		}
		for _, scheme := range []string{"dpop", "DPOP"} { // RFC 9110, section 11.1
			if a := called(r, path, scheme+" "+token, dpop.Header, to.proof(r, k)); a.Status != http.StatusOK {
				t.Errorf("%s, scheme %s: answered %d %s", path, scheme, a.Status, a.Body)
			}
		}
		if a := called(r, path, "DPoP "+token, dpop.Header, to.proof(r, k)); a.Header.Get(dpop.NonceHeader) != "" {
			t.Errorf("%s: a nonce that no proof needs", path)
		}
	}
}

// adminCode has Alice allow all scopes of an app, which includes a dangerous one.
func adminCode(r *rig.Rig, app *rig.App) string {
	r.T.Helper()
	return r.Browser().SignIn(r.Alice.Email).Code(app, "read admin")
}

// A token that is bound is of no use without the key, and a credential that is not bound is not accepted as if it were.
func TestP06_TheSchemeFitsTheCredential(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	k, other := rig.NewKey(t, ""), rig.NewKey(t, "")
	ws, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	ok(t, err)
	app := manager(r)
	token, refresh := bound(t, proven(r, app, k, codeForm(app, adminCode(r, app))))
	free, _ := granted(t, r.Exchange(app, adminCode(r, app)))
	_, key := r.Key(ws, apikey.Spec{Scopes: []string{"admin"}})
	_, personal := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	for _, path := range ownDoors(ws) {
		to := aim{method: http.MethodGet, url: r.Issuer + path, token: token}
		for _, scheme := range []string{"Bearer", "bearer"} {
			wrongToken(t, called(r, path, scheme+" "+token), "Bearer")
			wrongToken(t, called(r, path, scheme+" "+token, dpop.Header, to.proof(r, k)), "Bearer")
		}
		wrongToken(t, called(r, path, "DPoP "+token, dpop.Header, to.proof(r, other)), "DPoP")
		for name, text := range map[string]string{
			"unbound": free, "API key": key, "personal access token": personal, "refresh token": refresh, "unknown": "x",
		} {
			its := to
			its.token = text
			for _, header := range [][]string{nil, {dpop.Header, its.proof(r, k)}} {
				t.Run(path+" "+name, func(t *testing.T) {
					wrongToken(t, called(r, path, "DPoP "+text, header...), "DPoP")
				})
			}
			if name == "refresh token" || name == "unknown" {
				continue
			}
			// As Bearer tokens they work, whatever the header DPoP is.
			for _, header := range [][]string{nil, {dpop.Header, "x"}, {dpop.Header, "x", dpop.Header, "y"}} {
				header = append(header, "X-Workspace", ws.Slug)
				if name == "unbound" {
					header = header[:len(header)-2]
				}
				if a := called(r, path, "Bearer "+text, header...); a.Status != http.StatusOK &&
					(path != "/api/me" || a.Status != http.StatusForbidden) { // a key belongs to a workspace
					t.Errorf("%s, %s as Bearer: answered %d %s", path, name, a.Status, a.Body)
				}
			}
		}
		if a := called(r, path, "DPoP "+token, dpop.Header, to.proof(r, k)); a.Status != http.StatusOK {
			t.Errorf("%s: the bound token is answered %d %s", path, a.Status, a.Body)
		}
	}
	// A token of a refused request is neither revoked nor counted as used up.
	if !r.Alive(r.ResourceServer(), token) {
		t.Error("the token is dead")
	}
}

// At an API whose tokens must be bound, one that was issued before is refused; keys are not concerned.
func TestP06_AnAPIThatDemandsBoundTokens(t *testing.T) {
	o := gatewayOptions(t)
	o.Resources[0].RequireDPoP = true
	outside := newIssuer(t)
	trusted := outside.trusted()
	trusted.Plan, trusted.Scopes = "", []string{"read"}
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{trusted}
	r := rig.Memory(t, o)
	app, k := publicApp(r), rig.NewKey(t, "")
	ws := r.Workspace("engines", "", r.Alice)
	token, _ := boundTokens(t, r, app, k)
	free, _ := boundTokens(t, r, app, k)
	r.SQL(`UPDATE access_tokens SET dpop_key = '' WHERE digest = $1`, storage.Digest(free)) // as one from before
	_, key := r.Key(ws, apikey.Spec{})
	_, personal := r.PersonalToken(r.Alice, apikey.Spec{})
	foreign := sign(t, jose.ES256, outside.key, map[string]any{"alg": "ES256", "kid": outside.kid, "typ": "JWT"},
		outside.claims(r))
	for door, ask := range gatewayDoors(r) {
		t.Run(door, func(t *testing.T) {
			send := func(header ...string) *rig.Answer { return unwrapped(r.Send(r.Program(), ask(header...)), door) }
			for _, text := range []string{free, foreign} {
				wrongToken(t, send("Authorization", "Bearer "+text), "Bearer")
				wrongToken(t, send("Authorization", "DPoP "+text, dpop.Header, doorAim(door, text).proof(r, k)), "DPoP")
			}
			for name, text := range map[string]string{"key": key, "personal access token": personal} {
				if a := send("Authorization", "Bearer "+text, "X-Workspace", ws.Slug); a.Status != http.StatusOK {
					t.Errorf("a %s is answered %d %s", name, a.Status, a.Body)
				}
			}
			a := send("Authorization", "DPoP "+token, dpop.Header, doorAim(door, token).proof(r, k))
			if a.Status != http.StatusOK {
				t.Errorf("a bound token is answered %d %s", a.Status, a.Body)
			}
		})
	}
	wrongToken(t, called(r, "/v1/auth/test", "Bearer "+free), "Bearer")
}

// A JWT of another issuer that is bound to a key needs a proof; one that is bound to something else is refused.
func TestP06_AForeignJWTMayBeBound(t *testing.T) {
	o := gatewayOptions(t)
	outside := newIssuer(t)
	trusted := outside.trusted()
	trusted.Plan, trusted.Scopes = "", []string{"read"}
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{trusted}
	r := rig.Memory(t, o)
	api, k, other := r.ResourceServer(), rig.NewKey(t, ""), rig.NewKey(t, "")
	of := func(cnf any) string {
		claims := outside.claims(r)
		if cnf != nil {
			claims["cnf"] = cnf
		}
		return sign(t, jose.ES256, outside.key, map[string]any{"alg": "ES256", "kid": outside.kid, "typ": "JWT"}, claims)
	}
	token := of(map[string]any{"jkt": k.Thumbprint()})
	if a := r.Introspect(api, token); a.Text("token_type") != "DPoP" || !strings.Contains(a.Body, k.Thumbprint()) {
		t.Errorf("introspection says %s", a.Body)
	}
	for door, ask := range gatewayDoors(r) {
		t.Run(door, func(t *testing.T) {
			send := func(header ...string) *rig.Answer { return unwrapped(r.Send(r.Program(), ask(header...)), door) }
			to := doorAim(door, token)
			if a := send("Authorization", "DPoP "+token, dpop.Header, to.proof(r, k)); a.Status != http.StatusOK {
				t.Errorf("with a proof it is answered %d %s", a.Status, a.Body)
			}
			wrongToken(t, send("Authorization", "Bearer "+token), "Bearer")
			refusedProof(t, send("Authorization", "DPoP "+token), oauth.InvalidDPoPProof)
			wrongToken(t, send("Authorization", "DPoP "+token, dpop.Header, to.proof(r, other)), "DPoP")
			for _, cnf := range []any{
				map[string]any{"x5t#S256": k.Thumbprint()},
				map[string]any{"jkt": k.Thumbprint(), "x5t#S256": "x"},
				map[string]any{"jkt": ""},
				map[string]any{"jkt": 5},
				map[string]any{"jwk": map[string]any{}},
				map[string]any{},
				"x",
				[]any{},
				5,
			} {
				text := of(cnf)
				for _, header := range [][]string{
					{"Authorization", "Bearer " + text},
					{"Authorization", "DPoP " + text, dpop.Header, doorAim(door, text).proof(r, k)},
				} {
					if a := send(header...); a.Status != http.StatusUnauthorized {
						t.Errorf("cnf %v is answered %d %s", cnf, a.Status, a.Body)
					}
				}
			}
			if a := send("Authorization", "Bearer "+of(nil)); a.Status != http.StatusOK {
				t.Errorf("one that is not bound is answered %d %s", a.Status, a.Body)
			}
		})
	}
}

// unwrapped is the answer that a caller gets from nginx, which builds it from headers.
func unwrapped(a *rig.Answer, door string) *rig.Answer {
	text := a.Header.Get("X-Doorward-Status")
	if !strings.HasSuffix(door, "nginx") || text == "" {
		return a
	}
	own := *a
	_ = json.Unmarshal([]byte(text), &own.Status)
	own.Header = a.Header.Clone()
	own.Header.Del("WWW-Authenticate")
	for one := range strings.SplitSeq(a.Header.Get("WWW-Authenticate"), ", ") {
		// Each challenge begins with a scheme, and the parameters do not.
		if strings.HasPrefix(one, "DPoP ") || strings.HasPrefix(one, "Bearer ") {
			own.Header.Add("WWW-Authenticate", one)
			continue
		}
		all := own.Header["Www-Authenticate"]
		if len(all) > 0 {
			all[len(all)-1] += ", " + one
		}
	}
	own.Body = a.Header.Get("X-Doorward-Body")
	return &own
}

// doorAim is the request of gatewayDoors, as the client knows it: ingress-nginx is asked for a URL with https.
func doorAim(door, token string) aim {
	scheme := "http"
	if door == "ingress-nginx" {
		scheme = "https"
	}
	return aim{method: http.MethodGet, url: scheme + "://" + gatewayHost + "/v1/x", token: token}
}

// A header with a client certificate has no effect, even from a trusted proxy: it is neither a proof nor a client's
// authentication.
func TestP10_ClientCertificateHeadersAreNeverRead(t *testing.T) {
	o := gatewayOptions(t)
	for name, proxies := range map[string][]netip.Prefix{"trusted": o.TrustedProxies, "untrusted": nil} {
		t.Run(name, func(t *testing.T) {
			o.TrustedProxies = proxies
			r := rig.Memory(t, o)
			app, machine, api, k := publicApp(r), robot(r), r.ResourceServer(), rig.NewKey(t, "")
			token, _ := boundTokens(t, r, app, k)
			free, _ := granted(t, r.PostAs(machine, "/oauth/token", ownForm))
			for _, header := range []string{
				"X-SSL-Client-Cert", "X-Client-Cert", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "SSL-Client-Cert",
				"Client-Cert", "X-Amzn-Mtls-Clientcert",
			} {
				const certificate = "-----BEGIN%20CERTIFICATE-----%0AMIIB%0A-----END%20CERTIFICATE-----%0A"
				refusedProof(t, called(r, "/v1/auth/test", "DPoP "+token, header, certificate), oauth.InvalidDPoPProof)
				wrongToken(t, called(r, "/v1/auth/test", "Bearer "+token, header, certificate), "Bearer")
				if a := called(r, "/v1/auth/test", "Bearer "+free, header, certificate); a.Status != http.StatusOK {
					t.Errorf("%s: answered %d %s", header, a.Status, a.Body)
				}
				own, _ := granted(t, r.PostAs(machine, "/oauth/token", ownForm, header, certificate))
				if a := r.Introspect(api, own); strings.Contains(a.Body, "cnf") || a.Text("token_type") != "Bearer" {
					t.Errorf("%s: introspection says %s", header, a.Body)
				}
				refused(t, r.Post("/oauth/token", with(ownForm, "client_id", machine.ID), header, certificate),
					http.StatusUnauthorized, oauth.InvalidClient)
			}
		})
	}
}
