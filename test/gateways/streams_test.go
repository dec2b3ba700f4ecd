package gateways

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// Each piece is sent only after the caller has received the one before, so a front that buffers would hang.
func TestAnswersFlowPieceByPiece(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	next := make(chan struct{})
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			if _, err := fmt.Fprintf(rw, "data: %d\n\n", i); err != nil {
				return
			}
			_ = http.NewResponseController(rw).Flush() // as above
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	w.each(func(t *testing.T, f front) {
		c := f.dial(t)
		c.write("GET", "/events", "", key, "Accept: text/event-stream")
		response := c.head("GET")
		defer response.Body.Close() //nolint:errcheck // read to its end
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" ||
			response.Header.Get("X-RateLimit-Limit") == "" {
			t.Fatalf("answered %d %v", response.StatusCode, response.Header)
		}
		lines := bufio.NewReader(response.Body)
		for i := range 5 {
			line, err := lines.ReadString('\n')
			ok(t, err)
			if line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("piece %d is %q", i, line)
			}
			_, err = lines.ReadString('\n')
			ok(t, err)
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("the end is %q, %v", rest, err)
		}
	})
}

// The API receives each piece of a body before the caller sends the next.
func TestBodiesFlowPieceByPiece(t *testing.T) {
	w := memory(t)
	_, key := w.key("write")
	had := make(chan string)
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			select {
			case had <- line:
			case <-r.Context().Done():
				return
			}
		}
		rw.WriteHeader(http.StatusCreated)
	})
	w.each(func(t *testing.T, f front) {
		for name, chunked := range map[string]bool{"in chunks": true, "of known length": false} {
			c := f.dial(t)
			length := "Content-Length: 40"
			if chunked {
				length = "Transfer-Encoding: chunked"
			}
			c.write("POST", "/upload", "", key, length)
			for i := range 5 {
				piece := fmt.Sprintf("piece %d\n", i)
				if chunked {
					_, err := fmt.Fprintf(c, "%x\r\n%s\r\n", len(piece), piece)
					ok(t, err)
				} else {
					_, err := io.WriteString(c, piece)
					ok(t, err)
				}
				select {
				case got := <-had:
					if got != piece {
						t.Fatalf("%s: the API has %q", name, got)
					}
				case <-t.Context().Done():
					t.Fatal(name)
				}
			}
			if chunked {
				_, err := io.WriteString(c, "0\r\n\r\n")
				ok(t, err)
			}
			if a := c.answer("POST"); a.Status != http.StatusCreated {
				t.Errorf("%s: answered %d", name, a.Status)
			}
		}
	})
}

func TestWebSocketsPass(t *testing.T) {
	w := memory(t)
	k, key := w.key("read")
	echo := websocket.Server{Handler: func(ws *websocket.Conn) {
		for {
			var text string
			if websocket.Message.Receive(ws, &text) != nil {
				return
			}
			if websocket.Message.Send(ws, ws.Request().Header.Get("X-Auth-Key")+" says "+text) != nil {
				return
			}
		}
	}}
	w.api.does(t, echo.ServeHTTP)
	w.each(func(t *testing.T, f front) {
		config, err := websocket.NewConfig("ws://"+host+"/socket", page)
		ok(t, err)
		name, value, _ := strings.Cut(key, ": ")
		config.Header.Set(name, value)
		ws, err := websocket.NewClient(config, f.dial(t))
		ok(t, err)
		defer ws.Close() //nolint:errcheck // how it ends does not matter
		for _, text := range []string{"one", "two", strings.Repeat("x", 100_000)} {
			ok(t, websocket.Message.Send(ws, text))
			var got string
			ok(t, websocket.Message.Receive(ws, &got))
			if got != k.ID+" says "+text {
				t.Errorf("got %.100q", got)
			}
		}
		// Without a credential there is no WebSocket.
		config.Header.Del(name)
		if ws, err := websocket.NewClient(config, f.dial(t)); err == nil {
			_ = ws.Close()
			t.Error("a WebSocket without a credential passed")
		}
	})
}

// Many callers wait for a slow API; meanwhile others are served, by it and by Doorward.
func TestASlowAPIDoesNotDelayOthers(t *testing.T) {
	const waiting = 100
	w := memory(t)
	_, key := w.key("read")
	_, slowKey := w.key("read")
	arrived, release := make(chan struct{}, waiting), make(chan struct{})
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	w.each(func(t *testing.T, f front) {
		var slow []*connection
		for range waiting {
			c := f.dial(t)
			c.write("GET", "/slow", "", slowKey)
			slow = append(slow, c)
		}
		for range waiting {
			<-arrived
		}
		for range 20 {
			if a := f.send(t, "GET", "/fast", key); a.Status != http.StatusOK {
				t.Errorf("a fast one answered %d %s", a.Status, a.Body)
			}
			if a := f.send(t, "GET", "/fast"); a.Status != http.StatusUnauthorized {
				t.Errorf("one without a credential answered %d", a.Status)
			}
			if a := f.send(t, "GET", "/v1/auth/test", key); a.Status != http.StatusOK {
				t.Errorf("a built-in path answered %d", a.Status)
			}
		}
		for range slow {
			release <- struct{}{}
		}
		for _, c := range slow {
			if a := c.answer("GET"); a.Status != http.StatusOK {
				t.Errorf("a slow one answered %d", a.Status)
			}
		}
	})
}

// When a caller disconnects, the request to the API is cancelled.
func TestACallerWhoGoesAwayEndsTheRequest(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	arrived, ended := make(chan struct{}), make(chan struct{})
	w.api.does(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	w.each(func(t *testing.T, f front) {
		c := f.dial(t)
		c.write("GET", "/slow", "", key)
		<-arrived
		ok(t, c.Close())
		<-ended
		if a := f.send(t, "GET", "/x"); a.Status != http.StatusUnauthorized {
			t.Errorf("after it: answered %d", a.Status)
		}
	})
}

// Requests are in the log and the metrics even if the caller disconnects before the answer, or the API breaks off in
// the middle of it.
func TestH10_RequestsThatBreakOffAreLogged(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	arrived, ended := make(chan struct{}), make(chan struct{})
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			_, _ = io.WriteString(rw, "half")
			_ = http.NewResponseController(rw).Flush() // it cannot fail here
			panic(http.ErrAbortHandler)
		}
		arrived <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	f := w.fronts[0]
	c := f.dial(t)
	c.write("GET", "/slow", "", key, "X-Request-Id: goes-away")
	<-arrived
	ok(t, c.Close())
	<-ended
	c = f.dial(t)
	c.write("GET", "/half", "", key, "X-Request-Id: breaks-off")
	response := c.head("GET")
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("half an answer looks whole: %q", body)
	}
	_ = response.Body.Close()
	w.HTTP.Close() // waits for what is under way
	for id, status := range map[string]string{"goes-away": `"status":499`, "breaks-off": `"status":200`} {
		found := false
		for line := range strings.Lines(w.Log.String()) {
			found = found || strings.Contains(line, `"msg":"request"`) && strings.Contains(line, `"request_id":"`+id+`"`) &&
				strings.Contains(line, status)
		}
		if !found {
			t.Errorf("the log has no request %s with %s", id, status)
		}
	}
}

// If a server in front may have seen a different end of a body, nothing after that body is read as a request. That also
// holds if the caller asks for an interim answer, after which the header of the answer is written again.
func TestH03_NothingFollowsABodyWithTwoEnds(t *testing.T) {
	w := memory(t)
	_, key := w.key("read", "write")
	for name, lines := range map[string]string{
		"two lengths":                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
		"two lengths and an interim": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
		"two lengths and an upgrade": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: Upgrade\r\nUpgrade: " +
			"websocket\r\n",
		"chunks and a trailer for us": "Transfer-Encoding: chunked\r\nTrailer: X-Auth-Subject\r\n",
	} {
		c := w.fronts[0].dial(t)
		next := "GET /admin/x HTTP/1.1\r\nHost: " + host + "\r\n" + key + "\r\n\r\n"
		_, err := io.WriteString(c, "POST /x HTTP/1.1\r\nHost: "+host+"\r\n"+key+"\r\n"+lines+
			"\r\n1\r\nx\r\n0\r\nX-Auth-Subject: evil\r\n\r\n"+next)
		ok(t, err)
		all, err := io.ReadAll(c) // to the end of the connection
		ok(t, err)
		if n := strings.Count(string(all), "HTTP/1.1 2") + strings.Count(string(all), "HTTP/1.1 4"); n != 1 {
			t.Errorf("%s: %d answers: %q", name, n, all)
		}
		if s := w.api.one(t); s.method != "POST" || s.body != "x" || strings.Contains(fmt.Sprint(s.header), "evil") {
			t.Errorf("%s: the API sees %+v", name, s)
		}
	}
}

// A redirect from an API is for its caller to follow: no front follows it.
func TestF05_NoFrontFollowsARedirect(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "/admin/x", http.StatusTemporaryRedirect)
	})
	w.each(func(t *testing.T, f front) {
		a := f.send(t, "GET", "/x", key)
		n := w.api.count.Load()
		if a.Status != http.StatusTemporaryRedirect || a.Header.Get("Location") != "/admin/x" || n != 1 {
			t.Errorf("answered %d %v after %d requests", a.Status, a.Header, n)
		}
	})
}
