package provider

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"doorward/oauth/input"
)

// Errors of Begin, Finish and Check. They are wrapped with the detail for the operator's log, in which there is never a
// secret, a code or a token.
var (
	// ErrDenied means that the user declined at the provider.
	ErrDenied = errors.New("the user declined to sign in")
	// ErrAnswer means that an answer of the provider must not be believed, or that the callback does not belong to the
	// attempt. To try again from the start may help the user.
	ErrAnswer = errors.New("the provider's answer is not valid")
	// ErrUnavailable means that the provider cannot be reached, or does not answer as its protocol says.
	ErrUnavailable = errors.New("the provider is unavailable")
)

// The kinds of providers whose particulars are built in.
const (
	google    = "google"
	microsoft = "microsoft"
	apple     = "apple"
	github    = "github"
	gitlab    = "gitlab"
)

// kind has the particulars of a provider.
type kind struct {
	id, name, issuer string
	scopes           []string
	secretPost       bool // the client secret is sent in the body, whatever discovery says
	formPost         bool // the callback is a POST from another site
	trustsEmail      bool // email_verified means that the user reads the mailbox
	// again is the value of prompt that it documents and that comes closest to letting the user sign in once more; empty:
	// none.
	again string
}

// kinds lists the built-in providers. The last one is any OpenID Connect issuer.
var kinds = []kind{
	{
		id: google, name: "Google", issuer: "https://accounts.google.com",
		scopes: []string{"openid", "email", "profile"}, trustsEmail: true, again: "select_account",
	},
	{
		id: microsoft, name: "Microsoft", issuer: "https://login.microsoftonline.com/common/v2.0",
		scopes: []string{"openid", "email", "profile"}, again: "login",
	},
	{
		// Apple returns an ID token without the scope openid, and wants form_post for the other two.
		id: apple, name: "Apple", issuer: "https://appleid.apple.com", scopes: []string{"name", "email"},
		secretPost: true, formPost: true, trustsEmail: true,
	},
	{
		id: github, name: "GitHub", issuer: "https://github.com", scopes: []string{"read:user", "user:email"},
		secretPost: true, trustsEmail: true, again: "select_account",
	},
	{
		id: gitlab, name: "GitLab", issuer: "https://gitlab.com", scopes: []string{"openid", "email", "profile"},
		trustsEmail: true, again: "login",
	},
	{scopes: []string{"openid", "email", "profile"}, again: "login"},
}

// Kinds returns the kinds of providers whose particulars are built in, in the order in which they are documented.
func Kinds() []string {
	var ids []string
	for _, k := range kinds {
		if k.id != "" {
			ids = append(ids, k.id)
		}
	}
	return ids
}

// Config is one provider of the operator's configuration.
type Config struct {
	// ID names the provider in paths and in the configuration.
	ID string
	// Kind is one of Kinds, or empty for any OpenID Connect issuer.
	Kind string
	// Name is what users call the provider, such as Google. Empty: that of the kind, or the ID.
	Name string
	// Issuer is the issuer identifier (OpenID Connect Core, section 1.2), https or http on loopback. For GitHub it is
	// the base URL. Empty: the address of the kind; a provider without a kind needs one.
	Issuer string
	// ClientID and ClientSecret are those of this server at the provider (RFC 6749, section 2.3.1). Apple has no
	// ClientSecret.
	ClientID, ClientSecret string
	// TeamID, KeyID and PrivateKey are Apple's, in place of ClientSecret. PrivateKey is PEM: PKCS #8, a key on P-256.
	TeamID, KeyID, PrivateKey string
	// Scopes are asked for (RFC 6749, section 3.3). Empty: those of the kind, or openid, email and profile.
	Scopes []string
}

// Provider signs users in at one provider. It is safe for concurrent use.
type Provider struct {
	kind             kind
	id, name, issuer string
	scopes           []string

	clientID, clientSecret, callback string

	signingKey    *ecdsa.PrivateKey // apple
	teamID, keyID string            // apple
	tenants       string            // microsoft: what precedes the tenant in an issuer; empty: there is one issuer
	api           string            // github: the address of its API

	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	known    *discovery // the newest document; nil: none was read
	fetching *fetch     // the request that is under way; nil: none
	failed   *fetch     // the last request, if it failed
	keySets  map[string]*oidc.RemoteKeySet
}

// New prepares a provider, without a request to it. callback is the redirect URI that is registered there. client may
// be nil, for one with timeouts; its redirects, cookies and longer timeouts are not used. now is the clock; nil:
// time.Now. The error says which setting is wrong.
func New(c Config, callback string, client *http.Client, now func() time.Time) (*Provider, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.id == c.Kind })
	if i < 0 {
		return nil, fmt.Errorf("the kind %s is unknown; use %s, or none for any OpenID Connect issuer",
			input.Quote(c.Kind), strings.Join(Kinds(), ", "))
	}
	if now == nil {
		now = time.Now
	}
	p := &Provider{
		kind: kinds[i], id: c.ID, name: cmp.Or(c.Name, kinds[i].name, c.ID), issuer: cmp.Or(c.Issuer, kinds[i].issuer),
		scopes: kinds[i].scopes, clientID: c.ClientID, clientSecret: c.ClientSecret, callback: callback, now: now,
		client: guarded(client), keySets: map[string]*oidc.RemoteKeySet{},
	}
	if len(c.Scopes) > 0 {
		p.scopes = slices.Clone(c.Scopes)
	}
	switch {
	case c.ID == "":
		return nil, errors.New("the id is missing")
	case p.issuer == "":
		return nil, errors.New("the issuer is missing; set it to the URL that the provider documents")
	case !input.IsSite(p.issuer) || strings.ContainsAny(p.issuer, "?#"):
		return nil, fmt.Errorf("the issuer %s is not a URL with https, or http on loopback", input.Quote(p.issuer))
	case !input.IsSite(callback):
		return nil, fmt.Errorf("the callback %s is not a URL with https, or http on loopback", input.Quote(callback))
	case c.ClientID == "":
		return nil, errors.New("the client_id is missing; copy it from the provider's console")
	}
	if err := p.prepare(c); err != nil {
		return nil, err
	}
	return p, nil
}

// prepare reads what only some kinds have.
func (p *Provider) prepare(c Config) error {
	if c.Kind == apple {
		return p.prepareApple(c)
	}
	if c.ClientSecret == "" {
		return errors.New("the client_secret is missing; copy it from the provider's console")
	}
	if c.TeamID != "" || c.KeyID != "" || c.PrivateKey != "" {
		return errors.New("team_id, key_id and private_key are settings of apple; remove them")
	}
	switch c.Kind {
	case github:
		p.prepareGitHub()
	case microsoft:
		p.prepareMicrosoft()
	}
	return nil
}

// ID is the provider's name in paths and in the configuration.
func (p *Provider) ID() string { return p.id }

// Name is what users call the provider.
func (p *Provider) Name() string { return p.name }

// TrustsEmail reports whether an address that the provider calls verified counts as proven: Google, Apple, GitHub and
// GitLab, at their own address or at another one.
func (p *Provider) TrustsEmail() bool { return p.kind.trustsEmail }

// FormPost reports whether the callback is a POST that the provider's page sends, without our SameSite=Lax cookies
// (OAuth 2.0 Form Post Response Mode, section 2): Apple.
func (p *Provider) FormPost() bool { return p.kind.formPost }

// Origin is the scheme, host and port of the page to which Begin leads, for form-action in a Content-Security-Policy.
// Before the discovery document was read it is that of the issuer, which may differ.
func (p *Provider) Origin() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	address := p.issuer
	if p.known != nil {
		address = p.known.AuthorizationEndpoint
	}
	u, err := url.Parse(address)
	if err != nil {
		return "" // it was checked
	}
	return u.Scheme + "://" + u.Host
}

// Check reads the provider's discovery document and reports what is wrong with it, as ErrUnavailable. GitHub has none,
// and no request is sent to it.
func (p *Provider) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	if _, err := p.discover(ctx); err != nil {
		return fmt.Errorf("check %s: %w", p.id, err)
	}
	return nil
}

// answerError returns ErrAnswer with a detail.
func answerError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrAnswer, fmt.Sprintf(format, args...))
}

// unavailableError returns ErrUnavailable with a detail.
func unavailableError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnavailable, fmt.Sprintf(format, args...))
}
