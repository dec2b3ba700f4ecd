package config

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// The checks here look at one value by itself and say in a sentence what to write instead.

// builtinPaths are our own paths that a resource's host may serve: never a page, because pages need the issuer's cookie.
var builtinPaths = []string{
	"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/jwks", "/.well-known/oauth-authorization-server",
	"/v1/api-keys", "/v1/personal-access-tokens", "/v1/apps", "/v1/workspaces", "/v1/usage", "/v1/audit-events",
	"/v1/auth/test", "/api/auth/me", "/api/me", "/openapi.json",
}

// oneOf accepts these words only.
func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf(
			"%s is not one of the values it can have; write one of: %s",
			input.Quote(s),
			strings.Join(words, ", "),
		)
	}
}

// orEmpty accepts the empty text, which switches something off, beside what check accepts.
func orEmpty(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

const maxText = 500 // bytes

// checkText accepts one line that a person reads.
func checkText(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("is blank; write some words, or leave the key out")
	case strings.ContainsAny(s, "\n\t"):
		return errors.New("has more than one line; write it in one")
	case len(s) > maxText:
		return errors.New("is longer than 500 bytes; write it shorter")
	}
	if _, wrong := input.Line(s, maxText); wrong != "" {
		return errors.New(wrong)
	}
	return nil
}

// IsLoopback reports whether a URL's host names this machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// checkHostname accepts a DNS name in lower case or an address without brackets.
func checkHostname(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return nil
	}
	switch {
	case host == "":
		return errors.New("has no host; write one, such as auth.example.com")
	case strings.Contains(host, "*"):
		return errors.New("has a wildcard; write each host by its name")
	case host != strings.ToLower(host):
		return fmt.Errorf("has capital letters in the host; write %s", input.Quote(strings.ToLower(host)))
	case strings.HasSuffix(host, "."):
		return errors.New("has a dot at the end of the host; leave it out")
	case strings.IndexFunc(host, func(r rune) bool { return r > 127 }) >= 0:
		return errors.New("has letters outside ASCII in the host; write its xn-- form")
	}
	labels := strings.Split(host, ".")
	ok := len(host) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
	for _, label := range labels {
		ok = ok && hostLabel.MatchString(label)
	}
	if !ok {
		return fmt.Errorf(
			"has %s as its host, which is neither a name nor an address; write one, such as auth.example.com or 127.0.0.1",
			input.Quote(host),
		)
	}
	return nil
}

// checkPort accepts 0, which asks for a free port, only where zero is true.
func checkPort(port string, zero bool) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (n == 0 && !zero) || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("has %s as its port; write a number from 1 to 65535", input.Quote(port))
	}
	return nil
}

// webURL parses an http or https URL with a proper host and without user, password or fragment. Its errors do not
// show the URL, which may hold a password.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || strings.TrimSpace(s) != s {
		return nil, errors.New("is not a URL; write it in full, such as https://auth.example.com")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New(
			"does not start with https:// or http://; write the URL in full, such as https://auth.example.com",
		)
	}
	if !strings.HasPrefix(s, u.Scheme+"://") {
		return nil, fmt.Errorf("has no // after a lower-case scheme; write it as %s://host", u.Scheme)
	}
	if u.User != nil {
		return nil, errors.New("holds a user name or password; leave them out")
	}
	if u.Fragment != "" || strings.Contains(s, "#") {
		return nil, errors.New("has a fragment; leave out everything from the #")
	}
	if err := checkHostname(u.Hostname()); err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return nil, errors.New("ends its host with a colon; write a port or leave the colon out")
	}
	if port != "" {
		if err := checkPort(port, false); err != nil {
			return nil, err
		}
		if port == defaultPort(u.Scheme) {
			return nil, fmt.Errorf("names the usual port of %s; leave out :%s, as browsers do", u.Scheme, port)
		}
	}
	return u, nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// bareOrigin refuses everything after the host, in the name of what is meant.
func bareOrigin(u *url.URL, what string) error {
	bare := u.Scheme + "://" + u.Host
	switch {
	case u.Path == "/" && u.RawQuery == "" && !u.ForceQuery:
		return fmt.Errorf("ends with a slash; write %s", bare)
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery:
		return fmt.Errorf("has a path or query, and %s must not have one; write %s", what, bare)
	}
	return nil
}

func checkIssuer(s string) error {
	u, err := webURL(s)
	if err != nil {
		return err
	}
	if err := bareOrigin(u, "an issuer"); err != nil {
		return err
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return fmt.Errorf(
			"is http, which only localhost, 127.0.0.1 and [::1] may be; write https://%s and let a proxy end TLS",
			u.Host,
		)
	}
	return nil
}

// checkListen accepts host:port to listen on; an empty host means every address.
func checkListen(s string) error {
	if strings.Contains(s, "://") {
		return fmt.Errorf("%s is a URL; write host:port, such as 127.0.0.1:8080", input.Quote(s))
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		switch addr, notAddr := netip.ParseAddr(s); {
		case notAddr == nil && addr.Is6():
			return fmt.Errorf("%s has no port; write \"[%s]:8080\"", input.Quote(s), s)
		case strings.Trim(s, "0123456789") == "" && s != "":
			return fmt.Errorf("%s is only a port; write 127.0.0.1:%s", input.Quote(s), s)
		}
		return fmt.Errorf("%s is not host:port; write both, such as 127.0.0.1:8080", input.Quote(s))
	}
	if host != "" {
		if err := checkHostname(host); err != nil {
			return err
		}
	}
	return checkPort(port, true)
}

// checkDatabaseURL never shows the URL, which may hold a password.
func checkDatabaseURL(s string) error {
	scheme, rest, found := strings.Cut(s, ":")
	switch {
	case s == "" || !found:
		return errors.New(
			"does not say which database; write sqlite:data/doorward.db or postgres://user:password@host/database",
		)
	case scheme == "sqlite" && rest == "":
		return errors.New("names no file; write sqlite:data/doorward.db")
	case scheme == "sqlite" && strings.HasPrefix(rest, "//"):
		return errors.New(
			"is written like a URL with a host; write sqlite:data/doorward.db, or sqlite:/srv/doorward.db from the root",
		)
	case scheme == "sqlite" && (strings.Contains(rest, ":memory:") || strings.HasPrefix(rest, "file:")):
		return errors.New("does not name a file that lasts; write sqlite: and a path, such as sqlite:data/doorward.db")
	case scheme == "sqlite" && strings.ContainsAny(rest, "?#\n\t"):
		return errors.New("has options after the file; write only sqlite: and a path")
	case scheme == "sqlite" && strings.HasSuffix(rest, "/"):
		return errors.New("names a folder; write a file in it, such as sqlite:data/doorward.db")
	case scheme == "sqlite":
		return nil
	case scheme == "postgres" || scheme == "postgresql":
		u, err := url.Parse(s)
		if err != nil {
			return errors.New(
				"is not a URL; write postgres://user:password@host:5432/database, and in the password %40 for @, %2F for /, %25 for %",
			)
		}
		if !strings.HasPrefix(rest, "//") || (u.Host == "" && u.Query().Get("host") == "") {
			return errors.New("names no server; write postgres://user:password@host:5432/database")
		}
		return nil
	}
	return fmt.Errorf(
		"starts with %s, which is not a supported database; write sqlite:PATH or postgres://user:password@host/database",
		input.Quote(scheme+":"),
	)
}

func checkMigrateURL(s string) error {
	if err := checkDatabaseURL(s); err != nil {
		return err
	}
	if strings.HasPrefix(s, "sqlite:") {
		return errors.New("is a SQLite file, which has no logins; leave it out")
	}
	return nil
}

const (
	minSecretBytes = 32
	howToSecret    = "create one with: openssl rand -base64 48"
)

// checkSecret never shows the secret.
func checkSecret(s string) error {
	var seen [256]bool
	kinds := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			kinds++
		}
	}
	switch {
	case len(s) < minSecretBytes:
		return fmt.Errorf("has %d bytes and needs %d; %s", len(s), minSecretBytes, howToSecret)
	case kinds < 8:
		return fmt.Errorf("repeats a few characters; %s", howToSecret)
	}
	return nil
}

func checkSignUp(s string) error {
	if s == "open" {
		return errors.New(
			"open needs mail, which this version does not send; write closed and create users with: doorward user create",
		)
	}
	return oneOf("closed")(s)
}

var (
	uriScheme = regexp.MustCompile(`^[a-z][a-z0-9+-]{1,38}[a-z0-9]$`)
	// usedSchemes mean something else to a browser or to an operating system than "hand this to the app": they run, show or
	// open things.
	usedSchemes = []string{
		"about",
		"blob",
		"chrome",
		"chrome-extension",
		"content",
		"data",
		"edge",
		"feed",
		"file",
		"filesystem",
		"ftp",
		"ftps",
		"intent",
		"jar",
		"javascript",
		"livescript",
		"mailto",
		"market",
		"mocha",
		"resource",
		"search-ms",
		"shell",
		"sms",
		"smsto",
		"ssh",
		"tel",
		"telnet",
		"urn",
		"vbscript",
		"view-source",
		"wss",
	}
)

// checkRedirectScheme accepts a scheme of an app that has no dot, such as cursor.
func checkRedirectScheme(s string) error {
	switch {
	case s == "http" || s == "https" || strings.Contains(s, "."):
		return fmt.Errorf(
			"%s needs no entry: https, http on loopback and schemes with a dot are allowed; leave it out",
			input.Quote(s),
		)
	case !uriScheme.MatchString(s):
		return fmt.Errorf(
			"%s is not a scheme; write it in small letters without the colon, such as cursor",
			input.Quote(s),
		)
	case slices.Contains(usedSchemes, s) || strings.HasPrefix(s, "ms-"):
		return fmt.Errorf(
			"%s has a meaning of its own for browsers or operating systems, so a redirect to it could do more than answer an app; write the scheme of an app",
			input.Quote(s),
		)
	}
	return nil
}

// parsePrefix reads an address or a CIDR range.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf(
				"%s has a zone; write the address without %%%s",
				input.Quote(s),
				addr.Zone(),
			)
		}
		addr = addr.Unmap()
		if addr.IsUnspecified() {
			return netip.Prefix{}, fmt.Errorf(
				"%s is not the address of a peer; write the address of the proxy",
				input.Quote(s),
			)
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf(
			"%s is neither an address nor a CIDR range; write the proxy's, such as 10.0.0.2 or 10.0.0.0/8",
			input.Quote(s),
		)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%s is an IPv4 range in IPv6 form; write it as IPv4", input.Quote(s))
	case prefix.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf(
			"%s trusts every client, which could then claim any address; write the proxy's, such as 10.0.0.2 or 10.0.0.0/8",
			input.Quote(s),
		)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf(
			"%s names one address and a range; write %s for the range or %s for the address",
			input.Quote(s),
			prefix.Masked(),
			prefix.Addr(),
		)
	}
	return prefix, nil
}

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func checkPlanName(s string) error {
	if !planName.MatchString(s) {
		return errors.New("is not a plan's name; write lower-case letters, digits, - and _, at most 63")
	}
	return nil
}

// checkResourceID accepts an absolute URI without fragment (RFC 8707, section 2).
func checkResourceID(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsAny(s, " \n\t\"<>\\^`{|}") || strings.IndexFunc(s, func(r rune) bool { return r > 127 }) >= 0:
		return fmt.Errorf("%s is not a URI; write one, such as https://api.example.com", input.Quote(s))
	case u.Scheme == "" || (u.Host == "" && u.Opaque == ""):
		return fmt.Errorf("%s is not an absolute URI; write one, such as https://api.example.com", input.Quote(s))
	case strings.Contains(s, "#"):
		return errors.New("has a fragment, which RFC 8707 forbids; leave out everything from the #")
	case u.User != nil:
		return errors.New("holds a user name or password; leave them out")
	case len(s) > 500:
		return errors.New("is longer than 500 bytes; write it shorter")
	}
	return nil
}

// checkHost accepts name or name:port as it stands in a Host header.
func checkHost(s string) error {
	if strings.Contains(s, "/") {
		return fmt.Errorf(
			"%s is more than a host; write only the name, such as api.example.com or api.example.com:8443",
			input.Quote(s),
		)
	}
	host, port := splitHost(s)
	if port != "" || strings.HasSuffix(s, ":") {
		if err := checkPort(port, false); err != nil {
			return err
		}
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(s, "[") {
		return fmt.Errorf("%s is an IPv6 address; write \"[%s]\"", input.Quote(s), s)
	}
	return checkHostname(host)
}

// splitHost parts name:port; the port may be missing.
func splitHost(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
}

func checkUpstream(s string) error {
	u, err := webURL(s)
	if err != nil {
		return err
	}
	return bareOrigin(u, "an upstream")
}

// checkOrigin accepts a web origin as browsers write it in the Origin header (RFC 6454, section 6.1).
func checkOrigin(s string) error {
	if s == "*" || s == "null" {
		return fmt.Errorf(
			"%s would let every page call the API as its user; write each origin, such as https://app.example.com",
			input.Quote(s),
		)
	}
	u, err := webURL(s)
	if err != nil {
		return err
	}
	return bareOrigin(u, "an origin")
}

var (
	httpToken    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
	takenHeaders = []string{
		"Authorization",
		"Cookie",
		"Host",
		"Connection",
		"Origin",
		"Forwarded",
		"Accept",
		"Te",
		"Trailer",
		"Upgrade",
		"Keep-Alive",
		"Transfer-Encoding",
	}
	takenHeaderHead = []string{
		"X-Auth-",
		"X-Forwarded-",
		"X-Original-",
		"X-Doorward-",
		"X-Ratelimit-",
		"X-Request-",
		"Content-",
		"Proxy-",
		"Sec-",
		"Access-Control-",
	}
)

func checkHeader(s string) error {
	if !httpToken.MatchString(s) {
		return fmt.Errorf("%s is not a header's name; write one, such as X-Workspace", input.Quote(s))
	}
	name := http.CanonicalHeaderKey(s)
	if slices.Contains(takenHeaders, name) ||
		slices.ContainsFunc(takenHeaderHead, func(head string) bool { return strings.HasPrefix(name, head) }) {
		return fmt.Errorf("%s has another meaning already; write one of your own, such as X-Workspace", input.Quote(s))
	}
	return nil
}

var keyPrefix = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func checkKeyPrefix(s string) error {
	if !keyPrefix.MatchString(s) || len(s) > 20 {
		return fmt.Errorf(
			"%s is not a prefix; write up to 20 lower-case letters, digits and single _ between them, such as sk or acme; live_ or test_ is added",
			input.Quote(s),
		)
	}
	return nil
}

// checkForeignIssuer accepts the iss of another party's tokens, which may have a path.
func checkForeignIssuer(s string) error {
	u, err := webURL(s)
	switch {
	case err != nil:
		return err
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("has a query, and an issuer must not have one; leave out everything from the ?")
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return errors.New("is http, which only a loopback host may be; write the https URL that stands in iss")
	}
	return nil
}

func checkJWKSURL(s string) error {
	u, err := webURL(s)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return errors.New("is http, so anyone on the network could change the keys; write an https URL")
	}
	return nil
}

func checkAlgorithm(s string) error {
	switch {
	case s == "none":
		return errors.New("none means unsigned; write the algorithm of the issuer, such as ES256")
	case strings.HasPrefix(s, "HS"):
		return fmt.Errorf(
			"%s signs with a shared secret, not with keys from jwks_url; write hs256_secret instead of both, or an algorithm such as ES256",
			input.Quote(s),
		)
	}
	return oneOf("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")(s)
}

func checkRoutePath(s string) error {
	_, err := route.Parse(s)
	return err
}
