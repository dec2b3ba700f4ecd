package security

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/test/rig"
)

// aim is the request that a proof is made for.
type aim struct {
	method, url string // as the client knows it
	token       string // that is sent with the proof; empty: none
}

// claims are those of a right proof.
func (to aim) claims(r *rig.Rig) rig.Members {
	m := r.ProofClaims(to.method, "", to.token)
	m["htu"] = to.url
	return m
}

// proof is a right proof, with claims in place of its own.
func (to aim) proof(r *rig.Rig, k *rig.Key, claims ...rig.Members) string {
	return k.Sign(rig.ProofHeader(k), to.claims(r).With(claims...))
}

// wholeSecond stops the clock at a whole second, as the iat of a proof is.
func wholeSecond(nodes ...*rig.Rig) {
	for _, n := range nodes {
		n.StopClock()
		now := n.Now()
		n.Advance(now.Truncate(time.Second).Add(time.Second).Sub(now))
	}
}

// rsaKeys are made once, because that takes long.
var rsaKeys = sync.OnceValues(func() (weak, strong *rig.Key) {
	key := func(bits int) *rig.Key {
		private, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return &rig.Key{Algorithm: jose.PS256, Private: private}
	}
	return key(1024), key(2048)
})

// wrongProofs are the values of the header DPoP of requests that are refused, by what is wrong. The clock stands still.
func wrongProofs(t *testing.T, r *rig.Rig, k *rig.Key, to aim) map[string][]string {
	t.Helper()
	weak, strong := rsaKeys()
	right := func() string { return to.proof(r, k) }
	text, err := json.Marshal(k.Public())
	ok(t, err)
	var own rig.Members
	ok(t, json.Unmarshal(text, &own))
	elsewhere, err := url.Parse(to.url)
	ok(t, err)
	elsewhere.Host = "else.example"
	same, rs256 := right(), &rig.Key{Algorithm: jose.RS256, Private: strong.Private}
	list := map[string][]string{
		"two": {right(), right()}, "the same twice": {same, same}, "empty": {""}, "a word": {"x"},
		"empty parts":                 {"e30.e30.e30"},
		"of 10 kB":                    {to.proof(r, k, rig.Members{"jti": strings.Repeat("x", 10_000)})},
		"signed with RS256":           {to.proof(r, rs256)},
		"by a key of 1,024 bits":      {to.proof(r, weak)},
		"with a bad signature":        {right() + "AAAA"},
		"by another key than its jwk": {rig.NewKey(t, "").Sign(rig.ProofHeader(k), to.claims(r))},
	}
	for name, change := range map[string]rig.Members{
		"without typ": {"typ": nil}, "with another typ": {"typ": "JWT"}, "without alg": {"alg": nil},
		"with alg none": {"alg": "none"}, "with alg HS256": {"alg": "HS256"}, "without jwk": {"jwk": nil},
		"with a private key":      {"jwk": own.With(rig.Members{"d": "AAAA"})},
		"with a symmetric key":    {"jwk": rig.Members{"kty": "oct", "k": tokenHash("x")}},
		"with a symmetric member": {"jwk": own.With(rig.Members{"k": "AAAA"})},
	} {
		list[name] = []string{k.Sign(rig.ProofHeader(k).With(change), to.claims(r))}
	}
	now := r.Now().Unix()
	for name, change := range map[string]rig.Members{
		"without jti": {"jti": nil}, "with a long jti": {"jti": strings.Repeat("x", 501)}, "without htm": {"htm": nil},
		"with another htm": {"htm": "PATCH"}, "with htm in lower case": {"htm": strings.ToLower(to.method)},
		"without htu": {"htu": nil}, "for another host": {"htu": elsewhere.String()},
		"for another path": {"htu": to.url + "/more"},
		"without iat":      {"iat": nil}, "of 61 s ago": {"iat": now - 61}, "of 61 s ahead": {"iat": now + 61},
		"that has expired": {"exp": now - 61}, "that is not valid yet": {"nbf": now + 61},
	} {
		list[name] = []string{to.proof(r, k, change)}
	}
	if to.token != "" {
		for name, ath := range map[string]any{"without ath": nil, "with the ath of another token": tokenHash("another")} {
			list[name] = []string{to.proof(r, k, rig.Members{"ath": ath})}
		}
	}
	return list
}

// rightProofs are proofs that are accepted, though they differ from the usual ones. The clock stands still.
func rightProofs(t *testing.T, r *rig.Rig, k *rig.Key, to aim) map[string]string {
	t.Helper()
	now := r.Now().Unix()
	list := map[string]string{}
	for name, change := range map[string]rig.Members{
		"as usual": {}, "of 10 s ago": {"iat": now - 10}, "of 10 s ahead": {"iat": now + 10},
		"of 60 s ago":   {"iat": now - 60},
		"of 60 s ahead": {"iat": now + 60}, "with a query": {"htu": to.url + "?a=b"},
		"with a fragment":               {"htu": to.url + "#a"},
		"with the scheme in upper case": {"htu": strings.Replace(to.url, "http", "HTTP", 1)},
		"with a long jti":               {"jti": rand.Text() + strings.Repeat("y", 474)}, "that expires": {"exp": now + 1},
		"that is valid since": {"nbf": now - 1}, "with a nonce of its own": {"nonce": "x"},
	} {
		list[name] = to.proof(r, k, change)
	}
	// What a header names is neither fetched nor used.
	list["with a URL in its header"] = k.Sign(rig.ProofHeader(k).With(rig.Members{
		"jku": "https://" + strangerHost + "/keys", "x5u": "https://" + strangerHost + "/cert", "kid": "x",
	}), to.claims(r))
	return list
}

func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proofs are header pairs.
func proofs(values []string) (header []string) {
	for _, v := range values {
		header = append(header, dpop.Header, v)
	}
	return header
}

// refusedProof checks the answer of an API to a wrong proof: a challenge with the error, and no other one, since
// clients look for it in the first.
func refusedProof(t *testing.T, a *rig.Answer, code string) {
	t.Helper()
	challenges := a.Header.Values("WWW-Authenticate")
	if a.Status != http.StatusUnauthorized || len(challenges) != 1 ||
		!strings.HasPrefix(challenges[0], `DPoP realm="doorward", error="`+code+`", error_description="`) ||
		!strings.Contains(challenges[0], `algs="ES256 PS256 EdDSA Ed25519"`) {
		t.Errorf("answered %d with %q, want 401 with %s: %s", a.Status, challenges, code, a.Body)
	}
}

// wrongToken checks the answer of an API to a token that is not accepted, whatever its proof. The first challenge is
// that of the scheme that was used.
func wrongToken(t *testing.T, a *rig.Answer, scheme string) {
	t.Helper()
	challenges := a.Header.Values("WWW-Authenticate")
	if a.Status != http.StatusUnauthorized || len(challenges) != 2 ||
		!strings.HasPrefix(challenges[0], scheme+` realm="doorward", error="invalid_token"`) ||
		strings.Contains(challenges[1], "error") {
		t.Errorf("answered %d with %q, want 401 with invalid_token: %s", a.Status, challenges, a.Body)
	}
}

// bound checks a token response whose access token is bound, and returns the tokens.
func bound(t *testing.T, a *rig.Answer) (access, refresh string) {
	t.Helper()
	if a.Status != http.StatusOK || a.Text("access_token") == "" || a.Text("token_type") != "DPoP" {
		t.Fatalf("answered %d %s, want tokens that are bound", a.Status, a.Body)
	}
	machineHeaders(t, a)
	return a.Text("access_token"), a.Text("refresh_token")
}

// tokenAim is a request to the token endpoint.
func tokenAim(r *rig.Rig) aim { return aim{method: http.MethodPost, url: r.Issuer + "/oauth/token"} }

// publicApp registers a public client.
func publicApp(r *rig.Rig) *rig.App {
	return r.App(management.ClientSpec{Name: "Public", Public: true})
}

// proven posts a form of a client with a right proof.
func proven(r *rig.Rig, app *rig.App, k *rig.Key, form url.Values) *rig.Answer {
	r.T.Helper()
	return r.PostAs(app, "/oauth/token", form, dpop.Header, tokenAim(r).proof(r, k))
}

// boundTokens has Alice allow a client, and redeems the code with a proof by k.
func boundTokens(t *testing.T, r *rig.Rig, app *rig.App, k *rig.Key) (access, refresh string) {
	t.Helper()
	return bound(t, proven(r, app, k, codeForm(app, r.Browser().SignIn(r.Alice.Email).Code(app, "read"))))
}

// badProof checks the answer of an OAuth endpoint to a wrong or missing proof.
func badProof(t *testing.T, a *rig.Answer) {
	t.Helper()
	refused(t, a, http.StatusBadRequest, oauth.InvalidDPoPProof)
}

// unlimited is one API without plans; change alters it.
func unlimited(change func(*catalog.Resource)) []catalog.Resource {
	x := catalog.Resource{
		ID: exampleAPI, Name: "Example API", WorkspaceHeader: "X-Workspace",
		Scopes: []catalog.Scope{
			{Name: "read", Text: "Read"},
			{Name: "write", Text: "Write"},
			{Name: "delete", Text: "Delete"},
			{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}},
		},
		Keys: catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
	}
	change(&x)
	return []catalog.Resource{x}
}

// payload decodes the claims of a JWT.
func payload(t *testing.T, token string, into any) {
	t.Helper()
	part := strings.Split(token, ".")
	if len(part) != 3 {
		t.Fatalf("%q is not a JWT", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(part[1])
	ok(t, err)
	ok(t, json.Unmarshal(text, into))
}

// nonced posts a form of a client with a proof that has the nonce of the server.
func nonced(r *rig.Rig, app *rig.App, k *rig.Key, form url.Values) *rig.Answer {
	r.T.Helper()
	return r.PostAs(app, "/oauth/token", form, dpop.Header, tokenAim(r).proof(r, k, rig.Members{"nonce": nonceOf(r)}))
}

// nonceOf asks the server for its nonce, as a client does whose proof was refused for the lack of one.
func nonceOf(r *rig.Rig) string {
	r.T.Helper()
	a := r.Post("/oauth/token", url.Values{"grant_type": {oauth.GrantRefreshToken}}, dpop.Header,
		tokenAim(r).proof(r, rig.NewKey(r.T, "")))
	nonce := a.Header.Get(dpop.NonceHeader)
	if a.Status != http.StatusBadRequest || a.Text("error") != oauth.UseDPoPNonce || nonce == "" {
		r.T.Errorf("a proof without a nonce is answered %d %s, with the nonce %q", a.Status, a.Body, nonce)
	}
	return nonce
}
