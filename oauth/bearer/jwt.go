package bearer

import (
	"errors"

	"doorward/oauth/jwt"
	"doorward/storage"
)

// typeAccessToken is the typ of our access tokens (RFC 9068, section 2.1).
const typeAccessToken = "at+jwt"

// parsedJWT is a JWT that is parsed but not verified, with its iss.
type parsedJWT struct {
	*jwt.Token
	issuer string
}

// parseJWT parses a JWT that may be a credential. The error wraps ErrUnknown and says what is wrong.
func parseJWT(text string) (*parsedJWT, error) {
	token, err := jwt.Parse(text)
	if tooLarge := (*jwt.TooLargeError)(nil); errors.As(err, &tooLarge) {
		return nil, unknown("%v; configure its issuer to put less into it, such as fewer groups", err)
	}
	if err != nil {
		return nil, unknown("%v", err)
	}
	t := &parsedJWT{Token: token}
	if err := token.Claims(map[string]any{"iss": &t.issuer}); err != nil {
		return nil, unknown("%v", err)
	}
	if t.issuer == "" {
		return nil, unknown("the JWT has no iss")
	}
	return t, nil
}

// date returns the NumericDate of a moment.
func date(t storage.Time) jwt.NumericDate { return jwt.NumericDate(t) }

// checkTimes checks exp, nbf and iat, but not whether the token has expired. The error wraps ErrUnknown.
func checkTimes(x jwt.Times, now storage.Time) error {
	if err := x.Check(now.Time()); err != nil {
		return unknown("%v", err)
	}
	return nil
}

// moment returns a claim as the time that storage has; zero if it is left out.
func moment(d jwt.NumericDate) storage.Time { return storage.Time(d) }
