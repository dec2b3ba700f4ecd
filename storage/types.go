package storage

import (
	"crypto/sha256"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Time is a time in microseconds since 1970, as both engines store it. The zero value means "never" and is stored as
// NULL.
type Time int64

// At converts a time.Time, truncated to the microsecond.
func At(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMicro())
}

// Time converts back, in UTC; the zero Time gives the zero time.Time.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(t)).UTC()
}

// Unix returns t in whole seconds since 1970, as in OAuth (RFC 7662, section 2.2).
func (t Time) Unix() int64 { return int64(t) / 1e6 }

// Add returns t+d, with d truncated to the microsecond.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Sub returns the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

// IsZero reports whether t is "never".
func (t Time) IsZero() bool { return t == 0 }

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t == 0 {
		return nil, nil
	}
	return int64(t), nil
}

// Scan implements sql.Scanner.
func (t *Time) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = 0
	case int64:
		*t = Time(v)
	default:
		return fmt.Errorf("a time is stored as %T, want bigint", src)
	}
	return nil
}

// List is a list of strings without spaces, stored as space-separated text.
type List []string

// ParseList splits text at spaces.
func ParseList(text string) List { return strings.Fields(text) }

// String joins the strings with single spaces.
func (l List) String() string { return strings.Join(l, " ") }

// Has reports whether the list contains s.
func (l List) Has(s string) bool { return slices.Contains(l, s) }

// Value implements driver.Valuer.
func (l List) Value() (driver.Value, error) { return l.String(), nil }

// Scan implements sql.Scanner.
func (l *List) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*l = nil
	case string:
		*l = ParseList(v)
	case []byte:
		*l = ParseList(string(v))
	default:
		return fmt.Errorf("a list is stored as %T, want text", src)
	}
	return nil
}

// NewID creates an identifier that sorts by time: a kind, an underscore, and a UUIDv7 (RFC 9562, section 5.7). The kind
// is a word such as user, ws or app.
func NewID(kind string) string {
	return kind + "_" + uuid.Must(uuid.NewV7()).String()
}

// Digest returns the value that is stored instead of a secret that this server created. Such a secret has at least 160
// random bits and cannot be guessed, so one SHA-256 is enough.
func Digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// IsID reports whether id has the form of NewID(kind), so that invalid ids need not be looked up.
func IsID(kind, id string) bool {
	rest, ok := strings.CutPrefix(id, kind+"_")
	return ok && len(rest) == 36 && uuid.Validate(rest) == nil
}
