package web

import (
	"encoding/json"
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/oauth/seal"
	"doorward/storage"
)

// healthz serves GET /healthz: the process answers.
func healthz(w http.ResponseWriter, _ *http.Request) { writeHealth(w, http.StatusOK, "ok", "") }

// readyz serves GET /readyz: it can do its work. Draining, without its database, with an old schema or with a secret
// that is not the one of the other nodes it cannot, and says why.
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
		writeHealth(w, http.StatusServiceUnavailable, "unavailable", "the database does not answer")
	default:
		writeHealth(w, http.StatusOK, "ok", "")
	}
}

func writeHealth(w http.ResponseWriter, status int, word, why string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if status != http.StatusOK {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	body := map[string]string{"status": word}
	if why != "" {
		body["reason"] = why
	}
	_ = json.NewEncoder(w).Encode(body) // a prober that went away is no fault of ours
}
