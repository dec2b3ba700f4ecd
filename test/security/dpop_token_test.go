package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// A proof is checked at the token endpoint and at PAR. A wrong one gets no token, and uses up no code and no refresh
// token; a right one binds the token.
func TestP01_P02_P03_P04_ProofsAtTheOAuthEndpoints(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api, machine := publicApp(r), r.ResourceServer(), robot(r)
	k := rig.NewKey(t, "")
	_, refresh := boundTokens(t, r, app, k)
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	wholeSecond(r)
	live := func() (n int) {
		ok(t, r.Store.Pools()["system"].QueryRowContext(t.Context(), `SELECT count(*) FROM access_tokens`).Scan(&n))
		return n
	}
	before := live()
	toPAR := aim{method: http.MethodPost, url: r.Issuer + "/oauth/par"}
	for name, wrong := range wrongProofs(t, r, k, tokenAim(r)) {
		t.Run(name, func(t *testing.T) {
			badProof(t, r.PostAs(machine, "/oauth/token", ownForm, proofs(wrong)...))
			badProof(t, r.PostAs(app, "/oauth/token", codeForm(app, code), proofs(wrong)...))
			badProof(t, r.PostAs(app, "/oauth/token", refreshForm(refresh), proofs(wrong)...))
		})
	}
	for name, wrong := range wrongProofs(t, r, k, toPAR) {
		t.Run("PAR "+name, func(t *testing.T) {
			badProof(t, r.PostAs(app, "/oauth/par", app.Params("read"), proofs(wrong)...))
		})
	}
	// One for the other endpoint.
	badProof(t, r.PostAs(machine, "/oauth/token", ownForm, dpop.Header, toPAR.proof(r, k)))
	badProof(t, r.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header, tokenAim(r).proof(r, k)))
	if n := live(); n != before {
		t.Errorf("wrong proofs were given %d tokens", n-before)
	}
	for name, right := range rightProofs(t, r, k, tokenAim(r)) {
		t.Run(name, func(t *testing.T) {
			access, _ := bound(t, r.PostAs(machine, "/oauth/token", ownForm, dpop.Header, right))
			cnf, _ := r.Introspect(api, access).JSON()["cnf"].(map[string]any)
			if cnf["jkt"] != k.Thumbprint() {
				t.Errorf("cnf is %v", cnf)
			}
		})
	}
	for name, right := range rightProofs(t, r, k, toPAR) {
		t.Run("PAR "+name, func(t *testing.T) {
			if a := r.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header, right); a.Status != http.StatusCreated {
				t.Errorf("answered %d %s", a.Status, a.Body)
			}
		})
	}
	bound(t, proven(r, app, k, codeForm(app, code)))
	bound(t, proven(r, app, k, refreshForm(refresh)))
	_, strong := rsaKeys()
	bound(t, proven(r, machine, strong, ownForm))
}

// A proof counts once, at every endpoint and node; with another id, or by another key, it is another proof.
func TestP05_AProofCountsOnce(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		machine, app := robot(r), publicApp(r)
		k, second := rig.NewKey(t, ""), rig.NewKey(t, "")
		proof := tokenAim(r).proof(r, k, rig.Members{"jti": "one"})
		access, _ := bound(t, r.PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof))
		for _, n := range nodes {
			badProof(t, n.PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof))
			badProof(t, n.PostAs(robot(n), "/oauth/token", ownForm, dpop.Header, proof))
			// The same id in another proof by this key, for the same endpoint or another one.
			badProof(t, n.PostAs(machine, "/oauth/token", ownForm, dpop.Header,
				tokenAim(r).proof(r, k, rig.Members{"jti": "one", "iat": r.Now().Unix() - 5})))
			badProof(t, n.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header,
				aim{method: http.MethodPost, url: r.Issuer + "/oauth/par"}.proof(r, k, rig.Members{"jti": "one"})))
			me := aim{method: http.MethodGet, url: r.Issuer + "/v1/auth/test", token: access}
			refusedProof(t, n.Send(n.Program(), n.Request(http.MethodGet, "/v1/auth/test", nil, "Authorization", "DPoP "+access,
				dpop.Header, me.proof(r, k, rig.Members{"jti": "one"}))), oauth.InvalidDPoPProof)
		}
		bound(t, other.PostAs(machine, "/oauth/token", ownForm, dpop.Header,
			tokenAim(r).proof(r, second, rig.Members{"jti": "one"})))

		// Of 64 requests at once, one counts: at the token endpoint, at PAR and at an API.
		for name, x := range map[string]struct {
			to   aim
			send func(n *rig.Rig, proof string) *rig.Answer
			want int
		}{
			"token": {tokenAim(r), func(n *rig.Rig, proof string) *rig.Answer {
				return n.PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof)
			}, http.StatusOK},
			"PAR": {aim{http.MethodPost, r.Issuer + "/oauth/par", ""}, func(n *rig.Rig, proof string) *rig.Answer {
				return n.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header, proof)
			}, http.StatusCreated},
			"API": {aim{http.MethodGet, r.Issuer + "/v1/auth/test", access}, func(n *rig.Rig, proof string) *rig.Answer {
				return n.Send(n.Program(), n.Request(http.MethodGet, "/v1/auth/test", nil, "Authorization", "DPoP "+access,
					dpop.Header, proof))
			}, http.StatusOK},
		} {
			proof, answers := x.to.proof(r, k), make([]*rig.Answer, crowd)
			rig.AtOnce(crowd, func(i int) { answers[i] = x.send(nodes[i%len(nodes)], proof) })
			right := 0
			for _, a := range answers {
				switch {
				case a.Status == x.want:
					right++
				case name == "API":
					refusedProof(t, a, oauth.InvalidDPoPProof)
				default:
					badProof(t, a)
				}
			}
			if right != 1 {
				t.Errorf("%s: %d of %d requests with one proof were accepted", name, right, crowd)
			}
		}
	})
}

// A right proof counts even if something else about the request is wrong. A wrong client uses nothing up.
func TestP05_ARefusedRequestUsesItsProof(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, machine := publicApp(r), robot(r)
	k := rig.NewKey(t, "")
	proof := tokenAim(r).proof(r, k)
	refused(t, r.PostAs(app, "/oauth/token", refreshForm("x"), dpop.Header, proof), http.StatusBadRequest,
		oauth.InvalidGrant)
	badProof(t, r.PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof))
	proof = tokenAim(r).proof(r, k)
	stranger := &rig.App{Client: machine.Client, Secret: wrongSecret}
	refused(t, r.PostAs(stranger, "/oauth/token", ownForm, dpop.Header, proof), http.StatusUnauthorized,
		oauth.InvalidClient)
	bound(t, r.PostAs(machine, "/oauth/token", ownForm, dpop.Header, proof))
}

// The refresh token of a public client is bound to its key. One without the key gets nothing and ends nothing.
func TestP08_TheRefreshTokenOfAPublicClientIsBound(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := publicApp(r), r.ResourceServer()
		k, thief := rig.NewKey(t, ""), rig.NewKey(t, "")
		access, refresh := boundTokens(t, r, app, k)
		for range 2 { // also its successor
			badProof(t, r.PostAs(app, "/oauth/token", refreshForm(refresh)))
			refused(t, proven(r, app, thief, refreshForm(refresh)), http.StatusBadRequest, oauth.InvalidGrant)
			if !r.Alive(api, access) {
				t.Fatal("a request without the key ended the grant")
			}
			first := refresh
			access, refresh = bound(t, proven(r, app, k, refreshForm(refresh)))
			// Within the reuse window, the used token still needs the key.
			badProof(t, r.PostAs(app, "/oauth/token", refreshForm(first)))
			refused(t, proven(r, app, thief, refreshForm(first)), http.StatusBadRequest, oauth.InvalidGrant)
			if _, again := bound(t, proven(r, app, k, refreshForm(first))); again != refresh {
				t.Error("a repeated refresh has another successor")
			}
		}
		if !r.Alive(api, access) {
			t.Error("the grant ended")
		}
		// A token that was issued without a proof is not bound, and binds itself to nothing by a refresh without one.
		_, free := granted(t, r.Exchange(app, r.Browser().SignIn(r.Alice.Email).Code(app, "read")))
		_, free = granted(t, r.Refresh(app, free))
		// With a proof, the successor is bound.
		_, next := bound(t, proven(r, app, k, refreshForm(free)))
		badProof(t, r.PostAs(app, "/oauth/token", refreshForm(next)))
		bound(t, proven(r, app, k, refreshForm(next)))
	})
}

// A confidential client authenticates, so its refresh token is not bound, and it may change its key.
func TestP08_AConfidentialClientMayChangeItsKey(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	first, second := rig.NewKey(t, ""), rig.NewKey(t, "")
	access, refresh := boundTokens(t, r, app, first)
	next, refresh := bound(t, proven(r, app, second, refreshForm(refresh)))
	for token, k := range map[string]*rig.Key{access: first, next: second} {
		cnf, _ := r.Introspect(api, token).JSON()["cnf"].(map[string]any)
		if cnf["jkt"] != k.Thumbprint() {
			t.Errorf("cnf is %v", cnf)
		}
	}
	granted(t, r.Refresh(app, refresh)) // and it may go on without one

	change(r, app, func(p *management.ClientSpec) { p.DPoPBound = true })
	_, refresh = boundTokens(t, r, app, first)
	badProof(t, r.Refresh(app, refresh)) // unless its registration says otherwise
	bound(t, proven(r, app, second, refreshForm(refresh)))
}

// A code can be bound to a key from the start (RFC 9449, section 10).
func TestP08_TheCodeIsBoundByDPoPJKT(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		k, thief := rig.NewKey(t, ""), rig.NewKey(t, "")
		b := r.Browser().SignIn(r.Alice.Email)
		for _, app := range []*rig.App{publicApp(r), r.App(management.ClientSpec{})} {
			params := with(app.Params("read"), "dpop_jkt", k.Thumbprint())
			code := func() string {
				a := b.Authorize(params)
				if a.Location == nil {
					a = b.Decide(a, "approve")
				}
				return a.Param("code")
			}
			bought := code()
			badProof(t, r.PostAs(app, "/oauth/token", codeForm(app, bought)))
			refused(t, proven(r, app, thief, codeForm(app, bought)), http.StatusBadRequest, oauth.InvalidGrant)
			bound(t, proven(r, app, k, codeForm(app, bought))) // it was not used up

			for name, wrong := range map[string]string{
				"a word": "x", "padded": k.Thumbprint() + "=", "cut": k.Thumbprint()[:42], "a SHA-1": strings.Repeat("A", 27),
				"another alphabet": strings.Repeat("+", 43), "with other spare bits": strings.Repeat("A", 42) + "B",
			} {
				a := b.Authorize(with(app.Params("read"), "dpop_jkt", wrong))
				if a.Param("error") != oauth.InvalidRequest || a.Param("code") != "" {
					t.Errorf("%s: answered %d %v", name, a.Status, a.Location)
				}
				refused(t, r.PostAs(app, "/oauth/par", with(app.Params("read"), "dpop_jkt", wrong)), http.StatusBadRequest,
					oauth.InvalidRequest)
			}

			// At PAR, the parameter, the proof, or both.
			pushed := aim{method: http.MethodPost, url: r.Issuer + "/oauth/par"}
			badProof(t, r.PostAs(app, "/oauth/par", params, dpop.Header, pushed.proof(r, thief)))
			for _, push := range []func() *rig.Answer{
				func() *rig.Answer { return r.PostAs(app, "/oauth/par", params) },
				func() *rig.Answer { return r.PostAs(app, "/oauth/par", params, dpop.Header, pushed.proof(r, k)) },
				func() *rig.Answer {
					return r.PostAs(app, "/oauth/par", app.Params("read"), dpop.Header, pushed.proof(r, k))
				},
			} {
				a := push()
				if a.Status != http.StatusCreated {
					t.Fatalf("answered %d %s", a.Status, a.Body)
				}
				code := b.Allow(app, a.Text("request_uri"))
				badProof(t, r.PostAs(app, "/oauth/token", codeForm(app, code)))
				refused(t, proven(r, app, thief, codeForm(app, code)), http.StatusBadRequest, oauth.InvalidGrant)
				bound(t, proven(r, app, k, codeForm(app, code)))
			}
			r.Advance(time.Hour) // many answers of one user are limited
		}
	})
}

// A client or a resource that demands bound tokens gets no others. The demand of a resource does not concern keys.
func TestP06_BoundTokensCanBeDemanded(t *testing.T) {
	o := rig.Options{Resources: unlimited(func(x *catalog.Resource) { x.RequireDPoP = true })}
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		k := rig.NewKey(t, "")
		for _, demanding := range []bool{false, true} {
			spec := management.ClientSpec{DPoPBound: demanding, Scopes: []string{"read"}}
			app, machine := r.App(spec), r.App(management.ClientSpec{
				Grants: []string{oauth.GrantClientCredentials}, DPoPBound: demanding, Scopes: []string{"read"},
			})
			code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
			badProof(t, r.PostAs(machine, "/oauth/token", ownForm))
			badProof(t, r.Exchange(app, code))
			_, refresh := bound(t, proven(r, app, k, codeForm(app, code)))
			badProof(t, r.Refresh(app, refresh))
			bound(t, proven(r, app, k, refreshForm(refresh)))
			bound(t, proven(r, machine, k, ownForm))
		}
	})
	// A client alone.
	r := rig.Memory(t, rig.Options{})
	k := rig.NewKey(t, "")
	app := r.App(management.ClientSpec{DPoPBound: true, Public: true})
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	badProof(t, r.Exchange(app, code))
	_, refresh := bound(t, proven(r, app, k, codeForm(app, code)))
	badProof(t, r.Refresh(app, refresh))
	machine := r.App(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}, DPoPBound: true})
	badProof(t, r.PostAs(machine, "/oauth/token", ownForm))
	bound(t, proven(r, machine, k, ownForm))
}

// Introspection says what a token is bound to, and so does a JWT.
func TestP06_IntrospectionAndJWTsCarryTheKey(t *testing.T) {
	for _, isJWT := range []bool{false, true} {
		o := rig.Options{Resources: unlimited(func(x *catalog.Resource) { x.JWT = isJWT })}
		rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
			app, api, machine := r.App(management.ClientSpec{Scopes: []string{"read"}}), r.ResourceServer(),
				r.App(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}, Scopes: []string{"read"}})
			k := rig.NewKey(t, "")
			first, refresh := boundTokens(t, r, app, k)
			second, _ := bound(t, proven(r, app, k, refreshForm(refresh)))
			own, _ := bound(t, proven(r, machine, k, ownForm))
			for _, token := range []string{first, second, own} {
				a := r.Introspect(api, token)
				cnf, _ := a.JSON()["cnf"].(map[string]any)
				if a.Text("token_type") != "DPoP" || cnf["jkt"] != k.Thumbprint() || len(cnf) != 1 {
					t.Errorf("introspection says %s", a.Body)
				}
				if !isJWT {
					continue
				}
				var claims struct {
					Confirmation map[string]string `json:"cnf"`
				}
				payload(t, token, &claims)
				if claims.Confirmation["jkt"] != k.Thumbprint() {
					t.Errorf("the JWT says %v", claims.Confirmation)
				}
			}
			free, _ := granted(t, r.PostAs(machine, "/oauth/token", ownForm))
			if a := r.Introspect(api, free); a.Text("token_type") != "Bearer" || strings.Contains(a.Body, "cnf") {
				t.Errorf("introspection says %s", a.Body)
			}
			if isJWT {
				var claims map[string]any
				if payload(t, free, &claims); claims["cnf"] != nil {
					t.Errorf("the JWT says %v", claims)
				}
			}
			// A refresh token is not a token for an API.
			if a := r.Introspect(app, refresh); strings.Contains(a.Body, "cnf") {
				t.Errorf("introspection says %s", a.Body)
			}
		})
	}
}

// The documents of the server and of its resources say which proofs are accepted, and which resource needs them.
func TestP01_MetadataSaysWhichProofsAreAccepted(t *testing.T) {
	o := gatewayOptions(t)
	demanding := o.Resources[0]
	demanding.ID, demanding.RequireDPoP, demanding.Keys = "https://bound.example.com", true, catalog.KeyRules{}
	o.Resources = append(o.Resources, demanding)
	o.APIs = append(o.APIs, o.APIs[0])
	o.APIs[1].ID, o.APIs[1].Hosts = demanding.ID, []string{"bound.example.com"}
	r := rig.Memory(t, o)
	for host, required := range map[string]any{"": nil, gatewayHost: false, "bound.example.com": true} {
		path := "/.well-known/oauth-protected-resource"
		if host == "" {
			path = "/.well-known/oauth-authorization-server"
		}
		q := r.Request(http.MethodGet, path, nil)
		q.Host = host
		doc := r.Send(r.Program(), q).JSON()
		algorithms, _ := doc["dpop_signing_alg_values_supported"].([]any)
		var names []string
		for _, a := range algorithms {
			names = append(names, a.(string))
		}
		if strings.Join(names, " ") != dpop.AlgorithmNames() || doc["dpop_bound_access_tokens_required"] != required {
			t.Errorf("%s: %v", host, doc)
		}
	}
}

// A page of a registered origin may send a proof, and read the nonce.
func TestP09_PagesReadTheNonce(t *testing.T) {
	o := gatewayOptions(t)
	o.DPoPNonces, o.Resources[0].CORS = true, []string{"https://app.example"}
	r := rig.Memory(t, o)
	app := publicApp(r)
	k := rig.NewKey(t, "")
	for _, path := range []string{"/oauth/token", "/oauth/par"} {
		a := r.Send(r.Program(), r.Request(http.MethodOptions, path, nil, "Origin", "https://app.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "dpop"))
		if got := a.Header.Get("Access-Control-Allow-Headers"); got != "dpop" {
			t.Errorf("%s: a page may send %q", path, got)
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}
		a = r.PostAs(app, path, form, "Origin", "https://app.example", dpop.Header,
			aim{method: http.MethodPost, url: r.Issuer + path}.proof(r, k))
		if a.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || a.Header.Get(dpop.NonceHeader) == "" ||
			!strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Expose-Headers")), "dpop-nonce") {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
	access, _ := bound(t, nonced(r, app, k, codeForm(app, r.Browser().SignIn(r.Alice.Email).Code(app, "read"))))
	for door, ask := range gatewayDoors(r) {
		a := r.Send(r.Program(), ask("Authorization", "DPoP "+access, "Origin", "https://app.example"))
		if a.Header.Get(dpop.NonceHeader) == "" ||
			!strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Expose-Headers")), "dpop-nonce") {
			t.Errorf("%s: %v", door, a.Header)
		}
	}
}
