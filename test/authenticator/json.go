package authenticator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

const (
	publicKey = "public-key" // the only type of credential
	required  = "required"   // a requirement on user verification
)

// Error is a refusal of the browser or the authenticator.
type Error struct {
	Name    string // the name of the DOMException, or TypeError
	Message string
}

// Error is what a browser's console would show.
func (e *Error) Error() string {
	return e.Name + ": " + e.Message
}

// refuse returns a refusal.
func refuse(name, format string, args ...any) error {
	return &Error{name, fmt.Sprintf(format, args...)}
}

// base64URL is a Base64URLString, without padding.
type base64URL []byte

// MarshalText encodes the bytes.
func (b base64URL) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(b)), nil
}

// UnmarshalText decodes the bytes.
func (b *base64URL) UnmarshalText(text []byte) error {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return refuse("EncodingError", "%q is not base64url without padding", text)
	}
	*b = decoded
	return nil
}

// descriptor is a PublicKeyCredentialDescriptorJSON.
type descriptor struct {
	Type string    `json:"type"`
	ID   base64URL `json:"id"`
}

// parameter is a PublicKeyCredentialParameters.
type parameter struct {
	Type      string `json:"type"`
	Algorithm int    `json:"alg"`
}

// creation is what matters here of a PublicKeyCredentialCreationOptionsJSON. A pointer or slice may be missing.
type creation struct {
	RP struct {
		ID   string  `json:"id"`
		Name *string `json:"name"`
	} `json:"rp"`
	User struct {
		ID          *base64URL `json:"id"`
		Name        *string    `json:"name"`
		DisplayName *string    `json:"displayName"`
	} `json:"user"`
	Challenge  *base64URL   `json:"challenge"`
	Parameters []parameter  `json:"pubKeyCredParams"`
	Exclude    []descriptor `json:"excludeCredentials"`
	Selection  struct {
		Attachment       string `json:"authenticatorAttachment"`
		UserVerification string `json:"userVerification"`
	} `json:"authenticatorSelection"`
	Extensions struct {
		CredProps bool `json:"credProps"`
	} `json:"extensions"`
}

// request is what matters here of a PublicKeyCredentialRequestOptionsJSON.
type request struct {
	RPID             string       `json:"rpId"`
	Challenge        *base64URL   `json:"challenge"`
	Allow            []descriptor `json:"allowCredentials"`
	UserVerification string       `json:"userVerification"`
}

// answerJSON is a RegistrationResponseJSON or an AuthenticationResponseJSON.
type answerJSON struct {
	ID         base64URL      `json:"id"`
	RawID      base64URL      `json:"rawId"`
	Type       string         `json:"type"`
	Attachment string         `json:"authenticatorAttachment"`
	Extensions map[string]any `json:"clientExtensionResults"`
	Response   any            `json:"response"`
}

// creationJSON is an AuthenticatorAttestationResponseJSON.
type creationJSON struct {
	ClientData        base64URL `json:"clientDataJSON"`
	AuthenticatorData base64URL `json:"authenticatorData"`
	Transports        []string  `json:"transports"`
	PublicKey         base64URL `json:"publicKey"`
	Algorithm         int       `json:"publicKeyAlgorithm"`
	Attestation       base64URL `json:"attestationObject"`
}

// requestJSON is an AuthenticatorAssertionResponseJSON.
type requestJSON struct {
	ClientData        base64URL `json:"clientDataJSON"`
	AuthenticatorData base64URL `json:"authenticatorData"`
	Signature         base64URL `json:"signature"`
	UserHandle        base64URL `json:"userHandle,omitempty"`
}

// parseCreation reads options with all the members that browsers require.
func parseCreation(options []byte) (creation, error) {
	var c creation
	if err := parse(options, &c); err != nil {
		return c, err
	}
	for name, missing := range map[string]bool{
		"rp.name":          c.RP.Name == nil,
		"user.id":          c.User.ID == nil,
		"user.name":        c.User.Name == nil,
		"user.displayName": c.User.DisplayName == nil,
		"challenge":        c.Challenge == nil,
		"pubKeyCredParams": c.Parameters == nil,
	} {
		if missing {
			return c, refuse("TypeError", "%s is missing", name)
		}
	}
	if n := len(*c.User.ID); n < 1 || n > 64 {
		return c, refuse("TypeError", "user.id has %d bytes, not 1 to 64", n)
	}
	return c, nil
}

// parseRequest reads options with all the members that browsers require.
func parseRequest(options []byte) (request, error) {
	var r request
	if err := parse(options, &r); err != nil {
		return r, err
	}
	if r.Challenge == nil {
		return r, refuse("TypeError", "challenge is missing")
	}
	return r, nil
}

// parse reads options, which may be wrapped as a page wraps them for navigator.credentials.
func parse(options []byte, to any) error {
	var wrapped struct {
		Options json.RawMessage `json:"publicKey"`
	}
	if err := json.Unmarshal(options, &wrapped); err != nil {
		return refuse("TypeError", "the options are not an object: %v", err)
	}
	if wrapped.Options != nil {
		options = wrapped.Options
	}
	if err := json.Unmarshal(options, to); err != nil {
		return fmt.Errorf("the options: %w", err)
	}
	return nil
}

// algorithm is the first offered one that this package supports. Nothing offered means ES256 or RS256.
func (c creation) algorithm() int {
	if len(c.Parameters) == 0 {
		return es256
	}
	i := slices.IndexFunc(c.Parameters, func(p parameter) bool {
		return p.Type == publicKey && slices.Contains([]int{es256, rs256, edDSA}, p.Algorithm)
	})
	if i < 0 {
		return 0
	}
	return c.Parameters[i].Algorithm
}

// allowedRPID returns the RP ID, by default the origin's host, if a page of the origin may use it.
func allowedRPID(origin, id string) (string, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return "", refuse("SecurityError", "%q is not an origin", origin)
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return "", refuse("SecurityError", "%s is not a domain but an IP address", host)
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return "", refuse("SecurityError", "%s is not a secure context", origin)
	}
	if id == "" {
		id = host
	}
	if host != id && !strings.HasSuffix(host, "."+id) {
		return "", refuse("SecurityError", "the RP ID %q is neither the domain of %s nor a parent of it", id, origin)
	}
	return id, nil
}
