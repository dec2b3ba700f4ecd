package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	neturl "net/url"
	"strings"
	"time"

	"doorward/config"
	"doorward/oauth/input"
)

// healthTimeout bounds the whole check. Container runtimes check every few seconds.
const healthTimeout = 3 * time.Second

type healthCommand struct{}

// Run asks the configured server whether it is ready.
func (healthCommand) Run(ctx context.Context, a *app) error {
	c, err := a.load(nil)
	if err != nil {
		return err
	}
	url, err := readyURL(c.Listen[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}
	// The address may be the host of an API, which does not have this path.
	if issuer, err := neturl.Parse(c.Issuer); err == nil {
		request.Host = issuer.Host
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // without a proxy, even if HTTP_PROXY is set
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("not reachable: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, _ := io.ReadAll(io.LimitReader(response.Body, 300))
	if response.StatusCode != http.StatusOK {
		text := input.Quote(strings.TrimSpace(string(body)))
		return fmt.Errorf("not ready: %s answered %d %s", url, response.StatusCode, text)
	}
	return nil
}

// readyURL is the URL at which a server reports whether it is ready. It is on loopback if the server listens on all
// addresses.
func readyURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	if port == "0" {
		return "", fmt.Errorf("listen is %s, which means any free port; set a fixed port to find the server", listen)
	}
	if config.IsEveryAddress(host) {
		addr, err := netip.ParseAddr(host)
		host = "127.0.0.1"
		if err == nil && addr.Is6() {
			host = "::1"
		}
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz", nil
}
