package security

import (
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

func manyMembers(n int) string {
	var b strings.Builder
	b.WriteString(`{"grant_type":"client_credentials"`)
	for i := range n {
		fmt.Fprintf(&b, `,"p%d":"x"`, i)
	}
	b.WriteString("}")
	return b.String()
}

func TestT75_OtherMediaTypesAreRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	var parts strings.Builder
	w := multipart.NewWriter(&parts)
	for name, value := range map[string]string{
		"grant_type":    "client_credentials",
		"client_id":     app.ID,
		"client_secret": app.Secret,
	} {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("scope", "scope.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(file, strings.Repeat("read ", 10_000))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	form := with(ownForm, "client_id", app.ID, "client_secret", app.Secret).Encode()
	for kind, body := range map[string]string{
		w.FormDataContentType():              parts.String(),
		"multipart/form-data":                form,
		"text/plain":                         form,
		"":                                   form,
		"application/x-www-form-urlencoded2": form,
		"application/x-www-form-urlencoded, application/json": form,
		"application/xml":   "<x/>",
		"application/jwt":   "e30.e30.",
		"application/jsonp": `{}`,
		"/":                 form,
	} {
		t.Run(kind, func(t *testing.T) {
			q := r.Request(http.MethodPost, "/oauth/token", strings.NewReader(body))
			if kind != "" {
				q.Header.Set("Content-Type", kind)
			}
			refused(t, r.Send(r.Program(), q), http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("temporary files %v, error %v", left, err)
	}
}

func TestT76_BodyIsBounded(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	pad := func(size int) string {
		form := ownForm.Encode() + "&x="
		return form + strings.Repeat("x", size-len(form))
	}
	send := func(body io.Reader, kind string) *rig.Answer {
		return r.Send(r.Program(),
			r.Request(http.MethodPost, "/oauth/token", body, "Content-Type", kind, "Authorization",
				rig.Basic(app.ID, app.Secret)))
	}
	const form = "application/x-www-form-urlencoded"
	granted(t, send(strings.NewReader(pad(64<<10)), form))
	for name, size := range map[string]int{"one byte more": 64<<10 + 1, "1 MiB": 1 << 20, "9 MiB": 9 << 20} {
		for kind, label := range map[string]string{
			form:                              "form",
			"application/json":                "JSON",
			"multipart/form-data; boundary=x": "parts",
		} {
			t.Run(name+" "+label, func(t *testing.T) {
				refused(t, send(strings.NewReader(pad(size)), kind), http.StatusRequestEntityTooLarge, oauth.InvalidRequest)
				// A reader of unknown length is sent in chunks.
				refused(t, send(struct{ io.Reader }{strings.NewReader(pad(size))}, kind), http.StatusRequestEntityTooLarge,
					oauth.InvalidRequest)
			})
		}
	}
}

func TestT78_OnlyPOST(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	for path := range protected(app) {
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete,
		} {
			t.Run(method+" "+path, func(t *testing.T) {
				a := r.Send(r.Program(),
					r.Request(method, path, strings.NewReader(ownForm.Encode()), "Content-Type", "application/x-www-form-urlencoded",
						"Authorization", rig.Basic(app.ID, app.Secret)))
				allowed := strings.Split(strings.ReplaceAll(a.Header.Get("Allow"), " ", ""), ",")
				if a.Status != http.StatusMethodNotAllowed || !slices.Contains(allowed, http.MethodPost) ||
					slices.Contains(allowed, http.MethodGet) {
					t.Errorf("answered %d, Allow %v", a.Status, allowed)
				}
				machineHeaders(t, a)
			})
		}
	}
}

func TestT79_RepeatedParametersAreRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	whole := with(ownForm, "client_id", app.ID, "client_secret", app.Secret, "scope", "read", "audience", "x",
		"state", "x", "foo", "x")
	for name := range whole {
		for label, values := range map[string][]string{
			"equal":       {whole.Get(name), whole.Get(name)},
			"different":   {whole.Get(name), "y"},
			"empty first": {"", whole.Get(name)},
			"empty last":  {whole.Get(name), ""},
			"both empty":  {"", ""},
		} {
			t.Run(name+" "+label, func(t *testing.T) {
				form := with(whole)
				form[name] = values
				refused(t, r.Post("/oauth/token", form), http.StatusBadRequest, oauth.InvalidRequest)
			})
		}
	}
	granted(t, r.Post("/oauth/token", with(whole, "foo", "")))
}

func TestT80_HostileTextIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	_, refresh := r.Tokens(app, "read")
	base := refreshForm(refresh).Encode()
	for name, extra := range map[string]string{
		"10,000 parameters": strings.Repeat("&p=", 10_000), "101 parameters": func() (s string) {
			for i := range 101 {
				s += fmt.Sprintf("&p%d=x", i)
			}
			return s
		}(),
		"NUL":                   "&scope=%00",
		"NUL after":             "&scope=read%00",
		"NUL in a name":         "&sco%00pe=read",
		"raw NUL":               "&scope=\x00",
		"no UTF-8":              "&scope=%ff",
		"lone surrogate":        "&scope=%ED%A0%80",
		"overlong":              "&scope=%C0%AF",
		"bad escape":            "&scope=%zz",
		"cut escape":            "&scope=%",
		"semicolon":             "&scope=read;x=y",
		"replacement character": "&scope=%EF%BF%BD",
	} {
		t.Run(name, func(t *testing.T) {
			q := r.Request(http.MethodPost, "/oauth/token", strings.NewReader(base+extra), "Content-Type",
				"application/x-www-form-urlencoded", "Authorization", rig.Basic(app.ID, app.Secret))
			refused(t, r.Send(r.Program(), q), http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
	for _, text := range []string{
		"' OR '1'='1", "$1", "%", "_", "\\", "é\u0301", "\U0001F511", "\r\nSet-Cookie: x=y", strings.Repeat("x", 20_000),
		"\u2028", "read\twrite", "read\nwrite", "read\u00a0write", "<script>",
	} {
		for _, form := range []url.Values{
			refreshForm(text), codeForm(app, text), with(codeForm(app, "x"), "code_verifier", text, "redirect_uri", text),
		} {
			refused(t, r.PostAs(app, "/oauth/token", form), http.StatusBadRequest, oauth.InvalidGrant)
		}
		refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", text)),
			http.StatusBadRequest, oauth.InvalidScope)
		refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "resource", text)),
			http.StatusBadRequest, oauth.InvalidTarget)
		refused(t,
			r.Post("/oauth/token", ownForm, "Authorization",
				rig.Basic(text[:min(len(text), 8000)], text[:min(len(text), 8000)])), http.StatusUnauthorized, oauth.InvalidClient)
	}
	granted(t, r.Refresh(app, refresh))
}

// granted and refused check the headers of every other response in these tests; these are the responses that no other
// test sees.
func TestT81_EveryAnswerForbidsStorage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	machineHeaders(t, r.PostAs(app, "/oauth/revoke", url.Values{"token": {"x"}}))
	machineHeaders(t, r.Introspect(app, "x"))
	a := r.PostAs(app, "/oauth/token", ownForm, "Origin", "https://app.example")
	machineHeaders(t, a)
	if a.Header.Get("Access-Control-Allow-Credentials") != "" || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("headers %v", a.Header)
	}
}

// A refusal before routing has the same shape.
func TestT81_RefusalsBeforeTheRouteForbidStorage(t *testing.T) {
	r := rig.Memory(t, rig.Options{
		Issuer: "https://id.example", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	app := robot(r)
	for path, form := range protected(app) {
		send := func(method string, header ...string) *rig.Answer {
			return r.Send(r.Program(), r.Request(method, path, strings.NewReader(form.Encode()), append([]string{
				"Content-Type", "application/x-www-form-urlencoded",
				"Authorization", rig.Basic(app.ID, app.Secret),
			}, header...)...))
		}
		refused(t, send(http.MethodPost, "X-Forwarded-Proto", "http"), http.StatusBadRequest, oauth.InvalidRequest)
		refused(t, send("PROPFIND"), http.StatusMethodNotAllowed, oauth.InvalidRequest)
		refused(t, send(http.MethodTrace), http.StatusMethodNotAllowed, oauth.InvalidRequest)
		a := send(http.MethodPost, "X-Forwarded-Proto", "https")
		if a.Status == http.StatusBadRequest && path == "/oauth/token" {
			t.Errorf("over https: %d %s", a.Status, a.Body)
		}
	}
}

// panicking is a body that makes the handler panic.
type panicking struct{}

func (panicking) Read([]byte) (int, error) {
	panic("select * from secrets at db.internal:5432 (*storage.Store)")
}
func (panicking) Close() error { return nil }

func TestT82_InternalErrorTellsNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for _, path := range []string{"/oauth/token", "/oauth/introspect", "/oauth/revoke"} {
		q := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1"+path, panicking{})
		q.Host = strings.TrimPrefix(r.Issuer, "http://")
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.Web.ServeHTTP(w, q)
		refused(t, &rig.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.String()}, http.StatusInternalServerError,
			oauth.ServerError)
		if !strings.Contains(r.Log.String(), w.Header().Get("X-Request-Id")) {
			t.Error("the log does not know the request id")
		}
	}
	granted(t, r.PostAs(robot(r), "/oauth/token", ownForm))
}

func TestT82_T83_RefusedStatementTellsNothing(t *testing.T) {
	eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app := robot(r)
		restore := breakWrites(r, owner, "INSERT", "access_tokens")
		refused(t, r.PostAs(app, "/oauth/token", ownForm), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
		restore()
		granted(t, r.PostAs(app, "/oauth/token", ownForm))
	})
}

func TestT83_StorageAwayIsNeverANo(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, machine := r.App(management.ClientSpec{}), robot(r)
		public := r.App(management.ClientSpec{Public: true, RedirectURIs: []string{"https://app.example/cb"}})
		b := r.Browser().SignIn(r.Alice.Email)
		code := b.Code(app, "read")
		access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		_, publicRefresh := granted(t, r.Exchange(public, b.Code(public, "read")))
		// Of the clients, the machine is not cached.
		r.BreakStorage()
		for name, a := range map[string]*rig.Answer{
			"exchange":           r.Exchange(app, code),
			"refresh":            r.Refresh(app, refresh),
			"public refresh":     r.Refresh(public, publicRefresh),
			"client_credentials": r.PostAs(machine, "/oauth/token", ownForm),
			"revoke":             r.PostAs(app, "/oauth/revoke", url.Values{"token": {access}}),
			"introspect":         r.Introspect(app, access),
			"wrong secret":       r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(machine.ID, wrongSecret)),
			"unknown client": r.Post("/oauth/token", ownForm, "Authorization",
				rig.Basic("app_00000000-0000-7000-8000-000000000000", wrongSecret)),
		} {
			t.Run(name, func(t *testing.T) {
				refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			})
		}
	})
}
