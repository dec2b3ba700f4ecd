package templates

import (
	"context"
	"strings"
	"time"

	"doorward/locale"
)

// Email is what an email says, for both of its bodies.
type Email struct {
	Subject    string
	Heading    string
	Paragraphs []string
	// Code is a code to enter; empty: none.
	Code string
	// Button is the text of the link to URL; empty: none.
	Button, URL string
	// After are paragraphs below the button.
	After []string
}

// EmailView holds the values of an email. Which are set depends on its kind.
type EmailView struct {
	Now       time.Time
	Issuer    string // this server's URL
	Name      string // of the reader; empty if it is not known
	Recipient string
	URL, Code string
	ExpiresAt time.Time // of the link
	// Detail are further values, as storage.Email has them: "workspace", "inviter", "role", "key", "days", "address",
	// "browser", "place", "reason", and "path" and "at", which become the URL and At.
	Detail   map[string]string
	SignUp   bool          // visitors may create an account
	At       time.Time     // when what it is about happens or happened
	Duration time.Duration // of the link
}

// emailKinds are the emails that there are, by the Kind of storage.Email.
var emailKinds = map[string]func(ctx context.Context, v EmailView) Email{
	"sign_up":            signUpEmail,
	"sign_up_exists":     signUpExistsEmail,
	"sign_in":            signInEmail,
	"sign_in_unknown":    signInUnknownEmail,
	"disabled":           disabledEmail,
	"waiting":            waitingEmail,
	"reset":              resetEmail,
	"reset_unknown":      resetUnknownEmail,
	"address":            addressEmail,
	"address_taken":      addressTakenEmail,
	"address_changed":    addressChangedEmail,
	"new_device":         newDeviceEmail,
	"password_changed":   passwordChangedEmail,
	"password_removed":   passwordRemovedEmail,
	"methods_changed":    methodsChangedEmail,
	"second_factor":      secondFactorEmail,
	"account_deleted":    accountDeletedEmail,
	"account_invitation": accountInvitationEmail,
	"invitation":         invitationEmail,
	"key_expiring":       keyExpiringEmail,
	"key_revoked":        keyRevokedEmail,
	"approval_waiting":   approvalWaitingEmail,
	"approved":           approvedEmail,
	"refused":            refusedEmail,
	"link_created":       linkCreatedEmail,
	"test":               testEmail,
}

// NewEmail returns the text of an email in the language of the context; ok is false for a kind that does not exist.
func NewEmail(ctx context.Context, kind string, v EmailView) (e Email, ok bool) {
	write, ok := emailKinds[kind]
	if !ok {
		return e, false
	}
	return write(ctx, v), true
}

// ignoreEmail is the last paragraph of an email that the reader may not have asked for.
func ignoreEmail(ctx context.Context) string {
	return tr(ctx, "If you did not ask for this email, you can ignore it.")
}

// validFor says how long a link works, and that it works once.
func validFor(ctx context.Context, v EmailView) string {
	return tr(ctx, "The link works once, within %s.", locale.Span(v.Duration))
}

func signUpEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Confirm your email address for %s", brandName(ctx)),
		Heading:    tr(ctx, "Confirm your email address"),
		Paragraphs: []string{tr(ctx, "Enter this code in the browser where you signed up, or open the link.")},
		Code:       v.Code, Button: tr(ctx, "Confirm my address"), URL: v.URL,
		After: []string{tr(ctx, "The code and the link work once, within %s.", locale.Span(v.Duration)), ignoreEmail(ctx)},
	}
}

func signUpExistsEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Someone tried to sign up with your address"),
		Heading: tr(ctx, "You already have an account"),
		Paragraphs: []string{
			tr(ctx, "Someone, perhaps you, tried to create an account at %s with this address. You have one already.",
				brandName(ctx)),
			tr(ctx, "If it was you, sign in instead. If you have forgotten your password, choose a new one on the sign-in page."),
		},
		Button: tr(ctx, "Sign in"), URL: v.URL, After: []string{tr(ctx, "If it was not you, you can ignore this email.")},
	}
}

func signInEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Sign in to %s", brandName(ctx)),
		Heading:    tr(ctx, "Sign in to %s", brandName(ctx)),
		Paragraphs: []string{tr(ctx, "Enter this code in the browser where you asked for it, or open the link.")},
		Code:       v.Code, Button: tr(ctx, "Sign in"), URL: v.URL,
		After: []string{
			tr(ctx, "The code and the link work once, within %s.", locale.Span(v.Duration)),
			tr(ctx, "Never give the code to anyone: we do not ask for it."), ignoreEmail(ctx),
		},
	}
}

// unknownEmail is for an address without an account.
func unknownEmail(ctx context.Context, v EmailView, subject string) Email {
	e := Email{
		Subject: subject, Heading: tr(ctx, "There is no account with this address"),
		Paragraphs: []string{tr(ctx, "Someone, perhaps you, entered this address on the sign-in page of %s, but no account "+
			"has it.", brandName(ctx))},
		After: []string{tr(ctx, "If it was not you, you can ignore this email.")},
	}
	if v.SignUp {
		e.Paragraphs = append(e.Paragraphs, tr(ctx, "Perhaps you signed up with another address. You can also create an account."))
		e.Button, e.URL = tr(ctx, "Create an account"), v.URL
		return e
	}
	e.Paragraphs = append(e.Paragraphs, tr(ctx, "Perhaps you have an account with another address."))
	return e
}

func signInUnknownEmail(ctx context.Context, v EmailView) Email {
	return unknownEmail(ctx, v, tr(ctx, "Sign in to %s", brandName(ctx)))
}

func disabledEmail(ctx context.Context, _ EmailView) Email {
	return Email{
		Subject: tr(ctx, "Your account at %s is disabled", brandName(ctx)),
		Heading: tr(ctx, "Your account is disabled"),
		Paragraphs: []string{tr(ctx, "Someone, perhaps you, entered this address on the sign-in page. An administrator has "+
			"disabled the account, so it cannot be used.")},
	}
}

func waitingEmail(ctx context.Context, _ EmailView) Email {
	return Email{
		Subject: tr(ctx, "Your account at %s waits for approval", brandName(ctx)),
		Heading: tr(ctx, "Your account waits for approval"),
		Paragraphs: []string{tr(ctx, "You can sign in once an administrator has approved your account. We will send you an "+
			"email then.")},
	}
}

func resetEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Reset your password for %s", brandName(ctx)),
		Heading:    tr(ctx, "Choose a new password"),
		Paragraphs: []string{tr(ctx, "Open the link to choose a new password for the account %s.", v.Recipient)},
		Button:     tr(ctx, "Choose a new password"), URL: v.URL,
		After: []string{validFor(ctx, v), tr(ctx, "If you did not ask for this email, ignore it: your password stays as it is.")},
	}
}

func resetUnknownEmail(ctx context.Context, v EmailView) Email {
	return unknownEmail(ctx, v, tr(ctx, "Reset your password for %s", brandName(ctx)))
}

func addressEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Confirm your new email address for %s", brandName(ctx)),
		Heading: tr(ctx, "Confirm your new email address"),
		Paragraphs: []string{tr(ctx, "Open the link to use this address for your account, which now has the address %s.",
			v.Detail["address"])},
		Button: tr(ctx, "Use this address"), URL: v.URL, After: []string{validFor(ctx, v), ignoreEmail(ctx)},
	}
}

func addressTakenEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Confirm your new email address for %s", brandName(ctx)),
		Heading: tr(ctx, "This address already has an account"),
		Paragraphs: []string{tr(ctx, "Someone, perhaps you, wanted to use this address for another account at %s. An address "+
			"can have one account only, so nothing was changed.", brandName(ctx))},
		After: []string{tr(ctx, "If it was not you, you can ignore this email.")},
	}
}

func addressChangedEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Your email address for %s was changed", brandName(ctx)),
		Heading: tr(ctx, "Your email address was changed"),
		Paragraphs: []string{
			tr(ctx, "Your account now has the address %s. Emails no longer come to this one.", v.Detail["address"]),
			tr(ctx, "If this was not you, undo the change: you get this address back, every browser is signed out, and you "+
				"choose a new password."),
		},
		Button: tr(ctx, "Undo the change"), URL: v.URL,
		After: []string{tr(ctx, "The link works until %s.", locale.Moment(v.ExpiresAt))},
	}
}

func newDeviceEmail(ctx context.Context, v EmailView) Email {
	where := tr(ctx, "an unknown browser")
	if v.Detail["browser"] != "" {
		where = v.Detail["browser"]
	}
	return Email{
		Subject: tr(ctx, "New sign-in to your account at %s", brandName(ctx)),
		Heading: tr(ctx, "New sign-in"),
		Paragraphs: []string{
			tr(ctx, "Your account was used in a browser that we have not seen before: %s, from %s, on %s.", where,
				v.Detail["place"], locale.Moment(v.At)),
			tr(ctx, "If this was you, there is nothing to do. If not, change your password and sign out the other browsers."),
		},
		Button: tr(ctx, "See your sessions"), URL: v.Issuer + "/settings/security",
	}
}

func passwordChangedEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Your password for %s was changed", brandName(ctx)),
		Heading: tr(ctx, "Your password was changed"),
		Paragraphs: []string{
			tr(ctx, "The password of your account was changed on %s, and your other browsers were signed out.",
				locale.Moment(v.At)),
			tr(ctx, "If this was not you, choose a new password now."),
		},
		Button: tr(ctx, "Choose a new password"), URL: v.Issuer + "/forgot",
	}
}

func passwordRemovedEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Your password for %s was removed", brandName(ctx)),
		Heading: tr(ctx, "Your password was removed"),
		Paragraphs: []string{tr(ctx, "An administrator removed the password of your account on %s, and your browsers were "+
			"signed out. You can choose a new one.", locale.Moment(v.At))},
		Button: tr(ctx, "Choose a new password"), URL: v.Issuer + "/forgot",
	}
}

// methodChanges say what was changed, by the "change" in the detail of an email.
var methodChanges = map[string]locale.Text{
	"user.password_removed":   locale.New("The password of your account was removed on %s."),
	"passkey.added":           locale.New("A passkey was added to your account on %s."),
	"passkey.removed":         locale.New("A passkey was removed from your account on %s."),
	"totp.enabled":            locale.New("An authenticator app was set up for your account on %s."),
	"totp.disabled":           locale.New("The authenticator app of your account was removed on %s."),
	"recovery_codes.replaced": locale.New("New recovery codes were created for your account on %s. Earlier ones do not work."),
	"recovery_codes.deleted":  locale.New("The recovery codes of your account were deleted on %s."),
	"recovery_codes.used":     locale.New("A recovery code of your account was used on %s to sign in or to confirm an action."),
	"provider.connected":      locale.New("An account at another provider was connected to your account on %s."),
	"provider.disconnected":   locale.New("An account at another provider was disconnected from your account on %s."),
}

func methodsChangedEmail(ctx context.Context, v EmailView) Email {
	what := methodChanges[v.Detail["change"]]
	what.Args = []any{locale.Moment(v.At)}
	e := Email{
		Subject: tr(ctx, "How you sign in to %s was changed", brandName(ctx)),
		Heading: tr(ctx, "How you sign in was changed"), Paragraphs: []string{of(ctx, what)},
		Button: tr(ctx, "See your sign-in methods"), URL: v.Issuer + "/settings/security",
		After: []string{tr(ctx, "If this was not you, remove what you do not know there, and sign out all browsers.")},
	}
	if v.Detail["change"] == "recovery_codes.used" {
		e.Subject, e.Heading = tr(ctx, "A recovery code for %s was used", brandName(ctx)), tr(ctx, "A recovery code was used")
	}
	if name := v.Detail["name"]; name != "" {
		e.Paragraphs = append(e.Paragraphs, tr(ctx, "Its name is %s.", name))
	}
	return e
}

func secondFactorEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Your code for %s", brandName(ctx)),
		Heading:    tr(ctx, "Set up a second factor"),
		Paragraphs: []string{tr(ctx, "Enter this code in the browser where you are signing in.")},
		Code:       v.Code,
		After: []string{
			tr(ctx, "The code works once, within %s.", locale.Span(v.Duration)),
			tr(ctx, "Never give the code to anyone: we do not ask for it."),
			tr(ctx, "If you are not signing in now, someone knows your password: choose a new one."),
		},
	}
}

func accountDeletedEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "Your account at %s was deleted", brandName(ctx)),
		Heading: tr(ctx, "Your account was deleted"),
		Paragraphs: []string{tr(ctx, "Your account and all that belonged to it were deleted on %s. This cannot be undone.",
			locale.Moment(v.At))},
	}
}

func accountInvitationEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Your account at %s", brandName(ctx)),
		Heading:    tr(ctx, "Welcome to %s", brandName(ctx)),
		Paragraphs: []string{tr(ctx, "An administrator invited you. Open the link to set up your account.")},
		Button:     tr(ctx, "Set up my account"), URL: v.URL,
		After: []string{tr(ctx, "The link works until %s.", locale.Moment(v.ExpiresAt))},
	}
}

func invitationEmail(ctx context.Context, v EmailView) Email {
	e := Email{
		Subject: tr(ctx, "Invitation to %s at %s", v.Detail["workspace"], brandName(ctx)),
		Heading: tr(ctx, "Join %s", v.Detail["workspace"]),
		Button:  tr(ctx, "See the invitation"), URL: v.URL,
		After: []string{
			tr(ctx, "The link works until %s, for the address %s only.", locale.Moment(v.ExpiresAt), v.Recipient),
			tr(ctx, "If you do not know the workspace, you can ignore this email."),
		},
	}
	if inviter := v.Detail["inviter"]; inviter != "" {
		e.Paragraphs = []string{tr(ctx, "%s invited you to the workspace %s at %s.", inviter, v.Detail["workspace"],
			brandName(ctx))}
	} else {
		e.Paragraphs = []string{tr(ctx, "You are invited to the workspace %s at %s.", v.Detail["workspace"], brandName(ctx))}
	}
	return e
}

func keyExpiringEmail(ctx context.Context, v EmailView) Email {
	name := v.Detail["key"]
	e := Email{
		Subject: tr(ctx, "API key “%s” expires soon", name),
		Heading: tr(ctx, "An API key expires soon"),
		Paragraphs: []string{
			tr(ctx, "The API key “%s” of the workspace %s expires on %s. After that, programs that use it are refused.", name,
				v.Detail["workspace"], locale.Moment(v.At)),
			tr(ctx, "Rotate it before then: the old key keeps working for a while beside the new one."),
		},
		Button: tr(ctx, "See the API key"), URL: v.URL,
	}
	if v.Detail["workspace"] == "" {
		e.Subject = tr(ctx, "Personal access token “%s” expires soon", name)
		e.Heading = tr(ctx, "A personal access token expires soon")
		e.Paragraphs = []string{tr(ctx, "Your personal access token “%s” expires on %s. After that, programs that use it are "+
			"refused. Create a new one before then.", name, locale.Moment(v.At))}
		e.Button = tr(ctx, "See your tokens")
	}
	return e
}

func keyRevokedEmail(ctx context.Context, v EmailView) Email {
	e := Email{
		Subject: tr(ctx, "API key “%s” was revoked", v.Detail["key"]),
		Heading: tr(ctx, "An API key was revoked"),
		Paragraphs: []string{tr(ctx, "The API key “%s” of the workspace %s was revoked on %s. Programs that use it are refused.",
			v.Detail["key"], v.Detail["workspace"], locale.Moment(v.At))},
		Button: tr(ctx, "See the API keys"), URL: v.URL,
	}
	if v.Detail["reason"] == "leaked" {
		e.Paragraphs = append(e.Paragraphs, tr(ctx, "Someone who had the key revoked it, without signing in. If that was "+
			"not one of you, others know the key: check what was done with it, and create a new one."))
	}
	return e
}

func approvalWaitingEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "New accounts at %s wait for approval", brandName(ctx)),
		Heading:    tr(ctx, "New accounts wait for approval"),
		Paragraphs: []string{tr(ctx, "People have signed up and cannot sign in until an administrator approves them.")},
		Button:     tr(ctx, "See who is waiting"), URL: v.Issuer + "/admin/users?filter=waiting",
	}
}

func approvedEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Your account at %s is ready", brandName(ctx)),
		Heading:    tr(ctx, "Your account is ready"),
		Paragraphs: []string{tr(ctx, "An administrator approved your account. You can sign in now.")},
		Button:     tr(ctx, "Sign in"), URL: v.Issuer + "/login",
	}
}

func refusedEmail(ctx context.Context, _ EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Your account at %s was not approved", brandName(ctx)),
		Heading:    tr(ctx, "Your account was not approved"),
		Paragraphs: []string{tr(ctx, "An administrator did not approve your account, and it was deleted.")},
	}
}

func linkCreatedEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject: tr(ctx, "A sign-in link for your account at %s was created", brandName(ctx)),
		Heading: tr(ctx, "A sign-in link was created"),
		Paragraphs: []string{tr(ctx, "An operator of the server created a link on %s with which one can sign in to your account "+
			"once, without your password. If you do not know why, ask them.", locale.Moment(v.At))},
		Button: tr(ctx, "See your sessions"), URL: v.Issuer + "/settings/security",
	}
}

func testEmail(ctx context.Context, v EmailView) Email {
	return Email{
		Subject:    tr(ctx, "Test email from %s", brandName(ctx)),
		Heading:    tr(ctx, "Email works"),
		Paragraphs: []string{tr(ctx, "This is the test email that %s was asked to send on %s.", "doorward check --mail-to", locale.Moment(v.Now))},
	}
}

// PlainText returns the email's body as text.
func (e Email) PlainText(ctx context.Context) string {
	var b strings.Builder
	add := func(text string) {
		if text != "" {
			b.WriteString(text + "\n\n")
		}
	}
	add(e.Heading)
	for _, p := range e.Paragraphs {
		add(p)
	}
	add(when(e.Code != "", "    "+e.Code))
	if e.URL != "" {
		add(e.Button + ":\n" + e.URL)
	}
	for _, p := range e.After {
		add(p)
	}
	b.WriteString("-- \n" + brandName(ctx) + "\n")
	if look := brandOf(ctx); look.SupportURL != "" {
		b.WriteString(tr(ctx, "Help: %s", look.supportName()) + "\n")
	}
	return b.String()
}
