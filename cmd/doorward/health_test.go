package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	c := newCLI(t)
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || r.Host != "login.example.com" { // not 127.0.0.1, which may be the host of an API
			status = http.StatusNotFound
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	c.vars["DOORWARD_LISTEN"] = "0.0.0.0:" + port
	c.vars["DOORWARD_ISSUER"], c.vars["DOORWARD_SECRET"] = "https://login.example.com", testSecret
	c.vars["HTTP_PROXY"] = "http://127.0.0.1:1"
	c.must("", "health")
	for _, status = range []int{http.StatusServiceUnavailable, http.StatusFound, http.StatusNoContent} {
		c.fails(1, "not ready: ", "", "health")
	}
	server.Close()
	c.fails(1, "not reachable: ", "", "health")
	c.vars["DOORWARD_LISTEN"] = "127.0.0.1:0"
	c.fails(1, "any free port", "", "health")
}

func TestReadyURLAsksOverLoopback(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:8080":   "http://127.0.0.1:8080/readyz",
		":8080":          "http://127.0.0.1:8080/readyz",
		"[::]:8080":      "http://[::1]:8080/readyz",
		"127.0.0.1:8080": "http://127.0.0.1:8080/readyz",
		"[::1]:8080":     "http://[::1]:8080/readyz",
		"10.1.2.3:8080":  "http://10.1.2.3:8080/readyz",
		"localhost:8080": "http://localhost:8080/readyz",
	} {
		if got, err := readyURL(listen); err != nil || got != want {
			t.Errorf("readyURL(%s) = %s, %v, want %s", listen, got, err, want)
		}
	}
}
