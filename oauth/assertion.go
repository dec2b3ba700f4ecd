package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/maypok86/otter/v2"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/fetch"
	"doorward/oauth/jwt"
	"doorward/storage"
)

// assertionType is the client_assertion_type of a JWT (RFC 7523, section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// maxAssertionLife is how long an assertion may be valid.
	maxAssertionLife = 5 * time.Minute
	// maxAssertionID bounds jti, in bytes.
	maxAssertionID = 500
)

// assertion is a client assertion (RFC 7523, section 3), with claims that are not verified yet.
type assertion struct {
	token    *jwt.Token
	issuer   string
	subject  string
	audience string // empty: left out, or a list
	id       string
	jwt.Times
}

// readAssertion reads the assertion in a request.
func readAssertion(form url.Values) (*assertion, error) {
	switch kind := form.Get("client_assertion_type"); {
	case !form.Has("client_assertion"):
		return nil, badRequest("client_assertion is missing; send it with client_assertion_type.")
	case kind == "":
		return nil, badRequest("client_assertion_type is missing; send " + assertionType + ".")
	case kind != assertionType:
		return nil, &Error{
			Code: InvalidClient, Description: "client_assertion_type must be " + assertionType + ".",
		}
	}
	token, err := jwt.Parse(form.Get("client_assertion"))
	if err != nil {
		return nil, assertionRefused(err)
	}
	a := &assertion{token: token}
	var audience any
	if err := token.Claims(map[string]any{
		"iss": &a.issuer, "sub": &a.subject, "aud": &audience, "jti": &a.id, "exp": &a.ExpiresAt, "nbf": &a.NotBefore,
		"iat": &a.IssuedAt,
	}); err != nil {
		return nil, assertionRefused(err)
	}
	// A list is refused, even one with only our issuer: it could be shown to the others in it (RFC 10070).
	a.audience, _ = audience.(string)
	return a, nil
}

// assertionRefused is the answer to any assertion that is refused. The description is the same for a client that does
// not exist; the cause is for the log.
func assertionRefused(cause error) *Error {
	return &Error{
		Code: InvalidClient,
		Description: "The client is unknown, or its assertion is not valid. An assertion is a JWT that is signed with a " +
			"registered key, with iss and sub set to the client id, aud to the issuer as a string, a new jti, and exp " +
			"within five minutes.",
		Cause: cause,
	}
}

// checkAssertion checks everything about an assertion of a client but whether it was used before.
func (s *Server) checkAssertion(ctx context.Context, a *assertion, c *cachedClient) error {
	if c.AuthMethod != management.AuthPrivateKey {
		return errors.New("the client is not registered for private_key_jwt, and sends an assertion")
	}
	if err := a.checkClaims(s.store.Now().Time(), c.ID, s.assertionAudiences(&c.Client)); err != nil {
		return err
	}
	if err := a.checkHeader(&c.Client); err != nil {
		return err
	}
	return s.checkSignature(ctx, a.token, c)
}

// assertionAudiences lists the audiences that an assertion of a client may name.
func (s *Server) assertionAudiences(c *storage.Client) []string {
	if c.TokenEndpointAudience {
		return []string{s.issuer, s.issuer + "/oauth/token"}
	}
	return []string{s.issuer}
}

func (a *assertion) checkClaims(now time.Time, clientID string, audiences []string) error {
	if err := a.Check(now); err != nil {
		return err
	}
	// The clock of the client may be ahead, so that its five minutes end later than ours.
	began := now
	if iat := a.IssuedAt.Time(); a.IssuedAt != 0 && iat.After(now) {
		began = iat
	}
	switch {
	case a.issuer != clientID || a.subject != clientID:
		return errors.New("iss and sub of the assertion are not both the client id")
	case !slices.Contains(audiences, a.audience) || a.audience == "":
		return fmt.Errorf(
			"aud of the assertion is not the string %s", strings.Join(audiences, ", or "),
		)
	case a.id == "" || len(a.id) > maxAssertionID || !utf8.ValidString(a.id):
		return fmt.Errorf("jti of the assertion is missing, or longer than %d bytes", maxAssertionID)
	case a.Expired(now.Add(-jwt.Leeway)):
		return fmt.Errorf("the assertion expired at %s (exp)", a.ExpiresAt.Time().Format(time.RFC3339))
	case a.ExpiresAt.Time().After(began.Add(maxAssertionLife)):
		return fmt.Errorf("exp of the assertion is more than %v ahead", maxAssertionLife)
	}
	return nil
}

// assertionTypes are the values that typ may have in an assertion, in lower case. A JWT with another type has another
// purpose (RFC 8725, section 3.11).
var assertionTypes = []string{"", "jwt", "client-authentication+jwt"}

func (a *assertion) checkHeader(c *storage.Client) error {
	algorithm := a.token.Algorithm
	for _, name := range []string{"jwk", "jku", "x5u", "x5c"} {
		if _, has := a.token.Header[name]; has {
			return fmt.Errorf("the header of the assertion has %s; only registered keys are used", name)
		}
	}
	switch {
	case !slices.Contains(assertionTypes, strings.ToLower(a.token.Type)):
		return fmt.Errorf("the typ of the assertion is %s", bearer.Quoted(a.token.Type))
	case c.FAPI && !slices.Contains(jwt.FAPIAlgorithms, algorithm), !slices.Contains(jwt.ClientAlgorithms, algorithm):
		return fmt.Errorf("the assertion is signed with %s, which is not accepted", bearer.Quoted(string(algorithm)))
	case c.AuthAlgorithm != "" && c.AuthAlgorithm != string(algorithm):
		return fmt.Errorf("the assertion is signed with %s; the client registered %s", bearer.Quoted(string(algorithm)),
			c.AuthAlgorithm)
	}
	return nil
}

// used returns what is stored when the assertion is used: until no node accepts it, even one whose clock is behind.
func (a *assertion) used() storage.UsedAssertion {
	return storage.UsedAssertion{
		ClientID: a.subject, ID: a.id, ExpiresAt: storage.At(a.ExpiresAt.Time().Add(2 * jwt.Leeway)),
	}
}

// checkSignature checks that an assertion is signed with a registered key of the client.
func (s *Server) checkSignature(ctx context.Context, t *jwt.Token, c *cachedClient) error {
	signed := func(k jose.JSONWebKey) bool { return t.SignedBy(k.Key) }
	var why string
	if c.JWKSURI != "" {
		var err error
		if _, why, err = s.clientKeys.of(c).Find(ctx, t.KeyID, t.Algorithm, signed); err != nil {
			// Of the error only the cause: it speaks of a trusted issuer, and has the whole URL. Not wrapped: for this server
			// nothing is unavailable, so the client is refused.
			return fmt.Errorf("the client's keys at %s cannot be read: %s", quotedURI(c.JWKSURI), errors.Unwrap(err).Error())
		}
	} else {
		var keys []jose.JSONWebKey
		find := func() {
			keys, why = bearer.FittingKeys("jwks of the client", c.keys, nil, t.KeyID, t.Algorithm)
			if why == "" && !slices.ContainsFunc(keys, signed) {
				why = "the signature is by none of the client's keys that the assertion can be signed with"
			}
		}
		if find(); why != "" {
			renewed, err := s.withNewKeys(ctx, c)
			if err != nil {
				return err
			}
			if renewed {
				find()
			}
		}
	}
	if why != "" {
		return errors.New(why)
	}
	return nil
}

// How often the keys of a client are fetched because of assertions by none of them. A client that rotates its keys
// several times in a row is not refused, and a flood of made-up kids causes few fetches.
const (
	clientKeysUnknown = 30 * time.Second
	clientKeysSpare   = 5
)

// clientKeys are the cached copies of the keys that clients publish at their jwks_uri.
type clientKeys struct {
	fetcher *fetch.Fetcher
	now     func() storage.Time
	// cache is an otter.Cache, without its name; see clients.
	cache interface {
		GetIfPresent(key string) (keys *bearer.RemoteKeys, ok bool)
		SetIfAbsent(key string, keys *bearer.RemoteKeys) (kept *bearer.RemoteKeys, set bool)
	}
}

// maxClientKeys bounds how many clients' keys are in memory.
const maxClientKeys = 1000

func newClientKeys(fetcher *fetch.Fetcher, now func() storage.Time) *clientKeys {
	return &clientKeys{
		fetcher, now, otter.Must(&otter.Options[string, *bearer.RemoteKeys]{MaximumSize: maxClientKeys}),
	}
}

// read fetches a JWK set.
func (k *clientKeys) read(ctx context.Context, url string) ([]byte, error) {
	body, _, err := k.fetcher.Get(ctx, url, "application/jwk-set+json, application/json", fetch.DefaultMaxBytes)
	return body, err
}

// of returns the copy of the keys of a client with a jwks_uri. Each client has its own, so that none can use up the
// fetches of another.
func (k *clientKeys) of(c *cachedClient) *bearer.RemoteKeys {
	name := c.ID + " " + c.JWKSURI
	if keys, ok := k.cache.GetIfPresent(name); ok {
		return keys
	}
	keys, _ := k.cache.SetIfAbsent(name, bearer.NewRemoteKeys(bearer.RemoteKeysConfig{
		URL: c.JWKSURI, Now: k.now, Fetch: k.read, Unknown: clientKeysUnknown, Spare: clientKeysSpare,
	}))
	return keys
}
