// Package dpop checks DPoP proofs: that the sender of a request holds the private key that its access token is bound to
// (RFC 9449). It stores nothing; whether a proof was used before is for its callers to find out.
package dpop

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"doorward/oauth/jwt"
)

// Scheme is the authentication scheme of access tokens that are bound to a key (RFC 9449, section 7.1), and their
// token_type.
const Scheme = "DPoP"

// Header names of RFC 9449: the proof, and the nonce of the server.
const (
	Header      = "DPoP"
	NonceHeader = "DPoP-Nonce"
)

// Algorithms are the algorithms that proofs may be signed with: those that the FAPI 2.0 Security Profile allows.
var Algorithms = jwt.FAPIAlgorithms

// AlgorithmNames lists the Algorithms, separated by spaces, as in a challenge (RFC 9449, section 7.1).
func AlgorithmNames() string {
	names := make([]string, len(Algorithms))
	for i, a := range Algorithms {
		names[i] = string(a)
	}
	return strings.Join(names, " ")
}

const (
	// Window is how far the iat of a proof may be from the time of the server, either way, in whole seconds: most clients
	// write iat without a fraction.
	Window = time.Minute
	// Remember is how long after its iat a proof must be remembered: until no node accepts it, even one whose clock is a
	// minute behind.
	Remember = Window + time.Second + time.Minute
	// maxID bounds jti, in bytes.
	maxID = 500
	// typ is the type of a proof (RFC 9449, section 4.2).
	typ = "dpop+jwt"
)

// The reasons why a proof is refused. Errors that wrap them say why, for the log.
var (
	// ErrProof means that a proof is missing, malformed or wrong (invalid_dpop_proof).
	ErrProof = errors.New("the DPoP proof is not valid")
	// ErrUsed is ErrProof for a proof that was used before (RFC 9449, section 11.1).
	ErrUsed = fmt.Errorf("%w: it was used before; make a new one for each request", ErrProof)
	// ErrNonce means that a proof lacks the nonce of this server, or has an old one (use_dpop_nonce; RFC 9449, section 8).
	// The sender must make another proof with the nonce in the answer.
	ErrNonce = errors.New("the DPoP proof has no current nonce")
)

// Sentence makes, of an error about a proof, a sentence for its sender.
func Sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProof, fmt.Sprintf(format, args...))
}

// Request is the request that a proof must be made for.
type Request struct {
	Method string // as sent
	URL    string // as the client knows it; its query and fragment do not count (RFC 9449, section 4.3)
	Token  string // the access token that is sent with the proof; empty: none
	// AnyPort accepts a proof for another port of the host, since a proxy did not say which one was requested.
	AnyPort bool
	Now     time.Time
	// Nonces makes and checks the nonces of the server; nil: none is needed, and one that is sent does not count.
	Nonces *Nonces
}

// Proof is a proof that was checked.
type Proof struct {
	Key       string // the thumbprint (RFC 7638) of its public key
	ID        string // jti, which counts once for each key
	ExpiresAt time.Time
}

// InUse reports whether a request sends its credential with the scheme DPoP (RFC 9449, section 7.1).
func InUse(h http.Header) bool {
	scheme, _, _ := strings.Cut(h.Get("Authorization"), " ")
	return strings.EqualFold(scheme, Scheme)
}

// FromHeader returns the proof in a request's header; empty: there is none. It returns ErrProof if there are several.
func FromHeader(h http.Header) (string, error) {
	switch values := h.Values(Header); len(values) {
	case 0:
		return "", nil
	case 1:
		if values[0] == "" {
			return "", refused("the header DPoP is empty")
		}
		return values[0], nil
	}
	return "", refused("there is more than one header DPoP")
}

// Check checks a proof for a request (RFC 9449, section 4.3), except whether it was used before. The errors are ErrProof
// and ErrNonce.
func Check(text string, r Request) (Proof, error) {
	t, err := jwt.Parse(text)
	if err != nil {
		return Proof{}, refused("%v", err)
	}
	if t.Type != typ {
		return Proof{}, refused("its typ is not %s", typ)
	}
	if !slices.Contains(Algorithms, t.Algorithm) {
		return Proof{}, refused("its alg is not one of %s", AlgorithmNames())
	}
	key, thumbprint, err := keyOf(t)
	if err != nil {
		return Proof{}, err
	}
	var c claims
	if err := t.Claims(c.targets()); err != nil {
		return Proof{}, refused("%v", err)
	}
	if err := c.check(&r); err != nil {
		return Proof{}, err
	}
	if !t.SignedBy(key) {
		return Proof{}, refused("its signature is not by the key in its jwk")
	}
	if r.Nonces != nil && !r.Nonces.current(c.nonce, r.Now) {
		return Proof{}, ErrNonce
	}
	return Proof{Key: thumbprint, ID: c.id, ExpiresAt: c.IssuedAt.Time().Add(Remember)}, nil
}

// keyOf returns the public key in the header of a proof.
func keyOf(t *jwt.Token) (key any, thumbprint string, err error) {
	members, isObject := t.Header["jwk"].(map[string]any)
	if !isObject {
		return nil, "", refused("its header has no jwk")
	}
	for _, private := range jwt.PrivateMembers {
		if _, has := members[private]; has {
			return nil, "", refused("its jwk holds a private or a symmetric key")
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, "", refused("its jwk cannot be read")
	}
	jwk, err := jwt.PublicKey(text)
	if err != nil {
		return nil, "", refused("its jwk %v", err)
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", refused("its jwk has no thumbprint")
	}
	return jwk.Key, base64.RawURLEncoding.EncodeToString(sum), nil
}

// claims are the claims of a proof (RFC 9449, section 4.2).
type claims struct {
	id, method, url, token, nonce string
	jwt.Times
}

func (c *claims) targets() map[string]any {
	return map[string]any{
		"jti": &c.id, "htm": &c.method, "htu": &c.url, "ath": &c.token, "nonce": &c.nonce, "iat": &c.IssuedAt,
		"exp": &c.ExpiresAt, "nbf": &c.NotBefore,
	}
}

func (c *claims) check(r *Request) error {
	switch {
	case c.id == "" || len(c.id) > maxID || !utf8.ValidString(c.id):
		return refused("its jti is missing, or longer than %d bytes", maxID)
	case c.method != r.Method:
		return refused("its htm is not the method of the request, %s", r.Method)
	case !sameURL(c.url, r.URL, r.AnyPort):
		return refused("its htu is not the URL of the request, %s", r.URL)
	case c.IssuedAt == 0:
		return refused("it has no iat")
	case distance(r.Now, c.IssuedAt.Time()) > Window:
		return refused("its iat is %v from the time of this server; at most %v are allowed",
			distance(r.Now, c.IssuedAt.Time()), Window)
	case c.NotBefore != 0 && c.NotBefore.Time().After(r.Now.Add(Window)):
		return refused("its nbf is in the future")
	case c.ExpiresAt != 0 && c.ExpiresAt.Time().Before(r.Now.Add(-Window)):
		return refused("it has expired")
	case r.Token != "" && subtle.ConstantTimeCompare([]byte(c.token), []byte(tokenHash(r.Token))) == 0:
		return refused("its ath is missing, or not that of the access token")
	}
	return nil
}

// distance returns how far two moments are apart, in whole seconds.
func distance(a, b time.Time) time.Duration {
	return a.Truncate(time.Second).Sub(b.Truncate(time.Second)).Abs()
}

// tokenHash is the ath of an access token (RFC 9449, section 4.2).
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// IsThumbprint reports whether text has the form of a SHA-256 thumbprint, as dpop_jkt has (RFC 9449, section 10).
func IsThumbprint(text string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == sha256.Size && !strings.ContainsAny(text, "\r\n")
}

// sameURL reports whether the htu of a proof is the URL of a request, apart from query and fragment, after the
// normalization of RFC 3986, sections 6.2.2 and 6.2.3: case of scheme and host, default port, an empty path, and
// escapes of characters that need none.
func sameURL(claimed, requested string, anyPort bool) bool {
	a, okA := normalized(claimed, anyPort)
	b, okB := normalized(requested, anyPort)
	return okA && okB && a == b
}

func normalized(text string, anyPort bool) (string, bool) {
	text, _, _ = strings.Cut(text, "#")
	text, _, _ = strings.Cut(text, "?")
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch port := u.Port(); {
	case anyPort, scheme == "https" && port == "443", scheme == "http" && port == "80":
		host = strings.TrimSuffix(host, ":"+port)
	}
	path := unescaped(u.EscapedPath())
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, true
}

// unescaped replaces the escapes of unreserved characters, and writes all others in upper case.
func unescaped(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		escape := path[i : i+3]
		if c, err := url.PathUnescape(escape); err == nil && len(c) == 1 && isUnreserved(c[0]) {
			b.WriteString(c)
		} else {
			b.WriteString(strings.ToUpper(escape))
		}
		i += 2
	}
	return b.String()
}

// isUnreserved reports whether a character needs no escape (RFC 3986, section 2.3).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
