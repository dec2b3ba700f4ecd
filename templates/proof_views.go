package templates

import "doorward/locale"

// ProofView asks for a proof of who the user is before an action that needs a recent sign-in. With the password, it
// posts the form that was sent, with the field current_password added, to Action.
type ProofView struct {
	Page
	Action  string // the path that the form was sent to
	Fields  []FormField
	Fault   locale.Text // what is wrong with the password; empty: not entered yet
	BackURL string
	// Password says that the user has a password, and AgainURL leads to the sign-in page; empty: it is not offered.
	Password bool
	AgainURL string
	// Two says that the user proves a second factor too: by a Passkey, or by the password and a code of an authenticator
	// app or a recovery code, if Code is set.
	Two     bool
	Code    bool
	App     bool // the user has an authenticator app
	Passkey PasskeyForm
}

// FormField is a field of the form that was sent.
type FormField struct{ Name, Value string }
