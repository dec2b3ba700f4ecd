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

// app is a third-party app as its developer would write it, on golang.org/x/oauth2: it knows the server's URLs, its
// client id and secret, and nothing else of Doorward.
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
	state, verifier string // of the authorization that is under way
	token           *oauth2.Token
	scope           string
	shown           []exchange // the first one first
	dropped         int        // how many before them are no longer kept
	latest          int        // index in shown of the first one of the last action
}

var (
	//go:embed app.html
	pageText string
	//go:embed app.css
	style []byte
)

const (
	maxVisitors = 1000 // browsers remembered at most
	maxKept     = 60   // exchanges that the page of each shows at most
)

// NewApp creates the app, which is registered with a client id and secret at an issuer. Its page shows the requests of
// the app, and those of the API that trace has kept.
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
		_, _ = w.Write(style) // a browser that went away
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

// with runs one action for the browser behind a request and shows the page again, with all the exchanges of the action.
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

// recording returns a context whose requests to a party, by package oauth2 and by send, are shown under a title. Where
// names the section of the RFC.
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
	_ = d.page.Execute(w, view) // a browser that went away
}

// connect sends the browser to Doorward (RFC 6749, section 4.1.1), with a state against forged answers and a PKCE
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

// callback takes the answer: is it ours (state), of the server that was asked (iss, RFC 9207), and a yes?
func (d *app) callback(w http.ResponseWriter, r *http.Request) {
	d.with(w, r, func(ctx context.Context, v *visitor) {
		q := r.URL.Query()
		x := exchange{
			Title: "Authorization response: Doorward redirects the browser to the app",
			Where: "RFC 6749, section 4.1.2; RFC 9207, section 2",
			From:  partyBrowser, To: partyApp,
			Request:  "GET " + showURL(d.appURL+r.URL.RequestURI()),
			Response: "303 See Other\nLocation: /#latest",
			Note:     "The app compares state and iss with what it sent. It answers after the token request that follows.",
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

// keep keeps new tokens.
func (v *visitor) keep(token *oauth2.Token) {
	v.token = token
	if scope, ok := token.Extra("scope").(string); ok {
		v.scope = scope
	}
}

// call calls the API with the access token as it is.
func (d *app) call(w http.ResponseWriter, r *http.Request) {
	method := r.PostFormValue("method")
	d.with(w, r, func(ctx context.Context, v *visitor) {
		if v.token == nil || (method != http.MethodGet && method != http.MethodPost && method != http.MethodDelete) {
			return
		}
		d.trace.take(v.token.AccessToken) // what others may have had it ask
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

// revoke ends the access from the app's side (RFC 7009). The tokens are kept on purpose: call the API and see.
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

// send sends one request with the recording client of ctx, which shows the response; nothing else is done with it.
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
