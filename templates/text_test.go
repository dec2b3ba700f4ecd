package templates

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"

	"doorward/locale"
)

// inContext renders a component for the reader in a context.
func inContext(ctx context.Context, t *testing.T, c templ.Component) string {
	t.Helper()
	var b bytes.Buffer
	if err := c.Render(ctx, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRelativeTimes(t *testing.T) {
	now := time.Date(2026, time.March, 4, 10, 11, 12, 0, time.UTC)
	tests := []struct {
		name string
		now  time.Time
		at   time.Time
		want string
	}{
		{"this second", now, now, "just now"},
		{"one minute", now, now.Add(-61 * time.Second), "1 minute ago"},
		{"hours", now, now.Add(-5 * time.Hour), "5 hours ago"},
		{"days", now, now.Add(-3*24*time.Hour - time.Minute), "3 days ago"},
		{"the last relative day", now, now.Add(-30 * 24 * time.Hour), "30 days ago"},
		{"older is a date", now, now.Add(-31 * 24 * time.Hour), "1 February 2026"},
		{"soon", now, now.Add(20 * time.Second), "in less than a minute"},
		{"later", now, now.Add(21 * time.Hour), "in 21 hours"},
		{"much later is a date", now, now.Add(60 * 24 * time.Hour), "3 May 2026"},
		{"now unknown", time.Time{}, now, "4 March 2026"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := inContext(t.Context(), t, ago(tt.now, tt.at)); !strings.HasSuffix(got, ">"+tt.want+"</time>") {
				t.Errorf("ago = %s, want %q", got, tt.want)
			}
		})
	}
}

func TestUsageInWords(t *testing.T) {
	for want, d := range map[string]UsageDay{
		"No requests in the last 1 days":                                            {},
		"2 requests in the last 1 days, none refused":                               {Allowed: 2},
		"3 requests in the last 1 days, 1 refused (1 over the limit, 0 denied)":     {Allowed: 2, Limited: 1},
		"1,004 requests in the last 1 days, 2 refused (1 over the limit, 1 denied)": {Allowed: 1002, Limited: 1, Refused: 1},
	} {
		if got := usageText(t.Context(), []UsageDay{d}); got != want {
			t.Errorf("%+v is %q, want %q", d, got, want)
		}
	}
}

func TestTimesAreShownInTheReadersZone(t *testing.T) {
	zone := time.FixedZone("EET", 2*60*60)
	at := time.Date(2026, time.March, 4, 1, 30, 0, 0, zone)
	const machine = `<time datetime="2026-03-03T23:30:00Z" title="`
	for text, l := range map[string]locale.Locale{
		`3 March 2026, 23:30 UTC">3 March 2026</time>`: {},
		`4 March 2026, 01:30 EET">4 March 2026</time>`: {Zone: zone},
	} {
		if got := inContext(locale.With(t.Context(), l), t, date(at)); got != machine+text {
			t.Errorf("date = %s, want %s", got, machine+text)
		}
	}
}

func TestSentencesLeaveOutNothing(t *testing.T) {
	got := inContext(t.Context(), t, sentences(plain("One & two."), nil, isolated("three")))
	if want := "One &amp; two. <bdi>three</bdi>"; got != want {
		t.Errorf("sentences = %s, want %s", got, want)
	}
}

func TestProductHasTheNameOfTheBrand(t *testing.T) {
	if got, want := windowTitle(t.Context(), "Users", true), "Error: Users · Doorward"; got != want {
		t.Errorf("windowTitle = %q, want %q", got, want)
	}
	ctx := WithBrand(t.Context(), Brand{Name: "Acme ID"})
	if got, want := windowTitle(ctx, "Users", false), "Users · Acme ID"; got != want {
		t.Errorf("windowTitle = %q, want %q", got, want)
	}
	if page := inContext(ctx, t, LogoutPage(LogoutView{})); strings.Contains(page, "Doorward") {
		t.Error("a page with a brand names Doorward")
	}
}

func TestProblemsLoseNoFault(t *testing.T) {
	got := problems(t.Context(), locale.New("general"), map[string]locale.Text{
		"b": locale.New("second"), "a": locale.New("first"), "unknown": locale.New("left over"), "c": {},
	}, "a", "b", "c")
	want := []problem{{"", "general"}, {"a", "first"}, {"b", "second"}, {"", "left over"}}
	if len(got) != len(want) {
		t.Fatalf("problems = %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("problem %d = %v, want %v", i, got[i], want[i])
		}
	}
}

func TestInitialOfAnyName(t *testing.T) {
	for name, want := range map[string]string{
		"ada":        "A",
		" émile":     "É",
		"":           "?",
		"\xff":       "?",
		"\u202eevil": "?",
		"日本":         "日",
	} {
		if got := initial(name); got != want {
			t.Errorf("initial(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSecretCallCannotLeaveItsQuotes(t *testing.T) {
	v := SecretView{Kind: KindService, ClientID: "a", Secret: "b", TokenURL: "https://x/'; rm -rf '", Scope: "read"}
	if got := v.curl(); !strings.Contains(got, `'https://x/'\''; rm -rf '\'''`) {
		t.Errorf("curl line is not quoted: %s", got)
	}
}

func TestNavigationShowsAdministrationToAdministratorsOnly(t *testing.T) {
	page, administrators := Page{User: &Viewer{}}, Page{User: &Viewer{Admin: true}}
	for _, group := range navigation(t.Context(), page) {
		for _, item := range group.Items {
			if strings.HasPrefix(item.URL, "/admin") {
				t.Errorf("%s is shown to all users", item.URL)
			}
		}
	}
	if len(navigation(t.Context(), administrators)) != len(navigation(t.Context(), page))+1 {
		t.Error("administrators do not see their group")
	}
}
