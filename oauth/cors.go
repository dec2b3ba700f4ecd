package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/rs/cors"

	"doorward/storage"
)

type originKey struct{}

// newCORS lets browsers call from the origins of registered redirect URIs, without cookies. Whether an origin is one
// has been asked before, since a failure to find out is an answer of its own.
func (s *Server) newCORS() *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, _ string) (bool, []string) {
			allowed, _ := r.Context().Value(originKey{}).(bool)
			return allowed, nil
		},
		AllowedMethods: []string{http.MethodPost},
		AllowedHeaders: []string{"*"}, // of those that setCORS leaves
		ExposedHeaders: []string{"WWW-Authenticate", "Retry-After", "X-Request-Id"},
		MaxAge:         600, // seconds
	})
}

// setCORS finds out whether the request's origin is one of the client's, or of any client's when clientID is empty, and
// sets the headers by which a browser goes on, or hands the answer to the page that asked. It answers a preflight.
func (s *Server) setCORS(w http.ResponseWriter, r *http.Request, clientID string) error {
	allowed, err := s.store.OriginAllowed(storage.System(r.Context()), r.Header.Get("Origin"), clientID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // which text that no row can hold gives
		return err
	}
	r = r.Clone(context.WithValue(r.Context(), originKey{}, allowed))
	if asked := r.Header.Values(requestHeaders); len(asked) > 0 {
		r.Header.Del(requestHeaders)
		if safe := safeHeaders(asked); safe != "" {
			r.Header.Set(requestHeaders, safe)
		}
	}
	s.cors.HandlerFunc(w, r)
	return nil
}

// requestHeaders is what a preflight names the headers of the real request in.
const requestHeaders = "Access-Control-Request-Headers"

// safeHeader is a name that a page may use: letters, digits and hyphens, of a length that names have.
var safeHeader = regexp.MustCompile("^[A-Za-z0-9-]{1,64}$")

// maxSafeHeaders bounds how many names are given back.
const maxSafeHeaders = 64

// unsafeHeader reports whether a name is for browsers and proxies to set, never for a page: what identifies or forwards
// a request, or belongs to the connection.
func unsafeHeader(name string) bool {
	for _, head := range []string{
		"access-control-", "proxy-", "sec-", "x-forwarded", "x-original-", "x-auth-", "cookie",
	} {
		if strings.HasPrefix(name, head) {
			return true
		}
	}
	return slices.Contains(
		[]string{
			"host", "origin", "forwarded", "via", "x-real-ip", "connection", "keep-alive", "te", "trailer",
			"transfer-encoding", "upgrade", "content-length", "expect",
		},
		name,
	)
}

// safeHeaders are those that a page may use, of the lists that a preflight asks for; empty: none. Any name will do but
// those of unsafeHeader, since this server gives no other header a meaning that a page must not choose.
func safeHeaders(lists []string) string {
	var names []string
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if safeHeader.MatchString(name) && !unsafeHeader(name) && !slices.Contains(names, name) &&
				len(names) < maxSafeHeaders {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// PreflightPublic answers OPTIONS for a document that pages of any origin may read: the metadata and the keys.
func PreflightPublic(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", "GET, HEAD, OPTIONS")
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		if safe := safeHeaders(r.Header.Values(requestHeaders)); safe != "" {
			h.Set("Access-Control-Allow-Headers", safe)
		}
		h.Set("Access-Control-Max-Age", "600") // seconds
		h.Add("Vary", requestHeaders)
	}
	w.WriteHeader(http.StatusNoContent)
}

// Preflight serves OPTIONS /oauth/token and /oauth/revoke. Before the real request only the origin is known, and any
// client's will do; then it must be the client's own.
func (s *Server) Preflight(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Access-Control-Request-Method") == "" {
		w.Header().Set("Allow", "POST, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := s.setCORS(w, r, ""); err != nil {
		writeError(w, r, err)
	}
}

// allowOrigin lets the page that asked read the answer, where it is of the client that the request names.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request, form url.Values) {
	if r.Header.Get("Origin") == "" || r.Method != http.MethodPost {
		return
	}
	c, err := readCredentials(r, form)
	if err != nil {
		c.id = form.Get("client_id")
	}
	if c.id == "" {
		return // setCORS would take that for any client
	}
	if err := s.setCORS(w, r, c.id); err != nil {
		LogFieldsOf(r.Context()).Cause = err // the request itself will find the same, and is answered all the same
	}
}
