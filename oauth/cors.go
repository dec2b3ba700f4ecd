package oauth

import (
	"context"
	"net/http"
	"net/url"

	"github.com/rs/cors"

	"doorward/storage"
)

type corsClientKey struct{}

// newCORS lets browsers call from the origins of registered redirect URIs, without cookies. Before the real request
// only the origin is known, and any client's will do; then it must be the client's own.
func (s *Server) newCORS() *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			id, _ := r.Context().Value(corsClientKey{}).(string)
			ok, err := s.store.OriginAllowed(storage.System(r.Context()), origin, id)
			return err == nil && ok, nil
		},
		AllowedMethods: []string{http.MethodPost},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		ExposedHeaders: []string{"WWW-Authenticate", "Retry-After", "X-Request-Id"},
		MaxAge:         600, // seconds
	})
}

// Preflight serves OPTIONS /oauth/token and /oauth/revoke.
func (s *Server) Preflight(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Access-Control-Request-Method") == "" {
		w.Header().Set("Allow", "POST, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.cors.HandlerFunc(w, r)
}

// allowOrigin sets the headers by which a browser hands the answer to the page that asked, where the page is of the
// client that the request names.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request, form url.Values) {
	if r.Header.Get("Origin") == "" || r.Method != http.MethodPost {
		return
	}
	c, err := readCredentials(r, form)
	if err != nil {
		c.id = form.Get("client_id")
	}
	s.cors.HandlerFunc(w, r.WithContext(context.WithValue(r.Context(), corsClientKey{}, c.id)))
}
