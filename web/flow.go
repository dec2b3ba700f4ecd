package web

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
)

// flowSlots is how many authorizations may be under way in one browser, each with a cookie of its own; the next one
// takes the place of another.
const flowSlots = 16

func (s *Server) flowCookie(slot int) string { return "flow-" + strconv.Itoa(slot) }

// sealFlow seals a flow and binds it to this browser by a new cookie.
func (s *Server) sealFlow(w http.ResponseWriter, r *http.Request, f *oauth.Flow) string {
	slot := rand.IntN(flowSlots)
	for i := range flowSlots {
		if _, err := r.Cookie(cookieName(s.flowCookie(i), s.secure)); err != nil {
			slot = i
			break
		}
	}
	value := randomText()
	s.setCookie(w, s.flowCookie(slot), value, oauth.FlowLifetime)
	return s.oauth.SealFlow(f, value)
}

// openFlow reads the flow of a request. decided reports that it was answered before: then it is returned whatever its age
// and browser, for SameAnswer and answered. One that is still open must be young enough and have begun in this browser.
func (s *Server) openFlow(r *http.Request, sealed string) (f *oauth.Flow, decided bool, err error) {
	f, opened := s.oauth.OpenFlow(sealed)
	if opened != nil && !errors.Is(opened, oauth.ErrFlowExpired) {
		return nil, false, &pageError{Status: http.StatusBadRequest, Heading: "This request cannot be read", Message: "The address is damaged or incomplete. Start again from the app.", Cause: opened}
	}
	_, err = s.store.FlowAnswer(storage.System(r.Context()), f.ID)
	switch {
	case err == nil:
		return f, true, nil
	case !errors.Is(err, storage.ErrNotFound):
		return nil, false, err
	}
	if opened != nil {
		return nil, false, s.startAgain(r, f, &pageError{
			Status: http.StatusBadRequest, Heading: "This request has expired", Message: "It waited for longer than ten minutes. Start again from the app.", Cause: opened,
		})
	}
	if _, ok := s.boundSlot(r, f); !ok {
		return nil, false, s.startAgain(r, f, &pageError{
			Status: http.StatusForbidden, Heading: "This sign-in started in another browser",
			Message: "For your safety it can only be finished in the browser where it started, with cookies allowed. Start again from the app.",
		})
	}
	return f, false, nil
}

// startAgain adds the way on from a flow that cannot be finished: for one without an app, to sign in again.
func (s *Server) startAgain(r *http.Request, f *oauth.Flow, e *pageError) *pageError {
	if f.ReturnTo != "" {
		e.Message = strings.Replace(e.Message, "Start again from the app.", "Sign in again.", 1)
		e.BackURL, e.BackText = "/login?return_to="+url.QueryEscape(safeReturn(f.ReturnTo)), "Sign in"
		return e
	}
	if a, err := s.oauth.ReopenAuthorize(r.Context(), f); err == nil {
		e.toApp(a, false)
	}
	return e
}

// toApp adds a link to the app, without an answer, where it is safe to lead people there: to an app that this server's
// operator registered or verified, and to one that the person has just answered, whose host the page had named.
func (e *pageError) toApp(a *oauth.AuthorizeRequest, answered bool) {
	text := "Go back to " + a.Client.Name
	known := a.Client.Verified || management.RegisteredByOperator(&a.Client)
	if known && a.Client.Site != "" {
		e.BackURL, e.BackText = a.Client.Site, text
		return
	}
	u, err := url.Parse(a.RedirectURI)
	if (known || answered) && err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		if !known {
			text = "Go to " + u.Host
		}
		e.BackURL, e.BackText = u.Scheme+"://"+u.Host+"/", text
	}
}

// sameAnswer sends the browser where the same choice of the same person sent it before, or says that the flow was answered.
func (s *Server) sameAnswer(w http.ResponseWriter, r *http.Request, f *oauth.Flow, v *visitor, choice string) error {
	// The app as it is now: one that was disabled meanwhile gets nothing.
	if _, err := s.oauth.ReopenAuthorize(r.Context(), f); err != nil || !v.signedIn() {
		return s.answered(r, f, v)
	}
	to, err := s.oauth.SameAnswer(r.Context(), f, v.user.ID, choice)
	if errors.Is(err, oauth.ErrAnswered) {
		return s.answered(r, f, v)
	}
	if err != nil {
		return err
	}
	s.endFlow(w, r, f)
	return redirect(w, to)
}

// answered is the page about a flow that was answered before, with the way on: to where that answer led as long as the app
// has made nothing of it, else to the app.
func (s *Server) answered(r *http.Request, f *oauth.Flow, v *visitor) error {
	e := &pageError{
		Status: http.StatusConflict, Heading: "You already answered this request",
		Message: "Your first answer counts, and sending another one changes nothing. To answer differently, start again from the app.",
	}
	a, err := s.oauth.ReopenAuthorize(r.Context(), f)
	var refused *oauth.AuthorizeError
	switch {
	case errors.As(err, &refused):
		return e // the app is gone, or is another one now
	case err != nil:
		return err
	}
	e.toApp(a, true)
	if !v.signedIn() {
		return e
	}
	to, err := s.oauth.OpenAnswer(r.Context(), f, v.user.ID)
	if err != nil {
		return err
	}
	if to != "" {
		e.AnswerURL, e.BackText = to, "Continue to "+a.Client.Name
	}
	return e
}

func (s *Server) boundSlot(r *http.Request, f *oauth.Flow) (slot int, ok bool) {
	for i := range flowSlots {
		if c, err := r.Cookie(cookieName(s.flowCookie(i), s.secure)); err == nil && f.BoundTo(c.Value) {
			return i, true
		}
	}
	return 0, false
}

// endFlow removes the cookie of a flow that was answered.
func (s *Server) endFlow(w http.ResponseWriter, r *http.Request, f *oauth.Flow) {
	if slot, ok := s.boundSlot(r, f); ok {
		s.setCookie(w, s.flowCookie(slot), "", 0)
	}
}

// formTarget is where the redirects after a form may lead, as sources of a Content-Security-Policy: to the app, and on to
// any host of its scheme, since Chromium holds the app's own redirects after the callback to our policy, too.
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
		return []string{scheme + ":"} // a policy has no word for IPv6 addresses (CSP Level 3 section 2.3.1)
	}
	return []string{scheme + "://" + host, scheme + ":"}
}
