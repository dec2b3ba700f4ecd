package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/web/gateway"
)

type docsCommand struct {
	output
	Resource string `help:"The API that the page is about. Left out: the only one." placeholder:"ID"`
}

// Run prints the page that tells an API's customers how to authenticate, in Markdown.
func (c docsCommand) Run(_ context.Context, a *app) error {
	config, err := a.load(nil)
	if err != nil {
		return err
	}
	index, err := config.resourceIndex(c.Resource)
	if err != nil {
		return err
	}
	page, err := authenticationPage(config, index)
	if err != nil {
		return err
	}
	return c.print(a, map[string]string{"markdown": page}, func(w io.Writer) { _, _ = io.WriteString(w, page) })
}

// resourceIndex finds a resource by its id, or the only one.
func (c Config) resourceIndex(id string) (int, error) {
	ids := make([]string, len(c.Resources))
	for i, r := range c.Resources {
		ids[i] = r.ID
	}
	switch i := slices.IndexFunc(ids, func(x string) bool { return catalog.SameResource(x, id) }); {
	case id == "" && len(ids) == 1:
		return 0, nil
	case id == "":
		return 0, usageError{fmt.Errorf("there are several resources; say which with --resource, one of %s", strings.Join(ids, ", "))}
	case i < 0:
		return 0, usageError{fmt.Errorf("--resource: %s is not configured; there is %s", quote(id), strings.Join(ids, ", "))}
	default:
		return i, nil
	}
}

//go:embed authentication.tmpl.md
var authenticationText string

var authenticationTemplate = template.Must(template.New("authentication").Option("missingkey=error").Funcs(template.FuncMap{
	"code": code, "cell": cell, "list": func(one string) []string { return []string{one} },
}).Parse(authenticationText))

// code writes words as code, with something between them.
func code(words []string, between string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = "`" + word + "`"
	}
	return strings.Join(out, between)
}

// cell keeps a text inside its cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`).Replace(text)
}

// authPage is what the page about one resource says.
type authPage struct {
	Name, API, Issuer                 string
	Secure, Others, JWT, Admin        bool
	Prefixes                          []string
	Live, Test                        string // prefixes of keys; empty: there are none
	MaxLifetime                       string
	KeysURL, FirstScope, FirstAction  string
	TrustedIssuers                    []string
	Sample, Personal                  sample
	WorkspaceHeader                   string
	Scopes                            []Scope
	Implies                           bool // some scope does
	Objects                           []string
	Routes                            []docsRoute
	MoreRoutes                        int
	Limited                           bool
	Plans                             []docsPlan
	PlanRules                         []string
	RateHeaders                       string
	Errors                            []docsError
	Expired419                        bool
	Challenge                         string
	TokenHere, RevokeHere             bool // on the API's host too
	AuthorizeURL, TokenAnswer, WhoAmI string
	AccessLifetime, CodeLifetime      string
	RefreshLifetime, RefreshAbsolute  string
	MetadataURL                       string
}

// sample is a request that its reader can send.
type sample struct {
	URL         string
	Variable    string // in which the credential is
	Placeholder string
	IsKey       bool
}

type docsRoute struct{ Methods, Path, Needs string }

type docsPlan struct{ Name, Hour, Day, Burst string }

type docsError struct {
	Status int
	When   string
	Body   string
}

// mostDocumented bounds the table of routes.
const mostDocumented = 60

// authenticationPage writes the page about one resource of a configuration without faults.
func authenticationPage(c Config, index int) (string, error) {
	r := c.Resources[index]
	api := c.apis()[index]
	api.Shape.Metadata = gateway.Metadata(r.ID)
	p := authPage{
		Name: cell(r.Name), API: apiBase(c, r), Issuer: c.Issuer, Secure: strings.HasPrefix(c.Issuer, "https:"), Others: len(c.Resources) > 1,
		JWT: r.Tokens == "jwt", WorkspaceHeader: r.WorkspaceHeader, Scopes: r.Scopes, Objects: r.Objects, Expired419: r.ExpiredStatus == gateway.StatusExpired,
		FirstScope: firstForKeys(r.Scopes), FirstAction: firstForKeys(r.Scopes),
		AccessLifetime: inWords(c.Tokens.Access), CodeLifetime: inWords(c.Tokens.Code), RefreshLifetime: inWords(c.Tokens.Refresh), RefreshAbsolute: inWords(c.Tokens.RefreshAbsolute),
	}
	if r.Name == r.ID {
		p.Name = "the API"
	}
	for _, kind := range r.Keys.Kinds {
		prefix := r.Keys.Prefix + "_" + kind + "_"
		p.Prefixes = append(p.Prefixes, prefix)
		if kind == "test" {
			p.Test = prefix
		} else {
			p.Live = prefix
		}
	}
	if r.Keys.MaxLifetime > 0 {
		p.MaxLifetime = inWords(r.Keys.MaxLifetime)
	}
	for _, s := range r.Scopes {
		p.Implies = p.Implies || len(s.Implies) > 0
		p.Admin = p.Admin || s.Name == catalog.ScopeAdmin
	}
	for _, t := range r.TrustedIssuers {
		p.TrustedIssuers = append(p.TrustedIssuers, t.Issuer)
	}
	hosted := len(r.Hosts) > 0
	p.TokenHere = hosted && slices.Contains(r.Builtin, "/oauth/token")
	p.RevokeHere = hosted && slices.Contains(r.Builtin, "/oauth/revoke")
	p.KeysURL = ownURL(c, r, "/v1/api-keys")
	p.WhoAmI = ownURL(c, r, "/api/me")

	p.Sample, p.Personal = samples(c, r)
	p.documentRoutes(r)
	p.documentPlans(c, r)
	p.documentErrors(r, api.Shape)
	p.documentOAuth(c, r)
	var out strings.Builder
	if err := authenticationTemplate.Execute(&out, p); err != nil {
		return "", fmt.Errorf("write the page: %w", err)
	}
	return out.String(), nil
}

// firstForKeys is the first scope that an API key may have; where there is none, the first.
func firstForKeys(scopes []Scope) string {
	return scopes[max(0, slices.IndexFunc(scopes, func(s Scope) bool { return !s.UserOnly }))].Name
}

// userOnly reports whether a scope of a resource counts only where a person stands behind the credential.
func userOnly(r Resource, scope string) bool {
	_, action, _ := catalog.SplitScope(strings.Replace(scope, "{object}", "{}", 1), append([]string{"{}"}, r.Objects...))
	return slices.ContainsFunc(r.Scopes, func(s Scope) bool { return s.UserOnly && (s.Name == scope || s.Name == action) })
}

// apiBase is where the API's routes are: on its first host, else on that of its id, else where its customers see it.
func apiBase(c Config, r Resource) string {
	issuer, err := url.Parse(c.Issuer)
	if err == nil && len(r.Hosts) > 0 {
		return issuer.Scheme + "://" + r.Hosts[0]
	}
	if u, err := url.Parse(r.ID); err == nil && u.Host != "" && strings.HasPrefix(u.Scheme, "http") {
		return u.Scheme + "://" + u.Host
	}
	return c.Issuer
}

// ownURL is the URL of a path of this server's own: on the API's host where that serves it, else on the issuer's.
func ownURL(c Config, r Resource, path string) string {
	if len(r.Hosts) > 0 && slices.Contains(r.Builtin, path) {
		return apiBase(c, r) + path
	}
	return c.Issuer + path
}

// samples are the first requests that an API key, or else an access token, and that a personal access token may send.
// Where no route is for them, they ask who they are.
func samples(c Config, r Resource) (first, personal sample) {
	whoAmI := ownURL(c, r, "/v1/auth/test")
	first = sample{Variable: "ACCESS_TOKEN", Placeholder: bearer.PrefixAccessToken + "…"}
	if r.Tokens == "jwt" {
		first.Placeholder = "eyJ…"
	}
	kind := bearer.KindAccessToken
	if len(r.Keys.Kinds) > 0 {
		first = sample{Variable: "API_KEY", Placeholder: r.Keys.Prefix + "_" + r.Keys.Kinds[0] + "_…", IsKey: true}
		kind = bearer.KindAPIKey
	}
	first.URL, personal.URL = whoAmI, whoAmI
	if path := readable(r, kind); path != "" {
		first.URL = apiBase(c, r) + path
	}
	if path := readable(r, bearer.KindPersonalAccessToken); path != "" {
		personal.URL = apiBase(c, r) + path
	}
	return first, personal
}

// readable is a path, escaped, of the first route that a kind of credential may GET; empty: there is none.
func readable(r Resource, kind string) string {
	tree := newRouteTree(r)
	for i, route := range r.Routes {
		tree.add(route, i)
	}
	for i, route := range r.Routes {
		isKey := kind == bearer.KindAPIKey
		if route.Public || route.Refuse || (route.Credentials != nil && !slices.Contains(route.Credentials, kind)) ||
			(isKey && (route.Role != "" || slices.ContainsFunc(route.Scopes, func(name string) bool { return userOnly(r, name) }))) {
			continue
		}
		if path := examplePath(r, route); tree.first(http.MethodGet, path) == i {
			return escapePath(path)
		}
	}
	return ""
}

// examplePath is a path that a route takes, when no other is before it.
func examplePath(r Resource, route Route) string {
	var out strings.Builder
	for _, segment := range segments(route.Path) {
		switch {
		case segment == "**" && out.Len() > 0:
			return out.String() // /x/** takes /x too
		case segment == "**":
			return "/"
		case segment == "*":
			segment = "1"
		case segment == "{object}" && len(r.Objects) > 0:
			segment = r.Objects[0]
		}
		out.WriteString("/" + segment)
	}
	return out.String()
}

// escapePath writes a path so that it means the same in a URL, in a shell and in the strings of six languages.
func escapePath(path string) string {
	var out strings.Builder
	for i := range len(path) {
		switch c := path[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/-._~", c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

func (p *authPage) documentRoutes(r Resource) {
	for i, route := range r.Routes {
		if i == mostDocumented {
			p.MoreRoutes = len(r.Routes) - i
			return
		}
		if route.Refuse {
			continue // customers cannot use it
		}
		d := docsRoute{Methods: "any method", Path: route.Path, Needs: "any credential"}
		if route.Methods != nil {
			d.Methods = code(route.Methods, ", ")
		}
		switch {
		case route.Public:
			d.Needs = "nothing"
		case len(route.Scopes) > 0:
			d.Needs = code(route.Scopes, " and ")
			if slices.ContainsFunc(route.Scopes, func(name string) bool { return userOnly(r, name) }) && len(r.Keys.Kinds) > 0 && route.Credentials == nil {
				d.Needs += " (not with an API key)"
			}
		}
		if route.Credentials != nil {
			kinds := make([]string, len(route.Credentials))
			for j, kind := range route.Credentials {
				kinds[j] = kindWords[kind]
			}
			d.Needs += ", with " + strings.Join(kinds, " or ")
		}
		if route.Role != "" {
			d.Needs += ", the role " + route.Role
		}
		if !route.Public && route.Cost != 1 {
			d.Needs += fmt.Sprintf("; counts as %d", route.Cost)
		}
		p.Routes = append(p.Routes, d)
	}
}

// kindWords are the kinds of credentials as customers know them.
var kindWords = map[string]string{
	bearer.KindAccessToken: "an access token", bearer.KindAPIKey: "an API key", bearer.KindPersonalAccessToken: "a personal access token",
	bearer.KindForeignJWT: "a session's token",
}

func (p *authPage) documentPlans(c Config, r Resource) {
	p.Limited = len(c.Plans) > 0
	number := func(n int64) string {
		if n == 0 {
			return "no limit"
		}
		return grouped(n)
	}
	for _, name := range plansBySize(c.Plans) {
		plan := c.Plans[name]
		p.Plans = append(p.Plans, docsPlan{name, number(plan.Hour), number(plan.Day), number(plan.Burst)})
	}
	named := func(plan string) string {
		if plan == "" {
			return "no limit"
		}
		return "the plan " + plan
	}
	if p.Live != "" || p.Test != "" {
		if p.Live != "" {
			p.PlanRules = append(p.PlanRules, "An API key has the plan it was given, else that of its workspace, else "+named(r.Keys.DefaultPlan)+". A key's own limit takes the place of the plan's hour.")
		}
		if p.Test != "" {
			p.PlanRules = append(p.PlanRules, "A test key has "+named(r.Keys.TestPlan)+", whatever its workspace has.")
		}
	}
	p.PlanRules = append(p.PlanRules,
		"A person's access tokens and personal access tokens count together, under the plan of the workspace they act in, else "+named(r.UserPlan)+".",
		"An app that acts for itself (`client_credentials`) has "+named(r.ClientPlan)+".")
	if r.AnonymousPlan != "" {
		p.PlanRules = append(p.PlanRules, "Requests without a good credential count by address: "+named(r.AnonymousPlan)+".")
	}
	h := http.Header{}
	most := int64(1000)
	if plan, ok := c.Plans[r.Keys.DefaultPlan]; ok && plan.Hour > 0 {
		most = plan.Hour
	} else if plan, ok := c.Plans[r.UserPlan]; ok && plan.Hour > 0 {
		most = plan.Hour
	}
	gateway.RateHeaders(h, limit.Result{Limit: most, Remaining: most - 1, Reset: exampleMoment.Unix()})
	p.RateHeaders = headerLines(h, "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
}

// plansBySize are the names of plans, the smallest first.
func plansBySize(plans map[string]Plan) []string {
	size := func(n int64) int64 {
		if n == 0 {
			return mostRequests + 1
		}
		return n
	}
	names := make([]string, 0, len(plans))
	for name := range plans {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := plans[a], plans[b]
		return slices.Compare([]int64{size(x.Hour), size(x.Day), size(x.Burst)}, []int64{size(y.Hour), size(y.Day), size(y.Burst)})*2 + strings.Compare(a, b)
	})
	return names
}

// grouped writes a number with commas between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// exampleMoment is when the examples are of.
var exampleMoment = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

const exampleKeyID = "key_01a204bb-b26f-7e0c-9d41-6a1f0e2b7c35"

// documentErrors has the gateway write each refusal, as it does for requests.
func (p *authPage) documentErrors(r Resource, shape gateway.Shape) {
	key := &bearer.Principal{Kind: bearer.KindAPIKey, KeyID: exampleKeyID, ExpiresAt: storage.Time(exampleMoment.UnixMicro())}
	token := &bearer.Principal{Kind: bearer.KindAccessToken, ExpiresAt: key.ExpiresAt}
	scope, request := missingScope(r)
	if scope == "" {
		scope, request = catalog.ScopeAdmin, "GET /v1/api-keys"
	}
	cases := []struct {
		when string
		err  error
	}{
		{"no credential was sent", &gateway.Refusal{Kind: gateway.Missing}},
		{"the credential is unknown", gateway.Useless(&bearer.Principal{}, bearer.ErrUnknown)},
		{"the key was revoked", gateway.Useless(key, bearer.ErrRevoked)},
		{"the key has expired", gateway.Useless(key, bearer.ErrExpired)},
		{"the access token has expired", gateway.Useless(token, bearer.ErrExpired)},
		{"a permission is missing", &gateway.Refusal{Kind: gateway.Forbidden, Scope: scope, Detail: "The permission " + scope + " is missing for " + request + "; use a credential that has it."}},
		{"the credential is paused, or its user or workspace disabled", gateway.Useless(key, bearer.ErrSuspended)},
		{"a personal access token came without the header `" + r.WorkspaceHeader + "`", &gateway.Refusal{Kind: gateway.BadRequest, Detail: "Name the workspace in the header " + r.WorkspaceHeader + "."}},
		{"too many requests", gateway.TooMany(limit.Result{RetryAfter: 27 * time.Second})},
		{"a part of the server is away", gateway.AsRefusal(storage.ErrUnavailable)},
	}
	for _, one := range cases {
		if len(p.Prefixes) == 0 && strings.HasPrefix(one.when, "the key") {
			continue
		}
		refusal := gateway.AsRefusal(one.err)
		a := answer{header: http.Header{}}
		shape.Write(&a, refusal)
		d := docsError{Status: a.status, When: one.when, Body: strings.TrimSuffix(a.body.String(), "\n")}
		if refusal.Kind == gateway.Forbidden && refusal.Scope != "" {
			p.Challenge = a.header.Get("WWW-Authenticate")
		}
		// What looks alike is told once.
		if i := slices.IndexFunc(p.Errors, func(e docsError) bool { return e.Status == d.Status && e.Body == d.Body }); i >= 0 {
			p.Errors[i].When += ", " + d.When
			continue
		}
		p.Errors = append(p.Errors, d)
	}
	for i := range p.Errors {
		if at := strings.LastIndex(p.Errors[i].When, ", the "); at >= 0 {
			p.Errors[i].When = p.Errors[i].When[:at] + ", or" + p.Errors[i].When[at+1:]
		}
	}
}

// missingScope is a scope that a route needs, another than the first of the catalogue where there is one, and the
// request that needs it, as refusals name it.
func missingScope(r Resource) (scope, request string) {
	for _, route := range r.Routes {
		if len(route.Scopes) == 0 || (scope != "" && strings.HasSuffix(route.Scopes[0], r.Scopes[0].Name)) {
			continue
		}
		path, needed := route.Path, route.Scopes[0]
		if len(r.Objects) > 0 {
			path, needed = strings.Replace(path, "{object}", r.Objects[0], 1), strings.Replace(needed, "{object}", r.Objects[0], 1)
		}
		method := http.MethodGet
		if route.Methods != nil {
			method = route.Methods[0]
		}
		scope, request = needed, method+" "+path
		if !strings.HasSuffix(needed, r.Scopes[0].Name) {
			return scope, request
		}
	}
	return scope, request
}

// answer keeps what is written as an answer.
type answer struct {
	header http.Header
	status int
	body   strings.Builder
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func headerLines(h http.Header, names ...string) string {
	lines := make([]string, len(names))
	for i, name := range names {
		lines[i] = name + ": " + h.Get(name)
	}
	return strings.Join(lines, "\n")
}

func (p *authPage) documentOAuth(c Config, r Resource) {
	scope := r.Scopes[0].Name
	query := "response_type=code&client_id=$CLIENT_ID&redirect_uri=https%3A%2F%2Fapp.example.net%2Fcallback&scope=" + url.QueryEscape(scope)
	if len(c.Resources) > 1 {
		query += "&resource=" + url.QueryEscape(r.ID)
	}
	p.AuthorizeURL = c.Issuer + "/oauth/authorize?" + query
	access := bearer.PrefixAccessToken + "…"
	if p.JWT {
		access = "eyJ…"
	}
	p.TokenAnswer = fmt.Sprintf("{\n  %q: %q,\n  %q: %q,\n  %q: %d,\n  %q: %q,\n  %q: %q\n}",
		"access_token", access, "token_type", "Bearer", "expires_in", c.Tokens.Access/time.Second, "refresh_token", bearer.PrefixRefreshToken+"…", "scope", scope)
	if strings.HasPrefix(r.ID, "https:") {
		p.MetadataURL = gateway.Metadata(r.ID)
	}
}

// inWords says how long something lives.
func inWords(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := d / unit.size; n > 0 && d%unit.size == 0 {
			if n == 1 {
				return "one " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return formatDuration(d)
}
