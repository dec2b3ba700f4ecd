package dpop_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// Whatever is accepted is a JWT of the type dpop+jwt, with an allowed algorithm and a public key, for this request. All
// else is refused as a wrong proof, which is what its sender is told.
func FuzzP01_Proof(f *testing.F) {
	k := rig.NewKey(f, "")
	good := k.Sign(rig.ProofHeader(k), claims())
	f.Add(good)
	for _, change := range []rig.Members{
		{"typ": "JWT"}, {"alg": "none"}, {"jwk": nil}, {"kid": "x", "jku": "https://x.example"},
	} {
		f.Add(k.Sign(rig.ProofHeader(k).With(change), claims()))
	}
	for _, change := range []rig.Members{
		{"iat": 0}, {"jti": ""}, {"htu": "x"}, {"exp": 1e9}, {"nonce": "x"}, {"ath": nil},
	} {
		f.Add(k.Sign(rig.ProofHeader(k), claims().With(change)))
	}
	for _, text := range []string{"", "..", "e30.e30.e30", good + "\n", good[1:], "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := dpop.Check(text, sent())
		if err != nil {
			if !errors.Is(err, dpop.ErrProof) || p != (dpop.Proof{}) {
				t.Fatalf("%q: %+v, %v", text, p, err)
			}
			return
		}
		part := strings.Split(text, ".")
		var header struct {
			Type      string         `json:"typ"`
			Algorithm string         `json:"alg"`
			Key       map[string]any `json:"jwk"`
		}
		var own struct {
			ID     string `json:"jti"`
			Method string `json:"htm"`
			URL    string `json:"htu"`
		}
		for i, into := range []any{&header, &own} {
			raw, err := base64.RawURLEncoding.DecodeString(part[i])
			if err == nil {
				err = json.Unmarshal(raw, into)
			}
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
		if len(part) != 3 || header.Type != "dpop+jwt" ||
			!slices.Contains(strings.Fields(dpop.AlgorithmNames()), header.Algorithm) ||
			header.Key["d"] != nil || header.Key["k"] != nil || !dpop.IsThumbprint(p.Key) || own.ID == "" || p.ID != own.ID ||
			own.Method != http.MethodPost || !strings.HasPrefix(strings.ToLower(own.URL), "https://api.example.com") {
			t.Fatalf("accepted %q: %+v", text, p)
		}
	})
}

// Comparing a URL never fails, and one that matches names the same host.
func FuzzP03_URL(f *testing.F) {
	k := rig.NewKey(f, "")
	for _, htu := range []string{
		"https://api.example.com/v1/x", "HTTPS://API.example.com:443/v1/x?y#z", "https://a@api.example.com/v1/x", "%", "//",
		"https://api.example.com/v1/%78", "https://[::1]:/", "https:api.example.com", "",
	} {
		f.Add(htu, false)
		f.Add(htu, true)
	}
	f.Fuzz(func(t *testing.T, htu string, anyPort bool) {
		r := sent()
		r.AnyPort = anyPort
		_, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims().With(rig.Members{"htu": htu})), r)
		if err != nil {
			if !errors.Is(err, dpop.ErrProof) {
				t.Fatal(err)
			}
			return
		}
		path, _, _ := strings.Cut(strings.ToLower(htu), "#")
		path, _, _ = strings.Cut(path, "?")
		rest, found := strings.CutPrefix(path, "https://api.example.com")
		port, _, _ := strings.Cut(rest, "/")
		if !found || port != "" && port != ":443" && (!anyPort || strings.Trim(port, ":0123456789") != "") ||
			strings.Contains(rest, "@") {
			t.Fatalf("htu %q is taken for %s", htu, r.URL)
		}
	})
}
