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

	"doorward/oauth/dpop"
	"doorward/storage"
)

type originKey struct{}

// newCORS allows calls without cookies from the origins of registered redirect URIs. It accepts every origin, because
// setCORS has checked the origin before: that look-up can fail, which is answered as an error of its own.
func (s *Server) newCORS() *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, _ string) (bool, []string) {
			allowed, _ := r.Context().Value(originKey{}).(bool)
			return allowed, nil
		},
		AllowedMethods: []string{http.MethodPost},
		AllowedHeaders: []string{"*"}, // of those that setCORS leaves
		ExposedHeaders: []string{"WWW-Authenticate", "Retry-After", "X-Request-Id", dpop.NonceHeader},
		MaxAge:         600, // seconds
	})
}

// setCORS looks up whether the request's origin is one of the client's, or any client's if clientID is empty. If so, it
// sets the headers that let the page read the answer. It also answers a preflight.
func (s *Server) setCORS(w http.ResponseWriter, r *http.Request, clientID string) error {
	allowed, err := s.originAllowed(r.Context(), r.Header.Get("Origin"), clientID)
	if err != nil {
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

// originAllowed reports whether an origin is one of the client's, or any client's if clientID is empty. A client with a
// metadata document that no user has allowed yet has no row, so that its origins are in the copy of its document, if
// there is one; a preflight, which names no client, may then come from any origin.
func (s *Server) originAllowed(ctx context.Context, origin, clientID string) (bool, error) {
	allowed, err := s.store.OriginAllowed(storage.System(ctx), origin, clientID)
	if errors.Is(err, storage.ErrNotFound) { // an origin that no row can hold
		return false, nil
	}
	if err != nil || allowed || !s.documents.on() {
		return allowed, err
	}
	return clientID == "" || s.documents.hasOrigin(clientID, origin), nil
}

// requestHeaders is the header in which a preflight lists the headers of the real request.
const requestHeaders = "Access-Control-Request-Headers"

// safeHeader matches the header names that a page may use: at most 64 letters, digits and hyphens.
var safeHeader = regexp.MustCompile("^[A-Za-z0-9-]{1,64}$")

// maxSafeHeaders bounds how many header names a preflight is answered with.
const maxSafeHeaders = 64

// unsafeHeader reports whether only browsers and proxies may set a header: one that identifies or forwards a request,
// or belongs to the connection.
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

// safeHeaders returns the headers of a preflight's lists that a page may use, joined by commas; "" if there are none.
// It leaves out only the headers that unsafeHeader reports: a page may choose the value of any other header.
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
func PreflightPublic(w http.ResponseWriter, r *http.Request) { preflightAny(w, r, "GET, HEAD") }

// PreflightRegister answers OPTIONS /oauth/register, which pages of any origin may call.
func PreflightRegister(w http.ResponseWriter, r *http.Request) { preflightAny(w, r, "POST") }

// PreflightRegistration answers OPTIONS /oauth/register/{client_id}.
func PreflightRegistration(w http.ResponseWriter, r *http.Request) {
	preflightAny(w, r, "GET, PUT, DELETE")
}

// preflightAny allows pages of any origin to call an endpoint with some methods.
func preflightAny(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Allow", methods+", OPTIONS")
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", methods)
		if safe := safeHeaders(r.Header.Values(requestHeaders)); safe != "" {
			h.Set("Access-Control-Allow-Headers", safe)
		}
		h.Set("Access-Control-Max-Age", "600") // seconds
		h.Add("Vary", requestHeaders)
	}
	w.WriteHeader(http.StatusNoContent)
}

// Preflight serves OPTIONS /oauth/token, /oauth/par and /oauth/revoke. A preflight does not name the client, so the
// origin of any client is accepted; the real request then needs an origin of its own client.
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

// allowOrigin lets the calling page read the answer if its origin belongs to the client that the request names.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request, form url.Values) {
	if r.Header.Get("Origin") == "" || r.Method != http.MethodPost {
		return
	}
	c, err := readCredentials(r, form)
	if err != nil {
		c.id = form.Get("client_id")
	}
	if c.id == "" {
		return // setCORS would accept any client's origin
	}
	if err := s.setCORS(w, r, c.id); err != nil {
		LogFieldsOf(r.Context()).Cause = err // the request is answered nevertheless, and meets the same error
	}
}
