package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"doorward/config"
)

// DrainTimeout is how long requests may take to finish after the signal to stop. Orchestrators kill the process after
// 30 s.
const DrainTimeout = 25 * time.Second

// errCutOff is the cause of cancellation of requests that are still running after DrainTimeout.
var errCutOff = errors.New("the server was stopped")

// Drainer is a handler that reports whether it is ready for requests.
type Drainer interface {
	http.Handler
	// Drain makes it report that it is not ready.
	Drain()
}

// Listeners are the open sockets of a server. All are open before the first request is answered, so that the server
// does not start partly if a port is taken.
type Listeners struct {
	public []net.Listener
	admin  net.Listener // nil: none
}

// Listen opens the configured sockets, all of them or none.
func Listen(ctx context.Context, c config.Config) (*Listeners, error) {
	var l Listeners
	var lc net.ListenConfig
	for _, address := range c.Listen {
		one, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listen: %w; stop the program that uses the port, or set another address", err)
		}
		l.public = append(l.public, one)
	}
	if c.AdminListen != "" {
		admin, err := lc.Listen(ctx, "tcp", c.AdminListen)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("admin_listen: %w; stop the program that uses the port, or set another address", err)
		}
		l.admin = admin
	}
	return &l, nil
}

// Close closes sockets on which Serve was not called.
func (l *Listeners) Close() {
	for _, one := range l.public {
		_ = one.Close()
	}
	if l.admin != nil {
		_ = l.admin.Close()
	}
}

// Addresses are the addresses of the public sockets. In place of port 0 they have the port that was chosen.
func (l *Listeners) Addresses() []string {
	var all []string
	for _, one := range l.public {
		all = append(all, one.Addr().String())
	}
	return all
}

// Serve answers requests until ctx is done. Then it calls public.Drain, closes the public listeners, waits at most
// drain for running requests, and closes the admin listener last, so that metrics show the shutdown.
func (l *Listeners) Serve(
	ctx context.Context,
	log *slog.Logger,
	public Drainer,
	admin http.Handler,
	drain time.Duration,
) error {
	main, aside := publicServer(public, log), adminServer(admin, log)
	// Requests that are cut off at the end must not look as if their clients had disconnected.
	base, cutOff := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cutOff(nil)
	main.BaseContext = func(net.Listener) context.Context { return base }
	failed := make(chan error, len(l.public)+1)
	start := func(server *http.Server, listener net.Listener) {
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s: %w", listener.Addr(), err)
			}
		}()
	}
	for _, listener := range l.public {
		start(main, listener)
	}
	if l.admin != nil {
		start(aside, l.admin)
	}

	var err error
	select {
	case <-ctx.Done():
		log.Info("draining", "timeout", drain.String())
	case err = <-failed:
	}
	public.Drain()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if shutdown := main.Shutdown(limited); shutdown != nil {
		cutOff(errCutOff)
		err = errors.Join(err, fmt.Errorf("requests still running after %s were cut off", drain), main.Close())
	}
	return errors.Join(err, aside.Close())
}

// publicServer limits the time and header bytes of a request; handlers limit its body. A slow client cannot hold a
// connection for more than ten seconds: closing takes up to half a second longer than each timeout here, and the write
// timeout starts with the body. Package web limits how long handlers run.
func publicServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      9 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// adminServer allows for the time of a CPU profile.
func adminServer(handler http.Handler, log *slog.Logger) *http.Server {
	server := publicServer(handler, log)
	server.WriteTimeout = 3 * time.Minute
	return server
}

// AdminHandler serves metrics and pprof, but not pprof's cmdline, since --database-url may contain a password.
func AdminHandler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// NamedHosts protects against DNS rebinding, in which a page of another site has its own name resolve to this machine.
// It answers only requests whose Host is the configured one, an IP address, localhost or, if the listener is on all
// addresses, a name without a dot, as in container networks.
func NamedHosts(listen string, next http.Handler) http.Handler {
	configured := strings.ToLower(config.HostOf(listen))
	ip, err := netip.ParseAddr(configured)
	everywhere := configured == "" || err == nil && ip.IsUnspecified()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.ToLower(strings.TrimSuffix(r.Host, "."))
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		host = strings.Trim(host, "[]")
		_, err := netip.ParseAddr(host)
		local := everywhere && host != "" && !strings.Contains(host, ".") // such as a container's name
		if err != nil && host != "localhost" && host != configured && !local {
			http.Error(w, "Unknown host; use the listener's address.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
