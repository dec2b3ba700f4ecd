package oauth

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"doorward/management"
	"doorward/storage"
)

// description is what users are told about a client that registered itself, as far as it may not change unnoticed.
type description struct {
	Name         string   `json:"name"`
	RedirectURIs []string `json:"redirect_uris"`
	Keys         []string `json:"keys,omitempty"` // kid and thumbprint of each
	JWKSURI      string   `json:"jwks_uri,omitempty"`
}

// Describe returns what is stored with a consent about a client that registered itself, so that a change can be shown.
// It is empty for other clients, which cannot change without an authority of this server.
func Describe(c *storage.Client) string {
	if !c.SelfRegistered() {
		return ""
	}
	d := description{Name: c.Name, RedirectURIs: slices.Sorted(slices.Values(c.RedirectURIs)), JWKSURI: c.JWKSURI}
	for _, key := range management.ClientKeys(c.JWKS) {
		d.Keys = append(d.Keys, key.Name())
	}
	slices.Sort(d.Keys)
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings only
	}
	return string(text)
}

// ClientChange is what a client says about itself now and did not say when a user allowed it.
type ClientChange struct {
	OldName string   // empty: the name is the same
	Added   []string // redirect URIs
	Removed []string // redirect URIs
	NewKeys bool     // it authenticates with other keys, or publishes them elsewhere
}

// ChangeOf compares a client with the description that a consent has. It returns nil if nothing has changed.
func ChangeOf(c *storage.Client, before string) *ClientChange {
	if Describe(c) == before {
		return nil
	}
	var old description
	if err := json.Unmarshal([]byte(before), &old); err != nil {
		return &ClientChange{} // it was stored before there were descriptions
	}
	var now description
	_ = json.Unmarshal([]byte(Describe(c)), &now) // it has just been made
	change := &ClientChange{
		Added: without(now.RedirectURIs, old.RedirectURIs), Removed: without(old.RedirectURIs, now.RedirectURIs),
		NewKeys: !slices.Equal(now.Keys, old.Keys) || now.JWKSURI != old.JWKSURI,
	}
	if now.Name != old.Name {
		change.OldName = old.Name
	}
	return change
}

// without lists what is in list and not in other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return slices.Contains(other, x) })
}

// AppName returns the name by which a user knows a client before they have seen the consent page: the host of its
// metadata document, or the name that it was given.
func AppName(c *storage.Client) string {
	if host := ProvenHost(c); host != "" {
		return host
	}
	return c.Name
}

// ProvenHost returns the host at which a client publishes its metadata document, in lower case. It is empty for other
// clients.
func ProvenHost(c *storage.Client) string {
	if c.Registration != storage.RegisteredByDocument {
		return ""
	}
	u, err := url.Parse(c.ID)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
