package main

import (
	"time"

	"doorward/oauth/input"
	"doorward/storage"
)

// durationFlag is a duration on the command line, in the format of the configuration.
type durationFlag time.Duration

// UnmarshalText parses the value of a flag.
func (d *durationFlag) UnmarshalText(text []byte) error {
	parsed, err := input.ParseDuration(string(text))
	*d = durationFlag(parsed)
	return err
}

// from returns the expiry of something that starts now. Without a duration, it never expires.
func (d *durationFlag) from(now storage.Time) storage.Time {
	if d == nil {
		return 0
	}
	return now.Add(time.Duration(*d))
}
