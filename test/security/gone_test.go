package security

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/test/rig"
)

// doorsOf returns a request for each door of a server with gatewayOptions, and how to send it with the context of a
// connection; that returns its line in the log.
func doorsOf(t *testing.T, r *rig.Rig) (
	doors map[string]func() *http.Request, ask func(context.Context, *http.Request) map[string]any,
) {
	t.Helper()
	app, api := robot(r), r.ResourceServer()
	w, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, key := r.Key(w, apikey.Spec{Name: "Key", Scopes: []string{"read"}})
	person := r.App(management.ClientSpec{})
	_, refresh := r.Tokens(person, "read")
	b := r.Browser().SignIn(r.Alice.Email)
	page := r.Browser()
	login := page.Form(page.Get("/login"), "/login")
	login.Set("email", r.Alice.Email)
	login.Set("password", rig.Password)
	post := func(path string, form url.Values, header ...string) *http.Request {
		return r.Request("POST", path, strings.NewReader(form.Encode()),
			append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
	}
	doors = map[string]func() *http.Request{
		"token": func() *http.Request {
			return post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, app.Secret))
		},
		"refresh": func() *http.Request { // a second use soon after the first has the same answer
			return post("/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}},
				"Authorization", rig.Basic(person.ID, person.Secret))
		},
		"introspect": func() *http.Request {
			return post("/oauth/introspect", url.Values{"token": {"dw_at_x"}}, "Authorization", rig.Basic(api.ID, api.Secret))
		},
		"revoke": func() *http.Request {
			return post("/oauth/revoke", url.Values{"token": {"x"}}, "Authorization", rig.Basic(app.ID, app.Secret))
		},
		"authorize": func() *http.Request { return r.Request("GET", "/oauth/authorize?"+app.Params("read").Encode(), nil) },
		"login":     func() *http.Request { return post("/login", login, "Origin", r.Issuer) },
		"page":      func() *http.Request { return r.Request("GET", "/settings/profile", nil) },
		"API":       func() *http.Request { return r.Request("GET", "/v1/auth/test", nil, "Authorization", "Bearer "+key) },
		"keys":      func() *http.Request { return r.Request("GET", "/v1/api-keys", nil, "Authorization", "Bearer "+key) },
	}
	for name, ask := range gatewayDoors(r) {
		if name != "nginx" { // nginx passes it on in a header; ingress-nginx does the same
			doors["gateway, "+name] = func() *http.Request { return ask("Authorization", "Bearer "+key) }
		}
	}
	return doors, func(ctx context.Context, q *http.Request) map[string]any {
		t.Helper()
		for _, c := range b.Cookies() {
			if q.URL.Path == "/settings/profile" {
				q.AddCookie(c)
			}
		}
		q.RequestURI, q.RemoteAddr = "", "127.0.0.1:1"
		if q.Host != gatewayHost {
			q.Host = strings.TrimPrefix(r.Issuer, "http://")
		}
		func() {
			// The proxy ends a request whose caller has disconnected as net/http expects it.
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it like this
					panic(p)
				}
			}()
			r.Web.ServeHTTP(httptest.NewRecorder(), q.WithContext(ctx))
		}()
		return lastLine(t, r)
	}
}

// counted reports whether the metrics count answers with a status.
func counted(t *testing.T, r *rig.Rig, status string) bool {
	t.Helper()
	families, err := r.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(fmt.Sprint(families), `name:"status" value:"`+status+`"`) ||
		strings.Contains(fmt.Sprint(families), `name:"status"  value:"`+status+`"`)
}

// A caller that disconnects is neither an error nor a 503; a server that fails or gives up is.
func TestV78_CallersWhoDisconnectAreNotErrors(t *testing.T) {
	rig.Each(t, gatewayOptions(t), func(t *testing.T, r *rig.Rig) {
		doors, ask := doorsOf(t, r)
		for name, door := range doors {
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if line := ask(gone, door()); line["level"] != "INFO" || line["status"] != 499.0 || line["error"] != nil {
				t.Errorf("%s: a caller who disconnected is logged as %v", name, line)
			}
		}
		if counted(t, r, "500") || counted(t, r, "502") || counted(t, r, "503") || counted(t, r, "504") {
			t.Error("the metrics count callers who disconnected as failures")
		}
		for name, door := range doors {
			late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
			if line := ask(late, door()); line["level"] != "ERROR" || line["status"] != 503.0 {
				t.Errorf("%s: a time limit of our own is logged as %v", name, line)
			}
			cancel()
			cut, end := context.WithCancelCause(t.Context())
			end(errors.New("the server was stopped"))
			if line := ask(cut, door()); line["level"] != "ERROR" || line["status"] != 503.0 {
				t.Errorf("%s: a request that the server cut off is logged as %v", name, line)
			}
		}
		if !counted(t, r, "503") {
			t.Error("the metrics do not count failures")
		}
	})
}

// The same holds for a caller that disconnects in the middle: whenever the server looks at its clock. That is between
// the statements of a request, before a transaction and within it.
func TestV78_CallersWhoDisconnectInTheMiddleAreNotErrors(t *testing.T) {
	rig.Each(t, gatewayOptions(t), func(t *testing.T, r *rig.Rig) {
		doors, ask := doorsOf(t, r)
		for name, door := range doors {
			for moment, last := int64(1), int64(1); moment <= last; moment++ {
				gone, cancel := context.WithCancel(t.Context())
				var looks atomic.Int64
				r.Store.SetClock(func() time.Time {
					if looks.Add(1) == moment {
						cancel()
					}
					return time.Now()
				})
				line := ask(gone, door())
				cancel()
				if last = max(last, looks.Load()); last > 200 {
					t.Fatalf("%s looks at the clock too often", name)
				}
				if status, _ := line["status"].(float64); line["level"] != "INFO" || status >= 500 || status == 499 &&
					line["error"] != nil {
					t.Errorf("%s, at moment %d: %v", name, moment, line)
				}
			}
		}
		if counted(t, r, "500") || counted(t, r, "502") || counted(t, r, "503") || counted(t, r, "504") {
			t.Error("the metrics count callers who disconnected as failures")
		}
	})
}
