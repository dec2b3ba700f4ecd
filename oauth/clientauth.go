package oauth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/storage"
)

const basicChallenge = `Basic realm="doorward", charset="UTF-8"`

// credentials are what a request presents to authenticate its client, not yet checked.
type credentials struct {
	id        string
	secret    string
	basic     bool       // in the Authorization header; otherwise in the body
	assertion *assertion // in place of a secret
}

// readCredentials reads the client's credentials from the Authorization header or from the body, and refuses a request
// that uses both (RFC 6749, section 2.3).
func readCredentials(r *http.Request, form url.Values) (credentials, error) {
	headers := r.Header.Values("Authorization")
	c := credentials{id: form.Get("client_id"), secret: form.Get("client_secret")}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		if len(headers) > 0 || c.secret != "" {
			return c, badRequest("The request uses more than one method of client authentication; use one.")
		}
		a, err := readAssertion(form)
		if err != nil {
			return c, err
		}
		if c.id != "" && c.id != a.subject {
			return c, assertionRefused(errors.New("client_id differs from sub of the assertion"))
		}
		c.id, c.assertion = a.subject, a
		return c, nil
	}
	if len(headers) == 0 {
		return c, nil
	}
	if len(headers) > 1 {
		return c, badRequest("There are two Authorization headers; send one.")
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return c, &Error{
			Code:        InvalidClient,
			Description: "The client must authenticate with its id and secret, by HTTP Basic or in the body.",
			Challenge:   basicChallenge,
		}
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(rest, " "))
	if err != nil {
		return c, errMalformed
	}
	id, secret, ok := strings.Cut(string(raw), ":")
	if !ok {
		return c, errMalformed
	}
	// RFC 6749, section 2.3.1: both are form-encoded before they are joined.
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil || !isText(id) || !isText(secret) {
		return c, errMalformed
	}
	if c.secret != "" || (c.id != "" && c.id != id) {
		return c, badRequest(
			"The client authenticates in the Authorization header, and the body has another client id or a secret; " +
				"use one of the two.",
		)
	}
	return credentials{id: id, secret: secret, basic: true}, nil
}

var errMalformed = badRequest(
	"The Basic credentials are malformed: form-encode id and secret, join them by a colon, then base64.",
)

// clientRefused describes the error for a client that is unknown, disabled, or sends a wrong secret.
const clientRefused = "The client is unknown, or its credentials are wrong."

// scopeNotRegistered describes the error for a request with a scope that its client is not registered for.
const scopeNotRegistered = "At least one requested scope is not registered for this client; " +
	"request only those that are."

// errClientDisabled is for the log.
var errClientDisabled = errors.New("the client, or what it depends on, is disabled")

// noDigest is compared if the client or the secret does not exist, so that the answer takes the same time as for a
// wrong secret.
var noDigest = make([]byte, 32)

// authenticated is a client that has proven to be the sender of a request.
type authenticated struct {
	storage.Client
	// assertion is the proof, if it was one that counts once. The caller has to record its use: see once.
	assertion *storage.UsedAssertion
}

// authenticate finds the client of a request and checks its secret or its assertion. A public client has neither, and
// sends its client_id in the body. The error is the same whether the client is unknown, disabled, or its proof is wrong.
//
// Only failures are counted and limited: a right secret is accepted after any number of failures from its address.
// Secrets are too long to be guessed at any rate, and checking one costs only a hash, so nothing is gained by a
// lockout.
func (s *Server) authenticate(ctx context.Context, r *http.Request, form url.Values) (authenticated, error) {
	return s.authenticateBy(ctx, r, form, s.clients.load)
}

// authenticateBy is authenticate for clients that load finds.
func (s *Server) authenticateBy(
	ctx context.Context, r *http.Request, form url.Values, load func(context.Context, string) (cachedClient, error),
) (authenticated, error) {
	c, err := readCredentials(r, form)
	if err != nil {
		return authenticated{}, err
	}
	if c.id == "" && c.assertion != nil {
		return authenticated{}, assertionRefused(errors.New("sub of the assertion is missing"))
	}
	if c.id == "" {
		return authenticated{}, &Error{Code: InvalidClient, Description: "The client must authenticate: send " +
			"client_id and client_secret by HTTP Basic or in the body, or a client_assertion."}
	}
	begin := time.Now()
	client, cached := s.clients.cached(c.id)
	err = usable(&client)
	if !cached {
		client, err = load(ctx, c.id)
	}
	proven, why := s.prove(ctx, &c, &client, err == nil)
	if why != nil && cached {
		// Read past the cache: another process may have just created the secret, or registered the key. An unknown client
		// costs as many look-ups, so that the time reveals nothing.
		client, err = load(ctx, c.id)
		proven, why = s.prove(ctx, &c, &client, err == nil)
	}
	LogFieldsOf(ctx).RecordClient(c.id)
	if why == nil {
		storage.ActorOf(ctx).ClientID = client.ID
		return proven, nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return authenticated{}, err
	}
	if callerGone := ctx.Err(); callerGone != nil {
		return authenticated{}, callerGone
	}
	delayNegative(ctx, begin)
	if err != nil {
		_, known := s.clients.cached(c.id)
		why = whyUnknown(c.id, known, err)
	}
	refused := &Error{Code: InvalidClient, Description: clientRefused, Cause: why}
	if c.assertion != nil {
		refused = assertionRefused(why)
	}
	return authenticated{}, s.countFailure(r, c.id, refused)
}

// countFailure counts a failed authentication, and returns the error for it.
func (s *Server) countFailure(r *http.Request, id string, refused *Error) error {
	if ok, wait := s.failures.Fail(id, s.address(r)); !ok {
		limited := tooManyFailures(wait)
		limited.Cause = refused.Cause
		return limited
	}
	return refused
}

// prove checks the credentials of a client. The error says why they are refused, for the log.
func (s *Server) prove(
	ctx context.Context, c *credentials, client *cachedClient, known bool,
) (authenticated, error) {
	if c.assertion != nil {
		if !known {
			return authenticated{}, storage.ErrNotFound
		}
		if err := s.checkAssertion(ctx, c.assertion, client); err != nil {
			return authenticated{}, err
		}
		used := c.assertion.used()
		return authenticated{client.Client, &used}, nil
	}
	secretID, fits := c.fit(client.Client, known, s.store.Now())
	if !fits || !c.methodFits(&client.Client) {
		return authenticated{}, whyNot(c, &client.Client)
	}
	if secretID != "" {
		s.store.TouchSecret(secretID)
	}
	return authenticated{client.Client, nil}, nil
}

// methodFits reports whether the client may send its secret in this way. One that is registered without a method may
// use either (RFC 6749, section 2.3.1).
func (c *credentials) methodFits(client *storage.Client) bool {
	switch client.AuthMethod {
	case management.AuthSecretBasic:
		return c.basic
	case management.AuthSecretPost:
		return !c.basic
	}
	return client.AuthMethod != management.AuthPrivateKey
}

// whyUnknown explains, for the log, why a client was not found.
func whyUnknown(id string, disabled bool, err error) error {
	var document *documentError
	switch {
	case errors.As(err, &document):
		return err
	case isDocumentID(id):
		return errors.New("no user has allowed the client with this metadata document, or it is disabled")
	case !storage.IsID("app", id):
		return errors.New("the client id does not have the form of this server's client ids")
	case disabled:
		return errClientDisabled
	}
	return errors.New("there is no client with this id")
}

// whyNot explains, for the log, why the credentials of a client were refused.
func whyNot(c *credentials, client *storage.Client) error {
	switch {
	case client.AuthMethod == management.AuthPrivateKey:
		return errors.New("the client is registered for private_key_jwt, and sends no assertion")
	case client.Public && c.basic:
		return errors.New(
			"the client is public, and the request authenticates it with HTTP Basic; it must send client_id in the " +
				"body and no secret",
		)
	case client.Public:
		return errors.New("the client is public, and the request sends a secret; it must send none")
	case client.AuthMethod == management.AuthSecretBasic && !c.basic, client.AuthMethod == management.AuthSecretPost && c.basic:
		return fmt.Errorf("the client is registered for %s, and sends its secret in another way", client.AuthMethod)
	case c.secret == "":
		return errors.New("the request sends no secret of this confidential client")
	case !bearer.WellFormed(bearer.PrefixClientSecret, c.secret):
		return errors.New(
			"client_secret does not have the form of this server's client secrets; it may have been truncated or changed on " +
				"the way",
		)
	}
	return errors.New("the secret is not one of this client's, or expired after a rotation")
}

// fit reports whether the credentials are those of the client, and which of its secrets was sent.
func (c credentials) fit(client storage.Client, known bool, now storage.Time) (secretID string, fits bool) {
	digest, shown := noDigest, bearer.WellFormed(bearer.PrefixClientSecret, c.secret)
	if shown {
		digest = storage.Digest(c.secret)
	}
	for i := range 2 { // the most that can be valid at once, so that one and two take the same time
		want := noDigest
		if i < len(client.Secrets) && (client.Secrets[i].ExpiresAt.IsZero() || client.Secrets[i].ExpiresAt > now) {
			want = client.Secrets[i].Digest
		}
		if subtle.ConstantTimeCompare(digest, want) == 1 && shown && i < len(client.Secrets) {
			secretID, fits = client.Secrets[i].ID, true
		}
	}
	if client.Public {
		// A public client proves nothing; one that sends a secret is misconfigured or another client.
		fits = c.secret == "" && !c.basic
	}
	return secretID, fits && known
}

// newAuthenticationFailures uses the store's clock, which tests move.
func newAuthenticationFailures(store *storage.Store) *limit.Clients {
	return limit.NewClients(func() time.Time { return store.Now().Time() })
}

func tooManyFailures(wait time.Duration) *Error {
	return &Error{
		Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: wait,
		Description: "Too many failed attempts for this client from this address; " +
			"retry after the delay in the Retry-After header.",
	}
}
