package storage

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// Client is an application that requests tokens (RFC 6749, section 1.1), or a resource server that introspects them.
type Client struct {
	ID           string
	WorkspaceID  string // empty: created by the CLI, visible to administrators only
	CreatedBy    string // user id; empty: the CLI
	Name         string
	Site         string // the app's home page; may be empty
	Public       bool   // has no secret (RFC 6749, section 2.1)
	PKCEOptional bool   // an app without support for PKCE; never a public one
	// FirstParty apps need no consent, unless any program could receive the answer (RFC 8252, section 8.6).
	FirstParty     bool
	ResourceServer bool // may introspect every credential for its resources
	Verified       bool // an administrator vouches for its name
	Manages        bool // its access tokens may create things that outlive them
	// AuthMethod is how it authenticates (token_endpoint_auth_method, RFC 7591, section 2). Empty: a confidential client
	// uses its secret, by HTTP Basic or in the body, and a public one does not authenticate.
	AuthMethod string
	// AuthAlgorithm is the only algorithm of its assertions (token_endpoint_auth_signing_alg); empty: any supported one.
	AuthAlgorithm string
	JWKS          string // its public keys, as a JWK set (RFC 7517, section 5); empty: those at JWKSURI, or none
	JWKSURI       string // where it publishes its keys; empty: JWKS
	// TokenEndpointAudience accepts the URL of the token endpoint as the audience of its assertions, beside the issuer.
	TokenEndpointAudience bool
	PushedRequestsOnly    bool // require_pushed_authorization_requests (RFC 9126, section 6)
	DPoPBound             bool // dpop_bound_access_tokens (RFC 9449, section 5.2)
	FAPI                  bool // it follows the FAPI 2.0 Security Profile; the fields above then have the values that it needs
	// Registration says how the client came to be: RegisteredDynamically, RegisteredByDocument, or empty: a user, an
	// administrator or the operator registered it.
	Registration    string
	ApplicationType string // web or native (OpenID Connect Dynamic Client Registration 1.0, section 2); empty: unknown
	LogoURI         string // of an image; empty: none
	PolicyURI       string // how it uses data; empty: unknown
	TOSURI          string // its terms of service; empty: unknown
	// RegistrationToken is the SHA-256 of the token with which the client changes its registration (RFC 7592); nil: none.
	RegistrationToken []byte
	DocumentAt        Time // when its metadata document was last fetched; zero: it has none
	RedirectURIs      List // RFC 6749, section 3.1.2, compared byte for byte
	GrantTypes        List // RFC 7591, section 2
	Scopes            List
	Resources         List // RFC 8707; the first is the default
	DisabledAt        Time
	DisabledBy        string // the authority that disabled it; empty: it is enabled
	CreatedAt         Time
	ChangedAt         Time
	Secrets           []ClientSecret // those that have not expired, the newest first; empty in lists
}

// The values of Client.Registration for clients that registered themselves.
const (
	RegisteredDynamically = "dynamic"  // at the registration endpoint (RFC 7591)
	RegisteredByDocument  = "document" // its id is the URL of its metadata document
)

// SelfRegistered reports whether a client says about itself what is stored about it.
func (c *Client) SelfRegistered() bool { return c.Registration != "" }

// ClientSecret is one secret of a client; at most two are valid, during a rotation.
type ClientSecret struct {
	ID         string
	Digest     []byte // SHA-256 of the secret
	Tail       string // its last four characters, to recognise it
	CreatedAt  Time
	ExpiresAt  Time // zero: never
	LastUsedAt Time
}

const clientColumns = `c.id, COALESCE(c.workspace_id, ''), COALESCE(c.created_by, ''), c.name, c.site, c.public,
	c.pkce_optional, c.first_party, c.resource_server, c.verified, c.manages, c.redirect_uris, c.grant_types, c.scopes,
	c.resources, c.disabled_at, c.disabled_by, c.created_at, c.changed_at, c.auth_method, c.auth_algorithm, c.jwks,
	c.jwks_uri, c.token_endpoint_audience, c.pushed_requests_only, c.dpop_bound, c.fapi, c.registration,
	c.application_type, c.logo_uri, c.policy_uri, c.tos_uri, c.registration_token, c.document_at`

func (c *Client) fields() []any {
	return []any{
		&c.ID, &c.WorkspaceID, &c.CreatedBy, &c.Name, &c.Site, &c.Public, &c.PKCEOptional, &c.FirstParty,
		&c.ResourceServer, &c.Verified, &c.Manages, &c.RedirectURIs, &c.GrantTypes, &c.Scopes, &c.Resources,
		&c.DisabledAt, &c.DisabledBy, &c.CreatedAt, &c.ChangedAt, &c.AuthMethod, &c.AuthAlgorithm, &c.JWKS, &c.JWKSURI,
		&c.TokenEndpointAudience, &c.PushedRequestsOnly, &c.DPoPBound, &c.FAPI, &c.Registration, &c.ApplicationType,
		&c.LogoURI, &c.PolicyURI, &c.TOSURI, &c.RegistrationToken, &c.DocumentAt,
	}
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// InsertClient adds a client with its secrets and the web origins from which it may call. It returns ErrExists if there
// is one with the same metadata document.
func (s *Store) InsertClient(ctx context.Context, c *Client, origins []string) error {
	c.CreatedAt, c.ChangedAt = s.Now(), s.Now()
	return s.InTx(ctx, func(ctx context.Context) error {
		var used any
		if c.SelfRegistered() {
			used = c.CreatedAt
		}
		conflict := "" // ids that this server makes differ
		if c.Registration == RegisteredByDocument {
			conflict = ` ON CONFLICT (id) DO NOTHING`
		}
		if err := s.execOne(ctx, ErrExists, plain(`INSERT INTO clients (id, workspace_id, created_by, name, name_key, site,
			public, pkce_optional, first_party, resource_server, verified, manages, redirect_uris, grant_types, scopes,
			resources, created_at, changed_at, auth_method, auth_algorithm, jwks, jwks_uri, token_endpoint_audience,
			pushed_requests_only, dpop_bound, fapi, registration, application_type, logo_uri, policy_uri, tos_uri,
			registration_token, document_at, used_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17, $18, $19, $20, $21,
			$22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)`+conflict),
			c.ID, nullable(c.WorkspaceID), nullable(c.CreatedBy), c.Name, searchKey(c.Name), c.Site, c.Public,
			c.PKCEOptional, c.FirstParty, c.ResourceServer,
			c.Verified, c.Manages, c.RedirectURIs, c.GrantTypes, c.Scopes, c.Resources, c.CreatedAt, c.AuthMethod,
			c.AuthAlgorithm, c.JWKS, c.JWKSURI, c.TokenEndpointAudience, c.PushedRequestsOnly, c.DPoPBound,
			c.FAPI, c.Registration, c.ApplicationType, c.LogoURI, c.PolicyURI, c.TOSURI, c.RegistrationToken, c.DocumentAt,
			used); err != nil {
			return err
		}
		for i := range c.Secrets {
			if err := s.insertSecret(ctx, c.ID, c.Secrets[i]); err != nil {
				return err
			}
		}
		return s.setOrigins(ctx, c.ID, origins)
	})
}

func (s *Store) insertSecret(ctx context.Context, clientID string, x ClientSecret) error {
	_, err := s.exec(ctx, altering(`INSERT INTO client_secrets (id, client_id, workspace_id, digest, tail, created_at,
		expires_at)
		VALUES ($1, $2, (SELECT workspace_id FROM clients WHERE id = $2), $3, $4, $5, $6)`).of(2),
		x.ID, clientID, x.Digest, x.Tail, x.CreatedAt, x.ExpiresAt)
	return err
}

func (s *Store) setOrigins(ctx context.Context, clientID string, origins []string) error {
	if _, err := s.exec(ctx, plain(`DELETE FROM client_origins WHERE client_id = $1`), clientID); err != nil {
		return err
	}
	for _, o := range origins {
		if _, err := s.exec(ctx, plain(`INSERT INTO client_origins (origin, client_id, workspace_id)
			VALUES ($1, $2, (SELECT workspace_id FROM clients WHERE id = $2)) ON CONFLICT DO NOTHING`), o,
			clientID); err != nil {
			return err
		}
	}
	return nil
}

// UpdateClient writes all fields of c, except for its id, owner, secrets, state and registration. It deletes the secrets
// of a client that authenticates with private_key_jwt.
func (s *Store) UpdateClient(ctx context.Context, c *Client, origins []string) error {
	c.ChangedAt = s.Now()
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.execOne(ctx, ErrNotFound, altering(`UPDATE clients SET name = $2, name_key = $14, site = $3,
			public = $4, pkce_optional = $5, first_party = $6, resource_server = $7, verified = $8, redirect_uris = $9,
			grant_types = $10, scopes = $11, resources = $12, changed_at = $13, manages = $15, auth_method = $16,
			auth_algorithm = $17, jwks = $18, jwks_uri = $19, token_endpoint_audience = $20,
			pushed_requests_only = $21, dpop_bound = $22, fapi = $23, application_type = $24, logo_uri = $25,
			policy_uri = $26, tos_uri = $27 WHERE id = $1`).of(1),
			c.ID, c.Name, c.Site, c.Public, c.PKCEOptional, c.FirstParty, c.ResourceServer, c.Verified, c.RedirectURIs,
			c.GrantTypes,
			c.Scopes, c.Resources, c.ChangedAt, searchKey(c.Name), c.Manages, c.AuthMethod, c.AuthAlgorithm, c.JWKS,
			c.JWKSURI, c.TokenEndpointAudience, c.PushedRequestsOnly, c.DPoPBound, c.FAPI, c.ApplicationType, c.LogoURI,
			c.PolicyURI, c.TOSURI); err != nil {
			return err
		}
		if c.AuthMethod == "private_key_jwt" {
			c.Secrets = nil
			if _, err := s.exec(ctx, altering(`DELETE FROM client_secrets WHERE client_id = $1`).of(1),
				c.ID); err != nil {
				return err
			}
		}
		return s.setOrigins(ctx, c.ID, origins)
	})
}

// ClientByID returns a client with its valid secrets, disabled or not. It returns ErrNotFound if there is none.
func (s *Store) ClientByID(ctx context.Context, id string) (Client, error) {
	c, _, err := s.clientByID(ctx, id, `FALSE`)
	return c, err
}

// ClientInUse is ClientByID, and also reports whether the client is usable: neither it nor its workspace is disabled.
func (s *Store) ClientInUse(ctx context.Context, id string) (c Client, usable bool, err error) {
	// Not part of ClientByID, since tenants cannot read workspaces.
	c, stopped, err := s.clientByID(ctx, id, `EXISTS (SELECT 1 FROM workspaces w WHERE w.id = c.workspace_id
		AND w.disabled_at IS NOT NULL)`)
	return c, err == nil && !stopped && c.DisabledAt.IsZero(), err
}

// ClientUsableStatement is the statement of ClientUsable.
var ClientUsableStatement = Statement{`SELECT c.disabled_at IS NULL AND w.disabled_at IS NULL
	FROM clients c LEFT JOIN workspaces w ON w.id = c.workspace_id WHERE c.id = $1`, shared | compiled}

// ClientUsable reports whether neither a client nor its workspace is disabled, as ClientInUse does, with less work.
func (s *Store) ClientUsable(ctx context.Context, id string) (usable bool, err error) {
	err = s.one(ctx, []any{&usable}, ClientUsableStatement, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return usable, err
}

func (s *Store) clientByID(ctx context.Context, id, column string) (c Client, value bool, err error) {
	found := false
	err = s.each(ctx, func(scan func(...any) error) error {
		var x ClientSecret
		var secretID *string
		var tail *string
		if err := scan(append(c.fields(), &value, &secretID, &x.Digest, &tail, &x.CreatedAt, &x.ExpiresAt,
			&x.LastUsedAt)...); err != nil {
			return err
		}
		found = true
		if secretID != nil {
			x.ID, x.Tail = *secretID, *tail
			c.Secrets = append(c.Secrets, x)
		}
		return nil
	}, plain(`SELECT `+clientColumns+`, `+column+`, x.id, x.digest, x.tail, x.created_at, x.expires_at, x.last_used_at
		FROM clients c LEFT JOIN client_secrets x ON x.client_id = c.id AND (x.expires_at IS NULL OR x.expires_at > $2)
		WHERE c.id = $1 ORDER BY x.created_at DESC, x.id DESC`), id, s.Now())
	if err == nil && !found {
		err = ErrNotFound
	}
	return c, value, err
}

// Clients lists at most limit clients, in the order of their creation, from the one after the ID afterID; empty starts
// at the first. search selects those whose name or id contains it, ignoring case.
func (s *Store) Clients(ctx context.Context, search, afterID string, limit int) ([]Client, error) {
	return s.SortedClients(ctx, search, Order{After: afterID}, limit)
}

// SortedClients is Clients in another order: by name or created.
func (s *Store) SortedClients(ctx context.Context, search string, o Order, limit int) ([]Client, error) {
	after, order, args := o.clause(clientOrders, "c.id", 3)
	return s.clients(ctx, `WHERE (c.name_key LIKE $2 ESCAPE '!' OR c.id LIKE $2 ESCAPE '!') AND `+after+`
		ORDER BY `+order+` LIMIT $1`, append([]any{limit, likePattern(search)}, args...)...)
}

// CountClientsOfWorkspace returns how many apps a workspace has.
func (s *Store) CountClientsOfWorkspace(ctx context.Context, workspaceID string) (int64, error) {
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM clients WHERE workspace_id = $1`), workspaceID)
	return n, err
}

// ClientsOfWorkspace lists the apps of one workspace in the order in which they were created.
func (s *Store) ClientsOfWorkspace(ctx context.Context, workspaceID string) ([]Client, error) {
	return s.clients(ctx, `WHERE c.workspace_id = $1 ORDER BY c.id LIMIT 1000`, workspaceID)
}

func (s *Store) clients(ctx context.Context, where string, args ...any) ([]Client, error) {
	return collect(ctx, s, (*Client).fields, plain(`SELECT `+clientColumns+` FROM clients c `+where), args...)
}

// CountUsersOfClient returns how many users have consented to a client.
func (s *Store) CountUsersOfClient(ctx context.Context, clientID string) (int64, error) {
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT count(DISTINCT user_id) FROM consents WHERE client_id = $1`), clientID)
	return n, err
}

// DisableClient disables a client and all of its tokens until EnableClient, and records the authority. Disabling it
// again keeps the first time.
func (s *Store) DisableClient(ctx context.Context, id, by string) error {
	return s.changeClient(ctx, `UPDATE clients SET disabled_at = COALESCE(disabled_at, CAST($2 AS BIGINT)),
		disabled_by = $3 WHERE id = $1`, id, s.Now(), by)
}

// EnableClient enables a disabled client.
func (s *Store) EnableClient(ctx context.Context, id string) error {
	return s.changeClient(ctx, `UPDATE clients SET disabled_at = NULL, disabled_by = '' WHERE id = $1`, id)
}

// DeleteClient deletes a client with its secrets, consents, grants and refresh tokens; its access tokens are then
// unknown. It first disables the client, and deletes the grants, which may be too many for one statement, in batches.
// If it fails in between, it can be called again.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	if err := s.changeClient(ctx, `UPDATE clients SET disabled_at = COALESCE(disabled_at, CAST($2 AS BIGINT))
		WHERE id = $1`, id, s.Now()); err != nil {
		return err
	}
	for n := int64(purgeBatch); n == purgeBatch; {
		var err error
		if n, err = s.exec(ctx, altering(`DELETE FROM grants WHERE id IN (SELECT id FROM grants WHERE client_id = $1
			LIMIT `+strconv.Itoa(purgeBatch)+`)`).of(1), id); err != nil {
			return err
		}
	}
	return s.changeClient(ctx, `DELETE FROM clients WHERE id = $1`, id)
}

// changeClient runs a statement that changes or deletes the client whose id is the first argument.
func (s *Store) changeClient(ctx context.Context, query string, args ...any) error {
	return s.execOne(ctx, ErrNotFound, altering(query).of(1), args...)
}

// LockClient locks the row of a client until the transaction in ctx ends: other changes of the client wait, so a later
// read in the transaction sees the row that it will change.
func (s *Store) LockClient(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE clients SET changed_at = $2 WHERE id = $1`), id, s.Now())
}

// VerifyClient records whether an administrator has verified a client's name and site.
func (s *Store) VerifyClient(ctx context.Context, id string, verified bool) error {
	return s.changeClient(ctx, `UPDATE clients SET verified = $2, changed_at = $3 WHERE id = $1`, id, verified, s.Now())
}

// RotateSecret gives a client a new secret. The previous one works until grace is over, or until it expires if that is
// earlier. Any older one expires now, so that at most two are valid.
func (s *Store) RotateSecret(ctx context.Context, clientID string, x ClientSecret, grace time.Duration) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		// Write the client's row first, so that two rotations at once wait for each other.
		if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE clients SET changed_at = $2 WHERE id = $1
			AND NOT public`), clientID, s.Now()); err != nil {
			return err
		}
		if _, err := s.exec(ctx, altering(`DELETE FROM client_secrets WHERE client_id = $1 AND (expires_at <= $2
			OR id <> (
			SELECT id FROM client_secrets WHERE client_id = $1 AND (expires_at IS NULL OR expires_at > $2)
			ORDER BY created_at DESC, id DESC LIMIT 1))`).of(1),
			clientID, s.Now()); err != nil {
			return err
		}
		if grace <= 0 {
			if _, err := s.exec(ctx, altering(`DELETE FROM client_secrets WHERE client_id = $1`).of(1),
				clientID); err != nil {
				return err
			}
		} else if _, err := s.exec(ctx, altering(`UPDATE client_secrets SET expires_at = $2 WHERE client_id = $1
			AND (expires_at IS NULL OR expires_at > $2)`).of(1),
			clientID, s.Now().Add(grace)); err != nil {
			return err
		}
		return s.insertSecret(ctx, clientID, x)
	})
}

// OriginAllowed reports whether origin belongs to a redirect URI of a usable client: the one with clientID or, if that
// is empty, any.
func (s *Store) OriginAllowed(ctx context.Context, origin, clientID string) (bool, error) {
	var allowed bool
	err := s.one(ctx, []any{&allowed}, plain(`SELECT EXISTS (SELECT 1 FROM client_origins o
		JOIN clients c ON c.id = o.client_id
		WHERE o.origin = $1 AND c.disabled_at IS NULL AND ($2 = '' OR c.id = $2)
			AND NOT EXISTS (SELECT 1 FROM workspaces w WHERE w.id = c.workspace_id AND w.disabled_at IS NOT NULL))`),
		origin, clientID)
	return allowed, err
}
