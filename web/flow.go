package web

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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

// openFlow reads the flow of a request and checks that it was begun in this browser and not answered.
func (s *Server) openFlow(r *http.Request, sealed string) (*oauth.Flow, error) {
	f, err := s.oauth.OpenFlow(sealed)
	switch {
	case errors.Is(err, oauth.ErrFlowExpired):
		e := &pageError{Status: http.StatusBadRequest, Heading: "This request has expired", Message: "It waited for longer than ten minutes. Start again from the app."}
		if f.ReturnTo != "" {
			e.Message, e.BackURL, e.BackText = "It waited for longer than ten minutes.", "/login?return_to="+url.QueryEscape(f.ReturnTo), "Sign in"
		} else if a, err := s.oauth.ReopenAuthorize(r.Context(), f); err == nil && a.Client.Site != "" && a.Client.Verified {
			e.BackURL, e.BackText = a.Client.Site, "Go back to "+a.Client.Name
		}
		return nil, e
	case err != nil:
		return nil, &pageError{Status: http.StatusBadRequest, Heading: "This request cannot be read", Message: "The address is damaged or incomplete. Start again from the app.", Cause: err}
	}
	if _, ok := s.boundSlot(r, f); !ok {
		return nil, &pageError{Status: http.StatusForbidden, Heading: "This was begun in another browser", Message: "For your safety it can only be finished in the browser where it began. Start again from the app."}
	}
	decided, err := s.store.FlowDecided(storage.System(r.Context()), f.ID)
	if err != nil {
		return nil, err //nolint:wrapcheck // storage's own sentinels
	}
	if decided {
		return nil, answered(f.RedirectURI)
	}
	return f, nil
}

// answered is shown to whoever sends a decision again.
func answered(redirectURI string) *pageError {
	message := "Your answer counted the first time; sending it again changes nothing. Go back to the app."
	if host, loopback := oauth.RedirectHost(redirectURI); host != "" && !loopback {
		message = "Your answer counted the first time; sending it again changes nothing. Go back to the app at " + host + "."
	}
	return &pageError{Status: http.StatusConflict, Heading: "You have answered this already", Message: message}
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
