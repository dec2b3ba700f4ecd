package matrix

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"doorward/test/rig"
)

// state is what has happened to a thing.
type state string

const (
	works     state = "works"
	suspended state = "is suspended"  // not accepted, and accepted again when the suspension ends
	ended     state = "is over"       // never accepted again
	forbidden state = "is not enough" // accepted, without the permission that is needed here
	refused   state = "is refused"    // one of these: the answer does not say which
)

// things are the columns of the table, in the order in which the doors are tried: a door that uses a thing up comes
// last.
var things = []string{
	"access token", "JWT", "JWT verified offline", "client token", "client JWT", "client JWT verified offline",
	"API key", "personal access token",
	"session", "silent authorization", "the app's secret", "client credentials", "refresh token",
	"open consent page", "code", "invitation",
}

// door is one way to use a thing, and the answer there.
type door struct {
	name   string
	answer string   // the answer
	works  []string // answers while the thing works
	stop   []string // answers while it is suspended
	end    []string // answers when it is over
}

// want reports whether the answer is one of a state.
func (d *door) want(s state) bool {
	switch s {
	case works:
		return slices.Contains(d.works, d.answer)
	case suspended:
		return slices.Contains(d.stop, d.answer)
	case forbidden:
		return d.answer == "403"
	case ended:
		return slices.Contains(d.end, d.answer)
	case refused:
	}
	return slices.Contains(d.stop, d.answer) || slices.Contains(d.end, d.answer)
}

// doors tries a thing at every door of a node. What a door uses up stays used up.
func (c *cast) doors(n *rig.Rig, thing string) []door {
	c.t.Helper()
	switch thing {
	case "access token", "client token", "API key", "personal access token":
		return c.bearer(n, c.texts[thing], opaqueID, opaqueHost)
	case "JWT", "client JWT":
		return c.bearer(n, c.texts[thing], jwtID, jwtHost)
	case "JWT verified offline", "client JWT verified offline":
		text := c.texts[strings.TrimSuffix(thing, " verified offline")]
		return []door{
			{"oauth/resource, offline", c.through(c.offline[n], text), []string{"200"}, []string{"401"}, []string{"401"}},
		}
	case "session":
		return []door{
			{"pages", status(c.at(n, c.browser).Get("/settings/profile")), []string{"200"}, []string{"303"}, []string{"303"}},
		}
	case "silent authorization":
		params := c.app.Params("read")
		params.Set("prompt", "none")
		a := c.at(n, c.browser).Get("/oauth/authorize?"+params.Encode(), "Sec-Fetch-Site", "cross-site")
		answer := status(a)
		if a.Location != nil {
			answer = a.Param("error")
			if a.Param("code") != "" {
				answer = "code"
			}
		}
		no := []string{"login_required", "consent_required", "interaction_required", "400", "403"}
		return []door{{"authorize", answer, []string{"code"}, no, no}}
	case "the app's secret":
		no := []string{"401"}
		return []door{
			{
				"introspection, by the app", status(n.PostAs(c.app, "/oauth/introspect", url.Values{"token": {"x"}})),
				[]string{"200"},
				no, no,
			},
			{
				"revocation, by the app", status(n.PostAs(c.app, "/oauth/revoke", url.Values{"token": {"x"}})),
				[]string{"200"},
				no,
				no,
			},
		}
	case "client credentials":
		no := []string{"invalid_client"}
		var doors []door
		for _, id := range []string{opaqueID, jwtID} {
			a := n.PostAs(c.app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "resource": {id}})
			doors = append(doors, door{"token endpoint, for " + id, token(a), []string{"token"}, no, no})
		}
		return doors
	case "refresh token":
		no := []string{"invalid_grant", "invalid_client"}
		return []door{{"token endpoint", token(n.Refresh(c.app, c.texts[thing])), []string{"token"}, no, no}}
	case "code":
		no := []string{"invalid_grant", "invalid_client"}
		return []door{{"token endpoint", token(n.Exchange(c.app, c.texts[thing])), []string{"token"}, no, no}}
	case "open consent page":
		b := c.at(n, c.browser)
		a := b.Decide(c.flow, "approve", func(v url.Values) { v.Set("workspace", c.workspace.Slug) })
		answer := "no code"
		if a.Param("code") != "" {
			answer = "code"
		}
		return []door{{"consent", answer, []string{"code"}, []string{"no code"}, []string{"no code"}}}
	case "invitation":
		b := c.at(n, c.nodes[0].Browser().SignIn(c.guest.Email))
		a := b.PostForm("/join/"+strings.TrimPrefix(c.texts[thing], c.nodes[0].Issuer+"/join/"), url.Values{})
		return []door{{"join", status(a), []string{"303"}, []string{"403", "404"}, []string{"403", "404"}}}
	}
	c.t.Fatalf("no doors for %s", thing)
	return nil
}

// Doors that need a permission besides access.
const (
	doorWrites  = "gateway, a route that writes"
	doorManages = "management API"
)

// bearer tries a credential at every door that accepts bearer tokens. A personal access token must name the workspace,
// so it does, unless it does not act in a workspace of that name.
func (c *cast) bearer(n *rig.Rig, text, id, host string) []door {
	c.t.Helper()
	header := []string{"Authorization", "Bearer " + text}
	if text == c.texts["personal access token"] {
		header = append(header, "X-Workspace", c.workspace.Slug)
	}
	yes, no, over := []string{"200"}, []string{"403"}, []string{"401"}
	introspect := url.Values{"token": {text}}
	if text == c.texts["personal access token"] {
		introspect.Set("workspace", c.workspace.Slug)
	}
	active := "inactive"
	if n.PostAs(c.server, "/oauth/introspect", introspect).JSON()["active"] == true {
		active = "active"
	}
	ask := func(method, path string, more ...string) *rig.Answer {
		q := n.Request(method, path, nil, append(more, header...)...)
		for i := 0; i+1 < len(more); i += 2 {
			if more[i] == "Host" {
				q.Host = more[i+1]
			}
		}
		return n.Send(n.Program(), q)
	}
	nginx := ask("GET", "/gateway/nginx", "X-Original-Method", "GET", "X-Original-Host", host, "X-Original-Uri", "/x",
		"X-Forwarded-For", "192.0.2.7")
	nginxStatus := nginx.Header.Get("X-Doorward-Status")
	if nginxStatus == "" {
		nginxStatus = status(nginx)
	}
	doors := []door{
		{"introspection", active, []string{"active"}, []string{"inactive"}, []string{"inactive"}},
		{"gateway, built-in proxy", status(ask("GET", "/x", "Host", host)), yes, no, over},
		{doorWrites, status(ask("POST", "/x", "Host", host)), yes, no, over},
		{
			"gateway, forward (Caddy, Traefik)",
			status(ask("GET", "/gateway/forward", "X-Forwarded-Method", "GET", "X-Forwarded-Host", host, "X-Forwarded-Uri", "/x",
				"X-Forwarded-For", "192.0.2.7")), yes, no, over,
		},
		{"gateway, nginx", nginxStatus, yes, no, over},
		{
			"gateway, Envoy", status(ask("GET", "/gateway/envoy/x", "Host", host, "X-Forwarded-For", "192.0.2.7")), yes, no,
			over,
		},
		{"who am I", status(ask("GET", "/api/auth/me")), yes, no, over},
		{doorManages, status(ask("GET", "/v1/api-keys")), yes, no, over},
		{"oauth/resource, online", c.through(c.online[n][id], text), yes, []string{"401", "403"}, over},
	}
	if n == c.nodes[len(c.nodes)-1] {
		for _, f := range c.fronts {
			q := n.Request(http.MethodGet, "/x", nil, header...)
			q.URL.Host, q.Host = f.address, host
			doors = append(doors, door{"gateway, " + f.name + " itself", status(n.Send(n.Program(), q)), yes, no, over})
		}
	}
	return doors
}

// through calls an API protected by the Go middleware.
func (c *cast) through(api http.Handler, text string) string {
	q := httptest.NewRequestWithContext(c.t.Context(), http.MethodGet, "/x", nil)
	q.Header.Set("Authorization", "Bearer "+text)
	if text == c.texts["personal access token"] {
		q.Header.Set("X-Workspace", c.workspace.Slug)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, q)
	return strconv.Itoa(w.Code)
}

// at returns a browser with the cookies of the first node's browser, at another node.
func (c *cast) at(n *rig.Rig, b *rig.Browser) *rig.Browser {
	if b.Rig == n {
		return b
	}
	there := n.Browser()
	for _, cookie := range b.Cookies() {
		there.SetCookie(cookie)
	}
	return there
}

func status(a *rig.Answer) string { return strconv.Itoa(a.Status) }

// token returns "token", or the error code of the token endpoint.
func token(a *rig.Answer) string {
	if a.Status == http.StatusOK {
		return "token"
	}
	return a.Text("error")
}
