package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The parties of the demo, as the page names them.
const (
	partyBrowser = "browser"
	partyApp     = "app"
	partyAPI     = "API"
	partyServer  = "Doorward"
)

// exchange is a request and its response as the page shows them, with shortened secrets.
type exchange struct {
	Title string
	// Where names the section of the RFC that defines the request.
	Where             string
	From, To          string
	Request, Response string
	Note              string // a remark of the page; may be empty
	Failed            bool
}

// Trace records the API's introspection requests, so that the app's page can show them. The zero value is ready to use.
type Trace struct {
	mu    sync.Mutex
	asked map[string][]exchange // by the token that the API asked about
}

// Client returns the HTTP client with which the API introspects tokens.
func (t *Trace) Client() *http.Client {
	return recordingClient(partyAPI, partyServer, func(token string, x exchange) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.asked == nil || len(t.asked) >= maxVisitors {
			t.asked = map[string][]exchange{}
		}
		x.Title, x.Where = "Introspection: before it answers, the API asks about the token", "RFC 7662, section 2"
		t.asked[token] = append(t.asked[token][max(0, len(t.asked[token])-9):], x)
	})
}

// take returns the requests about a token, and deletes them.
func (t *Trace) take(token string) []exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := t.asked[token]
	delete(t.asked, token)
	return asked
}

// maxShown bounds how much of a body the page shows, in bytes.
const maxShown = 8 << 10

// recordingClient returns an HTTP client that passes every exchange to keep, with the form's token parameter, if any.
// From and to are the parties.
func recordingClient(from, to string, keep func(token string, x exchange)) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &recorder{from: from, to: to, keep: keep}}
}

type recorder struct {
	from, to string
	keep     func(token string, x exchange)
}

// connections are shared by the app and the API.
var connections = &http.Transport{IdleConnTimeout: 30 * time.Second}

// RoundTrip implements http.RoundTripper. The request's body is small and from this process, so it is read whole.
func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	var form []byte
	if q.Body != nil {
		var err error
		if form, err = io.ReadAll(q.Body); err != nil {
			return nil, fmt.Errorf("read the request: %w", errors.Join(err, q.Body.Close()))
		}
		q = q.Clone(q.Context())
		q.Body = io.NopCloser(bytes.NewReader(form))
	}
	x := exchange{From: r.from, To: r.to, Request: showRequest(q, string(form))}
	var token string
	if values, err := url.ParseQuery(string(form)); err == nil {
		token = values.Get("token")
	}
	resp, err := connections.RoundTrip(q)
	if err != nil {
		x.Failed, x.Response = true, "No response: "+err.Error()
		r.keep(token, x)
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxShown))
	x.Failed, x.Response = resp.StatusCode >= http.StatusBadRequest, showResponse(resp, body)
	r.keep(token, x)
	if err != nil {
		return nil, fmt.Errorf("read the response: %w", errors.Join(err, resp.Body.Close()))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	return resp, nil
}

// showRequest writes a request with the headers that matter in the flow.
func showRequest(q *http.Request, form string) string {
	text := q.Method + " " + q.URL.String()
	if authorization := q.Header.Get("Authorization"); authorization != "" {
		scheme, credential, _ := strings.Cut(authorization, " ")
		text += "\nAuthorization: " + scheme + " " + shorten(credential)
		if scheme == "Basic" {
			text += " (client id and secret)"
		}
	}
	if form != "" {
		text += "\nContent-Type: " + q.Header.Get("Content-Type") + "\n\n" + showForm(form)
	}
	return text
}

// shownHeaders are the response headers that matter in the flow.
var shownHeaders = []string{"Content-Type", "Cache-Control", "Location", "WWW-Authenticate", "Retry-After"}

// showResponse writes a response with the headers that matter in the flow.
func showResponse(resp *http.Response, body []byte) string {
	text := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	for _, name := range shownHeaders {
		if value := resp.Header.Get(name); value != "" {
			text += "\n" + name + ": " + value
		}
	}
	if body = bytes.TrimSpace(body); len(body) > 0 {
		text += "\n\n" + showBody(body)
	}
	return text
}

// secretMembers matches the members of a JSON object that are secrets.
var secretMembers = regexp.MustCompile(`("(?:access_token|refresh_token)":\s*")([^"]*)"`)

// showBody indents JSON and shortens the tokens in it.
func showBody(body []byte) string {
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, "", "  ") == nil {
		body = pretty.Bytes()
	}
	return secretMembers.ReplaceAllStringFunc(string(body), func(member string) string {
		parts := secretMembers.FindStringSubmatch(member)
		return parts[1] + shorten(parts[2]) + `"`
	})
}

// secretParameters are the form parameters that are secrets.
var secretParameters = []string{"code", "code_verifier", "token", "refresh_token", "client_secret"}

// showForm writes a query or form with one parameter per line and shortened secrets.
func showForm(query string) string {
	parameters := strings.Split(query, "&")
	for i, parameter := range parameters {
		if name, value, _ := strings.Cut(parameter, "="); slices.Contains(secretParameters, name) {
			parameters[i] = name + "=" + shorten(value)
		}
	}
	return strings.Join(parameters, "\n&")
}

// showURL writes a URL with one parameter per line and shortened secrets.
func showURL(to string) string {
	path, query, found := strings.Cut(to, "?")
	if !found {
		return to
	}
	return path + "\n?" + showForm(query)
}

// shorten keeps enough of a secret to recognise it.
func shorten(secret string) string {
	if len(secret) < 24 {
		return "…"
	}
	return secret[:10] + "…" + secret[len(secret)-4:]
}
