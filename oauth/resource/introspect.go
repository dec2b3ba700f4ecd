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

// question is the key of a cached answer: a digest of the token and the workspace, so that tokens stay in memory only
// during their request.
type question [sha256.Size]byte

func questionOf(token, workspace string) question {
	return sha256.Sum256([]byte(token + "\x00" + workspace)) // neither contains NUL
}

// slug matches the names that workspaces may have. Others are not sent to the server.
var slug = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// askIn introspects a token in a workspace; a cost below zero is not sent. If the token is not active, askIn finds out
// whether that is because of the workspace: a client that is told that its token is invalid would discard it. With
// errWorkspace, the answer is about the token in no workspace.
func (v *Verifier) askIn(r *http.Request, token, workspace string, cost int) (a answer, err error) {
	if len(workspace) <= maxWorkspaceSlug && (workspace == "" || slug.MatchString(workspace)) {
		a, err = v.ask(r.Context(), token, workspace, cost)
		if workspace == "" || !errors.Is(err, errInvalidToken) {
			return a, err
		}
	}
	if a, err = v.ask(r.Context(), token, "", -1); err == nil {
		err = errWorkspace
	}
	return a, err
}

// ask introspects a token, or returns a cached answer.
func (v *Verifier) ask(ctx context.Context, token, workspace string, cost int) (answer, error) {
	if v.cache == nil || cost >= 0 {
		return v.introspect(ctx, token, workspace, cost)
	}
	key := questionOf(token, workspace)
	if a, ok := v.cache.GetIfPresent(key); ok && !v.config.Now().Before(a.until) {
		v.cache.Invalidate(key)
	}
	// Equal questions share one answer. Without a cache they do not: an answer to a question from before a revocation must
	// not serve one from after it.
	return v.cache.Get(
		ctx,
		key,
		otter.LoaderFunc[question, answer](func(ctx context.Context, _ question) (answer, error) {
			sent := v.config.Now()
			a, err := v.introspect(context.WithoutCancel(ctx), token, workspace, cost) // other requests may wait for it
			a.until = sent.Add(v.config.CacheFor)
			if end := a.claims.ExpiresAt; !end.IsZero() && end.Before(a.until) {
				a.until = end
			}
			return a, err
		}),
	)
}

// introspect sends an introspection request (RFC 7662, section 2.1).
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
		return answer{}, misconfigured(fmt.Errorf("introspect: %w", err))
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
	if !m.Active || !same(string(m.Audience), v.config.Resource) || !m.confirmable() {
		return answer{}, errInvalidToken
	}
	return answer{claims: m.claims(), limit: m.RateLimit, addresses: m.Addresses}, nil
}

// maxAnswer bounds the size of the server's responses, in bytes.
const maxAnswer = 1 << 20

// fetch sends a request to the authorization server and decodes the JSON of the response into into. Its errors are
// *Refusal.
func (v *Verifier) fetch(q *http.Request, into any) error {
	what := q.Method + " " + q.URL.String()
	resp, err := v.client.Do(q)
	if err != nil {
		return unavailable(err, 0) // err names the method and URL
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
		return misconfigured(fmt.Errorf("%s: status %d; check the URL and the API's own credentials", what, resp.StatusCode))
	case len(body) > maxAnswer:
		return unavailable(fmt.Errorf("%s: the response is larger than 1 MiB", what), 0)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return unavailable(fmt.Errorf("%s: the response cannot be decoded: %w", what, err), 0)
	}
	return nil
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}
