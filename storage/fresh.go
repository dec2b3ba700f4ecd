package storage

import "time"

// ReadTime is when something was read that is used again for a short time. It has the time of two clocks: the monotonic
// one, which may stand still while the machine sleeps, and that of the Store, which may be set.
type ReadTime struct {
	running time.Time
	date    Time
}

// ReadTime returns the present time. Take it before the first statement.
func (s *Store) ReadTime() ReadTime { return ReadTime{time.Now(), s.Now()} }

// Fresh reports whether less than age has passed since t, by both clocks.
func (s *Store) Fresh(t ReadTime, age time.Duration) bool {
	return time.Since(t.running) < age && s.Now().Sub(t.date).Abs() < age
}
