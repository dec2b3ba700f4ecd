package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"doorward/oauth/provider"
	"doorward/storage"
)

// Provider is another service with which users sign in, with the operator's rules for it.
type Provider struct {
	*provider.Provider

	// Domains are those of the only addresses that may come from it, which the sign-in page leads there; empty: any.
	Domains []string
	// SignUp says that visitors may create an account through it, if they may create one at all.
	SignUp bool
	// TrustedEmail says that an address counts as proven if the provider says that it is verified.
	TrustedEmail bool
	// TwoFactors says that a sign-in there counts as two factors.
	TwoFactors bool
}

// Trusts reports whether an address counts as proven if the provider says that it is verified.
func (p *Provider) Trusts() bool { return p.TrustedEmail || p.TrustsEmail() }

// OwnsDomain reports whether the provider is the one for the domain of an address.
func (p *Provider) OwnsDomain(email string) bool {
	return len(p.Domains) > 0 && slices.Contains(p.Domains, domainOf(email))
}

func domainOf(email string) string {
	return strings.ToLower(email[strings.LastIndexByte(email, '@')+1:])
}

// maxProviderAccounts is how many accounts at providers a user may connect.
const maxProviderAccounts = 50

var (
	// ErrProvider means that an id is not that of a provider.
	ErrProvider = errors.New("the provider is unknown")
	// ErrForeignDomain means that an address from a provider is not at one of its domains.
	ErrForeignDomain = errors.New("the address is not at a domain of the provider")
	// ErrNotConnected means that an account at a provider is connected to no user.
	ErrNotConnected = errors.New("the account at the provider is connected to no user")
	// ErrTooManyAccounts means that as many accounts at providers are connected to a user as may be.
	ErrTooManyAccounts = fmt.Errorf("at most %d accounts at providers are connected to a user", maxProviderAccounts)
	// ErrConnected means that an account at a provider is connected to another user.
	ErrConnected = errors.New("the account at the provider is connected to another user")
)

// Providers lists the providers with which users sign in, in the order of the configuration.
func (s *Service) Providers() []*Provider { return s.providers }

// Provider finds a provider. It returns ErrProvider if there is none with this id.
func (s *Service) Provider(id string) (*Provider, error) {
	for _, p := range s.providers {
		if p.ID() == id {
			return p, nil
		}
	}
	return nil, ErrProvider
}

// ProviderSignIn is a visitor who has signed in at a provider.
type ProviderSignIn struct {
	Provider *Provider
	Account  provider.Account
}

// Proven reports whether the address counts as proven.
func (x *ProviderSignIn) Proven() bool {
	return x.Account.Email != "" && x.Account.EmailVerified && x.Provider.Trusts()
}

// FinishProvider ends a sign-in at a provider. The state can be used once: of many calls at once, only one goes on.
// Errors are provider.ErrDenied, provider.ErrAnswer (also for a state that was used), provider.ErrUnavailable, and
// ErrForeignDomain.
func (s *Service) FinishProvider(
	ctx context.Context, p *Provider, a provider.Attempt, params url.Values,
) (ProviderSignIn, error) {
	account, err := p.Finish(ctx, a, params)
	x := ProviderSignIn{Provider: p, Account: account}
	if err != nil {
		return x, err
	}
	if len(p.Domains) > 0 && !p.OwnsDomain(x.Account.Email) {
		return x, ErrForeignDomain
	}
	// Only now, so that a visitor who makes up answers adds no rows.
	err = s.store.UseChallenge(storage.System(ctx), "state "+a.State, s.store.Now().Add(2*ProviderLifetime))
	if errors.Is(err, storage.ErrConsumed) {
		return x, fmt.Errorf("%w: the state was used before", provider.ErrAnswer)
	}
	if err != nil {
		return x, fmt.Errorf("use the state of a provider: %w", err)
	}
	return x, nil
}

// SignInFrom returns the proof of the user to whom an account at a provider is connected. Errors are ErrNotConnected
// and ErrDisabled. The address plays no part in it.
func (s *Service) SignInFrom(ctx context.Context, x *ProviderSignIn) (Proof, error) {
	account, user, err := s.store.ProviderAccount(storage.System(ctx), x.Account.Issuer, x.Account.Subject)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return Proof{}, ErrNotConnected
	case err != nil:
		return Proof{}, fmt.Errorf("look up the account at a provider: %w", err)
	case !user.DisabledAt.IsZero():
		return Proof{}, ErrDisabled
	}
	by := []string{ByProvider}
	if x.Provider.TwoFactors {
		by = append(by, ByTwoFactors)
	}
	return NewProof(user, "provider", func(ctx context.Context) error {
		if err := s.store.UseProviderAccount(ctx, account.ID, x.Account.Email); err != nil {
			return err
		}
		if user.PasswordFailures == 0 {
			return nil
		}
		return s.store.ForgetPasswordFailures(ctx, user.ID)
	}, by...), nil
}

// newAccount is the row of an account at a provider for a user.
func newAccount(userID, providerID, issuer, subject, email string) storage.ProviderAccount {
	return storage.ProviderAccount{
		ID: storage.NewID("provider"), UserID: userID, Provider: providerID, Issuer: issuer, Subject: subject, Email: email,
	}
}

// ConnectProvider connects an account at a provider to a user, who has to have proved the highest level that they can
// reach, and tells them by email. It changes nothing if it is connected to them already. Errors are ErrConnected,
// ErrTooManyAccounts, ErrDisabled, and storage.ErrNotFound if the user does not exist.
func (s *Service) ConnectProvider(ctx context.Context, userID string, x *ProviderSignIn) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		user, err := s.store.LockUser(ctx, userID)
		if err != nil {
			return err
		}
		if !user.DisabledAt.IsZero() {
			return ErrDisabled
		}
		_, other, err := s.store.ProviderAccount(ctx, x.Account.Issuer, x.Account.Subject)
		switch {
		case err == nil && other.ID == userID:
			return nil
		case err == nil:
			return ErrConnected
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
		have, err := s.store.ProviderAccountsOf(ctx, userID)
		if err != nil {
			return err
		}
		if len(have) >= maxProviderAccounts {
			return ErrTooManyAccounts
		}
		a := newAccount(userID, x.Provider.ID(), x.Account.Issuer, x.Account.Subject, x.Account.Email)
		if err := s.store.InsertProviderAccount(ctx, a); err != nil {
			return err
		}
		return s.changed(ctx, &user, providerAdded, a.ID, x.Provider.Name())
	})
	if errors.Is(err, storage.ErrExists) {
		err = ErrConnected // at the same moment
	}
	if err != nil {
		return fmt.Errorf("connect an account at a provider: %w", err)
	}
	return nil
}

// The values in the detail of the proof of a sign-up that began at a provider.
const (
	detailProvider = "provider"
	detailIssuer   = "issuer"
	detailSubject  = "subject"
	detailName     = "name"
	detailTwo      = "two_factors"
)

// detail adds the account at a provider to what a sign-up continues with.
func (x *ProviderSignIn) detail(to map[string]string) map[string]string {
	all := map[string]string{
		detailProvider: x.Provider.ID(), detailIssuer: x.Account.Issuer, detailSubject: x.Account.Subject,
		detailName: x.Account.Name,
	}
	if x.Provider.TwoFactors {
		all[detailTwo] = "yes"
	}
	for k, v := range to {
		all[k] = v
	}
	return all
}

// fromProvider reports whether a sign-up began at a provider and its address was proven in the same browser. Otherwise
// its account there is not connected: the visitor who began the sign-up may have entered the address of another person,
// who opens the link.
func fromProvider(p *storage.EmailProof) bool {
	return p.Detail[detailSubject] != "" && p.ProvenBy(p.Browser)
}

// NameFrom is the name that the provider of a sign-up gave; empty: none did, or the sign-up is completed in another
// browser.
func NameFrom(p *storage.EmailProof) string {
	if !fromProvider(p) {
		return ""
	}
	return p.Detail[detailName]
}

// provenByProvider begins the subject of the proof of an address that a provider has proven.
const provenByProvider = "provider "

// ProviderOf returns the provider at which a sign-up began that is completed in the same browser; nil: none, or the
// provider is not configured any more.
func (s *Service) ProviderOf(p *storage.EmailProof) *Provider {
	if !fromProvider(p) {
		return nil
	}
	found, err := s.Provider(p.Detail[detailProvider])
	if err != nil {
		return nil
	}
	return found
}

// ByProviderOf is how a user has authenticated who signs up at a provider.
func (s *Service) ByProviderOf(p *storage.EmailProof) Authentication {
	by := By(ByProvider)
	if p.Detail[detailTwo] != "" {
		by = by.And(ByTwoFactors)
	}
	return by
}

// AskSignUpFrom is AskSignUp for a visitor who signed in at a provider, whose address is not proven by that. The
// account there is connected when the address is proven.
func (s *Service) AskSignUpFrom(ctx context.Context, x *ProviderSignIn, a Asker) error {
	a.Continue = x.detail(a.Continue)
	return s.AskSignUp(ctx, x.Account.Email, a)
}

// HasAccount reports whether an address that is proven has an account, or may get one back.
func (s *Service) HasAccount(ctx context.Context, email string) (bool, error) {
	ctx = storage.System(ctx)
	user, err := s.store.UserByEmail(ctx, email)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return false, fmt.Errorf("look up the user: %w", err)
	}
	held, err := s.store.AddressHeld(ctx, email, user.ID)
	if err != nil {
		return false, fmt.Errorf("look up the address: %w", err)
	}
	return held, nil
}

// ErrAddressTaken means that there is an account with the address of an account at a provider. The reader of its emails
// may still be another person than its user, so the two are not connected without a proof of that account.
var ErrAddressTaken = errors.New("there is an account with the address from the provider")

// ProveSignUpFrom records that the address of a visitor who signed in at a provider is proven by that, in the browser
// with a cookie, so that they can complete an account. Errors are ErrAddressTaken, ErrNotSent if as many signed up
// like that from the network as may in an hour, and *Invalid for an address that may not sign up.
func (s *Service) ProveSignUpFrom(ctx context.Context, x *ProviderSignIn, a Asker) error {
	ctx = storage.System(ctx)
	email, err := checkEmail(x.Account.Email)
	if err != nil {
		return err
	}
	if err := s.maySignUp(email); err != nil {
		return err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		allowed, err := s.countEmail(ctx, emailBound{"provider " + a.Network, emailsPerNetwork, networkWindow})
		if err != nil {
			return err
		}
		if !allowed {
			return ErrNotSent
		}
		user, err := s.store.UserByEmail(ctx, email)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		taken := err == nil
		held, err := s.store.AddressHeld(ctx, email, user.ID)
		if err != nil {
			return err
		}
		if taken || held {
			return ErrAddressTaken
		}
		proof := storage.EmailProof{
			ID: storage.NewID("proof"), Kind: storage.ProofSignUp, Digest: storage.Digest(newToken()), Email: email,
			// An email to the same address that was asked for elsewhere stays as it is.
			Subject: provenByProvider + x.Account.Issuer + " " + x.Account.Subject, Browser: storage.Digest(a.Browser),
			Detail: x.detail(a.Continue), ExpiresAt: s.store.Now().Add(SignUpLifetime),
		}
		if err := s.store.InsertEmailProof(ctx, proof); err != nil {
			return err
		}
		return s.store.ProveEmail(ctx, proof.ID, "", storage.Digest(a.Browser))
	})
	if err != nil {
		return fmt.Errorf("sign up from a provider: %w", err)
	}
	return nil
}

// connectNew connects the account at a provider, with which a sign-up began, to the user that was created, in the
// transaction of its context.
func (s *Service) connectNew(ctx context.Context, p *storage.EmailProof, userID string) error {
	if s.ProviderOf(p) == nil {
		return nil
	}
	a := newAccount(
		userID, p.Detail[detailProvider], p.Detail[detailIssuer], p.Detail[detailSubject], p.Email,
	)
	a.UsedAt = s.store.Now()
	if err := s.store.InsertProviderAccount(ctx, a); errors.Is(err, storage.ErrExists) {
		return ErrConnected
	} else if err != nil {
		return err
	}
	return s.auditOwn(ctx, providerAdded, a.ID, userID)
}
