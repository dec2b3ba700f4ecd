package security

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/test/rig"
)

// Clients that change their registrations (RFC 7592), and floods of registrations.

// update sends a change of a registration; the members are those of a right registration with others in place.
func (e *enrolled) update(r *rig.Rig, token string, members ...rig.Members) *rig.Answer {
	r.T.Helper()
	return r.JSON(http.MethodPut, e.path(), token, registration(append([]rig.Members{{"client_id": e.ID}}, members...)...))
}

// same is what does not differ between two refusals.
func same(a *rig.Answer) string {
	return strings.ReplaceAll(a.Body, a.Text("request_id"), "") + a.Header.Get("WWW-Authenticate")
}

// Only the token of a registration reads, changes or deletes it. All others get the same answer, which does not say
// whether there is such a client.
func TestD09_OnlyItsTokenOpensARegistration(t *testing.T) {
	h := newDocumentHost(t)
	rig.EachNodes(t, fromAnywhere(h.options()), func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		e, other, disabled, deleted := enrol(r), enrol(r), enrol(r), enrol(r)
		ok(t, r.Management.DisableClient(r.System(), management.CLI(""), disabled.ID))
		if a := r.JSON(http.MethodDelete, deleted.path(), deleted.token, ""); a.Status != http.StatusNoContent || a.Body != "" {
			t.Errorf("deletion: %d %s", a.Status, a.Body)
		}
		old := e.token
		changed := e.update(r, e.token)
		if e.token = changed.Text("registration_access_token"); changed.Status != http.StatusOK || e.token == old || e.token == "" {
			t.Fatalf("a change: %d %s", changed.Status, changed.Body)
		}
		r.Seen.Add("registration access token", e.token)
		operated, initial := r.App(management.ClientSpec{Resources: []string{openAPI}}), initialToken(r, 5)
		described := h.describe("/"+strings.ReplaceAll(t.Name(), " ", "_"), nil)
		granted(t, r.Exchange(described, r.Browser().SignIn(r.Alice.Email).Code(described, "read")))
		var first string
		for what, x := range map[string]struct{ id, token string }{
			"another's token":         {e.ID, other.token},
			"the replaced token":      {e.ID, old},
			"none":                    {e.ID, ""},
			"made up":                 {e.ID, bearer.NewCredential(bearer.PrefixClientRegistration)},
			"without its checksum":    {e.ID, mistyped(e.token)},
			"a registration token":    {e.ID, initial},
			"an unknown client":       {"app_01a22e5f-3b40-7bc0-86c5-b693177016cd", e.token},
			"an id in capitals":       {strings.ToUpper(e.ID), e.token},
			"no id":                   {"x", e.token},
			"a disabled client":       {disabled.ID, disabled.token},
			"a deleted client":        {deleted.ID, deleted.token},
			"a client of an operator": {operated.ID, e.token},
			"its secret":              {operated.ID, operated.Secret},
		} {
			for _, n := range nodes {
				for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
					body := ""
					if method == http.MethodPut {
						body = registration(rig.Members{"client_id": x.id})
					}
					a := n.JSON(method, registerPath+"/"+x.id, x.token, body, "X-Forwarded-For",
						fmt.Sprint("198.51.100.", strangers.Add(1)%250))
					notRegistered(t, what+" "+method, a)
					text := same(a)
					if x.token == "" {
						text = strings.Replace(text, `Bearer realm="doorward"`, `Bearer realm="doorward", error="invalid_token"`, 1)
					}
					if first == "" {
						first = text
					}
					if text != first {
						t.Errorf("%s, %s: %s differs from %s", what, method, text, first)
					}
				}
			}
		}
		for _, token := range []string{e.token, ""} { // a document is no registration
			for _, method := range []string{http.MethodGet, http.MethodDelete} {
				a := r.JSON(method, registerPath+"/"+url.PathEscape(described.ID), token, "")
				if a.Status != http.StatusUnauthorized && a.Status != http.StatusNotFound {
					t.Errorf("a document: %d %s", a.Status, a.Body)
				}
			}
		}
		if a := nodes[len(nodes)-1].JSON(http.MethodGet, e.path(), e.token, ""); a.Status != http.StatusOK {
			t.Errorf("the right token: %d %s", a.Status, a.Body)
		}
		if n := rowsOf(t, r, "clients", "registration = 'dynamic'"); n != 3 {
			t.Errorf("%d clients", n)
		}
	})
}

// Of many changes at once one is made, and its token is the one that works from then on.
func TestD09_OneOfManyChangesAtOnce(t *testing.T) {
	o := openServer()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		e := enrol(nodes[0])
		var mu sync.Mutex
		won := map[string]string{}
		rig.AtOnce(crowd, func(i int) {
			n, name := nodes[i%len(nodes)], fmt.Sprint("Change ", i)
			a := e.update(n, e.token, rig.Members{"client_name": name})
			if a.Status == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				won[name] = a.Text("registration_access_token")
			} else if a.Status != http.StatusUnauthorized && a.Status != http.StatusTooManyRequests {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
		if len(won) != 1 {
			t.Fatalf("%d changes were made", len(won))
		}
		later(nodes...)
		for name, token := range won {
			for _, n := range nodes {
				if a := n.JSON(http.MethodGet, e.path(), token, ""); a.Status != http.StatusOK || a.Text("client_name") != name {
					t.Errorf("%d %s, want %s", a.Status, a.Body, name)
				}
				notRegistered(t, "the old token", n.JSON(http.MethodGet, e.path(), e.token, ""))
			}
			e.token = token
		}
		// Deletions and changes at once.
		var ends, changes int
		rig.AtOnce(crowd, func(i int) {
			n := nodes[i%len(nodes)]
			var a *rig.Answer
			if i%2 == 0 {
				a = n.JSON(http.MethodDelete, e.path(), e.token, "")
			} else {
				a = e.update(n, e.token)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.Status == http.StatusNoContent:
				ends++
			case a.Status == http.StatusOK:
				changes++
			case a.Status != http.StatusUnauthorized && a.Status != http.StatusTooManyRequests:
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
		if ends > 1 || changes > 1 || ends+changes == 0 {
			t.Errorf("%d deletions and %d changes", ends, changes)
		}
		if n := rowsOf(t, nodes[0], "clients", "id = $1", e.ID); n != 1-ends {
			t.Errorf("%d rows after %d deletions", n, ends)
		}
	})
}

// A change is checked as a registration is. One that is refused changes nothing, and its token goes on.
func TestD10_AChangeIsCheckedAsARegistration(t *testing.T) {
	r := rig.Memory(t, openServer())
	e := enrol(r)
	before := r.JSON(http.MethodGet, e.path(), e.token, "").Body
	is := func(what string) {
		t.Helper()
		a := r.JSON(http.MethodGet, e.path(), e.token, "")
		if a.Status != http.StatusOK || a.Body != before {
			t.Fatalf("%s: it is %d %s, was %s", what, a.Status, a.Body, before)
		}
	}
	for name, x := range wrongMetadata(t) {
		refused(t, e.update(r, e.token, x.members), http.StatusBadRequest, x.code)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	is("wrong metadata")
	for _, uri := range wrongRedirectURIs {
		if strings.Contains(uri, "\x00") {
			continue
		}
		refused(t, e.update(r, e.token, rig.Members{"redirect_uris": []string{"https://app.example/ok", uri}}),
			http.StatusBadRequest, oauth.InvalidRedirectURI)
		if t.Failed() {
			t.Fatalf("%q", uri)
		}
	}
	is("wrong redirect URIs")
	other, confidential := enrol(r), enrol(r, rig.Members{"token_endpoint_auth_method": "client_secret_basic"})
	key := rig.NewKey(t, "key-1")
	for what, a := range map[string]*rig.Answer{
		"no client_id":             e.update(r, e.token, rig.Members{"client_id": nil}),
		"another client_id":        e.update(r, e.token, rig.Members{"client_id": other.ID}),
		"an empty client_id":       e.update(r, e.token, rig.Members{"client_id": ""}),
		"a client_id as a list":    e.update(r, e.token, rig.Members{"client_id": []string{e.ID}}),
		"a secret":                 e.update(r, e.token, rig.Members{"client_secret": wrongSecret}),
		"another's secret":         e.update(r, e.token, rig.Members{"client_secret": confidential.Secret}),
		"to a secret":              e.update(r, e.token, rig.Members{"token_endpoint_auth_method": "client_secret_basic"}),
		"to the default method":    e.update(r, e.token, rig.Members{"token_endpoint_auth_method": nil}),
		"to keys":                  e.update(r, e.token, withKeys(key)),
		"from a secret to none":    confidential.update(r, confidential.token),
		"from a secret to keys":    confidential.update(r, confidential.token, withKeys(key)),
		"a wrong secret":           confidential.update(r, confidential.token, rig.Members{"client_secret": wrongSecret}),
		"nothing":                  r.JSON(http.MethodPut, e.path(), e.token, "{}"),
		"only the id":              r.JSON(http.MethodPut, e.path(), e.token, `{"client_id":"`+e.ID+`"}`),
		"no JSON":                  r.JSON(http.MethodPut, e.path(), e.token, "x"),
		"a query":                  r.JSON(http.MethodPut, e.path()+"?a=b", e.token, registration(rig.Members{"client_id": e.ID})),
		"scopes that are not open": e.update(r, e.token, rig.Members{"scope": "admin"}),
	} {
		if a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	is("wrong changes")
	if a := r.JSON(http.MethodGet, confidential.path(), confidential.token, ""); a.Status != http.StatusOK ||
		a.Text("token_endpoint_auth_method") != "client_secret_basic" {
		t.Errorf("the confidential client: %d %s", a.Status, a.Body)
	}
	granted(t, r.Exchange(confidential.App, r.Browser().SignIn(r.Alice.Email).Code(confidential.App, "read")))
}

// A change replaces all metadata, and users who have allowed the client are asked about it.
func TestD10_AChangeReplacesAllMetadata(t *testing.T) {
	rig.EachNodes(t, openServer(), func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		e := enrol(r, rig.Members{
			"token_endpoint_auth_method": "client_secret_basic", "logo_uri": "https://app.example/logo.png",
			"client_uri": "https://app.example", "dpop_bound_access_tokens": false, "scope": "read write offline_access",
		})
		b := r.Browser().SignIn(r.Alice.Email)
		_, refresh := granted(t, r.Exchange(e.App, b.Code(e.App, "read")))
		a := e.update(last, e.token, rig.Members{
			"token_endpoint_auth_method": "client_secret_post", "client_name": "Renamed", "scope": "delete",
			"redirect_uris": []string{"https://b.example/cb"}, "client_secret": e.Secret,
			"registration_access_token": "x", "registration_client_uri": "x", "client_id_issued_at": 7,
			"client_secret_expires_at": 7,
		})
		if a.Status != http.StatusOK || a.JSON()["client_secret"] != nil || a.JSON()["logo_uri"] != nil ||
			a.JSON()["client_uri"] != nil || a.Text("client_name") != "Renamed" || a.Text("scope") != "delete" ||
			fmt.Sprint(list(a, "redirect_uris")) != "[https://b.example/cb]" || a.Text("client_id") != e.ID ||
			a.Text("token_endpoint_auth_method") != "client_secret_post" {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		e.token = a.Text("registration_access_token")
		r.Seen.Add("registration access token", e.token)
		form := func(form url.Values) url.Values {
			return with(form, "client_id", e.ID, "client_secret", e.Secret)
		}
		for _, n := range nodes {
			wantPage(t, ask(n.Browser().WithCookiesOf(b), e.Params("read")), http.StatusBadRequest) // its old redirect URI
			refused(t, n.Refresh(e.App, refresh), http.StatusUnauthorized, oauth.InvalidClient)     // its old method
		}
		later(nodes...)
		e.Redirect = "https://b.example/cb"
		// The old grant has nothing that the client may still ask for.
		if a := last.Post("/oauth/token", form(refreshForm(refresh))); a.Status == http.StatusOK {
			t.Errorf("a refresh is answered %s", a.Body)
		}
		a = e.update(r, e.token, rig.Members{
			"token_endpoint_auth_method": "client_secret_post", "client_name": "Renamed",
			"redirect_uris": []string{"https://b.example/cb"},
		})
		e.token = a.Text("registration_access_token")
		r.Seen.Add("registration access token", e.token)
		page := b.Authorize(e.Params("read"))
		for _, want := range []string{
			changedPage, "It was called“Registered”", "now send you to https://b.example/cb", "any more to https://app.example/cb",
		} {
			if !strings.Contains(said(page), want) {
				t.Errorf("the page lacks %q: %d %s", want, page.Status, said(page))
			}
		}
		// While the page is open, it changes again.
		answer := with(b.Form(page, "/oauth/consent"), "decision", "approve")
		a = e.update(last, e.token, rig.Members{
			"token_endpoint_auth_method": "client_secret_post", "client_name": "Renamed again",
			"redirect_uris": []string{"https://b.example/cb"},
		})
		r.Seen.Add("registration access token", a.Text("registration_access_token"))
		wantPage(t, b.PostForm("/oauth/consent", answer), http.StatusForbidden)
		code := b.Code(e.App, "read")
		granted(t, last.Post("/oauth/token", form(codeForm(e.App, code))))
		events := rowsOf(t, r, "audit_events", "action = 'app.updated' AND target = $1", e.ID)
		if events != 3 {
			t.Errorf("%d events", events)
		}
	})
}

// A client that deletes its registration is gone, with all its access.
func TestD09_ADeletedRegistrationIsGone(t *testing.T) {
	rig.EachNodes(t, openServer(), func(t *testing.T, nodes []*rig.Rig) {
		r, last := nodes[0], nodes[len(nodes)-1]
		e := enrol(r, rig.Members{"token_endpoint_auth_method": "client_secret_basic"})
		b := r.Browser().SignIn(r.Alice.Email)
		access, refresh := granted(t, r.Exchange(e.App, b.Code(e.App, "read")))
		code := b.Code(e.App, "read")
		page := with(b.Form(b.Authorize(askedAgain(e.App, "read")), "/oauth/consent"), "decision", "approve")
		uri := pushed(r, e.App, e.Params("read"))
		a := last.JSON(http.MethodDelete, e.path(), e.token, "")
		if a.Status != http.StatusNoContent || a.Body != "" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("deletion: %d %s", a.Status, a.Body)
		}
		for _, n := range nodes {
			visitor := n.Browser().WithCookiesOf(b)
			wantPage(t, ask(visitor, e.Params("read")), http.StatusBadRequest)
			wantPage(t, ask(visitor, e.Opened(uri)), http.StatusBadRequest)
			if a := visitor.PostForm("/oauth/consent", page); a.Param("code") != "" || a.Status < 400 {
				t.Errorf("the open page is answered %d", a.Status)
			}
			refused(t, n.Exchange(e.App, code), http.StatusUnauthorized, oauth.InvalidClient)
			refused(t, n.Refresh(e.App, refresh), http.StatusUnauthorized, oauth.InvalidClient)
			if n.Alive(introspecting(n, openAPI), access) {
				t.Error("its access token is active")
			}
			notRegistered(t, "again", n.JSON(http.MethodDelete, e.path(), e.token, ""))
		}
		for _, table := range []string{"grants", "consents", "client_secrets", "client_origins"} {
			if n := rowsOf(t, r, table, "client_id = $1", e.ID); n != 0 {
				t.Errorf("%d %s", n, table)
			}
		}
		if n := rowsOf(t, r, "audit_events", "action = 'app.deleted' AND target = $1", e.ID); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// Bodies that JSON parsers disagree about, or that are too much, are refused; the process goes on.
func TestD11_BodiesThatAreRefused(t *testing.T) {
	r := rig.Memory(t, openServer())
	e := enrol(r)
	right := registration()
	insert := func(text string) string { return strings.Replace(right, "{", "{"+text+",", 1) }
	const kind = "application/json"
	for name, x := range map[string]struct {
		body   string
		kind   string
		status int
	}{
		"nothing":                  {"", kind, 400},
		"white space":              {"  ", kind, 400},
		"null":                     {"null", kind, 400},
		"a list":                   {"[" + right + "]", kind, 400},
		"a string":                 {`"x"`, kind, 400},
		"a number":                 {"7", kind, 400},
		"cut off":                  {right[:len(right)-1], kind, 400},
		"two objects":              {right + right, kind, 400},
		"a comment":                {"/* x */" + right, kind, 400},
		"single quotes":            {strings.ReplaceAll(right, `"`, "'"), kind, 400},
		"a comma at the end":       {right[:len(right)-1] + ",}", kind, 400},
		"a name twice":             {insert(`"client_name":"Other"`), kind, 400},
		"a list twice":             {insert(`"redirect_uris":["https://evil.example/cb"]`), kind, 400},
		"a name twice, escaped":    {insert(`"client\u005fname":"Other"`), kind, 400},
		"a name twice, deeper":     {insert(`"x":{"a":1,"a":2}`), kind, 400},
		"null for a list":          {insert(`"contacts":null`), kind, 400},
		"100,000 levels of lists":  {insert(`"x":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000)), kind, 400},
		"open lists":               {strings.Repeat("[", 60_000), kind, 400},
		"open objects":             {strings.Repeat(`{"a":`, 12_000), kind, 400},
		"1 MB":                     {insert(`"x":"` + strings.Repeat("x", 1<<20) + `"`), kind, 413},
		"100,000 levels, too long": {strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), kind, 413},
		"64 KiB and a byte":        {insert(`"x":"` + strings.Repeat("x", 64<<10-len(right)-6) + `"`), kind, 413},
		"bytes that are no text":   {insert(`"x":"` + "\xff" + `"`), kind, 400},
		"a byte order mark":        {"\ufeff" + right, kind, 400},
		"a form":                   {"client_name=x", "application/x-www-form-urlencoded", 400},
		"JSON as a form":           {right, "application/x-www-form-urlencoded", 400},
		"JSON as text":             {right, "text/plain", 400},
		"no type":                  {right, "", 400},
		"a wrong type":             {right, "application/json/x", 400},
	} {
		for _, at := range []struct{ method, path, token string }{
			{http.MethodPost, registerPath, ""}, {http.MethodPut, e.path(), e.token},
		} {
			header := []string{"Content-Type", x.kind}
			if at.token != "" {
				header = append(header, "Authorization", "Bearer "+at.token)
			}
			a := r.Send(r.Program(), r.Request(at.method, at.path, strings.NewReader(x.body), header...))
			refused(t, a, x.status, oauth.InvalidClientMetadata)
			if t.Failed() {
				t.Fatalf("%s: %s", at.method, name)
			}
		}
	}
	for coding, status := range map[string]int{"gzip": 415, "identity": 201, "br": 415} {
		a := postJSON(r, registerPath, right, "Content-Encoding", coding)
		if a.Status != status {
			t.Errorf("%s: %d %s", coding, a.Status, a.Body)
		}
	}
	// Names are compared with their case, so a parser that ignores it would read something else.
	a := postJSON(r, registerPath, insert(`"Client_Name":"Other","REDIRECT_URIS":["https://evil.example/cb"]`))
	if a.Status != http.StatusCreated || a.Text("client_name") != "Registered" || strings.Contains(a.Body, "evil.example") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for method, path := range map[string]string{
		http.MethodGet: registerPath, http.MethodPut: registerPath, http.MethodDelete: registerPath,
		http.MethodPost: e.path(), http.MethodPatch: e.path(),
	} {
		a := r.JSON(method, path, e.token, right)
		if a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") == "" {
			t.Errorf("%s %s: %d, Allow %q", method, path, a.Status, a.Header.Get("Allow"))
		}
	}
	for _, path := range []string{registerPath + "/", e.path() + "/", e.path() + "/x", registerPath + "//" + e.ID} {
		if a := r.JSON(http.MethodGet, path, e.token, ""); a.Status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	enrol(r)
}

// From one address, 20 clients register in an hour, on all nodes together. Others are told to wait, and nothing that a
// request would have used is used.
func TestD13_AFloodOfRegistrationsIsLimited(t *testing.T) {
	for _, mode := range []string{management.RegistrationOpen, management.RegistrationToken} {
		t.Run(mode, func(t *testing.T) {
			o := fromAnywhere(openServer())
			o.Registration, o.LimitChanges = mode, true
			rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
				for _, n := range nodes {
					n.StopClock()
				}
				token := ""
				if mode == management.RegistrationToken {
					token = initialToken(nodes[0], 1000)
				}
				count := 0
				register := func(from string, members ...rig.Members) *rig.Answer {
					count++
					return nodes[count%len(nodes)].JSON(http.MethodPost, registerPath, token, registration(members...),
						"X-Forwarded-For", from)
				}
				flood := func(what, from, same string, want int) {
					t.Helper()
					for i := range want {
						if a := register(from); a.Status != http.StatusCreated {
							t.Fatalf("%s: registration %d is answered %d %s", what, i+1, a.Status, a.Body)
						}
					}
					for range 2 * len(nodes) {
						a := register(same)
						refused(t, a, http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
						if a.Header.Get("Retry-After") == "" {
							t.Errorf("%s: no Retry-After", what)
						}
					}
				}
				for range 5 { // they are not registered, so they do not count
					refused(t, register("198.51.100.1", rig.Members{"redirect_uris": []string{}}), http.StatusBadRequest,
						oauth.InvalidRedirectURI)
				}
				flood("an address", "198.51.100.1", "198.51.100.1", 20)
				flood("another address", "198.51.100.2", "198.51.100.2", 20)
				flood("a network of IPv6", "2001:db8::1", "2001:db8::ffff:0:1", 20)
				flood("another network", "2001:db8:0:1::1", "2001:db8:0:1::2", 20)
				flood("a mapped address", "::ffff:198.51.100.3", "198.51.100.3", 20)
				if token != "" {
					if n := rowsOf(t, nodes[0], "registration_tokens", "uses = 100"); n != 1 {
						t.Error("refused registrations use the token")
					}
				}
				for _, n := range nodes {
					n.Advance(time.Hour)
				}
				flood("after an hour", "198.51.100.1", "198.51.100.1", 20)
			})
		})
	}
}

// Many registrations at once do not exceed the limit.
func TestD13_AFloodAtOnceIsLimited(t *testing.T) {
	o := openServer()
	o.LimitChanges, o.AtOnce = true, true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		for _, n := range nodes {
			n.StopClock()
		}
		rig.AtOnce(crowd, func(i int) {
			if a := register(nodes[i%len(nodes)], ""); a.Status != http.StatusCreated && a.Status != http.StatusTooManyRequests {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
		if n := rowsOf(t, nodes[0], "clients", "registration = 'dynamic'"); n != 20 {
			t.Errorf("%d of %d registered", n, crowd)
		}
	})
}

// A client that is not used goes after 30 days, with an answer that says what to do; one with a live grant stays. While
// users use a client, it never goes.
func TestD13_ClientsThatAreNotUsedAreGone(t *testing.T) {
	h := newDocumentHost(t)
	rig.Each(t, h.options(), func(t *testing.T, r *rig.Rig) {
		path := "/" + r.Store.Engine()
		unused, denied, used, kept := enrol(r), enrol(r), enrol(r), enrol(r)
		described := h.describe(path, nil)
		b := r.Browser().SignIn(r.Alice.Email)
		purge := func() {
			t.Helper()
			ok(t, r.Store.FlushTouches(r.System()))
			if _, err := r.Store.Purge(r.System(), r.OAuth.Retention()); err != nil {
				t.Fatal(err)
			}
		}
		b.Decide(b.Authorize(denied.Params("read")), "deny")
		_, refresh := granted(t, r.Exchange(used.App, b.Code(used.App, "read")))
		_, keptRefresh := granted(t, r.Exchange(kept.App, b.Code(kept.App, "read")))
		_, describedRefresh := granted(t, r.Exchange(described, b.Code(described, "read")))
		page := with(b.Form(b.Authorize(unused.Params("read")), "/oauth/consent"), "decision", "approve")
		for range 4 {
			r.Advance(6 * 24 * time.Hour)
			_, refresh = granted(t, r.Refresh(used.App, refresh))
			_, describedRefresh = granted(t, r.Refresh(described, describedRefresh))
			_, keptRefresh = granted(t, r.Refresh(kept.App, keptRefresh))
			purge()
		}
		r.Advance(6*24*time.Hour - time.Minute)
		for _, e := range []*enrolled{unused, denied, used, kept} {
			if a := r.JSON(http.MethodGet, e.path(), e.token, ""); a.Status != http.StatusOK {
				t.Errorf("before 30 days: %d %s", a.Status, a.Body)
			}
		}
		r.Advance(2 * time.Minute)
		purge()
		b = r.Browser().SignIn(r.Alice.Email)
		for _, e := range []*enrolled{unused, denied} {
			notRegistered(t, "after 30 days", r.JSON(http.MethodGet, e.path(), e.token, ""))
			a := ask(b, e.Params("read"))
			wantPage(t, a, http.StatusBadRequest)
			if !strings.Contains(rig.Plain(a.Body), "so that the app registers again") {
				t.Errorf("the page says %s", rig.Plain(a.Body))
			}
		}
		if a := b.PostForm("/oauth/consent", page); a.Param("code") != "" {
			t.Error("an answer to a client that is gone gets a code")
		}
		for _, app := range []*rig.App{used.App, kept.App, described} {
			if a := b.Authorize(app.Params("read")); !isConsent(a) && a.Param("code") == "" {
				t.Errorf("%s: %d %s", app.ID, a.Status, rig.Plain(a.Body))
			}
		}
		// The grants are over, and 30 days later so are their clients. A document can come back.
		_, _ = refresh, keptRefresh
		r.Advance(31 * 24 * time.Hour)
		purge()
		if n := rowsOf(t, r, "clients", "registration <> ''"); n != 0 {
			t.Errorf("%d clients are left", n)
		}
		b = r.Browser().SignIn(r.Alice.Email)
		if why := allowed(b, described); why != "" {
			t.Error(why)
		}
	})
}

// Pages of any origin may register a client and change it, since that needs no cookie, and can do nothing else so.
func TestD09_PagesOfAnyOriginMayRegister(t *testing.T) {
	r := rig.Memory(t, openServer())
	origin := []string{"Origin", "https://any.example"}
	preflight := func(path, method string) *rig.Answer {
		return r.Send(r.Program(), r.Request(http.MethodOptions, path, nil, append(origin,
			"Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization, content-type")...))
	}
	e := enrolledBy(r, postJSON(r, registerPath, registration(), origin...))
	for method, path := range map[string]string{
		http.MethodPost: registerPath, http.MethodGet: e.path(), http.MethodPut: e.path(), http.MethodDelete: e.path(),
	} {
		a := preflight(path, method)
		if a.Status/100 != 2 || a.Header.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), method) ||
			a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", method, a.Status, a.Header)
		}
		for _, name := range []string{"authorization", "content-type"} {
			if !strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Allow-Headers")), name) {
				t.Errorf("%s: %s is not allowed: %v", method, name, a.Header)
			}
		}
	}
	for what, a := range map[string]*rig.Answer{
		"a registration": e.a, "a refusal": postJSON(r, registerPath, "{}", origin...),
		"read":       r.JSON(http.MethodGet, e.path(), e.token, "", origin...),
		"not opened": r.JSON(http.MethodGet, e.path(), "x", "", origin...),
	} {
		exposed := a.Header.Get("Access-Control-Expose-Headers")
		if a.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(exposed, "WWW-Authenticate") ||
			!strings.Contains(exposed, "Retry-After") || a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", what, a.Header)
		}
	}
	// A cookie changes nothing: a page cannot register as the user, nor read what is not its own.
	b := r.Browser().SignIn(r.Alice.Email)
	a := b.JSON(http.MethodGet, e.path(), "", origin...)
	notRegistered(t, "with a cookie", a)
	a = b.JSON(http.MethodPost, registerPath, registration(), origin...)
	c, err := r.Store.ClientByID(r.System(), a.Text("client_id"))
	r.Seen.Add("registration access token", a.Text("registration_access_token"))
	if err != nil || c.CreatedBy != "" || c.WorkspaceID != "" {
		t.Errorf("registered with a cookie: %+v, %v", c, err)
	}
}

// Whatever write fails, nothing is registered, no token is used, and the same request succeeds afterwards.
func TestD01_T83_AFailedWriteRegistersNothing(t *testing.T) {
	o := openServer()
	o.Registration = management.RegistrationToken
	eachWithOwner(t, o, func(t *testing.T, r *rig.Rig, owner func(string)) {
		token := initialToken(r, 1000)
		secret := rig.Members{"token_endpoint_auth_method": "client_secret_basic"}
		e := enrolledBy(r, register(r, token, secret))
		uses := func() (n int) {
			t.Helper()
			ok(t, r.Store.Pools()["system"].QueryRowContext(t.Context(), `SELECT uses FROM registration_tokens`).Scan(&n))
			return n
		}
		type write struct{ verb, table string }
		for _, fails := range []write{
			{"INSERT", "clients"},
			{"INSERT", "client_secrets"},
			{"INSERT", "client_origins"},
			{"INSERT", "audit_events"},
			{"UPDATE", "registration_tokens"},
		} {
			before := uses()
			restore := breakWrites(r, owner, fails.verb, fails.table)
			a := register(r, token, secret)
			restore()
			refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			if n := rowsOf(t, r, "clients", "registration = 'dynamic'"); n != before || uses() != before {
				t.Errorf("%v: %d clients, and %d uses instead of %d", fails, n, uses(), before)
			}
			r.Seen.Add("registration access token", enrolledBy(r, register(r, token, secret)).token)
		}
		changed := rig.Members{"redirect_uris": []string{"https://b.example/cb"}}
		for _, fails := range []write{
			{"UPDATE", "clients"}, {"INSERT", "client_origins"}, {"INSERT", "audit_events"},
		} {
			restore := breakWrites(r, owner, fails.verb, fails.table)
			a := e.update(r, e.token, secret, changed)
			restore()
			refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			read := r.JSON(http.MethodGet, e.path(), e.token, "")
			if read.Status != http.StatusOK || strings.Contains(read.Body, "b.example") {
				t.Errorf("%v: %d %s", fails, read.Status, read.Body)
			}
		}
		for _, fails := range []write{{"DELETE", "clients"}, {"INSERT", "audit_events"}} {
			restore := breakWrites(r, owner, fails.verb, fails.table)
			a := r.JSON(http.MethodDelete, e.path(), e.token, "")
			restore()
			refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			if a := r.JSON(http.MethodGet, e.path(), e.token, ""); a.Status != http.StatusOK {
				t.Errorf("%v: %d %s", fails, a.Status, a.Body)
			}
		}
		if a := e.update(r, e.token, secret, changed); a.Status != http.StatusOK {
			t.Errorf("a change: %d %s", a.Status, a.Body)
		} else {
			r.Seen.Add("registration access token", a.Text("registration_access_token"))
		}
	})
}

// The log says why a registration was refused, and contains no token.
func TestD01_O01_TheLogSaysWhyAndHoldsNoToken(t *testing.T) {
	o := openServer()
	o.Registration = management.RegistrationToken
	r := rig.Memory(t, o)
	token := initialToken(r, 2)
	e := enrolledBy(r, register(r, token))
	causes := map[string]string{}
	for what, a := range map[string]*rig.Answer{
		"no token":          register(r, ""),
		"a wrong token":     register(r, bearer.NewCredential(bearer.PrefixRegistration)),
		"another kind":      register(r, e.token),
		"no token to read":  r.JSON(http.MethodGet, e.path(), "", ""),
		"a wrong one":       r.JSON(http.MethodGet, e.path(), token, ""),
		"an unknown client": r.JSON(http.MethodGet, registerPath+"/app_x", e.token, ""),
		"a token as the id": r.JSON(http.MethodGet, registerPath+"/"+e.token, e.token, ""),
		"a wrong form":      register(r, token, rig.Members{"redirect_uris": []string{"javascript:x"}}),
	} {
		line := logged(t, r, "request", requestID(a))
		causes[what] = fmt.Sprint(line["cause"], line["error_code"], line["error"])
		if line["status"] != float64(a.Status) {
			t.Errorf("%s: the log says %v", what, line)
		}
	}
	for what, cause := range causes {
		if len(cause) < 10 {
			t.Errorf("%s: the log says %q", what, cause)
		}
	}
	line := logged(t, r, "request", requestID(e.a))
	if line["client_id"] != e.ID {
		t.Errorf("the registration is logged as %v", line)
	}
	var all []string
	for part := range maps.Values(causes) {
		all = append(all, part)
	}
	if text, err := json.Marshal(all); err != nil || strings.Contains(string(text), "dw_") {
		t.Errorf("%s %v", text, err)
	}
}
