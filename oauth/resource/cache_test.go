package resource_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/resource"
	"doorward/test/rig"
)

func TestRevocationHoldsAtOnceWithoutACache(t *testing.T) {
	r := rig.Memory(t, catalogue())
	a := newAPI(t, config(r))
	app := r.App(management.ClientSpec{})
	access, _ := r.Tokens(app, "read")
	w, _ := a.ask(request(access), "read")
	a.want(w, http.StatusNoContent, "")
	r.PostAs(app, "/oauth/revoke", map[string][]string{"token": {access}})
	w, _ = a.ask(request(access), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")

	access, _ = r.Tokens(app, "read")
	r.Advance(time.Hour + time.Second)
	w, _ = a.ask(request(access), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
}

func TestCacheHoldsForItsTimeAndNeverPastExpiry(t *testing.T) {
	r := rig.Memory(t, catalogue())
	c := config(r)
	c.CacheFor = 5 * time.Second
	var asked atomic.Int64
	c.Client = counting(&asked, "/oauth/introspect")
	a := newAPI(t, c)
	app := r.App(management.ClientSpec{})
	access, _ := r.Tokens(app, "read")
	for range 3 {
		w, _ := a.ask(request(access), "read")
		a.want(w, http.StatusNoContent, "")
	}
	if asked.Load() != 1 {
		t.Errorf("three requests ask %d times", asked.Load())
	}
	r.PostAs(app, "/oauth/revoke", map[string][]string{"token": {access}})
	r.Advance(4 * time.Second)
	w, _ := a.ask(request(access), "read")
	a.want(w, http.StatusNoContent, "")
	r.Advance(time.Second)
	for range 2 { // a no is not kept
		w, _ = a.ask(request(access), "read")
		a.want(w, http.StatusUnauthorized, "invalid_token")
	}
	if asked.Load() != 3 {
		t.Errorf("after the cache's time and a refusal it was asked %d times, want 3", asked.Load())
	}

	access, _ = r.Tokens(app, "read")
	r.Advance(time.Hour - 2*time.Second) // it ends in two
	w, _ = a.ask(request(access), "read")
	a.want(w, http.StatusNoContent, "")
	r.Advance(2 * time.Second)
	w, _ = a.ask(request(access), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
}

// counting is a client that counts the requests to a path.
func counting(n *atomic.Int64, path string) *http.Client {
	return &http.Client{Transport: transport(func(q *http.Request) (*http.Response, error) {
		if q.URL.Path == path {
			n.Add(1)
		}
		return http.DefaultTransport.RoundTrip(q)
	})}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// Many with one token at once are one question where a cache is allowed.
func TestEqualQuestionsAtOnceAreOne(t *testing.T) {
	o := catalogue()
	o.AtOnce = true
	r := rig.Memory(t, o)
	access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
	var asked atomic.Int64
	c := config(r)
	c.CacheFor, c.Client = time.Second, counting(&asked, "/oauth/introspect")
	a := newAPI(t, c)
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			h := a.v.Require("read")(noContent())
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, request(access)); w.Code != http.StatusNoContent {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	wait.Wait()
	if asked.Load() != 1 {
		t.Errorf("64 requests with one token ask %d times", asked.Load())
	}
}

func TestUnreachableServerIsNeverANo(t *testing.T) {
	r := rig.Memory(t, catalogue())
	app := r.App(management.ClientSpec{})
	access, _ := r.Tokens(app, "read")
	c := config(r)
	a := newAPI(t, c)
	w, _ := a.ask(request(access), "read")
	a.want(w, http.StatusNoContent, "")

	r.BreakStorage()
	w, _ = a.ask(request(access), "read")
	a.want(w, http.StatusServiceUnavailable, "")
	if w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("the 503 has %v", w.Header())
	}
	r.HTTP.Close()
	fresh := newAPI(t, c) // that has not even read the metadata
	for _, x := range []*api{a, fresh} {
		w, _ = x.ask(request(access), "read")
		x.want(w, http.StatusServiceUnavailable, "")
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("the 503 does not say when to try again: %v", w.Header())
		}
		if !strings.Contains(x.log.String(), r.URL) || strings.Contains(x.log.String()+w.Body.String(), access) {
			t.Errorf("the operator is told %q, the caller %s", x.log.String(), w.Body)
		}
		if strings.Contains(w.Body.String(), r.URL) {
			t.Errorf("the caller is told whom the API asks: %s", w.Body)
		}
	}
}

// What a server answers instead of an answer is not believed.
func TestAnswersThatAreNone(t *testing.T) {
	for name, x := range map[string]struct {
		status     int
		header     string
		body       string
		want       int
		retryAfter string
	}{
		"too many failures":   {429, "7", `{"error":"temporarily_unavailable"}`, 503, "7"},
		"a wait of a year":    {503, "31536000", ``, 503, "60"},
		"a proxy's error":     {502, "", `<html>`, 503, "1"},
		"no JSON":             {200, "", `<html>active</html>`, 503, "1"},
		"cut off":             {200, "", `{"active":true,"aud":"` + exampleAPI, 503, "1"},
		"too long":            {200, "", `{"active":true,"aud":"` + exampleAPI + `"}` + strings.Repeat(" ", 1<<20), 503, "1"},
		"wrong credentials":   {401, "", `{"error":"invalid_client"}`, 500, ""},
		"moved":               {307, "", ``, 500, ""},
		"no such path":        {404, "", ``, 500, ""},
		"active as a word":    {200, "", `{"active":"true","aud":"` + exampleAPI + `"}`, 503, "1"},
		"without an audience": {200, "", `{"active":true}`, 401, ""},
		"nothing":             {200, "", `{}`, 401, ""},
		"null":                {200, "", `null`, 401, ""},
		"two audiences":       {200, "", `{"active":true,"aud":["` + exampleAPI + `","https://x.example"]}`, 503, "1"},
		"one in a list":       {200, "", `{"active":true,"aud":["` + exampleAPI + `"]}`, 204, ""},
		"an audience within":  {200, "", `{"active":true,"aud":"https://api.example.com"}`, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			followed := false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				followed = r.URL.Path == "/elsewhere"
				if x.header != "" {
					w.Header().Set("Retry-After", x.header)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(x.status)
				_, _ = io.WriteString(w, x.body)
			}))
			defer server.Close()
			a := newAPI(t, resource.Config{Issuer: server.URL, IntrospectionURL: server.URL + "/introspect", Key: "sk_live_x"})
			w, _ := a.ask(request("token"))
			if w.Code != x.want || w.Header().Get("Retry-After") != x.retryAfter || followed {
				t.Errorf("got %d, Retry-After %q, followed %v; want %d, %q",
					w.Code, w.Header().Get("Retry-After"), followed, x.want, x.retryAfter)
			}
			if x.want >= 500 && !strings.Contains(a.log.String(), "status="+strconv.Itoa(x.want)) {
				t.Errorf("the operator is told %q", a.log.String())
			}
		})
	}
}
