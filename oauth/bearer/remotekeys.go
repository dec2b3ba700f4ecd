package bearer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/jwt"
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

// RemoteKeysConfig says where keys are and how they are fetched. Every field but Spare is required.
type RemoteKeysConfig struct {
	URL string
	Now func() storage.Time
	// Fetch returns the body of the answer, within remoteTimeout and maxRemoteBytes.
	Fetch func(ctx context.Context, url string) ([]byte, error)
	// Unknown is the time between two fetches for keys that the cached copy does not have. Spare fetches may come sooner;
	// one more is earned each time that Unknown passes.
	Unknown time.Duration
	Spare   int
}

// RemoteKeys is a cached copy of the keys that another party publishes. Tokens can cause only as many fetches as its
// configuration allows, and only from the configured URL. Its methods are safe for concurrent use.
type RemoteKeys struct {
	RemoteKeysConfig

	name      string // of the set, for messages: the URL without what may be secret
	mu        sync.Mutex
	spare     int
	keys      []jose.JSONWebKey // nil: never fetched
	skipped   []string          // why other keys of the set are not used
	fetchedAt storage.Time      // when keys were fetched
	triedAt   storage.Time      // of the last try, successful or not; zero: never
	fault     error             // of the last try
	fetching  chan struct{}     // closed when the fetch ends; nil: none is running
}

// NewRemoteKeys returns a RemoteKeys that has fetched nothing yet.
func NewRemoteKeys(c RemoteKeysConfig) *RemoteKeys {
	return &RemoteKeys{RemoteKeysConfig: c, name: RedactedURI(c.URL), spare: c.Spare}
}

// Find returns the keys that a token may be signed with, or why there are none. After a failed fetch it uses the cached
// keys without waiting for the next try. An error is ErrIssuerKeys: it is unknown whether the other party has the key.
//
// verifies, if it is not nil, says whether a key has signed the token. If none of the cached ones has, the other party
// may have replaced a key under the same kid, so they are fetched as for an unknown kid.
func (k *RemoteKeys) Find(
	ctx context.Context, kid string, algorithm jose.SignatureAlgorithm, verifies func(jose.JSONWebKey) bool,
) (keys []jose.JSONWebKey, why string, err error) {
	started := false
	for range 4 { // a fetch that was running may have begun too early, so that another one is needed
		k.mu.Lock()
		now := k.Now()
		have := k.keys != nil && now.Sub(k.fetchedAt).Abs() < remoteStale
		var found []jose.JSONWebKey
		if have {
			found, why = FittingKeys(k.name, k.keys, k.skipped, kid, algorithm)
			if len(found) > 0 && verifies != nil {
				found = slices.DeleteFunc(found, func(key jose.JSONWebKey) bool { return !verifies(key) })
				why = "the signature is by none of the keys of " + k.name + " that the JWT can be signed with"
			}
		}
		if k.fetching == nil && !started && k.due(now, len(found) > 0) {
			k.fetching, started = make(chan struct{}), true
			//nolint:contextcheck,gosec // other requests wait for it too, so it must not end with this one
			go k.fetch(k.fetching)
		}
		fetching, fault := k.fetching, k.fault
		old := now.Sub(k.fetchedAt).Abs() >= remoteAge
		k.mu.Unlock()
		switch {
		case len(found) > 0 && (!old || fault != nil || fetching == nil):
			return found, "", nil
		case fetching == nil && have && fault == nil:
			return nil, why, nil // the other party has no such key
		case fetching == nil:
			return nil, "", &issuerKeysError{k.name, fault}
		}
		select {
		case <-fetching:
		case <-ctx.Done():
			return nil, "", &issuerKeysError{k.name, ctx.Err()}
		}
	}
	return nil, "", &issuerKeysError{k.name, errors.New("a new fetch started each time one ended")}
}

// due reports whether it is time to fetch.
func (k *RemoteKeys) due(now storage.Time, found bool) bool {
	if k.triedAt.IsZero() {
		return true
	}
	since := now.Sub(k.triedAt).Abs()
	switch {
	case k.fault != nil:
		return since >= IssuerKeysRetry
	case found:
		return since >= remoteEarly
	case since >= k.Unknown:
		k.spare = min(k.spare+int(since/k.Unknown), k.Spare)
		return true
	case k.spare > 0:
		k.spare--
		return true
	}
	return false
}

// fetch fetches the keys, and then closes done.
func (k *RemoteKeys) fetch(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteTimeout)
	defer cancel()
	text, err := k.Fetch(ctx, k.URL)
	var keys []jose.JSONWebKey
	var skipped []string
	if err == nil {
		keys, skipped, err = jwt.ParseKeys(text)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.triedAt, k.fault, k.fetching = k.Now(), err, nil
	if err == nil {
		k.keys, k.skipped, k.fetchedAt = keys, skipped, k.triedAt
	}
	close(done)
}

// fetchTrusted fetches the keys of a trusted issuer.
func fetchTrusted(ctx context.Context, url string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := remoteClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the status is %s", resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRemoteBytes+1))
	if err == nil && len(text) > maxRemoteBytes {
		err = fmt.Errorf("the answer has more than %d bytes", maxRemoteBytes)
	}
	return text, err
}

// FittingKeys chooses from keys those with this kid that can verify the algorithm, or says why there are none. Without
// a kid, there must be exactly one candidate. where names the keys, and skipped says why others of them are not used.
func FittingKeys(
	where string, keys []jose.JSONWebKey, skipped []string, kid string, algorithm jose.SignatureAlgorithm,
) (found []jose.JSONWebKey, why string) {
	for _, key := range keys {
		if (kid == "" || key.KeyID == kid) && (key.Algorithm == "" || key.Algorithm == string(algorithm)) &&
			jwt.Fits(key.Key, algorithm) {
			found = append(found, key)
		}
	}
	switch {
	case kid == "" && len(found) > 1:
		return nil, fmt.Sprintf("the JWT has no kid, and %s has %d keys for %s", where, len(found), algorithm)
	case len(found) > 0:
		return found, ""
	}
	why = fmt.Sprintf("%s has no key for %s", where, algorithm)
	if kid != "" {
		why += " with the kid " + Quoted(kid)
	}
	if len(skipped) > 0 {
		why += "; these keys were skipped: " + strings.Join(skipped[:min(len(skipped), 3)], ", ")
	}
	return nil, why
}
