package api_test

import (
	"net/http"
	"strings"
	"testing"

	"doorward/test/rig"
)

// The key of RFC 7517, appendix A.1.
const (
	publicKey = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}`
	keySet = `{"keys":[` + publicKey + `]}`
)

func TestAppsAuthenticateAsTheyRegister(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		admin := adminKey(r, r.Workspace("acme", "", r.Alice))
		create := func(members string) *rig.Answer {
			return r.JSON("POST", "/v1/apps", admin,
				`{"name":"App","redirectUris":["https://x.example/cb"],"scopes":["read"]`+members+`}`)
		}
		plain := want(t, create(""), http.StatusCreated)
		for name, value := range map[string]any{
			"token_endpoint_auth_method": nil, "token_endpoint_auth_signing_alg": nil, "jwks": nil, "jwks_uri": nil,
			"require_pushed_authorization_requests": false, "dpop_bound_access_tokens": false, "fapi": false,
			"token_endpoint_audience": false,
		} {
			if got, has := plain[name]; !has || got != value {
				t.Errorf("%s of a plain app is %v, want %v", name, got, value)
			}
		}
		made := want(t, create(`,"token_endpoint_auth_method":"private_key_jwt","jwks":`+keySet+`,"fapi":true`),
			http.StatusCreated)
		keys, _ := made["jwks"].(object)
		if _, has := made["secret"]; has || made["token_endpoint_auth_method"] != "private_key_jwt" || made["fapi"] != true ||
			made["require_pushed_authorization_requests"] != true || made["dpop_bound_access_tokens"] != true ||
			len(keys["keys"].([]any)) != 1 || len(made["secrets"].([]any)) != 0 {
			t.Errorf("made: %v", made)
		}
		path := "/v1/apps/" + made["id"].(string)
		if a := r.JSON("POST", path+"/secret", admin, `{}`); a.Status != http.StatusBadRequest ||
			!strings.Contains(a.Body, "private_key_jwt has no secret") {
			t.Errorf("a secret: %d %s", a.Status, a.Body)
		}
		patch := func(body string) *rig.Answer { return r.JSON("PATCH", path, admin, body) }
		got := want(t, patch(`{"fapi":false,"jwks":null,"jwks_uri":"https://x.example/jwks",
			"token_endpoint_auth_signing_alg":"PS256"}`), http.StatusOK)
		if got["jwks"] != nil || got["jwks_uri"] != "https://x.example/jwks" || got["fapi"] != false ||
			got["dpop_bound_access_tokens"] != true || got["token_endpoint_auth_signing_alg"] != "PS256" {
			t.Errorf("keys at a URL: %v", got)
		}
		if got = want(t, patch(`{"name":"Other"}`), http.StatusOK); got["jwks_uri"] != "https://x.example/jwks" ||
			got["token_endpoint_auth_method"] != "private_key_jwt" {
			t.Errorf("another name: %v", got)
		}
		got = want(t, patch(`{"token_endpoint_auth_method":null,"token_endpoint_auth_signing_alg":null,"jwks_uri":null,
			"dpop_bound_access_tokens":false,"require_pushed_authorization_requests":false}`), http.StatusOK)
		if got["token_endpoint_auth_method"] != nil || got["jwks_uri"] != nil || got["dpop_bound_access_tokens"] != false {
			t.Errorf("back to a secret: %v", got)
		}
		if want(t, r.JSON("POST", path+"/secret", admin, `{}`), http.StatusCreated)["secret"] == nil {
			t.Error("no secret after a change back")
		}
		none := want(t, create(`,"token_endpoint_auth_method":"none"`), http.StatusCreated)
		if none["public"] != true || none["secret"] != nil || none["token_endpoint_auth_method"] != "none" {
			t.Errorf("none: %v", none)
		}

		big := `{"keys":[],"x":"` + strings.Repeat("x", 17<<10) + `"}`
		weak := strings.Repeat("x", 170) + "w" // 128 bytes in base64url
		for body, says := range map[string]string{
			`"token_endpoint_auth_method":"client_secret_jwt"`: `\"token_endpoint_auth_method\" must be one of`,
			`"token_endpoint_auth_method":""`:                  `\"token_endpoint_auth_method\" must be one of`,
			`"token_endpoint_auth_method":1`:                   `\"token_endpoint_auth_method\" must be a string`,
			`"token_endpoint_auth_signing_alg":"none"`:         `\"token_endpoint_auth_signing_alg\" must be one of`,
			`"jwks":"x"`:                             `\"jwks\" must be a JSON object`,
			`"jwks":[]`:                              `\"jwks\" must be a JSON object`,
			`"jwks":7`:                               `\"jwks\" must be a JSON object`,
			`"jwks":{}`:                              `jwks is not a JWK set`,
			`"jwks_uri":{}`:                          `\"jwks_uri\" must be a string`,
			`"fapi":"yes"`:                           `\"fapi\" must be true or false`,
			`"jwks":` + big:                          `jwks is larger than 16 KiB`,
			`"JWKS":{}`:                              `Unknown member`,
			`"jwks":` + keySet + `,"jwks":` + keySet: `duplicate member`,
			`"jwks":{"keys":[` + publicKey[:len(publicKey)-1] + `,"d":"c2VjcmV0"}]}`: `which counts as leaked now`,
			`"jwks":{"keys":[` + publicKey + `,` + publicKey + `]}`:                  `two keys with the kid`,
			`"jwks":{"keys":[],"keys":[]}`:                                           `jwks is not a JWK set`,
			`"jwks":{"keys":[{"kty":"RSA","e":"AQAB","n":"` + weak + `"}]}`:          `keys[0] is an RSA key of 1024 bits`,
			`"jwks":` + keySet + `,"jwks_uri":"https://x.example/jwks"`:              `cannot be combined with jwks`,
			`"jwks_uri":"https://169.254.169.254/jwks"`:                              `private or reserved network`,
			`"jwks_uri":"http://x.example/jwks"`:                                     `must be an https URL`,
			`"token_endpoint_audience":true`:                                         `only by administrators`,
			`"public":true,"token_endpoint_auth_method":"private_key_jwt"`:           `can only be none for a public app`,
			`"fapi":true`: `must be private_key_jwt with fapi`,
			`"fapi":true,"token_endpoint_auth_method":"none"`: `fapi is only for confidential apps`,
			`"fapi":true,"token_endpoint_auth_method":"private_key_jwt","jwks":` + keySet +
				`,"dpop_bound_access_tokens":false`: `dpop_bound_access_tokens cannot be false with fapi`,
			`"fapi":true,"token_endpoint_auth_method":"private_key_jwt","jwks":` + keySet +
				`,"require_pushed_authorization_requests":false`: `require_pushed_authorization_requests cannot be false with fapi`,
			`"fapi":true,"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://x.example/jwks",` +
				`"token_endpoint_auth_signing_alg":"RS256"`: `cannot be RS256 with fapi`,
		} {
			if a := create("," + body); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, says) ||
				strings.Contains(a.Body, "c2VjcmV0") {
				t.Errorf("%.80s answered %d %s, want %s", body, a.Status, a.Body, says)
			}
		}
		for body, says := range map[string]string{
			`{"token_endpoint_auth_method":"none"}`:   "cannot change between public and confidential",
			`{"token_endpoint_auth_method":"x"}`:      "is unknown",
			`{"token_endpoint_auth_signing_alg":"x"}`: "is unknown",
			`{"token_endpoint_audience":false}`:       "Only administrators can set",
			`{"jwks":[]}`:                             `\"jwks\" must be a JSON object`,
			`{"fapi":true}`:                           "must be private_key_jwt with fapi",
		} {
			if a := patch(body); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, says) {
				t.Errorf("PATCH %s answered %d %s, want %s", body, a.Status, a.Body, says)
			}
		}
		want(t, create(`,"jwks":{"keys":[],"x":"`+strings.Repeat("x", 1<<20)+`"}`), http.StatusRequestEntityTooLarge)
	})
}
