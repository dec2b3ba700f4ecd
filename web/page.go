package web

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"doorward/management"
	"doorward/oauth"
	"doorward/templates"
)

// maxForm bounds the body of a page's form; a sealed flow is part of some.
const maxForm = 64 << 10 // bytes

// pageHandler answers a page; an error becomes a page of its own.
type pageHandler func(w http.ResponseWriter, r *http.Request) error

// plainPage serves a page that needs nobody signed in.
func (s *Server) plainPage(h pageHandler) http.Handler {
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
func (s *Server) rawPage(h pageHandler) http.Handler {
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
func (s *Server) memberPage(h func(w http.ResponseWriter, r *http.Request, v *visitor) error) http.Handler {
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

// uncounted are the last words of the addresses of forms that management.Manager.TakeChange is not asked about: what ends
// something once and for good, or changes nothing; and the password, which TakeSignIn counts, so that programs that act
// for a person cannot keep them from changing it.
var uncounted = []string{"revoke", "delete", "remove", "withdraw", "leave", "end", "end-others", "end-all", "password", "search"}

// proven serves h. Where h answers oauth.ErrStale, having done nothing, it asks for the password and then serves h once
// more, so that every form that gives lasting power asks in the same way.
func (s *Server) proven(w http.ResponseWriter, r *http.Request, v *visitor, h memberHandler) error {
	if r.Method == http.MethodPost && !slices.Contains(uncounted, path.Base(r.URL.Path)) {
		if err := s.management.TakeChange(r.Context(), &management.Authority{UserID: v.user.ID}); err != nil {
			return err
		}
	}
	err := h(w, r, v)
	if !errors.Is(err, management.ErrStale) {
		return err
	}
	v, done, err := s.prove(w, r, v)
	if err != nil || done {
		return err
	}
	return h(w, r, v)
}

// proofField is the field of a form in which a person gives their password again.
const proofField = "current_password"

// prove makes a session fresh with the password that a form brings. Where it brings none, or a wrong one, prove answers
// with a page that asks for it and sends the form again (done); such forms may lead to the targets.
func (s *Server) prove(w http.ResponseWriter, r *http.Request, v *visitor, formTargets ...string) (_ *visitor, done bool, err error) {
	v, fault, status, err := s.stepUp(w, r, v, r.PostForm.Get(proofField))
	if err != nil || fault == "" {
		return v, false, err
	}
	view := templates.ProofView{Page: s.page(v, ""), Action: r.URL.Path, BackURL: safeReturn(path.Dir(r.URL.Path))}
	if r.PostForm.Get(proofField) != "" {
		view.Fault = fault
	}
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		for _, value := range r.PostForm[name] {
			if name != proofField {
				view.Fields = append(view.Fields, templates.FormField{Name: name, Value: value})
			}
		}
	}
	return v, true, s.render(w, r, status, view.Nonce, templates.ProofPage(view), formTargets...)
}

// adminPage serves a page to administrators; to everybody else there is none.
func (s *Server) adminPage(h func(w http.ResponseWriter, r *http.Request, v *visitor) error) http.Handler {
	return s.memberPage(func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		if !v.user.Admin {
			return notFound()
		}
		return h(w, r, v)
	})
}

// page is what all views have in common. A visitor of nil is nobody.
func (s *Server) page(v *visitor, section string) templates.Page {
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
func (s *Server) settingsPage(w http.ResponseWriter, r *http.Request, v *visitor, section string) (templates.Page, error) {
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
func (s *Server) pageHeaders(w http.ResponseWriter, nonce string, formTargets ...string) {
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
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, nonce string, c templ.Component, formTargets ...string) error {
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

const defaultPage = "/settings/profile"

// safeReturn is where to go on after signing in: a path of ours, else the settings. Anything that a browser could read
// as another host is refused, and so is what signing in makes no sense before.
func safeReturn(to string) string {
	if len(to) > 2000 || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == '\\' || r > '~' }) {
		return defaultPage
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || !canonicalPath(u) {
		return defaultPage
	}
	if !strings.HasPrefix(u.Path, "/settings/") && !strings.HasPrefix(u.Path, "/admin/") && !strings.HasPrefix(u.Path, joinBase) && u.Path != "/" {
		return defaultPage
	}
	return to
}
