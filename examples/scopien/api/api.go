// Package api is Scopien's API, a small CRM. It does not handle keys: the headers that Doorward sets identify the
// caller and say whether the key is a test key. The API can only be reached through Doorward.
package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// entry is an opportunity, an account, a contact or a report.
type entry struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// shelf identifies the entries of one kind in one workspace, live or test.
type shelf struct{ workspace, environment, object string }

type service struct {
	mu      sync.Mutex
	entries map[shelf][]entry
	made    int
}

// New returns the API. It is empty except for one test account in each workspace's sandbox.
func New() http.Handler {
	s := &service{entries: map[shelf][]entry{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/{object}", s.list)
	mux.HandleFunc("POST /v1/{object}", s.add)
	mux.HandleFunc("PUT /v1/{object}/{id}", s.rename)
	mux.HandleFunc("PATCH /v1/{object}/{id}", s.rename)
	mux.HandleFunc("DELETE /v1/{object}/{id}", s.remove)
	return mux
}

// shelf returns the shelf that a request is about. A test key sees and changes only test data.
func (s *service) shelf(r *http.Request) shelf {
	at := shelf{r.Header.Get("X-Auth-Workspace-Id"), r.Header.Get("X-Auth-Env"), r.PathValue("object")}
	if _, ok := s.entries[at]; !ok && at.environment == "test" && at.object == "accounts" {
		s.entries[at] = []entry{{"acc_test", "Example Inc."}}
	}
	return at
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"data": append([]entry{}, s.entries[s.shelf(r)]...)})
}

func (s *service) add(w http.ResponseWriter, r *http.Request) {
	name, ok := name(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	at, e := s.shelf(r), entry{r.PathValue("object")[:3] + "_" + strconv.Itoa(s.made), name}
	s.entries[at] = append(s.entries[at], e)
	answer(w, http.StatusCreated, e)
}

func (s *service) rename(w http.ResponseWriter, r *http.Request) {
	name, ok := name(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := s.entries[s.shelf(r)]
	i := slices.IndexFunc(entries, func(e entry) bool { return e.ID == r.PathValue("id") })
	if i < 0 {
		refuse(w, http.StatusNotFound, "not_found", "Not found", "No such entry.")
		return
	}
	entries[i].Name = name
	answer(w, http.StatusOK, entries[i])
}

func (s *service) remove(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.shelf(r)
	i := slices.IndexFunc(s.entries[at], func(e entry) bool { return e.ID == r.PathValue("id") })
	if i < 0 {
		refuse(w, http.StatusNotFound, "not_found", "Not found", "No such entry.")
		return
	}
	s.entries[at] = slices.Delete(s.entries[at], i, i+1)
	w.WriteHeader(http.StatusNoContent)
}

// name reads the name of an entry from the request's body.
func name(w http.ResponseWriter, r *http.Request) (string, bool) {
	var in struct{ Name string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Name == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "The request is not valid", `Send {"name": "…"}.`)
		return "", false
	}
	return in.Name, true
}

func refuse(w http.ResponseWriter, status int, code, message, details string) {
	type failure struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Details string `json:"details"`
	}
	answer(w, status, map[string]failure{"error": {code, message, details}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have disconnected
}
