package security

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// Client authentication.

const wrongSecret = "dw_cs_0000000000000000000000000000000000000000000000000"

// protected are the endpoints that authenticate clients, each with a form that would succeed.
func protected(app *rig.App) map[string]url.Values {
	return map[string]url.Values{
		"/oauth/token": ownForm, "/oauth/introspect": {"token": {"x"}}, "/oauth/revoke": {"token": {"x"}},
	}
}

func raw(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func TestT40_WrongSecretIsInvalidClientWithAChallenge(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, other := robot(r), robot(r)
	for path, form := range protected(app) {
		for name, secret := range map[string]string{
			"well-formed": wrongSecret, "another client's": other.Secret, "cut": app.Secret[:len(app.Secret)-1],
			"longer": app.Secret + "0", "another case": strings.ToUpper(app.Secret),
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				basic := r.Post(path, form, "Authorization", rig.Basic(app.ID, secret))
				refused(t, basic, http.StatusUnauthorized, oauth.InvalidClient)
				if c := basic.Header.Get("WWW-Authenticate"); !strings.HasPrefix(c, `Basic realm="`) {
					t.Errorf("challenge %q", c)
				}
			})
		}
		r.Advance(2 * time.Minute) // the limit of failed attempts has its own test
	}
	refused(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID, "client_secret", wrongSecret)),
		http.StatusUnauthorized, oauth.InvalidClient)
}

// The untimed half: the same bytes except for the request id.
func TestT41_UnknownClientLooksLikeAWrongSecret(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, disabled, deleted := robot(r), robot(r), robot(r)
	if err := r.Store.DisableClient(r.System(), disabled.ID, "administrator"); err != nil {
		t.Fatal(err)
	}
	if err := r.Store.DeleteClient(r.System(), deleted.ID); err != nil {
		t.Fatal(err)
	}
	id := func(h http.Header) http.Header {
		h = maps.Clone(h)
		h.Del("X-Request-Id")
		h.Del("Date")
		return h
	}
	for path, form := range protected(app) {
		known := r.Post(path, form, "Authorization", rig.Basic(app.ID, wrongSecret), "X-Request-Id", "the-same-id")
		refused(t, known, http.StatusUnauthorized, oauth.InvalidClient)
		for name, credentials := range map[string]string{
			"unknown":          rig.Basic("app_00000000-0000-7000-8000-000000000000", wrongSecret),
			"no id of ours":    rig.Basic("' OR 1=1 --", wrongSecret),
			"the id of a user": rig.Basic(r.Alice.ID, wrongSecret),
			"disabled":         rig.Basic(disabled.ID, disabled.Secret),
			"deleted":          rig.Basic(deleted.ID, deleted.Secret),
			"no secret":        rig.Basic(app.ID, ""),
		} {
			a := r.Post(path, form, "Authorization", credentials, "X-Request-Id", "the-same-id")
			if a.Status != known.Status || a.Body != known.Body || fmt.Sprint(id(a.Header)) != fmt.Sprint(id(known.Header)) {
				t.Errorf("%s, %s: %d %v %s, but for a wrong secret %d %v %s", path, name, a.Status, a.Header, a.Body, known.Status,
					known.Header, known.Body)
			}
		}
	}
}

func TestT42_T43_T44_T45_TwoWaysAtOnceAreRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, other := robot(r), robot(r)
	for name, extra := range map[string][]string{
		"T42 the same credentials":       {"client_id", app.ID, "client_secret", app.Secret},
		"T42 a wrong secret":             {"client_id", app.ID, "client_secret", wrongSecret},
		"T42 another client's":           {"client_id", other.ID, "client_secret", other.Secret},
		"T43 another client_id":          {"client_id", other.ID},
		"T43 an unknown client_id":       {"client_id", "unknown"},
		"T44 a lone client_secret":       {"client_secret", app.Secret},
		"T44 a lone wrong client_secret": {"client_secret", "x"},
		"T45 an assertion": {
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", "e30.e30.AA",
		},
		"T45 half an assertion": {"client_assertion", "e30.e30.AA"},
		"T45 the other half":    {"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			for path, form := range protected(app) {
				refused(t, r.Post(path, with(form, extra...), "Authorization", rig.Basic(app.ID, app.Secret)),
					http.StatusBadRequest, oauth.InvalidRequest)
				a := postJSON(r, path, asJSON(t, with(form, extra...)), "Authorization", rig.Basic(app.ID, app.Secret))
				refused(t, a, http.StatusBadRequest, oauth.InvalidRequest)
			}
		})
	}
	t.Run("T45 an assertion and a secret in the body", func(t *testing.T) {
		refused(t,
			r.Post("/oauth/token",
				with(ownForm, "client_id", app.ID, "client_secret", app.Secret, "client_assertion", "e30.e30.AA")),
			http.StatusBadRequest, oauth.InvalidRequest)
	})
	t.Run("the same client_id twice is one way", func(t *testing.T) {
		granted(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID), "Authorization", rig.Basic(app.ID, app.Secret)))
	})
}

func TestT46_MethodMustFitTheClient(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	public := r.App(management.ClientSpec{Public: true, RedirectURIs: []string{"https://app.example/cb"}})
	_, refresh := r.Tokens(public, "read")
	// A confidential client may use either method, but never none.
	granted(t, r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, app.Secret)))
	granted(t,
		r.Post("/oauth/token", ownForm, "Authorization",
			"bAsIc "+strings.TrimPrefix(rig.Basic(app.ID, app.Secret), "Basic ")))
	granted(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID, "client_secret", app.Secret)))
	refused(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID)), http.StatusUnauthorized, oauth.InvalidClient)
	refused(t, r.Post("/oauth/token", ownForm), http.StatusUnauthorized, oauth.InvalidClient)
	refused(t, r.Post("/oauth/token", with(ownForm, "client_secret", app.Secret)),
		http.StatusUnauthorized, oauth.InvalidClient)
	refused(t, r.Post("/oauth/token", ownForm, "Authorization", "Bearer "+app.Secret),
		http.StatusUnauthorized, oauth.InvalidClient)
	// A public client has no secret, and may not send one.
	for _, secret := range []string{"x", wrongSecret, app.Secret} {
		refused(t, r.Post("/oauth/token", with(refreshForm(refresh), "client_id", public.ID, "client_secret", secret)),
			http.StatusUnauthorized, oauth.InvalidClient)
		refused(t, r.Post("/oauth/token", refreshForm(refresh), "Authorization", rig.Basic(public.ID, secret)),
			http.StatusUnauthorized, oauth.InvalidClient)
	}
	refused(t, r.Post("/oauth/token", refreshForm(refresh), "Authorization", rig.Basic(public.ID, "")),
		http.StatusUnauthorized, oauth.InvalidClient)
	granted(t, r.Post("/oauth/token", with(refreshForm(refresh), "client_id", public.ID)))
}

func TestT48_MalformedBasicIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	good := rig.Basic(app.ID, app.Secret)
	for name, value := range map[string]string{
		"bad escape in the id":     raw("%zz:" + app.Secret),
		"bad escape in the secret": raw(app.ID + ":%zz"),
		"no base64":                "Basic !!!!",
		"no colon":                 raw(app.ID),
		"nothing":                  "Basic",
		"empty":                    "Basic ",
		"NUL in the secret":        raw(app.ID + ":%00"),
		"raw NUL":                  raw(app.ID + ":\x00"),
		"no UTF-8":                 raw("\xff:" + app.Secret),
		"escaped, no UTF-8":        raw("%ff:" + app.Secret),
		"base64 of the URL":        "Basic " + base64.URLEncoding.EncodeToString([]byte("\xfb\xff:?>")),
		"text after":               good + " x",
		"two in one":               good + ", " + good,
		"a stray bit":              strings.TrimRight(good, "=") + "B",
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, r.Post("/oauth/token", ownForm, "Authorization", value), http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
	for name, values := range map[string][2]string{
		"equal":                 {good, good},
		"a wrong one first":     {rig.Basic(app.ID, "x"), good},
		"a bearer token second": {good, "Bearer x"},
	} {
		t.Run("two headers, "+name, func(t *testing.T) {
			refused(t, r.Post("/oauth/token", ownForm, "Authorization", values[0], "Authorization", values[1]),
				http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
}

func TestT49_NothingIsReadFromTheQuery(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	for path, form := range protected(app) {
		for name, query := range map[string]url.Values{
			"credentials":    {"client_id": {app.ID}, "client_secret": {app.Secret}},
			"everything":     with(form, "client_id", app.ID, "client_secret", app.Secret),
			"something else": {"x": {app.Secret}},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				a := r.Post(path+"?"+query.Encode(), form, "Authorization", rig.Basic(app.ID, app.Secret))
				refused(t, a, http.StatusBadRequest, oauth.InvalidRequest)
				refused(t, r.Post(path+"?"+query.Encode(), form), http.StatusBadRequest, oauth.InvalidRequest)
				// Nor with another method.
				a = r.Send(r.Program(), r.Request(http.MethodGet, path+"?"+query.Encode(), nil))
				refused(t, a, http.StatusMethodNotAllowed, oauth.InvalidRequest)
			})
		}
	}
	if strings.Contains(r.Log.String(), app.Secret) {
		t.Error("the secret is in the log")
	}
}

func TestT50_RotatedSecretWorksToTheEndOfItsGrace(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	advance := stopClock(r)
	try := func(secret string) *rig.Answer {
		return r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, secret))
	}
	rotate := func(grace time.Duration) string {
		t.Helper()
		secret, _, err := r.Management.RotateSecret(r.System(), management.CLI(""), app.ID, grace)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	granted(t, try(app.Secret))
	second := rotate(24 * time.Hour)
	advance(24*time.Hour - time.Microsecond)
	granted(t, try(app.Secret))
	granted(t, try(second))
	advance(time.Microsecond)
	refused(t, try(app.Secret), http.StatusUnauthorized, oauth.InvalidClient)
	granted(t, try(second))
	// Never more than two, and only one if it is rotated without a grace period.
	third := rotate(24 * time.Hour)
	fourth := rotate(24 * time.Hour)
	refused(t, try(second), http.StatusUnauthorized, oauth.InvalidClient)
	granted(t, try(third))
	granted(t, try(fourth))
	fifth := rotate(0)
	refused(t, try(third), http.StatusUnauthorized, oauth.InvalidClient)
	refused(t, try(fourth), http.StatusUnauthorized, oauth.InvalidClient)
	granted(t, try(fifth))
}

// The untimed half of T-51.
func TestT51_HugeSecretIsRefusedUnread(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	refused(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID, "client_secret", strings.Repeat("x", 1<<20))),
		http.StatusRequestEntityTooLarge, oauth.InvalidRequest)
	refused(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID, "client_secret", strings.Repeat("x", 60<<10))),
		http.StatusUnauthorized, oauth.InvalidClient)
	refused(t, r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, strings.Repeat("x", 16<<10))),
		http.StatusUnauthorized, oauth.InvalidClient)
	a := r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, strings.Repeat("x", 1<<20)))
	if a.Status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("answered %d %s", a.Status, a.Body)
	}
}

// Guessing a client's secret is limited for that client and address only; clients with the correct secret are never
// slowed down.
func TestL14_FailedClientAuthenticationIsLimited(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, other := robot(r), robot(r)
	stopClock(r)
	for range 20 {
		refused(t, r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, wrongSecret)),
			http.StatusUnauthorized, oauth.InvalidClient)
		granted(t, r.PostAs(other, "/oauth/token", ownForm))
	}
	for path, form := range protected(app) {
		a := r.Post(path, form, "Authorization", rig.Basic(app.ID, wrongSecret))
		refused(t, a, http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
		if a.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	granted(t, r.PostAs(app, "/oauth/token", ownForm))
	granted(t, r.PostAs(other, "/oauth/token", ownForm))
	r.Store.SetClock(func() time.Time { return time.Now().Add(2 * time.Minute) })
	granted(t, r.PostAs(app, "/oauth/token", ownForm))
}

// Fosite accepts an empty secret if the stored hash is empty. Here an empty digest, or the dummy value that a missing
// secret is compared with, matches nothing.
func TestEmptyStoredDigestFitsNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for name, damage := range map[string]func(*rig.App){
		"empty": func(app *rig.App) {
			r.SQL(`UPDATE client_secrets SET digest = $1 WHERE client_id = $2`, []byte{}, app.ID)
		},
		"zeros": func(app *rig.App) {
			r.SQL(`UPDATE client_secrets SET digest = $1 WHERE client_id = $2`, make([]byte, 32), app.ID)
		},
		"no row": func(app *rig.App) { r.SQL(`DELETE FROM client_secrets WHERE client_id = $1`, app.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			app := robot(r)
			damage(app)
			for _, secret := range []string{"", "x", app.Secret, wrongSecret} {
				refused(t, r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, secret)),
					http.StatusUnauthorized, oauth.InvalidClient)
			}
			refused(t, r.Post("/oauth/token", with(ownForm, "client_id", app.ID)), http.StatusUnauthorized, oauth.InvalidClient)
		})
	}
}
