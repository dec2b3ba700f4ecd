package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// openLoop sends requests at a constant rate, however long the answers take, as callers who do not know of each other
// do. Latency counts from the moment at which a request was due: one that waits for a free connection, or because the
// driver is late, is as late for its caller.
type openLoop struct {
	dial     func(ctx context.Context) (net.Conn, error)
	requests [][]byte // sent in turn
	rate     float64  // a second
	length   time.Duration
	conns    int
	until    func(due time.Time) // waits
}

// run returns the latency of each request, the least first. Any status other than 200 is an error.
func (o openLoop) run(ctx context.Context) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := int(math.Ceil(o.rate * o.length.Seconds()))
	queue := make(chan int, n) // the driver never waits for a connection
	var began time.Time
	dueAt := func(i int) time.Time { return began.Add(time.Duration(float64(i) / o.rate * float64(time.Second))) }
	each := make([][]time.Duration, o.conns)
	var workers sync.WaitGroup
	for w := range each {
		conn, err := o.dial(ctx)
		if err != nil {
			cancel(fmt.Errorf("open loop: %w", err))
			break
		}
		each[w] = make([]time.Duration, 0, 2*n/o.conns+1)
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		workers.Go(func() {
			defer conn.Close() //nolint:errcheck // only read
			defer stop()
			answers := bufio.NewReaderSize(conn, 16<<10)
			for i := range queue {
				if err := roundTrip(conn, answers, o.requests[i%len(o.requests)]); err != nil {
					cancel(fmt.Errorf("open loop: request %d: %w", i+1, err))
					return
				}
				each[w] = append(each[w], time.Since(dueAt(i)))
			}
		})
	}
	began = time.Now()
	for i := range n {
		o.until(dueAt(i))
		if ctx.Err() != nil {
			break
		}
		queue <- i
	}
	close(queue)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	all := slices.Concat(each...)
	slices.Sort(all)
	return all, nil
}

// quantile is the latency within which this share of the requests were answered.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(math.Ceil(share*float64(len(sorted))))-1)]
}

// roundTrip sends a request and reads its answer, allocating nothing.
func roundTrip(conn io.Writer, answers *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	status, err := answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("the server answered %q", status)
	}
	length := -1
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length = 0
			for _, digit := range bytes.TrimRight(value, "\r\n") {
				length = 10*length + int(digit-'0')
			}
		}
	}
	if length < 0 {
		return errors.New("the answer has no Content-Length")
	}
	_, err = answers.Discard(length)
	return err
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
		dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		},
		requests: requests,
		rate:     rate,
		length:   length,
		conns:    conns,
		until:    sleepUntil,
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

// sleepUntil waits precisely. Go's own timers can be a millisecond late when nothing else happens, which would be
// most of a fast answer's latency.
func sleepUntil(due time.Time) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const setTimerSlack = 29 // PR_SET_TIMERSLACK; in nanoseconds, of this thread
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
	for left := time.Until(due); left > 0; left = time.Until(due) {
		t := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&t, nil) // interrupted, it goes on
	}
}
