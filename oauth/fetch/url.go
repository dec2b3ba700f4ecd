package fetch

import (
	"net/netip"
	"net/url"
	"strings"

	"doorward/locale"
	"doorward/oauth/input"
)

const maxURL = 500 // bytes

// loopback are the addresses that localhost stands for (RFC 6761, section 6.3).
var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}

// CheckURL returns why this server would never fetch a URL, as words to follow the name of its field; the zero Text
// means that it may. It resolves no names: Get refuses those that lead to an address that is not allowed.
func (f *Fetcher) CheckURL(text string) locale.Text {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Scheme != "https" || strings.ContainsFunc(text, isForeign) {
		return locale.New("must be an https URL of at most 500 characters, in ASCII; percent-encode others, and use a " +
			"host name in its xn-- form")
	}
	authority, _ := input.AuthorityOf(text)
	host := strings.ToLower(input.HostOf(authority))
	switch {
	case u.User != nil || strings.Contains(authority, "@"):
		return locale.New("contains user information; remove all before the @")
	case strings.Contains(text, "#"):
		return locale.New("has a fragment; remove # and all after it")
	// Some resolvers read 127.1, 0x7f.1 and 2130706433 as addresses. They are not hosts by this rule.
	case !input.IsHost(host):
		return locale.New(
			"has a host that is neither a host name nor an IPv4 address nor an IPv6 address in brackets; correct it",
		)
	case !input.IsAuthority(authority):
		return locale.New("has a port that is not a number from 1 to 65535; correct it, or leave it out")
	case !f.mayName(host):
		return locale.New("has a host that is on a private or reserved network; use a public one, or ask the operator of " +
			"this server to allow its address with fetch in the configuration")
	}
	return locale.Text{}
}

// isForeign reports whether a URL must not contain a character. Parsers disagree about some of them.
func isForeign(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`\"<>^{|}`+"`", c) }

// mayName reports whether a host, in lower case, can lead to an allowed address, as far as its text shows.
func (f *Fetcher) mayName(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return f.allows(loopback[0]) || f.allows(loopback[1])
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil || f.allows(a) // a name
}
