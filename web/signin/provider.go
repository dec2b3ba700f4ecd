package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/oauth/provider"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// providerCookie holds, sealed, a sign-in at a provider that this browser has begun. There is one at a time.
const providerCookie = "doorward-provider"

// maxProviderCookie bounds the cookie: browsers keep none that is longer than 4,096 bytes with its name.
const maxProviderCookie = 3900

// away is a browser that is at a provider.
type away struct {
	Provider string           `json:"p"`
	Attempt  provider.Attempt `json:"a"`
	Flow     string           `json:"f,omitempty"` // sealed; empty for a user who connects an account
	Session  string           `json:"s,omitempty"` // of the user who connects an account
	At       storage.Time     `json:"t"`
}

// leave sends the browser to a provider. again means that a session there is not enough.
func (s *Handlers) leave(
	w http.ResponseWriter, r *http.Request, p *identity.Provider, a away, hint string, again bool,
) error {
	a.Provider, a.Attempt, a.At = p.ID(), provider.NewAttempt(), s.store.Now()
	a.Attempt.Again = again
	to, err := p.Begin(r.Context(), a.Attempt, hint)
	if err != nil {
		return s.providerFailed(r, p, startAgainAt(a.Flow), err)
	}
	text, _ := json.Marshal(a) // strings and a number
	sealed := s.secrets.Seal("away", text)
	if len(sealed) > maxProviderCookie {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("%s cannot be used here", p.Name()),
			Message: locale.New("The request of the app is too long for it. Sign in in another way."),
			BackURL: startAgainAt(a.Flow), BackText: locale.New("Sign in"),
		}
	}
	s.SetCookie(w, providerCookie, sealed, identity.ProviderLifetime)
	return page.Redirect(w, to)
}

// openAway returns the sign-in at a provider that this browser has begun, and forgets it.
func (s *Handlers) openAway(w http.ResponseWriter, r *http.Request, p *identity.Provider) (a away, err error) {
	c, err := s.Cookie(r, providerCookie)
	if err != nil {
		return a, fmt.Errorf("%w: the browser has begun no sign-in there", provider.ErrAnswer)
	}
	s.SetCookie(w, providerCookie, "", 0)
	text, err := s.secrets.Open("away", c.Value)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return away{}, fmt.Errorf("%w: the cookie: %w", provider.ErrAnswer, err)
	}
	if age := s.store.Now().Sub(a.At); a.Provider != p.ID() || age > identity.ProviderLifetime || age < 0 {
		return away{}, fmt.Errorf("%w: the sign-in was begun at %s, %s ago", provider.ErrAnswer, a.Provider, age)
	}
	return a, nil
}

// Provider serves POST /login/{provider}: it sends the browser to a provider.
func (s *Handlers) Provider(w http.ResponseWriter, r *http.Request) error {
	p, err := s.identity.Provider(r.PathValue("provider"))
	if err != nil {
		return page.NotFound()
	}
	sealed := r.PostForm.Get("flow")
	_, request, done, err := s.openSignIn(w, r, sealed)
	if err != nil || done {
		return err
	}
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	// A user who is signed in here is asked to prove it again, or an app asks for that.
	again := v.SignedIn() || request != nil && strings.Contains(request.Prompt, "login")
	return s.leave(w, r, p, away{Flow: sealed}, strings.TrimSpace(r.PostForm.Get("email")), again)
}

// ConnectProvider serves POST /settings/security/providers/{provider}/connect: it sends a user to a provider, to
// connect the account there.
func (s *Handlers) ConnectProvider(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	p, err := s.identity.Provider(r.PathValue("provider"))
	if err != nil {
		return page.NotFound()
	}
	v, done, err := s.Prove(w, r, v, s.ProviderTargets()...)
	if err != nil || done {
		return err
	}
	return s.leave(w, r, p, away{Session: v.Row.ID}, v.User.Email, false)
}

// ProviderCallback serves GET /login/{provider}/callback, where a provider sends the browser back.
func (s *Handlers) ProviderCallback(w http.ResponseWriter, r *http.Request) error {
	p, err := s.identity.Provider(r.PathValue("provider"))
	if err != nil {
		return page.NotFound()
	}
	if p.FormPost() {
		return s.notBegun(r, errors.New("the provider answers by POST"))
	}
	return s.back(w, r, p, r.URL.Query())
}

// ProviderCallbackForm serves POST /login/{provider}/callback, for a provider that answers with a form (OAuth 2.0 Form
// Post Response Mode). Browsers send no cookies with it, since it comes from another site; so a page of ours sends it
// again.
func (s *Handlers) ProviderCallbackForm(w http.ResponseWriter, r *http.Request) error {
	p, err := s.identity.Provider(r.PathValue("provider"))
	if err != nil || !p.FormPost() {
		return page.NotFound()
	}
	form := r.PostForm
	if _, err := s.Cookie(r, providerCookie); err != nil && !form.Has("again") {
		view := templates.RelayView{Page: s.NewPage(nil, ""), Action: r.URL.Path, Provider: p.Name()}
		for _, name := range []string{"state", "code", "error", "user", "iss"} {
			for _, value := range form[name] {
				view.Fields = append(view.Fields, templates.FormField{Name: name, Value: value})
			}
		}
		view.Fields = append(view.Fields, templates.FormField{Name: "again", Value: "yes"})
		return s.Render(w, r, http.StatusOK, view.Nonce, templates.RelayPage(view), "https:", "http:")
	}
	return s.back(w, r, p, form)
}

// back goes on with what the provider answered.
func (s *Handlers) back(w http.ResponseWriter, r *http.Request, p *identity.Provider, params url.Values) error {
	a, err := s.openAway(w, r, p)
	if err != nil {
		return s.notBegun(r, err)
	}
	v, err := s.Visitor(r)
	if err != nil {
		return err
	}
	x, err := s.identity.FinishProvider(r.Context(), p, a.Attempt, params)
	again := startAgainAt(a.Flow)
	if a.Session != "" {
		again = "/settings/security"
	}
	switch {
	case errors.Is(err, provider.ErrDenied) && a.Session == "":
		s.countLogin("denied")
		return page.Redirect(w, again)
	case errors.Is(err, provider.ErrDenied):
		return page.Redirect(w, again)
	case errors.Is(err, identity.ErrForeignDomain):
		return &page.Error{
			Status: http.StatusForbidden, Heading: locale.New("This account cannot be used here"), Cause: err,
			Message: locale.New("Only accounts of %s with an address at %s can be used here. Choose another account there.",
				p.Name(), strings.Join(p.Domains, ", ")),
			BackURL: again, BackText: locale.New("Go back"),
		}
	case err != nil && !errors.Is(err, storage.ErrUnavailable):
		return s.providerFailed(r, p, again, err)
	}
	if err != nil {
		return startAgainLater(again, err)
	}
	if a.Session != "" {
		err = s.connect(w, r, v, a, &x)
	} else {
		err = s.signInFrom(w, r, v, a, &x)
	}
	if errors.Is(err, storage.ErrUnavailable) {
		return startAgainLater(again, err)
	}
	return err
}

// startAgainLater is the page for storage that is unavailable when a browser comes back. The provider's code is used
// up, so loading the page again would not help.
func startAgainLater(again string, cause error) error {
	return &page.Error{
		Status: http.StatusServiceUnavailable, Heading: locale.New("Not available right now"),
		Message: locale.New("Nothing was changed. Start again in a moment."), BackURL: again,
		BackText: locale.New("Go back"), RetryAfter: time.Second, Cause: cause,
	}
}

// notBegun is the page for an answer of a provider that this browser does not wait for.
func (s *Handlers) notBegun(r *http.Request, cause error) error {
	oauth.LogFieldsOf(r.Context()).Cause = cause
	return &page.Error{
		Status: http.StatusBadRequest, Heading: locale.New("This sign-in cannot be completed"),
		Message: locale.New("It was not begun in this browser, was completed before, or took too long. You are not signed in " +
			"by it. Start again."),
		BackURL: "/login", BackText: locale.New("Sign in"), Cause: cause,
	}
}

// providerFailed is the page for a provider that could not be used, or whose answer was not accepted.
func (s *Handlers) providerFailed(r *http.Request, p *identity.Provider, again string, err error) error {
	oauth.LogFieldsOf(r.Context()).Cause = err
	answer := &page.Error{BackURL: again, BackText: locale.New("Go back"), Cause: err}
	switch {
	case errors.Is(err, provider.ErrUnavailable):
		s.countLogin("provider_unavailable")
		answer.Status, answer.Heading = http.StatusBadGateway, locale.New("%s does not answer", p.Name())
		answer.Message = locale.New("Try again in a moment, or sign in in another way.")
	case errors.Is(err, provider.ErrAnswer):
		s.countLogin("provider_refused")
		answer.Status, answer.Heading = http.StatusBadRequest, locale.New("The answer of %s was not accepted", p.Name())
		answer.Message = locale.New("You are not signed in by it. Start again, or sign in in another way.")
	default:
		return err
	}
	return answer
}

// connect connects an account at a provider to the user who has asked for it in this session.
func (s *Handlers) connect(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, a away, x *identity.ProviderSignIn,
) error {
	if !v.SignedIn() || v.Row.ID != a.Session {
		return s.notBegun(r, errors.New("the session that asked for the connection is another one"))
	}
	// The proof may have become too old at the provider.
	if !s.Fresh(v) {
		return s.RedirectWithNotice(w, r, v, "/settings/security",
			locale.New("That took too long, so nothing was connected. Connect the account again."))
	}
	err := s.identity.ConnectProvider(r.Context(), v.User.ID, x)
	if errors.Is(err, identity.ErrTooManyAccounts) {
		return s.RedirectWithNotice(w, r, v, "/settings/security",
			locale.New("As many accounts are connected as can be. Disconnect one first."))
	}
	if errors.Is(err, identity.ErrConnected) {
		return s.RedirectWithNotice(w, r, v, "/settings/security",
			locale.New("This account is connected to another user here, so nothing was connected."))
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(
		w, r, v, "/settings/security", locale.New("You can sign in with %s now.", x.Provider.Name()),
	)
}

// signInFrom signs a visitor in who comes from a provider, or begins a sign-up.
func (s *Handlers) signInFrom(
	w http.ResponseWriter, r *http.Request, old *page.Visitor, a away, x *identity.ProviderSignIn,
) error {
	f, request, done, err := s.openSignIn(w, r, a.Flow)
	if err != nil || done {
		return err
	}
	proof, err := s.identity.SignInFrom(r.Context(), x)
	switch {
	case errors.Is(err, identity.ErrNotConnected):
		return s.signUpFrom(w, r, f, a, x)
	case errors.Is(err, identity.ErrDisabled):
		return s.accountUnusable(err)
	case err != nil:
		return err
	}
	s.rememberMethod(w, r, x.Provider.ID())
	err = s.proved(w, r, old, &proof, a.Flow, func(v *page.Visitor) error {
		s.countLogin("ok")
		oauth.LogFieldsOf(r.Context()).Subject = v.User.ID
		return s.goOn(w, r, f, request, v, a.Flow)
	})
	if errors.Is(err, storage.ErrConsumed) { // disconnected at the same moment
		return s.notBegun(r, err)
	}
	return err
}

// accountUnusable is the page for a user who is disabled or waits for approval.
func (s *Handlers) accountUnusable(cause error) error {
	return &page.Error{
		Status: http.StatusForbidden, Heading: locale.New("Your account cannot be used"),
		Message: locale.New("It is disabled, or waits for an administrator's approval. Ask an administrator of this server."),
		BackURL: "/login", BackText: locale.New("Sign in"), Cause: cause,
	}
}

// signUpFrom begins a sign-up for a visitor whose account at a provider is connected to no user.
func (s *Handlers) signUpFrom(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow, a away, x *identity.ProviderSignIn,
) error {
	asker, err := s.asker(w, r, x.Account.Email)
	if err != nil {
		return err
	}
	asker.Continue = map[string]string{"flow": a.Flow}
	if x.Proven() {
		// The address is proven, so it may be said whether it has an account.
		taken, err := s.identity.HasAccount(r.Context(), x.Account.Email)
		if err != nil {
			return err
		}
		if taken {
			return s.connectFirst(x.Provider, a.Flow)
		}
	}
	invited, err := s.invitedTo(r.Context(), f.ReturnTo)
	if err != nil {
		return err
	}
	allowed := x.Provider.SignUp && s.maySignUp(invited != nil)
	if allowed && s.accounts.SignUp == SignUpInvited {
		allowed = storage.EmailKey(x.Account.Email) == storage.EmailKey(invited.For)
	}
	if !allowed {
		return s.noAccountFrom(x.Provider, a.Flow)
	}
	if x.Proven() {
		err = s.identity.ProveSignUpFrom(r.Context(), x, asker)
		if errors.Is(err, identity.ErrAddressTaken) {
			return s.connectFirst(x.Provider, a.Flow)
		}
		if errors.Is(err, identity.ErrNotSent) {
			return &page.Error{
				Status: http.StatusTooManyRequests, Heading: locale.New("Too many new accounts"),
				Message: locale.New("Too many accounts were created from your network. Try again in an hour."),
				BackURL: startAgainAt(a.Flow), BackText: locale.New("Sign in"), RetryAfter: time.Hour,
				Cause: fmt.Errorf("sign up with %s: too many sign-ups at providers from this network", x.Provider.ID()),
			}
		}
		if faults := page.FieldErrors(err); faults != nil {
			return s.noAccountFrom(x.Provider, a.Flow)
		}
		if err != nil {
			return err
		}
		return page.Redirect(w, "/signup/complete")
	}
	// Otherwise the address is proven by an email, which says so if there is an account.
	if x.Account.Email == "" {
		return s.noAddressFrom(x.Provider, a.Flow)
	}
	faults, err := s.asked(r, "sign_up", s.identity.AskSignUpFrom(r.Context(), x, asker))
	if err != nil {
		return err
	}
	if faults != nil {
		return s.noAccountFrom(x.Provider, a.Flow)
	}
	return page.Redirect(w, "/signup/code?flow="+url.QueryEscape(a.Flow))
}

// connectFirst is the page for an account at a provider whose address has an account here. The two are not connected
// without a proof of the account here.
func (s *Handlers) connectFirst(p *identity.Provider, sealed string) error {
	return &page.Error{
		Status: http.StatusConflict, Heading: locale.New("You have an account here already"),
		Message: locale.New("It is not connected to %s. Sign in in another way, and then connect %s under Settings, Security.",
			p.Name(), p.Name()),
		BackURL: startAgainAt(sealed), BackText: locale.New("Sign in in another way"),
	}
}

// noAccountFrom is the page for a visitor from a provider who has no account and may not create one.
func (s *Handlers) noAccountFrom(p *identity.Provider, sealed string) error {
	return &page.Error{
		Status: http.StatusForbidden, Heading: locale.New("No account is connected to this one"),
		Message: locale.New("If you have an account here, sign in in another way, and then connect %s under Settings, "+
			"Security. Otherwise, ask an administrator of this server for an account.", p.Name()),
		BackURL: startAgainAt(sealed), BackText: locale.New("Sign in in another way"),
	}
}

// noAddressFrom is the page for a visitor whose provider names no address.
func (s *Handlers) noAddressFrom(p *identity.Provider, sealed string) error {
	return &page.Error{
		Status: http.StatusForbidden, Heading: locale.New("Your email address is missing"),
		Message: locale.New("%s did not tell us your email address, which an account here needs. Create an account with your "+
			"address, and then connect %s under Settings, Security.", p.Name(), p.Name()),
		BackURL: startAgainAt(sealed), BackText: locale.New("Sign in in another way"),
	}
}
