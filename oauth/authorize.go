package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/oauth/redirecturi"
	"doorward/storage"
)

// AuthorizeError describes why an authorization request is refused. If RedirectTo is empty, the client or its redirect
// URI could not be verified, so the browser must not be redirected: show a page instead (RFC 6749, section 4.1.2.1).
type AuthorizeError struct {
	Code        string
	Description string      // for the developer of the client, in English (RFC 6749, section 4.1.2.1)
	Message     locale.Text // for the user, on the page; zero: the error is for the developer alone
	RedirectTo  string      // the whole URL with error, state and iss; empty: show a page
	Cause       error
}

// Error implements error.
func (e *AuthorizeError) Error() string {
	if e.Cause != nil {
		return e.Code + ": " + e.Cause.Error()
	}
	return e.Code + ": " + e.Description
}

// Unwrap returns the cause.
func (e *AuthorizeError) Unwrap() error { return e.Cause }

// AuthorizeRequest is a valid authorization request (RFC 6749, section 4.1.1).
type AuthorizeRequest struct {
	Flow
	Client   storage.Client
	Resource *catalog.Resource
}

const (
	// stateMarker replaces the client's state inside fosite, which refuses a short or missing one.
	stateMarker = "state-is-kept-outside-fosite"
	maxState    = 8 << 10 // bytes
)

// s256 matches a code_challenge of the method S256 (RFC 7636, section 4.2): 32 bytes in base64url, whose last character
// holds four bits.
var s256 = regexp.MustCompile(`^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$`)

// unregistered is the error for a redirect URI that is not registered for the client. The page shows the requested URI
// to the developer who wrote the link; only the log shows a registered one.
func unregistered(requested string, registered []string) *AuthorizeError {
	e := pageError(locale.New("The app asked to send you to %s, which it is not registered with. Its developer must "+
		"register exactly that redirect URI.", quotedURI(requested)))
	e.Cause = fmt.Errorf(
		"the redirect URI %s is not registered; %d are, such as %s", quotedURI(requested), len(registered),
		quotedURI(registered[0]),
	)
	return e
}

func pageError(message locale.Text) *AuthorizeError {
	return &AuthorizeError{Code: InvalidRequest, Description: message.String(), Message: message}
}

// ParseAuthorize reads and validates an authorization request, sent by GET or by a form POST (RFC 6749, section 3.1).
// It writes no response and stores nothing. Errors are *AuthorizeError or *http.MaxBytesError, or wrap
// storage.ErrUnavailable. With an *AuthorizeError that has a RedirectTo, the request is returned as far as it was
// understood.
func (s *Server) ParseAuthorize(w http.ResponseWriter, r *http.Request) (*AuthorizeRequest, error) {
	form, err := authorizeParameters(w, r)
	if err != nil {
		return nil, err
	}
	// Check first what decides whether the redirect URI may be used at all.
	if len(form["client_id"]) != 1 || len(form["redirect_uri"]) > 1 {
		return nil, pageError(locale.New(
			"The app's request has a missing or repeated client_id or a repeated redirect_uri. Its developer must " +
				"send each of them once.",
		))
	}
	LogFieldsOf(r.Context()).RecordClient(form.Get("client_id"))
	client, err := s.findForUser(r.Context(), form.Get("client_id"))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, s.unknownApp()
	}
	if err != nil {
		return nil, err
	}
	if form.Has("request_uri") && strings.HasPrefix(form.Get("request_uri"), requestURIPrefix) {
		if len(form["request_uri"]) > 1 {
			return nil, errRequestURI(errors.New("request_uri appears twice"))
		}
		return s.pushedRequest(r.Context(), form.Get("request_uri"), &client)
	}
	if client.PushedRequestsOnly {
		e := pageError(locale.New("The app must send its request in another way. Its developer must push it to the " +
			"server first (PAR) and send only client_id and request_uri here."))
		e.Cause = errors.New("the client is registered with require_pushed_authorization_requests")
		return nil, e
	}
	a, err := s.newRequest(form, &client)
	if err != nil {
		return nil, err
	}
	if err := s.parseVerified(a, form); err != nil {
		return a, err
	}
	return a, s.runFosite(r.Context(), a)
}

// unknownApp is the error for a client that does not exist or is disabled.
func (s *Server) unknownApp() *AuthorizeError {
	if s.management.Registration() != management.RegistrationClosed {
		return pageError(locale.New(
			"This app is disabled, or this server does not know it any more. Remove the connection in the app and add it " +
				"again, so that the app registers again. If you are its developer, check the client ID.",
		))
	}
	return pageError(locale.New(
		"This app is disabled or does not exist. If you are its developer, check the client ID and enable the " +
			"app.",
	))
}

// newRequest begins a request of a client, with what has to be known before any error can be redirected.
func (s *Server) newRequest(form url.Values, client *storage.Client) (*AuthorizeRequest, error) {
	uri := form.Get("redirect_uri")
	if uri == "" && len(client.RedirectURIs) == 1 {
		uri = client.RedirectURIs[0]
	}
	switch {
	case len(client.RedirectURIs) == 0:
		return nil, pageError(locale.New(
			"This app does not sign users in: it is registered without a redirect URI.",
		))
	case uri == "":
		return nil, pageError(locale.New(
			"The app did not say where to send you afterwards. It is registered with several redirect URIs, so its " +
				"developer must send redirect_uri.",
		))
	case !redirecturi.Match(client.RedirectURIs, uri, s.redirectSchemes):
		return nil, unregistered(uri, client.RedirectURIs)
	}
	a := &AuthorizeRequest{Client: *client}
	a.ID, a.CreatedAt, a.ClientID, a.RedirectURI = NewFlowID(), s.store.Now(), client.ID, uri
	if values := form["state"]; len(values) > 0 {
		a.State, a.HasState = values[0], true
	}
	// These are set early: they decide who is told of an error, and in which language.
	if slices.Contains(strings.Fields(form.Get("prompt")), "none") {
		a.Prompt = "none"
	}
	if tags := form.Get("ui_locales"); len(tags) <= maxLocales {
		a.Locales = tags
	}
	return a, nil
}

// authorizeParameters reads the parameters from the query of a GET or the body of a POST, never from both.
func authorizeParameters(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if raw != "" {
			return nil, pageError(locale.New(
				"The app sent parameters in the URL and in the body of its request. Its developer must send them in " +
					"one place.",
			))
		}
		mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || mediaType != "application/x-www-form-urlencoded" {
			return nil, pageError(locale.New(
				"The app sent its request in an unsupported content type. Its developer must send " +
					"application/x-www-form-urlencoded.",
			))
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		if err != nil {
			return nil, pageError(locale.New("The app's request was interrupted; try again from the app."))
		}
		raw = string(body)
	}
	form, err := parseForm(raw)
	if err != nil {
		return nil, pageError(locale.New(
			"The app sent a malformed request. Its developer must percent-encode the parameters.",
		))
	}
	for name, values := range form {
		// A parameter sent without a value counts as left out (RFC 6749, section 3.1).
		if len(values) == 1 && values[0] == "" {
			delete(form, name)
		}
	}
	return form, nil
}

// fail returns an error that the app receives at its verified redirect URI.
func (s *Server) fail(a *AuthorizeRequest, code, description string, cause error) *AuthorizeError {
	return &AuthorizeError{
		Code: code, Description: description, Cause: cause,
		RedirectTo: s.redirectTo(&a.Flow, url.Values{"error": {code}, "error_description": {description}}),
	}
}

// redirectTo adds a response to the redirect URI. The registered query stays as it is, state is returned unchanged, and
// iss identifies this server (RFC 9207).
func (s *Server) redirectTo(f *Flow, response url.Values) string {
	if f.HasState {
		response.Set("state", f.State)
	}
	response.Set("iss", s.issuer)
	return redirecturi.AddResponse(f.RedirectURI, response)
}

// parseVerified checks the parameters of a request whose client and redirect URI are verified.
func (s *Server) parseVerified(a *AuthorizeRequest, form url.Values) error {
	// Check state first, since every answer includes it.
	switch {
	case len(form["state"]) > 1:
		a.HasState = false // it is unknown which of them to echo
		return s.fail(a, InvalidRequest, "state appears twice; send each parameter once.", nil)
	case len(a.State) > maxState:
		a.HasState = false
		return s.fail(a, InvalidRequest, "state is longer than 8,192 bytes; send a shorter one.", nil)
	}
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return s.fail(a, InvalidRequest, "A parameter appears twice; send each parameter once.", nil)
		}
		if name != "state" && !isText(values[0]) {
			return s.fail(a, InvalidRequest, "A parameter contains bytes that are not valid text; send UTF-8.", nil)
		}
	}
	switch {
	case len(form["resource"]) > 1:
		return s.fail(a, InvalidTarget, "Send a single resource parameter; a token is valid for one resource.", nil)
	case form.Has("authorization_details"):
		return s.fail(a, InvalidRequest, errAuthorizationDetails.Description, nil)
	case form.Get("request") != "" && form.Get("request_uri") != "":
		return s.fail(a, InvalidRequest, "request and request_uri are not supported; send plain parameters.", nil)
	case form.Has("request"):
		return s.fail(a, RequestNotSupported, "Request objects are not supported; send plain parameters.", nil)
	case form.Has("request_uri"):
		return s.fail(
			a, RequestURINotSupported, "Only a request_uri of the pushed authorization request endpoint is supported.", nil,
		)
	case form.Get("response_type") != "code":
		return s.fail(a, UnsupportedResponseType, "response_type must be code.", nil)
	case form.Has("response_mode") && form.Get("response_mode") != "query":
		return s.fail(a, InvalidRequest, "response_mode must be query, or left out.", nil)
	case !a.Client.GrantTypes.Has(GrantAuthorizationCode):
		return s.fail(a, "unauthorized_client", "This client is not registered for the authorization code grant.", nil)
	}
	if err := s.parseChallenge(a, form); err != nil {
		return err
	}
	if err := s.parseDPoPKey(a, form); err != nil {
		return err
	}
	var err error
	if a.Resource, err = s.resourceFor(form.Get("resource"), &a.Client); err != nil {
		return s.fail(a, InvalidTarget, asError(err).Description, nil)
	}
	a.Flow.Resource = a.Resource.ID
	if err := s.parseScope(a, form.Get("scope")); err != nil {
		return err
	}
	return s.parsePrompt(a, form)
}

func (s *Server) parseChallenge(a *AuthorizeRequest, form url.Values) error {
	challenge, method := form.Get("code_challenge"), form.Get("code_challenge_method")
	switch {
	case challenge == "" && method == "" && a.Client.PKCEOptional && !a.Client.Public:
		return nil
	case challenge == "":
		return s.fail(
			a,
			InvalidRequest,
			"PKCE is required: send code_challenge and code_challenge_method=S256 (RFC 7636). "+
				"For a confidential client that cannot use PKCE, an administrator can mark PKCE as optional.",
			nil,
		)
	case method != "S256":
		return s.fail(a, InvalidRequest, "code_challenge_method must be S256.", nil)
	case !s256.MatchString(challenge):
		return s.fail(
			a, InvalidRequest,
			"code_challenge must be the 43 base64url characters of the verifier's SHA-256, without padding.", nil,
		)
	}
	a.Challenge = challenge
	return nil
}

// errAuthorizationDetails refuses rich authorization requests (RFC 9396): to ignore the parameter would grant something
// else than the client asked for.
var errAuthorizationDetails = badRequest("authorization_details is not supported; request scopes.")

// parseDPoPKey reads the thumbprint of the key that the code is to be bound to (RFC 9449, section 10).
func (s *Server) parseDPoPKey(a *AuthorizeRequest, form url.Values) error {
	if !form.Has("dpop_jkt") {
		return nil
	}
	if a.DPoPKey = form.Get("dpop_jkt"); !dpop.IsThumbprint(a.DPoPKey) {
		return s.fail(
			a, InvalidRequest, "dpop_jkt must be the base64url SHA-256 thumbprint of a key (RFC 7638): 43 characters.", nil,
		)
	}
	return nil
}

// parseScope checks the requested scopes against the client and the resource. A request without scopes gets those that
// the client is registered for at this resource (RFC 6749, section 3.3).
func (s *Server) parseScope(a *AuthorizeRequest, text string) error {
	requested := slices.DeleteFunc(scopeNames(text), func(name string) bool {
		_, known := a.Resource.Scope(name)
		return name == management.ScopeOffline && !known // it has no effect
	})
	unnamed := len(requested) == 0
	if unnamed {
		requested = a.Client.Scopes
	}
	for _, name := range requested {
		_, known := a.Resource.Scope(name)
		switch {
		case unnamed && !mayRequest(&a.Client, a.Resource, name):
			continue
		case !known:
			return s.fail(
				a, InvalidScope, "A requested scope is not defined for this resource; request only its scopes.", nil,
			)
		case !mayRequest(&a.Client, a.Resource, name):
			return s.fail(a, InvalidScope, notRegisteredFor(&a.Client), nil)
		}
		if !slices.Contains(a.Scopes, name) {
			a.Scopes = append(a.Scopes, name)
		}
	}
	if len(a.Scopes) == 0 {
		return s.fail(a, InvalidScope, "Request at least one scope.", nil)
	}
	return nil
}

// notRegisteredFor describes the error for a request with a scope that the client may not request.
func notRegisteredFor(c *storage.Client) string {
	if c.SelfRegistered() {
		return "At least one requested scope is not open to clients that register themselves, or this client did not " +
			"register it; request the scopes of its registration, or ask the operator of this server for a client id."
	}
	return scopeNotRegistered
}

// mayRequest reports whether a client may request a scope of a resource. One that registered itself may request only
// what is open to such clients at this resource: a scope of the same name may be open at another.
func mayRequest(c *storage.Client, r *catalog.Resource, name string) bool {
	_, known := r.Scope(name)
	return known && c.Scopes.Has(name) && (!c.SelfRegistered() || slices.Contains(r.OpenScopes, name))
}

// promptValues are the values of prompt: those of OpenID Connect Core 1.0, section 3.1.2.1, and create, by which an app
// asks for the sign-up page (Initiating User Registration via OpenID Connect 1.0).
var promptValues = []string{"none", "login", "consent", promptSelectAccount, promptCreate}

// promptCreate asks for the creation of an account.
const promptCreate = "create"

// maxLocales bounds ui_locales, in bytes. It becomes part of a URL, and a longer one is ignored, as are languages that
// the server does not offer.
const maxLocales = 200

// parsePrompt reads prompt and max_age (OpenID Connect Core, section 3.1.2.1), which plain OAuth requests may use too.
func (s *Server) parsePrompt(a *AuthorizeRequest, form url.Values) error {
	prompts := strings.Fields(form.Get("prompt"))
	for _, p := range prompts {
		if !slices.Contains(promptValues, p) {
			return s.fail(
				a, InvalidRequest, "prompt must be none, or one or more of login, consent, select_account and create.", nil,
			)
		}
	}
	slices.Sort(prompts)
	if slices.Equal(prompts, []string{"none", promptSelectAccount}) {
		// OpenID Connect Core, section 3.1.2.6 has a code of its own for an account selection that must not be shown.
		return s.fail(
			a, AccountSelectionRequired, "The user must choose an account; send the request again without prompt=none.", nil,
		)
	}
	if slices.Contains(prompts, "none") && len(prompts) > 1 {
		return s.fail(a, InvalidRequest, "prompt=none excludes all other values; send it alone.", nil)
	}
	a.Prompt = strings.Join(slices.Compact(prompts), " ")
	if text := form.Get("max_age"); form.Has("max_age") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || text[0] == '+' {
			return s.fail(a, InvalidRequest, "max_age must be a whole number of seconds.", nil)
		}
		a.MaxAge, a.HasMaxAge = min(n, int64(10*365*24*time.Hour/time.Second)), true
	}
	return nil
}

// form encodes the request for fosite.
func (f *Flow) form() url.Values {
	v := url.Values{
		"client_id": {f.ClientID}, "redirect_uri": {f.RedirectURI}, "response_type": {"code"}, "state": {stateMarker},
		"scope": {strings.Join(f.Scopes, " ")}, "audience": {f.Resource},
	}
	if f.Challenge != "" {
		v.Set("code_challenge", f.Challenge)
		v.Set("code_challenge_method", "S256")
	}
	return v
}

func (s *Server) runFosite(ctx context.Context, a *AuthorizeRequest) error {
	_, err := s.fositeAuthorize(withExchange(ctx, &exchange{client: a.Client, redirect: a.RedirectURI}), &a.Flow)
	if err == nil {
		return nil
	}
	e := asError(err)
	if e.Code == TemporarilyUnavailable {
		return err
	}
	return s.fail(a, e.Code, e.Description, err)
}

func (s *Server) fositeAuthorize(ctx context.Context, f *Flow) (fosite.AuthorizeRequester, error) {
	form := f.form()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.issuer+"/oauth/authorize", nil)
	if err != nil {
		return nil, fmt.Errorf("authorize: %w", err)
	}
	r.Form, r.PostForm = form, url.Values{}
	return s.fosite.NewAuthorizeRequest(ctx, r)
}

// appGone is the error for an app that was removed or disabled while the user was answering it.
func appGone() error {
	return pageError(locale.New("This app is no longer available. Contact its developer."))
}

// ReopenAuthorize restores the request of a flow, with the client as it is now. It returns the errors of
// ParseAuthorize.
func (s *Server) ReopenAuthorize(ctx context.Context, f *Flow) (*AuthorizeRequest, error) {
	client, err := s.findForUser(ctx, f.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, appGone()
	}
	if err != nil {
		return nil, err
	}
	LogFieldsOf(ctx).RecordClient(client.ID)
	if !redirecturi.Match(client.RedirectURIs, f.RedirectURI, s.redirectSchemes) {
		return nil, pageError(locale.New(
			"The app asked to send you to an address that is no longer registered. Start again from the app.",
		))
	}
	a := &AuthorizeRequest{Flow: *f, Client: client}
	if a.Resource, err = s.resourceFor(f.Resource, &client); err != nil {
		return a, s.fail(a, InvalidTarget, asError(err).Description, nil)
	}
	for _, name := range a.Scopes {
		if !mayRequest(&client, a.Resource, name) {
			return a, s.fail(
				a, InvalidScope,
				"The client is no longer registered for one of the requested scopes; start a new authorization.", nil,
			)
		}
	}
	if a.Challenge == "" && (!client.PKCEOptional || client.Public) {
		return a, s.fail(
			a, InvalidRequest, "PKCE is required now: send code_challenge and code_challenge_method=S256 (RFC 7636).",
			nil,
		)
	}
	return a, nil
}

// NeedsLogin reports whether the resource owner must sign in before this request can continue: they are not signed in,
// the app asked for it, or they signed in longer ago than max_age allows. authTime is zero without a session.
func (f *Flow) NeedsLogin(authTime storage.Time) bool {
	switch {
	case authTime.IsZero():
		return true
	case (f.asks("login") || f.AsksSignUp()) && authTime < f.CreatedAt:
		return true
	case f.HasMaxAge && authTime < f.CreatedAt.Add(-time.Duration(f.MaxAge)*time.Second):
		return true
	}
	return false
}

// AsksSignUp reports whether the app asks for the sign-up page in place of the sign-in page.
func (f *Flow) AsksSignUp() bool { return f.asks(promptCreate) }

// asks reports whether prompt has a value.
func (f *Flow) asks(value string) bool { return slices.Contains(strings.Fields(f.Prompt), value) }

// promptSelectAccount asks for a choice of accounts (OpenID Connect Core, section 3.1.2.1).
const promptSelectAccount = "select_account"

// NeedsSelection reports whether the signed-in resource owner must confirm which account to continue with: the app
// asked for it, and they did not sign in during this request.
func (f *Flow) NeedsSelection(authTime storage.Time) bool {
	return f.asks(promptSelectAccount) && authTime < f.CreatedAt
}

// Selected returns the flow as it continues after its resource owner has confirmed the signed-in account.
func (f *Flow) Selected() *Flow {
	g := *f
	g.Prompt = strings.Join(
		slices.DeleteFunc(strings.Fields(f.Prompt), func(p string) bool { return p == promptSelectAccount }), " ",
	)
	return &g
}

// Remembered lists the consents that a resource owner has given the client for the resource of the request, in any
// workspace, the most recent first.
func (s *Server) Remembered(ctx context.Context, a *AuthorizeRequest, userID string) ([]storage.Consent, error) {
	list, err := s.store.ConsentsFor(storage.System(ctx), userID, a.Client.ID, a.Resource.ID)
	if err != nil {
		return nil, fmt.Errorf("remembered consent: %w", err)
	}
	return list, nil
}

// NeedsConsent reports whether the consent page must be shown. known lists the scopes that were allowed before in the
// workspace where the tokens would act.
func (a *AuthorizeRequest) NeedsConsent(known []string) bool {
	https := strings.HasPrefix(a.RedirectURI, "https://")
	switch {
	case a.asks("consent"):
		return true
	case a.Client.Public && !https, redirecturi.HasBareScheme(a.RedirectURI):
		// Any program on the machine could receive such a redirect (RFC 8252, section 8.6).
		return true
	case a.Client.FirstParty:
		return false
	}
	return slices.ContainsFunc(a.Scopes, func(name string) bool { return !slices.Contains(known, name) })
}

// BareScheme reports whether the redirect URI has a private-use scheme without a dot. Any program can claim such a
// scheme, so the user must be warned.
func (a *AuthorizeRequest) BareScheme() bool { return redirecturi.HasBareScheme(a.RedirectURI) }

// MayRedirectWithoutPage reports whether the browser may be redirected to the app, usually with an error, before the
// user has seen a page. It may not if any user can create such an app and this user has never allowed it anything: this
// server would then be an open redirector (RFC 9700, section 4.11.2).
func (a *AuthorizeRequest) MayRedirectWithoutPage(allowedBefore bool) bool {
	return management.RegisteredByOperator(&a.Client) || a.Client.Verified || allowedBefore
}
