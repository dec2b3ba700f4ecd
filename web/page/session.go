package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/sessions"

	"doorward/locale"
	"doorward/oauth/bearer"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// How long sessions and the cookies beside them last.
const (
	SessionIdle     = identity.SessionIdle // without a request
	sessionAbsolute = 14 * 24 * time.Hour  // since the sign-in
	freshness       = 5 * time.Minute      // since the user authenticated; after that, creating a secret asks for a proof
	deviceLifetime  = 90 * 24 * time.Hour  // of the cookie that marks a known browser
)

// sessionStore implements gorilla's sessions.Store on package storage. The cookie holds a random value; its digest and
// the session's values are a row, so that deleting the row ends the session.
type sessionStore struct {
	store  *storage.Store
	name   string
	secure bool
}

func newSessionStore(store *storage.Store, secure bool) *sessionStore {
	return &sessionStore{store: store, name: cookieName("doorward", secure), secure: secure}
}

// Keys of a session's values. The row and the user come from storage; the others are strings, and are stored.
const (
	valueRow    = "row"
	valueUser   = "user"
	valueNotice = "notice"
	valueUndo   = "undo" // path that undoes what the notice says
	valueDevice = "new_device"
	valueOffer  = "offer" // the next page suggests to create a passkey
)

// Get implements sessions.Store: one lookup for each request.
func (s *sessionStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New implements sessions.Store. If the cookie belongs to no session, the session is empty; errors are those of
// storage.
func (s *sessionStore) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew = true
	session.Options = &sessions.Options{
		Path: "/", MaxAge: int(sessionAbsolute.Seconds()), Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	cookies := r.CookiesNamed(name)
	// Of two cookies, one was planted by another site, and it is not known which.
	if len(cookies) != 1 || len(cookies[0].Value) != cookieLength {
		return session, nil
	}
	row, user, err := s.store.LiveSession(storage.System(r.Context()), storage.Digest(cookies[0].Value), SessionIdle)
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

// Save implements sessions.Store: it stores the values of an existing session. It sets no cookie: StartSession and
// EndSession do.
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

// encodeValues returns the values that are strings, as JSON.
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

// Visitor is the browser that sends a request, with its session and user. Both are zero if no one is signed in.
type Visitor struct {
	session    *sessions.Session
	Row        storage.Session
	User       storage.User
	workspaces []storage.Workspace  // nil until Pages.Workspaces has read them
	nav        templates.Navigation // set by ForUsers and EnterWorkspace
}

// SignedIn reports whether the visitor is signed in.
func (v *Visitor) SignedIn() bool { return v.User.ID != "" }

// AuthTime is when the user last authenticated in this session; zero if the visitor is not signed in.
func (v *Visitor) AuthTime() storage.Time { return v.Row.AuthTime }

// Visitor finds the session of a request. A session's former cookie, from before renewSession, does not open it.
func (s *Pages) Visitor(r *http.Request) (*Visitor, error) {
	v, err := s.visitorOrFormer(r)
	if err != nil {
		return nil, err
	}
	if v.Row.Former {
		session := sessions.NewSession(s.sessions, s.sessions.name)
		session.IsNew = true
		return &Visitor{session: session}, nil
	}
	s.act(r, v)
	return v, nil
}

// VisitorOfForm is Visitor for a form that may contain the user's password. With the password, the former cookie is
// accepted too: it comes when the form with which the user has just entered the password is sent twice. What proves a
// second factor works once, so a page sends a form with it only once.
func (s *Pages) VisitorOfForm(w http.ResponseWriter, r *http.Request) (*Visitor, error) {
	v, err := s.visitorOrFormer(r)
	password := cmp.Or(r.PostForm.Get(ProofField), r.PostForm.Get("password"))
	if err != nil || !v.Row.Former || password == "" || s.identity.Reach(&v.User) != identity.LevelOne {
		return s.Visitor(r)
	}
	v, fault, _, err := s.StepUp(w, r, v, password)
	if err != nil {
		return nil, err
	}
	if !fault.IsZero() {
		return s.Visitor(r)
	}
	s.act(r, v)
	return v, nil
}

// act records the visitor as the actor, for the audit log, and writes the pages for them in their language.
func (s *Pages) act(r *http.Request, v *Visitor) {
	if v.SignedIn() {
		a := storage.ActorOf(r.Context())
		a.UserID, a.Credential = v.User.ID, "session"
		s.WriteFor(r, &v.User)
	}
}

// visitorOrFormer is Visitor, but accepts the former cookie of a session.
func (s *Pages) visitorOrFormer(r *http.Request) (*Visitor, error) {
	session, err := s.sessions.Get(r, s.sessions.name)
	if err != nil {
		return nil, err
	}
	v := &Visitor{session: session}
	v.Row, _ = session.Values[valueRow].(storage.Session)
	v.User, _ = session.Values[valueUser].(storage.User)
	return v, nil
}

// StartSession signs a user in who has proved who they are, and uses the proof up in the same transaction. A new
// session with a new cookie replaces the browser's old one, so that a cookie that was planted before the sign-in is
// useless.
func (s *Pages) StartSession(
	w http.ResponseWriter, r *http.Request, old *Visitor, proof *identity.Proof,
) (*Visitor, error) {
	user := proof.User
	// Emailed links and codes are counted where they are asked for, and a link from an operator always works.
	if !slices.Contains(proof.By, identity.ByEmail) && proof.Credential != "sign_in_link" {
		if err := s.management.TakeSignIn(r.Context(), user.ID); err != nil {
			return nil, err
		}
	}
	now, text := s.store.Now(), RandomText()
	row := storage.Session{
		ID: storage.NewID("session"), Digest: storage.Digest(text), UserID: user.ID, Data: "{}", AuthTime: now,
		AMR: storage.List(proof.By), ACR: proof.By.Level(),
		UserAgent: Clean(bearer.Redacted(r.UserAgent()), 300), Address: s.address(r).String(),
		CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(sessionAbsolute),
	}
	same := old.SignedIn() && old.User.ID == user.ID
	newDevice := !same && !user.SeenAt.IsZero() && !s.remembers(r, &user)
	values := map[string]string{}
	if newDevice {
		values[valueDevice] = "yes"
	}
	if same {
		// The user authenticated again: the session gets a new id, but does not last longer.
		row.CreatedAt, row.ExpiresAt = old.Row.CreatedAt, old.Row.ExpiresAt
	}
	err := s.openSession(w, r, proof, text, row.ExpiresAt.Sub(now), func(ctx context.Context) error {
		delete(values, valueOffer) // the transaction may run again
		if proof.OffersPasskey && s.identity.OffersPasskey(&user) {
			if offer, err := s.identity.OfferPasskey(ctx, &user); err != nil {
				return err
			} else if offer {
				values[valueOffer] = "passkey"
			}
		}
		data, err := json.Marshal(values)
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		row.Data = string(data)
		if newDevice {
			browser := BrowserName(row.UserAgent).String()
			if err := s.identity.NotifyNewDevice(ctx, &user, browser, row.Address); err != nil {
				return err
			}
		}
		return s.store.ReplaceSession(ctx, old.Row.ID, row)
	})
	if err != nil {
		return nil, err
	}
	s.remember(w, r, &user)
	session := sessions.NewSession(s.sessions, s.sessions.name)
	session.ID = row.ID
	session.Values[valueRow], session.Values[valueUser] = row, user
	for k, v := range values {
		session.Values[k] = v
	}
	s.WriteFor(r, &user)
	return &Visitor{session: session, Row: row, User: user}, nil
}

// Raise sets up a second factor of the user of a session, which taking the proof does, and records in the same
// transaction that they have just proved it too, so that they are not asked for it at once. They have proved recently
// who they are. It is not recorded as a sign-in.
func (s *Pages) Raise(w http.ResponseWriter, r *http.Request, v *Visitor, proof *identity.Proof) (*Visitor, error) {
	proof.Credential, proof.By = "", identity.Authentication(v.Row.AMR).And(proof.By...)
	v, err := s.renewSession(w, r, v, proof)
	if err != nil {
		return nil, err
	}
	user, err := s.store.UserByID(storage.System(r.Context()), v.User.ID)
	if err != nil {
		return nil, err
	}
	v.User = user
	v.session.Values[valueUser] = user
	return v, nil
}

// renewGrace is how long the former cookie is accepted after renewSession, in VisitorOfForm.
const renewGrace = time.Minute

// renewSession records that the user of a session has proved again who they are. The session stays, but gets a new
// cookie: a stolen one soon stops working, and never counts as fresh. The new cookie is derived from the old one, so
// that a form that is sent twice gets the same cookie in both responses; it does not matter which of them the browser
// keeps.
func (s *Pages) renewSession(
	w http.ResponseWriter, r *http.Request, v *Visitor, proof *identity.Proof,
) (*Visitor, error) {
	if err := s.management.TakeSignIn(r.Context(), v.User.ID); err != nil {
		return nil, err
	}
	before := r.CookiesNamed(s.sessions.name)[0].Value // Visitor found the session by it
	text := s.secrets.FormToken("session", v.Row.ID, before)
	now := s.store.Now()
	row := v.Row
	row.AuthTime, row.AMR, row.ACR = now, storage.List(proof.By), proof.By.Level()
	row.Digest, row.Former = storage.Digest(text), false
	err := s.openSession(w, r, proof, text, v.Row.ExpiresAt.Sub(now), func(ctx context.Context) error {
		err := s.store.RenewSession(ctx, row, storage.Digest(before), now.Add(renewGrace))
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("%w: the session was ended", storage.ErrConflict)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	v.Row = row
	v.session.Values[valueRow] = v.Row
	v.workspaces = nil // checking a password takes time; read the memberships again
	return v, nil
}

// openSession records in one transaction that a user has authenticated, uses the proof up, and makes the change to
// their sessions; then it sets the cookie. It fails if the password was changed since it was checked.
func (s *Pages) openSession(
	w http.ResponseWriter, r *http.Request, proof *identity.Proof, cookie string, lifetime time.Duration,
	change func(context.Context) error,
) error {
	user := proof.User
	err := s.store.InTx(storage.System(r.Context()), func(ctx context.Context) error {
		if err := s.store.LockPassword(ctx, user.ID, user.PasswordChangedAt); err != nil {
			return err
		}
		if err := proof.Take(ctx); err != nil {
			return err
		}
		if err := change(ctx); err != nil || proof.Credential == "" {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action: "login.succeeded", Actor: storage.Actor{UserID: user.ID, Credential: proof.Credential}, Target: user.ID,
			Detail: map[string]string{"amr": storage.List(proof.By).String()},
		}, user.ID)
	})
	if errors.Is(err, storage.ErrConflict) {
		return &Error{
			Status: http.StatusForbidden, Heading: locale.New("You are not signed in"),
			Message: locale.New("Your password was changed or your account was disabled while you were signing in. Sign in " +
				"again."),
			BackURL: "/login", BackText: locale.New("Sign in"), Cause: err,
		}
	}
	if err != nil {
		return fmt.Errorf("open the session: %w", err)
	}
	http.SetCookie(w, sessions.NewCookie(s.sessions.name, cookie, &sessions.Options{
		Path: "/", MaxAge: int(lifetime.Seconds()), Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}))
	s.SetCookie(w, "doorward-device", s.deviceMark(user), deviceLifetime)
	return nil
}

// EndSession signs the browser out.
func (s *Pages) EndSession(w http.ResponseWriter, r *http.Request, v *Visitor) error {
	if v.SignedIn() {
		err := s.identity.EndSession(r.Context(), v.User.ID, v.Row.ID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	http.SetCookie(w, sessions.NewCookie(s.sessions.name, "", &sessions.Options{
		Path: "/", MaxAge: -1, Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}))
	return nil
}
