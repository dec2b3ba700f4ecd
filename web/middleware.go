package web

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/web/api"
	"doorward/web/gateway"
	"doorward/web/page"
)

// observe is the outermost middleware. It gives each request an ID, recovers from panics, and writes the request's log
// line.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := &observation{ResponseWriter: w, start: time.Now(), id: requestID(r)}
		w.Header().Set("X-Request-Id", o.id)
		// Without the zone, which could be any text.
		o.actor = storage.Actor{Address: s.proxies.ClientAddress(r).WithZone("").String(), RequestID: o.id}
		r = r.WithContext(storage.WithActor(oauth.WithLogFields(r.Context(), &o.notes), &o.actor))
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this
					// The client has gone, or the API broke off its response. Log that too.
					if o.status == 0 {
						o.status = gateway.StatusCallerGone
					}
					s.finish(o, r)
					panic(p)
				}
				s.log.Error("panic", "request_id", o.id, "panic", p, "stack", string(debug.Stack()))
				if o.status == 0 {
					s.writeFailure(o, r)
				} else {
					defer panic(http.ErrAbortHandler) // a partial response must not look complete
				}
			}
			s.finish(o, r)
		}()
		s.warnOfForwarding(r)
		next.ServeHTTP(o, r)
	})
}

// observation collects what the log says about a request. It is the http.ResponseWriter, to learn the status.
type observation struct {
	http.ResponseWriter
	start  time.Time
	id     string
	status int
	notes  oauth.LogFields
	actor  storage.Actor
}

func (s *Server) finish(o *observation, r *http.Request) {
	took := time.Since(o.start)
	if oauth.CallerGone(r.Context(), o.notes.Cause) {
		// The client did not read the response, so an error is not the fault of the server or its database.
		o.status, o.notes.ErrorCode, o.notes.Cause = gateway.StatusCallerGone, "", errCallerGone
	}
	if o.status == 0 {
		o.status = http.StatusOK
	}
	s.metrics.observe(r.Pattern, r.Method, o.status, took, &o.notes)
	level := slog.LevelInfo
	if o.status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	// The path and query are not logged, because they may contain secrets.
	var space [14]slog.Attr
	attrs := append(
		space[:0],
		slog.String("request_id", o.id),
		slog.String("method", page.Clean(r.Method, 16)),
		slog.String("route", r.Pattern),
		slog.Int("status", o.status),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("address", o.actor.Address),
	)
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("client_id", o.notes.ClientID)
	add("subject", o.notes.Subject)
	add("grant_type", o.notes.GrantType)
	add("error", o.notes.ErrorCode)
	add("user_agent", page.Clean(bearer.Redacted(r.UserAgent()), 200))
	add("referer", originOnly(r.Referer()))
	if o.notes.Cause != nil {
		add("cause", page.Clean(bearer.Redacted(o.notes.Cause.Error()), 500))
	}
	// Without the Logger, which would look up the line of this call for each record, although no handler logs it.
	record := slog.NewRecord(o.start.Add(took), level, "request", 0)
	record.AddAttrs(attrs...)
	_ = s.log.Handler().Handle(r.Context(), record) // there is nowhere else to report the error
}

// errCallerGone is the cause in the log if the client disconnected before the response.
var errCallerGone = errors.New("the client disconnected before the response")

// warnOfForwarding logs, once, that an untrusted peer sends forwarding headers, because it may be the operator's proxy.
func (s *Server) warnOfForwarding(r *http.Request) {
	if s.warned.Load() || s.proxies.trusted(r) {
		return
	}
	for _, name := range forwardingHeaders {
		if r.Header.Get(name) != "" && s.warned.CompareAndSwap(false, true) {
			s.log.Warn("ignored a forwarding header from an untrusted peer; if the peer is your proxy, add its address to "+
				"trusted_proxies",
				"header", name, "peer", peer(r).String())
			return
		}
	}
}

// wellFormedID reports whether an ID has 8 to 64 letters, digits, dots, hyphens and underscores.
func wellFormedID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(id) >= 8 && len(id) <= 64
}

// requestID returns the client's request ID if it is well-formed, and otherwise a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); wellFormedID(id) {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// originOnly returns the origin of a Referer, without the path and query, which may contain a code or token.
func originOnly(referer string) string {
	if referer == "" {
		return ""
	}
	u, err := url.Parse(referer)
	if err != nil || u.Host == "" {
		return ""
	}
	return page.Clean(u.Scheme+"://"+u.Host, 200)
}

// WriteHeader implements http.ResponseWriter.
func (o *observation) WriteHeader(status int) {
	interim := status < http.StatusOK && status != http.StatusSwitchingProtocols // the final response follows
	if o.status == 0 && !interim {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (o *observation) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (o *observation) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// guard refuses requests that no route should see: unknown methods and hosts, paths that are not normalised, and plain
// HTTP that a proxy forwarded.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if s.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
			// A proxy may disagree with net/http about where the body ends (request smuggling), so the connection must
			// not carry another request (RFC 9112, section 6.1).
			h.Set("Connection", "close")
		}
		if s.servedByGateway(w, r, next) {
			return
		}
		h["X-Content-Type-Options"] = noSniff
		probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		switch {
		case fields(r.Header) > maxFields:
			s.writeRefusal(
				w, r, http.StatusRequestHeaderFieldsTooLarge, "The request has more than 100 header fields; send fewer.",
			)
		case !methods[r.Method]:
			h.Set("Allow", "GET, HEAD, POST, OPTIONS")
			s.writeRefusal(w, r, http.StatusMethodNotAllowed, "Method not allowed; see the Allow header.")
		case !probe && !s.ours(r):
			s.writeRefusal(
				w, r, http.StatusMisdirectedRequest, "This server does not serve that host; use the issuer's host.",
			)
		case !page.CanonicalPath(r.URL) && api.Owns(r.URL.Path):
			s.writeRefusal(w, r, http.StatusNotFound, "Not found; check the URL.")
		case !page.CanonicalPath(r.URL):
			s.pages.WriteError(w, r, page.NotFound())
		case !probe && s.secure && strings.EqualFold(s.proxies.forwarded(r, "X-Forwarded-Proto"), "http"):
			s.refusePlain(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// noSniff is shared by all responses, which do not change it.
var noSniff = []string{"nosniff"}

// servedByGateway serves the gateway's requests: those to hosts of APIs, and those of trusted proxies that ask for a
// decision, on any host. It returns false, and serves nothing, if the request is for the issuer.
func (s *Server) servedByGateway(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if s.proxies.trusted(r) {
		if endpoint, ok := gateway.EndpointOf(r.URL.Path); ok {
			r.Pattern = endpoint
			switch endpoint {
			case gateway.ForwardPath:
				s.gateway.ForwardAuth(w, r)
			case gateway.NginxPath:
				s.gateway.NginxAuth(w, r)
			case gateway.EnvoyPath:
				s.gateway.EnvoyAuth(w, r)
			}
			return true
		}
	}
	host := s.host(r)
	a := s.gateway.APIOfHost(host)
	if a == nil || canonicalHost(host, s.issuer.Scheme) == s.issuerHost {
		return false
	}
	r.Pattern = a.ID
	switch {
	case fields(r.Header) > maxFields:
		s.gateway.Refuse(w, r, a, &gateway.Refusal{
			Kind: gateway.BadRequest, Status: http.StatusRequestHeaderFieldsTooLarge,
			Detail: "The request has more than 100 header fields; send fewer.",
		})
	case !methods[r.Method]:
		s.gateway.Refuse(w, r, a, &gateway.Refusal{Kind: gateway.MethodNotAllowed, Detail: "Method not allowed."})
	case s.secure && strings.EqualFold(s.proxies.forwarded(r, "X-Forwarded-Proto"), "http"):
		s.gateway.Refuse(w, r, a, &gateway.Refusal{
			Kind:   gateway.BadRequest,
			Detail: "Use https. This request was sent unencrypted; rotate any secrets it contained.",
		})
	default:
		s.gateway.Serve(w, s.withOrigin(r, host), a, next)
	}
	return true
}

// withOrigin returns a request that knows where it was sent to, if that is needed for its DPoP proof.
func (s *Server) withOrigin(r *http.Request, host string) *http.Request {
	if r.Header["Dpop"] == nil {
		return r
	}
	secure := s.secure || strings.EqualFold(s.proxies.forwarded(r, "X-Forwarded-Proto"), "https")
	return r.WithContext(oauth.WithOrigin(r.Context(), gateway.OriginOf(secure, host, s.proxies.trusted(r))))
}

// host is the host that the client requested; behind a trusted proxy, the one in X-Forwarded-Host. Some proxies append
// the host to a header of the client's. If the values differ, none is trusted, and the result is not a valid host.
func (s *Server) host(r *http.Request) string {
	if !s.proxies.trusted(r) {
		return r.Host
	}
	all := strings.Join(r.Header.Values("X-Forwarded-Host"), ",")
	first, rest, more := strings.Cut(all, ",")
	for more {
		var name string
		name, rest, more = strings.Cut(rest, ",")
		if !strings.EqualFold(strings.TrimSpace(name), strings.TrimSpace(first)) {
			return all
		}
	}
	return cmp.Or(strings.TrimSpace(first), r.Host)
}

// maxFields bounds the header lines of a request; net/http bounds only their bytes.
const maxFields = 100

// fields counts header lines.
func fields(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// refusePlain refuses a request over plain HTTP if the issuer is https. It redirects browsers. Programs get an error,
// because their secrets were sent unencrypted.
func (s *Server) refusePlain(w http.ResponseWriter, r *http.Request) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isMachine(r) {
		http.Redirect(w, r, s.issuer.Scheme+"://"+s.issuer.Host+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	s.writeRefusal(
		w, r, http.StatusBadRequest,
		"Use https. This request was sent unencrypted; rotate any secrets it contained.",
	)
}

// isMachine reports whether a path is for programs, which expect JSON.
func isMachine(r *http.Request) bool {
	switch r.URL.Path {
	case "/oauth/token", "/oauth/introspect", "/oauth/revoke", "/oauth/par", "/healthz", "/readyz":
		return true
	}
	return strings.HasPrefix(r.URL.Path, "/.well-known/") || strings.HasPrefix(r.URL.Path, "/oauth/register") ||
		api.Owns(r.URL.Path)
}

// ours reports whether a request is for the issuer's host. On a loopback address every host is, so that a server on the
// same machine can be reached by any name.
func (s *Server) ours(r *http.Request) bool {
	if host := s.host(r); host == s.issuer.Host || canonicalHost(host, s.issuer.Scheme) == s.issuerHost {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}

func canonicalHost(host, scheme string) string {
	host = strings.ToLower(host)
	name, port := host, ""
	if strings.IndexByte(host, ':') >= 0 { // otherwise SplitHostPort would only create an error
		if n, p, err := net.SplitHostPort(host); err == nil {
			name, port = n, p
		}
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	if port == "" || (scheme == "https" && port == "443") || (scheme == "http" && port == "80") {
		return name
	}
	return net.JoinHostPort(name, port)
}
