package security

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// Clients without prior registration: those that register themselves (RFC 7591), and those with a metadata document.

// The APIs of openAPIs.
const (
	closedAPI = "https://closed.example"
	openAPI   = "https://api.example"
	otherAPI  = "https://other.example"
)

// openAPIs are three APIs with scopes of the same names. Two of them, not the first, are open to clients that register
// themselves: openAPI for read and write, otherAPI for read and delete.
func openAPIs() []catalog.Resource {
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read your data"},
		{Name: "write", Text: "Change your data"},
		{Name: "delete", Text: "Delete your data"},
		{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}},
	}
	list := []catalog.Resource{
		{ID: closedAPI, Name: "Closed"},
		{ID: openAPI, Name: "Notes", OpenScopes: []string{"read", "write"}},
		{ID: otherAPI, Name: "Other", OpenScopes: []string{"read", "delete"}},
	}
	for i := range list {
		list[i].Scopes, list[i].WorkspaceHeader = scopes, "X-Workspace"
		list[i].Keys = catalog.KeyRules{Prefix: []string{"ca", "sk", "oa"}[i], Environments: []string{"live"}}
	}
	return list
}

// openServer has openAPIs, and lets each client register itself.
func openServer() rig.Options {
	return rig.Options{Resources: openAPIs(), Registration: management.RegistrationOpen}
}

// documentHost publishes metadata documents of clients.
type documentHost struct{ *keyHost }

func newDocumentHost(t *testing.T) *documentHost {
	t.Helper()
	return &documentHost{newKeyHost(t)}
}

// options are those of openServer, with documents of the host and of any other.
func (h *documentHost) options() rig.Options {
	o := openServer()
	o.Fetch, o.Documents.Any = h.keyHost.options().Fetch, true
	return o
}

// document is the text of a right document at a path, with members in place of its own.
func (h *documentHost) document(path string, members ...rig.Members) string {
	text, err := json.Marshal(rig.Members{
		"client_id": h.URL + path, "client_name": "Described", "redirect_uris": []string{"https://app.example/cb"},
		"grant_types": []string{"authorization_code", "refresh_token"},
	}.With(members...))
	if err != nil {
		panic(err)
	}
	return string(text)
}

// describe publishes a right document at a path, with members in place of its own, and gives its client. header comes in
// pairs.
func (h *documentHost) describe(path string, members rig.Members, header ...string) *rig.App {
	h.serve(path, asDocument(h.document(path, members), header...))
	app := &rig.App{Client: storage.Client{ID: h.URL + path, Public: true}, Redirect: "https://app.example/cb"}
	if uris, ok := members["redirect_uris"].([]string); ok {
		app.Redirect = uris[0]
	}
	return app
}

// asDocument answers with a text as JSON; header comes in pairs.
func asDocument(text string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		_, _ = w.Write([]byte(text))
	}
}

// signedDocument publishes the document of a client with keys.
func (h *documentHost) signedDocument(path string, keys ...*rig.Key) *rig.App {
	app := h.describe(path, withKeys(keys...))
	app.Public = false
	return app
}

// withKeys are the members of a client that authenticates with keys.
func withKeys(keys ...*rig.Key) rig.Members {
	return rig.Members{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(rig.JWKS(keys...))}
}

// rowsOf says how many rows a table has that satisfy a condition.
func rowsOf(t *testing.T, r *rig.Rig, table, where string, args ...any) (n int) {
	t.Helper()
	ok(t, r.Store.Pools()["system"].QueryRowContext(t.Context(), "SELECT count(*) FROM "+table+" WHERE "+where,
		args...).Scan(&n))
	return n
}

// describedRows says how many clients with a metadata document are stored.
func describedRows(t *testing.T, r *rig.Rig) int {
	t.Helper()
	return rowsOf(t, r, "clients", "registration = 'document'")
}

// registration is a right registration of a public client, with members in place of its own.
func registration(members ...rig.Members) string {
	text, err := json.Marshal(rig.Members{
		"client_name": "Registered", "redirect_uris": []string{"https://app.example/cb"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none",
	}.With(members...))
	if err != nil {
		panic(err)
	}
	return string(text)
}

// enrolled is a client that has registered itself.
type enrolled struct {
	*rig.App
	token string // with which it changes its registration
	a     *rig.Answer
}

// path is that of its registration.
func (e *enrolled) path() string { return "/oauth/register/" + e.ID }

// enrol registers a client, with members in place of those of a right registration.
func enrol(r *rig.Rig, members ...rig.Members) *enrolled {
	r.T.Helper()
	return enrolledBy(r, r.JSON(http.MethodPost, "/oauth/register", "", registration(members...)))
}

// enrolledBy reads the answer to a registration.
func enrolledBy(r *rig.Rig, a *rig.Answer) *enrolled {
	r.T.Helper()
	e := &enrolled{
		&rig.App{Client: storage.Client{ID: a.Text("client_id")}, Secret: a.Text("client_secret")},
		a.Text("registration_access_token"), a,
	}
	if a.Status != http.StatusCreated || e.ID == "" || e.token == "" {
		r.T.Fatalf("registration answered %d %s", a.Status, a.Body)
	}
	r.Seen.Add("registration access token", e.token)
	e.Public = a.Text("token_endpoint_auth_method") == "none"
	if uris, ok := a.JSON()["redirect_uris"].([]any); ok && len(uris) > 0 {
		e.Redirect, _ = uris[0].(string)
	}
	return e
}

// initialToken creates a registration token.
func initialToken(r *rig.Rig, uses int64) string {
	r.T.Helper()
	by := management.CLI("")
	token, _, err := r.Management.CreateRegistrationToken(r.System(), by, uses, 7*24*time.Hour)
	ok(r.T, err)
	r.Seen.Add("registration token", token)
	return token
}

// list is the value of a member of an answer that is a list of strings.
func list(a *rig.Answer, name string) (texts []string) {
	values, _ := a.JSON()[name].([]any)
	for _, v := range values {
		text, _ := v.(string)
		texts = append(texts, text)
	}
	return texts
}

// wantScopes checks a scope member, whose order does not matter.
func wantScopes(t *testing.T, what string, a *rig.Answer, want string) {
	t.Helper()
	got, wanted := strings.Fields(a.Text("scope")), strings.Fields(want)
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Errorf("%s: the scope is %q, want %q (%d %s)", what, a.Text("scope"), want, a.Status, a.Body)
	}
}

// introspecting registers a resource server of an API.
func introspecting(r *rig.Rig, api string) *rig.App {
	r.T.Helper()
	return r.App(management.ClientSpec{Name: "Server of " + api, ResourceServer: true, Resources: []string{api}})
}

// publicOf is a client as one that does not authenticate.
func publicOf(app *rig.App) storage.Client {
	c := app.Client
	c.Public = true
	return c
}

// standingOf is the spec of a key or token for an API that reads.
func standingOf(api string) apikey.Spec { return apikey.Spec{Resource: api, Scopes: []string{"read"}} }

// standingOfAdmin is the spec of a token for an API that administers it.
func standingOfAdmin(api string) apikey.Spec {
	return apikey.Spec{Resource: api, Scopes: []string{"admin"}}
}
