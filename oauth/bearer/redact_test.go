package bearer

import (
	"strings"
	"testing"

	"doorward/oauth/apikey"
)

// What was sent in the wrong place is in neither log nor page, whole or cut, and however it is encoded.
func TestV71_CredentialsAreRedacted(t *testing.T) {
	for _, prefix := range []string{
		PrefixCode, PrefixAccessToken, PrefixRefreshToken, PrefixClientSecret, "dw_in_",
		apikey.PrefixPersonalToken, "sk_live_", "acme_api_test_", "sk_",
	} {
		whole := NewCredential(prefix)
		secret := whole[len(prefix):]
		for _, credential := range []string{whole, whole[:len(prefix)+20], whole + "x"} {
			encoded := strings.ReplaceAll(credential, "_", "%5F")
			twice := strings.ReplaceAll(credential, "_", "%255f")
			for _, text := range []string{
				credential, "a sentence with " + credential + ", and more", "x=" + credential + "&y", `"` + credential + `"`,
				credential + " " + credential,
				"https://app.example/" + credential, "https://app.example/cb/" + encoded + "/x", twice, "Bearer%20" + credential,
				"x-" + credential, "%zz" + credential,
			} {
				for name, got := range map[string]string{"Redacted": Redacted(text), "RedactedURI": RedactedURI(text)} {
					if strings.Contains(got, secret[:16]) || !strings.Contains(got, redacted) {
						t.Errorf("%s(%q) is %q", name, text, got)
					}
				}
			}
		}
	}
}

func TestV71_WhatMayBeSecretInAURIIsRedacted(t *testing.T) {
	const id = "https://app.example/01890c2e-0000-7000-8000-000000000000/cb"
	for uri, want := range map[string]string{
		"https://app.example/cb":            "https://app.example/cb",
		"https://app.example:8443/a/../cb/": "https://app.example:8443/a/../cb/",
		"com.example.app:/cb":               "com.example.app:/cb",

		"https://app.example/cb?code=x&state=y": "https://app.example/cb?code=[redacted]&state=[redacted]",

		"https://app.example/cb?a=b=c;d=e":                                "https://app.example/cb?a=[redacted]&d=[redacted]",
		"https://app.example/cb?word":                                     "https://app.example/cb?[redacted]",
		"https://app.example/cb?x=":                                       "https://app.example/cb?x=",
		"https://app.example/cb?":                                         "https://app.example/cb?",
		"https://app.example/cb?x=?y#z":                                   "https://app.example/cb?x=[redacted]#[redacted]",
		"https://app.example/cb#":                                         "https://app.example/cb#",
		"https://app.example/cb#token=x?y":                                "https://app.example/cb#[redacted]",
		"https://app.example/cb%3Fcode%3Dx":                               "https://app.example/cb[redacted]",
		"https://app.example/cb%253fcode%253dx":                           "https://app.example/cb[redacted]",
		"https://app.example/c%20b":                                       "https://app.example/c%20b",
		"https://user:word@app.example/cb":                                "https://[redacted]@app.example/cb",
		`https://app.example\@evil.example/cb`:                            `https://[redacted]@evil.example/cb`,
		"https://app.example@evil.example":                                "https://[redacted]@evil.example",
		"https://app.example/@someone":                                    "https://app.example/@someone",
		"https://app.example/0123456789abcdefABCDEF-_0123456789abcdef/cb": "https://app.example/[redacted]/cb",

		id: id, // identifiers stay

		"https://app.example/%": "https://app.example/%",
		"":                      "",
	} {
		if got := RedactedURI(uri); got != want {
			t.Errorf("RedactedURI(%q) is %q, want %q", uri, got, want)
		}
	}
}

func BenchmarkRedacted(b *testing.B) {
	for b.Loop() {
		Redacted("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 " +
			"Safari/537.36")
	}
}

func FuzzRedactedURI(f *testing.F) {
	for _, seed := range []string{"https://app.example/cb?x=y#z", "%", "%25253f", "//@", "https://%5f_live_"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "dw_at_0123456789abcdefghijABCDEFGHIJ0123456789abc000000"
		for _, got := range []string{Redacted(before + secret + after), RedactedURI(before + secret + after)} {
			if strings.Contains(got, "0123456789abcdefghij") && !strings.Contains(before+after, "0123456789abcdefghij") {
				t.Errorf("%q is shown as %q", before+secret+after, got)
			}
		}
	})
}
