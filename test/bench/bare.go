package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"doorward/oauth/resource"
)

// modes are the servers and baselines that this command also is, by the first argument.
var modes = map[string]func(args []string) error{
	"bare":       serveBare,
	"bare-proxy": serveBareProxy,
	"guarded":    serveGuarded,
	"commits":    commit,
	"hashes":     hash,
}

// errArguments is returned for a mode's wrong arguments, which only this command passes.
var errArguments = errors.New("wrong arguments")

// serveBare parses the form and writes as many bytes as the answer that it stands for.
func serveBare(args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("bare handler: %w", err)
	}
	answer := bytes.Repeat([]byte("x"), size)
	return listen(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // the load driver may have disconnected
	}))
}

// serveBareProxy passes every request on. The built-in proxy is measured against it.
func serveBareProxy(args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	target, err := url.Parse(args[1])
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	return listen(args[0], &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		// otherwise it would be slower than it need be
		Transport: &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, DisableCompression: true},
	})
}

// serveGuarded is an API that verifies signed access tokens itself and writes the same answer as the bare handler.
func serveGuarded(args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	//nolint:exhaustruct_v5 // the rest has defaults
	guard, err := resource.New(resource.Config{
		Issuer: benchIssuer, Resource: benchIssuer, VerifyJWT: true, JWKSURL: args[1],
	})
	if err != nil {
		return fmt.Errorf("guarded API: %w", err)
	}
	answer := bytes.Repeat([]byte("x"), bareBody)
	return listen(args[0], guard.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer) // the load driver may have disconnected
	})))
}

func listen(address string, handler http.Handler) error {
	s := &http.Server{
		Addr: address, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		Handler: handler,
	}
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}
