package limit

import "time"

// Rate bounds how often something is done under a key: Rule.Count times within Rule.Per, counted in memory, so that
// each node has its own. Its methods are safe for use by many goroutines.
type Rate struct{ f *Failures }

// NewRate takes the clock and the bound; DoublingTo and Forgiving of the rule must be zero.
func NewRate(now func() time.Time, rule Rule) *Rate { return &Rate{NewFailures(now, rule)} }

// Take counts one more. Where ok is false it is one too many, and retryAfter is when to come back.
func (r *Rate) Take(key string) (ok bool, retryAfter time.Duration) { return r.f.Add(key) }
