package page

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"doorward/oauth/identity"
	"doorward/storage"
)

// cookieName puts the prefix before a name by which browsers hold a cookie to its own host, Secure and Path=/. Over
// plain http, which only a loopback issuer has, they would refuse it.
func cookieName(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// cookieLength is that of 32 random bytes in base64url.
const cookieLength = 43

// RandomText is 32 random bytes in base64url.
func RandomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Cookie reads one of our other cookies; http.ErrNoCookie where the browser does not send it.
func (s *Pages) Cookie(r *http.Request, name string) (*http.Cookie, error) {
	return r.Cookie(cookieName(name, s.secure))
}

// SetCookie sets one of our other cookies; a lifetime of zero or less removes it.
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

// deviceMark tells a browser in which this account signed in before. It opens nothing: it only lets its owner try a
// password while somebody elsewhere keeps the account throttled. A changed password makes it worthless.
func (s *Pages) deviceMark(user storage.User) string {
	return s.secrets.FormToken(
		"device", storage.EmailKey(user.Email), user.PasswordChangedAt.Time().Format(time.RFC3339Nano),
	)
}

// knownDevice reports whether the browser holds the mark of the account behind an address.
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
	return s.secrets.FormTokenFits(
		c.Value, "device", storage.EmailKey(u.Email), u.PasswordChangedAt.Time().Format(time.RFC3339Nano),
	), nil
}

// Attempt is a password that somebody gave for an account.
func (s *Pages) Attempt(r *http.Request, email, password string) (identity.Attempt, error) {
	known, err := s.knownDevice(r.Context(), r, email)
	return identity.Attempt{Email: email, Password: password, Address: s.address(r), KnownDevice: known}, err
}
