// Package api is Torvus's API. It does not handle tokens: the headers that Doorward sets identify the caller, and the
// API can only be reached through Doorward.
package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
)

// vault belongs to a user.
type vault struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type service struct {
	mu     sync.Mutex
	vaults map[string][]vault // by owner
}

// New returns the API without any vaults.
func New() http.Handler {
	s := &service{vaults: map[string][]vault{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/vaults", s.list)
	mux.HandleFunc("POST /api/vaults", s.add)
	mux.HandleFunc("GET /api/admin/vaults", s.count)
	return mux
}

// owner returns the user, or the workspace if the caller is a service account.
func owner(r *http.Request) string {
	return cmp.Or(r.Header.Get("X-Auth-Subject"), r.Header.Get("X-Auth-Workspace-Id"))
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"vaults": append([]vault{}, s.vaults[owner(r)]...)})
}

func (s *service) add(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Name == "" {
		answer(w, http.StatusBadRequest, map[string]any{
			"error":      "Bad Request",
			"message":    `Send {"name": "…"}.`,
			"statusCode": http.StatusBadRequest,
		})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := vault{ID: "vault_" + strconv.Itoa(len(s.vaults[owner(r)])+1), Name: in.Name}
	s.vaults[owner(r)] = append(s.vaults[owner(r)], v)
	answer(w, http.StatusCreated, v)
}

func (s *service) count(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"owners": len(s.vaults)})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have disconnected
}
