package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// client asks what is not timed.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: usualConns}, Timeout: 30 * time.Second}

// fetch returns the body of a response with status 200.
func fetch(ctx context.Context, url string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return send(q)
}

// send returns the body of a response with status 200.
func send(q *http.Request) ([]byte, error) {
	resp, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.300s", q.Method, q.URL, resp.Status, body)
	}
	return body, err
}

// get sends the first of a load's requests, which has no body, and returns an error if the answer is not 200.
func get(ctx context.Context, l load) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url, nil)
	if err != nil {
		return err
	}
	for _, h := range l.headers {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Set(name, value)
		if name == "Host" {
			q.Host = value
		}
	}
	_, err = send(q)
	return err
}

// answerSize is the length of the body with which url answers the first form of a file.
func answerSize(ctx context.Context, url, bodies, authorization string) (int, error) {
	form, err := firstLine(bodies)
	if err != nil {
		return 0, err
	}
	body, err := post(ctx, url, form, authorization)
	return len(body), err
}

// post returns the body of the response to a form.
func post(ctx context.Context, url, form, authorization string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Authorization", authorization)
	return send(q)
}

// askEach sends n of a load's forms once each, or all if n is negative, beginning after the first skip ones. It returns
// how many it sent.
func (b *bench) askEach(ctx context.Context, l load, skip, n int) (sent int, err error) {
	f, err := os.Open(l.bodies)
	if err != nil {
		return 0, fmt.Errorf("bodies: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	forms := make(chan string)
	errs := make(chan error, usualConns)
	var workers sync.WaitGroup
	for range usualConns {
		workers.Go(func() {
			for form := range forms {
				if _, err := post(ctx, l.url, form, l.authorization); err != nil {
					select {
					case errs <- err:
					default: // one is enough
					}
				}
			}
		})
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() && sent != n && len(errs) == 0 {
		if skip--; skip < 0 {
			forms <- lines.Text()
			sent++
		}
	}
	close(forms)
	workers.Wait()
	close(errs)
	return sent, firstError(<-errs, lines.Err())
}
