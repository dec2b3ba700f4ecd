package config

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// The checks in this file look at a single value. Their errors say what to write instead.

// builtinPaths are Doorward's own paths that a resource's host may serve. There are no pages among them, because pages
// need the issuer's cookie.
var builtinPaths = []string{
	"/oauth/token", "/oauth/par", "/oauth/revoke", "/oauth/introspect", "/oauth/jwks", "/.well-known/oauth-authorization-server",
	"/v1/api-keys", "/v1/personal-access-tokens", "/v1/apps", "/v1/workspaces", "/v1/usage", "/v1/audit-events",
	"/v1/auth/test", "/api/auth/me", "/api/me", "/openapi.json",
}

// oneOf accepts only these values.
func oneOf(values ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(values, s) {
			return nil
		}
		return fmt.Errorf("%s is not one of the allowed values; use one of: %s", input.Quote(s), strings.Join(values, ", "))
	}
}

// orEmpty accepts an empty string, which disables something, and every value that check accepts.
func orEmpty(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

const maxText = 500 // bytes

// checkText accepts a line of text for people.
func checkText(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("is blank; enter some text, or leave the key out")
	case strings.ContainsAny(s, "\n\t"):
		return errors.New("has more than one line; put it on one line")
	case len(s) > maxText:
		return errors.New("is longer than 500 bytes; shorten it")
	}
	if _, wrong := input.Line(s, maxText); !wrong.IsZero() {
		return errors.New(wrong.String())
	}
	return nil
}

// checkDatabaseURL checks a database URL. Its errors do not show the URL, which may contain a password.
func checkDatabaseURL(s string) error {
	scheme, rest, found := strings.Cut(s, ":")
	switch {
	case s == "" || !found:
		return errors.New(
			"does not name a database; use sqlite:data/doorward.db or postgres://user:password@host/database",
		)
	case scheme == "sqlite" && rest == "":
		return errors.New("does not name a file; use sqlite:data/doorward.db")
	case scheme == "sqlite" && strings.HasPrefix(rest, "//"):
		return errors.New(
			"is written like a URL with a host; use sqlite:data/doorward.db, or sqlite:/srv/doorward.db for an absolute path",
		)
	case scheme == "sqlite" && (strings.Contains(rest, ":memory:") || strings.HasPrefix(rest, "file:")):
		return errors.New("does not name a persistent file; use sqlite: and a path, such as sqlite:data/doorward.db")
	case scheme == "sqlite" && strings.ContainsAny(rest, "?#\n\t"):
		return errors.New("has options after the file; use only sqlite: and a path")
	case scheme == "sqlite" && strings.HasSuffix(rest, "/"):
		return errors.New("names a folder; name a file in it, such as sqlite:data/doorward.db")
	case scheme == "sqlite":
		return nil
	case scheme == "postgres" || scheme == "postgresql":
		u, err := url.Parse(s)
		if err != nil {
			return errors.New(
				"is not a URL; use postgres://user:password@host:5432/database, and in the password use " +
					"%40 for @, %2F for / and %25 for %",
			)
		}
		if !strings.HasPrefix(rest, "//") || (u.Host == "" && u.Query().Get("host") == "") {
			return errors.New("does not name a server; use postgres://user:password@host:5432/database")
		}
		return nil
	}
	return fmt.Errorf(
		"starts with %s, which is not a supported database; use sqlite:PATH or postgres://user:password@host/database",
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

// checkSecret checks a secret. Its errors do not show it.
func checkSecret(s string) error {
	var seen [256]bool
	distinct := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			distinct++
		}
	}
	switch {
	case len(s) < minSecretBytes:
		return fmt.Errorf("has %d bytes and needs %d; %s", len(s), minSecretBytes, howToSecret)
	case distinct < 8:
		return fmt.Errorf("has too few different characters; %s", howToSecret)
	}
	return nil
}

var (
	uriScheme = regexp.MustCompile(`^[a-z][a-z0-9+-]{1,38}[a-z0-9]$`)
	// usedSchemes are schemes that browsers or operating systems handle themselves, instead of passing the URL to an app.
	usedSchemes = []string{
		"about", "blob", "chrome", "chrome-extension", "content", "data", "edge", "feed", "file", "filesystem", "ftp",
		"ftps", "intent", "jar", "javascript", "livescript", "mailto", "market", "mocha", "resource", "search-ms", "shell",
		"sms", "smsto", "ssh", "tel", "telnet", "urn", "vbscript", "view-source", "wss",
	}
)

// checkRedirectScheme accepts an app's scheme without a dot, such as cursor.
func checkRedirectScheme(s string) error {
	switch {
	case s == "http" || s == "https" || strings.Contains(s, "."):
		return fmt.Errorf(
			"%s does not need an entry: https, http on loopback and schemes with a dot are always allowed; leave it out",
			input.Quote(s),
		)
	case !uriScheme.MatchString(s):
		return fmt.Errorf(
			"%s is not a scheme; use lower-case letters without the colon, such as cursor",
			input.Quote(s),
		)
	case slices.Contains(usedSchemes, s) || strings.HasPrefix(s, "ms-"):
		return fmt.Errorf(
			"%s has a special meaning to browsers or operating systems, so a redirect to it could do more than return to an "+
				"app; "+
				"use an app's own scheme",
			input.Quote(s),
		)
	}
	return nil
}

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func checkPlanName(s string) error {
	if !planName.MatchString(s) {
		return errors.New("is not a valid plan name; use at most 63 lower-case letters, digits, - and _")
	}
	return nil
}

// checkResourceID accepts an absolute URI without a fragment (RFC 8707, section 2).
func checkResourceID(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsAny(s, " \n\t\"<>\\^`{|}") || !isASCII(s):
		return fmt.Errorf("%s is not a URI; use one such as https://api.example.com", input.Quote(s))
	case u.Scheme == "" || (u.Host == "" && u.Opaque == ""):
		return fmt.Errorf("%s is not an absolute URI; use one such as https://api.example.com", input.Quote(s))
	case strings.Contains(s, "#"):
		return errors.New("has a fragment, which RFC 8707 forbids; remove everything from the #")
	case u.User != nil:
		return errors.New("contains a user name or password; remove them")
	case len(s) > 500:
		return errors.New("is longer than 500 bytes; shorten it")
	}
	return nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

var (
	httpToken    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
	takenHeaders = []string{
		"Authorization", "Cookie", "Host", "Connection", "Origin", "Forwarded", "Accept", "Te", "Trailer", "Upgrade",
		"Keep-Alive", "Transfer-Encoding",
	}
	takenHeaderPrefixes = []string{
		"X-Auth-", "X-Forwarded-", "X-Original-", "X-Doorward-", "X-Ratelimit-", "X-Request-", "Content-", "Proxy-",
		"Sec-", "Access-Control-",
	}
)

func checkHeader(s string) error {
	if !httpToken.MatchString(s) {
		return fmt.Errorf("%s is not a valid header name; use one such as X-Workspace", input.Quote(s))
	}
	name := http.CanonicalHeaderKey(s)
	if slices.Contains(takenHeaders, name) ||
		slices.ContainsFunc(takenHeaderPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return fmt.Errorf("%s already has another meaning; choose another name, such as X-Workspace", input.Quote(s))
	}
	return nil
}

var keyPrefix = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func checkKeyPrefix(s string) error {
	if !keyPrefix.MatchString(s) || len(s) > 20 {
		return fmt.Errorf(
			"%s is not a valid prefix; use up to 20 lower-case letters and digits, with single _ between them, "+
				"such as sk or acme; live_ or test_ is added",
			input.Quote(s),
		)
	}
	return nil
}

func checkAlgorithm(s string) error {
	switch {
	case s == "none":
		return errors.New("none means unsigned; use the issuer's algorithm, such as ES256")
	case strings.HasPrefix(s, "HS"):
		return fmt.Errorf(
			"%s signs with a shared secret, not with keys from jwks_url; use hs256_secret instead of both, "+
				"or an algorithm such as ES256",
			input.Quote(s),
		)
	}
	return oneOf("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")(s)
}

func checkRoutePath(s string) error {
	_, err := route.Parse(s)
	return err
}
