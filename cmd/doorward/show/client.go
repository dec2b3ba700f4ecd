package show

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"doorward/management"
	"doorward/storage"
)

// Client is an app, for scripts. Its members have the names of RFC 7591, section 2, where it defines them.
type Client struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"` // only when it was just created
	// Registration says how the app registered itself: dynamic (RFC 7591), or document, by its metadata document. It is
	// left out for an app that a user, an administrator or the operator registered.
	Registration    string   `json:"registration,omitempty"`
	ApplicationType string   `json:"application_type,omitempty"`
	Name            string   `json:"client_name"`
	Site            string   `json:"client_uri,omitempty"`
	LogoURI         string   `json:"logo_uri,omitempty"`
	PolicyURI       string   `json:"policy_uri,omitempty"`
	TOSURI          string   `json:"tos_uri,omitempty"`
	RedirectURIs    []string `json:"redirect_uris"`
	GrantTypes      []string `json:"grant_types"`
	Scope           string   `json:"scope"`
	Resources       []string `json:"resources"`
	Public          bool     `json:"public"`
	PKCE            string   `json:"pkce"`
	FirstParty      bool     `json:"first_party"`
	ResourceServer  bool     `json:"resource_server"`
	Verified        bool     `json:"verified"`
	Manages         bool     `json:"manages"`
	Disabled        bool     `json:"disabled"`
	DisabledBy      string   `json:"disabled_by,omitempty"` // administrator, or a role in its workspace
	// WorkspaceDisabled means that the app does not work until its workspace is enabled.
	WorkspaceDisabled bool      `json:"workspace_disabled,omitempty"`
	WorkspaceID       string    `json:"workspace_id,omitempty"`
	CreatedAt         time.Time `json:"created_at"`
	Secrets           []Secret  `json:"secrets,omitempty"`
	// AuthMethod is left out for an app that may use its secret by HTTP Basic or in the body.
	AuthMethod         string          `json:"token_endpoint_auth_method,omitempty"`
	AuthAlgorithm      string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS               json.RawMessage `json:"jwks,omitempty"`
	JWKSURI            string          `json:"jwks_uri,omitempty"`
	PushedRequestsOnly bool            `json:"require_pushed_authorization_requests"`
	DPoPBound          bool            `json:"dpop_bound_access_tokens"`
	FAPI               bool            `json:"fapi"`
	Audience           bool            `json:"token_endpoint_audience"`
}

// Secret identifies a client secret without showing it.
type Secret struct {
	Tail      string     `json:"tail"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// NewClient describes an app. Secret is the client secret that was just created; empty otherwise.
func NewClient(c storage.Client, secret string) Client {
	row := Client{
		ClientID:        c.ID,
		ClientSecret:    secret,
		Registration:    c.Registration,
		ApplicationType: c.ApplicationType,
		Name:            c.Name,
		Site:            c.Site,
		LogoURI:         c.LogoURI,
		PolicyURI:       c.PolicyURI,
		TOSURI:          c.TOSURI,
		RedirectURIs:    notNil(c.RedirectURIs),
		GrantTypes:      notNil(c.GrantTypes),
		Scope:           c.Scopes.String(),
		Resources:       notNil(c.Resources),
		Public:          c.Public,
		PKCE:            "required",
		FirstParty:      c.FirstParty,
		ResourceServer:  c.ResourceServer,
		Verified:        c.Verified,
		Manages:         c.Manages,
		Disabled:        !c.DisabledAt.IsZero(),
		DisabledBy:      c.DisabledBy,
		WorkspaceID:     c.WorkspaceID,
		CreatedAt:       Seconds(c.CreatedAt),

		AuthMethod:         management.AuthMethodOf(&c),
		AuthAlgorithm:      c.AuthAlgorithm,
		JWKS:               json.RawMessage(c.JWKS),
		JWKSURI:            c.JWKSURI,
		PushedRequestsOnly: c.PushedRequestsOnly,
		DPoPBound:          c.DPoPBound,
		FAPI:               c.FAPI,
		Audience:           c.TokenEndpointAudience,
	}
	if c.PKCEOptional {
		row.PKCE = "optional"
	}
	for _, x := range c.Secrets {
		row.Secrets = append(
			row.Secrets,
			Secret{Tail: x.Tail, CreatedAt: Seconds(x.CreatedAt), ExpiresAt: SecondsOrNil(x.ExpiresAt)},
		)
	}
	return row
}

// notNil keeps an empty list from becoming null in JSON.
func notNil(list storage.List) []string { return append([]string{}, list...) }

func (c Client) kind() string {
	switch {
	case c.ResourceServer:
		return "resource server"
	case c.Public:
		return "public"
	}
	return "confidential"
}

// registeredBy says how the app came to be, unless a workspace registered it.
func (c Client) registeredBy() string {
	switch {
	case c.Registration == storage.RegisteredDynamically:
		return "itself"
	case c.Registration == storage.RegisteredByDocument:
		return "its metadata document"
	case c.WorkspaceID == "":
		return "the operator"
	}
	return ""
}

// Clients writes a table of apps.
func Clients(w io.Writer, clients []Client) {
	rows := [][]string{{"CLIENT ID", "NAME", "KIND", "REGISTERED BY", "STATE"}}
	for _, c := range clients {
		by := cmp.Or(c.registeredBy(), "a workspace")
		rows = append(rows, []string{c.ClientID, c.Name, c.kind(), by, enabled(c.Disabled)})
	}
	Table(w, rows...)
}

// Write shows one app, with its secret if it was just created.
func (c Client) Write(w io.Writer) {
	var f fields
	yes := func(name string, is bool) {
		if is {
			f.add(name, "yes")
		}
	}
	f.add("client_id", c.ClientID)
	f.add("client_secret", c.ClientSecret)
	f.add("name", c.Name)
	f.add("site", c.Site)
	f.add("logo_uri", c.LogoURI)
	f.add("policy_uri", c.PolicyURI)
	f.add("tos_uri", c.TOSURI)
	f.add("kind", c.kind())
	f.add("application_type", c.ApplicationType)
	for _, uri := range c.RedirectURIs {
		f.add("redirect URI", uri)
	}
	f.add("grants", strings.Join(c.GrantTypes, " "))
	scope := c.Scope
	if scope == "" && c.Registration != "" {
		scope = "all that are open to apps that register themselves"
	}
	f.add("scope", scope)
	f.add("resources", strings.Join(c.Resources, " "))
	if c.PKCE == "optional" {
		f.add("pkce", c.PKCE)
	}
	yes("first party", c.FirstParty)
	yes("verified", c.Verified)
	f.add("registered by", c.registeredBy())
	yes("manages", c.Manages)
	c.addAuthentication(&f)
	f.add("state", c.stateInWords())
	f.addTime("created", &c.CreatedAt)
	for _, x := range c.Secrets {
		until := ""
		if x.ExpiresAt != nil {
			until = ", expires " + x.ExpiresAt.Format(time.RFC3339)
		}
		f.add("secret", "…"+x.Tail+", created "+x.CreatedAt.Format(time.RFC3339)+until)
	}
	Table(w, f...)
	if c.FAPI {
		_, _ = fmt.Fprintln(w, "\nWhat fapi means:")
		for _, text := range management.FAPIMeans() {
			_, _ = fmt.Fprintln(w, "- "+text.String())
		}
	}
	if c.ClientSecret != "" {
		_, _ = fmt.Fprintln(w, "\nThe secret is not shown again.")
	}
}

// addAuthentication adds how the app authenticates and what it must send.
func (c Client) addAuthentication(f *fields) {
	method := c.AuthMethod
	if method == "" {
		method = management.AuthSecretBasic + " or " + management.AuthSecretPost
	}
	f.add("token_endpoint_auth_method", method)
	f.add("token_endpoint_auth_signing_alg", c.AuthAlgorithm)
	for _, k := range management.ClientKeys(string(c.JWKS)) {
		f.add("jwks", k.Name()+", for "+strings.Join(k.Algorithms, " or "))
	}
	f.add("jwks_uri", c.JWKSURI)
	for _, x := range []struct {
		name string
		is   bool
	}{
		{"require_pushed_authorization_requests", c.PushedRequestsOnly},
		{"dpop_bound_access_tokens", c.DPoPBound},
		{"fapi", c.FAPI},
		{"token_endpoint_audience", c.Audience},
	} {
		if x.is {
			f.add(x.name, "yes")
		}
	}
}

func (c Client) stateInWords() string {
	state := enabled(c.Disabled)
	if c.DisabledBy != "" {
		state += " by " + stoppedBy(c.DisabledBy)
	}
	if c.WorkspaceDisabled {
		state += ", but its workspace is disabled"
	}
	return state
}
