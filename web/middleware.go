package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"doorward/oauth"
)

// handling is how long a request may keep the database busy; what takes longer is answered with 503.
const handling = 8 * time.Second

// observe is the outermost middleware: it gives the request an id, catches panics, and writes the one line that the
// log has of each request.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := requestID(r)
		w.Header().Set("X-Request-Id", id)
		notes := &oauth.Notes{}
		ctx, cancel := context.WithTimeout(oauth.WithNotes(r.Context(), notes), handling)
		defer cancel()
		r = r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
					panic(p)
				}
				s.log.Error("panic", "request_id", id, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					s.writeFailure(rec, r)
				}
			}
			s.finish(rec, r, notes, id, time.Since(start))
		}()
		s.warnOfForwarding(r)
		next.ServeHTTP(rec, r)
	})
}

func (s *Server) finish(rec *recorder, r *http.Request, notes *oauth.Notes, id string, took time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	route := r.Pattern
	s.metrics.observe(route, r.Method, status, took, notes)
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	// Neither path nor query: people put secrets into both.
	attrs := []slog.Attr{
		slog.String("request_id", id), slog.String("method", clean(r.Method, 16)), slog.String("route", route), slog.Int("status", status),
		slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("address", s.proxies.ClientAddress(r).String()),
	}
	for name, value := range map[string]string{
		"client_id": notes.ClientID, "subject": notes.Subject, "grant_type": notes.GrantType, "error": notes.ErrorCode,
		"user_agent": clean(r.UserAgent(), 200), "referer": originOnly(r.Referer()),
	} {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	if notes.Cause != nil {
		attrs = append(attrs, slog.String("cause", clean(notes.Cause.Error(), 500)))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// warnOfForwarding says once that a proxy is there whom nobody told us to trust.
func (s *Server) warnOfForwarding(r *http.Request) {
	if s.warned.Load() || s.proxies.trusted(r) {
		return
	}
	for _, name := range forwardingHeaders {
		if r.Header.Get(name) != "" && s.warned.CompareAndSwap(false, true) {
			s.log.Warn("a forwarding header from a peer that is not trusted is ignored; if this peer is your proxy, put its address into trusted_proxies",
				"header", name, "peer", peer(r).String())
			return
		}
	}
}

var wellFormedID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// requestID takes the caller's id where it is harmless, else makes one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); wellFormedID.MatchString(id) {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// clean makes a stranger's text fit for a log: cut, and without characters that change how a line looks.
func clean(text string, limit int) string {
	text = strings.ToValidUTF8(text, "?")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '?'
		}
		return r
	}, text)
	if r := []rune(text); len(r) > limit {
		return string(r[:limit])
	}
	return text
}

// originOnly drops from a Referer what may hold a code or token.
func originOnly(referer string) string {
	u, err := url.Parse(referer)
	if err != nil || u.Host == "" {
		return ""
	}
	return clean(u.Scheme+"://"+u.Host, 200)
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b) //nolint:wrapcheck // a ResponseWriter's errors are its own
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guard refuses what no route should see: methods that mean harm, hosts that are not ours, paths that the mux would
// rewrite, and plain http that a proxy let through.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if s.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		switch {
		case !methods[r.Method]:
			h.Set("Allow", "GET, HEAD, POST, OPTIONS")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		case !probe && !s.ours(r):
			http.Error(w, "this server does not answer for that host", http.StatusMisdirectedRequest)
		case !canonicalPath(r.URL):
			s.writePageError(w, r, notFound())
		case !probe && s.secure && strings.EqualFold(s.proxies.forwarded(r, "X-Forwarded-Proto"), "http"):
			s.refusePlain(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// refusePlain answers what came over plain http to a server whose issuer is https: people are sent on, programs are
// told, since their secrets have crossed the network in clear.
func (s *Server) refusePlain(w http.ResponseWriter, r *http.Request) {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !isMachine(r) {
		http.Redirect(w, r, s.issuer.Scheme+"://"+s.issuer.Host+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	http.Error(w, "use https", http.StatusBadRequest)
}

// isMachine tells whether a path is called by programs, which want JSON.
func isMachine(r *http.Request) bool {
	switch r.URL.Path {
	case "/oauth/token", "/oauth/introspect", "/oauth/revoke", "/healthz", "/readyz":
		return true
	}
	return strings.HasPrefix(r.URL.Path, "/.well-known/")
}

// canonicalPath tells whether http.ServeMux would take the path as it is, instead of redirecting to a cleaner one.
func canonicalPath(u *url.URL) bool {
	p := u.Path
	if p == "" || p[0] != '/' || strings.ContainsAny(p, "\x00\\") {
		return false
	}
	if p == "/" {
		return true
	}
	return path.Clean(p) == strings.TrimSuffix(p, "/") && !strings.HasSuffix(p, "//")
}

// ours tells whether a request is for the issuer's host. On a loopback address any host that is not known is taken
// for it, so that a server tried at home works under every name.
func (s *Server) ours(r *http.Request) bool {
	host := r.Host
	if h := s.proxies.forwarded(r, "X-Forwarded-Host"); h != "" {
		host = h
	}
	if canonicalHost(host, s.issuer.Scheme) == canonicalHost(s.issuer.Host, s.issuer.Scheme) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	ap, err := netip.ParseAddrPort(local.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func canonicalHost(host, scheme string) string {
	host = strings.ToLower(host)
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	if port == "" || (scheme == "https" && port == "443") || (scheme == "http" && port == "80") {
		return name
	}
	return net.JoinHostPort(name, port)
}
