//go:build faults

package faults

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between the server and PostgreSQL. It understands enough of PostgreSQL's protocol (version 3, without
// TLS) to know which statement is about to be executed, by a simple query or by the extended protocol, and which
// statements came before it in the same transaction.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	rule  *rule
	conns map[net.Conn]bool
	dark  *darkness
}

// darkness is a network that loses everything, without a word to either end.
type darkness struct {
	listeners bool          // only on connections that listen for notifications
	over      chan struct{} // closed when it ends
}

// darken has the proxy hold back everything, or what is on connections that listen for notifications, until the
// returned function is called.
func (p *proxy) darken(listeners bool) (end func()) {
	d := &darkness{listeners, make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dark = d
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dark = nil
		close(d.over)
	}
}

// grope waits while it is dark on this connection.
func (x *exchange) grope() {
	for {
		x.proxy.mu.Lock()
		d := x.dark
		x.proxy.mu.Unlock()
		if d == nil || d.listeners && !x.listens.Load() {
			return
		}
		<-d.over
	}
}

// rule is a fault that happens once, at the first statement that it matches.
type rule struct {
	match func(before []string, statement string) bool
	act   action
	// happened is closed when the fault has happened.
	happened chan struct{}
	// release lets a held statement go on.
	release chan struct{}
}

type action int

const (
	pass       action = iota
	cutBefore         // the connection breaks, and the statement never arrives
	cutAfter          // the statement is executed, and the connection breaks before the client gets the answer
	hold              // the statement waits until release is closed
	holdAnswer        // the statement is executed, and its answer waits until release is closed
)

// newProxy listens on its own port and stops when the test ends.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	p := &proxy{listener: listener, target: target, conns: map[net.Conn]bool{}}
	go p.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.conns {
			_ = c.Close()
		}
	})
	return p
}

// through returns a database URL that goes through the proxy.
func (p *proxy) through(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	ok(t, err)
	u.Host = p.listener.Addr().String()
	return u.String()
}

// arm sets the next fault.
func (p *proxy) arm(act action, match func(before []string, statement string) bool) *rule {
	r := &rule{match: match, act: act, happened: make(chan struct{}), release: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = r
	return r
}

// disarm removes a fault that has not happened yet.
func (p *proxy) disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = nil
}

// commitOf matches the commit of a transaction with a statement that contains part.
func commitOf(part string) func([]string, string) bool {
	return func(before []string, statement string) bool {
		if !strings.EqualFold(statement, "commit") {
			return false
		}
		for _, s := range before {
			if strings.Contains(s, part) {
				return true
			}
		}
		return false
	}
}

// statement matches a statement that contains part and is outside of any transaction.
func statement(part string) func([]string, string) bool {
	return func(before []string, statement string) bool {
		return len(before) == 0 && strings.Contains(statement, part)
	}
}

func (p *proxy) decide(before []string, statement string) *rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rule
	if r == nil || !r.match(before, statement) {
		return nil
	}
	p.rule = nil
	close(r.happened)
	return r
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // the test is over
		}
		server, err := net.DialTimeout("tcp", p.target, time.Second)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		x := &exchange{
			proxy: p, client: client, server: server, statements: map[string]string{}, portals: map[string]string{},
		}
		go x.answers()
		go x.questions()
	}
}

// exchange is one connection in both directions.
type exchange struct {
	*proxy
	client, server net.Conn
	statements     map[string]string // statement text by name of the prepared statement
	portals        map[string]string // statement text by name of the portal
	open           bool              // a transaction is open
	before         []string          // the statements of the open transaction
	listens        atomic.Bool       // for notifications

	mu      sync.Mutex
	swallow bool          // answers are dropped, and the connection breaks after the last of them
	waits   chan struct{} // answers wait until it is closed; nil: they do not
}

// cut breaks the connection: the client sees a reset, PostgreSQL sees the end of the stream.
func (x *exchange) cut() {
	if tcp, ok := x.client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_, _ = x.client.Close(), x.server.Close()
	x.proxy.mu.Lock()
	defer x.proxy.mu.Unlock()
	delete(x.conns, x.client)
	delete(x.conns, x.server)
}

const maxMessage = 1 << 24

// questions forwards messages of the client.
func (x *exchange) questions() {
	defer x.cut()
	from := bufio.NewReader(x.client)
	// The first message has no type: its length, then a version or a request to cancel.
	first := make([]byte, 4)
	if _, err := io.ReadFull(from, first); err != nil {
		return
	}
	n := binary.BigEndian.Uint32(first)
	if n < 8 || n > 10_000 {
		return
	}
	first = append(first, make([]byte, n-4)...)
	if _, err := io.ReadFull(from, first[4:]); err != nil {
		return
	}
	if _, err := x.server.Write(first); err != nil {
		return
	}
	for {
		message, err := readMessage(from)
		if err != nil || !x.question(message) {
			return
		}
		x.grope()
		if _, err := x.server.Write(message); err != nil {
			return
		}
	}
}

// readMessage reads a message: its type, its length and its content.
func readMessage(from *bufio.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > maxMessage {
		return nil, errors.New("not PostgreSQL's protocol")
	}
	message := append(head, make([]byte, n-4)...)
	_, err := io.ReadFull(from, message[5:])
	return message, err
}

// texts returns the first n strings of a message, which end with a zero byte each.
func texts(message []byte, n int) []string {
	parts := bytes.SplitN(message[5:], []byte{0}, n+1)
	list := make([]string, n)
	for i := range min(n, len(parts)) {
		list[i] = string(parts[i])
	}
	return list
}

// question handles a message of the client, and reports whether the connection stays open.
func (x *exchange) question(message []byte) bool {
	switch message[0] {
	case 'P': // Parse: statement, query
		p := texts(message, 2)
		x.statements[p[0]] = p[1]
	case 'B': // Bind: portal, statement
		p := texts(message, 2)
		x.portals[p[0]] = x.statements[p[1]]
	case 'E': // Execute: portal
		return x.execute(x.portals[texts(message, 1)[0]])
	case 'Q': // Query
		return x.execute(texts(message, 1)[0])
	}
	return true
}

func (x *exchange) execute(text string) bool {
	text = strings.TrimRight(strings.TrimSpace(text), ";")
	r := x.decide(x.before, text)
	word, _, _ := strings.Cut(strings.ToLower(text), " ")
	switch word {
	case "listen":
		x.listens.Store(true)
	case "begin", "start":
		x.open, x.before = true, nil
	case "commit", "rollback", "end":
		x.open, x.before = false, nil
	}
	if x.open {
		x.before = append(x.before, text)
	}
	if r == nil {
		return true
	}
	switch r.act {
	case pass:
	case cutBefore:
		return false
	case cutAfter:
		x.mu.Lock()
		x.swallow = true
		x.mu.Unlock()
	case hold:
		<-r.release
	case holdAnswer:
		x.mu.Lock()
		x.waits = r.release
		x.mu.Unlock()
	}
	return true
}

// answers forwards messages of PostgreSQL.
func (x *exchange) answers() {
	defer x.cut()
	from := bufio.NewReader(x.server)
	for {
		message, err := readMessage(from)
		if err != nil {
			return
		}
		x.mu.Lock()
		swallow, waits := x.swallow, x.waits
		x.mu.Unlock()
		if waits != nil {
			<-waits
		}
		if swallow {
			if message[0] == 'Z' { // ReadyForQuery: the statement is finished
				return
			}
			continue
		}
		x.grope()
		if _, err := x.client.Write(message); err != nil {
			return
		}
	}
}
