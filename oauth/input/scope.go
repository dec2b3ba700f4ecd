package input

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// introspectScope is the built-in scope with which an API key introspects. No catalogue contains it.
const introspectScope = "introspect"

// MaxScopeName is the maximum length of the name of a scope, in bytes.
const MaxScopeName = 200

var (
	scopeName  = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`) // RFC 6749, section 3.3
	objectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
)

// ScopeName checks the name of a scope. It accepts every scope that RFC 6749, section 3.3 allows, except for names that
// have a special meaning here.
func ScopeName(s string) error {
	switch {
	case s == introspectScope:
		return errors.New("is reserved for introspection keys; choose another name")
	case strings.Contains(s, "{object}"):
		return errors.New("contains {object}, which in a route stands for an object; choose another name")
	case !scopeName.MatchString(s) || len(s) > MaxScopeName:
		return fmt.Errorf(
			"is not a valid scope name; use up to %d printable ASCII characters without spaces, quotes and backslashes "+
				"(RFC 6749, section 3.3), such as read, accounts:read or https://api.example.com/auth/read",
			MaxScopeName,
		)
	}
	return nil
}

// ObjectName checks the name of an object to which scopes can be narrowed, such as accounts in accounts:read.
func ObjectName(s string) error {
	if !objectName.MatchString(s) || len(s) > 60 {
		return fmt.Errorf("%s is not a valid object name; use letters, digits, - _ and ., such as accounts", Quote(s))
	}
	return nil
}
