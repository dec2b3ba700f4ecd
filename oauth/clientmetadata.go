package oauth

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/input"
	"doorward/storage"
)

// Error codes of RFC 7591, section 3.2.2.
const (
	InvalidRedirectURI    = "invalid_redirect_uri"
	InvalidClientMetadata = "invalid_client_metadata"
)

// maxMetadataNested is how many levels the JSON of a client's metadata may have. Keys need five.
const maxMetadataNested = 16

// clientMetadata is what a client says about itself: a JSON object with the members of RFC 7591, section 2, and others.
type clientMetadata map[string]any

// readClientMetadata parses the metadata of a client. It refuses duplicate names, which parsers disagree about, and any
// null. Its error is an *Error.
func readClientMetadata(text []byte) (clientMetadata, error) {
	var m clientMetadata
	if input.NestedDeeper(string(text), maxMetadataNested) || josejson.Unmarshal(text, &m) != nil || m == nil {
		return nil, badMetadata("The client metadata must be one JSON object, without duplicate names.")
	}
	if !isText(string(text)) {
		return nil, badMetadata("The client metadata contains bytes that are not valid text; send UTF-8.")
	}
	for name, value := range m {
		if value == nil {
			return nil, badMetadata("The member " + bearer.Quoted(name) + " is null; leave it out.")
		}
	}
	return m, nil
}

func badMetadata(description string) *Error {
	return &Error{Code: InvalidClientMetadata, Description: description}
}

// text reads a member that is a string.
func (m clientMetadata) text(name string, to *string) error {
	value, has := m[name]
	text, ok := value.(string)
	if has && !ok {
		return badMetadata("The member " + name + " must be a string.")
	}
	*to = text
	return nil
}

// texts reads a member that is a list of strings. Without the member, the list is nil.
func (m clientMetadata) texts(name string, to *[]string) error {
	value, has := m[name]
	if !has {
		return nil
	}
	wrong := badMetadata("The member " + name + " must be a list of strings.")
	list, ok := value.([]any)
	if !ok {
		return wrong
	}
	*to = make([]string, len(list))
	for i, one := range list {
		if (*to)[i], ok = one.(string); !ok {
			return wrong
		}
	}
	return nil
}

// flag reads a member that is true or false.
func (m clientMetadata) flag(name string, to *bool) error {
	value, has := m[name]
	is, ok := value.(bool)
	if has && !ok {
		return badMetadata("The member " + name + " must be true or false.")
	}
	*to = is
	return nil
}

// keep leaves only some values in a member that is a list. A metadata document is for all servers, so that it may name
// what this one does not offer.
func (m clientMetadata) keep(name string, known ...any) {
	if list, ok := m[name].([]any); ok {
		m[name] = slices.DeleteFunc(list, func(value any) bool {
			text, isText := value.(string)
			return isText && !slices.Contains(known, any(text))
		})
	}
}

// spec returns what the metadata say, without checking whether it is allowed. Members that this server does not know
// are ignored (RFC 7591, section 2).
func (m clientMetadata) spec() (p management.ClientSpec, err error) {
	var scope string
	var responseTypes []string
	for name, to := range map[string]any{
		"redirect_uris": &p.RedirectURIs, "grant_types": &p.Grants, "response_types": &responseTypes,
		"client_name": &p.Name, "client_uri": &p.Site, "logo_uri": &p.LogoURI, "policy_uri": &p.PolicyURI,
		"tos_uri": &p.TOSURI, "scope": &scope, "jwks_uri": &p.JWKSURI, "application_type": &p.ApplicationType,
		"token_endpoint_auth_method": &p.AuthMethod, "token_endpoint_auth_signing_alg": &p.AuthAlgorithm,
		"require_pushed_authorization_requests": &p.PushedRequestsOnly, "dpop_bound_access_tokens": &p.DPoPBound,
	} {
		var wrong error
		switch to := to.(type) {
		case *string:
			wrong = m.text(name, to)
		case *[]string:
			wrong = m.texts(name, to)
		case *bool:
			wrong = m.flag(name, to)
		}
		err = errors.Join(err, wrong)
	}
	if err != nil {
		return p, firstOf(err)
	}
	if keys, has := m["jwks"]; has {
		text, err := json.Marshal(keys)
		if err != nil {
			return p, badMetadata("The member jwks must be a JWK set (RFC 7517, section 5).")
		}
		p.JWKS = string(text)
	}
	if responseTypes != nil && !slices.Equal(responseTypes, []string{"code"}) {
		return p, badMetadata("response_types must be [\"code\"], or be left out.")
	}
	if p.Grants == nil {
		p.Grants = []string{GrantAuthorizationCode} // RFC 7591, section 2
	}
	p.Scopes = scopeNames(scope)
	return p, nil
}

// firstOf returns the error that comes first in the alphabet, so that the answer does not depend on the order of a map.
func firstOf(err error) error {
	all := input.Flatten(err)
	slices.SortFunc(all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return all[0]
}

// laterURIs are members with addresses that this server does not use. They are checked nevertheless: a client that
// names an address inside somebody's network is not one to register.
var laterURIs = []string{"sector_identifier_uri", "backchannel_logout_uri", "frontchannel_logout_uri", "initiate_login_uri"}

// checkMetadata reads and checks what a client says about itself. registration is a value of
// storage.Client.Registration. The error is an *Error.
func (s *Server) checkMetadata(registration string, m clientMetadata) (management.ClientSpec, error) {
	p, err := m.spec()
	if err != nil {
		return p, err
	}
	for _, name := range laterURIs {
		var address string
		if err := m.text(name, &address); err != nil {
			return p, err
		}
		if address == "" {
			continue
		}
		if why := s.fetcher.CheckURL(address); !why.IsZero() {
			return p, badMetadata(name + " " + why.String() + ".")
		}
	}
	return p, metadataError(s.management.CheckSelfRegistered(registration, &p))
}

// metadataMembers are the members of RFC 7591 for the fields of management that have other names.
var metadataMembers = map[string]string{
	"name": "client_name", "site": "client_uri", "grant": "grant_types", "kind": "token_endpoint_auth_method",
}

// metadataError turns faults of fields into the error that a client receives (RFC 7591, section 3.2.2).
func metadataError(err error) error {
	if err == nil {
		return nil
	}
	e := badMetadata("")
	for _, one := range input.Flatten(err) {
		var wrong *input.Invalid
		if !errors.As(one, &wrong) {
			return err
		}
		name := wrong.Field
		if member, ok := metadataMembers[name]; ok {
			name = member
		}
		if name == "redirect_uris" {
			e.Code = InvalidRedirectURI
		}
		if e.Description != "" {
			e.Description += " "
		}
		e.Description += wrong.English(name) + "."
	}
	return e
}

// clientInformation is the answer about a registration (RFC 7591, section 3.2.1).
type clientInformation struct {
	ClientID        string          `json:"client_id"`
	Secret          string          `json:"client_secret,omitempty"`
	IssuedAt        int64           `json:"client_id_issued_at"` // Unix seconds
	SecretExpiresAt *int64          `json:"client_secret_expires_at,omitempty"`
	Token           string          `json:"registration_access_token"`
	URI             string          `json:"registration_client_uri"`
	Name            string          `json:"client_name"`
	Site            string          `json:"client_uri,omitempty"`
	LogoURI         string          `json:"logo_uri,omitempty"`
	PolicyURI       string          `json:"policy_uri,omitempty"`
	TOSURI          string          `json:"tos_uri,omitempty"`
	RedirectURIs    []string        `json:"redirect_uris"`
	GrantTypes      []string        `json:"grant_types"`
	ResponseTypes   []string        `json:"response_types"`
	Scope           string          `json:"scope"`
	ApplicationType string          `json:"application_type,omitempty"`
	AuthMethod      string          `json:"token_endpoint_auth_method"`
	AuthAlgorithm   string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS            json.RawMessage `json:"jwks,omitempty"`
	JWKSURI         string          `json:"jwks_uri,omitempty"`
	PushedOnly      bool            `json:"require_pushed_authorization_requests,omitempty"`
	DPoPBound       bool            `json:"dpop_bound_access_tokens,omitempty"`
}

// informationOf describes a registered client. secret is that of a client that just registered; token is the one for
// its registration.
func (s *Server) informationOf(c *storage.Client, secret, token string) clientInformation {
	open := *c
	s.openTo(&open)
	i := clientInformation{
		ClientID: c.ID, Secret: secret, IssuedAt: c.CreatedAt.Time().Unix(), Token: token,
		URI: s.issuer + "/oauth/register/" + c.ID, Name: c.Name, Site: c.Site, LogoURI: c.LogoURI, PolicyURI: c.PolicyURI,
		TOSURI: c.TOSURI, RedirectURIs: c.RedirectURIs, GrantTypes: c.GrantTypes, ResponseTypes: []string{"code"},
		Scope: open.Scopes.String(), ApplicationType: c.ApplicationType, AuthMethod: management.AuthMethodOf(c),
		AuthAlgorithm: c.AuthAlgorithm, JWKS: json.RawMessage(c.JWKS), JWKSURI: c.JWKSURI, PushedOnly: c.PushedRequestsOnly,
		DPoPBound: c.DPoPBound,
	}
	if c.Scopes.Has(management.ScopeOffline) {
		i.Scope += " " + management.ScopeOffline
	}
	if secret != "" {
		i.SecretExpiresAt = new(int64) // 0: never
	}
	return i
}

// openTo sets what a client that registered itself may ask for now: of the resources that are open to such clients, the
// scopes that are open and that it registered. One that registered no scopes may ask for all of these. It leaves other
// clients as they are.
func (s *Server) openTo(c *storage.Client) {
	if !c.SelfRegistered() {
		return
	}
	named := slices.DeleteFunc(slices.Clone(c.Scopes), func(name string) bool { return name == management.ScopeOffline })
	c.Scopes, c.Resources = nil, nil
	for _, r := range s.catalog.OpenResources() {
		c.Resources = append(c.Resources, r.ID)
		for _, name := range r.OpenScopes {
			if !c.Scopes.Has(name) && (len(named) == 0 || slices.Contains(named, name)) {
				c.Scopes = append(c.Scopes, name)
			}
		}
	}
}
