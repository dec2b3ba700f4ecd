package limit

import (
	"net/netip"
	"strconv"
	"time"
)

// AddressKey returns the key under which an address is counted: an IPv4 address, even if mapped into IPv6, or the /64
// of an IPv6 address, the smallest block that a customer gets. All invalid addresses have the same key.
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

// pair joins two strings unambiguously.
func pair(a, b string) string { return strconv.Itoa(len(a)) + ":" + a + b }

// SignIns limits wrong passwords: 10 in 15 minutes for an account from one address, then a wait that doubles from one
// minute to 15; and 100 in 15 minutes from one address, for all accounts together. A browser that signed in to the
// account before is counted separately, so that guesses by others, even from the same address, do not lock it out.
type SignIns struct{ f *Failures }

// NewSignIns returns SignIns that use the clock now.
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

// Reserve asks for one attempt at the password of an account, which need not exist. If ok is false, the caller must
// wait for retryAfter. Otherwise one of Succeed, Fail and Release must follow, with the same arguments.
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

// Release settles an attempt in which no password was checked.
func (s *SignIns) Release(account string, a netip.Addr, knownDevice bool) {
	s.f.Release(s.keys(account, a, knownDevice)...)
}

// Clients limits failed client authentication (RFC 6749, section 2.3.1): 20 a minute for a client from one address, and
// 100 a minute from one address. Only failures are counted, so that none of them locks out a client with the right
// secret.
type Clients struct{ f *Failures }

// NewClients returns Clients that use the clock now.
func NewClients(now func() time.Time) *Clients {
	return &Clients{NewFailures(now, Rule{Count: 20, Per: time.Minute}, Rule{Count: 100, Per: time.Minute})}
}

// Fail counts a failed authentication of a client, which need not exist, from an address. If ok is false, the limit is
// exceeded, and the client must wait for retryAfter.
func (c *Clients) Fail(clientID string, a netip.Addr) (ok bool, retryAfter time.Duration) {
	address := AddressKey(a)
	return c.f.Add(pair(clientID, address), address)
}
