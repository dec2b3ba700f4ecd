package security

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/test/rig"
)

type jwk = map[string]any

func base64url(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// ecKey returns a public key on P-256. more are its other members.
func ecKey(t *testing.T, more jwk) jwk {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := k.PublicKey().Bytes()
	return jwkWith(jwk{"kty": "EC", "crv": "P-256", "x": base64url(point[1:33]), "y": base64url(point[33:])}, more)
}

// rsaKey returns what looks like a public RSA key of a size in bits.
func rsaKey(t *testing.T, bits int, more jwk) jwk {
	t.Helper()
	n := make([]byte, bits/8)
	_, _ = rand.Read(n) // it never fails
	n[0] |= 0x80
	n[len(n)-1] |= 1
	return jwkWith(jwk{"kty": "RSA", "e": "AQAB", "n": base64url(n)}, more)
}

func jwkWith(k, more jwk) jwk {
	for name, value := range more {
		k[name] = value
	}
	return k
}

// jwkSet returns a JWK set.
func jwkSet(t *testing.T, keys ...jwk) string {
	t.Helper()
	text, err := json.Marshal(jwk{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// faultsOf returns the fields of an error with their messages.
func faultsOf(err error) map[string]string {
	all := map[string]string{}
	for _, one := range input.Flatten(err) {
		var wrong *input.Invalid
		if !errors.As(one, &wrong) {
			return map[string]string{"": one.Error()}
		}
		all[wrong.Field] += wrong.Error()
	}
	return all
}

// confidentialSpec is a good app with private_key_jwt.
func confidentialSpec(t *testing.T) management.ClientSpec {
	t.Helper()
	return management.ClientSpec{
		Name: "App", RedirectURIs: []string{"https://app.example/cb"}, Scopes: []string{"read"},
		AuthMethod: management.AuthPrivateKey, JWKS: jwkSet(t, ecKey(t, nil)),
	}
}

func TestWhatAnAppMayRegisterForItsAuthentication(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	no := false
	private := func(name string) jwk { return ecKey(t, jwk{name: base64url(make([]byte, 32))}) }
	for name, x := range map[string]struct {
		change func(p *management.ClientSpec)
		field  string // empty: it is accepted
		says   string
	}{
		"a key": {func(*management.ClientSpec) {}, "", ""},
		"two keys": {
			func(p *management.ClientSpec) {
				p.JWKS = jwkSet(t, ecKey(t, jwk{"kid": "a"}), ecKey(t, jwk{"kid": "b"}))
			},
			"", "",
		},
		"a URL": {
			func(p *management.ClientSpec) { p.JWKS, p.JWKSURI = "", "https://app.example.com/jwks" },
			"", "",
		},
		"an algorithm": {func(p *management.ClientSpec) { p.AuthAlgorithm = "ES256" }, "", ""},
		"RSA": {
			func(p *management.ClientSpec) { p.JWKS, p.AuthAlgorithm = jwkSet(t, rsaKey(t, 2048, nil)), "RS256" },
			"", "",
		},
		"keys of an app with a secret": {func(p *management.ClientSpec) { p.AuthMethod = "" }, "", ""},
		"a secret in the header": {
			func(p *management.ClientSpec) { p.AuthMethod = management.AuthSecretBasic },
			"", "",
		},
		"a resource server": {func(p *management.ClientSpec) {
			p.ResourceServer, p.RedirectURIs, p.Scopes = true, nil, nil
		}, "", ""},
		"a service": {func(p *management.ClientSpec) {
			p.RedirectURIs, p.Grants, p.DPoPBound = nil, []string{"client_credentials"}, true
		}, "", ""},
		"public with PAR and DPoP": {func(p *management.ClientSpec) {
			p.AuthMethod, p.JWKS, p.PushedRequestsOnly, p.DPoPBound = "none", "", true, true
		}, "", ""},
		"the token endpoint as audience": {func(p *management.ClientSpec) { p.TokenEndpointAudience = true }, "", ""},
		"fapi":                           {func(p *management.ClientSpec) { p.FAPI = true }, "", ""},
		"fapi with RSA": {func(p *management.ClientSpec) {
			p.FAPI, p.JWKS, p.AuthAlgorithm = true, jwkSet(t, rsaKey(t, 2048, nil)), "PS256"
		}, "", ""},

		"an unknown method": {
			func(p *management.ClientSpec) { p.AuthMethod = "client_secret_jwt" }, "token_endpoint_auth_method",
			`"client_secret_jwt" is unknown; use client_secret_basic, client_secret_post, private_key_jwt, none`,
		},
		"public with a method": {
			func(p *management.ClientSpec) { p.Public, p.JWKS = true, "" },
			"token_endpoint_auth_method", "can only be none",
		},
		"public with keys": {
			func(p *management.ClientSpec) { p.AuthMethod = "none" },
			"jwks", "only for confidential apps",
		},
		"public with a key URL": {
			func(p *management.ClientSpec) {
				p.Public, p.AuthMethod, p.JWKS, p.JWKSURI = true, "", "", "https://app.example.com/jwks"
			},
			"jwks_uri", "only for confidential apps",
		},
		"no keys": {func(p *management.ClientSpec) { p.JWKS = "" }, "jwks", "is missing"},
		"both kinds": {
			func(p *management.ClientSpec) { p.JWKSURI = "https://app.example.com/jwks" },
			"jwks_uri", "cannot be combined",
		},
		"not JSON":      {func(p *management.ClientSpec) { p.JWKS = "x" }, "jwks", "is not a JWK set"},
		"a list":        {func(p *management.ClientSpec) { p.JWKS = "[]" }, "jwks", "is not a JWK set"},
		"one key alone": {func(p *management.ClientSpec) { p.JWKS = `{"kty":"EC"}` }, "jwks", "is not a JWK set"},
		"keys that are no list": {
			func(p *management.ClientSpec) { p.JWKS = `{"keys":{}}` }, "jwks", "is not a JWK set",
		},
		"null":          {func(p *management.ClientSpec) { p.JWKS = `{"keys":null}` }, "jwks", "is not a JWK set"},
		"an empty list": {func(p *management.ClientSpec) { p.JWKS = `{"keys":[]}` }, "jwks", "has no key"},
		"a key of a string": {
			func(p *management.ClientSpec) { p.JWKS = `{"keys":["x"]}` },
			"jwks", "keys[0] is not a JSON object",
		},
		"text after the set": {func(p *management.ClientSpec) { p.JWKS += "x" }, "jwks", "is not a JWK set"},
		"duplicate names": {
			func(p *management.ClientSpec) { p.JWKS = strings.Replace(p.JWKS, "{", `{"keys":[],`, 1) }, "jwks", "duplicate names",
		},
		"duplicate names in a key": {
			func(p *management.ClientSpec) { p.JWKS = strings.Replace(p.JWKS, `"crv"`, `"x":"AA","crv"`, 1) }, "jwks",
			"keys[0] is not a JSON object, or has duplicate names",
		},
		"deep nesting": {
			func(p *management.ClientSpec) {
				p.JWKS = jwkSet(t, ecKey(t, jwk{"more": json.RawMessage(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))}))
			}, "jwks", "is not a JWK set",
		},
		"too many bytes": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, jwk{"more": strings.Repeat("x", 1<<20)})) }, "jwks",
			"larger than 16 KiB",
		},
		"a private key": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, jwk{"kid": "a"}), private("d")) },
			"jwks", "leaked",
		},
		"a secret key": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, jwk{"kty": "oct", "k": "c2VjcmV0"}) },
			"jwks", "leaked",
		},
		"a private PEM": {
			func(p *management.ClientSpec) { p.JWKS = "-----BEGIN PRIVATE KEY-----\nx" },
			"jwks", "leaked",
		},
		"one private": {func(p *management.ClientSpec) { p.JWKS = `{"kty":"EC","d":"x"}` }, "jwks", "leaked"},
		"a weak key": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, rsaKey(t, 1024, nil)) },
			"jwks", "keys[0] is an RSA key of 1024 bits",
		},
		"for encryption": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, jwk{"use": "enc"})) },
			"jwks", "not for signatures",
		},
		"an algorithm that is not supported": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, rsaKey(t, 2048, jwk{"alg": "RS512"})) }, "jwks",
			"keys[0], that fits none of the supported algorithms",
		},
		"two keys with one kid": {
			func(p *management.ClientSpec) {
				p.JWKS = jwkSet(t, ecKey(t, jwk{"kid": "a"}), ecKey(t, jwk{"kid": "a"}))
			}, "jwks",
			"two keys with the kid",
		},
		"two keys, one without kid": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, jwk{"kid": "a"}), ecKey(t, nil)) }, "jwks",
			"keys[1] has no kid",
		},
		"a kid with a line end": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, jwk{"kid": "a\nb"})) },
			"jwks", "has a kid",
		},
		"a long kid": {
			func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, jwk{"kid": strings.Repeat("k", 201)})) },
			"jwks", "has a kid",
		},

		"an unknown algorithm": {
			func(p *management.ClientSpec) { p.AuthAlgorithm = "HS256" }, "token_endpoint_auth_signing_alg", "is unknown",
		},
		"an algorithm without keys": {
			func(p *management.ClientSpec) { p.AuthMethod, p.AuthAlgorithm = "", "ES256" }, "token_endpoint_auth_signing_alg",
			"applies only to private_key_jwt",
		},
		"an algorithm that fits no key": {
			func(p *management.ClientSpec) { p.AuthAlgorithm = "PS256" }, "token_endpoint_auth_signing_alg",
			"PS256 fits none of the keys",
		},
		"an algorithm that another key excludes": {
			func(p *management.ClientSpec) {
				p.JWKS, p.AuthAlgorithm = jwkSet(t, rsaKey(t, 2048, jwk{"alg": "RS256"})), "PS256"
			}, "token_endpoint_auth_signing_alg", "PS256 fits none of the keys",
		},
		"PAR for a resource server": {func(p *management.ClientSpec) {
			p.ResourceServer, p.RedirectURIs, p.Scopes, p.PushedRequestsOnly = true, nil, nil, true
		}, "kind", "only introspects"},

		"fapi and public": {
			func(p *management.ClientSpec) { p.FAPI, p.AuthMethod, p.JWKS = true, "none", "" },
			"fapi", "only for confidential",
		},
		"fapi and a secret": {
			func(p *management.ClientSpec) { p.FAPI, p.AuthMethod = true, management.AuthSecretBasic },
			"token_endpoint_auth_method", "must be private_key_jwt with fapi",
		},
		"fapi and no method": {
			func(p *management.ClientSpec) { p.FAPI, p.AuthMethod = true, "" }, "token_endpoint_auth_method",
			"must be private_key_jwt with fapi",
		},
		"fapi without PKCE": {
			func(p *management.ClientSpec) { p.FAPI, p.PKCEOptional = true, true },
			"pkce", "cannot be optional with fapi",
		},
		"fapi and RS256": {func(p *management.ClientSpec) {
			p.FAPI, p.JWKS, p.AuthAlgorithm = true, jwkSet(t, rsaKey(t, 2048, nil)), "RS256"
		}, "token_endpoint_auth_signing_alg", "cannot be RS256 with fapi"},
		"fapi and a key for RS256": {func(p *management.ClientSpec) {
			p.FAPI, p.JWKS = true, jwkSet(t, ecKey(t, jwk{"kid": "a"}), rsaKey(t, 2048, jwk{"kid": "b", "alg": "RS256"}))
		}, "jwks", "only for RS256, keys[1]"},
		"fapi and the token endpoint as audience": {
			func(p *management.ClientSpec) { p.FAPI, p.TokenEndpointAudience = true, true }, "token_endpoint_audience",
			"cannot be true with fapi",
		},
		"fapi without PAR": {
			func(p *management.ClientSpec) { p.FAPI = true; p.SetPushedRequestsOnly(&no) },
			"require_pushed_authorization_requests", "cannot be false with fapi",
		},
		"fapi without DPoP": {
			func(p *management.ClientSpec) { p.FAPI = true; p.SetDPoPBound(&no) }, "dpop_bound_access_tokens",
			"cannot be false with fapi",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := confidentialSpec(t)
			p.Administrator = true
			x.change(&p)
			c, secret, err := r.Management.CreateClient(r.System(), management.CLI(""), p)
			if x.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				if wants := !c.Public && c.AuthMethod != management.AuthPrivateKey; wants != (secret != "") {
					t.Errorf("the app has a secret: %t, want %t", secret != "", wants)
				}
				if c.FAPI && (!c.PushedRequestsOnly || !c.DPoPBound) {
					t.Error("fapi does not require PAR and DPoP")
				}
				if stored, err := r.Store.ClientByID(r.System(), c.ID); err != nil || stored.AuthMethod != c.AuthMethod ||
					stored.JWKS != c.JWKS || stored.FAPI != c.FAPI || len(stored.Secrets) != len(c.Secrets) {
					t.Errorf("stored as %+v, %v", stored, err)
				}
				return
			}
			got := faultsOf(err)
			if len(got) != 1 || !strings.Contains(got[x.field], x.says) {
				t.Errorf("refused with %v, want %s: …%s…", got, x.field, x.says)
			}
			if len(got[x.field]) > 300 || strings.Contains(got[x.field], "c2VjcmV0") {
				t.Errorf("the fault says too much: %s", got[x.field])
			}
		})
	}
}

// Case D-03: an address on a private network never becomes the URL of an app's keys.
func TestD03_KeyURLsOfPrivateNetworksAreRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	p := confidentialSpec(t)
	p.Administrator, p.JWKS = true, ""
	for _, host := range []string{
		"127.0.0.1", "[::1]", "169.254.169.254", "10.1.2.3", "0.0.0.0", "[::ffff:7f00:1]", "2130706433", "0x7f.1",
		"localhost", "user@app.example.com",
	} {
		p.JWKSURI = "https://" + host + "/jwks"
		_, _, err := r.Management.CreateClient(r.System(), management.CLI(""), p)
		if got := faultsOf(err); len(got) != 1 || got["jwks_uri"] == "" {
			t.Errorf("%s: %v", p.JWKSURI, got)
		}
	}
	for _, uri := range []string{
		"http://app.example.com/jwks", "file:///etc/passwd", "jwks", "https://app.example.com/jwks#x",
	} {
		p.JWKSURI = uri
		_, _, err := r.Management.CreateClient(r.System(), management.CLI(""), p)
		if got := faultsOf(err); len(got) != 1 || got["jwks_uri"] == "" {
			t.Errorf("%s: %v", uri, got)
		}
	}
}

func TestKeysAreStoredWithTheirPublicMembersOnly(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	k := ecKey(t, jwk{"kid": "a", "alg": "ES256", "use": "sig", "key_ops": []string{"verify"}, "ext": true, "name": "Bob"})
	p := confidentialSpec(t)
	p.JWKS = " " + strings.Replace(jwkSet(t, k), "{", `{"owner":"Bob",`, 1) + "\n"
	c, _, err := r.Management.CreateClient(r.System(), management.CLI(""), withAdministrator(p))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Keys []jwk }
	if err := json.Unmarshal([]byte(c.JWKS), &got); err != nil {
		t.Fatal(err)
	}
	want := jwk{"kid": "a", "alg": "ES256", "use": "sig", "kty": "EC", "crv": "P-256", "x": k["x"], "y": k["y"]}
	if diff := cmp.Diff([]jwk{want}, got.Keys); diff != "" || strings.Contains(c.JWKS, "Bob") {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if keys := management.ClientKeys(c.JWKS); len(keys) != 1 || !strings.HasPrefix(keys[0].Name(), "a (") ||
		!slices.Equal(keys[0].Algorithms, []string{"ES256"}) {
		t.Errorf("shown as %+v", keys)
	}
}

func withAdministrator(p management.ClientSpec) management.ClientSpec {
	p.Administrator = true
	return p
}

// updateClient changes an app as the CLI does.
func updateClient(r *rig.Rig, id string, change func(p *management.ClientSpec)) (storage.Client, error) {
	c, err := r.Store.ClientByID(r.System(), id)
	if err != nil {
		return c, err
	}
	p := withAdministrator(management.SpecOf(c))
	change(&p)
	return r.Management.UpdateClient(r.System(), management.CLI(""), id, p)
}

func TestPrivateKeyReplacesTheSecretAndBack(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		keys := jwkSet(t, ecKey(t, nil))
		c, err := updateClient(r, app.ID, func(p *management.ClientSpec) { p.AuthMethod, p.JWKS = "private_key_jwt", keys })
		if err != nil || len(c.Secrets) != 0 {
			t.Fatalf("%+v, %v", c.Secrets, err)
		}
		if c, err = r.Store.ClientByID(r.System(), app.ID); err != nil || len(c.Secrets) != 0 {
			t.Fatalf("the secrets are still there: %+v, %v", c.Secrets, err)
		}
		_, _, err = r.Management.RotateSecret(r.System(), management.CLI(""), app.ID, 0)
		if got := faultsOf(err); !strings.Contains(got["token_endpoint_auth_method"], "has no secret") {
			t.Errorf("rotation: %v", got)
		}
		// Back: it needs a new secret, and gets one although it has none.
		c, err = updateClient(r, app.ID, func(p *management.ClientSpec) { p.AuthMethod, p.JWKS = "", "" })
		if err != nil || len(c.Secrets) != 0 || c.JWKS != "" {
			t.Fatalf("%+v, %v", c, err)
		}
		secret, _, err := r.Management.RotateSecret(r.System(), management.CLI(""), app.ID, time.Hour)
		if err != nil || secret == "" {
			t.Fatal(err)
		}
		if c, err = r.Store.ClientByID(r.System(), app.ID); err != nil || len(c.Secrets) != 1 {
			t.Errorf("%d secrets, %v", len(c.Secrets), err)
		}
		// A change of something else keeps the keys and the method.
		c, err = updateClient(r, app.ID, func(p *management.ClientSpec) { p.AuthMethod, p.JWKS = "private_key_jwt", keys })
		if err != nil {
			t.Fatal(err)
		}
		again, err := updateClient(r, app.ID, func(p *management.ClientSpec) { p.Name = "Other" })
		if err != nil || again.JWKS != c.JWKS || again.AuthMethod != c.AuthMethod {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func TestAnAppStaysPublicOrConfidential(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	confidential, public := r.App(management.ClientSpec{}), r.App(management.ClientSpec{AuthMethod: "none"})
	if !public.Public || public.AuthMethod != "" {
		t.Fatalf("none: %+v", public.Client)
	}
	for id, method := range map[string]string{confidential.ID: "none", public.ID: management.AuthPrivateKey} {
		_, err := updateClient(r, id, func(p *management.ClientSpec) { p.AuthMethod = method })
		if got := faultsOf(err); !strings.Contains(got["token_endpoint_auth_method"], "cannot change between public") {
			t.Errorf("%s: %v", method, got)
		}
	}
	if _, err := updateClient(r, public.ID, func(p *management.ClientSpec) { p.AuthMethod = "none" }); err != nil {
		t.Errorf("none for a public app: %v", err)
	}
}

func TestFAPISetsWhatItNeedsAndLeavesItBehind(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{AuthMethod: management.AuthPrivateKey, JWKS: jwkSet(t, ecKey(t, nil))})
	c, err := updateClient(r, app.ID, func(p *management.ClientSpec) { p.FAPI = true })
	if err != nil || !c.PushedRequestsOnly || !c.DPoPBound {
		t.Fatalf("%+v, %v", c, err)
	}
	no := false
	_, err = updateClient(r, app.ID, func(p *management.ClientSpec) { p.SetDPoPBound(&no) })
	if got := faultsOf(err); got["dpop_bound_access_tokens"] == "" {
		t.Errorf("DPoP is turned off under fapi: %v", got)
	}
	c, err = updateClient(r, app.ID, func(p *management.ClientSpec) { p.FAPI = false })
	if err != nil || c.FAPI || !c.PushedRequestsOnly || !c.DPoPBound {
		t.Errorf("after fapi: %+v, %v", c, err)
	}
	c, err = updateClient(r, app.ID, func(p *management.ClientSpec) { p.SetDPoPBound(&no); p.SetPushedRequestsOnly(&no) })
	if err != nil || c.PushedRequestsOnly || c.DPoPBound {
		t.Errorf("turned off: %+v, %v", c, err)
	}
}

// Keys are credentials: to change them, or to ask less of an app, a browser session must be fresh.
func TestV13_KeysNeedARecentSignIn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("acme", "", r.Alice)
	keys := jwkSet(t, ecKey(t, nil))
	app := r.App(management.ClientSpec{
		WorkspaceID: ws.ID, AuthMethod: "private_key_jwt", JWKS: keys, AuthAlgorithm: "ES256", FAPI: true,
	})
	loose := r.App(management.ClientSpec{WorkspaceID: ws.ID})
	strict := r.App(management.ClientSpec{WorkspaceID: ws.ID, PushedRequestsOnly: true, DPoPBound: true})
	by := management.Authority{UserID: r.Alice.ID, WorkspaceID: ws.ID, Role: catalog.RoleOwner, Session: true}
	for name, x := range map[string]struct {
		app    *rig.App
		change func(p *management.ClientSpec)
		lasts  bool
	}{
		"other keys":     {app, func(p *management.ClientSpec) { p.JWKS = jwkSet(t, ecKey(t, nil)) }, true},
		"a URL":          {app, func(p *management.ClientSpec) { p.JWKS, p.JWKSURI = "", "https://app.example.com/jwks" }, true},
		"a secret":       {app, func(p *management.ClientSpec) { p.FAPI, p.AuthMethod, p.AuthAlgorithm = false, "", "" }, true},
		"no fapi":        {app, func(p *management.ClientSpec) { p.FAPI = false }, true},
		"DPoP is off":    {strict, func(p *management.ClientSpec) { p.DPoPBound = false }, true},
		"PAR is off":     {strict, func(p *management.ClientSpec) { p.PushedRequestsOnly = false }, true},
		"no DPoP":        {app, func(p *management.ClientSpec) { p.FAPI, p.DPoPBound = false, false }, true},
		"any algorithm":  {app, func(p *management.ClientSpec) { p.AuthAlgorithm = "" }, true},
		"a key":          {loose, func(p *management.ClientSpec) { p.AuthMethod, p.JWKS = "private_key_jwt", keys }, true},
		"another name":   {app, func(p *management.ClientSpec) { p.Name = "Other" }, false},
		"DPoP":           {loose, func(p *management.ClientSpec) { p.DPoPBound = true }, false},
		"pushed request": {loose, func(p *management.ClientSpec) { p.PushedRequestsOnly = true }, false},
	} {
		c, err := r.Store.ClientByID(r.System(), x.app.ID)
		if err != nil {
			t.Fatal(err)
		}
		p := management.SpecOf(c)
		x.change(&p)
		_, err = r.Management.UpdateClient(r.System(), by, x.app.ID, p)
		if stale := errors.Is(err, management.ErrStale); stale != x.lasts || err != nil && !stale {
			t.Errorf("%s: %v, want a recent sign-in: %t", name, err, x.lasts)
		}
	}
}

// An administrator also needs one to let an app name the token endpoint.
func TestV13_TheTokenEndpointAudienceNeedsARecentSignIn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{AuthMethod: management.AuthPrivateKey, JWKS: jwkSet(t, ecKey(t, nil))})
	p := withAdministrator(management.SpecOf(app.Client))
	p.TokenEndpointAudience = true
	by := management.Authority{Administrator: true, Session: true}
	if _, err := r.Management.UpdateClient(r.System(), by, app.ID, p); !errors.Is(err, management.ErrStale) {
		t.Errorf("it needs no recent sign-in: %v", err)
	}
	by.Fresh = true
	if c, err := r.Management.UpdateClient(r.System(), by, app.ID, p); err != nil || !c.TokenEndpointAudience {
		t.Errorf("after one: %v", err)
	}
}

// Only an administrator lets an app name the token endpoint; fapi of its developer ends that, and optional PKCE.
func TestOnlyAdministratorsSetTheTokenEndpointAudience(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("acme", "", r.Alice)
	by := management.Authority{UserID: r.Alice.ID, WorkspaceID: ws.ID, Role: catalog.RoleOwner}
	p := confidentialSpec(t)
	p.WorkspaceID, p.TokenEndpointAudience = ws.ID, true
	_, _, err := r.Management.CreateClient(r.System(), by, p)
	if got := faultsOf(err); !strings.Contains(got["token_endpoint_audience"], "only by administrators") {
		t.Errorf("created: %v", got)
	}
	p.Administrator, p.PKCEOptional = true, true
	c, _, err := r.Management.CreateClient(r.System(), management.CLI(ws.ID), p)
	if err != nil {
		t.Fatal(err)
	}
	p = management.SpecOf(c)
	p.TokenEndpointAudience, p.Name = false, "Other"
	if c, err = r.Management.UpdateClient(r.System(), by, c.ID, p); err != nil || !c.TokenEndpointAudience {
		t.Errorf("a developer changed it: %v %v", c.TokenEndpointAudience, err)
	}
	p.FAPI = true
	c, err = r.Management.UpdateClient(r.System(), by, c.ID, p)
	if err != nil || c.TokenEndpointAudience || c.PKCEOptional || !c.FAPI {
		t.Errorf("with fapi: %+v, %v", c, err)
	}
}

func TestTheAuditLogNamesKeysByIdAndThumbprint(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	k := ecKey(t, jwk{"kid": "spring"})
	app := r.App(management.ClientSpec{})
	if _, err := updateClient(r, app.ID, func(p *management.ClientSpec) {
		p.AuthMethod, p.JWKS, p.DPoPBound = "private_key_jwt", jwkSet(t, k), true
	}); err != nil {
		t.Fatal(err)
	}
	list, err := r.Store.AuditEvents(r.System(), storage.AuditFilter{Action: "app.updated", Limit: 10})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d events, %v", len(list), err)
	}
	got := list[0].Detail
	if got["changed"] != "token_endpoint_auth_method jwks dpop_bound_access_tokens" || got["method"] != "private_key_jwt" ||
		!strings.HasPrefix(got["keys"], "spring (") {
		t.Errorf("detail: %v", got)
	}
	for _, text := range got {
		if strings.Contains(text, k["x"].(string)) {
			t.Errorf("the log contains the key: %s", text)
		}
	}
}
