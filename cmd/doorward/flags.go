package main

import (
	"time"

	"doorward/oauth/input"
	"doorward/storage"
)

// durationFlag is a duration on the command line, written as in the configuration.
type durationFlag time.Duration

// UnmarshalText reads the value of a flag.
func (d *durationFlag) UnmarshalText(text []byte) error {
	parsed, err := input.ParseDuration(string(text))
	*d = durationFlag(parsed)
	return err
}

// from is the moment at which something that begins now expires: never, if no duration was given.
func (d *durationFlag) from(now storage.Time) storage.Time {
	if d == nil {
		return 0
	}
	return now.Add(time.Duration(*d))
}
