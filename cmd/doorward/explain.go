package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"doorward/oauth/input"
	"doorward/web/gateway"
)

type explainCommand struct {
	output
	Method     string   `arg:"" help:"HTTP method, such as GET."`
	URL        string   `arg:"" name:"url" help:"URL of the request; its host must belong to a configured resource."`
	Credential string   `help:"Read the credential from standard input. Only - is accepted, because other users can see the command line." placeholder:"-"`
	Workspace  *string  `help:"Slug of the workspace to send in the resource's workspace header." placeholder:"SLUG"`
	Header     []string `sep:"none" help:"Another header of the request; repeat for several." placeholder:"'NAME: VALUE'"`
}

// explanationJSON is an explanation for scripts.
type explanationJSON struct {
	Resource string   `json:"resource"`
	Allowed  bool     `json:"allowed"`
	Status   int      `json:"status"`
	Route    *string  `json:"route"` // null: no route matches
	Reason   *string  `json:"reason"`
	Needed   *string  `json:"needed"` // the credential that would be allowed; null: none would, or none is needed
	Steps    []string `json:"steps"`
}

// Run says which route decides about a request, why it is refused, and what would be allowed. It does not count against
// any limit.
func (e explainCommand) Run(ctx context.Context, a *app) error {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usageError{
			fmt.Errorf(
				"%s is not a complete URL; use one such as https://api.example.com/v1/accounts",
				input.Quote(e.URL),
			),
		}
	}
	if e.Credential != "" && e.Credential != "-" {
		return usageError{
			errors.New("--credential must be -, to read it from standard input; other users can see the command line"),
		}
	}
	method := strings.ToUpper(e.Method)
	header := http.Header{}
	for _, line := range e.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return usageError{fmt.Errorf("--header: %s is not a header; use 'NAME: VALUE'", input.Quote(line))}
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if e.Credential == "-" {
		credential, err := a.readLine("credential")
		if err != nil {
			return err
		}
		header.Add("Authorization", "Bearer "+credential)
	}
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		g, err := gateway.New(gateway.Config{
			OAuth:         s.oauth,
			Bearer:        s.bearer,
			Catalog:       s.catalog,
			APIs:          s.config.APIs(),
			Secure:        strings.HasPrefix(s.config.Issuer, "https:"),
			ClientAddress: func(*http.Request) netip.Addr { return netip.Addr{} },
			Trusted:       func(*http.Request) bool { return false },
			Log:           slog.New(slog.DiscardHandler),
			Now:           func() time.Time { return s.store.Now().Time() },
		})
		if err != nil {
			return err
		}
		api := g.APIOfHost(u.Host)
		if api == nil {
			hosts := strings.Join(hostsOf(g), ", ")
			return usageError{fmt.Errorf("no resource has the host %s; configured hosts: %s", input.Quote(u.Host), hosts)}
		}
		if e.Workspace != nil {
			resource, _ := s.catalog.Resource(api.ID) // gateway.New has checked that it exists
			header.Set(resource.WorkspaceHeader, *e.Workspace)
		}
		path := u.EscapedPath()
		if path == "" {
			path = "/"
		}
		if api.HasBuiltin(u.Path) {
			x := explanationJSON{
				Resource: api.ID,
				Allowed:  true,
				Status:   http.StatusOK,
				Steps:    []string{"the path is one of Doorward's own (builtin); routes do not apply to it"},
			}
			return e.print(a, x, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "%s is one of Doorward's own paths (builtin); routes do not apply to it.\n", u.Path)
			})
		}
		if s.limits != nil {
			if err := s.limits.Load(ctx); err != nil { // as the running server last saved them
				return fmt.Errorf("read the rate limit counters: %w", err)
			}
		}
		v := g.Explain(ctx, api, gateway.Request{Method: method, Path: path, Header: header})
		return e.print(a, e.explanation(api, &v, method), func(w io.Writer) { e.text(w, api, &v, method) })
	})
}

func hostsOf(g *gateway.Gateway) []string {
	var hosts []string
	for _, a := range g.APIs() {
		hosts = append(hosts, a.Hosts...)
	}
	if len(hosts) == 0 {
		return []string{"none"}
	}
	slices.Sort(hosts)
	return hosts
}

func (e explainCommand) explanation(api *gateway.API, v *gateway.Verdict, method string) explanationJSON {
	x := explanationJSON{Resource: api.ID, Allowed: v.Refusal == nil, Status: http.StatusOK, Steps: v.Steps}
	if v.Refusal != nil {
		x.Status, _ = api.Shape.Body(v.Refusal)
		x.Reason = &v.Reason
	}
	if v.Route != nil {
		name := v.Route.String()
		x.Route = &name
	}
	if needed := v.Needed(method); needed != "" {
		x.Needed = &needed
	}
	return x
}

func (e explainCommand) text(w io.Writer, api *gateway.API, v *gateway.Verdict, method string) {
	out := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	out("resource  %s", api.ID)
	if v.Route != nil {
		out("route     %s", v.Route)
	} else {
		out("route     none")
	}
	if v.Refusal == nil {
		out("answer    allowed")
	} else {
		status, _ := api.Shape.Body(v.Refusal)
		out("answer    %d: %s", status, v.Reason)
	}
	if needed := v.Needed(method); needed != "" {
		out("needed    %s", needed)
	}
	for i, step := range v.Steps {
		out("%2d. %s", i+1, step)
	}
}
