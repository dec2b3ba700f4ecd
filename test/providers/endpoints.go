package providers

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// grant is what a code stands for, and then an access token.
type grant struct {
	user                                   User
	redirectURI, challenge, nonce, tenancy string
	scopes                                 []string
}

// has reports whether a scope was granted.
func (g *grant) has(scope string) bool { return slices.Contains(g.scopes, scope) }

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client may have gone
}

// oauthError answers as RFC 6749, section 5.2. Real providers, too, repeat what the client sent.
func oauthError(w http.ResponseWriter, r *http.Request, status int, code string) {
	answer(w, status, map[string]any{"error": code, "error_description": "Bad code " + r.PostForm.Get("code")})
}

// issuerFor is the issuer of a discovery document: Microsoft's for several tenants is a template.
func (s *Server) issuerFor(authority string) string {
	switch authority {
	case "":
		return s.http.URL
	case "common", "organizations":
		return s.TenantIssuer("{tenantid}")
	case "consumers":
		return s.TenantIssuer(PersonalTenant)
	}
	return s.TenantIssuer(authority)
}

// document is the discovery document. The caller holds the lock.
func (s *Server) document(authority string) map[string]any {
	d := map[string]any{
		"issuer":                                s.issuerFor(authority),
		"authorization_endpoint":                s.address(Authorize, authority),
		"token_endpoint":                        s.address(Token, authority),
		"jwks_uri":                              s.address(Keys, authority),
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{s.signing.algorithm},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"code_challenge_methods_supported":      []string{"plain", "S256"},
	}
	if _, ok := s.kind.paths[UserInfo]; ok {
		d["userinfo_endpoint"] = s.address(UserInfo, authority)
	}
	switch s.kind.id {
	case "apple":
		d["subject_types_supported"] = []string{"pairwise"}
		d["response_modes_supported"] = []string{"query", "fragment", "form_post"}
		d["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
		delete(d, "code_challenge_methods_supported")
	case "microsoft":
		d["subject_types_supported"] = []string{"pairwise"}
		d["token_endpoint_auth_methods_supported"] = []string{
			"client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth",
		}
		delete(d, "code_challenge_methods_supported")
	case "oidc":
		d["authorization_response_iss_parameter_supported"] = true
	}
	for fault, change := range map[Fault]func(){
		WrongIssuer: func() { d["issuer"] = "https://another.example" },
		PlainHTTP:   func() { d["token_endpoint"] = "http://another.example/token" },
		NoKeys:      func() { delete(d, "jwks_uri") },
		OnlyHS256:   func() { d["id_token_signing_alg_values_supported"] = []string{"HS256"} },
	} {
		if s.has(fault) {
			change()
		}
	}
	if s.edits.discovery != nil {
		s.edits.discovery(d)
	}
	return d
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	d := s.document(r.PathValue("authority"))
	s.mu.Unlock()
	answer(w, http.StatusOK, d)
}

func (s *Server) keys(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	set := s.signing.set()
	s.mu.Unlock()
	answer(w, http.StatusOK, set)
}

// whyRefused returns why an authorization request gets an error page, and no redirect. The caller holds the lock.
func (s *Server) whyRefused(q url.Values, authority string) string {
	redirectURI, err := url.Parse(q.Get("redirect_uri"))
	host, _ := netip.ParseAddr(redirectURI.Hostname())
	scopes := strings.Fields(q.Get("scope"))
	wantsProfile := slices.Contains(scopes, "name") || slices.Contains(scopes, "email")
	switch {
	case q.Get("client_id") != s.ClientID:
		return "unknown client_id"
	case err != nil || redirectURI.Host == "":
		return "redirect_uri is not a URL"
	case s.callback != "" && q.Get("redirect_uri") != s.callback:
		return "redirect_uri_mismatch: " + s.callback + " is registered"
	case s.callback == "" && redirectURI.Hostname() != "localhost" && !host.IsLoopback():
		return "redirect_uri_mismatch: it is not on loopback"
	case !s.kind.isGitHub() && q.Get("response_type") != "code":
		return "unsupported_response_type"
	case q.Get("state") == "" || q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256":
		return "the stand-in wants state and PKCE with S256"
	case !s.kind.isGitHub() && !s.kind.isApple() && !slices.Contains(scopes, "openid"):
		return "invalid_scope: openid is missing"
	case s.kind.isApple() && wantsProfile && q.Get("response_mode") != "form_post":
		return "response_mode must be form_post when name or email scope is requested."
	case s.kind.isMicrosoft() && tenantOf(authority) != "" && tenantOf(authority) != s.user.Tenant:
		return "AADSTS50020: the user's account does not exist in the tenant"
	}
	return ""
}

// tenantOf is the only tenant of an authority; empty: it has several.
func tenantOf(authority string) string {
	switch authority {
	case "common", "organizations":
		return ""
	case "consumers":
		return PersonalTenant
	}
	return authority
}

// authorize is the authorization endpoint. It shows no page: the current user has agreed.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	q, authority := r.Form, r.PathValue("authority")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authorization = append(s.authorization, maps.Clone(q))
	if why := s.whyRefused(q, authority); why != "" {
		http.Error(w, why, http.StatusBadRequest)
		return
	}
	params := url.Values{"state": {q.Get("state")}}
	switch {
	case s.has(Denied) && s.kind.isApple():
		params.Set("error", "user_cancelled_authorize")
	case s.has(Denied):
		params.Set("error", "access_denied")
		params.Set("error_description", "The user has denied your application access.")
	case s.has(ServerError):
		params.Set("error", "server_error")
	default:
		code := rand.Text()
		s.codes[code] = &grant{
			user: s.user, redirectURI: q.Get("redirect_uri"), challenge: q.Get("code_challenge"), nonce: q.Get("nonce"),
			tenancy: authority, scopes: strings.Fields(q.Get("scope")),
		}
		params.Set("code", code)
		s.addUser(params)
	}
	s.addIssuer(params)
	for fault, change := range map[Fault]func(){
		OtherState:       func() { params.Set("state", rand.Text()) },
		NoState:          func() { params.Del("state") },
		TwoStates:        func() { params.Add("state", params.Get("state")) },
		TwoCodes:         func() { params.Add("code", params.Get("code")) },
		NoCode:           func() { params.Del("code") },
		OtherCode:        func() { params.Set("code", rand.Text()) },
		ForeignIssuer:    func() { params.Set("iss", "https://another.example") },
		NoCallbackIssuer: func() { params.Del("iss") },
	} {
		if s.has(fault) {
			change()
		}
	}
	if s.edits.callback != nil {
		s.edits.callback(params)
	}
	s.sendBack(w, r, q, params)
}

// addUser adds Apple's parameter user, the first time.
func (s *Server) addUser(params url.Values) {
	if !s.kind.isApple() || s.consented[s.user.Subject] {
		return
	}
	s.consented[s.user.Subject] = true
	first, last, _ := strings.Cut(s.user.Name, " ")
	user, err := json.Marshal(map[string]any{
		"name": map[string]string{"firstName": first, "lastName": last}, "email": s.user.Email,
	})
	if err == nil {
		params.Set("user", string(user))
	}
}

// addIssuer adds iss (RFC 9207), which Google, GitHub and the plain provider send.
func (s *Server) addIssuer(params url.Values) {
	switch s.kind.id {
	case "google", "oidc":
		params.Set("iss", s.http.URL)
	case "github":
		params.Set("iss", s.http.URL+"/login/oauth")
	}
}

// formPost is the page of OAuth 2.0 Form Post Response Mode.
var formPost = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sign in with Apple</title>
<form method="post" action="{{.To}}">
{{range $name, $values := .Params}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">
{{end}}{{end}}<button type="submit">Continue</button></form>
<script>document.forms[0].submit()</script></html>
`))

func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, q, params url.Values) {
	if q.Get("response_mode") == "form_post" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// An error means that the browser has gone.
		_ = formPost.Execute(w, map[string]any{"To": q.Get("redirect_uri"), "Params": params})
		return
	}
	to, separator := q.Get("redirect_uri"), "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	http.Redirect(w, r, to+separator+params.Encode(), http.StatusFound)
}

// isClient reports whether a token request authenticates the client (RFC 6749, section 2.3.1), by a method that the
// discovery document lists. The caller holds the lock.
func (s *Server) isClient(r *http.Request) bool {
	user, password, basic := r.BasicAuth()
	id, errID := url.QueryUnescape(user)
	secret, errSecret := url.QueryUnescape(password)
	method := "client_secret_basic"
	if !basic {
		id, secret, method = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret"), "client_secret_post"
	} else if errID != nil || errSecret != nil || r.PostForm.Has("client_secret") {
		return false // two methods at once, or not encoded
	}
	methods := []string{"client_secret_post"}
	if !s.kind.isGitHub() {
		listed, ok := s.document(r.PathValue("authority"))["token_endpoint_auth_methods_supported"].([]string)
		if methods = listed; !ok {
			methods = []string{"client_secret_basic"} // OpenID Connect Discovery, section 3
		}
	}
	if id != s.ClientID || !slices.Contains(methods, method) {
		return false
	}
	if s.kind.isApple() {
		return s.isAppleSecret(secret)
	}
	return secret == s.ClientSecret
}

// isAppleSecret checks the JWT that clients of Apple use as their secret.
func (s *Server) isAppleSecret(secret string) bool {
	signed, err := jose.ParseSignedCompact(secret, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(signed.Signatures) != 1 || signed.Signatures[0].Header.KeyID != s.KeyID {
		return false
	}
	payload, err := signed.Verify(appleKey().Public())
	if err != nil {
		return false
	}
	var c struct {
		Iss, Sub, Aud string
		Iat, Exp      int64
	}
	if json.Unmarshal(payload, &c) != nil {
		return false
	}
	now := s.time().Unix()
	const sixMonths = 15_777_000 // seconds, Apple's limit
	return c.Iss == s.TeamID && c.Sub == s.ClientID && c.Aud == s.http.URL && c.Iat <= now && now < c.Exp &&
		c.Exp-c.Iat <= sixMonths
}

// token is the token endpoint (RFC 6749, section 4.1.3).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
		oauthError(w, r, http.StatusBadRequest, "invalid_request")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kind.isGitHub() {
		s.gitHubToken(w, r)
		return
	}
	if !s.isClient(r) {
		oauthError(w, r, http.StatusUnauthorized, "invalid_client")
		return
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		oauthError(w, r, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	g := s.redeem(r.PostForm)
	if g == nil || g.tenancy != r.PathValue("authority") {
		oauthError(w, r, http.StatusBadRequest, "invalid_grant")
		return
	}
	access := rand.Text()
	s.tokens[access] = g
	response := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": strings.Join(g.scopes, " "),
	}
	if !s.has(NoIDToken) {
		idToken, err := s.idToken(g, access)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		response["id_token"] = idToken
	}
	answer(w, http.StatusOK, response)
}

// redeem ends a code and returns what it stands for; nil: it or the verifier is wrong. The caller holds the lock.
func (s *Server) redeem(form url.Values) *grant {
	code := form.Get("code")
	g := s.codes[code]
	delete(s.codes, code)
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if g == nil || form.Get("redirect_uri") != g.redirectURI ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		return nil
	}
	return g
}

// gitHubToken is GitHub's token endpoint, which answers errors with 200, and without Accept with a form.
func (s *Server) gitHubToken(w http.ResponseWriter, r *http.Request) {
	response := map[string]any{}
	switch g := (*grant)(nil); {
	case s.has(TokenError):
		response["error"] = "bad_verification_code"
	case !s.isClient(r):
		response["error"] = "incorrect_client_credentials"
	default:
		if g = s.redeem(r.PostForm); g == nil {
			response["error"] = "bad_verification_code"
			break
		}
		access := "gho_" + rand.Text()
		s.tokens[access] = g
		response = map[string]any{"access_token": access, "token_type": "bearer", "scope": strings.Join(g.scopes, ",")}
	}
	if response["error"] != nil {
		response["error_description"] = "The code passed is incorrect or expired."
		response["error_uri"] = "https://docs.github.com/apps/managing-oauth-apps/troubleshooting"
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		answer(w, http.StatusOK, response)
		return
	}
	form := url.Values{}
	for name, value := range response {
		if text, ok := value.(string); ok {
			form.Set(name, text)
		}
	}
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	_, _ = w.Write([]byte(form.Encode()))
}

// idToken is the ID token of a grant (OpenID Connect Core, section 2), beside an access token. The caller holds the lock.
func (s *Server) idToken(g *grant, access string) (string, error) {
	now := s.time()
	c := map[string]any{
		"iss": s.http.URL, "sub": g.user.Subject, "aud": s.ClientID, "iat": now.Unix(),
		"exp": now.Add(time.Hour).Unix(), "auth_time": now.Unix(),
	}
	if g.nonce != "" {
		c["nonce"] = g.nonce
	}
	if sum := sha256.Sum256([]byte(access)); s.kind.id == "google" || s.kind.id == "apple" || s.kind.id == "gitlab" {
		c["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:16]) // of RS256: these three document it
	}
	s.describe(c, g)
	switch s.kind.id {
	case "oidc": // at the userinfo endpoint only
		delete(c, "email")
		delete(c, "email_verified")
		delete(c, "name")
	case "google":
		c["azp"] = s.ClientID
	case "gitlab":
		delete(c, "name")
	case "apple":
		delete(c, "name")
		c["nonce_supported"] = true
		if state, ok := c["email_verified"].(bool); ok {
			c["email_verified"] = strconv.FormatBool(state) // Apple documents a string or a boolean
		}
	case "microsoft":
		c["iss"], c["tid"], c["ver"] = s.TenantIssuer(g.user.Tenant), g.user.Tenant, "2.0"
		c["nbf"], c["oid"] = c["iat"], "00000000-0000-0000-"+g.user.Subject
		if g.user.Email != "" {
			c["preferred_username"] = g.user.Email
		}
		delete(c, "email_verified")
	}
	s.spoil(c, now)
	if s.edits.claims != nil {
		s.edits.claims(c)
	}
	return s.signed(c)
}

// spoil puts the faults into the claims of an ID token.
func (s *Server) spoil(c map[string]any, now time.Time) {
	const late = 2 * time.Minute
	for fault, change := range map[Fault]func(){
		WrongNonce:    func() { c["nonce"] = rand.Text() },
		NoNonce:       func() { delete(c, "nonce") },
		WrongIss:      func() { c["iss"] = "https://another.example" },
		WrongAud:      func() { c["aud"] = "another-client" },
		SeveralAud:    func() { c["aud"] = []string{s.ClientID, "another-client"}; delete(c, "azp") },
		WrongAzp:      func() { c["azp"] = "another-client" },
		Expired:       func() { c["exp"] = now.Add(-late).Unix() },
		Early:         func() { c["iat"] = now.Add(late).Unix() },
		NotYet:        func() { c["nbf"] = now.Add(late).Unix() },
		NoExp:         func() { delete(c, "exp") },
		NoIat:         func() { delete(c, "iat") },
		NoSub:         func() { delete(c, "sub") },
		LongSub:       func() { c["sub"] = strings.Repeat("s", 256) },
		WrongTenant:   func() { c["tid"] = OtherTenant },
		NoTenant:      func() { delete(c, "tid") },
		BareGoogleIss: func() { c["iss"] = strings.TrimPrefix(s.http.URL, "http://") },
		NoEmailInID:   func() { delete(c, "email"); delete(c, "email_verified") },
	} {
		if s.has(fault) {
			change()
		}
	}
}

// signed signs an ID token, or does not.
func (s *Server) signed(c map[string]any) (string, error) {
	switch {
	case s.has(AlgNone):
		return unsecured(c, "")
	case s.has(AlgHS256):
		secret := s.ClientSecret
		if secret == "" {
			secret = s.ClientID // Apple's clients have none
		}
		return unsecured(c, secret)
	case s.has(UnknownKid):
		return s.signing.sign(c, "unknown", true)
	}
	token, err := s.signing.sign(c, s.signing.kid, s.has(ForeignKey))
	if err != nil {
		return "", err
	}
	parts := strings.Split(token, ".")
	switch {
	case s.has(JSONForm):
		text, err := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
		return string(text), err
	case s.has(Altered):
		c["sub"] = "another-user"
		payload, err := json.Marshal(c)
		return parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2], err
	}
	return token, nil
}

// describe adds the claims about the user for which scopes were granted (OpenID Connect Core, section 5.4).
func (s *Server) describe(c map[string]any, g *grant) {
	if g.has("email") && g.user.Email != "" {
		c["email"] = g.user.Email
		if g.user.State != Unstated {
			c["email_verified"] = g.user.State == Verified
		}
	}
	if (g.has("profile") || s.kind.isApple()) && g.user.Name != "" {
		c["name"] = g.user.Name
	}
}

// bearer returns the grant of a request's access token, or answers that there is none. The caller holds the lock.
func (s *Server) bearer(w http.ResponseWriter, r *http.Request) *grant {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g := s.tokens[token]
	if !ok || g == nil {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token", "message": "Bad credentials"})
		return nil
	}
	return g
}

// userInfo is the userinfo endpoint (OpenID Connect Core, section 5.3), or GitHub's /user.
func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.bearer(w, r)
	if g == nil {
		return
	}
	members := map[string]any{"sub": g.user.Subject}
	if s.kind.isGitHub() {
		members = gitHubUser(g.user)
	} else {
		s.describe(members, g)
	}
	if s.kind.isMicrosoft() {
		delete(members, "email_verified")
	}
	switch {
	case s.has(NullUser):
		answer(w, http.StatusOK, nil)
		return
	case s.has(OtherUserInfo):
		members["sub"] = "another-user"
	case s.has(NoUserID):
		delete(members, "id")
	}
	if s.edits.userInfo != nil {
		s.edits.userInfo(members)
	}
	answer(w, http.StatusOK, members)
}

// gitHubUser is GitHub's /user. Its email is the public one, which says nothing of the account.
func gitHubUser(u User) map[string]any {
	members := map[string]any{"login": u.Login, "type": "User", "email": nil, "name": nil}
	if u.Name != "" {
		members["name"] = u.Name
	}
	if id, err := strconv.ParseInt(u.Subject, 10, 64); err == nil {
		members["id"] = id
	}
	return members
}

// emails is GitHub's /user/emails. A second address, verified and not primary, precedes the user's.
func (s *Server) emails(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.bearer(w, r)
	if g == nil {
		return
	}
	if !g.has("user:email") {
		answer(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
		return
	}
	list := []map[string]any{{"email": SecondAddress, "primary": false, "verified": true, "visibility": nil}}
	if g.user.Email != "" {
		list = append(list, map[string]any{
			"email": g.user.Email, "primary": true, "verified": g.user.State == Verified, "visibility": "private",
		})
	}
	answer(w, http.StatusOK, list)
}

// SecondAddress is a verified address of each user of GitHub that is not the primary one.
const SecondAddress = "second@lovelace.example"
