package providers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"doorward/test/providers"
)

const (
	callback = "http://localhost:9/callback"
	verifier = "0123456789-0123456789-0123456789-0123456789"
)

var standIns = map[string]func(testing.TB) *providers.Server{
	"oidc": providers.OIDC, "google": providers.Google, "gitlab": providers.GitLab, "github": providers.GitHub,
}

// endpoints of the stand-ins whose clients have a plain secret.
func endpoints(t *testing.T, name string, s *providers.Server) (authorize, token string) {
	t.Helper()
	if name == "github" {
		return s.Issuer() + "/login/oauth/authorize", s.Issuer() + "/login/oauth/access_token"
	}
	var d struct {
		Authorize string `json:"authorization_endpoint"`
		Token     string `json:"token_endpoint"`
	}
	_, body := send(t, http.MethodGet, s.Issuer()+"/.well-known/openid-configuration", nil)
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatal(err)
	}
	return d.Authorize, d.Token
}

func send(t *testing.T, method, address string, form url.Values) (status int, body []byte) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func authorization(s *providers.Server) url.Values {
	return url.Values{
		"client_id": {s.ClientID}, "redirect_uri": {callback}, "response_type": {"code"},
		"scope": {"openid email profile read:user user:email"}, "state": {"the-state"}, "nonce": {"the-nonce"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
}

func redemption(s *providers.Server, code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier},
		"client_id": {s.ClientID}, "client_secret": {s.ClientSecret},
	}
}

func TestTokenEndpointChecksTheRequest(t *testing.T) {
	for name, start := range standIns {
		s := start(t)
		authorize, token := endpoints(t, name, s)
		redeem := func(change func(url.Values)) (ok bool, form url.Values) {
			_, params := providers.Visit(t, authorize+"?"+authorization(s).Encode())
			form = redemption(s, params.Get("code"))
			change(form)
			_, body := send(t, http.MethodPost, token, form)
			return bytes.Contains(body, []byte(`"access_token"`)), form
		}
		ok, form := redeem(func(url.Values) {})
		if !ok {
			t.Errorf("%s: a right request was refused", name)
		}
		if _, body := send(t, http.MethodPost, token, form); bytes.Contains(body, []byte(`"access_token"`)) {
			t.Errorf("%s: a code works twice", name)
		}
		for parameter, value := range map[string]string{
			"code_verifier": verifier + "x", "redirect_uri": callback + "/x", "client_id": "x", "client_secret": "x",
			"code": "x",
		} {
			if ok, _ := redeem(func(form url.Values) { form.Set(parameter, value) }); ok {
				t.Errorf("%s: another %s was accepted", name, parameter)
			}
			if ok, _ := redeem(func(form url.Values) { form.Del(parameter) }); ok {
				t.Errorf("%s: a request without %s was accepted", name, parameter)
			}
		}
	}
}

func TestAuthorizationEndpointChecksTheRequest(t *testing.T) {
	for name, start := range standIns {
		s := start(t)
		authorize, _ := endpoints(t, name, s)
		for parameter, value := range map[string]string{
			"client_id": "x", "redirect_uri": "https://another.example/", "code_challenge_method": "plain", "state": "",
			"code_challenge": "",
		} {
			form := authorization(s)
			form.Set(parameter, value)
			status, body := send(t, http.MethodGet, authorize+"?"+form.Encode(), nil)
			if status != http.StatusBadRequest {
				t.Errorf("%s: %s=%s: status %d, %s", name, parameter, value, status, body)
			}
		}
		s.SetCallback(callback + "/registered")
		status, _ := send(t, http.MethodGet, authorize+"?"+authorization(s).Encode(), nil)
		if status != http.StatusBadRequest {
			t.Errorf("%s: an unregistered redirect URI: status %d", name, status)
		}
		if n := len(s.Authorizations()); n != 6 {
			t.Errorf("%s: %d authorization requests, want 6", name, n)
		}
	}
}

func TestGitHubAnswersWithAFormUnlessAsked(t *testing.T) {
	s := providers.GitHub(t)
	authorize, token := endpoints(t, "github", s)
	_, params := providers.Visit(t, authorize+"?"+authorization(s).Encode())
	resp, err := http.PostForm(token, redemption(s, params.Get("code")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), "access_token=gho_") {
		t.Errorf("%s, %v", body, err)
	}
}

func TestAppleWantsFormPost(t *testing.T) {
	s := providers.Apple(t)
	form := authorization(s)
	form.Set("scope", "name email")
	if status, body := send(t, http.MethodGet, s.Issuer()+"/auth/authorize?"+form.Encode(), nil); status != 400 {
		t.Errorf("without form_post: %d, %s", status, body)
	}
	form.Set("response_mode", "form_post")
	status, body := send(t, http.MethodGet, s.Issuer()+"/auth/authorize?"+form.Encode(), nil)
	if status != 200 || !bytes.Contains(body, []byte(`<button type="submit">`)) ||
		!bytes.Contains(body, []byte("submit()")) {
		t.Errorf("the page: %d, %s", status, body)
	}
	s.ForgetConsent()
	for _, want := range []bool{true, false} {
		to, params := providers.Visit(t, s.Issuer()+"/auth/authorize?"+form.Encode())
		if to != callback || params.Get("state") != "the-state" || params.Has("user") != want {
			t.Errorf("the form goes to %s with %v", to, params)
		}
	}
}

func TestMicrosoftHasTemplates(t *testing.T) {
	s := providers.Microsoft(t)
	for authority, want := range map[string]string{
		"common": s.TenantIssuer("{tenantid}"), "organizations": s.TenantIssuer("{tenantid}"),
		"consumers": s.TenantIssuer(providers.PersonalTenant), providers.Tenant: s.TenantIssuer(providers.Tenant),
	} {
		_, body := send(t, http.MethodGet, s.TenantIssuer(authority)+"/.well-known/openid-configuration", nil)
		var d struct{ Issuer string }
		if err := json.Unmarshal(body, &d); err != nil || d.Issuer != want {
			t.Errorf("%s: %s, want %s", authority, d.Issuer, want)
		}
	}
}

// The stand-in must end with its test, although a client waits.
func TestSlowEndsWithTheClient(t *testing.T) {
	s := providers.OIDC(t)
	s.BreakAt(providers.Keys, providers.Slow)
	ctx, cancel := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Issuer()+"/jwks", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		resp, err := http.DefaultClient.Do(q)
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	s.Await(t, providers.Keys)
	cancel()
	if <-failed == nil {
		t.Error("it answered")
	}
	s.Repair()
	if status, _ := send(t, http.MethodGet, s.Issuer()+"/jwks", nil); status != http.StatusOK {
		t.Errorf("after Repair: %d", status)
	}
	if n := s.Requests(providers.Keys); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestBreakAtRefusesOtherFaults(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	providers.OIDC(t).BreakAt(providers.Token, providers.WrongNonce)
}

func TestRotatedKeysAreOthers(t *testing.T) {
	s := providers.OIDC(t)
	var seen []string
	for range 3 {
		_, body := send(t, http.MethodGet, s.Issuer()+"/jwks", nil)
		var set struct {
			Keys []struct{ Kid, N string }
		}
		err := json.Unmarshal(body, &set)
		if err != nil || len(set.Keys) != 1 || slices.Contains(seen, set.Keys[0].Kid) {
			t.Fatalf("%s, %v", body, err)
		}
		seen = append(seen, set.Keys[0].Kid)
		s.RotateKeys()
	}
}
