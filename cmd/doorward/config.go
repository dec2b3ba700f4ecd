package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"doorward/oauth"
	"doorward/oauth/input"
	"doorward/web/gateway/route"

	"go.yaml.in/yaml/v3"
)

// Config is the whole configuration: the file, over it the variables, over them the flags of serve.
type Config struct {
	// Issuer is the issuer identifier (RFC 8414 §2) and the base of every URL we hand out.
	Issuer string
	// Listen are the addresses of the public listener, host:port; an empty host means every address.
	Listen []string
	// AdminListen is the address of metrics and pprof; empty means none.
	AdminListen string
	// DatabaseURL is sqlite:PATH or a postgres:// URL. It may hold a password: never log it.
	DatabaseURL string
	// DatabaseMigrateURL is the PostgreSQL login that changes the schema; empty means that of DatabaseURL.
	DatabaseMigrateURL string
	// Secret are the master secrets: the first seals, all open. Empty means the one in the data folder.
	Secret []input.Secret
	// TrustedProxies are the peers whose X-Forwarded-* headers count.
	TrustedProxies []netip.Prefix
	// RedirectSchemes are those without a dot that redirect URIs may have, such as cursor.
	RedirectSchemes []string
	// SignUp is closed.
	SignUp string
	// Tokens are the lifetimes of what the token endpoint gives, and how much of it one client may have.
	Tokens Tokens
	// AuditRetention and UsageRetention say how long audit events and usage are kept.
	AuditRetention, UsageRetention time.Duration
	// Plans are the rate-limit plans by name.
	Plans map[string]Plan
	// PlansBy says who sets the plan of a workspace: administrators or owners.
	PlansBy string
	// Resources are the APIs that tokens and keys are for; the first is the default. There is at least one.
	Resources []Resource
}

// Tokens are the lifetimes of codes and tokens, and their bounds.
type Tokens struct {
	Access             time.Duration
	Refresh            time.Duration // idle
	RefreshAbsolute    time.Duration // of the whole family
	RefreshReuseWindow time.Duration // 0 forbids repeats
	Code               time.Duration
	ClientRequests     int64 // token requests of a client for itself in a minute; 0: no limit
	ClientLive         int64 // live tokens of a client for itself; 0: no limit
}

// Plan holds the windows of a rate limit in requests; 0 means unlimited.
type Plan struct {
	Hour, Day int64
	Burst     int64 // depth of a bucket that refills over one minute
}

// Resource is an API for which tokens and keys are issued: a protected resource (RFC 6749 §1.1, RFC 8707).
type Resource struct {
	ID              string // the audience, an absolute URI
	Name            string
	Hosts           []string   // name or name:port, in lower case
	Upstream        string     // empty: Doorward forwards nothing
	Builtin         []string   // which of our own paths its hosts serve
	CORS            []string   // nil: preflights go through the routes
	Tokens          string     // opaque or jwt
	Errors          string     // flat, nested or envelope
	ErrorTexts      ErrorTexts // complete: what is left out has the words of the shape
	ExpiredStatus   int64      // 401 or 419
	WorkspaceHeader string
	AnonymousPlan   string // empty: 401s are not counted
	Anonymous       Concurrency
	UserPlan        string // empty: no limit
	ClientPlan      string // empty: no limit
	Scopes          []Scope
	Objects         []string
	Keys            Keys
	Paths           string // how the API compares paths: exact or loose
	Routes          []route.Route
	TrustedIssuers  []TrustedIssuer
}

// Concurrency bounds the requests under way at once to public routes; 0 is no bound.
type Concurrency struct{ Total, PerAddress int64 }

// How an API compares the paths of requests with its own.
const (
	pathsExact = "exact"
	pathsLoose = "loose" // without regard to case and to a slash at the end
)

// ErrorTexts are the messages of 401, of 401 or 419 for an expired credential, and of 403.
type ErrorTexts struct{ Unauthorized, Expired, Forbidden string }

// Scope is one entry of a resource's catalogue (RFC 6749 §3.3).
type Scope struct {
	Name     string
	Text     string   // what the consent page says
	Implies  []string // further scopes that this one covers
	UserOnly bool     // counts only where a user acts
	// Dangerous asks people for a fresh proof before they allow it; nil: as its name and what it implies suggest.
	Dangerous *bool
}

// Keys says what the API keys of a resource look like and how they are limited.
type Keys struct {
	Prefix                string
	Kinds                 []string // live, test; none: the resource has no API keys
	DefaultPlan, TestPlan string
	MaxLifetime           time.Duration // 0: no bound
	NewText               string        // on the button of the dashboard that leads to a new key; empty: its own words
}

// TrustedIssuer is a foreign issuer whose JWTs count as credentials, or one of several entries for it: a token must satisfy
// one of them as a whole. Exactly one of HS256Secret and JWKSURL is set.
type TrustedIssuer struct {
	Issuer      string
	Audiences   []string // nil: tokens have no aud
	ClientIDs   []string // nil: client_id is not looked at
	HS256Secret input.Secret
	JWKSURL     string
	Algorithms  []string // for JWKSURL
	Scopes      []string
	Plan        string
}

// defaultConfig is what holds where nothing is written; the resources come after the issuer is known.
func defaultConfig() Config {
	return Config{
		Issuer:             "http://localhost:8080",
		Listen:             []string{"127.0.0.1:8080"},
		AdminListen:        "127.0.0.1:8081",
		DatabaseURL:        "sqlite:data/doorward.db",
		DatabaseMigrateURL: "",
		Secret:             nil,
		TrustedProxies:     nil,
		RedirectSchemes:    nil,
		SignUp:             "closed",
		Tokens: Tokens{
			Access:             time.Hour,
			Refresh:            7 * input.Day,
			RefreshAbsolute:    30 * input.Day,
			RefreshReuseWindow: 10 * time.Second,
			Code:               time.Minute,
			ClientRequests:     600,
			ClientLive:         10_000,
		},
		AuditRetention: 400 * input.Day,
		UsageRetention: 400 * input.Day,
		Plans:          map[string]Plan{},
		PlansBy:        "administrators",
		Resources:      nil,
	}
}

// shapeTexts are the words of each error shape, for the texts that a resource leaves out.
var shapeTexts = map[string]ErrorTexts{
	"flat":     {Unauthorized: "Invalid or missing API key", Expired: "Invalid or missing API key", Forbidden: "Insufficient permissions"},
	"nested":   {Unauthorized: "Invalid API key", Expired: "Invalid API key", Forbidden: "Insufficient permissions"},
	"envelope": {Unauthorized: "The provided API key is invalid", Expired: "The API key has expired", Forbidden: "Insufficient permissions"},
}

// defaultResource is the resource that exists when none is written, and what a written one leaves out.
func defaultResource(id string) Resource {
	return Resource{
		ID:              id,
		Name:            id,
		Hosts:           nil,
		Upstream:        "",
		Builtin:         []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/v1/api-keys", "/v1/auth/test", "/api/auth/me", "/api/me"},
		CORS:            nil,
		Tokens:          "opaque",
		Errors:          "flat",
		ErrorTexts:      shapeTexts["flat"],
		ExpiredStatus:   401,
		WorkspaceHeader: "X-Workspace",
		AnonymousPlan:   "",
		Anonymous:       Concurrency{Total: 1000, PerAddress: 100},
		UserPlan:        "",
		ClientPlan:      "",
		Scopes: []Scope{
			{Name: "read", Text: "Read your data", Implies: nil, UserOnly: false, Dangerous: nil},
			{Name: "write", Text: "Create and change your data", Implies: nil, UserOnly: false, Dangerous: nil},
			{Name: "delete", Text: "Delete your data", Implies: nil, UserOnly: false, Dangerous: nil},
			{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}, UserOnly: false, Dangerous: nil},
		},
		Objects:        nil,
		Keys:           Keys{Prefix: "sk", Kinds: []string{"live", "test"}, DefaultPlan: "", TestPlan: "", MaxLifetime: 0, NewText: ""},
		Paths:          pathsExact,
		Routes:         nil,
		TrustedIssuers: nil,
	}
}

// setting is a top-level key that is also a variable DOORWARD_KEY and, but for secret, a flag of serve.
type setting struct {
	key  string
	list bool // white space separates the entries in the variable
}

var settings = []setting{
	{"issuer", false},
	{"listen", true},
	{"admin_listen", false},
	{"database_url", false},
	{"database_migrate_url", false},
	{"secret", true},
	{"trusted_proxies", true},
	{"redirect_schemes", true},
	{"sign_up", false},
	{"plans_by", false},
	{"audit_retention", false},
	{"usage_retention", false},
}

// fileOnly are the top-level keys that need more than a line.
var fileOnly = []string{"tokens", "plans", "resources"}

func variable(key string) string { return "DOORWARD_" + strings.ToUpper(key) }
func flagName(key string) string { return "--" + strings.ReplaceAll(key, "_", "-") }

// loadConfig reads the file at path (none when empty), the variables and the flags given, by key. It changes nothing
// and returns every fault at once, as faults. An empty variable counts as not set, as containers pass it on.
func loadConfig(path string, flags map[string][]string, getenv func(string) string) (Config, error) {
	c, _, err := parseConfig(path, flags, getenv)
	return c, err
}

// parseConfig does what loadConfig does and tells where each key was written.
func parseConfig(path string, flags map[string][]string, getenv func(string) string) (Config, func(key string) origin, error) {
	p := newParser(getenv)
	c := defaultConfig()
	fields := p.topLevel(&c)
	ignore := func(*yaml.Node, string) {}

	for _, s := range settings {
		given, source := flags[s.key], flagName(s.key)
		_, isFlag := flags[s.key]
		if text := getenv(variable(s.key)); !isFlag && text != "" {
			given, source = []string{text}, variable(s.key)
			if s.list && !strings.HasPrefix(text, "env:") && !strings.HasPrefix(text, "file:") {
				given = strings.Fields(text)
			}
		} else if !isFlag {
			continue
		}
		p.source = source
		p.origins[s.key] = origin{source: source, line: 0}
		fields[s.key](written(given), s.key)
		fields[s.key] = ignore // a value that is beaten is not even looked up
	}
	for _, key := range fileOnly {
		if getenv(variable(key)) != "" {
			p.faults = append(p.faults, fault{origin: origin{source: variable(key), line: 0}, key: key, text: "is not a variable; write it in the file that --config names"})
		}
	}
	if path != "" {
		data, err := p.readFile(path)
		if err != nil {
			return c, p.origin, fmt.Errorf("read the configuration: %w", err)
		}
		overridden := p.origins
		p.origins = map[string]origin{}
		p.document(path, data, fields)
		for key, o := range overridden {
			p.origins[key] = o
		}
	}
	p.check(&c)
	if len(p.faults) > 0 {
		return c, p.origin, p.faults.sorted()
	}
	return c, p.origin, nil
}

// written makes the node that a flag or variable stands for: one value, or a list of several.
func written(values []string) *yaml.Node {
	nodes := make([]*yaml.Node, len(values))
	for i, value := range values {
		nodes[i] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	}
	if len(nodes) == 1 {
		return nodes[0]
	}
	return &yaml.Node{Kind: yaml.SequenceNode, Content: nodes}
}

// topLevel are the keys of the file.
func (p *parser) topLevel(c *Config) map[string]field {
	return map[string]field{
		"issuer":               p.one(&c.Issuer, checkIssuer),
		"listen":               p.many(&c.Listen, checkListen),
		"admin_listen":         p.one(&c.AdminListen, orEmpty(checkListen)),
		"database_url":         p.one(&c.DatabaseURL, checkDatabaseURL),
		"database_migrate_url": p.one(&c.DatabaseMigrateURL, orEmpty(checkMigrateURL)),
		"secret":               p.secrets(&c.Secret),
		"trusted_proxies":      p.prefixes(&c.TrustedProxies),
		"redirect_schemes":     p.many(&c.RedirectSchemes, checkRedirectScheme),
		"sign_up":              p.one(&c.SignUp, checkSignUp),
		"plans_by":             p.one(&c.PlansBy, oneOf("administrators", "owners")),
		"audit_retention":      p.duration(&c.AuditRetention, input.Day),
		"usage_retention":      p.duration(&c.UsageRetention, input.Day),
		"tokens": p.mapping(map[string]field{
			"access_lifetime":           p.duration(&c.Tokens.Access, time.Second),
			"refresh_lifetime":          p.duration(&c.Tokens.Refresh, time.Second),
			"refresh_absolute_lifetime": p.duration(&c.Tokens.RefreshAbsolute, time.Second),
			"refresh_reuse_window":      p.duration(&c.Tokens.RefreshReuseWindow, 0),
			"code_lifetime":             p.duration(&c.Tokens.Code, time.Second),
			"client_requests":           p.number(&c.Tokens.ClientRequests, 0, 1_000_000),
			"client_live":               p.number(&c.Tokens.ClientLive, 0, 10_000_000),
		}),
		"plans": func(n *yaml.Node, key string) {
			p.entries(n, key, func(name string, n *yaml.Node, key string) {
				if err := checkPlanName(name); err != nil {
					p.fault(key, "%v", err)
				}
				var plan Plan
				p.mapping(map[string]field{
					"hour":  p.window(&plan.Hour),
					"day":   p.window(&plan.Day),
					"burst": p.window(&plan.Burst),
				})(n, key)
				c.Plans[name] = plan
			})
		},
		"resources": func(n *yaml.Node, key string) {
			p.list(n, key, func(n *yaml.Node, key string) { c.Resources = append(c.Resources, p.resource(n, key)) })
		},
	}
}

// mostRequests bounds a window so that no sum of them overflows.
const mostRequests = 1_000_000_000

// window reads a number of requests; none at all is written by leaving it out.
func (p *parser) window(dst *int64) field { return p.number(dst, 1, mostRequests) }

// resource reads one entry of resources over the defaults.
func (p *parser) resource(n *yaml.Node, key string) Resource {
	r := defaultResource("")
	r.Keys.Prefix = "" // see deriveKeyPrefixes
	r.ErrorTexts = ErrorTexts{Unauthorized: "", Expired: "", Forbidden: ""}
	p.mapping(map[string]field{
		"id":       p.one(&r.ID, checkResourceID),
		"name":     p.one(&r.Name, checkText),
		"hosts":    p.many(&r.Hosts, checkHost),
		"upstream": p.one(&r.Upstream, orEmpty(checkUpstream)),
		"builtin":  p.many(&r.Builtin, oneOf(builtinPaths...)),
		"cors":     p.many(&r.CORS, checkOrigin),
		"tokens":   p.one(&r.Tokens, oneOf("opaque", "jwt")),
		"errors":   p.one(&r.Errors, oneOf("flat", "nested", "envelope")),
		"error_texts": p.mapping(map[string]field{
			"unauthorized": p.one(&r.ErrorTexts.Unauthorized, checkText),
			"expired":      p.one(&r.ErrorTexts.Expired, checkText),
			"forbidden":    p.one(&r.ErrorTexts.Forbidden, checkText),
		}),
		"expired_status":   p.expiredStatus(&r.ExpiredStatus),
		"workspace_header": p.one(&r.WorkspaceHeader, checkHeader),
		"anonymous_plan":   p.one(&r.AnonymousPlan, nil),
		"anonymous_concurrency": p.mapping(map[string]field{
			"total":       p.number(&r.Anonymous.Total, 0, 1_000_000),
			"per_address": p.number(&r.Anonymous.PerAddress, 0, 1_000_000),
		}),
		"user_plan":   p.one(&r.UserPlan, nil),
		"client_plan": p.one(&r.ClientPlan, nil),
		"scopes":      p.scopes(&r.Scopes),
		"objects":     p.many(&r.Objects, input.ObjectName),
		"keys": p.mapping(map[string]field{
			"prefix":       p.one(&r.Keys.Prefix, checkKeyPrefix),
			"kinds":        p.many(&r.Keys.Kinds, oneOf("live", "test")),
			"default_plan": p.one(&r.Keys.DefaultPlan, nil),
			"test_plan":    p.one(&r.Keys.TestPlan, nil),
			"max_lifetime": p.duration(&r.Keys.MaxLifetime, 0),
			"new_text":     p.one(&r.Keys.NewText, checkText),
		}),
		"paths": p.one(&r.Paths, oneOf(pathsExact, pathsLoose)),
		"routes": func(n *yaml.Node, key string) {
			p.list(n, key, func(n *yaml.Node, key string) { r.Routes = append(r.Routes, p.route(n, key)) })
		},
		"trusted_issuers": func(n *yaml.Node, key string) {
			p.list(n, key, func(n *yaml.Node, key string) { r.TrustedIssuers = append(r.TrustedIssuers, p.trustedIssuer(n, key)) })
		},
	})(n, key)
	if r.Name == "" {
		r.Name = r.ID
	}
	words := shapeTexts[r.Errors]
	r.ErrorTexts = ErrorTexts{
		Unauthorized: cmp.Or(r.ErrorTexts.Unauthorized, words.Unauthorized),
		Expired:      cmp.Or(r.ErrorTexts.Expired, words.Expired),
		Forbidden:    cmp.Or(r.ErrorTexts.Forbidden, words.Forbidden),
	}
	if len(r.CORS) == 0 {
		r.CORS = nil
	}
	return r
}

// scopes reads a catalogue in the order written, which is the order of the consent page.
func (p *parser) scopes(dst *[]Scope) field {
	return func(n *yaml.Node, key string) {
		*dst = nil
		p.entries(n, key, func(name string, n *yaml.Node, key string) {
			if err := input.ScopeName(name); err != nil {
				p.fault(key, "%v", err)
			}
			s := Scope{Name: name, Text: "", Implies: nil, UserOnly: false, Dangerous: nil}
			p.mapping(map[string]field{
				"text":      p.one(&s.Text, checkText),
				"implies":   p.scopeNames(&s.Implies),
				"user_only": p.flag(&s.UserOnly),
				"dangerous": p.choice(&s.Dangerous),
			})(n, key)
			*dst = append(*dst, s)
		})
	}
}

func (p *parser) route(n *yaml.Node, key string) route.Route {
	r := route.Route{Cost: 1}
	p.mapping(map[string]field{
		"methods":     p.many(&r.Methods, route.CheckMethod),
		"path":        p.one(&r.Path, checkRoutePath),
		"scopes":      p.scopeNames(&r.Scopes),
		"credentials": p.many(&r.Credentials, oneOf(oauth.Kinds...)),
		"role":        p.one(&r.Role, oneOf(oauth.Roles...)),
		"cost":        p.number(&r.Cost, 0, 1000),
		"public":      p.flag(&r.Public),
		"refuse":      p.flag(&r.Refuse),
	})(n, key)
	return r
}

func (p *parser) trustedIssuer(n *yaml.Node, key string) TrustedIssuer {
	var t TrustedIssuer
	p.mapping(map[string]field{
		"issuer":       p.one(&t.Issuer, checkForeignIssuer),
		"audience":     p.many(&t.Audiences, checkText),
		"client_ids":   p.many(&t.ClientIDs, checkText),
		"hs256_secret": p.sharedSecret(&t.HS256Secret),
		"jwks_url":     p.one(&t.JWKSURL, checkJWKSURL),
		"algorithms":   p.many(&t.Algorithms, checkAlgorithm),
		"scopes":       p.scopeNames(&t.Scopes),
		"plan":         p.one(&t.Plan, nil),
	})(n, key)
	return t
}

// expiredStatus reads 401, or 419 where a vendor promised it.
func (p *parser) expiredStatus(dst *int64) field {
	return func(n *yaml.Node, key string) {
		switch text, ok := p.scalar(n, key); {
		case !ok:
		case text == "401":
			*dst = 401
		case text == "419":
			*dst = 419
		default:
			p.fault(key, "%s is neither 401 nor 419; write one of them", input.Quote(text))
		}
	}
}

// secret reads one secret and never shows it.
func (p *parser) secret(dst *input.Secret) field {
	return func(n *yaml.Node, key string) {
		text, ok := p.text(n, key)
		if !ok {
			return
		}
		if err := checkSecret(text); err != nil {
			p.fault(key, "%v", err)
			return
		}
		*dst = input.Secret(text)
	}
}

// sharedSecret reads a secret that an issuer signs with. A public key is none: it verifies for everybody who can read it.
func (p *parser) sharedSecret(dst *input.Secret) field {
	return func(n *yaml.Node, key string) {
		var s input.Secret
		p.secret(&s)(n, key)
		if text := strings.TrimSpace(string(s)); strings.Contains(text, "-----BEGIN") || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "ssh-") {
			p.fault(key, "is a key pair's key, with which anybody who has the public half could sign; write jwks_url and algorithms instead")
			return
		}
		*dst = s
	}
}

func (p *parser) secrets(dst *[]input.Secret) field {
	return func(n *yaml.Node, key string) {
		*dst = nil
		p.list(n, key, func(n *yaml.Node, key string) {
			var s input.Secret
			p.secret(&s)(n, key)
			switch {
			case len(s) == 0:
			case slices.ContainsFunc(*dst, func(other input.Secret) bool { return bytes.Equal(other, s) }):
				p.fault(key, "is in the list twice; write it once")
			default:
				*dst = append(*dst, s)
			}
		})
	}
}

func (p *parser) prefixes(dst *[]netip.Prefix) field {
	return func(n *yaml.Node, key string) {
		*dst = nil
		p.list(n, key, func(n *yaml.Node, key string) {
			text, ok := p.text(n, key)
			if !ok {
				return
			}
			prefix, err := parsePrefix(text)
			switch {
			case err != nil:
				p.fault(key, "%v", err)
			case slices.Contains(*dst, prefix):
				p.fault(key, "%s is in the list twice; write it once", input.Quote(text))
			default:
				*dst = append(*dst, prefix)
			}
		})
	}
}

// dataDir is the folder of what is kept beside the database: that of the SQLite file, or ./data.
func (c Config) dataDir() string {
	if path, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:"); ok {
		return filepath.Dir(path)
	}
	return "data"
}

// secretFile is where the master secret is kept when none is configured.
func (c Config) secretFile() string { return filepath.Join(c.dataDir(), "secret") }
