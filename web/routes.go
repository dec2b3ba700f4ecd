package web

import (
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"doorward/management"
	"doorward/oauth"
	"doorward/templates"
	"doorward/web/api"
	"doorward/web/gateway"
)

// routes is the whole surface of the public listener. Endpoints of the protocol take requests from anywhere; pages
// change something for requests of their own origin only.
func (s *Server) routes() http.Handler {
	mux := &routeMux{ServeMux: http.NewServeMux(), patterns: &s.patterns}
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(s.plainPage(func(http.ResponseWriter, *http.Request) error {
		return forbidden("Another site sent this request. Nothing was changed. If you want it, load the page here and do it from there.")
	}))

	// The protocol: no cookies, no pages. Each checks the method itself.
	machine := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, bounded(h)) }
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

	s.api.Register(func(pattern string, h http.Handler) { mux.Handle(pattern, bounded(h)) })

	// Authorize takes GET and POST from anywhere, since it decides nothing.
	mux.Handle("GET /oauth/authorize", s.plainPage(s.authorize))
	mux.Handle("POST /oauth/authorize", s.rawPage(s.authorize))

	// A GET of these may issue a code. HEAD asks for the headers alone (RFC 9110 section 9.3.2) and must issue nothing.
	mux.HandleFunc("HEAD /oauth/authorize", headOnly)
	mux.HandleFunc("HEAD /oauth/consent", headOnly)
	mux.HandleFunc("HEAD /login", headOnly)

	// Pages.
	page := func(pattern string, h pageHandler) { mux.Handle(pattern, sameOrigin.Handler(s.plainPage(h))) }
	page("GET /login", s.loginPage)
	page("POST /login", s.login)
	page("GET /login/link", s.signInLinkPage)
	page("POST /login/link", s.signInLink)
	page("GET /logout", s.logoutPage)
	page("POST /logout", s.logout)
	page("GET /oauth/consent", s.consentPage)
	page("POST /oauth/consent", s.consent)
	page("GET /setup", s.setupPage)
	page("POST /setup", s.setup)

	member := func(pattern string, h memberHandler) { mux.Handle(pattern, sameOrigin.Handler(s.memberPage(h))) }
	member("GET /{$}", func(w http.ResponseWriter, _ *http.Request, _ *visitor) error { return redirect(w, defaultPage) })
	member("GET /settings/{$}", func(w http.ResponseWriter, _ *http.Request, _ *visitor) error { return redirect(w, defaultPage) })
	member("GET /settings", func(w http.ResponseWriter, _ *http.Request, _ *visitor) error { return redirect(w, defaultPage) })
	member("GET /settings/profile", s.profilePage)
	member("POST /settings/profile", s.profile)
	member("GET /settings/security", s.securityPage)
	member("POST /settings/security/password", s.changePassword)
	member("GET /settings/security/sessions/{id}/end", s.confirmEndSession)
	member("POST /settings/security/sessions/{id}/end", confirmed(s.confirmEndSession, s.endOneSession))
	member("GET /settings/security/sessions/end-others", s.confirmEndSession)
	member("POST /settings/security/sessions/end-others", confirmed(s.confirmEndSession, s.endOtherSessions))
	member("GET /settings/connected-apps", s.connectedAppsPage)
	member("GET /settings/connected-apps/{id}/end", s.confirmEndAccess)
	member("POST /settings/connected-apps/{id}/end", confirmed(s.confirmEndAccess, s.endAccess))
	member("GET /settings/connected-apps/end-all", s.confirmEndAccess)
	member("POST /settings/connected-apps/end-all", confirmed(s.confirmEndAccess, s.endAccess))

	member("GET "+joinBase+"{word}", s.joinPage)
	member("POST "+joinBase+"{word}", s.join)
	member("GET "+workspacesBase, s.workspacesPage)
	member("POST "+workspacesBase, s.createWorkspace)
	member("GET "+workspaceBase, s.inWorkspace(s.workspacePage))
	member("POST "+workspaceBase, s.inWorkspace(s.updateWorkspace))
	member("GET "+workspaceBase+"/leave", s.inWorkspace(s.confirmLeave))
	member("POST "+workspaceBase+"/leave", confirmed(s.inWorkspace(s.confirmLeave), s.inWorkspace(s.leaveWorkspace)))
	member("POST "+workspaceBase+"/delete", s.inWorkspace(s.deleteWorkspace))
	member("GET "+workspaceBase+"/"+templates.TabMembers, s.inWorkspace(s.membersPage))
	member("GET "+workspaceBase+"/members/shown", s.inWorkspace(s.shownInvitation))
	member("POST "+workspaceBase+"/members/{id}/role", s.inWorkspace(s.changeRole))
	member("GET "+workspaceBase+"/members/{id}/remove", s.inWorkspace(s.confirmMember))
	member("POST "+workspaceBase+"/members/{id}/remove", confirmed(s.inWorkspace(s.confirmMember), s.inWorkspace(s.removeMember)))
	member("POST "+workspaceBase+"/invitations", s.inWorkspace(s.invite))
	member("GET "+workspaceBase+"/invitations/{id}/withdraw", s.inWorkspace(s.confirmWithdrawal))
	member("POST "+workspaceBase+"/invitations/{id}/withdraw", confirmed(s.inWorkspace(s.confirmWithdrawal), s.inWorkspace(s.withdraw)))
	member("GET "+workspaceBase+"/"+templates.TabUsage, s.permitted(management.MaySeeUsage, templates.SectionWorkspaces, templates.TabUsage, s.usagePage))
	member("GET "+workspaceBase+"/"+templates.TabAudit, s.permitted(management.MayAudit, templates.SectionWorkspaces, templates.TabAudit, s.auditPage))

	admin := func(pattern string, h memberHandler) { mux.Handle(pattern, sameOrigin.Handler(s.adminPage(h))) }
	admin("GET /admin", func(w http.ResponseWriter, _ *http.Request, _ *visitor) error { return redirect(w, "/admin/users") })
	admin("GET /admin/{$}", func(w http.ResponseWriter, _ *http.Request, _ *visitor) error { return redirect(w, "/admin/users") })
	admin("GET /admin/users", s.adminUsersPage)
	admin("POST /admin/users", s.createUser)
	admin("GET /admin/users/{id}", s.adminUserPage)
	admin("POST /admin/users/{id}", s.updateUser)
	admin("POST /admin/users/{id}/password", s.setUserPassword)
	admin("GET /admin/users/{id}/sign-out", s.confirmSignOut)
	admin("POST /admin/users/{id}/sign-out", confirmed(s.confirmSignOut, s.signOutUser))
	admin("GET /admin/users/{id}/disable", s.confirmUser)
	admin("POST /admin/users/{id}/disable", confirmed(s.confirmUser, s.switchUser))
	admin("POST /admin/users/{id}/enable", s.switchUser)
	admin("GET /admin/workspaces", s.adminWorkspacesPage)
	admin("GET /admin/workspaces/{id}/disable", s.confirmWorkspace)
	admin("POST /admin/workspaces/{id}/disable", confirmed(s.confirmWorkspace, s.switchWorkspace))
	admin("POST /admin/workspaces/{id}/enable", s.switchWorkspace)
	admin("POST /admin/workspaces/{id}/plan", s.planWorkspace)
	admin("GET "+adminAppsBase, s.adminAppsPage)
	admin("POST "+adminAppsBase+"/{id}/verify", s.allApps(s.verifyApp))
	admin("POST "+adminAppsBase+"/{id}/unverify", s.allApps(s.verifyApp))

	for base, at := range map[string]func(appHandler) memberHandler{appsBase: s.ownApps, workspaceBase + "/" + templates.TabApps: s.workspaceApps} {
		member("GET "+base, at(s.appsPage))
		member("POST "+base, at(s.createApp))
		member("GET "+base+"/new", at(s.appFormPage))
	}

	// One app, for whoever built it, for those who manage its workspace's, and for administrators.
	for _, x := range []struct {
		base     string
		register func(string, memberHandler)
		at       func(appHandler) memberHandler
	}{
		{appsBase, member, s.ownApps},
		{workspaceBase + "/" + templates.TabApps, member, s.workspaceApps},
		{adminAppsBase, admin, s.allApps},
	} {
		x.register("GET "+x.base+"/{id}", x.at(s.appPage))
		x.register("GET "+x.base+"/shown", x.at(s.shownSecret))
		x.register("POST "+x.base+"/{id}", x.at(s.updateApp))
		x.register("POST "+x.base+"/{id}/secret", x.at(s.rotateSecret))
		x.register("GET "+x.base+"/{id}/disable", x.at(s.confirmApp))
		x.register("POST "+x.base+"/{id}/disable", confirmed(x.at(s.confirmApp), x.at(s.switchApp)))
		x.register("POST "+x.base+"/{id}/enable", x.at(s.switchApp))
		x.register("POST "+x.base+"/{id}/delete", x.at(s.deleteApp))
	}

	// One set of pages for a workspace's API keys and a person's own tokens.
	member("GET /settings/developer", s.toWorkspace(templates.TabKeys))
	member("GET /settings/developer/{$}", s.toWorkspace(templates.TabKeys))
	member("GET /settings/developer/api-keys", s.toWorkspace(templates.TabKeys))
	for base, place := range map[string]func(keyHandler) memberHandler{keysBase: s.apiKeys, tokensBase: s.personalTokens} {
		member("GET "+base, place(s.keysPage))
		member("POST "+base, place(s.createKey))
		member("POST "+base+"/search", place(s.findKeys))
		member("GET "+base+"/new", place(s.keyFormPage))
		member("GET "+base+"/shown", place(s.shownKey))
		member("GET "+base+"/{id}", place(s.keyPage))
		member("POST "+base+"/{id}", place(s.updateKey))
		member("POST "+base+"/{id}/rotate", place(s.rotateKey))
		member("GET "+base+"/{id}/pause", place(s.confirmKey))
		member("POST "+base+"/{id}/pause", confirmed(place(s.confirmKey), place(s.switchKey)))
		member("POST "+base+"/{id}/resume", place(s.switchKey))
		member("GET "+base+"/{id}/revoke", place(s.confirmKey))
		member("POST "+base+"/{id}/revoke", confirmed(place(s.confirmKey), place(s.revokeKey)))
	}

	// What trusted proxies ask never comes here; others are told why they may not.
	mux.HandleFunc(gateway.ForwardPath, s.gateway.ForwardAuth)
	mux.HandleFunc(gateway.NginxPath, s.gateway.NginxAuth)

	mux.HandleFunc("GET /healthz", healthz)
	machine("GET /readyz", s.readyz)
	mux.Handle("GET /assets/", s.assets())
	mux.Handle("GET /favicon.ico", http.RedirectHandler(templates.AssetPath("mark.svg"), http.StatusSeeOther))
	mux.Handle("/", s.rawPage(func(w http.ResponseWriter, r *http.Request) error { return s.noRoute(w, r, mux.ServeMux) }))
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
			s.writePageError(w, r, notFound()) // no list of files, and no name that no file can have
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
		return notFound()
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	if isMachine(r) {
		s.turnAway(w, r, http.StatusMethodNotAllowed, "This method is not taken here; see the Allow header.")
		return nil
	}
	return &pageError{Status: http.StatusMethodNotAllowed, Heading: "That cannot be done here", Message: "This address does not take requests of this kind."}
}
