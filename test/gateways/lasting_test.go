package gateways

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"doorward/storage"
	"doorward/test/stores"
)

// A WebSocket or a stream through the built-in proxy is checked again while it lasts, and is closed when a new request
// would be refused. The check costs nothing, and no other reason closes the connection.
func TestV07_WhatLastsEndsWithItsCredential(t *testing.T) {
	for engine, url := range map[string]func(testing.TB) string{"sqlite": stores.SQLite, "postgresql": stores.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			w := alone(t, stores.Open(t, url(t)))
			f := w.fronts[0]
			ended := make(chan struct{}, 10)
			echo := websocket.Server{Handler: func(ws *websocket.Conn) { _, _ = io.Copy(ws, ws) }}
			w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
				defer func() { ended <- struct{}{} }()
				if r.Header.Get("Upgrade") != "" {
					echo.ServeHTTP(rw, r)
					return
				}
				_, _ = io.WriteString(rw, "data: 1\n\n")
				_ = http.NewResponseController(rw).Flush() // it cannot fail here
				<-r.Context().Done()
			})
			for name, take := range map[string]func(k storage.APIKey) string{
				"the key is revoked": func(k storage.APIKey) string {
					return "UPDATE api_keys SET revoked_at = 1 WHERE id = '" + k.ID + "'"
				},
				"the key is paused": func(k storage.APIKey) string {
					return "UPDATE api_keys SET paused_at = 1 WHERE id = '" + k.ID + "'"
				},
				"the key has fewer scopes": func(k storage.APIKey) string {
					return "UPDATE api_keys SET scopes = '[\"write\"]' WHERE id = '" + k.ID + "'"
				},
				"the key has expired": func(k storage.APIKey) string {
					return "UPDATE api_keys SET expires_at = 1 WHERE id = '" + k.ID + "'"
				},
				"the workspace is stopped": func(storage.APIKey) string {
					return "UPDATE workspaces SET disabled_at = 1 WHERE id = '" + w.shared.ID + "'"
				},
			} {
				if name == "the workspace is stopped" {
					defer w.SQL("UPDATE workspaces SET disabled_at = NULL WHERE id = '" + w.shared.ID + "'")
				}
				k, key := w.key("read")
				config, err := websocket.NewConfig("ws://"+host+"/socket", page)
				ok(t, err)
				header, value, _ := strings.Cut(key, ": ")
				config.Header.Set(header, value)
				ws, err := websocket.NewClient(config, f.dial(t))
				ok(t, err)
				c := f.dial(t)
				c.write("GET", "/events", "", key)
				stream := c.head("GET")
				t.Cleanup(func() { _ = stream.Body.Close() })
				piece := make([]byte, 9)
				_, err = io.ReadFull(stream.Body, piece)
				ok(t, err)
				talk := func() error {
					if err := websocket.Message.Send(ws, "x"); err != nil {
						return err
					}
					var got string
					return websocket.Message.Receive(ws, &got)
				}
				// While the key is valid, the connection stays open and costs nothing.
				spent := w.left(t, f, key)
				w.now.Add(time.Minute.Microseconds())
				w.Web.Recheck(t.Context())
				ok(t, talk())
				if now := w.left(t, f, key); now < spent-1 {
					t.Errorf("%s: it cost %d", name, spent-1-now)
				}
				// A connection that was checked a moment ago is not checked again.
				w.SQL(take(k))
				w.Web.Recheck(t.Context())
				if name == "the key is revoked" {
					ok(t, talk())
				}
				w.now.Add((30 * time.Second).Microseconds())
				w.Web.Recheck(t.Context())
				// The API sees both end: if the test hangs here, one of them goes on.
				<-ended
				<-ended
				if err := talk(); err == nil {
					t.Errorf("%s: the WebSocket goes on", name)
				}
				if rest, err := io.ReadAll(stream.Body); err == nil {
					t.Errorf("%s: the stream has an end of its own: %q", name, rest)
				}
				_ = ws.Close() // it is closed
				if name == "the workspace is stopped" {
					w.SQL("UPDATE workspaces SET disabled_at = NULL WHERE id = '" + w.shared.ID + "'")
				}
			}
		})
	}
}

// left returns what is left of a key's plan, measured with a request that matches no route.
func (w *world) left(t *testing.T, f front, key string) (n int) {
	t.Helper()
	a := f.send(t, "DELETE", "/x", key)
	_, err := fmt.Sscan(a.Header.Get("X-RateLimit-Remaining"), &n)
	ok(t, err)
	return n
}

// Without storage nothing can be decided: open connections go on for five minutes, and not longer.
func TestV07_WithoutStorageWhatLastsEndsAfterFiveMinutes(t *testing.T) {
	w := alone(t, stores.Open(t, stores.SQLite(t)))
	f := w.fronts[0]
	_, key := w.key("read")
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "data: 1\n\n")
		_ = http.NewResponseController(rw).Flush() // it cannot fail here
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
	})
	c := f.dial(t)
	c.write("GET", "/events", "", key)
	stream := c.head("GET")
	t.Cleanup(func() { _ = stream.Body.Close() })
	_, err := io.ReadFull(stream.Body, make([]byte, 9))
	ok(t, err)
	w.SQL("ALTER TABLE api_keys RENAME TO api_keys_away")
	for range 4 {
		w.now.Add(time.Minute.Microseconds())
		w.Web.Recheck(t.Context())
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(stream.Body)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("it ended after four minutes: %v", err)
	default:
	}
	w.SQL("ALTER TABLE api_keys_away RENAME TO api_keys")
	w.Web.Recheck(t.Context())
	w.SQL("ALTER TABLE api_keys RENAME TO api_keys_away")
	w.now.Add((4 * time.Minute).Microseconds())
	w.Web.Recheck(t.Context()) // the last check was four minutes ago
	select {
	case err := <-ended:
		t.Fatalf("it ended although storage was back in between: %v", err)
	default:
	}
	w.now.Add((2 * time.Minute).Microseconds())
	w.Web.Recheck(t.Context())
	if err := <-ended; err == nil {
		t.Error("the stream has an end of its own")
	}
	w.SQL("ALTER TABLE api_keys_away RENAME TO api_keys")
}

// The configuration limits how many requests to public routes run at once, from one address and in all.
func TestV25_AnonymousRequestsAtOnceAreBounded(t *testing.T) {
	w := alone(t, stores.Open(t, "sqlite::memory:"))
	f := w.fronts[0]
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	w.api.does(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	var open []*connection
	wait := func(from string) {
		c := f.dialFrom(t, from)
		c.write("GET", "/public", "")
		open = append(open, c)
		<-arrived
	}
	refused := func(from string, status int) {
		t.Helper()
		c := f.dialFrom(t, from)
		c.write("GET", "/public", "")
		if a := c.answer("GET"); a.Status != status || a.Header.Get("Retry-After") != "1" {
			t.Errorf("one more answered %d %v", a.Status, a.Header)
		}
	}
	for range 3 {
		wait(stranger)
	}
	refused(stranger, http.StatusTooManyRequests)
	for range 2 {
		wait("127.0.0.10")
	}
	refused("127.0.0.10", http.StatusServiceUnavailable)
	refused("127.0.0.11", http.StatusServiceUnavailable)
	// Requests with a credential do not count.
	_, key := w.key("read")
	c := f.dial(t)
	c.write("GET", "/x", "", key)
	<-arrived
	open = append(open, c)
	close(release)
	for _, c := range open {
		if a := c.answer("GET"); a.Status != http.StatusOK {
			t.Errorf("one of those under way answered %d", a.Status)
		}
	}
	if a := f.send(t, "GET", "/public"); a.Status != http.StatusOK {
		t.Errorf("after them one answered %d", a.Status)
	}
}

// An error in the caller's own body is reported as the caller's, in the answer and in the log.
func TestV25_ACallersMistakesAre400AndNoErrorOfOurs(t *testing.T) {
	w := alone(t, stores.Open(t, "sqlite::memory:"))
	_, key := w.key("write")
	for name, body := range map[string]string{
		"a chunk length that is not a number": "Transfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n",
		"a chunk without its end":             "Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
		"a length too large":                  "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
		"an end too early":                    "Content-Length: 10\r\n\r\nabc",
		"chunks without an end":               "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		for _, target := range []string{"/x", "/public"} {
			if target == "/public" {
				body = strings.Replace(body, "\r\n\r\n", "\r\nX-Nothing: 1\r\n\r\n", 1)
			}
			c := w.fronts[0].dial(t)
			_, err := io.WriteString(c, "POST "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"+key+"\r\n"+body)
			ok(t, err)
			if half, is := c.Conn.(interface{ CloseWrite() error }); is {
				ok(t, half.CloseWrite())
			}
			if a := c.answer("POST"); a.Status != http.StatusBadRequest || a.JSON()["statusCode"] != 400.0 {
				t.Errorf("%s, %s: answered %d %s", name, target, a.Status, a.Body)
			}
		}
	}
	w.HTTP.Close() // waits for open requests
	for line := range strings.Lines(w.Log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			t.Errorf("the log says %s", line)
		}
	}
}
