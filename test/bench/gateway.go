package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"doorward/test/gateways"
	"doorward/test/setup"
)

// bareBody is the length of the measured API's answer in bytes.
const bareBody = 100

// gatewayHost is the host name of the measured API.
const gatewayHost = "api.bench.example"

// gatewayRows measure Doorward in front of an API: as the built-in proxy, asked by nginx, with many routes, and not
// asked at all. The same bare handler serves as the API and, for nginx's limit, answers in Doorward's place.
func (b *bench) gatewayRows() []*row {
	var ten, many, pass, asking, askingBare load
	var guarded, bare load
	return []*row{
		{
			topic: "gateway: built-in proxy, warm", limit: "bare httputil.ReverseProxy", want: 0.60,
			about: "Both pass requests on to the same API, which does nothing. Most of the time goes to reading " +
				"and writing each request twice.",
			setup: func(ctx context.Context) (err error) {
				if ten, err = b.proxied(ctx, 10); err != nil {
					return err
				}
				api, err := b.bare(ctx, bareBody)
				if err != nil {
					return err
				}
				p, err := b.keep("bare proxy", func() (*process, error) { return b.mode(ctx, "bare-proxy", api.url) })
				if err != nil {
					return err
				}
				pass = ten
				pass.url = strings.Replace(ten.url, hostOf(ten.url), hostOf(p.url), 1)
				return nil
			},
			ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ten) },
			against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, pass) },
		},
		{
			topic: "gateway: nginx with auth_request, warm", limit: "nginx asking the bare handler", want: 0.80,
			about: "nginx, with the configuration in examples/nginx, asks about each request and passes it on. " +
				"nginx itself, which reads and writes it three times, takes most of the time.",
			setup: func(ctx context.Context) (err error) {
				if asking, err = b.asked(ctx, ""); err != nil {
					return err
				}
				api, err := b.bare(ctx, bareBody)
				if err != nil {
					return err
				}
				askingBare, err = b.asked(ctx, api.url)
				return err
			},
			ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, asking) },
			against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, askingBare) },
		},
		{
			topic: "gateway: 10000 routes", limit: "with ten", want: 0.83, // 1 / 1.2
			about: "Two servers with the built-in proxy differ by the number of their API's routes. The proxy " +
				"limits both; finding the route must not show.",
			setup: func(ctx context.Context) (err error) {
				if ten, err = b.proxied(ctx, 10); err != nil {
					return err
				}
				many, err = b.proxied(ctx, 10_000)
				return err
			},
			ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, many) },
			against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ten) },
		},
		{
			topic: "gateway: a JWT verified offline", limit: "bare handler", want: 0.30,
			about: "A Go API verifies signed access tokens with package oauth/resource and asks no server. The " +
				"signature and the claims of a token are checked once and remembered, so that HTTP limits it.",
			setup: func(ctx context.Context) error {
				_, p, token, err := b.signing(ctx)
				if err != nil {
					return err
				}
				g, err := b.keep("guarded", func() (*process, error) { return b.mode(ctx, "guarded", p.url+"/oauth/jwks") })
				if err != nil {
					return err
				}
				api, err := b.bare(ctx, bareBody)
				guarded = load{url: g.url + "/", headers: []string{"Authorization: Bearer " + token}}
				bare = guarded
				bare.url = api.url
				return err
			},
			ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, guarded) },
			against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, bare) },
		},
	}
}

func hostOf(url string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	return host
}

// gated is a server in front of an API with this number of routes.
func (b *bench) gated(ctx context.Context, routes int) (*site, *process, error) {
	api, err := b.bare(ctx, bareBody)
	if err != nil {
		return nil, nil, err
	}
	return b.on(ctx, reads, gatewayConfig(api.url, routes))
}

// requested is the load for an API behind url.
func (s *site) requested(url, credential string) load {
	return load{
		url: url + "/v1/thing7/9", headers: []string{"Host: " + gatewayHost, "Authorization: Bearer " + credential},
	}
}

// proxied is the load for the built-in proxy in front of an API with this number of routes.
func (b *bench) proxied(ctx context.Context, routes int) (load, error) {
	s, p, err := b.gated(ctx, routes)
	if err != nil {
		return load{}, err
	}
	return s.requested(p.url, s.adminKey), nil
}

// asked is the load for nginx that asks the server at url, or Doorward if it is empty.
func (b *bench) asked(ctx context.Context, url string) (load, error) {
	s, p, err := b.gated(ctx, 10)
	if err != nil {
		return load{}, err
	}
	if url == "" {
		url = p.url
	}
	server, err := b.nginx(ctx, url, "")
	if err != nil {
		return load{}, err
	}
	return s.requested(server.url, s.adminKey), nil
}

// signing is a server that issues signed access tokens, and one of them.
func (b *bench) signing(ctx context.Context) (*site, *process, string, error) {
	api, err := b.bare(ctx, bareBody)
	if err != nil {
		return nil, nil, "", err
	}
	s, p, err := b.on(ctx, reads, gatewayConfig(api.url, 10)+"    tokens: jwt\n")
	if err != nil {
		return nil, nil, "", err
	}
	body, err := post(ctx, p.url+"/oauth/token", "grant_type=client_credentials&scope=read", s.asClient())
	if err != nil {
		return nil, nil, "", fmt.Errorf("token: %w", err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || strings.Count(answer.AccessToken, ".") != 2 {
		return nil, nil, "", fmt.Errorf("token: no JWT: %w", err)
	}
	return s, p, answer.AccessToken, nil
}

// gatewayConfig returns a configuration with the API behind the built-in proxy, the given number of routes, and no rate
// limits.
func gatewayConfig(upstream string, routes int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "cache: on\ntrusted_proxies: [127.0.0.1]\nresources:\n  - id: %s\n    hosts: [%s]\n    "+
		"upstream: %s\n    routes:\n", benchIssuer, gatewayHost, upstream)
	for i := range routes {
		fmt.Fprintf(&text, "      - {methods: [GET], path: \"/v1/thing%d/*\", scopes: [read]}\n", i)
	}
	return text.String()
}

// nginx starts nginx with the configuration from examples/, once for all rows. It asks one server, at path unless that
// is empty, and passes requests on to the bare handler.
func (b *bench) nginx(ctx context.Context, asked, path string) (*process, error) {
	api, err := b.bare(ctx, bareBody)
	if err != nil {
		return nil, err
	}
	return b.keep("nginx "+asked+path, func() (*process, error) {
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
		conf, err := gateways.NginxConfiguration(folder, address, hostOf(asked), hostOf(api.url))
		if err != nil {
			return nil, err
		}
		if path != "" {
			conf = strings.ReplaceAll(conf, gatewayPath, path)
		}
		file := filepath.Join(folder, "nginx.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, fmt.Errorf("nginx: %w", err)
		}
		//nolint:noctx // stop kills it
		cmd := exec.Command(binary, "-p", folder, "-c", file, "-e", "stderr", "-g", "daemon off; error_log stderr crit; pid "+
			filepath.Join(folder, "pid")+";")
		return startListener(ctx, cmd, "http://"+address)
	})
}
