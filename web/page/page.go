package page

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/a-h/templ"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/identity"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/templates"
)

// Config holds what New needs. Every field is required.
type Config struct {
	Store         *storage.Store
	OAuth         *oauth.Server
	Management    *management.Manager
	APIKeys       *apikey.Keys
	Secrets       *seal.Secrets
	Identity      *identity.Service
	Languages     *locale.Set                    // of the pages
	Brand         templates.Brand                // of the pages; the zero value is the default look
	ClientAddress func(*http.Request) netip.Addr // the IP address of the client
	Secure        bool                           // the issuer is https: cookies are Secure
	Links         bool                           // users sign in with a link or code by email
	Providers     map[string]string              // names of the providers with which users sign in, by id
	LogoURL       func(address string) string    // the path at which this server serves the image at an address
}

// Pages is what every page needs. The handlers of other packages embed it.
type Pages struct {
	store      *storage.Store
	oauth      *oauth.Server
	management *management.Manager
	apikey     *apikey.Keys
	secrets    *seal.Secrets
	identity   *identity.Service
	languages  *locale.Set
	brand      templates.Brand
	address    func(*http.Request) netip.Addr
	secure     bool
	links      bool
	providers  map[string]string
	logoURL    func(address string) string
	sessions   *sessionStore
}

// New returns Pages.
func New(c Config) *Pages {
	return &Pages{
		store: c.Store, oauth: c.OAuth, management: c.Management, apikey: c.APIKeys, secrets: c.Secrets,
		identity: c.Identity, languages: c.Languages, brand: c.Brand, address: c.ClientAddress, secure: c.Secure,
		sessions: newSessionStore(c.Store, c.Secure), links: c.Links, providers: c.Providers,
		logoURL: c.LogoURL,
	}
}

// LogoURL returns the path of an app's logo on this server; empty: it has none.
func (s *Pages) LogoURL(c *storage.Client) string { return s.logoURL(c.LogoURI) }

// SessionCookie is the name of the session cookie.
func (s *Pages) SessionCookie() string { return s.sessions.name }

// SendsEmail reports whether the server sends email.
func (s *Pages) SendsEmail() bool { return s.identity.SendsEmail() }

// HasPassword reports whether a user can sign in with a password.
func (s *Pages) HasPassword(u *storage.User) bool { return s.TakesPasswords() && u.PasswordHash != "" }

// TakesPasswords reports whether users of this server sign in with passwords.
func (s *Pages) TakesPasswords() bool { return s.identity.TakesPasswords() }

// Languages lists the languages of the pages.
func (s *Pages) Languages() []*locale.Language { return s.languages.Languages() }

// Now is the server's clock, which tests move.
func (s *Pages) Now() time.Time { return s.store.Now().Time() }

// maxForm is the maximum size of a form's body. Some forms contain a sealed flow.
const maxForm = 64 << 10 // bytes

// Handler serves a page. If it returns an error, an error page is served.
type Handler func(w http.ResponseWriter, r *http.Request) error

// UserHandler is a Handler for a visitor who is signed in.
type UserHandler = func(w http.ResponseWriter, r *http.Request, v *Visitor) error

// ForAnyone serves a page that does not need a signed-in user.
func (s *Pages) ForAnyone(h Handler) http.Handler {
	return s.ForAnyoneRaw(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPost {
			if oauth.IsEncoded(r.Header) {
				return EncodedBody(w)
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := parsePost(r); err != nil {
				return err
			}
		}
		return h(w, r)
	})
}

// ForAnyoneRaw is ForAnyone for a handler that reads the body itself.
func (s *Pages) ForAnyoneRaw(h Handler) http.Handler {
	return Bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = s.localized(r)
		r = r.WithContext(oauth.WithVisitor(r.Context(), oauth.Visitor{
			Address: s.address(r),
			SignedIn: func() (bool, error) {
				v, err := s.Visitor(r)
				return v.SignedIn(), err
			},
		}))
		if err := h(w, r); err != nil {
			s.WriteError(w, r, err)
		}
	}))
}

// EncodedBody is the page for a form whose body is compressed, which oauth.IsEncoded reports.
func EncodedBody(w http.ResponseWriter) *Error {
	w.Header().Set("Accept-Encoding", "identity")
	return &Error{
		Status: http.StatusUnsupportedMediaType, Heading: locale.New("We couldn't read this form"),
		Message: locale.Text{Format: oauth.EncodedBody},
	}
}

// parsePost parses the form in the body.
func parsePost(r *http.Request) error {
	if contentType := r.Header.Get("Content-Type"); contentType != "" &&
		!strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		return &Error{
			Status: http.StatusBadRequest, Heading: locale.New("We couldn't read this form"),
			Message: locale.New("Go back, reload the page, and submit the form again."),
		}
	}
	if err := r.ParseForm(); err != nil {
		e := &Error{
			Status: http.StatusBadRequest, Heading: locale.New("We couldn't read this form"),
			Message: locale.New("Go back, reload the page, and submit the form again."), Cause: err,
		}
		if p := asPageError(err); p.Status == http.StatusRequestEntityTooLarge {
			return p
		}
		return e
	}
	return nil
}

// ForUsers serves a page to signed-in users. Other visitors are asked to sign in, and come back after that.
func (s *Pages) ForUsers(h UserHandler) http.Handler {
	return s.ForAnyone(func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.VisitorOfForm(w, r)
		if err != nil {
			return err
		}
		if v.SignedIn() {
			if err := s.locate(r, v); err != nil {
				return err
			}
			return s.proven(w, r, v, h)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return &Error{
				Status: http.StatusUnauthorized, Heading: locale.New("You are signed out"),
				Message: locale.New("Nothing was changed. Sign in and try again."), BackURL: "/login",
				BackText: locale.New("Sign in"),
			}
		}
		return Redirect(w, "/login?return_to="+url.QueryEscape(r.URL.RequestURI()))
	})
}

// ForAdministrators serves a page to administrators. For other users it does not exist.
func (s *Pages) ForAdministrators(h UserHandler) http.Handler {
	return s.ForUsers(func(w http.ResponseWriter, r *http.Request, v *Visitor) error {
		if !v.User.Admin {
			return NotFound()
		}
		return h(w, r, v)
	})
}

// NewPage returns what all views share. v may be nil for a page that does not say who is signed in.
func (s *Pages) NewPage(v *Visitor, section string) templates.Page {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	p := templates.Page{Nonce: base64.RawStdEncoding.EncodeToString(b[:]), Now: s.Now(), Section: section}
	if v != nil && v.SignedIn() {
		p.Form = RandomText()
		p.Navigation = v.nav
		p.User = &templates.Viewer{Name: v.User.Name, Email: v.User.Email, Admin: v.User.Admin}
	}
	return p
}

// PageWithNotice is NewPage with the notice that SetNotice stored for the visitor.
func (s *Pages) PageWithNotice(
	w http.ResponseWriter, r *http.Request, v *Visitor, section string,
) (templates.Page, error) {
	p := s.NewPage(v, section)
	notice, undo, err := s.takeNotice(w, r, v)
	if err != nil {
		return p, err
	}
	p.Notice, p.Undo = notice, undo
	p.OfferPasskey, err = s.takeOffer(w, r, v)
	return p, err
}

// pageHeaders sets the headers of every page. The responses to its forms may redirect to this server and to
// formTargets: browsers apply the policy of the page with the form to the redirects after it.
func (s *Pages) pageHeaders(w http.ResponseWriter, nonce string, formTargets ...string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'nonce-"+nonce+"'; img-src "+
		"'self'; font-src 'self'; connect-src 'self'; form-action "+
		strings.Join(append([]string{"'self'"}, formTargets...), " ")+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self)")
	h.Set("Cache-Control", "no-store")
}

// challenge sets WWW-Authenticate on a page with status 401 (RFC 9110, section 15.5.2). Signing in by a form has no
// registered scheme; browsers ignore unknown ones.
func challenge(w http.ResponseWriter, status int) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Form realm="doorward", action="/login"`)
	}
}

// Render answers with a page. It renders the whole page before it sends anything, so that an error leads to an error
// page instead of half a page.
func (s *Pages) Render(
	w http.ResponseWriter, r *http.Request, status int, nonce string, c templ.Component, formTargets ...string,
) error {
	var body bytes.Buffer
	if err := c.Render(r.Context(), &body); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	s.pageHeaders(w, nonce, formTargets...)
	if strings.HasPrefix(r.URL.Path, "/settings/") || strings.HasPrefix(r.URL.Path, "/admin/") ||
		strings.HasPrefix(r.URL.Path, JoinPath) {
		// Not on sign-in and consent pages: apps open them in a new window and wait for it.
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	challenge(w, status)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the browser may be gone
	return nil
}

// Redirect redirects the browser with status 303, so that it does not send a form again (RFC 9700, section 4.12).
func Redirect(w http.ResponseWriter, to string) error {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// CanonicalPath reports whether http.ServeMux would serve the path as it is, instead of redirecting to a clean one. A
// segment may contain percent-encoded slashes: the client id of an app with a metadata document is a URL.
func CanonicalPath(u *url.URL) bool {
	p := u.EscapedPath()
	if p == "" || p[0] != '/' || strings.ContainsAny(u.Path, "\x00\\") {
		return false
	}
	if p == "/" {
		return true
	}
	for segment := range strings.SplitSeq(p, "/") {
		if s, err := url.PathUnescape(segment); err != nil || s == "." || s == ".." {
			return false
		}
	}
	return path.Clean(p) == strings.TrimSuffix(p, "/") && !strings.HasSuffix(p, "//")
}
