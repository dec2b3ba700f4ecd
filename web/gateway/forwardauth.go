package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"doorward/oauth"
)

// The endpoints at which proxies ask about the requests that they have.
const (
	ForwardPath = "/gateway/forward" // Caddy and Traefik, which pass the answer on
	NginxPath   = "/gateway/nginx"   // nginx, which knows yes and no
)

// asked are the headers in which a proxy describes a request.
type asked struct{ method, host, uri, proto string }

var (
	forwardHeaders = asked{method: "X-Forwarded-Method", host: "X-Forwarded-Host", uri: "X-Forwarded-Uri", proto: "X-Forwarded-Proto"}
	nginxHeaders   = asked{method: "X-Original-Method", host: "X-Original-Host", uri: "X-Original-Uri", proto: "X-Forwarded-Proto"}
)

// otherURIs are further names under which the address of a request is sent. A caller who sends one of them, which their
// proxy passes on, wants it taken for what it is not.
var otherURIs = []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url"}

// ForwardAuth serves GET /gateway/forward: 200 with who calls, or the refusal itself, for proxies that pass it on.
func (g *Gateway) ForwardAuth(w http.ResponseWriter, r *http.Request) {
	shape, v := g.ask(w, r, forwardHeaders)
	if v.Refusal != nil {
		oauth.Note(r.Context()).Cause = v.Refusal
		shape.Write(w, v.Refusal)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// NginxAuth serves GET /gateway/nginx: 200 with who calls, or 403 with the refusal in headers, from which nginx makes the
// answer, since auth_request knows no other status.
func (g *Gateway) NginxAuth(w http.ResponseWriter, r *http.Request) {
	shape, v := g.ask(w, r, nginxHeaders)
	if v.Refusal == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	oauth.Note(r.Context()).Cause = v.Refusal
	status, body := shape.Body(v.Refusal)
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	h := w.Header()
	shape.headers(h, v.Refusal)
	h.Set("X-Doorward-Status", strconv.Itoa(status))
	h.Set("X-Doorward-Body", ascii(text))
	w.WriteHeader(http.StatusForbidden)
}

// ascii writes JSON in one line of ASCII, as a header takes it.
func ascii(text []byte) string {
	var b strings.Builder
	for _, c := range string(text) {
		switch {
		case c < 0x80:
			b.WriteRune(c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(c>>10), 0xdc00+(c&0x3ff))
		}
	}
	return b.String()
}

// ask judges the request that a proxy describes, and writes the headers of the answer, whatever it is.
func (g *Gateway) ask(w http.ResponseWriter, r *http.Request, names asked) (Shape, Verdict) {
	h := w.Header()
	setIdentity(h, nil) // also where it is refused, so that a proxy copies nothing else
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Authorization")
	if !g.trusted(r) {
		return Shape{}, Verdict{Refusal: &Refusal{Kind: Forbidden, Detail: "Only a proxy may ask here; put its address into trusted_proxies.", Cause: errUntrusted}}
	}
	q, host, err := g.read(r, names)
	a := g.Host(host)
	if err == nil && a == nil {
		err = &Refusal{Kind: Forbidden, Detail: "No API of this server has that host.", Cause: errHost}
	}
	if a != nil && a.cors != nil {
		// What lets a page read the answer. The method is that of the proxy's question: as a preflight this would be
		// answered here, with a status that proxies take for a yes.
		actual := *r
		actual.Method = http.MethodGet
		a.cors.HandlerFunc(w, &actual)
	}
	if err != nil {
		shape := Shape{}
		if a != nil {
			shape = a.Shape
		}
		return shape, Verdict{Refusal: AsRefusal(err)}
	}
	h.Add("Vary", a.resource.WorkspaceHeader)
	r.Pattern += " " + a.ID
	v := g.decide(r, a, q)
	RateHeaders(h, v.Taken)
	status := http.StatusOK
	if v.Refusal != nil {
		status, _ = a.Shape.Body(v.Refusal)
	} else {
		setIdentity(h, v.Principal)
	}
	g.Note(r.Context(), &v, q.Method, status)
	return a.Shape, v
}

var (
	errUntrusted = errors.New("forward-auth by a peer that is not trusted")
	errHost      = errors.New("forward-auth for a host of no resource")
)

// read takes the request that a proxy describes out of its headers. What can be read in two ways is refused.
func (g *Gateway) read(r *http.Request, names asked) (q Request, host string, err error) {
	value := func(name string) string {
		switch values := r.Header.Values(name); {
		case len(values) == 1 && values[0] != "":
			return values[0]
		case err != nil:
		case len(values) == 0 || values[0] == "":
			err = &Refusal{Kind: Forbidden, Detail: "The proxy did not send the header " + name + "; use the recipe in Doorward's documentation."}
		default:
			err = &Refusal{Kind: Forbidden, Detail: "The header " + name + " is there twice."}
		}
		return ""
	}
	method, uri := value(names.method), value(names.uri)
	host = value(names.host)
	if err != nil {
		return q, host, err
	}
	if strings.ContainsAny(host, "@/,\\ ") {
		return q, "", &Refusal{Kind: Forbidden, Detail: "The forwarded host is no host."}
	}
	for _, other := range otherURIs {
		for _, text := range r.Header.Values(other) {
			if text != uri {
				return q, host, &Refusal{Kind: Forbidden, Detail: "The headers " + names.uri + " and " + other + " name two addresses."}
			}
		}
	}
	if g.secure && strings.EqualFold(r.Header.Get(names.proto), "http") {
		return q, host, &Refusal{Kind: BadRequest, Detail: "Use https. What was sent this way has crossed a network in clear: replace the secrets that were in it."}
	}
	path, _, _ := strings.Cut(uri, "?")
	return Request{Method: method, Path: path, Header: r.Header, Address: g.address(r)}, host, nil
}
