package resource

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
)

// question is what a kept answer is found by: a digest of the token and the workspace, so that no memory holds tokens
// for longer than their request.
type question [sha256.Size]byte

func questionOf(token, workspace string) question {
	return sha256.Sum256([]byte(token + "\x00" + workspace)) // neither holds NUL
}

// slug is what the name of a workspace may look like. Others belong to none, and are not sent.
var slug = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// askIn asks about a token in a workspace; below zero, cost is not sent. Where the answer is no, it finds out whether
// that is because of the workspace: a caller who is told that the token is worth nothing would throw it away.
func (v *Verifier) askIn(r *http.Request, token, workspace string, cost int) (a answer, err error) {
	if len(workspace) <= maxWorkspaceSlug && (workspace == "" || slug.MatchString(workspace)) {
		a, err = v.ask(r.Context(), token, workspace, cost)
		if workspace == "" || !errors.Is(err, errInvalidToken) {
			return a, err
		}
	}
	if _, err = v.ask(r.Context(), token, "", -1); err == nil {
		err = errWorkspace
	}
	return answer{}, err
}

// ask asks about a token, or takes a kept answer.
func (v *Verifier) ask(ctx context.Context, token, workspace string, cost int) (answer, error) {
	if v.cache == nil || cost >= 0 {
		return v.introspect(ctx, token, workspace, cost)
	}
	key := questionOf(token, workspace)
	if a, ok := v.cache.GetIfPresent(key); ok && !v.config.Now().Before(a.until) {
		v.cache.Invalidate(key)
	}
	// Equal questions wait for one answer. That is not done without a cache: a question that was sent before a token
	// was revoked must not answer one that came after.
	return v.cache.Get(
		ctx,
		key,
		otter.LoaderFunc[question, answer](func(ctx context.Context, _ question) (answer, error) {
			sent := v.config.Now()
			a, err := v.introspect(context.WithoutCancel(ctx), token, workspace, cost) // others may wait for it
			a.until = sent.Add(v.config.CacheFor)
			if end := a.claims.ExpiresAt; !end.IsZero() && end.Before(a.until) {
				a.until = end
			}
			return a, err
		}),
	)
}

// introspect is the request of RFC 7662, section 2.1.
func (v *Verifier) introspect(ctx context.Context, token, workspace string, cost int) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	endpoint := v.config.IntrospectionURL
	if endpoint == "" {
		m, err := v.metadata(ctx)
		if err != nil {
			return answer{}, err
		}
		endpoint = m.IntrospectionEndpoint
	}
	form := url.Values{"token": {token}}
	if workspace != "" {
		form.Set("workspace", workspace)
	}
	if cost >= 0 {
		form.Set("cost", strconv.Itoa(cost))
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, misused(fmt.Errorf("introspect: %w", err))
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Accept", "application/json")
	if v.config.Key != "" {
		q.Header.Set("Authorization", "Bearer "+v.config.Key)
	} else {
		q.SetBasicAuth(
			url.QueryEscape(v.config.ClientID), url.QueryEscape(v.config.ClientSecret),
		) // RFC 6749, section 2.3.1
	}
	var m members
	if err := v.fetch(q, &m); err != nil {
		return answer{}, err
	}
	if !m.Active || !same(string(m.Audience), v.config.Resource) {
		return answer{}, errInvalidToken
	}
	return answer{claims: m.claims(), limit: m.RateLimit, addresses: m.Addresses}, nil
}

// maxAnswer bounds what is read of an answer of the server, in bytes.
const maxAnswer = 1 << 20

// fetch sends a request to the authorization server and decodes the JSON of its answer into into. Its errors are
// refusals.
func (v *Verifier) fetch(q *http.Request, into any) error {
	what := q.Method + " " + q.URL.String()
	resp, err := v.client.Do(q)
	if err != nil {
		return unavailable(err, 0) // it names method and URL
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return unavailable(fmt.Errorf("%s: %w", what, err), 0)
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		wait, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return unavailable(fmt.Errorf("%s: status %d", what, resp.StatusCode), time.Duration(wait)*time.Second)
	case resp.StatusCode != http.StatusOK:
		return misused(fmt.Errorf("%s: status %d; check the URL and the API's own credentials", what, resp.StatusCode))
	case len(body) > maxAnswer:
		return unavailable(fmt.Errorf("%s: the answer is larger than 1 MiB", what), 0)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return unavailable(fmt.Errorf("%s: the answer is not what it should be: %w", what, err), 0)
	}
	return nil
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}
