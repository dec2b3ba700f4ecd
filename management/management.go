// Package management changes workspaces, members, invitations, apps and keys for administrators, members and their
// programs. It decides what an Authority may change, and records each change in the audit log; it does not know HTTP.
package management

import (
	"cmp"

	"doorward/locale"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
)

// Config holds what a Manager needs. Every field is required, except RedirectSchemes, OwnersSetPlans,
// KnownOnly, SendsEmail and UnlimitedChanges.
type Config struct {
	Issuer  string // start of the links of invitations; no trailing slash
	Store   *storage.Store
	Catalog *catalog.Catalog
	APIKeys *apikey.Keys
	Limiter limit.Limiter
	// Grants are the grant types that clients can register for.
	Grants []GrantRule
	// Product is the name that pages carry, which only the operator may give to an app; empty: Doorward.
	//exhaustruct:optional
	Product string
	// CheckURL says why this server would not fetch from a URL that a client names; the zero Text: it may.
	CheckURL func(url string) locale.Text
	// RedirectSchemes are the private-use schemes without a dot that redirect URIs may have; empty: none.
	RedirectSchemes []string
	// OwnersSetPlans lets the owners of a workspace choose its plan; otherwise only administrators of this server do.
	OwnersSetPlans bool
	// KnownOnly says that only addresses with an account can be invited, because the others could not create one.
	KnownOnly bool
	// SendsEmail says that the server sends invitations and notices by email.
	SendsEmail bool
	Secrets    *seal.Secrets // seals the links in emails; needed only with SendsEmail
	// Registration says which clients may register themselves: RegistrationClosed, RegistrationToken or
	// RegistrationOpen. Empty means closed.
	//exhaustruct:optional
	Registration string
	// OpenIDCompatible lets confidential clients that register themselves leave out PKCE, and name the token endpoint as
	// the audience of their assertions.
	//exhaustruct:optional
	OpenIDCompatible bool
	// UnlimitedChanges lifts the limits of TakeChange, TakeSignIn and TakeAnswer.
	UnlimitedChanges bool
}

// Manager runs administrative operations. Its methods are safe for concurrent use.
type Manager struct {
	issuer    string
	store     *storage.Store
	catalog   *catalog.Catalog
	keys      *apikey.Keys
	limiter   limit.Limiter
	clients   clientRules
	ownPlans  bool // owners set the plan of their workspace
	knownOnly bool
	sends     bool
	secrets   *seal.Secrets
	unlimited bool

	registration string
	openID       bool
}

// New returns a Manager.
func New(c Config) *Manager {
	return &Manager{
		issuer: c.Issuer, store: c.Store, catalog: c.Catalog, keys: c.APIKeys, limiter: c.Limiter,
		clients: clientRules{
			catalog: c.Catalog, grants: c.Grants, redirectSchemes: c.RedirectSchemes, product: c.Product,
			checkURL: c.CheckURL,
		},
		ownPlans: c.OwnersSetPlans, knownOnly: c.KnownOnly, sends: c.SendsEmail, secrets: c.Secrets,
		unlimited: c.UnlimitedChanges, registration: cmp.Or(c.Registration, RegistrationClosed), openID: c.OpenIDCompatible,
	}
}
