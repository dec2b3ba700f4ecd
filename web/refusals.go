package web

import (
	"encoding/json"
	"errors"
	"net/http"

	"doorward/oauth"
	"doorward/web/api"
	"doorward/web/gateway"
)

// writeFailure responds to a request whose handler panicked, in the form that its client expects.
func (s *Server) writeFailure(w http.ResponseWriter, r *http.Request) {
	if api.Owns(r.URL.Path) {
		s.api.Refuse(w, r, &gateway.Refusal{
			Kind: gateway.Failed, Detail: "Internal server error. Send the request ID to the operator.",
		})
		return
	}
	if !isMachine(r) {
		s.pages.WriteError(w, r, errors.New("panic"))
		return
	}
	writeMachineError(
		w, http.StatusInternalServerError, oauth.ServerError, "Internal server error. Send the request ID to the operator.",
	)
}

// writeRefusal refuses a request that must not reach a route: for the management API in its error shape, for other
// programs as in RFC 6749, section 5.2, and for browsers as plain text.
func (s *Server) writeRefusal(w http.ResponseWriter, r *http.Request, status int, description string) {
	if api.Owns(r.URL.Path) {
		kind := gateway.BadRequest
		switch status {
		case http.StatusNotFound:
			kind = gateway.NotFound
		case http.StatusMethodNotAllowed:
			kind = gateway.MethodNotAllowed
		}
		s.api.Refuse(w, r, &gateway.Refusal{Kind: kind, Status: status, Detail: description})
		return
	}
	if !isMachine(r) {
		http.Error(w, description, status)
		return
	}
	writeMachineError(w, status, oauth.InvalidRequest, description)
}

func writeMachineError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{ // an error means that the client has gone
		"error": code, "error_description": description, "request_id": w.Header().Get("X-Request-Id"),
	})
}
