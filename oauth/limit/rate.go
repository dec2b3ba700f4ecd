package limit

import "time"

// Rate limits how often something may happen under a key: Rule.Count times within Rule.Per, counted in memory, by each
// node for itself. Its methods are safe for concurrent use.
type Rate struct{ f *Failures }

// NewRate returns a Rate that uses the clock now. DoublingTo and Forgiving of the rule must be zero.
func NewRate(now func() time.Time, rule Rule) *Rate { return &Rate{NewFailures(now, rule)} }

// Take counts one more. If ok is false, the limit is exceeded, and the caller must wait for retryAfter.
func (r *Rate) Take(key string) (ok bool, retryAfter time.Duration) { return r.f.Add(key) }
