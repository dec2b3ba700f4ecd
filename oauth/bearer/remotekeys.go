package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/storage"
)

// ErrIssuerKeys means that the published keys of a trusted issuer cannot be read, so that its tokens can be neither
// accepted nor refused. It is storage.ErrUnavailable too, so that no caller takes it for a refusal.
var ErrIssuerKeys = errors.New("the keys of a trusted issuer cannot be read")

// IssuerKeysUnavailable is the answer to a caller for ErrIssuerKeys; the URL and the cause are for the log.
const IssuerKeysUnavailable = "The keys of the token's issuer cannot be read right now; try again shortly."

// issuerKeysError is ErrIssuerKeys with the URL and the cause.
type issuerKeysError struct {
	url   string
	cause error
}

func (e *issuerKeysError) Error() string {
	return ErrIssuerKeys.Error() + ": " + e.url + ": " + e.cause.Error()
}

func (e *issuerKeysError) Unwrap() error { return e.cause }

func (e *issuerKeysError) Is(target error) bool {
	return target == ErrIssuerKeys || target == storage.ErrUnavailable // for errors.Is
}

// How the keys of trusted issuers are fetched and cached.
const (
	remoteTimeout  = 3 * time.Second
	maxRemoteBytes = 64 << 10
	maxRemoteKeys  = 64
	remoteAge      = 10 * time.Minute // keys older than this are used only if they cannot be fetched again
	remoteEarly    = 9 * time.Minute  // keys older than this are fetched again in the background
	remoteStale    = 24 * time.Hour   // keys older than this are never used
	remoteUnknown  = time.Minute      // between two fetches for an unknown kid
	// IssuerKeysRetry is the wait after a failed fetch, and the Retry-After for callers.
	IssuerKeysRetry = 5 * time.Second
)

// remoteClient fetches the keys of trusted issuers, only from the URLs in the configuration.
var remoteClient = &http.Client{
	Timeout:       remoteTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: remoteTimeout, MaxResponseHeaderBytes: maxRemoteBytes, ForceAttemptHTTP2: true,
	},
}

// remoteKeys is a cached copy of the keys that an issuer publishes. A token can cause at most one fetch a minute, and
// only from the configured URL.
type remoteKeys struct {
	url string
	now func() storage.Time

	mu        sync.Mutex
	keys      []jose.JSONWebKey // nil: never fetched
	skipped   []string          // why other keys of the set are not used
	fetchedAt storage.Time      // when keys were fetched
	triedAt   storage.Time      // of the last try, successful or not; zero: never
	fault     error             // of the last try
	fetching  chan struct{}     // closed when the fetch ends; nil: none is running
}

// find returns the keys that a token may be signed with, or why there are none. After a failed fetch it uses the cached
// keys without waiting for the next try. An error is ErrIssuerKeys: it is unknown whether the issuer has the key.
func (k *remoteKeys) find(
	ctx context.Context, kid string, algorithm jose.SignatureAlgorithm,
) (keys []jose.JSONWebKey, why string, err error) {
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
			go k.fetch(k.fetching) //nolint:contextcheck // other requests wait for it too, so it must not end with this one
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
	return nil, "", &issuerKeysError{k.url, errors.New("a new fetch started each time one ended")}
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

// fetch fetches the keys, and then closes done.
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
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the status is %s", resp.Status)
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

// parseKeys reads a JWK set (RFC 7517, section 5). It leaves out keys that are not public, not for signatures, of an
// unknown type or too weak; skipped says why. An unknown member never extends what a key may be used for.
func parseKeys(text []byte) (keys []jose.JSONWebKey, skipped []string, err error) {
	var set struct {
		Keys []josejson.RawMessage `json:"keys"`
	}
	if err := josejson.Unmarshal(text, &set); err != nil {
		return nil, nil, errors.New(
			"the answer is not a JWK set: a JSON object without duplicate names and with a list of keys",
		)
	}
	if set.Keys == nil {
		return nil, nil, errors.New("the answer is not a JWK set: it has no list of keys")
	}
	if len(set.Keys) > maxRemoteKeys {
		return nil, nil, fmt.Errorf(
			"the JWK set has %d keys, more than the %d that are accepted", len(set.Keys), maxRemoteKeys,
		)
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

// parseKey reads one key; the error says why it cannot verify signatures.
func parseKey(raw []byte) (k jose.JSONWebKey, err error) {
	var members map[string]any
	if josejson.Unmarshal(raw, &members) != nil || members == nil {
		return k, errors.New("is not a JSON object, or has duplicate names")
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
	return k, checkStrength(k.Key)
}

// Bounds on RSA keys: RFC 7518, section 3.3 forbids smaller ones, and verifying with larger ones takes too long. The
// minimum exponent is that of FIPS 186-5, section 5.1.
const (
	minRSABits, maxRSABits = 2048, 8192
	minRSAExponent         = 1<<16 + 1
)

// checkStrength returns why a well-formed public key is not accepted, or nil.
func checkStrength(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSABits:
			return fmt.Errorf(
				"is an RSA key of %d bits; at least %d are needed (RFC 7518, section 3.3)", bits, minRSABits,
			)
		case bits > maxRSABits:
			return fmt.Errorf("is an RSA key of %d bits; at most %d are accepted", bits, maxRSABits)
		case k.E < minRSAExponent || k.E%2 == 0 || k.N.Bit(0) == 0:
			return errors.New("is an RSA key with an exponent below 65537, or an even exponent or modulus")
		}
		return nil
	case *ecdsa.PublicKey:
		return nil // go-jose reads only points on P-256, P-384 and P-521
	case ed25519.PublicKey:
		if slices.Contains(smallOrder, hex.EncodeToString(append(slices.Clone(k[:31]), k[31]&0x7f))) {
			return errors.New("is an Ed25519 key of small order, whose signatures can be forged")
		}
		return nil
	}
	return errors.New("is not a key for signatures of a known kind")
}

// smallOrder lists the points of Ed25519 whose order divides 8, without their sign, in hexadecimal; two encodings are
// not canonical.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// fitting returns the keys with this kid that can verify the algorithm, or why there are none. Without a kid, there
// must be exactly one candidate.
func (k *remoteKeys) fitting(kid string, algorithm jose.SignatureAlgorithm) (found []jose.JSONWebKey, why string) {
	for _, key := range k.keys {
		if (kid == "" || key.KeyID == kid) && (key.Algorithm == "" || key.Algorithm == string(algorithm)) &&
			fitsAlgorithm(key.Key, algorithm) {
			found = append(found, key)
		}
	}
	switch {
	case kid == "" && len(found) > 1:
		return nil, fmt.Sprintf("the JWT has no kid, and %s has %d keys for %s", k.url, len(found), algorithm)
	case len(found) > 0:
		return found, ""
	}
	why = fmt.Sprintf("%s has no key for %s", k.url, algorithm)
	if kid != "" {
		why += " with the kid " + Quoted(kid)
	}
	if len(k.skipped) > 0 {
		why += "; these keys were skipped: " + strings.Join(k.skipped[:min(len(k.skipped), 3)], ", ")
	}
	return nil, why
}

// fitsAlgorithm reports whether a key has the type that an algorithm needs (RFC 7518, section 3.1; RFC 8037, section
// 3.1).
func fitsAlgorithm(key any, algorithm jose.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		bySize := map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}
		return bySize[k.Curve.Params().BitSize] == algorithm
	case *rsa.PublicKey:
		return strings.HasPrefix(string(algorithm), "RS") || strings.HasPrefix(string(algorithm), "PS")
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA
	}
	return false
}
