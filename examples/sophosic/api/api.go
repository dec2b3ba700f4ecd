// Package api is Sophosic's API. It does not handle keys and tokens: the headers that Doorward sets identify the
// caller, and the API can only be reached through Doorward.
package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
)

// record is an object that a customer stores.
type record struct {
	ID    string `json:"id"`
	Text  string `json:"text"`
	owner string
}

type service struct {
	mu      sync.Mutex
	records []*record
}

// New returns the API without any records.
func New() http.Handler {
	s := &service{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "up"})
	})
	mux.HandleFunc("GET /api/profile", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, map[string]any{"account": owner(r), "tier": r.Header.Get("X-Auth-Plan")})
	})
	mux.HandleFunc("GET /api/data", s.list)
	mux.HandleFunc("POST /api/data", s.add)
	mux.HandleFunc("GET /api/data/{id}", s.show)
	mux.HandleFunc("GET /api/exports", s.export)
	return mux
}

// owner returns whose records a caller sees: those of its workspace, or those of the user who is signed in to the app.
func owner(r *http.Request) string {
	return cmp.Or(r.Header.Get("X-Auth-Workspace-Id"), r.Header.Get("X-Auth-Subject"))
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := []*record{}
	for _, one := range s.records {
		if one.owner == owner(r) {
			mine = append(mine, one)
		}
	}
	answer(w, http.StatusOK, map[string]any{"data": mine})
}

func (s *service) add(w http.ResponseWriter, r *http.Request) {
	var in struct{ Text string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Text == "" {
		refuse(w, http.StatusBadRequest, `Send {"text": "…"}.`)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &record{ID: "rec_" + strconv.Itoa(len(s.records)+1), Text: in.Text, owner: owner(r)}
	s.records = append(s.records, one)
	answer(w, http.StatusCreated, one)
}

// show refuses records of other customers.
func (s *service) show(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.records {
		switch {
		case one.ID != r.PathValue("id"):
		case one.owner != owner(r):
			refuse(w, http.StatusForbidden, "Insufficient permissions")
			return
		default:
			answer(w, http.StatusOK, one)
			return
		}
	}
	refuse(w, http.StatusNotFound, "No such record.")
}

// export is not part of the free tier.
func (s *service) export(w http.ResponseWriter, r *http.Request) {
	if plan := r.Header.Get("X-Auth-Plan"); plan != "pro" && plan != "enterprise" {
		refuse(w, http.StatusForbidden, "Insufficient permissions")
		return
	}
	s.list(w, r)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, struct {
		Error      string `json:"error"`
		Message    string `json:"message"`
		StatusCode int    `json:"statusCode"`
	}{http.StatusText(status), message, status})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have disconnected
}
