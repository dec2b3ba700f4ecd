package rig

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Secrets are those that a test has seen pass by, each with what it is. At the end of every test of a rig none of them
// may be in the server's log (O-01). Its methods are safe for many goroutines.
type Secrets struct {
	mu   sync.Mutex
	kind map[string]string
}

// Kinds of secrets, as Secrets calls them.
const (
	SecretCode     = "authorization code"
	SecretAccess   = "access token"
	SecretRefresh  = "refresh token"
	SecretClient   = "client secret"
	SecretCookie   = "cookie"
	SecretFlow     = "flow"
	SecretForm     = "form token"
	SecretVerifier = "code verifier" //nolint:gosec // what it is called
	SecretPassword = "password"
	SecretWord     = "set-up word"
	SecretMaster   = "master secret"
	SecretRequest  = "request_uri"

	SecretKey           = "API key"
	SecretPersonalToken = "personal access token"
	SecretInvitation    = "invitation"
	SecretRegistration  = "registration token"
)

// window is how many bytes are compared: what is shorter is found by chance too.
const window = 16

// Add remembers a secret. One that is too short to be told from chance is not.
func (s *Secrets) Add(kind, secret string) {
	if len(secret) < window {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind[secret] = kind
}

// Kinds counts the secrets of each kind.
func (s *Secrets) Kinds() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, kind := range s.kind {
		n[kind]++
	}
	return n
}

// In tells what kinds of secrets text holds, with an example of each: in whole or by their first or last 16 characters: as they are, in base64 and
// base64url wherever in the encoded bytes they stand, in hexadecimal, percent-encoded, or as JSON writes them.
func (s *Secrets) In(text string) []string {
	s.mu.Lock()
	known := maps.Clone(s.kind)
	s.mu.Unlock()
	needles := map[string]string{}
	for secret, kind := range known {
		for form, needle := range forms(secret) {
			if len(needle) >= window {
				what := kind + ", " + form
				needles[needle[:window]], needles[needle[len(needle)-window:]] = what, what
			}
		}
	}
	found := map[string]string{}
	for i := 0; i+window <= len(text); i++ {
		if what, ok := needles[text[i:i+window]]; ok && found[what] == "" {
			found[what] = fmt.Sprintf("%s: …%.100q…", what, text[max(0, i-20):min(len(text), i+60)])
		}
	}
	return slices.Sorted(maps.Values(found))
}

// forms are the ways in which a secret may be written.
func forms(secret string) map[string]string {
	quoted, _ := json.Marshal(secret) // a string
	every := &strings.Builder{}
	for _, b := range []byte(secret) {
		fmt.Fprintf(every, "%%%02X", b)
	}
	all := map[string]string{
		"as it is": secret, "as JSON": strings.Trim(string(quoted), `"`), "percent-encoded": url.QueryEscape(secret), "percent-encoded as a path": url.PathEscape(secret),
		"wholly percent-encoded": every.String(), "hexadecimal": hex.EncodeToString([]byte(secret)), "HEXADECIMAL": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for offset := range 3 {
		// Inside of longer text, what stands at its edges is mixed with its neighbours.
		edge := []int{0, 2, 3}[offset]
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := encoding.EncodeToString(append(make([]byte, offset), secret...))
			if (offset+len(secret))%3 != 0 {
				text = text[:len(text)-1]
			}
			all[fmt.Sprintf("%s %d", name, offset)] = text[edge:]
		}
	}
	return all
}

// sniffer remembers the secrets that pass by it in either direction.
type sniffer struct {
	next    http.RoundTripper
	secrets *Secrets
}

// CloseIdleConnections is what httptest.Server calls at its end.
func (s *sniffer) CloseIdleConnections() {
	if t, ok := s.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (s *sniffer) RoundTrip(q *http.Request) (*http.Response, error) {
	s.request(q)
	response, err := s.next.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failed{err}))
	for _, c := range response.Cookies() {
		if !strings.HasSuffix(c.Name, "doorward-workspace") { // it holds an ID, which is not secret
			s.secrets.Add(SecretCookie, c.Value)
		}
	}
	location := response.Header.Get("Location")
	if u, err := url.Parse(location); err == nil {
		s.secrets.Add(SecretFlow, u.Query().Get("flow"))
	}
	s.credentials(location)
	s.credentials(string(body))
	for _, m := range hidden.FindAllStringSubmatch(string(body), -1) {
		s.secrets.Add(map[string]string{"flow": SecretFlow, "token": SecretForm}[m[1]], m[2])
	}
	return response, nil
}

// failed is how reading a body ended.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

var (
	// afterPrefix is what follows the prefix of a credential. It begins with a character that a search finds fast.
	afterPrefix = regexp.MustCompile(`_[0-9A-Za-z]{49}`)
	hidden      = regexp.MustCompile(`name="(flow|token)" value="([^"]+)"`)
)

// credentialKinds are the kinds of credentials by their prefix.
var credentialKinds = map[string]string{
	"dw_ac": SecretCode, "dw_at": SecretAccess, "dw_rt": SecretRefresh, "dw_cs": SecretClient, "dw_in": SecretInvitation,
	"dw_ru": SecretRequest, "dw_ia": SecretRegistration, "dw_ra": SecretRegistration, "pat": SecretPersonalToken,
	"live": SecretKey, "test": SecretKey,
}

func (s *sniffer) credentials(text string) {
	for _, found := range afterPrefix.FindAllStringIndex(text, -1) {
		for prefix, kind := range credentialKinds {
			if strings.HasSuffix(text[:found[0]], prefix) {
				s.secrets.Add(kind, prefix+text[found[0]:found[1]])
			}
		}
	}
}

func (s *sniffer) request(q *http.Request) {
	if _, secret, ok := q.BasicAuth(); ok {
		s.credentials(secret)
	}
	s.credentials(q.Header.Get("Authorization"))
	mediaType, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if q.GetBody == nil || q.ContentLength > 64<<10 || err != nil || mediaType != "application/x-www-form-urlencoded" {
		return
	}
	body, err := q.GetBody()
	if err != nil {
		return
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(text)) // as far as it can be read
	for name, values := range form {
		for _, value := range values {
			switch name {
			case "password", "current_password", "new_password":
				s.secrets.Add(SecretPassword, value)
			case "code_verifier":
				s.secrets.Add(SecretVerifier, value)
			case "word":
				s.secrets.Add(SecretWord, value)
			default:
				s.credentials(value)
			}
		}
	}
}
