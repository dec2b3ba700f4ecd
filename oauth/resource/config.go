package resource

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"doorward/oauth/dpop"
)

// Config identifies this API and its authorization server, and says how to check credentials. Issuer and Resource are
// required, and at least one way to check: credentials for introspection, or VerifyJWT.
//
// With both, JWT access tokens from Issuer are verified here, and all other credentials, such as API keys, are
// introspected. A JWT that is verified here works until its exp, even if it is revoked before.
type Config struct {
	// Issuer is the authorization server's identifier (RFC 8414, section 2), character for character: https, or http on
	// a loopback host.
	Issuer string
	// Resource is this API's identifier, the id of the resource in the server's configuration. Only credentials with this
	// audience are accepted (RFC 8707; RFC 9068, section 4).
	Resource string

	// ClientID and ClientSecret are the API's own credentials, created with "client create --resource-server". They are
	// sent by HTTP Basic. Empty: Key is used, or there is no introspection.
	ClientID, ClientSecret string
	// Key is an API key with the scope introspect, instead of ClientID and ClientSecret.
	Key string
	// IntrospectionURL is the introspection endpoint (RFC 7662); empty: the one in the issuer's metadata (RFC 8414).
	IntrospectionURL string
	// Cost returns how many requests (0 to 1000) to charge to the caller's plan. 0 charges nothing; a negative cost skips
	// the limits. Responses have X-RateLimit-Limit, -Remaining and -Reset, and a request over the limit gets 429. This
	// needs introspection: every request, including those with JWTs, is then introspected, regardless of CacheFor. nil:
	// the limits are not checked.
	Cost func(*http.Request) int
	// CacheFor is how long an introspection response may be used again, at most five minutes. A revoked credential keeps
	// working for that long, but never beyond its exp. Negative responses are not cached. 0: each request is introspected,
	// and revocation takes effect at once.
	CacheFor time.Duration
	// CacheSize is how many responses are cached at most; 0: 10,000.
	CacheSize int

	// VerifyJWT verifies JWT access tokens here (RFC 9068, ES256 only). The digests of the last 10,000 tokens with a valid
	// signature are remembered; the key and the times are checked for each request.
	VerifyJWT bool
	// JWKSURL is the URL of the server's public keys; empty: the one in the issuer's metadata. URLs in tokens are ignored.
	JWKSURL string

	// RequireDPoP refuses access tokens that are not bound to a key (RFC 9449), and tokens of other issuers that are not. It
	// does not concern API keys and personal access tokens, which cannot be bound. A token that is bound always needs a proof.
	RequireDPoP bool
	// BaseURL is the URL under which clients reach this API, such as https://api.example.com: scheme and host, and if a
	// proxy removes the beginning of each path, also that. A DPoP proof must be for this URL and the path of its request.
	// The Host header does not count: the sender chooses it, so a proof that was made for another server, and captured
	// there, could be used here. Empty: scheme and host of Resource. If that is not a web URL, a bound token gets 500.
	BaseURL string
	// UseProof records that a DPoP proof was used, by its key and id, until a time, and reports whether this was the first
	// use. All processes that serve this API must share the records, for example in a database with a unique index. An
	// error answers 503. nil: the records are in the memory of this process, so that a captured proof could be used once
	// at each other process within its minute.
	UseProof func(ctx context.Context, key, id string, until time.Time) (first bool, err error)
	// DPoPNonces are secrets of at least 32 bytes from which the nonces for DPoP proofs are made (RFC 9449, section 9), the
	// same for all processes that serve this API. The first one makes nonces, and those of all are accepted, so that it can
	// be replaced. nil: proofs need no nonce.
	DPoPNonces [][]byte

	// WorkspaceHeader is the header in which a request names a workspace, such as X-Workspace. A request with a personal
	// access token must then name one, and no request may name a workspace in which its credential may not act. Empty: no
	// header is read.
	WorkspaceHeader string
	// ClientAddress returns the address that a request comes from, for keys with allowed IP addresses. Behind a proxy it
	// has to know which headers to trust. nil: the peer of the connection.
	ClientAddress func(*http.Request) netip.Addr

	// WriteError writes the status and body of a refusal; the headers of RFC 6750 and of the limits are already set. nil:
	// JSON with error, message, statusCode and, for 429, retryAfter.
	WriteError func(http.ResponseWriter, *http.Request, *Refusal)

	// Objects are the resource's objects in the server's configuration. For each of them, a scope such as read covers
	// OBJECT:read. nil: a scope covers only itself.
	Objects []string

	// Name, Documentation (a URL) and Scopes are published by Metadata (RFC 9728, section 2). Empty: left out.
	Name, Documentation string
	Scopes              []string

	// Client sends the requests to the authorization server; redirects are not followed. nil: one with a timeout of five
	// seconds.
	Client *http.Client
	// Log receives the causes of 500 and 503, which the operator must know and the caller must not. nil: slog.Default().
	Log *slog.Logger
	// Now returns the current time; nil: time.Now.
	Now func() time.Time
}

const (
	defaultCacheSize = 10_000
	maxCacheFor      = 5 * time.Minute
	askTimeout       = 5 * time.Second
	minNonceSecret   = 32 // bytes
)

// Verifier checks the credentials of requests to one API. Its methods are safe for concurrent use.
type Verifier struct {
	config      Config
	client      *http.Client
	metadataURL string       // of this API (RFC 9728); empty: its identifier is not an https URL
	base        string       // before the path of a request in htu; empty: DPoP proofs cannot be checked
	nonces      *dpop.Nonces // nil: proofs need none
	used        usedProofs
	cache       answers // nil: no cache
	seen        verified
	discovered  discovered
	keys        keySet
}

// The caches of a Verifier are those of otter, without its name: the compiler would put the whole of otter into each
// package that uses a Verifier.
type (
	answers interface {
		GetIfPresent(q question) (a answer, ok bool)
		Get(ctx context.Context, q question, load otter.Loader[question, answer]) (answer, error)
		Invalidate(q question) (old answer, ok bool)
	}
	verified interface {
		GetIfPresent(digest [sha256.Size]byte) (s seen, ok bool)
		Set(digest [sha256.Size]byte, s seen) (old seen, ok bool)
	}
)

// plainURI restricts identifiers, which become part of challenges and paths, to characters without a meaning there.
var plainURI = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]+$`)

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// New checks c and returns a Verifier. It sends no request, so the server need not be reachable yet. The error lists
// everything that is wrong.
func New(c Config) (*Verifier, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if err := reachable(c.Issuer); err != nil {
		fault("Issuer %q %w", c.Issuer, err)
	} else if strings.Contains(c.Issuer, "?") {
		fault("Issuer %q has a query; give the issuer exactly as in the server's metadata", c.Issuer)
	}
	if !plainURI.MatchString(c.Resource) {
		fault("Resource %q is not an absolute URI without a fragment; give the id of this API's resource", c.Resource)
	}
	for _, x := range []struct{ name, url string }{{"IntrospectionURL", c.IntrospectionURL}, {"JWKSURL", c.JWKSURL}} {
		if x.url == "" {
			continue
		}
		if err := reachable(x.url); err != nil {
			fault("%s %q %w", x.name, x.url, err)
		}
	}
	switch {
	case (c.ClientID == "") != (c.ClientSecret == ""):
		fault("ClientID and ClientSecret go together; one of them is missing")
	case c.ClientID != "" && c.Key != "":
		fault("ClientID and Key are two ways to introspect; give one")
	case c.ClientID == "" && c.Key == "" && !c.VerifyJWT:
		fault("there is no way to check a credential; give ClientID and ClientSecret, Key, or VerifyJWT")
	case c.ClientID == "" && c.Key == "" && (c.Cost != nil || c.CacheFor != 0 || c.IntrospectionURL != ""):
		fault("Cost, CacheFor and IntrospectionURL need introspection; give ClientID and ClientSecret, or Key")
	}
	if !c.VerifyJWT && c.JWKSURL != "" {
		fault("JWKSURL has no effect without VerifyJWT")
	}
	if c.CacheFor < 0 || c.CacheFor > maxCacheFor {
		fault("CacheFor is %v; give 0 to %v", c.CacheFor, maxCacheFor)
	}
	if c.CacheSize < 0 {
		fault("CacheSize is %d; give a positive number, or 0 for %d", c.CacheSize, defaultCacheSize)
	}
	if c.WorkspaceHeader != "" && !headerName.MatchString(c.WorkspaceHeader) {
		fault("WorkspaceHeader %q is not a valid header name", c.WorkspaceHeader)
	}
	base, err := baseURL(c.BaseURL, c.Resource)
	switch {
	case err != nil:
		fault("BaseURL %q %w", c.BaseURL, err)
	case base == "" && c.RequireDPoP:
		fault("RequireDPoP needs BaseURL, because Resource is not a web URL")
	}
	for i, secret := range c.DPoPNonces {
		if len(secret) < minNonceSecret {
			fault("DPoPNonces[%d] has %d bytes; give at least %d random ones", i, len(secret), minNonceSecret)
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("resource: %w", errors.Join(faults...))
	}
	if c.ClientAddress == nil {
		c.ClientAddress = peer
	}
	if c.WriteError == nil {
		c.WriteError = writeError
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	v := &Verifier{config: c, client: client(c.Client), base: base, keys: keySet{turn: make(chan struct{}, 1)}}
	if c.UseProof == nil {
		v.config.UseProof = v.useHere
	}
	if len(c.DPoPNonces) > 0 {
		v.nonces = dpop.NewNonces(c.DPoPNonces)
	}
	if u, err := url.Parse(c.Resource); err == nil && reachable(c.Resource) == nil {
		v.metadataURL = u.Scheme + "://" + u.Host + wellKnown(protectedResource, u.EscapedPath())
	}
	if c.VerifyJWT {
		cache, err := otter.New(&otter.Options[[sha256.Size]byte, seen]{MaximumSize: maxSeen})
		if err != nil {
			return nil, fmt.Errorf("resource: create the cache of JWTs: %w", err)
		}
		v.seen = cache
	}
	if c.CacheFor > 0 {
		cache, err := otter.New(&otter.Options[question, answer]{
			MaximumSize: c.CacheSize, ExpiryCalculator: otter.ExpiryWriting[question, answer](c.CacheFor),
		})
		if err != nil {
			return nil, fmt.Errorf("resource: create the cache: %w", err)
		}
		v.cache = cache
	}
	return v, nil
}

// client returns a copy of c, or a new client, that follows no redirects, since its requests contain credentials.
func client(c *http.Client) *http.Client {
	own := http.Client{}
	if c != nil {
		own = *c
	} else {
		own.Timeout = askTimeout
		own.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 100, MaxIdleConnsPerHost: 100,
			IdleConnTimeout: 90 * time.Second,
		}
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// reachable returns what is wrong with a URL to which credentials are sent or from which keys are fetched.
func reachable(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Contains(text, "#") || !plainURI.MatchString(text) {
		return errors.New("is not a URL with a host and without a fragment")
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return errors.New("must be https, or http on a loopback host")
}

// baseURL returns what is before the path of a request in the URL that its client knows: given, without a slash at its
// end, or if that is empty, scheme and host of the API's identifier; empty: that is not a web URL.
func baseURL(given, resource string) (string, error) {
	text := given
	if text == "" {
		text = resource
	}
	u, err := url.Parse(text)
	isWeb := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
	switch {
	case given == "" && isWeb:
		return u.Scheme + "://" + u.Host, nil
	case given == "":
		return "", nil
	case !isWeb || strings.ContainsAny(given, "?#"):
		return "", errors.New("is not an http or https URL with a host and without query and fragment")
	}
	return strings.TrimSuffix(given, "/"), nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// peer returns the remote address of a request's connection.
func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}
