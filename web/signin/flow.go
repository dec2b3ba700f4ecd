package signin

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/web/page"
)

// flowSlots is how many authorizations can be in progress in one browser. Each has its own cookie; one more replaces
// one of them.
const flowSlots = 16

// flowCookie is the name of the cookie in a slot.
func (s *Handlers) flowCookie(slot int) string { return "flow-" + strconv.Itoa(slot) }

// sealFlow seals a flow, and binds it to this browser with a new cookie.
func (s *Handlers) sealFlow(w http.ResponseWriter, r *http.Request, f *oauth.Flow) string {
	slot := rand.IntN(flowSlots)
	for i := range flowSlots {
		if _, err := s.Cookie(r, s.flowCookie(i)); err != nil {
			slot = i
			break
		}
	}
	value := page.RandomText()
	s.SetCookie(w, s.flowCookie(slot), value, oauth.FlowLifetime)
	return s.oauth.SealFlow(f, value)
}

// openFlow opens the flow of a request. An open flow must not have expired, and must have started in this browser.
// decided reports that the flow was answered before; it is then returned even if it has expired or comes from another
// browser.
func (s *Handlers) openFlow(r *http.Request, sealed string) (f *oauth.Flow, decided bool, err error) {
	f, opened := s.oauth.OpenFlow(sealed)
	if opened != nil && !errors.Is(opened, oauth.ErrFlowExpired) {
		return nil, false, &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("We couldn't read this request"),
			Message: locale.New("The address is damaged or incomplete. Start again from the app."), Cause: opened,
		}
	}
	s.Prefer(r, f.Locales)
	_, err = s.store.FlowAnswer(storage.System(r.Context()), f.ID)
	switch {
	case err == nil:
		return f, true, nil
	case !errors.Is(err, storage.ErrNotFound):
		return nil, false, err
	}
	if opened != nil {
		return nil, false, s.startAgain(r, f, &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("This request has expired"),
			Message: locale.New("It was open for more than ten minutes. Start again from the app."), Cause: opened,
		}, locale.New("It was open for more than ten minutes. Sign in again."))
	}
	if _, ok := s.boundSlot(r, f); !ok {
		return nil, false, s.startAgain(r, f, &page.Error{
			Status: http.StatusForbidden, Heading: locale.New("This sign-in started in another browser"),
			Message: locale.New("For your security, it can only be completed in the browser where it started, with cookies " +
				"enabled. Start again from the app."),
		}, locale.New("For your security, it can only be completed in the browser where it started, with cookies enabled. "+
			"Sign in again."))
	}
	return f, false, nil
}

// startAgain adds a link to the page for a flow that cannot be finished: to the app, or, without one, to the sign-in
// page. The message is then withoutApp.
func (s *Handlers) startAgain(r *http.Request, f *oauth.Flow, e *page.Error, withoutApp locale.Text) *page.Error {
	if f.ReturnTo != "" {
		e.Message = withoutApp
		e.BackURL = "/login?return_to=" + url.QueryEscape(page.SafeReturn(f.ReturnTo))
		e.BackText = locale.New("Sign in")
		return e
	}
	if a, err := s.oauth.ReopenAuthorize(r.Context(), f); err == nil {
		linkToApp(e, a, false)
	}
	return e
}

// linkToApp adds a link to the app, if it is safe to send users there: the operator registered the app, or an
// administrator verified it, or the user has just answered it on a page that named its host.
func linkToApp(e *page.Error, a *oauth.AuthorizeRequest, answered bool) {
	text := locale.New("Go back to %s", oauth.AppName(&a.Client))
	known := a.Client.Verified || management.RegisteredByOperator(&a.Client)
	if known && a.Client.Site != "" {
		e.BackURL, e.BackText = a.Client.Site, text
		return
	}
	u, err := url.Parse(a.RedirectURI)
	if (known || answered) && err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		if !known {
			text = locale.New("Go to %s", u.Host)
		}
		e.BackURL, e.BackText = u.Scheme+"://"+u.Host+"/", text
	}
}

// sameAnswer redirects as the same choice of the same user did before. Otherwise it says that the flow was answered.
func (s *Handlers) sameAnswer(
	w http.ResponseWriter, r *http.Request, f *oauth.Flow, v *page.Visitor, choice string,
) error {
	// The app may have been disabled in the meantime; then it gets no answer.
	if _, err := s.oauth.ReopenAuthorize(r.Context(), f); err != nil || !v.SignedIn() {
		return s.answered(r, f, v)
	}
	to, err := s.oauth.SameAnswer(r.Context(), f, v.User.ID, choice)
	if errors.Is(err, oauth.ErrAnswered) {
		return s.answered(r, f, v)
	}
	if err != nil {
		return err
	}
	s.endFlow(w, r, f)
	return page.Redirect(w, to)
}

// answered is the page for a flow that was answered before. It links to the redirect of that answer, if the app has not
// used it yet; otherwise to the app.
func (s *Handlers) answered(r *http.Request, f *oauth.Flow, v *page.Visitor) error {
	e := &page.Error{
		Status: http.StatusConflict, Heading: locale.New("You already answered this request"),
		Message: locale.New("Your first answer stands. To answer differently, start again from the app."),
	}
	a, err := s.oauth.ReopenAuthorize(r.Context(), f)
	var refused *oauth.AuthorizeError
	switch {
	case errors.As(err, &refused):
		return e // the app was deleted, or its registration changed
	case err != nil:
		return err
	}
	linkToApp(e, a, true)
	if !v.SignedIn() {
		return e
	}
	to, err := s.oauth.UnredeemedRedirect(r.Context(), f, v.User.ID)
	if err != nil {
		return err
	}
	if to != "" {
		e.AnswerURL, e.BackText = to, locale.New("Continue to %s", oauth.AppName(&a.Client))
	}
	return e
}

// boundSlot finds the cookie of this browser that a flow is bound to.
func (s *Handlers) boundSlot(r *http.Request, f *oauth.Flow) (slot int, ok bool) {
	for i := range flowSlots {
		if c, err := s.Cookie(r, s.flowCookie(i)); err == nil && f.BoundTo(c.Value) {
			return i, true
		}
	}
	return 0, false
}

// endFlow removes the cookie of a flow that was answered.
func (s *Handlers) endFlow(w http.ResponseWriter, r *http.Request, f *oauth.Flow) {
	if slot, ok := s.boundSlot(r, f); ok {
		s.SetCookie(w, s.flowCookie(slot), "", 0)
	}
}

// formTarget returns where the redirects after a form may lead, as sources for Content-Security-Policy: to the app, and
// to any host with the same scheme, because Chromium applies the policy to the app's further redirects too.
func formTarget(f *oauth.Flow) []string {
	scheme, rest, ok := strings.Cut(f.RedirectURI, ":")
	if !ok {
		return nil
	}
	if scheme != "http" && scheme != "https" {
		return []string{scheme + ":"}
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
	host, _, _ = strings.Cut(host, "?")
	if strings.HasPrefix(host, "[") {
		return []string{scheme + ":"} // a policy cannot name an IPv6 address (CSP Level 3, section 2.3.1)
	}
	return []string{scheme + "://" + host, scheme + ":"}
}
