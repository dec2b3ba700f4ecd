package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// How long a user waits for a provider, and how much of an answer is read.
const (
	beginTimeout     = 3 * time.Second
	finishTimeout    = 6 * time.Second
	discoveryTimeout = 2 * time.Second // less than beginTimeout, so that an older document can still be used
	maxBody          = 1 << 20
)

// guarded returns a client with the rules for answers of providers. base may be nil.
func guarded(base *http.Client) *http.Client {
	c := &http.Client{Timeout: finishTimeout}
	var transport http.RoundTripper
	if base != nil {
		transport = base.Transport
		if base.Timeout > 0 {
			c.Timeout = min(c.Timeout, base.Timeout)
		}
	}
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 16, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: beginTimeout, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		}
	}
	c.Transport = guard{transport}
	return c
}

// guard turns answers that no protocol foresees into ErrUnavailable, for the libraries' requests as for our own: a
// redirect (which the client then cannot follow), a status of 5xx or 429, a body over maxBody, and a success that is
// not JSON.
type guard struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Header.Get("Accept") == "" {
		q = q.Clone(q.Context())
		q.Header.Set("Accept", "application/json") // without it, GitHub answers with a form
	}
	resp, err := g.next.RoundTrip(q)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	body, err := readBody(resp)
	if err != nil {
		return nil, err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// readBody reads and closes the body of an answer, or says why the answer cannot be used.
func readBody(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close() //nolint:errcheck // only read
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return nil, unavailableError("it answered with a redirect, which is not followed")
	case status >= 500 || status == http.StatusTooManyRequests:
		return nil, unavailableError("it answered with status %d", status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: read the answer: %w", ErrUnavailable, err)
	case len(body) > maxBody:
		return nil, unavailableError("its answer has more than %d bytes", maxBody)
	case resp.StatusCode < 300 && !json.Valid(body):
		return nil, unavailableError("its answer is not JSON")
	}
	return body, nil
}

// isUnavailable reports whether a request failed, rather than that its answer was refused. A timeout of http.Client
// hides the error of guard, but is still a context.DeadlineExceeded.
func isUnavailable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded)
}

// asUnavailable returns the error of a request as ErrUnavailable.
func asUnavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// get sends a GET request, with an access token unless bearer is empty (RFC 6750, section 2.1). The error is always
// ErrUnavailable.
func (p *Provider) get(ctx context.Context, address, bearer string) (status int, body []byte, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return 0, nil, asUnavailable(err)
	}
	if bearer != "" {
		q.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.client.Do(q)
	if err != nil {
		return 0, nil, asUnavailable(err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, asUnavailable(err)
	}
	return resp.StatusCode, body, nil
}

// ask reads a JSON value about the user with an access token. Errors are ErrUnavailable and ErrAnswer.
func (p *Provider) ask(ctx context.Context, address, bearer string, into any) error {
	status, body, err := p.get(ctx, address, bearer)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return answerError("%s answered with status %d", address, status)
	case json.Unmarshal(body, into) != nil:
		return answerError("%s answered with JSON of another form", address)
	}
	return nil
}
