package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"doorward/brand"
	"doorward/config/yamlnode"
	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// Config is the whole configuration. Flags of serve override variables, which override the file.
type Config struct {
	// Issuer is the issuer identifier (RFC 8414, section 2) and the base of all the server's URLs.
	Issuer string
	// Listen are the addresses of the public listener, host:port; an empty host means every address.
	Listen []string
	// AdminListen is the address of metrics and pprof; empty means none.
	AdminListen string
	// DatabaseURL is sqlite:PATH or a postgres:// URL. It may contain a password, so do not log it.
	DatabaseURL string
	// DatabaseMigrateURL is the PostgreSQL login that changes the schema; empty means DatabaseURL.
	DatabaseMigrateURL string
	// Secret are the master secrets: the first one encrypts, and all decrypt. Empty means the one in SecretFile.
	Secret []input.Secret
	// TrustedProxies are the peers whose X-Forwarded-* headers are trusted.
	TrustedProxies []netip.Prefix
	// Fetch says from which addresses, besides public ones, the server fetches the URLs of outside parties.
	Fetch fetch.Config
	// RedirectSchemes are the allowed schemes of redirect URIs that have no dot, such as cursor.
	RedirectSchemes []string
	// Brand is the vendor's own look. Messages is a folder with the vendor's catalogues, one file for each language;
	// empty: none. Languages are the tags of the languages that pages and emails are offered in; the first is the
	// default.
	Brand     brand.Config
	Messages  string
	Languages []string
	// Mail says how email is sent.
	Mail Mail
	// SignUp says who can create an account: SignUpClosed, SignUpInvited or SignUpOpen. SignUpDomains bounds their
	// addresses, and SignUpApproval says who approves them: ApprovalNone or ApprovalAdministrator.
	SignUp         string
	SignUpDomains  Domains
	SignUpApproval string
	// SignIn says by which methods users sign in.
	SignIn SignIn
	// Providers are the other services with which users sign in, in the order of the sign-in page.
	Providers []Provider
	// Lifetimes are those of codes and tokens. TokenLimits bound the tokens of each client.
	Lifetimes   oauth.Lifetimes
	TokenLimits oauth.TokenLimits
	// Registration says which clients may register themselves (RFC 7591): management.RegistrationClosed,
	// RegistrationToken or RegistrationOpen. RegistrationCompatibility is CompatibleWithOpenID or empty.
	Registration, RegistrationCompatibility string
	// MetadataDocuments says from which hosts the URL of a metadata document is a client id.
	MetadataDocuments oauth.DocumentHosts
	// DPoPNonces says whether DPoP proofs must contain a nonce of this server (RFC 9449, section 8).
	DPoPNonces bool
	// AuditRetention and UsageRetention say how long audit events and usage are kept.
	AuditRetention, UsageRetention time.Duration
	// Plans are the rate-limit plans by name.
	Plans map[string]limit.Plan
	// PlansBy says who sets the plan of a workspace: administrators or owners.
	PlansBy string
	// Cache says whether the server keeps what it read for credentials in memory: on or off.
	Cache string
	// Limits says where the requests of plans are counted: memory or database. Empty means memory on SQLite, and database
	// on PostgreSQL.
	Limits string
	// Resources are the APIs that tokens and keys are for; the first is the default. There is at least one.
	Resources []Resource

	catalogues []*locale.Language // of Languages; none in a configuration that was not read
}

// Default returns the default configuration, without resources, because the default resource depends on the issuer.
func Default() Config {
	return Config{
		Issuer:             "http://localhost:8080",
		Listen:             []string{"127.0.0.1:8080"},
		AdminListen:        "127.0.0.1:8081",
		DatabaseURL:        "sqlite:data/doorward.db",
		DatabaseMigrateURL: "",
		Secret:             nil,
		TrustedProxies:     nil,
		Fetch:              fetch.Config{Allow: nil},
		RedirectSchemes:    nil,
		Brand: brand.Config{
			Name: "", Logo: "", LogoDark: "", Accent: "", SupportURL: "", TermsURL: "", PrivacyURL: "", Stylesheet: "",
		},
		Messages:       "",
		Languages:      slices.Clone(locale.Shipped),
		Mail:           Mail{Hourly: 1000},
		SignUp:         SignUpClosed,
		SignUpDomains:  Domains{},
		SignUpApproval: ApprovalNone,
		SignIn:         SignIn{Password: true, EmailLink: true, Passkey: true, SecondFactor: SecondFactorOptional},
		Providers:      nil,
		Lifetimes: oauth.Lifetimes{
			Access:             time.Hour,
			Refresh:            7 * input.Day,
			RefreshAbsolute:    30 * input.Day,
			RefreshReuseWindow: 10 * time.Second,
			Code:               time.Minute,
		},
		TokenLimits:               oauth.TokenLimits{ClientRequests: 600, ClientLive: 10_000},
		Registration:              management.RegistrationClosed,
		RegistrationCompatibility: "",
		MetadataDocuments:         oauth.DocumentHosts{Any: false, Hosts: nil},
		DPoPNonces:                false,
		AuditRetention:            400 * input.Day,
		UsageRetention:            400 * input.Day,
		Plans:                     map[string]limit.Plan{},
		PlansBy:                   "administrators",
		Cache:                     "on",
		Limits:                    "",
		Resources:                 nil,
		catalogues:                nil,
	}
}

// Setting is a top-level key that can also be set by an environment variable, DOORWARD_ and the key in upper case, and,
// except for secret, by a flag of serve.
type Setting struct {
	Key  string
	List bool // in the variable, white space separates the entries
}

// Settings lists all settings.
var Settings = []Setting{
	{"issuer", false},
	{"listen", true},
	{"admin_listen", false},
	{"database_url", false},
	{"database_migrate_url", false},
	{"secret", true},
	{"trusted_proxies", true},
	{"redirect_schemes", true},
	{"languages", true},
	{"sign_up", false},
	{"sign_up_approval", false},
	{"plans_by", false},
	{"cache", false},
	{"limits", false},
	{"dpop_nonces", false},
	{"registration", false},
	{"registration_compatibility", false},
	{"metadata_documents", true},
	{"audit_retention", false},
	{"usage_retention", false},
}

// fileOnly are the top-level keys that are not settings, because their values are mappings or lists of them.
var fileOnly = []string{
	"fetch", "brand", "mail", "sign_up_domains", "sign_in", "providers", "tokens", "plans", "resources",
}

func variable(key string) string { return "DOORWARD_" + strings.ToUpper(key) }

// FlagName returns the flag of a setting, such as --admin-listen.
func FlagName(key string) string { return "--" + strings.ReplaceAll(key, "_", "-") }

// Load reads the file at path (none if it is empty), the variables and the given flags, by key. It changes nothing. If
// there are faults, the error is Faults with all of them. An empty variable counts as unset, because containers pass
// unset variables that way.
func Load(path string, flags map[string][]string, getenv func(string) string) (Config, error) {
	c, _, err := parse(path, flags, getenv)
	return c, err
}

// parse does what Load does, and also returns where each key was set.
func parse(
	path string,
	flags map[string][]string,
	getenv func(string) string,
) (Config, func(key string) origin, error) {
	p := newParser(getenv)
	c := Default()
	fields := p.topLevel(&c)
	ignore := func(*yaml.Node, string) {}

	for _, s := range Settings {
		given, source := flags[s.Key], FlagName(s.Key)
		_, isFlag := flags[s.Key]
		if text := getenv(variable(s.Key)); !isFlag && text != "" {
			given, source = []string{text}, variable(s.Key)
			if s.List && !strings.HasPrefix(text, "env:") && !strings.HasPrefix(text, "file:") {
				given = strings.Fields(text)
			}
		} else if !isFlag {
			continue
		}
		p.source = source
		p.origins[s.Key] = origin{source: source, line: 0}
		fields[s.Key](written(given), s.Key)
		fields[s.Key] = ignore // the overridden value in the file is not read
	}
	for _, key := range fileOnly {
		if getenv(variable(key)) != "" {
			p.faults = append(p.faults, Fault{
				origin: origin{source: variable(key), line: 0},
				key:    key,
				text:   "cannot be set by a variable; set it in the file that --config names",
			})
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

// written returns the values of a flag or variable as a node: a single value, or a list of several.
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

// topLevel returns the readers of the top-level keys.
func (p *parser) topLevel(c *Config) map[string]field {
	fields := map[string]field{
		"issuer":               p.stringValue(&c.Issuer, checkIssuer),
		"listen":               p.stringList(&c.Listen, checkListen),
		"admin_listen":         p.stringValue(&c.AdminListen, orEmpty(checkListen)),
		"database_url":         p.stringValue(&c.DatabaseURL, checkDatabaseURL),
		"database_migrate_url": p.stringValue(&c.DatabaseMigrateURL, orEmpty(checkMigrateURL)),
		"secret":               p.secrets(&c.Secret),
		"trusted_proxies":      p.prefixes(&c.TrustedProxies, proxyRange),
		"fetch":                p.mapping(map[string]field{"allow": p.prefixes(&c.Fetch.Allow, fetchRange)}),
		"redirect_schemes":     p.stringList(&c.RedirectSchemes, checkRedirectScheme),
		"plans_by":             p.stringValue(&c.PlansBy, oneOf("administrators", "owners")),
		"cache":                p.stringValue(&c.Cache, oneOf("on", "off")),
		"limits":               p.stringValue(&c.Limits, orEmpty(oneOf("memory", "database"))),
		"dpop_nonces":          p.flag(&c.DPoPNonces),
		"registration": p.stringValue(&c.Registration,
			oneOf(management.RegistrationClosed, management.RegistrationToken, management.RegistrationOpen)),
		"registration_compatibility": p.stringValue(&c.RegistrationCompatibility, orEmpty(oneOf(CompatibleWithOpenID))),
		"metadata_documents":         p.documentHosts(&c.MetadataDocuments),
		"audit_retention":            p.duration(&c.AuditRetention, input.Day),
		"usage_retention":            p.duration(&c.UsageRetention, input.Day),
		"tokens": p.mapping(map[string]field{
			"access_lifetime":           p.duration(&c.Lifetimes.Access, time.Second),
			"refresh_lifetime":          p.duration(&c.Lifetimes.Refresh, time.Second),
			"refresh_absolute_lifetime": p.duration(&c.Lifetimes.RefreshAbsolute, time.Second),
			"refresh_reuse_window":      p.duration(&c.Lifetimes.RefreshReuseWindow, 0),
			"code_lifetime":             p.duration(&c.Lifetimes.Code, time.Second),
			"client_requests":           number(p, &c.TokenLimits.ClientRequests, 0, 1_000_000),
			"client_live":               number(p, &c.TokenLimits.ClientLive, 0, 10_000_000),
		}),
		"plans": func(n *yaml.Node, key string) {
			p.entries(n, key, func(name string, n *yaml.Node, key string) {
				if err := checkPlanName(name); err != nil {
					p.fault(key, "%v", err)
				}
				var plan limit.Plan
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
	maps.Copy(fields, p.peopleFields(c))
	return fields
}

// maxRequests bounds the requests of a window, so that sums do not overflow.
const maxRequests = 1_000_000_000

// window reads the number of requests in a window. Zero is refused: to lift a limit, leave the key out.
func (p *parser) window(dst *int64) field { return number(p, dst, 1, maxRequests) }

// resource reads one entry of resources. Keys that are left out keep their defaults.
func (p *parser) resource(n *yaml.Node, key string) Resource {
	r := defaultResource("")
	r.Keys.Prefix = "" // see deriveKeyPrefixes
	p.mapping(map[string]field{
		"id":       p.stringValue(&r.ID, checkResourceID),
		"name":     p.stringValue(&r.Name, checkText),
		"hosts":    p.stringList(&r.API.Hosts, checkHost),
		"upstream": p.upstream(&r.API.Upstream),
		"builtin":  p.stringList(&r.API.Builtin, oneOf(builtinPaths...)),
		"cors":     p.stringList(&r.CORS, checkOrigin),
		"tokens":   p.either(&r.JWT, "opaque", "jwt"),
		"dpop":     p.either(&r.RequireDPoP, "optional", "required"),
		"errors":   p.stringValue(&r.API.Shape.Name, oneOf(gateway.ShapeNames()...)),
		"error_texts": p.mapping(map[string]field{
			"unauthorized": p.stringValue(&r.API.Shape.Texts.Unauthorized, checkText),
			"expired":      p.stringValue(&r.API.Shape.Texts.Expired, checkText),
			"forbidden":    p.stringValue(&r.API.Shape.Texts.Forbidden, checkText),
		}),
		"expired_status":   p.expiredStatus(&r.API.Shape.ExpiredStatus),
		"workspace_header": p.stringValue(&r.WorkspaceHeader, checkHeader),
		"anonymous_plan":   p.stringValue(&r.AnonymousPlan, nil),
		"anonymous_concurrency": p.mapping(map[string]field{
			"total":       number(p, &r.API.Anonymous.Total, 0, 1_000_000),
			"per_address": number(p, &r.API.Anonymous.PerAddress, 0, 1_000_000),
		}),
		"user_plan":         p.stringValue(&r.UserPlan, nil),
		"client_plan":       p.stringValue(&r.ClientPlan, nil),
		"scopes":            p.scopes(&r.Scopes),
		"open_registration": p.scopeNames(&r.OpenScopes),
		"objects":           p.stringList(&r.Objects, input.ObjectName),
		"keys": p.mapping(map[string]field{
			"prefix":       p.stringValue(&r.Keys.Prefix, checkKeyPrefix),
			"environments": p.stringList(&r.Keys.Environments, oneOf(apikey.Live, apikey.Test)),
			"default_plan": p.stringValue(&r.Keys.DefaultPlan, nil),
			"test_plan":    p.stringValue(&r.Keys.TestPlan, nil),
			"max_lifetime": p.duration(&r.Keys.MaxLifetime, 0),
			"new_text":     p.stringValue(&r.Keys.NewText, checkText),
		}),
		"paths": p.either(&r.API.Loose, "exact", "loose"),
		"routes": func(n *yaml.Node, key string) {
			p.list(n, key, func(n *yaml.Node, key string) { r.API.Routes = append(r.API.Routes, p.route(n, key)) })
		},
		"trusted_issuers": func(n *yaml.Node, key string) {
			p.list(n, key, func(n *yaml.Node, key string) {
				r.TrustedIssuers = append(r.TrustedIssuers, p.trustedIssuer(n, key))
			})
		},
	})(n, key)
	if r.Name == "" {
		r.Name = r.ID
	}
	r.API.ID = r.ID
	return r
}

// scopes reads the scopes of a resource. Their order is that of the consent page.
func (p *parser) scopes(dst *[]catalog.Scope) field {
	return func(n *yaml.Node, key string) {
		*dst = nil
		p.entries(n, key, func(name string, n *yaml.Node, key string) {
			if err := input.ScopeName(name); err != nil {
				p.fault(key, "%v", err)
			}
			s := catalog.Scope{Name: name}
			p.mapping(map[string]field{
				"text":      p.scopeText(&s),
				"implies":   p.scopeNames(&s.Implies),
				"user_only": p.flag(&s.UserOnly),
				"dangerous": p.optionalFlag(&s.Dangerous),
			})(n, key)
			*dst = append(*dst, s)
		})
	}
}

// scopeText reads the text of a scope: one for all languages, or a text for each.
func (p *parser) scopeText(s *catalog.Scope) field {
	return func(n *yaml.Node, key string) {
		if yamlnode.Deref(n).Kind != yaml.MappingNode {
			p.stringValue(&s.Text, checkText)(n, key)
			return
		}
		s.Texts = map[string]string{}
		p.entries(n, key, func(tag string, n *yaml.Node, key string) {
			text := ""
			p.stringValue(&text, checkText)(n, key)
			s.Texts[tag] = text
		})
	}
}

func (p *parser) route(n *yaml.Node, key string) route.Route {
	r := route.Route{Cost: 1}
	p.mapping(map[string]field{
		"methods":     p.stringList(&r.Methods, route.CheckMethod),
		"path":        p.stringValue(&r.Path, checkRoutePath),
		"scopes":      p.scopeNames(&r.Scopes),
		"credentials": p.stringList(&r.Credentials, oneOf(bearer.KindsAtAPI()...)),
		"role":        p.stringValue(&r.Role, oneOf(catalog.Roles...)),
		"cost":        number(p, &r.Cost, 0, 1000),
		"public":      p.flag(&r.Public),
		"refuse":      p.flag(&r.Refuse),
	})(n, key)
	return r
}

func (p *parser) trustedIssuer(n *yaml.Node, key string) catalog.TrustedIssuer {
	var t catalog.TrustedIssuer
	p.mapping(map[string]field{
		"issuer":       p.stringValue(&t.Issuer, checkForeignIssuer),
		"audience":     p.stringList(&t.Audiences, checkText),
		"client_ids":   p.stringList(&t.ClientIDs, checkText),
		"hs256_secret": p.sharedSecret(&t.HS256Secret),
		"jwks_url":     p.stringValue(&t.JWKSURL, checkJWKSURL),
		"algorithms":   p.stringList(&t.Algorithms, checkAlgorithm),
		"scopes":       p.scopeNames(&t.Scopes),
		"plan":         p.stringValue(&t.Plan, nil),
	})(n, key)
	return t
}

// expiredStatus reads 401 or 419, which some vendors document for expired tokens.
func (p *parser) expiredStatus(dst *int) field {
	return func(n *yaml.Node, key string) {
		switch text, ok := p.scalar(n, key); {
		case !ok:
		case text == "401":
			*dst = 401
		case text == "419":
			*dst = 419
		default:
			p.fault(key, "%s is neither 401 nor 419; use one of them", input.Quote(text))
		}
	}
}

// secret reads a secret. Faults do not show it.
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

// sharedSecret reads the secret that an issuer signs with. It refuses public keys, because anyone could sign with them.
func (p *parser) sharedSecret(dst *input.Secret) field {
	return func(n *yaml.Node, key string) {
		var s input.Secret
		p.secret(&s)(n, key)
		text := strings.TrimSpace(string(s))
		if strings.Contains(text, "-----BEGIN") || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "ssh-") {
			p.fault(
				key,
				"is a key of a key pair, so anyone with the public key could sign; use jwks_url and algorithms instead",
			)
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
				p.fault(key, "is listed twice; remove one")
			default:
				*dst = append(*dst, s)
			}
		})
	}
}

func (p *parser) prefixes(dst *[]netip.Prefix, texts rangeTexts) field {
	return func(n *yaml.Node, key string) {
		*dst = nil
		p.list(n, key, func(n *yaml.Node, key string) {
			text, ok := p.text(n, key)
			if !ok {
				return
			}
			prefix, err := parsePrefix(text, texts)
			switch {
			case err != nil:
				p.fault(key, "%v", err)
			case slices.Contains(*dst, prefix):
				p.fault(key, "%s is listed twice; remove one", input.Quote(text))
			default:
				*dst = append(*dst, prefix)
			}
		})
	}
}

// DataDir returns the folder for files other than the database: that of the SQLite file, or ./data.
func (c Config) DataDir() string {
	if path, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:"); ok {
		return filepath.Dir(path)
	}
	return "data"
}

// SecretFile returns the path of the file with the master secret, which is used if none is configured.
func (c Config) SecretFile() string { return filepath.Join(c.DataDir(), "secret") }

// MissingDatabase returns the SQLite file if it does not exist yet, and otherwise an empty string, as for PostgreSQL.
// Opening the database reports all other errors about the file.
func (c Config) MissingDatabase() string {
	name, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:")
	if !ok {
		return ""
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return name
}
