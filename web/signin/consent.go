package signin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/redirecturi"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// openConsent returns the authorization request of a flow, and the visitor who decides about it. It answers itself, and
// returns done, if the visitor has to sign in first, or if the flow was answered before. The same choice then leads to
// the same redirect. choice is that of the form; empty: the request is for the page.
func (s *Handlers) openConsent(
	w http.ResponseWriter, r *http.Request, sealed, choice string,
) (a *oauth.AuthorizeRequest, v *page.Visitor, done bool, err error) {
	f, decided, err := s.openFlow(r, sealed)
	if err != nil {
		return nil, nil, false, err
	}
	if v, err = s.VisitorOfForm(w, r); err != nil {
		return nil, nil, false, err
	}
	if decided {
		if choice != "" && s.secrets.FormTokenFits(r.PostForm.Get("token"), s.consentBinding(f, v)...) {
			return nil, nil, true, s.sameAnswer(w, r, f, v, choice)
		}
		return nil, nil, true, s.answered(r, f, v)
	}
	if a, done, err = s.reopen(w, r, f); err != nil || done {
		return nil, nil, done, err
	}
	if a.NeedsLogin(v.AuthTime()) || a.NeedsSelection(v.AuthTime()) {
		return nil, nil, true, page.Redirect(w, "/login?flow="+sealed)
	}
	return a, v, false, nil
}

// ConsentPage serves GET /oauth/consent.
func (s *Handlers) ConsentPage(w http.ResponseWriter, r *http.Request) error {
	sealed := r.URL.Query().Get("flow")
	a, v, done, err := s.openConsent(w, r, sealed, "")
	if err != nil || done {
		return err
	}
	p, err := s.findConsentContext(r.Context(), a, v)
	if err != nil {
		return err
	}
	if p.hasNoWorkspace() {
		return noWorkspace()
	}
	if !p.needsConsent(a) {
		return s.resume(w, r, a, v, sealed)
	}
	s.preselect(r, a, p)
	return s.showConsent(w, r, http.StatusOK, a, p, sealed, nil, locale.Text{})
}

// noWorkspace is the page for users who cannot allow apps in any workspace.
func noWorkspace() *page.Error {
	return &page.Error{
		Status: http.StatusForbidden, Heading: locale.New("No workspace available"),
		Message: locale.New("All your workspaces are disabled, or you can only view them. Ask a workspace owner or an " +
			"administrator of this server."),
	}
}

// consentBinding returns the values to which the token in the form of the consent page is bound.
func (s *Handlers) consentBinding(f *oauth.Flow, v *page.Visitor) []string {
	return []string{"consent", f.ID, v.Row.ID, v.User.ID}
}

// choiceOf sums up the decision in a consent form. Forms with the same choice get the same answer.
func choiceOf(form url.Values) string {
	decision := form.Get("decision")
	if decision == "deny" {
		return decision
	}
	return strings.Join(
		append([]string{decision, form.Get("workspace")}, slices.Compact(slices.Sorted(slices.Values(form["scope"])))...),
		" ",
	)
}

// showConsent renders the consent page. checked are the scopes that are checked; nil: all.
func (s *Handlers) showConsent(
	w http.ResponseWriter, r *http.Request, status int, a *oauth.AuthorizeRequest, p *consentContext, sealed string,
	checked []string, fault locale.Text,
) error {
	reader := locale.From(r.Context())
	host, loopback := redirecturi.Host(a.RedirectURI)
	view := templates.ConsentView{
		Page: s.NewPage(p.visitor, ""), Flow: sealed, Token: s.secrets.FormToken(s.consentBinding(&a.Flow, p.visitor)...),
		App: templates.ConsentApp{
			Name: a.Client.Name, Site: a.Client.Site, RedirectHost: host, Loopback: loopback, BareScheme: a.BareScheme(),
			Verified: a.Client.Verified, Operator: management.RegisteredByOperator(&a.Client), FirstParty: a.Client.FirstParty,
			PolicyURL: a.Client.PolicyURI, TermsURL: a.Client.TOSURI, SelfRegistered: a.Client.SelfRegistered(),
			ProvenHost: oauth.ProvenHost(&a.Client), OnlyLoopback: onlyLoopback(a.Client.RedirectURIs),
			LogoURL: s.LogoURL(&a.Client),
		},
		SwitchURL: switchURL(sealed), ResourceName: a.Resource.Name, Error: fault,
		NotGranted: locale.New("It will not see your password or get any permissions beyond those listed here."),
	}
	if a.Client.SelfRegistered() {
		view.Described = s.secrets.FormToken(describedBinding(a)...)
		if !a.Client.CreatedAt.IsZero() {
			view.App.FirstSeen = a.Client.CreatedAt.Time()
		}
	}
	if p.change != nil {
		view.App.Change = &templates.ConsentChange{
			OldName: p.change.OldName, Added: p.change.Added, Removed: p.change.Removed, NewKeys: p.change.NewKeys,
		}
	}
	lifetimes := s.oauth.Lifetimes()
	if a.Client.GrantTypes.Has(oauth.GrantRefreshToken) {
		view.Lasts = append(view.Lasts, locale.New("Access expires after %s, or after %s without use.",
			locale.Span(lifetimes.RefreshAbsolute), locale.Span(lifetimes.Refresh)))
	} else {
		view.Lasts = append(view.Lasts, locale.New("Access expires after %s.", locale.Span(lifetimes.Access)))
	}
	if a.Client.Manages && slices.Contains(a.Scopes, catalog.ScopeAdmin) {
		view.Lasts = append(view.Lasts,
			locale.New("API keys, apps and members that it adds for you remain after you revoke its access."))
	}
	// What was allowed before is folded. With a choice of workspaces it is not: in another one it may be new.
	fold := !strings.Contains(a.Prompt, "consent") && len(p.workspaces) == 1 && p.change == nil
	if fold {
		fold = slices.ContainsFunc(a.Scopes, func(name string) bool { return !slices.Contains(p.known, name) })
	}
	for _, top := range scopeGroups(reader, a.Resource, a.Scopes) {
		all := strings.Fields(top.Value)
		isNew := func(name string) bool { return !slices.Contains(p.known, name) }
		top.Checked = checked == nil ||
			!slices.ContainsFunc(all, func(name string) bool { return !slices.Contains(checked, name) })
		fresh := slices.ContainsFunc(all, isNew)
		if fold && !fresh {
			view.Known = append(view.Known, top)
			continue
		}
		if fold {
			// What was allowed before stays allowed, even if the new scope that includes it is denied.
			for _, known := range scopeGroups(reader, a.Resource, slices.DeleteFunc(slices.Clone(all), isNew)) {
				if !slices.ContainsFunc(view.Known, func(x templates.ConsentScope) bool { return x.Value == known.Value }) &&
					!includesFresh(a, p, known) {
					view.Known = append(view.Known, known)
				}
			}
		}
		top.New = len(p.known) > 0 && fresh
		view.Scopes = append(view.Scopes, top)
	}
	if len(view.Scopes) == 1 && len(view.Known) == 0 {
		view.Scopes[0].Locked = true
	}
	view.OtherWorkspaces = p.more
	for _, ws := range p.workspaces {
		view.Workspaces = append(view.Workspaces, templates.WorkspaceChoice{
			Slug: ws.Slug, Name: ws.Name, Personal: ws.Personal, Selected: ws.ID == p.workspace.ID,
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.ConsentPage(view), formTarget(&a.Flow)...)
}

// Consent serves POST /oauth/consent: the resource owner's decision (RFC 6749, section 4.1.1).
func (s *Handlers) Consent(w http.ResponseWriter, r *http.Request) error {
	form := r.PostForm
	sealed, choice := form.Get("flow"), choiceOf(form)
	a, v, done, err := s.openConsent(w, r, sealed, choice)
	if err != nil || done {
		return err
	}
	if !s.secrets.FormTokenFits(form.Get("token"), s.consentBinding(&a.Flow, v)...) {
		e := page.NotVerified(locale.New("This page is for another account, or you have signed in again since. No access " +
			"was granted. Reload the page and answer again."))
		e.BackURL, e.BackText = "/oauth/consent?flow="+url.QueryEscape(sealed), locale.New("Reload the page")
		return e
	}
	if a.Client.SelfRegistered() && form.Get("decision") != "deny" &&
		!s.secrets.FormTokenFits(form.Get("described"), describedBinding(a)...) {
		// The app says something else about itself than when the page was shown.
		e := page.NotVerified(locale.New("This app has changed while the page was open. No access was granted. Reload the " +
			"page to see what is different."))
		e.BackURL, e.BackText = "/oauth/consent?flow="+url.QueryEscape(sealed), locale.New("Reload the page")
		return e
	}
	switch form.Get("decision") {
	case "deny":
		to, err := s.oauth.Deny(r.Context(), a, v.User.ID, choice)
		if errors.Is(err, oauth.ErrAnswered) {
			return s.sameAnswer(w, r, &a.Flow, v, choice)
		}
		if err != nil {
			return s.approveFailed(w, a, err)
		}
		s.endFlow(w, r, &a.Flow)
		return page.Redirect(w, to)
	case "approve":
	default:
		return &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("We couldn't read this form"),
			Message: locale.New("Choose Allow or Deny."),
		}
	}
	p, err := s.findConsentContext(r.Context(), a, v)
	if err != nil {
		return err
	}
	if p.hasNoWorkspace() {
		return noWorkspace()
	}
	// The memberships may have changed since the page was shown. If the form names no workspace, the only one is meant.
	slug := form.Get("workspace")
	if (slug != "" || len(p.workspaces) > 1) && !p.choose(func(ws storage.Workspace) bool { return ws.Slug == slug }) {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("You cannot choose this workspace"),
			Message: locale.New("You cannot allow apps in this workspace. No access was granted. Start again from the app."),
		}
	}
	var granted []string
	for _, value := range form["scope"] { // each is a scope, followed by those that it includes
		granted = append(granted, strings.Split(value, " ")...)
	}
	for _, name := range granted {
		if !slices.Contains(a.Scopes, name) {
			return &page.Error{
				Status: http.StatusBadRequest, Heading: locale.New("We couldn't read this form"),
				Message: locale.New("It contains a permission that the app did not request. No access was granted. Start again " +
					"from the app."),
			}
		}
	}
	if len(a.Granted(granted, p.workspace.Role)) == 0 {
		fault := locale.New("Choose at least one permission, or deny the request.")
		if len(granted) > 0 {
			fault = page.Sentences(fault,
				locale.New("If you clear a permission, permissions that include it are denied as well."))
		}
		return s.showConsent(w, r, http.StatusBadRequest, a, p, sealed, []string{}, fault)
	}
	if a.Resource.Dangerous(granted) && !s.Fresh(v) {
		if v, done, err = s.Prove(w, r, v, formTarget(&a.Flow)...); err != nil || done {
			return err
		}
		p.visitor = v
	}
	d := p.decision(granted, a.ID)
	d.Remember, d.Choice = true, choice
	to, err := s.oauth.Approve(r.Context(), a, d)
	if errors.Is(err, oauth.ErrAnswered) {
		return s.sameAnswer(w, r, &a.Flow, v, choice)
	}
	if err != nil {
		return s.approveFailed(w, a, err)
	}
	s.endFlow(w, r, &a.Flow)
	s.RememberWorkspace(w, r, p.workspace.ID)
	return page.Redirect(w, to)
}

// describedBinding returns the values to which the token for the description of an app is bound.
func describedBinding(a *oauth.AuthorizeRequest) []string {
	return []string{"described", a.ID, oauth.Describe(&a.Client)}
}

// onlyLoopback reports whether all redirect URIs lead to programs on the user's own machine.
func onlyLoopback(uris []string) bool {
	return !slices.ContainsFunc(uris, func(uri string) bool {
		_, loopback := redirecturi.Host(uri)
		return !loopback
	})
}

// includesFresh reports whether a scope that was allowed before includes a requested one that was not. Then the user is
// asked about it again.
func includesFresh(a *oauth.AuthorizeRequest, p *consentContext, known templates.ConsentScope) bool {
	return slices.ContainsFunc(a.Scopes, func(name string) bool {
		return !slices.Contains(p.known, name) && slices.ContainsFunc(strings.Fields(known.Value), func(x string) bool {
			return a.Resource.Includes(x, name)
		})
	})
}

// scopeGroups groups the requested scopes: each with the scopes that it includes. Included scopes that were requested
// too are granted and denied together with it; the others come with it. A scope that another one includes has no group
// of its own.
func scopeGroups(reader locale.Locale, r *catalog.Resource, requested []string) (list []templates.ConsentScope) {
	for i, name := range requested {
		inside := slices.ContainsFunc(requested, func(other string) bool {
			// Of two scopes that include each other, the first one counts.
			return other != name && r.Includes(other, name) && (!r.Includes(name, other) || slices.Index(requested, other) < i)
		})
		if inside {
			continue
		}
		scope, _ := r.Scope(name)
		x := templates.ConsentScope{Value: name, Text: scope.For(reader), Kind: page.ScopeKind(scope)}
		with := r.Effective([]string{name}, "", true)[1:]
		for _, other := range requested {
			if other != name && r.Includes(name, other) {
				x.Value += " " + other
				if !slices.Contains(with, other) {
					with = append(with, other) // the same action for one object
				}
			}
		}
		for _, other := range with {
			included, _ := r.Scope(other)
			x.Includes = append(x.Includes, included.For(reader))
		}
		list = append(list, x)
	}
	return list
}
