package management

import "testing"

// A name that reads like a host could pass for the host of a metadata document.
func TestV15_HostsInNames(t *testing.T) {
	for name, want := range map[string]string{
		"claude.ai": "claude.ai", "Claude.AI": "claude.ai", "Notes at bank.co.uk (beta)": "bank.co.uk",
		"https://a.example.com/x": "a.example.com", "“shop.de”": "shop.de", "shop.de.": "shop.de",
		"Node.js client": "", "v1.2": "", "Notes": "", "com": "", ".com": "", "co.uk": "", "A. B. Smith": "",
		"127.0.0.1": "", "x.localhost": "", "": "",
	} {
		if got := hostIn(name); got != want {
			t.Errorf("%q has %q, want %q", name, got, want)
		}
	}
}
