package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"doorward/oauth/resource"
	"doorward/test/gateways"
	"doorward/test/setup"
)

// bareBody is the length of the measured API's answer in bytes.
const bareBody = 100

// gatewayHost is the host name of the measured API.
const gatewayHost = "api.bench.example"

// gatewayRows measures Doorward in front of an API: asked by nginx, as the built-in proxy, and with many routes.
func (b *bench) gatewayRows(ctx context.Context, s *site) (rows []*row, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for _, f := range closers {
			f()
		}
	}
	keep := func(p *process, err error) (*process, error) {
		closers = append(closers, p.stop)
		return p, err
	}
	if b.only != "" && !strings.Contains(b.only, "gateway") {
		return nil, closeAll, nil
	}
	// The same bare handler serves as the API and, for the limit, answers nginx in Doorward's place.
	bare, err := keep(b.bare(ctx, bareBody))
	if err != nil {
		return nil, closeAll, err
	}
	server := func(routes int) (*process, error) {
		return keep(b.serverWith(ctx, s.database, gatewayConfig(bare.url, routes)))
	}
	ten, err := server(10)
	if err != nil {
		return nil, closeAll, err
	}
	many, err := server(10_000)
	if err != nil {
		return nil, closeAll, err
	}
	pass, err := keep(b.program(ctx, "bare-proxy", bare.url))
	if err != nil {
		return nil, closeAll, err
	}
	asking, err := keep(b.nginx(ctx, ten.url, bare.url))
	if err != nil {
		return nil, closeAll, err
	}
	askingBare, err := keep(b.nginx(ctx, bare.url, bare.url))
	if err != nil {
		return nil, closeAll, err
	}
	signing, err := keep(b.serverWith(ctx, s.database, "resources: [{id: "+benchIssuer+", tokens: jwt}]\n"))
	if err != nil {
		return nil, closeAll, err
	}
	jwt, err := clientCredentials(ctx, signing.url, s)
	if err != nil {
		return nil, closeAll, err
	}
	guarded, err := keep(b.programListening(ctx, "guarded", signing.url+"/oauth/jwks"))
	if err != nil {
		return nil, closeAll, err
	}
	withJWT := func(p *process) func(context.Context, int) (float64, error) {
		return func(ctx context.Context, _ int) (float64, error) {
			return b.wrkGet(ctx, p.url+"/", "Authorization: Bearer "+jwt)
		}
	}
	get := func(p *process) func(context.Context, int) (float64, error) {
		return func(ctx context.Context, _ int) (float64, error) {
			return b.wrkGet(ctx, p.url+"/v1/thing7/9", "Host: "+gatewayHost, "Authorization: Bearer "+s.adminKey)
		}
	}
	return []*row{
		{
			name:    "gateway: nginx with auth_request",
			limit:   "nginx asking the bare handler",
			want:    0.50,
			ours:    get(asking),
			against: get(askingBare),
		},
		{
			name: "gateway: built-in proxy", limit: "bare httputil.ReverseProxy", want: 0.40, ours: get(ten), against: get(pass),
		},
		{name: "gateway: 10000 routes", limit: "with ten", want: 0.83, ours: get(many), against: get(ten)}, // 1 / 1.2
		{
			name:    "gateway: a JWT verified offline",
			limit:   "bare handler",
			want:    0.30,
			ours:    withJWT(guarded),
			against: withJWT(bare),
		},
	}, closeAll, nil
}

// gatewayConfig returns a configuration with the API behind the built-in proxy, the given number of routes, and no rate
// limits.
func gatewayConfig(upstream string, routes int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "trusted_proxies: [127.0.0.1]\nresources:\n  - id: %s\n    hosts: [%s]\n    upstream: %s\n    "+
		"routes:\n", benchIssuer, gatewayHost, upstream)
	for i := range routes {
		fmt.Fprintf(&text, "      - {methods: [GET], path: \"/v1/thing%d/*\", scopes: [read]}\n", i)
	}
	return text.String()
}

// program starts this command as one of its server modes.
func (b *bench) program(ctx context.Context, name string, args ...string) (*process, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	//nolint:noctx // stop kills it
	cmd := exec.Command(filepath.Join(b.dir, "bench"), append([]string{name, address}, args...)...)
	return startProcess(ctx, cmd, "http://"+address, "/")
}

// programListening is like program, for a server that answers every request without a credential with an error.
func (b *bench) programListening(ctx context.Context, name string, args ...string) (*process, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	//nolint:noctx // stop kills it
	cmd := exec.Command(filepath.Join(b.dir, "bench"), append([]string{name, address}, args...)...)
	return startListener(ctx, cmd, "http://"+address)
}

// clientCredentials gets an access token.
func clientCredentials(ctx context.Context, server string, s *site) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/oauth/token",
		strings.NewReader("grant_type=client_credentials&scope=read"))
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.SetBasicAuth(s.client.ID, s.secret)
	resp, err := http.DefaultClient.Do(q) //nolint:forbidigo // on loopback
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || strings.Count(answer.AccessToken, ".") != 2 {
		return "", fmt.Errorf("token: %s, no JWT: %w", resp.Status, err)
	}
	return answer.AccessToken, nil
}

// serveGuarded is an API that verifies signed access tokens itself and writes the same answer as the bare handler.
func serveGuarded(address, jwks string) error {
	//nolint:exhaustruct_v5 // the rest has defaults
	guard, err := resource.New(resource.Config{Issuer: benchIssuer, Resource: benchIssuer, VerifyJWT: true, JWKSURL: jwks})
	if err != nil {
		return fmt.Errorf("guarded API: %w", err)
	}
	answer := bytes.Repeat([]byte("x"), bareBody)
	s := &http.Server{
		Addr: address, ReadHeaderTimeout: 5 * time.Second,
		Handler: guard.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer) // the load driver may have disconnected
		})),
	}
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("guarded API: %w", err)
	}
	return nil
}

// serveBareProxy passes every request on. The built-in proxy is measured against it.
func serveBareProxy(address, upstream string) error {
	target, err := url.Parse(upstream)
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		// otherwise it would be slower than it need be
		Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true},
	}
	s := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second, Handler: proxy}
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("bare proxy: %w", err)
	}
	return nil
}

// nginx starts nginx with the configuration from examples/. It asks one server and passes requests on to another.
func (b *bench) nginx(ctx context.Context, asked, api string) (*process, error) {
	binary, err := setup.Nginx()
	if err != nil {
		return nil, err
	}
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(b.dir, "nginx-"+strings.ReplaceAll(address, ":", "-"))
	if err := os.Mkdir(folder, 0o755); err != nil { //nolint:gosec // it holds no secrets
		return nil, fmt.Errorf("nginx: %w", err)
	}
	conf, err := gateways.NginxConfiguration(folder, address, strings.TrimPrefix(asked, "http://"),
		strings.TrimPrefix(api, "http://"))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("nginx: %w", err)
	}
	//nolint:noctx // stop kills it
	cmd := exec.Command(binary, "-p", folder, "-c", file, "-e", "stderr", "-g", "daemon off; error_log stderr crit; pid "+
		filepath.Join(folder, "pid")+";")
	return startListener(ctx, cmd, "http://"+address)
}

// wrkGet sends GET requests to url with some headers. Any status other than 2xx is an error.
func (b *bench) wrkGet(ctx context.Context, url string, headers ...string) (float64, error) {
	args := []string{
		"-t", strconv.Itoa(wrkThreads), "-c", strconv.Itoa(wrkConns), "-d", strconv.Itoa(int(b.length.Seconds())) + "s",
	}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	return b.runWrk(ctx, append(args, url))
}
