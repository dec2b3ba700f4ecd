package oauth

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/dpop"
	"doorward/oauth/jwt"
)

// newMetadata builds the metadata document (RFC 8414, section 2) once: it depends on no request and does not change
// while the server runs.
func (s *Server) newMetadata() []byte {
	var scopes []string
	for _, r := range s.catalog.Resources() {
		for _, x := range r.Scopes {
			if !slices.Contains(scopes, x.Name) {
				scopes = append(scopes, x.Name)
			}
		}
	}
	scopes = append(slices.DeleteFunc(scopes, func(name string) bool { return name == management.ScopeOffline }),
		management.ScopeOffline)
	methods := []string{management.AuthSecretBasic, management.AuthSecretPost, management.AuthPrivateKey}
	withNone := append(slices.Clone(methods), management.AuthNone)
	document := map[string]any{
		"issuer":                                         s.issuer,
		"authorization_endpoint":                         s.issuer + "/oauth/authorize",
		"token_endpoint":                                 s.issuer + "/oauth/token",
		"introspection_endpoint":                         s.issuer + "/oauth/introspect",
		"revocation_endpoint":                            s.issuer + "/oauth/revoke",
		"scopes_supported":                               scopes,
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          grantNames(),
		"token_endpoint_auth_methods_supported":          withNone,
		"revocation_endpoint_auth_methods_supported":     withNone,
		"introspection_endpoint_auth_methods_supported":  methods,
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true, // RFC 9207
		"prompt_values_supported":                        promptValues,
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false,
		// RFC 9126, section 5; each client can be registered to push all of its requests.
		"pushed_authorization_request_endpoint": s.issuer + "/oauth/par",
		"require_pushed_authorization_requests": false,
		"dpop_signing_alg_values_supported":     dpop.Algorithms, // RFC 9449, section 5.1
	}
	for _, endpoint := range []string{"token", "revocation", "introspection"} {
		document[endpoint+"_endpoint_auth_signing_alg_values_supported"] = jwt.ClientAlgorithms
	}
	if s.management.Registration() != management.RegistrationClosed {
		document["registration_endpoint"] = s.issuer + "/oauth/register"
	}
	if s.documents.on() {
		document["client_id_metadata_document_supported"] = true
	}
	if s.catalog.IssuesJWTs() {
		document["jwks_uri"] = s.issuer + "/oauth/jwks"
	}
	text, err := json.Marshal(document)
	if err != nil {
		panic(err) // cannot fail: strings, booleans and lists
	}
	return append(text, '\n')
}

// Metadata serves GET /.well-known/oauth-authorization-server (RFC 8414).
func (s *Server) Metadata(w http.ResponseWriter, _ *http.Request) { writePublic(w, s.metadata) }

// writePublic writes a public document, which caches may keep for bearer.JWKSMaxAge.
func writePublic(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", publicCache)
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text) // the client may have gone away
}

var publicCache = "public, max-age=" + strconv.Itoa(int(bearer.JWKSMaxAge/time.Second))

// JWKS serves GET /oauth/jwks: the public halves of the signing keys (RFC 7517, section 5). They include keys that do
// not sign yet and keys that have stopped signing.
func (s *Server) JWKS(w http.ResponseWriter, r *http.Request) {
	keys, err := s.keyring.JWKS(r.Context())
	if err != nil {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeError(w, r, err)
		return
	}
	writePublic(w, keys)
}
