package demo

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/oauth2"
)

// app is a third-party app as its developer would write it with golang.org/x/oauth2. It knows the server's URLs and its
// own client_id and secret.
type app struct {
	oauth  oauth2.Config
	issuer string
	apiURL string
	appURL string
	page   *template.Template
	trace  *Trace

	mu       sync.Mutex
	visitors map[string]*visitor // by cookie
}

// visitor is one browser at the app.
type visitor struct {
	state, verifier string // of the pending authorization request
	token           *oauth2.Token
	scope           string
	shown           []exchange // oldest first
	dropped         int        // how many older ones were dropped
	latest          int        // index in shown of the first exchange of the last action
}

var (
	//go:embed app.html
	pageText string
	//go:embed app.css
	style []byte
)

const (
	maxVisitors = 1000 // browsers
	maxKept     = 60   // exchanges per browser
)

// NewApp returns the app, registered at issuer with a client_id and secret. Its page shows the requests of the app, and
// the API's requests from trace.
func NewApp(issuer, apiURL, appURL, clientID, secret string, trace *Trace) (http.Handler, error) {
	page, err := template.New("app").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("demo app: %w", err)
	}
	d := &app{
		issuer: issuer, apiURL: apiURL, appURL: appURL, page: page, trace: trace, visitors: map[string]*visitor{},
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
		_, _ = w.Write(style) // an error means that the browser has gone
	})
	mux.HandleFunc("POST /connect", d.connect)
	mux.HandleFunc("GET /callback", d.callback)
	mux.HandleFunc("POST /call", d.call)
	mux.HandleFunc("POST /refresh", d.refresh)
	mux.HandleFunc("POST /revoke", d.revoke)
	return http.NewCrossOriginProtection().Handler(mux), nil
}

// visitor finds the visitor of a request's cookie, or sets a cookie for a new one. The caller holds the lock.
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
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // plain http, on loopback
		Name: "fieldnotes", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return v
}

// with runs an action for the visitor of a request, then redirects to the page, which shows the action's exchanges.
func (d *app) with(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, v *visitor)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitor(w, r)
	v.latest = len(v.shown)
	do(r.Context(), v)
	http.Redirect(w, r, "/#latest", http.StatusSeeOther)
}

// show adds an exchange to the page.
func (v *visitor) show(x exchange) {
	v.shown = append(v.shown, x)
	if more := len(v.shown) - maxKept; more > 0 {
		v.shown = v.shown[more:]
		v.dropped += more
		v.latest = max(0, v.latest-more)
	}
}

// recording returns a context with which package oauth2 and send record their requests to a party, under a title. where
// is the section of the RFC.
func (v *visitor) recording(ctx context.Context, to, title, where string) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, recordingClient(partyApp, to, func(_ string, x exchange) {
		x.Title, x.Where = title, where
		v.show(x)
	}))
}

func (d *app) home(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitor(w, r)
	view := struct {
		Connected            bool
		Issuer, API, Expires string
		Scopes               []string
		Shown                []exchange
		First, Latest        int
	}{
		Connected: v.token != nil, Issuer: d.issuer, API: d.apiURL, Scopes: strings.Fields(v.scope), Shown: v.shown,
		First: v.dropped + 1, Latest: v.latest,
	}
	if v.token != nil {
		view.Expires = v.token.Expiry.Format("15:04:05")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(
		"Content-Security-Policy",
		"default-src 'none'; style-src 'self'; form-action 'self' "+d.issuer+"; frame-ancestors 'none'; base-uri 'none'",
	)
	_ = d.page.Execute(w, view) // an error means that the browser has gone
}

// connect redirects the browser to Doorward (RFC 6749, section 4.1.1), with a state against forged responses and a PKCE
// challenge.
func (d *app) connect(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitor(w, r)
	v.state, v.verifier = rand.Text(), oauth2.GenerateVerifier()
	to := d.oauth.AuthCodeURL(v.state, oauth2.S256ChallengeOption(v.verifier))
	v.latest = len(v.shown)
	v.show(exchange{
		Title: "Authorization request: the app redirects the browser to Doorward",
		Where: "RFC 6749, section 4.1.1; RFC 7636, section 4.3",
		From:  partyBrowser, To: partyServer,
		Request: "GET " + showURL(to),
		Note: "Doorward answers with its pages: you sign in, and allow or deny the request. " +
			"Then it redirects the browser back to the redirect_uri.",
	})
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback handles the authorization response. It checks the state, the issuer (RFC 9207) and the error, then exchanges
// the code.
func (d *app) callback(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) {
		q := r.URL.Query()
		x := exchange{
			Title: "Authorization response: Doorward redirects the browser to the app",
			Where: "RFC 6749, section 4.1.2; RFC 9207, section 2",
			From:  partyBrowser, To: partyApp,
			Request:  "GET " + showURL(d.appURL+r.URL.RequestURI()),
			Response: "303 See Other\nLocation: /#latest",
			Note: "The app checks that state and iss have the expected values. It answers after the token request that " +
				"follows.",
		}
		state, verifier := v.state, v.verifier
		v.state, v.verifier = "", ""
		switch {
		case state == "" || q.Get("state") != state:
			x.Failed, x.Note = true, "The state is not the one that the app sent, so the app ignores this response."
		case q.Get("iss") != d.issuer:
			x.Failed, x.Note = true, "The issuer is not the server that the app asked, so the app ignores this response."
		case q.Get("error") != "":
			x.Failed, x.Note = true, q.Get("error")+": "+q.Get("error_description")
		default:
			if len(v.shown) > 0 { // the authorization request and all that follows are one action
				v.latest = len(v.shown) - 1
			}
		}
		v.show(x)
		if x.Failed {
			return
		}
		ctx = v.recording(ctx, partyServer, "Token request: the app exchanges the code for tokens", "RFC 6749, section 4.1.3")
		if token, err := d.oauth.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
			v.keep(token)
		}
	})
}

// keep stores new tokens.
func (v *visitor) keep(token *oauth2.Token) {
	v.token = token
	if scope, ok := token.Extra("scope").(string); ok {
		v.scope = scope
	}
}

// call calls the API with the access token, even if it has expired.
func (d *app) call(w http.ResponseWriter, r *http.Request) {
	method := r.PostFormValue("method")
	d.with(w, r, func(ctx context.Context, v *visitor) {
		if v.token == nil || (method != http.MethodGet && method != http.MethodPost && method != http.MethodDelete) {
			return
		}
		d.trace.take(v.token.AccessToken) // discard earlier requests
		ctx = v.recording(ctx, partyAPI, "API request: the app calls the API", "RFC 6750, section 2.1")
		send(ctx, method, d.apiURL+"/notes", nil, v.token.SetAuthHeader)
		for _, x := range d.trace.take(v.token.AccessToken) {
			v.show(x)
		}
	})
}

// refresh gets a new access token, and with it a new refresh token (RFC 6749, section 6).
func (d *app) refresh(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) {
		if v.token == nil {
			return
		}
		ctx = v.recording(ctx, partyServer, "Refresh: the app gets new tokens", "RFC 6749, section 6")
		old := &oauth2.Token{RefreshToken: v.token.RefreshToken}
		if token, err := d.oauth.TokenSource(ctx, old).Token(); err == nil {
			v.keep(token)
		}
	})
}

// revoke revokes the app's access (RFC 7009). It keeps the tokens, so that the user can see the API refuse them.
func (d *app) revoke(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) {
		if v.token == nil {
			return
		}
		title := "Revocation: the app revokes its tokens, which the API refuses from now on"
		ctx = v.recording(ctx, partyServer, title, "RFC 7009, section 2.1")
		form := url.Values{"token": {v.token.RefreshToken}}
		send(ctx, http.MethodPost, d.issuer+"/oauth/revoke", form, func(q *http.Request) {
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			q.SetBasicAuth(url.QueryEscape(d.oauth.ClientID), url.QueryEscape(d.oauth.ClientSecret))
		})
	})
}

// send sends a request with the recording client of ctx, which shows the response.
func send(ctx context.Context, method, to string, form url.Values, prepare func(*http.Request)) {
	client, ok := ctx.Value(oauth2.HTTPClient).(*http.Client)
	q, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(form.Encode()))
	if !ok || err != nil {
		return
	}
	prepare(q)
	if resp, err := client.Do(q); err == nil {
		_ = resp.Body.Close()
	}
}
