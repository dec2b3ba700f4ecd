package input

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// introspectScope is the scope with which an API key introspects. It is built in: no catalogue contains it.
const introspectScope = "introspect"

// MaxScopeName is the longest name of a scope, in bytes.
const MaxScopeName = 200

var (
	scopeName  = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`) // RFC 6749, section 3.3
	objectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
)

// ScopeName accepts every scope that RFC 6749, section 3.3 allows, except for names that have a meaning of their own.
func ScopeName(s string) error {
	switch {
	case s == introspectScope:
		return errors.New("is built in, for the keys with which a resource server introspects; choose another name")
	case strings.Contains(s, "{object}"):
		return errors.New("holds {object}, which in a route stands for an object; choose another name")
	case !scopeName.MatchString(s) || len(s) > MaxScopeName:
		return fmt.Errorf("is not a scope's name; write up to %d printable ASCII characters without spaces, quotes and "+
			"backslashes (RFC 6749, section 3.3), such as read, accounts:read or https://api.example.com/auth/read", MaxScopeName)
	}
	return nil
}

// ObjectName accepts the name of an object to which scopes can be narrowed, such as accounts in accounts:read.
func ObjectName(s string) error {
	if !objectName.MatchString(s) || len(s) > 60 {
		return fmt.Errorf("%s is not an object's name; write letters, digits, - _ and ., such as accounts", Quote(s))
	}
	return nil
}
