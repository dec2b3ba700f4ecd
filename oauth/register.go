package oauth

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/storage"
)

// Register serves POST /oauth/register: dynamic client registration (RFC 7591, section 3.1). Pages of any origin may
// call it, since it uses no cookie and the answer is about a client that they have just made.
func (s *Server) Register(w http.ResponseWriter, r *http.Request) {
	allowAnyOrigin(w)
	out, err := s.register(w, r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	w.Header().Set("Location", out.URI)
	writeJSON(w, http.StatusCreated, out)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) (out clientInformation, err error) {
	token, err := registrationToken(r)
	if err != nil {
		return out, err
	}
	if err := s.management.MayRegister(r.Context(), token); err != nil {
		return out, s.registrationRefused(r, token, err)
	}
	m, err := readMetadataBody(w, r)
	if err != nil {
		return out, err
	}
	for _, name := range []string{"client_id", "client_secret"} {
		if _, has := m[name]; has {
			return out, badMetadata(name + " is chosen by this server; leave it out.")
		}
	}
	p, err := s.checkMetadata(storage.RegisteredDynamically, withDefaultMethod(m))
	if err != nil {
		return out, err
	}
	c, err := s.management.RegisterClient(r.Context(), p, token, limit.AddressKey(s.address(r)))
	var many *management.TooManyChanges
	switch {
	case errors.As(err, &many):
		return out, &Error{
			Code: TemporarilyUnavailable, Status: http.StatusTooManyRequests, RetryAfter: many.RetryAfter,
			Description: "Too many clients were registered from this address; reuse one, or retry after the delay in the " +
				"Retry-After header.",
			Cause: err,
		}
	case err != nil:
		return out, s.registrationRefused(r, token, err)
	}
	LogFieldsOf(r.Context()).ClientID = c.ID
	return s.informationOf(&c.Client, c.Secret, c.Token), nil
}

// withDefaultMethod adds the default of token_endpoint_auth_method (RFC 7591, section 2).
func withDefaultMethod(m clientMetadata) clientMetadata {
	if method, has := m["token_endpoint_auth_method"]; !has || method == "" {
		m["token_endpoint_auth_method"] = management.AuthSecretBasic
	}
	return m
}

// Registration serves /oauth/register/{client_id}: GET, PUT and DELETE (RFC 7592, section 2).
func (s *Server) Registration(w http.ResponseWriter, r *http.Request) {
	allowAnyOrigin(w)
	out, err := s.manageRegistration(w, r)
	switch {
	case err != nil:
		writeError(w, r, err)
	case out == nil:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusOK, out)
	}
}

func (s *Server) manageRegistration(w http.ResponseWriter, r *http.Request) (*clientInformation, error) {
	id := r.PathValue("client_id")
	token, err := registrationToken(r)
	if err != nil {
		return nil, err
	}
	LogFieldsOf(r.Context()).RecordClient(id)
	c, err := s.management.ReadRegistration(r.Context(), id, token)
	if err != nil {
		return nil, s.registrationRefused(r, id, err)
	}
	switch r.Method {
	case http.MethodPut:
		return s.updateRegistration(w, r, &c, token)
	case http.MethodDelete:
		if err := s.management.DeleteRegistration(r.Context(), id, token); err != nil {
			return nil, s.registrationRefused(r, id, err)
		}
		return nil, nil //nolint:nilnil // the client is gone
	}
	out := s.informationOf(&c, "", token)
	return &out, nil
}

// updateRegistration replaces what a client says about itself (RFC 7592, section 2.2). It gets a new token; the old one
// stops working.
func (s *Server) updateRegistration(
	w http.ResponseWriter, r *http.Request, c *storage.Client, token string,
) (*clientInformation, error) {
	m, err := readMetadataBody(w, r)
	if err != nil {
		return nil, err
	}
	var id, secret string
	if err := errors.Join(m.text("client_id", &id), m.text("client_secret", &secret)); err != nil {
		return nil, firstOf(err)
	}
	if id != c.ID {
		return nil, badMetadata("client_id must be that of the registration (RFC 7592, section 2.2).")
	}
	if secret != "" {
		shown := credentials{id: c.ID, secret: secret}
		if _, fits := shown.fit(*c, true, s.store.Now()); !fits || c.Public {
			return nil, badMetadata("client_secret is not the client's; leave it out, since this server chooses it.")
		}
	}
	p, err := s.checkMetadata(storage.RegisteredDynamically, withDefaultMethod(m))
	if err != nil {
		return nil, err
	}
	changed, err := s.management.UpdateRegistration(r.Context(), c.ID, token, p)
	if errors.Is(err, management.ErrRegistrationToken) {
		return nil, s.registrationRefused(r, c.ID, err)
	}
	if err != nil {
		return nil, metadataError(err)
	}
	out := s.informationOf(&changed.Client, "", changed.Token)
	return &out, nil
}

// registrationToken returns the token in the Authorization header; empty: there is none.
func registrationToken(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return "", nil
	}
	token, ok := bearer.FromHeader(headers[0])
	if len(headers) > 1 || !ok || token == "" {
		return "", &Error{
			Code: InvalidToken, Status: http.StatusUnauthorized, Challenge: registrationChallenge,
			Description: "Send the token as Authorization: Bearer, once.",
		}
	}
	return token, nil
}

// InvalidToken is an error code of RFC 6750, section 3.1.
const InvalidToken = "invalid_token"

const registrationChallenge = `Bearer realm="doorward", error="invalid_token"`

// registrationRefused returns the error for a token that is missing or wrong, and counts it as a failed authentication
// of name. It leaves other errors as they are. The answer is the same for a client that does not exist.
func (s *Server) registrationRefused(r *http.Request, name string, err error) error {
	if !errors.Is(err, management.ErrRegistrationToken) {
		return err
	}
	e := &Error{Code: InvalidToken, Status: http.StatusUnauthorized, Challenge: registrationChallenge, Cause: err}
	switch {
	case r.PathValue("client_id") != "":
		e.Description = "The registration access token is missing, wrong or was replaced, or the client does not exist."
	case s.management.Registration() == management.RegistrationClosed:
		e.Description = "Apps cannot register themselves at this server; ask its operator for a client id."
		if s.documents.on() {
			e.Description = "Apps cannot register themselves at this server; use the URL of a client metadata document as " +
				"the client id, or ask its operator for one."
		}
	default:
		e.Description = "The initial access token is missing, wrong, used up or expired; ask the operator of this server " +
			"for one."
	}
	if r.Header.Get("Authorization") == "" {
		// RFC 6750, section 3.1: a request without a token gets a challenge without an error code.
		e.Challenge = `Bearer realm="doorward"`
		return e
	}
	if strings.HasPrefix(name, "dw_") {
		name = "a registration token"
	}
	return s.countFailure(r, name, e)
}

// readMetadataBody reads a JSON object with client metadata.
func readMetadataBody(w http.ResponseWriter, r *http.Request) (clientMetadata, error) {
	if r.URL.RawQuery != "" {
		return nil, badMetadata("Send the client metadata in the body; the query of the URL must be empty.")
	}
	if IsEncoded(r.Header) {
		w.Header().Set("Accept-Encoding", "identity")
		return nil, &Error{Code: InvalidClientMetadata, Status: http.StatusUnsupportedMediaType, Description: EncodedBody}
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, badMetadata("Send the client metadata as application/json.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Error{
			Code: InvalidClientMetadata, Status: http.StatusRequestEntityTooLarge, Description: "The body is larger than 64 KiB.",
		}
	case err != nil && r.Context().Err() != nil:
		return nil, context.Cause(r.Context())
	case err != nil:
		return nil, &Error{
			Code: InvalidClientMetadata, Description: "The body could not be read completely; send it again.", Cause: err,
		}
	}
	return readClientMetadata(body)
}

// allowAnyOrigin lets pages of any origin read the answer.
func allowAnyOrigin(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, X-Request-Id")
}
