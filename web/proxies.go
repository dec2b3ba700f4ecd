package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the peers whose X-Forwarded-* headers are trusted. The default is none, because any client can send them.
type Proxies []netip.Prefix

func (p Proxies) trusts(a netip.Addr) bool {
	a = a.Unmap()
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// peer is the address of the other end of the connection; the zero Addr if that is not an IP address.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// trusted reports whether the request came from a trusted proxy.
func (p Proxies) trusted(r *http.Request) bool { return len(p) > 0 && p.trusts(peer(r)) }

// ClientAddress is the address of the client: the peer or, behind trusted proxies, the rightmost address in
// X-Forwarded-For that is not a trusted proxy. A client can forge only the addresses to the left of it.
func (p Proxies) ClientAddress(r *http.Request) netip.Addr {
	address := peer(r)
	if len(p) == 0 || !p.trusts(address) {
		return address
	}
	rest := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	for more := true; more; {
		last := strings.LastIndexByte(rest, ',')
		hop := strings.TrimSpace(rest[last+1:])
		if more = last >= 0; more {
			rest = rest[:last]
		}
		a, err := netip.ParseAddr(hop)
		if err != nil {
			ap, err := netip.ParseAddrPort(hop)
			if err != nil {
				break
			}
			a = ap.Addr()
		}
		address = a.Unmap().WithZone("")
		if !p.trusts(address) {
			break
		}
	}
	return address
}

// forwarded is the value of a forwarding header from a trusted proxy; empty if there is none.
func (p Proxies) forwarded(r *http.Request, header string) string {
	if !p.trusted(r) {
		return ""
	}
	value, _, _ := strings.Cut(r.Header.Get(header), ",")
	return strings.TrimSpace(value)
}

// forwardingHeaders are the headers that warnOfForwarding looks for.
var forwardingHeaders = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"}
