package web

import (
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"doorward/oauth"
	"doorward/templates"
	"doorward/web/api"
	"doorward/web/gateway"
	"doorward/web/page"
)

// routes is the whole surface of the public listener. Endpoints of the protocol take requests from anywhere; pages
// change something for requests of their own origin only.
func (s *Server) routes() http.Handler {
	mux := &routeMux{ServeMux: http.NewServeMux(), patterns: &s.patterns}
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(s.ForAnyone(func(http.ResponseWriter, *http.Request) error {
		return page.NotVerified("Another site sent this request. Nothing was changed. If you want it, load the page here and do it from there.")
	}))

	// The protocol: no cookies, no pages. Each checks the method itself.
	machine := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, page.Bounded(h)) }
	machine("/oauth/token", s.oauth.Token)
	machine("/oauth/introspect", s.oauth.Introspect)
	machine("/oauth/revoke", s.oauth.Revoke)
	machine("OPTIONS /oauth/token", s.oauth.Preflight)
	machine("OPTIONS /oauth/revoke", s.oauth.Preflight)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.oauth.Metadata)

	machine("GET /oauth/jwks", s.oauth.JWKS)

	// Of APIs at an address of the issuer's; the hosts of others have their own.
	mux.HandleFunc("GET /.well-known/oauth-protected-resource", s.resourceMetadata)
	mux.HandleFunc("GET /.well-known/oauth-protected-resource/{path...}", s.resourceMetadata)

	// Pages of any origin may read these, with headers of their own (MCP-Protocol-Version, say), for which browsers ask first.
	mux.HandleFunc("OPTIONS /.well-known/oauth-authorization-server", oauth.PreflightPublic)
	mux.HandleFunc("OPTIONS /oauth/jwks", oauth.PreflightPublic)
	mux.HandleFunc("OPTIONS /.well-known/oauth-protected-resource", s.resourceMetadata)
	mux.HandleFunc("OPTIONS /.well-known/oauth-protected-resource/{path...}", s.resourceMetadata)

	s.api.Register(func(pattern string, h http.Handler) { mux.Handle(pattern, page.Bounded(h)) })

	// Authorize takes GET and POST from anywhere, since it decides nothing.
	mux.Handle("GET /oauth/authorize", s.ForAnyone(s.signIn.Authorize))
	mux.Handle("POST /oauth/authorize", s.ForAnyoneRaw(s.signIn.Authorize))

	// A GET of these may issue a code. HEAD asks for the headers alone (RFC 9110 section 9.3.2) and must issue nothing.
	mux.HandleFunc("HEAD /oauth/authorize", headOnly)
	mux.HandleFunc("HEAD /oauth/consent", headOnly)
	mux.HandleFunc("HEAD /login", headOnly)

	// Pages.
	head := func(pattern string, h page.Handler) { mux.Handle(pattern, sameOrigin.Handler(s.ForAnyone(h))) }
	head("GET /login", s.signIn.LoginPage)
	head("POST /login", s.signIn.Login)
	head("GET /login/link", s.signIn.SignInLinkPage)
	head("POST /login/link", s.signIn.SignInLink)
	head("GET /logout", s.signIn.LogoutPage)
	head("POST /logout", s.signIn.Logout)
	head("GET /oauth/consent", s.signIn.ConsentPage)
	head("POST /oauth/consent", s.signIn.Consent)
	head("GET /setup", s.signIn.SetupPage)
	head("POST /setup", s.signIn.Setup)

	member := func(pattern string, h page.UserHandler) { mux.Handle(pattern, sameOrigin.Handler(s.ForUsers(h))) }
	member("GET /{$}", func(w http.ResponseWriter, _ *http.Request, _ *page.Visitor) error {
		return page.Redirect(w, page.DefaultPage)
	})
	member("GET /settings/{$}", func(w http.ResponseWriter, _ *http.Request, _ *page.Visitor) error {
		return page.Redirect(w, page.DefaultPage)
	})
	member("GET /settings", func(w http.ResponseWriter, _ *http.Request, _ *page.Visitor) error {
		return page.Redirect(w, page.DefaultPage)
	})
	member("GET /settings/profile", s.account.profilePage)
	member("POST /settings/profile", s.account.profile)
	member("GET /settings/security", s.account.securityPage)
	member("POST /settings/security/password", s.account.changePassword)
	member("GET /settings/security/sessions/{id}/end", s.account.confirmEndSession)
	member("POST /settings/security/sessions/{id}/end", page.Confirmed(s.account.confirmEndSession, s.account.endOneSession))
	member("GET /settings/security/sessions/end-others", s.account.confirmEndSession)
	member("POST /settings/security/sessions/end-others", page.Confirmed(s.account.confirmEndSession, s.account.endOtherSessions))
	member("GET /settings/connected-apps", s.account.connectedAppsPage)
	member("GET /settings/connected-apps/{id}/end", s.account.confirmEndAccess)
	member("POST /settings/connected-apps/{id}/end", page.Confirmed(s.account.confirmEndAccess, s.account.endAccess))
	member("GET /settings/connected-apps/end-all", s.account.confirmEndAccess)
	member("POST /settings/connected-apps/end-all", page.Confirmed(s.account.confirmEndAccess, s.account.endAccess))

	member("GET /join/{word}", s.signIn.JoinPage)
	member("POST /join/{word}", s.signIn.Join)
	member("GET /settings/workspaces", s.workspaces.workspacesPage)
	member("POST /settings/workspaces", s.workspaces.createWorkspace)
	member("GET /settings/workspaces/{slug}", s.workspaces.inWorkspace(s.workspaces.workspacePage))
	member("POST /settings/workspaces/{slug}", s.workspaces.inWorkspace(s.workspaces.updateWorkspace))
	member("GET /settings/workspaces/{slug}/leave", s.workspaces.inWorkspace(s.workspaces.confirmLeave))
	member("POST /settings/workspaces/{slug}/leave", page.Confirmed(s.workspaces.inWorkspace(s.workspaces.confirmLeave), s.workspaces.inWorkspace(s.workspaces.leaveWorkspace)))
	member("POST /settings/workspaces/{slug}/delete", s.workspaces.inWorkspace(s.workspaces.deleteWorkspace))
	member("GET /settings/workspaces/{slug}/members", s.workspaces.inWorkspace(s.workspaces.membersPage))
	member("GET /settings/workspaces/{slug}/members/shown", s.workspaces.inWorkspace(s.workspaces.shownInvitation))
	member("POST /settings/workspaces/{slug}/members/{id}/role", s.workspaces.inWorkspace(s.workspaces.changeRole))
	member("GET /settings/workspaces/{slug}/members/{id}/remove", s.workspaces.inWorkspace(s.workspaces.confirmMember))
	member("POST /settings/workspaces/{slug}/members/{id}/remove", page.Confirmed(s.workspaces.inWorkspace(s.workspaces.confirmMember), s.workspaces.inWorkspace(s.workspaces.removeMember)))
	member("POST /settings/workspaces/{slug}/invitations", s.workspaces.inWorkspace(s.workspaces.invite))
	member("GET /settings/workspaces/{slug}/invitations/{id}/withdraw", s.workspaces.inWorkspace(s.workspaces.confirmWithdrawal))
	member("POST /settings/workspaces/{slug}/invitations/{id}/withdraw", page.Confirmed(s.workspaces.inWorkspace(s.workspaces.confirmWithdrawal), s.workspaces.inWorkspace(s.workspaces.withdraw)))
	member("GET /settings/workspaces/{slug}/usage", s.workspaces.permitted(oauth.MaySeeUsage, templates.SectionWorkspaces, templates.TabUsage, s.workspaces.usagePage))
	member("GET /settings/workspaces/{slug}/audit", s.workspaces.permitted(oauth.MayAudit, templates.SectionWorkspaces, templates.TabAudit, s.workspaces.auditPage))

	admin := func(pattern string, h page.UserHandler) {
		mux.Handle(pattern, sameOrigin.Handler(s.ForAdministrators(h)))
	}
	admin("GET /admin", func(w http.ResponseWriter, _ *http.Request, _ *page.Visitor) error {
		return page.Redirect(w, "/admin/users")
	})
	admin("GET /admin/{$}", func(w http.ResponseWriter, _ *http.Request, _ *page.Visitor) error {
		return page.Redirect(w, "/admin/users")
	})
	admin("GET /admin/users", s.admin.UsersPage)
	admin("POST /admin/users", s.admin.CreateUser)
	admin("GET /admin/users/{id}", s.admin.UserPage)
	admin("POST /admin/users/{id}", s.admin.UpdateUser)
	admin("POST /admin/users/{id}/password", s.admin.SetUserPassword)
	admin("GET /admin/users/{id}/sign-out", s.admin.ConfirmSignOut)
	admin("POST /admin/users/{id}/sign-out", page.Confirmed(s.admin.ConfirmSignOut, s.admin.SignOutUser))
	admin("GET /admin/users/{id}/disable", s.admin.ConfirmDisableUser)
	admin("POST /admin/users/{id}/disable", page.Confirmed(s.admin.ConfirmDisableUser, s.admin.SetUserDisabled))
	admin("POST /admin/users/{id}/enable", s.admin.SetUserDisabled)
	admin("GET /admin/workspaces", s.admin.WorkspacesPage)
	admin("GET /admin/workspaces/{id}/disable", s.admin.ConfirmDisableWorkspace)
	admin("POST /admin/workspaces/{id}/disable", page.Confirmed(s.admin.ConfirmDisableWorkspace, s.admin.SetWorkspaceDisabled))
	admin("POST /admin/workspaces/{id}/enable", s.admin.SetWorkspaceDisabled)
	admin("POST /admin/workspaces/{id}/plan", s.admin.SetPlan)
	admin("GET /admin/apps", s.apps.adminAppsPage)
	admin("POST /admin/apps/{id}/verify", s.apps.allApps(s.apps.verifyApp))
	admin("POST /admin/apps/{id}/unverify", s.apps.allApps(s.apps.verifyApp))

	member("GET /settings/developer/apps", s.apps.ownApps(s.apps.appsPage))
	member("POST /settings/developer/apps", s.apps.ownApps(s.apps.createApp))
	member("GET /settings/developer/apps/new", s.apps.ownApps(s.apps.appFormPage))
	member("GET /settings/workspaces/{slug}/apps", s.apps.workspaceApps(s.apps.appsPage))
	member("POST /settings/workspaces/{slug}/apps", s.apps.workspaceApps(s.apps.createApp))
	member("GET /settings/workspaces/{slug}/apps/new", s.apps.workspaceApps(s.apps.appFormPage))

	// One app, for whoever built it, for those who manage its workspace's, and for administrators.
	member("GET /settings/developer/apps/{id}", s.apps.ownApps(s.apps.appPage))
	member("GET /settings/developer/apps/shown", s.apps.ownApps(s.apps.shownSecret))
	member("POST /settings/developer/apps/{id}", s.apps.ownApps(s.apps.updateApp))
	member("POST /settings/developer/apps/{id}/secret", s.apps.ownApps(s.apps.rotateSecret))
	member("GET /settings/developer/apps/{id}/disable", s.apps.ownApps(s.apps.confirmApp))
	member("POST /settings/developer/apps/{id}/disable", page.Confirmed(s.apps.ownApps(s.apps.confirmApp), s.apps.ownApps(s.apps.switchApp)))
	member("POST /settings/developer/apps/{id}/enable", s.apps.ownApps(s.apps.switchApp))
	member("POST /settings/developer/apps/{id}/delete", s.apps.ownApps(s.apps.deleteApp))

	member("GET /settings/workspaces/{slug}/apps/{id}", s.apps.workspaceApps(s.apps.appPage))
	member("GET /settings/workspaces/{slug}/apps/shown", s.apps.workspaceApps(s.apps.shownSecret))
	member("POST /settings/workspaces/{slug}/apps/{id}", s.apps.workspaceApps(s.apps.updateApp))
	member("POST /settings/workspaces/{slug}/apps/{id}/secret", s.apps.workspaceApps(s.apps.rotateSecret))
	member("GET /settings/workspaces/{slug}/apps/{id}/disable", s.apps.workspaceApps(s.apps.confirmApp))
	member("POST /settings/workspaces/{slug}/apps/{id}/disable", page.Confirmed(s.apps.workspaceApps(s.apps.confirmApp), s.apps.workspaceApps(s.apps.switchApp)))
	member("POST /settings/workspaces/{slug}/apps/{id}/enable", s.apps.workspaceApps(s.apps.switchApp))
	member("POST /settings/workspaces/{slug}/apps/{id}/delete", s.apps.workspaceApps(s.apps.deleteApp))

	admin("GET /admin/apps/{id}", s.apps.allApps(s.apps.appPage))
	admin("GET /admin/apps/shown", s.apps.allApps(s.apps.shownSecret))
	admin("POST /admin/apps/{id}", s.apps.allApps(s.apps.updateApp))
	admin("POST /admin/apps/{id}/secret", s.apps.allApps(s.apps.rotateSecret))
	admin("GET /admin/apps/{id}/disable", s.apps.allApps(s.apps.confirmApp))
	admin("POST /admin/apps/{id}/disable", page.Confirmed(s.apps.allApps(s.apps.confirmApp), s.apps.allApps(s.apps.switchApp)))
	admin("POST /admin/apps/{id}/enable", s.apps.allApps(s.apps.switchApp))
	admin("POST /admin/apps/{id}/delete", s.apps.allApps(s.apps.deleteApp))

	// One set of pages for a workspace's API keys and a person's own tokens.
	member("GET /settings/developer", s.workspaces.toWorkspace(templates.TabKeys))
	member("GET /settings/developer/{$}", s.workspaces.toWorkspace(templates.TabKeys))
	member("GET /settings/developer/api-keys", s.workspaces.toWorkspace(templates.TabKeys))
	member("GET /settings/workspaces/{slug}/api-keys", s.keys.apiKeys(s.keys.keysPage))
	member("POST /settings/workspaces/{slug}/api-keys", s.keys.apiKeys(s.keys.createKey))
	member("POST /settings/workspaces/{slug}/api-keys/search", s.keys.apiKeys(s.keys.findKeys))
	member("GET /settings/workspaces/{slug}/api-keys/new", s.keys.apiKeys(s.keys.keyFormPage))
	member("GET /settings/workspaces/{slug}/api-keys/shown", s.keys.apiKeys(s.keys.shownKey))
	member("GET /settings/workspaces/{slug}/api-keys/{id}", s.keys.apiKeys(s.keys.keyPage))
	member("POST /settings/workspaces/{slug}/api-keys/{id}", s.keys.apiKeys(s.keys.updateKey))
	member("POST /settings/workspaces/{slug}/api-keys/{id}/rotate", s.keys.apiKeys(s.keys.rotateKey))
	member("GET /settings/workspaces/{slug}/api-keys/{id}/pause", s.keys.apiKeys(s.keys.confirmKey))
	member("POST /settings/workspaces/{slug}/api-keys/{id}/pause", page.Confirmed(s.keys.apiKeys(s.keys.confirmKey), s.keys.apiKeys(s.keys.switchKey)))
	member("POST /settings/workspaces/{slug}/api-keys/{id}/resume", s.keys.apiKeys(s.keys.switchKey))
	member("GET /settings/workspaces/{slug}/api-keys/{id}/revoke", s.keys.apiKeys(s.keys.confirmKey))
	member("POST /settings/workspaces/{slug}/api-keys/{id}/revoke", page.Confirmed(s.keys.apiKeys(s.keys.confirmKey), s.keys.apiKeys(s.keys.revokeKey)))

	member("GET /settings/developer/personal-access-tokens", s.keys.personalTokens(s.keys.keysPage))
	member("POST /settings/developer/personal-access-tokens", s.keys.personalTokens(s.keys.createKey))
	member("POST /settings/developer/personal-access-tokens/search", s.keys.personalTokens(s.keys.findKeys))
	member("GET /settings/developer/personal-access-tokens/new", s.keys.personalTokens(s.keys.keyFormPage))
	member("GET /settings/developer/personal-access-tokens/shown", s.keys.personalTokens(s.keys.shownKey))
	member("GET /settings/developer/personal-access-tokens/{id}", s.keys.personalTokens(s.keys.keyPage))
	member("POST /settings/developer/personal-access-tokens/{id}", s.keys.personalTokens(s.keys.updateKey))
	member("POST /settings/developer/personal-access-tokens/{id}/rotate", s.keys.personalTokens(s.keys.rotateKey))
	member("GET /settings/developer/personal-access-tokens/{id}/pause", s.keys.personalTokens(s.keys.confirmKey))
	member("POST /settings/developer/personal-access-tokens/{id}/pause", page.Confirmed(s.keys.personalTokens(s.keys.confirmKey), s.keys.personalTokens(s.keys.switchKey)))
	member("POST /settings/developer/personal-access-tokens/{id}/resume", s.keys.personalTokens(s.keys.switchKey))
	member("GET /settings/developer/personal-access-tokens/{id}/revoke", s.keys.personalTokens(s.keys.confirmKey))
	member("POST /settings/developer/personal-access-tokens/{id}/revoke", page.Confirmed(s.keys.personalTokens(s.keys.confirmKey), s.keys.personalTokens(s.keys.revokeKey)))

	// What trusted proxies ask never comes here; others are told why they may not.
	mux.HandleFunc(gateway.ForwardPath, s.gateway.ForwardAuth)
	mux.HandleFunc(gateway.NginxPath, s.gateway.NginxAuth)

	mux.HandleFunc("GET /healthz", healthz)
	machine("GET /readyz", s.readyz)
	mux.Handle("GET /assets/", s.assets())
	mux.Handle("GET /favicon.ico", http.RedirectHandler(templates.AssetPath("mark.svg"), http.StatusSeeOther))
	mux.Handle("/", s.ForAnyoneRaw(func(w http.ResponseWriter, r *http.Request) error { return s.noRoute(w, r, mux.ServeMux) }))
	return s.observe(s.guard(mux))
}

// routeMux notes the patterns that it is given.
type routeMux struct {
	*http.ServeMux
	patterns *[]string
}

// Handle registers a handler, as ServeMux does.
func (m *routeMux) Handle(pattern string, h http.Handler) {
	*m.patterns = append(*m.patterns, pattern)
	m.ServeMux.Handle(pattern, h)
}

// HandleFunc registers a handler, as ServeMux does.
func (m *routeMux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.Handle(pattern, http.HandlerFunc(h))
}

// Patterns lists what the public listener serves, as http.ServeMux has it, so that a test can ask for a decision about
// each.
func (s *Server) Patterns() []string { return slices.Clone(s.patterns) }

// headOnly answers HEAD for pages of which a GET may change something: that there is a page, and nothing else.
func headOnly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// assets serves the files of the pages. Their addresses carry a digest in the query, so that they may be kept for good;
// with another digest, as a page of another version of this server has, only for a while.
func (s *Server) assets() http.Handler {
	files, err := fs.Sub(templates.Assets, "assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	server := http.StripPrefix("/assets/", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fs.ValidPath(strings.TrimPrefix(r.URL.Path, "/assets/")) {
			s.WriteError(w, r, page.NotFound()) // no list of files, and no name that no file can have
			return
		}
		if templates.IsAssetPath(r.URL.RequestURI()) {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "public, max-age=300")
		}
		server.ServeHTTP(w, r)
	})
}

// resourceMetadata answers with the metadata of an API (RFC 9728).
func (s *Server) resourceMetadata(w http.ResponseWriter, r *http.Request) {
	if !s.gateway.ServeMetadata(w, r) {
		s.turnAway(w, r, http.StatusNotFound, "There is nothing here; check the address.")
	}
}

// noRoute takes what no other route did: 405 where the path is known and the method is not, else 404.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if a := gateway.ConcernedAPI(r.Context()); a != nil && len(allowed) == 0 {
		s.gateway.Refuse(w, r, a, &gateway.Refusal{Kind: gateway.NotFound, Detail: "There is nothing here; check the address."}) // no page is of such a host
		return nil
	}
	if len(allowed) == 0 && api.Owns(r.URL.Path) {
		s.turnAway(w, r, http.StatusNotFound, "There is nothing here; check the address.")
		return nil
	}
	if len(allowed) == 0 {
		return page.NotFound()
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	if isMachine(r) {
		s.turnAway(w, r, http.StatusMethodNotAllowed, "This method is not taken here; see the Allow header.")
		return nil
	}
	return &page.Error{Status: http.StatusMethodNotAllowed, Heading: "That cannot be done here", Message: "This address does not take requests of this kind."}
}
