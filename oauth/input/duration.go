package input

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours, the largest unit in which durations are written.
const Day = 24 * time.Hour

// longestDuration bounds durations. It is far below the overflow of time.Duration.
const longestDuration = 36500 * Day

var durationUnits = []struct {
	letter, name string
	size         time.Duration
}{{"d", "day", Day}, {"h", "hour", time.Hour}, {"m", "minute", time.Minute}, {"s", "second", time.Second}}

// ParseDuration reads whole days, hours, minutes and seconds, the largest unit first: 90s, 1h30m, 7d. A plain 0 needs
// no unit. The error says what to write instead.
func ParseDuration(s string) (time.Duration, error) {
	switch {
	case s == "0":
		return 0, nil
	case strings.HasPrefix(s, "-"):
		return 0, errors.New("is negative; use a duration such as 90s, 15m, 1h or 7d")
	case s != "" && strings.Trim(s, "0123456789") == "" && len(s) < 12:
		return 0, fmt.Errorf("has no unit; use %sd for days, %sh for hours, or %ss for seconds", s, s, s)
	}
	var total time.Duration
	rest := s
	for _, unit := range durationUnits {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || !strings.HasPrefix(rest[digits:], unit.letter) {
			continue
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || n > int64(longestDuration/unit.size) {
			return 0, errors.New("is longer than 36500d; use a shorter duration")
		}
		total += time.Duration(n) * unit.size
		rest = rest[digits+len(unit.letter):]
	}
	switch {
	case rest != "" || s == "":
		return 0, fmt.Errorf("%s is not a duration; use a whole number and a unit, such as 90s, 15m, 1h or 7d", Quote(s))
	case total > longestDuration:
		return 0, errors.New("is longer than 36500d; use a shorter duration")
	}
	return total, nil
}

// FormatDuration formats a duration for ParseDuration, in whole seconds: 7d, 1h30m, 0s.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, unit := range durationUnits {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.letter)
			d -= n * unit.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// DurationInWords formats a duration for a sentence, in the largest unit that divides it: one day, 90 minutes.
func DurationInWords(d time.Duration) string {
	for _, unit := range durationUnits {
		if n := d / unit.size; n > 0 && d%unit.size == 0 {
			if n == 1 {
				return "one " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return FormatDuration(d)
}

// CeilSeconds returns a duration in whole seconds, rounded up, for Retry-After (RFC 9110, section 10.2.3). It is never
// negative.
func CeilSeconds(d time.Duration) int64 { return max(0, int64((d+time.Second-1)/time.Second)) }
