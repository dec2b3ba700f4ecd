package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// keysPerMinute is how often a provider's keys are read again in a minute. The library does so for each ID token whose
// key it does not know, or whose signature is wrong.
const keysPerMinute = 5

// keySet returns the keys at a jwks_uri, which are kept for as long as the provider has that address.
func (p *Provider) keySet(ctx context.Context, address string) *oidc.RemoteKeySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys, ok := p.keySets[address]
	if !ok {
		client := *p.client
		client.Transport = &keysTransport{next: p.client.Transport, now: p.now}
		// The library takes the client from this context, and ignores its end.
		keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), &client), address)
		clear(p.keySets)
		p.keySets[address] = keys
	}
	return keys
}

// keysTransport reads a key set at most keysPerMinute times a minute, and answers with its last copy in between.
type keysTransport struct {
	next http.RoundTripper
	now  func() time.Time

	mu     sync.Mutex
	minute time.Time // its beginning
	reads  int       // in this minute
	copied []byte    // of the last success; nil: none
}

// RoundTrip implements http.RoundTripper. Unlike guard, it returns an error for each status other than 200, since the
// library would put the whole body into its own.
func (k *keysTransport) RoundTrip(q *http.Request) (*http.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock() // during the request too: the library sends one at a time
	if now := k.now(); now.Sub(k.minute).Abs() >= time.Minute {
		k.minute, k.reads = now, 0
	}
	if k.reads++; k.reads > keysPerMinute {
		if k.copied == nil {
			return nil, unavailableError("its keys could not be read %d times; wait a minute", keysPerMinute)
		}
		return answerWith(q, k.copied), nil
	}
	resp, err := k.next.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK {
		return nil, unavailableError("it answered with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil || set.Keys == nil {
		return nil, unavailableError("its answer is not a JWK set (RFC 7517, section 5)")
	}
	k.copied = body
	return answerWith(q, body), nil
}

func answerWith(q *http.Request, body []byte) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: q,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), ProtoMajor: 1, ProtoMinor: 1,
	}
}

// verification keeps the error of a key set, which the library's Verify does not wrap.
type verification struct {
	keys oidc.KeySet
	err  error
}

// VerifySignature implements oidc.KeySet.
func (v *verification) VerifySignature(ctx context.Context, jwt string) (payload []byte, err error) {
	payload, err = v.keys.VerifySignature(ctx, jwt)
	v.err = err
	return payload, err
}
