package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"doorward/storage"
)

// FlowLifetime is how long a user may take for sign-in and consent.
const FlowLifetime = 10 * time.Minute

// Flow is a valid authorization request that waits for the resource owner. It is not stored: it travels sealed through
// the sign-in and consent pages, bound to the browser by the digest of a cookie. The JSON names are short because the
// sealed flow is part of a URL.
type Flow struct {
	ID           string       `json:"i"`
	CreatedAt    storage.Time `json:"t"`
	CookieDigest []byte       `json:"k"`
	ClientID     string       `json:"c,omitempty"`
	RedirectURI  string       `json:"r,omitempty"`
	State        string       `json:"-"`
	StateBytes   []byte       `json:"s,omitempty"` // state need not be valid UTF-8, and is returned byte for byte
	HasState     bool         `json:"h,omitempty"`
	Scopes       []string     `json:"o,omitempty"`
	Resource     string       `json:"a,omitempty"`
	Challenge    string       `json:"p,omitempty"`
	DPoPKey      string       `json:"d,omitempty"` // thumbprint of the key that the code is bound to (dpop_jkt)
	Pushed       []byte       `json:"q,omitempty"` // digest of the request_uri; nil: the request was not pushed
	// Prompt is none, some of consent, create, login and select_account, or empty (OpenID Connect Core, section 3.1.2.1).
	Prompt    string `json:"m,omitempty"`
	MaxAge    int64  `json:"g,omitempty"` // seconds, when HasMaxAge
	HasMaxAge bool   `json:"x,omitempty"`
	// Locales are the languages that the app asks for on the pages: tags with spaces between them (OpenID Connect Core,
	// section 3.1.2.1). Empty: none.
	Locales string `json:"l,omitempty"`
	// ReturnTo is the path on this server where a sign-in without an app continues. No other field is set then.
	ReturnTo string `json:"u,omitempty"`
}

// ErrFlowExpired means that a flow is genuine but too old.
var ErrFlowExpired = errors.New("the flow has expired")

// ErrFlowForeign means that a flow was not sealed here, or belongs to another browser.
var ErrFlowForeign = errors.New("the flow belongs to another server or browser")

// SealFlow seals a flow, bound to a cookie's value.
func (s *Server) SealFlow(f *Flow, cookie string) string {
	f.CookieDigest = cookieDigest(cookie)
	f.StateBytes = []byte(f.State)
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return s.secrets.Seal("flow", text)
}

// NewFlowID returns a random id for a flow and the cookie that it is bound to.
func NewFlowID() string { return storage.NewID("flow") }

// OpenFlow opens a sealed flow. An expired flow is returned together with ErrFlowExpired, so that a page can name the
// app to go back to.
func (s *Server) OpenFlow(sealed string) (*Flow, error) {
	if len(sealed) > maxBody {
		return nil, ErrFlowForeign
	}
	text, err := s.secrets.Open("flow", sealed)
	if err != nil {
		return nil, ErrFlowForeign
	}
	f := &Flow{}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, ErrFlowForeign
	}
	f.State = string(f.StateBytes)
	if age := s.store.Now().Sub(f.CreatedAt); age > FlowLifetime || age < -time.Minute {
		return f, ErrFlowExpired
	}
	return f, nil
}

// BoundTo reports whether the flow started in the browser that sends this cookie value.
func (f *Flow) BoundTo(cookie string) bool {
	return cookie != "" && subtle.ConstantTimeCompare(f.CookieDigest, cookieDigest(cookie)) == 1
}

func cookieDigest(cookie string) []byte {
	sum := sha256.Sum256([]byte("flow cookie " + cookie))
	return sum[:16]
}
