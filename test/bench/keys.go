package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keyRows are requests that are signed with a key: by an assertion in place of a secret, and by a DPoP proof beside the
// token. The signatures are made before the measurement.
func (b *bench) keyRows() []*row { return []*row{b.assertions(), b.proofs()} }

// clientKey signs for the client of the bench.
type clientKey struct{ private *ecdsa.PrivateKey }

func newClientKey() (*clientKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &clientKey{private}, err
}

func (k *clientKey) public() jose.JSONWebKey { return jose.JSONWebKey{Key: k.private.Public()} }

// sign makes a JWT with ES256.
func (k *clientKey) sign(header, claims map[string]any) (string, error) {
	var parts []string
	for _, x := range []map[string]any{header, claims} {
		text, err := json.Marshal(x)
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	input := strings.Join(parts, ".")
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// lines writes as many lines to a file as a measurement may use up.
func (b *bench) lines(file string, line func() (string, error)) error {
	var text strings.Builder
	for range oncePerSecond * 2 * b.seconds() {
		one, err := line()
		if err != nil {
			return err
		}
		text.WriteString(one + "\n")
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

func (b *bench) assertions() *row {
	var s *site
	var p *process
	var secret load
	once := filepath.Join(b.dir, "once-assertions")
	return &row{
		topic: "client_credentials with private_key_jwt, PostgreSQL", limit: "the same with a secret", want: 0.45,
		about: "Two clients get tokens for themselves: one signs an assertion for each request (ES256), the other sends " +
			"its secret. What the assertion costs is its signature, which is checked, and a row, so that it counts once; " +
			"the row is inserted in the statement that inserts the token.",
		setup: func(ctx context.Context) (err error) {
			if s, p, err = b.on(ctx, writes, cold); err != nil {
				return err
			}
			secret, err = b.tokenRequests(s, p)
			return err
		},
		prepare: func(_ context.Context, _ int) error {
			at := time.Now()
			return b.lines(once, func() (string, error) {
				assertion, err := s.key.sign(map[string]any{"alg": "ES256"}, map[string]any{
					"iss": s.signing.ID, "sub": s.signing.ID, "aud": benchIssuer, "jti": rand.Text(),
					"iat": at.Unix(), "exp": at.Add(4 * time.Minute).Unix(),
				})
				return url.Values{
					"grant_type": {"client_credentials"}, "scope": {"read write"}, "client_assertion": {assertion},
					"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				}.Encode(), err
			})
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, load{url: p.url + "/oauth/token", bodies: once})
		},
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, secret) },
	}
}

func (b *bench) proofs() *row {
	var plain, bound load
	var s *site
	var token string
	once := filepath.Join(b.dir, "once-proofs")
	return &row{
		topic: "gateway: built-in proxy with DPoP, PostgreSQL", limit: "the same with a bearer token", want: 0.50,
		about: "Both requests go through the built-in proxy to the same API, with an access token that is in memory. The " +
			"token of one is bound to a key, and each request has a proof of its own (ES256). What the proof costs is its " +
			"signature, which is checked, and a row in a table that all nodes share, so that it counts once.",
		setup: func(ctx context.Context) (err error) {
			var p *process
			if s, p, err = b.gated(ctx, 10); err != nil {
				return err
			}
			bearer, err := s.ownToken(ctx, p, nil)
			if err != nil {
				return err
			}
			if token, err = s.ownToken(ctx, p, s.key); err != nil {
				return err
			}
			plain = s.requested(p.url, bearer)
			bound = plain
			bound.headers = []string{plain.headers[0], "Authorization: DPoP " + token}
			bound.proofs = once
			return nil
		},
		prepare: func(context.Context, int) error {
			hash := sha256.Sum256([]byte(token))
			return b.lines(once, func() (string, error) {
				return s.key.proof(http.MethodGet, "http://"+gatewayHost+pathOf(plain.url), map[string]any{
					"ath": base64.RawURLEncoding.EncodeToString(hash[:]),
				})
			})
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, bound) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, plain) },
	}
}

func pathOf(address string) string {
	_, path, _ := strings.Cut(strings.TrimPrefix(address, "http://"), "/")
	return "/" + path
}

// proof makes a DPoP proof (RFC 9449, section 4.2).
func (k *clientKey) proof(method, address string, more map[string]any) (string, error) {
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": address, "iat": time.Now().Unix()}
	for name, value := range more {
		claims[name] = value
	}
	return k.sign(map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.public()}, claims)
}

// ownToken returns an access token that the client of the bench got for itself, bound to a key unless that is nil.
func (s *site) ownToken(ctx context.Context, p *process, k *clientKey) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/oauth/token",
		strings.NewReader("grant_type=client_credentials&scope=read"))
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	q.Header.Set("Authorization", s.asClient())
	if k != nil {
		proof, err := k.proof(http.MethodPost, benchIssuer+"/oauth/token", nil)
		if err != nil {
			return "", err
		}
		q.Header.Set("DPoP", proof)
	}
	body, err := send(q)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return answer.AccessToken, nil
}
