package catalog

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/input"
)

// MaxScopes is how many scopes one client or key may have.
const MaxScopes = 200

// The scopes that have a meaning to this server.
const (
	// ScopeAdmin is the scope that a credential needs for management.
	ScopeAdmin = "admin"
	// ScopeIntrospect is the built-in scope of the API keys with which a resource server introspects. It is in no
	// catalogue.
	ScopeIntrospect = "introspect"
)

// Resource is an API for which access tokens are issued; its ID is their audience (RFC 8707).
type Resource struct {
	ID     string // an absolute URI
	Name   string // shown to users
	Scopes []Scope
	// Objects are what scopes may be narrowed to: the scope read and the object accounts give accounts:read.
	Objects []string
	CORS    []string // origins that may call the API from a browser
	Keys    KeyRules
	// UserPlan limits users, except in a workspace that has its own plan. ClientPlan limits clients that act for
	// themselves. Empty: no limit.
	UserPlan, ClientPlan string
	// AnonymousPlan limits requests without a valid credential, by the address that they come from; empty: they are not
	// counted.
	AnonymousPlan string
	// WorkspaceHeader is the header in which a request names the workspace that a personal access token acts in.
	WorkspaceHeader string
	// JWT issues access tokens as JWTs (RFC 9068), which a resource server can verify by itself; otherwise they are
	// opaque.
	JWT bool
	// OpenScopes are the scopes that a client may ask for that registered itself. Empty: such clients cannot use the
	// resource.
	OpenScopes []string
	// RequireDPoP says that access tokens must be bound to a key (RFC 9449). It does not concern other credentials.
	RequireDPoP bool
	// TrustedIssuers are other issuers whose JWTs are credentials for this resource.
	TrustedIssuers []TrustedIssuer
}

// TrustedIssuer is one entry for a foreign issuer of JWTs. An issuer may have several entries; a token must satisfy one
// of them completely. Exactly one of HS256Secret and JWKSURL is set, and at least one of Audiences and ClientIDs.
type TrustedIssuer struct {
	Issuer      string       // the value of iss (RFC 7519, section 4.1.1), byte for byte
	Audiences   []string     // aud must contain one of them; empty: the token must have no aud
	ClientIDs   []string     // client_id must be one of them; empty: it is ignored
	HS256Secret input.Secret // at least 32 bytes
	JWKSURL     string       // where the issuer publishes its keys; https unless the host is loopback
	Algorithms  []string     // asymmetric ones that its keys sign with (RFC 7518, section 3.1)
	Scopes      []string     // of its tokens at this resource; their own scope claims are ignored
	Plan        string       // empty: the resource's UserPlan
}

// KeyRules holds the format and the limits of the API keys of a resource.
type KeyRules struct {
	Prefix       string
	Environments []string // live, test; none: the resource has no API keys
	DefaultPlan  string   // for keys that have no plan, and whose workspace has none; empty: no limit
	TestPlan     string   // of every test key
	MaxLifetime  time.Duration
	NewText      string // of the button that leads to a new key; empty: the default
}

// Scope is one permission at a resource (RFC 6749, section 3.3).
type Scope struct {
	Name string // any that RFC 6749, section 3.3 allows; see SplitScope for object:action
	// Text is a sentence for users: what the app may do. Texts has it in other languages, by tag (BCP 47).
	Text  string
	Texts map[string]string
	// Message is the text of a scope that the operator did not configure; it comes before Text.
	Message  locale.Text
	Object   string   // to which the scope is narrowed; empty: it is not
	Implies  []string // other scopes of the same resource that it includes
	UserOnly bool     // counts only for credentials of a user
	// Dangerous says that the scope allows lasting harm, so that users must confirm their password to allow it. nil: a
	// scope is dangerous if it is named admin or implies at least two others.
	Dangerous *bool
}

// DefaultScopes are the scopes of a resource for which the operator configures none.
func DefaultScopes() []Scope {
	return []Scope{
		{Name: "read", Message: locale.New("Read your data")},
		{Name: "write", Message: locale.New("Create and change your data")},
		{Name: "delete", Message: locale.New("Delete your data")},
		{Name: ScopeAdmin, Message: locale.New("scope: Everything"), Implies: []string{"read", "write", "delete"}},
	}
}

// For returns the text of the scope for a reader, or its name if it has none.
func (x *Scope) For(reader locale.Locale) string {
	text := cmp.Or(x.Texts[reader.Tag()], x.Text)
	if !x.Message.IsZero() {
		text = reader.Of(x.Message)
	}
	switch {
	case text == "":
		return x.Name
	case x.Object != "":
		return reader.Text("%s (%s only)", text, x.Object)
	}
	return text
}

// IsDangerous reports whether a scope by itself is dangerous; see Resource.Dangerous for what it implies.
func (x *Scope) IsDangerous() bool {
	if x.Dangerous != nil {
		return *x.Dangerous
	}
	_, action, narrowed := strings.Cut(x.Name, ":")
	return x.Name == ScopeAdmin || narrowed && action == ScopeAdmin || len(x.Implies) > 1
}

// Dangerous reports whether scopes, or scopes that they imply, include a dangerous one.
func (r *Resource) Dangerous(scopes []string) bool {
	return slices.ContainsFunc(r.Effective(scopes, "", true), func(name string) bool {
		x, _ := r.Scope(name)
		return x.IsDangerous()
	})
}

// ScopeNames lists the names of the resource's scopes, in the order of the configuration.
func (r *Resource) ScopeNames() []string {
	names := make([]string, len(r.Scopes))
	for i := range r.Scopes {
		names[i] = r.Scopes[i].Name
	}
	return names
}

// Scope finds a scope of the catalogue, or such a scope narrowed to one of the objects.
func (r *Resource) Scope(name string) (Scope, bool) {
	if i := slices.IndexFunc(r.Scopes, func(s Scope) bool { return s.Name == name }); i >= 0 {
		return r.Scopes[i], true
	}
	object, action, ok := SplitScope(name, r.Objects)
	if !ok {
		return Scope{}, false
	}
	i := slices.IndexFunc(r.Scopes, func(s Scope) bool { return s.Name == action })
	if i < 0 {
		return Scope{}, false
	}
	narrowed := Scope{
		Name: name, Text: r.Scopes[i].Text, Texts: r.Scopes[i].Texts, Message: r.Scopes[i].Message, Object: object,
		UserOnly: r.Scopes[i].UserOnly, Dangerous: r.Scopes[i].Dangerous,
	}
	for _, implied := range r.Scopes[i].Implies {
		if !strings.Contains(implied, ":") {
			narrowed.Implies = append(narrowed.Implies, object+":"+implied)
		}
	}
	return narrowed, true
}

// SplitScope splits a scope object:action. ok is false unless the object is one of objects and the action has no colon:
// other scopes may contain colons too, such as https://api.example.com/auth/read.
func SplitScope(name string, objects []string) (object, action string, ok bool) {
	object, action, ok = strings.Cut(name, ":")
	if !ok || action == "" || strings.Contains(action, ":") || !slices.Contains(objects, object) {
		return "", "", false
	}
	return object, action, true
}

// Covers reports whether effective scopes include the needed one. If that is for one of the resource's objects, the
// same action for all objects includes it.
func (r *Resource) Covers(effective []string, needed string) bool {
	return Covers(effective, needed, r.Objects)
}

// Covers reports whether effective scopes include the needed one, at a resource with these objects.
func Covers(effective []string, needed string, objects []string) bool {
	if slices.Contains(effective, needed) {
		return true
	}
	_, action, ok := SplitScope(needed, objects)
	return ok && slices.Contains(effective, action)
}

// Effective returns the scopes that granted ones amount to at this resource: those that are still in the catalogue and
// the scopes that they imply, without those that the role may not have and, unless person is true, without those for
// users only. The order is that of granted, followed by implied ones.
func (r *Resource) Effective(granted []string, role string, person bool) []string {
	var out []string
	var add func(name string)
	add = func(name string) {
		s, ok := r.Scope(name)
		if !ok || slices.Contains(out, name) || (s.UserOnly && !person) {
			return
		}
		out = append(out, name)
		for _, implied := range s.Implies {
			add(implied)
		}
	}
	for _, name := range granted {
		add(name)
	}
	return slices.DeleteFunc(out, func(name string) bool { return !RoleAllows(role, name) })
}

// Includes reports whether granting one scope also grants another: the first implies the second, perhaps through
// others, or is the same action for all objects. Every known scope includes itself.
func (r *Resource) Includes(scope, other string) bool {
	return r.Covers(r.Effective([]string{scope}, "", true), other)
}

// Without returns the granted scopes that remain once others are refused. The result covers no refused scope: a scope
// that includes a refused one is replaced by the scopes that it implies, except for those that include a refused one
// too.
func (r *Resource) Without(granted, refused []string) []string {
	var out []string
	var keep func(name string)
	keep = func(name string) {
		if slices.Contains(out, name) {
			return
		}
		if !slices.ContainsFunc(refused, func(no string) bool { return no == name || r.Includes(name, no) }) {
			out = append(out, name)
			return
		}
		s, _ := r.Scope(name)
		for _, implied := range s.Implies {
			if implied != name {
				keep(implied)
			}
		}
	}
	for _, name := range granted {
		keep(name)
	}
	return out
}

// CoveredBy returns the effective scopes that the granted ones cover.
func (r *Resource) CoveredBy(effective, granted []string) []string {
	held := r.Effective(granted, "", true)
	return slices.DeleteFunc(slices.Clone(effective), func(name string) bool { return !r.Covers(held, name) })
}

// SameResource reports whether two resource identifiers (RFC 8707, section 2) are equal by RFC 3986, sections 6.2.2.1
// and 6.2.3: the case of scheme and host does not matter, an empty path equals "/", and the default port of the scheme
// may be left out. All else is compared byte for byte. An identifier with a fragment equals only itself.
func SameResource(a, b string) bool { return a == b || CanonicalResource(a) == CanonicalResource(b) }

// CanonicalResource returns one spelling for all resource identifiers that SameResource finds equal. It is only for
// comparing; store and show the configured spelling. In an identifier without // after its scheme, only the case of the
// scheme changes.
func CanonicalResource(id string) string {
	scheme, rest, ok := strings.Cut(id, ":")
	if !ok {
		return id
	}
	scheme = strings.ToLower(scheme)
	after, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return scheme + ":" + rest
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	host, path := after[:end], after[end:]
	if strings.Contains(host, "@") { // user information is case-sensitive, and no resource has it
		return id
	}
	host = strings.ToLower(host)
	usual := map[string]string{"https": ":443", "http": ":80"}[scheme]
	if bare := strings.TrimSuffix(host, usual); bare != host {
		host = bare
	} else {
		host = strings.TrimSuffix(host, ":")
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme + "://" + host + path
}

// ContainsResource reports whether a list of identifiers contains id, by SameResource.
func ContainsResource(list []string, id string) bool {
	return slices.Contains(list, id) || slices.ContainsFunc(list, func(x string) bool { return SameResource(x, id) })
}
