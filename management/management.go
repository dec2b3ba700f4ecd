// Package management is what an administrator, a member or their program changes: workspaces, members, invitations,
// apps, and keys, and who may change what. It decides by an Authority and writes what was done into the audit log; it
// knows no HTTP.
package management

import (
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Config is what a Manager is made of. Every field is needed but RedirectSchemes, OwnersSetPlans and UnlimitedChanges.
type Config struct {
	Issuer  string // where the links of invitations lead; no slash at its end
	Store   *storage.Store
	Catalog *catalog.Catalog
	APIKeys *apikey.Keys
	Limiter limit.Limiter
	// Grants are the grant types that clients can register for.
	Grants []GrantRule
	// RedirectSchemes are those without a dot that redirect URIs may have; empty: none.
	RedirectSchemes []string
	// OwnersSetPlans lets the owners of a workspace choose its plan; else administrators of this server do.
	OwnersSetPlans bool
	// UnlimitedChanges lifts the bounds of TakeChange, TakeSignIn and TakeAnswer.
	UnlimitedChanges bool
}

// Manager makes every change of what is administered. Its methods are safe for many goroutines.
type Manager struct {
	issuer    string
	store     *storage.Store
	catalog   *catalog.Catalog
	keys      *apikey.Keys
	limiter   limit.Limiter
	clients   clientRules
	ownPlans  bool // owners set the plan of their workspace
	unlimited bool
}

// New makes a Manager.
func New(c Config) *Manager {
	return &Manager{
		issuer: c.Issuer, store: c.Store, catalog: c.Catalog, keys: c.APIKeys, limiter: c.Limiter,
		clients:  clientRules{catalog: c.Catalog, grants: c.Grants, redirectSchemes: c.RedirectSchemes},
		ownPlans: c.OwnersSetPlans, unlimited: c.UnlimitedChanges,
	}
}
