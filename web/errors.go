package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/api"
	"doorward/web/gateway"
)

// pageError is what a person is told instead of a page. Cause is for the log alone.
type pageError struct {
	Status     int
	Heading    string
	Message    string
	RetryAfter time.Duration
	BackURL    string
	BackText   string
	AnswerURL  string // in place of BackURL: the redirect URI of an app with our answer, which may have a scheme of its own
	Cause      error
}

func (e *pageError) Error() string {
	if e.Cause != nil {
		return e.Heading + ": " + e.Cause.Error()
	}
	return e.Heading
}

func (e *pageError) Unwrap() error { return e.Cause }

func notFound() *pageError {
	return &pageError{Status: http.StatusNotFound, Heading: "There is nothing here", Message: "The address is wrong, or what was here is gone.", BackURL: "/", BackText: "Go to your settings"}
}

func forbidden(message string) *pageError {
	return &pageError{Status: http.StatusForbidden, Heading: "We couldn't verify this form", Message: message}
}

// asPageError is the one place where errors of other packages become words for a person.
func asPageError(err error) *pageError {
	var own *pageError
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
		return &pageError{Status: http.StatusServiceUnavailable, Heading: "Not available right now", Message: "Nothing is lost. Wait a moment, then load this page again.", RetryAfter: time.Second, Cause: err}
	case errors.As(err, &throttled):
		return &pageError{Status: http.StatusTooManyRequests, Heading: "Too many attempts", Message: tooOften(throttled), RetryAfter: throttled.RetryAfter, Cause: err}
	case errors.As(err, &tooMany):
		return &pageError{
			Status: http.StatusTooManyRequests, Heading: "Too often", RetryAfter: tooMany.RetryAfter, Cause: err,
			Message: "You, or programs that act for you, have done this very often in a short time. Nothing was changed now. Wait " + inWords(tooMany.RetryAfter) + ", then try again. What you want to revoke or delete need not wait.",
		}
	case errors.As(err, &authorize):
		return &pageError{Status: http.StatusBadRequest, Heading: "The app's request cannot be answered", Message: authorize.Description, Cause: err}
	case errors.As(err, &tooLarge):
		return &pageError{Status: http.StatusRequestEntityTooLarge, Heading: "That is too much", Message: "What was sent is larger than this page takes.", Cause: err}
	case errors.As(err, &no):
		return &pageError{Status: http.StatusForbidden, Heading: "You may not do that", Message: no.Message, Cause: err}
	case errors.Is(err, storage.ErrNotFound):
		return notFound()
	}
	return &pageError{Status: http.StatusInternalServerError, Heading: "Something went wrong", Message: "The fault is ours. If it happens again, send the request id to whoever runs this server.", Cause: err}
}

// tooOften says what to do about passwords that were wrong too often.
func tooOften(t *identity.Throttled) string {
	return "Too many attempts have failed. Wait " + inWords(t.RetryAfter) + ", then try again."
}

// writePageError answers with a page, whatever went wrong.
func (s *Server) writePageError(w http.ResponseWriter, r *http.Request, err error) {
	e := asPageError(err)
	if n := oauth.LogFieldsOf(r.Context()); n.Cause == nil {
		n.Cause = err
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(e.RetryAfter))
	}
	view := templates.ErrorView{
		Page: s.page(nil, ""), Status: e.Status, Heading: e.Heading, Message: e.Message,
		RequestID: w.Header().Get("X-Request-Id"), BackURL: e.BackURL, BackText: e.BackText, AnswerURL: templ.SafeURL(e.AnswerURL),
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
	if r.Method == http.MethodGet && sameHost && (status == http.StatusTooManyRequests || status >= http.StatusInternalServerError) {
		return again, "Try again"
	}
	return "/", "Go to your settings"
}

// writeFailure answers a request whose handler panicked, in the shape that its caller expects.
func (s *Server) writeFailure(w http.ResponseWriter, r *http.Request) {
	if api.Owns(r.URL.Path) {
		s.api.Refuse(w, r, &gateway.Refusal{Kind: gateway.Failed, Detail: "The server failed. Send the request id to its operator."})
		return
	}
	if !isMachine(r) {
		s.writePageError(w, r, errors.New("panic"))
		return
	}
	writeMachineError(w, http.StatusInternalServerError, oauth.ServerError, "The server failed. Send the request id to its operator.")
}

// turnAway answers what must reach no route: callers of an API in its shape, other programs in that of RFC 6749 section
// 5.2, all others with a line of text.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, status int, description string) {
	if api.Owns(r.URL.Path) {
		kind := gateway.BadRequest
		switch status {
		case http.StatusNotFound:
			kind = gateway.NotFound
		case http.StatusMethodNotAllowed:
			kind = gateway.MethodNotAllowed
		}
		s.api.Refuse(w, r, &gateway.Refusal{Kind: kind, Status: status, Detail: description})
		return
	}
	if !isMachine(r) {
		http.Error(w, description, status)
		return
	}
	writeMachineError(w, status, oauth.InvalidRequest, description)
}

func writeMachineError(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{ // as above
		"error": code, "error_description": description, "request_id": w.Header().Get("X-Request-Id"),
	})
}

// inWords says how long to wait.
func inWords(d time.Duration) string {
	if d <= 90*time.Second {
		n := int64((d + time.Second - 1) / time.Second)
		if n <= 1 {
			return "a second"
		}
		return strconv.FormatInt(n, 10) + " seconds"
	}
	return strconv.FormatInt(int64((d+time.Minute-1)/time.Minute), 10) + " minutes"
}
