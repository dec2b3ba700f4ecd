package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

func readText(t *testing.T, contentType, body string) (url.Values, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth/token", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	form, err := readBody(httptest.NewRecorder(), r)
	var refused *Error
	switch {
	case err != nil && (!errors.As(err, &refused) || refused.status() >= http.StatusInternalServerError):
		t.Fatalf("%s %q gives the error %v", contentType, body, err)
	case err != nil && form != nil:
		t.Fatalf("%s %q gives an error and a form", contentType, body)
	}
	return form, err
}

// sound checks what the rest of the package relies on.
func sound(t *testing.T, form url.Values) {
	t.Helper()
	for name, values := range form {
		if len(values) != 1 || values[0] == "" || !utf8.ValidString(name+values[0]) ||
			strings.ContainsRune(name+values[0], 0) {
			t.Fatalf("parameter %q is %q", name, values)
		}
	}
	if len(form) > maxParameters {
		t.Fatalf("%d parameters", len(form))
	}
}

// FuzzBody: no body brings the server down, and a form and the JSON object that says the same are taken alike.
func FuzzBody(f *testing.F) {
	for _, body := range []string{
		"", "grant_type=client_credentials&scope=read", "a=1&a=2", "a=&a=1", "a=", "=x", "%00=x", "a=%00", "a=%ff", "a=%zz",
		"a;b", "a=%EF%BF%BD", "resource=x&resource=y",
		strings.Repeat("&a", 200), "a=b=c&%26=%3D+%2B", `{}`, `{"grant_type":"client_credentials"}`, `{"a":"1","a":"2"}`,
		`{"a":1e400,"b":true,"c":-0.10}`, `{"a":null}`, `{"a":{}}`,
		`{"a":[]}`, `{"a":"\ud800"}`, `{"a":"\u0000"}`, `{"":"x"}`, `{"a":""}`, `{"a":"x"}{}`, `[`, "{\"a\":\"\xff\"}",
		strings.Repeat(`{"a":`, 100), `{"a":"\ud83d\udd11"}`, `{"A":"1","a":"1"}`,
	} {
		f.Add(formType, body)
		f.Add(jsonType, body)
	}
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--")
	f.Add("application/json; charset=utf-16", `{"a":"1"}`)
	f.Add("application/x-www-form-urlencoded;", "a=1")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		if form, err := readText(t, contentType, body); err == nil {
			sound(t, form)
		}
		if form, err := readText(t, formType, body); err == nil {
			sound(t, form)
			m := map[string]string{}
			for name := range form {
				m[name] = form.Get(name)
			}
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			same(t, form, jsonType, string(text))
		}
		if form, err := readText(t, jsonType, body); err == nil {
			sound(t, form)
			same(t, form, formType, form.Encode())
			if !json.Valid([]byte(body)) {
				t.Fatalf("%q is not JSON", body)
			}
		}
	})
}

func same(t *testing.T, want url.Values, contentType, body string) {
	t.Helper()
	if len(body) > maxBody {
		return // one way of writing takes more room than the other
	}
	form, err := readText(t, contentType, body)
	if err != nil || !reflect.DeepEqual(form, want) {
		t.Fatalf("%v, written as %q, is %v (error %v)", want, body, form, err)
	}
}

// FuzzBasic: no Authorization header brings the server down, and credentials that are read are those that were sent.
func FuzzBasic(f *testing.F) {
	for _, header := range []string{
		"", "Basic", "Basic ", "Basic Og==", "basic YTpi", "Basic YTpi, Basic YTpi",
		"Bearer x", "Basic YSUzQTolMDA=", "Basic ////", "Basic  YTpi", "BasicYTpi",
	} {
		f.Add(header, "app_1", "dw_cs_x", "")
	}
	f.Add("Basic YTpi", "a:b", "c%+ d", "a")
	f.Add("", "é", "\x00", "é")
	f.Fuzz(func(t *testing.T, header, id, secret, inBody string) {
		form := url.Values{}
		if inBody != "" {
			form.Set("client_id", inBody)
		}
		ask := func(value string) (credentials, error) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth/token", nil)
			r.Header["Authorization"] = []string{value}
			c, err := readCredentials(r, form)
			var refused *Error
			if err != nil && (!errors.As(err, &refused) || (refused.Code != InvalidRequest && refused.Code != InvalidClient)) {
				t.Fatalf("%q gives the error %v", value, err)
			}
			if err == nil && (!c.basic || (inBody != "" && c.id != inBody) || !isText(c.id) || !isText(c.secret)) {
				t.Fatalf("%q with %q in the body gives %+v", value, inBody, c)
			}
			return c, err
		}
		_, _ = ask(header)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/oauth/token", nil)
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		c, err := ask(r.Header.Get("Authorization"))
		fits := isText(id) && isText(secret) && (inBody == "" || inBody == id)
		if fits != (err == nil) || (fits && (c.id != id || c.secret != secret)) {
			t.Fatalf("%q and %q with %q in the body give %+v, error %v", id, secret, inBody, c, err)
		}
	})
}
