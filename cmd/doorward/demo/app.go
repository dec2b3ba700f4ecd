package demo

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// app is a third-party app as its developer would write it, on golang.org/x/oauth2: it knows the server's URLs, its
// client id and secret, and nothing else of Doorward.
type app struct {
	oauth  oauth2.Config
	issuer string
	apiURL string
	page   *template.Template
	style  []byte

	mu       sync.Mutex
	visitors map[string]*visitor // by cookie
}

// visitor is one browser at the app.
type visitor struct {
	state, verifier string // of the authorization that is under way
	token           *oauth2.Token
	scope           string
	steps           []event // what happened, the last first
}

// event is one thing that happened, as the page shows it.
type event struct {
	Title, Request, Response string
	Failed                   bool
}

var (
	//go:embed app.html
	pageText string
	//go:embed app.css
	style []byte
)

const maxVisitors = 1000 // browsers remembered at most

// NewApp creates the app, which is registered with a client id and secret at an issuer.
func NewApp(issuer, apiURL, appURL, clientID, secret string) (http.Handler, error) {
	page, err := template.New("app").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("demo app: %w", err)
	}
	d := &app{
		issuer: issuer, apiURL: apiURL, page: page, style: style, visitors: map[string]*visitor{},
		oauth: oauth2.Config{
			ClientID:     clientID,
			ClientSecret: secret,
			RedirectURL:  appURL + "/callback",
			Scopes:       []string{"read", "write", "delete"},
			Endpoint: oauth2.Endpoint{
				AuthURL:   issuer + "/oauth/authorize",
				TokenURL:  issuer + "/oauth/token",
				AuthStyle: oauth2.AuthStyleInHeader,
			},
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.home)
	mux.HandleFunc("GET /app.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(d.style) // a browser that went away
	})
	mux.HandleFunc("POST /connect", d.connect)
	mux.HandleFunc("GET /callback", d.callback)
	mux.HandleFunc("POST /call", d.call)
	mux.HandleFunc("POST /refresh", d.refresh)
	mux.HandleFunc("POST /revoke", d.revoke)
	return http.NewCrossOriginProtection().Handler(mux), nil
}

// visitor finds the browser behind a request, or greets a new one. The caller holds the lock.
func (d *app) visitor(w http.ResponseWriter, r *http.Request) *visitor {
	if c, err := r.Cookie("fieldnotes"); err == nil {
		if v, ok := d.visitors[c.Value]; ok {
			return v
		}
	}
	if len(d.visitors) >= maxVisitors {
		clear(d.visitors)
	}
	id, v := rand.Text(), &visitor{}
	d.visitors[id] = v
	cookie := &http.Cookie{Name: "fieldnotes", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode} //nolint:gosec // plain http, on loopback
	http.SetCookie(w, cookie)
	return v
}

// with runs one step for the browser behind a request and shows the page again.
func (d *app) with(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, v *visitor) event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitor(w, r)
	if step := do(r.Context(), v); step.Title != "" {
		v.steps = append([]event{step}, v.steps[:min(len(v.steps), 9)]...)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (d *app) home(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitor(w, r)
	view := struct {
		Connected            bool
		Issuer, API, Expires string
		Scopes               []string
		Steps                []event
	}{Connected: v.token != nil, Issuer: d.issuer, API: d.apiURL, Scopes: strings.Fields(v.scope), Steps: v.steps}
	if v.token != nil {
		view.Expires = v.token.Expiry.Format("15:04:05")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(
		"Content-Security-Policy",
		"default-src 'none'; style-src 'self'; form-action 'self' "+d.issuer+"; frame-ancestors 'none'; base-uri 'none'",
	)
	_ = d.page.Execute(w, view) // a browser that went away
}

// connect sends the browser to Doorward (RFC 6749, section 4.1.1), with state against forged answers and a PKCE challenge.
func (d *app) connect(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitor(w, r)
	v.state, v.verifier = rand.Text(), oauth2.GenerateVerifier()
	http.Redirect(w, r, d.oauth.AuthCodeURL(v.state, oauth2.S256ChallengeOption(v.verifier)), http.StatusSeeOther)
}

// callback takes the answer: is it ours (state), of the server that was asked (iss, RFC 9207), and a yes?
func (d *app) callback(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) event {
		q := r.URL.Query()
		step := event{Title: "Doorward sent you back", Request: "GET /callback?" + shortenSecrets(r.URL.RawQuery)}
		state, verifier := v.state, v.verifier
		v.state, v.verifier = "", ""
		switch {
		case state == "" || q.Get("state") != state:
			step.Failed, step.Response = true, "The state is not the one that was sent, so this answer is not to our question."
			return step
		case q.Get("iss") != d.issuer:
			step.Failed, step.Response = true, "The answer is of another server."
			return step
		case q.Get("error") != "":
			step.Failed, step.Response = true, q.Get("error")+": "+q.Get("error_description")
			return step
		}
		token, err := d.oauth.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			step.Failed, step.Response = true, plainError(err)
			return step
		}
		return d.took(v, token, "The code was exchanged for tokens", "POST /oauth/token\ngrant_type=authorization_code")
	})
}

// took keeps new tokens and tells about them.
func (d *app) took(v *visitor, token *oauth2.Token, title, request string) event {
	v.token = token
	if scope, ok := token.Extra("scope").(string); ok {
		v.scope = scope
	}
	return event{
		Title:   title,
		Request: request,
		Response: fmt.Sprintf(
			"{\n  \"access_token\": %q,\n  \"token_type\": %q,\n  \"expires_in\": %d,\n  \"refresh_token\": %q,\n  \"scope\": %q\n}",
			shortenSecret(
				token.AccessToken,
			),
			token.TokenType,
			int(time.Until(token.Expiry).Round(time.Second).Seconds()),
			shortenSecret(token.RefreshToken),
			v.scope,
		),
	}
}

// call calls the API with the access token as it is.
func (d *app) call(w http.ResponseWriter, r *http.Request) {
	method := r.PostFormValue("method")
	d.with(w, r, func(ctx context.Context, v *visitor) event {
		if v.token == nil || (method != http.MethodGet && method != http.MethodPost && method != http.MethodDelete) {
			return event{}
		}
		step := event{
			Title:   "The API answered",
			Request: method + " /notes\nAuthorization: Bearer " + shortenSecret(v.token.AccessToken),
		}
		status, body, err := d.fetch(
			ctx,
			method,
			d.apiURL+"/notes",
			nil,
			func(q *http.Request) { v.token.SetAuthHeader(q) },
		)
		if err != nil {
			step.Failed, step.Response = true, plainError(err)
			return step
		}
		step.Failed, step.Response = status != http.StatusOK, fmt.Sprintf(
			"%d %s\n%s",
			status,
			http.StatusText(status),
			body,
		)
		return step
	})
}

// refresh gets a new access token, and with it a new refresh token (RFC 6749, section 6).
func (d *app) refresh(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) event {
		if v.token == nil {
			return event{}
		}
		request := "POST /oauth/token\ngrant_type=refresh_token"
		token, err := d.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: v.token.RefreshToken}).Token()
		if err != nil {
			return event{
				Title:    "Doorward gave no new tokens",
				Request:  request,
				Response: plainError(err),
				Failed:   true,
			}
		}
		return d.took(v, token, "The tokens were renewed", request)
	})
}

// revoke ends it from the app's side (RFC 7009). The tokens are kept on purpose: call the API and see.
func (d *app) revoke(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) event {
		if v.token == nil {
			return event{}
		}
		step := event{
			Title:   "The access was ended; the API will refuse the token now",
			Request: "POST /oauth/revoke\ntoken=" + shortenSecret(v.token.RefreshToken),
		}
		status, body, err := d.fetch(
			ctx,
			http.MethodPost,
			d.issuer+"/oauth/revoke",
			url.Values{"token": {v.token.RefreshToken}},
			func(q *http.Request) {
				q.SetBasicAuth(url.QueryEscape(d.oauth.ClientID), url.QueryEscape(d.oauth.ClientSecret))
			},
		)
		if err != nil {
			step.Failed, step.Response = true, plainError(err)
			return step
		}
		step.Response = fmt.Sprintf("%d %s\n%s", status, http.StatusText(status), body)
		return step
	})
}

// fetch sends one request and reads the answer, a little of it.
func (d *app) fetch(
	ctx context.Context,
	method, to string,
	form url.Values,
	prepare func(*http.Request),
) (status int, body string, err error) {
	q, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", fmt.Errorf("request: %w", err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	prepare(q)
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(q)
	if err != nil {
		return 0, "", fmt.Errorf("request: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read below
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if err != nil {
		return 0, "", fmt.Errorf("answer: %w", err)
	}
	var v any
	if json.Unmarshal(raw, &v) == nil {
		if pretty, err := json.MarshalIndent(v, "", "  "); err == nil {
			raw = pretty
		}
	}
	return resp.StatusCode, string(raw), nil
}

// plainError is what the server said, or that it said nothing.
func plainError(err error) string {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fmt.Sprintf("%s\n%s: %s", refused.Response.Status, refused.ErrorCode, refused.ErrorDescription)
	}
	return err.Error()
}

// shortenSecret shows enough of a token to tell it by.
func shortenSecret(token string) string {
	if len(token) < 16 {
		return token
	}
	return token[:10] + "…" + token[len(token)-4:]
}

func shortenSecrets(query string) string {
	parts := strings.Split(query, "&")
	for i, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		parts[i] = name + "=" + shortenSecret(value)
	}
	return strings.Join(parts, "&")
}
