package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/seal"
	"doorward/storage"
)

// How long the links and codes in emails work.
const (
	SignInLifetime = 15 * time.Minute
	SignUpLifetime = time.Hour
	ResetLifetime  = time.Hour
	// InvitationLifetime is that of the link with which an administrator invites a user to set up an account.
	InvitationLifetime = 7 * 24 * time.Hour
	// UndoLifetime is how long a change of address can be undone from the address before.
	UndoLifetime = 7 * 24 * time.Hour
	// ProviderLifetime is how long a sign-in at another provider may take.
	ProviderLifetime = 10 * time.Minute
)

// Bounds on the emails that visitors cause. Beyond them the answer stays the same, and no email is sent.
const (
	emailsPerAddress  = 3 // of one kind to one email address
	addressWindow     = 15 * time.Minute
	emailsPerNetwork  = 20 // from one IP address, or the /64 of an IPv6 address
	signUpsPerNetwork = 5
	networkWindow     = time.Hour
	// addressChanges is how often a user may ask for a change of address in networkWindow: each may go to another reader.
	addressChanges = 10
	// wrongCodes in codesWindow end the codes of an account: its emails then contain links only. They also end its
	// one-time passwords for that time.
	wrongCodes  = 10
	codesWindow = 24 * time.Hour
)

// Asker is the browser of a visitor who asks for an email.
type Asker struct {
	Address netip.Addr // of the user's machine, behind any proxy
	// Network is the key under which the address is counted (limit.AddressKey).
	Network string
	// Browser is the value of a cookie that binds the code to the browser, and by which the browser is told what became
	// of the link.
	Browser string
	// KnownDevice says that this browser has signed in to the account before. What it asks for is not counted under its
	// network.
	KnownDevice bool
	// Continue is where the browser goes on after the link or code: values of the web package, which only this browser
	// gets back.
	Continue map[string]string
}

// ErrNotSent means that an email was not sent because a bound was reached. The page must not show it.
var ErrNotSent = errors.New("too many emails were asked for")

// ask sends an email to an address: one of the kind that choose returns, with a link and a code if choose says so. It
// does the same work for every address, with or without an account, so that neither the answer nor its timing reveals
// which: the same statements, and two rows, also if no link leads to the proof.
func (s *Service) ask(ctx context.Context, kind, email string, a Asker, lifetime time.Duration, path string,
	choose func(user storage.User, exists bool) (email string, hasLink, hasCode bool),
) error {
	ctx = storage.System(ctx)
	email, err := checkEmail(email)
	if err != nil {
		return err
	}
	key := storage.EmailKey(email)
	return s.store.InTx(ctx, func(ctx context.Context) error {
		user, err := s.store.UserByEmail(ctx, email)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("look up the user: %w", err)
		}
		exists := err == nil
		held, err := s.store.AddressHeld(ctx, email, user.ID)
		if err != nil {
			return err
		}
		allowed, err := s.mayEmail(ctx, kind, key, a, exists)
		if err != nil {
			return err
		}
		if !allowed {
			return ErrNotSent
		}
		which, hasLink, hasCode := choose(user, exists || held)
		// Codes of an account that were tried too often are left out; its links still work.
		tried, err := s.store.EmailCount(ctx, "wrong codes "+key, codesWindow)
		if err != nil {
			return err
		}
		token, code, secrets := newToken(), newCode(), seal.EmailSecrets{}
		proof := storage.EmailProof{
			ID: storage.NewID("proof"), Kind: kind, Subject: key, Digest: storage.Digest(token), UserID: user.ID, Email: email,
			Browser: storage.Digest(a.Browser), Detail: a.Continue, ExpiresAt: s.store.Now().Add(lifetime),
		}
		hash := s.codeHash(proof.ID, code) // also if it is not sent, since it takes time
		if hasLink {
			secrets.URL = s.issuer + path + token
		}
		if hasCode && tried < wrongCodes {
			secrets.Code, proof.Code = spaced(code), hash
		}
		if err := s.store.InsertEmailProof(ctx, proof); err != nil {
			return err
		}
		e := s.secrets.NewEmail(ctx, which, &user, email, seal.EmailSecrets{}, nil, proof.ExpiresAt)
		s.secrets.SealEmail(&e, secrets) // also if there are none
		return s.store.InsertEmail(ctx, e)
	})
}

// emailBound allows as many emails as limit within the time per, counted under key.
type emailBound struct {
	key   string
	limit int64
	per   time.Duration
}

// mayEmail counts an email that a visitor asks for, under each bound. The same statements run for every address.
func (s *Service) mayEmail(ctx context.Context, kind, key string, a Asker, exists bool) (bool, error) {
	known, unlimited := "known", int64(1)<<40
	hourly := unlimited
	if !exists {
		known, hourly = "unknown", s.hourly
	}
	network := int64(emailsPerNetwork)
	if a.KnownDevice {
		network = unlimited
	}
	bounds := []emailBound{
		{"address " + kind + " " + key, emailsPerAddress, addressWindow},
		{"network " + a.Network, network, networkWindow},
		{known, hourly, time.Hour},
	}
	if kind == storage.ProofSignUp {
		bounds = append(bounds, emailBound{"sign-ups " + a.Network, signUpsPerNetwork, networkWindow})
	}
	return s.countEmail(ctx, bounds...)
}

// countEmail counts an email under each bound, until one is reached.
func (s *Service) countEmail(ctx context.Context, bounds ...emailBound) (allowed bool, err error) {
	for _, b := range bounds {
		if allowed, err = s.store.CountEmail(ctx, b.key, b.limit, b.per); err != nil || !allowed {
			return false, err
		}
	}
	return true, nil
}

// AskSignIn sends a link and a code to sign in. Errors are *Invalid for an address that is not one, and ErrNotSent.
func (s *Service) AskSignIn(ctx context.Context, email string, a Asker) error {
	return s.ask(ctx, storage.ProofSignIn, email, a, SignInLifetime, "/login/link?word=",
		func(u storage.User, _ bool) (string, bool, bool) {
			if why := cannotUse(&u, "sign_in_unknown"); why != "" {
				return why, false, false
			}
			return "sign_in", true, true
		})
}

// cannotUse returns the kind of the email that says why an account cannot be used, unknown if there is none; empty: it
// can be used.
func cannotUse(u *storage.User, unknown string) string {
	switch {
	case u.ID == "":
		return unknown
	case !u.WaitingSince.IsZero():
		return "waiting"
	case !u.DisabledAt.IsZero():
		return "disabled"
	}
	return ""
}

// AskSignUp sends a link and a code that prove an address, so that an account can be created for it. An address that
// has an account gets an email that says so. Errors are *Invalid, also for a domain that may not sign up, and
// ErrNotSent.
func (s *Service) AskSignUp(ctx context.Context, email string, a Asker) error {
	if checked, err := checkEmail(email); err == nil {
		if err := s.maySignUp(checked); err != nil {
			return err
		}
	}
	return s.ask(ctx, storage.ProofSignUp, email, a, SignUpLifetime, "/signup/link?word=",
		func(_ storage.User, exists bool) (string, bool, bool) {
			if exists {
				return "sign_up_exists", false, false
			}
			return "sign_up", true, true
		})
}

// maySignUp returns an error unless an address is at a domain whose addresses may sign up.
func (s *Service) maySignUp(email string) error {
	if s.allows(email) {
		return nil
	}
	return &Invalid{Field: "email", Message: locale.New("Addresses of this domain cannot create an account here.")}
}

// AskReset sends a link to choose a new password. Errors are *Invalid for an address that is not one, and ErrNotSent.
func (s *Service) AskReset(ctx context.Context, email string, a Asker) error {
	return s.ask(ctx, storage.ProofReset, email, a, ResetLifetime, "/reset?word=",
		func(u storage.User, _ bool) (string, bool, bool) {
			if why := cannotUse(&u, "reset_unknown"); why != "" {
				return why, false, false
			}
			return "reset", true, false
		})
}

// newToken returns the token of a link: 256 random bits.
func newToken() string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random(32)))
}

// codeDigits is the length of a code.
const codeDigits = 8

// newCode returns a code of eight random digits.
func newCode() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(100_000_000)) // never fails
	return fmt.Sprintf("%0*d", codeDigits, n)
}

// spaced writes a code in two groups, which are easier to read and to type.
func spaced(code string) string { return code[:codeDigits/2] + " " + code[codeDigits/2:] }

// codeHash is what is stored of a code. A code has too few digits for a plain digest.
func (s *Service) codeHash(proofID, code string) string {
	return s.secrets.FormToken("email code", proofID, code)
}

// ErrWrongCode means that a one-time password or recovery code is wrong, or that a code from an email does not work: it
// is wrong, was used, has expired, was replaced by a newer one, or was asked for in another browser. Neither the error
// nor its timing reveals which.
var ErrWrongCode = errors.New("the code is wrong or no longer works")

// CheckCode finds the proof whose code a visitor entered in the browser that asked for it. Every try counts, before it
// is compared; after the fifth the code is dead. A wrong one also counts as a failed sign-in. Errors are ErrWrongCode
// and *Throttled.
func (s *Service) CheckCode(ctx context.Context, kind, code string, a Asker) (storage.EmailProof, error) {
	ctx = storage.System(ctx)
	proof, err := s.store.EmailProofOfBrowser(ctx, kind, storage.Digest(a.Browser))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return proof, fmt.Errorf("look up the code: %w", err)
	}
	account := storage.EmailKey(proof.Email)
	ok, retryAfter := s.throttle.Reserve(account, a.Address, a.KnownDevice)
	if !ok {
		return proof, &Throttled{RetryAfter: retryAfter}
	}
	settle := s.throttle.Release
	defer func() { settle(account, a.Address, a.KnownDevice) }()
	code = typed(code)
	want, err := s.store.TakeCodeTry(ctx, proof.ID)
	if err != nil {
		return proof, fmt.Errorf("count a try of the code: %w", err)
	}
	if len(code) != codeDigits || want == "" || !s.secrets.FormTokenFits(want, "email code", proof.ID, code) {
		settle = s.throttle.Fail
		if proof.ID != "" {
			if _, err := s.store.CountEmail(ctx, "wrong codes "+account, wrongCodes, codesWindow); err != nil {
				return proof, fmt.Errorf("count a wrong code: %w", err)
			}
		}
		return proof, ErrWrongCode
	}
	settle = s.throttle.Succeed
	proof.Code = want
	return proof, nil
}
