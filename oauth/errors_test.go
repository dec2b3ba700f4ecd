package oauth

import (
	"strings"
	"testing"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
)

func TestV71_ACredentialIsNotNotedAsAClientID(t *testing.T) {
	for _, prefix := range []string{
		bearer.PrefixCode, bearer.PrefixAccessToken, bearer.PrefixRefreshToken, bearer.PrefixClientSecret, "dw_in_",
		apikey.PrefixPersonalToken, "sk_live_", "acme_api_test_", "sk_",
	} {
		whole := bearer.NewCredential(prefix)
		secret := whole[len(prefix):]
		for _, credential := range []string{whole, whole[:len(prefix)+20], whole + "x"} {
			n := &LogFields{}
			for _, id := range []string{credential, " " + credential, credential + "\n"} {
				for _, id := range []string{id, "https://app.example/" + id, "https://app.example/x?" + id} {
					if n.RecordClient(id); strings.Contains(n.ClientID, secret[:16]) {
						t.Errorf("the client id %q is noted as %q", id, n.ClientID)
					}
				}
			}
		}
	}
}

func TestV71_WhatCannotBeAClientIDIsNotNoted(t *testing.T) {
	for id, want := range map[string]string{
		"app_01890c2e-0000-7000-8000-000000000000": "app_01890c2e-0000-7000-8000-000000000000",
		"my-client":                  "my-client",
		"my-client\r\n":              `my-client\r\n`,
		" x":                         " x",
		"https://app.example/client": "https://app.example/client", "": "",
		"a quiet harbour at dawn":     "(no client id)",
		"alice@example.com":           "(no client id)",
		"<script>":                    "(no client id)",
		"pässword":                    "(no client id)",
		"a\nb":                        "(no client id)",
		"https://app.example/x?key=x": "https://app.example/x?...",
		"https://app.example/Metadata-1/of-a-client-of-this-app": "https://app.example/Metadata-1/of-a-client-of-this-app",
		"https://app.example/it's%20here,0":                      "https://app.example/it's%20here,0",
		"https://alice:x@app.example/":                           "(no client id)",
		"https://app.example/a b":                                "(no client id)",
		"https://app.example/" + strings.Repeat("x", 500):        "(no client id)",
		strings.Repeat("x", 61):                                  "(no client id)",
		"hunter2!":                                               "(no client id)",
	} {
		n := &LogFields{}
		if n.RecordClient(id); n.ClientID != want {
			t.Errorf("the client id %q is noted as %q, want %q", id, n.ClientID, want)
		}
	}
}
