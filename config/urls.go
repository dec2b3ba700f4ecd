package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"doorward/oauth/input"
)

// IsLoopback reports whether a URL's host names this machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// checkHostname accepts a DNS name in lower case, or an IP address without brackets.
func checkHostname(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return nil
	}
	switch {
	case host == "":
		return errors.New("has no host; use one such as auth.example.com")
	case strings.Contains(host, "*"):
		return errors.New("has a wildcard; list each host by its name")
	case host != strings.ToLower(host):
		return fmt.Errorf("has capital letters in the host; use %s", input.Quote(strings.ToLower(host)))
	case strings.HasSuffix(host, "."):
		return errors.New("has a dot at the end of the host; remove it")
	case !isASCII(host):
		return errors.New("has non-ASCII characters in the host; use its xn-- form")
	}
	labels := strings.Split(host, ".")
	ok := len(host) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
	for _, label := range labels {
		ok = ok && hostLabel.MatchString(label)
	}
	if !ok {
		return fmt.Errorf(
			"has the host %s, which is neither a name nor an address; use one such as auth.example.com or 127.0.0.1",
			input.Quote(host),
		)
	}
	return nil
}

// checkPort accepts a port. It accepts 0, which means any free port, only if zero is true.
func checkPort(port string, zero bool) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (n == 0 && !zero) || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("has the port %s; use a number from 1 to 65535", input.Quote(port))
	}
	return nil
}

// webURL parses an http or https URL with a valid host and without user, password or fragment. Its errors do not show
// the URL, which may contain a password.
func webURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || strings.TrimSpace(s) != s {
		return nil, errors.New("is not a URL; use a full URL, such as https://auth.example.com")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New(
			"does not start with https:// or http://; use a full URL, such as https://auth.example.com",
		)
	}
	if !strings.HasPrefix(s, u.Scheme+"://") {
		return nil, fmt.Errorf("has no // after a lower-case scheme; use %s://host", u.Scheme)
	}
	if u.User != nil {
		return nil, errors.New("contains a user name or password; remove them")
	}
	if u.Fragment != "" || strings.Contains(s, "#") {
		return nil, errors.New("has a fragment; remove everything from the #")
	}
	if err := checkHostname(u.Hostname()); err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return nil, errors.New("has a colon but no port after the host; add a port, or remove the colon")
	}
	if port != "" {
		if err := checkPort(port, false); err != nil {
			return nil, err
		}
		if port == defaultPort(u.Scheme) {
			return nil, fmt.Errorf("has the default port of %s; remove :%s, as browsers do", u.Scheme, port)
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

// bareOrigin refuses a path or query. what is the name of the value in errors, such as "an issuer".
func bareOrigin(u *url.URL, what string) error {
	bare := u.Scheme + "://" + u.Host
	switch {
	case u.Path == "/" && u.RawQuery == "" && !u.ForceQuery:
		return fmt.Errorf("ends with a slash; use %s", bare)
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery:
		return fmt.Errorf("has a path or query, and %s must not have one; use %s", what, bare)
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
			"is http, which is allowed only for localhost, 127.0.0.1 and [::1]; use https://%s, and terminate TLS at a proxy",
			u.Host,
		)
	}
	return nil
}

// checkListen accepts host:port to listen on. An empty host means all addresses.
func checkListen(s string) error {
	if strings.Contains(s, "://") {
		return fmt.Errorf("%s is a URL; use host:port, such as 127.0.0.1:8080", input.Quote(s))
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		switch addr, notAddr := netip.ParseAddr(s); {
		case notAddr == nil && addr.Is6():
			return fmt.Errorf("%s has no port; use \"[%s]:8080\"", input.Quote(s), s)
		case strings.Trim(s, "0123456789") == "" && s != "":
			return fmt.Errorf("%s is only a port; use 127.0.0.1:%s", input.Quote(s), s)
		}
		return fmt.Errorf("%s is not host:port; include both, such as 127.0.0.1:8080", input.Quote(s))
	}
	if host != "" {
		if err := checkHostname(host); err != nil {
			return err
		}
	}
	return checkPort(port, true)
}

// rangeTexts are the parts of a fault that depend on what an address or range is for.
type rangeTexts struct {
	unspecified string // of an address such as 0.0.0.0
	everything  string // of a range with all addresses
	instead     string
}

var (
	proxyRange = rangeTexts{
		unspecified: "cannot be the address of a proxy; use the proxy's address",
		everything:  "trusts every client, which could then claim any address",
		instead:     "use the proxy's, such as 10.0.0.2 or 10.0.0.0/8",
	}
	fetchRange = rangeTexts{
		unspecified: "cannot be the address of a server; use the address of the server to fetch from",
		everything:  "allows every address, so a stranger's URL could reach this machine and its network",
		instead:     "use that of your private network, such as 10.0.0.0/8",
	}
)

// parsePrefix parses an IP address or a CIDR range.
func parsePrefix(s string, texts rangeTexts) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf(
				"%s has a zone; use the address without %%%s",
				input.Quote(s),
				addr.Zone(),
			)
		}
		addr = addr.Unmap()
		if addr.IsUnspecified() {
			return netip.Prefix{}, fmt.Errorf("%s %s", input.Quote(s), texts.unspecified)
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%s is neither an address nor a CIDR range; %s", input.Quote(s), texts.instead)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%s is an IPv4 range in IPv6 form; use its IPv4 form", input.Quote(s))
	case prefix.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("%s %s; %s", input.Quote(s), texts.everything, texts.instead)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf(
			"%s is ambiguous; use %s for the range, or %s for the address",
			input.Quote(s),
			prefix.Masked(),
			prefix.Addr(),
		)
	}
	return prefix, nil
}

// checkHost accepts name or name:port, as in a Host header.
func checkHost(s string) error {
	if strings.Contains(s, "/") {
		return fmt.Errorf(
			"%s is more than a host; use only the name, such as api.example.com or api.example.com:8443",
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
		return fmt.Errorf("%s is an IPv6 address; use \"[%s]\"", input.Quote(s), s)
	}
	return checkHostname(host)
}

// splitHost splits name:port. The port may be missing.
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
			"%s would let every website call the API as its user; list each origin, such as https://app.example.com",
			input.Quote(s),
		)
	}
	u, err := webURL(s)
	if err != nil {
		return err
	}
	return bareOrigin(u, "an origin")
}

// checkForeignIssuer accepts the issuer of foreign JWTs. It may have a path.
func checkForeignIssuer(s string) error {
	u, err := webURL(s)
	switch {
	case err != nil:
		return err
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("has a query, and an issuer must not have one; remove everything from the ?")
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return errors.New("is http, which is allowed only for a loopback host; use the https URL in the tokens' iss")
	}
	return nil
}

func checkJWKSURL(s string) error {
	u, err := webURL(s)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return errors.New("is http, so anyone on the network could change the keys; use an https URL")
	}
	return nil
}
