package resource_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// A key that is not for ES256 signatures is passed over, and does not affect the others.
func TestKeysOfOtherKindsArePassedOver(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	forEncryption, forOther, nameless := newKey(t, "enc"), newKey(t, "other"), newKey(t, "")
	forEncryption.Use, forOther.Algorithm = "enc", "ES384"
	set := []map[string]any{
		{"kty": "new", "kid": "x"},
		{"kty": "EC", "crv": "P-256", "kid": "off", "x": "AA", "y": "AA"},
		{"kty": "oct", "kid": "oct", "k": "AAAA"},
	}
	for _, key := range []jose.JSONWebKey{forEncryption, forOther, nameless, k} {
		var v map[string]any
		if err := json.Unmarshal([]byte(mustJSON(t, key.Public())), &v); err != nil {
			t.Fatal(err)
		}
		set = append(set, v)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
	}))
	defer keys.Close()
	c := s.config()
	c.JWKSURL = keys.URL
	a := newAPI(t, c)
	for _, wrong := range []jose.JSONWebKey{forEncryption, forOther} {
		w, _ := a.ask(request(sign(t, jose.ES256, wrong.Key, wrong.KeyID, nil, s.claims(nil))), "read")
		a.want(w, http.StatusUnauthorized, "invalid_token")
	}
	w, _ := a.ask(request(s.token(k, nil)), "read")
	a.want(w, http.StatusNoContent, "")
	if s.fetches() != 0 {
		t.Error("another key set than the one that was named was fetched")
	}
}

func TestJ09_RotationNeedsOneFetch(t *testing.T) {
	first, second, third := newKey(t, "one"), newKey(t, "two"), newKey(t, "three")
	s := newIssuer(t, first)
	a := newAPI(t, s.config())
	pass := func(k jose.JSONWebKey, status, fetches int) {
		t.Helper()
		w, _ := a.ask(request(s.token(k, nil)), "read")
		if w.Code != status || s.fetches() != fetches {
			t.Errorf("got %d after %d fetches, want %d after %d", w.Code, s.fetches(), status, fetches)
		}
	}
	pass(first, 204, 1)
	s.publish(first, second)
	pass(second, 204, 2) // a key that is not there is looked for at once
	s.publish(second, third)
	pass(third, 401, 2) // but not more than once a minute
	pass(second, 204, 2)
	s.now.Add(59)
	pass(third, 401, 2)
	s.now.Add(1)
	pass(third, 204, 3)
	pass(first, 401, 3) // it is gone
	s.now.Add(599)
	pass(second, 204, 3)
	s.now.Add(1)
	pass(second, 204, 4) // after ten minutes the keys are fetched again
}

func TestKeysOutliveAnAbsenceOfTheServer(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	s.set(true)
	a := newAPI(t, s.config())
	pass := func(k jose.JSONWebKey, status int) {
		t.Helper()
		w, _ := a.ask(request(s.token(k, nil)), "read")
		if w.Code != status || status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
			t.Errorf("got %d %v, want %d", w.Code, w.Header(), status)
		}
	}
	pass(k, 503)
	s.set(false)
	pass(k, 503) // it failed a moment ago
	s.now.Add(10)
	pass(k, 204)
	s.set(true)
	pass(newKey(t, "two"), 503) // unknown, so not refused
	pass(k, 204)
	s.now.Add(600)
	pass(k, 204) // from before
	s.now.Add(2999)
	pass(k, 204)
	s.now.Add(1) // an hour old
	pass(k, 503)
	s.set(false)
	s.now.Add(10)
	pass(k, 204)
}

func TestManyRequestsFetchKeysOnce(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	a := newAPI(t, s.config())
	token := s.token(k, nil)
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			w := httptest.NewRecorder()
			a.v.Require("read")(noContent()).ServeHTTP(w, request(token))
			if w.Code != http.StatusNoContent {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	wait.Wait()
	if s.fetches() != 1 {
		t.Errorf("64 requests fetch the keys %d times", s.fetches())
	}
}

func TestMetadataOfAnotherIssuerIsRefused(t *testing.T) {
	k := newKey(t, "one")
	s := newIssuer(t, k)
	front := httptest.NewServer(s) // answers with the metadata of s.url
	defer front.Close()
	c := s.config()
	c.Issuer = front.URL
	a := newAPI(t, c)
	w, _ := a.ask(request(s.token(k, map[string]any{"iss": front.URL})), "read")
	a.want(w, http.StatusInternalServerError, "")
	if !strings.Contains(a.log.String(), "another issuer") {
		t.Errorf("the operator is told %q", a.log.String())
	}
}

// A token that was verified before is not verified again, but still ends with its expiry and with its key.
func TestJ10_ATokenThatWasSeenEndsWithItsKey(t *testing.T) {
	first, second := newKey(t, "one"), newKey(t, "two")
	s := newIssuer(t, first)
	a := newAPI(t, s.config())
	token := s.token(first, map[string]any{"exp": s.now.Load() + 3600})
	ask := func(status int) {
		t.Helper()
		w, _ := a.ask(request(token), "read")
		if w.Code != status {
			t.Errorf("got %d, want %d", w.Code, status)
		}
	}
	ask(204)
	ask(204)
	other := newKey(t, "one") // the same name, another key
	s.publish(other, second)
	s.now.Add(600)
	ask(401)
	s.publish(first, second)
	s.now.Add(600)
	ask(204)
	s.publish(second)
	s.now.Add(600)
	ask(401)
	s.publish(first)
	s.now.Add(600)
	ask(204)
	s.now.Add(1200)
	ask(401) // its time is over
}
