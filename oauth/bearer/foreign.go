package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/oauth/catalog"
	"doorward/storage"
)

// trust is a trusted issuer at one resource, with what verifies its tokens.
type trust struct {
	catalog.TrustedIssuer
	algorithms []jose.SignatureAlgorithm
	remote     *remoteKeys // nil: HS256Secret
}

// newTrusts prepares the trusted issuers of every resource. Entries with the same address share one copy of its keys.
func (v *Verifier) newTrusts() map[string][]*trust {
	trusts, remotes := map[string][]*trust{}, map[string]*remoteKeys{}
	for _, r := range v.catalog.Resources() {
		for _, issuer := range r.TrustedIssuers {
			t := &trust{TrustedIssuer: issuer, algorithms: []jose.SignatureAlgorithm{jose.HS256}}
			if issuer.JWKSURL != "" {
				t.algorithms = nil
				for _, name := range issuer.Algorithms {
					t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(name))
				}
				t.remote = remotes[issuer.JWKSURL]
				if t.remote == nil {
					t.remote = &remoteKeys{url: issuer.JWKSURL, now: v.store.Now}
					remotes[issuer.JWKSURL] = t.remote
				}
			}
			trusts[r.ID] = append(trusts[r.ID], t)
		}
	}
	return trusts
}

// foreignClaims are the claims of a foreign JWT that are looked at (RFC 7519, section 4.1). What else it says about its
// subject's rights counts for nothing here.
type foreignClaims struct {
	Subject  string
	Audience audience // nil: left out
	ID       string
	ClientID any // of no meaning where it is not a string
	times
}

func (c *foreignClaims) read(payload []byte) error {
	return readClaims(payload, map[string]any{
		"sub": &c.Subject, "aud": &c.Audience, "jti": &c.ID, "client_id": &c.ClientID, "exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt,
	})
}

// audience is one or several (RFC 7519, section 4.1.3).
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if josejson.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	var several []string
	if err := josejson.Unmarshal(text, &several); err != nil {
		return err
	}
	*a = several
	return nil
}

// foreignTypes are what typ may be in a foreign JWT, in lower case. With another type it is for something else, such as
// logging out (RFC 8725, section 3.11).
var foreignTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// plain reports whether an issuer's name for a subject or token can be passed on: without characters that could end a
// line somewhere, and no longer than OpenID Connect Core section 2 has a sub.
func plain(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, unicode.IsControl)
}

// candidate is an entry of trusted_issuers that names the issuer of a JWT.
type candidate struct {
	*trust
	resource *catalog.Resource
	index    int // in the resource's list
}

// candidates are the entries for an issuer, at the named resources, or at all where none is named.
func (v *Verifier) candidates(issuer string, resources []string) []candidate {
	var found []candidate
	configured := v.catalog.Resources()
	for i := range configured {
		r := &configured[i]
		if len(resources) > 0 && !catalog.ContainsResource(resources, r.ID) {
			continue
		}
		for j, t := range v.trusts[r.ID] {
			if t.Issuer == issuer {
				found = append(found, candidate{t, r, j})
			}
		}
	}
	return found
}

// foreignPrincipal is whom a JWT of a trusted issuer speaks of, by the first entry that it satisfies as a whole: the key,
// the algorithm and the audience of one. The first is that of the first of the resources; all of them where none is named.
func (v *Verifier) foreignPrincipal(ctx context.Context, t *parsedJWT, resources []string) (Principal, error) {
	candidates := v.candidates(t.issuer, resources)
	if len(candidates) == 0 {
		where := "any resource"
		if len(resources) > 0 {
			where = strings.Join(resources, " or ")
		}
		return Principal{}, unknown("the issuer of the JWT is %s, which is neither this server nor among the trusted_issuers of %s", Quoted(t.issuer), where)
	}
	if !slices.Contains(foreignTypes, strings.ToLower(t.typ)) {
		return Principal{}, unknown("the typ of the JWT is %s, so it is for something else than access", Quoted(t.typ))
	}
	var c foreignClaims
	if err := c.read(t.payload); err != nil {
		return Principal{}, err
	}
	var whys []string
	var away error
	for _, x := range candidates {
		why, err := x.refuses(ctx, t, &c)
		switch {
		case err != nil && away == nil:
			away = err
		case err != nil:
		case why == "":
			return v.foreigner(x.resource, x.trust, &c)
		case len(candidates) > 1:
			whys = append(whys, fmt.Sprintf("trusted_issuers[%d] of %s: %s", x.index, x.resource.ID, why))
		default:
			whys = append(whys, why)
		}
	}
	if away != nil {
		return Principal{}, away
	}
	return Principal{}, unknown("%s", strings.Join(whys, "; "))
}

// foreigner judges the claims of a JWT whose signature is good.
func (v *Verifier) foreigner(r *catalog.Resource, issuer *trust, c *foreignClaims) (Principal, error) {
	now := v.store.Now()
	if err := c.check(now); err != nil {
		return Principal{}, err
	}
	if c.Subject == "" || !plain(c.Subject) || !plain(c.ID) {
		return Principal{}, unknown("sub or jti of the JWT is missing, longer than 255 bytes, or holds control characters")
	}
	p := Principal{
		Kind: KindForeignJWT, Subject: foreignSubject(issuer.Issuer, c.Subject), Audience: r.ID, ID: c.ID, IssuedAt: storage.Time(c.IssuedAt), ExpiresAt: storage.Time(c.ExpiresAt),
		ForeignIssuer: issuer.Issuer, ForeignSubject: c.Subject,
	}
	if c.over(now) {
		return p, ErrExpired
	}
	// The operator has listed the scopes for these people: one that is for people only counts.
	p.Scopes = r.Effective(issuer.Scopes, "", true)
	p.Plan, p.Limits = v.catalog.PlanOf(issuer.Plan, r.UserPlan)
	p.Counter = p.Subject + ":" + r.ID
	return p, nil
}

// foreignSubject names issuer and subject together, in letters and digits: neither alone says who it is.
func foreignSubject(issuer, subject string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d:%s%s", len(issuer), issuer, subject)
	return "foreign:" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum.Sum(nil)))
}

// refuses says what of an entry a JWT does not satisfy; empty where it satisfies all. An error says that the issuer's keys
// cannot be read, and is ErrIssuerKeys.
func (t *trust) refuses(ctx context.Context, token *parsedJWT, c *foreignClaims) (why string, err error) {
	if !slices.Contains(t.algorithms, token.algorithm) {
		return fmt.Sprintf("the alg of the JWT is %s, and the issuer signs with %s", Quoted(string(token.algorithm)), joined(t.algorithms)), nil
	}
	if why := t.refusesAudience(c); why != "" {
		return why, nil
	}
	if t.remote == nil {
		if !token.signedBy(t.HS256Secret) {
			return "the signature of the JWT is not by hs256_secret", nil
		}
		return "", nil
	}
	keys, why, err := t.remote.find(ctx, token.kid, token.algorithm)
	if err != nil || why != "" {
		return why, err
	}
	if !slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return token.signedBy(k.Key) }) {
		return "the signature of the JWT is not by the key that its kid names at " + t.JWKSURL, nil
	}
	return "", nil
}

// refusesAudience says why a JWT is not for the audiences and clients of an entry; empty where it is. Without audiences the
// token must have no aud: one that it has names another audience (RFC 7519, section 4.1.3).
func (t *trust) refusesAudience(c *foreignClaims) string {
	switch {
	case len(t.Audiences) == 0 && c.Audience != nil:
		return fmt.Sprintf("the JWT has the aud %s, and the entry has no audience; write it there", Quoted(strings.Join(c.Audience, " ")))
	case len(t.Audiences) > 0 && c.Audience == nil:
		return "the JWT has no aud; where the issuer's access tokens have none, write client_ids and leave out audience"
	case len(t.Audiences) > 0 && !slices.ContainsFunc(t.Audiences, func(a string) bool { return slices.Contains(c.Audience, a) }):
		return fmt.Sprintf("the aud of the JWT is %s, which is not among %s", Quoted(strings.Join(c.Audience, " ")), joined(t.Audiences))
	}
	if len(t.ClientIDs) == 0 {
		return ""
	}
	id, ok := c.ClientID.(string)
	switch {
	case !ok:
		return "the JWT has no client_id, and the entry has client_ids"
	case !slices.Contains(t.ClientIDs, id):
		return fmt.Sprintf("the client_id of the JWT is %s, which is not among client_ids", Quoted(id))
	}
	return ""
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = string(x)
	}
	return strings.Join(words, ", ")
}

// ErrIssuerKeys says that the published keys of a trusted issuer cannot be read, so that nothing can be said about its
// tokens. It is storage.ErrUnavailable too: no caller takes it for a "no".
var ErrIssuerKeys = errors.New("the keys of a trusted issuer cannot be read")

// IssuerKeysUnavailable is what a caller is told about ErrIssuerKeys; the address and the cause are for the log.
const IssuerKeysUnavailable = "The keys of the token's issuer cannot be read right now; try again shortly."

// issuerKeysError is ErrIssuerKeys with the address and what is wrong there.
type issuerKeysError struct {
	url   string
	cause error
}

func (e *issuerKeysError) Error() string {
	return ErrIssuerKeys.Error() + ": " + e.url + ": " + e.cause.Error()
}

func (e *issuerKeysError) Unwrap() error { return e.cause }

func (e *issuerKeysError) Is(target error) bool {
	return target == ErrIssuerKeys || target == storage.ErrUnavailable // what errors.Is asks for
}

// How keys of others are fetched and kept.
const (
	remoteTimeout  = 3 * time.Second
	maxRemoteBytes = 64 << 10
	maxRemoteKeys  = 64
	remoteAge      = 10 * time.Minute // after which they serve only where they cannot be fetched again
	remoteEarly    = 9 * time.Minute  // after which they are fetched again while they serve
	remoteStale    = 24 * time.Hour   // after which those that could not be fetched again no longer count
	remoteUnknown  = time.Minute      // between two fetches because of a kid that is unknown
	// IssuerKeysRetry is between two tries when one failed, and what a caller waits before asking again.
	IssuerKeysRetry = 5 * time.Second
)

// remoteClient fetches the keys of others, from the addresses in the configuration and nowhere else.
var remoteClient = &http.Client{
	Timeout:       remoteTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: remoteTimeout,
		MaxResponseHeaderBytes: maxRemoteBytes, ForceAttemptHTTP2: true,
	},
}

// remoteKeys is a copy of the keys that an issuer publishes. What a token says decides at most that the configured
// address is asked again, once a minute.
type remoteKeys struct {
	url string
	now func() storage.Time

	mu        sync.Mutex
	keys      []jose.JSONWebKey // nil: never fetched
	skipped   []string          // why other keys of the set are not used
	fetchedAt storage.Time      // when keys were
	triedAt   storage.Time      // the last time, with success or without; zero: never
	fault     error             // of the last try
	fetching  chan struct{}     // closed at its end; nil: no fetch is under way
}

// find gives the keys that a token may be signed with, or says why there are none. Once the issuer did not answer, what there
// is serves without waiting for the next try. An error is ErrIssuerKeys: whether the key is known cannot be said.
func (k *remoteKeys) find(ctx context.Context, kid string, algorithm jose.SignatureAlgorithm) (keys []jose.JSONWebKey, why string, err error) {
	for range 2 {
		k.mu.Lock()
		now := k.now()
		have := k.keys != nil && now.Sub(k.fetchedAt).Abs() < remoteStale
		var found []jose.JSONWebKey
		if have {
			found, why = k.fitting(kid, algorithm)
		}
		if k.fetching == nil && k.due(now, len(found) > 0) {
			k.fetching = make(chan struct{})
			go k.fetch(k.fetching) //nolint:contextcheck // others wait for it too, so it does not end with this request
		}
		fetching, fault := k.fetching, k.fault
		old := now.Sub(k.fetchedAt).Abs() >= remoteAge
		k.mu.Unlock()
		switch {
		case len(found) > 0 && (!old || fault != nil || fetching == nil):
			return found, "", nil
		case fetching == nil && have && fault == nil:
			return nil, why, nil // the issuer has no such key
		case fetching == nil:
			return nil, "", &issuerKeysError{k.url, fault}
		}
		select {
		case <-fetching:
		case <-ctx.Done():
			return nil, "", &issuerKeysError{k.url, ctx.Err()}
		}
	}
	return nil, "", &issuerKeysError{k.url, errors.New("they are being fetched again and again")}
}

// due reports whether it is time to fetch.
func (k *remoteKeys) due(now storage.Time, found bool) bool {
	if k.triedAt.IsZero() {
		return true
	}
	since := now.Sub(k.triedAt).Abs()
	switch {
	case k.fault != nil:
		return since >= IssuerKeysRetry
	case !found:
		return since >= remoteUnknown
	}
	return since >= remoteEarly
}

// fetch asks for the keys, and lets those who wait go on.
func (k *remoteKeys) fetch(done chan struct{}) {
	keys, skipped, err := fetchKeys(k.url)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.triedAt, k.fault, k.fetching = k.now(), err, nil
	if err == nil {
		k.keys, k.skipped, k.fetchedAt = keys, skipped, k.triedAt
	}
	close(done)
}

func fetchKeys(url string) (keys []jose.JSONWebKey, skipped []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := remoteClient.Do(q)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the answer is %s", resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRemoteBytes+1))
	if err == nil && len(text) > maxRemoteBytes {
		err = fmt.Errorf("the answer has more than %d bytes", maxRemoteBytes)
	}
	if err != nil {
		return nil, nil, err
	}
	return parseKeys(text)
}

// parseKeys reads a JWK set (RFC 7517, section 5). Keys that are not public ones for signatures, that say that they are for
// something else, or that are of a kind that is unknown or too weak, are left out, and skipped says why. A member that is
// not understood never makes a key good for more.
func parseKeys(text []byte) (keys []jose.JSONWebKey, skipped []string, err error) {
	var set struct {
		Keys []josejson.RawMessage `json:"keys"`
	}
	if err := josejson.Unmarshal(text, &set); err != nil {
		return nil, nil, errors.New("the answer is not a JWK set, a JSON object with each name once and a list of keys")
	}
	if set.Keys == nil {
		return nil, nil, errors.New("the answer is not a JWK set: it has no list of keys")
	}
	if len(set.Keys) > maxRemoteKeys {
		return nil, nil, fmt.Errorf("the JWK set has %d keys, more than the %d that are accepted", len(set.Keys), maxRemoteKeys)
	}
	keys = []jose.JSONWebKey{}
	for i, raw := range set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("keys[%d] %v", i, err))
			continue
		}
		keys = append(keys, k)
	}
	return keys, skipped, nil
}

// parseKey reads one key; the error says why it is not one for signatures.
func parseKey(raw []byte) (k jose.JSONWebKey, err error) {
	var members map[string]any
	if josejson.Unmarshal(raw, &members) != nil || members == nil {
		return k, errors.New("is not a JSON object with each name once")
	}
	for _, name := range []string{"use", "alg", "kid"} {
		if value, ok := members[name]; ok {
			if text, ok := value.(string); !ok || text == "" {
				return k, fmt.Errorf("has a %s that is not a string, or is empty", name)
			}
		}
	}
	if use, ok := members["use"]; ok && use != "sig" {
		return k, fmt.Errorf("is for the use %s, not for signatures", Quoted(use.(string)))
	}
	if value, ok := members["key_ops"]; ok { // RFC 7517, section 4.3
		if list, ok := value.([]any); !ok || !slices.Contains(list, any("verify")) {
			return k, errors.New("has key_ops without verify")
		}
	}
	if err := k.UnmarshalJSON(raw); err != nil {
		return k, errors.New("cannot be read as a key of a known kind")
	}
	if !k.Valid() || !k.IsPublic() {
		return k, errors.New("is not a public key")
	}
	return k, strong(k.Key)
}

// Bounds on RSA keys: below, RFC 7518, section 3.3 forbids them; above, verifying takes too long. The least exponent is that
// of FIPS 186-5 section 5.1.
const (
	minRSABits, maxRSABits = 2048, 8192
	minRSAExponent         = 1<<16 + 1
)

// strong says why a public key is not accepted, though it is well formed.
func strong(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSABits:
			return fmt.Errorf("is an RSA key of %d bits; at least %d are needed (RFC 7518 section 3.3)", bits, minRSABits)
		case bits > maxRSABits:
			return fmt.Errorf("is an RSA key of %d bits; at most %d are accepted", bits, maxRSABits)
		case k.E < minRSAExponent || k.E%2 == 0 || k.N.Bit(0) == 0:
			return errors.New("is an RSA key with an exponent below 65537, or an even exponent or modulus")
		}
		return nil
	case *ecdsa.PublicKey:
		return nil // of P-256, P-384 or P-521, and on it: go-jose reads no other
	case ed25519.PublicKey:
		if slices.Contains(smallOrder, hex.EncodeToString(append(slices.Clone(k[:31]), k[31]&0x7f))) {
			return errors.New("is an Ed25519 key of small order, for which anybody can sign")
		}
		return nil
	}
	return errors.New("is not a key for signatures of a known kind")
}

// smallOrder are the points of Ed25519 whose order divides 8, without their sign, in hexadecimal; two are not canonical.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// fitting are the keys with a kid that can be for an algorithm, or why there are none. Without a kid it must be plain which
// one is meant.
func (k *remoteKeys) fitting(kid string, algorithm jose.SignatureAlgorithm) (found []jose.JSONWebKey, why string) {
	for _, key := range k.keys {
		if (kid == "" || key.KeyID == kid) && (key.Algorithm == "" || key.Algorithm == string(algorithm)) && signs(key.Key, algorithm) {
			found = append(found, key)
		}
	}
	switch {
	case kid == "" && len(found) > 1:
		return nil, fmt.Sprintf("the JWT names no kid, and %s has %d keys for %s", k.url, len(found), algorithm)
	case len(found) > 0:
		return found, ""
	}
	why = fmt.Sprintf("%s has no key for %s", k.url, algorithm)
	if kid != "" {
		why += " with the kid " + Quoted(kid)
	}
	if len(k.skipped) > 0 {
		why += "; not used there: " + strings.Join(k.skipped[:min(len(k.skipped), 3)], ", ")
	}
	return nil, why
}

// signs reports whether a key is of the kind that an algorithm needs (RFC 7518, section 3.1, RFC 8037, section 3.1).
func signs(key any, algorithm jose.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[k.Curve.Params().BitSize] == algorithm
	case *rsa.PublicKey:
		return strings.HasPrefix(string(algorithm), "RS") || strings.HasPrefix(string(algorithm), "PS")
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA
	}
	return false
}
