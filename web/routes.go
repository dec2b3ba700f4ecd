package web

import (
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/templates"
	"doorward/web/api"
	"doorward/web/gateway"
	"doorward/web/logo"
	"doorward/web/page"
)

// routes registers every route of the public listener. Protocol endpoints accept requests from any origin; forms of
// pages only those from the same origin.
func (s *Server) routes() http.Handler {
	account, workspaces, keys, apps := s.settings.Account, s.settings.Workspaces, s.settings.Keys, s.settings.Apps
	mux := &routeMux{ServeMux: http.NewServeMux(), patterns: &s.patterns}
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(s.pages.ForAnyone(func(http.ResponseWriter, *http.Request) error {
		return page.NotVerified(locale.New("This request came from another site. Nothing was changed. To continue, open the page " +
			"here and submit the form from there."))
	}))

	// Protocol endpoints use no cookies. Each checks the method itself.
	machine := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, page.Bounded(h)) }
	machine("/oauth/token", s.oauth.Token)
	machine("/oauth/introspect", s.oauth.Introspect)
	machine("/oauth/revoke", s.oauth.Revoke)
	machine("OPTIONS /oauth/token", s.oauth.Preflight)
	machine("/oauth/par", s.oauth.PAR)
	machine("OPTIONS /oauth/par", s.oauth.Preflight)
	machine("POST /oauth/register", s.oauth.Register)
	mux.HandleFunc("OPTIONS /oauth/register", oauth.PreflightRegister)
	machine("GET /oauth/register/{client_id}", s.oauth.Registration)
	machine("PUT /oauth/register/{client_id}", s.oauth.Registration)
	machine("DELETE /oauth/register/{client_id}", s.oauth.Registration)
	mux.HandleFunc("OPTIONS /oauth/register/{client_id}", oauth.PreflightRegistration)
	machine("OPTIONS /oauth/revoke", s.oauth.Preflight)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.oauth.Metadata)

	machine("GET /oauth/jwks", s.oauth.JWKS)

	// For APIs whose ID is a URL on the issuer's host. Other APIs' hosts serve their own.
	mux.HandleFunc("GET /.well-known/oauth-protected-resource", s.resourceMetadata)
	mux.HandleFunc("GET /.well-known/oauth-protected-resource/{path...}", s.resourceMetadata)

	// Pages of any origin may read these. If they add a header such as MCP-Protocol-Version, browsers send a preflight.
	mux.HandleFunc("OPTIONS /.well-known/oauth-authorization-server", oauth.PreflightPublic)
	mux.HandleFunc("OPTIONS /oauth/jwks", oauth.PreflightPublic)
	mux.HandleFunc("OPTIONS /.well-known/oauth-protected-resource", s.resourceMetadata)
	mux.HandleFunc("OPTIONS /.well-known/oauth-protected-resource/{path...}", s.resourceMetadata)

	s.api.Register(func(pattern string, h http.Handler) { mux.Handle(pattern, page.Bounded(h)) })

	// Authorize accepts GET and POST from any origin, because it decides nothing.
	mux.Handle("GET /oauth/authorize", s.pages.ForAnyone(s.signIn.Authorize))
	mux.Handle("POST /oauth/authorize", s.pages.ForAnyoneRaw(s.signIn.Authorize))

	// A GET of these may issue a code, or use one. A HEAD request must not (RFC 9110, section 9.3.2).
	mux.HandleFunc("HEAD /oauth/authorize", headOnly)
	mux.HandleFunc("HEAD /oauth/consent", headOnly)
	mux.HandleFunc("HEAD /login", headOnly)
	mux.HandleFunc("HEAD /login/{provider}/callback", headOnly)

	// Pages.
	anyone := func(pattern string, h page.Handler) { mux.Handle(pattern, sameOrigin.Handler(s.pages.ForAnyone(h))) }
	anyone("GET /login", s.signIn.LoginPage)
	anyone("POST /login", s.signIn.Login)
	anyone("GET /login/link", s.signIn.SignInLinkPage)
	anyone("POST /login/link", s.signIn.SignInLink)
	anyone("POST /login/email", s.signIn.EmailLink)
	anyone("GET /login/code", s.signIn.CodePage)
	anyone("POST /login/code", s.signIn.Code)
	anyone("GET /login/passkey", s.signIn.PasskeyOptions)
	anyone("POST /login/passkey", s.signIn.Passkey)
	anyone("GET /login/second", s.signIn.SecondPage)
	anyone("POST /login/second", s.signIn.Second)
	anyone("GET /login/enrol", s.signIn.EnrolPage)
	anyone("POST /login/enrol", s.signIn.Enrol)
	anyone("POST /login/enrol/email", s.signIn.EnrolEmail)
	anyone("GET /login/enrol/code", s.signIn.EnrolCodePage)
	anyone("POST /login/enrol/code", s.signIn.EnrolCode)
	anyone("POST /login/{provider}", s.signIn.Provider)
	anyone("GET /login/{provider}/callback", s.signIn.ProviderCallback)
	// The form comes from the provider's site. It decides nothing before it is sent again from here.
	mux.Handle("POST /login/{provider}/callback", s.pages.ForAnyone(s.signIn.ProviderCallbackForm))
	anyone("GET /signup", s.signIn.SignUpPage)
	anyone("POST /signup", s.signIn.SignUp)
	anyone("GET /signup/code", s.signIn.SignUpCodePage)
	anyone("POST /signup/code", s.signIn.SignUpCode)
	anyone("GET /signup/link", s.signIn.SignUpLinkPage)
	anyone("POST /signup/link", s.signIn.SignUpLink)
	anyone("GET /signup/complete", s.signIn.CompletePage)
	anyone("POST /signup/complete", s.signIn.Complete)
	anyone("GET /forgot", s.signIn.ForgotPage)
	anyone("POST /forgot", s.signIn.Forgot)
	anyone("GET /reset", s.signIn.ResetPage)
	anyone("POST /reset", s.signIn.Reset)
	anyone("GET /address", s.signIn.AddressPage)
	anyone("POST /address", s.signIn.Address)
	anyone("GET /undo", s.signIn.UndoPage)
	anyone("POST /undo", s.signIn.Undo)
	anyone("GET /logout", s.signIn.LogoutPage)
	anyone("POST /logout", s.signIn.Logout)
	anyone("GET /oauth/consent", s.signIn.ConsentPage)
	anyone("POST /oauth/consent", s.signIn.Consent)
	anyone("GET /setup", s.signIn.SetupPage)
	anyone("POST /setup", s.signIn.Setup)

	user := func(pattern string, h page.UserHandler) { mux.Handle(pattern, sameOrigin.Handler(s.pages.ForUsers(h))) }
	user("GET /{$}", redirect(page.DefaultPage))
	user("GET /settings/{$}", redirect(page.DefaultPage))
	user("GET /settings", redirect(page.DefaultPage))
	user("GET /settings/profile", account.ProfilePage)
	user("POST /settings/profile", account.Profile)
	user("POST /settings/profile/address", account.AskAddress)
	user("POST /settings/profile/export", account.Export)
	user("GET /settings/profile/delete", account.ConfirmDelete)
	user("POST /settings/profile/delete", page.Confirmed(account.ConfirmDelete, account.Delete))
	user("GET /settings/security", account.SecurityPage)
	user("POST /settings/security/password", account.ChangePassword)
	user("GET /settings/security/sessions/{id}/end", account.ConfirmEndSession)
	user("POST /settings/security/sessions/{id}/end", page.Confirmed(account.ConfirmEndSession, account.EndOneSession))
	user("GET /settings/security/sessions/end-others", account.ConfirmEndSession)
	user("POST /settings/security/sessions/end-others",
		page.Confirmed(account.ConfirmEndSession, account.EndOtherSessions))
	user("POST /settings/security/passkeys/new", account.NewPasskeyPage)
	user("POST /settings/security/passkeys", account.AddPasskey)
	user("GET /settings/security/passkeys/{id}", account.PasskeyPage)
	user("POST /settings/security/passkeys/{id}/rename", account.RenamePasskey)
	user("POST /settings/security/totp", account.TOTPPage)
	user("POST /settings/security/totp/confirm", account.EnableTOTP)
	user("POST /settings/security/providers/{provider}/connect", s.signIn.ConnectProvider)
	user("POST /settings/security/recovery-codes", account.RecoveryCodes)
	user("GET /settings/security/methods/{method}/remove", account.ConfirmRemoveMethod)
	user("POST /settings/security/methods/{method}/remove",
		page.Confirmed(account.ConfirmRemoveMethod, account.RemoveMethod))
	user("GET /settings/connected-apps", account.ConnectedAppsPage)
	user("GET /settings/connected-apps/{id}/end", account.ConfirmEndAccess)
	user("POST /settings/connected-apps/{id}/end", page.Confirmed(account.ConfirmEndAccess, account.EndAccess))
	user("GET /settings/connected-apps/end-all", account.ConfirmEndAccess)
	user("POST /settings/connected-apps/end-all", page.Confirmed(account.ConfirmEndAccess, account.EndAccess))

	anyone("GET /join/{word}", s.signIn.JoinPage)
	user("POST /join/{word}", s.signIn.Join)
	user("GET /settings/workspaces", workspaces.ListPage)
	user("POST /settings/workspaces", workspaces.Create)
	user("GET /settings/workspaces/{slug}", workspaces.In(workspaces.SettingsPage))
	user("POST /settings/workspaces/{slug}", workspaces.In(workspaces.Update))
	user("GET /settings/workspaces/{slug}/leave", workspaces.In(workspaces.ConfirmLeave))
	user("POST /settings/workspaces/{slug}/leave",
		page.Confirmed(workspaces.In(workspaces.ConfirmLeave), workspaces.In(workspaces.Leave)))
	user("POST /settings/workspaces/{slug}/delete", workspaces.In(workspaces.Delete))
	user("GET /settings/workspaces/{slug}/members", workspaces.In(workspaces.MembersPage))
	user("GET /settings/workspaces/{slug}/members/shown", workspaces.In(workspaces.ShownInvitation))
	user("POST /settings/workspaces/{slug}/members/{id}/role", workspaces.In(workspaces.ChangeRole))
	user("GET /settings/workspaces/{slug}/members/{id}/remove", workspaces.In(workspaces.ConfirmMember))
	user("POST /settings/workspaces/{slug}/members/{id}/remove",
		page.Confirmed(workspaces.In(workspaces.ConfirmMember), workspaces.In(workspaces.RemoveMember)))
	user("POST /settings/workspaces/{slug}/invitations", workspaces.In(workspaces.Invite))
	user("GET /settings/workspaces/{slug}/invitations/{id}/withdraw", workspaces.In(workspaces.ConfirmWithdrawal))
	user("POST /settings/workspaces/{slug}/invitations/{id}/withdraw",
		page.Confirmed(workspaces.In(workspaces.ConfirmWithdrawal), workspaces.In(workspaces.Withdraw)))
	user("GET /settings/workspaces/{slug}/usage",
		workspaces.Permitted(management.MaySeeUsage, templates.SectionWorkspaces, templates.TabUsage, workspaces.UsagePage))
	user("GET /settings/workspaces/{slug}/usage.csv",
		workspaces.Permitted(management.MaySeeUsage, templates.SectionWorkspaces, templates.TabUsage, workspaces.UsageCSV))
	user("GET /settings/workspaces/{slug}/audit",
		workspaces.Permitted(management.MayAudit, templates.SectionWorkspaces, templates.TabAudit, workspaces.AuditPage))
	user("GET /settings/workspaces/{slug}/audit.csv",
		workspaces.Permitted(management.MayAudit, templates.SectionWorkspaces, templates.TabAudit, workspaces.AuditCSV))

	administrator := func(pattern string, h page.UserHandler) {
		mux.Handle(pattern, sameOrigin.Handler(s.pages.ForAdministrators(h)))
	}
	administrator("GET /admin", redirect("/admin/users"))
	administrator("GET /admin/{$}", redirect("/admin/users"))
	administrator("GET /admin/users", s.admin.UsersPage)
	administrator("POST /admin/users", s.admin.CreateUser)
	administrator("GET /admin/users/{id}", s.admin.UserPage)
	administrator("POST /admin/users/{id}", s.admin.UpdateUser)
	administrator("POST /admin/users/{id}/password", s.admin.SetUserPassword)
	administrator("GET /admin/users/{id}/sign-out", s.admin.ConfirmSignOut)
	administrator("POST /admin/users/{id}/sign-out", page.Confirmed(s.admin.ConfirmSignOut, s.admin.SignOutUser))
	administrator("GET /admin/users/{id}/disable", s.admin.ConfirmDisableUser)
	administrator("POST /admin/users/{id}/disable",
		page.Confirmed(s.admin.ConfirmDisableUser, s.admin.SetUserDisabled))
	administrator("POST /admin/users/{id}/enable", s.admin.SetUserDisabled)
	administrator("POST /admin/users/{id}/reset", s.admin.SendReset)
	administrator("POST /admin/users/{id}/approve", s.admin.Approve)
	administrator("GET /admin/users/{id}/refuse", s.admin.ConfirmRefusal)
	administrator("POST /admin/users/{id}/refuse", page.Confirmed(s.admin.ConfirmRefusal, s.admin.Refuse))
	administrator("GET /admin/users/{id}/delete", s.admin.ConfirmDeletion)
	administrator("POST /admin/users/{id}/delete", page.Confirmed(s.admin.ConfirmDeletion, s.admin.DeleteUser))
	administrator("GET /admin/users/{id}/sessions/{session}/end", s.admin.ConfirmEndSession)
	administrator("POST /admin/users/{id}/sessions/{session}/end",
		page.Confirmed(s.admin.ConfirmEndSession, s.admin.EndUserSession))
	administrator("GET /admin/users/{id}/methods/{method}/remove", s.admin.ConfirmRemoveMethod)
	administrator("POST /admin/users/{id}/methods/{method}/remove",
		page.Confirmed(s.admin.ConfirmRemoveMethod, s.admin.RemoveMethod))
	administrator("GET /admin/workspaces", s.admin.WorkspacesPage)
	administrator("GET /admin/workspaces/{id}/disable", s.admin.ConfirmDisableWorkspace)
	administrator("POST /admin/workspaces/{id}/disable",
		page.Confirmed(s.admin.ConfirmDisableWorkspace, s.admin.SetWorkspaceDisabled))
	administrator("POST /admin/workspaces/{id}/enable", s.admin.SetWorkspaceDisabled)
	administrator("POST /admin/workspaces/{id}/plan", s.admin.SetPlan)
	administrator("GET /admin/apps", apps.AllAppsPage)
	administrator("GET /admin/audit", workspaces.AllAuditPage)
	administrator("GET /admin/audit.csv", workspaces.AllAuditCSV)
	administrator("GET /admin/registration-tokens", apps.RegistrationTokensPage)
	administrator("POST /admin/registration-tokens", apps.CreateRegistrationToken)
	administrator("GET /admin/registration-tokens/shown", apps.ShownRegistrationToken)
	administrator("GET /admin/registration-tokens/{id}/revoke", apps.ConfirmRevokeToken)
	administrator("POST /admin/registration-tokens/{id}/revoke",
		page.Confirmed(apps.ConfirmRevokeToken, apps.RevokeRegistrationToken))
	administrator("POST /admin/apps/{id}/verify", apps.All(apps.SetVerified))
	administrator("POST /admin/apps/{id}/unverify", apps.All(apps.SetVerified))

	user("GET /settings/developer/apps", apps.Own(apps.ListPage))
	user("POST /settings/developer/apps", apps.Own(apps.Create))
	user("GET /settings/developer/apps/new", apps.Own(apps.FormPage))
	user("GET /settings/workspaces/{slug}/apps", apps.OfWorkspace(apps.ListPage))
	user("POST /settings/workspaces/{slug}/apps", apps.OfWorkspace(apps.Create))
	user("GET /settings/workspaces/{slug}/apps/new", apps.OfWorkspace(apps.FormPage))

	// One app: for its developer, for those who manage the workspace's apps, and for administrators.
	user("GET /settings/developer/apps/{id}", apps.Own(apps.AppPage))
	user("GET /settings/developer/apps/shown", apps.Own(apps.ShownSecret))
	user("POST /settings/developer/apps/{id}", apps.Own(apps.Update))
	user("POST /settings/developer/apps/{id}/authentication", apps.Own(apps.UpdateAuthentication))
	user("POST /settings/developer/apps/{id}/secret", apps.Own(apps.RotateSecret))
	user("GET /settings/developer/apps/{id}/disable", apps.Own(apps.ConfirmDisable))
	user("POST /settings/developer/apps/{id}/disable",
		page.Confirmed(apps.Own(apps.ConfirmDisable), apps.Own(apps.SetDisabled)))
	user("POST /settings/developer/apps/{id}/enable", apps.Own(apps.SetDisabled))
	user("POST /settings/developer/apps/{id}/delete", apps.Own(apps.Delete))

	user("GET /settings/workspaces/{slug}/apps/{id}", apps.OfWorkspace(apps.AppPage))
	user("GET /settings/workspaces/{slug}/apps/shown", apps.OfWorkspace(apps.ShownSecret))
	user("POST /settings/workspaces/{slug}/apps/{id}", apps.OfWorkspace(apps.Update))
	user("POST /settings/workspaces/{slug}/apps/{id}/authentication", apps.OfWorkspace(apps.UpdateAuthentication))
	user("POST /settings/workspaces/{slug}/apps/{id}/secret", apps.OfWorkspace(apps.RotateSecret))
	user("GET /settings/workspaces/{slug}/apps/{id}/disable", apps.OfWorkspace(apps.ConfirmDisable))
	user("POST /settings/workspaces/{slug}/apps/{id}/disable",
		page.Confirmed(apps.OfWorkspace(apps.ConfirmDisable), apps.OfWorkspace(apps.SetDisabled)))
	user("POST /settings/workspaces/{slug}/apps/{id}/enable", apps.OfWorkspace(apps.SetDisabled))
	user("POST /settings/workspaces/{slug}/apps/{id}/delete", apps.OfWorkspace(apps.Delete))

	administrator("GET /admin/apps/{id}", apps.All(apps.AppPage))
	administrator("GET /admin/apps/shown", apps.All(apps.ShownSecret))
	administrator("POST /admin/apps/{id}", apps.All(apps.Update))
	administrator("POST /admin/apps/{id}/authentication", apps.All(apps.UpdateAuthentication))
	administrator("POST /admin/apps/{id}/secret", apps.All(apps.RotateSecret))
	administrator("GET /admin/apps/{id}/disable", apps.All(apps.ConfirmDisable))
	administrator("POST /admin/apps/{id}/disable",
		page.Confirmed(apps.All(apps.ConfirmDisable), apps.All(apps.SetDisabled)))
	administrator("POST /admin/apps/{id}/enable", apps.All(apps.SetDisabled))
	administrator("POST /admin/apps/{id}/delete", apps.All(apps.Delete))

	// A workspace's API keys and a user's personal access tokens share their pages.
	user("GET /settings/developer", workspaces.ToWorkspace(templates.TabKeys))
	user("GET /settings/developer/{$}", workspaces.ToWorkspace(templates.TabKeys))
	user("GET /settings/developer/api-keys", workspaces.ToWorkspace(templates.TabKeys))
	user("GET /settings/workspaces/{slug}/api-keys", keys.OfWorkspace(keys.ListPage))
	user("POST /settings/workspaces/{slug}/api-keys", keys.OfWorkspace(keys.Create))
	user("POST /settings/workspaces/{slug}/api-keys/search", keys.OfWorkspace(keys.Search))
	user("GET /settings/workspaces/{slug}/api-keys/new", keys.OfWorkspace(keys.FormPage))
	user("GET /settings/workspaces/{slug}/api-keys/shown", keys.OfWorkspace(keys.ShownKey))
	user("GET /settings/workspaces/{slug}/api-keys/{id}", keys.OfWorkspace(keys.KeyPage))
	user("POST /settings/workspaces/{slug}/api-keys/{id}", keys.OfWorkspace(keys.Update))
	user("POST /settings/workspaces/{slug}/api-keys/{id}/rotate", keys.OfWorkspace(keys.Rotate))
	user("GET /settings/workspaces/{slug}/api-keys/{id}/pause", keys.OfWorkspace(keys.Confirm))
	user("POST /settings/workspaces/{slug}/api-keys/{id}/pause",
		page.Confirmed(keys.OfWorkspace(keys.Confirm), keys.OfWorkspace(keys.SetPaused)))
	user("POST /settings/workspaces/{slug}/api-keys/{id}/resume", keys.OfWorkspace(keys.SetPaused))
	user("GET /settings/workspaces/{slug}/api-keys/{id}/revoke", keys.OfWorkspace(keys.Confirm))
	user("POST /settings/workspaces/{slug}/api-keys/{id}/revoke",
		page.Confirmed(keys.OfWorkspace(keys.Confirm), keys.OfWorkspace(keys.Revoke)))

	user("GET /settings/developer/personal-access-tokens", keys.Own(keys.ListPage))
	user("POST /settings/developer/personal-access-tokens", keys.Own(keys.Create))
	user("POST /settings/developer/personal-access-tokens/search", keys.Own(keys.Search))
	user("GET /settings/developer/personal-access-tokens/new", keys.Own(keys.FormPage))
	user("GET /settings/developer/personal-access-tokens/shown", keys.Own(keys.ShownKey))
	user("GET /settings/developer/personal-access-tokens/{id}", keys.Own(keys.KeyPage))
	user("POST /settings/developer/personal-access-tokens/{id}", keys.Own(keys.Update))
	user("POST /settings/developer/personal-access-tokens/{id}/rotate", keys.Own(keys.Rotate))
	user("GET /settings/developer/personal-access-tokens/{id}/pause", keys.Own(keys.Confirm))
	user("POST /settings/developer/personal-access-tokens/{id}/pause",
		page.Confirmed(keys.Own(keys.Confirm), keys.Own(keys.SetPaused)))
	user("POST /settings/developer/personal-access-tokens/{id}/resume", keys.Own(keys.SetPaused))
	user("GET /settings/developer/personal-access-tokens/{id}/revoke", keys.Own(keys.Confirm))
	user("POST /settings/developer/personal-access-tokens/{id}/revoke",
		page.Confirmed(keys.Own(keys.Confirm), keys.Own(keys.Revoke)))

	// Requests of trusted proxies are handled before. Other peers get an error that says why.
	mux.HandleFunc(gateway.ForwardPath, s.gateway.ForwardAuth)
	mux.HandleFunc(gateway.NginxPath, s.gateway.NginxAuth)

	mux.HandleFunc("GET /healthz", healthz)
	machine("GET /readyz", s.readyz)
	mux.Handle("GET /assets/", s.assets())
	mux.HandleFunc("GET /assets/brand/{name}", s.brandFile)
	mux.Handle("GET "+logo.Path+"{name}", page.Bounded(s.logos))
	mux.Handle("GET /favicon.ico", http.RedirectHandler(templates.AssetPath("mark.svg"), http.StatusSeeOther))
	mux.Handle("/", s.pages.ForAnyoneRaw(func(w http.ResponseWriter, r *http.Request) error {
		return s.notFoundOrNotAllowed(w, r, mux.ServeMux)
	}))
	return s.observe(s.guard(mux))
}

// redirect sends a user to a page.
func redirect(to string) page.UserHandler {
	return func(w http.ResponseWriter, _ *http.Request, _ *page.Visitor) error { return page.Redirect(w, to) }
}

// routeMux records the patterns that are registered.
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

// Patterns lists the routes of the public listener in the form of http.ServeMux, so that a test can check that each has
// a decision about its rights.
func (s *Server) Patterns() []string { return slices.Clone(s.patterns) }

// headOnly answers HEAD for pages whose GET may change something.
func headOnly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// assets serves the pages' static files. With the current digest in the query, they may be cached forever; with another
// digest, from a page of another server version, only for a short time.
func (s *Server) assets() http.Handler {
	files, err := fs.Sub(templates.Assets, "assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	server := http.StripPrefix("/assets/", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fs.ValidPath(strings.TrimPrefix(r.URL.Path, "/assets/")) {
			s.pages.WriteError(w, r, page.NotFound()) // a directory, or an invalid name
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

// resourceMetadata serves the metadata of an API (RFC 9728).
func (s *Server) resourceMetadata(w http.ResponseWriter, r *http.Request) {
	if !s.gateway.ServeMetadata(w, r) {
		s.writeRefusal(w, r, http.StatusNotFound, "Not found; check the URL.")
	}
}

// notFoundOrNotAllowed serves requests that match no other route: with 405 if another method would match, and otherwise
// with 404.
func (s *Server) notFoundOrNotAllowed(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) error {
	var allowed []string
	for _, method := range []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if a := gateway.APIOf(r.Context()); a != nil && len(allowed) == 0 {
		// There are no pages on an API's host.
		s.gateway.Refuse(w, r, a, &gateway.Refusal{
			Kind: gateway.NotFound, Detail: "Not found; check the URL.",
		})
		return nil
	}
	if len(allowed) == 0 && api.Owns(r.URL.Path) {
		s.writeRefusal(w, r, http.StatusNotFound, "Not found; check the URL.")
		return nil
	}
	if len(allowed) == 0 {
		return page.NotFound()
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	if isMachine(r) {
		s.writeRefusal(w, r, http.StatusMethodNotAllowed, "Method not allowed; see the Allow header.")
		return nil
	}
	return &page.Error{
		Status: http.StatusMethodNotAllowed, Heading: locale.New("Method not allowed"),
		Message: locale.New("This page does not support this kind of request."),
	}
}
