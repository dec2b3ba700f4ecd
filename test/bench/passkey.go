package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/authenticator"
)

const (
	// peopleWithPasskeys is how many users sign in with a passkey.
	peopleWithPasskeys = 100
	// passkeySignIns is how many sign-ins one round takes.
	passkeySignIns = 2000
)

// passkeyRows are sign-ins with a passkey.
func (b *bench) passkeyRows() []*row {
	return []*row{b.passkeys("SQLite", liteReads), b.passkeys("PostgreSQL", reads)}
}

// passkeys measures the form with which a browser signs in.
func (b *bench) passkeys(variant, name string) *row {
	var p *process
	var keys []*authenticator.Authenticator
	var ready []signedPasskey
	return &row{
		topic: "sign-in with a passkey", variant: variant, want: 200, unit: "a second",
		about: fmt.Sprintf("%d people send the form with which their browser proves a passkey, %d times in all. What the "+
			"browser does before, which is to open the page, to fetch a challenge and to sign it, is done before the time "+
			"begins. Verifying the signature, and the transaction that starts the session, make it up.",
			peopleWithPasskeys, passkeySignIns),
		setup: func(ctx context.Context) error {
			s, started, err := b.on(ctx, name, proxied)
			if err != nil {
				return err
			}
			p = started
			keys, err = s.addPasskeys(ctx)
			return err
		},
		prepare: func(ctx context.Context, _ int) (err error) {
			ready, err = b.signWithPasskeys(ctx, p, keys)
			return err
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			began := time.Now()
			err := atOnce(len(ready), func(i int) error { return ready[i].send(ctx) })
			return float64(len(ready)) / time.Since(began).Seconds(), err
		},
	}
}

// addPasskeys gives the first users a passkey each, through the functions that the pages call.
func (s *site) addPasskeys(ctx context.Context) (keys []*authenticator.Authenticator, err error) {
	store, err := storage.Open(ctx, s.database, storage.Options{MaxConns: 2})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	secrets, err := seal.New([][]byte{[]byte(benchSecret)})
	if err != nil {
		return nil, err
	}
	issuer, err := url.Parse(benchIssuer)
	if err != nil {
		return nil, err
	}
	people := identity.New(identity.Config{
		Store: store, Throttle: limit.NewSignIns(time.Now), Issuer: benchIssuer, Secrets: secrets,
		Passkeys: identity.Passkeys{Domain: issuer.Hostname(), Origin: benchIssuer, Name: "Bench"},
	})
	for i := range peopleWithPasskeys {
		user, err := store.UserByEmail(storage.System(ctx), fmt.Sprintf("u%d@example.com", i+1))
		if err != nil {
			return nil, err
		}
		request, err := people.AskNewPasskey(ctx, &user, "bench")
		if err != nil {
			return nil, err
		}
		key := authenticator.New()
		answer, err := key.Create(benchIssuer, request.Options)
		if err != nil {
			return nil, err
		}
		passkey, err := people.CheckNewPasskey("bench", request.Sealed, answer, "Bench")
		if err != nil {
			return nil, err
		}
		proof := people.AddPasskey(user, &passkey)
		if err := store.InTx(storage.System(ctx), proof.Take); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// signedPasskey is a form that is ready to be sent, in the browser that it belongs to.
type signedPasskey struct {
	person  person
	browser *http.Client
	form    url.Values
}

// signWithPasskeys does what browsers do before they send the form.
func (b *bench) signWithPasskeys(
	ctx context.Context, p *process, keys []*authenticator.Authenticator,
) ([]signedPasskey, error) {
	ready := make([]signedPasskey, passkeySignIns)
	transport := &http.Transport{MaxIdleConnsPerHost: usualConns}
	return ready, atOnce(len(ready), func(i int) (err error) {
		address := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i % 256)}) //nolint:gosec // i is less than 65,536
		ready[i], err = person{server: p.url, transport: transport, address: address}.signPasskey(ctx, keys[i%len(keys)])
		return err
	})
}

// signPasskey opens the sign-in page in a browser that was never here, and signs its challenge.
func (p person) signPasskey(ctx context.Context, key *authenticator.Authenticator) (x signedPasskey, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return x, err
	}
	browser := &http.Client{
		Transport: p.transport, Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	_, page, err := p.send(ctx, browser, http.MethodGet, "/login", nil)
	if err != nil {
		return x, err
	}
	flow := flowField.FindSubmatch(page)
	if flow == nil {
		return x, fmt.Errorf("no form on the sign-in page: %.300s", page)
	}
	status, body, err := p.send(ctx, browser, http.MethodGet, "/login/passkey?flow="+url.QueryEscape(string(flow[1])), nil)
	if err != nil {
		return x, err
	}
	var options struct {
		Options   json.RawMessage
		Challenge string
	}
	if err := json.Unmarshal(body, &options); err != nil {
		return x, fmt.Errorf("a challenge for a passkey: %d %.300s", status, body)
	}
	answer, err := key.Get(benchIssuer, options.Options)
	if err != nil {
		return x, err
	}
	return signedPasskey{person: p, browser: browser, form: url.Values{
		"flow": {string(flow[1])}, "challenge": {options.Challenge}, "credential": {string(answer)},
	}}, nil
}

// send signs in.
func (x *signedPasskey) send(ctx context.Context) error {
	status, body, err := x.person.send(ctx, x.browser, http.MethodPost, "/login/passkey", x.form)
	if err == nil && status != http.StatusSeeOther {
		err = fmt.Errorf("sign-in with a passkey: %d: %.2000s", status, body)
	}
	return err
}

// atOnce calls f for the numbers below n, on as many goroutines as there usually are connections. It returns the first
// error.
func atOnce(n int, f func(int) error) error {
	var next atomic.Int64
	var mu sync.Mutex
	var firstly error
	var workers sync.WaitGroup
	for range usualConns {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					firstly = firstError(firstly, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	workers.Wait()
	return firstly
}
