package management

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/publicsuffix"

	"doorward/locale"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/oauth/redirecturi"
	"doorward/storage"
)

// Which clients may register themselves (RFC 7591).
const (
	RegistrationClosed = "closed" // none
	RegistrationToken  = "token"  // those that present a registration token
	RegistrationOpen   = "open"   // all
)

// The values of application_type (OpenID Connect Dynamic Client Registration 1.0, section 2).
const (
	ApplicationWeb    = "web"
	ApplicationNative = "native"
)

// RegistrationLimit is how many clients can register from one address, and how many clients with metadata documents one
// user can be the first to answer. Config.UnlimitedChanges lifts it.
var RegistrationLimit = limit.Plan{Hour: 20}

// ScopeOffline is a scope of the server, not of a resource. It is accepted and has no effect: whether a client gets
// refresh tokens depends on its grant types.
const ScopeOffline = "offline_access"

// unnamed is the name of a client that does not say its name.
const unnamed = "Unnamed app"

// CheckSelfRegistered completes and checks what a client says about itself, as CreateClient does for other clients.
// Scopes that are open to no such client are left out. registration is a value of storage.Client.Registration. The
// error joins *input.Invalid.
func (m *Manager) CheckSelfRegistered(registration string, p *ClientSpec) error {
	p.registration = registration
	p.WorkspaceID, p.CreatedBy, p.Administrator, p.Resources = "", "", false, nil
	p.FirstParty, p.ResourceServer, p.Verified, p.Manages, p.FAPI = false, false, false, false, false
	p.PKCEOptional, p.TokenEndpointAudience = false, false
	if strings.TrimSpace(p.Name) == "" {
		p.Name = unnamed
	}
	err := m.clients.check(p)
	if err == nil && m.openID && registration == storage.RegisteredDynamically && !p.Public {
		p.PKCEOptional, p.TokenEndpointAudience = true, true
	}
	return err
}

// checkSelfRegistered checks what concerns only clients that register themselves.
func (c *clientRules) checkSelfRegistered(p *ClientSpec, all *input.Faults) {
	open := c.catalog.OpenResources()
	var kept []string
	for _, name := range p.Scopes {
		opens := name == ScopeOffline
		for _, r := range open {
			opens = opens || slices.Contains(r.OpenScopes, name)
		}
		if opens && !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	ofAPIs := func(name string) bool { return name != ScopeOffline }
	named := slices.ContainsFunc(p.Scopes, ofAPIs)
	p.Scopes = kept
	switch {
	case len(open) == 0:
		all.Add("scope", "No API of this server is open to apps that register themselves; ask its operator for a client id")
	case named && !slices.ContainsFunc(kept, ofAPIs):
		all.Add("scope", "names no permission that is open to apps that register themselves; leave it out for all that are")
	}
	c.checkApplicationType(p, all)
	if p.registration == storage.RegisteredDynamically {
		// Users take a host at this place for that of a metadata document, which is proven.
		if host := hostIn(p.Name); host != "" && !slices.ContainsFunc(p.RedirectURIs, func(uri string) bool {
			at, _ := redirecturi.Host(uri)
			return strings.HasPrefix(uri, "https://") && (at == host || strings.HasSuffix(at, "."+host))
		}) {
			all.Add("name", "reads like the address %s, to which none of the redirect URIs leads; leave the address out", host)
		}
	}
	if input.IsSite(p.Site) { // else the rule for all clients refuses it
		if why := c.checkURL(p.Site); !why.IsZero() {
			*all = append(*all, &input.Invalid{Field: "site", Message: why})
		}
	}
}

// hostIn returns a word of a name that is a host under a public domain, in lower case; empty: none is.
func hostIn(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(c rune) bool {
		return c != '.' && c != '-' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	})
	for _, word := range words {
		word = strings.Trim(word, ".-")
		if suffix, public := publicsuffix.PublicSuffix(word); public && strings.HasSuffix(word, "."+suffix) {
			return word
		}
	}
	return ""
}

// checkApplicationType checks application_type. Without one, an app is native if its redirects all stay on the user's
// device, or if one of them has a scheme that the operator allowed for such an app by its name.
func (c *clientRules) checkApplicationType(p *ClientSpec, all *input.Faults) {
	onDevice := func(uri string) bool { return !strings.HasPrefix(uri, "https://") }
	switch {
	case p.registration == storage.RegisteredByDocument:
		// The document is at the app's own address, so its redirects need no rule by type.
		return
	case p.ApplicationType == "" && (!slices.ContainsFunc(p.RedirectURIs, func(uri string) bool { return !onDevice(uri) }) ||
		slices.ContainsFunc(p.RedirectURIs, redirecturi.HasBareScheme)):
		p.ApplicationType = ApplicationNative
	case p.ApplicationType == "":
		p.ApplicationType = ApplicationWeb
	case p.ApplicationType != ApplicationWeb && p.ApplicationType != ApplicationNative:
		all.Add("application_type", "must be web or native")
		return
	}
	if p.ApplicationType != ApplicationWeb {
		return
	}
	for _, uri := range p.RedirectURIs {
		if onDevice(uri) && redirecturi.Check(uri, c.redirectSchemes).IsZero() {
			all.Add("redirect_uris", "has %s, which is not https, and application_type is web; send application_type native",
				input.Quote(input.Shorten(uri)))
		}
	}
}

// MayRegister returns nil if a client may register with a registration token; empty: without one. Otherwise it returns
// ErrRegistrationToken.
func (m *Manager) MayRegister(ctx context.Context, token string) error {
	if m.registration == RegistrationOpen && token == "" {
		return nil
	}
	digest := bearer.DigestOf(bearer.PrefixRegistration, token)
	if m.registration == RegistrationClosed || digest == "" {
		return ErrRegistrationToken
	}
	usable, err := m.store.RegistrationTokenUsable(storage.System(ctx), []byte(digest))
	if err == nil && !usable {
		err = ErrRegistrationToken
	}
	return err
}

// ErrRegistrationToken means that a registration token is missing, wrong, used up or expired, or that clients cannot
// register themselves at all.
var ErrRegistrationToken = errors.New("the registration token is missing, wrong, used up or expired")

// Registration returns which clients may register themselves.
func (m *Manager) Registration() string { return m.registration }

// OpenIDCompatible reports whether confidential clients that register themselves may leave out PKCE, and name the token
// endpoint as the audience of their assertions.
func (m *Manager) OpenIDCompatible() bool { return m.openID }

// Registered is a client that has registered itself, with what is shown only once.
type Registered struct {
	storage.Client
	Secret string // client_secret; empty: it has none
	Token  string // the token with which it changes its registration
}

// RegisterClient registers a client that CheckSelfRegistered has checked. token is its registration token; empty: none.
// address is where the request comes from. It returns ErrRegistrationToken, or *TooManyChanges if too many clients
// register from that address.
func (m *Manager) RegisterClient(ctx context.Context, p ClientSpec, token, address string) (Registered, error) {
	ctx = storage.System(ctx)
	if err := m.take(ctx, "registrations:"+address, RegistrationLimit); err != nil {
		return Registered{}, err
	}
	out := Registered{
		Client: storage.Client{
			ID: storage.NewID("app"), Public: p.Public, Registration: storage.RegisteredDynamically,
		},
		Token: bearer.NewCredential(bearer.PrefixClientRegistration),
	}
	p.apply(&out.Client)
	out.RegistrationToken = storage.Digest(out.Token)
	if mayHaveSecret(&out.Client) == nil {
		var x storage.ClientSecret
		out.Secret, x = newSecret(m.store.Now())
		out.Secrets = []storage.ClientSecret{x}
	}
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		detail := authDetail(&storage.Client{}, &out.Client)
		if token != "" {
			err := m.store.UseRegistrationToken(ctx, storage.Digest(token))
			if errors.Is(err, storage.ErrConsumed) {
				return ErrRegistrationToken // used up by another request since MayRegister
			}
			if err != nil {
				return err
			}
		}
		if err := m.store.InsertClient(ctx, &out.Client, p.origins()); err != nil {
			return err
		}
		return m.auditClient(ctx, "registered", &out.Client, detail)
	})
	if err != nil {
		return Registered{}, fmt.Errorf("register client: %w", err)
	}
	return out, nil
}

// ReadRegistration returns the client that a token for its registration belongs to. It returns ErrRegistrationToken if
// the token is wrong, or the client is disabled or does not exist.
func (m *Manager) ReadRegistration(ctx context.Context, clientID, token string) (storage.Client, error) {
	digest := bearer.DigestOf(bearer.PrefixClientRegistration, token)
	c, usable, err := m.store.ClientInUse(storage.System(ctx), clientID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return storage.Client{}, ErrRegistrationToken
	case err != nil:
		return storage.Client{}, fmt.Errorf("registration: %w", err)
	case !usable, digest == "", subtle.ConstantTimeCompare([]byte(digest), c.RegistrationToken) != 1:
		return storage.Client{}, ErrRegistrationToken
	}
	return c, nil
}

// UpdateRegistration replaces what a client says about itself by a spec that CheckSelfRegistered has checked. token
// belongs to the registration, and is replaced. It returns ErrRegistrationToken and *input.Invalid.
func (m *Manager) UpdateRegistration(ctx context.Context, clientID, token string, p ClientSpec) (Registered, error) {
	out := Registered{Token: bearer.NewCredential(bearer.PrefixClientRegistration)}
	ctx = storage.System(ctx)
	err := m.store.InTx(ctx, func(ctx context.Context) error {
		// The conditional write comes first: it locks the row, so that of two changes at once the other one fails.
		err := m.store.RotateRegistrationToken(ctx, clientID, storage.Digest(token), storage.Digest(out.Token))
		if errors.Is(err, storage.ErrConsumed) {
			return ErrRegistrationToken
		}
		if err != nil {
			return err
		}
		if out.Client, err = m.store.ClientByID(ctx, clientID); err != nil {
			return err
		}
		if !out.DisabledAt.IsZero() {
			return ErrRegistrationToken
		}
		if err := p.checkStaysConfidential(&out.Client); err != nil {
			return err
		}
		if (p.AuthMethod == AuthPrivateKey) != (out.AuthMethod == AuthPrivateKey) {
			return &input.Invalid{Field: "token_endpoint_auth_method", Message: locale.New("cannot change between a secret " +
				"and private_key_jwt; register again")}
		}
		before := out.Client
		p.apply(&out.Client)
		if err := m.store.UpdateClient(ctx, &out.Client, p.origins()); err != nil {
			return err
		}
		return m.auditClient(ctx, "updated", &out.Client, authDetail(&before, &out.Client))
	})
	if err != nil {
		return Registered{}, fmt.Errorf("update registration: %w", err)
	}
	return out, nil
}

// DeleteRegistration deletes a client with its grants and tokens. token belongs to its registration. It returns
// ErrRegistrationToken.
func (m *Manager) DeleteRegistration(ctx context.Context, clientID, token string) error {
	c, err := m.ReadRegistration(ctx, clientID, token)
	if err != nil {
		return err
	}
	err = m.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := m.store.DeleteClient(ctx, c.ID); errors.Is(err, storage.ErrNotFound) {
			return ErrRegistrationToken // deleted at the same moment
		} else if err != nil {
			return err
		}
		return m.auditClient(ctx, "deleted", &c, nil)
	})
	if err != nil {
		return fmt.Errorf("delete registration: %w", err)
	}
	return nil
}

// DocumentClient returns the client that a metadata document describes, by a spec that CheckSelfRegistered has checked.
func DocumentClient(id string, p *ClientSpec, fetched storage.Time) storage.Client {
	c := storage.Client{ID: id, Registration: storage.RegisteredByDocument, Public: p.Public, DocumentAt: fetched}
	p.apply(&c)
	return c
}

// SaveDocumentClient stores a client with a metadata document, which a user allows, as it is described there now. It
// returns storage.ErrNotFound if the client is disabled.
func (m *Manager) SaveDocumentClient(ctx context.Context, c storage.Client) error {
	p := SpecOf(c)
	return m.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		isNew, err := m.store.SaveDocumentClient(ctx, &c, p.origins())
		if err != nil || !isNew {
			return err
		}
		return m.auditClient(ctx, "registered", &c, authDetail(&storage.Client{}, &c))
	})
}

// UpdateDocumentClient updates a client with a metadata document as it is described there now. It returns
// storage.ErrNotFound if the client is disabled, or was deleted: only a user's answer adds a client.
func (m *Manager) UpdateDocumentClient(ctx context.Context, c storage.Client) error {
	p := SpecOf(c)
	return m.store.UpdateDocumentClient(storage.System(ctx), &c, p.origins())
}

// The bounds of registration tokens.
const (
	maxTokenUses          = 100_000
	maxTokenLifetime      = 366 * 24 * time.Hour
	maxRegistrationTokens = 1000
)

// The defaults of registration tokens.
const (
	DefaultTokenUses     = 1
	DefaultTokenLifetime = 7 * 24 * time.Hour
)

// CreateRegistrationToken creates a token with which up to uses clients can register until it expires. Only
// administrators can; it returns *Forbidden or ErrStale, or *input.Invalid. The token is returned only here.
func (m *Manager) CreateRegistrationToken(
	ctx context.Context, by Authority, uses int64, lifetime time.Duration,
) (token string, x storage.RegistrationToken, err error) {
	if err := m.mustAdminister(ctx, &by, true); err != nil {
		return "", x, err
	}
	var all input.Faults
	if uses < 1 || uses > maxTokenUses {
		all.Add("uses", "must be between 1 and %d", maxTokenUses)
	}
	if lifetime < time.Minute || lifetime > maxTokenLifetime {
		all.Add("expires", "must be between 1m and 366d from now")
	}
	if err := errors.Join(all...); err != nil {
		return "", x, err
	}
	token = bearer.NewCredential(bearer.PrefixRegistration)
	x = storage.RegistrationToken{
		ID: storage.NewID("regtoken"), Digest: storage.Digest(token), Tail: token[len(token)-4:], CreatedBy: by.UserID,
		MaxUses: uses, ExpiresAt: m.store.Now().Add(lifetime),
	}
	err = m.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		n, err := m.store.CountRegistrationTokens(ctx)
		if err != nil {
			return err
		}
		if n >= maxRegistrationTokens {
			return &input.Invalid{Field: "uses", Message: locale.New(
				"There are %d registration tokens already; revoke those that are not needed", maxRegistrationTokens,
			)}
		}
		if err := m.store.InsertRegistrationToken(ctx, &x); err != nil {
			return err
		}
		return m.store.Audit(ctx, storage.AuditEvent{
			Action: "registration_token.created", Target: x.ID, Detail: map[string]string{"uses": fmt.Sprint(uses)},
		}, "")
	})
	if err != nil {
		return "", x, fmt.Errorf("create registration token: %w", err)
	}
	return token, x, nil
}

// RegistrationTokens lists the registration tokens that have not expired, for administrators. It returns *Forbidden.
func (m *Manager) RegistrationTokens(ctx context.Context, by Authority) ([]storage.RegistrationToken, error) {
	if err := m.mustAdminister(ctx, &by, false); err != nil {
		return nil, err
	}
	return m.store.RegistrationTokens(storage.System(ctx))
}

// RevokeRegistrationToken deletes a registration token. Clients that registered with it stay. Only administrators can;
// it returns *Forbidden or storage.ErrNotFound.
func (m *Manager) RevokeRegistrationToken(ctx context.Context, by Authority, id string) error {
	if err := m.mustAdminister(ctx, &by, false); err != nil {
		return err
	}
	return m.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := m.store.DeleteRegistrationToken(ctx, id); err != nil {
			return err
		}
		return m.store.Audit(ctx, storage.AuditEvent{Action: "registration_token.revoked", Target: id}, "")
	})
}

// mustAdminister returns *Forbidden unless the caller is an administrator. If the act gives lasting access, it also
// returns the errors of Decide for one.
func (m *Manager) mustAdminister(ctx context.Context, by *Authority, lasts bool) error {
	if err := m.MayAdminister(ctx, by); err != nil {
		return err
	}
	if lasts {
		// What registers with a token stays, and may come from any address: a credential with bounds cannot allow that.
		return by.Decide(Act{Lasts: true, GrantsRole: catalog.RoleOwner})
	}
	return nil
}
