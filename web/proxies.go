package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the peers whose X-Forwarded-* headers count; none by default, since whoever may set such a header may
// be anybody.
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

// peer is the other end of the connection; the zero Addr when it is not an IP one.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// trusted reports whether the request came from a trusted proxy.
func (p Proxies) trusted(r *http.Request) bool { return len(p) > 0 && p.trusts(peer(r)) }

// ClientAddress is where a request comes from: the peer or, behind trusted proxies, the last hop that is not one of
// them, counted from the right, where only they can have written.
func (p Proxies) ClientAddress(r *http.Request) netip.Addr {
	address := peer(r)
	if !p.trusted(r) {
		return address
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
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

// forwarded is the value of a forwarding header from a trusted proxy, or "".
func (p Proxies) forwarded(r *http.Request, header string) string {
	if !p.trusted(r) {
		return ""
	}
	value, _, _ := strings.Cut(r.Header.Get(header), ",")
	return strings.TrimSpace(value)
}

// forwardingHeaders are those that somebody expects to count.
var forwardingHeaders = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"}
