package identity

import (
	"errors"
	"strings"
	"testing"
)

func TestG24_Passwords(t *testing.T) {
	about := []string{
		"maximilian.mustermann@rhubarb-pies.example", "Maximilian Mustermann", "doorward",
		"login.acme-tools.example",
	}
	for name, c := range map[string]struct {
		password string
		accepted bool
	}{
		"15 characters":                {"kettle,hum-nooQ", true},
		"14 characters as sole factor": {"ke7tle,hum-noo", false},
		"empty":                        {"", false},
		"64 characters":                {"the harbour master keeps a ledger of gulls and their small debts", true},
		"256 characters":               {strings.Repeat("ab!x%9Lq", 8) + strings.Repeat("Zr3 &vMt", 24), true},
		"257 characters":               {strings.Repeat("ab!x%9Lq", 8) + strings.Repeat("Zr3 &vMt", 24) + "x", false},
		"256 characters of four bytes": {strings.Repeat("😀🦜🌵🚲🧭🎺🥁🪁", 32), true},
		"too many bytes":               {strings.Repeat("x", maxPasswordBytes+1), false},
		"1 MB":                         {strings.Repeat("violet kettle ", 75_000), false},
		"spaces":                       {"violet kettles hum at noon", true},
		"spaces around":                {"  violet kettles hum  ", true},
		"emoji":                        {"🦜🌵🚲🧭🎺🥁🪁🧊🍋🪵🦔🧦🛶🪶🎻", true},
		"Greek":                        {"το λιμάνι κοιμάται", true},
		"Chinese":                      {"港口的管理員記錄海鷗和牠們的小債", true},
		"random letters":               {"xkqvhtzrwmbpyjd", true},
		"random digits":                {"839205716403958", true},
		"ordinary words":               {"window paper lamp", true},
		"one common word among others": {"my password lives under the fern", true},
		"not UTF-8":                    {"violet kettles hum \xff\xfe", false},
		"line break":                   {"violet kettles hum\n", false},
		"NUL":                          {"violet kettles\x00hum at noon", false},

		"breached":                          {"password1234567", false},
		"breached in capitals":              {"PASSWORD1234567", false},
		"breached and respelt":              {"P@$$w0rd1234567", false},
		"breached twice":                    {"passwordpassword", false},
		"breached with a year":              {"Welcome!Welcome2026", false},
		"breached with separators":          {"pass-word-pass-word", false},
		"breached in full width":            {"ｐａｓｓｗｏｒｄ１２３４５６７", false},
		"breached phrase":                   {"correct horse battery staple", false},
		"breached phrase, no spaces":        {"correcthorsebatterystaple", false},
		"another breached phrase":           {"To be, or not to be", false},
		"I love you":                        {"iloveyouiloveyou", false},
		"trustno1 twice":                    {"trustno1trustno1", false},
		"three of the first hundred":        {"monkeyDragon123456", false},
		"season and year":                   {"Summer2025Summer2026", false},
		"one character":                     {strings.Repeat("a", 15), false},
		"15 spaces":                         {strings.Repeat(" ", 15), false},
		"one emoji":                         {strings.Repeat("😀", 20), false},
		"two characters":                    {strings.Repeat("ab", 10), false},
		"three words repeated":              {"zqxzqxzqxzqxzqx", false},
		"digits up":                         {"123456789012345", false},
		"digits down":                       {"987654321098765", false},
		"alphabet":                          {"abcdefghijklmnop", false},
		"alphabet backwards":                {"zyxwvutsrqponmlk", false},
		"keyboard row":                      {"qwertyuiopasdfgh", false},
		"keyboard row in capitals":          {"QWERTYUIOP!QWERTYUIOP", false},
		"keyboard columns":                  {"1qaz2wsx3edc4rfv", false},
		"keyboard zigzag":                   {"1q2w3e4r5t6y7u8i", false},
		"German keyboard":                   {"qwertzuiopüasdfg", false},
		"French keyboard":                   {"azertyuiopqsdfgh", false},
		"equal to the name":                 {"Maximilian Mustermann", false},
		"equal to the name, no space":       {"maximilianmustermann", false},
		"name and digits":                   {"Mustermann123456789", false},
		"equal to the address":              {"maximilian.mustermann@rhubarb-pies.example", false},
		"parts of the address":              {"rhubarb-pies-2026", false},
		"the product":                       {"doorwarddoorward", false},
		"the product and a run":             {"Doorward-123456789", false},
		"the issuer":                        {"login.acme-tools.example", false},
		"parts of the issuer, reversed":     {"tools acme login", false},
		"the issuer's word among one's own": {"acme never sells blue anvils", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkPassword(c.password, about)
			if c.accepted && err != nil {
				t.Errorf("refused: %v", err)
			}
			var invalid *Invalid
			if !c.accepted && (!errors.As(err, &invalid) || invalid.Field != "password" || invalid.Message.IsZero()) {
				t.Errorf("error %v, want Invalid for password", err)
			}
		})
	}
}

func TestCommonWordsAreUsable(t *testing.T) {
	if len(common) < 500 {
		t.Errorf("%d common words", len(common))
	}
	for word := range common {
		if word != strings.ToLower(word) || len(word) < 3 {
			t.Errorf("%q can never be met", word)
		}
	}
}

// The longest and least lucky password must not cost more than its hash.
func BenchmarkEffort(b *testing.B) {
	password := strings.Repeat("ab!x%9Lq", 8) + strings.Repeat("Zr3 &vMt", 24)
	for b.Loop() {
		effort(password, []string{"maximilian.mustermann@rhubarb-pies.example"})
	}
}

func FuzzCheckPassword(f *testing.F) {
	f.Add("violet kettles hum at noon", "a@example.com")
	f.Add("\xff😀ß1qaz", "\xff")
	f.Fuzz(func(t *testing.T, password, about string) {
		if err := checkPassword(password, []string{about}); err == nil && len(password) < minPassword {
			t.Errorf("%q is accepted", password)
		}
	})
}
