// Package redirecturi checks redirect URIs for registration, and matches those of requests with registered ones (RFC
// 6749, section 3.1.2; RFC 8252, section 7). It does not know clients or requests.
package redirecturi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/input"
)

// loopbackHosts are the hosts that http redirect URIs may have (RFC 8252, section 7.3); each matches only itself.
var loopbackHosts = []string{"127.0.0.1", "[::1]", "localhost"}

// splitLoopback splits an http URI of a loopback host into the host and the part after the port. ok is false for any
// other URI, such as one with user information.
func splitLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	for _, host := range loopbackHosts {
		rest, ok := strings.CutPrefix(after, host)
		if !ok {
			continue
		}
		if port, isPort := strings.CutPrefix(rest, ":"); isPort {
			end := strings.IndexAny(port, "/?")
			if end < 0 {
				end = len(port)
			}
			n, err := strconv.ParseUint(port[:end], 10, 16)
			if err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
				return "", "", false
			}
			rest = port[end:]
		}
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			return "", "", false
		}
		return host, rest, true
	}
	return "", "", false
}

// mayRedirect reports whether the scheme of a URI allows redirects to it: https, http on loopback, a private-use scheme
// with a dot (RFC 8252, section 7), or one of the schemes without a dot that the operator allows.
func mayRedirect(uri string, allowed []string) bool {
	scheme, _, ok := strings.Cut(uri, ":")
	if ok && scheme == "http" {
		_, _, ok = splitLoopback(uri)
		return ok
	}
	return ok && (scheme == "https" || strings.Contains(scheme, ".") || slices.Contains(allowed, scheme))
}

// HasBareScheme reports whether a redirect URI has a private-use scheme without a dot. Any program can claim it, since
// it does not contain a domain name of its owner (RFC 8252, section 7.1).
func HasBareScheme(uri string) bool {
	scheme, _, ok := strings.Cut(uri, ":")
	return ok && scheme != "https" && scheme != "http" && !strings.Contains(scheme, ".")
}

// Match reports whether a requested redirect URI is registered, byte for byte (RFC 6749, section 3.1.2.3; RFC 9700,
// section 2.1), except for the port of a loopback URI, which is chosen at run time (RFC 8252, section 7.3). A URI whose
// scheme cannot be registered never matches, even if the database contains it.
func Match(registered []string, requested string, allowed []string) bool {
	if slices.Contains(registered, requested) {
		return mayRedirect(requested, allowed)
	}
	host, rest, ok := splitLoopback(requested)
	if !ok {
		return false
	}
	return slices.ContainsFunc(registered, func(uri string) bool {
		h, r, ok := splitLoopback(uri)
		return ok && h == host && r == rest
	})
}

// responseParameters must not be in the query of a redirect URI: a client would take them for those of the response.
var responseParameters = []string{
	"code", "state", "error", "error_description", "error_uri", "iss", "response", "access_token", "id_token",
}

// exampleURI is a redirect URI for errors.
const exampleURI = "https://app.example.com/callback"

const maxURI = 2000 // bytes

// Check returns why a URI cannot be registered, as words to follow it; empty: it can. allowed lists the private-use
// schemes without a dot that can.
func Check(uri string, allowed []string) locale.Text {
	switch {
	case uri == "":
		return locale.New("is empty; use a full URL such as %s", exampleURI)
	case len(uri) > maxURI:
		return locale.New("is longer than %d characters", maxURI)
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }):
		return locale.New(
			"contains spaces or characters outside ASCII; percent-encode them, and use the xn-- form of a host name",
		)
	case strings.ContainsAny(uri, `\*"<>^{|}`+"`"):
		return locale.New("contains a character that is not allowed in URIs, or a wildcard; list each URI in full")
	case strings.Contains(uri, "#"):
		return locale.New("has a fragment; remove # and all after it (RFC 6749, section 3.1.2)")
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return locale.New("is not an absolute URI; use a full URL such as %s", exampleURI)
	}
	if !strings.HasPrefix(uri, u.Scheme+":") {
		return locale.New("has capital letters in its scheme; use lower case")
	}
	if u.User != nil {
		return locale.New("contains user information; remove all before the @")
	}
	if authority, present := input.AuthorityOf(uri); present && authority != "" {
		switch {
		case !input.IsHost(input.HostOf(authority)):
			return locale.New(
				"has a host that is neither a host name nor an IPv4 address nor an IPv6 address in brackets; correct it",
			)
		case u.Scheme != "http" && !input.IsAuthority(authority):
			return locale.New("has a port that is not a number from 1 to 65535; correct it, or leave it out")
		}
	}
	path := strings.ToLower(u.EscapedPath())
	for _, segment := range strings.Split(strings.ReplaceAll(strings.ReplaceAll(path, "%2e", "."), "%2f", "/"), "/") {
		if segment == "." || segment == ".." {
			return locale.New("contains . or .. segments; remove them")
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return locale.New("has a malformed query; percent-encode its values")
	}
	for _, name := range responseParameters {
		if query.Has(name) {
			return locale.New("has %s in its query, which is a parameter of the response; use another name", name)
		}
	}
	switch {
	case u.Scheme == "https":
		if u.Hostname() == "" || u.Opaque != "" {
			return locale.New("does not have a host; use a full URL such as %s", exampleURI)
		}
	case u.Scheme == "http":
		if !mayRedirect(uri, nil) {
			if slices.Contains(loopbackHosts, strings.TrimSuffix(u.Host, ":"+u.Port())) && u.Port() != "" {
				return locale.New("has a port that is not a number from 1 to 65535; leave it out, and any port of this " +
					"loopback host will do (RFC 8252, section 7.3)")
			}
			return locale.New("is plain http, which is allowed only for 127.0.0.1, [::1] and localhost; use https")
		}
	case !mayRedirect(uri, allowed):
		return locale.New("has a scheme that is neither https nor a private-use one with a dot, " +
			"like com.example.app:/callback (RFC 8252, section 7.1); " +
			"the operator of this server can allow others, such as cursor, with redirect_schemes in the configuration")
	}
	return locale.Text{}
}

// AddResponse adds the parameters of a response to a redirect URI, and leaves its registered query as it is (RFC 6749,
// section 3.1.2).
func AddResponse(uri string, response url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
		if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
			separator = ""
		}
	}
	return uri + separator + response.Encode()
}

// Origin returns the web origin of a redirect URI (RFC 6454), or "" if it has none.
func Origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	host := strings.ToLower(u.Host)
	if (u.Scheme == "https" && u.Port() == "443") || (u.Scheme == "http" && u.Port() == "80") {
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	return u.Scheme + "://" + host
}

// Host returns where a redirect goes, to show to users: the host, or the private-use scheme. loopback reports whether
// it goes to a program on the user's own machine.
func Host(uri string) (host string, loopback bool) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", false
	}
	if _, _, ok := splitLoopback(uri); ok {
		return u.Hostname(), true
	}
	if u.Scheme == "https" {
		return u.Host, false
	}
	return u.Scheme, false
}
