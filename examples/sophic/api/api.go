// Package api is Sophic's API: documents of workspaces, and an MCP server that searches them. It does not handle keys
// and tokens: the headers that Doorward sets identify the caller, the workspace and the role. The API can only be
// reached through Doorward.
package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// document belongs to a workspace, and records who added it and with which token.
type document struct {
	ID    string `json:"id"`
	Text  string `json:"text"`
	By    string `json:"by"`
	Token string `json:"token"`
}

type service struct {
	mu        sync.Mutex
	documents map[string][]document // by workspace
}

// New returns the API without any documents.
func New() http.Handler {
	s := &service{documents: map[string][]document{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /documents", s.find)
	mux.HandleFunc("GET /search", s.find)
	mux.HandleFunc("GET /grep", s.find)
	mux.HandleFunc("POST /api/ingest/cli", s.ingest)
	mux.HandleFunc("POST /mcp", s.mcp)
	return mux
}

func (s *service) find(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"workspace": r.Header.Get("X-Auth-Workspace"),
		"documents": s.search(r, r.URL.Query().Get("q")),
	})
}

func (s *service) search(r *http.Request, text string) []document {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []document{}
	for _, d := range s.documents[r.Header.Get("X-Auth-Workspace-Id")] {
		if strings.Contains(d.Text, text) {
			found = append(found, d)
		}
	}
	return found
}

func (s *service) ingest(w http.ResponseWriter, r *http.Request) {
	var in struct{ Text string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || in.Text == "" {
		refuse(w, http.StatusBadRequest, `Send {"text": "…"}.`)
		return
	}
	answer(w, http.StatusCreated, s.add(r, in.Text))
}

func (s *service) add(r *http.Request, text string) document {
	s.mu.Lock()
	defer s.mu.Unlock()
	workspace := r.Header.Get("X-Auth-Workspace-Id")
	d := document{
		ID:    "doc_" + strconv.Itoa(len(s.documents[workspace])+1),
		Text:  text,
		By:    r.Header.Get("X-Auth-Subject"),
		Token: r.Header.Get("X-Auth-Key"),
	}
	s.documents[workspace] = append(s.documents[workspace], d)
	return d
}

// mayCapture checks what the gateway cannot check, because the tool is named only in the body. The rule is the same as
// that of the route /api/ingest/cli.
func mayCapture(r *http.Request) bool {
	return r.Header.Get("X-Auth-Credential") == "personal_access_token" && r.Header.Get("X-Auth-Role") != "viewer" &&
		slices.ContainsFunc(strings.Fields(r.Header.Get("X-Auth-Scope")), func(scope string) bool {
			return scope == "capture" || scope == "admin"
		})
}

var tools = []map[string]any{
	tool("search", "Finds documents of the workspace that contain a text.", "query", true),
	tool("capture", "Adds a document to the workspace, in your name.", "text", false),
}

func tool(name, description, argument string, reads bool) map[string]any {
	return map[string]any{
		"name": name, "description": description, "annotations": map[string]any{"readOnlyHint": reads},
		"inputSchema": map[string]any{
			"type":       "object",
			"properties": map[string]any{argument: map[string]any{"type": "string"}},
			"required":   []string{argument},
		},
	}
}

// versions are those of the protocol that the server speaks, the latest first.
var versions = []string{"2025-11-25", "2025-06-18", "2025-03-26"}

// agreed returns the version to speak with a client that asks for one.
func agreed(version string) string {
	if slices.Contains(versions, version) {
		return version
	}
	return versions[0]
}

// mcp serves the Model Context Protocol over streamable HTTP, with one JSON response for each message. It has no streams
// and no sessions, so GET and DELETE get 405.
func (s *service) mcp(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ID     any
		Method string
		Params struct {
			ProtocolVersion string
			Name            string
			Arguments       struct{ Query, Text string }
		}
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "Send one JSON-RPC message.")
		return
	}
	if in.ID == nil {
		w.WriteHeader(http.StatusAccepted) // a notification
		return
	}
	reply := map[string]any{"jsonrpc": "2.0", "id": in.ID}
	switch {
	case in.Method == "initialize":
		reply["result"] = map[string]any{
			"protocolVersion": agreed(in.Params.ProtocolVersion), "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]any{"name": "sophic", "version": "1"},
		}
	case in.Method == "ping":
		reply["result"] = map[string]any{}
	case in.Method == "tools/list":
		reply["result"] = map[string]any{"tools": tools}
	case in.Method == "tools/call" && in.Params.Name == "search":
		reply["result"] = content(false, s.search(r, in.Params.Arguments.Query))
	case in.Method == "tools/call" && in.Params.Name == "capture" && !mayCapture(r):
		reply["result"] = content(true, "Capturing takes a personal access token with the permission capture.")
	case in.Method == "tools/call" && in.Params.Name == "capture":
		reply["result"] = content(false, s.add(r, in.Params.Arguments.Text))
	default:
		reply["error"] = map[string]any{"code": -32601, "message": "No such method or tool."}
	}
	answer(w, http.StatusOK, reply)
}

// content returns the result of a tool as text content.
func content(isError bool, of any) map[string]any {
	text, _ := json.Marshal(of) // structs of strings can always be encoded
	return map[string]any{"isError": isError, "content": []map[string]any{{"type": "text", "text": string(text)}}}
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
