package input

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

const (
	maxEmail = 254 // RFC 5321, section 4.5.3.1.3, less the angle brackets
	maxLocal = 64  // RFC 5321, section 4.5.3.1.1
	maxSite  = 500
)

var (
	atom = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+$")
	name = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	// label matches a label of a host name in a URL, which may have underscores.
	label = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	// number matches the last label of a host that browsers parse as an IPv4 address (WHATWG URL).
	number = regexp.MustCompile(`^(?:[0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

// IsEmail reports whether text is one email address in the usual form: a dot-atom, an at sign and a host name (RFC
// 5322, section 3.4.1). It must be ASCII: letters of other alphabets that look the same would make two accounts look
// like one.
func IsEmail(text string) bool {
	local, domain, found := strings.Cut(text, "@")
	if !found || len(text) > maxEmail || len(local) > maxLocal {
		return false
	}
	for part := range strings.SplitSeq(local, ".") {
		if !atom.MatchString(part) {
			return false
		}
	}
	for part := range strings.SplitSeq(domain, ".") {
		if !name.MatchString(part) {
			return false
		}
	}
	return true
}

// IsHost reports whether text is the host of a URL (RFC 3986, section 3.2.2): a host name in ASCII whose xn-- labels
// are valid (RFC 5891), an IPv4 address in dotted decimal, or an IPv6 address in brackets. It refuses forms that
// parsers understand differently, such as percent-encoding, 0x7f.1 or a trailing dot.
func IsHost(text string) bool {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	labels := strings.Split(text, ".")
	for _, part := range labels {
		if !label.MatchString(part) {
			return false
		}
		if lower := strings.ToLower(part); strings.HasPrefix(lower, "xn--") {
			if again, err := idna.Lookup.ToASCII(lower); err != nil || again != lower {
				return false
			}
		}
	}
	if number.MatchString(labels[len(labels)-1]) {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Is4()
	}
	return len(text) <= 253
}

// HostOf returns an authority without its port.
func HostOf(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return authority[:i]
	}
	return authority
}

// IsAuthority reports whether text is a host, with or without a port from 1 to 65535, and without user information.
func IsAuthority(text string) bool {
	host := HostOf(text)
	if port, found := strings.CutPrefix(text[len(host):], ":"); found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return false
		}
	}
	return IsHost(host)
}

// AuthorityOf returns the authority of an absolute URI unchanged, for Authority to check; present is false if the URI
// has none.
func AuthorityOf(uri string) (authority string, present bool) {
	_, rest, _ := strings.Cut(uri, ":")
	rest, present = strings.CutPrefix(rest, "//")
	if !present {
		return "", false
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest, true
}

// IsSite reports whether text is the URL of a web site, in ASCII, with https, or http on a loopback host.
func IsSite(text string) bool {
	if len(text) > maxSite ||
		strings.ContainsFunc(
			text, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`\"<>^{|}`+"`", c) },
		) {
		return false
	}
	u, err := url.Parse(text)
	authority, present := AuthorityOf(text)
	if err != nil || !present || !IsAuthority(authority) {
		return false
	}
	switch u.Scheme {
	case "https":
		return true
	case "http":
		host := u.Hostname()
		return host == "127.0.0.1" || host == "::1" || host == "localhost"
	}
	return false
}
