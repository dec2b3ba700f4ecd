package limit

import (
	"net/netip"
	"strconv"
	"time"
)

// AddressKey names what counts as one place on the network: an IPv4 address, also when it comes mapped into IPv6, or
// the /64 that an IPv6 address is in, which is the least that anybody is given. All invalid addresses are one place.
func AddressKey(a netip.Addr) string {
	a = a.Unmap()
	if !a.Is6() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}

// pair joins two texts so that no two pairs look alike.
func pair(a, b string) string { return strconv.Itoa(len(a)) + ":" + a + b }

// SignIns limits wrong passwords: 10 in 15 minutes for an account from one address, then a wait that doubles from one
// minute to 15; 100 in 15 minutes from one address, for all accounts together. A browser that signed in to the account
// before counts for itself, so that guesses from elsewhere, or from the same address, do not lock it out.
type SignIns struct{ f *Failures }

// NewSignIns takes the clock.
func NewSignIns(now func() time.Time) *SignIns {
	account := Rule{Count: 10, Per: 15 * time.Minute, DoublingTo: 15 * time.Minute, Forgiving: true}
	return &SignIns{NewFailures(now, account, Rule{Count: 100, Per: 15 * time.Minute}, account)}
}

func (s *SignIns) keys(account string, a netip.Addr, knownDevice bool) []string {
	address := AddressKey(a)
	if knownDevice {
		return []string{"", "", pair(account, address)}
	}
	return []string{pair(account, address), address, ""}
}

// Reserve asks for one attempt at the password of an account, which need not exist. Where ok is false, retryAfter is
// when to come back; otherwise one of Succeed, Fail and Release must follow with the same arguments.
func (s *SignIns) Reserve(account string, a netip.Addr, knownDevice bool) (ok bool, retryAfter time.Duration) {
	return s.f.Reserve(s.keys(account, a, knownDevice)...)
}

// Succeed settles an attempt with the right password: the account's failures from this address are forgotten.
func (s *SignIns) Succeed(account string, a netip.Addr, knownDevice bool) {
	s.f.Succeed(s.keys(account, a, knownDevice)...)
}

// Fail settles an attempt with a wrong password.
func (s *SignIns) Fail(account string, a netip.Addr, knownDevice bool) {
	s.f.Fail(s.keys(account, a, knownDevice)...)
}

// Release settles an attempt at which no password was compared.
func (s *SignIns) Release(account string, a netip.Addr, knownDevice bool) {
	s.f.Release(s.keys(account, a, knownDevice)...)
}

// Clients limits failed client authentication (RFC 6749, section 2.3.1): 20 a minute for a client from one address, 100
// a minute from one address. A right secret is not asked about, so that no failures keep it out.
type Clients struct{ f *Failures }

// NewClients takes the clock.
func NewClients(now func() time.Time) *Clients {
	return &Clients{NewFailures(now, Rule{Count: 20, Per: time.Minute}, Rule{Count: 100, Per: time.Minute})}
}

// Fail counts a failed authentication of a client, which need not exist, from an address. Where ok is false it is one
// too many, and retryAfter is when to come back.
func (c *Clients) Fail(clientID string, a netip.Addr) (ok bool, retryAfter time.Duration) {
	address := AddressKey(a)
	return c.f.Add(pair(clientID, address), address)
}
