package page

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"doorward/oauth/identity"
	"doorward/storage"
)

// cookieName returns the name of a cookie, with the prefix __Host- if the issuer is https: browsers then insist on
// Secure, Path=/ and no Domain. They reject the prefix over plain http, which only a loopback issuer uses.
func cookieName(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// cookieLength is the length of the value that RandomText returns.
const cookieLength = 43

// RandomText returns 32 random bytes in base64url.
func RandomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Cookie returns a cookie other than that of the session; http.ErrNoCookie if the browser does not send it.
func (s *Pages) Cookie(r *http.Request, name string) (*http.Cookie, error) {
	return r.Cookie(cookieName(name, s.secure))
}

// SetCookie sets a cookie other than that of the session. A lifetime of zero or less removes it.
func (s *Pages) SetCookie(w http.ResponseWriter, name, value string, lifetime time.Duration) {
	age := int(lifetime.Seconds())
	if age <= 0 {
		age = -1
	}
	//nolint:gosec // Secure where the issuer is https
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(name, s.secure), Value: value, Path: "/", MaxAge: age, Secure: s.secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// deviceMark is the value of a cookie that marks a browser in which this user has signed in before. It grants no
// access: it only lets the user try a password while attempts from elsewhere keep the account throttled. It becomes
// invalid when the password changes.
func (s *Pages) deviceMark(user storage.User) string {
	return s.secrets.FormToken(deviceBinding(&user)...)
}

func deviceBinding(u *storage.User) []string {
	return []string{"device", storage.EmailKey(u.Email), u.PasswordChangedAt.Time().Format(time.RFC3339Nano)}
}

// knownDevice reports whether the browser holds the deviceMark of the user with an email address.
func (s *Pages) knownDevice(ctx context.Context, r *http.Request, email string) (bool, error) {
	c, err := s.Cookie(r, "doorward-device")
	if err != nil || len(c.Value) != cookieLength {
		return false, nil
	}
	u, err := s.store.UserByEmail(storage.System(ctx), email)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("known device: %w", err)
	}
	return s.secrets.FormTokenFits(c.Value, deviceBinding(&u)...), nil
}

// The cookie that marks the browsers in which accounts were signed in to before, for the notice about new ones. Unlike
// deviceMark it outlives a change of the password, and it allows nothing.
const (
	knownCookie   = "doorward-known"
	knownLifetime = 400 * 24 * time.Hour // browsers keep no cookie longer
	maxKnown      = 10                   // accounts in one browser
)

// NewDevice reports whether a session started in a browser in which its user had not signed in before.
func NewDevice(x *storage.Session) bool {
	var data map[string]string
	return json.Unmarshal([]byte(x.Data), &data) == nil && data[valueDevice] != ""
}

// knownMarks are the marks in the browser's cookie, one for each account, the latest first.
func (s *Pages) knownMarks(r *http.Request) []string {
	c, err := s.Cookie(r, knownCookie)
	if err != nil || len(c.Value) > maxKnown*(cookieLength+1) {
		return nil
	}
	return strings.Split(c.Value, ".")
}

// remembers reports whether the user has signed in in this browser before.
func (s *Pages) remembers(r *http.Request, u *storage.User) bool {
	for _, mark := range s.knownMarks(r) {
		if s.secrets.FormTokenFits(mark, "known browser", u.ID) {
			return true
		}
	}
	c, err := s.Cookie(r, "doorward-device") // a browser from before there was the other cookie
	return err == nil && s.secrets.FormTokenFits(c.Value, deviceBinding(u)...)
}

// remember adds the user to the browser's cookie.
func (s *Pages) remember(w http.ResponseWriter, r *http.Request, u *storage.User) {
	marks := []string{s.secrets.FormToken("known browser", u.ID)}
	for _, mark := range s.knownMarks(r) {
		if len(mark) == cookieLength && mark != marks[0] && len(marks) < maxKnown {
			marks = append(marks, mark)
		}
	}
	s.SetCookie(w, knownCookie, strings.Join(marks, "."), knownLifetime)
}

// Attempt describes an attempt to sign in with a password.
func (s *Pages) Attempt(r *http.Request, email, password string) (identity.Attempt, error) {
	known, err := s.knownDevice(r.Context(), r, email)
	return identity.Attempt{Email: email, Password: password, Address: s.address(r), KnownDevice: known}, err
}
