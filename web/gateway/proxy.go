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
	"doorward/storage"
)

// How long the parts of a forwarded request may take, and how much it may carry. What flows is not bounded in time:
// each piece of a body, either way, has patience of its own, so that streams last.
const (
	dialTimeout     = 2 * time.Second
	headerTimeout   = 30 * time.Second // until the upstream begins to answer
	patience        = 30 * time.Second // for the next piece from the caller, and for the caller to take one
	maxBody         = 64 << 20         // bytes
	decisionTimeout = 8 * time.Second  // of the decision, which asks the database

	// The whole body of an anonymous request may take a minute, and as long more as it takes at the slowest rate.
	anonymousGrace = time.Minute
	anonymousRate  = 16 << 10 // bytes a second
)

// StatusCallerGone is how a request is noted whose caller went away before there was an answer; it has no name in HTTP.
const StatusCallerGone = 499

// forwarded is what the parts of one request's way through the proxy know of each other.
type forwarded struct {
	verdict Verdict
	status  int          // of the upstream; zero: no answer yet
	body    *patientBody // nil: there is none
}

type forwardedKey struct{}

// forward decides about a request on an API's host and passes on what is allowed.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, a *API) {
	r.Pattern = a.ID // in the log and the metrics, where no path may stand
	if g.proxies[a] == nil {
		g.Refuse(w, r, a, &Refusal{
			Kind:   NotFound,
			Detail: "This server authorizes requests for this API but does not forward them; call the API directly.",
		})
		return
	}
	q := Request{Method: r.Method, Path: r.URL.EscapedPath(), Header: r.Header, Address: g.address(r)}
	v := g.decide(r, a, q)
	ctx := r.Context()
	RateHeaders(w.Header(), v.Taken)
	if v.Refusal != nil {
		status, _ := a.Shape.Body(v.Refusal)
		g.Note(ctx, &v, r.Method, status) // before the answer, which may have its reader look for it
		g.Refuse(w, r, a, v.Refusal)
		return
	}
	f := &forwarded{verdict: v}
	public := v.Route.Public
	if public {
		leave, refusal := a.crowd.enter(q.Address, a.Anonymous)
		if refusal != nil {
			g.Refuse(w, r, a, refusal)
			return
		}
		defer leave()
	} else {
		lasting, end := context.WithCancelCause(ctx)
		defer end(nil)
		one := &lastingRequest{api: a, request: q, end: end, allowed: g.now()}
		g.lasting.add(one)
		defer g.lasting.remove(one)
		ctx = lasting
	}
	f.body = patient(w, r, public)
	// Also when the upstream breaks off in the middle, which ends in a panic of net/http's own.
	defer func() {
		if closed := closedBy(ctx); closed != nil {
			oauth.LogFieldsOf(ctx).Cause = closed
			f.verdict.Reason = closed.verdict.Reason
		}
		g.Note(context.WithoutCancel(ctx), &f.verdict, r.Method, cmp.Or(f.status, StatusCallerGone))
	}()
	g.proxies[a].ServeHTTP(
		&patientWriter{
			ResponseWriter: w,
			control:        http.NewResponseController(w),
			said:           w.Header().Clone(),
			interim:        r.ProtoAtLeast(1, 1),
		},
		r.WithContext(context.WithValue(ctx, forwardedKey{}, f)),
	)
}

// closedBy is why a request was ended by Recheck; nil: it was not.
func closedBy(ctx context.Context) *closedError {
	var closed *closedError
	errors.As(context.Cause(ctx), &closed)
	return closed
}

// decide is Decide in its time.
func (g *Gateway) decide(r *http.Request, a *API, q Request) Verdict {
	ctx, cancel := context.WithTimeout(r.Context(), decisionTimeout)
	defer cancel()
	return g.Decide(ctx, a, q)
}

// newProxy makes the proxy of an API. The body goes on as it comes, piece by piece, and so does the answer.
func (g *Gateway) newProxy(a *API) http.Handler {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(a.Upstream)
			// As it came, parameters that Go cannot parse included: nothing was decided by the query.
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
			p.Out.Trailer = nil // it comes after the decision
			p.Out.URL.User = nil
			if !mayUpgrade(p.In, p.Out.Header.Get("Upgrade")) {
				p.Out.Header.Del("Upgrade")
				p.Out.Header.Del("Connection")
			}
			p.Out.Header.Set("X-Request-Id", storage.ActorOf(p.In.Context()).RequestID)
			// After what the caller's Connection header named was dropped, so that it cannot name these.
			setIdentity(p.Out.Header, f.verdict.Principal)
		},
		ModifyResponse: func(answer *http.Response) error {
			f := answer.Request.Context().Value(forwardedKey{}).(*forwarded)
			f.status = answer.StatusCode
			h := answer.Header
			for _, name := range []string{"X-Request-Id", "Strict-Transport-Security"} {
				h.Del(name) // this server has said it
			}
			if f.verdict.Taken.Limit > 0 {
				for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
					h.Del(name)
				}
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
				// One who has sent less than they said, with nothing more to come, may still be there to read why.
				if byCaller = f.body.last(); byCaller == nil {
					oauth.LogFieldsOf(r.Context()).Cause = err
					panic(http.ErrAbortHandler) // the caller has gone
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
			DisableCompression:    true, // what the caller asks for goes to the upstream
			ForceAttemptHTTP2:     true,
			Proxy:                 nil, // the environment has no say in where an API's requests go
		},
		ErrorLog:      slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
		FlushInterval: -1, // each piece at once
		BufferPool:    &buffers,
	}
}

// mayUpgrade reports whether a request may change the protocol of its connection: only to WebSocket, in the one form of
// RFC 6455, section 4.1. After a change to another protocol, h2c above all, requests would pass undecided; and where a
// body comes first, servers may disagree where it ends.
func mayUpgrade(r *http.Request, protocol string) bool {
	return strings.EqualFold(protocol, "websocket") && r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0
}

// upstreamFailure is what a caller is told where no answer of the upstream can be passed on; byCaller is what was wrong
// with their body, nil where nothing was.
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

// patient gives a request the time that streams take, in place of that of the server's own short answers. What is
// anonymous gets less of it. The body is nil where there is none.
func patient(w http.ResponseWriter, r *http.Request, anonymous bool) *patientBody {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // none of these can fail on a connection of net/http
	if r.Body == nil || r.Body == http.NoBody {
		_ = control.SetReadDeadline(time.Time{})
		return nil
	}
	b := &patientBody{
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

// patientBody gives the caller new time for each piece of a body, and where that is bounded no more than a slow line
// takes for all of it, since for as long as it lasts it holds a connection to the API.
type patientBody struct {
	io.ReadCloser
	deadline func(time.Time) error
	now      func() time.Time
	until    time.Time // when it must have come, at the slowest rate; zero: no bound
	failed   atomic.Pointer[error]
	reading  sync.Mutex // held while a piece is read
}

// failure is what was wrong with the body that the caller sent; nil: nothing, so far.
func (b *patientBody) failure() error {
	if b == nil {
		return nil
	}
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// last is failure, after a read that is under way. It is for when the caller's connection has ended, and reads with it.
func (b *patientBody) last() error {
	if b == nil {
		return nil
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	return b.failure()
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	deadline := b.now().Add(patience)
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.deadline(deadline) // as in patient
	n, err := b.ReadCloser.Read(p)
	if !b.until.IsZero() {
		b.until = b.until.Add(time.Duration(n) * time.Second / anonymousRate)
	}
	if errors.Is(err, io.EOF) {
		// From here on net/http reads only to learn that the caller goes away, which may take any time.
		_ = b.deadline(time.Time{}) // as in patient
		return n, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", errCallerSlow, err)
	}
	if err != nil && !errors.Is(err, http.ErrBodyReadAfterClose) { // which says that the upstream was faster to fail
		b.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// errCrowd says that as many anonymous requests are under way as may be.
var errCrowd = errors.New("too many anonymous requests at once (anonymous_concurrency)")

// errCallerSlow says that the next piece of a body did not come in its time.
var errCallerSlow = errors.New("the caller was too slow")

// patientWriter gives the caller new time to take each piece of an answer.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	said    http.Header // what this server had to say before the API said anything
	cleared bool        // of that nothing is left
	interim bool        // the caller's HTTP knows interim answers (RFC 9110, section 15.2)
}

// WriteHeader implements http.ResponseWriter. After an interim answer, such as the 100 that a caller asks for, the
// proxy empties the header, and what this server has said is said again.
func (w *patientWriter) WriteHeader(status int) {
	switch {
	case status < http.StatusOK && status != http.StatusSwitchingProtocols:
		w.cleared = true
		if !w.interim {
			return
		}
	case w.cleared:
		w.cleared = false
		h := w.Header()
		for name, values := range w.said {
			h[name] = append(values, h[name]...)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *patientWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(patience))
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// buffers are those in which answers are copied.
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
