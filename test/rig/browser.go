package rig

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/html"
)

// Browser is a browser without a screen: it keeps cookies, sends forms with the hidden fields that they have, and follows
// a redirect only when told. For what a person sees there is package test/browser.
type Browser struct {
	*Rig
	client *http.Client
}

// Browser opens a new one, with no cookies.
func (r *Rig) Browser() *Browser {
	r.T.Helper()
	jar, err := cookiejar.New(nil)
	r.ok(err)
	c := r.Program()
	c.Jar = jar
	return &Browser{Rig: r, client: c}
}

// Cookies are those that the browser would send to the server.
func (b *Browser) Cookies() []*http.Cookie {
	u, err := url.Parse(b.URL)
	b.ok(err)
	return b.client.Jar.Cookies(u)
}

// WithCookiesOf gives the browser the cookies of another one, which may be at another node, and returns it.
func (b *Browser) WithCookiesOf(other *Browser) *Browser {
	b.T.Helper()
	for _, c := range other.Cookies() {
		c.Path = "/"
		b.SetCookie(c)
	}
	return b
}

// SetCookie plants a cookie.
func (b *Browser) SetCookie(c *http.Cookie) {
	u, err := url.Parse(b.URL)
	b.ok(err)
	b.client.Jar.SetCookies(u, []*http.Cookie{c})
}

// Get opens a path, or a URL of the server.
func (b *Browser) Get(path string, header ...string) *Answer {
	b.T.Helper()
	return b.Send(b.client, b.Request(http.MethodGet, strings.TrimPrefix(path, b.URL), nil, append([]string{"Sec-Fetch-Site", "same-origin"}, header...)...))
}

// PostForm sends a form as a page of the server would.
func (b *Browser) PostForm(path string, form url.Values, header ...string) *Answer {
	b.T.Helper()
	return b.Send(b.client, b.Request(http.MethodPost, path, strings.NewReader(form.Encode()),
		append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Origin", b.URL}, header...)...))
}

// Submit is PostForm, followed to the page that shows the secret which the form created, if it did.
func (b *Browser) Submit(path string, form url.Values, header ...string) *Answer {
	b.T.Helper()
	a := b.PostForm(path, form, header...)
	if a.Status == http.StatusSeeOther && a.Location != nil && strings.HasSuffix(a.Location.Path, "/shown") {
		return b.Follow(a)
	}
	return a
}

// Follow goes on to where an answer leads, as long as that is the server.
func (b *Browser) Follow(a *Answer) *Answer {
	b.T.Helper()
	for range 10 {
		if a.Location == nil || (a.Location.Host != "" && !strings.HasPrefix(a.Location.String(), b.URL+"/")) {
			return a
		}
		a = b.Get(a.Location.RequestURI())
	}
	b.T.Fatal("too many redirects")
	return nil
}

// Form is the form of a page: where it goes, and what it has before anybody touches it. Check boxes count when they are
// ticked; buttons do not.
func (b *Browser) Form(page *Answer, action string) url.Values {
	b.T.Helper()
	doc, err := html.Parse(strings.NewReader(page.Body))
	b.ok(err)
	var form url.Values
	var walk func(n *html.Node, inside bool)
	walk = func(n *html.Node, inside bool) {
		if n.Type == html.ElementNode {
			if n.Data == "form" && attr(n, "action") == action {
				inside, form = true, url.Values{}
			}
			if inside && n.Data == "input" && attr(n, "name") != "" {
				switch kind := attr(n, "type"); {
				case (kind == "checkbox" || kind == "radio") && !hasAttr(n, "checked"), kind == "submit":
				default:
					form.Add(attr(n, "name"), attr(n, "value"))
				}
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, inside)
		}
	}
	walk(doc, false)
	if form == nil {
		b.T.Fatalf("no form for %s on the page (status %d): %s", action, page.Status, Plain(page.Body))
	}
	return form
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

var (
	tags   = regexp.MustCompile(`(?s)<head.*?</head>|<script.*?</script>|<svg.*?</svg>|<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// Plain is the text of a page, for messages.
func Plain(body string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(tags.ReplaceAllString(body, " "), " "))
}

// LogIn sends the login form of a page with the rig's password.
func (b *Browser) LogIn(page *Answer, email string) *Answer {
	b.T.Helper()
	form := b.Form(page, "/login")
	form.Set("email", email)
	form.Set("password", Password)
	return b.PostForm("/login", form)
}

// SignIn signs in without an app.
func (b *Browser) SignIn(email string) *Browser {
	b.T.Helper()
	if a := b.LogIn(b.Get("/login"), email); a.Status != http.StatusSeeOther {
		b.T.Fatalf("sign-in answered %d: %s", a.Status, Plain(a.Body))
	}
	return b
}

// Authorize sends an authorization request and follows it to the page, or to the app.
func (b *Browser) Authorize(params url.Values) *Answer {
	b.T.Helper()
	return b.Follow(b.Get("/oauth/authorize?"+params.Encode(), "Sec-Fetch-Site", "cross-site"))
}

// Decide answers a consent page.
func (b *Browser) Decide(page *Answer, decision string, change ...func(url.Values)) *Answer {
	b.T.Helper()
	form := b.Form(page, "/oauth/consent")
	form.Set("decision", decision)
	for _, f := range change {
		f(form)
	}
	return b.PostForm("/oauth/consent", form)
}

// Code has the signed-in person allow what the app asks, and gives the code.
func (b *Browser) Code(app *App, scope string) string {
	b.T.Helper()
	a := b.Authorize(app.Params(scope))
	if a.Location == nil {
		a = b.Decide(a, "approve")
	}
	code := a.Param("code")
	if code == "" {
		b.T.Fatalf("no code: %d %v %s", a.Status, a.Location, Plain(a.Body))
	}
	return code
}

// Confirm does what a page asks about first: it opens the page that says what ends, and sends its form with fields added.
func (b *Browser) Confirm(path string, more url.Values) *Answer {
	b.T.Helper()
	page := b.Get(path)
	if page.Status != http.StatusOK {
		return page
	}
	form := b.Form(page, path)
	for name, values := range more {
		form[name] = values
	}
	return b.PostForm(path, form)
}
