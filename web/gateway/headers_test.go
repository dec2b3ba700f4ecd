package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/oauth/bearer"
)

// A name passes only when it is of letters, digits and hyphens and of no family that gateways write.
func TestV20_OnlyPlainNamesPass(t *testing.T) {
	for c := range 256 {
		name := "X" + string([]byte{byte(c)}) + "Foo"
		letter := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-'
		if MayPass(name) != letter {
			t.Errorf("%q passes: %v", name, !letter)
		}
	}
	for _, name := range []string{"", "X-Auth-Subject", "x-AUTH-anything", "X-Forwarded-Fo", "X-Forwarded-Fort", "X-Forwarded", "Remote-User", "X-WEBAUTH-ROLE", "Proxy", "X-User", "X-User-Id", "Forwarded"} {
		if MayPass(name) {
			t.Errorf("%q passes", name)
		}
	}
	for _, name := range []string{"Accept", "Authorization", "X-Workspace", "X-Api-Key", "X-User-Agent", "X-Username-Policy", "Remotely", "Idempotency-Key", "X-Requested-With", "X-Auth", "Forwarded-Something", "X-Hostname", "Traceparent", "x", "X-"} {
		if !MayPass(name) {
			t.Errorf("%q does not pass", name)
		}
	}
}

// Two texts are never the same header, and a percent-decoder gives each back.
func TestV24_FreeTextsAreEncodedSoThatNoTwoAreEqual(t *testing.T) {
	texts := []string{
		"é", "%C3%A9", "%c3%a9", "%25C3%25A9", "%", "%%", "%2", "%25", "a b", "a%20b", "a+b", " a", "a ", "a", "e\u0301", "\xff", "\xc3", "\u00ff", "a\nb", "a%0Ab", "a\x00", "", "a,b", `a"b`, "a\tb", "~", "\x7f",
	}
	seen := map[string]string{}
	for _, text := range texts {
		h := http.Header{}
		setIdentity(h, &bearer.Principal{ForeignSubject: text})
		value := h.Get("X-Auth-Foreign-Subject")
		if other, ok := seen[value]; ok {
			t.Errorf("%q and %q are both %q", text, other, value)
		}
		seen[value] = text
		if back, err := url.PathUnescape(value); err != nil || back != text {
			t.Errorf("%q is %q, which decodes to %q, %v", text, value, back, err)
		}
		if strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Errorf("%q is %q, which a header may not hold as it is", text, value)
		}
	}
	h := http.Header{}
	setIdentity(h, &bearer.Principal{Workspace: "a%41", Role: "é", Subject: "x%"})
	if h.Get("X-Auth-Workspace") != "a%2541" || h.Get("X-Auth-Role") != "%C3%A9" || h.Get("X-Auth-Subject") != "x%25" {
		t.Errorf("the headers are %v", h)
	}
}

// The cookies of our own pages never go on, however they are written; others do, as they came.
func TestV21_OurOwnCookiesDoNotPass(t *testing.T) {
	for sent, want := range map[string]string{
		"doorward=x":                         "",
		"a=1; doorward=x; b=2":               "a=1; b=2",
		"a=1;doorward=x;flow-0=y;flow-15=z":  "a=1",
		"__Host-doorward=x; __Host-flow-3=y": "",
		"doorward-device=x; __Host-doorward-device=y; __HOST-DOORWARD=z; c=3": "c=3",
		"doorward-workspace=ws_1; __Host-doorward-workspace=ws_2; d=4":        "d=4",
		` "doorward"=x; d=4`:                 "d=4",
		"flow-=1; flow-x=2; flows=3; flow=4": "flow-=1; flow-x=2; flows=3; flow=4",
		`e="a b"; f=%C3%A9; g`:               `e="a b"; f=%C3%A9; g`,
	} {
		h := http.Header{"Cookie": {sent}}
		dropOwnCookies(h)
		if got := h.Get("Cookie"); got != want {
			t.Errorf("of %q the API sees %q, want %q", sent, got, want)
		}
	}
}
