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
)

// The endpoints at which proxies ask about the requests that they have.
const (
	ForwardPath = "/gateway/forward" // Caddy and Traefik, which pass the answer on
	NginxPath   = "/gateway/nginx"   // nginx and ingress-nginx, which know yes and no
	EnvoyPath   = "/gateway/envoy"   // before the path that was asked for: Envoy and Istio, which pass the answer on
)

// Asks reports whether a path is one at which proxies ask, and which: ForwardPath, NginxPath or EnvoyPath. What follows
// ForwardPath makes it a question in Envoy's form, as servers for Caddy and Traefik are often connected to Envoy too.
func Asks(path string) (endpoint string, ok bool) {
	switch {
	case path == ForwardPath, path == NginxPath:
		return path, true
	case strings.HasPrefix(path, EnvoyPath+"/"), strings.HasPrefix(path, ForwardPath+"/"):
		return EnvoyPath, true
	}
	return "", false
}

// ForwardAuth serves GET /gateway/forward: 200 with who calls, or the refusal itself, for proxies that pass it on.
func (g *Gateway) ForwardAuth(w http.ResponseWriter, r *http.Request) {
	shape, _, v := g.ask(w, r, ForwardPath)
	if v.Refusal != nil {
		oauth.LogFieldsOf(r.Context()).Cause = v.Refusal
		shape.Write(w, v.Refusal)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// EnvoyAuth serves /gateway/envoy/…, the question of Envoy's HTTP ext_authz: the method and the host are those of the
// caller's request, and its path follows the prefix. The answer is 200 with who calls, or the refusal itself.
func (g *Gateway) EnvoyAuth(w http.ResponseWriter, r *http.Request) {
	shape, _, v := g.ask(w, r, EnvoyPath)
	h := w.Header()
	if v.Refusal != nil {
		for _, name := range IdentityHeaders() { // Envoy passes all headers of a refusal on
			h.Del(name)
		}
		oauth.LogFieldsOf(r.Context()).Cause = v.Refusal
		shape.Write(w, v.Refusal)
		return
	}
	remove := stopped(r.Header)
	if len(r.Header["Cookie"]) > 0 && h["Cookie"] == nil {
		remove = append(remove, "Cookie")
	}
	remove = slices.DeleteFunc(remove, func(name string) bool { return h[name] != nil }) // it is to be set
	if len(remove) > 0 {
		h.Set("X-Envoy-Auth-Headers-To-Remove", strings.Join(remove, ","))
	}
	w.WriteHeader(http.StatusOK)
}

// NginxAuth serves GET /gateway/nginx: 200 with who calls, or 403 with the refusal in headers, from which nginx makes
// the answer, since auth_request knows no other status. ingress-nginx ignores these headers, so it gets 401 where the
// credential is missing or invalid, which nginx passes on with its challenge, and 5xx where nothing was decided.
func (g *Gateway) NginxAuth(w http.ResponseWriter, r *http.Request) {
	shape, q, v := g.ask(w, r, NginxPath)
	if v.Refusal == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	oauth.LogFieldsOf(r.Context()).Cause = v.Refusal
	status, body := shape.Body(v.Refusal)
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	h := w.Header()
	shape.headers(h, v.Refusal)
	h.Set("X-Doorward-Status", strconv.Itoa(status))
	h.Set("X-Doorward-Body", ascii(text))
	if !q.byURL || status != http.StatusUnauthorized && status < http.StatusInternalServerError {
		status = http.StatusForbidden
	}
	w.WriteHeader(status)
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

// question is a request as a proxy describes it.
type question struct {
	Request
	host  string
	byURL bool // it was described by a full URL, as ingress-nginx does
}

// ask decides about the request that a proxy describes, and writes the headers of the answer, allowed or not.
func (g *Gateway) ask(w http.ResponseWriter, r *http.Request, endpoint string) (Shape, *question, Verdict) {
	h := w.Header()
	setIdentity(h, nil) // also where it is refused, so that a proxy copies nothing else
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Authorization")
	q := &question{}
	if !g.trusted(r) {
		return Shape{}, q, refused(&Refusal{
			Kind:   Forbidden,
			Detail: "This endpoint is for trusted proxies only; add the proxy's address to trusted_proxies.",
			Cause:  errUntrusted,
		})
	}
	err := g.read(q, r, endpoint)
	a := g.Host(q.host)
	if err == nil && a == nil {
		err = &Refusal{Kind: Forbidden, Detail: "No API on this server has that host.", Cause: errHost}
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
		return shape, q, refused(AsRefusal(err))
	}
	h.Add("Vary", a.resource.WorkspaceHeader)
	r.Pattern += " " + a.ID
	v := g.decide(r, a, q.Request)
	RateHeaders(h, v.Taken)
	status := http.StatusOK
	if v.Refusal != nil {
		status, _ = a.Shape.Body(v.Refusal)
	} else {
		setIdentity(h, v.Principal)
		// What the API may have of the caller's cookies, for proxies that cannot take cookies apart.
		if kept := otherCookies(r.Header["Cookie"]); kept != nil {
			h["Cookie"] = kept
		}
	}
	g.Note(r.Context(), &v, q.Method, status)
	return a.Shape, q, v
}

// refused is the verdict on a request that could not be decided about.
func refused(r *Refusal) Verdict { return Verdict{Admission: Admission{Refusal: r}} }

var (
	errUntrusted = errors.New("forward-auth by a peer that is not trusted")
	errHost      = errors.New("forward-auth for a host of no resource")
)

// read takes the request that a proxy describes out of its question. What can be read in two ways is refused: a caller
// whose headers a proxy passes on may want their request taken for what it is not.
func (g *Gateway) read(q *question, r *http.Request, endpoint string) error {
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
	if pin := r.URL.Query()["host"]; endpoint == NginxPath && len(pin) > 0 &&
		slices.ContainsFunc(pin, func(host string) bool { return !g.sameHost(host, d.host) }) {
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
	q.Request = Request{Method: d.method, Path: path, Header: r.Header, Address: g.address(r)}
	return nil
}

// unremovable is a header that may not pass and that nginx cannot keep from an API, since it removes headers only by
// their whole names; empty: there is none.
func unremovable(h http.Header) string {
	for _, name := range stopped(h) {
		if !plainName(name) {
			return "whose name has a character other than letters, digits and " +
				"hyphens" // in whose place a log might show anything
		}
		if _, known := family(name); !known && !slices.Contains(IdentityHeaders(), name) {
			return name
		}
	}
	return ""
}

// description is how a question describes a request, while it is read.
type description struct {
	header            http.Header
	method, host, uri string
	err               error // the first
}

func (d *description) fail(detail string) {
	if d.err == nil {
		d.err = &Refusal{Kind: Forbidden, Detail: detail}
	}
}

// need is the value of a header that must be there once.
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

// parts takes a full URL apart, as text: nothing of it is decoded or made plainer.
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

// compare fails where another header describes another request: by its address, or where all is to be compared by its
// host or method too.
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

// sameHost reports whether two hosts, as requests name them, are the same name and lead to the same API. Some proxies
// leave a port out that others write.
func (g *Gateway) sameHost(a, b string) bool {
	plain := func(host string) string {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		return strings.TrimSuffix(strings.ToLower(host), ".")
	}
	return plain(a) == plain(b) && g.Host(a) == g.Host(b)
}
