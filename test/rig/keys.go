package rig

import (
	"net/http"
	"net/url"
	"strings"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// Workspace makes a shared workspace with its owner, or finds the one that another node made.
func (r *Rig) Workspace(slug, plan string, owner storage.User) storage.Workspace {
	r.T.Helper()
	if w, err := r.Store.WorkspaceBySlug(r.System(), slug); err == nil {
		return w
	}
	w, err := r.Management.CreateWorkspace(r.System(), management.CLI(""), slug, slug, plan, owner.ID)
	r.ok(err)
	return w
}

// Join makes a user a member of a workspace.
func (r *Rig) Join(w storage.Workspace, u storage.User, role string) {
	r.T.Helper()
	r.ok(r.Management.AddMember(r.System(), management.CLI(w.ID), w, u.ID, role))
}

// Key makes an API key in a workspace, as the command does. Without a name and scopes it is one that reads.
func (r *Rig) Key(w storage.Workspace, p apikey.Spec) (storage.APIKey, string) {
	r.T.Helper()
	k, text, err := r.Management.CreateKey(r.System(), management.CLI(w.ID), w.Plan, standing(p))
	r.ok(err)
	r.Seen.Add(SecretKey, text)
	return k, text
}

// PersonalToken makes a personal access token, as the command does. Without a name and scopes it is one that reads.
func (r *Rig) PersonalToken(u storage.User, p apikey.Spec) (storage.APIKey, string) {
	r.T.Helper()
	by := management.CLI("")
	by.UserID = u.ID
	k, text, err := r.Management.CreatePersonalToken(r.System(), by, standing(p))
	r.ok(err)
	r.Seen.Add(SecretPersonalToken, text)
	return k, text
}

// IntrospectionKey makes an API key with which a resource server introspects.
func (r *Rig) IntrospectionKey() (storage.APIKey, string) {
	r.T.Helper()
	k, text, err := r.Management.CreateKey(r.System(), management.CLI(""), "", apikey.Spec{Name: "Example API", Scopes: []string{catalog.ScopeIntrospect}})
	r.ok(err)
	r.Seen.Add(SecretKey, text)
	return k, text
}

func standing(p apikey.Spec) apikey.Spec {
	if p.Name == "" {
		p.Name = "Standing Key"
	}
	if p.Scopes == nil {
		p.Scopes = []string{"read"}
	}
	return p
}

// Call asks a path with a bearer token; headers come in pairs.
func (r *Rig) Call(method, path, token string, header ...string) *Answer {
	r.T.Helper()
	return r.Send(r.Program(), r.Request(method, path, nil, append([]string{"Authorization", "Bearer " + token}, header...)...))
}

// CallJSON is Call with a JSON body.
func (r *Rig) CallJSON(method, path, token, body string, header ...string) *Answer {
	r.T.Helper()
	return r.Send(r.Program(), r.Request(method, path, strings.NewReader(body), append([]string{"Authorization", "Bearer " + token, "Content-Type", "application/json"}, header...)...))
}

// Ask introspects with further parameters in pairs, such as cost and workspace.
func (r *Rig) Ask(app *App, token string, parameters ...string) *Answer {
	r.T.Helper()
	form := url.Values{"token": {token}}
	for i := 0; i+1 < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	return r.PostAs(app, "/oauth/introspect", form)
}

// Dead reports whether introspection says exactly that a credential is not active.
func (r *Rig) Dead(a *Answer) bool {
	return a.Status == http.StatusOK && a.Body == "{\"active\":false}\n"
}
