package catalog

import (
	"slices"
	"strings"
	"time"

	"doorward/oauth/input"
)

// MaxScopes is how many scopes one client or key may have.
const MaxScopes = 200

// The scopes that this server itself gives a meaning.
const (
	// ScopeAdmin is what a credential needs to manage anything.
	ScopeAdmin = "admin"
	// ScopeIntrospect is the built-in scope of the API keys with which a resource server introspects. It is in no
	// catalogue.
	ScopeIntrospect = "introspect"
)

// Resource is an API that access tokens are for; its ID is their audience (RFC 8707).
type Resource struct {
	ID     string // an absolute URI
	Name   string // shown to people
	Scopes []Scope
	// Objects are what a scope may be narrowed to: with the scope read and the object accounts there is accounts:read.
	Objects []string
	CORS    []string // origins that may call the API from a browser
	Keys    KeyRules
	// UserPlan limits people outside of a workspace with a plan, ClientPlan clients that act for themselves; empty: no
	// limit.
	UserPlan, ClientPlan string
	// AnonymousPlan limits requests that are refused for want of a good credential, by the address that they come from;
	// empty: they are not counted.
	AnonymousPlan string
	// WorkspaceHeader names the workspace that a personal access token is to act in.
	WorkspaceHeader string
	// JWT has access tokens issued as JWTs (RFC 9068), which a resource server can verify by itself; else they are
	// opaque.
	JWT bool
	// TrustedIssuers are others whose JWTs are credentials for this resource.
	TrustedIssuers []TrustedIssuer
}

// TrustedIssuer is a foreign issuer of JWTs, or one of several entries for it: a token must satisfy one entry as a
// whole. Exactly one of HS256Secret and JWKSURL is set, and Audiences or ClientIDs or both.
type TrustedIssuer struct {
	Issuer      string       // what stands in iss (RFC 7519, section 4.1.1), byte for byte
	Audiences   []string     // one of them must stand in aud, alone or among others; empty: the token must have no aud
	ClientIDs   []string     // one of them must be client_id; empty: it is not looked at
	HS256Secret input.Secret // at least 32 bytes
	JWKSURL     string       // where the issuer publishes its keys; https unless the host is loopback
	Algorithms  []string     // that its keys sign with (RFC 7518, section 3.1), none of them symmetric
	Scopes      []string     // what its tokens may do here, regardless of what they say themselves
	Plan        string       // empty: the resource's for users
}

// KeyRules says what the API keys of a resource look like and how they are limited.
type KeyRules struct {
	Prefix       string
	Environments []string // live, test; none: the resource has no API keys
	DefaultPlan  string   // where neither the key nor its workspace has one; empty: no limit
	TestPlan     string   // of every test key
	MaxLifetime  time.Duration
	NewText      string // on the button that leads to a new key; empty: the pages' own words
}

// Scope is one right at a resource (RFC 6749, section 3.3).
type Scope struct {
	Name     string   // any that RFC 6749, section 3.3 allows; SplitScope says when it is object:action
	Text     string   // a sentence for people: what the app may do
	Implies  []string // other scopes of the same resource that come with it
	UserOnly bool     // counts only where a person stands behind the credential
	// Dangerous: it allows lasting harm, so that a person allows it only with a fresh proof of who they are.
	// nil: one that is called admin, or that implies two others or more, is.
	Dangerous *bool
}

// IsDangerous reports whether a scope by itself is dangerous; see Resource.Dangerous for what it implies.
func (x *Scope) IsDangerous() bool {
	if x.Dangerous != nil {
		return *x.Dangerous
	}
	_, action, narrowed := strings.Cut(x.Name, ":")
	return x.Name == ScopeAdmin || narrowed && action == ScopeAdmin || len(x.Implies) > 1
}

// Dangerous reports whether scopes, with what they imply, include one that is dangerous.
func (r *Resource) Dangerous(scopes []string) bool {
	return slices.ContainsFunc(r.Effective(scopes, "", true), func(name string) bool {
		x, _ := r.Scope(name)
		return x.IsDangerous()
	})
}

// Scope finds a scope of the catalogue, or one of its scopes for one of its objects.
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
		Name: name, Text: r.Scopes[i].Text + " (" + object + " only)", UserOnly: r.Scopes[i].UserOnly,
		Dangerous: r.Scopes[i].Dangerous,
	}
	for _, implied := range r.Scopes[i].Implies {
		if !strings.Contains(implied, ":") {
			narrowed.Implies = append(narrowed.Implies, object+":"+implied)
		}
	}
	return narrowed, true
}

// SplitScope splits a scope object:action. Only where the object is one of objects, and the action has no colon of its
// own, does a colon have this meaning; other scopes may hold colons too, such as https://api.example.com/auth/read.
func SplitScope(name string, objects []string) (object, action string, ok bool) {
	object, action, ok = strings.Cut(name, ":")
	if !ok || action == "" || strings.Contains(action, ":") || !slices.Contains(objects, object) {
		return "", "", false
	}
	return object, action, true
}

// Covers reports whether effective scopes hold one that is needed: itself or, where it is for one of the resource's
// objects, the same action for all of them.
func (r *Resource) Covers(effective []string, needed string) bool {
	return Covers(effective, needed, r.Objects)
}

// Covers reports whether effective scopes hold one that is needed, at a resource with these objects.
func Covers(effective []string, needed string, objects []string) bool {
	if slices.Contains(effective, needed) {
		return true
	}
	_, action, ok := SplitScope(needed, objects)
	return ok && slices.Contains(effective, action)
}

// Effective is what granted scopes amount to at this resource: those that the catalogue still holds, what they
// imply, less what a role may not have and, without a person behind it, less what is for persons only. The order
// is that of granted, implied ones after.
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
	return slices.DeleteFunc(out, func(name string) bool { return !RoleHolds(role, name) })
}

// Includes reports whether granting one scope also grants another: the first implies the second, perhaps through
// others, or is the same action for all objects. Every known scope includes itself.
func (r *Resource) Includes(scope, other string) bool {
	return r.Covers(r.Effective([]string{scope}, "", true), other)
}

// Without is what remains of granted scopes once others are refused. No refused scope is covered by the result: a scope
// that includes a refused one is replaced by those scopes that it implies and that include none.
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

// CoveredBy is what of effective scopes granted ones still cover.
func (r *Resource) CoveredBy(effective, granted []string) []string {
	held := r.Effective(granted, "", true)
	return slices.DeleteFunc(slices.Clone(effective), func(name string) bool { return !r.Covers(held, name) })
}

// SameResource reports whether two resource identifiers (RFC 8707, section 2) are equal by RFC 3986, sections 6.2.2.1
// and 6.2.3: scheme and host without regard to case, an empty path as "/", and the port that the scheme has by itself
// as none. All else is compared byte for byte; a fragment makes an identifier equal to nothing else.
func SameResource(a, b string) bool { return a == b || CanonicalResource(a) == CanonicalResource(b) }

// CanonicalResource is the one spelling of all resource identifiers that SameResource takes for equal. It is for
// comparing: what is stored and shown is the spelling of the configuration. Text without // after its scheme comes back
// as it is, but for the case of the scheme.
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
	if strings.Contains(host, "@") { // user information, whose case counts and which no resource has
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

// ContainsResource reports whether a list of identifiers holds one.
func ContainsResource(list []string, id string) bool {
	return slices.Contains(list, id) || slices.ContainsFunc(list, func(x string) bool { return SameResource(x, id) })
}
