package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	day = 24 * time.Hour
	// longestDuration bounds what may be written, far below where a time.Duration overflows.
	longestDuration = 36500 * day
)

// parseDuration reads whole days, hours, minutes and seconds, largest first: 90s, 1h30m, 7d. A plain 0 needs no unit.
func parseDuration(s string) (time.Duration, error) {
	wrong := fmt.Errorf("%s is not a duration; write a whole number and a unit, such as 90s, 15m, 1h or 7d", quote(s))
	switch {
	case s == "0":
		return 0, nil
	case strings.HasPrefix(s, "-"):
		return 0, errors.New("is negative; write a duration such as 90s, 15m, 1h or 7d")
	case s != "" && strings.Trim(s, "0123456789") == "" && len(s) < 12:
		return 0, fmt.Errorf("has no unit; write %sd for days, %sh for hours, or %ss for seconds", s, s, s)
	}
	units := []struct {
		name string
		size time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	var total time.Duration
	rest := s
	for _, unit := range units {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || !strings.HasPrefix(rest[digits:], unit.name) {
			continue
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || n > int64(longestDuration/unit.size) {
			return 0, errors.New("is longer than 36500d; write a shorter duration")
		}
		total += time.Duration(n) * unit.size
		rest = rest[digits+len(unit.name):]
	}
	switch {
	case rest != "" || s == "":
		return 0, wrong
	case total > longestDuration:
		return 0, errors.New("is longer than 36500d; write a shorter duration")
	}
	return total, nil
}

// formatDuration writes d as parseDuration reads it: 7d, 1h30m, 0s.
func formatDuration(d time.Duration) string {
	var b strings.Builder
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
			d -= n * unit.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// durationFlag is a duration on the command line, written as in the configuration.
type durationFlag time.Duration

// UnmarshalText reads the value of a flag.
func (d *durationFlag) UnmarshalText(text []byte) error {
	parsed, err := parseDuration(string(text))
	*d = durationFlag(parsed)
	return err
}
