package management

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/redirecturi"
	"doorward/storage"
)

// ClientSpec holds the choices for a client. Administrator says that an administrator or the CLI made them; some fields
// are only for these.
type ClientSpec struct {
	Name           string
	Site           string
	RedirectURIs   []string
	Grants         []string // nil: what the redirect URIs imply
	Scopes         []string
	Resources      []string // nil: the first configured
	Public         bool
	PKCEOptional   bool
	FirstParty     bool
	ResourceServer bool
	Verified       bool
	Manages        bool
	WorkspaceID    string // empty: no workspace, administrators only
	CreatedBy      string // user id; empty: the CLI
	Administrator  bool
	// The members of storage.Client with these names. For AuthMethod, none means Public. For JWKS, a JWK set as it was
	// sent. FAPI sets PushedRequestsOnly and DPoPBound; see SetPushedRequestsOnly.
	AuthMethod            string
	AuthAlgorithm         string
	JWKS                  string
	JWKSURI               string
	TokenEndpointAudience bool // administrators only
	PushedRequestsOnly    bool
	DPoPBound             bool
	FAPI                  bool
	ApplicationType       string // only of clients that register themselves
	LogoURI               string
	PolicyURI             string
	TOSURI                string
	registration          string             // that of storage.Client; set by CheckSelfRegistered
	refused               []string           // members that the caller named as false
	oldName               string             // the current name of a client that is updated
	oldURIs               map[string]*string // likewise its URIs, by field
}

// RegisteredByOperator reports whether an administrator or the CLI registered a client, which then belongs to no
// workspace, and only they can change it.
func RegisteredByOperator(c *storage.Client) bool { return c.WorkspaceID == "" && !c.SelfRegistered() }

// SpecOf returns the spec of an existing client, to modify and pass to UpdateClient.
func SpecOf(c storage.Client) ClientSpec {
	return ClientSpec{
		Name: c.Name, Site: c.Site, RedirectURIs: c.RedirectURIs, Grants: c.GrantTypes, Scopes: c.Scopes,
		Resources: c.Resources, Public: c.Public, PKCEOptional: c.PKCEOptional, FirstParty: c.FirstParty,
		ResourceServer: c.ResourceServer, Verified: c.Verified, Manages: c.Manages, WorkspaceID: c.WorkspaceID,
		CreatedBy: c.CreatedBy, AuthMethod: c.AuthMethod, AuthAlgorithm: c.AuthAlgorithm, JWKS: c.JWKS, JWKSURI: c.JWKSURI,
		TokenEndpointAudience: c.TokenEndpointAudience, PushedRequestsOnly: c.PushedRequestsOnly, DPoPBound: c.DPoPBound,
		FAPI: c.FAPI, ApplicationType: c.ApplicationType, LogoURI: c.LogoURI, PolicyURI: c.PolicyURI, TOSURI: c.TOSURI,
		registration: c.Registration,
	}
}

// uris are the URIs of a spec, by field, that this server or its users could be sent to.
func (p *ClientSpec) uris() map[string]*string {
	return map[string]*string{
		"jwks_uri": &p.JWKSURI, "logo_uri": &p.LogoURI, "policy_uri": &p.PolicyURI, "tos_uri": &p.TOSURI,
	}
}

// clientRules check the specs of clients.
type clientRules struct {
	catalog         *catalog.Catalog
	grants          []GrantRule
	redirectSchemes []string
	product         string
	checkURL        func(string) locale.Text
}

// check completes a spec and returns every fault of it, as joined *input.Invalid errors.
func (c *clientRules) check(p *ClientSpec) error {
	var all input.Faults
	if p.Name != p.oldName || p.oldName == "" { // the old name was valid under the rules at the time
		c.checkAppName(p, &all)
	}
	p.Site = strings.TrimSpace(p.Site)
	if p.Site != "" && !input.IsSite(p.Site) {
		all.Add("site", "must be an https URL of at most 500 characters, in ASCII; percent-encode others, and use a "+
			"host name in its xn-- form")
	}
	for _, list := range []struct {
		field      string
		have, most int
		tooMany    locale.Text
	}{
		{
			"redirect_uris", len(p.RedirectURIs), maxRedirectURIs,
			locale.New("At most %d redirect URIs are allowed; register fewer", maxRedirectURIs),
		},
		{
			"scope", len(p.Scopes), catalog.MaxScopes,
			locale.New("At most %d permissions are allowed; register fewer", catalog.MaxScopes),
		},
		{
			"resource", len(p.Resources), maxResources,
			locale.New("At most %d APIs are allowed; register fewer", maxResources),
		},
		{
			"grant", len(p.Grants), len(c.grants),
			locale.New("At most %d grant types are allowed; register fewer", len(c.grants)),
		},
	} {
		if list.have > list.most {
			// If a list is too long, its items are neither checked nor reported.
			all = append(all, &input.Invalid{Field: list.field, Message: list.tooMany})
			return errors.Join(all...)
		}
	}
	for i, uri := range p.RedirectURIs {
		if why := redirecturi.Check(uri, c.redirectSchemes); !why.IsZero() {
			all.Add("redirect_uris", "subject and predicate", strconv.Quote(input.Shorten(uri)), why)
		} else if slices.Contains(p.RedirectURIs[:i], uri) {
			all.Add("redirect_uris", "%s appears twice; send it once", strconv.Quote(input.Shorten(uri)))
		}
	}
	if !p.Administrator && (p.PKCEOptional || p.FirstParty || p.ResourceServer || p.Verified || p.Manages) {
		all.Add("kind", "Only administrators can set pkce optional, first party, verified, manages and resource "+
			"server; leave them out")
	}
	c.checkURIs(p, &all)
	c.checkAuthentication(p, &all)
	c.checkGrants(p, &all)
	if p.registration == "" {
		c.checkScopes(p, &all)
	} else {
		c.checkSelfRegistered(p, &all)
	}
	if p.Public && p.PKCEOptional {
		all.Add("pkce", "cannot be optional for a public client, which has no secret to prove itself with (RFC 9700, "+
			"section 2.1.1)")
	}
	return errors.Join(all...)
}

// checkURIs checks the URIs of an app. An old one was valid under the rules at the time.
func (c *clientRules) checkURIs(p *ClientSpec, all *input.Faults) {
	uris := p.uris()
	for _, field := range slices.Sorted(maps.Keys(uris)) {
		uri := strings.TrimSpace(*uris[field])
		*uris[field] = uri
		if old, has := p.oldURIs[field]; uri == "" || has && uri == *old {
			continue
		}
		if why := c.checkURL(uri); !why.IsZero() {
			*all = append(*all, &input.Invalid{Field: field, Message: why})
		}
	}
}

// GrantRule says what registering a client for a grant type requires.
type GrantRule struct {
	Name        string // grant_type (RFC 6749, section 4)
	Implied     bool   // the default of a client with redirect URIs
	RedirectURI bool   // needs a redirect URI, and a client with one needs this grant type
	ForPeople   bool   // a user allows it, and its tokens act for them
	With        string // the grant type that it requires; empty: none
	Secret      bool   // only for clients with a secret
}

// ownGrants lists, for a sentence, the grant types by which clients act on their own behalf.
func (c *clientRules) ownGrants() locale.Text {
	var names []string
	for _, g := range c.grants {
		if !g.ForPeople && g.With == "" {
			names = append(names, g.Name)
		}
	}
	return input.Either(names)
}

// actForPeople reports whether the tokens of one of the grant types act for a user.
func (c *clientRules) actForPeople(grants []string) bool {
	return slices.ContainsFunc(
		c.grants, func(g GrantRule) bool { return g.ForPeople && slices.Contains(grants, g.Name) },
	)
}

func (c *clientRules) checkGrants(p *ClientSpec, all *input.Faults) {
	if p.ResourceServer {
		if p.Public || p.FirstParty || p.PKCEOptional || p.Manages || len(p.RedirectURIs) > 0 || len(p.Grants) > 0 ||
			len(p.Scopes) > 0 {
			all.Add("kind", "A resource server only introspects tokens; leave out redirect URIs, grants, "+
				"scopes, public, pkce, manages and first party")
		}
		return
	}
	var known []string
	implied := p.Grants == nil && len(p.RedirectURIs) > 0
	for _, g := range c.grants {
		if p.registration != "" && !g.ForPeople && g.With == "" {
			continue // the client of a stranger acts only for users, who allow it
		}
		if known = append(known, g.Name); implied && g.Implied {
			p.Grants = append(p.Grants, g.Name)
		}
	}
	if len(p.Grants) == 0 {
		all.Add("grant", "is missing: an app without a redirect URI needs %s", c.ownGrants())
	}
	for i, name := range p.Grants {
		if !slices.Contains(known, name) {
			all.Add("grant", "%s is unknown; use %s", strconv.Quote(input.Shorten(name)), strings.Join(known, ", "))
		} else if slices.Contains(p.Grants[:i], name) {
			all.Add("grant", "%s appears twice; send it once", strconv.Quote(name))
		}
	}
	for _, g := range c.grants {
		has := slices.Contains(p.Grants, g.Name)
		switch {
		case g.RedirectURI && has && len(p.RedirectURIs) == 0:
			all.Add("redirect_uris", "are missing: %s needs one", g.Name)
		case g.RedirectURI && !has && len(p.RedirectURIs) > 0 && len(p.Grants) > 0:
			all.Add("grant", "needs %s, since there is a redirect URI", g.Name)
		}
		if has && g.With != "" && !slices.Contains(p.Grants, g.With) {
			all.Add("grant", "%s requires %s; add it", g.Name, g.With)
		}
		if has && g.Secret && p.Public {
			all.Add("grant", "%s needs a client secret, and public clients have none", g.Name)
		}
	}
}

func (c *clientRules) checkScopes(p *ClientSpec, all *input.Faults) {
	if len(p.Resources) == 0 {
		p.Resources = []string{c.catalog.Resources()[0].ID}
	}
	p.Resources = slices.Clone(p.Resources) // it may be a stored client's
	var known []*catalog.Resource
	for i, id := range p.Resources {
		r, ok := c.catalog.Resource(id)
		switch {
		case !ok:
			all.Add(
				"resource", "%s is not in the configuration; use the ID of a resource in it",
				strconv.Quote(input.Shorten(id)),
			)
		case catalog.ContainsResource(p.Resources[:i], id):
			all.Add("resource", "%s appears twice; send it once", strconv.Quote(id))
		default:
			known, p.Resources[i] = append(known, r), r.ID
		}
	}
	if len(p.Scopes) == 0 && !p.ResourceServer {
		all.Add("scope", "is missing; choose at least one")
	}
	anyKnows := func(accept func(catalog.Scope) bool, name string) bool {
		return slices.ContainsFunc(known, func(r *catalog.Resource) bool {
			x, ok := r.Scope(name)
			return ok && accept(x)
		})
	}
	for i, name := range p.Scopes {
		if slices.Contains(p.Scopes[:i], name) {
			all.Add("scope", "%s appears twice; send it once", strconv.Quote(input.Shorten(name)))
		} else if len(known) > 0 && !anyKnows(func(catalog.Scope) bool { return true }, name) {
			all.Add("scope", "%s is not a scope of the app's resources; leave it out, or add the resource that has it",
				strconv.Quote(input.Shorten(name)))
		} else if len(known) > 0 && len(p.Grants) > 0 && !c.actForPeople(p.Grants) &&
			!anyKnows(func(x catalog.Scope) bool { return !x.UserOnly }, name) {
			all.Add("scope", "%s is available only to users, and an app with only %s acts on its own behalf; "+
				"leave it out", strconv.Quote(input.Shorten(name)), c.ownGrants())
		}
	}
}

// checkAppName checks the name of an app. It must not claim what only this server says, and only the operator may give
// it the name of the server or of an API.
func (c *clientRules) checkAppName(p *ClientSpec, all *input.Faults) {
	var why locale.Text
	p.Name, why = input.Line(p.Name, maxAppName)
	if why.IsZero() && p.Name == "" {
		why = locale.New("is missing; give the app a name that users will recognise")
	}
	if why.IsZero() {
		own := []string{"Doorward"}
		if c.product != "" {
			own = append(own, c.product)
		}
		for _, r := range c.catalog.Resources() {
			own = append(own, r.Name, r.ID)
			// Users know an API by its host as well.
			if u, err := url.Parse(r.ID); err == nil {
				own = append(own, u.Hostname())
			}
		}
		why = input.FalseClaim(p.Name, own, p.Administrator)
	}
	if !why.IsZero() {
		*all = append(*all, &input.Invalid{Field: "name", Message: why})
	}
}

func (p *ClientSpec) origins() []string {
	var out []string
	for _, uri := range p.RedirectURIs {
		if o := redirecturi.Origin(uri); o != "" && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

func (p *ClientSpec) apply(c *storage.Client) {
	c.Name, c.Site, c.RedirectURIs, c.GrantTypes = p.Name, p.Site, p.RedirectURIs, p.Grants
	c.Scopes, c.Resources = p.Scopes, p.Resources
	c.PKCEOptional, c.FirstParty, c.ResourceServer = p.PKCEOptional, p.FirstParty, p.ResourceServer
	c.Verified, c.Manages = p.Verified, p.Manages
	c.AuthMethod, c.AuthAlgorithm, c.JWKS, c.JWKSURI = p.AuthMethod, p.AuthAlgorithm, p.JWKS, p.JWKSURI
	c.TokenEndpointAudience, c.PushedRequestsOnly = p.TokenEndpointAudience, p.PushedRequestsOnly
	c.DPoPBound, c.FAPI = p.DPoPBound, p.FAPI
	c.ApplicationType, c.LogoURI, c.PolicyURI, c.TOSURI = p.ApplicationType, p.LogoURI, p.PolicyURI, p.TOSURI
}

func newSecret(now storage.Time) (string, storage.ClientSecret) {
	text := bearer.NewCredential(bearer.PrefixClientSecret)
	return text, storage.ClientSecret{
		ID: storage.NewID("secret"), Digest: storage.Digest(text), Tail: text[len(text)-4:], CreatedAt: now,
	}
}
