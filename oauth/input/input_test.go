package input

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"doorward/locale"
)

// What cannot be seen, or changes how the rest is seen, is in no line; what scripts and emoji need is.
func TestV17_LinesShowWhatTheyAre(t *testing.T) {
	for _, good := range []string{
		"Acme Sync", "Zoë’s app", "東京アプリ", "ノート　アプリ", "می\u200cخواهم", "क्\u200dष", "👩\u200d💻 tools", "❤️ list", "1️⃣ first",
		"שלום", "مرحبا", "C++", "!", "Ελληνικά", "Ёлка", "नमस्ते", "한국어",
	} {
		if got, wrong := Line(" "+good+" ", 100); !wrong.IsZero() || got != good {
			t.Errorf("%q: %q, %s", good, got, wrong)
		}
	}
	for _, bad := range []string{
		"\u3164", "\u2800", "\u115f", "\u1160", "\uffa0", "\u200b", "\u200d", "\u200c", "\ufe0f", "\u034f", "\u00ad",
		"\u2060", "\ufeff", "\u180e", "\u17b4", "\U000e0001", "\U000e0100", "\U0001d159",
		"a\u3164", "a\u2800b", "Acme\u115fSync", "a\u200bb", "a\u200db", "a\u200cb", "a\ufe0f", "\u0301", "\u0301a", "\u20dd",
		"a\u202eb", "a\u2066b", "a\u061cb", "a\u200eb", "a\nb", "a\tb", "a\rb", "a\x00b", "a\x7fb", "a\u0085b", "a\u2028b",
		"a\u2029b", "\xff", "a\ufffdb", "a\ufffcb", "\ue000", "\U00013441", "\U00013442\U00013441", "\ufdd0", "\uffff",
		"가\u200dᅟ", strings.Repeat("a", 101), strings.Repeat("é", 101),
	} {
		if got, wrong := Line(bad, 100); wrong.IsZero() {
			t.Errorf("%q passed as %q", bad, got)
		}
	}
	if got, wrong := Line(" \u00a0\u3000\u2003 ", 100); got != "" || !wrong.IsZero() {
		t.Errorf("space alone is %q, %s: it must count as empty", got, wrong)
	}
	if got, wrong := Lines("one\r\n\ttwo\n\nthree ", 100); got != "one\n\ttwo\n\nthree" || !wrong.IsZero() {
		t.Errorf("lines: %q, %s", got, wrong)
	}
	if _, wrong := Lines("one\n\u3164", 100); wrong.IsZero() {
		t.Error("an invisible line passed")
	}
}

func FuzzLine(f *testing.F) {
	for _, seed := range []string{"Acme", "\u3164", "a\u0301", "é", "👩\u200d💻", "\xff", "a\u200db", " "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, wrong := Line(text, 100)
		if !wrong.IsZero() {
			return
		}
		if again, wrong := Line(got, 100); again != got || !wrong.IsZero() {
			t.Fatalf("%q became %q and then %q, %s", text, got, again, wrong)
		}
		seen := got == ""
		for _, c := range got {
			if unicode.In(c, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp,
				unicode.Other_Default_Ignorable_Code_Point) || c == '\u2800' {
				t.Fatalf("%q holds %U", got, c)
			}
			seen = seen || unicode.In(c, unicode.L, unicode.N, unicode.P, unicode.S)
		}
		if !seen {
			t.Fatalf("%q shows as nothing", got)
		}
	})
}

// An app's name says nothing of it that only the server may say, in whatever letters.
func TestV17_NamesClaimNothing(t *testing.T) {
	own := []string{"Doorward", "Example API", "api.example.com"}
	for _, bad := range []string{
		"Doorward (verified)", "Acme (verified)", "Acme [Verified]", "VERIFIED Acme", "Acme – verified", "Аcme (vеrіfіеd)",
		"Acme (ver1fied)", "Acme (verifïed)", "Acme (ｖｅｒｉｆｉｅｄ)", "Acme v e r i f i e d", "Acme ✓", "Acme ✅",
		"Acme (official)", "Acme Official", "Acme: certified app", "Doorward Official", "Official Doorward",
		"DoorwardSupport", "Doorward Support", "D00rward team", "Dооrward security", "Example API (official)",
		"Official Example API Client",
		"Part of this service", "Acme – registered by the operator", "Doorward Ｖｅｒｉｆｉｅｄ",
		"Acme ᴠᴇʀɪꜰɪᴇᴅ", "ⱱerified", "ꓦerified", "ꓦꓰꓣꓲꓝꓲꓰꓓ Acme", "ᏙᎬᎡified", "🅥🅔🅡🅘🅕🅘🅔🅓", "Ver ified Acme", "Acme veri-fied",
		"Acme ⍻", "Acme √", "api.example.com support", "Official api.example.com",
	} {
		if FalseClaim(bad, own, true).IsZero() {
			t.Errorf("%q passed", bad)
		}
	}
	for _, good := range []string{
		"Acme", "Example API Client", "Sync for Example API", "Example App",
		"Official Gazette Reader", "Trusted Advisor", "Support Desk", "Verify It", "Doors", "Standing App", "Notes",
		"Team Notes", "Silver Field", "Verify Ideas", "River Ifield", "Łódź Øl", "Ŋanga 🇩🇪", "Veri", "example.com tools",
	} {
		if wrong := FalseClaim(good, own, false); !wrong.IsZero() {
			t.Errorf("%q: %s", good, wrong)
		}
	}
	for _, name := range []string{
		"Doorward", "doorward", "DOORWARD", "Dооrward", "Example  API", "Door-ward",
		"api.example.com", "API.Example.com",
	} {
		if FalseClaim(name, own, false).IsZero() || !FalseClaim(name, own, true).IsZero() {
			t.Errorf("%q is for the operator alone: %q, %q", name, FalseClaim(name, own, false), FalseClaim(name, own, true))
		}
	}
}

func TestV17_OneAddress(t *testing.T) {
	for _, good := range []string{"a@e.example", "A.b+c@sub.example.com", "x_y@localhost", "o'neil@example.com"} {
		if !IsEmail(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "a", "@e.example", "a@", "a@e.example\r\nBcc: b@e.example", "a@e.example\n", "\ra@e.example",
		"a@e.example,b@e.example", "a@e.example b@e.example", "a@b@e.example", "A <a@e.example>", "<a@e.example>",
		"a..b@e.example", ".a@e.example",
		"a.@e.example", "a@e..example", "a@-e.example", "a@e-.example", "a@e.example.", "a\u202e@e.example", "а@e.example",
		"a@еxample.com", "a@e.example\x00", "\"a b\"@e.example", "a@[127.0.0.1]", "a;b@e.example", "a@e_x.example",
		"a%0d@e.example\t",
		strings.Repeat("a", 65) + "@e.example", "a@" + strings.Repeat("a", 64) + ".example",
		"a@" + strings.Repeat("a.", 130) + "example",
	} {
		if IsEmail(bad) {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestV17_SitesAndHosts(t *testing.T) {
	for _, good := range []string{
		"https://app.example", "https://app.example/", "https://app.example:8443/a?b=c#d",
		"https://xn--bcher-kva.example/", "https://[2001:db8::1]/", "https://192.0.2.1", "http://localhost:3000/",
		"http://127.0.0.1", "http://[::1]:1/", "HTTPS://App.Example/x",
	} {
		if !IsSite(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "app.example", "//app.example", "http://app.example", "ftp://app.example", "javascript:alert(1)",
		"https:app.example", "https:/app.example", "https://", "https:///x", "https://:443", "https://user@app.example",
		"https://user:pw@app.example",
		"https://app.example]/cb", "https://[app.example]/cb", "https://[::1", "https://::1", "https://[::1%25en0]/",
		"https://[::1]x/", "https://app.example:0/", "https://app.example:65536/", "https://app.example:/",
		"https://app.example:+443/", "https://app.example:0443/",
		"https://app.example:x/", "https://app%2eexample/", "https://app..example/", "https://.app.example/",
		"https://app.example./", "https://-app.example/", "https://app-.example/", "https://xn--a/", "https://xn--0000h/",
		"https://bücher.example/", "https://app．example/",
		"https://1/", "https://0x7f.1/", "https://127.1/", "https://256.1.1.1/", "https://1.2.3.4.5/", "https://0300.1.1.1/",
		"https://app.example/\u202ex", "https://app.example/\u3164", "https://app.example/a b", "https://app.example/\r\nx",
		"https://app.example/\x00",
		"https://app.example\\@evil.example/", "https://app.example/%zz", "https://app.example/<script>",
		"https://" + strings.Repeat("a.", 130) + "example/", "https://app.example/" + strings.Repeat("a", 500),
		"http://127.0.0.1.evil.example/", "http://localhost.evil.example/",
	} {
		if IsSite(bad) {
			t.Errorf("%q passed", bad)
		}
	}
}

// FuzzSite: what passes is read as the same host by Go's reader of URLs, and its port is one that exists.
func FuzzSite(f *testing.F) {
	for _, seed := range []string{
		"https://app.example/", "https://[::1]:1/", "https://app.example]/cb", "https://a@b/",
		"https://192.0.2.1", "https://xn--bcher-kva.example",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !IsSite(text) {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.User != nil || u.Host == "" || u.Port() == "0" {
			t.Fatalf("%q passed as %v, %v", text, u, err)
		}
		if strings.Contains(u.Host, "[") {
			if a, err := netip.ParseAddr(u.Hostname()); err != nil || !a.Is6() {
				t.Fatalf("%q has the host %q", text, u.Host)
			}
		} else if strings.ContainsAny(u.Hostname(), "[]%:@\\") {
			t.Fatalf("%q has the host %q", text, u.Host)
		}
	})
}

func TestAMessageFollowsItsFieldOrIsASentenceByItself(t *testing.T) {
	for _, x := range []struct {
		message locale.Text
		want    string
	}{
		{locale.New("is missing; choose one"), "The name is missing; choose one"},
		{locale.New("%s appears twice; send it once", `"Read"`), `The name "Read" appears twice; send it once`},
		{locale.New("Choose at most %d permissions", 200), "Choose at most 200 permissions"},
	} {
		fault := Invalid{Field: "name", Message: x.message}
		if got := fault.Sentence(locale.New("The name")).String(); got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
		want := strings.Replace(x.want, "The name", "name", 1)
		if fault.Error() != want || fault.English("name") != want {
			t.Errorf("%q and %q, want %q", fault.Error(), fault.English("name"), want)
		}
	}
	var all Faults
	all.Add("name", "%s is taken; choose another", Quote("acme"))
	if err := errors.Join(all...); err == nil || err.Error() != `name "acme" is taken; choose another` {
		t.Errorf("the faults are %v", err)
	}
}

func TestAlternativesAreJoined(t *testing.T) {
	for want, list := range map[string][]string{
		"": nil, "live": {"live"}, "live or test": {"live", "test"}, "a or %s or c": {"a", "%s", "c"},
	} {
		if got := locale.New("%s", Either(list)).String(); got != want {
			t.Errorf("%q are %q, want %q", list, got, want)
		}
	}
}
