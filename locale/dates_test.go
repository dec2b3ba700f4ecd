package locale

import (
	"testing"
	"time"
)

func TestDatesAreThoseOfTheReadersTimeZone(t *testing.T) {
	tokyo := time.FixedZone("JST", 9*3600)
	for _, x := range []struct {
		at                 time.Time
		zone               *time.Location
		day, short, moment string
	}{
		{
			time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC), nil,
			"2 January 2006", "2 January", "2 January 2006, 15:04 UTC",
		},
		{
			time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC), tokyo,
			"3 January 2006", "3 January", "3 January 2006, 00:04 JST",
		},
		{
			time.Date(2024, 3, 1, 8, 59, 59, 0, tokyo), time.UTC,
			"29 February 2024", "29 February", "29 February 2024, 23:59 UTC",
		},
		{
			time.Date(2024, 12, 31, 15, 0, 0, 0, time.UTC), tokyo,
			"1 January 2025", "1 January", "1 January 2025, 00:00 JST",
		},
	} {
		l := Locale{Zone: x.zone}
		if got := l.Day(x.at); got != x.day {
			t.Errorf("the day of %v is %q, want %q", x.at, got, x.day)
		}
		if got := l.ShortDay(x.at); got != x.short {
			t.Errorf("the day of %v without its year is %q, want %q", x.at, got, x.short)
		}
		if got := l.Moment(x.at); got != x.moment {
			t.Errorf("the moment of %v is %q, want %q", x.at, got, x.moment)
		}
	}
}

func TestEachMonthHasItsName(t *testing.T) {
	for month := time.January; month <= time.December; month++ {
		want := "1 " + month.String() + " 2026"
		if got := (Locale{}).Day(time.Date(2026, month, 1, 0, 0, 0, 0, time.UTC)); got != want {
			t.Errorf("%v is %q, want %q", month, got, want)
		}
	}
}

func TestTimesNearNowAreRelative(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, x := range []struct {
		d    time.Duration // from now
		want string
	}{
		{0, "just now"},
		{-59 * time.Second, "just now"},
		{59 * time.Second, "in less than a minute"},
		{-time.Minute, "1 minute ago"},
		{time.Minute, "in 1 minute"},
		{-time.Hour + 1, "59 minutes ago"},
		{time.Hour - 1, "in 59 minutes"},
		{-time.Hour, "1 hour ago"},
		{2 * time.Hour, "in 2 hours"},
		{-day + 1, "23 hours ago"},
		{-day, "1 day ago"},
		{day, "in 1 day"},
		{3 * day, "in 3 days"},
		{-30 * day, "30 days ago"},
		{-30*day - 1, "30 October 2026"},
		{31 * day, "30 December 2026"},
	} {
		if got := (Locale{}).Ago(now, now.Add(x.d)); got != x.want {
			t.Errorf("%v from now is %q, want %q", x.d, got, x.want)
		}
	}
	if got := (Locale{}).Ago(time.Time{}, now); got != "29 November 2026" {
		t.Errorf("without a present, a time is %q", got)
	}
}

func TestALengthOfTimeIsNotRounded(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "one second", 90 * time.Second: "90 seconds", time.Minute: "one minute",
		90 * time.Minute: "90 minutes", time.Hour: "one hour", 36 * time.Hour: "36 hours", day: "one day",
		7 * day: "7 days", 1500 * time.Millisecond: "one second", 1000 * day: "1,000 days",
	} {
		if got := (Locale{}).Span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
