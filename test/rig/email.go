package rig

import (
	"net/url"
	"strings"
	"time"

	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/signin"
)

// WithEmail are options of a server that sends email and lets visitors sign up, sign in by link and reset passwords.
func WithEmail() Options {
	return Options{Emails: true, SignUp: signin.SignUpOpen}
}

// Email is an email that the server would send.
type Email struct {
	storage.Email
	seal.EmailSecrets
}

// Path is the path of the link, with its query; empty without one.
func (e Email) Path() string {
	u, err := url.Parse(e.URL)
	if err != nil || e.URL == "" {
		return ""
	}
	return u.RequestURI()
}

// Token is the secret in the link.
func (e Email) Token() string {
	_, token, _ := strings.Cut(e.URL, "?word=")
	return token
}

// Emails takes the emails that wait to be sent, in the order in which they were written.
func (r *Rig) Emails() (list []Email) {
	r.T.Helper()
	for {
		some, err := r.Store.ClaimEmails(r.System(), time.Hour, 100)
		r.ok(err)
		for _, e := range some {
			secrets, err := r.Secrets.OpenEmail(&e)
			r.ok(err)
			list = append(list, Email{e, secrets})
			r.ok(r.Store.FinishEmail(r.System(), e.ID, true))
		}
		if len(some) == 0 {
			return list
		}
	}
}

// Email takes the emails that wait to be sent, and returns the only one of a kind.
func (r *Rig) Email(kind string) Email {
	r.T.Helper()
	var found []Email
	var kinds []string
	for _, e := range r.Emails() {
		kinds = append(kinds, e.Kind+" to "+e.Recipient)
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		r.T.Fatalf("the emails are %q, want one of kind %s", kinds, kind)
	}
	return found[0]
}
