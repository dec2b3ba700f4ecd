package rig

import (
	"regexp"
	"time"

	"doorward/mail"
)

// Mail returns the emails that the server would send now, and records that they were sent. Options.Emails must be set.
func (r *Rig) Mail() []mail.Message {
	r.T.Helper()
	due, err := r.Store.ClaimEmails(r.System(), time.Minute, 10_000)
	r.ok(err)
	var list []mail.Message
	for i := range due {
		m, err := r.outbox.Write(r.System(), &due[i])
		r.ok(err)
		r.ok(r.Store.FinishEmail(r.System(), due[i].ID, true))
		list = append(list, m)
	}
	return list
}

// emailLink matches the first link in the text of an email that leads to this server.
var emailLink = regexp.MustCompile(`https?://\S+`)

// Link returns the path and query of the link in an email; empty: there is none.
func (r *Rig) Link(m mail.Message) string {
	link := emailLink.FindString(m.Text)
	if len(link) < len(r.Issuer) || link[:len(r.Issuer)] != r.Issuer {
		return ""
	}
	return link[len(r.Issuer):]
}
