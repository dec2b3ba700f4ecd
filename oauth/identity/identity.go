package identity

import (
	"errors"
	"net/netip"
	"net/url"
	"runtime"
	"time"

	"doorward/storage"
)

// Throttle limits wrong passwords by account and address; limit.SignIns is one. Reserve asks for one attempt, and
// one of the other three settles it.
type Throttle interface {
	Reserve(account string, address netip.Addr, knownDevice bool) (ok bool, retryAfter time.Duration)
	Succeed(account string, address netip.Addr, knownDevice bool)
	Fail(account string, address netip.Addr, knownDevice bool)
	Release(account string, address netip.Addr, knownDevice bool)
}

// Config is what a Service needs; all of it but Cost is required.
type Config struct {
	Store    *storage.Store
	Throttle Throttle
	Issuer   string // whose name no password may rest on
	//exhaustruct:optional // no server sets it
	Cost Cost // of new hashes
}

// Cost is the work of one hash by Argon2id (RFC 9106). The zero value is what protects passwords: 19 MiB and two
// passes. Tests that sign in a thousand times take less.
type Cost struct {
	Memory uint32 // in KiB, 8 or more
	Passes uint32
}

// Service tells who people are. Its methods are safe for use by many goroutines, and mark the context they are given
// as storage.System themselves. Errors of storage pass through wrapped: storage.ErrUnavailable is never a "no".
type Service struct {
	store    *storage.Store
	throttle Throttle
	hasher   hasher
	context  []string // words of the product and the issuer
}

// New makes a Service. It computes and reads nothing yet.
func New(c Config) *Service {
	cost := wanted
	if c.Cost != (Cost{}) {
		cost = params{memory: c.Cost.Memory, time: c.Cost.Passes, threads: 1}
	}
	s := &Service{
		store: c.Store, throttle: c.Throttle, hasher: newHasher(runtime.GOMAXPROCS(0), cost),
		context: []string{"doorward"},
	}
	if u, err := url.Parse(c.Issuer); err == nil {
		s.context = append(s.context, u.Hostname())
	}
	return s
}

var (
	// ErrWrong says that the password does not let this person in: the account is unknown, disabled or without a
	// password, or the password is another. The error and its timing do not tell which.
	ErrWrong = errors.New("the address or the password is wrong")
	// ErrBusy says that too many passwords are being checked; the answer to a caller is 503.
	ErrBusy = errors.New("too many passwords are being checked, try again in a moment")
	// ErrDisabled says that the user is disabled and cannot be let in.
	ErrDisabled = errors.New("the user is disabled; enable them first with doorward user enable")
	// ErrSetupToken says that a token is not, or no longer, the one that creates the first administrator.
	ErrSetupToken = errors.New("this set-up link is not valid any more: ask for a new one with doorward setup-link")
)

// Throttled says that too many attempts have failed. It is the same for accounts that do not exist.
type Throttled struct {
	RetryAfter time.Duration // always above zero
}

func (t *Throttled) Error() string {
	return "too many attempts have failed, try again in " + t.RetryAfter.Round(time.Second).String()
}

// Invalid says what is wrong with one thing that a person wrote. Several are joined with errors.Join.
type Invalid struct {
	Field   string // email, name or password
	Message string // one sentence for that person, which says what to do
	cause   error
}

func (i *Invalid) Error() string { return i.Field + ": " + i.Message }

// Unwrap gives the error of storage behind it, such as storage.ErrExists for an address that is taken.
func (i *Invalid) Unwrap() error { return i.cause }
