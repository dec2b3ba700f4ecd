package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"

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
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		ExposedHeaders: []string{"WWW-Authenticate", "Retry-After", "X-Request-Id"},
		MaxAge:         600, // seconds
	})
}

// setCORS finds out whether the request's origin is one of the client's, or of any client's when clientID is empty, and
// sets the headers by which a browser goes on, or hands the answer to the page that asked. It answers a preflight.
func (s *Server) setCORS(w http.ResponseWriter, r *http.Request, clientID string) error {
	allowed, err := s.store.OriginAllowed(storage.System(r.Context()), r.Header.Get("Origin"), clientID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // which text that no row can hold gives
		return err //nolint:wrapcheck // storage's own sentinels
	}
	s.cors.HandlerFunc(w, r.WithContext(context.WithValue(r.Context(), originKey{}, allowed)))
	return nil
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
		Note(r.Context()).Cause = err // the request itself will find the same, and is answered all the same
	}
}
