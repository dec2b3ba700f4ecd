package security

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/dpop"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/setup"
)

// patterns returns all patterns that package web registers, read from its source so that no route is forgotten.
func patterns(t *testing.T) []string {
	t.Helper()
	root, err := setup.Root()
	ok(t, err)
	files, err := filepath.Glob(filepath.Join(root, "web", "*.go"))
	ok(t, err)
	var parsed []*ast.File
	constants := map[string][]string{}
	// They contain the last parts of the tabs' paths.
	views, err := filepath.Glob(filepath.Join(root, "templates", "*views.go"))
	ok(t, err)
	gateway, err := filepath.Glob(filepath.Join(root, "web", "gateway", "*.go")) // and the paths for proxies
	ok(t, err)
	logos, err := filepath.Glob(filepath.Join(root, "web", "logo", "*.go"))
	ok(t, err)
	for _, name := range slices.Concat(files, views, gateway, logos) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		ok(t, err)
		parsed = append(parsed, file)
	}
	for range 2 { // a constant may depend on a later one
		for _, file := range parsed {
			ast.Inspect(file, func(n ast.Node) bool {
				if n, isSpec := n.(*ast.ValueSpec); isSpec {
					for i, name := range n.Names {
						if i < len(n.Values) {
							if list, fault := texts(n.Values[i], constants); fault == "" {
								for _, from := range []string{"", "templates.", "gateway.", "logo."} {
									constants[from+name.Name] = list
								}
							}
						}
					}
				}
				return true
			})
		}
	}
	var all []string
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			call, isCall := n.(*ast.CallExpr)
			if !isCall {
				return true
			}
			function := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				function = f.Name
			case *ast.SelectorExpr:
				if of, ok := f.X.(*ast.Ident); ok && (of.Name == "mux" || f.Sel.Name == "register") {
					function = f.Sel.Name
				}
			}
			if slices.Contains([]string{"Handle", "HandleFunc", "machine", "anyone", "user", "administrator"}, function) &&
				len(call.Args) >= 2 {
				if name, isName := call.Args[0].(*ast.Ident); isName && name.Name == "pattern" {
					return true // inside one of the helpers
				}
				list, fault := texts(call.Args[0], constants)
				if fault != "" {
					t.Fatalf("a route of package web cannot be read: %s", fault)
				}
				all = append(all, list...)
			}
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// texts evaluates literals, constants and their concatenations; a name may stand for several values.
func texts(e ast.Expr, constants map[string][]string) (list []string, fault string) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return nil, e.Value
		}
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			return nil, err.Error()
		}
		return []string{text}, ""
	case *ast.Ident:
		if len(constants[e.Name]) == 0 {
			return nil, e.Name
		}
		return constants[e.Name], ""
	case *ast.SelectorExpr:
		of, isName := e.X.(*ast.Ident)
		if !isName || len(constants[of.Name+"."+e.Sel.Name]) == 0 {
			return nil, e.Sel.Name
		}
		return constants[of.Name+"."+e.Sel.Name], ""
	case *ast.BinaryExpr:
		left, fault := texts(e.X, constants)
		if fault != "" {
			return nil, fault
		}
		right, fault := texts(e.Y, constants)
		for _, l := range left {
			for _, r := range right {
				list = append(list, l+r)
			}
		}
		return list, fault
	}
	return nil, "an expression"
}

// While the database is unavailable, every route answers 503 with a Retry-After. No answer may say that a user or
// client is unknown, signed out, revoked or wrong (T-83, I-09, R-04).
func TestT83_EveryRouteSaysThatStorageIsAway(t *testing.T) {
	const (
		page    = "page"
		machine = "program"
		probe   = "probe"
		works   = "works"
		turned  = "refused without storage"
	)
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		public := r.App(management.ClientSpec{Name: "Public", Public: true})
		unread := r.App(management.ClientSpec{Name: "In no cache"})
		admin := r.User("root@example.com", "Root", true)
		b, stranger := r.Browser().SignIn(admin.Email), r.Browser()
		loginPage := stranger.Get("/login")
		appLogin := stranger.Authorize(app.Params("read"))
		consentPage := b.Authorize(app.Params("read"))
		consent := b.Form(consentPage, "/oauth/consent")
		code := b.Code(public, "read")
		access, refresh := granted(t, r.Exchange(public, b.Code(public, "read")))
		for _, x := range []*rig.App{app, api, public} {
			r.Introspect(x, access) // to fill the cache
		}
		slug := personalSlug(r, r.Alice.ID)
		proving := rig.NewKey(t, "")
		boundAccess, boundRefresh := boundTokens(t, r, public, proving)
		signed, key := r.SignedApp(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}})
		granted(t, r.PostSigned(signed, key, "/oauth/token", ownForm)) // to fill the cache
		uri := pushed(r, app, app.Params("read"))
		pushedConsent := b.Form(b.Authorize(app.Opened(uri)), "/oauth/consent")
		r.BreakStorage()

		get := func(path string) func() *rig.Answer { return func() *rig.Answer { return b.Get(path) } }
		post := func(path string, form url.Values) func() *rig.Answer {
			return func() *rig.Answer { return b.PostForm(path, form) }
		}
		ask := func(app *rig.App, path string, form url.Values) func() *rig.Answer {
			return func() *rig.Answer { return r.PostAs(app, path, form) }
		}
		preflight := func(path string) func() *rig.Answer {
			return func() *rig.Answer {
				return r.Send(r.Program(),
					r.Request(http.MethodOptions, path, nil, "Origin", "https://app.example", "Access-Control-Request-Method", "POST"))
			}
		}
		password := url.Values{"current_password": {rig.Password}, "new_password": {"another harbour at dusk"}}
		type request struct {
			want string
			send func() *rig.Answer
		}
		table := map[string][]request{
			"/oauth/token": {
				{machine, ask(public, "/oauth/token", codeForm(public, code))},
				{machine, ask(public, "/oauth/token", codeForm(public, bearer.NewCredential(bearer.PrefixCode)))},
				{machine, ask(public, "/oauth/token", refreshForm(refresh))},
				{machine, ask(app, "/oauth/token", codeForm(app, code))},
				{machine, ask(app, "/oauth/token", refreshForm(refresh))},
				{machine, ask(unread, "/oauth/token", refreshForm(refresh))},
				{machine, ask(&rig.App{Client: unread.Client, Secret: "wrong"}, "/oauth/token", refreshForm(refresh))},
				{machine, func() *rig.Answer { return proven(r, public, proving, codeForm(public, code)) }},
				{machine, func() *rig.Answer { return proven(r, public, proving, refreshForm(boundRefresh)) }},
				{machine, ask(public, "/oauth/token", refreshForm(boundRefresh))},
				{machine, func() *rig.Answer { return r.PostSigned(signed, key, "/oauth/token", ownForm) }},
			},
			"/oauth/par": {
				{machine, ask(app, "/oauth/par", app.Params("read"))},
				{machine, ask(unread, "/oauth/par", unread.Params("read"))},
				{machine, func() *rig.Answer {
					return r.PostAs(public, "/oauth/par", public.Params("read"), dpop.Header,
						aim{method: http.MethodPost, url: r.Issuer + "/oauth/par"}.proof(r, proving))
				}},
			},
			"/oauth/introspect": {
				{machine, ask(api, "/oauth/introspect", url.Values{"token": {access}})},
				{machine, ask(api, "/oauth/introspect", url.Values{"token": {bearer.NewCredential(bearer.PrefixAccessToken)}})},
				{machine, ask(unread, "/oauth/introspect", url.Values{"token": {"x"}})},
			},
			"/oauth/revoke": {
				{machine, ask(public, "/oauth/revoke", url.Values{"token": {access}})},
				{machine, ask(app, "/oauth/revoke", url.Values{"token": {refresh}})},
				{machine, ask(unread, "/oauth/revoke", url.Values{"token": {"x"}})},
			},
			// TestD01_D12_T83_WithoutStorage is about these.
			"POST /oauth/register": nil, "GET /oauth/register/{client_id}": nil, "PUT /oauth/register/{client_id}": nil,
			"DELETE /oauth/register/{client_id}": nil,

			"OPTIONS /oauth/token":  {{machine, preflight("/oauth/token")}},
			"OPTIONS /oauth/revoke": {{machine, preflight("/oauth/revoke")}},
			"OPTIONS /oauth/par":    {{machine, preflight("/oauth/par")}},
			"GET /oauth/authorize": {
				{page, get("/oauth/authorize?" + app.Params("read").Encode())},
				{page, get("/oauth/authorize?" + altered(app.Params("read"), url.Values{"prompt": {"none"}}).Encode())},
				{page, get("/oauth/authorize?" + unread.Params("read").Encode())},
				{page, get("/oauth/authorize?" + app.Opened(uri).Encode())},
			},
			"POST /oauth/authorize": {
				{page, post("/oauth/authorize", app.Params("read"))},
				{page, post("/oauth/authorize", unread.Params("read"))},
			},
			// The sign-in page needs no storage.
			"GET /login": {{page, get("/login")}, {works, func() *rig.Answer { return r.Browser().Get("/login") }}},
			"POST /login": {
				{page, func() *rig.Answer { return stranger.LogIn(loginPage, admin.Email) }},
				{page, func() *rig.Answer { return stranger.LogIn(appLogin, "unknown@example.com") }},
			},
			"GET /logout":        {{page, get("/logout")}},
			"POST /logout":       {{page, post("/logout", nil)}},
			"GET /oauth/consent": {{page, get("/oauth/consent?flow=" + url.QueryEscape(consent.Get("flow")))}},
			"POST /oauth/consent": {
				{page, post("/oauth/consent", with(consent, "decision", "approve"))},
				{page, post("/oauth/consent", with(consent, "decision", "deny"))},
				{page, post("/oauth/consent", with(pushedConsent, "decision", "approve"))},
			},
			"GET /setup": {
				{page, get("/setup")},
				{page, func() *rig.Answer { return r.Browser().Get("/setup?word=x") }},
			},
			"POST /setup": {
				{page, func() *rig.Answer { return r.Browser().PostForm("/setup", url.Values{"word": {"x"}}) }},
			},
			"GET /{$}":                       {{page, get("/")}},
			"GET /settings/{$}":              {{page, get("/settings/")}},
			"GET /settings/profile":          {{page, get("/settings/profile")}},
			"POST /settings/profile/address": {{page, post("/settings/profile/address", url.Values{"email": {"c@example.com"}})}},
			"POST /settings/profile/export":  {{page, post("/settings/profile/export", nil)}},
			"GET /settings/profile/delete":   {{page, get("/settings/profile/delete")}},
			"POST /settings/profile/delete":  {{page, post("/settings/profile/delete", url.Values{"confirmed": {"yes"}})}},
			"GET /address":                   {{page, get("/address?word=x")}},
			"POST /address":                  {{page, post("/address", url.Values{"word": {"x"}})}},
			"GET /undo":                      {{page, get("/undo?word=x")}},
			"POST /undo":                     {{page, post("/undo", url.Values{"word": {"x"}})}},
			"POST /settings/profile":         {{page, post("/settings/profile", url.Values{"name": {"New"}})}},
			"GET /settings/security":         {{page, get("/settings/security")}},
			"GET /admin/{$}":                 {{page, get("/admin/")}},
			"GET /admin/users":               {{page, get("/admin/users")}},
			"POST /admin/users":              {{page, post("/admin/users", with(password, "email", "a@example.com"))}},
			"GET /healthz":                   {{works, get("/healthz")}},
			"/gateway/forward":               {{turned, get("/gateway/forward")}}, // not a trusted proxy; F-12 tests trusted ones
			"/gateway/nginx":                 {{turned, get("/gateway/nginx")}},
			"GET /oauth/jwks":                {{machine, get("/oauth/jwks")}},
			"GET /assets/brand/{name}":       nil, // it needs no storage
			"GET /readyz":                    {{probe, get("/readyz")}},
			"GET /assets/":                   {{works, get("/assets/doorward.css")}},
			"GET /favicon.ico":               {{works, get("/favicon.ico")}},
			"/":                              nil, // no page here, with or without storage
			"GET /.well-known/oauth-authorization-server":             {{works, get("/.well-known/oauth-authorization-server")}},
			"OPTIONS /.well-known/oauth-authorization-server":         nil, // no storage is used, here and below
			"OPTIONS /oauth/register":                                 nil,
			"OPTIONS /oauth/register/{client_id}":                     nil,
			"GET /assets/logos/{name}":                                nil,
			"OPTIONS /oauth/jwks":                                     nil,
			"OPTIONS /.well-known/oauth-protected-resource":           nil,
			"OPTIONS /.well-known/oauth-protected-resource/{path...}": nil,
			"HEAD /oauth/authorize":                                   nil,
			"HEAD /oauth/consent":                                     nil,
			"HEAD /login":                                             nil,
			"HEAD /login/{provider}/callback":                         nil,
			"GET /.well-known/oauth-protected-resource":               nil, // created at start; see web/gateway
			"GET /.well-known/oauth-protected-resource/{path...}":     nil,
			"POST /settings/security/password":                        {{page, post("/settings/security/password", password)}},
			"POST /settings/security/sessions/{id}/end": {
				{page, post("/settings/security/sessions/session_x/end", nil)},
			},
			"POST /settings/security/sessions/end-others": {{page, post("/settings/security/sessions/end-others", nil)}},
			"GET /settings/connected-apps":                {{page, get("/settings/connected-apps")}},
			"POST /settings/connected-apps/{id}/end":      {{page, post("/settings/connected-apps/"+app.ID+"/end", nil)}},
			"POST /settings/connected-apps/end-all":       {{page, post("/settings/connected-apps/end-all", nil)}},
			"GET /settings/workspaces":                    {{page, get("/settings/workspaces")}},
			"POST /settings/workspaces": {
				{page, post("/settings/workspaces", url.Values{"name": {"New"}, "slug": {"new"}})},
			},
			"GET /join/{word}":                     {{page, get("/join/x")}},
			"POST /join/{word}":                    {{page, post("/join/x", nil)}},
			"GET /admin/registration-tokens":       {{page, get("/admin/registration-tokens")}},
			"GET /admin/registration-tokens/shown": {{page, get("/admin/registration-tokens/shown?view=x")}},
			"POST /admin/registration-tokens": {
				{page, post("/admin/registration-tokens", url.Values{"uses": {"1"}, "expires": {"7d"}})},
			},
			"GET /admin/registration-tokens/{id}/revoke": {{page, get("/admin/registration-tokens/x/revoke")}},
			"POST /admin/registration-tokens/{id}/revoke": {
				{page, post("/admin/registration-tokens/x/revoke", url.Values{"confirmed": {"yes"}})},
			},
			"GET /admin/workspaces":            {{page, get("/admin/workspaces")}},
			"GET /admin/audit":                 {{page, get("/admin/audit")}},
			"GET /admin/audit.csv":             {{page, get("/admin/audit.csv")}},
			"POST /admin/workspaces/{id}/plan": {{page, post("/admin/workspaces/x/plan", url.Values{"plan": {""}})}},
			"GET /admin/users/{id}":            {{page, get("/admin/users/" + r.Alice.ID)}},
			"POST /admin/users/{id}": {
				{page, post("/admin/users/"+r.Alice.ID, url.Values{"name": {"A"}, "email": {"a@example.com"}})},
			},
			"POST /admin/users/{id}/password": {
				{page, post("/admin/users/"+r.Alice.ID+"/password", url.Values{"password": {rig.Password}})},
			},
			"GET /admin/users/{id}/sign-out": {{page, get("/admin/users/" + r.Alice.ID + "/sign-out")}},
			"POST /admin/users/{id}/sign-out": {
				{page, post("/admin/users/"+r.Alice.ID+"/sign-out", url.Values{"confirmed": {"yes"}})},
			},
			"GET /login/code":  {{page, get("/login/code?flow=" + url.QueryEscape(consent.Get("flow")))}},
			"POST /login/code": {{page, post("/login/code", url.Values{"flow": {consent.Get("flow")}, "code": {"12345678"}})}},
			// The browser has proved no factor, so it goes to the sign-in page; see TestG18 for one that has.
			// Of a sign-in that has begun; see TestG18.
			"GET /login/second": nil, "POST /login/second": nil,
			"GET /login/enrol": nil, "POST /login/enrol": nil, "POST /login/enrol/email": nil,
			"GET /login/enrol/code": nil, "POST /login/enrol/code": nil,
			// There are neither passkeys nor providers here; see TestG15 and TestG25.
			"GET /login/passkey": nil, "POST /login/passkey": nil,
			"POST /login/{provider}": nil, "GET /login/{provider}/callback": nil, "POST /login/{provider}/callback": nil,
			"POST /settings/security/passkeys/new": {{page, post("/settings/security/passkeys/new", nil)}},
			"POST /settings/security/passkeys":     {{page, post("/settings/security/passkeys", nil)}},
			"GET /settings/security/passkeys/{id}": {{page, get("/settings/security/passkeys/passkey_x")}},
			"POST /settings/security/passkeys/{id}/rename": {
				{page, post("/settings/security/passkeys/passkey_x/rename", url.Values{"name": {"New"}})},
			},
			"POST /settings/security/totp":           {{page, post("/settings/security/totp", nil)}},
			"POST /settings/security/totp/confirm":   {{page, post("/settings/security/totp/confirm", nil)}},
			"POST /settings/security/recovery-codes": {{page, post("/settings/security/recovery-codes", nil)}},
			"POST /settings/security/providers/{provider}/connect": {
				{page, post("/settings/security/providers/acme/connect", nil)},
			},
			"GET /settings/security/methods/{method}/remove":  {{page, get("/settings/security/methods/password/remove")}},
			"POST /settings/security/methods/{method}/remove": {{page, post("/settings/security/methods/password/remove", nil)}},
			"GET /signup/link":  {{page, get("/signup/link?word=x")}},
			"POST /signup/link": {{page, post("/signup/link", url.Values{"word": {"x"}})}},
			"GET /reset":        {{page, get("/reset?word=x")}},
			"POST /reset":       {{page, post("/reset", url.Values{"word": {"x"}, "password": {"another river under stones"}})}},
			// This server sends no email, and visitors do not sign up.
			"POST /login/email": nil, "GET /signup": nil, "POST /signup": nil, "GET /signup/code": nil, "POST /signup/code": nil,
			"GET /signup/complete": nil, "POST /signup/complete": nil, "GET /forgot": nil, "POST /forgot": nil,
			"GET /login/link":                            {{page, get("/login/link?word=x")}},
			"POST /login/link":                           {{page, post("/login/link", url.Values{"word": {"x"}})}},
			"POST /admin/workspaces/{id}/disable":        {{page, post("/admin/workspaces/x/disable", nil)}},
			"POST /admin/workspaces/{id}/enable":         {{page, post("/admin/workspaces/x/enable", nil)}},
			"GET /settings":                              {{page, get("/settings")}},
			"GET /admin":                                 {{page, get("/admin")}},
			"GET /settings/developer":                    {{page, get("/settings/developer")}},
			"GET /settings/developer/{$}":                {{page, get("/settings/developer/")}},
			"GET /settings/security/sessions/{id}/end":   {{page, get("/settings/security/sessions/session_x/end")}},
			"GET /settings/security/sessions/end-others": {{page, get("/settings/security/sessions/end-others")}},
			"GET /settings/connected-apps/{id}/end":      {{page, get("/settings/connected-apps/" + app.ID + "/end")}},
			"GET /settings/connected-apps/end-all":       {{page, get("/settings/connected-apps/end-all")}},
			"GET /admin/workspaces/{id}/disable":         {{page, get("/admin/workspaces/x/disable")}},
			"GET /admin/users/{id}/disable":              {{page, get("/admin/users/" + r.Alice.ID + "/disable")}},
			"GET /settings/developer/api-keys":           {{page, get("/settings/developer/api-keys")}},
			"POST /admin/users/{id}/disable":             {{page, post("/admin/users/"+r.Alice.ID+"/disable", nil)}},
			"POST /admin/users/{id}/reset":               {{page, post("/admin/users/"+r.Alice.ID+"/reset", nil)}},
			"POST /admin/users/{id}/approve":             {{page, post("/admin/users/"+r.Alice.ID+"/approve", nil)}},
			"GET /admin/users/{id}/refuse":               {{page, get("/admin/users/" + r.Alice.ID + "/refuse")}},
			"POST /admin/users/{id}/refuse":              {{page, post("/admin/users/"+r.Alice.ID+"/refuse", nil)}},
			"GET /admin/users/{id}/delete":               {{page, get("/admin/users/" + r.Alice.ID + "/delete")}},
			"POST /admin/users/{id}/delete":              {{page, post("/admin/users/"+r.Alice.ID+"/delete", nil)}},
			"GET /admin/users/{id}/sessions/{session}/end": {
				{page, get("/admin/users/" + r.Alice.ID + "/sessions/session_x/end")},
			},
			"POST /admin/users/{id}/sessions/{session}/end": {
				{page, post("/admin/users/"+r.Alice.ID+"/sessions/session_x/end", nil)},
			},
			"GET /admin/users/{id}/methods/{method}/remove": {
				{page, get("/admin/users/" + r.Alice.ID + "/methods/password/remove")},
			},
			"POST /admin/users/{id}/methods/{method}/remove": {
				{page, post("/admin/users/"+r.Alice.ID+"/methods/password/remove", nil)},
			},
			"POST /admin/users/{id}/enable":  {{page, post("/admin/users/"+r.Alice.ID+"/enable", nil)}},
			"GET /admin/apps":                {{page, get("/admin/apps")}},
			"POST /admin/apps/{id}/verify":   {{page, post("/admin/apps/"+app.ID+"/verify", nil)}},
			"POST /admin/apps/{id}/unverify": {{page, post("/admin/apps/"+app.ID+"/unverify", nil)}},
		}
		for base, at := range map[string]string{
			"/settings/developer/apps":         "/settings/developer/apps",
			"/admin/apps":                      "/admin/apps",
			"/settings/workspaces/{slug}/apps": "/settings/workspaces/" + slug + "/apps",
		} {
			if base != "/admin/apps" {
				table["GET "+base] = []request{{page, get(at)}}
				table["POST "+base] = []request{{page, post(at, url.Values{"name": {"New"}, "kind": {"web"}})}}
				table["GET "+base+"/new"] = []request{{page, get(at + "/new")}}
			}
			table["GET "+base+"/{id}"] = []request{{page, get(at + "/" + app.ID)}}
			table["GET "+base+"/{id}/disable"] = []request{{page, get(at + "/" + app.ID + "/disable")}}
			table["GET "+base+"/shown"] = []request{{page, get(at + "/shown?view=x")}}
			table["POST "+base+"/{id}"] = []request{{page, post(at+"/"+app.ID, url.Values{"name": {"New"}})}}
			for _, verb := range []string{"secret", "authentication", "disable", "enable", "delete"} {
				table["POST "+base+"/{id}/"+verb] = []request{{page, post(at+"/"+app.ID+"/"+verb, nil)}}
			}
		}
		for list, at := range map[string]string{
			"/settings/workspaces/{slug}/api-keys": keysPage(slug),
			tokensPage:                             tokensPage,
		} {
			key := at + "/" + storage.NewID("key")
			table["GET "+list] = []request{{page, get(at)}}
			table["POST "+list] = []request{
				{page, post(at, url.Values{"name": {"New"}, "scope-0": {"read"}, "expires": {"never"}})},
			}
			table["POST "+list+"/search"] = []request{{page, post(at+"/search", url.Values{"q": {"new"}})}}
			table["GET "+list+"/new"] = []request{{page, get(at + "/new")}}
			table["GET "+list+"/{id}"] = []request{{page, get(key)}}
			table["GET "+list+"/shown"] = []request{{page, get(at + "/shown?view=x")}}
			for _, verb := range []string{"pause", "revoke"} {
				table["GET "+list+"/{id}/"+verb] = []request{{page, get(key + "/" + verb)}}
			}
			table["POST "+list+"/{id}"] = []request{{page, post(key, url.Values{"name": {"New"}})}}
			for _, verb := range []string{"rotate", "pause", "resume", "revoke"} {
				table["POST "+list+"/{id}/"+verb] = []request{{page, post(key+"/"+verb, url.Values{"grace": {"1h"}})}}
			}
		}
		for path, form := range map[string]url.Values{
			"":                     {"name": {"New"}},
			"/leave":               {},
			"/delete":              {"confirm": {slug}},
			"/members/{id}/role":   {"role": {"viewer"}},
			"/members/{id}/remove": {},
			"/invitations":         {"email": {"c@example.com"}, "role": {"viewer"}}, "/invitations/{id}/withdraw": {},
		} {
			at := strings.Replace(path, "{id}", r.Alice.ID, 1)
			table["POST /settings/workspaces/{slug}"+path] = []request{{page, post("/settings/workspaces/"+slug+at, form)}}
		}
		for _, path := range []string{
			"", "/members", "/usage", "/usage.csv", "/audit", "/audit.csv", "/leave", "/members/{id}/remove", "/members/shown",
			"/invitations/{id}/withdraw",
		} {
			table["GET /settings/workspaces/{slug}"+path] = []request{
				{page, get("/settings/workspaces/" + slug + strings.Replace(path, "{id}", r.Alice.ID, 1))},
			}
		}
		// The API has no route in package web.
		for _, path := range []string{"/v1/auth/test", "/v1/workspaces"} {
			a := r.CallBound(proving, http.MethodGet, path, boundAccess)
			if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" ||
				a.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s with a proof is answered %d %v", path, a.Status, a.Header)
			}
		}
		registered := patterns(t)
		for _, pattern := range slices.Sorted(maps.Keys(table)) {
			if !slices.Contains(registered, pattern) {
				t.Errorf("%s is not a route: remove it from this table", pattern)
			}
		}
		for _, pattern := range registered {
			requests, known := table[pattern]
			if !known {
				t.Errorf("%s is a new route: say in this table what it answers while the database is unavailable", pattern)
			}
			for _, x := range requests {
				t.Run(pattern, func(t *testing.T) {
					a := x.send()
					if x.want == works {
						if a.Status >= 400 {
							t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
						}
						return
					}
					if x.want == turned {
						if a.Status != http.StatusForbidden {
							t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
						}
						return
					}
					seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
					if a.Status != http.StatusServiceUnavailable || err != nil || seconds < 1 {
						t.Fatalf("answered %d, Retry-After %q: %s", a.Status, a.Header.Get("Retry-After"), rig.Plain(a.Body))
					}
					if a.Header.Get("Cache-Control") != "no-store" || a.Location != nil ||
						strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), "\n"), "doorward") {
						t.Errorf("headers %v", a.Header)
					}
					switch x.want {
					case machine:
						refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
					case page:
						text := rig.Plain(a.Body)
						if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || innards.MatchString(text) ||
							!strings.Contains(text, "Wait a moment") || !strings.Contains(text, a.Header.Get("X-Request-Id")) {
							t.Errorf("%s: %s", a.Header.Get("Content-Type"), text)
						}
					case probe:
						if a.Text("status") != "unavailable" || a.Text("reason") == "" || innards.MatchString(a.Body) {
							t.Errorf("answered %s", a.Body)
						}
					}
				})
			}
		}
	})
}
