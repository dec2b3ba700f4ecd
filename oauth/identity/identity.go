package identity

import (
	"cmp"
	"errors"
	"net/netip"
	"net/url"
	"runtime"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"doorward/locale"
	"doorward/oauth/seal"
	"doorward/storage"
)

// Throttle limits wrong passwords and codes by account and address; limit.SignIns implements it. Reserve asks for one
// attempt, and one of the other three settles it.
type Throttle interface {
	Reserve(account string, address netip.Addr, knownDevice bool) (ok bool, retryAfter time.Duration)
	Succeed(account string, address netip.Addr, knownDevice bool)
	Fail(account string, address netip.Addr, knownDevice bool)
	Release(account string, address netip.Addr, knownDevice bool)
}

// Config holds what a Service needs; fields are required unless they are marked as optional.
type Config struct {
	Store    *storage.Store
	Throttle Throttle
	Issuer   string // passwords must not be derived from its name, and links in emails begin with it
	//exhaustruct:optional
	Product string // the name that pages carry: passwords must not be derived from it either; empty: Doorward
	// Secrets seal the links and codes in emails. Only a Service that sends some needs it.
	//exhaustruct:optional
	Secrets *seal.Secrets
	// Emails are the rules about email; the zero value: the server sends none.
	//exhaustruct:optional
	Emails Emails
	//exhaustruct:optional
	NoPasswords bool // users do not sign in with passwords
	//exhaustruct:optional
	Passkeys Passkeys // where passkeys work
	//exhaustruct:optional
	Providers []*Provider // with which users sign in
	// SecondFactor is one of the policies about a second factor; empty: SecondFactorOptional.
	//exhaustruct:optional
	SecondFactor string
	//exhaustruct:optional // no server sets it
	Cost Cost // of new hashes
}

// Emails are the rules about the emails that visitors cause, and about sign-up.
type Emails struct {
	Enabled bool  // the server sends email
	Links   bool  // users sign in with a link or code by email
	Hourly  int64 // to addresses without an account
	// Allows reports whether an address may sign up; nil: every address may.
	Allows func(email string) bool
	// Approval says that an administrator approves each account that a visitor creates.
	Approval bool
}

// Cost is the work of one hash by Argon2id (RFC 9106). The zero value is the cost that protects passwords: 19 MiB and
// two passes. Tests that sign in a thousand times use less.
type Cost struct {
	Memory uint32 // in KiB, 8 or more
	Passes uint32
}

// Service manages users and signs them in. Its methods are safe for concurrent use, and mark their context as
// storage.System themselves. Errors of storage are returned wrapped: storage.ErrUnavailable is never a refusal.
type Service struct {
	store    *storage.Store
	throttle Throttle
	hasher   hasher
	context  []string // words of the product and the issuer
	issuer   string
	secrets  *seal.Secrets
	hourly   int64
	allows   func(email string) bool
	approval bool
	sends    bool

	noPasswords  bool
	product      string
	passkeys     *webauthn.WebAuthn // nil: there are none
	secondFactor string
	links        bool
	providers    []*Provider
}

// New returns a Service. It computes and reads nothing yet. It panics if the Passkeys do not fit together, which the
// check of a configuration finds before.
func New(c Config) *Service {
	product := cmp.Or(c.Product, "Doorward")
	c.Passkeys.Name = cmp.Or(c.Passkeys.Name, product)
	passkeys, err := newPasskeys(c.Passkeys)
	if err != nil {
		panic(err)
	}
	cost := wanted
	if c.Cost != (Cost{}) {
		cost = params{memory: c.Cost.Memory, time: c.Cost.Passes, threads: 1}
	}
	s := &Service{
		store: c.Store, throttle: c.Throttle, hasher: newHasher(runtime.GOMAXPROCS(0), cost),
		context: []string{"doorward", c.Product}, issuer: c.Issuer, secrets: c.Secrets, hourly: c.Emails.Hourly,
		allows: c.Emails.Allows, approval: c.Emails.Approval,
		sends: c.Emails.Enabled, noPasswords: c.NoPasswords, product: product, passkeys: passkeys,
		secondFactor: c.SecondFactor, links: c.Emails.Links, providers: c.Providers,
	}
	if s.allows == nil {
		s.allows = func(string) bool { return true }
	}
	if u, err := url.Parse(c.Issuer); err == nil {
		s.context = append(s.context, u.Hostname())
	}
	return s
}

var (
	// ErrWrong means that the address and the password do not sign in a user: the account is unknown, disabled or without
	// a password, or the password is wrong. Neither the error nor its timing reveals which.
	ErrWrong = errors.New("the address or the password is wrong")
	// ErrBusy means that so many passwords are being checked that this one would wait for more than two seconds; answer
	// with 429.
	ErrBusy = errors.New("too many passwords are being checked; try again in a moment")
	// ErrDisabled means that the user is disabled and cannot sign in.
	ErrDisabled = errors.New("the user is disabled; enable them first with doorward user enable")
	// ErrNotAdministrator means that a sign-in link was asked for a user who is not an administrator of the server.
	ErrNotAdministrator = errors.New("the user is not an administrator, and there are sign-in links for administrators " +
		"only; send the user a reset email, or set a password with doorward user password")
	// ErrSetupToken means that a token cannot create the first administrator: it is wrong, was replaced, or there is a
	// user already.
	ErrSetupToken = errors.New("this setup link is no longer valid; create a new one with doorward setup-link")
)

// Throttled means that too many attempts have failed. It is the same for accounts that do not exist.
type Throttled struct {
	RetryAfter time.Duration // always above zero
}

// Error implements error.
func (t *Throttled) Error() string {
	return "too many attempts have failed; try again in " + t.RetryAfter.Round(time.Second).String()
}

// Invalid says what is wrong with one field of a user. Several are joined with errors.Join.
type Invalid struct {
	Field   string      // email, name or password
	Message locale.Text // a sentence for the user, which says what to do
	cause   error
}

// Error implements error.
func (i *Invalid) Error() string { return i.Field + ": " + i.Message.String() }

// Unwrap returns the error of storage that caused it, such as storage.ErrExists for an address that is taken.
func (i *Invalid) Unwrap() error { return i.cause }

// addressTaken is the error for an address that has an account.
func addressTaken() *Invalid {
	return &Invalid{
		Field: "email", Message: locale.New("There is an account with this address already."), cause: storage.ErrExists,
	}
}
