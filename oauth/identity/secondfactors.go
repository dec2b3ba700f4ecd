package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"doorward/oauth/seal"
	"doorward/storage"
)

// One-time passwords of an authenticator app (TOTP, RFC 6238): six digits, for 30 seconds, by SHA-1, which is what apps
// support.
const (
	totpPeriod = 30 // seconds
	// totpSetupLifetime is how long a new secret waits for its first code.
	totpSetupLifetime = 30 * time.Minute
)

// ErrTOTPOn means that a user has an authenticator app already.
var ErrTOTPOn = errors.New("an authenticator app is set up already; remove it first")

// ErrSetupExpired means that the secret of an authenticator app waited too long for its first code, or was made for
// another browser.
var ErrSetupExpired = errors.New("the setup of the authenticator app has expired; start again")

// TOTPSetup is a new secret for an authenticator app. It is not stored before a code of it was entered.
type TOTPSetup struct {
	Secret string // for typing it in, in base32
	URL    string // otpauth://…, for the QR code
	Sealed string // the secret, bound to the user and the browser
}

type sealedTOTP struct {
	Secret    []byte       `json:"s"`
	Binding   string       `json:"b"`
	UserID    string       `json:"u"`
	CreatedAt storage.Time `json:"t"`
}

const purposeTOTPSetup = "totp setup"

// NewTOTP makes a secret for a user's authenticator app. binding is what its first code has to come back with, such as
// the id of a session.
func (s *Service) NewTOTP(user *storage.User, binding string) (TOTPSetup, error) {
	return s.sealTOTP(random(20), user, binding)
}

func (s *Service) sealTOTP(secret []byte, user *storage.User, binding string) (TOTPSetup, error) {
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: s.product, AccountName: user.Email, Period: totpPeriod, Secret: secret, Digits: otp.DigitsSix,
		Algorithm: otp.AlgorithmSHA1,
	})
	if err != nil {
		return TOTPSetup{}, fmt.Errorf("set up an authenticator app: %w", err)
	}
	//nolint:gosec // it is sealed
	text, _ := json.Marshal(sealedTOTP{secret, binding, user.ID, s.store.Now()}) // strings, bytes and a number
	return TOTPSetup{Secret: key.Secret(), URL: key.URL(), Sealed: s.secrets.Seal(purposeTOTPSetup, text)}, nil
}

// ShowTOTP returns the setup that was sealed for an earlier page, so that a page that is shown again has the same
// secret. If sealed is empty or does not work any more, it is NewTOTP.
func (s *Service) ShowTOTP(user *storage.User, binding, sealed string) (TOTPSetup, error) {
	x, err := s.openTOTP(user.ID, binding, sealed)
	if err != nil {
		return s.NewTOTP(user, binding)
	}
	setup, err := s.sealTOTP(x.Secret, user, binding)
	setup.Sealed = sealed // it does not last longer
	return setup, err
}

func (s *Service) openTOTP(userID, binding, sealed string) (x sealedTOTP, err error) {
	text, err := s.secrets.Open(purposeTOTPSetup, sealed)
	if err != nil {
		return x, fmt.Errorf("%w: %w", ErrSetupExpired, err)
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return x, fmt.Errorf("%w: %w", ErrSetupExpired, err)
	}
	if age := s.store.Now().Sub(x.CreatedAt); x.UserID != userID || x.Binding != binding || age > totpSetupLifetime {
		return x, ErrSetupExpired
	}
	return x, nil
}

// EnableTOTP checks the first code of a setup. Taking the proof turns on one-time passwords for the user, and tells
// them by email, in the transaction that starts or renews their session; it fails with ErrTOTPOn if they are on, and
// with ErrDisabled. recovery is a new set of recovery codes, to be shown once after that. Errors are ErrWrongCode,
// ErrSetupExpired and ErrBusy.
func (s *Service) EnableTOTP(
	ctx context.Context, user storage.User, binding, sealed, code string,
) (proof Proof, recovery []string, err error) {
	x, err := s.openTOTP(user.ID, binding, sealed)
	if err != nil {
		return proof, nil, err
	}
	step, fits := s.totpStep(x.Secret, code, 0)
	if !fits {
		return proof, nil, ErrWrongCode
	}
	recovery, stored, err := s.newRecoveryCodes(ctx)
	if err != nil {
		return proof, nil, err
	}
	return NewProof(user, "one_time_password", func(ctx context.Context) error {
		now, err := s.store.LockUser(ctx, user.ID)
		if err != nil {
			return err
		}
		if !now.DisabledAt.IsZero() {
			return ErrDisabled
		}
		err = s.store.InsertTOTP(ctx, storage.TOTP{
			UserID: user.ID, Step: step, Sealed: s.secrets.Seal(seal.TOTPPurpose(user.ID), x.Secret),
		})
		if errors.Is(err, storage.ErrExists) {
			return ErrTOTPOn
		}
		if err != nil {
			return err
		}
		if err := s.store.ReplaceRecoveryCodes(ctx, user.ID, stored); err != nil {
			return err
		}
		return s.changed(ctx, &user, totpEnabled, user.ID, "")
	}, ByOTP, ByTwoFactors), recovery, nil
}

// totpStep finds the time step of a one-time password, after the last one that was accepted.
func (s *Service) totpStep(secret []byte, code string, last int64) (step int64, fits bool) {
	code = typed(code)
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
	now := s.store.Now().Unix() / totpPeriod
	// The clocks may differ by one period.
	for _, step := range []int64{now, now - 1, now + 1} {
		if step <= last {
			continue
		}
		ok, err := totp.ValidateCustom(code, text, time.Unix(step*totpPeriod, 0), totp.ValidateOpts{
			Period: totpPeriod, Skew: 0, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1,
		})
		if err == nil && ok {
			return step, true
		}
	}
	return 0, false
}

// typed returns a code as it was typed, without what people put between its groups.
func typed(code string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '\u00a0' {
			return -1
		}
		return r
	}, code)
}

// CheckSecondFactor checks a one-time password or a recovery code of a user who has proved another factor in this
// attempt. A wrong one counts as a failed sign-in of the account and of the network address; after ten wrong one-time
// passwords in a day, only recovery codes and passkeys are accepted until the day is over. Errors are ErrWrongCode,
// *Throttled and ErrBusy. The code is used up only when the proof is taken.
func (s *Service) CheckSecondFactor(ctx context.Context, user storage.User, code string, a Attempt) (Proof, error) {
	ctx = storage.System(ctx)
	// Wrong codes are also counted by themselves, since the right password forgives the failures of the account.
	account := storage.EmailKey(user.Email)
	settle := s.throttle.Release
	for _, counter := range []string{account, "second factor of " + account} {
		ok, retryAfter := s.throttle.Reserve(counter, a.Address, a.KnownDevice)
		if !ok {
			return Proof{}, &Throttled{RetryAfter: retryAfter}
		}
		defer func() { settle(counter, a.Address, a.KnownDevice) }()
	}
	code = typed(code)
	var proof Proof
	var err error
	if len(code) == recoveryLength {
		proof, err = s.checkRecoveryCode(ctx, user, code)
	} else {
		proof, err = s.checkTOTP(ctx, user, code)
	}
	switch {
	case err == nil:
		settle = s.throttle.Succeed
	case errors.Is(err, ErrWrongCode):
		settle = s.throttle.Fail
		if err := s.store.AuditSignInFailure(ctx, user.ID); err != nil {
			return Proof{}, fmt.Errorf("count a wrong code: %w", err)
		}
	}
	return proof, err
}

func (s *Service) checkTOTP(ctx context.Context, user storage.User, code string) (Proof, error) {
	if user.TOTPSince.IsZero() {
		return Proof{}, ErrWrongCode
	}
	t, err := s.store.TakeTOTPTry(ctx, user.ID, wrongCodes, codesWindow)
	if errors.Is(err, storage.ErrConsumed) {
		return Proof{}, &Throttled{RetryAfter: codesWindow}
	}
	if err != nil {
		return Proof{}, fmt.Errorf("count a try of a one-time password: %w", err)
	}
	secret, err := s.secrets.Open(seal.TOTPPurpose(user.ID), t.Sealed)
	if err != nil {
		return Proof{}, fmt.Errorf("open the secret of an authenticator app: %w", err)
	}
	step, fits := s.totpStep(secret, code, t.Step)
	if !fits {
		return Proof{}, ErrWrongCode
	}
	return NewProof(user, "one_time_password", func(ctx context.Context) error {
		return s.store.UseTOTP(ctx, user.ID, t.Sealed, step)
	}, ByOTP, ByTwoFactors), nil
}

// recoveryCodes is how many recovery codes a set has.
const recoveryCodes = 10

const (
	// recoveryAlphabet leaves out characters that look alike.
	recoveryAlphabet = "23456789abcdefghjkmnpqrstuvwxyz"
	recoverySelector = 2  // characters by which a code is found
	recoveryLength   = 12 // characters; those after the selector are some 49 random bits, and are hashed as passwords are
)

// newRecoveryCodes makes a set of recovery codes, as they are shown and as they are stored.
func (s *Service) newRecoveryCodes(ctx context.Context) (shown []string, stored []storage.RecoveryCode, err error) {
	seen := map[string]bool{}
	for len(stored) < recoveryCodes {
		code := randomText(recoveryAlphabet, recoveryLength)
		selector := code[:recoverySelector]
		if seen[selector] {
			continue
		}
		seen[selector] = true
		hash, err := s.hasher.hash(ctx, code)
		if err != nil {
			return nil, nil, err
		}
		stored = append(stored, storage.RecoveryCode{Selector: selector, Hash: hash})
		shown = append(shown, code[:4]+"-"+code[4:8]+"-"+code[8:])
	}
	return shown, stored, nil
}

// randomText returns n random characters of an alphabet.
func randomText(alphabet string, n int) string {
	text := make([]byte, n)
	for i := range text {
		at, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails
		text[i] = alphabet[at.Int64()]
	}
	return string(text)
}

// NewRecoveryCodes replaces a user's recovery codes, tells them by email, and returns the new ones, to be shown once.
// Errors are ErrBusy, and storage.ErrNotFound if the user does not exist.
func (s *Service) NewRecoveryCodes(ctx context.Context, userID string) ([]string, error) {
	shown, stored, err := s.newRecoveryCodes(ctx)
	if err != nil {
		return nil, err
	}
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := s.store.ReplaceRecoveryCodes(ctx, userID, stored); err != nil {
			return err
		}
		user, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		return s.changed(ctx, &user, recoveryReplaced, userID, "")
	})
	if err != nil {
		return nil, fmt.Errorf("replace the recovery codes: %w", err)
	}
	return shown, nil
}

// TakesCodes reports whether CheckSecondFactor could accept a code of a user: they have an authenticator app, or
// recovery codes that were not used.
func (s *Service) TakesCodes(ctx context.Context, user *storage.User) (bool, error) {
	if !user.TOTPSince.IsZero() {
		return true, nil
	}
	left, _, err := s.store.RecoveryCodesOf(storage.System(ctx), user.ID)
	if err != nil {
		return false, fmt.Errorf("count the recovery codes: %w", err)
	}
	return left > 0, nil
}

// checkRecoveryCode does the same work for a code that does not exist.
func (s *Service) checkRecoveryCode(ctx context.Context, user storage.User, code string) (Proof, error) {
	code = strings.ToLower(code)
	selector := code[:recoverySelector]
	hash, err := s.store.RecoveryCodeHash(ctx, user.ID, selector)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return Proof{}, fmt.Errorf("look up a recovery code: %w", err)
	}
	fits, err := s.hasher.verify(ctx, code, hash)
	if err != nil {
		return Proof{}, err
	}
	if !fits {
		return Proof{}, ErrWrongCode
	}
	return NewProof(user, "recovery_code", func(ctx context.Context) error {
		if err := s.store.UseRecoveryCode(ctx, user.ID, selector, hash); err != nil {
			return err
		}
		return s.changed(ctx, &user, recoveryUsed, user.ID, "")
	}, ByRecoveryCode, ByTwoFactors), nil
}
