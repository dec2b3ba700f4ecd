package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"doorward/oauth"
	"doorward/oauth/dpop"
	"doorward/storage"
)

// Bounds of a forwarded request. Its total time is not bounded: each read and write of a body has its own deadline, so
// that streams can run indefinitely.
const (
	dialTimeout     = 2 * time.Second
	headerTimeout   = 30 * time.Second // until the upstream starts its response
	idleTimeout     = 30 * time.Second // for each read from the caller, and each write to the caller
	maxBody         = 64 << 20         // bytes
	decisionTimeout = 8 * time.Second  // of the decision, which queries the database

	// The body of an anonymous request may take a minute, plus the time that it needs at the slowest rate.
	anonymousGrace = time.Minute
	anonymousRate  = 16 << 10 // bytes per second
)

// StatusCallerGone is the status in logs and usage if the caller disconnected before the response. HTTP does not define
// it.
const StatusCallerGone = 499

// forwarded is the state of a request that the parts of the proxy share.
type forwarded struct {
	verdict Verdict
	status  int           // of the upstream; zero: no response yet
	body    *deadlineBody // nil: there is none
	nonce   bool          // the response has a nonce for DPoP, which replaces the upstream's
}

type forwardedKey struct{}

// forward decides about a request on an API's host, and forwards it if it is allowed.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, a *API) {
	r.Pattern = a.ID // for the log and metrics, which must not have paths
	if g.proxies[a] == nil {
		g.Refuse(w, r, a, &Refusal{
			Kind:   NotFound,
			Detail: "This server authorizes requests for this API but does not forward them; call the API directly.",
		})
		return
	}
	ctx := r.Context()
	q := Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Header: r.Header, Address: g.address(r), Origin: g.oauth.OriginOf(ctx),
	}
	v := g.decide(r, a, q)
	g.OfferNonce(w.Header(), r.Header)
	RateHeaders(w.Header(), v.Taken)
	if v.Refusal != nil {
		status, _ := a.Shape.Body(v.Refusal)
		g.Note(ctx, &v, r.Method, status) // before the response, so that its reader finds it in the usage
		g.Refuse(w, r, a, v.Refusal)
		return
	}
	f := &forwarded{verdict: v, nonce: w.Header().Get(dpop.NonceHeader) != ""}
	public := v.Route.Public
	if public {
		leave, refusal := a.anonymousCount.enter(q.Address, a.Anonymous)
		if refusal != nil {
			g.Refuse(w, r, a, refusal)
			return
		}
		defer leave()
	} else {
		lasting, end := context.WithCancelCause(ctx)
		defer end(nil)
		one := &longRequest{api: a, request: q, end: end, allowed: g.now()}
		g.long.add(one)
		defer g.long.remove(one)
		ctx = lasting
	}
	f.body = extendDeadlines(w, r, public)
	// Deferred, because net/http panics if the upstream breaks off its response.
	defer func() {
		if closed := closedBy(ctx); closed != nil {
			oauth.LogFieldsOf(ctx).Cause = closed
			f.verdict.Reason = closed.verdict.Reason
		}
		g.Note(context.WithoutCancel(ctx), &f.verdict, r.Method, cmp.Or(f.status, StatusCallerGone))
	}()
	g.proxies[a].ServeHTTP(
		&deadlineWriter{
			ResponseWriter: w,
			control:        http.NewResponseController(w),
			ownHeaders:     w.Header().Clone(),
			interim:        r.ProtoAtLeast(1, 1),
		},
		r.WithContext(context.WithValue(ctx, forwardedKey{}, f)),
	)
}

// closedBy returns why Recheck ended a request; nil if it did not.
func closedBy(ctx context.Context) *closedError {
	var closed *closedError
	errors.As(context.Cause(ctx), &closed)
	return closed
}

// decide is Decide with a timeout.
func (g *Gateway) decide(r *http.Request, a *API, q Request) Verdict {
	ctx, cancel := context.WithTimeout(r.Context(), decisionTimeout)
	defer cancel()
	return g.Decide(ctx, a, q)
}

// newProxy creates the proxy of an API. It streams requests and responses.
func (g *Gateway) newProxy(a *API) http.Handler {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(a.Upstream)
			// Unchanged, even if Go cannot parse it, because the decision does not depend on the query.
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			if g.trusted(p.In) {
				p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			}
			p.SetXForwarded()
			proto := strings.ToLower(p.In.Header.Get("X-Forwarded-Proto"))
			if (proto == "http" || proto == "https") && g.trusted(p.In) {
				p.Out.Header.Set("X-Forwarded-Proto", proto)
			}
			if host := p.In.Header.Get("X-Forwarded-Host"); host != "" && g.trusted(p.In) {
				p.Out.Header.Set("X-Forwarded-Host", host)
			}
			f := p.In.Context().Value(forwardedKey{}).(*forwarded)
			clearHeaders(p.Out.Header)
			dropOwnCookies(p.Out.Header)
			p.Out.Trailer = nil // trailers arrive after the decision
			p.Out.URL.User = nil
			if !mayUpgrade(p.In, p.Out.Header.Get("Upgrade")) {
				p.Out.Header.Del("Upgrade")
				p.Out.Header.Del("Connection")
			}
			p.Out.Header.Set("X-Request-Id", storage.ActorOf(p.In.Context()).RequestID)
			// After the headers that the caller's Connection header names were removed, so that it cannot remove these.
			setIdentity(p.Out.Header, f.verdict.Principal)
		},
		ModifyResponse: func(answer *http.Response) error {
			f := answer.Request.Context().Value(forwardedKey{}).(*forwarded)
			f.status = answer.StatusCode
			h := answer.Header
			for _, name := range []string{"X-Request-Id", "Strict-Transport-Security"} {
				h.Del(name) // this server has set it
			}
			if f.verdict.Taken.Limit > 0 {
				for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
					h.Del(name)
				}
			}
			if f.nonce {
				h.Del(dpop.NonceHeader)
			}
			if a.cors != nil {
				for name := range h {
					if strings.HasPrefix(name, "Access-Control-") {
						h.Del(name)
					}
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			f := r.Context().Value(forwardedKey{}).(*forwarded)
			if closed := closedBy(r.Context()); closed != nil {
				f.status, _ = a.Shape.Body(closed.verdict.Refusal)
				g.Refuse(w, r, a, closed.verdict.Refusal)
				return
			}
			byCaller := f.body.failure()
			if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
				// A caller that sent an incomplete body and closed its side may still read the error.
				if byCaller = f.body.finalFailure(); byCaller == nil {
					oauth.LogFieldsOf(r.Context()).Cause = err
					panic(http.ErrAbortHandler) // the caller has disconnected
				}
			}
			refusal := upstreamFailure(err, byCaller)
			f.status, _ = a.Shape.Body(refusal)
			g.Refuse(w, r, a, refusal)
		},
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: headerTimeout,
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConns:          512,
			MaxIdleConnsPerHost:   512,
			DisableCompression:    true, // the caller's Accept-Encoding goes to the upstream
			ForceAttemptHTTP2:     true,
			Proxy:                 nil, // ignore HTTP_PROXY
		},
		ErrorLog:      slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
		FlushInterval: -1, // immediately
		BufferPool:    &buffers,
	}
}

// mayUpgrade reports whether a request may change the protocol of its connection: only to WebSocket, as in RFC 6455,
// section 4.1. Within another protocol, such as h2c, requests would pass without a decision; and if there is a body,
// servers may disagree about where it ends.
func mayUpgrade(r *http.Request, protocol string) bool {
	return strings.EqualFold(protocol, "websocket") && r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0
}

// upstreamFailure returns the refusal if there is no response from the upstream. ByCaller is the error of the caller's
// body, if any.
func upstreamFailure(err, byCaller error) *Refusal {
	var large *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.Is(byCaller, errCallerSlow):
		return &Refusal{
			Kind:   BadRequest,
			Status: http.StatusRequestTimeout,
			Detail: "The body took too long to arrive; send it again.",
			Cause:  byCaller,
		}
	case errors.As(byCaller, &large):
		return &Refusal{Kind: TooLarge, Detail: "The body is larger than the maximum of 64 MiB.", Cause: byCaller}
	case byCaller != nil:
		return &Refusal{
			Kind:   BadRequest,
			Detail: "The body is malformed or incomplete; send it again.",
			Cause:  fmt.Errorf("the caller's body: %w", byCaller),
		}
	case errors.As(err, &slow) && slow.Timeout():
		return &Refusal{Kind: GatewayTimeout, Detail: "The API did not respond in time; try again later.", Cause: err}
	}
	return &Refusal{Kind: BadGateway, Detail: "The API cannot be reached right now; try again shortly.", Cause: err}
}

// extendDeadlines replaces the server's deadlines for a request with those for streams, which are shorter for anonymous
// requests. It returns nil if there is no body.
func extendDeadlines(w http.ResponseWriter, r *http.Request, anonymous bool) *deadlineBody {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // setting deadlines does not fail on a connection of net/http
	if r.Body == nil || r.Body == http.NoBody {
		_ = control.SetReadDeadline(time.Time{})
		return nil
	}
	b := &deadlineBody{
		ReadCloser: http.MaxBytesReader(w, r.Body, maxBody),
		deadline:   control.SetReadDeadline,
		now:        time.Now,
	}
	if anonymous {
		b.until = b.now().Add(anonymousGrace)
	}
	r.Body = b
	return b
}

// deadlineBody extends the read deadline with each read of a body. For anonymous requests it also bounds the total
// time, because a slow request holds a connection to the API.
type deadlineBody struct {
	io.ReadCloser
	deadline func(time.Time) error
	now      func() time.Time
	until    time.Time // when the body must be complete, at the slowest rate; zero: no bound
	failed   atomic.Pointer[error]
	reading  sync.Mutex // held during a read
}

// failure returns the error of the caller's body; nil: none so far.
func (b *deadlineBody) failure() error {
	if b == nil {
		return nil
	}
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// finalFailure waits for a running read, then returns failure. It is for use after the caller's connection has ended.
func (b *deadlineBody) finalFailure() error {
	if b == nil {
		return nil
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	return b.failure()
}

// Read implements io.Reader.
func (b *deadlineBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	deadline := b.now().Add(idleTimeout)
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.deadline(deadline) // as in extendDeadlines
	n, err := b.ReadCloser.Read(p)
	if !b.until.IsZero() {
		b.until = b.until.Add(time.Duration(n) * time.Second / anonymousRate)
	}
	if errors.Is(err, io.EOF) {
		// From here on net/http reads only to notice that the caller disconnects, which has no deadline.
		_ = b.deadline(time.Time{}) // as in extendDeadlines
		return n, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", errCallerSlow, err)
	}
	if err != nil && !errors.Is(err, http.ErrBodyReadAfterClose) { // that one means that the upstream failed first
		b.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// errTooManyAnonymous means that the limit of concurrent anonymous requests is reached.
var errTooManyAnonymous = errors.New("too many anonymous requests at once (anonymous_concurrency)")

// errCallerSlow means that the caller did not send more of its body before the deadline.
var errCallerSlow = errors.New("the caller was too slow")

// deadlineWriter extends the write deadline with each write of a response.
type deadlineWriter struct {
	http.ResponseWriter
	control    *http.ResponseController
	ownHeaders http.Header // the headers that this server set before the upstream's response
	cleared    bool        // the proxy has removed them
	interim    bool        // the caller's HTTP version has interim responses (RFC 9110, section 15.2)
}

// WriteHeader implements http.ResponseWriter. After an interim response, such as 100, the proxy clears the headers, so
// this server's own are set again.
func (w *deadlineWriter) WriteHeader(status int) {
	switch {
	case status < http.StatusOK && status != http.StatusSwitchingProtocols:
		w.cleared = true
		if !w.interim {
			return
		}
	case w.cleared:
		w.cleared = false
		h := w.Header()
		for name, values := range w.ownHeaders {
			h[name] = append(values, h[name]...)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *deadlineWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(idleTimeout))
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// buffers are used to copy responses.
var buffers bufferPool

type bufferPool struct{ pool sync.Pool }

const bufferSize = 32 << 10

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool.
func (b *bufferPool) Put(p []byte) { b.pool.Put(&p) }
