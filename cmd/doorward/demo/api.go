package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// API is a resource server (RFC 6749, section 1.1) in a hundred lines. For each request it introspects the token
// (RFC 7662) and checks its scope.
type API struct {
	Introspect             string // URL
	ClientID, ClientSecret string // the API's own credentials
	Client                 *http.Client

	mu    sync.Mutex
	notes map[string][]string // by subject
}

// introspection holds the members of the response that the API needs.
type introspection struct {
	Active   bool   `json:"active"`
	Subject  string `json:"sub"`
	Scope    string `json:"scope"`
	ClientID string `json:"client_id"`
}

// ServeHTTP implements http.Handler.
func (d *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/notes" {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "not_found"})
		return
	}
	scope := map[string]string{http.MethodGet: "read", http.MethodPost: "write", http.MethodDelete: "delete"}[r.Method]
	if scope == "" {
		w.Header().Set("Allow", "GET, POST, DELETE")
		writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": "method_not_allowed"})
		return
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token, ok := strings.TrimLeft(token, " "), strings.EqualFold(scheme, "Bearer")
	if !ok {
		// RFC 6750, section 3: without a credential, there is no error code.
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "unauthorized"})
		return
	}
	caller, err := d.introspect(r, token)
	if err != nil {
		w.Header().Set("Retry-After", "1")
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": "unavailable"})
		return
	}
	if !caller.Active {
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes", error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	if !slices.Contains(strings.Fields(caller.Scope), scope) {
		w.Header().Set(
			"WWW-Authenticate",
			fmt.Sprintf(`Bearer realm="notes", error="insufficient_scope", scope=%q`, scope),
		)
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "insufficient_scope", "needed": scope})
		return
	}
	notes := d.act(r.Method, caller.Subject)
	writeJSON(w, http.StatusOK, map[string]any{"notes": notes, "you": caller.Subject, "app": caller.ClientID})
}

// introspect asks the server about a token.
func (d *API) introspect(r *http.Request, token string) (introspection, error) {
	var answer introspection
	form := url.Values{"token": {token}}
	q, err := http.NewRequestWithContext(r.Context(), http.MethodPost, d.Introspect, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, fmt.Errorf("introspect: %w", err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.SetBasicAuth(d.ClientID, d.ClientSecret)
	resp, err := d.Client.Do(q)
	if err != nil {
		return answer, fmt.Errorf("introspect: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read below
	if resp.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("introspect: status %d", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("introspect: %w", err)
	}
	return answer, nil
}

// act reads or changes the notes of a subject, and returns them.
func (d *API) act(method, subject string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.notes == nil {
		d.notes = map[string][]string{}
	}
	switch method {
	case http.MethodPost:
		if len(d.notes[subject]) < 20 {
			d.notes[subject] = append(d.notes[subject], "Seen at "+time.Now().Format("15:04:05"))
		}
	case http.MethodDelete:
		d.notes[subject] = nil
	}
	return append([]string{}, d.notes[subject]...)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}
