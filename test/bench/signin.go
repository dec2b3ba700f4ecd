package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"time"
)

// pageRows are what a person waits for.
func (b *bench) pageRows() []*row {
	return []*row{b.signInFirstByte(), b.signInPage()}
}

func (b *bench) signInFirstByte() *row {
	var s *site
	var p *process
	return &row{
		topic: "sign-in page to first byte, SQLite", want: 5, atMost: true, unit: "ms",
		about: "A browser that was never here sends an authorization request and follows the redirect to the " +
			"sign-in page, on an open connection, one after the other; the median of the times to the page's first " +
			"byte. Reading the client, sealing the request and rendering the page make it up.",
		setup: func(ctx context.Context) (err error) {
			s, p, err = b.on(ctx, liteReads, standard)
			return err
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			start := p.url + "/oauth/authorize?" + url.Values{
				"response_type": {"code"}, "client_id": {s.client.ID}, "redirect_uri": {redirectURI}, "scope": {"read"},
				"state": {"a-state-of-a-usual-length"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
			}.Encode()
			var times []float64
			for range 100 {
				took, err := firstByte(ctx, start)
				if err != nil {
					return 0, err
				}
				times = append(times, took.Seconds()*1000)
			}
			return median(times), nil
		},
	}
}

func (b *bench) signInPage() *row {
	var ours, bare load
	return &row{
		topic: "sign-in page, SQLite", limit: "bare handler", want: 0.20,
		about: "Browsers that were never here ask for the sign-in page, which begins a sign-in for each. The bare " +
			"handler writes a body of the same length. Sealing the sign-in, rendering the page and the log line limit it.",
		setup: func(ctx context.Context) (err error) {
			ours, bare, err = b.pairOfGet(ctx, liteReads, standard, "/login")
			return err
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ours) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, bare) },
	}
}

// firstByte opens a URL, follows redirects, and returns how long it took to the first byte of the page.
func firstByte(ctx context.Context, start string) (time.Duration, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return 0, err
	}
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	var first time.Time
	q, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { first = time.Now() },
	}), http.MethodGet, start, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	resp, err := browser.Do(q)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/login" {
		return 0, fmt.Errorf("%s %s: %w", resp.Request.URL.Path, resp.Status, errors.New("not the sign-in page"))
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		return 0, err
	}
	return first.Sub(began), nil
}
