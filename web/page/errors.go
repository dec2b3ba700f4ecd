package page

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// Error is what a person is told instead of a page. Cause is for the log alone.
type Error struct {
	Status     int
	Heading    string
	Message    string
	RetryAfter time.Duration
	BackURL    string
	BackText   string
	// in place of BackURL: the redirect URI of an app with our answer, which may have a scheme of its own
	AnswerURL string
	Cause     error
}

// Error implements error; the text is for the log.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Heading + ": " + e.Cause.Error()
	}
	return e.Heading
}

// Unwrap returns the cause; nil where there is none.
func (e *Error) Unwrap() error { return e.Cause }

// NotFound is the page for an address that leads nowhere, or to something the visitor may not see.
func NotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Heading: "Page not found", Message: "The page doesn't exist, or it was removed.",
		BackURL: "/", BackText: "Go to your settings",
	}
}

// NotVerified refuses a form that did not come from its own page, with 403.
func NotVerified(message string) *Error {
	return &Error{Status: http.StatusForbidden, Heading: "We couldn't verify this form", Message: message}
}

// asPageError is the one place where errors of other packages become words for a person.
func asPageError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var throttled *identity.Throttled
	var authorize *oauth.AuthorizeError
	var protocol *oauth.Error
	var tooLarge *http.MaxBytesError
	var no *management.Forbidden
	var tooMany *management.TooManyChanges
	switch {
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, identity.ErrBusy), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.As(err, &protocol) && protocol.Code == oauth.TemporarilyUnavailable:
		return &Error{
			Status: http.StatusServiceUnavailable, Heading: "Not available right now",
			Message: "Nothing is lost. Wait a moment, then load this page again.", RetryAfter: time.Second, Cause: err,
		}
	case errors.As(err, &throttled):
		return &Error{
			Status: http.StatusTooManyRequests, Heading: "Too many attempts", Message: TooManyAttempts(throttled),
			RetryAfter: throttled.RetryAfter, Cause: err,
		}
	case errors.As(err, &tooMany):
		return &Error{
			Status: http.StatusTooManyRequests, Heading: "Too many changes", RetryAfter: tooMany.RetryAfter, Cause: err,
			Message: "You, or programs acting for you, have made too many changes in a short time. Nothing was changed. Wait " +
				inWords(tooMany.RetryAfter) + ", then try again. You can still revoke and delete.",
		}
	case errors.As(err, &authorize):
		return &Error{
			Status: http.StatusBadRequest, Heading: "The app's request cannot be answered", Message: authorize.Description,
			Cause: err,
		}
	case errors.As(err, &tooLarge):
		return &Error{
			Status: http.StatusRequestEntityTooLarge, Heading: "Too large", Message: "What you sent is too large for this page.",
			Cause: err,
		}
	case errors.As(err, &no):
		return &Error{Status: http.StatusForbidden, Heading: "You don't have permission", Message: no.Message, Cause: err}
	case errors.Is(err, storage.ErrNotFound):
		return NotFound()
	}
	return &Error{
		Status: http.StatusInternalServerError, Heading: "Something went wrong",
		Message: "This is our fault. If it happens again, send the request ID to the server's administrator.", Cause: err,
	}
}

// TooManyAttempts says what to do about passwords that were wrong too often.
func TooManyAttempts(t *identity.Throttled) string {
	return "Too many attempts have failed. Wait " + inWords(t.RetryAfter) + ", then try again."
}

// WriteError answers with a page, whatever went wrong.
func (s *Pages) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := asPageError(err)
	if n := oauth.LogFieldsOf(r.Context()); n.Cause == nil {
		n.Cause = err
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", Seconds(e.RetryAfter))
	}
	view := templates.ErrorView{
		Page: s.NewPage(nil, ""), Status: e.Status, Heading: e.Heading, Message: e.Message,
		RequestID: w.Header().Get("X-Request-Id"), BackURL: e.BackURL, BackText: e.BackText,
		AnswerURL: templ.SafeURL(e.AnswerURL),
	}
	if e.BackURL == "" && e.AnswerURL == "" {
		view.BackURL, view.BackText = wayOn(r, e.Status)
	}
	s.pageHeaders(w, view.Nonce)
	var body bytes.Buffer
	if err := templates.ErrorPage(view).Render(r.Context(), &body); err != nil {
		// A context that ended keeps templ from rendering; the person may still be there.
		body.Reset()
		_ = templates.ErrorPage(view).Render(context.WithoutCancel(r.Context()), &body) // a buffer takes everything
	}
	challenge(w, e.Status)
	w.WriteHeader(e.Status)
	_, _ = w.Write(body.Bytes()) // a browser that went away is no fault of ours
}

// wayOn is the link of an error page that names none, so that no page is a dead end: to the same page where waiting may
// help, else to the settings, past the sign-in page where that is needed.
func wayOn(r *http.Request, status int) (to, text string) {
	again := r.URL.RequestURI()
	sameHost := strings.HasPrefix(again, "/") && !strings.HasPrefix(again, "//") && !strings.Contains(again, "\\")
	if r.Method == http.MethodGet && sameHost && (status == http.StatusTooManyRequests ||
		status >= http.StatusInternalServerError) {
		return again, "Try again"
	}
	return "/", "Go to your settings"
}
