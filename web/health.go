package web

import (
	"encoding/json"
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/oauth/seal"
	"doorward/storage"
)

// healthz serves GET /healthz, which reports that the process runs.
func healthz(w http.ResponseWriter, _ *http.Request) { writeHealth(w, http.StatusOK, "ok", "") }

// readyz serves GET /readyz, which reports whether the server can serve requests, and why not: it is draining, cannot
// reach its database, or has an old schema or a master secret other than the database's.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx := storage.System(r.Context())
	if s.draining.Load() {
		writeHealth(w, http.StatusServiceUnavailable, "draining", "the server is shutting down")
		return
	}
	err := s.store.Ping(ctx)
	if err == nil {
		err = s.secrets.CheckBinding(ctx, s.store)
	}
	switch {
	case errors.Is(err, seal.ErrOtherSecret):
		writeHealth(w, http.StatusServiceUnavailable, "unavailable", seal.ErrOtherSecret.Error())
	case errors.Is(err, storage.ErrOldSchema):
		writeHealth(w, http.StatusServiceUnavailable, "unavailable", err.Error())
	case err != nil:
		oauth.LogFieldsOf(r.Context()).Cause = err
		writeHealth(w, http.StatusServiceUnavailable, "unavailable", "the database is not responding")
	default:
		writeHealth(w, http.StatusOK, "ok", "")
	}
}

func writeHealth(w http.ResponseWriter, status int, state, reason string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if status != http.StatusOK {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	body := map[string]string{"status": state}
	if reason != "" {
		body["reason"] = reason
	}
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}
