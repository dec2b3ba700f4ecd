package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"doorward/storage"
)

// Client is an app, for scripts. Its members have the names of RFC 7591, section 2, where it defines them.
type Client struct {
	ClientID       string   `json:"client_id"`
	ClientSecret   string   `json:"client_secret,omitempty"` // only when it was just created
	Name           string   `json:"client_name"`
	Site           string   `json:"client_uri,omitempty"`
	RedirectURIs   []string `json:"redirect_uris"`
	GrantTypes     []string `json:"grant_types"`
	Scope          string   `json:"scope"`
	Resources      []string `json:"resources"`
	Public         bool     `json:"public"`
	PKCE           string   `json:"pkce"`
	FirstParty     bool     `json:"first_party"`
	ResourceServer bool     `json:"resource_server"`
	Verified       bool     `json:"verified"`
	Manages        bool     `json:"manages"`
	Disabled       bool     `json:"disabled"`
	DisabledBy     string   `json:"disabled_by,omitempty"` // administrator, or a role in its workspace
	// WorkspaceDisabled means that the app does not work until its workspace is enabled.
	WorkspaceDisabled bool      `json:"workspace_disabled,omitempty"`
	WorkspaceID       string    `json:"workspace_id,omitempty"`
	CreatedAt         time.Time `json:"created_at"`
	Secrets           []Secret  `json:"secrets,omitempty"`
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
		ClientID:       c.ID,
		ClientSecret:   secret,
		Name:           c.Name,
		Site:           c.Site,
		RedirectURIs:   notNil(c.RedirectURIs),
		GrantTypes:     notNil(c.GrantTypes),
		Scope:          c.Scopes.String(),
		Resources:      notNil(c.Resources),
		Public:         c.Public,
		PKCE:           "required",
		FirstParty:     c.FirstParty,
		ResourceServer: c.ResourceServer,
		Verified:       c.Verified,
		Manages:        c.Manages,
		Disabled:       !c.DisabledAt.IsZero(),
		DisabledBy:     c.DisabledBy,
		WorkspaceID:    c.WorkspaceID,
		CreatedAt:      Seconds(c.CreatedAt),
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

// Clients writes a table of apps.
func Clients(w io.Writer, clients []Client) {
	rows := [][]string{{"CLIENT ID", "NAME", "KIND", "STATE"}}
	for _, c := range clients {
		rows = append(rows, []string{c.ClientID, c.Name, c.kind(), enabled(c.Disabled)})
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
	f.add("kind", c.kind())
	for _, uri := range c.RedirectURIs {
		f.add("redirect URI", uri)
	}
	f.add("grants", strings.Join(c.GrantTypes, " "))
	f.add("scope", c.Scope)
	f.add("resources", strings.Join(c.Resources, " "))
	if c.PKCE == "optional" {
		f.add("pkce", c.PKCE)
	}
	yes("first party", c.FirstParty)
	yes("verified", c.Verified)
	if c.WorkspaceID == "" {
		f.add("registered by", "the operator")
	}
	yes("manages", c.Manages)
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
	if c.ClientSecret != "" {
		_, _ = fmt.Fprintln(w, "\nThe secret is not shown again.")
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
