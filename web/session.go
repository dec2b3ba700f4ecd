package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/sessions"

	"doorward/oauth/bearer"
	"doorward/oauth/identity"
	"doorward/storage"
)

const (
	sessionIdle     = 24 * time.Hour      // without a request
	sessionAbsolute = 14 * 24 * time.Hour // whatever happens
	freshness       = 5 * time.Minute     // after which making a secret asks for the password again
	deviceLifetime  = 90 * 24 * time.Hour // of the cookie that tells a known browser
)

// cookieName puts the prefix before a name by which browsers hold a cookie to its own host, Secure and Path=/. Over
// plain http, which only a loopback issuer has, they would refuse it.
func cookieName(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// sessionStore is gorilla's sessions.Store over ours: the cookie holds a random text, its digest and all values are a
// row, so that a session ends when the row does.
type sessionStore struct {
	store  *storage.Store
	name   string
	secure bool
}

func newSessionStore(store *storage.Store, secure bool) *sessionStore {
	return &sessionStore{store: store, name: cookieName("doorward", secure), secure: secure}
}

// Keys of a session's values. Those that are not strings are the row itself and its user, and are not written back.
const (
	valueRow    = "row"
	valueUser   = "user"
	valueNotice = "notice"
	valueUndo   = "undo" // path that undoes what the notice says
)

// Get implements sessions.Store: one lookup for each request.
func (s *sessionStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New implements sessions.Store. A cookie that opens nothing gives an empty session; only storage makes an error.
func (s *sessionStore) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	session.Options = &sessions.Options{Path: "/", MaxAge: int(sessionAbsolute.Seconds()), Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	cookies := r.CookiesNamed(name)
	// Of two cookies one was planted, and nobody knows which.
	if len(cookies) != 1 || len(cookies[0].Value) != cookieLength {
		return session, nil
	}
	row, user, err := s.store.LiveSession(storage.System(r.Context()), storage.Digest(cookies[0].Value), sessionIdle)
	if errors.Is(err, storage.ErrNotFound) {
		return session, nil
	}
	if err != nil {
		return session, fmt.Errorf("session: %w", err)
	}
	session.ID, session.IsNew = row.ID, false
	session.Values[valueRow], session.Values[valueUser] = row, user
	var data map[string]string
	if err := json.Unmarshal([]byte(row.Data), &data); err == nil {
		for k, v := range data {
			session.Values[k] = v
		}
	}
	if !row.Former {
		s.store.TouchSession(row.ID)
	}
	return session, nil
}

// Save implements sessions.Store: it writes the values of a session that is there. Sessions begin in start and end in
// end, each with a cookie of its own.
func (s *sessionStore) Save(r *http.Request, _ http.ResponseWriter, session *sessions.Session) error {
	if session.IsNew {
		return nil
	}
	data, err := encodeValues(session)
	if err != nil {
		return err
	}
	err = s.store.SetSessionData(storage.System(r.Context()), session.ID, data)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

func encodeValues(session *sessions.Session) (string, error) {
	data := map[string]string{}
	for k, v := range session.Values {
		key, isKey := k.(string)
		value, isText := v.(string)
		if isKey && isText {
			data[key] = value
		}
	}
	text, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	return string(text), nil
}

// cookieLength is that of 32 random bytes in base64url.
const cookieLength = 43

func randomText() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// visitor is who sends a request: nil fields mean that nobody is signed in.
type visitor struct {
	session *sessions.Session
	row     storage.Session
	user    storage.User
}

func (v *visitor) signedIn() bool { return v.user.ID != "" }

// authTime is when the password was last given in this session; zero when nobody is signed in.
func (v *visitor) authTime() storage.Time { return v.row.AuthTime }

// fresh tells whether the password was given lately enough to make a secret.
func (s *Server) fresh(v *visitor) bool {
	return s.store.Now().Sub(v.row.AuthTime) <= freshness
}

// visitor finds the session of a request. The former cookie of a session opens nothing.
func (s *Server) visitor(r *http.Request) (*visitor, error) {
	v, err := s.holder(r)
	if err != nil {
		return nil, err
	}
	if v.row.Former {
		session := sessions.NewSession(s.sessions, s.sessions.name)
		session.IsNew = true
		return &visitor{session: session}, nil
	}
	v.act(r.Context())
	return v, nil
}

// visitorOfForm is visitor for a form that may hold the user's password. With it the former cookie is good: the form is
// the one with which the user gave their password a moment ago, sent twice.
func (s *Server) visitorOfForm(w http.ResponseWriter, r *http.Request) (*visitor, error) {
	v, err := s.holder(r)
	password := cmp.Or(r.PostForm.Get(proofField), r.PostForm.Get("password"))
	if err != nil || !v.row.Former || password == "" {
		return s.visitor(r)
	}
	v, fault, _, err := s.stepUp(w, r, v, password)
	if err != nil {
		return nil, err
	}
	if fault != "" {
		return s.visitor(r)
	}
	v.act(r.Context())
	return v, nil
}

// act notes for the audit log who acts.
func (v *visitor) act(ctx context.Context) {
	if v.signedIn() {
		a := storage.ActorOf(ctx)
		a.UserID, a.Credential = v.user.ID, "session"
	}
}

// holder is whose cookie a request has, the former one of a session included.
func (s *Server) holder(r *http.Request) (*visitor, error) {
	session, err := s.sessions.Get(r, s.sessions.name)
	if err != nil {
		return nil, err
	}
	v := &visitor{session: session}
	v.row, _ = session.Values[valueRow].(storage.Session)
	v.user, _ = session.Values[valueUser].(storage.User)
	return v, nil
}

// startSession signs a user in: a new session with a new cookie takes the place of the browser's old one, so that a
// cookie somebody planted before is worth nothing.
func (s *Server) startSession(w http.ResponseWriter, r *http.Request, old *visitor, user storage.User) (*visitor, error) {
	if err := s.management.TakeSignIn(r.Context(), user.ID); err != nil {
		return nil, err
	}
	return s.startSessionBy(w, r, old, user, "password", func(context.Context) error { return nil })
}

// startSessionBy is startSession for a user who proved who they are with a credential, which use uses up in the same
// transaction.
func (s *Server) startSessionBy(w http.ResponseWriter, r *http.Request, old *visitor, user storage.User, credential string, use func(context.Context) error) (*visitor, error) {
	now, text := s.store.Now(), randomText()
	row := storage.Session{
		ID: storage.NewID("session"), Digest: storage.Digest(text), UserID: user.ID, Data: "{}", AuthTime: now,
		UserAgent: clean(bearer.Redacted(r.UserAgent()), 300), Address: s.proxies.ClientAddress(r).String(),
		CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(sessionAbsolute),
	}
	if old.signedIn() && old.user.ID == user.ID {
		// The password once more: the session goes on under a new id and does not live longer for it.
		row.CreatedAt, row.ExpiresAt = old.row.CreatedAt, old.row.ExpiresAt
	}
	err := s.openSession(w, r, user, credential, text, row.ExpiresAt.Sub(now), func(ctx context.Context) error {
		if err := use(ctx); err != nil {
			return err
		}
		return s.store.ReplaceSession(ctx, old.row.ID, row)
	})
	if err != nil {
		return nil, err
	}
	session := sessions.NewSession(s.sessions, s.sessions.name)
	session.ID = row.ID
	session.Values[valueRow], session.Values[valueUser] = row, user
	return &visitor{session: session, row: row, user: user}, nil
}

// renewGrace is how long the cookie before still opens a session whose user has given their password again.
const renewGrace = time.Minute

// renewSession notes that the user of a session has given their password again. The session stays, with another cookie, so
// that a stolen one is soon worth nothing, and never worth the proof. That cookie follows from the one
// before: a form that was sent twice proves the same twice, and is answered with the same cookie, whichever answer the
// browser takes.
func (s *Server) renewSession(w http.ResponseWriter, r *http.Request, v *visitor) (*visitor, error) {
	if err := s.management.TakeSignIn(r.Context(), v.user.ID); err != nil {
		return nil, err
	}
	before := r.CookiesNamed(s.sessions.name)[0].Value // visitor has found the session by it
	text := s.secrets.FormToken("session", v.row.ID, before)
	now := s.store.Now()
	err := s.openSession(w, r, v.user, "password", text, v.row.ExpiresAt.Sub(now), func(ctx context.Context) error {
		err := s.store.RenewSession(ctx, v.row.ID, storage.Digest(text), storage.Digest(before), now.Add(renewGrace), now)
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("%w: the session was ended", storage.ErrConflict)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	v.row.AuthTime, v.row.Digest, v.row.Former = now, storage.Digest(text), false
	v.session.Values[valueRow] = v.row
	return v, nil
}

// openSession notes that a user has proved with a credential who they are, with the change that this makes to their
// sessions, and gives the browser the cookie for it. The password must still be what it was when the proof was judged.
func (s *Server) openSession(w http.ResponseWriter, r *http.Request, user storage.User, credential, cookie string, lifetime time.Duration, change func(context.Context) error) error {
	err := s.store.InTx(storage.System(r.Context()), func(ctx context.Context) error {
		if err := s.store.PasswordStill(ctx, user.ID, user.PasswordChangedAt); err != nil {
			return err
		}
		if err := change(ctx); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action: "login.succeeded", Actor: storage.Actor{UserID: user.ID, Credential: credential}, Target: user.ID,
		}, user.ID)
	})
	if errors.Is(err, storage.ErrConflict) {
		return &pageError{Status: http.StatusForbidden, Heading: "You are not signed in", Message: "The password was changed, or the account disabled, while you signed in. Sign in again.", BackURL: "/login", BackText: "Sign in", Cause: err}
	}
	if err != nil {
		return fmt.Errorf("open the session: %w", err)
	}
	http.SetCookie(w, sessions.NewCookie(s.sessions.name, cookie, &sessions.Options{
		Path: "/", MaxAge: int(lifetime.Seconds()), Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}))
	s.setCookie(w, "doorward-device", s.deviceMark(user), deviceLifetime)
	return nil
}

// endSession signs the browser out.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if v.signedIn() {
		err := s.store.InTx(storage.System(r.Context()), func(ctx context.Context) error {
			if err := s.store.EndSession(ctx, v.user.ID, v.row.ID); err != nil {
				return err
			}
			return s.store.Audit(ctx, storage.AuditEvent{Action: "session.ended", Target: v.row.ID}, v.user.ID)
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("end session: %w", err)
		}
	}
	http.SetCookie(w, sessions.NewCookie(s.sessions.name, "", &sessions.Options{
		Path: "/", MaxAge: -1, Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}))
	return nil
}

// setCookie sets one of our other cookies; a lifetime of zero or less removes it.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, lifetime time.Duration) {
	age := int(lifetime.Seconds())
	if age <= 0 {
		age = -1
	}
	//nolint:gosec // Secure where the issuer is https
	http.SetCookie(w, &http.Cookie{Name: cookieName(name, s.secure), Value: value, Path: "/", MaxAge: age, Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// deviceMark tells a browser in which this account signed in before. It opens nothing: it only lets its owner try a
// password while somebody elsewhere keeps the account throttled. A changed password makes it worthless.
func (s *Server) deviceMark(user storage.User) string {
	return s.secrets.FormToken("device", storage.EmailKey(user.Email), user.PasswordChangedAt.Time().Format(time.RFC3339Nano))
}

// knownDevice tells whether the browser holds the mark of the account behind an address.
func (s *Server) knownDevice(ctx context.Context, r *http.Request, email string) (bool, error) {
	c, err := r.Cookie(cookieName("doorward-device", s.secure))
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
	return s.secrets.FormTokenFits(c.Value, "device", storage.EmailKey(u.Email), u.PasswordChangedAt.Time().Format(time.RFC3339Nano)), nil
}

// attempt is a password that somebody gave for an account.
func (s *Server) attempt(r *http.Request, email, password string) (identity.Attempt, error) {
	known, err := s.knownDevice(r.Context(), r, email)
	return identity.Attempt{Email: email, Password: password, Address: s.proxies.ClientAddress(r), KnownDevice: known}, err
}

// setNotice keeps a sentence for the next page that this browser is shown.
func (s *Server) setNotice(w http.ResponseWriter, r *http.Request, v *visitor, text string) error {
	v.session.Values[valueNotice] = text
	return s.sessions.Save(r, w, v.session)
}

// takeNotice gives the sentence that setNotice kept, once, and the path that undoes what it says.
func (s *Server) takeNotice(w http.ResponseWriter, r *http.Request, v *visitor) (text, undo string, err error) {
	text, ok := v.session.Values[valueNotice].(string)
	if !ok {
		return "", "", nil
	}
	undo, _ = v.session.Values[valueUndo].(string)
	delete(v.session.Values, valueNotice)
	delete(v.session.Values, valueUndo)
	return text, undo, s.sessions.Save(r, w, v.session)
}
