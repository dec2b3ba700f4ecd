package security

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/rig"
)

// failing makes the server's clock panic once, at its n-th use from now on. This simulates a bug in the middle of a
// request, at every place that reads the time.
func failing(r *rig.Rig) (arm func(n int64), fired func() bool) {
	var left atomic.Int64
	var did atomic.Bool
	r.Store.SetClock(func() time.Time {
		if left.Load() > 0 && left.Add(-1) == 0 {
			did.Store(true)
			panic("a fault of the program")
		}
		return time.Now()
	})
	return func(n int64) { did.Store(false); left.Store(n) }, func() bool { left.Store(0); return did.Load() }
}

func TestH10_PanicEndsNothingButItsRequest(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		machine := robot(r)
		access, refresh := r.Tokens(app, "read")
		b := r.Browser().SignIn(r.Alice.Email)
		code := func() string { return b.Code(app, "read") }
		// The request is prepared before the clock is armed.
		for name, make := range map[string]func() func() *rig.Answer{
			"login page": func() func() *rig.Answer { return func() *rig.Answer { return r.Browser().Get("/login") } },
			"login": func() func() *rig.Answer {
				b := r.Browser()
				page := b.Get("/login")
				return func() *rig.Answer { return b.LogIn(page, r.Alice.Email) }
			},
			"authorize": func() func() *rig.Answer {
				return func() *rig.Answer { return b.Get("/oauth/authorize?" + app.Params("read").Encode()) }
			},
			"consent": func() func() *rig.Answer {
				page := b.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}}))
				return func() *rig.Answer { return b.Decide(page, "approve") }
			},
			"settings": func() func() *rig.Answer { return func() *rig.Answer { return b.Get("/settings/profile") } },
			"exchange": func() func() *rig.Answer {
				form := codeForm(app, code())
				return func() *rig.Answer { return r.PostAs(app, "/oauth/token", form) }
			},
			"refresh": func() func() *rig.Answer {
				_, token := granted(t, r.Exchange(app, code()))
				return func() *rig.Answer { return r.Refresh(app, token) }
			},
			"own token": func() func() *rig.Answer {
				return func() *rig.Answer { return r.PostAs(machine, "/oauth/token", ownForm) }
			},
			"introspect": func() func() *rig.Answer { return func() *rig.Answer { return r.Introspect(api, access) } },
			"revoke": func() func() *rig.Answer {
				token, _ := granted(t, r.Exchange(app, code()))
				return func() *rig.Answer { return r.PostAs(app, "/oauth/revoke", url.Values{"token": {token}}) }
			},
		} {
			t.Run(name, func(t *testing.T) {
				arm, fired := failing(r)
				for n := int64(1); ; n++ {
					send := make()
					arm(n)
					a := send()
					if !fired() {
						if n == 1 || a.Status >= 400 {
							t.Errorf("after %d panics: %d", n-1, a.Status)
						}
						return
					}
					id := a.Header.Get("X-Request-Id")
					if a.Status != http.StatusInternalServerError || id == "" || !strings.Contains(a.Body, id) || a.Location != nil {
						t.Fatalf("a panic at use %d of the clock: answered %d %s", n, a.Status, rig.Plain(a.Body))
					}
					if innards.MatchString(rig.Plain(a.Body)) || strings.Contains(a.Body, "a fault of the program") {
						t.Errorf("the answer tells %s", rig.Plain(a.Body))
					}
					if strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
						machineHeaders(t, a)
					}
					if line := logged(t, r, "panic", id); line["panic"] != "a fault of the program" ||
						!strings.Contains(line["stack"].(string), ".go:") {
						t.Errorf("the log says %v", line)
					}
					if line := logged(t, r, "request", id); line["level"] != "ERROR" || line["status"] != 500.0 {
						t.Errorf("the log says %v", line)
					}
				}
			})
		}
		if !r.Alive(api, access) || !r.Alive(app, refresh) {
			t.Error("panics ended tokens")
		}
	})
}

// logged returns the log line with this message about this request.
func logged(t *testing.T, r *rig.Rig, message, id string) map[string]any {
	t.Helper()
	for line := range strings.Lines(r.Log.String()) {
		var m map[string]any
		ok(t, json.Unmarshal([]byte(line), &m))
		if m["msg"] == message && m["request_id"] == id {
			return m
		}
	}
	t.Errorf("the log has no %q about request %s", message, id)
	return map[string]any{"stack": ""}
}
