package input

import (
	"testing"
	"time"
)

func TestDurationRoundTrips(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0":        0,
		"0s":       0,
		"90s":      90 * time.Second,
		"1h":       time.Hour,
		"7d":       7 * Day,
		"1h30m":    90 * time.Minute,
		"36500d":   36500 * Day,
		"2d3h4m5s": 2*Day + 3*time.Hour + 4*time.Minute + 5*time.Second,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
		if back, err := ParseDuration(FormatDuration(got)); err != nil || back != got {
			t.Errorf("%q comes back as %v, %v", text, back, err)
		}
	}
	for _, text := range []string{
		"", " ", "1", "1x", "h", "1h1h", "5m1h", "1 h", "+1h", "1h ", "1.5h", "36501d",
		"36500d1s", "1H", "１h",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want a fault", text, got)
		}
	}
}

func TestDurationsInWordsAndWholeSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                            "0s",
		Day:                          "one day",
		36 * time.Hour:               "36 hours",
		90 * time.Second:             "90 seconds",
		time.Hour + time.Millisecond: "1h",
	} {
		if got := DurationInWords(d); got != want {
			t.Errorf("%v in words is %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]int64{-time.Second: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2} {
		if got := CeilSeconds(d); got != want {
			t.Errorf("%v is %d whole seconds, want %d", d, got, want)
		}
	}
}
