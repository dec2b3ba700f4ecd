// Package guide writes the authentication guide for the customers of an API. It gets its content from the configuration
// and from the code that answers requests; it does not use the database.
package guide

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"doorward/config"
	"doorward/locale"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/web/gateway"
)

//go:embed authentication.tmpl.md
var authenticationText string

var authenticationTemplate = template.Must(
	template.New("authentication").Option("missingkey=error").Funcs(template.FuncMap{
		"code": code, "cell": cell, "list": func(one string) []string { return []string{one} },
		"allows": func(x catalog.Scope) string { return x.For(locale.Locale{}) }, // the page is in English
	}).Parse(authenticationText),
)

// code formats words as Markdown code, joined by between.
func code(words []string, between string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = "`" + word + "`"
	}
	return strings.Join(out, between)
}

var markdownEscaper = strings.NewReplacer(
	"|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`,
)

// cell escapes a text for a cell of a Markdown table.
func cell(text string) string { return markdownEscaper.Replace(text) }

// authPage is the data of the page about one resource.
type authPage struct {
	Name, API, Issuer                 string
	Secure, Others, JWT, Admin        bool
	Prefixes                          []string
	Live, Test                        string // prefixes of keys; empty: no such keys
	MaxLifetime                       string
	KeysURL, FirstScope, FirstAction  string
	TrustedIssuers                    []string
	Sample, Personal                  sample
	WorkspaceHeader                   string
	Scopes                            []catalog.Scope
	Implies                           bool // some scope includes others
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
	TokenHere, RevokeHere             bool // the endpoint is on the API's host too
	AuthorizeURL, TokenAnswer, WhoAmI string
	TokenType                         string
	DPoP                              bool // access tokens must be bound to a key
	AccessLifetime, CodeLifetime      string
	RefreshLifetime, RefreshAbsolute  string
	MetadataURL                       string
}

type docsRoute struct{ Methods, Path, Needs string }

type docsPlan struct{ Name, Hour, Day, Burst string }

type docsError struct {
	Status int
	When   string
	Body   string
}

// maxRoutes bounds the table of routes.
const maxRoutes = 60

// Page writes the page about one resource in Markdown. The configuration must have no faults; index is the resource's.
func Page(c config.Config, index int) (string, error) {
	r := c.Resources[index]
	api := r.API
	api.Shape.Metadata = gateway.MetadataURL(r.ID)
	p := authPage{
		Name:            cell(r.Name),
		API:             apiBase(c, r),
		Issuer:          c.Issuer,
		Secure:          strings.HasPrefix(c.Issuer, "https:"),
		Others:          len(c.Resources) > 1,
		JWT:             r.JWT,
		WorkspaceHeader: r.WorkspaceHeader,
		Scopes:          r.Scopes,
		Objects:         r.Objects,
		Expired419:      r.API.Shape.ExpiredStatus == gateway.StatusExpired,
		FirstScope:      firstForKeys(r.Scopes),
		FirstAction:     firstForKeys(r.Scopes),
		AccessLifetime:  input.DurationInWords(c.Lifetimes.Access),
		CodeLifetime:    input.DurationInWords(c.Lifetimes.Code),
		RefreshLifetime: input.DurationInWords(c.Lifetimes.Refresh),
		RefreshAbsolute: input.DurationInWords(c.Lifetimes.RefreshAbsolute),
	}
	if r.Name == r.ID {
		p.Name = "the API"
	}
	for _, kind := range r.Keys.Environments {
		prefix := r.Keys.Prefix + "_" + kind + "_"
		p.Prefixes = append(p.Prefixes, prefix)
		if kind == "test" {
			p.Test = prefix
		} else {
			p.Live = prefix
		}
	}
	if r.Keys.MaxLifetime > 0 {
		p.MaxLifetime = input.DurationInWords(r.Keys.MaxLifetime)
	}
	for _, s := range r.Scopes {
		p.Implies = p.Implies || len(s.Implies) > 0
		p.Admin = p.Admin || s.Name == catalog.ScopeAdmin
	}
	for _, t := range r.TrustedIssuers {
		p.TrustedIssuers = append(p.TrustedIssuers, t.Issuer)
	}
	hosted := len(r.API.Hosts) > 0
	p.TokenHere = hosted && slices.Contains(r.API.Builtin, "/oauth/token")
	p.RevokeHere = hosted && slices.Contains(r.API.Builtin, "/oauth/revoke")
	p.KeysURL = ownURL(c, r, "/v1/api-keys")
	p.WhoAmI = ownURL(c, r, "/api/me")

	p.Sample, p.Personal = samples(c, r)
	p.documentRoutes(r)
	p.documentPlans(c, r)
	p.documentErrors(r, api.Shape)
	p.documentOAuth(c, r)
	var out strings.Builder
	if err := authenticationTemplate.Execute(&out, p); err != nil {
		return "", fmt.Errorf("write the guide: %w", err)
	}
	return out.String(), nil
}

func (p *authPage) documentRoutes(r config.Resource) {
	for i, one := range r.API.Routes {
		if i == maxRoutes {
			p.MoreRoutes = len(r.API.Routes) - i
			return
		}
		if one.Refuse {
			continue // customers cannot use it
		}
		d := docsRoute{Methods: "any method", Path: one.Path, Needs: "any credential"}
		if one.Methods != nil {
			d.Methods = code(one.Methods, ", ")
		}
		switch {
		case one.Public:
			d.Needs = "nothing"
		case len(one.Scopes) > 0:
			d.Needs = code(one.Scopes, " and ")
			if slices.ContainsFunc(one.Scopes, func(name string) bool { return userOnly(r, name) }) &&
				len(r.Keys.Environments) > 0 &&
				one.Credentials == nil {
				d.Needs += " (not for API keys)"
			}
		}
		if one.Credentials != nil {
			kinds := make([]string, len(one.Credentials))
			for j, kind := range one.Credentials {
				kinds[j] = kindForCustomers(kind)
			}
			d.Needs += ", with " + strings.Join(kinds, " or ")
		}
		if one.Role != "" {
			d.Needs += ", and the " + one.Role + " role or higher"
		}
		if !one.Public && one.Cost != 1 {
			d.Needs += fmt.Sprintf("; counts as %d", one.Cost)
		}
		p.Routes = append(p.Routes, d)
	}
}

// kindForCustomers names a credential kind in the words of the API's customers.
func kindForCustomers(kind string) string {
	if kind == bearer.KindForeignJWT {
		return "a session's token"
	}
	return bearer.OneOfKind(kind)
}

func (p *authPage) documentPlans(c config.Config, r config.Resource) {
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
			p.PlanRules = append(
				p.PlanRules,
				"An API key uses its own plan or, if it has none, its workspace's plan. The default is "+
					named(r.Keys.DefaultPlan)+". A key's own rate limit replaces the plan's hourly limit.",
			)
		}
		if p.Test != "" {
			p.PlanRules = append(
				p.PlanRules,
				"A test key always has "+named(r.Keys.TestPlan)+", regardless of its workspace's plan.",
			)
		}
	}
	p.PlanRules = append(
		p.PlanRules,
		"A user's access tokens and personal access tokens share one rate limit: the plan of the workspace they are used "+
			"in. The default is "+named(r.UserPlan)+".",
		"An app that acts on its own behalf (`client_credentials`) has "+named(r.ClientPlan)+".",
	)
	if r.AnonymousPlan != "" {
		p.PlanRules = append(
			p.PlanRules,
			"Requests without a valid credential are limited per IP address, by "+named(r.AnonymousPlan)+".",
		)
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

// plansBySize returns the names of plans, smallest first.
func plansBySize(plans map[string]limit.Plan) []string {
	size := func(n int64) int64 {
		if n == 0 {
			return math.MaxInt64
		}
		return n
	}
	names := make([]string, 0, len(plans))
	for name := range plans {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := plans[a], plans[b]
		return cmp.Or(
			cmp.Compare(size(x.Hour), size(y.Hour)),
			cmp.Compare(size(x.Day), size(y.Day)),
			cmp.Compare(size(x.Burst), size(y.Burst)),
			strings.Compare(a, b),
		)
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

func (p *authPage) documentOAuth(c config.Config, r config.Resource) {
	scope := r.Scopes[0].Name
	query := "response_type=code&client_id=$CLIENT_ID&redirect_uri=https%3A%2F%2Fapp.example.net%2Fcallback&scope=" +
		url.QueryEscape(scope)
	if len(c.Resources) > 1 {
		query += "&resource=" + url.QueryEscape(r.ID)
	}
	p.AuthorizeURL = c.Issuer + "/oauth/authorize?" + query
	p.TokenType, p.DPoP = "Bearer", r.RequireDPoP
	if p.DPoP {
		p.TokenType = dpop.Scheme
	}
	access := bearer.PrefixAccessToken + "…"
	if p.JWT {
		access = "eyJ…"
	}
	p.TokenAnswer = fmt.Sprintf(
		"{\n  %q: %q,\n  %q: %q,\n  %q: %d,\n  %q: %q,\n  %q: %q\n}",
		"access_token", access,
		"token_type", p.TokenType,
		"expires_in", c.Lifetimes.Access/time.Second,
		"refresh_token", bearer.PrefixRefreshToken+"…",
		"scope", scope,
	)
	if strings.HasPrefix(r.ID, "https:") {
		p.MetadataURL = gateway.MetadataURL(r.ID)
	}
}
