// Command doorward is the server and the operator's command-line tools, in one binary. It reads the configuration and
// wires the packages together; the protocol and SQL are elsewhere.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // users choose their time zone, and the image has no list of them

	"github.com/alecthomas/kong"

	"doorward/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	os.Exit(exitCode(err, os.Stderr))
}

// exitCode reports err on stderr and returns the exit code: 0 for success, 1 for failure, 2 for incorrect usage.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	var wrong config.Faults
	if errors.As(err, &wrong) {
		_, _ = fmt.Fprintln(stderr, err) // each line names its file already
		return 1
	}
	text := err.Error()
	var usage *kong.ParseError
	if errors.As(err, &usage) {
		command := usage.Context.Model.Name
		if node := usage.Context.Selected(); node != nil {
			command = node.FullPath()
		}
		text += "; run: " + command + " --help"
	}
	_, _ = fmt.Fprintln(stderr, "doorward: "+text)
	if errors.As(err, &usage) || errors.As(err, &usageError{}) {
		return 2
	}
	return 1
}

// usageError marks an error as incorrect usage when the command finds it and not the parser.
type usageError struct{ error }

// Unwrap returns the error.
func (u usageError) Unwrap() error { return u.error }

// commands is the command line. The flags of serve are settings, which environment variables can set too; the other
// commands' flags have no variables.
type commands struct {
	Config  string           `help:"Configuration file, YAML (or variable DOORWARD_CONFIG)." placeholder:"FILE"`
	Version kong.VersionFlag `help:"Print the version."`

	Serve             serveCommand             `cmd:"" help:"Run the server."`
	Demo              demoCommand              `cmd:"" help:"Run a server with a sample user, app and API on this machine, to try it out."`
	Check             checkCommand             `cmd:"" help:"Check the configuration and database, and report all faults and risks. Changes nothing."`
	Migrate           migrateCommand           `cmd:"" help:"Migrate the database to the latest schema, or show which migrations are applied."`
	Health            healthCommand            `cmd:"" help:"Check whether the running server is ready; for containers."`
	User              userCommand              `cmd:"" help:"Users: create, list, update, sign-out, disable, enable, delete, password, sign-in-link."`
	Client            clientCommand            `cmd:"" help:"Apps: create, list, show, update, disable, enable, delete, secret rotate."`
	Workspace         workspaceCommand         `cmd:"" help:"Workspaces: create, list, update, disable, enable, delete, invite, member."`
	Key               keyCommand               `cmd:"" help:"API keys: create, list, show, update, pause, resume, revoke, rotate."`
	Token             tokenCommand             `cmd:"" help:"Personal access tokens: create, list, revoke."`
	RegistrationToken registrationTokenCommand `cmd:"" help:"Tokens with which apps register themselves: create, list, revoke."`
	SigningKey        signingKeyCommand        `cmd:"" help:"Signing keys of JWT access tokens: list, rotate."`
	Secret            secretCommand            `cmd:"" help:"The master secret: reseal the data that it protects."`
	Routes            routesCommand            `cmd:"" help:"Routes of a resource: from-openapi."`
	Docs              docsCommand              `cmd:"" help:"Print the authentication guide for the customers of an API, in Markdown."`
	Introspect        introspectCommand        `cmd:"" help:"Print the introspection response for a credential."`
	Explain           explainCommand           `cmd:"" help:"Explain which route applies to a request, why the request is refused, and what would be allowed."`
	SetupLink         setupLinkCommand         `cmd:"" help:"Print the link that creates the first administrator."`
}

// app is what commands use of the process that they run in.
type app struct {
	configFile     string
	creates        bool // the command creates something and changes nothing else
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// exited is the value with which kong panics after --help and --version; it holds the exit code.
type exited int

// run is the whole program except for the exit code. It returns when the command is done, or soon after ctx is done.
func run(
	ctx context.Context,
	args []string,
	getenv func(string) string,
	stdin io.Reader,
	stdout, stderr io.Writer,
) (err error) {
	var c commands
	parser, err := kong.New(&c,
		kong.Name("doorward"),
		kong.Description("Lets third-party apps act for your users (OAuth 2.0), and tells your APIs who is calling."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.Vars{"version": version()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	defer func() {
		if thrown := recover(); thrown != nil {
			if _, ok := thrown.(exited); !ok {
				panic(thrown)
			}
			err = nil
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		return err
	}
	a := &app{
		configFile: c.Config, getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr,
		creates: slices.Contains(strings.Fields(chosen.Command()), "create"),
	}
	if a.configFile == "" {
		a.configFile = getenv("DOORWARD_CONFIG")
	}
	return chosen.Run(a)
}

// load reads the configuration. Flags are the flags of serve, by configuration key; nil for other commands.
func (a *app) load(flags map[string][]string) (config.Config, error) {
	return config.Load(a.configFile, flags, a.getenv)
}

// output is the --json of administrative commands.
type output struct {
	JSON bool `name:"json" help:"Print one JSON object or array."`
}

// print writes v as JSON if --json was given, and otherwise calls text.
func (o output) print(a *app, v any, text func(w io.Writer)) error {
	if !o.JSON {
		text(a.stdout)
		return nil
	}
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// release is the version that the linker sets in builds without a Git checkout, such as the container image's.
var release string

// version is the release, or the version that Go read from the checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "doorward " + cmp.Or(release, "unknown")
	}
	return "doorward " + cmp.Or(release, info.Main.Version)
}
