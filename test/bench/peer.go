package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"doorward/test/setup"
)

// What is fetched for the peers. Both are kept by npm and Go in their own caches.
const (
	oidcProvider      = "oidc-provider@9.13.3"
	oauth2Proxy       = "github.com/oauth2-proxy/oauth2-proxy/v7"
	oauth2ProxyAt     = "v7.15.6"
	peerClient        = "load"
	peerSecret        = "a-secret-for-measuring"
	gatewayPath       = "/gateway/nginx" // in examples/nginx
	oauth2ProxyCookie = "a-cookie-secret-of-32-characters"
)

// peerRows are other servers beside Doorward, at the same work. They have no target. A peer that cannot be fetched or
// started is left out.
func (b *bench) peerRows() []*row { return []*row{b.oidcProvider(), b.oauth2Proxy()} }

//go:embed peers/oidc-provider.mjs
var oidcProviderScript []byte

func (b *bench) oidcProvider() *row {
	var ours, theirs load
	return &row{
		topic: "peer: introspection, warm", limit: oidcProvider + " (npm)", peer: true, rounds: 3,
		about: "An authorization server in one Node process, with its default storage in its own memory, which it " +
			"would lose with the process. Its tokens belong to no user. Doorward's are those of the first row.",
		setup: func(ctx context.Context) error {
			var err error
			if ours, _, err = b.pair(ctx, reads, warm, false); err != nil {
				return err
			}
			theirs, err = b.startOIDCProvider(ctx)
			return err
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ours) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, theirs) },
	}
}

func (b *bench) startOIDCProvider(ctx context.Context) (load, error) {
	node, err := setup.Node()
	if err != nil {
		return load{}, err
	}
	folder := filepath.Join(b.dir, "oidc-provider")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return load{}, fmt.Errorf("peer: %w", err)
	}
	script := filepath.Join(folder, "server.mjs")
	if err := os.WriteFile(script, oidcProviderScript, 0o600); err != nil {
		return load{}, fmt.Errorf("peer: %w", err)
	}
	if err := inFolder(ctx, folder, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder,
		oidcProvider); err != nil {
		return load{}, err
	}
	address, err := freePort(ctx)
	if err != nil {
		return load{}, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return load{}, fmt.Errorf("peer: %w", err)
	}
	p, err := b.keep("oidc-provider", func() (*process, error) {
		cmd := exec.Command(node, script, port, peerClient, peerSecret) //nolint:noctx // stop kills it
		cmd.Env = append(os.Environ(), "NODE_ENV=production")
		return startListener(ctx, cmd, "http://"+address)
	})
	if err != nil {
		return load{}, err
	}
	l := load{
		url: p.url + "/token/introspection", bodies: filepath.Join(b.dir, "oidc-provider-tokens"),
		authorization: basic(peerClient, peerSecret),
	}
	// As many as Doorward has to answer for.
	var forms strings.Builder
	for range 1000 {
		body, err := post(ctx, p.url+"/token", "grant_type=client_credentials", l.authorization)
		if err != nil {
			return load{}, err
		}
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return load{}, fmt.Errorf("peer: %w", err)
		}
		forms.WriteString(tokenForm(answer.AccessToken) + "\n")
	}
	if err := os.WriteFile(l.bodies, []byte(forms.String()), 0o600); err != nil {
		return load{}, fmt.Errorf("peer: %w", err)
	}
	form, err := firstLine(l.bodies)
	if err != nil {
		return load{}, err
	}
	body, err := post(ctx, l.url, form, l.authorization)
	if err == nil && !strings.Contains(string(body), `"active":true`) {
		err = fmt.Errorf("peer: the token is not active: %s", body)
	}
	return l, err
}

func (b *bench) oauth2Proxy() *row {
	var ours, theirs load
	return &row{
		topic: "peer: nginx with auth_request, a JWT", limit: "nginx asking oauth2-proxy " + oauth2ProxyAt,
		peer: true, rounds: 3,
		about: "The same nginx asks one or the other about each request with the same signed access token, which " +
			"both verify with Doorward's public key. Doorward also finds the route and its permissions, and " +
			"refuses a token that was revoked; oauth2-proxy looks at the signature and the claims. Both write a " +
			"log line.",
		setup: func(ctx context.Context) error {
			s, p, token, err := b.signing(ctx)
			if err != nil {
				return err
			}
			asking, err := b.nginx(ctx, p.url, "")
			if err != nil {
				return err
			}
			ours = s.requested(asking.url, token)
			peer, err := b.startOAuth2Proxy(ctx, p.url)
			if err != nil {
				return err
			}
			if asking, err = b.nginx(ctx, peer.url, "/oauth2/auth"); err != nil {
				return err
			}
			theirs = s.requested(asking.url, token)
			return b.refused(ctx, theirs)
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, ours) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, theirs) },
	}
}

// startOAuth2Proxy builds oauth2-proxy in a module of its own, and starts it with an issuer's keys.
func (b *bench) startOAuth2Proxy(ctx context.Context, issuer string) (*process, error) {
	folder := filepath.Join(b.dir, "oauth2-proxy")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "go.mod"), []byte("module peer\n"), 0o600); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	if err := inFolder(ctx, folder, "go", "get", oauth2Proxy+"@"+oauth2ProxyAt); err != nil {
		return nil, err
	}
	if err := inFolder(ctx, folder, "go", "build", "-o", "oauth2-proxy", oauth2Proxy); err != nil {
		return nil, err
	}
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	return b.keep("oauth2-proxy", func() (*process, error) {
		//nolint:noctx // stop kills it
		cmd := exec.Command(filepath.Join(folder, "oauth2-proxy"), "--http-address="+address, "--provider=oidc",
			"--oidc-issuer-url="+benchIssuer, "--skip-oidc-discovery", "--oidc-jwks-url="+issuer+"/oauth/jwks",
			"--login-url="+issuer+"/oauth/authorize", "--redeem-url="+issuer+"/oauth/token", "--client-id="+benchIssuer,
			"--client-secret="+peerSecret, "--cookie-secret="+oauth2ProxyCookie, "--email-domain=*", "--oidc-email-claim=sub",
			"--oidc-enabled-signing-alg=ES256", "--skip-jwt-bearer-tokens", "--upstream=static://202")
		return startListener(ctx, cmd, "http://"+address)
	})
}

// inFolder runs a program that fetches or builds.
func inFolder(ctx context.Context, folder, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = folder
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%.500s", name, args[0], err, out)
	}
	return nil
}

// refused returns an error if a load's request is not answered 200, or if it is without its credential: a peer that
// lets everyone through is not measured.
func (b *bench) refused(ctx context.Context, l load) error {
	if err := get(ctx, l); err != nil {
		return err
	}
	l.headers = l.headers[:1]
	if err := get(ctx, l); err == nil {
		return fmt.Errorf("peer: %s lets everyone through", l.url)
	}
	return nil
}
