package web

import (
	"bytes"
	"context"
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

	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/templates"
)

// Pages is what every page needs. Other packages embed it beside what their own pages are about.
type Pages struct {
	store    *storage.Store
	oauth    *oauth.Server
	identity *identity.Service
	address  func(*http.Request) netip.Addr // where a request comes from
	secure   bool                           // the issuer is https: cookies are Secure
	sessions *sessionStore
}

// now is the server's clock, which tests move.
func (s *Pages) now() time.Time { return s.store.Now().Time() }

// maxForm bounds the body of a page's form; a sealed flow is part of some.
const maxForm = 64 << 10 // bytes

// pageHandler answers a page; an error becomes a page of its own.
type pageHandler func(w http.ResponseWriter, r *http.Request) error

// plainPage serves a page that needs nobody signed in.
func (s *Pages) plainPage(h pageHandler) http.Handler {
	return s.rawPage(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPost {
			if oauth.IsEncoded(r.Header) {
				return encodedBody(w)
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := parsePost(r); err != nil {
				return err
			}
		}
		return h(w, r)
	})
}

// rawPage is plainPage for a handler that reads the body itself.
func (s *Pages) rawPage(h pageHandler) http.Handler {
	return bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.writePageError(w, r, err)
		}
	}))
}

// encodedBody is what is said about a form that oauth.IsEncoded finds compressed.
func encodedBody(w http.ResponseWriter) *pageError {
	w.Header().Set("Accept-Encoding", "identity")
	return &pageError{Status: http.StatusUnsupportedMediaType, Heading: "That form cannot be read", Message: oauth.EncodedBody}
}

// parsePost reads a form, and nothing from the query.
func parsePost(r *http.Request) error {
	if contentType := r.Header.Get("Content-Type"); contentType != "" && !strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		return &pageError{Status: http.StatusBadRequest, Heading: "That form cannot be read", Message: "Go back, load the page again, and send the form from there."}
	}
	if err := r.ParseForm(); err != nil {
		e := &pageError{Status: http.StatusBadRequest, Heading: "That form cannot be read", Message: "Go back, load the page again, and send the form from there.", Cause: err}
		if p := asPageError(err); p.Status == http.StatusRequestEntityTooLarge {
			return p
		}
		return e
	}
	return nil
}

// memberPage serves a page to whoever is signed in; others are asked to sign in first and come back.
func (s *Pages) memberPage(h func(w http.ResponseWriter, r *http.Request, v *visitor) error) http.Handler {
	return s.plainPage(func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.visitorOfForm(w, r)
		if err != nil {
			return err
		}
		if v.signedIn() {
			return s.proven(w, r, v, h)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return &pageError{Status: http.StatusUnauthorized, Heading: "You are signed out", Message: "Nothing was changed. Sign in, then do it again.", BackURL: "/login", BackText: "Sign in"}
		}
		return redirect(w, "/login?return_to="+url.QueryEscape(r.URL.RequestURI()))
	})
}

// adminPage serves a page to administrators; to everybody else there is none.
func (s *Pages) adminPage(h func(w http.ResponseWriter, r *http.Request, v *visitor) error) http.Handler {
	return s.memberPage(func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		if !v.user.Admin {
			return notFound()
		}
		return h(w, r, v)
	})
}

// page is what all views have in common. A visitor of nil is nobody.
func (s *Pages) page(v *visitor, section string) templates.Page {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	p := templates.Page{Nonce: base64.RawStdEncoding.EncodeToString(b[:]), Now: s.now(), Section: section}
	if v != nil && v.signedIn() {
		p.Form = randomText()
		p.User = &templates.Viewer{Name: v.user.Name, Email: v.user.Email, Admin: v.user.Admin}
	}
	return p
}

// settingsPage is page with the notice that was kept for the visitor.
func (s *Pages) settingsPage(w http.ResponseWriter, r *http.Request, v *visitor, section string) (templates.Page, error) {
	p := s.page(v, section)
	notice, undo, err := s.takeNotice(w, r, v)
	if err != nil {
		return p, err
	}
	p.Notice, p.Undo = notice, undo
	return p, nil
}

// pageHeaders sets what every page is sent with. Answers to forms may lead to the targets, beside ourselves: browsers
// hold the redirect after a form to the policy of the page that had it.
func (s *Pages) pageHeaders(w http.ResponseWriter, nonce string, formTargets ...string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'nonce-"+nonce+"'; img-src 'self'; font-src 'self'; connect-src 'self'; form-action "+
		strings.Join(append([]string{"'self'"}, formTargets...), " ")+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self)")
	h.Set("Cache-Control", "no-store")
}

// challenge says beside a 401 on a page how to sign in: by a form, which has no scheme of its own (RFC 9110 section
// 15.5.2). Browsers ignore a scheme that they do not know.
func challenge(w http.ResponseWriter, status int) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Form realm="doorward", action="/login"`)
	}
}

// render answers with a page. It is made whole before the first byte goes out, so that a fault gives an error page,
// not half of one.
func (s *Pages) render(w http.ResponseWriter, r *http.Request, status int, nonce string, c templ.Component, formTargets ...string) error {
	var body bytes.Buffer
	if err := c.Render(r.Context(), &body); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	s.pageHeaders(w, nonce, formTargets...)
	if strings.HasPrefix(r.URL.Path, "/settings/") || strings.HasPrefix(r.URL.Path, "/admin/") || strings.HasPrefix(r.URL.Path, joinBase) {
		// Not on login and consent, which apps open in windows of their own and wait for.
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	challenge(w, status)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a browser that went away is no fault of ours
	return nil
}

// redirect sends the browser on after a form (RFC 9700 section 4.12: 303, so that no form is sent on).
func redirect(w http.ResponseWriter, to string) error {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// handling is how long a request may keep the database busy; what takes longer is answered with 503.
const handling = 8 * time.Second

// bounded ends a request that keeps the database busy for too long; the answer is then 503.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), handling)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// canonicalPath tells whether http.ServeMux would take the path as it is, instead of redirecting to a cleaner one.
func canonicalPath(u *url.URL) bool {
	p := u.Path
	if p == "" || p[0] != '/' || strings.ContainsAny(p, "\x00\\") {
		return false
	}
	if p == "/" {
		return true
	}
	return path.Clean(p) == strings.TrimSuffix(p, "/") && !strings.HasSuffix(p, "//")
}
