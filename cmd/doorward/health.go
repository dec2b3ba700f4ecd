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

// healthTimeout bounds the whole question; container runtimes ask every few seconds.
const healthTimeout = 3 * time.Second

type healthCommand struct{}

// Run asks the server that the configuration describes whether it is able to serve.
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
		return fmt.Errorf("ask %s: %w", url, err)
	}
	// Where it listens may be the host of an API, which has no such path of ours.
	if issuer, err := neturl.Parse(c.Issuer); err == nil {
		request.Host = issuer.Host
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy, whatever the environment says
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("not reachable: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	said, _ := io.ReadAll(io.LimitReader(response.Body, 300))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf(
			"not ready: %s answers %d %s",
			url,
			response.StatusCode,
			input.Quote(strings.TrimSpace(string(said))),
		)
	}
	return nil
}

// readyURL is where the server that listens on an address reports whether it is ready, over loopback where it can.
func readyURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	if port == "0" {
		return "", fmt.Errorf("listen is %s, any free port, so the server cannot be found; write a port", listen)
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
