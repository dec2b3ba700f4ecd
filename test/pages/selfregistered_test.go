package pages

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/test/browser"
	"doorward/test/rig"
)

// documentHost publishes the metadata document of a client at /client.json, and its logo.
type documentHost struct {
	*httptest.Server
	members atomic.Value // map[string]any; client_id is added
	logos   atomic.Int32 // how often the logo was fetched
}

func newDocumentHost(t *testing.T) *documentHost {
	t.Helper()
	var logo bytes.Buffer
	m := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := 0; i < len(m.Pix); i += 4 {
		m.Pix[i+2], m.Pix[i+3] = 200, 255
	}
	if err := png.Encode(&logo, m); err != nil {
		t.Fatal(err)
	}
	h := &documentHost{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/logo.png":
			h.logos.Add(1)
			_, _ = w.Write(logo.Bytes())
		case "/client.json":
			members, _ := h.members.Load().(map[string]any)
			members["client_id"] = h.id()
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(members)
		case "/cb":
		default:
			http.NotFound(w, q)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *documentHost) id() string { return h.URL + "/client.json" }

// options let a rig fetch from the host.
func (h *documentHost) options() rig.Options {
	roots := x509.NewCertPool()
	roots.AddCert(h.Certificate())
	return rig.Options{
		Registration: management.RegistrationOpen, Documents: oauth.DocumentHosts{Any: true},
		Fetch: fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: roots},
		Resources: []catalog.Resource{{
			ID: "https://notes.example.com/mcp", Name: "Notes", OpenScopes: []string{"read", "write"},
			Scopes: []catalog.Scope{{Name: "read", Text: "Read your notes"}, {Name: "write", Text: "Change your notes"}},
		}},
	}
}

// request is the path of an authorization request.
func request(clientID, redirect, scope string) string {
	sum := sha256.Sum256([]byte("a verifier of forty-three characters or more, as is due"))
	return "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {redirect}, "scope": {scope},
		"state": {"s"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}.Encode()
}

// A client with a metadata document is recognised by the host that it is published at, not by what it calls itself. A
// change is shown, and neither the browser nor an answer is fetched from a host of the client.
func TestD06_ConsentToAClientWithAMetadataDocument(t *testing.T) {
	h := newDocumentHost(t)
	h.members.Store(map[string]any{
		"client_name": "Claude", "redirect_uris": []string{h.URL + "/cb"}, "logo_uri": h.URL + "/logo.png",
		"client_uri": "https://claude.example", "policy_uri": "https://claude.example/privacy",
	})
	r := rig.Memory(t, h.options())
	p := newPerson(t, r)
	p.TrustCertificates() // of the redirect
	p.open(request(h.id(), h.URL+"/cb", "read"))
	p.signIn("alice@example.com")
	host := strings.TrimPrefix(h.URL, "https://")
	text := p.Text("main")
	for _, want := range []string{
		"Allow " + host + "?", "It calls itself “Claude”", "This app is not verified", "It is new here.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(p.HTML(), "claude.example/privacy") || p.Has(".badge.good") {
		t.Error("the page links to the app's own pages, or shows a badge")
	}
	p.checkPage("consent metadata document")
	if wide := browser.Evaluate[int](p.Tab, `document.querySelector(".handover .tile img").naturalWidth`); wide != 96 {
		t.Errorf("the logo is %d pixels wide", wide)
	}
	if foreign := p.Foreign(strings.TrimPrefix(r.URL, "http://")); len(foreign) > 0 {
		t.Errorf("the browser asked other hosts: %v", foreign)
	}
	if h.logos.Load() != 1 {
		t.Errorf("the logo was fetched %d times", h.logos.Load())
	}
	p.Click(`[value=approve]`)

	// The same again needs no page; a changed document does.
	p.open(request(h.id(), h.URL+"/cb", "read"))
	if at := p.URL(); at.Path != "/cb" {
		t.Errorf("the second request led to %s", at)
	}
	h.members.Store(map[string]any{
		"client_name": "Claude Pro", "redirect_uris": []string{h.URL + "/cb", "http://127.0.0.1/callback"},
	})
	r.Advance(2 * time.Hour)
	p.open(request(h.id(), h.URL+"/cb", "read"))
	text = p.Text("main")
	for _, want := range []string{
		"This app has changed since you allowed it", "It was called “Claude”.", "http://127.0.0.1/callback",
		"It was first seen here on",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	p.checkPage("consent changed")
}

// Any program on the computer can use the client id of a document whose redirects all lead there.
func TestConsentWarnsOfDocumentsWithLoopbackRedirectsOnly(t *testing.T) {
	h := newDocumentHost(t)
	h.members.Store(map[string]any{"client_name": "Shell", "redirect_uris": []string{"http://127.0.0.1/callback"}})
	r := rig.Memory(t, h.options())
	p := newPerson(t, r)
	p.open(request(h.id(), "http://127.0.0.1:3000/callback", "read write offline_access"))
	p.signIn("alice@example.com")
	if text := p.Text("main"); !strings.Contains(text, "Any program running here can claim to be") {
		t.Errorf("the page has no warning:\n%s", text)
	}
	p.checkPage("consent loopback document")
}

// What a registered client says about itself is shown as its own claim.
func TestConsentToAClientThatRegisteredItself(t *testing.T) {
	h := newDocumentHost(t)
	r := rig.Memory(t, h.options())
	a := r.Browser().JSON("POST", "/oauth/register", `{"client_name":"Notes Helper","redirect_uris":`+
		`["http://localhost/callback"],"token_endpoint_auth_method":"none","client_uri":"https://helper.example"}`)
	id, _ := a.JSON()["client_id"].(string)
	if a.Status != http.StatusCreated || id == "" {
		t.Fatalf("registration: %d %s", a.Status, a.Body)
	}
	p := newPerson(t, r)
	p.open(request(id, "http://localhost:3334/callback", "read"))
	p.signIn("alice@example.com")
	for _, want := range []string{
		"Allow Notes Helper?", "It registered itself, and chose the name “Notes Helper” and the site https://helper.example",
		"It was first seen here on",
	} {
		if text := p.Text("main"); !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	p.checkPage("consent registered itself")
}
