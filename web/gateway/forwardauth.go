package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"doorward/oauth"
	"doorward/oauth/bearer"
)

// The endpoints at which proxies ask for a decision about a request.
const (
	ForwardPath = "/gateway/forward" // for Caddy and Traefik, which return the response to the caller
	NginxPath   = "/gateway/nginx"   // for nginx and ingress-nginx, which understand only yes or no
	EnvoyPath   = "/gateway/envoy"   // before the request's path; for Envoy and Istio, which return the response
)

// EndpointOf returns the endpoint for proxies to which a path belongs: ForwardPath, NginxPath or EnvoyPath. ok is false
// if it belongs to none. A path below ForwardPath is in Envoy's form, because Envoy is often configured with the URL
// for Caddy and Traefik.
func EndpointOf(path string) (endpoint string, ok bool) {
	switch {
	case path == ForwardPath, path == NginxPath:
		return path, true
	case strings.HasPrefix(path, EnvoyPath+"/"), strings.HasPrefix(path, ForwardPath+"/"):
		return EnvoyPath, true
	}
	return "", false
}

// ForwardAuth serves GET /gateway/forward with 200 and the caller's identity, or with the refusal, which the proxy
// returns.
func (g *Gateway) ForwardAuth(w http.ResponseWriter, r *http.Request) {
	shape, _, v := g.decideDescribed(w, r, ForwardPath)
	if v.Refusal != nil {
		oauth.LogFieldsOf(r.Context()).Cause = v.Refusal
		shape.Write(w, v.Refusal.For(r.Header))
		return
	}
	w.WriteHeader(http.StatusOK)
}

// EnvoyAuth serves /gateway/envoy/… for Envoy's HTTP ext_authz, which sends the method and host of the caller's
// request, and its path after the prefix. The response is 200 with the caller's identity, or the refusal.
func (g *Gateway) EnvoyAuth(w http.ResponseWriter, r *http.Request) {
	shape, _, v := g.decideDescribed(w, r, EnvoyPath)
	h := w.Header()
	if v.Refusal != nil {
		for _, name := range IdentityHeaders() { // Envoy returns all headers of a refusal to the caller
			h.Del(name)
		}
		oauth.LogFieldsOf(r.Context()).Cause = v.Refusal
		shape.Write(w, v.Refusal.For(r.Header))
		return
	}
	remove := stopped(r.Header)
	if len(r.Header["Cookie"]) > 0 && h["Cookie"] == nil {
		remove = append(remove, "Cookie")
	}
	remove = slices.DeleteFunc(remove, func(name string) bool { return h[name] != nil }) // it will be replaced
	if len(remove) > 0 {
		h.Set("X-Envoy-Auth-Headers-To-Remove", strings.Join(remove, ","))
	}
	w.WriteHeader(http.StatusOK)
}

// NginxAuth serves GET /gateway/nginx with 200 and the caller's identity, or with 403 and the refusal in headers, from
// which nginx builds its response, because auth_request supports no other statuses. ingress-nginx ignores these
// headers, so it gets 401 for a missing or invalid credential, which nginx returns with its challenge, and 5xx for
// errors.
func (g *Gateway) NginxAuth(w http.ResponseWriter, r *http.Request) {
	shape, q, v := g.decideDescribed(w, r, NginxPath)
	if v.Refusal == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	oauth.LogFieldsOf(r.Context()).Cause = v.Refusal
	status, body := shape.Body(v.Refusal)
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // it consists of strings and numbers
	}
	h := w.Header()
	shape.headers(h, v.Refusal.For(r.Header))
	if challenges := h["Www-Authenticate"]; len(challenges) > 1 {
		// One line (RFC 9110, section 11.6.1): older versions of nginx read only the first one of a subrequest.
		h.Set("WWW-Authenticate", strings.Join(challenges, ", "))
	}
	h.Set("X-Doorward-Status", strconv.Itoa(status))
	h.Set("X-Doorward-Body", ascii(text))
	if !q.byURL || status != http.StatusUnauthorized && status < http.StatusInternalServerError {
		status = http.StatusForbidden
	}
	w.WriteHeader(status)
}

// ascii escapes JSON so that it is ASCII, for a header.
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

// describedRequest is a request as a proxy describes it.
type describedRequest struct {
	Request
	host  string
	byURL bool // by a complete URL, as ingress-nginx does
}

// decideDescribed decides about the request that a proxy describes, and sets the headers of the response.
func (g *Gateway) decideDescribed(
	w http.ResponseWriter, r *http.Request, endpoint string,
) (Shape, *describedRequest, Verdict) {
	h := w.Header()
	var identified *bearer.Principal
	// Also for a refusal, so that a proxy overwrites the caller's headers.
	defer func() { setIdentity(h, identified) }()
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Authorization")
	q := &describedRequest{}
	if !g.trusted(r) {
		return Shape{}, q, refused(&Refusal{
			Kind:   Forbidden,
			Detail: "This endpoint is for trusted proxies only; add the proxy's address to trusted_proxies.",
			Cause:  errUntrusted,
		})
	}
	err := g.read(q, r, endpoint)
	a := g.APIOfHost(q.host)
	if err == nil && a == nil {
		err = &Refusal{Kind: Forbidden, Detail: "No API on this server has that host.", Cause: errHost}
	}
	if a != nil && a.cors != nil {
		// The CORS headers with which a page can read the response. A preflight would be answered here with a success
		// status, which proxies take as allowed, so the method is replaced.
		actual := *r
		actual.Method = http.MethodGet
		a.cors.HandlerFunc(w, &actual)
	}
	if err != nil {
		shape := Shape{}
		if a != nil {
			shape = a.Shape
		}
		return shape, q, refused(AsRefusal(err))
	}
	h.Add("Vary", a.resource.WorkspaceHeader)
	r.Pattern += " " + a.ID
	v := g.decide(r, a, q.Request)
	g.OfferNonce(h, r.Header)
	RateHeaders(h, v.Taken)
	status := http.StatusOK
	if v.Refusal != nil {
		status, _ = a.Shape.Body(v.Refusal)
	} else {
		identified = v.Principal
		// The cookies that the API may get, for proxies that cannot parse cookies.
		if kept := otherCookies(r.Header["Cookie"]); kept != nil {
			h["Cookie"] = kept
		}
	}
	g.Note(r.Context(), &v, q.Method, status)
	return a.Shape, q, v
}

// refused is the verdict on a request that a proxy did not describe correctly.
func refused(r *Refusal) Verdict { return Verdict{Admission: Admission{Refusal: r}} }

var (
	errUntrusted = errors.New("forward-auth by an untrusted peer")
	errHost      = errors.New("forward-auth for a host that belongs to no resource")
)

// read reads the request that a proxy describes. It refuses ambiguous descriptions, because a proxy may pass on headers
// with which a caller tries to make a request look like another one.
func (g *Gateway) read(q *describedRequest, r *http.Request, endpoint string) error {
	d := description{header: r.Header}
	switch endpoint {
	case ForwardPath:
		d.method, d.host, d.uri = d.need("X-Forwarded-Method"), d.need("X-Forwarded-Host"), d.need("X-Forwarded-Uri")
	case NginxPath:
		d.method = d.need("X-Original-Method")
		if q.byURL = r.Header["X-Original-Uri"] == nil && r.Header["X-Original-Host"] == nil &&
			r.Header["X-Original-Url"] != nil; q.byURL {
			d.host, d.uri = d.parts(d.need("X-Original-Url"))
		} else {
			d.host, d.uri = d.need("X-Original-Host"), d.need("X-Original-Uri")
		}
	case EnvoyPath:
		path, found := strings.CutPrefix(r.URL.EscapedPath(), EnvoyPath)
		if !found {
			path, found = strings.CutPrefix(path, ForwardPath)
		}
		if !found {
			d.fail("The path of the request is not normalised.")
		}
		d.method, d.host, d.uri = r.Method, r.Host, path
		if r.URL.RawQuery != "" || r.URL.ForceQuery {
			d.uri += "?" + r.URL.RawQuery
		}
	}
	q.host = d.host
	if d.err != nil {
		return d.err
	}
	if strings.ContainsAny(d.host, "@/,\\ ") {
		q.host = ""
		return &Refusal{Kind: Forbidden, Detail: "The forwarded host is not a valid host."}
	}
	g.compare(&d, endpoint == EnvoyPath || q.byURL)
	if endpoint == NginxPath && r.URL.RawQuery != "" &&
		slices.ContainsFunc(r.URL.Query()["host"], func(host string) bool { return !g.sameHost(host, d.host) }) {
		d.fail("The host of the request is not the one that the proxy is configured for.")
	}
	if d.err != nil {
		return d.err
	}
	proto := r.Header.Get("X-Forwarded-Proto")
	if scheme, _, ok := strings.Cut(r.Header.Get("X-Original-Url"), "://"); proto == "" && q.byURL && ok {
		proto = scheme
	}
	if g.secure && strings.EqualFold(proto, "http") {
		return &Refusal{
			Kind:   BadRequest,
			Detail: "Use https. This request was sent unencrypted; rotate any secrets it contained.",
		}
	}
	if endpoint == NginxPath {
		if name := unremovable(r.Header); name != "" {
			return &Refusal{Kind: BadRequest, Detail: "Remove the header " + name + "; only a gateway may set it."}
		}
	}
	path, _, _ := strings.Cut(d.uri, "?")
	q.Request = Request{
		Method: d.method, Path: path, Header: r.Header, Address: g.address(r), Origin: g.forwardedOrigin(d.host, proto),
	}
	return nil
}

// forwardedOrigin returns where the client of a proxy sent its request.
func (g *Gateway) forwardedOrigin(host, proto string) oauth.Origin {
	return OriginOf(g.secure || strings.EqualFold(proto, "https"), host, true)
}

// OriginOf returns where a request was sent. If a proxy says so, it may have left out the port.
func OriginOf(secure bool, host string, byProxy bool) oauth.Origin {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	_, _, err := net.SplitHostPort(host)
	return oauth.Origin{Base: scheme + "://" + host, AnyPort: byProxy && err != nil}
}

// unremovable returns a header that must not reach an API and that nginx cannot remove, because it removes headers only
// by known names; empty: there is none.
func unremovable(h http.Header) (first string) {
	for name := range h {
		if plainName(name) {
			if f, known := family(name); f == nil || known || isIdentity(name) {
				continue
			}
		}
		if first == "" || name < first {
			first = name
		}
	}
	if first != "" && !plainName(first) {
		return "whose name has a character other than letters, digits and hyphens" // the name could distort a log
	}
	return first
}

// description is a proxy's description of a request, while it is read.
type description struct {
	header            http.Header
	method, host, uri string
	err               error // the first one
}

func (d *description) fail(detail string) {
	if d.err == nil {
		d.err = &Refusal{Kind: Forbidden, Detail: detail}
	}
}

// need returns the value of a header that must occur once.
func (d *description) need(name string) string {
	switch values := d.header.Values(name); {
	case len(values) == 1 && values[0] != "":
		return values[0]
	case len(values) == 0 || values[0] == "":
		d.fail("The proxy did not send the header " + name + "; see Doorward's documentation for its configuration.")
	default:
		d.fail("The header " + name + " was sent more than once.")
	}
	return ""
}

// parts splits a complete URL, without decoding or normalising it.
func (d *description) parts(url string) (host, uri string) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		d.fail("The header X-Original-Url is not a valid URL.")
		return "", ""
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		return rest, "/"
	}
	host, uri = rest[:end], rest[end:]
	if uri[0] != '/' {
		uri = "/" + uri
	}
	return host, uri
}

// compare fails if another header describes a different request: by its path or, if all is true, also by its host or
// method.
func (g *Gateway) compare(d *description, all bool) {
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url"} {
		for _, text := range d.header.Values(name) {
			if name == "X-Original-Url" && !strings.HasPrefix(text, "/") {
				host, uri := d.parts(text)
				if uri == d.uri && g.sameHost(host, d.host) {
					continue
				}
			}
			if text != d.uri {
				d.fail("The header " + name + " does not match the URL of the request.")
			}
		}
	}
	if !all {
		return
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Original-Host"} {
		for _, text := range d.header.Values(name) {
			if !g.sameHost(text, d.host) {
				d.fail("The header " + name + " does not match the host of the request.")
			}
		}
	}
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		for _, text := range d.header.Values(name) {
			if text != d.method {
				d.fail("The header " + name + " does not match the method of the request.")
			}
		}
	}
}

// sameHost reports whether two hosts have the same name and belong to the same API. Some proxies omit the port.
func (g *Gateway) sameHost(a, b string) bool {
	if a == b {
		return true
	}
	plain := func(host string) string {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		return strings.TrimSuffix(strings.ToLower(host), ".")
	}
	return plain(a) == plain(b) && g.APIOfHost(a) == g.APIOfHost(b)
}
