// Package api is a plain AI API. It does not handle keys: the headers that Doorward sets identify the caller, and the
// API can only be reached through Doorward.
package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// item is a prompt or a webhook.
type item struct {
	ID    string `json:"id"`
	Value string `json:"value"`
}

// shelf identifies the items of one kind in one workspace.
type shelf struct{ workspace, kind string }

type service struct {
	mu    sync.Mutex
	items map[shelf][]item
	made  int
}

// New returns the API without any items.
func New() http.Handler {
	s := &service{items: map[shelf][]item{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/generate", generate)
	mux.HandleFunc("GET /v1/{kind}", s.list)
	mux.HandleFunc("POST /v1/{kind}", s.add)
	mux.HandleFunc("PUT /v1/{kind}/{id}", s.change)
	mux.HandleFunc("DELETE /v1/{kind}/{id}", s.remove)
	return mux
}

func generate(w http.ResponseWriter, r *http.Request) {
	var in struct{ Prompt string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Prompt == "" {
		refuse(w, http.StatusBadRequest, "INVALID_REQUEST", `Send {"prompt": "…"}.`)
		return
	}
	answer(w, http.StatusOK, map[string]any{"success": true, "text": strings.ToUpper(in.Prompt) + "!"})
}

func at(r *http.Request) shelf {
	return shelf{r.Header.Get("X-Auth-Workspace-Id"), r.PathValue("kind")}
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"success": true, "data": append([]item{}, s.items[at(r)]...)})
}

func (s *service) add(w http.ResponseWriter, r *http.Request) {
	value, ok := value(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	one := item{r.PathValue("kind") + "_" + strconv.Itoa(s.made), value}
	s.items[at(r)] = append(s.items[at(r)], one)
	answer(w, http.StatusCreated, map[string]any{"success": true, "data": one})
}

func (s *service) change(w http.ResponseWriter, r *http.Request) {
	value, ok := value(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(r); i < 0 {
		refuse(w, http.StatusNotFound, "NOT_FOUND", "No such item.")
	} else {
		s.items[at(r)][i].Value = value
		answer(w, http.StatusOK, map[string]any{"success": true, "data": s.items[at(r)][i]})
	}
}

func (s *service) remove(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(r); i < 0 {
		refuse(w, http.StatusNotFound, "NOT_FOUND", "No such item.")
	} else {
		s.items[at(r)] = slices.Delete(s.items[at(r)], i, i+1)
		answer(w, http.StatusOK, map[string]any{"success": true})
	}
}

func (s *service) find(r *http.Request) int {
	return slices.IndexFunc(s.items[at(r)], func(one item) bool { return one.ID == r.PathValue("id") })
}

// value reads the value of an item from the request's body.
func value(w http.ResponseWriter, r *http.Request) (string, bool) {
	var in struct{ Value string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Value == "" {
		refuse(w, http.StatusBadRequest, "INVALID_REQUEST", `Send {"value": "…"}.`)
		return "", false
	}
	return in.Value, true
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{
		"success": false,
		"error":   map[string]any{"code": code, "message": message, "details": struct{}{}},
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have disconnected
}
