package oauth

import (
	"strings"
	"testing"

	"doorward/oauth/apikey"
)

// What was sent in the wrong place is in neither log nor page, whole or cut, and however it is encoded.
func TestV71_CredentialsAreRedacted(t *testing.T) {
	for _, prefix := range []string{PrefixCode, PrefixAccessToken, PrefixRefreshToken, PrefixClientSecret, "dw_in_", apikey.PrefixPersonalToken, "sk_live_", "acme_api_test_", "sk_"} {
		whole := NewCredential(prefix)
		secret := whole[len(prefix):]
		for _, credential := range []string{whole, whole[:len(prefix)+20], whole + "x"} {
			encoded := strings.ReplaceAll(credential, "_", "%5F")
			twice := strings.ReplaceAll(credential, "_", "%255f")
			for _, text := range []string{
				credential, "a sentence with " + credential + ", and more", "x=" + credential + "&y", `"` + credential + `"`, credential + " " + credential,
				"https://app.example/" + credential, "https://app.example/cb/" + encoded + "/x", twice, "Bearer%20" + credential, "x-" + credential, "%zz" + credential,
			} {
				for name, got := range map[string]string{"Redacted": Redacted(text), "RedactedURI": RedactedURI(text)} {
					if strings.Contains(got, secret[:16]) || !strings.Contains(got, redacted) {
						t.Errorf("%s(%q) is %q", name, text, got)
					}
				}
			}
			n := &Notes{}
			for _, id := range []string{credential, " " + credential, credential + "\n"} {
				if n.Client(id); strings.Contains(n.ClientID, secret[:16]) {
					t.Errorf("the client id %q is noted as %q", id, n.ClientID)
				}
			}
		}
	}
	for text, want := range map[string]string{
		"the refresh token dw_rt_0123456789abcdef is unknown":         "the refresh token dw_rt_[redacted] is unknown",
		"eyJhbGciOiJub25lIn0aaaa.eyJzY29wZSI6Im9wZW5pZCJ9.c2ln is it": "[redacted] is it",
		"": "", "plain": "plain", "app_01890c2e-0000-7000-8000-000000000000": "app_01890c2e-0000-7000-8000-000000000000",
		"the kid \"0123456789abcdefghijABCDEFGHIJ0123456789abc\" is unknown": "the kid \"0123456789abcdefghijABCDEFGHIJ0123456789abc\" is unknown",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit":        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit",
		"a_live_stream, my_test_app, dw_at_x, sk_example and pat_one":        "a_live_stream, my_test_app, dw_at_x, sk_example and pat_one",
	} {
		if got := Redacted(text); got != want {
			t.Errorf("Redacted(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestV71_WhatMayBeSecretInAURIIsRedacted(t *testing.T) {
	for uri, want := range map[string]string{
		"https://app.example/cb":                                          "https://app.example/cb",
		"https://app.example:8443/a/../cb/":                               "https://app.example:8443/a/../cb/",
		"com.example.app:/cb":                                             "com.example.app:/cb",
		"https://app.example/cb?code=x&state=y":                           "https://app.example/cb?code=[redacted]&state=[redacted]",
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
		"https://app.example/01890c2e-0000-7000-8000-000000000000/cb":     "https://app.example/01890c2e-0000-7000-8000-000000000000/cb",
		"https://app.example/%":                                           "https://app.example/%",
		"":                                                                "",
	} {
		if got := RedactedURI(uri); got != want {
			t.Errorf("RedactedURI(%q) is %q, want %q", uri, got, want)
		}
	}
}

func TestV71_WhatCannotBeAClientIDIsNotNoted(t *testing.T) {
	for id, want := range map[string]string{
		"app_01890c2e-0000-7000-8000-000000000000": "app_01890c2e-0000-7000-8000-000000000000", "my-client": "my-client", "my-client\r\n": `my-client\r\n`, " x": " x",
		"https://app.example/client": "https://app.example/client", "": "",
		"a quiet harbour at dawn": "(no client id)", "alice@example.com": "(no client id)", "<script>": "(no client id)", "pässword": "(no client id)", "a\nb": "(no client id)",
		"https://app.example/?key=x": "(no client id)", strings.Repeat("x", 61): "(no client id)", "hunter2!": "(no client id)",
	} {
		n := &Notes{}
		if n.Client(id); n.ClientID != want {
			t.Errorf("the client id %q is noted as %q, want %q", id, n.ClientID, want)
		}
	}
}

func BenchmarkRedacted(b *testing.B) {
	for b.Loop() {
		Redacted("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36")
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
