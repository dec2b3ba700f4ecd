package page

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// Error is an error page. Cause is for the log only.
type Error struct {
	Status     int
	Heading    locale.Text
	Message    locale.Text
	RetryAfter time.Duration
	BackURL    string
	BackText   locale.Text
	// AnswerURL replaces BackURL: an app's redirect URI with the response to it. Its scheme may be one of the app's own.
	AnswerURL string
	Cause     error
}

// Error implements error, for the log.
func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Heading.String() + ": " + e.Cause.Error()
	}
	return e.Heading.String()
}

// Unwrap returns the cause; nil if there is none.
func (e *Error) Unwrap() error { return e.Cause }

// NotFound is the page for a URL that does not exist, or that the visitor may not see.
func NotFound() *Error {
	return &Error{
		Status: http.StatusNotFound, Heading: locale.New("Page not found"),
		Message: locale.New("The page does not exist, or you do not have access to it."),
		BackURL: "/", BackText: locale.New("Go to your settings"),
	}
}

// NotVerified is the page, with 403, for a form that did not come from its own page.
func NotVerified(message locale.Text) *Error {
	return &Error{Status: http.StatusForbidden, Heading: locale.New("We couldn't verify this form"), Message: message}
}

// asPageError turns errors of other packages into pages. It is the only place that does.
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
	var documents *oauth.TooManyDocuments
	switch {
	case errors.Is(err, identity.ErrBusy):
		return &Error{
			Status: http.StatusTooManyRequests, Heading: locale.New("Too many sign-ins at once"),
			Message:    locale.New("Many people are signing in, and your password was not checked. Wait a moment, then try again."),
			RetryAfter: 2 * time.Second, Cause: err,
		}
	case errors.Is(err, storage.ErrUnavailable),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.As(err, &protocol) && protocol.Code == oauth.TemporarilyUnavailable:
		return &Error{
			Status: http.StatusServiceUnavailable, Heading: locale.New("Not available right now"),
			Message:    locale.New("Nothing is lost. Wait a moment, then load this page again."),
			RetryAfter: time.Second, Cause: err,
		}
	case errors.As(err, &throttled):
		return &Error{
			Status: http.StatusTooManyRequests, Heading: locale.New("Too many attempts"), Message: TooManyAttempts(throttled),
			RetryAfter: throttled.RetryAfter, Cause: err,
		}
	case errors.Is(err, identity.ErrLink):
		return &Error{
			Status: http.StatusBadRequest, Heading: locale.New("This link no longer works"), Cause: err,
			Message: locale.New("It was already used, has expired, or was replaced by a newer email. Ask for another email."),
			BackURL: "/login", BackText: locale.New("Sign in"),
		}
	case errors.As(err, &tooMany):
		return &Error{
			Status: http.StatusTooManyRequests, Heading: locale.New("Too many changes"), RetryAfter: tooMany.RetryAfter,
			Message: locale.New("You, or programs acting for you, have made too many changes in a short time. This one was not "+
				"saved. Wait %s, then try again. You can still revoke keys and delete apps.", wait(tooMany.RetryAfter)),
			Cause: err,
		}
	case errors.As(err, &documents):
		return &Error{
			Status: http.StatusTooManyRequests, Heading: locale.New("Too many apps at once"), RetryAfter: documents.RetryAfter,
			Message: locale.New("Many apps that this server does not know yet were used from your network. Wait %s, then try "+
				"again, or sign in first.", wait(documents.RetryAfter)),
			BackURL: "/login", BackText: locale.New("Sign in"), Cause: err,
		}
	case errors.As(err, &authorize):
		message := authorize.Message
		if message.IsZero() {
			message = locale.New("The app sent an invalid request. The reason is for its developer: %s", authorize.Description)
		}
		return &Error{
			Status: http.StatusBadRequest, Heading: locale.New("Invalid request from the app"), Message: message, Cause: err,
		}
	case errors.As(err, &tooLarge):
		return &Error{
			Status: http.StatusRequestEntityTooLarge, Heading: locale.New("Request too large"),
			Message: locale.New("Shorten your input and try again."), Cause: err,
		}
	case errors.As(err, &no):
		return &Error{
			Status: http.StatusForbidden, Heading: locale.New("You don't have permission"), Message: no.Message, Cause: err,
		}
	case errors.Is(err, storage.ErrNotFound):
		return NotFound()
	}
	return &Error{
		Status: http.StatusInternalServerError, Heading: locale.New("Something went wrong"), Cause: err,
		Message: locale.New("This is our fault. If it happens again, send the request ID to the server's administrator."),
	}
}

// TooManyAttempts says what to do after too many wrong passwords.
func TooManyAttempts(t *identity.Throttled) locale.Text {
	return locale.New("Too many attempts have failed. Wait %s, then try again.", wait(t.RetryAfter))
}

// WriteError answers with the page for an error, and notes the error for the log.
func (s *Pages) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	r = s.localized(r) // a panic is answered outside of ForAnyone
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
		view.BackURL, view.BackText = nextLink(r, e.Status)
	}
	s.pageHeaders(w, view.Nonce)
	var body bytes.Buffer
	if err := templates.ErrorPage(view).Render(r.Context(), &body); err != nil {
		// templ does not render after the context has ended, but the browser may still be waiting.
		body.Reset()
		_ = templates.ErrorPage(view).Render(context.WithoutCancel(r.Context()), &body) // a buffer does not fail
	}
	challenge(w, e.Status)
	w.WriteHeader(e.Status)
	_, _ = w.Write(body.Bytes()) // the browser may be gone
}

// nextLink is the link on an error page that has none of its own, so that no page is a dead end: to the same page if
// trying again may help, otherwise to the settings (through the sign-in page if necessary).
func nextLink(r *http.Request, status int) (to string, text locale.Text) {
	again := r.URL.RequestURI()
	sameHost := strings.HasPrefix(again, "/") && !strings.HasPrefix(again, "//") && !strings.Contains(again, "\\")
	if r.Method == http.MethodGet && sameHost && (status == http.StatusTooManyRequests ||
		status >= http.StatusInternalServerError) {
		return again, locale.New("Try again")
	}
	return "/", locale.New("Go to your settings")
}
