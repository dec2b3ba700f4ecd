package input

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a secret that appears in no log, message or dump.
type Secret []byte

const redacted = "[redacted]"

// String hides the secret from fmt.
func (Secret) String() string { return redacted }

// Format hides the secret from every verb, so that %x and %#v do not print it either.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from encoders. It never fails.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
