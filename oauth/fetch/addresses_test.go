package fetch

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

func TestD03_AddressesThatAreNotPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"93.184.216.34": true, "1.1.1.1": true, "9.255.255.255": true, "11.0.0.0": true, "100.63.255.255": true,
		"100.128.0.0": true, "126.255.255.255": true, "128.0.0.0": true, "169.253.255.255": true, "169.255.0.0": true,
		"172.15.255.255": true, "172.32.0.0": true, "192.0.1.0": true, "192.167.255.255": true, "192.169.0.0": true,
		"198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true,
		"2606:4700:4700::1111": true, "2a00:1450:4001::200e": true, "2001:4860:4860::8888": true,
		"2003::1": true, "3fff:1000::1": true, "64:ff9b::1.1.1.1": true, "::ffff:1.1.1.1": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.0": false, "10.255.255.255": false, "100.64.0.0": false,
		"100.127.255.255": false, "127.0.0.1": false, "127.255.255.255": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "192.88.99.1": false,
		"192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false,
		"224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,

		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "febf::1": false, "fec0::1": false,
		"fc00::1": false, "fd00:ec2::254": false, "ff02::1": false, "100::1": false, "2001:db8::1": false,
		"3fff::1": false, "4000::1": false, "1fff::1": false,
		"::7f00:1": false, "::1.1.1.1": false, "::ffff:7f00:1": false, "::ffff:10.0.0.1": false,
		"::ffff:0:1.1.1.1": false, "64:ff9b::127.0.0.1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1.1.1.1": false,
		"2002:7f00:1::1": false, "2002:101:101::1": false, "2001::1": false, "2001:2::1": false, "2001:20::1": false,
	} {
		if got := New(Config{}).allows(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: allowed %v, want %v", text, got, want)
		}
	}
}

func TestD03_AllowedRangesAreFetchedFrom(t *testing.T) {
	f := New(Config{Allow: prefixes("10.1.0.0/16", "fd00::/8", "127.0.0.1/32")})
	for text, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "fd12::1": true, "127.0.0.1": true,
		"10.2.0.1": false, "::ffff:10.2.0.1": false, "64:ff9b::10.2.0.1": false, "fc00::1": false, "127.0.0.2": false,
		"::1": false, "fd12::1%eth0": false,
	} {
		if got := f.allows(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: allowed %v, want %v", text, got, want)
		}
	}
}

func TestD03_ALiteralAddressIsNotConnectedTo(t *testing.T) {
	for _, host := range []string{
		"127.0.0.1", "[::ffff:7f00:1]", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1", "127.1", "0x7f.1", "0x7f000001",
		"0", "0.0.0.0", "localhost", "LOCALHOST", "x.localhost", "127.0.0.1.", "localhost.", "[::]", "[64:ff9b::7f00:1]",
	} {
		c := newCanary(t, "127.0.0.1:0")
		f := newFetcher(Config{}, parts{resolver: always("127.0.0.1")})
		if _, _, err := f.Get(t.Context(), "https://"+host+":"+c.port()+"/keys", "*/*", 0); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", host, err)
		}
		c.wantUntouched(t)
	}
}

func TestD03_ANameOfALocalAddressIsNotConnectedTo(t *testing.T) {
	for _, tc := range []struct{ canary, address string }{
		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1", "::ffff:127.0.0.1"},
		{"127.0.0.1", "0.0.0.0"},
		{"127.9.9.9", "127.9.9.9"},
		{"::1", "::1"},
		{"::1", "::"},
	} {
		t.Run(tc.address, func(t *testing.T) {
			c := newCanary(t, net.JoinHostPort(tc.canary, "0"))
			f := newFetcher(Config{}, parts{resolver: always(tc.address)})
			_, _, err := f.Get(t.Context(), "https://api.example.com:"+c.port()+"/keys", "*/*", 0)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "fetch https://api.example.com:") {
				t.Errorf("got %v", err)
			}
			c.wantUntouched(t)
		})
	}
}

// The name leads outside when it is first looked up, and to this machine the next time.
func TestD04_ARebindingNameIsJudgedByTheConnection(t *testing.T) {
	s := newSite(t, answer("{}"))
	c := newCanary(t, "127.0.0.1:"+s.port)
	var lookups atomic.Int64 // of both kinds of address
	names := resolver(func(string) []string {
		if lookups.Add(1) <= 2 {
			return []string{outside}
		}
		return []string{"127.0.0.1"}
	})
	f := s.fetcher(names)
	if body, _, err := f.Get(t.Context(), s.url("/"), "*/*", 0); err != nil || string(body) != "{}" {
		t.Errorf("before: %q, %v", body, err)
	}
	if _, _, err := f.Get(t.Context(), s.url("/"), "*/*", 0); !errors.Is(err, ErrRefused) {
		t.Errorf("after: %v", err)
	}
	c.wantUntouched(t)
}

// The first address does not answer, so the dialer tries the second.
func TestD04_EachAddressOfANameIsJudged(t *testing.T) {
	s := newSite(t, answer("{}"))
	c := newCanary(t, "127.0.0.1:"+s.port)
	s.Close()
	f := s.fetcher(always(outside, "127.0.0.1"))
	if _, _, err := f.Get(t.Context(), s.url("/"), "*/*", 0); err == nil {
		t.Error("no error")
	}
	c.wantUntouched(t)
}
