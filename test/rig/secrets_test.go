package rig

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

func TestO01_SecretsAreFoundHoweverTheyAreWritten(t *testing.T) {
	const secret = `dw_at_x/"+ é0123456789`
	s := &Secrets{kind: map[string]string{}}
	s.Add(SecretAccess, secret)
	s.Add(SecretAccess, "too short")
	for name, text := range map[string]string{
		"as it is": secret, "cut at its end": secret[:16], "cut at its beginning": secret[len(secret)-16:], "in a query": url.QueryEscape(secret), "in a path": url.PathEscape(secret),
		"Basic": base64.StdEncoding.EncodeToString([]byte("app_1:" + secret)), "Basic of another id": base64.StdEncoding.EncodeToString([]byte("app_12:" + secret + "x")),
		"Basic of a third": base64.StdEncoding.EncodeToString([]byte("app_123:" + secret + "xy")), "base64url": base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"hex": hex.EncodeToString([]byte("id=" + secret)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))), "JSON": `dw_at_x/\"+ é0123456789`,
	} {
		if found := s.In(`{"msg":"` + text + `"}`); len(found) == 0 {
			t.Errorf("%s: %s is not found", name, text)
		}
	}
	if found := s.In("too short " + secret[:15] + " " + strings.ToUpper(secret)); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}
