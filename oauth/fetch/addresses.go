package fetch

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// special4 are the IPv4 addresses that are not public (RFC 6890, and IANA's registry of special-purpose addresses).
var special4 = prefixes(
	"0.0.0.0/8",       // this network; Linux connects 0.0.0.0 to the machine itself
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // between a provider and its customers (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, among them the metadata services of clouds
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays for 6to4
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
)

// global6 is the only part of IPv6 from which public addresses are assigned (RFC 4291, section 2.4). Outside it are
// loopback, link-local, site-local, unique local and multicast addresses, and most forms that contain an IPv4 address.
var global6 = netip.MustParsePrefix("2000::/3")

// special6 are the addresses in global6 that are not public.
var special6 = prefixes(
	"2001::/23",     // protocol assignments: Teredo, benchmarks, ORCHID
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4, which contains an IPv4 address
	"3fff::/20",     // documentation
)

// translated are the addresses with which an IPv6-only machine reaches IPv4 addresses: the last four bytes (RFC 6052,
// section 2.1).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// checkConnection is the Control function of the dialer. address is that of the connection, never a name.
func (f *Fetcher) checkConnection(_ context.Context, _, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address %s cannot be read: %w", address, ErrRefused)
	}
	if !f.allows(a.Addr()) {
		return fmt.Errorf("the address %s is not public, and fetch.allow does not contain it: %w", a.Addr(), ErrRefused)
	}
	return nil
}

// allows reports whether an address may be connected to. An address that stands for an IPv4 address is judged as that.
// An address with a zone, which is link-local, is in no prefix and so refused.
func (f *Fetcher) allows(a netip.Addr) bool {
	if a = a.Unmap(); translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case slices.ContainsFunc(f.allow, contains):
		return true
	case a.Is4():
		return !slices.ContainsFunc(special4, contains)
	}
	return global6.Contains(a) && !slices.ContainsFunc(special6, contains)
}
