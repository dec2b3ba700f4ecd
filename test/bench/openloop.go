package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// openLoop sends requests at a constant rate, however long the answers take, as callers who do not know of each other
// do. Latency counts from the moment at which a request was due: one that waits for a free connection, or because the
// driver is late, is as late for its caller.
//
// The driver shares the processors with the server, so it takes as little of them as it can. One thread does it all,
// with the system's own calls, and it does so once a millisecond: it reads the answers that have come, and sends the
// requests that are due. To wake for each request and each answer took half a processor. So latencies are exact to a
// millisecond, and those of two servers are as exact as each other.
type openLoop struct {
	address  string   // of the server: an IP address and a port
	requests [][]byte // sent in turn
	rate     float64  // a second
	length   time.Duration
	conns    int
}

// run returns the latency of each request, the least first. Any status other than 200 is an error.
func (o openLoop) run(ctx context.Context) ([]time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const setTimerSlack = 29 // PR_SET_TIMERSLACK: how many nanoseconds a wait of this thread may be late
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
	waiter, conns, err := o.connect()
	defer func() {
		_ = syscall.Close(waiter) // nothing is lost with it
		for _, c := range conns {
			_ = syscall.Close(c.fd)
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("open loop: %w", err)
	}
	s := newSchedule(o.rate, o.length, o.conns)
	began := time.Now()
	ready := make([]syscall.EpollEvent, o.conns)
	for s.answered() < s.n {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for {
			conn, request, ok := s.next(time.Since(began))
			if !ok {
				break
			}
			if err := conns[conn].send(o.requests[request%len(o.requests)]); err != nil {
				return nil, fmt.Errorf("open loop: request %d: %w", request+1, err)
			}
		}
		pause := syscall.NsecToTimespec(int64(s.pause(time.Since(began))))
		_ = syscall.Nanosleep(&pause, nil) // interrupted, it is only early
		n, err := syscall.EpollWait(waiter, ready, 0)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("open loop: %w", err)
		}
		now := time.Since(began)
		for _, event := range ready[:max(n, 0)] {
			conn := int(event.Fd)
			complete, err := conns[conn].receive()
			if err != nil {
				return nil, fmt.Errorf("open loop: an answer: %w", err)
			}
			if complete {
				s.done(conn, now)
			}
		}
	}
	slices.Sort(s.latencies)
	return s.latencies, nil
}

// schedule says which request is sent when, and on which connection. Times count from the beginning of the run.
type schedule struct {
	rate      float64
	n         int   // requests
	sent      int   // requests
	free      []int // connections, used in turn: a server closes one that is idle for long
	sending   []int // by connection, the request that is under way
	latencies []time.Duration
}

func newSchedule(rate float64, length time.Duration, conns int) *schedule {
	n := int(math.Ceil(rate * length.Seconds()))
	s := &schedule{rate: rate, n: n, sending: make([]int, conns), latencies: make([]time.Duration, 0, n)}
	for conn := range conns {
		s.free = append(s.free, conn)
	}
	return s
}

// tick is the time between two moments at which the driver works. Requests that are due between them are late.
const tick = time.Millisecond

func (s *schedule) due(request int) time.Duration {
	return time.Duration(math.Round(float64(request) / s.rate * float64(time.Second)))
}

// next returns a request to be sent now; ok is false if none was due at the last tick or no connection is free.
func (s *schedule) next(now time.Duration) (conn, request int, ok bool) {
	if s.sent == s.n || len(s.free) == 0 || s.due(s.sent) > now.Truncate(tick) {
		return 0, 0, false
	}
	conn, s.free = s.free[0], s.free[1:]
	s.sending[conn] = s.sent
	s.sent++
	return conn, s.sending[conn], true
}

// pause is how long there is nothing to do: until the next tick, or longer if no answer is awaited.
func (s *schedule) pause(now time.Duration) time.Duration {
	const most = time.Second / 2 // to notice that the run is cancelled
	at := now + 1
	if s.sent == s.answered() && s.sent < s.n {
		at = max(at, s.due(s.sent))
	}
	if early := at % tick; early > 0 {
		at += tick - early
	}
	return min(most, at-now)
}

// done notes that the request on a connection was answered.
func (s *schedule) done(conn int, now time.Duration) {
	s.latencies = append(s.latencies, now-s.due(s.sending[conn]))
	s.free = append(s.free, conn)
}

func (s *schedule) answered() int { return len(s.latencies) }

// quantile is the latency within which this share of the requests were answered.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(math.Ceil(share*float64(len(sorted))))-1)]
}

// openConn is a connection on which one request at a time is under way.
type openConn struct {
	fd     int
	answer []byte // what was received of it
}

// connect opens the connections, and a file descriptor to wait for all of them.
func (o openLoop) connect() (waiter int, conns []*openConn, err error) {
	if waiter, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return waiter, nil, fmt.Errorf("epoll: %w", err)
	}
	address, err := netip.ParseAddrPort(o.address)
	if err != nil {
		return waiter, nil, fmt.Errorf("address: %w", err)
	}
	for i := range o.conns {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return waiter, conns, fmt.Errorf("socket: %w", err)
		}
		conns = append(conns, &openConn{fd: fd, answer: make([]byte, 0, 16<<10)})
		err = errors.Join(
			syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}),
			syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
			syscall.SetNonblock(fd, true),
			// An event says which connection it concerns, and not by its descriptor.
			syscall.EpollCtl(waiter, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}),
		)
		if err != nil {
			return waiter, conns, fmt.Errorf("connect: %w", err)
		}
	}
	return waiter, conns, nil
}

// send sends a request, which the empty buffer of its connection holds whole.
func (c *openConn) send(request []byte) error {
	n, err := syscall.Write(c.fd, request)
	if err == nil && n < len(request) {
		err = errors.New("the request was not sent whole")
	}
	return err
}

// receive reads what has come of an answer; complete: it has all come.
func (c *openConn) receive() (complete bool, err error) {
	n, err := syscall.Read(c.fd, c.answer[len(c.answer):cap(c.answer)])
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return false, nil
	case err != nil:
		return false, err
	case n == 0:
		return false, errors.New("the server closed the connection, or the answer is too long")
	}
	c.answer = c.answer[:len(c.answer)+n]
	if complete, err = isComplete(c.answer); complete {
		c.answer = c.answer[:0]
	}
	return complete, err
}

// isComplete reports whether an answer has all come. Any status other than 200 is an error.
func isComplete(answer []byte) (bool, error) {
	headers, body, ok := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !ok {
		return false, nil
	}
	status, fields, _ := bytes.Cut(headers, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return false, fmt.Errorf("the server answered %q", status)
	}
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		if value, ok := bytes.CutPrefix(field, []byte("Content-Length: ")); ok {
			length, err := strconv.Atoi(string(value))
			return len(body) >= length, err
		}
	}
	return false, errors.New("the answer has no Content-Length")
}

// tailConns are enough connections for every request that is under way at half the peak rate, even after a stall.
const tailConns = 256

// open is an openLoop that sends the load to its server.
func (l load) open(rate float64, length time.Duration, conns int) (openLoop, error) {
	u, err := url.Parse(l.url)
	if err != nil {
		return openLoop{}, fmt.Errorf("open loop: %w", err)
	}
	requests, err := l.requests(u)
	return openLoop{
		address:  u.Host,
		requests: requests,
		rate:     rate,
		length:   length,
		conns:    conns,
	}, err
}

// requests are the forms of a load as requests.
func (l load) requests(u *url.URL) ([][]byte, error) {
	forms, err := os.ReadFile(l.bodies)
	if err != nil {
		return nil, fmt.Errorf("bodies: %w", err)
	}
	var all [][]byte
	for form := range strings.Lines(string(forms)) {
		form = strings.TrimSuffix(form, "\n")
		all = append(all, []byte("POST "+u.RequestURI()+" HTTP/1.1\r\nHost: "+u.Host+"\r\nAuthorization: "+
			l.authorization+"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+
			strconv.Itoa(len(form))+"\r\n\r\n"+form))
	}
	return all, nil
}
