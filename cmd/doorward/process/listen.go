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

// DrainTimeout is how long requests may take to finish after the signal to stop; orchestrators kill after 30 s.
const DrainTimeout = 25 * time.Second

// errCutOff is why requests end that are still running after DrainTimeout.
var errCutOff = errors.New("the server was stopped")

// Drainer answers requests and can say that it wants no more.
type Drainer interface {
	http.Handler
	// Drain makes the answer about readiness a no.
	Drain()
}

// Listeners are the open sockets of a server. All are open before the first request is answered, so that a port
// that is taken stops the start and not a half-started server.
type Listeners struct {
	public []net.Listener
	admin  net.Listener // nil: none
}

// Listen opens the sockets that the configuration names, all of them or none.
func Listen(ctx context.Context, c config.Config) (*Listeners, error) {
	var l Listeners
	var lc net.ListenConfig
	for _, address := range c.Listen {
		one, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listen: %w; stop what listens there, or write another address", err)
		}
		l.public = append(l.public, one)
	}
	if c.AdminListen != "" {
		admin, err := lc.Listen(ctx, "tcp", c.AdminListen)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("admin_listen: %w; stop what listens there, or write another address", err)
		}
		l.admin = admin
	}
	return &l, nil
}

// Close gives up sockets that no server has taken over.
func (l *Listeners) Close() {
	for _, one := range l.public {
		_ = one.Close()
	}
	if l.admin != nil {
		_ = l.admin.Close()
	}
}

// Addresses are where the public sockets listen; a port of 0 is one that was free.
func (l *Listeners) Addresses() []string {
	var all []string
	for _, one := range l.public {
		all = append(all, one.Addr().String())
	}
	return all
}

// Serve answers requests until ctx is done, then turns readiness off, closes the public listeners, lets what is
// running finish for at most drain, and ends the admin listener last, so that the end can be watched there.
func (l *Listeners) Serve(
	ctx context.Context,
	log *slog.Logger,
	public Drainer,
	admin http.Handler,
	drain time.Duration,
) error {
	main, aside := publicServer(public, log), adminServer(admin, log)
	// What is cut off at the end must not look like callers who went away.
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

// publicServer bounds what a client may take of the server (time, headers); bodies are bounded where they are read. No
// client holds a connection for ten seconds by being slow: closing may take half a second more than each time here, and
// the time for the answer begins with the body, and a request without a slow one has as long as package web allows.
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

// adminServer leaves time for a CPU profile, which takes as long as it is asked to.
func adminServer(handler http.Handler, log *slog.Logger) *http.Server {
	server := publicServer(handler, log)
	server.WriteTimeout = 3 * time.Minute
	return server
}

// AdminHandler serves metrics and pprof, but not pprof's command line, which may hold a password of --database-url.
func AdminHandler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// NamedHosts answers only requests whose Host is the configured one, an address, localhost or, where the listener is on
// all addresses, a name without a dot, as container networks give. A page of another site that has its own name resolve
// to this machine (DNS rebinding) sends that name, and reads nothing.
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
		local := everywhere && host != "" && !strings.Contains(host, ".") // as names in a network of containers are
		if err != nil && host != "localhost" && host != configured && !local {
			http.Error(
				w,
				"This listener does not answer for that host; use its address.",
				http.StatusMisdirectedRequest,
			)
			return
		}
		next.ServeHTTP(w, r)
	})
}
