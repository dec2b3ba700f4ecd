package identity

import (
	"slices"

	"doorward/storage"
)

// The methods by which a user authenticates, the amr of RFC 8176, section 2. email, recovery and fed are our own.
const (
	ByPassword     = "pwd"
	ByOTP          = "otp"  // a one-time password of an authenticator app
	ByHardwareKey  = "hwk"  // a passkey that stays in its authenticator
	BySoftwareKey  = "swk"  // a passkey that is backed up
	ByPresence     = "user" // a passkey's authenticator tested that the user is there
	ByTwoFactors   = "mfa"
	ByEmail        = "email"    // a link or code in an email
	ByRecoveryCode = "recovery" // a recovery code, or a link that an operator created
	ByProvider     = "fed"      // an account at another provider
)

// The levels of an authentication, its acr (OpenID Connect Core, section 2).
const (
	LevelOne = "urn:doorward:1" // one factor
	LevelTwo = "urn:doorward:2" // two factors, or a passkey whose authenticator verified the user
)

// Authentication lists the methods by which a user has authenticated, each once; empty: none. Two factors are marked by
// ByTwoFactors.
type Authentication []string

// By returns an authentication by methods.
func By(methods ...string) Authentication { return Authentication{}.And(methods...) }

// And adds methods.
func (a Authentication) And(methods ...string) Authentication {
	all := slices.Clone(a)
	for _, m := range methods {
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}

// Level returns LevelTwo if there were two factors, and otherwise LevelOne.
func (a Authentication) Level() string {
	if slices.Contains(a, ByTwoFactors) {
		return LevelTwo
	}
	return LevelOne
}

// Policies about a second factor.
const (
	SecondFactorOptional       = "optional"       // each user decides
	SecondFactorAdministrators = "administrators" // administrators of the server have to have one
	SecondFactorEveryone       = "everyone"
)

// Missing is what is missing to a sign-in.
type Missing int

// The values of Missing.
const (
	MissingNothing   Missing = iota
	MissingFactor            // the user's second factor: a one-time password, a passkey or a recovery code
	MissingEnrolment         // the user has to set up a second factor, which the server asks of them
)

// Missing says what else a user has to prove who has authenticated by a.
func (s *Service) Missing(u *storage.User, a Authentication) Missing {
	switch {
	case a.Level() == LevelTwo:
		return MissingNothing
	case !u.TOTPSince.IsZero():
		return MissingFactor
	case !s.NeedsSecondFactor(u):
		return MissingNothing
	case s.HasPasskey(u):
		return MissingFactor
	}
	return MissingEnrolment
}

// NeedsSecondFactor reports whether the server asks for a second factor of a user.
func (s *Service) NeedsSecondFactor(u *storage.User) bool {
	return s.secondFactor == SecondFactorEveryone || s.secondFactor == SecondFactorAdministrators && u.Admin
}

// Reach returns the highest level that a user can reach with what they have.
func (s *Service) Reach(u *storage.User) string {
	if s.HasPasskey(u) || !u.TOTPSince.IsZero() {
		return LevelTwo
	}
	return LevelOne
}

// HasPasskey reports whether a user can sign in with a passkey.
func (s *Service) HasPasskey(u *storage.User) bool { return s.passkeys != nil && u.Passkeys > 0 }

// TakesPasskeys reports whether users can sign in with passkeys.
func (s *Service) TakesPasskeys() bool { return s.passkeys != nil }
