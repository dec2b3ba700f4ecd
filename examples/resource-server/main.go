// Command resource-server is an API that uses the middleware of package oauth/resource to learn from Doorward who is
// calling. Its README explains how to run it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"doorward/oauth/resource"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	auth, err := resource.New(resource.Config{
		Issuer:          os.Getenv("ISSUER"),
		Resource:        os.Getenv("RESOURCE"),
		ClientID:        os.Getenv("CLIENT_ID"),
		ClientSecret:    os.Getenv("CLIENT_SECRET"),
		BaseURL:         os.Getenv("BASE_URL"), // for DPoP proofs; empty: scheme and host of RESOURCE
		WorkspaceHeader: "X-Workspace",
		Cost:            func(*http.Request) int { return 1 },
		Name:            "Notes API",
		Scopes:          []string{"read", "write"},
	})
	if err != nil {
		return err
	}
	server := http.Server{Addr: os.Getenv("LISTEN"), Handler: routes(auth), ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintln(os.Stderr, "the API is at http://"+server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func routes(auth *resource.Verifier) http.Handler {
	n := &notes{of: map[string][]string{}}
	mux := http.NewServeMux()
	mux.Handle("GET /notes", auth.Require("read")(http.HandlerFunc(n.list)))
	mux.Handle("POST /notes", auth.Require("write")(http.HandlerFunc(n.add)))
	mux.Handle("GET "+auth.MetadataPath(), auth.Metadata())
	return mux
}

// notes holds the notes of each workspace in memory.
type notes struct {
	mu sync.Mutex
	of map[string][]string
}

func (n *notes) list(w http.ResponseWriter, r *http.Request) {
	caller, _ := resource.FromContext(r.Context()) // Require has put it there
	n.mu.Lock()
	defer n.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{
		"workspace": caller.Workspace,
		"notes":     append([]string{}, n.of[caller.WorkspaceID]...),
	})
}

func (n *notes) add(w http.ResponseWriter, r *http.Request) {
	var note struct {
		Text string `json:"text"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&note); err != nil || note.Text == "" {
		answer(w, http.StatusBadRequest, map[string]string{"message": `Send {"text":"…"}, of at most 1 KiB.`})
		return
	}
	caller, _ := resource.FromContext(r.Context())
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.of[caller.WorkspaceID]) >= 100 {
		answer(w, http.StatusConflict, map[string]string{
			"message": "This workspace has 100 notes; that is all there is room for.",
		})
		return
	}
	n.of[caller.WorkspaceID] = append(n.of[caller.WorkspaceID], note.Text)
	answer(w, http.StatusCreated, map[string]string{"text": note.Text})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have disconnected
}
