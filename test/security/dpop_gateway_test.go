package security

import (
	"net/http"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/dpop"
	"doorward/test/rig"
	"doorward/web/gateway"
)

// The gateway checks proofs in all its forms as the server's own API does.
func TestP01_P02_P03_P04_P06_ProofsAtTheGateway(t *testing.T) {
	r := rig.Memory(t, gatewayOptions(t))
	app, k, other := publicApp(r), rig.NewKey(t, ""), rig.NewKey(t, "")
	token, _ := boundTokens(t, r, app, k)
	free, _ := granted(t, r.Exchange(app, r.Browser().SignIn(r.Alice.Email).Code(app, "read")))
	wholeSecond(r)
	for door, ask := range gatewayDoors(r) {
		send := func(header ...string) *rig.Answer { return unwrapped(r.Send(r.Program(), ask(header...)), door) }
		to := doorAim(door, token)
		for name, wrong := range wrongProofs(t, r, k, to) {
			t.Run(door+" "+name, func(t *testing.T) {
				refusedProof(t, send(append([]string{"Authorization", "DPoP " + token}, proofs(wrong)...)...),
					oauth.InvalidDPoPProof)
			})
		}
		for name, right := range rightProofs(t, r, k, to) {
			t.Run(door+" "+name, func(t *testing.T) {
				if a := send("Authorization", "DPoP "+token, dpop.Header, right); a.Status != http.StatusOK {
					t.Errorf("answered %d %s", a.Status, a.Body)
				}
				refusedProof(t, send("Authorization", "DPoP "+token, dpop.Header, right), oauth.InvalidDPoPProof)
			})
		}
		t.Run(door, func(t *testing.T) {
			refusedProof(t, send("Authorization", "DPoP "+token), oauth.InvalidDPoPProof)
			wrongToken(t, send("Authorization", "DPoP "+token, dpop.Header, to.proof(r, other)), "DPoP")
			wrongToken(t, send("Authorization", "Bearer "+token), "Bearer")
			wrongToken(t, send("Authorization", "Bearer "+token, dpop.Header, to.proof(r, k)), "Bearer")
			wrongToken(t, send("Authorization", "DPoP "+free, dpop.Header, doorAim(door, free).proof(r, k)), "DPoP")
			if a := send("Authorization", "dpop "+token, dpop.Header, to.proof(r, k)); a.Status != http.StatusOK {
				t.Errorf("the scheme in lower case is answered %d %s", a.Status, a.Body)
			}
		})
	}
}

// htu is compared with the URL that the trusted proxy says was requested: its host, and the scheme in
// X-Forwarded-Proto.
// The port counts unless the proxy left it out.
func TestP03_TheURLThatTheProxySaysWasRequested(t *testing.T) {
	r := rig.Memory(t, gatewayOptions(t))
	app, k := publicApp(r), rig.NewKey(t, "")
	token, _ := boundTokens(t, r, app, k)
	type described struct{ host, proto string }
	ways := map[string]func(d described, header ...string) *http.Request{
		"proxy": func(d described, header ...string) *http.Request {
			q := r.Request(http.MethodGet, "/v1/x?a=b", nil, header...)
			q.Host = d.host
			return q
		},
		"proxy behind another": func(d described, header ...string) *http.Request {
			return r.Request(http.MethodGet, "/v1/x?a=b", nil, append(header, "X-Forwarded-Host", d.host)...)
		},
		"Caddy": func(d described, header ...string) *http.Request {
			return r.Request(http.MethodGet, gateway.ForwardPath, nil, append(header, "X-Forwarded-Method", "GET",
				"X-Forwarded-Host", d.host, "X-Forwarded-Uri", "/v1/x?a=b")...)
		},
		"nginx": func(d described, header ...string) *http.Request {
			return r.Request(http.MethodGet, gateway.NginxPath, nil, append(header, "X-Original-Method", "GET",
				"X-Original-Host", d.host, "X-Original-Uri", "/v1/x?a=b")...)
		},
		"Envoy": func(d described, header ...string) *http.Request {
			q := r.Request(http.MethodGet, gateway.EnvoyPath+"/v1/x?a=b", nil, header...)
			q.Host = d.host
			return q
		},
	}
	for door, ask := range ways {
		t.Run(door, func(t *testing.T) {
			for _, x := range []struct {
				described
				htu   string
				right bool
			}{
				{described{host: gatewayHost}, "http://" + gatewayHost + "/v1/x", true},
				{described{host: gatewayHost}, "https://" + gatewayHost + "/v1/x", false},
				{described{host: gatewayHost, proto: "http"}, "http://" + gatewayHost + "/v1/x", true},
				{described{host: gatewayHost, proto: "https"}, "https://" + gatewayHost + "/v1/x?c=d#e", true},
				{described{host: gatewayHost, proto: "HTTPS"}, "https://" + gatewayHost + "/v1/x", true},
				{described{host: gatewayHost, proto: "https"}, "http://" + gatewayHost + "/v1/x", false},
				{described{host: gatewayHost, proto: "https"}, "https://" + gatewayHost + ":443/v1/x", true},
				{described{host: gatewayHost, proto: "https"}, "https://" + gatewayHost + ":8443/v1/x", true}, // left out
				{described{host: gatewayHost, proto: "https"}, "https://else.example:8443/v1/x", false},
				{described{host: gatewayHost, proto: "https"}, "https://" + gatewayHost + "/v1/y", false},
				{described{host: gatewayHost + ":8443", proto: "https"}, "https://" + gatewayHost + ":8443/v1/x", true},
				{described{host: gatewayHost + ":8443", proto: "https"}, "https://" + gatewayHost + "/v1/x", false},
				{described{host: gatewayHost + ":8443", proto: "https"}, "https://" + gatewayHost + ":8444/v1/x", false},
				{described{host: gatewayHost + ":443", proto: "https"}, "https://" + gatewayHost + "/v1/x", true},
				// Where this server listens is not where the client sent its request to.
				{described{host: gatewayHost, proto: "https"}, r.URL + "/v1/x", false},
				{described{host: gatewayHost, proto: "https"}, r.URL + gateway.ForwardPath, false},
			} {
				proof := aim{method: http.MethodGet, url: x.htu, token: token}.proof(r, k)
				header := []string{"Authorization", "DPoP " + token, dpop.Header, proof}
				if x.proto != "" {
					header = append(header, "X-Forwarded-Proto", x.proto)
				}
				a := unwrapped(r.Send(r.Program(), ask(x.described, header...)), door)
				if x.right && a.Status != http.StatusOK {
					t.Errorf("%+v, htu %s: answered %d %s", x.described, x.htu, a.Status, a.Body)
				}
				if !x.right {
					refusedProof(t, a, oauth.InvalidDPoPProof)
				}
			}
		})
	}
}

// The method is that of the request which the proxy describes, not that with which it asks.
func TestP03_TheMethodThatTheProxySaysWasRequested(t *testing.T) {
	o := gatewayOptions(t)
	r := rig.Memory(t, o)
	app, k := publicApp(r), rig.NewKey(t, "")
	token, _ := boundTokens(t, r, app, k)
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodDelete} {
		for door, ask := range map[string]func(header ...string) *http.Request{
			"Caddy": func(header ...string) *http.Request {
				return r.Request(http.MethodGet, gateway.ForwardPath, nil, append(header, "X-Forwarded-Method", method,
					"X-Forwarded-Host", gatewayHost, "X-Forwarded-Uri", "/v1/x")...)
			},
			"nginx": func(header ...string) *http.Request {
				return r.Request(http.MethodGet, gateway.NginxPath, nil, append(header, "X-Original-Method", method,
					"X-Original-Host", gatewayHost, "X-Original-Uri", "/v1/x")...)
			},
			"Envoy": func(header ...string) *http.Request {
				q := r.Request(method, gateway.EnvoyPath+"/v1/x", nil, header...)
				q.Host = gatewayHost
				return q
			},
		} {
			to := aim{method: method, url: "http://" + gatewayHost + "/v1/x", token: token}
			a := unwrapped(r.Send(r.Program(), ask("Authorization", "DPoP "+token, dpop.Header, to.proof(r, k))), door)
			if a.Status != http.StatusOK {
				t.Errorf("%s %s: answered %d %s", door, method, a.Status, a.Body)
			}
			a = unwrapped(r.Send(r.Program(), ask("Authorization", "DPoP "+token, dpop.Header,
				to.proof(r, k, rig.Members{"htm": "GET"}))), door)
			refusedProof(t, a, oauth.InvalidDPoPProof)
		}
	}
}

// An untrusted peer cannot say that its request was sent to another URL.
func TestP03_AnUntrustedPeerDescribesNothing(t *testing.T) {
	o := gatewayOptions(t)
	o.TrustedProxies = nil
	r := rig.Memory(t, o)
	app, k := publicApp(r), rig.NewKey(t, "")
	token, _ := boundTokens(t, r, app, k)
	send := func(htu string, header ...string) *rig.Answer {
		q := r.Request(http.MethodGet, "/v1/x", nil, append(header, "Authorization", "DPoP "+token, dpop.Header,
			aim{method: http.MethodGet, url: htu, token: token}.proof(r, k))...)
		q.Host = gatewayHost
		return r.Send(r.Program(), q)
	}
	if a := send("http://"+gatewayHost+"/v1/x", "X-Forwarded-Proto", "https"); a.Status != http.StatusOK {
		t.Errorf("answered %d %s", a.Status, a.Body)
	}
	for _, htu := range []string{
		"https://" + gatewayHost + "/v1/x", "http://else.example/v1/x", "http://" + gatewayHost + ":8080/v1/x",
	} {
		refusedProof(t, send(htu, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "else.example"), oauth.InvalidDPoPProof)
	}
}

// Of 64 requests at once with one proof, at all forms of the gateway and at all nodes, one is admitted.
func TestP05_AProofCountsOnceAtTheGateway(t *testing.T) {
	o := gatewayOptions(t)
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, k := publicApp(r), rig.NewKey(t, "")
		token, _ := boundTokens(t, r, app, k)
		var doors []func() *rig.Answer
		proof := doorAim("Envoy", token).proof(r, k)
		for _, n := range nodes {
			for door, ask := range gatewayDoors(n) {
				if door != "ingress-nginx" { // its URL has https
					doors = append(doors, func() *rig.Answer {
						return unwrapped(n.Send(n.Program(), ask("Authorization", "DPoP "+token, dpop.Header, proof)), door)
					})
				}
			}
		}
		answers := make([]*rig.Answer, crowd)
		rig.AtOnce(crowd, func(i int) { answers[i] = doors[i%len(doors)]() })
		admitted := 0
		for _, a := range answers {
			if a.Status == http.StatusOK {
				admitted++
				continue
			}
			refusedProof(t, a, oauth.InvalidDPoPProof)
		}
		if admitted != 1 {
			t.Errorf("%d of %d requests were admitted", admitted, crowd)
		}
	})
}

// At an API's host, the token endpoint and who-am-I have the URL of that host.
func TestP03_TheServersOwnPathsAtTheHostOfAnAPI(t *testing.T) {
	o := gatewayOptions(t)
	o.APIs[0].Builtin = []string{"/oauth/token", "/v1/auth/test"}
	r := rig.Memory(t, o)
	app, k := r.App(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}}), rig.NewKey(t, "")
	at := func(host, method, path, body string, header ...string) *rig.Answer {
		q := r.Request(method, path, strings.NewReader(body), append(header, "Content-Type",
			"application/x-www-form-urlencoded")...)
		if host != "" {
			q.Host = host
		}
		return r.Send(r.Program(), q)
	}
	here, there := "http://"+gatewayHost, r.Issuer
	for _, x := range []struct {
		host, htu string
		right     bool
	}{
		{gatewayHost, here, true}, {gatewayHost, there, false}, {"", there, true}, {"", here, false},
	} {
		a := at(x.host, http.MethodPost, "/oauth/token", ownForm.Encode(), "Authorization", rig.Basic(app.ID, app.Secret),
			dpop.Header, aim{method: http.MethodPost, url: x.htu + "/oauth/token"}.proof(r, k))
		if !x.right {
			badProof(t, a)
			continue
		}
		token, _ := bound(t, a)
		for _, y := range []string{here, there} {
			a := at(x.host, http.MethodGet, "/v1/auth/test", "", "Authorization", "DPoP "+token, dpop.Header,
				aim{method: http.MethodGet, url: y + "/v1/auth/test", token: token}.proof(r, k))
			if y == x.htu && a.Status != http.StatusOK {
				t.Errorf("%+v: answered %d %s", x, a.Status, a.Body)
			} else if y != x.htu {
				refusedProof(t, a, oauth.InvalidDPoPProof)
			}
		}
	}
}
